//! Selection on the index: intersections, negations and patterns over 200,000 series.

use chronolith::index::Index;
use chronolith::model::{Label, MatchOp, Matcher};
use criterion::{Criterion, criterion_group, criterion_main};

const SERIES: u32 = 200_000;

/// A matcher's label, operator and value.
type Test = (&'static str, MatchOp, &'static str);

fn index() -> Index {
    let mut index = Index::new();
    for series in 0..SERIES {
        let labels = [
            ("__name__", format!("metric_{}", series % 50)),
            ("job", "node".to_owned()),
            ("pod", format!("pod-{:05}", series / 50)),
            ("zone", format!("zone-{}", series / 50 % 3)),
        ];
        let pairs: Vec<u32> = labels.iter().map(|(name, value)| index.intern_pair(Label { name, value })).collect();
        index.add_series(series, &pairs);
    }
    index.sort_values();
    index
}

fn select(criterion: &mut Criterion) {
    let index = index();
    let mut group = criterion.benchmark_group("postings");
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let cases: [(&str, &[Test]); 8] = [
        ("all and 2 %", &[("job", Equal, "node"), ("__name__", Equal, "metric_7")]),
        ("2 % and a third", &[("__name__", Equal, "metric_7"), ("zone", Equal, "zone-1")]),
        ("2 % and one pod", &[("__name__", Equal, "metric_7"), ("pod", Equal, "pod-01234")]),
        ("2 % without a third", &[("__name__", Equal, "metric_7"), ("zone", NotEqual, "zone-1")]),
        ("2 % in a list of pods", &[("__name__", Equal, "metric_7"), ("pod", Regex, "pod-00001|pod-00002|pod-03999")]),
        ("2 % with a prefix of pods", &[("__name__", Equal, "metric_7"), ("pod", Regex, "pod-01.*")]),
        ("2 % with a pattern of pods", &[("__name__", Equal, "metric_7"), ("pod", Regex, "pod-.*[13]7")]),
        ("2 % not of a pattern", &[("__name__", Equal, "metric_7"), ("pod", NotRegex, ".*99.*")]),
    ];
    for (name, case) in cases {
        let matchers: Vec<Matcher> =
            case.iter().map(|&(name, op, value)| Matcher::new(name, op, value).expect("a valid pattern")).collect();
        group.bench_function(name, |bencher| bencher.iter(|| index.select(&matchers).len()));
    }
    group.finish();
}

criterion_group!(benches, select);
criterion_main!(benches);
