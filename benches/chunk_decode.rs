//! Decoding of XOR chunks of 120 samples, by the kind of their values.

use chronolith::chunk::{XorAppender, xor};
use chronolith::model::TimeRange;
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
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
