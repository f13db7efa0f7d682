//! What the events of a ledger come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::event::{Entry, Event, FlushedUpTo, LeftSamples, ReceiptsPart, hex};
use super::ulid_text;
use crate::model::{Tally, TimestampMs};

/// What left the log, all in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftLog {
    /// Samples.
    pub samples: LeftSamples,
    /// Requests whose seals left.
    pub requests: u64,
    /// All samples of these requests.
    pub acknowledged: Tally,
    /// The last group that left; 0 where none did.
    pub last_group: u64,
    /// Number of the request behind the last one that left.
    pub next_commit: u64,
    /// Chain value of the last group that left. The first seal that the log still has follows it.
    #[serde(with = "hex")]
    pub chain: u128,
    /// The last segment that left; `None` where none did.
    pub up_to_segment: Option<u32>,
}

/// Samples by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Taken from the head, whether stored in a block or left out as deleted.
    pub flushed: Tally,
    /// In blocks that came from elsewhere.
    pub adopted: Tally,
    /// Left out of blocks because they had been deleted, or in blocks that a person removed.
    pub deleted: Tally,
    /// In blocks that retention removed.
    pub expired: Tally,
    /// Left out of compactions because another parent had them too.
    pub deduplicated: Tally,
    /// In blocks that were set aside.
    pub quarantined: Tally,
    /// Of those flushed: what a damaged log did not give.
    #[serde(default)]
    pub unlogged: Tally,
    /// Of those flushed: in-order samples. `None` where that is not known any more: folds did not always tell it.
    #[serde(default)]
    pub flushed_in_order: Option<Tally>,
}

impl Default for Totals {
    /// Those of a ledger that begins.
    fn default() -> Self {
        Totals {
            flushed: Tally::ZERO,
            adopted: Tally::ZERO,
            deleted: Tally::ZERO,
            expired: Tally::ZERO,
            deduplicated: Tally::ZERO,
            quarantined: Tally::ZERO,
            unlogged: Tally::ZERO,
            flushed_in_order: Some(Tally::ZERO),
        }
    }
}

/// The state of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerState {
    /// The blocks that are there, with what they hold.
    #[serde(with = "ulid_text::map")]
    pub blocks: BTreeMap<Ulid, Tally>,
    /// In-order samples before this time were flushed.
    pub flushed_up_to_ms: Option<TimestampMs>,
    /// Out-of-order samples of groups up to this one were flushed.
    pub flushed_out_of_order_group: Option<u64>,
    /// What left the log.
    pub left_log: LeftLog,
    /// What became of all samples.
    pub totals: Totals,
    /// Requests whose seals another program may have taken out of the log: from the first to before the second.
    #[serde(default)]
    pub taken_over: Vec<(u64, u64)>,
    /// The requests that left the log, with the time of their leaving, oldest first.
    pub receipts: Vec<(TimestampMs, ReceiptsPart)>,
}

impl LedgerState {
    /// Takes the next entry into account.
    pub fn apply(&mut self, entry: &Entry) {
        let totals = &mut self.totals;
        match &entry.event {
            Event::Flushed { ulid, up_to, tally, deleted } => {
                totals.flushed += *tally + *deleted;
                totals.deleted += *deleted;
                self.blocks.extend(ulid.map(|ulid| (ulid, *tally)));
                match *up_to {
                    FlushedUpTo::TimeMs(up_to_ms) => {
                        totals.flushed_in_order = totals.flushed_in_order.map(|sum| sum + *tally + *deleted);
                        self.flushed_up_to_ms = self.flushed_up_to_ms.max(Some(up_to_ms));
                    }
                    FlushedUpTo::OutOfOrderGroup(group) => {
                        self.flushed_out_of_order_group = self.flushed_out_of_order_group.max(Some(group));
                    }
                }
            }
            Event::Adopted { ulid, tally } => {
                totals.adopted += *tally;
                self.blocks.insert(*ulid, *tally);
            }
            Event::Compacted { parents, child, stored, deleted, deduplicated } => {
                totals.deleted += *deleted;
                totals.deduplicated += *deduplicated;
                for parent in parents {
                    self.blocks.remove(parent);
                }
                self.blocks.extend(child.map(|child| (child, *stored)));
            }
            Event::Deleted { ulid, tally } => {
                totals.deleted += *tally;
                self.blocks.remove(ulid);
            }
            Event::Expired { ulid, tally } => {
                totals.expired += *tally;
                self.blocks.remove(ulid);
            }
            Event::Quarantined { ulid, tally, .. } => {
                totals.quarantined += *tally;
                self.blocks.remove(ulid);
            }
            Event::Truncated { up_to_segment, left, last_group, next_commit, chain, receipts } => {
                let log = &mut self.left_log;
                log.samples.in_order += left.in_order;
                log.samples.out_of_order += left.out_of_order;
                log.samples.unsealed += left.unsealed;
                if *last_group >= log.last_group {
                    (log.last_group, log.chain) = (*last_group, *chain);
                }
                log.next_commit = log.next_commit.max(*next_commit);
                log.up_to_segment = log.up_to_segment.max(Some(*up_to_segment));
                if let Some(part) = receipts {
                    log.requests += part.requests;
                    log.acknowledged += part.tally;
                    self.receipts.push((entry.at_ms, part.clone()));
                }
            }
            Event::TakenOver { up_to_segment, last_group, first_commit, next_commit } => {
                let log = &mut self.left_log;
                self.taken_over.extend((first_commit < next_commit).then_some((*first_commit, *next_commit)));
                log.last_group = log.last_group.max(*last_group);
                log.next_commit = log.next_commit.max(*next_commit);
                log.up_to_segment = log.up_to_segment.max(Some(*up_to_segment));
            }
            Event::Unlogged { tally } => totals.unlogged += *tally,
            Event::LogQuarantined { .. } => {}
            Event::Folded { state } => *self = (**state).clone(),
        }
    }

    /// What the blocks hold together.
    pub fn stored(&self) -> Tally {
        self.blocks.values().copied().sum()
    }

    /// What there is and what became of the rest, by the names that reports use.
    pub fn named(&self) -> [(&'static str, Tally); 7] {
        let Totals { flushed, adopted, deleted, expired, deduplicated, quarantined, .. } = self.totals;
        [
            ("stored", self.stored()),
            ("flushed", flushed),
            ("adopted", adopted),
            ("deleted", deleted),
            ("expired", expired),
            ("deduplicated", deduplicated),
            ("quarantined", quarantined),
        ]
    }

    /// All that came in, less where it is now and what became of the rest: [`Tally::ZERO`] unless something was lost,
    /// counted twice, or not recorded.
    pub fn imbalance(&self) -> Tally {
        let Totals { flushed, adopted, deleted, expired, deduplicated, quarantined, .. } = self.totals;
        flushed + adopted - self.stored() - deleted - expired - deduplicated - quarantined
    }
}
