//! One measured value at one time, and ranges of time.

/// Milliseconds since the Unix epoch.
pub type TimestampMs = i64;

/// The bit pattern of the staleness marker: a signalling NaN that no arithmetic produces.
///
/// Source: Prometheus `model/value/value.go`, `StaleNaN`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The bit pattern of an ordinary value that is no number, as Prometheus reads it from a text.
///
/// Source: Prometheus `model/value/value.go`, `NormalNaN`.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker as a float.
#[inline]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker. Any other NaN is an ordinary value.
#[inline]
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was measured.
    pub timestamp_ms: TimestampMs,
    /// What was measured. Equality of stored samples is equality of `value.to_bits()`.
    pub value: f64,
}

/// A closed range of time: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First millisecond of the range.
    pub start_ms: TimestampMs,
    /// Last millisecond of the range.
    pub end_ms: TimestampMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

    /// The range from `start_ms` to `end_ms`, both included.
    pub fn new(start_ms: TimestampMs, end_ms: TimestampMs) -> Self {
        TimeRange { start_ms, end_ms }
    }

    /// Whether `timestamp_ms` lies in the range.
    #[inline]
    pub fn contains(&self, timestamp_ms: TimestampMs) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    /// Whether the two ranges share a millisecond.
    #[inline]
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }
}
