//! Decoding of chunks: XOR of 120 samples by the kind of their values, native histograms of 120 samples and 20 buckets.

use chronolith::chunk::{self, HistogramAppender, HistogramRef, XorAppender, xor};
use chronolith::model::histogram::BucketSpan;
use chronolith::model::{ChunkEncoding, Histogram, TimeRange};
use chronolith::storage::Column;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SAMPLES: usize = 120;

/// A chunk of samples 15 s apart, give or take `jitter_ms`.
fn chunk(jitter_ms: u64, value: impl Fn(u64) -> f64) -> Vec<u8> {
    let mut out = Vec::new();
    let sample = |i: u64| (i as i64 * 15_000 + (i * 7919 % (jitter_ms + 1)) as i64, value(i).to_bits());
    let (mut last_ms, mut last_bits) = sample(0);
    let mut appender = XorAppender::start(&mut out, last_ms, last_bits);
    for i in 1..SAMPLES as u64 {
        let (timestamp_ms, bits) = sample(i);
        appender.append(&mut out, last_ms, last_bits, timestamp_ms, bits);
        (last_ms, last_bits) = (timestamp_ms, bits);
    }
    appender.write_count(&mut out);
    out
}

/// Counter histograms 15 s apart, each bucket growing at a pace of its own.
fn histograms(is_float: bool) -> (ChunkEncoding, Vec<u8>) {
    const BUCKETS: u64 = 20;
    let histogram = |i: u64| {
        let counts: Vec<u64> = (0..BUCKETS).map(|bucket| i * (bucket + 1) + i * i * bucket % 7).collect();
        Histogram {
            schema: 3,
            zero_threshold: 0.001,
            count: counts.iter().sum(),
            sum: i as f64 * 1.25,
            positive_spans: vec![BucketSpan { offset: -4, length: 12 }, BucketSpan { offset: 3, length: 8 }],
            positive_deltas: counts
                .iter()
                .scan(0, |before, &count| {
                    let delta = count as i64 - *before;
                    *before = count as i64;
                    Some(delta)
                })
                .collect(),
            ..Histogram::default()
        }
    };
    let samples: Vec<_> =
        (0..SAMPLES as u64).map(|i| (i as i64 * 15_000, histogram(i), histogram(i).to_float())).collect();
    let value = |i: usize| {
        let (timestamp_ms, integer, float) = &samples[i];
        (*timestamp_ms, if is_float { HistogramRef::Float(float) } else { HistogramRef::Integer(integer) })
    };
    let (first_ms, first) = value(0);
    let mut appender = HistogramAppender::start(first_ms, first);
    for (timestamp_ms, histogram) in (1..SAMPLES).map(value) {
        assert_eq!(appender.append(timestamp_ms, histogram), None);
    }
    let finished = appender.finish();
    (finished.encoding, finished.bytes)
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk_decode");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let random = |i: u64| f64::from_bits(0x3ff0_0000_0000_0000 | i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12);
    for (name, chunk) in [
        ("constant", chunk(0, |_| 1.0)),
        ("counter", chunk(0, |i| (1_000_000 + i * 17) as f64)),
        ("counter with jitter", chunk(20, |i| (1_000_000 + i * 17) as f64)),
        ("random", chunk(20, random)),
    ] {
        let mut column = Column::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                column.clear();
                xor::decode_into(&chunk, TimeRange::ALL, &mut column).map(|()| column.len())
            });
        });
    }
    for (name, is_float) in [("histogram", false), ("float histogram", true)] {
        let (encoding, chunk) = histograms(is_float);
        let mut column = Column::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                column.clear();
                chunk::decode_into(encoding, &chunk, TimeRange::ALL, &mut column).map(|()| column.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
