//! The engine: evaluates an expression over series, column by column.
//!
//! A query goes through three stages. `resolve` fixes what depends on its times, `plan` selects the series of every
//! selector and marks what is the same at all steps, `evaluate` computes. Every selected series is decoded once for
//! the whole range of steps; a function over range vectors slides over the decoded column; an aggregation directly above
//! folds each series into its group as it comes, so that memory follows groups x steps. Source of all rules: Prometheus
//! `promql/engine.go`, version 3.14. The order of float operations is Prometheus', so results are equal to the last bit.

mod aggregate;
mod binary;
mod call;
mod count_values;
mod depth;
mod error;
mod estimate;
mod evaluate;
mod explain;
mod histogram_fold;
mod info;
mod limits;
mod matching;
mod names;
mod operator;
mod parallel;
mod plan;
mod power;
mod resolve;
mod result;
mod select_k;
mod smooth;
mod statistics;
mod stream;
mod subquery;
#[cfg(test)]
mod tests;
mod window;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

pub use error::QueryError;
pub use explain::{Explanation, Floor, NodeRun, PlanNode, SelectorPlan};
pub use limits::CancelToken;
pub use result::{MatrixSeries, QueryResult, QueryStats, QueryValue, VectorSample};

use crate::clock::Clock;
use crate::model::{LabelSet, TimeRange, TimestampMs};
use crate::promql::parser::LanguageOptions;
use crate::promql::parser::ast::{Expr, ExprKind, ValueType};
use crate::promql::value::{SeriesSteps, Steps, StepsValue, is_absent};
use crate::storage::{Column, Querier, Queryable};
use evaluate::Evaluator;
use explain::{Explainer, key_of};
use limits::{Cost, Limits};
pub(in crate::promql) use plan::is_step_dependent;
use plan::{Node, Planner};
use resolve::{QueryTimes, resolve, unparenthesized};
use statistics::Need;

/// Bytes per allowed sample that a query may hold where no bound on memory is set.
const BYTES_PER_SAMPLE: u64 = 32;

/// How the engine behaves, for all queries.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far an instant selector looks back for a sample.
    pub lookback_delta_ms: i64,
    /// Most samples that a query may hold at a time.
    pub samples_max: u64,
    /// Most series that a query may select; 0 means no bound.
    pub series_max: u64,
    /// Longest time that a query may take.
    pub timeout: Duration,
    /// The resolution of a subquery that names none.
    pub default_subquery_step_ms: i64,
    /// Most threads that evaluate one query.
    pub parallelism: usize,
    /// Most bytes that a query may hold at a time; `None` derives the bound from `samples_max`.
    pub memory_max: Option<u64>,
    /// Whether the metric name of a result goes only when the whole query is evaluated.
    pub delayed_name_removal: bool,
    /// Whether functions use the start timestamps of samples: when a counter was last at zero.
    pub start_timestamps: bool,
    /// Whether the `__type__` label says if a metric is a counter, and not the end of its name.
    pub type_and_unit_labels: bool,
    /// What of the language is understood. The engine evaluates all of it; this is for whoever parses.
    pub language: LanguageOptions,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback_delta_ms: 5 * 60 * 1000,
            samples_max: 50_000_000,
            series_max: 0,
            timeout: Duration::from_secs(120),
            default_subquery_step_ms: 60 * 1000,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            memory_max: None,
            delayed_name_removal: false,
            start_timestamps: false,
            type_and_unit_labels: false,
            language: LanguageOptions::default(),
        }
    }
}

impl EngineOptions {
    /// Most bytes that a query may hold at a time.
    pub fn bytes_max(&self) -> u64 {
        self.memory_max.unwrap_or(self.samples_max.saturating_mul(BYTES_PER_SAMPLE))
    }
}

/// What one query may ask for itself.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Replaces the engine's lookback delta.
    pub lookback_delta_ms: Option<i64>,
    /// Shortens the engine's timeout; a longer one has no effect.
    pub timeout: Option<Duration>,
    /// Ends the query from outside.
    pub cancel: CancelToken,
    /// Samples are counted for each step too.
    pub per_step_stats: bool,
    /// The result comes with the plan, and with what each of its nodes took.
    pub analyze: bool,
}

/// Evaluates expressions.
pub struct Engine {
    options: EngineOptions,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Engine { options, clock }
    }

    /// How the engine behaves.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The value of an expression at one time.
    pub fn instant(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        time_ms: TimestampMs,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let steps = Steps { start_ms: time_ms, step_ms: 0, count: 1 };
        let times = QueryTimes { start_ms: time_ms, end_ms: time_ms, step_ms: 0 };
        depth::with_stack_for(expr, || self.run(storage, expr, steps, times, options, true))
    }

    /// The values of an expression at `start_ms` and then every `step_ms` up to `end_ms`.
    pub fn range(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        start_ms: TimestampMs,
        end_ms: TimestampMs,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let steps = self.steps(expr, start_ms, end_ms, step_ms)?;
        let times = QueryTimes { start_ms, end_ms, step_ms };
        depth::with_stack_for(expr, || self.run(storage, expr, steps, times, options, false))
    }

    /// What a range query would do, without doing it. An instant query is one with equal ends. Without a storage the
    /// plan says what would be read, but not how many series that is.
    pub fn explain(
        &self,
        storage: Option<&dyn Queryable>,
        expr: &Expr,
        start_ms: TimestampMs,
        end_ms: TimestampMs,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Explanation, QueryError> {
        let steps = if start_ms == end_ms {
            Steps { start_ms, step_ms: 0, count: 1 }
        } else {
            self.steps(expr, start_ms, end_ms, step_ms)?
        };
        let times = QueryTimes { start_ms, end_ms, step_ms };
        let lookback_ms = self.lookback_ms(options);
        depth::with_stack_for(expr, || {
            let expr = resolve(unparenthesized(expr), &times)?;
            let scope = TimeRange::new(start_ms, end_ms);
            let read = self.planner(lookback_ms, None).plan_range(&expr, scope)?;
            let querier = storage.map(|storage| storage.querier(read)).transpose()?;
            let mut planner = self.planner(lookback_ms, querier.as_deref());
            let node = planner.plan(&expr, scope)?;
            let (limits, series_bytes) = (self.limits(options), planner.series_bytes);
            let explainer = Explainer { limits: &limits, series_bytes, selected: querier.is_some(), profile: None };
            Explanation::of(&node, steps, read, &explainer)
        })
    }

    fn lookback_ms(&self, options: &QueryOptions) -> i64 {
        let asked = options.lookback_delta_ms.filter(|lookback_ms| *lookback_ms > 0);
        asked.unwrap_or(self.options.lookback_delta_ms)
    }

    /// The steps of a range query; an error where it has none, or too many.
    fn steps(&self, expr: &Expr, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Steps, QueryError> {
        let unfit = match value_type(expr) {
            ValueType::Scalar | ValueType::Vector => None,
            ValueType::Matrix => Some("range vector"),
            ValueType::String => Some("string"),
        };
        if let Some(unfit) = unfit {
            let text = format!("invalid expression type {unfit:?} for range query, must be Scalar or instant Vector");
            return Err(QueryError::BadExpression(text));
        }
        if step_ms <= 0 || end_ms < start_ms {
            let text = "a range query needs a positive step and an end that is not before its start";
            return Err(QueryError::BadExpression(text.to_owned()));
        }
        let count = (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms) + 1;
        if count > i128::from(self.options.samples_max) {
            return Err(QueryError::TooManySamples);
        }
        Ok(Steps { start_ms, step_ms, count: count as usize })
    }

    fn run(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        steps: Steps,
        times: QueryTimes,
        options: &QueryOptions,
        instant: bool,
    ) -> Result<QueryResult, QueryError> {
        let started = self.clock.monotonic();
        let mut limits = self.limits(options);
        if options.per_step_stats {
            limits.count_per_step(steps.count);
        }
        limits.check()?;
        let lookback_ms = self.lookback_ms(options);
        let expr = resolve(unparenthesized(expr), &times)?;
        let scope = TimeRange::new(steps.start_ms, times.end_ms);

        // Planned twice: the querier needs to know the range that all selectors together read.
        let read = self.planner(lookback_ms, None).plan_range(&expr, scope)?;
        let querier = storage.querier(read)?;
        let mut planner = self.planner(lookback_ms, Some(querier.as_ref()));
        let node = planner.plan(&expr, scope)?;
        let series = planner.series;
        let series_bytes = planner.series_bytes;
        limits.hold(Cost { samples: 0, bytes: series_bytes })?;
        limits.judge(limits.held().plus(estimate::floor(&node, &steps, &limits)))?;
        limits.check()?;
        let prepared = self.clock.monotonic();

        let mut evaluator = Evaluator::new(&self.options, lookback_ms, &limits, querier.as_ref());
        evaluator.profile = options.analyze.then(RefCell::default);
        let mut value = match &node {
            Node::Range(selector) => {
                let matrix = evaluator.timed(key_of(&node), || evaluator.matrix(selector, &steps), Vec::len)?;
                QueryValue::Matrix(matrix)
            }
            Node::Subquery(subquery) => QueryValue::Matrix(evaluator.subquery_matrix(subquery, &steps)?),
            node => {
                let value = evaluator.eval(node, &steps)?;
                shown(evaluator.without_delayed_names(value)?, &steps, instant)
            }
        };
        limits.check()?;
        let evaluated = self.clock.monotonic();

        if let QueryValue::Matrix(matrix) = &mut value {
            matrix.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        let stats = QueryStats {
            preparation: prepared.saturating_sub(started),
            evaluation: evaluated.saturating_sub(prepared),
            sorting: self.clock.monotonic().saturating_sub(evaluated),
            samples_total: limits.samples_total(),
            samples_peak: limits.samples_peak(),
            samples_per_step: limits.samples_per_step(&steps),
            series,
        };
        let profile = evaluator.profile.take().map(RefCell::into_inner);
        let annotations = evaluator.into_annotations();
        let explanation = match &profile {
            None => None,
            profile => {
                let explainer = Explainer { limits: &limits, series_bytes, selected: true, profile: profile.as_ref() };
                Some(Explanation::of(&node, steps, read, &explainer)?)
            }
        };
        Ok(QueryResult { value, annotations, storage_warnings: querier.warnings(), stats, explanation })
    }

    /// The bounds of a query that begins now.
    fn limits(&self, options: &QueryOptions) -> Limits {
        Limits::new(
            self.clock.clone(),
            options.cancel.clone(),
            options.timeout.map_or(self.options.timeout, |timeout| timeout.min(self.options.timeout)),
            self.options.samples_max,
            self.options.bytes_max(),
        )
    }

    fn planner<'p>(&'p self, lookback_ms: i64, querier: Option<&'p dyn Querier>) -> Planner<'p> {
        Planner {
            options: &self.options,
            lookback_ms,
            querier,
            need: Need::default(),
            read: None,
            series: 0,
            series_bytes: 0,
        }
    }
}

/// The type of an expression's value.
pub fn value_type(expr: &Expr) -> ValueType {
    match &expr.kind {
        ExprKind::Number(_) => ValueType::Scalar,
        ExprKind::String(_) => ValueType::String,
        ExprKind::Paren(inner) => value_type(inner),
        ExprKind::Unary { expr, .. } => value_type(expr),
        ExprKind::Binary(binary) => match (value_type(&binary.left), value_type(&binary.right)) {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            _ => ValueType::Vector,
        },
        ExprKind::Aggregate(_) | ExprKind::VectorSelector(_) => ValueType::Vector,
        ExprKind::Call(call) => call.function.returns,
        ExprKind::MatrixSelector(_) | ExprKind::Subquery(_) => ValueType::Matrix,
    }
}

/// The value as it is shown to whoever asked.
fn shown(value: StepsValue, steps: &Steps, instant: bool) -> QueryValue {
    let timestamp_ms = steps.start_ms;
    match (value, instant) {
        (StepsValue::String(value), _) => QueryValue::String { timestamp_ms, value },
        (StepsValue::Scalar(values), true) => QueryValue::Scalar { timestamp_ms, value: values[0] },
        (StepsValue::Scalar(values), false) => {
            let one = SeriesSteps { labels: LabelSet::empty(), drop_name: false, values, histograms: Vec::new() };
            QueryValue::Matrix(vec![matrix_series(one, steps)])
        }
        (StepsValue::Vector(series), true) => {
            let samples = series.into_iter().filter(|one| !names::is_empty(one)).map(|one| VectorSample {
                value: one.values[0],
                timestamp_ms,
                histogram: one.histograms.into_iter().next().map(|(_, histogram)| Box::new(histogram)),
                labels: one.labels,
            });
            QueryValue::Vector(samples.collect())
        }
        (StepsValue::Vector(series), false) => {
            let series = series.into_iter().filter(|one| !names::is_empty(one));
            QueryValue::Matrix(series.map(|one| matrix_series(one, steps)).collect())
        }
    }
}

fn matrix_series(series: SeriesSteps, steps: &Steps) -> MatrixSeries {
    let (labels, _, samples) = samples_of(series, steps);
    MatrixSeries { labels, samples }
}

/// A series of steps as a series of samples: its labels, whether the name is to go, and the samples.
fn samples_of(series: SeriesSteps, steps: &Steps) -> (LabelSet, bool, Column) {
    let mut samples = Column::default();
    let mut histograms = series.histograms.into_iter().peekable();
    for (step, value) in series.values.into_iter().enumerate() {
        if is_absent(value) {
            continue;
        }
        match histograms.next_if(|(at, _)| *at as usize == step) {
            Some((_, histogram)) => samples.push_histogram(steps.at(step), histogram),
            None => samples.push(steps.at(step), value),
        }
    }
    (series.labels, series.drop_name, samples)
}
