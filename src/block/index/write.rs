//! Writes an index, version 2.
//!
//! Memory follows the distinct strings and labels, not the series: a series is set aside in a temporary file as it
//! comes, with preliminary numbers for its labels. Once all strings are known they are numbered in their order, and the
//! series are written from the temporary file. Postings are gathered in further passes over it, as many labels at a
//! time as fit into a bounded buffer. What remains for each series is its place, four bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SeriesRef;
use super::format::{
    ChunkMeta, MAGIC, PAIR_KEYS, POSTINGS_ALIGN, SERIES_ALIGN, Toc, VERSION_2, put_chunks, uvarint_bytes,
};
use super::output::{Output, section_bytes};
use super::pairs::{PairId, Pairs};
use super::spill::Spill;
use crate::block::BlockError;
use crate::encoding::put;
use crate::fs::Fs;
use crate::fs::names::BLOCK_INDEX_FILE;
use crate::model::LabelSet;

/// The temporary file beside the index.
const SPILL_FILE: &str = "series.tmp";

/// Says of a label that its postings are not gathered in this pass.
const NOT_NOW: usize = usize::MAX;

/// Gathers series, in the order of their label sets, and writes the index of them.
#[derive(Debug)]
pub(in crate::block) struct IndexBuilder {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    pairs: Pairs,
    spill: Spill,
    /// The series before, and the numbers of its labels: most labels are those of the series before.
    previous: LabelSet,
    previous_pairs: Vec<PairId>,
    series: usize,
    postings_per_pass: usize,
}

impl IndexBuilder {
    /// A builder for the index of the block in `dir`, which gathers at most `postings_per_pass` postings at a time
    /// (and, if there are more, those of one label).
    pub(in crate::block) fn create(fs: Arc<dyn Fs>, dir: &Path, postings_per_pass: usize) -> Result<Self, BlockError> {
        let spill = Spill::create(fs.clone(), &dir.join(SPILL_FILE))?;
        Ok(IndexBuilder {
            fs,
            path: dir.join(BLOCK_INDEX_FILE),
            pairs: Pairs::default(),
            spill,
            previous: LabelSet::empty(),
            previous_pairs: Vec::new(),
            series: 0,
            postings_per_pass,
        })
    }

    /// How many series there are.
    pub(in crate::block) fn series(&self) -> usize {
        self.series
    }

    /// The series that was added last, or the empty set.
    pub(in crate::block) fn previous(&self) -> &LabelSet {
        &self.previous
    }

    /// Adds a series, which stands behind all before it in the order of label sets, with its chunks in order.
    pub(in crate::block) fn add(&mut self, labels: &LabelSet, chunks: &[ChunkMeta]) -> Result<(), BlockError> {
        let mut pairs = Vec::with_capacity(labels.len());
        let mut before = self.previous.iter().zip(&self.previous_pairs);
        for label in labels.iter() {
            let pair = match before.next() {
                Some((same, &pair)) if same == label => pair,
                _ => self.pairs.intern(label),
            };
            self.pairs.count_series(pair);
            pairs.push(pair);
        }
        drop(before);
        self.spill.push(&pairs, |out| put_chunks(out, chunks))?;
        self.previous = labels.clone();
        self.previous_pairs = pairs;
        self.series += 1;
        Ok(())
    }

    /// Writes the index and makes its content durable. Returns its length.
    pub(in crate::block) fn finish(mut self) -> Result<u64, BlockError> {
        self.spill.finish_writing()?;
        self.pairs.stop_interning();
        let mut out = Output::create(&*self.fs, &self.path)?;
        out.put(|out| {
            put::u32_be(out, MAGIC);
            out.push(VERSION_2);
        })?;
        let mut toc = Toc { symbols: out.position(), ..Toc::default() };
        let (order, ranks) = self.pairs.sort_symbols();
        self.write_symbols(&mut out, &order)?;
        drop(order);
        toc.series = out.position();
        let refs = self.write_series(&mut out, &ranks)?;
        let pair_order = self.pairs.sort_pairs(&ranks);
        drop(ranks);
        out.pad(POSTINGS_ALIGN)?;
        // Readers stopped to use indices of labels long before writers stopped to write them.
        toc.label_indices = out.position();
        toc.postings = out.position();
        write_list(&mut out, &refs)?;
        self.write_postings(&mut out, &pair_order, &refs)?;
        toc.label_index_table = out.position();
        out.put_section_length("the label offset table", 4)?;
        out.put(|out| put::u32_be(out, 0))?;
        out.put_checksum()?;
        toc.postings_table = out.position();
        self.write_postings_table(&mut out, &pair_order, toc.postings)?;
        out.put(|out| out.extend_from_slice(&toc.encode()))?;
        let bytes = out.finish()?;
        self.spill.remove()?;
        Ok(bytes)
    }

    fn write_symbols(&self, out: &mut Output, order: &[u32]) -> Result<(), BlockError> {
        let symbols = &self.pairs.symbols;
        let text_bytes = |&symbol: &u32| {
            let length = symbols.get(symbol).len() as u64;
            uvarint_bytes(length) + length
        };
        out.put_section_length("the symbol table", 4 + order.iter().map(text_bytes).sum::<u64>())?;
        out.put(|out| put::u32_be(out, order.len() as u32))?;
        for &symbol in order {
            out.put(|out| put::uvarint_slice(out, symbols.get(symbol).as_bytes()))?;
        }
        out.put_checksum()
    }

    /// Writes the series and says where each is.
    fn write_series(&self, out: &mut Output, ranks: &[u32]) -> Result<Vec<SeriesRef>, BlockError> {
        let mut refs = Vec::with_capacity(self.series);
        let mut entry = Vec::new();
        self.spill.for_each(|_, pairs, chunks| {
            out.pad(SERIES_ALIGN)?;
            let place = out.position() / SERIES_ALIGN;
            refs.push(SeriesRef::try_from(place).map_err(|_far| BlockError::TooLarge { what: "the series section" })?);
            entry.clear();
            put::uvarint(&mut entry, pairs.len() as u64);
            for &pair in pairs {
                let pair = self.pairs.get(pair);
                put::uvarint(&mut entry, u64::from(ranks[pair.name as usize]));
                put::uvarint(&mut entry, u64::from(ranks[pair.value as usize]));
            }
            entry.extend_from_slice(chunks);
            out.put(|out| put::uvarint(out, entry.len() as u64))?;
            out.start_checksum();
            out.put(|out| out.extend_from_slice(&entry))?;
            out.put_checksum()
        })?;
        Ok(refs)
    }

    /// Writes the postings of each label, in the order of labels.
    fn write_postings(&self, out: &mut Output, order: &[PairId], refs: &[SeriesRef]) -> Result<(), BlockError> {
        let mut places = vec![NOT_NOW; self.pairs.pairs.len()];
        let mut gathered: Vec<SeriesRef> = Vec::new();
        let mut rest = order;
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = rest.iter().take_while(|&&pair| {
                sum += self.pairs.get(pair).series as usize;
                sum <= self.postings_per_pass
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let mut end = 0;
            for &pair in now {
                places[pair as usize] = end;
                end += self.pairs.get(pair).series as usize;
            }
            gathered.clear();
            gathered.resize(end, 0);
            self.spill.for_each(|number, pairs, _| {
                for &pair in pairs {
                    let place = &mut places[pair as usize];
                    if *place != NOT_NOW {
                        let is_lost = *place > 0 && planted!(PostingMissing);
                        gathered[*place] = if is_lost { gathered[*place - 1] } else { refs[number] };
                        *place += 1;
                    }
                }
                Ok(())
            })?;
            let mut left = gathered.as_slice();
            for &pair in now {
                let (list, behind) = left.split_at(self.pairs.get(pair).series as usize);
                write_list(out, list)?;
                left = behind;
                places[pair as usize] = NOT_NOW;
            }
            rest = later;
        }
        Ok(())
    }

    fn write_postings_table(&self, out: &mut Output, order: &[PairId], start: u64) -> Result<(), BlockError> {
        // The list of all series stands first, under the empty name and value.
        let behind_all = start + list_bytes(self.series);
        let entry_bytes = |text: u64, offset: u64| uvarint_bytes(PAIR_KEYS) + text + uvarint_bytes(offset);
        let mut length = 4 + entry_bytes(2, start);
        let mut offset = behind_all;
        for &pair in order {
            let pair = self.pairs.get(pair);
            length += entry_bytes(self.pairs.text_bytes(pair), offset);
            offset += list_bytes(pair.series as usize);
        }
        out.put_section_length("the postings offset table", length)?;
        out.put(|out| put::u32_be(out, order.len() as u32 + 1))?;
        let mut put_entry = |name: &str, value: &str, offset: u64| {
            out.put(|out| {
                put::uvarint(out, PAIR_KEYS);
                put::uvarint_slice(out, name.as_bytes());
                put::uvarint_slice(out, value.as_bytes());
                put::uvarint(out, offset);
            })
        };
        put_entry("", "", start)?;
        let mut offset = behind_all;
        for &pair in order {
            let pair = self.pairs.get(pair);
            put_entry(self.pairs.symbols.get(pair.name), self.pairs.symbols.get(pair.value), offset)?;
            offset += list_bytes(pair.series as usize);
        }
        out.put_checksum()
    }
}

/// Bytes of a postings list with all around it: a multiple of [`POSTINGS_ALIGN`].
fn list_bytes(series: usize) -> u64 {
    section_bytes(4 + 4 * series as u64)
}

fn write_list(out: &mut Output, refs: &[SeriesRef]) -> Result<(), BlockError> {
    out.put_section_length("a postings list", 4 + 4 * refs.len() as u64)?;
    out.put(|out| put::u32_be(out, refs.len() as u32))?;
    for part in refs.chunks(1 << 14) {
        out.put(|out| out.extend(part.iter().flat_map(|series| series.to_be_bytes())))?;
    }
    out.put_checksum()
}
