//! Series of a block that is being written, set aside in a temporary file until all symbols are known.
//!
//! An entry is a length (32 bits, big-endian) and that many bytes: the count of labels, the number of each, and the
//! chunks as the index will have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::output::Output;
use super::pairs::PairId;
use crate::block::BlockError;
use crate::encoding::{Corruption, Cursor, put};
use crate::fs::{Fs, ReadFile};

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// The file while it is being written.
#[derive(Debug)]
pub(super) struct Spill {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    output: Output,
    entry: Vec<u8>,
}

impl Spill {
    pub(super) fn create(fs: Arc<dyn Fs>, path: &Path) -> Result<Self, BlockError> {
        let output = Output::create(&*fs, path)?;
        Ok(Spill { fs, path: path.to_owned(), output, entry: Vec::new() })
    }

    /// Sets one series aside. `put_chunks` appends its chunks.
    pub(super) fn push(&mut self, pairs: &[PairId], put_chunks: impl FnOnce(&mut Vec<u8>)) -> Result<(), BlockError> {
        let entry = &mut self.entry;
        entry.clear();
        put::uvarint(entry, pairs.len() as u64);
        for &pair in pairs {
            put::uvarint(entry, u64::from(pair));
        }
        put_chunks(entry);
        let length = u32::try_from(entry.len()).map_err(|_long| BlockError::TooLarge { what: "a series entry" })?;
        self.output.put(|out| {
            put::u32_be(out, length);
            out.extend_from_slice(entry);
        })
    }

    /// Gets ready for reading. The file is for this process only, so nothing is synced.
    pub(super) fn finish_writing(&mut self) -> Result<(), BlockError> {
        self.output.write_out()
    }

    /// Gives each series, in the order in which they were set aside, with its labels' numbers and the bytes of its
    /// chunks.
    pub(super) fn for_each(
        &self,
        mut each: impl FnMut(usize, &[PairId], &[u8]) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let file = self.fs.open(&self.path).map_err(BlockError::io("open", &self.path))?;
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let (mut start, mut at, mut number) = (0, 0u64, 0);
        let mut pairs = Vec::new();
        loop {
            let rest = buffer.get(start..).unwrap_or_default();
            let (wanted, entry) = match split_entry(rest) {
                Ok(entry) => (0, Some(entry)),
                Err(wanted) => (wanted, None),
            };
            if let Some(entry) = entry {
                let chunks = parse_entry(entry, &mut pairs).map_err(BlockError::damaged(&self.path))?;
                each(number, &pairs, chunks)?;
                number += 1;
                start += 4 + entry.len();
                continue;
            }
            buffer.drain(..start);
            start = 0;
            let kept = buffer.len();
            buffer.resize(kept + READ_BYTES.max(wanted), 0);
            let filled = read_some(&*file, &mut buffer[kept..], at).map_err(BlockError::io("read", &self.path))?;
            at += filled as u64;
            buffer.truncate(kept + filled);
            match (filled, kept) {
                (0, 0) => return Ok(()),
                (0, _) => {
                    let cut = Corruption { what: "temporary file ends early", offset: at as usize };
                    return Err(BlockError::damaged(&self.path)(cut));
                }
                _ => {}
            }
        }
    }

    /// Removes the file.
    pub(super) fn remove(self) -> Result<(), BlockError> {
        let Spill { fs, path, output, .. } = self;
        drop(output);
        fs.remove_file(&path).map_err(BlockError::io("remove", &path))
    }
}

fn read_some(file: &dyn ReadFile, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    file.read_at(buffer, at)
}

/// The first whole entry of `bytes`, or how many bytes are missing at least.
fn split_entry(bytes: &[u8]) -> Result<&[u8], usize> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Err(4 - bytes.len()) };
    let length = u32::from_be_bytes(*length) as usize;
    rest.get(..length).ok_or(length - rest.len().min(length))
}

fn parse_entry<'a>(entry: &'a [u8], pairs: &mut Vec<PairId>) -> Result<&'a [u8], Corruption> {
    let mut cursor = Cursor::new(entry);
    pairs.clear();
    for _ in 0..cursor.uvarint()? {
        pairs.push(cursor.uvarint()? as PairId);
    }
    cursor.take(cursor.remaining())
}
