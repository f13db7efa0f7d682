//! Deltas added up: points that count since the last one become points that count from the start.
//!
//! The sums are kept in memory, by series, within a bound and for some time, and a restart loses them. Then a series
//! begins at its next delta again, which queries take for what it is: a reset of a counter. (If that delta is larger than
//! all before it together, they can't see it, and miss what the series stood at.) A sum that may fall has no resets, and
//! is wrong after a restart by what it stood at.
//!
//! A delta that comes again, as it was, gives the sum that it gave before; so a request that is sent twice is harmless. Any
//! other that is not newer than the last one is refused: it can't be added without changing samples that are stored. A gap
//! between two deltas is no reset: what was counted before it goes on counting.
//!
//! A request changes nothing until it is decoded as a whole. Those with deltas wait for each other while they are decoded.
//!
//! Source: OpenTelemetry's "Metrics Data Model", "Sums: Delta-to-Cumulative"; the collector's
//! `processor/deltatocumulativeprocessor`, whose bounds are `max_streams` and `max_stale`. In a gap the specification
//! begins a new sum, which needs start times to be seen; the collector and we go on.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use highway::{HighwayHash, HighwayHasher, Key};

use super::Refused;
use super::total::{ExplicitTotal, Total, deltas_of, fold_into_zero};
use crate::ingest::otlp::model::{Number, PointHead};
use crate::model::{FloatHistogram, Histogram, TimestampMs};
use crate::storage::RejectReason;

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

/// The sums by kind, and what they count as.
#[derive(Debug, Default)]
struct Kept {
    numbers: Sums<Number>,
    explicit: Sums<ExplicitTotal>,
    native: Sums<FloatHistogram>,
    cost: usize,
    swept_ms: TimestampMs,
}

/// The sums of one kind.
#[derive(Debug)]
struct Sums<T> {
    by_id: HashMap<StreamId, Stream<T>>,
    /// What the request under way has changed, as it was before.
    undo: Vec<(StreamId, Option<Stream<T>>)>,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Sums { by_id: HashMap::new(), undo: Vec::new() }
    }
}

/// The sum of one series.
#[derive(Debug, Clone)]
struct Stream<T> {
    first_start_nanos: u64,
    last_nanos: u64,
    /// A hash of the last delta.
    last_delta: u64,
    /// When it came.
    seen_ms: TimestampMs,
    total: T,
}

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
        let Kept { numbers, explicit, native, .. } = &*self.lock();
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

    /// Begins a request that arrived at this time. Other requests with deltas wait until it has ended.
    pub(super) fn begin(&self, now_ms: TimestampMs) -> DeltaChanges<'_> {
        let mut kept = self.lock();
        if now_ms.saturating_sub(kept.swept_ms) >= self.limits.stale_ms / 2 {
            let Kept { numbers, explicit, native, cost, swept_ms } = &mut *kept;
            *swept_ms = now_ms;
            let oldest_ms = now_ms.saturating_sub(self.limits.stale_ms);
            *cost = numbers.sweep(oldest_ms) + explicit.sweep(oldest_ms) + native.sweep(oldest_ms);
        }
        DeltaChanges { streams: self, kept, now_ms, began_nanos: 0 }
    }
}

impl<T: Total> Sums<T> {
    /// Forgets what was last seen before this time. Gives what is left counts as.
    fn sweep(&mut self, oldest_ms: TimestampMs) -> usize {
        self.by_id.retain(|_, stream| stream.seen_ms >= oldest_ms);
        self.by_id.values().map(|stream| stream.total.cost()).sum()
    }

    /// Takes back what a request changed.
    fn roll_back(&mut self, cost: &mut usize) {
        for (id, before) in self.undo.drain(..).rev() {
            *cost += before.as_ref().map_or(0, |stream| stream.total.cost());
            let after = match before {
                Some(stream) => self.by_id.insert(id, stream),
                None => self.by_id.remove(&id),
            };
            *cost -= after.map_or(0, |stream| stream.total.cost());
        }
    }

    /// Adds a delta to its series. Gives what that stands at.
    fn add(&mut self, to: &mut Addition<'_>, id: StreamId, head: &PointHead<'_>, delta: T) -> Result<T, Refused> {
        let mut hasher = DefaultHasher::new();
        head.start_unix_nanos.hash(&mut hasher);
        delta.hash(&mut hasher);
        let digest = hasher.finish();
        let before = self.by_id.get(&id);
        let mut stream = Stream {
            first_start_nanos: head.start_unix_nanos,
            last_nanos: head.unix_nanos,
            last_delta: digest,
            seen_ms: to.now_ms,
            total: delta,
        };
        if let Some(before) = before {
            *to.began_nanos = before.first_start_nanos;
            if before.last_nanos == head.unix_nanos && before.last_delta == digest {
                return Ok(before.total.clone());
            }
            let ms = |nanos: u64| nanos / 1_000_000;
            if head.unix_nanos <= before.last_nanos || head.start_unix_nanos < before.first_start_nanos {
                let why = format!(
                    "delta of {} to {} ms comes after one that ended at {} ms",
                    ms(head.start_unix_nanos),
                    ms(head.unix_nanos),
                    ms(before.last_nanos)
                );
                return Err((RejectReason::OutOfOrder, why));
            }
            let mut total = before.total.clone();
            if total.add(&stream.total)? {
                stream.total = total;
                stream.first_start_nanos = before.first_start_nanos;
            }
        }
        let (cost, cost_before) = (stream.total.cost(), before.map_or(0, |before| before.total.cost()));
        if cost > cost_before && *to.cost + cost - cost_before > to.streams_max {
            let why = format!("otlp.delta_max_streams = {} series with deltas are being added up", to.streams_max);
            return Err((RejectReason::SeriesLimit, why));
        }
        *to.cost = *to.cost + cost - cost_before;
        let total = stream.total.clone();
        *to.began_nanos = stream.first_start_nanos;
        self.undo.push((id, self.by_id.insert(id, stream)));
        Ok(total)
    }
}

/// What an addition depends on beside its series.
struct Addition<'k> {
    cost: &'k mut usize,
    began_nanos: &'k mut u64,
    streams_max: usize,
    now_ms: TimestampMs,
}

/// What a request does to the sums; undone where it is not kept.
pub(super) struct DeltaChanges<'s> {
    streams: &'s DeltaStreams,
    kept: MutexGuard<'s, Kept>,
    now_ms: TimestampMs,
    /// When the sum began that was last added to.
    began_nanos: u64,
}

impl Drop for DeltaChanges<'_> {
    fn drop(&mut self) {
        let Kept { numbers, explicit, native, cost, .. } = &mut *self.kept;
        numbers.roll_back(cost);
        explicit.roll_back(cost);
        native.roll_back(cost);
    }
}

impl DeltaChanges<'_> {
    /// Keeps what the request did.
    pub(super) fn keep(mut self) {
        let Kept { numbers, explicit, native, .. } = &mut *self.kept;
        numbers.undo.clear();
        explicit.undo.clear();
        native.undo.clear();
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

    /// Refuses a delta of the far future.
    fn check_time(&self, head: &PointHead<'_>) -> Result<(), Refused> {
        let ahead_ms = (head.unix_nanos / 1_000_000) as i64 - self.now_ms;
        if ahead_ms > FUTURE_MS_MAX {
            return Err((RejectReason::TooFarInFuture, format!("delta lies {ahead_ms} ms in the future")));
        }
        Ok(())
    }

    /// What a sum stands at with this delta.
    pub(super) fn number(&mut self, id: StreamId, head: &PointHead<'_>, delta: Number) -> Result<Number, Refused> {
        self.check_time(head)?;
        let DeltaChanges { streams, kept, now_ms, began_nanos } = self;
        let Kept { numbers, cost, .. } = &mut **kept;
        let mut to = Addition { cost, began_nanos, streams_max: streams.limits.streams, now_ms: *now_ms };
        numbers.add(&mut to, id, head, delta)
    }

    /// What a histogram stands at with this delta. Other boundaries begin it anew.
    pub(super) fn explicit(
        &mut self,
        id: StreamId,
        head: &PointHead<'_>,
        delta: ExplicitTotal,
    ) -> Result<ExplicitTotal, Refused> {
        self.check_time(head)?;
        let DeltaChanges { streams, kept, now_ms, began_nanos } = self;
        let Kept { explicit, cost, .. } = &mut **kept;
        let mut to = Addition { cost, began_nanos, streams_max: streams.limits.streams, now_ms: *now_ms };
        explicit.add(&mut to, id, head, delta)
    }

    /// What an exponential histogram stands at with this delta, as coarse as the coarsest so far.
    pub(super) fn native(
        &mut self,
        id: StreamId,
        head: &PointHead<'_>,
        delta: &Histogram,
    ) -> Result<Histogram, Refused> {
        self.check_time(head)?;
        let DeltaChanges { streams, kept, now_ms, began_nanos } = self;
        let Kept { native, cost, .. } = &mut **kept;
        let mut to = Addition { cost, began_nanos, streams_max: streams.limits.streams, now_ms: *now_ms };
        let mut delta = delta.to_float();
        fold_into_zero(&mut delta);
        let total = native.add(&mut to, id, head, delta)?;
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
