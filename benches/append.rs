//! The head's write path: CPU time per sample and per new series, and memory per series.
//!
//! With `--replay` the records are kept, and replayed into a second head with the chunk files of the first.
//!
//! Not a criterion benchmark: one run over many series is what shows memory and cache misses as they are in service.
//!
//! ```text
//! cargo bench --bench append -- [--series 1000000] [--scrapes 240] [--labels 18] [--replay 1]
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronolith::fs::{SystemFs, resident_bytes};
use chronolith::head::{Head, HeadOptions};
use chronolith::model::raw_labels::encode_canonical;
use chronolith::model::{Label, RawLabels, Sample};
use chronolith::storage::{SeriesEntry, WriteBatch};
use chronolith::wal::{GroupSource, RecordPosition, ReplaySink};

/// Series of one target; they share its labels.
const SERIES_PER_TARGET: usize = 50;
/// Series of one request.
const BATCH_SERIES: usize = 2000;
const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_767_225_600_000;

/// The label bytes of one series: a metric name, labels of its target, and long ones that all share.
fn labels(series: usize, count: usize, out: &mut Vec<u8>) {
    let target = series / SERIES_PER_TARGET;
    let metric = series % SERIES_PER_TARGET;
    let mut labels = vec![
        ("__name__".to_owned(), format!("container_metric_number_{metric}_bytes_total")),
        ("container".to_owned(), format!("container-{}", target % 7)),
        ("instance".to_owned(), format!("10.{}.{}.{}:9100", target >> 16, (target >> 8) & 255, target & 255)),
        ("job".to_owned(), "kubernetes-cadvisor".to_owned()),
        ("namespace".to_owned(), format!("namespace-{}", target % 40)),
        (
            "node".to_owned(),
            format!("ip-10-0-{}-{}.eu-central-1.compute.internal", (target / 30) >> 8, (target / 30) & 255),
        ),
        ("pod".to_owned(), format!("workload-{}-{:08x}-{:05x}", target % 300, target * 2_654_435_761, target)),
    ];
    for extra in labels.len()..count {
        labels.push((format!("zz_label_{extra:02}"), format!("shared-value-of-a-longer-kind-{}", extra + target % 3)));
    }
    labels.truncate(count);
    out.clear();
    encode_canonical(labels.iter().map(|(name, value)| Label { name, value }), out);
}

/// A value that walks: a third of the samples repeat, as in service.
fn value(series: usize, scrape: usize) -> f64 {
    let step = (series * 31 + scrape) / 3;
    (series % 1000 * 100_000 + step * (1 + series % 17)) as f64
}

/// CPU time of this process.
fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    let (series, scrapes) = (argument("--series", 200_000), argument("--scrapes", 240));
    let label_count = argument("--labels", 18);
    let dir = tempfile::tempdir_in(option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".")).expect("temporary directory");
    let path = |name: &str| Path::join(dir.path(), name);
    let (head, _) = Head::open(HeadOptions::default(), Arc::new(SystemFs), &path("chunks_head"), &path("quarantine"))
        .expect("open head");
    // All requests' label bytes are made outside of what is measured.
    let (mut bytes, mut ends, mut one) = (Vec::new(), vec![0], Vec::new());
    for index in 0..series {
        labels(index, label_count, &mut one);
        bytes.extend_from_slice(&one);
        ends.push(bytes.len());
    }
    println!("{series} series, {} B of labels each", bytes.len() / series);
    let start_bytes = resident_bytes().expect("memory").1;
    let mut known = Duration::ZERO;
    let mut bytes_logged = 0usize;
    let keeps_log = argument("--replay", 0) > 0;
    let mut log = Vec::new();
    for scrape in 0..scrapes {
        let mut spent = Duration::ZERO;
        for first in (0..series).step_by(BATCH_SERIES) {
            let count = BATCH_SERIES.min(series - first);
            let mut batch = WriteBatch::default();
            for index in 0..count {
                let offset_ms = ((first + index) / SERIES_PER_TARGET * 37 % INTERVAL_MS as usize) as i64;
                let timestamp_ms = START_MS + scrape as i64 * INTERVAL_MS + offset_ms;
                batch.samples.push(Sample { timestamp_ms, value: value(first + index, scrape) });
                batch.series.push(SeriesEntry {
                    labels: RawLabels(&bytes[ends[first + index]..ends[first + index + 1]]),
                    samples: index as u32..index as u32 + 1,
                });
            }
            let before = cpu();
            let outcome = head.append(&batch, START_MS + (scrape as i64 + 1) * INTERVAL_MS);
            spent += cpu() - before;
            assert_eq!(outcome.added, count as u64, "{:?}", outcome.rejects);
            let group = head.take_records();
            bytes_logged += group.records.iter().map(Vec::len).sum::<usize>();
            if let Some(on_durable) = group.on_durable {
                on_durable();
            }
            if keeps_log {
                log.extend(group.records);
            } else {
                head.recycle(group.records);
            }
        }
        if scrape == 0 {
            let each = spent.as_nanos() as f64 / series as f64;
            let memory = (resident_bytes().expect("memory").1 - start_bytes) as f64 / series as f64;
            println!("new series: {each:.0} ns of CPU each; {memory:.0} B of anonymous memory each");
        } else {
            known += spent;
        }
    }
    let waiting = head.flush_chunks();
    let samples = (series * (scrapes - 1)).max(1) as f64;
    let memory = resident_bytes().expect("memory");
    println!("known series: {:.0} ns of CPU per sample", known.as_nanos() as f64 / samples);
    println!("log records: {:.1} B per sample before compression", bytes_logged as f64 / (series * scrapes) as f64);
    println!(
        "after {scrapes} scrapes: {:.0} B of anonymous memory per series ({} MiB in all), {waiting} chunks not written",
        (memory.1 - start_bytes) as f64 / series as f64,
        memory.1 >> 20
    );
    let timer = Instant::now();
    let stats = head.stats();
    let each = |bytes: usize| bytes / series;
    println!(
        "of these: rows {}, label numbers {}, open chunks {}, full chunks {}, symbols {}, pairs {}, postings {} ({:?})",
        each(stats.row_bytes),
        each(stats.label_bytes),
        each(stats.open_chunk_bytes),
        each(stats.full_chunk_bytes),
        each(stats.index.symbol_bytes),
        each(stats.index.pair_bytes),
        each(stats.index.postings_bytes),
        timer.elapsed()
    );
    drop(head);
    if keeps_log {
        replay(&log, &path("chunks_head"), &path("quarantine"));
        replay(&log, &path("no_chunks"), &path("quarantine"));
    }
}

/// Replays the records into a new head on the chunk files that are there, and says how fast.
fn replay(log: &[Vec<u8>], chunks_dir: &Path, quarantine_dir: &Path) {
    let (timer, before) = (Instant::now(), cpu());
    let (head, loaded) =
        Head::open(HeadOptions::default(), Arc::new(SystemFs), chunks_dir, quarantine_dir).expect("open head");
    let mut replay = head.replay(0).expect("start threads");
    let position = RecordPosition::default();
    for record in log {
        replay.record(position, record.clone()).expect("replay");
    }
    let report = replay.finish().expect("replay");
    let samples = (report.samples + report.samples_in_files) as f64;
    println!(
        "replay of {} series, {samples} samples beside {} chunks in files: {:.2} s, {:.0} ns of CPU per sample",
        report.series,
        loaded.chunks,
        timer.elapsed().as_secs_f64(),
        (cpu() - before).as_nanos() as f64 / samples
    );
}
