//! Crash states, enumerated: see [`explore`](super::explore).

use std::io::Write as _;

use super::explore::{Place, Stats, Step, explore, explore_only, fault_at_every_call, random_lives, replay};
use crate::fs::sim::Fault;

/// States that every run opens.
const STATES: u64 = 20_000;
/// Long lives of every run.
const LIVES: u64 = 12;

/// What a variable of the environment says.
pub(super) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[test]
fn states_after_crashes_hold_what_was_acknowledged() {
    if let Ok(place) = std::env::var("CHRONOLITH_CRASH_REPLAY") {
        let place = Place::parse(&place).expect("a place as it was printed");
        replay(&place).unwrap_or_else(|found| panic!("{found}"));
        return;
    }
    let seed = number("CHRONOLITH_SEED").unwrap_or(1);
    let states = number("CHRONOLITH_CRASH_STATES").unwrap_or(STATES);
    let threads = number("CHRONOLITH_CRASH_THREADS").unwrap_or(2);
    let mut stats = Stats::default();
    std::thread::scope(|scope| {
        let explorers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || explore(seed.wrapping_add(thread * 0x5eed), states.div_ceil(threads))))
            .collect();
        for explorer in explorers {
            stats += explorer.join().expect("a panic is a counterexample").unwrap_or_else(|found| panic!("{found}"));
        }
    });
    // Past what the test runner keeps for itself: how much was looked at belongs to the outcome.
    let summary = format!("crash states, seed {seed}: {} states, {} sequences\n", stats.states, stats.sequences);
    std::io::stderr().write_all(summary.as_bytes()).unwrap();
    println!("{stats:#?}");
    assert!(stats.states >= states);
    // What never happened was not tested.
    let (counts, seen) = (stats.counts, stats.seen);
    let happened = [
        ("flushes", counts.flushed),
        ("flushes of late samples", counts.flushed_late),
        ("compactions", counts.compactions),
        ("truncations", counts.truncations),
        ("samples that left the log", counts.left_log),
        ("expired blocks", counts.expired_blocks),
        ("deletions in the head", counts.deleted_in_head),
        ("deletions in blocks", counts.deleted_in_blocks),
        ("crashes in a recovery", stats.in_recovery),
        ("torn tails", seen.torn_tails),
        ("unfinished blocks", seen.unfinished_blocks),
        ("unfinished truncations", seen.unfinished_truncations),
        ("blocks that the ledger does not know", seen.unrecorded_blocks),
        ("samples in doubt that are there", seen.doubtful_kept),
        ("samples in doubt that are not there", seen.doubtful_gone),
        ("deletions that had begun", seen.deletions_begun),
        ("blocks that expired at the start", seen.expired_at_start),
    ];
    for (what, times) in happened {
        assert!(times >= 10, "{what}: {times}");
    }
    assert_eq!(stats.by_step.len(), 9, "{:?}", stats.by_step);
}

#[test]
fn sequences_that_once_lost_something_lose_nothing() {
    let sequences = [
        // The first block had its name, and the ledger no entry: the directory looked like one of Prometheus.
        vec![Step::Sync, Step::Append, Step::Flush],
        // The ledger said that a block had expired, and a crash kept its files.
        vec![Step::Append, Step::Flush, Step::Retain],
        // The end of one head chunk file was lost, and the next one, of a later start, was not.
        vec![Step::Append, Step::Flush, Step::Close, Step::Retain],
    ];
    for steps in sequences {
        let stats = explore_only(1, &steps, 100).unwrap_or_else(|found| panic!("{found}"));
        assert!(stats.states >= 30, "{steps:?}: {stats:?}");
    }
}

#[test]
fn long_lives_with_faults_and_crashes_lose_nothing_that_was_acknowledged() {
    let seed = number("CHRONOLITH_SEED").unwrap_or(1);
    let lives = number("CHRONOLITH_LIVES").unwrap_or(LIVES);
    let stats = random_lives(seed, lives).unwrap_or_else(|problem| panic!("{problem}"));
    println!("long lives, seed {seed}: {stats:#?}");
    assert!(lives < LIVES || (stats.failed > 50 && stats.crashes > 100 && stats.in_recovery > 50), "{stats:?}");
    assert!(lives < LIVES || (stats.counts.compactions > 50 && stats.counts.expired_blocks > 50), "{stats:?}");
}

#[test]
fn calls_that_fail_at_any_step_are_over_when_the_disk_is_well_again() {
    let every = number("CHRONOLITH_FAULT_EVERY").unwrap_or(7) as usize;
    for (fault, calls) in [(Fault::Error, 1), (Fault::NoSpace, 40), (Fault::ShortWrite, 3), (Fault::NoSpace, 1)] {
        let stats = fault_at_every_call(fault, calls, every).unwrap_or_else(|problem| panic!("{problem}"));
        println!("{fault:?} for {calls} calls: {stats:#?}");
        assert!(stats.failed > stats.faults / 4, "{stats:?}");
    }
}
