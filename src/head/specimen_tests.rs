//! What a Prometheus 3.5 stored of native histograms, against what it was sent: its chunks are read, and written from
//! the same samples byte by byte, and its log is replayed.
//!
//! `tests/it/interop/histograms.rs` says how the specimens came about, and makes them anew.

use std::collections::BTreeMap;
use std::path::Path;

use super::tests::open;
use super::*;
use crate::chunk::{self, HistogramAppender, HistogramRef};
use crate::encoding::{Cursor, crc32c};
use crate::fs::SystemFs;
use crate::model::histogram::BucketSpan;
use crate::model::{ChunkEncoding, CounterResetHint, Digest, FloatHistogram, Histogram, LabelSet, SampleValue};
use crate::storage::{Column, Queryable, SelectHints};
use crate::wal::{ReplayProgress, scan};

type Series = BTreeMap<String, Vec<(i64, SampleValue)>>;

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/histograms")
}

fn list<T>(text: &str, read: impl Fn(&str) -> T) -> Vec<T> {
    text.split(',').filter(|entry| *entry != "-").map(read).collect()
}

fn bits(text: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(text, 16).unwrap())
}

fn spans(text: &str) -> Vec<BucketSpan> {
    list(text, |span| {
        let (offset, length) = span.split_once(':').unwrap();
        BucketSpan { offset: offset.parse().unwrap(), length: length.parse().unwrap() }
    })
}

/// What Prometheus was sent. It takes a float that marks staleness for a marker of the kind that precedes it.
fn sent() -> Series {
    let mut series = Series::new();
    for line in include_str!("../../testdata/histograms/sent.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let samples = series.entry(fields[1].to_owned()).or_default();
        let hint = |text| match text {
            "1" => CounterResetHint::Reset,
            "2" => CounterResetHint::NotReset,
            "3" => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        };
        let integer = |text: &str| text.parse::<u64>().unwrap();
        let value = match fields[3] {
            "value" => match samples.last() {
                Some((_, SampleValue::Histogram(_))) if SampleValue::Float(bits(fields[4])).is_stale() => {
                    SampleValue::Histogram(Box::new(Histogram::stale()))
                }
                Some((_, SampleValue::FloatHistogram(_))) if SampleValue::Float(bits(fields[4])).is_stale() => {
                    SampleValue::FloatHistogram(Box::new(FloatHistogram::stale()))
                }
                _ => SampleValue::Float(bits(fields[4])),
            },
            "int" => SampleValue::Histogram(Box::new(Histogram {
                counter_reset_hint: hint(fields[4]),
                schema: fields[5].parse().unwrap(),
                zero_threshold: bits(fields[6]),
                zero_count: integer(fields[7]),
                count: integer(fields[8]),
                sum: bits(fields[9]),
                positive_spans: spans(fields[10]),
                positive_deltas: list(fields[11], |delta| delta.parse().unwrap()),
                negative_spans: spans(fields[12]),
                negative_deltas: list(fields[13], |delta| delta.parse().unwrap()),
                custom_values: list(fields[14], bits),
            })),
            _ => SampleValue::FloatHistogram(Box::new(FloatHistogram {
                counter_reset_hint: hint(fields[4]),
                schema: fields[5].parse().unwrap(),
                zero_threshold: bits(fields[6]),
                zero_count: bits(fields[7]),
                count: bits(fields[8]),
                sum: bits(fields[9]),
                positive_spans: spans(fields[10]),
                positive_buckets: list(fields[11], bits),
                negative_spans: spans(fields[12]),
                negative_buckets: list(fields[13], bits),
                custom_values: list(fields[14], bits),
            })),
        };
        samples.push((fields[2].parse().unwrap(), value));
    }
    assert!(series.len() > 10);
    series
}

/// The chunks that Prometheus stored, in the order of the series and of time.
fn stored_chunks() -> Vec<(ChunkEncoding, Vec<u8>)> {
    let file = std::fs::read(directory().join("chunks")).unwrap();
    let mut cursor = Cursor::new(&file);
    cursor.take(8).unwrap();
    let mut chunks = Vec::new();
    while !cursor.is_empty() {
        let length = cursor.uvarint().unwrap() as usize;
        let checked = cursor.take(1 + length).unwrap();
        assert_eq!(cursor.u32_be().unwrap(), crc32c(checked));
        chunks.push((ChunkEncoding::from_number(checked[0]).unwrap(), checked[1..].to_vec()));
    }
    chunks
}

fn digests<'a>(samples: impl IntoIterator<Item = &'a (i64, SampleValue)>) -> Vec<Digest> {
    samples.into_iter().map(|(timestamp_ms, value)| Digest::ZERO.of_value(*timestamp_ms, value)).collect()
}

#[test]
fn chunks_of_prometheus_hold_what_it_was_sent_and_are_written_alike() {
    let mut chunks = stored_chunks().into_iter();
    let (mut written, mut cut) = (0, 0);
    for (name, samples) in sent() {
        let mut left = samples.as_slice();
        let mut appender: Option<HistogramAppender> = None;
        let mut open: Option<Vec<u8>> = None;
        while !left.is_empty() {
            let (encoding, bytes) = chunks.next().unwrap();
            let read: Vec<_> = chunk::samples(encoding, &bytes).unwrap().map(|sample| sample.unwrap()).collect();
            let (here, behind) = left.split_at(read.len());
            assert_eq!(digests(&read), digests(here), "{name}");
            left = behind;
            if encoding == ChunkEncoding::Xor {
                let finished = appender.take().map(|appender| appender.finish().bytes);
                assert_eq!(finished, open.take(), "{name}");
                continue;
            }
            for (index, (timestamp_ms, value)) in here.iter().enumerate() {
                let histogram = HistogramRef::of(value).unwrap();
                let Some(appender) = &mut appender else {
                    appender = Some(HistogramAppender::start(*timestamp_ms, histogram));
                    continue;
                };
                let before = appender.clone();
                let finished = appender.append(*timestamp_ms, histogram);
                if index > 0 {
                    assert_eq!(finished, None, "{name}: a chunk ends at {timestamp_ms}, and Prometheus' does not");
                    continue;
                }
                // Where Prometheus ended a chunk for its length or its age, it ends here too.
                let finished = finished.unwrap_or_else(|| {
                    *appender = before;
                    cut += 1;
                    appender.cut(*timestamp_ms, histogram)
                });
                assert_eq!(Some(finished.bytes), open, "{name} at {timestamp_ms}");
                written += 1;
            }
            open = Some(bytes);
        }
        if let Some(appender) = appender {
            // The newest chunk is still open in Prometheus' head. Its snapshot writes such a one anew, and forgets what
            // was known about a reset in front of it.
            let mut bytes = appender.finish().bytes;
            if matches!(bytes[2], 0x40 | 0x80) {
                bytes[2] = 0;
            }
            assert_eq!(Some(bytes), open, "{name}");
            written += 1;
        }
    }
    assert_eq!(chunks.next(), None);
    assert!(written > 40 && cut > 3, "{written} chunks, {cut} of them full");
}

/// Opens a data directory and replays the specimen's log.
fn replay(data_dir: &Path) -> (Head, ReplayReport) {
    let head = open(HeadOptions::default(), data_dir);
    let mut replay = head.replay(2).unwrap();
    scan(&SystemFs, &directory().join("wal"), &mut replay, &ReplayProgress::default()).unwrap();
    let report = replay.finish().unwrap();
    (head, report)
}

fn name(labels: &LabelSet) -> String {
    labels.get("series").unwrap().to_owned()
}

#[test]
fn log_of_prometheus_is_replayed_and_served_as_it_was_sent_with_and_without_chunk_files() {
    let sent = sent();
    let data_dir = tempfile::tempdir().unwrap();
    let labels = |name: &str| LabelSet::from_pairs([("__name__", "native"), ("series", name)]);
    let total: Digest = sent
        .iter()
        .flat_map(|(name, samples)| {
            let labels = Digest::of_labels(&labels(name));
            samples.iter().map(move |(timestamp_ms, value)| labels.of_value(*timestamp_ms, value))
        })
        .sum();
    let count = sent.values().map(Vec::len).sum::<usize>() as u64;
    for is_restart in [false, true] {
        let (head, report) = replay(data_dir.path());
        assert_eq!((report.records_damaged, report.records_skipped, report.samples_unknown), (0, 0, 0));
        assert_eq!(report.samples + report.samples_in_files, count);
        assert_eq!(report.samples_in_files > 100, is_restart);
        assert!(is_restart || report.digest == total);
        if let Some(on_durable) = head.take_records().on_durable {
            on_durable();
        }
        assert_eq!(head.flush_chunks(), 0);

        // As a verification compares it.
        let (mut found, mut samples) = (Digest::ZERO, 0);
        let warnings = head.digest_series(&head.snapshot_counts(), |series| {
            found += series.digest;
            samples += series.samples;
        });
        assert_eq!((found, samples, warnings), (total, count, Vec::new()));

        // As a block takes it.
        let mut source = head.chunk_source(TimeRange::ALL, ChunkKind::InOrder);
        while let Some(series) = source.next_series().unwrap() {
            let read = series.chunks.iter().flat_map(|chunk| chunk::samples(chunk.encoding, &chunk.bytes).unwrap());
            let read: Vec<_> = read.map(|sample| sample.unwrap()).collect();
            assert_eq!(digests(&read), digests(&sent[&name(&series.labels)]));
        }

        // As a query sees it, in a part of the range.
        let range = TimeRange::new(1_700_000_100_000, 1_700_000_400_000);
        let selected = head.querier(range).unwrap().select(&[], &SelectHints::default()).unwrap();
        assert_eq!(selected.len(), sent.len());
        for series in selected {
            let mut column = Column::default();
            series.samples.read(range, &mut column).unwrap();
            let mut histograms = column.histograms.iter();
            let expected = sent[&name(&series.labels)].iter().filter(|sample| range.contains(sample.0));
            assert_eq!(column.len(), expected.clone().count());
            for (index, (timestamp_ms, value)) in expected.enumerate() {
                assert_eq!(column.timestamps_ms[index], *timestamp_ms);
                let expected = match value {
                    SampleValue::Float(value) => {
                        assert_eq!(column.values[index].to_bits(), value.to_bits());
                        continue;
                    }
                    SampleValue::Histogram(histogram) => histogram.to_float(),
                    SampleValue::FloatHistogram(histogram) => (**histogram).clone(),
                };
                let (at, found) = histograms.next().unwrap();
                assert_eq!((*at, column.values[index].to_bits()), (index, expected.sum.to_bits()));
                let digest = |histogram| Digest::ZERO.of_float_histogram(0, histogram);
                assert_eq!(digest(found), digest(&expected));
            }
        }
    }
}
