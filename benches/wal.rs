//! The log's hot paths: encoding samples, writing a group without the disk's part, and reading a log back.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use chronolith::clock::SystemClock;
use chronolith::fs::SystemFs;
use chronolith::model::Digest;
use chronolith::wal::record::{self, SamplesEncoder};
use chronolith::wal::{
    Compression, Durability, GroupRecords, GroupWriter, LogScan, RecordPosition, ReplayProgress, ReplaySink, Resume,
    WalError, WalOptions, scan,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Samples of one record: one scrape of a shard.
const SAMPLES: u64 = 2_000;
/// Records of one group: one of each shard.
const RECORDS: u64 = 16;

/// A scrape of gauges: one time, slowly changing values.
fn samples(scrape: i64, shard: u64) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
    for index in 0..SAMPLES {
        let value = (index % 97) as f64 + (scrape % 7) as f64 * 0.25;
        encoder.push(&mut record, index * RECORDS + shard, 1_700_000_000_000 + scrape * 15_000, value);
    }
    record
}

fn group(scrape: i64) -> GroupRecords {
    GroupRecords { records: (0..RECORDS).map(|shard| samples(scrape, shard)).collect(), on_durable: None }
}

fn writer(dir: PathBuf, compression: Compression) -> GroupWriter {
    let options = WalOptions { durability: Durability::None, compression, ..WalOptions::default() };
    GroupWriter::new(Arc::new(SystemFs), dir, Resume::default(), options, Arc::new(SystemClock::default()))
}

/// Decodes every sample, as replay does.
struct Decode(u64);

impl ReplaySink for Decode {
    fn record(&mut self, _position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        for sample in record::samples(record.get(1..).unwrap_or_default()).flatten() {
            self.0 = self.0.wrapping_add(sample.value.to_bits());
        }
        Ok(())
    }
}

fn read(dir: &std::path::Path) -> LogScan {
    let mut sink = Decode(0);
    let Ok(log) = scan(&SystemFs, dir, &mut sink, &ReplayProgress::default()) else {
        panic!("the log cannot be read");
    };
    black_box(sink.0);
    log
}

fn wal(criterion: &mut Criterion) {
    let mut group_of = criterion.benchmark_group("wal");
    group_of.throughput(Throughput::Elements(SAMPLES));
    group_of.bench_function("encode_samples", |bencher| bencher.iter(|| black_box(samples(1, 1))));
    let record = samples(1, 1);
    group_of.bench_function("decode_samples", |bencher| {
        bencher.iter(|| record::samples(&record[1..]).flatten().map(|sample| sample.value).sum::<f64>());
    });
    group_of.throughput(Throughput::Elements(SAMPLES * RECORDS));
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let Ok(dir) = tempfile::tempdir() else { return };
        let mut log = writer(dir.path().join("wal"), compression);
        let mut scrape = 0;
        group_of.bench_function(format!("write_{}", compression.as_str()), |bencher| {
            bencher.iter_batched(
                || {
                    scrape += 1;
                    group(scrape)
                },
                |records| {
                    log.form_group(&[(SAMPLES * RECORDS, Digest::ZERO)], records, false);
                    black_box(log.write_pending().0.len())
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group_of.sample_size(10);
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let Ok(dir) = tempfile::tempdir() else { return };
        let dir = dir.path().join("wal");
        let mut log = writer(dir.clone(), compression);
        for scrape in 0..50 {
            log.form_group(&[(SAMPLES * RECORDS, Digest::ZERO)], group(scrape), false);
            black_box(log.write_pending().0.len());
        }
        group_of.throughput(Throughput::Elements(read(&dir).sealed_samples));
        group_of.bench_function(format!("replay_{}", compression.as_str()), |bencher| bencher.iter(|| read(&dir)));
    }
    group_of.finish();
}

criterion_group!(benches, wal);
criterion_main!(benches);
