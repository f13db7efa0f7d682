//! Whose turn it is: how many writes are worked on at once, and how long one may take.

use std::future::Future;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Semaphore;

use super::answer::Refusal;

const LOG_TOO_SLOW: &str = "the log took too long; whether the request is stored is not known";

/// The places of writes that are there as a whole, and not yet durable.
#[derive(Debug)]
pub struct Turns {
    places: Semaphore,
    timeout: Duration,
}

impl Turns {
    /// So many places; a write may wait for one, and for the log, no longer than `timeout`.
    pub fn new(places: usize, timeout: Duration) -> Self {
        Turns { places: Semaphore::new(places), timeout }
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
            let _place = self.places.acquire().await;
            write.await
        };
        let done = tokio::time::timeout(self.timeout, worked_on).await;
        done.map_err(|_elapsed| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, LOG_TOO_SLOW))
    }
}
