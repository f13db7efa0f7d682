//! A start that passes over what chunk files and blocks hold gives what a start gives that reads the whole log, and what
//! was there before.

use super::*;
use crate::fs::names;
use crate::fs::sim::SimRandom;
use crate::model::Matcher;

fn small() -> DbOptions {
    let wal = WalOptions { segment_bytes: 4 << 10, ..options().wal };
    let head = HeadOptions { chunk_file_bytes_max: 4000, ..options().head };
    DbOptions { wal, head, storage: StorageOptions { reserve_bytes: 4096, ..options().storage }, ..options() }
}

/// Appends one sample to each of some series; what is refused is of no interest.
fn append(store: &Store, at_ms: i64, series: &[String]) {
    let raw = |name: &String| {
        let mut out = Vec::new();
        let labels = [("__name__", "m"), ("series", name.as_str())];
        encode_canonical(labels.into_iter().map(|(name, value)| Label { name, value }), &mut out);
        out
    };
    let labels: Vec<Vec<u8>> = series.iter().map(raw).collect();
    let mut batch = WriteBatch::default();
    for (labels, number) in labels.iter().zip(0..) {
        batch.samples.push(Sample { timestamp_ms: at_ms, value: (at_ms as f64 + f64::from(number)).sin() });
        batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: number..number + 1 });
    }
    let (_, durable) = store.db.append(&batch, store.clock.now_ms()).unwrap();
    durable.wait().unwrap();
}

/// The files of a directory whose names end so, of at least one byte.
fn files(fs: &SimFs, dir: &str, is_one: impl Fn(&str) -> bool) -> Vec<std::path::PathBuf> {
    let dir = Path::new(DATA).join(dir);
    let entries = fs.list(&dir).unwrap_or_default();
    entries.iter().filter(|entry| entry.bytes > 0 && is_one(&entry.name)).map(|entry| dir.join(&entry.name)).collect()
}

fn summaries(fs: &SimFs) -> Vec<std::path::PathBuf> {
    files(fs, names::WAL_DIR, |name| name.ends_with(names::WAL_SUMMARY_SUFFIX))
}

fn chunk_files(fs: &SimFs) -> Vec<std::path::PathBuf> {
    files(fs, names::CHUNKS_HEAD_DIR, |name| names::parse_head_chunk_file(name).is_some())
}

fn watermark() -> std::path::PathBuf {
    Path::new(DATA).join(names::CHUNKS_HEAD_DIR).join(names::WATERMARK_FILE)
}

/// Removes all that is derived.
fn forget(fs: &SimFs) {
    for path in summaries(fs).into_iter().chain(Some(watermark()).filter(|path| fs.exists(path))) {
        fs.remove_file(&path).unwrap();
    }
}

fn pick<T: Clone>(random: &mut SimRandom, from: &[T]) -> Option<T> {
    from.get(random.below(from.len().max(1) as u64) as usize).cloned()
}

fn flip(fs: &SimFs, path: &Path, random: &mut SimRandom) {
    let mut bytes = fs.read(path).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    fs.set_content(path, bytes);
}

/// Does something to the files that must cost no sample. Says what.
fn harm(fs: &SimFs, random: &mut SimRandom, stale: &[Vec<u8>]) -> Option<&'static str> {
    match random.below(9) {
        0 => flip(fs, &pick(random, &summaries(fs))?, random),
        1 => {
            let (from, to) = (pick(random, &summaries(fs))?, pick(random, &summaries(fs))?);
            fs.set_content(&to, fs.read(&from).unwrap());
            return Some("summary of another segment");
        }
        2 if fs.exists(&watermark()) => {
            flip(fs, &watermark(), random);
            return Some("flipped watermark");
        }
        3 => {
            fs.set_content(&watermark(), pick(random, stale)?);
            return Some("watermark of an earlier time");
        }
        4 => {
            flip(fs, &pick(random, &chunk_files(fs))?, random);
            return Some("flipped chunk file");
        }
        5 => {
            let path = pick(random, &chunk_files(fs))?;
            let bytes = fs.read(&path).unwrap();
            fs.set_content(&path, bytes[..random.below(bytes.len() as u64) as usize].to_vec());
            return Some("cut chunk file");
        }
        6 => {
            fs.remove_file(&pick(random, &chunk_files(fs))?).unwrap();
            return Some("missing chunk file");
        }
        7 => {
            let ledger = files(fs, names::LEDGER_DIR, |_| true);
            ledger.iter().for_each(|path| fs.remove_file(path).unwrap());
            return Some("missing ledger");
        }
        _ => return Some("whole"),
    }
    Some("flipped summary")
}

/// What a start finds: the samples, how many segments it passed over, and how it takes repetitions.
fn start(fs: &SimFs, clock: &Arc<ManualClock>, probes: &[(String, i64)]) -> (Model, u64, Vec<(u64, u64, u64)>) {
    let db = open(fs, clock, small()).unwrap();
    let found = contents(&db, TimeRange::ALL);
    let skipped = db.recovery().log.segments_skipped;
    let store = Store { fs: fs.clone(), clock: clock.clone(), db, model: Model::new() };
    let outcomes = probes.iter().map(|(name, at_ms)| {
        let labels = {
            let mut out = Vec::new();
            let pairs = [("__name__", "m"), ("series", name.as_str())];
            encode_canonical(pairs.into_iter().map(|(name, value)| Label { name, value }), &mut out);
            out
        };
        let mut batch = WriteBatch::default();
        batch.samples.push(Sample { timestamp_ms: *at_ms, value: (*at_ms as f64).sin() });
        batch.series.push(SeriesEntry { labels: RawLabels(&labels), samples: 0..1 });
        let (outcome, _) = store.db.append(&batch, clock.now_ms()).unwrap();
        (outcome.added, outcome.duplicates, outcome.rejected_total())
    });
    let outcomes = outcomes.collect();
    store.db.close();
    (found, skipped, outcomes)
}

/// One life of a store, with starts of copies of its disk at some moments. Says how many starts there were, and how many
/// segments they passed over.
fn live(seed: u64) -> (u64, u64) {
    let mut random = SimRandom::new(seed);
    let mut store = Store::new(small());
    let (mut at_ms, mut starts, mut skipped_in_all) = (START, 0, 0);
    let mut stale = Vec::new();
    for step in 0..260u64 {
        at_ms += random.below(5) as i64 * MINUTE + 1;
        store.advance_to(at_ms);
        // Some cease and come again.
        let generation = step / 40 % 3;
        let live: Vec<String> =
            (0..9).filter(|number| number % 3 != generation).map(|number| format!("s{number}")).collect();
        append(&store, at_ms, &live);
        if random.once_in(5) {
            let late = at_ms - random.below(2 * HOUR as u64) as i64;
            append(&store, late, &live[..1 + random.below(3) as usize]);
        }
        if random.once_in(20) {
            let name = pick(&mut random, &live).unwrap();
            let from = at_ms - random.below(3 * HOUR as u64) as i64;
            let matchers = [Matcher::equal("series", &name)];
            store.db.delete_series(&matchers, TimeRange::new(from, from + 20 * MINUTE)).unwrap();
        }
        if random.once_in(6) {
            store.db.note_watermark_if_due().unwrap();
            stale.push(store.fs.read(&watermark()).unwrap());
        }
        if random.once_in(15) {
            store.clock.advance(Duration::from_secs(130));
            at_ms = at_ms.max(store.clock.now_ms());
            store.db.run_due();
        }
        match random.below(40) {
            0 => store.restart(small()),
            1 => {
                // What a kill leaves goes on.
                store.fs = store.fs.kill();
                store.db = open(&store.fs, &store.clock, small()).unwrap();
            }
            2..=4 => {
                let expected = contents(&store.db, TimeRange::ALL);
                let disk = if random.once_in(2) { store.fs.kill() } else { store.fs.crash(random.next_u64()) };
                let mut whole = disk.kill();
                let what = harm(&disk, &mut random, &stale).unwrap_or("nothing to harm");
                // Without a ledger, deletions that have left the log may be forgotten; samples may not.
                let has_ledger = what != "missing ledger";
                if !has_ledger {
                    whole = disk.kill();
                }
                forget(&whole);
                let when = format!("seed {seed}, step {step}, {what}");
                let names = (0..9).map(|number| format!("s{number}"));
                let probes: Vec<_> = names.flat_map(|name| [(name.clone(), at_ms), (name, at_ms - 1)]).collect();
                let (found, skipped, outcomes) = start(&disk, &store.clock, &probes);
                let (found_whole, none, outcomes_whole) = start(&whole, &store.clock, &probes);
                assert_same(&found, &found_whole, &format!("{when}, against a start without what is derived"));
                if has_ledger {
                    assert_same(&found, &expected, &when);
                }
                for (labels, samples) in &expected {
                    let got = found.get(labels).cloned().unwrap_or_default();
                    assert!(
                        samples.iter().all(|(at, bits)| got.get(at) == Some(bits)),
                        "{when}: {labels} lacks samples"
                    );
                }
                assert_eq!(outcomes, outcomes_whole, "{when}");
                // Only what is below the floor can be known without them, and only from a summary.
                assert_eq!(none, 0, "{when}");
                starts += 1;
                skipped_in_all += skipped;
            }
            _ => {}
        }
    }
    store.db.close();
    (starts, skipped_in_all)
}

/// Ten minutes of a series, and then a block of another one that reaches over them.
fn block_over_a_young_log() -> Store {
    let mut store = Store::new(options());
    for minute in 0..10 {
        let at_ms = START + minute * MINUTE;
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), 1.0)]));
    }
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "imported")]);
    foreign_block(&store.fs, &labels, (START + 5 * MINUTE, 3.0), START..START + 20 * MINUTE);
    store.model.entry(labels).or_default().insert(START + 5 * MINUTE, 3f64.to_bits());
    store
}

#[test]
fn block_of_another_program_hides_no_sample_of_a_log_that_was_never_flushed() {
    let mut store = block_over_a_young_log();
    store.restart(options());
    store.assert_equals_model("put in while stopped");
    store.db.flush().unwrap();
    store.assert_equals_model("flushed");
    assert_eq!(store.db.verify().unwrap().findings, [""; 0]);

    let mut store = block_over_a_young_log();
    store.db.reload_blocks().unwrap();
    store.assert_equals_model("taken in");
    store.fs = store.fs.kill();
    store.db = open(&store.fs, &store.clock, options()).unwrap();
    store.assert_equals_model("killed");
}

#[test]
fn start_that_passes_over_segments_equals_one_that_reads_all_of_them() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seed, rounds) = (number("CHRONOLITH_RESTART_SEED", 1), number("CHRONOLITH_RESTART_ROUNDS", 6u64));
    let (mut starts, mut skipped) = (0, 0);
    for seed in seed..seed + rounds {
        let (more_starts, more_skipped) = live(seed);
        (starts, skipped) = (starts + more_starts, skipped + more_skipped);
    }
    println!("{starts} starts passed over {skipped} segments");
    assert!(starts > 5 * rounds && skipped > 20 * rounds, "{starts} starts, {skipped} segments passed over");
}

#[test]
fn start_after_an_orderly_end_reads_no_samples_of_the_log() {
    let mut store = Store::new(small());
    let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    for minute in 0..60 {
        store.advance_to(START + minute * MINUTE);
        append(&store, START + minute * MINUTE, &names);
    }
    let expected = contents(&store.db, TimeRange::ALL);
    let before = store.db.replay_estimate();
    assert_eq!((before.skipped_bytes, before.log_bytes), (0, store.db.log_status().bytes), "nothing was noted yet");
    store.db.note_watermark_if_due().unwrap();
    let noted = store.db.replay_estimate();
    assert!(noted.skipped_bytes > 0 && noted.duration < before.duration, "{noted:?}");
    assert_eq!(noted.skipped_bytes + noted.log_bytes, store.db.log_status().bytes);
    store.restart(small());
    assert_same(&contents(&store.db, TimeRange::ALL), &expected, "restarted");
    let log = &store.db.recovery().log;
    assert_eq!(log.segments_skipped, log.segments.len() as u64);
    assert_eq!(store.db.replayed().samples, 0);
    // The log goes on behind it, and is whole.
    append(&store, START + 61 * MINUTE, &names);
    let verified = store.db.verify().unwrap();
    assert!(verified.is_good() && verified.log.samples == 61 * 9, "{verified:?}");
}

#[test]
fn blocks_answer_before_the_replay_ends_with_a_warning_that_says_how_far_it_is() {
    let mut store = Store::new(options());
    for minute in 0..150 {
        store.advance_to(START + minute * MINUTE);
        assert!(store.append(START + minute * MINUTE, &[("a".to_owned(), minute as f64)]));
    }
    store.db.flush().unwrap();
    let expected = contents(&store.db, TimeRange::ALL);
    assert!(store.append(START + 151 * MINUTE, &[("a".to_owned(), 1.0)]));
    store.db.close();
    // A start that ends within the replay.
    let segment = files(&store.fs, names::WAL_DIR, |name| names::parse_wal_segment(name).is_some()).remove(0);
    let mut bytes = store.fs.read(&segment).unwrap();
    bytes[20] ^= 1;
    store.fs.set_content(&segment, bytes);
    let watch = ReplayWatch::default();
    let strict = DbOptions { recovery: RecoveryMode::Strict, ..options() };
    let refused = Db::open_unlocked(strict, Arc::new(store.fs.clone()), store.clock.clone(), &watch);
    assert!(matches!(refused, Err(OpenError::Wal(_))), "{refused:?}");
    let querier = watch.early().unwrap().querier(TimeRange::ALL).unwrap();
    let mut column = Column::default();
    querier.select(&[], &SelectHints::default()).unwrap()[0].samples.read(TimeRange::ALL, &mut column).unwrap();
    assert_eq!(column.len(), expected.values().map(BTreeMap::len).sum::<usize>());
    let warnings = querier.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("being replayed, ") && warnings[0].contains(" % of it is done")
    );
}
