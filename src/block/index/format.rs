//! Numbers and small parts of the index that writer and reader share.

use crate::block::chunks::BlockChunkRef;
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::model::TimeRange;

/// First four bytes, big-endian.
pub(super) const MAGIC: u32 = 0xBAAA_D700;
/// The version that is written; the fifth byte.
pub(super) const VERSION_2: u8 = 2;
/// The older version, which is read.
pub(super) const VERSION_1: u8 = 1;
/// Bytes in front of the symbols: magic, version.
pub(super) const HEADER_BYTES: usize = 5;
/// Series entries of version 2 start at multiples of this.
pub(super) const SERIES_ALIGN: u64 = 16;
/// Postings lists start at multiples of this.
pub(super) const POSTINGS_ALIGN: u64 = 4;
/// Bytes of every checksum and of the length in front of most sections.
pub(super) const CHECKSUM_BYTES: usize = 4;
/// Bytes of the table of contents at the end of the file.
pub(super) const TOC_BYTES: usize = 6 * 8 + CHECKSUM_BYTES;
/// Strings in an entry of the postings offset table: name and value.
pub(super) const PAIR_KEYS: u64 = 2;

/// One chunk of a series as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::block) struct ChunkMeta {
    /// From the first to the last sample.
    pub(in crate::block) range: TimeRange,
    /// Where the chunk lies.
    pub(in crate::block) place: BlockChunkRef,
}

/// Where the sections of an index start, 0 for one that is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Toc {
    pub(super) symbols: u64,
    pub(super) series: u64,
    pub(super) label_indices: u64,
    pub(super) label_index_table: u64,
    pub(super) postings: u64,
    pub(super) postings_table: u64,
}

impl Toc {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TOC_BYTES);
        for offset in
            [self.symbols, self.series, self.label_indices, self.label_index_table, self.postings, self.postings_table]
        {
            put::u64_be(&mut out, offset);
        }
        let checksum = crc32c(&out);
        put::u32_be(&mut out, checksum);
        out
    }

    /// Reads the table at the end of an index, and checks that the sections lie within the file.
    pub(super) fn decode(index: &[u8]) -> Result<Self, Corruption> {
        let Some((before, toc)) = index.split_last_chunk::<TOC_BYTES>() else {
            return Err(Corruption { what: "index is too short for a table of contents", offset: 0 });
        };
        let fault = |what| Corruption { what, offset: before.len() };
        let Some((offsets, checksum)) = toc.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(fault("index is too short for a table of contents"));
        };
        if crc32c(offsets) != u32::from_be_bytes(*checksum) {
            return Err(fault("checksum of the table of contents does not match"));
        }
        let mut cursor = Cursor::new(offsets);
        let toc = Toc {
            symbols: cursor.u64_be()?,
            series: cursor.u64_be()?,
            label_indices: cursor.u64_be()?,
            label_index_table: cursor.u64_be()?,
            postings: cursor.u64_be()?,
            postings_table: cursor.u64_be()?,
        };
        let end = before.len() as u64;
        let offsets = [toc.symbols, toc.series, toc.label_indices, toc.label_index_table, toc.postings];
        if offsets.iter().chain([&toc.postings_table]).any(|&offset| offset > end) {
            return Err(fault("section lies behind the end of the index"));
        }
        Ok(toc)
    }
}

/// How many bytes [`put::uvarint`] takes for `value`.
pub(super) fn uvarint_bytes(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

/// Appends the part of a series entry that follows its labels.
pub(super) fn put_chunks(out: &mut Vec<u8>, chunks: &[ChunkMeta]) {
    put::uvarint(out, chunks.len() as u64);
    let mut before: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match before {
            None => put::varint(out, chunk.range.start_ms),
            Some(before) => put::uvarint(out, chunk.range.start_ms.wrapping_sub(before.range.end_ms) as u64),
        }
        put::uvarint(out, chunk.range.end_ms.wrapping_sub(chunk.range.start_ms) as u64);
        match before {
            None => put::uvarint(out, chunk.place.0),
            Some(before) => put::varint(out, chunk.place.0.wrapping_sub(before.place.0) as i64),
        }
        before = Some(chunk);
    }
}

/// Reads the part of a series entry that follows its labels. The times of chunks rise, but for nonsense.
pub(super) fn take_chunks(cursor: &mut Cursor<'_>, chunks: &mut Vec<ChunkMeta>) -> Result<(), Corruption> {
    chunks.clear();
    let count = cursor.uvarint()?;
    // Each takes three bytes at least.
    if count > cursor.remaining() as u64 / 3 {
        return Err(cursor.corrupt("more chunks than fit into the series entry"));
    }
    chunks.reserve_exact(count as usize);
    for _ in 0..count {
        let before = chunks.last().copied();
        let start_ms = match before {
            None => cursor.varint()?,
            Some(before) => before.range.end_ms.wrapping_add(cursor.uvarint()? as i64),
        };
        let end_ms = start_ms.wrapping_add(cursor.uvarint()? as i64);
        let place = match before {
            None => cursor.uvarint()?,
            Some(before) => before.place.0.wrapping_add(cursor.varint()? as u64),
        };
        if end_ms < start_ms {
            return Err(cursor.corrupt("chunk ends before it starts"));
        }
        chunks.push(ChunkMeta { range: TimeRange::new(start_ms, end_ms), place: BlockChunkRef(place) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uvarint_bytes_is_what_is_written() {
        for value in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put::uvarint(&mut out, value);
            assert_eq!(uvarint_bytes(value), out.len() as u64, "{value}");
        }
    }

    #[test]
    fn chunks_of_a_series_written_and_read_back_are_equal() {
        let chunk = |start, end, place| ChunkMeta { range: TimeRange::new(start, end), place: BlockChunkRef(place) };
        for chunks in [
            vec![],
            vec![chunk(i64::MIN, i64::MAX, u64::MAX)],
            vec![chunk(-10, 5, 8), chunk(6, 6, 300), chunk(9, i64::MAX, 1 << 32 | 8), chunk(i64::MAX, i64::MAX, 9)],
        ] {
            let mut out = Vec::new();
            put_chunks(&mut out, &chunks);
            let mut read = Vec::new();
            take_chunks(&mut Cursor::new(&out), &mut read).unwrap();
            assert_eq!(read, chunks);
        }
    }
}
