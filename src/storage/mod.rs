//! What queries and writers see of a store: traits, and the plain types that cross them.
//!
//! The engine, the API and the tests know storage only through this module, and `head` and `db` implement it.

mod batch;
mod chunks;
mod column;

use std::sync::Arc;

pub use batch::{
    BatchOutcome, ExemplarReject, ExemplarRejectReason, ExemplarSample, HistogramSample, Reject, RejectReason,
    RejectedSample, SeriesEntry, StartSample, WriteBatch, WriterNumber,
};
pub use chunks::{Chunk, ChunkBytes, ChunkSeries, ChunkSource, StoredPart};
pub use column::Column;

use crate::model::{LabelSet, Matcher, TimeRange};

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Stored bytes are damaged. `place` names the file and offset.
    #[error("{what} in {place}")]
    Corrupt {
        /// What was found.
        what: String,
        /// File and offset.
        place: String,
    },
    /// A bound was passed.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A file could not be read.
    #[error("read {path}: {message}")]
    Io {
        /// The file.
        path: String,
        /// The system's answer.
        message: String,
    },
}

/// Something that can be asked for series.
pub trait Queryable: Send + Sync {
    /// A view on the samples of `range`.
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError>;
}

/// What a select is for. All fields are advice: an implementation may ignore them.
#[derive(Debug, Clone, Default)]
pub struct SelectHints {
    /// At most this many series are wanted; 0 means all.
    pub limit: usize,
    /// Refuse a selection of more series than this; 0 means no bound.
    pub series_max: usize,
    /// Refuse a selection that takes more memory than this, samples not counted; 0 means no bound.
    pub bytes_max: u64,
    /// The samples themselves are not wanted, only the label sets.
    pub labels_only: bool,
}

/// A view on the series of one time range.
pub trait Querier: Send + Sync {
    /// The series that pass every matcher and may have samples in the range, sorted by label set.
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError>;

    /// The sorted names of all labels of the series that pass every matcher; at most `limit` (0: all).
    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError>;

    /// The sorted values of one label over the series that pass every matcher; at most `limit` (0: all).
    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError>;

    /// Warnings about data in the range that is missing or damaged.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One selected series: its labels at once, its samples when they are asked for.
#[derive(Clone)]
pub struct SelectedSeries {
    /// The series' label set.
    pub labels: LabelSet,
    /// Where its samples come from.
    pub samples: Arc<dyn SampleSource>,
}

impl SelectedSeries {
    /// What the source of the samples takes, roughly: a handle on the store, and its reference counts.
    const SOURCE_BYTES: usize = 48;

    /// Bytes that a selected series takes until its samples are read.
    pub fn bytes_of(labels: &LabelSet) -> u64 {
        (labels.heap_bytes() + size_of::<SelectedSeries>() + Self::SOURCE_BYTES) as u64
    }
}

impl std::fmt::Debug for SelectedSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.labels.fmt(f)
    }
}

/// The samples of one series.
pub trait SampleSource: Send + Sync {
    /// Appends the samples of the closed `range`, in time order, to `column`. Staleness markers are included.
    fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError>;

    /// Appends what is stored for the closed `range`, as it is stored as far as that is possible: whole chunks, also
    /// where only a part of their samples lies in the range. Parts may overlap; of several samples of one time that of
    /// the first part counts.
    fn parts(&self, range: TimeRange, parts: &mut Vec<StoredPart>) -> Result<(), StorageError> {
        let mut column = Column::default();
        self.read(range, &mut column)?;
        if !column.is_empty() {
            parts.push(StoredPart::Samples(column.into_samples()));
        }
        Ok(())
    }

    /// What a read of the closed `range` would have to decode. A source that cannot say gives nothing.
    fn extent(&self, _range: TimeRange) -> Extent {
        Extent::default()
    }
}

/// What is stored for a range of time: whole chunks, also where only a part of their samples lies in the range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Chunks that may have samples of the range.
    pub chunks: u64,
    /// Samples of these chunks, as the chunks say: a bound from above, since some lie outside the range, are deleted, or are
    /// there twice.
    pub samples: u64,
    /// Bytes of these chunks as they are stored.
    pub bytes: u64,
}

impl Extent {
    /// Adds a chunk.
    pub fn add_chunk(&mut self, samples: u64, bytes: usize) {
        self.add(Extent { chunks: 1, samples, bytes: bytes as u64 });
    }

    /// Adds what is stored elsewhere.
    pub fn add(&mut self, other: Extent) {
        self.chunks += other.chunks;
        self.samples += other.samples;
        self.bytes += other.bytes;
    }
}
