//! Tests of `bench write` against a receiver in this process.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::super::workload::PreparedSeries;
use super::*;
use crate::model::Digest;

/// One answer of the server that plays the receiver.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    text: &'static str,
}

fn receipt(commit: u64, digest: Digest, samples: u64) -> Answer {
    let headers = vec![
        ("chronolith-commit", commit.to_string()),
        ("chronolith-digest", digest.to_string()),
        ("chronolith-durability", "fsync".to_owned()),
        ("chronolith-samples", samples.to_string()),
        ("x-prometheus-remote-write-samples-written", samples.to_string()),
    ];
    Answer { status: 204, headers, text: "" }
}

fn failure(status: u16, text: &'static str) -> Answer {
    Answer { status, headers: vec![], text }
}

/// Bodies that the server was sent, in order.
type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// Serves the answers in order on one connection after the other, to writes only; `/metrics` is not found.
async fn serve(answers: Vec<Answer>) -> (SocketAddr, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bodies = Bodies::default();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let seen = Arc::clone(&bodies);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                async move {
                    let is_write = request.uri().path() == "/api/v1/write";
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let answer = match is_write {
                        true => {
                            seen.lock().unwrap().push(snap::raw::Decoder::new().decompress_vec(&body).unwrap());
                            answers.lock().unwrap().pop_front().unwrap()
                        }
                        false => failure(404, "not found"),
                    };
                    let mut response = Response::builder().status(answer.status);
                    for (name, value) in answer.headers {
                        response = response.header(name, value);
                    }
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(answer.text.as_bytes()))).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, bodies)
}

const SHAPE: Shape = Shape { series: 30, attributes: 6, start_ms: 1_700_000_000_000, interval_ms: 15_000 };

/// The message and digest of each request of a load of two scrapes, twenty samples a request.
fn requests() -> Vec<(Vec<u8>, Digest, u64)> {
    let workload = Workload::new(SHAPE);
    let series = PreparedSeries::new(&workload, 0, SHAPE.series);
    let parts = [(0, 0..20), (0, 20..30), (1, 0..20), (1, 20..30)];
    let requests = parts.into_iter().map(|(scrape, range)| {
        let mut message = Vec::new();
        let samples = range.len() as u64;
        let digest = series.write_request(&workload, scrape, range, &mut message);
        (message, digest, samples)
    });
    requests.collect()
}

fn run(answers: Vec<Answer>, receipts: Option<PathBuf>) -> (Result<WriteReport, BenchError>, Vec<Vec<u8>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (address, bodies) = serve(answers).await;
        let options = WriteOptions {
            url: format!("http://{address}"),
            series: SHAPE.series,
            attributes: SHAPE.attributes,
            scrapes: Some(2),
            start_ms: Some(SHAPE.start_ms),
            batch: 20,
            connections: 1,
            receipts,
            progress: false,
            ..WriteOptions::default()
        };
        let report = run_write(options).await;
        let bodies = std::mem::take(&mut *bodies.lock().unwrap());
        (report, bodies)
    })
}

fn honest_answers() -> Vec<Answer> {
    let receipts =
        requests().into_iter().zip(5..).map(|((_, digest, samples), commit)| receipt(commit, digest, samples));
    receipts.collect()
}

#[test]
fn load_sends_what_it_says_and_keeps_a_receipt_for_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipts");
    let (report, bodies) = run(honest_answers(), Some(path.clone()));
    let report = report.unwrap();
    assert_eq!(bodies, requests().into_iter().map(|(message, ..)| message).collect::<Vec<_>>());
    assert_eq!((report.samples_acknowledged, report.scrapes, report.receipts), (60, 2, 4));
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    let text = SystemFs.read(&path).unwrap();
    let lines: Vec<ReceiptLine> = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let kept: Vec<_> = lines.iter().map(|line| (line.commit, line.digest, line.samples)).collect();
    let expected: Vec<_> =
        requests().into_iter().zip(5..).map(|((_, digest, samples), n)| (n, digest, samples)).collect();
    assert_eq!(kept, expected);
}

#[test]
fn request_that_met_503_is_sent_again_before_what_follows_it() {
    let mut answers = honest_answers();
    answers.insert(1, failure(503, "no space left on device"));
    answers.insert(1, failure(429, "slow down"));
    let (report, bodies) = run(answers, None);
    let report = report.unwrap();
    assert_eq!(report.retries, 2);
    assert!(report.is_good(), "{}", report.to_table());
    let messages: Vec<_> = requests().into_iter().map(|(message, ..)| message).collect();
    assert_eq!(bodies, [0, 1, 1, 1, 2, 3].map(|index: usize| messages[index].clone()));
}

#[test]
fn receipt_with_another_digest_or_count_fails_the_run() {
    let mut answers = honest_answers();
    answers[2] = receipt(7, Digest(1), 20);
    let report = run(answers, None).0.unwrap();
    assert_eq!((report.receipts_wrong, report.exit_code()), (1, 1));
    let mut answers = honest_answers();
    answers[2] = receipt(7, Digest::ZERO, 0);
    assert_eq!(run(answers, None).0.unwrap().receipts_wrong, 1);
}

#[test]
fn receipt_of_a_repeated_request_that_was_stored_before_is_right() {
    let mut answers = honest_answers();
    answers[1] = receipt(9, Digest::ZERO, 0);
    answers.insert(1, failure(503, "the answer was lost"));
    assert!(run(answers, None).0.unwrap().is_good());
}

#[test]
fn rejected_samples_are_counted_and_fail_the_run() {
    let mut answers = honest_answers();
    answers[3] = failure(400, "stored 0 of 10 samples");
    let report = run(answers, None).0.unwrap();
    assert_eq!((report.samples_acknowledged, report.samples_rejected), (50, 10));
    assert_eq!(report.exit_code(), 1);
    assert!(report.notes[0].contains("stored 0 of 10 samples"));
}

#[test]
fn refusal_of_all_writes_ends_the_load_with_the_servers_words() {
    let report = run(vec![failure(404, "remote write receiver needs to be enabled")], None).0.unwrap();
    assert!(report.error.as_deref().unwrap_or_default().contains("404: remote write receiver needs to be enabled"));
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn receipts_are_appended_behind_the_last_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipts");
    let line = ReceiptLine { commit: 1, digest: Digest(5), samples: 3, durability: "fsync".into(), sent_at_ms: 9 };
    let text = serde_json::to_string(&line).unwrap();
    SystemFs.create(&path).unwrap().write_all(format!("{text}\n{}", &text[..20]).as_bytes()).unwrap();
    ReceiptsFile::open(&SystemFs, path.clone()).unwrap().append(&line).unwrap();
    assert_eq!(SystemFs.read(&path).unwrap(), format!("{text}\n{text}\n").as_bytes());
}
