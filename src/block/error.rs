//! Why a block cannot be opened, written or changed.

use std::io;
use std::path::{Path, PathBuf};

use crate::encoding::Corruption;
use crate::storage::StorageError;

/// What went wrong with a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Stored bytes are not what they have to be.
    #[error("{what} in {}", path.display())]
    Damaged {
        /// What was found.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// A series was offered that no block may hold.
    #[error("series {labels} cannot be written to a block: {reason}")]
    Refused {
        /// The series.
        labels: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The origin that a block was to be finished with does not fit what was written.
    #[error("block cannot be finished: {reason}")]
    Origin {
        /// The rule that it breaks.
        reason: String,
    },
    /// More than the format can hold.
    #[error("{what} would be larger than the format of the index allows")]
    TooLarge {
        /// Which part.
        what: &'static str,
    },
}

impl BlockError {
    /// Makes an error of the file system's answer.
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BlockError + 'a {
        move |source| BlockError::Io { action, path: path.to_owned(), source }
    }

    /// Makes an error of what was wrong with a file's bytes.
    pub(super) fn damaged<'a>(path: &'a Path) -> impl FnOnce(Corruption) -> BlockError + 'a {
        move |corruption| BlockError::Damaged { what: corruption.to_string(), path: path.to_owned() }
    }
}

impl From<BlockError> for StorageError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Io { path, source, .. } => {
                StorageError::Io { path: path.display().to_string(), message: source.to_string() }
            }
            BlockError::Damaged { what, path } => StorageError::Corrupt { what, place: path.display().to_string() },
            other => StorageError::Corrupt { what: other.to_string(), place: "a block".to_owned() },
        }
    }
}
