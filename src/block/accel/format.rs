//! The frame of the file: header, table of sections, trailer.

use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::model::{Digest, Tally};

/// First bytes of every accelerator.
const MAGIC: [u8; 8] = *b"CHRACCEL";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Bytes in front of the first section.
pub(super) const HEADER_BYTES: usize = 44;
/// Bytes behind the table.
pub(super) const TRAILER_BYTES: usize = 16;

/// The index that an accelerator was made from. Another one's answers would be wrong, so it is compared before use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexIdentity {
    /// The block's ULID as a number.
    pub ulid: u128,
    /// Length of the index file.
    pub index_bytes: u64,
    /// CRC-32C of the index's table of contents, as its last four bytes have it.
    pub index_toc_crc: u32,
}

/// A part of the file with a checksum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// The sections of one label name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelEntry {
    pub(super) name: String,
    /// How many values the name has.
    pub(super) values: u32,
    /// The `fst` from value to ordinal.
    pub(super) terms: Extent,
    /// The values, front-coded.
    pub(super) texts: Extent,
    /// The series of each value, and of all values.
    pub(super) postings: Extent,
}

/// What the file holds, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// How many series the block has; ordinals are below it.
    pub(super) series: u32,
    /// All samples in the block's chunks.
    pub(super) tally: Tally,
    /// Ordinal to reference in the index.
    pub(super) refs: Extent,
    /// Samples of each series.
    pub(super) tallies: Extent,
    /// Sorted by name.
    pub(super) labels: Vec<LabelEntry>,
}

/// The header of an accelerator of this index.
pub(super) fn header(identity: &IndexIdentity) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    put::u32_be(&mut out, VERSION);
    out.extend_from_slice(&identity.ulid.to_be_bytes());
    put::u64_be(&mut out, identity.index_bytes);
    put::u32_be(&mut out, identity.index_toc_crc);
    let crc = crc32c(&out);
    put::u32_be(&mut out, crc);
    out
}

/// Reads the header: the index that the file was made from.
pub(super) fn read_header(file: &[u8]) -> Result<IndexIdentity, Corruption> {
    let mut cursor = Cursor::new(file);
    let body = cursor.clone().take(HEADER_BYTES - 4)?;
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err(Corruption { what: "not an accelerator", offset: 0 });
    }
    if cursor.u32_be()? != VERSION {
        return Err(Corruption { what: "version is not 1", offset: MAGIC.len() });
    }
    let identity = IndexIdentity {
        ulid: u128::from_be_bytes(cursor.array()?),
        index_bytes: cursor.u64_be()?,
        index_toc_crc: cursor.u32_be()?,
    };
    if cursor.u32_be()? != crc32c(body) {
        return Err(Corruption { what: "checksum of the header does not match", offset: 0 });
    }
    Ok(identity)
}

/// The table and the trailer, which stand at `offset`, the end of the last section.
pub(super) fn table_and_trailer(table: &Table, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let extent = |out: &mut Vec<u8>, extent: &Extent| {
        put::u64_be(out, extent.offset);
        put::u64_be(out, extent.bytes);
        put::u32_be(out, extent.crc);
    };
    put::u32_be(&mut out, table.series);
    put::u64_be(&mut out, table.tally.samples);
    out.extend_from_slice(&table.tally.digest.0.to_be_bytes());
    extent(&mut out, &table.refs);
    extent(&mut out, &table.tallies);
    put::uvarint(&mut out, table.labels.len() as u64);
    for label in &table.labels {
        put::uvarint_slice(&mut out, label.name.as_bytes());
        put::u32_be(&mut out, label.values);
        extent(&mut out, &label.terms);
        extent(&mut out, &label.texts);
        extent(&mut out, &label.postings);
    }
    let table_crc = crc32c(&out);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    put::u64_be(&mut trailer, offset);
    put::u32_be(&mut trailer, table_crc);
    let crc = crc32c(&trailer);
    put::u32_be(&mut trailer, crc);
    out.extend_from_slice(&trailer);
    out
}

/// Reads the table. Every extent of it lies within the file.
pub(super) fn read_table(file: &[u8]) -> Result<Table, Corruption> {
    let end = file.len().checked_sub(TRAILER_BYTES).filter(|&end| end >= HEADER_BYTES);
    let Some(end) = end else { return Err(Corruption { what: "file is too short", offset: file.len() }) };
    let fault = |what| Corruption { what, offset: end };
    let (body, trailer) = file.split_at(end);
    let mut cursor = Cursor::new(trailer);
    let start = cursor.u64_be()?;
    let table_crc = cursor.u32_be()?;
    if cursor.u32_be()? != crc32c(&trailer[..TRAILER_BYTES - 4]) {
        return Err(fault("checksum of the trailer does not match"));
    }
    let bytes = usize::try_from(start).ok().filter(|&start| start >= HEADER_BYTES).and_then(|start| body.get(start..));
    let bytes = bytes.ok_or(fault("table lies outside the file"))?;
    if crc32c(bytes) != table_crc {
        return Err(fault("checksum of the table does not match"));
    }
    let mut cursor = Cursor::new(bytes);
    let extent = |cursor: &mut Cursor<'_>| {
        let extent = Extent { offset: cursor.u64_be()?, bytes: cursor.u64_be()?, crc: cursor.u32_be()? };
        let inside = extent.offset >= HEADER_BYTES as u64
            && extent.offset.checked_add(extent.bytes).is_some_and(|behind| behind <= start);
        if inside { Ok(extent) } else { Err(cursor.corrupt("section lies outside the file")) }
    };
    let series = cursor.u32_be()?;
    let tally = Tally { samples: cursor.u64_be()?, digest: Digest(u128::from_be_bytes(cursor.array()?)) };
    let refs = extent(&mut cursor)?;
    let tallies = extent(&mut cursor)?;
    let count = cursor.uvarint()?;
    if count > cursor.remaining() as u64 {
        return Err(cursor.corrupt("more labels than there are bytes"));
    }
    let mut labels: Vec<LabelEntry> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let name = std::str::from_utf8(cursor.uvarint_slice()?)
            .map_err(|_| cursor.corrupt("label name is not UTF-8"))?
            .to_owned();
        if labels.last().is_some_and(|last| last.name >= name) {
            return Err(cursor.corrupt("label names are out of order"));
        }
        let values = cursor.u32_be()?;
        let (terms, texts, postings) = (extent(&mut cursor)?, extent(&mut cursor)?, extent(&mut cursor)?);
        labels.push(LabelEntry { name, values, terms, texts, postings });
    }
    if !cursor.is_empty() {
        return Err(cursor.corrupt("bytes behind the table"));
    }
    Ok(Table { series, tally, refs, tallies, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_reads_back_and_refuses_an_extent_outside() {
        let identity = IndexIdentity { ulid: 7, index_bytes: 99, index_toc_crc: 3 };
        let mut file = header(&identity);
        file.extend_from_slice(&[0; 10]);
        let extent = |bytes| Extent { offset: HEADER_BYTES as u64, bytes, crc: 1 };
        let label = |name: &str| LabelEntry {
            name: name.to_owned(),
            values: 2,
            terms: extent(1),
            texts: extent(2),
            postings: extent(3),
        };
        let tally = Tally { samples: 5, digest: Digest(9) };
        let mut table =
            Table { series: 3, tally, refs: extent(10), tallies: extent(0), labels: vec![label("a"), label("b")] };
        let whole = |table: &Table| [file.clone(), table_and_trailer(table, file.len() as u64)].concat();
        assert_eq!(read_header(&whole(&table)), Ok(identity));
        assert_eq!(read_table(&whole(&table)), Ok(table.clone()));
        table.labels[1].postings = extent(11);
        assert_eq!(read_table(&whole(&table)).unwrap_err().what, "section lies outside the file");
        table.labels.truncate(1);
        table.labels.push(label("a"));
        assert_eq!(read_table(&whole(&table)).unwrap_err().what, "label names are out of order");
    }
}
