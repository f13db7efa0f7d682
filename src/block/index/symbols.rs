//! The symbol table of an index: its strings by number.

use std::ops::Range;

use super::format::{CHECKSUM_BYTES, VERSION_1};
use crate::encoding::{Corruption, Cursor, crc32c};

/// The place of every so manieth string is kept in memory; those between are walked to.
const STEP: usize = 8;

/// Where the strings are.
#[derive(Debug)]
pub(super) struct SymbolTable {
    /// Where they lie in the index.
    extent: Range<usize>,
    count: u32,
    /// Place of every [`STEP`]th, counted from the start of the extent.
    places: Vec<u32>,
    /// Whether strings are known by their offset in the file, as in version 1, and not by their place in the order.
    by_offset: bool,
    /// What is wrong with the table, if anything: then a string may be another than it was.
    fault: Option<Corruption>,
    /// The strings from elsewhere, where the table is damaged.
    rebuilt: Option<Vec<Box<str>>>,
}

/// The content of a section with a 32-bit length in front and a checksum behind; whether the checksum matches is said
/// apart. An error: it does not lie within the index.
pub(super) fn section(index: &[u8], offset: u64) -> Result<(Range<usize>, Option<Corruption>), Corruption> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let fault = |what| Corruption { what, offset };
    let rest = index.get(offset..).ok_or(fault("section lies behind the end of the index"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(fault("section lies behind the end of the index"))?;
    let length = u32::from_be_bytes(*length) as usize;
    let content = rest.get(..length).ok_or(fault("section goes on behind the end of the index"))?;
    let checksum =
        rest.get(length..length + CHECKSUM_BYTES).ok_or(fault("section goes on behind the end of the index"))?;
    let matches = crc32c(content).to_be_bytes() == checksum;
    Ok((
        offset + 4..offset + 4 + length,
        (!matches).then(|| fault("checksum of a section of the index does not match")),
    ))
}

impl SymbolTable {
    /// Reads the table at `offset`, behind which the next section starts at `next`. What is wrong with it is
    /// remembered, and as much of it used as can be.
    pub(super) fn open(index: &[u8], offset: u64, next: u64, version: u8) -> Self {
        let mut table = SymbolTable {
            extent: 0..0,
            count: 0,
            places: Vec::new(),
            by_offset: version == VERSION_1,
            fault: None,
            rebuilt: None,
        };
        let read = match section(index, offset) {
            Ok((extent, None)) => table.read(index, extent, true),
            Ok((_, Some(fault))) | Err(fault) => {
                table.fault = Some(fault);
                // Neither length nor count can be trusted, so what lies in between is taken for strings.
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
                table.read(index, at(offset).saturating_add(4)..at(next).saturating_sub(CHECKSUM_BYTES), false)
            }
        };
        if let Err(fault) = read {
            table.fault = table.fault.or(Some(fault));
        }
        table
    }

    fn read(&mut self, index: &[u8], extent: Range<usize>, is_whole: bool) -> Result<(), Corruption> {
        let mut cursor = Cursor::new(index.get(extent.clone()).unwrap_or_default());
        let count = cursor.u32_be()?;
        self.extent = extent.start + cursor.position()..extent.end;
        let first = cursor.position();
        let mut before: Option<&[u8]> = None;
        while if is_whole { self.count < count } else { !cursor.is_empty() } {
            let place = (cursor.position() - first) as u32;
            let text = cursor.uvarint_slice()?;
            if (self.count as usize).is_multiple_of(STEP) {
                self.places.push(place);
            }
            if is_whole && !self.by_offset && before.is_some_and(|before| before >= text) {
                return Err(cursor.corrupt("symbols are not in order"));
            }
            before = Some(text);
            self.count += 1;
        }
        if cursor.is_empty() { Ok(()) } else { Err(cursor.corrupt("bytes behind the symbols")) }
    }

    /// Takes the strings from `texts`, sorted and each once, where the table is damaged and says that there are as
    /// many (or one more, as Prometheus also has the empty string).
    pub(super) fn rebuild(&mut self, index: &[u8], texts: Vec<Box<str>>) {
        let count_at = self.extent.start.saturating_sub(4);
        let count = index.get(count_at..).and_then(|bytes| bytes.first_chunk()).map(|count| u32::from_be_bytes(*count));
        let count = count.map_or(0, |count| count as usize);
        if self.by_offset || self.fault.is_none() {
            return;
        }
        if count == texts.len() {
            self.rebuilt = Some(texts);
        } else if count == texts.len() + 1 && index.get(self.extent.start) == Some(&0) {
            self.rebuilt = Some(std::iter::once(Box::from("")).chain(texts).collect());
        }
    }

    /// What is wrong with the table.
    pub(super) fn fault(&self) -> Option<Corruption> {
        self.fault
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// A string by its number.
    pub(super) fn get<'a>(&'a self, index: &'a [u8], number: u64) -> Result<&'a str, Corruption> {
        let fault = Corruption { what: "series names a symbol that does not exist", offset: self.extent.start };
        if let Some(rebuilt) = &self.rebuilt {
            return usize::try_from(number)
                .ok()
                .and_then(|number| rebuilt.get(number))
                .map(|text| &**text)
                .ok_or(fault);
        }
        let (place, skipped) = if self.by_offset {
            let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(self.extent.start));
            (place.ok_or(fault)?, 0)
        } else {
            let number = usize::try_from(number).ok().filter(|&number| number < self.len()).ok_or(fault)?;
            (*self.places.get(number / STEP).ok_or(fault)? as usize, number % STEP)
        };
        let content = index.get(self.extent.clone()).and_then(|extent| extent.get(place..)).ok_or(fault)?;
        let mut cursor = Cursor::new(content);
        for _ in 0..skipped {
            cursor.uvarint_slice()?;
        }
        cursor.uvarint_str()
    }

    /// Each string, in order.
    pub(super) fn iter<'a>(&self, index: &'a [u8]) -> impl Iterator<Item = Result<&'a str, Corruption>> + 'a {
        let mut cursor = Cursor::new(index.get(self.extent.clone()).unwrap_or_default());
        (0..self.count).map(move |_| cursor.uvarint_str())
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>()
    }
}
