//! A file that is written from front to back, with its position and the checksum of the section under way.

use std::path::{Path, PathBuf};

use super::format::CHECKSUM_BYTES;
use crate::block::BlockError;
use crate::encoding::{crc32c_more, put};
use crate::fs::{Fs, WriteFile};

/// Bytes are gathered to about this many before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// The file.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: Box<dyn WriteFile>,
    /// What is not yet written.
    buffer: Vec<u8>,
    /// Bytes of the file, those in the buffer included.
    position: u64,
    /// Where in the buffer that begins which is not yet in the checksum.
    unsummed: usize,
    checksum: u32,
}

impl Output {
    pub(super) fn create(fs: &dyn Fs, path: &Path) -> Result<Self, BlockError> {
        let file = fs.create(path).map_err(BlockError::io("create", path))?;
        Ok(Output { path: path.to_owned(), file, buffer: Vec::new(), position: 0, unsummed: 0, checksum: 0 })
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Appends what `put` appends to the buffer.
    pub(super) fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), BlockError> {
        let before = self.buffer.len();
        put(&mut self.buffer);
        self.position += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Starts the checksum of a section with the next byte.
    pub(super) fn start_checksum(&mut self) {
        self.unsummed = self.buffer.len();
        self.checksum = 0;
    }

    /// Appends the checksum of all since [`start_checksum`](Self::start_checksum).
    pub(super) fn put_checksum(&mut self) -> Result<(), BlockError> {
        self.sum();
        let checksum = self.checksum;
        self.put(|out| put::u32_be(out, checksum))
    }

    /// Appends the length of a section, whose checksum begins behind it.
    pub(super) fn put_section_length(&mut self, what: &'static str, length: u64) -> Result<(), BlockError> {
        let length = u32::try_from(length).map_err(|_long| BlockError::TooLarge { what })?;
        self.put(|out| put::u32_be(out, length))?;
        self.start_checksum();
        Ok(())
    }

    /// Appends zeros up to a multiple of `align`.
    pub(super) fn pad(&mut self, align: u64) -> Result<(), BlockError> {
        let padding = self.position.next_multiple_of(align) - self.position;
        self.put(|out| out.resize(out.len() + padding as usize, 0))
    }

    fn sum(&mut self) {
        self.checksum = crc32c_more(self.checksum, self.buffer.get(self.unsummed..).unwrap_or_default());
        self.unsummed = self.buffer.len();
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.sum();
        self.file.write_all(&self.buffer).map_err(BlockError::io("write", &self.path))?;
        self.buffer.clear();
        self.unsummed = 0;
        Ok(())
    }

    /// Writes the rest without syncing.
    pub(super) fn write_out(&mut self) -> Result<(), BlockError> {
        self.flush()
    }

    /// Writes the rest and makes all of it durable.
    pub(super) fn finish(mut self) -> Result<u64, BlockError> {
        self.flush()?;
        if !planted!(BlockNotSynced) {
            self.file.sync_data().map_err(BlockError::io("fsync", &self.path))?;
        }
        Ok(self.position)
    }
}

/// Bytes of a section with a length in front and a checksum behind.
pub(super) fn section_bytes(content: u64) -> u64 {
    content + 2 * CHECKSUM_BYTES as u64
}
