//! Native histograms through a real Prometheus: what is sent to it, what it stores, and what both answer from that.
//!
//! `testdata/histograms` holds what it was sent, and what it stored: a chunk file of a snapshot and its log. This test
//! sends the same again and finds the same chunks, so the specimens are what a Prometheus writes.
//! `CHRONOLITH_WRITE_SPECIMENS=1` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::peers::with_peers;
use crate::harness::process::{copy_dir, run_well};
use crate::harness::remote_write::{compress, put_bytes, put_varint, send_raw};
use crate::harness::{Chronolith, chronolith, http};

/// What Prometheus was sent for the specimens, a sample in each line.
pub const SENT: &str = include_str!("../../../testdata/histograms/sent.txt");

/// Asked over all that was sent. Where buckets lie within the zero threshold, as some of `layouts` do, Prometheus shows
/// them cut to it.
const QUERIES: &[&str] =
    &["native{series!~\"layouts.*\"}", "native{series=~\"(custom|gauge)_float\"} offset 1m", "timestamp(native)"];

#[test]
fn interop_histograms_are_stored_as_prometheus_does_and_served_from_its_directory() {
    with_peers(|peers| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("prometheus");
        let arguments = ["--web.enable-admin-api", "--enable-feature=native-histograms"];
        let mut prometheus = peers.prometheus_with(&data, "", &arguments);
        send(prometheus.address);
        let expected = answers(prometheus.address);
        let chunks = snapshot(prometheus.address, &data);
        assert!(prometheus.process.terminate(Duration::from_secs(30)).success());

        let specimens = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/histograms");
        if std::env::var_os("CHRONOLITH_WRITE_SPECIMENS").is_some() {
            std::fs::write(specimens.join("chunks"), &chunks).unwrap();
            std::fs::create_dir_all(specimens.join("wal")).unwrap();
            for segment in files(&data.join("wal")) {
                std::fs::copy(&segment, specimens.join("wal").join(segment.file_name().unwrap())).unwrap();
            }
        }
        assert!(chunks == std::fs::read(specimens.join("chunks")).unwrap(), "Prometheus stores other chunks");

        // promtool passes over a sample wherever the kind changes, before the first one too, and ends at the third change.
        let promtool = run_well(peers.program("promtool"), &["tsdb", "dump", data.to_str().unwrap()]);
        let (status, dump, stderr) = chronolith::run(&["db", "dump", data.to_str().unwrap()]);
        assert_eq!(status, Some(0), "{stderr}");
        let ours: BTreeSet<&str> = dump.lines().collect();
        let differing = promtool.lines().find(|line| !ours.contains(line));
        assert_eq!((differing, ours.len()), (None, 600));
        assert!(promtool.lines().count() > 500);

        let theirs = dir.path().join("theirs");
        copy_dir(&data, &theirs);
        let _ = std::fs::remove_dir_all(theirs.join("snapshots"));
        let mut server = Chronolith::start(&theirs);
        assert_same("Chronolith", &expected, &answers(server.address));
        assert!(server.process.terminate(Duration::from_secs(30)).success());
        assert!(!files(&theirs.join("chunks_head")).is_empty(), "no full chunk went to a file");

        // And back: Prometheus maps the chunks that were full.
        let prometheus = peers.prometheus_with(&theirs, "", &arguments);
        assert_same("Prometheus again", &expected, &answers(prometheus.address));
        let log = prometheus.process.log();
        let is_complaint = |line: &&str| line.contains("level=WARN") || line.contains("level=ERROR");
        let complaints: Vec<&str> =
            log.lines().filter(is_complaint).filter(|line| !line.contains("lockfile")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    });
}

/// Samples by query and series.
pub type Answers = BTreeMap<&'static str, BTreeMap<String, Vec<Value>>>;

/// Panics at the first sample that two servers answer differently.
pub fn assert_same(who: &str, expected: &Answers, found: &Answers) {
    for (query, expected) in expected {
        let found = &found[query];
        assert!(found.keys().eq(expected.keys()), "{who}, {query}: {:?}", found.keys());
        for (series, samples) in expected {
            let differs = samples.iter().zip(&found[series]).find(|(expected, found)| expected != found);
            assert_eq!(differs, None, "{who}, {query}, {series}");
            assert_eq!(samples.len(), found[series].len(), "{who}, {query}, {series}");
        }
    }
}

/// Sends what the specimen says, as remote write 1.0.
pub fn send(address: SocketAddr) {
    let mut requests: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for line in SENT.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut series = Vec::new();
        for (name, value) in [("__name__", "native"), ("series", fields[1])] {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        let timestamp_ms: i64 = fields[2].parse().unwrap();
        if fields[3] == "value" {
            let mut sample = Vec::new();
            put_double(&mut sample, 1, fields[4]);
            put_number(&mut sample, 2, timestamp_ms as u64);
            put_bytes(&mut series, 2, &sample);
        } else {
            put_bytes(&mut series, 4, &histogram(&fields[3..], timestamp_ms));
        }
        put_bytes(requests.entry(fields[0].parse().unwrap()).or_default(), 1, &series);
    }
    for (number, request) in requests {
        let answer = send_raw(address, &compress(&request)).unwrap();
        assert_eq!(answer.status, 204, "request {number}: {}", answer.text());
    }
}

/// The `Histogram` message of `prompb/types.proto`.
pub fn histogram(fields: &[&str], timestamp_ms: i64) -> Vec<u8> {
    let &[kind, hint, schema, threshold, zero_count, count, sum, spans, buckets, negative_spans, negative, custom] =
        fields
    else {
        panic!("{fields:?}")
    };
    let is_float = kind == "float";
    let mut out = Vec::new();
    for (integer, float, text) in [(1, 2, count), (6, 7, zero_count)] {
        match is_float {
            true => put_double(&mut out, float, text),
            false => put_number(&mut out, integer, text.parse().unwrap()),
        }
    }
    put_double(&mut out, 3, sum);
    put_signed(&mut out, 4, schema.parse().unwrap());
    put_double(&mut out, 5, threshold);
    for (field, spans) in [(8, negative_spans), (11, spans)] {
        for span in list(spans) {
            let (offset, length) = span.split_once(':').unwrap();
            let mut message = Vec::new();
            put_signed(&mut message, 1, offset.parse().unwrap());
            put_number(&mut message, 2, length.parse().unwrap());
            put_bytes(&mut out, field, &message);
        }
    }
    for (deltas, counts, buckets) in [(9, 10, negative), (12, 13, buckets)] {
        let mut packed = Vec::new();
        for bucket in list(buckets) {
            match is_float {
                true => packed.extend_from_slice(&bits(bucket).to_le_bytes()),
                false => put_varint(&mut packed, zigzag(bucket.parse().unwrap())),
            }
        }
        put_bytes(&mut out, if is_float { counts } else { deltas }, &packed);
    }
    put_number(&mut out, 14, hint.parse().unwrap());
    put_number(&mut out, 15, timestamp_ms as u64);
    let custom: Vec<u8> = list(custom).flat_map(|bound| bits(bound).to_le_bytes()).collect();
    // Field 16 needs two bytes for its key.
    put_varint(&mut out, 16 << 3 | 2);
    put_varint(&mut out, custom.len() as u64);
    out.extend_from_slice(&custom);
    out
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|entry| *entry != "-")
}

fn bits(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn put_double(out: &mut Vec<u8>, field: u8, text: &str) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&bits(text).to_le_bytes());
}

fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    put_varint(out, value);
}

fn put_signed(out: &mut Vec<u8>, field: u8, value: i64) {
    put_number(out, field, zigzag(value));
}

/// What a server answers over all that was sent, series by their labels.
fn answers(address: SocketAddr) -> Answers {
    let times: Vec<i64> = SENT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').nth(2).unwrap().parse().unwrap())
        .collect();
    range_answers(address, QUERIES, times.iter().min().unwrap() / 1000, times.iter().max().unwrap() / 1000 + 400, 7)
}

/// What a server answers from one second to another, with a step in seconds, series by their labels.
pub fn range_answers(
    address: SocketAddr,
    queries: &'static [&'static str],
    first: i64,
    last: i64,
    step: i64,
) -> Answers {
    let answers = queries.iter().map(|&query| {
        let [first, last, step] = [first, last, step].map(|number| number.to_string());
        let parameters = [("query", query), ("start", &*first), ("end", &*last), ("step", &*step)];
        let answer = http::post_form(address, "/api/v1/query_range", &parameters).unwrap();
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let json = answer.json();
        let series = json["data"]["result"].as_array().unwrap();
        assert!(!series.is_empty(), "{query}: {json}");
        let by_labels = series.iter().map(|series| {
            let kinds = [&series["values"], &series["histograms"]];
            let samples = kinds.into_iter().filter_map(Value::as_array).flatten().cloned().collect();
            (series["metric"].to_string(), samples)
        });
        (query, by_labels.collect())
    });
    answers.collect()
}

/// Lets Prometheus write a block of what it holds; gives that block's chunk file.
fn snapshot(address: SocketAddr, data: &Path) -> Vec<u8> {
    let answer = http::post_form(address, "/api/v1/admin/tsdb/snapshot", &[]).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let snapshot = data.join("snapshots").join(answer.json()["data"]["name"].as_str().unwrap());
    let blocks: Vec<PathBuf> = files(&snapshot).into_iter().filter(|path| path.join("meta.json").exists()).collect();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    let chunks = files(&blocks[0].join("chunks"));
    assert_eq!(chunks.len(), 1, "{chunks:?}");
    std::fs::read(&chunks[0]).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
