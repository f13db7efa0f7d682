//! The server is killed with SIGKILL while it flushes, compacts, truncates its log, takes a snapshot or deletes; everything
//! that it acknowledged has to be there afterwards, and nothing that was deleted.
//!
//! An operator asks for one piece of maintenance after the other, while senders write, late samples too. The kill waits
//! until the piece that is wanted has begun, and then for a random part of the time that such a piece takes. Each round
//! proves all rounds before it on the same directory, whose log has lost most of their receipts to the ledger by then.
//!
//! `CHRONOLITH_CRASH_ROUNDS` sets the number of rounds, `CHRONOLITH_CRASH_SEED` repeats a run's moments.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::load::Load;
use crate::harness::process::temp_dir;
use crate::harness::remote_write::{self, Series};
use crate::harness::{Chronolith, Random, Settings, chronolith, http, wait_for};

/// Rounds on one directory: each proves those before it again, so the work grows with them.
const ROUNDS_PER_DIRECTORY: u64 = 20;

/// Every kind of maintenance that a kill may meet.
const WORK: [Work; 6] =
    [Work::Flush, Work::Compact, Work::Checkpoint, Work::Snapshot, Work::Delete, Work::CleanTombstones];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Flush,
    Compact,
    Checkpoint,
    Snapshot,
    Delete,
    CleanTombstones,
}

impl Work {
    fn path(self, victim: u64) -> String {
        match self {
            Work::Flush => "/api/v1/admin/storage/flush".to_owned(),
            Work::Compact => "/api/v1/admin/storage/compact".to_owned(),
            Work::Checkpoint => "/api/v1/admin/storage/checkpoint".to_owned(),
            Work::Snapshot => "/api/v1/admin/tsdb/snapshot".to_owned(),
            Work::Delete => {
                let matcher = http::form(&[("match[]", &format!("victim{{n=\"{victim}\"}}"))]);
                format!("/api/v1/admin/tsdb/delete_series?{matcher}")
            }
            Work::CleanTombstones => "/api/v1/admin/tsdb/clean_tombstones".to_owned(),
        }
    }
}

fn rounds() -> u64 {
    env::var("CHRONOLITH_CRASH_ROUNDS").map_or(3, |text| text.parse().unwrap())
}

fn settings() -> Settings {
    // Blocks of minutes and segments of kilobytes, so that there is always something to do.
    Settings::default()
        .with("web.enable_admin_api", "true")
        .with("head.chunk_range", "1m")
        .with("head.flush_size", "1MiB")
        .with("wal.max_segment_size", "64KiB")
        .with("storage.reserve", "0")
}

/// Series of one sample each, that are written to be deleted: every other one.
#[derive(Debug, Default, Clone)]
struct Victims {
    written: u64,
    /// Those whose deletion was asked for, and those of them whose deletion was acknowledged.
    asked: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
}

impl Victims {
    fn check(&self, server: &Chronolith, end_ms: i64) {
        let data = server.query("last_over_time(victim[2h])", end_ms as f64 / 1000.0 + 3600.0);
        let series = data["result"].as_array().unwrap();
        let found: BTreeSet<u64> =
            series.iter().map(|one| one["metric"]["n"].as_str().unwrap().parse().unwrap()).collect();
        let risen: Vec<&u64> = found.intersection(&self.deleted).collect();
        assert!(risen.is_empty(), "deleted, and there again: {risen:?}");
        let lost: Vec<u64> = (0..self.written).filter(|n| !self.asked.contains(n) && !found.contains(n)).collect();
        assert!(lost.is_empty(), "acknowledged, not deleted, and lost: {lost:?}");
    }
}

/// What the operator is doing.
#[derive(Debug, Default)]
struct Doing {
    /// How many pieces of work were begun, and the newest of them.
    begun: u64,
    work: Option<Work>,
    /// How long a piece took when it was last done.
    took: BTreeMap<Work, Duration>,
    victims: Victims,
    faults: Vec<String>,
}

/// Somebody who asks for maintenance, until the server is gone.
struct Operator {
    doing: Arc<Mutex<Doing>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Operator {
    fn start(address: SocketAddr, start_ms: i64, victims: Victims, mut random: Random) -> Self {
        let doing = Arc::new(Mutex::new(Doing { victims, ..Doing::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&doing), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && operate(address, start_ms, &shared, &mut random) {}
        });
        Operator { doing, stop, thread: Some(thread) }
    }

    /// Waits until a piece of this work has begun, and for a random part of the time that it takes.
    fn wait_for_work(&self, work: Work, random: &mut Random) {
        let doing = || self.doing.lock().unwrap();
        let before = doing().begun;
        wait_for(&format!("{work:?} to begin"), Duration::from_secs(60), || {
            let doing = doing();
            assert!(doing.faults.is_empty(), "{:?}", doing.faults);
            let is_begun = doing.begun > before && doing.work == Some(work);
            is_begun.then_some(()).ok_or_else(|| format!("{:?}", doing.work))
        });
        let most = doing().took.get(&work).copied().unwrap_or(Duration::from_millis(50));
        let until = Instant::now() + Duration::from_micros(random.below(most.as_micros() as u64 + 100));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    /// What the operator was at when the server was gone, and what it has done to the victims.
    fn end(mut self) -> (Option<Work>, Victims) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let doing = self.doing.lock().unwrap();
        assert!(doing.faults.is_empty(), "{:?}", doing.faults);
        (doing.work, doing.victims.clone())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes two victims, and does one piece of work. Says whether the server is still there.
fn operate(address: SocketAddr, start_ms: i64, doing: &Mutex<Doing>, random: &mut Random) -> bool {
    for _ in 0..2 {
        let n = doing.lock().unwrap().victims.written;
        let series = Series::new(&[("__name__", "victim"), ("n", &n.to_string())], &[(start_ms + n as i64, n as f64)]);
        match remote_write::send(address, &[series]) {
            Ok(answer) if answer.status < 300 => doing.lock().unwrap().victims.written += 1,
            Ok(answer) => return fault(doing, format!("victim: {} {}", answer.status, answer.text())),
            Err(_) => return false,
        }
    }
    let work = WORK[random.below(WORK.len() as u64) as usize];
    let victim = {
        let mut doing = doing.lock().unwrap();
        // Not the newest of all: some lie in blocks already.
        let victim = random.below(doing.victims.written) / 2 * 2;
        if work == Work::Delete {
            doing.victims.asked.insert(victim);
        }
        (doing.begun, doing.work) = (doing.begun + 1, Some(work));
        victim
    };
    let began = Instant::now();
    let answer = http::request(address, "POST", &work.path(victim), &[], &[]);
    match answer {
        Ok(answer) if answer.status < 300 => {
            let mut doing = doing.lock().unwrap();
            doing.took.insert(work, began.elapsed());
            doing.work = None;
            if work == Work::Delete {
                doing.victims.deleted.insert(victim);
            }
            true
        }
        Ok(answer) => fault(doing, format!("{work:?}: {} {}", answer.status, answer.text())),
        Err(_) => false,
    }
}

fn fault(doing: &Mutex<Doing>, what: String) -> bool {
    doing.lock().unwrap().faults.push(what);
    false
}

/// What a kill left half done, by the names that are on the disk.
fn left_behind(data: &Path) -> Vec<&'static str> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let is_unfinished = |name: &String| name.contains(".tmp");
    let mut left = Vec::new();
    for (dir, what) in [("", "a block"), ("wal", "a checkpoint"), ("snapshots", "a snapshot"), ("ledger", "receipts")] {
        if names(&data.join(dir)).iter().any(is_unfinished) {
            left.push(what);
        }
    }
    left
}

#[test]
fn crash_kill_during_maintenance_keeps_what_was_acknowledged_and_what_was_deleted() {
    let mut random = Random::from_env("CHRONOLITH_CRASH_SEED");
    let rounds = rounds();
    let (mut hit, mut left, mut receipts, mut read) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
    for first in (0..rounds).step_by(ROUNDS_PER_DIRECTORY as usize) {
        let mut directory = Directory::start();
        for round in first..rounds.min(first + ROUNDS_PER_DIRECTORY) {
            let work = directory.kill_during(WORK[round as usize % WORK.len()], &mut random);
            *hit.entry(work.map_or("nothing".to_owned(), |work| format!("{work:?}"))).or_insert(0) += 1;
            for what in left_behind(&directory.data) {
                *left.entry(what).or_insert(0) += 1;
            }
            directory.prove();
        }
        let proven = directory.finish();
        (receipts, read) = (receipts + proven.0, read + proven.1);
    }
    eprintln!(
        "{rounds} kills, by what was under way: {hit:?}; left half done: {left:?}; {receipts} receipts proven, {read} samples \
         read back, none lost"
    );
}

/// A data directory, the server on it, and the senders, who live through the kills.
struct Directory {
    dir: tempfile::TempDir,
    data: std::path::PathBuf,
    server: Chronolith,
    load: Load,
    victims: Victims,
    read: u64,
}

impl Directory {
    fn start() -> Self {
        let dir = temp_dir();
        let data = dir.path().join("data");
        let server = Chronolith::start_with(&data, settings());
        let load = Load::start_with_late_scrapes(server.address, 2, 20);
        Directory { dir, data, server, load, victims: Victims::default(), read: 0 }
    }

    /// Kills the server while it does this work, or whatever it has come to by then.
    fn kill_during(&mut self, work: Work, random: &mut Random) -> Option<Work> {
        self.load.wait_for_acks(30, Duration::from_secs(60));
        let (start_ms, victims) = (self.load.start_ms(), std::mem::take(&mut self.victims));
        let operator = Operator::start(self.server.address, start_ms, victims, Random::new(random.next()));
        operator.wait_for_work(work, random);
        self.server.process.kill();
        let (work, victims) = operator.end();
        self.victims = victims;
        work
    }

    /// Proves the directory as the kill left it, and once more by what the next server answers.
    fn prove(&mut self) {
        let receipts = self.dir.path().join("receipts.jsonl");
        self.load.write_receipts(&receipts);
        chronolith::verify(&self.data, Some(&receipts));
        // A snapshot has its name once it is whole. They would fill the disk.
        for entry in std::fs::read_dir(self.data.join("snapshots")).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_none() {
                chronolith::verify(&path, None);
            }
            std::fs::remove_dir_all(path).unwrap();
        }
        self.server.kill_and_restart();
        assert_eq!(self.server.metric("chronolith_recovery_damages"), Some(0.0), "{}", self.server.process.log());
        self.victims.check(&self.server, self.load.start_ms());
        self.read = self.load.check_read_back(&self.server);
    }

    /// Stops writing and proves it all a last time. Gives how many receipts and samples there were.
    fn finish(mut self) -> (usize, u64) {
        self.load.stop();
        self.prove();
        (self.load.acked(), self.read)
    }
}
