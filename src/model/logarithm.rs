//! The logarithm to base 2 as Go has it.

/// The logarithm to base 2: exact for powers of 2. By way of the natural logarithm of the fraction, as in Go, whose last
/// digit differs from that of the C library.
pub fn log_base_2(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value.log2();
    }
    // Subnormal numbers are lifted into the normal range, where the exponent can be read off.
    let (value, lift) = if value < f64::MIN_POSITIVE { (value * 2f64.powi(54), -54) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022 + lift;
    let fraction = f64::from_bits((bits & !(0x7ff << 52)) | (1022 << 52));
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    fraction.ln() * std::f64::consts::LOG2_E + f64::from(exponent)
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
}
