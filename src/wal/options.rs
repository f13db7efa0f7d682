//! What can be set about the log, and what can go wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::commit::Durability;
use super::format::SEGMENT_BYTES_DEFAULT;

/// How records are compressed, each by itself and only where that makes it shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy's block format.
    #[default]
    Snappy,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The name in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

/// What can be set about the writing of the log.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How often the log is synced with [`Durability::Interval`].
    pub flush_interval: Duration,
    /// Bytes of a segment. A group that might not fit begins the next one, since groups never cross segments; only a
    /// group that is larger than a segment makes a longer one.
    pub segment_bytes: u64,
    /// How records are compressed.
    pub compression: Compression,
    /// How long after the last group an empty one is sealed.
    pub idle_seal_after: Duration,
    /// Pause before the second attempt to write a log that failed; it doubles up to `retry_interval_max`.
    pub retry_interval: Duration,
    /// Longest pause between attempts.
    pub retry_interval_max: Duration,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions {
            durability: Durability::Fsync,
            flush_interval: Duration::from_secs(10),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            compression: Compression::Snappy,
            idle_seal_after: Duration::from_millis(10),
            retry_interval: Duration::from_millis(200),
            retry_interval_max: Duration::from_secs(1),
        }
    }
}

/// Why the log could not be opened, read or recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
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
    /// The log is damaged, and recovery was told to refuse that.
    #[error(
        "{what} in segment {segment:08} at byte {offset}; look at it with `chronolith wal inspect {}`, or start with \
         wal.recovery = \"salvage\" to set the damaged bytes aside", data_dir.display()
    )]
    Damaged {
        /// What was found.
        what: String,
        /// Number of the segment.
        segment: u32,
        /// Offset in the segment.
        offset: u64,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// Segment numbers have run out.
    #[error("the log has no segment number behind {segment}")]
    SegmentsExhausted {
        /// The last one.
        segment: u32,
    },
    /// A checkpoint would have to stand for the segment that is written, or for one that is not there.
    #[error(
        "no checkpoint can be made up to segment {segment:08}: it is gone already, or the log does not go on behind it"
    )]
    CheckpointRefused {
        /// The segment.
        segment: u32,
    },
    /// Two reads of the same part of the log gave different records: the disk does not always give it.
    #[error("{} does not read as it did a moment before", path.display())]
    ReadsDifferently {
        /// The file, or the log's directory.
        path: PathBuf,
    },
    /// A checkpoint would leave out samples that the log does not give any more, and of which it is not sure that blocks
    /// have them.
    #[error(
        "{what} in segment {segment:08} at byte {offset}: samples that no block has may have stood there; the head has \
         them, and would not after a restart, so flush it, or empty the log by force"
    )]
    CheckpointOverDamage {
        /// What was found.
        what: String,
        /// Number of the segment.
        segment: u32,
        /// Offset in the segment.
        offset: u64,
    },
    /// The receiver of the records gave up.
    #[error("replay: {reason}")]
    Sink {
        /// Its words.
        reason: String,
    },
}

impl WalError {
    /// Adds what was tried on which path to an I/O error.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        let path = path.to_owned();
        move |source| WalError::Io { action, path, source }
    }
}
