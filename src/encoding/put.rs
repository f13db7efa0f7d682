//! Appends integers and slices to a byte vector, in the layouts that [`Cursor`](super::Cursor) reads.

/// Appends a big-endian 16-bit integer.
#[inline]
pub fn u16_be(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a big-endian 32-bit integer.
#[inline]
pub fn u32_be(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a big-endian 64-bit integer.
#[inline]
pub fn u64_be(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends an unsigned LEB128 integer.
#[inline]
pub fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag-coded signed integer.
#[inline]
pub fn varint(out: &mut Vec<u8>, value: i64) {
    uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a slice behind its length as an unsigned varint.
#[inline]
pub fn uvarint_slice(out: &mut Vec<u8>, slice: &[u8]) {
    uvarint(out, slice.len() as u64);
    out.extend_from_slice(slice);
}
