//! Makes an expression of one query out of an expression of any: fixes what depends on the query's start, end and step.
//!
//! Duration expressions become durations, `@ start()` and `@ end()` times, `start()`, `end()`, `range()` and `step()`
//! numbers, and the parentheses around arguments go. Source: Prometheus `promql/engine.go` `PreprocessExpr`,
//! `promql/durations.go`.

use super::QueryError;
use crate::promql::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, BinaryOp, Call, Duration, DurationExpr, DurationExprKind, Expr, ExprKind,
    MatrixSelector, NumberLiteral, SubqueryExpr, VectorSelector,
};

/// Most seconds that fit a duration of nanoseconds, which is what Prometheus calculates with.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// The times of a query that an expression may speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryTimes {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// 0 for an instant query.
    pub(super) step_ms: i64,
}

/// The expression with everything fixed that depends on the query.
pub(super) fn resolve(expr: &Expr, times: &QueryTimes) -> Result<Expr, QueryError> {
    let kind = match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => expr.kind.clone(),
        ExprKind::Paren(inner) => ExprKind::Paren(Box::new(resolve(inner, times)?)),
        ExprKind::Unary { negative, expr } => {
            ExprKind::Unary { negative: *negative, expr: Box::new(resolve(expr, times)?) }
        }
        ExprKind::Binary(binary) => ExprKind::Binary(Box::new(BinaryExpr {
            left: resolve(&binary.left, times)?,
            right: resolve(&binary.right, times)?,
            op: binary.op,
            return_bool: binary.return_bool,
            matching: binary.matching.clone(),
        })),
        ExprKind::Aggregate(aggregate) => ExprKind::Aggregate(Box::new(AggregateExpr {
            expr: resolve(unparenthesized(&aggregate.expr), times)?,
            param: aggregate.param.as_ref().map(|param| resolve(unparenthesized(param), times)).transpose()?,
            op: aggregate.op,
            grouping: aggregate.grouping.clone(),
            without: aggregate.without,
        })),
        ExprKind::Call(call) => resolve_call(call, times)?,
        ExprKind::VectorSelector(selector) => ExprKind::VectorSelector(resolve_selector(selector, times)?),
        ExprKind::MatrixSelector(selector) => ExprKind::MatrixSelector(MatrixSelector {
            vector: resolve_selector(&selector.vector, times)?,
            vector_span: selector.vector_span,
            range: resolve_duration(&selector.range, times, false)?,
        }),
        ExprKind::Subquery(subquery) => ExprKind::Subquery(Box::new(SubqueryExpr {
            expr: resolve(&subquery.expr, times)?,
            range: resolve_duration(&subquery.range, times, false)?,
            step: subquery.step.as_ref().map(|step| resolve_duration(step, times, false)).transpose()?,
            offset: resolve_duration(&subquery.offset, times, true)?,
            at: resolve_at(subquery.at, times),
        })),
    };
    Ok(Expr { kind, span: expr.span })
}

/// The expression inside any parentheses.
pub(super) fn unparenthesized(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

fn resolve_call(call: &Call, times: &QueryTimes) -> Result<ExprKind, QueryError> {
    let seconds = match call.function.name {
        "start" => Some(times.start_ms as f64 / 1000.0),
        "end" => Some(times.end_ms as f64 / 1000.0),
        "range" => Some(times.end_ms.saturating_sub(times.start_ms) as f64 / 1000.0),
        "step" if times.start_ms == times.end_ms => Some(0.0),
        "step" => Some(times.step_ms as f64 / 1000.0),
        _ => None,
    };
    if let Some(value) = seconds {
        return Ok(ExprKind::Number(NumberLiteral { value, is_duration: false }));
    }
    let args = call.args.iter().map(|arg| resolve(unparenthesized(arg), times)).collect::<Result<_, _>>()?;
    Ok(ExprKind::Call(Call { function: call.function, args }))
}

fn resolve_selector(selector: &VectorSelector, times: &QueryTimes) -> Result<VectorSelector, QueryError> {
    Ok(VectorSelector {
        name: selector.name.clone(),
        matchers: selector.matchers.clone(),
        offset: resolve_duration(&selector.offset, times, true)?,
        at: resolve_at(selector.at, times),
        mode: selector.mode,
    })
}

fn resolve_at(at: Option<AtModifier>, times: &QueryTimes) -> Option<AtModifier> {
    at.map(|at| match at {
        AtModifier::Timestamp(_) => at,
        AtModifier::Start => AtModifier::Timestamp(times.start_ms),
        AtModifier::End => AtModifier::Timestamp(times.end_ms),
    })
}

fn resolve_duration(duration: &Duration, times: &QueryTimes, may_be_negative: bool) -> Result<Duration, QueryError> {
    let expr = match duration {
        Duration::Fixed(_) => return Ok(duration.clone()),
        Duration::Expr(expr) => expr,
    };
    let seconds = evaluate(expr, times)?;
    if !seconds.is_finite() {
        return Err(bad_duration(expr, "duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(bad_duration(expr, "duration must be greater than 0"));
    }
    if seconds.abs() > SECONDS_MAX {
        return Err(bad_duration(expr, "duration is out of range"));
    }
    Ok(Duration::Fixed((seconds * 1000.0) as i64))
}

fn evaluate(expr: &DurationExpr, times: &QueryTimes) -> Result<f64, QueryError> {
    Ok(match &expr.kind {
        DurationExprKind::Number(number) => number.value,
        DurationExprKind::Step => times.step_ms as f64 / 1000.0,
        DurationExprKind::Range => times.end_ms.saturating_sub(times.start_ms) as f64 / 1000.0,
        DurationExprKind::Pick { max, left, right } => {
            let (left, right) = (evaluate(left, times)?, evaluate(right, times)?);
            if left.is_nan() || right.is_nan() {
                f64::NAN
            } else if *max {
                left.max(right)
            } else {
                left.min(right)
            }
        }
        DurationExprKind::Unary { negative: true, expr } => -evaluate(expr, times)?,
        DurationExprKind::Unary { negative: false, expr } | DurationExprKind::Paren(expr) => evaluate(expr, times)?,
        DurationExprKind::Binary { op, left, right } => {
            let (left, right) = (evaluate(left, times)?, evaluate(right, times)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
                BinaryOp::Div if right == 0.0 => return Err(bad_duration(expr, "division by zero")),
                BinaryOp::Div => left / right,
                BinaryOp::Mod if right == 0.0 => return Err(bad_duration(expr, "modulo by zero")),
                BinaryOp::Mod => left % right,
                BinaryOp::Pow => left.powf(right),
                _ => return Err(bad_duration(expr, "unexpected duration expression operator")),
            }
        }
    })
}

fn bad_duration(expr: &DurationExpr, what: &str) -> QueryError {
    QueryError::Execution(format!("{}:{}: {what}", expr.span.start, expr.span.end))
}
