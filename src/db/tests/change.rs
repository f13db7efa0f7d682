//! Samples that come late, samples that are deleted, blocks that have had their time, and copies of it all.

use super::*;
use crate::block::accel::AccelState;
use crate::block::{self, Block, SnapshotManifest};
use crate::model::Matcher;
use retention::ExpiryReason;

fn one(name: &str, value: f64) -> [(String, f64); 1] {
    [(name.to_owned(), value)]
}

/// Two series, a sample a minute.
fn fill(store: &mut Store, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), minute as f64), ("b".to_owned(), -minute as f64)]));
    }
}

fn delete(store: &mut Store, name: &str, from_minute: i64, to_minute: i64) -> Deleted {
    let range = TimeRange::new(START + from_minute * MINUTE, START + to_minute * MINUTE);
    let deleted = store.db.delete_series(&[Matcher::equal("job", name)], range).unwrap();
    for (labels, samples) in &mut store.model {
        if labels.get("job") == Some(name) {
            samples.retain(|at_ms, _| !range.contains(*at_ms));
        }
    }
    store.model.retain(|_, samples| !samples.is_empty());
    deleted
}

#[test]
fn samples_out_of_order_are_flushed_to_blocks_of_their_time_and_merged_with_them() {
    let mut store = Store::new(options());
    fill(&mut store, 0..300);
    // Between the others, and of a series of their own; in two windows.
    for minute in [130, 121, 250, 140, 245] {
        let at_ms = START + minute * MINUTE + 30_000;
        assert!(store.append(at_ms, &[("a".to_owned(), 0.5), ("late".to_owned(), 0.25)]));
    }
    store.assert_equals_model("in the head");
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good() && verified.log.samples == 610, "{verified:?}");
    store.restart(options());
    store.assert_equals_model("replayed");
    let copied = || store.fs.exists(&Path::new(DATA).join(crate::fs::names::WBL_DIR));
    assert!(copied());
    let report = store.db.flush().unwrap();
    assert!(!copied(), "Prometheus finds them in blocks now");
    assert!(report.flushed.iter().any(|flushed| flushed.kind == FlushKind::OutOfOrder && flushed.blocks.len() == 2));
    assert_eq!(store.db.head().out_of_order_range(), None);
    store.assert_equals_model("flushed");
    store.restart(options());
    store.assert_equals_model("flushed and opened again");
    let compacted = store.db.compact().unwrap();
    assert!(!compacted.compactions.is_empty());
    store.assert_equals_model("compacted");
    let late = store.db.blocks().iter().filter(|block| block.meta.is_from_out_of_order()).count();
    assert_eq!(late, 0, "they were merged with the blocks of their time");
    assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO);
}

#[test]
fn deletions_hold_in_head_and_blocks_through_flush_compaction_and_restart() {
    let mut store = Store::new(options());
    fill(&mut store, 0..200);
    store.db.flush().unwrap();
    fill(&mut store, 200..280);
    let deleted = delete(&mut store, "a", 60, 230);
    assert_eq!((deleted.head_series, deleted.blocks), (1, 2));
    store.assert_equals_model("deleted");
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good(), "{verified:?}");
    store.restart(options());
    store.assert_equals_model("deleted and replayed");
    store.db.flush().unwrap();
    store.assert_equals_model("deleted and flushed");
    assert_eq!(store.db.clean_tombstones().unwrap(), 2);
    store.assert_equals_model("cleaned");
    assert!(store.db.blocks().iter().all(|block| block.tombstones == 0));
    let history = store.db.compactions();
    assert!(history.iter().any(|record| record.deleted.samples > 0 && record.error.is_none()), "{history:?}");
    delete(&mut store, "b", -1000, 1000);
    store.assert_equals_model("all of a series");
    store.db.clean_tombstones().unwrap();
    store.restart(options());
    store.assert_equals_model("all of a series, cleaned and opened again");
    assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO);
}

#[test]
fn snapshot_is_a_data_directory_of_its_own_with_the_head_or_without() {
    let mut store = Store::new(options());
    fill(&mut store, 0..200);
    store.db.flush().unwrap();
    let flushed = store.model.clone();
    fill(&mut store, 200..230);
    assert!(store.append(START + 205 * MINUTE + 1, &one("a", 0.5)));
    for (skip_head, expected) in [(true, flushed), (false, store.model.clone())] {
        let name = store.db.snapshot(skip_head).unwrap();
        // Changes behind the snapshot's back don't reach it.
        let range = TimeRange::new(START + 10 * MINUTE, START + 20 * MINUTE);
        store.db.delete_series(&[Matcher::equal("job", "b")], range).unwrap();
        let data_dir = Path::new(DATA).join("snapshots").join(name);
        let manifest = SnapshotManifest::read(&store.fs, &data_dir).unwrap().unwrap();
        assert_eq!(manifest.blocks.iter().filter(|block| block.from_log).count(), usize::from(!skip_head));
        for known in &manifest.blocks {
            let block = Block::open(Arc::new(store.fs.clone()), &data_dir.join(known.ulid.to_string())).unwrap();
            assert_eq!(block::check(&block, &mut |_bytes| {}).stored, known.stored);
        }
        let entries = store.fs.list(&data_dir).unwrap();
        assert_eq!(entries.iter().filter(|entry| entry.is_dir).count(), manifest.blocks.len());
        let copy = open(&store.fs, &store.clock, DbOptions { data_dir, ..options() }).unwrap();
        let found = contents(&copy, TimeRange::ALL);
        let expected = match skip_head {
            true => expected,
            false => contents(&store.db, TimeRange::ALL),
        };
        assert_same(&found, &expected, "the snapshot");
        copy.close();
    }
}

/// A retention of six hours.
fn short() -> DbOptions {
    let retention = RetentionPolicy { time_ms: Some(6 * HOUR), size_bytes: None };
    DbOptions { storage: StorageOptions { retention, ..options().storage }, ..options() }
}

/// Half an hour of each of three windows, in blocks that such a retention keeps.
fn three_blocks() -> Store {
    let mut store = Store::new(short());
    for window in 0..3 {
        fill(&mut store, window * 120..window * 120 + 30);
    }
    store.db.flush().unwrap();
    store
}

#[test]
fn blocks_that_had_their_time_go_before_anything_else_and_never_all_of_them() {
    let mut store = three_blocks();
    assert_eq!(store.db.blocks().len(), 3);
    store.advance_to(START + 100 * HOUR);
    // Nobody wrote since: the newest sample is what age counts from.
    assert_eq!(store.db.expire().unwrap(), []);
    let at_ms = START + 100 * HOUR;
    assert!(store.append(at_ms, &one("a", 1.0)));
    let expired = store.db.expire().unwrap();
    assert_eq!(expired.iter().map(|one| one.reason).collect::<Vec<_>>(), [ExpiryReason::Time; 2]);
    let ledger = store.db.ledger_state();
    assert_eq!((ledger.totals.expired.samples, ledger.imbalance()), (120, crate::model::Tally::ZERO));
    assert_eq!(store.db.blocks().len(), 1);
    // The one that is left goes with the next newer block.
    store.db.flush().unwrap();
    store.restart(short());
    assert_eq!(store.db.blocks().len(), 1);
    store.model.values_mut().for_each(|samples| samples.retain(|at, _| *at == at_ms));
    store.model.retain(|_, samples| !samples.is_empty());
    store.assert_equals_model("expired at the start");
}

#[test]
fn blocks_answer_while_the_log_is_replayed_and_say_so() {
    let mut store = Store::new(options());
    fill(&mut store, 0..30);
    store.db.flush().unwrap();
    store.db.close();
    let watch = ReplayWatch::default();
    let db = Db::open_unlocked(options(), Arc::new(store.fs.clone()), store.clock.clone(), &watch).unwrap();
    let early = watch.early().unwrap();
    let querier = early.querier(TimeRange::ALL).unwrap();
    assert_eq!(querier.select(&[], &SelectHints::default()).unwrap().len(), 2);
    assert!(querier.warnings()[0].starts_with("the log is being replayed"));
    assert_eq!(db.queryable().querier(TimeRange::ALL).unwrap().warnings(), [""; 0]);
}

/// Puts a block of a snapshot into the data directory.
#[test]
fn block_that_cannot_be_read_now_is_named_by_deletions_and_snapshots_until_it_can() {
    let mut store = Store::new(options());
    fill(&mut store, 0..30);
    store.db.flush().unwrap();
    let block = store.db.blocks()[0].meta.ulid;
    store.db.close();
    let meta = Path::new(DATA).join(block.to_string()).join(crate::fs::names::BLOCK_META_FILE);
    let disk = store.fs.kill();
    disk.make_unreadable(&meta, 0..1);
    store.db = open(&disk, &store.clock, options()).unwrap();
    assert_eq!(store.db.blocks().len(), 0);
    let matcher = Matcher::equal("job", "a");
    let range = TimeRange::new(START, START + 10 * MINUTE);
    for refused in [store.db.delete_series(&[matcher], range).unwrap_err(), store.db.snapshot(true).unwrap_err()] {
        assert!(refused.0.contains(&block.to_string()), "{refused}");
    }
    store.db.close();
    store.db = open(&store.fs, &store.clock, options()).unwrap();
    delete(&mut store, "a", 0, 10);
    store.assert_equals_model("deleted where it can be read");
    store.db.snapshot(true).unwrap();
}

#[test]
fn accelerator_that_is_damaged_changes_no_answer_and_is_built_anew() {
    let mut store = Store::new(options());
    fill(&mut store, 0..30);
    store.db.flush().unwrap();
    store.db.accelerate_next().unwrap();
    let path =
        Path::new(DATA).join(store.db.blocks()[0].meta.ulid.to_string()).join(crate::fs::names::BLOCK_ACCEL_FILE);
    let whole = store.fs.read(&path).unwrap();
    let mut rebuilt = 0;
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        store.fs.set_content(&path, rotten);
        store.restart(options());
        let is_ready = |store: &Store| store.db.store.blocks.list()[0].accel_state() == AccelState::Ready;
        let found = super::witness::ask(&store.db, &[Matcher::equal("job", "a")]).unwrap();
        assert_eq!(found.len(), 1, "byte {at}");
        store.assert_equals_model("damaged");
        if is_ready(&store) {
            // No query needs that part of it.
            continue;
        }
        let built = store.db.run(Task::Accelerate).unwrap();
        assert!(matches!(built, maintenance::Outcome::More(_)), "{built:?}");
        assert!(is_ready(&store), "byte {at}");
        assert_eq!(store.fs.read(&path).unwrap(), whole);
        store.assert_equals_model("built anew");
        rebuilt += 1;
    }
    assert!(rebuilt >= 3, "{rebuilt}");
}

fn put_back(store: &Store, snapshot: &str, ulid: ulid::Ulid) {
    let data = Path::new(DATA);
    let from = data.join(crate::fs::names::SNAPSHOTS_DIR).join(snapshot).join(ulid.to_string());
    super::super::snapshot::link_files(&store.fs, &from, &data.join(ulid.to_string())).unwrap();
    store.fs.sync_dir(data).unwrap();
}

#[test]
fn block_that_came_back_after_all_of_it_was_deleted_outlives_the_next_start() {
    let scrubbed = || {
        let storage = StorageOptions { scrub_bytes_per_second: u64::MAX, ..options().storage };
        DbOptions { storage, ..options() }
    };
    let mut store = Store::new(scrubbed());
    fill(&mut store, 0..30);
    store.db.flush().unwrap();
    let (ulid, model) = (store.db.blocks()[0].meta.ulid, store.model.clone());
    let snapshot = store.db.snapshot(true).unwrap();
    delete(&mut store, "a", 0, 30);
    delete(&mut store, "b", 0, 30);
    assert_eq!(store.db.clean_tombstones().unwrap(), 1);
    assert_eq!(store.db.blocks().len(), 0);
    put_back(&store, &snapshot, ulid);
    store.model = model;
    store.db.reload_blocks().unwrap();
    store.assert_equals_model("taken in");
    // The scrub reads it, and tells the ledger.
    store.db.scrub_next().unwrap();
    assert!(store.db.ledger_state().blocks.contains_key(&ulid));
    store.restart(scrubbed());
    store.assert_equals_model("opened again");
    assert_same(&super::offline::look(&store.fs.kill(), &store.clock), &store.model, "looked at");
    assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO);
}

#[test]
fn expired_blocks_that_came_back_stay_where_the_retention_was_raised_before_the_start() {
    let mut store = three_blocks();
    let snapshot = store.db.snapshot(true).unwrap();
    let at_ms = START + 100 * HOUR;
    store.advance_to(at_ms);
    assert!(store.append(at_ms, &one("a", 1.0)));
    let expired = store.db.expire().unwrap();
    assert_eq!(expired.len(), 2);
    store.db.close();
    for one in expired {
        put_back(&store, &snapshot, one.ulid);
    }
    store.restart(options());
    store.assert_equals_model("opened with a longer retention");
    assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO);
}

#[test]
fn block_that_vanished_while_the_ledger_could_not_be_written_is_recorded_later() {
    let mut store = Store::new(options());
    fill(&mut store, 0..30);
    store.db.flush().unwrap();
    let (ulid, before) = (store.db.blocks()[0].meta.ulid, store.db.ledger_state());
    store.fs.remove_dir_all(&Path::new(DATA).join(ulid.to_string())).unwrap();
    let next = store.fs.operations();
    store.fs.fail(next..u64::MAX, crate::fs::sim::Fault::Error);
    store.db.reload_blocks().unwrap_err();
    store.fs.heal();
    assert_eq!(store.db.blocks().len(), 0);
    store.db.reload_blocks().unwrap();
    let ledger = store.db.ledger_state();
    assert_eq!((ledger.totals.deleted, ledger.blocks.len()), (before.blocks[&ulid], 0));
    assert_eq!(ledger.imbalance(), crate::model::Tally::ZERO);
}

#[test]
fn late_samples_ahead_of_the_blocks_in_order_wait_without_an_alarm() {
    let mut store = Store::new(options());
    fill(&mut store, 0..37);
    store.db.flush().unwrap();
    fill(&mut store, 37..60);
    for minute in [30, 50] {
        assert!(store.append(START + minute * MINUTE + 30_000, &one("a", 0.5)));
    }
    store.db.flush_out_of_order_samples().unwrap().unwrap();
    let report = store.db.compact().unwrap();
    assert_eq!((report.compactions.len(), report.skipped.len()), (0, 1), "{report:?}");
    assert!(store.db.store.notes().alarms.is_empty());
    store.db.flush().unwrap();
    assert_eq!(store.db.compact().unwrap().skipped, [""; 0]);
    store.assert_equals_model("compacted");
}
