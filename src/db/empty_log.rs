//! Emptying the log by force: when it is damaged, or holds what cannot be proven, and no flush succeeds any more.
//!
//! Nothing is thrown away. What the head holds goes to blocks first; the log as it is goes to `quarantine/`, whole; and the
//! log that goes on begins with a checkpoint of what was written meanwhile. The ledger says all of it.
//!
//! 1. The head is flushed as always, with the log as the witness.
//! 2. Where the log is no witness, since it gives something else than the head holds, or cannot be read, the head is: the
//!    blocks are read back and have to hold what the head counts, by digest. The ledger says how many samples the log did
//!    not give.
//! 3. Where that fails too, on a full disk say, nothing was changed: samples stay in head and log.
//! 4. Every file of the log gets a second name in `quarantine/log-<time>/`, durably, and the ledger is told.
//! 5. The log is truncated as always: a checkpoint keeps what is not in blocks, the receipts go to the ledger.
//!
//! A crash between any two steps leaves a log that a start reads, as after any truncation.

use std::io;
use std::path::{Path, PathBuf};

use super::flush::{FlushKind, FlushReport, Flushed, Window, Written, aligned};
use super::maintenance::{Outcome, Task, TaskError};
use super::truncate::CheckpointSummary;
use super::{Db, failed, lock};
use crate::block::{self, Block, HINT_FROM_OUT_OF_ORDER};
use crate::fs::{Fs, names};
use crate::head::{ChunkKind, OutOfOrderCut, SnapshotCounts};
use crate::ledger::{Event, FlushedUpTo};
use crate::model::{Tally, TimeRange, TimestampMs};
use crate::proof::{LogPart, TallyRequest};
use crate::wal::LogFiles;

/// What emptying the log did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptiedLog {
    /// Where the old log is, from the data directory on.
    pub place: String,
    /// Bytes of it.
    pub bytes: u64,
    /// What was flushed before.
    pub flushed: FlushReport,
    /// Why the log could not be the witness of the flush; `None` where it was.
    pub log_failed: Option<String>,
    /// Samples that the head held and the log did not give. They are in blocks.
    pub unlogged: Tally,
    /// What left the log, and what its checkpoint keeps.
    pub checkpoint: CheckpointSummary,
}

/// What the head held when it was told that its blocks would take its samples.
struct HeadCut {
    /// In-order samples that no block has; `None` where there are none.
    in_order: Option<TimeRange>,
    /// The floor above them.
    floor_ms: TimestampMs,
    out_of_order: OutOfOrderCut,
    counts: SnapshotCounts,
}

impl Db {
    /// Moves the log to quarantine and starts a new one. What the head holds is in blocks before.
    pub fn empty_log(&self) -> Result<EmptiedLog, TaskError> {
        let (mut flushed, mut unlogged, mut log_failed) = (FlushReport::default(), Tally::ZERO, None);
        if let Err(error) = self.flush_head(&mut flushed) {
            tracing::warn!(%error, "the log is no witness of a flush; the head is asked");
            self.schedule.run(Task::Flush, || {
                let _work = lock(&self.head_work);
                let (report, missing) = self.flush_by_head()?;
                unlogged = missing;
                let outcome = Outcome::Done(format!("without the log, {}", report.describe()));
                flushed.flushed.extend(report.flushed);
                Ok(outcome)
            })?;
            log_failed = Some(error.0);
        }
        let mut emptied = None;
        self.schedule.run(Task::Truncate, || {
            let _work = lock(&self.head_work);
            self.leave_head();
            let rolled = self.committer.roll().wait();
            rolled.map_err(|error| failed("a new segment of the log cannot be begun", error))?;
            let (place, bytes, up_to) = self.keep_log()?;
            let checkpoint = self.truncate_log(true, |_first, last| Some(last.min(up_to)))?;
            let checkpoint = checkpoint.ok_or_else(|| TaskError("the log has no segment that is closed".to_owned()))?;
            let outcome = Outcome::Done(format!("the log was emptied by force; it is in {place}"));
            emptied = Some((place, bytes, checkpoint));
            Ok(outcome)
        })?;
        let (place, bytes, checkpoint) = emptied.ok_or_else(|| TaskError("the log was not emptied".to_owned()))?;
        tracing::warn!(
            place,
            unlogged = unlogged.samples,
            "the log was emptied by force; the old one is in quarantine"
        );
        Ok(EmptiedLog { place, bytes, flushed, log_failed, unlogged, checkpoint })
    }

    /// Gives every file of the log that is not written any more a second name in quarantine, durably, and tells the
    /// ledger. Gives the place, how many bytes it has, and the last segment. `head_work` is held.
    fn keep_log(&self) -> Result<(String, u64, u32), TaskError> {
        let fs = &*self.fs;
        let cannot = |error: io::Error| failed("the log cannot be moved to quarantine", error);
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        let open_segment = self.committer.status().open_segment.map(|(number, _)| number);
        let files = LogFiles::list(fs, &wal_dir).map_err(|error| failed("the log cannot be listed", error))?;
        let is_closed = |number: u32| open_segment.is_some_and(|open| number < open);
        let closed = files.files.iter().filter(|file| file.checkpoint || is_closed(file.number));
        let last = files.files.iter().filter(|file| !file.checkpoint && is_closed(file.number)).map(|file| file.number);
        let Some(up_to) = last.max() else {
            return Err(TaskError("the log has no segment that is closed".to_owned()));
        };
        let (place, dir) = self.free_place();
        let mut bytes = 0;
        fs.create_dir_all(&dir).map_err(cannot)?;
        for file in closed {
            let within = file.path.strip_prefix(&wal_dir).unwrap_or(&file.path);
            let target = dir.join(within);
            if let Some(parent) = target.parent().filter(|parent| !fs.exists(parent)) {
                fs.create_dir_all(parent).map_err(cannot)?;
            }
            fs.hard_link(&file.path, &target).map_err(cannot)?;
            bytes += file.bytes;
        }
        sync_dirs(fs, &dir).map_err(cannot)?;
        fs.sync_dir(&self.options.data_dir.join(names::QUARANTINE_DIR)).map_err(cannot)?;
        fs.sync_dir(&self.options.data_dir).map_err(cannot)?;
        let event = Event::LogQuarantined { place: place.clone(), up_to_segment: up_to, bytes };
        self.store.record(&[event]).map_err(|error| failed("the ledger cannot be written", error))?;
        Ok((place, bytes, up_to))
    }

    /// A directory in quarantine that does not exist: one that a crash left half full is left as it is.
    fn free_place(&self) -> (String, PathBuf) {
        let moment = jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let moment = moment.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut number = 0;
        loop {
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            let place = format!("{}/{}{moment}{suffix}", names::QUARANTINE_DIR, names::QUARANTINED_LOG_PREFIX);
            let dir = self.options.data_dir.join(&place);
            if !self.fs.exists(&dir) {
                return (place, dir);
            }
            number += 1;
        }
    }

    /// Flushes the whole head with itself as the witness, and says how many of its samples the log did not give.
    /// `head_work` is held.
    fn flush_by_head(&self) -> Result<(FlushReport, Tally), TaskError> {
        let began = self.clock.monotonic();
        self.leave_head();
        if *lock(&self.truncated_to) != self.flushed_ms() || !lock(&self.out_of_order_to_drop).is_empty() {
            return Err(TaskError(
                "queries still read samples that blocks have; try again when they are over".to_owned(),
            ));
        }
        let (held, cut) = self.committer.cut(|| self.cut_head());
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        let after = self.store.ledger().state().flushed_out_of_order_group.unwrap_or(0);
        let mut written = Vec::new();
        let result = self
            .write_windows(&held, after, group, &mut written)
            .and_then(|()| self.prove_by_head(&held, &written))
            .and_then(|proven| self.begin_ledger().map(|()| proven));
        let (stored, unlogged) = match result {
            Ok(proven) => proven,
            Err(error) => {
                for block in written.into_iter().filter_map(|(_, one)| one.block.block) {
                    block.discard().map_err(|error| failed("an unproven block cannot be removed", error))?;
                }
                return Err(error);
            }
        };
        let mut report = FlushReport::default();
        let mut events = Vec::new();
        let mut prepared = Vec::new();
        let mut names = Vec::new();
        let elapsed = self.clock.monotonic().saturating_sub(began);
        for ((up_to, one), stored) in written.into_iter().zip(stored) {
            let deleted = one.block.totals.deleted;
            let ulid = one.block.block.as_ref().map(|block| block.meta().ulid);
            events.push(Event::Flushed { ulid, up_to, tally: stored, deleted });
            let kind = match up_to {
                FlushedUpTo::TimeMs(_) => FlushKind::InOrder,
                FlushedUpTo::OutOfOrderGroup(_) => FlushKind::OutOfOrder,
            };
            let blocks = ulid.into_iter().collect();
            report.flushed.push(Flushed { kind, up_to, blocks, stored, deleted, elapsed });
            names.extend(ulid);
            prepared.extend(one.block.block);
        }
        if unlogged != Tally::ZERO {
            events.push(Event::Unlogged { tally: unlogged });
        }
        let published = self.publish_all(prepared).and_then(|blocks| {
            self.store.record(&events).map_err(|error| failed("the ledger cannot be written", error))?;
            Ok(blocks)
        });
        // The head keeps the samples.
        let blocks = published.inspect_err(|_| names.iter().for_each(|name| self.store.take_back(*name)))?;
        report.flushed.iter().for_each(|flushed| self.count_flush(flushed));
        self.store.blocks.replace(&[], &blocks);
        self.store.set_alarm("flush", None);
        *lock(&self.flushed_up_to) = held.floor_ms;
        // What it counted is held for readers as long as it lives.
        drop(held.counts);
        self.leave_out_of_order(held.out_of_order, group);
        self.leave_head();
        Ok((report, unlogged))
    }

    /// Called while nothing is accepted.
    fn cut_head(&self) -> HeadCut {
        let in_order = self.unflushed_range();
        let floor_ms = in_order.map_or_else(|| self.flushed_ms(), |held| held.end_ms.saturating_add(1));
        self.head.raise_floor(floor_ms);
        let out_of_order = self.head.cut_out_of_order();
        HeadCut { in_order, floor_ms, out_of_order, counts: self.head.snapshot_counts() }
    }

    /// Writes a block for each window of time, under names that are not blocks'.
    fn write_windows(
        &self,
        held: &HeadCut,
        after: u64,
        group: u64,
        written: &mut Vec<(FlushedUpTo, Written)>,
    ) -> Result<(), TaskError> {
        let range_ms = self.options.head.chunk_range_ms;
        for window in windows(held.in_order, range_ms) {
            let end_ms = window.end_ms.min(held.floor_ms);
            let range = TimeRange::new(window.start_ms.max(self.flushed_ms()), end_ms.saturating_sub(1));
            let source = self.head.chunk_source(range, ChunkKind::InOrder);
            let block = self.write_block(&self.options.data_dir, vec![source], range, Vec::new())?;
            written.push((FlushedUpTo::TimeMs(end_ms), Written { part: LogPart::in_order(range), block }));
        }
        for window in windows(held.out_of_order.range, range_ms) {
            let Some(all) = held.out_of_order.range else { continue };
            let range =
                TimeRange::new(window.start_ms.max(all.start_ms), window.end_ms.saturating_sub(1).min(all.end_ms));
            let source = self.head.chunk_source(range, ChunkKind::OutOfOrder(held.out_of_order));
            let part = LogPart::out_of_order(range, after.saturating_add(1)..=group);
            let hints = vec![HINT_FROM_OUT_OF_ORDER.to_owned()];
            let block = self.write_block(&self.options.data_dir, vec![source], range, hints)?;
            written.push((FlushedUpTo::OutOfOrderGroup(group), Written { part, block }));
        }
        Ok(())
    }

    /// Reads the blocks back and compares them with what the head counts. Gives what each of them holds, and what of it
    /// the log does not give.
    fn prove_by_head(
        &self,
        held: &HeadCut,
        written: &[(FlushedUpTo, Written)],
    ) -> Result<(Vec<Tally>, Tally), TaskError> {
        let mut head = Tally::ZERO;
        let warnings = self.head.digest_series(&held.counts, |series| {
            head += Tally { samples: series.samples, digest: series.digest };
        });
        if let Some(warning) = warnings.first() {
            return Err(TaskError(format!("the head cannot be the witness of a flush: {warning}")));
        }
        let mut stored = Vec::new();
        let mut taken = Tally::ZERO;
        for (_, one) in written {
            let tally = match &one.block.block {
                None => Tally::ZERO,
                Some(prepared) => {
                    let opened: Result<_, _> = prepared.open();
                    let opened = opened.map_err(|error| failed("a new block cannot be opened", error))?;
                    read_back(&opened)?
                }
            };
            taken += tally + one.block.totals.deleted + one.block.totals.deduplicated;
            stored.push(tally);
        }
        if taken != head {
            return Err(TaskError(format!("the head holds {head}; the blocks that were made of it have {taken}")));
        }
        let parts = written.iter().map(|(_, one)| one.part.clone()).collect();
        let log = self.log_tally(&TallyRequest { parts, up_to_group: None })?;
        let given: Tally = log.parts.iter().map(|part| part.written).sum();
        Ok((stored, taken - given))
    }
}

/// Reads a block from the disk, whole.
fn read_back(block: &Block) -> Result<Tally, TaskError> {
    let check = block::check(block, &mut |_bytes| {});
    match check.findings.first() {
        None => Ok(check.stored),
        Some(finding) => Err(failed("a new block is damaged", &finding.what)),
    }
}

/// The aligned windows that a range touches.
fn windows(held: Option<TimeRange>, range_ms: i64) -> impl Iterator<Item = Window> {
    let mut next = held.map(|held| held.start_ms);
    std::iter::from_fn(move || {
        let (at_ms, held) = (next?, held?);
        let window = aligned(at_ms, range_ms);
        next = (window.end_ms <= held.end_ms && window.end_ms > at_ms).then_some(window.end_ms);
        Some(window)
    })
}

/// Makes a directory and those below it durable.
fn sync_dirs(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    for entry in fs.list(dir)?.iter().filter(|entry| entry.is_dir) {
        sync_dirs(fs, &dir.join(&entry.name))?;
    }
    fs.sync_dir(dir)
}
