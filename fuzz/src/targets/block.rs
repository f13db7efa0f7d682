//! Blocks: the index, chunks, segments of chunks, and tombstones.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions, check};
use chronolith::chunk::{self, ChunkBuilder};
use chronolith::encoding::crc32c;
use chronolith::fs::Fs;
use chronolith::fs::sim::SimFs;
use chronolith::model::histogram::BucketSpan;
use chronolith::model::{ChunkEncoding, Histogram, LabelSet, Matcher, SampleValue, TimeRange};
use chronolith::storage::Column;
use chronolith::tombstones::TombstoneFile;
use ulid::Ulid;

use super::{Target, no_repair};

const HOUR_MS: i64 = 3_600_000;
const TOC_BYTES: usize = 52;

pub(super) const INDEX: Target = Target {
    name: "block-index",
    seeds: || vec![file_of_specimen("index")],
    words: &[b"__name__", b"\xff\xff\xff\xff\x0f", b"\xba\xaa\xd7\x00\x02", b"\xba\xaa\xd7\x00\x01"],
    repair: repair_index,
    run: |input| run_block("index", input),
    bytes_fixed: 4 << 20,
    bytes_each: 2000,
};

pub(super) const SEGMENT: Target = Target {
    name: "block-chunks",
    seeds: || vec![file_of_specimen("chunks/000001")],
    words: &[b"\x85\xbd\x40\xdd\x01\x00\x00\x00"],
    run: |input| run_block("chunks/000001", input),
    repair: no_repair,
    ..INDEX
};

pub(super) const CHUNK: Target = Target {
    name: "chunk",
    seeds: chunks,
    words: &[b"\xff\xff", b"\x00\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    repair: no_repair,
    run: run_chunk,
    bytes_fixed: 1 << 20,
    // A bit can be a sample: of floats 16 bytes, several times; of histograms all of their buckets again.
    bytes_each: 100_000,
};

pub(super) const TOMBSTONES: Target = Target {
    name: "tombstones",
    seeds: || {
        let mut file = TombstoneFile::new();
        let empty = file.encode();
        file.add(7, TimeRange::new(-5, 1000));
        file.add(7, TimeRange::new(2000, i64::MAX));
        file.add(1 << 40, TimeRange::new(i64::MIN, i64::MAX));
        vec![empty, file.encode()]
    },
    words: &[b"\x01\x30\xba\x30\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    repair: |file| {
        if let Some(end) = file.len().checked_sub(4).filter(|end| *end >= 5) {
            let checksum = crc32c(&file[5..end]);
            file[end..].copy_from_slice(&checksum.to_be_bytes());
        }
    },
    run: |input| {
        let Ok(file) = TombstoneFile::decode(input) else { return false };
        assert_eq!(TombstoneFile::decode(&file.encode()), Ok(file));
        true
    },
    bytes_fixed: 64 << 10,
    bytes_each: 200,
};

fn histogram(count: u64) -> SampleValue {
    SampleValue::Histogram(Box::new(Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        count: count + 1,
        sum: count as f64 / 3.0,
        positive_spans: vec![BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 3, length: 1 }],
        positive_deltas: vec![count as i64 / 2, (count - count / 2) as i64 - count as i64 / 2],
        ..Histogram::default()
    }))
}

fn float(number: i64) -> SampleValue {
    SampleValue::Float(if number % 7 == 6 { f64::NAN } else { (number * number) as f64 / 8.0 })
}

/// A block of a few series in a simulated file system, and where it lies.
fn specimen() -> &'static (SimFs, PathBuf) {
    static SPECIMEN: OnceLock<(SimFs, PathBuf)> = OnceLock::new();
    SPECIMEN.get_or_init(|| {
        let fs = SimFs::with_dir(1, Path::new("/data"));
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let ulid = Ulid::from_parts(1, 1);
        let mut writer = BlockWriter::create(shared, Path::new("/data"), ulid, WriterOptions::default()).unwrap();
        for number in 0..6 {
            let (instance, zone) = (format!("host-{number}"), format!("z{}", number % 2));
            let labels = LabelSet::from_pairs([("__name__", "up"), ("instance", &instance), ("zone", &zone)]);
            let mut builder = ChunkBuilder::new();
            let mut chunks = Vec::new();
            for step in 0..150i64 {
                let value = if number == 5 { histogram(step as u64) } else { float(step + number) };
                chunks.extend(builder.push(step * 15_000 + number, &value));
            }
            chunks.extend(builder.finish());
            writer.add(&labels, &chunks).unwrap();
        }
        let origin = BlockOrigin { min_time_ms: 0, max_time_ms: 2 * HOUR_MS, level: 1, ..BlockOrigin::default() };
        let block = writer.finish(origin).unwrap().unwrap().publish().unwrap();
        (fs, block.dir().to_owned())
    })
}

fn file_of_specimen(name: &str) -> Vec<u8> {
    let (fs, dir) = specimen();
    let path = dir.join(name);
    fs.files().into_iter().find(|(found, _)| *found == path).map(|(_, bytes)| bytes).unwrap()
}

fn run_block(name: &str, input: &[u8]) -> bool {
    let (fs, dir) = specimen();
    let fs = fs.copy();
    fs.set_content(&dir.join(name), input.to_vec());
    let shared: Arc<dyn Fs> = Arc::new(fs);
    let Ok(block) = Block::open(shared, dir) else { return false };
    let checked = check(&block, &mut |_| {});
    let all = Matcher::equal("__name__", "up");
    let found = block.series_refs(std::slice::from_ref(&all));
    if checked.is_good() {
        assert_eq!(found.len(), 6, "what is good has all series");
    }
    let mut source = block.chunk_source();
    let mut samples = 0;
    while let Ok(Some(series)) = source.next_series() {
        assert!(series.labels.iter().is_sorted_by(|a, b| a.name < b.name), "{}", series.labels);
        for chunk in &series.chunks {
            let decoded = chunk::samples(chunk.encoding, &chunk.bytes).into_iter().flatten();
            samples += decoded.take_while(Result::is_ok).count();
        }
    }
    if checked.is_good() {
        assert_eq!(samples, 900, "what is good has all samples");
    }
    samples > 0
}

/// Makes the checksums of an index right, as far as its table of contents leads to them.
fn repair_index(index: &mut [u8]) {
    let Some(toc) = index.len().checked_sub(TOC_BYTES) else { return };
    let offset = |index: &[u8], entry: usize| {
        let at = toc + entry * 8;
        let bytes = index.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0xff; 8]);
        usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX).min(index.len())
    };
    let [symbols, series, label_indices, label_table, postings, postings_table] =
        [0, 1, 2, 3, 4, 5].map(|entry| offset(index, entry));
    for section in [symbols, label_table, postings_table] {
        repair_section(index, section);
    }
    let mut at = postings;
    while at < toc {
        match repair_section(index, at) {
            Some(end) => at = end.next_multiple_of(4),
            None => break,
        }
    }
    let mut at = series.next_multiple_of(16);
    while at < label_indices.min(toc).max(series) {
        // A length of one or two bytes, as all series of the specimen have it.
        let Some(&[first, second]) = index.get(at..).and_then(|rest| rest.first_chunk()) else { break };
        let (length, head) = if first < 0x80 {
            (usize::from(first), 1)
        } else {
            (usize::from(first & 0x7f) | usize::from(second) << 7, 2)
        };
        if !repair_content(index, at + head, length) {
            break;
        }
        at = (at + head + length + 4).next_multiple_of(16);
    }
    let end = index.len() - 4;
    let checksum = crc32c(&index[toc..end]);
    index[end..].copy_from_slice(&checksum.to_be_bytes());
}

/// A section that begins with its length in four bytes; gives its end.
fn repair_section(index: &mut [u8], at: usize) -> Option<usize> {
    let length = u32::from_be_bytes(*index.get(at..)?.first_chunk()?) as usize;
    repair_content(index, at + 4, length).then_some(at + 4 + length + 4)
}

fn repair_content(index: &mut [u8], at: usize, length: usize) -> bool {
    let Some(content) = index.get(at..at.saturating_add(length)) else { return false };
    let checksum = crc32c(content);
    let Some(place) = index.get_mut(at + length..at + length + 4) else { return false };
    place.copy_from_slice(&checksum.to_be_bytes());
    true
}

/// A chunk behind the number of its encoding.
fn chunks() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for value in [|step: i64| float(step), |step: i64| histogram(step as u64)] {
        let mut builder = ChunkBuilder::new();
        for step in 0..40 {
            all.extend(builder.push(step * 15_000 + step % 3, &value(step)));
        }
        all.extend(builder.finish());
    }
    all.iter().map(|chunk| [&[chunk.encoding as u8], &*chunk.bytes].concat()).collect()
}

fn run_chunk(input: &[u8]) -> bool {
    let Some((&number, bytes)) = input.split_first() else { return false };
    let Some(encoding) = ChunkEncoding::from_number(number % 8) else { return false };
    let Ok(samples) = chunk::samples(encoding, bytes) else { return false };
    let mut decoded = Vec::new();
    let mut damage = None;
    for sample in samples {
        match sample {
            Ok(sample) => decoded.push(sample),
            Err(fault) => damage = Some(fault),
        }
    }
    let count = chunk::sample_count(encoding, bytes).expect("a chunk that is read has a header");
    assert!(decoded.len() <= usize::from(count));
    assert!(damage.is_some() || decoded.len() == usize::from(count));
    // The other way to read it: into columns.
    let mut column = Column::default();
    let whole = chunk::decode_into(encoding, bytes, TimeRange::ALL, &mut column);
    assert_eq!(whole.is_ok(), damage.is_none(), "{whole:?} {damage:?}");
    if damage.is_none() {
        assert_eq!(column.timestamps_ms, decoded.iter().map(|(timestamp_ms, _)| *timestamp_ms).collect::<Vec<_>>());
    }
    // What is in order can be written again.
    let is_plain = decoded.iter().all(|(_, value)| matches!(value, SampleValue::Float(_)));
    if is_plain && decoded.is_sorted_by(|a, b| a.0 < b.0) {
        let mut builder = ChunkBuilder::new();
        let mut chunks: Vec<_> = decoded.iter().filter_map(|(at, value)| builder.push(*at, value)).collect();
        chunks.extend(builder.finish());
        let again =
            chunks.iter().flat_map(|chunk| chunk::samples(chunk.encoding, &chunk.bytes).expect("it was written"));
        let bits = |(at, value): (i64, SampleValue)| match value {
            SampleValue::Float(value) => (at, value.to_bits()),
            _ => (at, 0),
        };
        let again: Vec<_> = again.map(|sample| bits(sample.expect("it was written"))).collect();
        assert_eq!(again, decoded.iter().cloned().map(bits).collect::<Vec<_>>());
    }
    !decoded.is_empty()
}
