//! Tests of imports as their clients see them, over a store that is none.

use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::ingest::answer::{COMMIT, DIGEST, SAMPLES_ADDED};
use crate::ingest::{Appended, Metadata, Protocol, WriteLimits};
use crate::model::{Digest, ReceiptLine};
use crate::storage::{RejectReason, WriteBatch};
use crate::text::Dialect;
use crate::wal::{CommitError, Durability};

/// Samples as text.
type Samples = Vec<(String, TimestampMs, u64)>;

/// A store that refuses values below zero, takes all exemplars, and cannot commit behind `commits_max`.
#[derive(Debug)]
struct FakeStore {
    commits_max: u64,
    taken: Mutex<(u64, Samples)>,
}

impl WriteStore for FakeStore {
    type Commit = Ready<Result<Receipt, CommitError>>;

    fn append(&self, batch: &WriteBatch<'_>, _now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        let (commit, taken) = &mut *self.taken.lock().unwrap();
        if *commit == self.commits_max {
            return Err(CommitError::Unavailable { reason: "no space left on device".into() });
        }
        *commit += 1;
        let mut outcome = BatchOutcome { exemplars: batch.exemplars.len() as u64, ..BatchOutcome::default() };
        for (index, entry) in batch.series.iter().enumerate() {
            let labels = entry.labels.to_label_set().unwrap();
            for sample in batch.samples_of(index) {
                if sample.value < 0.0 {
                    outcome.reject(RejectReason::OutOfOrder, index, 1, || labels.to_string());
                } else {
                    outcome.added += 1;
                    outcome.digest += Digest::of_labels(&labels).of_sample(sample.timestamp_ms, sample.value);
                    taken.push((labels.to_string(), sample.timestamp_ms, sample.value.to_bits()));
                }
            }
        }
        let durability = Durability::Fsync;
        let receipt = Receipt { commit: *commit, samples: outcome.added, digest: outcome.digest, durability };
        Ok(Appended { outcome, commit: ready(Ok(receipt)) })
    }

    fn record_metadata(&self, _metadata: &[Metadata<'_>]) {}
}

fn service(commits_max: u64) -> WriteService<FakeStore> {
    let store = FakeStore { commits_max, taken: Mutex::default() };
    WriteService::new(store, WriteLimits::default(), Arc::new(ManualClock::at(1_700_000_000_000)))
}

/// Longer than any test.
const TIMEOUT: Duration = Duration::from_secs(3600);

fn taken(service: &WriteService<FakeStore>) -> Samples {
    service.store.taken.lock().unwrap().1.clone()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn begin<'s>(
    service: &'s WriteService<FakeStore>,
    turns: &'s Turns,
    dialect: Dialect,
    encoding: Encoding,
) -> TextImport<'s, FakeStore> {
    let request = ImportRequest { dialect, labels: Vec::new(), timestamp_ms: 7 };
    TextImport::new(service, turns, Sender::unknown(Protocol::Text), request, encoding).unwrap()
}

/// Imports a body that comes in parts of `part` bytes.
fn import(
    service: &WriteService<FakeStore>,
    dialect: Dialect,
    encoding: Encoding,
    body: &[u8],
    part: usize,
) -> (u16, String, Response<Bytes>) {
    let turns = Turns::new(1, TIMEOUT);
    let answer = run(async {
        let mut import = begin(service, &turns, dialect, encoding);
        for part in body.chunks(part) {
            if let Err(refusal) = import.feed(Bytes::copy_from_slice(part)).await {
                return import.fail(refusal);
            }
            assert_eq!(import.turns.free(), 1);
            assert!(import.text.capacity() <= 2 * BATCH_BYTES, "{}", import.text.capacity());
        }
        import.finish().await
    });
    assert_eq!(turns.free(), 1);
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    (answer.status().as_u16(), text, answer)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Some megabytes of lines.
fn long_text(lines: usize) -> String {
    let mut text = String::new();
    for number in 0..lines {
        writeln!(
            text,
            "m{{number=\"{number}\", path=\"/some/where\"}} {number}.5 {}",
            1_700_000_000_000 + number as i64
        )
        .unwrap();
    }
    text
}

#[test]
fn import_that_one_commit_covers_is_acknowledged_like_every_write() {
    let service = service(9);
    let body = b"# TYPE a gauge\na 1\nb{c=\"d\"} 2 9\n";
    let (status, text, answer) = import(&service, Dialect::Prometheus, Encoding::Identity, body, 100);
    assert_eq!((status, text.as_str()), (204, ""));
    assert_eq!(
        (&answer.headers()[COMMIT], &answer.headers()[SAMPLES_ADDED]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
    assert!(answer.headers().contains_key(DIGEST));
    let metrics = service.metrics.of(Protocol::Text);
    assert_eq!((metrics.requests_ok.get(), metrics.samples_added.get(), metrics.body_bytes.get()), (1, 2, 32));
    let (status, ..) = import(&service, Dialect::Prometheus, Encoding::Identity, b"", 1);
    assert_eq!((status, metrics.requests_ok.get()), (204, 2));
}

#[test]
fn import_cut_into_parts_anywhere_stores_the_same() {
    let body = "a{b=\"ü\"} 1 5\r\n# HELP a x\nc 2 6 # {x=\"y\"} 1 2\n\na 3 7\n# EOF\n".as_bytes();
    let mut expected = None;
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        let body = if encoding == Encoding::Gzip { gzip(body) } else { body.to_vec() };
        for part in 1..body.len() {
            let service = service(99);
            let (status, text, _) = import(&service, Dialect::OpenMetrics, encoding, &body, part);
            assert_eq!((status, text.as_str()), (204, ""), "{encoding:?} {part}");
            let stored = taken(&service);
            assert_eq!(stored.len(), 3);
            assert_eq!(&stored, expected.get_or_insert_with(|| stored.clone()), "{encoding:?} {part}");
        }
    }
}

#[test]
fn import_of_several_commits_is_answered_with_their_receipts() {
    let service = service(99);
    let text = long_text(100_000);
    let body = gzip(text.as_bytes());
    let (status, receipts, answer) = import(&service, Dialect::Prometheus, Encoding::Gzip, &body, 4000);
    assert_eq!((status, &answer.headers()["content-type"]), (200, &"application/x-ndjson".parse().unwrap()));
    assert!(!answer.headers().contains_key(COMMIT));
    let receipts: Vec<ReceiptLine> = receipts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let parts = text.len().div_ceil(BATCH_BYTES);
    assert!((parts..=parts + 1).contains(&receipts.len()), "{} receipts for {parts} parts", receipts.len());
    assert!(receipts.iter().zip(1..).all(|(receipt, commit)| receipt.commit == commit));
    assert_eq!(receipts.iter().map(|receipt| receipt.samples).sum::<u64>(), 100_000);
    assert!(receipts.iter().all(|receipt| receipt.sent_at_ms == 1_700_000_000_000 && receipt.durability == "fsync"));
    assert_eq!(taken(&service).len(), 100_000);
    assert_eq!(service.metrics.of(Protocol::Text).requests_ok.get(), 1);
}

#[test]
fn import_with_refusals_names_the_lines_and_stores_the_rest() {
    let service = service(9);
    let body = b"a 1\nb x\nc -3\nd 4\ne{f=\"g\" 5\n";
    let (status, text, answer) = import(&service, Dialect::Prometheus, Encoding::Identity, body, 3);
    assert_eq!(status, 400);
    assert!(text.starts_with("stored 2 of 5 samples; refused 3 (out_of_order: 1, malformed_line: 2); "), "{text}");
    for named in
        ["out_of_order: line 3: {__name__=\"c\"}", "line 2, column 3: the value is not a number: b x", "line 5, column"]
    {
        assert!(text.contains(named), "{named} in {text}");
    }
    assert_eq!(answer.headers()[SAMPLES_ADDED], "2");
    let metrics = service.metrics.of(Protocol::Text);
    assert_eq!((metrics.requests_refused.get(), metrics.rejected(RejectReason::MalformedLine)), (1, 2));
}

#[test]
fn import_of_open_metrics_that_was_cut_off_says_so_and_drops_the_line_it_was_cut_in() {
    for (body, kept, named) in [
        (&b"a 1\nb 2\n"[..], 2, "does not end with `# EOF`"),
        (b"a 1\nb 2", 1, "line 2: the text ends in it"),
        (b"a 1\n# EO", 1, "does not end with `# EOF`"),
    ] {
        let service = service(9);
        let (status, text, _) = import(&service, Dialect::OpenMetrics, Encoding::Identity, body, 5);
        assert_eq!((status, taken(&service).len()), (400, kept), "{text}");
        assert!(text.contains(named) && text.contains("# EOF"), "{text}");
    }
    let service = service(9);
    let (status, ..) = import(&service, Dialect::OpenMetrics, Encoding::Identity, b"a 1\n# EOF", 5);
    assert_eq!(status, 204);
    let (status, ..) = import(&service, Dialect::Prometheus, Encoding::Identity, b"a 1\nb 2", 5);
    assert_eq!((status, taken(&service).len()), (204, 3));
}

#[test]
fn import_passes_over_lines_that_are_too_long_and_reads_the_next() {
    let long = "x".repeat(3 * LINE_BYTES_MAX);
    let just = format!("a{{b=\"{}\"}} 1", "y".repeat(LINE_BYTES_MAX - 9));
    assert_eq!(just.len(), LINE_BYTES_MAX);
    let body = format!("{just}\r\n{long}\n# {long}\n{just}0\nc 3\n");
    let service = service(99);
    let (status, text, _) = import(&service, Dialect::Prometheus, Encoding::Identity, body.as_bytes(), 60_000);
    assert_eq!(status, 400);
    assert!(text.starts_with("stored 2 of 4 samples; refused 2 (malformed_line: 2)"), "{text}");
    assert!(text.contains("line 2: longer than") && text.contains("line 4 is longer than"), "{text}");
    assert_eq!(taken(&service)[1].0, r#"{__name__="c"}"#);
}

#[test]
fn import_that_breaks_off_says_what_is_stored() {
    let text = long_text(50_000);
    let mut body = gzip(text.as_bytes());
    let middle = body.len() * 3 / 4;
    body[middle..].fill(0x55);
    let service = service(99);
    let (status, answer, _) = import(&service, Dialect::Prometheus, Encoding::Gzip, &body, 10_000);
    assert_eq!(status, 400);
    let stored = taken(&service).len();
    assert!(stored > 20_000, "{stored}");
    assert!(answer.starts_with("the body cannot be unpacked: "), "{answer}");
    assert!(answer.contains(&format!("up to line {stored}: stored {stored} of {stored} samples")), "{answer}");
    let receipts: Vec<ReceiptLine> = answer.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(receipts.iter().map(|receipt| receipt.samples).sum::<u64>(), stored as u64);
}

#[test]
fn import_into_a_log_that_cannot_be_written_is_answered_503_with_what_was_stored() {
    let service = service(1);
    let text = long_text(50_000);
    let (status, answer, response) = import(&service, Dialect::Prometheus, Encoding::Identity, text.as_bytes(), 9999);
    assert_eq!((status, &response.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    let stored = taken(&service).len();
    assert!(answer.contains("no space left") && answer.contains(&format!("up to line {stored}:")), "{answer}");
    assert_eq!(service.metrics.of(Protocol::Text).requests_unavailable.get(), 1);
}

#[test]
fn import_that_waits_has_stored_its_whole_lines_and_holds_no_place() {
    let (service, turns) = (service(9), Turns::new(1, TIMEOUT));
    run(async {
        let mut import = begin(&service, &turns, Dialect::Prometheus, Encoding::Identity);
        import.feed(Bytes::from_static(b"a 1\nb 2\nc ")).await.unwrap();
        assert!(taken(&service).is_empty());
        import.flush().await.unwrap();
        assert_eq!((taken(&service).len(), turns.free()), (2, 1));
        import.feed(Bytes::from_static(b"3\n")).await.unwrap();
        assert_eq!(import.finish().await.status(), 200);
    });
    assert_eq!(taken(&service).len(), 3);
}

#[test]
fn import_whose_turn_does_not_come_is_answered_503_that_says_what_is_not_known() {
    let (service, turns) = (service(9), Turns::new(0, Duration::from_millis(1)));
    let answer = run(async {
        let mut import = begin(&service, &turns, Dialect::Prometheus, Encoding::Identity);
        import.feed(Bytes::from_static(b"a 1\n")).await.unwrap();
        import.finish().await
    });
    let text = String::from_utf8_lossy(answer.body());
    assert_eq!(
        (answer.status(), answer.headers().contains_key("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert!(text.contains("too long; whether the request is stored is not known"), "{text}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn stored_and_refused_are_what_was_sent(
        lines in proptest::collection::vec(0..8usize, 0..60),
        part in 1..40usize,
        gzipped: bool,
    ) {
        const LINES: [(&str, u64, u64); 8] = [
            ("a 1 5", 1, 0),
            ("b{c=\"d\"} 2", 1, 0),
            ("# HELP a text", 0, 0),
            ("", 0, 0),
            ("c -1", 0, 1),
            ("d{", 0, 1),
            ("{\"utf 8\",e=\"\\n\"} +Inf 1.5 # {f=\"g\"} 1", 1, 0),
            ("f 1 2 3", 0, 1),
        ];
        let text: String = lines.iter().map(|&line| format!("{}\n", LINES[line].0)).collect();
        let (kept, refused) = lines.iter().fold((0, 0), |(kept, refused), &line| (kept + LINES[line].1, refused + LINES[line].2));
        let (encoding, body) =
            if gzipped { (Encoding::Gzip, gzip(text.as_bytes())) } else { (Encoding::Identity, text.into_bytes()) };
        let service = service(u64::MAX);
        let (status, answer, _) = import(&service, Dialect::Undeclared, encoding, &body, part);
        assert_eq!(taken(&service).len() as u64, kept);
        if refused == 0 {
            assert_eq!(status, 204);
        } else {
            assert_eq!(status, 400);
            let begin = format!("stored {kept} of {} samples; refused {refused} (", kept + refused);
            assert!(answer.starts_with(&begin), "{answer}");
        }
    }
}
