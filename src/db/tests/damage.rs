//! Damage: every kind of file in a data directory with a bit flipped or its end missing.
//!
//! The store opens all the same. What it then answers is either all that it held, or the damage shows: in the warnings of
//! a query of that time, or in what the start, the proofs and the status say. A value that was never written is never
//! answered.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ulid::Ulid;

use super::explore::{Besides, Life, Samples, Step, read, small};
use super::*;
use crate::fs::names;
use crate::fs::sim::SimRandom;

/// Damages of every run.
const DAMAGES: u64 = 600;

/// What came of one damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Everything is there, and nothing says a word: these bytes carry nothing that counts.
    Harmless,
    /// Everything is there, and the damage shows.
    Told,
    /// Something is missing, and a query of its time is warned.
    Warned,
    /// Something is missing, and the start or the proofs say so.
    Named,
}

struct Specimen {
    disk: SimFs,
    samples: Samples,
    /// Everything that was ever written, also what was deleted since.
    written: Samples,
    now_ms: i64,
}

/// A directory with every kind of file.
fn specimen() -> Specimen {
    let mut life = Life::begin(7, false).unwrap();
    let steps = [
        Step::Append,
        Step::Append,
        Step::Flush,
        Step::Compact,
        Step::Delete,
        Step::Checkpoint,
        Step::Append,
        Step::Roll,
        Step::Delete,
        Step::Append,
    ];
    let mut written = Samples::new();
    for step in steps {
        life.step(step).unwrap();
        written.extend(life.expected.samples.clone());
    }
    life.besides(Besides::Accelerate).unwrap();
    life.db.close();
    // A block that was set aside, and that others stand for.
    let ulid = Ulid::from_parts(1, 1);
    let quarantine = Path::new(DATA).join(names::QUARANTINE_DIR);
    let place = quarantine.join(format!("block-{ulid}"));
    life.fs.create_dir_all(&place).unwrap();
    let note = serde_json::json!({
        "ulid": ulid.to_string(), "min_time_ms": START, "max_time_ms": START + 1000, "reason": "a test", "found_ms": START,
        "is_covered": true,
    });
    life.fs.set_content(&quarantine.join(format!("block-{ulid}.json")), note.to_string().into_bytes());
    life.fs.set_content(&place.join(names::BLOCK_META_FILE), b"{}".to_vec());
    Specimen { disk: life.fs.copy(), samples: life.expected.samples.clone(), written, now_ms: life.clock.now_ms() }
}

/// What a file is, by its path.
fn kind(path: &Path) -> Option<&'static str> {
    let inside = path.strip_prefix(DATA).ok()?;
    let mut parts = inside.iter().filter_map(|part| part.to_str());
    let (first, rest): (&str, Vec<&str>) = (parts.next()?, parts.collect());
    Some(match (first, rest.as_slice()) {
        (names::WAL_DIR, [name]) if names::parse_wal_segment(name).is_some() => "log segment",
        (names::WAL_DIR, [dir, _]) if names::parse_checkpoint_dir(dir).is_some() => "checkpoint",
        (names::WAL_DIR, _) => "derived from the log",
        (names::WBL_DIR, _) => "out-of-order log",
        (names::CHUNKS_HEAD_DIR, _) => "head chunks",
        (names::LEDGER_DIR, ["entries"]) => "ledger",
        (names::LEDGER_DIR, _) => "receipts",
        (names::QUARANTINE_DIR, _) => "quarantine",
        (_, [names::BLOCK_META_FILE]) => "block meta",
        (_, [names::BLOCK_INDEX_FILE]) => "block index",
        (_, [names::BLOCK_TOMBSTONES_FILE]) => "block tombstones",
        (_, [names::BLOCK_ACCEL_FILE]) => "block accelerator",
        (_, [names::BLOCK_CHUNKS_DIR, _]) => "block chunks",
        _ => "other",
    })
}

/// Opens the directory with one file replaced, and says what came of it.
fn judge(specimen: &Specimen, path: &Path, bytes: Vec<u8>) -> Result<Found, String> {
    let disk = specimen.disk.copy();
    disk.set_content(path, bytes);
    let clock = Arc::new(ManualClock::at(specimen.now_ms));
    let db = open(&disk, &clock, small(99)).map_err(|error| format!("does not open: {error}"))?;
    let (found, warnings) = read(&*db.queryable(), TimeRange::ALL)?;
    for (key, bits) in &found {
        if specimen.written.get(key) != Some(bits) {
            return Err(format!("{key:?} has the value {bits:#x}, which was never written"));
        }
    }
    let missing: Vec<_> = specimen.samples.keys().filter(|key| !found.contains_key(key)).collect();
    let back = found.keys().filter(|key| !specimen.samples.contains_key(key)).count();
    let told = tells(&db);
    let unwarned = missing.iter().find(|(_, at_ms)| {
        let asked = read(&*db.queryable(), TimeRange::new(*at_ms, *at_ms));
        !asked.is_ok_and(|(_, warnings)| !warnings.is_empty())
    });
    let result = match (missing.is_empty() && back == 0, unwarned) {
        (true, _) if warnings.is_empty() && told.is_empty() => Ok(Found::Harmless),
        (true, _) => Ok(Found::Told),
        (false, None) if back == 0 || !warnings.is_empty() => Ok(Found::Warned),
        (false, _) if !told.is_empty() => Ok(Found::Named),
        _ => Err(format!("{} samples are missing, {back} came back, and nothing says so: {missing:?}", missing.len())),
    };
    // It goes on.
    let mut expected = super::explore::Expected { samples: found, now_ms: specimen.now_ms, ..Default::default() };
    expected.expired = db.ledger_state().totals.expired;
    let mut life = Life::around(disk, clock, db, expected, 5);
    life.step(Step::Append).map_err(|error| format!("takes no writes: {error}"))?;
    let (after, _) = read(&*life.db.queryable(), TimeRange::ALL)?;
    if life.expected.samples.iter().any(|(key, bits)| after.get(key) != Some(bits)) {
        return Err("what was written behind the damage is not there".to_owned());
    }
    life.db.close();
    result
}

/// Everything that says that something is wrong.
fn tells(db: &Db) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let recovery = db.recovery();
    told.extend(recovery.damages.iter().map(|damage| format!("log: {}", damage.what)));
    told.extend(recovery.torn_tail.iter().map(|tail| format!("log: {}", tail.what)));
    told.extend(recovery.repair_failure.clone());
    told.extend(db.loaded().damage.clone());
    told.extend((db.loaded().torn_bytes > 0).then(|| "head chunks are torn".to_owned()));
    let wbl = db.wbl();
    told.extend(wbl.failure.clone());
    told.extend((!wbl.recovery.cut.is_empty()).then(|| "out-of-order log is cut".to_owned()));
    told.extend(db.store.blocks.lost().iter().filter(|lost| !lost.is_covered).map(|lost| lost.reason.clone()));
    told.extend(db.store.ledger().damages().iter().map(|damage| damage.what.clone()));
    match db.verify() {
        Ok(verified) => told.extend(verified.findings),
        Err(error) => told.push(error.0),
    }
    for block in db.store.blocks.list() {
        let check = db.check_block(&block, &mut |_| {});
        told.extend(check.findings);
    }
    let known = db.ledger_state().blocks;
    let there = db.store.blocks.list();
    let lost = known.keys().filter(|ulid| !there.iter().any(|block| block.ulid() == **ulid));
    told.extend(lost.map(|ulid| format!("block {ulid} is in the ledger, and not there")));
    told
}

#[test]
fn every_kind_of_file_with_a_flipped_bit_or_a_missing_end_is_told_or_harmless() {
    let specimen = specimen();
    let all = std::env::var("CHRONOLITH_DAMAGES").ok();
    let seed = std::env::var("CHRONOLITH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = SimRandom::new(seed);
    let files: Vec<(PathBuf, Vec<u8>, &str)> = specimen
        .disk
        .files()
        .into_iter()
        .filter_map(|(path, bytes)| kind(&path).map(|kind| (path, bytes, kind)))
        .collect();
    let places: u64 = files.iter().map(|(_, bytes, _)| bytes.len() as u64 * 9).sum();
    let wanted = match all.as_deref() {
        Some("all") => places,
        Some(count) => count.parse().unwrap(),
        None => DAMAGES,
    };
    let mut counts: BTreeMap<(&str, &str, Found), u64> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut done = 0;
    for (path, bytes, kind) in &files {
        // Small files whole, of large ones a part. A page that is filled up with zeros is looked at in the long run alone.
        let share = (wanted / files.len() as u64).max(1);
        let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 16).min(bytes.len());
        let of_file = if wanted < places { filled as u64 * 9 } else { bytes.len() as u64 * 9 };
        for place in 0..of_file {
            if wanted < places && of_file > share && random.below(of_file) >= share {
                continue;
            }
            let (at, bit) = ((place / 9) as usize, place % 9);
            let mut damaged = bytes.clone();
            let how = if bit == 8 { "cut" } else { "flip" };
            if bit == 8 {
                damaged.truncate(at);
            } else {
                damaged[at] ^= 1 << bit;
            }
            done += 1;
            let judged = catch_unwind(AssertUnwindSafe(|| judge(&specimen, path, damaged)))
                .unwrap_or_else(|_| Err("panic".to_owned()));
            match judged {
                Ok(found) => *counts.entry((kind, how, found)).or_default() += 1,
                Err(problem) => problems.push(format!("{}, {how} at byte {at}, bit {bit}: {problem}", path.display())),
            }
        }
    }
    println!("{done} of {places} damages, seed {seed}: {counts:#?}");
    let first = problems.len().min(20);
    assert!(problems.is_empty(), "{} problems: {:#?}", problems.len(), &problems[..first]);
    let kinds: std::collections::BTreeSet<&str> = counts.keys().map(|(kind, ..)| *kind).collect();
    for kind in ["log segment", "checkpoint", "head chunks", "ledger", "receipts", "quarantine", "block meta"] {
        assert!(kinds.contains(kind), "{kind} was not damaged: {kinds:?}");
    }
    for kind in ["block index", "block tombstones", "block accelerator", "block chunks", "out-of-order log"] {
        assert!(kinds.contains(kind), "{kind} was not damaged: {kinds:?}");
    }
}

/// Warnings of a query of one moment.
fn warnings_at(db: &Db, at_ms: i64) -> Vec<String> {
    let (_, warnings) = read(&*db.queryable(), TimeRange::new(at_ms, at_ms)).unwrap();
    warnings
}

#[test]
fn query_of_a_time_that_the_log_lost_is_warned_until_somebody_closes_the_matter() {
    let wal = WalOptions { segment_bytes: 4 << 10, ..options().wal };
    let options = || DbOptions { wal: wal.clone(), ..options() };
    let mut store = Store::new(options());
    let times: Vec<i64> = (0..240).map(|number| START + number * MINUTE / 4).collect();
    for &at_ms in &times {
        store.advance_to(at_ms);
        assert!(store.append(at_ms, &[("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]));
    }
    let mut segments = store.fs.files();
    segments.retain(|(path, _)| kind(path) == Some("log segment"));
    assert!(segments.len() > 6, "{}", segments.len());
    // Those of the first half are in head chunk files.
    let (path, mut bytes) = segments[segments.len() * 3 / 4].clone();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..middle + 300].fill(0xff);
    let disk = store.fs.copy();
    disk.set_content(&path, bytes);

    let mut db = open(&disk, &store.clock, options()).unwrap();
    let is_warned =
        |db: &Db, at_ms: &i64| warnings_at(db, *at_ms).iter().any(|warning| warning.contains("the log was damaged"));
    let (found, _) = read(&*db.queryable(), TimeRange::ALL).unwrap();
    let lost: Vec<i64> = times
        .iter()
        .copied()
        .filter(|at_ms| found.keys().filter(|(_, found_ms)| found_ms == at_ms).count() < 2)
        .collect();
    assert!(!lost.is_empty() && lost.len() < 60, "{lost:?}");
    for start in 0..2 {
        assert!(lost.iter().all(|at_ms| is_warned(&db, at_ms)), "start {start}");
        let warned = times.iter().filter(|at_ms| is_warned(&db, at_ms)).count();
        assert!(warned < 120, "start {start}: {warned} of {} moments", times.len());
        assert!(db.storage_status().alarms.iter().any(|(about, _)| *about == "log"), "start {start}");
        db.close();
        drop(db);
        db = open(&disk, &store.clock, options()).unwrap();
    }
    let quarantine = Path::new(DATA).join(names::QUARANTINE_DIR);
    for entry in disk.list(&quarantine).unwrap().iter().filter(|entry| entry.name.ends_with(".bin")) {
        disk.remove_file(&quarantine.join(&entry.name)).unwrap();
    }
    db.reload_blocks().unwrap();
    for start in 0..2 {
        assert!(!times.iter().any(|at_ms| is_warned(&db, at_ms)), "start {start}");
        assert!(db.storage_status().alarms.iter().all(|(about, _)| *about != "log"), "start {start}");
        db.close();
        drop(db);
        db = open(&disk, &store.clock, options()).unwrap();
    }
}

#[test]
fn query_is_warned_of_the_samples_of_a_series_whose_name_the_log_lost() {
    let mut store = Store::new(options());
    store.append(START, &[("a".to_owned(), 1.0)]);
    for number in 1..110 {
        store.advance_to(START + number * MINUTE);
        store.append(START + number * MINUTE, &[("a".to_owned(), 1.0), ("b".to_owned(), 1.0)]);
    }
    let disk = store.fs.copy();
    let (path, mut bytes) = disk.files().into_iter().find(|(path, _)| kind(path) == Some("log segment")).unwrap();
    // The labels of `b` stand in the second group.
    let at = bytes.windows(2).position(|two| two == b"\x01b").unwrap();
    bytes[at + 1] ^= 0x20;
    disk.set_content(&path, bytes);
    let db = open(&disk, &store.clock, options()).unwrap();
    assert!(db.replayed().samples_unknown > 30, "{:?}", db.replayed());
    let last = warnings_at(&db, START + 109 * MINUTE);
    assert!(last.iter().any(|warning| warning.contains("the log was damaged")), "{last:?}");
}
