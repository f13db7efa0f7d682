//! The grammar of expressions: precedence climbing over the tokens.
//!
//! From the loosest operator to the tightest: `or`; `and unless`; comparisons and trims; `+ -`; `* / % atan2`;
//! `^`, which binds to the right. A sign binds as `*` does, so that `-1^2` is `-(1^2)`. `[...]`, `offset`, `@`,
//! `anchored` and `smoothed` bind tighter than any operator and may follow any expression; whether they make sense
//! there is checked afterwards, as Prometheus does, so that the errors are the same.
//!
//! Source: Prometheus `promql/parser/generated_parser.y` and `parse.go`, version 3.14.

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Call, Expr, ExprKind, MatchCardinality, NumberLiteral, Span,
    StringLiteral, VectorMatching,
};
use super::error::Failure;
use super::functions;
use super::lexer::Lexer;
use super::quote::{parse_number, unquote_bytes};
use super::token::{Keyword, Token, TokenKind};
use crate::encoding::quote;
use crate::model::duration::parse_duration_ms;
use crate::model::pattern::PatternBudget;

/// How many levels a tree may have, whatever makes them: parentheses, calls, signs, or a chain of operators.
/// Whoever walks a tree by recursion needs stack for that many levels.
pub const DEPTH_MAX: usize = 1_000;

/// What a step of the parser gives. An expression that it finds, it leaves on the stack of operands: so the machine's
/// stack holds little for each level of a nested query.
pub(super) type Step = Result<(), Box<Failure>>;

/// A part of the tree, and how many levels it has.
pub(super) struct Node<T> {
    pub(super) value: T,
    pub(super) height: usize,
}

pub(super) type Parsed<T> = Result<Node<T>, Failure>;

/// The parser: a lexer and one token ahead.
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that was not taken yet.
    pub(super) token: Token,
    /// How deep the parser itself is nested.
    depth: usize,
    /// Expressions that are complete, and wait to become part of another.
    operands: Vec<Node<Expr>>,
    /// What the patterns of matchers take, compiled.
    pub(super) patterns: PatternBudget,
}

/// What may stand between an operator and its right operand.
struct BinaryModifiers {
    return_bool: bool,
    matching: VectorMatching,
}

/// The labels of an aggregation.
struct Grouping {
    without: bool,
    labels: Vec<String>,
    end: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Parser::within(text, PatternBudget::default())
    }

    /// A parser of one of several texts of a request, whose patterns share what they may take.
    pub(super) fn within(text: &'a str, patterns: PatternBudget) -> Self {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token();
        Parser { lexer, token, depth: 0, operands: Vec::new(), patterns }
    }

    /// The whole text as one expression.
    pub(super) fn whole_expression(&mut self) -> Result<Expr, Failure> {
        if self.token.kind == TokenKind::Eof {
            return Err(Failure::new(Span::default(), "no expression found in input"));
        }
        self.expression(0).map_err(|failure| *failure)?;
        self.expect_end()?;
        Ok(self.pop()?.value)
    }

    /// A vector selector to which nothing is attached.
    pub(super) fn bare_selector(&mut self) -> Result<Expr, Failure> {
        let is_selector = self.token.kind == TokenKind::LeftBrace || self.starts_metric_name();
        if !is_selector {
            return Err(self.unexpected());
        }
        self.vector_selector().map_err(|failure| *failure)?;
        Ok(self.pop()?.value)
    }

    pub(super) fn starts_metric_name(&self) -> bool {
        match self.token.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => op.is_set_operator(),
            TokenKind::Keyword(keyword) => keyword.is_metric_name(),
            _ => false,
        }
    }

    pub(super) fn expect_end(&self) -> Result<(), Failure> {
        if self.token.kind == TokenKind::Eof { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes the token at hand.
    pub(super) fn take(&mut self) -> Token {
        let next = self.lexer.next_token();
        std::mem::replace(&mut self.token, next)
    }

    /// Takes the token at hand if it is of this kind.
    pub(super) fn accept(&mut self, kind: &TokenKind) -> Option<Span> {
        (self.token.kind == *kind).then(|| self.take().span)
    }

    pub(super) fn expect(&mut self, kind: &TokenKind) -> Result<Span, Failure> {
        self.accept(kind).ok_or_else(|| self.unexpected())
    }

    /// The error that the token at hand cannot stand where it does.
    #[cold]
    pub(super) fn unexpected(&self) -> Failure {
        match &self.token.kind {
            TokenKind::Error(message) => Failure::new(self.token.span, message.clone()),
            _ => Failure::unexpected(self.token.span, &self.token.describe(self.lexer.text())),
        }
    }

    pub(super) fn text_of(&self, span: Span) -> &'a str {
        self.lexer.text().get(span.start..span.end).unwrap_or_default()
    }

    pub(super) fn enter(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        self.bound(self.depth, self.token.span).map(drop)
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The height, if that is still allowed.
    pub(super) fn bound(&self, height: usize, span: Span) -> Result<usize, Failure> {
        if height > DEPTH_MAX {
            let message = format!("expression is nested too deeply: at most {DEPTH_MAX} levels are allowed");
            return Err(Failure::new(span, message));
        }
        Ok(height)
    }

    /// Takes the expression that was completed last. There is one whenever a step ended well.
    pub(super) fn pop(&mut self) -> Result<Node<Expr>, Failure> {
        self.operands.pop().ok_or_else(|| self.unexpected())
    }

    /// The expression that was completed last.
    pub(super) fn last(&mut self) -> Result<&mut Expr, Failure> {
        match self.operands.last_mut() {
            Some(node) => Ok(&mut node.value),
            None => Err(Failure::unexpected(self.token.span, "end of operands")),
        }
    }

    /// Completes an expression whose highest part has `parts_height` levels.
    pub(super) fn push(&mut self, kind: ExprKind, span: Span, parts_height: usize) -> Result<(), Failure> {
        let height = self.bound(parts_height + 1, span)?;
        self.operands.push(Node { value: Expr { kind, span }, height });
        Ok(())
    }

    /// An expression whose operators bind at least as tightly as `min`.
    fn expression(&mut self, min: u8) -> Step {
        self.enter()?;
        self.operand()?;
        while let TokenKind::Operator(op) = self.token.kind {
            let power = binding_power(op);
            if power < min {
                break;
            }
            self.take();
            let modifiers = self.binary_modifiers()?;
            self.expression(if op == BinaryOp::Pow { power } else { power + 1 })?;
            self.binary(op, modifiers)?;
        }
        self.leave();
        Ok(())
    }

    #[inline(never)]
    #[expect(clippy::boxed_local, reason = "the frame that recurses must stay small")]
    fn binary(&mut self, op: BinaryOp, modifiers: Box<BinaryModifiers>) -> Step {
        let right = self.pop()?;
        let left = self.pop()?;
        let span = Span { start: left.value.span.start, end: right.value.span.end };
        let height = left.height.max(right.height);
        let BinaryModifiers { return_bool, matching } = *modifiers;
        let binary = BinaryExpr { op, left: left.value, right: right.value, return_bool, matching: Some(matching) };
        Ok(self.push(ExprKind::Binary(Box::new(binary)), span, height)?)
    }

    /// An operand with its signs, and with what is attached behind it.
    fn operand(&mut self) -> Step {
        if let Some((negative, sign)) = self.sign() {
            self.expression(binding_power(BinaryOp::Pow))?;
            return self.signed(negative, sign.start);
        }
        self.primary()?;
        self.attachments()
    }

    #[inline(never)]
    fn signed(&mut self, negative: bool, start: usize) -> Step {
        let Node { value: expr, height } = self.pop()?;
        let span = Span { start, end: expr.span.end };
        match expr.kind {
            ExprKind::Number(mut number) => {
                if negative {
                    number.value = -number.value;
                }
                Ok(self.push(ExprKind::Number(number), span, 0)?)
            }
            _ => Ok(self.push(ExprKind::Unary { negative, expr: Box::new(expr) }, span, height)?),
        }
    }

    fn primary(&mut self) -> Step {
        match self.token.kind {
            TokenKind::Number | TokenKind::Duration => self.number(),
            TokenKind::String => {
                let span = self.take().span;
                Ok(self.push(ExprKind::String(StringLiteral::new(unquote_bytes(self.text_of(span)))), span, 0)?)
            }
            TokenKind::LeftParen => self.parenthesized(),
            TokenKind::LeftBrace | TokenKind::MetricIdentifier => self.vector_selector(),
            TokenKind::Identifier => {
                let name = self.take().span;
                if self.token.kind == TokenKind::LeftParen { self.call(name) } else { self.named_selector(name) }
            }
            TokenKind::Keyword(keyword) if keyword.is_metric_name() => {
                let name = self.take().span;
                if keyword.is_function() && self.token.kind == TokenKind::LeftParen {
                    return self.call(name);
                }
                self.named_selector(name)
            }
            TokenKind::Aggregator(op) => {
                let name = self.take().span;
                match self.token.kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregation(op, name.start).map_err(|failure| failure.within("aggregation", "").into())
                    }
                    _ => self.named_selector(name),
                }
            }
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                let name = self.take().span;
                self.named_selector(name)
            }
            _ => Err(self.unexpected().into()),
        }
    }

    #[inline(never)]
    fn number(&mut self) -> Step {
        let (number, span) = self.number_literal()?;
        Ok(self.push(ExprKind::Number(number), span, 0)?)
    }

    /// A number or a duration, which counts as its seconds.
    pub(super) fn number_literal(&mut self) -> Result<(NumberLiteral, Span), Failure> {
        let is_duration = self.token.kind == TokenKind::Duration;
        if !is_duration && self.token.kind != TokenKind::Number {
            return Err(self.unexpected());
        }
        let span = self.take().span;
        let text = self.text_of(span);
        let value = match is_duration {
            true => parse_duration_ms(text).map(|ms| ms as f64 / 1000.0).map_err(|error| error.to_string()),
            false => parse_number(text),
        };
        match value {
            Ok(value) => Ok((NumberLiteral { value, is_duration }, span)),
            Err(message) => Err(Failure::new(span, message)),
        }
    }

    fn parenthesized(&mut self) -> Step {
        let start = self.take().span.start;
        self.expression(0)?;
        self.close_parenthesis(start)
    }

    #[inline(never)]
    fn close_parenthesis(&mut self, start: usize) -> Step {
        let end = self.expect(&TokenKind::RightParen)?.end;
        let inner = self.pop()?;
        Ok(self.push(ExprKind::Paren(Box::new(inner.value)), Span { start, end }, inner.height)?)
    }

    fn call(&mut self, name: Span) -> Step {
        let (count, end) = self.arguments()?;
        self.finish_call(name, count, end)
    }

    #[inline(never)]
    fn finish_call(&mut self, name: Span, count: usize, end: usize) -> Step {
        let Some(function) = functions::lookup(self.text_of(name)) else {
            let message = format!("unknown function with name {}", quote(self.text_of(name)));
            return Err(Failure::new(name, message).into());
        };
        let (args, height) = self.pop_arguments(count);
        Ok(self.push(ExprKind::Call(Call { function, args }), Span { start: name.start, end }, height)?)
    }

    /// `( a, b )`: leaves the arguments on the stack; how many there are, and where they end.
    fn arguments(&mut self) -> Result<(usize, usize), Box<Failure>> {
        self.expect(&TokenKind::LeftParen)?;
        if let Some(close) = self.accept(&TokenKind::RightParen) {
            return Ok((0, close.end));
        }
        let mut count = 0;
        loop {
            self.expression(0)?;
            count += 1;
            if self.token.kind != TokenKind::Comma {
                break;
            }
            self.argument_comma()?;
        }
        let end = self.expect(&TokenKind::RightParen)?.end;
        Ok((count, end))
    }

    #[inline(never)]
    fn argument_comma(&mut self) -> Step {
        let comma = self.take().span;
        if self.starts_expression() {
            return Ok(());
        }
        let failure = match self.token.kind {
            TokenKind::Error(_) => self.unexpected(),
            _ => Failure::new(comma, "trailing commas not allowed in function call args"),
        };
        Err(failure.into())
    }

    /// The arguments that were left on the stack, and the height of the highest.
    fn pop_arguments(&mut self, count: usize) -> (Vec<Expr>, usize) {
        let first = self.operands.len().saturating_sub(count);
        let mut height = 0;
        let args = self.operands.drain(first..).map(|node| {
            height = height.max(node.height);
            node.value
        });
        (args.collect(), height)
    }

    fn starts_expression(&self) -> bool {
        match self.token.kind {
            TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => true,
            _ => self.starts_metric_name(),
        }
    }

    /// An aggregation whose operator was taken; `by` or `without` stand before or behind the arguments.
    fn aggregation(&mut self, op: AggregateOp, start: usize) -> Step {
        let grouping = self.grouping()?;
        let (count, end) = self.arguments()?;
        self.finish_aggregation(op, Span { start, end }, grouping, count)
    }

    #[inline(never)]
    fn finish_aggregation(
        &mut self,
        op: AggregateOp,
        mut span: Span,
        mut grouping: Option<Box<Grouping>>,
        count: usize,
    ) -> Step {
        if grouping.is_none() {
            grouping = self.grouping()?;
            span.end = grouping.as_ref().map_or(span.end, |grouping| grouping.end);
        }
        let (without, grouping) = grouping.map_or_else(Default::default, |found| (found.without, found.labels));
        let expected = if op.has_param() { 2 } else { 1 };
        let (mut args, height) = self.pop_arguments(count);
        let (Some(expr), true) = (args.pop(), count == expected) else {
            let message = match count {
                0 => "no arguments for aggregate expression provided".to_owned(),
                _ => format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {count}"
                ),
            };
            return Err(Failure::new(span, message).into());
        };
        let aggregate = AggregateExpr { op, expr, param: args.pop(), grouping, without };
        Ok(self.push(ExprKind::Aggregate(Box::new(aggregate)), span, height)?)
    }

    /// `by (a, b)` or `without (a, b)`
    #[inline(never)]
    fn grouping(&mut self) -> Result<Option<Box<Grouping>>, Box<Failure>> {
        let without = match self.token.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take();
        let (labels, end) = self.label_names()?;
        Ok(Some(Box::new(Grouping { without, labels, end })))
    }

    #[inline(never)]
    fn binary_modifiers(&mut self) -> Result<Box<BinaryModifiers>, Box<Failure>> {
        let mut matching = VectorMatching::default();
        let return_bool = self.accept(&TokenKind::Keyword(Keyword::Bool)).is_some();
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.token.kind {
            self.take();
            matching.on = keyword == Keyword::On;
            matching.labels = self.label_names()?.0;
            if let TokenKind::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.token.kind {
                self.take();
                matching.cardinality = match keyword {
                    Keyword::GroupLeft => MatchCardinality::ManyToOne,
                    _ => MatchCardinality::OneToMany,
                };
                if !self.is_behind_modifiers() {
                    matching.include = self.label_names()?.0;
                }
            }
        }
        match self.token.kind {
            TokenKind::Keyword(Keyword::Fill) => {
                matching.fill_left = Some(self.fill_value()?);
                matching.fill_right = matching.fill_left;
            }
            TokenKind::Keyword(Keyword::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            TokenKind::Keyword(Keyword::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(Box::new(BinaryModifiers { return_bool, matching }))
    }

    /// Whether the token can stand behind `group_left` without labels: a fill, or the right operand. A parenthesis opens labels.
    fn is_behind_modifiers(&self) -> bool {
        use BinaryOp::{Add, And, Atan2, Or, Sub, Unless};
        match self.token.kind {
            TokenKind::Operator(op) => matches!(op, Add | Sub | And | Or | Unless | Atan2),
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftBrace
            | TokenKind::Aggregator(_)
            | TokenKind::Keyword(_)
            | TokenKind::Error(_) => true,
            _ => false,
        }
    }

    /// `fill(0)` and its like, the keyword first.
    fn fill_value(&mut self) -> Result<f64, Failure> {
        self.take();
        self.expect(&TokenKind::LeftParen)?;
        let negative = self.sign().is_some_and(|(negative, _)| negative);
        let value = self.number_literal()?.0.value;
        self.expect(&TokenKind::RightParen)?;
        Ok(if negative { -value } else { value })
    }

    /// Takes a sign: whether it is a minus, and where it stands.
    pub(super) fn sign(&mut self) -> Option<(bool, Span)> {
        match self.token.kind {
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => Some((op == BinaryOp::Sub, self.take().span)),
            _ => None,
        }
    }
}

/// How tightly an operator binds.
pub(super) fn binding_power(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => 1,
        And | Unless => 2,
        Eq | Ne | Gt | Lt | Ge | Le | TrimUpper | TrimLower => 3,
        Add | Sub => 4,
        Mul | Div | Mod | Atan2 => 5,
        Pow => 6,
    }
}
