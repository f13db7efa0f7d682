//! Checks of blocks that are under way, and what became of those that somebody asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ulid::Ulid;

use super::check::BlockVerification;
use super::store::BlockStore;
use super::{Db, lock};
use crate::block::Block;
use crate::model::TimestampMs;

/// Runs that are remembered.
const RUNS_KEPT: usize = 32;

/// A check of some blocks that is under way.
#[derive(Debug)]
pub(super) struct CheckRun {
    since_ms: TimestampMs,
    is_scrub: bool,
    blocks_total: u64,
    bytes_total: u64,
    blocks_done: AtomicU64,
    /// Bytes of the blocks that are done.
    bytes_done: AtomicU64,
    /// Bytes that were read of the block that is being read.
    bytes_of_block: AtomicU64,
    damaged: AtomicU64,
    block: Mutex<Option<Ulid>>,
    is_stopped: AtomicBool,
}

/// How far a check of blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksUnderWay {
    /// When it began, by the wall clock.
    pub since_ms: TimestampMs,
    /// Whether it is the scrub, which is slow on purpose.
    pub is_scrub: bool,
    /// The block that is being read.
    pub block: Option<Ulid>,
    /// Blocks that were read.
    pub blocks_done: u64,
    /// Blocks to read.
    pub blocks_total: u64,
    /// About how many bytes were read.
    pub bytes_done: u64,
    /// Bytes to read.
    pub bytes_total: u64,
    /// Blocks in which something was found.
    pub damaged: u64,
    /// Whether it ends behind the block that is being read.
    pub is_stopped: bool,
}

/// A check of all blocks that somebody asked for, and that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRunRecord {
    /// When it ended, by the wall clock.
    pub at_ms: TimestampMs,
    /// How long it took.
    pub elapsed: Duration,
    /// Blocks that were read.
    pub blocks: u64,
    /// Blocks that it was to read.
    pub blocks_total: u64,
    /// Bytes of the blocks that were read.
    pub bytes: u64,
    /// Samples in them.
    pub samples: u64,
    /// Blocks in which something was found.
    pub damaged: u64,
    /// Whether somebody ended it early.
    pub is_stopped: bool,
}

impl CheckRun {
    fn under_way(&self) -> ChecksUnderWay {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let bytes = read(&self.bytes_done).saturating_add(read(&self.bytes_of_block));
        ChecksUnderWay {
            since_ms: self.since_ms,
            is_scrub: self.is_scrub,
            block: *lock(&self.block),
            blocks_done: read(&self.blocks_done),
            blocks_total: self.blocks_total,
            bytes_done: bytes.min(self.bytes_total),
            bytes_total: self.bytes_total,
            damaged: read(&self.damaged),
            is_stopped: self.is_stopped.load(Ordering::Relaxed),
        }
    }

    /// Checks a block of the run.
    pub(super) fn check(&self, db: &Db, block: &Block, progress: &mut dyn FnMut(u64)) -> BlockVerification {
        *lock(&self.block) = Some(block.ulid());
        let size = block.bytes();
        let check = db.check_block(block, &mut |bytes| {
            // What is read of an index is estimated on the way.
            self.bytes_of_block.store(bytes.min(size), Ordering::Relaxed);
            progress(bytes);
        });
        *lock(&self.block) = None;
        self.bytes_of_block.store(0, Ordering::Relaxed);
        self.bytes_done.fetch_add(size, Ordering::Relaxed);
        self.blocks_done.fetch_add(1, Ordering::Relaxed);
        self.damaged.fetch_add(u64::from(!check.is_good()), Ordering::Relaxed);
        check
    }
}

/// Shows a run as under way until it ends, also by a panic.
pub(super) struct Shown<'a> {
    store: &'a BlockStore,
    pub(super) run: Arc<CheckRun>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(store: &'a BlockStore, is_scrub: bool, blocks: &[Arc<Block>]) -> Self {
        let run = Arc::new(CheckRun {
            since_ms: store.clock.now_ms(),
            is_scrub,
            blocks_total: blocks.len() as u64,
            bytes_total: blocks.iter().map(|block| block.bytes()).sum(),
            blocks_done: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_of_block: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            block: Mutex::new(None),
            is_stopped: AtomicBool::new(false),
        });
        store.notes().check_runs.push(run.clone());
        Shown { store, run }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.store.notes().check_runs.retain(|run| !Arc::ptr_eq(run, &self.run));
    }
}

impl Db {
    /// Reads one block whole, now. `None` where there is no such block.
    pub fn verify_block(&self, ulid: Ulid) -> Option<BlockVerification> {
        let block = self.store.blocks.get(ulid)?;
        let shown = Shown::new(&self.store, false, std::slice::from_ref(&block));
        Some(shown.run.check(self, &block, &mut |_bytes| {}))
    }

    /// Reads all blocks whole, now, by time, unless somebody ends that early: how it ended, and what was found in each.
    pub fn verify_blocks(&self) -> (CheckRunRecord, Vec<BlockVerification>) {
        let mut blocks = self.store.blocks.list();
        blocks.sort_by_key(|block| (block.meta().min_time_ms, block.ulid()));
        let shown = Shown::new(&self.store, false, &blocks);
        self.read_blocks(&blocks, &shown)
    }

    /// Reads these blocks, one after the other, unless the run is ended early.
    fn read_blocks(&self, blocks: &[Arc<Block>], shown: &Shown<'_>) -> (CheckRunRecord, Vec<BlockVerification>) {
        let began = self.clock.monotonic();
        let mut checks = Vec::with_capacity(blocks.len());
        let (mut bytes, mut is_stopped) = (0, false);
        for block in blocks {
            is_stopped = shown.run.is_stopped.load(Ordering::Relaxed) || self.schedule.is_stopping();
            if is_stopped {
                break;
            }
            // A block that was compacted meanwhile is in its child, which the scrub reads.
            if self.store.blocks.get(block.ulid()).is_none() {
                continue;
            }
            checks.push(shown.run.check(self, block, &mut |_bytes| {}));
            bytes += block.bytes();
        }
        let record = CheckRunRecord {
            at_ms: self.clock.now_ms(),
            elapsed: self.clock.monotonic().saturating_sub(began),
            blocks: checks.len() as u64,
            blocks_total: blocks.len() as u64,
            bytes,
            samples: checks.iter().map(|check| check.stored.samples).sum(),
            damaged: checks.iter().filter(|check| !check.is_good()).count() as u64,
            is_stopped,
        };
        let runs = &mut self.store.notes().ended_check_runs;
        if runs.len() >= RUNS_KEPT {
            runs.remove(0);
        }
        runs.push(record.clone());
        (record, checks)
    }

    /// Lets the checks of blocks that somebody asked for end behind the block that each is reading. How many there are.
    pub fn stop_block_checks(&self) -> usize {
        let runs: Vec<Arc<CheckRun>> = self.store.notes().check_runs.clone();
        let asked_for = runs.iter().filter(|run| !run.is_scrub && run.blocks_total > 1);
        asked_for.inspect(|run| run.is_stopped.store(true, Ordering::Relaxed)).count()
    }

    /// The checks of blocks that are under way, the oldest first.
    pub fn checks_under_way(&self) -> Vec<ChecksUnderWay> {
        let runs = self.store.notes().check_runs.clone();
        runs.iter().map(|run| run.under_way()).collect()
    }

    /// The last checks of all blocks that somebody asked for, oldest first.
    pub fn ended_check_runs(&self) -> Vec<CheckRunRecord> {
        self.store.notes().ended_check_runs.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::db::{DbOptions, ReplayWatch};
    use crate::fs::sim::SimFs;
    use crate::model::raw_labels::encode_canonical;
    use crate::model::{Label, RawLabels, Sample};
    use crate::storage::{SeriesEntry, WriteBatch};

    const HOUR: i64 = 3_600_000;

    /// A database with blocks of six hours.
    fn db_with_blocks() -> Db {
        let clock = Arc::new(ManualClock::at(6 * HOUR));
        let options = DbOptions::new("/data");
        let fs = Arc::new(SimFs::new(1));
        let db = Db::open_unlocked(options, fs, clock.clone(), &ReplayWatch::default()).unwrap();
        let mut labels = Vec::new();
        encode_canonical([Label { name: "__name__", value: "up" }].into_iter(), &mut labels);
        for hour in 0..6 {
            let mut batch = WriteBatch::default();
            batch.samples.push(Sample { timestamp_ms: hour * HOUR, value: 1.0 });
            batch.series.push(SeriesEntry { labels: RawLabels(&labels), samples: 0..1 });
            let (_outcome, durable) = db.append(&batch, 6 * HOUR).unwrap();
            durable.wait().unwrap();
        }
        db.flush().unwrap();
        db
    }

    #[test]
    fn run_that_is_ended_early_stops_before_the_next_block_and_says_so() {
        let db = db_with_blocks();
        let blocks = db.store.blocks.list();
        assert_eq!(blocks.len(), 3);
        let shown = Shown::new(&db.store, false, &blocks);
        shown.run.check(&db, &blocks[0], &mut |_bytes| {});
        let seen = db.checks_under_way()[0];
        assert_eq!((seen.blocks_done, seen.blocks_total, seen.is_stopped), (1, 3, false));
        assert_eq!(
            (seen.bytes_done, seen.bytes_total),
            (blocks[0].bytes(), blocks.iter().map(|block| block.bytes()).sum())
        );
        let scrub = Shown::new(&db.store, true, &blocks[..1]);
        assert_eq!(db.stop_block_checks(), 1, "the scrub goes on");
        assert_eq!(db.checks_under_way().iter().map(|run| run.is_stopped).collect::<Vec<_>>(), [true, false]);
        let (ended, checks) = db.read_blocks(&blocks, &shown);
        assert_eq!((checks.len(), ended.blocks, ended.blocks_total, ended.is_stopped), (0, 0, 3, true));
        assert_eq!(db.ended_check_runs(), [ended]);
        drop((shown, scrub));
        assert_eq!(db.checks_under_way(), []);
        assert_eq!(db.verify_blocks().1.len(), 3);
        assert_eq!(db.ended_check_runs().last().map(|run| (run.samples, run.is_stopped)), Some((6, false)));
    }
}
