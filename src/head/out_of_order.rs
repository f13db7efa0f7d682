//! Out-of-order samples: those that are older than the newest of their series when they come.
//!
//! Each series keeps its own in small sorted buffers, one of floats and one of histograms, and in chunks that are cut from
//! both when one is full. These chunks
//! overlap each other and the in-order ones in time; a reader merges them. They go to the head chunk files as in
//! Prometheus, marked by the top bit of their encoding.
//!
//! No two samples of a series have the same time: before a sample is taken, whatever covers its time is decoded, so that
//! a repetition adds nothing and a contradiction is refused ([`Head::append`]).
//!
//! Every chunk has a number, rising in the order of the cuts. A block of out-of-order samples is made from an
//! [`OutOfOrderCut`]: at a moment without writers all buffers become chunks, so everything below a number that no block has
//! yet is in the cut, and nothing else ever will be. What blocks have stays here until the queries that began before are
//! over; later cuts leave it out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::series::{ChunkPlace, EncodedChunk};
use super::shard::{SHARDS, Shard};
use super::value::ValueRef;
use super::{Head, Shared};
use crate::chunk::{self, ChunkBuilder};
use crate::model::{Histogram, Sample, SampleValue, TimeRange, TimestampMs};
use crate::storage::{Chunk, ChunkBytes};

/// A buffer of this many samples becomes a chunk before the next one is added, as in Prometheus.
pub(super) const BUFFER_SAMPLES_MAX: usize = 32;

/// A chunk of out-of-order samples.
#[derive(Debug, Clone)]
pub(super) struct OutOfOrderChunk {
    /// Rising in the order of the cuts, over all series.
    pub(super) number: u64,
    pub(super) range: TimeRange,
    pub(super) samples: u16,
    pub(super) place: ChunkPlace,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is in the buffer now.
    Added,
    /// The buffer held it already.
    Duplicate,
    /// The buffer holds another value of the same time.
    Conflict,
}

/// The out-of-order samples of one series.
#[derive(Debug, Default)]
pub(super) struct OutOfOrder {
    /// In the order of their numbers.
    pub(super) chunks: Vec<OutOfOrderChunk>,
    /// Floats, in the order of time.
    pub(super) buffer: Vec<Sample>,
    /// Histograms, in the order of time. None has the time of a buffered float.
    pub(super) histograms: Vec<(TimestampMs, SampleValue)>,
}

impl OutOfOrder {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.buffered() == 0
    }

    /// How many samples the buffers hold.
    fn buffered(&self) -> usize {
        self.buffer.len() + self.histograms.len()
    }

    /// Bytes of the buffers, without the buckets of histograms.
    pub(super) fn buffered_bytes(&self) -> usize {
        size_of_val(&*self.buffer) + self.histograms.len() * (size_of::<(i64, SampleValue)>() + size_of::<Histogram>())
    }

    /// How many samples there are.
    pub(super) fn samples(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.samples)).sum::<u64>() + self.buffered() as u64
    }

    /// From the oldest to the newest sample.
    pub(super) fn range(&self) -> Option<TimeRange> {
        self.range_from(0)
    }

    /// From the oldest to the newest sample without those of chunks below a number.
    fn range_from(&self, number: u64) -> Option<TimeRange> {
        let ends = [self.buffer.first(), self.buffer.last()].into_iter().flatten().map(|held| held.timestamp_ms);
        let others =
            [self.histograms.first(), self.histograms.last()].into_iter().flatten().map(|(held_ms, _)| *held_ms);
        let buffered = ends.chain(others).map(|at_ms| TimeRange::new(at_ms, at_ms));
        let chunks = self.chunks.iter().filter(|chunk| chunk.number >= number);
        chunks.map(|chunk| chunk.range).chain(buffered).reduce(union)
    }

    /// What the buffers have at the time of a sample, if anything.
    pub(super) fn find_buffered(&self, timestamp_ms: TimestampMs, bits: u64) -> Option<Inserted> {
        let float = self.buffer.binary_search_by_key(&timestamp_ms, |held| held.timestamp_ms).ok();
        let float = float.and_then(|place| self.buffer.get(place)).map(|held| held.value.to_bits());
        let histogram = || {
            let place = self.histograms.binary_search_by_key(&timestamp_ms, |(held_ms, _)| *held_ms).ok();
            place.and_then(|place| self.histograms.get(place)).map(|(_, value)| ValueRef::of(value).bits())
        };
        let held = float.or_else(histogram)?;
        Some(if held == bits { Inserted::Duplicate } else { Inserted::Conflict })
    }

    /// Puts a sample into its buffer, which has room and none of that time.
    fn insert(&mut self, timestamp_ms: TimestampMs, value: ValueRef<'_>) {
        match value {
            ValueRef::Float(value) => {
                let place = self.buffer.partition_point(|held| held.timestamp_ms < timestamp_ms);
                self.buffer.insert(place, Sample { timestamp_ms, value });
            }
            ValueRef::Histogram(value) | ValueRef::Marker(value) => {
                let place = self.histograms.partition_point(|(held_ms, _)| *held_ms < timestamp_ms);
                self.histograms.insert(place, (timestamp_ms, value.clone()));
            }
        }
    }

    /// Whether a buffer has no room.
    fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER_SAMPLES_MAX || self.histograms.len() >= BUFFER_SAMPLES_MAX
    }

    /// Makes the buffers chunks, one of floats, and of histograms as many as their encoding makes of them. Each asks for
    /// its number. Gives the new ones.
    fn cut(&mut self, mut next_number: impl FnMut() -> u64) -> &[OutOfOrderChunk] {
        let known = self.chunks.len();
        let mut builder = ChunkBuilder::new();
        let floats = std::mem::take(&mut self.buffer).into_iter();
        let floats = floats.map(|sample| (sample.timestamp_ms, SampleValue::Float(sample.value)));
        let mut made: Vec<Chunk> = floats.filter_map(|(at_ms, value)| builder.push(at_ms, &value)).collect();
        made.extend(builder.finish());
        let histograms = std::mem::take(&mut self.histograms).into_iter();
        made.extend(histograms.filter_map(|(at_ms, value)| builder.push(at_ms, &value)));
        made.extend(builder.finish());
        self.chunks.reserve_exact(made.len());
        for Chunk { range, encoding, bytes } in made {
            let samples = chunk::sample_count(encoding, &bytes).unwrap_or(0);
            let bytes = match bytes {
                ChunkBytes::Memory(bytes) => bytes,
                mapped => Arc::from(&*mapped),
            };
            let place = ChunkPlace::Memory(Arc::new(EncodedChunk { encoding, bytes }));
            self.chunks.push(OutOfOrderChunk { number: next_number(), range, samples, place });
        }
        self.chunks.get(known..).unwrap_or_default()
    }

    /// A copy of what may lie in `range`.
    pub(super) fn view(&self, range: TimeRange) -> OutOfOrderView {
        let chunks = self.chunks.iter().filter(|chunk| chunk.range.overlaps(&range)).cloned().collect();
        let buffered = self.buffer.iter().filter(|sample| range.contains(sample.timestamp_ms)).copied().collect();
        let histograms = self.histograms.iter().filter(|(at_ms, _)| range.contains(*at_ms)).cloned().collect();
        OutOfOrderView { chunks, buffered, histograms }
    }
}

/// A copy of a series' out-of-order samples, as far as they are asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct OutOfOrderView {
    pub(super) chunks: Vec<OutOfOrderChunk>,
    pub(super) buffered: Vec<Sample>,
    pub(super) histograms: Vec<(TimestampMs, SampleValue)>,
}

impl OutOfOrderView {
    /// How many samples there are.
    pub(super) fn samples(&self) -> u64 {
        let buffered = self.buffered.len() + self.histograms.len();
        self.chunks.iter().map(|chunk| u64::from(chunk.samples)).sum::<u64>() + buffered as u64
    }
}

pub(super) fn union(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms))
}

/// From the oldest to the newest out-of-order sample of one shard. Written under the shard's lock, read without it: who
/// reads while it shrinks sees a range that is too wide, never one that is too narrow.
#[derive(Debug)]
pub(super) struct ShardRange {
    min_ms: AtomicI64,
    max_ms: AtomicI64,
}

impl Default for ShardRange {
    fn default() -> Self {
        ShardRange { min_ms: AtomicI64::new(i64::MAX), max_ms: AtomicI64::new(i64::MIN) }
    }
}

impl ShardRange {
    fn get(&self) -> Option<TimeRange> {
        let range = TimeRange::new(self.min_ms.load(Ordering::Acquire), self.max_ms.load(Ordering::Acquire));
        (range.start_ms <= range.end_ms).then_some(range)
    }

    fn widen(&self, range: TimeRange) {
        self.min_ms.fetch_min(range.start_ms, Ordering::AcqRel);
        self.max_ms.fetch_max(range.end_ms, Ordering::AcqRel);
    }

    fn set(&self, range: Option<TimeRange>) {
        let (start_ms, end_ms) = range.map_or((i64::MAX, i64::MIN), |range| (range.start_ms, range.end_ms));
        self.min_ms.store(start_ms, Ordering::Release);
        self.max_ms.store(end_ms, Ordering::Release);
    }
}

/// The out-of-order samples of the head that no block had at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrderCut {
    /// Chunks below this number are in blocks, and not in the cut.
    pub(super) from: u64,
    /// Chunks from that one to below this number are in the cut.
    pub(super) before: u64,
    /// From the oldest to the newest sample in it; `None` where there is none.
    pub range: Option<TimeRange>,
    /// How many samples are in it.
    pub samples: u64,
}

impl OutOfOrderCut {
    /// Whether the chunk is in the cut.
    pub(super) fn contains(&self, chunk: &OutOfOrderChunk) -> bool {
        (self.from..self.before).contains(&chunk.number)
    }
}

impl Head {
    /// From the oldest to the newest out-of-order sample, or `None` where there is none.
    pub fn out_of_order_range(&self) -> Option<TimeRange> {
        self.shared.out_of_order_range()
    }

    /// The same without the samples that blocks have, and that are still here for queries.
    pub fn unflushed_out_of_order_range(&self) -> Option<TimeRange> {
        let shared = &*self.shared;
        let all = self.out_of_order_range()?;
        let from = shared.out_of_order_from();
        if shared.counters.out_of_order_dropped.load(Ordering::Acquire) >= from {
            return Some(all);
        }
        let mut range = None;
        for number in 0..SHARDS {
            let shard = shared.shard(number);
            let held = shard.out_of_order_rows.iter().filter_map(|&row| shard.row(row).out_of_order());
            range = range.into_iter().chain(held.filter_map(|held| held.range_from(from))).reduce(union);
        }
        range
    }

    /// How many out-of-order samples there are, in buffers and chunks.
    pub fn out_of_order_samples(&self) -> u64 {
        self.shared.counters.out_of_order_samples.load(Ordering::Relaxed)
    }

    /// Makes all buffers chunks, and names all chunks that no block has. To be called while no request is admitted, so
    /// that the cut holds the out-of-order samples of whole groups.
    pub fn cut_out_of_order(&self) -> OutOfOrderCut {
        let shared = &*self.shared;
        let from = shared.out_of_order_from();
        let mut cut = OutOfOrderCut { from, before: 0, range: None, samples: 0 };
        for number in 0..SHARDS {
            let mut shard = shared.shard(number);
            for row in shard.out_of_order_rows.clone() {
                shard.cut_out_of_order(row, shared);
                if let Some(held) = shard.row(row).out_of_order() {
                    let chunks = held.chunks.iter().filter(|chunk| chunk.number >= from);
                    cut.samples += chunks.map(|chunk| u64::from(chunk.samples)).sum::<u64>();
                    cut.range = cut.range.into_iter().chain(held.range_from(from)).reduce(union);
                }
            }
        }
        cut.before = shared.counters.next_out_of_order_chunk.load(Ordering::Acquire);
        cut
    }

    /// Notes that blocks have the samples of a cut: no later cut has them. To be called when the blocks are served.
    pub fn out_of_order_flushed(&self, cut: &OutOfOrderCut) {
        self.shared.counters.out_of_order_flushed.fetch_max(cut.before, Ordering::AcqRel);
    }

    /// Lets go of the samples of a cut, and of those before it. To be called when blocks with them are served, and no
    /// query is left that began before they were. Samples that came after the cut stay.
    pub fn drop_out_of_order(&self, cut: &OutOfOrderCut) {
        let shared = &*self.shared;
        // The flusher need not write what is gone.
        shared.counters.out_of_order_dropped.fetch_max(cut.before, Ordering::AcqRel);
        self.out_of_order_flushed(cut);
        for number in 0..SHARDS {
            let mut shard = shared.shard(number);
            let mut range = None;
            let mut dropped = 0;
            let rows = std::mem::take(&mut shard.out_of_order_rows);
            for row in rows {
                let Some(held) = shard.row_mut(row).out_of_order_mut() else { continue };
                let before = held.samples();
                held.chunks.retain(|chunk| chunk.number >= cut.before);
                held.chunks.shrink_to_fit();
                dropped += before - held.samples();
                range = range.into_iter().chain(held.range()).reduce(union);
                if held.is_empty() {
                    shard.row_mut(row).forget_empty_extra();
                } else {
                    shard.out_of_order_rows.push(row);
                }
            }
            shared.counters.out_of_order_samples.fetch_sub(dropped, Ordering::Relaxed);
            shared.out_of_order_ranges[number].set(range);
        }
        // A Prometheus that opens the directory reads every chunk of the files, deleted samples too. A file that cannot be
        // removed yet is tried again by the next truncation, which says why.
        self.remove_files(TimestampMs::MIN);
    }
}

impl Shared {
    /// The first chunk that no block has, by its number.
    fn out_of_order_from(&self) -> u64 {
        self.counters.out_of_order_flushed.load(Ordering::Acquire)
    }

    pub(super) fn out_of_order_range(&self) -> Option<TimeRange> {
        self.out_of_order_ranges.iter().filter_map(ShardRange::get).reduce(union)
    }
}

impl Shard {
    /// Adds an out-of-order sample to its series, unless the buffer has one of that time.
    pub(super) fn insert_out_of_order(
        &mut self,
        row: u32,
        timestamp_ms: TimestampMs,
        value: ValueRef<'_>,
        shared: &Shared,
    ) -> Inserted {
        let held = self.row(row).out_of_order();
        if let Some(known) = held.and_then(|held| held.find_buffered(timestamp_ms, value.bits())) {
            return known;
        }
        if held.is_some_and(OutOfOrder::is_full) {
            self.cut_out_of_order(row, shared);
        }
        self.list_out_of_order(row);
        let extra = self.row_mut(row).extra_mut();
        extra.note_newest(timestamp_ms);
        extra.out_of_order.insert(timestamp_ms, value);
        shared.out_of_order_ranges[self.number()].widen(TimeRange::new(timestamp_ms, timestamp_ms));
        shared.counters.out_of_order_samples.fetch_add(1, Ordering::Relaxed);
        Inserted::Added
    }

    /// Notes that the series is about to have out-of-order samples.
    fn list_out_of_order(&mut self, row: u32) {
        if self.row(row).out_of_order().is_none_or(OutOfOrder::is_empty) {
            self.out_of_order_rows.push(row);
        }
    }

    /// Makes a series' buffers chunks, which wait for the flusher from then on.
    fn cut_out_of_order(&mut self, row: u32, shared: &Shared) {
        if self.row(row).out_of_order().is_none_or(|held| held.buffered() == 0) {
            return;
        }
        let next_number = || shared.counters.next_out_of_order_chunk.fetch_add(1, Ordering::AcqRel);
        let (slot, series_ref) = (self.slot(row), self.row(row).series_ref);
        for chunk in self.row_mut(row).extra_mut().out_of_order.cut(next_number).to_vec() {
            self.note_out_of_order_chunk(slot, series_ref, &chunk);
        }
    }
}

/// The oldest time of an out-of-order sample, for a head whose newest sample has the time `newest_ms`; `None` where no
/// out-of-order samples are taken at all.
pub(super) fn oldest_taken_ms(window_ms: i64, newest_ms: Option<TimestampMs>) -> Option<TimestampMs> {
    (window_ms > 0).then(|| newest_ms.map_or(i64::MIN, |newest_ms| newest_ms.saturating_sub(window_ms)))
}
