//! The bounds of a native histogram's buckets, to the last bit as Prometheus has them.
//!
//! The bucket with index `i` ends at `2^(i * 2^-schema)`. The fractions of that power that Prometheus knows are up to three
//! units in the last place below the correctly rounded ones, so a power from a good library would differ in the last digit
//! of what both print. They are what repeated square roots give that begin one unit below the root of two.

use super::FloatHistogram;

/// The finest schema.
const SCHEMA_FINEST: i32 = 8;

/// The upper bound of the exponential bucket with this index, and the largest float for the last one that finite values
/// can be in.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (whole, half_fraction) = if schema <= 0 {
        (i64::from(index) << schema.unsigned_abs().min(8), 0.5)
    } else {
        let schema = schema.min(SCHEMA_FINEST);
        (i64::from(index >> schema), half_fraction(index.rem_euclid(1 << schema), schema))
    };
    match whole {
        1024 if half_fraction == 0.5 => f64::MAX,
        1024.. => f64::INFINITY,
        _ => {
            // In steps, since a factor alone could leave the range of floats. All but the last are exact.
            let exponent = whole.max(-1080) as i32 + 1;
            let half = exponent / 2;
            half_fraction * 2f64.powi(half) * 2f64.powi(exponent - half)
        }
    }
}

/// `2^(place * 2^-schema - 1)`: half a factor for each bit of the place, the highest first.
fn half_fraction(place: i32, schema: i32) -> f64 {
    let mut root = std::f64::consts::SQRT_2.next_down();
    let mut fraction = 0.5;
    for bit in (0..schema).rev() {
        if place >> bit & 1 == 1 {
            fraction *= root;
        }
        root = root.sqrt();
    }
    fraction
}

impl FloatHistogram {
    /// Lower and upper bound of the positive bucket with this index.
    pub fn bucket_bounds(&self, index: i32) -> (f64, f64) {
        if !self.has_custom_buckets() {
            return (exponential_bound(index.wrapping_sub(1), self.schema), exponential_bound(index, self.schema));
        }
        let bound = |at: i32| usize::try_from(at).ok().and_then(|at| self.custom_values.get(at).copied());
        let lower = if index == 0 { f64::NEG_INFINITY } else { bound(index.wrapping_sub(1)).unwrap_or(f64::INFINITY) };
        (lower, bound(index).unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_bounds_are_powers_of_the_schemas_base() {
        for (index, schema, bound) in [
            (0, 0, 1.0),
            (3, 0, 8.0),
            (-2, 0, 0.25),
            // Not the root of two correctly rounded, but the float before it.
            (1, 1, f64::from_bits(std::f64::consts::SQRT_2.to_bits() - 1)),
            (2, -1, 16.0),
            (1024, 0, f64::MAX),
            (64, -4, f64::MAX),
            (1025, 0, f64::INFINITY),
            (-1074, 0, f64::from_bits(1)),
            (262_144, 8, f64::MAX),
        ] {
            assert_eq!(exponential_bound(index, schema), bound, "{index} at {schema}");
        }
    }

    #[test]
    fn exponential_bounds_are_those_that_prometheus_prints() {
        for (place, bound) in [
            (1, "0.5013556375251013"),
            (18, "0.5249720429003435"),
            (236, "0.9472879907934827"),
            (255, "0.9972960560854698"),
        ] {
            assert_eq!(exponential_bound(place - 256, 8).to_string(), bound);
        }
    }

    #[test]
    fn exponential_bounds_are_powers_but_for_their_last_digits_at_every_schema() {
        for schema in 0..=SCHEMA_FINEST {
            for index in -2000..2000 {
                let power = (f64::from(index) / f64::from(1 << schema)).exp2();
                let bound = exponential_bound(index, schema);
                let is_close = (power - bound).abs() <= power * 1e-15;
                let is_outside = !power.is_normal() || !bound.is_normal() || bound == f64::MAX;
                assert!(is_close || is_outside, "{index} at {schema}: {power} {bound}");
            }
        }
    }
}
