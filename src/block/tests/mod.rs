//! Blocks that are written, read, damaged and shown to Prometheus' own tools.

mod accel;
mod damage;
mod durable;
mod promtool;
mod select;
mod version1;

use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::chunk::XorAppender;
use crate::fs::{Fs, SystemFs};
use crate::model::{ChunkEncoding, LabelSet, TimeRange};
use crate::storage::{Chunk, ChunkBytes};

/// A chunk of float samples.
pub(super) fn xor_chunk(samples: &[(i64, f64)]) -> Chunk {
    let (first, rest) = samples.split_first().unwrap();
    let mut bytes = Vec::new();
    let mut appender = XorAppender::start(&mut bytes, first.0, first.1.to_bits());
    let mut last = *first;
    for &(timestamp_ms, value) in rest {
        appender.append(&mut bytes, last.0, last.1.to_bits(), timestamp_ms, value.to_bits());
        last = (timestamp_ms, value);
    }
    appender.write_count(&mut bytes);
    let range = TimeRange::new(first.0, last.0);
    Chunk { range, encoding: ChunkEncoding::Xor, bytes: ChunkBytes::Memory(bytes.into()) }
}

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const START_MS: i64 = 1_700_006_400_000;

/// The series of the specimen: sorted, with their samples, in two chunks each.
pub(super) fn specimen(series: usize, samples: usize) -> Vec<(LabelSet, Vec<(i64, f64)>)> {
    let mut all: Vec<(LabelSet, Vec<(i64, f64)>)> = (0..series)
        .map(|number| {
            let (instance, zone) = (format!("host-{:03}", number / 4), format!("z{}", number % 3));
            let name = ["up", "http_requests_total", "ümlaut_seconds", "cpu"][number % 4];
            let labels = [("__name__", name), ("instance", &instance), ("job", "node"), ("zone", &zone)];
            let labels = LabelSet::from_pairs(labels.into_iter().take(if number % 5 == 0 { 3 } else { 4 }));
            let sample = |index: usize| {
                let value = if index % 17 == 16 { crate::model::stale_nan() } else { (index * number) as f64 / 8.0 };
                (START_MS + number as i64 + index as i64 * 15_000, value)
            };
            (labels, (0..samples).map(sample).collect())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(super) fn write_block(
    fs: Arc<dyn Fs>,
    parent: &Path,
    ulid: Ulid,
    options: WriterOptions,
    series: &[(LabelSet, Vec<(i64, f64)>)],
) -> Result<Option<PreparedBlock>, BlockError> {
    let mut writer = BlockWriter::create(fs, parent, ulid, options)?;
    for (labels, samples) in series {
        let chunks: Vec<Chunk> = samples.chunks(samples.len().div_ceil(2).max(1)).map(xor_chunk).collect();
        writer.add(labels, &chunks)?;
    }
    let origin =
        BlockOrigin { min_time_ms: START_MS, max_time_ms: START_MS + 2 * HOUR_MS, level: 1, ..BlockOrigin::default() };
    writer.finish(origin)
}

pub(super) fn ulid(number: u64) -> Ulid {
    Ulid::from_parts(START_MS as u64, u128::from(number))
}

#[test]
fn meta_is_written_as_prometheus_writes_it_and_keeps_what_it_does_not_know() {
    let text = concat!(
        "{\n\t\"ulid\": \"01HF7XY0000000000000000001\",\n\t\"minTime\": -5,\n\t\"maxTime\": 7200000,\n\t\"stats\": {\n",
        "\t\t\"numSamples\": 9,\n\t\t\"numFloatSamples\": 9,\n\t\t\"numSeries\": 2,\n\t\t\"numChunks\": 3\n\t},\n",
        "\t\"compaction\": {\n\t\t\"level\": 2,\n\t\t\"sources\": [\n\t\t\t\"01HF7XY0000000000000000001\"\n\t\t],\n",
        "\t\t\"parents\": [\n\t\t\t{\n\t\t\t\t\"ulid\": \"01HF7XY0000000000000000001\",\n\t\t\t\t\"minTime\": 0,\n",
        "\t\t\t\t\"maxTime\": 7200000\n\t\t\t}\n\t\t],\n\t\t\"hints\": [\n\t\t\t\"from-out-of-order\"\n\t\t]\n\t},\n",
        "\t\"version\": 1,\n\t\"thanos\": {\n\t\t\"labels\": {\n\t\t\t\"a\": \"b\"\n\t\t},\n\t\t\"version\": 1\n\t}\n}"
    );
    let meta = BlockMeta::parse(text.as_bytes()).unwrap();
    assert!(meta.is_from_out_of_order());
    assert_eq!(String::from_utf8(meta.encode().unwrap()).unwrap(), text);
    assert!(BlockMeta::parse(text.replace("\"version\": 1,", "\"version\": 2,").as_bytes()).is_err());
    assert!(BlockMeta::parse(text.replace("-5", "7200001").as_bytes()).is_err());
}

#[test]
fn writer_refuses_what_no_block_may_hold() {
    let dir = tempfile::tempdir().unwrap();
    let labels = |value: &str| LabelSet::from_pairs([("a", value)]);
    let chunk = |start: i64, end: i64| xor_chunk(&[(start, 1.0), (end, 2.0)]);
    let refused = |number: u64, series: &[(LabelSet, Vec<Chunk>)]| {
        let fs = Arc::new(SystemFs);
        let mut writer = BlockWriter::create(fs, dir.path(), ulid(number), WriterOptions::default()).unwrap();
        let (last, before) = series.split_last().unwrap();
        for (labels, chunks) in before {
            writer.add(labels, chunks).unwrap();
        }
        let error = writer.add(&last.0, &last.1).unwrap_err().to_string();
        drop(writer);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "what was written is removed");
        error
    };
    let good = || vec![chunk(0, 1)];
    let xor2 = vec![Chunk { encoding: ChunkEncoding::Xor2, ..chunk(0, 1) }];
    for (series, reason) in [
        (vec![(LabelSet::empty(), good())], "no label"),
        (vec![(labels("b"), good()), (labels("a"), good())], "behind the series before"),
        (vec![(labels("b"), good()), (labels("b"), good())], "behind the series before"),
        (vec![(labels("b"), vec![])], "no chunk"),
        (vec![(labels("b"), vec![chunk(0, 5), chunk(5, 6)])], "overlap"),
        (vec![(labels("b"), vec![chunk(7, 8), chunk(5, 6)])], "overlap"),
        (vec![(labels("b"), xor2)], "encoding"),
    ] {
        let error = refused(1, &series);
        assert!(error.contains(reason), "{error}");
    }
    for (min_time_ms, max_time_ms) in [(0, 6), (1, 7)] {
        let mut writer =
            BlockWriter::create(Arc::new(SystemFs), dir.path(), ulid(2), WriterOptions::default()).unwrap();
        writer.add(&labels("a"), &[chunk(0, 6)]).unwrap();
        let error = writer.finish(BlockOrigin { min_time_ms, max_time_ms, ..BlockOrigin::default() }).unwrap_err();
        assert!(error.to_string().contains("not all within its range"), "{error}");
    }
}

#[test]
fn writer_without_a_series_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(SystemFs);
    assert!(write_block(fs, dir.path(), ulid(1), WriterOptions::default(), &[]).unwrap().is_none());
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

/// What the store, compactor and uploader of Thanos and the block upload of Mimir demand, beyond what `check` does.
#[test]
fn block_meets_what_thanos_and_mimir_demand() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriterOptions { segment_bytes_max: 3_000, ..WriterOptions::default() };
    let series = specimen(60, 40);
    let block = write_block(Arc::new(SystemFs), dir.path(), ulid(1), options, &series).unwrap().unwrap();
    let block = block.publish().unwrap();
    let checked = check(&block, &mut |_| {});
    assert!(checked.is_good(), "{:?}", checked.findings);

    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(block.dir().join("meta.json")).unwrap()).unwrap();
    assert_eq!(meta["version"], 1);
    assert_eq!(meta["ulid"], block.dir().file_name().unwrap().to_str().unwrap());
    assert_eq!(meta["compaction"]["level"], 1);
    assert_eq!(meta["compaction"]["sources"], serde_json::json!([ulid(1).to_string()]));
    assert_eq!(meta["stats"]["numSamples"], 60 * 40);
    let (min, max) = (meta["minTime"].as_i64().unwrap(), meta["maxTime"].as_i64().unwrap());
    assert_eq!((min / (2 * HOUR_MS), max / (2 * HOUR_MS)), (min / (2 * HOUR_MS), min / (2 * HOUR_MS) + 1));

    // Segments are numbered from 1 without gaps, and no longer than asked for.
    let segments = SystemFs.list(&block.dir().join("chunks")).unwrap();
    assert!(segments.len() > 2);
    for (number, segment) in segments.iter().enumerate() {
        assert_eq!(segment.name, format!("{:06}", number + 1));
        assert!(segment.bytes <= 3_000);
    }

    // An index header is cut out of the index: symbols up to the series, the postings offset table up to the table of
    // contents; and the end of the last postings list is where the label offset table begins.
    let index = std::fs::read(block.dir().join("index")).unwrap();
    assert_eq!(index[..5], [0xba, 0xaa, 0xd7, 0x00, 2]);
    let u32_at = |at: usize| u32::from_be_bytes(index[at..at + 4].try_into().unwrap()) as usize;
    let toc_at = index.len() - 52;
    let toc: Vec<usize> = (0..6).map(|entry| u32_at(toc_at + entry * 8 + 4)).collect();
    let [symbols, series_at, _, label_table, postings, postings_table] = toc[..] else { panic!("{toc:?}") };
    assert_eq!(symbols, 5);
    assert_eq!(symbols + 4 + u32_at(symbols) + 4, series_at);
    assert_eq!(postings_table + 4 + u32_at(postings_table) + 4, toc_at);
    let mut list = postings;
    while list < label_table {
        list += 4 + u32_at(list) + 4;
    }
    assert_eq!(list, label_table);
}

#[test]
fn chunk_source_gives_back_what_was_written_with_what_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let series = specimen(30, 20);
    let block = write_block(Arc::new(SystemFs), dir.path(), ulid(1), WriterOptions::default(), &series);
    let block = block.unwrap().unwrap().publish().unwrap();
    let deleted = TimeRange::new(START_MS + 15_000, START_MS + 100_000);
    let matcher = Matcher::equal("__name__", "cpu");
    let deletion = block.delete(std::slice::from_ref(&matcher), deleted).unwrap();
    assert_eq!((deletion.series, deletion.tombstones), (7, 7));
    let again = block.delete(std::slice::from_ref(&matcher), deleted).unwrap();
    assert_eq!((again.series, again.tombstones), (0, 7));
    let mut source = block.chunk_source();
    for (labels, samples) in &series {
        let found = source.next_series().unwrap().unwrap();
        assert_eq!(&found.labels, labels);
        let chunks: Vec<Chunk> = samples.chunks(10).map(xor_chunk).collect();
        let bytes = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.bytes.to_vec()).collect::<Vec<_>>();
        let ranges = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.range).collect::<Vec<_>>();
        assert_eq!((bytes(&found.chunks), ranges(&found.chunks)), (bytes(&chunks), ranges(&chunks)));
        let is_deleted = matcher.matches_labels(labels);
        assert_eq!(found.deleted.len(), usize::from(is_deleted));
        // A range is no longer than the chunks that it touches.
        let first = samples.iter().find(|(time, _)| deleted.contains(*time)).unwrap().0.min(deleted.start_ms);
        assert!(found.deleted.iter().all(|range| range.start_ms >= first && range.end_ms <= deleted.end_ms));
    }
    assert!(source.next_series().unwrap().is_none());
}
