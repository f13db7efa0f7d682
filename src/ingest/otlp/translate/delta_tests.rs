//! Tests of adding deltas up.

use proptest::prelude::*;

use super::super::tests::{counter_deltas, explicit_deltas, native_deltas, stored_with};
use super::super::total::BUCKETS_MAX;
use super::*;

const NOW_MS: i64 = 1_760_000_000_000;
const NOW: u64 = NOW_MS as u64 * 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn streams(count: usize) -> DeltaStreams {
    DeltaStreams::new(DeltaLimits { streams: count, stale_ms: 60_000 })
}

/// A delta from one second after [`NOW`] to another.
fn head(from: u64, to: u64) -> PointHead<'static> {
    PointHead { start_unix_nanos: NOW + from * SECOND, unix_nanos: NOW + to * SECOND, ..PointHead::default() }
}

/// Adds one delta in a request of its own.
fn add(streams: &DeltaStreams, (from, to): (u64, u64), delta: Number) -> Result<Number, RejectReason> {
    let mut changes = streams.begin(NOW_MS);
    let id = changes.id("m", b"");
    let total = changes.number(id, &head(from, to), delta).map_err(|(reason, _)| reason);
    changes.keep(&[]);
    total
}

#[test]
fn deltas_are_added_up_across_gaps_and_overlaps() {
    let streams = streams(10);
    for (times, delta, total) in [((0, 10), 3, 3), ((10, 20), 4, 7), ((30, 40), 1, 8), ((35, 45), 2, 10)] {
        assert_eq!(add(&streams, times, Number::Int(delta)), Ok(Number::Int(total)));
    }
}

#[test]
fn same_delta_again_gives_the_same_sum_and_another_of_its_time_is_refused() {
    let streams = streams(10);
    assert_eq!(add(&streams, (0, 10), Number::Int(3)), Ok(Number::Int(3)));
    assert_eq!(add(&streams, (0, 10), Number::Int(3)), Ok(Number::Int(3)));
    assert_eq!(add(&streams, (0, 10), Number::Int(4)), Err(RejectReason::OutOfOrder));
    assert_eq!(add(&streams, (0, 9), Number::Int(4)), Err(RejectReason::OutOfOrder));
    assert_eq!(add(&streams, (10, 20), Number::Int(1)), Ok(Number::Int(4)));
    assert_eq!(add(&streams, (0, 10), Number::Int(3)), Err(RejectReason::OutOfOrder));
    assert_eq!(add(&streams, (20, 30), Number::Int(1)), Ok(Number::Int(5)));
}

#[test]
fn request_with_several_deltas_of_a_series_gives_the_same_sums_again() {
    let streams = streams(10);
    let send = |times: std::ops::Range<u64>| -> Vec<Result<Number, RejectReason>> {
        let mut changes = streams.begin(NOW_MS);
        let id = changes.id("m", b"");
        let mut add = |second| changes.number(id, &head(second, second + 1), Number::Int(1 << second));
        let totals = times.map(|second| add(second).map_err(|(reason, _)| reason)).collect();
        changes.keep(&[]);
        totals
    };
    let totals = |totals: &[i64]| totals.iter().map(|total| Ok(Number::Int(*total))).collect::<Vec<_>>();
    for _ in 0..3 {
        assert_eq!(send(0..3), totals(&[1, 3, 7]));
    }
    for _ in 0..2 {
        assert_eq!(send(3..5), totals(&[15, 31]));
    }
    // Those of the request before are known no more, and still not added twice.
    assert_eq!(send(2..3), [Err(RejectReason::OutOfOrder)]);
    assert_eq!(send(5..6), totals(&[63]));
    // What is remembered for that is bounded, and keeps no series out.
    send(6..16);
    assert_eq!(streams.lock().cost, Cost { sums: 1, earlier: 9 });
    send(16..28);
    assert_eq!(streams.lock().cost, Cost { sums: 1, earlier: 0 });
    assert_eq!(send(27..28), totals(&[(1 << 28) - 1]));
}

#[test]
fn sum_that_begins_with_what_the_store_has_is_forgotten() {
    let streams = streams(10);
    let send = |second: u64, refused: Option<RejectReason>| {
        let mut changes = streams.begin(NOW_MS);
        changes.at_point(0);
        let id = changes.id("m", b"");
        let total = changes.number(id, &head(second, second + 1), Number::Int(1)).unwrap();
        let begun = changes.keep(std::slice::from_ref(&(3..5)));
        let mut outcome = BatchOutcome::default();
        if let Some(reason) = refused {
            outcome.reject(reason, 4, 1, String::new);
        }
        streams.settle(begun, &outcome);
        (total, streams.len(), streams.lock().cost.sums)
    };
    assert_eq!(send(0, Some(RejectReason::DuplicateTimestamp)), (Number::Int(1), 0, 0));
    // For want of room: it was not counted before.
    assert_eq!(send(1, Some(RejectReason::SeriesLimit)), (Number::Int(1), 1, 1));
    assert_eq!(send(2, None), (Number::Int(2), 1, 1));
    // Something of it is stored: the next sample tells the rest.
    assert_eq!(send(3, Some(RejectReason::OutOfOrder)), (Number::Int(3), 1, 1));
    assert_eq!(send(4, None), (Number::Int(4), 1, 1));
}

#[test]
fn whole_numbers_are_added_exactly_and_become_floats_only_where_they_have_to() {
    let streams = streams(10);
    let large = (1i64 << 60) + 1;
    assert_eq!(add(&streams, (0, 1), Number::Int(large)), Ok(Number::Int(large)));
    assert_eq!(add(&streams, (1, 2), Number::Int(1)), Ok(Number::Int(large + 1)));
    assert_eq!(add(&streams, (2, 3), Number::Int(i64::MAX)), Ok(Number::Double(2f64.powi(60) + 2f64.powi(63))));
    assert_eq!(add(&streams, (3, 4), Number::Double(0.5)), Ok(Number::Double(2f64.powi(60) + 2f64.powi(63))));
}

#[test]
fn delta_of_the_far_future_is_refused_and_keeps_nothing_out() {
    let streams = streams(10);
    assert_eq!(add(&streams, (0, 700), Number::Int(1)), Err(RejectReason::TooFarInFuture));
    assert_eq!(add(&streams, (0, 1), Number::Int(1)), Ok(Number::Int(1)));
}

#[test]
fn changes_that_are_not_kept_are_undone() {
    let streams = streams(10);
    assert_eq!(add(&streams, (0, 10), Number::Int(3)), Ok(Number::Int(3)));
    let mut changes = streams.begin(NOW_MS);
    let (old, new) = (changes.id("m", b""), changes.id("n", b""));
    for second in 10..13 {
        changes.number(old, &head(second, second + 1), Number::Int(1)).unwrap();
        changes.number(new, &head(second, second + 1), Number::Int(1)).unwrap();
    }
    drop(changes);
    assert_eq!((streams.len(), streams.lock().cost), (1, Cost { sums: 1, earlier: 0 }));
    assert_eq!(add(&streams, (10, 20), Number::Int(1)), Ok(Number::Int(4)));
}

#[test]
fn series_past_the_bound_are_refused_and_old_ones_go_on() {
    let streams = streams(2);
    let add = |name: &str, from: u64, now_ms: i64| {
        let mut changes = streams.begin(now_ms);
        let id = changes.id(name, b"");
        let total = changes.number(id, &head(from, from + 1), Number::Int(1)).map_err(|(reason, _)| reason);
        changes.keep(&[]);
        total
    };
    assert_eq!(add("a", 0, NOW_MS), Ok(Number::Int(1)));
    assert_eq!(add("b", 0, NOW_MS), Ok(Number::Int(1)));
    assert_eq!(add("c", 0, NOW_MS), Err(RejectReason::SeriesLimit));
    assert_eq!(add("a", 1, NOW_MS + 50_000), Ok(Number::Int(2)));
    // What was long not seen makes room.
    assert_eq!(add("c", 0, NOW_MS + 90_000), Ok(Number::Int(1)));
    assert_eq!(add("b", 1, NOW_MS + 90_000), Err(RejectReason::SeriesLimit));
    assert_eq!(add("a", 2, NOW_MS + 90_000), Ok(Number::Int(3)));
    assert_eq!(streams.len(), 2);
}

fn explicit(bounds: &[f64], counts: &[u64], sum: Option<f64>) -> ExplicitTotal {
    ExplicitTotal { bounds: bounds.to_vec(), counts: counts.to_vec(), count: counts.iter().sum(), sum }
}

#[test]
fn histograms_are_added_up_by_bucket_and_other_boundaries_begin_anew() {
    let streams = streams(100);
    let mut changes = streams.begin(NOW_MS);
    let id = changes.id("h", b"");
    let mut add = |from: u64, delta| changes.explicit(id, &head(from, from + 1), delta);
    let first = explicit(&[1.0], &[1, 2], Some(5.0));
    assert_eq!(add(0, first.clone()), Ok(first));
    assert_eq!(add(1, explicit(&[1.0], &[3, 0], Some(1.5))), Ok(explicit(&[1.0], &[4, 2], Some(6.5))));
    assert_eq!(add(2, explicit(&[1.0], &[1, 0], None)), Ok(explicit(&[1.0], &[5, 2], None)));
    let other = explicit(&[1.0, 2.0], &[1, 0, 0], None);
    assert_eq!(add(3, other.clone()), Ok(other));
    let too_large = ExplicitTotal { count: u64::MAX, ..explicit(&[1.0, 2.0], &[0, 0, 0], None) };
    assert_eq!(add(4, too_large).unwrap_err().0, RejectReason::InvalidHistogram);
    assert_eq!(add(5, explicit(&[1.0, 2.0], &[1, 0, 1], None)), Ok(explicit(&[1.0, 2.0], &[2, 0, 1], None)));
}

#[test]
fn requests_with_deltas_become_cumulative_samples_of_the_right_type() {
    let streams = streams(1000);
    let expected = [
        (1, ["3", "2.5", "3", "1", "3", "{count:4, sum:1, (1,2]:3, (2,4]:1}"]),
        (2, ["6", "5", "6", "2", "6", "{count:8, sum:2, (1,2]:6, (2,4]:2}"]),
    ];
    for (second, values) in expected {
        let metrics = vec![counter_deltas(second, 3), explicit_deltas(second), native_deltas(second)];
        let (series, metadata, refused) = stored_with(&streams, metrics);
        assert_eq!(refused, [""; 0]);
        let names = [
            r#""c_total""#,
            r#""h_sum""#,
            r#""h_count""#,
            r#""h_bucket", le="1""#,
            r#""h_bucket", le="+Inf""#,
            r#""n""#,
        ];
        let expected: Vec<String> =
            names.iter().zip(values).map(|(name, value)| format!("{{__name__={name}}} {value}")).collect();
        assert_eq!(series, expected);
        assert_eq!(metadata, ["c_total counter [] help", "h histogram [] help", "n histogram [] help"]);
    }
    // The same once more, and one that comes late.
    let (series, _, refused) = stored_with(&streams, vec![counter_deltas(2, 3), counter_deltas(1, 3)]);
    assert_eq!((series, refused.len()), (vec![r#"{__name__="c_total"} 6"#.to_owned()], 1));
    assert!(refused[0].starts_with("out_of_order: delta of "), "{}", refused[0]);
}

proptest! {
    #[test]
    fn exponential_histograms_add_up_to_all_of_their_observations(
        deltas in prop::collection::vec((-4i32..9, -400i32..400, prop::collection::vec(0u64..5, 0..200)), 1..8)
    ) {
        let streams = streams(100_000);
        let mut changes = streams.begin(NOW_MS);
        let id = changes.id("h", b"");
        let (mut count, mut schema) = (0, 8);
        for (second, (scale, offset, counts)) in deltas.into_iter().enumerate() {
            let (spans, buckets) =
                super::super::exponential::spans_of((i64::from(offset)..).zip(counts.iter().copied())).unwrap();
            let delta = Histogram {
                schema: scale,
                count: counts.iter().sum(),
                zero_threshold: 1e-128,
                positive_spans: spans,
                positive_deltas: buckets,
                ..Histogram::default()
            };
            (count, schema) = (count + delta.count, schema.min(scale));
            let total = changes.native(id, &head(second as u64, second as u64 + 1), &delta).unwrap();
            prop_assert_eq!(total.validate(), Ok(()));
            prop_assert_eq!(total.count, count);
            prop_assert!(total.schema <= schema);
            prop_assert!(total.positive_deltas.len() <= BUCKETS_MAX);
        }
    }
}
