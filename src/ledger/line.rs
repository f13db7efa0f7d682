//! Entries as lines: a checksum, a blank, a JSON array of the entries that were recorded together.

use super::event::Entry;
use crate::encoding::crc32c;

/// The first line of the file: what it is, and the version of its format.
pub(super) const HEADER: &str = "chronolith-ledger 1\n";

/// Hex digits of a checksum.
const CRC_DIGITS: usize = 8;

/// Appends a line.
pub(super) fn push(out: &mut Vec<u8>, entries: &[Entry]) -> serde_json::Result<()> {
    let json = serde_json::to_vec(entries)?;
    out.extend(format!("{:08x} ", crc32c(&json)).into_bytes());
    out.extend(json);
    out.push(b'\n');
    Ok(())
}

/// What was found in a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line.
    Entries(Vec<Entry>),
    /// Bytes from here to there that are no entry.
    Bad {
        offset: usize,
        end: usize,
        what: &'static str,
        /// Whether the file ends in it.
        is_last: bool,
    },
}

/// Reads all lines. Bad ones that follow each other are told as one.
pub(super) fn parse(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let end = offset + line.len();
        let result = match offset {
            0 if line == HEADER.as_bytes() => None,
            0 => Some(Err("ledger does not begin with its header")),
            _ => Some(entries(line)),
        };
        match (result, found.last_mut()) {
            (None, _) => {}
            (Some(Ok(entries)), _) => found.push(Found::Entries(entries)),
            (Some(Err(_)), Some(Found::Bad { end: bad_end, is_last, .. })) if *bad_end == offset => {
                (*bad_end, *is_last) = (end, end == bytes.len());
            }
            (Some(Err(what)), _) => found.push(Found::Bad { offset, end, what, is_last: end == bytes.len() }),
        }
        offset = end;
    }
    found
}

fn entries(line: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let line = line.strip_suffix(b"\n").ok_or("line has no end")?;
    let (checksum, rest) = line.split_at_checked(CRC_DIGITS).ok_or("line is short")?;
    let json = rest.strip_prefix(b" ").ok_or("line has no checksum")?;
    let is_hex = checksum.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let checksum = std::str::from_utf8(checksum).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
    if !is_hex || checksum != Some(crc32c(json)) {
        return Err("line does not give its checksum");
    }
    serde_json::from_slice(json).map_err(|_error| "line is not an event that is known")
}
