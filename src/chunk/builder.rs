//! Chunks from samples: what compaction and import write.

use super::histogram::{FinishedChunk, HistogramAppender, HistogramRef};
use super::xor::{self, XorAppender};
use crate::model::{ChunkEncoding, SampleValue, TimeRange, TimestampMs};
use crate::storage::{Chunk, ChunkBytes};

/// A float chunk takes no more samples than this.
const FLOAT_SAMPLES_MAX: u16 = 120;

/// Encodes the samples of one series, in time order and of any kind, as chunks of the default encodings. A chunk ends
/// where the head would end it: at 120 floats or 1 KiB, at a change of the kind, at a counter reset.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    range: TimeRange,
    samples: OpenSamples,
}

#[derive(Debug)]
enum OpenSamples {
    Float { bytes: Vec<u8>, appender: XorAppender, last_bits: u64 },
    Histogram(Box<HistogramAppender>),
}

impl OpenSamples {
    fn start(timestamp_ms: TimestampMs, value: &SampleValue) -> Self {
        match (value, HistogramRef::of(value)) {
            (_, Some(histogram)) => OpenSamples::Histogram(Box::new(HistogramAppender::start(timestamp_ms, histogram))),
            (SampleValue::Float(value), _) => Self::start_floats(timestamp_ms, value.to_bits()),
            // Every value that is no float has a histogram.
            _ => Self::start_floats(timestamp_ms, 0),
        }
    }

    fn start_floats(timestamp_ms: TimestampMs, bits: u64) -> Self {
        let mut bytes = Vec::new();
        let appender = XorAppender::start(&mut bytes, timestamp_ms, bits);
        OpenSamples::Float { bytes, appender, last_bits: bits }
    }

    fn finish(self) -> FinishedChunk {
        match self {
            OpenSamples::Float { mut bytes, appender, .. } => {
                appender.write_count(&mut bytes);
                FinishedChunk { encoding: ChunkEncoding::Xor, bytes }
            }
            OpenSamples::Histogram(appender) => appender.finish(),
        }
    }
}

impl ChunkBuilder {
    /// A builder without samples.
    pub fn new() -> Self {
        ChunkBuilder::default()
    }

    /// Adds a sample, newer than all before. Gives the chunk that became full by that: it ends before this sample.
    /// The spans and buckets of a histogram belong together ([`Histogram::is_well_formed`](crate::model::Histogram)).
    pub fn push(&mut self, timestamp_ms: TimestampMs, value: &SampleValue) -> Option<Chunk> {
        let Some(open) = &mut self.open else {
            self.start(timestamp_ms, value);
            return None;
        };
        let finished = match (&mut open.samples, value, HistogramRef::of(value)) {
            (OpenSamples::Float { bytes, appender, last_bits }, SampleValue::Float(value), _)
                if appender.count() < FLOAT_SAMPLES_MAX && bytes.len() <= xor::FULL_BYTES =>
            {
                appender.append(bytes, open.range.end_ms, *last_bits, timestamp_ms, value.to_bits());
                *last_bits = value.to_bits();
                None
            }
            (OpenSamples::Histogram(appender), _, Some(histogram)) => match appender.is_full() {
                true => Some(appender.cut(timestamp_ms, histogram)),
                false => appender.append(timestamp_ms, histogram),
            },
            _ => {
                let finished = self.finish();
                self.start(timestamp_ms, value);
                return finished;
            }
        };
        let range = open.range;
        match finished {
            Some(_) => open.range = TimeRange::new(timestamp_ms, timestamp_ms),
            None => open.range.end_ms = timestamp_ms,
        }
        finished.map(|finished| chunk(range, finished))
    }

    /// Ends the last chunk; none where no sample came since the one before it. The builder is as new then.
    pub fn finish(&mut self) -> Option<Chunk> {
        self.open.take().map(|open| chunk(open.range, open.samples.finish()))
    }

    fn start(&mut self, timestamp_ms: TimestampMs, value: &SampleValue) {
        let range = TimeRange::new(timestamp_ms, timestamp_ms);
        self.open = Some(Open { range, samples: OpenSamples::start(timestamp_ms, value) });
    }
}

fn chunk(range: TimeRange, finished: FinishedChunk) -> Chunk {
    Chunk { range, encoding: finished.encoding, bytes: ChunkBytes::Memory(finished.bytes.into()) }
}
