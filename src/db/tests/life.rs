//! Days of samples: flushes, compactions, truncations and restarts, compared with the map at each step.

use super::*;
use crate::block::Block;
use crate::proof::TallyRequest;

/// Which series report at a minute: some all the time, some for a few hours.
fn series_at(minute: i64) -> Vec<(String, f64)> {
    let mut series: Vec<(String, f64)> =
        (0..6).map(|number| (format!("steady-{number}"), minute as f64 * 0.25 + f64::from(number))).collect();
    let generation = minute / 180;
    series.extend((0..3).map(|number| (format!("churn-{generation}-{number}"), (minute % 17) as f64)));
    series
}

fn levels(db: &Db) -> Vec<u32> {
    db.blocks().iter().map(|block| block.meta.compaction.level).collect()
}

#[test]
fn whole_life_equals_a_map_at_each_step() {
    let mut store = Store::new(options());
    for minute in (0..44 * 60).step_by(4) {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &series_at(minute)));
        if minute % 60 == 0 {
            store.db.run_due();
            store.assert_equals_model(&format!("minute {minute}"));
        }
        if minute % (7 * 60) == 0 {
            store.restart(options());
            store.assert_equals_model(&format!("restart at minute {minute}"));
        }
    }
    store.db.run_due();
    assert!(levels(&store.db).contains(&3), "{:?}", levels(&store.db));
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good() && verified.log.samples > 0, "{verified:?}");
    let status = store.db.storage_status();
    assert_eq!(status.alarms, []);
    let ledger = store.db.ledger_state();
    assert_eq!(ledger.imbalance(), crate::model::Tally::ZERO);
    assert!(ledger.left_log.samples.in_order.samples > 0, "the log was truncated");
    let written: u64 = store.model.values().map(|samples| samples.len() as u64).sum();
    let log = store.db.log_tally(&TallyRequest::default()).unwrap();
    assert_eq!(ledger.left_log.samples.in_order.samples + log.total.samples, written);
    // The head is as small as it was in the beginning.
    assert!(store.db.head().series_count() < 20, "{}", store.db.head().series_count());
    // A part of the range reads from the parts that have it.
    let range = TimeRange::new(START + 5 * HOUR, START + 31 * HOUR);
    let mut expected = store.model.clone();
    expected.values_mut().for_each(|samples| samples.retain(|at_ms, _| range.contains(*at_ms)));
    expected.retain(|_, samples| !samples.is_empty());
    assert_same(&contents(&store.db, range), &expected, "a part");
}

#[test]
fn flush_on_demand_leaves_an_empty_head_and_a_log_without_samples() {
    let mut store = Store::new(options());
    for minute in 0..150 {
        store.advance_to(START + minute * MINUTE);
        assert!(store.append(START + minute * MINUTE, &series_at(minute)));
    }
    let report = store.db.flush().unwrap();
    assert_eq!(report.flushed.len(), 2, "the samples lie in two windows: {report:?}");
    store.assert_equals_model("flushed");
    assert_eq!(store.db.head().series_count(), 0);
    assert_eq!(store.db.flush().unwrap(), FlushReport::default());
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good() && verified.log.samples == 0, "{verified:?}");
    store.restart(options());
    store.assert_equals_model("restarted");
    // Older than the floor is refused, newer goes on.
    let at_ms = START + 151 * MINUTE;
    store.advance_to(at_ms);
    assert!(store.append(at_ms, &series_at(151)));
    store.assert_equals_model("goes on");
}

#[test]
fn blocks_that_appear_and_vanish_on_disk_are_taken_in_and_let_go() {
    let mut store = Store::new(options());
    for minute in 0..10 {
        store.advance_to(START + minute * MINUTE);
        assert!(store.append(START + minute * MINUTE, &series_at(minute)));
    }
    store.db.flush().unwrap();
    let ulid = store.db.blocks()[0].meta.ulid;
    let (inside, outside) = (Path::new(DATA).join(ulid.to_string()), Path::new("/aside"));
    store.fs.rename(&inside, outside).unwrap();
    let reload = |store: &Store| {
        store.clock.advance(Duration::from_secs(61));
        store.db.run_due();
    };
    reload(&store);
    assert!(store.db.blocks().is_empty() && contents(&store.db, TimeRange::ALL).is_empty());
    store.fs.rename(outside, &inside).unwrap();
    reload(&store);
    store.assert_equals_model("the block is back");
    assert!(Block::open(Arc::new(store.fs.clone()), &inside).is_ok());
}

#[test]
fn damaged_block_is_set_aside_at_the_start_and_named_in_answers_of_its_range() {
    let mut store = Store::new(options());
    for minute in 0..200 {
        store.advance_to(START + minute * MINUTE);
        assert!(store.append(START + minute * MINUTE, &series_at(minute)));
    }
    store.db.flush().unwrap();
    let blocks = store.db.blocks();
    let [first, second] = blocks.as_slice() else { panic!("{blocks:?}") };
    store.db.close();
    let index = Path::new(DATA).join(first.meta.ulid.to_string()).join("index");
    store.fs.set_content(&index, b"rot".to_vec());
    store.db = open(&store.fs, &store.clock, options()).unwrap();
    let lost = store.db.storage_status().lost;
    assert!(lost.len() == 1 && lost[0].ulid == first.meta.ulid && lost[0].is_moved, "{lost:?}");
    let ask = |range| {
        let querier = store.db.queryable().querier(range).unwrap();
        (querier.select(&[], &SelectHints::default()).unwrap().len(), querier.warnings())
    };
    let (_, warnings) = ask(TimeRange::new(START, START + 10 * MINUTE));
    assert!(warnings.len() == 1 && warnings[0].contains(&first.meta.ulid.to_string()), "{warnings:?}");
    let (series, warnings) = ask(TimeRange::new(second.meta.min_time_ms, second.meta.max_time_ms - 1));
    assert!(series > 0 && warnings.is_empty(), "{warnings:?}");
}
