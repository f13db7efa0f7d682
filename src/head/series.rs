//! One series of the head: a short row with its identity, its newest sample, its open chunk and its full ones.

use std::sync::Arc;

use super::out_of_order::{OutOfOrder, OutOfOrderView};
use super::value::{ValueKind, histogram_bits};
use crate::chunk::{ChunkRef, HistogramAppender, HistogramRef, XorAppender, xor};
use crate::index::PairId;
use crate::model::{ChunkEncoding, Digest, TimeRange, TimestampMs};
use crate::tombstones::Intervals;

/// A chunk takes no more samples than this.
pub(super) const CHUNK_SAMPLES_MAX: u16 = 120;

/// Keyed 128-bit hash of a label set's canonical bytes (see [`identity`](super::identity)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SeriesHash(pub(super) [u64; 2]);

/// Where the bytes of a full chunk are. Two words, as millions are kept.
#[derive(Debug, Clone)]
pub(super) enum ChunkPlace {
    /// In memory, until they are written to a file.
    Memory(Arc<EncodedChunk>),
    /// In a head chunk file, whose entry says the encoding.
    File(ChunkRef),
}

/// A full chunk in memory.
#[derive(Debug)]
pub(super) struct EncodedChunk {
    pub(super) encoding: ChunkEncoding,
    pub(super) bytes: Arc<[u8]>,
}

/// A chunk that takes no more samples.
#[derive(Debug, Clone)]
pub(super) struct FullChunk {
    pub(super) min_time_ms: TimestampMs,
    pub(super) max_time_ms: TimestampMs,
    pub(super) place: ChunkPlace,
}

impl FullChunk {
    pub(super) fn range(&self) -> TimeRange {
        TimeRange::new(self.min_time_ms, self.max_time_ms)
    }
}

/// What a new sample is to its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Newer than all before.
    Newer,
    /// The newest sample once more.
    Duplicate,
    /// Another value at the newest time.
    Conflict,
    /// Older than the newest: what covers its time has to be looked at.
    Older,
}

/// What is kept to go on with the open chunk. A pointer for histograms, as it has to be small for floats.
#[derive(Debug)]
enum OpenAppender {
    /// There is no open chunk. The newest sample, if there is one, is of this kind.
    None(ValueKind),
    /// The chunk is in the row.
    Floats(XorAppender),
    /// The chunk is with the appender.
    Histograms(Box<HistogramAppender>),
}

/// What few series have.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) out_of_order: OutOfOrder,
    /// Ranges whose samples are hidden.
    deleted: Intervals,
    /// No out-of-order sample and no deleted range is newer than this.
    newest_ms: Option<TimestampMs>,
}

impl Extra {
    pub(super) fn note_newest(&mut self, timestamp_ms: TimestampMs) {
        self.newest_ms = self.newest_ms.max(Some(timestamp_ms));
    }

    /// Hides the samples of a range, which is not empty.
    pub(super) fn delete(&mut self, range: TimeRange) {
        self.note_newest(range.end_ms);
        self.deleted.add(range);
    }

    /// Hides no longer what was deleted before `below_ms`.
    fn forget_deletions(&mut self, below_ms: TimestampMs) {
        self.deleted.remove_ended(below_ms);
    }
}

/// A copy of a series' samples, as far as they are asked for, to be decoded without the shard's lock.
#[derive(Debug)]
pub(super) struct SeriesView {
    /// The range of the in-order samples, which may be narrower.
    pub(super) in_order: TimeRange,
    pub(super) full: Vec<FullChunk>,
    pub(super) open: Option<EncodedChunk>,
    pub(super) out_of_order: Option<OutOfOrderView>,
    /// Ranges whose samples are hidden.
    pub(super) deleted: Vec<TimeRange>,
}

/// A row. The fields that an append touches come first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Series {
    pub(super) hash: SeriesHash,
    pub(super) digest: Digest,
    /// The series' reference in the log.
    pub(super) series_ref: u64,
    pub(super) last_ms: TimestampMs,
    /// Bits of the newest float, or of the newest histogram ([`histogram_bits`]).
    pub(super) last_bits: u64,
    /// In-order samples ever added.
    pub(super) samples: u64,
    extra: Option<Box<Extra>>,
    open: Vec<u8>,
    appender: OpenAppender,
    /// Last time that the open chunk may hold, the end of its chunk range.
    open_until_ms: TimestampMs,
    /// First time of the open chunk. Where there is none yet, the newest time of loaded chunks that the replay has met.
    open_min_ms: TimestampMs,
    pub(super) full: Vec<FullChunk>,
    pub(super) pairs: Box<[PairId]>,
}

impl Series {
    pub(super) fn new(hash: SeriesHash, digest: Digest, series_ref: u64, pairs: Box<[PairId]>) -> Self {
        Series {
            hash,
            digest,
            series_ref,
            last_ms: 0,
            last_bits: 0,
            samples: 0,
            extra: None,
            open: Vec::new(),
            appender: OpenAppender::None(ValueKind::Float),
            open_until_ms: 0,
            open_min_ms: 0,
            full: Vec::new(),
            pairs,
        }
    }

    /// What stands in a row whose series is gone.
    pub(super) fn vacant() -> Self {
        Series::new(SeriesHash::default(), Digest::ZERO, 0, Box::default())
    }

    /// Whether the row's series is gone. That a series has this hash is as unlikely as that two have the same.
    pub(super) fn is_vacant(&self) -> bool {
        self.hash == SeriesHash::default()
    }

    /// Whether there is any sample to be read.
    pub(super) fn has_samples(&self) -> bool {
        self.time_range().is_some() || self.out_of_order().is_some_and(|held| !held.is_empty())
    }

    /// Drops the chunks that end before `below_ms`, the open one too; the number of them. What is judged by the newest
    /// sample is judged as before.
    pub(super) fn truncate(&mut self, below_ms: TimestampMs) -> usize {
        let mut dropped = self.full.partition_point(|chunk| chunk.max_time_ms < below_ms);
        if dropped > 0 {
            self.full.drain(..dropped);
            self.full.shrink_to_fit();
        }
        if self.open_range().is_some_and(|open| open.end_ms < below_ms || planted!(TruncatedTooFar)) {
            (self.appender, self.open) = (OpenAppender::None(self.newest_kind()), Vec::new());
            dropped += 1;
        }
        dropped
    }

    /// What a sample would be to the whole series, which may have begun with out-of-order samples.
    #[inline]
    pub(super) fn judge(&self, timestamp_ms: TimestampMs, bits: u64) -> Verdict {
        match self.judge_in_order(timestamp_ms, bits) {
            Verdict::Newer if self.extra.as_ref().is_some_and(|extra| extra.newest_ms >= Some(timestamp_ms)) => {
                Verdict::Older
            }
            verdict => verdict,
        }
    }

    /// What a sample would be to the in-order ones.
    #[inline]
    pub(super) fn judge_in_order(&self, timestamp_ms: TimestampMs, bits: u64) -> Verdict {
        if self.samples == 0 || timestamp_ms > self.last_ms {
            Verdict::Newer
        } else if timestamp_ms < self.last_ms {
            Verdict::Older
        } else if bits == self.last_bits {
            Verdict::Duplicate
        } else {
            Verdict::Conflict
        }
    }

    /// Adds a sample that is newer than all before. Says whether a chunk became full by that.
    #[inline]
    pub(super) fn push(&mut self, timestamp_ms: TimestampMs, bits: u64, chunk_range_ms: i64) -> bool {
        let mut is_cut = false;
        match &mut self.appender {
            OpenAppender::Floats(appender)
                if appender.count() < CHUNK_SAMPLES_MAX
                    && self.open.len() <= xor::FULL_BYTES
                    && timestamp_ms <= self.open_until_ms =>
            {
                appender.append(&mut self.open, self.last_ms, self.last_bits, timestamp_ms, bits);
            }
            _ => {
                is_cut = self.cut();
                self.appender = OpenAppender::Floats(XorAppender::start(&mut self.open, timestamp_ms, bits));
                self.begin_open(timestamp_ms, chunk_range_ms);
            }
        }
        self.last_ms = timestamp_ms;
        self.last_bits = bits;
        self.samples += 1;
        is_cut
    }

    /// Adds a histogram that is newer than all before. Says whether a chunk became full by that.
    pub(super) fn push_histogram(
        &mut self,
        timestamp_ms: TimestampMs,
        histogram: HistogramRef<'_>,
        chunk_range_ms: i64,
    ) -> bool {
        let is_in_range = timestamp_ms <= self.open_until_ms;
        let (is_cut, is_new) = match &mut self.appender {
            OpenAppender::Histograms(appender) => {
                let finished = match is_in_range && !appender.is_full() {
                    true => appender.append(timestamp_ms, histogram),
                    false => Some(appender.cut(timestamp_ms, histogram)),
                };
                let is_cut = finished.map(|finished| self.push_full(finished.encoding, finished.bytes)).is_some();
                (is_cut, is_cut)
            }
            OpenAppender::None(_) | OpenAppender::Floats(_) => {
                let is_cut = self.cut();
                let appender = HistogramAppender::start(timestamp_ms, histogram);
                self.appender = OpenAppender::Histograms(Box::new(appender));
                (is_cut, true)
            }
        };
        if is_new {
            self.begin_open(timestamp_ms, chunk_range_ms);
        }
        self.last_ms = timestamp_ms;
        self.last_bits = histogram_bits(histogram);
        self.samples += 1;
        is_cut
    }

    fn begin_open(&mut self, timestamp_ms: TimestampMs, chunk_range_ms: i64) {
        self.open_min_ms = timestamp_ms;
        self.open_until_ms = range_end_ms(timestamp_ms, chunk_range_ms);
    }

    /// Makes the open chunk, if there is one, the newest full one.
    pub(super) fn cut(&mut self) -> bool {
        let newest = self.newest_kind();
        match std::mem::replace(&mut self.appender, OpenAppender::None(newest)) {
            OpenAppender::None(_) => return false,
            OpenAppender::Floats(appender) => {
                let mut bytes = std::mem::take(&mut self.open);
                appender.write_count(&mut bytes);
                self.push_full(ChunkEncoding::Xor, bytes);
            }
            OpenAppender::Histograms(appender) => {
                let finished = appender.finish();
                self.push_full(finished.encoding, finished.bytes);
            }
        }
        true
    }

    /// Adds what was the open chunk up to now.
    fn push_full(&mut self, encoding: ChunkEncoding, bytes: Vec<u8>) {
        self.full.reserve_exact(1);
        self.full.push(FullChunk {
            min_time_ms: self.open_min_ms,
            max_time_ms: self.last_ms,
            place: ChunkPlace::Memory(Arc::new(EncodedChunk { encoding, bytes: bytes.into() })),
        });
    }

    /// Takes over chunks that were found in files, in time order. The newest sample's value is not known from that:
    /// replay supplies it ([`Series::confirm_loaded`]).
    pub(super) fn load(&mut self, full: Vec<FullChunk>, samples: u64) {
        self.last_ms = full.last().map_or(self.last_ms, |chunk| chunk.max_time_ms);
        self.open_min_ms = TimestampMs::MIN;
        self.samples += samples;
        self.full.extend(full);
    }

    /// Whether a replayed sample that is not newer is one of those in loaded chunks.
    pub(super) fn confirm_loaded(&mut self, timestamp_ms: TimestampMs, bits: u64) -> bool {
        let is_loaded = matches!(self.appender, OpenAppender::None(_));
        if is_loaded {
            self.open_min_ms = self.open_min_ms.max(timestamp_ms);
            if timestamp_ms == self.last_ms {
                self.last_bits = bits;
            }
        }
        is_loaded
    }

    /// What the newest sample is, of a series whose chunks are all in files.
    pub(super) fn recall(&mut self, kind: ValueKind, bits: u64) {
        self.last_bits = bits;
        if let OpenAppender::None(newest) = &mut self.appender {
            *newest = kind;
        }
    }

    /// The kind of the newest in-order sample.
    pub(super) fn newest_kind(&self) -> ValueKind {
        match &self.appender {
            OpenAppender::None(kind) => *kind,
            OpenAppender::Floats(_) => ValueKind::Float,
            OpenAppender::Histograms(appender) => ValueKind::of(appender.encoding()),
        }
    }

    /// Whether its newest in-order sample is a float and this one a histogram, or the other way round.
    pub(super) fn changes_to(&self, is_histogram: bool) -> bool {
        self.samples > 0 && is_histogram == (self.newest_kind() == ValueKind::Float)
    }

    /// Whether a replayed sample that is not newer is older than all in loaded chunks. In the log of Prometheus stand late
    /// samples too, behind newer ones of their series: no file of in-order chunks lacks these.
    pub(super) fn is_before_loaded(&self, timestamp_ms: TimestampMs) -> bool {
        matches!(self.appender, OpenAppender::None(_))
            && self.full.first().is_some_and(|first| timestamp_ms < first.min_time_ms)
            && self.open_min_ms < timestamp_ms
    }

    /// A copy of the open chunk, if there is one.
    pub(super) fn open_chunk(&self) -> Option<EncodedChunk> {
        match &self.appender {
            OpenAppender::None(_) => None,
            OpenAppender::Floats(appender) => {
                let mut bytes: Arc<[u8]> = self.open.as_slice().into();
                if let Some(bytes) = Arc::get_mut(&mut bytes) {
                    appender.write_count(bytes);
                }
                Some(EncodedChunk { encoding: ChunkEncoding::Xor, bytes })
            }
            OpenAppender::Histograms(appender) => {
                Some(EncodedChunk { encoding: appender.encoding(), bytes: appender.to_bytes().into() })
            }
        }
    }

    /// From the first to the last sample of the open chunk, if there is one.
    pub(super) fn open_range(&self) -> Option<TimeRange> {
        let is_open = !matches!(self.appender, OpenAppender::None(_));
        is_open.then(|| TimeRange::new(self.open_min_ms, self.last_ms))
    }

    /// Reads a little of each memory line that an append will need, so that many series' lines are on their way to the
    /// cache at once. What it gives means nothing.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.last_bits ^ self.open_until_ms as u64 ^ u64::from(self.open.last().copied().unwrap_or(0))
    }

    /// Bytes that the open chunk has on the heap.
    pub(super) fn open_capacity(&self) -> usize {
        let histograms = match &self.appender {
            OpenAppender::Histograms(appender) => size_of::<HistogramAppender>() + appender.heap_bytes(),
            OpenAppender::None(_) | OpenAppender::Floats(_) => 0,
        };
        self.open.capacity() + histograms
    }

    /// From the first to the newest in-order sample that is there.
    pub(super) fn time_range(&self) -> Option<TimeRange> {
        let open_ms = self.open_range().map(|open| open.start_ms);
        let first_ms = self.full.first().map(|chunk| chunk.min_time_ms).or(open_ms)?;
        Some(TimeRange::new(first_ms, self.last_ms))
    }

    /// Its out-of-order samples, if it has any.
    #[inline]
    pub(super) fn out_of_order(&self) -> Option<&OutOfOrder> {
        self.extra.as_ref().map(|extra| &extra.out_of_order)
    }

    /// The ranges of time whose samples are hidden.
    pub(super) fn deleted(&self) -> &Intervals {
        const NONE: &Intervals = &Intervals::new();
        self.extra.as_ref().map_or(NONE, |extra| &extra.deleted)
    }

    /// Goes on as a series that is new: what was deleted of the one before, all of it below the floor, is no longer here.
    pub(super) fn begin_anew(&mut self, floor_ms: TimestampMs) {
        if let Some(extra) = &mut self.extra {
            extra.forget_deletions(floor_ms);
            self.forget_empty_extra();
        }
    }

    pub(super) fn out_of_order_mut(&mut self) -> Option<&mut OutOfOrder> {
        self.extra.as_mut().map(|extra| &mut extra.out_of_order)
    }

    /// What few series have, made where it is not there.
    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Frees the extra part if there is nothing in it any more.
    pub(super) fn forget_empty_extra(&mut self) {
        self.extra.take_if(|extra| extra.out_of_order.is_empty() && extra.deleted.is_empty());
    }

    /// A copy of what has in-order samples in `in_order`, and out-of-order ones in `range`.
    pub(super) fn view(&self, range: TimeRange, in_order: TimeRange) -> SeriesView {
        let out_of_order = self.out_of_order().map(|held| held.view(range));
        let deleted = self.deleted().as_slice().iter().filter(|deleted| deleted.overlaps(&range)).copied().collect();
        SeriesView { out_of_order, deleted, ..self.in_order_view(in_order) }
    }

    /// A copy of what has in-order samples in `range`, hidden ones included.
    pub(super) fn in_order_view(&self, range: TimeRange) -> SeriesView {
        // Chunks are in time order, and most queries want the newest.
        let first = self.full.partition_point(|chunk| chunk.max_time_ms < range.start_ms);
        let behind = self.full.iter().skip(first).take_while(|chunk| chunk.min_time_ms <= range.end_ms);
        let open = self.open_range().filter(|open| open.overlaps(&range)).and_then(|_| self.open_chunk());
        SeriesView { in_order: range, full: behind.cloned().collect(), open, out_of_order: None, deleted: Vec::new() }
    }
}

/// The last millisecond before the next multiple of `range_ms`: one block will hold all up to it.
fn range_end_ms(timestamp_ms: TimestampMs, range_ms: i64) -> TimestampMs {
    timestamp_ms.saturating_add(range_ms - 1 - timestamp_ms.rem_euclid(range_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        Series::new(SeriesHash::default(), Digest::ZERO, 1, Box::default())
    }

    #[test]
    fn row_stays_small() {
        assert!(size_of::<Series>() <= 176, "{}", size_of::<Series>());
        assert_eq!(size_of::<FullChunk>(), 32);
    }

    #[test]
    fn chunk_is_cut_at_its_sample_count() {
        let mut series = series();
        for i in 0..120 {
            assert!(!series.push(i * 1000, 0, 7_200_000));
        }
        assert!(series.push(120_000, 0, 7_200_000));
        assert_eq!(series.full[0].range(), TimeRange::new(0, 119_000));
        assert_eq!(series.open_range(), Some(TimeRange::new(120_000, 120_000)));
    }

    #[test]
    fn chunk_is_cut_at_multiples_of_the_chunk_range_also_below_zero() {
        let mut series = series();
        let cuts: Vec<bool> = [-1001, -1000, -1, 0, 999, 1000].map(|ms| series.push(ms, 0, 1000)).into();
        assert_eq!(cuts, [false, true, false, true, false, true]);
    }

    #[test]
    fn chunk_is_cut_at_its_size() {
        let mut series = series();
        let mut bits = 1u64;
        let mut count = 0;
        while !series.push(count * count, bits, 7_200_000) {
            // The first and the last bit change each time, so that all 64 are significant.
            bits = !bits ^ (count as u64) << 20;
            count += 1;
        }
        assert!(count < 120);
        let ChunkPlace::Memory(chunk) = &series.full[0].place else { panic!("not in memory") };
        let bytes = &chunk.bytes;
        assert!(bytes.len() > xor::FULL_BYTES && bytes.len() <= 1024, "{}", bytes.len());
    }

    #[test]
    fn series_that_changes_its_kind_begins_a_chunk_of_the_other_encoding() {
        use crate::model::Histogram;
        let mut series = series();
        let integer = Histogram { count: 1, zero_count: 1, ..Histogram::default() };
        let float = integer.to_float();
        assert!(!series.push(1, 0, 1000));
        assert!(series.push_histogram(2, HistogramRef::Integer(&integer), 1000));
        assert!(!series.push_histogram(3, HistogramRef::Integer(&integer), 1000));
        assert_eq!(series.judge(3, histogram_bits(HistogramRef::Integer(&integer))), Verdict::Duplicate);
        assert_eq!(series.judge(3, histogram_bits(HistogramRef::Float(&float))), Verdict::Conflict);
        assert!(series.push_histogram(4, HistogramRef::Float(&float), 1000));
        assert!(series.push_histogram(1000, HistogramRef::Float(&float), 1000));
        assert!(series.push(1001, 7, 1000));
        let chunks: Vec<_> = series
            .full
            .iter()
            .map(|chunk| {
                let ChunkPlace::Memory(encoded) = &chunk.place else { panic!("not in memory") };
                (encoded.encoding, chunk.min_time_ms, chunk.max_time_ms)
            })
            .collect();
        use ChunkEncoding as E;
        assert_eq!(
            chunks,
            [(E::Xor, 1, 1), (E::Histogram, 2, 3), (E::FloatHistogram, 4, 4), (E::FloatHistogram, 1000, 1000)]
        );
        assert_eq!(series.open_range(), Some(TimeRange::new(1001, 1001)));
    }

    #[test]
    fn sample_is_judged_against_the_newest_bit_for_bit() {
        let mut series = series();
        assert_eq!(series.judge(i64::MIN, 0), Verdict::Newer);
        series.push(i64::MIN, 7, 7_200_000);
        assert_eq!(series.judge(i64::MIN, 7), Verdict::Duplicate);
        assert_eq!(series.judge(i64::MIN, 8), Verdict::Conflict);
        assert_eq!(series.judge(i64::MAX, 8), Verdict::Newer);
        series.push(i64::MAX, 8, 7_200_000);
        assert_eq!(series.judge(0, 8), Verdict::Older);
    }
}
