//! Arithmetic of histograms, case by case.

use super::*;
use crate::model::HistogramMean;
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset, length }
}

/// A histogram with one positive span.
fn exponential(schema: i32, offset: i32, counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema,
        count: counts.iter().sum(),
        sum: 1.5,
        positive_spans: vec![span(offset, counts.len() as u32)],
        positive_buckets: counts.to_vec(),
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    FloatHistogram { custom_values: bounds.to_vec(), ..exponential(CUSTOM_BUCKETS_SCHEMA, 0, counts) }
}

fn sum(a: &FloatHistogram, b: &FloatHistogram) -> FloatHistogram {
    let mut sum = a.clone();
    sum.add(b).expect("both have buckets of one kind");
    sum
}

fn positive(histogram: &FloatHistogram) -> Vec<(i32, f64)> {
    histogram.indexed_positive().collect()
}

#[test]
fn sum_of_different_layouts_has_the_buckets_of_both() {
    let a = exponential(0, 2, &[1.0, 2.0]);
    let b = FloatHistogram {
        positive_spans: vec![span(0, 1), span(2, 2), span(3, 1)],
        positive_buckets: vec![10.0, 20.0, 0.0, 30.0],
        ..exponential(0, 0, &[60.0])
    };
    let both = sum(&a, &b);
    assert_eq!(positive(&both), [(0, 10.0), (2, 1.0), (3, 22.0), (4, 0.0), (8, 30.0)]);
    assert_eq!((both.count, both.sum), (63.0, 3.0));
    assert_eq!(sum(&b, &a), both);
    let mut difference = both;
    difference.subtract(&b).expect("same kind");
    difference.compact();
    assert_eq!(positive(&difference), positive(&a));
}

#[test]
fn sum_of_different_resolutions_has_the_coarser_one() {
    let fine = exponential(2, 1, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let coarse = exponential(0, 1, &[100.0]);
    for both in [sum(&fine, &coarse), sum(&coarse, &fine)] {
        assert_eq!((both.schema, positive(&both)), (0, vec![(1, 110.0), (2, 5.0)]));
    }
    let mut reduced = fine.clone();
    reduced.reduce_resolution(1);
    assert_eq!((reduced.schema, positive(&reduced)), (1, vec![(1, 3.0), (2, 7.0), (3, 5.0)]));
    reduced.reduce_resolution(3);
    assert_eq!(reduced.schema, 1);
}

#[test]
fn sum_has_a_zero_bucket_that_cuts_no_populated_bucket() {
    let wide = FloatHistogram { zero_threshold: 3.0, zero_count: 7.0, ..exponential(0, 3, &[1.0]) };
    let narrow = FloatHistogram {
        zero_threshold: 0.5,
        zero_count: 1.0,
        negative_spans: vec![span(2, 2)],
        negative_buckets: vec![5.0, 6.0],
        ..exponential(0, 1, &[2.0, 0.0, 4.0])
    };
    for both in [sum(&wide, &narrow), sum(&narrow, &wide)] {
        // The negative bucket from -4 to -2 is populated, so the zero bucket grows to 4.
        assert_eq!((both.zero_threshold, both.zero_count), (4.0, 7.0 + 1.0 + 2.0 + 5.0));
        let mut both = both;
        both.compact();
        assert_eq!(positive(&both), [(3, 5.0)]);
        assert_eq!(both.indexed_negative().collect::<Vec<_>>(), [(3, 6.0)]);
    }
}

#[test]
fn sum_with_a_zero_threshold_that_is_no_number_ends() {
    let odd = FloatHistogram { zero_threshold: f64::NAN, ..exponential(0, 1, &[1.0]) };
    assert_eq!(sum(&odd, &exponential(0, 1, &[1.0])).count, 2.0);
    assert_eq!(sum(&exponential(0, 1, &[1.0]), &odd).count, 2.0);
}

#[test]
fn sum_of_custom_buckets_keeps_the_bounds_that_both_have_and_says_so() {
    let mut a = custom(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]);
    let b = custom(&[2.0, 2.5, 3.0, 9.0], &[10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_eq!(a.add(&b), Ok(Conflicts { counter_resets: false, custom_bounds: true }));
    assert_eq!((&a.custom_values[..], positive(&a)), (&[2.0, 3.0][..], vec![(0, 13.0), (1, 53.0), (2, 94.0)]));
    assert_eq!(a.clone().add(&a), Ok(Conflicts::default()));
    let mut apart = custom(&[1.0], &[1.0, 0.0]);
    assert_eq!(apart.subtract(&custom(&[2.0], &[0.0, 5.0])).map(|conflicts| conflicts.custom_bounds), Ok(true));
    assert_eq!((apart.custom_values.len(), positive(&apart)), (0, vec![(0, -4.0)]));
    assert_eq!(apart.add(&exponential(0, 0, &[1.0])), Err(IncompatibleSchemas));
}

#[test]
fn hints_that_contradict_each_other_collide() {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    for (a, b, combined, collide) in [
        (Unknown, Reset, Unknown, false),
        (NotReset, Unknown, Unknown, false),
        (Gauge, Reset, Gauge, false),
        (Unknown, Gauge, Gauge, false),
        (Reset, Reset, Reset, false),
        (Reset, NotReset, Unknown, true),
        (NotReset, Reset, Unknown, true),
    ] {
        let hinted = |counter_reset_hint| FloatHistogram { counter_reset_hint, ..FloatHistogram::default() };
        let mut sum = hinted(a);
        assert_eq!(sum.add(&hinted(b)), Ok(Conflicts { counter_resets: collide, custom_bounds: false }));
        assert_eq!(sum.counter_reset_hint, combined);
    }
}

#[test]
fn scaling_reaches_every_number_and_negative_factors_make_gauges() {
    let mut scaled = FloatHistogram {
        zero_count: 1.0,
        negative_spans: vec![span(0, 1)],
        negative_buckets: vec![4.0],
        ..exponential(0, 0, &[2.0])
    };
    scaled.multiply(3.0);
    assert_eq!((scaled.zero_count, scaled.count, scaled.sum), (3.0, 6.0, 4.5));
    assert_eq!((scaled.positive_buckets[0], scaled.negative_buckets[0]), (6.0, 12.0));
    assert_eq!(scaled.counter_reset_hint, CounterResetHint::Unknown);
    scaled.divide(-3.0);
    assert_eq!((scaled.count, scaled.negative_buckets[0]), (-2.0, -4.0));
    assert_eq!(scaled.counter_reset_hint, CounterResetHint::Gauge);
    scaled.divide(0.0);
    assert_eq!((scaled.count, scaled.positive_buckets.len()), (f64::NEG_INFINITY, 0));
}

#[test]
fn compact_removes_empty_buckets_and_joins_spans() {
    let mut loose = FloatHistogram {
        positive_spans: vec![span(-1, 2), span(0, 1), span(1, 0), span(1, 3)],
        positive_buckets: vec![0.0, 1.0, 2.0, 0.0, 3.0, 0.0],
        negative_spans: vec![span(0, 1)],
        negative_buckets: vec![0.0],
        ..FloatHistogram::default()
    };
    let same = positive(&loose);
    loose.compact();
    assert_eq!(loose.positive_spans, [span(0, 2), span(3, 1)]);
    assert_eq!(positive(&loose), same.into_iter().filter(|(_, count)| *count != 0.0).collect::<Vec<_>>());
    assert!(loose.negative_spans.is_empty());
}

#[test]
fn equality_of_data_is_that_of_bits_and_bucket_layout() {
    let histogram = exponential(0, 2, &[1.0, 0.0]);
    let hinted = FloatHistogram { counter_reset_hint: CounterResetHint::Reset, ..histogram.clone() };
    assert!(histogram.has_data_of(&hinted));
    let split = FloatHistogram { positive_spans: vec![span(1, 0), span(1, 2)], ..histogram.clone() };
    assert!(histogram.has_data_of(&split));
    assert!(!histogram.has_data_of(&exponential(0, 2, &[1.0])), "an empty bucket is missing");
    assert!(!histogram.has_data_of(&exponential(0, 1, &[1.0, 0.0])));
    assert!(!histogram.has_data_of(&FloatHistogram { sum: 1.25, ..histogram.clone() }));
    let nan = FloatHistogram { sum: f64::NAN, ..histogram };
    assert!(nan.has_data_of(&nan.clone()));
}

#[test]
fn running_sum_keeps_what_rounding_takes_away() {
    let mut running = HistogramSum::starting_with(&exponential(0, 0, &[1e100]));
    for counts in [[1.0], [-1e100]] {
        running.add(&exponential(0, 0, &counts)).expect("same kind");
    }
    assert_eq!((running.total().count, positive(&running.total())), (1.0, vec![(0, 1.0)]));
}

#[test]
fn mean_of_histograms_whose_sum_overflows_is_finite() {
    let large = exponential(0, 0, &[f64::MAX]);
    let mut mean = HistogramMean::starting_with(&large);
    for _ in 0..3 {
        mean.add(&large).expect("same kind");
    }
    let count = mean.total().count;
    assert!((1.0 - count / f64::MAX).abs() < 1e-15, "{count}");
    let mut plain = HistogramMean::starting_with(&exponential(0, 0, &[1.0]));
    plain.add(&exponential(0, 1, &[2.0])).expect("same kind");
    assert_eq!(positive(&plain.total()), [(0, 0.5), (1, 1.0)]);
}
