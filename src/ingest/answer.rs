//! What is told to a sender, whatever its protocol: the acknowledgement, and what was refused and why.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Response;

use super::accept::Stored;
use crate::model::RawLabels;
use crate::storage::{ExemplarRejectReason, RejectReason};
use crate::wal::{CommitError, Receipt};
use crate::writers::Answered;

/// The request's commit number.
pub const COMMIT: HeaderName = HeaderName::from_static("chronolith-commit");
/// Digest of the samples that the request added.
pub const DIGEST: HeaderName = HeaderName::from_static("chronolith-digest");
/// What the acknowledgement promises.
pub const DURABILITY: HeaderName = HeaderName::from_static("chronolith-durability");
/// Samples that the request added; those that were there already are not among them.
pub const SAMPLES_ADDED: HeaderName = HeaderName::from_static("chronolith-samples");

/// When to send a request again that met an unwritable log: the log tries about as often.
pub const RETRY_AFTER_SECONDS: u64 = 2;
/// The most characters of one refusal in an answer.
const DETAIL_CHARS: usize = 300;

/// Puts the acknowledgement into an answer's headers, or into the metadata of a gRPC answer.
pub fn acknowledge(headers: &mut HeaderMap, receipt: &Receipt) {
    headers.insert(COMMIT, HeaderValue::from(receipt.commit));
    headers.insert(SAMPLES_ADDED, HeaderValue::from(receipt.samples));
    headers.insert(DURABILITY, HeaderValue::from_static(receipt.durability.as_str()));
    if let Ok(digest) = HeaderValue::try_from(receipt.digest.to_string()) {
        headers.insert(DIGEST, digest);
    }
}

/// What was refused and why: a first line that says it all in short, then the first refusals one by one. The most
/// important is in the first line, because that is all that a Prometheus logs.
pub fn refusal_text(stored: &Stored) -> String {
    let Stored { outcome, exemplars_refused, .. } = stored;
    let kept = outcome.stored_total();
    let refused = outcome.rejected_total();
    let mut out = format!("stored {kept} of {} samples", kept + refused);
    if refused > 0 {
        let reasons: Vec<String> = RejectReason::ALL
            .iter()
            .zip(&outcome.rejected)
            .filter(|&(_, &samples)| samples > 0)
            .map(|(reason, samples)| format!("{}: {samples}", reason.as_str()))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "; refused {refused} ({})", reasons.join(", "));
    }
    if *exemplars_refused > 0 {
        let reasons: Vec<String> = ExemplarRejectReason::ALL
            .iter()
            .zip(&outcome.exemplars_rejected)
            .filter(|&(_, &exemplars)| exemplars > 0)
            .map(|(reason, exemplars)| format!("{}: {exemplars}", reason.as_str()))
            .collect();
        let _ = write!(out, "; refused {exemplars_refused} exemplars");
        if !reasons.is_empty() {
            let _ = write!(out, " ({})", reasons.join(", "));
        }
    }
    let mut separators = std::iter::once("; ").chain(std::iter::repeat("\n"));
    for reject in &outcome.rejects {
        out.push_str(separators.next().unwrap_or_default());
        out.push_str(reject.reason.as_str());
        if reject.samples > 1 {
            let _ = write!(out, " ({} samples)", reject.samples);
        }
        let _ = write!(out, ": {}", shorten(&reject.detail));
    }
    for reject in &outcome.exemplar_rejects {
        out.push_str(separators.next().unwrap_or_default());
        let _ = write!(out, "{}: {}", reject.reason.as_str(), shorten(&reject.detail));
    }
    out.push('\n');
    out
}

/// A request that is answered with an error before anything of it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer's status.
    pub status: StatusCode,
    /// Why, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with this answer.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    /// The refusal of a request that is not what its protocol says.
    pub fn bad_request(error: impl ToString) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error.to_string())
    }

    /// The refusal of a request that may be sent again.
    pub fn unavailable(error: &CommitError) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }

    /// What the sender's account is told.
    pub fn answered(&self) -> Answered {
        // What took too long, or is too much now, may succeed later.
        let may_come_again = matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if self.status.is_client_error() && !may_come_again { Answered::Refused } else { Answered::Unavailable }
    }

    /// The answer.
    pub fn into_response(self) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        self.set_headers(&mut headers);
        let mut response = text(self.status, self.message);
        response.headers_mut().extend(headers);
        response
    }

    /// Puts what goes with the status into an answer's headers.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
    }
}

/// An answer that is a text for people.
pub fn text(status: StatusCode, message: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(message));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Labels for people, valid or not.
pub fn describe(labels: RawLabels<'_>) -> String {
    shorten(&labels.to_string())
}

/// The first characters of a text that a sender controls.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
