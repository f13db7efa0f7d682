//! OTLP over HTTP: what is accepted, and the answers.
//!
//! A 200 means that the request was understood and all of it that the answer does not name is durable. What can't be
//! stored is named in `partial_success`; only a request that is no request is refused as a whole.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Response;
use hyper::{Method, StatusCode};

use super::answer::{response, status};
use super::receive::{Body, Format, OtlpOptions, receive};
use crate::ingest::accept::{WriteService, WriteStore};
use crate::ingest::answer::{Refusal, acknowledge, shorten};
use crate::ingest::decompress::Encoding;
use crate::ingest::sender::Sender;

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        }
    }

    /// The format that a request's content type names; its parameters do not matter.
    fn of_request(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next()?.trim();
        [Format::Protobuf, Format::Json].into_iter().find(|format| media_type.eq_ignore_ascii_case(format.media_type()))
    }
}

/// Answers one request, whose body was read or could not be.
pub async fn handle<S: WriteStore>(
    service: &WriteService<S>,
    options: &OtlpOptions,
    sender: &Sender,
    method: &Method,
    headers: &HeaderMap,
    body: Result<Bytes, Refusal>,
) -> Response<Bytes> {
    let checked = check(method, headers).and_then(|(format, encoding)| Ok((format, encoding, body?)));
    let (format, encoding, body) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            service.count_refused(sender, &refusal);
            return refused(headers, &refusal);
        }
    };
    match receive(service, options, sender, Body { format, encoding, bytes: body }).await {
        Ok(received) => {
            let mut answer = of_format(StatusCode::OK, format, response(received.partial_success.as_ref(), format));
            if let Some(receipt) = &received.stored.receipt {
                acknowledge(answer.headers_mut(), receipt);
            }
            answer
        }
        Err(refusal) => refused(headers, &refusal),
    }
}

fn check(method: &Method, headers: &HeaderMap) -> Result<(Format, Encoding), Refusal> {
    if method != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"));
    }
    let unsupported = |message: String| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let text = |name| headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()));
    let format = Format::of_request(headers).ok_or_else(|| {
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        unsupported(format!(
            "content type {:?} is not accepted; OTLP is application/x-protobuf or application/json",
            shorten(&content_type)
        ))
    })?;
    Ok((format, Encoding::of(headers)?))
}

/// The answer to a request of which nothing is stored, in the request's encoding.
pub fn refused(headers: &HeaderMap, refusal: &Refusal) -> Response<Bytes> {
    // Who sends neither encoding is likely a person.
    let format = Format::of_request(headers).unwrap_or(Format::Json);
    let mut answer = of_format(refusal.status, format, status(refusal, format));
    refusal.set_headers(answer.headers_mut());
    answer
}

fn of_format(status: StatusCode, format: Format, message: Vec<u8>) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(message));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    answer
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
