//! What is known of a query's cost before it runs.
//!
//! What is stored for its selectors is a bound from above ([`Extent`]): it says what a query would touch, and nothing is
//! refused by it. The samples of a chunk may lie outside the range, be deleted, be staleness markers, or be there twice, and
//! a damaged chunk is left out; so however much is stored, the evaluation may come to hold none of it.
//!
//! What a query holds for certain comes from its steps alone. A scalar has a value at every step, whatever the data, and a node
//! keeps its value until whoever asked for it is done. Nodes are evaluated one after the other and every node of
//! a plan is evaluated, so the largest scalar column of a plan is held at some time: [`floor`] is its cost. A query
//! whose floor is past a bound ends with that bound's error; refusing it at once saves the work before that.

use super::limits::{Cost, Limits};
use super::plan::{CallKind, Node, Selector};
use super::{QueryError, value_type};
use crate::promql::parser::ast::ValueType;
use crate::promql::value::Steps;
use crate::storage::Extent;

/// What every evaluation of the node at these steps holds at some time.
pub(super) fn floor(node: &Node<'_>, steps: &Steps, limits: &Limits) -> Cost {
    let of_inner = match node {
        Node::Number(_) | Node::String(_) | Node::Instant(_) | Node::Range(_) => Cost::default(),
        Node::Negate(inner) => floor(inner, steps, limits),
        Node::Invariant(inner) => floor(inner, &Steps { count: 1, ..*steps }, limits),
        Node::Binary(binary) => floor(&binary.left, steps, limits).max(floor(&binary.right, steps, limits)),
        Node::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref().map_or_else(Cost::default, |param| floor(param, steps, limits));
            param.max(floor(&aggregate.child, steps, limits))
        }
        Node::Call(call) => {
            let args = call.args.iter().map(|arg| floor(arg, steps, limits));
            args.fold(Cost::default(), Cost::max)
        }
        Node::Subquery(subquery) => match subquery.steps(steps) {
            None => Cost::default(),
            // The evaluation of a subquery asks whether it may have so many steps, whatever it is over.
            Some((_, count)) if count > i128::from(limits.samples_max()) => {
                Cost { samples: u64::try_from(count).unwrap_or(u64::MAX), bytes: 0 }
            }
            Some((start_ms, count)) => {
                let steps = Steps { start_ms, step_ms: subquery.step_ms, count: count as usize };
                floor(&subquery.child, &steps, limits)
            }
        },
    };
    if is_full(node) { of_inner.max(Cost::of_column(steps.count, steps.count)) } else { of_inner }
}

/// Whether the node's value has a sample at every step.
fn is_full(node: &Node<'_>) -> bool {
    match node {
        Node::Number(_) => true,
        Node::Negate(inner) | Node::Invariant(inner) => is_full(inner),
        Node::Binary(binary) => {
            let is_scalar = |expr| value_type(expr) == ValueType::Scalar;
            is_scalar(&binary.expr.left) && is_scalar(&binary.expr.right)
        }
        Node::Call(call) => {
            let function = call.call.function;
            matches!(call.function, CallKind::Function(_))
                && (function.returns == ValueType::Scalar || function.name == "vector")
        }
        Node::String(_) | Node::Instant(_) | Node::Range(_) | Node::Aggregate(_) | Node::Subquery(_) => false,
    }
}

/// What is stored for the series of a selector.
pub(super) fn extent(selector: &Selector<'_>, limits: &Limits) -> Result<Extent, QueryError> {
    let mut extent = Extent::default();
    for series in selector.series.iter() {
        limits.check()?;
        extent.add(series.samples.extent(selector.read));
    }
    Ok(extent)
}
