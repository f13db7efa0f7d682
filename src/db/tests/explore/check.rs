//! One state of a disk: opened, read whole, proven, gone on with.

use std::collections::BTreeSet;

use ulid::Ulid;

use super::super::*;
use super::steps::{Expected, Life, Samples, Step, name, read, small, tally};
use crate::fs::names;
use crate::fs::sim::{Moment, SimFs};
use crate::model::Tally;
use crate::proof::TallyRequest;

/// How much is done with a state after it was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::db) struct Depth {
    /// It is flushed, compacted, written to, and opened again.
    pub(in crate::db) continues: bool,
    /// The moments of its recovery are kept, for a second crash.
    pub(in crate::db) records: bool,
}

/// What the states looked like, so that it shows when nothing happens any more.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::db) struct Seen {
    /// The end of the log was torn.
    pub(in crate::db) torn_tails: u64,
    /// A block was half made or half removed.
    pub(in crate::db) unfinished_blocks: u64,
    /// A checkpoint, and segments that it stands for.
    pub(in crate::db) unfinished_truncations: u64,
    /// A block that the ledger does not know.
    pub(in crate::db) unrecorded_blocks: u64,
    /// Samples that were sent and not acknowledged, and are there.
    pub(in crate::db) doubtful_kept: u64,
    /// The same, and they are not there.
    pub(in crate::db) doubtful_gone: u64,
    /// A deletion that was not acknowledged, and has begun.
    pub(in crate::db) deletions_begun: u64,
    /// Blocks expired while they were opened.
    pub(in crate::db) expired_at_start: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.torn_tails += other.torn_tails;
        self.unfinished_blocks += other.unfinished_blocks;
        self.unfinished_truncations += other.unfinished_truncations;
        self.unrecorded_blocks += other.unrecorded_blocks;
        self.doubtful_kept += other.doubtful_kept;
        self.doubtful_gone += other.doubtful_gone;
        self.deletions_begun += other.deletions_begun;
        self.expired_at_start += other.expired_at_start;
    }
}

/// Opens what a crash left, and compares it with what has to be there. Gives the moments of the recovery, where `depth`
/// asks for them.
pub(in crate::db) fn check(
    disk: &SimFs,
    expected: &Expected,
    name_seed: u64,
    depth: Depth,
    seen: &mut Seen,
) -> Result<Vec<Moment>, String> {
    look(disk, seen);
    let clock = Arc::new(ManualClock::at(expected.now_ms));
    let disk = disk.copy();
    if depth.records {
        disk.record();
    }
    let db = open(&disk, &clock, small(name_seed)).map_err(|error| format!("does not open: {error}"))?;
    let moments = disk.take_moments();
    let found = compare(&db, expected, seen)?;
    prove(&db, expected.deleted == 0)?;
    seen.torn_tails += u64::from(db.recovery().torn_tail.is_some());
    let ledger = db.ledger_state();
    let is_unrecorded = |block: &Arc<crate::block::Block>| !ledger.blocks.contains_key(&block.ulid());
    seen.unrecorded_blocks += u64::from(db.store.blocks.list().iter().any(is_unrecorded));
    let resolved = resolve(&db, expected, found);
    if depth.continues {
        go_on(&db, &disk, &clock, resolved, name_seed)?;
    }
    db.close();
    Ok(moments)
}

/// What has to be there from now on: what is there.
pub(in crate::db) fn resolve(db: &Db, expected: &Expected, found: Samples) -> Expected {
    let expired = db.ledger_state().totals.expired;
    Expected { samples: found, expired, doubtful: Samples::new(), leaving: BTreeSet::new(), ..expected.clone() }
}

/// Flushes all, compacts, writes, closes and opens again: at each step everything is there.
fn go_on(
    db: &Arc<Db>,
    disk: &SimFs,
    clock: &Arc<ManualClock>,
    resolved: Expected,
    name_seed: u64,
) -> Result<(), String> {
    let at = |when: &'static str| move |problem: String| format!("{when}: {problem}");
    db.flush().map_err(|error| format!("after the recovery no flush: {error}"))?;
    complete(db, &resolved).map_err(at("flushed after the recovery"))?;
    db.compact().map_err(|error| format!("after the recovery no compaction: {error}"))?;
    complete(db, &resolved).map_err(at("compacted after the recovery"))?;
    db.close();
    let reopened = open(disk, clock, small(!name_seed)).map_err(|error| format!("does not open again: {error}"))?;
    let seen = &mut Seen::default();
    let found = compare(&reopened, &resolved, seen).map_err(at("opened a second time"))?;
    prove(&reopened, resolved.deleted == 0).map_err(at("opened a second time"))?;
    let resolved = resolve(&reopened, &resolved, found);
    let mut life = Life::around(disk.clone(), clock.clone(), reopened, resolved, name_seed ^ 1);
    life.step(Step::Append).map_err(at("appended after the recovery"))?;
    complete(&life.db, &life.expected).map_err(at("appended after the recovery"))?;
    life.db.close();
    Ok(())
}

/// That the store holds exactly this, and is well.
pub(in crate::db) fn complete(db: &Db, expected: &Expected) -> Result<(), String> {
    let (found, warnings) = read(&*db.queryable(), TimeRange::ALL)?;
    if !warnings.is_empty() {
        return Err(format!("queries are warned: {warnings:?}"));
    }
    if expected.doubtful.is_empty() && expected.leaving.is_empty() && found != expected.samples {
        return Err(difference(&found, &expected.samples));
    }
    let expired = db.ledger_state().totals.expired;
    if expired != expected.expired {
        return Err(format!("the ledger says that {expired} expired, and it was {}", expected.expired));
    }
    prove(db, expected.deleted == 0)
}

fn difference(found: &Samples, expected: &Samples) -> String {
    let missing: Vec<String> =
        expected.iter().filter(|(key, bits)| found.get(key) != Some(bits)).map(|(key, _)| name(key)).collect();
    let extra: Vec<String> = found.keys().filter(|key| !expected.contains_key(key)).map(name).collect();
    format!("missing or different: {missing:?}, too many: {extra:?}, of {} samples", expected.len())
}

/// Acknowledged samples are there bit for bit, deletions hold, nothing is there that was not sent, and what expired the
/// ledger knows.
pub(in crate::db) fn compare(db: &Db, expected: &Expected, seen: &mut Seen) -> Result<Samples, String> {
    let (found, warnings) = read(&*db.queryable(), TimeRange::ALL)?;
    if !warnings.is_empty() {
        return Err(format!("queries are warned: {warnings:?}"));
    }
    let mut gone = Samples::new();
    for (key, bits) in &expected.samples {
        match found.get(key) {
            Some(found) if found == bits => {}
            Some(found) => return Err(format!("{} has the value {found:#x}, and was sent {bits:#x}", name(key))),
            None if expected.leaving.contains(key) => seen.deletions_begun += 1,
            None => drop(gone.insert(*key, *bits)),
        }
    }
    for (key, bits) in &found {
        if expected.samples.contains_key(key) {
            continue;
        }
        match expected.doubtful.get(key).or(expected.ghosts.get(key)) {
            Some(sent) if sent == bits => {}
            Some(sent) => return Err(format!("{} has the value {bits:#x}, and was sent {sent:#x}", name(key))),
            None => return Err(format!("{} is there: deleted, expired, or never sent", name(key))),
        }
    }
    let kept = expected.doubtful.keys().filter(|key| found.contains_key(key)).count() as u64;
    seen.doubtful_kept += u64::from(kept > 0);
    seen.doubtful_gone += u64::from(kept < expected.doubtful.len() as u64);
    // What is missing has expired, as the ledger says, or is lost.
    if let Some((key, _)) = gone.iter().find(|(key, _)| key.1 >= expected.kept_from_ms()) {
        return Err(format!("{} is lost, and {} more samples", name(key), gone.len() - 1));
    }
    let expired = db.ledger_state().totals.expired - expected.expired;
    let missing = tally(&gone);
    seen.expired_at_start += u64::from(expired != Tally::ZERO);
    let is_told = match (expected.deleted, expected.ghosts.len() as u64) {
        (0, 0) => expired == missing,
        // Blocks may have held deleted samples too.
        (deleted, ghosts) => {
            (missing.samples.saturating_sub(ghosts)..=missing.samples + deleted + ghosts).contains(&expired.samples)
        }
    };
    if !is_told {
        return Err(format!("{missing} are missing, and the ledger says that {expired} expired: {:?}", gone.keys()));
    }
    Ok(found)
}

/// The store's own proofs, and that ledger and disk agree.
pub(in crate::db) fn prove(db: &Db, is_exact: bool) -> Result<(), String> {
    let verified = db.verify().map_err(|error| format!("no proof: {error}"))?;
    if !verified.is_good() {
        return Err(format!("the proof fails: {:?}", verified.findings));
    }
    let ledger = db.ledger_state();
    let on_disk = crate::ledger::read(&*db.fs, &db.options.data_dir.join(names::LEDGER_DIR));
    let on_disk = on_disk.map_err(|error| format!("the ledger cannot be read: {error}"))?;
    if on_disk.state != ledger && db.store.ledger().is_settled() {
        let (entries, last) = (on_disk.entries.len(), on_disk.entries.last());
        let known = db.store.ledger().entries().len();
        return Err(format!("the ledger has {known} entries, and its file {entries}, {:?}: {last:?}", on_disk.damages));
    }
    if ledger.imbalance() != Tally::ZERO {
        return Err(format!("the ledger does not balance: {}", ledger.imbalance()));
    }
    // Not those of the schedule: in these lives no task runs by itself.
    let (lost, alarms) = (db.store.blocks.lost(), db.store.notes().alarms.clone());
    if !lost.is_empty() || !alarms.is_empty() {
        return Err(format!("lost blocks {lost:?}, alarms {alarms:?}"));
    }
    let recovery = db.recovery();
    if !recovery.damages.is_empty() || recovery.repair_failure.is_some() {
        return Err(format!("the crash counts as damage: {:?}, {:?}", recovery.damages, recovery.repair_failure));
    }
    let blocks = db.store.blocks.list();
    let there: BTreeSet<Ulid> = blocks.iter().map(|block| block.ulid()).collect();
    if let Some(lost) = ledger.blocks.keys().find(|ulid| !there.contains(ulid)) {
        return Err(format!("the ledger has a block {lost}, and the disk has not"));
    }
    for block in &blocks {
        let Some(recorded) = ledger.blocks.get(&block.ulid()) else { continue };
        if block.meta().stats.samples != recorded.samples {
            let (ulid, samples) = (block.ulid(), block.meta().stats.samples);
            return Err(format!("block {ulid} has {samples} samples, and the ledger says {recorded}"));
        }
        if is_exact {
            let stored = tally(&read(&**block, TimeRange::ALL)?.0);
            if stored != *recorded {
                return Err(format!("block {} answers {stored}, and the ledger says {recorded}", block.ulid()));
            }
        }
    }
    // What left the log is in the ledger, what did not is in the log: no more of it than was flushed may have left.
    let left = ledger.left_log.samples.in_order + ledger.left_log.samples.out_of_order;
    let log = db.log_tally(&TallyRequest::default()).map_err(|error| error.0)?;
    if left.samples > ledger.totals.flushed.samples || log.damages > 0 {
        return Err(format!("{left} left the log, {} were flushed", ledger.totals.flushed));
    }
    Ok(())
}

/// Notes what a state looks like.
fn look(disk: &SimFs, seen: &mut Seen) {
    let dir = Path::new(DATA);
    let entries = disk.list(dir).unwrap_or_default();
    let unfinished = [names::TMP_FOR_CREATION, names::TMP_FOR_DELETION];
    let is_unfinished = |name: &str| unfinished.iter().any(|ending| name.ends_with(ending));
    seen.unfinished_blocks += u64::from(entries.iter().any(|entry| is_unfinished(&entry.name)));
    let log = disk.list(&dir.join(names::WAL_DIR)).unwrap_or_default();
    let checkpoint = log.iter().filter_map(|entry| names::parse_checkpoint_dir(&entry.name)).max();
    let first = log.iter().filter_map(|entry| names::parse_wal_segment(&entry.name)).min();
    let is_between = checkpoint.zip(first).is_some_and(|(checkpoint, first)| first <= checkpoint);
    seen.unfinished_truncations += u64::from(is_between);
}
