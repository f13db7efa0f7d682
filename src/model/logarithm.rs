//! Logarithms and the power of 2 as Go has them, which differ from the C library's in the last digit.
//!
//! The methods are those of FreeBSD's `e_log.c` and `e_exp.c`, in the order of operations of Go's `math`.

/// ln 2 in two parts, which together have more digits than a float.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// A positive, finite number as a fraction from 0.5 to 1, and the exponent of 2 that it is multiplied with.
fn fraction_and_exponent(value: f64) -> (f64, i32) {
    // Subnormal numbers are lifted into the normal range, where the exponent can be read off.
    let (value, lift) = if value < f64::MIN_POSITIVE { (value * 2f64.powi(54), -54) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022 + lift;
    (f64::from_bits((bits & !(0x7ff << 52)) | (1022 << 52)), exponent)
}

/// The natural logarithm.
pub fn natural_log(value: f64) -> f64 {
    // Coefficients of a series in the square of `part`, by turns for even and odd powers.
    const EVEN: [f64; 4] =
        [6.666_666_666_666_735e-1, 2.857_142_874_366_239e-1, 1.818_357_216_161_805e-1, 1.479_819_860_511_658_6e-1];
    const ODD: [f64; 3] = [3.999_999_999_940_942e-1, 2.222_219_843_214_978_4e-1, 1.531_383_769_920_937_3e-1];
    if value <= 0.0 || !value.is_finite() {
        return value.ln();
    }
    let (mut fraction, mut exponent) = fraction_and_exponent(value);
    if fraction < std::f64::consts::FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let (beyond, exponent) = (fraction - 1.0, f64::from(exponent));
    let part = beyond / (2.0 + beyond);
    let square = part * part;
    let fourth = square * square;
    let series = |coefficients: &[f64]| coefficients.iter().rev().fold(0.0, |sum, next| next + fourth * sum);
    let rest = square * series(&EVEN) + fourth * series(&ODD);
    let half_square = 0.5 * beyond * beyond;
    exponent * LN_2_HIGH - ((half_square - (part * (half_square + rest) + exponent * LN_2_LOW)) - beyond)
}

/// The logarithm to base 2: exact for powers of 2. By way of the natural logarithm of the fraction.
pub fn log_base_2(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value.log2();
    }
    let (fraction, exponent) = fraction_and_exponent(value);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    natural_log(fraction) * std::f64::consts::LOG2_E + f64::from(exponent)
}

/// 2 to the power of `exponent`.
///
/// The whole part is the exponent of the result; the rest is a power of e, by a rational function.
pub fn exp_base_2(exponent: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [
        1.666_666_666_666_666_6e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238_5e-8,
    ];
    if exponent.is_nan() || exponent > 1.023_999_999_999_999_9e3 {
        return if exponent.is_nan() { exponent } else { f64::INFINITY };
    }
    if exponent < -1074.0 {
        return 0.0;
    }
    let whole = (exponent + 0.5f64.copysign(exponent)).trunc();
    let rest = exponent - whole;
    let (high, low) = (rest * LN_2_HIGH, -rest * LN_2_LOW);
    let power = high - low;
    let square = power * power;
    let series = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| coefficient + square * sum);
    let correction = power - square * series;
    let fraction = 1.0 - ((low - (power * correction) / (2.0 - correction)) - high);
    // In two steps, since the power alone could leave the range of floats; only the last one can round.
    let half = (whole / 2.0).trunc() as i32;
    fraction * 2f64.powi(half) * 2f64.powi(whole as i32 - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_base_2_of_powers_is_exact() {
        for exponent in [-1074, -1023, -1, 0, 1, 10, 1023] {
            let value = if exponent < -1022 { f64::from_bits(1 << (exponent + 1074)) } else { 2f64.powi(exponent) };
            assert_eq!(log_base_2(value), f64::from(exponent));
        }
        assert!(log_base_2(-1.0).is_nan());
        assert_eq!(log_base_2(0.0), f64::NEG_INFINITY);
        assert_eq!(log_base_2(f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn natural_log_is_close_and_knows_its_bounds() {
        for value in [1e-320, 1e-300, 0.1, 0.7, 0.71, 1.5, 3.0, 1e10, f64::MAX] {
            assert!((natural_log(value) / value.ln() - 1.0).abs() < 1e-15, "{value}");
        }
        // As Prometheus prints it; the logarithms of the C library end in 34 and 54.
        let printed = [1.404, 16.649].map(|value| natural_log(value).to_string());
        assert_eq!(printed, ["0.3393253056036193", "2.812350154562715"]);
        assert_eq!((natural_log(1.0), natural_log(0.0)), (0.0, f64::NEG_INFINITY));
        assert!(natural_log(-1.0).is_nan() && natural_log(f64::NAN).is_nan());
    }

    #[test]
    fn exp_base_2_of_whole_numbers_is_exact_and_close_elsewhere() {
        for exponent in [-1074, -1023, -3, 0, 1, 10, 1023] {
            let power = if exponent < -1022 { f64::from_bits(1 << (exponent + 1074)) } else { 2f64.powi(exponent) };
            assert_eq!(exp_base_2(f64::from(exponent)), power);
        }
        for step in -2000..2000 {
            let exponent = f64::from(step) / 17.0;
            assert!((exp_base_2(exponent) / exponent.exp2() - 1.0).abs() < 1e-15, "{exponent}");
        }
        assert_eq!((exp_base_2(1024.0), exp_base_2(-1075.0)), (f64::INFINITY, 0.0));
        assert!(exp_base_2(f64::NAN).is_nan());
    }
}
