//! Deletion of samples: in the head, in log order, and in the blocks.
//!
//! A deletion is durable when the call returns, in both places. It takes neither a flush nor a compaction in between: what
//! they read they would write without it.

use super::maintenance::TaskError;
use super::{Db, failed, lock};
use crate::model::{Digest, Matcher, TimeRange};

/// What a deletion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Series of the head with samples in the range.
    pub head_series: u64,
    /// Blocks that were given tombstones.
    pub blocks: u64,
    /// Series of these blocks, counted in each.
    pub block_series: u64,
}

impl Db {
    /// Deletes the samples of `range` of all series that pass every matcher. Durable when this returns; after an error a
    /// part of it may be.
    pub fn delete_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Deleted, TaskError> {
        let _head_work = lock(&self.head_work);
        let _block_work = lock(&self.block_work);
        // On a full disk, too, something can be deleted.
        self.store.make_room();
        // A flush or compaction that failed may have left blocks on the disk that nobody sees, and in the ledger's file a
        // word about them. They would come back after a crash, with what is deleted now.
        let settled = self.store.ledger().settle();
        settled.map_err(|error| failed("the ledger cannot be written", error))?;
        self.store.remove_hidden();
        if let Some(ulid) = self.store.blocks.taken_back() {
            return Err(TaskError(format!(
                "nothing is deleted: block {ulid}, which does not count, cannot be removed"
            )));
        }
        let mut deleted = Deleted::default();
        // The log first: what it holds is deleted again by a replay, whatever happens to the blocks.
        let admission =
            self.committer.admit().map_err(|error| failed("the deletion cannot be written to the log", error))?;
        deleted.head_series = self.head.delete(matchers, range);
        let durable = admission.commit(0, Digest::ZERO);
        durable.wait().map_err(|error| failed("the deletion is not durable in the log", error))?;
        for block in self.store.blocks.list() {
            if !block.meta().time_range().is_some_and(|held| held.overlaps(&range)) {
                continue;
            }
            let done = block
                .delete(matchers, range)
                .map_err(|error| failed(&format!("the deletion cannot be written to block {}", block.ulid()), error))?;
            deleted.blocks += u64::from(done.series > 0);
            deleted.block_series += done.series;
        }
        self.store.counters.deletions.add(1);
        // A block that is tried again has its samples later.
        let unread = self.store.blocks.lost().into_iter().find(|lost| lost.comes_back() && lost.touches(&range));
        match unread {
            None => Ok(deleted),
            Some(lost) => Err(TaskError(format!(
                "deleted, but not in block {}, which cannot be read now ({}): delete again when it can",
                lost.ulid, lost.reason
            ))),
        }
    }

    /// Writes all blocks with tombstones again, without the deleted samples; how many there were.
    pub fn clean_tombstones(&self) -> Result<usize, TaskError> {
        let began = self.clock.monotonic();
        let _work = lock(&self.block_work);
        let with_tombstones: Vec<_> =
            self.store.blocks.list().into_iter().filter(|block| !block.tombstones().is_empty()).collect();
        for block in &with_tombstones {
            self.compact_blocks(std::slice::from_ref(block), "deletions")?;
        }
        self.store.counters.tombstone_cleanups.observe(self.clock.monotonic().saturating_sub(began));
        Ok(with_tombstones.len())
    }
}
