//! `/api/v1/storage/blocks`, one of them, and the history of compactions.

use std::sync::Arc;

use hyper::Response;
use ulid::Ulid;

use super::error::{ApiError, ErrorType};
use super::json::JsonWriter;
use super::params::quoted;
use super::response::{self, ApiBody};
use super::values::{write_moment, write_tally};
use super::{Api, off_the_way};
use crate::db::{BlockStatus, BlockVerification, CompactionRecord, Db, LostBlock};

/// The name of a block in a path.
fn parse_ulid(text: &str) -> Result<Ulid, ApiError> {
    let parsed = Ulid::from_string(text).ok().filter(|ulid| ulid.to_string() == text);
    parsed.ok_or_else(|| ApiError::bad_data(format!("{} is not the name of a block", quoted(text))))
}

fn no_such_block(ulid: Ulid) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("there is no block {ulid}"))
}

/// `storage/blocks`: the blocks by time, and those that are not served.
pub(super) async fn blocks(db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
    off_the_way(move || {
        let (blocks, lost) = (db.blocks(), db.storage_status().lost);
        Ok(response::success(|json| {
            json.begin_object().key("blocks").begin_list();
            for block in &blocks {
                write_block(json, block);
            }
            json.end_list();
            write_lost(json.key("lost"), &lost);
            json.end_object();
        }))
    })
    .await
}

/// `storage/blocks/{ulid}`: one block, served or not.
pub(super) async fn block(name: &str, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
    let ulid = parse_ulid(name)?;
    off_the_way(move || {
        if let Some(block) = db.block(ulid) {
            return Ok(response::success(|json| write_block(json, &block)));
        }
        let lost = db.storage_status().lost;
        let lost = lost.iter().find(|lost| lost.ulid == ulid).ok_or_else(|| no_such_block(ulid))?;
        Ok(response::success(|json| write_lost_block(json, lost)))
    })
    .await
}

impl Api {
    /// `storage/blocks/{ulid}/verify`: reads one block whole, now.
    pub(super) async fn verify_block(&self, name: &str, db: Arc<Db>) -> Result<Response<ApiBody>, ApiError> {
        let ulid = parse_ulid(name)?;
        let check = move || db.verify_block(ulid).ok_or_else(|| no_such_block(ulid));
        let check = self.jobs.begin(&format!("verification of block {ulid}"), check)?.outcome().await?;
        Ok(response::success(|json| write_check(json, &check)))
    }
}

/// `storage/compactions`: what was compacted, the newest first.
pub(super) fn compactions(db: &Db) -> Response<ApiBody> {
    let compactions = db.compactions();
    response::success(|json| {
        json.begin_object().key("compactions").begin_list();
        for record in compactions.iter().rev() {
            write_compaction(json, record);
        }
        json.end_list().end_object();
    })
}

fn write_ulids(json: &mut JsonWriter<'_>, ulids: &[Ulid]) {
    json.strings(ulids.iter().map(Ulid::to_string));
}

fn write_block(json: &mut JsonWriter<'_>, block: &BlockStatus) {
    let meta = &block.meta;
    json.begin_object().key("ulid").string(&meta.ulid.to_string()).key("state").string("served");
    let range = meta.time_range();
    write_moment(json.key("min_time"), range.map(|range| range.start_ms));
    write_moment(json.key("max_time"), range.map(|range| range.end_ms));
    json.key("level").uint(meta.compaction.level.into());
    json.key("from_out_of_order").bool(meta.is_from_out_of_order());
    write_ulids(json.key("sources"), &meta.compaction.sources);
    json.key("parents").strings(meta.compaction.parents.iter().map(|parent| parent.ulid.to_string()));
    json.key("series").uint(meta.stats.series).key("chunks").uint(meta.stats.chunks);
    json.key("samples").uint(meta.stats.samples);
    json.key("disk_usage_bytes").uint(block.bytes);
    json.key("tombstones").uint(block.tombstones);
    json.key("accelerated").bool(block.is_accelerated).key("compactable").bool(!block.is_uncompactable);
    match block.recorded {
        Some(tally) => write_tally(json.key("recorded"), tally),
        None => {
            json.key("recorded").null();
        }
    }
    match &block.check {
        Some(check) => write_check(json.key("last_check"), check),
        None => {
            json.key("last_check").null();
        }
    }
    json.end_object();
}

pub(super) fn write_check(json: &mut JsonWriter<'_>, check: &BlockVerification) {
    json.begin_object().key("ulid").string(&check.ulid.to_string());
    write_moment(json.key("time"), Some(check.at_ms));
    json.key("duration_seconds").float(check.elapsed.as_secs_f64());
    json.key("good").bool(check.is_good());
    write_tally(json.key("stored"), check.stored);
    write_tally(json.key("visible"), check.visible);
    match check.recorded {
        Some(tally) => write_tally(json.key("recorded"), tally),
        None => {
            json.key("recorded").null();
        }
    }
    json.key("series").uint(check.series).key("chunks").uint(check.chunks);
    json.key("findings").strings(&check.findings).end_object();
}

/// The blocks that are not served.
pub(super) fn write_lost(json: &mut JsonWriter<'_>, lost: &[LostBlock]) {
    json.begin_list();
    for block in lost {
        write_lost_block(json, block);
    }
    json.end_list();
}

fn write_lost_block(json: &mut JsonWriter<'_>, lost: &LostBlock) {
    json.begin_object().key("ulid").string(&lost.ulid.to_string());
    json.key("state").string(if lost.is_moved { "quarantined" } else { "unreadable" });
    write_moment(json.key("min_time"), lost.min_time_ms);
    write_moment(json.key("max_time"), lost.max_time_ms);
    json.key("reason").string(&lost.reason);
    write_moment(json.key("found"), (lost.found_ms > 0).then_some(lost.found_ms));
    json.key("covered_by_others").bool(lost.is_covered).end_object();
}

pub(super) fn write_compaction(json: &mut JsonWriter<'_>, record: &CompactionRecord) {
    json.begin_object();
    write_moment(json.key("time"), Some(record.at_ms));
    json.key("duration_seconds").float(record.elapsed.as_secs_f64());
    json.key("reason").string(&record.reason);
    write_ulids(json.key("parents"), &record.parents);
    match record.child {
        Some(child) => json.key("child").string(&child.to_string()),
        None => json.key("child").null(),
    };
    write_tally(json.key("stored"), record.stored);
    write_tally(json.key("deleted"), record.deleted);
    write_tally(json.key("deduplicated"), record.deduplicated);
    json.key("conflicts").uint(record.conflicts);
    match &record.error {
        Some(error) => json.key("error").string(error),
        None => json.key("error").null(),
    };
    json.end_object();
}
