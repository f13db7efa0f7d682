//! The HTTP rules of `POST /api/v1/write`: what is accepted, and an answer that is true.
//!
//! Prometheus' receiver answers 204 to series that it skipped. Here a 2xx means that every sample of the request is
//! stored and committed. If anything was refused the answer is 400, which a sender does not repeat; the rest of the
//! request is stored all the same, and the text says what was refused and why. Only what can succeed later is answered
//! 503.
//!
//! Source: Prometheus remote write specifications 1.0 and 2.0-rc.4; `client_golang/exp/api/remote/remote_api.go` for the order of
//! the checks and their status codes.

mod histogram;
mod message;
mod sample;
mod symbols;
pub mod v1;
pub mod v2;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Response;
use hyper::{Method, StatusCode};

use super::accept::{Stored, WriteService, WriteStore};
use super::answer::{Refusal, acknowledge, refusal_text, shorten, text};
use super::sender::{Protocol, Sender};
use super::snappy::decompress;

pub use message::{DecodeError, DecodeLimits, HISTOGRAM_COST};

/// Float samples of the request that are stored.
pub const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
/// Native histograms of the request that are stored.
pub const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
/// Exemplars of the request that are stored.
pub const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

/// Answers one remote write request, of a sender whose protocol is [`protocol_named_in`] it.
pub async fn handle<S: WriteStore>(
    service: &WriteService<S>,
    sender: &Sender,
    method: &Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Bytes> {
    let named = protocol_of(headers);
    let limits = service.limits;
    let metrics = service.metrics.of(sender.protocol);
    metrics.body_bytes.add(body.len() as u64);
    let checked = check_encoding(headers).and_then(|()| check_method(method)).and(named);
    let protocol = match checked.and_then(|protocol| check_size(&body, limits.body_bytes).map(|()| protocol)) {
        Ok(protocol) => protocol,
        Err(refusal) => {
            service.count_refused(sender, &refusal);
            return refusal.into_response();
        }
    };
    let stored = service.store(sender, body.len(), |scratch, batch| {
        let message = decompress(&body, limits.decoded_bytes, &mut scratch.body).map_err(Refusal::bad_request)?;
        metrics.decoded_bytes.add(message.len() as u64);
        let decoded = match protocol {
            Protocol::RemoteWrite2 => {
                v2::decode(message, limits.message, service.features, &mut scratch.gathered, batch)
            }
            _ => v1::decode(message, limits.message, &mut scratch.gathered, batch),
        };
        decoded.map_err(Refusal::bad_request)
    });
    match stored.await {
        Ok(stored) => answer(&stored),
        Err(refusal) => refused(refusal),
    }
}

/// Bodies are snappy blocks, whether a request says so or not.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(()) };
    if encoding.is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"snappy") {
        return Ok(());
    }
    let encoding = shorten(&String::from_utf8_lossy(encoding.as_bytes()));
    let message =
        format!("{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    if method == Method::POST {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
}

fn check_size(body: &Bytes, limit: u64) -> Result<(), Refusal> {
    let length = body.len() as u64;
    if length <= limit {
        return Ok(());
    }
    let message = format!("body of {length} bytes exceeds the limit of {limit} bytes");
    Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}

/// The version of the message that a request's content type names.
fn protocol_of(headers: &HeaderMap) -> Result<Protocol, Refusal> {
    let content_type = match headers.get(header::CONTENT_TYPE) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()),
        None => MEDIA_TYPE.into(),
    };
    parse_content_type(&content_type).map_err(|message| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// The version that a request counts as, whether it is taken or not.
pub fn protocol_named_in(headers: &HeaderMap) -> Protocol {
    protocol_of(headers).unwrap_or(Protocol::RemoteWrite1)
}

/// Which message a content type names; version 1 where it names none. Space around its parts is ignored, as HTTP says:
/// senders exist that put one after the semicolon.
fn parse_content_type(content_type: &str) -> Result<Protocol, String> {
    if content_type.trim().is_empty() {
        return Ok(Protocol::RemoteWrite1);
    }
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        let media_type = shorten(media_type);
        return Err(format!("content type {media_type:?} is not accepted by this server; only {MEDIA_TYPE} is"));
    }
    let mut named = None;
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            let parameter = shorten(parameter);
            return Err(format!("content type parameter {parameter:?} is not of the form key=value"));
        };
        if !key.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        let protocol = match value.trim().trim_matches('"') {
            MESSAGE_V1 => Protocol::RemoteWrite1,
            MESSAGE_V2 => Protocol::RemoteWrite2,
            unknown => {
                let unknown = shorten(unknown);
                return Err(format!(
                    "{unknown} protobuf message is not accepted by this server; only accepts {MESSAGE_V1}, {MESSAGE_V2}"
                ));
            }
        };
        if *named.get_or_insert(protocol) != protocol {
            return Err(format!("content type names both {MESSAGE_V1} and {MESSAGE_V2}"));
        }
    }
    Ok(named.unwrap_or(Protocol::RemoteWrite1))
}

/// The answer to a request whose samples are committed (or that had none): 204, or 400 if anything was refused.
fn answer(stored: &Stored) -> Response<Bytes> {
    let mut response = if stored.is_partial() {
        text(StatusCode::BAD_REQUEST, refusal_text(stored))
    } else {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    };
    let outcome = &stored.outcome;
    let headers = response.headers_mut();
    headers.insert(SAMPLES_WRITTEN, HeaderValue::from(outcome.stored_total() - outcome.histograms));
    headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(outcome.histograms));
    headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(outcome.exemplars));
    if let Some(receipt) = &stored.receipt {
        acknowledge(headers, receipt);
    }
    response
}

/// The answer to a request whose message was looked at, and of which nothing is stored: it says so.
fn refused(refusal: Refusal) -> Response<Bytes> {
    let mut response = refusal.into_response();
    for name in [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN] {
        response.headers_mut().insert(name, HeaderValue::from(0));
    }
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
