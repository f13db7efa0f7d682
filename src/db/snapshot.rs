//! Snapshots: a copy of everything as of one moment, that takes little time and, at first, no space.
//!
//! Blocks never change but for their small files, which are replaced by rename, so a hard link of each file is a copy.
//! The head's samples are written as one block, and compared with the log up to the group that was the last one at that
//! moment. All of it is made under a temporary name, durably, and gets its own in one step.

use std::io;
use std::path::Path;

use super::maintenance::TaskError;
use super::quarantine::LostBlock;
use super::{Db, failed, lock};
use crate::block::{self, PreparedBlock, SnapshotBlock, SnapshotManifest};
use crate::fs::{Fs, names};
use crate::head::{ChunkKind, OutOfOrderCut};
use crate::model::{Tally, TimeRange, TimestampMs};
use crate::proof::{LogPart, TallyRequest};
use crate::wal::CutPoint;

impl Db {
    /// Makes a snapshot; its name in `snapshots/`. With `skip_head` it holds the blocks alone.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, TaskError> {
        let _head_work = lock(&self.head_work);
        let _block_work = lock(&self.block_work);
        if let Some(lost) = self.store.blocks.lost().into_iter().find(LostBlock::comes_back) {
            return Err(TaskError(format!(
                "block {} cannot be read now ({}), and the snapshot would lack it",
                lost.ulid, lost.reason
            )));
        }
        let all = self.options.data_dir.join(names::SNAPSHOTS_DIR);
        let name = snapshot_name(self.clock.now_ms(), self.store.new_name().random() as u64);
        let tmp = all.join(format!("{name}{}", names::TMP_FOR_CREATION));
        let made = self.fill_snapshot(&tmp, skip_head);
        if made.is_err() && self.fs.exists(&tmp) {
            // Half a snapshot is none.
            self.fs.remove_dir_all(&tmp).map_err(|error| failed("an unfinished snapshot cannot be removed", error))?;
        }
        made?;
        let publish = || {
            self.fs.rename(&tmp, &all.join(&name))?;
            self.fs.sync_dir(&all)
        };
        publish().map_err(|error| failed("the snapshot cannot be given its name", error))?;
        self.store.counters.snapshots.add(1);
        Ok(name)
    }

    fn fill_snapshot(&self, dir: &Path, skip_head: bool) -> Result<(), TaskError> {
        let fs = &*self.fs;
        let cannot = |error: io::Error| failed("the snapshot cannot be written", error);
        fs.create_dir_all(dir).map_err(cannot)?;
        fs.sync_dir(&self.options.data_dir).map_err(cannot)?;
        let mut manifest = SnapshotManifest::default();
        for block in self.store.blocks.list() {
            link_files(fs, block.dir(), &dir.join(block.ulid().to_string())).map_err(cannot)?;
            let known = self.store.recorded(block.ulid()).or_else(|| block.accel().map(|accel| accel.tally()));
            let stored = known.unwrap_or_else(|| block::check(&block, &mut |_bytes| {}).stored);
            manifest.blocks.push(SnapshotBlock::of(&block, stored, false));
        }
        if !skip_head && !planted!(SnapshotWithoutHead) {
            manifest.blocks.extend(self.snapshot_head(dir)?);
        }
        manifest.write(fs, dir).map_err(cannot)
    }

    /// Writes the head's samples as of one moment as a block. Samples that come while it is written may slip in; then it
    /// is written again while nothing is accepted.
    fn snapshot_head(&self, dir: &Path) -> Result<Option<SnapshotBlock>, TaskError> {
        let (moment, cut) = self.committer.cut(|| self.moment());
        let written = self.write_snapshot_block(dir, &moment)?;
        if self.is_in_log(written.as_ref(), &moment, cut)? {
            return Ok(written);
        }
        if let Some(block) = written {
            let removed = self.fs.remove_dir_all(&dir.join(block.ulid.to_string()));
            removed.map_err(|error| failed("a block of the snapshot cannot be removed", error))?;
        }
        let mut written = Ok(None);
        let (moment, cut) = self.committer.cut(|| {
            let moment = self.moment();
            written = self.write_snapshot_block(dir, &moment);
            moment
        });
        let written = written?;
        if self.is_in_log(written.as_ref(), &moment, cut)? {
            return Ok(written);
        }
        Err(TaskError("the head does not hold what the log gives, so the snapshot would not either".to_owned()))
    }

    fn moment(&self) -> Moment {
        let newest_ms = self.head.in_order_range().map(|held| held.end_ms);
        Moment {
            in_order: newest_ms.map(|newest_ms| TimeRange::new(self.flushed_ms(), newest_ms)),
            out_of_order: self.head.cut_out_of_order(),
        }
    }

    fn write_snapshot_block(&self, dir: &Path, moment: &Moment) -> Result<Option<SnapshotBlock>, TaskError> {
        let mut sources = Vec::new();
        let mut held: Option<TimeRange> = None;
        if let Some(range) = moment.in_order {
            sources.push(self.head.chunk_source(range, ChunkKind::InOrder));
            let start_ms = self.head.in_order_range().map_or(range.start_ms, |held| held.start_ms.max(range.start_ms));
            held = (start_ms <= range.end_ms).then(|| TimeRange::new(start_ms, range.end_ms));
        }
        if let Some(range) = moment.out_of_order.range {
            sources.push(self.head.chunk_source(range, ChunkKind::OutOfOrder(moment.out_of_order)));
            let around =
                |held: TimeRange| TimeRange::new(held.start_ms.min(range.start_ms), held.end_ms.max(range.end_ms));
            held = Some(held.map_or(range, around));
        }
        let Some(range) = held else { return Ok(None) };
        let written = self.write_block(dir, sources, range, Vec::new())?;
        let Some(prepared) = written.block else { return Ok(None) };
        let stored = self.read_back(&prepared)?;
        let block = prepared.publish().map_err(|error| failed("a block of the snapshot cannot be published", error))?;
        Ok(Some(SnapshotBlock::of(&block, stored, true)))
    }

    /// Reads a block back from the disk, whole.
    fn read_back(&self, prepared: &PreparedBlock) -> Result<Tally, TaskError> {
        let block = prepared.open().map_err(|error| failed("a block of the snapshot cannot be opened", error))?;
        let check = block::check(&block, &mut |_bytes| {});
        match check.findings.first() {
            None => Ok(check.stored),
            Some(finding) => Err(failed("a block of the snapshot is damaged", &finding.what)),
        }
    }

    /// Whether a block holds what the log had at a moment and no other block has.
    fn is_in_log(&self, block: Option<&SnapshotBlock>, moment: &Moment, cut: CutPoint) -> Result<bool, TaskError> {
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        let after = self.store.ledger().state().flushed_out_of_order_group.unwrap_or(0);
        let range = moment.in_order.unwrap_or(TimeRange::new(TimestampMs::MAX, TimestampMs::MAX));
        let request = TallyRequest {
            parts: vec![
                LogPart::in_order(range),
                LogPart::out_of_order(TimeRange::ALL, after.saturating_add(1)..=group),
            ],
            up_to_group: Some(group),
        };
        let log = self.log_tally(&request)?;
        let left: Tally = log.parts.iter().map(|part| part.left()).sum();
        Ok(block.map_or(Tally::ZERO, |block| block.stored) == left || log.damages > 0)
    }
}

/// What the head held at one moment.
struct Moment {
    in_order: Option<TimeRange>,
    out_of_order: OutOfOrderCut,
}

/// Gives every file of a directory a second name in another one, durably.
pub(super) fn link_files(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<()> {
    fs.create_dir_all(to)?;
    for entry in fs.list(from)? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            link_files(fs, &source, &target)?;
        } else if !entry.name.ends_with(".tmp") {
            fs.hard_link(&source, &target)?;
        }
    }
    fs.sync_dir(to)
}

/// A snapshot's name as Prometheus makes them: the time, and something random.
fn snapshot_name(now_ms: TimestampMs, random: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms)
        .map_or_else(|_| now_ms.to_string(), |moment| moment.strftime("%Y%m%dT%H%M%SZ").to_string());
    format!("{time}-{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_snapshot_begins_with_the_time_in_utc() {
        assert_eq!(snapshot_name(1_512_940_344_000, 0x2be6_50b6), "20171210T211224Z-000000002be650b6");
    }
}
