//! Group commit: the contract between those who accept samples and the one thread that writes the log.
//!
//! A request is *admitted*, is accepted into the head (which encodes the log records under its shards' locks), and is
//! registered with what it added. While a request is admitted no group is cut, so a group always holds whole requests:
//! the digests of a group's requests add up to the digest of the group's records. The writer thread cuts a group, writes
//! it, seals it, makes it durable, and only then do its requests get their receipts.

use crate::model::Digest;

/// How much an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The log was handed to the disk with `fdatasync` before the acknowledgement.
    #[default]
    Fsync,
    /// The log was written before the acknowledgement, and is synced at intervals: a power loss costs up to one.
    Interval,
    /// The log was written before the acknowledgement, and is synced when a segment ends.
    None,
}

impl Durability {
    /// The mode's name in configuration, receipts and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Interval => "interval",
            Durability::None => "none",
        }
    }
}

/// What an acknowledged request can later prove itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The request's number: rising, and never used twice in a data directory.
    pub commit: u64,
    /// Samples that the request added.
    pub samples: u64,
    /// Sum of the digests of these samples.
    pub digest: Digest,
    /// What the acknowledgement promises.
    pub durability: Durability,
}

/// Why a request could not be made durable. The request may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The log cannot be written now. It tries again by itself.
    #[error("the write-ahead log cannot be written: {reason}")]
    Unavailable {
        /// The last error of the disk.
        reason: String,
    },
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// All records since the last cut.
#[derive(Default)]
pub struct GroupRecords {
    /// Whole records, type byte first, in the order in which they have to stand in the log. None may be longer than
    /// [`RECORD_BYTES_MAX`](super::format::RECORD_BYTES_MAX): a reader takes such a record for damage.
    pub records: Vec<Vec<u8>>,
    /// What to do once the records are durable.
    pub on_durable: Option<Box<dyn FnOnce() + Send>>,
}

impl GroupRecords {
    /// Whether there is nothing to write and nothing to do afterwards.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.on_durable.is_none()
    }
}

impl std::fmt::Debug for GroupRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupRecords({} records)", self.records.len())
    }
}

/// Where the writer thread gets its records from: the head.
pub trait GroupSource: Send + Sync {
    /// Swaps out all records since the last call. Called while no request is admitted.
    fn take_records(&self) -> GroupRecords;

    /// Gives written buffers back, empty or not, so that their memory is used again.
    fn recycle(&self, _buffers: Vec<Vec<u8>>) {}
}
