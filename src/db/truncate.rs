//! What leaves the head and the log once blocks have it, proven.
//!
//! Samples leave the log with the segments that hold them. What of these is still needed is kept in a checkpoint, which is
//! durable before the ledger says what left, with the receipts of the requests that left; and only then the segments go.
//! A crash in between leaves a checkpoint and the segments that it stands for: the next run records what left, if that is
//! not yet in the ledger, and removes them.

use std::collections::HashSet;
use std::time::Duration;

use super::maintenance::{Outcome, Task, TaskError};
use super::{Db, failed, lock};
use crate::fs::names;
use crate::ledger::{Event, LeftSamples};
use crate::model::{Tally, TimestampMs};
use crate::wal::{self, CheckpointPlan, CheckpointReport, LogFiles};

/// How long a flush waits for queries that still read what it takes out of the head. Maintenance tries again later.
pub(super) const READERS_TIMEOUT: Duration = Duration::from_secs(5);

/// What a checkpoint did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// The last segment that it stands for.
    pub up_to_segment: u32,
    /// In-order samples that left the log.
    pub left_in_order: Tally,
    /// Out-of-order samples that left the log.
    pub left_out_of_order: Tally,
    /// Samples that it keeps, as no block has them.
    pub kept: Tally,
    /// Requests whose seals left. Their receipts are in the ledger.
    pub requests: u64,
    /// Bytes of the checkpoint.
    pub bytes: u64,
    /// Bytes of the log that were removed.
    pub removed_bytes: u64,
}

/// Up to where the log was flushed when it was last truncated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FlushedTo {
    time_ms: Option<TimestampMs>,
    out_of_order_group: Option<u64>,
}

impl Db {
    /// Takes out of the head what blocks have. Where queries still read it, that is left for later. `head_work` is held.
    pub(super) fn leave_head(&self) {
        let below_ms = self.flushed_ms();
        if *lock(&self.truncated_to) < below_ms {
            self.head.read_from(below_ms);
            if self.head.wait_for_readers(below_ms, READERS_TIMEOUT) {
                let truncated = self.head.truncate(below_ms, &|paused| drop(self.committer.cut(paused)));
                self.store.counters.head_truncations.add(1);
                self.store.counters.head_series_removed.add(truncated.series);
                // Less, where somebody who reads all that is there has begun meanwhile.
                let mut truncated_to = lock(&self.truncated_to);
                *truncated_to = truncated.below_ms.clamp(*truncated_to, below_ms);
            } else {
                self.store.counters.head_truncations_deferred.add(1);
                tracing::warn!(
                    below_ms,
                    "queries still read samples that blocks have now; the head is truncated later"
                );
            }
        }
        self.drop_flushed_out_of_order();
    }

    /// Takes out of the log now what blocks have, all of it. `None` where there was nothing.
    pub fn checkpoint(&self) -> Result<Option<CheckpointSummary>, TaskError> {
        let mut summary = None;
        self.schedule.run(Task::Truncate, || {
            let _work = lock(&self.head_work);
            summary = self.truncate_log(false, |_first, last| Some(last))?;
            Ok(summary.as_ref().map_or(Outcome::Nothing, CheckpointSummary::outcome))
        })?;
        Ok(summary)
    }

    /// Takes out of the log what blocks have, when a flush was done since the last time.
    pub(super) fn truncate_log_if_due(&self) -> Result<Outcome, TaskError> {
        let _work = lock(&self.head_work);
        self.leave_head();
        // As in Prometheus: the newest third stays, since much of it would only be copied to the checkpoint.
        let oldest_two_thirds =
            |first: u32, last: u32| Some(first + (last - first).saturating_mul(2) / 3).filter(|&end| end > first);
        let summary = self.truncate_log(false, oldest_two_thirds)?;
        Ok(summary.as_ref().map_or(Outcome::Nothing, CheckpointSummary::outcome))
    }

    /// Makes a checkpoint for the segments up to the one that `up_to` chooses, given the first and the last that are not
    /// written any more; `anyway` also where nothing was flushed since the last time. `head_work` is held.
    pub(super) fn truncate_log(
        &self,
        anyway: bool,
        up_to: impl FnOnce(u32, u32) -> Option<u32>,
    ) -> Result<Option<CheckpointSummary>, TaskError> {
        let began = self.clock.monotonic();
        let cannot = |error| failed("the log cannot be truncated", error);
        self.store.make_room();
        let recorded = self.store.record_take_over(self.flushed_ms());
        recorded.map_err(|error| failed("the ledger cannot be written", error))?;
        self.finish_truncation()?;
        let flushed = {
            let ledger = self.store.ledger();
            let state = ledger.state();
            let time_ms = state.flushed_up_to_ms.filter(|up_to_ms| *up_to_ms > TimestampMs::MIN);
            FlushedTo { time_ms, out_of_order_group: state.flushed_out_of_order_group }
        };
        let flushed = match planted!(TruncatedBeforeProof) {
            true => FlushedTo { time_ms: Some(self.head.floor_ms()), ..flushed },
            false => flushed,
        };
        if flushed == *lock(&self.checkpointed) && !anyway {
            return Ok(None);
        }
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        let rolled = self.committer.roll().wait();
        rolled.map_err(|error| failed("a new segment of the log cannot be begun", error))?;
        let open_segment = self.committer.status().open_segment.map(|(number, _)| number);
        let files = LogFiles::list(&*self.fs, &wal_dir).map_err(cannot)?;
        let segments = files.files.iter().filter(|file| !file.checkpoint).map(|file| file.number);
        let closed: Vec<u32> = segments.filter(|number| open_segment.is_some_and(|open| *number < open)).collect();
        let (Some(&first), Some(&last)) = (closed.first(), closed.last()) else { return Ok(None) };
        let Some(up_to_segment) = up_to(first, last) else {
            *lock(&self.checkpointed) = flushed;
            return Ok(None);
        };
        let live = self.head.live_refs();
        let exemplars = self.head.logged_exemplars();
        let families: HashSet<String> = self.head.metadata(None).into_iter().map(|(family, _)| family).collect();
        let is_all_flushed = self.unflushed_range().is_none();
        let is_flushed_to = |newest_ms| is_all_flushed || flushed.time_ms.is_some_and(|up_to_ms| newest_ms < up_to_ms);
        let has_late = self.head.out_of_order_samples() > 0;
        let is_flushed_late = |group| !has_late || flushed.out_of_order_group.unwrap_or(0) >= group;
        let plan = CheckpointPlan {
            up_to_segment,
            keep_series: &|series_ref| live.contains(series_ref) || exemplars.has_series(series_ref),
            min_time_ms: flushed.time_ms.unwrap_or(TimestampMs::MIN),
            out_of_order_up_to_group: flushed.out_of_order_group.unwrap_or(0),
            // What is deleted is left out of blocks when they are written.
            keep_tombstone: &|_tombstone| false,
            keep_exemplar: &|series_ref, timestamp_ms| exemplars.contains(series_ref, timestamp_ms),
            keep_family: &|family| families.contains(family),
            name_series: &|is_named| self.head.series_records(is_named),
            is_flushed: &|group, newest_ms| anyway || (is_flushed_to(newest_ms) && is_flushed_late(group)),
            compression: self.options.wal.compression,
            segment_bytes: self.options.wal.segment_bytes,
            quarantine_dir: &self.options.data_dir.join(names::QUARANTINE_DIR),
        };
        let report = wal::checkpoint(&*self.fs, &wal_dir, &plan).map_err(cannot)?;
        let removed_bytes = self.leave_log(&report)?;
        self.store.counters.checkpoints.observe(self.clock.monotonic().saturating_sub(began));
        self.store.counters.wal_removed_bytes.add(removed_bytes);
        *lock(&self.checkpointed) = flushed;
        Ok(Some(CheckpointSummary {
            up_to_segment,
            left_in_order: report.left_in_order,
            left_out_of_order: report.left_out_of_order,
            kept: report.kept_in_order + report.kept_out_of_order,
            requests: report.requests.len() as u64,
            bytes: report.bytes,
            removed_bytes,
        }))
    }

    /// Ends a truncation that a crash or a failure interrupted.
    fn finish_truncation(&self) -> Result<(), TaskError> {
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        let left = wal::superseded(&*self.fs, &wal_dir)
            .map_err(|error| failed("what an earlier truncation left cannot be read", error))?;
        left.map_or(Ok(()), |report| self.leave_log(&report).map(drop))
    }

    /// Records what leaves the log with a checkpoint, where that is not recorded yet, and removes what it stands for. Says
    /// how many bytes went.
    fn leave_log(&self, report: &CheckpointReport) -> Result<u64, TaskError> {
        let edge = report.edge;
        let is_recorded = {
            let ledger = self.store.ledger();
            let left = &ledger.state().left_log;
            // Another program may have begun the segments anew. Groups are counted on.
            left.up_to_segment.is_some_and(|number| number >= edge.up_to_segment)
                && left.last_group >= edge.last_group
                && !planted!(TruncationCountedTwice)
        };
        if !is_recorded {
            let requests: Vec<(u64, Tally)> = report
                .requests
                .iter()
                .map(|request| (request.commit, Tally { samples: request.samples, digest: request.digest }))
                .collect();
            let receipts = self.store.ledger().write_receipts(&requests);
            let receipts = receipts.map_err(|error| failed("receipts cannot be written to the ledger", error))?;
            let receipts = receipts.filter(|_| !planted!(ReceiptsNotKept));
            let left = LeftSamples {
                in_order: report.left_in_order,
                out_of_order: report.left_out_of_order,
                unsealed: report.unsealed_samples,
            };
            let event = Event::Truncated {
                up_to_segment: edge.up_to_segment,
                left,
                last_group: edge.last_group,
                next_commit: edge.next_commit,
                chain: edge.chain,
                receipts,
            };
            self.store.record(&[event]).map_err(|error| failed("the ledger cannot be written", error))?;
        }
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        wal::remove_superseded(&*self.fs, &wal_dir)
            .map_err(|error| failed("segments that a checkpoint stands for cannot be removed", error))
    }
}

impl CheckpointSummary {
    fn outcome(&self) -> Outcome {
        Outcome::Done(format!(
            "segments up to {:08}: {} samples left, {} kept, {} bytes removed",
            self.up_to_segment,
            self.left_in_order.samples + self.left_out_of_order.samples,
            self.kept.samples,
            self.removed_bytes
        ))
    }
}
