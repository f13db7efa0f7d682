//! The tombstones file of a block: which ranges of which series are deleted.
//!
//! Source: Prometheus `tsdb/tombstones/tombstones.go`. Format: `docs/format/block.md`.

use std::collections::BTreeMap;

use super::Intervals;
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::model::TimeRange;

/// First four bytes, big-endian.
pub const MAGIC: u32 = 0x0130_BA30;
/// The one version, the fifth byte.
pub const VERSION: u8 = 1;
/// Bytes of the magic number and the version.
const HEADER_BYTES: usize = 5;
/// Bytes of the checksum at the end. It covers the entries only.
const CHECKSUM_BYTES: usize = 4;

/// The deleted ranges of a block by the reference of the series in the block's index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TombstoneFile {
    series: BTreeMap<u64, Intervals>,
}

impl TombstoneFile {
    /// Nothing is deleted.
    pub fn new() -> Self {
        TombstoneFile::default()
    }

    /// Adds a deleted range.
    pub fn add(&mut self, series_ref: u64, range: TimeRange) {
        if range.start_ms <= range.end_ms {
            self.series.entry(series_ref).or_default().add(range);
        }
    }

    /// What is deleted of a series, if anything.
    pub fn get(&self, series_ref: u64) -> Option<&Intervals> {
        self.series.get(&series_ref)
    }

    /// The series with deletions, by reference.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Intervals)> + '_ {
        self.series.iter().map(|(&series_ref, intervals)| (series_ref, intervals))
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many ranges there are, over all series: what Prometheus calls the number of tombstones.
    pub fn len(&self) -> usize {
        self.series.values().map(Intervals::len).sum()
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.len() * 20 + CHECKSUM_BYTES);
        put::u32_be(&mut out, MAGIC);
        out.push(VERSION);
        for (series_ref, intervals) in self.iter() {
            for range in intervals.as_slice() {
                put::uvarint(&mut out, series_ref);
                put::varint(&mut out, range.start_ms);
                put::varint(&mut out, range.end_ms);
            }
        }
        let checksum = crc32c(&out[HEADER_BYTES..]);
        put::u32_be(&mut out, checksum);
        out
    }

    /// Reads the bytes of a file. The entries may stand in any order and overlap.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corruption> {
        let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(Corruption { what: "tombstones end early", offset: bytes.len() });
        };
        let mut cursor = Cursor::new(content);
        if cursor.u32_be()? != MAGIC {
            return Err(Corruption { what: "not a tombstones file", offset: 0 });
        }
        if cursor.u8()? != VERSION {
            return Err(Corruption { what: "unknown version of tombstones", offset: HEADER_BYTES - 1 });
        }
        if crc32c(content.get(HEADER_BYTES..).unwrap_or_default()) != u32::from_be_bytes(*checksum) {
            return Err(Corruption { what: "checksum of the tombstones does not match", offset: content.len() });
        }
        let mut entries = Vec::new();
        while !cursor.is_empty() {
            let series_ref = cursor.uvarint()?;
            let range = TimeRange::new(cursor.varint()?, cursor.varint()?);
            if range.start_ms > range.end_ms {
                return Err(cursor.corrupt("tombstone ends before it starts"));
            }
            entries.push((series_ref, range));
        }
        // Each is behind those before it then, so that none of them has to make room for it.
        entries.sort_unstable_by_key(|(series_ref, range)| (*series_ref, range.start_ms));
        let mut file = TombstoneFile::new();
        entries.into_iter().for_each(|(series_ref, range)| file.add(series_ref, range));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specimen() -> TombstoneFile {
        let mut file = TombstoneFile::new();
        file.add(7, TimeRange::new(-5, 1_000));
        file.add(7, TimeRange::new(5_000, 6_000));
        file.add(1 << 40, TimeRange::new(i64::MIN, i64::MAX));
        file
    }

    #[test]
    fn tombstones_written_and_read_back_are_equal() {
        for file in [TombstoneFile::new(), specimen()] {
            assert_eq!(TombstoneFile::decode(&file.encode()), Ok(file));
        }
        assert_eq!(specimen().len(), 3);
    }

    #[test]
    fn tombstones_in_any_order_are_read_without_moving_each_other() {
        let content = |numbers: &mut dyn Iterator<Item = i64>| {
            let mut out = Vec::new();
            for number in numbers {
                put::uvarint(&mut out, 7);
                put::varint(&mut out, number * 10);
                put::varint(&mut out, number * 10 + 5);
            }
            let checksum = crc32c(&out);
            let mut bytes = [&MAGIC.to_be_bytes()[..], &[VERSION], &out].concat();
            put::u32_be(&mut bytes, checksum);
            bytes
        };
        // One by one, so many falling ranges would move 100 GB.
        let falling = TombstoneFile::decode(&content(&mut (0..120_000).rev())).unwrap();
        assert_eq!(falling, TombstoneFile::decode(&content(&mut (0..120_000))).unwrap());
        assert_eq!(falling.len(), 120_000);
    }

    #[test]
    fn empty_tombstones_have_the_bytes_that_prometheus_writes() {
        assert_eq!(TombstoneFile::new().encode(), [0x01, 0x30, 0xba, 0x30, 0x01, 0, 0, 0, 0][..]);
    }

    #[test]
    fn tombstones_with_any_bit_flipped_or_cut_anywhere_are_refused() {
        let bytes = specimen().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(TombstoneFile::decode(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(TombstoneFile::decode(&bytes[..length]).is_err(), "length {length}");
        }
    }
}
