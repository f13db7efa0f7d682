//! The files that hold the head's full chunks, in Prometheus' format, and how they are written, read and scanned.
//!
//! They are derived data: every sample in them is in the log too, and a chunk gets here only after the log that covers
//! it is durable. So nothing here needs an fsync for safety, and a damaged chunk costs a rebuild, not a sample.
//!
//! Invariants: entries are only ever appended; the chunks of one series stand in time order, over all files; file
//! numbers have no gaps, as files are removed from the oldest on, one durably after the other. So what stands before any
//! place in the files is complete for every series up to that place.
//!
//! Source: Prometheus `tsdb/chunks/head_chunks.go`. Format: `docs/format/chunks_head.md`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::fs::names::{head_chunk_file, parse_head_chunk_file};
use crate::fs::{Fs, MappedFile, WriteFile};
use crate::model::ChunkEncoding;
use crate::storage::ChunkBytes;

/// First four bytes of every file, big-endian.
pub const MAGIC: u32 = 0x0130_BC91;
/// The one version, the fifth byte.
pub const VERSION: u8 = 1;
/// Bytes in front of the first entry: magic, version, three of padding.
pub const FILE_HEADER_BYTES: usize = 8;
/// A file takes no entry that would make it longer.
pub const FILE_BYTES_MAX: u64 = 128 << 20;
/// Bytes of an entry in front of the data's length: series, first time, last time, encoding.
const ENTRY_HEADER_BYTES: usize = 25;
/// Bytes of the checksum behind the data.
const CHECKSUM_BYTES: usize = 4;
/// Longest data of one entry that a reader believes: floats take 1 KiB, a single histogram may take megabytes.
const DATA_BYTES_MAX: usize = 32 << 20;
/// What Prometheus pre-allocates of a file: on Linux, and on Windows. A kill leaves zeros up to there.
const PREALLOCATED_BYTES: [usize; 2] = [128 << 10, 128 << 20];
/// Entries are gathered to about this many bytes before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Where a chunk lies: the file's number in the upper 32 bits, the entry's offset in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// The reference of an entry.
    pub fn new(file: u32, offset: u32) -> Self {
        ChunkRef(u64::from(file) << 32 | u64::from(offset))
    }

    /// The file's number.
    pub fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The entry's offset.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// One chunk as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadChunkEntry<'a> {
    /// The series' reference in the log.
    pub series_ref: u64,
    /// Time of the first sample.
    pub min_time_ms: i64,
    /// Time of the last sample.
    pub max_time_ms: i64,
    /// The encoding's number; the top bit marks out-of-order chunks.
    pub encoding: u8,
    /// The chunk.
    pub data: &'a [u8],
}

impl HeadChunkEntry<'_> {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put::u64_be(out, self.series_ref);
        put::u64_be(out, self.min_time_ms as u64);
        put::u64_be(out, self.max_time_ms as u64);
        out.push(self.encoding);
        put::uvarint_slice(out, self.data);
        let checksum = crc32c(&out[start..]);
        put::u32_be(out, checksum);
    }
}

/// What stands at an offset of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found<'a> {
    Entry(HeadChunkEntry<'a>, usize),
    /// Nothing but zeros, or nothing at all: the end of a file.
    End,
    /// The entry goes on behind the end of the file: a write that was cut short.
    Torn,
    Damaged(&'static str),
}

fn find_entry(bytes: &[u8], offset: usize) -> Found<'_> {
    let Some(rest) = bytes.get(offset..) else { return Found::Damaged("entry starts behind the end of the file") };
    if rest.iter().take(ENTRY_HEADER_BYTES).all(|&byte| byte == 0) && rest.iter().all(|&byte| byte == 0) {
        return Found::End;
    }
    let mut cursor = Cursor::new(rest);
    let mut header = || -> Result<_, Corruption> {
        Ok((cursor.u64_be()?, cursor.u64_be()? as i64, cursor.u64_be()? as i64, cursor.u8()?, cursor.uvarint()?))
    };
    let Ok((series_ref, min_time_ms, max_time_ms, encoding, length)) = header() else { return Found::Torn };
    if length > DATA_BYTES_MAX as u64 {
        return Found::Damaged("chunk length is absurd");
    }
    let Ok(data) = cursor.take(length as usize) else { return Found::Torn };
    let checked = &rest[..cursor.position()];
    let Ok(checksum) = cursor.u32_be() else { return Found::Torn };
    if checksum != crc32c(checked) {
        return Found::Damaged("chunk checksum does not match");
    }
    let entry = HeadChunkEntry { series_ref, min_time_ms, max_time_ms, encoding, data };
    Found::Entry(entry, offset + cursor.position())
}

/// From where to where head chunk files go. All numbers are 0 where there is no file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesExtent {
    /// Number of the first file.
    pub first: u32,
    /// Number of the last file.
    pub last: u32,
    /// Bytes of the last file.
    pub bytes: u64,
    /// Bytes of the files before it, together.
    pub bytes_before: u64,
}

/// Appends entries to the newest file, and starts the next one when it is full or when a write failed.
#[derive(Debug)]
pub struct HeadChunkFileWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    /// Number of the current file, or of the last one there was.
    number: u32,
    /// Good bytes of the current file.
    length: u64,
    bytes_max: u64,
    buffer: Vec<u8>,
}

impl HeadChunkFileWriter {
    /// A writer whose first file has the number behind `last_number`.
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf, last_number: u32) -> Self {
        let bytes_max = FILE_BYTES_MAX;
        HeadChunkFileWriter { fs, dir, file: None, number: last_number, length: 0, bytes_max, buffer: Vec::new() }
    }

    /// Uses smaller files, for tests.
    pub fn with_file_bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Writes entries in order and says where they are. After an error the entries behind the returned ones are not
    /// written, and the next call begins with a new file.
    pub fn write<'a>(&mut self, entries: impl Iterator<Item = HeadChunkEntry<'a>>) -> (Vec<ChunkRef>, io::Result<()>) {
        let mut refs = Vec::with_capacity(entries.size_hint().0);
        let result = self.write_all(entries, &mut refs);
        if result.is_err() {
            self.abandon();
        }
        self.buffer.clear();
        (refs, result)
    }

    fn write_all<'a>(
        &mut self,
        entries: impl Iterator<Item = HeadChunkEntry<'a>>,
        refs: &mut Vec<ChunkRef>,
    ) -> io::Result<()> {
        let mut gathered = Vec::new();
        for entry in entries {
            let bytes = ENTRY_HEADER_BYTES + 10 + entry.data.len() + CHECKSUM_BYTES;
            if self.file.is_none() || self.length + (self.buffer.len() + bytes) as u64 > self.bytes_max {
                self.flush(&mut gathered, refs)?;
                self.next_file()?;
            }
            gathered.push(ChunkRef::new(self.number, (self.length + self.buffer.len() as u64) as u32));
            entry.encode(&mut self.buffer);
            if self.buffer.len() >= WRITE_BYTES {
                self.flush(&mut gathered, refs)?;
            }
        }
        self.flush(&mut gathered, refs)
    }

    fn flush(&mut self, gathered: &mut Vec<ChunkRef>, refs: &mut Vec<ChunkRef>) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && !self.buffer.is_empty()
        {
            file.write_all(&self.buffer)?;
            self.length += self.buffer.len() as u64;
            self.buffer.clear();
        }
        refs.append(gathered);
        Ok(())
    }

    /// Makes all files durable, and says up to where they go.
    pub fn sync(&mut self) -> io::Result<FilesExtent> {
        let mut extent = FilesExtent::default();
        for entry in self.fs.list(&self.dir)? {
            let Some(number) = parse_head_chunk_file(&entry.name) else { continue };
            // Also files that were given up after a failure: they hold good chunks.
            self.fs.append(&self.dir.join(&entry.name))?.sync_data()?;
            if extent.last == 0 {
                extent.first = number;
            }
            extent.bytes_before += extent.bytes;
            (extent.last, extent.bytes) = (number, entry.bytes);
        }
        self.fs.sync_dir(&self.dir)?;
        Ok(extent)
    }

    fn next_file(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.sync_data()?;
        }
        let number = self.number + 1;
        let path = head_chunk_file(&self.dir, number);
        let mut file = match self.fs.create(&path) {
            // Left by an earlier attempt that failed before it held an entry. One that holds more is not ours to cut.
            Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
                let mut file = self.fs.append(&path)?;
                if file.len()? > FILE_HEADER_BYTES as u64 {
                    return Err(exists);
                }
                file.truncate(0)?;
                file
            }
            other => other?,
        };
        let mut header = [0; FILE_HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC.to_be_bytes());
        header[4] = VERSION;
        file.write_all(&header)?;
        self.fs.sync_dir(&self.dir)?;
        (self.file, self.number, self.length) = (Some(file), number, FILE_HEADER_BYTES as u64);
        Ok(())
    }

    /// Removes a file that nobody needs any more. If it is the current one, the next write begins another.
    pub fn remove(&mut self, number: u32) -> io::Result<()> {
        if number == self.number {
            self.file = None;
        }
        match self.fs.remove_file(&head_chunk_file(&self.dir, number)) {
            // By an attempt that failed afterwards.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.fs.sync_dir(&self.dir)
    }

    /// Leaves the current file behind its last good entry. No reader uses the bytes that are cut.
    fn abandon(&mut self) {
        if let Some(mut file) = self.file.take()
            && let Err(error) = file.truncate(self.length)
        {
            tracing::warn!(file = self.number, %error, "head chunk file kept a torn tail");
        }
    }
}

/// Why a chunk could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be mapped.
    #[error("map {path}: {message}")]
    Io {
        /// The file.
        path: String,
        /// The system's answer.
        message: String,
    },
    /// The entry is damaged.
    #[error("{what} in {path} at byte {offset}")]
    Damaged {
        /// What was found.
        what: &'static str,
        /// The file.
        path: String,
        /// Offset of the entry.
        offset: u32,
    },
}

/// Reads chunks through maps of the files. A file that has grown is mapped anew when a chunk behind its old end is read.
#[derive(Debug)]
pub struct HeadChunkFileReader {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    maps: RwLock<HashMap<u32, MappedFile>>,
}

impl HeadChunkFileReader {
    /// A reader for the files in `dir`.
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf) -> Self {
        HeadChunkFileReader { fs, dir, maps: RwLock::default() }
    }

    /// Calls `read` with the chunk's checked entry.
    pub fn with_chunk<T>(&self, chunk: ChunkRef, read: impl FnOnce(&HeadChunkEntry<'_>) -> T) -> Result<T, ReadError> {
        let map = self.map_for(chunk)?;
        let what = match find_entry(&map, chunk.offset() as usize) {
            Found::Entry(entry, _) => return Ok(read(&entry)),
            Found::Damaged(what) => what,
            Found::End | Found::Torn => "chunk is cut short",
        };
        Err(ReadError::Damaged { what, path: self.path(chunk), offset: chunk.offset() })
    }

    /// Lets go of the map of a file that was removed. Parts that were handed out stay.
    pub fn forget(&self, file: u32) {
        self.maps.write().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }

    /// The chunk's checked data, as a part of its mapped file.
    pub fn chunk_bytes(&self, chunk: ChunkRef) -> Result<(ChunkEncoding, ChunkBytes), ReadError> {
        let map = self.map_for(chunk)?;
        let what = match find_entry(&map, chunk.offset() as usize) {
            Found::Entry(entry, next) => {
                let end = next - CHECKSUM_BYTES;
                let start = end - entry.data.len();
                match ChunkEncoding::from_number(entry.encoding & !super::OUT_OF_ORDER) {
                    Some(encoding) => return Ok((encoding, ChunkBytes::Mapped(map, start..end))),
                    None => "chunk has an encoding that is not known",
                }
            }
            Found::Damaged(what) => what,
            Found::End | Found::Torn => "chunk is cut short",
        };
        Err(ReadError::Damaged { what, path: self.path(chunk), offset: chunk.offset() })
    }

    fn path(&self, chunk: ChunkRef) -> String {
        head_chunk_file(&self.dir, chunk.file()).display().to_string()
    }

    /// A map of the chunk's file that holds the whole entry, if the file does.
    fn map_for(&self, chunk: ChunkRef) -> Result<MappedFile, ReadError> {
        let known = self.maps.read().unwrap_or_else(PoisonError::into_inner).get(&chunk.file()).cloned();
        if let Some(map) = known
            && !matches!(find_entry(&map, chunk.offset() as usize), Found::End | Found::Torn)
            && (chunk.offset() as usize) < map.len()
        {
            return Ok(map);
        }
        let map = self
            .fs
            .map(&head_chunk_file(&self.dir, chunk.file()))
            .map_err(|error| ReadError::Io { path: self.path(chunk), message: error.to_string() })?;
        self.maps.write().unwrap_or_else(PoisonError::into_inner).insert(chunk.file(), map.clone());
        Ok(map)
    }
}

/// What a scan finds at the end of a file that is longer than its entries.
const ZERO_END: &str = "file ends in zeros";

/// Where a scan of the files ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanStop {
    /// The file's number.
    pub file: u32,
    /// Offset of the first byte that is no good entry.
    pub offset: u64,
    /// What was found there.
    pub what: &'static str,
    /// Whether it looks like a write that was cut short in the newest file, which is no damage.
    pub is_torn_tail: bool,
}

/// What a scan of the files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Numbers of the files that hold good entries.
    pub files: Vec<u32>,
    /// Files before the last one that end in the zeros of a Prometheus that was killed, and where those begin.
    pub zero_ends: Vec<(u32, u64)>,
    /// Entries read.
    pub entries: u64,
    /// Where the scan ended, if not at the end of the last file.
    pub stop: Option<ScanStop>,
    /// Numbers of the files behind that place, which were not read.
    pub unread: Vec<u32>,
}

/// Reads the entries of all files in order, up to the first place that is not good.
///
/// What follows such a place is not read, so that what was read is complete for each series up to some time, and the
/// log can supply the rest.
pub fn scan(fs: &dyn Fs, dir: &Path, mut each: impl FnMut(ChunkRef, &HeadChunkEntry<'_>)) -> io::Result<ScanReport> {
    let mut report = ScanReport::default();
    let entries = if fs.exists(dir) { fs.list(dir)? } else { Vec::new() };
    let mut numbers: Vec<u32> =
        entries.iter().filter(|entry| !entry.is_dir).filter_map(|entry| parse_head_chunk_file(&entry.name)).collect();
    numbers.sort_unstable();
    for (index, &file) in numbers.iter().enumerate() {
        let is_last = index + 1 == numbers.len();
        let follows = index == 0 || numbers[index - 1] + 1 == file;
        let stop = if follows {
            let map = fs.map(&head_chunk_file(dir, file))?;
            let stop = scan_file(&map, file, is_last, &mut report.entries, &mut each);
            stop.filter(|stop| {
                let is_zero_end = stop.what == ZERO_END && !is_last && PREALLOCATED_BYTES.contains(&map.len());
                if is_zero_end {
                    report.zero_ends.push((file, stop.offset));
                }
                !is_zero_end
            })
        } else {
            Some(ScanStop { file, offset: 0, what: "a file before this one is missing", is_torn_tail: false })
        };
        if let Some(stop) = stop {
            if stop.offset > 0 {
                report.files.push(file);
            }
            report.unread = numbers[index + usize::from(stop.offset > 0)..].to_vec();
            report.stop = Some(stop);
            break;
        }
        report.files.push(file);
    }
    Ok(report)
}

fn scan_file(
    bytes: &[u8],
    file: u32,
    is_last: bool,
    entries: &mut u64,
    each: &mut impl FnMut(ChunkRef, &HeadChunkEntry<'_>),
) -> Option<ScanStop> {
    let stop = |offset: usize, what, is_torn_tail| {
        Some(ScanStop { file, offset: offset as u64, what, is_torn_tail: is_torn_tail && is_last })
    };
    let mut cursor = Cursor::new(bytes);
    match (cursor.u32_be(), cursor.u8(), cursor.take(3)) {
        (Ok(MAGIC), Ok(VERSION), Ok(_)) => {}
        (Ok(_), Ok(_), Ok(_)) if bytes.iter().any(|&byte| byte != 0) => {
            return stop(0, "file header is not that of a head chunk file", false);
        }
        _ => return stop(0, "file header is cut short", true),
    }
    let mut offset = FILE_HEADER_BYTES;
    loop {
        match find_entry(bytes, offset) {
            Found::Entry(entry, next) => {
                each(ChunkRef::new(file, offset as u32), &entry);
                *entries += 1;
                offset = next;
            }
            Found::End if offset == bytes.len() => return None,
            // Pre-allocated by Prometheus, or pages that a power loss took.
            Found::End => return stop(offset, ZERO_END, true),
            Found::Torn => return stop(offset, "chunk is cut short", true),
            Found::Damaged(what) => return stop(offset, what, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SystemFs;

    fn entry(series_ref: u64, data: &[u8]) -> HeadChunkEntry<'_> {
        HeadChunkEntry { series_ref, min_time_ms: 1, max_time_ms: 2, encoding: 1, data }
    }

    fn write(dir: &Path, bytes_max: u64, count: u64) -> Vec<ChunkRef> {
        let mut writer = HeadChunkFileWriter::new(Arc::new(SystemFs), dir.to_owned(), 0).with_file_bytes_max(bytes_max);
        let (refs, result) = writer.write((0..count).map(|series_ref| entry(series_ref + 1, b"data")));
        result.unwrap();
        refs
    }

    fn scan_refs(dir: &Path) -> (Vec<u64>, ScanReport) {
        let mut refs = Vec::new();
        let report = scan(&SystemFs, dir, |_, entry| refs.push(entry.series_ref)).unwrap();
        (refs, report)
    }

    #[test]
    fn entry_has_the_documented_bytes() {
        let mut out = Vec::new();
        entry(7, b"data").encode(&mut out);
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        let document = include_str!("../../docs/format/chunks_head.md");
        let documented = document.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(hex, documented.split_whitespace().collect::<String>());
    }

    #[test]
    fn entries_written_over_several_files_are_read_and_scanned() {
        let dir = tempfile::tempdir().unwrap();
        let refs = write(dir.path(), 200, 20);
        assert!(refs.last().unwrap().file() > 2);
        let reader = HeadChunkFileReader::new(Arc::new(SystemFs), dir.path().to_owned());
        for (index, &chunk) in refs.iter().enumerate() {
            assert_eq!(reader.with_chunk(chunk, |entry| entry.series_ref), Ok(index as u64 + 1));
        }
        let (found, report) = scan_refs(dir.path());
        assert_eq!(found, (1..=20).collect::<Vec<_>>());
        assert_eq!(report.stop, None);
    }

    #[test]
    fn reader_sees_entries_appended_after_the_file_was_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = HeadChunkFileWriter::new(Arc::new(SystemFs), dir.path().to_owned(), 0);
        let reader = HeadChunkFileReader::new(Arc::new(SystemFs), dir.path().to_owned());
        for series_ref in 1..5 {
            let (refs, result) = writer.write([entry(series_ref, b"x")].into_iter());
            result.unwrap();
            assert_eq!(reader.with_chunk(refs[0], |entry| entry.series_ref), Ok(series_ref));
        }
    }

    #[test]
    fn flipped_bit_is_found_by_the_reader_and_stops_the_scan_there() {
        let dir = tempfile::tempdir().unwrap();
        let refs = write(dir.path(), 200, 20);
        let victim = refs[7];
        let path = head_chunk_file(dir.path(), victim.file());
        let mut bytes = SystemFs.read(&path).unwrap();
        bytes[victim.offset() as usize + 27] ^= 1;
        SystemFs.remove_file(&path).unwrap();
        SystemFs.create(&path).unwrap().write_all(&bytes).unwrap();
        let reader = HeadChunkFileReader::new(Arc::new(SystemFs), dir.path().to_owned());
        assert!(matches!(reader.with_chunk(victim, |_| ()), Err(ReadError::Damaged { .. })));
        let (found, report) = scan_refs(dir.path());
        assert_eq!(found, (1..=7).collect::<Vec<_>>());
        let stop = report.stop.unwrap();
        assert_eq!((stop.file, stop.offset, stop.is_torn_tail), (victim.file(), u64::from(victim.offset()), false));
        assert!(!report.unread.is_empty());
    }

    #[test]
    fn writer_does_not_cut_a_file_that_holds_entries() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1 << 20, 3);
        let mut writer = HeadChunkFileWriter::new(Arc::new(SystemFs), dir.path().to_owned(), 0);
        let (refs, result) = writer.write([entry(9, b"x")].into_iter());
        assert_eq!((refs.len(), result.unwrap_err().kind()), (0, io::ErrorKind::AlreadyExists));
        assert_eq!(scan_refs(dir.path()).0, [1, 2, 3]);
    }

    #[test]
    fn file_that_prometheus_pre_allocated_is_whole_and_one_that_ends_in_other_zeros_is_damaged() {
        for allocated in [PREALLOCATED_BYTES[0], PREALLOCATED_BYTES[0] - 1, 4096] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), 200, 10);
            let path = head_chunk_file(dir.path(), 1);
            let end = SystemFs.read(&path).unwrap().len();
            SystemFs.append(&path).unwrap().write_all(&vec![0; allocated - end]).unwrap();
            let (found, report) = scan_refs(dir.path());
            if allocated == PREALLOCATED_BYTES[0] {
                assert_eq!(found, (1..=10).collect::<Vec<_>>());
                assert_eq!((report.stop, report.zero_ends), (None, vec![(1, end as u64)]));
            } else {
                assert!(found.len() < 10 && report.zero_ends.is_empty());
                assert!(report.stop.is_some_and(|stop| !stop.is_torn_tail && stop.offset == end as u64));
            }
        }
    }

    #[test]
    fn newest_file_cut_at_any_byte_is_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1 << 20, 3);
        let path = head_chunk_file(dir.path(), 1);
        let bytes = SystemFs.read(&path).unwrap();
        for length in (0..bytes.len()).rev() {
            SystemFs.append(&path).unwrap().truncate(length as u64).unwrap();
            let (found, report) = scan_refs(dir.path());
            assert!(found.len() < 3 && found.iter().copied().eq(1..=found.len() as u64));
            assert!(report.stop.is_none_or(|stop| stop.is_torn_tail), "cut at {length}");
        }
    }
}
