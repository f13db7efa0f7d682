//! Tests of the log as a whole, over the real file system and over the simulated disk.

mod begin;
mod checkpoint;
mod commit;
mod crash;
mod damage;
mod faults;
mod unreadable;
mod wbl;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::record::{HistogramsEncoder, SamplesEncoder, SeriesEncoder};
use super::*;
use crate::fs::Fs;
use crate::model::{Digest, Histogram, Label, SampleValue};

/// Keeps everything that a replay gives.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) records: Vec<(RecordPosition, Vec<u8>)>,
    pub(super) seals: Vec<(Seal, bool)>,
}

impl ReplaySink for Kept {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        self.records.push((position, record));
        Ok(())
    }

    fn seal(&mut self, _position: RecordPosition, seal: &Seal, intact: bool) -> Result<(), WalError> {
        self.seals.push((seal.clone(), intact));
        Ok(())
    }
}

impl Kept {
    /// All samples, in the order of the log.
    pub(super) fn samples(&self) -> Vec<(u64, i64, u64)> {
        let samples = self.records.iter().filter(|(_, record)| record[0] == RecordType::Samples as u8);
        samples
            .flat_map(|(_, record)| record::samples(&record[1..]))
            .map(|sample| sample.unwrap())
            .map(|sample| (sample.series_ref, sample.timestamp_ms, sample.value.to_bits()))
            .collect()
    }
}

/// A source into which a test puts records.
#[derive(Debug, Default)]
pub(super) struct Records(pub(super) Mutex<Vec<Vec<u8>>>);

impl Records {
    pub(super) fn push(&self, record: Vec<u8>) {
        self.0.lock().unwrap().push(record);
    }
}

impl GroupSource for Records {
    fn take_records(&self) -> GroupRecords {
        GroupRecords { records: std::mem::take(&mut *self.0.lock().unwrap()), on_durable: None }
    }
}

pub(super) fn series_record(series_ref: u64, name: &str) -> Vec<u8> {
    let mut record = Vec::new();
    SeriesEncoder::push(&mut record, series_ref, [Label { name: "__name__", value: name }].into_iter());
    record
}

pub(super) fn samples_record(samples: &[(u64, i64, f64)]) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
    for &(series_ref, timestamp_ms, value) in samples {
        encoder.push(&mut record, series_ref, timestamp_ms, value);
    }
    record
}

/// A histogram that came late. Its sum tells it from others.
pub(super) fn late_histogram_record(series_ref: u64, timestamp_ms: i64, sum: f64) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), HistogramsEncoder::out_of_order());
    let histogram = Histogram { count: 1, zero_count: 1, sum, ..Histogram::default() };
    encoder.push(&mut record, series_ref, timestamp_ms, &SampleValue::Histogram(Box::new(histogram)));
    record
}

pub(super) fn scan_all(fs: &dyn Fs, dir: &Path) -> (LogScan, Kept) {
    let mut kept = Kept::default();
    let log = scan(fs, dir, &mut kept, &ReplayProgress::default()).unwrap();
    (log, kept)
}

pub(super) fn recover_all(fs: &dyn Fs, data_dir: &Path) -> (Recovery, Kept) {
    let mut kept = Kept::default();
    let recovery = recover(
        fs,
        &data_dir.join("wal"),
        &data_dir.join("quarantine"),
        RecoveryMode::Salvage,
        &mut kept,
        &ReplayProgress::default(),
    )
    .unwrap();
    assert_eq!(recovery.repair_failure, None);
    (recovery, kept)
}

/// The digest that stands for a sample in tests.
pub(super) fn digest(series_ref: u64, timestamp_ms: i64, value: f64) -> Digest {
    Digest(u128::from(series_ref)).of_sample(timestamp_ms, value)
}
