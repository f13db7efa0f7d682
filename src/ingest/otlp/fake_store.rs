//! A store for tests of answers: it refuses values below zero and commits as it is told.

use std::future::{Ready, ready};
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::ingest::accept::{Appended, WriteLimits, WriteService, WriteStore};
use crate::model::{Digest, TimestampMs};
use crate::storage::{BatchOutcome, RejectReason, WriteBatch};
use crate::wal::{CommitError, Durability, Receipt};

#[derive(Debug, Default)]
pub(super) struct FakeStore {
    unwritable: bool,
}

impl WriteStore for FakeStore {
    type Commit = Ready<Result<Receipt, CommitError>>;

    fn append(&self, batch: &WriteBatch<'_>, _now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        let mut outcome = BatchOutcome::default();
        for (index, entry) in batch.series.iter().enumerate() {
            let labels = entry.labels.to_label_set().unwrap();
            for sample in batch.samples_of(index) {
                if sample.value < 0.0 {
                    outcome.reject(RejectReason::OutOfOrder, index, 1, || format!("{labels} below zero"));
                } else {
                    outcome.added += 1;
                    outcome.digest += Digest::of_labels(&labels).of_sample(sample.timestamp_ms, sample.value);
                }
            }
        }
        let receipt =
            Receipt { commit: 41, samples: outcome.added, digest: outcome.digest, durability: Durability::Fsync };
        let error = CommitError::Unavailable { reason: "no space left on device".into() };
        Ok(Appended { outcome, commit: ready(if self.unwritable { Err(error) } else { Ok(receipt) }) })
    }
}

/// A service over such a store, that takes bodies up to a limit.
pub(super) fn service(unwritable: bool, bytes_max: u64) -> WriteService<FakeStore> {
    let limits = WriteLimits { body_bytes: bytes_max, decoded_bytes: bytes_max, ..WriteLimits::default() };
    WriteService::new(FakeStore { unwritable }, limits, Arc::new(ManualClock::at(0)))
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
