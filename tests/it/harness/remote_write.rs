//! Remote write 1.0 as bytes, written for the tests alone: what the server reads is not what the server wrote.
//!
//! Source: `prompb/remote.proto` and `prompb/types.proto` of Prometheus; protobuf's wire format.

use std::io;
use std::net::SocketAddr;

use super::http::{self, Response};

/// A series of a request: labels in the order given, and samples.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Name and value, as raw bytes so that a test can send what is not UTF-8.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// Timestamp in milliseconds and value.
    pub samples: Vec<(i64, f64)>,
    /// Native histograms, each with a timestamp and a sum; the rest of them is the same in all.
    pub histograms: Vec<(i64, f64)>,
}

impl Series {
    /// A series of text labels.
    pub fn new(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let labels = labels.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Series { labels, samples: samples.to_vec(), histograms: Vec::new() }
    }
}

/// The `WriteRequest` message.
pub fn encode(series: &[Series]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name);
            put_bytes(&mut label, 2, value);
            put_bytes(&mut message, 1, &label);
        }
        for (timestamp_ms, value) in &one.samples {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_bits().to_le_bytes());
            sample.push(0x10);
            put_varint(&mut sample, *timestamp_ms as u64);
            put_bytes(&mut message, 2, &sample);
        }
        for (timestamp_ms, sum) in &one.histograms {
            put_bytes(&mut message, 4, &histogram(*timestamp_ms, *sum));
        }
        put_bytes(&mut request, 1, &message);
    }
    request
}

/// Seven observations: three of them zero, one and three in two buckets.
pub fn histogram(timestamp_ms: i64, sum: f64) -> Vec<u8> {
    let mut message = vec![1 << 3, 7, 3 << 3 | 1];
    message.extend_from_slice(&sum.to_bits().to_le_bytes());
    message.extend([4 << 3, 6, 6 << 3, 3]);
    put_bytes(&mut message, 11, &[1 << 3, 5, 2 << 3, 2]);
    put_bytes(&mut message, 12, &[2, 4]);
    message.push(15 << 3);
    put_varint(&mut message, timestamp_ms as u64);
    message
}

/// Snappy's block format.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// Sends series as a Prometheus would.
pub fn send(address: SocketAddr, series: &[Series]) -> io::Result<Response> {
    send_raw(address, &compress(&encode(series)))
}

/// Sends bytes as the body of a remote write request.
pub fn send_raw(address: SocketAddr, body: &[u8]) -> io::Result<Response> {
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", "application/x-protobuf"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ("User-Agent", "chronolith-tests"),
    ];
    http::request(address, "POST", "/api/v1/write", &headers, body)
}

/// Appends a length-delimited field, whose number is below 16.
pub fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
