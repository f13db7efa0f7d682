//! `status/*`: what runs here, how it was configured, and the size of what it holds.

use std::sync::Arc;

use hyper::Response;

use super::error::ApiError;
use super::response::{self, ApiBody};
use super::{Api, ApiRequest, Setting, off_the_way, rfc3339};
use crate::db::Db;
use crate::fs::{memory_limit_bytes, open_files, resident_bytes};
use crate::model::TimeRange;

/// The Prometheus API level that the program is tested against. Grafana chooses calls by it.
pub const PROMETHEUS_API_VERSION: &str = "3.5.0";
/// The program's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Rows of each table of `status/tsdb` at most.
const LIMIT_MAX: usize = 10_000;

/// `status/buildinfo`. No `features`: Grafana takes any for another product.
pub(super) fn build_info() -> Response<ApiBody> {
    response::success(|json| {
        json.begin_object();
        json.key("version").string(PROMETHEUS_API_VERSION);
        for key in ["revision", "branch", "buildUser", "buildDate", "goVersion"] {
            json.key(key).string("");
        }
        json.key("application").string("chronolith").key("applicationVersion").string(VERSION).end_object();
    })
}

/// `/version`: the same without the envelope.
pub(super) fn version() -> Response<ApiBody> {
    let body = serde_json::json!({
        "version": PROMETHEUS_API_VERSION, "application": "chronolith", "applicationVersion": VERSION,
    });
    response::with_type(hyper::StatusCode::OK, "application/json", body.to_string())
}

impl Api {
    pub(super) fn status_config(&self) -> Response<ApiBody> {
        // Every value as a double-quoted string: JSON's strings are YAML's.
        let lines = self.options.settings.iter().map(|Setting { key, value, .. }| {
            let mut quoted = Vec::new();
            super::json::write_string(&mut quoted, value);
            format!("{key}: {}\n", String::from_utf8_lossy(&quoted))
        });
        let yaml: String = lines.collect();
        response::success(|json| {
            json.begin_object().key("yaml").string(&yaml).key("settings").begin_list();
            for setting in &self.options.settings {
                json.begin_object().key("key").string(setting.key).key("value").string(&setting.value);
                json.key("default").string(setting.default).key("origin").string(&setting.origin);
                json.key("help").string(setting.help).end_object();
            }
            json.end_list().end_object();
        })
    }

    pub(super) fn status_flags(&self) -> Response<ApiBody> {
        response::success(|json| {
            json.begin_object();
            for Setting { key, value, .. } in &self.options.settings {
                json.key(&key.replace('_', "-")).string(value);
            }
            // Clients read these two under Prometheus' own names.
            let engine = &self.options.engine;
            json.key("query.lookback-delta").string(&format!("{}s", engine.lookback_delta_ms / 1000));
            json.key("query.max-concurrency").string(&self.options.queries_max.to_string());
            json.end_object();
        })
    }

    /// `status/runtimeinfo`. What only a Go program has is there, and says nothing.
    pub(super) fn runtime_info(&self, db: &Db) -> Response<ApiBody> {
        let cwd = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let damages = db.recovery().damages.len() as u64;
        response::success(|json| {
            json.begin_object();
            json.key("startTime").string(&rfc3339(self.options.started_ms));
            json.key("CWD").string(&cwd).key("hostname").string(&hostname);
            json.key("serverTime").string(&rfc3339(self.clock.now_ms()));
            json.key("reloadConfigSuccess").bool(self.reloads.successful());
            json.key("lastConfigTime").string(&rfc3339(self.reloads.last_success_ms()));
            json.key("corruptionCount").uint(damages);
            json.key("goroutineCount").uint(0).key("GOMAXPROCS").uint(threads as u64);
            json.key("GOMEMLIMIT").uint(0).key("GOGC").string("").key("GODEBUG").string("");
            json.key("storageRetention").string("").key("process").begin_object();
            let (resident, files) = (resident_bytes().ok(), open_files());
            for (key, value) in [
                ("resident_bytes", resident.map(|(all, _)| all)),
                ("anonymous_bytes", resident.map(|(_, anonymous)| anonymous)),
                ("memory_limit_bytes", memory_limit_bytes()),
                ("open_files", files.map(|(open, _)| open)),
                ("open_files_max", files.and_then(|(_, most)| most)),
            ] {
                match value {
                    Some(value) => json.key(key).uint(value),
                    None => json.key(key).null(),
                };
            }
            json.end_object().end_object();
        })
    }

    /// `status/walreplay`, as segments of the log.
    pub(super) fn wal_replay(&self) -> Response<ApiBody> {
        let replay = self.slot.progress().segments();
        response::success(|json| {
            json.begin_object().key("min").int(replay.first).key("max").int(replay.last);
            json.key("current").int(replay.current).end_object();
        })
    }

    /// `status/tsdb`: the largest label names and metrics.
    pub(super) async fn status_tsdb(
        self: &Arc<Self>,
        request: ApiRequest,
        db: Arc<Db>,
    ) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params();
        let limit = match params.get("limit").map(str::parse::<usize>) {
            None => 10,
            Some(Ok(limit @ 1..=LIMIT_MAX)) => limit,
            Some(Ok(limit)) if limit > LIMIT_MAX => {
                return Err(ApiError::bad_data(format!("limit must not exceed {LIMIT_MAX}")));
            }
            Some(_) => return Err(ApiError::bad_data("limit must be a positive number")),
        };
        off_the_way(move || {
            let head = db.head();
            let stats = head.stats();
            let range = stats.time_range.unwrap_or(TimeRange::new(i64::MAX, i64::MIN));
            let tables = [
                ("seriesCountByMetricName", head.top_metrics_by_series(limit)),
                ("labelValueCountByLabelName", head.top_names_by_values(limit)),
                ("memoryInBytesByLabelName", head.top_names_by_bytes(limit)),
                ("seriesCountByLabelValuePair", head.top_pairs_by_series(limit)),
            ];
            Ok(response::success(|json| {
                json.begin_object().key("headStats").begin_object();
                json.key("numSeries").uint(stats.series as u64).key("numLabelPairs").uint(stats.index.pairs as u64);
                json.key("chunkCount").uint(stats.chunks);
                json.key("minTime").int(range.start_ms).key("maxTime").int(range.end_ms).end_object();
                for (key, rows) in &tables {
                    json.key(key).begin_list();
                    for row in rows {
                        json.begin_object().key("name").string(&row.name).key("value").uint(row.value).end_object();
                    }
                    json.end_list();
                }
                json.end_object();
            }))
        })
        .await
    }
}
