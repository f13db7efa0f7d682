//! `^` with the roundings of Prometheus: Go's `math.Pow` squares and multiplies, which for larger exponents differs in the
//! last bits from the exactly rounded power of the system's library.

/// Exponents of this size and above are no loop's work: the result is 0, 1 or infinite.
const EXPONENT_MAX: f64 = 9_223_372_036_854_775_808.0;

/// A binary exponent beyond this one makes the result 0 or infinite, whatever follows.
const SCALE_MAX: i64 = 1 << 12;

/// `base` to the power of `exponent`.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    let is_ordinary = base.is_finite() && exponent.is_finite() && base != 0.0 && exponent != 0.0;
    if !is_ordinary || base == 1.0 || exponent == 1.0 || exponent.abs() >= EXPONENT_MAX {
        return base.powf(exponent);
    }
    if exponent == 0.5 {
        return base.sqrt();
    }
    if exponent == -0.5 {
        return 1.0 / base.sqrt();
    }
    let mut whole = exponent.abs().trunc();
    let mut fraction = exponent.abs() - whole;
    if fraction != 0.0 && base < 0.0 {
        return f64::NAN;
    }
    // The result is `mantissa` times 2 to the power of `scale`.
    let (mut mantissa, mut scale) = (1.0, 0i64);
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        mantissa = (fraction * base.ln()).exp();
    }
    let (mut square, mut square_scale) = split(base);
    let mut remaining = whole as i64;
    while remaining != 0 {
        if square_scale.abs() > SCALE_MAX {
            scale += square_scale;
            break;
        }
        if remaining & 1 == 1 {
            mantissa *= square;
            scale += square_scale;
        }
        square *= square;
        square_scale <<= 1;
        if square < 0.5 {
            square += square;
            square_scale -= 1;
        }
        remaining >>= 1;
    }
    if exponent < 0.0 {
        mantissa = 1.0 / mantissa;
        scale = -scale;
    }
    scaled(mantissa, scale)
}

/// A finite number other than 0 as a mantissa of 0.5 to 1 and a power of 2.
fn split(value: f64) -> (f64, i64) {
    const EXPONENT_BITS: u64 = 0x7ff << 52;
    // A subnormal number is made normal first, which is exact.
    let (normal, shift) = if value.abs() < f64::MIN_POSITIVE { (value * 2f64.powi(52), -52) } else { (value, 0) };
    let bits = normal.to_bits();
    let exponent = ((bits & EXPONENT_BITS) >> 52) as i64 - 1022;
    (f64::from_bits((bits & !EXPONENT_BITS) | (1022 << 52)), exponent + shift)
}

/// `value`, which may itself be as small as 2 to the power of -600 or as large as 2 to that of 600, times 2 to the power of
/// `scale`, rounded once.
fn scaled(value: f64, scale: i64) -> f64 {
    // Beyond these the result is 0 or infinite; within them a third of the power is a normal number.
    let scale = scale.clamp(-2600, 2600) as i32;
    let third = scale / 3;
    value * 2f64.powi(third) * 2f64.powi(third) * 2f64.powi(scale - 2 * third)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_of_ordinary_numbers_is_near_the_exact_one() {
        for (base, exponent) in
            [(2.0, 10.0), (1.1, 100.0), (-3.0, 5.0), (10.0, -3.0), (2.5, 3.7), (7.0, 0.5), (0.3, -4.2)]
        {
            let (got, exact) = (power(base, exponent), base.powf(exponent));
            assert!(((got - exact) / exact).abs() < 1e-13, "{base} ^ {exponent}: {got} and {exact}");
        }
        assert_eq!(power(10.0, 3.0), 1000.0);
        assert_eq!(power(2.0, -1074.0), f64::from_bits(1));
        assert_eq!(power(f64::from_bits(1), 2.0), 0.0);
    }

    #[test]
    fn power_squares_and_multiplies_where_rounding_shows() {
        // 1.1^3 as ((1.1^2) * 1.1), each step rounded.
        assert_eq!(power(1.1, 3.0), 1.1 * (1.1 * 1.1));
    }

    #[test]
    fn power_at_the_ends_of_the_range_is_zero_infinite_or_not_a_number() {
        assert_eq!(power(10.0, 400.0), f64::INFINITY);
        assert_eq!(power(-10.0, 401.0), f64::NEG_INFINITY);
        assert_eq!(power(10.0, -400.0), 0.0);
        // The part of a fraction of an exponent is far from 1 itself.
        assert_eq!(power(1e308, -7.6), 0.0);
        assert_eq!(power(1e-308, -7.6), f64::INFINITY);
        assert!(power(-8.0, 1.0 / 3.0).is_nan());
        assert_eq!(power(0.0, -1.0), f64::INFINITY);
        assert_eq!(power(f64::NAN, 0.0), 1.0);
        assert_eq!(power(-1.0, f64::INFINITY), 1.0);
        assert_eq!(power(2.0, 1e300), f64::INFINITY);
        assert_eq!(power(-1.0, 1e15 + 1.0), -1.0);
    }
}
