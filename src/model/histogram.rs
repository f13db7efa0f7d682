//! Native histograms as values: counts in exponential or custom buckets.
//!
//! Source: Prometheus `model/histogram/float_histogram.go`; the schema numbers are those of its specification.

/// A run of neighbouring buckets that are present, and the gap before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpan {
    /// Buckets between the end of the previous span (or index 0) and the start of this one.
    pub offset: i32,
    /// How many buckets this span holds.
    pub length: u32,
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
