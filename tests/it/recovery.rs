//! What a start makes of a log that is whole, torn or damaged, seen from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::load::receipt_of;
use crate::harness::process::copy_dir;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, chronolith, wait_for};

/// Series of one request.
const SERIES: usize = 20;

/// A log of requests that one client sent one after the other, and their receipts.
struct Written {
    dir: TempDir,
    data: PathBuf,
    receipts: Vec<String>,
    start_ms: i64,
}

impl Written {
    /// Sends requests to a fresh server, looks at the log after each, and kills the server.
    fn new(requests: usize, mut after_each: impl FnMut(&Path, &str)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut server = Chronolith::start(&data);
        let start_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - 600_000;
        let mut receipts = Vec::new();
        for request in 0..requests {
            let series: Vec<Series> = (0..SERIES)
                .map(|series| {
                    let id = series.to_string();
                    let at = start_ms + request as i64 * 1000;
                    Series::new(&[("__name__", "written"), ("id", &id)], &[(at, value(request, series))])
                })
                .collect();
            let answer = remote_write::send(server.address, &series).unwrap();
            assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
            receipts.push(receipt_of(&answer, SERIES));
            after_each(&data, receipts.last().unwrap());
        }
        server.process.kill();
        Written { dir, data, receipts, start_ms }
    }

    fn receipts_file(&self) -> PathBuf {
        let path = self.dir.path().join("receipts.jsonl");
        std::fs::write(&path, self.receipts.join("\n") + "\n").unwrap();
        path
    }

    /// How many samples of each request a server holds.
    fn found(&self, server: &Chronolith) -> BTreeMap<usize, usize> {
        let end = self.start_ms as f64 / 1000.0 + self.receipts.len() as f64;
        let data = server.query(&format!("written[{}s]", self.receipts.len() + 1), end);
        let mut counts = BTreeMap::new();
        for one in data["result"].as_array().unwrap() {
            let series: usize = one["metric"]["id"].as_str().unwrap().parse().unwrap();
            for sample in one["values"].as_array().unwrap() {
                let at_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                let request = ((at_ms - self.start_ms) / 1000) as usize;
                assert_eq!(sample[1].as_str().unwrap().parse::<f64>().unwrap(), value(request, series), "invented");
                *counts.entry(request).or_insert(0) += 1;
            }
        }
        counts
    }

    /// `verify` of a directory with the receipts, as JSON.
    fn verify(&self, data: &Path) -> (Option<i32>, Value) {
        let receipts = self.receipts_file();
        let (data, receipts) = (data.to_str().unwrap(), receipts.to_str().unwrap());
        let (status, stdout, stderr) =
            chronolith::run(&["verify", "--data-dir", data, "--receipts", receipts, "--format", "json"]);
        let report = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"));
        (status, report)
    }

    fn quarantined(&self) -> usize {
        std::fs::read_dir(self.data.join("quarantine")).map_or(0, Iterator::count)
    }
}

fn value(request: usize, series: usize) -> f64 {
    (request * 1000 + series) as f64 + 0.25
}

fn segment(data: &Path) -> PathBuf {
    data.join("wal").join("00000000")
}

/// Bytes of all segments.
fn log_bytes(data: &Path) -> u64 {
    std::fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// All files below a directory and their contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    files
}

#[test]
fn recovery_log_grows_with_every_acknowledged_write_and_holds_it() {
    let mut before = 0;
    let copies = tempfile::tempdir().unwrap();
    let mut number = 0;
    Written::new(20, |data, receipt| {
        let after = log_bytes(data);
        assert!(after > before, "acknowledged, and the log has {after} bytes as before");
        before = after;
        // What is on disk at this moment proves the write, whatever the server would still do.
        let copy = copies.path().join(number.to_string());
        number += 1;
        copy_dir(&data.join("wal"), &copy.join("wal"));
        let receipts = copies.path().join("receipt.jsonl");
        std::fs::write(&receipts, format!("{receipt}\n")).unwrap();
        chronolith::verify(&copy, Some(&receipts));
    });
}

#[test]
fn recovery_torn_tail_costs_at_most_the_newest_request() {
    let written = Written::new(40, |_, _| {});
    let whole = std::fs::read(segment(&written.data)).unwrap();
    // The log's end is cut ever deeper, within what the last request wrote.
    for cut in [1, 7, 20, 60, 100] {
        let data = written.dir.path().join(format!("cut by {cut}"));
        copy_dir(&written.data, &data);
        std::fs::write(segment(&data), &whole[..whole.len() - cut]).unwrap();
        let mut server = Chronolith::start_with(&data, Settings::default().with("wal.recovery", "strict"));
        let found = written.found(&server);
        server.process.kill();
        assert!(found.len() >= written.receipts.len() - 1, "{cut} bytes cut: {} requests left", found.len());
        let whole_requests: BTreeMap<usize, usize> = (0..found.len()).map(|request| (request, SERIES)).collect();
        assert_eq!(found, whole_requests, "{cut} bytes cut");
        let (status, report) = written.verify(&data);
        let complete = found.len() == written.receipts.len();
        assert_eq!(status, Some(i32::from(!complete)), "{cut} bytes cut: {report:#}");
    }
}

#[test]
fn recovery_flipped_bytes_cost_the_damaged_requests_and_nothing_behind() {
    let written = Written::new(200, |_, _| {});
    let path = segment(&written.data);
    let mut bytes = std::fs::read(&path).unwrap();
    // Behind what has gone to chunk files already, which the log's damage does not concern.
    let place = bytes.len() * 3 / 4;
    bytes[place] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();

    let (status, report) = written.verify(&written.data);
    assert_eq!(status, Some(1), "damage is seen without a start: {report:#}");

    let before = contents(&written.data);
    let mut refused = Chronolith::spawn(&written.data, Settings::default().with("wal.recovery", "strict"));
    let status = refused.process.wait(Duration::from_secs(30));
    assert!(!status.success());
    let log = refused.process.log();
    assert!(log.contains("wal inspect") && log.contains("salvage"), "says what to do next: {log}");
    let lock = written.data.join("lock");
    let without_lock = |mut files: BTreeMap<PathBuf, Vec<u8>>| {
        files.remove(&lock);
        files
    };
    assert!(without_lock(before) == without_lock(contents(&written.data)), "a refused start changes nothing");

    let mut server = Chronolith::start(&written.data);
    let found = written.found(&server);
    // A request has a record in each of its series' shards; one byte damages one record, or a seal.
    let lost = written.receipts.len() * SERIES - found.values().sum::<usize>();
    assert!(lost < SERIES, "{lost} samples lost to one flipped byte");
    assert_eq!(found.get(&(written.receipts.len() - 1)), Some(&SERIES), "nothing behind the damage is lost");
    assert!(written.quarantined() > 0, "the damaged bytes are kept");
    let log = server.process.log().to_lowercase();
    assert!(log.contains("damage") || log.contains("quarantine"), "the loss is named: {log}");

    // Restarted it holds the same, and `verify` still names what is missing.
    server.kill_and_restart();
    assert_eq!(written.found(&server), found);
    server.process.kill();
    let (status, report) = written.verify(&written.data);
    assert_eq!(status, Some(1), "{report:#}");
}

#[test]
fn recovery_missing_middle_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let settings = Settings::default().with("wal.max_segment_size", "64KiB");
    let mut server = Chronolith::start_with(&data, settings);
    let load = crate::harness::load::Load::start(server.address, 1, 50);
    wait_for("four segments", Duration::from_secs(60), || {
        data.join("wal/00000004").exists().then_some(()).ok_or_else(|| format!("{} acknowledged", load.acked()))
    });
    drop(load);
    server.process.kill();
    std::fs::remove_file(data.join("wal/00000002")).unwrap();
    let (status, stdout, _) = chronolith::run(&["verify", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{stdout}");
}

#[test]
fn recovery_second_server_on_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Chronolith::start(&data);
    let mut second = Chronolith::spawn(&data, Settings::default());
    let status = second.process.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(2), "{}", second.process.log());
    assert!(second.process.log().contains("lock"), "{}", second.process.log());
    assert_eq!(server.get("/-/ready").status, 200);
    // Beside a running server the directory can be proven all the same.
    chronolith::verify(&data, None);
}
