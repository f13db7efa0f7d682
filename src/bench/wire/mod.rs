//! How the load travels: each protocol's message, its compression, and the words of its answers.
//!
//! | module | does |
//! |---|---|
//! | [`remote_write`] | messages of remote write 1.0 and 2.0 |
//! | [`otlp`] | OTLP's message, for HTTP and gRPC |
//! | [`text`] | lines of Prometheus' text format |
//! | `answer` | what an answer says of a request |
//!
//! A request carries the same series in each scrape, so it is prepared as far as it does not change. That keeps the load
//! cheap beside the server that it measures.

pub(super) mod answer;
pub mod otlp;
pub mod remote_write;
pub mod text;

use std::io::Write as _;
use std::ops::Range;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::workload::Workload;
use super::write::BenchError;
use crate::encoding::put;
use crate::model::Digest;
use crate::net::Version;
pub use crate::writers::Protocol;

/// How the load is sent.
impl Protocol {
    /// Where requests go, when the user gave a server and no path.
    pub fn default_path(self) -> &'static str {
        match self {
            Protocol::RemoteWrite1 | Protocol::RemoteWrite2 => "/api/v1/write",
            Protocol::OtlpHttp => "/api/v1/otlp/v1/metrics",
            Protocol::OtlpGrpc => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Protocol::Text => "/api/v1/import/prometheus",
        }
    }

    /// Labels of a series whose points have so many attributes. OTLP has a metric's name beside them.
    pub fn labels_of(self, attributes: usize) -> usize {
        attributes + usize::from(self.is_otlp())
    }

    pub(super) fn is_otlp(self) -> bool {
        matches!(self, Protocol::OtlpHttp | Protocol::OtlpGrpc)
    }

    /// The version of HTTP: gRPC needs the second.
    pub(super) fn http_version(self) -> Version {
        if self == Protocol::OtlpGrpc { Version::Http2 } else { Version::Http1 }
    }

    /// The compression that such senders use, unless they are told otherwise.
    pub fn default_compression(self) -> Compression {
        match self {
            Protocol::RemoteWrite1 | Protocol::RemoteWrite2 => Compression::Snappy,
            Protocol::OtlpHttp | Protocol::OtlpGrpc => Compression::Gzip,
            Protocol::Text => Compression::None,
        }
    }

    /// Whether the protocol has this compression.
    pub fn takes(self, compression: Compression) -> bool {
        match self {
            Protocol::RemoteWrite1 | Protocol::RemoteWrite2 => compression == Compression::Snappy,
            _ => compression != Compression::Snappy,
        }
    }
}

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// A block of snappy.
    Snappy,
    /// gzip, as fast as it goes.
    Gzip,
    /// Zstandard, as fast as it goes.
    Zstd,
}

impl Compression {
    /// The compression in headers and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

/// The headers of every request.
pub(super) fn headers(protocol: Protocol, compression: Compression) -> HeaderMap {
    let content_type = match protocol {
        Protocol::RemoteWrite1 | Protocol::OtlpHttp => "application/x-protobuf",
        Protocol::RemoteWrite2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        Protocol::OtlpGrpc => "application/grpc",
        Protocol::Text => "text/plain; version=0.0.4",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let version = HeaderName::from_static("x-prometheus-remote-write-version");
    match protocol {
        Protocol::RemoteWrite1 => {
            headers.insert(version, HeaderValue::from_static("0.1.0"));
        }
        Protocol::RemoteWrite2 => {
            headers.insert(version, HeaderValue::from_static("2.0.0"));
        }
        Protocol::OtlpGrpc => {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        Protocol::OtlpHttp | Protocol::Text => {}
    }
    if compression != Compression::None {
        let name = match protocol {
            Protocol::OtlpGrpc => HeaderName::from_static("grpc-encoding"),
            _ => header::CONTENT_ENCODING,
        };
        headers.insert(name, HeaderValue::from_static(compression.as_str()));
    }
    headers
}

/// The request that carries some series, ready for any scrape.
#[derive(Debug)]
pub(super) enum Prepared {
    RemoteWrite1(remote_write::PreparedV1),
    RemoteWrite2(remote_write::PreparedV2),
    Otlp(otlp::PreparedOtlp),
    Text(text::PreparedText),
}

impl Prepared {
    pub(super) fn new(protocol: Protocol, workload: &Workload, series: Range<u64>) -> Self {
        match protocol {
            Protocol::RemoteWrite1 => Prepared::RemoteWrite1(remote_write::PreparedV1::new(workload, series)),
            Protocol::RemoteWrite2 => Prepared::RemoteWrite2(remote_write::PreparedV2::new(workload, series)),
            Protocol::OtlpHttp | Protocol::OtlpGrpc => Prepared::Otlp(otlp::PreparedOtlp::new(workload, series)),
            Protocol::Text => Prepared::Text(text::PreparedText::new(workload, series)),
        }
    }

    /// Writes the message of a scrape, and gives the digest of its samples.
    pub(super) fn encode(&self, workload: &Workload, scrape: u64, message: &mut Vec<u8>) -> Digest {
        message.clear();
        match self {
            Prepared::RemoteWrite1(prepared) => prepared.encode(workload, scrape, message),
            Prepared::RemoteWrite2(prepared) => prepared.encode(workload, scrape, message),
            Prepared::Otlp(prepared) => prepared.encode(workload, scrape, message),
            Prepared::Text(prepared) => prepared.encode(workload, scrape, message),
        }
    }
}

/// Makes bodies of messages.
#[derive(Debug)]
pub(super) struct Framer {
    protocol: Protocol,
    compression: Compression,
    snappy: snap::raw::Encoder,
    body: Vec<u8>,
}

impl Framer {
    pub(super) fn new(protocol: Protocol, compression: Compression) -> Self {
        Framer { protocol, compression, snappy: snap::raw::Encoder::new(), body: Vec::new() }
    }

    /// The body that carries a message.
    pub(super) fn body(&mut self, message: &[u8]) -> Result<Bytes, BenchError> {
        let failed = |error: std::io::Error| BenchError::Compress(error.to_string());
        self.body.clear();
        if self.protocol == Protocol::OtlpGrpc {
            // Whether it is compressed, and its length, which is known at the end.
            self.body.extend_from_slice(&[u8::from(self.compression != Compression::None), 0, 0, 0, 0]);
        }
        let start = self.body.len();
        match self.compression {
            Compression::None => self.body.extend_from_slice(message),
            Compression::Snappy => {
                self.body.resize(start + snap::raw::max_compress_len(message.len()), 0);
                let room = self.body.get_mut(start..).unwrap_or_default();
                let length =
                    self.snappy.compress(message, room).map_err(|error| BenchError::Compress(error.to_string()))?;
                self.body.truncate(start + length);
            }
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(&mut self.body, Level::fast());
                encoder.write_all(message).map_err(failed)?;
                encoder.finish().map_err(failed)?;
            }
            Compression::Zstd => zstd::stream::copy_encode(message, &mut self.body, 1).map_err(failed)?,
        }
        if self.protocol == Protocol::OtlpGrpc {
            let length = (self.body.len() - start) as u32;
            self.body.splice(1..start, length.to_be_bytes());
        }
        Ok(Bytes::copy_from_slice(&self.body))
    }
}

/// Appends a protobuf field whose value is bytes.
fn push_field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    put::uvarint_slice(out, content);
}

/// Bytes of a number as a varint.
fn varint_bytes(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests;
