//! `query` and `query_range`, and what is asked about the text of a query.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::encoding::accepts_gzip;
use super::error::{ApiError, ErrorType};
use super::params::{Params, parse_duration_ms};
use super::query_log::{Asked, EndsQuery, QueryLog};
use super::query_usage::QueryUsage;
use super::response::{self, ApiBody, Notes};
use super::{Api, ApiRequest, off_the_way, render};
use crate::model::TimestampMs;
use crate::promql::annotations::Level;
use crate::promql::engine::{QueryError, QueryOptions, QueryResult, QueryStats, QueryValue};
use crate::promql::parser::ast::Expr;
use crate::promql::parser::{LanguageOptions, parse_expr_with};
use crate::storage::Queryable;
use crate::telemetry::{Counter, Summary};

/// Steps of a range query beyond which Prometheus refuses.
const STEPS_MAX: i128 = 11_000;

/// The warning about a result that was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// Counts of the queries.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    /// Queries that are waiting or being evaluated.
    active: AtomicU64,
    /// Which these are, and the slowest.
    pub(super) log: QueryLog,
    /// Which metrics were asked for.
    pub(super) usage: QueryUsage,
    /// Queries that were answered, and those that failed.
    pub answered: Counter,
    /// Queries that ended in an error.
    pub failed: Counter,
    /// Samples that queries looked at.
    pub samples: Counter,
    /// Time in the queue.
    pub queue_time: Summary,
    /// Time for preparing and selecting.
    pub prepare_time: Summary,
    /// Time for evaluating.
    pub eval_time: Summary,
    /// Time for sorting.
    pub sort_time: Summary,
}

/// Counts a query as active while it lives.
struct Active(Arc<QueryMetrics>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl QueryMetrics {
    /// Queries that are waiting or being evaluated.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    fn observe(&self, now: Duration, stats: &QueryStats) {
        self.samples.add(stats.samples_total);
        self.prepare_time.observe(now, stats.preparation);
        self.eval_time.observe(now, stats.evaluation);
        self.sort_time.observe(now, stats.sorting);
    }
}

/// What `query` and `query_range` have in common.
pub(super) struct Common {
    text: String,
    timeout: Duration,
    lookback_delta_ms: Option<i64>,
    limit: Option<usize>,
    stats: Stats,
    gzip: bool,
}

/// What is said of a query's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stats {
    None,
    Sums,
    /// With the samples of each step.
    All,
}

/// A query that was evaluated.
pub(super) struct Evaluated {
    pub(super) result: QueryResult,
    text: String,
    pub(super) queued: Duration,
    pub(super) total: Duration,
}

impl Api {
    pub(super) fn common(
        &self,
        params: &Params,
        limit: Option<usize>,
        request: &ApiRequest,
    ) -> Result<Common, ApiError> {
        // Each fault is looked for in Prometheus' order: the timeout first.
        let timeout = params.timeout(self.options.engine.timeout)?;
        let named = |fault| ApiError::bad_data(format!("error parsing lookback delta duration: {fault}"));
        let lookback_delta_ms = params.get("lookback_delta").map(parse_duration_ms).transpose().map_err(named)?;
        Ok(Common {
            text: params.get("query").unwrap_or("").to_owned(),
            timeout,
            // Zero and less ask for the server's own.
            lookback_delta_ms: lookback_delta_ms.filter(|ms| *ms > 0),
            limit,
            stats: match params.get("stats") {
                None => Stats::None,
                Some("all") => Stats::All,
                Some(_) => Stats::Sums,
            },
            gzip: accepts_gzip(&request.headers),
        })
    }

    pub(super) async fn query(
        self: &Arc<Self>,
        request: &ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let limit = params.limit()?;
        let time_ms = params.optional_time("time")?.unwrap_or_else(|| self.clock.now_ms());
        let common = self.common(&params, limit, request)?;
        let engine = self.engine.clone();
        let asked = Asked::new(&common.text, time_ms, time_ms, 0);
        self.answer(common, asked, move |expr, options| engine.instant(&*data, expr, time_ms, options)).await
    }

    pub(super) async fn query_range(
        self: &Arc<Self>,
        request: &ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let limit = params.limit()?;
        let (start_ms, end_ms, step_ms) = range_of(&params)?;
        let common = self.common(&params, limit, request)?;
        let engine = self.engine.clone();
        let run =
            move |expr: &Expr, options: &QueryOptions| engine.range(&*data, expr, start_ms, end_ms, step_ms, options);
        let asked = Asked::new(&common.text, start_ms, end_ms, step_ms);
        self.answer(common, asked, run).await
    }

    /// Evaluates a query and writes the answer.
    async fn answer(
        self: &Arc<Self>,
        common: Common,
        asked: Asked,
        run: impl FnOnce(&Expr, &QueryOptions) -> Result<QueryResult, QueryError> + Send + 'static,
    ) -> Result<Response<ApiBody>, ApiError> {
        let (limit, stats, gzip) = (common.limit, common.stats, common.gzip);
        let Evaluated { mut result, text, queued, total } = self.evaluate(common, asked, false, run).await?;
        let mut notes = notes(&result, &text);
        if limit.is_some_and(|limit| truncate(&mut result.value, limit)) {
            notes.warnings.insert(0, TRUNCATED.to_owned());
        }
        Ok(response::stream("application/json", gzip, move |sink| {
            response::write_success(sink, &notes, |json| {
                let stats = (stats != Stats::None).then_some((&result.stats, queued, total));
                render::query_data(json, &result.value, stats)
            })
        })
        .await)
    }

    /// Waits for a place and evaluates away from the connections. When the client goes away, this future is dropped, and with
    /// it the query.
    pub(super) async fn evaluate(
        self: &Arc<Self>,
        common: Common,
        asked: Asked,
        analyze: bool,
        run: impl FnOnce(&Expr, &QueryOptions) -> Result<QueryResult, QueryError> + Send + 'static,
    ) -> Result<Evaluated, ApiError> {
        self.metrics.active.fetch_add(1, Ordering::Relaxed);
        let active = Active(self.metrics.clone());
        let began = self.clock.monotonic();
        let query = self.metrics.log.begin(asked, began, self.clock.now_ms());
        let ends_query = EndsQuery(query.cancel_token().clone());
        let slow = self.options.slow_query;
        let permit = self.place(common.timeout).await.inspect_err(|fault| {
            self.metrics.log.end(&query, self.clock.monotonic(), Err(fault.message.clone()), slow);
        })?;
        query.has_its_turn();
        let now = self.clock.monotonic();
        let queued = now.saturating_sub(began);
        self.metrics.queue_time.observe(now, queued);

        let options = QueryOptions {
            lookback_delta_ms: common.lookback_delta_ms,
            timeout: Some(common.timeout.saturating_sub(queued)),
            cancel: query.cancel_token().clone(),
            per_step_stats: common.stats == Stats::All,
            analyze,
        };
        let text = common.text;
        let language = self.engine.options().language;
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        let evaluated = off_the_way(move || {
            // Both go when the evaluation ends, even if nobody waits for it any more.
            let (_permit, _active) = (permit, active);
            let expr = parse_query_text(&text, &language)?;
            metrics.usage.note(expr.selectors(), clock.now_ms());
            let result = run(&expr, &options);
            let outcome = result.as_ref().map(|result| result.stats.clone()).map_err(ToString::to_string);
            metrics.log.end(&query, clock.monotonic(), outcome, slow);
            let result = result.map_err(|fault| query_error(&fault))?;
            Ok((result, text))
        })
        .await;
        drop(ends_query);
        let (result, text) = evaluated.inspect_err(|_| self.metrics.failed.add(1))?;
        let now = self.clock.monotonic();
        self.metrics.answered.add(1);
        self.metrics.observe(now, &result.stats);
        Ok(Evaluated { result, text, queued, total: now.saturating_sub(began) })
    }

    /// A place among the queries that are evaluated at once.
    pub(super) async fn place(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        match tokio::time::timeout(timeout, self.gate.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(response::canceled()),
            Err(_elapsed) => {
                self.metrics.failed.add(1);
                Err(ApiError::new(ErrorType::Timeout, "query timed out in query queue"))
            }
        }
    }
}

/// The start, the end and the step of a range query, in milliseconds.
pub(super) fn range_of(params: &Params) -> Result<(TimestampMs, TimestampMs, i64), ApiError> {
    let missing = |name| ApiError::parameter(name, "cannot parse \"\" to a valid timestamp");
    let start_ms = params.time("start")?.ok_or_else(|| missing("start"))?;
    let end_ms = params.time("end")?.ok_or_else(|| missing("end"))?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let no_step = || ApiError::parameter("step", "cannot parse \"\" to a valid duration");
    let step_ms = params.duration_ms("step")?.ok_or_else(no_step)?;
    if step_ms <= 0 {
        let fault = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", fault));
    }
    if (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms) > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
             (?step=XX)",
        ));
    }
    Ok((start_ms, end_ms, step_ms))
}

/// The storage warnings and annotations of a result. Not all are shown, so what is missing from it comes first.
fn notes(result: &QueryResult, text: &str) -> Notes {
    let mut warnings = result.storage_warnings.clone();
    warnings.extend(result.annotations.render(Level::Warning, text));
    Notes { warnings, infos: result.annotations.render(Level::Info, text) }
}

/// Cuts a vector or matrix to `limit` series. Says whether it did.
fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    match value {
        QueryValue::Vector(samples) if samples.len() > limit => samples.truncate(limit),
        QueryValue::Matrix(series) if series.len() > limit => series.truncate(limit),
        _ => return false,
    }
    true
}

pub(super) fn parse_query_text(text: &str, language: &LanguageOptions) -> Result<Expr, ApiError> {
    parse_expr_with(text, language).map_err(|fault| ApiError::parameter("query", fault))
}

/// What the API answers to a query that failed.
pub(super) fn query_error(fault: &QueryError) -> ApiError {
    let error_type = match fault {
        QueryError::Timeout => ErrorType::Timeout,
        QueryError::Canceled => ErrorType::Canceled,
        QueryError::BadExpression(text) => return ApiError::parameter("query", text),
        _ => ErrorType::Execution,
    };
    ApiError::new(error_type, fault.to_string())
}

/// `format_query`: the query as Prometheus prints it.
pub(super) async fn format_query(
    request: ApiRequest,
    language: LanguageOptions,
) -> Result<Response<ApiBody>, ApiError> {
    off_the_way(move || {
        let params = request.params();
        let expr = parse_query_text(params.get("query").unwrap_or(""), &language)?;
        let text = crate::promql::parser::format(&expr);
        Ok(response::success(|json| {
            json.string(&text);
        }))
    })
    .await
}

/// `parse_query`: the syntax tree.
pub(super) async fn parse_query(request: ApiRequest, language: LanguageOptions) -> Result<Response<ApiBody>, ApiError> {
    off_the_way(move || {
        let params = request.params();
        let expr = parse_query_text(params.get("query").unwrap_or(""), &language)?;
        let tree = crate::promql::parser::to_json(&expr);
        Ok(response::success(|json| {
            json.raw(tree.to_string().as_bytes());
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::annotations::{Annotation, Annotations};
    use crate::promql::parser::ast::Span;

    #[test]
    fn warning_of_missing_data_is_shown_however_many_others_there_are() {
        let mut annotations = Annotations::new();
        for quantile in 2..20 {
            annotations.add(Annotation::invalid_quantile(f64::from(quantile), Span { start: 0, end: 1 }));
        }
        let result = QueryResult {
            value: QueryValue::Vector(Vec::new()),
            annotations,
            storage_warnings: vec!["samples were left out".to_owned()],
            stats: QueryStats::default(),
            explanation: None,
        };
        let mut answer = Vec::new();
        response::write_success(&mut answer, &notes(&result, "x"), |json| {
            json.string("");
            Ok(())
        })
        .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let warnings = answer["warnings"].as_array().unwrap();
        assert_eq!((&warnings[0], warnings.len()), (&"samples were left out".into(), 11));
        assert_eq!(warnings[10], "9 more warning annotations omitted");
    }
}
