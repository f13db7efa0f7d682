//! Random requests for tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::testing::{
    AnyValue, Buckets, Data, Exemplar, ExemplarNumber, ExponentialHistogram, ExponentialPoint, Gauge, Histogram,
    HistogramPoint, KeyValue, List, Map, Metric, Number, NumberPoint, Quantile, Request, Resource, ResourceMetrics,
    Scope, ScopeMetrics, Sum, Summary, SummaryPoint, Value,
};

/// Any request, within small sizes.
pub(in crate::ingest) fn any_request() -> impl Strategy<Value = Request> {
    vec(any_resource_metrics(), 0..3).prop_map(|resource_metrics| Request { resource_metrics })
}

fn any_text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z._\"\\\\\n]{1,8}", "\\PC{0,4}"].boxed()
}

/// Numbers of every kind but NaN with a payload, which JSON has not.
fn any_double() -> BoxedStrategy<f64> {
    let special =
        [0.0, -0.0, 1.0, 0.1, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    prop_oneof![proptest::sample::select(special.to_vec()), proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL]
        .boxed()
}

fn any_value() -> BoxedStrategy<AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        any_text().prop_map(|text| Some(Value::String(text))),
        any::<bool>().prop_map(|value| Some(Value::Bool(value))),
        any::<i64>().prop_map(|value| Some(Value::Int(value))),
        any_double().prop_map(|value| Some(Value::Double(value))),
        vec(any::<u8>(), 0..5).prop_map(|bytes| Some(Value::Bytes(bytes))),
    ];
    let value = leaf.prop_map(|value| AnyValue { value });
    value
        .prop_recursive(3, 12, 3, |inner| {
            let entry = (any_text(), option::of(inner.clone())).prop_map(|(key, value)| KeyValue { key, value });
            prop_oneof![
                vec(inner, 0..3).prop_map(|values| AnyValue { value: Some(Value::Array(List { values })) }),
                vec(entry, 0..3).prop_map(|values| AnyValue { value: Some(Value::Map(Map { values })) }),
            ]
        })
        .boxed()
}

fn any_attributes() -> BoxedStrategy<Vec<KeyValue>> {
    vec((any_text(), option::of(any_value())).prop_map(|(key, value)| KeyValue { key, value }), 0..3).boxed()
}

fn any_exemplars() -> BoxedStrategy<Vec<Exemplar>> {
    let number =
        prop_oneof![any_double().prop_map(ExemplarNumber::Double), any::<i64>().prop_map(ExemplarNumber::Int),];
    let id = || prop_oneof![Just(Vec::new()), vec(any::<u8>(), 8), vec(any::<u8>(), 16)];
    let exemplar = (any_attributes(), any::<u64>(), option::of(number), id(), id()).prop_map(
        |(filtered_attributes, time_unix_nano, value, span_id, trace_id)| Exemplar {
            time_unix_nano,
            span_id,
            trace_id,
            filtered_attributes,
            value,
        },
    );
    vec(exemplar, 0..2).boxed()
}

fn any_numbers() -> BoxedStrategy<Vec<NumberPoint>> {
    let number = prop_oneof![any_double().prop_map(Number::Double), any::<i64>().prop_map(Number::Int)];
    let point = (any::<(u64, u64, u32)>(), any_attributes(), any_exemplars(), option::of(number)).prop_map(
        |((start_time_unix_nano, time_unix_nano, flags), attributes, exemplars, value)| NumberPoint {
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            attributes,
            flags,
            value,
        },
    );
    vec(point, 0..3).boxed()
}

fn any_histogram() -> BoxedStrategy<HistogramPoint> {
    let sums = (option::of(any_double()), option::of(any_double()), option::of(any_double()));
    let lists = (vec(any::<u64>(), 0..4), vec(any_double(), 0..4), any_exemplars(), any_attributes());
    (any::<(u64, u64, u64, u32)>(), sums, lists)
        .prop_map(|((start, time, count, flags), (sum, min, max), (counts, bounds, exemplars, attributes))| {
            HistogramPoint {
                start_time_unix_nano: start,
                time_unix_nano: time,
                count,
                sum,
                bucket_counts: counts,
                explicit_bounds: bounds,
                exemplars,
                attributes,
                flags,
                min,
                max,
            }
        })
        .boxed()
}

fn any_exponential() -> BoxedStrategy<ExponentialPoint> {
    let buckets = || {
        let side = (any::<i32>(), vec(any::<u64>(), 0..4));
        option::of(side.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let integers = any::<(u64, u64, u64, u64, u32, i32)>();
    let lists = (buckets(), buckets(), any_exemplars(), any_attributes());
    (integers, option::of(any_double()), any_double(), lists)
        .prop_map(|((start, time, count, zero_count, flags, scale), sum, zero_threshold, lists)| {
            let (positive, negative, exemplars, attributes) = lists;
            ExponentialPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                exemplars,
                min: sum,
                max: None,
                zero_threshold,
            }
        })
        .boxed()
}

fn any_summary() -> BoxedStrategy<SummaryPoint> {
    let pair = (any_double(), any_double()).prop_map(|(quantile, value)| Quantile { quantile, value });
    (any::<(u64, u64, u64, u32)>(), any_double(), vec(pair, 0..3), any_attributes())
        .prop_map(|((start, time, count, flags), sum, quantile_values, attributes)| SummaryPoint {
            start_time_unix_nano: start,
            time_unix_nano: time,
            count,
            sum,
            quantile_values,
            attributes,
            flags,
        })
        .boxed()
}

fn any_metric() -> BoxedStrategy<Metric> {
    let temporality = || -1..4i32;
    let data = prop_oneof![
        any_numbers().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (any_numbers(), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| {
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
            }
        ),
        (vec(any_histogram(), 0..3), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(any_exponential(), 0..3), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(any_summary(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (any_text(), any_text(), any_text(), option::of(data))
        .prop_map(|(name, description, unit, data)| Metric { name, description, unit, data })
        .boxed()
}

fn any_resource_metrics() -> BoxedStrategy<ResourceMetrics> {
    let scope = (any_text(), any_text(), any_attributes()).prop_map(|(name, version, attributes)| Scope {
        name,
        version,
        attributes,
    });
    let of_scope = (option::of(scope), vec(any_metric(), 0..3), any_text())
        .prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url });
    let resource = (any_attributes(), any::<u32>())
        .prop_map(|(attributes, dropped_attributes_count)| Resource { attributes, dropped_attributes_count });
    (option::of(resource), vec(of_scope, 0..3), any_text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url })
        .boxed()
}
