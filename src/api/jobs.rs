//! Work that somebody asked for and that may take long: a flush, a compaction, a verification.
//!
//! It runs on a thread of its own and belongs to nobody's connection: a client that goes away ends nothing, and what came
//! of the work stands in the log, in `/health` while it runs, and in the state of the task afterwards. Of each kind one is
//! under way at a time. A second request is refused with 409 and told since when: it would wait for work whose outcome it
//! can't be given, since what came in meanwhile may or may not be part of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{ApiError, ErrorType};
use super::rfc3339;
use crate::clock::Clock;
use crate::model::TimestampMs;

/// Work that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// What is done.
    pub(super) what: String,
    /// Since when, by the wall clock.
    pub(super) since_ms: TimestampMs,
    began: Duration,
    number: u64,
}

/// All work that is under way.
pub(super) struct Jobs {
    clock: Arc<dyn Clock>,
    running: Mutex<(u64, Vec<Job>)>,
}

/// Takes the job off the list, however it ends.
struct Running {
    jobs: Arc<Jobs>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.running().1.retain(|job| job.number != self.number);
    }
}

/// Work that was begun. Dropping it does not end it.
pub(super) struct Begun<T>(tokio::task::JoinHandle<Result<T, ApiError>>);

impl<T> Begun<T> {
    /// Waits for its end.
    pub(super) async fn outcome(self) -> Result<T, ApiError> {
        // A panic of the work is an outcome; what is left is a runtime that ends.
        self.0.await.unwrap_or_else(|gone| Err(ApiError::internal("the work was given up", gone)))
    }
}

impl Jobs {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Jobs { clock, running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, (u64, Vec<Job>)> {
        // Each change is one assignment.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way, the oldest first.
    pub(super) fn list(&self) -> Vec<Job> {
        self.running().1.clone()
    }

    /// Begins work, unless the same is under way. Its end is told in the log.
    pub(super) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        what: &str,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Begun<T>, ApiError> {
        let running = self.register(what, true)?;
        Ok(self.spawn(what, running, work))
    }

    /// Begins work of which there may be several at once; the database lets one after the other do its part.
    pub(super) fn begin_another<T: Send + 'static>(
        self: &Arc<Self>,
        what: &str,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Begun<T>, ApiError> {
        let running = self.register(what, false)?;
        Ok(self.spawn(what, running, work))
    }

    fn register(self: &Arc<Self>, what: &str, alone: bool) -> Result<Running, ApiError> {
        let mut running = self.running();
        if let Some(other) = running.1.iter().find(|job| alone && job.what == what) {
            let since = rfc3339(other.since_ms);
            return Err(ApiError::new(ErrorType::Conflict, format!("a {what} is under way since {since}")));
        }
        running.0 += 1;
        let number = running.0;
        let (since_ms, began) = (self.clock.now_ms(), self.clock.monotonic());
        running.1.push(Job { what: what.to_owned(), since_ms, began, number });
        Ok(Running { jobs: self.clone(), number })
    }

    fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        what: &str,
        running: Running,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Begun<T> {
        let (jobs, what) = (self.clone(), what.to_owned());
        let began = self.clock.monotonic();
        tracing::info!(what, "begun on request");
        Begun(tokio::task::spawn_blocking(move || {
            let result = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_told| Err(ApiError::internal("the work panicked", &what)));
            drop(running);
            let elapsed = jobs.clock.monotonic().saturating_sub(began);
            match &result {
                Ok(_) => tracing::info!(what, ?elapsed, "done on request"),
                Err(error) => tracing::error!(what, ?elapsed, %error, "failed, begun on request"),
            }
            result
        }))
    }

    /// Tells what is still under way when the process ends. Each of these can be interrupted anywhere, as by a crash.
    pub(super) fn report_abandoned(&self) {
        let now = self.clock.monotonic();
        for job in self.list() {
            let elapsed = now.saturating_sub(job.began);
            tracing::warn!(
                what = job.what,
                ?elapsed,
                "still under way as the server stops; the next start finishes or undoes it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::clock::ManualClock;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn second_request_for_the_same_work_is_refused_and_told_since_when_and_other_work_is_not() {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let jobs = Jobs::new(clock);
        let (go, wait) = channel::<()>();
        runtime().block_on(async {
            let first = jobs.begin("flush", move || Ok(wait.recv().is_ok())).unwrap();
            assert_eq!(jobs.list()[0].what, "flush");
            let refused = jobs.begin("flush", || Ok(())).err().unwrap();
            assert_eq!(refused.error_type, ErrorType::Conflict);
            assert_eq!(refused.message, "a flush is under way since 2023-11-14T22:13:20.000Z");
            assert_eq!(jobs.begin("compaction", || Ok(7)).unwrap().outcome().await, Ok(7));
            go.send(()).unwrap();
            assert_eq!(first.outcome().await, Ok(true));
            assert_eq!(jobs.list(), []);
            assert_eq!(jobs.begin("flush", || Ok(8)).unwrap().outcome().await, Ok(8));
        });
    }

    #[test]
    fn work_goes_on_when_nobody_waits_for_it() {
        let jobs = Jobs::new(Arc::new(ManualClock::at(0)));
        let (go, wait) = channel::<()>();
        let (ended, end) = channel();
        runtime().block_on(async {
            let work = move || {
                wait.recv().unwrap();
                ended.send(()).unwrap();
                Ok(())
            };
            drop(jobs.begin("flush", work).unwrap());
            assert_eq!(jobs.list().len(), 1);
            go.send(()).unwrap();
        });
        end.recv().unwrap();
    }

    #[test]
    fn work_that_panics_is_an_error_and_leaves_room_for_the_next() {
        let jobs = Jobs::new(Arc::new(ManualClock::at(0)));
        runtime().block_on(async {
            let panicked = jobs.begin("flush", || -> Result<(), ApiError> { panic!("bad") }).unwrap().outcome().await;
            assert_eq!(panicked.unwrap_err().error_type, ErrorType::Internal);
            assert_eq!(jobs.begin("flush", || Ok(1)).unwrap().outcome().await, Ok(1));
        });
    }
}
