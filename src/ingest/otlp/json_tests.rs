//! Tests of OTLP's JSON: what is written by its rules is read as the message that it is.

use proptest::prelude::*;

use super::super::arbitrary::any_request;
use super::super::json_writer;
use super::super::testing::{Collected, Event};
use super::*;

fn read(body: &str) -> Result<Collected<'_>, DecodeError> {
    read_within(body, DecodeLimits::default())
}

fn read_within(body: &str, limits: DecodeLimits) -> Result<Collected<'_>, DecodeError> {
    let mut collected = Collected::default();
    decode(body.as_bytes(), limits, &mut collected)?;
    Ok(collected)
}

fn refusal(body: &str) -> String {
    read(body).unwrap_err().to_string()
}

/// A request with one metric, of which these are the fields.
fn metric(fields: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{fields}}}]}}]}}]}}"#)
}

fn gauge_value(value: &str) -> Result<Option<Number>, String> {
    let body = metric(&format!(r#""gauge":{{"dataPoints":[{{{value}}}]}}"#));
    let collected = read(&body).map_err(|error| error.to_string())?;
    match &collected.0[0] {
        Event::Metric(_, _, Metric { data: Data::Gauge(points), .. }) => Ok(points[0].value),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn request_in_json_is_read_as_the_same_request_in_protobuf(
        request in any_request(),
        style in any::<json_writer::Style>(),
    ) {
        let body = json_writer::write(&request, style);
        let read = read(&body);
        prop_assert_eq!(format!("{:?}", read.as_ref().ok()), format!("{:?}", Some(request.events())), "{:?}\n{}", read, body);
    }

    #[test]
    fn damaged_text_never_ends_in_a_panic(
        request in any_request(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = json_writer::write(&request, json_writer::Style::default()).into_bytes();
        let place = place.index(body.len());
        body[place] = byte;
        let _ = decode(&body, DecodeLimits::default(), &mut Collected::default());
    }
}

#[test]
fn numbers_are_read_to_the_bit_from_every_spelling() {
    for (text, value) in [
        ("-0", -0.0f64),
        ("-0.0", -0.0),
        ("\"-0\"", -0.0),
        ("5e-324", 5e-324),
        ("2.2250738585072014e-308", 2.2250738585072014e-308),
        ("9007199254740993", 9007199254740993.0),
        ("1.7976931348623157e308", f64::MAX),
        ("0.1", 0.1),
        ("\"1.5E+3\"", 1500.0),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
    ] {
        let Ok(Some(Number::Double(read))) = gauge_value(&format!("\"asDouble\":{text}")) else { panic!("{text}") };
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
    }
    assert!(matches!(gauge_value("\"asDouble\":\"NaN\""), Ok(Some(Number::Double(value))) if value.is_nan()));
    for text in ["\"inf\"", "\"nan\"", "\"\"", "true", "[]", "\"1.5 \"", "\"0x1\""] {
        assert!(gauge_value(&format!("\"asDouble\":{text}")).is_err(), "{text}");
    }
}

#[test]
fn integers_are_read_as_numbers_and_as_texts_within_their_range() {
    for (text, value) in [
        ("7", 7),
        ("\"7\"", 7),
        ("-9223372036854775808", i64::MIN),
        ("\"9223372036854775807\"", i64::MAX),
        ("9007199254740993", 9007199254740993),
        ("1e3", 1000),
        ("2.0", 2),
    ] {
        assert_eq!(gauge_value(&format!("\"asInt\":{text}")), Ok(Some(Number::Int(value))), "{text}");
    }
    for text in ["9223372036854775808", "\"9223372036854775808\"", "1.5", "\"x\"", "1e30", "true"] {
        assert!(gauge_value(&format!("\"asInt\":{text}")).is_err(), "{text}");
    }
    assert!(read(&metric(r#""histogram":{"dataPoints":[{"count":-1}]}"#)).is_err());
}

#[test]
fn null_is_as_good_as_absent_and_unknown_fields_are_passed_over() {
    let body = r#"{"resourceMetrics":[{"resource":null,"new":{"a":[1,{}]},"scopeMetrics":[{"scope":null,"metrics":[
        {"name":null,"gauge":null,"sum":{"dataPoints":[{"asInt":null,"asDouble":1,"attributes":null,"flags":null,
        "timeUnixNano":null,"exemplars":null}],"aggregationTemporality":null,"isMonotonic":null}}],"schemaUrl":null}]}],
        "more":null}"#;
    let collected = read(body).unwrap();
    let Event::Metric(_, _, Metric { data: Data::Sum { points, temporality, monotonic }, .. }) = &collected.0[0] else {
        panic!("{collected:?}")
    };
    assert_eq!(
        (points[0].value, *temporality, *monotonic),
        (Some(Number::Double(1.0)), Temporality::Unspecified, false)
    );
    assert_eq!(read("{}").unwrap(), Collected::default());
    assert_eq!(read(r#"{"resourceMetrics":null}"#).unwrap(), Collected::default());
    // Names of fields are in camel case alone, so these are unknown.
    assert_eq!(read(r#"{"resource_metrics":[{}]}"#).unwrap(), Collected::default());
}

#[test]
fn resource_behind_its_metrics_is_theirs() {
    let body = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"up"}],"scope":{"name":"lib"}}],
        "resource":{"attributes":[{"value":{"stringValue":"b"},"key":"a\u0062"}]}}]}"#;
    let collected = read(body).unwrap();
    let [Event::Metric(resource, scope, _), Event::End(_)] = &collected.0[..] else { panic!("{collected:?}") };
    assert_eq!((&*resource.attributes[0].key, &*scope.name), ("ab", "lib"));
}

#[test]
fn error_names_the_place_in_the_message() {
    let bad = metric(r#""name":"a"},{"gauge":{"dataPoints":[{"asInt":"1"},{"asInt":"x"}]}"#);
    let text = refusal(&bad);
    assert!(
        text.contains("JSON: resourceMetrics[0].scopeMetrics[0].metrics[1].dataPoints[1]: ") && text.contains("\"x\""),
        "{text}"
    );
    assert!(!text.contains("at line"), "{text}");
    assert!(refusal("{\n\"resourceMetrics\":[}").contains("line 2 column"), "{}", refusal("{\n\"resourceMetrics\":[}"));
    assert!(refusal(r#"{"resourceMetrics":[{"scopeMetrics":{}}]}"#).contains("resourceMetrics[0]"));
    let list_for_a_message = r#"{"resourceMetrics":[{"resource":[[]]}]}"#;
    for body in
        ["", "[]", "null", "{} x", "{\"resourceMetrics\":[null]}", "{\"resourceMetrics\":[[]]}", list_for_a_message]
    {
        assert!(read(body).is_err(), "{body:?}");
    }
    assert!(decode(b"{\"a\":\"\xff\"}", DecodeLimits::default(), &mut Collected::default()).is_err());
}

#[test]
fn two_alternatives_at_once_are_refused() {
    assert!(gauge_value(r#""asInt":1,"asDouble":1"#).is_err());
    assert!(read(&metric(r#""gauge":{},"sum":{}"#)).is_err());
    assert!(
        read(&metric(r#""gauge":{"dataPoints":[{"attributes":[{"value":{"intValue":1,"boolValue":true}}]}]}"#))
            .is_err()
    );
}

#[test]
fn ids_are_hexadecimal_and_bytes_are_base64_of_either_alphabet() {
    let body = metric(
        r#""gauge":{"dataPoints":[{"attributes":[{"value":{"bytesValue":"-_8"}},{"value":{"bytesValue":"+/8="}}],
           "exemplars":[{"traceId":"0AF7651916cd43dd8448eb211c80319c","spanId":""}]}]}"#,
    );
    let collected = read(&body).unwrap();
    let Event::Metric(_, _, Metric { data: Data::Gauge(points), .. }) = &collected.0[0] else { panic!() };
    let exemplar = &points[0].exemplars[0];
    assert_eq!(
        (exemplar.trace_id.len(), exemplar.trace_id[..2].to_vec(), exemplar.span_id.len()),
        (16, vec![0x0a, 0xf7], 0)
    );
    let values: Vec<_> = points[0].head.attributes.iter().map(|attribute| &attribute.value).collect();
    assert_eq!(values, [&AnyValue::Bytes(vec![0xfb, 0xff].into()), &AnyValue::Bytes(vec![0xfb, 0xff].into())]);
    for id in ["abc", "zz", "\u{e9}"] {
        let body = metric(&format!(r#""gauge":{{"dataPoints":[{{"exemplars":[{{"traceId":"{id}"}}]}}]}}"#));
        assert!(refusal(&body).contains("hexadecimal"), "{id}");
    }
}

#[test]
fn names_of_temporalities_are_taken_for_their_numbers() {
    for (text, expected) in [("2", Temporality::Cumulative), ("\"AGGREGATION_TEMPORALITY_DELTA\"", Temporality::Delta)]
    {
        let body = metric(&format!(r#""sum":{{"aggregationTemporality":{text}}}"#));
        let collected = read(&body).unwrap();
        let Event::Metric(_, _, Metric { data: Data::Sum { temporality, .. }, .. }) = &collected.0[0] else { panic!() };
        assert_eq!(*temporality, expected);
    }
}

#[test]
fn points_attributes_and_buckets_are_charged_for() {
    let many = |element: &str, count: usize| vec![element; count].join(",");
    let points = metric(&format!(r#""histogram":{{"dataPoints":[{}]}}"#, many("{}", 1001)));
    let limits = DecodeLimits { points: 1000, ..DecodeLimits::default() };
    assert_eq!(read_within(&points, limits), Err(DecodeError::TooMany { what: "data points", limit: 1000 }));
    let small = DecodeLimits { metric_bytes: 10_000, ..DecodeLimits::default() };
    let in_point = |fields: String| metric(&format!(r#""exponentialHistogram":{{"dataPoints":[{{{fields}}}]}}"#));
    for body in [
        points,
        in_point(format!(r#""attributes":[{}]"#, many("{}", 1000))),
        in_point(format!(r#""exemplars":[{}]"#, many("{}", 1000))),
        in_point(format!(r#""positive":{{"bucketCounts":[{}]}}"#, many("0", 5000))),
        in_point(format!(r#""attributes":[{{"value":{{"arrayValue":{{"values":[{}]}}}}}}]"#, many("{}", 1000))),
        in_point(format!(r#""attributes":[{{"key":"\n{}"}}]"#, "x".repeat(11_000))),
        in_point(format!(r#""attributes":[{{"value":{{"bytesValue":"{}"}}}}]"#, "A".repeat(12_000))),
    ] {
        assert!(read(&body).is_ok(), "{body:.100}");
        assert!(matches!(read_within(&body, small), Err(DecodeError::TooMany { limit: 10_000, .. })), "{body:.100}");
    }
}

#[test]
fn value_nested_deeper_than_the_limit_is_refused() {
    let deep = |levels: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        format!(r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"value":{open}{{}}{close}}}]}}}}]}}"#)
    };
    assert!(read(&deep(31)).is_ok());
    assert!(matches!(read(&deep(32)), Err(DecodeError::TooMany { limit: 32, .. })));
    assert!(read(&deep(100_000)).is_err());
}
