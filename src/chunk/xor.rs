//! The XOR encoding of float samples, bit for bit as Prometheus writes it.
//!
//! A chunk starts with its sample count (16 bits, big-endian). The first sample is stored whole, the second as its time
//! delta and value XOR, every other one as the change of the time delta (0, 14, 17, 20 or 64 bits behind a prefix code)
//! and the XOR of its value with the one before, which re-uses the last window of significant bits where it fits.
//!
//! [`XorAppender`] is the part of a writer's state that cannot be had from the bytes cheaply. It is a few bytes, so that
//! millions of open chunks can keep one each; the last sample, which the owner knows anyway, is passed in.
//!
//! Source: Gorilla (Pelkonen et al., VLDB 2015) section 4.1; Prometheus `tsdb/chunkenc/xor.go`.
//! Format: `docs/format/chunk.md`.

use super::{read_uvarint, read_varint};
use crate::encoding::bits::{BitReader, BitWriter};
use crate::encoding::{Corruption, put};
use crate::model::TimeRange;
use crate::storage::Column;

/// Bytes of the sample count in front of every chunk.
pub const HEADER_BYTES: usize = 2;

/// Most bytes that one sample adds.
pub const SAMPLE_BYTES_MAX: usize = 20;

/// A chunk longer than this takes no further sample: Prometheus' bound of 1 KiB for a chunk, less one more sample.
pub const FULL_BYTES: usize = 1024 - 19;

/// No value window was written yet.
const NO_WINDOW: u8 = 0xff;

/// Largest count of leading zeros that the five bits for it can hold.
const LEADING_MAX: u8 = 31;

/// Widths of the time codes behind the prefixes `10`, `110` and `1110`.
const TIME_WIDTHS: [u32; 3] = [14, 17, 20];

/// The state of a chunk that is being written, without its bytes and its last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XorAppender {
    /// Time between the last two samples.
    time_delta: u64,
    count: u16,
    leading: u8,
    trailing: u8,
    bits: BitWriter,
}

/// Whether `delta` fits a time code of `width` bits. The range leans to the positive side by one.
#[inline]
fn fits(delta: i64, width: u32) -> bool {
    let half = 1i64 << (width - 1);
    -(half - 1) <= delta && delta <= half
}

impl XorAppender {
    /// Starts a chunk in `out` with its first sample. The count in the header is behind until
    /// [`write_count`](XorAppender::write_count), as the start of a chunk that grows is seldom in a processor's cache.
    pub fn start(out: &mut Vec<u8>, timestamp_ms: i64, value_bits: u64) -> Self {
        debug_assert!(out.is_empty());
        out.reserve_exact(HEADER_BYTES + SAMPLE_BYTES_MAX);
        put::u16_be(out, 1);
        put::varint(out, timestamp_ms);
        put::u64_be(out, value_bits);
        XorAppender { time_delta: 0, count: 1, leading: NO_WINDOW, trailing: 0, bits: BitWriter::new() }
    }

    /// Appends a sample to the chunk in `out`, whose last sample was `(last_ms, last_bits)`.
    ///
    /// The chunk grows its memory in small steps, as an open chunk is seldom far from its final size.
    #[inline]
    pub fn append(&mut self, out: &mut Vec<u8>, last_ms: i64, last_bits: u64, timestamp_ms: i64, value_bits: u64) {
        if out.capacity() - out.len() < SAMPLE_BYTES_MAX {
            out.reserve_exact(SAMPLE_BYTES_MAX + (out.len() / 8).max(12));
        }
        let delta = timestamp_ms.wrapping_sub(last_ms) as u64;
        // The code so far, and its length. Everything but a 64-bit time code is gathered before it is written.
        let (mut code, mut width) = (0u64, 1u32);
        if self.count == 1 {
            put::uvarint(out, delta);
            (code, width) = (0, 0);
        } else {
            let change = delta.wrapping_sub(self.time_delta) as i64;
            if change == 0 {
            } else if fits(change, TIME_WIDTHS[0]) {
                (code, width) = (0b10 << 14 | change as u64 & 0x3fff, 16);
            } else if fits(change, TIME_WIDTHS[1]) {
                (code, width) = (0b110 << 17 | change as u64 & 0x1_ffff, 20);
            } else if fits(change, TIME_WIDTHS[2]) {
                (code, width) = (0b1110 << 20 | change as u64 & 0xf_ffff, 24);
            } else {
                self.bits.bits(out, 0b1111, 4);
                self.bits.bits(out, change as u64, 64);
                (code, width) = (0, 0);
            }
        }
        self.time_delta = delta;

        let xor = value_bits ^ last_bits;
        if xor == 0 {
            self.bits.bits(out, code << 1, width + 1);
        } else {
            let leading = (xor.leading_zeros() as u8).min(LEADING_MAX);
            let trailing = xor.trailing_zeros() as u8;
            if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
                self.bits.bits(out, code << 2 | 0b10, width + 2);
            } else {
                (self.leading, self.trailing) = (leading, trailing);
                // 64 significant bits are written as 0: six bits hold no more.
                let significant = u64::from(64 - leading - trailing) & 0x3f;
                self.bits.bits(out, code << 13 | 0b11 << 11 | u64::from(leading) << 6 | significant, width + 13);
            }
            self.bits.bits(out, xor >> self.trailing, u32::from(64 - self.leading - self.trailing));
        }
        self.count = self.count.wrapping_add(1);
    }

    /// How many samples the chunk has.
    #[inline]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Brings the header of the chunk, or of a copy of it, up to date.
    pub fn write_count(&self, chunk: &mut [u8]) {
        if let Some(header) = chunk.first_chunk_mut() {
            *header = self.count.to_be_bytes();
        }
    }
}

/// Reads the samples of a chunk in order. Timestamps of a hostile chunk may be any.
#[derive(Debug, Clone)]
pub struct XorIterator<'a> {
    reader: BitReader<'a>,
    count: u16,
    read: u16,
    timestamp_ms: i64,
    time_delta: u64,
    value_bits: u64,
    trailing: u8,
    significant: u8,
}

impl<'a> XorIterator<'a> {
    /// An iterator over the samples of `chunk`.
    pub fn new(chunk: &'a [u8]) -> Result<Self, Corruption> {
        let Some((header, data)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Corruption { what: "chunk has no header", offset: 0 });
        };
        Ok(XorIterator {
            reader: BitReader::new(data),
            count: u16::from_be_bytes(*header),
            read: 0,
            timestamp_ms: 0,
            time_delta: 0,
            value_bits: 0,
            trailing: 0,
            // A window that is used before one was set has all bits: Prometheus writes so in a chunk that it goes on
            // with after a restart.
            significant: 64,
        })
    }

    /// How many samples are still to come.
    pub fn remaining(&self) -> usize {
        usize::from(self.count - self.read)
    }

    /// The next sample's time and value bits, or `None` behind the last.
    #[inline]
    pub fn next_sample(&mut self) -> Result<Option<(i64, u64)>, Corruption> {
        if self.read >= self.count {
            return Ok(None);
        }
        match self.read {
            0 => {
                self.timestamp_ms = read_varint(&mut self.reader)?;
                self.value_bits = self.reader.bits(64)?;
            }
            1 => {
                self.time_delta = read_uvarint(&mut self.reader)?;
                self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
                self.read_value()?;
            }
            _ => {
                if self.reader.bit()? {
                    let change = self.read_time_change()?;
                    self.time_delta = self.time_delta.wrapping_add(change as u64);
                }
                self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
                self.read_value()?;
            }
        }
        self.read += 1;
        Ok(Some((self.timestamp_ms, self.value_bits)))
    }

    /// The time code behind its first, set bit.
    fn read_time_change(&mut self) -> Result<i64, Corruption> {
        for width in TIME_WIDTHS {
            if !self.reader.bit()? {
                return Ok(sign(self.reader.bits(width)?, width));
            }
        }
        Ok(self.reader.bits(64)? as i64)
    }

    /// Takes a new window from its 11 bits: leading zeros and significant bits.
    #[inline]
    fn set_window(&mut self, window: u64) -> Result<(), Corruption> {
        let leading = (window >> 6) as u8;
        self.significant = match (window & 0x3f) as u8 {
            0 => 64,
            significant => significant,
        };
        let Some(trailing) = 64u8.checked_sub(leading + self.significant) else {
            return Err(Corruption { what: "value window of a chunk is wider than 64 bits", offset: HEADER_BYTES });
        };
        self.trailing = trailing;
        Ok(())
    }

    #[inline]
    fn read_value(&mut self) -> Result<(), Corruption> {
        if !self.reader.bit()? {
            return Ok(());
        }
        if self.reader.bit()? {
            let window = self.reader.bits(11)?;
            self.set_window(window)?;
        }
        let xor = self.reader.bits(u32::from(self.significant))?;
        self.value_bits ^= xor << self.trailing;
        Ok(())
    }
}

/// The signed number in `width` bits of a time code; the range leans to the positive side by one.
#[inline]
fn sign(raw: u64, width: u32) -> i64 {
    let raw = raw as i64;
    if raw > 1 << (width - 1) { raw - (1 << width) } else { raw }
}

/// Chunks up to this length are decoded from a padded copy. The head writes none that are longer.
const PADDED_CHUNK_BYTES: usize = 1264;
/// More than one sample takes, so that a read that begins within the chunk ends within the padding.
const PADDING_BYTES: usize = 32;

/// A chunk's bits behind its header, with zeros behind them, so that reads need no care for the end.
struct PaddedBits {
    bytes: [u8; PADDED_CHUNK_BYTES + PADDING_BYTES],
    position: usize,
    length: usize,
}

impl PaddedBits {
    fn new(data: &[u8]) -> Option<Self> {
        let mut bytes = [0; PADDED_CHUNK_BYTES + PADDING_BYTES];
        bytes.get_mut(..data.len()).filter(|_| data.len() <= PADDED_CHUNK_BYTES)?.copy_from_slice(data);
        Some(PaddedBits { bytes, position: 0, length: data.len() * 8 })
    }

    /// The next 57 bits or more, left-aligned.
    #[inline]
    fn peek(&self) -> u64 {
        let byte = self.position / 8;
        let word =
            self.bytes.get(byte..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_be_bytes(*word));
        word << (self.position % 8)
    }

    #[inline]
    fn take(&mut self, count: u32) -> u64 {
        if count > 56 {
            let high = self.take(count - 32);
            return high << 32 | self.take(32);
        }
        if count == 0 {
            return 0;
        }
        let value = self.peek() >> (64 - count);
        self.position += count as usize;
        value
    }
}

/// Appends the samples of `chunk` that lie in `range` to `column`. Samples before a damaged place are appended.
pub fn decode_into(chunk: &[u8], range: TimeRange, column: &mut Column) -> Result<(), Corruption> {
    let mut samples = XorIterator::new(chunk)?;
    // Two bits is the least that a sample takes, so a false count reserves no more than the bytes allow.
    let expected = samples.remaining().min(chunk.len() * 4);
    column.timestamps_ms.reserve(expected);
    column.values.reserve(expected);
    let mut padded = None;
    while let Some((timestamp_ms, value_bits)) = samples.next_sample()? {
        if timestamp_ms > range.end_ms {
            return Ok(());
        }
        if timestamp_ms >= range.start_ms {
            column.push(timestamp_ms, f64::from_bits(value_bits));
        }
        if samples.read == 2 {
            padded = chunk.get(HEADER_BYTES..).and_then(PaddedBits::new);
            if padded.is_some() {
                break;
            }
        }
    }
    match padded {
        Some(mut bits) => {
            bits.position = samples.reader.bits_read();
            samples.decode_rest(&mut bits, range, column)
        }
        None => Ok(()),
    }
}

impl XorIterator<'_> {
    /// Decodes all samples behind the second from `bits`, which stands there. The same as
    /// [`next_sample`](XorIterator::next_sample), with one test for the end of the bits for each sample.
    fn decode_rest(mut self, bits: &mut PaddedBits, range: TimeRange, column: &mut Column) -> Result<(), Corruption> {
        for _ in self.read..self.count {
            let mut next = bits.peek();
            // The time code, by the length of its prefix of ones.
            let (change, width) = match next.leading_ones() {
                0 => (0, 1),
                1 => (sign(next << 2 >> 50, 14), 16),
                2 => (sign(next << 3 >> 47, 17), 20),
                3 => (sign(next << 4 >> 44, 20), 24),
                _ => {
                    bits.position += 4;
                    (bits.take(64) as i64, 0)
                }
            };
            if width > 0 {
                bits.position += width;
                next <<= width;
            } else {
                next = bits.peek();
            }
            self.time_delta = self.time_delta.wrapping_add(change as u64);
            self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
            // The value code: its prefix, and a new window if there is one, are among the bits at hand.
            if next >> 63 == 0 {
                bits.position += 1;
            } else {
                if next >> 62 == 0b11 {
                    self.set_window(next << 2 >> 53)?;
                    bits.position += 13;
                } else {
                    bits.position += 2;
                }
                self.value_bits ^= bits.take(u32::from(self.significant)) << self.trailing;
            }
            if bits.position > bits.length {
                return Err(Corruption { what: "bit stream ends early", offset: bits.length / 8 });
            }
            if self.timestamp_ms > range.end_ms {
                break;
            }
            if self.timestamp_ms >= range.start_ms {
                column.push(self.timestamp_ms, f64::from_bits(self.value_bits));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(samples: &[(i64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        let (first, rest) = samples.split_first().unwrap();
        let mut appender = XorAppender::start(&mut out, first.0, first.1);
        let mut last = *first;
        for &(timestamp_ms, bits) in rest {
            appender.append(&mut out, last.0, last.1, timestamp_ms, bits);
            last = (timestamp_ms, bits);
        }
        appender.write_count(&mut out);
        out
    }

    fn decode(chunk: &[u8]) -> Result<Vec<(i64, u64)>, Corruption> {
        let mut samples = XorIterator::new(chunk)?;
        let mut out = Vec::new();
        while let Some(sample) = samples.next_sample()? {
            out.push(sample);
        }
        Ok(out)
    }

    #[test]
    fn chunk_of_known_samples_has_the_documented_bytes() {
        // Worked by hand from the format; the same bytes stand in docs/format/chunk.md.
        let chunk = encode(&[
            (1000, 1.5f64.to_bits()),
            (16_000, 1.5f64.to_bits()),
            (31_000, 2.5f64.to_bits()),
            (46_001, 2.5f64.to_bits()),
        ]);
        let hex: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let document = include_str!("../../docs/format/chunk.md");
        let documented = document.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(hex, documented.split_whitespace().collect::<String>());
        assert_eq!(decode(&chunk).unwrap().len(), 4);
    }

    #[test]
    fn time_codes_at_the_edges_of_their_widths_read_back() {
        for change in [0, 1, -1, 8191, 8192, 8193, -8191, -8192, 65_535, 65_536, 65_537, -65_535, -65_536, 524_288]
            .into_iter()
            .flat_map(|change: i64| [change, change + 1, -change, -change - 1])
        {
            let samples = [(0, 0), (1_000_000, 0), (2_000_000 + change, 0), (9_000_000, 1)];
            assert_eq!(decode(&encode(&samples)).unwrap(), samples, "{change}");
        }
    }

    #[test]
    fn chunk_count_larger_than_its_bits_is_an_error() {
        let mut chunk = encode(&[(1, 1), (2, 2)]);
        chunk[..2].copy_from_slice(&u16::MAX.to_be_bytes());
        assert!(decode(&chunk).is_err());
        assert!(decode(&[0]).is_err());
    }

    #[test]
    fn decode_into_a_range_keeps_both_ends() {
        let samples: Vec<_> = (0..10).map(|i| (i * 10, i as u64)).collect();
        let mut column = Column::default();
        decode_into(&encode(&samples), TimeRange::new(20, 40), &mut column).unwrap();
        assert_eq!(column.timestamps_ms, [20, 30, 40]);
    }

    fn value_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0u64..4).prop_map(|count| (count as f64).to_bits()),
            Just(crate::model::STALE_NAN_BITS),
            Just(f64::NAN.to_bits()),
            Just((-0.0f64).to_bits()),
            Just(f64::INFINITY.to_bits()),
            Just(u64::MAX),
        ]
    }

    proptest! {
        #[test]
        fn prop_samples_read_back_bit_for_bit(
            start in prop_oneof![any::<i64>(), Just(i64::MIN), 0i64..1_000_000],
            steps in prop::collection::vec(
                (prop_oneof![any::<u64>(), 0u64..70_000, Just(15_000u64), 0u64..1_100_000], value_bits()), 1..150),
        ) {
            let mut timestamp_ms = start;
            let samples: Vec<(i64, u64)> = steps.into_iter().map(|(step, bits)| {
                let sample = (timestamp_ms, bits);
                timestamp_ms = timestamp_ms.wrapping_add(step as i64);
                sample
            }).collect();
            let chunk = encode(&samples);
            prop_assert_eq!(&decode(&chunk).unwrap(), &samples);
            let mut column = Column::default();
            if samples.is_sorted_by_key(|sample| sample.0) {
                decode_into(&chunk, TimeRange::ALL, &mut column).unwrap();
                let decoded = column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits()));
                prop_assert!(decoded.eq(samples.iter().copied()));
            }
        }

        #[test]
        fn prop_both_decoders_agree_on_damaged_chunks(
            values in prop::collection::vec(value_bits(), 3..150),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            length in any::<prop::sample::Index>(),
        ) {
            let samples: Vec<(i64, u64)> = (0i64..).map(|i| i * i * 1000).zip(values).collect();
            let mut chunk = encode(&samples);
            for (place, byte) in damage {
                let place = place.index(chunk.len());
                chunk[place] = byte;
            }
            chunk.truncate(chunk.len().saturating_sub(length.index(20)));
            let mut slow = Vec::new();
            let mut iterator = XorIterator::new(&chunk);
            let is_whole = loop {
                match iterator.as_mut().map(XorIterator::next_sample) {
                    Ok(Ok(Some(sample))) => slow.push(sample),
                    Ok(Ok(None)) => break true,
                    Ok(Err(_)) | Err(_) => break false,
                }
            };
            let mut column = Column::default();
            prop_assert_eq!(decode_into(&chunk, TimeRange::ALL, &mut column).is_ok(), is_whole);
            let fast = column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits()));
            prop_assert!(fast.eq(slow));
        }

        #[test]
        fn prop_any_bytes_are_samples_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut column = Column::default();
            let _ = decode_into(&bytes, TimeRange::ALL, &mut column);
            prop_assert!(column.len() <= bytes.len() * 8);
        }
    }
}
