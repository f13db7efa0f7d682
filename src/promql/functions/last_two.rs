//! Change between the last two samples: `irate` and `idelta`.

use super::window::{histogram_at, is_started_anew};
use super::{HistogramOperation, Notes};
use crate::model::{CounterResetHint, FloatHistogram, IncompatibleSchemas};
use crate::promql::annotations::Annotation;
use crate::promql::value::{Value, Window};

/// `irate`: the increase per second between the last two samples.
pub(super) fn irate(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    between_floats(window, true)
}

/// `idelta`: the difference between the last two samples.
pub(super) fn idelta(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    between_floats(window, false)
}

/// `irate` where the window holds histograms.
pub(super) fn irate_among_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Value> {
    between_either(window, notes, true)
}

/// `idelta` where the window holds histograms.
pub(super) fn idelta_among_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Value> {
    between_either(window, notes, false)
}

/// The time between the last two samples.
fn interval_ms(window: &Window<'_>) -> Option<i64> {
    let &[.., previous_ms, last_ms] = window.timestamps_ms else { return None };
    (previous_ms != last_ms).then_some(last_ms - previous_ms)
}

fn between_floats(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let &[.., previous, last] = window.values else { return None };
    let interval_ms = interval_ms(window)?;
    // After a counter reset, the value itself is the increase.
    let is_reset = is_rate && (last < previous || is_started_anew(window, window.values.len() - 1));
    let result = if is_reset { last } else { last - previous };
    Some(if is_rate { result / (interval_ms as f64 / 1000.0) } else { result })
}

fn between_either(window: &Window<'_>, notes: &mut Notes<'_>, is_rate: bool) -> Option<Value> {
    let previous = window.values.len().checked_sub(2)?;
    match (histogram_at(window, previous), histogram_at(window, previous + 1)) {
        (None, None) => between_floats(window, is_rate).map(Value::Float),
        (Some(previous), Some(last)) => {
            let interval_ms = interval_ms(window)?;
            let is_reset =
                is_rate && (is_started_anew(window, window.values.len() - 1) || last.is_reset_after(previous));
            let increase = increase(previous, last, is_reset, notes, is_rate)?;
            Some(Value::Histogram(if is_rate { per_second(increase, interval_ms) } else { increase }))
        }
        _ => {
            interval_ms(window)?;
            notes.add_for_metric_at_args(Annotation::mixed_floats_histograms);
            None
        }
    }
}

fn per_second(mut increase: FloatHistogram, interval_ms: i64) -> FloatHistogram {
    increase.divide(interval_ms as f64 / 1000.0);
    increase
}

fn increase(
    previous: &FloatHistogram,
    last: &FloatHistogram,
    is_reset: bool,
    notes: &mut Notes<'_>,
    is_rate: bool,
) -> Option<FloatHistogram> {
    let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    if is_rate && (is_gauge(previous) || is_gauge(last)) {
        notes.add_for_metric_at_args(Annotation::native_histogram_not_counter);
    }
    if !is_rate && (!is_gauge(previous) || !is_gauge(last)) {
        notes.add_for_metric_at_args(Annotation::native_histogram_not_gauge);
    }
    let mut result = last.clone();
    if !is_reset {
        match result.subtract(previous) {
            Err(IncompatibleSchemas) => {
                notes.add_for_metric_at_args(Annotation::mixed_exponential_custom_histograms);
                return None;
            }
            Ok(conflicts) if conflicts.custom_bounds => {
                let span = notes.span_of_args();
                notes.add(Annotation::mismatched_custom_buckets(HistogramOperation::Subtraction, span));
            }
            Ok(_) => {}
        }
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}
