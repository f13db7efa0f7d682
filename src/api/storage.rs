//! How the log and the head stand: `/health`, `/-/ready`, `/api/v1/storage/*`.

use std::io::Write as _;
use std::sync::Arc;

use hyper::{Response, StatusCode};

use super::error::{ApiError, ErrorType};
use super::json::JsonWriter;
use super::response::{self, ApiBody};
use super::{Api, ApiRequest, off_the_way, rfc3339, status};
use crate::db::Db;
use crate::wal::LogStatus;

impl Api {
    /// `/-/ready`: whether writes are taken, and why not.
    pub(super) fn ready(&self, db: &Db) -> Response<ApiBody> {
        match db.log_status().failure {
            None => response::text(StatusCode::OK, "Chronolith is Ready.\n"),
            Some(reason) => {
                let text = format!("Service Unavailable: the write-ahead log cannot be written: {reason}\n");
                response::text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }

    /// `/health`: one document for people and probes, at any time.
    pub(super) fn health(&self) -> Response<ApiBody> {
        let db = self.slot.get();
        let log = db.as_ref().map(|db| db.log_status());
        let state = match (&log, self.is_stopping()) {
            (_, true) => "stopping",
            (None, _) => "replaying",
            (Some(log), _) if log.failure.is_some() => "degraded",
            (Some(_), _) => "ok",
        };
        let mut body = Vec::new();
        let mut json = JsonWriter::new(&mut body);
        json.begin_object().key("status").string(state);
        json.key("version").string(status::VERSION);
        json.key("uptime_seconds").float(self.uptime().as_secs_f64());
        if let (Some(db), Some(log)) = (&db, &log) {
            write_log(json.key("wal"), log);
            write_head(json.key("head"), db);
            write_recovery(json.key("recovery"), db);
        } else {
            let (bytes_done, bytes_total) = self.slot.progress().bytes();
            json.key("replay").begin_object().key("bytes_done").uint(bytes_done);
            json.key("bytes_total").uint(bytes_total).end_object();
        }
        json.key("maintenance").begin_list().end_list().key("last_verification").null().end_object();
        // Writing to a Vec cannot fail.
        let _ = json.finish();
        let code = if matches!(state, "ok" | "replaying") { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        response::with_type(code, "application/json", body)
    }

    /// `storage/status`: log, head and recovery together.
    pub(super) fn storage_status(&self, db: &Db) -> Response<ApiBody> {
        let log = db.log_status();
        response::success(|json| {
            json.begin_object().key("dataDir").string(&db.options().data_dir.display().to_string());
            json.key("uptimeSeconds").float(self.uptime().as_secs_f64());
            write_log(json.key("wal"), &log);
            write_head(json.key("head"), db);
            write_recovery(json.key("recovery"), db);
            json.end_object();
        })
    }
}

/// `storage/head`: all sizes of the head. Looks at every series.
pub(super) async fn head(db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
    off_the_way(move || {
        let stats = db.head().stats();
        Ok(response::success(|json| {
            json.begin_object();
            write_moment(json.key("min_time"), stats.time_range.map(|range| range.start_ms));
            write_moment(json.key("max_time"), stats.time_range.map(|range| range.end_ms));
            for (key, value) in [
                ("series", stats.series as u64),
                ("samples", stats.samples),
                ("chunks", stats.chunks),
                ("chunks_in_memory", stats.chunks_in_memory),
                ("chunks_in_files", stats.chunks_in_files),
                ("chunk_write_failures", stats.chunk_write_failures),
                ("damaged_chunk_reads", stats.damaged_chunk_reads),
                ("symbols", stats.index.symbols as u64),
                ("label_pairs", stats.index.pairs as u64),
                ("label_names", stats.index.names as u64),
                ("symbol_bytes", stats.index.symbol_bytes as u64),
                ("pair_bytes", stats.index.pair_bytes as u64),
                ("postings_bytes", stats.index.postings_bytes as u64),
                ("row_bytes", stats.row_bytes as u64),
                ("label_bytes", stats.label_bytes as u64),
                ("open_chunk_bytes", stats.open_chunk_bytes as u64),
                ("full_chunk_bytes", stats.full_chunk_bytes as u64),
            ] {
                json.key(key).uint(value);
            }
            json.end_object();
        }))
    })
    .await
}

/// `storage/head/digests`: what queries would serve, series by series, for a comparison with the log.
///
/// The first line is `group <number>`: all that the log holds up to this durable group is in the lines that follow, and
/// nothing else. Each of them is `<digest of the labels> <samples> <digest of the samples>`. Warnings of the reads stand
/// at the end, behind `# `.
pub(super) async fn head_digests(request: ApiRequest, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
    let counted = db.clone();
    let (snapshot, cut) = off_the_way(move || Ok(counted.cut(|| counted.head().snapshot_counts()))).await?;
    let group = cut.durable.await.map_err(|fault| ApiError::new(ErrorType::Unavailable, fault.to_string()))?;
    let gzip = response::accepts_gzip(&request.headers);
    Ok(response::stream("text/plain; charset=utf-8", gzip, move |sink| {
        let mut lines = std::io::BufWriter::with_capacity(32 << 10, sink);
        writeln!(lines, "group {group}")?;
        let mut written = Ok(());
        let warnings = db.head().digest_series(&snapshot, |series| {
            if written.is_ok() {
                written = writeln!(lines, "{} {} {}", series.labels, series.samples, series.digest);
            }
        });
        written?;
        for warning in warnings {
            writeln!(lines, "# {}", warning.replace('\n', " "))?;
        }
        lines.flush()
    })
    .await)
}

/// `storage/wal`.
pub(super) fn wal(db: &Db) -> Response<ApiBody> {
    let log = db.log_status();
    response::success(|json| write_log(json, &log))
}

pub(super) fn write_moment(json: &mut JsonWriter<'_>, timestamp_ms: Option<i64>) {
    match timestamp_ms {
        Some(timestamp_ms) => json.string(&rfc3339(timestamp_ms)),
        None => json.null(),
    };
}

fn write_log(json: &mut JsonWriter<'_>, log: &LogStatus) {
    let counters = &log.counters;
    json.begin_object();
    json.key("durability").string(log.durability.as_str());
    json.key("unprocessed_entries").uint(log.pending_requests);
    json.key("total_segments").uint(log.segments);
    json.key("disk_usage_bytes").uint(log.bytes);
    write_moment(json.key("last_flush"), log.last_durable_ms);
    json.key("poisoned").bool(log.failure.is_some());
    match &log.failure {
        Some(reason) => json.key("failure").string(reason),
        None => json.key("failure").null(),
    };
    match log.open_segment {
        Some((segment, bytes)) => {
            json.key("open_segment").begin_object().key("number").uint(segment.into());
            json.key("bytes").uint(bytes).end_object();
        }
        None => {
            json.key("open_segment").null();
        }
    }
    json.key("last_group").uint(log.last_group).key("last_commit").uint(log.last_commit);
    for (key, value) in [
        ("groups", counters.groups),
        ("requests", counters.requests),
        ("samples", counters.samples),
        ("records", counters.records),
        ("bytes_written", counters.segment_bytes),
        ("syncs", counters.syncs),
        ("sync_failures", counters.sync_failures),
        ("write_failures", counters.write_failures),
        ("segments_poisoned", counters.segments_poisoned),
        ("groups_rewritten", counters.groups_rewritten),
        ("failures", log.failures),
        ("retries", log.retries),
    ] {
        json.key(key).uint(value);
    }
    json.key("sync_seconds").float(counters.sync_time.as_secs_f64()).end_object();
}

/// What is known of the head without looking at its series.
fn write_head(json: &mut JsonWriter<'_>, db: &Db) {
    let range = db.head().time_range();
    json.begin_object().key("series").uint(db.head().series_count() as u64);
    write_moment(json.key("min_time"), range.map(|range| range.start_ms));
    write_moment(json.key("max_time"), range.map(|range| range.end_ms));
    json.end_object();
}

fn write_recovery(json: &mut JsonWriter<'_>, db: &Db) {
    let recovery = db.recovery();
    json.begin_object().key("mode").string(match db.options().recovery {
        crate::wal::RecoveryMode::Salvage => "salvage",
        crate::wal::RecoveryMode::Strict => "strict",
    });
    json.key("replay_seconds").float(db.replay_time().as_secs_f64());
    json.key("segments").uint(recovery.log.segments.len() as u64);
    json.key("records").uint(recovery.log.records());
    json.key("sealed_groups").uint(recovery.log.sealed_groups);
    match &recovery.torn_tail {
        Some(tail) => {
            json.key("torn_tail").begin_object().key("segment").uint(tail.segment.into());
            json.key("offset").uint(tail.offset).key("bytes").uint(tail.bytes);
            json.key("what").string(&tail.what).end_object();
        }
        None => {
            json.key("torn_tail").null();
        }
    }
    json.key("damages").begin_list();
    for damage in &recovery.damages {
        json.begin_object().key("segment").uint(damage.segment.into()).key("offset").uint(damage.offset);
        json.key("bytes").uint(damage.bytes).key("what").string(&damage.what);
        match damage.groups {
            Some((first, last)) => {
                json.key("groups").begin_list().uint(first).uint(last).end_list();
            }
            None => {
                json.key("groups").null();
            }
        }
        json.end_object();
    }
    json.end_list();
    json.key("known_damages").uint(recovery.known.len() as u64);
    match &recovery.repair_failure {
        Some(reason) => json.key("repair_failure").string(reason),
        None => json.key("repair_failure").null(),
    };
    json.end_object();
}
