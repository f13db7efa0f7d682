//! Deltas added up: points that count since the last one become points that count from the start.
//!
//! The sums are kept in memory, by series, within a bound and for some time, and a restart loses them. Then a series
//! begins at its next delta again, which queries take for what it is: a reset of a counter. (If that delta is larger than
//! all before it together, they can't see it, and miss what the series stood at.) A sum that may fall has no resets, and
//! is wrong after a restart by what it stood at.
//!
//! A delta of the newest request of its series that comes again, as it was, gives the sum that it gave before; so a request
//! that is sent twice is harmless. Any other that is not newer than the last one is refused: it can't be added without
//! changing samples that are stored. A gap between two deltas is no reset: what was counted before it goes on counting.
//!
//! A sum that begins with a delta that the store refuses, because its series has a sample of that time or a newer one, is
//! forgotten: the delta came again after a restart, and would be counted twice.
//!
//! A request changes nothing until it is decoded as a whole. Those with deltas wait for each other while they are decoded.
//!
//! Source: OpenTelemetry's "Metrics Data Model", "Sums: Delta-to-Cumulative"; the collector's
//! `processor/deltatocumulativeprocessor`, whose bounds are `max_streams` and `max_stale`. In a gap the specification
//! begins a new sum, which needs start times to be seen; the collector and we go on.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::ops::{AddAssign, Range, SubAssign};
use std::sync::{Mutex, MutexGuard, PoisonError};

use highway::{HighwayHash, HighwayHasher, Key};

use super::Refused;
use super::total::{ExplicitTotal, Total, deltas_of, fold_into_zero};
use crate::ingest::otlp::model::{Number, PointHead};
use crate::model::{FloatHistogram, Histogram, TimestampMs};
use crate::storage::{BatchOutcome, RejectReason};

/// The most deltas of a series in one request that are known when the request comes again.
const KNOWN_MAX: usize = 32;
/// How far in the future of the clock a delta may lie. One that is further away would keep out all that come after it.
const FUTURE_MS_MAX: i64 = 10 * 60 * 1000;

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaLimits {
    /// Series; a histogram counts as one more for each eight of its numbers.
    pub streams: usize,
    /// How long a series may send nothing and be kept.
    pub stale_ms: i64,
}

impl Default for DeltaLimits {
    fn default() -> Self {
        DeltaLimits { streams: 1_000_000, stale_ms: 60 * 60 * 1000 }
    }
}

/// The sums of all series that send deltas.
pub struct DeltaStreams {
    limits: DeltaLimits,
    /// Senders choose labels, so the key is secret.
    hasher: HighwayHasher,
    kept: Mutex<Kept>,
}

impl std::fmt::Debug for DeltaStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaStreams").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A series, by a keyed hash of its labels.
type StreamId = [u64; 2];

/// The sums, and what they count as.
#[derive(Debug, Default)]
struct Kept {
    sums: AllSums,
    cost: Cost,
    swept_ms: TimestampMs,
    /// Requests with deltas so far.
    requests: u64,
}

/// What sums count as, in series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    /// What they stand at.
    sums: usize,
    /// What they stood at before, within the newest request of each. Bounded like the sums, and let go where it is too much.
    earlier: usize,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.sums += other.sums;
        self.earlier += other.earlier;
    }
}

impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        self.sums -= other.sums;
        self.earlier -= other.earlier;
    }
}

/// The sums of all kinds.
#[derive(Debug, Default)]
struct AllSums {
    numbers: Sums<Number>,
    explicit: Sums<ExplicitTotal>,
    native: Sums<FloatHistogram>,
}

/// The sums of one kind.
#[derive(Debug)]
struct Sums<T> {
    by_id: HashMap<StreamId, Stream<T>>,
    /// What the request under way has changed, as it was before.
    undo: Vec<(StreamId, Option<Stream<T>>)>,
    /// The series of the request under way of which nothing is stored yet, with the number of the newest point of each.
    unstored: HashMap<StreamId, usize>,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Sums { by_id: HashMap::new(), undo: Vec::new(), unstored: HashMap::new() }
    }
}

/// The sum of one series.
#[derive(Debug, Clone)]
struct Stream<T> {
    newest: Added<T>,
    /// Those before it in the same request.
    earlier: Vec<Added<T>>,
    /// The number of that request.
    request: u64,
    /// When it came.
    seen_ms: TimestampMs,
    /// Whether the store took a sample of the series since the sum began.
    is_stored: bool,
}

/// A delta that was added.
#[derive(Debug, Clone)]
struct Added<T> {
    ended_nanos: u64,
    /// A hash of it.
    digest: u64,
    /// When the sum began.
    began_nanos: u64,
    /// What the sum stood at then.
    total: T,
}

impl<T: Total> Stream<T> {
    fn cost(&self) -> Cost {
        let earlier = self.earlier.iter().map(|added| added.total.cost()).sum();
        Cost { sums: self.newest.total.cost(), earlier }
    }

    /// The same delta, if it is known.
    fn find(&self, ended_nanos: u64, digest: u64) -> Option<&Added<T>> {
        let mut known = std::iter::once(&self.newest).chain(&self.earlier);
        known.find(|added| added.ended_nanos == ended_nanos && added.digest == digest)
    }
}

/// The series of a request of which nothing was stored before it, and the entries of the newest point of each in the batch.
#[derive(Debug, Default)]
pub struct BegunStreams {
    request: u64,
    numbers: Vec<(StreamId, Range<u32>)>,
    explicit: Vec<(StreamId, Range<u32>)>,
    native: Vec<(StreamId, Range<u32>)>,
}

/// Why the store refuses what it has another or a newer sample for.
const CONFLICTS: [RejectReason; 5] = [
    RejectReason::OutOfOrder,
    RejectReason::DuplicateTimestamp,
    RejectReason::OutOfBounds,
    RejectReason::TooOld,
    RejectReason::Deleted,
];

impl Default for DeltaStreams {
    fn default() -> Self {
        DeltaStreams::new(DeltaLimits::default())
    }
}

impl DeltaStreams {
    /// No series yet.
    pub fn new(limits: DeltaLimits) -> Self {
        // The standard library's hasher is keyed by the system's random source.
        let random = RandomState::new();
        let key = [0u64, 1, 2, 3].map(|part| random.hash_one(part));
        DeltaStreams { limits, hasher: HighwayHasher::new(Key(key)), kept: Mutex::default() }
    }

    /// How many series are kept.
    pub fn len(&self) -> usize {
        let AllSums { numbers, explicit, native } = &self.lock().sums;
        numbers.by_id.len() + explicit.by_id.len() + native.by_id.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What a request that panicked had changed was undone when its changes were dropped.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the sums that began with a request, and of which the store took nothing because of what it has.
    pub fn settle(&self, begun: BegunStreams, outcome: &BatchOutcome) {
        let BegunStreams { request, numbers, explicit, native } = begun;
        if numbers.is_empty() && explicit.is_empty() && native.is_empty() {
            return;
        }
        let conflicts = CONFLICTS.iter().any(|reason| outcome.rejected[*reason as usize] > 0);
        let refused: HashSet<u32> = outcome.entries_refused.iter().copied().filter(|_| conflicts).collect();
        let Kept { sums, cost, .. } = &mut *self.lock();
        sums.numbers.settle(request, numbers, &refused, cost);
        sums.explicit.settle(request, explicit, &refused, cost);
        sums.native.settle(request, native, &refused, cost);
    }

    /// Begins a request that arrived at this time. Other requests with deltas wait until it has ended.
    pub(super) fn begin(&self, now_ms: TimestampMs) -> DeltaChanges<'_> {
        let mut kept = self.lock();
        if now_ms.saturating_sub(kept.swept_ms) >= self.limits.stale_ms / 2 {
            let Kept { sums: AllSums { numbers, explicit, native }, cost, swept_ms, .. } = &mut *kept;
            *swept_ms = now_ms;
            let oldest_ms = now_ms.saturating_sub(self.limits.stale_ms);
            *cost = Cost::default();
            numbers.sweep(oldest_ms, cost);
            explicit.sweep(oldest_ms, cost);
            native.sweep(oldest_ms, cost);
        }
        kept.requests += 1;
        DeltaChanges { streams: self, kept, now_ms, began_nanos: 0, point: 0 }
    }
}

impl<T: Total> Sums<T> {
    /// Forgets what was last seen before this time. Counts what is left.
    fn sweep(&mut self, oldest_ms: TimestampMs, cost: &mut Cost) {
        self.by_id.retain(|_, stream| stream.seen_ms >= oldest_ms);
        self.by_id.values().for_each(|stream| *cost += stream.cost());
    }

    /// Takes back what a request changed.
    fn roll_back(&mut self, cost: &mut Cost) {
        self.unstored.clear();
        for (id, before) in self.undo.drain(..).rev() {
            *cost += before.as_ref().map(Stream::cost).unwrap_or_default();
            let after = match before {
                Some(stream) => self.by_id.insert(id, stream),
                None => self.by_id.remove(&id),
            };
            *cost -= after.as_ref().map(Stream::cost).unwrap_or_default();
        }
    }

    /// Keeps what a request changed. Gives its series of which nothing is stored yet; `points` are the entries of each point.
    fn keep(&mut self, points: &[Range<u32>]) -> Vec<(StreamId, Range<u32>)> {
        self.undo.clear();
        self.unstored.drain().filter_map(|(id, point)| Some((id, points.get(point)?.clone()))).collect()
    }

    /// Forgets the series of which an entry was refused; the others are stored now.
    fn settle(&mut self, request: u64, begun: Vec<(StreamId, Range<u32>)>, refused: &HashSet<u32>, cost: &mut Cost) {
        for (id, mut entries) in begun {
            let Entry::Occupied(mut stream) = self.by_id.entry(id) else { continue };
            if !entries.any(|entry| refused.contains(&entry)) {
                stream.get_mut().is_stored = true;
            } else if !stream.get().is_stored && stream.get().request <= request {
                *cost -= stream.remove().cost();
            }
        }
    }

    /// Adds a delta to its series. Gives what that stands at.
    fn add(&mut self, to: &mut Addition<'_>, id: StreamId, head: &PointHead<'_>, delta: T) -> Result<T, Refused> {
        let mut hasher = DefaultHasher::new();
        head.start_unix_nanos.hash(&mut hasher);
        delta.hash(&mut hasher);
        let digest = hasher.finish();
        let before = self.by_id.get(&id);
        if before.is_none_or(|stream| !stream.is_stored) {
            self.unstored.insert(id, to.point);
        }
        let mut newest =
            Added { ended_nanos: head.unix_nanos, digest, began_nanos: head.start_unix_nanos, total: delta };
        let (mut earlier, mut is_stored) = (Vec::new(), false);
        if let Some(before) = before {
            *to.began_nanos = before.newest.began_nanos;
            if let Some(known) = before.find(head.unix_nanos, digest) {
                *to.began_nanos = known.began_nanos;
                return Ok(known.total.clone());
            }
            let last = &before.newest;
            let ms = |nanos: u64| nanos / 1_000_000;
            if head.unix_nanos <= last.ended_nanos || head.start_unix_nanos < last.began_nanos {
                let why = format!(
                    "delta of {} to {} ms comes after one that ended at {} ms",
                    ms(head.start_unix_nanos),
                    ms(head.unix_nanos),
                    ms(last.ended_nanos)
                );
                return Err((RejectReason::OutOfOrder, why));
            }
            let mut total = last.total.clone();
            if total.add(&newest.total)? {
                newest.total = total;
                newest.began_nanos = last.began_nanos;
            }
            is_stored = before.is_stored;
            if before.request == to.request && before.earlier.len() < KNOWN_MAX {
                earlier = before.earlier.clone();
                earlier.push(last.clone());
            }
        }
        let total = newest.total.clone();
        let began_nanos = newest.began_nanos;
        let mut stream = Stream { newest, earlier, request: to.request, seen_ms: to.now_ms, is_stored };
        let mut cost = *to.cost;
        cost -= before.map(Stream::cost).unwrap_or_default();
        cost += stream.cost();
        if cost.earlier > to.streams_max {
            cost.earlier -= stream.cost().earlier;
            stream.earlier.clear();
        }
        if cost.sums > to.streams_max.max(to.cost.sums) {
            let why = format!("otlp.delta_max_streams = {} series with deltas are being added up", to.streams_max);
            return Err((RejectReason::SeriesLimit, why));
        }
        *to.cost = cost;
        *to.began_nanos = began_nanos;
        self.undo.push((id, self.by_id.insert(id, stream)));
        Ok(total)
    }
}

/// What an addition depends on beside its series.
struct Addition<'k> {
    cost: &'k mut Cost,
    began_nanos: &'k mut u64,
    streams_max: usize,
    now_ms: TimestampMs,
    request: u64,
    point: usize,
}

/// What a request does to the sums; undone where it is not kept.
pub(super) struct DeltaChanges<'s> {
    streams: &'s DeltaStreams,
    kept: MutexGuard<'s, Kept>,
    now_ms: TimestampMs,
    /// When the sum began that was last added to.
    began_nanos: u64,
    /// The number of the point that is added, among those of the batch.
    point: usize,
}

impl Drop for DeltaChanges<'_> {
    fn drop(&mut self) {
        let Kept { sums: AllSums { numbers, explicit, native }, cost, .. } = &mut *self.kept;
        numbers.roll_back(cost);
        explicit.roll_back(cost);
        native.roll_back(cost);
    }
}

impl DeltaChanges<'_> {
    /// Keeps what the request did. `points` are the entries of each point in the batch.
    pub(super) fn keep(mut self, points: &[Range<u32>]) -> BegunStreams {
        let Kept { sums: AllSums { numbers, explicit, native }, requests, .. } = &mut *self.kept;
        BegunStreams {
            request: *requests,
            numbers: numbers.keep(points),
            explicit: explicit.keep(points),
            native: native.keep(points),
        }
    }

    /// Says which of the batch's points is added next.
    pub(super) fn at_point(&mut self, point: usize) {
        self.point = point;
    }

    /// The series with this name and these labels.
    pub(super) fn id(&self, name: &str, labels: &[u8]) -> StreamId {
        let mut hasher = self.streams.hasher.clone();
        hasher.append(&(name.len() as u64).to_le_bytes());
        hasher.append(name.as_bytes());
        hasher.append(labels);
        hasher.finalize128()
    }

    /// When the sum began that was last added to.
    pub(super) fn began_nanos(&self) -> u64 {
        self.began_nanos
    }

    /// Where a delta is added, unless it is one of the far future.
    fn addition(&mut self, head: &PointHead<'_>) -> Result<(&mut AllSums, Addition<'_>), Refused> {
        let DeltaChanges { streams, kept, now_ms, began_nanos, point } = self;
        let ahead_ms = (head.unix_nanos / 1_000_000) as i64 - *now_ms;
        if ahead_ms > FUTURE_MS_MAX {
            return Err((RejectReason::TooFarInFuture, format!("delta lies {ahead_ms} ms in the future")));
        }
        let Kept { sums, cost, requests, .. } = &mut **kept;
        let streams_max = streams.limits.streams;
        Ok((sums, Addition { cost, began_nanos, streams_max, now_ms: *now_ms, request: *requests, point: *point }))
    }

    /// What a sum stands at with this delta.
    pub(super) fn number(&mut self, id: StreamId, head: &PointHead<'_>, delta: Number) -> Result<Number, Refused> {
        let (sums, mut to) = self.addition(head)?;
        sums.numbers.add(&mut to, id, head, delta)
    }

    /// What a histogram stands at with this delta. Other boundaries begin it anew.
    pub(super) fn explicit(
        &mut self,
        id: StreamId,
        head: &PointHead<'_>,
        delta: ExplicitTotal,
    ) -> Result<ExplicitTotal, Refused> {
        let (sums, mut to) = self.addition(head)?;
        sums.explicit.add(&mut to, id, head, delta)
    }

    /// What an exponential histogram stands at with this delta, as coarse as the coarsest so far.
    pub(super) fn native(
        &mut self,
        id: StreamId,
        head: &PointHead<'_>,
        delta: &Histogram,
    ) -> Result<Histogram, Refused> {
        let (sums, mut to) = self.addition(head)?;
        let mut delta = delta.to_float();
        fold_into_zero(&mut delta);
        let total = sums.native.add(&mut to, id, head, delta)?;
        Ok(Histogram {
            schema: total.schema,
            counter_reset_hint: total.counter_reset_hint,
            zero_threshold: total.zero_threshold,
            zero_count: total.zero_count as u64,
            count: total.count as u64,
            sum: total.sum,
            positive_spans: total.positive_spans,
            positive_deltas: deltas_of(&total.positive_buckets),
            negative_spans: total.negative_spans,
            negative_deltas: deltas_of(&total.negative_buckets),
            custom_values: Vec::new(),
        })
    }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
