//! Retention carried out: the ledger is told, the view lets go, the files go.

use ulid::Ulid;

use super::maintenance::TaskError;
use super::retention::{BlockFacts, ExpiryReason, NextExpiry, RetentionFacts, next, plan};
use super::store::BlockStore;
use super::{Db, failed, lock};
use crate::fs::{Fs, names};
use crate::ledger::Event;
use crate::model::TimestampMs;

/// A block that retention removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Its name.
    pub ulid: Ulid,
    /// Why.
    pub reason: ExpiryReason,
}

impl BlockStore {
    /// Removes the blocks that have had their time. `head_newest_ms` is the head's newest sample, where it has one.
    pub(super) fn expire(&self, head_newest_ms: Option<TimestampMs>) -> Result<Vec<Expired>, TaskError> {
        let facts = self.retention_facts();
        let head_bytes = self.head_bytes();
        let facts = RetentionFacts { now_ms: self.clock.now_ms(), head_newest_ms, head_bytes, blocks: &facts };
        let plan = plan(&self.options.retention, &facts);
        self.set_alarm("retention", plan.alarm);
        if plan.expired.is_empty() {
            return Ok(Vec::new());
        }
        self.make_room();
        let mut expired = Vec::with_capacity(plan.expired.len());
        for (ulid, reason) in plan.expired {
            // One after the other: on a full disk each that goes makes room for the next entry of the ledger.
            self.remove_block(ulid)?;
            tracing::info!(%ulid, reason = reason.as_str(), "block expired");
            match reason {
                ExpiryReason::Time => self.counters.expired_by_time.add(1),
                ExpiryReason::Size => self.counters.expired_by_size.add(1),
            }
            expired.push(Expired { ulid, reason });
        }
        Ok(expired)
    }

    /// Whether retention takes a block, were there samples of now: what the head has is not known before its replay.
    pub(super) fn expires_by_clock(&self, ulid: Ulid) -> bool {
        let (facts, now_ms) = (self.retention_facts(), self.clock.now_ms());
        let facts =
            RetentionFacts { now_ms, head_newest_ms: Some(now_ms), head_bytes: self.head_bytes(), blocks: &facts };
        plan(&self.options.retention, &facts).expired.iter().any(|(expired, _)| *expired == ulid)
    }

    /// The blocks, as far as retention looks at them.
    fn retention_facts(&self) -> Vec<BlockFacts> {
        let blocks = self.blocks.list();
        let of = |block: &std::sync::Arc<crate::block::Block>| {
            Some(BlockFacts { ulid: block.ulid(), range: block.meta().time_range()?, bytes: block.bytes() })
        };
        blocks.iter().filter_map(of).collect()
    }

    /// Removes a block: the event is durable first, then the view lets go, then the files go.
    fn remove_block(&self, ulid: Ulid) -> Result<(), TaskError> {
        // What the ledger never took in is not told to have left.
        if let Some(tally) = self.recorded(ulid) {
            let expired = Event::Expired { ulid, tally };
            self.record(&[expired]).map_err(|error| failed("the ledger cannot be written", error))?;
        }
        self.blocks.replace(&[ulid], &[]);
        self.notes().checks.remove(&ulid);
        self.blocks.remove_files(ulid).map_err(|error| failed(&format!("block {ulid} cannot be removed"), error))
    }

    /// Gives the reserve up where the disk is full, so that what makes room can be written down.
    pub(super) fn make_room(&self) {
        match self.reserve.give_up_if_full() {
            Ok(true) => {
                self.counters.reserve_given_up.add(1);
                tracing::warn!("the disk is full; the reserve was given up, so that deletions can run");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the reserve could not be given up"),
        }
    }

    /// Makes the reserve where it is missing and there is room.
    pub(super) fn ensure_reserve(&self) {
        match self.reserve.ensure() {
            Ok(state) => self.notes().reserve = Some(state),
            Err(error) => tracing::warn!(%error, "the reserve could not be made"),
        }
    }

    /// Bytes of the log, its checkpoint, and the head's chunk files.
    pub(super) fn head_bytes(&self) -> u64 {
        let dirs = [names::WAL_DIR, names::WBL_DIR, names::CHUNKS_HEAD_DIR];
        dirs.into_iter().map(|dir| bytes_in(&*self.fs, &self.data_dir.join(dir))).sum()
    }
}

/// Bytes of the files in a directory and in those below.
fn bytes_in(fs: &dyn Fs, dir: &std::path::Path) -> u64 {
    let entries = fs.list(dir).unwrap_or_default();
    let bytes = |entry: &crate::fs::DirEntry| match entry.is_dir {
        true => bytes_in(fs, &dir.join(&entry.name)),
        false => entry.bytes,
    };
    entries.iter().map(bytes).sum()
}

impl Db {
    /// The block that retention takes next.
    pub fn next_expiry(&self) -> Option<NextExpiry> {
        next(&self.store.options.retention, &self.store.retention_facts())
    }

    /// Removes the blocks that have had their time, now.
    pub fn expire(&self) -> Result<Vec<Expired>, TaskError> {
        let _work = lock(&self.block_work);
        let expired = self.store.expire(self.head.max_time_ms())?;
        self.store.ensure_reserve();
        Ok(expired)
    }
}
