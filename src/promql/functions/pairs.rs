//! What happened between neighbouring samples: `resets` and `changes`.

use super::Notes;
use super::window::{histogram_at, is_started_anew};
use crate::model::FloatHistogram;
use crate::promql::parser::ast::SelectorMode;
use crate::promql::value::{Value, Window};

/// `resets`: how often a counter fell.
pub(super) fn resets(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    if window.starts_ms.is_empty() {
        return count_pairs(window, notes, is_lower);
    }
    let first = first_index(window, notes)?;
    let is_reset =
        |&index: &usize| is_lower(window.values[index - 1], window.values[index]) || is_started_anew(window, index);
    Some((first + 1..window.values.len()).filter(is_reset).count() as f64)
}

/// `changes`: how often the value changed.
pub(super) fn changes(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    count_pairs(window, notes, is_other)
}

/// `resets` where the window holds histograms.
pub(super) fn resets_among_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Value> {
    count_mixed_pairs(window, notes, is_lower, |previous, current| current.is_reset_after(previous), is_started_anew)
}

/// `changes` where the window holds histograms.
pub(super) fn changes_among_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Value> {
    count_mixed_pairs(window, notes, is_other, |previous, current| !current.has_data_of(previous), |_, _| false)
}

fn is_lower(previous: f64, current: f64) -> bool {
    current < previous
}

/// From NaN to NaN is no change.
fn is_other(previous: f64, current: f64) -> bool {
    current != previous && !(current.is_nan() && previous.is_nan())
}

/// The index of the first sample that counts. With `anchored`, that is the last one up to the start of the range.
fn first_index(window: &Window<'_>, notes: &Notes<'_>) -> Option<usize> {
    if notes.selector_mode() != Some(SelectorMode::Anchored) {
        return Some(0);
    }
    let inside = window.timestamps_ms.partition_point(|&time| time <= window.range_start_ms);
    (inside < window.timestamps_ms.len()).then_some(inside.saturating_sub(1))
}

fn count_pairs(window: &Window<'_>, notes: &Notes<'_>, differ: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let values = &window.values[first_index(window, notes)?..];
    Some(values.windows(2).filter(|pair| differ(pair[0], pair[1])).count() as f64)
}

/// Counts the neighbours that differ, in value or otherwise. From a float to a histogram, or back, always counts.
fn count_mixed_pairs(
    window: &Window<'_>,
    notes: &Notes<'_>,
    floats_differ: impl Fn(f64, f64) -> bool,
    histograms_differ: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
    otherwise: impl Fn(&Window<'_>, usize) -> bool,
) -> Option<Value> {
    let first = first_index(window, notes)?;
    let pairs = window.values[first..].windows(2).enumerate().filter(|(offset, pair)| {
        let index = first + offset;
        let values_differ = match (histogram_at(window, index), histogram_at(window, index + 1)) {
            (None, None) => floats_differ(pair[0], pair[1]),
            (Some(previous), Some(current)) => histograms_differ(previous, current),
            _ => true,
        };
        values_differ || otherwise(window, index + 1)
    });
    Some(Value::Float(pairs.count() as f64))
}
