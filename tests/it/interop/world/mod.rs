//! Two days of a small world, written to Chronolith and to Prometheus: samples that come late, series that come and go,
//! deletions. Then both have to hold the same to the last sample, each has to serve what the other wrote, and a directory
//! goes back and forth between them.
//!
//! The world's time is not the clock's: its samples are those of the past two days, sent in their order, as fast as they are
//! taken. What a store does by the time of its samples (blocks, lateness) it does as if the days went by.
//!
//! `CHRONOLITH_WORLD_SERIES`, `CHRONOLITH_WORLD_HOURS` and `CHRONOLITH_WORLD_SEED` make it a long run.

mod queries;
mod shape;

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::answers::{Answer, Questions, Window, ask_all, assert_equal, failure, non_empty, panics};
use crate::harness::load::receipt_of;
use crate::harness::peers::{Peers, Prometheus, with_peers};
use crate::harness::process::{copy_dir, run_well, temp_dir};
use crate::harness::remote_write::send_raw;
use crate::harness::{Chronolith, Random, Settings, chronolith, http, wait_for};
use shape::{LATE_JOB, PER_INSTANCE, Request, STEP_MS, World};

/// Steps of an hour.
const HOUR: i64 = 3_600_000 / STEP_MS;
/// How often the directory changes hands and comes back, after the days themselves.
const ROUNDS: i64 = 3;
/// Steps of a turn. In its first hour samples come late. The others are there because promtool takes the end of the newest
/// block for the end of all blocks, and shows nothing of the log before it: with the default ranges, Prometheus has written
/// to blocks all that is older than what came late once six hours have gone by.
const TURN: i64 = 6 * HOUR;
/// Questions, of more than a hundred, that Prometheus may have no answer to.
const PANICS_MAX: usize = 3;

/// Prometheus takes samples that are late by as much as Chronolith does by default.
const CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 1h}}\n";

/// What is asked about all the days, and about the last hours. Which labels a store names for a part of its time depends on
/// how its blocks are cut; which series, does not.
const QUESTIONS: [Questions; 2] = [
    Questions {
        queries: queries::QUERIES,
        searches: &[
            ("/api/v1/labels", None),
            ("/api/v1/labels", Some("world_requests_total")),
            ("/api/v1/label/__name__/values", None),
            ("/api/v1/label/pod/values", None),
            ("/api/v1/label/version/values", Some("world_build_info{job=\"batch\"}")),
            ("/api/v1/series", Some("world_requests_total{code=~\"5..\"}")),
            ("/api/v1/series", Some("{instance=\"10.0.0.0:9100\"}")),
        ],
    },
    Questions { queries: queries::QUERIES, searches: &[("/api/v1/series", Some("{instance=\"10.0.0.0:9100\"}"))] },
];

/// The size of the world.
fn series() -> u64 {
    from_env("CHRONOLITH_WORLD_SERIES", 4 * PER_INSTANCE as u64)
}

/// Far more than a store takes to catch up with its maintenance, or to end.
fn limit() -> Duration {
    Duration::from_secs(120 + series() / 10)
}

fn from_env(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The stores and everything that is written to them.
struct Writing<'a> {
    peers: &'a Peers,
    world: World,
    receipts: PathBuf,
    samples: u64,
}

#[test]
fn interop_world_of_two_days_is_the_same_in_prometheus_and_travels_between_both() {
    with_peers(|peers| {
        let dir = temp_dir();
        let (ours, theirs) = (dir.path().join("chronolith"), dir.path().join("prometheus"));
        let series = series() as usize;
        let steps = from_env("CHRONOLITH_WORLD_HOURS", 48) as i64 * HOUR;
        let now_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let start_ms = (now_ms - (steps + 2 * ROUNDS * TURN + HOUR) * STEP_MS) / STEP_MS * STEP_MS;
        let seed = Random::from_env("CHRONOLITH_WORLD_SEED").next();
        let world = World::new(seed, series, start_ms);
        let mut writing = Writing { peers, world, receipts: dir.path().join("receipts.jsonl"), samples: 0 };

        let mut server = Chronolith::start_with(&ours, settings());
        let mut prometheus = start_prometheus(peers, &theirs);
        let began = Instant::now();
        writing.days(steps, &[server.address, prometheus.address]);
        eprintln!("{} samples written to both in {:?}", writing.samples, began.elapsed());
        let windows = windows(&writing.world, steps);
        let expected = ask_prometheus(prometheus.address, windows);
        for answers in &expected {
            let with_data = non_empty(answers);
            assert!(with_data * 10 > answers.len() * 8, "too few questions with data: {with_data}");
        }
        assert_answers("running", &expected, &ask_both(server.address, windows));

        // Late samples are in record types of our own until they are in blocks, and nobody else reads these.
        admin(server.address, "/api/v1/admin/storage/flush");
        assert_answers("flushed", &expected, &ask_both(server.address, windows));
        stop(&mut server);
        prometheus.process.terminate(limit());
        chronolith::verify(&ours, Some(&writing.receipts));
        check_blocks(peers, &ours);
        let samples = assert_equal_dumps(peers, &ours, &theirs);
        eprintln!("promtool dumps {samples} samples of each, all equal");

        let [our_copy, their_copy] = ["copy of chronolith", "copy of prometheus"].map(|name| dir.path().join(name));
        copy_dir(&ours, &our_copy);
        let reader = start_prometheus(peers, &our_copy);
        assert_answers("Prometheus on a copy of the directory", &expected, &ask_prometheus(reader.address, windows));
        drop(reader);
        copy_dir(&theirs, &their_copy);
        let reader = Chronolith::start_with(&their_copy, settings());
        assert_answers("Chronolith on a copy of Prometheus' directory", &expected, &ask_both(reader.address, windows));
        drop(reader);
        for copy in [our_copy, their_copy] {
            std::fs::remove_dir_all(copy).unwrap();
        }

        for round in 0..ROUNDS {
            let first = steps + 2 * round * TURN;
            writing.turn_of_prometheus(first..first + TURN, &ours, &theirs);
            writing.turn_of_chronolith(first + TURN..first + 2 * TURN, &ours, &theirs);
            let samples = assert_equal_dumps(peers, &ours, &theirs);
            eprintln!("back and forth {} times: promtool dumps {samples} samples of each, all equal", round + 1);
        }
        check_blocks(peers, &ours);
    });
}

impl Writing<'_> {
    /// The days, with deletions on the way.
    fn days(&mut self, steps: i64, stores: &[SocketAddr; 2]) {
        let late = 0..steps - TURN + HOUR;
        let hours = |hours: f64| (hours * HOUR as f64) as i64;
        // When, of which series, and the range in steps before that moment. Prometheus deletes nothing that came late and is
        // in no block yet, so the late ones lose only what is old.
        let all: Range<i64> = i64::MIN..i64::MAX;
        let old = format!("{{job=\"{LATE_JOB}\",instance=~\".*[37]:9100\"}}");
        let deletions = [
            (steps / 4, "world_queue_depth{job=\"web\"}", hours(-0.8)..hours(-0.3)),
            (steps * 2 / 5, "{instance=~\".*[13]:9100\"}", hours(-10.0)..hours(-8.5)),
            (steps * 3 / 5, "world_odd{job=\"api\"}", all),
            (steps * 7 / 10, "world_latency_seconds_bucket{job=\"db\",le=~\"..*\"}", hours(-5.0)..hours(-0.2)),
            (steps * 3 / 4, "world_sizes_bytes{job=~\"api|web\"}", hours(-4.0)..hours(-0.4)),
            (steps * 4 / 5, &old, hours(-12.0)..hours(-9.0)),
            (steps - 1, "world_memory_bytes{job=\"web\"}", hours(-1.5)..hours(-1.0)),
        ];
        for step in 0..steps {
            self.step(step, &late, stores);
            if step % (2 * HOUR) == 0 {
                wait_for_compaction(stores[1]);
            }
            for (_, matcher, range) in deletions.iter().filter(|(at, _, _)| *at == step) {
                wait_for_compaction(stores[1]);
                for &store in stores {
                    self.delete(store, matcher, step, range);
                }
            }
            if step == steps * 5 / 6 {
                for &store in stores {
                    admin(store, "/api/v1/admin/tsdb/clean_tombstones");
                }
            }
        }
        wait_for_compaction(stores[1]);
    }

    /// Writes one step to all stores, and keeps the receipts of those that give them.
    fn step(&mut self, step: i64, late: &Range<i64>, stores: &[SocketAddr]) {
        let requests = self.world.step(step, late);
        self.samples += requests.iter().map(|request| request.samples as u64).sum::<u64>();
        let receipts: Vec<String> = thread::scope(|scope| {
            let sending: Vec<_> = stores
                .iter()
                .map(|&store| {
                    let requests = &requests;
                    scope.spawn(move || send(store, requests))
                })
                .collect();
            sending.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.receipts).unwrap();
        for receipt in receipts {
            writeln!(file, "{receipt}").unwrap();
        }
    }

    fn delete(&self, store: SocketAddr, matcher: &str, step: i64, range: &Range<i64>) {
        let mut parameters = vec![("match[]", matcher.to_owned())];
        if range.start != i64::MIN {
            let seconds = |offset| format!("{}", self.world.time_of(step + offset) / 1000);
            parameters.extend([("start", seconds(range.start)), ("end", seconds(range.end))]);
        }
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        admin(store, &format!("/api/v1/admin/tsdb/delete_series?{}", http::form(&parameters)));
    }

    /// Prometheus opens the directory that Chronolith wrote, and another one its own; both are written to, late samples
    /// and deletions too.
    fn turn_of_prometheus(&mut self, steps: Range<i64>, travelling: &Path, reference: &Path) {
        let mut stores = [travelling, reference].map(|dir| start_prometheus(self.peers, dir));
        // Samples come late only when the stores have caught up: Prometheus joins two blocks of late samples to one that it
        // takes for one in order, and at its next start it passes over what its log has from before the end of that.
        let late = steps.start + 1..steps.start + HOUR;
        self.world.began = steps.start;
        for step in steps.clone() {
            if step == late.start {
                stores.iter().for_each(|store| wait_for_compaction(store.address));
            }
            if step == late.end {
                stores = self.look_at_late_samples(step, stores, [travelling, reference]);
                self.world.began = step;
            }
            self.step(step, &late, &[stores[0].address, stores[1].address]);
        }
        for store in &mut stores {
            self.delete(store.address, "world_queue_depth{job=\"api\"}", steps.end, &(-HOUR / 2..-HOUR / 3));
            self.delete(store.address, "world_up{job=\"db\"}", steps.end, &(-9 * HOUR..-8 * HOUR));
            wait_for_compaction(store.address);
            store.process.terminate(limit());
        }
        // Their dumps are compared after the turn of Chronolith, which has to keep all of this.
    }

    /// What came late and is in no block yet is in a log of its own: Chronolith reads that too.
    fn look_at_late_samples(&self, step: i64, mut stores: [Prometheus; 2], dirs: [&Path; 2]) -> [Prometheus; 2] {
        let windows = windows(&self.world, step);
        let expected = ask_prometheus(stores[1].address, windows);
        assert_answers(
            "Prometheus where Chronolith wrote before",
            &expected,
            &ask_prometheus(stores[0].address, windows),
        );
        for (store, dir) in stores.iter_mut().zip(dirs) {
            store.process.terminate(limit());
            let copy = dir.with_extension("copy");
            copy_dir(dir, &copy);
            assert!(copy.join("wbl").exists(), "samples came late");
            let reader = Chronolith::start_with(&copy, settings());
            assert_answers("Chronolith on a copy with late samples", &expected, &ask_both(reader.address, windows));
            drop(reader);
            std::fs::remove_dir_all(copy).unwrap();
        }
        dirs.map(|dir| start_prometheus(self.peers, dir))
    }

    /// Chronolith opens the directory that Prometheus wrote, and a Prometheus the other one.
    fn turn_of_chronolith(&mut self, steps: Range<i64>, travelling: &Path, reference: &Path) {
        let mut server = Chronolith::start_with(travelling, settings());
        let mut prometheus = start_prometheus(self.peers, reference);
        let stores = [server.address, prometheus.address];
        let late = steps.start..steps.start + HOUR;
        for step in steps.clone() {
            if step == late.end {
                let windows = windows(&self.world, step);
                let expected = ask_prometheus(prometheus.address, windows);
                assert_answers(
                    "Chronolith where Prometheus wrote before",
                    &expected,
                    &ask_both(server.address, windows),
                );
                admin(server.address, "/api/v1/admin/storage/flush");
                self.world.began = step;
            }
            self.step(step, &late, &stores);
        }
        for store in stores {
            self.delete(store, "world_queue_depth{job=\"db\"}", steps.end, &(-HOUR / 2..-HOUR / 4));
        }
        wait_for_compaction(prometheus.address);
        let windows = windows(&self.world, steps.end);
        let expected = ask_prometheus(prometheus.address, windows);
        assert_answers("the same at the end of the turn", &expected, &ask_both(server.address, windows));
        stop(&mut server);
        prometheus.process.terminate(limit());
        // Not proven by `verify`: what Prometheus took out of the log and of the blocks is in no ledger.
    }
}

fn settings() -> Settings {
    Settings::default().with("web.enable_admin_api", "true").with("retention.time", "none")
}

fn start_prometheus(peers: &Peers, dir: &Path) -> Prometheus {
    peers.prometheus_with(dir, CONFIG, &["--web.enable-admin-api", "--enable-feature=native-histograms"])
}

fn stop(server: &mut Chronolith) {
    let status = server.process.terminate(limit());
    assert!(status.success(), "stopped with {status}:\n{}", server.process.log());
}

/// Sends requests one after the other, each until it is taken. Gives receipts, where there are some.
fn send(store: SocketAddr, requests: &[Request]) -> Vec<String> {
    let mut receipts = Vec::new();
    for request in requests {
        let answer = wait_for("a write", limit(), || {
            let answer = send_raw(store, &request.body).map_err(|error| error.to_string())?;
            let text = format!("{} {}", answer.status, answer.text());
            assert!(answer.status < 400 || answer.status >= 429, "{store} refuses samples: {text}");
            (answer.status < 300).then_some(answer).ok_or(text)
        });
        if answer.header("chronolith-commit").is_some() {
            receipts.push(receipt_of(&answer, request.samples));
        }
    }
    receipts
}

fn admin(store: SocketAddr, path: &str) {
    let answer = http::request(store, "POST", path, &[], &[]).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
}

/// Waits until a Prometheus has written to blocks what is old enough: as if the days went by.
fn wait_for_compaction(address: SocketAddr) {
    wait_for("compaction of Prometheus' head", limit(), || {
        let metrics = http::get(address, "/metrics").map_err(|error| error.to_string())?.text();
        let of = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name}"))
        };
        let held_ms = of("prometheus_tsdb_head_max_time") - of("prometheus_tsdb_head_min_time");
        let most_ms = 3.0 * 3_600_000.0 + STEP_MS as f64;
        (held_ms <= most_ms).then_some(()).ok_or_else(|| format!("the head holds {held_ms} ms"))
    });
}

/// Everything in large steps, and the last hours in small ones.
fn windows(world: &World, steps: i64) -> [Window; 2] {
    let seconds = |step: i64| world.time_of(step) as f64 / 1000.0;
    let end = seconds(steps);
    let all = Window { start: seconds(0), end, step: ((end - seconds(0)) / 50.0).round() };
    [all, Window { start: end - 4.0 * 3600.0, end: end - 60.0, step: 300.0 }]
}

fn ask_both(address: SocketAddr, windows: [Window; 2]) -> [Vec<Answer>; 2] {
    [0, 1].map(|which| ask_all(address, windows[which], &QUESTIONS[which]))
}

/// The same of a Prometheus, which may fail to answer while it compacts its head, and panics on a few questions for good.
fn ask_prometheus(address: SocketAddr, windows: [Window; 2]) -> [Vec<Answer>; 2] {
    let mut attempts_left = 5;
    wait_for("answers to every question", limit(), || {
        let answers = ask_both(address, windows);
        if let Some(failure) = answers.iter().find_map(|answers| failure(answers)) {
            return Err(failure);
        }
        let panics: usize = answers.iter().map(|answers| panics(answers)).sum();
        if panics > 0 && attempts_left > 0 {
            attempts_left -= 1;
            return Err(format!("Prometheus panics on {panics} questions"));
        }
        assert!(panics <= PANICS_MAX, "Prometheus panics on {panics} questions");
        Ok(answers)
    })
}

fn assert_answers(what: &str, expected: &[Vec<Answer>; 2], actual: &[Vec<Answer>; 2]) {
    for (expected, actual) in expected.iter().zip(actual) {
        assert_equal(what, expected, actual);
    }
}

/// `promtool tsdb list` and `analyze` accept every block.
fn check_blocks(peers: &Peers, dir: &Path) {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let blocks: Vec<String> = names.filter(|name| dir.join(name).join("meta.json").exists()).collect();
    let path = dir.to_str().unwrap();
    let list = run_well(peers.program("promtool"), &["tsdb", "list", path]);
    assert_eq!(list.lines().count(), blocks.len() + 1, "{list}");
    for block in &blocks {
        assert!(list.contains(block), "{block} is not in the list:\n{list}");
        let analysis = run_well(peers.program("promtool"), &["tsdb", "analyze", "--extended", path, block]);
        assert!(analysis.contains("Total Series"), "{analysis}");
    }
    eprintln!("promtool lists and analyzes {} blocks", blocks.len());
}

/// `promtool tsdb dump` of two directories, line by line; the number of lines.
fn assert_equal_dumps(peers: &Peers, ours: &Path, theirs: &Path) -> u64 {
    let mut dumps = [ours, theirs].map(|dir| Dump::start(peers, dir));
    let mut lines = 0_u64;
    loop {
        let [our_line, their_line] = dumps.each_mut().map(Dump::next_line);
        lines += 1;
        assert!(
            our_line == their_line,
            "line {lines}: {}\nnot    {}",
            String::from_utf8_lossy(our_line),
            String::from_utf8_lossy(their_line)
        );
        if our_line.is_empty() {
            break;
        }
    }
    for dump in &mut dumps {
        dump.end();
    }
    // The last one is the end.
    lines -= 1;
    assert!(lines > 1000, "only {lines} samples dumped");
    lines
}

/// A running `promtool tsdb dump`.
struct Dump {
    process: Child,
    out: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Dump {
    fn start(peers: &Peers, dir: &Path) -> Self {
        let mut command = Command::new(peers.program("promtool"));
        command.args(["tsdb", "dump"]).arg(dir).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let out = BufReader::with_capacity(1 << 20, process.stdout.take().unwrap());
        Dump { process, out, line: Vec::new() }
    }

    /// The next line; empty at the end.
    fn next_line(&mut self) -> &[u8] {
        self.line.clear();
        self.out.read_until(b'\n', &mut self.line).unwrap();
        &self.line
    }

    fn end(&mut self) {
        let status = self.process.wait().unwrap();
        assert!(status.success(), "promtool tsdb dump ended with {status}");
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
