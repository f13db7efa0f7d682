//! Files of the log that vanished.

use super::witness::minute;
use super::*;
use crate::fs::{Fs, names};
use crate::verify::{VerifyOptions, verify};
use crate::wal::LogFiles;

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

fn has_log_alarm(db: &Db) -> bool {
    db.storage_status().alarms.iter().any(|(about, _)| *about == "log")
}

#[test]
fn oldest_files_of_the_log_that_vanished_are_named_by_a_start_and_alarm_from_then_on() {
    let vanish = |is_truncated: bool, which: fn(&SimFs) -> Vec<std::path::PathBuf>| {
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
        which(&disk).iter().for_each(|path| disk.remove_file(path).unwrap());
        if let Some(checkpoint) = LogFiles::list(&disk, &wal_dir()).unwrap().checkpoint {
            let dir = names::checkpoint_dir(&wal_dir(), checkpoint);
            assert_eq!(disk.list(&dir).unwrap(), []);
            disk.remove_dir(&dir).unwrap();
        }
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
    let ((what, groups), _) = vanish(false, |disk| log_files(disk).into_iter().take(2).collect());
    assert_eq!((what.as_str(), groups.map(|(first, _)| first)), ("the first segments are missing", Some(1)));
    let of_checkpoint = |disk: &SimFs| log_files(disk).into_iter().filter(|path| path.iter().count() > 4).collect();
    let ((what, _), found) = vanish(true, of_checkpoint);
    assert!(what.starts_with("the checkpoint of the segments up to"), "{what}");
    assert!(!found.is_empty());
    let ((what, _), _) = vanish(true, log_files);
    assert!(what.starts_with("the checkpoint of the segments up to"), "{what}");
}
