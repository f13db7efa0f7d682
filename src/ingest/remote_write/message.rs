//! What both versions of a remote write message have in common: how much one may hold, and why one is refused.

use super::histogram::InvalidHistogram;
use crate::encoding::Corruption;
use crate::ingest::answer::describe;
use crate::model::{RawLabels, TimestampMs};
use crate::storage::{BatchOutcome, RejectReason};

/// Why a message is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not a message.
    #[error("body is not a valid remote write message: {0}")]
    Malformed(#[from] Corruption),
    /// More series or samples than one request may have.
    #[error("request has more than {limit} {what}; send it in parts")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl DecodeError {
    /// The error of a part that begins at `base`, as an error of the whole.
    #[cold]
    pub(super) fn moved_by(self, base: usize) -> Self {
        match self {
            DecodeError::Malformed(corruption) => {
                DecodeError::Malformed(Corruption { offset: corruption.offset + base, ..corruption })
            }
            other => other,
        }
    }
}

/// How much one message may hold.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Series entries; and the same number of metadata entries.
    pub series: usize,
    /// Float samples; the same number of exemplars; and the same number once more for native histograms, of which one
    /// counts as [`HISTOGRAM_COST`] samples and one for each of its parts.
    pub samples: usize,
    /// Symbols of a message of version 2.
    pub symbols: usize,
    /// Bytes of all labels of a message of version 2, written out: a symbol may be referred to any number of times.
    pub label_bytes: usize,
}

/// What a histogram takes in memory without its buckets, in samples.
pub const HISTOGRAM_COST: usize = 16;

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { series: 1_000_000, samples: 4_000_000, symbols: 2_000_000, label_bytes: 128 << 20 }
    }
}

/// How much all native histograms of a message may still take.
#[derive(Debug, Clone, Copy)]
pub(super) struct HistogramBudget {
    spent: usize,
    limit: usize,
}

impl HistogramBudget {
    pub(super) fn new(limits: DecodeLimits) -> Self {
        HistogramBudget { spent: 0, limit: limits.samples }
    }

    /// Counts a histogram of so many buckets, spans and boundaries.
    pub(super) fn spend(&mut self, parts: usize) -> Result<(), DecodeError> {
        self.spent += HISTOGRAM_COST + parts;
        if self.spent > self.limit {
            let what = "native histograms and buckets of them, counted as samples,";
            return Err(DecodeError::TooMany { what, limit: self.limit });
        }
        Ok(())
    }
}

/// A native histogram that is refused whatever the store has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RefusedHistogram {
    pub(super) timestamp_ms: TimestampMs,
    pub(super) reason: InvalidHistogram,
}

/// Adds the refused histograms of a series to what the decoder refused.
#[cold]
pub(super) fn refuse_histograms(labels: RawLabels<'_>, refused: &[RefusedHistogram], outcome: &mut BatchOutcome) {
    for RefusedHistogram { timestamp_ms, reason } in refused {
        outcome.reject(RejectReason::InvalidHistogram, BatchOutcome::NO_ENTRY, 1, || {
            format!("native histogram at {timestamp_ms} ms: {reason}: {}", describe(labels))
        });
    }
}
