//! The commands that look inside blocks, on blocks that are whole and on damaged ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronolith::block::{Block, BlockOrigin, BlockWriter, WriterOptions, accel};
use chronolith::chunk::ChunkBuilder;
use chronolith::fs::SystemFs;
use chronolith::model::{Digest, LabelSet, Matcher, SampleValue, Tally, TimeRange};
use chronolith::storage::Chunk;
use serde_json::Value;
use tempfile::TempDir;
use ulid::Ulid;

use crate::harness::chronolith::run;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_006_400_000;

fn samples(series: usize, block: i64) -> Vec<(i64, f64)> {
    (0..10)
        .map(|index| (START_MS + block * 2 * HOUR_MS + index * 15_000, (index * series as i64) as f64 / 4.0))
        .collect()
}

fn labels(series: usize) -> LabelSet {
    LabelSet::from_pairs([("__name__", "up"), ("instance", &format!("host-{series:02}")), ("job", "node")])
}

fn chunk(samples: &[(i64, f64)]) -> Chunk {
    let mut builder = ChunkBuilder::new();
    for &(timestamp_ms, value) in samples {
        assert!(builder.push(timestamp_ms, &SampleValue::Float(value)).is_none());
    }
    builder.finish().unwrap()
}

/// A data directory with two blocks of twelve series, the first with an accelerator and a deletion.
fn data_dir() -> (TempDir, Vec<Arc<Block>>) {
    let dir = tempfile::tempdir().unwrap();
    let block = |number: i64| {
        let ulid = Ulid::from_parts(START_MS as u64, number as u128);
        let mut writer = BlockWriter::create(Arc::new(SystemFs), dir.path(), ulid, WriterOptions::default()).unwrap();
        (0..12).for_each(|series| writer.add(&labels(series), &[chunk(&samples(series, number))]).unwrap());
        let min_time_ms = START_MS + number * 2 * HOUR_MS;
        let origin =
            BlockOrigin { min_time_ms, max_time_ms: min_time_ms + 2 * HOUR_MS, level: 1, ..BlockOrigin::default() };
        writer.finish(origin).unwrap().unwrap().publish().unwrap()
    };
    let blocks: Vec<Arc<Block>> = (0..2).map(block).collect();
    accel::build(&SystemFs, &blocks[0]).unwrap();
    let first = TimeRange::new(START_MS, START_MS + 15_000);
    blocks[0].delete(&[Matcher::equal("instance", "host-03")], first).unwrap();
    (dir, blocks)
}

/// Runs a command with `--format json`.
fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (status, stdout, stderr) = run(&[arguments, &["--format", "json"]].concat());
    (status, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}")))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn segment(block: &Block) -> PathBuf {
    block.dir().join("chunks/000001")
}

#[test]
fn block_list_shows_each_block_and_fails_on_an_unreadable_one() {
    let (dir, blocks) = data_dir();
    std::fs::create_dir(dir.path().join("01HF84E4000000000000000009.tmp-for-creation")).unwrap();
    let (status, list) = json(&["block", "list", text(dir.path())]);
    assert_eq!(status, Some(0), "{list}");
    let shown = list["blocks"].as_array().unwrap();
    assert_eq!(shown.len(), 2, "{list}");
    assert_eq!(shown[0]["ulid"], blocks[0].ulid().to_string());
    assert_eq!((&shown[0]["samples"], &shown[0]["series"]), (&120.into(), &12.into()));
    assert_eq!((&shown[0]["accel"], &shown[1]["accel"]), (&true.into(), &false.into()));
    assert_eq!(list["left_over"].as_array().unwrap().len(), 1);
    std::fs::write(blocks[1].dir().join("meta.json"), "{").unwrap();
    let (status, stdout, stderr) = run(&["block", "list", text(dir.path())]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stdout.contains("UNREADABLE") && stdout.contains("1 blocks with 120 samples"), "{stdout}");
}

#[test]
fn block_inspect_shows_files_labels_and_accelerator() {
    let (dir, blocks) = data_dir();
    let ulid = blocks[0].ulid().to_string();
    let (status, report) = json(&["block", "inspect", text(dir.path()), &ulid]);
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(report["meta"]["ulid"], *ulid);
    assert_eq!(report["accelerator"], "ready");
    let mut tally = Tally::ZERO;
    for series in 0..12 {
        let digest = Digest::of_labels(&labels(series));
        samples(series, 0)
            .iter()
            .for_each(|&(timestamp_ms, value)| tally.add_sample(digest.of_sample(timestamp_ms, value)));
    }
    assert_eq!(report["stored"], serde_json::to_value(tally).unwrap());
    assert_eq!(report["deleted_ranges"], 1);
    assert_eq!(report["labels"][0], serde_json::json!({"name": "instance", "values": 12, "series": 12}));
    let files: Vec<&str> =
        report["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(files, ["accel", "chunks/000001", "index", "meta.json", "tombstones"]);
    let (_, stdout, _) = run(&["block", "inspect", text(dir.path()), &ulid]);
    assert!(stdout.contains("instance") && stdout.contains(&tally.digest.to_string()), "{stdout}");
}

#[test]
fn block_verify_ends_with_0_for_whole_blocks_and_1_where_a_bit_is_wrong() {
    let (dir, blocks) = data_dir();
    let (status, verified) = json(&["block", "verify", text(dir.path())]);
    assert_eq!(status, Some(0), "{verified}");
    let first = &verified["blocks"][0];
    assert_eq!((&first["stored"]["samples"], &first["visible"]["samples"]), (&120.into(), &118.into()));
    let mut bytes = std::fs::read(segment(&blocks[1])).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 4;
    std::fs::write(segment(&blocks[1]), bytes).unwrap();
    let (status, stdout, _) = run(&["block", "verify", text(dir.path())]);
    assert_eq!(status, Some(1), "{stdout}");
    assert!(stdout.contains("WRONG") && stdout.contains("checksum of the chunk"), "{stdout}");
    let (status, _) = json(&["block", "verify", text(dir.path()), &blocks[0].ulid().to_string()]);
    assert_eq!(status, Some(0), "the other block is whole");
    std::fs::remove_file(blocks[0].dir().join("index")).unwrap();
    let (status, verified) = json(&["block", "verify", text(dir.path()), &blocks[0].ulid().to_string()]);
    assert_eq!((status, &verified["blocks"][0]["good"]), (Some(1), &false.into()));
}

#[test]
fn block_verify_names_an_accelerator_that_is_damaged_and_is_content_with_the_block() {
    let (dir, blocks) = data_dir();
    let path = blocks[0].dir().join("accel");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (status, verified) = json(&["block", "verify", text(dir.path())]);
    assert_eq!(status, Some(0), "{verified}");
    assert!(verified["blocks"][0]["accelerator"].as_str().unwrap().contains("checksum"), "{verified}");
}

#[test]
fn dumps_lead_from_a_series_to_its_chunks_samples_and_deletions() {
    let (_dir, blocks) = data_dir();
    let dir = text(blocks[0].dir());
    let (status, dump) = json(&["index", "dump", dir, "--match", "up{instance=~\".*-0[34]\"}"]);
    assert_eq!(status, Some(0), "{dump}");
    let rows = dump["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{dump}");
    assert_eq!(rows[0]["labels"], "up{instance=\"host-03\", job=\"node\"}");
    assert_eq!(rows[0]["deleted"], serde_json::json!([[START_MS, START_MS + 15_000]]));
    let (_, tombstones) = json(&["tombstones", "dump", dir]);
    assert_eq!(tombstones["rows"][0]["series_ref"], rows[0]["series_ref"]);
    let offset = rows[1]["chunks"][0]["offset"].to_string();
    let (status, chunk) = json(&["chunk", "dump", dir, "--segment", "1", "--offset", &offset]);
    assert_eq!(status, Some(0), "{chunk}");
    let values: Vec<(i64, f64)> = chunk["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["timestamp_ms"].as_i64().unwrap(), row["value"].as_str().unwrap().parse().unwrap()))
        .collect();
    assert_eq!(values, samples(4, 0));
    let (status, all) = json(&["index", "dump", dir, "--rows", "5"]);
    assert_eq!((status, &all["rows_left_off"]), (Some(0), &7.into()));
    assert_eq!(all["rows"][2]["samples"], 10);
}

#[test]
fn chunk_dump_lists_chunks_up_to_the_damage_and_ends_with_1() {
    let (_dir, blocks) = data_dir();
    let (status, dump) = json(&["chunk", "dump", text(blocks[1].dir())]);
    assert_eq!((status, &dump["good"], &dump["samples"]), (Some(0), &12.into(), &120.into()), "{dump}");
    let offset = dump["rows"][5]["offset"].as_u64().unwrap() as usize;
    let mut bytes = std::fs::read(segment(&blocks[1])).unwrap();
    bytes[offset + 9] ^= 4;
    std::fs::write(segment(&blocks[1]), bytes).unwrap();
    let (status, stdout, _) = run(&["chunk", "dump", text(blocks[1].dir())]);
    assert_eq!(status, Some(1), "{stdout}");
    assert!(stdout.contains("DAMAGED") && stdout.contains("5 chunks with 50 samples, 1 damaged places"), "{stdout}");
}

#[test]
fn commands_on_blocks_that_cannot_run_end_with_2_and_name_the_cause() {
    let (dir, blocks) = data_dir();
    let (data, block) = (text(dir.path()), text(blocks[0].dir()));
    let nobody = "01HF84E4000000000000000077";
    for (arguments, words) in [
        (&["block", "list", "no-such-directory"][..], "no-such-directory"),
        (&["block", "inspect", data, nobody], nobody),
        (&["block", "inspect", data, "name"], "name"),
        (&["block", "verify", data, nobody], nobody),
        (&["index", "dump", "no-such-directory"], "no-such-directory"),
        (&["index", "dump", block, "--match", "{"], "1:2"),
        (&["chunk", "dump", block, "--segment", "9"], "000009"),
        (&["chunk", "dump", block, "--segment", "1", "--offset", "3"], "000001:3"),
        (&["chunk", "dump", block, "--offset", "8"], "--segment"),
        (&["tombstones", "dump", "no-such-directory"], "no-such-directory"),
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}\n{stdout}\n{stderr}");
        assert!(stderr.contains(words) && !stderr.contains("panicked"), "{arguments:?}\n{stderr}");
    }
}

#[test]
fn help_of_commands_on_blocks_shows_an_example() {
    for command in ["list", "inspect", "verify"] {
        let (status, stdout, _) = run(&["block", command, "--help"]);
        assert_eq!(status, Some(0));
        assert!(stdout.contains(&format!("chronolith block {command} data")), "{stdout}");
    }
    for command in ["index", "chunk", "tombstones"] {
        let (status, stdout, _) = run(&[command, "dump", "--help"]);
        assert_eq!(status, Some(0));
        assert!(stdout.contains(&format!("chronolith {command} dump data/")), "{stdout}");
    }
}
