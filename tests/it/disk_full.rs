//! A small file system that runs full at every step of maintenance, and is emptied again: writes go on without a restart,
//! nothing acknowledged is lost, and what was half done is done again.
//!
//! They need root, and run where the peers are given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::faults::SmallDisk;
use crate::harness::load::Load;
use crate::harness::peers::with_peers;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Settings, chronolith, http, wait_for};

/// Size of the file system.
const DISK: u64 = 64 << 20;

/// How soon writes have to go on once there is room.
const RESUME: Duration = Duration::from_secs(10);

/// What is left free when a piece of work begins: from nothing to more than it takes, so that it ends at every step.
const FREE_BYTES: [u64; 7] = [0, 8 << 10, 32 << 10, 96 << 10, 224 << 10, 480 << 10, 1 << 20];

const FLUSH: &str = "/api/v1/admin/storage/flush";
const COMPACT: &str = "/api/v1/admin/storage/compact";
const CHECKPOINT: &str = "/api/v1/admin/storage/checkpoint";
const SNAPSHOT: &str = "/api/v1/admin/tsdb/snapshot";
const CLEAN_TOMBSTONES: &str = "/api/v1/admin/tsdb/clean_tombstones";

/// A server on a small disk, under load.
struct OnSmallDisk {
    dir: TempDir,
    disk: SmallDisk,
    data: PathBuf,
    server: Chronolith,
    load: Load,
}

fn settings() -> Settings {
    Settings::default()
        .with("web.enable_admin_api", "true")
        .with("head.chunk_range", "1m")
        .with("wal.max_segment_size", "256KiB")
        .with("storage.reserve", "4MiB")
}

fn post(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = http::request(address, "POST", path, &[], &[]).unwrap_or_else(|error| panic!("{path}: {error}"));
    (answer.status, answer.text())
}

impl OnSmallDisk {
    fn start(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        let disk = SmallDisk::mount(&mount, DISK);
        let data = mount.join("data");
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..settings };
        let server = Chronolith::start_with(&data, settings);
        let load = Load::start_with_late_scrapes(server.address, 2, 20);
        load.wait_for_acks(100, Duration::from_secs(60));
        OnSmallDisk { dir, disk, data, server, load }
    }

    /// Makes room again, and waits until writes and maintenance go on.
    fn free_and_wait(&self, what: &str) {
        self.disk.resize(DISK);
        let freed = Instant::now();
        wait_for(&format!("writes after {what}"), RESUME, || {
            let (refused, last) = self.load.refused();
            let goes_on = self.load.acked_after(freed) > 0;
            goes_on.then_some(()).ok_or_else(|| format!("refused {refused:?}, last {last}"))
        });
        wait_for(&format!("ready after {what}"), RESUME, || {
            let answer = self.server.get("/-/ready");
            (answer.status == 200).then_some(()).ok_or_else(|| answer.text())
        });
    }

    /// Proves it all, running, killed, and started again.
    fn finish(mut self, line: &str) {
        self.load.stop();
        let receipts = self.dir.path().join("receipts.jsonl");
        self.load.write_receipts(&receipts);
        let live = self.load.check_read_back(&self.server);
        self.server.process.kill();
        chronolith::verify(&self.data, Some(&receipts));
        let settings = Settings { log_dir: Some(self.dir.path().to_owned()), ..settings() };
        self.server = Chronolith::start_with(&self.data, settings);
        assert_eq!(self.load.check_read_back(&self.server), live);
        let acked = self.load.acked();
        eprintln!("{line}; {acked} writes acknowledged, {live} samples read back, 0 lost");
    }
}

/// Lets a piece of work run into a full disk, with more room left each time, and does it again when there is room. Work
/// that lives on the reserve, or that somebody may have done before, need not fail.
fn full_during(what: &str, work: &str, prepare: &[&str], has_to_fail: bool) {
    with_peers(|_| {
        let small = OnSmallDisk::start(settings());
        let address = small.server.address;
        let (mut failed, mut done) = (0, 0);
        for free in FREE_BYTES {
            for path in prepare {
                small.load.wait_for_acks(40, RESUME);
                let (status, text) = post(address, path);
                assert!(status < 300, "{path} with room: {status} {text}");
            }
            small.load.wait_for_acks(20, RESUME);
            small.disk.leave_free(free);
            let (status, text) = post(address, work);
            match status {
                200..300 => done += 1,
                500..600 => failed += 1,
                _ => panic!("{work} with {free} bytes free: {status} {text}"),
            }
            let now = small.load.start_ms() as f64 / 1000.0 + 3600.0;
            let count = small.server.query("count(last_over_time(load_value[2h]))", now);
            assert_eq!(count["result"][0]["value"][1], "40", "queries answer on a full disk: {count}");
            assert_eq!(small.server.get("/-/healthy").status, 200);
            small.free_and_wait(what);
            let (status, text) = post(address, work);
            assert!(status < 300, "{what}, again with room: {status} {text}");
        }
        assert!(failed > 0 || !has_to_fail, "{what} never met the end of the disk");
        small.finish(&format!("disk full during {what}: {failed} failed, {done} went through"));
    });
}

#[test]
fn faults_disk_full_during_a_flush_loses_nothing() {
    full_during("a flush", FLUSH, &[], true);
}

#[test]
fn faults_disk_full_during_a_compaction_loses_nothing() {
    full_during("a compaction", COMPACT, &[FLUSH, FLUSH, FLUSH], false);
}

#[test]
fn faults_disk_full_during_a_checkpoint_loses_nothing() {
    full_during("a checkpoint", CHECKPOINT, &[], false);
}

#[test]
fn faults_disk_full_during_a_snapshot_loses_nothing() {
    full_during("a snapshot", SNAPSHOT, &[FLUSH], true);
}

#[test]
fn faults_disk_full_deletion_runs_on_the_reserve() {
    with_peers(|_| {
        let small = OnSmallDisk::start(settings());
        let address = small.server.address;
        wait_for("the reserve", Duration::from_secs(5), || {
            small.data.join("reserve").exists().then_some(()).ok_or_else(|| "no file".to_owned())
        });
        let at_ms = small.load.start_ms() + 1;
        let victim = |n: usize| Series::new(&[("__name__", "victim"), ("n", &n.to_string())], &[(at_ms, n as f64)]);
        let answer = remote_write::send(address, &(0..20).map(victim).collect::<Vec<_>>()).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
        // Half of them lie in a block.
        let (status, text) = post(address, FLUSH);
        assert!(status < 300, "{status} {text}");
        let answer = remote_write::send(address, &(20..40).map(victim).collect::<Vec<_>>()).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
        small.disk.leave_free(0);
        wait_for("deletion on a full disk", RESUME, || {
            let (status, text) = post(address, "/api/v1/admin/tsdb/delete_series?match[]=victim");
            (status == 204).then_some(()).ok_or_else(|| format!("{status} {text}"))
        });
        let victims = |server: &Chronolith| {
            server.query("count(last_over_time(victim[2h]))", at_ms as f64 / 1000.0 + 3600.0)["result"].clone()
        };
        assert_eq!(victims(&small.server), serde_json::json!([]));
        small.free_and_wait("a deletion");
        assert_eq!(victims(&small.server), serde_json::json!([]));
        let (status, text) = post(address, CLEAN_TOMBSTONES);
        assert!(status < 300, "{status} {text}");
        small.finish("deletion on a full disk");
    });
}

/// Series of a wave.
const WAVE: u64 = 3000;

/// Series with one sample each, and labels that no compression shortens.
fn wave(name: &str, words: usize, at_ms: i64) -> Vec<Series> {
    let one = |number: u64| {
        // Hexadecimal digits of a simple generator.
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name.len() as u64;
        let digits = (0..words).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}", state ^ (state >> 29))
        });
        let (number, digits) = (format!("{name}-{number}"), digits.collect::<String>());
        let labels = [("__name__", name), ("digits", &digits), ("job", "a"), ("n", &number), ("region", "b")];
        Series::new(&labels, &[(at_ms, 1.0)])
    };
    (0..WAVE).map(one).collect()
}

/// A server whose work is that of one test alone, on a disk without a reserve.
struct Quiet {
    disk: SmallDisk,
    data: PathBuf,
    server: Chronolith,
    settings: Settings,
    acknowledged: u64,
    // Dropped last.
    _dir: TempDir,
}

impl Quiet {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        let disk = SmallDisk::mount(&mount, DISK);
        let data = mount.join("data");
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..settings() }.with("storage.reserve", "0");
        let server = Chronolith::start_with(&data, settings.clone());
        Quiet { disk, data, server, settings, acknowledged: 0, _dir: dir }
    }

    fn write(&mut self, name: &str, words: usize, at_ms: i64) {
        for part in wave(name, words, at_ms).chunks(250) {
            let answer = remote_write::send(self.server.address, part).unwrap();
            assert!(answer.status < 300, "{}", answer.text());
            self.acknowledged += part.len() as u64;
        }
    }

    fn blocks(&self) -> Vec<serde_json::Value> {
        let answer: serde_json::Value =
            serde_json::from_str(&self.server.get("/api/v1/storage/blocks").text()).unwrap();
        answer["data"]["blocks"].as_array().unwrap().clone()
    }

    fn block_bytes(&self) -> u64 {
        self.blocks().iter().map(|block| block["disk_usage_bytes"].as_u64().unwrap()).sum()
    }

    /// Waits for so many blocks, with all that comes behind a flush but for the truncation of the log.
    fn wait_for_blocks(&self, count: usize) {
        wait_for("blocks", Duration::from_secs(90), || {
            let blocks = self.blocks();
            let is_done = blocks.len() == count && blocks.iter().all(|block| block["accelerated"] == true);
            is_done.then_some(()).ok_or_else(|| format!("{blocks:?}"))
        });
    }

    /// How often a task of maintenance has failed.
    fn failures(&self, task: &str) -> f64 {
        self.server.metric(&format!("chronolith_maintenance_failures_total{{task=\"{task}\"}}")).unwrap()
    }

    fn assert_all_there(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let count = self.server.query("sum(count_over_time({n=~\".+\"}[2h]))", now);
        assert_eq!(count["result"][0]["value"][1], self.acknowledged.to_string(), "{count}");
        let left: Vec<_> = std::fs::read_dir(&self.data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("tmp")), "{left:?}");
    }

    /// Proves it all, killed, and started again.
    fn finish(mut self, line: &str) {
        self.assert_all_there();
        self.server.process.kill();
        chronolith::verify(&self.data, None);
        self.server = Chronolith::start_with(&self.data, self.settings.clone());
        self.assert_all_there();
        eprintln!("{line}; {} samples acknowledged, 0 lost", self.acknowledged);
    }
}

/// A time in the past that blocks of `blocks` minutes begin at.
fn aligned_before(minutes: i64, blocks: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let range = blocks * 60_000;
    (now - minutes * 60_000).div_euclid(range) * range
}

/// The planner asks for as much room as the parents take. Where they have no series in common the child takes as much, and
/// its series are set aside in a file meanwhile: with a little more room than is asked for it begins, and cannot end.
#[test]
fn faults_disk_full_in_the_middle_of_a_compaction_keeps_the_parents_and_compacts_when_there_is_room() {
    with_peers(|_| {
        let mut quiet = Quiet::start();
        let start_ms = aligned_before(12, 3);
        let mut parents = 0;
        for (minute, name) in (0i64..).zip(["w", "wa", "wav", "wave"]) {
            quiet.write(name, 4, start_ms + minute * 60_000);
            assert_eq!(post(quiet.server.address, FLUSH).0, 200);
            if minute == 2 {
                parents = quiet.block_bytes();
            }
        }
        quiet.wait_for_blocks(4);
        // The first three are due when there are two behind them. Until that one is made there is too little room.
        quiet.write("waves", 4, start_ms + 240_000);
        quiet.disk.leave_free(parents * 9 / 10);
        assert_eq!(post(quiet.server.address, FLUSH).0, 200);
        quiet.wait_for_blocks(5);
        quiet.disk.leave_free(parents + parents / 50);
        let (status, text) = post(quiet.server.address, COMPACT);
        assert!(status >= 500 && text.contains("os error 28"), "{status} {text}");
        assert!(quiet.failures("compact") >= 1.0);
        assert_eq!(quiet.server.metric("prometheus_tsdb_blocks_loaded"), Some(5.0));
        quiet.assert_all_there();
        quiet.disk.resize(DISK);
        quiet.write("behind", 4, start_ms + 300_000);
        let (status, text) = post(quiet.server.address, COMPACT);
        assert_eq!(status, 200, "{text}");
        quiet.wait_for_blocks(3);
        quiet.finish("disk full in the middle of a compaction");
    });
}

/// What a flush and a checkpoint take is known from a first round of the same size: then there is room for the block, and
/// for half of the checkpoint behind it.
#[test]
fn faults_disk_full_in_the_middle_of_a_checkpoint_keeps_the_log_and_truncates_when_there_is_room() {
    with_peers(|_| {
        let mut quiet = Quiet::start();
        let start_ms = aligned_before(12, 1);
        let checkpoints = |quiet: &Quiet| {
            let entries = std::fs::read_dir(quiet.data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.to_string_lossy().contains("checkpoint.")).collect::<Vec<_>>()
        };
        let created = |quiet: &Quiet| quiet.server.metric("prometheus_tsdb_checkpoint_creations_total").unwrap();
        let wait_for_truncation = |quiet: &Quiet, count: f64| {
            wait_for("a checkpoint", Duration::from_secs(90), || {
                let now = created(quiet);
                (now >= count).then_some(()).ok_or_else(|| format!("{now}"))
            });
        };
        // A sample 100 s later makes the first minute due, and keeps the series alive, so that the checkpoint has them.
        quiet.write("w", 32, start_ms);
        quiet.write("w", 32, start_ms + 100_000);
        wait_for_truncation(&quiet, 1.0);
        quiet.wait_for_blocks(1);
        let block = quiet.block_bytes();
        let files = checkpoints(&quiet).iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).collect::<Vec<_>>();
        let checkpoint: u64 = files.into_iter().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(checkpoint > 512 << 10, "{checkpoint} bytes");

        quiet.write("wa", 32, start_ms + 200_000);
        quiet.wait_for_blocks(2);
        wait_for_truncation(&quiet, 2.0);
        let (flushed, before) = (quiet.blocks().len(), created(&quiet));
        assert_eq!((quiet.failures("truncate"), quiet.failures("flush")), (0.0, 0.0));
        quiet.disk.leave_free(block + checkpoint / 2);
        quiet.write("wa", 32, start_ms + 300_000);
        wait_for("a checkpoint that fails", Duration::from_secs(90), || {
            let failures = quiet.failures("truncate");
            (failures >= 1.0).then_some(()).ok_or_else(|| format!("{failures}, {} blocks", quiet.blocks().len()))
        });
        assert_eq!((quiet.blocks().len(), quiet.failures("flush")), (flushed + 1, 0.0), "the block is made");
        assert_eq!(created(&quiet), before);
        let health = quiet.server.get("/health").text();
        assert!(health.contains("the log cannot be truncated") && health.contains("os error 28"), "{health}");
        quiet.assert_all_there();
        quiet.disk.resize(DISK);
        quiet.write("wav", 4, start_ms + 310_000);
        wait_for_truncation(&quiet, before + 1.0);
        assert_eq!(checkpoints(&quiet).len(), 1);
        quiet.finish("disk full in the middle of a checkpoint");
    });
}

#[test]
fn faults_disk_full_retention_by_size_recovers_by_itself() {
    with_peers(|_| {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        let disk = SmallDisk::mount(&mount, DISK);
        let data = mount.join("data");
        let settings = Settings { log_dir: Some(dir.path().to_owned()), ..settings() };
        let mut server = Chronolith::start_with(&data, settings.clone());
        let mut load = Load::start(server.address, 2, 200);
        for _ in 0..4 {
            load.wait_for_acks(150, Duration::from_secs(60));
            let (status, text) = post(server.address, FLUSH);
            assert!(status < 300, "{status} {text}");
        }
        let blocks = |data: &PathBuf| {
            let entries = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.join("meta.json").exists()).count()
        };
        // The disk is full, and stays as small as it is; a start finds that blocks take more than they may.
        disk.leave_free(0);
        wait_for("a refused write", Duration::from_secs(20), || {
            let refused = load.refused().0;
            refused.get(&503).copied().filter(|&count| count > 2).ok_or_else(|| format!("{refused:?}"))
        });
        server.process.kill();
        let before = blocks(&data);
        assert!(before > 1, "{before} blocks");
        let address = server.address;
        server = Chronolith::respawn(&data, address, settings.with("retention.size", "1MiB"));
        let began = Instant::now();
        server.wait_ready();
        wait_for("writes after retention has made room", 2 * RESUME, || {
            (load.acked_after(began) > 0).then_some(()).ok_or_else(|| format!("{:?}", load.refused()))
        });
        load.stop();
        let after = blocks(&data);
        assert!(after < before, "{before} blocks became {after}");
        server.process.kill();
        chronolith::verify(&data, None);
        eprintln!("full disk: retention by size left {after} of {before} blocks, and writes went on");
    });
}
