//! How many samples there are, and what they are: a count and the sum of their digests.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// A set of samples, as far as a proof needs it: two sets with equal tallies hold the same samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many samples there are.
    pub samples: u64,
    /// Sum of their digests.
    pub digest: Digest,
}

impl Tally {
    /// No sample.
    pub const ZERO: Tally = Tally { samples: 0, digest: Digest::ZERO };

    /// Counts one more sample.
    #[inline]
    pub fn add_sample(&mut self, digest: Digest) {
        self.samples += 1;
        self.digest += digest;
    }
}

impl Add for Tally {
    type Output = Tally;
    fn add(self, other: Tally) -> Tally {
        Tally { samples: self.samples.wrapping_add(other.samples), digest: self.digest + other.digest }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        *self = *self + other;
    }
}

/// Takes a part away. Counts wrap as digests do, so that a sum of differences comes out right in any order.
impl Sub for Tally {
    type Output = Tally;
    fn sub(self, other: Tally) -> Tally {
        Tally { samples: self.samples.wrapping_sub(other.samples), digest: self.digest - other.digest }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        tallies.fold(Tally::ZERO, Add::add)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, digest {}", self.samples, self.digest)
    }
}
