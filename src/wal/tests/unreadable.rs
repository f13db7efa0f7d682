//! Bytes that the disk refuses to give: they may be whole, so nothing is concluded from them, and none of them goes.

use std::path::PathBuf;

use super::damage::{WAL, log_of_segments, segment, small_log, stored};
use super::*;
use crate::clock::ManualClock;
use crate::fs::names;
use crate::fs::sim::SimFs;

const DATA: &str = "/data";
const QUARANTINE: &str = "/data/quarantine";

/// The segments that lie in quarantine, once the disk gives everything again.
fn kept_segments(fs: &SimFs) -> Vec<Vec<u8>> {
    fs.heal();
    let entries = fs.list(Path::new(QUARANTINE)).unwrap();
    let segments = entries.iter().filter(|entry| entry.name.ends_with(".segment"));
    segments.map(|entry| fs.read(&Path::new(QUARANTINE).join(&entry.name)).unwrap()).collect()
}

/// A start that comes before the writer finds the same numbers, and no new damage. Then the writer goes on, and the next
/// starts find the same samples.
fn assert_goes_on(fs: &SimFs, resume: Resume, samples: &[(u64, i64, u64)]) {
    let (second, kept) = recover_all(fs, Path::new(DATA));
    assert_eq!((second.damages, second.torn_tail, second.resume), (Vec::new(), None, resume));
    assert!(kept.samples() == samples);
    let clock = Arc::new(ManualClock::at(0));
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), resume, WalOptions::default(), clock);
    writer.form_group(&[(0, Digest::ZERO)], GroupRecords::default(), false);
    writer.write_pending().1.unwrap();
    for _ in 0..2 {
        let (again, kept) = recover_all(fs, Path::new(DATA));
        assert_eq!((again.damages, again.torn_tail), (Vec::new(), None));
        assert!(kept.samples() == samples);
        assert_eq!(again.resume.next_group, resume.next_group + 1);
    }
}

#[test]
fn end_of_the_log_that_cannot_be_read_is_lost_by_name_and_its_segment_is_kept() {
    let fs = small_log(Compression::None, 8, 3_000);
    let bytes = fs.read(&segment()).unwrap();
    let (whole, _) = scan_all(&fs, Path::new(WAL));
    let end = bytes.len() as u64;
    fs.make_unreadable(&segment(), end - 10..end);
    let (wal, mut sink) = (Path::new(WAL), Kept::default());
    let strict = recover(&fs, wal, Path::new(QUARANTINE), RecoveryMode::Strict, &mut sink, &ReplayProgress::default());
    assert!(matches!(strict, Err(WalError::Damaged { .. })));
    let (recovery, kept) = recover_all(&fs, Path::new(DATA));
    assert_eq!((recovery.damages.len(), recovery.torn_tail.is_none()), (1, true), "{:?}", recovery.damages);
    assert!(recovery.noted[0].is_lossy && recovery.noted[0].reason.contains("input/output"), "{:?}", recovery.noted);
    let (first, last) = recovery.damages[0].groups.unwrap();
    assert!(first <= whole.resume.next_group && whole.resume.next_group <= last);
    // Nobody knows which numbers were given.
    assert_eq!(recovery.resume.next_group, last + 1);
    assert!(recovery.resume.next_commit >= whole.resume.next_commit);
    assert_eq!(kept_segments(&fs), [bytes]);
    assert_goes_on(&fs, recovery.resume, &kept.samples());
}

#[test]
fn newest_segment_of_which_nothing_can_be_read_is_lost_by_name_and_kept() {
    let fs = log_of_segments();
    let newest = names::wal_segment(Path::new(WAL), 2);
    let bytes = fs.read(&newest).unwrap();
    fs.make_unreadable(&newest, 0..1);
    let (recovery, kept) = recover_all(&fs, Path::new(DATA));
    let lost: Vec<_> = recovery.damages.iter().map(|damage| damage.groups).collect();
    assert_eq!((lost, recovery.torn_tail), (vec![Some((7, 6 + bytes.len() as u64))], None));
    assert!(recovery.noted[0].is_lossy);
    assert_eq!(kept_segments(&fs), [bytes]);
    assert_goes_on(&fs, recovery.resume, &kept.samples());
}

#[test]
fn newest_group_that_cannot_be_read_is_no_torn_one_although_its_seal_can() {
    let fs = small_log(Compression::None, 1, 9_000);
    let mut bytes = fs.read(&segment()).unwrap();
    // Without the empty group behind it.
    let (_, kept) = scan_all(&fs, Path::new(WAL));
    let mut reader = SegmentReader::open(&fs, &segment()).unwrap();
    let mut ends = Vec::new();
    while let SegmentEvent::Record { end, .. } = reader.next_event() {
        ends.push(end);
    }
    bytes.truncate(ends[ends.len() - 2] as usize);
    fs.set_content(&segment(), bytes);
    fs.make_unreadable(&segment(), 40_000..40_001);
    let (recovery, read) = recover_all(&fs, Path::new(DATA));
    let lost: Vec<_> = recovery.damages.iter().map(|damage| damage.groups).collect();
    assert_eq!((lost, recovery.torn_tail), (vec![Some((1, 1))], None));
    assert_eq!(read.samples().len(), kept.samples().len() / 2);
    fs.heal();
    assert_goes_on(&fs, recovery.resume, &read.samples());
}

#[test]
fn place_that_cannot_be_read_costs_the_copy_in_quarantine_one_page_of_the_disk() {
    let fs = small_log(Compression::None, 8, 3_000);
    let bytes = fs.read(&segment()).unwrap();
    fs.make_unreadable(&segment(), 70_000..70_001);
    let (recovery, kept) = recover_all(&fs, Path::new(DATA));
    assert!(!recovery.damages.is_empty() && recovery.torn_tail.is_none(), "{:?}", recovery.torn_tail);
    assert_eq!(kept_segments(&fs), std::slice::from_ref(&bytes));
    let note = &read_notes(&fs, Path::new(QUARANTINE))[0];
    let copied = fs.read(&Path::new(QUARANTINE).join(&note.file)).unwrap();
    let expected = (note.offset..note.offset + note.bytes).map(|at| match at / 4096 == 70_000 / 4096 {
        true => 0,
        false => bytes[at as usize],
    });
    assert!(copied == expected.collect::<Vec<_>>());
    assert_goes_on(&fs, recovery.resume, &kept.samples());
}

/// Does something to the disk when all of the log has been read.
struct ThenDo<'a>(&'a dyn Fn());

impl ReplaySink for ThenDo<'_> {
    fn record(&mut self, _position: RecordPosition, _record: Vec<u8>) -> Result<(), WalError> {
        Ok(())
    }

    fn seal(&mut self, _position: RecordPosition, seal: &Seal, _intact: bool) -> Result<(), WalError> {
        if seal.clean_end {
            (self.0)();
        }
        Ok(())
    }
}

#[test]
fn segment_that_reads_differently_when_it_is_repaired_stays_as_it_is() {
    let broken = || {
        let fs = small_log(Compression::None, 8, 3_000);
        let mut bytes = fs.read(&segment()).unwrap();
        bytes[100_000] ^= 1;
        fs.set_content(&segment(), bytes.clone());
        (fs, bytes)
    };
    let recover_then = |fs: &SimFs, then: &dyn Fn()| {
        let (wal, quarantine) = (Path::new(WAL), Path::new(QUARANTINE));
        recover(fs, wal, quarantine, RecoveryMode::Salvage, &mut ThenDo(then), &ReplayProgress::default()).unwrap()
    };
    // More of it is bad than when it was read.
    let (fs, bytes) = broken();
    let readable = stored(&fs);
    let recovery = recover_then(&fs, &|| fs.make_unreadable(&segment(), 200_000..200_001));
    assert!(recovery.repair_failure.is_some_and(|failure| failure.contains("does not read as it did")));
    fs.heal();
    assert_eq!(fs.read(&segment()).unwrap(), bytes);
    recover_all(&fs, Path::new(DATA));
    assert_eq!(stored(&fs), readable);
    // Less of it.
    let fs = small_log(Compression::None, 8, 3_000);
    let all = stored(&fs);
    fs.make_unreadable(&segment(), 70_000..70_001);
    let recovery = recover_then(&fs, &|| fs.heal());
    assert!(recovery.repair_failure.is_some() && !recovery.damages.is_empty());
    let (again, _) = recover_all(&fs, Path::new(DATA));
    assert_eq!((again.damages.len(), stored(&fs)), (0, all));
}

#[test]
fn power_loss_while_a_segment_is_set_aside_leaves_all_of_it_in_one_of_two_places() {
    let setup = || {
        let fs = small_log(Compression::Snappy, 6, 4_000);
        let bytes = fs.read(&segment()).unwrap();
        fs.make_unreadable(&segment(), 40_000..40_001);
        (fs, bytes)
    };
    let (fs, bytes) = setup();
    assert!(bytes.len() > 80_000, "{}", bytes.len());
    let first = fs.operations();
    recover_all(&fs, Path::new(DATA));
    for operation in first..fs.operations() {
        for seed in 0..5 {
            let (fs, _) = setup();
            fs.lose_power_at(operation);
            let (wal, quarantine, mode) = (Path::new(WAL), Path::new(QUARANTINE), RecoveryMode::Salvage);
            let _lost = recover(&fs, wal, quarantine, mode, &mut Kept::default(), &ReplayProgress::default());
            let disk = fs.crash(seed);
            let is_in_place = disk.read(&segment()).is_ok_and(|found| found == bytes);
            let is_kept = || kept_segments(&disk).contains(&bytes);
            assert!(is_in_place || is_kept(), "operation {operation}, seed {seed}");
        }
    }
}
