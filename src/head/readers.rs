//! Who reads the head, from when on: so that nothing is taken away that a reader may still ask for.
//!
//! Every querier, source of chunks and snapshot is a [`Reader`], with a number that rises. A reader that began before
//! some moment has a smaller number than [`Readers::epoch`] gave at that moment. Two things are decided by that:
//!
//! - *Samples* are dropped up to a time only if no reader's range begins below it, and none that begins later can:
//!   [`Readers::begin_truncation`] decides both under one lock.
//! - *Numbers* (slots, label pairs) are used again only when every reader that may have seen their former meaning is
//!   gone. They are first made unfindable, then the epoch is taken: who enters afterwards cannot come by them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::TimestampMs;

/// The readers that are there.
#[derive(Debug)]
pub(super) struct Readers {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    /// The next reader's number.
    next: u64,
    /// The oldest time that each reader may ask for, by its number.
    live: BTreeMap<u64, TimestampMs>,
    /// Queries that begin from now on see no in-order sample below.
    read_from_ms: TimestampMs,
    /// In-order samples below may be gone.
    truncated_ms: TimestampMs,
}

/// One reader; it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Arc<Readers>,
    number: u64,
    from_ms: TimestampMs,
}

impl Readers {
    pub(super) fn new() -> Arc<Self> {
        let state =
            State { next: 0, live: BTreeMap::new(), read_from_ms: TimestampMs::MIN, truncated_ms: TimestampMs::MIN };
        Arc::new(Readers { state: Mutex::new(state), left: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a query whose range begins at `start_ms`.
    pub(super) fn enter_query(self: &Arc<Self>, start_ms: TimestampMs) -> Reader {
        self.enter(|state| start_ms.max(state.read_from_ms))
    }

    /// Enters somebody who reads all that is there from `start_ms` on, whether queries still see it or not.
    pub(super) fn enter_source(self: &Arc<Self>, start_ms: TimestampMs) -> Reader {
        self.enter(|state| start_ms.max(state.truncated_ms))
    }

    /// Enters somebody who reads all that queries see.
    pub(super) fn enter_seen(self: &Arc<Self>) -> Reader {
        self.enter(|state| state.read_from_ms.max(state.truncated_ms))
    }

    fn enter(self: &Arc<Self>, from_ms: impl FnOnce(&State) -> TimestampMs) -> Reader {
        let mut state = self.state();
        let (number, from_ms) = (state.next, from_ms(&state));
        state.next += 1;
        state.live.insert(number, from_ms);
        Reader { readers: self.clone(), number, from_ms }
    }

    /// Queries that begin from now on see no in-order sample below `from_ms`.
    pub(super) fn read_from(&self, from_ms: TimestampMs) {
        let mut state = self.state();
        state.read_from_ms = state.read_from_ms.max(from_ms);
    }

    /// Waits until every reader that is there now and may ask for samples below `below_ms` is gone.
    pub(super) fn wait(&self, below_ms: TimestampMs, timeout: Duration) -> bool {
        let state = self.state();
        let epoch = state.next;
        let is_awaited = |state: &mut State| state.live.range(..epoch).any(|(_, &from_ms)| from_ms < below_ms);
        let (_state, waited) =
            self.left.wait_timeout_while(state, timeout, is_awaited).unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// The number of the next reader.
    pub(super) fn epoch(&self) -> u64 {
        self.state().next
    }

    /// The number of the oldest reader that is there; that of the next one where there is none.
    pub(super) fn oldest(&self) -> u64 {
        let state = self.state();
        state.live.keys().next().copied().unwrap_or(state.next)
    }

    /// Up to which time, `below_ms` at most, samples may be dropped now: no reader asks for them, and from now on none
    /// will.
    pub(super) fn begin_truncation(&self, below_ms: TimestampMs) -> TimestampMs {
        let mut state = self.state();
        let oldest_ms = state.live.values().copied().min().unwrap_or(TimestampMs::MAX);
        let allowed_ms = below_ms.min(state.read_from_ms).min(oldest_ms);
        state.truncated_ms = state.truncated_ms.max(allowed_ms);
        allowed_ms
    }
}

impl Reader {
    /// The oldest time for which in-order samples are there for this reader.
    pub(super) fn oldest_ms(&self) -> TimestampMs {
        self.from_ms
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.state().live.remove(&self.number);
        self.readers.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_goes_as_far_as_queries_no_longer_see_and_no_reader_asks_for() {
        let readers = Readers::new();
        assert_eq!(readers.begin_truncation(100), TimestampMs::MIN);
        let before = readers.enter_query(50);
        readers.read_from(100);
        assert_eq!(readers.begin_truncation(200), 50);
        let (query, source) = (readers.enter_query(0), readers.enter_source(0));
        assert_eq!((before.oldest_ms(), query.oldest_ms(), source.oldest_ms()), (50, 100, 50));
        drop(source);
        assert_eq!(readers.begin_truncation(200), 50);
        drop(before);
        assert_eq!(readers.begin_truncation(90), 90);
        assert_eq!(readers.begin_truncation(200), 100);
        assert_eq!(readers.enter_source(0).oldest_ms(), 100);
    }

    #[test]
    fn wait_ends_when_the_readers_of_before_are_gone_and_heeds_no_later_one() {
        let readers = Readers::new();
        let (low, high) = (readers.enter_query(10), readers.enter_query(20));
        assert!(!readers.wait(20, Duration::ZERO));
        assert!(readers.wait(10, Duration::ZERO));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| readers.wait(20, Duration::from_secs(600)));
            drop(low);
            assert!(waiter.join().unwrap());
        });
        drop(high);
        assert!(readers.wait(TimestampMs::MAX, Duration::ZERO));
    }
}
