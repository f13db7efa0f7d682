//! Blocks of 100,000 series (`CHRONOLITH_BENCH_SERIES` for more): writing, selecting, reading.

use std::path::Path;
use std::sync::Arc;

use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions, check};
use chronolith::chunk::XorAppender;
use chronolith::fs::SystemFs;
use chronolith::model::{ChunkEncoding, LabelSet, MatchOp, Matcher, TimeRange};
use chronolith::storage::{Chunk, ChunkBytes, Column, Queryable as _, SelectHints};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ulid::Ulid;

const SAMPLES: i64 = 120;
const STEP_MS: i64 = 15_000;

fn series_count() -> usize {
    std::env::var("CHRONOLITH_BENCH_SERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

fn chunk(series: usize) -> Chunk {
    let mut bytes = Vec::new();
    let value = |index: i64| (series as f64 + (index / 4) as f64).to_bits();
    let mut appender = XorAppender::start(&mut bytes, 0, value(0));
    for index in 1..SAMPLES {
        appender.append(&mut bytes, (index - 1) * STEP_MS, value(index - 1), index * STEP_MS, value(index));
    }
    appender.write_count(&mut bytes);
    let range = TimeRange::new(0, (SAMPLES - 1) * STEP_MS);
    Chunk { range, encoding: ChunkEncoding::Xor, bytes: ChunkBytes::Memory(bytes.into()) }
}

/// 50 metrics of pods that each have a name, a zone and an image.
fn series() -> Vec<(LabelSet, Chunk)> {
    let mut series: Vec<(LabelSet, Chunk)> = (0..series_count())
        .map(|number| {
            let (metric, pod) = (format!("metric_{:02}", number % 50), format!("pod-{:06}", number / 50));
            let (zone, image) = (format!("zone-{}", number / 50 % 3), format!("image-{}", number / 50 % 40));
            let labels =
                [("__name__", &*metric), ("image", &*image), ("job", "node"), ("pod", &*pod), ("zone", &*zone)];
            (LabelSet::from_pairs(labels), chunk(number))
        })
        .collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

fn write(dir: &Path, series: &[(LabelSet, Chunk)]) -> Arc<Block> {
    let mut writer = BlockWriter::create(Arc::new(SystemFs), dir, Ulid::from_parts(1, 1), WriterOptions::default())
        .expect("a block of the bench works");
    for (labels, chunk) in series {
        writer.add(labels, std::slice::from_ref(chunk)).expect("a block of the bench works");
    }
    let origin = BlockOrigin { max_time_ms: SAMPLES * STEP_MS, level: 1, ..BlockOrigin::default() };
    writer
        .finish(origin)
        .expect("a block of the bench works")
        .expect("a block of the bench works")
        .publish()
        .expect("a block of the bench works")
}

fn blocks(criterion: &mut Criterion) {
    let series = series();
    let mut group = criterion.benchmark_group("block");
    group.sample_size(10);
    group.throughput(Throughput::Elements(series.len() as u64));
    group.bench_function("write, series", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir().expect("a block of the bench works"),
            |dir| {
                write(dir.path(), &series);
                dir
            },
            criterion::BatchSize::PerIteration,
        );
    });
    let dir = tempfile::tempdir().expect("a block of the bench works");
    let block = write(dir.path(), &series);
    group.bench_function("open", |bencher| {
        bencher.iter(|| Block::open(Arc::new(SystemFs), block.dir()).expect("a block of the bench works"));
    });
    group.bench_function("check, series", |bencher| {
        bencher.iter(|| assert!(check(&block, &mut |_| {}).is_good()));
    });
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let cases: [(&str, &[(&str, MatchOp, &str)]); 6] = [
        ("2 %", &[("job", Equal, "node"), ("__name__", Equal, "metric_07")]),
        ("2 % and one pod", &[("__name__", Equal, "metric_07"), ("pod", Equal, "pod-000123")]),
        ("2 % without a third", &[("__name__", Equal, "metric_07"), ("zone", NotEqual, "zone-1")]),
        ("2 % with a prefix of pods", &[("__name__", Equal, "metric_07"), ("pod", Regex, "pod-0001.*")]),
        ("2 % not of a pattern", &[("__name__", Equal, "metric_07"), ("pod", NotRegex, ".*99.*")]),
        ("one pod", &[("pod", Equal, "pod-000123")]),
    ];
    for (name, case) in cases {
        let matchers: Vec<Matcher> = case
            .iter()
            .map(|&(name, op, value)| Matcher::new(name, op, value).expect("a block of the bench works"))
            .collect();
        let querier = block.querier(TimeRange::ALL).expect("a block of the bench works");
        let select = || querier.select(&matchers, &SelectHints::default()).expect("a block of the bench works");
        group.throughput(Throughput::Elements(select().len() as u64));
        group.bench_function(format!("select {name}, series"), |bencher| bencher.iter(select));
    }
    let querier = block.querier(TimeRange::ALL).expect("a block of the bench works");
    let all = querier
        .select(&[Matcher::equal("zone", "zone-1")], &SelectHints::default())
        .expect("a block of the bench works");
    group.throughput(Throughput::Elements(all.len() as u64 * SAMPLES as u64));
    group.bench_function("read a third, samples", |bencher| {
        let mut column = Column::default();
        bencher.iter(|| {
            for series in &all {
                column.clear();
                series.samples.read(TimeRange::ALL, &mut column).expect("a block of the bench works");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
