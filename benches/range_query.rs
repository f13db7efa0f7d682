//! Range queries over 10,000 series in memory: an hour of samples every 15 s, asked for every minute.

use std::hint::black_box;
use std::sync::Arc;

use chronolith::clock::SystemClock;
use chronolith::model::LabelSet;
use chronolith::promql::engine::{Engine, EngineOptions, QueryOptions};
use chronolith::promql::parser::parse_expr;
use chronolith::promql::testing::MemoryStorage;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SERIES: usize = 10_000;
const SAMPLES: usize = 240;
const INTERVAL_MS: i64 = 15_000;

const QUERIES: [&str; 6] = [
    "sum by (zone) (rate(requests_total[5m]))",
    "avg_over_time(requests_total[5m])",
    "sum(requests_total)",
    "requests_total * 2",
    "topk(5, requests_total)",
    "sum by (instance) (requests_total) / on (instance) group_left () count by (instance) (requests_total)",
];

fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for series in 0..SERIES {
        let instance = format!("host-{:04}:9100", series / 10);
        let path = format!("/api/{}", series % 10);
        let zone = format!("zone-{}", series % 7);
        let labels = LabelSet::from_pairs([
            ("__name__", "requests_total"),
            ("instance", instance.as_str()),
            ("job", "api"),
            ("path", path.as_str()),
            ("zone", zone.as_str()),
        ]);
        for sample in 0..SAMPLES {
            // A counter whose slope and jitter differ from series to series, with a reset now and then.
            let since_reset = (sample + series) % 200;
            let value = (since_reset * (series % 13 + 1)) as f64 + (series % 3) as f64 * 0.1;
            storage.append(&labels, sample as i64 * INTERVAL_MS + (series % 100) as i64, value);
        }
    }
    storage
}

fn range_query(criterion: &mut Criterion) {
    let storage = storage();
    let end_ms = SAMPLES as i64 * INTERVAL_MS;
    let mut group = criterion.benchmark_group("range_query");
    group.sample_size(10);
    group.throughput(Throughput::Elements((SERIES * SAMPLES) as u64));
    for query in QUERIES {
        let Ok(expr) = parse_expr(query) else { continue };
        for parallelism in [1, 2] {
            let options = EngineOptions { parallelism, ..EngineOptions::default() };
            let engine = Engine::new(options, Arc::new(SystemClock::default()));
            group.bench_function(BenchmarkId::new(query, parallelism), |bencher| {
                bencher.iter(|| black_box(engine.range(&storage, &expr, 0, end_ms, 60_000, &QueryOptions::default())));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, range_query);
criterion_main!(benches);
