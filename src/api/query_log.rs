//! The queries that wait or run, and the slowest that ended: `status/active_queries`, `status/slow_queries`, and a line in the
//! log for each that was slow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::response::{self, ApiBody};
use super::{Api, rfc3339};
use crate::model::TimestampMs;
use crate::promql::engine::{CancelToken, QueryStats};

/// Slowest queries that are remembered.
const SLOWEST: usize = 20;

/// Bytes of a query's text that are shown.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What is asked: an expression at some times.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The beginning of the expression.
    text: String,
    start_ms: TimestampMs,
    end_ms: TimestampMs,
    /// 0 for a query at one time.
    step_ms: i64,
}

impl Asked {
    pub(super) fn new(text: &str, start_ms: TimestampMs, end_ms: TimestampMs, step_ms: i64) -> Self {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        let text = if end < text.len() { format!("{}...", &text[..end]) } else { text.to_owned() };
        Asked { text, start_ms, end_ms, step_ms }
    }

    fn to_json(&self) -> Value {
        let Asked { text, start_ms, end_ms, step_ms } = self;
        let seconds = |ms: &i64| *ms as f64 / 1000.0;
        json!({
            "query": text,
            "start": rfc3339(*start_ms),
            "end": rfc3339(*end_ms),
            "step_seconds": seconds(step_ms),
        })
    }
}

/// A query that waits or runs. It lives until its evaluation ends, even if nobody waits for the answer any more.
#[derive(Debug)]
pub(super) struct ActiveQuery {
    id: u64,
    asked: Asked,
    began: Duration,
    began_ms: TimestampMs,
    /// Whether it has its place among the queries that are evaluated at once.
    evaluating: AtomicBool,
    cancel: CancelToken,
}

impl ActiveQuery {
    pub(super) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    pub(super) fn has_its_turn(&self) {
        self.evaluating.store(true, Ordering::Relaxed);
    }
}

/// Ends the evaluation when it is dropped: when the client goes away, or has its answer.
#[derive(Debug)]
pub(super) struct EndsQuery(pub(super) CancelToken);

impl Drop for EndsQuery {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A query that ended.
#[derive(Debug, Clone)]
struct Ended {
    asked: Asked,
    began_ms: TimestampMs,
    elapsed: Duration,
    /// What it cost, or why it failed.
    outcome: Result<QueryStats, String>,
}

/// The queries that wait or run, and the slowest that ended.
#[derive(Debug, Default)]
pub(super) struct QueryLog {
    next_id: AtomicU64,
    active: Mutex<Vec<Weak<ActiveQuery>>>,
    /// The slowest first.
    slowest: Mutex<Vec<Ended>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl QueryLog {
    /// Notes a query that begins to wait for its turn.
    pub(super) fn begin(&self, asked: Asked, began: Duration, began_ms: TimestampMs) -> Arc<ActiveQuery> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (evaluating, cancel) = (AtomicBool::new(false), CancelToken::new());
        let query = Arc::new(ActiveQuery { id, asked, began, began_ms, evaluating, cancel });
        let mut active = lock(&self.active);
        active.retain(|query| query.strong_count() > 0);
        active.push(Arc::downgrade(&query));
        query
    }

    /// Notes the end of a query; past `slow` it is logged.
    pub(super) fn end(
        &self,
        query: &ActiveQuery,
        now: Duration,
        outcome: Result<QueryStats, String>,
        slow: Option<Duration>,
    ) {
        let elapsed = now.saturating_sub(query.began);
        let Asked { text, start_ms, end_ms, step_ms } = &query.asked;
        if slow.is_some_and(|slow| elapsed > slow) {
            let samples = outcome.as_ref().map_or(0, |stats| stats.samples_total);
            let series = outcome.as_ref().map_or(0, |stats| stats.series);
            let error = outcome.as_ref().err();
            tracing::warn!(query = text, start_ms, end_ms, step_ms, ?elapsed, samples, series, error, "slow query");
        }
        let mut slowest = lock(&self.slowest);
        let place = slowest.partition_point(|other| other.elapsed >= elapsed);
        if place < SLOWEST {
            slowest.insert(place, Ended { asked: query.asked.clone(), began_ms: query.began_ms, elapsed, outcome });
            slowest.truncate(SLOWEST);
        }
    }

    /// The queries that wait or run, the oldest first.
    fn active(&self) -> Vec<Arc<ActiveQuery>> {
        lock(&self.active).iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends all queries.
    pub(super) fn cancel_all(&self) {
        self.active().iter().for_each(|query| query.cancel.cancel());
    }
}

impl Api {
    /// `status/active_queries`: what waits and runs.
    pub(super) fn active_queries(&self) -> Result<Response<ApiBody>, ApiError> {
        let now = self.clock.monotonic();
        let queries = self.metrics.log.active();
        let queries = queries.iter().map(|query| {
            let mut value = query.asked.to_json();
            value["id"] = json!(query.id);
            value["state"] = json!(match (query.cancel.is_canceled(), query.evaluating.load(Ordering::Relaxed)) {
                (true, _) => "canceled",
                (false, true) => "running",
                (false, false) => "waiting",
            });
            value["began"] = json!(rfc3339(query.began_ms));
            value["elapsed_seconds"] = json!(now.saturating_sub(query.began).as_secs_f64());
            value
        });
        Ok(answer(queries.collect()))
    }

    /// `status/slow_queries`: the slowest since the start.
    pub(super) fn slow_queries(&self) -> Result<Response<ApiBody>, ApiError> {
        let slowest = lock(&self.metrics.log.slowest).clone();
        let queries = slowest.iter().map(|query| {
            let mut value = query.asked.to_json();
            value["began"] = json!(rfc3339(query.began_ms));
            value["elapsed_seconds"] = json!(query.elapsed.as_secs_f64());
            match &query.outcome {
                Ok(stats) => {
                    value["series"] = json!(stats.series);
                    value["samples"] = json!(stats.samples_total);
                    value["samples_peak"] = json!(stats.samples_peak);
                }
                Err(error) => value["error"] = json!(error),
            }
            value
        });
        Ok(answer(queries.collect()))
    }
}

fn answer(queries: Vec<Value>) -> Response<ApiBody> {
    response::success(|json| {
        json.raw(json!({ "queries": queries }).to_string().as_bytes());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Asked {
        Asked::new(text, 0, 60_000, 1000)
    }

    #[test]
    fn active_queries_are_those_that_somebody_holds() {
        let log = QueryLog::default();
        let first = log.begin(asked("a"), Duration::ZERO, 0);
        let second = log.begin(asked("b"), Duration::ZERO, 0);
        assert_eq!(log.active().iter().map(|query| query.id).collect::<Vec<_>>(), [0, 1]);
        drop(first);
        assert_eq!(log.active().iter().map(|query| query.id).collect::<Vec<_>>(), [1]);
        log.cancel_all();
        assert!(second.cancel.is_canceled());
    }

    #[test]
    fn slowest_queries_are_kept_in_order_and_no_more_than_so_many() {
        let log = QueryLog::default();
        for seconds in [3, 1, 2].into_iter().chain(10..30) {
            let query = log.begin(asked(&"é".repeat(5000)), Duration::from_secs(5), 0);
            log.end(&query, Duration::from_secs(5 + seconds), Ok(QueryStats::default()), None);
        }
        let slowest: Vec<u64> = lock(&log.slowest).iter().map(|query| query.elapsed.as_secs()).collect();
        assert_eq!(slowest, (10..30).rev().collect::<Vec<_>>());
        assert_eq!(lock(&log.slowest)[0].asked.text.len(), TEXT_BYTES_MAX + 3);
    }
}
