//! How the last reload of the configuration went, for whoever asks: `status/runtimeinfo` and `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::model::TimestampMs;

/// The outcome of the last reload. The start counts as the first.
#[derive(Debug)]
pub struct ReloadState {
    successful: AtomicBool,
    last_success_ms: AtomicI64,
}

impl ReloadState {
    /// The state after a start.
    pub fn at(started_ms: TimestampMs) -> Self {
        ReloadState { successful: AtomicBool::new(true), last_success_ms: AtomicI64::new(started_ms) }
    }

    /// Notes a reload.
    pub fn note(&self, successful: bool, now_ms: TimestampMs) {
        self.successful.store(successful, Ordering::Relaxed);
        if successful {
            self.last_success_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Whether the last one was successful.
    pub fn successful(&self) -> bool {
        self.successful.load(Ordering::Relaxed)
    }

    /// When the last successful one was.
    pub fn last_success_ms(&self) -> TimestampMs {
        self.last_success_ms.load(Ordering::Relaxed)
    }
}
