//! Why something cannot be shown.

use std::io;
use std::path::{Path, PathBuf};

use crate::block::BlockError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A file or directory cannot be read.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What was asked for is damaged as a whole.
    #[error("{place}: {what}")]
    Damaged {
        /// What was found.
        what: String,
        /// Where.
        place: String,
    },
    /// There is no such thing.
    #[error("there is no {what} in {}", dir.display())]
    NotThere {
        /// What was asked for.
        what: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The block cannot be opened.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl InspectError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        InspectError::Io { action, path: path.to_owned(), source }
    }
}
