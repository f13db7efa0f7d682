//! The server is killed with SIGKILL at random moments; everything that it acknowledged has to be there afterwards.
//!
//! `CHRONOLITH_CRASH_ROUNDS` sets the number of rounds, `CHRONOLITH_CRASH_SEED` repeats a run's moments.
//! One directory and one receipts file serve many rounds, so that each round also proves the rounds before it.

use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::harness::http;
use crate::harness::load::Load;
use crate::harness::{Chronolith, Process, Random, Settings, chronolith, wait_for};

/// Rounds on one directory: each proves those before it again, so the work grows with them.
const ROUNDS_PER_DIRECTORY: usize = 20;

/// Small segments, so that many a kill meets the change from one to the next.
const SMALL_SEGMENT: &str = "256KiB";

fn rounds(fewest: u64) -> u64 {
    env::var("CHRONOLITH_CRASH_ROUNDS").map_or(fewest, |text| text.parse().unwrap())
}

fn pause(random: &mut Random, most_ms: u64) {
    thread::sleep(Duration::from_micros(random.below(most_ms * 1000)));
}

/// Starts `chronolith bench write` with receipts. Each round has a time of its own.
fn bench(server: &Chronolith, receipts: &Path, round: u64, scrapes: u64) -> Process {
    let start_ms = (UNIX_EPOCH.elapsed().unwrap().as_millis() as u64).saturating_sub(6 * 3_600_000);
    // A round covers 20 s of time, so that later rounds are later than all before them.
    let start = (start_ms / 1000) / 3600 * 3600 + round * 20;
    let mut command = chronolith::command(&["bench", "write", "--url"]);
    command
        .arg(format!("http://{}", server.address))
        .args(["--protocol", "remote-write", "--series", "5000", "--batch", "100", "--connections", "4"])
        .args(["--interval", "100ms", "--scrapes"])
        .arg(scrapes.to_string())
        .arg("--start")
        .arg(start.to_string())
        .arg("--receipts")
        .arg(receipts);
    Process::start("bench", command, receipts.parent().unwrap())
}

fn receipts_count(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|&&byte| byte == b'\n').count())
}

/// A receipts file may end in a line that the bench did not finish: it was never said to be there.
fn cut_torn_line(path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_default();
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |position| position + 1);
    if end < bytes.len() {
        std::fs::write(path, &bytes[..end]).unwrap();
    }
}

#[test]
fn crash_kill_under_bench_keeps_every_receipt() {
    let mut random = Random::from_env("CHRONOLITH_CRASH_SEED");
    let rounds = rounds(3);
    let mut proven = 0;
    for first in (0..rounds).step_by(ROUNDS_PER_DIRECTORY) {
        let dir = tempfile::tempdir().unwrap();
        let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
        for round in first..rounds.min(first + ROUNDS_PER_DIRECTORY as u64) {
            kill_under_bench(&mut random, &data, &receipts, round);
        }
        proven += receipts_count(&receipts);
    }
    eprintln!("{rounds} kills under load: {proven} receipts, every one proven");
}

/// One round: a server, a load with receipts, a kill at a random moment, and the proof.
fn kill_under_bench(random: &mut Random, data: &Path, receipts: &Path, round: u64) {
    let mut settings = Settings::default();
    if round % 2 == 1 {
        settings = settings.with("wal.max_segment_size", SMALL_SEGMENT);
    }
    let mut server = Chronolith::start_with(data, settings);
    let before = receipts_count(receipts);
    let mut load = bench(&server, receipts, round, 190);
    wait_for("the first receipts", Duration::from_secs(30), || {
        if let Some(status) = load.ended() {
            assert!(receipts_count(receipts) > before, "bench ended with {status}:\n{}", load.log());
        }
        let count = receipts_count(receipts);
        (count > before).then_some(()).ok_or_else(|| format!("{count} receipts"))
    });
    pause(random, 1500);
    server.process.kill();
    load.signal("TERM");
    load.wait(Duration::from_secs(60));
    cut_torn_line(receipts);
    chronolith::verify(data, Some(receipts));
}

#[test]
fn crash_kill_under_load_reads_back_every_acknowledged_sample() {
    let mut random = Random::from_env("CHRONOLITH_CRASH_SEED");
    let dir = tempfile::tempdir().unwrap();
    let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
    let settings = Settings::default().with("wal.max_segment_size", SMALL_SEGMENT);
    let mut server = Chronolith::start_with(&data, settings);
    // The senders live through the kills, and send again what was not acknowledged.
    let mut load = Load::start(server.address, 3, 20);
    let rounds = rounds(3);
    for _ in 0..rounds {
        load.wait_for_acks(30, Duration::from_secs(60));
        pause(&mut random, 300);
        server.kill_and_restart();
        // The end of a process tears the newest group at most.
        assert_eq!(server.metric("chronolith_recovery_damages"), Some(0.0), "{}", server.process.log());
    }
    load.wait_for_acks(30, Duration::from_secs(60));
    load.stop();
    load.write_receipts(&receipts);
    server.kill_and_restart();
    let read = load.check_read_back(&server);
    server.process.kill();
    chronolith::verify(&data, Some(&receipts));
    eprintln!("{rounds} kills under load: {read} acknowledged samples read back, none lost");
}

#[test]
fn crash_kill_during_replay_loses_nothing() {
    let mut random = Random::from_env("CHRONOLITH_CRASH_SEED");
    let dir = tempfile::tempdir().unwrap();
    let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
    let mut server = Chronolith::start(&data);
    // Enough that a replay takes a while.
    let status = bench(&server, &receipts, 0, 190).wait(Duration::from_secs(180));
    assert!(status.success());
    server.process.kill();

    let began = Instant::now();
    let mut restarted = Chronolith::start(&data);
    let start_time = began.elapsed();
    restarted.process.kill();
    let mut unready = 0;
    let rounds = rounds(5);
    for _ in 0..rounds {
        let mut server = Chronolith::spawn(&data, Settings::default());
        pause(&mut random, start_time.as_millis() as u64);
        unready += u64::from(http::get(server.address, "/-/ready").is_ok_and(|answer| answer.status != 200));
        server.process.kill();
    }
    chronolith::verify(&data, Some(&receipts));
    // What the start shows in the end is what the log holds, after all these.
    let server = Chronolith::start(&data);
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let names = server.get("/api/v1/label/__name__/values").json();
    let samples_of = |name: &serde_json::Value| -> u64 {
        let data = server.query(&format!("sum(count_over_time({}[8h]))", name.as_str().unwrap()), now);
        data["result"][0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(names["data"].as_array().unwrap().iter().map(samples_of).sum::<u64>(), 950_000);
    eprintln!("{rounds} kills within a start of {start_time:?}, {unready} during replay: 950,000 samples, none lost");
}

#[test]
fn crash_orderly_stop_keeps_everything_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
    let mut server = Chronolith::start(&data);
    let mut load = Load::start(server.address, 2, 20);
    load.wait_for_acks(50, Duration::from_secs(60));
    let status = server.process.terminate(Duration::from_secs(30));
    load.stop();
    assert!(status.success(), "stopped with {status}:\n{}", server.process.log());
    load.write_receipts(&receipts);
    chronolith::verify(&data, Some(&receipts));
    load.check_read_back(&Chronolith::start(&data));
}

#[test]
fn verify_beside_a_running_server_under_load_proves_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Chronolith::start(&data);
    let load = Load::start(server.address, 2, 20);
    let url = format!("http://{}", server.address);
    for _ in 0..3 {
        load.wait_for_acks(40, Duration::from_secs(60));
        let arguments = ["verify", "--data-dir", data.to_str().unwrap(), "--server", &url, "--format", "json"];
        let (status, stdout, stderr) = chronolith::run(&arguments);
        assert_eq!(status, Some(0), "{stdout}\n{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap();
        assert!(stdout.contains("live"), "{stdout}");
    }
    let refused = load.refused();
    assert!(refused.0.is_empty() && load.broken() == 0, "nobody is disturbed: {refused:?}");
}

#[test]
fn verify_receipt_that_was_never_given_is_named_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (data, receipts) = (dir.path().join("data"), dir.path().join("receipts.jsonl"));
    let mut server = Chronolith::start(&data);
    let mut load = Load::start(server.address, 1, 20);
    load.wait_for_acks(20, Duration::from_secs(60));
    load.stop();
    server.process.kill();
    load.write_receipts(&receipts);
    let good = std::fs::read_to_string(&receipts).unwrap();
    let forged = |line: &str| {
        let mut receipt: serde_json::Value = serde_json::from_str(line).unwrap();
        receipt["digest"] = "0123456789abcdef0123456789abcdef".into();
        receipt.to_string()
    };
    let first = good.lines().next().unwrap();
    std::fs::write(&receipts, good.replace(first, &forged(first))).unwrap();
    let (status, stdout, stderr) =
        chronolith::run(&["verify", "--data-dir", data.to_str().unwrap(), "--receipts", receipts.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{stdout}\n{stderr}");
    std::fs::write(&receipts, good).unwrap();
    chronolith::verify(&data, Some(&receipts));
}
