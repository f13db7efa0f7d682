//! Pure values of the field: label sets, samples, histograms, matchers, digests. No I/O, no clock.

pub mod chunk_encoding;
pub mod digest;
pub mod duration;
mod go_regexp;
pub mod histogram;
pub mod kahan;
pub mod label_set;
pub mod logarithm;
pub mod matcher;
pub mod metric_type;
pub mod pattern;
pub mod raw_labels;
pub mod receipt;
pub mod sample;
pub mod tally;

pub use chunk_encoding::ChunkEncoding;
pub use digest::Digest;
pub use histogram::{
    Bucket, Conflicts, CounterResetHint, FloatHistogram, Histogram, HistogramMean, HistogramSum, IncompatibleSchemas,
    Keep, SampleValue,
};
pub use label_set::{Label, LabelSet, LabelSetBuilder, LabelSetScratch, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metric_type::MetricType;
pub use pattern::{Pattern, ReplacePattern};
pub use raw_labels::{LabelError, RawLabels};
pub use receipt::ReceiptLine;
pub use sample::{NORMAL_NAN_BITS, STALE_NAN_BITS, Sample, TimeRange, TimestampMs, is_stale_nan, stale_nan};
pub use tally::Tally;
