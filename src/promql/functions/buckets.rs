//! Quantiles and fractions of classic histograms: cumulative counts under upper bounds.

/// A classic bucket: how many observations were at most `upper_bound`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) upper_bound: f64,
    pub(super) count: f64,
}

/// What had to be repaired before counts rose with their bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Repair {
    /// The lowest and the highest bound whose count was raised.
    pub(super) bounds: (f64, f64),
    /// By how much at most.
    pub(super) max_diff: f64,
}

/// Relative difference between neighbouring counts that is taken for rounding.
const ROUNDING_TOLERANCE: f64 = 1e-12;

/// The quantile of the observations, with linear interpolation in the bucket that holds it, and what was repaired.
pub(super) fn quantile(wanted: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Repair>) {
    if wanted.is_nan() {
        return (f64::NAN, None);
    }
    if wanted < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if wanted > 1.0 {
        return (f64::INFINITY, None);
    }
    if !sort_and_join(buckets) {
        return (f64::NAN, None);
    }
    let repair = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = wanted * observations;
    let index = first_with_count(&buckets[..last], rank);
    let found = buckets[index];
    let result = if index == last {
        // Beyond the last finite bound nothing is known.
        buckets[last - 1].upper_bound
    } else if index == 0 && found.upper_bound <= 0.0 {
        found.upper_bound
    } else {
        let (mut start, mut count) = (0.0, found.count);
        if index > 0 {
            let before = buckets[index - 1];
            start = before.upper_bound;
            count -= before.count;
            rank -= before.count;
        }
        start + (found.upper_bound - start) * (rank / count)
    };
    (result, repair)
}

/// Binary search for the first count that reaches `rank`. It halves as Go's `sort.Search` does, so that NaN counts,
/// which have no order, lead to the same bucket.
fn first_with_count(buckets: &[Bucket], rank: f64) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = (low + high) / 2;
        if buckets[middle].count >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The share of observations between `lower` and `upper`.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !sort_and_join(buckets) {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations lie below `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    // A first bound above 0 means that only positive values are observed.
    let mut start = if buckets[0].upper_bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        let inside = if start >= value {
            Some(rank)
        } else if bucket.upper_bound > value {
            // A bucket without a lower bound cannot be divided.
            Some(if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - start) / (bucket.upper_bound - start)
            })
        } else {
            None
        };
        if let Some(found) = inside {
            return if found > total { total } else { found };
        }
        rank = bucket.count;
        start = bucket.upper_bound;
    }
    total
}

/// Sorts by bound and adds up buckets of the same bound. False if the highest bound is not infinite.
fn sort_and_join(buckets: &mut Vec<Bucket>) -> bool {
    // A bound that is no number comes last.
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.upper_bound == earlier.upper_bound;
        if same {
            earlier.count += later.count;
        }
        same
    });
    true
}

/// Raises each count to that of the bucket below it, and levels differences that only rounding makes.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut level = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == level {
            continue;
        }
        if nearly_equal(level, bucket.count, ROUNDING_TOLERANCE) {
            bucket.count = level;
        } else if bucket.count < level {
            let known = repair.get_or_insert(Repair { bounds: (f64::INFINITY, f64::NEG_INFINITY), max_diff: 0.0 });
            known.bounds = (known.bounds.0.min(bucket.upper_bound), known.bounds.1.max(bucket.upper_bound));
            known.max_diff = known.max_diff.max(level - bucket.count);
            bucket.count = level;
        } else {
            level = bucket.count;
        }
    }
    repair
}

/// Whether two numbers differ by less than `epsilon` times their sum. NaN equals NaN.
pub fn nearly_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper_bound, count)| Bucket { upper_bound, count }).collect()
    }

    #[test]
    fn quantile_interpolates_within_the_bucket_that_holds_it() {
        let known = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(quantile(0.25, &mut buckets(&known)), (0.5, None));
        assert_eq!(quantile(0.75, &mut buckets(&known)), (1.5, None));
        assert_eq!(quantile(1.0, &mut buckets(&known)), (2.0, None));
        assert!(quantile(0.5, &mut buckets(&known[..2])).0.is_nan());
        assert!(quantile(0.5, &mut Vec::new()).0.is_nan());
    }

    #[test]
    fn quantile_of_falling_counts_repairs_and_says_so() {
        let mut falling = buckets(&[(f64::INFINITY, 12.0), (2.0, 7.0), (1.0, 10.0)]);
        let (_, repair) = quantile(0.5, &mut falling);
        assert_eq!(repair, Some(Repair { bounds: (2.0, 2.0), max_diff: 3.0 }));
        let mut rounded = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-14), (f64::INFINITY, 12.0)]);
        assert_eq!(quantile(0.5, &mut rounded).1, None);
    }

    #[test]
    fn bound_that_is_no_number_makes_no_quantile() {
        // In the order of their labels, with one of them replaced: more than what is sorted by insertion.
        let mut in_order: Vec<(String, f64)> = (1..41).map(|bound| (bound.to_string(), f64::from(bound))).collect();
        in_order.push(("+Inf".to_owned(), f64::INFINITY));
        in_order.sort_by(|a, b| a.0.cmp(&b.0));
        for replaced in 0..in_order.len() {
            let mut all = buckets(&in_order.iter().map(|(_, bound)| (*bound, *bound)).collect::<Vec<_>>());
            all[replaced].upper_bound = f64::NAN;
            assert!(quantile(0.9, &mut all).0.is_nan(), "{replaced}");
        }
    }

    #[test]
    fn fraction_counts_what_lies_between() {
        let known = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)];
        assert_eq!(fraction(0.5, 1.5, &mut buckets(&known)), 0.25);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut buckets(&known)), 1.0);
        assert_eq!(fraction(3.0, f64::INFINITY, &mut buckets(&known)), 0.5);
        assert_eq!(fraction(2.0, 1.0, &mut buckets(&known)), 0.0);
        assert!(fraction(f64::NAN, 1.0, &mut buckets(&known)).is_nan());
    }
}
