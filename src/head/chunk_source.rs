//! The head's chunks for a block: series after series in the order of their label sets, chunks as they are.
//!
//! Chunks never cross a multiple of the chunk range, so within an aligned range each is handed over whole, without being
//! decoded. Only a chunk that crosses the end of another range is written anew with the samples inside.
//!
//! The order is found once, by numbers; then series are looked up and named one at a time. So what this takes in memory
//! is a number per series, and while it begins a number per label of each.

use std::ops::Range;
use std::sync::Arc;

use super::out_of_order::OutOfOrderCut;
use super::readers::Reader;
use super::series::{ChunkPlace, FullChunk, Series};
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::chunk::head_file::ReadError;
use crate::chunk::{self, ChunkBuilder};
use crate::encoding::Corruption;
use crate::index::{PairId, Slot};
use crate::model::{LabelSetScratch, TimeRange};
use crate::storage::{Chunk, ChunkBytes, ChunkSeries, ChunkSource, StorageError};

/// Which of the head's samples are meant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ChunkKind {
    /// Those that were newer than all of their series when they came.
    InOrder,
    /// The others, as far as they are in a cut.
    OutOfOrder(OutOfOrderCut),
}

impl ChunkKind {
    /// Whether a series has any that are meant.
    fn is_in(&self, series: &Series, range: TimeRange) -> bool {
        match self {
            ChunkKind::InOrder => series.time_range().is_some_and(|held| held.overlaps(&range)),
            ChunkKind::OutOfOrder(cut) => series.out_of_order().is_some_and(|held| {
                held.chunks.iter().any(|chunk| cut.contains(chunk) && chunk.range.overlaps(&range))
            }),
        }
    }
}

impl Head {
    /// The chunks with samples in `range`. Samples that are added meanwhile may be among them or not; series that are
    /// created meanwhile are not.
    ///
    /// The source is a reader as a querier is: what lies in its range is not truncated before it is dropped. It sees
    /// what is there, also where queriers don't any more.
    pub fn chunk_source(&self, range: TimeRange, kind: ChunkKind) -> Box<dyn ChunkSource> {
        let reader = self.shared.readers.enter_source(range.start_ms);
        let range = match kind {
            ChunkKind::InOrder => TimeRange::new(reader.oldest_ms(), range.end_ms),
            // These are dropped by their cut, not by time.
            ChunkKind::OutOfOrder(_) => range,
        };
        let slots = self.shared.slots_by_labels(range, &kind).into_iter();
        let (shared, scratch) = (self.shared.clone(), LabelSetScratch::default());
        Box::new(HeadChunks { shared, range, kind, slots, scratch, reader })
    }
}

/// The chunks of a range of time.
struct HeadChunks {
    shared: Arc<Shared>,
    range: TimeRange,
    kind: ChunkKind,
    /// The series that are still to come.
    slots: std::vec::IntoIter<Slot>,
    scratch: LabelSetScratch,
    /// Keeps the series, and their slots, as they are.
    #[expect(dead_code, reason = "it counts by being there")]
    reader: Reader,
}

/// What a series has of what is asked for.
struct SeriesChunks {
    pairs: Box<[PairId]>,
    full: Vec<(ChunkPlace, TimeRange)>,
    open: Option<Chunk>,
    deleted: Vec<TimeRange>,
}

impl ChunkSource for HeadChunks {
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        for slot in self.slots.by_ref() {
            let SeriesChunks { pairs, full, open, deleted } = self.shared.chunks_of(slot, self.range, &self.kind);
            let mut chunks = Vec::with_capacity(full.len() + 1);
            for (place, range) in &full {
                chunks.extend(within(self.shared.load_chunk(place, *range)?, self.range)?);
            }
            if let Some(open) = open {
                chunks.extend(within(open, self.range)?);
            }
            if !chunks.is_empty() {
                let labels = self.shared.index().label_set(&pairs, &mut self.scratch);
                return Ok(Some(ChunkSeries { labels, chunks, deleted }));
            }
        }
        Ok(None)
    }
}

impl Shared {
    /// The series with a chunk that is meant and overlaps `range`, in the order of their label sets.
    fn slots_by_labels(&self, range: TimeRange, kind: &ChunkKind) -> Vec<Slot> {
        let mut found: Vec<(Slot, Range<usize>)> = Vec::new();
        let mut pairs: Vec<PairId> = Vec::new();
        for number in 0..SHARDS {
            let shard = self.shard(number);
            for (slot, series) in shard.slots() {
                if kind.is_in(series, range) {
                    let start = pairs.len();
                    pairs.extend_from_slice(&series.pairs);
                    found.push((slot, start..pairs.len()));
                }
            }
        }
        // Pairs are never fewer than when the rows were looked at, so each has a rank.
        self.index_mut().sort_values();
        let ranks = self.index().ranks();
        for pair in &mut pairs {
            *pair = ranks.get(*pair as usize).copied().unwrap_or_default();
        }
        drop(ranks);
        found.sort_unstable_by(|(_, a), (_, b)| pairs[a.clone()].cmp(&pairs[b.clone()]));
        found.into_iter().map(|(slot, _)| slot).collect()
    }

    /// What a series has that is meant and overlaps `range`.
    fn chunks_of(&self, slot: Slot, range: TimeRange, kind: &ChunkKind) -> SeriesChunks {
        let (number, row) = split_slot(slot);
        let shard = self.shard(number);
        let series = shard.row(row);
        let (mut full, mut open): (Vec<(ChunkPlace, TimeRange)>, Option<Chunk>) = (Vec::new(), None);
        match kind {
            ChunkKind::InOrder => {
                let chunks = series.full.iter().filter(|chunk| chunk.range().overlaps(&range));
                full.extend(chunks.map(|chunk| (chunk.place.clone(), chunk.range())));
                open = series.open_range().filter(|open| open.overlaps(&range)).and_then(|range| {
                    let open = series.open_chunk()?;
                    Some(Chunk { range, encoding: open.encoding, bytes: ChunkBytes::Memory(open.bytes) })
                });
            }
            ChunkKind::OutOfOrder(cut) => {
                let chunks = series.out_of_order().into_iter().flat_map(|held| &held.chunks);
                let meant = chunks.filter(|chunk| cut.contains(chunk) && chunk.range.overlaps(&range));
                full.extend(meant.map(|chunk| (chunk.place.clone(), chunk.range)));
                full.sort_by_key(|(_, range)| range.start_ms);
            }
        }
        let deleted = series.deleted().as_slice().iter().filter(|deleted| deleted.overlaps(&range)).copied();
        let deleted = deleted.filter(|_| !planted!(DeletionNotFlushed)).collect();
        SeriesChunks { pairs: series.pairs.clone(), full, open, deleted }
    }

    /// How many samples a full chunk has; 0 where it is damaged.
    pub(super) fn sample_count(&self, chunk: &FullChunk) -> u64 {
        let loaded = self.load_chunk(&chunk.place, chunk.range());
        loaded.map_or(0, |chunk| chunk::sample_count(chunk.encoding, &chunk.bytes).map_or(0, u64::from))
    }

    /// A full chunk from where it is.
    fn load_chunk(&self, place: &ChunkPlace, range: TimeRange) -> Result<Chunk, StorageError> {
        let (encoding, bytes) = match (place, &self.files) {
            (ChunkPlace::Memory(encoded), _) => (encoded.encoding, ChunkBytes::Memory(encoded.bytes.clone())),
            (ChunkPlace::File(place), Some(files)) => files.chunk_bytes(*place).map_err(as_storage_error)?,
            (ChunkPlace::File(_), None) => {
                return Err(StorageError::Corrupt {
                    what: "chunk in a file that is not open".to_owned(),
                    place: "the head".to_owned(),
                });
            }
        };
        Ok(Chunk { range, encoding, bytes })
    }
}

fn as_storage_error(fault: ReadError) -> StorageError {
    match fault {
        ReadError::Io { path, message } => StorageError::Io { path, message },
        ReadError::Damaged { what, path, offset } => {
            StorageError::Corrupt { what: what.to_owned(), place: format!("{path} at byte {offset}") }
        }
    }
}

/// The chunk as it is where all of it lies in `range`, else one with the samples that do, if there are any: more than one
/// where histograms so fit better.
fn within(chunk: Chunk, range: TimeRange) -> Result<Vec<Chunk>, StorageError> {
    if range.contains(chunk.range.start_ms) && range.contains(chunk.range.end_ms) {
        return Ok(vec![chunk]);
    }
    cut_to(&chunk, range).map_err(|fault| StorageError::Corrupt {
        what: fault.to_string(),
        place: format!("a chunk of the head with samples from {} to {} ms", chunk.range.start_ms, chunk.range.end_ms),
    })
}

/// Encodes the samples of a chunk that lie in `range`.
fn cut_to(whole: &Chunk, range: TimeRange) -> Result<Vec<Chunk>, Corruption> {
    let mut builder = ChunkBuilder::new();
    let mut chunks = Vec::new();
    for sample in chunk::samples(whole.encoding, &whole.bytes)? {
        let (timestamp_ms, value) = sample?;
        if range.contains(timestamp_ms) {
            chunks.extend(builder.push(timestamp_ms, &value));
        }
    }
    chunks.extend(builder.finish());
    Ok(chunks)
}
