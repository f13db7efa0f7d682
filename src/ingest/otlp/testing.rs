//! OTLP messages as another implementation reads and writes them (prost, from declarations after the `.proto` files), for
//! tests: what it makes of a body is what ours must make of it.

use super::model;
use super::model::{Metric as ModelMetric, MetricSink, Resource as ModelResource, Scope as ModelScope};

macro_rules! messages {
    ($($name:ident { $($(#[$attribute:meta])+ $field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Clone, PartialEq, prost::Message)]
            pub(in crate::ingest) struct $name {
                $($(#[$attribute])+ pub(in crate::ingest) $field: $type,)*
            }
        )*
    };
}

messages! {
    Request {
        #[prost(message, repeated, tag = "1")]
        resource_metrics: Vec<ResourceMetrics>,
    }
    ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        scope_metrics: Vec<ScopeMetrics>,
        #[prost(string, tag = "3")]
        schema_url: String,
    }
    Resource {
        #[prost(message, repeated, tag = "1")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "2")]
        dropped_attributes_count: u32,
    }
    ScopeMetrics {
        #[prost(message, optional, tag = "1")]
        scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        metrics: Vec<Metric>,
        #[prost(string, tag = "3")]
        schema_url: String,
    }
    Scope {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        version: String,
        #[prost(message, repeated, tag = "3")]
        attributes: Vec<KeyValue>,
    }
    KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }
    AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
        value: Option<Value>,
    }
    List {
        #[prost(message, repeated, tag = "1")]
        values: Vec<AnyValue>,
    }
    Map {
        #[prost(message, repeated, tag = "1")]
        values: Vec<KeyValue>,
    }
    Metric {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        description: String,
        #[prost(string, tag = "3")]
        unit: String,
        #[prost(oneof = "Data", tags = "5, 7, 9, 10, 11")]
        data: Option<Data>,
    }
    Gauge {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<NumberPoint>,
    }
    Sum {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<NumberPoint>,
        #[prost(int32, tag = "2")]
        aggregation_temporality: i32,
        #[prost(bool, tag = "3")]
        is_monotonic: bool,
    }
    Histogram {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<HistogramPoint>,
        #[prost(int32, tag = "2")]
        aggregation_temporality: i32,
    }
    ExponentialHistogram {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<ExponentialPoint>,
        #[prost(int32, tag = "2")]
        aggregation_temporality: i32,
    }
    Summary {
        #[prost(message, repeated, tag = "1")]
        data_points: Vec<SummaryPoint>,
    }
    NumberPoint {
        #[prost(fixed64, tag = "2")]
        start_time_unix_nano: u64,
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(message, repeated, tag = "5")]
        exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "7")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "8")]
        flags: u32,
        #[prost(oneof = "Number", tags = "4, 6")]
        value: Option<Number>,
    }
    HistogramPoint {
        #[prost(fixed64, tag = "2")]
        start_time_unix_nano: u64,
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(fixed64, tag = "4")]
        count: u64,
        #[prost(double, optional, tag = "5")]
        sum: Option<f64>,
        #[prost(fixed64, repeated, tag = "6")]
        bucket_counts: Vec<u64>,
        #[prost(double, repeated, tag = "7")]
        explicit_bounds: Vec<f64>,
        #[prost(message, repeated, tag = "8")]
        exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "9")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "10")]
        flags: u32,
        #[prost(double, optional, tag = "11")]
        min: Option<f64>,
        #[prost(double, optional, tag = "12")]
        max: Option<f64>,
    }
    ExponentialPoint {
        #[prost(message, repeated, tag = "1")]
        attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "2")]
        start_time_unix_nano: u64,
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(fixed64, tag = "4")]
        count: u64,
        #[prost(double, optional, tag = "5")]
        sum: Option<f64>,
        #[prost(sint32, tag = "6")]
        scale: i32,
        #[prost(fixed64, tag = "7")]
        zero_count: u64,
        #[prost(message, optional, tag = "8")]
        positive: Option<Buckets>,
        #[prost(message, optional, tag = "9")]
        negative: Option<Buckets>,
        #[prost(uint32, tag = "10")]
        flags: u32,
        #[prost(message, repeated, tag = "11")]
        exemplars: Vec<Exemplar>,
        #[prost(double, optional, tag = "12")]
        min: Option<f64>,
        #[prost(double, optional, tag = "13")]
        max: Option<f64>,
        #[prost(double, tag = "14")]
        zero_threshold: f64,
    }
    Buckets {
        #[prost(sint32, tag = "1")]
        offset: i32,
        #[prost(uint64, repeated, tag = "2")]
        bucket_counts: Vec<u64>,
    }
    SummaryPoint {
        #[prost(fixed64, tag = "2")]
        start_time_unix_nano: u64,
        #[prost(fixed64, tag = "3")]
        time_unix_nano: u64,
        #[prost(fixed64, tag = "4")]
        count: u64,
        #[prost(double, tag = "5")]
        sum: f64,
        #[prost(message, repeated, tag = "6")]
        quantile_values: Vec<Quantile>,
        #[prost(message, repeated, tag = "7")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "8")]
        flags: u32,
    }
    Quantile {
        #[prost(double, tag = "1")]
        quantile: f64,
        #[prost(double, tag = "2")]
        value: f64,
    }
    Exemplar {
        #[prost(fixed64, tag = "2")]
        time_unix_nano: u64,
        #[prost(bytes = "vec", tag = "4")]
        span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "5")]
        trace_id: Vec<u8>,
        #[prost(message, repeated, tag = "7")]
        filtered_attributes: Vec<KeyValue>,
        #[prost(oneof = "ExemplarNumber", tags = "3, 6")]
        value: Option<ExemplarNumber>,
    }
    Response {
        #[prost(message, optional, tag = "1")]
        partial_success: Option<PartialSuccess>,
    }
    PartialSuccess {
        #[prost(int64, tag = "1")]
        rejected_data_points: i64,
        #[prost(string, tag = "2")]
        error_message: String,
    }
    Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Duration>,
    }
    Duration {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(List),
    #[prost(message, tag = "6")]
    Map(Map),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "10")]
    ExponentialHistogram(ExponentialHistogram),
    #[prost(message, tag = "11")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum ExemplarNumber {
    #[prost(double, tag = "3")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

/// What a sink was given.
#[derive(Debug, Default, PartialEq)]
pub(in crate::ingest) struct Collected<'a>(pub(in crate::ingest) Vec<Event<'a>>);

#[derive(Debug, PartialEq)]
pub(in crate::ingest) enum Event<'a> {
    Metric(ModelResource<'a>, ModelScope<'a>, ModelMetric<'a>),
    End(ModelResource<'a>),
}

impl<'a> MetricSink<'a> for Collected<'a> {
    fn metric(&mut self, resource: &ModelResource<'a>, scope: &ModelScope<'a>, metric: ModelMetric<'a>) {
        self.0.push(Event::Metric(resource.clone(), scope.clone(), metric));
    }

    fn resource_end(&mut self, resource: &ModelResource<'a>) {
        self.0.push(Event::End(resource.clone()));
    }
}

impl Request {
    /// What a decoder should hand on.
    pub(in crate::ingest) fn events(&self) -> Collected<'_> {
        let mut events = Vec::new();
        for of_resource in &self.resource_metrics {
            let attributes = of_resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
            let resource = || ModelResource { attributes: self::attributes(attributes) };
            for of_scope in &of_resource.scope_metrics {
                let scope = of_scope.scope.clone().unwrap_or_default();
                for metric in &of_scope.metrics {
                    let scope = ModelScope {
                        name: scope.name.clone().into(),
                        version: scope.version.clone().into(),
                        attributes: self::attributes(&scope.attributes).into_iter().map(owned).collect(),
                        schema_url: of_scope.schema_url.as_str().into(),
                    };
                    events.push(Event::Metric(resource(), scope, metric.model()));
                }
            }
            events.push(Event::End(resource()));
        }
        Collected(events)
    }
}

/// An attribute that borrows nothing.
fn owned(attribute: model::KeyValue<'_>) -> model::KeyValue<'static> {
    fn value(of: model::AnyValue<'_>) -> model::AnyValue<'static> {
        use model::AnyValue::*;
        match of {
            Empty => Empty,
            String(text) => String(text.into_owned().into()),
            Bool(value) => Bool(value),
            Int(value) => Int(value),
            Double(value) => Double(value),
            Bytes(bytes) => Bytes(bytes.into_owned().into()),
            Array(values) => Array(values.into_iter().map(value).collect()),
            Map(entries) => Map(entries.into_iter().map(owned).collect()),
        }
    }
    model::KeyValue { key: attribute.key.into_owned().into(), value: value(attribute.value) }
}

fn attributes(of: &[KeyValue]) -> Vec<model::KeyValue<'_>> {
    of.iter()
        .map(|one| model::KeyValue { key: one.key.as_str().into(), value: model_value(one.value.as_ref()) })
        .collect()
}

fn model_value(value: Option<&AnyValue>) -> model::AnyValue<'_> {
    match value.and_then(|value| value.value.as_ref()) {
        None => model::AnyValue::Empty,
        Some(Value::String(text)) => model::AnyValue::String(text.as_str().into()),
        Some(Value::Bool(value)) => model::AnyValue::Bool(*value),
        Some(Value::Int(value)) => model::AnyValue::Int(*value),
        Some(Value::Double(value)) => model::AnyValue::Double(*value),
        Some(Value::Bytes(bytes)) => model::AnyValue::Bytes(bytes.as_slice().into()),
        Some(Value::Array(list)) => {
            model::AnyValue::Array(list.values.iter().map(|one| model_value(Some(one))).collect())
        }
        Some(Value::Map(map)) => model::AnyValue::Map(attributes(&map.values)),
    }
}

fn exemplars(of: &[Exemplar]) -> Vec<model::Exemplar<'_>> {
    let model = |one: &'_ Exemplar| model::Exemplar {
        filtered_attributes: attributes(&one.filtered_attributes).into_iter().map(owned).collect(),
        unix_nanos: one.time_unix_nano,
        value: one.value.as_ref().map(|value| match value {
            ExemplarNumber::Double(value) => model::Number::Double(*value),
            ExemplarNumber::Int(value) => model::Number::Int(*value),
        }),
        span_id: one.span_id.clone().into(),
        trace_id: one.trace_id.clone().into(),
    };
    of.iter().map(model).collect()
}

fn numbers(of: &[NumberPoint]) -> Vec<model::NumberPoint<'_>> {
    let mut points = Vec::new();
    for one in of {
        points.push(model::NumberPoint {
            head: head(&one.attributes, one.start_time_unix_nano, one.time_unix_nano, one.flags),
            value: one.value.as_ref().map(|value| match value {
                Number::Double(value) => model::Number::Double(*value),
                Number::Int(value) => model::Number::Int(*value),
            }),
            exemplars: exemplars(&one.exemplars),
        });
    }
    points
}

fn head(attributes: &[KeyValue], start_unix_nanos: u64, unix_nanos: u64, flags: u32) -> model::PointHead<'_> {
    model::PointHead { attributes: self::attributes(attributes), start_unix_nanos, unix_nanos, flags }
}

fn buckets(of: Option<&Buckets>) -> model::ExponentialBuckets {
    let of = of.cloned().unwrap_or_default();
    model::ExponentialBuckets { offset: of.offset, counts: of.bucket_counts }
}

impl Metric {
    fn model(&self) -> ModelMetric<'_> {
        let temporality = |number: i32| model::Temporality::from_number(i64::from(number));
        let data = match &self.data {
            None => model::Data::None,
            Some(Data::Gauge(gauge)) => model::Data::Gauge(numbers(&gauge.data_points)),
            Some(Data::Sum(sum)) => model::Data::Sum {
                points: numbers(&sum.data_points),
                temporality: temporality(sum.aggregation_temporality),
                monotonic: sum.is_monotonic,
            },
            Some(Data::Histogram(histogram)) => {
                let point = |one: &HistogramPoint| {
                    let of_head = head(&one.attributes, one.start_time_unix_nano, one.time_unix_nano, one.flags);
                    let attributes = of_head.attributes.into_iter().map(owned).collect();
                    model::HistogramPoint {
                        head: model::PointHead {
                            attributes,
                            ..head(&[], one.start_time_unix_nano, one.time_unix_nano, one.flags)
                        },
                        count: one.count,
                        sum: one.sum,
                        bucket_counts: one.bucket_counts.clone(),
                        explicit_bounds: one.explicit_bounds.clone(),
                        exemplars: exemplars(&one.exemplars).into_iter().map(owned_exemplar).collect(),
                    }
                };
                model::Data::Histogram {
                    points: histogram.data_points.iter().map(point).collect(),
                    temporality: temporality(histogram.aggregation_temporality),
                }
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let mut points = Vec::new();
                for one in &histogram.data_points {
                    points.push(model::ExponentialPoint {
                        head: head(&one.attributes, one.start_time_unix_nano, one.time_unix_nano, one.flags),
                        count: one.count,
                        sum: one.sum,
                        scale: one.scale,
                        zero_count: one.zero_count,
                        zero_threshold: one.zero_threshold,
                        positive: buckets(one.positive.as_ref()),
                        negative: buckets(one.negative.as_ref()),
                        exemplars: exemplars(&one.exemplars),
                    });
                }
                model::Data::ExponentialHistogram {
                    points,
                    temporality: temporality(histogram.aggregation_temporality),
                }
            }
            Some(Data::Summary(summary)) => {
                let mut points = Vec::new();
                for one in &summary.data_points {
                    points.push(model::SummaryPoint {
                        head: head(&one.attributes, one.start_time_unix_nano, one.time_unix_nano, one.flags),
                        count: one.count,
                        sum: one.sum,
                        quantiles: one.quantile_values.iter().map(|pair| (pair.quantile, pair.value)).collect(),
                    });
                }
                model::Data::Summary(points)
            }
        };
        ModelMetric {
            name: self.name.as_str().into(),
            description: self.description.as_str().into(),
            unit: self.unit.as_str().into(),
            data,
        }
    }
}

fn owned_exemplar(exemplar: model::Exemplar<'_>) -> model::Exemplar<'static> {
    model::Exemplar {
        filtered_attributes: exemplar.filtered_attributes.into_iter().map(owned).collect(),
        unix_nanos: exemplar.unix_nanos,
        value: exemplar.value,
        span_id: exemplar.span_id.into_owned().into(),
        trace_id: exemplar.trace_id.into_owned().into(),
    }
}

/// A metric with one point of a gauge.
pub(in crate::ingest) fn gauge(name: &str, value: f64) -> Metric {
    let point = NumberPoint { time_unix_nano: 1_000_000, value: Some(Number::Double(value)), ..NumberPoint::default() };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

/// A request with these metrics in one scope of one resource.
pub(in crate::ingest) fn request(metrics: Vec<Metric>) -> Request {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    Request { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
}

/// An attribute that is a text.
pub(in crate::ingest) fn attribute(key: &str, text: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::String(text.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}
