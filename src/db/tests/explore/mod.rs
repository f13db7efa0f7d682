//! Crash states: the power goes before any call of a life, also while the store recovers, and the store is opened again.
//!
//! A life is a sequence of up to four [`Step`]s. The disk keeps every moment of the last one (what came before is the life
//! of a shorter sequence); a *state* is what one crash at one of these moments left on the disk. Each is opened, and has to
//! hold what was acknowledged, nothing that was not sent, and a ledger that balances.

mod check;
mod faults;
mod steps;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(in crate::db) use check::{Depth, check};
pub(in crate::db) use faults::{Besides, fault_at_every_call, random_lives};
pub(in crate::db) use steps::{Counts, Expected, Life, Samples, Step, read, small};

use super::*;
use crate::fs::sim::{Moment, SimRandom};
use check::Seen;

/// A long run tells how far it is each time it has opened this many states.
const PROGRESS: u64 = 25_000;
/// Sequences have at most this many steps.
const STEPS_MAX: usize = 4;

/// A crash, so that it can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) struct Crash {
    /// The call before which the power went.
    pub(in crate::db) operation: u64,
    /// What of the unsynced changes arrived.
    pub(in crate::db) seed: u64,
}

/// A life, and where it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::db) struct Place {
    pub(in crate::db) seed: u64,
    pub(in crate::db) steps: Vec<Step>,
    /// `None` where the life itself went wrong.
    pub(in crate::db) crash: Option<Crash>,
    /// A second one, during the recovery from the first.
    pub(in crate::db) in_recovery: Option<Crash>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(|step| format!("{step:?}").to_lowercase()).collect();
        write!(f, "{} {}", self.seed, steps.join(","))?;
        for crash in self.crash.iter().chain(&self.in_recovery) {
            write!(f, " {}/{}", crash.operation, crash.seed)?;
        }
        Ok(())
    }
}

impl Place {
    /// A place as it was printed.
    pub(in crate::db) fn parse(text: &str) -> Option<Place> {
        let mut words = text.split_whitespace();
        let seed = words.next()?.parse().ok()?;
        let steps = words.next()?.split(',').map(Step::parse).collect::<Option<Vec<Step>>>()?;
        let mut crashes = words.map(|word| {
            let (operation, seed) = word.split_once('/')?;
            Some(Crash { operation: operation.parse().ok()?, seed: seed.parse().ok()? })
        });
        let crash = crashes.next();
        let in_recovery = crashes.next();
        Some(Place { seed, steps, crash: crash.unwrap_or_default(), in_recovery: in_recovery.unwrap_or_default() })
    }
}

/// Something that must not be.
#[derive(Debug)]
pub(in crate::db) struct Counterexample {
    pub(in crate::db) place: Place,
    /// What the disk was about to do when the power went.
    pub(in crate::db) before: String,
    pub(in crate::db) problem: String,
    pub(in crate::db) listing: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.problem)?;
        writeln!(f, "  power lost before: {}", self.before)?;
        writeln!(f, "  again: CHRONOLITH_CRASH_REPLAY='{}'", self.place)?;
        write!(f, "  on the disk: {:#?}", self.listing)
    }
}

/// What was explored.
#[derive(Debug, Default)]
pub(in crate::db) struct Stats {
    /// States that were opened, each one only once.
    pub(in crate::db) states: u64,
    /// Crashes that left a state which had been opened before.
    pub(in crate::db) repeated: u64,
    /// Crashes during the recovery from a crash, among the states.
    pub(in crate::db) in_recovery: u64,
    /// States that were also written to, flushed and compacted after they had been opened.
    pub(in crate::db) continued: u64,
    /// Lives.
    pub(in crate::db) sequences: u64,
    /// Moments at which a crash was tried.
    pub(in crate::db) moments: u64,
    /// States by the step that was cut off.
    pub(in crate::db) by_step: BTreeMap<Step, u64>,
    /// What happened in the lives.
    pub(in crate::db) counts: Counts,
    /// What the states looked like.
    pub(in crate::db) seen: Seen,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.states += other.states;
        self.repeated += other.repeated;
        self.in_recovery += other.in_recovery;
        self.continued += other.continued;
        self.sequences += other.sequences;
        self.moments += other.moments;
        for (step, states) in other.by_step {
            *self.by_step.entry(step).or_default() += states;
        }
        self.counts += other.counts;
        self.seen += other.seen;
    }
}

/// All sequences, in an order that the seed gives.
pub(in crate::db) fn sequences(random: &mut SimRandom) -> Vec<Vec<Step>> {
    let mut all: Vec<Vec<Step>> = Vec::new();
    let mut longest = vec![Vec::new()];
    for _ in 0..STEPS_MAX {
        let longer = |steps: &Vec<Step>| {
            let steps = steps.clone();
            Step::ALL.map(move |step| steps.iter().copied().chain([step]).collect::<Vec<Step>>())
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    for index in (1..all.len()).rev() {
        all.swap(index, random.below(index as u64 + 1) as usize);
    }
    all
}

/// Opens `count` different states, drawn from `seed`. Every second life begins with an append and a flush, so that what
/// follows has something to do; the others are all sequences, of which each has its turn before any has its second.
pub(in crate::db) fn explore(seed: u64, count: u64) -> Result<Stats, Box<Counterexample>> {
    let mut random = SimRandom::new(seed);
    let mut stats = Stats::default();
    let mut known = HashSet::new();
    let all = sequences(&mut random);
    let rich: Vec<&Vec<Step>> = all.iter().filter(|steps| steps.starts_with(&[Step::Append, Step::Flush])).collect();
    // A sequence is run once for a number of its states, since most of the time goes into running it.
    let per_sequence = (count / 2 / all.len() as u64 + 1).max(16);
    for (any, rich) in all.iter().cycle().zip(rich.iter().cycle()) {
        for steps in [any, rich] {
            if stats.states >= count {
                return Ok(stats);
            }
            let wanted = per_sequence.min(count - stats.states);
            let before = stats.states / PROGRESS;
            explore_sequence(seed, steps, wanted, &mut random, &mut known, &mut stats)?;
            if stats.states / PROGRESS > before {
                println!("seed {seed}: {} states of {count}, {} sequences", stats.states, stats.sequences);
            }
        }
    }
    Ok(stats)
}

fn explore_sequence(
    seed: u64,
    steps: &[Step],
    wanted: u64,
    random: &mut SimRandom,
    known: &mut HashSet<(u64, u64)>,
    stats: &mut Stats,
) -> Result<(), Box<Counterexample>> {
    let place = Place { seed, steps: steps.to_vec(), crash: None, in_recovery: None };
    let (life, moments) = live(&place)?;
    stats.sequences += 1;
    stats.counts += life.counts;
    let last = steps.last().copied().unwrap_or(Step::Append);
    let mut tried = HashSet::new();
    let before = stats.states;
    // Crashes that leave what an earlier one left are no new state; after a few of them the next sequence has its turn.
    for _ in 0..wanted * 2 {
        if stats.states - before >= wanted || moments.is_empty() {
            break;
        }
        let moment = &moments[random.below(moments.len() as u64) as usize];
        let crash = Crash { operation: moment.operation, seed: random.next_u64() };
        stats.moments += u64::from(tried.insert(moment.operation));
        let disk = moment.disk.crash(crash.seed);
        let expected = &life.history[moment.mark];
        if !known.insert((disk.fingerprint(), (moment.mark as u64) << 32 | steps.len() as u64)) {
            stats.repeated += 1;
            continue;
        }
        stats.states += 1;
        *stats.by_step.entry(last).or_default() += 1;
        let depth = Depth { continues: random.once_in(8), records: random.once_in(4) };
        let place = Place { crash: Some(crash), ..place.clone() };
        let opened =
            guarded(&place, &moment.what, &disk, || check(&disk, expected, crash.seed, depth, &mut stats.seen))?;
        stats.continued += u64::from(depth.continues);
        if opened.is_empty() {
            continue;
        }
        // The power goes again, while the store recovers.
        let again = &opened[random.below(opened.len() as u64) as usize];
        let crash = Crash { operation: again.operation, seed: random.next_u64() };
        let disk = again.disk.crash(crash.seed);
        stats.states += 1;
        stats.in_recovery += 1;
        *stats.by_step.entry(last).or_default() += 1;
        let place = Place { in_recovery: Some(crash), ..place };
        let depth = Depth { continues: random.once_in(8), records: false };
        stats.continued += u64::from(depth.continues);
        guarded(&place, &again.what, &disk, || check(&disk, expected, crash.seed, depth, &mut stats.seen))?;
    }
    Ok(())
}

/// Lives a life, without a crash; what it held in the end, and the moments of its last step.
fn live(place: &Place) -> Result<(Life, Vec<Moment>), Box<Counterexample>> {
    let nothing = SimFs::new(0);
    let (life, moments) = guarded(place, "nothing", &nothing, || {
        // The first start belongs to the first step.
        let mut life = Life::begin(place.seed, place.steps.len() == 1)?;
        for (number, step) in place.steps.iter().enumerate() {
            if number > 0 && number + 1 == place.steps.len() {
                life.fs.record();
            }
            life.step(*step).map_err(|error| format!("{step:?}: {error}"))?;
        }
        let moments = life.fs.take_moments();
        Ok((life, moments))
    })?;
    let fs = life.fs.clone();
    guarded(place, "nothing", &fs, || {
        check::complete(&life.db, &life.expected)?;
        life.db.close();
        Ok(())
    })?;
    Ok((life, moments))
}

/// Opens one state again.
pub(in crate::db) fn replay(place: &Place) -> Result<(), Box<Counterexample>> {
    let (life, moments) = live(place)?;
    let Some(crash) = place.crash else { return Ok(()) };
    let find = |moments: &[Moment], crash: Crash| {
        moments.iter().find(|moment| moment.operation == crash.operation).cloned().expect("a call of this life")
    };
    let moment = find(&moments, crash);
    let expected = &life.history[moment.mark];
    let disk = moment.disk.crash(crash.seed);
    let first = Place { in_recovery: None, ..place.clone() };
    let depth = Depth { continues: true, records: true };
    let mut seen = Seen::default();
    let opened = guarded(&first, &moment.what, &disk, || check(&disk, expected, crash.seed, depth, &mut seen))?;
    let Some(crash) = place.in_recovery else { return Ok(()) };
    let again = find(&opened, crash);
    let disk = again.disk.crash(crash.seed);
    let depth = Depth { continues: true, records: false };
    guarded(place, &again.what, &disk, || check(&disk, expected, crash.seed, depth, &mut seen))?;
    Ok(())
}

/// Makes a counterexample of an error, and of a panic.
fn guarded<T>(
    place: &Place,
    before: &str,
    disk: &SimFs,
    f: impl FnOnce() -> Result<T, String>,
) -> Result<T, Box<Counterexample>> {
    let listing = listing(disk);
    let result = guarded_text(f);
    result.map_err(|problem| {
        Box::new(Counterexample { place: place.clone(), before: before.to_owned(), problem, listing })
    })
}

/// Makes an error of a panic.
fn guarded_text<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without a word")))
    })
}
