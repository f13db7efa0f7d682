//! A stream of single bits, most significant first, as the chunk encodings need it.

use super::Corruption;

/// Appends bits to a byte vector. The number of bits used in the last byte is kept by the caller's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BitWriter {
    /// Unused bits of the last byte, 0 to 7.
    free_bits: u8,
}

impl BitWriter {
    /// A writer that starts at the next whole byte of its output.
    pub fn new() -> Self {
        BitWriter { free_bits: 0 }
    }

    /// Appends one bit.
    #[inline]
    pub fn bit(&mut self, out: &mut Vec<u8>, bit: bool) {
        self.bits(out, u64::from(bit), 1);
    }

    /// Appends the low `count` bits of `value`, highest first. `count` is at most 64.
    #[inline]
    pub fn bits(&mut self, out: &mut Vec<u8>, value: u64, count: u32) {
        debug_assert!(count <= 64);
        if count == 0 {
            return;
        }
        let mut left = count;
        let value = if count == 64 { value } else { value & ((1u64 << count) - 1) };
        if self.free_bits > 0
            && let Some(last) = out.last_mut()
        {
            let free = u32::from(self.free_bits);
            if left < free {
                *last |= (value << (free - left)) as u8;
                self.free_bits = (free - left) as u8;
                return;
            }
            left -= free;
            *last |= (value >> left) as u8;
            self.free_bits = 0;
        }
        while left >= 8 {
            left -= 8;
            out.push((value >> left) as u8);
        }
        if left > 0 {
            out.push((value << (8 - left)) as u8);
            self.free_bits = (8 - left) as u8;
        }
    }
}

/// Reads bits from a slice.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte that is not yet in `window`.
    position: usize,
    /// Bits that are read but not consumed, left-aligned.
    window: u64,
    window_bits: u32,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit.
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, position: 0, window: 0, window_bits: 0 }
    }

    /// Fills the window to at least 57 bits, or to all that is left.
    #[inline]
    fn fill(&mut self) {
        if let Some(word) = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            let take = (64 - self.window_bits) / 8;
            let word = u64::from_be_bytes(*word);
            let kept = if take == 8 { word } else { word & !(u64::MAX >> (take * 8)) };
            self.window |= kept.checked_shr(self.window_bits).unwrap_or(0);
            self.position += take as usize;
            self.window_bits += take * 8;
        } else {
            while self.window_bits <= 56
                && let Some(&byte) = self.bytes.get(self.position)
            {
                self.window |= u64::from(byte) << (56 - self.window_bits);
                self.window_bits += 8;
                self.position += 1;
            }
        }
    }

    /// How many bits were consumed.
    #[inline]
    pub fn bits_read(&self) -> usize {
        self.position * 8 - self.window_bits as usize
    }

    /// How many bits are left.
    #[inline]
    pub fn bits_left(&self) -> usize {
        (self.bytes.len() - self.position) * 8 + self.window_bits as usize
    }

    #[cold]
    fn ends_early(&self) -> Corruption {
        Corruption { what: "bit stream ends early", offset: self.bytes.len() }
    }

    /// The next bit.
    #[inline]
    pub fn bit(&mut self) -> Result<bool, Corruption> {
        if self.window_bits == 0 {
            self.fill();
            if self.window_bits == 0 {
                return Err(self.ends_early());
            }
        }
        let bit = self.window >> 63 == 1;
        self.window <<= 1;
        self.window_bits -= 1;
        Ok(bit)
    }

    /// The next `count` bits, at most 64, as the low bits of the result.
    #[inline]
    pub fn bits(&mut self, count: u32) -> Result<u64, Corruption> {
        debug_assert!(count <= 64);
        if count == 0 {
            return Ok(0);
        }
        if count > 56 {
            let high = self.bits(count - 32)?;
            return Ok(high << 32 | self.bits(32)?);
        }
        if self.window_bits < count {
            self.fill();
            if self.window_bits < count {
                return Err(self.ends_early());
            }
        }
        let value = self.window >> (64 - count);
        self.window <<= count;
        self.window_bits -= count;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_every_width_read_back_as_written() {
        let mut out = Vec::new();
        let mut writer = BitWriter::new();
        let mut expected = Vec::new();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for index in 0..5000u32 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let count = index % 65;
            let value = if count == 64 { state } else { state & ((1u64 << count) - 1) };
            writer.bits(&mut out, value, count);
            expected.push((value, count));
        }
        let mut reader = BitReader::new(&out);
        for (value, count) in expected {
            assert_eq!(reader.bits(count), Ok(value), "{count} bits");
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!(reader.bits(8), Ok(0xff));
        assert!(reader.bit().is_err());
        assert!(BitReader::new(&[1, 2]).bits(17).is_err());
    }
}
