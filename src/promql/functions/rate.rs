//! Change over a range, extrapolated to its ends: `rate`, `increase` and `delta`.

use super::extended::{extended_floats, extended_histograms};
use super::window::{is_started_anew, range_seconds, start_ms, starts_too_early};
use super::{HistogramOperation, Notes};
use crate::model::{CounterResetHint, FloatHistogram, IncompatibleSchemas};
use crate::promql::annotations::Annotation;
use crate::promql::parser::ast::SelectorMode;
use crate::promql::value::Window;

/// What a function of the family computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// Whether the value only rises, but for resets.
    is_counter: bool,
    /// Whether the result is per second.
    is_rate: bool,
}

const RATE: Change = Change { is_counter: true, is_rate: true };
const INCREASE: Change = Change { is_counter: true, is_rate: false };
const DELTA: Change = Change { is_counter: false, is_rate: false };

/// `rate`: the increase per second.
pub(super) fn rate(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    of_floats(window, notes, RATE)
}

/// `increase`: how much a counter rose over the range.
pub(super) fn increase(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    of_floats(window, notes, INCREASE)
}

/// `delta`: how much a gauge changed over the range.
pub(super) fn delta(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    of_floats(window, notes, DELTA)
}

/// `rate` of histograms.
pub(super) fn rate_of_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    of_histograms(window, notes, RATE)
}

/// `increase` of histograms.
pub(super) fn increase_of_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    of_histograms(window, notes, INCREASE)
}

/// `delta` of histograms.
pub(super) fn delta_of_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    of_histograms(window, notes, DELTA)
}

fn of_floats(window: &Window<'_>, notes: &mut Notes<'_>, change: Change) -> Option<f64> {
    let result = match notes.selector_mode() {
        Some(mode) => extended_floats(window, mode == SelectorMode::Smoothed, change.is_counter, change.is_rate),
        None => extrapolated_floats(window, notes, change),
    };
    if change.is_counter && result.is_some() {
        notes.expect_counter();
    }
    result
}

fn of_histograms(window: &Window<'_>, notes: &mut Notes<'_>, change: Change) -> Option<FloatHistogram> {
    if let Some(mode) = notes.selector_mode() {
        let is_smoothed = mode == SelectorMode::Smoothed;
        return extended_histograms(window, notes, is_smoothed, change.is_counter, change.is_rate);
    }
    let first = &window.histograms.first()?.1;
    let started_ms = started_inside(window, change);
    let result = match window.histograms.len() {
        1 => None,
        _ => Some(increase_between(window, notes, change.is_counter)?),
    };
    let mut result = match (result, started_ms) {
        (Some(mut result), Some(_)) => {
            let outcome = result.add(first);
            notes.reconciled(outcome, HistogramOperation::Addition)?;
            result
        }
        (Some(result), None) => result,
        (None, Some(_)) => first.clone(),
        (None, None) => return None,
    };
    result.multiply(extrapolation(window, change, started_ms, first.count, result.count)?);
    Some(result)
}

fn extrapolated_floats(window: &Window<'_>, notes: &mut Notes<'_>, change: Change) -> Option<f64> {
    let (&first, &last) = (window.values.first()?, window.values.last()?);
    let mut result = last - first;
    let mut started_ms = None;
    if change.is_counter {
        if window.starts_ms.is_empty() {
            let values = if window.is_rising { &[] } else { window.values };
            for pair in values.windows(2) {
                if pair[1] < pair[0] {
                    result += pair[0];
                }
            }
        } else {
            for index in 1..window.values.len() {
                let previous = window.values[index - 1];
                if window.values[index] < previous || is_started_anew(window, index) {
                    result += previous;
                }
            }
            note_early_starts(window, notes);
            started_ms = started_inside(window, change);
            if started_ms.is_some() {
                result += first;
            }
        }
    }
    Some(result * extrapolation(window, change, started_ms, first, result)?)
}

/// When the first sample started counting, if that was inside the range: it was zero then.
fn started_inside(window: &Window<'_>, change: Change) -> Option<i64> {
    let start = start_ms(window, 0);
    let is_inside = start != 0 && start > window.range_start_ms && start < *window.timestamps_ms.first()?;
    (change.is_counter && is_inside).then_some(start)
}

/// Notes, once for the window, that samples count from before the ones before them.
fn note_early_starts(window: &Window<'_>, notes: &mut Notes<'_>) {
    if (1..window.timestamps_ms.len()).any(|index| starts_too_early(window, index)) {
        notes.add_for_metric(0, Annotation::start_time_overlap);
    }
}

/// The factor that extends `increase`, which is that between the first and the last sample, to the ends of the range. With
/// `started_ms`, the increase begins with zero at that time. `None` if there is only one sample and no such time.
fn extrapolation(
    window: &Window<'_>,
    change: Change,
    started_ms: Option<i64>,
    first: f64,
    increase: f64,
) -> Option<f64> {
    let times = window.timestamps_ms;
    let (&first_ms, &last_ms) = (times.first()?, times.last()?);
    let mut to_start = (first_ms - window.range_start_ms) as f64 / 1000.0;
    let mut to_end = (window.range_end_ms - last_ms) as f64 / 1000.0;
    let mut sampled = (last_ms - first_ms) as f64 / 1000.0;
    let average_gap = if times.len() > 1 { sampled / (times.len() - 1) as f64 } else { 0.0 };
    // A gap of up to 10 % more than the average is taken for scrape jitter: the series spans the range to its end.
    // A longer one means that the series starts or ends within the range, likely half a gap away from the sample.
    let threshold = average_gap * 1.1;
    if let Some(started_ms) = started_ms {
        to_start = 0.0;
        sampled = (last_ms - started_ms) as f64 / 1000.0;
    } else if times.len() < 2 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = average_gap / 2.0;
        }
        if change.is_counter {
            // A counter starts at 0, so the line is not drawn back beyond its zero point.
            let to_zero = if increase > 0.0 && first >= 0.0 { sampled * (first / increase) } else { to_start };
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
    }
    if to_end >= threshold {
        to_end = average_gap / 2.0;
    }
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    Some(if change.is_rate { factor / range_seconds(window) } else { factor })
}

/// The difference between the last and the first histogram; of a counter, with what resets took away.
fn increase_between(window: &Window<'_>, notes: &mut Notes<'_>, is_counter: bool) -> Option<FloatHistogram> {
    let points = window.histograms;
    let [(_, first), .., (_, last)] = points else { return None };
    let is_gauge = |point: &FloatHistogram| point.counter_reset_hint == CounterResetHint::Gauge;
    // If it comes out that the histograms don't go together, only that is noted.
    let mut is_counter_doubtful = is_counter && (is_gauge(first) || is_gauge(last));
    let mut previous = first;
    let blank;
    if is_counter
        && let Some((_, second)) = points.get(1)
        && (is_started_anew(window, 1) || second.is_reset_after(first))
    {
        // The first sample does not matter then, and neither do its buckets.
        let custom_values = second.custom_values.clone();
        blank = FloatHistogram { schema: second.schema, custom_values, ..FloatHistogram::default() };
        previous = &blank;
    }
    let is_custom = previous.has_custom_buckets();
    if last.has_custom_buckets() != is_custom {
        if is_counter_doubtful {
            notes.add_for_metric(0, Annotation::native_histogram_not_counter);
        }
        notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
        return None;
    }
    let mut schema = last.schema.min(previous.schema);
    if is_counter {
        for (_, point) in &points[1..points.len() - 1] {
            is_counter_doubtful |= is_gauge(point);
            schema = schema.min(point.schema);
            if point.has_custom_buckets() != is_custom {
                notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
                return None;
            }
        }
    }
    let mut increase = last.clone();
    increase.reduce_resolution(schema);
    // Hints that contradict each other are to be expected here: resets are dealt with below.
    let difference = increase.subtract(previous);
    let mut outcomes = vec![(difference, HistogramOperation::Subtraction)];
    if is_counter {
        for (index, (_, point)) in points.iter().enumerate().skip(1) {
            if is_started_anew(window, index) || point.is_reset_after(previous) {
                outcomes.push((increase.add(previous), HistogramOperation::Addition));
            }
            previous = point;
        }
    }
    if outcomes.iter().any(|(outcome, _)| *outcome == Err(IncompatibleSchemas)) {
        notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
        return None;
    }
    for (outcome, operation) in outcomes {
        notes.reconciled(outcome, operation)?;
    }
    if is_counter_doubtful {
        notes.add_for_metric(0, Annotation::native_histogram_not_counter);
    }
    if is_counter {
        note_early_starts(window, notes);
    }
    if !is_counter && (!is_gauge(first) || !is_gauge(last)) {
        notes.add_for_metric(0, Annotation::native_histogram_not_gauge);
    }
    increase.counter_reset_hint = CounterResetHint::Gauge;
    increase.compact();
    Some(increase)
}
