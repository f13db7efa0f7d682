//! The log emptied by force: what was acknowledged is there afterwards, whatever state the log was in.

use super::*;
use crate::fs::names;

fn fill(store: &mut Store, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), minute as f64), ("b".to_owned(), -minute as f64)]));
    }
}

/// The files of the log in quarantine.
fn set_aside(fs: &SimFs, emptied: &EmptiedLog) -> Vec<String> {
    let files = fs.list(&Path::new(DATA).join(&emptied.place)).unwrap();
    files.into_iter().map(|file| file.name).collect()
}

/// Flips bits all over the oldest segment.
fn damage_log(fs: &SimFs) {
    let path = names::wal_segment(&Path::new(DATA).join(names::WAL_DIR), 0);
    let mut bytes = fs.read(&path).unwrap();
    let step = bytes.len() / 20;
    bytes.iter_mut().step_by(step).skip(5).for_each(|byte| *byte ^= 1);
    fs.set_content(&path, bytes);
}

#[test]
fn log_emptied_by_force_is_whole_in_quarantine_and_its_samples_are_in_blocks() {
    let mut store = Store::new(options());
    fill(&mut store, 0..130);
    assert!(store.append(START + 20 * MINUTE + 1, &[("a".to_owned(), 0.5)]));
    let wal = Path::new(DATA).join(names::WAL_DIR);
    let before: Vec<String> = store.fs.list(&wal).unwrap().into_iter().map(|file| file.name).collect();
    let emptied = store.db.empty_log().unwrap();
    assert_eq!((&emptied.log_failed, emptied.unlogged), (&None, crate::model::Tally::ZERO));
    let aside = set_aside(&store.fs, &emptied);
    assert!(before.iter().all(|name| aside.contains(name)), "{before:?} in {aside:?}");
    assert!(emptied.bytes > 0 && emptied.checkpoint.requests >= 131);
    store.assert_equals_model("emptied");
    assert_eq!(store.db.blocks().iter().map(|block| block.meta.stats.samples).sum::<u64>(), 261);
    fill(&mut store, 130..140);
    store.restart(options());
    store.assert_equals_model("emptied and opened again");
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good() && verified.log.samples == 20, "{verified:?}");
    assert!(store.db.ledger_state().left_log.requests >= 131, "the receipts of the old log are kept");
    // It can be done again, also where there is nothing to flush.
    store.db.flush().unwrap();
    store.db.empty_log().unwrap();
    store.assert_equals_model("emptied twice");
}

#[test]
fn log_that_is_damaged_and_stops_every_flush_is_emptied_with_the_head_as_the_witness() {
    let mut store = Store::new(options());
    fill(&mut store, 0..130);
    assert!(store.append(START + 20 * MINUTE + 1, &[("a".to_owned(), 0.5)]));
    delete(&store, 10, 12);
    store.db.committer.roll().wait().unwrap();
    damage_log(&store.fs);
    let refused = store.db.flush().unwrap_err();
    assert!(refused.0.contains("not what the log holds"), "{refused}");
    assert!(store.db.storage_status().alarms.iter().any(|(about, _)| *about == "flush"));
    let model = contents(&store.db, TimeRange::ALL);
    let emptied = store.db.empty_log().unwrap();
    assert!(emptied.log_failed.is_some() && emptied.unlogged.samples > 0, "{emptied:?}");
    assert_same(&contents(&store.db, TimeRange::ALL), &model, "emptied");
    store.db.run_due();
    assert_eq!(store.db.storage_status().alarms, []);
    let ledger = store.db.ledger_state();
    assert_eq!((ledger.imbalance(), ledger.totals.unlogged), (crate::model::Tally::ZERO, emptied.unlogged));
    assert!(store.db.verify().unwrap().is_good());
    store.restart(options());
    assert_same(&contents(&store.db, TimeRange::ALL), &model, "emptied and opened again");
    // What is written goes on as before, and so do flushes.
    store.model = model;
    fill(&mut store, 131..200);
    store.db.flush().unwrap();
    store.assert_equals_model("goes on");
    store.restart(options());
    store.assert_equals_model("goes on after a restart");
}

fn delete(store: &Store, from_minute: i64, to_minute: i64) {
    let range = TimeRange::new(START + from_minute * MINUTE, START + to_minute * MINUTE);
    store.db.delete_series(&[crate::model::Matcher::equal("job", "b")], range).unwrap();
}

#[test]
fn emptying_the_log_on_a_full_disk_changes_nothing_and_says_why() {
    let mut store = Store::new(options());
    fill(&mut store, 0..130);
    store.db.committer.roll().wait().unwrap();
    damage_log(&store.fs);
    let operation = store.fs.operations();
    store.fs.fail(operation..u64::MAX, crate::fs::sim::Fault::NoSpace);
    let refused = store.db.empty_log().unwrap_err();
    store.fs.heal();
    assert!(refused.0.contains("no space"), "{refused}");
    store.assert_equals_model("refused");
    let quarantined = store.fs.list(&Path::new(DATA).join(names::QUARANTINE_DIR)).unwrap_or_default();
    assert!(quarantined.is_empty(), "{quarantined:?}");
    let mut emptied = store.db.empty_log();
    for _ in 0..1_000_000 {
        if emptied.is_ok() {
            break;
        }
        // The log looks by itself whether there is room again.
        std::thread::yield_now();
        emptied = store.db.empty_log();
    }
    emptied.unwrap();
    store.assert_equals_model("emptied when there was room");
}

#[test]
fn power_loss_at_every_operation_of_emptying_the_log_loses_nothing() {
    let setup = || {
        let mut store = Store::new(options());
        fill(&mut store, 0..130);
        assert!(store.append(START + 20 * MINUTE + 1, &[("a".to_owned(), 0.5)]));
        store
    };
    let whole = setup();
    let first = whole.fs.operations();
    whole.db.empty_log().unwrap();
    let operations = whole.fs.operations();
    for operation in first..operations {
        let mut store = setup();
        store.fs.lose_power_at(operation);
        let emptied = store.db.empty_log();
        store.db.close();
        store.fs = store.fs.crash(operation);
        store.db = open(&store.fs, &store.clock, options()).unwrap();
        let when = format!("operation {operation}, {emptied:?}");
        store.assert_equals_model(&when);
        store.db.empty_log().unwrap_or_else(|error| panic!("{when}: {error}"));
        store.assert_equals_model(&format!("{when}, then emptied"));
        assert!(store.db.verify().unwrap().is_good(), "{when}");
        assert_eq!(store.db.ledger_state().imbalance(), crate::model::Tally::ZERO, "{when}");
    }
    assert!(operations - first > 30, "{}", operations - first);
}

#[test]
fn deletion_after_a_flush_that_failed_holds_after_a_power_loss() {
    let setup = || {
        let mut store = Store::new(options());
        fill(&mut store, 0..6);
        store.db.committer.roll().wait().unwrap();
        store
    };
    let whole = setup();
    let first = whole.fs.operations();
    whole.db.flush().unwrap();
    let range = TimeRange::new(START + 2 * MINUTE, START + 3 * MINUTE);
    let by_name = [crate::model::Matcher::equal("job", "b")];
    let (mut failed, mut left) = (0, 0);
    for operation in first..whole.fs.operations() {
        let mut store = setup();
        store.fs.fail(operation..u64::MAX, crate::fs::sim::Fault::NoSpace);
        let is_flushed = store.db.flush().is_ok();
        store.fs.heal();
        failed += usize::from(!is_flushed);
        left += usize::from(store.db.store.blocks.taken_back().is_some());
        // The log looks by itself whether there is room again.
        while store.db.delete_series(&by_name, range).is_err() {
            std::thread::yield_now();
        }
        store.fs = store.fs.crash(operation);
        let reopened = open(&store.fs, &store.clock, options()).unwrap();
        let when = format!("full from operation {operation} on, flushed: {is_flushed}");
        let querier = reopened.queryable().querier(range).unwrap();
        for series in querier.select(&by_name, &SelectHints::default()).unwrap() {
            let mut column = Column::default();
            series.samples.read(range, &mut column).unwrap();
            assert!(column.is_empty(), "{when}: {:?} came back", column.timestamps_ms);
        }
        assert_eq!(reopened.ledger_state().imbalance(), crate::model::Tally::ZERO, "{when}");
    }
    assert!(failed > 10 && left > 0, "{failed} failed, {left} left a block");
}

#[test]
fn flush_ends_although_senders_never_pause() {
    let store = Store::new(options());
    let (fs, clock, db) = (store.fs.clone(), store.clock.clone(), store.db.clone());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = Store { fs, clock, db, model: Model::new() };
            let mut at_ms = START;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sender.append(at_ms, &[("a".to_owned(), 1.0)]);
                at_ms += 1;
            }
        });
        let mut flushed = Vec::new();
        while flushed.len() < 3 {
            let report = store.db.flush().unwrap();
            assert!(report.flushed.len() <= 1, "the samples of the moment lie in one window: {report:?}");
            flushed.extend(report.flushed);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
