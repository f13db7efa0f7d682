//! The same as length-delimited messages `io.prometheus.client.MetricFamily`, native histograms among them.
//!
//! Source: `prometheus/client_model`, `io/prometheus/client/metrics.proto`; Prometheus `web/federate.go`.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use super::{Escaping, Newest, name_of};
use crate::encoding::protobuf::{
    put_message, put_present_double, put_present_sint, put_present_uint, put_tagged_doubles,
};
use crate::encoding::put;
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};
use crate::model::{CounterResetHint, FloatHistogram, METRIC_NAME};

const MEDIA_TYPE: &str = "application/vnd.google.protobuf";
const MESSAGE: &str = "io.prometheus.client.MetricFamily";

const UNTYPED: u64 = 3;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

/// Whether a client likes delimited messages at least as much as any text.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let (mut best_message, mut best_text) = (0.0f32, 0.0f32);
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for entry in accepts.flat_map(|value| value.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let (mut quality, mut is_message, mut is_delimited) = (1.0, false, false);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match (key.trim(), value.trim().trim_matches('"')) {
                ("q", value) => quality = value.parse().unwrap_or(1.0),
                ("proto", value) => is_message = value == MESSAGE,
                ("encoding", value) => is_delimited = value == "delimited",
                _ => {}
            }
        }
        match media_type {
            MEDIA_TYPE if is_message && is_delimited => best_message = best_message.max(quality),
            "text/plain" => best_text = best_text.max(quality),
            _ => {}
        }
    }
    best_message > 0.0 && best_message >= best_text
}

pub(super) fn content_type(escaping: Escaping) -> &'static str {
    match escaping {
        Escaping::Utf8 => {
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8"
        }
        Escaping::Underscores => {
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
        }
    }
}

/// A family of series with one name whose newest samples are of one kind.
#[derive(PartialEq)]
struct Family<'a> {
    name: &'a str,
    kind: u64,
}

/// The families one behind the other, each behind its length. Where the samples of one name are of several kinds it begins
/// another family, as in Prometheus.
pub(super) fn families(newest: &[Newest], escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::new();
    let mut open: Option<Family<'_>> = None;
    let mut message = Vec::new();
    for one in newest {
        let kind = match &one.histogram {
            None => UNTYPED,
            Some(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => continue,
            Some(histogram) if histogram.counter_reset_hint == CounterResetHint::Gauge => GAUGE_HISTOGRAM,
            Some(_) => HISTOGRAM,
        };
        let family = Family { name: name_of(&one.labels), kind };
        if open.as_ref() != Some(&family) {
            if open.is_some() {
                put::uvarint_slice(&mut out, &message);
            }
            message.clear();
            put_message(&mut message, 1, escaping.apply(family.name, true).as_bytes());
            put_present_uint(&mut message, 3, kind);
            open = Some(family);
        }
        put_message(&mut message, 4, &metric(one, escaping));
    }
    if open.is_some() {
        put::uvarint_slice(&mut out, &message);
    }
    out
}

/// One series, as `io.prometheus.client.Metric`. One without `instance` gets an empty one.
fn metric(one: &Newest, escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::new();
    let instance = one.labels.get("instance").is_none().then_some(("instance", ""));
    let pairs = one.labels.iter().filter(|label| label.name != METRIC_NAME).map(|label| (label.name, label.value));
    for (name, value) in pairs.chain(instance) {
        let mut pair = Vec::new();
        put_message(&mut pair, 1, escaping.apply(name, false).as_bytes());
        put_message(&mut pair, 2, value.as_bytes());
        put_message(&mut out, 1, &pair);
    }
    if one.histogram.is_none() {
        let mut untyped = Vec::new();
        put_present_double(&mut untyped, 1, one.value);
        put_message(&mut out, 5, &untyped);
    }
    put_present_uint(&mut out, 6, one.timestamp_ms as u64);
    if let Some(histogram) = &one.histogram {
        put_message(&mut out, 7, &histogram_message(histogram));
    }
    out
}

fn histogram_message(histogram: &FloatHistogram) -> Vec<u8> {
    let mut out = Vec::new();
    put_present_double(&mut out, 2, histogram.sum);
    put_present_double(&mut out, 4, histogram.count);
    put_present_sint(&mut out, 5, histogram.schema.into());
    put_present_double(&mut out, 6, histogram.zero_threshold);
    put_present_double(&mut out, 8, histogram.zero_count);
    put_spans(&mut out, 9, &histogram.negative_spans);
    put_tagged_doubles(&mut out, 11, &histogram.negative_buckets);
    put_spans(&mut out, 12, &histogram.positive_spans);
    put_tagged_doubles(&mut out, 14, &histogram.positive_buckets);
    out
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[BucketSpan]) {
    for span in spans {
        let mut message = Vec::new();
        put_present_sint(&mut message, 1, span.offset.into());
        put_present_uint(&mut message, 2, span.length.into());
        put_message(out, field, &message);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn messages_are_sent_to_whom_likes_them_no_less_than_text() {
        let asked = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            is_asked_for(&headers)
        };
        // What a Prometheus sends that scrapes native histograms, and what it sends else.
        assert!(asked(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;\
             q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ));
        assert!(!asked("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"));
        assert!(!asked(
            "text/plain;q=0.6,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5"
        ));
        assert!(!asked("application/vnd.google.protobuf;proto=other;encoding=delimited"));
        assert!(!asked("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"));
        assert!(!is_asked_for(&HeaderMap::new()));
    }
}
