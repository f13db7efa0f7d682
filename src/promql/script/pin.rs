//! Pins a query to a time: every selector gets an `@`, so that the result must not depend on when it is evaluated.

use crate::model::TimestampMs;
use crate::promql::engine::is_step_dependent;
use crate::promql::parser::ast::{AtModifier, Expr, ExprKind};

/// Whether a function's result depends on the evaluation time even if its arguments do not.
fn is_time_dependent(function: &str) -> bool {
    // Of `timestamp` this holds for all arguments but a selector; here it counts for all.
    function == "timestamp" || is_step_dependent(function)
}

/// The expression with all selectors pinned to `at_ms`; `None` if it would still depend on the evaluation time.
/// Selectors that have a fixed time keep it, and those inside a subquery are pinned by the subquery.
pub(super) fn pinned(expr: &Expr, at_ms: TimestampMs) -> Option<Expr> {
    let mut expr = expr.clone();
    pin(&mut expr, at_ms).then_some(expr)
}

/// Other times at which the pinned query must give the same.
pub(super) fn other_times(at_ms: TimestampMs) -> Vec<TimestampMs> {
    match at_ms {
        0 => vec![-1000, 0, 1000],
        _ => vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms],
    }
}

/// Returns whether the result is independent of the evaluation time now.
fn pin(expr: &mut Expr, at_ms: TimestampMs) -> bool {
    let fix = |at: &mut Option<AtModifier>| {
        if !matches!(at, Some(AtModifier::Timestamp(_))) {
            *at = Some(AtModifier::Timestamp(at_ms));
        }
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) => pin(inner, at_ms),
        ExprKind::Unary { expr, .. } => pin(expr, at_ms),
        ExprKind::Binary(binary) => {
            let left = pin(&mut binary.left, at_ms);
            pin(&mut binary.right, at_ms) && left
        }
        ExprKind::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| pin(param, at_ms));
            pin(&mut aggregate.expr, at_ms) && param
        }
        ExprKind::Call(call) => {
            // All arguments are pinned, even behind one that cannot be.
            let unfixed = call.args.iter_mut().filter_map(|arg| (!pin(arg, at_ms)).then_some(())).count();
            unfixed == 0 && !is_time_dependent(call.function.name)
        }
        ExprKind::VectorSelector(selector) => {
            fix(&mut selector.at);
            true
        }
        ExprKind::MatrixSelector(selector) => {
            fix(&mut selector.vector.at);
            true
        }
        ExprKind::Subquery(subquery) => {
            fix(&mut subquery.at);
            true
        }
    }
}
