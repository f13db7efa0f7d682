//! A promise that is kept once, by the writer thread, and waited for by a task or a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::commit::{CommitError, Receipt};

#[derive(Debug)]
struct State<T> {
    outcome: Option<Result<T, CommitError>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side that keeps the promise. Dropped without a word, it says that the log is not available.
#[derive(Debug)]
pub(crate) struct Ack<T>(Arc<Slot<T>>);

/// The side that waits: for a [`Receipt`], unless it says otherwise.
#[derive(Debug)]
#[must_use = "nothing is acknowledged before this is ready"]
pub struct CommitFuture<T = Receipt>(Arc<Slot<T>>);

/// Both sides of a promise.
pub(crate) fn promise<T>() -> (Ack<T>, CommitFuture<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State { outcome: None, waker: None }), done: Condvar::new() });
    (Ack(Arc::clone(&slot)), CommitFuture(slot))
}

impl<T> Ack<T> {
    /// Keeps the promise; a second outcome is ignored.
    pub(crate) fn complete(&self, outcome: Result<T, CommitError>) {
        let mut state = self.0.lock();
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        self.0.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Ack<T> {
    fn drop(&mut self) {
        self.complete(Err(CommitError::Unavailable { reason: "the writer of the log has stopped".into() }));
    }
}

impl<T: Clone> CommitFuture<T> {
    /// Blocks the thread until the outcome is known.
    pub fn wait(self) -> Result<T, CommitError> {
        let mut state = self.0.lock();
        loop {
            match &state.outcome {
                Some(outcome) => return outcome.clone(),
                None => state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The outcome, where it is known already.
    pub fn outcome(&self) -> Option<Result<T, CommitError>> {
        self.0.lock().outcome.clone()
    }
}

impl<T: Clone> Future for CommitFuture<T> {
    type Output = Result<T, CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match &state.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_that_is_dropped_is_an_error_and_never_a_hang() {
        let (ack, future) = promise::<Receipt>();
        assert_eq!(future.outcome(), None);
        drop(ack);
        assert!(matches!(future.wait(), Err(CommitError::Unavailable { .. })));
    }

    #[test]
    fn promise_kept_twice_holds_the_first_outcome() {
        let (ack, future) = promise();
        ack.complete(Ok(1));
        ack.complete(Ok(2));
        assert_eq!(future.wait(), Ok(1));
    }
}
