//! One connection of the load: it owns its series, and sends their scrapes one after the other.
//!
//! A request that got no answer, or one that says "later", is sent again unchanged before anything that follows it, so
//! the samples of a series always arrive in order. An acknowledgement is checked: its digest has to be the one that
//! was computed from what was sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};

use super::workload::{PreparedSeries, TARGET_SERIES};
use super::write::{BenchError, Shared};
use crate::clock::Clock as _;
use crate::model::{Digest, ReceiptLine};
use crate::net::Connection;

const WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const COMMIT: HeaderName = HeaderName::from_static("chronolith-commit");
const DIGEST: HeaderName = HeaderName::from_static("chronolith-digest");
const DURABILITY: HeaderName = HeaderName::from_static("chronolith-durability");
const ADDED: HeaderName = HeaderName::from_static("chronolith-samples");

const BACKOFF_MIN: Duration = Duration::from_millis(30);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How many refusals and wrong receipts are kept in words.
const NOTES_MAX: usize = 8;

/// What a connection did.
#[derive(Debug)]
pub(super) struct SenderReport {
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) samples_sent: u64,
    pub(super) samples_acknowledged: u64,
    pub(super) samples_rejected: u64,
    pub(super) bytes: u64,
    pub(super) compressed_bytes: u64,
    pub(super) receipts: u64,
    /// Receipts whose digest or count was not what was sent.
    pub(super) receipts_wrong: u64,
    /// Scrapes of which every request was answered for good.
    pub(super) scrapes: u64,
    pub(super) latency_us: Histogram<u64>,
    pub(super) notes: Vec<String>,
}

impl SenderReport {
    pub(super) fn new() -> Result<Self, BenchError> {
        // From a microsecond to five minutes, to three digits.
        let latency_us = Histogram::new_with_bounds(1, 300_000_000, 3).map_err(|_bounds| BenchError::Histogram)?;
        Ok(SenderReport {
            requests: 0,
            retries: 0,
            samples_sent: 0,
            samples_acknowledged: 0,
            samples_rejected: 0,
            bytes: 0,
            compressed_bytes: 0,
            receipts: 0,
            receipts_wrong: 0,
            scrapes: 0,
            latency_us,
            notes: Vec::new(),
        })
    }

    /// Adds what another connection did.
    pub(super) fn merge(&mut self, other: SenderReport) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.samples_sent += other.samples_sent;
        self.samples_acknowledged += other.samples_acknowledged;
        self.samples_rejected += other.samples_rejected;
        self.bytes += other.bytes;
        self.compressed_bytes += other.compressed_bytes;
        self.receipts += other.receipts;
        self.receipts_wrong += other.receipts_wrong;
        // The bounds are the same, so every value fits.
        let _ = self.latency_us.add(&other.latency_us);
        for note in other.notes {
            self.note(note);
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// A request and what its acknowledgement has to say.
struct Prepared {
    body: Bytes,
    samples: u64,
    digest: Digest,
}

/// Sends the series `first..end` until the load is done or is stopped, and books it in `report`.
pub(super) async fn send(
    shared: Arc<Shared>,
    first: u64,
    end: u64,
    mut report: SenderReport,
) -> (SenderReport, Option<BenchError>) {
    let result = send_all(&shared, first, end, &mut report).await;
    if result.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    (report, result.err())
}

async fn send_all(shared: &Shared, first: u64, end: u64, report: &mut SenderReport) -> Result<(), BenchError> {
    let series = PreparedSeries::new(&shared.workload, first, end);
    let options = &shared.options;
    let mut connection = Connection::new(&shared.server, options.request_timeout, 1 << 20);
    let mut encoder = snap::raw::Encoder::new();
    let (mut message, mut compressed) = (Vec::new(), Vec::new());
    shared.ready.wait().await;
    for scrape in 0.. {
        if options.scrapes.is_some_and(|scrapes| scrape >= scrapes) {
            break;
        }
        wait_until_due(shared, first / TARGET_SERIES, scrape).await;
        let mut start = 0;
        while start < series.len() {
            if shared.is_stopped() {
                return Ok(());
            }
            let range = start..series.len().min(start.saturating_add(options.batch.max(1)));
            let samples = range.len() as u64;
            start = range.end;
            let digest = series.write_request(&shared.workload, scrape, range, &mut message);
            compressed.resize(snap::raw::max_compress_len(message.len()), 0);
            let length = encoder.compress(&message, &mut compressed)?;
            let body = Bytes::copy_from_slice(compressed.get(..length).unwrap_or_default());
            report.bytes += message.len() as u64;
            report.compressed_bytes += length as u64;
            report.samples_sent += samples;
            let sent = deliver(shared, &mut connection, &Prepared { body, samples, digest }, report).await?;
            shared.progress.inc(samples);
            if !sent {
                return Ok(());
            }
        }
        report.scrapes = scrape + 1;
    }
    Ok(())
}

/// A scrape is not sent before its time: a load that is faster than the clock would run into the future, where servers
/// refuse it.
async fn wait_until_due(shared: &Shared, target: u64, scrape: u64) {
    let due_ms = shared.workload.timestamp_ms(target, scrape);
    while !shared.is_stopped() {
        let early_ms = due_ms - shared.clock.now_ms();
        if early_ms <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(early_ms.min(100).unsigned_abs())).await;
    }
}

/// Sends one request until it is answered for good; false if the load was stopped before that.
async fn deliver(
    shared: &Shared,
    connection: &mut Connection,
    request: &Prepared,
    report: &mut SenderReport,
) -> Result<bool, BenchError> {
    let mut backoff = BACKOFF_MIN;
    let mut first_failure: Option<Duration> = None;
    loop {
        let sent_at_ms = shared.clock.now_ms();
        let started = shared.clock.monotonic();
        let answer = connection.send(Method::POST, &shared.write_path, headers(), request.body.clone()).await;
        let elapsed = shared.clock.monotonic().saturating_sub(started);
        let (problem, wait) = match answer {
            Ok(response) if may_succeed_later(&response) => {
                let wait = retry_after(&response);
                (format!("{}: {}", response.status(), first_line(&response)), wait)
            }
            Ok(response) => {
                report.requests += 1;
                report.latency_us.saturating_record(elapsed.as_micros().min(u128::from(u64::MAX)) as u64);
                settle(shared, request, &response, first_failure.is_some(), sent_at_ms, report)?;
                return Ok(true);
            }
            Err(error) => (error.to_string(), None),
        };
        let since = *first_failure.get_or_insert(started);
        if shared.clock.monotonic().saturating_sub(since) >= shared.options.retry_for {
            return Err(BenchError::GaveUp { after: shared.options.retry_for, problem });
        }
        if shared.is_stopped() {
            return Ok(false);
        }
        report.retries += 1;
        tokio::time::sleep(wait.unwrap_or(backoff).min(shared.options.retry_for)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Books an answer that is final.
fn settle(
    shared: &Shared,
    request: &Prepared,
    response: &Response<Bytes>,
    is_repeated: bool,
    sent_at_ms: i64,
    report: &mut SenderReport,
) -> Result<(), BenchError> {
    let status = response.status();
    let rejected = if status.is_success() {
        0
    } else if status == hyper::StatusCode::BAD_REQUEST {
        let stored = header_number(response, &WRITTEN).unwrap_or(0);
        report.note(format!("{status}: {}", first_line(response)));
        request.samples.saturating_sub(stored)
    } else {
        return Err(BenchError::Refused { status: status.as_u16(), text: first_line(response) });
    };
    report.samples_rejected += rejected;
    report.samples_acknowledged += request.samples - rejected;
    let (Some(commit), Some(digest)) =
        (header_number(response, &COMMIT), header_text(response, &DIGEST).and_then(Digest::from_hex))
    else {
        return Ok(());
    };
    let added = header_number(response, &ADDED).unwrap_or(request.samples - rejected);
    // A request that was sent again may have been stored the first time: then the receipt covers what was missing.
    let expected = match added {
        0 => Some(Digest::ZERO),
        added if added == request.samples => Some(request.digest),
        _ => None,
    };
    let is_complete = added == request.samples || rejected > 0 || is_repeated;
    if !is_complete || expected.is_some_and(|expected| expected != digest) {
        report.receipts_wrong += 1;
        report.note(format!(
            "receipt {commit} says {added} samples with digest {digest}, sent were {} with {}",
            request.samples, request.digest
        ));
    }
    report.receipts += 1;
    if let Some(receipts) = &shared.receipts {
        let durability = header_text(response, &DURABILITY).unwrap_or_default().to_owned();
        receipts.append(&ReceiptLine { commit, digest, samples: added, durability, sent_at_ms })?;
    }
    Ok(())
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (header::CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static("0.1.0")),
    ])
}

fn may_succeed_later(response: &Response<Bytes>) -> bool {
    response.status().is_server_error() || response.status() == hyper::StatusCode::TOO_MANY_REQUESTS
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    header_number(response, &header::RETRY_AFTER).map(Duration::from_secs)
}

fn header_text<'r>(response: &'r Response<Bytes>, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn header_number(response: &Response<Bytes>, name: &HeaderName) -> Option<u64> {
    header_text(response, name)?.parse().ok()
}

/// The first line of an answer, cut to what fits a report.
fn first_line(response: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(response.body());
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
