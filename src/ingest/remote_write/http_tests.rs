//! Tests of the HTTP rules of remote write.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::ManualClock;
use crate::encoding::put;
use crate::ingest::ProtocolMetrics;
use crate::ingest::accept::{Appended, Metadata, WriteLimits};
use crate::ingest::answer::{COMMIT, DIGEST, DURABILITY, SAMPLES_ADDED};
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, TimestampMs};
use crate::storage::{BatchOutcome, ExemplarRejectReason, RejectReason, WriteBatch};
use crate::wal::{CommitError, Durability, Receipt};

/// A store that refuses values below zero, knows values of zero already, and commits as it is told.
#[derive(Debug, Default)]
struct FakeStore {
    unwritable: bool,
    families: Mutex<Vec<String>>,
}

impl WriteStore for FakeStore {
    type Commit = Ready<Result<Receipt, CommitError>>;

    fn append(&self, batch: &WriteBatch<'_>, _now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        let mut outcome = BatchOutcome::default();
        for (index, entry) in batch.series.iter().enumerate() {
            let labels = entry.labels.to_label_set().unwrap();
            for sample in &batch.samples[entry.samples.start as usize..entry.samples.end as usize] {
                if sample.value < 0.0 {
                    outcome
                        .reject(RejectReason::OutOfOrder, index, 1, || format!("{labels} at {}", sample.timestamp_ms));
                } else if sample.value == 0.0 {
                    outcome.duplicates += 1;
                } else {
                    outcome.added += 1;
                    outcome.digest += Digest::of_labels(&labels).of_sample(sample.timestamp_ms, sample.value);
                }
            }
            for sample in batch.histograms_of(index) {
                (outcome.added, outcome.histograms) = (outcome.added + 1, outcome.histograms + 1);
                outcome.digest += Digest::of_labels(&labels).of_value(sample.timestamp_ms, &sample.value);
            }
        }
        for exemplar in &batch.exemplars {
            outcome.reject_exemplar(ExemplarRejectReason::Disabled, exemplar.entry as usize, || "turned off".into());
        }
        let receipt =
            Receipt { commit: 41, samples: outcome.added, digest: outcome.digest, durability: Durability::Fsync };
        let commit = if self.unwritable {
            Err(CommitError::Unavailable { reason: "no space left on device".into() })
        } else {
            Ok(receipt)
        };
        Ok(Appended { outcome, commit: ready(commit) })
    }

    fn record_metadata(&self, metadata: &[Metadata<'_>]) {
        self.families.lock().unwrap().extend(metadata.iter().map(|entry| entry.family.to_owned()));
    }
}

fn metrics(service: &WriteService<FakeStore>) -> &ProtocolMetrics {
    service.metrics.of(Protocol::RemoteWrite1)
}

fn service(unwritable: bool) -> WriteService<FakeStore> {
    let store = FakeStore { unwritable, ..FakeStore::default() };
    WriteService::new(store, WriteLimits::default(), Arc::new(ManualClock::at(0)))
}

fn field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    put::uvarint_slice(out, content);
}

fn series(value: f64) -> Vec<u8> {
    let mut series = Vec::new();
    encode_canonical([Label { name: "__name__", value: "up" }].into_iter(), &mut series);
    let mut sample = vec![0x09];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.extend_from_slice(&[0x10, 5]);
    field(&mut series, 2, &sample);
    series
}

fn message(values: &[f64]) -> Vec<u8> {
    let mut message = Vec::new();
    for &value in values {
        field(&mut message, 1, &series(value));
    }
    message
}

fn compressed(message: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(message).unwrap().into()
}

fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

fn run(service: &WriteService<FakeStore>, method: Method, headers: &HeaderMap, body: Bytes) -> Response<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sender = Sender::unknown(protocol_named_in(headers));
    runtime.block_on(handle(service, &sender, &method, headers, body))
}

fn post(service: &WriteService<FakeStore>, message: &[u8]) -> Response<Bytes> {
    run(service, Method::POST, &HeaderMap::new(), compressed(message))
}

fn header<'r>(response: &'r Response<Bytes>, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

#[test]
fn request_that_is_stored_whole_gets_204_and_a_receipt() {
    let service = service(false);
    let response = post(&service, &message(&[1.0, 2.0, 0.0]));
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.body().is_empty());
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("3"));
    assert_eq!(header(&response, &HISTOGRAMS_WRITTEN), Some("0"));
    assert_eq!(header(&response, &COMMIT), Some("41"));
    assert_eq!(header(&response, &SAMPLES_ADDED), Some("2"));
    assert_eq!(header(&response, &DURABILITY), Some("fsync"));
    let labels = Digest::of_labels(&crate::model::LabelSet::from_pairs([("__name__", "up")]));
    let digest = labels.of_sample(5, 1.0) + labels.of_sample(5, 2.0);
    assert_eq!(header(&response, &DIGEST), Some(digest.to_string().as_str()));
    assert_eq!((metrics(&service).samples_added.get(), metrics(&service).samples_duplicate.get()), (2, 1));
    assert_eq!(metrics(&service).requests_ok.get(), 1);
}

#[test]
fn refused_sample_makes_400_that_names_it_and_the_rest_has_its_receipt() {
    let service = service(false);
    let response = post(&service, &message(&[1.0, -1.0, 2.0]));
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let first_line = body(&response).lines().next().unwrap();
    assert_eq!(first_line, r#"stored 2 of 3 samples; refused 1 (out_of_order: 1); out_of_order: {__name__="up"} at 5"#);
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("2"));
    assert_eq!(header(&response, &COMMIT), Some("41"));
    assert_eq!(metrics(&service).rejected(RejectReason::OutOfOrder), 1);
    assert_eq!(metrics(&service).requests_refused.get(), 1);
}

#[test]
fn requests_are_in_the_account_of_their_sender_and_what_was_refused_in_the_journal() {
    let service = service(false);
    post(&service, &message(&[1.0, 0.0]));
    post(&service, &message(&[2.0, -1.0]));
    run(&service, Method::POST, &HeaderMap::new(), Bytes::from_static(b"no snappy"));
    run(&service, Method::GET, &HeaderMap::new(), Bytes::new());
    let accounts = service.writers.accounts().writers;
    assert_eq!(accounts.len(), 1);
    let counts = &accounts[0].counts;
    assert_eq!((counts.samples_added, counts.samples_duplicate, counts.rejected_total()), (2, 1, 1));
    assert_eq!((counts.requests_ok, counts.requests_refused, counts.requests_unavailable), (1, 3, 0));
    let reasons: Vec<&str> = service.writers.rejects().entries.iter().map(|entry| entry.cause.as_str()).collect();
    assert_eq!(reasons, ["method_not_allowed", "malformed_request", "out_of_order"]);
    let entries = service.writers.rejects().entries;
    let labels = entries.last().and_then(|entry| entry.labels.clone());
    assert_eq!(labels.map(|labels| labels.to_string()).as_deref(), Some(r#"{__name__="up"}"#));
}

#[test]
fn answer_to_a_thousand_refusals_is_bounded() {
    let response = post(&service(false), &message(&[-1.0; 1000]));
    assert!(body(&response).contains("out_of_order: 1000"));
    assert!(body(&response).lines().count() <= BatchOutcome::REJECTS_KEPT + 1);
}

#[test]
fn invalid_histograms_are_refused_by_name_and_what_stands_beside_them_is_stored() {
    let mut message = message(&[1.0]);
    let mut latency = Vec::new();
    encode_canonical([Label { name: "__name__", value: "latency" }].into_iter(), &mut latency);
    field(&mut latency, 4, &[]);
    // Counts an observation that is in no bucket.
    let broken = [1 << 3, 1, 15 << 3, 7];
    (0..20).for_each(|_| field(&mut latency, 4, &broken));
    field(&mut message, 1, &latency);
    let service = service(false);
    let response = post(&service, &message);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        body(&response).lines().next().unwrap(),
        "stored 2 of 22 samples; refused 20 (invalid_histogram: 20); invalid_histogram: native histogram at 7 ms: 0 \
         observations in buckets, but a count of 1: {__name__=\"latency\"}"
    );
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("1"));
    assert_eq!(header(&response, &HISTOGRAMS_WRITTEN), Some("1"));
    assert_eq!(header(&response, &SAMPLES_ADDED), Some("2"));
    assert_eq!(header(&response, &COMMIT), Some("41"));
    assert_eq!(metrics(&service).rejected(RejectReason::InvalidHistogram), 20);
    assert_eq!(metrics(&service).histograms_stored.get(), 1);
}

#[test]
fn request_of_invalid_histograms_alone_needs_no_commit() {
    let mut message = Vec::new();
    let mut latency = Vec::new();
    encode_canonical([Label { name: "__name__", value: "latency" }].into_iter(), &mut latency);
    field(&mut latency, 4, &[1 << 3, 1]);
    field(&mut message, 1, &latency);
    let response = post(&service(true), &message);
    assert_eq!((response.status(), header(&response, &COMMIT)), (StatusCode::BAD_REQUEST, None));
    assert!(body(&response).starts_with("stored 0 of 1 samples"), "{}", body(&response));
}

#[test]
fn exemplars_are_refused_by_name() {
    let mut with_exemplar = series(1.0);
    field(&mut with_exemplar, 3, &[]);
    let mut message = Vec::new();
    field(&mut message, 1, &with_exemplar);
    let response = post(&service(false), &message);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(body(&response), "stored 1 of 1 samples; refused 1 exemplars (disabled: 1); disabled: turned off\n");
    assert_eq!(header(&response, &EXEMPLARS_WRITTEN), Some("0"));
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("1"));
}

#[test]
fn metadata_alone_is_handed_on_and_waits_for_the_commit() {
    let mut metadata = Vec::new();
    field(&mut metadata, 2, b"go_goroutines");
    let mut message = Vec::new();
    field(&mut message, 3, &metadata);
    let store = service(false);
    let response = post(&store, &message);
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&response, &COMMIT), Some("41"));
    assert_eq!(*store.store.families.lock().unwrap(), ["go_goroutines"]);
    assert_eq!(post(&service(true), &message).status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn failed_commit_is_503_with_retry_after_and_nothing_counts_as_written() {
    let service = service(true);
    let response = post(&service, &message(&[1.0]));
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(header(&response, &header::RETRY_AFTER).is_some());
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("0"));
    assert_eq!(header(&response, &COMMIT), None);
    assert!(body(&response).contains("no space left on device"));
    assert_eq!(metrics(&service).samples_added.get(), 0);
    assert_eq!(metrics(&service).requests_unavailable.get(), 1);
}

#[test]
fn duplicates_alone_wait_for_the_commit() {
    assert_eq!(post(&service(true), &message(&[0.0])).status(), StatusCode::SERVICE_UNAVAILABLE);
    let response = post(&service(false), &message(&[0.0]));
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&response, &SAMPLES_ADDED), Some("0"));
}

/// `up` with each value, all at one time, in a message of version 2.
fn message_v2(values: &[f64]) -> Vec<u8> {
    let mut message = Vec::new();
    for symbol in ["", "__name__", "up"] {
        field(&mut message, 4, symbol.as_bytes());
    }
    for &value in values {
        let mut series = Vec::new();
        field(&mut series, 1, &[1, 2]);
        let mut sample = vec![0x09];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.extend_from_slice(&[0x10, 5]);
        field(&mut series, 2, &sample);
        field(&mut message, 5, &series);
    }
    message
}

const TYPE_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn post_v2(service: &WriteService<FakeStore>, message: &[u8]) -> Response<Bytes> {
    run(service, Method::POST, &headers(&[(header::CONTENT_TYPE, TYPE_V2)]), compressed(message))
}

#[test]
fn content_type_chooses_the_message_as_the_specification_says() {
    let status = |content_type: &'static str, message: &[u8]| {
        let service = service(false);
        let headers = headers(&[(header::CONTENT_TYPE, content_type)]);
        let response = run(&service, Method::POST, &headers, compressed(message));
        let counted = |protocol| service.metrics.of(protocol).samples_added.get();
        (response.status(), counted(Protocol::RemoteWrite1), counted(Protocol::RemoteWrite2))
    };
    let (first, second) = (message(&[1.0]), message_v2(&[1.0]));
    for named in [
        "",
        "application/x-protobuf",
        "application/x-protobuf;proto=prometheus.WriteRequest",
        "application/x-protobuf; proto=prometheus.WriteRequest",
        "Application/X-Protobuf ; charset=utf-8",
    ] {
        assert_eq!(status(named, &first), (StatusCode::NO_CONTENT, 1, 0), "{named}");
        assert_eq!(status(named, &second), (StatusCode::BAD_REQUEST, 0, 0), "{named}");
    }
    for named in [
        TYPE_V2,
        "application/x-protobuf; proto=io.prometheus.write.v2.Request",
        "application/x-protobuf;proto=\"io.prometheus.write.v2.Request\"",
        "APPLICATION/x-protobuf ;charset=utf-8; Proto = io.prometheus.write.v2.Request;",
    ] {
        assert_eq!(status(named, &second), (StatusCode::NO_CONTENT, 0, 1), "{named}");
        assert_eq!(status(named, &first), (StatusCode::BAD_REQUEST, 0, 0), "{named}");
    }
    for refused in [
        "application/json",
        "application/x-protobuf;proto",
        "application/x-protobuf;proto=foo",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
        "application/x-protobuf;proto=prometheus.WriteRequest;proto=io.prometheus.write.v2.Request",
    ] {
        assert_eq!(status(refused, &second), (StatusCode::UNSUPPORTED_MEDIA_TYPE, 0, 0), "{refused}");
    }
}

#[test]
fn refusal_of_a_message_names_those_that_are_accepted() {
    let headers = headers(&[(header::CONTENT_TYPE, "application/x-protobuf;proto=io.prometheus.write.v3.Request")]);
    let response = run(&service(false), Method::POST, &headers, Bytes::new());
    assert!(body(&response).ends_with("only accepts prometheus.WriteRequest, io.prometheus.write.v2.Request"));
    assert_eq!(header(&response, &SAMPLES_WRITTEN), None, "nothing was negotiated");
}

#[test]
fn partial_write_of_version_2_is_400_with_what_was_written() {
    let service = service(false);
    let mut message = message_v2(&[1.0, -1.0, 0.0]);
    let mut lost = Vec::new();
    field(&mut lost, 1, &[1, 9]);
    field(&mut lost, 2, &[]);
    field(&mut message, 5, &lost);
    let response = post_v2(&service, &message);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        body(&response),
        "stored 2 of 4 samples; refused 2 (out_of_order: 1, invalid_reference: 1); out_of_order: {__name__=\"up\"} at \
         5\ninvalid_reference: reference 9 is outside of the 3 symbols: {__name__=\"<9>\"}\n"
    );
    assert_eq!(header(&response, &SAMPLES_WRITTEN), Some("2"));
    assert_eq!(header(&response, &EXEMPLARS_WRITTEN), Some("0"));
    assert_eq!(header(&response, &COMMIT), Some("41"));
    let metrics = service.metrics.of(Protocol::RemoteWrite2);
    assert_eq!((metrics.samples_added.get(), metrics.rejected(RejectReason::InvalidReference)), (1, 1));
}

#[test]
fn refusal_that_costs_no_sample_is_400_all_the_same() {
    let mut message = message_v2(&[1.0]);
    let mut empty = Vec::new();
    field(&mut empty, 1, &[1, 2]);
    field(&mut message, 5, &empty);
    let response = post_v2(&service(false), &message);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let expected =
        "stored 1 of 1 samples; no_samples: neither a sample nor a histogram nor an exemplar: {__name__=\"up\"}\n";
    assert_eq!(body(&response), expected);
}

#[test]
fn message_that_cannot_be_read_or_committed_says_that_nothing_was_written() {
    for (response, status) in [
        (post_v2(&service(false), b"\xff"), StatusCode::BAD_REQUEST),
        (post_v2(&service(true), &message_v2(&[1.0])), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(response.status(), status);
        for name in [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN] {
            assert_eq!(header(&response, &name), Some("0"), "{status} {name}");
        }
    }
}

#[test]
fn other_compression_or_method_is_refused() {
    let service = service(false);
    let gzip = headers(&[(header::CONTENT_ENCODING, "gzip")]);
    let response = run(&service, Method::POST, &gzip, Bytes::new());
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(body(&response).starts_with("gzip encoding"));
    let response = run(&service, Method::GET, &HeaderMap::new(), Bytes::new());
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&response, &header::ALLOW), Some("POST"));
}

#[test]
fn bodies_that_are_no_messages_are_400() {
    let service = service(false);
    let mut bomb = vec![0x80, 0x80, 0x80, 0x80, 0x0c];
    bomb.resize(100, 0);
    let truncated = compressed(&message(&[1.0])).slice(..10);
    for bad in [Bytes::new(), bomb.into(), truncated, compressed(b"\xff\xff\xff")] {
        let response = run(&service, Method::POST, &HeaderMap::new(), bad.clone());
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad:?}");
        assert!(!response.body().is_empty());
    }
}

#[test]
fn body_past_the_limit_is_413() {
    let mut service = service(false);
    service.limits.body_bytes = 10;
    let response = post(&service, &message(&[1.0]));
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
