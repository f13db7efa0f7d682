//! What several kernels ask of a window.

use std::borrow::Cow;

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
pub(super) fn only_floats<'a>(window: &Window<'a>) -> (Cow<'a, [i64]>, Cow<'a, [f64]>) {
    if window.histograms.is_empty() {
        return (Cow::Borrowed(window.timestamps_ms), Cow::Borrowed(window.values));
    }
    let mut times = Vec::with_capacity(window.values.len());
    let mut values = Vec::with_capacity(window.values.len());
    let mut histograms = window.histograms.iter().map(|(index, _)| index.wrapping_sub(window.first_index)).peekable();
    for (index, (&time, &value)) in window.timestamps_ms.iter().zip(window.values).enumerate() {
        if histograms.next_if_eq(&index).is_none() {
            times.push(time);
            values.push(value);
        }
    }
    (Cow::Owned(times), Cow::Owned(values))
}

/// The histogram that the sample at `index` is, if it is one.
pub(super) fn histogram_at<'a>(window: &Window<'a>, index: usize) -> Option<&'a FloatHistogram> {
    let histograms = window.histograms;
    let place = histograms.binary_search_by_key(&(index + window.first_index), |(at, _)| *at).ok()?;
    histograms.get(place).map(|(_, histogram)| histogram)
}
