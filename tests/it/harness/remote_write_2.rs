//! Remote write 2.0 as bytes, written for the tests alone: what the server reads is not what the server wrote.
//!
//! Source: `prompb/io/prometheus/write/v2/types.proto` of Prometheus; protobuf's wire format.

use std::io;
use std::net::SocketAddr;

use super::http::{self, Response};
use super::remote_write::{self, compress, put_bytes, put_varint};

/// The content type of the message.
pub const CONTENT_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A request under construction. What refers to symbols may refer to any number, there or not.
#[derive(Debug, Clone)]
pub struct Request {
    /// The symbols, the empty one first.
    pub symbols: Vec<Vec<u8>>,
    /// The `TimeSeries` messages.
    pub series: Vec<Vec<u8>>,
}

/// A `TimeSeries` message under construction.
#[derive(Debug, Clone, Default)]
pub struct Series(pub Vec<u8>);

impl Default for Request {
    fn default() -> Self {
        Request { symbols: vec![Vec::new()], series: Vec::new() }
    }
}

impl Request {
    /// The number of a text, which is added if it is new.
    pub fn symbol(&mut self, text: &[u8]) -> u64 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        known.unwrap_or_else(|| {
            self.symbols.push(text.to_vec());
            self.symbols.len() - 1
        }) as u64
    }

    /// The references of labels.
    pub fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u64> {
        labels.iter().flat_map(|(name, value)| [name, value]).map(|text| self.symbol(text.as_bytes())).collect()
    }

    /// A series of these labels, not yet in the request.
    pub fn labels(&mut self, labels: &[(&str, &str)]) -> Series {
        let refs = self.refs(labels);
        Series::default().refs(&refs)
    }

    /// An exemplar's message.
    pub fn exemplar(&mut self, labels: &[(&str, &str)], timestamp_ms: i64, value: f64) -> Vec<u8> {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &packed(&self.refs(labels)));
        put_double(&mut message, 2, value);
        put_number(&mut message, 3, timestamp_ms);
        message
    }

    /// A metadata's message.
    pub fn metadata(&mut self, metric_type: i64, help: &str, unit: &str) -> Vec<u8> {
        let (help, unit) = (self.symbol(help.as_bytes()), self.symbol(unit.as_bytes()));
        metadata(metric_type, help, unit)
    }

    /// Adds a series.
    pub fn push(&mut self, series: Series) {
        self.series.push(series.0);
    }

    /// Adds a series of version 1.
    pub fn push_version_1(&mut self, series: &remote_write::Series) {
        let labels = series.labels.iter().flat_map(|(name, value)| [name, value]);
        let refs: Vec<u64> = labels.map(|text| self.symbol(text)).collect();
        let message = Series::default().refs(&refs);
        let message = series.samples.iter().fold(message, |message, (time, value)| message.sample(*time, *value));
        let histograms = series.histograms.iter();
        self.push(
            histograms.fold(message, |message, (time, sum)| message.histogram(&remote_write::histogram(*time, *sum))),
        );
    }

    /// The `Request` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut request = Vec::new();
        self.symbols.iter().for_each(|symbol| put_bytes(&mut request, 4, symbol));
        self.series.iter().for_each(|series| put_bytes(&mut request, 5, series));
        request
    }

    /// Sends it.
    pub fn send(&self, address: SocketAddr) -> Response {
        send_raw(address, &compress(&self.encode())).unwrap()
    }
}

impl Series {
    /// References of labels.
    pub fn refs(mut self, refs: &[u64]) -> Self {
        put_bytes(&mut self.0, 1, &packed(refs));
        self
    }

    /// A sample.
    pub fn sample(self, timestamp_ms: i64, value: f64) -> Self {
        self.sample_since(timestamp_ms, value, 0)
    }

    /// A sample of what began at a time; 0 leaves that open.
    pub fn sample_since(mut self, timestamp_ms: i64, value: f64, start_ms: i64) -> Self {
        let mut sample = Vec::new();
        put_double(&mut sample, 1, value);
        put_number(&mut sample, 2, timestamp_ms);
        if start_ms != 0 {
            put_number(&mut sample, 3, start_ms);
        }
        put_bytes(&mut self.0, 2, &sample);
        self
    }

    /// A histogram's message.
    pub fn histogram(mut self, message: &[u8]) -> Self {
        put_bytes(&mut self.0, 3, message);
        self
    }

    /// An exemplar's message.
    pub fn exemplar(mut self, message: &[u8]) -> Self {
        put_bytes(&mut self.0, 4, message);
        self
    }

    /// A metadata's message.
    pub fn metadata(mut self, message: &[u8]) -> Self {
        put_bytes(&mut self.0, 5, message);
        self
    }
}

/// A metadata's message of any references.
pub fn metadata(metric_type: i64, help: u64, unit: u64) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, 1, metric_type);
    put_number(&mut message, 3, help as i64);
    put_number(&mut message, 4, unit as i64);
    message
}

/// Sends series of version 1 in a message of version 2.
pub fn send(address: SocketAddr, series: &[remote_write::Series]) -> io::Result<Response> {
    let mut request = Request::default();
    series.iter().for_each(|series| request.push_version_1(series));
    send_raw(address, &compress(&request.encode()))
}

/// Sends bytes as the body of a request of version 2.
pub fn send_raw(address: SocketAddr, body: &[u8]) -> io::Result<Response> {
    send_as(address, &[("Content-Encoding", "snappy"), ("Content-Type", CONTENT_TYPE)], body)
}

/// Sends a body with headers of one's own.
pub fn send_as(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    let always = [("X-Prometheus-Remote-Write-Version", "2.0.0"), ("User-Agent", "chronolith-tests")];
    http::request(address, "POST", "/api/v1/write", &[headers, &always].concat(), body)
}

/// A packed field's content.
pub fn packed(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.iter().for_each(|number| put_varint(&mut bytes, *number));
    bytes
}

/// Appends a varint field.
pub fn put_number(out: &mut Vec<u8>, field: u64, value: i64) {
    put_varint(out, field << 3);
    put_varint(out, value as u64);
}

/// Appends a 64-bit field.
pub fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}
