//! What one OTLP request may hold, in either encoding, and why one is refused as a whole.
//!
//! An empty point is two bytes of body and some two hundred of memory, so a bound on the body alone does not bound what
//! comes of it. What is decoded is therefore charged for as it is made: a resource and a scope as long as they are in
//! use, a metric until it is handed on.

use hyper::StatusCode;

use crate::encoding::Corruption;
use crate::ingest::answer::Refusal;

/// How much one request may hold.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Data points of all metrics.
    pub points: usize,
    /// Bytes that a resource, a scope and a metric may take in memory together, without the texts that stay in the body.
    pub metric_bytes: usize,
    /// How deep the values of an attribute may be nested.
    pub depth: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { points: 1_000_000, metric_bytes: 256 << 20, depth: 32 }
    }
}

/// Why a message is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not a message.
    #[error("body is not a valid OTLP metrics message: {0}")]
    Malformed(#[from] Corruption),
    /// The text is not a message.
    #[error("body is not a valid OTLP metrics message in JSON: {at}{message}")]
    MalformedJson {
        /// Where in the message: `resourceMetrics[0].scopeMetrics[1]: `, or nothing.
        at: String,
        /// What is wrong there.
        message: String,
    },
    /// More points than one request may have, or a metric that is too large.
    #[error("request has more than {limit} {what}; send it in parts")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let status = match error {
            DecodeError::Malformed(_) | DecodeError::MalformedJson { .. } => StatusCode::BAD_REQUEST,
            DecodeError::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Refusal::new(status, error.to_string())
    }
}

/// What a request may still make of its bytes.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limits: DecodeLimits,
    points: usize,
    bytes: usize,
}

/// Where a budget stood; see [`Budget::release`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(usize);

impl Budget {
    pub(super) fn new(limits: DecodeLimits) -> Self {
        Budget { limits, points: limits.points, bytes: limits.metric_bytes }
    }

    /// Charges for elements that are about to be made.
    pub(super) fn take<T>(&mut self, count: usize) -> Result<(), DecodeError> {
        let left = self.bytes.checked_sub(size_of::<T>().saturating_mul(count));
        self.bytes = left.ok_or_else(|| self.too_large())?;
        Ok(())
    }

    /// Charges for a data point.
    pub(super) fn take_point<T>(&mut self) -> Result<(), DecodeError> {
        let too_many = DecodeError::TooMany { what: "data points", limit: self.limits.points };
        self.points = self.points.checked_sub(1).ok_or(too_many)?;
        self.take::<T>(1)
    }

    /// Whether a value may be nested this deep.
    pub(super) fn check_depth(&self, depth: usize) -> Result<(), DecodeError> {
        let limit = self.limits.depth;
        if depth <= limit {
            Ok(())
        } else {
            Err(DecodeError::TooMany { what: "levels in an attribute's value", limit })
        }
    }

    /// Where the bytes stand now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.bytes)
    }

    /// Gives back what was charged for since the mark, because it is no longer there.
    pub(super) fn release(&mut self, mark: Mark) {
        self.bytes = mark.0;
    }

    #[cold]
    fn too_large(&self) -> DecodeError {
        DecodeError::TooMany {
            what: "bytes of attributes, points and buckets in one metric",
            limit: self.limits.metric_bytes,
        }
    }
}
