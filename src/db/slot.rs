//! Where a database will be once it is open, and how far its opening is.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::Db;
use super::quarantine::LostBlock;
use crate::storage::Queryable;
use crate::wal::ReplayProgress;

/// A database that may still be opening.
#[derive(Debug, Default)]
pub struct DbSlot {
    db: OnceLock<Arc<Db>>,
    watch: ReplayWatch,
}

/// Shows how far an opening is, and gives what can be asked before it is over.
#[derive(Default)]
pub struct ReplayWatch {
    progress: Arc<ReplayProgress>,
    early: OnceLock<Arc<dyn Queryable>>,
    status: OnceLock<EarlyStatus>,
}

impl std::fmt::Debug for ReplayWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayWatch").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// How blocks and disk stand while the log is replayed.
#[derive(Debug, Clone)]
pub struct EarlyStatus {
    /// Blocks that are served.
    pub blocks: usize,
    /// Bytes of their files.
    pub block_bytes: u64,
    /// Blocks whose samples are not served.
    pub lost: Vec<LostBlock>,
    /// Blocks that are served and in which a check found damage.
    pub damaged: usize,
    /// What a person should look at, by what it is about.
    pub alarms: Vec<(&'static str, String)>,
}

/// A replay in segments of the log, as `status/walreplay` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySegments {
    /// The first segment.
    pub first: i64,
    /// The last segment.
    pub last: i64,
    /// The segment that is being read, or that was read last.
    pub current: i64,
}

impl ReplayWatch {
    /// The counts that the replay moves.
    pub fn progress(&self) -> &Arc<ReplayProgress> {
        &self.progress
    }

    /// What can be asked before the opening is over, once that is there.
    pub fn early(&self) -> Option<Arc<dyn Queryable>> {
        self.early.get().cloned()
    }

    /// Lets the blocks be asked while the log is replayed. A second call changes nothing.
    pub(super) fn offer(&self, early: Arc<dyn Queryable>) {
        // One opening offers once.
        let _second = self.early.set(early);
    }

    /// How blocks and disk stand, once they were looked at.
    pub fn status(&self) -> Option<&EarlyStatus> {
        self.status.get()
    }

    pub(super) fn tell(&self, status: EarlyStatus) {
        // One opening tells once.
        let _second = self.status.set(status);
    }

    /// Bytes that were read, and bytes in all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.progress.bytes_done.load(Ordering::Relaxed), self.progress.bytes_total.load(Ordering::Relaxed))
    }

    /// The replay in segments, counted from 0.
    pub fn segments(&self) -> ReplaySegments {
        let done = self.progress.segments_done.load(Ordering::Relaxed);
        let last = self.progress.segments_total.load(Ordering::Relaxed).saturating_sub(1);
        ReplaySegments { first: 0, last: last as i64, current: done.min(last) as i64 }
    }
}

impl DbSlot {
    /// The database, once it is open.
    pub fn get(&self) -> Option<Arc<Db>> {
        self.db.get().cloned()
    }

    /// What can be asked for series: everything once the database is open; the blocks, with a warning, while the log is
    /// replayed; nothing before that.
    pub fn queryable(&self) -> Option<Arc<dyn Queryable>> {
        self.get().map(|db| db.queryable()).or_else(|| self.watch.early())
    }

    /// Puts the open database in. A second one is not taken.
    pub fn fill(&self, db: Arc<Db>) {
        // A slot belongs to one start of the server, which opens one database.
        let _second = self.db.set(db);
    }

    /// How far the opening is.
    pub fn progress(&self) -> &ReplayWatch {
        &self.watch
    }
}
