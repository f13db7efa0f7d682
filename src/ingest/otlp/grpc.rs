//! OTLP over gRPC: one call with one message each way, on HTTP/2 streams that the server has opened already.
//!
//! Of gRPC there is as much here as such a call needs: the frame around a message, compression, deadlines, the status in
//! the trailers. The bounds and the decompressor are those of all other protocols.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>; which codes senders repeat:
//! <https://opentelemetry.io/docs/specs/otlp/#failures>.

use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf as _, Bytes};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::answer::{Code, may_be_sent_again, response, status};
use super::receive::{Body, Format, OtlpOptions, receive};
use crate::ingest::accept::{WriteService, WriteStore};
use crate::ingest::answer::{Refusal, acknowledge, shorten};
use crate::ingest::decompress::Encoding;
use crate::ingest::sender::Sender;

/// The path of the one method.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Bytes before a message: whether it is compressed, and its length.
pub const PREFIX_BYTES: usize = 5;

const MEDIA_TYPE: &str = "application/grpc";
/// How messages may be compressed.
const ACCEPTED: &str = "identity,gzip,zstd";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// An answer: always with the HTTP status 200.
#[derive(Debug)]
pub struct Reply {
    /// What comes first.
    pub headers: HeaderMap,
    /// The message in its frame; `None` where the call failed.
    pub message: Option<Bytes>,
    /// What comes last.
    pub trailers: HeaderMap,
}

/// Whether a request is a gRPC call: its content type is gRPC's, perhaps with the name of a message format.
pub fn is_call(headers: &HeaderMap) -> bool {
    subtype(headers).is_some()
}

/// What follows `application/grpc` in the content type.
fn subtype(headers: &HeaderMap) -> Option<&str> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let rest = content_type.get(MEDIA_TYPE.len()..)?;
    let is_grpc = content_type.get(..MEDIA_TYPE.len())?.eq_ignore_ascii_case(MEDIA_TYPE);
    let ends = rest.is_empty() || rest.starts_with(['+', ';', ' ']);
    (is_grpc && ends).then_some(rest)
}

/// How long the caller waits: at most eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Answers a call of [`EXPORT_PATH`], whose body was read or could not be.
pub async fn export<S: WriteStore>(
    service: &WriteService<S>,
    options: &OtlpOptions,
    sender: &Sender,
    headers: &HeaderMap,
    body: Result<Bytes, Refusal>,
) -> Reply {
    let checked = check(headers).and_then(|encoding| Ok((encoding, body?)));
    let (encoding, bytes) = match checked.and_then(|(encoding, body)| unframe(body, encoding)) {
        Ok(framed) => framed,
        Err(refusal) => {
            service.count_refused(sender, &refusal);
            return failed(&refusal);
        }
    };
    match receive(service, options, sender, Body { format: Format::Protobuf, encoding, bytes }).await {
        Ok(received) => {
            let mut headers = reply_headers();
            if let Some(receipt) = &received.stored.receipt {
                acknowledge(&mut headers, receipt);
            }
            let message = frame(&response(received.partial_success.as_ref(), Format::Protobuf));
            let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(Code::Ok as u16))]);
            Reply { headers, message: Some(message), trailers }
        }
        Err(refusal) => failed(&refusal),
    }
}

fn check(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let unsupported = |message: String| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let format = subtype(headers).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !matches!(format, "" | "+proto") {
        return Err(unsupported(format!("messages of {:?} are not accepted, only protobuf", shorten(format))));
    }
    let Some(name) = headers.get(ENCODING) else { return Ok(Encoding::Identity) };
    Encoding::from_name(name.as_bytes()).ok_or_else(|| {
        let name = String::from_utf8_lossy(name.as_bytes());
        unsupported(format!("grpc-encoding {:?} is not accepted, only {ACCEPTED}", shorten(&name)))
    })
}

/// The one message of a body, and how it is compressed.
fn unframe(mut body: Bytes, encoding: Encoding) -> Result<(Encoding, Bytes), Refusal> {
    let bad = |message: &str| Err(Refusal::bad_request(message));
    let Some(&[flag, length @ ..]) = body.first_chunk::<PREFIX_BYTES>() else {
        return bad("call has no message");
    };
    body.advance(PREFIX_BYTES);
    let encoding = match flag {
        0 => Encoding::Identity,
        1 if encoding == Encoding::Identity => return bad("message is compressed, and grpc-encoding does not say how"),
        1 => encoding,
        _ => return bad("message has an unknown flag"),
    };
    match (body.len() as u64).cmp(&u64::from(u32::from_be_bytes(length))) {
        std::cmp::Ordering::Less => bad("message ends early"),
        std::cmp::Ordering::Greater => bad("call has more than one message"),
        std::cmp::Ordering::Equal => Ok((encoding, body)),
    }
}

fn frame(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(PREFIX_BYTES + message.len());
    framed.push(0);
    // An answer is as long as the texts of a few refusals.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

fn reply_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto")),
        (ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED)),
    ])
}

/// The answer to a call of which nothing is stored.
pub fn failed(refusal: &Refusal) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(Code::of_status(refusal.status) as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encode(refusal.message.trim_end())) {
        trailers.insert(MESSAGE, message);
    }
    if may_be_sent_again(refusal) {
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status(refusal, Format::Protobuf));
        if let Ok(details) = HeaderValue::try_from(details) {
            trailers.insert(STATUS_DETAILS, details);
        }
    }
    Reply { headers: reply_headers(), message: None, trailers }
}

/// The answer to a call of a method that there is not.
pub fn unknown_method(path: &str) -> Reply {
    let message = format!("unknown method {}", shorten(path));
    failed(&Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message))
}

/// A text for `grpc-message`: what is not a printable ASCII character is escaped.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
