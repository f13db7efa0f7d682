//! Arithmetic of native histograms: scaling, addition and subtraction, resolution, compaction, equality.
//!
//! Source: Prometheus `model/histogram/float_histogram.go`, version 3.14.

use super::bounds::exponential_bound;
use super::sum::{Addition, HistogramSum, encode, reduce_sides};
use super::{BucketSpan, CounterResetHint, FloatHistogram};

/// What two histograms disagree on that could be added or subtracted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conflicts {
    /// One hint says that there was a counter reset, the other that there was none.
    pub counter_resets: bool,
    /// Custom bounds differ: only those that both have were kept.
    pub custom_bounds: bool,
}

/// A histogram with exponential buckets cannot be combined with one with custom buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleSchemas;

impl CounterResetHint {
    /// Becomes the hint of a sum or difference with a histogram of hint `other`. True if the two contradict each other.
    pub(super) fn combine(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (combined, collide) = match (*self, other) {
            (hint, other) if hint == other => (hint, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        *self = combined;
        collide
    }
}

impl FloatHistogram {
    /// Adds `other`. Nothing is changed if that is not possible. Buckets may be empty afterwards.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Conflicts, IncompatibleSchemas> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`, as [`FloatHistogram::add`] adds. The hint follows the same rules, which suit a mean; the
    /// difference of two counters is a gauge, and the caller has to say so.
    pub fn subtract(&mut self, other: &FloatHistogram) -> Result<Conflicts, IncompatibleSchemas> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &FloatHistogram, sign: f64) -> Result<Conflicts, IncompatibleSchemas> {
        if !self.has_layout_of(other) {
            let mut sum = HistogramSum::starting_with(self);
            let conflicts = sum.combine(other, sign, Addition::Plain)?;
            *self = sum.total();
            return Ok(conflicts);
        }
        let counter_resets = self.counter_reset_hint.combine(other.counter_reset_hint);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        let sides = [
            (&mut self.positive_buckets, &other.positive_buckets),
            (&mut self.negative_buckets, &other.negative_buckets),
        ];
        for (into, from) in sides {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += sign * from);
        }
        Ok(Conflicts { counter_resets, custom_bounds: false })
    }

    /// Whether the buckets of both are the same ones, none of them within the zero bucket.
    fn has_layout_of(&self, other: &FloatHistogram) -> bool {
        let is_outside_zero = |spans: &[BucketSpan]| {
            self.has_custom_buckets()
                || spans.first().is_none_or(|first| exponential_bound(first.offset, self.schema) > self.zero_threshold)
        };
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.positive_buckets.len() == other.positive_buckets.len()
            && self.negative_buckets.len() == other.negative_buckets.len()
            && self.custom_values == other.custom_values
            && is_outside_zero(&self.positive_spans)
            && is_outside_zero(&self.negative_spans)
    }

    /// Every number that scales with the observations.
    fn numbers(&mut self) -> impl Iterator<Item = &mut f64> {
        let buckets = self.positive_buckets.iter_mut().chain(&mut self.negative_buckets);
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().chain(buckets)
    }

    /// Multiplies every count and the sum. A negative factor makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.numbers().for_each(|number| *number *= factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides every count and the sum. A negative divisor makes a gauge; 0 leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self.numbers().for_each(|number| *number /= divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Lowers the resolution to `schema`. One that is as coarse already, or has custom buckets, stays as it is.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if schema >= self.schema || self.has_custom_buckets() {
            return;
        }
        let [positive, negative] = reduce_sides(self, schema);
        (self.positive_spans, self.positive_buckets) = positive;
        (self.negative_spans, self.negative_buckets) = negative;
        self.schema = schema;
    }

    /// Removes empty buckets and joins spans that touch each other.
    pub fn compact(&mut self) {
        let is_compact = |spans: &[BucketSpan], buckets: &[f64]| {
            buckets.iter().all(|&count| count != 0.0)
                && spans.iter().enumerate().all(|(number, span)| span.length > 0 && (number == 0 || span.offset > 0))
        };
        if !is_compact(&self.positive_spans, &self.positive_buckets) {
            let filled = encode(self.indexed_positive().filter(|(_, count)| *count != 0.0));
            (self.positive_spans, self.positive_buckets) = filled;
        }
        if !is_compact(&self.negative_spans, &self.negative_buckets) {
            let filled = encode(self.indexed_negative().filter(|(_, count)| *count != 0.0));
            (self.negative_spans, self.negative_buckets) = filled;
        }
    }

    /// Whether both hold the same data: the same buckets, empty ones too, and numbers that are equal bit by bit. Hints
    /// do not matter.
    pub fn has_data_of(&self, other: &FloatHistogram) -> bool {
        let same =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        self.schema == other.schema
            && same(&[self.count, self.sum, self.zero_count], &[other.count, other.sum, other.zero_count])
            && self.zero_threshold == other.zero_threshold
            && (!self.has_custom_buckets() || self.custom_values == other.custom_values)
            && same(&self.positive_buckets, &other.positive_buckets)
            && same(&self.negative_buckets, &other.negative_buckets)
            && self.indexed_positive().map(|(index, _)| index).eq(other.indexed_positive().map(|(index, _)| index))
            && self.indexed_negative().map(|(index, _)| index).eq(other.indexed_negative().map(|(index, _)| index))
    }

    /// Bytes that Prometheus counts for a histogram in memory: 168 for itself, 8 for each number and span.
    pub fn size_bytes(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let numbers = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        168 + 8 * (spans + numbers)
    }
}

#[cfg(test)]
#[path = "arithmetic_tests.rs"]
mod tests;
