//! Writes an accelerator, section by section.

use std::path::{Path, PathBuf};

use super::AccelError;
use super::format::{self, Extent, HEADER_BYTES, IndexIdentity, LabelEntry, Table};
use super::postings::PostingsWriter;
use super::texts::TextsWriter;
use crate::encoding::{crc32c_more, put};
use crate::fs::{Fs, WriteFile};
use crate::model::Tally;

/// Bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;

/// A new accelerator: first all series in order, then all labels by name, each with its values in order.
///
/// It keeps the references of all series in memory, and the sections of one label.
#[derive(Debug)]
pub struct AccelWriter {
    path: PathBuf,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
    /// Bytes written and gathered.
    offset: u64,
    section: Extent,
    refs: Vec<u32>,
    table: Table,
}

/// The values of one label on their way into the file.
pub struct LabelWriter<'w> {
    writer: &'w mut AccelWriter,
    name: String,
    terms: fst::raw::Builder<Vec<u8>>,
    texts: TextsWriter,
    postings: PostingsWriter,
    values: u32,
    /// Series of all values.
    series: u64,
}

impl AccelWriter {
    /// Begins a file at `path`, which must not exist yet, for the index with this identity.
    pub fn create(fs: &dyn Fs, path: &Path, identity: &IndexIdentity) -> Result<Self, AccelError> {
        let file = fs.create(path).map_err(|error| AccelError::io(path, error))?;
        let nowhere = Extent { offset: HEADER_BYTES as u64, bytes: 0, crc: 0 };
        let table = Table { series: 0, tally: Tally::ZERO, refs: nowhere, tallies: nowhere, labels: Vec::new() };
        let (path, buffer) = (path.to_owned(), Vec::with_capacity(BUFFER_BYTES));
        let mut writer = AccelWriter { path, file, buffer, offset: 0, section: nowhere, refs: Vec::new(), table };
        writer.write(&format::header(identity))?;
        writer.begin_section();
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AccelError> {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        self.section.crc = crc32c_more(self.section.crc, bytes);
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), AccelError> {
        self.file.write_all(&self.buffer).map_err(|error| AccelError::io(&self.path, error))?;
        self.buffer.clear();
        Ok(())
    }

    fn begin_section(&mut self) {
        self.section = Extent { offset: self.offset, bytes: 0, crc: 0 };
    }

    fn end_section(&mut self) -> Extent {
        let section = Extent { bytes: self.offset - self.section.offset, ..self.section };
        self.begin_section();
        section
    }

    /// Adds the next series in the order of label sets: its reference in the index, and its samples.
    pub fn series(&mut self, reference: u32, tally: Tally) -> Result<(), AccelError> {
        let samples = u32::try_from(tally.samples).map_err(|_| AccelError::TooLarge("samples of a series"))?;
        let series = self.table.series.checked_add(1).ok_or(AccelError::TooLarge("number of series"))?;
        let mut entry = Vec::with_capacity(super::TALLY_BYTES);
        put::u32_be(&mut entry, samples);
        entry.extend_from_slice(&tally.digest.0.to_be_bytes());
        self.write(&entry)?;
        self.refs.push(reference);
        self.table.series = series;
        self.table.tally += tally;
        Ok(())
    }

    /// Ends the series, of which there are no more; gives back their references, by ordinal.
    pub fn end_series(&mut self) -> Result<Vec<u32>, AccelError> {
        self.table.tallies = self.end_section();
        let refs = std::mem::take(&mut self.refs);
        for reference in &refs {
            self.write(&reference.to_be_bytes())?;
        }
        self.table.refs = self.end_section();
        Ok(refs)
    }

    /// Begins the label that is next by name.
    pub fn label(&mut self, name: &str) -> Result<LabelWriter<'_>, AccelError> {
        if self.table.labels.last().is_some_and(|last| last.name.as_str() >= name) {
            return Err(AccelError::Source(format!("label name {name:?} is out of order")));
        }
        Ok(LabelWriter {
            writer: self,
            name: name.to_owned(),
            terms: fst::raw::Builder::memory(),
            texts: TextsWriter::default(),
            postings: PostingsWriter::default(),
            values: 0,
            series: 0,
        })
    }

    /// Ends the file and makes its content durable. Its name is not, until its directory is synced.
    pub fn finish(mut self) -> Result<(), AccelError> {
        let tail = format::table_and_trailer(&self.table, self.offset);
        self.write(&tail)?;
        self.flush()?;
        self.file.sync_data().map_err(|error| AccelError::io(&self.path, error))
    }
}

impl LabelWriter<'_> {
    /// Adds the next value in order with its series: rising ordinals, of which no other value of the label has any.
    pub fn value(&mut self, value: &str, series: &[u32]) -> Result<(), AccelError> {
        if !series.is_sorted_by(|a, b| a < b) || series.last().is_some_and(|&last| last >= self.writer.table.series) {
            return Err(AccelError::Source(format!("postings of {}={value:?} are out of order", self.name)));
        }
        let of_all_values = self.series + series.len() as u64;
        // Not only at the end: lists that overlap may add up to more than there is memory for.
        if of_all_values > u64::from(self.writer.table.series) {
            return Err(self.overlap());
        }
        let memory = |error| AccelError::Io { path: "memory".to_owned(), error };
        let out_of_order = |_| AccelError::Source("values of a label are out of order".to_owned());
        self.terms.insert(value, u64::from(self.values)).map_err(out_of_order)?;
        self.texts.push(value.as_bytes());
        self.postings.push(series).map_err(memory)?;
        self.series = of_all_values;
        self.values = self.values.checked_add(1).ok_or(AccelError::TooLarge("number of values"))?;
        Ok(())
    }

    fn overlap(&self) -> AccelError {
        AccelError::Source(format!("a series has two values of the label {:?}", self.name))
    }

    /// Ends the label.
    pub fn end(mut self) -> Result<(), AccelError> {
        let memory = |error| AccelError::Io { path: "memory".to_owned(), error };
        // The planner counts on it: the size of a union is the sum of the sizes.
        if self.postings.carriers() != self.series {
            return Err(self.overlap());
        }
        let terms = self.terms.into_inner().map_err(|fault| AccelError::Source(fault.to_string()))?;
        self.writer.write(&terms)?;
        let terms = self.writer.end_section();
        for part in self.texts.finish().ok_or(AccelError::TooLarge("values of a label"))? {
            self.writer.write(part)?;
        }
        let texts = self.writer.end_section();
        let postings = self.postings.finish().map_err(memory)?;
        for part in postings.ok_or(AccelError::TooLarge("postings of a label"))? {
            self.writer.write(part)?;
        }
        let postings = self.writer.end_section();
        self.writer.table.labels.push(LabelEntry { name: self.name, values: self.values, terms, texts, postings });
        Ok(())
    }
}
