//! What the database counts of its own work since the start. What the schedule knows of each task is not counted again.

use crate::telemetry::{Counter, Histogram};

/// Boundaries of Prometheus' `prometheus_tsdb_compaction_duration_seconds`, and of what takes as long.
const WORK_SECONDS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

/// What was done since the start.
#[derive(Debug)]
pub struct DbCounters {
    /// Blocks that were written from the head, and how long that took, proof included.
    pub flushes: Histogram,
    /// Samples of these blocks.
    pub flushed_samples: Counter,
    /// Flushes that were refused because the block was not what the log holds.
    pub flushes_disproven: Counter,
    /// Compactions of blocks, and how long they took, proof included.
    pub compactions: Histogram,
    /// Those of them whose blocks overlapped.
    pub vertical_compactions: Counter,
    /// Compactions that were refused because the child was not the sum of its parents.
    pub compactions_disproven: Counter,
    /// Truncations of the head.
    pub head_truncations: Counter,
    /// Truncations of the head that were put off, because queries read what would go.
    pub head_truncations_deferred: Counter,
    /// Series that left the head.
    pub head_series_removed: Counter,
    /// Checkpoints of the log, and how long they took.
    pub checkpoints: Histogram,
    /// Bytes of the log that were removed.
    pub wal_removed_bytes: Counter,
    /// Blocks that went for their age.
    pub expired_by_time: Counter,
    /// Blocks that went for the size of all.
    pub expired_by_size: Counter,
    /// Runs of `clean_tombstones`, and how long they took.
    pub tombstone_cleanups: Histogram,
    /// Deletions of series.
    pub deletions: Counter,
    /// Snapshots.
    pub snapshots: Counter,
    /// Accelerators that were built in the background.
    pub accelerators_built: Counter,
    /// Blocks that were read whole in search of damage.
    pub block_checks: Counter,
    /// Those of them that were damaged.
    pub block_checks_failed: Counter,
    /// Times the reserve was given up on a full disk.
    pub reserve_given_up: Counter,
}

impl Default for DbCounters {
    fn default() -> Self {
        let work = || Histogram::new(WORK_SECONDS);
        DbCounters {
            flushes: work(),
            flushed_samples: Counter::default(),
            flushes_disproven: Counter::default(),
            compactions: work(),
            vertical_compactions: Counter::default(),
            compactions_disproven: Counter::default(),
            head_truncations: Counter::default(),
            head_truncations_deferred: Counter::default(),
            head_series_removed: Counter::default(),
            checkpoints: work(),
            wal_removed_bytes: Counter::default(),
            expired_by_time: Counter::default(),
            expired_by_size: Counter::default(),
            tombstone_cleanups: work(),
            deletions: Counter::default(),
            snapshots: Counter::default(),
            accelerators_built: Counter::default(),
            block_checks: Counter::default(),
            block_checks_failed: Counter::default(),
            reserve_given_up: Counter::default(),
        }
    }
}
