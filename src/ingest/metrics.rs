//! Counts of the write path: requests by answer, samples by fate, refusals by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Refusal;
use super::otlp::translate::{Category, Warnings};
use super::sender::Protocol;
use crate::storage::{BatchOutcome, ExemplarRejectReason, RejectReason};
use crate::telemetry::Summary;
use crate::writers::Answered;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What came, and what became of it, by protocol.
#[derive(Debug, Default)]
pub struct IngestMetrics {
    protocols: [ProtocolMetrics; Protocol::ALL.len()],
}

impl IngestMetrics {
    /// What came by one protocol.
    pub fn of(&self, protocol: Protocol) -> &ProtocolMetrics {
        &self.protocols[protocol as usize]
    }

    /// Samples refused for `reason`, whatever the protocol.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.protocols.iter().map(|protocol| protocol.rejected(reason)).sum()
    }

    /// Exemplars refused for `reason`, whatever the protocol.
    pub fn exemplars_rejected(&self, reason: ExemplarRejectReason) -> u64 {
        self.protocols.iter().map(|protocol| protocol.exemplars_rejected(reason)).sum()
    }
}

/// What came by one protocol, and what became of it. Samples are counted after their commit.
#[derive(Debug, Default)]
pub struct ProtocolMetrics {
    /// Requests of which all is durable.
    pub requests_ok: Count,
    /// Requests of which something, or all, was refused for good.
    pub requests_refused: Count,
    /// Requests that may be sent again (503).
    pub requests_unavailable: Count,
    /// From a body's last byte to the answer; of text, which is worked on while it comes, nothing.
    pub answer_time: Summary,
    /// Bytes of bodies as they were sent.
    pub body_bytes: Count,
    /// Bytes of bodies after decompression.
    pub decoded_bytes: Count,
    /// Samples that were added and committed.
    pub samples_added: Count,
    /// Zeros that were added where counters began, and are not among the former.
    pub starts_added: Count,
    /// Samples that were there already.
    pub samples_duplicate: Count,
    /// Native histograms among those two.
    pub histograms_stored: Count,
    /// Exemplars that are stored and durable, those that were there already among them.
    pub exemplars_stored: Count,
    /// What was stored otherwise than its sender may think, by OTLP's [`Category`] in the order of [`Category::ALL`].
    warnings: [Count; Category::ALL.len()],
    rejected: [Count; RejectReason::ALL.len()],
    exemplars_rejected: [Count; ExemplarRejectReason::ALL.len()],
}

impl ProtocolMetrics {
    /// Warnings of this category.
    pub fn warnings(&self, category: Category) -> u64 {
        self.warnings.get(category as usize).map_or(0, Count::get)
    }

    /// Counts the warnings of a request.
    pub(super) fn count_warnings(&self, warnings: &Warnings) {
        for (total, &count) in self.warnings.iter().zip(&warnings.counts) {
            total.add(count);
        }
    }

    /// Samples refused for `reason`.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected.get(reason as usize).map_or(0, Count::get)
    }

    /// Exemplars refused for `reason`.
    pub fn exemplars_rejected(&self, reason: ExemplarRejectReason) -> u64 {
        self.exemplars_rejected.get(reason as usize).map_or(0, Count::get)
    }

    /// Counts the refusals of a batch. They are final, whatever becomes of the samples that were accepted.
    pub(super) fn count_rejected(&self, outcome: &BatchOutcome) {
        for (total, &samples) in self.rejected.iter().zip(&outcome.rejected) {
            total.add(samples);
        }
        for (total, &exemplars) in self.exemplars_rejected.iter().zip(&outcome.exemplars_rejected) {
            total.add(exemplars);
        }
    }

    /// Counts the samples of a batch that is durable.
    pub(super) fn count_stored(&self, outcome: &BatchOutcome) {
        self.samples_added.add(outcome.added - outcome.starts);
        self.starts_added.add(outcome.starts);
        self.samples_duplicate.add(outcome.duplicates);
        self.histograms_stored.add(outcome.histograms);
        self.exemplars_stored.add(outcome.exemplars);
    }

    /// Counts a request by its end: whether a part of it was refused, or why nothing of it is stored.
    pub(super) fn count_request(&self, end: Result<bool, &Refusal>) {
        match end {
            Ok(false) => self.requests_ok.add(1),
            Ok(true) => self.requests_refused.add(1),
            Err(refusal) => self.count_refused(refusal),
        }
    }

    /// Counts a request of which nothing is stored.
    pub(super) fn count_refused(&self, refusal: &Refusal) {
        let requests = match refusal.answered() {
            Answered::Unavailable => &self.requests_unavailable,
            Answered::Ok | Answered::Refused => &self.requests_refused,
        };
        requests.add(1);
    }
}
