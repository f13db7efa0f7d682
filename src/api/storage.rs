//! How log, head and disk stand: `/api/v1/storage/{status,head,wal}` and what a restart would take.

use std::io::Write as _;
use std::sync::Arc;

use hyper::Response;

use super::blocks::write_lost;
use super::encoding::accepts_gzip;
use super::error::{ApiError, ErrorType};
use super::json::JsonWriter;
use super::maintenance::{write_alarms, write_tasks};
use super::response::{self, ApiBody};
use super::values::{write_moment, write_tally};
use super::verify::{write_groups, write_verified};
use super::{Api, ApiRequest, off_the_way};
use crate::db::{Db, ReserveState, StorageStatus};
use crate::ledger::LedgerState;
use crate::wal::LogStatus;

impl Api {
    /// `storage/status`: everything in short.
    pub(super) async fn storage_status(self: &Arc<Self>, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let api = self.clone();
        off_the_way(move || {
            let (log, storage) = (db.log_status(), db.storage_status());
            Ok(response::success(|json| {
                json.begin_object().key("data_dir").string(&db.options().data_dir.display().to_string());
                json.key("uptime_seconds").float(api.uptime().as_secs_f64());
                write_alarms(json.key("alarms"), &storage.alarms);
                write_log(json.key("wal"), &log);
                write_head(json.key("head"), &db);
                write_blocks(json.key("blocks"), &storage);
                write_disk(json.key("disk"), &storage);
                write_retention(json.key("retention"), &db);
                write_ledger(json.key("ledger"), &db.ledger_state());
                write_recovery(json.key("recovery"), &db);
                write_tasks(json.key("maintenance"), &db.maintenance_status());
                api.write_jobs(json.key("under_way"));
                match &storage.verified {
                    Some(verified) => write_verified(json.key("last_verification"), verified),
                    None => {
                        json.key("last_verification").null();
                    }
                }
                json.end_object();
            }))
        })
        .await
    }
}

/// Blocks in short: how many, how large, up to where, and which are missing.
pub(super) fn write_blocks(json: &mut JsonWriter<'_>, storage: &StorageStatus) {
    json.begin_object().key("served").uint(storage.blocks as u64);
    json.key("disk_usage_bytes").uint(storage.block_bytes);
    write_moment(json.key("flushed_up_to"), storage.flushed_ms);
    write_lost(json.key("lost"), &storage.lost);
    json.end_object();
}

/// The disk and the reserve on it.
pub(super) fn write_disk(json: &mut JsonWriter<'_>, storage: &StorageStatus) {
    json.begin_object().key("free_bytes");
    match storage.free_bytes {
        Some(bytes) => json.uint(bytes),
        None => json.null(),
    };
    json.key("blocks_bytes").uint(storage.block_bytes).key("wal_and_head_bytes").uint(storage.head_bytes);
    json.key("reserve").string(match &storage.reserve {
        None => "unknown",
        Some(ReserveState::Off) => "off",
        Some(ReserveState::Held) => "held",
        Some(ReserveState::Short { .. }) => "no_room",
    });
    json.end_object();
}

/// What may stay, and which block goes next.
fn write_retention(json: &mut JsonWriter<'_>, db: &Db) {
    let policy = db.options().storage.retention;
    json.begin_object().key("time_seconds");
    match policy.time_ms {
        Some(time_ms) => json.float(time_ms as f64 / 1000.0),
        None => json.null(),
    };
    json.key("size_bytes");
    match policy.size_bytes {
        Some(bytes) => json.uint(bytes),
        None => json.null(),
    };
    json.key("next");
    match db.next_expiry() {
        Some(next) => {
            json.begin_object().key("ulid").string(&next.ulid.to_string());
            write_moment(json.key("not_before"), next.not_before_ms);
            json.end_object();
        }
        None => {
            json.null();
        }
    }
    json.end_object();
}

/// What became of all that was acknowledged, as far as it left the log.
fn write_ledger(json: &mut JsonWriter<'_>, ledger: &LedgerState) {
    let left = &ledger.left_log;
    json.begin_object();
    let others = [
        ("left_log_in_order", left.samples.in_order),
        ("left_log_out_of_order", left.samples.out_of_order),
        ("imbalance", ledger.imbalance()),
    ];
    for (key, tally) in ledger.named().into_iter().chain(others) {
        write_tally(json.key(key), tally);
    }
    json.key("left_log_requests").uint(left.requests).end_object();
}

/// `storage/wal/replay-estimate`: how long a restart would take now.
pub(super) fn replay_estimate(db: &Db) -> Response<ApiBody> {
    let estimate = db.replay_estimate();
    response::success(|json| {
        json.begin_object().key("seconds").float(estimate.duration.as_secs_f64());
        json.key("wal_bytes").uint(estimate.log_bytes);
        // Their samples are in blocks or head chunk files.
        json.key("skipped_bytes").uint(estimate.skipped_bytes);
        json.key("bytes_per_second").float(estimate.bytes_per_second);
        // What a slow machine manages stands in for a rate where the last start read too little to tell.
        json.key("measured").bool(estimate.is_measured);
        json.key("last_replay_seconds").float(db.replay_time().as_secs_f64()).end_object();
    })
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
                ("out_of_order_samples", db.head().out_of_order_samples()),
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
    let gzip = accepts_gzip(&request.headers);
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

/// `storage/wal`: as everywhere, with the files.
pub(super) async fn wal(db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
    off_the_way(move || {
        let log = db.log_status();
        let segments = db.log_segments().map_err(|error| ApiError::internal("the log cannot be listed", error))?;
        Ok(response::success(|json| {
            json.begin_object();
            write_log_fields(json, &log);
            json.key("segments").begin_list();
            for segment in &segments {
                json.begin_object().key("number").uint(segment.number.into());
                json.key("state").string(match (segment.is_checkpoint, segment.is_open) {
                    (true, _) => "checkpoint",
                    (false, true) => "open",
                    (false, false) => "finished",
                });
                json.key("bytes").uint(segment.bytes);
                write_groups(json.key("groups"), segment.groups);
                json.end_object();
            }
            json.end_list().end_object();
        }))
    })
    .await
}

pub(super) fn write_log(json: &mut JsonWriter<'_>, log: &LogStatus) {
    json.begin_object();
    write_log_fields(json, log);
    json.end_object();
}

fn write_log_fields(json: &mut JsonWriter<'_>, log: &LogStatus) {
    let counters = &log.counters;
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
    json.key("sync_seconds").float(counters.sync_time.as_secs_f64());
}

/// What is known of the head without looking at its series.
pub(super) fn write_head(json: &mut JsonWriter<'_>, db: &Db) {
    let range = db.head().time_range();
    json.begin_object().key("series").uint(db.head().series_count() as u64);
    write_moment(json.key("min_time"), range.map(|range| range.start_ms));
    write_moment(json.key("max_time"), range.map(|range| range.end_ms));
    json.end_object();
}

pub(super) fn write_recovery(json: &mut JsonWriter<'_>, db: &Db) {
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
