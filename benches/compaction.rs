//! Compaction of three blocks of 10,000 series into one, its proof included: time, rate, and peak memory.
//!
//! One run of each kind, since a run takes long enough to be told from its noise: blocks that follow each other, whose
//! chunks pass as they are, and blocks that overlap, whose chunks are decoded and merged.
//!
//! `CHRONOLITH_BENCH_SERIES` sets the number of series. With `CHRONOLITH_PEERS`, a directory of `prometheus`, that one
//! compacts the same blocks; it begins a minute after its start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions};
use chronolith::chunk::ChunkBuilder;
use chronolith::compaction::compact;
use chronolith::fs::{Fs, SystemFs};
use chronolith::model::{LabelSet, SampleValue};
use ulid::Ulid;

/// Two hours of a sample every 15 s.
const SAMPLES: i64 = 480;
const STEP_MS: i64 = 15_000;
const BLOCKS: i64 = 3;
const BLOCK_MS: i64 = SAMPLES * STEP_MS;

fn series_count() -> u32 {
    std::env::var("CHRONOLITH_BENCH_SERIES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

fn block(fs: &Arc<dyn Fs>, dir: &Path, number: i64, start_ms: i64) -> Arc<Block> {
    let ulid = Ulid::from_parts(number as u64 + 1, 1);
    let mut writer = BlockWriter::create(fs.clone(), dir, ulid, WriterOptions::default()).expect("create");
    for index in 0..series_count() {
        let (instance, job) = (format!("node-{:06}", index / 10), format!("job-{}", index % 10));
        let labels =
            LabelSet::from_pairs([("__name__", "metric"), ("instance", instance.as_str()), ("job", job.as_str())]);
        let mut builder = ChunkBuilder::new();
        let mut chunks = Vec::new();
        for sample in 0..SAMPLES {
            let value = f64::from(index % 97) + (sample % 13) as f64 * 0.25;
            chunks.extend(builder.push(start_ms + sample * STEP_MS, &SampleValue::Float(value)));
        }
        chunks.extend(builder.finish());
        writer.add(&labels, &chunks).expect("add");
    }
    let max_time_ms = start_ms + SAMPLES * STEP_MS;
    let origin = BlockOrigin { min_time_ms: start_ms, max_time_ms, level: 1, ..BlockOrigin::default() };
    writer.finish(origin).expect("finish").expect("samples").publish().expect("publish")
}

/// The most memory that a process had, mapped files included, in MiB.
fn peak_mib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn run(name: &str, shift_ms: i64) {
    let dir = tempfile::tempdir().expect("directory");
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let parents: Vec<Arc<Block>> =
        (0..BLOCKS).map(|number| block(&fs, dir.path(), number, number * shift_ms)).collect();
    let bytes: u64 = parents.iter().map(|block| block.bytes()).sum();
    // What came before does not count. Where it cannot be reset, the peak is that of all runs so far.
    let _reset = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_mib("self");
    let mut written = None;
    let started = Instant::now();
    let outcome = compact(&fs, dir.path(), Ulid::from_parts(100, 1), &parents, &mut |progress| {
        if matches!(progress, chronolith::compaction::Progress::Proving { .. }) {
            written.get_or_insert_with(|| started.elapsed());
        }
        ControlFlow::Continue(())
    })
    .expect("compaction");
    let took = started.elapsed();
    let samples = outcome.stored.samples + outcome.deduplicated.samples;
    println!(
        "{name}: {samples} samples, {:.1} MiB; written in {:.2} s, proven after {:.2} s: {:.1} million samples/s; peak {} MiB \
         ({before} before)",
        bytes as f64 / f64::from(1 << 20),
        written.unwrap_or(took).as_secs_f64(),
        took.as_secs_f64(),
        samples as f64 / took.as_secs_f64() / 1e6,
        peak_mib("self"),
    );
    outcome.child.expect("samples").discard().expect("discard");
}

/// Lets Prometheus compact the same blocks. A fourth stands behind them, since it leaves the newest alone.
fn run_prometheus(program: &Path, name: &str, shift_ms: i64) {
    let dir = tempfile::tempdir().expect("directory");
    let data = dir.path().join("data");
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    fs.create_dir_all(&data).expect("directory");
    for (number, start_ms) in (0..BLOCKS).map(|number| (number, number * shift_ms)).chain([(BLOCKS, 20 * BLOCK_MS)]) {
        block(&fs, &data, number, start_ms);
    }
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    std::fs::write(dir.path().join("prometheus.yml"), "").expect("configuration");
    let mut child = Command::new(program)
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Prometheus");
    let process = child.id().to_string();
    while get(address, "/-/ready").is_none() {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let _reset = std::fs::write(format!("/proc/{process}/clear_refs"), "5");
    let before = peak_mib(&process);
    let started = Instant::now();
    let took = loop {
        let metrics = get(address, "/metrics").unwrap_or_default();
        let metric = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        if metric("prometheus_tsdb_compactions_total ").is_some_and(|count| count >= 1.0) {
            break metric("prometheus_tsdb_compaction_duration_seconds_sum ").unwrap_or(f64::NAN);
        }
        assert!(started.elapsed() < Duration::from_secs(900), "Prometheus does not compact");
        std::thread::park_timeout(Duration::from_millis(200));
    };
    println!("{name}, Prometheus: compacted in {took:.2} s; peak {} MiB ({before} before)", peak_mib(&process));
    child.kill().and_then(|()| child.wait()).expect("Prometheus ends");
}

/// The answer to a request, if it is a good one.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once(' ').is_some_and(|(_, status)| status.starts_with('2')).then_some(answer)
}

fn main() {
    let prometheus = std::env::var_os("CHRONOLITH_PEERS").map(|peers| Path::new(&peers).join("prometheus"));
    for (name, shift_ms) in [("apart", BLOCK_MS), ("overlapping by half", BLOCK_MS / 2)] {
        run(name, shift_ms);
        if let Some(program) = &prometheus {
            run_prometheus(program, name, shift_ms);
        }
    }
}
