//! Compensated summation: a running sum that keeps track of what rounding took away.
//!
//! Neumaier's variant of Kahan's algorithm, as in Prometheus `util/kahansum`; functions, aggregations and sums of
//! histograms use it.

/// A running sum and its compensation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// The sum, rounded.
    pub sum: f64,
    /// What has to be added to it.
    pub compensation: f64,
}

impl Sum {
    /// Nothing summed yet.
    pub const ZERO: Sum = Sum { sum: 0.0, compensation: 0.0 };

    /// A sum that starts with `value`.
    pub fn starting_with(value: f64) -> Self {
        Sum { sum: value, compensation: 0.0 }
    }

    /// Adds `value`. Once the sum is infinite there is nothing to compensate.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// The compensated sum.
    #[inline]
    pub fn total(&self) -> f64 {
        self.sum + self.compensation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_values_that_cancel_keeps_the_small_one() {
        let mut sum = Sum::ZERO;
        for value in [1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 1.0);
    }

    #[test]
    fn sum_that_overflows_stays_infinite() {
        let mut sum = Sum::starting_with(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.total(), f64::INFINITY);
        sum.add(1.0);
        assert_eq!(sum.total(), f64::INFINITY);
    }
}
