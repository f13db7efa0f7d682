//! The bounds of one query: time, cancellation, samples and bytes held at a time.
//!
//! Samples are counted roughly as Prometheus counts them: those that intermediate results hold, and those of the window
//! that is being looked at; a histogram counts for as many as take its room. Bytes are counted besides, since a column takes
//! room for the steps without a value too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::QueryError;
use crate::clock::Clock;
use crate::model::{FloatHistogram, TimestampMs};
use crate::promql::value::{SeriesSteps, Steps, StepsValue};
use crate::storage::Column;

/// How much work may pass between two looks at the clock, in samples.
pub(super) const CHECK_EVERY: usize = 4096;

/// Bytes of a float sample: its time and its value.
const SAMPLE_BYTES: usize = size_of::<i64>() + size_of::<f64>();

/// Ends a query from outside.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has used yet.
    pub fn new() -> Self {
        CancelToken::default()
    }

    /// Ends the queries that run with this token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](CancelToken::cancel) was called.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a value costs while it is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) samples: u64,
    pub(super) bytes: u64,
}

impl Cost {
    /// The cost of one series' column with `steps` places.
    pub(super) fn of_column(samples: usize, steps: usize) -> Self {
        Cost { samples: samples as u64, bytes: (steps * size_of::<f64>() + size_of::<SeriesSteps>()) as u64 }
    }

    /// What histograms cost beside the place that each has in its column: a sample for each 16 bytes.
    pub(super) fn of_histograms<'h>(histograms: impl Iterator<Item = &'h FloatHistogram>) -> Self {
        histograms.fold(Cost::default(), |cost, histogram| {
            let bytes = histogram.size_bytes();
            let samples = (bytes + size_of::<i64>()) / SAMPLE_BYTES;
            cost.plus(Cost { samples: samples.saturating_sub(1) as u64, bytes: bytes as u64 })
        })
    }

    /// The bytes of decoded samples. Their number counts only as far as windows look at them.
    pub(super) fn of_decoded(column: &Column) -> Self {
        let histograms = Cost::of_histograms(column.histograms.iter().map(|(_, histogram)| histogram));
        Cost { samples: 0, bytes: (column.len() * SAMPLE_BYTES) as u64 + histograms.bytes }
    }

    /// The cost of a value.
    pub(super) fn of(value: &StepsValue) -> Self {
        match value {
            StepsValue::Scalar(values) => Cost::of_column(values.len(), values.len()),
            StepsValue::String(_) => Cost::default(),
            StepsValue::Vector(series) => Cost::of_series(series),
        }
    }

    /// The cost of several series.
    pub(super) fn of_series(series: &[SeriesSteps]) -> Self {
        series.iter().fold(Cost::default(), |cost, one| {
            let histograms = Cost::of_histograms(one.histograms.iter().map(|(_, histogram)| histogram));
            cost.plus(Cost::of_column(super::names::present_count(one), one.values.capacity())).plus(histograms)
        })
    }

    /// The more of each.
    pub(super) fn max(self, other: Cost) -> Self {
        Cost { samples: self.samples.max(other.samples), bytes: self.bytes.max(other.bytes) }
    }

    pub(super) fn times(self, count: usize) -> Self {
        Cost { samples: self.samples.saturating_mul(count as u64), bytes: self.bytes.saturating_mul(count as u64) }
    }

    pub(super) fn plus(self, other: Cost) -> Self {
        Cost { samples: self.samples.saturating_add(other.samples), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The bounds of one query, and how far it is from them. Shared by the threads that evaluate it.
pub(super) struct Limits {
    cancel: CancelToken,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    samples_max: u64,
    bytes_max: u64,
    samples: AtomicU64,
    bytes: AtomicU64,
    samples_peak: AtomicU64,
    samples_total: AtomicU64,
    /// Samples that were decoded.
    samples_read: AtomicU64,
    /// Samples that each step of the query looks at, where that is asked for.
    per_step: Option<Box<[AtomicU64]>>,
    /// How many parts with steps of their own are around what is being evaluated.
    apart: AtomicU32,
}

impl Limits {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        cancel: CancelToken,
        timeout: Duration,
        samples_max: u64,
        bytes_max: u64,
    ) -> Self {
        let deadline = clock.monotonic().saturating_add(timeout);
        Limits {
            cancel,
            clock,
            deadline,
            samples_max,
            bytes_max,
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            samples_peak: AtomicU64::new(0),
            samples_total: AtomicU64::new(0),
            samples_read: AtomicU64::new(0),
            per_step: None,
            apart: AtomicU32::new(0),
        }
    }

    /// Counts for each of the query's steps as well.
    pub(super) fn count_per_step(&mut self, steps: usize) {
        self.per_step = Some((0..steps).map(|_| AtomicU64::new(0)).collect());
    }

    /// The time now, from a start that means nothing.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Fails when the query was canceled or its time is over.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled);
        }
        if self.clock.monotonic() >= self.deadline {
            return Err(QueryError::Timeout);
        }
        Ok(())
    }

    /// What is held now.
    pub(super) fn held(&self) -> Cost {
        Cost { samples: self.samples.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Counts something that is held from now on.
    pub(super) fn hold(&self, cost: Cost) -> Result<(), QueryError> {
        let samples = self.samples.fetch_add(cost.samples, Ordering::Relaxed).saturating_add(cost.samples);
        let bytes = self.bytes.fetch_add(cost.bytes, Ordering::Relaxed).saturating_add(cost.bytes);
        self.samples_peak.fetch_max(samples, Ordering::Relaxed);
        self.judge(Cost { samples, bytes })
    }

    /// Counts something that was held until now.
    pub(super) fn release(&self, cost: Cost) {
        self.samples.fetch_sub(cost.samples, Ordering::Relaxed);
        self.bytes.fetch_sub(cost.bytes, Ordering::Relaxed);
    }

    /// Sets what is held, when a node of the tree is done and only its result remains.
    pub(super) fn settle(&self, held: Cost) -> Result<(), QueryError> {
        self.samples.store(held.samples, Ordering::Relaxed);
        self.bytes.store(held.bytes, Ordering::Relaxed);
        self.samples_peak.fetch_max(held.samples, Ordering::Relaxed);
        self.judge(held)
    }

    /// Fails where a column of `steps` places would not fit; asked before it is made.
    pub(super) fn room_for(&self, steps: usize) -> Result<(), QueryError> {
        let held = self.held();
        self.judge(Cost { samples: held.samples, bytes: held.bytes.saturating_add(steps as u64 * 8) })
    }

    /// Counts samples that were looked at, without saying at which step.
    ///
    /// The counts are those of Prometheus: each step counts what it would look at if it were evaluated alone. So samples in
    /// overlapping windows count once for each, a histogram as many times as it takes the room of a float, and what
    /// is evaluated once counts at all steps; the samples below a subquery don't count, those that it gives do.
    pub(super) fn add_total(&self, samples: u64) {
        self.samples_total.fetch_add(samples, Ordering::Relaxed);
    }

    /// Counts samples that one step looks at.
    pub(super) fn add_at_step(&self, step: usize, samples: u64) {
        self.add_total(samples);
        if let Some(count) = self.steps().and_then(|steps| steps.get(step)) {
            count.fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Counts samples that each of so many steps looks at.
    pub(super) fn add_at_every_step(&self, steps: usize, samples: u64) {
        self.add_total(samples.saturating_mul(steps as u64));
        self.steps().into_iter().flatten().for_each(|count| {
            count.fetch_add(samples, Ordering::Relaxed);
        });
    }

    /// The counts of the query's steps, where what is evaluated has these steps.
    pub(super) fn steps(&self) -> Option<&[AtomicU64]> {
        self.per_step.as_deref().filter(|_| self.apart.load(Ordering::Relaxed) == 0)
    }

    /// Evaluates a part that has steps of its own. What it looks at is not counted, but given beside its value.
    pub(super) fn apart<T>(&self, evaluate: impl FnOnce() -> T) -> (T, u64) {
        self.apart.fetch_add(1, Ordering::Relaxed);
        let before = self.samples_total();
        let value = evaluate();
        let samples = self.samples_total.swap(before, Ordering::Relaxed).saturating_sub(before);
        self.apart.fetch_sub(1, Ordering::Relaxed);
        (value, samples)
    }

    /// Counts samples that were decoded.
    pub(super) fn add_read(&self, samples: usize) {
        self.samples_read.fetch_add(samples as u64, Ordering::Relaxed);
    }

    pub(super) fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }

    /// The time of each step and the samples that it looked at, if that was asked for.
    pub(super) fn samples_per_step(&self, steps: &Steps) -> Option<Vec<(TimestampMs, u64)>> {
        let counts = self.per_step.as_deref()?.iter().map(|count| count.load(Ordering::Relaxed));
        Some(counts.enumerate().map(|(step, count)| (steps.at(step), count)).collect())
    }

    pub(super) fn samples_max(&self) -> u64 {
        self.samples_max
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub(super) fn samples_total(&self) -> u64 {
        self.samples_total.load(Ordering::Relaxed)
    }

    pub(super) fn samples_peak(&self) -> u64 {
        self.samples_peak.load(Ordering::Relaxed)
    }

    /// Fails where this is more than may be held at a time.
    pub(super) fn judge(&self, held: Cost) -> Result<(), QueryError> {
        if held.samples > self.samples_max {
            return Err(QueryError::TooManySamples);
        }
        if held.bytes > self.bytes_max {
            return Err(QueryError::TooMuchMemory { limit: self.bytes_max });
        }
        Ok(())
    }
}
