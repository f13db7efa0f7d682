//! Checkpoints: what they keep, what leaves, and that no crash between the steps loses either.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::clock::ManualClock;
use crate::fs::names;
use crate::fs::sim::SimFs;
use crate::ledger::{Event, Ledger, LeftSamples};
use crate::model::{LabelSet, Tally};
use crate::wal::record::{Tombstone, push_tombstone};

fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}

fn wal_dir() -> PathBuf {
    data_dir().join("wal")
}

const SERIES: u64 = 5;
const MIN_TIME_MS: i64 = 20_000;
const OUT_OF_ORDER_GROUP: u64 = 25;

fn out_of_order_record(samples: &[(u64, i64, f64)]) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::out_of_order());
    for &(series_ref, timestamp_ms, value) in samples {
        encoder.push(&mut record, series_ref, timestamp_ms, value);
    }
    record
}

fn writer(fs: &SimFs, resume: Resume) -> GroupWriter {
    let options = WalOptions { segment_bytes: 3_000, ..WalOptions::default() };
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    GroupWriter::new(Arc::new(fs.clone()), wal_dir(), resume, options, clock)
}

/// Writes groups `first..last`; group g is of time g * 1000. Series `1..=SERIES` are live, each group makes one more
/// that is not.
fn write_groups(writer: &mut GroupWriter, groups: std::ops::Range<u64>) {
    for group in groups {
        let time_ms = group as i64 * 1_000;
        let mut records = Vec::new();
        if group == 1 {
            records.extend((1..=SERIES).map(|series| series_record(series, &format!("live_{series}"))));
        }
        records.push(series_record(100 + group, &format!("short_{group}")));
        let noise = |series: u64| f64::from_bits((group * 77 + series).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut samples: Vec<_> = (1..=SERIES).map(|series| (series, time_ms, noise(series))).collect();
        samples.push((100 + group, time_ms, 1.0));
        records.push(samples_record(&samples));
        let late = [(1 + group % SERIES, time_ms - 3_500, noise(50))];
        records.push(out_of_order_record(&late));
        records.push(late_histogram_record(1 + group % SERIES, time_ms - 3_400, noise(60)));
        let mut tombstones = Vec::new();
        let (start_ms, end_ms) = (time_ms - 500, time_ms - 400);
        push_tombstone(&mut tombstones, Tombstone { series_ref: 1, start_ms, end_ms });
        records.push(tombstones);
        let count = samples.len() as u64 + 2;
        writer.form_group(&[(count, Digest(u128::from(group)))], GroupRecords { records, on_durable: None }, false);
        let (durable, result) = writer.write_pending();
        result.unwrap();
        assert_eq!(durable.len(), 1);
    }
}

fn log() -> SimFs {
    let fs = SimFs::new(11);
    fs.create_dir_all(&data_dir()).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    write_groups(&mut writer(&fs, Resume::default()), 1..61);
    fs
}

fn is_live(series_ref: u64) -> bool {
    series_ref <= SERIES
}

fn plan<'a>(up_to_segment: u32, quarantine_dir: &'a Path) -> CheckpointPlan<'a> {
    CheckpointPlan {
        up_to_segment,
        keep_series: &is_live,
        min_time_ms: MIN_TIME_MS,
        out_of_order_up_to_group: OUT_OF_ORDER_GROUP,
        keep_tombstone: &|_| false,
        keep_exemplar: &|_, _| true,
        keep_family: &|_| true,
        name_series: &|_| Vec::new(),
        is_flushed: &|_, _| true,
        compression: Compression::Snappy,
        segment_bytes: 3_000,
        quarantine_dir,
    }
}

fn make(fs: &SimFs, up_to_segment: u32) -> Result<CheckpointReport, WalError> {
    checkpoint(fs, &wal_dir(), &plan(up_to_segment, Path::new("/data/quarantine")))
}

/// What of a log a head needs after the flush: samples from the plan's time on, out-of-order ones above its group.
#[derive(Debug, PartialEq, Eq)]
struct Needed {
    samples: BTreeSet<(u64, i64, u64)>,
    out_of_order: BTreeSet<(u64, i64, u64)>,
    unnamed: Vec<u64>,
    tombstones: BTreeSet<(u64, i64, i64)>,
    chain: (u64, u128, u64),
}

fn needed(log: &LogScan, kept: &Kept) -> Needed {
    let mut named = BTreeSet::new();
    let (mut samples, mut out_of_order, mut tombstones) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut unnamed = Vec::new();
    for (position, record) in &kept.records {
        match record::split(record) {
            (Some(RecordType::Series), body) => {
                let (mut decoder, mut labels) = (record::series(body), Vec::new());
                while let Some(series_ref) = decoder.next_into(&mut labels).unwrap() {
                    let name = labels[0].value;
                    let is_right = if is_live(series_ref) {
                        name == format!("live_{series_ref}")
                    } else {
                        name == format!("short_{}", series_ref - 100)
                    };
                    assert!(is_right, "{series_ref} is {name}");
                    named.insert(series_ref);
                }
            }
            (Some(RecordType::Tombstones), body) => tombstones.extend(
                record::tombstones(body)
                    .map(|tombstone| tombstone.unwrap())
                    .filter(|tombstone| tombstone.end_ms >= MIN_TIME_MS)
                    .map(|tombstone| (tombstone.series_ref, tombstone.start_ms, tombstone.end_ms)),
            ),
            (Some(kind), body) if let Some(values) = record::values(kind, body) => {
                for sample in values.map(|sample| sample.unwrap()) {
                    let bits = Digest::ZERO.of_value(0, &sample.value).0 as u64;
                    let entry = (sample.series_ref, sample.timestamp_ms, bits);
                    let is_needed = match kind {
                        RecordType::Samples => sample.timestamp_ms >= MIN_TIME_MS,
                        _ => position.group.unwrap() > OUT_OF_ORDER_GROUP,
                    };
                    if !is_needed {
                        continue;
                    }
                    let is_new =
                        if kind == RecordType::Samples { &mut samples } else { &mut out_of_order }.insert(entry);
                    assert!(is_new, "{entry:?} stands there twice");
                    unnamed.extend(Some(sample.series_ref).filter(|series_ref| !named.contains(series_ref)));
                }
            }
            _ => {}
        }
    }
    let chain = (log.resume.next_group, log.resume.chain, log.resume.next_commit);
    Needed { samples, out_of_order, unnamed, tombstones, chain }
}

fn needed_now(fs: &SimFs) -> Needed {
    let (log, kept) = scan_all(fs, &wal_dir());
    assert_eq!(log.damages, []);
    needed(&log, &kept)
}

fn event(report: &CheckpointReport, receipts: Option<crate::ledger::ReceiptsPart>) -> Event {
    Event::Truncated {
        up_to_segment: report.edge.up_to_segment,
        left: LeftSamples {
            in_order: report.left_in_order,
            out_of_order: report.left_out_of_order,
            unsealed: report.unsealed_samples,
        },
        last_group: report.edge.last_group,
        next_commit: report.edge.next_commit,
        chain: report.edge.chain,
        receipts,
    }
}

fn requests(report: &CheckpointReport) -> Vec<(u64, Tally)> {
    let tally = |request: &SealedRequest| Tally { samples: request.samples, digest: request.digest };
    report.requests.iter().map(|request| (request.commit, tally(request))).collect()
}

/// What a server does: it finishes what an earlier one began, or makes a checkpoint.
fn truncate(fs: &SimFs, up_to_segment: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::open(Arc::new(fs.clone()), &data_dir().join("ledger"), &data_dir().join("quarantine"))?;
    let report = match superseded(fs, &wal_dir())? {
        Some(report) => report,
        None if LogFiles::list(fs, &wal_dir())?.checkpoint.is_some_and(|newest| newest >= up_to_segment) => {
            return Ok(());
        }
        None => make(fs, up_to_segment)?,
    };
    if ledger.state().left_log.up_to_segment != Some(report.edge.up_to_segment) {
        let receipts = ledger.write_receipts(&requests(&report))?;
        ledger.append(&[event(&report, receipts)], 0)?;
    }
    remove_superseded(fs, &wal_dir())?;
    Ok(())
}

fn left(fs: &SimFs) -> crate::ledger::LeftLog {
    crate::ledger::read(fs, &data_dir().join("ledger")).unwrap().state.left_log
}

#[test]
fn checkpoint_keeps_what_is_needed_and_tells_what_left() {
    let fs = log();
    let (before, before_records) = scan_all(&fs, &wal_dir());
    let needed_before = needed(&before, &before_records);
    let last = before.segments.last().unwrap().segment;
    assert!(last > 4);
    let report = make(&fs, last - 2).unwrap();
    assert!(report.bytes > 32_768, "more than one file");
    assert_eq!(needed_now(&fs), needed_before);
    assert!(superseded(&fs, &wal_dir()).unwrap().is_some_and(|again| again == report));
    assert!(remove_superseded(&fs, &wal_dir()).unwrap() > 0);
    assert_eq!(superseded(&fs, &wal_dir()).unwrap(), None);
    let (after, after_records) = scan_all(&fs, &wal_dir());
    assert_eq!(needed(&after, &after_records), needed_before);
    assert!(after.checkpoint_records > 0);
    // Short-lived series of the time before are gone, live ones are there.
    let series: BTreeSet<u64> = after_records
        .records
        .iter()
        .filter(|(_, record)| record[0] == RecordType::Series as u8)
        .map(|(_, record)| u64::from_be_bytes(record[1..9].try_into().unwrap()))
        .collect();
    assert!(!series.contains(&101) && series.contains(&1) && series.contains(&145), "{series:?}");
    // What left and what is kept is what the segments had.
    let digests = |records: &Kept, is_late: bool| -> Tally {
        let name = |series_ref: u64| match is_live(series_ref) {
            true => format!("live_{series_ref}"),
            false => format!("short_{}", series_ref - 100),
        };
        let mut tally = Tally::ZERO;
        for (_, record) in &records.records {
            let (Some(kind), body) = record::split(record) else { continue };
            let values = record::values(kind, body).filter(|_| kind.is_out_of_order() == is_late);
            for sample in values.into_iter().flatten().map(|sample| sample.unwrap()) {
                let labels = LabelSet::from_pairs([("__name__", name(sample.series_ref).as_str())]);
                tally.add_sample(Digest::of_labels(&labels).of_value(sample.timestamp_ms, &sample.value));
            }
        }
        tally
    };
    for (is_late, left) in [(false, report.left_in_order), (true, report.left_out_of_order)] {
        assert_eq!(digests(&before_records, is_late) - digests(&after_records, is_late), left);
        assert!(left.samples > 0);
    }
    let commits: Vec<u64> = report.requests.iter().map(|request| request.commit).collect();
    assert_eq!(commits, (1..=report.edge.last_group).collect::<Vec<_>>());
    assert_eq!(after.requests, 60 - report.edge.last_group);
}

#[test]
fn second_checkpoint_is_made_of_the_first_and_the_writer_goes_on() {
    let fs = log();
    truncate(&fs, 2).unwrap();
    let (recovery, _) = recover_all(&fs, &data_dir());
    write_groups(&mut writer(&fs, recovery.resume), 61..80);
    let needed_before = needed_now(&fs);
    truncate(&fs, 6).unwrap();
    assert_eq!(needed_now(&fs), needed_before);
    assert_eq!(fs.list(&wal_dir()).unwrap()[0].name, "00000007");
    let left = left(&fs);
    assert_eq!((left.up_to_segment, left.requests), (Some(6), left.last_group));
    let ledger =
        Ledger::open(Arc::new(fs.clone()), &data_dir().join("ledger"), &data_dir().join("quarantine")).unwrap();
    for commit in 1..=left.last_group {
        assert_eq!(ledger.request(commit).unwrap().unwrap().digest, Digest(u128::from(commit)));
    }
    assert!(make(&fs, 6).is_err(), "it stands already");
    assert!(make(&fs, 1_000).is_err(), "there is no such segment");
}

#[test]
fn checkpoint_that_keeps_nothing_lets_the_chain_go_on() {
    let fs = log();
    let quarantine_dir = data_dir().join("quarantine");
    let plan = CheckpointPlan {
        keep_series: &|_| false,
        min_time_ms: i64::MAX,
        out_of_order_up_to_group: u64::MAX,
        ..plan(3, &quarantine_dir)
    };
    let (before, _) = scan_all(&fs, &wal_dir());
    checkpoint(&fs, &wal_dir(), &plan).unwrap();
    remove_superseded(&fs, &wal_dir()).unwrap();
    let (after, _) = scan_all(&fs, &wal_dir());
    assert_eq!((after.damages, after.resume), (vec![], before.resume));
}

#[test]
fn truncation_survives_a_power_loss_at_every_operation() {
    let reference = log();
    let needed_before = needed_now(&reference);
    let start = log().operations();
    truncate(&reference, 4).unwrap();
    let left_reference = left(&reference);
    assert!(left_reference.requests > 0 && reference.operations() > start + 20);
    for operation in start..reference.operations() {
        for seed in 0..3 {
            let what = format!("power lost at operation {operation}, seed {seed}");
            let fs = log();
            fs.lose_power_at(operation);
            let _interrupted = truncate(&fs, 4);
            let fs = fs.crash(seed);
            let (recovery, kept) = recover_all(&fs, &data_dir());
            assert_eq!(recovery.damages, [], "{what}");
            assert!(needed(&recovery.log, &kept) == needed_before, "{what}");
            truncate(&fs, 4).unwrap();
            assert!(needed_now(&fs) == needed_before, "{what}");
            assert_eq!(left(&fs), left_reference, "{what}");
            let entries = fs.list(&wal_dir()).unwrap();
            assert!(entries.iter().all(|entry| entry.name != "00000000" && !entry.name.ends_with(".tmp")), "{what}");
        }
    }
}

#[test]
fn segments_removed_before_the_checkpoint_is_durable_are_missed() {
    let reference = log();
    let needed_before = needed_now(&reference);
    let mut lost = 0;
    for operation in 0..12 {
        let fs = log();
        let start = fs.operations();
        fs.lose_power_at(start + operation);
        // The planted fault: the segments go first.
        for segment in 0..=4 {
            let _gone = fs.remove_file(&names::wal_segment(&wal_dir(), segment));
        }
        let _synced = fs.sync_dir(&wal_dir());
        let _made = make(&fs, 4);
        let (log, kept) = scan_all(&fs.crash(1), &wal_dir());
        let is_noticed = !log.damages.is_empty();
        let is_lost = needed(&log, &kept) != needed_before;
        lost += u64::from(is_lost);
        assert!(!is_lost || is_noticed || log.segments.is_empty() || log.segments[0].segment > 0);
    }
    assert!(lost > 3, "{lost}");
}

#[test]
fn every_flipped_byte_of_a_checkpoint_is_named_once_and_costs_its_record_at_most() {
    let fs = log();
    truncate(&fs, 3).unwrap();
    let needed_before = needed_now(&fs);
    let dir = names::checkpoint_dir(&wal_dir(), 3);
    for file in fs.list(&dir).unwrap() {
        let path = dir.join(&file.name);
        let bytes = fs.read(&path).unwrap();
        let content = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..=content).step_by(7).chain([content]) {
            let what = format!("byte {at} of {}", file.name);
            let disk = fs.crash(0);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            disk.remove_file(&path).unwrap();
            disk.create(&path).unwrap().write_all(&damaged).unwrap();
            let mut strict = Kept::default();
            let (mode, progress) = (RecoveryMode::Strict, ReplayProgress::default());
            let refused = recover(&disk, &wal_dir(), &data_dir().join("quarantine"), mode, &mut strict, &progress);
            assert!(matches!(refused, Err(WalError::Damaged { .. })), "{what}");
            let (recovery, kept) = recover_all(&disk, &data_dir());
            assert!(recovery.damages.iter().all(|damage| damage.checkpoint), "{what}: {:?}", recovery.damages);
            let found = needed(&recovery.log, &kept);
            assert!(found.samples.len() + 12 >= needed_before.samples.len(), "{what}");
            assert_eq!(found.chain, needed_before.chain, "{what}");
            let (again, kept_again) = recover_all(&disk, &data_dir());
            assert_eq!(again.damages, [], "{what}: told once");
            assert_eq!(needed(&again.log, &kept_again), found, "{what}");
        }
    }
}

#[test]
fn checkpoint_that_lost_its_last_file_or_its_end_is_named() {
    let fs = log();
    truncate(&fs, 3).unwrap();
    let dir = names::checkpoint_dir(&wal_dir(), 3);
    let last = fs.list(&dir).unwrap().pop().unwrap();
    fs.remove_file(&dir.join(&last.name)).unwrap();
    let (log, _) = scan_all(&fs, &wal_dir());
    assert_eq!(log.damages.len(), 1);
    assert_eq!(log.damages[0].what, "checkpoint has lost its end");
    assert_eq!(log.damages[0].groups.unwrap().0, 1);
}

#[test]
fn damage_in_segments_that_go_is_set_aside() {
    let fs = log();
    let path = names::wal_segment(&wal_dir(), 1);
    let mut bytes = fs.read(&path).unwrap();
    bytes[900] ^= 1;
    fs.remove_file(&path).unwrap();
    fs.create(&path).unwrap().write_all(&bytes).unwrap();
    let report = make(&fs, 3).unwrap();
    assert_eq!(report.damages.len(), 1);
    let notes = read_notes(&fs, &data_dir().join("quarantine"));
    assert_eq!((notes.len(), notes[0].segment, notes[0].groups), (1, 1, report.damages[0].groups));
    remove_superseded(&fs, &wal_dir()).unwrap();
    let (recovery, _) = recover_all(&fs, &data_dir());
    assert_eq!(recovery.damages, []);
}

#[test]
fn checkpoint_over_damage_is_refused_unless_blocks_have_what_it_cost_or_a_start_has_named_it() {
    let fs = log();
    let quarantine_dir = data_dir().join("quarantine");
    let path = names::wal_segment(&wal_dir(), 1);
    let mut bytes = fs.read(&path).unwrap();
    bytes[900] ^= 1;
    fs.set_content(&path, bytes);
    let plan = CheckpointPlan { is_flushed: &|_, _| false, ..plan(3, &quarantine_dir) };
    let refused = checkpoint(&fs, &wal_dir(), &plan).unwrap_err();
    assert!(matches!(refused, WalError::CheckpointOverDamage { segment: 1, .. }), "{refused}");
    assert_eq!((read_notes(&fs, &quarantine_dir), LogFiles::list(&fs, &wal_dir()).unwrap().checkpoint), (vec![], None));
    let (recovery, _) = recover_all(&fs, &data_dir());
    assert_eq!(recovery.damages.len(), 1);
    checkpoint(&fs, &wal_dir(), &plan).unwrap();
}

#[test]
fn checkpoint_is_not_made_of_a_log_that_reads_differently_a_second_time() {
    let fs = log();
    let needed_before = needed_now(&fs);
    let (quarantine_dir, path) = (data_dir().join("quarantine"), names::wal_segment(&wal_dir(), 1));
    // First asked when the second reading has begun.
    let keep_series = |series_ref: u64| {
        fs.make_unreadable(&path, 0..1);
        is_live(series_ref)
    };
    let plan = CheckpointPlan { keep_series: &keep_series, ..plan(3, &quarantine_dir) };
    let refused = checkpoint(&fs, &wal_dir(), &plan).unwrap_err();
    assert!(matches!(refused, WalError::ReadsDifferently { .. }), "{refused}");
    fs.heal();
    assert_eq!(needed_now(&fs), needed_before);
    truncate(&fs, 3).unwrap();
    assert_eq!(needed_now(&fs), needed_before);
}

#[test]
fn foreign_log_is_checkpointed_too() {
    let fs = SimFs::new(1);
    fs.create_dir_all(&wal_dir()).unwrap();
    let mut compressor = crate::wal::writer::RecordCompressor::new(Compression::Snappy);
    for segment in 0..4u32 {
        let mut file = SegmentWriter::create(&fs, &wal_dir(), segment).unwrap();
        if segment == 0 {
            for series in 1..=SERIES {
                file.append(&series_record(series, &format!("live_{series}")), &mut compressor).unwrap();
            }
        }
        for step in 0..10 {
            let time_ms = i64::from(segment * 10 + step) * 1_000;
            let samples: Vec<_> = (1..=SERIES).map(|series| (series, time_ms, 1.5)).collect();
            file.append(&samples_record(&samples), &mut compressor).unwrap();
        }
        file.complete().unwrap();
    }
    let needed_before = needed_now(&fs);
    let report = make(&fs, 2).unwrap();
    remove_superseded(&fs, &wal_dir()).unwrap();
    assert_eq!(needed_now(&fs), needed_before);
    assert_eq!((report.left_in_order.samples, report.kept_in_order.samples), (20 * SERIES, 10 * SERIES));
    let (recovery, _) = recover_all(&fs, &data_dir());
    assert_eq!(recovery.damages, []);
    assert_eq!(recovery.resume.next_segment, 4);
}
