//! The HTTP rules of `POST /api/v1/write`: what is accepted, and an answer that is true.
//!
//! Prometheus' receiver answers 204 to series that it skipped. Here a 2xx means that every sample of the request is
//! stored and committed. If anything was refused the answer is 400, which a sender does not repeat; the rest of the
//! request is stored all the same, and the text says what was refused and why, the most important in its first line,
//! because that is all that a Prometheus logs. Only what can succeed later is answered 503.
//!
//! An acknowledgement, whole or partial, waits for the commit even if nothing was added: a sample that "was there
//! already" may be in a group that is still on its way to the disk.
//!
//! Source: Prometheus remote write specification 1.0; `client_golang/exp/api/remote/remote_api.go` for the order of
//! the checks and their status codes.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Response;
use hyper::{Method, StatusCode};

use super::metrics::IngestMetrics;
use super::pool::{BufferPool, RequestBuffers, empty_vectors};
use super::remote_write::{DecodeLimits, Decoded, Metadata, RefusedHistogram, decode};
use super::snappy::decompress;
use crate::clock::Clock;
use crate::model::{RawLabels, TimestampMs};
use crate::storage::{BatchOutcome, RejectReason, WriteBatch};
use crate::wal::{CommitError, Receipt};

/// Float samples of the request that are stored.
pub const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
/// Native histograms of the request that are stored.
pub const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
/// Exemplars of the request that are stored.
pub const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");
/// The request's commit number.
pub const COMMIT: HeaderName = HeaderName::from_static("chronolith-commit");
/// Digest of the samples that the request added.
pub const DIGEST: HeaderName = HeaderName::from_static("chronolith-digest");
/// What the acknowledgement promises.
pub const DURABILITY: HeaderName = HeaderName::from_static("chronolith-durability");
/// Samples that the request added; those that were there already are not among them.
pub const SAMPLES_ADDED: HeaderName = HeaderName::from_static("chronolith-samples");

const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";
/// When to send a request again that met an unwritable log: the log tries about as often.
const RETRY_AFTER_SECONDS: &str = "2";
/// A message of this size is decoded and appended where it does not hold up other connections.
const LARGE_BODY_BYTES: usize = 256 << 10;
/// The most characters of one refusal in an answer.
const DETAIL_CHARS: usize = 300;

/// Where the samples go.
pub trait WriteStore: Send + Sync {
    /// Resolves once the batch is as durable as the store promises.
    type Commit: Future<Output = Result<Receipt, CommitError>> + Send;

    /// Accepts or refuses each sample of a batch. What it accepts can be read at once, and is durable when the commit
    /// resolves.
    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError>;

    /// Takes what a sender says about its metric families.
    fn record_metadata(&self, _metadata: &[Metadata<'_>]) {}
}

impl<S: WriteStore> WriteStore for Arc<S> {
    type Commit = S::Commit;

    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        (**self).append(batch, now_ms)
    }

    fn record_metadata(&self, metadata: &[Metadata<'_>]) {
        (**self).record_metadata(metadata);
    }
}

/// A batch that is accepted, and not yet durable.
#[derive(Debug)]
pub struct Appended<C> {
    /// What became of each sample.
    pub outcome: BatchOutcome,
    /// When it is durable.
    pub commit: C,
}

/// Bounds on one request.
#[derive(Debug, Clone, Copy)]
pub struct WriteLimits {
    /// Bytes of a body as it is sent.
    pub body_bytes: u64,
    /// Bytes of a body after decompression.
    pub decoded_bytes: u64,
    /// What a message may hold.
    pub message: DecodeLimits,
}

impl Default for WriteLimits {
    fn default() -> Self {
        WriteLimits { body_bytes: 32 << 20, decoded_bytes: 32 << 20, message: DecodeLimits::default() }
    }
}

/// What `/api/v1/write` needs besides the request.
pub struct WriteService<S> {
    /// Where the samples go.
    pub store: S,
    /// Bounds on one request.
    pub limits: WriteLimits,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What came and what became of it.
    pub metrics: IngestMetrics,
    /// Buffers between requests.
    pub pool: BufferPool,
}

impl<S: std::fmt::Debug> std::fmt::Debug for WriteService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let WriteService { store, limits, metrics, .. } = self;
        f.debug_struct("WriteService")
            .field("store", store)
            .field("limits", limits)
            .field("metrics", metrics)
            .finish_non_exhaustive()
    }
}

impl<S> WriteService<S> {
    /// A service with empty counters.
    pub fn new(store: S, limits: WriteLimits, clock: Arc<dyn Clock>) -> Self {
        WriteService { store, limits, clock, metrics: IngestMetrics::default(), pool: BufferPool::default() }
    }
}

/// Reads a request's body up to the limit; the error is the answer to a body that is longer or that breaks off.
pub async fn collect_body<B>(body: B, limits: &WriteLimits) -> Result<Bytes, Refusal>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("body exceeds the limit of {limit} bytes")))
        }
        Err(error) => Err(refuse(StatusCode::BAD_REQUEST, format!("read body: {error}"))),
    }
}

/// Answers one remote write request.
pub async fn handle_remote_write<S: WriteStore>(
    service: &WriteService<S>,
    method: &Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Bytes> {
    let metrics = &service.metrics;
    metrics.body_bytes.add(body.len() as u64);
    let checked = check_request(method, headers).and_then(|()| {
        let length = body.len() as u64;
        if length > service.limits.body_bytes {
            let limit = service.limits.body_bytes;
            let message = format!("body of {length} bytes exceeds the limit of {limit} bytes");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        accept_off_the_way(service, &body)
    });
    drop(body);
    let response = match checked {
        Err(refusal) => refusal.into_response(),
        Ok(Accepted { outcome, unstored, commit: None }) => answer(&outcome, &unstored, None),
        Ok(Accepted { outcome, unstored, commit: Some(commit) }) => match commit.await {
            Ok(receipt) => {
                metrics.samples_added.add(outcome.added);
                metrics.samples_duplicate.add(outcome.duplicates);
                metrics.histograms_stored.add(outcome.histograms);
                answer(&outcome, &unstored, Some(&receipt))
            }
            Err(error) => unavailable(&error).into_response(),
        },
    };
    match response.status() {
        status if status.is_success() => metrics.requests_ok.add(1),
        status if status.is_client_error() => metrics.requests_refused.add(1),
        _ => metrics.requests_unavailable.add(1),
    }
    response
}

/// A request that was appended, or that held nothing to append.
struct Accepted<C> {
    outcome: BatchOutcome,
    unstored: Unstored,
    commit: Option<C>,
}

/// What a request held that is not stored yet by this version.
#[derive(Debug, Default)]
struct Unstored {
    exemplars: u64,
    /// The first series that carried one, in words.
    details: Vec<String>,
}

/// Runs [`accept`]; large messages run where blocking is allowed, if the runtime has such a place.
fn accept_off_the_way<S: WriteStore>(service: &WriteService<S>, body: &[u8]) -> Result<Accepted<S::Commit>, Refusal> {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let can_block = || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if body.len() >= LARGE_BODY_BYTES && can_block() {
        tokio::task::block_in_place(|| accept(service, body))
    } else {
        accept(service, body)
    }
}

/// Decompresses, scans and appends a body. The buffers are free again before the commit is waited for.
fn accept<S: WriteStore>(service: &WriteService<S>, body: &[u8]) -> Result<Accepted<S::Commit>, Refusal> {
    let mut buffers = service.pool.take();
    let accepted = accept_with(service, body, &mut buffers);
    service.pool.put(buffers);
    accepted
}

fn accept_with<S: WriteStore>(
    service: &WriteService<S>,
    body: &[u8],
    buffers: &mut RequestBuffers,
) -> Result<Accepted<S::Commit>, Refusal> {
    let mut batch = buffers.take_batch();
    let RequestBuffers { body: decompressed, gathered, .. } = buffers;
    let message = decompress(body, service.limits.decoded_bytes, decompressed)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
    service.metrics.decoded_bytes.add(message.len() as u64);
    let decoded = decode(message, service.limits.message, gathered, &mut batch)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
    if !decoded.metadata.is_empty() {
        service.store.record_metadata(&decoded.metadata);
    }
    let first_exemplar = decoded.first_exemplar.map(|labels| format!("first exemplar in {}", describe(labels)));
    let unstored = Unstored { exemplars: decoded.exemplars, details: first_exemplar.into_iter().collect() };
    service.metrics.exemplars_refused.add(unstored.exemplars);
    let appended = if batch.series.is_empty() {
        Ok((BatchOutcome::default(), None))
    } else {
        let appended = service.store.append(&batch, service.clock.now_ms());
        appended.map(|Appended { outcome, commit }| (outcome, Some(commit))).map_err(|error| unavailable(&error))
    };
    let accepted = appended.map(|(mut outcome, commit)| {
        refuse_histograms(&decoded, &mut outcome);
        service.metrics.count_rejected(&outcome);
        Accepted { outcome, unstored, commit }
    });
    let vectors = empty_vectors(batch);
    buffers.put_vectors(vectors);
    accepted
}

/// Adds the histograms that did not come to the store to what it refused.
fn refuse_histograms(decoded: &Decoded<'_>, outcome: &mut BatchOutcome) {
    let refused = &decoded.refused;
    for RefusedHistogram { labels, timestamp_ms, reason } in refused {
        outcome.reject(RejectReason::InvalidHistogram, usize::MAX, 1, || {
            format!("native histogram at {timestamp_ms} ms: {reason}: {}", describe(*labels))
        });
    }
    outcome.rejected[RejectReason::InvalidHistogram as usize] += decoded.histograms_refused - refused.len() as u64;
}

/// The checks that need no body.
fn check_request(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.is_empty()
        && !encoding.as_bytes().eq_ignore_ascii_case(b"snappy")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let message = format!(
            "{} encoding (compression) is not accepted by this server; only snappy is acceptable",
            shorten(&encoding)
        );
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if method != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed".to_owned()));
    }
    let content_type = match headers.get(header::CONTENT_TYPE) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()),
        None => MEDIA_TYPE.into(),
    };
    check_content_type(&content_type).map_err(|message| refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Whether a content type names the message of remote write 1.0. Space around its parts is ignored: senders exist that
/// put one after the semicolon.
fn check_content_type(content_type: &str) -> Result<(), String> {
    if content_type.trim().is_empty() {
        return Ok(());
    }
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        let media_type = shorten(media_type);
        return Err(format!("content type {media_type:?} is not accepted by this server; only {MEDIA_TYPE} is"));
    }
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            let parameter = shorten(parameter);
            return Err(format!("content type parameter {parameter:?} is not of the form key=value"));
        };
        if !key.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        match value.trim().trim_matches('"') {
            MESSAGE_V1 => {}
            MESSAGE_V2 => {
                return Err(format!(
                    "{MESSAGE_V2} protobuf message is not accepted by this server; only accepts {MESSAGE_V1}"
                ));
            }
            unknown => {
                let unknown = shorten(unknown);
                return Err(format!("protobuf message {unknown:?} is unknown; this server only accepts {MESSAGE_V1}"));
            }
        }
    }
    Ok(())
}

/// The answer to a request whose samples are committed (or that had none): 204, or 400 if anything was refused.
fn answer(outcome: &BatchOutcome, unstored: &Unstored, receipt: Option<&Receipt>) -> Response<Bytes> {
    let refused = outcome.rejected_total() > 0 || unstored.exemplars > 0;
    let mut response = if refused {
        text(StatusCode::BAD_REQUEST, refusal_text(outcome, unstored))
    } else {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    };
    let headers = response.headers_mut();
    headers.insert(SAMPLES_WRITTEN, HeaderValue::from(outcome.added + outcome.duplicates - outcome.histograms));
    headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(outcome.histograms));
    headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(0));
    if let Some(receipt) = receipt {
        headers.insert(COMMIT, HeaderValue::from(receipt.commit));
        headers.insert(SAMPLES_ADDED, HeaderValue::from(receipt.samples));
        headers.insert(DURABILITY, HeaderValue::from_static(receipt.durability.as_str()));
        if let Ok(digest) = HeaderValue::try_from(receipt.digest.to_string()) {
            headers.insert(DIGEST, digest);
        }
    }
    response
}

/// What was refused and why: a first line that says it all in short, then the first refusals one by one.
fn refusal_text(outcome: &BatchOutcome, unstored: &Unstored) -> String {
    let stored = outcome.added + outcome.duplicates;
    let refused = outcome.rejected_total();
    let mut out = format!("stored {stored} of {} samples", stored + refused);
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
    if unstored.exemplars > 0 {
        let _ = write!(out, "; {} exemplars not stored: this version stores none", unstored.exemplars);
    }
    let mut details = unstored.details.clone();
    details.extend(outcome.rejects.iter().map(|reject| {
        let Some(samples) = (reject.samples > 1).then(|| format!(" ({} samples)", reject.samples)) else {
            return format!("{}: {}", reject.reason.as_str(), shorten(&reject.detail));
        };
        format!("{}{samples}: {}", reject.reason.as_str(), shorten(&reject.detail))
    }));
    for (index, detail) in details.iter().enumerate() {
        out.push_str(if index == 0 { "; " } else { "\n" });
        out.push_str(detail);
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
    /// The answer.
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = text(self.status, self.message);
        let headers = response.headers_mut();
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
                for name in [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN] {
                    headers.insert(name, HeaderValue::from(0));
                }
            }
            _ => {}
        }
        response
    }
}

fn refuse(status: StatusCode, message: String) -> Refusal {
    Refusal { status, message }
}

/// The refusal of a request that may be sent again.
fn unavailable(error: &CommitError) -> Refusal {
    refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

fn text(status: StatusCode, message: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(message));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Labels for people, valid or not.
fn describe(labels: RawLabels<'_>) -> String {
    match labels.to_label_set() {
        Ok(set) => shorten(&set.to_string()),
        Err(error) => format!("a series whose {error}"),
    }
}

/// The first characters of a text that a sender controls.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
