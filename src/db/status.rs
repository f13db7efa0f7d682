//! How the blocks and the disk stand, for people and probes.

use std::collections::BTreeMap;
use std::time::Duration;

use ulid::Ulid;

use super::Db;
use super::check::{BlockVerification, Verified};
use super::quarantine::LostBlock;
use super::reserve::ReserveState;
use crate::block::BlockMeta;
use crate::block::accel::AccelState;
use crate::fs::names;
use crate::model::{Tally, TimestampMs};
use crate::wal::{self, LogFile, LogFiles, WalError};

/// How one block stands.
#[derive(Debug, Clone)]
pub struct BlockStatus {
    /// Its meta: range, counts, level, where it came from.
    pub meta: BlockMeta,
    /// Bytes of its files.
    pub bytes: u64,
    /// Deleted ranges, over all series.
    pub tombstones: u64,
    /// What the ledger says it holds; `None` where it came from elsewhere and was not yet read whole.
    pub recorded: Option<Tally>,
    /// What its last check found; `None` where there was none since the start.
    pub check: Option<BlockVerification>,
    /// Whether it has an accelerator that can be used.
    pub is_accelerated: bool,
    /// Whether a compaction of it failed for a reason that does not pass.
    pub is_uncompactable: bool,
}

/// How blocks, disk and maintenance stand.
#[derive(Debug, Clone)]
pub struct StorageStatus {
    /// Blocks that are served.
    pub blocks: usize,
    /// Bytes of their files.
    pub block_bytes: u64,
    /// Bytes of the log and the head's chunk files.
    pub head_bytes: u64,
    /// Bytes that are free on the disk, where that is known.
    pub free_bytes: Option<u64>,
    /// The reserve; `None` before it was first looked at.
    pub reserve: Option<ReserveState>,
    /// Blocks whose samples are not served.
    pub lost: Vec<LostBlock>,
    /// Blocks that are served and in which a check found damage.
    pub damaged: usize,
    /// In-order samples below this are in blocks; `None` where no block was made yet.
    pub flushed_ms: Option<TimestampMs>,
    /// What a person should look at, by what it is about.
    pub alarms: Vec<(&'static str, String)>,
    /// The last proof of the log.
    pub verified: Option<Verified>,
}

/// How long a restart would take now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplayEstimate {
    /// Bytes of the log that a start would read.
    pub log_bytes: u64,
    /// Bytes of the log whose samples a start would pass over, as blocks or head chunk files hold them.
    pub skipped_bytes: u64,
    /// Bytes of the log that are replayed each second: as at the last start, where that read enough to tell.
    pub bytes_per_second: f64,
    /// How long that takes.
    pub duration: Duration,
    /// Whether the rate was measured here.
    pub is_measured: bool,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSegment {
    /// Number of the segment, or of the file within the checkpoint.
    pub number: u32,
    /// Whether it belongs to the checkpoint.
    pub is_checkpoint: bool,
    /// Its length.
    pub bytes: u64,
    /// Whether it is being written.
    pub is_open: bool,
    /// Its first and last sealed group, as far as the start or the last proof has read it.
    pub groups: Option<(u64, u64)>,
}

/// Bytes of the log that are replayed each second where nothing was measured: what a slow machine manages.
const REPLAY_BYTES_PER_SECOND: f64 = 50e6;
/// A start that read less than this tells nothing about the rate.
const REPLAY_BYTES_MEASURED: u64 = 16 << 20;
/// The head holds samples for longer than this many of its ranges only if it is not flushed.
const UNFLUSHED_RANGES_MAX: i64 = 3;
/// Log and head take more than this many times what they are flushed at only if they are not flushed.
const UNFLUSHED_SIZES_MAX: u64 = 4;

impl Db {
    /// How every block stands, by time.
    pub fn blocks(&self) -> Vec<BlockStatus> {
        let mut blocks = self.store.blocks.list();
        blocks.sort_by_key(|block| (block.meta().min_time_ms, block.ulid()));
        blocks.iter().filter_map(|block| self.block(block.ulid())).collect()
    }

    /// How one block stands.
    pub fn block(&self, ulid: Ulid) -> Option<BlockStatus> {
        let block = self.store.blocks.get(ulid)?;
        let recorded = self.store.recorded(ulid);
        let notes = self.store.notes();
        Some(BlockStatus {
            meta: BlockMeta::clone(&block.meta()),
            bytes: block.bytes(),
            tombstones: block.tombstones().len() as u64,
            recorded,
            check: notes.checks.get(&ulid).cloned(),
            is_accelerated: block.accel_state() == AccelState::Ready,
            is_uncompactable: notes.uncompactable.contains(&ulid),
        })
    }

    /// How blocks, disk and maintenance stand.
    pub fn storage_status(&self) -> StorageStatus {
        let blocks = self.store.blocks.list();
        let mut alarms: Vec<(&'static str, String)> = {
            let notes = self.store.notes();
            notes.alarms.iter().map(|(about, text)| (*about, text.clone())).collect()
        };
        alarms.extend(self.stall_alarms());
        let (verified, reserve) = {
            let notes = self.store.notes();
            (notes.proofs.last().cloned(), notes.reserve.clone())
        };
        let flushed_ms = self.flushed_ms();
        StorageStatus {
            blocks: blocks.len(),
            block_bytes: blocks.iter().map(|block| block.bytes()).sum(),
            head_bytes: self.store.head_bytes(),
            free_bytes: self.fs.free_bytes(&self.options.data_dir).ok(),
            reserve,
            lost: self.store.blocks.lost(),
            damaged: self.store.damaged_blocks().len(),
            flushed_ms: (flushed_ms != TimestampMs::MIN).then_some(flushed_ms),
            alarms,
            verified,
        }
    }

    /// What does not go on as it should: tasks, and the head that is not flushed.
    pub(super) fn stall_alarms(&self) -> Vec<(&'static str, String)> {
        let mut alarms: Vec<(&'static str, String)> = Vec::new();
        alarms.extend(self.unflushed_alarm().map(|text| ("head", text)));
        alarms.extend(self.schedule.status().alarms().map(|(task, text)| (task.as_str(), text.to_owned())));
        alarms
    }

    /// The alarm that the head holds more than it would if flushes ran, whatever the tasks say of themselves.
    fn unflushed_alarm(&self) -> Option<String> {
        if let Some(bytes) = self.options.storage.flush_bytes {
            let held = self.store.head_bytes();
            if held / UNFLUSHED_SIZES_MAX > bytes {
                return Some(format!(
                    "log and head take {held} bytes; with head.flush_size = {bytes} they should be flushed long ago"
                ));
            }
        }
        let held = self.unflushed_range()?;
        let range_ms = self.options.head.chunk_range_ms.max(1);
        let ranges = held.end_ms.saturating_sub(held.start_ms) / range_ms;
        (ranges >= UNFLUSHED_RANGES_MAX).then(|| {
            let hours = held.end_ms.saturating_sub(held.start_ms) as f64 / 3_600_000.0;
            format!("the head holds {hours:.1} h of samples that no block has: it is not flushed")
        })
    }

    /// The files of the log, in its order.
    pub fn log_segments(&self) -> Result<Vec<LogSegment>, WalError> {
        let open = self.committer.status().open_segment.map(|(number, _)| number);
        let files = LogFiles::list(&*self.fs, &self.options.data_dir.join(names::WAL_DIR))?.files;
        let coverage = self.log_coverage().map(|coverage| coverage.segments).unwrap_or_default();
        let mut groups = BTreeMap::new();
        for read in self.recovery.log.segments.iter().chain(&coverage) {
            if let Some(of_segment) = read.groups {
                groups.insert((read.checkpoint, read.segment), of_segment);
            }
        }
        let segment = |file: &LogFile| LogSegment {
            number: file.number,
            is_checkpoint: file.checkpoint,
            bytes: file.bytes,
            is_open: !file.checkpoint && open == Some(file.number),
            groups: groups.get(&(file.checkpoint, file.number)).copied(),
        };
        Ok(files.iter().map(segment).collect())
    }

    /// How long a restart would take now.
    pub fn replay_estimate(&self) -> ReplayEstimate {
        let all_bytes = self.committer.status().bytes;
        let from = self.replay_from();
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        // A log that cannot be listed is read whole, if it can be read at all.
        let read = wal::replay_estimate(&*self.fs, &wal_dir, Some(from)).map(|estimate| estimate.bytes);
        let log_bytes = read.unwrap_or(all_bytes).min(all_bytes);
        let skipped_bytes = all_bytes - log_bytes;
        let log = &self.recovery.log;
        let of_segments: u64 = log.segments.iter().map(|segment| segment.bytes).sum();
        let read_bytes = of_segments.saturating_sub(log.bytes_skipped);
        let seconds = self.replay_time.as_secs_f64();
        let is_measured = read_bytes >= REPLAY_BYTES_MEASURED && seconds > 0.0;
        let bytes_per_second = if is_measured { read_bytes as f64 / seconds } else { REPLAY_BYTES_PER_SECOND };
        let duration = Duration::from_secs_f64(log_bytes as f64 / bytes_per_second);
        ReplayEstimate { log_bytes, skipped_bytes, bytes_per_second, duration, is_measured }
    }
}
