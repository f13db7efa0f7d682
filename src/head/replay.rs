//! From the log back to a head.
//!
//! The reader of the log hands records over one by one. Series are made at once, in the order of the log; samples are
//! spread over the shards and added by worker threads, each of which owns some of the shards, so that the samples of a
//! series stay in order. Queues are short, and full chunks go to files as they do while running, so replay takes no more
//! memory than running did.
//!
//! Everything that the log holds is accepted, as it was accepted before it was written. What is passed over is counted:
//! samples that a chunk file holds already, samples that are not newer than their series (a group that was written a
//! second time), samples of series that the log doesn't name, records that can't be read.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use super::flush::FlushMessage;
use super::load::{Loaded, LoadedChunks};
use super::metadata::MetadataEntry;
use super::series::{ChunkPlace, Series, Verdict, histogram_bits};
use super::shard::{SHARDS, shard_of, split_slot};
use super::{Head, Shared};
use crate::chunk::HistogramRef;
use crate::encoding::Corruption;
use crate::index::{PairId, Slot};
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, LabelSet, LabelSetScratch, METRIC_NAME, SampleValue, TimeRange};
use crate::wal::record::{self, RecordType, ValuesIter};
use crate::wal::{RecordPosition, ReplaySink, WalError};

/// Samples of one message to a worker.
const BATCH_SAMPLES: usize = 2048;
/// Histograms of one message to a worker: they may be large.
const BATCH_HISTOGRAMS: usize = 128;
/// Messages that wait for a worker.
const QUEUE_BATCHES: usize = 16;
/// Full chunks that may wait for the flusher, for each worker.
const CHUNKS_WAITING_MAX: usize = 16_384;
/// References below this, or not far above the number of known ones, are looked up in a plain list.
const DENSE_REFS: u64 = 1 << 20;
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
    /// Samples that were not newer than their series.
    pub samples_repeated: u64,
    /// Samples of series that the log does not name: their series records are lost.
    pub samples_unknown: u64,
    /// Chunks in files whose series the log does not name.
    pub chunks_unknown: u64,
    /// Chunks in files of series that the log names twice. Their samples are taken from the log, so it must be read
    /// whole where there are any.
    pub chunks_of_repeated: u64,
    /// Records that could not be read.
    pub records_damaged: u64,
    /// Records of kinds that are not read (exemplars, tombstones).
    pub records_skipped: u64,
    /// What was wrong with the first damaged record.
    pub first_damage: Option<String>,
}

/// A sample on its way to its row.
#[derive(Debug, Clone, Copy)]
struct RowSample {
    row: u32,
    is_histogram: bool,
    timestamp_ms: i64,
    /// Bits of a float, or index of a histogram in its batch.
    bits: u64,
}

/// Samples of one shard, in the order of the log.
#[derive(Debug, Default)]
struct Batch {
    samples: Vec<RowSample>,
    /// The histograms among them.
    histograms: Vec<SampleValue>,
}

/// Samples of one shard, on their way to its worker.
struct ShardBatch {
    shard: usize,
    batch: Batch,
}

/// Slots by reference: a list where references are dense, as ours are, else a map.
#[derive(Debug, Default)]
struct RefMap {
    dense: Vec<Slot>,
    sparse: HashMap<u64, Slot>,
    known: u64,
}

impl RefMap {
    const NONE: Slot = Slot::MAX;

    fn get(&self, series_ref: u64) -> Option<Slot> {
        match self.dense.get(usize::try_from(series_ref).unwrap_or(usize::MAX)) {
            Some(&Self::NONE) | None => self.sparse.get(&series_ref).copied(),
            Some(&slot) => Some(slot),
        }
    }

    fn insert(&mut self, series_ref: u64, slot: Slot) {
        self.known += 1;
        if series_ref >= DENSE_REFS.max(self.known * 4) {
            self.sparse.insert(series_ref, slot);
            return;
        }
        let index = series_ref as usize;
        if index >= self.dense.len() {
            self.dense.resize(index + 1, Self::NONE);
        }
        self.dense[index] = slot;
    }
}

/// A replay under way: the receiver of the log's records.
#[derive(Debug)]
pub struct HeadReplay {
    shared: Arc<Shared>,
    loaded: Loaded,
    refs: RefMap,
    newest_ref: u64,
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
            let worker = Worker {
                shared: self.shared.clone(),
                flusher: self.flusher.as_ref().map(|flusher| flusher.sender.clone()),
                chunks_sent: 0,
                report: ReplayReport::default(),
            };
            let thread = std::thread::Builder::new().name(format!("replay-{number}"));
            workers.push((sender, thread.spawn(move || worker.run(&receiver))?));
        }
        Ok(HeadReplay {
            shared: self.shared.clone(),
            loaded: std::mem::take(&mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner)),
            refs: RefMap::default(),
            newest_ref: 0,
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
            Some(RecordType::Samples) => self.samples_record(body)?,
            Some(RecordType::Metadata) => self.metadata_record(body).err(),
            Some(kind) if let Some(values) = record::values(kind, body) => self.values_record(values)?,
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
                // Samples of the series may still wait for a worker, so the chunks of this second reference can't be
                // put in their place now. The log has their samples.
                self.report.chunks_of_repeated +=
                    self.loaded.remove(&series_ref).map_or(0, |chunks| chunks.full.len() as u64);
            }
            return;
        }
        let pairs: Box<[PairId]> = {
            let mut index = self.shared.index_mut();
            labels.iter().map(|&label| index.intern_pair(label)).collect()
        };
        let mut series = Series::new(hash, Digest::of_canonical_labels(canonical), series_ref, pairs.clone());
        if let Some(LoadedChunks { full, samples }) = self.loaded.remove(&series_ref)
            && let (Some(first), Some(last)) = (full.first(), full.last())
        {
            self.shared.widen(TimeRange::new(first.min_time_ms, last.max_time_ms));
            series.load(full, samples);
            self.shared.counters.samples.fetch_add(samples, Ordering::Relaxed);
        }
        let mut shard = self.shared.shard(number);
        let row = shard.insert(series);
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

    /// Makes the newest series findable by their labels.
    fn list_series(&mut self) {
        let mut index = self.shared.index_mut();
        for (slot, pairs) in self.unlisted.drain(..) {
            index.add_series(slot, &pairs);
        }
    }

    /// Spreads the samples of a record. Those before a damaged place are kept, as in Prometheus they are not; more is
    /// better than less, and the damage is counted.
    fn samples_record(&mut self, body: &[u8]) -> Result<Option<Corruption>, WalError> {
        for sample in record::samples(body) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(damage) => return Ok(Some(damage)),
            };
            let Some(slot) = self.refs.get(sample.series_ref) else {
                self.newest_ref = self.newest_ref.max(sample.series_ref);
                self.report.samples_unknown += 1;
                continue;
            };
            let (shard, row) = split_slot(slot);
            let pending = &mut self.pending[shard];
            pending.samples.push(RowSample {
                row,
                is_histogram: false,
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
    fn values_record(&mut self, values: ValuesIter<'_>) -> Result<Option<Corruption>, WalError> {
        let mut damage = None;
        for sample in values {
            let sample = match sample {
                Ok(sample) => sample,
                Err(fault) => {
                    damage.get_or_insert(fault);
                    continue;
                }
            };
            let Some(slot) = self.refs.get(sample.series_ref) else {
                self.newest_ref = self.newest_ref.max(sample.series_ref);
                self.report.samples_unknown += 1;
                continue;
            };
            let (shard, row) = split_slot(slot);
            let pending = &mut self.pending[shard];
            let (is_histogram, bits) = match sample.value {
                SampleValue::Float(value) => (false, value.to_bits()),
                histogram => {
                    pending.histograms.push(histogram);
                    (true, pending.histograms.len() as u64 - 1)
                }
            };
            pending.samples.push(RowSample { row, is_histogram, timestamp_ms: sample.timestamp_ms, bits });
            if pending.samples.len() >= BATCH_SAMPLES || pending.histograms.len() >= BATCH_HISTOGRAMS {
                self.send(shard)?;
            }
        }
        Ok(damage)
    }

    /// Remembers what the log says about metrics. Senders state it anew, so what is not read here is not missed long.
    fn metadata_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        for entry in record::metadata(body) {
            let entry = entry?;
            let Some(slot) = self.refs.get(entry.series_ref) else { continue };
            let (shard, row) = split_slot(slot);
            let pairs = self.shared.shard(shard).row(row).pairs.clone();
            let labels = self.shared.index().label_set(&pairs, &mut LabelSetScratch::default());
            if let Some(name) = labels.get(METRIC_NAME) {
                let (help, unit) = (entry.help.to_owned(), entry.unit.to_owned());
                self.shared.set_metadata(name, MetadataEntry { metric_type: entry.metric_type, help, unit });
            }
        }
        Ok(())
    }

    fn send(&mut self, shard: usize) -> Result<(), WalError> {
        let next = Batch { samples: Vec::with_capacity(BATCH_SAMPLES), histograms: Vec::new() };
        let batch = std::mem::replace(&mut self.pending[shard], next);
        let (sender, _) = &self.workers[shard % self.workers.len()];
        sender
            .send(ShardBatch { shard, batch })
            .map_err(|_gone| WalError::Sink { reason: "a replay thread ended early".to_owned() })
    }

    /// Waits until everything is in the head, and says what was done.
    pub fn finish(mut self) -> Result<ReplayReport, WalError> {
        for shard in 0..SHARDS {
            if !self.pending[shard].samples.is_empty() {
                self.send(shard)?;
            }
        }
        self.list_series();
        self.shared.index_mut().sort_values();
        let mut report = self.report;
        for (sender, thread) in self.workers {
            drop(sender);
            let part =
                thread.join().map_err(|_panic| WalError::Sink { reason: "a replay thread panicked".to_owned() })?;
            report.samples += part.samples;
            report.digest += part.digest;
            report.samples_in_files += part.samples_in_files;
            report.samples_repeated += part.samples_repeated;
        }
        report.chunks_unknown += report.chunks_of_repeated;
        report.chunks_unknown += self.loaded.values().map(|chunks| chunks.full.len() as u64).sum::<u64>();
        self.shared.recall_newest();
        self.shared.skip_refs_to(self.newest_ref);
        self.shared.counters.samples.fetch_add(report.samples, Ordering::Relaxed);
        Ok(report)
    }
}

impl Shared {
    /// Takes the newest sample of series without an open chunk from their newest chunk: the log may not have been read so
    /// far back, and whoever sends the sample again sends no other.
    fn recall_newest(&self) {
        for number in 0..SHARDS {
            let mut shard = self.shard(number);
            let closed = |(series, row): (&Series, u32)| {
                let newest = series.full.last().filter(|_| series.open_range().is_none())?;
                Some((row, newest.place.clone()))
            };
            let closed: Vec<_> = shard.rows().zip(0..).filter_map(closed).collect();
            for (row, place) in closed {
                // A chunk that cannot be read is told when it is asked for.
                let Some(newest) = self.newest_of(&place) else { continue };
                let bits = match &newest {
                    SampleValue::Float(value) => value.to_bits(),
                    histogram => HistogramRef::of(histogram).map_or(0, histogram_bits),
                };
                shard.row_mut(row).last_bits = bits;
            }
        }
    }

    fn newest_of(&self, place: &ChunkPlace) -> Option<SampleValue> {
        let newest =
            |encoding, bytes: &[u8]| crate::chunk::samples(encoding, bytes).ok()?.last()?.ok().map(|(_, value)| value);
        match place {
            ChunkPlace::Memory(chunk) => newest(chunk.encoding, &chunk.bytes),
            ChunkPlace::File(chunk_ref) => {
                let (encoding, bytes) = self.files.as_ref()?.chunk_bytes(*chunk_ref).ok()?;
                newest(encoding, &bytes)
            }
        }
    }
}

/// Adds the samples of some shards.
struct Worker {
    shared: Arc<Shared>,
    flusher: Option<Sender<FlushMessage>>,
    /// Full chunks since the flusher was last waited for.
    chunks_sent: usize,
    report: ReplayReport,
}

impl Worker {
    fn run(mut self, batches: &Receiver<ShardBatch>) -> ReplayReport {
        for batch in batches {
            self.add(&batch);
        }
        self.report
    }

    fn add(&mut self, batch: &ShardBatch) {
        let chunk_range_ms = self.shared.options.chunk_range_ms;
        let mut range: Option<TimeRange> = None;
        let mut shard = self.shared.shard(batch.shard);
        let Batch { samples, histograms } = &batch.batch;
        for &RowSample { row, is_histogram, timestamp_ms, bits } in samples {
            let histogram = if is_histogram { histograms.get(bits as usize).and_then(HistogramRef::of) } else { None };
            let bits = histogram.map_or(bits, histogram_bits);
            let series = shard.row_mut(row);
            if series.judge(timestamp_ms, bits) == Verdict::Newer {
                self.report.samples += 1;
                match histogram {
                    Some(histogram) => {
                        self.report.digest += histogram.digest(series.digest, timestamp_ms);
                        shard.push_histogram(row, timestamp_ms, histogram, chunk_range_ms);
                    }
                    None => {
                        self.report.digest += series.digest.of_sample(timestamp_ms, f64::from_bits(bits));
                        shard.push(row, timestamp_ms, bits, chunk_range_ms);
                    }
                }
                let range = range.get_or_insert(TimeRange::new(timestamp_ms, timestamp_ms));
                range.start_ms = range.start_ms.min(timestamp_ms);
                range.end_ms = range.end_ms.max(timestamp_ms);
            } else if series.confirm_loaded(timestamp_ms, bits) {
                self.report.samples_in_files += 1;
            } else {
                self.report.samples_repeated += 1;
            }
        }
        let pending = std::mem::take(&mut shard.pending);
        drop(shard);
        if let Some(range) = range {
            self.shared.widen(range);
        }
        self.flush(pending);
    }

    /// Sends full chunks to their files. What the log holds is durable, so they need not wait for a group; but this
    /// thread waits for the flusher from time to time, so that chunks don't pile up in memory.
    fn flush(&mut self, pending: Vec<super::flush::PendingChunk>) {
        let Some(flusher) = &self.flusher else { return };
        if pending.is_empty() {
            return;
        }
        self.chunks_sent += pending.len();
        // A flusher that is gone leaves the chunks in memory, where reads find them.
        let _ = flusher.send(FlushMessage::Chunks(pending));
        if self.chunks_sent >= CHUNKS_WAITING_MAX {
            self.chunks_sent = 0;
            let (answer, answered) = sync_channel(1);
            if flusher.send(FlushMessage::Barrier(answer)).is_ok() {
                let _ = answered.recv();
            }
        }
    }
}
