//! Pure values of the field: label sets, samples, histograms, matchers, digests. No I/O, no clock.

pub mod chunk_encoding;
pub mod digest;
pub mod duration;
pub mod histogram;
mod histogram_bounds;
mod histogram_resolution;
mod histogram_text;
pub mod histogram_validation;
pub mod label_set;
pub mod matcher;
pub mod metric_type;
pub mod pattern;
pub mod raw_labels;
pub mod receipt;
pub mod sample;
pub mod tally;

pub use chunk_encoding::ChunkEncoding;
pub use digest::Digest;
pub use histogram::{CounterResetHint, FloatHistogram, Histogram, SampleValue};
pub use label_set::{Label, LabelSet, LabelSetBuilder, LabelSetScratch, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metric_type::MetricType;
pub use pattern::Pattern;
pub use raw_labels::{LabelError, RawLabels};
pub use receipt::ReceiptLine;
pub use sample::{STALE_NAN_BITS, Sample, TimeRange, TimestampMs, is_stale_nan, stale_nan};
pub use tally::Tally;
