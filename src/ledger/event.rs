//! What the ledger records.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::state::LedgerState;
use super::ulid_text;
use crate::model::{Digest, Tally, TimestampMs};

/// Up to where a flush took samples from the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushedUpTo {
    /// In-order samples before this time.
    TimeMs(TimestampMs),
    /// Out-of-order samples of the groups up to this one.
    OutOfOrderGroup(u64),
}

/// Samples that left the log, by the kind of their records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftSamples {
    /// Samples that were newer than all of their series.
    pub in_order: Tally,
    /// Out-of-order samples.
    pub out_of_order: Tally,
    /// How many samples stood there that no seal ever covered, kept or not: another program wrote them, and nobody was
    /// told that they are here.
    #[serde(default)]
    pub unsealed: u64,
}

/// A file with requests whose seals left the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptsPart {
    /// Its name in the ledger's directory.
    pub file: String,
    /// Number of the first request.
    pub first_commit: u64,
    /// Number of the last request.
    pub last_commit: u64,
    /// How many requests it holds.
    pub requests: u64,
    /// All samples of these requests.
    pub tally: Tally,
}

/// One thing that happened to samples that the log had, or to the blocks that have them now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Samples of the head were written to a block, and proven there.
    Flushed {
        /// The block; `None` where every sample had been deleted, or there was none.
        #[serde(with = "ulid_text::option")]
        ulid: Option<Ulid>,
        /// Which samples.
        up_to: FlushedUpTo,
        /// What the block holds.
        tally: Tally,
        /// What of the log's samples it does not hold, because it had been deleted.
        deleted: Tally,
    },
    /// A block came from elsewhere: imported, restored, or found by a start that had no ledger.
    Adopted {
        /// The block.
        #[serde(with = "ulid_text")]
        ulid: Ulid,
        /// What it holds.
        tally: Tally,
    },
    /// Blocks became one, or none where nothing was left of them.
    Compacted {
        /// The blocks that it was made of; they go.
        #[serde(with = "ulid_text::list")]
        parents: Vec<Ulid>,
        /// The new block.
        #[serde(with = "ulid_text::option")]
        child: Option<Ulid>,
        /// What the new block holds.
        stored: Tally,
        /// What was left out because it had been deleted.
        deleted: Tally,
        /// What was left out because it stood in two blocks.
        deduplicated: Tally,
    },
    /// A block was removed by a person.
    Deleted {
        /// The block.
        #[serde(with = "ulid_text")]
        ulid: Ulid,
        /// What it held.
        tally: Tally,
    },
    /// A block was removed by retention.
    Expired {
        /// The block.
        #[serde(with = "ulid_text")]
        ulid: Ulid,
        /// What it held.
        tally: Tally,
    },
    /// A block was set aside: it is damaged, or cannot be proven.
    Quarantined {
        /// The block.
        #[serde(with = "ulid_text")]
        ulid: Ulid,
        /// What it held.
        tally: Tally,
        /// Why.
        reason: String,
    },
    /// Segments left the log. To be recorded when the checkpoint that replaces them is durable, and before they are
    /// removed.
    Truncated {
        /// The last segment that goes: the checkpoint's number.
        up_to_segment: u32,
        /// The samples that the checkpoint does not hold any more.
        left: LeftSamples,
        /// The last group that goes.
        last_group: u64,
        /// Number of the request behind the last one that goes.
        next_commit: u64,
        /// Chain value of the last group that goes.
        #[serde(with = "hex")]
        chain: u128,
        /// The requests whose seals go; `None` where there are none.
        receipts: Option<ReceiptsPart>,
    },
    /// Another program, such as Prometheus on this directory, took segments out of the log, with their seals. What stood
    /// there is in its blocks or its checkpoint, or it is lost: nothing tells.
    TakenOver {
        /// The last segment that its checkpoint stands for.
        up_to_segment: u32,
        /// The last group that may be gone.
        last_group: u64,
        /// Number of the first request whose seal may be gone.
        first_commit: u64,
        /// Number of the request behind the last one. The same as the first where nothing here was of ours.
        next_commit: u64,
    },
    /// Samples of the flush that was recorded with it are in its blocks, and the log did not give them: it was damaged,
    /// and the head was the witness.
    Unlogged {
        /// The samples.
        tally: Tally,
    },
    /// The log was set aside whole, because a person said so. What of it no block has is in the checkpoint that follows.
    LogQuarantined {
        /// Where it is, from the data directory on.
        place: String,
        /// Its last segment.
        up_to_segment: u32,
        /// Its bytes.
        bytes: u64,
    },
    /// What all earlier events came to. They were dropped from the ledger, so that it stays short.
    Folded {
        /// The state behind them.
        state: Box<LedgerState>,
    },
}

/// An event with its place and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one from entry to entry, over the whole life of the ledger. A gap tells that entries are missing.
    pub sequence: u64,
    /// When it was recorded, by the wall clock.
    pub at_ms: TimestampMs,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A chain value as 32 hex digits, as digests are written.
pub(super) mod hex {
    use super::{Deserialize, Digest, Serialize};

    pub(in super::super) fn serialize<S: serde::Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        Digest(*value).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        Digest::deserialize(deserializer).map(|digest| digest.0)
    }
}
