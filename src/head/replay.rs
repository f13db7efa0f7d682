//! From the log back to a head.
//!
//! The reader of the log hands records over one by one. Series are made at once, in the order of the log; samples are
//! spread over the shards and added by worker threads, each of which owns some of the shards, so that the samples of a
//! series stay in order. Queues are short, and full chunks go to files as they do while running, so replay takes no more
//! memory than running did.
//!
//! Everything that the log holds is accepted, as it was accepted before it was written. What is passed over is counted:
//! samples that a chunk file holds already, samples that are not newer than their series (a group that was written a
//! second time), samples of series that the log doesn't name, records that can't be read. Below the floor, which must be
//! set before, the samples are in blocks; series that have no other sample go when the late samples of Prometheus have
//! been taken over ([`Head::adoption`]), which may be all that a series has.

mod worker;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use super::load::{Loaded, LoadedChunks};
use super::metadata::{MetadataEntry, family_of};
use super::ref_map::RefMap;
use super::series::Series;
use super::shard::{SHARDS, shard_of, split_slot};
use super::{Head, Shared};
use crate::encoding::Corruption;
use crate::index::{PairId, Slot};
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, LabelSet, LabelSetScratch, METRIC_NAME, SampleValue, TimeRange, TimestampMs};
use crate::storage::WriterNumber;
use crate::wal::record::{self, FamilyMetadata, RecordType, Tombstone, ValuesIter};
use crate::wal::{RecordPosition, ReplaySink, WalError};
use worker::{Batch, Renamed, RowSample, ShardBatch, Worker};

/// Samples of one message to a worker.
const BATCH_SAMPLES: usize = 2048;
/// Histograms of one message to a worker: they may be large.
const BATCH_HISTOGRAMS: usize = 128;
/// Messages that wait for a worker.
const QUEUE_BATCHES: usize = 16;
/// Series that are added to the postings together.
const POSTINGS_BATCH: usize = 4096;

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Series that were made.
    pub series: u64,
    /// References that name a series which another reference named already.
    pub series_repeated: u64,
    /// Samples that were added.
    pub samples: u64,
    /// Sum of their digests.
    pub digest: Digest,
    /// Samples that the head chunk files hold already.
    pub samples_in_files: u64,
    /// In-order samples below the floor: blocks have them.
    pub samples_below_floor: u64,
    /// Chunks in files that end below the floor.
    pub chunks_below_floor: u64,
    /// Samples that no chunk file holds although files hold newer ones of their series, so that they could not be added:
    /// files are missing, and what is left of them is better set aside ([`Head::set_chunks_aside`]).
    pub samples_before_files: u64,
    /// Samples that were not newer than their series.
    pub samples_repeated: u64,
    /// Samples of series that the log does not name: their series records are lost.
    pub samples_unknown: u64,
    /// From the oldest to the newest of these.
    pub unknown_range: Option<TimeRange>,
    /// Chunks in files whose series the log does not name.
    pub chunks_unknown: u64,
    /// Chunks in files that do not fit their series, and whose samples are taken from the log: so it must be read whole
    /// where there are any.
    pub chunks_misplaced: u64,
    /// Deleted ranges of series.
    pub deletions: u64,
    /// Deleted ranges of series that the log does not name.
    pub deletions_unknown: u64,
    /// Records that could not be read.
    pub records_damaged: u64,
    /// Exemplars that were stored.
    pub exemplars: u64,
    /// Exemplars of series that the log does not name.
    pub exemplars_unknown: u64,
    /// Records of kinds that are not read.
    pub records_skipped: u64,
    /// What was wrong with the first damaged record.
    pub first_damage: Option<String>,
}

/// A replay under way: the receiver of the log's records.
#[derive(Debug)]
pub struct HeadReplay {
    shared: Arc<Shared>,
    loaded: Loaded,
    refs: RefMap,
    newest_ref: u64,
    floor_ms: TimestampMs,
    out_of_order_floor: u64,
    pending: Vec<Batch>,
    unlisted: Vec<(Slot, Box<[PairId]>)>,
    workers: Vec<(SyncSender<ShardBatch>, JoinHandle<ReplayReport>)>,
    report: ReplayReport,
}

impl Head {
    /// Starts a replay of the log into this head, which must be empty, with a number of worker threads (0: as many as
    /// there are processors).
    pub fn replay(&self, threads: usize) -> std::io::Result<HeadReplay> {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { processors() } else { threads }.min(SHARDS);
        let mut workers = Vec::with_capacity(threads);
        for number in 0..threads {
            let (sender, receiver) = sync_channel(QUEUE_BATCHES);
            let flusher = self.flusher.as_ref().map(|flusher| flusher.sender.clone());
            let worker = Worker::new(self.shared.clone(), flusher);
            let thread = std::thread::Builder::new().name(format!("replay-{number}"));
            workers.push((sender, thread.spawn(crate::planted::carry(move || worker.run(&receiver)))?));
        }
        self.shared.counters.left_below_ms.fetch_max(self.floor_ms(), Ordering::AcqRel);
        Ok(HeadReplay {
            shared: self.shared.clone(),
            loaded: std::mem::take(&mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner)),
            refs: RefMap::default(),
            newest_ref: 0,
            floor_ms: self.floor_ms(),
            out_of_order_floor: self.shared.out_of_order_floor.load(Ordering::Acquire),
            pending: (0..SHARDS).map(|_| Batch::default()).collect(),
            unlisted: Vec::new(),
            workers,
            report: ReplayReport::default(),
        })
    }
}

impl ReplaySink for HeadReplay {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (kind, body) = record::split(&record);
        let damage = match kind {
            Some(RecordType::Series) => self.series_record(body).err(),
            Some(RecordType::Samples) => self.samples_record(body, false)?,
            Some(kind)
                if kind.is_out_of_order()
                    && position.counts_in().is_some_and(|group| group <= self.out_of_order_floor)
                    && !planted!(ReplayedTooMuch) =>
            {
                let samples = record::values(kind, body).into_iter().flatten();
                self.report.samples_below_floor += samples.count() as u64;
                None
            }
            Some(RecordType::OutOfOrderSamples) => self.samples_record(body, true)?,
            Some(RecordType::Tombstones) => self.tombstones_record(body).err(),
            Some(RecordType::Metadata) => self.metadata_record(body).err(),
            Some(RecordType::Families) => self.families_record(body).err(),
            Some(RecordType::Exemplars) => self.exemplars_record(body).err(),
            Some(kind) if let Some(values) = record::values(kind, body) => {
                self.values_record(values, kind.is_out_of_order())?
            }
            _ => {
                self.report.records_skipped += 1;
                None
            }
        };
        if let Some(damage) = damage {
            self.report.records_damaged += 1;
            let (segment, offset) = (position.segment, position.offset);
            self.report
                .first_damage
                .get_or_insert_with(|| format!("{damage} of the record at byte {offset} of segment {segment:08}"));
        }
        Ok(())
    }
}

impl HeadReplay {
    fn series_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        let mut decoder = record::series(body);
        let mut labels = Vec::new();
        let mut canonical = Vec::new();
        while let Some(series_ref) = decoder.next_into(&mut labels)? {
            let is_sorted = labels.windows(2).all(|pair| pair[0].name < pair[1].name)
                && labels.iter().all(|label| !label.value.is_empty());
            if is_sorted {
                self.series(series_ref, &labels, &mut canonical);
            } else {
                let set = LabelSet::from_pairs(labels.iter().map(|label| (label.name, label.value)));
                self.series(series_ref, &set.iter().collect::<Vec<_>>(), &mut canonical);
            }
        }
        Ok(())
    }

    fn series(&mut self, series_ref: u64, labels: &[Label<'_>], canonical: &mut Vec<u8>) {
        self.newest_ref = self.newest_ref.max(series_ref);
        canonical.clear();
        encode_canonical(labels.iter().copied(), canonical);
        let hash = self.shared.identity.hash(canonical);
        let number = shard_of(hash);
        let known = {
            let shard = self.shared.shard(number);
            shard.find(hash).map(|row| shard.slot(row))
        };
        if let Some(slot) = known {
            if self.refs.get(series_ref) != Some(slot) {
                self.report.series_repeated += 1;
                self.refs.insert(series_ref, slot);
                // It had left the head, and all that it had is in blocks: the deletions of before are none of what comes.
                self.shared.shard(number).row_mut(split_slot(slot).1).begin_anew(self.floor_ms);
                // Samples of the series may still wait for a worker, and this has its place behind them.
                let chunks = self.loaded.remove(&series_ref).map(|chunks| self.above_floor(chunks)).unwrap_or_default();
                let (shard, row) = split_slot(slot);
                let Batch { samples, renamed, .. } = &mut self.pending[shard];
                renamed.push(Renamed { at: samples.len(), row, series_ref, chunks });
                if renamed.len() >= BATCH_SAMPLES {
                    // That a thread is gone is found at the end.
                    let _ = self.send(shard);
                }
            }
            return;
        }
        let pairs: Box<[PairId]> = {
            let mut index = self.shared.index_mut();
            labels.iter().map(|&label| index.intern_pair(label)).collect()
        };
        let mut series = Series::new(hash, Digest::of_canonical_labels(canonical), series_ref, pairs.clone());
        let loaded = self.loaded.remove(&series_ref).map(|chunks| self.above_floor(chunks)).unwrap_or_default();
        self.shared.counters.samples.fetch_add(loaded.samples, Ordering::Relaxed);
        if let (Some(first), Some(last)) = (loaded.full.first(), loaded.full.last()) {
            self.shared.widen(TimeRange::new(first.min_time_ms, last.max_time_ms));
            series.load(loaded.full, loaded.samples);
        }
        let mut shard = self.shared.shard(number);
        let row = shard.insert(series, WriterNumber::UNKNOWN);
        let slot = shard.slot(row);
        drop(shard);
        self.shared.counters.series.fetch_add(1, Ordering::Relaxed);
        self.report.series += 1;
        self.refs.insert(series_ref, slot);
        self.unlisted.push((slot, pairs));
        if self.unlisted.len() >= POSTINGS_BATCH {
            self.list_series();
        }
    }

    /// The chunks without those that blocks have.
    fn above_floor(&mut self, mut chunks: LoadedChunks) -> LoadedChunks {
        let below = chunks.full.partition_point(|chunk| chunk.max_time_ms < self.floor_ms);
        if below > 0 {
            self.report.chunks_below_floor += below as u64;
            chunks.full.drain(..below);
            chunks.full.shrink_to_fit();
            chunks.samples = chunks.full.iter().map(|chunk| self.shared.sample_count(chunk)).sum();
        }
        chunks
    }

    /// Makes the newest series findable by their labels.
    fn list_series(&mut self) {
        let mut index = self.shared.index_mut();
        for (slot, pairs) in self.unlisted.drain(..) {
            index.add_series(slot, &pairs);
        }
    }

    /// Applies deletions. Samples that came before may still wait for a worker: they are hidden when they arrive.
    fn tombstones_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        for tombstone in record::tombstones(body) {
            let Tombstone { series_ref, start_ms, end_ms } = tombstone?;
            match self.refs.get(series_ref).map(split_slot) {
                Some((number, row)) => {
                    self.shared.shard(number).replay_deletion(row, TimeRange::new(start_ms, end_ms));
                    self.report.deletions += 1;
                }
                None => self.report.deletions_unknown += 1,
            }
        }
        Ok(())
    }

    /// Where a sample goes: shard and row. An in-order sample that blocks have, or one whose series is not known, is
    /// counted instead.
    fn row_of(&mut self, series_ref: u64, timestamp_ms: TimestampMs, is_out_of_order: bool) -> Option<(usize, u32)> {
        let slot = self.refs.get(series_ref);
        let is_below = !is_out_of_order && (timestamp_ms < self.floor_ms || planted!(ReplayedTooLittle));
        if is_below || slot.is_none() {
            self.newest_ref = self.newest_ref.max(series_ref);
            if !is_below {
                let range = self.report.unknown_range.get_or_insert(TimeRange::new(timestamp_ms, timestamp_ms));
                (range.start_ms, range.end_ms) = (range.start_ms.min(timestamp_ms), range.end_ms.max(timestamp_ms));
            }
            *(if is_below { &mut self.report.samples_below_floor } else { &mut self.report.samples_unknown }) += 1;
            return None;
        }
        slot.map(split_slot)
    }

    /// Spreads the samples of a record. Those before a damaged place are kept, as in Prometheus they are not; more is
    /// better than less, and the damage is counted.
    fn samples_record(&mut self, body: &[u8], is_out_of_order: bool) -> Result<Option<Corruption>, WalError> {
        for sample in record::samples(body) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(damage) => return Ok(Some(damage)),
            };
            let Some((shard, row)) = self.row_of(sample.series_ref, sample.timestamp_ms, is_out_of_order) else {
                continue;
            };
            let pending = &mut self.pending[shard];
            pending.samples.push(RowSample {
                row,
                is_histogram: false,
                is_out_of_order,
                timestamp_ms: sample.timestamp_ms,
                bits: sample.value.to_bits(),
            });
            if pending.samples.len() >= BATCH_SAMPLES {
                self.send(shard)?;
            }
        }
        Ok(None)
    }

    /// Spreads the samples of a record of any kind, those that can be read.
    fn values_record(&mut self, values: ValuesIter<'_>, is_out_of_order: bool) -> Result<Option<Corruption>, WalError> {
        let mut damage = None;
        for sample in values {
            let sample = match sample {
                Ok(sample) => sample,
                Err(fault) => {
                    damage.get_or_insert(fault);
                    continue;
                }
            };
            let Some((shard, row)) = self.row_of(sample.series_ref, sample.timestamp_ms, is_out_of_order) else {
                continue;
            };
            let pending = &mut self.pending[shard];
            let (is_histogram, bits) = match sample.value {
                SampleValue::Float(value) => (false, value.to_bits()),
                histogram => {
                    pending.histograms.push(histogram);
                    (true, pending.histograms.len() as u64 - 1)
                }
            };
            pending.samples.push(RowSample {
                row,
                is_histogram,
                is_out_of_order,
                timestamp_ms: sample.timestamp_ms,
                bits,
            });
            if pending.samples.len() >= BATCH_SAMPLES || pending.histograms.len() >= BATCH_HISTOGRAMS {
                self.send(shard)?;
            }
        }
        Ok(damage)
    }

    /// Remembers what the log of a Prometheus says about series, as of their families.
    fn metadata_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        for entry in record::metadata(body) {
            let entry = entry?;
            let Some(slot) = self.refs.get(entry.series_ref) else { continue };
            let (shard, row) = split_slot(slot);
            let pairs = self.shared.shard(shard).row(row).pairs.clone();
            let labels = self.shared.index().label_set(&pairs, &mut LabelSetScratch::default());
            if let Some(name) = labels.get(METRIC_NAME) {
                let (help, unit) = (entry.help.to_owned(), entry.unit.to_owned());
                let known = MetadataEntry { metric_type: entry.metric_type, help, unit };
                self.shared.replay_metadata(family_of(name, entry.metric_type), known);
            }
        }
        Ok(())
    }

    /// Remembers what senders stated about families.
    fn families_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        for entry in record::families(body) {
            let FamilyMetadata { family, metric_type, unit, help } = entry?;
            if !planted!(MetadataNotReplayed) {
                let known = MetadataEntry { metric_type, help: help.to_owned(), unit: unit.to_owned() };
                self.shared.replay_metadata(family, known);
            }
        }
        Ok(())
    }

    /// Stores exemplars, those before a damaged place. None is judged again: those of a group that was written a second
    /// time are found to be there.
    fn exemplars_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        if self.shared.options.exemplars_max == 0 {
            return Ok(());
        }
        for exemplar in record::exemplars(body) {
            let exemplar = exemplar?;
            match self.refs.get(exemplar.series_ref) {
                Some(slot) => self.report.exemplars += u64::from(self.shared.replay_exemplar(slot, &exemplar)),
                None => self.report.exemplars_unknown += 1,
            }
        }
        Ok(())
    }

    fn send(&mut self, shard: usize) -> Result<(), WalError> {
        let next = Batch { samples: Vec::with_capacity(BATCH_SAMPLES), ..Batch::default() };
        let batch = std::mem::replace(&mut self.pending[shard], next);
        let (sender, _) = &self.workers[shard % self.workers.len()];
        sender
            .send(ShardBatch { shard, batch })
            .map_err(|_gone| WalError::Sink { reason: "a replay thread ended early".to_owned() })
    }

    /// Gives no new series a reference up to this one: the log knows it, though it was not read there.
    pub fn skip_refs_to(&mut self, newest_ref: u64) {
        self.newest_ref = self.newest_ref.max(newest_ref);
    }

    /// Waits until everything is in the head, and says what was done.
    pub fn finish(mut self) -> Result<ReplayReport, WalError> {
        for shard in 0..SHARDS {
            if !self.pending[shard].samples.is_empty() || !self.pending[shard].renamed.is_empty() {
                self.send(shard)?;
            }
        }
        self.list_series();
        self.shared.index_mut().sort_values();
        let mut report = self.report;
        let threads = self.workers.len();
        for (sender, thread) in self.workers {
            drop(sender);
            let part =
                thread.join().map_err(|_panic| WalError::Sink { reason: "a replay thread panicked".to_owned() })?;
            report.samples += part.samples;
            report.digest += part.digest;
            report.samples_in_files += part.samples_in_files;
            report.samples_before_files += part.samples_before_files;
            report.samples_repeated += part.samples_repeated;
            report.chunks_misplaced += part.chunks_misplaced;
        }
        let left = self.loaded.values().flat_map(|chunks| &chunks.full);
        let (below, unknown): (Vec<_>, Vec<_>) = left.partition(|chunk| chunk.max_time_ms < self.floor_ms);
        report.chunks_below_floor += below.len() as u64;
        report.chunks_unknown += unknown.len() as u64;
        self.shared.recall_newest(threads);
        self.shared.skip_refs_to(self.newest_ref);
        *self.shared.log_refs.lock().unwrap_or_else(PoisonError::into_inner) = self.refs;
        self.shared.counters.samples.fetch_add(report.samples, Ordering::Relaxed);
        Ok(report)
    }
}
