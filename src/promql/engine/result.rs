//! What a query gives back: its value, what was odd, and what it cost.

use std::time::Duration;

use super::Explanation;
use crate::model::{FloatHistogram, LabelSet, TimestampMs};
use crate::promql::annotations::Annotations;
use crate::storage::Column;

/// The outcome of a query.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// The value.
    pub value: QueryValue,
    /// Warnings and infos about the expression and its data.
    pub annotations: Annotations,
    /// Warnings of the storage about data that is missing or damaged.
    pub storage_warnings: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
    /// The plan and what its nodes took, where that was asked for.
    pub explanation: Option<Explanation>,
}

/// The value of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// A number.
    Scalar {
        /// The query's time.
        timestamp_ms: TimestampMs,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// The query's time.
        timestamp_ms: TimestampMs,
        /// The text.
        value: String,
    },
    /// One sample for each of several series, in the order that the expression gave them.
    Vector(Vec<VectorSample>),
    /// Samples of several series, sorted by their labels.
    Matrix(Vec<MatrixSeries>),
}

/// One sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: LabelSet,
    /// The query's time.
    pub timestamp_ms: TimestampMs,
    /// The value; 0 where it is a histogram.
    pub value: f64,
    /// The value, where it is a histogram.
    pub histogram: Option<Box<FloatHistogram>>,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// The series.
    pub labels: LabelSet,
    /// Its samples.
    pub samples: Column,
}

/// What a query cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryStats {
    /// Time for preparing the expression and selecting the series.
    pub preparation: Duration,
    /// Time for evaluating the expression.
    pub evaluation: Duration,
    /// Time for sorting the result.
    pub sorting: Duration,
    /// Samples that were looked at, those of overlapping windows once for each window.
    pub samples_total: u64,
    /// Most samples that were held at a time.
    pub samples_peak: u64,
    /// The time of each step and the samples that it looked at, where that was asked for.
    pub samples_per_step: Option<Vec<(TimestampMs, u64)>>,
    /// Series that the selectors found.
    pub series: u64,
}
