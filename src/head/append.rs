//! Writing: a request's samples are accepted or refused, stored, and encoded for the log.
//!
//! In three passes, so that each shard is locked a fixed number of times for a request of any size, and so that the
//! memory of a shard's rows is fetched side by side rather than one row at a time:
//!
//! 1. every entry's label bytes are hashed, the entries are sorted by shard, and the rows of known series are found;
//! 2. entries that were not found are decoded, validated, looked up by their canonical bytes, and created if new;
//! 3. the samples are judged and appended, shard by shard, in the order of the request.
//!
//! A sample is judged as Prometheus does (`tsdb/head_append.go`): newer than the newest of its series is accepted; equal
//! to it in time and bits is accepted and adds nothing; equal in time only is refused. A series that is not there yet is
//! not begun further back than half a chunk range before the newest sample of the head, and nothing is in order below
//! the floor, up to which blocks have the head's samples. What is older waits until the shard is done with the rest, and
//! is looked at in `older.rs`.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::older::OlderSample;
use super::out_of_order::oldest_taken_ms;
use super::series::{Series, SeriesHash, Verdict};
use super::shard::{SHARDS, Shard, shard_of, split_slot};
use super::value::ValueRef;
use super::{Head, Shared};
use crate::fs::resident_bytes;
use crate::index::{PairId, Slot};
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, LabelSet, RawLabels, TimeRange, TimestampMs};
use crate::storage::{BatchOutcome, RejectReason, RejectedSample, StartSample, WriteBatch, WriterNumber};

/// Marks an entry without a row: refused, or without samples.
pub(super) const NO_SLOT: Slot = Slot::MAX;

/// A bound on times, fixed for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeBounds {
    /// Oldest time with which a new series may begin; not below the floor.
    pub(super) new_series_min_ms: i64,
    /// Oldest time of an in-order sample.
    pub(super) floor_ms: i64,
    /// Oldest time of an out-of-order sample; `None` where none is taken.
    pub(super) out_of_order_min_ms: Option<i64>,
    pub(super) max_ms: i64,
}

impl TimeBounds {
    /// Whether a sample is too old for the in-order samples of a series, although it is newer than all of them.
    #[inline]
    pub(super) fn is_early(&self, series: &Series, timestamp_ms: i64) -> bool {
        // One comparison for nearly all samples: the floor is never above the other bound.
        timestamp_ms < self.new_series_min_ms && (series.samples == 0 || timestamp_ms < self.floor_ms)
    }
}

/// A series that is to be created.
struct NewSeries {
    entry: usize,
    hash: SeriesHash,
    labels: LabelSet,
    digest: Digest,
}

/// The entries of a batch by shard: a permutation of their indices, and where each shard's begin.
struct ByShard {
    entries: Vec<u32>,
    starts: [usize; SHARDS + 1],
}

impl ByShard {
    /// Sorts `0..count`, stably, by what `shard` says; entries for which it says `None` are left out.
    fn new(count: usize, shard: impl Fn(usize) -> Option<usize>) -> Self {
        let mut starts = [0usize; SHARDS + 1];
        for number in (0..count).filter_map(&shard) {
            starts[number + 1] += 1;
        }
        for number in 0..SHARDS {
            starts[number + 1] += starts[number];
        }
        let mut next = starts;
        let mut entries = vec![0; starts[SHARDS]];
        for entry in 0..count {
            if let Some(number) = shard(entry) {
                entries[next[number]] = entry as u32;
                next[number] += 1;
            }
        }
        ByShard { entries, starts }
    }

    /// The entries of one shard, in the order of the request.
    fn of(&self, shard: usize) -> &[u32] {
        &self.entries[self.starts[shard]..self.starts[shard + 1]]
    }
}

/// The times of an entry's samples, in their order.
fn times_of<'a>(batch: &'a WriteBatch<'_>, entry: usize) -> impl Iterator<Item = TimestampMs> + 'a {
    let floats = batch.samples_of(entry).iter().map(|sample| sample.timestamp_ms);
    floats.chain(batch.histograms_of(entry).iter().map(|sample| sample.timestamp_ms))
}

/// The labels for a message; they were valid, or are shown as far as they can be.
pub(super) fn describe(labels: RawLabels<'_>) -> String {
    labels.to_label_set().map_or_else(|error| format!("{error}: {labels}"), |set| set.to_string())
}

impl Head {
    /// Accepts or refuses each sample of a batch. `now_ms` is the wall clock.
    ///
    /// The caller has been admitted to the current group of the log ([`crate::wal::commit`]); what was added is durable
    /// once that group is.
    pub fn append(&self, batch: &WriteBatch<'_>, now_ms: i64) -> BatchOutcome {
        let shared = &*self.shared;
        let mut outcome = BatchOutcome::default();
        let newest_ms = shared.in_order_range().map(|range| range.end_ms);
        let floor_ms = self.floor_ms();
        let bounds = TimeBounds {
            new_series_min_ms: newest_ms
                .map_or(i64::MIN, |newest_ms| newest_ms.saturating_sub(shared.options.chunk_range_ms / 2))
                .max(floor_ms),
            floor_ms,
            // All in-order samples may be in blocks: then the newest was just below the floor.
            out_of_order_min_ms: oldest_taken_ms(
                shared.options.out_of_order_window_ms,
                newest_ms.or((floor_ms > i64::MIN).then(|| floor_ms.saturating_sub(1))),
            ),
            max_ms: now_ms.saturating_add(shared.options.future_ms_max),
        };
        let hashes: Vec<SeriesHash> = batch.series.iter().map(|entry| shared.identity.hash(entry.labels.0)).collect();
        let mut slots = vec![NO_SLOT; batch.series.len()];
        let by_hash = ByShard::new(hashes.len(), |entry| Some(shard_of(hashes[entry])));
        let mut misses = Vec::new();
        for number in 0..SHARDS {
            let entries = by_hash.of(number);
            if entries.is_empty() {
                continue;
            }
            let shard = shared.shard(number);
            for &entry in entries {
                match shard.find(hashes[entry as usize]) {
                    Some(row) => slots[entry as usize] = shard.slot(row),
                    None => misses.push(entry as usize),
                }
            }
        }
        let by_slot = if misses.is_empty() {
            by_hash
        } else {
            misses.sort_unstable();
            self.resolve(batch, &misses, &hashes, bounds, &mut slots, &mut outcome);
            ByShard::new(slots.len(), |entry| (slots[entry] != NO_SLOT).then(|| split_slot(slots[entry]).0))
        };
        for number in 0..SHARDS {
            let entries = by_slot.of(number);
            if !entries.is_empty() {
                self.append_to_shard(number, entries, &slots, batch, bounds, &mut outcome);
            }
        }
        if !batch.exemplars.is_empty() {
            self.append_exemplars(batch, &slots, bounds.max_ms, &mut outcome);
        }
        shared.counters.samples.fetch_add(outcome.added, Ordering::Relaxed);
        if outcome.series_created > 0 {
            shared.churn.add(now_ms, outcome.series_created);
        }
        outcome
    }

    /// The third pass, for one shard.
    fn append_to_shard(
        &self,
        number: usize,
        entries: &[u32],
        slots: &[Slot],
        batch: &WriteBatch<'_>,
        bounds: TimeBounds,
        outcome: &mut BatchOutcome,
    ) {
        let shard = self.shared.shard(number);
        let touched =
            entries.iter().fold(0, |all, &entry| all ^ shard.row(split_slot(slots[entry as usize]).1).touch());
        std::hint::black_box(touched);
        let chunk_range_ms = self.shared.options.chunk_range_ms;
        let mut appending = Appending { shard, batch, bounds, chunk_range_ms, range: None, older: Vec::new(), outcome };
        for &entry in entries {
            let (_, row) = split_slot(slots[entry as usize]);
            let starts = batch.starts_of(entry as usize);
            for sample in batch.samples_of(entry as usize) {
                appending.append_starts(row, starts, sample.timestamp_ms);
                let newest = || appending.shard.row(row).newest_kind();
                let value = ValueRef::float_behind(newest, sample.value);
                appending.append(row, entry, sample.timestamp_ms, value);
            }
            for sample in batch.histograms_of(entry as usize) {
                appending.append_starts(row, starts, sample.timestamp_ms);
                appending.append(row, entry, sample.timestamp_ms, ValueRef::of(&sample.value));
            }
        }
        let Appending { shard, range, older, outcome, .. } = appending;
        drop(shard);
        if let Some(range) = range {
            self.shared.widen(range);
        }
        if !older.is_empty() {
            self.append_older(number, older, batch, bounds, outcome);
        }
    }

    /// The second pass: finds or creates the series of entries whose bytes are not known.
    fn resolve(
        &self,
        batch: &WriteBatch<'_>,
        misses: &[usize],
        hashes: &[SeriesHash],
        bounds: TimeBounds,
        slots: &mut [Slot],
        outcome: &mut BatchOutcome,
    ) {
        let shared = &*self.shared;
        let mut new = Vec::new();
        let mut canonical = Vec::new();
        // Asked once for a batch, and only if it has a new series.
        let mut memory_held = None;
        for &entry in misses {
            let series_entry = &batch.series[entry];
            let samples = times_of(batch, entry).count() as u64;
            if samples == 0 {
                continue;
            }
            let labels = match self.check_labels(series_entry.labels) {
                Ok(labels) => labels,
                Err((reason, detail)) => {
                    outcome.reject(reason, entry, samples, || detail);
                    continue;
                }
            };
            canonical.clear();
            encode_canonical(labels.iter(), &mut canonical);
            let mut hash = hashes[entry];
            if canonical != series_entry.labels.0 {
                hash = shared.identity.hash(&canonical);
                let shard = shared.shard(shard_of(hash));
                if let Some(row) = shard.find(hash) {
                    slots[entry] = shard.slot(row);
                    continue;
                }
            }
            if reject_outside(batch, bounds, entry, &labels, outcome) {
                continue;
            }
            if let Some(held) = *memory_held.get_or_insert_with(|| shared.memory_past_bound()) {
                outcome.reject(RejectReason::SeriesLimit, entry, samples, || {
                    let bound = shared.options.memory_bytes_max;
                    format!("{held} bytes of memory are in use, past {bound} no new series are taken: {labels}")
                });
                continue;
            }
            if !shared.reserve_series() {
                outcome.reject(RejectReason::SeriesLimit, entry, samples, || {
                    format!("the head holds {} series, no new ones are taken: {labels}", shared.options.series_max)
                });
                continue;
            }
            new.push(NewSeries { entry, hash, labels, digest: Digest::of_canonical_labels(&canonical) });
        }
        if !new.is_empty() {
            outcome.series_created += self.create(batch.writer, &new, slots);
        }
    }

    /// The label set, if it is valid and within the limits.
    fn check_labels(&self, labels: RawLabels<'_>) -> Result<LabelSet, (RejectReason, String)> {
        let options = &self.shared.options;
        // Counted before they are decoded: a message may have millions of labels that take two bytes each.
        let sent = labels.iter().count();
        if sent > options.labels_max {
            let detail = format!("{sent} labels, at most {} are allowed: {labels}", options.labels_max);
            return Err((RejectReason::LabelLimit, detail));
        }
        let invalid = |error| (RejectReason::InvalidLabels, format!("{error}: {labels}"));
        let labels = labels.to_label_set().map_err(invalid)?;
        for label in labels.iter() {
            for (part, bytes, bytes_max) in [
                ("name", label.name.len(), options.label_name_bytes_max),
                ("value", label.value.len(), options.label_value_bytes_max),
            ] {
                if bytes > bytes_max {
                    let name: String = label.name.chars().take(100).collect();
                    let detail = format!("label {name:?}: {part} of {bytes} bytes, at most {bytes_max} are allowed");
                    return Err((RejectReason::LabelLimit, detail));
                }
            }
        }
        Ok(labels)
    }

    /// Creates series whose places were reserved, unless another request, or an earlier entry, was first.
    fn create(&self, creator: WriterNumber, new: &[NewSeries], slots: &mut [Slot]) -> u64 {
        let shared = &*self.shared;
        let rows: Vec<Box<[PairId]>> = {
            let mut index = shared.index_mut();
            new.iter().map(|new| new.labels.iter().map(|label| index.intern_pair(label)).collect()).collect()
        };
        let mut created = Vec::with_capacity(new.len());
        let mut superseded = Vec::new();
        for (new, pairs) in new.iter().zip(rows) {
            let mut shard = shared.shard(shard_of(new.hash));
            let row = match shard.find(new.hash) {
                Some(row) => {
                    shared.counters.series.fetch_sub(1, Ordering::Relaxed);
                    superseded.push(pairs);
                    row
                }
                None => {
                    let series_ref = shared.counters.next_ref.fetch_add(1, Ordering::Relaxed);
                    shard.log_series(series_ref, new.labels.iter());
                    let series = Series::new(new.hash, new.digest, series_ref, pairs.clone());
                    let row = shard.insert(series, creator);
                    created.push((shard.slot(row), pairs));
                    row
                }
            };
            slots[new.entry] = shard.slot(row);
        }
        let mut index = shared.index_mut();
        for (slot, pairs) in &created {
            index.add_series(*slot, pairs);
        }
        for pairs in &superseded {
            index.release_pairs(pairs);
        }
        created.len() as u64
    }
}

/// The third pass under way: one shard is locked.
struct Appending<'a, 'l, 'o> {
    shard: MutexGuard<'a, Shard>,
    batch: &'a WriteBatch<'l>,
    bounds: TimeBounds,
    chunk_range_ms: i64,
    /// From the oldest to the newest sample that was added.
    range: Option<TimeRange>,
    older: Vec<OlderSample<'a>>,
    outcome: &'o mut BatchOutcome,
}

impl<'a> Appending<'a, '_, '_> {
    /// Adds a sample, refuses it, or puts it off.
    #[inline]
    fn append(&mut self, row: u32, entry: u32, timestamp_ms: TimestampMs, value: ValueRef<'a>) {
        let Appending { shard, bounds, outcome, .. } = self;
        let series = shard.row(row);
        let reason = match series.judge(timestamp_ms, value.bits()) {
            Verdict::Newer if bounds.is_early(series, timestamp_ms) => {
                self.older.push(OlderSample { row, entry, timestamp_ms, value, is_early: true });
                return;
            }
            Verdict::Newer if timestamp_ms <= bounds.max_ms => {
                outcome.histograms += u64::from(matches!(value, ValueRef::Histogram(_)));
                self.add(row, timestamp_ms, value);
                return;
            }
            Verdict::Duplicate => {
                outcome.duplicates += 1;
                outcome.histograms += u64::from(matches!(value, ValueRef::Histogram(_)));
                return;
            }
            Verdict::Newer => RejectReason::TooFarInFuture,
            // Its time may be deleted, which is another reason to refuse it.
            Verdict::Older | Verdict::Conflict => {
                self.older.push(OlderSample { row, entry, timestamp_ms, value, is_early: false });
                return;
            }
        };
        let newest_ms = series.last_ms;
        let labels = self.batch.series.get(entry as usize).map(|entry| entry.labels);
        outcome.reject_sample(reason, entry as usize, value.rejected_at(timestamp_ms), || {
            let series = labels.map(describe).unwrap_or_default();
            format!("sample at {timestamp_ms} ms, newest of the series at {newest_ms} ms: {series}")
        });
    }
}

impl<'a> Appending<'a, '_, '_> {
    /// Adds a sample that is newer than all of its series.
    #[inline]
    fn add(&mut self, row: u32, timestamp_ms: TimestampMs, value: ValueRef<'a>) {
        self.outcome.added += 1;
        self.outcome.digest += value.digest(self.shard.row(row).digest, timestamp_ms);
        self.shard.accept(row, timestamp_ms, value, self.chunk_range_ms);
        let range = self.range.get_or_insert(TimeRange::new(timestamp_ms, timestamp_ms));
        range.start_ms = range.start_ms.min(timestamp_ms);
        range.end_ms = range.end_ms.max(timestamp_ms);
    }

    /// Adds the zeros of which a sample tells, where they are newer than all of the series: most often an earlier request
    /// told of them already.
    #[inline]
    fn append_starts(&mut self, row: u32, starts: &'a [StartSample], before_ms: TimestampMs) {
        for start in starts.iter().filter(|start| start.before_ms == before_ms) {
            let (series, value) = (self.shard.row(row), ValueRef::of(&start.value));
            if series.judge(start.timestamp_ms, value.bits()) == Verdict::Newer
                && !self.bounds.is_early(series, start.timestamp_ms)
                && start.timestamp_ms <= self.bounds.max_ms
            {
                self.outcome.starts += 1;
                self.add(row, start.timestamp_ms, value);
            }
        }
    }
}

impl Shared {
    /// The memory that the process holds, if that is more than new series may be taken at.
    fn memory_past_bound(&self) -> Option<u64> {
        let bound = self.options.memory_bytes_max;
        let held = if bound == 0 { 0 } else { resident_bytes().map_or(0, |(_, anonymous)| anonymous) };
        (held > bound).then_some(held)
    }

    /// Makes room for one more series, if there may be one.
    fn reserve_series(&self) -> bool {
        let before = self.counters.series.fetch_add(1, Ordering::Relaxed);
        let fits = self.options.series_max == 0 || before < self.options.series_max;
        if !fits {
            self.counters.series.fetch_sub(1, Ordering::Relaxed);
        }
        fits
    }
}

/// Refuses a new series all of whose samples are out of bounds, so that it isn't created for nothing. Says whether it did.
fn reject_outside(
    batch: &WriteBatch<'_>,
    bounds: TimeBounds,
    entry: usize,
    labels: &LabelSet,
    outcome: &mut BatchOutcome,
) -> bool {
    let min_ms = bounds.out_of_order_min_ms.map_or(bounds.new_series_min_ms, |ms| ms.min(bounds.new_series_min_ms));
    if times_of(batch, entry).any(|timestamp_ms| (min_ms..=bounds.max_ms).contains(&timestamp_ms)) {
        return false;
    }
    let floats = batch.samples_of(entry).iter().map(|sample| (sample.timestamp_ms, Some(sample.value)));
    let histograms = batch.histograms_of(entry).iter().map(|sample| (sample.timestamp_ms, None));
    for (timestamp_ms, value) in floats.chain(histograms) {
        let reason = match timestamp_ms {
            late if late > bounds.max_ms => RejectReason::TooFarInFuture,
            _ if bounds.out_of_order_min_ms.is_some() => RejectReason::TooOld,
            _ => RejectReason::OutOfBounds,
        };
        let sample = RejectedSample { timestamp_ms, value };
        outcome
            .reject_sample(reason, entry, sample, || format!("sample at {timestamp_ms} ms of a new series: {labels}"));
    }
    true
}
