//! The database: one data directory, its lock, its log, its head and its blocks, opened, written, asked and closed as one.
//!
//! A write goes through [`Db::append`]: it is admitted by the log, accepted by the head, and registered with the log,
//! which acknowledges it when the group that holds it is durable. Nothing else writes to the head.
//!
//! | part | file |
//! |---|---|
//! | a start, in stages | `open.rs`, `slot.rs`, `adopt.rs` |
//! | a look without a start, which changes nothing | `offline.rs` |
//! | what queries see: blocks and head as one | `view.rs`, `merge.rs` |
//! | from the head to a block, with proof | `flush.rs`, `flush_out_of_order.rs` |
//! | what leaves head and log after that | `truncate.rs` |
//! | the log emptied by force | `empty_log.rs` |
//! | what a start need not read of the log | `watermark.rs` |
//! | blocks into larger ones, with conservation | `compact.rs` |
//! | the blocks on the disk, the ledger about them; those set aside | `blocks.rs`, `store.rs`, `quarantine.rs` |
//! | what may not stay | `retention.rs`, `expire.rs`, `reserve.rs` |
//! | deletions, snapshots | `delete.rs`, `snapshot.rs` |
//! | checks and proofs, those under way, and what they found | `check.rs`, `check_runs.rs`, `findings.rs` |
//! | what runs by itself, and how it stands | `maintenance/`, `tasks.rs`, `status.rs`, `counters.rs` |
//!
//! Two locks order the work. `head_work` is held by whatever takes samples out of the head or the log, `block_work` by
//! whatever changes or removes blocks; who needs both takes them in this order. Reads and writes take neither.

mod adopt;
mod blocks;
mod check;
mod check_runs;
mod compact;
mod counters;
mod delete;
mod empty_log;
mod expire;
mod findings;
mod flush;
mod flush_out_of_order;
pub mod maintenance;
mod merge;
mod offline;
mod open;
mod options;
mod quarantine;
mod reserve;
pub mod retention;
mod slot;
mod snapshot;
mod status;
mod store;
mod tasks;
mod truncate;
mod view;
mod watermark;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use adopt::WblAdoption;
pub use check::{BlockVerification, LogCoverage, ProofUnderWay, Verified};
pub use check_runs::{CheckRunRecord, ChecksUnderWay};
pub use compact::{CompactionRecord, CompactionReport};
pub use counters::DbCounters;
pub use delete::Deleted;
pub use empty_log::EmptiedLog;
pub use expire::Expired;
pub use findings::{ClosedFinding, KeptFinding, OpenFindings, Proven};
pub use flush::{FlushKind, FlushReport, Flushed};
pub use offline::{DataPart, OfflineDb};
pub use options::{DbOptions, OpenError, StorageOptions};
pub use quarantine::{LostBlock, lost_blocks};
pub use reserve::ReserveState;
pub use slot::{DbSlot, EarlyStatus, ReplaySegments, ReplayWatch};
pub use status::{BlockStatus, LogSegment, ReplayEstimate, StorageStatus};
pub use truncate::CheckpointSummary;

use crate::clock::Clock;
use crate::fs::{DirLock, Fs};
use crate::head::{Head, LoadReport, MetadataEntry, ReplayReport, Watermark};
use crate::ledger::LedgerState;
use crate::model::{Digest, TimeRange, TimestampMs};
use crate::storage::{BatchOutcome, Queryable, StorageError, WriteBatch};
use crate::wal::{CommitError, CommitFuture, Committer, CutPoint, LogStatus, Recovery};
use flush_out_of_order::{FlushedCut, LateWaiting};
use maintenance::{Maintenance, MaintenanceStatus, Schedule, Task, TaskError, TaskHost};
use merge::Part;
use store::BlockStore;
use truncate::FlushedTo;
use view::{View, ViewCell, ViewSource};

/// An open data directory.
pub struct Db {
    options: DbOptions,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    head: Arc<Head>,
    committer: Arc<Committer>,
    recovery: Recovery,
    loaded: LoadReport,
    replayed: ReplayReport,
    replay_time: Duration,
    wbl: WblAdoption,
    store: BlockStore,
    /// In-order samples below this are in blocks, proven, and the ledger says so.
    flushed_up_to: Mutex<TimestampMs>,
    /// In-order samples below this were taken out of the head.
    truncated_to: Mutex<TimestampMs>,
    /// Out-of-order samples that blocks have, and queries still read in the head, oldest first.
    out_of_order_to_drop: Mutex<Vec<FlushedCut>>,
    /// Out-of-order samples that wait for more of their kind.
    late_waiting: Mutex<LateWaiting>,
    /// Up to where the log was flushed when it was last truncated.
    checkpointed: Mutex<FlushedTo>,
    /// What a start need not read of the log, when that was last noted.
    watermark: Mutex<Option<Watermark>>,
    /// Held by whatever takes samples out of the head or the log.
    head_work: Mutex<()>,
    /// Held by whatever changes or removes blocks. Taken after `head_work` by who needs both.
    block_work: Mutex<()>,
    schedule: Arc<Schedule>,
    maintenance: OnceLock<Maintenance>,
    queryable: Arc<dyn Queryable>,
    /// Declared last: the lock is let go when all else is closed.
    _lock: Option<DirLock>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Db {
    /// Accepts or refuses each sample of a batch. What it accepts can be read at once, and is durable when the future
    /// resolves.
    pub fn append(
        &self,
        batch: &WriteBatch<'_>,
        now_ms: TimestampMs,
    ) -> Result<(BatchOutcome, CommitFuture), CommitError> {
        let admission = self.committer.admit()?;
        let outcome = self.head.append(batch, now_ms);
        let future = admission.commit(outcome.added, outcome.digest);
        Ok((outcome, future))
    }

    /// Remembers what a sender states about metric families. It is durable once a batch is that is appended later.
    pub fn record_metadata(&self, metadata: Vec<(&str, MetadataEntry)>) -> Result<(), CommitError> {
        let admission = self.committer.admit()?;
        if self.head.set_metadata(metadata) {
            // The receipt would say nothing: its group is durable before that of a later batch, which is waited for.
            drop(admission.commit(0, Digest::ZERO));
        }
        Ok(())
    }

    /// Everything that can be asked for series: the blocks and the head.
    pub fn queryable(&self) -> Arc<dyn Queryable> {
        self.queryable.clone()
    }

    /// The head itself.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// The state of the log.
    pub fn log_status(&self) -> LogStatus {
        self.committer.status()
    }

    /// Runs `f` while nothing is accepted, and tells up to which group the log holds what it saw.
    pub fn cut<R>(&self, f: impl FnOnce() -> R) -> (R, CutPoint) {
        self.committer.cut(f)
    }

    /// What the start found in the log, and did about it.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What the start found in the head chunk files.
    pub fn loaded(&self) -> &LoadReport {
        &self.loaded
    }

    /// What the start took from the log into the head.
    pub fn replayed(&self) -> &ReplayReport {
        &self.replayed
    }

    /// What the start found in `wbl/`, and did about it.
    pub fn wbl(&self) -> &WblAdoption {
        &self.wbl
    }

    /// How long the start took to replay the log.
    pub fn replay_time(&self) -> Duration {
        self.replay_time
    }

    /// How the directory was opened.
    pub fn options(&self) -> &DbOptions {
        &self.options
    }

    /// Lets maintenance run by itself from now on. Without it every task can still be called.
    pub fn start_maintenance(self: &Arc<Self>) -> std::io::Result<()> {
        let host: Arc<dyn TaskHost> = self.clone();
        let maintenance = Maintenance::start(self.schedule.clone(), &host)?;
        // A second call ends what it started.
        drop(self.maintenance.set(maintenance));
        Ok(())
    }

    /// Runs the maintenance that is due now, in this thread: how tests drive it.
    pub fn run_due(&self) {
        self.schedule.run_all_due(self);
        self.schedule.watch(self);
    }

    /// How the maintenance stands.
    pub fn maintenance_status(&self) -> MaintenanceStatus {
        self.schedule.status()
    }

    /// What was done since the start.
    pub fn counters(&self) -> &DbCounters {
        &self.store.counters
    }

    /// What became of everything that the log ever held, as far as the ledger knows.
    pub fn ledger_state(&self) -> LedgerState {
        self.store.ledger().state().clone()
    }

    /// Refuses writes from now on and makes all accepted ones durable. Reads go on. Maintenance ends first, and is
    /// waited for.
    pub fn close(&self) {
        if let Some(maintenance) = self.maintenance.get() {
            maintenance.stop();
        }
        self.end_open_chunks();
        self.committer.shutdown();
        self.note_end();
    }

    /// Makes a task due now, where maintenance runs by itself.
    fn trigger(&self, task: Task) {
        match self.maintenance.get() {
            Some(maintenance) => maintenance.trigger(task),
            None => self.schedule.trigger(task),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking task left is whole: each step is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failure in words, for the status of a task.
fn failed(what: &str, error: impl std::fmt::Display) -> TaskError {
    TaskError(format!("{what}: {error}"))
}

/// The open database, as queries see it.
struct Everything {
    head: Arc<Head>,
    view: Arc<ViewCell>,
}

impl ViewSource for Everything {
    fn head_part(&self, range: TimeRange) -> Result<Option<Part>, StorageError> {
        let Some(held) = self.head.time_range() else { return Ok(None) };
        let querier = self.head.querier(range)?;
        Ok(Some(Part { querier, name: "the head".to_owned(), range: held }))
    }

    fn view(&self) -> Arc<View> {
        self.view.load()
    }

    fn notes(&self, _range: TimeRange) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
