//! Reading a block: matchers to series, and the samples of a series from its chunks.

use std::sync::Arc;

use super::chunks::find_chunk;
use super::damage::{Damage, DamagedPart, Warnings};
use super::index::ChunkMeta;
use super::open::{Block, Shared};
use super::samples::{merge_from, remove_deleted, truncate};
use super::{Matcher, SeriesRef};
use crate::chunk;
use crate::model::{ChunkEncoding, LabelSet, TimeRange, TimestampMs};
use crate::storage::{
    Chunk, ChunkBytes, Column, Extent, Querier, Queryable, SampleSource, SelectHints, SelectedSeries, StorageError,
    StoredPart,
};
use crate::tombstones::Intervals;

impl Queryable for Block {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        let warnings = Arc::new(Warnings::default());
        let is_outside = self.time_range().is_none_or(|block| !block.overlaps(&range));
        if !is_outside {
            self.shared.warn_of_standing_damage(&warnings);
        }
        Ok(Box::new(BlockQuerier { shared: self.shared.clone(), range, is_outside, warnings }))
    }
}

/// A view on a block for one time range.
struct BlockQuerier {
    shared: Arc<Shared>,
    range: TimeRange,
    /// Whether the block holds nothing of the range.
    is_outside: bool,
    warnings: Arc<Warnings>,
}

impl BlockQuerier {
    fn warn(&self, damage: &Damage) {
        self.warnings.add(self.shared.ulid, damage);
    }

    fn select_refs(&self, matchers: &[Matcher]) -> Vec<SeriesRef> {
        self.shared.select(matchers, &mut |damage| self.warn(&damage))
    }
}

impl Querier for BlockQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        if self.is_outside {
            return Ok(Vec::new());
        }
        let refs = self.select_refs(matchers);
        if hints.series_max > 0 && refs.len() > hints.series_max {
            return Err(StorageError::Limit { what: "number of selected series", limit: hints.series_max as u64 });
        }
        let tombstones = self.shared.tombstones();
        let mut reader = self.shared.index.series();
        let mut found: Vec<(LabelSet, SeriesRef)> = Vec::new();
        let mut bytes = 0;
        let mut is_sorted = true;
        for series in refs {
            if let Err(fault) = reader.read(series) {
                self.warn(&self.shared.index_damage(DamagedPart::Series, fault));
                continue;
            }
            let deleted = tombstones.get(u64::from(series));
            if !reader.chunks().iter().any(|chunk| is_wanted(chunk, &self.range, deleted)) {
                continue;
            }
            let labels = reader.label_set();
            bytes += SelectedSeries::bytes_of(&labels);
            if hints.bytes_max > 0 && bytes > hints.bytes_max {
                let what = "memory of the selected series, in bytes,";
                return Err(StorageError::Limit { what, limit: hints.bytes_max });
            }
            is_sorted &= found.last().is_none_or(|(before, _)| *before < labels);
            found.push((labels, series));
            // Blocks hold their series in order, so these are the first.
            if hints.limit > 0 && is_sorted && found.len() == hints.limit {
                break;
            }
        }
        if !is_sorted {
            found.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let source = |series| -> Arc<dyn SampleSource> {
            Arc::new(BlockSamples { shared: self.shared.clone(), series, warnings: self.warnings.clone() })
        };
        Ok(found.into_iter().map(|(labels, series)| SelectedSeries { labels, samples: source(series) }).collect())
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        if self.is_outside {
            return Ok(Vec::new());
        }
        Ok(self.shared.label_names(matchers, limit, &mut |damage| self.warn(&damage)))
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        if self.is_outside {
            return Ok(Vec::new());
        }
        Ok(self.shared.label_values(name, matchers, limit, &mut |damage| self.warn(&damage)))
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.to_vec()
    }
}

/// Whether a chunk may have samples of the range that are not deleted.
fn is_wanted(chunk: &ChunkMeta, range: &TimeRange, deleted: Option<&Intervals>) -> bool {
    chunk.range.overlaps(range) && deleted.is_none_or(|deleted| !deleted.covers(&chunk.range))
}

/// The samples of one series of a block.
struct BlockSamples {
    shared: Arc<Shared>,
    series: SeriesRef,
    warnings: Arc<Warnings>,
}

impl SampleSource for BlockSamples {
    fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError> {
        self.shared.read_samples(self.series, range, column, &mut |damage| {
            self.warnings.add(self.shared.ulid, &damage);
        });
        Ok(())
    }

    fn parts(&self, range: TimeRange, parts: &mut Vec<StoredPart>) -> Result<(), StorageError> {
        self.shared.add_parts(self.series, range, parts, &mut |damage| self.warnings.add(self.shared.ulid, &damage));
        Ok(())
    }

    fn extent(&self, range: TimeRange) -> Extent {
        self.shared.extent_of(self.series, range, &mut |damage| self.warnings.add(self.shared.ulid, &damage))
    }
}

impl Shared {
    /// Appends the samples of a series that lie in `range` and are not deleted. What is damaged is left out, and said.
    fn read_samples(
        &self,
        series: SeriesRef,
        range: TimeRange,
        column: &mut Column,
        on_damage: &mut dyn FnMut(Damage),
    ) {
        let mut reader = self.index.series();
        if let Err(fault) = reader.read(series) {
            on_damage(self.index_damage(DamagedPart::Series, fault));
            return;
        }
        let tombstones = self.tombstones();
        let deleted = tombstones.get(u64::from(series));
        let start = column.len();
        let mut last_end_ms = None;
        for chunk in reader.chunks().iter().filter(|chunk| is_wanted(chunk, &range, deleted)) {
            let before = column.len();
            let read = self.chunk(chunk).and_then(|(encoding, bytes)| {
                chunk::decode_into(encoding, &bytes, range, column).map_err(|fault| self.chunk_damage(chunk, fault))
            });
            if let Err(damage) = read {
                // What precedes the damage in the chunk is not trusted either.
                truncate(column, before);
                on_damage(damage);
                continue;
            }
            if last_end_ms.is_some_and(|last| chunk.range.start_ms <= last) {
                merge_from(column, start, before);
            }
            last_end_ms = last_end_ms.max(Some(chunk.range.end_ms));
        }
        if let Some(deleted) = deleted {
            remove_deleted(column, start, deleted);
        }
    }

    /// Appends the chunks of a series that overlap `range`; those with deleted samples are decoded. What is damaged is
    /// left out, and said.
    fn add_parts(
        &self,
        series: SeriesRef,
        range: TimeRange,
        parts: &mut Vec<StoredPart>,
        on_damage: &mut dyn FnMut(Damage),
    ) {
        let mut reader = self.index.series();
        if let Err(fault) = reader.read(series) {
            on_damage(self.index_damage(DamagedPart::Series, fault));
            return;
        }
        let tombstones = self.tombstones();
        let deleted = tombstones.get(u64::from(series));
        for chunk in reader.chunks().iter().filter(|chunk| is_wanted(chunk, &range, deleted)) {
            let touching = deleted.filter(|deleted| deleted.as_slice().iter().any(|one| one.overlaps(&chunk.range)));
            let part = self.chunk(chunk).and_then(|(encoding, bytes)| {
                let Some(deleted) = touching else {
                    return Ok(StoredPart::Chunk(Chunk { range: chunk.range, encoding, bytes }));
                };
                let is_kept = |at_ms: TimestampMs| !deleted.contains(at_ms);
                let kept =
                    |sample: &Result<(TimestampMs, _), _>| sample.as_ref().map_or(true, |(at_ms, _)| is_kept(*at_ms));
                let samples = chunk::samples(encoding, &bytes).and_then(|samples| samples.filter(kept).collect());
                samples.map(StoredPart::Samples).map_err(|fault| self.chunk_damage(chunk, fault))
            });
            match part {
                Ok(part) => parts.push(part),
                Err(damage) => on_damage(damage),
            }
        }
    }

    /// What the chunks of a series that a read of `range` decodes say about themselves.
    fn extent_of(&self, series: SeriesRef, range: TimeRange, on_damage: &mut dyn FnMut(Damage)) -> Extent {
        let mut extent = Extent::default();
        let mut reader = self.index.series();
        if let Err(fault) = reader.read(series) {
            on_damage(self.index_damage(DamagedPart::Series, fault));
            return extent;
        }
        let tombstones = self.tombstones();
        let deleted = tombstones.get(u64::from(series));
        for chunk in reader.chunks().iter().filter(|chunk| is_wanted(chunk, &range, deleted)) {
            let said = self.chunk(chunk).and_then(|(encoding, bytes)| {
                let samples = chunk::sample_count(encoding, &bytes).map_err(|fault| self.chunk_damage(chunk, fault))?;
                Ok((samples, bytes.len()))
            });
            match said {
                Ok((samples, bytes)) => extent.add_chunk(samples.into(), bytes),
                Err(damage) => on_damage(damage),
            }
        }
        extent
    }

    /// Damage of one chunk, remembered.
    pub(super) fn chunk_damage(&self, chunk: &ChunkMeta, fault: impl std::fmt::Display) -> Damage {
        let place = format!("{fault} (chunk at byte {})", chunk.place.offset());
        let damage = self.segment_damage(chunk.place.segment() as usize, place, chunk.range);
        self.damages.record(self.ulid, &damage);
        damage
    }

    /// Finds a chunk, with its checksum checked.
    pub(super) fn chunk(&self, chunk: &ChunkMeta) -> Result<(ChunkEncoding, ChunkBytes), Damage> {
        let segment = self.segments.get(chunk.place.segment()).map_err(|fault| self.chunk_damage(chunk, fault))?;
        let found = find_chunk(segment, chunk.place.offset()).map_err(|fault| self.chunk_damage(chunk, fault))?;
        Ok((found.encoding, ChunkBytes::Mapped(segment.clone(), found.data)))
    }
}
