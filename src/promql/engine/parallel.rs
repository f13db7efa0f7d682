//! Work in blocks on several threads, taken up in the order of the blocks.
//!
//! Producers compute blocks side by side; the consumer sees them one by one and in order, on the calling thread. So what
//! it folds is the same on every run and for every number of threads, to the last bit, and only as many blocks are in
//! memory as there are threads to fill them.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::QueryError;

/// Blocks that each thread may be ahead of the consumer.
const BLOCKS_AHEAD: usize = 2;

struct State<T> {
    /// The next block that nobody has taken.
    next: usize,
    /// Blocks that the consumer has taken up.
    consumed: usize,
    /// Blocks that are ready, by number.
    ready: BTreeMap<usize, Result<T, QueryError>>,
    /// The consumer wants no more.
    stopped: bool,
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // A producer that panics takes the scope down with it, so its half-done state is not looked at.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Produces the blocks `0..blocks` on up to `workers` threads and hands them to `consume` in order.
pub(super) fn in_order<T: Send>(
    blocks: usize,
    workers: usize,
    produce: impl Fn(usize) -> Result<T, QueryError> + Sync,
    mut consume: impl FnMut(T) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let workers = workers.min(blocks);
    if workers <= 1 {
        return (0..blocks).try_for_each(|block| consume(produce(block)?));
    }
    let state = Mutex::new(State { next: 0, consumed: 0, ready: BTreeMap::new(), stopped: false });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let done = StopOnUnwind { state: &state, changed: &changed };
                while let Some(block) = take_next(&state, &changed, blocks, workers * BLOCKS_AHEAD) {
                    let produced = produce(block);
                    lock(&state).ready.insert(block, produced);
                    changed.notify_all();
                }
                std::mem::drop(done);
            });
        }
        let outcome = (0..blocks).try_for_each(|block| consume(wait_for(&state, &changed, block)?));
        lock(&state).stopped = true;
        changed.notify_all();
        outcome
    })
}

/// Lets the others go on when a producer panics; the panic itself is passed on by the scope.
struct StopOnUnwind<'s, T> {
    state: &'s Mutex<State<T>>,
    changed: &'s Condvar,
}

impl<T> Drop for StopOnUnwind<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.state).stopped = true;
            self.changed.notify_all();
        }
    }
}

fn take_next<T>(state: &Mutex<State<T>>, changed: &Condvar, blocks: usize, ahead_max: usize) -> Option<usize> {
    let mut state = lock(state);
    loop {
        if state.stopped || state.next >= blocks {
            return None;
        }
        if state.next < state.consumed + ahead_max {
            state.next += 1;
            return Some(state.next - 1);
        }
        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn wait_for<T>(state: &Mutex<State<T>>, changed: &Condvar, block: usize) -> Result<T, QueryError> {
    let mut state = lock(state);
    loop {
        if let Some(produced) = state.ready.remove(&block) {
            state.consumed = block + 1;
            changed.notify_all();
            return produced;
        }
        if state.stopped {
            return Err(QueryError::Execution("unexpected error: an evaluation thread ended early".to_owned()));
        }
        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_with_several_workers_consumes_blocks_in_order() {
        let mut seen = Vec::new();
        let produce = |block: usize| Ok(block * 10);
        in_order(100, 4, produce, |value| {
            seen.push(value);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..100).map(|block| block * 10).collect::<Vec<_>>());
    }

    #[test]
    fn in_order_with_a_failing_block_ends_with_the_first_error_in_order() {
        let produce = |block: usize| if block >= 7 { Err(QueryError::TooManySamples) } else { Ok(block) };
        let mut seen = 0;
        let outcome = in_order(100, 4, produce, |_| {
            seen += 1;
            Ok(())
        });
        assert!(matches!(outcome, Err(QueryError::TooManySamples)));
        assert_eq!(seen, 7);
    }

    #[test]
    fn in_order_with_a_failing_consumer_stops_the_workers() {
        let outcome = in_order(1_000_000, 4, Ok, |block| if block == 3 { Err(QueryError::Canceled) } else { Ok(()) });
        assert!(matches!(outcome, Err(QueryError::Canceled)));
    }
}
