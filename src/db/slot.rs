//! Where a database will be once it is open, and how far its opening is.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::Db;
use crate::wal::ReplayProgress;

/// A database that may still be opening.
#[derive(Debug, Default)]
pub struct DbSlot {
    db: OnceLock<Arc<Db>>,
    watch: ReplayWatch,
}

/// Shows how far a replay is.
#[derive(Debug, Default)]
pub struct ReplayWatch(ReplayProgress);

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
    pub fn progress(&self) -> &ReplayProgress {
        &self.0
    }

    /// Bytes that were read, and bytes in all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.bytes_done.load(Ordering::Relaxed), self.0.bytes_total.load(Ordering::Relaxed))
    }

    /// The replay in segments, counted from 0.
    pub fn segments(&self) -> ReplaySegments {
        let done = self.0.segments_done.load(Ordering::Relaxed);
        let last = self.0.segments_total.load(Ordering::Relaxed).saturating_sub(1);
        ReplaySegments { first: 0, last: last as i64, current: done.min(last) as i64 }
    }
}

impl DbSlot {
    /// The database, once it is open.
    pub fn get(&self) -> Option<Arc<Db>> {
        self.db.get().cloned()
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
