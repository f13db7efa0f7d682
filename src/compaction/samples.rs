//! The samples of a chunk as values, and their text in reports.

use std::fmt;

use crate::chunk;
use crate::encoding::Corruption;
use crate::model::{LabelSet, SampleValue, TimestampMs};
use crate::storage::{Chunk, StorageError};

/// A sample of any kind.
#[derive(Debug, Clone)]
pub(super) struct TimedValue {
    pub(super) timestamp_ms: TimestampMs,
    pub(super) value: SampleValue,
}

/// How many samples a chunk of this series has.
pub(super) fn count(labels: &LabelSet, chunk: &Chunk) -> Result<u16, StorageError> {
    chunk::sample_count(chunk.encoding, &chunk.bytes).map_err(|corruption| damaged(labels, chunk, corruption))
}

/// Appends the samples of a chunk of this series.
pub(super) fn decode(labels: &LabelSet, chunk: &Chunk, into: &mut Vec<TimedValue>) -> Result<(), StorageError> {
    let mut read = || -> Result<(), Corruption> {
        for sample in chunk::samples(chunk.encoding, &chunk.bytes)? {
            let (timestamp_ms, value) = sample?;
            into.push(TimedValue { timestamp_ms, value });
        }
        Ok(())
    };
    read().map_err(|corruption| damaged(labels, chunk, corruption))
}

fn damaged(labels: &LabelSet, chunk: &Chunk, corruption: Corruption) -> StorageError {
    let (start_ms, end_ms) = (chunk.range.start_ms, chunk.range.end_ms);
    StorageError::Corrupt {
        what: corruption.to_string(),
        place: format!("the {} chunk from {start_ms} to {end_ms} ms of {labels}", chunk.encoding.as_str()),
    }
}

/// A value in words: a float as it is, of a histogram its count and sum.
pub(super) fn describe(value: &SampleValue, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        SampleValue::Float(value) => write!(f, "{value}"),
        SampleValue::Histogram(histogram) => {
            write!(f, "a histogram of {} observations, sum {}", histogram.count, histogram.sum)
        }
        SampleValue::FloatHistogram(histogram) => {
            write!(f, "a float histogram of {} observations, sum {}", histogram.count, histogram.sum)
        }
    }
}
