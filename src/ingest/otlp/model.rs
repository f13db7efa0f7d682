//! OTLP metrics as both encodings give them: borrowed from the body where it has them as they are.
//!
//! One metric is decoded at a time and handed on, so that what a request takes in memory is bounded by its largest
//! metric and by what comes of it, not by all that it holds.
//!
//! Source: `opentelemetry-proto/opentelemetry/proto/metrics/v1/metrics.proto`, `common/v1/common.proto`,
//! `resource/v1/resource.proto`.

use std::borrow::Cow;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyValue<'a> {
    /// No value is set.
    Empty,
    /// A text.
    String(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    Array(Vec<AnyValue<'a>>),
    /// A map, in the order in which it was sent.
    Map(Vec<KeyValue<'a>>),
}

/// An attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue<'a> {
    /// Its name.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: AnyValue<'a>,
}

/// What sends the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource<'a> {
    /// What describes it.
    pub attributes: Vec<KeyValue<'a>>,
}

/// The part of the program that made the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope<'a> {
    /// The name of the instrumentation library.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
    /// What else describes it.
    pub attributes: Vec<KeyValue<'a>>,
    /// The schema of its metrics.
    pub schema_url: Cow<'a, str>,
}

/// A metric with its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric<'a> {
    /// Its name, as the instrument has it.
    pub name: Cow<'a, str>,
    /// What it measures, for people.
    pub description: Cow<'a, str>,
    /// Its unit, in UCUM.
    pub unit: Cow<'a, str>,
    /// Its points.
    pub data: Data<'a>,
}

/// Whether points stand for all since the start or for the time since the last point. The numbers are the format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporality {
    /// Not said, or a number that the format does not have.
    #[default]
    Unspecified,
    /// Since the last point.
    Delta,
    /// Since the start.
    Cumulative,
}

impl Temporality {
    /// The temporality with this number.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        }
    }
}

/// The points of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<'a> {
    /// No kind of data is set, or one that the format does not have.
    None,
    /// Values as they are now.
    Gauge(Vec<NumberPoint<'a>>),
    /// Sums.
    Sum {
        /// The points.
        points: Vec<NumberPoint<'a>>,
        /// What they stand for.
        temporality: Temporality,
        /// Whether the sum only rises.
        monotonic: bool,
    },
    /// Histograms with explicit boundaries.
    Histogram {
        /// The points.
        points: Vec<HistogramPoint<'a>>,
        /// What they stand for.
        temporality: Temporality,
    },
    /// Histograms with exponential boundaries.
    ExponentialHistogram {
        /// The points.
        points: Vec<ExponentialPoint<'a>>,
        /// What they stand for.
        temporality: Temporality,
    },
    /// Quantiles that the client computed.
    Summary(Vec<SummaryPoint<'a>>),
}

/// The bit of a point's flags that says that there is no value: the series has ended.
pub const FLAG_NO_RECORDED_VALUE: u32 = 1;

/// What every kind of point has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PointHead<'a> {
    /// What tells its series from the others of the metric.
    pub attributes: Vec<KeyValue<'a>>,
    /// Nanoseconds since 1970 at which the counting began; 0 where it is not known.
    pub start_unix_nanos: u64,
    /// Nanoseconds since 1970 at which it was measured.
    pub unix_nanos: u64,
    /// Bits; see [`FLAG_NO_RECORDED_VALUE`].
    pub flags: u32,
}

/// A number, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
}

/// A point of a gauge or a sum.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberPoint<'a> {
    /// Attributes, times and flags.
    pub head: PointHead<'a>,
    /// The value; `None` where none was sent.
    pub value: Option<Number>,
    /// Observations behind it.
    pub exemplars: Vec<Exemplar<'a>>,
}

/// A point of a histogram with explicit boundaries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramPoint<'a> {
    /// Attributes, times and flags.
    pub head: PointHead<'a>,
    /// Observations.
    pub count: u64,
    /// Their sum; `None` where observations may be negative.
    pub sum: Option<f64>,
    /// Observations of each bucket: one more than there are boundaries, or none at all.
    pub bucket_counts: Vec<u64>,
    /// The upper boundaries of the buckets, rising.
    pub explicit_bounds: Vec<f64>,
    /// Observations behind it.
    pub exemplars: Vec<Exemplar<'a>>,
}

/// The buckets of one side of an exponential histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExponentialBuckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Observations of each bucket.
    pub counts: Vec<u64>,
}

/// A point of a histogram with exponential boundaries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExponentialPoint<'a> {
    /// Attributes, times and flags.
    pub head: PointHead<'a>,
    /// Observations.
    pub count: u64,
    /// Their sum; `None` where observations may be negative.
    pub sum: Option<f64>,
    /// Resolution: buckets grow by `2^(2^-scale)`.
    pub scale: i32,
    /// Observations of the zero bucket.
    pub zero_count: u64,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Buckets of observations above zero.
    pub positive: ExponentialBuckets,
    /// Buckets of observations below zero.
    pub negative: ExponentialBuckets,
    /// Observations behind it.
    pub exemplars: Vec<Exemplar<'a>>,
}

/// A point of a summary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryPoint<'a> {
    /// Attributes, times and flags.
    pub head: PointHead<'a>,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Pairs of a quantile and its value.
    pub quantiles: Vec<(f64, f64)>,
}

/// An observation behind a point.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exemplar<'a> {
    /// Attributes that are not the series'.
    pub filtered_attributes: Vec<KeyValue<'a>>,
    /// Nanoseconds since 1970.
    pub unix_nanos: u64,
    /// What was observed; `None` where nothing was sent.
    pub value: Option<Number>,
    /// The span that was active: 8 bytes, or none.
    pub span_id: Cow<'a, [u8]>,
    /// Its trace: 16 bytes, or none.
    pub trace_id: Cow<'a, [u8]>,
}

/// Takes the metrics of a request one by one, as they are decoded.
///
/// A decoder may find a fault after it has handed on metrics, and then nothing of the request is stored: a sink keeps to
/// itself what outlasts the request until the request is.
pub trait MetricSink<'a> {
    /// Takes a metric of a resource and a scope.
    fn metric(&mut self, resource: &Resource<'a>, scope: &Scope<'a>, metric: Metric<'a>);

    /// Takes note that all metrics of a resource have come.
    fn resource_end(&mut self, resource: &Resource<'a>);
}
