//! The HTTP API: Prometheus' endpoints with its parameters, shapes, status codes and error types, and our own.
//!
//! | module | answers |
//! |---|---|
//! | [`query`] | `query`, `query_range`, `format_query`, `parse_query` |
//! | `exemplars` | `query_exemplars` |
//! | `explain` | `query_explain` |
//! | `query_log` | `status/active_queries`, `status/slow_queries` |
//! | [`series`] | `series`, `labels`, `label/<name>/values`, `metadata` |
//! | `selection` | the series of several selectors, bounded as a query is |
//! | [`status`] | `status/*` |
//! | [`stubs`] | empty lists for what a store without scraping and alerting has none of |
//! | `health` | `/health`, `/-/ready` |
//! | [`reload`] | how the last `/-/reload` went |
//! | [`storage`], `blocks`, `maintenance` | `/api/v1/storage/*`: how log, head, blocks and maintenance stand |
//! | `writers` | `storage/writers`, `storage/rejects`: who sends what, and what was refused |
//! | `cardinality` | `storage/cardinality`: which metrics and labels the series are of; `query_usage` counts which are asked for |
//! | `verify` | `status/verify`, `admin/storage/verify` and its end |
//! | `admin`, `jobs` | `admin/*`: what changes data, and the work that it causes |
//! | [`federate`] | `/federate` |
//! | [`remote_read`] | `read` |
//! | [`console`], `page` | the pages for browsers, and what stands in for them |
//!
//! Source of the shapes: Prometheus `web/api/v1/api.go`, version 3.14, and what Grafana's client needs of them.

mod admin;
mod blocks;
mod cardinality;
pub mod console;
pub mod encoding;
pub mod error;
mod exemplars;
mod explain;
pub mod federate;
mod health;
mod jobs;
pub mod json;
mod maintenance;
pub mod number;
mod page;
pub mod params;
pub mod query;
mod query_log;
mod query_usage;
pub mod reload;
pub mod remote_read;
mod render;
pub mod response;
pub mod route;
mod selection;
pub mod series;
pub mod site;
pub mod status;
pub mod storage;
pub mod stubs;
pub(crate) mod values;
mod verify;
mod writers;

pub use render::value_json;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::db::{Db, DbSlot};
use crate::fs::{release_freed_memory, resident_bytes};
use crate::model::TimestampMs;
use crate::promql::engine::{Engine, EngineOptions};
use crate::storage::Queryable;
use crate::writers::WriterBook;
use error::{ApiError, ErrorType};
use jobs::Jobs;
use params::Params;
use query::QueryMetrics;
use reload::ReloadState;
use response::ApiBody;
use route::Route;

/// What the API needs to know besides the database.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// How queries are evaluated.
    pub engine: EngineOptions,
    /// Queries that are evaluated at once.
    pub queries_max: usize,
    /// A query that takes longer is logged.
    pub slow_query: Option<Duration>,
    /// The resolved configuration.
    pub settings: Vec<Setting>,
    /// When the process started.
    pub started_ms: TimestampMs,
    /// Whether the admin paths answer.
    pub admin: bool,
}

/// One key of the configuration, as it is shown.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// Its value, as it would be written.
    pub value: String,
    /// The value that it has when nobody sets it.
    pub default: &'static str,
    /// Where the value came from, in words: `default`, `flag --listen`.
    pub origin: String,
    /// What it does.
    pub help: &'static str,
}

/// The API over a database that may still be opening.
pub struct Api {
    options: ApiOptions,
    slot: Arc<DbSlot>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    gate: Arc<Semaphore>,
    stopping: AtomicBool,
    metrics: Arc<QueryMetrics>,
    jobs: Arc<Jobs>,
    writers: Arc<WriterBook>,
    reloads: ReloadState,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("options", &self.options).finish_non_exhaustive()
    }
}

/// One request, its body read.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// Its method.
    pub method: Method,
    /// The query of its URL, without the question mark.
    pub url_query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, where that is a form.
    pub form: Option<Bytes>,
    /// Its body, where that is JSON.
    pub json: Option<Bytes>,
}

impl ApiRequest {
    fn params(&self) -> Params {
        Params::parse(&self.url_query, self.form.as_deref())
    }
}

impl Api {
    /// The API over the database that `slot` holds or will hold, and over the book in which its writers stand.
    pub fn new(options: ApiOptions, slot: Arc<DbSlot>, writers: Arc<WriterBook>, clock: Arc<dyn Clock>) -> Self {
        Api {
            engine: Arc::new(Engine::new(options.engine.clone(), clock.clone())),
            gate: Arc::new(Semaphore::new(options.queries_max)),
            reloads: ReloadState::at(options.started_ms),
            options,
            slot,
            jobs: Jobs::new(clock.clone()),
            writers,
            clock,
            stopping: AtomicBool::new(false),
            metrics: Arc::new(QueryMetrics::default()),
        }
    }

    /// The counts of the queries.
    pub fn query_metrics(&self) -> &QueryMetrics {
        &self.metrics
    }

    /// How the last reload of the configuration went.
    pub fn reloads(&self) -> &ReloadState {
        &self.reloads
    }

    /// Queries that may be evaluated at once.
    pub fn queries_max(&self) -> usize {
        self.options.queries_max
    }

    /// Refuses requests from now on, and ends the queries that are running.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.metrics.log.cancel_all();
        self.jobs.report_abandoned();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The open database, unless it is still opening or the server is stopping.
    pub fn database(&self) -> Option<Arc<Db>> {
        if self.is_stopping() { None } else { self.slot.get() }
    }

    /// What can be asked for series now: the blocks from early in the opening on, later everything.
    pub fn queryable(&self) -> Option<Arc<dyn Queryable>> {
        if self.is_stopping() { None } else { self.slot.queryable() }
    }

    /// The answer to everything while there is no database.
    pub fn unavailable(&self) -> Response<ApiBody> {
        let mut response = response::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        let stopping = if self.is_stopping() { "true" } else { "false" };
        response.headers_mut().insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        response
    }

    /// Answers one request. Writes and metrics are answered elsewhere: for them it is as if they were not there.
    pub async fn handle(self: &Arc<Self>, route: Route, request: ApiRequest) -> Response<ApiBody> {
        if route.is_admin() && !self.options.admin {
            // Prometheus answers 500, as to every `unavailable`. Nothing is broken: it is not allowed.
            let mut refusal = response::error(&ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return refusal;
        }
        let answer = match route {
            Route::Healthy => return response::text(StatusCode::OK, "Chronolith is Healthy.\n"),
            Route::Graph => return console::graph(&request.url_query),
            Route::Version => return status::version(),
            Route::Health => return self.health(),
            Route::Home => return self.home(),
            Route::Page(_) => return self.page(&request.headers),
            Route::ConsoleFile(path) => return console::file(path, &request.headers),
            Route::StatusWalReplay => return self.wal_replay(),
            Route::Notifications => return empty_list(),
            Route::ActiveQueries => self.active_queries(),
            Route::SlowQueries => self.slow_queries(),
            Route::StorageRejects => self.rejects(&request),
            route if route.reads_series() => match self.queryable() {
                None => return self.unavailable(),
                Some(data) => self.handle_read(route, request, data).await,
            },
            route => match self.database() {
                None => return self.unavailable(),
                Some(db) => self.handle_ready(route, request, db).await,
            },
        };
        answer.unwrap_or_else(|fault| response::error(&fault))
    }

    /// What is asked of series. It is answered before the log is replayed, with a warning that tells how far that is.
    async fn handle_read(
        self: &Arc<Self>,
        route: Route,
        request: ApiRequest,
        data: Arc<dyn Queryable>,
    ) -> Result<Response<ApiBody>, ApiError> {
        match route {
            Route::Query => self.query(&request, data).await,
            Route::QueryRange => self.query_range(&request, data).await,
            Route::QueryExplain => self.query_explain(&request, data).await,
            Route::Series => series::series(self, request, data).await,
            Route::Labels => series::labels(self, request, data).await,
            Route::LabelValues(name) => series::label_values(self, name, request, data).await,
            Route::Federate => self.federate(request, data).await,
            _ => Ok(response::not_found()),
        }
    }

    async fn handle_ready(
        self: &Arc<Self>,
        route: Route,
        request: ApiRequest,
        db: Arc<Db>,
    ) -> Result<Response<ApiBody>, ApiError> {
        match route {
            Route::Ready => Ok(self.ready(&db)),
            Route::QueryExemplars => self.query_exemplars(&request, db).await,
            Route::FormatQuery => query::format_query(request, self.options.engine.language).await,
            Route::ParseQuery => query::parse_query(request, self.options.engine.language).await,
            Route::Metadata => series::metadata(&request, &db),
            Route::Rules => stubs::rules(&request),
            Route::Alerts => Ok(response::success(|json| {
                json.begin_object().key("alerts").begin_list().end_list().end_object();
            })),
            Route::Alertmanagers => Ok(stubs::alertmanagers()),
            Route::Targets => Ok(stubs::targets()),
            Route::TargetsMetadata => stubs::targets_metadata(&request),
            Route::ScrapePools => Ok(response::success(|json| {
                json.begin_object().key("scrapePools").begin_list().end_list().end_object();
            })),
            Route::StatusConfig => Ok(self.status_config()),
            Route::StatusFlags => Ok(self.status_flags()),
            Route::StatusRuntimeInfo => Ok(self.runtime_info(&db)),
            Route::StatusBuildInfo => Ok(status::build_info()),
            Route::StatusTsdb => self.status_tsdb(request, db).await,
            Route::StorageStatus => self.storage_status(db).await,
            Route::StorageHead => storage::head(db).await,
            Route::StorageWal => storage::wal(db).await,
            Route::HeadDigests => storage::head_digests(request, db).await,
            Route::ReplayEstimate => Ok(storage::replay_estimate(&db)),
            Route::StorageCardinality => self.cardinality(&request, db).await,
            Route::StorageWriters => self.writers(&request, db).await,
            Route::StorageBlocks => blocks::blocks(db).await,
            Route::StorageBlock(name) => blocks::block(&name, db).await,
            Route::VerifyBlock(name) => self.verify_block(&name, db).await,
            Route::StorageCompactions => Ok(blocks::compactions(&db)),
            Route::StatusVerify => self.verify_status(db).await,
            Route::AdminSnapshot => self.snapshot(&request, db).await,
            Route::AdminDeleteSeries => self.delete_series(&request, db).await,
            Route::AdminCleanTombstones => self.clean_tombstones(db).await,
            Route::AdminFlush => self.flush(&request, db).await,
            Route::AdminCompact => self.compact(&request, db).await,
            Route::AdminCheckpoint => self.checkpoint(&request, db).await,
            Route::AdminVerify => self.verify(&request, db).await,
            Route::AdminVerifyStop => Ok(Api::stop_verify(&db)),
            Route::AdminTruncateWal => self.truncate_wal(&request, db).await,
            Route::Query
            | Route::QueryRange
            | Route::QueryExplain
            | Route::Series
            | Route::Labels
            | Route::LabelValues(_)
            | Route::Federate
            | Route::Home
            | Route::Graph
            | Route::Page(_)
            | Route::ConsoleFile(_)
            | Route::Healthy
            | Route::Reload
            | Route::Health
            | Route::Version
            | Route::Metrics
            | Route::Write
            | Route::OtlpMetrics
            | Route::OtlpMetricsShort
            | Route::OtlpExport
            | Route::Import
            | Route::ImportGroup(_)
            | Route::Read
            | Route::Notifications
            | Route::ActiveQueries
            | Route::SlowQueries
            | Route::StorageRejects
            | Route::StorageIngest
            | Route::StatusWalReplay => Ok(response::not_found()),
        }
    }

    /// Time since the process started.
    fn uptime(&self) -> Duration {
        Duration::from_millis(self.clock.now_ms().saturating_sub(self.options.started_ms).max(0).unsigned_abs())
    }
}

fn empty_list() -> Response<ApiBody> {
    response::success(|json| {
        json.begin_list().end_list();
    })
}

/// A request that leaves the process this much larger has its freed memory returned to the system.
const GROWTH_KEPT_BYTES: u64 = 64 << 20;

/// Runs work that takes the processor for long where it holds up no connection.
async fn off_the_way<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let anonymous_bytes = || resident_bytes().map_or(0, |(_, anonymous)| anonymous);
    let and_clean_up = move || {
        let before = anonymous_bytes();
        let result = work();
        if anonymous_bytes() > before + GROWTH_KEPT_BYTES {
            release_freed_memory();
        }
        result
    };
    match tokio::task::spawn_blocking(and_clean_up).await {
        Ok(result) => result,
        Err(panicked) => Err(ApiError::internal("the request could not be worked on", panicked)),
    }
}

/// A moment as RFC 3339 with milliseconds.
fn rfc3339(timestamp_ms: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms)
        .map_or_else(|_| timestamp_ms.to_string(), |moment| format!("{moment:.3}"))
}

#[cfg(test)]
mod storage_tests;
#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::clock::ManualClock;

    fn answer(api: &Arc<Api>, path: &str) -> (u16, HeaderMap, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = ApiRequest {
            method: Method::GET,
            url_query: "query=1".to_owned(),
            headers: HeaderMap::new(),
            form: None,
            json: None,
        };
        runtime.block_on(async {
            let (head, body) = api.handle(Route::find(path).unwrap(), request).await.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    fn opening() -> Arc<Api> {
        let options = ApiOptions {
            engine: EngineOptions::default(),
            queries_max: 1,
            slow_query: None,
            settings: Vec::new(),
            started_ms: 0,
            admin: false,
        };
        Arc::new(Api::new(options, Arc::default(), Arc::default(), Arc::new(ManualClock::at(5000))))
    }

    #[test]
    fn api_without_a_database_answers_503_to_what_needs_one() {
        let api = opening();
        for path in ["/-/ready", "/api/v1/query", "/api/v1/labels", "/api/v1/status/tsdb", "/federate"] {
            let (status, headers, body) = answer(&api, path);
            assert_eq!((status, body.as_str()), (503, "Service Unavailable"), "{path}");
            assert_eq!(headers["x-prometheus-stopping"], "false");
        }
        api.stop();
        assert_eq!(answer(&api, "/api/v1/query").1["x-prometheus-stopping"], "true");
    }

    #[test]
    fn api_without_a_database_says_how_far_the_replay_is() {
        let api = opening();
        let progress = api.slot.progress().progress();
        progress.segments_total.store(4, Ordering::Relaxed);
        progress.segments_done.store(2, Ordering::Relaxed);
        let (status, _, body) = answer(&api, "/api/v1/status/walreplay");
        assert_eq!((status, body.as_str()), (200, r#"{"status":"success","data":{"min":0,"max":3,"current":2}}"#));
        let (status, _, body) = answer(&api, "/health");
        assert!(status == 200 && body.contains(r#""status":"replaying""#) && body.contains(r#""uptime_seconds":5"#));
        assert_eq!(answer(&api, "/-/healthy").0, 200);
        let (status, headers, _) = answer(&api, "/");
        assert_eq!((status, &headers[hyper::header::LOCATION]), (302, &HeaderValue::from_static("query")));
        assert_eq!(answer(&api, "/query").0, 200);
    }
}
