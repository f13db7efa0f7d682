//! Change over time: `rate` and its family, `resets`, `changes`, regression and smoothing.

use super::{FunctionError, Notes};
use crate::model::FloatHistogram;
use crate::model::histogram::CounterResetHint;
use crate::promql::annotations::Annotation;
use crate::promql::functions::kahan::Sum;
use crate::promql::functions::window::{histogram_at, only_floats, range_seconds};
use crate::promql::parser::ast::SelectorMode;
use crate::promql::value::Window;

/// `rate`: the increase per second.
pub(super) fn rate(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    extrapolated(window, notes, true, true)
}

/// `increase`: how much a counter rose over the range.
pub(super) fn increase(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    extrapolated(window, notes, true, false)
}

/// `delta`: how much a gauge changed over the range.
pub(super) fn delta(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    extrapolated(window, notes, false, false)
}

/// The difference between the first and last sample, extrapolated to the ends of the range.
fn extrapolated(window: &Window<'_>, notes: &mut Notes<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    if !window.histograms.is_empty() {
        if window.histograms.len() < window.values.len() {
            notes.add_for_metric(0, Annotation::mixed_floats_histograms);
        }
        return None;
    }
    let result = match notes.selector_mode() {
        Some(mode) => extended(window, mode == SelectorMode::Smoothed, is_counter, is_rate),
        None => extrapolated_floats(window, is_counter, is_rate),
    };
    if is_counter && result.is_some() {
        notes.expect_counter();
    }
    result
}

fn extrapolated_floats(window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let (&[first_ms, .., last_ms], &[first, .., last]) = (times, values) else {
        return None;
    };
    let mut result = last - first;
    if is_counter {
        for pair in values.windows(2) {
            if pair[1] < pair[0] {
                result += pair[0];
            }
        }
    }

    let mut to_start = (first_ms - window.range_start_ms) as f64 / 1000.0;
    let mut to_end = (window.range_end_ms - last_ms) as f64 / 1000.0;
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let average_gap = sampled / (values.len() - 1) as f64;
    // A gap of up to 10 % more than the average is taken for scrape jitter: the series spans the range to its end.
    // A longer one means that the series starts or ends within the range, likely half a gap away from the sample.
    let threshold = average_gap * 1.1;
    if to_start >= threshold {
        to_start = average_gap / 2.0;
    }
    if is_counter {
        // A counter starts at 0, so the line is not drawn back beyond its zero point.
        let to_zero = if result > 0.0 && first >= 0.0 { sampled * (first / result) } else { to_start };
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average_gap / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if is_rate {
        factor /= range_seconds(window);
    }
    Some(result * factor)
}

/// The difference between the values at the two ends of the range, for `anchored` and `smoothed` selectors. The window
/// then holds samples from before the range and, for `smoothed`, from behind it.
fn extended(window: &Window<'_>, smoothed: bool, is_counter: bool, is_rate: bool) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let (start_ms, end_ms) = (window.range_start_ms, window.range_end_ms);
    let mut last = times.len().checked_sub(1)?;
    let mut first = times[..last].partition_point(|&time| time <= start_ms).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|&time| time < end_ms);
    }
    if times[last] <= start_ms || (smoothed && times[first] > end_ms) {
        return None;
    }
    let between = |left: usize, at_ms: i64| {
        let (mut from, to) = (values[left], values[left + 1]);
        if is_counter && to < from {
            // After a reset the counter started from 0.
            from = 0.0;
        }
        from + (to - from) * (at_ms - times[left]) as f64 / (times[left + 1] - times[left]) as f64
    };
    let left = if smoothed && times[first] < start_ms { between(first, start_ms) } else { values[first] };
    let right = if smoothed && last > 0 && times[last] > end_ms { between(last - 1, end_ms) } else { values[last] };
    let mut result = right - left;
    if is_counter {
        // Resets at the ends are in `left` and `right` already; only samples inside the range can show others.
        if times[first] <= start_ms {
            first += 1;
        }
        let inside_end = if times[last] >= end_ms { last } else { last + 1 };
        let mut correction = 0.0;
        let mut previous = left;
        for &value in values.get(first..inside_end).unwrap_or_default() {
            if value < previous {
                correction += previous;
            }
            previous = value;
        }
        if right < previous {
            correction += previous;
        }
        result += correction;
    }
    if is_rate {
        result /= range_seconds(window);
    }
    Some(result)
}

/// `irate`: the increase per second between the last two samples.
pub(super) fn irate(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    between_last_two(window, notes, true)
}

/// `idelta`: the difference between the last two samples.
pub(super) fn idelta(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    between_last_two(window, notes, false)
}

fn between_last_two(window: &Window<'_>, notes: &mut Notes<'_>, is_rate: bool) -> Option<f64> {
    let (&[.., previous_ms, last_ms], &[.., previous, last]) = (window.timestamps_ms, window.values) else {
        return None;
    };
    let length = window.values.len();
    let histograms =
        window.histograms.iter().rev().take(2).filter(|(index, _)| index - window.first_index + 2 >= length);
    match histograms.count() {
        0 => {}
        1 => {
            notes.add_for_metric_at_args(Annotation::mixed_floats_histograms);
            return None;
        }
        _ => return None,
    }
    let interval_ms = last_ms - previous_ms;
    if interval_ms == 0 {
        return None;
    }
    // After a counter reset, the value itself is the increase.
    let result = if is_rate && last < previous { last } else { last - previous };
    Some(if is_rate { result / (interval_ms as f64 / 1000.0) } else { result })
}

/// `resets`: how often a counter fell.
pub(super) fn resets(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let fell = |previous: &FloatHistogram, current: &FloatHistogram| {
        // Without a hint, a lower count shows a reset; buckets are compared once they can be.
        match current.counter_reset_hint {
            CounterResetHint::Reset => true,
            CounterResetHint::Unknown => current.count < previous.count,
            CounterResetHint::NotReset | CounterResetHint::Gauge => false,
        }
    };
    count_pairs(window, notes, |previous, current| current < previous, fell)
}

/// `changes`: how often the value changed. From NaN to NaN is no change.
pub(super) fn changes(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let changed = |previous: f64, current: f64| current != previous && !(current.is_nan() && previous.is_nan());
    let same = |previous: &FloatHistogram, current: &FloatHistogram| {
        let hint = previous.counter_reset_hint;
        *previous == FloatHistogram { counter_reset_hint: hint, ..current.clone() }
    };
    count_pairs(window, notes, changed, |previous, current| !same(previous, current))
}

/// Counts the neighbours that differ. From a float to a histogram, or back, always counts.
fn count_pairs(
    window: &Window<'_>,
    notes: &Notes<'_>,
    floats_differ: impl Fn(f64, f64) -> bool,
    histograms_differ: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
) -> Option<f64> {
    let mut first = 0;
    if notes.selector_mode() == Some(SelectorMode::Anchored) {
        // The last sample up to the start of the range is what the others are compared with.
        let inside = window.timestamps_ms.partition_point(|&time| time <= window.range_start_ms);
        if inside == window.timestamps_ms.len() {
            return None;
        }
        first = inside.saturating_sub(1);
    }
    let values = &window.values[first..];
    if window.histograms.is_empty() {
        return Some(values.windows(2).filter(|pair| floats_differ(pair[0], pair[1])).count() as f64);
    }
    let pairs = values.windows(2).enumerate().filter(|(offset, pair)| {
        let index = first + offset;
        match (histogram_at(window, index), histogram_at(window, index + 1)) {
            (None, None) => floats_differ(pair[0], pair[1]),
            (Some(previous), Some(current)) => histograms_differ(previous, current),
            _ => true,
        }
    });
    Some(pairs.count() as f64)
}

/// `deriv`: the slope of the regression line, per second.
pub(super) fn deriv(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let (times, values) = at_least_two_floats(window, notes)?;
    let first_ms = *times.first()?;
    Some(regression(&times, &values, first_ms).0)
}

/// `predict_linear`: the value that the regression line has `args[0]` seconds after the step's time.
pub(super) fn predict_linear(window: &Window<'_>, args: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let duration = *args.first()?;
    let (times, values) = at_least_two_floats(window, notes)?;
    let (slope, intercept) = regression(&times, &values, window.step_ms);
    Some(slope * duration + intercept)
}

type Columns<'a> = (std::borrow::Cow<'a, [i64]>, std::borrow::Cow<'a, [f64]>);

/// The floats of the window if there are two; histograms beside them are noted and left out.
fn at_least_two_floats<'a>(window: &Window<'a>, notes: &mut Notes<'_>) -> Option<Columns<'a>> {
    let (times, values) = only_floats(window);
    if !values.is_empty() && !window.histograms.is_empty() {
        notes.add_for_metric(0, Annotation::histogram_ignored_in_mixed_range);
    }
    (values.len() >= 2).then_some((times, values))
}

/// Slope per second and value at `origin_ms` of the line with the least squares.
fn regression(times: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|&value| value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_xx) = (Sum::ZERO, Sum::ZERO, Sum::ZERO, Sum::ZERO);
    for (&time, &y) in times.iter().zip(values) {
        let x = (time - origin_ms) as f64 / 1e3;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let n = values.len() as f64;
    let (sum_x, sum_y, sum_xy, sum_xx) = (sum_x.total(), sum_y.total(), sum_xy.total(), sum_xx.total());
    let covariance = sum_xy - sum_x * sum_y / n;
    let variance = sum_xx - sum_x * sum_x / n;
    let slope = covariance / variance;
    (slope, sum_y / n - slope * sum_x / n)
}

/// `double_exponential_smoothing`: the last smoothed value (Holt's method) for the smoothing factor `args[0]` and the
/// trend factor `args[1]`.
pub(super) fn double_exponential_smoothing(window: &Window<'_>, args: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let &[smoothing, trend_factor, ..] = args else {
        return None;
    };
    for (name, short, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend_factor)] {
        if factor <= 0.0 || factor >= 1.0 {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            notes.fail(FunctionError(text));
            return None;
        }
    }
    let (_, values) = at_least_two_floats(window, notes)?;
    let mut smoothed_before = 0.0;
    let mut smoothed = values[0];
    let mut trend = values[1] - values[0];
    for (index, &value) in values.iter().enumerate().skip(1) {
        let level = smoothing * value;
        if index > 1 {
            let moved = trend_factor * (smoothed - smoothed_before);
            let kept = (1.0 - trend_factor) * trend;
            trend = moved + kept;
        }
        let carried = (1.0 - smoothing) * (smoothed + trend);
        smoothed_before = smoothed;
        smoothed = level + carried;
    }
    Some(smoothed)
}
