//! Writes records as fragments on pages, into segments.
//!
//! The writer knows nothing of groups or retries: after an error it is of no further use, and whoever holds it opens
//! the next segment. Bytes are collected and handed to the file by [`SegmentWriter::flush`].

use std::fmt;
use std::path::{Path, PathBuf};

use super::format::{
    FRAGMENT_FIRST, FRAGMENT_FULL, FRAGMENT_HEADER_BYTES, FRAGMENT_LAST, FRAGMENT_MIDDLE, FRAGMENT_SNAPPY,
    FRAGMENT_ZSTD, PAGE_BYTES,
};
use super::options::{Compression, WalError};
use crate::encoding::crc32c;
use crate::fs::{Fs, WriteFile, names};

/// Zstandard's level: the fastest of the ordinary ones, as in Prometheus.
const ZSTD_LEVEL: i32 = 1;

/// Collected bytes beyond which they are handed to the file before the group ends.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Compresses records, and keeps the memory for it.
pub(crate) struct RecordCompressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    buffer: Vec<u8>,
}

impl fmt::Debug for RecordCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordCompressor({})", self.compression.as_str())
    }
}

impl RecordCompressor {
    pub(crate) fn new(compression: Compression) -> Self {
        RecordCompressor { compression, snappy: snap::raw::Encoder::new(), zstd: None, buffer: Vec::new() }
    }

    /// The bytes to store, and the bit that says how they are compressed. A record that cannot be compressed, or does
    /// not get shorter, is stored as it is.
    fn compress<'a>(&'a mut self, record: &'a [u8]) -> (&'a [u8], u8) {
        let (length, flag) = match self.compression {
            Compression::None => (None, 0),
            Compression::Snappy => {
                self.buffer.resize(snap::raw::max_compress_len(record.len()), 0);
                (self.snappy.compress(record, &mut self.buffer).ok(), FRAGMENT_SNAPPY)
            }
            Compression::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
                }
                self.buffer.resize(zstd::zstd_safe::compress_bound(record.len()), 0);
                let length = match &mut self.zstd {
                    Some(zstd) => zstd.compress_to_buffer(record, &mut self.buffer[..]).ok(),
                    None => None,
                };
                (length, FRAGMENT_ZSTD)
            }
        };
        match length.and_then(|length| self.buffer.get(..length)) {
            Some(shorter) if !shorter.is_empty() && shorter.len() < record.len() => (shorter, flag),
            _ => (record, 0),
        }
    }
}

/// Appends the fragments of one record to `out`, whose next byte lies at `position` in its segment.
pub(crate) fn append_fragments(out: &mut Vec<u8>, position: u64, data: &[u8], compression_flag: u8) {
    let mut in_page = (position % PAGE_BYTES as u64) as usize;
    let mut rest = data;
    let mut first = true;
    while first || !rest.is_empty() {
        // A page whose rest has no room for a header and a byte is filled with zeros.
        let left = PAGE_BYTES - in_page;
        if left <= FRAGMENT_HEADER_BYTES {
            out.resize(out.len() + left, 0);
            in_page = 0;
            continue;
        }
        let (part, behind) = rest.split_at(rest.len().min(left - FRAGMENT_HEADER_BYTES));
        let kind = match (first, behind.is_empty()) {
            (true, true) => FRAGMENT_FULL,
            (true, false) => FRAGMENT_FIRST,
            (false, false) => FRAGMENT_MIDDLE,
            (false, true) => FRAGMENT_LAST,
        };
        out.push(kind | compression_flag);
        out.extend((part.len() as u16).to_be_bytes());
        out.extend(crc32c(part).to_be_bytes());
        out.extend(part);
        in_page = (in_page + FRAGMENT_HEADER_BYTES + part.len()) % PAGE_BYTES;
        rest = behind;
        first = false;
    }
}

/// Writes one segment.
#[derive(Debug)]
pub struct SegmentWriter {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    number: u32,
    /// Bytes that were handed to the file.
    written: u64,
    /// Bytes behind those, still here.
    buffer: Vec<u8>,
    /// Bytes of records before compression.
    raw_bytes: u64,
}

impl SegmentWriter {
    /// Creates a segment that must not exist yet. Neither the file nor its name is durable before they are synced.
    pub fn create(fs: &dyn Fs, dir: &Path, number: u32) -> Result<Self, WalError> {
        let path = names::wal_segment(dir, number);
        let file = fs.create(&path).map_err(WalError::io("create", &path))?;
        Ok(Self::over(file, path, number))
    }

    /// Writes a segment into an empty file of any name.
    pub fn over(file: Box<dyn WriteFile>, path: PathBuf, number: u32) -> Self {
        SegmentWriter { file, path, number, written: 0, buffer: Vec::new(), raw_bytes: 0 }
    }

    /// The segment's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The segment's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The segment's length, with what is not yet handed to the file.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes of all records so far before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Appends a record: type byte first, not empty.
    pub(crate) fn append(&mut self, record: &[u8], compressor: &mut RecordCompressor) -> Result<(), WalError> {
        self.raw_bytes += record.len() as u64;
        let (data, flag) = compressor.compress(record);
        let position = self.written + self.buffer.len() as u64;
        append_fragments(&mut self.buffer, position, data, flag);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Hands all collected bytes to the file.
    pub fn flush(&mut self) -> Result<(), WalError> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer).map_err(WalError::io("write", &self.path))?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Makes all that was flushed durable.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.file.sync_data().map_err(WalError::io("fdatasync", &self.path))
    }

    /// Fills the last page with zeros and makes the whole segment durable.
    pub fn complete(&mut self) -> Result<(), WalError> {
        let in_page = (self.position() % PAGE_BYTES as u64) as usize;
        if in_page > 0 {
            self.buffer.resize(self.buffer.len() + PAGE_BYTES - in_page, 0);
        }
        self.flush()?;
        self.sync()
    }

    /// Forgets collected bytes, and cuts the file to `len` bytes, durably.
    pub fn cut(&mut self, len: u64) -> Result<(), WalError> {
        self.buffer.clear();
        self.file.truncate(len).map_err(WalError::io("truncate", &self.path))?;
        self.file.sync_data().map_err(WalError::io("fdatasync", &self.path))?;
        self.written = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::{SimFs, SimRandom};
    use crate::wal::reader::{SegmentEvent, SegmentReader};

    fn written(records: &[Vec<u8>], compression: Compression) -> (SimFs, PathBuf) {
        let fs = SimFs::new(1);
        let mut segment = SegmentWriter::create(&fs, Path::new("/"), 0).unwrap();
        let mut compressor = RecordCompressor::new(compression);
        for record in records {
            segment.append(record, &mut compressor).unwrap();
        }
        segment.complete().unwrap();
        assert_eq!(segment.position() % PAGE_BYTES as u64, 0);
        (fs, segment.path().to_owned())
    }

    fn read(fs: &SimFs, path: &Path) -> Vec<Vec<u8>> {
        let mut reader = SegmentReader::open(fs, path).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next_event() {
                SegmentEvent::Record { bytes, .. } => records.push(bytes),
                SegmentEvent::Damage { what, offset, .. } => panic!("{what} at {offset}"),
                SegmentEvent::End { .. } => return records,
            }
        }
    }

    fn noise(len: usize, random: &mut SimRandom) -> Vec<u8> {
        (0..len).map(|_| random.next_u64() as u8 | 1).collect()
    }

    #[test]
    fn records_that_end_anywhere_near_a_page_boundary_read_back() {
        let mut random = SimRandom::new(3);
        for len in (PAGE_BYTES - 30..PAGE_BYTES + 10).chain([2 * PAGE_BYTES - 14, 2 * PAGE_BYTES, 200_000]) {
            let records = vec![noise(len, &mut random), noise(1, &mut random), noise(40, &mut random)];
            let (fs, path) = written(&records, Compression::None);
            assert!(read(&fs, &path) == records, "record of {len} bytes");
        }
    }

    #[test]
    fn records_of_any_size_and_compression_read_back() {
        for (seed, compression) in [Compression::None, Compression::Snappy, Compression::Zstd].into_iter().enumerate() {
            let mut random = SimRandom::new(seed as u64);
            let records: Vec<_> = (0..300)
                .map(|index| {
                    let magnitude = 1 + random.below(17);
                    let len = 1 + random.below(1 << magnitude) as usize;
                    if index % 2 == 0 { noise(len, &mut random) } else { vec![7; len] }
                })
                .collect();
            let (fs, path) = written(&records, compression);
            assert!(read(&fs, &path) == records, "{}", compression.as_str());
        }
    }

    #[test]
    fn record_that_does_not_shrink_is_stored_as_it_is() {
        let record = noise(100, &mut SimRandom::new(1));
        for compression in [Compression::Snappy, Compression::Zstd] {
            let mut compressor = RecordCompressor::new(compression);
            assert_eq!(compressor.compress(&record), (&record[..], 0));
            let (shorter, flag) = compressor.compress(&[9; 1000]);
            assert!(shorter.len() < 100 && flag != 0);
        }
    }
}
