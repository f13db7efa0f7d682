//! `anchored` and `smoothed` ranges: differences between the values at the two ends of a range, which samples from before
//! and behind it give.

use super::window::range_seconds;
use super::{HistogramOperation, Notes};
use crate::model::{CounterResetHint, FloatHistogram, IncompatibleSchemas};
use crate::promql::annotations::Annotation;
use crate::promql::value::Window;

/// A histogram between two others.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolation {
    /// The histogram.
    pub histogram: FloatHistogram,
    /// Whether custom bounds had to be reconciled in a subtraction.
    pub subtraction_reconciled: bool,
    /// Whether custom bounds had to be reconciled in an addition.
    pub addition_reconciled: bool,
}

impl Interpolation {
    fn exact(histogram: FloatHistogram) -> Self {
        Interpolation { histogram, subtraction_reconciled: false, addition_reconciled: false }
    }

    /// What is to be noted.
    pub fn annotations(&self, span: super::Span) -> impl Iterator<Item = Annotation> {
        let subtraction = self.subtraction_reconciled.then_some(HistogramOperation::Subtraction);
        let addition = self.addition_reconciled.then_some(HistogramOperation::Addition);
        subtraction.into_iter().chain(addition).map(move |of| Annotation::mismatched_custom_buckets(of, span))
    }
}

/// The histogram at `at_ms` on the straight line between two samples. A counter that was reset between them is taken to
/// have started from zero.
pub fn interpolate_histograms(
    (from_ms, from): (i64, &FloatHistogram),
    (to_ms, to): (i64, &FloatHistogram),
    at_ms: i64,
    is_counter: bool,
) -> Result<Interpolation, IncompatibleSchemas> {
    if at_ms == from_ms {
        return Ok(Interpolation::exact(from.clone()));
    }
    let mut result = to.clone();
    if at_ms == to_ms {
        return Ok(Interpolation::exact(result));
    }
    let fraction = (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
    if is_counter && to.is_reset_after(from) {
        result.multiply(fraction);
        return Ok(Interpolation::exact(result));
    }
    let subtraction_reconciled = result.subtract(from)?.custom_bounds;
    result.multiply(fraction);
    let addition_reconciled = result.add(from)?.custom_bounds;
    Ok(Interpolation { histogram: result, subtraction_reconciled, addition_reconciled })
}

/// The indexes of the samples that the two ends of the range are computed from. `None` where the range has no value.
fn ends(window: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let times = window.timestamps_ms;
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|&time| time <= window.range_start_ms).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|&time| time < window.range_end_ms);
    }
    let is_outside = times[last] <= window.range_start_ms || (smoothed && times[first] > window.range_end_ms);
    (!is_outside).then_some((first, last))
}

/// The difference between the values at the two ends of the range. The window holds samples from before the range and, for
/// `smoothed`, from behind it.
pub(super) fn extended_floats(window: &Window<'_>, smoothed: bool, is_counter: bool, is_rate: bool) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let (start_ms, end_ms) = (window.range_start_ms, window.range_end_ms);
    let (mut first, last) = ends(window, smoothed)?;
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

/// As [`extended_floats`], of a window that holds histograms only.
pub(super) fn extended_histograms(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    smoothed: bool,
    is_counter: bool,
    is_rate: bool,
) -> Option<FloatHistogram> {
    let (times, points) = (window.timestamps_ms, window.histograms);
    let (start_ms, end_ms) = (window.range_start_ms, window.range_end_ms);
    let (first, last) = ends(window, smoothed)?;
    let is_custom = points.get(first)?.1.has_custom_buckets();
    for (_, point) in points.get(first..=last)? {
        if point.has_custom_buckets() != is_custom {
            notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
            return None;
        }
        if is_counter && point.counter_reset_hint == CounterResetHint::Gauge {
            notes.add_for_metric(0, Annotation::native_histogram_not_counter);
        }
    }
    let mut between = |left: usize, at_ms: i64| {
        let (from, to) = ((times[left], &points[left].1), (times[left + 1], &points[left + 1].1));
        match interpolate_histograms(from, to, at_ms, is_counter) {
            Ok(interpolation) => {
                let span = notes.span_of_arg(0);
                interpolation.annotations(span).for_each(|annotation| notes.add(annotation));
                Some(interpolation.histogram)
            }
            Err(IncompatibleSchemas) => {
                notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
                None
            }
        }
    };
    let left = if smoothed && times[first] < start_ms { between(first, start_ms)? } else { points[first].1.clone() };
    let right =
        if smoothed && last > 0 && times[last] > end_ms { between(last - 1, end_ms)? } else { points[last].1.clone() };
    let is_gauge = |end: &FloatHistogram| end.counter_reset_hint == CounterResetHint::Gauge;
    if !is_counter && (!is_gauge(&left) || !is_gauge(&right)) {
        notes.add_for_metric(0, Annotation::native_histogram_not_gauge);
    }
    let mut result = right.clone();
    let outcome = result.subtract(&left);
    notes.reconciled(outcome, HistogramOperation::Subtraction)?;
    if is_counter {
        // A sample from before the range whose reset is in `left` already is passed over.
        let before_reset = smoothed && times[first] < start_ms;
        let reset = points.get(first + 1).filter(|(_, next)| before_reset && next.is_reset_after(&points[first].1));
        let (previous, inside) = match reset {
            Some((_, next)) => (next, first + 2),
            None => (&left, first + 1),
        };
        if let Some(inside) = points.get(inside..last)
            && let Some(correction) = reset_correction(previous, inside, &right, notes)?
        {
            let outcome = result.add(&correction);
            notes.reconciled(outcome, HistogramOperation::Addition)?;
        }
    }
    if is_rate {
        result.divide(range_seconds(window));
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}

/// What a counter lost by resets from `previous` over the samples `inside` to `right`. `None` outside if that cannot be
/// summed up, inside if there was none.
fn reset_correction<'h>(
    mut previous: &'h FloatHistogram,
    inside: &'h [(usize, FloatHistogram)],
    right: &'h FloatHistogram,
    notes: &mut Notes<'_>,
) -> Option<Option<FloatHistogram>> {
    let mut correction: Option<FloatHistogram> = None;
    for next in inside.iter().map(|(_, point)| point).chain([right]) {
        if next.is_reset_after(previous) {
            match &mut correction {
                None => correction = Some(previous.clone()),
                Some(correction) => {
                    let outcome = correction.add(previous);
                    notes.reconciled(outcome, HistogramOperation::Addition)?;
                }
            }
        }
        previous = next;
    }
    Some(correction)
}
