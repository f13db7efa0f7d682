//! What a flush takes at the edges: of its window, and of time.

use super::super::flush::Window;
use super::witness::{Found, Witness, minute};
use super::*;

fn ok(found: Found) {
    found.unwrap_or_else(|caught| panic!("{caught}"));
}

/// How many samples each block has, oldest first.
fn flushed(witness: &Witness) -> Vec<u64> {
    let mut blocks: Vec<_> = witness.db().blocks().into_iter().map(|block| block.meta).collect();
    blocks.sort_by_key(|meta| meta.min_time_ms);
    blocks.iter().map(|meta| meta.stats.samples).collect()
}

#[test]
fn flush_whose_window_was_chosen_before_an_older_sample_came_takes_that_first() {
    let mut witness = Witness::new(options());
    ok(witness.fill(130..170, &["a"]));
    let window = Window { start_ms: minute(120), end_ms: minute(169) + 1 };
    // A series that is new may begin half a range before the newest sample.
    ok(witness.give(minute(115), &[("new", 0.5)]));
    witness.db().flush_window(window).unwrap();
    ok(witness.look("the older window flushed"));
    witness.db().flush().unwrap();
    ok(witness.look("all flushed"));
    ok(witness.restart(options()));
    ok(witness.look("opened again"));
    assert_eq!(flushed(&witness), [1, 40]);
}

#[test]
fn sample_at_the_lowest_of_all_times_is_flushed_as_any_other() {
    let mut witness = Witness::new(options());
    for at_ms in [i64::MIN, i64::MIN + 1] {
        ok(witness.give(at_ms, &[("a", 0.5)]));
    }
    witness.db().flush().unwrap();
    ok(witness.look("flushed"));
    ok(witness.restart(options()));
    ok(witness.look("opened again"));
    assert_eq!(flushed(&witness), [2]);
}
