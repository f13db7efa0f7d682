//! Faults under the running server: 0 acknowledged samples are lost, queries answer meanwhile, `/-/ready` and `/metrics`
//! tell, and writes go on within 10 s after the fault ends, without a restart.
//!
//! Each of these cost acknowledged samples in other stores. They need root and strace, and run where the peers are given.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::faults::{Injection, MemoryLimit, SmallDisk};
use crate::harness::load::Load;
use crate::harness::peers::with_peers;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Random, Settings, chronolith, http, now_ms, remote_write_2, wait_for};

/// How soon writes have to go on after a fault has ended.
const RESUME: Duration = Duration::from_secs(10);

/// Writes that may be under way while a fault is measured.
const GOING_ON: usize = 40;

/// A server under load, and what the checks afterwards need.
struct Round {
    dir: TempDir,
    data: PathBuf,
    server: Chronolith,
    load: Load,
}

impl Round {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::start_at(dir, data, Settings::default())
    }

    fn start_at(dir: TempDir, data: PathBuf, settings: Settings) -> Self {
        let server = Chronolith::start_with(&data, settings);
        let load = Load::start(server.address, 2, 20);
        load.wait_for_acks(GOING_ON, Duration::from_secs(30));
        Round { dir, data, server, load }
    }

    fn wal(&self) -> PathBuf {
        self.data.join("wal")
    }

    fn inject(&self, calls: &[&str]) -> Injection {
        Injection::start(self.server.process.pid(), &self.wal(), calls)
    }

    /// A query over what was acknowledged before has an answer.
    fn assert_query_answers(&self) {
        assert_eq!(self.counted(), "40");
    }

    fn counted(&self) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let data = self.server.query("count(last_over_time(load_value[2h]))", now);
        data["result"][0]["value"][1].as_str().unwrap_or("no series").to_owned()
    }

    fn ready_status(&self) -> u16 {
        self.server.get("/-/ready").status
    }

    /// While the log cannot be written: writes are refused with 503, queries answer, and the server says what is wrong.
    fn assert_refuses_and_tells(&self) {
        wait_for("a refused write", Duration::from_secs(20), || {
            let (refused, last) = self.load.refused();
            let others: Vec<&u16> = refused.keys().filter(|&&status| status != 503).collect();
            assert!(others.is_empty(), "refused with {others:?}: {last}");
            refused.get(&503).copied().filter(|&count| count > 2).ok_or_else(|| format!("{refused:?}"))
        });
        wait_for("/-/ready to tell", Duration::from_secs(5), || match self.server.get("/-/ready") {
            response if response.status == 503 => Ok(()),
            response => Err(format!("{} {}", response.status, response.text())),
        });
        self.assert_query_answers();
        let failures = self.server.metric("prometheus_tsdb_wal_writes_failed_total");
        assert!(failures.is_some_and(|count| count > 0.0), "prometheus_tsdb_wal_writes_failed_total: {failures:?}");
        assert_eq!(self.server.metric("chronolith_wal_writable"), Some(0.0));
        assert_eq!(self.server.get("/-/healthy").status, 200, "alive, though it cannot write");
    }

    /// After the end of a fault: writes go on by themselves, the server is ready, and nothing acknowledged is lost, now or
    /// after a kill.
    fn assert_recovers(self, fault: &str) {
        let ended = Instant::now();
        wait_for(&format!("writes after {fault}"), RESUME, || {
            let (count, (refused, last)) = (self.load.acked_after(ended), self.load.refused());
            (count > 0).then_some(()).ok_or_else(|| format!("none yet; refused {refused:?}, last {last}"))
        });
        let resumed = ended.elapsed();
        self.load.wait_for_acks(GOING_ON, Duration::from_secs(20));
        assert_eq!(self.ready_status(), 200);
        assert_eq!(self.server.metric("chronolith_wal_writable"), Some(1.0));
        self.finish(&format!("{fault}: writes went on after {resumed:?}"));
    }

    fn finish(mut self, line: &str) {
        self.load.stop();
        let receipts = self.dir.path().join("receipts.jsonl");
        self.load.write_receipts(&receipts);
        let live = self.load.check_read_back(&self.server);
        self.server.process.kill();
        chronolith::verify(&self.data, Some(&receipts));
        let server = Chronolith::start(&self.data);
        let read = self.load.check_read_back(&server);
        assert_eq!(live, read);
        let refused: u64 = self.load.refused().0.values().sum();
        eprintln!("{line}; {} acknowledged, {refused} refused; {read} samples read back, 0 lost", self.load.acked());
    }
}

/// A fault that lasts until the server has refused writes and said so.
fn lasting(fault: &str, calls: &[&str]) {
    with_peers(|_| {
        let round = Round::start();
        let injection = round.inject(calls);
        round.assert_refuses_and_tells();
        assert!(injection.end() > 0);
        round.assert_recovers(fault);
    });
}

/// A fault that hits a few calls; the server is expected to get over it by itself while it is still there.
fn passing(fault: &str, call: &str, failing: usize) {
    with_peers(|_| {
        let round = Round::start();
        let injection = round.inject(&[call]);
        injection.wait_for_count(failing);
        round.assert_query_answers();
        let injected = injection.end();
        assert_eq!(injected, failing, "the fault hit as often as it should");
        round.assert_recovers(fault);
    });
}

const WRITES: [&str; 3] = ["write", "pwrite64", "writev"];

fn all_writes(error: &str) -> Vec<String> {
    WRITES.iter().map(|call| format!("{call}:error={error}")).collect()
}

fn lasting_writes(error: &str) {
    let calls = all_writes(error);
    lasting(&format!("{error} on write"), &calls.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn faults_enospc_on_write_loses_nothing() {
    lasting_writes("ENOSPC");
}

#[test]
fn faults_eio_on_write_loses_nothing() {
    lasting_writes("EIO");
}

#[test]
fn faults_eio_on_fdatasync_loses_nothing() {
    lasting("EIO on fdatasync", &["fdatasync:error=EIO", "fsync:error=EIO"]);
}

#[test]
fn faults_read_only_file_system_loses_nothing() {
    // What a remount does to the calls of a process that has the log open for writing.
    let mut calls = all_writes("EROFS");
    calls.push("openat:error=EROFS".to_owned());
    lasting("read-only file system", &calls.iter().map(String::as_str).collect::<Vec<_>>());
}

/// "If Written headers are present", a sender counts by them: of what is answered with 503 nothing counts as written, and the
/// same request is stored once when the log can be written again.
#[test]
fn faults_enospc_on_write_is_answered_with_nothing_written_and_the_retry_with_all() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut server = Chronolith::start(&data);
        let now_ms = now_ms();
        let mut series = Series::new(&[("__name__", "once")], &[(now_ms, 1.5), (now_ms + 1, -0.0)]);
        let mut request = remote_write_2::Request::default();
        request.push_version_1(&series);
        series = Series::new(&[("__name__", "native")], &[]);
        series.histograms.push((now_ms, 2.5));
        request.push_version_1(&series);
        let send = || request.send(server.address);
        let written = |answer: &http::Response| {
            ["samples", "histograms", "exemplars"]
                .map(|what| answer.header(&format!("x-prometheus-remote-write-{what}-written")).map(str::to_owned))
        };
        let counts = |counts: [&str; 3]| counts.map(|count| Some(count.to_owned()));
        let calls: Vec<String> = all_writes("ENOSPC");
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        let injection = Injection::start(server.process.pid(), &data.join("wal"), &calls);
        // The first fault may be found by a request that still was taken, or be the one that refuses the next.
        for _ in 0..2 {
            let answer = send();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{}", answer.text());
            assert_eq!(written(&answer), counts(["0", "0", "0"]), "{}", answer.text());
            assert_eq!(answer.header("chronolith-commit"), None);
        }
        assert!(injection.end() > 0);
        wait_for("a retry that is stored", RESUME, || {
            let answer = send();
            (answer.status == 204).then_some(()).ok_or_else(|| answer.text())
        });
        assert_eq!(written(&send()), counts(["2", "1", "0"]));
        let rejects = server.get("/api/v1/storage/rejects?reason=unavailable&protocol=remote-write-2").json();
        let count = rejects["data"]["totals"][0]["requests"].as_u64().unwrap();
        assert!(count >= 2, "{rejects}");
        server.kill_and_restart();
        for (name, count) in [("once", "2"), ("native", "1")] {
            let data = server.query(&format!("count_over_time({name}[5m])"), (now_ms + 1000) as f64 / 1000.0);
            assert_eq!(data["result"][0]["value"][1], count, "{data}");
        }
        server.process.kill();
        chronolith::verify(&data, None);
    });
}

#[test]
fn faults_one_eio_on_write_loses_nothing() {
    passing("one EIO on write", "write:error=EIO:when=3", 1);
}

#[test]
fn faults_one_eio_on_fdatasync_loses_nothing() {
    passing("one EIO on fdatasync", "fdatasync:error=EIO:when=3", 1);
}

#[test]
fn faults_eintr_on_write_loses_nothing() {
    passing("EINTR on write", "write:error=EINTR:when=2..6", 5);
}

#[test]
fn faults_full_disk_that_is_freed_loses_nothing() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        let disk = SmallDisk::mount(&mount, 64 << 20);
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..Settings::default() };
        let round = Round::start_at(dir, mount.join("data"), settings);
        // The disk ends a few pages behind what it holds: the write that meets the end is a short one.
        disk.leave_free(8 * 4096);
        round.assert_refuses_and_tells();
        disk.resize(64 << 20);
        round.assert_recovers("full disk");
    });
}

#[test]
fn faults_start_on_a_full_disk_answers_queries_and_resumes() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        let disk = SmallDisk::mount(&mount, 64 << 20);
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..Settings::default() };
        let mut round = Round::start_at(dir, mount.join("data"), settings.clone());
        disk.leave_free(8 * 4096);
        round.assert_refuses_and_tells();
        round.server.process.kill();
        disk.leave_free(0);
        let address = round.server.address;
        round.server = Chronolith::respawn(&round.data, address, settings);
        wait_for("a query answered on a full disk", Duration::from_secs(20), || {
            let answer = http::get(address, "/api/v1/query?query=vector(1)").map_err(|error| error.to_string())?;
            (answer.status == 200).then_some(()).ok_or_else(|| answer.text())
        });
        // Blocks answer before the log is replayed, and there is none yet.
        wait_for("the samples of the log", Duration::from_secs(20), || match round.counted() {
            counted if counted == "40" => Ok(()),
            counted => Err(counted),
        });
        disk.resize(64 << 20);
        round.assert_recovers("start on a full disk");
    });
}

#[test]
fn faults_64_descriptors_and_100_connections_lose_nothing() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let settings = Settings::default().with("wal.max_segment_size", "64KiB").wrapped(&["prlimit", "--nofile=64"]);
        let round = Round::start_at(dir, data, settings);
        // Connections beyond what the process may open wait in the kernel; the senders' own come and go.
        let idle: Vec<_> = (0..100).map(|_| http::connect(round.server.address).unwrap()).collect();
        round.load.wait_for_acks_or(100, Duration::from_secs(2));
        drop(idle);
        round.assert_recovers("64 descriptors");
    });
}

#[test]
fn faults_memory_limit_comes_back_under_the_same_limit() {
    with_peers(|_| {
        let Some(limit) = MemoryLimit::new("memory", 256 << 20) else {
            panic!("control groups cannot be written here: this test needs root");
        };
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let settings = Settings { wrapper: limit.wrapper(), ..Settings::default() };
        let mut server = Chronolith::start_with(&data, settings.clone());
        let receipts = dir.path().join("receipts.jsonl");
        let ended = write_new_series_until_the_end(&mut server, &receipts, 3000);
        server.process.kill();
        // Built from the log alone, under the limit that ended it.
        let server = Chronolith::start_with(&data, settings);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let mut have = 0;
        for digits in 0..0x100 {
            let query = format!("count(last_over_time(grown{{id=~\"{digits:02x}.*\"}}[1h]))");
            let count = server.query(&query, now);
            have += count["result"][0]["value"][1].as_str().unwrap().parse::<u64>().unwrap();
        }
        assert!(have >= ended.series, "{have} of {} acknowledged series", ended.series);
        drop(server);
        chronolith::verify(&data, Some(&receipts));
        eprintln!("256 MiB: {} at {} series; started again under the same limit, 0 lost", ended.how, ended.series);
    });
}

/// How growing came to an end.
struct Ended {
    series: u64,
    how: String,
}

fn write_new_series_until_the_end(server: &mut Chronolith, receipts: &Path, requests: u64) -> Ended {
    const PER_REQUEST: u64 = 200;
    let timestamp_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - 60_000;
    let mut lines = String::new();
    let mut series = 0;
    let mut how = "still growing".to_owned();
    for request in 0..requests {
        let batch: Vec<Series> = (0..PER_REQUEST)
            .map(|one| {
                let id = format!("{:016x}", crate::harness::random::mix(request * PER_REQUEST + one));
                let labels =
                    [("__name__", "grown"), ("a_label_of_usual_length", &*id), ("id", &*id), ("job", "memory")];
                Series::new(&labels, &[(timestamp_ms, request as f64)])
            })
            .collect();
        match remote_write::send(server.address, &batch) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                lines.push_str(&crate::harness::load::receipt_of(&answer, batch.len()));
                lines.push('\n');
                series += PER_REQUEST;
            }
            Ok(answer) => {
                how = format!("refused with {} {:.100}", answer.status, answer.text().trim());
                break;
            }
            Err(error) => {
                let status = server.process.wait(Duration::from_secs(10));
                how = format!("ended by {status} ({error})");
                break;
            }
        }
    }
    std::fs::write(receipts, lines).unwrap();
    Ended { series, how }
}

#[test]
fn faults_kill_at_the_nth_call_on_the_log_loses_nothing() {
    with_peers(|_| {
        let mut random = Random::from_env("CHRONOLITH_CRASH_SEED");
        let dir = tempfile::tempdir().unwrap();
        let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
        // Segments end often, so that `openat` and `fsync` are those of a change from one to the next.
        let settings = Settings::default().with("wal.max_segment_size", "64KiB");
        let mut server = Chronolith::start_with(&data, settings.clone());
        let mut load = Load::start(server.address, 2, 40);
        let rounds = std::env::var("CHRONOLITH_CRASH_ROUNDS").map_or(4, |text| text.parse().unwrap());
        let mut killed = Vec::new();
        for round in 0..rounds {
            load.wait_for_acks(20, Duration::from_secs(30));
            let (call, most) = [("openat", 4), ("write", 60), ("fdatasync", 60), ("fsync", 3)][round % 4];
            let inject = format!("{call}:signal=KILL:when={}", 1 + random.below(most));
            let injection = Injection::start(server.process.pid(), &data.join("wal"), &[&inject]);
            // A call that the writer never makes leaves the server running: it is killed from outside then.
            let limit = Instant::now() + Duration::from_secs(4);
            let by_call = loop {
                match server.process.ended() {
                    Some(_) => break true,
                    None if Instant::now() > limit => break false,
                    None => load.wait_for_acks_or(1, Duration::from_millis(50)),
                }
            };
            killed.push(format!("{inject}{}", if by_call { "" } else { " (not met)" }));
            drop(injection);
            server.kill_and_restart();
        }
        load.wait_for_acks(20, Duration::from_secs(30));
        load.stop();
        load.write_receipts(&receipts);
        server.kill_and_restart();
        let read = load.check_read_back(&server);
        server.process.kill();
        chronolith::verify(&data, Some(&receipts));
        eprintln!("killed at {}: {read} samples read back, 0 lost", killed.join(", "));
    });
}
