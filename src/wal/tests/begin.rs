//! At which request a log begins whose older segments are gone.

use std::path::PathBuf;

use super::*;
use crate::clock::ManualClock;
use crate::fs::names;
use crate::fs::sim::SimFs;

const WAL: &str = "/data/wal";

/// Two segments with a group each: requests 1 and 2, and 3 to 5. Both groups wait when the second is begun.
fn two_segments() -> SimFs {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let mut writer =
        GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), Resume::default(), WalOptions::default(), clock);
    for (group, requests) in [(1, 2), (2, 3)] {
        let records = vec![samples_record(&[(1, group, 1.0)])];
        writer.form_group(&vec![(1, Digest(7)); requests], GroupRecords { records, on_durable: None }, false);
        if group == 1 {
            writer.roll_before_next();
        }
    }
    writer.write_pending().1.unwrap();
    fs
}

#[test]
fn log_begins_at_the_first_request_that_is_sealed_whether_its_segment_is_read_or_skipped() {
    let fs = two_segments();
    assert_eq!(scan_all(&fs, Path::new(WAL)).0.first_commit, Some(1));
    summarize(&fs, Path::new(WAL), true).unwrap();
    let from = ReplayFrom { time_ms: 10, group: 10, floor_ms: 10 };
    let (wal, quarantine) = (Path::new(WAL), Path::new("/data/quarantine"));
    let mut kept = Kept::default();
    let progress = ReplayProgress::default();
    let known = LogKnown { from: Some(from), ..LogKnown::default() };
    let recovery = recover_from(&fs, wal, quarantine, RecoveryMode::Salvage, known, &mut kept, &progress).unwrap();
    assert_eq!((recovery.log.segments_skipped, recovery.log.first_commit), (2, Some(1)));
    fs.remove_file(&names::wal_segment(wal, 0)).unwrap();
    assert_eq!(scan_all(&fs, wal).0.first_commit, Some(3));
}

#[test]
fn log_that_has_only_a_mark_begins_behind_it() {
    let fs = two_segments();
    let wal = Path::new(WAL);
    fs.remove_file(&names::wal_segment(wal, 0)).unwrap();
    let second = names::wal_segment(wal, 1);
    let mut bytes = fs.read(&second).unwrap();
    let mut reader = SegmentReader::open(&fs, &second).unwrap();
    let SegmentEvent::Record { end, .. } = reader.next_event() else { panic!("no mark") };
    bytes.truncate(end as usize);
    fs.set_content(&second, bytes);
    assert_eq!(scan_all(&fs, wal).0.first_commit, Some(6));
}

#[test]
fn checkpoint_without_a_record_stands_for_nothing_unless_another_program_made_it() {
    let fs = two_segments();
    let wal = Path::new(WAL);
    fs.remove_file(&names::wal_segment(wal, 0)).unwrap();
    let dir = names::checkpoint_dir(wal, 0);
    fs.create_dir_all(&dir).unwrap();
    let lost = |checkpoint: Option<u32>| {
        let known =
            LogKnown { from: None, left: Some(LeftBefore { up_to_segment: Some(0), checkpoint, last_group: 1 }) };
        let quarantine = Path::new("/data/quarantine");
        let found = look(&fs, wal, quarantine, known, &mut Kept::default(), &ReplayProgress::default()).unwrap();
        found.damages.iter().map(|damage| damage.groups).collect::<Vec<_>>()
    };
    assert_eq!((lost(None), lost(Some(0))), (vec![Some((1, 1))], vec![Some((1, 1))]), "none has no file");
    fs.create(&names::wal_segment(&dir, 0)).unwrap();
    assert_eq!((lost(None), lost(Some(0))), (vec![], vec![Some((1, 1))]));
}
