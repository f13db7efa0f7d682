//! How a data directory is opened, and why it may not be.

use std::io;
use std::path::{Path, PathBuf};

use super::retention::RetentionPolicy;
use crate::fs::access::AccessError;
use crate::head::HeadOptions;
use crate::ledger::LedgerError;
use crate::wal::{RecoveryMode, WalError, WalOptions};

/// How a data directory is opened.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// How the log is written.
    pub wal: WalOptions,
    /// What recovery does about damage.
    pub recovery: RecoveryMode,
    /// Bounds and shape of the head.
    pub head: HeadOptions,
    /// Blocks, and the disk that they lie on.
    pub storage: StorageOptions,
}

#[cfg(test)]
impl DbOptions {
    /// What tests open a directory with, each option at its default but for damage, which is salvaged.
    pub(crate) fn new(data_dir: &str) -> Self {
        DbOptions {
            data_dir: data_dir.into(),
            wal: WalOptions::default(),
            recovery: RecoveryMode::Salvage,
            head: HeadOptions { hash_key: Some([1, 2, 3, 4]), ..HeadOptions::default() },
            storage: StorageOptions::default(),
        }
    }
}

/// What can be set about blocks.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// What may stay.
    pub retention: RetentionPolicy,
    /// Bytes of the log and the head's chunk files at which the head is flushed before its range is full.
    pub flush_bytes: Option<u64>,
    /// Size of the file that is given up on a full disk; 0 for none.
    pub reserve_bytes: u64,
    /// Bytes that the scrub reads each second; 0 for no scrub.
    pub scrub_bytes_per_second: u64,
    /// Where the random part of the names of new blocks begins, for tests that need the same names twice.
    pub name_seed: Option<u64>,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This process may not do there what it has to.
    #[error("data directory: {0}")]
    Access(#[from] AccessError),
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error(
        "data directory {} is in use: another process holds {}, most likely another `chronolith serve` or a Prometheus \
         on the same directory; stop it, or choose another data_dir", dir.display(), lock.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// There is nothing in it.
    #[error("{} holds neither blocks nor a log: it is no data directory", dir.display())]
    NoData {
        /// The directory.
        dir: PathBuf,
    },
    /// The log could not be recovered or opened.
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
    /// The ledger could not be read or written.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}
