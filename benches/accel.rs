//! Postings and label look-ups of a block, through its accelerator and through its index.
//!
//! `CHRONOLITH_BENCH_SERIES` sets the number of series, 100,000 where it is not set.

use std::sync::Arc;
use std::time::Instant;

use chronolith::block::accel::{self, AccelState};
use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions};
use chronolith::chunk::XorAppender;
use chronolith::fs::SystemFs;
use chronolith::model::{ChunkEncoding, Label, LabelSet, MatchOp, Matcher, TimeRange};
use chronolith::storage::{Chunk, ChunkBytes, Queryable as _};
use criterion::{Criterion, criterion_group, criterion_main};

/// A matcher's label, operator and value.
type Test = (&'static str, MatchOp, String);

fn series_count() -> usize {
    std::env::var("CHRONOLITH_BENCH_SERIES").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

/// Labels of a fleet: 50 metrics of each pod, five pods on a node, pods in three zones.
fn labels(number: usize, count: usize) -> LabelSet {
    let pods = count.div_ceil(50);
    let (metric, pod) = (number / pods, number % pods);
    let labels = [
        ("__name__", format!("metric_{metric:02}")),
        ("instance", format!("node-{:05}:9100", pod / 5)),
        ("job", "kubelet".to_owned()),
        ("pod", format!("{}-{:08x}-{pod:05}", ["api", "web", "db", "cache"][pod % 4], pod as u32 * 2_654_435)),
        ("series", format!("{:07}", number / 4)),
        ("zone", format!("zone-{}", pod % 3)),
    ];
    LabelSet::from_sorted(labels.iter().map(|(name, value)| Label { name, value }))
}

/// A block with one small chunk for each series.
fn write_block(dir: &std::path::Path, count: usize) -> Arc<Block> {
    let fs = Arc::new(SystemFs);
    let mut writer =
        BlockWriter::create(fs, dir, ulid::Ulid::from_parts(1, 1), WriterOptions::default()).expect("a writer");
    let mut bytes = Vec::new();
    let mut appender = XorAppender::start(&mut bytes, 0, 1.5f64.to_bits());
    appender.append(&mut bytes, 0, 1.5f64.to_bits(), 15_000, 2.5f64.to_bits());
    appender.write_count(&mut bytes);
    let bytes = ChunkBytes::Memory(bytes.into());
    let chunk = [Chunk { range: TimeRange::new(0, 15_000), encoding: ChunkEncoding::Xor, bytes }];
    let mut sets: Vec<LabelSet> = (0..count).map(|number| labels(number, count)).collect();
    sets.sort();
    for set in &sets {
        writer.add(set, &chunk).expect("the series is written");
    }
    let origin = BlockOrigin { max_time_ms: 7_200_000, level: 1, ..BlockOrigin::default() };
    let prepared = writer.finish(origin).expect("the block is written").expect("it has series");
    prepared.publish().expect("the block is published")
}

fn accelerator(criterion: &mut Criterion) {
    let count = series_count();
    let dir = tempfile::tempdir().expect("a directory");
    let block = write_block(dir.path(), count);
    let plain = Block::open(Arc::new(SystemFs), block.dir()).expect("the block opens");
    let start = Instant::now();
    accel::build(&SystemFs, &block).expect("the accelerator is built");
    let built = start.elapsed();
    let start = Instant::now();
    let fast = Block::open(Arc::new(SystemFs), block.dir()).expect("the block opens");
    let opened = start.elapsed();
    assert_eq!((plain.accel_state(), fast.accel_state()), (AccelState::Missing, AccelState::Ready));
    let size = |name: &str| std::fs::metadata(block.dir().join(name)).map_or(0, |data| data.len());
    let (index_bytes, accel_bytes) = (size("index"), size("accel"));
    eprintln!(
        "{count} series: index {index_bytes} bytes, accelerator {accel_bytes} bytes, built in {built:?}, block opened in {opened:?}"
    );

    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let pod = |number: usize| labels(number, count).get("pod").unwrap_or_default().to_owned();
    let thousand: Vec<String> = (0..1000)
        .map(|number| labels(number * (count / 1000).max(1), count).get("series").unwrap_or_default().to_owned())
        .collect();
    let metric = || ("__name__", Equal, "metric_07".to_owned());
    let cases: [(&str, Vec<Test>); 9] = [
        ("all and 2 %", vec![("job", Equal, "kubelet".into()), metric()]),
        ("2 % and a third", vec![metric(), ("zone", Equal, "zone-1".into())]),
        ("2 % and one pod", vec![metric(), ("pod", Equal, pod(17))]),
        ("set of 1000", vec![("series", Regex, thousand.join("|"))]),
        ("prefix", vec![("series", Regex, "00001.*".into())]),
        ("2 % and text inside", vec![metric(), ("pod", Regex, ".*eb-.*7.*".into())]),
        ("text inside", vec![("series", Regex, ".*123.*".into())]),
        ("2 % without a third", vec![metric(), ("zone", NotEqual, "zone-1".into())]),
        ("2 % not of a pattern", vec![metric(), ("pod", NotRegex, "(api|web)-.*".into())]),
    ];
    let mut group = criterion.benchmark_group("block_postings");
    group.sample_size(10);
    for (name, case) in cases {
        let matchers: Vec<Matcher> =
            case.into_iter().map(|(name, op, value)| Matcher::new(name, op, value).expect("a valid pattern")).collect();
        assert_eq!(plain.series_refs(&matchers), fast.series_refs(&matchers), "{name}");
        for (way, block) in [("index", &plain), ("accelerator", &fast)] {
            group.bench_function(format!("{name}, {way}"), |bencher| {
                bencher.iter(|| block.series_refs(&matchers).len());
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("block_labels");
    group.sample_size(10);
    let one_pod = [Matcher::equal("pod", pod(17))];
    let one_metric = [Matcher::equal("__name__", "metric_07")];
    for (name, label, matchers) in [
        ("values of pod", "pod", &[][..]),
        ("values of pod of 2 %", "pod", &one_metric),
        ("values of instance of one pod", "instance", &one_pod),
    ] {
        let values = |block: &Block| {
            let querier = block.querier(TimeRange::ALL).expect("a querier");
            querier.label_values(label, matchers, 0).expect("an answer")
        };
        assert_eq!(values(&plain), values(&fast), "{name}");
        for (way, block) in [("index", &plain), ("accelerator", &fast)] {
            group.bench_function(format!("{name}, {way}"), |bencher| bencher.iter(|| values(block).len()));
        }
    }
    group.finish();
}

criterion_group!(benches, accelerator);
criterion_main!(benches);
