//! `bench write` in each protocol: against the server under test, whose log has to hold every receipt, and against the
//! receivers of others.

use std::net::SocketAddr;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use crate::harness::peers::Peers;
use crate::harness::{Chronolith, chronolith};

/// Sends a small load, reads it back, and gives the report.
fn bench(url: &str, asked: SocketAddr, arguments: &[&str]) -> Value {
    let asked = format!("http://{asked}");
    let fixed = ["bench", "write", "--url", url, "--query-url", &asked, "--series", "1200", "--scrapes", "5"];
    let form = ["--batch", "700", "--format", "json"];
    let (status, stdout, stderr) = chronolith::run(&[&fixed[..], &form, arguments].concat());
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"));
    assert_eq!(status, Some(0), "{arguments:?}\n{report:#}\n{stderr}");
    assert_eq!(report["read_back"]["samples_equal"], 6000, "{report:#}");
    report
}

/// Sends a load to a new server; every sample of it has to be in the log, by its receipts.
fn prove(dir: &Path, arguments: &[&str]) {
    let (data, receipts) = (dir.join("data"), dir.join("receipts.jsonl"));
    let server = Chronolith::start(&data);
    let with_receipts = [arguments, &["--receipts", receipts.to_str().unwrap()]].concat();
    let report = bench(&format!("http://{}", server.address), server.address, &with_receipts);
    assert_eq!(report["samples_receipted"], 6000, "{report:#}");
    assert_eq!(report["receipts_wrong"], 0, "{report:#}");
    let writers = &server.get("/api/v1/storage/writers").json()["data"]["writers"];
    assert_eq!(writers.as_array().map(Vec::len), Some(1), "{writers:#}");
    let writer = &writers[0];
    assert_eq!(writer["protocols"][0], report["protocol"], "{writer:#}");
    assert_eq!((writer["active_series"].as_u64(), writer["samples"]["added"].as_u64()), (Some(1200), Some(6000)));
    assert!(writer["agent"].as_str().is_some_and(|agent| agent.starts_with("chronolith/")), "{writer:#}");
    assert_eq!(server.metric("chronolith_writer_series_created_total"), Some(1200.0));
    chronolith::verify(&data, Some(&receipts));
}

#[test]
fn bench_remote_write_is_stored_in_the_log_and_read_back() {
    prove(tempfile::tempdir().unwrap().path(), &["--verify"]);
}

#[test]
fn bench_remote_write_2_is_stored_in_the_log_and_read_back() {
    prove(tempfile::tempdir().unwrap().path(), &["--protocol", "remote-write-2", "--verify"]);
}

#[test]
fn bench_text_is_stored_in_the_log_and_read_back() {
    for compression in ["none", "gzip", "zstd"] {
        let arguments = ["--protocol", "text", "--compression", compression, "--verify"];
        prove(tempfile::tempdir().unwrap().path(), &arguments);
    }
}

#[test]
fn bench_otlp_over_http_is_stored_in_the_log_and_read_back() {
    for compression in ["none", "gzip"] {
        let arguments = ["--protocol", "otlp-http", "--compression", compression, "--verify"];
        prove(tempfile::tempdir().unwrap().path(), &arguments);
    }
}

#[test]
fn bench_otlp_over_grpc_is_stored_in_the_log_and_read_back() {
    for compression in ["none", "gzip", "zstd"] {
        let arguments = ["--protocol", "otlp-grpc", "--compression", compression, "--verify"];
        prove(tempfile::tempdir().unwrap().path(), &arguments);
    }
}

#[test]
fn bench_forty_attributes_a_point_are_stored_in_the_log_and_read_back() {
    prove(tempfile::tempdir().unwrap().path(), &["--preset", "otlp-40"]);
}

#[test]
fn bench_refuses_a_compression_that_the_protocol_has_not() {
    let arguments = ["bench", "write", "--protocol", "remote-write-2", "--compression", "gzip"];
    let (status, _, stderr) = chronolith::run(&arguments);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("remote-write-2 has no compression gzip"), "{stderr}");
}

#[test]
fn interop_bench_writes_remote_write_2_to_prometheus() {
    let Some(peers) = Peers::find() else { return };
    let dir = tempfile::tempdir().unwrap();
    let prometheus = peers.prometheus(&dir.path().join("prometheus"), "");
    let url = format!("http://{}", prometheus.address);
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    // Each load has a time of its own, and the later one is later.
    for (protocol, ago) in [("remote-write", 120), ("remote-write-2", 60)] {
        let start = (now - ago).to_string();
        bench(&url, prometheus.address, &["--protocol", protocol, "--interval", "5s", "--start", &start, "--verify"]);
    }
}

#[test]
fn interop_bench_writes_otlp_and_text_to_victoria_metrics() {
    let Some(peers) = Peers::find() else { return };
    let url = |address| format!("http://{address}");
    for (path, arguments) in [
        // It keeps thirty labels of a series unless it is told otherwise.
        ("/opentelemetry/v1/metrics", ["--protocol", "otlp-http", "--attributes", "29", "--verify"]),
        ("", ["--protocol", "text", "--attributes", "29", "--verify"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (_process, address) = peers.victoria_metrics(dir.path());
        bench(&(url(address) + path), address, &arguments);
    }
}
