//! What an answer says of a request: how much of it is stored, whether it may be sent again, or that the receiver is
//! none.
//!
//! Source: the receiver's rules of remote write 1.0 and 2.0; the OTLP specification, "Failures" of OTLP/gRPC and OTLP/HTTP.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderName};
use hyper::{Response, StatusCode};

use super::Protocol;
use crate::encoding::protobuf::{WIRE_LENGTH, WIRE_VARINT, skip_field};
use crate::encoding::{Corruption, Cursor};

const WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Bytes before a gRPC message.
const GRPC_PREFIX_BYTES: usize = 5;
/// `INVALID_ARGUMENT`.
const GRPC_INVALID: u64 = 3;
/// Codes after which a client may try again: cancelled, deadline exceeded, resource exhausted, aborted, out of range,
/// unavailable, data loss.
const GRPC_LATER: [u64; 7] = [1, 4, 8, 10, 11, 14, 15];
/// The most characters of an answer that fit a report.
const TEXT_CHARS: usize = 300;

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It is final. Of the request's samples so many are not stored; the words say why.
    Final { rejected: u64, note: Option<String> },
    /// The request may be sent again, after this time if the server names one.
    Later { problem: String, wait: Option<Duration> },
    /// The server takes no such requests.
    Refused { status: u16, text: String },
}

/// What the answer to a request with so many samples means.
pub(in super::super) fn judge(protocol: Protocol, samples: u64, response: &Response<Bytes>) -> Verdict {
    match protocol {
        Protocol::OtlpGrpc => judge_grpc(samples, response),
        Protocol::OtlpHttp => judge_otlp_http(samples, response),
        Protocol::RemoteWrite1 | Protocol::RemoteWrite2 | Protocol::Text => judge_written(protocol, samples, response),
    }
}

fn judge_written(protocol: Protocol, samples: u64, response: &Response<Bytes>) -> Verdict {
    let status = response.status();
    let written = number(response, &WRITTEN);
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return later(response, first_line(response));
    }
    if status == StatusCode::BAD_REQUEST {
        let note = Some(format!("{status}: {}", first_line(response)));
        return Verdict::Final { rejected: samples.saturating_sub(written.unwrap_or(0)), note };
    }
    if !status.is_success() {
        return refused(response, first_line(response));
    }
    match (protocol, written) {
        // A receiver that knows 1.0 alone may take such a message for an empty one.
        (Protocol::RemoteWrite2, None) => refused(response, "nothing confirms that samples were written".to_owned()),
        (Protocol::RemoteWrite2, Some(written)) if written != samples => {
            let note = Some(format!("{status}, but of {samples} samples {written} were written"));
            Verdict::Final { rejected: samples.saturating_sub(written), note }
        }
        _ => Verdict::Final { rejected: 0, note: None },
    }
}

fn judge_otlp_http(samples: u64, response: &Response<Bytes>) -> Verdict {
    let status = response.status();
    if status.is_success() {
        return judge_export(samples, response.body());
    }
    // A `google.rpc.Status`, or a text.
    let text = match bytes_of(response.body(), 2) {
        Ok(Some(message)) if is_protobuf(response) => shorten(&String::from_utf8_lossy(message)),
        _ => first_line(response),
    };
    match status.as_u16() {
        429 | 502..=504 => later(response, text),
        400 => Verdict::Final { rejected: samples, note: Some(format!("{status}: {text}")) },
        _ => refused(response, text),
    }
}

fn judge_grpc(samples: u64, response: &Response<Bytes>) -> Verdict {
    let status = response.status();
    let text = response.headers().get(GRPC_MESSAGE).map(|value| percent_decoded(value.as_bytes()));
    let text = text.unwrap_or_else(|| first_line(response));
    match (number(response, &GRPC_STATUS), status.as_u16()) {
        (Some(0), _) => judge_export(samples, response.body().get(GRPC_PREFIX_BYTES..).unwrap_or_default()),
        (Some(GRPC_INVALID), _) => {
            Verdict::Final { rejected: samples, note: Some(format!("INVALID_ARGUMENT: {text}")) }
        }
        (Some(code), _) if GRPC_LATER.contains(&code) => later(response, format!("gRPC status {code}: {text}")),
        (Some(code), _) => refused(response, format!("gRPC status {code}: {text}")),
        (None, 200 | 429 | 502..=504) => later(response, "the answer has no gRPC status".to_owned()),
        (None, _) => refused(response, text),
    }
}

/// What an `ExportMetricsServiceResponse` says.
fn judge_export(samples: u64, message: &[u8]) -> Verdict {
    let read = || -> Result<(u64, String), Corruption> {
        let Some(partial) = bytes_of(message, 1)? else { return Ok((0, String::new())) };
        let text = bytes_of(partial, 2)?.map(|text| shorten(&String::from_utf8_lossy(text)));
        Ok((varint_of(partial, 1)?.unwrap_or(0), text.unwrap_or_default()))
    };
    match read() {
        // A message without refusals is a warning.
        Ok((rejected, text)) => {
            let note = (rejected > 0 || !text.is_empty()).then(|| format!("{rejected} data points rejected: {text}"));
            Verdict::Final { rejected: rejected.min(samples), note }
        }
        Err(fault) => Verdict::Final { rejected: 0, note: Some(format!("the answer is no export response: {fault}")) },
    }
}

fn later(response: &Response<Bytes>, text: String) -> Verdict {
    let wait = number(response, &header::RETRY_AFTER).map(Duration::from_secs);
    Verdict::Later { problem: format!("{}: {text}", response.status()), wait }
}

fn refused(response: &Response<Bytes>, text: String) -> Verdict {
    Verdict::Refused { status: response.status().as_u16(), text }
}

fn is_protobuf(response: &Response<Bytes>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/x-protobuf"))
}

/// The first field with this number whose value is bytes.
fn bytes_of(message: &[u8], number: u64) -> Result<Option<&[u8]>, Corruption> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        match cursor.uvarint()? {
            tag if tag == number << 3 | WIRE_LENGTH => return cursor.uvarint_slice().map(Some),
            tag => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(None)
}

/// The first field with this number whose value is a varint.
fn varint_of(message: &[u8], number: u64) -> Result<Option<u64>, Corruption> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        match cursor.uvarint()? {
            tag if tag == number << 3 | WIRE_VARINT => return cursor.uvarint().map(Some),
            tag => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(None)
}

/// A text as gRPC carries it in a header.
fn percent_decoded(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    shorten(&String::from_utf8_lossy(&out))
}

/// The value of a header.
pub(in super::super) fn text<'r>(response: &'r Response<Bytes>, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// The value of a header, as a number.
pub(in super::super) fn number(response: &Response<Bytes>, name: &HeaderName) -> Option<u64> {
    text(response, name)?.parse().ok()
}

/// The first line of an answer.
fn first_line(response: &Response<Bytes>) -> String {
    shorten(String::from_utf8_lossy(response.body()).lines().next().unwrap_or_default())
}

fn shorten(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}
