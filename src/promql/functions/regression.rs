//! Lines and trends: linear regression and double exponential smoothing.

use super::kahan::Sum;
use super::{FunctionError, Notes};
use crate::promql::value::Window;

/// `deriv`: the slope of the regression line, per second.
pub(super) fn deriv(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let &[first_ms, _, ..] = window.timestamps_ms else { return None };
    Some(regression(window, first_ms).0)
}

/// `predict_linear`: the value that the regression line has `args[0]` seconds after the step's time.
pub(super) fn predict_linear(window: &Window<'_>, args: &[f64], _: &mut Notes<'_>) -> Option<f64> {
    let duration = *args.first()?;
    if window.values.len() < 2 {
        return None;
    }
    let (slope, intercept) = regression(window, window.step_ms);
    Some(slope * duration + intercept)
}

/// Slope per second and value at `origin_ms` of the line with the least squares.
fn regression(window: &Window<'_>, origin_ms: i64) -> (f64, f64) {
    let (times, values) = (window.timestamps_ms, window.values);
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
    let &[first, second, ..] = window.values else { return None };
    let mut smoothed_before = 0.0;
    let mut smoothed = first;
    let mut trend = second - first;
    for (index, &value) in window.values.iter().enumerate().skip(1) {
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
