//! What a log holds, as [`scan`](super::scan()) and recovery tell it.

use std::sync::atomic::AtomicU64;

use super::checkpoint::CheckpointEnd;
use super::group_writer::Resume;
use super::options::WalError;
use super::seal::Seal;

/// Where a record stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPosition {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Where the record begins.
    pub offset: u64,
    /// Whether it stands in a checkpoint.
    pub checkpoint: bool,
    /// The group whose seal covers it; `None` for a record that no seal covers. In a checkpoint of ours, the group in
    /// which it stood: its seal is gone, and the checkpoint's hash covers it.
    pub group: Option<u64>,
    /// Where no seal covers it because its group has lost that: the last group that it may be of.
    pub lost_group: Option<u64>,
}

impl RecordPosition {
    /// The group with which it counts as flushed or not; `None` for a record of another program. Of a record whose group
    /// has lost its seal that is the last one that it may be of: what was flushed by then, it is in a block.
    pub fn counts_in(&self) -> Option<u64> {
        self.group.or(self.lost_group)
    }
}

/// Who gets what the log holds, in the order of the log.
pub trait ReplaySink {
    /// A record, type byte first. Seals and marks are not among them.
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError>;

    /// A seal, behind the records of its group. `intact`: the group's records give the seal's hash, and the seal
    /// follows the one before it.
    fn seal(&mut self, _position: RecordPosition, _seal: &Seal, _intact: bool) -> Result<(), WalError> {
        Ok(())
    }
}

/// How far a replay is. Any thread may read it.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    /// Files of the log.
    pub segments_total: AtomicU64,
    /// Files that were read to their end.
    pub segments_done: AtomicU64,
    /// Bytes of these files.
    pub bytes_total: AtomicU64,
    /// Bytes that were read.
    pub bytes_done: AtomicU64,
}

/// Something in the log that should be otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Whether it lies in a checkpoint.
    pub checkpoint: bool,
    /// Where the damage begins.
    pub offset: u64,
    /// Bytes that could not be read; 0 where something is missing or does not fit.
    pub bytes: u64,
    /// What was found.
    pub what: String,
    /// The groups that lost records, first and last; `None` where no seal tells.
    pub groups: Option<(u64, u64)>,
    /// Whether the disk refused to give the bytes: they may be whole, and another time it may give them.
    pub is_unreadable: bool,
}

/// The end of a segment that no seal covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedTail {
    /// Number of the segment.
    pub segment: u32,
    /// Where the tail begins: behind the last seal or mark.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Whole records in it.
    pub records: u64,
    /// What stands there.
    pub what: String,
}

/// What was read of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Whether it belongs to the checkpoint.
    pub checkpoint: bool,
    /// Its length.
    pub bytes: u64,
    /// Readable records, seals and marks included.
    pub records: u64,
    /// Bytes of these records before compression.
    pub record_bytes: u64,
    /// Seals.
    pub seals: u64,
    /// Whether it begins with a mark of ours.
    pub marked: bool,
    /// Its first and last sealed group.
    pub groups: Option<(u64, u64)>,
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogScan {
    /// Every file that was read.
    pub segments: Vec<SegmentSummary>,
    /// Where writing goes on.
    pub resume: Resume,
    /// Everything that should be otherwise, in the order of the log.
    pub damages: Vec<Damage>,
    /// What stands behind the last seal of the log. Beside a running server: the group in flight. Otherwise a group
    /// that a crash interrupted.
    pub torn_tail: Option<UnsealedTail>,
    /// Tails of earlier segments, given up after a failed write; what they hold was written again.
    pub abandoned: Vec<UnsealedTail>,
    /// First and last sealed group.
    pub groups: Option<(u64, u64)>,
    /// The last group before the oldest mark or seal that was read; `None` where there is none.
    pub follows: Option<u64>,
    /// Number of the first request of which the seals that were read tell, or the marks: all before it is gone. `None`
    /// where there is neither.
    pub first_commit: Option<u64>,
    /// Sealed groups.
    pub sealed_groups: u64,
    /// Acknowledged requests in them.
    pub requests: u64,
    /// Samples that their seals tell.
    pub sealed_samples: u64,
    /// Records that a seal covers.
    pub sealed_records: u64,
    /// Records that no seal covers: of a log that Prometheus wrote.
    pub unsealed_records: u64,
    /// Segments of which only the records were read that hold other things than in-order samples.
    pub segments_skipped: u64,
    /// Bytes of these segments.
    pub bytes_skipped: u64,
    /// The greatest series reference of the samples that were not read.
    pub newest_ref_skipped: u64,
    /// Records of a checkpoint of ours.
    pub checkpoint_records: u64,
    /// The end of the checkpoint, where it is of ours and its end can be read.
    pub checkpoint: Option<CheckpointEnd>,
    /// The last segment that the checkpoint stands for, where another program made it: nothing of ours is in it, nor is
    /// it damaged.
    pub foreign_checkpoint: Option<u32>,
    /// Records of a type that is not known.
    pub unknown_records: u64,
    /// Groups that stood in the log a second time.
    pub repeated_groups: u64,
    /// The first segments that are missing: first and last of each gap.
    pub missing: Vec<(u32, u32)>,
}

impl LogScan {
    /// Records given on.
    pub fn records(&self) -> u64 {
        self.sealed_records + self.unsealed_records + self.checkpoint_records
    }
}
