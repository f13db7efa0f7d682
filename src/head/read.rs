//! Reading: matchers to series, and the samples of a series from its full chunks and its open one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::readers::Reader;
use super::series::{ChunkPlace, FullChunk};
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::chunk;
use crate::encoding::Corruption;
use crate::index::{PairId, Slot};
use crate::model::{ChunkEncoding, LabelSet, LabelSetScratch, Matcher, TimeRange};
use crate::storage::{Column, Querier, Queryable, SampleSource, SelectHints, SelectedSeries, StorageError};

/// Warnings that a query keeps; damage beyond is one more line of the same kind.
const WARNINGS_MAX: usize = 10;

/// Label sets that are built before writers of new series get a turn.
const SERIES_PER_LOCK: usize = 4096;

/// Warnings of one query, shared with the sources of its samples.
#[derive(Debug, Default)]
struct Warnings(Mutex<BTreeSet<String>>);

impl Warnings {
    fn add(&self, warning: String) {
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS_MAX {
            warnings.insert(warning);
        }
    }
}

impl Queryable for Head {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        let reader = self.shared.readers.enter_query(range.start_ms);
        let in_order = TimeRange::new(reader.from_ms(), range.end_ms);
        let view = Arc::new(View { shared: self.shared.clone(), reader, warnings: Warnings::default() });
        Ok(Box::new(HeadQuerier { view, in_order }))
    }
}

/// What a querier and the sources of its samples share. The reader stays as long as one of them.
struct View {
    shared: Arc<Shared>,
    reader: Reader,
    warnings: Warnings,
}

/// A view on the head for one time range.
struct HeadQuerier {
    view: Arc<View>,
    /// The querier's range, as far as blocks don't have its in-order samples.
    in_order: TimeRange,
}

impl HeadQuerier {
    fn shared(&self) -> &Shared {
        &self.view.shared
    }

    fn is_outside(&self) -> bool {
        self.shared().time_range().is_none_or(|range| !range.overlaps(&self.in_order))
    }
}

impl Querier for HeadQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        if self.is_outside() {
            return Ok(Vec::new());
        }
        self.shared().sort_index_if_worth_it();
        let slots = self.shared().index().select(matchers);
        if hints.series_max > 0 && slots.len() > hints.series_max as u64 {
            return Err(StorageError::Limit { what: "number of selected series", limit: hints.series_max as u64 });
        }
        // Numbers of the pairs first, shard by shard; the texts without any shard's lock.
        let mut by_shard: Vec<Vec<Slot>> = vec![Vec::new(); SHARDS];
        for slot in &slots {
            by_shard[split_slot(slot).0].push(slot);
        }
        let mut found: Vec<(Slot, Range<usize>)> = Vec::with_capacity(slots.len() as usize);
        let mut pairs: Vec<PairId> = Vec::new();
        for (number, slots) in by_shard.into_iter().enumerate().filter(|(_, slots)| !slots.is_empty()) {
            let shard = self.shared().shard(number);
            for slot in slots {
                let series = shard.row(split_slot(slot).1);
                if series.time_range().is_some_and(|range| range.overlaps(&self.in_order)) {
                    let start = pairs.len();
                    pairs.extend_from_slice(&series.pairs);
                    found.push((slot, start..pairs.len()));
                }
            }
        }
        let mut ranks = pairs.clone();
        self.shared().index().rank_pairs(&mut ranks);
        found.sort_unstable_by(|(_, a), (_, b)| ranks[a.clone()].cmp(&ranks[b.clone()]));
        if hints.limit > 0 {
            found.truncate(hints.limit);
        }
        let mut scratch = LabelSetScratch::default();
        let mut selected: Vec<(LabelSet, Slot)> = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for part in found.chunks(SERIES_PER_LOCK) {
            let index = self.shared().index();
            for (slot, range) in part {
                let labels = index.label_set(&pairs[range.clone()], &mut scratch);
                bytes += SelectedSeries::bytes_of(&labels);
                selected.push((labels, *slot));
            }
            if hints.bytes_max > 0 && bytes > hints.bytes_max {
                return Err(StorageError::Limit {
                    what: "memory of the selected series, in bytes,",
                    limit: hints.bytes_max,
                });
            }
        }
        let source = |slot| -> Arc<dyn SampleSource> { Arc::new(HeadSamples { view: self.view.clone(), slot }) };
        Ok(selected.into_iter().map(|(labels, slot)| SelectedSeries { labels, samples: source(slot) }).collect())
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        if self.is_outside() {
            return Ok(Vec::new());
        }
        let index = self.shared().index();
        let within = (!matchers.is_empty()).then(|| index.select(matchers));
        let mut names = index.label_names(within.as_ref());
        if limit > 0 {
            names.truncate(limit);
        }
        Ok(names)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        if self.is_outside() {
            return Ok(Vec::new());
        }
        self.shared().sort_index_if_worth_it();
        let index = self.shared().index();
        let within = (!matchers.is_empty()).then(|| index.select(matchers));
        Ok(index.label_values(name, within.as_ref(), limit))
    }

    fn warnings(&self) -> Vec<String> {
        self.view.warnings.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The samples of one series of the head.
struct HeadSamples {
    view: Arc<View>,
    slot: Slot,
}

impl SampleSource for HeadSamples {
    fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError> {
        let View { shared, reader, warnings } = &*self.view;
        let range = TimeRange::new(range.start_ms.max(reader.from_ms()), range.end_ms);
        shared.read_samples(self.slot, range, column, &mut |warning| warnings.add(warning));
        Ok(())
    }
}

impl Shared {
    fn sort_index_if_worth_it(&self) {
        if self.index().wants_sorting() {
            self.index_mut().sort_values();
        }
    }

    /// Appends the samples of a series that lie in `range` to `column`. A chunk that is damaged is left out, and said.
    pub(super) fn read_samples(&self, slot: Slot, range: TimeRange, column: &mut Column, warn: &mut dyn FnMut(String)) {
        let mut decode = |encoding, bytes: &[u8]| {
            let before = column.len();
            let decoded = chunk::decode_into(encoding, bytes, range, column);
            if decoded.is_err() {
                // What precedes the damage in the chunk is not trusted either.
                column.timestamps_ms.truncate(before);
                column.values.truncate(before);
                let kept = column.histograms.partition_point(|(index, _)| *index < before);
                column.histograms.truncate(kept);
            }
            decoded
        };
        self.visit_chunks(slot, range, &mut decode, warn);
    }

    /// Calls `visit` with each chunk of a series that overlaps `range`, in time order. A chunk that can't be read, or
    /// that `visit` finds damaged, is said.
    pub(super) fn visit_chunks(
        &self,
        slot: Slot,
        range: TimeRange,
        visit: &mut dyn FnMut(ChunkEncoding, &[u8]) -> Result<(), Corruption>,
        warn: &mut dyn FnMut(String),
    ) {
        let (number, row) = split_slot(slot);
        let mut open = None;
        let full: Vec<FullChunk> = {
            let shard = self.shard(number);
            let series = shard.row(row);
            if series.open_range().is_some_and(|open_range| open_range.overlaps(&range)) {
                open = series.open_chunk();
            }
            // Chunks are in time order, and most queries want the newest.
            let first = series.full.partition_point(|chunk| chunk.max_time_ms < range.start_ms);
            series.full[first..].iter().take_while(|chunk| chunk.min_time_ms <= range.end_ms).cloned().collect()
        };
        for chunk in &full {
            if let Err(fault) = self.visit_full(chunk, visit) {
                self.counters.damaged_chunk_reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let (from, to) = (chunk.min_time_ms, chunk.max_time_ms);
                warn(format!("a chunk with samples from {from} to {to} ms was left out: {fault}"));
            }
        }
        if let Some(open) = open
            && let Err(fault) = visit(open.encoding, &open.bytes)
        {
            warn(format!("an open chunk was left out: {fault}"));
        }
    }

    fn visit_full(
        &self,
        chunk: &FullChunk,
        visit: &mut dyn FnMut(ChunkEncoding, &[u8]) -> Result<(), Corruption>,
    ) -> Result<(), String> {
        let visited = match (&chunk.place, &self.files) {
            (ChunkPlace::Memory(encoded), _) => visit(encoded.encoding, &encoded.bytes),
            (ChunkPlace::File(place), Some(files)) => files
                .with_chunk(*place, |entry| match ChunkEncoding::from_number(entry.encoding) {
                    Some(encoding) => visit(encoding, entry.data),
                    None => Err(Corruption { what: "chunk has an encoding that is not known", offset: 0 }),
                })
                .map_err(|fault| fault.to_string())?,
            (ChunkPlace::File(_), None) => return Err("its file is not open".to_owned()),
        };
        visited.map_err(|fault| fault.to_string())
    }
}
