//! The log: records one by one, and a segment with all that stands in it.

use std::path::Path;
use std::sync::Arc;

use chronolith::clock::ManualClock;
use chronolith::encoding::crc32c;
use chronolith::fs::sim::SimFs;
use chronolith::model::{Digest, FloatHistogram, Histogram, Label, MetricType, SampleValue};
use chronolith::wal::format::{FRAGMENT_HEADER_BYTES, PAGE_BYTES};
use chronolith::wal::record::{
    self, ExemplarsEncoder, HistogramsEncoder, RefExemplar, RefMetadata, SamplesEncoder, SeriesEncoder, Tombstone,
};
use chronolith::wal::{
    Compression, GroupRecords, GroupWriter, RecordPosition, RecordType, ReplayProgress, ReplaySink, Resume, SealRecord,
    SegmentEvent, SegmentReader, WalError, WalOptions, scan,
};

use super::{Target, no_repair};

const DIR: &str = "/wal";

pub(super) const RECORD: Target = Target {
    name: "wal-record",
    seeds: records,
    words: &[
        b"\x01",
        b"\x02",
        b"\x03",
        b"\x04",
        b"\x06",
        b"\x07",
        b"\x08",
        b"\x09",
        b"\x0a",
        b"\x0b",
        b"\x0c",
        b"\x0d",
        b"\xe0",
        b"\xe1",
        b"\xe2",
        b"\xe3",
        b"TYPE",
        b"HELP",
        b"UNIT",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    repair: no_repair,
    run: run_record,
    bytes_fixed: 64 << 10,
    // A label of two bytes is 32 in memory, in a vector that has just doubled, read twice.
    bytes_each: 200,
};

pub(super) const SEGMENT: Target = Target {
    name: "wal-segment",
    seeds: segments,
    words: RECORD.words,
    repair: repair_fragments,
    run: run_segment,
    // A record of snappy or zstd may be 128 MiB long.
    bytes_fixed: 300 << 20,
    bytes_each: 400,
};

fn records() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        all.push(out);
    };
    let labels = [("__name__", "up"), ("job", "node")].map(|(name, value)| Label { name, value });
    add(&|out| {
        SeriesEncoder::push(out, 1, labels.into_iter());
        SeriesEncoder::push(out, 1 << 40, labels.into_iter().take(1));
    });
    for is_late in [false, true] {
        add(&|out| {
            let mut encoder = if is_late { SamplesEncoder::out_of_order() } else { SamplesEncoder::new() };
            encoder.push(out, 1, 1_700_000_000_000, 1.5);
            encoder.push(out, 1 << 40, i64::MIN, -0.0);
        });
    }
    add(&|out| record::push_tombstone(out, Tombstone { series_ref: 7, start_ms: i64::MIN, end_ms: 5 }));
    add(&|out| {
        let unit = "seconds";
        let metadata = RefMetadata { series_ref: 3, metric_type: MetricType::Counter, unit, help: "Help." };
        record::push_metadata(out, metadata);
    });
    add(&|out| {
        let exemplar = RefExemplar { series_ref: 3, timestamp_ms: 9, value: 0.5, labels: labels.to_vec() };
        ExemplarsEncoder::new().push(out, &exemplar);
    });
    let histogram = Histogram { count: 3, zero_count: 3, zero_threshold: 0.1, sum: 0.2, ..Histogram::default() };
    let float = FloatHistogram { count: 3.5, zero_count: 3.5, sum: -1.0, ..FloatHistogram::default() };
    for value in [SampleValue::Histogram(Box::new(histogram)), SampleValue::FloatHistogram(Box::new(float))] {
        for is_late in [false, true] {
            add(&|out| {
                let mut encoder = if is_late { HistogramsEncoder::out_of_order() } else { HistogramsEncoder::new() };
                encoder.push(out, 5, 1_700_000_000_000, &value);
                encoder.push(out, 6, 1_700_000_000_001, &value);
            });
        }
    }
    all
}

fn segments() -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let fs = SimFs::with_dir(1, Path::new(DIR));
        let options = WalOptions { compression, ..WalOptions::default() };
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let mut writer = GroupWriter::new(Arc::new(fs.clone()), DIR.into(), Resume::default(), options, clock);
        writer.open().expect("a new segment");
        for (number, record) in records().into_iter().enumerate() {
            let request = (number as u64 + 1, Digest::default());
            let again = record.repeat(if number % 3 == 0 { 20 } else { 1 });
            writer.form_group(
                &[request],
                GroupRecords { records: vec![record, again], ..GroupRecords::default() },
                false,
            );
            writer.write_pending().1.expect("a simulated disk takes everything");
        }
        all.extend(fs.files().into_iter().map(|(_, bytes)| bytes));
    }
    all
}

/// Makes the checksums of all fragments right, as far as their lengths lead to them.
fn repair_fragments(segment: &mut [u8]) {
    let mut at = 0;
    while at + FRAGMENT_HEADER_BYTES < segment.len() {
        let length = usize::from(u16::from_be_bytes([segment[at + 1], segment[at + 2]]));
        if segment[at] == 0 {
            at = (at / PAGE_BYTES + 1) * PAGE_BYTES;
            continue;
        }
        let data = at + FRAGMENT_HEADER_BYTES;
        let Some(bytes) = segment.get(data..data + length) else { return };
        let checksum = crc32c(bytes);
        segment[at + 3..data].copy_from_slice(&checksum.to_be_bytes());
        at = data + length;
    }
}

fn run_record(input: &[u8]) -> bool {
    let (kind, body) = record::split(input);
    let Some(kind) = kind else { return false };
    let mut again = Vec::new();
    match kind {
        RecordType::Series => {
            let mut decoder = record::series(body);
            let mut labels = Vec::new();
            while let Ok(Some(series_ref)) = decoder.next_into(&mut labels) {
                SeriesEncoder::push(&mut again, series_ref, labels.iter().copied());
            }
            let mut second = record::series(again.get(1..).unwrap_or_default());
            let mut first = record::series(body);
            let mut others = Vec::new();
            while let Ok(Some(series_ref)) = second.next_into(&mut others) {
                assert_eq!(first.next_into(&mut labels), Ok(Some(series_ref)));
                assert_eq!(labels, others);
            }
        }
        RecordType::Samples | RecordType::OutOfOrderSamples => {
            let all: Vec<_> = record::samples(body).map_while(Result::ok).collect();
            let mut encoder = SamplesEncoder::new();
            all.iter().for_each(|it| encoder.push(&mut again, it.series_ref, it.timestamp_ms, it.value));
            let second: Vec<_> = record::samples(again.get(1..).unwrap_or_default()).map_while(Result::ok).collect();
            let bits = |all: &[record::RefSample]| -> Vec<_> {
                all.iter().map(|it| (it.series_ref, it.timestamp_ms, it.value.to_bits())).collect()
            };
            assert_eq!(bits(&all), bits(&second));
        }
        RecordType::Tombstones => {
            let all: Vec<_> = record::tombstones(body).map_while(Result::ok).collect();
            all.iter().for_each(|it| record::push_tombstone(&mut again, *it));
            let second = record::tombstones(again.get(1..).unwrap_or_default()).map_while(Result::ok);
            assert!(second.eq(all));
        }
        RecordType::Metadata => {
            let all: Vec<_> = record::metadata(body).map_while(Result::ok).collect();
            all.iter().for_each(|it| record::push_metadata(&mut again, *it));
            let second: Vec<_> = record::metadata(again.get(1..).unwrap_or_default()).map_while(Result::ok).collect();
            assert_eq!(all, second);
        }
        RecordType::Exemplars => {
            let all: Vec<_> = record::exemplars(body).map_while(Result::ok).collect();
            let mut encoder = ExemplarsEncoder::new();
            all.iter().for_each(|it| encoder.push(&mut again, it));
            let second = record::exemplars(again.get(1..).unwrap_or_default()).map_while(Result::ok).count();
            assert_eq!(all.len(), second);
        }
        RecordType::Seal => {
            let Ok(mut decoded) = SealRecord::decode(body) else { return false };
            match &mut decoded {
                SealRecord::Seal(seal) => seal.encode(&mut again),
                SealRecord::Mark(mark) => mark.encode(&mut again),
            }
            assert_eq!(SealRecord::decode(again.get(1..).unwrap_or_default()), Ok(decoded));
        }
        kind => {
            if let Some(values) = record::values(kind, body) {
                return values.map_while(Result::ok).count() > 0;
            }
        }
    }
    again.len() > 1
}

/// Hands records to their decoders.
#[derive(Default)]
struct Sink {
    records: u64,
}

impl ReplaySink for Sink {
    fn record(&mut self, _position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        self.records += 1;
        // Long ones take long, and the other target has them.
        if record.len() < 100_000 {
            run_record(&record);
        }
        Ok(())
    }
}

fn run_segment(input: &[u8]) -> bool {
    let fs = SimFs::with_dir(1, Path::new(DIR));
    let path = Path::new(DIR).join("00000000");
    fs.set_content(&path, input.to_vec());
    let mut reader = SegmentReader::open(&fs, &path).expect("the file is there");
    let (mut records, mut passed) = (0, 0);
    loop {
        match reader.next_event() {
            SegmentEvent::Record { offset, end, .. } | SegmentEvent::Damage { offset, end, .. } if offset < passed => {
                panic!("{offset} to {end} behind {passed}");
            }
            SegmentEvent::Record { end, .. } => (records, passed) = (records + 1, end),
            SegmentEvent::Damage { offset, end, .. } => {
                assert!(end >= offset);
                passed = end;
            }
            SegmentEvent::End { len, content_end } => {
                assert!(len == input.len() as u64 && content_end <= len && passed <= len);
                break;
            }
        }
    }
    let scanned = [(), ()].map(|()| {
        let mut sink = Sink::default();
        let log = scan(&fs, Path::new(DIR), &mut sink, &ReplayProgress::default()).expect("damage is no error");
        assert!(sink.records <= records);
        (sink.records, log.damages, log.sealed_groups)
    });
    assert_eq!(scanned[0], scanned[1]);
    records > 0
}
