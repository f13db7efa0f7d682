//! Functions of single numbers: rounding, powers and logarithms, angles, bounds.
//!
//! Where Go's and the C library's definitions differ, Go's hold: `log10` goes by way of `ln`, `log2` splits off the exponent, and the inverse
//! hyperbolic functions use the forms that stay exact near 0 and do not overflow.

use super::columns::{Args, map_floats};
use super::{CallContext, FunctionError};
use crate::model::logarithm::{log_base_2, natural_log};
use crate::promql::value::{ABSENT, StepsValue};

type Result = std::result::Result<StepsValue, FunctionError>;

macro_rules! of_one_number {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
                let f: fn(f64) -> f64 = $f;
                Ok(map_floats(Args::new(context.call.function.name, args).vector()?, |_, value| f(value)))
            }
        )*
    };
}

of_one_number! {
    /// `abs`
    abs = f64::abs;
    /// `acos`
    acos = f64::acos;
    /// `acosh`
    acosh = inverse_cosh;
    /// `asin`
    asin = f64::asin;
    /// `asinh`
    asinh = inverse_sinh;
    /// `atan`
    atan = f64::atan;
    /// `atanh`
    atanh = inverse_tanh;
    /// `ceil`
    ceil = f64::ceil;
    /// `cos`
    cos = f64::cos;
    /// `cosh`
    cosh = f64::cosh;
    /// `deg`: radians to degrees.
    deg = |value| value * 180.0 / std::f64::consts::PI;
    /// `exp`
    exp = f64::exp;
    /// `floor`
    floor = f64::floor;
    /// `ln`
    ln = natural_log;
    /// `log10`
    log10 = |value| natural_log(value) * std::f64::consts::LOG10_E;
    /// `log2`
    log2 = log_base_2;
    /// `rad`: degrees to radians.
    rad = |value| value * std::f64::consts::PI / 180.0;
    /// `sgn`: -1, 0 or 1; zeros and NaN stay what they are.
    sgn = |value| if value < 0.0 { -1.0 } else if value > 0.0 { 1.0 } else { value };
    /// `sin`
    sin = f64::sin;
    /// `sinh`
    sinh = f64::sinh;
    /// `sqrt`
    sqrt = f64::sqrt;
    /// `tan`
    tan = f64::tan;
    /// `tanh`
    tanh = f64::tanh;
}

/// `round(v, to_nearest = 1)`: ties go up.
pub(super) fn round(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let vector = args.vector()?;
    let to_nearest = if args.is_empty() { vec![1.0; context.steps.count] } else { args.scalar()? };
    Ok(map_floats(vector, |step, value| {
        let inverse = 1.0 / to_nearest[step];
        (value * inverse + 0.5).floor() / inverse
    }))
}

/// `clamp(v, min, max)`; nothing where the bounds are the wrong way round.
pub(super) fn clamp(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (vector, lower, upper) = (args.vector()?, args.scalar()?, args.scalar()?);
    Ok(map_floats(vector, |step, value| {
        if upper[step] < lower[step] { ABSENT } else { max_of_two(lower[step], min_of_two(upper[step], value)) }
    }))
}

/// `clamp_min(v, min)`
pub(super) fn clamp_min(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (vector, lower) = (args.vector()?, args.scalar()?);
    Ok(map_floats(vector, |step, value| max_of_two(lower[step], min_of_two(f64::INFINITY, value))))
}

/// `clamp_max(v, max)`
pub(super) fn clamp_max(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (vector, upper) = (args.vector()?, args.scalar()?);
    Ok(map_floats(vector, |step, value| max_of_two(f64::NEG_INFINITY, min_of_two(upper[step], value))))
}

/// `pi()`
pub(super) fn pi(context: &CallContext<'_>, _: Vec<StepsValue>) -> Result {
    Ok(StepsValue::Scalar(vec![std::f64::consts::PI; context.steps.count]))
}

/// `max_of(a, b)` of two scalars.
pub(super) fn max_of(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    of_two_scalars(context, args, max_of_two)
}

/// `min_of(a, b)` of two scalars.
pub(super) fn min_of(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    of_two_scalars(context, args, min_of_two)
}

fn of_two_scalars(context: &CallContext<'_>, args: Vec<StepsValue>, f: fn(f64, f64) -> f64) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (left, right) = (args.scalar()?, args.scalar()?);
    Ok(StepsValue::Scalar(left.into_iter().zip(right).map(|(left, right)| f(left, right)).collect()))
}

/// The larger of two numbers. Plus infinity wins over NaN, NaN over all others, and 0 over -0.
pub fn max_of_two(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && b == 0.0 {
        return if a.is_sign_negative() { b } else { a };
    }
    if a > b { a } else { b }
}

/// The smaller of two numbers. Minus infinity wins over NaN, NaN over all others, and -0 over 0.
pub fn min_of_two(a: f64, b: f64) -> f64 {
    -max_of_two(-a, -b)
}

/// Beyond this, the square of a number swallows 1.
const LARGE: f64 = (1u64 << 28) as f64;

fn inverse_sinh(value: f64) -> f64 {
    let x = value.abs();
    let result = if !x.is_finite() || x < 1.0 / LARGE {
        return value;
    } else if x > LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x)).ln()
    } else {
        (x + x * x / (1.0 + (1.0 + x * x).sqrt())).ln_1p()
    };
    result.copysign(value)
}

fn inverse_cosh(value: f64) -> f64 {
    if value < 1.0 || value.is_nan() {
        f64::NAN
    } else if value >= LARGE {
        value.ln() + std::f64::consts::LN_2
    } else if value > 2.0 {
        (2.0 * value - 1.0 / (value + (value * value - 1.0).sqrt())).ln()
    } else {
        let beyond = value - 1.0;
        (beyond + (2.0 * beyond + beyond * beyond).sqrt()).ln_1p()
    }
}

fn inverse_tanh(value: f64) -> f64 {
    let x = value.abs();
    let result = if x > 1.0 || x.is_nan() {
        return f64::NAN;
    } else if x < 1.0 / LARGE {
        return value;
    } else if x == 1.0 {
        f64::INFINITY
    } else if x < 0.5 {
        let double = x + x;
        0.5 * (double + double * x / (1.0 - x)).ln_1p()
    } else {
        0.5 * ((x + x) / (1.0 - x)).ln_1p()
    };
    result.copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_hyperbolic_functions_undo_the_others() {
        for value in [-30.0, -3.0, -0.7, -1e-10, 0.0, 0.1, 0.4, 0.9, 5.0] {
            assert!((inverse_sinh(f64::sinh(value)) - value).abs() <= 1e-12 * value.abs());
        }
        assert!((inverse_tanh(0.5f64.tanh()) - 0.5).abs() < 1e-15);
        assert!((inverse_cosh(3f64.cosh()) - 3.0).abs() < 1e-14);
        assert!(inverse_cosh(0.5).is_nan());
        assert_eq!(inverse_tanh(-1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn extremes_of_two_follow_infinity_then_nan_then_sign() {
        assert_eq!(max_of_two(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert!(max_of_two(f64::NAN, 1.0).is_nan());
        assert!(min_of_two(1.0, f64::NAN).is_nan());
        assert_eq!(min_of_two(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(min_of_two(0.0, -0.0).is_sign_negative());
        assert!(max_of_two(-0.0, 0.0).is_sign_positive());
    }
}
