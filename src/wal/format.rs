//! Constants of the log's format on disk.
//!
#![doc = include_str!("../../docs/format/wal.md")]

/// Bytes of a page. Fragments never cross a page.
pub const PAGE_BYTES: usize = 32 * 1024;

/// Bytes in front of a fragment's data: type, length, checksum.
pub const FRAGMENT_HEADER_BYTES: usize = 7;

/// Most bytes of data in one fragment.
pub const FRAGMENT_DATA_BYTES_MAX: usize = PAGE_BYTES - FRAGMENT_HEADER_BYTES;

/// The rest of the page is zero.
pub const FRAGMENT_PAGE_END: u8 = 0;
/// A whole record.
pub const FRAGMENT_FULL: u8 = 1;
/// The first part of a record.
pub const FRAGMENT_FIRST: u8 = 2;
/// A part of a record that is neither the first nor the last.
pub const FRAGMENT_MIDDLE: u8 = 3;
/// The last part of a record.
pub const FRAGMENT_LAST: u8 = 4;

/// Bits of a fragment's first byte that hold its type.
pub const FRAGMENT_TYPE_MASK: u8 = 0b0000_0111;
/// Bit of a fragment's first byte: the record is compressed with snappy (block format).
pub const FRAGMENT_SNAPPY: u8 = 0b0000_1000;
/// Bit of a fragment's first byte: the record is compressed with zstd.
pub const FRAGMENT_ZSTD: u8 = 0b0001_0000;
/// Bits of a fragment's first byte that are always zero.
pub const FRAGMENT_RESERVED: u8 = 0b1110_0000;

/// Bytes of a segment, unless configured otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;

/// Most bytes of a record, as it was before compression. A longer one is damage.
pub const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How much snappy can shrink at best: a copy of 64 bytes takes three, and a literal takes more than it gives.
pub const SNAPPY_RATIO_MAX: usize = 22;
