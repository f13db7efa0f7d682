//! Remote write messages of both versions: what was decoded and is written again, as version 1, decodes to the same.

use chronolith::encoding::put;
use chronolith::ingest::accept::WriteFeatures;
use chronolith::ingest::remote_write::{DecodeLimits, v1, v2};
use chronolith::model::Label;
use chronolith::model::raw_labels::encode_canonical;
use chronolith::storage::WriteBatch;

use super::{Target, no_repair};

pub(super) const V1: Target = Target {
    name: "remote-write-1",
    seeds,
    words: &[
        b"\x0a\x00",
        b"\x12\x00",
        b"\x1a\x00",
        b"\x22\x00",
        b"\x0a\x08\x0a\x01a\x12\x01b",
        b"\x12\x0b\x09",
        b"\x10\x01",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"__name__",
    ],
    repair: no_repair,
    run,
    bytes_fixed: 64 << 10,
    // An empty sample of two bytes is sixteen of a batch that may have just doubled; written again and decoded again.
    bytes_each: 300,
};

pub(super) const V2: Target = Target {
    name: "remote-write-2",
    seeds: seeds_v2,
    words: &[
        b"\x22\x00",
        b"\x2a\x00",
        b"\x0a\x02\x01\x02",
        b"\x0a\x02\x00\x00",
        b"\x12\x00",
        b"\x1a\x00",
        b"\x2a\x02\x08\x01",
        b"\x30\x01",
        b"\xff\xff\xff\xff\x0f",
        b"\x22\x08__name__",
    ],
    run: run_v2,
    // The labels of all series, written out, in a vector that has just doubled, and written again.
    bytes_fixed: 16 << 20,
    ..V1
};

const LIMITS: DecodeLimits = DecodeLimits { series: 10_000, samples: 100_000, symbols: 10_000, label_bytes: 1 << 20 };

fn message(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    put::uvarint_slice(out, content);
}

fn sample(value: f64, timestamp_ms: i64) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend(value.to_le_bytes());
    out.push(0x10);
    put::uvarint(&mut out, timestamp_ms as u64);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let mut series = Vec::new();
    let labels = [("__name__", "up"), ("instance", "localhost:9090"), ("job", "node")];
    encode_canonical(labels.into_iter().map(|(name, value)| Label { name, value }), &mut series);
    let labels = series.clone();
    message(&mut series, 2, &sample(1.5, 1_700_000_000_000));
    message(&mut series, 2, &sample(-0.0, -5));
    let mut exemplar = labels.clone();
    exemplar.push(0x11);
    exemplar.extend(0.25f64.to_le_bytes());
    exemplar.extend([0x18, 7]);
    message(&mut series, 3, &exemplar);
    let mut histogram = vec![0x08, 12, 0x19];
    histogram.extend(18.4f64.to_le_bytes());
    histogram.extend([0x20, 1, 0x29]);
    histogram.extend(0.001f64.to_le_bytes());
    histogram.extend([0x30, 2, 0x5a, 4, 0x08, 0, 0x10, 2, 0x62, 2, 2, 2, 0x78, 9]);
    let mut with_histogram = labels;
    message(&mut with_histogram, 4, &histogram);
    let mut metadata = vec![0x08, 1];
    message(&mut metadata, 2, b"up");
    message(&mut metadata, 4, b"Whether it is up.");
    let mut all = Vec::new();
    message(&mut all, 1, &series);
    message(&mut all, 1, &with_histogram);
    message(&mut all, 3, &metadata);
    let mut one = Vec::new();
    message(&mut one, 1, &series);
    vec![all, one, Vec::new()]
}

fn seeds_v2() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for symbol in ["", "__name__", "up_total", "job", "node", "trace_id", "x", "Help.", "seconds"] {
        message(&mut all, 4, symbol.as_bytes());
    }
    let mut series = Vec::new();
    message(&mut series, 1, &[1, 2, 3, 4]);
    message(&mut series, 2, &sample(1.5, 1_700_000_000_000));
    message(&mut series, 2, &[&*sample(-0.0, 1_700_000_001_000), b"\x18\x05"].concat());
    let mut exemplar = Vec::new();
    message(&mut exemplar, 1, &[5, 6]);
    exemplar.push(0x11);
    exemplar.extend(0.25f64.to_le_bytes());
    exemplar.extend([0x18, 7]);
    message(&mut series, 4, &exemplar);
    message(&mut series, 5, &[0x08, 1, 0x18, 7, 0x20, 8]);
    let mut created = series.clone();
    created.extend([0x30, 9]);
    message(&mut all, 5, &series);
    message(&mut all, 5, &created);
    vec![all]
}

fn run(input: &[u8]) -> bool {
    let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
    let Ok(decoded) = v1::decode(input, LIMITS, &mut gathered, &mut batch) else { return false };
    assert!(decoded.metadata.iter().all(|known| known.help.len() <= input.len()));
    check(&batch);
    !batch.series.is_empty()
}

fn run_v2(input: &[u8]) -> bool {
    let mut taken = false;
    for on in [false, true] {
        let features = WriteFeatures { start_zeros: on, type_and_unit_labels: on };
        let (mut gathered, mut batch) = (Vec::new(), WriteBatch::default());
        let Ok(decoded) = v2::decode(input, LIMITS, features, &mut gathered, &mut batch) else { continue };
        assert!(decoded.metadata.len() <= LIMITS.series);
        let labels: usize = batch.series.iter().map(|entry| entry.labels.0.len()).sum();
        assert!(labels <= LIMITS.label_bytes * 2, "{labels} bytes of labels");
        check(&batch);
        taken |= !batch.series.is_empty();
    }
    taken
}

/// What is in a batch is within the bounds, and there again when it is written as a message and decoded.
fn check(batch: &WriteBatch<'_>) {
    assert!(batch.series.len() <= LIMITS.series && batch.samples.len() <= LIMITS.samples);
    let mut again = Vec::new();
    let mut next = 0;
    for (index, entry) in batch.series.iter().enumerate() {
        assert_eq!(entry.samples.start, next, "samples follow each other");
        next = entry.samples.end;
        // Valid or not, it has to be told without a panic.
        let _ = entry.labels.to_label_set();
        let mut series = entry.labels.0.to_vec();
        for one in batch.samples_of(index) {
            message(&mut series, 2, &sample(one.value, one.timestamp_ms));
        }
        for exemplar in batch.exemplars.iter().filter(|exemplar| exemplar.entry as usize == index) {
            let mut bytes = exemplar.labels.0.to_vec();
            bytes.push(0x11);
            bytes.extend(exemplar.value.to_le_bytes());
            bytes.push(0x18);
            put::uvarint(&mut bytes, exemplar.timestamp_ms as u64);
            message(&mut series, 3, &bytes);
        }
        message(&mut again, 1, &series);
    }
    assert_eq!(next as usize, batch.samples.len());
    let (mut gathered, mut second) = (Vec::new(), WriteBatch::default());
    let wide = DecodeLimits::default();
    v1::decode(&again, wide, &mut gathered, &mut second).expect("what was decoded is written well");
    let bits = |batch: &WriteBatch<'_>| -> Vec<_> {
        batch.samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect()
    };
    assert_eq!(bits(batch), bits(&second));
    let exemplars = |batch: &WriteBatch<'_>| -> Vec<_> {
        let of = batch.exemplars.iter();
        of.map(|it| (it.labels.0.to_vec(), it.timestamp_ms, it.value.to_bits())).collect()
    };
    assert_eq!(exemplars(batch), exemplars(&second));
    // An entry of native histograms alone is not written again.
    let labels = |batch: &WriteBatch<'_>, has_histograms: &dyn Fn(usize) -> bool| -> Vec<Vec<u8>> {
        let kept = batch.series.iter().enumerate().filter(|(index, _)| !has_histograms(*index));
        kept.map(|(_, entry)| entry.labels.0.to_vec()).collect()
    };
    let is_bare = |index: usize| {
        batch.samples_of(index).is_empty() && !batch.exemplars.iter().any(|exemplar| exemplar.entry as usize == index)
    };
    assert_eq!(labels(batch, &is_bare), labels(&second, &|_| false));
}
