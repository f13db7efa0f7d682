//! Blocks, ledger and reserve together: the part of the database that is there before its head is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use ulid::Ulid;

use super::blocks::Blocks;
use super::check::{BlockVerification, LogCoverage, Verified};
use super::check_runs::{CheckRun, CheckRunRecord};
use super::compact::CompactionRecord;
use super::counters::DbCounters;
use super::findings::FindingBook;
use super::lock;
use super::options::{DbOptions, OpenError, StorageOptions, io_error};
use super::quarantine::LogLosses;
use super::reserve::{Reserve, ReserveState};
use crate::clock::Clock;
use crate::fs::{Fs, names};
use crate::head::ReplayReport;
use crate::ledger::{Event, FlushedUpTo, Ledger, LedgerError};
use crate::model::{Tally, TimestampMs};
use crate::wal::{Recovery, ReplayProgress};

/// Compactions that are remembered.
const COMPACTIONS_KEPT: usize = 256;

/// What maintenance remembers.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The last compactions, oldest first.
    pub(super) compactions: Vec<CompactionRecord>,
    /// What the last check of each block found.
    pub(super) checks: BTreeMap<Ulid, BlockVerification>,
    /// Blocks whose compaction failed for a reason that does not pass.
    pub(super) uncompactable: BTreeSet<Ulid>,
    /// Blocks whose accelerator cannot be built, for a reason that does not pass.
    pub(super) unaccelerable: BTreeSet<Ulid>,
    /// What a person should look at, by what it is about.
    pub(super) alarms: BTreeMap<&'static str, String>,
    /// The last proofs of the log, oldest first.
    pub(super) proofs: Vec<Verified>,
    /// The proof that is under way.
    pub(super) proving: Option<(TimestampMs, Arc<ReplayProgress>)>,
    /// What the last proof read.
    pub(super) coverage: Option<LogCoverage>,
    /// The checks of blocks that are under way.
    pub(super) check_runs: Vec<Arc<CheckRun>>,
    /// The last checks of all blocks that somebody asked for, oldest first.
    pub(super) ended_check_runs: Vec<CheckRunRecord>,
    pub(super) reserve: Option<ReserveState>,
}

/// Blocks, ledger and reserve.
pub(super) struct BlockStore {
    pub(super) options: StorageOptions,
    pub(super) data_dir: PathBuf,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) blocks: Blocks,
    ledger: Mutex<Ledger>,
    pub(super) reserve: Reserve,
    notes: Mutex<Notes>,
    findings: Mutex<FindingBook>,
    pub(super) counters: DbCounters,
    names: Mutex<BlockNames>,
    /// What another program took out of the log, and the ledger could not be told yet.
    pub(super) taken_over: Mutex<Option<Event>>,
    /// Blocks that somebody else removed, and the ledger could not be told of yet.
    vanished: Mutex<BTreeSet<Ulid>>,
}

impl BlockStore {
    /// Cleans up what crashes left, reads the ledger and opens the blocks.
    pub(super) fn open(options: &DbOptions, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let data_dir = options.data_dir.clone();
        let blocks = Blocks::new(fs.clone(), clock.clone(), &data_dir);
        let removed = blocks.remove_leftovers().map_err(io_error("remove left-overs of blocks in", &data_dir))?;
        if removed > 0 {
            tracing::info!(removed, "unfinished blocks removed");
        }
        let quarantine_dir = data_dir.join(names::QUARANTINE_DIR);
        let ledger = Ledger::open(fs.clone(), &data_dir.join(names::LEDGER_DIR), &quarantine_dir)?;
        for damage in ledger.damages() {
            let (offset, bytes, what) = (damage.offset, damage.bytes, &damage.what);
            match damage.is_torn_tail {
                true => tracing::warn!(offset, bytes, what, "torn end of the ledger; its bytes go to quarantine"),
                false => tracing::error!(offset, bytes, what, "damage in the ledger; its bytes go to quarantine"),
            }
        }
        let found = blocks.reload(true).map_err(io_error("open the blocks in", &data_dir))?;
        for lost in &found.lost {
            tracing::error!(
                ulid = %lost.ulid, reason = lost.reason, in_quarantine = lost.is_moved,
                "a block cannot be read, its samples are missing"
            );
        }
        let findings = FindingBook::read(fs.clone(), &data_dir);
        let store = BlockStore {
            findings: Mutex::new(findings),
            reserve: Reserve::new(fs.clone(), &data_dir, options.storage.reserve_bytes),
            names: Mutex::new(BlockNames::new(options.storage.name_seed)),
            options: options.storage.clone(),
            data_dir,
            fs,
            clock,
            blocks,
            ledger: Mutex::new(ledger),
            notes: Mutex::default(),
            counters: DbCounters::default(),
            taken_over: Mutex::default(),
            vanished: Mutex::default(),
        };
        let gone = found.lost.iter().filter(|lost| lost.is_moved);
        let events: Vec<Event> = gone
            .filter_map(|lost| {
                let tally = store.recorded(lost.ulid)?;
                Some(Event::Quarantined { ulid: lost.ulid, tally, reason: lost.reason.clone() })
            })
            .collect();
        if let Err(error) = store.record(&events) {
            // On a full disk, say. Then the ledger goes on counting it as there, which it is, in quarantine.
            tracing::warn!(%error, "the ledger was not told of a block that was set aside");
        }
        store.find_met_damages();
        Ok(store)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Records events, durably.
    pub(super) fn record(&self, events: &[Event]) -> Result<(), LedgerError> {
        self.ledger().append(events, self.clock.now_ms())
    }

    /// Records which blocks somebody else removed, with those that could not be recorded before and did not come back.
    pub(super) fn record_vanished(&self, ulids: &[Ulid]) -> Result<(), LedgerError> {
        let mut vanished = lock(&self.vanished);
        vanished.extend(ulids);
        vanished.retain(|ulid| self.blocks.get(*ulid).is_none());
        let of = |ulid: &Ulid| Some(Event::Deleted { ulid: *ulid, tally: self.recorded(*ulid)? });
        let events: Vec<Event> = vanished.iter().filter_map(of).collect();
        self.record(&events)?;
        vanished.clear();
        Ok(())
    }

    /// Lets a ledger without entries begin: in-order samples below `floor_ms` were in blocks before there was one. It has
    /// to be there before the first block gets its name. A crash in between would otherwise leave a directory that looks
    /// like one of Prometheus, where samples are taken to be in blocks because of their time.
    pub(super) fn begin_ledger(&self, floor_ms: TimestampMs) -> Result<(), LedgerError> {
        let mut ledger = self.ledger();
        if !ledger.entries().is_empty() {
            return Ok(());
        }
        let up_to = FlushedUpTo::TimeMs(floor_ms);
        let begins = Event::Flushed { ulid: None, up_to, tally: Tally::ZERO, deleted: Tally::ZERO };
        ledger.append(&[begins], self.clock.now_ms())
    }

    /// What a block holds, as the ledger has it.
    pub(super) fn recorded(&self, ulid: Ulid) -> Option<Tally> {
        self.ledger().state().blocks.get(&ulid).copied()
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }

    /// What checks found and no later one has closed.
    pub(super) fn findings(&self) -> MutexGuard<'_, FindingBook> {
        lock(&self.findings)
    }

    /// Takes what blocks met when they were opened and queried for a finding, without a check.
    pub(super) fn find_met_damages(&self) {
        for block in self.blocks.list() {
            let met: Vec<String> = block.damages().into_iter().map(|damage| damage.what).collect();
            if !met.is_empty() {
                self.findings().block_met(block.ulid(), &met, self.clock.now_ms());
            }
        }
        self.look_at_damaged_blocks();
    }

    /// The blocks that are served and in which damage was found, in an earlier start too.
    pub(super) fn damaged_blocks(&self) -> Vec<Ulid> {
        let mut damaged = self.findings().blocks();
        damaged.retain(|ulid| self.blocks.get(*ulid).is_some());
        damaged
    }

    /// Sets or takes back the alarm that blocks are damaged which are served.
    pub(super) fn look_at_damaged_blocks(&self) {
        let damaged: Vec<String> = self.damaged_blocks().iter().map(Ulid::to_string).collect();
        let alarm = (!damaged.is_empty()).then(|| format!("damaged blocks: {}", damaged.join(", ")));
        self.set_alarm("blocks", alarm);
    }

    /// Forgets checks of blocks that are gone, and closes what was found in them.
    pub(super) fn forget_gone_blocks(&self) {
        let lost = self.blocks.lost();
        let is_served = |ulid| self.blocks.get(ulid).is_some();
        self.notes().checks.retain(|ulid, _| is_served(*ulid));
        let is_there = |ulid| is_served(ulid) || lost.iter().any(|lost| lost.ulid == ulid);
        self.findings().keep_blocks(is_there, self.clock.now_ms());
        self.look_at_damaged_blocks();
    }

    /// Remembers a compaction.
    pub(super) fn note_compaction(&self, record: CompactionRecord) {
        let compactions = &mut self.notes().compactions;
        if compactions.len() >= COMPACTIONS_KEPT {
            compactions.remove(0);
        }
        compactions.push(record);
    }

    /// Sets or takes back what a person should look at.
    pub(super) fn set_alarm(&self, about: &'static str, alarm: Option<String>) {
        match alarm {
            Some(text) => {
                let before = self.notes().alarms.insert(about, text.clone());
                if before.as_ref() != Some(&text) {
                    tracing::error!(about, alarm = text, "needs attention");
                }
            }
            None => drop(self.notes().alarms.remove(about)),
        }
    }

    /// Looks at what damage of the log cost, given what the start found.
    pub(super) fn look_at_log_losses(&self, recovery: &Recovery, replayed: &ReplayReport) {
        let losses = match recovery.repair_failure {
            None => LogLosses::read(&*self.fs, &self.data_dir),
            Some(_) => LogLosses::new(recovery.noted.iter().chain(&recovery.known).cloned().collect()),
        };
        let losses = losses.widened(replayed.unknown_range);
        self.set_alarm("log", losses.alarm());
        self.blocks.set_log_losses(losses);
    }

    /// A name for a new block that no block here has, or had under way.
    pub(super) fn new_name(&self) -> Ulid {
        let mut names = lock(&self.names);
        loop {
            let name = names.next(self.clock.now_ms().max(0).unsigned_abs());
            if !self.fs.exists(&self.data_dir.join(name.to_string())) {
                return name;
            }
        }
    }
}

/// Makes names of blocks that rise from one to the next.
struct BlockNames {
    random: u64,
    last: Ulid,
}

impl BlockNames {
    fn new(seed: Option<u64>) -> Self {
        let random = seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        BlockNames { random, last: Ulid::nil() }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next(&mut self, now_ms: u64) -> Ulid {
        let random = (u128::from(self.random()) << 64) | u128::from(self.random());
        let fresh = Ulid::from_parts(now_ms, random);
        // Two in one millisecond, or a clock that went back.
        let next = if fresh > self.last { fresh } else { self.last.increment().unwrap_or(fresh) };
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blocks_rise_also_within_a_millisecond_and_when_the_clock_goes_back() {
        let mut names = BlockNames::new(Some(1));
        let made: Vec<Ulid> = [5, 5, 5, 4, 0, 6].into_iter().map(|now_ms| names.next(now_ms)).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
        assert_eq!((made[0].timestamp_ms(), made[5].timestamp_ms()), (5, 6));
        assert_ne!(BlockNames::new(None).next(5), BlockNames::new(None).next(5));
    }
}
