//! The postings offset table of an index: for each label where the list of its series is.
//!
//! It is searched in place. Of each name, the place of its first and of every 32nd value is kept in memory, so that a
//! block with a million values of a label costs a few hundred kilobytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::format::{PAIR_KEYS, VERSION_1};
use super::symbols::section;
use crate::encoding::{Corruption, Cursor};

/// The place of every so manieth value is kept.
const STEP: u32 = 32;

/// The values of one label name.
#[derive(Debug, Default)]
struct NameValues {
    /// Place of every `step`th entry, counted from the start of the table's content.
    places: Vec<u32>,
    /// How many entries there are.
    count: u32,
}

/// Where lists are.
#[derive(Debug)]
pub(super) struct PostingsTable {
    /// Where the table's content lies in the index.
    extent: Range<usize>,
    names: BTreeMap<Box<str>, NameValues>,
    /// Entries from one kept place to the next: 1 in an index of version 1, whose table is in no order.
    step: u32,
    /// Offset of the list of all series.
    all: u64,
}

/// An entry: name, value, offset of the list.
type Entry<'a> = (&'a str, &'a str, u64);

fn take_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, Corruption> {
    if cursor.uvarint()? != PAIR_KEYS {
        return Err(cursor.corrupt("entry of the postings offset table has not two strings"));
    }
    Ok((cursor.uvarint_str()?, cursor.uvarint_str()?, cursor.uvarint()?))
}

impl PostingsTable {
    /// Reads the table and checks that it is in order.
    pub(super) fn open(index: &[u8], offset: u64, version: u8) -> Result<Self, Corruption> {
        let (extent, fault) = section(index, offset)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let content = index.get(extent.clone()).unwrap_or_default();
        let mut cursor = Cursor::new(content);
        let count = cursor.u32_be()?;
        let mut table =
            PostingsTable { extent, names: BTreeMap::new(), step: if version == VERSION_1 { 1 } else { STEP }, all: 0 };
        let mut has_all = false;
        let mut before: Option<(&str, &str)> = None;
        // The values of the name under way.
        let mut values = NameValues::default();
        for _ in 0..count {
            let place = cursor.position() as u32;
            let (name, value, list) = take_entry(&mut cursor)?;
            if (name, value) == ("", "") {
                table.all = list;
                has_all = true;
                continue;
            }
            if version == VERSION_1 {
                let values = table.names.entry(name.into()).or_default();
                values.places.push(place);
                values.count += 1;
                continue;
            }
            if before.is_some_and(|before| before >= (name, value)) {
                return Err(cursor.corrupt("postings offset table is not in order"));
            }
            if let Some((before, _)) = before
                && before != name
            {
                table.names.insert(before.into(), std::mem::take(&mut values));
            }
            if values.count.is_multiple_of(STEP) {
                values.places.push(place);
            }
            values.count += 1;
            before = Some((name, value));
        }
        if let Some((before, _)) = before {
            table.names.insert(before.into(), values);
        }
        if !has_all || !cursor.is_empty() {
            return Err(cursor.corrupt("postings offset table is not whole"));
        }
        if version == VERSION_1 {
            let value_at = |place: u32| {
                let mut cursor = Cursor::new(content.get(place as usize..).unwrap_or_default());
                take_entry(&mut cursor).map_or("", |(_, value, _)| value)
            };
            for values in table.names.values_mut() {
                values.places.sort_by_key(|&place| value_at(place));
            }
        }
        Ok(table)
    }

    /// Offset of the list of all series.
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// The label names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + '_ {
        self.names.keys().map(|name| &**name)
    }

    /// How many values a label has.
    pub(super) fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |values| values.count as usize)
    }

    fn cursor_at<'a>(&self, index: &'a [u8], place: u32) -> Cursor<'a> {
        let content = index.get(self.extent.clone()).unwrap_or_default();
        Cursor::new(content.get(place as usize..).unwrap_or_default())
    }

    /// The entries from the `first`th kept place of a name on.
    fn entries_from<'a>(
        &'a self,
        index: &'a [u8],
        values: &'a NameValues,
        first: usize,
    ) -> impl Iterator<Item = Result<(&'a str, u64), Corruption>> + 'a {
        let mut left = values.count.saturating_sub(self.step.saturating_mul(first as u32));
        values.places.get(first..).unwrap_or_default().iter().flat_map(move |&place| {
            let mut cursor = self.cursor_at(index, place);
            let here = left.min(self.step);
            left -= here;
            (0..here).map(move |_| take_entry(&mut cursor).map(|(_, value, list)| (value, list)))
        })
    }

    /// The values of a label with the offsets of their lists, sorted, from the first on that is not less than `from`.
    pub(super) fn values<'a>(
        &'a self,
        index: &'a [u8],
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = Result<(&'a str, u64), Corruption>> + 'a {
        let values = self.names.get(name);
        let first = values.map_or(0, |values| {
            let is_before_or_at =
                |place: &u32| take_entry(&mut self.cursor_at(index, *place)).is_ok_and(|(_, value, _)| value <= from);
            values.places.partition_point(is_before_or_at).saturating_sub(1)
        });
        let from = from.to_owned();
        let entries = values.map(|values| self.entries_from(index, values, first));
        let is_before = move |entry: &Result<(&str, u64), Corruption>| entry.is_ok_and(|(value, _)| value < &*from);
        entries.into_iter().flatten().skip_while(is_before)
    }

    /// All names and values, sorted, each once.
    pub(super) fn texts(&self, index: &[u8]) -> Result<Vec<Box<str>>, Corruption> {
        let mut texts: Vec<Box<str>> = self.names.keys().cloned().collect();
        for name in self.names() {
            for value in self.values(index, name, "") {
                texts.push(value?.0.into());
            }
        }
        texts.sort_unstable();
        texts.dedup();
        Ok(texts)
    }

    /// The offset of the list of a label.
    pub(super) fn find(&self, index: &[u8], name: &str, value: &str) -> Result<Option<u64>, Corruption> {
        match self.values(index, name, value).next() {
            Some(entry) => entry.map(|(found, list)| (found == value).then_some(list)),
            None => Ok(None),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let of_values = |values: &NameValues| size_of::<NameValues>() + values.places.capacity() * size_of::<u32>();
        let of_name = |name: &str| size_of::<Box<str>>() + name.len();
        self.names().map(of_name).sum::<usize>() + self.names.values().map(of_values).sum::<usize>()
    }
}
