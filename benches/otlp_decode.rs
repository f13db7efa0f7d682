//! OTLP requests: decoding alone, decoding and translation into a batch, and beside them what a generated decoder (prost)
//! takes to make a tree of messages of the same bytes.
//!
//! A request has 2000 gauge points with 40 attributes each, in metrics of 20; or 200 histogram points with 10 attributes
//! and 15 boundaries.

use std::hint::black_box;

use chronolith::ingest::otlp::DecodeLimits;
use chronolith::ingest::otlp::model::{Metric, MetricSink, Resource, Scope};
use chronolith::ingest::otlp::protobuf::decode;
use chronolith::ingest::otlp::translate::{TranslateLimits, TranslateOptions, Translator};
use chronolith::ingest::pool::empty_vectors;
use chronolith::storage::WriteBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;

/// The messages as far as these requests go, after `opentelemetry/proto/metrics/v1/metrics.proto`.
mod messages {
    macro_rules! messages {
        ($($name:ident { $($(#[$attribute:meta])+ $field:ident: $type:ty,)* })*) => {
            $(
                #[derive(Clone, PartialEq, prost::Message)]
                pub(super) struct $name {
                    $($(#[$attribute])+ pub(super) $field: $type,)*
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
            resource: Option<ResourceMessage>,
            #[prost(message, repeated, tag = "2")]
            scope_metrics: Vec<ScopeMetrics>,
        }
        ResourceMessage {
            #[prost(message, repeated, tag = "1")]
            attributes: Vec<KeyValue>,
        }
        ScopeMetrics {
            #[prost(message, repeated, tag = "2")]
            metrics: Vec<MetricMessage>,
        }
        KeyValue {
            #[prost(string, tag = "1")]
            key: String,
            #[prost(message, optional, tag = "2")]
            value: Option<AnyValue>,
        }
        AnyValue {
            #[prost(string, tag = "1")]
            string: String,
        }
        MetricMessage {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(string, tag = "2")]
            description: String,
            #[prost(string, tag = "3")]
            unit: String,
            #[prost(message, optional, tag = "5")]
            gauge: Option<Gauge>,
            #[prost(message, optional, tag = "9")]
            histogram: Option<Histogram>,
        }
        Gauge {
            #[prost(message, repeated, tag = "1")]
            points: Vec<NumberPoint>,
        }
        NumberPoint {
            #[prost(message, repeated, tag = "7")]
            attributes: Vec<KeyValue>,
            #[prost(fixed64, tag = "2")]
            start_nanos: u64,
            #[prost(fixed64, tag = "3")]
            nanos: u64,
            #[prost(double, tag = "4")]
            value: f64,
        }
        Histogram {
            #[prost(message, repeated, tag = "1")]
            points: Vec<HistogramPoint>,
            #[prost(int32, tag = "2")]
            temporality: i32,
        }
        HistogramPoint {
            #[prost(message, repeated, tag = "9")]
            attributes: Vec<KeyValue>,
            #[prost(fixed64, tag = "3")]
            nanos: u64,
            #[prost(fixed64, tag = "4")]
            count: u64,
            #[prost(double, optional, tag = "5")]
            sum: Option<f64>,
            #[prost(fixed64, repeated, tag = "6")]
            counts: Vec<u64>,
            #[prost(double, repeated, tag = "7")]
            bounds: Vec<f64>,
        }
    }
}

use messages::{
    AnyValue, Gauge, Histogram, HistogramPoint, KeyValue, MetricMessage, NumberPoint, Request, ResourceMessage,
    ResourceMetrics, ScopeMetrics,
};

const NANOS: u64 = 1_760_000_000_000_000_000;

fn attribute(key: String, string: String) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { string }) }
}

fn attributes(count: usize, point: usize) -> Vec<KeyValue> {
    let value = |number: usize| format!("value-{number}-{}", if number.is_multiple_of(4) { point } else { 0 });
    (0..count).map(|number| attribute(format!("attribute.key.{number:02}"), value(number))).collect()
}

fn request(metrics: Vec<MetricMessage>) -> Vec<u8> {
    let resource = [("service.name", "cart"), ("service.instance.id", "cart-0"), ("host.name", "node-17")];
    let attributes = resource.map(|(key, value)| attribute(key.to_owned(), value.to_owned())).to_vec();
    let scope_metrics = vec![ScopeMetrics { metrics }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(ResourceMessage { attributes }), scope_metrics }];
    Request { resource_metrics }.encode_to_vec()
}

fn gauges() -> Vec<u8> {
    let point = |number| NumberPoint {
        attributes: attributes(40, number),
        nanos: NANOS,
        value: number as f64 + 0.5,
        ..NumberPoint::default()
    };
    let metric = |number: usize| MetricMessage {
        name: format!("process.runtime.metric_{number}"),
        unit: "By".to_owned(),
        gauge: Some(Gauge { points: (0..20).map(|index| point(number * 20 + index)).collect() }),
        ..MetricMessage::default()
    };
    request((0..100).map(metric).collect())
}

fn histograms() -> Vec<u8> {
    let point = |number| HistogramPoint {
        attributes: attributes(10, number),
        nanos: NANOS,
        count: 160,
        sum: Some(17.5),
        counts: vec![10; 16],
        bounds: (1..16).map(|bound| f64::from(bound) * 0.25).collect(),
    };
    let metric = |number: usize| MetricMessage {
        name: format!("http.server.duration_{number}"),
        unit: "s".to_owned(),
        histogram: Some(Histogram {
            points: (0..10).map(|index| point(number * 10 + index)).collect(),
            temporality: 2,
        }),
        ..MetricMessage::default()
    };
    request((0..20).map(metric).collect())
}

/// Takes metrics and does nothing with them.
#[derive(Default)]
struct Counted(usize);

impl<'a> MetricSink<'a> for Counted {
    fn metric(&mut self, _resource: &Resource<'a>, _scope: &Scope<'a>, metric: Metric<'a>) {
        black_box(&metric);
        self.0 += 1;
    }

    fn resource_end(&mut self, _resource: &Resource<'a>) {}
}

fn otlp_decode(criterion: &mut Criterion) {
    let options = TranslateOptions::default();
    for (name, message, points) in [("40_attributes", gauges(), 2000), ("histograms", histograms(), 200)] {
        let mut group = criterion.benchmark_group(format!("otlp_decode/{name}"));
        group.throughput(Throughput::Elements(points));
        group.bench_function("prost", |bencher| {
            bencher.iter(|| Request::decode(black_box(&message[..])).map(|request| request.resource_metrics.len()));
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                let mut counted = Counted::default();
                decode(black_box(&message), DecodeLimits::default(), &mut counted).map(|()| counted.0)
            });
        });
        group.bench_function("decode_and_translate", |bencher| {
            let (mut series, mut samples, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            bencher.iter(|| {
                let mut batch = WriteBatch {
                    series: std::mem::take(&mut series),
                    samples: std::mem::take(&mut samples),
                    ..WriteBatch::default()
                };
                let limits = TranslateLimits::default();
                let mut translator = Translator::new(&options, limits, &mut bytes, &mut batch);
                let decoded = decode(black_box(&message), DecodeLimits::default(), &mut translator);
                let translated = translator.finish();
                assert!(decoded.is_ok() && translated.is_ok_and(|it| it.decoded.points.refused == 0));
                let count = batch.series.len();
                (series, samples) = empty_vectors(batch);
                count
            });
        });
        group.finish();
    }
}

criterion_group!(benches, otlp_decode);
criterion_main!(benches);
