//! The plan of a query: its tree with the series of each selector, and with those parts marked that are the same at
//! every step.
//!
//! Source: Prometheus `promql/engine.go`, `preprocessExprHelper`, `getTimeRangesForSelector`, `subqueryTimes`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::statistics::Need;
use super::{EngineOptions, QueryError};
use crate::model::{Matcher, TimeRange};
use crate::promql::functions::{self, Implementation};
use crate::promql::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Duration, Expr, ExprKind, SelectorMode, Span, StringLiteral,
    SubqueryExpr, VectorSelector,
};
use crate::storage::{Querier, SelectHints, SelectedSeries};

/// Functions whose value depends on the step's own time, so that `@` in their arguments does not make it the same at
/// every step.
const STEP_DEPENDENT: [&str; 14] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "year",
];

/// Whether a function's value depends on the step's own time, whatever its arguments.
pub(in crate::promql) fn is_step_dependent(function: &str) -> bool {
    STEP_DEPENDENT.contains(&function)
}

/// A node of the plan.
pub(super) enum Node<'a> {
    Number(f64),
    String(&'a StringLiteral),
    /// An instant selector.
    Instant(Selector<'a>),
    /// A range selector: an argument of a function, or the whole of an instant query.
    Range(Selector<'a>),
    Subquery(Box<Subquery<'a>>),
    Negate(Box<Node<'a>>),
    Binary(Box<Binary<'a>>),
    Aggregate(Box<Aggregate<'a>>),
    Call(Box<CallNode<'a>>),
    /// The same at every step: evaluated once.
    Invariant(Box<Node<'a>>),
}

/// A selector and the series that it selects.
pub(super) struct Selector<'a> {
    /// The selector in the expression, if it stands there.
    pub(super) expr: Option<&'a Expr>,
    pub(super) matchers: &'a [Matcher],
    pub(super) offset_ms: i64,
    /// The time of `@`, which takes the place of the step's.
    pub(super) at_ms: Option<i64>,
    pub(super) mode: Option<SelectorMode>,
    /// 0 for an instant selector.
    pub(super) range_ms: i64,
    /// Of histograms only count and sum are needed.
    pub(super) statistics_only: bool,
    /// Every sample that any step may need lies in here.
    pub(super) read: TimeRange,
    pub(super) series: Arc<[SelectedSeries]>,
    /// Samples of these series that were decoded so far.
    pub(super) samples_read: AtomicU64,
}

impl Selector<'_> {
    /// The time at which the samples are looked for, for the step at `step_ms`.
    #[inline]
    pub(super) fn reference_ms(&self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }
}

/// A subquery.
pub(super) struct Subquery<'a> {
    pub(super) child: Node<'a>,
    pub(super) range_ms: i64,
    pub(super) step_ms: i64,
    pub(super) offset_ms: i64,
    pub(super) at_ms: Option<i64>,
}

/// A binary operation.
pub(super) struct Binary<'a> {
    pub(super) expr: &'a BinaryExpr,
    pub(super) span: Span,
    pub(super) left: Node<'a>,
    pub(super) right: Node<'a>,
}

/// An aggregation.
pub(super) struct Aggregate<'a> {
    pub(super) expr: &'a AggregateExpr,
    pub(super) span: Span,
    pub(super) child: Node<'a>,
    pub(super) param: Option<Node<'a>>,
}

/// A function call.
pub(super) struct CallNode<'a> {
    pub(super) call: &'a Call,
    pub(super) span: Span,
    pub(super) function: CallKind,
    pub(super) args: Vec<Node<'a>>,
    /// `info`: when its info series are looked at. It has no series of its own.
    pub(super) info: Option<Selector<'a>>,
}

/// Who evaluates a call.
#[derive(Clone, Copy)]
pub(super) enum CallKind {
    /// The function table's implementation.
    Function(Implementation),
    /// `timestamp` of a plain selector, which needs the samples' own times.
    Timestamp,
    /// `start_timestamp`, which needs what is stored beside a sample.
    StartTimestamp,
    /// `absent_over_time`.
    AbsentOverTime,
    /// `info`, which selects series by the labels of others.
    Info,
}

/// Makes the plan, and selects the series of every selector in it.
pub(super) struct Planner<'p> {
    pub(super) options: &'p EngineOptions,
    pub(super) lookback_ms: i64,
    /// `None` while only the time range of the query is wanted.
    pub(super) querier: Option<&'p dyn Querier>,
    /// What is needed of the histograms at the place that is being planned.
    pub(super) need: Need,
    /// What all selectors together read.
    pub(super) read: Option<TimeRange>,
    /// How many series were selected.
    pub(super) series: u64,
    /// What they take until their samples are read.
    pub(super) series_bytes: u64,
}

impl Planner<'_> {
    /// The range that the selectors of `expr` read, where its steps lie in `scope`.
    pub(super) fn plan_range(&mut self, expr: &Expr, scope: TimeRange) -> Result<TimeRange, QueryError> {
        self.plan(expr, scope)?;
        Ok(self.read.unwrap_or(TimeRange::new(0, 0)))
    }

    /// The plan of `expr`, evaluated at steps that lie in `scope`.
    pub(super) fn plan<'a>(&mut self, expr: &'a Expr, scope: TimeRange) -> Result<Node<'a>, QueryError> {
        let (node, invariance) = self.node(expr, scope)?;
        Ok(wrap_if(invariance.wrap, node))
    }

    fn node<'a>(&mut self, expr: &'a Expr, scope: TimeRange) -> Result<(Node<'a>, Invariance), QueryError> {
        Ok(match &expr.kind {
            ExprKind::Number(number) => (Node::Number(number.value), Invariance::LITERAL),
            ExprKind::String(text) => (Node::String(text), Invariance::LITERAL),
            ExprKind::Paren(inner) => self.node(inner, scope)?,
            ExprKind::Unary { negative, expr } => {
                let (node, invariance) = self.node(expr, scope)?;
                (if *negative { Node::Negate(Box::new(node)) } else { node }, invariance)
            }
            ExprKind::Binary(binary) => {
                let around = self.need;
                self.need = around.inside_binary(binary.op);
                let (left, of_left) = self.node(&binary.left, scope)?;
                let (right, of_right) = self.node(&binary.right, scope)?;
                self.need = around;
                let both = of_left.invariant && of_right.invariant;
                let left = wrap_if(of_left.wrap && !both, left);
                let right = wrap_if(of_right.wrap && !both, right);
                let node = Binary { expr: binary, span: expr.span, left, right };
                (Node::Binary(Box::new(node)), Invariance::all(both))
            }
            ExprKind::Aggregate(aggregate) => {
                let (child, invariance) = self.node(&aggregate.expr, scope)?;
                let param = match &aggregate.param {
                    Some(param) => Some(self.plan(param, scope)?),
                    None => None,
                };
                let node = Aggregate { expr: aggregate, span: expr.span, child, param };
                (Node::Aggregate(Box::new(node)), invariance)
            }
            ExprKind::Call(call) => self.call(call, expr.span, scope)?,
            ExprKind::VectorSelector(selector) => {
                let selector = self.selector(expr, selector, 0, scope)?;
                let invariance = Invariance::all(selector.at_ms.is_some());
                (Node::Instant(selector), invariance)
            }
            ExprKind::MatrixSelector(matrix) => {
                let selector = self.selector(expr, &matrix.vector, matrix.range.fixed_ms(), scope)?;
                let invariance = Invariance { invariant: selector.at_ms.is_some(), wrap: false };
                (Node::Range(selector), invariance)
            }
            ExprKind::Subquery(subquery) => {
                let node = self.subquery(subquery, scope)?;
                let invariance = Invariance { invariant: node.at_ms.is_some(), wrap: false };
                (Node::Subquery(Box::new(node)), invariance)
            }
        })
    }

    fn call<'a>(&mut self, call: &'a Call, span: Span, scope: TimeRange) -> Result<(Node<'a>, Invariance), QueryError> {
        let name = call.function.name;
        let function = self.call_kind(call)?;
        let mut args = Vec::with_capacity(call.args.len());
        // The second argument of `info` is no expression but a set of matchers.
        let evaluated = if matches!(function, CallKind::Info) { &call.args[..1] } else { &call.args[..] };
        let around = self.need;
        self.need = around.inside_call(call);
        for arg in evaluated {
            args.push(self.node(arg, scope)?);
        }
        self.need = around;
        let info = match (function, call.args.first()) {
            (CallKind::Info, Some(arg)) => Some(self.info_reach(arg, scope)),
            _ => None,
        };
        let all = args.iter().all(|(_, arg)| arg.invariant);
        let of_timestamp = matches!(function, CallKind::Timestamp | CallKind::StartTimestamp);
        let invariant = all && (of_timestamp || (name != "timestamp" && !is_step_dependent(name)));
        let args = args.into_iter().map(|(node, arg)| wrap_if(arg.wrap && !invariant, node)).collect();
        Ok((Node::Call(Box::new(CallNode { call, span, function, args, info })), Invariance::all(invariant)))
    }

    fn call_kind(&self, call: &Call) -> Result<CallKind, QueryError> {
        let name = call.function.name;
        let of_selector = matches!(call.args.first().map(|arg| &arg.kind), Some(ExprKind::VectorSelector(_)));
        Ok(match name {
            "timestamp" if of_selector => CallKind::Timestamp,
            "start_timestamp" => CallKind::StartTimestamp,
            "absent_over_time" => CallKind::AbsentOverTime,
            "info" => CallKind::Info,
            _ => CallKind::Function(
                functions::implementation(name)
                    .ok_or_else(|| QueryError::Execution(format!("unknown function with name {name:?}")))?,
            ),
        })
    }

    fn subquery<'a>(&mut self, subquery: &'a SubqueryExpr, scope: TimeRange) -> Result<Subquery<'a>, QueryError> {
        let range_ms = subquery.range.fixed_ms();
        let offset_ms = subquery.offset.fixed_ms();
        let at_ms = at_ms(subquery.at);
        let step_ms = match subquery.step.as_ref().map(Duration::fixed_ms) {
            Some(step_ms) if step_ms > 0 => step_ms,
            _ => self.options.default_subquery_step_ms.max(1),
        };
        let start = at_ms.unwrap_or(scope.start_ms).saturating_sub(offset_ms).saturating_sub(range_ms);
        let end = at_ms.unwrap_or(scope.end_ms).saturating_sub(offset_ms);
        let around = self.need;
        self.need = around.inside_subquery();
        let (child, invariance) = self.node(&subquery.expr, TimeRange::new(start, end))?;
        self.need = around;
        let child = wrap_if(invariance.invariant && !matches!(child, Node::Range(_) | Node::Subquery(_)), child);
        Ok(Subquery { child, range_ms, step_ms, offset_ms, at_ms })
    }

    fn selector<'a>(
        &mut self,
        expr: &'a Expr,
        selector: &'a VectorSelector,
        range_ms: i64,
        scope: TimeRange,
    ) -> Result<Selector<'a>, QueryError> {
        let offset_ms = selector.offset.fixed_ms();
        let at_ms = at_ms(selector.at);
        let mut back_ms = if range_ms == 0 { self.lookback_ms } else { range_ms };
        let mut forth_ms = 0;
        if selector.mode.is_some() && range_ms != 0 {
            back_ms = back_ms.saturating_add(self.lookback_ms);
        }
        if selector.mode == Some(SelectorMode::Smoothed) {
            forth_ms = self.lookback_ms;
        }
        // Windows are open at their start. A smoothed instant selector and the extended windows of the others look at
        // the millisecond before as well, which costs nothing.
        let start = at_ms.unwrap_or(scope.start_ms).saturating_sub(offset_ms).saturating_sub(back_ms - 1);
        let end = at_ms.unwrap_or(scope.end_ms).saturating_sub(offset_ms).saturating_add(forth_ms);
        let read = TimeRange::new(start, end);
        self.will_read(read);
        let series = match self.querier {
            Some(querier) if start <= end => self.select(querier, &selector.matchers)?,
            _ => Arc::from([]),
        };
        Ok(Selector {
            expr: Some(expr),
            matchers: &selector.matchers,
            offset_ms,
            at_ms,
            mode: selector.mode,
            range_ms,
            statistics_only: self.need.is_statistics_only(),
            read,
            series,
            samples_read: AtomicU64::new(0),
        })
    }

    fn will_read(&mut self, read: TimeRange) {
        self.read = Some(match self.read {
            None => read,
            Some(all) => TimeRange::new(all.start_ms.min(read.start_ms), all.end_ms.max(read.end_ms)),
        });
    }

    /// When the info series for `argument` are looked at: as the first selector in it says.
    fn info_reach(&mut self, argument: &Expr, scope: TimeRange) -> Selector<'static> {
        let (at_ms, offset_ms) = first_selector_time(argument).unwrap_or((None, 0));
        let start = at_ms.unwrap_or(scope.start_ms).saturating_sub(offset_ms).saturating_sub(self.lookback_ms - 1);
        let end = at_ms.unwrap_or(scope.end_ms).saturating_sub(offset_ms);
        let read = TimeRange::new(start, end);
        self.will_read(read);
        Selector {
            expr: None,
            matchers: &[],
            offset_ms,
            at_ms,
            mode: None,
            range_ms: 0,
            statistics_only: false,
            read,
            series: Arc::from([]),
            samples_read: AtomicU64::new(0),
        }
    }

    fn select(&mut self, querier: &dyn Querier, matchers: &[Matcher]) -> Result<Arc<[SelectedSeries]>, QueryError> {
        let series_max = self.options.series_max;
        let hints = SelectHints {
            series_max: usize::try_from(series_max).unwrap_or(usize::MAX),
            bytes_max: self.options.bytes_max().saturating_sub(self.series_bytes).max(1),
            ..Default::default()
        };
        let series = querier.select(matchers, &hints)?;
        self.series += series.len() as u64;
        self.series_bytes += series.iter().map(|one| SelectedSeries::bytes_of(&one.labels)).sum::<u64>();
        if series_max > 0 && self.series > series_max {
            return Err(QueryError::TooManySeries { limit: series_max });
        }
        Ok(series.into())
    }
}

/// What is known about a node's value over the steps.
#[derive(Clone, Copy)]
struct Invariance {
    /// It is the same at every step.
    invariant: bool,
    /// Evaluating it only once pays.
    wrap: bool,
}

impl Invariance {
    const LITERAL: Invariance = Invariance { invariant: true, wrap: false };

    fn all(invariant: bool) -> Self {
        Invariance { invariant, wrap: invariant }
    }
}

/// The time of `@` and the offset of the first selector in an expression, with those of the subqueries around it.
fn first_selector_time(expr: &Expr) -> Option<(Option<i64>, i64)> {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => None,
        ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => first_selector_time(expr),
        ExprKind::Binary(binary) => first_selector_time(&binary.left).or_else(|| first_selector_time(&binary.right)),
        ExprKind::Aggregate(aggregate) => {
            first_selector_time(&aggregate.expr).or_else(|| aggregate.param.as_ref().and_then(first_selector_time))
        }
        ExprKind::Call(call) => call.args.iter().find_map(first_selector_time),
        ExprKind::VectorSelector(selector) => Some((at_ms(selector.at), selector.offset.fixed_ms())),
        ExprKind::MatrixSelector(matrix) => Some((at_ms(matrix.vector.at), matrix.vector.offset.fixed_ms())),
        ExprKind::Subquery(subquery) => first_selector_time(&subquery.expr).map(|(at, offset_ms)| match at {
            Some(_) => (at, offset_ms),
            None => (at_ms(subquery.at), offset_ms.saturating_add(subquery.offset.fixed_ms())),
        }),
    }
}

fn wrap_if(wrap: bool, node: Node<'_>) -> Node<'_> {
    if wrap { Node::Invariant(Box::new(node)) } else { node }
}

fn at_ms(at: Option<AtModifier>) -> Option<i64> {
    match at {
        Some(AtModifier::Timestamp(ms)) => Some(ms),
        // Resolved before the plan is made.
        Some(AtModifier::Start | AtModifier::End) | None => None,
    }
}
