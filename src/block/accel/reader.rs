//! An opened accelerator.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use croaring::Bitmap;

use super::format::{self, Extent, IndexIdentity, LabelEntry};
use super::postings::Postings;
use super::terms::Terms;
use super::texts::Texts;
use super::{AccelError, TALLY_BYTES};
use crate::encoding::{Corruption, Cursor, crc32c};
use crate::fs::{Fs, MappedFile};
use crate::model::{Digest, Tally};

/// Whether the checksum of a section was compared.
const UNCHECKED: u8 = 0;
const INTACT: u8 = 1;

/// A part of the file, and whether it was checked.
#[derive(Debug)]
pub(super) struct Section {
    extent: Extent,
    state: AtomicU8,
}

impl Section {
    fn new(extent: Extent) -> Self {
        Section { extent, state: AtomicU8::new(UNCHECKED) }
    }

    /// Its bytes in `file`; the checksum is compared once, before the first use.
    fn get<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], Corruption> {
        let fault = |what| Corruption { what, offset: self.extent.offset as usize };
        let bytes = usize::try_from(self.extent.offset)
            .ok()
            .zip(usize::try_from(self.extent.bytes).ok())
            .and_then(|(start, length)| file.get(start..)?.get(..length))
            .ok_or(fault("section lies outside the file"))?;
        if self.state.load(Ordering::Relaxed) != INTACT {
            if crc32c(bytes) != self.extent.crc {
                return Err(fault("checksum of a section does not match"));
            }
            self.state.store(INTACT, Ordering::Relaxed);
        }
        Ok(bytes)
    }
}

/// The sections of one label name.
#[derive(Debug)]
struct LabelSections {
    name: String,
    values: u32,
    terms: Section,
    texts: Section,
    postings: Section,
}

/// An accelerator whose header and table are intact. Each section is checked before its first use, so that opening
/// one reads little.
///
/// Series are ordinals: the place of a series in the order of label sets, from 0.
#[derive(Debug)]
pub struct Accel {
    file: MappedFile,
    series: u32,
    tally: Tally,
    refs: Section,
    tallies: Section,
    labels: Vec<LabelSections>,
}

impl Accel {
    /// Opens the file at `path`, which has to be made from the index with this identity.
    pub fn open(fs: &dyn Fs, path: &Path, identity: &IndexIdentity) -> Result<Self, AccelError> {
        let file = fs.map(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => AccelError::Missing,
            _ => AccelError::io(path, error),
        })?;
        if format::read_header(&file)? != *identity {
            return Err(AccelError::Foreign);
        }
        let table = format::read_table(&file)?;
        let fault = |what| AccelError::from(Corruption { what, offset: file.len() });
        if table.refs.bytes != u64::from(table.series) * 4 {
            return Err(fault("another number of series references"));
        }
        if table.tallies.bytes != u64::from(table.series) * TALLY_BYTES as u64 {
            return Err(fault("another number of tallies"));
        }
        let label = |entry: LabelEntry| LabelSections {
            name: entry.name,
            values: entry.values,
            terms: Section::new(entry.terms),
            texts: Section::new(entry.texts),
            postings: Section::new(entry.postings),
        };
        Ok(Accel {
            series: table.series,
            tally: table.tally,
            refs: Section::new(table.refs),
            tallies: Section::new(table.tallies),
            labels: table.labels.into_iter().map(label).collect(),
            file,
        })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// How many series the block has.
    pub fn series_count(&self) -> u32 {
        self.series
    }

    /// All samples in the block's chunks, deleted ones included.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The samples of one series, deleted ones included; `None` where the block has no such series.
    pub fn series_tally(&self, ordinal: u32) -> Result<Option<Tally>, AccelError> {
        let bytes = self.tallies.get(&self.file)?;
        let Some(bytes) = bytes.get(ordinal as usize * TALLY_BYTES..).filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let mut cursor = Cursor::new(bytes);
        let samples = u64::from(cursor.u32_be()?);
        Ok(Some(Tally { samples, digest: Digest(u128::from_be_bytes(cursor.array()?)) }))
    }

    /// The references in the index of these series, in the order of label sets.
    pub fn series_refs(&self, series: &Bitmap) -> Result<Vec<u32>, AccelError> {
        let refs = self.refs.get(&self.file)?;
        let mut out = Vec::with_capacity(series.cardinality().min(u64::from(self.series)) as usize);
        for ordinal in series.iter() {
            let entry = refs.get(ordinal as usize * 4..).and_then(|rest| rest.first_chunk());
            let Some(entry) = entry else {
                return Err(Corruption { what: "series is not in the block", offset: ordinal as usize }.into());
            };
            out.push(u32::from_be_bytes(*entry));
        }
        Ok(out)
    }

    /// The set of all series.
    pub fn all(&self) -> Bitmap {
        Bitmap::from_range(0..self.series)
    }

    /// Compares every section's checksum.
    pub fn check(&self) -> Result<(), AccelError> {
        let labels = self.labels.iter().flat_map(|label| [&label.terms, &label.texts, &label.postings]);
        for section in [&self.refs, &self.tallies].into_iter().chain(labels) {
            section.get(&self.file)?;
        }
        Ok(())
    }

    /// The label with this name.
    pub(super) fn label(&self, name: &str) -> Option<Label<'_>> {
        let found = self.labels.binary_search_by(|label| label.name.as_str().cmp(name)).ok()?;
        self.labels.get(found).map(|sections| Label { accel: self, sections })
    }

    /// All labels, by name.
    pub(super) fn labels(&self) -> impl Iterator<Item = Label<'_>> {
        self.labels.iter().map(|sections| Label { accel: self, sections })
    }
}

/// One label of an opened accelerator. Its sections are checked when they are first needed.
#[derive(Clone, Copy)]
pub(super) struct Label<'a> {
    accel: &'a Accel,
    sections: &'a LabelSections,
}

impl<'a> Label<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.sections.name
    }

    /// The ordinals of all values.
    pub(super) fn values(&self) -> Range<u32> {
        0..self.sections.values
    }

    pub(super) fn terms(&self) -> Result<Terms<'a>, Corruption> {
        Terms::new(self.sections.terms.get(&self.accel.file)?, self.sections.values)
    }

    pub(super) fn texts(&self) -> Result<Texts<'a>, Corruption> {
        Texts::new(self.sections.texts.get(&self.accel.file)?, self.sections.values)
    }

    pub(super) fn postings(&self) -> Result<Postings<'a>, Corruption> {
        Postings::new(self.sections.postings.get(&self.accel.file)?, self.sections.values, self.accel.series)
    }
}
