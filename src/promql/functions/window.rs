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

/// Since when the sample at `index` counts, in milliseconds; 0 where that is not known.
#[inline]
pub(super) fn start_ms(window: &Window<'_>, index: usize) -> i64 {
    window.starts_ms.get(index).copied().unwrap_or_default()
}

/// Whether start timestamps say that a counter was reset between the sample at `index` and the one before it.
pub(super) fn is_started_anew(window: &Window<'_>, index: usize) -> bool {
    let start = start_ms(window, index);
    let (Some(before), Some(&at_ms)) = (index.checked_sub(1), window.timestamps_ms.get(index)) else { return false };
    let (before_ms, start_before) = (window.timestamps_ms[before], start_ms(window, before));
    if start == 0 || start >= at_ms || start < before_ms {
        return false;
    }
    // One that starts with the sample before it is a delta, unless nothing is known of that sample's own start.
    start > before_ms || (start_before != 0 && start_before < before_ms)
}

/// Whether the sample at `index` starts before the one before it was taken, and with another start.
pub(super) fn starts_too_early(window: &Window<'_>, index: usize) -> bool {
    let start = start_ms(window, index);
    index
        .checked_sub(1)
        .is_some_and(|before| start != 0 && start < window.timestamps_ms[before] && start != start_ms(window, before))
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
