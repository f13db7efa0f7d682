//! What a column holds at a step is what an instant query at that time gives: tried on random expressions, against
//! random data with gaps, resets, staleness markers, infinities and histograms.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::model::histogram::BucketSpan;
use crate::model::{FloatHistogram, stale_nan};

/// The samples of one series: gaps between them, and their values.
fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let value = prop_oneof![
        8 => (-5i32..20).prop_map(f64::from),
        2 => (-4000i32..4000).prop_map(|quarters| f64::from(quarters) / 4.0),
        1 => Just(stale_nan()),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
    ];
    let gap = prop_oneof![4 => Just(15 * SECOND), 1 => 1..400 * SECOND];
    prop::collection::vec((gap, value), 0..40)
}

/// A histogram for some of the values, of a resolution that changes with them.
fn histogram(value: f64) -> Option<FloatHistogram> {
    if !(value >= 0.0 && value.is_finite() && value.fract() == 0.0) {
        return None;
    }
    Some(FloatHistogram {
        schema: (value % 3.0) as i32,
        count: value + 3.0,
        sum: 2.0 * value,
        zero_threshold: 0.25,
        zero_count: 2.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, value],
        ..FloatHistogram::default()
    })
}

fn data() -> impl Strategy<Value = MemoryStorage> {
    prop::collection::vec(samples(), 9).prop_map(|all| {
        let mut storage = MemoryStorage::new();
        for (index, samples) in all.into_iter().enumerate() {
            let (a, b) = ((index % 3).to_string(), (index / 3 % 2).to_string());
            let name = if index < 6 { "x" } else { "y" };
            let labels = labels(&[("__name__", name), ("a", &a), ("b", &b)]);
            let mut at_ms = 0;
            for (gap_ms, value) in samples {
                at_ms += gap_ms;
                match histogram(value) {
                    Some(histogram) if a == "2" => storage.append_histogram(&labels, at_ms, histogram),
                    _ => storage.append(&labels, at_ms, value),
                }
            }
        }
        storage
    })
}

/// A selector, perhaps in a function or in an aggregation whose choice between equal values follows from the order of
/// the series: that of other operands may differ between a range and a step.
fn leaf() -> impl Strategy<Value = String> {
    let around = prop_oneof![
        6 => Just(("", "")),
        1 => Just(("topk(2, ", ")")),
        1 => Just(("bottomk by (a) (1, ", ")")),
        1 => Just(("count_values(\"v\", ", ")")),
    ];
    (around, selector()).prop_map(|((before, after), selector)| format!("{before}{selector}{after}"))
}

fn selector() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("x"), Just("y"), Just(r#"x{a!="1"}"#), Just(r#"{a=~"0|1", b="0"}"#)];
    let modifier = prop_oneof![5 => Just(""), 1 => Just(" offset 1m"), 1 => Just(" offset -1m"), 1 => Just(" @ 200")];
    (name, modifier, any::<bool>()).prop_map(|(name, modifier, ranged)| {
        let function = if modifier.len() % 2 == 0 { "rate" } else { "max_over_time" };
        if ranged { format!("{function}({name}[2m]{modifier})") } else { format!("{name}{modifier}") }
    })
}

fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 2, |inner| {
        let aggregate = prop_oneof![
            Just("sum by (a) ("),
            Just("avg without (b) ("),
            Just("count("),
            Just("max by (b) ("),
            Just("stddev by (a) ("),
            Just("quantile by (b) (0.3, "),
            Just("limit_ratio(0.5, "),
        ];
        let function = prop_oneof![
            Just(("histogram_count(", ")")),
            Just(("histogram_quantile(0.7, ", ")")),
            Just(("abs(", ")")),
            Just(("-(", ")")),
            Just(("timestamp(", ")")),
            Just(("absent(", ")")),
            Just(("vector(scalar(", "))")),
            Just(("sum_over_time((", ")[2m:30s])")),
            Just(("last_over_time((", ")[3m:1m] offset 1m)")),
            Just(("label_replace(", r#", "c", "$1", "a", "(.)")"#)),
        ];
        let scalar =
            prop_oneof![Just(" * 2"), Just(" > 3"), Just(" <= bool 1"), Just(" ^ 2"), Just(" % 7"), Just(" </ 2")];
        let operator = prop_oneof![
            Just(" + "),
            Just(" / on (a, b) "),
            Just(" - ignoring (b) "),
            Just(" * on (a) group_left (b) "),
            Just(" > bool on (b) group_right () "),
            Just(" == "),
            Just(" and on (a) "),
            Just(" or "),
            Just(" unless ignoring (b) "),
            Just(" + on (a) fill (1) "),
        ];
        prop_oneof![
            (aggregate, inner.clone()).prop_map(|(aggregate, inner)| format!("{aggregate}{inner})")),
            (function, inner.clone()).prop_map(|((before, after), inner)| format!("{before}{inner}{after}")),
            (scalar, inner.clone()).prop_map(|(scalar, inner)| format!("({inner}){scalar}")),
            (operator, inner.clone(), inner).prop_map(|(operator, left, right)| format!("({left}){operator}({right})")),
        ]
    })
}

/// The values of one step by labels, as text with twelve digits: in which order floats are added up may differ too.
fn at_step(value: &QueryValue, at_ms: i64) -> BTreeMap<LabelSet, String> {
    let number = |value: f64| format!("{:.11e}", value + 0.0);
    let text = |value: f64, histogram: Option<&FloatHistogram>| match histogram {
        None => number(value),
        Some(one) => {
            let mut whole = one.clone();
            whole.compact();
            let buckets = whole.positive_buckets.iter().copied().map(number).collect::<Vec<_>>().join(" ");
            let (count, sum, zero) = (number(one.count), number(one.sum), number(one.zero_count));
            format!("{} {count} {sum} {zero} {:?} [{buckets}]", one.schema, whole.positive_spans)
        }
    };
    match value {
        QueryValue::Vector(samples) => {
            samples.iter().map(|one| (one.labels.clone(), text(one.value, one.histogram.as_deref()))).collect()
        }
        QueryValue::Matrix(matrix) => {
            let found = matrix.iter().filter_map(|one| {
                let index = one.samples.timestamps_ms.binary_search(&at_ms).ok()?;
                let histograms = &one.samples.histograms;
                let place = histograms.binary_search_by_key(&index, |(at, _)| *at).ok();
                let histogram = place.map(|place| &histograms[place].1);
                Some((one.labels.clone(), text(one.samples.values[index], histogram)))
            });
            found.collect()
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn range_query_gives_at_each_step_what_an_instant_query_gives(
        storage in data(),
        query in expression(),
        delayed_name_removal in any::<bool>(),
    ) {
        // With `or`, the first sample of a series decides for all whether the name goes; one step cannot know that.
        let delayed_name_removal = delayed_name_removal && !query.contains(" or ");
        let engine = engine(EngineOptions { delayed_name_removal, ..EngineOptions::default() });
        let options = QueryOptions::default();
        let Ok(expr) = parse_expr(&query) else { return Err(TestCaseError::reject("does not parse")) };
        let (start_ms, end_ms, step_ms) = (-30 * SECOND, 600 * SECOND, 37 * SECOND);
        let whole = engine.range(&storage, &expr, start_ms, end_ms, step_ms, &options);
        let mut failures = 0;
        for at_ms in (start_ms..=end_ms).step_by(step_ms as usize) {
            match (&whole, engine.instant(&storage, &expr, at_ms, &options)) {
                (Ok(whole), Ok(one)) => {
                    prop_assert_eq!(at_step(&whole.value, at_ms), at_step(&one.value, at_ms), "{} at {}", query, at_ms);
                }
                (Ok(_), Err(error)) => prop_assert!(false, "{query} at {at_ms}: {error}"),
                (Err(_), outcome) => failures += usize::from(outcome.is_err()),
            }
        }
        if let Err(error) = whole {
            // Series that collide at different steps of a function collide only in the whole range.
            let is_same_labels = error.to_string().starts_with("vector cannot contain");
            prop_assert!(failures > 0 || is_same_labels, "{query}: {error}");
        }
    }
}
