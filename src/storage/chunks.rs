//! Encoded samples on their way between head, blocks and compaction.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::StorageError;
use crate::fs::MappedFile;
use crate::model::{ChunkEncoding, LabelSet, SampleValue, TimeRange, TimestampMs};

/// The bytes of a chunk, without its header and checksum: in memory, or a part of a mapped file.
#[derive(Debug, Clone)]
pub enum ChunkBytes {
    /// In memory.
    Memory(Arc<[u8]>),
    /// A part of a mapped file; the range lies within it.
    Mapped(MappedFile, Range<usize>),
}

impl Deref for ChunkBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            ChunkBytes::Memory(bytes) => bytes,
            ChunkBytes::Mapped(file, range) => file.get(range.clone()).unwrap_or(&[]),
        }
    }
}

/// Encoded samples of one series.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// From the first to the last sample.
    pub range: TimeRange,
    /// How the samples are encoded.
    pub encoding: ChunkEncoding,
    /// The samples.
    pub bytes: ChunkBytes,
}

/// Some samples of one series as a store holds them.
#[derive(Debug, Clone)]
pub enum StoredPart {
    /// A chunk, none of whose samples is deleted.
    Chunk(Chunk),
    /// Samples in time order, of one time only the first counts.
    Samples(Vec<(TimestampMs, SampleValue)>),
}

/// One series with its chunks.
#[derive(Debug, Clone)]
pub struct ChunkSeries {
    /// The series' labels.
    pub labels: LabelSet,
    /// Its chunks by the time of their first sample. They may overlap where out-of-order samples are among them.
    pub chunks: Vec<Chunk>,
    /// Closed ranges of time whose samples are deleted, sorted, apart from each other.
    pub deleted: Vec<TimeRange>,
}

/// A stream of series in the order of their label sets, each once.
pub trait ChunkSource: Send {
    /// The next series, or `None` at the end.
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError>;
}
