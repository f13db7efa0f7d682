//! Damage of the log: while the server runs, of a group's seal alone, and files of it that vanished.

use super::explore::read;
use super::witness::{Witness, minute};
use super::*;
use crate::fs::{Fs, names};
use crate::verify::{VerifyOptions, verify};
use crate::wal::{LogFiles, RecordType, SegmentEvent, SegmentReader, record};

/// With many segments.
fn small_segments() -> DbOptions {
    let wal = WalOptions { segment_bytes: 4 << 10, ..options().wal };
    DbOptions { wal, ..options() }
}

fn filled(minutes: i64) -> Store {
    let mut store = Store::new(small_segments());
    append(&mut store, 0..minutes);
    store
}

fn append(store: &mut Store, minutes: std::ops::Range<i64>) {
    for at_ms in minutes.map(minute) {
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]));
    }
}

fn wal_dir() -> std::path::PathBuf {
    Path::new(DATA).join(names::WAL_DIR)
}

fn log_files(fs: &SimFs) -> Vec<std::path::PathBuf> {
    LogFiles::list(fs, &wal_dir()).unwrap().files.into_iter().map(|file| file.path).collect()
}

/// Lets bytes in the middle of a file rot.
fn rot(fs: &SimFs, path: &Path) {
    let mut bytes = fs.read(path).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..middle + 300].fill(0xff);
    fs.set_content(path, bytes);
}

/// Where the seal of the first group with late samples begins.
fn seal_of_late(fs: &SimFs, path: &Path) -> Option<u64> {
    let (mut reader, mut is_late) = (SegmentReader::open(fs, path).unwrap(), false);
    while let SegmentEvent::Record { offset, bytes, .. } = reader.next_event() {
        is_late |= bytes[0] == RecordType::OutOfOrderSamples as u8;
        if is_late && bytes[0] == RecordType::Seal as u8 {
            return Some(offset);
        }
    }
    None
}

/// Lets a bit of it flip.
fn flip_seal_of_late(fs: &SimFs) {
    let late = |path: std::path::PathBuf| seal_of_late(fs, &path).map(|seal| (path, seal));
    let (path, seal) = log_files(fs).into_iter().find_map(late).unwrap();
    let mut bytes = fs.read(&path).unwrap();
    bytes[seal as usize + 40] ^= 1;
    fs.set_content(&path, bytes);
}

fn has_log_alarm(db: &Db) -> bool {
    db.storage_status().alarms.iter().any(|(about, _)| *about == "log")
}

#[test]
fn late_samples_whose_group_lost_its_seal_are_flushed_and_nothing_but_the_seal_is_missed() {
    let mut witness = Witness::new(options());
    witness.fill(0..150, &["a"]).unwrap();
    for at in [20, 70, 130] {
        witness.give(minute(at) + 30_000, &[("a", 0.5), ("late", 0.25)]).unwrap();
    }
    // Killed, so that the start reads all of the log.
    let store = &witness.store;
    let disk = store.fs.kill();
    flip_seal_of_late(&disk);

    let db = open(&disk, &store.clock, options()).unwrap();
    assert_eq!(db.recovery().damages.len(), 1, "{:?}", db.recovery());
    assert_eq!(db.head().out_of_order_samples(), 5);
    let answers = |db: &Db| read(&*db.queryable(), TimeRange::ALL).unwrap().0;
    let before = answers(&db);
    assert_eq!(before.len(), store.model.values().map(|samples| samples.len()).sum::<usize>());
    let damage_alone = |db: &Db, when: &str| {
        let findings = db.verify().unwrap().findings;
        assert!(findings.iter().all(|finding| finding.contains("cannot be read")), "{when}: {findings:?}");
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let report = verify(&fs, &VerifyOptions { data_dir: DATA.into(), ..VerifyOptions::default() });
        let found: Vec<_> = report.stages.iter().flat_map(|stage| &stage.findings).collect();
        assert!(found.iter().all(|finding| finding.contains("costs group")), "{when}: {found:?}");
    };
    damage_alone(&db, "started");
    let flushed = db.flush_out_of_order_samples().unwrap().unwrap();
    assert_eq!(flushed.stored.samples, 5);
    damage_alone(&db, "flushed");
    db.close();
    drop(db);
    let db = open(&disk, &store.clock, options()).unwrap();
    assert_eq!((db.head().out_of_order_samples(), answers(&db) == before), (0, true));
    // Nor does the log keep them.
    db.flush().unwrap();
    let kept = db.checkpoint().unwrap();
    assert!(kept.is_none_or(|summary| summary.kept == crate::model::Tally::ZERO));
    assert_eq!(answers(&db), before);
    db.close();
}

#[test]
fn late_samples_that_were_flushed_stay_so_when_their_group_loses_its_seal() {
    let mut witness = Witness::new(options());
    witness.fill(0..150, &["a"]).unwrap();
    witness.give(minute(20) + 30_000, &[("a", 0.5)]).unwrap();
    assert!(witness.db().flush_out_of_order_samples().unwrap().is_some());
    witness.give(minute(70) + 30_000, &[("a", 0.5)]).unwrap();
    witness.db().committer.roll().wait().unwrap();
    flip_seal_of_late(&witness.store.fs);
    let flushed = witness.db().flush_out_of_order_samples().unwrap().unwrap();
    assert_eq!(flushed.stored.samples, 1);
}

#[test]
fn log_is_not_truncated_over_damage_that_only_the_head_can_make_good() {
    let store = filled(200);
    store.db.flush_if_due().unwrap();
    assert_eq!(store.db.flushed_ms(), minute(120));
    let segments = log_files(&store.fs);
    rot(&store.fs, &segments[segments.len() * 3 / 4]);
    let refused = store.db.checkpoint().unwrap_err();
    assert!(refused.0.contains("samples that no block has may have stood there"), "{refused}");
    // A kill now, and the next start names what is missing.
    let disk = store.fs.kill();
    let db = open(&disk, &store.clock, small_segments()).unwrap();
    assert!(!db.recovery().damages.is_empty() && has_log_alarm(&db), "{:?}", db.recovery().damages);
    // Nothing is known any more of what that start has named.
    db.checkpoint().unwrap().unwrap();
    db.close();
    // Where there was no kill, the head saves it.
    let emptied = store.db.empty_log().unwrap();
    assert!(emptied.log_failed.is_some());
    store.assert_equals_model("emptied by force");
    assert!(!has_log_alarm(&open(&store.fs.kill(), &store.clock, small_segments()).unwrap()));
}

#[test]
fn log_is_truncated_over_damage_of_what_blocks_have() {
    let store = filled(200);
    store.db.flush_if_due().unwrap();
    rot(&store.fs, &log_files(&store.fs)[1]);
    store.db.checkpoint().unwrap().unwrap();
    let disk = store.fs.kill();
    let db = open(&disk, &store.clock, small_segments()).unwrap();
    assert!(db.recovery().damages.is_empty() && !has_log_alarm(&db), "{:?}", db.recovery().damages);
    assert_same(&contents(&db, TimeRange::ALL), &store.model, "truncated");
}

/// Lets the byte before the last of the record rot that names the series of this job.
fn rot_name(fs: &SimFs, job: &str) {
    let names = |bytes: &[u8]| {
        let (mut decoder, mut labels, mut is_named) = (record::series(&bytes[1..]), Vec::new(), false);
        while bytes[0] == RecordType::Series as u8 && decoder.next_into(&mut labels).unwrap().is_some() {
            is_named |= labels[1].value == job;
        }
        is_named
    };
    let named_at = |path: &Path| {
        let mut reader = SegmentReader::open(fs, path).unwrap();
        while let SegmentEvent::Record { end, bytes, .. } = reader.next_event() {
            if names(&bytes) {
                return Some(end as usize - 2);
            }
        }
        None
    };
    let (path, at) = log_files(fs).into_iter().find_map(|path| named_at(&path).map(|at| (path, at))).unwrap();
    let mut bytes = fs.read(&path).unwrap();
    bytes[at] ^= 1;
    fs.set_content(&path, bytes);
}

fn append_three(store: &mut Store, minutes: std::ops::Range<i64>) {
    for at_ms in minutes.map(minute) {
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &["a", "b", "c"].map(|job| (job.to_owned(), 1.0))));
    }
}

#[test]
fn checkpoint_over_damage_names_series_whose_names_the_log_has_lost() {
    let mut store = filled(60);
    append_three(&mut store, 60..200);
    store.db.flush_if_due().unwrap();
    rot_name(&store.fs, "c");
    let kept = store.db.checkpoint().unwrap().unwrap().kept;
    assert_eq!(kept.samples, 3 * 80);
    append_three(&mut store, 200..210);
    let disk = store.fs.kill();
    let db = open(&disk, &store.clock, small_segments()).unwrap();
    assert!(db.recovery().damages.is_empty() && !has_log_alarm(&db), "{:?}", db.recovery().damages);
    assert_same(&contents(&db, TimeRange::ALL), &store.model, "truncated over a lost name");
    db.close();
    // The log is a witness again.
    append_three(&mut store, 210..300);
    store.db.flush().unwrap();
    store.restart(small_segments());
    store.assert_equals_model("flushed");
}

#[test]
fn log_emptied_by_force_names_series_that_go_on_meanwhile() {
    let mut store = filled(60);
    append_three(&mut store, 60..130);
    store.db.committer.roll().wait().unwrap();
    rot_name(&store.fs, "c");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (fs, clock, db) = (store.fs.clone(), store.clock.clone(), store.db.clone());
        let (model, stop) = (std::mem::take(&mut store.model), &stop);
        let sender = scope.spawn(move || {
            let mut sender = Store { fs, clock, db, model };
            let mut at_ms = minute(130);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sender.append(at_ms, &[("c".to_owned(), 1.0)]);
                at_ms += 1;
            }
            sender.model
        });
        let emptied = store.db.empty_log();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let emptied = emptied.unwrap();
        assert!(emptied.log_failed.is_some() && emptied.unlogged.samples > 0, "{emptied:?}");
        store.model = sender.join().unwrap();
    });
    let disk = store.fs.kill();
    let db = open(&disk, &store.clock, small_segments()).unwrap();
    assert_same(&contents(&db, TimeRange::ALL), &store.model, "killed behind it");
    db.close();
    store.db.flush().unwrap();
    store.assert_equals_model("flushed with the log as the witness");
    assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO);
    assert!(store.db.verify().unwrap().is_good());
}

#[test]
fn oldest_files_of_the_log_that_vanished_are_named_by_a_start_and_alarm_from_then_on() {
    let vanish = |is_truncated: bool, harm: fn(&SimFs)| {
        let mut store = filled(200);
        if is_truncated {
            store.db.flush_if_due().unwrap();
            store.db.checkpoint().unwrap().unwrap();
            append(&mut store, 200..210);
        }
        store.db.close();
        let whole = open(&store.fs.copy(), &store.clock, small_segments()).unwrap();
        assert!(whole.recovery().damages.is_empty() && !has_log_alarm(&whole));
        let disk = store.fs.copy();
        harm(&disk);
        let strict = DbOptions { recovery: RecoveryMode::Strict, ..small_segments() };
        assert!(open(&disk.copy(), &store.clock, strict).is_err());
        let named: Vec<(String, Option<(u64, u64)>)> = (0..3)
            .flat_map(|start| {
                let db = open(&disk, &store.clock, small_segments()).unwrap();
                assert!(has_log_alarm(&db), "start {start}");
                let damages = db.recovery().damages.clone();
                db.close();
                damages
            })
            .map(|damage| (damage.what, damage.groups))
            .collect();
        assert_eq!(named.len(), 1, "{named:?}");
        let fs: Arc<dyn Fs> = Arc::new(disk);
        let report = verify(&fs, &VerifyOptions { data_dir: DATA.into(), ..VerifyOptions::default() });
        let found: Vec<String> = report.stages.into_iter().flat_map(|stage| stage.findings).collect();
        (named.into_iter().next().unwrap(), found)
    };
    let ((what, groups), _) = vanish(false, |disk| remove(disk, log_files(disk).into_iter().take(2).collect()));
    assert_eq!((what.as_str(), groups.map(|(first, _)| first)), ("the first segments are missing", Some(1)));
    let harms: [fn(&SimFs); 5] = [
        |disk| {
            remove(disk, checkpoint_files(disk));
            remove_checkpoint_dir(disk);
        },
        |disk| {
            remove(disk, log_files(disk));
            remove_checkpoint_dir(disk);
        },
        |disk| remove(disk, checkpoint_files(disk)),
        |disk| checkpoint_files(disk).iter().for_each(|path| disk.set_content(path, Vec::new())),
        |disk| checkpoint_files(disk).iter().for_each(|path| disk.set_content(path, vec![0; 5000])),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let ((what, _), found) = vanish(true, harm);
        assert!(what.starts_with("the checkpoint of the segments up to"), "{number}: {what}");
        assert!(!found.is_empty(), "{number}");
    }
}

/// How many samples a query gives, whatever it warns of.
fn answered(db: &Db) -> usize {
    read(&*db.queryable(), TimeRange::ALL).unwrap().0.len()
}

#[test]
fn log_that_was_removed_goes_on_behind_its_segments_and_receipts_of_what_leaves_it_are_kept() {
    let mut store = filled(200);
    store.db.flush_if_due().unwrap();
    store.db.checkpoint().unwrap().unwrap();
    store.db.close();
    let known = store.db.ledger_state().left_log.up_to_segment.unwrap();
    remove(&store.fs, log_files(&store.fs));
    remove_checkpoint_dir(&store.fs);
    store.db = open(&store.fs, &store.clock, small_segments()).unwrap();
    let kept = answered(&store.db);
    let before = store.db.ledger_state().left_log;
    append(&mut store, 200..500);
    let files = LogFiles::list(&store.fs, &wal_dir()).unwrap().files;
    assert_eq!(files.first().map(|file| file.number), Some(known + 1));
    store.db.flush_if_due().unwrap();
    let truncated = store.db.checkpoint().unwrap().unwrap();
    assert!(truncated.up_to_segment > known && truncated.requests > 0, "{truncated:?}");
    let left = store.db.ledger_state().left_log;
    assert_eq!(left.up_to_segment, Some(truncated.up_to_segment));
    assert_eq!(left.requests, before.requests + truncated.requests);
    assert_eq!(answered(&store.db), kept + 600);
}

#[test]
fn truncation_of_segments_that_another_program_counted_anew_is_recorded() {
    let mut store = filled(200);
    store.db.flush_if_due().unwrap();
    store.db.checkpoint().unwrap().unwrap();
    store.db.close();
    remove(&store.fs, log_files(&store.fs));
    remove_checkpoint_dir(&store.fs);
    store.fs.set_content(&names::wal_segment(&wal_dir(), 0), Vec::new());
    store.db = open(&store.fs, &store.clock, small_segments()).unwrap();
    let kept = answered(&store.db);
    let before = store.db.ledger_state().left_log;
    append(&mut store, 200..340);
    store.db.flush_if_due().unwrap();
    let truncated = store.db.checkpoint().unwrap().unwrap();
    assert!(Some(truncated.up_to_segment) < before.up_to_segment, "{truncated:?}");
    assert_eq!(store.db.ledger_state().left_log.requests, before.requests + truncated.requests);
    assert_eq!(answered(&store.db), kept + 280);
}

fn remove(disk: &SimFs, paths: Vec<std::path::PathBuf>) {
    paths.iter().for_each(|path| disk.remove_file(path).unwrap());
}

fn checkpoint_files(disk: &SimFs) -> Vec<std::path::PathBuf> {
    log_files(disk).into_iter().filter(|path| path.iter().count() > 4).collect()
}

fn remove_checkpoint_dir(disk: &SimFs) {
    let checkpoint = LogFiles::list(disk, &wal_dir()).unwrap().checkpoint.unwrap();
    disk.remove_dir(&names::checkpoint_dir(&wal_dir(), checkpoint)).unwrap();
}
