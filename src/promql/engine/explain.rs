//! What a query would do and touch, without doing it, or what it did: the plan as a tree, and what is stored for each selector.
//!
//! The tree is given as a list, each node before its operands and with its depth, since an expression may be deeper than
//! those who read JSON can follow.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use serde_json::{Value, json};

use super::limits::{Cost, Limits};
use super::plan::{CallKind, CallNode, Node, Selector, Subquery};
use super::{QueryError, estimate};
use crate::model::TimeRange;
use crate::promql::functions::Implementation;
use crate::promql::parser::ast::AggregateOp;
use crate::promql::value::Steps;
use crate::storage::Extent;

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
    /// What the query holds at some time, whatever the data, in samples and in bytes, and how much it may hold.
    pub floor: Floor,
    /// Why the query is refused before it runs, if it is.
    pub refusal: Option<String>,
}

/// What a query holds for certain, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Samples that it holds.
    pub samples: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Most samples that it may hold.
    pub samples_max: u64,
    /// Most bytes that it may hold.
    pub bytes_max: u64,
}

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanNode {
    /// How many nodes stand above it.
    pub depth: usize,
    /// What it does.
    pub text: String,
    /// What it took, where it was evaluated by itself. A range selector is evaluated with the function over it.
    pub run: Option<NodeRun>,
}

/// What a node took, its operands included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRun {
    /// Time.
    pub elapsed: Duration,
    /// Series that it gave.
    pub series: u64,
    /// Samples that were decoded for it.
    pub samples_read: u64,
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
    /// What is stored for them, where a storage was asked.
    pub extent: Option<Extent>,
    /// Samples that were decoded, where the query ran.
    pub samples_read: Option<u64>,
}

/// A part of a plan, by its place in memory, which it keeps as long as the plan.
pub(super) type NodeKey = usize;

/// What the parts of a plan took.
pub(super) type Profile = HashMap<NodeKey, NodeRun>;

/// The key of a node.
pub(super) fn key_of(node: &Node<'_>) -> NodeKey {
    match node {
        Node::Subquery(subquery) => key_of_subquery(subquery),
        node => std::ptr::from_ref(node).addr(),
    }
}

/// The key of the node that is this subquery.
pub(super) fn key_of_subquery(subquery: &Subquery<'_>) -> NodeKey {
    std::ptr::from_ref(subquery).addr()
}

/// What an explanation is made with.
pub(super) struct Explainer<'e> {
    pub(super) limits: &'e Limits,
    /// What the series take until they are read.
    pub(super) series_bytes: u64,
    /// Whether the selectors were given their series.
    pub(super) selected: bool,
    /// What the nodes took, where the query ran.
    pub(super) profile: Option<&'e Profile>,
}

impl Explanation {
    /// The plan below `node`.
    pub(super) fn of(
        node: &Node<'_>,
        steps: Steps,
        read: TimeRange,
        explainer: &Explainer<'_>,
    ) -> Result<Self, QueryError> {
        let limits = explainer.limits;
        let certain = estimate::floor(node, &steps, limits).plus(Cost { samples: 0, bytes: explainer.series_bytes });
        let floor = Floor {
            samples: certain.samples,
            bytes: certain.bytes,
            samples_max: limits.samples_max(),
            bytes_max: limits.bytes_max(),
        };
        let refusal = limits.judge(certain).err().map(|error| error.to_string());
        let (nodes, selectors) = (Vec::new(), Vec::new());
        let mut explanation = Explanation { steps, read, nodes, selectors, floor, refusal };
        explanation.visit(node, 0, explainer)?;
        Ok(explanation)
    }

    /// What is stored for all selectors together; `None` where no storage was asked.
    pub fn extent(&self) -> Option<Extent> {
        let mut all = Extent::default();
        for selector in &self.selectors {
            all.add(selector.extent?);
        }
        Some(all)
    }

    /// The plan as JSON. Times are milliseconds, durations seconds.
    ///
    /// `estimate` is what is stored for the selectors, a bound from above; `certain` is what the query holds at some time,
    /// whatever the data, and `refused` says why it would not run.
    pub fn to_json(&self) -> Value {
        let range = |range: TimeRange| json!({"start_ms": range.start_ms, "end_ms": range.end_ms});
        let nodes: Vec<Value> = self.nodes.iter().map(PlanNode::to_json).collect();
        let selectors: Vec<Value> = self
            .selectors
            .iter()
            .map(|one| {
                let mut value = json!({
                    "selector": one.selector,
                    "read": range(one.read),
                    "series": one.series,
                });
                if let Some(extent) = one.extent {
                    put(&mut value, extent_json(extent));
                }
                if let Some(samples_read) = one.samples_read {
                    put(&mut value, json!({"samples_read": samples_read}));
                }
                value
            })
            .collect();
        let Steps { start_ms, step_ms, count } = self.steps;
        let Floor { samples, bytes, samples_max, bytes_max } = self.floor;
        let mut value = json!({
            "steps": {"start_ms": start_ms, "step_ms": step_ms, "count": count},
            "read": range(self.read),
            "plan": nodes,
            "selectors": selectors,
            "certain": {"samples": samples, "bytes": bytes},
            "limits": {"samples": samples_max, "bytes": bytes_max},
            "refused": self.refusal,
        });
        if let Some(extent) = self.extent() {
            let mut estimate = json!({"series": self.selectors.iter().filter_map(|one| one.series).sum::<u64>()});
            put(&mut estimate, extent_json(extent));
            put(&mut value, json!({"estimate": estimate}));
        }
        value
    }

    fn visit(&mut self, node: &Node<'_>, depth: usize, explainer: &Explainer<'_>) -> Result<(), QueryError> {
        let text = match node {
            Node::Number(value) => format!("number {value}"),
            Node::String(text) => format!("string {}", text.quoted()),
            Node::Instant(selector) => self.selector("instant selector", selector, explainer)?,
            Node::Range(selector) => self.selector("range selector", selector, explainer)?,
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
        let run = explainer.profile.and_then(|profile| profile.get(&key_of(node)).copied());
        self.nodes.push(PlanNode { depth, text, run });
        match node {
            Node::Number(_) | Node::String(_) | Node::Instant(_) | Node::Range(_) => Ok(()),
            Node::Subquery(subquery) => self.visit(&subquery.child, depth + 1, explainer),
            Node::Negate(inner) | Node::Invariant(inner) => self.visit(inner, depth + 1, explainer),
            Node::Binary(binary) => {
                self.visit(&binary.left, depth + 1, explainer)?;
                self.visit(&binary.right, depth + 1, explainer)
            }
            Node::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.visit(param, depth + 1, explainer)?;
                }
                self.visit(&aggregate.child, depth + 1, explainer)
            }
            Node::Call(call) => call.args.iter().try_for_each(|arg| self.visit(arg, depth + 1, explainer)),
        }
    }

    fn selector(
        &mut self,
        kind: &str,
        selector: &Selector<'_>,
        explainer: &Explainer<'_>,
    ) -> Result<String, QueryError> {
        let shown = selector.expr.map(ToString::to_string).unwrap_or_default();
        let series = explainer.selected.then_some(selector.series.len() as u64);
        let extent = if explainer.selected { Some(estimate::extent(selector, explainer.limits)?) } else { None };
        let count = series.map(|series| format!(": {series} series")).unwrap_or_default();
        let text = format!("{kind} {shown}{count}");
        let samples_read = explainer.profile.map(|_| selector.samples_read.load(Ordering::Relaxed));
        self.selectors.push(SelectorPlan { selector: shown, read: selector.read, series, extent, samples_read });
        Ok(text)
    }
}

impl PlanNode {
    fn to_json(&self) -> Value {
        let mut value = json!({"depth": self.depth, "text": self.text});
        if let Some(NodeRun { elapsed, series, samples_read }) = self.run {
            let seconds = elapsed.as_secs_f64();
            put(&mut value, json!({"elapsed_seconds": seconds, "series": series, "samples_read": samples_read}));
        }
        value
    }
}

fn extent_json(extent: Extent) -> Value {
    json!({"chunks": extent.chunks, "samples": extent.samples, "bytes": extent.bytes})
}

/// Adds the fields of one object to another.
fn put(target: &mut Value, fields: Value) {
    if let (Some(target), Value::Object(fields)) = (target.as_object_mut(), fields) {
        target.extend(fields);
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
