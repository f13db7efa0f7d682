//! Aggregations of one series over its range: the `_over_time` family.

use std::cmp::Ordering;

use super::Notes;
use super::kahan::Sum;
use super::window::{histogram_at, only_floats};
use crate::promql::annotations::Annotation;
use crate::promql::value::Window;

/// The floats of the window, for functions that leave histograms out and say so.
fn floats_beside_histograms<'a>(window: &Window<'a>, notes: &mut Notes<'_>) -> Option<std::borrow::Cow<'a, [f64]>> {
    let (_, values) = only_floats(window);
    if values.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        notes.add_for_metric(0, Annotation::histogram_ignored_in_mixed_range);
    }
    Some(values)
}

/// The values of a window that holds floats only; a mix of floats and histograms has no result, and is noted.
fn unmixed_floats<'a>(window: &Window<'a>, notes: &mut Notes<'_>) -> Option<&'a [f64]> {
    if window.histograms.is_empty() {
        return Some(window.values);
    }
    if window.histograms.len() < window.values.len() {
        notes.add_for_metric(0, Annotation::mixed_floats_histograms);
    }
    None
}

/// `avg_over_time`: the mean, as sum by count until the sum would overflow, and from there on as a running mean.
pub(super) fn avg(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    mean(unmixed_floats(window, notes)?)
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
pub(super) fn sum(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let mut sum = Sum::ZERO;
    for &value in unmixed_floats(window, notes)? {
        sum.add(value);
    }
    Some(sum.total())
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
    if histogram_at(window, 0).is_some() { None } else { window.values.first().copied() }
}

/// `last_over_time`: the latest value.
pub(super) fn last(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let index = window.values.len().checked_sub(1)?;
    if histogram_at(window, index).is_some() { None } else { window.values.last().copied() }
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
pub(super) fn max(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let values = floats_beside_histograms(window, notes)?;
    Some(fold(&values, |value, best| value > best || best.is_nan()))
}

/// `min_over_time`. NaN gives way to any number.
pub(super) fn min(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let values = floats_beside_histograms(window, notes)?;
    Some(fold(&values, |value, best| value < best || best.is_nan()))
}

fn fold(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    values.iter().copied().fold(values[0], |best, value| if better(value, best) { value } else { best })
}

/// `ts_of_max_over_time`: when the largest value was taken, the latest if there are several.
pub(super) fn ts_of_max(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    time_of(window, notes, |value, best| value >= best || best.is_nan())
}

/// `ts_of_min_over_time`: when the smallest value was taken, the latest if there are several.
pub(super) fn ts_of_min(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    time_of(window, notes, |value, best| value <= best || best.is_nan())
}

fn time_of(window: &Window<'_>, notes: &mut Notes<'_>, better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    floats_beside_histograms(window, notes)?;
    let (times, values) = only_floats(window);
    let mut best = (*times.first()?, *values.first()?);
    for (&time, &value) in times.iter().zip(values.iter()) {
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
pub(super) fn stdvar(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let values = floats_beside_histograms(window, notes)?;
    let (mut mean, mut squares) = (Sum::ZERO, Sum::ZERO);
    let mut count = 0.0;
    for &value in values.iter() {
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
    let values = floats_beside_histograms(window, notes)?;
    if wanted.is_nan() || !(0.0..=1.0).contains(&wanted) {
        notes.add(Annotation::invalid_quantile(wanted, notes.span_of_arg(0)));
    }
    Some(quantile(wanted, &mut values.into_owned()))
}

/// `mad_over_time`: the median of the distances from the median. NaN makes it NaN.
pub(super) fn mad(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Option<f64> {
    let mut values = floats_beside_histograms(window, notes)?.into_owned();
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
