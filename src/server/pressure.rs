//! Says no before the memory runs out: how many requests are worked on, and what memory the process holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::api::route::{Right, Route};
use crate::clock::Clock;
use crate::fs::{release_freed_memory, resident_bytes};
use crate::telemetry::Counter;

/// Time between two looks at the memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Requests that are worked on. Writes and everything else are counted apart, so that neither keeps the other out.
#[derive(Debug)]
pub struct Gate {
    requests_max: usize,
    writes: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
    /// Requests that were told to come again.
    pub refused: Counter,
}

/// A request that is worked on, for as long as this lives.
#[derive(Debug)]
pub struct Admitted(Option<Arc<AtomicUsize>>);

impl Gate {
    /// A gate that takes so many writes, and as many other requests.
    pub fn new(requests_max: usize) -> Self {
        Gate { requests_max, writes: Arc::default(), others: Arc::default(), refused: Counter::default() }
    }

    /// Takes a request. Where there are too many, `make_way` may make one of them end; if it cannot, this one does not
    /// come in. Probes always do.
    pub fn admit(&self, route: &Route, make_way: impl FnOnce() -> bool) -> Option<Admitted> {
        let counter = match route.needs() {
            Right::Any => return Some(Admitted(None)),
            Right::Write => &self.writes,
            Right::Read | Right::Admin => &self.others,
        };
        let admitted = Admitted(Some(counter.clone()));
        if counter.fetch_add(1, Ordering::Relaxed) >= self.requests_max && !make_way() {
            self.refused.add(1);
            return None;
        }
        Some(admitted)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The memory of the process, looked at a few times a second.
pub struct MemoryGuard {
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    /// When the next look is due, in milliseconds of the monotonic clock.
    look_ms: AtomicU64,
    held: AtomicU64,
    /// Writes that were told to come again.
    pub refused: Counter,
}

impl std::fmt::Debug for MemoryGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryGuard").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl MemoryGuard {
    /// A guard of so many bytes; 0 turns it off.
    pub fn new(bytes_max: u64, clock: Arc<dyn Clock>) -> Self {
        let (look_ms, held) = (AtomicU64::new(0), AtomicU64::new(0));
        MemoryGuard { bytes_max, clock, look_ms, held, refused: Counter::default() }
    }

    /// Whether the process holds more than it should, so that writes have to come again.
    pub fn is_past_bound(&self) -> bool {
        if self.bytes_max == 0 {
            return false;
        }
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let due = self.look_ms.load(Ordering::Relaxed);
        let next = now + LOOK_INTERVAL.as_millis() as u64;
        if now >= due && self.look_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look();
        }
        let past = self.held.load(Ordering::Relaxed) > self.bytes_max;
        if past {
            self.refused.add(1);
        }
        past
    }

    /// Memory that was freed and is kept for later counts only if the system does not take it back.
    fn look(&self) {
        let anonymous = || resident_bytes().map_or(0, |(_, anonymous)| anonymous);
        let mut held = anonymous();
        if held > self.bytes_max {
            release_freed_memory();
            held = anonymous();
        }
        self.held.store(held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn gate_that_is_full_takes_probes_and_what_another_makes_way_for() {
        let gate = Gate::new(2);
        let writes: Vec<_> = (0..2).map(|_| gate.admit(&Route::Write, || false).unwrap()).collect();
        assert!(gate.admit(&Route::Write, || false).is_none());
        let third = gate.admit(&Route::Write, || true).unwrap();
        for route in [Route::Query, Route::Ready, Route::Healthy] {
            assert!(gate.admit(&route, || false).is_some(), "{route:?}");
        }
        assert_eq!(gate.refused.get(), 1);
        drop((writes, third));
        assert_eq!(gate.writes.load(Ordering::Relaxed), 0);
        assert!(gate.admit(&Route::Write, || false).is_some());
    }

    #[test]
    fn memory_past_its_bound_is_seen_and_looked_at_a_few_times_a_second() {
        let clock = Arc::new(ManualClock::at(0));
        assert!(!MemoryGuard::new(0, clock.clone()).is_past_bound());
        assert!(!MemoryGuard::new(u64::MAX, clock.clone()).is_past_bound());
        let guard = MemoryGuard::new(1 << 10, clock.clone());
        assert!(guard.is_past_bound() && guard.is_past_bound());
        assert_eq!(guard.refused.get(), 2);
        guard.held.store(0, Ordering::Relaxed);
        assert!(!guard.is_past_bound(), "not looked at again yet");
        clock.advance(LOOK_INTERVAL);
        assert!(guard.is_past_bound());
    }
}
