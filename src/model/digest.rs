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
//! | of a histogram sample | XXH3-128 (seed 0) of: label set digest, timestamp, a byte for the kind (1: integer counts, 2: float counts), and the canonical histogram |
//!
//! The canonical histogram, all numbers little-endian, floats as their bits: a byte 0 and nothing else for a staleness
//! marker; else a byte 1, the schema (32 bits), the zero threshold, the zero bucket's count, the count, the sum (64 bits
//! each); for custom buckets the number of boundaries (32 bits) and each of them; for the positive and then for the
//! negative side the number of buckets that are not empty (32 bits), and of each the index (32 bits) and the count (64
//! bits: unsigned, or a float's bits). So it depends neither on how buckets are laid out in spans nor on empty buckets;
//! hints about counter resets are not part of it. A threshold or boundary of -0 counts as 0, as chunks don't keep the
//! sign.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128;

use super::histogram::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, SampleValue, bucket_counts, bucket_indexes,
};
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

    /// The digest of one sample, of whatever kind, of the series whose label set has the digest `self`.
    pub fn of_value(self, timestamp_ms: i64, value: &SampleValue) -> Self {
        match value {
            SampleValue::Float(value) => self.of_sample(timestamp_ms, *value),
            SampleValue::Histogram(histogram) => self.of_histogram(timestamp_ms, histogram),
            SampleValue::FloatHistogram(histogram) => self.of_float_histogram(timestamp_ms, histogram),
        }
    }

    /// The digest of one histogram sample with integer counts.
    pub fn of_histogram(self, timestamp_ms: i64, histogram: &Histogram) -> Self {
        let mut bytes = self.start_histogram(timestamp_ms, 1, histogram.is_stale());
        if !histogram.is_stale() {
            let numbers = [histogram.zero_count, histogram.count, histogram.sum.to_bits()];
            put_head(&mut bytes, histogram.schema, histogram.zero_threshold, numbers, &histogram.custom_values);
            for (spans, deltas) in [
                (&histogram.positive_spans, &histogram.positive_deltas),
                (&histogram.negative_spans, &histogram.negative_deltas),
            ] {
                let filled = bucket_counts(deltas).map(|count| (count != 0, count as u64));
                put_buckets(&mut bytes, spans, filled);
            }
        }
        Digest(xxh3_128(&bytes))
    }

    /// The digest of one histogram sample with float counts.
    pub fn of_float_histogram(self, timestamp_ms: i64, histogram: &FloatHistogram) -> Self {
        let mut bytes = self.start_histogram(timestamp_ms, 2, histogram.is_stale());
        if !histogram.is_stale() {
            let numbers = [histogram.zero_count, histogram.count, histogram.sum].map(f64::to_bits);
            put_head(&mut bytes, histogram.schema, histogram.zero_threshold, numbers, &histogram.custom_values);
            for (spans, buckets) in [
                (&histogram.positive_spans, &histogram.positive_buckets),
                (&histogram.negative_spans, &histogram.negative_buckets),
            ] {
                let filled = buckets.iter().map(|count| (*count != 0.0, count.to_bits()));
                put_buckets(&mut bytes, spans, filled);
            }
        }
        Digest(xxh3_128(&bytes))
    }

    fn start_histogram(self, timestamp_ms: i64, kind: u8, is_stale: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.0.to_le_bytes());
        bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
        bytes.extend_from_slice(&[kind, u8::from(!is_stale)]);
        bytes
    }

    /// Reads the 32 hex digits that [`Display`](fmt::Display) writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Digest)
    }
}

/// The bits of a number whose sign does not count when it is zero.
fn unsigned_zero(value: f64) -> u64 {
    if value == 0.0 { 0 } else { value.to_bits() }
}

/// Schema, zero threshold, then zero count, count and sum, then the boundaries of custom buckets.
fn put_head(bytes: &mut Vec<u8>, schema: i32, zero_threshold: f64, numbers: [u64; 3], custom_values: &[f64]) {
    bytes.extend_from_slice(&schema.to_le_bytes());
    bytes.extend_from_slice(&unsigned_zero(zero_threshold).to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    if schema == CUSTOM_BUCKETS_SCHEMA {
        bytes.extend_from_slice(&(custom_values.len() as u32).to_le_bytes());
        for &bound in custom_values {
            bytes.extend_from_slice(&unsigned_zero(bound).to_le_bytes());
        }
    }
}

/// The buckets that are not empty: `counts` says of each bucket whether it is one, and its count.
fn put_buckets(bytes: &mut Vec<u8>, spans: &[BucketSpan], counts: impl Iterator<Item = (bool, u64)>) {
    let place = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let mut filled = 0u32;
    // The counts come first: they end where there are fewer than the spans say.
    for ((is_filled, count), index) in counts.zip(bucket_indexes(spans)) {
        if is_filled {
            filled += 1;
            bytes.extend_from_slice(&(index as i32).to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
    }
    bytes[place..place + 4].copy_from_slice(&filled.to_le_bytes());
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
    fn digest_of_a_histogram_depends_on_its_buckets_and_kind_but_not_on_spans_or_hints() {
        use crate::model::CounterResetHint;
        let span = |offset, length| BucketSpan { offset, length };
        let histogram = Histogram {
            schema: 2,
            count: 5,
            sum: 1.5,
            positive_spans: vec![span(-1, 1), span(1, 1)],
            positive_deltas: vec![3, -1],
            ..Histogram::default()
        };
        let of = |histogram: &Histogram| Digest::ZERO.of_value(1, &SampleValue::Histogram(Box::new(histogram.clone())));
        let of_float = |histogram: &Histogram| Digest::ZERO.of_float_histogram(1, &histogram.to_float());
        let same = Histogram {
            positive_spans: vec![span(-2, 0), span(1, 2), span(0, 2)],
            positive_deltas: vec![3, -3, 2, -2],
            negative_spans: vec![span(7, 1)],
            negative_deltas: vec![0],
            counter_reset_hint: CounterResetHint::Reset,
            zero_threshold: -0.0,
            custom_values: vec![1.0],
            ..histogram.clone()
        };
        assert_eq!(of(&histogram), of(&same));
        assert_eq!(of_float(&histogram), of_float(&same));
        let mut digests = vec![of(&histogram), of_float(&histogram), Digest::ZERO.of_sample(1, 1.5)];
        digests.push(Digest::ZERO.of_histogram(2, &histogram));
        for other in [
            Histogram { schema: 3, ..histogram.clone() },
            Histogram { zero_threshold: 0.5, ..histogram.clone() },
            Histogram { zero_count: 1, ..histogram.clone() },
            Histogram { count: 6, ..histogram.clone() },
            Histogram { sum: 1.25, ..histogram.clone() },
            Histogram { positive_deltas: vec![3, -2], ..histogram.clone() },
            Histogram { positive_spans: vec![span(-1, 2)], ..histogram.clone() },
            Histogram {
                negative_spans: histogram.positive_spans.clone(),
                negative_deltas: histogram.positive_deltas.clone(),
                positive_spans: Vec::new(),
                positive_deltas: Vec::new(),
                ..histogram.clone()
            },
            Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..histogram.clone() },
            Histogram { schema: CUSTOM_BUCKETS_SCHEMA, custom_values: vec![1.0], ..histogram.clone() },
            Histogram::stale(),
        ] {
            digests.push(of(&other));
        }
        let count = digests.len();
        digests.sort_unstable_by_key(|digest| digest.0);
        digests.dedup();
        assert_eq!(digests.len(), count);
        assert_eq!(of(&Histogram::stale()), of(&Histogram { count: 9, ..Histogram::stale() }));
        assert_ne!(of(&Histogram::stale()), of_float(&Histogram::stale()));
    }

    #[test]
    fn digest_as_hex_reads_back() {
        let digest = Digest(0x00ff_1234);
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("12"), None);
        assert_eq!(Digest::from_hex(&"+".repeat(32)), None);
    }
}
