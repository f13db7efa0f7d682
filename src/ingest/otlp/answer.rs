//! The messages of answers, in both encodings.
//!
//! Source: `opentelemetry-proto/opentelemetry/proto/collector/metrics/v1/metrics_service.proto`; `google/rpc/status.proto`,
//! `google/rpc/error_details.proto`, `google/protobuf/any.proto` and `duration.proto`.

use std::fmt::Write as _;

use hyper::StatusCode;

use super::receive::{Format, PartialSuccess};
use crate::encoding::protobuf::{WIRE_LENGTH, WIRE_VARINT};
use crate::encoding::put;
use crate::ingest::answer::{RETRY_AFTER_SECONDS, Refusal};

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status code of gRPC. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code that says what an HTTP status says.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            status if status.is_server_error() => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }
}

/// Whether a request that was refused like this may be sent again.
pub fn may_be_sent_again(refusal: &Refusal) -> bool {
    matches!(refusal.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        put::uvarint(out, field << 3 | WIRE_VARINT);
        put::uvarint(out, value);
    }
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    if !value.is_empty() {
        put::uvarint(out, field << 3 | WIRE_LENGTH);
        put::uvarint_slice(out, value);
    }
}

/// `ExportMetricsServiceResponse`.
pub fn response(partial_success: Option<&PartialSuccess>, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    match (format, partial_success) {
        (Format::Json, None) => out.extend_from_slice(b"{}"),
        (Format::Json, Some(PartialSuccess { rejected_data_points, error_message })) => {
            let mut text = String::from("{\"partialSuccess\":{");
            if *rejected_data_points > 0 {
                // Integers of 64 bits are texts. Writing to a string cannot fail.
                let _ = write!(text, "\"rejectedDataPoints\":\"{rejected_data_points}\",");
            }
            let _ = write!(text, "\"errorMessage\":{}}}}}", json_text(error_message));
            out = text.into_bytes();
        }
        (Format::Protobuf, None) => {}
        (Format::Protobuf, Some(PartialSuccess { rejected_data_points, error_message })) => {
            let mut message = Vec::new();
            number(&mut message, 1, *rejected_data_points);
            bytes(&mut message, 2, error_message.as_bytes());
            bytes(&mut out, 1, &message);
        }
    }
    out
}

/// `google.rpc.Status` of a refusal; with `RetryInfo` if the request may be sent again.
pub fn status(refusal: &Refusal, format: Format) -> Vec<u8> {
    let code = Code::of_status(refusal.status) as u64;
    let message = refusal.message.trim_end();
    let retry = may_be_sent_again(refusal);
    if format == Format::Json {
        let mut text = format!("{{\"code\":{code},\"message\":{}", json_text(message));
        if retry {
            let _ =
                write!(text, ",\"details\":[{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{RETRY_AFTER_SECONDS}s\"}}]");
        }
        text.push('}');
        return text.into_bytes();
    }
    let mut out = Vec::new();
    number(&mut out, 1, code);
    bytes(&mut out, 2, message.as_bytes());
    if retry {
        let (mut delay, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
        number(&mut delay, 1, RETRY_AFTER_SECONDS);
        bytes(&mut info, 1, &delay);
        bytes(&mut any, 1, RETRY_INFO.as_bytes());
        bytes(&mut any, 2, &info);
        bytes(&mut out, 3, &any);
    }
    out
}

fn json_text(text: &str) -> String {
    // A text always can be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}
