//! Why a block cannot be made of others, or of the head.

use std::fmt;

use ulid::Ulid;

use crate::block::{BlockError, PreparedBlock};
use crate::model::Tally;
use crate::storage::StorageError;
use crate::wal::WalError;

/// Why a compaction did not come to its end. The parents are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactionError {
    /// A source could not be read.
    #[error(transparent)]
    Read(#[from] StorageError),
    /// A block could not be written, or opened again.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] WalError),
    /// It was told to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// A parent is damaged.
    #[error("block {ulid} is damaged: {finding}")]
    DamagedParent {
        /// The parent.
        ulid: Ulid,
        /// What was found first.
        finding: String,
    },
    /// A thread of the proof ended early.
    #[error("a thread that read a block panicked")]
    Panicked,
    /// The new block is not what it has to be. It is for quarantine.
    #[error("{reason}")]
    Unproven {
        /// Both sides.
        reason: Box<Disproof>,
        /// The block.
        child: Option<Box<PreparedBlock>>,
    },
}

/// Why a proof failed: what there has to be, and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disproof {
    /// The child has not the samples of its parents less those that were deleted or deduplicated.
    NotConserved {
        /// All samples of the parents.
        parents: Tally,
        /// Those of them in deleted ranges, as the parents themselves tell.
        deleted: Tally,
        /// Those that the merge left out as duplicates.
        deduplicated: Tally,
        /// All samples of the child.
        child: Tally,
    },
    /// The merge did not leave out what is deleted in the parents.
    Deletions {
        /// Samples in deleted ranges, as the parents themselves tell.
        parents: Tally,
        /// Samples that the merge left out as deleted.
        merge: Tally,
    },
    /// The block has not the samples that the log gives for it.
    NotTheLog {
        /// What the log holds of its range, deleted samples left out.
        log: Tally,
        /// Those of them that were left out as duplicates.
        deduplicated: Tally,
        /// All samples of the block.
        block: Tally,
        /// The first series that differs, and how.
        series: Option<String>,
        /// What of the log could not be read.
        log_damage: Option<String>,
    },
    /// The block that was read back from the disk is damaged.
    Damaged {
        /// How many places.
        findings: u64,
        /// The first.
        first: String,
    },
}

impl fmt::Display for Disproof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disproof::NotConserved { parents, deleted, deduplicated, child } => write!(
                f,
                "the compacted block is not the sum of its parents: it has {child}; they have {parents}, of which {} are \
                 deleted ({}) and {} duplicates ({}), so that there should be {}",
                deleted.samples,
                deleted.digest,
                deduplicated.samples,
                deduplicated.digest,
                *parents - *deleted - *deduplicated
            ),
            Disproof::Deletions { parents, merge } => write!(
                f,
                "the compaction did not apply the deletions of its parents: it left out {merge}; they have {parents} in \
                 deleted ranges"
            ),
            Disproof::NotTheLog { log, deduplicated, block, series, log_damage } => {
                write!(f, "the block is not what the log holds: it has {block}; the log gives {log}")?;
                if deduplicated.samples > 0 {
                    write!(f, ", of which {} are duplicates ({})", deduplicated.samples, deduplicated.digest)?;
                }
                if let Some(series) = series {
                    write!(f, "; first difference: {series}")?;
                }
                match log_damage {
                    Some(damage) => write!(f, "; the log is damaged: {damage}"),
                    None => Ok(()),
                }
            }
            Disproof::Damaged { findings, first } => {
                write!(f, "the block reads back damaged from the disk, {findings} findings, the first: {first}")
            }
        }
    }
}
