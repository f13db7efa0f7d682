//! Samples that come late: through crashes, flushed once and not twice, deleted, repeated and contradicted.

use super::witness::{Found, Witness, ask, minute};
use super::*;
use crate::encoding::crc32c;
use crate::fs::{Fs, names};
use crate::model::{Histogram, SampleValue, Tally};
use crate::wal::Durability;
use crate::wal::record::{HistogramsEncoder, SamplesEncoder, SeriesEncoder};

/// The witness says what it found.
fn ok(found: Found) {
    if let Err(caught) = found {
        panic!("{caught}");
    }
}

/// Two and a half hours in order, and five late samples; a sixth begins in order where its series ends.
fn with_late() -> Witness {
    let mut witness = Witness::new(options());
    ok(witness.fill(0..150, &["a"]));
    for at in [20, 70, 130] {
        ok(witness.give(minute(at) + 30_000, &[("a", 0.5), ("late", 0.25)]));
    }
    witness
}

#[test]
fn late_samples_that_were_acknowledged_survive_any_crash_and_are_flushed_once() {
    for seed in 0..12 {
        let mut witness = with_late();
        ok(witness.crash(seed, options()));
        ok(witness.look("after a crash"));
        assert_eq!(witness.db().head().out_of_order_samples(), 5);
        let flushed = witness.db().flush_out_of_order_samples().unwrap().unwrap();
        assert_eq!((flushed.stored.samples, flushed.blocks.len()), (5, 2));
        ok(witness.crash(seed + 100, options()));
        ok(witness.look("flushed, after another crash"));
        assert_eq!(witness.db().head().out_of_order_samples(), 0, "the log has them, and they are passed over");
        assert_eq!(witness.db().flush_out_of_order_samples().unwrap(), None);
        assert_eq!(witness.db().ledger_state().totals.flushed.samples, 5);
    }
}

#[test]
fn crash_at_any_operation_of_a_flush_of_late_samples_neither_loses_nor_doubles_one() {
    let flush = |witness: &Witness| witness.db().flush_out_of_order_samples();
    let whole = with_late();
    let first = whole.store.fs.operations();
    flush(&whole).unwrap();
    for operation in first..whole.store.fs.operations() {
        let mut witness = with_late();
        witness.store.fs.lose_power_at(operation);
        let result = flush(&witness);
        ok(witness.crash(operation, options()));
        let when = format!("operation {operation}, {result:?}");
        ok(witness.look(&when));
        witness.db().flush().unwrap();
        ok(witness.look(&format!("{when}, flushed")));
        assert_eq!(witness.db().ledger_state().totals.flushed.samples, 156, "{when}");
        witness.db().compact().unwrap();
        ok(witness.look(&format!("{when}, compacted")));
        let stored: u64 = witness.db().blocks().iter().map(|block| block.meta.stats.samples).sum();
        assert_eq!(stored, 156, "{when}");
    }
}

#[test]
fn late_samples_that_queries_still_read_hold_up_neither_later_flushes_nor_snapshots() {
    let mut witness = with_late();
    let flush =
        |witness: &Witness| witness.db().flush_out_of_order_samples().unwrap().map(|flushed| flushed.stored.samples);
    let query = |witness: &Witness| witness.db().queryable().querier(TimeRange::ALL).unwrap();
    let left = |witness: &Witness| witness.db().head().out_of_order_samples();
    let first = query(&witness);
    assert_eq!((flush(&witness), left(&witness)), (Some(5), 5));
    assert_eq!(flush(&witness), None, "blocks have them");
    assert_eq!(witness.db().head().unflushed_out_of_order_range(), None);
    ok(witness.give(minute(90) + 30_000, &[("a", 0.75)]));
    witness.db().snapshot(false).unwrap();
    let second = query(&witness);
    assert_eq!((flush(&witness), left(&witness)), (Some(1), 6));
    ok(witness.look("flushed, and still in the head"));
    witness.db().leave_head();
    assert_eq!(left(&witness), 6);
    drop(first);
    witness.db().leave_head();
    assert_eq!(left(&witness), 1, "the second query began when a block had the first samples");
    drop(second);
    witness.db().leave_head();
    assert_eq!(left(&witness), 0);
    ok(witness.look("flushed and dropped"));
    ok(witness.restart(options()));
    ok(witness.look("opened again"));
    assert_eq!(witness.db().ledger_state().totals.flushed.samples, 6);
}

#[test]
fn late_samples_that_were_deleted_land_in_no_block() {
    let mut witness = with_late();
    ok(witness.delete("late", minute(60), minute(140)));
    ok(witness.delete("a", minute(70), minute(71) - 1));
    ok(witness.restart(options()));
    let flushed = witness.db().flush_out_of_order_samples().unwrap().unwrap();
    assert_eq!((flushed.stored.samples, flushed.deleted.samples), (3, 2));
    for block in witness.db().blocks() {
        let check = witness.db().verify_block(block.meta.ulid).unwrap();
        assert_eq!(check.stored, check.visible, "left out, not hidden");
    }
    ok(witness.look("late samples deleted and flushed"));
}

#[test]
fn late_sample_of_a_series_that_was_deleted_and_left_the_head_outlives_a_start_and_is_flushed() {
    let mut witness = Witness::new(options());
    ok(witness.fill(0..30, &["a"]));
    ok(witness.delete("a", minute(5), minute(10)));
    // The series leaves the head, and the deletion stays in the log.
    witness.db().flush_head(&mut FlushReport::default()).unwrap();
    assert_eq!(witness.db().head().series_count(), 0);
    ok(witness.give(minute(7), &[("a", 9.0)]));
    ok(witness.look("corrected"));
    ok(witness.restart(options()));
    ok(witness.look("opened again"));
    assert_eq!(witness.db().flush_out_of_order_samples().unwrap().unwrap().stored.samples, 1);
    ok(witness.look("flushed"));
}

#[test]
fn late_samples_that_come_all_the_time_are_flushed_with_those_in_order_or_after_a_while() {
    let mut witness = Witness::new(options());
    ok(witness.fill(0..150, &["a"]));
    witness.db().flush().unwrap();
    let blocks = witness.db().blocks().len();
    let mut late = |rounds: std::ops::Range<i64>| -> Vec<u64> {
        let flushes = rounds.map(|round| {
            ok(witness.give(minute(20) + round, &[("a", 0.5)]));
            let before = witness.db().ledger_state().totals.flushed.samples;
            witness.db().flush_out_of_order_if_due().unwrap();
            witness.store.clock.advance(Duration::from_secs(60));
            witness.db().ledger_state().totals.flushed.samples - before
        });
        flushes.filter(|flushed| *flushed > 0).collect()
    };
    // The first at once, the next after an eighth of two hours, with those that came meanwhile.
    assert_eq!(late(1..31), [1, 16], "of a sample each minute");
    assert!(blocks > 0);
    ok(witness.look("flushed"));
}

#[test]
fn repetition_adds_nothing_and_contradiction_is_refused_in_the_words_of_prometheus() {
    let mut witness = with_late();
    let newest = 149.0 * 0.1 + 1.0;
    for (what, at_ms, known) in [
        ("the newest sample", minute(149), newest),
        ("a sample in order", minute(100), 100.0 * 0.1 + 1.0),
        ("a late sample", minute(70) + 30_000, 0.5),
    ] {
        let repeated = witness.send(at_ms, &[("a", known)]).unwrap();
        assert_eq!((repeated.added, repeated.duplicates, repeated.rejected_total()), (0, 1, 0), "{what}");
        let refused = witness.send(at_ms, &[("a", 7.5)]).unwrap();
        assert_eq!((refused.added, refused.duplicates, refused.rejected_total()), (0, 0, 1), "{what}");
        let words =
            format!("duplicate sample for timestamp {at_ms}; overrides not allowed: existing {known}, new value 7.5");
        let reject = &refused.rejects[0];
        assert_eq!(reject.reason.as_str(), "duplicate_timestamp");
        assert!(reject.detail.starts_with(&words), "{what}: {}", reject.detail);
    }
    // In a chunk of late samples, and after a restart.
    witness.db().head().cut_out_of_order();
    ok(witness.contradict(minute(70) + 30_000, "a", 7.5));
    ok(witness.restart(options()));
    ok(witness.contradict(minute(70) + 30_000, "a", 7.5));
    ok(witness.contradict(minute(100), "a", 7.5));
    ok(witness.look("contradicted"));
}

#[test]
fn contradiction_of_a_block_is_believed_neither_by_queries_nor_by_the_compaction_that_counts_it() {
    for (value, conflicts) in [(100.0 * 0.1 + 1.0, 0), (7.5, 1)] {
        let mut witness = Witness::new(options());
        ok(witness.fill(0..150, &["a"]));
        witness.db().flush().unwrap();
        let known = ask(witness.db(), &[]).unwrap();
        let accepted = witness.send(minute(100), &[("a", value)]).unwrap();
        assert_eq!(accepted.added, 1, "the head does not know what blocks have");
        witness.store.model = known;
        ok(witness.look("in the head"));
        ok(witness.restart(options()));
        ok(witness.look("replayed"));
        witness.db().flush().unwrap();
        ok(witness.look("flushed"));
        let report = witness.db().compact().unwrap();
        let [compaction] = report.compactions.as_slice() else { panic!("{report:?}") };
        assert_eq!((compaction.deduplicated.samples, compaction.conflicts), (1, conflicts));
        assert_eq!(witness.db().ledger_state().imbalance(), Tally::ZERO);
        ok(witness.look("compacted"));
    }
}

/// Writes a segment as Prometheus does. The records fit into its first page.
fn write_segment(fs: &SimFs, dir: &str, records: &[Vec<u8>]) {
    let dir = Path::new(DATA).join(dir);
    fs.create_dir_all(&dir).unwrap();
    let mut bytes = Vec::new();
    for record in records {
        bytes.push(1);
        bytes.extend((record.len() as u16).to_be_bytes());
        bytes.extend(crc32c(record).to_be_bytes());
        bytes.extend(record);
    }
    fs.set_content(&names::wal_segment(&dir, 0), bytes);
    for dir in [&*dir, Path::new(DATA), Path::new("/")] {
        fs.sync_dir(dir).unwrap();
    }
}

/// A record of samples: reference, time, value.
fn samples_record(samples: &[(u64, i64, f64)]) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
    samples.iter().for_each(|&(series_ref, at_ms, value)| encoder.push(&mut record, series_ref, at_ms, value));
    record
}

#[test]
fn late_samples_of_prometheus_are_taken_over_whatever_their_kind_and_its_segment_goes() {
    let fs = SimFs::new(1);
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]);
    let mut series = Vec::new();
    SeriesEncoder::push(&mut series, 1, labels.iter());
    let mut histograms = Vec::new();
    let mut encoder = HistogramsEncoder::new();
    let of = |count: u64| Histogram { count, zero_count: count, sum: 2.5, ..Histogram::default() };
    for at in [10, 20, 10] {
        encoder.push(&mut histograms, 1, minute(at), &SampleValue::Histogram(Box::new(of(at as u64))));
    }
    let samples = samples_record(&[(1, minute(100), 1.0), (1, minute(50), 2.0)]);
    write_segment(&fs, names::WAL_DIR, &[series, samples]);
    write_segment(&fs, names::WBL_DIR, &[samples_record(&[(1, minute(50), 2.0)]), histograms]);
    let clock = Arc::new(ManualClock::at(minute(100)));
    let db = open(&fs, &clock, options()).unwrap();
    let adopted = &db.wbl().adopted;
    assert_eq!((adopted.outcome.added, adopted.outcome.histograms, adopted.records_left), (3, 3, 0));
    assert_eq!((adopted.outcome.duplicates, adopted.left()), (1, None));
    let samples = [(10, 2.5), (20, 2.5), (50, 2.0), (100, 1.0f64)].map(|(at, value)| (minute(at), value.to_bits()));
    let model = Model::from([(labels, BTreeMap::from(samples))]);
    assert_same(&contents(&db, TimeRange::ALL), &model, "taken over");
    assert!(!fs.exists(&Path::new(DATA).join(names::QUARANTINE_DIR)), "{:?}", listing(&fs));
    assert!(!fs.exists(&names::wal_segment(&Path::new(DATA).join(names::WBL_DIR), 0)));
    db.close();
    let db = open(&fs, &clock, options()).unwrap();
    assert_same(&contents(&db, TimeRange::ALL), &model, "replayed");
    let flushed = db.flush_out_of_order_samples().unwrap().unwrap();
    assert_eq!(flushed.stored.samples, 3);
    assert_same(&contents(&db, TimeRange::ALL), &model, "flushed");
    db.close();
}

#[test]
fn late_samples_of_prometheus_are_durable_here_before_they_go_there_whatever_requests_are_promised() {
    let wal = WalOptions { durability: Durability::None, ..options().wal };
    let unsynced = DbOptions { wal, ..options() };
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]);
    let fs = SimFs::new(1);
    let mut series = Vec::new();
    SeriesEncoder::push(&mut series, 1, labels.iter());
    write_segment(&fs, names::WAL_DIR, &[series, samples_record(&[(1, minute(100), 1.0)])]);
    write_segment(&fs, names::WBL_DIR, &[samples_record(&[(1, minute(50), 2.0)])]);
    let clock = Arc::new(ManualClock::at(minute(100)));
    let db = open(&fs, &clock, unsynced.clone()).unwrap();
    assert!(!fs.exists(&names::wal_segment(&Path::new(DATA).join(names::WBL_DIR), 0)));
    let disk = fs.crash(3);
    drop(db);
    let db = open(&disk, &clock, unsynced).unwrap();
    let samples = [(50, 2.0), (100, 1.0f64)].map(|(at, value)| (minute(at), value.to_bits()));
    let model = Model::from([(labels, BTreeMap::from(samples))]);
    assert_same(&contents(&db, TimeRange::ALL), &model, "after a power loss");
    db.close();
}

#[test]
fn late_sample_in_the_log_of_prometheus_before_all_chunk_files_is_no_sign_that_one_is_missing() {
    let fs = SimFs::new(1);
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]);
    let mut series = Vec::new();
    SeriesEncoder::push(&mut series, 1, labels.iter());
    let at = |number: i64| minute(60) + number * 1000;
    let in_order: Vec<_> = (0..300).map(|number| (1, at(number), number as f64)).collect();
    let late = samples_record(&[(1, minute(50), 2.0)]);
    let log = [series, samples_record(&in_order[..290]), late.clone(), samples_record(&in_order[290..])];
    write_segment(&fs, names::WAL_DIR, &log);
    write_segment(&fs, names::WBL_DIR, &[late]);
    let mut samples: BTreeMap<i64, u64> = in_order.iter().map(|(_, at_ms, value)| (*at_ms, value.to_bits())).collect();
    samples.insert(minute(50), 2f64.to_bits());
    let model = Model::from([(labels, samples)]);
    let clock = Arc::new(ManualClock::at(at(300)));
    for what in ["taken over", "replayed over chunk files"] {
        let db = open(&fs, &clock, options()).unwrap();
        assert_same(&contents(&db, TimeRange::ALL), &model, what);
        assert_eq!(db.loaded().damage, None, "{what}");
        assert!(!fs.exists(&Path::new(DATA).join(names::QUARANTINE_DIR)), "{what}: {:?}", listing(&fs));
        db.close();
        assert!(fs.exists(&names::head_chunk_file(&Path::new(DATA).join(names::CHUNKS_HEAD_DIR), 1)));
        let looked_at = OfflineDb::open_unlocked(Path::new(DATA), Arc::new(fs.clone()), clock.clone()).unwrap();
        assert_eq!(looked_at.warnings(), [] as [&str; 0], "{what}");
    }
}

#[test]
fn late_samples_of_prometheus_below_the_floor_are_taken_over_of_series_that_have_no_others() {
    let labels = |job: &str| LabelSet::from_pairs([("__name__", "up"), ("job", job)]);
    // Alone in the head, and with other series behind it.
    for others in [0, 40] {
        let fs = SimFs::new(1);
        fs.create_dir_all(Path::new(DATA)).unwrap();
        let mut model = Model::new();
        let mut hold = |job: &str, at_ms: i64, value: f64| {
            model.entry(labels(job)).or_default().insert(at_ms, value.to_bits());
        };
        foreign_block(&fs, &labels("gone"), (minute(40), 3.0), minute(0)..minute(120));
        hold("gone", minute(40), 3.0);

        let late = [(1, minute(60), 1.0), (1, minute(50), 2.0)];
        late.iter().for_each(|&(_, at_ms, value)| hold("late", at_ms, value));
        // Prometheus logs late samples twice.
        let mut samples = vec![(2, minute(40), 3.0)];
        samples.extend(late);
        let mut series = Vec::new();
        SeriesEncoder::push(&mut series, 1, labels("late").iter());
        SeriesEncoder::push(&mut series, 2, labels("gone").iter());
        for series_ref in 3..3 + others {
            let job = format!("b{series_ref}");
            SeriesEncoder::push(&mut series, series_ref, labels(&job).iter());
            samples.push((series_ref, minute(130), 0.5));
            hold(&job, minute(130), 0.5);
        }
        write_segment(&fs, names::WAL_DIR, &[series, samples_record(&samples)]);
        write_segment(&fs, names::WBL_DIR, &[samples_record(&late)]);

        let clock = Arc::new(ManualClock::at(minute(131)));
        let look = OfflineDb::open_unlocked(Path::new(DATA), Arc::new(fs.clone()), clock.clone()).unwrap();
        assert_same(&read(&*look.queryable(), TimeRange::ALL), &model, "looked at");
        drop(look);
        let db = open(&fs, &clock, options()).unwrap();
        assert!(db.head().floor_ms() > minute(60));
        assert_eq!((db.wbl().adopted.outcome.added, db.wbl().adopted.left()), (2, None));
        assert_same(&contents(&db, TimeRange::ALL), &model, "taken over");
        assert_eq!(db.head().series_count() as u64, 1 + others, "a series that only blocks have is not kept");
        db.close();
        let db = open(&fs, &clock, options()).unwrap();
        assert_same(&contents(&db, TimeRange::ALL), &model, "replayed");
        assert_eq!(db.flush_out_of_order_samples().unwrap().unwrap().stored.samples, 2);
        assert_same(&contents(&db, TimeRange::ALL), &model, "flushed");
        db.close();
        let db = open(&fs, &clock, options()).unwrap();
        assert_same(&contents(&db, TimeRange::ALL), &model, "flushed and replayed");
        db.close();
    }
}
