//! Counters, histograms and summaries that many threads may use at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`.
    #[inline]
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted into buckets with fixed boundaries.
#[derive(Debug)]
pub struct Histogram {
    bounds_seconds: &'static [f64],
    /// One place for each boundary, and one for what lies above all.
    counts: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Boundaries for the duration of a request, those of Prometheus' own `prometheus_http_request_duration_seconds`.
    pub const REQUEST_SECONDS: &'static [f64] = &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

    /// An empty histogram with these upper boundaries, rising.
    pub fn new(bounds_seconds: &'static [f64]) -> Self {
        let counts = (0..=bounds_seconds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds_seconds, counts, sum_nanos: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds_seconds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The boundaries, each with the count of all observations up to it; the last boundary is infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds_seconds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        let add = |(bound, count): (f64, &AtomicU64)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        };
        bounds.zip(self.counts.iter()).map(add).collect()
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Sum of all durations, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// How long a summary's window is. Quantiles are over the last one to two windows.
const WINDOW: Duration = Duration::from_secs(300);

/// Durations of which recent quantiles are wanted.
#[derive(Debug)]
pub struct Summary(Mutex<SummaryState>);

#[derive(Debug)]
struct SummaryState {
    /// Microseconds of the window that is being filled, and of the one before it.
    windows: [hdrhistogram::Histogram<u64>; 2],
    /// Since when the first window is being filled.
    since: Duration,
    count: u64,
    sum: Duration,
}

/// What a summary shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SummaryValues {
    /// How many durations there were, ever.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
    /// The quantiles [`Summary::QUANTILES`] over the last minutes, in seconds; NaN where there was nothing.
    pub quantiles: [f64; 3],
}

impl Default for Summary {
    fn default() -> Self {
        // Two significant digits are what people read; what takes longer than an hour counts as an hour.
        let window = || hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are in order");
        Summary(Mutex::new(SummaryState {
            windows: [window(), window()],
            since: Duration::ZERO,
            count: 0,
            sum: Duration::ZERO,
        }))
    }
}

impl Summary {
    /// The quantiles that are shown.
    pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

    /// Counts one duration; `now` is a clock's monotonic time.
    pub fn observe(&self, now: Duration, duration: Duration) {
        let mut state = self.state();
        state.turn(now);
        state.count += 1;
        state.sum += duration;
        state.windows[0].saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// What the summary shows at the monotonic time `now`.
    pub fn values(&self, now: Duration) -> SummaryValues {
        let mut state = self.state();
        state.turn(now);
        let mut both = state.windows[0].clone();
        // Adding can fail only where the other histogram has a wider range; these two have the same.
        if both.add(&state.windows[1]).is_err() {
            both = state.windows[0].clone();
        }
        let quantile = |q: f64| if both.is_empty() { f64::NAN } else { both.value_at_quantile(q) as f64 / 1e6 };
        SummaryValues {
            count: state.count,
            sum_seconds: state.sum.as_secs_f64(),
            quantiles: Self::QUANTILES.map(quantile),
        }
    }

    fn state(&self) -> MutexGuard<'_, SummaryState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SummaryState {
    /// Begins a new window where the current one is full.
    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.since);
        if age < WINDOW {
            return;
        }
        self.windows.swap(0, 1);
        self.windows[0].reset();
        if age >= 2 * WINDOW {
            self.windows[1].reset();
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_a_value_at_a_boundary_into_its_bucket() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for ms in [100, 101, 5000] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert_eq!(histogram.cumulative(), [(0.1, 1), (1.0, 2), (f64::INFINITY, 3)]);
        assert!((histogram.sum_seconds() - 5.201).abs() < 1e-9);
    }

    #[test]
    fn summary_forgets_quantiles_after_two_windows_and_keeps_the_count() {
        let summary = Summary::default();
        summary.observe(Duration::from_secs(1), Duration::from_millis(500));
        let values = summary.values(Duration::from_secs(2));
        assert_eq!(values.count, 1);
        assert!((values.quantiles[0] - 0.5).abs() < 0.01);
        let values = summary.values(Duration::from_secs(301));
        assert!((values.quantiles[2] - 0.5).abs() < 0.01, "still in the second window");
        let values = summary.values(Duration::from_secs(1000));
        assert!(values.quantiles[0].is_nan());
        assert_eq!((values.count, values.sum_seconds), (1, 0.5));
    }
}
