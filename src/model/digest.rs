//! Digests of samples: 128-bit hashes whose wrapping sum does not depend on order.
//!
//! A sample's digest is a hash of its series, its timestamp and its exact value bits. A set's digest is the wrapping
//! sum of its samples' digests, so it can be kept incrementally, split by series or by time, and subtracted from.
//! The digests are no defence against somebody who forges them; they find loss, damage and repetition.
//!
//! | digest | definition |
//! |---|---|
//! | of a label set | XXH3-128 (seed 0) of the set's canonical bytes ([`raw_labels`](super::raw_labels)) |
//! | of a float sample | XXH3-128 (seed 0) of 32 bytes: label set digest, timestamp, value bits, each little-endian |

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128;

use super::label_set::LabelSet;
use super::raw_labels::encode_canonical;

/// A digest of a label set, of a sample, or of a set of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of no sample.
    pub const ZERO: Digest = Digest(0);

    /// The digest of a label set, from its canonical bytes.
    #[inline]
    pub fn of_canonical_labels(bytes: &[u8]) -> Self {
        Digest(xxh3_128(bytes))
    }

    /// The digest of a label set.
    pub fn of_labels(labels: &LabelSet) -> Self {
        let mut bytes = Vec::with_capacity(256);
        encode_canonical(labels.iter(), &mut bytes);
        Digest::of_canonical_labels(&bytes)
    }

    /// The digest of one float sample of the series whose label set has the digest `self`.
    #[inline]
    pub fn of_sample(self, timestamp_ms: i64, value: f64) -> Self {
        let mut bytes = [0u8; 32];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&timestamp_ms.to_le_bytes());
        bytes[24..].copy_from_slice(&value.to_bits().to_le_bytes());
        Digest(xxh3_128(&bytes))
    }

    /// Reads the 32 hex digits that [`Display`](fmt::Display) writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// As the hex digits of [`Display`](fmt::Display).
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::from_hex(&text).ok_or_else(|| de::Error::custom(format!("digest {text:?} is not 32 hex digits")))
    }
}

impl Add for Digest {
    type Output = Digest;
    #[inline]
    fn add(self, other: Digest) -> Digest {
        Digest(self.0.wrapping_add(other.0))
    }
}

impl AddAssign for Digest {
    #[inline]
    fn add_assign(&mut self, other: Digest) {
        *self = *self + other;
    }
}

impl Sub for Digest {
    type Output = Digest;
    #[inline]
    fn sub(self, other: Digest) -> Digest {
        Digest(self.0.wrapping_sub(other.0))
    }
}

impl Sum for Digest {
    fn sum<I: Iterator<Item = Digest>>(digests: I) -> Digest {
        digests.fold(Digest::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_a_set_does_not_depend_on_order_and_subtracts() {
        let series = Digest::of_labels(&LabelSet::from_pairs([("__name__", "up")]));
        let a = series.of_sample(1, 1.0);
        let b = series.of_sample(2, 1.0);
        assert_eq!(a + b, b + a);
        assert_eq!(a + b - a, b);
        assert_ne!(series.of_sample(1, 0.0), series.of_sample(1, -0.0));
    }

    #[test]
    fn digest_as_hex_reads_back() {
        let digest = Digest(0x00ff_1234);
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("12"), None);
        assert_eq!(Digest::from_hex(&"+".repeat(32)), None);
    }
}
