//! Reads records from segments, past damage.
//!
//! A bad fragment costs its record and nothing behind it: the reader goes on at the next fragment by the bad one's
//! length where that leads to a good fragment, else at the next good fragment in the page, else at the next page. The
//! parts of a record whose beginning or middle is lost are passed over. Everything that was passed over is told as one
//! [`SegmentEvent::Damage`] for each stretch.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::format::{
    FRAGMENT_FIRST, FRAGMENT_FULL, FRAGMENT_HEADER_BYTES, FRAGMENT_LAST, FRAGMENT_MIDDLE, FRAGMENT_PAGE_END,
    FRAGMENT_RESERVED, FRAGMENT_SNAPPY, FRAGMENT_TYPE_MASK, FRAGMENT_ZSTD, PAGE_BYTES, RECORD_BYTES_MAX,
    SNAPPY_RATIO_MAX,
};
use super::options::WalError;
use crate::encoding::crc32c;
use crate::fs::{Fs, ReadFile, names};

/// Pages that are read at once.
const PAGES_READ: usize = 16;

/// Bytes that are hashed at most in search of the next good fragment of one page: a bound on what a page that was made
/// to be slow can cost.
const RESYNC_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its number; in a checkpoint, the number within it.
    pub number: u32,
    /// Whether it belongs to the checkpoint.
    pub checkpoint: bool,
    /// Its length when it was listed.
    pub bytes: u64,
}

/// The files of a log, in the order in which they are replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Number of the newest checkpoint: it stands for all segments up to this one.
    pub checkpoint: Option<u32>,
    /// The newest checkpoint's files, then the segments behind it.
    pub files: Vec<LogFile>,
    /// Numbers of segments that should be there and are not: first and last of each gap.
    pub missing: Vec<(u32, u32)>,
    /// The lowest segment number that is still free.
    pub next_segment: u32,
}

impl LogFiles {
    /// Lists a log's directory. One that does not exist holds an empty log.
    pub fn list(fs: &dyn Fs, dir: &Path) -> Result<Self, WalError> {
        Self::list_without(fs, dir, None)
    }

    /// Lists a log's directory as it was before the checkpoint of this number, as far as it is still there.
    pub(crate) fn list_superseded(fs: &dyn Fs, dir: &Path, checkpoint: u32) -> Result<Self, WalError> {
        Self::list_without(fs, dir, Some(checkpoint))
    }

    fn list_without(fs: &dyn Fs, dir: &Path, ignored: Option<u32>) -> Result<Self, WalError> {
        let mut found = LogFiles::default();
        let entries = match fs.list(dir) {
            Ok(entries) => entries,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(WalError::io("list", dir)(error)),
        };
        let checkpoint = entries
            .iter()
            .filter(|entry| entry.is_dir)
            .filter_map(|entry| Some((names::parse_checkpoint_dir(&entry.name)?, entry)))
            .filter(|(number, _)| ignored.is_none_or(|ignored| *number < ignored))
            .max_by_key(|(number, _)| *number);
        let mut expected = None;
        if let Some((number, entry)) = checkpoint {
            found.checkpoint = Some(number);
            let dir = dir.join(&entry.name);
            for file in fs.list(&dir).map_err(WalError::io("list", &dir))? {
                found.push(&dir, &file, true);
            }
            expected = number.checked_add(1);
            found.next_segment = expected.unwrap_or(u32::MAX);
        }
        let mut segments = LogFiles::default();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            segments.push(dir, entry, false);
        }
        segments.files.sort_by_key(|file| file.number);
        for file in segments.files {
            if checkpoint.is_some_and(|(number, _)| file.number <= number) {
                continue;
            }
            if let Some(expected) = expected
                && file.number > expected
            {
                found.missing.push((expected, file.number - 1));
            }
            expected = file.number.checked_add(1);
            found.next_segment = expected.unwrap_or(u32::MAX);
            found.files.push(file);
        }
        Ok(found)
    }

    fn push(&mut self, dir: &Path, entry: &crate::fs::DirEntry, checkpoint: bool) {
        if let Some(number) = names::parse_wal_segment(&entry.name)
            && !entry.is_dir
        {
            self.files.push(LogFile { path: dir.join(&entry.name), number, checkpoint, bytes: entry.bytes });
        }
    }
}

/// What stands next in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentEvent {
    /// A record.
    Record {
        /// Where its first fragment begins.
        offset: u64,
        /// Where its last fragment ends.
        end: u64,
        /// The record: type byte first, not compressed.
        bytes: Vec<u8>,
    },
    /// A stretch that could not be read.
    Damage {
        /// Where it begins.
        offset: u64,
        /// Where it ends.
        end: u64,
        /// What was found first.
        what: String,
        /// Whether the disk refused to give some of it.
        is_unreadable: bool,
    },
    /// The end of the file.
    End {
        /// Length of the file.
        len: u64,
        /// End of the last fragment or damage; only zeros lie behind.
        content_end: u64,
    },
}

/// A fragment whose checksum is right.
#[derive(Debug, Clone, Copy)]
struct Fragment<'a> {
    kind: u8,
    compression: u8,
    data: &'a [u8],
}

enum Parsed<'a> {
    Fragment(Fragment<'a>),
    /// Only zeros up to the end of the page.
    PageEnd,
    Bad(&'static str),
}

/// Reads what stands at `position` of a page.
fn parse(page: &[u8], position: usize) -> Parsed<'_> {
    let rest = page.get(position..).unwrap_or_default();
    let Some((&[first, length_high, length_low, ref checksum @ ..], data)) =
        rest.split_first_chunk::<FRAGMENT_HEADER_BYTES>()
    else {
        return if rest.iter().all(|byte| *byte == 0) {
            Parsed::PageEnd
        } else {
            Parsed::Bad("fragment header is cut")
        };
    };
    if first == FRAGMENT_PAGE_END {
        return if rest.iter().all(|byte| *byte == 0) {
            Parsed::PageEnd
        } else {
            Parsed::Bad("bytes behind the end of a page are not zero")
        };
    }
    let kind = first & FRAGMENT_TYPE_MASK;
    let compression = first & (FRAGMENT_SNAPPY | FRAGMENT_ZSTD);
    let known = (FRAGMENT_FULL..=FRAGMENT_LAST).contains(&kind);
    if !known || first & FRAGMENT_RESERVED != 0 || compression == FRAGMENT_SNAPPY | FRAGMENT_ZSTD {
        return Parsed::Bad("fragment type is unknown");
    }
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let Some(data) = data.get(..length) else {
        return Parsed::Bad("fragment is longer than its page");
    };
    if crc32c(data) != u32::from_be_bytes(*checksum) {
        return Parsed::Bad("fragment does not give its checksum");
    }
    Parsed::Fragment(Fragment { kind, compression, data })
}

/// Whether good fragments follow each other from `position` to the end of the page.
fn chain_is_good(page: &[u8], mut position: usize) -> bool {
    loop {
        match parse(page, position) {
            Parsed::PageEnd => return true,
            Parsed::Fragment(fragment) => position += FRAGMENT_HEADER_BYTES + fragment.data.len(),
            Parsed::Bad(_) => return false,
        }
    }
}

/// Where to go on behind a bad fragment at `bad`.
fn resync(page: &[u8], bad: usize) -> usize {
    let header = page.get(bad..).and_then(|rest| rest.split_first_chunk::<FRAGMENT_HEADER_BYTES>());
    let Some((&[_, length_high, length_low, ref checksum @ ..], data)) = header else {
        return page.len();
    };
    let follows = |length: usize| {
        let next = bad + FRAGMENT_HEADER_BYTES + length;
        (next <= page.len() && !matches!(parse(page, next), Parsed::Bad(_))).then_some(next)
    };
    // Perhaps the data is right under another length: then its checksum tells which.
    let checksum = u32::from_be_bytes(*checksum);
    let mut running = 0;
    for (index, byte) in data.iter().enumerate() {
        running = crc32c::crc32c_append(running, &[*byte]);
        if running == checksum
            && let Some(next) = follows(index + 1)
        {
            return next;
        }
    }
    // Most often the data is damaged and the length is right.
    if let Some(next) = follows(usize::from(u16::from_be_bytes([length_high, length_low]))) {
        return next;
    }
    // The data of a lost record may look like fragments itself. A candidate whose followers are good up to the end of
    // the page is the best.
    let (mut first_good, mut hashed) = (None, 0);
    for position in bad + 1..page.len() {
        let length = page.get(position + 1..position + 3).and_then(|bytes| bytes.first_chunk());
        hashed += length.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)).min(page.len()));
        if hashed > RESYNC_BYTES_MAX {
            break;
        }
        if let Parsed::Fragment(fragment) = parse(page, position)
            && !fragment.data.is_empty()
        {
            if chain_is_good(page, position) {
                return position;
            }
            first_good.get_or_insert(position);
        }
    }
    first_good.unwrap_or(page.len())
}

/// A record of which not all parts were read.
#[derive(Debug)]
struct Assembly {
    offset: u64,
    compression: u8,
    data: Vec<u8>,
}

/// A stretch that could not be read.
#[derive(Debug)]
struct Stretch {
    offset: u64,
    end: u64,
    what: String,
    is_unreadable: bool,
}

/// Reads one segment from its beginning to its end.
#[derive(Debug)]
pub struct SegmentReader {
    file: Box<dyn ReadFile>,
    len: u64,
    /// The pages that were read last, and where they lie in the file.
    pages: Vec<u8>,
    pages_offset: u64,
    /// The next byte to look at.
    position: u64,
    assembly: Option<Assembly>,
    /// Damage that may still grow.
    damage: Option<Stretch>,
    events: VecDeque<SegmentEvent>,
    content_end: u64,
    ended: bool,
}

impl SegmentReader {
    /// Opens a segment. What is appended later is not read.
    pub fn open(fs: &dyn Fs, path: &Path) -> Result<Self, WalError> {
        let file = fs.open(path).map_err(WalError::io("open", path))?;
        let len = file.len().map_err(WalError::io("read the length of", path))?;
        Ok(SegmentReader {
            file,
            len,
            pages: Vec::new(),
            pages_offset: 0,
            position: 0,
            assembly: None,
            damage: None,
            events: VecDeque::new(),
            content_end: 0,
            ended: false,
        })
    }

    /// Bytes of the segment that were passed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Length of the segment when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the segment had no byte when it was opened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The record that begins at `offset`; `None` where none that can be read does.
    pub(crate) fn record_at(&mut self, offset: u64) -> Option<Vec<u8>> {
        (self.assembly, self.damage, self.ended) = (None, None, false);
        self.events.clear();
        self.position = offset;
        match self.next_event() {
            SegmentEvent::Record { offset: found, bytes, .. } if found == offset => Some(bytes),
            _ => None,
        }
    }

    /// What stands next; [`SegmentEvent::End`] from the end on.
    pub fn next_event(&mut self) -> SegmentEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if self.ended {
                return SegmentEvent::End { len: self.len, content_end: self.content_end };
            }
            self.step();
        }
    }

    /// The page that holds `position`, as far as the file goes.
    fn load(&mut self) -> Result<(), String> {
        let loaded = self.pages_offset..self.pages_offset + self.pages.len() as u64;
        if loaded.contains(&self.position) {
            return Ok(());
        }
        let page = PAGE_BYTES as u64;
        self.pages_offset = self.position / page * page;
        let wanted = (self.len - self.pages_offset).min(page * PAGES_READ as u64) as usize;
        if let Err(error) = self.fill(wanted) {
            // Perhaps only one of the pages cannot be read.
            return self.fill(wanted.min(PAGE_BYTES)).map_err(|_same| format!("page cannot be read: {error}"));
        }
        Ok(())
    }

    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.pages.clear();
        self.pages.resize(wanted, 0);
        let mut filled = 0;
        while let Some(rest) = self.pages.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.file.read_at(rest, self.pages_offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => {
                    self.pages.clear();
                    return Err(error);
                }
            }
        }
        if filled < wanted {
            // Cut while it was read.
            self.pages.truncate(filled);
            self.len = self.pages_offset + filled as u64;
        }
        Ok(())
    }

    /// Looks at the fragment at the current position.
    fn step(&mut self) {
        if self.position >= self.len {
            return self.end();
        }
        let page_bytes = PAGE_BYTES as u64;
        let page_end = ((self.position / page_bytes + 1) * page_bytes).min(self.len);
        if let Err(what) = self.load() {
            self.damaged(self.position, page_end, &what);
            if let Some(stretch) = &mut self.damage {
                (stretch.is_unreadable, stretch.what) = (true, what);
            }
            self.position = page_end;
            return;
        }
        if self.position >= self.len {
            return self.end();
        }
        let page_end = page_end.min(self.len);
        let page_start = self.position / page_bytes * page_bytes;
        let in_pages = (page_start - self.pages_offset) as usize;
        let pages = std::mem::take(&mut self.pages);
        let page = pages.get(in_pages..in_pages + (page_end - page_start) as usize).unwrap_or_default();
        let in_page = (self.position - page_start) as usize;
        match parse(page, in_page) {
            Parsed::PageEnd => {
                let whole_header = page.len() - in_page.min(page.len()) > FRAGMENT_HEADER_BYTES;
                if whole_header && self.assembly.is_some() {
                    // A record that goes on fills its page.
                    self.damaged(self.position, self.position, "record is not finished");
                }
                self.position = page_end;
            }
            Parsed::Bad(what) => {
                let next = page_start + resync(page, in_page) as u64;
                self.damaged(self.position, next, what);
                self.position = next;
            }
            Parsed::Fragment(fragment) => {
                let offset = self.position;
                self.position += (FRAGMENT_HEADER_BYTES + fragment.data.len()) as u64;
                self.content_end = self.position;
                self.take_fragment(fragment, offset);
            }
        }
        self.pages = pages;
    }

    fn take_fragment(&mut self, fragment: Fragment<'_>, offset: u64) {
        let end = self.position;
        if fragment.kind == FRAGMENT_FULL || fragment.kind == FRAGMENT_FIRST {
            if self.assembly.is_some() {
                self.damaged(offset, offset, "record is not finished");
            }
            self.assembly = Some(Assembly {
                offset,
                compression: fragment.compression,
                data: Vec::with_capacity(fragment.data.len()),
            });
        }
        let Some(assembly) = &mut self.assembly else {
            return self.damaged(offset, end, "part of a record without its beginning");
        };
        if assembly.compression != fragment.compression {
            return self.damaged(offset, end, "parts of a record are compressed differently");
        }
        if assembly.data.len() + fragment.data.len() > RECORD_BYTES_MAX {
            return self.damaged(offset, end, "record is too long");
        }
        assembly.data.extend_from_slice(fragment.data);
        if fragment.kind == FRAGMENT_FIRST || fragment.kind == FRAGMENT_MIDDLE {
            return;
        }
        if let Some(assembly) = self.assembly.take() {
            let offset = assembly.offset;
            match decompress(assembly) {
                Ok(bytes) => {
                    self.tell_damage();
                    self.events.push_back(SegmentEvent::Record { offset, end, bytes });
                }
                Err(what) => self.damaged(offset, end, what),
            }
        }
    }

    /// Notes a stretch that could not be read, with the record that it interrupts.
    fn damaged(&mut self, offset: u64, end: u64, what: &str) {
        let offset = self.assembly.take().map_or(offset, |assembly| assembly.offset);
        self.content_end = self.content_end.max(end);
        match &mut self.damage {
            Some(stretch) => stretch.end = end.max(stretch.end),
            None => self.damage = Some(Stretch { offset, end, what: what.to_owned(), is_unreadable: false }),
        }
    }

    fn tell_damage(&mut self) {
        if let Some(Stretch { offset, end, what, is_unreadable }) = self.damage.take() {
            self.events.push_back(SegmentEvent::Damage { offset, end, what, is_unreadable });
        }
    }

    fn end(&mut self) {
        if self.assembly.is_some() {
            self.damaged(self.content_end, self.content_end, "record is not finished");
        }
        self.tell_damage();
        self.ended = true;
    }
}

/// The record's bytes as they were before compression. Lengths are checked before memory is taken.
fn decompress(assembly: Assembly) -> Result<Vec<u8>, &'static str> {
    let data = assembly.data;
    let bytes = match assembly.compression {
        FRAGMENT_SNAPPY => {
            let length = snap::raw::decompress_len(&data).map_err(|_error| "snappy length is not readable")?;
            if length > RECORD_BYTES_MAX || length > data.len().saturating_mul(SNAPPY_RATIO_MAX) + 64 {
                return Err("snappy length is too long");
            }
            snap::raw::Decoder::new().decompress_vec(&data).map_err(|_error| "record does not decompress (snappy)")?
        }
        FRAGMENT_ZSTD => {
            let decoder =
                zstd::stream::read::Decoder::new(&data[..]).map_err(|_error| "zstd decoder cannot be made")?;
            let mut bytes = Vec::new();
            decoder
                .take(RECORD_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(|_error| "record does not decompress (zstd)")?;
            if bytes.len() > RECORD_BYTES_MAX {
                return Err("record is too long");
            }
            bytes
        }
        _ => data,
    };
    if bytes.is_empty() { Err("record is empty") } else { Ok(bytes) }
}
