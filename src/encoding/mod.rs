//! Pure bytes: bounds-checked reading, writing, variable-length integers, bit streams, checksums; and texts as Go writes
//! them.
//!
//! Everything that reads here takes its input for hostile: a short or absurd input is a [`Corruption`], never a panic.

pub mod bits;
pub mod cursor;
pub mod go_float;
pub mod protobuf;
pub mod put;
pub mod quote;

pub use cursor::{Corruption, Cursor};
pub use quote::{quote, quote_bytes};

/// CRC-32C (Castagnoli), the checksum of every Prometheus file format.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC-32C of what had the checksum `crc`, and `bytes` behind it.
pub fn crc32c_more(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}
