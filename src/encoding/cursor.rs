//! A bounds-checked reader over a slice of bytes.

/// What was wrong with some bytes. The caller adds where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Corruption {
    /// What was found or missing, as a constant phrase.
    pub what: &'static str,
    /// Offset in the bytes that were being read.
    pub offset: usize,
}

/// Reads integers and slices from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes that are left.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Whether all bytes were read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.position >= self.bytes.len()
    }

    /// An error that points at the next byte.
    #[cold]
    pub fn corrupt(&self, what: &'static str) -> Corruption {
        Corruption { what, offset: self.position }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Corruption> {
        match self.bytes.get(self.position..).and_then(|rest| rest.get(..count)) {
            Some(slice) => {
                self.position += count;
                Ok(slice)
            }
            None => Err(self.corrupt("input ends early")),
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corruption> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Corruption> {
        match self.bytes.get(self.position) {
            Some(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            None => Err(self.corrupt("input ends early")),
        }
    }

    /// A big-endian 16-bit integer.
    #[inline]
    pub fn u16_be(&mut self) -> Result<u16, Corruption> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// A big-endian 32-bit integer.
    #[inline]
    pub fn u32_be(&mut self) -> Result<u32, Corruption> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A big-endian 64-bit integer.
    #[inline]
    pub fn u64_be(&mut self) -> Result<u64, Corruption> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An unsigned LEB128 integer of at most ten bytes, as Go's `binary.Uvarint` and protobuf write it.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u64, Corruption> {
        if let Some(&byte) = self.bytes.get(self.position)
            && byte < 0x80
        {
            self.position += 1;
            return Ok(u64::from(byte));
        }
        self.uvarint_long()
    }

    fn uvarint_long(&mut self) -> Result<u64, Corruption> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(self.corrupt("varint is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.corrupt("varint is longer than ten bytes"))
    }

    /// A zigzag-coded signed integer, as Go's `binary.Varint` writes it.
    #[inline]
    pub fn varint(&mut self) -> Result<i64, Corruption> {
        let raw = self.uvarint()?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    /// A slice behind its length as an unsigned varint.
    #[inline]
    pub fn uvarint_slice(&mut self) -> Result<&'a [u8], Corruption> {
        let start = self.position;
        let length = self.uvarint()?;
        if length > self.remaining() as u64 {
            return Err(Corruption { what: "length exceeds the input", offset: start });
        }
        self.take(length as usize)
    }

    /// UTF-8 text behind its length as an unsigned varint.
    pub fn uvarint_str(&mut self) -> Result<&'a str, Corruption> {
        let start = self.position;
        std::str::from_utf8(self.uvarint_slice()?)
            .map_err(|_utf8| Corruption { what: "text is not UTF-8", offset: start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::put;

    #[test]
    fn varints_written_and_read_back_are_equal() {
        for value in [0u64, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put::uvarint(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).uvarint(), Ok(value));
        }
        for value in [0i64, -1, 1, i64::MIN, i64::MAX, -300] {
            let mut bytes = Vec::new();
            put::varint(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
        }
    }

    #[test]
    fn uvarint_of_eleven_bytes_is_refused() {
        assert!(Cursor::new(&[0x80; 11]).uvarint().is_err());
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).uvarint().is_err());
    }

    #[test]
    fn slice_longer_than_the_input_is_refused() {
        assert!(Cursor::new(&[5, 1, 2]).uvarint_slice().is_err());
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).uvarint_slice().is_err());
    }
}
