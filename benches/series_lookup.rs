//! Look-up of known series by their label bytes: requests whose samples are all repeats, so that nothing is added.

use chronolith::head::{Head, HeadOptions};
use chronolith::model::raw_labels::encode_canonical;
use chronolith::model::{LabelSet, RawLabels, Sample};
use chronolith::storage::{SeriesEntry, WriteBatch};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const BATCH_SERIES: usize = 2000;

/// Canonical label bytes of `count` series with `labels` labels each.
fn label_bytes(count: usize, labels: usize) -> Vec<Vec<u8>> {
    let one = |series: usize| {
        let mut pairs = vec![("__name__".to_owned(), format!("metric_{}_total", series % 50))];
        pairs.push(("instance".to_owned(), format!("10.0.{}.{}:9100", series / 50 / 256, series / 50 % 256)));
        pairs.extend(
            (pairs.len()..labels)
                .map(|label| (format!("label_{label:02}"), format!("a-value-of-usual-length-{label}"))),
        );
        let mut out = Vec::new();
        encode_canonical(LabelSet::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).iter(), &mut out);
        out
    };
    (0..count).map(one).collect()
}

fn batch(series: &[Vec<u8>]) -> WriteBatch<'_> {
    let entry = |(index, labels)| SeriesEntry { labels: RawLabels(labels), samples: index..index + 1 };
    WriteBatch {
        series: (0u32..).zip(series.iter().map(Vec::as_slice)).map(entry).collect(),
        samples: vec![Sample { timestamp_ms: 1, value: 1.0 }; series.len()],
        ..WriteBatch::default()
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("series_lookup");
    group.throughput(Throughput::Elements(BATCH_SERIES as u64));
    for (count, labels) in [(2_000, 10), (200_000, 10), (200_000, 18)] {
        let series = label_bytes(count, labels);
        let head = Head::in_memory(HeadOptions::default());
        let batches: Vec<WriteBatch<'_>> = series.chunks(BATCH_SERIES).map(batch).collect();
        for batch in &batches {
            head.append(batch, 0);
        }
        let mut next = batches.iter().cycle();
        group.bench_function(format!("{count} series of {labels} labels"), |bencher| {
            bencher.iter_batched(
                || next.next(),
                |batch| batch.map(|batch| head.append(batch, 0)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
