//! Counter resets between two native histograms of a series.

use super::bounds::exponential_bound;
use super::sum::{Addition, Entry, by_common_bounds, common_bounds, reduce, zero_count_for};
use super::{CounterResetHint, FloatHistogram};
use crate::model::kahan::Sum;

impl FloatHistogram {
    /// Whether the counter was reset between `previous` and this histogram: some count fell, or a populated bucket is gone.
    ///
    /// A hint decides it, except that gauges are looked at like counters. A finer resolution or a narrower zero bucket
    /// comes only with a reset; the other way round, `previous` is brought to the shape of this histogram.
    pub fn is_reset_after(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_buckets() {
            if !previous.has_custom_buckets() {
                return true;
            }
            if self.custom_values != previous.custom_values {
                return self.has_lower_counts_between_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = zero_count_for(previous, self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero.sum {
            return true;
        }
        let entry = |(index, count)| Entry { index, count: Sum::starting_with(count) };
        let sides = [
            (self.indexed_positive(), previous.indexed_positive()),
            (self.indexed_negative(), previous.indexed_negative()),
        ];
        sides.into_iter().any(|(current, before)| {
            let (current, before) = (current.map(entry), before.map(entry));
            if self.schema == previous.schema {
                return self.has_lower_counts(current, before);
            }
            let before = reduce(before, previous.schema, self.schema, Addition::Plain);
            self.has_lower_counts(current, before.into_iter())
        })
    }

    /// Whether a bucket outside the zero bucket holds more before than now. Both are in the schema of this histogram.
    fn has_lower_counts(&self, current: impl Iterator<Item = Entry>, before: impl Iterator<Item = Entry>) -> bool {
        let is_in_zero_bucket = |entry: &Entry| {
            self.zero_threshold != 0.0
                && !self.has_custom_buckets()
                && exponential_bound(entry.index, self.schema) <= self.zero_threshold
        };
        let mut current = current.skip_while(is_in_zero_bucket).peekable();
        before.skip_while(is_in_zero_bucket).any(|before| {
            while current.next_if(|entry| entry.index < before.index).is_some() {}
            match current.peek() {
                Some(entry) if entry.index == before.index => entry.count.sum < before.count.sum,
                _ => before.count.sum != 0.0,
            }
        })
    }

    fn has_lower_counts_between_common_bounds(&self, previous: &FloatHistogram) -> bool {
        let common = common_bounds(&self.custom_values, &previous.custom_values);
        let counts = |histogram: &FloatHistogram| {
            let entries =
                histogram.indexed_positive().map(|(index, count)| Entry { index, count: Sum::starting_with(count) });
            let mut counts = vec![0.0; common.len() + 1];
            for (bucket, count) in by_common_bounds(entries, &histogram.custom_values, &common) {
                counts[bucket] += count.sum;
            }
            counts
        };
        counts(self).iter().zip(counts(previous)).any(|(current, before)| *current < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};

    fn counter(offset: i32, counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            count: counts.iter().sum(),
            positive_spans: vec![BucketSpan { offset, length: counts.len() as u32 }],
            positive_buckets: counts.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn reset_shows_in_hints_counts_and_missing_buckets() {
        let before = counter(0, &[1.0, 2.0, 0.0]);
        assert!(!before.is_reset_after(&before));
        assert!(counter(0, &[2.0, 0.5]).is_reset_after(&before), "the count fell");
        assert!(counter(0, &[0.5, 9.0]).is_reset_after(&before), "a bucket fell");
        assert!(counter(1, &[9.0]).is_reset_after(&before), "a populated bucket is gone");
        assert!(!counter(-1, &[1.0, 1.0, 2.0]).is_reset_after(&before), "an empty bucket is gone");
        let hinted = |counter_reset_hint| FloatHistogram { counter_reset_hint, ..counter(5, &[9.0]) };
        assert!(!hinted(CounterResetHint::NotReset).is_reset_after(&before));
        assert!(hinted(CounterResetHint::Gauge).is_reset_after(&before));
        let again = FloatHistogram { counter_reset_hint: CounterResetHint::Reset, ..before.clone() };
        assert!(again.is_reset_after(&before));
    }

    #[test]
    fn coarser_resolution_is_no_reset_and_finer_is() {
        let fine = FloatHistogram { schema: 1, ..counter(1, &[1.0, 2.0, 3.0]) };
        let coarse = counter(1, &[3.0, 3.0]);
        assert!(!coarse.is_reset_after(&fine));
        assert!(counter(1, &[2.5, 9.0]).is_reset_after(&fine));
        assert!(fine.is_reset_after(&coarse));
    }

    #[test]
    fn wider_zero_bucket_takes_buckets_in_unless_it_cuts_one() {
        let before = FloatHistogram { zero_threshold: 0.25, zero_count: 1.0, ..counter(0, &[2.0, 4.0]) };
        let wider = |zero_threshold, zero_count| FloatHistogram {
            zero_threshold,
            zero_count,
            count: 9.0,
            ..counter(1, &[4.0])
        };
        assert!(!wider(1.0, 3.0).is_reset_after(&before));
        assert!(wider(1.0, 2.5).is_reset_after(&before));
        assert!(wider(0.75, 3.0).is_reset_after(&before));
        assert!(FloatHistogram { zero_threshold: 0.1, ..before.clone() }.is_reset_after(&before));
        assert!(wider(f64::NAN, 3.0).is_reset_after(&before));
    }

    #[test]
    fn custom_buckets_are_compared_between_the_bounds_that_both_have() {
        let custom = |bounds: &[f64], counts: &[f64]| FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            count: 100.0,
            ..counter(0, counts)
        };
        let before = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        assert!(!custom(&[2.0, 4.0], &[2.0, 1.0, 1.0]).is_reset_after(&before));
        assert!(custom(&[2.0, 4.0], &[1.5, 9.0, 9.0]).is_reset_after(&before));
        assert!(custom(&[2.0, 4.0], &[9.0, 1.0, 0.5]).is_reset_after(&before));
        assert!(before.is_reset_after(&counter(0, &[1.0])), "there were no custom buckets");
    }
}
