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
fn head_that_takes_more_than_its_flush_size_is_flushed_before_its_window_is_full() {
    let with = |flush_bytes| DbOptions { storage: StorageOptions { flush_bytes, ..options().storage }, ..options() };
    for (flush_bytes, blocks) in [(None, 0), (Some(1 << 30), 0), (Some(10_000), 1)] {
        let mut store = Store::new(with(flush_bytes));
        for minute in 0..60 {
            store.advance_to(START + minute * MINUTE);
            assert!(store.append(START + minute * MINUTE, &series_at(minute)));
        }
        store.db.run_due();
        assert_eq!(store.db.blocks().len(), blocks, "{flush_bytes:?}");
        store.assert_equals_model("flushed early");
        // Senders that are late have an eighth of the range.
        assert!(store.append(START + 50 * MINUTE, &[("late".to_owned(), 1.0)]));
        store.restart(with(flush_bytes));
        store.assert_equals_model("flushed early and opened again");
        // Head chunks reach over the floor.
        let verified = store.db.verify().unwrap();
        assert!(verified.is_good(), "{flush_bytes:?}: {verified:?}");
    }
}

#[test]
fn head_past_its_memory_is_flushed_and_takes_no_new_series_while_old_ones_go_on() {
    let with = |memory_bytes_max| DbOptions { head: HeadOptions { memory_bytes_max, ..options().head }, ..options() };
    let mut store = Store::new(with(0));
    for minute in 0..60 {
        store.advance_to(START + minute * MINUTE);
        assert!(store.append(START + minute * MINUTE, &[("old".to_owned(), 1.0)]));
    }
    // The process holds more than a byte.
    store.restart(with(1));
    let at_ms = START + 60 * MINUTE;
    store.advance_to(at_ms);
    assert!(store.append(at_ms, &[("old".to_owned(), 2.0)]));
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "new")]);
    let mut raw = Vec::new();
    encode_canonical(labels.iter().map(|Label { name, value }| Label { name, value }), &mut raw);
    let mut batch = WriteBatch::default();
    batch.samples.push(Sample { timestamp_ms: at_ms, value: 1.0 });
    batch.series.push(SeriesEntry { labels: RawLabels(&raw), samples: 0..1 });
    let (outcome, durable) = store.db.append(&batch, at_ms).unwrap();
    durable.wait().unwrap();
    assert_eq!(outcome.added, 0);
    let rejects = format!("{:?}", outcome.rejects);
    assert!(rejects.contains("no new series are taken") && rejects.contains("new"), "{rejects}");
    store.clock.advance(Duration::from_secs(20));
    store.db.run_due();
    assert_eq!(store.db.blocks().len(), 1, "it was flushed, all but its newest part");
    store.assert_equals_model("flushed early");
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
