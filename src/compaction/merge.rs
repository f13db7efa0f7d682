//! Several sources of series as one: a streaming merge in the order of the label sets.
//!
//! A chunk that overlaps no other of its series, has no deleted range and lies within the wanted range is passed on as it
//! is, without a look inside. All others are decoded, merged by time and encoded again. At one time there is one sample:
//!
//! | two samples of one time | what is kept |
//! |---|---|
//! | with the same value (floats by their bits, histograms in their canonical form) | one; the other counts as deduplicated |
//! | with different values | the one of the first source; the other counts as deduplicated and as a conflict, and the first conflicts are named |
//!
//! Sources stand in the order of precedence. Whoever merges blocks puts blocks of in-order samples before those of
//! out-of-order samples, and among equals the older block first: what was accepted first stays.
//!
//! At any time one series of each source is in memory, and its chunks where they have to be decoded.

use std::fmt;

use super::samples::{self, TimedValue};
use crate::chunk::ChunkBuilder;
use crate::model::{Digest, LabelSet, SampleValue, Tally, TimeRange, TimestampMs};
use crate::storage::{Chunk, ChunkSeries, ChunkSource, StorageError};

/// How many conflicts are kept in words.
const CONFLICTS_KEPT: usize = 16;

/// Two samples of one series and time with different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The series.
    pub labels: LabelSet,
    /// The time of both.
    pub timestamp_ms: TimestampMs,
    /// The value that is kept: of the source that comes first.
    pub kept: SampleValue,
    /// The value that is not.
    pub dropped: SampleValue,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: kept ", self.labels, self.timestamp_ms)?;
        samples::describe(&self.kept, f)?;
        f.write_str(", dropped ")?;
        samples::describe(&self.dropped, f)
    }
}

/// What a merge did with what it read, as it counted itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MergeTotals {
    /// Series given on.
    pub series: u64,
    /// Series without a sample that is left.
    pub series_dropped: u64,
    /// Samples given on. Their digest is not known: most of them were never decoded.
    pub samples: u64,
    /// Chunks given on as they were.
    pub chunks_passed: u64,
    /// Chunks that were decoded.
    pub chunks_decoded: u64,
    /// Samples that were decoded from an encoding with start timestamps. The default encodings, in which they are
    /// written again, have no place for these.
    pub start_times_dropped: u64,
    /// Chunks that were made of decoded ones.
    pub chunks_made: u64,
    /// Samples in deleted ranges.
    pub deleted: Tally,
    /// Samples at a time at which another one was kept.
    pub deduplicated: Tally,
    /// How many of these had another value than the one that was kept.
    pub conflicts: u64,
    /// The first conflicts.
    pub conflicts_named: Vec<Conflict>,
    /// Samples outside of the wanted range.
    pub outside: u64,
}

/// A merge under way: itself a source of series, without deleted ranges and without chunks that overlap.
pub struct Merger {
    sources: Vec<Ahead>,
    range: TimeRange,
    totals: MergeTotals,
}

impl fmt::Debug for Merger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merger").field("sources", &self.sources.len()).field("totals", &self.totals).finish()
    }
}

/// A source, and its next series.
struct Ahead {
    source: Box<dyn ChunkSource>,
    next: Option<ChunkSeries>,
}

impl Ahead {
    /// Gives the next series, and reads the one behind it.
    fn advance(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        let next = self.source.next_series()?;
        if let (Some(last), Some(next)) = (&self.next, &next)
            && next.labels <= last.labels
        {
            return Err(StorageError::Corrupt {
                what: format!("series {} does not come behind {}", next.labels, last.labels),
                place: "the order of the series of a source".to_owned(),
            });
        }
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl Merger {
    /// A merge of the samples of `range` in `sources`, which stand in the order of precedence.
    pub fn new(sources: Vec<Box<dyn ChunkSource>>, range: TimeRange) -> Result<Self, StorageError> {
        let mut ahead = Vec::with_capacity(sources.len());
        for source in sources {
            let mut source = Ahead { source, next: None };
            source.advance()?;
            ahead.push(source);
        }
        Ok(Merger { sources: ahead, range, totals: MergeTotals::default() })
    }

    /// What was done so far.
    pub fn totals(&self) -> &MergeTotals {
        &self.totals
    }

    /// The series of all sources that come next, in the order of precedence; empty at the end.
    fn next_parts(&mut self) -> Result<Vec<ChunkSeries>, StorageError> {
        let mut parts = Vec::with_capacity(self.sources.len());
        let first = self.sources.iter().filter_map(|source| source.next.as_ref()).map(|series| &series.labels).min();
        let Some(first) = first.cloned() else { return Ok(parts) };
        for source in &mut self.sources {
            if source.next.as_ref().is_some_and(|series| series.labels == first) {
                parts.extend(source.advance()?);
            }
        }
        Ok(parts)
    }

    /// Merges one series.
    fn merge(&mut self, parts: Vec<ChunkSeries>) -> Result<Option<ChunkSeries>, StorageError> {
        let Some(labels) = parts.first().map(|part| part.labels.clone()) else { return Ok(None) };
        let mut inputs: Vec<Input> = Vec::with_capacity(parts.iter().map(|part| part.chunks.len()).sum());
        let mut deleted = Vec::with_capacity(parts.len());
        for (rank, part) in parts.into_iter().enumerate() {
            inputs.extend(part.chunks.into_iter().map(|chunk| Input { rank, chunk }));
            deleted.push(part.deleted);
        }
        inputs.sort_by_key(|input| (input.chunk.range.start_ms, input.rank));
        let mut series = SeriesMerge { labels: &labels, digest: None, deleted: &deleted, range: self.range };
        let mut chunks = Vec::with_capacity(inputs.len());
        let mut rest = inputs.as_mut_slice();
        while let Some(first) = rest.first() {
            let mut end_ms = first.chunk.range.end_ms;
            let overlapping = rest.iter().skip(1).take_while(|input| {
                let overlaps = input.chunk.range.start_ms <= end_ms;
                end_ms = end_ms.max(input.chunk.range.end_ms);
                overlaps
            });
            let (group, behind) = rest.split_at_mut(1 + overlapping.count());
            rest = behind;
            series.group(group, &mut chunks, &mut self.totals)?;
        }
        if chunks.is_empty() {
            self.totals.series_dropped += 1;
            return Ok(None);
        }
        self.totals.series += 1;
        Ok(Some(ChunkSeries { labels, chunks, deleted: Vec::new() }))
    }
}

impl ChunkSource for Merger {
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        loop {
            let parts = self.next_parts()?;
            if parts.is_empty() {
                return Ok(None);
            }
            if let Some(series) = self.merge(parts)? {
                return Ok(Some(series));
            }
        }
    }
}

/// A chunk of one of the sources.
struct Input {
    /// Which source: a lower one takes precedence.
    rank: usize,
    chunk: Chunk,
}

/// What the merge of one series needs.
struct SeriesMerge<'a> {
    labels: &'a LabelSet,
    /// The digest of the labels, once a sample has to be counted.
    digest: Option<Digest>,
    /// Deleted ranges by source.
    deleted: &'a [Vec<TimeRange>],
    range: TimeRange,
}

impl SeriesMerge<'_> {
    /// Merges chunks that overlap each other and no other chunk.
    fn group(
        &mut self,
        group: &mut [Input],
        chunks: &mut Vec<Chunk>,
        totals: &mut MergeTotals,
    ) -> Result<(), StorageError> {
        if let [Input { rank, chunk }] = group {
            if !chunk.range.overlaps(&self.range) {
                totals.outside += u64::from(samples::count(self.labels, chunk)?);
                return Ok(());
            }
            let is_within = self.range.start_ms <= chunk.range.start_ms && chunk.range.end_ms <= self.range.end_ms;
            if is_within && !self.deleted(*rank).iter().any(|deleted| deleted.overlaps(&chunk.range)) {
                if planted!(ChunkLeftOut) {
                    return Ok(());
                }
                totals.samples += u64::from(samples::count(self.labels, chunk)?);
                totals.chunks_passed += 1;
                chunks.push(chunk.clone());
                return Ok(());
            }
        }
        // Equal times stay in the order of precedence: the sort is stable.
        group.sort_by_key(|input| input.rank);
        let mut merged = Vec::new();
        for Input { rank, chunk } in group.iter() {
            totals.chunks_decoded += 1;
            if chunk.encoding.has_start_times() {
                totals.start_times_dropped += u64::from(samples::count(self.labels, chunk)?);
            }
            self.decode(*rank, chunk, &mut merged, totals)?;
        }
        merged.sort_by_key(|sample: &TimedValue| sample.timestamp_ms);
        if let Some(TimedValue { value: SampleValue::Float(value), .. }) = merged.first_mut()
            && planted!(BitFlipped)
        {
            *value = f64::from_bits(value.to_bits() ^ 1);
        }
        self.deduplicate(&mut merged, totals);
        totals.samples += merged.len() as u64;
        let mut builder = ChunkBuilder::new();
        let before = chunks.len();
        for sample in &merged {
            chunks.extend(builder.push(sample.timestamp_ms, &sample.value));
        }
        chunks.extend(builder.finish());
        totals.chunks_made += (chunks.len() - before) as u64;
        Ok(())
    }

    fn deleted(&self, rank: usize) -> &[TimeRange] {
        self.deleted.get(rank).map_or(&[], Vec::as_slice)
    }

    /// Appends the samples of a chunk that are in the wanted range and not deleted.
    fn decode(
        &mut self,
        rank: usize,
        chunk: &Chunk,
        merged: &mut Vec<TimedValue>,
        totals: &mut MergeTotals,
    ) -> Result<(), StorageError> {
        let first = merged.len();
        samples::decode(self.labels, chunk, merged)?;
        let mut kept = first;
        for index in first..merged.len() {
            let Some(sample) = merged.get(index) else { break };
            if !self.range.contains(sample.timestamp_ms) {
                totals.outside += 1;
                continue;
            }
            if self.is_deleted(rank, sample.timestamp_ms) {
                let digest = self.digest(sample);
                totals.deleted.add_sample(digest);
                if !planted!(DeletionNotApplied) {
                    continue;
                }
            }
            merged.swap(kept, index);
            kept += 1;
        }
        merged.truncate(kept);
        Ok(())
    }

    fn is_deleted(&self, rank: usize, timestamp_ms: TimestampMs) -> bool {
        let ranges = self.deleted(rank);
        let index = ranges.partition_point(|range| range.end_ms < timestamp_ms);
        ranges.get(index).is_some_and(|range| range.contains(timestamp_ms))
    }

    /// Leaves the first of the samples of each time, which are sorted.
    fn deduplicate(&mut self, merged: &mut Vec<TimedValue>, totals: &mut MergeTotals) {
        if planted!(DuplicateKept) {
            // A later millisecond, so that the chunk itself is in order.
            merged.dedup_by(|later, earlier| {
                later.timestamp_ms = later.timestamp_ms.max(earlier.timestamp_ms + 1);
                false
            });
            return;
        }
        merged.dedup_by(|later, first| {
            if later.timestamp_ms != first.timestamp_ms {
                return false;
            }
            let dropped = self.digest(later);
            let dropped = if planted!(DigestNotUpdated) { Digest::ZERO } else { dropped };
            totals.deduplicated.add_sample(dropped);
            if self.digest(first) != self.digest(later) {
                totals.conflicts += 1;
                if totals.conflicts_named.len() < CONFLICTS_KEPT {
                    totals.conflicts_named.push(Conflict {
                        labels: self.labels.clone(),
                        timestamp_ms: first.timestamp_ms,
                        kept: first.value.clone(),
                        dropped: later.value.clone(),
                    });
                }
            }
            true
        });
    }

    fn digest(&mut self, sample: &TimedValue) -> Digest {
        let labels = *self.digest.get_or_insert_with(|| Digest::of_labels(self.labels));
        labels.of_value(sample.timestamp_ms, &sample.value)
    }
}
