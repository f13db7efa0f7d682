//! Reads an index where it lies in a mapped file, versions 1 and 2.
//!
//! Only a damaged table of contents makes an index unreadable. The sections back each other up: symbols can be proven by
//! postings, and what the postings say can be found by walking over all series. The caller decides when
//! ([`lookup`](crate::block::lookup)).

use super::SeriesRef;
use super::format::{
    CHECKSUM_BYTES, ChunkMeta, HEADER_BYTES, MAGIC, SERIES_ALIGN, TOC_BYTES, Toc, VERSION_1, VERSION_2, take_chunks,
};
use super::postings::PostingsList;
use super::symbols::SymbolTable;
use super::table::PostingsTable;
use crate::encoding::{Corruption, Cursor, crc32c};
use crate::fs::MappedFile;
use crate::model::{Label, LabelSet, LabelSetScratch};

/// Behind damage, where the next entry is searched for, none longer is taken for one: so the search stays quick whatever
/// the bytes say.
const SEARCHED_ENTRY_BYTES_MAX: usize = 64 << 10;

/// An index.
#[derive(Debug)]
pub(in crate::block) struct IndexReader {
    bytes: MappedFile,
    version: u8,
    toc: Toc,
    symbols: SymbolTable,
    table: Result<PostingsTable, Corruption>,
}

/// Reads series, one after the other: what they have in common is looked up once.
#[derive(Debug)]
pub(in crate::block) struct SeriesReader<'a> {
    index: &'a IndexReader,
    /// The labels of the series that was read last: number and text of name and value.
    labels: Vec<[(u64, &'a str); 2]>,
    /// Its chunks.
    chunks: Vec<ChunkMeta>,
    scratch: LabelSetScratch,
}

impl IndexReader {
    /// Opens an index. Damage in other sections than the table of contents is found when they are used.
    pub(in crate::block) fn open(bytes: MappedFile) -> Result<Self, Corruption> {
        let mut cursor = Cursor::new(&bytes);
        if cursor.u32_be()? != MAGIC {
            return Err(Corruption { what: "not an index", offset: 0 });
        }
        let version = cursor.u8()?;
        if !matches!(version, VERSION_1 | VERSION_2) {
            return Err(Corruption { what: "unknown version of an index", offset: HEADER_BYTES - 1 });
        }
        let toc = Toc::decode(&bytes)?;
        let mut symbols = SymbolTable::open(&bytes, toc.symbols, toc.series, version);
        let table = PostingsTable::open(&bytes, toc.postings_table, version);
        if let (Some(_), Ok(table)) = (symbols.fault(), &table) {
            // The table of postings repeats every string that a series uses.
            symbols.rebuild(&bytes, table.texts(&bytes).unwrap_or_default());
        }
        Ok(IndexReader { version, toc, symbols, table, bytes })
    }

    /// The bytes of the file.
    pub(in crate::block) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The checksum of the table of contents: with the length of the file, it tells one index from another.
    pub(in crate::block) fn toc_checksum(&self) -> u32 {
        self.bytes.last_chunk().map_or(0, |checksum| u32::from_be_bytes(*checksum))
    }

    /// Bytes on the heap.
    pub(in crate::block) fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes() + self.table.as_ref().map_or(0, PostingsTable::heap_bytes)
    }

    /// What is wrong with the symbols, if anything.
    pub(in crate::block) fn symbols_fault(&self) -> Option<Corruption> {
        self.symbols.fault()
    }

    /// What is wrong with the postings offset table, if anything.
    pub(in crate::block) fn table_fault(&self) -> Option<Corruption> {
        self.table.as_ref().err().copied()
    }

    /// Each symbol, in order.
    pub(in crate::block) fn symbols(&self) -> impl Iterator<Item = Result<&str, Corruption>> + '_ {
        self.symbols.iter(&self.bytes)
    }

    fn table(&self) -> Result<&PostingsTable, Corruption> {
        self.table.as_ref().map_err(|fault| *fault)
    }

    /// All series.
    pub(in crate::block) fn all(&self) -> Result<PostingsList<'_>, Corruption> {
        PostingsList::read(&self.bytes, self.table()?.all())
    }

    /// How many series there are, as far as the length of their list tells.
    pub(in crate::block) fn series_count(&self) -> Result<usize, Corruption> {
        PostingsList::len_at(&self.bytes, self.table()?.all())
    }

    /// The series that carry a label; none where there is no such label.
    pub(in crate::block) fn postings(&self, name: &str, value: &str) -> Result<PostingsList<'_>, Corruption> {
        match self.table()?.find(&self.bytes, name, value)? {
            Some(offset) => PostingsList::read(&self.bytes, offset),
            None => Ok(PostingsList::default()),
        }
    }

    /// The label names, sorted.
    pub(in crate::block) fn names(&self) -> Result<impl Iterator<Item = &str> + '_, Corruption> {
        Ok(self.table()?.names())
    }

    /// How many values a label has.
    pub(in crate::block) fn value_count(&self, name: &str) -> Result<usize, Corruption> {
        Ok(self.table()?.value_count(name))
    }

    /// The values of a label with the offsets of their lists, sorted, from the first on that is not less than `from`.
    pub(in crate::block) fn values<'a>(
        &'a self,
        name: &str,
        from: &str,
    ) -> Result<impl Iterator<Item = Result<(&'a str, u64), Corruption>> + 'a, Corruption> {
        Ok(self.table()?.values(&self.bytes, name, from))
    }

    /// The list at an offset that [`values`](Self::values) gave.
    pub(in crate::block) fn list(&self, offset: u64) -> Result<PostingsList<'_>, Corruption> {
        PostingsList::read(&self.bytes, offset)
    }

    /// A reader of series.
    pub(in crate::block) fn series(&self) -> SeriesReader<'_> {
        SeriesReader { index: self, labels: Vec::new(), chunks: Vec::new(), scratch: LabelSetScratch::default() }
    }

    /// The end of the section of series: the start of whatever comes next.
    fn series_end(&self) -> usize {
        let toc = &self.toc;
        let end = (self.bytes.len() - TOC_BYTES) as u64;
        let starts = [toc.symbols, toc.label_indices, toc.label_index_table, toc.postings, toc.postings_table];
        starts.into_iter().filter(|&start| start > toc.series).fold(end, u64::min) as usize
    }

    fn align(&self) -> usize {
        if self.version == VERSION_1 { 1 } else { SERIES_ALIGN as usize }
    }

    /// The content of the series entry at an offset, of at most `bytes_max`, with its checksum checked, and the first
    /// offset behind it.
    fn entry_at(&self, offset: usize, bytes_max: usize) -> Result<(&[u8], usize), Corruption> {
        let fault = |what| Corruption { what, offset };
        if offset < HEADER_BYTES {
            return Err(fault("series lies outside of its section"));
        }
        let mut cursor = Cursor::new(self.bytes.get(offset..).ok_or(fault("series lies behind the end of the index"))?);
        let at = |inner: Corruption| Corruption { what: inner.what, offset: offset + inner.offset };
        let content = cursor.uvarint_slice().map_err(at)?;
        if content.len() > bytes_max {
            return Err(fault("series entry is absurdly long"));
        }
        if cursor.u32_be().map_err(at)? != crc32c(content) {
            return Err(fault("checksum of the series does not match"));
        }
        Ok((content, offset + cursor.position()))
    }

    /// Finds all series by walking over their section, without the postings. Gives the reference of each whole entry,
    /// and for each run of bytes that holds none what is wrong.
    pub(in crate::block) fn walk(&self) -> impl Iterator<Item = Result<SeriesRef, Corruption>> + '_ {
        let (align, end) = (self.align(), self.series_end());
        let mut offset = usize::try_from(self.toc.series).unwrap_or(usize::MAX).next_multiple_of(align);
        let mut is_damaged = false;
        std::iter::from_fn(move || {
            while offset.saturating_add(CHECKSUM_BYTES) < end {
                let at = offset;
                let bytes_max = if is_damaged { SEARCHED_ENTRY_BYTES_MAX } else { usize::MAX };
                match self.entry_at(at, bytes_max) {
                    Ok((_, behind)) if behind <= end => {
                        offset = behind.next_multiple_of(align);
                        is_damaged = false;
                        let series = u32::try_from(at / align);
                        return Some(series.map_err(|_far| Corruption { what: "index is too large", offset: at }));
                    }
                    other => {
                        // The next entry begins at one of the following multiples; where is not known.
                        offset += align;
                        if !std::mem::replace(&mut is_damaged, true) {
                            let what = "series entry is damaged";
                            return Some(Err(other.err().unwrap_or(Corruption { what, offset: at })));
                        }
                    }
                }
            }
            None
        })
    }
}

impl<'a> SeriesReader<'a> {
    /// Reads a series: afterwards [`labels`](Self::labels) and [`chunks`](Self::chunks) are its.
    pub(in crate::block) fn read(&mut self, series: SeriesRef) -> Result<(), Corruption> {
        let offset = series as usize * self.index.align();
        let (content, _) = self.index.entry_at(offset, usize::MAX)?;
        let mut cursor = Cursor::new(content);
        let at = |inner: Corruption| Corruption { what: inner.what, offset: offset + inner.offset };
        let count = cursor.uvarint().map_err(at)?;
        if count > cursor.remaining() as u64 / 2 {
            return Err(at(cursor.corrupt("more labels than fit into the series entry")));
        }
        let count = count as usize;
        for place in 0..count {
            for half in 0..2 {
                let number = cursor.uvarint().map_err(at)?;
                let known = self.labels.get(place).map(|label| label[half]);
                if known.is_none_or(|(known, _)| known != number) {
                    let text = self.index.symbols.get(&self.index.bytes, number)?;
                    if self.labels.len() <= place {
                        self.labels.push([(u64::MAX, ""); 2]);
                    }
                    self.labels[place][half] = (number, text);
                }
            }
            let name = self.labels[place][0].1;
            if place > 0 && self.labels[place - 1][0].1 >= name {
                return Err(at(cursor.corrupt("labels of a series are not in order")));
            }
        }
        self.labels.truncate(count);
        take_chunks(&mut cursor, &mut self.chunks).map_err(at)?;
        if !cursor.is_empty() {
            return Err(at(cursor.corrupt("bytes behind the chunks of a series")));
        }
        if self.index.symbols.fault().is_some() {
            self.prove_labels(series)?;
        }
        Ok(())
    }

    /// Where the symbols are damaged, a label is believed only if the list of the label holds the series.
    fn prove_labels(&self, series: SeriesRef) -> Result<(), Corruption> {
        for label in self.labels() {
            if !self.index.postings(label.name, label.value)?.contains(series) {
                let what = "labels of a series cannot be told, as the symbols are damaged";
                return Err(Corruption { what, offset: self.index.toc.symbols as usize });
            }
        }
        Ok(())
    }

    /// The labels of the series that was read last.
    pub(in crate::block) fn labels(&self) -> impl Iterator<Item = Label<'a>> + '_ {
        self.labels.iter().map(|&[(_, name), (_, value)]| Label { name, value })
    }

    /// The value of a label of the series that was read last; empty where it has no such label.
    pub(in crate::block) fn label(&self, name: &str) -> &'a str {
        self.labels.iter().find(|[(_, known), _]| *known == name).map_or("", |&[_, (_, value)]| value)
    }

    /// The label set of the series that was read last.
    pub(in crate::block) fn label_set(&mut self) -> LabelSet {
        let labels = self.labels.iter().map(|&[(_, name), (_, value)]| Label { name, value });
        LabelSet::from_sorted_with(labels, &mut self.scratch)
    }

    /// The chunks of the series that was read last.
    pub(in crate::block) fn chunks(&self) -> &[ChunkMeta] {
        &self.chunks
    }
}
