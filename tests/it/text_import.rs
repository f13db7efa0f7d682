//! Text by HTTP as its senders see it: long bodies, several commits, stalled uploads.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::chronolith::verify;
use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, now_ms, wait_for};

const PATH: &str = "/api/v1/import/prometheus";
const OPEN_METRICS: (&str, &str) = ("Content-Type", "application/openmetrics-text; version=1.0.0");

fn post(server: &Chronolith, headers: &[(&str, &str)], body: &[u8]) -> Response {
    http::request(server.address, "POST", PATH, headers, body).unwrap()
}

/// The most memory that a process had resident so far.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn count(server: &Chronolith, expression: &str) -> u64 {
    let data = server.query(expression, now_ms() as f64 / 1000.0 + 1.0);
    data["result"][0]["value"][1].as_str().map_or(0, |count| count.parse().unwrap())
}

#[test]
fn text_import_of_a_hundred_megabytes_takes_bounded_memory_and_its_receipts_are_proven() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut server = Chronolith::start(&data_dir);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let comment = format!("# {}\n", "x".repeat(100_000));
    let start_ms = now_ms() - 600_000;
    for step in 0..1500 {
        packed.write_all(comment.as_bytes()).unwrap();
        for series in 0..10 {
            writeln!(packed, "long_body{{n=\"{series}\"}} {step} {}", start_ms + step).unwrap();
        }
    }
    let packed = packed.finish().unwrap();
    assert_eq!(post(&server, &[], b"warm_up 1\n").status, 204);
    let before = peak(server.process.pid());
    let answer = post(&server, &[("Content-Encoding", "gzip")], &packed);
    let grown = peak(server.process.pid()).saturating_sub(before);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(grown < 48 << 20, "{grown} bytes more for 150 MB of text");
    assert!(answer.text().lines().count() > 100, "{}", answer.text().lines().count());
    assert_eq!(count(&server, "sum(count_over_time(long_body[1h]))"), 15_000);
    let receipts = dir.path().join("receipts.jsonl");
    std::fs::write(&receipts, &answer.body).unwrap();
    assert!(server.process.terminate(Duration::from_secs(30)).success());
    verify(&data_dir, Some(&receipts));
}

#[test]
fn text_import_keeps_the_names_of_lines_with_exemplars() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let text = "# TYPE a counter\n\
                a_total{b=\"c\"} 17 # {trace_id=\"KOO5S4vxi0o\"} 0.67\n\
                h_bucket{le=\"0.1\"} 8 # {} 0.054\n\
                {\"utf 8.total\"} 1 # {\"span.id\"=\"#\"} 9.8 1.5\n# EOF\n";
    let answer = post(&server, &[OPEN_METRICS], text.as_bytes());
    assert_eq!((answer.status, answer.header("chronolith-samples")), (204, Some("3")), "{}", answer.text());
    let names = server.get("/api/v1/label/__name__/values").json();
    assert_eq!(names["data"], serde_json::json!(["a_total", "h_bucket", "utf 8.total"]));
    let labels = server.get("/api/v1/labels").json();
    assert_eq!(labels["data"], serde_json::json!(["__name__", "b", "le"]));
    let kinds = server.get("/api/v1/metadata?metric=a").json();
    assert_eq!(kinds["data"]["a"][0]["type"], "counter");
}

/// Begins an upload in chunks and sends a part of it.
fn begin(server: &Chronolith, part: &str) -> TcpStream {
    let mut stream = http::connect(server.address).unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    send(&mut stream, part);
    stream
}

fn send(stream: &mut TcpStream, part: &str) {
    stream.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).unwrap();
}

#[test]
fn text_import_that_stalls_holds_up_no_other_writer_and_loses_no_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::default().with("wal.max_buffer_entries", "2");
    let server = Chronolith::start_with(&dir.path().join("data"), settings);
    let stalled: Vec<TcpStream> =
        (0..10).map(|n| begin(&server, &format!("stalled{{n=\"{n}\"}} 1\nhalf{{n=\"{n}\"}} 1"))).collect();
    let began = Instant::now();
    for round in 0..20 {
        let at = now_ms();
        let good = Series::new(&[("__name__", "good"), ("round", &round.to_string())], &[(at, 1.0)]);
        let answer = remote_write::send(server.address, &[good]).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        let answer = post(&server, &[], format!("good{{round=\"{round}\",by=\"text\"}} 1\n").as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(count(&server, "count(good)"), 40);
    // What came in whole lines does not wait for the rest.
    wait_for("whole lines of stalled uploads", Duration::from_secs(20), || match count(&server, "count(stalled)") {
        10 => Ok(()),
        found => Err(format!("{found} of 10")),
    });
    assert_eq!(count(&server, "count(half)"), 0);
    for (number, mut stream) in stalled.into_iter().enumerate() {
        if number % 2 == 0 {
            send(&mut stream, "7\n");
            stream.write_all(b"0\r\n\r\n").unwrap();
            let answer = http::read_response(&mut stream).unwrap();
            assert_eq!((answer.status, answer.text().lines().count()), (200, 2), "{}", answer.text());
        }
    }
    assert_eq!((count(&server, "sum(half)"), count(&server, "count(half)")), (5 * 17, 5));
}
