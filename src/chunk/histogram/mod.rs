//! The encodings of native histograms, bit for bit as Prometheus writes them.
//!
//! A chunk starts with its sample count, what is known about counter resets, and a layout that all of its samples share:
//! schema, zero threshold, spans, custom boundaries. Integer counts are coded as the change of their change, float
//! counts as the XOR with the one before; each bucket is a run of its own. Chunks with start timestamps are read only.
//!
//! | part | file |
//! |---|---|
//! | the two kinds of counts | `count.rs` |
//! | the layout | `layout.rs` |
//! | writing; what ends a chunk | `append.rs`, `merge.rs`, `sample.rs` |
//! | reading | `read.rs` |
//!
//! Source: Prometheus `tsdb/chunkenc/histogram.go` and `float_histogram.go`. Format: `docs/format/chunk.md`.

mod append;
mod count;
mod layout;
mod merge;
mod read;
mod sample;

use append::Appender;
use read::HistogramIterator;

use crate::encoding::Corruption;
use crate::model::{ChunkEncoding, Digest, FloatHistogram, Histogram, SampleValue, TimeRange, TimestampMs};
use crate::storage::Column;

/// A chunk of this length takes no further sample, if it has [`SAMPLES_MIN`] of them.
const TARGET_BYTES: usize = 1024;

/// Chunks have this many samples before their length ends them, as one sample may be larger than a whole chunk should.
const SAMPLES_MIN: u16 = 10;

/// A chunk of this length takes no further sample, however few it has.
const BYTES_MAX: usize = 256 << 10;

/// What a chunk's header says about a counter reset at its first sample, as the bits stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum CounterReset {
    Unknown = 0,
    NotReset = 0x40,
    Reset = 0x80,
    Gauge = 0xc0,
}

impl CounterReset {
    fn from_header(byte: u8) -> Self {
        match byte >> 6 {
            0 => CounterReset::Unknown,
            1 => CounterReset::NotReset,
            2 => CounterReset::Reset,
            _ => CounterReset::Gauge,
        }
    }
}

/// A native histogram of either kind.
#[derive(Debug, Clone, Copy)]
pub enum HistogramRef<'a> {
    /// With integer counts.
    Integer(&'a Histogram),
    /// With float counts.
    Float(&'a FloatHistogram),
}

impl<'a> HistogramRef<'a> {
    /// The histogram in a value, if it is one.
    pub fn of(value: &'a SampleValue) -> Option<Self> {
        match value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(histogram) => Some(HistogramRef::Integer(histogram)),
            SampleValue::FloatHistogram(histogram) => Some(HistogramRef::Float(histogram)),
        }
    }

    /// The digest of the histogram as a sample of the series whose label set has the digest `labels`.
    pub fn digest(self, labels: Digest, timestamp_ms: TimestampMs) -> Digest {
        match self {
            HistogramRef::Integer(histogram) => labels.of_histogram(timestamp_ms, histogram),
            HistogramRef::Float(histogram) => labels.of_float_histogram(timestamp_ms, histogram),
        }
    }
}

/// A histogram chunk that is being written, of either kind. Samples come in time order; their spans and buckets belong
/// together ([`Histogram::is_well_formed`]).
#[derive(Debug, Clone)]
pub struct HistogramAppender(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Integer(Appender<u64>),
    Float(Appender<f64>),
}

/// A chunk that takes no more samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedChunk {
    /// How the samples are encoded.
    pub encoding: ChunkEncoding,
    /// The chunk.
    pub bytes: Vec<u8>,
}

/// Calls the same method of whichever appender it is.
macro_rules! of_kind {
    ($kind:expr, $appender:ident => $call:expr) => {
        match $kind {
            Kind::Integer($appender) => $call,
            Kind::Float($appender) => $call,
        }
    };
}

impl HistogramAppender {
    /// Starts the first chunk of a series, or the first behind one that was not kept or held floats.
    pub fn start(timestamp_ms: TimestampMs, histogram: HistogramRef<'_>) -> Self {
        Self::start_behind(None, timestamp_ms, histogram)
    }

    fn start_behind(previous: Option<&Self>, timestamp_ms: TimestampMs, histogram: HistogramRef<'_>) -> Self {
        let previous = previous.map(|previous| &previous.0);
        HistogramAppender(match histogram {
            HistogramRef::Integer(histogram) => {
                let previous = if let Some(Kind::Integer(previous)) = previous { Some(previous) } else { None };
                Kind::Integer(Appender::start(timestamp_ms, histogram.into(), previous))
            }
            HistogramRef::Float(histogram) => {
                let previous = if let Some(Kind::Float(previous)) = previous { Some(previous) } else { None };
                Kind::Float(Appender::start(timestamp_ms, histogram.into(), previous))
            }
        })
    }

    /// Appends a sample: to this chunk, or to a new one where it is of the other kind or can't hold the histogram. Gives
    /// the chunk that is complete by that. A chunk that is [full](HistogramAppender::is_full) is to be
    /// [cut](HistogramAppender::cut) instead.
    pub fn append(&mut self, timestamp_ms: TimestampMs, histogram: HistogramRef<'_>) -> Option<FinishedChunk> {
        let finished = match (&mut self.0, histogram) {
            (Kind::Integer(appender), HistogramRef::Integer(histogram)) => {
                Kind::Integer(appender.append(timestamp_ms, histogram.into())?)
            }
            (Kind::Float(appender), HistogramRef::Float(histogram)) => {
                Kind::Float(appender.append(timestamp_ms, histogram.into())?)
            }
            _ => return Some(self.cut(timestamp_ms, histogram)),
        };
        Some(HistogramAppender(finished).finish())
    }

    /// Ends this chunk and goes on with a new one.
    pub fn cut(&mut self, timestamp_ms: TimestampMs, histogram: HistogramRef<'_>) -> FinishedChunk {
        let next = Self::start_behind(Some(self), timestamp_ms, histogram);
        std::mem::replace(self, next).finish()
    }

    /// Whether the chunk has the length at which the next should begin.
    pub fn is_full(&self) -> bool {
        let (samples, length) = of_kind!(&self.0, appender => (appender.samples(), appender.length()));
        samples == u16::MAX || length >= TARGET_BYTES && (samples >= SAMPLES_MIN || length >= BYTES_MAX)
    }

    /// How the samples are encoded.
    pub fn encoding(&self) -> ChunkEncoding {
        of_kind!(&self.0, appender => appender.encoding())
    }

    /// How many samples the chunk has.
    pub fn count(&self) -> u16 {
        of_kind!(&self.0, appender => appender.samples())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        of_kind!(&self.0, appender => appender.heap_bytes())
    }

    /// The chunk as it is now.
    pub fn to_bytes(&self) -> Vec<u8> {
        of_kind!(&self.0, appender => appender.to_bytes())
    }

    /// Ends the chunk.
    pub fn finish(self) -> FinishedChunk {
        FinishedChunk { encoding: self.encoding(), bytes: of_kind!(self.0, appender => appender.into_bytes()) }
    }
}

/// How many samples a chunk says that it holds; `None` for one without a header.
pub(super) fn sample_count(chunk: &[u8], has_start_times: bool) -> Option<u16> {
    read::sample_count(chunk, has_start_times)
}

/// The samples of a histogram chunk.
#[derive(Debug, Clone)]
pub(super) struct HistogramSamples<'a>(Iterators<'a>);

#[derive(Debug, Clone)]
enum Iterators<'a> {
    Integer(HistogramIterator<'a, u64>),
    Float(HistogramIterator<'a, f64>),
}

impl<'a> HistogramSamples<'a> {
    pub(super) fn new(is_integer: bool, has_start_times: bool, chunk: &'a [u8]) -> Result<Self, Corruption> {
        Ok(HistogramSamples(if is_integer {
            Iterators::Integer(HistogramIterator::new(chunk, has_start_times)?)
        } else {
            Iterators::Float(HistogramIterator::new(chunk, has_start_times)?)
        }))
    }

    pub(super) fn next_sample(&mut self) -> Result<Option<(TimestampMs, SampleValue)>, Corruption> {
        match &mut self.0 {
            Iterators::Integer(iterator) => iterator.next_with(|sample| sample.value()),
            Iterators::Float(iterator) => iterator.next_with(|sample| sample.value()),
        }
    }

    pub(super) fn decode_into(self, range: TimeRange, column: &mut Column) -> Result<(), Corruption> {
        match self.0 {
            Iterators::Integer(iterator) => iterator.decode_into(range, column),
            Iterators::Float(iterator) => iterator.decode_into(range, column),
        }
    }
}
