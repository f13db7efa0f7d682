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
use hyper::header::HeaderName;
use hyper::{Method, Response};

use super::wire::answer::{Verdict, judge, number, text};
use super::wire::{Framer, Prepared, headers};
use super::workload::TARGET_SERIES;
use super::write::{BenchError, Shared};
use crate::clock::Clock as _;
use crate::model::{Digest, ReceiptLine};
use crate::net::Connection;

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
    /// Samples of the receipts that fit.
    pub(super) samples_receipted: u64,
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
            samples_receipted: 0,
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
        self.samples_receipted += other.samples_receipted;
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
struct Request {
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
    let options = &shared.options;
    let batch = options.batch.max(1) as u64;
    let ranges = (first..end).step_by(options.batch.max(1)).map(|start| start..end.min(start.saturating_add(batch)));
    let prepare = |range: std::ops::Range<u64>| {
        let samples = range.end - range.start;
        (samples, Prepared::new(options.protocol, &shared.workload, range))
    };
    let requests: Vec<(u64, Prepared)> = ranges.map(prepare).collect();
    let mut connection =
        Connection::new(&shared.server, options.request_timeout, 1 << 20).speaking(options.protocol.http_version());
    let mut framer = Framer::new(options.protocol, shared.compression);
    let mut message = Vec::new();
    shared.ready.wait().await;
    for scrape in 0.. {
        if options.scrapes.is_some_and(|scrapes| scrape >= scrapes) {
            break;
        }
        wait_until_due(shared, first / TARGET_SERIES, scrape).await;
        for (samples, prepared) in &requests {
            if shared.is_stopped() {
                return Ok(());
            }
            let (samples, digest) = (*samples, prepared.encode(&shared.workload, scrape, &mut message));
            let body = framer.body(&message)?;
            report.bytes += message.len() as u64;
            report.compressed_bytes += body.len() as u64;
            report.samples_sent += samples;
            let sent = deliver(shared, &mut connection, &Request { body, samples, digest }, report).await?;
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
    request: &Request,
    report: &mut SenderReport,
) -> Result<bool, BenchError> {
    let mut backoff = BACKOFF_MIN;
    let mut first_failure: Option<Duration> = None;
    loop {
        let sent_at_ms = shared.clock.now_ms();
        let started = shared.clock.monotonic();
        let headers = headers(shared.options.protocol, shared.compression);
        let answer = connection.send(Method::POST, &shared.write_path, headers, request.body.clone()).await;
        let elapsed = shared.clock.monotonic().saturating_sub(started);
        let verdict = match &answer {
            Ok(response) => judge(shared.options.protocol, request.samples, response),
            Err(error) => Verdict::Later { problem: error.to_string(), wait: None },
        };
        let (problem, wait) = match (verdict, answer) {
            (Verdict::Final { rejected, note }, Ok(response)) => {
                report.requests += 1;
                report.latency_us.saturating_record(elapsed.as_micros().min(u128::from(u64::MAX)) as u64);
                if let Some(note) = note {
                    report.note(note);
                }
                settle(shared, request, &response, rejected, first_failure.is_some(), sent_at_ms, report)?;
                return Ok(true);
            }
            (Verdict::Refused { status, text }, _) => return Err(BenchError::Refused { status, text }),
            (Verdict::Later { problem, wait }, _) => (problem, wait),
            (Verdict::Final { .. }, Err(error)) => (error.to_string(), None),
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
    request: &Request,
    response: &Response<Bytes>,
    rejected: u64,
    is_repeated: bool,
    sent_at_ms: i64,
    report: &mut SenderReport,
) -> Result<(), BenchError> {
    report.samples_rejected += rejected;
    report.samples_acknowledged += request.samples - rejected;
    let (Some(commit), Some(digest)) = (number(response, &COMMIT), text(response, &DIGEST).and_then(Digest::from_hex))
    else {
        return Ok(());
    };
    let added = number(response, &ADDED).unwrap_or(request.samples - rejected);
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
    } else {
        report.samples_receipted += if is_repeated { request.samples - rejected } else { added };
    }
    report.receipts += 1;
    if let Some(receipts) = &shared.receipts {
        let durability = text(response, &DURABILITY).unwrap_or_default().to_owned();
        receipts.append(&ReceiptLine { commit, digest, samples: added, durability, sent_at_ms })?;
    }
    Ok(())
}
