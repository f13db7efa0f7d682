//! The values of one label as text, sorted and front-coded: what is scanned where a pattern is not anchored by a prefix.
//!
//! A value is stored as what differs from the one before it. A scan keeps what it knows about the shared part: the
//! states of an automaton, or whether a text occurred in it, so that most bytes are looked at once per run of values.

use std::ops::{ControlFlow, Range};

use crate::encoding::{Corruption, Cursor, put};

/// Every so many values one is stored whole, and its offset is kept.
const RESTART: usize = 16;

/// Collects the values of one label.
#[derive(Debug, Default)]
pub(super) struct TextsWriter {
    restarts: Vec<u8>,
    entries: Vec<u8>,
    last: Vec<u8>,
    count: usize,
}

impl TextsWriter {
    /// Adds the next value in order.
    pub(super) fn push(&mut self, value: &[u8]) {
        let shared = if self.count.is_multiple_of(RESTART) {
            put::u32_be(&mut self.restarts, u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
            0
        } else {
            self.last.iter().zip(value).take_while(|(a, b)| a == b).count()
        };
        put::uvarint(&mut self.entries, shared as u64);
        put::uvarint_slice(&mut self.entries, &value[shared..]);
        self.last.clear();
        self.last.extend_from_slice(value);
        self.count += 1;
    }

    /// The two parts of the section; `None` where offsets of 32 bits don't reach.
    pub(super) fn finish(&self) -> Option<[&[u8]; 2]> {
        u32::try_from(self.entries.len()).ok().map(|_| [self.restarts.as_slice(), self.entries.as_slice()])
    }
}

/// The values of one label, read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    restarts: &'a [u8],
    entries: &'a [u8],
    count: u32,
}

/// A value on its way through a scan.
pub(super) struct Text<'a> {
    pub(super) ordinal: u32,
    /// How many bytes it begins with are those of the value visited before it.
    pub(super) shared: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    /// The section of a label with `count` values.
    pub(super) fn new(section: &'a [u8], count: u32) -> Result<Self, Corruption> {
        let restarts = (count as usize).div_ceil(RESTART) * 4;
        match section.split_at_checked(restarts) {
            Some((restarts, entries)) => Ok(Texts { restarts, entries, count }),
            None => Err(Corruption { what: "values end early", offset: section.len() }),
        }
    }

    /// Shows the values with these ordinals, in order, until `visit` breaks.
    pub(super) fn scan(
        &self,
        ordinals: Range<u32>,
        mut visit: impl FnMut(Text<'_>) -> ControlFlow<()>,
    ) -> Result<(), Corruption> {
        let end = ordinals.end.min(self.count);
        if ordinals.start >= end {
            return Ok(());
        }
        let first = ordinals.start as usize / RESTART;
        let mut restart = Cursor::new(self.restarts.get(first * 4..).unwrap_or_default());
        let mut cursor = Cursor::new(self.entries);
        cursor.take(restart.u32_be()? as usize)?;
        let mut value: Vec<u8> = Vec::with_capacity(64);
        // What the value has in common with the last one shown; all is new at the first.
        let mut shared = 0;
        for ordinal in (first * RESTART) as u32..end {
            let kept = cursor.uvarint()?;
            if kept > value.len() as u64 {
                return Err(cursor.corrupt("value shares more than there is"));
            }
            value.truncate(kept as usize);
            value.extend_from_slice(cursor.uvarint_slice()?);
            if ordinal < ordinals.start {
                continue;
            }
            if ordinal > ordinals.start {
                shared = kept as usize;
            }
            if visit(Text { ordinal, shared, bytes: &value }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(values: &[&str]) -> Vec<u8> {
        let mut writer = TextsWriter::default();
        values.iter().for_each(|value| writer.push(value.as_bytes()));
        writer.finish().unwrap().concat()
    }

    #[test]
    fn texts_of_any_range_read_back() {
        let values: Vec<String> = (0..100).map(|number| format!("value-{number:05}")).collect();
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let section = section(&texts);
        let reader = Texts::new(&section, 100).unwrap();
        for range in [0..100, 0..1, 15..17, 16..48, 99..100, 99..1000, 50..50, 200..300] {
            let mut seen = Vec::new();
            let mut last: Vec<u8> = Vec::new();
            let visit = |text: Text<'_>| {
                assert_eq!(last.get(..text.shared), text.bytes.get(..text.shared));
                last = text.bytes.to_vec();
                seen.push((text.ordinal, String::from_utf8(text.bytes.to_vec()).unwrap()));
                ControlFlow::Continue(())
            };
            reader.scan(range.clone(), visit).unwrap();
            let expected: Vec<(u32, String)> =
                range.filter_map(|ordinal| Some((ordinal, values.get(ordinal as usize)?.clone()))).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn texts_that_end_early_or_share_too_much_are_refused() {
        let section = section(&["aa", "ab"]);
        for cut in 0..section.len() {
            let result =
                Texts::new(&section[..cut], 2).and_then(|texts| texts.scan(0..2, |_| ControlFlow::Continue(())));
            assert!(result.is_err(), "{cut}");
        }
        let mut shares = section;
        shares[8] = 9;
        let texts = Texts::new(&shares, 2).unwrap();
        assert!(texts.scan(0..2, |_| ControlFlow::Continue(())).is_err());
    }
}
