//! Who and what was refused (`GET /api/v1/storage/rejects`, `/api/v1/storage/writers`), over the real binary: also what was
//! refused before anything of it was read.

use std::fs::File;
use std::time::Duration;

use serde_json::Value;

use crate::harness::http::{self, Response};
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, process, remote_write_2, wait_for};
use crate::otlp::{EXPORT, JSON, Stalled, call, call_with, framed, now_ms};

fn series() -> [Series; 1] {
    [Series::new(&[("__name__", "up")], &[(now_ms() as i64, 1.0)])]
}

fn post(server: &Chronolith, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    http::request(server.address, "POST", path, headers, body).unwrap()
}

/// The journal's entries, the oldest first: protocol, reason, words.
fn rejects(server: &Chronolith, query: &str) -> Vec<[String; 3]> {
    let answer = server.get(&format!("/api/v1/storage/rejects?{query}")).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = answer["data"]["rejects"].as_array().unwrap().iter().rev();
    entries.map(|entry| ["protocol", "reason", "detail"].map(|key| text(&entry[key]))).collect()
}

#[test]
fn rejects_name_the_senders_of_writes_that_came_while_the_log_was_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Chronolith::start(&data);
    assert_eq!(remote_write::send(server.address, &series()).unwrap().status, 204);
    server.process.kill();
    // A segment that nobody has written to: who opens it to read waits.
    let pipe = data.join("wal/00000009");
    process::run_well("mkfifo", &[pipe.to_str().unwrap()]);
    server = Chronolith::spawn(&data, Settings::default());
    wait_for("an answer", Duration::from_secs(60), || match http::get(server.address, "/-/ready") {
        Ok(answer) if answer.status == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let answers = [
        remote_write::send(server.address, &series()).unwrap(),
        remote_write_2::send(server.address, &series()).unwrap(),
        post(&server, "/v1/metrics", &[JSON], b"{}"),
        post(&server, "/api/v1/import/prometheus", &[], b"up 1\n"),
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{}", answer.text());
    }
    assert_eq!(call(server.address, EXPORT, &[], framed(b"")).text("grpc-status"), "14");
    let protocols = ["remote-write", "remote-write-2", "otlp-http", "text", "otlp-grpc"];
    let expected = protocols.map(|protocol| [protocol, "unavailable", "the log is being replayed"].map(str::to_owned));
    assert_eq!(rejects(&server, "reason=unavailable"), expected);
    // Lets the server's reader go.
    drop(File::options().read(true).write(true).open(&pipe).unwrap());
    server.process.kill();
}

#[test]
fn rejects_name_the_caller_whose_time_was_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let late = call_with(server.address, EXPORT, &[("grpc-timeout", "200m"), ("user-agent", "hasty/1")], Stalled);
    assert_eq!(late.text("grpc-status"), "4");
    let words = ["otlp-grpc", "request_timeout", "the call's time is over; whether the request is stored is not known"];
    assert_eq!(rejects(&server, "writer=hasty"), [words.map(str::to_owned)]);
    // It may come again, so it is not refused for good.
    let writers = server.get("/api/v1/storage/writers").json();
    assert_eq!(writers["data"]["writers"][0]["requests"], serde_json::json!({"ok": 0, "refused": 0, "unavailable": 1}));
}

#[test]
fn rejects_name_requests_that_their_endpoint_never_saw_with_the_protocol_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let server = Chronolith::start(&dir.path().join("data"));
    let foreign = ("Origin", "http://elsewhere");
    let second = ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    assert_eq!(post(&server, "/api/v1/write", &[foreign, second], b"").status, 403);
    assert_eq!(http::get(server.address, "/api/v1/import/prometheus").unwrap().status, 405);
    assert_eq!(post(&server, EXPORT, &[], b"").status, 415);
    let found = rejects(&server, "");
    let protocols: Vec<&str> = found.iter().map(|[protocol, ..]| protocol.as_str()).collect();
    assert_eq!(protocols, ["remote-write-2", "text", "otlp-grpc"], "{found:?}");
    assert!(found[0][2].contains("another origin") && found[2][2].contains("application/grpc"), "{found:?}");
}
