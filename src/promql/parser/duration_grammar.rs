//! The grammar of durations in brackets and behind `offset`: fixed ones, and arithmetic on them, on the query's
//! `step()` and its `range()`.
//!
//! Behind `offset` an operator belongs to the expression around it unless parentheses say otherwise:
//! `foo offset -2^2` is `(foo offset -2)^2`.
//!
//! Source: Prometheus `promql/parser/generated_parser.y` and `parse.go`, version 3.14.

use super::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind, NumberLiteral, Span};
use super::error::Failure;
use super::grammar::{Node, Parsed, Parser, binding_power};
use super::token::{Keyword, TokenKind};

/// The seconds that 63 bits of nanoseconds hold.
const SECONDS_MAX: f64 = (1u64 << 63) as f64 / 1e9;

impl Parser<'_> {
    /// A duration in brackets; if it is fixed, it must be more than zero.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, Failure> {
        let expr = self.duration(0)?.value;
        match expr.kind {
            DurationExprKind::Number(number) if number.value <= 0.0 => {
                Err(Failure::new(expr.span, "duration must be greater than 0"))
            }
            _ => Ok(finished(expr)),
        }
    }

    /// The duration behind `offset`, and where it ends.
    pub(super) fn offset_duration(&mut self) -> Result<(Duration, usize), Failure> {
        let expr = match self.sign() {
            Some((negative, sign)) => {
                let is_signed_again = matches!(self.token.kind, TokenKind::Operator(_));
                let operand = if is_signed_again {
                    self.duration(binding_power(BinaryOp::Pow))?
                } else {
                    self.duration_operand()?
                };
                let is_query_time = matches!(
                    operand.value.kind,
                    DurationExprKind::Step | DurationExprKind::Range | DurationExprKind::Pick { .. }
                );
                let signed = self.signed_duration(negative, sign, operand, is_query_time)?;
                if is_signed_again { self.duration_operators(signed, 0)? } else { signed }
            }
            None => {
                let is_paren = self.token.kind == TokenKind::LeftParen;
                let operand = self.duration_operand()?;
                if is_paren { self.duration_operators(operand, 0)? } else { operand }
            }
        };
        let end = expr.value.span.end;
        Ok((finished(expr.value), end))
    }

    /// A duration expression whose operators bind at least as tightly as `min`.
    fn duration(&mut self, min: u8) -> Parsed<DurationExpr> {
        self.enter()?;
        let operand = match self.sign() {
            Some((negative, sign)) => {
                let operand = self.duration(binding_power(BinaryOp::Pow))?;
                self.signed_duration(negative, sign, operand, false)?
            }
            None => self.duration_operand()?,
        };
        let expr = self.duration_operators(operand, min)?;
        self.leave();
        Ok(expr)
    }

    /// The operators behind `left`, with their right operands.
    fn duration_operators(&mut self, left: Node<DurationExpr>, min: u8) -> Parsed<DurationExpr> {
        let mut left = left;
        while let TokenKind::Operator(op) = self.token.kind {
            let is_arithmetic = matches!(
                op,
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
            );
            let power = binding_power(op);
            if !is_arithmetic || power < min {
                break;
            }
            let op_span = self.take().span;
            let right = self.duration(if op == BinaryOp::Pow { power } else { power + 1 })?;
            let is_zero = matches!(right.value.kind, DurationExprKind::Number(number) if number.value == 0.0);
            match op {
                BinaryOp::Div if is_zero => return Err(Failure::new(op_span, "division by zero")),
                BinaryOp::Mod if is_zero => return Err(Failure::new(op_span, "modulo by zero")),
                _ => {}
            }
            let span = Span { start: left.value.span.start, end: right.value.span.end };
            let height = self.bound(1 + left.height.max(right.height), span)?;
            let kind = DurationExprKind::Binary { op, left: Box::new(left.value), right: Box::new(right.value) };
            left = Node { value: DurationExpr { kind, span }, height };
        }
        Ok(left)
    }

    /// An operand without a sign.
    fn duration_operand(&mut self) -> Parsed<DurationExpr> {
        match self.token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                check_range(number, span)?;
                Ok(leaf(DurationExprKind::Number(number), span))
            }
            TokenKind::LeftParen => {
                let start = self.take().span.start;
                let mut inner = self.duration(0)?;
                let span = Span { start, end: self.expect(&TokenKind::RightParen)?.end };
                // Another pair of parentheses says nothing new.
                if matches!(inner.value.kind, DurationExprKind::Paren(_)) {
                    inner.value.span = span;
                    return Ok(inner);
                }
                let height = self.bound(inner.height + 1, span)?;
                let kind = DurationExprKind::Paren(Box::new(inner.value));
                Ok(Node { value: DurationExpr { kind, span }, height })
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                let start = self.take().span.start;
                self.expect(&TokenKind::LeftParen)?;
                let span = Span { start, end: self.expect(&TokenKind::RightParen)?.end };
                let kind = if keyword == Keyword::Step { DurationExprKind::Step } else { DurationExprKind::Range };
                Ok(leaf(kind, span))
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                let start = self.take().span.start;
                self.expect(&TokenKind::LeftParen)?;
                let left = self.duration(0)?;
                self.expect(&TokenKind::Comma)?;
                let right = self.duration(0)?;
                let span = Span { start, end: self.expect(&TokenKind::RightParen)?.end };
                let height = self.bound(1 + left.height.max(right.height), span)?;
                let kind = DurationExprKind::Pick {
                    max: keyword == Keyword::MaxOf,
                    left: Box::new(left.value),
                    right: Box::new(right.value),
                };
                Ok(Node { value: DurationExpr { kind, span }, height })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A sign in front of `operand`. It goes into a number; a plus elsewhere is kept only if `keep_plus` says so.
    fn signed_duration(
        &self,
        negative: bool,
        sign: Span,
        operand: Node<DurationExpr>,
        keep_plus: bool,
    ) -> Parsed<DurationExpr> {
        let Node { value: mut expr, height } = operand;
        let span = Span { start: sign.start, end: expr.span.end };
        if let DurationExprKind::Number(number) = &mut expr.kind {
            if negative {
                number.value = -number.value;
            }
            check_range(*number, sign)?;
            expr.span = span;
            return Ok(Node { value: expr, height });
        }
        if !negative && !keep_plus {
            return Ok(Node { value: expr, height });
        }
        let height = self.bound(height + 1, span)?;
        let kind = DurationExprKind::Unary { negative, expr: Box::new(expr) };
        Ok(Node { value: DurationExpr { kind, span }, height })
    }
}

fn leaf(kind: DurationExprKind, span: Span) -> Node<DurationExpr> {
    Node { value: DurationExpr { kind, span }, height: 1 }
}

fn check_range(number: NumberLiteral, span: Span) -> Result<(), Failure> {
    if number.value.abs() > SECONDS_MAX {
        return Err(Failure::new(span, "duration out of range"));
    }
    Ok(())
}

/// A number is a fixed duration; anything else needs the query's step and range.
fn finished(expr: DurationExpr) -> Duration {
    match expr.kind {
        // Nanoseconds are what Prometheus rounds to, and it cuts them off where it needs milliseconds.
        DurationExprKind::Number(number) => Duration::Fixed((number.value * 1e9).round() as i64 / 1_000_000),
        _ => Duration::Expr(Box::new(expr)),
    }
}
