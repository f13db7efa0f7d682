//! Adds samples from the log to their rows: the threads of a replay.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, sync_channel};

use super::ReplayReport;
use crate::chunk::HistogramRef;
use crate::head::Shared;
use crate::head::flush::{FlushMessage, PendingChunk};
use crate::head::load::LoadedChunks;
use crate::head::out_of_order::Inserted;
use crate::head::series::Verdict;
use crate::head::shard::Shard;
use crate::head::value::{ValueRef, histogram_bits};
use crate::model::{SampleValue, TimeRange};

/// Full chunks that may wait for the flusher, for each worker.
const CHUNKS_WAITING_MAX: usize = 16_384;

/// A sample on its way to its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSample {
    pub(super) row: u32,
    pub(super) is_histogram: bool,
    pub(super) is_out_of_order: bool,
    pub(super) timestamp_ms: i64,
    /// Bits of a float, or index of a histogram in its batch.
    pub(super) bits: u64,
}

/// Samples of one shard, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) samples: Vec<RowSample>,
    /// The histograms among them.
    pub(super) histograms: Vec<SampleValue>,
    /// Series that were named anew, in the order of the log.
    pub(super) renamed: Vec<Renamed>,
}

/// A series that the log names once more under another reference: it had left the head, and came again.
#[derive(Debug)]
pub(super) struct Renamed {
    /// How many samples of the batch stand before it in the log.
    pub(super) at: usize,
    pub(super) row: u32,
    pub(super) series_ref: u64,
    /// What files hold under this reference.
    pub(super) chunks: LoadedChunks,
}

/// Samples of one shard, on their way to its worker.
pub(super) struct ShardBatch {
    pub(super) shard: usize,
    pub(super) batch: Batch,
}

/// Adds the samples of some shards.
pub(super) struct Worker {
    shared: Arc<Shared>,
    flusher: Option<Sender<FlushMessage>>,
    /// Full chunks since the flusher was last waited for.
    chunks_sent: usize,
    report: ReplayReport,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, flusher: Option<Sender<FlushMessage>>) -> Worker {
        Worker { shared, flusher, chunks_sent: 0, report: ReplayReport::default() }
    }

    pub(super) fn run(mut self, batches: &Receiver<ShardBatch>) -> ReplayReport {
        for batch in batches {
            self.add(batch);
        }
        self.report
    }

    fn add(&mut self, batch: ShardBatch) {
        let chunk_range_ms = self.shared.options.chunk_range_ms;
        let mut range: Option<TimeRange> = None;
        let mut out_of_order: Vec<RowSample> = Vec::new();
        let mut shard = self.shared.shard(batch.shard);
        let Batch { samples, histograms, renamed } = batch.batch;
        let mut renamed = renamed.into_iter().peekable();
        for (index, &sample) in samples.iter().enumerate() {
            while let Some(before) = renamed.next_if(|renamed| renamed.at <= index) {
                rename(&self.shared, &mut shard, before, &mut self.report);
            }
            let RowSample { row, is_histogram, is_out_of_order, timestamp_ms, bits } = sample;
            if is_out_of_order {
                out_of_order.push(sample);
                continue;
            }
            let histogram = if is_histogram { histograms.get(bits as usize).and_then(HistogramRef::of) } else { None };
            let bits = histogram.map_or(bits, histogram_bits);
            let series = shard.row_mut(row);
            if series.judge_in_order(timestamp_ms, bits) == Verdict::Newer {
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
            } else if series.is_before_loaded(timestamp_ms) {
                self.report.samples_before_files += 1;
            } else if series.confirm_loaded(timestamp_ms, bits) {
                self.report.samples_in_files += 1;
            } else {
                self.report.samples_repeated += 1;
            }
        }
        renamed.for_each(|behind| rename(&self.shared, &mut shard, behind, &mut self.report));
        drop(shard);
        if let Some(range) = range {
            self.shared.widen(range);
        }
        if !out_of_order.is_empty() {
            self.add_out_of_order(batch.shard, out_of_order, &histograms);
        }
        let pending = std::mem::take(&mut self.shared.shard(batch.shard).pending);
        self.flush(pending);
    }

    /// Adds the out-of-order samples of a shard that no chunk in a file holds, and none came before them.
    fn add_out_of_order(&mut self, number: usize, mut samples: Vec<RowSample>, histograms: &[SampleValue]) {
        samples.sort_by_key(|sample| sample.row);
        for samples in samples.chunk_by(|a, b| a.row == b.row) {
            let times = || samples.iter().map(|sample| sample.timestamp_ms);
            let (Some(row), Some(min), Some(max)) =
                (samples.first().map(|first| first.row), times().min(), times().max())
            else {
                continue;
            };
            let held = self.shared.read_out_of_order(number, row, TimeRange::new(min, max));
            let mut shard = self.shared.shard(number);
            let digest = shard.row(row).digest;
            let mut seen = HashSet::new();
            for &RowSample { timestamp_ms, is_histogram, bits, .. } in samples {
                if held.timestamps_ms.binary_search(&timestamp_ms).is_ok() {
                    self.report.samples_in_files += 1;
                    continue;
                }
                // The buffer may have become a chunk since `held` was read.
                if !seen.insert(timestamp_ms) {
                    self.report.samples_repeated += 1;
                    continue;
                }
                let histogram = histograms.get(bits as usize).filter(|_| is_histogram).map(ValueRef::of);
                let value = histogram.unwrap_or(ValueRef::Float(f64::from_bits(bits)));
                match shard.insert_out_of_order(row, timestamp_ms, value, &self.shared) {
                    Inserted::Added => {
                        self.report.samples += 1;
                        self.report.digest += value.digest(digest, timestamp_ms);
                    }
                    Inserted::Duplicate | Inserted::Conflict => self.report.samples_repeated += 1,
                }
            }
        }
    }

    /// Sends full chunks to their files. What the log holds is durable, so they need not wait for a group; but this
    /// thread waits for the flusher from time to time, so that chunks don't pile up in memory.
    fn flush(&mut self, pending: Vec<PendingChunk>) {
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

/// Goes on with a series under its newer reference, and with the chunks that files hold under that. The files' order
/// is that of the references, so the next start finds the same. Chunks that are not newer than the series are left
/// out: the log has their samples.
fn rename(shared: &Shared, shard: &mut Shard, renamed: Renamed, report: &mut ReplayReport) {
    let Renamed { row, series_ref, chunks: LoadedChunks { full, samples }, .. } = renamed;
    if shard.row(row).series_ref == series_ref {
        // The log was replayed before.
        report.chunks_misplaced += full.len() as u64;
        return;
    }
    let newest_ms = shard.row(row).time_range().map(|range| range.end_ms);
    let follows = full.first().is_none_or(|first| newest_ms.is_none_or(|newest_ms| newest_ms < first.min_time_ms));
    shard.end_open_chunk(row);
    let series = shard.row_mut(row);
    series.series_ref = series_ref;
    if !follows {
        report.chunks_misplaced += full.len() as u64;
    } else if let (Some(first), Some(last)) = (full.first(), full.last()) {
        shared.widen(TimeRange::new(first.min_time_ms, last.max_time_ms));
        series.load(full, samples);
        shared.counters.samples.fetch_add(samples, Ordering::Relaxed);
    }
}
