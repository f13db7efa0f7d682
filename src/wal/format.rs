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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use crate::clock::ManualClock;
    use crate::fs::sim::SimFs;
    use crate::fs::{Fs as _, names};
    use crate::model::{Digest, Label, LabelSet};
    use crate::wal::record::{SamplesEncoder, SeriesEncoder};
    use crate::wal::{Compression, GroupRecords, GroupWriter, RecordType, Resume, WalOptions};

    const DOCUMENT: &str = include_str!("../../docs/format/wal.md");

    /// The segment that the document shows.
    fn example() -> Vec<u8> {
        let labels = [Label { name: "__name__", value: "up" }];
        let (mut series, mut samples) = (Vec::new(), Vec::new());
        SeriesEncoder::push(&mut series, 1, labels.into_iter());
        SamplesEncoder::new().push(&mut samples, 1, 1_700_000_000_000, 1.0);
        let digest = Digest::of_labels(&LabelSet::from_sorted(labels.into_iter())).of_sample(1_700_000_000_000, 1.0);
        let fs = SimFs::new(0);
        let options = WalOptions { compression: Compression::None, ..WalOptions::default() };
        let clock = Arc::new(ManualClock::at(1_700_000_000_123));
        let mut writer =
            GroupWriter::new(Arc::new(fs.clone()), PathBuf::from("/wal"), Resume::default(), options, clock);
        writer.form_group(&[(1, digest)], GroupRecords { records: vec![series, samples], on_durable: None }, false);
        writer.write_pending().1.unwrap();
        fs.read(&names::wal_segment(Path::new("/wal"), 0)).unwrap()
    }

    /// The bytes of the document's example: lines of an offset, bytes, and what they are.
    fn documented() -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in DOCUMENT.lines() {
            let Some((offset, rest)) = line.split_once("  ") else { continue };
            let Ok(offset) = usize::from_str_radix(offset, 16) else { continue };
            assert_eq!(offset, bytes.len(), "{line}");
            let hex = rest.split("  ").next().unwrap();
            bytes.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
        bytes
    }

    #[test]
    fn document_shows_the_bytes_that_are_written() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        assert_eq!(hex(&documented()), hex(&example()));
    }

    #[test]
    fn document_has_a_row_for_every_record_type() {
        for kind in RecordType::ALL {
            let row = format!("| {} | `{}` |", kind as u8, kind.as_str());
            assert!(DOCUMENT.contains(&row), "{row}");
        }
        let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ") && line.contains(" | `")).count();
        assert!(rows >= RecordType::ALL.len());
    }
}
