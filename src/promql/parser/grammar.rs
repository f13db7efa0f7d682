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
    VectorMatching,
};
use super::duration::parse_duration_ms;
use super::error::Failure;
use super::functions;
use super::lexer::Lexer;
use super::quote::{parse_number, quote, unquote};
use super::token::{Keyword, Token, TokenKind};

/// How many levels a tree may have, whatever makes them: parentheses, calls, signs, or a chain of operators.
/// Whoever walks a tree by recursion needs stack for that many levels.
pub const DEPTH_MAX: usize = 1_000;

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
}

/// What may stand between an operator and its right operand.
struct BinaryModifiers {
    return_bool: bool,
    matching: VectorMatching,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token();
        Parser { lexer, token, depth: 0 }
    }

    /// The whole text as one expression.
    pub(super) fn whole_expression(&mut self) -> Result<Expr, Failure> {
        if self.token.kind == TokenKind::Eof {
            return Err(Failure::new(Span::default(), "no expression found in input"));
        }
        let expr = self.expression(0)?.value;
        self.expect_end()?;
        Ok(expr)
    }

    /// A vector selector to which nothing is attached.
    pub(super) fn bare_selector(&mut self) -> Result<Expr, Failure> {
        let is_selector = self.token.kind == TokenKind::LeftBrace || self.starts_metric_name();
        if is_selector { Ok(self.vector_selector()?.value) } else { Err(self.unexpected()) }
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

    /// An expression whose operators bind at least as tightly as `min`.
    fn expression(&mut self, min: u8) -> Parsed<Expr> {
        self.enter()?;
        let mut left = self.operand()?;
        while let TokenKind::Operator(op) = self.token.kind {
            let power = binding_power(op);
            if power < min {
                break;
            }
            self.take();
            let modifiers = self.binary_modifiers()?;
            let right = self.expression(if op == BinaryOp::Pow { power } else { power + 1 })?;
            left = self.binary(op, modifiers, left, right)?;
        }
        self.leave();
        Ok(left)
    }

    #[inline(never)]
    fn binary(&self, op: BinaryOp, modifiers: BinaryModifiers, left: Node<Expr>, right: Node<Expr>) -> Parsed<Expr> {
        let span = Span { start: left.value.span.start, end: right.value.span.end };
        let height = self.bound(1 + left.height.max(right.height), span)?;
        let BinaryModifiers { return_bool, matching } = modifiers;
        let binary = BinaryExpr { op, left: left.value, right: right.value, return_bool, matching: Some(matching) };
        Ok(Node { value: Expr { kind: ExprKind::Binary(Box::new(binary)), span }, height })
    }

    /// An operand with its signs, and with what is attached behind it.
    fn operand(&mut self) -> Parsed<Expr> {
        if let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind {
            let start = self.take().span.start;
            let operand = self.expression(binding_power(BinaryOp::Pow))?;
            return self.signed(op == BinaryOp::Sub, start, operand);
        }
        let primary = self.primary()?;
        self.attachments(primary)
    }

    #[inline(never)]
    fn signed(&self, negative: bool, start: usize, operand: Node<Expr>) -> Parsed<Expr> {
        let Node { value: mut expr, height } = operand;
        let span = Span { start, end: expr.span.end };
        if let ExprKind::Number(number) = &mut expr.kind {
            if negative {
                number.value = -number.value;
            }
            expr.span = span;
            return Ok(Node { value: expr, height });
        }
        let height = self.bound(height + 1, span)?;
        Ok(Node { value: Expr { kind: ExprKind::Unary { negative, expr: Box::new(expr) }, span }, height })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        match self.token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                leaf(ExprKind::Number(number), span)
            }
            TokenKind::String => {
                let span = self.take().span;
                leaf(ExprKind::String(unquote(self.text_of(span))), span)
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
                        self.aggregation(op, name.start).map_err(|failure| failure.within("aggregation", ""))
                    }
                    _ => self.named_selector(name),
                }
            }
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                let name = self.take().span;
                self.named_selector(name)
            }
            _ => Err(self.unexpected()),
        }
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

    fn parenthesized(&mut self) -> Parsed<Expr> {
        let start = self.take().span.start;
        let inner = self.expression(0)?;
        let end = self.expect(&TokenKind::RightParen)?.end;
        let span = Span { start, end };
        let height = self.bound(inner.height + 1, span)?;
        Ok(Node { value: Expr { kind: ExprKind::Paren(Box::new(inner.value)), span }, height })
    }

    fn call(&mut self, name: Span) -> Parsed<Expr> {
        let Node { value: (args, end), height } = self.arguments()?;
        let Some(function) = functions::lookup(self.text_of(name)) else {
            let message = format!("unknown function with name {}", quote(self.text_of(name)));
            return Err(Failure::new(name, message));
        };
        let span = Span { start: name.start, end };
        let height = self.bound(height + 1, span)?;
        Ok(Node { value: Expr { kind: ExprKind::Call(Call { function, args }), span }, height })
    }

    /// `( a, b )`: the arguments, where they end, and the height of the highest.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect(&TokenKind::LeftParen)?;
        let mut args = Vec::new();
        let mut height = 0;
        if let Some(close) = self.accept(&TokenKind::RightParen) {
            return Ok(Node { value: (args, close.end), height });
        }
        loop {
            let arg = self.expression(0)?;
            height = height.max(arg.height);
            args.push(arg.value);
            if self.token.kind != TokenKind::Comma {
                break;
            }
            let comma = self.take().span;
            if !self.starts_expression() {
                return Err(match self.token.kind {
                    TokenKind::Error(_) => self.unexpected(),
                    _ => Failure::new(comma, "trailing commas not allowed in function call args"),
                });
            }
        }
        let end = self.expect(&TokenKind::RightParen)?.end;
        Ok(Node { value: (args, end), height })
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
    fn aggregation(&mut self, op: AggregateOp, start: usize) -> Parsed<Expr> {
        let mut grouping = self.grouping()?;
        let Node { value: (mut args, mut end), height } = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = match grouping {
            Some((without, labels, grouping_end)) => {
                end = end.max(grouping_end);
                (without, labels)
            }
            None => (false, Vec::new()),
        };
        let span = Span { start, end };
        let expected = if op.has_param() { 2 } else { 1 };
        let count = args.len();
        let (Some(expr), true) = (args.pop(), count == expected) else {
            let message = match count {
                0 => "no arguments for aggregate expression provided".to_owned(),
                _ => format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {count}"
                ),
            };
            return Err(Failure::new(span, message));
        };
        let aggregate = AggregateExpr { op, expr, param: args.pop(), grouping, without };
        let height = self.bound(height + 1, span)?;
        Ok(Node { value: Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span }, height })
    }

    /// `by (a, b)` or `without (a, b)`: whether it is the second, the labels, and where it ends.
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>, usize)>, Failure> {
        let without = match self.token.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take();
        let (labels, end) = self.label_names()?;
        Ok(Some((without, labels, end)))
    }

    fn binary_modifiers(&mut self) -> Result<BinaryModifiers, Failure> {
        let mut matching = VectorMatching {
            cardinality: MatchCardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
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
                if self.token.kind == TokenKind::LeftParen {
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
        Ok(BinaryModifiers { return_bool, matching })
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

/// An expression without parts.
#[expect(clippy::unnecessary_wraps, reason = "it stands where other parts of the grammar can fail")]
pub(super) fn leaf(kind: ExprKind, span: Span) -> Parsed<Expr> {
    Ok(Node { value: Expr { kind, span }, height: 1 })
}
