//! Aggregations of one series over its range: the `_over_time` family.

use std::cmp::Ordering;

use super::kahan::Sum;
use super::window::histogram_at;
use super::{HistogramOperation, Notes};
use crate::model::{Conflicts, CounterResetHint, FloatHistogram, HistogramMean, HistogramSum, IncompatibleSchemas};
use crate::promql::annotations::Annotation;
use crate::promql::value::{Value, Window};

/// `avg_over_time`: the mean, as sum by count until the sum would overflow, and from there on as a running mean.
pub(super) fn avg(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    mean(window.values)
}

fn mean(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    let mut sum = Sum::starting_with(first);
    let mut running: Option<Sum> = None;
    for (index, &value) in rest.iter().enumerate() {
        let count = (index + 2) as f64;
        let mut average = match running {
            Some(average) => average,
            None => {
                let mut next = sum;
                next.add(value);
                if next.sum.is_finite() || next.sum.is_nan() {
                    sum = next;
                    continue;
                }
                Sum { sum: sum.sum / (count - 1.0), compensation: sum.compensation / (count - 1.0) }
            }
        };
        let weight = (count - 1.0) / count;
        average = Sum { sum: weight * average.sum, compensation: weight * average.compensation };
        average.add(value / count);
        running = Some(average);
    }
    let count = values.len() as f64;
    Some(match running {
        Some(average) => average.total(),
        None => sum.sum / count + sum.compensation / count,
    })
}

/// `sum_over_time`.
pub(super) fn sum(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let mut sum = Sum::ZERO;
    for &value in window.values {
        sum.add(value);
    }
    Some(sum.total())
}

/// `sum_over_time` of histograms.
pub(super) fn sum_of_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    let mut sum = HistogramSum::starting_with(&window.histograms.first()?.1);
    fold_histograms(window, notes, |histogram| sum.add(histogram))?;
    Some(sum.total())
}

/// `avg_over_time` of histograms.
pub(super) fn avg_of_histograms(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<FloatHistogram> {
    let mut mean = HistogramMean::starting_with(&window.histograms.first()?.1);
    fold_histograms(window, notes, |histogram| mean.add(histogram))?;
    Some(mean.total())
}

/// Adds all histograms but the first, and notes what they disagree on. `None` if they don't go together.
fn fold_histograms(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    mut add: impl FnMut(&FloatHistogram) -> Result<Conflicts, IncompatibleSchemas>,
) -> Option<()> {
    let mut custom_bounds = false;
    for (_, histogram) in &window.histograms[1..] {
        match add(histogram) {
            Ok(conflicts) => custom_bounds |= conflicts.custom_bounds,
            Err(IncompatibleSchemas) => {
                notes.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
                return None;
            }
        }
    }
    let span = notes.span_of_arg(0);
    let has_hint = |hint| window.histograms.iter().any(|(_, histogram)| histogram.counter_reset_hint == hint);
    if has_hint(CounterResetHint::Reset) && has_hint(CounterResetHint::NotReset) {
        notes.add(Annotation::counter_reset_collision(HistogramOperation::Aggregation, span));
    }
    if custom_bounds {
        notes.add(Annotation::mismatched_custom_buckets(HistogramOperation::Aggregation, span));
    }
    Some(())
}

/// `count_over_time`: how many samples there are, of both kinds.
pub(super) fn count(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    Some(window.values.len() as f64)
}

/// `present_over_time`: 1.
pub(super) fn present(_: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    Some(1.0)
}

/// `first_over_time`: the oldest value.
pub(super) fn first(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    window.values.first().copied()
}

/// `last_over_time`: the latest value.
pub(super) fn last(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    window.values.last().copied()
}

/// `first_over_time` where the window holds histograms.
pub(super) fn first_of_either(window: &Window<'_>, _: &mut Notes<'_>) -> Option<Value> {
    sample_at(window, 0)
}

/// `last_over_time` where the window holds histograms.
pub(super) fn last_of_either(window: &Window<'_>, _: &mut Notes<'_>) -> Option<Value> {
    sample_at(window, window.values.len().checked_sub(1)?)
}

fn sample_at(window: &Window<'_>, index: usize) -> Option<Value> {
    match histogram_at(window, index) {
        Some(histogram) => Some(Value::Histogram(histogram.clone())),
        None => window.values.get(index).copied().map(Value::Float),
    }
}

/// `ts_of_first_over_time`: when the oldest sample was taken, in seconds.
pub(super) fn ts_of_first(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    window.timestamps_ms.first().map(|&at_ms| at_ms as f64 / 1000.0)
}

/// `ts_of_last_over_time`: when the latest sample was taken, in seconds.
pub(super) fn ts_of_last(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    window.timestamps_ms.last().map(|&at_ms| at_ms as f64 / 1000.0)
}

/// `max_over_time`. NaN gives way to any number.
pub(super) fn max(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    fold(window.values, |value, best| value > best || best.is_nan())
}

/// `min_over_time`. NaN gives way to any number.
pub(super) fn min(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    fold(window.values, |value, best| value < best || best.is_nan())
}

fn fold(values: &[f64], better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    values.iter().copied().reduce(|best, value| if better(value, best) { value } else { best })
}

/// `ts_of_max_over_time`: when the largest value was taken, the latest if there are several.
pub(super) fn ts_of_max(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    time_of(window, |value, best| value >= best || best.is_nan())
}

/// `ts_of_min_over_time`: when the smallest value was taken, the latest if there are several.
pub(super) fn ts_of_min(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    time_of(window, |value, best| value <= best || best.is_nan())
}

fn time_of(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let (times, values) = (window.timestamps_ms, window.values);
    let mut best = (*times.first()?, *values.first()?);
    for (&time, &value) in times.iter().zip(values) {
        if better(value, best.1) {
            best = (time, value);
        }
    }
    Some(best.0 as f64 / 1000.0)
}

/// `stddev_over_time`: the standard deviation of the whole population.
pub(super) fn stddev(window: &Window<'_>, args: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    stdvar(window, args, notes).map(f64::sqrt)
}

/// `stdvar_over_time`: the variance of the whole population (Welford's method).
pub(super) fn stdvar(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let (mut mean, mut squares) = (Sum::ZERO, Sum::ZERO);
    let mut count = 0.0;
    for &value in window.values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    Some(squares.total() / count)
}

/// `quantile_over_time`: the quantile `args[0]`, between 0 and 1.
pub(super) fn quantile_over_time(window: &Window<'_>, args: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let wanted = *args.first()?;
    if window.values.is_empty() {
        return None;
    }
    if wanted.is_nan() || !(0.0..=1.0).contains(&wanted) {
        notes.add(Annotation::invalid_quantile(wanted, notes.span_of_arg(0)));
    }
    Some(quantile(wanted, &mut window.values.to_vec()))
}

/// `mad_over_time`: the median of the distances from the median. NaN makes it NaN.
pub(super) fn mad(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let mut values = window.values.to_vec();
    if values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Some(quantile(0.5, &mut values))
}

/// The quantile of `values`, which it sorts; between two values it is their weighted mean. NaN sorts below all.
pub fn quantile(wanted: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (a_nan, b_nan) => b_nan.cmp(&a_nan),
    });
    let last = values.len() - 1;
    let rank = wanted * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_of_values_whose_sum_overflows_is_finite() {
        let large = mean(&[f64::MAX, f64::MAX, f64::MAX]).expect("values have a mean");
        assert!((1.0 - large / f64::MAX).abs() < 1e-15);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), Some(f64::INFINITY));
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_some_and(f64::is_nan));
    }

    #[test]
    fn quantile_between_two_values_is_weighted() {
        assert_eq!(quantile(0.25, &mut [4.0, 0.0]), 1.0);
        assert_eq!(quantile(-1.0, &mut [4.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [4.0]), f64::INFINITY);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
