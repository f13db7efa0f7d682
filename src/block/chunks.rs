//! Chunk segment files of a block: chunks one behind the other, each with its checksum.
//!
//! Source: Prometheus `tsdb/chunks/chunks.go`. Format: `docs/format/block.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BlockError;
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::fs::names::block_chunk_file;
use crate::fs::{Fs, MappedFile, WriteFile};
use crate::model::ChunkEncoding;

/// First four bytes of a segment, big-endian.
pub const MAGIC: u32 = 0x85BD_40DD;
/// The one version, the fifth byte.
pub const VERSION: u8 = 1;
/// Bytes in front of the first chunk: magic, version, three of padding.
pub const HEADER_BYTES: usize = 8;
/// A segment takes no chunk that would make it longer.
pub const SEGMENT_BYTES_MAX: u64 = 512 << 20;
/// Bytes of the checksum behind a chunk; it covers encoding and data.
const CHECKSUM_BYTES: usize = 4;
/// Longest data of one chunk that is believed and written.
pub const DATA_BYTES_MAX: usize = 64 << 20;
/// Chunks are gathered to about this many bytes before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Where a chunk lies: the segment's number less one in the upper 32 bits, the chunk's offset in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockChunkRef(pub u64);

impl BlockChunkRef {
    fn new(segment: u32, offset: u32) -> Self {
        BlockChunkRef(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The number of the segment file; the first is 1.
    pub fn segment(self) -> u64 {
        (self.0 >> 32) + 1
    }

    /// The chunk's offset in it.
    pub fn offset(self) -> usize {
        self.0 as u32 as usize
    }
}

/// A chunk as it stands in a segment: its encoding's number, where its data lie, and its length with everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentChunk {
    /// How the samples are encoded.
    pub encoding: ChunkEncoding,
    /// Where the data lie in the segment.
    pub data: std::ops::Range<usize>,
    /// Offset of the first byte behind the chunk.
    pub end: usize,
}

/// Whether a segment begins as one.
pub fn check_header(segment: &[u8]) -> Result<(), Corruption> {
    let mut cursor = Cursor::new(segment);
    if cursor.u32_be()? != MAGIC {
        return Err(Corruption { what: "not a chunk segment", offset: 0 });
    }
    if cursor.u8()? != VERSION {
        return Err(Corruption { what: "unknown version of a chunk segment", offset: 4 });
    }
    cursor.take(HEADER_BYTES - 5).map(|_padding| ())
}

/// The chunk at `offset` of a segment, with its checksum checked.
pub fn find_chunk(segment: &[u8], offset: usize) -> Result<SegmentChunk, Corruption> {
    let at = |fault: Corruption| Corruption { what: fault.what, offset: fault.offset + offset };
    if offset < HEADER_BYTES {
        return Err(Corruption { what: "chunk lies in the header of its segment", offset });
    }
    let Some(rest) = segment.get(offset..) else {
        return Err(Corruption { what: "chunk lies behind the end of its segment", offset });
    };
    let mut cursor = Cursor::new(rest);
    let length = cursor.uvarint().map_err(at)?;
    if length > DATA_BYTES_MAX as u64 {
        return Err(Corruption { what: "chunk length is absurd", offset });
    }
    let checked = cursor.position();
    let encoding = cursor.u8().map_err(at)?;
    let start = offset + cursor.position();
    let data = cursor.take(length as usize).map_err(at)?;
    let end = start + data.len();
    let checksum = cursor.u32_be().map_err(at)?;
    let is_intact = crc32c(rest.get(checked..checked + 1 + data.len()).unwrap_or_default()) == checksum;
    if !is_intact && !planted!(ChunkChecksumIgnored) {
        return Err(Corruption { what: "checksum of the chunk does not match", offset });
    }
    let Some(encoding) = ChunkEncoding::from_number(encoding) else {
        return Err(Corruption { what: "unknown chunk encoding", offset: offset + checked });
    };
    Ok(SegmentChunk { encoding, data: start..end, end: end + CHECKSUM_BYTES })
}

/// Writes the chunks of a new block, segment after segment.
#[derive(Debug)]
pub struct SegmentWriter {
    fs: Arc<dyn Fs>,
    /// The block's directory.
    dir: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    /// Number of the current segment; 0 before the first.
    number: u32,
    /// Bytes of the current segment, those in the buffer included.
    length: u64,
    buffer: Vec<u8>,
    segment_bytes_max: u64,
    written: u64,
}

impl SegmentWriter {
    /// A writer into the `chunks` directory of `dir`, which exists and is empty.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path, segment_bytes_max: u64) -> Self {
        let segment_bytes_max = segment_bytes_max.min(SEGMENT_BYTES_MAX);
        let dir = dir.to_owned();
        SegmentWriter { fs, dir, file: None, number: 0, length: 0, buffer: Vec::new(), segment_bytes_max, written: 0 }
    }

    /// Bytes of all segments so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.length
    }

    fn path(&self) -> PathBuf {
        block_chunk_file(&self.dir, self.number)
    }

    /// Appends a chunk and says where it is.
    pub fn write(&mut self, encoding: ChunkEncoding, data: &[u8]) -> Result<BlockChunkRef, BlockError> {
        if data.len() > DATA_BYTES_MAX {
            return Err(BlockError::TooLarge { what: "a chunk" });
        }
        let bytes = (data.len() + 11 + CHECKSUM_BYTES) as u64;
        if self.file.is_none() || (self.length + bytes > self.segment_bytes_max && self.length > HEADER_BYTES as u64) {
            self.next_segment()?;
        }
        // Segments are far shorter than 4 GiB.
        let place = BlockChunkRef::new(self.number - 1, self.length as u32);
        let start = self.buffer.len();
        put::uvarint(&mut self.buffer, data.len() as u64);
        let checked = self.buffer.len();
        self.buffer.push(encoding as u8);
        self.buffer.extend_from_slice(data);
        let checksum = crc32c(&self.buffer[checked..]);
        put::u32_be(&mut self.buffer, checksum);
        self.length += (self.buffer.len() - start) as u64;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(place)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let path = self.path();
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer).map_err(BlockError::io("write", &path))?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), BlockError> {
        self.finish()?;
        self.number += 1;
        let path = self.path();
        self.file = Some(self.fs.create(&path).map_err(BlockError::io("create", &path))?);
        put::u32_be(&mut self.buffer, MAGIC);
        self.buffer.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.length = HEADER_BYTES as u64;
        Ok(())
    }

    /// Makes the current segment durable. The next chunk starts a new one.
    pub fn finish(&mut self) -> Result<(), BlockError> {
        self.flush()?;
        if let Some(mut file) = self.file.take() {
            let path = self.path();
            if !planted!(BlockNotSynced) {
                file.sync_data().map_err(BlockError::io("fsync", &path))?;
            }
        }
        self.written += std::mem::take(&mut self.length);
        Ok(())
    }
}

/// The mapped segments of a block. One that cannot be used is kept as the reason why.
#[derive(Debug)]
pub struct Segments(Vec<Result<MappedFile, String>>);

impl Segments {
    /// Maps the segments 1 to the highest that is there.
    pub fn open(fs: &dyn Fs, dir: &Path) -> Self {
        let listed = fs.list(&dir.join(crate::fs::names::BLOCK_CHUNKS_DIR)).unwrap_or_default();
        let numbers = listed.iter().filter(|entry| !entry.is_dir && entry.name.len() >= 6);
        let last = numbers.filter_map(|entry| entry.name.parse::<u32>().ok()).max().unwrap_or(0);
        // A hostile name must not make a list of four thousand million.
        let last = last.min(listed.len() as u32 + 1024);
        Segments((1..=last).map(|number| Segments::map(fs, &block_chunk_file(dir, number))).collect())
    }

    fn map(fs: &dyn Fs, path: &Path) -> Result<MappedFile, String> {
        let file = fs.map(path).map_err(|error| error.to_string())?;
        check_header(&file).map_err(|fault| fault.to_string())?;
        Ok(file)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.0.iter().flatten().map(|file| file.len() as u64).sum()
    }

    /// Each segment: its number and its bytes, or what is wrong with it.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Result<&MappedFile, &str>)> + '_ {
        self.0.iter().enumerate().map(|(index, file)| (index + 1, file.as_ref().map_err(String::as_str)))
    }

    /// The segment with this number.
    pub fn get(&self, number: u64) -> Result<&MappedFile, &str> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        match index.and_then(|index| self.0.get(index)) {
            Some(Ok(file)) => Ok(file),
            Some(Err(fault)) => Err(fault),
            None => Err("there is no such segment"),
        }
    }
}
