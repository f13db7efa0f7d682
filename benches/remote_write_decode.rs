//! Decoding of remote write 1.0: decompression, the scan into a batch, and both.
//!
//! The requests are those of `bench write`: 2000 series of node exporters with 10 labels, and with 18 long ones.

use chronolith::bench::workload::{PreparedSeries, Shape, Workload};
use chronolith::ingest::remote_write::DecodeLimits;
use chronolith::ingest::remote_write::v1::decode;
use chronolith::ingest::snappy::decompress;
use chronolith::storage::WriteBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const SERIES: u64 = 2000;
const LIMIT: u64 = 32 << 20;

fn message(attributes: usize) -> Vec<u8> {
    let shape = Shape { series: SERIES, attributes, start_ms: 1_760_000_000_000, interval_ms: 15_000 };
    let workload = Workload::new(shape);
    let mut message = Vec::new();
    PreparedSeries::new(&workload, 0, SERIES).write_request(&workload, 7, 0..SERIES as usize, &mut message);
    message
}

fn remote_write_decode(criterion: &mut Criterion) {
    for attributes in [10, 18] {
        let message = message(attributes);
        let compressed = snap::raw::Encoder::new().compress_vec(&message).expect("a message compresses");
        let mut group = criterion.benchmark_group(format!("remote_write_decode/{attributes}_labels"));
        group.throughput(Throughput::Elements(SERIES));
        let mut buffer = Vec::new();
        group.bench_function("snappy", |bencher| {
            bencher.iter(|| decompress(black_box(&compressed), LIMIT, &mut buffer).map(<[u8]>::len));
        });
        group.bench_function("scan", |bencher| {
            let (mut series, mut samples, mut gathered) = (Vec::new(), Vec::new(), Vec::new());
            bencher.iter(|| {
                let mut batch = WriteBatch {
                    series: std::mem::take(&mut series),
                    samples: std::mem::take(&mut samples),
                    ..WriteBatch::default()
                };
                let decoded = decode(black_box(&message), DecodeLimits::default(), &mut gathered, &mut batch);
                let count = decoded.map_or(0, |_| batch.series.len());
                (series, samples) = chronolith::ingest::pool::empty_vectors(batch);
                count
            });
        });
        group.finish();
    }
}

criterion_group!(benches, remote_write_decode);
criterion_main!(benches);
