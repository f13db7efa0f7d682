//! The slow path of writing: samples that are not simply newer than all of their series.
//!
//! What covers their time is copied under the shard's lock and decoded without it, so that no other request waits for
//! that. A sample that is there already adds nothing, another value of the same time is refused. What is left is taken
//! as an out-of-order sample if the window reaches that far: `tsdb/head_append.go` of Prometheus, where however only
//! repetitions of the newest sample, and those within the open out-of-order chunk, are recognised.

use std::collections::BTreeMap;

use super::append::{TimeBounds, describe};
use super::out_of_order::Inserted;
use super::series::{Series, SeriesView, Verdict};
use super::value::ValueRef;
use super::{Head, Shared};
use crate::chunk;
use crate::encoding::Corruption;
use crate::index::Slot;
use crate::model::{ChunkEncoding, TimeRange, TimestampMs};
use crate::storage::{BatchOutcome, Column, RejectReason, WriteBatch};

/// A sample that has to be looked at twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct OlderSample<'a> {
    pub(super) row: u32,
    /// Index in the batch.
    pub(super) entry: u32,
    pub(super) timestamp_ms: TimestampMs,
    pub(super) value: ValueRef<'a>,
    /// Whether it is below the floor, or was too early to begin its series, which another may have begun since.
    pub(super) is_early: bool,
}

/// A value that a series has.
#[derive(Debug, Clone, Copy)]
struct Held {
    bits: u64,
    /// `None` for a histogram.
    float: Option<f64>,
}

impl Held {
    fn of(value: ValueRef<'_>) -> Self {
        Held { bits: value.bits(), float: value.float() }
    }
}

/// What a series has at the times of some samples.
struct Known {
    samples: BTreeMap<TimestampMs, Held>,
    /// In-order samples when it was looked up, and the time of the newest.
    in_order: (u64, TimestampMs),
    /// Chunks of out-of-order samples from this number on were not there.
    next_chunk: u64,
}

impl Known {
    /// Whether the series may have got something at `timestamp_ms` that a look at its buffer does not show.
    fn is_stale(&self, series: &Series, timestamp_ms: TimestampMs) -> bool {
        let (samples, last_ms) = self.in_order;
        let grew_there = series.samples != samples && (samples == 0 || timestamp_ms > last_ms);
        let chunks = series.out_of_order().map_or(&[][..], |held| &held.chunks);
        grew_there || chunks.last().is_some_and(|chunk| chunk.number >= self.next_chunk)
    }
}

impl Shared {
    fn know(&self, slot: Slot, number: usize, samples: &[OlderSample<'_>]) -> Known {
        let times = || samples.iter().map(|older| older.timestamp_ms);
        let range = TimeRange::new(times().min().unwrap_or(0), times().max().unwrap_or(0));
        let (view, in_order, next_chunk) = {
            let shard = self.shard(number);
            let series = shard.row(samples.first().map_or(0, |older| older.row));
            let next_chunk = self.counters.next_out_of_order_chunk.load(std::sync::atomic::Ordering::Acquire);
            (series.view(range, range), (series.samples, series.last_ms), next_chunk)
        };
        let mut wanted: BTreeMap<TimestampMs, Option<Held>> = times().map(|at_ms| (at_ms, None)).collect();
        // What is damaged cannot be served either: its place may be taken. The damage is counted where it is read.
        let mut warn = |warning| tracing::debug!(slot, warning, "chunk not compared");
        self.visit_values(&view, range, &mut warn, &mut |timestamp_ms, value| {
            if let Some(held) = wanted.get_mut(&timestamp_ms) {
                held.get_or_insert_with(|| Held::of(value));
            }
        });
        let samples = wanted.into_iter().filter_map(|(at_ms, held)| Some((at_ms, held?))).collect();
        Known { samples, in_order, next_chunk }
    }

    /// Gives the samples of a view that lie in `range` to `each`, in the form in which they are stored: those in order
    /// first. A chunk that is damaged is left out, and said.
    fn visit_values(
        &self,
        view: &SeriesView,
        range: TimeRange,
        warn: &mut dyn FnMut(String),
        each: &mut dyn FnMut(TimestampMs, ValueRef<'_>),
    ) {
        let mut visit = |encoding, bytes: &[u8]| visit_chunk_values(encoding, bytes, range, each);
        self.visit_in_order(view, &mut visit, warn);
        let Some(late) = &view.out_of_order else { return };
        for chunk in &late.chunks {
            self.visit_chunk(&chunk.place, chunk.range, &mut visit, warn);
        }
        late.buffered.iter().for_each(|sample| each(sample.timestamp_ms, ValueRef::Float(sample.value)));
        late.histograms.iter().for_each(|(timestamp_ms, value)| each(*timestamp_ms, ValueRef::of(value)));
    }
}

/// Gives the samples of a chunk that lie in `range`, or none where the chunk is damaged.
fn visit_chunk_values(
    encoding: ChunkEncoding,
    bytes: &[u8],
    range: TimeRange,
    each: &mut dyn FnMut(TimestampMs, ValueRef<'_>),
) -> Result<(), Corruption> {
    if encoding.is_float() {
        let mut column = Column::default();
        chunk::decode_into(encoding, bytes, range, &mut column)?;
        for (&timestamp_ms, &value) in column.timestamps_ms.iter().zip(&column.values) {
            each(timestamp_ms, ValueRef::Float(value));
        }
        return Ok(());
    }
    // A query sees histograms with integer counts as such with float counts, and cannot tell the two apart.
    let samples = chunk::samples(encoding, bytes)?.collect::<Result<Vec<_>, _>>()?;
    for (timestamp_ms, value) in samples.iter().filter(|(timestamp_ms, _)| range.contains(*timestamp_ms)) {
        each(*timestamp_ms, ValueRef::of(value));
    }
    Ok(())
}

impl Head {
    /// Accepts or refuses the samples of one shard that need a closer look, in the order of the request for each series.
    #[cold]
    pub(super) fn append_older(
        &self,
        number: usize,
        mut older: Vec<OlderSample<'_>>,
        batch: &WriteBatch<'_>,
        bounds: TimeBounds,
        outcome: &mut BatchOutcome,
    ) {
        older.sort_by_key(|older| older.row);
        for of_series in older.chunk_by(|a, b| a.row == b.row) {
            let mut rest = of_series;
            while !rest.is_empty() {
                rest = self.append_older_of_series(number, rest, batch, bounds, outcome);
            }
        }
    }

    /// Accepts or refuses samples of one series, up to one that another request may have been faster with. Gives the
    /// rest.
    fn append_older_of_series<'a, 'b>(
        &self,
        number: usize,
        samples: &'a [OlderSample<'b>],
        batch: &WriteBatch<'_>,
        bounds: TimeBounds,
        outcome: &mut BatchOutcome,
    ) -> &'a [OlderSample<'b>] {
        let shared = &*self.shared;
        let Some(&OlderSample { row, .. }) = samples.first() else { return &[] };
        let slot = shared.shard(number).slot(row);
        let mut known = shared.know(slot, number, samples);
        let mut shard = shared.shard(number);
        for (index, &OlderSample { entry, timestamp_ms, value, is_early, .. }) in samples.iter().enumerate() {
            let bits = value.bits();
            let series = shard.row(row);
            if known.is_stale(series, timestamp_ms) {
                return samples.get(index..).unwrap_or_default();
            }
            let held = known.samples.get(&timestamp_ms).copied();
            let (series_ref, labels) = (series.series_ref, series.digest);
            let in_order = series.judge_in_order(timestamp_ms, bits);
            // One that is older than an out-of-order sample, or than a deleted range, was not judged by the floor yet. Below
            // it a block has been made, so nobody would write the sample to another.
            let is_early = is_early || in_order == Verdict::Newer && bounds.is_early(series, timestamp_ms);
            let buffered = series.out_of_order().and_then(|held| held.find_buffered(timestamp_ms, bits));
            let verdict = match (held, buffered, in_order) {
                (Some(held), _, _) if held.bits == bits || planted!(ConflictAccepted) => Ok(None),
                (_, Some(Inserted::Duplicate), _) | (_, _, Verdict::Duplicate) => Ok(None),
                (Some(_), _, _) | (_, Some(_), _) | (_, _, Verdict::Conflict) => Err(RejectReason::DuplicateTimestamp),
                _ if series.deleted().contains(timestamp_ms) => Err(RejectReason::Deleted),
                _ if timestamp_ms > bounds.max_ms => Err(RejectReason::TooFarInFuture),
                (None, None, Verdict::Newer) if !is_early => Ok(Some(true)),
                _ => match bounds.out_of_order_min_ms {
                    Some(oldest_ms) if timestamp_ms >= oldest_ms => Ok(Some(false)),
                    Some(_) => Err(RejectReason::TooOld),
                    None if is_early => Err(RejectReason::OutOfBounds),
                    None => Err(RejectReason::OutOfOrder),
                },
            };
            match verdict {
                Ok(None) => {
                    outcome.duplicates += 1;
                    outcome.histograms += u64::from(matches!(value, ValueRef::Histogram(_)));
                }
                Ok(Some(is_in_order)) => {
                    if is_in_order {
                        shard.accept(row, timestamp_ms, value, shared.options.chunk_range_ms);
                        shared.widen(TimeRange::new(timestamp_ms, timestamp_ms));
                        known.in_order = (shard.row(row).samples, timestamp_ms);
                    } else {
                        shard.insert_out_of_order(row, timestamp_ms, value, shared);
                        shard.log_out_of_order(series_ref, timestamp_ms, value);
                        known.next_chunk =
                            shared.counters.next_out_of_order_chunk.load(std::sync::atomic::Ordering::Acquire);
                    }
                    known.samples.insert(timestamp_ms, Held::of(value));
                    outcome.added += 1;
                    outcome.histograms += u64::from(matches!(value, ValueRef::Histogram(_)));
                    outcome.digest += value.digest(labels, timestamp_ms);
                }
                Err(reason) => {
                    let newest_ms = shard.row(row).last_ms;
                    outcome.reject_sample(reason, entry as usize, value.rejected_at(timestamp_ms), || {
                        let series = batch.series.get(entry as usize).map(|entry| describe(entry.labels));
                        let series = series.unwrap_or_default();
                        match (reason, held) {
                            // In the words of Prometheus.
                            (RejectReason::DuplicateTimestamp, Some(known)) => {
                                let text =
                                    |value: Option<f64>| value.map_or("is a histogram".into(), |it| it.to_string());
                                let (known, new) = (text(known.float), text(value.float()));
                                format!(
                                    "duplicate sample for timestamp {timestamp_ms}; overrides not allowed: existing \
                                     {known}, new value {new}: {series}"
                                )
                            }
                            _ => {
                                format!("sample at {timestamp_ms} ms, newest of the series at {newest_ms} ms: {series}")
                            }
                        }
                    });
                }
            }
        }
        &[]
    }
}
