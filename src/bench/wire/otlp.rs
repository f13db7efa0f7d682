//! OTLP's message: the same for HTTP and gRPC.
//!
//! Times and values have a fixed length on the wire, so a request's message has one length for all scrapes: it is encoded
//! once, and what changes is written over.
//!
//! Names are sent with dots where the label has underscores, as OpenTelemetry's conventions have them, so that the receiver
//! has to translate. Whatever it makes of them, dots or underscores, reading back knows the series; the digests are those
//! of underscores, which is what Prometheus' translation gives by default. Counters are cumulative monotonic sums whose
//! names end in `total` already, so no strategy adds to them.
//!
//! Source: `opentelemetry-proto/opentelemetry/proto/metrics/v1/metrics.proto`.

use std::ops::Range;

use super::super::workload::Workload;
use super::push_field;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, METRIC_NAME};

const NANOS_PER_MS: u64 = 1_000_000;

/// A request, but for its times and values.
#[derive(Debug)]
pub struct PreparedOtlp {
    series: Range<u64>,
    message: Vec<u8>,
    /// Where each series' time stands; its value follows after a tag.
    times: Vec<usize>,
    digests: Vec<Digest>,
}

/// The series of one metric, encoded as data points.
#[derive(Default)]
struct Points {
    metric: String,
    is_counter: bool,
    encoded: Vec<u8>,
    /// Where each time stands in `encoded`.
    times: Vec<usize>,
}

/// The name in OpenTelemetry's style.
fn dotted(name: &str) -> String {
    name.replace('_', ".")
}

/// Bytes from a point's time to its end: eight of the time, the tag of the value, the value.
const TAIL_BYTES: usize = 8 + 1 + 8;

impl PreparedOtlp {
    /// The request that carries these series.
    pub fn new(workload: &Workload, series: Range<u64>) -> Self {
        let mut prepared =
            PreparedOtlp { series: series.clone(), message: Vec::new(), times: Vec::new(), digests: Vec::new() };
        // Metrics of a scope; times in it are where they stand from its end on.
        let (mut scope, mut times) = (Vec::new(), Vec::new());
        let mut points = Points::default();
        let start_nanos = workload.shape().start_ms.unsigned_abs() * NANOS_PER_MS;
        let mut canonical = Vec::new();
        for number in series {
            let mut point = Vec::new();
            let mut metric = String::new();
            workload.with_labels(number, |labels| {
                canonical.clear();
                encode_canonical(labels.iter().copied(), &mut canonical);
                for label in labels {
                    if label.name == METRIC_NAME {
                        metric = dotted(label.value);
                        continue;
                    }
                    let mut value = Vec::new();
                    push_field(&mut value, 1, label.value.as_bytes());
                    let mut attribute = Vec::new();
                    push_field(&mut attribute, 1, dotted(label.name).as_bytes());
                    push_field(&mut attribute, 2, &value);
                    push_field(&mut point, 7, &attribute);
                }
            });
            prepared.digests.push(Digest::of_canonical_labels(&canonical));
            if metric != points.metric {
                points.end_metric(&mut scope, &mut times);
                points = Points { metric, is_counter: workload.is_counter(number), ..Points::default() };
            }
            if points.is_counter {
                point.push(2 << 3 | 1);
                point.extend_from_slice(&start_nanos.to_le_bytes());
            }
            // time_unix_nano and as_double.
            point.push(3 << 3 | 1);
            point.extend_from_slice(&[0; 8]);
            point.push(4 << 3 | 1);
            point.extend_from_slice(&[0; 8]);
            push_field(&mut points.encoded, 1, &point);
            points.times.push(points.encoded.len() - TAIL_BYTES);
        }
        points.end_metric(&mut scope, &mut times);
        let mut resource = Vec::new();
        push_field(&mut resource, 2, &scope);
        push_field(&mut prepared.message, 1, &resource);
        // The scope ends where the message does.
        let offset = prepared.message.len() - scope.len();
        prepared.times = times.into_iter().map(|time| offset + time).collect();
        prepared
    }

    /// Appends the message of a scrape, and gives the digest of its samples.
    pub fn encode(&self, workload: &Workload, scrape: u64, message: &mut Vec<u8>) -> Digest {
        let start = message.len();
        message.extend_from_slice(&self.message);
        let mut digest = Digest::ZERO;
        for ((series, &time), labels_digest) in self.series.clone().zip(&self.times).zip(&self.digests) {
            let sample = workload.sample(series, scrape);
            digest += labels_digest.of_sample(sample.timestamp_ms, sample.value);
            let nanos = sample.timestamp_ms.unsigned_abs() * NANOS_PER_MS;
            let at = start + time;
            if let Some(place) = message.get_mut(at..at + TAIL_BYTES) {
                place[..8].copy_from_slice(&nanos.to_le_bytes());
                place[9..].copy_from_slice(&sample.value.to_le_bytes());
            }
        }
        digest
    }
}

impl Points {
    /// Appends the metric to those of its scope, and where its times stand there.
    fn end_metric(&self, scope: &mut Vec<u8>, times: &mut Vec<usize>) {
        if self.times.is_empty() {
            return;
        }
        let mut data = self.encoded.clone();
        if self.is_counter {
            // Cumulative and monotonic.
            data.extend_from_slice(&[0x10, 2, 0x18, 1]);
        }
        let mut metric = Vec::new();
        push_field(&mut metric, 1, self.metric.as_bytes());
        push_field(&mut metric, if self.is_counter { 7 } else { 5 }, &data);
        push_field(scope, 2, &metric);
        // The points end where the scope does now, but for what follows them.
        let start = scope.len() - data.len();
        times.extend(self.times.iter().map(|time| start + time));
    }
}
