//! The tasks of maintenance, as the database does them.

use std::sync::Arc;

use super::maintenance::{Outcome, Task, TaskError, TaskHost};
use super::quarantine::lost_alarm;
use super::{Db, failed, lock};
use crate::block::Block;
use crate::block::accel::{self, AccelError, AccelState};

impl TaskHost for Db {
    fn alarms(&self) -> Vec<(&'static str, String)> {
        self.stall_alarms()
    }

    fn run(&self, task: Task) -> Result<Outcome, TaskError> {
        match task {
            Task::Retention => self.expire_if_due(),
            Task::Reload => self.reload_blocks(),
            Task::Flush => self.flush_if_due(),
            Task::FlushOutOfOrder => self.flush_out_of_order_if_due(),
            Task::Truncate => self.truncate_log_if_due(),
            Task::Watermark => self.note_watermark_if_due(),
            Task::Compact => self.compact_if_due(),
            Task::Accelerate => self.accelerate_next(),
            Task::Scrub => self.scrub_next(),
            Task::Verify => self.verify_if_due(),
        }
    }
}

impl Db {
    fn expire_if_due(&self) -> Result<Outcome, TaskError> {
        let expired = self.expire()?;
        let names: Vec<String> = expired.iter().map(|one| one.ulid.to_string()).collect();
        Ok(if names.is_empty() { Outcome::Nothing } else { Outcome::Done(format!("expired {}", names.join(", "))) })
    }

    /// Takes in blocks that appeared on the disk, and lets go of those that vanished.
    pub(super) fn reload_blocks(&self) -> Result<Outcome, TaskError> {
        let _work = lock(&self.block_work);
        // Before a block is there that came from elsewhere: without a ledger a start would take its end for the floor.
        self.begin_ledger()?;
        self.store.remove_hidden();
        let found =
            self.store.blocks.reload(false).map_err(|error| failed("the data directory cannot be listed", error))?;
        for ulid in &found.vanished {
            tracing::warn!(%ulid, "a block was removed by somebody else");
        }
        let recorded = self.store.record_vanished(&found.vanished);
        for lost in &found.lost {
            tracing::error!(ulid = %lost.ulid, reason = lost.reason, "a block cannot be read, its samples are missing");
        }
        self.store.set_alarm("lost", lost_alarm(&self.store.blocks.lost()));
        self.store.forget_gone_blocks();
        self.store.find_met_damages();
        self.store.look_at_log_losses(&self.recovery, &self.replayed);
        recorded.map_err(|error| failed("the ledger cannot be written", error))?;
        if found.added.is_empty() && found.vanished.is_empty() {
            return Ok(Outcome::Nothing);
        }
        self.trigger(Task::Accelerate);
        self.trigger(Task::Compact);
        let (added, vanished) = (found.added.len(), found.vanished.len());
        Ok(Outcome::Done(format!("{added} blocks appeared, {vanished} vanished")))
    }

    /// Builds the accelerator of one block that has none that can be used.
    pub(super) fn accelerate_next(&self) -> Result<Outcome, TaskError> {
        let lacks = |block: &Arc<Block>| block.accel_state() != AccelState::Ready;
        let refused = self.store.notes().unaccelerable.clone();
        let blocks = self.store.blocks.list();
        let next = blocks.iter().find(|block| lacks(block) && !refused.contains(&block.ulid()));
        let Some(block) = next else { return Ok(Outcome::Nothing) };
        if let Err(error) = accel::build(&*self.fs, block) {
            // Queries go on through the index. A full disk passes; other reasons don't.
            if !matches!(error, AccelError::Io { .. }) {
                self.store.notes().unaccelerable.insert(block.ulid());
            }
            return Err(failed(&format!("the accelerator of block {} cannot be built", block.ulid()), error));
        }
        self.store.counters.accelerators_built.add(1);
        Ok(Outcome::More(format!("accelerator of block {} built", block.ulid())))
    }
}
