//! Decoding of remote write 1.0 and 2.0: decompression, and the scan into a batch.
//!
//! The requests are those of `bench write`: 2000 series of node exporters with 10 labels, and with 18 long ones; in 2.0 as
//! a Prometheus sends them, with the type and help of each series' metric.

use chronolith::bench::workload::{PreparedSeries, Shape, Workload};
use chronolith::encoding::put;
use chronolith::ingest::WriteFeatures;
use chronolith::ingest::remote_write::{DecodeLimits, v1, v2};
use chronolith::ingest::snappy::decompress;
use chronolith::storage::WriteBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::HashMap;
use std::hint::black_box;

const SERIES: u64 = 2000;
const SCRAPE: u64 = 7;
const LIMIT: u64 = 32 << 20;

fn workload(attributes: usize) -> Workload {
    Workload::new(Shape { series: SERIES, attributes, start_ms: 1_760_000_000_000, interval_ms: 15_000 })
}

fn message_v1(workload: &Workload) -> Vec<u8> {
    let mut message = Vec::new();
    PreparedSeries::new(workload, 0, SERIES).write_request(workload, SCRAPE, 0..SERIES as usize, &mut message);
    message
}

/// Texts by number.
struct Symbols {
    numbers: HashMap<String, u64>,
    fields: Vec<u8>,
}

impl Symbols {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = self.numbers.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        self.fields.push(4 << 3 | 2);
        put::uvarint_slice(&mut self.fields, text.as_bytes());
        number
    }
}

fn message_v2(workload: &Workload) -> Vec<u8> {
    let mut symbols = Symbols { numbers: HashMap::new(), fields: Vec::new() };
    symbols.number("");
    let mut all = Vec::new();
    for number in 0..SERIES {
        let (mut refs, mut series) = (Vec::new(), vec![1 << 3 | 2]);
        let labels = workload.label_set(number);
        for label in labels.iter() {
            for text in [label.name, label.value] {
                put::uvarint(&mut refs, symbols.number(text));
            }
        }
        put::uvarint_slice(&mut series, &refs);
        let sample = workload.sample(number, SCRAPE);
        let mut message = vec![1 << 3 | 1];
        message.extend_from_slice(&sample.value.to_le_bytes());
        message.push(2 << 3);
        put::uvarint(&mut message, sample.timestamp_ms as u64);
        series.push(2 << 3 | 2);
        put::uvarint_slice(&mut series, &message);
        let help = format!("What {} says.", labels.get("__name__").unwrap_or_default());
        let mut metadata = vec![1 << 3, 2, 3 << 3];
        put::uvarint(&mut metadata, symbols.number(&help));
        series.push(5 << 3 | 2);
        put::uvarint_slice(&mut series, &metadata);
        all.push(5 << 3 | 2);
        put::uvarint_slice(&mut all, &series);
    }
    [symbols.fields, all].concat()
}

/// Decodes a message; gives how much of its metadata there was to keep.
type Decode = for<'a> fn(&'a [u8], &'a mut Vec<u8>, &mut WriteBatch<'a>) -> usize;

fn decode_v1<'a>(message: &'a [u8], gathered: &'a mut Vec<u8>, batch: &mut WriteBatch<'a>) -> usize {
    v1::decode(message, DecodeLimits::default(), gathered, batch).map_or(0, |decoded| decoded.metadata.len())
}

fn decode_v2<'a>(message: &'a [u8], gathered: &'a mut Vec<u8>, batch: &mut WriteBatch<'a>) -> usize {
    let (limits, features) = (DecodeLimits::default(), WriteFeatures::default());
    v2::decode(message, limits, features, gathered, batch).map_or(0, |decoded| decoded.metadata.len())
}

fn remote_write_decode(criterion: &mut Criterion) {
    for attributes in [10, 18] {
        let workload = workload(attributes);
        let versions: [(&str, Vec<u8>, Decode); 2] =
            [("1.0", message_v1(&workload), decode_v1), ("2.0", message_v2(&workload), decode_v2)];
        let mut group = criterion.benchmark_group(format!("remote_write_decode/{attributes}_labels"));
        group.throughput(Throughput::Elements(SERIES));
        for (version, message, decode) in versions {
            let compressed = snap::raw::Encoder::new().compress_vec(&message).expect("a message compresses");
            println!("{version}, {attributes} labels: {} bytes, {} compressed", message.len(), compressed.len());
            let mut buffer = Vec::new();
            group.bench_function(format!("{version}/snappy"), |bencher| {
                bencher.iter(|| decompress(black_box(&compressed), LIMIT, &mut buffer).map(<[u8]>::len));
            });
            group.bench_function(format!("{version}/scan"), |bencher| {
                let (mut series, mut samples, mut gathered) = (Vec::new(), Vec::new(), Vec::new());
                bencher.iter(|| {
                    let mut batch = WriteBatch {
                        series: std::mem::take(&mut series),
                        samples: std::mem::take(&mut samples),
                        ..WriteBatch::default()
                    };
                    let count = decode(black_box(&message), &mut gathered, &mut batch) + batch.series.len();
                    (series, samples) = chronolith::ingest::pool::empty_vectors(batch);
                    count
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, remote_write_decode);
criterion_main!(benches);
