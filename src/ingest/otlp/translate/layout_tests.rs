//! Tests of the labels of points.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::label_names::LabelNaming;
use super::*;
use crate::ingest::otlp::model::AnyValue;
use crate::model::RawLabels;
use crate::model::raw_labels::encode_canonical;

const NAMING: LabelNaming = LabelNaming { escapes: true, key_before_underscore: true, keep_underscores: true };

fn attributes<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<KeyValue<'a>> {
    pairs.iter().map(|&(key, value)| KeyValue { key: key.into(), value: AnyValue::String(value.into()) }).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn shared(over: &[(&str, &str)], under: &[(&str, &str)]) -> SharedLabels {
    SharedLabels { over: pairs(over), under: pairs(under) }
}

fn name_label(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_label(&mut out, METRIC_NAME, name.as_bytes());
    out
}

/// The set that the bytes stand for, which have to be its canonical ones.
fn set_of(bytes: &[u8]) -> String {
    let set = RawLabels(bytes).to_label_set().unwrap();
    let mut canonical = Vec::new();
    encode_canonical(set.iter(), &mut canonical);
    assert_eq!(canonical, bytes, "{set}");
    set.to_string()
}

fn labels_of(layout: &mut Layout<'_>, attributes: &[KeyValue<'_>]) -> String {
    let mut out = Vec::new();
    layout.write(&mut out, attributes, &name_label("m"));
    set_of(&out)
}

#[test]
fn labels_of_a_point_are_sorted_whatever_the_order_of_its_attributes() {
    let mut layout = Layout::new("");
    let mut warnings = Warnings::default();
    let shared = shared(&[("instance", "i"), ("job", "j")], &[]);
    for order in
        [[("z.a", "1"), ("A", "2"), ("http.method", "GET")], [("A", "2"), ("z.a", "1"), ("http.method", "GET")]]
    {
        let attributes = attributes(&order);
        layout.fit(&attributes, &shared, NAMING, &mut warnings).unwrap();
        let expected = r#"{A="2", __name__="m", http_method="GET", instance="i", job="j", z_a="1"}"#;
        assert_eq!(labels_of(&mut layout, &attributes), expected);
    }
    assert!(warnings.is_empty());
}

#[test]
fn attributes_of_one_label_are_joined_by_the_order_of_their_names_and_warned_of_once() {
    let mut layout = Layout::new("");
    let mut warnings = Warnings::default();
    for values in [["x", "y", "z"], ["x", "", "z"], ["", "y", ""]] {
        let point = attributes(&[("a_b", values[0]), ("a.b", values[1]), ("a-b", values[2])]);
        layout.reset();
        layout.fit(&point, &SharedLabels::default(), NAMING, &mut warnings).unwrap();
        let joined = match values {
            ["x", "y", "z"] => "z;y;x",
            ["x", ..] => "z;;x",
            // What is empty in front is no value yet.
            _ => "y;",
        };
        assert_eq!(labels_of(&mut layout, &point), format!(r#"{{__name__="m", a_b="{joined}"}}"#));
    }
    assert_eq!(warnings.counts, [0, 1, 0, 0]);
    let expected =
        r#"data point attributes "a-b", "a.b", "a_b" become the label "a_b"; their values are joined with ';'"#;
    assert_eq!(warnings.messages, [expected]);
}

#[test]
fn attribute_hides_what_is_promoted_and_is_hidden_by_what_identifies_the_resource() {
    let mut layout = Layout::new("");
    let mut warnings = Warnings::default();
    let shared = shared(&[("job", "j"), ("otel_scope_version", "")], &[("env", "prod"), ("zone", "eu")]);
    let point =
        attributes(&[("env", "test"), ("zone", ""), ("job", "own"), ("otel.scope.version", "1"), ("__name__", "x")]);
    layout.fit(&point, &shared, NAMING, &mut warnings).unwrap();
    assert_eq!(labels_of(&mut layout, &point), r#"{__name__="m", env="test", job="j", zone="eu"}"#);
    assert_eq!(warnings.counts, [0, 2, 0, 0]);
}

#[test]
fn point_with_an_attribute_that_can_be_no_label_does_not_fit_and_the_next_may() {
    let mut layout = Layout::new("");
    let mut warnings = Warnings::default();
    let bad = attributes(&[("a", "1"), ("", "2")]);
    for _ in 0..2 {
        assert!(layout.fit(&bad, &SharedLabels::default(), NAMING, &mut warnings).is_err());
    }
    let good = attributes(&[("a", "1"), ("b", "2")]);
    layout.fit(&good, &SharedLabels::default(), NAMING, &mut warnings).unwrap();
    assert_eq!(labels_of(&mut layout, &good), r#"{__name__="m", a="1", b="2"}"#);
}

#[test]
fn series_of_a_point_differ_in_name_and_extra_label_alone() {
    let mut layout = Layout::new("le");
    let mut warnings = Warnings::default();
    let point = attributes(&[("le", "own"), ("A", "1"), ("b", "2"), ("z", "3")]);
    layout.fit(&point, &shared(&[("job", "j")], &[]), NAMING, &mut warnings).unwrap();
    let mut out = Vec::new();
    let parts = layout.write_parts(&mut out, &point);
    let mut series = |name: &str, extra| {
        let start = out.len();
        parts.put(&mut out, &name_label(name), extra);
        set_of(&out[start..])
    };
    assert_eq!(
        series("m_bucket", Some(("le", &b"0.5"[..]))),
        r#"{A="1", __name__="m_bucket", b="2", job="j", le="0.5", z="3"}"#
    );
    assert_eq!(series("m_count", None), r#"{A="1", __name__="m_count", b="2", job="j", le="own", z="3"}"#);
}

/// What Prometheus' rules give, label by label.
fn model(point: &[(String, String)], shared: &SharedLabels) -> Option<BTreeMap<String, String>> {
    let mut sorted = point.to_vec();
    sorted.sort();
    let mut labels = BTreeMap::<String, String>::new();
    for (key, value) in sorted.iter().filter(|(key, _)| key != METRIC_NAME) {
        let label = labels.entry(NAMING.name(key).ok()?.into_owned()).or_default();
        *label = if label.is_empty() { value.clone() } else { format!("{label};{value}") };
    }
    for (name, value) in &shared.under {
        let label = labels.entry(name.clone()).or_default();
        if label.is_empty() {
            label.clone_from(value);
        }
    }
    for (name, value) in shared.over.iter().chain([&(METRIC_NAME.to_owned(), "m".to_owned())]) {
        labels.insert(name.clone(), value.clone());
    }
    labels.retain(|_, value| !value.is_empty());
    Some(labels)
}

proptest! {
    #[test]
    fn labels_are_those_of_the_rules_applied_one_by_one(
        points in prop::collection::vec(prop::collection::vec(("[._a-cA]{1,3}|__name__", "|[xyß]{1,200}"), 0..6), 1..4),
        over in prop::collection::btree_map("[_a-cA]{1,2}", "|x", 0..3),
        under in prop::collection::btree_map("[_a-cA]{1,2}", "x|y", 0..3),
    ) {
        let shared = SharedLabels { over: over.into_iter().collect(), under: under.into_iter().collect() };
        let (mut plain, mut with_extra) = (Layout::new(""), Layout::new("b"));
        let mut warnings = Warnings::default();
        for mut point in points {
            // Attributes of one name are joined in the order in which they come, which the model does not know.
            point.sort();
            point.dedup_by(|a, b| a.0 == b.0);
            let attributes: Vec<_> = point
                .iter()
                .map(|(key, value)| KeyValue { key: key.clone().into(), value: AnyValue::String(value.clone().into()) })
                .collect();
            let fits = plain.fit(&attributes, &shared, NAMING, &mut warnings);
            let also_fits = with_extra.fit(&attributes, &shared, NAMING, &mut warnings);
            let Some(expected) = model(&point, &shared) else {
                prop_assert!(fits.is_err() && also_fits.is_err());
                continue;
            };
            prop_assert!(fits.is_ok() && also_fits.is_ok());
            let pairs = |labels: &BTreeMap<String, String>| {
                let mut out = Vec::new();
                encode_canonical(labels.iter().map(|(name, value)| crate::model::Label { name, value }), &mut out);
                out
            };
            let mut out = Vec::new();
            plain.write(&mut out, &attributes, &name_label("m"));
            prop_assert_eq!(&out, &pairs(&expected));
            out.clear();
            let parts = with_extra.write_parts(&mut out, &attributes);
            let start = out.len();
            parts.put(&mut out, &name_label("m"), None);
            prop_assert_eq!(&out[start..], &pairs(&expected)[..]);
            let start = out.len();
            parts.put(&mut out, &name_label("m"), Some(("b", b"extra")));
            let mut expected = expected;
            expected.insert("b".to_owned(), "extra".to_owned());
            prop_assert_eq!(&out[start..], &pairs(&expected)[..]);
        }
    }
}
