//! What several kernels ask of a window.

use crate::model::FloatHistogram;
use crate::promql::value::Window;

/// The length of the range in seconds.
///
/// Whole seconds and the rest are converted apart, as Go's `Duration.Seconds` does: the last bit depends on it.
pub(super) fn range_seconds(window: &Window<'_>) -> f64 {
    let range_ms = window.range_end_ms - window.range_start_ms;
    (range_ms / 1000) as f64 + ((range_ms % 1000) * 1_000_000) as f64 / 1e9
}

/// Timestamps and values of the samples that are floats.
pub(super) fn only_floats(window: &Window<'_>) -> (Vec<i64>, Vec<f64>) {
    let mut histograms = window.histograms.iter().map(|(index, _)| index.wrapping_sub(window.first_index)).peekable();
    let samples = window.timestamps_ms.iter().zip(window.values).enumerate();
    let floats = samples.filter(|(index, _)| histograms.next_if_eq(index).is_none());
    floats.map(|(_, (&time, &value))| (time, value)).unzip()
}

/// The histogram that the sample at `index` is, if it is one.
pub(super) fn histogram_at<'a>(window: &Window<'a>, index: usize) -> Option<&'a FloatHistogram> {
    let histograms = window.histograms;
    let place = histograms.binary_search_by_key(&(index + window.first_index), |(at, _)| *at).ok()?;
    histograms.get(place).map(|(_, histogram)| histogram)
}
