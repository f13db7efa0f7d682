//! Stands in for the head.

use std::sync::{PoisonError, RwLock};

use crate::model::TimeRange;
use crate::promql::testing::MemoryStorage;
use crate::storage::{BatchOutcome, Querier, Queryable, RejectReason, StorageError, WriteBatch};
use crate::wal::{GroupRecords, GroupSource, RecordPosition, ReplaySink, WalError};

/// Bounds and shape of the head.
#[derive(Debug, Clone, Default)]
pub struct HeadOptions {}

/// Counts of the head.
#[derive(Debug, Clone, Default)]
pub struct HeadStats {
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// First.
    pub min_time_ms: Option<i64>,
    /// Last.
    pub max_time_ms: Option<i64>,
    /// Samples.
    pub samples_appended: u64,
    /// Created.
    pub series_created: u64,
}

/// The head.
pub struct Head(RwLock<MemoryStorage>, RwLock<HeadStats>);

/// Replays nothing.
pub struct Sink;

impl ReplaySink for Sink {
    fn record(&mut self, _position: RecordPosition, _record: Vec<u8>) -> Result<(), WalError> {
        Ok(())
    }
}

impl Head {
    /// New.
    pub fn new(_options: HeadOptions) -> Self {
        Head(RwLock::new(MemoryStorage::new()), RwLock::default())
    }

    /// Sink.
    pub fn replay_sink(&self) -> Sink {
        Sink
    }

    /// Stats.
    pub fn stats(&self) -> HeadStats {
        self.1.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends.
    pub fn append(&self, batch: &WriteBatch<'_>, _now_ms: i64) -> BatchOutcome {
        let mut outcome = BatchOutcome::default();
        let mut storage = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (index, entry) in batch.series.iter().enumerate() {
            let samples = &batch.samples[entry.samples.start as usize..entry.samples.end as usize];
            match entry.labels.to_label_set() {
                Ok(labels) => {
                    let digest = crate::model::Digest::of_labels(&labels);
                    for sample in samples {
                        storage.append(&labels, sample.timestamp_ms, sample.value);
                        outcome.added += 1;
                        outcome.digest += digest.of_sample(sample.timestamp_ms, sample.value);
                    }
                }
                Err(fault) => {
                    outcome.reject(RejectReason::InvalidLabels, index, samples.len() as u64, || fault.to_string());
                }
            }
        }
        outcome
    }
}

impl GroupSource for Head {
    fn take_records(&self) -> GroupRecords {
        GroupRecords::default()
    }
}

impl Queryable for Head {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).querier(range)
    }
}
