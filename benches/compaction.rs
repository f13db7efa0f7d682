//! Compaction of three blocks of 10,000 series into one, its proof included: time, rate, and peak memory.
//!
//! One run of each kind, since a run takes long enough to be told from its noise: blocks that follow each other, whose
//! chunks pass as they are, and blocks that overlap, whose chunks are decoded and merged.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions};
use chronolith::chunk::ChunkBuilder;
use chronolith::compaction::compact;
use chronolith::fs::{Fs, SystemFs};
use chronolith::model::{LabelSet, SampleValue};
use ulid::Ulid;

const SERIES: u32 = 10_000;
/// Two hours of a sample every 15 s.
const SAMPLES: i64 = 480;
const STEP_MS: i64 = 15_000;
const BLOCKS: i64 = 3;

fn block(fs: &Arc<dyn Fs>, dir: &Path, number: i64, start_ms: i64) -> Arc<Block> {
    let ulid = Ulid::from_parts(number as u64 + 1, 1);
    let mut writer = BlockWriter::create(fs.clone(), dir, ulid, WriterOptions::default()).expect("create");
    for index in 0..SERIES {
        let (instance, job) = (format!("node-{:04}", index / 10), format!("job-{}", index % 10));
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

/// The most memory that the process had, mapped files included, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
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
    let before = peak_mib();
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
        peak_mib(),
    );
    outcome.child.expect("samples").discard().expect("discard");
}

fn main() {
    run("apart", SAMPLES * STEP_MS);
    run("overlapping by half", SAMPLES / 2 * STEP_MS);
}
