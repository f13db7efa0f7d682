//! Writes a block: series after series into a directory that is not yet one, which becomes a block in one step.
//!
//! Order of what becomes durable: chunks, index, tombstones and meta, each synced; the directories; only then the
//! rename, and the directory around it. So a power loss leaves no block or the whole block. Left-overs under
//! `.tmp-for-creation` are removed at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;

use super::chunks::{SEGMENT_BYTES_MAX, SegmentWriter};
use super::index::{ChunkMeta, IndexBuilder};
use super::meta::{META_VERSION, write_synced};
use super::{Block, BlockCompaction, BlockDesc, BlockError, BlockMeta, BlockStats};
use crate::chunk;
use crate::fs::Fs;
use crate::fs::names::{BLOCK_CHUNKS_DIR, BLOCK_TOMBSTONES_FILE, TMP_FOR_CREATION};
use crate::model::{ChunkEncoding, LabelSet, TimestampMs};
use crate::storage::Chunk;
use crate::tombstones::TombstoneFile;

/// Beginning of the name of a block in quarantine that was written and could not be proven.
const UNPROVEN_PREFIX: &str = "unproven-";

/// How a block is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Length of a chunk segment, at most; never more than 512 MiB.
    pub segment_bytes_max: u64,
    /// Postings that are held in memory at a time, four bytes each.
    pub postings_per_pass: usize,
    /// Whether chunks may be written in encodings that Prometheus 3.5 and Thanos cannot read.
    pub newer_encodings: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { segment_bytes_max: SEGMENT_BYTES_MAX, postings_per_pass: 16 << 20, newer_encodings: false }
    }
}

/// What a finished block's meta says about where it came from.
#[derive(Debug, Clone, Default)]
pub struct BlockOrigin {
    /// The first time that the block covers.
    pub min_time_ms: TimestampMs,
    /// The first time behind what it covers.
    pub max_time_ms: TimestampMs,
    /// 1 for a block made from the head.
    pub level: u32,
    /// The level 1 blocks whose samples are in it; empty: the block itself.
    pub sources: Vec<Ulid>,
    /// The blocks that it was compacted from.
    pub parents: Vec<BlockDesc>,
    /// What compaction has to know.
    pub hints: Vec<String>,
}

/// A block that is being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub struct BlockWriter {
    fs: Arc<dyn Fs>,
    ulid: Ulid,
    parent: PathBuf,
    newer_encodings: bool,
    chunks: SegmentWriter,
    /// Taken when the index is finished.
    index: Option<IndexBuilder>,
    stats: BlockStats,
    /// First and last sample.
    times: Option<(TimestampMs, TimestampMs)>,
    metas: Vec<ChunkMeta>,
    /// The directory; taken when it is somebody else's to remove.
    dir: Option<PathBuf>,
}

/// The directory in which a block of this name is written.
fn dir_for_creation(parent: &Path, ulid: Ulid) -> PathBuf {
    parent.join(format!("{ulid}{TMP_FOR_CREATION}"))
}

impl BlockWriter {
    /// Starts a block in `parent`. What an earlier try left under the same name is removed.
    pub fn create(
        fs: Arc<dyn Fs>,
        parent: &Path,
        ulid: Ulid,
        options: WriterOptions,
    ) -> Result<BlockWriter, BlockError> {
        let dir = dir_for_creation(parent, ulid);
        if fs.exists(&dir) {
            fs.remove_dir_all(&dir).map_err(BlockError::io("remove", &dir))?;
        }
        let chunks_dir = dir.join(BLOCK_CHUNKS_DIR);
        fs.create_dir_all(&chunks_dir).map_err(BlockError::io("create", &chunks_dir))?;
        Ok(BlockWriter {
            index: Some(IndexBuilder::create(fs.clone(), &dir, options.postings_per_pass)?),
            chunks: SegmentWriter::new(fs.clone(), &dir, options.segment_bytes_max),
            newer_encodings: options.newer_encodings,
            fs,
            ulid,
            parent: parent.to_owned(),
            stats: BlockStats::default(),
            times: None,
            metas: Vec::new(),
            dir: Some(dir),
        })
    }

    /// The block's name.
    pub fn ulid(&self) -> Ulid {
        self.ulid
    }

    /// What was added so far.
    pub fn stats(&self) -> &BlockStats {
        &self.stats
    }

    /// Adds a series. It stands behind all series before it in the order of label sets, has a label and a chunk, and
    /// its chunks follow each other in time without sharing a millisecond.
    pub fn add(&mut self, labels: &LabelSet, chunks: &[Chunk]) -> Result<(), BlockError> {
        let refuse = |reason| BlockError::Refused { labels: labels.to_string(), reason };
        let Some(index) = &mut self.index else { return Err(refuse("the block is finished")) };
        if labels.is_empty() {
            return Err(refuse("it has no label"));
        }
        if index.series() > 0 && labels <= index.previous() {
            return Err(refuse("it does not stand behind the series before it"));
        }
        self.metas.clear();
        for chunk in chunks {
            let newer = !matches!(
                chunk.encoding,
                ChunkEncoding::Xor | ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram
            );
            if newer && !self.newer_encodings {
                return Err(refuse("a chunk has an encoding that Prometheus 3.5 does not know"));
            }
            if chunk.range.start_ms > chunk.range.end_ms {
                return Err(refuse("a chunk ends before it starts"));
            }
            if self.metas.last().is_some_and(|before| chunk.range.start_ms <= before.range.end_ms) {
                return Err(refuse("its chunks overlap or are not in order"));
            }
            let samples = u64::from(chunk::sample_count(chunk.encoding, &chunk.bytes).unwrap_or(0));
            if samples == 0 {
                return Err(refuse("a chunk has no sample"));
            }
            let place = self.chunks.write(chunk.encoding, &chunk.bytes)?;
            self.metas.push(ChunkMeta { range: chunk.range, place });
            self.stats.samples += samples;
            if chunk.encoding.is_float() {
                self.stats.float_samples += samples;
            } else {
                self.stats.histogram_samples += samples;
            }
        }
        let (Some(first), Some(last)) = (self.metas.first(), self.metas.last()) else {
            return Err(refuse("it has no chunk"));
        };
        let (start_ms, end_ms) = (first.range.start_ms, last.range.end_ms);
        let (known_start_ms, known_end_ms) = self.times.unwrap_or((start_ms, end_ms));
        self.times = Some((known_start_ms.min(start_ms), known_end_ms.max(end_ms)));
        index.add(labels, &self.metas)?;
        self.stats.series += 1;
        self.stats.chunks += chunks.len() as u64;
        Ok(())
    }

    /// Writes index, tombstones and meta, and makes everything durable under a name that is not yet a block's. `None`
    /// where no series was added: then there is no block, and nothing is left.
    pub fn finish(mut self, origin: BlockOrigin) -> Result<Option<PreparedBlock>, BlockError> {
        let (Some(dir), Some(index)) = (self.dir.clone(), self.index.take()) else { return Ok(None) };
        let Some((start_ms, end_ms)) = self.times else {
            self.dir = None;
            self.fs.remove_dir_all(&dir).map_err(BlockError::io("remove", &dir))?;
            return Ok(None);
        };
        if start_ms < origin.min_time_ms || end_ms >= origin.max_time_ms {
            let reason = format!(
                "its samples, from {start_ms} to {end_ms} ms, are not all within its range, from {} until {} ms",
                origin.min_time_ms, origin.max_time_ms
            );
            return Err(BlockError::Origin { reason });
        }
        self.chunks.finish()?;
        let index_bytes = index.finish()?;
        let tombstones = TombstoneFile::new().encode();
        write_synced(&*self.fs, &dir.join(BLOCK_TOMBSTONES_FILE), &tombstones)?;
        let meta = BlockMeta {
            ulid: self.ulid,
            min_time_ms: origin.min_time_ms,
            max_time_ms: origin.max_time_ms,
            stats: std::mem::take(&mut self.stats),
            compaction: BlockCompaction {
                level: origin.level.max(1),
                sources: if origin.sources.is_empty() { vec![self.ulid] } else { origin.sources },
                parents: origin.parents,
                hints: origin.hints,
                ..BlockCompaction::default()
            },
            version: META_VERSION,
            other: serde_json::Map::new(),
        };
        meta.create(&*self.fs, &dir)?;
        for dir in [&dir.join(BLOCK_CHUNKS_DIR), &dir] {
            self.fs.sync_dir(dir).map_err(BlockError::io("fsync", dir))?;
        }
        self.dir = None;
        let bytes = self.chunks.bytes() + index_bytes + tombstones.len() as u64;
        let (fs, parent) = (self.fs.clone(), self.parent.clone());
        Ok(Some(PreparedBlock { fs, parent, dir, meta, bytes }))
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && let Err(error) = self.fs.remove_dir_all(&dir)
        {
            // The next start removes it.
            tracing::warn!(dir = %dir.display(), %error, "an unfinished block could not be removed");
        }
    }
}

/// A block that is written and durable, under a name under which nobody takes it for a block.
#[derive(Debug)]
pub struct PreparedBlock {
    fs: Arc<dyn Fs>,
    parent: PathBuf,
    dir: PathBuf,
    meta: BlockMeta,
    bytes: u64,
}

impl PreparedBlock {
    /// What the block holds.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The directory in which it lies now.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of chunks, index and tombstones.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes the block.
    pub fn discard(self) -> Result<(), BlockError> {
        self.fs.remove_dir_all(&self.dir).map_err(BlockError::io("remove", &self.dir))
    }

    /// Opens the block where it lies, to prove it.
    pub fn open(&self) -> Result<Arc<Block>, BlockError> {
        Block::open(self.fs.clone(), &self.dir)
    }

    /// Gives the block its name, durably, and opens it. After an error it may have its name or not; a start finds out.
    pub fn publish(self) -> Result<Arc<Block>, BlockError> {
        let dir = self.parent.join(self.meta.ulid.to_string());
        if self.fs.exists(&dir) {
            let reason = format!("there is a block {} already", self.meta.ulid);
            return Err(BlockError::Origin { reason });
        }
        self.move_to(&dir)?;
        Block::open(self.fs, &dir)
    }

    /// Moves the block into `quarantine_dir` as `unproven-<ULID>`, with a note beside it that says why. Returns the
    /// directory.
    pub fn quarantine(self, quarantine_dir: &Path, reason: &str) -> Result<PathBuf, BlockError> {
        if !self.fs.exists(quarantine_dir) {
            self.fs.create_dir_all(quarantine_dir).map_err(BlockError::io("create", quarantine_dir))?;
            if let Some(parent) = quarantine_dir.parent() {
                self.fs.sync_dir(parent).map_err(BlockError::io("fsync", parent))?;
            }
        }
        let stem = format!("{UNPROVEN_PREFIX}{}", self.meta.ulid);
        let dir = quarantine_dir.join(&stem);
        let note = serde_json::json!({
            "kind": "unproven_block",
            "ulid": self.meta.ulid.to_string(),
            "min_time_ms": self.meta.min_time_ms,
            "max_time_ms": self.meta.max_time_ms,
            "samples": self.meta.stats.samples,
            "reason": reason,
        });
        let note = format!("{note:#}");
        write_synced(&*self.fs, &quarantine_dir.join(format!("{stem}.json")), note.as_bytes())?;
        self.move_to(&dir)?;
        self.fs.sync_dir(&self.parent).map_err(BlockError::io("fsync", &self.parent))?;
        Ok(dir)
    }

    /// Renames the directory, and makes that durable where it arrives.
    fn move_to(&self, dir: &Path) -> Result<(), BlockError> {
        self.fs.rename(&self.dir, dir).map_err(BlockError::io("rename", &self.dir))?;
        match dir.parent().filter(|_| !planted!(BlockNameNotSynced)) {
            Some(parent) => self.fs.sync_dir(parent).map_err(BlockError::io("fsync", parent)),
            None => Ok(()),
        }
    }
}
