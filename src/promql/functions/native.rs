//! Quantiles, fractions and moments of one native histogram.
//!
//! Observations are taken to be spread evenly over a custom bucket and over the zero bucket, and over the logarithms of an
//! exponential one. Source: Prometheus `promql/quantile.go` and `promql/functions.go`, version 3.14.

use super::kahan::Sum;
use crate::model::logarithm::{exp_base_2, log_base_2};
use crate::model::{Bucket, FloatHistogram};

/// Observations of NaN in a histogram: they are counted, but lie in no bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NanObservations {
    /// There are none, or they did not matter.
    None,
    /// The quantile falls among them.
    AreResult,
    /// They take part of the count, so that the result is another one than without them.
    Skew,
}

/// The quantile of the observations, and what those of NaN did to it.
pub(super) fn quantile(wanted: f64, histogram: &FloatHistogram) -> (f64, NanObservations) {
    let only = |value| (value, NanObservations::None);
    if wanted < 0.0 {
        return only(f64::NEG_INFINITY);
    }
    if wanted > 1.0 {
        return only(f64::INFINITY);
    }
    if histogram.count == 0.0 || wanted.is_nan() {
        return only(f64::NAN);
    }
    let may_have_nan = histogram.sum.is_nan();
    let is_from_below = may_have_nan || wanted < 0.5;
    let share = if is_from_below { wanted } else { 1.0 - wanted };
    let mut rank = share * histogram.count;

    let mut rising;
    let mut falling;
    let buckets: &mut dyn Iterator<Item = Bucket> = if is_from_below {
        rising = histogram.buckets();
        &mut rising
    } else {
        falling = histogram.buckets().rev();
        &mut falling
    };
    let mut count = 0.0;
    let nothing = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    let mut bucket = nothing;
    for next in &mut *buckets {
        bucket = next;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    if histogram.has_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return only(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return only(bucket.lower);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = one_sided(bucket, histogram);
    }
    // Rounding can lift the sum above the count.
    count = if count > histogram.count { histogram.count } else { count };
    if count < rank {
        // Only observations of NaN should keep the buckets from reaching the rank.
        return if may_have_nan { (f64::NAN, NanObservations::AreResult) } else { only(bucket.upper) };
    }
    rank = if is_from_below { rank - (count - bucket.count) } else { count - rank };
    let mut nan = NanObservations::None;
    if may_have_nan {
        // As in Prometheus, the last bucket is the one that the result is taken from then.
        for next in buckets {
            bucket = next;
            count += bucket.count;
        }
        if count < histogram.count {
            nan = NanObservations::Skew;
        }
    }
    let fraction = rank / bucket.count;
    let (lower, upper) = (bucket.lower, bucket.upper);
    if histogram.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
        return (lower + (upper - lower) * fraction, nan);
    }
    let (log_lower, log_upper) = (log_base_2(lower.abs()), log_base_2(upper.abs()));
    let result = if lower > 0.0 {
        exp_base_2(log_lower + (log_upper - log_lower) * fraction)
    } else {
        -exp_base_2(log_upper + (log_lower - log_upper) * (1.0 - fraction))
    };
    (result, nan)
}

/// The zero bucket without the side on which the histogram has no buckets.
fn one_sided(mut bucket: Bucket, histogram: &FloatHistogram) -> Bucket {
    match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}

/// The share of the observations between `lower` and `upper`, and whether some are of NaN, which lie nowhere.
pub(super) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, NanObservations) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, NanObservations::None);
    }
    if lower >= upper {
        return (0.0, NanObservations::None);
    }
    let (mut count, mut rank) = (0.0, 0.0);
    let (mut lower_rank, mut upper_rank) = (None, None);
    let mut buckets = histogram.buckets();
    for mut bucket in &mut buckets {
        count += bucket.count;
        let has_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if has_zero {
            bucket = one_sided(bucket, histogram);
        }
        let is_linear = histogram.has_custom_buckets() || has_zero;
        let rank_at = |value: f64| {
            if bucket.lower >= value {
                Some(rank)
            } else if bucket.lower < value && bucket.upper > value {
                // A bucket without a lower bound cannot be divided.
                let is_open = is_linear && bucket.lower == f64::NEG_INFINITY;
                let below = || rank + bucket.count * bucket.fraction_below(value, is_linear);
                Some(if is_open { bucket.count } else { below() })
            } else {
                None
            }
        };
        lower_rank = lower_rank.or_else(|| rank_at(lower));
        upper_rank = upper_rank.or_else(|| rank_at(upper));
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut nan = NanObservations::None;
    if histogram.sum.is_nan() {
        count = buckets.map(|bucket| bucket.count).fold(count, |sum, next| sum + next);
        if count < histogram.count {
            nan = NanObservations::Skew;
        }
    } else {
        count = histogram.count;
    }
    let capped = |rank: Option<f64>| match rank {
        Some(rank) if rank > count => count,
        Some(rank) => rank,
        None => count,
    };
    ((capped(upper_rank) - capped(lower_rank)) / histogram.count, nan)
}

/// The variance, where each observation is taken to lie in the middle of its bucket.
pub(super) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = Sum::ZERO;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let geometric_mean = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -geometric_mean } else { geometric_mean }
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.total() / histogram.count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};

    fn exponential() -> FloatHistogram {
        FloatHistogram {
            zero_threshold: 0.5,
            zero_count: 2.0,
            count: 12.0,
            sum: 30.0,
            positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
            positive_buckets: vec![4.0, 6.0],
            ..FloatHistogram::default()
        }
    }

    fn custom(counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: counts.iter().sum(),
            positive_spans: vec![BucketSpan { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts.to_vec(),
            custom_values: vec![-1.0, 1.0, 3.0],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn quantile_interpolates_on_the_scale_of_its_bucket() {
        let of = |wanted| quantile(wanted, &exponential()).0;
        assert_eq!(of(1.0 / 12.0), 0.25);
        assert!((of(4.0 / 12.0) - 2f64.sqrt()).abs() < 1e-15);
        assert!((of(9.0 / 12.0) - 8f64.sqrt()).abs() < 1e-15);
        assert_eq!((of(1.0), of(-0.1), of(1.1)), (4.0, f64::NEG_INFINITY, f64::INFINITY));
        assert!(of(f64::NAN).is_nan() && quantile(0.5, &FloatHistogram::default()).0.is_nan());
        let of = |wanted| quantile(wanted, &custom(&[1.0, 2.0, 2.0, 5.0])).0;
        assert_eq!((of(0.05), of(0.2), of(0.4), of(0.9)), (-1.0, 0.0, 2.0, 3.0));
    }

    #[test]
    fn quantile_among_observations_of_nan_says_so() {
        let with_nan = FloatHistogram { count: 24.0, sum: f64::NAN, ..exponential() };
        let (value, nan) = quantile(0.9, &with_nan);
        assert!(value.is_nan() && nan == NanObservations::AreResult);
        assert_eq!(quantile(0.2, &with_nan).1, NanObservations::Skew);
        assert_eq!(fraction(0.0, 4.0, &with_nan), (0.5, NanObservations::Skew));
    }

    #[test]
    fn fraction_undoes_the_quantile() {
        for wanted in [0.1, 0.25, 0.5, 0.8] {
            let upper = quantile(wanted, &exponential()).0;
            assert!((fraction(f64::NEG_INFINITY, upper, &exponential()).0 - wanted).abs() < 1e-14);
        }
        let open = custom(&[2.0, 2.0, 0.0, 4.0]);
        assert_eq!(fraction(-5.0, 2.0, &open).0, (4.0 - 2.0) / 8.0);
        assert_eq!(fraction(1.0, f64::INFINITY, &open).0, 4.0 / 8.0);
        assert_eq!(fraction(1.0, 1.0, &open).0, 0.0);
        assert!(fraction(f64::NAN, 1.0, &open).0.is_nan());
    }

    #[test]
    fn variance_takes_the_middle_of_each_bucket() {
        let mean: f64 = 30.0 / 12.0;
        let squares = 2.0 * mean.powi(2) + 4.0 * (2f64.sqrt() - mean).powi(2) + 6.0 * (8f64.sqrt() - mean).powi(2);
        assert!((variance(&exponential()) - squares / 12.0).abs() < 1e-14);
        let even = FloatHistogram { sum: 8.0, ..custom(&[0.0, 2.0, 2.0]) };
        assert_eq!(variance(&even), 2.0);
    }
}
