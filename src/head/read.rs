//! Reading: matchers to series, and the samples of a series from its full chunks and its open one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::out_of_order::{OutOfOrder, OutOfOrderView};
use super::readers::Reader;
use super::series::{ChunkPlace, Series, SeriesView};
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::chunk::{self, OUT_OF_ORDER};
use crate::encoding::Corruption;
use crate::index::{PairId, Slot};
use crate::model::{ChunkEncoding, LabelSet, LabelSetScratch, Matcher, SampleValue, TimeRange, TimestampMs};
use crate::storage::{
    Chunk, ChunkBytes, Column, Extent, Querier, Queryable, SampleSource, SelectHints, SelectedSeries, StorageError,
    StoredPart,
};

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
        let in_order = TimeRange::new(reader.oldest_ms(), range.end_ms);
        let view = Arc::new(View { shared: self.shared.clone(), reader, warnings: Warnings::default() });
        Ok(Box::new(HeadQuerier { view, range, in_order }))
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
    range: TimeRange,
    /// The range, as far as blocks don't have its in-order samples.
    in_order: TimeRange,
}

impl HeadQuerier {
    fn shared(&self) -> &Shared {
        &self.view.shared
    }

    fn is_outside(&self) -> bool {
        let shared = self.shared();
        let lies_outside = |held: Option<TimeRange>, range| held.is_none_or(|held| !held.overlaps(range));
        lies_outside(shared.in_order_range(), &self.in_order) && lies_outside(shared.out_of_order_range(), &self.range)
    }

    /// Whether a series has samples here that are not all deleted.
    fn has_samples_of(&self, series: &Series) -> bool {
        let is_seen = |held: TimeRange, range: &TimeRange| {
            let common =
                TimeRange { start_ms: held.start_ms.max(range.start_ms), end_ms: held.end_ms.min(range.end_ms) };
            held.overlaps(range) && !series.deleted().covers(&common)
        };
        series.time_range().is_some_and(|held| is_seen(held, &self.in_order))
            || series.out_of_order().and_then(OutOfOrder::range).is_some_and(|held| is_seen(held, &self.range))
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
                if self.has_samples_of(series) {
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
        let (number, row) = split_slot(self.slot);
        let in_order = TimeRange::new(range.start_ms.max(reader.oldest_ms()), range.end_ms);
        let view = shared.shard(number).row(row).view(range, in_order);
        shared.read_view(&view, range, column, &mut |warning| warnings.add(warning));
        Ok(())
    }

    fn parts(&self, range: TimeRange, parts: &mut Vec<StoredPart>) -> Result<(), StorageError> {
        let View { shared, reader, warnings } = &*self.view;
        let (number, row) = split_slot(self.slot);
        let in_order = TimeRange::new(range.start_ms.max(reader.oldest_ms()), range.end_ms);
        let (view, open_range) = {
            let shard = shared.shard(number);
            let series = shard.row(row);
            (series.view(range, in_order), series.open_range())
        };
        shared.parts_of(view, open_range, parts, &mut |warning| warnings.add(warning));
        Ok(())
    }

    fn extent(&self, range: TimeRange) -> Extent {
        let View { shared, reader, warnings } = &*self.view;
        let (number, row) = split_slot(self.slot);
        let in_order = TimeRange::new(range.start_ms.max(reader.oldest_ms()), range.end_ms);
        let view = shared.shard(number).row(row).view(range, in_order);
        shared.extent_of(&view, &mut |warning| warnings.add(warning))
    }
}

impl Shared {
    fn sort_index_if_worth_it(&self) {
        if self.index().wants_sorting() {
            self.index_mut().sort_values();
        }
    }

    /// Appends the samples of a view that lie in `range` to `column`. A chunk that is damaged is left out, and said.
    pub(super) fn read_view(
        &self,
        view: &SeriesView,
        range: TimeRange,
        column: &mut Column,
        warn: &mut dyn FnMut(String),
    ) {
        let start = column.len();
        let mut decode = |encoding, bytes: &[u8]| decode_or_nothing(encoding, bytes, view.in_order, column);
        self.visit_in_order(view, &mut decode, warn);
        if let Some(out_of_order) = &view.out_of_order {
            self.merge_out_of_order(out_of_order, range, start, column, warn);
        }
        if !view.deleted.is_empty() {
            column.remove_from(start, &view.deleted);
        }
    }

    /// What a view holds, as it is stored; chunks with deleted samples are decoded.
    fn parts_of(
        &self,
        view: SeriesView,
        open_range: Option<TimeRange>,
        parts: &mut Vec<StoredPart>,
        warn: &mut dyn FnMut(String),
    ) {
        let SeriesView { full, open, out_of_order, deleted, .. } = view;
        let mut add = |range: TimeRange, encoding, bytes: &[u8]| -> Result<(), Corruption> {
            parts.push(match deleted.iter().any(|deleted| deleted.overlaps(&range)) {
                true => StoredPart::Samples(kept_samples(encoding, bytes, &deleted)?),
                false => StoredPart::Chunk(Chunk { range, encoding, bytes: ChunkBytes::Memory(bytes.into()) }),
            });
            Ok(())
        };
        for chunk in &full {
            self.visit_chunk(
                &chunk.place,
                chunk.range(),
                &mut |encoding, bytes| add(chunk.range(), encoding, bytes),
                warn,
            );
        }
        if let (Some(encoded), Some(range)) = (open, open_range)
            && let Err(fault) = add(range, encoded.encoding, &encoded.bytes)
        {
            warn(format!("an open chunk was left out: {fault}"));
        }
        let Some(late) = out_of_order else { return };
        for chunk in &late.chunks {
            self.visit_chunk(&chunk.place, chunk.range, &mut |encoding, bytes| add(chunk.range, encoding, bytes), warn);
        }
        let is_kept = |at_ms: i64| !deleted.iter().any(|deleted| deleted.contains(at_ms));
        let floats = late.buffered.iter().map(|sample| (sample.timestamp_ms, SampleValue::Float(sample.value)));
        let mut samples: Vec<_> = floats.chain(late.histograms).filter(|(at_ms, _)| is_kept(*at_ms)).collect();
        samples.sort_by_key(|(at_ms, _)| *at_ms);
        if !samples.is_empty() {
            parts.push(StoredPart::Samples(samples));
        }
    }

    /// What the chunks of a view say about themselves.
    fn extent_of(&self, view: &SeriesView, warn: &mut dyn FnMut(String)) -> Extent {
        let mut extent = Extent::default();
        let mut add = |encoding, bytes: &[u8]| {
            extent.add_chunk(chunk::sample_count(encoding, bytes)?.into(), bytes.len());
            Ok(())
        };
        self.visit_in_order(view, &mut add, warn);
        if let Some(late) = &view.out_of_order {
            for chunk in &late.chunks {
                self.visit_chunk(&chunk.place, chunk.range, &mut add, warn);
            }
            let buffered = late.buffered.len() + late.histograms.len();
            if buffered > 0 {
                let bytes = size_of_val(&*late.buffered) + size_of_val(&*late.histograms);
                extent.add_chunk(buffered as u64, bytes);
            }
        }
        extent
    }

    /// The out-of-order samples of a series that lie in `range`, as far as they can be read.
    pub(super) fn read_out_of_order(&self, number: usize, row: u32, range: TimeRange) -> Column {
        let mut column = Column::default();
        let view = self.shard(number).row(row).out_of_order().map(|held| held.view(range));
        if let Some(view) = view {
            let mut warn = |warning| tracing::warn!(warning, "out-of-order chunk not read, the log has its samples");
            self.merge_out_of_order(&view, range, 0, &mut column, &mut warn);
        }
        column
    }

    /// Merges out-of-order samples into what `column` has from `start` on. What is there goes before a sample of the
    /// same time, and an earlier chunk before a later one.
    pub(super) fn merge_out_of_order(
        &self,
        view: &OutOfOrderView,
        range: TimeRange,
        start: usize,
        column: &mut Column,
        warn: &mut dyn FnMut(String),
    ) {
        let mut others = Column::default();
        for chunk in &view.chunks {
            self.read_chunk(&chunk.place, chunk.range, range, &mut others, warn);
        }
        for sample in &view.buffered {
            others.push(sample.timestamp_ms, sample.value);
        }
        for (timestamp_ms, value) in &view.histograms {
            match value {
                SampleValue::Float(value) => others.push(*timestamp_ms, *value),
                SampleValue::Histogram(histogram) => others.push_histogram(*timestamp_ms, histogram.to_float()),
                SampleValue::FloatHistogram(histogram) => others.push_histogram(*timestamp_ms, (**histogram).clone()),
            }
        }
        if !others.is_empty() {
            column.merge_from(start, &others);
        }
    }

    fn read_chunk(
        &self,
        place: &ChunkPlace,
        held: TimeRange,
        range: TimeRange,
        column: &mut Column,
        warn: &mut dyn FnMut(String),
    ) {
        let mut decode = |encoding, bytes: &[u8]| decode_or_nothing(encoding, bytes, range, column);
        self.visit_chunk(place, held, &mut decode, warn);
    }

    /// Calls `visit` with the bytes of each in-order chunk of a view.
    pub(super) fn visit_in_order(
        &self,
        view: &SeriesView,
        visit: &mut dyn FnMut(ChunkEncoding, &[u8]) -> Result<(), Corruption>,
        warn: &mut dyn FnMut(String),
    ) {
        for chunk in &view.full {
            self.visit_chunk(&chunk.place, chunk.range(), visit, warn);
        }
        if let Some(open) = &view.open
            && let Err(fault) = visit(open.encoding, &open.bytes)
        {
            warn(format!("an open chunk was left out: {fault}"));
        }
    }

    /// Calls `visit` with the bytes of a chunk. One that can't be read, or that `visit` finds damaged, is said.
    pub(super) fn visit_chunk(
        &self,
        place: &ChunkPlace,
        held: TimeRange,
        visit: &mut dyn FnMut(ChunkEncoding, &[u8]) -> Result<(), Corruption>,
        warn: &mut dyn FnMut(String),
    ) {
        let visited = match (place, &self.files) {
            (ChunkPlace::Memory(encoded), _) => {
                visit(encoded.encoding, &encoded.bytes).map_err(|fault| fault.to_string())
            }
            (ChunkPlace::File(chunk), Some(files)) => files
                .with_chunk(*chunk, |entry| match ChunkEncoding::from_number(entry.encoding & !OUT_OF_ORDER) {
                    Some(encoding) => visit(encoding, entry.data),
                    None => Err(Corruption { what: "chunk has an encoding that is not known", offset: 0 }),
                })
                .map_err(|fault| fault.to_string())
                .and_then(|visited| visited.map_err(|fault| fault.to_string())),
            (ChunkPlace::File(_), None) => Err("its file is not open".to_owned()),
        };
        if let Err(fault) = visited {
            self.counters.damaged_chunk_reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (from, to) = (held.start_ms, held.end_ms);
            warn(format!("a chunk with samples from {from} to {to} ms was left out: {fault}"));
        }
    }
}

/// The samples of a chunk that are not deleted.
fn kept_samples(
    encoding: ChunkEncoding,
    bytes: &[u8],
    deleted: &[TimeRange],
) -> Result<Vec<(TimestampMs, SampleValue)>, Corruption> {
    let is_kept = |at_ms: TimestampMs| !deleted.iter().any(|deleted| deleted.contains(at_ms));
    let samples = chunk::samples(encoding, bytes)?;
    samples.filter(|sample| sample.as_ref().map_or(true, |(at_ms, _)| is_kept(*at_ms))).collect()
}

/// Appends the samples of a chunk that lie in `range`, or none where the chunk is damaged: what precedes the damage is
/// not trusted either.
fn decode_or_nothing(
    encoding: ChunkEncoding,
    bytes: &[u8],
    range: TimeRange,
    column: &mut Column,
) -> Result<(), Corruption> {
    let before = column.len();
    let decoded = chunk::decode_into(encoding, bytes, range, column);
    if decoded.is_err() {
        column.truncate(before);
    }
    decoded
}
