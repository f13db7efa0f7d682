//! The watermark: up to where the head chunk files hold what the log holds, so that a start need not read all of it.
//!
//! All in-order samples of groups up to the watermark's that are older than its time are in chunk files, which are synced
//! up to a place that is noted with it. A series' open chunk holds its samples from some time on, so the time is the
//! least of these, over all series. A series that is slow or has ceased would hold it back for ever: its open chunk is
//! cut early ([`Head::cut_open_chunks`]).
//!
//! The watermark is derived: where its file is missing, damaged, or does not fit the chunk files, everything is read.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use super::Head;
use super::flush::FlushMessage;
use super::series::ChunkPlace;
use super::shard::SHARDS;
use crate::chunk::head_file::{FilesExtent, ScanReport};
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::fs::{Fs, names};
use crate::model::TimestampMs;
use crate::wal::ReplayFrom;

const MAGIC: &[u8; 8] = b"CHLRWMK\x01";

/// Up to where the chunk files hold what the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// In-order samples before this time are in chunk files, if their group is not a later one.
    pub below_ms: TimestampMs,
    /// The last group that this is said of.
    pub up_to_group: u64,
    /// In-order samples before this time were in blocks, and need not be in the files. A start that wants them has to
    /// read the whole log.
    pub floor_ms: TimestampMs,
    /// The chunk files that hold them.
    pub files: FilesExtent,
}

impl Watermark {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put::u64_be(&mut bytes, self.below_ms as u64);
        put::u64_be(&mut bytes, self.up_to_group);
        put::u64_be(&mut bytes, self.floor_ms as u64);
        put::u32_be(&mut bytes, self.files.first);
        put::u32_be(&mut bytes, self.files.last);
        put::u64_be(&mut bytes, self.files.bytes);
        put::u64_be(&mut bytes, self.files.bytes_before);
        let checksum = crc32c(&bytes);
        put::u32_be(&mut bytes, checksum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corruption> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(MAGIC.len())? != MAGIC {
            return Err(Corruption { what: "watermark does not begin with its magic number", offset: 0 });
        }
        let watermark = Watermark {
            below_ms: cursor.u64_be()? as i64,
            up_to_group: cursor.u64_be()?,
            floor_ms: cursor.u64_be()? as i64,
            files: FilesExtent {
                first: cursor.u32_be()?,
                last: cursor.u32_be()?,
                bytes: cursor.u64_be()?,
                bytes_before: cursor.u64_be()?,
            },
        };
        let covered = bytes.get(..cursor.position()).unwrap_or_default();
        if cursor.u32_be()? != crc32c(covered) || !cursor.is_empty() {
            return Err(Corruption { what: "watermark does not give its checksum", offset: 0 });
        }
        Ok(watermark)
    }

    /// Reads the watermark and compares it with the chunk files, which a scan has read.
    pub(super) fn read(fs: &dyn Fs, chunks_dir: &Path, scan: &ScanReport) -> Noted {
        let Ok(bytes) = fs.read(&chunks_dir.join(names::WATERMARK_FILE)) else { return Noted::Nothing };
        let watermark = match Self::decode(&bytes) {
            Ok(watermark) => watermark,
            Err(damage) => {
                tracing::warn!(%damage, "the watermark of the head chunk files is damaged, the whole log is read");
                return Noted::Nothing;
            }
        };
        let FilesExtent { first, last, bytes, bytes_before } = watermark.files;
        let bytes_of =
            |file| fs.open(&names::head_chunk_file(chunks_dir, file)).and_then(|file| file.len()).unwrap_or_default();
        if last == 0 {
            return Noted::Holds(watermark);
        }
        // Files that were removed since then may have gone for a reason, and may not. Behind a stop nothing is loaded.
        let is_first = scan.files.first() == Some(&first);
        let reaches = scan.stop.as_ref().is_none_or(|stop| (stop.file, stop.offset) >= (last, bytes));
        let found_before: u64 = scan.files.iter().filter(|file| **file < last).map(|file| bytes_of(*file)).sum();
        if is_first && reaches && scan.files.contains(&last) && bytes_of(last) >= bytes {
            // A file that is cut between two entries reads as whole.
            return if found_before == bytes_before { Noted::Holds(watermark) } else { Noted::OfLongerFiles };
        }
        tracing::warn!("head chunk files are not those of their watermark, the whole log is read");
        let has_later = scan.files.iter().any(|file| *file > last);
        let is_cut = is_first && has_later && bytes_of(last) < bytes;
        if is_cut { Noted::OfLongerFiles } else { Noted::Nothing }
    }
}

/// What the watermark says of the chunk files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// There is none that can be used.
    Nothing,
    /// It holds.
    Holds(Watermark),
    /// Chunks are missing in the midst of the files.
    OfLongerFiles,
}

impl Head {
    /// Up to where a replay of the log into this head need not read samples, given what its files hold. The floor must
    /// be set.
    pub fn replay_from(&self, watermark: Option<&Watermark>) -> ReplayFrom {
        let floor_ms = self.floor_ms();
        match watermark.filter(|watermark| watermark.floor_ms <= floor_ms) {
            Some(mark) => ReplayFrom { time_ms: mark.below_ms, group: mark.up_to_group, floor_ms },
            None => ReplayFrom { time_ms: TimestampMs::MIN, group: 0, floor_ms },
        }
    }

    /// Makes the chunk files durable, and notes up to where they hold what the log holds. `up_to_group` is a group that
    /// was durable before this is called. To be called from time to time, and whenever chunk files were removed.
    /// Gives what was noted; `None` where the head has no files.
    pub fn write_watermark(&self, fs: &dyn Fs, chunks_dir: &Path, up_to_group: u64) -> io::Result<Option<Watermark>> {
        let Some(flusher) = &self.flusher else { return Ok(None) };
        let below_ms = self.oldest_in_memory_ms();
        let floor_ms = self.shared.counters.left_below_ms.load(Ordering::Acquire);
        let (answer, answered) = sync_channel(1);
        let gone = |_| io::Error::other("the thread that writes head chunk files is gone");
        flusher.sender.send(FlushMessage::Sync(answer)).map_err(|_| gone(()))?;
        let files = answered.recv().map_err(|_| gone(()))??;
        let watermark = Watermark { below_ms, up_to_group, floor_ms, files };
        let path = chunks_dir.join(names::WATERMARK_FILE);
        let tmp = chunks_dir.join(format!("{}.tmp", names::WATERMARK_FILE));
        if fs.exists(&tmp) {
            fs.remove_file(&tmp)?;
        }
        let mut file = fs.create(&tmp)?;
        file.write_all(&watermark.encode())?;
        file.sync_data()?;
        fs.rename(&tmp, &path)?;
        fs.sync_dir(chunks_dir)?;
        Ok(Some(watermark))
    }

    /// Time of the oldest in-order sample that is in no chunk file; behind the newest where all are.
    fn oldest_in_memory_ms(&self) -> TimestampMs {
        let mut oldest_ms = i64::MAX;
        for number in 0..SHARDS {
            let shard = self.shared.shard(number);
            for series in shard.rows() {
                let in_memory = series.full.iter().find(|chunk| matches!(chunk.place, ChunkPlace::Memory(_)));
                let in_memory_ms = in_memory.map(|chunk| chunk.min_time_ms);
                let open_ms = series.open_range().map(|range| range.start_ms);
                oldest_ms = [in_memory_ms, open_ms].into_iter().flatten().fold(oldest_ms, i64::min);
            }
        }
        oldest_ms
    }

    /// Cuts the open chunks that begin before this time; says how many. They are on their way to the chunk files when
    /// the group that is forming is durable.
    pub fn cut_open_chunks(&self, begun_before_ms: TimestampMs) -> usize {
        let mut cut = 0;
        for number in 0..SHARDS {
            cut += self.shared.shard(number).cut_open_chunks(begun_before_ms);
        }
        cut
    }
}
