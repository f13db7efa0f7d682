//! Cutting off the observations of a native histogram above or below a value.
//!
//! Observations within a bucket are taken to be spread evenly over it: over its logarithm where bounds are exponential.
//! Source: Prometheus `model/histogram/float_histogram.go`, version 3.14 (`TrimBuckets`).

use super::FloatHistogram;
use super::buckets::Bucket;
use crate::model::logarithm::log_base_2;

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those below the value.
    Below,
    /// Those above the value.
    Above,
}

/// What stays of a bucket, and where those observations lie on average.
struct Kept {
    count: f64,
    midpoint: f64,
}

impl Bucket {
    /// The share of the bucket that is at most `value`, which lies within its finite bounds.
    pub fn fraction_below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, at] = [self.lower, self.upper, value].map(|bound| log_base_2(bound.abs()));
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }

    fn trim(&self, at: f64, keep: Keep, is_positive: bool, is_linear: bool) -> Kept {
        let (lower, upper) = (self.lower, self.upper);
        let (is_inside, is_cut) = match keep {
            Keep::Below => (upper <= at, lower < at),
            Keep::Above => (lower >= at, upper > at),
        };
        if is_inside {
            return Kept { count: self.count, midpoint: midpoint(lower, upper, is_positive, is_linear) };
        }
        if !is_cut {
            return Kept { count: 0.0, midpoint: 0.0 };
        }
        if lower == f64::NEG_INFINITY {
            return self.trim_without_lower_bound(at, keep);
        }
        if upper == f64::INFINITY {
            // How far up observations reach is unknown, so none is surely below.
            return match keep {
                Keep::Above if at >= lower => Kept { count: self.count, midpoint: at },
                _ => Kept { count: 0.0, midpoint: lower },
            };
        }
        let below = if at <= lower {
            0.0
        } else if at >= upper {
            self.count
        } else {
            self.count * self.fraction_below(at, is_linear)
        };
        match keep {
            Keep::Below => Kept { count: below, midpoint: midpoint(lower, at, is_positive, is_linear) },
            Keep::Above => Kept { count: self.count - below, midpoint: midpoint(at, upper, is_positive, is_linear) },
        }
    }

    /// The first of custom buckets: where its upper bound is positive, it is taken to begin at 0.
    fn trim_without_lower_bound(&self, at: f64, keep: Keep) -> Kept {
        let (count, upper) = (self.count, self.upper);
        match keep {
            Keep::Below if at >= upper => Kept { count, midpoint: 0.0 },
            Keep::Below if at > 0.0 && upper.is_finite() => Kept { count: count * at / upper, midpoint: at / 2.0 },
            Keep::Below if upper <= 0.0 => Kept { count, midpoint: at },
            Keep::Above if at == f64::NEG_INFINITY => Kept { count, midpoint: 0.0 },
            Keep::Above if at >= 0.0 && upper.is_finite() => {
                Kept { count: count * (1.0 - at / upper), midpoint: (at + upper) / 2.0 }
            }
            _ => Kept { count: 0.0, midpoint: if upper.is_infinite() { 0.0 } else { upper } },
        }
    }
}

/// The middle of what stays of a bucket.
fn midpoint(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if is_linear => (lower + upper) / 2.0,
        (false, false) => {
            let geometric_mean = (lower * upper).abs().sqrt();
            if is_positive { geometric_mean } else { -geometric_mean }
        }
    }
}

impl FloatHistogram {
    /// Removes the observations that are not to be kept, in parts where `at` lies within a bucket. Count and sum are
    /// estimated from what stays; they remain as they are if that is everything.
    pub fn trim(&mut self, at: f64, keep: Keep) {
        let is_linear = self.has_custom_buckets();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut trim_side = |buckets: Vec<Bucket>, is_positive: bool| {
            let trimmed = buckets.iter().map(|bucket| {
                if bucket.count == 0.0 {
                    return bucket.count;
                }
                let kept = bucket.trim(at, keep, is_positive, is_linear);
                count += kept.count;
                sum += kept.midpoint * kept.count;
                kept.count
            });
            trimmed.collect::<Vec<f64>>()
        };
        let positive = trim_side(self.positive().collect(), true);
        let negative = trim_side(self.negative().collect(), false);
        let mut zero_count = self.zero_count;
        if zero_count > 0.0 {
            let has_positive = self.positive_buckets.iter().any(|&count| count != 0.0);
            let has_negative = self.negative_buckets.iter().any(|&count| count != 0.0);
            let kept = self.trim_zero_bucket(at, keep, has_positive, has_negative);
            zero_count = kept.count;
            sum += kept.midpoint * kept.count;
            count += kept.count;
        }
        let is_same = |old: &[f64], new: &[f64]| old.iter().zip(new).all(|(old, new)| old == new);
        if is_same(&self.positive_buckets, &positive)
            && is_same(&self.negative_buckets, &negative)
            && self.zero_count == zero_count
        {
            return;
        }
        (self.positive_buckets, self.negative_buckets, self.zero_count) = (positive, negative, zero_count);
        (self.count, self.sum) = (count, sum);
        self.compact();
    }

    /// The zero bucket is taken to lie on that side of 0 on which all other observations are.
    fn trim_zero_bucket(&self, at: f64, keep: Keep, has_positive: bool, has_negative: bool) -> Kept {
        let lower = if has_positive && !has_negative { 0.0 } else { -self.zero_threshold };
        let upper = if has_negative && !has_positive { 0.0 } else { self.zero_threshold };
        let (is_inside, is_outside, from, to) = match keep {
            Keep::Below => (at >= upper, at <= lower, lower, at),
            Keep::Above => (at <= lower, at >= upper, at, upper),
        };
        let all = Kept { count: self.zero_count, midpoint: (lower + upper) / 2.0 };
        let none = Kept { count: 0.0, midpoint: 0.0 };
        match (keep, is_inside, is_outside) {
            // Where the bucket has no width, it is below as well as above: the lower bound decides.
            (Keep::Below, _, true) => none,
            (_, true, _) => all,
            (Keep::Above, _, true) => none,
            _ => Kept { count: self.zero_count * ((to - from) / (upper - lower)), midpoint: (from + to) / 2.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};

    fn exponential() -> FloatHistogram {
        FloatHistogram {
            zero_threshold: 0.5,
            zero_count: 4.0,
            count: 17.0,
            sum: 99.0,
            positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
            positive_buckets: vec![2.0, 8.0],
            negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
            negative_buckets: vec![3.0],
            ..FloatHistogram::default()
        }
    }

    fn trimmed(histogram: &FloatHistogram, at: f64, keep: Keep) -> FloatHistogram {
        let mut trimmed = histogram.clone();
        trimmed.trim(at, keep);
        trimmed
    }

    #[test]
    fn trim_of_nothing_changes_nothing() {
        assert_eq!(trimmed(&exponential(), 4.0, Keep::Below), exponential());
        assert_eq!(trimmed(&exponential(), -2.0, Keep::Above), exponential());
    }

    #[test]
    fn trim_within_an_exponential_bucket_divides_it_on_a_logarithmic_scale() {
        let below = trimmed(&exponential(), 8f64.sqrt(), Keep::Below);
        assert_eq!(below.positive_buckets[0], 2.0);
        assert!((below.positive_buckets[1] - 4.0).abs() < 1e-12);
        assert!((below.count - 13.0).abs() < 1e-12);
        let above = trimmed(&exponential(), -(2f64.sqrt()), Keep::Above);
        assert!((above.negative_buckets[0] - 1.5).abs() < 1e-12);
        assert_eq!(above.positive_buckets, [2.0, 8.0]);
    }

    #[test]
    fn trim_within_the_zero_bucket_divides_it_evenly() {
        let above = trimmed(&exponential(), 0.25, Keep::Above);
        assert_eq!((above.zero_count, above.negative_buckets.len(), above.count), (1.0, 0, 11.0));
        let one_sided = FloatHistogram { negative_buckets: vec![0.0], ..exponential() };
        assert_eq!(trimmed(&one_sided, 0.25, Keep::Above).zero_count, 2.0);
        assert_eq!(trimmed(&one_sided, 0.0, Keep::Below).count, 0.0);
    }

    #[test]
    fn trim_of_custom_buckets_divides_them_evenly_and_knows_open_ends() {
        let custom = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![10.0, 20.0],
            count: 12.0,
            positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
            positive_buckets: vec![4.0, 4.0, 4.0],
            ..FloatHistogram::default()
        };
        let buckets = |at, keep| trimmed(&custom, at, keep).positive_buckets;
        assert_eq!(buckets(15.0, Keep::Below), [4.0, 2.0]);
        assert_eq!(buckets(5.0, Keep::Below), [2.0]);
        assert_eq!(buckets(5.0, Keep::Above), [2.0, 4.0, 4.0]);
        assert_eq!(buckets(30.0, Keep::Below), [4.0, 4.0]);
        assert_eq!(buckets(30.0, Keep::Above), [4.0]);
        let none = trimmed(&custom, -1.0, Keep::Below);
        assert_eq!((none.count, none.sum, none.positive_buckets.len()), (0.0, 0.0, 0));
    }
}
