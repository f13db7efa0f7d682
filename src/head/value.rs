//! What a sample on its way in has measured: a float, or a native histogram that is borrowed from its request or record.

use std::sync::LazyLock;

use crate::chunk::HistogramRef;
use crate::model::{
    ChunkEncoding, Digest, FloatHistogram, Histogram, STALE_NAN_BITS, SampleValue, TimestampMs, is_stale_nan,
};
use crate::storage::RejectedSample;

/// Staleness markers of histograms with integer and with float counts.
static MARKERS: LazyLock<[SampleValue; 2]> = LazyLock::new(|| {
    [
        SampleValue::Histogram(Box::new(Histogram::stale())),
        SampleValue::FloatHistogram(Box::new(FloatHistogram::stale())),
    ]
});

/// What kind of value a sample has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ValueKind {
    #[default]
    Float,
    Histogram,
    FloatHistogram,
}

impl ValueKind {
    /// The kind of the samples in a chunk.
    pub(super) fn of(encoding: ChunkEncoding) -> Self {
        match encoding {
            ChunkEncoding::Xor | ChunkEncoding::Xor2 => ValueKind::Float,
            ChunkEncoding::Histogram | ChunkEncoding::HistogramSt => ValueKind::Histogram,
            ChunkEncoding::FloatHistogram | ChunkEncoding::FloatHistogramSt => ValueKind::FloatHistogram,
        }
    }
}

/// A value on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueRef<'a> {
    Float(f64),
    /// A histogram of either kind.
    Histogram(&'a SampleValue),
    /// What a float that marks staleness becomes in a series of histograms.
    Marker(&'static SampleValue),
}

impl<'a> ValueRef<'a> {
    pub(super) fn of(value: &'a SampleValue) -> Self {
        match value {
            SampleValue::Float(value) => ValueRef::Float(*value),
            histogram => ValueRef::Histogram(histogram),
        }
    }

    /// The float as it is stored behind a sample of the kind `newest`: a staleness marker is one of that kind, so that
    /// it ends the series of histograms too.
    ///
    /// Source: Prometheus `tsdb/head_append.go`.
    #[inline]
    pub(super) fn float_behind(newest: impl FnOnce() -> ValueKind, value: f64) -> ValueRef<'static> {
        if !is_stale_nan(value) {
            return ValueRef::Float(value);
        }
        let [integer, float] = &*MARKERS;
        match newest() {
            ValueKind::Float => ValueRef::Float(value),
            ValueKind::Histogram => ValueRef::Marker(integer),
            ValueKind::FloatHistogram => ValueRef::Marker(float),
        }
    }

    /// The float, if it is one.
    pub(super) fn float(self) -> Option<f64> {
        if let ValueRef::Float(value) = self { Some(value) } else { None }
    }

    /// The sample as a refusal names it.
    pub(super) fn rejected_at(self, timestamp_ms: TimestampMs) -> RejectedSample {
        RejectedSample { timestamp_ms, value: self.float() }
    }

    /// What tells the value from another at the same time.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        match self {
            ValueRef::Float(value) => value.to_bits(),
            ValueRef::Histogram(value) | ValueRef::Marker(value) => HistogramRef::of(value).map_or(0, histogram_bits),
        }
    }

    /// The digest of the sample in the series whose labels have the digest `labels`.
    #[inline]
    pub(super) fn digest(self, labels: Digest, timestamp_ms: TimestampMs) -> Digest {
        match self {
            ValueRef::Float(value) => labels.of_sample(timestamp_ms, value),
            ValueRef::Histogram(value) | ValueRef::Marker(value) => labels.of_value(timestamp_ms, value),
        }
    }
}

/// What tells a histogram from another at the same time, as a float's bits do. Staleness markers of all kinds say the
/// same, so that one which is sent again is known whatever it became.
pub(super) fn histogram_bits(histogram: HistogramRef<'_>) -> u64 {
    let is_stale = match histogram {
        HistogramRef::Integer(histogram) => histogram.is_stale(),
        HistogramRef::Float(histogram) => histogram.is_stale(),
    };
    if is_stale { STALE_NAN_BITS } else { histogram.digest(Digest::ZERO, 0).0 as u64 }
}
