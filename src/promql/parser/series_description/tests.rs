//! What a description means, and what is none.

use super::*;
use crate::model::histogram::{BucketSpan, CounterResetHint};
use crate::model::is_stale_nan;

fn values(text: &str) -> Vec<SequenceValue> {
    parse_series_description(text).unwrap().1
}

fn floats(text: &str) -> Vec<f64> {
    values(text)
        .into_iter()
        .map(|value| match value {
            SequenceValue::Float(value) => value,
            other => panic!("{text}: {other:?}"),
        })
        .collect()
}

fn histograms(text: &str) -> Vec<FloatHistogram> {
    values(text)
        .into_iter()
        .map(|value| match value {
            SequenceValue::Histogram { histogram, .. } => *histogram,
            other => panic!("{text}: {other:?}"),
        })
        .collect()
}

fn error(text: &str) -> String {
    parse_series_description(text).unwrap_err().to_string()
}

#[test]
fn description_of_floats_is_expanded() {
    assert_eq!(floats("a 1 -2 +3 .5 1e3 0_1"), [1.0, -2.0, 3.0, 0.5, 1000.0, 1.0]);
    assert_eq!(
        floats("{} 1x2 0+10x3 5-2x2 -1-1x1 2+0x1"),
        [1.0, 1.0, 1.0, 0.0, 10.0, 20.0, 30.0, 5.0, 3.0, 1.0, -1.0, -2.0, 2.0, 2.0]
    );
    assert_eq!(floats("a Inf -inf 1x0"), [f64::INFINITY, f64::NEG_INFINITY, 1.0]);
    assert!(floats("a NaN")[0].is_nan() && !is_stale_nan(floats("a NaN")[0]));
    assert!(is_stale_nan(floats("a stale")[0]));
    assert_eq!(values("a"), []);
    assert_eq!(values("a \t "), []);
}

#[test]
fn description_leaves_steps_out() {
    use SequenceValue::{Float, Omitted};
    assert_eq!(values("a _ 1 _x2 2"), [Omitted, Float(1.0), Omitted, Omitted, Float(2.0)]);
    assert_eq!(values("a _x0"), []);
}

#[test]
fn description_starts_with_a_metric_in_any_form() {
    for (text, labels) in [
        ("up 1", r#"{__name__="up"}"#),
        ("up{a=\"b\"} 1", r#"{__name__="up", a="b"}"#),
        ("{\"my.metric\", \"a.b\"='c',} 1", r#"{__name__="my.metric", "a.b"="c"}"#),
        ("sum:x{by=\"\"} 1", r#"{__name__="sum:x"}"#),
        ("{} 1", "{}"),
    ] {
        let (got, values) = parse_series_description(text).unwrap();
        assert_eq!(got.to_string(), labels, "{text}");
        assert_eq!(values, [SequenceValue::Float(1.0)], "{text}");
    }
}

#[test]
fn description_of_a_histogram_fills_its_fields() {
    let text = "{} {{schema:1 sum:-0.3 count:3.1 z_bucket:7 z_bucket_w:0.05 buckets:[5.1 10 7 ] offset:-3 \
                n_buckets:[4 -Inf] n_offset:5 counter_reset_hint:gauge }}";
    let expected = FloatHistogram {
        schema: 1,
        counter_reset_hint: CounterResetHint::Gauge,
        zero_threshold: 0.05,
        zero_count: 7.0,
        count: 3.1,
        sum: -0.3,
        positive_spans: vec![BucketSpan { offset: -3, length: 3 }],
        positive_buckets: vec![5.1, 10.0, 7.0],
        negative_spans: vec![BucketSpan { offset: 5, length: 2 }],
        negative_buckets: vec![4.0, f64::NEG_INFINITY],
        custom_values: vec![],
    };
    assert_eq!(values(text), [SequenceValue::Histogram { histogram: Box::new(expected), is_hint_given: true }]);
    assert_eq!(histograms("{} {{}}x2"), vec![FloatHistogram::default(); 3]);
    let custom = &histograms("{} {{schema:-53 custom_values:[0.5 1] buckets:[1 2 3]}}")[0];
    assert_eq!((custom.schema, &custom.custom_values[..]), (-53, &[0.5, 1.0][..]));
}

#[test]
fn description_of_growing_histograms_adds_bucket_by_bucket() {
    let grown = histograms("{} {{sum:1 buckets:[5 10]}}+{{sum:2 count:1 buckets:[1 2 3] offset:1}}x2");
    assert_eq!(grown.iter().map(|histogram| histogram.sum).collect::<Vec<_>>(), [1.0, 3.0, 5.0]);
    assert_eq!(grown[2].positive_spans, [BucketSpan { offset: 0, length: 4 }]);
    assert_eq!(grown[2].positive_buckets, [5.0, 12.0, 4.0, 6.0]);
    let shrunk = histograms("{} {{buckets:[5] n_buckets:[1]}}-{{buckets:[1] offset:3}}x1");
    assert_eq!(shrunk[1].positive_buckets, [5.0, -1.0]);
    assert_eq!(shrunk[1].positive_spans, [BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 2, length: 1 }]);
    assert_eq!(shrunk[1].negative_buckets, [1.0]);
}

#[test]
fn description_of_growing_histograms_coarsens_a_finer_increment() {
    // Of schema 1, bucket 0 ends at 1 and 1 and 2 end at 2^½ and 2; of schema 0, bucket 0 ends at 1 and 1 at 2.
    let grown = histograms("{} {{schema:0 buckets:[5]}}+{{schema:1 buckets:[1 2 4]}}x1");
    assert_eq!(grown[1].positive_buckets, [6.0, 6.0]);
    assert_eq!(
        error("{} {{schema:1}}+{{schema:0}}x1"),
        "1:31: parse error: error combining histograms: cannot merge from schema 0 to 1"
    );
}

#[test]
fn description_that_is_wrong_says_where() {
    for (text, expected) in [
        ("a 1 b", "1:5: parse error: unexpected identifier \"b\" in series values, expected number or \"stale\""),
        ("a 1,2", "1:4: parse error: unexpected ',' in series values, expected space"),
        ("a {b=\"c\"} 1", "1:3: parse error: unexpected '{' in series values, expected number or \"stale\""),
        ("a 1+2", "1:6: parse error: unexpected end of input in series values, expected \"x\""),
        ("a 1x", "1:5: parse error: invalid repetition in series values: \"\""),
        ("a 1x1000000", "1:5: parse error: too many series values: at most 1000000 are allowed"),
        ("a _x999999 1x1", "1:14: parse error: too many series values: at most 1000000 are allowed"),
        ("a 0x1f", "1:6: parse error: unexpected 'f' in series values, expected space"),
        ("a {{foo:1}}", "1:5: parse error: bad histogram descriptor found: \"foo\""),
        ("a {{sum 1}}", "1:5: parse error: missing `:` for histogram descriptor"),
        ("a {{sum:1 sum:2}}", "1:11: parse error: duplicate key \"sum\" in histogram"),
        ("a {{schema:99999999999}}", "1:12: parse error: integer out of range: \"99999999999\""),
        ("a {{buckets:[1 x]}}", "1:16: parse error: bad number syntax: \"x\""),
        ("a {{counter_reset_hint:maybe}}", "1:24: parse error: bad histogram descriptor found: \"maybe\""),
        (
            "a {{sum:1",
            "1:10: parse error: unexpected end of input in histogram description, expected histogram \
                       description key, e.g. buckets:[5 10 7]",
        ),
        ("a {{}}+{{}}", "1:12: parse error: unexpected end of input in series values, expected \"x\""),
        ("a{b=1} 1", "1:5: parse error: unexpected character inside braces: '1'"),
        ("a{b!=\"1\"} 1", "1:4: parse error: unexpected <op:!=> in label set, expected \"=\""),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn start_timestamps_are_offsets_of_the_samples() {
    let (labels, offsets) = parse_start_timestamps("a{b=\"c\"}@st _ -30s-1mx2 0 _x2 5ms+1sx1 -1mx1").unwrap().unwrap();
    assert_eq!(labels.to_string(), r#"{__name__="a", b="c"}"#);
    let given = [None, Some(-30_000), Some(-90_000), Some(-150_000), Some(0), None, None, Some(5), Some(1_005)];
    assert_eq!(offsets[..9], given);
    assert_eq!(offsets[9..], [Some(-60_000); 2]);
    assert_eq!(parse_start_timestamps("a 1 2").unwrap(), None);
    assert_eq!(parse_start_timestamps("a@st 1").unwrap_err().message, "not a valid duration string: \"1\"");
}
