//! Blocks into larger blocks: planned, merged, proven to be the sum of their parents, and only then put in their place.
//!
//! A child that is not the sum of its parents goes to quarantine and the parents stay. One that is gets its name, the
//! ledger says so, queries see the child in place of the parents, and the parents' files go, in this order. After a crash
//! in between, a parent whose child the ledger knows is removed by the next start; a child that the ledger does not know
//! overlaps its parents, and is merged with them again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::maintenance::{Outcome, Task, TaskError};
use super::quarantine::{self, LostBlock};
use super::store::BlockStore;
use super::{Db, failed, lock};
use crate::block::{Block, PreparedBlock};
use crate::compaction::{self, CompactionError, PlanBlock, PlanOptions, SkippedPlan, level_ranges};
use crate::ledger::{Entry, Event, LedgerState};
use crate::model::{Digest, Tally, TimestampMs};

/// One compaction, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionRecord {
    /// When it ended, by the wall clock.
    pub at_ms: TimestampMs,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it was done.
    pub reason: String,
    /// The blocks that were merged.
    pub parents: Vec<Ulid>,
    /// The new block; `None` where no sample was left, or the compaction failed.
    pub child: Option<Ulid>,
    /// What the new block holds.
    pub stored: Tally,
    /// What was left out because it was deleted.
    pub deleted: Tally,
    /// What was left out because it was there twice.
    pub deduplicated: Tally,
    /// Samples of one time and series that had different values.
    pub conflicts: u64,
    /// Why it failed; the parents are as they were.
    pub error: Option<String>,
}

/// What a call compacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// The compactions, in their order.
    pub compactions: Vec<CompactionRecord>,
    /// What should be compacted as well and cannot be, in words.
    pub skipped: Vec<String>,
}

impl Db {
    /// Compacts now, until nothing is left to compact.
    pub fn compact(&self) -> Result<CompactionReport, TaskError> {
        let mut report = CompactionReport::default();
        loop {
            let mut record = None;
            let outcome = self.schedule.run(Task::Compact, || {
                let _work = lock(&self.block_work);
                record = self.compact_next(&mut report.skipped)?;
                Ok(match &record {
                    None => Outcome::Nothing,
                    Some(record) => Outcome::Done(record.describe()),
                })
            })?;
            report.compactions.extend(record);
            if outcome == Outcome::Nothing {
                return Ok(report);
            }
        }
    }

    pub(super) fn compact_if_due(&self) -> Result<Outcome, TaskError> {
        let record = {
            let _work = lock(&self.block_work);
            // Space first.
            self.store.expire(self.head.max_time_ms())?;
            self.compact_next(&mut Vec::new())?
        };
        let Some(record) = record else { return Ok(Outcome::Nothing) };
        self.trigger(Task::Accelerate);
        Ok(Outcome::More(record.describe()))
    }

    /// The last compactions, oldest first.
    pub fn compactions(&self) -> Vec<CompactionRecord> {
        self.store.notes().compactions.clone()
    }

    /// Does what the planner says, once. `block_work` is held.
    fn compact_next(&self, skipped: &mut Vec<String>) -> Result<Option<CompactionRecord>, TaskError> {
        let blocks = self.store.blocks.list();
        let failed_before = self.store.notes().uncompactable.clone();
        let facts: Vec<PlanBlock> = blocks
            .iter()
            .map(|block| {
                let meta = block.meta();
                PlanBlock {
                    ulid: block.ulid(),
                    min_time_ms: meta.min_time_ms,
                    max_time_ms: meta.max_time_ms,
                    bytes: block.bytes(),
                    series: meta.stats.series,
                    tombstones: block.tombstones().len() as u64,
                    failed: failed_before.contains(&block.ulid()),
                    deletable: false,
                    from_out_of_order: meta.is_from_out_of_order(),
                }
            })
            .collect();
        let chunk_range = Duration::from_millis(self.options.head.chunk_range_ms.max(0).unsigned_abs());
        let retention =
            self.options.storage.retention.time_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        let free = self.fs.free_bytes(&self.options.data_dir).ok();
        let options = PlanOptions { ranges_ms: level_ranges(chunk_range, retention), disk_bytes: free };
        let planned = compaction::plan(&facts, &options);
        *skipped = planned.skipped.iter().map(SkippedPlan::to_string).collect();
        let alarming: Vec<String> =
            planned.skipped.iter().filter(|one| !one.passes_by_itself()).map(SkippedPlan::to_string).collect();
        self.store.set_alarm("compaction", (!alarming.is_empty()).then(|| alarming.join("; ")));
        let Some(plan) = planned.plan else { return Ok(None) };
        let parents: Vec<Arc<Block>> = plan.parents.iter().filter_map(|ulid| self.store.blocks.get(*ulid)).collect();
        self.compact_blocks(&parents, &plan.reason.to_string()).map(Some)
    }

    /// Merges these blocks into one that takes their place. `block_work` is held.
    pub(super) fn compact_blocks(&self, parents: &[Arc<Block>], reason: &str) -> Result<CompactionRecord, TaskError> {
        let began = self.clock.monotonic();
        self.adopt_unknown(parents)?;
        let mut record = CompactionRecord {
            at_ms: 0,
            elapsed: Duration::ZERO,
            reason: reason.to_owned(),
            parents: parents.iter().map(|block| block.ulid()).collect(),
            child: None,
            stored: Tally::ZERO,
            deleted: Tally::ZERO,
            deduplicated: Tally::ZERO,
            conflicts: 0,
            error: None,
        };
        let result = self.replace_by_child(parents, &mut record);
        record.at_ms = self.clock.now_ms();
        record.elapsed = self.clock.monotonic().saturating_sub(began);
        record.error = result.as_ref().err().map(|error| error.0.clone());
        if result.is_ok() {
            self.store.counters.compactions.observe(record.elapsed);
            self.store.counters.vertical_compactions.add(u64::from(is_vertical(parents)));
        }
        self.store.note_compaction(record.clone());
        result.map(|()| record)
    }

    fn replace_by_child(&self, parents: &[Arc<Block>], record: &mut CompactionRecord) -> Result<(), TaskError> {
        let stopping = || self.schedule.is_stopping();
        let mut watch = |_progress| if stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let name = self.store.new_name();
        let outcome = compaction::compact(&self.fs, &self.options.data_dir, name, parents, &mut watch)
            .map_err(|error| self.compaction_failed(parents, error))?;
        if outcome.conflicts > 0 {
            let first = outcome.conflicts_named.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(conflicts = outcome.conflicts, first, "blocks had different values for a time of a series");
        }
        if planted!(ParentsRemovedTooEarly) {
            record.parents.iter().for_each(|parent| drop(self.store.blocks.remove_files(*parent)));
        }
        let child = outcome.child.map(PreparedBlock::publish).transpose();
        let child = child.map_err(|error| {
            // It may have its name all the same.
            self.store.take_back(name);
            failed("the compacted block cannot be published", error)
        })?;
        record.child = child.as_ref().map(|block| block.ulid());
        (record.stored, record.deleted) = (outcome.stored, outcome.deleted);
        (record.deduplicated, record.conflicts) = (outcome.deduplicated, outcome.conflicts);
        let event = Event::Compacted {
            parents: record.parents.clone(),
            child: record.child,
            stored: match planted!(LedgerDigestWrong) {
                true => Tally { digest: Digest::ZERO, ..outcome.stored },
                false => outcome.stored,
            },
            deleted: outcome.deleted,
            deduplicated: outcome.deduplicated,
        };
        if let Err(error) = self.store.record(&[event]) {
            // Without the ledger's word the parents stay; the child would only be merged with them again.
            if child.is_some() {
                self.store.take_back(name);
            }
            return Err(failed("the ledger cannot be written", error));
        }
        self.store.blocks.replace(&record.parents, child.as_slice());
        for parent in &record.parents {
            self.store.notes().checks.remove(parent);
            // Left-overs are removed by the next start.
            if let Err(error) = self.store.blocks.remove_files(*parent) {
                tracing::warn!(%parent, %error, "a block that was compacted could not be removed yet");
            }
        }
        Ok(())
    }

    /// Sets a child aside that was refused, and remembers which block cannot be compacted.
    fn compaction_failed(&self, parents: &[Arc<Block>], error: CompactionError) -> TaskError {
        let text = error.to_string();
        match error {
            CompactionError::Unproven { child, .. } => {
                self.store.notes().uncompactable.extend(parents.iter().map(|block| block.ulid()));
                self.store.set_alarm("compaction", Some(text.clone()));
                self.store.counters.compactions_disproven.add(1);
                if let Some(child) = child
                    && let Err(error) = self.store.set_aside(&child, &text)
                {
                    return TaskError(format!("{text}; the block cannot be set aside: {error}"));
                }
            }
            CompactionError::DamagedParent { ulid, .. } => {
                self.store.notes().uncompactable.insert(ulid);
                self.store.set_alarm("compaction", Some(text.clone()));
            }
            _ => {}
        }
        TaskError(text)
    }

    /// Takes blocks into the ledger that it does not know, so that its sums come out.
    fn adopt_unknown(&self, blocks: &[Arc<Block>]) -> Result<(), TaskError> {
        let unknown = blocks.iter().filter(|block| self.store.recorded(block.ulid()).is_none());
        let mut events = Vec::new();
        for block in unknown {
            let check = self.check_block(block, &mut |_bytes| {});
            if let Some(finding) = check.findings.first() {
                self.store.notes().uncompactable.insert(block.ulid());
                return Err(TaskError(format!("block {} is damaged: {finding}", block.ulid())));
            }
            events.push(Event::Adopted { ulid: block.ulid(), tally: check.stored });
        }
        self.begin_ledger()?;
        self.store.record(&events).map_err(|error| failed("the ledger cannot be written", error))
    }
}

impl BlockStore {
    /// Moves a block that was refused before it got its name to quarantine. What it was made of has its samples.
    pub(super) fn set_aside(&self, prepared: &PreparedBlock, reason: &str) -> std::io::Result<()> {
        let meta = prepared.meta();
        let range = meta.time_range();
        let lost = LostBlock {
            ulid: meta.ulid,
            min_time_ms: range.map(|range| range.start_ms),
            max_time_ms: range.map(|range| range.end_ms),
            reason: reason.to_owned(),
            found_ms: self.clock.now_ms(),
            is_covered: true,
            is_moved: true,
        };
        // One specimen is enough: what fails again for the same reason takes no more space.
        let known = quarantine::lost_blocks(&*self.fs, &self.data_dir);
        let same = |known: &LostBlock| {
            known.is_covered && (known.min_time_ms, known.max_time_ms) == (lost.min_time_ms, lost.max_time_ms)
        };
        match known.iter().any(same) {
            true => self.fs.remove_dir_all(prepared.dir()),
            false => quarantine::move_block(&*self.fs, &self.data_dir, prepared.dir(), &lost),
        }
    }

    /// Removes a block that is in no view, or may be there because of a call that failed. Where it cannot be removed now,
    /// it is not taken in again as long as the process lives.
    pub(super) fn take_back(&self, ulid: Ulid) {
        self.blocks.take_back(ulid);
        self.remove_hidden();
    }

    /// Removes what is left of blocks that were taken out of the view for good.
    pub(super) fn remove_hidden(&self) {
        let hidden = self.blocks.hidden();
        if hidden.is_empty() {
            return;
        }
        // An event that was not acknowledged may be on the disk, and say that one of them holds samples.
        if let Err(error) = self.ledger().settle() {
            tracing::warn!(%error, "blocks that do not count stay until the ledger can be written");
            return;
        }
        for ulid in hidden {
            if let Err(error) = self.blocks.remove_files(ulid) {
                tracing::warn!(%ulid, %error, "a block that does not count could not be removed yet");
            }
        }
    }

    /// Removes the blocks that a crash left behind after another one had taken their place, or after the ledger had said
    /// that they expired, and those that are marked as empty. A child was proven before the ledger named it; where it is
    /// gone itself, it is what became of it that counts.
    pub(super) fn remove_superseded(&self) {
        let is_due = |ulid: Ulid| self.expires_by_clock(ulid);
        let superseded = {
            let ledger = self.ledger();
            superseded(&self.blocks.list(), ledger.entries(), ledger.state(), &is_due)
        };
        self.blocks.replace(&superseded, &[]);
        if superseded.is_empty() {
            return;
        }
        // What it says has to be on the disk for certain before something is removed on its word.
        if let Err(error) = self.ledger().settle() {
            tracing::warn!(%error, "superseded blocks stay until the ledger can be written");
            superseded.iter().for_each(|ulid| self.blocks.hide(*ulid));
            return;
        }
        for ulid in superseded {
            match self.blocks.remove_files(ulid) {
                Ok(()) => tracing::info!(%ulid, "a block that another one took the place of was removed"),
                Err(error) => tracing::warn!(%ulid, %error, "a superseded block could not be removed"),
            }
        }
    }
}

/// Whether some of these blocks overlap.
fn is_vertical(parents: &[Arc<Block>]) -> bool {
    let mut ranges: Vec<_> = parents.iter().filter_map(|block| block.meta().time_range()).collect();
    ranges.sort_by_key(|range| range.start_ms);
    ranges.windows(2).any(|pair| matches!(pair, [before, behind] if before.overlaps(behind)))
}

/// The blocks whose end the ledger tells although they are still there, and those that are marked as empty. `is_due` says
/// whether retention takes a block.
pub(super) fn superseded(
    blocks: &[Arc<Block>],
    entries: &[Entry],
    state: &LedgerState,
    is_due: &dyn Fn(Ulid) -> bool,
) -> Vec<Ulid> {
    let there: BTreeSet<Ulid> = blocks.iter().map(|block| block.ulid()).collect();
    let mut covered = BTreeSet::new();
    // From the last to the first: what became of a child stands behind the compaction that made it.
    for entry in entries.iter().rev() {
        match &entry.event {
            Event::Compacted { parents, child, .. }
                if child.is_none_or(|child| there.contains(&child) || covered.contains(&child)) =>
            {
                covered.extend(parents);
            }
            Event::Expired { ulid, .. } => drop(covered.insert(*ulid)),
            _ => {}
        }
    }
    // An expired block that was not the last one to go was brought back by a person; so was one that has not had its time
    // any more.
    let last = entries.last().map(|entry| &entry.event);
    let is_kept = |ulid: &Ulid| {
        let expired = |event: &Event| matches!(event, Event::Expired { ulid: expired, .. } if expired == ulid);
        let has_expired = entries.iter().any(|entry| expired(&entry.event));
        has_expired && !(last.is_some_and(expired) && is_due(*ulid))
    };
    // What was taken in after its end came back, imported again say, and nothing else need hold its samples.
    let is_back = |ulid: &Ulid| state.blocks.contains_key(ulid);
    let empty = blocks.iter().filter(|block| block.meta().compaction.deletable).map(|block| block.ulid());
    there.intersection(&covered).filter(|ulid| !is_kept(ulid) && !is_back(ulid)).copied().chain(empty).collect()
}

impl CompactionRecord {
    fn describe(&self) -> String {
        let parents: Vec<String> = self.parents.iter().map(Ulid::to_string).collect();
        let child = self.child.map_or_else(|| "nothing".to_owned(), |child| child.to_string());
        format!("{}: {} became {child}, {} samples", self.reason, parents.join(", "), self.stored.samples)
    }
}
