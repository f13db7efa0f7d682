//! OTLP metrics in both encodings: what is decoded twice is the same, and within the limits.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

use chronolith::encoding::put;
use chronolith::ingest::otlp::model::{Metric, MetricSink, Resource, Scope};
use chronolith::ingest::otlp::{DecodeError, DecodeLimits, json, protobuf};

use super::{Target, no_repair};

pub(super) const PROTOBUF: Target = Target {
    name: "otlp-protobuf",
    seeds: || vec![request(), Vec::new()],
    words: &[
        b"\x0a\x00",
        b"\x12\x00",
        b"\x2a\x00",
        b"\x3a\x00",
        b"\x4a\x00",
        b"\x52\x00",
        b"\x5a\x00",
        b"\x0a\x01a\x12\x03\x0a\x01b",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ],
    repair: no_repair,
    run: |input| run(input, protobuf::decode),
    bytes_fixed: 1 << 20,
    bytes_each: 500,
};

pub(super) const JSON: Target = Target {
    name: "otlp-json",
    seeds: || vec![TEXT.as_bytes().to_vec(), b"{}".to_vec()],
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"null",
        b"true",
        b"\"NaN\"",
        b"\"Infinity\"",
        b"\"-Infinity\"",
        b"1e400",
        b"-0",
        b"\"18446744073709551615\"",
        b"\"resourceMetrics\":[",
        b"\"dataPoints\":[",
        b"\"asInt\":\"-1\"",
        b"\"asDouble\":1",
        b"\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"b\"}}]",
        b"\\u00e4",
        b"\\ud800",
        b"\xff",
    ],
    run: |input| run(input, json::decode),
    ..PROTOBUF
};

const TEXT: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},
"scopeMetrics":[{"scope":{"name":"s","version":"1"},"metrics":[
{"name":"a.b","unit":"s","description":"d","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
{"attributes":[{"key":"k","value":{"intValue":"5"}}],"startTimeUnixNano":"1","timeUnixNano":"1700000000000000000","asInt":"-7",
"exemplars":[{"timeUnixNano":"5","asDouble":1.5,"spanId":"0102030405060708","traceId":"01020304050607080102030405060708"}]}]}},
{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"2","asDouble":"NaN","flags":1}]}},
{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},
{"name":"e","exponentialHistogram":{"dataPoints":[{"count":"3","scale":2,"zeroCount":"1","positive":{"offset":-1,"bucketCounts":["2"]}}]}},
{"name":"q","summary":{"dataPoints":[{"count":"3","sum":1,"quantileValues":[{"quantile":0.5,"value":2}]}]}}]}]}]}"#;

fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put::uvarint_slice(&mut out, content);
    out
}

fn request() -> Vec<u8> {
    let attribute = |key: &str| [message(1, key.as_bytes()), message(2, &message(1, b"value"))].concat();
    let fixed = |number: u8, value: u64| [&[number << 3 | 1], &value.to_le_bytes()[..]].concat();
    let point =
        [fixed(2, 1), fixed(3, 1_700_000_000_000_000_000), fixed(4, 1.5f64.to_bits()), message(7, &attribute("k"))];
    let points = message(1, &point.concat());
    let gauge = [message(1, b"a.b"), message(3, b"s"), message(5, &points)].concat();
    let sum = [message(1, b"c"), message(7, &[&*points, &[0x10, 2, 0x18, 1]].concat())].concat();
    let counts: Vec<u8> = [1u64, 2].iter().flat_map(|count| count.to_le_bytes()).collect();
    let buckets = [fixed(3, 5), fixed(4, 3), message(6, &counts), message(7, &0.5f64.to_le_bytes())].concat();
    let histogram = [message(1, b"h"), message(9, &[message(1, &buckets), vec![0x10, 2]].concat())].concat();
    let metrics = [message(2, &gauge), message(2, &sum), message(2, &histogram)].concat();
    let scope = message(2, &[message(1, &message(1, b"scope")), metrics].concat());
    message(1, &[message(1, &message(1, &attribute("service.name"))), scope].concat())
}

/// A hash of all that came, as it is shown.
#[derive(Default)]
struct Seen {
    hasher: DefaultHasher,
    metrics: u64,
}

impl fmt::Write for Seen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hasher.write(text.as_bytes());
        Ok(())
    }
}

impl<'a> MetricSink<'a> for Seen {
    fn metric(&mut self, resource: &Resource<'a>, scope: &Scope<'a>, metric: Metric<'a>) {
        self.metrics += 1;
        // A hasher takes everything.
        let _ = write!(self, "{resource:?} {scope:?} {metric:?}");
    }

    fn resource_end(&mut self, resource: &Resource<'a>) {
        let _ = write!(self, "{resource:?}");
    }
}

type Decode = for<'a> fn(&'a [u8], DecodeLimits, &mut dyn MetricSink<'a>) -> Result<(), DecodeError>;

fn run(input: &[u8], decode: Decode) -> bool {
    let seen = [(), ()].map(|()| {
        let mut seen = Seen::default();
        let end = decode(input, DecodeLimits::default(), &mut seen).map_err(|error| error.to_string());
        (end, seen.metrics, seen.hasher.finish())
    });
    assert_eq!(seen[0], seen[1]);
    seen[0].0.is_ok() && seen[0].1 > 0
}
