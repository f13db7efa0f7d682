//! Out-of-order samples from the head to blocks: a block for each window of time, proven together against the log.
//!
//! They are told apart by the group of the log that holds them, not by their time: the ledger says up to which group they
//! were flushed, a start passes over those, and the log is truncated by it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::flush::{FlushKind, Flushed, Written, aligned};
use super::maintenance::{Outcome, Task, TaskError};
use super::truncate::READERS_TIMEOUT;
use super::{Db, failed, lock};
use crate::block::HINT_FROM_OUT_OF_ORDER;
use crate::head::{ChunkKind, OutOfOrderCut};
use crate::ledger::FlushedUpTo;
use crate::model::{TimeRange, TimestampMs};
use crate::proof::LogPart;

/// Out-of-order samples that blocks have, and that the head keeps for queries.
#[derive(Debug)]
pub(super) struct FlushedCut {
    samples: OutOfOrderCut,
    /// Queries with smaller numbers may look for the samples in the head.
    next_reader: u64,
}

/// Out-of-order samples in the head that are flushed without waiting.
const LATE_ENOUGH: u64 = 1 << 20;

/// Since when out-of-order samples wait whose time is in blocks. Each flush of them is a proof against the log, and each of
/// its blocks has the one of its time written again: a few that come all the time are not worth that every few seconds.
#[derive(Debug, Default)]
pub(super) struct LateWaiting {
    /// The head's floor at the last flush of out-of-order samples.
    floor_ms: Option<TimestampMs>,
    /// When the first of those was seen that came since.
    since: Option<Duration>,
}

impl Db {
    /// Flushes the out-of-order samples if there are enough of them, or they have been waiting for long.
    pub(super) fn flush_out_of_order_if_due(&self) -> Result<Outcome, TaskError> {
        let _work = lock(&self.head_work);
        let Some(range) = self.head.unflushed_out_of_order_range() else { return Ok(Outcome::Nothing) };
        if !self.is_too_large() && !self.is_late_flush_due(range) {
            return Ok(Outcome::Nothing);
        }
        let flushed = self.flush_out_of_order_samples()?;
        *lock(&self.late_waiting) = LateWaiting { floor_ms: Some(self.head.floor_ms()), since: None };
        self.trigger(Task::Truncate);
        self.trigger(Task::Compact);
        Ok(flushed.as_ref().map_or(Outcome::Nothing, Flushed::outcome))
    }

    /// Whether the in-order samples of their time are in a block, by a flush that they waited for, or for long.
    fn is_late_flush_due(&self, range: TimeRange) -> bool {
        let floor_ms = self.head.floor_ms();
        if range.start_ms >= floor_ms {
            return false;
        }
        let mut waiting = lock(&self.late_waiting);
        let now = self.clock.monotonic();
        let since = *waiting.since.get_or_insert(now);
        let wait = Duration::from_millis(self.options.head.chunk_range_ms.max(0).unsigned_abs() / 8);
        waiting.floor_ms.is_none_or(|before_ms| before_ms < floor_ms)
            || now.saturating_sub(since) >= wait
            || self.head.out_of_order_samples() >= LATE_ENOUGH
    }

    /// Writes, proves and publishes all out-of-order samples: a block for each window of time.
    pub(super) fn flush_out_of_order_samples(&self) -> Result<Option<Flushed>, TaskError> {
        if self.head.unflushed_out_of_order_range().is_none() {
            return Ok(None);
        }
        let began = self.clock.monotonic();
        let (samples, cut) = self.committer.cut(|| self.head.cut_out_of_order());
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        let Some(held) = samples.range else { return Ok(None) };
        let after = self.store.ledger().state().flushed_out_of_order_group.unwrap_or(0);
        let mut written = Vec::new();
        if let Err(error) = self.write_late_windows(samples, held, after.saturating_add(1)..=group, &mut written) {
            for block in written.into_iter().filter_map(|one: Written| one.block.block) {
                block.discard().map_err(|error| failed("an unfinished block cannot be removed", error))?;
            }
            return Err(error);
        }
        let group = if planted!(GroupFlushedTooEarly) { group + 1000 } else { group };
        let up_to = FlushedUpTo::OutOfOrderGroup(group);
        let flushed = self.prove_and_publish(FlushKind::OutOfOrder, up_to, group, written, began)?;
        self.leave_out_of_order(samples, group);
        Ok(Some(flushed))
    }

    /// Takes out of the head, and of the copy for Prometheus, what blocks have.
    pub(super) fn leave_out_of_order(&self, samples: OutOfOrderCut, group: u64) {
        self.head.out_of_order_flushed(&samples);
        // Queries that began before may still look for the samples in the head; later ones find them twice, and take
        // them once.
        let next_reader = self.head.next_reader();
        lock(&self.out_of_order_to_drop).push(FlushedCut { samples, next_reader });
        if !self.head.wait_for_readers(TimestampMs::MAX, READERS_TIMEOUT) {
            tracing::warn!("queries still read out-of-order samples that are in a block now; they are dropped later");
        }
        self.drop_flushed_out_of_order();
        // It costs space and no data: a Prometheus that opens the directory merges what it finds twice.
        if let Err(error) = self.committer.truncate_wbl(group) {
            tracing::warn!(%error, "out-of-order samples that are in a block could not be removed from wbl");
        }
    }

    /// Lets go of what was flushed before the oldest query that is there.
    pub(super) fn drop_flushed_out_of_order(&self) {
        let mut waiting = lock(&self.out_of_order_to_drop);
        // Later queries don't count: where some query is always there, no moment comes without any.
        let oldest_reader = self.head.oldest_reader();
        let done = waiting.partition_point(|cut| cut.next_reader <= oldest_reader);
        if let Some(last) = waiting.drain(..done).next_back() {
            self.head.drop_out_of_order(&last.samples);
        }
    }

    /// Writes a block for each window of `held`.
    fn write_late_windows(
        &self,
        samples: OutOfOrderCut,
        held: TimeRange,
        groups: RangeInclusive<u64>,
        written: &mut Vec<Written>,
    ) -> Result<(), TaskError> {
        let mut at_ms = held.start_ms;
        while at_ms <= held.end_ms {
            let window = aligned(at_ms, self.options.head.chunk_range_ms);
            // No wider than its samples: a block that ends behind those of in-order samples waits for them.
            let end_ms = held.end_ms.min(window.end_ms.saturating_sub(1));
            let range = TimeRange::new(held.start_ms.max(window.start_ms), end_ms);
            let source = self.head.chunk_source(range, ChunkKind::OutOfOrder(samples));
            let part = LogPart::out_of_order(range, groups.clone());
            let hints = vec![HINT_FROM_OUT_OF_ORDER.to_owned()];
            let block = self.write_block(&self.options.data_dir, vec![source], range, hints)?;
            written.push(Written { part, block });
            if window.end_ms <= at_ms {
                break;
            }
            at_ms = window.end_ms;
        }
        Ok(())
    }
}
