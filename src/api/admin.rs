//! What changes data: Prometheus' `admin/tsdb/*` with its parameters, shapes and words, and our `admin/storage/*`.
//!
//! `admin/storage/*` answers when the work is done, with a report; with `wait=false` at once, with 202, and the work goes
//! on. Either way a client that goes away ends nothing.

use std::sync::Arc;

use hyper::{Response, StatusCode};

use super::blocks::write_compaction;
use super::error::{ApiError, ErrorType};
use super::json::JsonWriter;
use super::params::Params;
use super::response::{self, ApiBody};
use super::values::{write_moment, write_tally};
use super::{Api, ApiRequest};
use crate::db::maintenance::TaskError;
use crate::db::{CheckpointSummary, Db, FlushKind, Flushed};
use crate::ledger::FlushedUpTo;
use crate::model::Matcher;
use crate::promql::parser::parse_selectors;

impl From<TaskError> for ApiError {
    /// Whoever may change data may also know why it failed.
    fn from(error: TaskError) -> Self {
        ApiError::new(ErrorType::Internal, error.0)
    }
}

impl Api {
    /// Does work of which one is under way at a time, and answers with what came of it.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        params: &Params,
        what: &str,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
        write: impl FnOnce(&mut JsonWriter<'_>, T),
    ) -> Result<Response<ApiBody>, ApiError> {
        let wait = params.bool("wait")?.unwrap_or(true);
        let begun = self.jobs.begin(what, work)?;
        if wait {
            let outcome = begun.outcome().await?;
            return Ok(response::success(|json| write(json, outcome)));
        }
        let mut accepted = response::success(|json| {
            json.begin_object().key("begun").string(what).end_object();
        });
        *accepted.status_mut() = StatusCode::ACCEPTED;
        Ok(accepted)
    }

    /// `admin/tsdb/snapshot`.
    pub(super) async fn snapshot(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let skip_head = request.params().bool("skip_head")?.unwrap_or(false);
        let snapshot = self.jobs.begin_another("snapshot", move || Ok(db.snapshot(skip_head)?))?;
        let name = snapshot.outcome().await?;
        Ok(response::success(|json| {
            json.begin_object().key("name").string(&name).end_object();
        }))
    }

    /// `admin/tsdb/delete_series`. Unlike Prometheus it reads all selectors before it deletes by the first of them.
    pub(super) async fn delete_series(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        if params.all("match[]").next().is_none() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let range = params.time_range()?;
        let selectors =
            parse_selectors(params.all("match[]")).map_err(|fault| ApiError::parameter("match[]", fault))?;
        let delete = move || {
            for matchers in selectors.iter().filter(|_| range.start_ms <= range.end_ms) {
                let deleted = db.delete_series(matchers, range)?;
                let matchers: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
                let matchers = matchers.join(", ");
                tracing::info!(matchers, from_ms = range.start_ms, to_ms = range.end_ms, ?deleted, "series deleted");
            }
            Ok(())
        };
        self.jobs.begin_another("deletion of series", delete)?.outcome().await?;
        Ok(response::no_content())
    }

    /// `admin/tsdb/clean_tombstones`.
    pub(super) async fn clean_tombstones(&self, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let clean = move || Ok(db.clean_tombstones()?);
        self.jobs.begin_another("cleaning of tombstones", clean)?.outcome().await?;
        Ok(response::no_content())
    }

    /// `admin/storage/flush`: the whole head to blocks, now.
    pub(super) async fn flush(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        self.work(
            &params,
            "flush",
            move || Ok(db.flush()?),
            |json, report| {
                json.begin_object().key("flushed").begin_list();
                for flushed in &report.flushed {
                    write_flushed(json, flushed);
                }
                json.end_list().end_object();
            },
        )
        .await
    }

    /// `admin/storage/compact`: plans and compacts until nothing is left to do.
    pub(super) async fn compact(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        self.work(
            &params,
            "compaction",
            move || Ok(db.compact()?),
            |json, report| {
                json.begin_object().key("compactions").begin_list();
                for record in &report.compactions {
                    write_compaction(json, record);
                }
                json.end_list().key("skipped").strings(&report.skipped).end_object();
            },
        )
        .await
    }

    /// `admin/storage/checkpoint`: takes out of the log what proven blocks hold.
    pub(super) async fn checkpoint(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        self.work(
            &params,
            "checkpoint",
            move || Ok(db.checkpoint()?),
            |json, summary| {
                json.begin_object();
                match &summary {
                    Some(summary) => write_checkpoint(json.key("checkpoint"), summary),
                    None => {
                        json.key("checkpoint").null();
                    }
                }
                json.end_object();
            },
        )
        .await
    }

    /// `admin/storage/wal/truncate`: moves the log to quarantine and starts a new one. Only with JSON that says that this
    /// is meant.
    pub(super) async fn truncate_wal(&self, request: &ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let params = request.params().well_formed()?;
        let asked: Option<serde_json::Value> =
            request.json.as_deref().and_then(|json| serde_json::from_slice(json).ok());
        if asked.as_ref().and_then(|asked| asked.get("confirmation")?.as_str()) != Some(CONFIRMATION) {
            return Err(ApiError::bad_data(format!(
                "this moves the write-ahead log to quarantine, after the head was written to blocks. Send the JSON \
                 {{\"confirmation\":\"{CONFIRMATION}\"}} with Content-Type: application/json to do it"
            )));
        }
        self.work(
            &params,
            "truncation of the log",
            move || Ok(db.empty_log()?),
            |json, emptied| {
                json.begin_object()
                    .key("quarantine")
                    .string(&emptied.place)
                    .key("quarantined_bytes")
                    .uint(emptied.bytes);
                json.key("flushed").begin_list();
                for flushed in &emptied.flushed.flushed {
                    write_flushed(json, flushed);
                }
                json.end_list();
                match &emptied.log_failed {
                    Some(reason) => json.key("log_failed").string(reason),
                    None => json.key("log_failed").null(),
                };
                write_tally(json.key("unlogged"), emptied.unlogged);
                write_checkpoint(json.key("checkpoint"), &emptied.checkpoint);
                json.end_object();
            },
        )
        .await
    }
}

/// What has to be said before the log is emptied by force.
const CONFIRMATION: &str = "I_UNDERSTAND";

fn write_flushed(json: &mut JsonWriter<'_>, flushed: &Flushed) {
    json.begin_object().key("samples").string(match flushed.kind {
        FlushKind::InOrder => "in_order",
        FlushKind::OutOfOrder => "out_of_order",
    });
    match flushed.up_to {
        FlushedUpTo::TimeMs(up_to_ms) => write_moment(json.key("up_to_time"), Some(up_to_ms)),
        FlushedUpTo::OutOfOrderGroup(group) => {
            json.key("up_to_group").uint(group);
        }
    }
    json.key("blocks").strings(flushed.blocks.iter().map(ulid::Ulid::to_string));
    write_tally(json.key("stored"), flushed.stored);
    write_tally(json.key("deleted"), flushed.deleted);
    json.key("duration_seconds").float(flushed.elapsed.as_secs_f64()).end_object();
}

fn write_checkpoint(json: &mut JsonWriter<'_>, summary: &CheckpointSummary) {
    json.begin_object().key("up_to_segment").uint(summary.up_to_segment.into());
    write_tally(json.key("left_in_order"), summary.left_in_order);
    write_tally(json.key("left_out_of_order"), summary.left_out_of_order);
    write_tally(json.key("kept"), summary.kept);
    json.key("requests").uint(summary.requests).key("bytes").uint(summary.bytes);
    json.key("removed_bytes").uint(summary.removed_bytes).end_object();
}
