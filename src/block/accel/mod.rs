#![doc = include_str!("../../../docs/format/accel.md")]

mod build;
mod format;
mod plan;
mod postings;
mod reader;
mod slot;
mod terms;
#[cfg(test)]
mod tests;
mod texts;
mod view;
mod writer;

use std::io;
use std::path::Path;

pub use build::build;
pub use format::IndexIdentity;
pub use reader::Accel;
pub use slot::{AccelSlot, AccelState};
pub use writer::{AccelWriter, LabelWriter};

use crate::encoding::Corruption;

/// Bytes of one series' tally.
const TALLY_BYTES: usize = 20;

/// Why an accelerator cannot be had, made or used. The index answers what it would have answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccelError {
    /// There is none.
    #[error("no accelerator")]
    Missing,
    /// It was made from another index.
    #[error("the accelerator was made from another index")]
    Foreign,
    /// Its bytes are damaged.
    #[error("{0}")]
    Damaged(#[from] Corruption),
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The block that it is made from cannot be read, or breaks a rule of its format.
    #[error("{0}")]
    Source(String),
    /// The block has more than the format can tell.
    #[error("{0} is more than the accelerator's format allows")]
    TooLarge(&'static str),
}

impl AccelError {
    fn io(path: &Path, error: io::Error) -> Self {
        AccelError::Io { path: path.display().to_string(), error }
    }
}
