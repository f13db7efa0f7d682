//! The second pass of a checkpoint: writes what is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::CheckpointPlan;
use super::record::{CheckpointEdge, CheckpointEnd, CheckpointRecord};
use super::survey::Survey;
use crate::encoding::Corruption;
use crate::fs::Fs;
use crate::model::{SampleValue, TimestampMs};
use crate::wal::record::{
    self, ExemplarsEncoder, HistogramsEncoder, RecordType, RefExemplar, SamplesEncoder, SeriesEncoder,
};
use crate::wal::seal::GroupHasher;
use crate::wal::writer::{RecordCompressor, SegmentWriter};
use crate::wal::{RecordPosition, ReplaySink, WalError};

/// Metadata entries of one record.
const METADATA_RECORD_BYTES: usize = 256 * 1024;

pub(super) struct Filter<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    plan: &'a CheckpointPlan<'a>,
    survey: &'a Survey<'a>,
    /// Deletions that end before this are kept only where the plan says so.
    tombstones_from_ms: TimestampMs,
    segment: SegmentWriter,
    compressor: RecordCompressor,
    hasher: GroupHasher,
    records: u64,
    bytes: u64,
    group: Option<u64>,
    /// The newest metadata of the series that are kept.
    metadata: BTreeMap<u64, Vec<u8>>,
    /// The newest metadata of the families that are kept.
    families: BTreeMap<String, Vec<u8>>,
}

impl<'a> Filter<'a> {
    pub(super) fn create(
        fs: &'a dyn Fs,
        dir: &Path,
        plan: &'a CheckpointPlan<'a>,
        survey: &'a Survey<'a>,
    ) -> Result<Self, WalError> {
        let oldest_ms = survey.oldest_out_of_order_ms;
        Ok(Filter {
            fs,
            dir: dir.to_owned(),
            plan,
            survey,
            tombstones_from_ms: oldest_ms.map_or(plan.min_time_ms, |oldest_ms| oldest_ms.min(plan.min_time_ms)),
            segment: SegmentWriter::create(fs, dir, 0)?,
            compressor: RecordCompressor::new(plan.compression),
            hasher: GroupHasher::default(),
            records: 0,
            bytes: 0,
            group: None,
            metadata: BTreeMap::new(),
            families: BTreeMap::new(),
        })
    }

    /// Writes the beginning, and names of series before all that uses them.
    pub(super) fn begin(&mut self, edge: CheckpointEdge, names: &[Vec<u8>]) -> Result<(), WalError> {
        let mut record = Vec::new();
        CheckpointRecord::Begin(edge).encode(&mut record);
        self.segment.append(&record, &mut self.compressor)?;
        names.iter().try_for_each(|record| self.put(None, record))
    }

    /// Writes the end; everything but the directory's names is durable then. Gives the bytes of all files.
    pub(super) fn end(mut self, end: CheckpointEnd) -> Result<u64, WalError> {
        let mut record = Vec::new();
        for entry in std::mem::take(&mut self.metadata).into_values() {
            for read in record::metadata(entry.get(1..).unwrap_or_default()).flatten() {
                record::push_metadata(&mut record, read);
            }
            self.put_if_longer(METADATA_RECORD_BYTES, &mut record)?;
        }
        self.put_if_longer(0, &mut record)?;
        // Behind the other: what is known of a family by its name is newer than what was known of its series.
        for entry in std::mem::take(&mut self.families).into_values() {
            for read in record::families(entry.get(1..).unwrap_or_default()).flatten() {
                record::push_family(&mut record, read);
            }
            self.put_if_longer(METADATA_RECORD_BYTES, &mut record)?;
        }
        self.put_if_longer(0, &mut record)?;
        record.clear();
        let (records, records_hash) = (self.records, self.hasher.hash());
        CheckpointRecord::End(CheckpointEnd { records, records_hash, ..end }).encode(&mut record);
        self.segment.append(&record, &mut self.compressor)?;
        self.segment.complete()?;
        Ok(self.bytes + self.segment.position())
    }

    /// Writes a record of metadata that is longer than this, and clears it.
    fn put_if_longer(&mut self, bytes: usize, record: &mut Vec<u8>) -> Result<(), WalError> {
        if record.len() > bytes {
            self.put(None, record)?;
            record.clear();
        }
        Ok(())
    }

    fn put(&mut self, group: Option<u64>, record: &[u8]) -> Result<(), WalError> {
        if self.group != group {
            self.group = group;
            let mut marker = Vec::new();
            CheckpointRecord::Group(group.unwrap_or(0)).encode(&mut marker);
            self.append(&marker)?;
        }
        self.append(record)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), WalError> {
        if self.segment.position() > 0 && self.segment.position() + record.len() as u64 > self.plan.segment_bytes {
            self.segment.complete()?;
            self.bytes += self.segment.position();
            let Some(number) = self.segment.number().checked_add(1) else {
                return Err(WalError::SegmentsExhausted { segment: self.segment.number() });
            };
            self.segment = SegmentWriter::create(self.fs, &self.dir, number)?;
        }
        self.hasher.push(record);
        self.records += 1;
        self.segment.append(record, &mut self.compressor)
    }

    fn keeps_series(&self, series_ref: u64) -> bool {
        let is_needed = self.survey.needed.contains(series_ref) || (self.plan.keep_series)(series_ref);
        is_needed && !planted!(CheckpointDropsSeries)
    }

    /// What of a record is kept. What stands before a damaged place counts, as in a replay.
    fn kept(&mut self, position: RecordPosition, record: Vec<u8>) -> Vec<u8> {
        let (kind, body) = record::split(&record);
        let mut out = Vec::new();
        let _damaged = match kind {
            Some(RecordType::Series) => self.series(body, &mut out),
            Some(RecordType::Samples) => self.samples(position, body, true, &mut out),
            Some(RecordType::OutOfOrderSamples) => self.samples(position, body, false, &mut out),
            Some(RecordType::Tombstones) => {
                record::tombstones(body).flatten().for_each(|tombstone| {
                    let is_late = tombstone.end_ms >= self.tombstones_from_ms && !planted!(CheckpointDropsTombstones);
                    if self.keeps_series(tombstone.series_ref) && (is_late || (self.plan.keep_tombstone)(tombstone)) {
                        record::push_tombstone(&mut out, tombstone);
                    }
                });
                Ok(())
            }
            Some(RecordType::Metadata) => {
                for entry in record::metadata(body).flatten() {
                    if self.keeps_series(entry.series_ref) {
                        let mut bytes = Vec::new();
                        record::push_metadata(&mut bytes, entry);
                        self.metadata.insert(entry.series_ref, bytes);
                    }
                }
                Ok(())
            }
            Some(RecordType::Families) => {
                for entry in record::families(body).flatten() {
                    if (self.plan.keep_family)(entry.family) {
                        let mut bytes = Vec::new();
                        record::push_family(&mut bytes, entry);
                        self.families.insert(entry.family.to_owned(), bytes);
                    }
                }
                Ok(())
            }
            Some(RecordType::Exemplars) => {
                let mut encoder = ExemplarsEncoder::new();
                for exemplar in record::exemplars(body).flatten() {
                    let RefExemplar { series_ref, timestamp_ms, .. } = exemplar;
                    let is_needed = (self.plan.keep_exemplar)(series_ref, timestamp_ms);
                    if self.keeps_series(series_ref) && is_needed && !planted!(CheckpointDropsExemplars) {
                        encoder.push(&mut out, &exemplar);
                    }
                }
                Ok(())
            }
            Some(RecordType::OutOfOrderHistograms) if !self.plan.keeps_out_of_order(position.counts_in()) => Ok(()),
            // Start timestamps are not kept, as replay passes over them.
            Some(kind) if let Some(values) = record::values(kind, body) => {
                let is_late = kind.is_out_of_order();
                let (mut floats, mut histograms) = match is_late {
                    true => (SamplesEncoder::out_of_order(), HistogramsEncoder::out_of_order()),
                    false => (SamplesEncoder::new(), HistogramsEncoder::new()),
                };
                let is_kept = |timestamp_ms| is_late || self.plan.keeps_in_order(timestamp_ms);
                for sample in values.flatten().filter(|sample| is_kept(sample.timestamp_ms)) {
                    match sample.value {
                        SampleValue::Float(value) => {
                            floats.push(&mut out, sample.series_ref, sample.timestamp_ms, value);
                        }
                        value => histograms.push(&mut out, sample.series_ref, sample.timestamp_ms, &value),
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        };
        out
    }

    fn series(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Corruption> {
        let mut decoder = record::series(body);
        let mut labels = Vec::with_capacity(32);
        while let Some(series_ref) = decoder.next_into(&mut labels)? {
            if self.keeps_series(series_ref) {
                SeriesEncoder::push(out, series_ref, labels.iter().copied());
            }
        }
        Ok(())
    }

    fn samples(
        &self,
        position: RecordPosition,
        body: &[u8],
        in_order: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Corruption> {
        if !in_order && !self.plan.keeps_out_of_order(position.counts_in()) {
            return Ok(());
        }
        let mut encoder = if in_order { SamplesEncoder::new() } else { SamplesEncoder::out_of_order() };
        for sample in record::samples(body) {
            let sample = sample?;
            if !in_order || self.plan.keeps_in_order(sample.timestamp_ms) {
                encoder.push(out, sample.series_ref, sample.timestamp_ms, sample.value);
            }
        }
        Ok(())
    }
}

impl ReplaySink for Filter<'_> {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        if !position.checkpoint && position.segment > self.plan.up_to_segment {
            return Ok(());
        }
        let kept = self.kept(position, record);
        if kept.is_empty() { Ok(()) } else { self.put(position.counts_in(), &kept) }
    }
}
