//! The places of connections. Where all are taken, the connection that has been idle for the longest gives its own up.
//!
//! A client that opens connections and sends nothing on them can so hold none that another needs: to be idle is to have
//! no request under way, and a head that never ends is none. One that asks and takes no answer is [`stall`]'s.
//!
//! [`stall`]: super::stall

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::api::response::ApiBody;
use crate::clock::Clock;
use crate::telemetry::Counter;

/// All places.
pub(super) struct Places {
    connections_max: usize,
    of_address_max: Option<usize>,
    clock: Arc<dyn Clock>,
    taken: Mutex<Taken>,
    /// How many wait for a place.
    wanted: AtomicUsize,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by_number: HashMap<u64, Arc<Place>>,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place.
pub(super) struct Place {
    number: u64,
    address: IpAddr,
    /// Requests under way.
    busy: AtomicUsize,
    /// Since when there are none, in microseconds of the monotonic clock.
    idle_since: AtomicU64,
    evicted: Notify,
}

/// A place for as long as this lives.
pub(super) struct Taking {
    places: Arc<Places>,
    place: Arc<Place>,
}

/// A request that is under way on a connection.
pub(super) struct Busy {
    places: Arc<Places>,
    place: Arc<Place>,
}

/// The body of an answer, whose request is under way until the body was taken.
pub(super) struct BusyBody {
    pub(super) body: ApiBody,
    pub(super) _busy: Busy,
}

impl Body for BusyBody {
    type Data = <ApiBody as Body>::Data;
    type Error = <ApiBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Places {
    pub(super) fn new(connections_max: usize, of_address_max: Option<usize>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Places {
            connections_max,
            of_address_max,
            clock,
            taken: Mutex::default(),
            wanted: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Waits until there is a place, which an idle connection may have to give up.
    pub(super) async fn wait(&self, evicted: &Counter) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let taken = self.taken();
                if taken.by_number.len() < self.connections_max {
                    self.wanted.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
                if evict(taken.by_number.values()) {
                    evicted.add(1);
                }
            }
            freed.await;
        }
    }

    /// Takes a place for a connection; `None` where its address has too many, all of them busy.
    pub(super) fn take(self: &Arc<Self>, address: SocketAddr, evicted: &Counter) -> Option<Taking> {
        let address = address.ip();
        let mut taken = self.taken();
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if self.of_address_max.is_some_and(|most| of_address >= most) {
            if !evict(taken.by_number.values().filter(|place| place.address == address)) {
                return None;
            }
            evicted.add(1);
        }
        let number = taken.next;
        taken.next += 1;
        let place = Arc::new(Place {
            number,
            address,
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(micros(self.clock.monotonic())),
            evicted: Notify::new(),
        });
        taken.by_number.insert(number, place.clone());
        *taken.by_address.entry(address).or_default() += 1;
        Some(Taking { places: self.clone(), place })
    }

    /// Tells who waits for a place to look again.
    fn tell(&self) {
        if self.wanted.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the connection that has been idle for the longest to end; says whether one is idle.
fn evict<'a>(places: impl Iterator<Item = &'a Arc<Place>>) -> bool {
    let idle = places.filter(|place| place.busy.load(Ordering::Acquire) == 0);
    let longest = idle.min_by_key(|place| place.idle_since.load(Ordering::Relaxed));
    let Some(place) = longest else { return false };
    // Not chosen again while it is on its way out.
    place.idle_since.store(u64::MAX, Ordering::Relaxed);
    place.evicted.notify_one();
    true
}

impl Taking {
    /// Begins a request.
    pub(super) fn busy(&self) -> Busy {
        self.place.busy.fetch_add(1, Ordering::AcqRel);
        Busy { places: self.places.clone(), place: self.place.clone() }
    }

    /// Resolves when the connection has to end.
    pub(super) async fn evicted(&self) {
        loop {
            self.place.evicted.notified().await;
            // A request that came in between is answered; the connection goes on.
            if self.place.busy.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.by_number.remove(&self.place.number);
        if let Some(count) = taken.by_address.get_mut(&self.place.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.place.address);
            }
        }
        drop(taken);
        self.places.tell();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = micros(self.places.clock.monotonic());
        self.place.idle_since.store(now, Ordering::Relaxed);
        if self.place.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.places.tell();
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Long enough for what happens at once, and waited for where nothing may happen.
    const SHORT: Duration = Duration::from_millis(50);

    fn peer(number: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, number], 1))
    }

    #[test]
    fn connection_that_is_idle_for_the_longest_makes_room() {
        let (clock, evicted) = (Arc::new(ManualClock::at(0)), Counter::default());
        let places = Places::new(3, None, clock.clone());
        run(async {
            let takings: Vec<Taking> = (0..3)
                .map(|number| {
                    clock.advance(Duration::from_secs(1));
                    places.take(peer(number), &evicted).unwrap()
                })
                .collect();
            // The oldest is at work, the second had a request just now.
            let _busy = takings[0].busy();
            clock.advance(Duration::from_secs(1));
            drop(takings[1].busy());
            let waiting = tokio::time::timeout(SHORT, places.wait(&evicted)).await;
            assert!(waiting.is_err(), "nobody has left yet");
            takings[2].evicted().await;
            for staying in &takings[..2] {
                assert!(tokio::time::timeout(SHORT, staying.evicted()).await.is_err());
            }
            drop(takings);
            places.wait(&evicted).await;
            assert_eq!(evicted.get(), 1);
        });
    }

    #[test]
    fn address_with_all_its_places_busy_gets_no_other() {
        let (clock, evicted) = (Arc::new(ManualClock::at(0)), Counter::default());
        let places = Places::new(10, Some(2), clock);
        let (first, second) = (places.take(peer(1), &evicted).unwrap(), places.take(peer(1), &evicted).unwrap());
        let busy = (first.busy(), second.busy());
        assert!(places.take(peer(1), &evicted).is_none());
        assert!(places.take(peer(2), &evicted).is_some());
        drop(busy);
        assert!(places.take(peer(1), &evicted).is_some() && evicted.get() == 1);
        drop((first, second));
        assert!(places.taken().by_address.is_empty() && places.taken().by_number.is_empty());
    }
}
