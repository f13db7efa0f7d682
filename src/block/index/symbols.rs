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
    /// Reads the table. What is wrong with it is remembered, and as much of it used as can be.
    pub(super) fn open(index: &[u8], offset: u64, version: u8) -> Self {
        let mut table =
            SymbolTable { extent: 0..0, count: 0, places: Vec::new(), by_offset: version == VERSION_1, fault: None };
        if let Err(fault) = table.read(index, offset) {
            table.fault = table.fault.or(Some(fault));
        }
        table
    }

    fn read(&mut self, index: &[u8], offset: u64) -> Result<(), Corruption> {
        let (extent, fault) = section(index, offset)?;
        self.fault = fault;
        let content = index.get(extent.clone()).unwrap_or_default();
        let mut cursor = Cursor::new(content);
        let count = cursor.u32_be()?;
        self.extent = extent.start + cursor.position()..extent.end;
        let first = cursor.position();
        let mut before: Option<&[u8]> = None;
        while self.count < count {
            if self.count as usize % STEP == 0 {
                self.places.push((cursor.position() - first) as u32);
            }
            let text = cursor.uvarint_slice()?;
            if !self.by_offset && before.is_some_and(|before| before >= text) {
                return Err(cursor.corrupt("symbols are not in order"));
            }
            before = Some(text);
            self.count += 1;
        }
        if cursor.is_empty() { Ok(()) } else { Err(cursor.corrupt("bytes behind the symbols")) }
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
    pub(super) fn get<'a>(&self, index: &'a [u8], number: u64) -> Result<&'a str, Corruption> {
        let fault = Corruption { what: "series names a symbol that does not exist", offset: self.extent.start };
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
