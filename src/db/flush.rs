//! From the head to blocks: written, proven against the log, published, and only then taken out of the head.
//!
//! 1. Nothing below the new floor is accepted any more, and the log holds everything that was, durably.
//! 2. The block is written under a name that is not a block's.
//! 3. It is opened again, read whole, and compared with what an independent replay of the log gives for the same samples
//!    less deletions. A block that differs goes to quarantine; head and log stay as they are.
//! 4. It gets its name, durably, and the ledger says so.
//! 5. Queries that begin from now on read it, and don't read its samples in the head.
//!
//! What then leaves head and log, and how, is in `truncate.rs`. A crash between any two steps costs nothing: what has no
//! block's name is removed at the next start, and what the ledger does not say was flushed is replayed and flushed again.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::maintenance::{Outcome, Task, TaskError};
use super::{Db, failed, lock};
use crate::block::{Block, BlockOrigin, PreparedBlock};
use crate::compaction::{self, ProofError, WrittenBlock};
use crate::fs::resident_bytes;
use crate::head::ChunkKind;
use crate::ledger::{Event, FlushedUpTo};
use crate::model::{Tally, TimeRange, TimestampMs};
use crate::proof::{LogPart, LogTally, TallyRequest, log_tally};
use crate::storage::ChunkSource;
use crate::wal::ReplayProgress;

/// Which of the head's samples were flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushKind {
    /// Samples that came in order.
    InOrder,
    /// Samples that came out of order.
    OutOfOrder,
}

/// One flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// Which samples.
    pub kind: FlushKind,
    /// Up to where.
    pub up_to: FlushedUpTo,
    /// The blocks that were made; none where everything was deleted, or there was nothing.
    pub blocks: Vec<Ulid>,
    /// What the blocks hold, as read from the disk and as the log gives it.
    pub stored: Tally,
    /// What of the log's samples they do not hold, because it had been deleted.
    pub deleted: Tally,
    /// How long it took until the blocks were published.
    pub elapsed: Duration,
}

/// What a call flushed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlushReport {
    /// The flushes, in their order.
    pub flushed: Vec<Flushed>,
}

impl FlushReport {
    /// The report in words.
    pub(super) fn describe(&self) -> String {
        let samples: u64 = self.flushed.iter().map(|flushed| flushed.stored.samples).sum();
        let blocks: Vec<String> =
            self.flushed.iter().flat_map(|flushed| &flushed.blocks).map(Ulid::to_string).collect();
        match blocks.as_slice() {
            [] => "nothing was left of the flushed samples".to_owned(),
            blocks => format!("{samples} samples to {}", blocks.join(", ")),
        }
    }
}

/// A part of the head's range that becomes one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Its first millisecond.
    pub(super) start_ms: TimestampMs,
    /// The first millisecond behind it.
    pub(super) end_ms: TimestampMs,
}

/// The aligned window of this length that holds `at_ms`.
pub(super) fn aligned(at_ms: TimestampMs, range_ms: i64) -> Window {
    let start_ms = at_ms.saturating_sub(at_ms.rem_euclid(range_ms));
    Window { start_ms, end_ms: start_ms.saturating_add(range_ms) }
}

/// The first window of in-order samples that is full: the newest sample is half a range behind its end.
pub(super) fn full_window(held: TimeRange, range_ms: i64) -> Option<Window> {
    let window = aligned(held.start_ms, range_ms);
    // As in Prometheus: senders that are late have half a range of time.
    let is_full = i128::from(held.end_ms) - i128::from(held.start_ms) > i128::from(range_ms) * 3 / 2;
    (is_full && window.end_ms <= held.end_ms).then_some(window)
}

/// What is flushed of a head that has become too large before its window is full: all but the newest part of it.
pub(super) fn early_window(held: TimeRange, range_ms: i64) -> Option<Window> {
    let window = aligned(held.start_ms, range_ms);
    let end_ms = window.end_ms.min(held.end_ms.saturating_sub(range_ms / EARLY_KEPT_PARTS));
    let taken_ms = i128::from(end_ms) - i128::from(held.start_ms);
    (taken_ms > 0 && taken_ms >= i128::from(range_ms / EARLY_TAKEN_PARTS)).then_some(Window { end_ms, ..window })
}

/// A flush before the window is full takes at least this part of a range: a bound that the newest part alone exceeds would
/// make a block of every few seconds.
const EARLY_TAKEN_PARTS: i64 = 64;
/// A head that is flushed early keeps this part of its range, for senders that are late.
const EARLY_KEPT_PARTS: i64 = 8;

/// A block that is written and not yet proven: what it was made of, and the block, unless nothing was left.
pub(super) struct Written {
    pub(super) part: LogPart,
    pub(super) block: WrittenBlock,
}

impl Db {
    /// Flushes the whole head now, in-order and out-of-order samples, and takes what was flushed out of head and log.
    pub fn flush(&self) -> Result<FlushReport, TaskError> {
        let mut report = FlushReport::default();
        self.flush_head(&mut report)?;
        self.checkpoint()?;
        Ok(report)
    }

    /// Flushes what the head holds now, and leaves the log as it is. The report has what was flushed, also before an
    /// error.
    pub(super) fn flush_head(&self, report: &mut FlushReport) -> Result<(), TaskError> {
        self.schedule.run(Task::Flush, || {
            let _work = lock(&self.head_work);
            // What comes in meanwhile is for the next flush: behind senders that never pause there would be no end.
            let end_ms = self.unflushed_range().map_or(TimestampMs::MIN, |held| held.end_ms.saturating_add(1));
            while let Some(held) = self.unflushed_range().filter(|held| held.start_ms < end_ms) {
                let window = aligned(held.start_ms, self.options.head.chunk_range_ms);
                let end_ms = window.end_ms.min(end_ms);
                report.flushed.push(self.flush_window(Window { end_ms, ..window })?);
                self.leave_head();
            }
            Ok(if report.flushed.is_empty() { Outcome::Nothing } else { Outcome::Done(report.describe()) })
        })?;
        self.schedule.run(Task::FlushOutOfOrder, || {
            let _work = lock(&self.head_work);
            let flushed = self.flush_out_of_order_samples()?;
            let outcome = flushed.as_ref().map_or(Outcome::Nothing, Flushed::outcome);
            report.flushed.extend(flushed);
            Ok(outcome)
        })?;
        Ok(())
    }

    /// Flushes the oldest window of the head if it is time for that.
    pub(super) fn flush_if_due(&self) -> Result<Outcome, TaskError> {
        let _work = lock(&self.head_work);
        // What an earlier run flushed and could not take out of the head yet.
        self.leave_head();
        let Some(held) = self.unflushed_range() else { return Ok(Outcome::Nothing) };
        let range_ms = self.options.head.chunk_range_ms;
        let early = || self.is_too_large().then(|| early_window(held, range_ms)).flatten();
        let Some(window) = full_window(held, range_ms).or_else(early) else { return Ok(Outcome::Nothing) };
        let flushed = self.flush_window(window)?;
        self.leave_head();
        self.trigger(Task::Truncate);
        self.trigger(Task::Accelerate);
        self.trigger(Task::Compact);
        Ok(match flushed.outcome() {
            Outcome::Done(what) => Outcome::More(what),
            other => other,
        })
    }

    /// From the oldest to the newest in-order sample that no block has.
    pub(super) fn unflushed_range(&self) -> Option<TimeRange> {
        let held = self.head.in_order_range()?;
        let start_ms = held.start_ms.max(self.flushed_ms());
        (start_ms <= held.end_ms).then(|| TimeRange::new(start_ms, held.end_ms))
    }

    /// In-order samples below this are in blocks.
    pub(super) fn flushed_ms(&self) -> TimestampMs {
        *lock(&self.flushed_up_to)
    }

    /// Whether the head should be flushed before its window is full.
    pub(super) fn is_too_large(&self) -> bool {
        let flush_bytes = self.options.storage.flush_bytes;
        let memory_max = self.options.head.memory_bytes_max;
        // Nine tenths: what a flush itself takes has to find room.
        let memory_is_short =
            || memory_max > 0 && resident_bytes().is_ok_and(|(_, anonymous)| anonymous > memory_max / 10 * 9);
        flush_bytes.is_some_and(|bytes| self.store.head_bytes() > bytes) || memory_is_short()
    }

    /// Writes, proves and publishes the in-order samples below the window's end. Where there are older ones than its
    /// start, which a request brought that was under way when it was chosen, it is their window that is flushed.
    pub(super) fn flush_window(&self, window: Window) -> Result<Flushed, TaskError> {
        let began = self.clock.monotonic();
        let (held, cut) = self.committer.cut(|| {
            if !planted!(FloorNotRaised) {
                self.head.raise_floor(window.end_ms);
            }
            self.unflushed_range()
        });
        let window = match held {
            Some(held) if held.start_ms < window.start_ms => aligned(held.start_ms, self.options.head.chunk_range_ms),
            _ => window,
        };
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        let range = TimeRange::new(self.flushed_ms().max(window.start_ms), window.end_ms.saturating_sub(1));
        let part = LogPart::in_order(range);
        let source = self.head.chunk_source(range, ChunkKind::InOrder);
        let held = TimeRange::new(range.start_ms.max(window.start_ms), range.end_ms);
        let block = self.write_block(&self.options.data_dir, vec![source], held, Vec::new())?;
        let written = vec![Written { part, block }];
        let up_to = FlushedUpTo::TimeMs(window.end_ms);
        let flushed = self.prove_and_publish(FlushKind::InOrder, up_to, group, written, began)?;
        *lock(&self.flushed_up_to) = window.end_ms;
        self.head.read_from(window.end_ms);
        Ok(flushed)
    }

    /// Writes what sources give of a range in a directory, under a name that is not a block's.
    pub(super) fn write_block(
        &self,
        dir: &Path,
        sources: Vec<Box<dyn ChunkSource>>,
        range: TimeRange,
        hints: Vec<String>,
    ) -> Result<WrittenBlock, TaskError> {
        let origin = BlockOrigin {
            min_time_ms: range.start_ms,
            max_time_ms: range.end_ms.saturating_add(1),
            level: 1,
            hints,
            ..BlockOrigin::default()
        };
        let mut go_on = |_progress| ControlFlow::Continue(());
        compaction::write_block(&self.fs, dir, self.store.new_name(), sources, range, origin, &mut go_on)
            .map_err(|error| failed("the block cannot be written", error))
    }

    /// Compares what was written with the log, and publishes it where all of it is right.
    pub(super) fn prove_and_publish(
        &self,
        kind: FlushKind,
        up_to: FlushedUpTo,
        group: u64,
        written: Vec<Written>,
        began: Duration,
    ) -> Result<Flushed, TaskError> {
        let pairs: Vec<compaction::Flushed<'_>> =
            written.iter().map(|one| compaction::Flushed { written: &one.block, part: &one.part }).collect();
        let mut go_on = |_progress| ControlFlow::Continue(());
        let proof = compaction::prove_flush(&self.fs, &self.options.data_dir, &pairs, Some(group), &mut go_on);
        let proof = match proof {
            Ok(proof) => self.begin_ledger().map(|()| proof),
            Err(ProofError::Disproven(disproof)) => return Err(self.refuse(&written, &disproof.to_string())),
            Err(other) => Err(failed("the proof of the block failed", other)),
        };
        let proof = match proof {
            Ok(proof) => proof,
            Err(error) => {
                // On a full disk they would take the space until the next start.
                for block in written.into_iter().filter_map(|one| one.block.block) {
                    block.discard().map_err(|error| failed("a block without a name cannot be removed", error))?;
                }
                return Err(error);
            }
        };
        self.store.set_alarm("flush", None);
        let mut flushed = Flushed {
            kind,
            up_to,
            blocks: Vec::new(),
            stored: Tally::ZERO,
            deleted: Tally::ZERO,
            elapsed: Duration::ZERO,
        };
        let mut prepared = Vec::new();
        let mut events = Vec::new();
        for ((one, &tally), part) in written.into_iter().zip(&proof.stored).zip(&proof.log.parts) {
            let ulid = one.block.block.as_ref().map(|block| block.meta().ulid);
            events.push(Event::Flushed { ulid, up_to, tally, deleted: part.deleted });
            flushed.blocks.extend(ulid);
            flushed.stored += tally;
            flushed.deleted += part.deleted;
            prepared.extend(one.block.block);
        }
        let record = || self.store.record(&events).map_err(|error| failed("the ledger cannot be written", error));
        let is_early = planted!(FlushRecordedTooEarly);
        if is_early {
            record()?;
        }
        let published = self.publish_all(prepared).and_then(|blocks| {
            if !is_early {
                record()?;
            }
            Ok(blocks)
        });
        let blocks = published.inspect_err(|_| {
            // The head keeps the samples. Blocks that nobody counts would be found by the next start, without what is
            // deleted until then.
            flushed.blocks.iter().for_each(|ulid| self.store.take_back(*ulid));
        })?;
        self.store.blocks.replace(&[], &blocks);
        flushed.elapsed = self.clock.monotonic().saturating_sub(began);
        self.count_flush(&flushed);
        Ok(flushed)
    }

    pub(super) fn count_flush(&self, flushed: &Flushed) {
        let counters = &self.store.counters;
        flushed.blocks.iter().for_each(|_block| counters.flushes.observe(flushed.elapsed));
        counters.flushed_samples.add(flushed.stored.samples);
    }

    /// Gives blocks their names. After an error some may have them.
    pub(super) fn publish_all(&self, prepared: Vec<PreparedBlock>) -> Result<Vec<Arc<Block>>, TaskError> {
        let mut blocks = Vec::with_capacity(prepared.len());
        let mut error = None;
        for block in prepared {
            self.store.blocks.announce(block.meta().ulid);
            // None is left under the name that it was made under, either.
            let done = if error.is_some() { block.discard().map(|()| None) } else { block.publish().map(Some) };
            match done {
                Ok(block) => blocks.extend(block),
                Err(first) => error = error.or(Some(first)),
            }
        }
        error.map_or(Ok(blocks), |error| Err(failed("the block cannot be published", error)))
    }

    /// Lets the ledger begin, where it has no entry yet.
    pub(super) fn begin_ledger(&self) -> Result<(), TaskError> {
        let floor_ms = self.flushed_ms();
        self.store.begin_ledger(floor_ms).map_err(|error| failed("the ledger cannot be written", error))
    }

    /// What the log on the disk gives for a request.
    pub(super) fn log_tally(&self, request: &TallyRequest) -> Result<LogTally, TaskError> {
        log_tally(&*self.fs, &self.options.data_dir, request, &ReplayProgress::default())
            .map_err(|error| failed("the log cannot be read for the proof", error))
    }

    /// Sets blocks aside that are not what they have to be. Head and log keep their samples.
    fn refuse(&self, written: &[Written], reason: &str) -> TaskError {
        self.store.set_alarm("flush", Some(reason.to_owned()));
        self.store.counters.flushes_disproven.add(1);
        for block in written.iter().filter_map(|one| one.block.block.as_ref()) {
            if let Err(error) = self.store.set_aside(block, reason) {
                return TaskError(format!("{reason}; the block cannot be set aside: {error}"));
            }
        }
        TaskError(reason.to_owned())
    }
}

impl Flushed {
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::Done(FlushReport { flushed: vec![self.clone()] }.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: i64 = 7_200_000;

    #[test]
    fn window_is_full_when_the_newest_sample_is_more_than_one_and_a_half_ranges_behind_the_oldest() {
        let window = |start_ms, end_ms| full_window(TimeRange::new(start_ms, end_ms), RANGE);
        assert_eq!(window(0, RANGE * 3 / 2), None);
        assert_eq!(window(0, RANGE * 3 / 2 + 1), Some(Window { start_ms: 0, end_ms: RANGE }));
        assert_eq!(window(RANGE - 1, RANGE * 5 / 2), Some(Window { start_ms: 0, end_ms: RANGE }));
        assert_eq!(window(-1, RANGE * 2), Some(Window { start_ms: -RANGE, end_ms: 0 }));
        assert_eq!(window(i64::MIN, i64::MAX).map(|window| window.start_ms), Some(i64::MIN));
    }

    #[test]
    fn head_that_is_too_large_is_flushed_up_to_its_newest_part_and_never_across_a_window() {
        let window = |start_ms, end_ms| early_window(TimeRange::new(start_ms, end_ms), RANGE);
        assert_eq!(window(0, RANGE / 8), None);
        assert_eq!(window(0, RANGE / 8 + RANGE / 64 - 1), None, "not worth a block");
        assert!(window(0, RANGE / 8 + RANGE / 64).is_some());
        assert_eq!(window(0, RANGE / 2), Some(Window { start_ms: 0, end_ms: RANGE / 2 - RANGE / 8 }));
        assert_eq!(window(100, 2 * RANGE), Some(Window { start_ms: 0, end_ms: RANGE }));
    }
}
