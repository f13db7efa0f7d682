//! One float of a run, coded as the XOR with the one before it: the value code of XOR chunks, used once for each field
//! of a histogram.
//!
//! Source: Prometheus `tsdb/chunkenc/xor.go`, `xorWrite` and `xorRead`. Format: `docs/format/chunk.md`.

use crate::encoding::Corruption;
use crate::encoding::bits::{BitReader, BitWriter};

/// No value window was written yet.
const NO_WINDOW: u8 = 0xff;

/// Largest count of leading zeros that the five bits for it can hold.
const LEADING_MAX: u8 = 31;

/// The last value of a run and the window of bits in which it differed. The same for a writer and a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct XorValue {
    pub(super) bits: u64,
    leading: u8,
    trailing: u8,
}

impl XorValue {
    /// The first value of a run that is written; its bits are written by the caller.
    pub(super) fn first(bits: u64) -> Self {
        XorValue { bits, leading: NO_WINDOW, trailing: 0 }
    }

    /// The first value of a run that is read. A window that is used before one was set has all 64 bits: Prometheus
    /// writes so in a chunk that it goes on with after a restart.
    pub(super) fn first_read(bits: u64) -> Self {
        XorValue { bits, leading: 0, trailing: 0 }
    }

    #[inline]
    pub(super) fn write(&mut self, bits: &mut BitWriter, out: &mut Vec<u8>, value_bits: u64) {
        let xor = value_bits ^ self.bits;
        self.bits = value_bits;
        if xor == 0 {
            return bits.bit(out, false);
        }
        let leading = (xor.leading_zeros() as u8).min(LEADING_MAX);
        let trailing = xor.trailing_zeros() as u8;
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
            bits.bits(out, 0b10, 2);
        } else {
            (self.leading, self.trailing) = (leading, trailing);
            // 64 significant bits are written as 0: six bits hold no more.
            let significant = u64::from(64 - leading - trailing) & 0x3f;
            bits.bits(out, 0b11 << 11 | u64::from(leading) << 6 | significant, 13);
        }
        bits.bits(out, xor >> self.trailing, u32::from(64 - self.leading - self.trailing));
    }

    #[inline]
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption> {
        if reader.bit()? {
            if reader.bit()? {
                return self.read_in_new_window(reader);
            }
            self.read_in_window(reader)?;
        }
        Ok(())
    }

    /// Reads the significant bits of the window.
    #[inline]
    pub(super) fn read_in_window(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption> {
        self.bits ^= reader.bits(u32::from(64 - self.leading - self.trailing))? << self.trailing;
        Ok(())
    }

    /// Reads a window and the significant bits in it.
    #[inline]
    pub(super) fn read_in_new_window(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corruption> {
        let window = reader.bits(11)?;
        let leading = (window >> 6) as u8;
        let significant = match (window & 0x3f) as u8 {
            0 => 64,
            significant => significant,
        };
        let Some(trailing) = 64u8.checked_sub(leading + significant) else {
            return Err(Corruption { what: "value window of a chunk is wider than 64 bits", offset: 0 });
        };
        (self.leading, self.trailing) = (leading, trailing);
        self.read_in_window(reader)
    }
}
