//! The two kinds of counts, and how a run of each is coded: integers as the change of their change, floats as the XOR
//! with the one before. All else is the same in both kinds of chunks.

use crate::chunk::varbit;
use crate::chunk::xor_value::XorValue;
use crate::encoding::Corruption;
use crate::encoding::bits::{BitReader, BitWriter};
use crate::model::{ChunkEncoding, CounterResetHint, FloatHistogram, Histogram, SampleValue};

use super::layout::Layout;

/// A count of observations: `u64` or `f64`.
pub(super) trait Count: Copy + PartialOrd + Default + std::fmt::Debug {
    /// How a run of counts is coded.
    type Coder: Coder;
    /// The encoding of chunks of this kind.
    const ENCODING: ChunkEncoding;
    /// Whether a chunk header tells a change of the buckets from a chunk that merely follows another.
    const TELLS_CHANGES: bool;

    /// What is coded: an integer less the one before it, a float's bits.
    fn raw(self, before: Self) -> u64;

    /// The count that [`raw`](Count::raw) stands for.
    fn from_raw(raw: u64, before: Self) -> Self;

    /// As a float.
    fn to_float(self) -> f64;

    /// A sample's value.
    fn value(sample: DecodedSample<'_, Self>) -> SampleValue;
}

/// A sample as a chunk's reader has it. Counts are raw.
pub(super) struct DecodedSample<'a, C: Count> {
    pub(super) layout: &'a Layout,
    pub(super) hint: CounterResetHint,
    pub(super) sum: f64,
    pub(super) count: C,
    pub(super) zero_count: C,
    pub(super) positive: &'a [C::Coder],
    pub(super) negative: &'a [C::Coder],
}

impl<C: Count> DecodedSample<'_, C> {
    /// With float counts, as queries want it.
    pub(super) fn float_histogram(&self) -> FloatHistogram {
        let counts = |coders| counts::<C>(coders).map(C::to_float).collect();
        FloatHistogram {
            schema: self.layout.schema,
            counter_reset_hint: self.hint,
            zero_threshold: self.layout.zero_threshold,
            zero_count: self.zero_count.to_float(),
            count: self.count.to_float(),
            sum: self.sum,
            positive_spans: self.layout.positive_spans.clone(),
            positive_buckets: counts(self.positive),
            negative_spans: self.layout.negative_spans.clone(),
            negative_buckets: counts(self.negative),
            custom_values: self.layout.custom_values.clone(),
        }
    }
}

/// The counts of one side's buckets.
pub(super) fn counts<'a, C: Count + 'a>(coders: &'a [C::Coder]) -> impl Iterator<Item = C> + 'a {
    coders.iter().scan(C::default(), |before, coder| {
        *before = C::from_raw(coder.raw(), *before);
        Some(*before)
    })
}

/// One number of the samples of a chunk, from sample to sample. The same for a writer and a reader.
pub(super) trait Coder: Copy + std::fmt::Debug {
    /// The fewest bits that the first number takes.
    const FIRST_BITS: usize;

    fn write_first_count(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self;
    fn write_first_bucket(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self;
    fn write(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64);
    /// Writes the count of a staleness marker.
    fn write_stale(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>);

    fn read_first_count(reader: &mut BitReader<'_>) -> Result<Self, Corruption>;
    fn read_first_bucket(reader: &mut BitReader<'_>) -> Result<Self, Corruption>;
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption>;

    fn raw(&self) -> u64;
}

/// An integer and its last change.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangeOfChange {
    raw: u64,
    change: u64,
}

impl Coder for ChangeOfChange {
    const FIRST_BITS: usize = 1;

    fn write_first_count(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self {
        varbit::write_uint(bits, out, raw);
        ChangeOfChange { raw, change: 0 }
    }

    fn write_first_bucket(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self {
        varbit::write_int(bits, out, raw as i64);
        ChangeOfChange { raw, change: 0 }
    }

    #[inline]
    fn write(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) {
        let change = raw.wrapping_sub(self.raw);
        varbit::write_int(bits, out, change.wrapping_sub(self.change) as i64);
        *self = ChangeOfChange { raw, change };
    }

    fn write_stale(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        // Only further markers can follow in the chunk, so the state does not matter.
        varbit::write_int(bits, out, 0);
    }

    fn read_first_count(reader: &mut BitReader<'_>) -> Result<Self, Corruption> {
        Ok(ChangeOfChange { raw: varbit::read_uint(reader)?, change: 0 })
    }

    fn read_first_bucket(reader: &mut BitReader<'_>) -> Result<Self, Corruption> {
        Ok(ChangeOfChange { raw: varbit::read_int(reader)? as u64, change: 0 })
    }

    #[inline]
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption> {
        self.change = self.change.wrapping_add(varbit::read_int(reader)? as u64);
        self.raw = self.raw.wrapping_add(self.change);
        Ok(())
    }

    #[inline]
    fn raw(&self) -> u64 {
        self.raw
    }
}

impl Coder for XorValue {
    const FIRST_BITS: usize = 64;

    fn write_first_count(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self {
        bits.bits(out, raw, 64);
        XorValue::first(raw)
    }

    fn write_first_bucket(bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) -> Self {
        Self::write_first_count(bits, out, raw)
    }

    #[inline]
    fn write(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>, raw: u64) {
        XorValue::write(self, bits, out, raw);
    }

    fn write_stale(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        XorValue::write(self, bits, out, 0);
    }

    fn read_first_count(reader: &mut BitReader<'_>) -> Result<Self, Corruption> {
        Ok(XorValue::first_read(reader.bits(64)?))
    }

    fn read_first_bucket(reader: &mut BitReader<'_>) -> Result<Self, Corruption> {
        Self::read_first_count(reader)
    }

    #[inline]
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption> {
        XorValue::read(self, reader)
    }

    #[inline]
    fn raw(&self) -> u64 {
        self.bits
    }
}

impl Count for u64 {
    type Coder = ChangeOfChange;
    const ENCODING: ChunkEncoding = ChunkEncoding::Histogram;
    const TELLS_CHANGES: bool = true;

    #[inline]
    fn raw(self, before: u64) -> u64 {
        self.wrapping_sub(before)
    }

    #[inline]
    fn from_raw(raw: u64, before: u64) -> u64 {
        before.wrapping_add(raw)
    }

    #[inline]
    fn to_float(self) -> f64 {
        self as f64
    }

    fn value(sample: DecodedSample<'_, u64>) -> SampleValue {
        let deltas = |coders: &[ChangeOfChange]| coders.iter().map(|coder| coder.raw as i64).collect();
        SampleValue::Histogram(Box::new(Histogram {
            schema: sample.layout.schema,
            counter_reset_hint: sample.hint,
            zero_threshold: sample.layout.zero_threshold,
            zero_count: sample.zero_count,
            count: sample.count,
            sum: sample.sum,
            positive_spans: sample.layout.positive_spans.clone(),
            positive_deltas: deltas(sample.positive),
            negative_spans: sample.layout.negative_spans.clone(),
            negative_deltas: deltas(sample.negative),
            custom_values: sample.layout.custom_values.clone(),
        }))
    }
}

impl Count for f64 {
    type Coder = XorValue;
    const ENCODING: ChunkEncoding = ChunkEncoding::FloatHistogram;
    const TELLS_CHANGES: bool = false;

    #[inline]
    fn raw(self, _before: f64) -> u64 {
        self.to_bits()
    }

    #[inline]
    fn from_raw(raw: u64, _before: f64) -> f64 {
        f64::from_bits(raw)
    }

    #[inline]
    fn to_float(self) -> f64 {
        self
    }

    fn value(sample: DecodedSample<'_, f64>) -> SampleValue {
        SampleValue::FloatHistogram(Box::new(sample.float_histogram()))
    }
}
