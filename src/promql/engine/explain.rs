//! What a query would do and touch, without doing it: the plan as lines of text, and the series of each selector.

use serde_json::{Value, json};

use super::plan::{CallKind, CallNode, Node, Selector};
use crate::model::TimeRange;
use crate::promql::functions::Implementation;
use crate::promql::parser::ast::AggregateOp;
use crate::promql::value::Steps;

/// A query's plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The steps at which the expression would be evaluated.
    pub steps: Steps,
    /// What all selectors together would read.
    pub read: TimeRange,
    /// The nodes of the plan, each before its operands.
    pub nodes: Vec<PlanNode>,
    /// The selectors, in the order of the expression.
    pub selectors: Vec<SelectorPlan>,
}

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanNode {
    /// How many nodes stand above it.
    pub depth: usize,
    /// What it does.
    pub text: String,
}

/// What one selector would touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorPlan {
    /// The selector, as it would be written.
    pub selector: String,
    /// The samples that would be read.
    pub read: TimeRange,
    /// How many series it selects, where a storage was asked.
    pub series: Option<u64>,
}

impl Explanation {
    /// The plan below `node`. Without `selected`, the selectors of the plan were not given their series.
    pub(super) fn of(node: &Node<'_>, steps: Steps, read: TimeRange, selected: bool) -> Self {
        let mut explanation = Explanation { steps, read, nodes: Vec::new(), selectors: Vec::new() };
        explanation.visit(node, 0, selected);
        explanation
    }

    /// The plan as JSON: the steps, what is read, the nodes and the selectors. Times are milliseconds.
    pub fn to_json(&self) -> Value {
        let range = |range: TimeRange| json!({"start_ms": range.start_ms, "end_ms": range.end_ms});
        let nodes: Vec<Value> = self.nodes.iter().map(|node| json!({"depth": node.depth, "text": node.text})).collect();
        let selectors: Vec<Value> = self
            .selectors
            .iter()
            .map(|one| json!({"selector": one.selector, "read": range(one.read), "series": one.series}))
            .collect();
        let Steps { start_ms, step_ms, count } = self.steps;
        json!({
            "steps": {"start_ms": start_ms, "step_ms": step_ms, "count": count},
            "read": range(self.read),
            "plan": nodes,
            "selectors": selectors,
        })
    }

    fn visit(&mut self, node: &Node<'_>, depth: usize, selected: bool) {
        let text = match node {
            Node::Number(value) => format!("number {value}"),
            Node::String(text) => format!("string {}", text.quoted()),
            Node::Instant(selector) => self.selector("instant selector", selector, selected),
            Node::Range(selector) => self.selector("range selector", selector, selected),
            Node::Subquery(subquery) => {
                format!("subquery over {} ms, every {} ms", subquery.range_ms, subquery.step_ms)
            }
            Node::Negate(_) => "negation".to_owned(),
            Node::Binary(binary) => format!("binary operator {}", binary.expr.op.as_str()),
            Node::Aggregate(aggregate) => {
                let op = aggregate.expr.op;
                let how =
                    if folds(op) && is_streamed(&aggregate.child) { ", folding each series as it comes" } else { "" };
                format!("aggregation {}{how}", op.as_str())
            }
            Node::Call(call) => {
                let how = if is_streamed(node) { ", series by series" } else { "" };
                format!("function {}{how}", call.call.function.name)
            }
            Node::Invariant(_) => "once, since it is the same at every step".to_owned(),
        };
        self.nodes.push(PlanNode { depth, text });
        match node {
            Node::Number(_) | Node::String(_) | Node::Instant(_) | Node::Range(_) => {}
            Node::Subquery(subquery) => self.visit(&subquery.child, depth + 1, selected),
            Node::Negate(inner) | Node::Invariant(inner) => self.visit(inner, depth + 1, selected),
            Node::Binary(binary) => {
                self.visit(&binary.left, depth + 1, selected);
                self.visit(&binary.right, depth + 1, selected);
            }
            Node::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.visit(param, depth + 1, selected);
                }
                self.visit(&aggregate.child, depth + 1, selected);
            }
            Node::Call(call) => call.args.iter().for_each(|arg| self.visit(arg, depth + 1, selected)),
        }
    }

    fn selector(&mut self, kind: &str, selector: &Selector<'_>, selected: bool) -> String {
        let shown = selector.expr.map(ToString::to_string).unwrap_or_default();
        let series = selected.then_some(selector.series.len() as u64);
        let count = series.map(|series| format!(": {series} series")).unwrap_or_default();
        let text = format!("{kind} {shown}{count}");
        self.selectors.push(SelectorPlan { selector: shown, read: selector.read, series });
        text
    }
}

/// Whether an aggregation needs only its groups' columns.
fn folds(op: AggregateOp) -> bool {
    !op.has_param()
}

/// Whether a node's series are evaluated one at a time.
fn is_streamed(node: &Node<'_>) -> bool {
    let streams = |call: &CallNode<'_>| {
        matches!(
            call.function,
            CallKind::Timestamp | CallKind::StartTimestamp | CallKind::Function(Implementation::OverRange { .. })
        )
    };
    match node {
        Node::Instant(_) => true,
        Node::Call(call) => streams(call),
        _ => false,
    }
}
