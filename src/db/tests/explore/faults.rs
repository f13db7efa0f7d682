//! Lives with faults: calls that fail, a disk that is full, syncs that lose what was written, and crashes between them.
//!
//! After each fault the disk is well again, and the store goes on without a restart: everything that was acknowledged is
//! there, what was refused is there or not, and from then on it stays that way.

use super::super::*;
use super::check::{Depth, Seen, check, compare, prove, resolve};
use super::steps::{Counts, Expected, Key, Life, Step, small};
use super::{Crash, guarded_text};
use crate::fs::sim::{Fault, SimFs, SimRandom};

/// What random lives came to.
#[derive(Debug, Default)]
pub(in crate::db) struct LifeStats {
    pub(in crate::db) lives: u64,
    pub(in crate::db) steps: u64,
    /// Steps during which calls failed.
    pub(in crate::db) faults: u64,
    /// Of these, steps that failed for it.
    pub(in crate::db) failed: u64,
    pub(in crate::db) crashes: u64,
    pub(in crate::db) in_recovery: u64,
    pub(in crate::db) counts: Counts,
    pub(in crate::db) seen: Seen,
}

impl std::ops::AddAssign for LifeStats {
    fn add_assign(&mut self, other: LifeStats) {
        self.lives += other.lives;
        self.steps += other.steps;
        self.faults += other.faults;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.in_recovery += other.in_recovery;
        self.counts += other.counts;
        self.seen += other.seen;
    }
}

/// What happens in a long life, each as often as it stands here.
const MIX: [Step; 20] = [
    Step::Append,
    Step::Append,
    Step::Append,
    Step::Append,
    Step::Append,
    Step::Append,
    Step::Flush,
    Step::Flush,
    Step::Flush,
    Step::Compact,
    Step::Compact,
    Step::Delete,
    Step::Delete,
    Step::Checkpoint,
    Step::Checkpoint,
    Step::Sync,
    Step::Roll,
    Step::Retain,
    Step::Close,
    Step::Append,
];

const FAULTS: [Fault; 3] = [Fault::Error, Fault::NoSpace, Fault::ShortWrite];

/// What maintenance does besides.
#[derive(Debug, Clone, Copy)]
pub(in crate::db) enum Besides {
    Reload,
    CleanTombstones,
    FlushAll,
    Snapshot,
    Accelerate,
    Expire,
}

impl Besides {
    pub(in crate::db) const ALL: [Besides; 6] = [
        Besides::Reload,
        Besides::CleanTombstones,
        Besides::FlushAll,
        Besides::Snapshot,
        Besides::Accelerate,
        Besides::Expire,
    ];
}

impl Life {
    /// Does something that changes nothing of what has to be there.
    pub(in crate::db) fn besides(&mut self, what: Besides) -> Result<(), String> {
        let done = match what {
            Besides::Reload => self.db.reload_blocks().map(drop),
            Besides::CleanTombstones => self.db.clean_tombstones().map(drop),
            Besides::FlushAll => self.db.flush().map(drop),
            Besides::Snapshot => self.db.snapshot(false).map(drop),
            Besides::Accelerate => self.db.accelerate_next().map(drop),
            Besides::Expire => self.db.expire().map(drop),
        };
        self.db.head().flush_chunks();
        done.map_err(|error| format!("{what:?}: {}", error.0))
    }

    /// After a fault: waits until the log takes writes, and takes what is there now for what has to be there.
    pub(in crate::db) fn settle(&mut self, seen: &mut Seen) -> Result<(), String> {
        let mut last = String::new();
        let takes_writes = (0..200_000).any(|_| match self.step(Step::Sync) {
            Ok(()) => true,
            Err(error) => {
                last = error;
                std::thread::sleep(Duration::from_micros(50));
                false
            }
        });
        if !takes_writes {
            return Err(format!("the log does not come back: {last}"));
        }
        let found = compare(&self.db, &self.expected, seen)?;
        let gone = self.expected.samples.iter().filter(|(key, _)| !found.contains_key(key));
        let gone: Vec<(Key, u64)> = gone.map(|(key, bits)| (*key, *bits)).collect();
        self.expected.ghosts.extend(gone);
        self.expected = resolve(&self.db, &self.expected, found);
        self.note();
        Ok(())
    }

    /// Goes on at what a crash left, which is opened, compared and kept.
    pub(in crate::db) fn go_on_at(&mut self, disk: SimFs, expected: &Expected, seen: &mut Seen) -> Result<(), String> {
        self.db.close();
        self.fs = disk;
        self.history.clear();
        let options = small(self.next_seed());
        self.db =
            open(&self.fs, &self.clock, options).map_err(|error| format!("does not open after a crash: {error}"))?;
        let expected = Expected { now_ms: self.clock.now_ms(), ..expected.clone() };
        let found = compare(&self.db, &expected, seen)?;
        prove(&self.db, expected.deleted == 0)?;
        self.expected = resolve(&self.db, &expected, found);
        self.note();
        Ok(())
    }
}

/// Lives through `lives` long sequences, drawn from `seed`. Says which seed, step and call a failure came from.
pub(in crate::db) fn random_lives(seed: u64, lives: u64) -> Result<LifeStats, String> {
    let mut stats = LifeStats::default();
    for life in 0..lives {
        let seed = seed.wrapping_add(life);
        let mut done = Vec::new();
        guarded_text(|| random_life(seed, &mut done, &mut stats)).map_err(|problem| {
            let last = done.len().saturating_sub(12);
            let last = done.get(last..).unwrap_or_default();
            format!(
                "{problem}\n  again: CHRONOLITH_SEED={seed} CHRONOLITH_LIVES=1\n  after {} steps: {last:#?}",
                done.len()
            )
        })?;
    }
    Ok(stats)
}

fn random_life(seed: u64, done: &mut Vec<String>, stats: &mut LifeStats) -> Result<(), String> {
    let mut random = SimRandom::new(seed);
    let mut life = Life::begin(seed, false)?;
    let steps = 50 + random.below(151);
    for _ in 0..steps {
        let is_recorded = random.once_in(5);
        if is_recorded {
            life.history.clear();
            life.note();
            life.fs.record();
        }
        let fault = random.once_in(4).then(|| {
            let first = life.fs.operations() + random.below(60);
            let calls = 1 << random.below(7);
            (FAULTS[random.below(3) as usize], first..first + 1 + random.below(calls))
        });
        if let Some((fault, calls)) = &fault {
            life.fs.fail(calls.clone(), *fault);
        }
        let besides = random.once_in(4).then(|| Besides::ALL[random.below(Besides::ALL.len() as u64) as usize]);
        // A start that fails is tried again by whoever starts it: that is the crash below.
        let step = match MIX[random.below(MIX.len() as u64) as usize] {
            Step::Close if fault.is_some() => Step::Append,
            step => step,
        };
        let result = match besides {
            Some(what) => life.besides(what),
            None => life.step(step),
        };
        let name = besides.map_or_else(|| format!("{step:?}"), |what| format!("{what:?}"));
        done.push(format!("{name} {fault:?} {result:?}, {} calls", life.fs.operations()));
        stats.steps += 1;
        stats.faults += u64::from(fault.is_some());
        stats.failed += u64::from(result.is_err());
        life.fs.heal();
        if fault.is_none() {
            result?;
        }
        let moments = life.fs.take_moments();
        if is_recorded && !moments.is_empty() {
            let moment = &moments[random.below(moments.len() as u64) as usize];
            let crash = Crash { operation: moment.operation, seed: random.next_u64() };
            let expected = life.history[moment.mark].clone();
            let mut disk = moment.disk.crash(crash.seed);
            stats.crashes += 1;
            done.push(format!("power lost before {} {crash:?}", moment.what));
            let depth = Depth { continues: random.once_in(8), records: random.once_in(2) };
            let recovery = check(&disk, &expected, crash.seed, depth, &mut stats.seen)?;
            if !recovery.is_empty() {
                let again = &recovery[random.below(recovery.len() as u64) as usize];
                disk = again.disk.crash(random.next_u64());
                stats.in_recovery += 1;
                done.push(format!("and again before {}", again.what));
            }
            life.go_on_at(disk, &expected, &mut stats.seen)?;
        } else if fault.is_some() || besides.is_some() {
            life.settle(&mut stats.seen)?;
        }
        let found = compare(&life.db, &life.expected, &mut stats.seen)?;
        if fault.is_none() {
            prove(&life.db, life.expected.deleted == 0)?;
        }
        life.expected = resolve(&life.db, &life.expected, found);
        life.note();
    }
    life.step(Step::Close)?;
    prove(&life.db, life.expected.deleted == 0)?;
    stats.counts += life.counts;
    stats.lives += 1;
    life.db.close();
    Ok(())
}

/// Lets `fault` strike `calls` calls from each call of a life on, one life for each `every`-th call. The store goes on
/// without a restart, and afterwards samples are deleted, blocks looked for, and all of it opened again.
pub(in crate::db) fn fault_at_every_call(fault: Fault, calls: u64, every: usize) -> Result<LifeStats, String> {
    let mut stats = LifeStats::default();
    let live = |fault_at: Option<u64>, stats: &mut LifeStats| -> Result<(u64, u64), String> {
        let mut life = Life::begin(1, false)?;
        let first = life.fs.operations();
        if let Some(at) = fault_at {
            life.fs.fail(at..at + calls, fault);
        }
        let steps = [Step::Append, Step::Append, Step::Flush, Step::Delete, Step::Compact, Step::Checkpoint];
        let more = [Step::Append, Step::Delete, Step::Retain, Step::Flush, Step::Compact, Step::Checkpoint];
        let besides = [Besides::FlushAll, Besides::CleanTombstones, Besides::Accelerate, Besides::Snapshot];
        let mut failed = false;
        for step in steps {
            failed |= life.step(step).is_err();
        }
        for what in besides {
            failed |= life.besides(what).is_err();
        }
        for step in more {
            failed |= life.step(step).is_err();
        }
        let last = life.fs.operations();
        life.fs.heal();
        life.settle(&mut stats.seen)?;
        for step in [Step::Delete, Step::Append] {
            life.step(step).map_err(|error| format!("{step:?} after the fault: {error}"))?;
        }
        for what in [Besides::Reload, Besides::FlushAll, Besides::Reload] {
            life.besides(what).map_err(|error| format!("after the fault: {error}"))?;
            life.settle(&mut stats.seen)?;
        }
        prove(&life.db, false)?;
        for step in [Step::Compact, Step::Close, Step::Append] {
            life.step(step).map_err(|error| format!("{step:?} after the fault: {error}"))?;
            compare(&life.db, &life.expected, &mut stats.seen)?;
        }
        prove(&life.db, false)?;
        life.db.close();
        stats.lives += 1;
        stats.failed += u64::from(failed);
        stats.counts += life.counts;
        Ok((first, last))
    };
    let (first, last) = live(None, &mut stats)?;
    for at in (first..last).step_by(every) {
        stats.faults += 1;
        guarded_text(|| live(Some(at), &mut stats).map(drop))
            .map_err(|problem| format!("{fault:?} from call {at} on, {calls} calls: {problem}"))?;
    }
    Ok(stats)
}
