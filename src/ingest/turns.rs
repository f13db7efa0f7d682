//! Whose turn it is: how many writes are worked on at once, and how long one may take.
//!
//! A client may go away, or its time end, while the log has what its write added. That waits for the disk all the same, so
//! the place is given back only when it is durable or refused ([`finish`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;

const LOG_TOO_SLOW: &str = "the log took too long; whether the request is stored is not known";

tokio::task_local! {
    /// The place of the write that is worked on.
    static PLACE: Option<Arc<OwnedSemaphorePermit>>;
}

/// The places of writes that are there as a whole, and not yet durable.
#[derive(Debug)]
pub struct Turns {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Turns {
    /// So many places; a write may wait for one, and for the log, no longer than `timeout`.
    pub fn new(places: usize, timeout: Duration) -> Self {
        Turns { places: Arc::new(Semaphore::new(places)), timeout }
    }

    /// Places that are free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Works on a write when it has its turn. Where that takes too long, what was begun may still become durable.
    pub async fn take<T>(&self, write: impl Future<Output = T>) -> Result<T, Refusal> {
        let worked_on = async {
            // The places are never closed.
            let place = self.places.clone().acquire_owned().await.ok().map(Arc::new);
            PLACE.scope(place, write).await
        };
        let done = tokio::time::timeout(self.timeout, worked_on).await;
        done.map_err(|_elapsed| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, LOG_TOO_SLOW))
    }
}

/// Waits for a commit. When nobody waits for it any more, a task of its own does, which has the place of the write.
pub(super) fn finish<C>(commit: C) -> impl Future<Output = C::Output>
where
    C: Future<Output: Send> + Unpin + Send + 'static,
{
    let place = PLACE.try_with(Clone::clone).ok().flatten();
    Finish { waits: Some((commit, place)) }
}

/// A commit that is not yet there, with the place that its write has.
struct Finish<C: Future<Output: Send> + Unpin + Send + 'static> {
    waits: Option<(C, Option<Arc<OwnedSemaphorePermit>>)>,
}

impl<C: Future<Output: Send> + Unpin + Send + 'static> Future for Finish<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let Some((commit, _)) = &mut self.waits else { return Poll::Pending };
        let outcome = std::task::ready!(Pin::new(commit).poll(context));
        self.waits = None;
        Poll::Ready(outcome)
    }
}

impl<C: Future<Output: Send> + Unpin + Send + 'static> Drop for Finish<C> {
    fn drop(&mut self) {
        if let Some((commit, Some(place))) = self.waits.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                drop(commit.await);
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::ManualClock;
    use crate::ingest::accept::Decoded;
    use crate::ingest::{Appended, Protocol, Sender, WriteLimits, WriteService, WriteStore};
    use crate::model::{Digest, RawLabels, TimestampMs};
    use crate::storage::{BatchOutcome, SeriesEntry, WriteBatch};
    use crate::wal::{CommitError, Durability, Receipt};

    type Outcome = Result<Receipt, CommitError>;

    /// A store whose log writes when the test says so.
    #[derive(Debug, Default)]
    struct SlowLog(std::sync::Mutex<Vec<oneshot::Sender<Outcome>>>);

    impl WriteStore for SlowLog {
        type Commit = Pin<Box<dyn Future<Output = Outcome> + Send>>;

        fn append(&self, _: &WriteBatch<'_>, _: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
            let (ack, commit) = oneshot::channel();
            self.0.lock().unwrap().push(ack);
            let commit = Box::pin(async { commit.await.unwrap_or(Err(CommitError::ShuttingDown)) });
            Ok(Appended { outcome: BatchOutcome::default(), commit })
        }
    }

    impl SlowLog {
        fn commit(&self, outcome: Outcome) {
            self.0.lock().unwrap().pop().unwrap().send(outcome).unwrap();
        }
    }

    fn service() -> WriteService<SlowLog> {
        WriteService::new(SlowLog::default(), WriteLimits::default(), Arc::new(ManualClock::at(0)))
    }

    /// Writes one series.
    async fn write(service: &WriteService<SlowLog>) -> bool {
        let sender = Sender::unknown(Protocol::RemoteWrite1);
        let stored = service.store(&sender, 1, |_, batch| {
            batch.series.push(SeriesEntry { labels: RawLabels(&[]), samples: 0..0 });
            Ok(Decoded::default())
        });
        stored.await.is_ok()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn turn_of_a_client_that_went_away_is_taken_until_its_write_is_durable_or_refused() {
        let receipt = Receipt { commit: 1, samples: 0, digest: Digest::ZERO, durability: Durability::Fsync };
        for outcome in [Ok(receipt), Err(CommitError::ShuttingDown)] {
            run(async {
                let (service, turns) = (service(), Turns::new(1, Duration::from_secs(3600)));
                let mut waits = Box::pin(turns.take(write(&service)));
                assert!(poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await);
                drop(waits);
                assert_eq!(turns.free(), 0);
                service.store.commit(outcome);
                turns.take(ready(())).await.unwrap();
                assert_eq!(turns.free(), 1);
            });
        }
    }

    #[test]
    fn turn_of_a_write_whose_time_is_over_is_taken_until_it_is_durable() {
        run(async {
            let (service, turns) = (service(), Turns::new(1, Duration::ZERO));
            let late = turns.take(write(&service)).await.unwrap_err();
            assert_eq!((late.status, turns.free()), (StatusCode::SERVICE_UNAVAILABLE, 0));
        });
    }

    #[test]
    fn turn_of_a_write_that_ends_or_is_dropped_before_its_commit_is_free_at_once() {
        run(async {
            let turns = Turns::new(1, Duration::from_secs(3600));
            turns.take(ready(())).await.unwrap();
            assert_eq!(turns.free(), 1);
            let mut waits = Box::pin(turns.take(std::future::pending::<()>()));
            assert!(poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await);
            assert_eq!(turns.free(), 0);
            drop(waits);
            assert_eq!(turns.free(), 1);
        });
    }
}
