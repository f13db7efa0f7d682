//! What a start need not read of the log: noted from time to time, and at the end.
//!
//! Head chunk files hold what the log holds, up to the oldest sample that stands only in an open chunk. The watermark says
//! up to where that is, and the summaries of segments say which of them a start may pass over. Both are derived: a start
//! without them reads more, and finds the same.

use super::maintenance::{Outcome, TaskError};
use super::{Db, failed, lock};
use crate::fs::names;
use crate::model::TimestampMs;
use crate::wal::{self, ReplayFrom};

/// An open chunk that spans more than this part of the head's range is made full, where much of the log would have to be
/// read because of it: series that are slow, and those that have ceased.
const OPEN_CHUNK_PARTS: i64 = 4;
/// How much of the log is much, in segments.
const MUCH_LOG_SEGMENTS: u64 = 2;

impl Db {
    /// Notes what a start need not read, if the log went on since the last time.
    pub(super) fn note_watermark_if_due(&self) -> Result<Outcome, TaskError> {
        let _work = lock(&self.head_work);
        let noted_group = lock(&self.watermark).map(|watermark| watermark.up_to_group);
        if noted_group == Some(self.committer.status().last_group) {
            return Ok(Outcome::Nothing);
        }
        let summaries = self.summarize(false)?;
        let newest_ms = self.head.in_order_range().map(|held| held.end_ms);
        if let Some(newest_ms) = newest_ms
            && self.unskipped_bytes()? > MUCH_LOG_SEGMENTS.saturating_mul(self.options.wal.segment_bytes)
        {
            self.head.cut_open_chunks(newest_ms.saturating_sub(self.options.head.chunk_range_ms / OPEN_CHUNK_PARTS));
        }
        let ((), cut) = self.committer.cut(|| ());
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        self.head.flush_chunks();
        self.write_watermark(group)?;
        Ok(Outcome::Done(format!("noted up to group {group}, {summaries} segments summarized")))
    }

    /// Makes all open chunks full, so that the next start finds them in files. No write is to follow.
    pub(super) fn end_open_chunks(&self) {
        self.head.cut_open_chunks(TimestampMs::MAX);
    }

    /// Notes what the next start need not read, when the log has ended in order. A failure costs time at the start.
    pub(super) fn note_end(&self) {
        let _work = lock(&self.head_work);
        let status = self.committer.status();
        if status.failure.is_some() {
            return;
        }
        self.head.flush_chunks();
        let noted = self.write_watermark(status.last_group).and_then(|()| self.summarize(true));
        if let Err(error) = noted {
            tracing::warn!(%error, "the next start will read more of the log than it would have to");
        }
    }

    fn summarize(&self, last_is_finished: bool) -> Result<usize, TaskError> {
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        wal::summarize(&*self.fs, &wal_dir, last_is_finished)
            .map_err(|error| failed("segments of the log cannot be summarized", error))
    }

    fn write_watermark(&self, group: u64) -> Result<(), TaskError> {
        let chunks_dir = self.options.data_dir.join(names::CHUNKS_HEAD_DIR);
        let noted = self.head.write_watermark(&*self.fs, &chunks_dir, group);
        let noted = noted.map_err(|error| failed("the watermark of the head chunk files cannot be written", error))?;
        *lock(&self.watermark) = noted;
        Ok(())
    }

    /// Up to where a start would pass over samples of the log.
    pub(super) fn replay_from(&self) -> ReplayFrom {
        self.head.replay_from(lock(&self.watermark).as_ref())
    }

    /// Bytes of the log that a start would read now.
    fn unskipped_bytes(&self) -> Result<u64, TaskError> {
        let wal_dir = self.options.data_dir.join(names::WAL_DIR);
        let estimate = wal::replay_estimate(&*self.fs, &wal_dir, Some(self.replay_from()));
        Ok(estimate.map_err(|error| failed("the log cannot be listed", error))?.bytes)
    }
}
