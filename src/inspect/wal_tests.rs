//! Tests of looking into a log.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::fs::SystemFs;
use crate::model::{Digest, Label};
use crate::wal::record::{SamplesEncoder, SeriesEncoder};
use crate::wal::{GroupRecords, GroupWriter, Resume, WalOptions};

/// A data directory whose log has three groups of one series record and one samples record.
fn data_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let wal_dir = dir.path().join(names::WAL_DIR);
    SystemFs.create_dir_all(&wal_dir).unwrap();
    let clock = Arc::new(ManualClock::at(0));
    let mut writer = GroupWriter::new(Arc::new(SystemFs), wal_dir, Resume::default(), WalOptions::default(), clock);
    for group in 1..=3u64 {
        let (mut series, mut samples, mut encoder) = (Vec::new(), Vec::new(), SamplesEncoder::new());
        SeriesEncoder::push(&mut series, group, [Label { name: "__name__", value: "up" }].into_iter());
        encoder.push(&mut samples, group, 1000, 1.0);
        encoder.push(&mut samples, group, 2000, 1.5);
        let records = GroupRecords { records: vec![series, samples], on_durable: None };
        writer.form_group(&[(2, Digest(7))], records, false);
        writer.write_pending().1.unwrap();
    }
    dir
}

fn inspect(dir: &TempDir) -> InspectReport {
    inspect_wal(&SystemFs, &WalInspectOptions::new(dir.path().to_owned())).unwrap()
}

fn segment_bytes(dir: &TempDir) -> Vec<u8> {
    SystemFs.read(&segment_path(dir)).unwrap()
}

fn segment_path(dir: &TempDir) -> PathBuf {
    names::wal_segment(&dir.path().join(names::WAL_DIR), 0)
}

fn replace_segment(dir: &TempDir, bytes: &[u8]) {
    SystemFs.remove_file(&segment_path(dir)).unwrap();
    SystemFs.create(&segment_path(dir)).unwrap().write_all(bytes).unwrap();
}

/// Flips a bit in the samples record of the second group; says where the record begins.
fn damage(dir: &TempDir) -> u64 {
    let row = inspect(dir).rows.into_iter().filter(|row| row.kind == "samples").nth(1).unwrap();
    let mut bytes = segment_bytes(dir);
    bytes[row.offset as usize + 9] ^= 1;
    replace_segment(dir, &bytes);
    row.offset
}

#[test]
fn records_are_listed_with_place_type_and_content() {
    let dir = data_dir();
    let report = inspect(&dir);
    let kinds: Vec<&str> = report.rows.iter().map(|row| row.kind.as_str()).collect();
    let group = ["series", "samples", "seal"];
    assert_eq!(kinds, ["seal"].iter().chain(group.iter().cycle().take(9)).copied().collect::<Vec<_>>());
    assert_eq!(report.rows[0].detail, "segment begins after group 0");
    assert_eq!(report.rows[1].detail, r#"1 series, references 1, first {__name__="up"}"#);
    assert_eq!(report.rows[2].detail, "2 samples, references 1, times 1000 to 2000");
    assert!(report.rows[3].detail.starts_with("group 1 of 2 records, 1 requests (commits 1), 2 samples, digest "));
    let mut end = 0;
    for row in &report.rows {
        assert_eq!((row.offset, row.state), (end, RowState::Good));
        end += row.bytes;
    }
    assert_eq!(end, segment_bytes(&dir).len() as u64);
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn wal_directory_itself_is_taken_as_well() {
    let dir = data_dir();
    let options = WalInspectOptions::new(dir.path().join(names::WAL_DIR));
    assert_eq!(inspect_wal(&SystemFs, &options).unwrap().records, 10);
}

#[test]
fn filters_keep_one_type_or_segment_and_count_what_is_left_off() {
    let dir = data_dir();
    let with = |record_type, segment, rows_max| {
        let options = WalInspectOptions { record_type, segment, rows_max, ..WalInspectOptions::new(dir.path().into()) };
        let report = inspect_wal(&SystemFs, &options).unwrap();
        (report.rows.len(), report.rows_left_off)
    };
    assert_eq!(with(Some(RecordType::Samples), None, 100), (3, 0));
    assert_eq!(with(None, Some(0), 100), (10, 0));
    assert_eq!(with(None, Some(1), 100), (0, 0));
    assert_eq!(with(None, None, 4), (4, 6));
}

#[test]
fn damage_is_shown_in_place_and_what_follows_is_decoded() {
    let dir = data_dir();
    let offset = damage(&dir);
    let report = inspect(&dir);
    let damaged: Vec<_> = report.rows.iter().filter(|row| row.state == RowState::Damaged).collect();
    assert_eq!((damaged.len(), damaged[0].offset), (1, offset));
    assert_eq!(report.records, 9);
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn record_types_are_read_by_the_names_that_reports_write() {
    for kind in RecordType::ALL {
        assert_eq!(parse_record_type(kind.as_str()), Ok(kind));
    }
    assert!(parse_record_type("sample").unwrap_err().contains("samples"));
}

#[test]
fn repair_without_write_tells_and_changes_nothing() {
    let dir = data_dir();
    let offset = damage(&dir);
    let before = segment_bytes(&dir);
    let report = repair_wal(&SystemFs, dir.path(), false).unwrap();
    assert_eq!(report.exit_code(), 1);
    assert!(report.actions[0].contains(&format!("00000000:{offset}")), "{:?}", report.actions);
    assert!(report.actions[0].contains("costs group 2"), "{:?}", report.actions);
    assert_eq!(segment_bytes(&dir), before);
    assert!(!SystemFs.exists(&dir.path().join(names::QUARANTINE_DIR)));
}

#[test]
fn repair_with_write_cuts_a_torn_tail_into_quarantine() {
    let dir = data_dir();
    let bytes = segment_bytes(&dir);
    let last_seal = inspect(&dir).rows.last().unwrap().offset;
    let second_seal = inspect(&dir).rows[6].clone();
    replace_segment(&dir, &bytes[..last_seal as usize + 9]);
    let report = repair_wal(&SystemFs, dir.path(), true).unwrap();
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(segment_bytes(&dir).len() as u64, second_seal.offset + second_seal.bytes);
    let kept = SystemFs.list(&dir.path().join(names::QUARANTINE_DIR)).unwrap();
    assert!(kept.iter().any(|entry| entry.name.ends_with(".bin")), "{kept:?}");
    assert_eq!(repair_wal(&SystemFs, dir.path(), false).unwrap().exit_code(), 0);
}

#[test]
fn repair_with_write_refuses_a_directory_that_is_in_use() {
    let dir = data_dir();
    let _server = DirLock::acquire(&dir.path().join(names::LOCK_FILE)).unwrap().unwrap();
    assert!(matches!(repair_wal(&SystemFs, dir.path(), true), Err(RepairError::InUse { .. })));
}

#[test]
fn directory_that_does_not_exist_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert!(inspect_wal(&SystemFs, &WalInspectOptions::new(absent.clone())).is_err());
    assert!(repair_wal(&SystemFs, &absent, false).is_err());
}
