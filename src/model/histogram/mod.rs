//! Native histograms as values: counts in exponential or custom buckets.
//!
//! Source: Prometheus `model/histogram/float_histogram.go`; the schema numbers are those of its specification. What a
//! sender may send is judged in [`validate`](validation).

mod arithmetic;
mod bounds;
mod buckets;
mod reset;
mod resolution;
mod sum;
mod text;
mod trim;
mod validation;

pub use arithmetic::{Conflicts, IncompatibleSchemas};
pub use buckets::Bucket;
pub use sum::{HistogramMean, HistogramSum};
pub use trim::Keep;
pub use validation::HistogramError;

use super::sample::{is_stale_nan, stale_nan};

/// The schema of histograms with custom bucket boundaries.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// Schemas that are read: the exponential ones, those that are reserved for coarser and finer ones, custom buckets.
pub fn is_known_schema(schema: i32) -> bool {
    schema == CUSTOM_BUCKETS_SCHEMA || (-9..=52).contains(&schema)
}

/// A run of neighbouring buckets that are present, and the gap before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpan {
    /// Buckets between the end of the previous span (or index 0) and the start of this one.
    pub offset: i32,
    /// How many buckets this span holds.
    pub length: u32,
}

/// The indexes of the buckets that `spans` hold, in their order. Indexes are wider than in any valid histogram, so that
/// those of absurd spans do not wrap.
pub fn bucket_indexes(spans: &[BucketSpan]) -> impl Iterator<Item = i64> + Clone + '_ {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let start = next.saturating_add(i64::from(span.offset));
        next = start.saturating_add(i64::from(span.length));
        start..next
    })
}

/// No span begins or ends further from index 0, so that the gap between any two fits the 32 bits of an offset. The indexes
/// of all floating-point numbers have 19 bits in the finest schema.
pub const BUCKET_INDEX_MAX: i64 = (1 << 30) - 1;

/// The index behind a span that begins at `offset` from `next`; `None` where it reaches too far.
pub fn span_end(next: i64, offset: i64, length: u32) -> Option<i64> {
    let start = next.saturating_add(offset);
    Some(start + i64::from(length)).filter(|&end| start >= -BUCKET_INDEX_MAX && end <= BUCKET_INDEX_MAX)
}

/// Whether there are as many buckets as the spans say, their indexes rise, and none lies too far from 0.
pub fn spans_fit(spans: &[BucketSpan], buckets: usize) -> bool {
    let mut next = 0i64;
    let mut total = 0u64;
    for (number, span) in spans.iter().enumerate() {
        let Some(end) = span_end(next, i64::from(span.offset), span.length) else { return false };
        next = end;
        total += u64::from(span.length);
        if number > 0 && span.offset < 0 || total > buckets as u64 {
            return false;
        }
    }
    total == buckets as u64
}

/// What is known about a counter reset between a histogram and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CounterResetHint {
    /// Nothing is known; a query has to look.
    #[default]
    Unknown,
    /// A reset happened.
    Reset,
    /// No reset happened.
    NotReset,
    /// The histogram is a gauge, so there are no resets.
    Gauge,
}

/// A native histogram with integer counts, the form in which senders and the store have it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// As in [`FloatHistogram`].
    pub schema: i32,
    /// What is known about a counter reset before this histogram.
    pub counter_reset_hint: CounterResetHint,
    /// Observations with an absolute value of at most this are counted in `zero_count`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of all observed values. The staleness marker here makes the whole histogram one.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<BucketSpan>,
    /// Counts of the positive buckets: the first as it is, each other less the one before it.
    pub positive_deltas: Vec<i64>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<BucketSpan>,
    /// Counts of the negative buckets, as those of the positive ones.
    pub negative_deltas: Vec<i64>,
    /// Upper boundaries of custom buckets (schema -53), rising, without the last, infinite one.
    pub custom_values: Vec<f64>,
}

impl Histogram {
    /// The staleness marker as a histogram.
    pub fn stale() -> Self {
        Histogram { sum: stale_nan(), ..Histogram::default() }
    }

    /// Whether this is a staleness marker. Its other fields mean nothing then.
    pub fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    /// Whether spans and buckets belong together, so that each bucket has an index.
    pub fn is_well_formed(&self) -> bool {
        spans_fit(&self.positive_spans, self.positive_deltas.len())
            && spans_fit(&self.negative_spans, self.negative_deltas.len())
    }

    /// The same histogram with float counts.
    pub fn to_float(&self) -> FloatHistogram {
        let counts = |deltas: &[i64]| bucket_counts(deltas).map(|count| count as f64).collect();
        FloatHistogram {
            schema: self.schema,
            counter_reset_hint: self.counter_reset_hint,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            positive_buckets: counts(&self.positive_deltas),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: counts(&self.negative_deltas),
            custom_values: self.custom_values.clone(),
        }
    }
}

/// The counts that bucket deltas stand for. They wrap, so that any deltas can be kept and read back.
pub fn bucket_counts(deltas: &[i64]) -> impl Iterator<Item = i64> + '_ {
    deltas.iter().scan(0i64, |count, delta| {
        *count = count.wrapping_add(*delta);
        Some(*count)
    })
}

impl FloatHistogram {
    /// The staleness marker as a histogram.
    pub fn stale() -> Self {
        FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() }
    }

    /// Whether this is a staleness marker. Its other fields mean nothing then.
    pub fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    /// Whether spans and buckets belong together, so that each bucket has an index.
    pub fn is_well_formed(&self) -> bool {
        spans_fit(&self.positive_spans, self.positive_buckets.len())
            && spans_fit(&self.negative_spans, self.negative_buckets.len())
    }
}

/// The value of a sample, of whatever kind.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram with integer counts.
    Histogram(Box<Histogram>),
    /// A native histogram with float counts.
    FloatHistogram(Box<FloatHistogram>),
}

impl SampleValue {
    /// What a counter like this one shows before it has counted anything: zero, of its kind and with its bounds. A
    /// histogram begins anew with it.
    pub fn zero(&self) -> Self {
        match self {
            SampleValue::Float(_) => SampleValue::Float(0.0),
            SampleValue::Histogram(histogram) => SampleValue::Histogram(Box::new(Histogram {
                schema: histogram.schema,
                counter_reset_hint: CounterResetHint::Reset,
                zero_threshold: histogram.zero_threshold,
                custom_values: histogram.custom_values.clone(),
                ..Histogram::default()
            })),
            SampleValue::FloatHistogram(histogram) => SampleValue::FloatHistogram(Box::new(FloatHistogram {
                schema: histogram.schema,
                counter_reset_hint: CounterResetHint::Reset,
                zero_threshold: histogram.zero_threshold,
                custom_values: histogram.custom_values.clone(),
                ..FloatHistogram::default()
            })),
        }
    }

    /// Whether this is a staleness marker, of whatever kind.
    pub fn is_stale(&self) -> bool {
        match self {
            SampleValue::Float(value) => is_stale_nan(*value),
            SampleValue::Histogram(histogram) => histogram.is_stale(),
            SampleValue::FloatHistogram(histogram) => histogram.is_stale(),
        }
    }
}

/// A native histogram with float counts, the form in which queries work.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatHistogram {
    /// Resolution: bucket boundaries are powers of `2^(2^-schema)` for -4 to 8; -53 means custom boundaries.
    pub schema: i32,
    /// What is known about a counter reset before this histogram.
    pub counter_reset_hint: CounterResetHint,
    /// Observations with an absolute value of at most this are counted in `zero_count`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observed values. The staleness marker here makes the whole histogram one.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<BucketSpan>,
    /// Counts of the positive buckets, absolute.
    pub positive_buckets: Vec<f64>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<BucketSpan>,
    /// Counts of the negative buckets, absolute.
    pub negative_buckets: Vec<f64>,
    /// Upper boundaries of custom buckets (schema -53), rising, without the last, infinite one.
    pub custom_values: Vec<f64>,
}
