//! The samples of one series as columns.

use crate::model::{FloatHistogram, TimestampMs};

/// Decoded samples of one series in time order: a column of timestamps, one of floats, and the few histograms.
///
/// `timestamps_ms` and `values` are equally long. Where a sample is a native histogram, `values` holds its sum (so that
/// a staleness marker shows in both kinds alike) and `histograms` holds the histogram under the sample's index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// When each sample was taken, rising.
    pub timestamps_ms: Vec<TimestampMs>,
    /// The value of each sample.
    pub values: Vec<f64>,
    /// The samples that are histograms: index into the other columns, rising, and the histogram.
    pub histograms: Vec<(usize, FloatHistogram)>,
}

impl Column {
    /// How many samples there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Removes all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Appends a float sample.
    #[inline]
    pub fn push(&mut self, timestamp_ms: TimestampMs, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Appends a histogram sample.
    pub fn push_histogram(&mut self, timestamp_ms: TimestampMs, histogram: FloatHistogram) {
        let sum = histogram.sum;
        self.histograms.push((self.values.len(), histogram));
        self.push(timestamp_ms, sum);
    }

    /// Whether any sample is a histogram.
    #[inline]
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }
}
