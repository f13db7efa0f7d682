//! A data directory that is looked at without a server: blocks, and what the log has beyond them. Nothing in it is
//! written, moved or repaired, so it may be a mounted backup, and also one that Prometheus wrote.
//!
//! What is seen is what a start would see: blocks that another one took the place of are passed over, the log is replayed
//! above the floor that the ledger tells, chunks are read from the head's files, and the out-of-order log of Prometheus is
//! taken in. Damage stays where it is, and is told ([`OfflineDb::warnings`]).
//!
//! A server that writes to the directory takes files away while they are read here. So a directory that is in use is
//! refused, and one that is looked at cannot be opened by a server meanwhile: its lock is held, where it has one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::blocks::Blocks;
use super::compact::superseded;
use super::open::{floor, left_before};
use super::options::{OpenError, io_error};
use super::view::DbQueryable;
use super::{Everything, quarantine};
use crate::block::Block;
use crate::clock::Clock;
use crate::fs::{DirLock, Fs, names};
use crate::head::{ChunkKind, Head, HeadOptions, LoadReport, ReplayReport};
use crate::ledger;
use crate::model::{TimeRange, TimestampMs};
use crate::storage::{ChunkSource, Queryable};
use crate::wal::{self, LogKnown, LogLook, ReplayProgress, wbl};

/// A data directory that is only looked at.
pub struct OfflineDb {
    blocks: Blocks,
    head: Arc<Head>,
    floor_ms: TimestampMs,
    out_of_order_floor: u64,
    last_group: u64,
    warnings: Vec<String>,
    queryable: Arc<dyn Queryable>,
    /// Declared last: the lock is let go when all else is closed.
    _lock: Option<DirLock>,
}

impl std::fmt::Debug for OfflineDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineDb").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A part of a directory: a block, or the head.
pub struct DataPart {
    /// The block's name, `head`, or `head, out of order`.
    pub name: String,
    /// The time that it covers.
    pub range: TimeRange,
    /// Its series.
    pub series: Box<dyn ChunkSource>,
}

impl OfflineDb {
    /// Opens a directory for reading, unless a server has it open.
    pub fn open(data_dir: &Path, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = data_dir.join(names::LOCK_FILE);
        let lock = match DirLock::acquire_existing(&path) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(OpenError::InUse { dir: data_dir.to_owned(), lock: path }),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("lock", &path)(error)),
        };
        Self::open_locked(data_dir, fs, clock, lock)
    }

    /// As [`open`](Self::open), for directories that no other process can have: those of a simulated disk.
    pub fn open_unlocked(data_dir: &Path, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_locked(data_dir, fs, clock, None)
    }

    fn open_locked(
        data_dir: &Path,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        lock: Option<DirLock>,
    ) -> Result<Self, OpenError> {
        let wal_dir = data_dir.join(names::WAL_DIR);
        let blocks = Blocks::new(fs.clone(), clock, data_dir);
        let found = blocks.reload(false).map_err(io_error("list", data_dir))?;
        if found.added.is_empty() && found.lost.is_empty() && !fs.exists(&wal_dir) {
            return Err(OpenError::NoData { dir: data_dir.to_owned() });
        }
        let ledger = ledger::read(&*fs, &data_dir.join(names::LEDGER_DIR))?;
        blocks.replace(&superseded(&blocks.list(), &ledger.entries, &ledger.state, &|_| true), &[]);

        let chunks_dir = data_dir.join(names::CHUNKS_HEAD_DIR);
        let state = (!ledger.entries.is_empty()).then_some(&ledger.state);
        let floor_ms = floor(&*fs, state, &blocks.list(), &wal_dir)?;
        let out_of_order_floor = ledger.state.flushed_out_of_order_group.unwrap_or(0);
        let quarantine_dir = data_dir.join(names::QUARANTINE_DIR);
        let replay_into = |head: &Head| -> Result<(LogLook, ReplayReport), OpenError> {
            head.raise_floor(floor_ms);
            head.read_from(floor_ms);
            head.raise_out_of_order_floor(out_of_order_floor);
            let mut replay = head.replay(0).map_err(io_error("start the replay of", &wal_dir))?;
            let known = LogKnown { from: None, left: Some(left_before(&ledger.state, &ledger.entries)) };
            let look = wal::look(&*fs, &wal_dir, &quarantine_dir, known, &mut replay, &ReplayProgress::default())?;
            Ok((look, replay.finish()?))
        };
        let (mut head, mut loaded) = Head::open_read_only(HeadOptions::default(), fs.clone(), &chunks_dir)
            .map_err(io_error("read head chunks in", &chunks_dir))?;
        let (mut look, mut replayed) = replay_into(&head)?;
        if replayed.samples_before_files > 0 || loaded.lacks_chunks {
            // The log has all of it, and a start, too, takes it from there alone.
            head = Head::in_memory(HeadOptions::default());
            loaded.damage.get_or_insert_with(|| "files or parts of them are missing".to_owned());
            (look, replayed) = replay_into(&head)?;
        }
        let head = Arc::new(head);
        let mut warnings = warnings_of(&loaded, &look, &replayed);
        let adoption = head.adoption();
        let mut adopted = crate::head::Adopted::default();
        let segments = wbl::scan_foreign(&*fs, &data_dir.join(names::WBL_DIR), &mut |record| {
            adopted.add(adoption.record(record));
            Ok(())
        })?;
        drop(adoption);
        for (file, is_foreign, damaged_at) in segments {
            // A segment of ours is a copy of what the log has.
            if let Some(offset) = damaged_at.filter(|_| is_foreign) {
                warnings.push(format!("{} is damaged at byte {offset}", file.path.display()));
            }
        }
        if adopted.unknown > 0 {
            warnings
                .push(format!("{} out-of-order samples belong to series that the log does not name", adopted.unknown));
        }
        for lost in quarantine::lost_blocks(&*fs, data_dir).into_iter().chain(found.lost) {
            if !lost.is_covered {
                warnings.push(lost.warning());
            }
        }
        let last_group = look.log.groups.map_or(0, |(_, last)| last);
        let view = blocks.view().clone();
        let queryable = Arc::new(DbQueryable(Everything { head: head.clone(), view }));
        Ok(OfflineDb { blocks, head, floor_ms, out_of_order_floor, last_group, warnings, queryable, _lock: lock })
    }

    /// Everything that can be asked for series: the blocks and the head.
    pub fn queryable(&self) -> Arc<dyn Queryable> {
        self.queryable.clone()
    }

    /// The blocks, by name.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.blocks.list()
    }

    /// What the log has and no block does.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// In-order samples before this time are in blocks.
    pub fn floor_ms(&self) -> TimestampMs {
        self.floor_ms
    }

    /// Out-of-order samples of groups up to this one are in blocks.
    pub fn out_of_order_floor(&self) -> u64 {
        self.out_of_order_floor
    }

    /// The last group of the log; 0 where no seal names one.
    pub fn last_group(&self) -> u64 {
        self.last_group
    }

    /// What is missing or damaged, in words; empty where nothing is.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The head's samples: those in order, then the others.
    pub fn head_parts(&self) -> Vec<DataPart> {
        let mut parts = Vec::new();
        if let Some(range) = self.head.in_order_range() {
            let series = self.head.chunk_source(range, ChunkKind::InOrder);
            parts.push(DataPart { name: "head".to_owned(), range, series });
        }
        let cut = self.head.cut_out_of_order();
        if let Some(range) = cut.range {
            let series = self.head.chunk_source(range, ChunkKind::OutOfOrder(cut));
            parts.push(DataPart { name: "head, out of order".to_owned(), range, series });
        }
        parts
    }

    /// All parts in the order in which their samples win over others of the same time.
    pub fn parts(&self) -> Vec<DataPart> {
        let mut blocks = self.blocks.list();
        blocks.sort_by_key(|block| (block.meta().is_from_out_of_order(), block.ulid()));
        let mut parts = Vec::new();
        for block in blocks {
            let Some(range) = block.time_range() else { continue };
            parts.push(DataPart { name: block.ulid().to_string(), range, series: block.chunk_source() });
        }
        parts.extend(self.head_parts());
        parts
    }
}

fn warnings_of(loaded: &LoadReport, look: &LogLook, replayed: &ReplayReport) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(damage) = look.damages.first() {
        warnings.push(format!(
            "{} places of the log cannot be read, the first: {} at byte {} of segment {:08}",
            look.damages.len(),
            damage.what,
            damage.offset,
            damage.segment
        ));
    }
    if !look.known.is_empty() {
        warnings.push(format!("{} damaged places of the log were set aside before, in quarantine/", look.known.len()));
    }
    if let Some(damage) = &replayed.first_damage {
        warnings.push(format!("{} records of the log cannot be read, the first: {damage}", replayed.records_damaged));
    }
    if replayed.samples_unknown > 0 {
        let samples = replayed.samples_unknown;
        warnings.push(format!("{samples} samples of the log belong to series that it does not name"));
    }
    // Their samples are in the log.
    if let Some(damage) = &loaded.damage {
        warnings.push(format!("head chunks: {damage}; their samples are taken from the log"));
    }
    warnings
}
