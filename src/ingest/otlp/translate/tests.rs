//! Tests of whole requests: what comes of metrics, points, resources and scopes.
//!
//! Expectations follow the reading of Prometheus 3.14's translation; where ours differs, the module says so.

use std::borrow::Cow;

use super::*;
use crate::ingest::accept::WriteFeatures;
use crate::ingest::otlp::model::{
    AnyValue, Exemplar, ExponentialBuckets, ExponentialPoint, HistogramPoint, Number, NumberPoint, SummaryPoint,
};
use crate::model::raw_labels::encode_canonical;
use crate::model::{Histogram, SampleValue, is_stale_nan};

const NOW_MS: i64 = 1_760_000_000_000;
const NOW_NANOS: u64 = NOW_MS as u64 * 1_000_000;

pub(super) fn attributes<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<KeyValue<'a>> {
    pairs.iter().map(|&(key, value)| KeyValue { key: key.into(), value: AnyValue::String(value.into()) }).collect()
}

fn resource<'a>(pairs: &[(&'a str, &'a str)]) -> Resource<'a> {
    Resource { attributes: attributes(pairs) }
}

fn head<'a>(pairs: &[(&'a str, &'a str)]) -> PointHead<'a> {
    PointHead { attributes: attributes(pairs), unix_nanos: NOW_NANOS, ..PointHead::default() }
}

fn end(head: PointHead<'_>) -> PointHead<'_> {
    PointHead { flags: FLAG_NO_RECORDED_VALUE, ..head }
}

fn number<'a>(head: PointHead<'a>, value: f64) -> NumberPoint<'a> {
    NumberPoint { head, value: Some(Number::Double(value)), exemplars: Vec::new() }
}

fn metric<'a>(name: &'a str, unit: &'a str, data: Data<'a>) -> Metric<'a> {
    Metric { name: name.into(), description: Cow::Borrowed("help"), unit: unit.into(), data }
}

fn counter(points: Vec<NumberPoint<'_>>) -> Data<'_> {
    Data::Sum { points, temporality: Temporality::Cumulative, monotonic: true }
}

fn classic(points: Vec<HistogramPoint<'_>>) -> Data<'_> {
    Data::Histogram { points, temporality: Temporality::Cumulative }
}

fn exponential(points: Vec<ExponentialPoint<'_>>) -> Data<'_> {
    Data::ExponentialHistogram { points, temporality: Temporality::Cumulative }
}

/// A request's batch and the rest, in words.
#[derive(Debug, Default)]
struct Stored {
    /// `{labels} value`, with the time in milliseconds after `NOW_MS` where it is another.
    series: Vec<String>,
    exemplars: Vec<String>,
    metadata: Vec<String>,
    refused: Vec<String>,
    rejected_samples: u64,
    points: crate::ingest::accept::Points,
    warnings: Vec<String>,
    exemplars_refused: u64,
    /// Entry and time of each zero.
    starts: Vec<String>,
    histograms: Vec<Histogram>,
}

fn at(ms: i64) -> String {
    if ms == NOW_MS { String::new() } else { format!(" @{}", ms - NOW_MS) }
}

fn value(value: f64) -> String {
    if is_stale_nan(value) { "stale".to_owned() } else { value.to_string() }
}

fn try_translate<'a>(
    options: &TranslateOptions,
    limits: TranslateLimits,
    resources: Vec<(Resource<'a>, Scope<'a>, Vec<Metric<'a>>)>,
) -> Result<Stored, TooMuch> {
    run(options, limits, None, resources)
}

fn run<'a>(
    options: &TranslateOptions,
    limits: TranslateLimits,
    streams: Option<&DeltaStreams>,
    resources: Vec<(Resource<'a>, Scope<'a>, Vec<Metric<'a>>)>,
) -> Result<Stored, TooMuch> {
    let mut bytes = Vec::new();
    let mut batch = WriteBatch::default();
    let mut translator = Translator::new(options, limits, &mut bytes, &mut batch);
    if let Some(streams) = streams {
        translator = translator.with_deltas(streams, NOW_MS);
    }
    for (resource, scope, metrics) in resources {
        for metric in metrics {
            translator.metric(&resource, &scope, metric);
        }
        translator.resource_end(&resource);
    }
    let Translated { decoded, warnings, .. } = translator.finish()?;
    let mut stored = Stored {
        points: decoded.points,
        rejected_samples: decoded.refused.rejected_total(),
        refused: decoded.refused.rejects.iter().map(|r| format!("{}: {}", r.reason.as_str(), r.detail)).collect(),
        metadata: decoded
            .metadata
            .iter()
            .map(|m| format!("{} {} [{}] {}", m.family, m.metric_type.as_str(), m.unit, m.help))
            .collect(),
        warnings: warnings.messages,
        exemplars_refused: decoded.refused.exemplars_rejected_total(),
        starts: batch
            .starts
            .iter()
            .map(|zero| format!("{}{} before{}", zero.entry, at(zero.timestamp_ms), at(zero.before_ms)))
            .collect(),
        ..Stored::default()
    };
    for (index, entry) in batch.series.iter().enumerate() {
        let labels = entry.labels.to_label_set().unwrap();
        let mut canonical = Vec::new();
        encode_canonical(labels.iter(), &mut canonical);
        assert_eq!(canonical, entry.labels.0, "{labels}");
        for sample in batch.samples_of(index) {
            stored.series.push(format!("{labels} {}{}", value(sample.value), at(sample.timestamp_ms)));
        }
        for sample in batch.histograms_of(index) {
            let SampleValue::Histogram(histogram) = &sample.value else { panic!("of another kind") };
            let shown = if histogram.is_stale() { "stale".to_owned() } else { histogram.to_float().to_string() };
            stored.series.push(format!("{labels} {shown}{}", at(sample.timestamp_ms)));
            stored.histograms.push((**histogram).clone());
        }
    }
    for exemplar in &batch.exemplars {
        let labels: Vec<_> = exemplar.labels.decode().unwrap();
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        let series = batch.series[exemplar.entry as usize].labels.to_label_set().unwrap();
        let series = series.get("le").map_or_else(|| series.to_string(), |le| format!("le={le}"));
        stored.exemplars.push(format!(
            "{series} # {} {}{}",
            labels.join(","),
            exemplar.value,
            at(exemplar.timestamp_ms)
        ));
    }
    let exemplars_in_order = batch.exemplars.windows(2).all(|pair| pair[0].entry <= pair[1].entry);
    assert!(exemplars_in_order);
    Ok(stored)
}

fn translate<'a>(options: &TranslateOptions, metrics: Vec<Metric<'a>>) -> Stored {
    let parts = vec![(Resource::default(), Scope::default(), metrics)];
    try_translate(options, TranslateLimits::default(), parts).unwrap()
}

fn with_defaults(metrics: Vec<Metric<'_>>) -> Stored {
    translate(&TranslateOptions::default(), metrics)
}

/// Series, metadata and refusals of a request whose deltas are added up.
pub(super) fn stored_with(streams: &DeltaStreams, metrics: Vec<Metric<'_>>) -> (Vec<String>, Vec<String>, Vec<String>) {
    let options = TranslateOptions { deltas: DeltaMode::ToCumulative, ..TranslateOptions::default() };
    let parts = vec![(Resource::default(), Scope::default(), metrics)];
    let stored = run(&options, TranslateLimits::default(), Some(streams), parts).unwrap();
    let untimed = |line: String| line.split_once(" @").map_or(line.clone(), |(line, _)| line.to_owned());
    (stored.series.into_iter().map(untimed).collect(), stored.metadata, stored.refused)
}

/// A second that ends this long after now.
fn second(end: u64) -> PointHead<'static> {
    let unix_nanos = NOW_NANOS + end * 1_000_000_000;
    PointHead { start_unix_nanos: unix_nanos - 1_000_000_000, unix_nanos, ..PointHead::default() }
}

pub(super) fn counter_deltas(end: u64, value: i64) -> Metric<'static> {
    let points = vec![NumberPoint { value: Some(Number::Int(value)), ..number(second(end), 0.0) }];
    metric("c", "", Data::Sum { points, temporality: Temporality::Delta, monotonic: true })
}

pub(super) fn explicit_deltas(end: u64) -> Metric<'static> {
    let points = vec![HistogramPoint { head: second(end), ..histogram_point(&[1.0], &[1, 2], 3, Some(2.5)) }];
    metric("h", "", Data::Histogram { points, temporality: Temporality::Delta })
}

pub(super) fn native_deltas(end: u64) -> Metric<'static> {
    let buckets = ExponentialBuckets { offset: 0, counts: vec![3, 1] };
    let points =
        vec![ExponentialPoint { head: second(end), count: 4, sum: Some(1.0), positive: buckets, ..Default::default() }];
    metric("n", "", Data::ExponentialHistogram { points, temporality: Temporality::Delta })
}

#[test]
fn gauges_and_sums_become_one_sample_a_point() {
    let int = |value| NumberPoint { value: Some(Number::Int(value)), ..number(head(&[]), 0.0) };
    let up_down = Data::Sum { points: vec![int(-3)], temporality: Temporality::Cumulative, monotonic: false };
    let stored = with_defaults(vec![
        metric("memory", "By", Data::Gauge(vec![number(head(&[("a.b", "x")]), 1.5), int(i64::MAX)])),
        metric("requests", "", counter(vec![number(head(&[]), 7.0)])),
        metric("queue", "{item}", up_down),
    ]);
    assert_eq!(stored.series, [
        r#"{__name__="memory_bytes", a_b="x"} 1.5"#,
        r#"{__name__="memory_bytes"} 9223372036854775807"#.replace("9223372036854775807", "9223372036854776000").as_str(),
        r#"{__name__="requests_total"} 7"#,
        r#"{__name__="queue"} -3"#,
    ]);
    assert_eq!(
        stored.metadata,
        ["memory_bytes gauge [bytes] help", "requests_total counter [] help", "queue gauge [] help"]
    );
    assert_eq!((stored.points.sent, stored.points.refused), (4, 0));
    assert_eq!(stored.points.entries, [0..1, 1..2, 2..3, 3..4]);
}

#[test]
fn values_keep_all_of_their_bits() {
    let bits = [0x8000_0000_0000_0000, 1, 0x7ff8_dead_beef_0001, 0xfff0_0000_0000_0001, f64::INFINITY.to_bits()];
    let points = bits.map(|bits| number(head(&[]), f64::from_bits(bits)));
    let mut bytes = Vec::new();
    let mut batch = WriteBatch::default();
    let options = TranslateOptions::default();
    let mut translator = Translator::new(&options, TranslateLimits::default(), &mut bytes, &mut batch);
    let gauge = metric("m", "", Data::Gauge(points.to_vec()));
    translator.metric(&Resource::default(), &Scope::default(), gauge);
    translator.finish().unwrap();
    assert_eq!(batch.samples.iter().map(|sample| sample.value.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn points_without_time_or_value_are_refused_by_name_and_the_others_stored() {
    let no_time = PointHead { unix_nanos: 0, ..head(&[("a", "1")]) };
    let no_value = NumberPoint { value: None, exemplars: vec![exemplar(1.0, &[])], ..number(head(&[]), 0.0) };
    let ended = NumberPoint { value: None, ..number(end(head(&[])), 0.0) };
    let points = vec![number(no_time, 1.0), no_value, ended, number(head(&[]), 2.0)];
    let stored = with_defaults(vec![metric("m", "", Data::Gauge(points))]);
    assert_eq!(stored.series, [r#"{__name__="m"} stale"#, r#"{__name__="m"} 2"#]);
    assert_eq!(
        stored.refused,
        [
            r#"invalid_point: point has no time: metric "m" {a="1"}"#,
            r#"invalid_point: point has no value: metric "m" at 1760000000000 ms"#,
        ]
    );
    assert_eq!((stored.points.sent, stored.points.refused, stored.points.entries.len()), (4, 2, 2));
    // With a point go its exemplars.
    assert_eq!(stored.exemplars_refused, 1);
}

#[test]
fn metrics_of_another_temporality_or_name_are_refused_by_point_and_those_without_points_warned_of() {
    let of = |temporality| Data::Sum { points: vec![number(head(&[]), 1.0); 2], temporality, monotonic: true };
    let histogram = HistogramPoint { head: head(&[]), explicit_bounds: vec![1.0], ..HistogramPoint::default() };
    let stored = with_defaults(vec![
        metric("d", "", of(Temporality::Delta)),
        metric("u", "", of(Temporality::Unspecified)),
        metric("h", "", Data::Histogram { points: vec![histogram], temporality: Temporality::Delta }),
        metric("@", "", Data::Gauge(vec![number(head(&[]), 1.0); 2])),
        metric("e", "", Data::Gauge(vec![])),
        metric("n", "", Data::None),
    ]);
    assert!(stored.series.is_empty() && stored.metadata.is_empty());
    assert_eq!((stored.points.sent, stored.points.refused, stored.rejected_samples), (7, 7, 2 + 2 + 3 + 2));
    assert!(stored.refused[0].starts_with("unsupported_temporality: deltas are not taken"), "{}", stored.refused[0]);
    assert!(stored.refused[6].starts_with("invalid_labels: nothing of the metric name \"@\""), "{}", stored.refused[6]);
    assert_eq!(stored.warnings, [r#"metric "e" has no data points"#, r#"metric "n" has no data points"#]);
}

#[test]
fn deltas_are_stored_as_they_are_where_that_is_asked_for() {
    let points = vec![number(head(&[]), 1.0)];
    let delta = Data::Sum { points, temporality: Temporality::Delta, monotonic: true };
    let point = ExponentialPoint { head: head(&[]), ..ExponentialPoint::default() };
    let histogram = Data::ExponentialHistogram { points: vec![point], temporality: Temporality::Delta };
    let options = TranslateOptions { deltas: DeltaMode::Native, ..TranslateOptions::default() };
    let stored = translate(&options, vec![metric("d", "", delta), metric("h", "", histogram)]);
    assert_eq!(stored.metadata, ["d_total unknown [] help", "h unknown [] help"]);
    assert_eq!(stored.series[0], r#"{__name__="d_total"} 1"#);
    assert_eq!(stored.histograms[0].counter_reset_hint, crate::model::CounterResetHint::Gauge);
}

#[test]
fn resource_gives_job_instance_promoted_labels_and_target_info() {
    let resource = resource(&[
        ("service.namespace", "shop"),
        ("service.name", "cart"),
        ("service.instance.id", "i-1"),
        ("k8s.pod.name", "cart-0"),
        ("zone", "eu"),
    ]);
    let parts = |resource: &Resource<'static>| {
        let gauge = metric("m", "", Data::Gauge(vec![number(head(&[("zone", "own")]), 1.0), number(head(&[]), 2.0)]));
        vec![(resource.clone(), Scope::default(), vec![gauge])]
    };
    let only = |names: &[&str]| Promotion::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let options = TranslateOptions { promotion: only(&["zone", "k8s.pod.name"]), ..TranslateOptions::default() };
    let stored = try_translate(&options, TranslateLimits::default(), parts(&resource)).unwrap();
    assert_eq!(
        stored.series,
        [
            r#"{__name__="m", instance="i-1", job="shop/cart", k8s_pod_name="cart-0", zone="own"} 1"#,
            r#"{__name__="m", instance="i-1", job="shop/cart", k8s_pod_name="cart-0", zone="eu"} 2"#,
            r#"{__name__="target_info", instance="i-1", job="shop/cart", k8s_pod_name="cart-0", zone="eu"} 1"#,
        ]
    );
    assert_eq!(stored.metadata, ["m gauge [] help", "target_info gauge [] Target metadata"]);
    // What comes of no point is no point's.
    assert_eq!((stored.points.sent, stored.points.entries), (2, vec![0..1, 1..2]));
    let all_but = Promotion::AllBut(vec!["zone".into(), "service.instance.id".into(), "k8s.pod.name".into()]);
    let options = TranslateOptions {
        promotion: all_but,
        keep_identifying_resource_attributes: true,
        ..TranslateOptions::default()
    };
    let stored = try_translate(&options, TranslateLimits::default(), parts(&resource)).unwrap();
    assert_eq!(
        stored.series[1..],
        [
            r#"{__name__="m", instance="i-1", job="shop/cart", service_name="cart", service_namespace="shop"} 2"#
                .to_owned(),
            concat!(
                r#"{__name__="target_info", instance="i-1", job="shop/cart", k8s_pod_name="cart-0", "#,
                r#"service_instance_id="i-1", service_name="cart", service_namespace="shop", zone="eu"} 1"#
            )
            .to_owned(),
        ]
    );
}

#[test]
fn labels_of_one_resource_are_not_given_to_the_next() {
    let promotion = Promotion::AllBut(Vec::new());
    let options = TranslateOptions { promotion, ..TranslateOptions::default() };
    let gauge = || metric("m", "", Data::Gauge(vec![number(head(&[("a", "1")]), 1.0)]));
    let parts = [&[("service.name", "x"), ("zone", "eu")][..], &[("service.name", "y")], &[]]
        .map(|pairs| (resource(pairs), Scope::default(), vec![gauge()]))
        .to_vec();
    let stored = try_translate(&options, TranslateLimits::default(), parts).unwrap();
    assert_eq!(
        stored.series,
        [
            r#"{__name__="m", a="1", job="x", service_name="x", zone="eu"} 1"#,
            r#"{__name__="target_info", job="x", zone="eu"} 1"#,
            r#"{__name__="m", a="1", job="y", service_name="y"} 1"#,
            r#"{__name__="m", a="1"} 1"#,
        ]
    );
}

#[test]
fn resource_without_name_or_without_anything_else_has_no_target_info() {
    for pairs in [
        &[("service.name", "cart"), ("service.instance.id", "1")][..],
        &[("zone", "eu")],
        &[("service.namespace", "shop"), ("zone", "eu")],
    ] {
        let gauge = metric("m", "", Data::Gauge(vec![number(head(&[]), 1.0)]));
        let parts = vec![(resource(pairs), Scope::default(), vec![gauge])];
        let stored = try_translate(&TranslateOptions::default(), TranslateLimits::default(), parts).unwrap();
        assert_eq!(stored.series.len(), 1, "{pairs:?}");
    }
    // A resource all of whose points are refused has none either.
    let no_time = PointHead { unix_nanos: 0, ..head(&[]) };
    let parts = vec![(
        resource(&[("service.name", "cart"), ("zone", "eu")]),
        Scope::default(),
        vec![metric("m", "", Data::Gauge(vec![number(no_time, 1.0)]))],
    )];
    let stored = try_translate(&TranslateOptions::default(), TranslateLimits::default(), parts).unwrap();
    assert!(stored.series.is_empty());
}

#[test]
fn target_info_has_samples_between_the_oldest_and_the_newest_point_and_not_more_than_some() {
    let times_of = |first_ms: i64| {
        let points = [first_ms, NOW_MS]
            .map(|ms| number(PointHead { unix_nanos: ms as u64 * 1_000_000, ..head(&[]) }, 1.0))
            .to_vec();
        let resource = resource(&[("service.name", "cart"), ("zone", "eu")]);
        let parts = vec![(resource, Scope::default(), vec![metric("m", "", Data::Gauge(points))])];
        let stored = try_translate(&TranslateOptions::default(), TranslateLimits::default(), parts).unwrap();
        stored.series[2..].iter().map(|line| line.split_once(" 1").unwrap().1.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(times_of(NOW_MS), [""]);
    assert_eq!(times_of(NOW_MS - 1), ["@-1", ""]);
    assert_eq!(times_of(NOW_MS - 150_000), ["@-150000", ""]);
    assert_eq!(times_of(NOW_MS - 150_001), ["@-150001", "@-1", ""]);
    assert_eq!(times_of(NOW_MS - 320_000), ["@-320000", "@-170000", "@-20000", ""]);
    let many = times_of(1);
    assert_eq!(many.len(), 2049);
    assert!(many[0].starts_with("@-3070"), "{}", many[0]);
}

#[test]
fn scope_gives_labels_where_that_is_asked_for() {
    let scope = |name: &'static str| Scope {
        name: name.into(),
        version: "1.2".into(),
        attributes: attributes(&[("a.b", "x"), ("name", "hidden")]),
        schema_url: "".into(),
    };
    let parts = || {
        let gauge = || metric("m", "", Data::Gauge(vec![number(head(&[("otel_scope_schema_url", "own")]), 1.0)]));
        let parts = |name| (Resource::default(), scope(name), vec![gauge()]);
        vec![parts("lib"), parts(""), parts("other")]
    };
    let stored = try_translate(&TranslateOptions::default(), TranslateLimits::default(), parts()).unwrap();
    assert_eq!(stored.series, vec![r#"{__name__="m", otel_scope_schema_url="own"} 1"#; 3]);
    let options = TranslateOptions { promote_scope_metadata: true, ..TranslateOptions::default() };
    let stored = try_translate(&options, TranslateLimits::default(), parts()).unwrap();
    assert_eq!(
        stored.series,
        [
            r#"{__name__="m", otel_scope_a_b="x", otel_scope_name="lib", otel_scope_version="1.2"} 1"#,
            r#"{__name__="m", otel_scope_schema_url="own"} 1"#,
            r#"{__name__="m", otel_scope_a_b="x", otel_scope_name="other", otel_scope_version="1.2"} 1"#,
        ]
    );
    assert_eq!(stored.warnings.len(), 2, "{:?}", stored.warnings);
}

#[test]
fn type_and_unit_are_labels_where_that_is_asked_for() {
    let options = TranslateOptions {
        features: WriteFeatures { type_and_unit_labels: true, ..WriteFeatures::default() },
        ..TranslateOptions::default()
    };
    let stored = translate(
        &options,
        vec![
            metric("a", "s", counter(vec![number(head(&[]), 1.0)])),
            metric("b", "", Data::Gauge(vec![number(head(&[]), 1.0)])),
        ],
    );
    assert_eq!(
        stored.series,
        [
            r#"{__name__="a_seconds_total", __type__="counter", __unit__="seconds"} 1"#,
            r#"{__name__="b", __type__="gauge"} 1"#,
        ]
    );
}

#[test]
fn zero_stands_where_a_counter_began_and_nowhere_else() {
    let began = |seconds: u64| PointHead { start_unix_nanos: NOW_NANOS - seconds * 1_000_000_000, ..head(&[]) };
    let sum = |points, monotonic| Data::Sum { points, temporality: Temporality::Cumulative, monotonic };
    let metrics = || {
        let counters =
            vec![number(began(9), 1.0), number(began(0), 1.0), number(head(&[]), 1.0), number(end(began(9)), 1.0)];
        vec![
            metric("c", "", sum(counters, true)),
            metric("u", "", sum(vec![number(began(9), 1.0)], false)),
            metric("g", "", Data::Gauge(vec![number(began(9), 1.0)])),
            metric("h", "", classic(vec![HistogramPoint { head: began(8), ..histogram_point(&[], &[], 3, None) }])),
            metric("e", "", exponential(vec![ExponentialPoint { head: began(7), ..exponential_point(0, 0, &[1]) }])),
            metric(
                "s",
                "",
                Data::Summary(vec![SummaryPoint {
                    head: began(6),
                    quantiles: vec![(0.5, 1.0)],
                    ..SummaryPoint::default()
                }]),
            ),
        ]
    };
    assert_eq!(with_defaults(metrics()).starts, [""; 0]);
    let features = WriteFeatures { start_zeros: true, ..WriteFeatures::default() };
    let stored = translate(&TranslateOptions { features, ..TranslateOptions::default() }, metrics());
    // Of the counters the first; both series of the histogram; the native one; sum and count of the summary.
    let expected = [
        "0 @-9000 before",
        "6 @-8000 before",
        "7 @-8000 before",
        "8 @-7000 before",
        "9 @-6000 before",
        "10 @-6000 before",
    ];
    assert_eq!(stored.starts, expected);
}

fn histogram_point<'a>(bounds: &[f64], counts: &[u64], count: u64, sum: Option<f64>) -> HistogramPoint<'a> {
    HistogramPoint {
        head: head(&[("a", "1")]),
        count,
        sum,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        exemplars: Vec::new(),
    }
}

#[test]
fn histogram_becomes_cumulative_counts_with_a_sum_if_there_is_one() {
    let points = vec![histogram_point(&[0.5, 10.0], &[1, 2, 4], 7, Some(3.5)), histogram_point(&[], &[], 3, None)];
    let stored = with_defaults(vec![metric("h", "s", classic(points))]);
    assert_eq!(
        stored.series,
        [
            r#"{__name__="h_seconds_sum", a="1"} 3.5"#,
            r#"{__name__="h_seconds_count", a="1"} 7"#,
            r#"{__name__="h_seconds_bucket", a="1", le="0.5"} 1"#,
            r#"{__name__="h_seconds_bucket", a="1", le="10"} 3"#,
            r#"{__name__="h_seconds_bucket", a="1", le="+Inf"} 7"#,
            r#"{__name__="h_seconds_count", a="1"} 3"#,
            r#"{__name__="h_seconds_bucket", a="1", le="+Inf"} 3"#,
        ]
    );
    assert_eq!(stored.metadata, ["h_seconds histogram [seconds] help"]);
    assert_eq!(stored.points.entries, [0..5, 5..7]);
    let ended = HistogramPoint { head: end(head(&[])), explicit_bounds: vec![1.0], ..HistogramPoint::default() };
    let stored = with_defaults(vec![metric("h", "", classic(vec![ended]))]);
    assert_eq!(
        stored.series,
        [
            r#"{__name__="h_sum"} stale"#,
            r#"{__name__="h_count"} stale"#,
            r#"{__name__="h_bucket", le="1"} stale"#,
            r#"{__name__="h_bucket", le="+Inf"} stale"#,
        ]
    );
}

#[test]
fn histograms_whose_parts_do_not_belong_together_are_refused_by_name() {
    let cases: [(&[f64], &[u64], u64, &str); 9] = [
        (&[1.0], &[1], 1, "1 buckets for 1 boundaries"),
        (&[1.0], &[1, 1, 1], 3, "3 buckets for 1 boundaries"),
        (&[1.0], &[], 0, "0 buckets for 1 boundaries"),
        (&[1.0, f64::INFINITY], &[1, 1, 0], 2, "inf, which is not finite"),
        (&[f64::NAN], &[1, 1], 2, "NaN, which is not finite"),
        (&[2.0, 1.0], &[0, 0, 0], 0, "the boundary 1 behind 2"),
        (&[0.0, -0.0], &[0, 0, 0], 0, "the boundary -0 behind 0"),
        (&[1.0], &[2, 2], 3, "4 observations in buckets, but a count of 3"),
        (&[1.0], &[u64::MAX, u64::MAX], 3, "observations in buckets, but a count of 3"),
    ];
    for nhcb in [false, true] {
        let options = TranslateOptions { convert_histograms_to_nhcb: nhcb, ..TranslateOptions::default() };
        for (bounds, counts, count, why) in cases {
            let points = vec![histogram_point(bounds, counts, count, Some(1.0)), histogram_point(&[], &[1], 1, None)];
            let stored = translate(&options, vec![metric("h", "", classic(points))]);
            assert!(stored.refused[0].starts_with("invalid_histogram: "), "{}", stored.refused[0]);
            assert!(stored.refused[0].contains(why), "{}", stored.refused[0]);
            assert_eq!((stored.points.sent, stored.points.refused), (2, 1));
            assert_eq!(stored.rejected_samples, if nhcb { 1 } else { bounds.len() as u64 + 3 });
            assert_eq!(stored.series.len(), if nhcb { 1 } else { 2 });
        }
    }
}

#[test]
fn histogram_becomes_a_native_one_with_its_boundaries_where_that_is_asked_for() {
    let options = TranslateOptions { convert_histograms_to_nhcb: true, ..TranslateOptions::default() };
    let points = vec![
        histogram_point(&[0.5, 1.0, 2.0, 3.0, 4.0], &[0, 1, 0, 0, 0, 4], 5, Some(3.5)),
        histogram_point(&[], &[], 3, None),
        histogram_point(&[1.0], &[0, 0], 0, Some(2.0)),
        HistogramPoint { head: end(head(&[])), ..HistogramPoint::default() },
    ];
    let stored = translate(&options, vec![metric("h", "s", classic(points))]);
    assert_eq!(
        stored.series,
        [
            r#"{__name__="h_seconds", a="1"} {count:5, sum:3.5, (0.5,1]:1, (4,+Inf]:4}"#,
            r#"{__name__="h_seconds", a="1"} {count:3, sum:0, [-Inf,+Inf]:3}"#,
            r#"{__name__="h_seconds", a="1"} {count:0, sum:2}"#,
            r#"{__name__="h_seconds"} stale"#,
        ]
    );
    assert_eq!(stored.warnings.len(), 1);
    let first = &stored.histograms[0];
    assert_eq!((first.schema, &first.custom_values[..]), (-53, &[0.5, 1.0, 2.0, 3.0, 4.0][..]));
}

fn exponential_point<'a>(scale: i32, offset: i32, counts: &[u64]) -> ExponentialPoint<'a> {
    ExponentialPoint {
        head: head(&[]),
        count: counts.iter().sum::<u64>() + 2,
        sum: Some(1.5),
        scale,
        zero_count: 2,
        positive: ExponentialBuckets { offset, counts: counts.to_vec() },
        ..ExponentialPoint::default()
    }
}

#[test]
fn exponential_histogram_becomes_a_native_one_with_the_same_buckets() {
    let mut both = exponential_point(0, -1, &[1, 2, 0, 0, 3, 0, 0, 0, 4]);
    both.negative = ExponentialBuckets { offset: 1, counts: vec![0, 5] };
    (both.count, both.zero_threshold) = (17, 0.25);
    let stored = with_defaults(vec![metric("h", "", exponential(vec![both, exponential_point(0, 0, &[])]))]);
    assert_eq!(
        stored.series,
        [
            r#"{__name__="h"} {count:17, sum:1.5, [-8,-4):5, [-0.25,0.25]:2, (0.5,1]:1, (1,2]:2, (8,16]:3, (128,256]:4}"#,
            r#"{__name__="h"} {count:2, sum:1.5, [-1e-128,1e-128]:2}"#,
        ]
    );
    assert_eq!(stored.histograms[0].validate(), Ok(()));
}

#[test]
fn exponential_histogram_finer_than_is_stored_is_made_coarser_by_floor_of_its_indexes() {
    // Two steps: indexes -5 to 6 fall into -2, -1, 0 and 1.
    let point = exponential_point(10, -5, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let stored = with_defaults(vec![metric("h", "", exponential(vec![point]))]);
    let histogram = &stored.histograms[0];
    assert_eq!((histogram.schema, histogram.positive_spans[0].offset), (8, -1));
    assert_eq!(crate::model::histogram::bucket_counts(&histogram.positive_deltas).collect::<Vec<_>>(), [1, 4, 4, 3]);
    // However fine it is, all falls into the bucket on either side of 1.
    let point = exponential_point(i32::MAX, -1, &[3, 4]);
    let stored = with_defaults(vec![metric("h", "", exponential(vec![point]))]);
    let histogram = &stored.histograms[0];
    assert_eq!((histogram.positive_spans[0].offset, &histogram.positive_deltas[..]), (0, &[3, 1][..]));
}

#[test]
fn exponential_histograms_that_cannot_be_stored_are_refused_by_name() {
    let good = || exponential_point(0, 0, &[1]);
    let cases = [
        (ExponentialPoint { scale: -5, ..good() }, "scale -5"),
        (ExponentialPoint { scale: i32::MIN, ..good() }, "is the coarsest"),
        (ExponentialPoint { zero_threshold: -1.0, ..good() }, "zero threshold -1"),
        (ExponentialPoint { zero_threshold: f64::NAN, ..good() }, "zero threshold NaN"),
        (ExponentialPoint { count: 9, ..good() }, "3 observations in buckets, but a count of 9"),
        (exponential_point(0, i32::MAX, &[1]), "index 2147483648"),
        (exponential_point(0, 5, &[u64::MAX - 5]), "has 18446744073709551610 observations"),
        (exponential_point(9, 0, &[1, 1]), ""),
        (ExponentialPoint { head: PointHead { unix_nanos: 0, ..head(&[]) }, ..good() }, "no time"),
    ];
    for (point, why) in cases {
        let stored = with_defaults(vec![metric("h", "", exponential(vec![point, good()]))]);
        if why.is_empty() {
            assert!(stored.refused.is_empty());
            continue;
        }
        assert!(stored.refused[0].contains(why), "{}", stored.refused[0]);
        assert_eq!((stored.points.sent, stored.points.refused, stored.series.len()), (2, 1, 1));
    }
    // Observations of NaN are in no bucket.
    let nan = ExponentialPoint { count: 9, sum: Some(f64::NAN), ..good() };
    assert_eq!(with_defaults(vec![metric("h", "", exponential(vec![nan]))]).series.len(), 1);
}

#[test]
fn summary_becomes_quantiles_with_sum_and_count() {
    let point =
        SummaryPoint { head: head(&[("a", "1")]), count: 4, sum: 2.5, quantiles: vec![(0.5, 1.0), (1.0, -0.0)] };
    let bad = SummaryPoint { quantiles: vec![(1.5, 0.0)], ..point.clone() };
    let ended = SummaryPoint { head: end(head(&[])), ..SummaryPoint::default() };
    let stored = with_defaults(vec![metric("s", "s", Data::Summary(vec![point, bad, ended]))]);
    assert_eq!(
        stored.series,
        [
            r#"{__name__="s_seconds_sum", a="1"} 2.5"#,
            r#"{__name__="s_seconds_count", a="1"} 4"#,
            r#"{__name__="s_seconds", a="1", quantile="0.5"} 1"#,
            r#"{__name__="s_seconds", a="1", quantile="1"} -0"#,
            r#"{__name__="s_seconds_sum"} stale"#,
            r#"{__name__="s_seconds_count"} stale"#,
        ]
    );
    assert_eq!(stored.metadata, ["s_seconds summary [seconds] help"]);
    assert_eq!((stored.points.refused, stored.rejected_samples), (1, 3));
}

fn exemplar<'a>(value: f64, pairs: &[(&'a str, &'a str)]) -> Exemplar<'a> {
    Exemplar {
        filtered_attributes: attributes(pairs),
        unix_nanos: NOW_NANOS - 5_000_000,
        value: Some(Number::Double(value)),
        span_id: Cow::Borrowed(&[1, 2, 3, 4, 5, 6, 7, 0xff]),
        trace_id: Cow::Borrowed(&[0xab; 16]),
    }
}

#[test]
fn exemplars_lead_to_their_trace_and_stand_at_their_bucket() {
    let ids = "span_id=01020304050607ff,trace_id=abababababababababababababababab";
    let long = "y".repeat(100);
    let mut histogram = histogram_point(&[1.0, 2.0], &[1, 1, 1], 3, None);
    histogram.exemplars = vec![
        exemplar(5.0, &[]),
        Exemplar { unix_nanos: 0, ..exemplar(1.0, &[("http.method", "GET")]) },
        exemplar(1.5, &[("x", &long)]),
        Exemplar { value: None, ..exemplar(1.0, &[]) },
        Exemplar { trace_id: Cow::Borrowed(&[1, 2]), ..exemplar(1.0, &[]) },
        Exemplar { trace_id: Cow::Borrowed(&[0; 16]), span_id: Cow::Borrowed(&[]), ..exemplar(f64::NAN, &[]) },
    ];
    let native = ExponentialPoint { exemplars: vec![exemplar(1.0, &[])], ..exponential_point(0, 0, &[1]) };
    let sum = NumberPoint { exemplars: vec![exemplar(2.0, &[])], ..number(head(&[]), 2.0) };
    let stored = with_defaults(vec![
        metric("h", "", classic(vec![histogram])),
        metric("n", "", exponential(vec![native])),
        metric("c", "", counter(vec![sum])),
    ]);
    assert_eq!(
        stored.exemplars,
        [
            format!("le=1 # http.method=GET,{ids} 1"),
            format!("le=2 # {ids} 1.5 @-5"),
            format!("le=+Inf # {ids} 5 @-5"),
            "le=+Inf #  NaN @-5".to_owned(),
            format!(r#"{{__name__="n"}} # {ids} 1 @-5"#),
            format!(r#"{{__name__="c_total"}} # {ids} 2 @-5"#),
        ]
    );
    assert_eq!((stored.exemplars_refused, stored.warnings.len(), stored.points.refused), (2, 1, 0));
}

#[test]
fn request_that_becomes_too_much_is_refused_as_a_whole() {
    let limits = TranslateLimits { series: 10, samples: 100, label_bytes: 10_000 };
    let run = |metrics| {
        try_translate(&TranslateOptions::default(), limits, vec![(Resource::default(), Scope::default(), metrics)])
    };
    let what = |metrics| run(metrics).unwrap_err().what;
    let gauge = |points: usize| metric("m", "", Data::Gauge(vec![number(head(&[]), 1.0); points]));
    assert!(run(vec![gauge(10)]).is_ok());
    assert_eq!(what(vec![gauge(5), gauge(6)]), "series");
    let bounds: Vec<f64> = (0..20).map(f64::from).collect();
    let wide = histogram_point(&bounds, &[0; 21], 0, None);
    assert_eq!(what(vec![metric("h", "", classic(vec![wide]))]), "series");
    let long = "x".repeat(4000);
    let point = HistogramPoint { head: head(&[("a", &long)]), ..histogram_point(&[1.0], &[0, 0], 0, None) };
    assert_eq!(what(vec![metric("h", "", classic(vec![point]))]), "bytes of labels");
    let points = vec![exponential_point(0, 0, &[1; 90])];
    assert!(what(vec![metric("h", "", exponential(points))]).starts_with("native histograms"));
}

/// Each would be compared with all before it, or put in front of them: hours of work for one request of a few megabytes.
#[test]
fn exemplar_and_resource_with_very_many_attributes_cost_no_more_than_what_is_kept_of_them() {
    let names: Vec<String> = (0..300_000).map(|number: u32| format!("a{}", number.reverse_bits())).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let options = TranslateOptions {
        promotion: Promotion::AllBut(Vec::new()),
        promote_scope_metadata: true,
        ..TranslateOptions::default()
    };
    let sum = NumberPoint { exemplars: vec![exemplar(2.0, &pairs)], ..number(head(&[]), 2.0) };
    let many = Resource { attributes: attributes(&pairs) };
    let scope = Scope { name: "lib".into(), attributes: attributes(&pairs), ..Scope::default() };
    let parts = vec![
        (Resource::default(), Scope::default(), vec![metric("c", "", counter(vec![sum]))]),
        (many, Scope::default(), vec![metric("r", "", Data::Gauge(vec![number(head(&[]), 1.0)]))]),
        (Resource::default(), scope, vec![metric("s", "", Data::Gauge(vec![number(head(&[]), 1.0)]))]),
    ];
    let stored = try_translate(&options, TranslateLimits::default(), parts).unwrap();
    assert_eq!(stored.series, [r#"{__name__="c_total"} 2"#]);
    let ids = "span_id=01020304050607ff,trace_id=abababababababababababababababab";
    assert_eq!(stored.exemplars, [format!(r#"{{__name__="c_total"}} # {ids} 2 @-5"#)]);
    for (refused, what) in stored.refused.iter().zip(["resource", "scope"]) {
        let why = format!("invalid_labels: more than 10000 attributes of the {what} become labels");
        assert!(refused.starts_with(&why), "{refused}");
    }
    assert_eq!(stored.points.refused, 2);
}
