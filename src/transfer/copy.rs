//! Whole copies of a data directory: a snapshot of one that no server has open, and the way back.
//!
//! A snapshot is a directory of blocks: those that are there, and one more with what only the log has, read back and
//! proven against the log. It is made under a temporary name and gets its own in one step, so that half of one is never
//! taken for one. `snapshot.json` beside the blocks says what each holds.
//!
//! A restore copies the blocks into an empty directory. Each copy is read whole, and has to hold what the snapshot says,
//! before any of them gets its name.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_128;

use crate::block::{self, Block, BlockError, BlockOrigin, SnapshotBlock, SnapshotManifest};
use crate::compaction::{self, CompactionError};
use crate::db::OfflineDb;
use crate::fs::{Fs, names};
use crate::model::{Tally, TimeRange, TimestampMs};
use crate::proof::{LogPart, TallyRequest, log_tally};
use crate::wal::{ReplayProgress, WalError};

/// In a data directory: copies that are not proven yet.
const RESTORE_DIR: &str = "restore.tmp-for-creation";
/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The target has something in it.
    #[error("{} is not empty: it holds {found}; give a directory that is empty or does not exist", dir.display())]
    NotEmpty {
        /// The target.
        dir: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// The source is no snapshot.
    #[error("{} is no snapshot: {what}", dir.display())]
    NoSnapshot {
        /// The source.
        dir: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A block is not what it has to be.
    #[error("block {ulid} is not good: {what}; nothing was kept of the copy")]
    Bad {
        /// The block.
        ulid: Ulid,
        /// What is wrong with it.
        what: String,
    },
    /// A block could not be read or written.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The block of the log's samples could not be written.
    #[error(transparent)]
    Compaction(#[from] CompactionError),
    /// The log could not be read for the proof.
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Io { action, path, source }
}

/// Is told the bytes of blocks that were read, and all of them.
pub type CopyProgress<'a> = dyn FnMut(u64, u64) + 'a;

/// Makes a snapshot of the directory that `db` looks at in `to`, which must be empty or absent. Files of blocks are
/// shared with the directory by hard links where the file system can, since they never change; else they are copied.
pub fn snapshot(
    fs: &Arc<dyn Fs>,
    db: &OfflineDb,
    data_dir: &Path,
    to: &Path,
    now_ms: TimestampMs,
    progress: &mut CopyProgress<'_>,
) -> Result<SnapshotManifest, CopyError> {
    refuse_unless_empty(&**fs, to, &[])?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut tmp = to.as_os_str().to_owned();
    tmp.push(names::TMP_FOR_CREATION);
    let tmp = PathBuf::from(tmp);
    if fs.exists(&tmp) {
        fs.remove_dir_all(&tmp).map_err(io_error("remove", &tmp))?;
    }
    let mut fill = || -> Result<SnapshotManifest, CopyError> {
        fs.create_dir_durably(&tmp).map_err(io_error("create", &tmp))?;
        let blocks = db.blocks();
        let total = blocks.iter().map(|block| block.bytes()).sum();
        let mut report = SnapshotManifest::default();
        let mut done = 0;
        for block in blocks {
            let dir = tmp.join(block.ulid().to_string());
            copy_files(&**fs, block.dir(), &dir, true)?;
            let copy = Block::open(fs.clone(), &dir)?;
            let stored = check(&copy, None, &mut |bytes| progress(done + bytes, total))?;
            done += block.bytes();
            report.blocks.push(SnapshotBlock::of(&copy, stored, false));
        }
        report.blocks.extend(write_log_block(fs, db, data_dir, &tmp, now_ms)?);
        report.write(&**fs, &tmp).map_err(io_error("write what is in", &tmp))?;
        Ok(report)
    };
    let report = match fill() {
        Ok(report) => report,
        Err(error) => {
            if fs.exists(&tmp) {
                fs.remove_dir_all(&tmp).map_err(io_error("remove", &tmp))?;
            }
            return Err(error);
        }
    };
    if fs.exists(to) {
        fs.remove_dir(to).map_err(io_error("replace", to))?;
    }
    fs.rename(&tmp, to).and_then(|()| fs.sync_dir(parent)).map_err(io_error("rename to", to))?;
    Ok(report)
}

/// Writes what only the log has as a block, and proves it against an independent replay of the log.
fn write_log_block(
    fs: &Arc<dyn Fs>,
    db: &OfflineDb,
    data_dir: &Path,
    dir: &Path,
    now_ms: TimestampMs,
) -> Result<Option<SnapshotBlock>, CopyError> {
    let parts = db.head_parts();
    let held = parts
        .iter()
        .map(|part| part.range)
        .reduce(|a, b| TimeRange::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms)));
    let Some(held) = held else { return Ok(None) };
    let in_order = db.head().in_order_range().map(|held| TimeRange::new(db.floor_ms(), held.end_ms));
    let ulid = Ulid::from_parts(now_ms.max(0).unsigned_abs(), xxh3_128(dir.as_os_str().as_encoded_bytes()));
    let origin = BlockOrigin {
        min_time_ms: held.start_ms,
        max_time_ms: held.end_ms.saturating_add(1),
        level: 1,
        ..BlockOrigin::default()
    };
    let sources = parts.into_iter().map(|part| part.series).collect();
    let mut go_on = |_progress| ControlFlow::Continue(());
    let written = compaction::write_block(fs, dir, ulid, sources, held, origin, &mut go_on)?;
    let Some(prepared) = written.block else { return Ok(None) };
    let stored = check(&*prepared.open()?, None, &mut |_bytes| {})?;
    // What no seal covers is of group 0, and in no block.
    let after = db.out_of_order_floor();
    let mut request = TallyRequest { parts: vec![LogPart::out_of_order(TimeRange::ALL, 0..=0)], up_to_group: None };
    request.parts.push(LogPart::out_of_order(TimeRange::ALL, after.saturating_add(1)..=u64::MAX));
    request.parts.extend(in_order.map(LogPart::in_order));
    let log = log_tally(&**fs, data_dir, &request, &ReplayProgress::default())?;
    let expected: Tally = log.parts.iter().map(|part| part.left()).sum();
    // What a damaged log lacks, the head cannot have; it was told when the directory was opened.
    if stored != expected && log.damages == 0 {
        return Err(CopyError::Bad { ulid, what: format!("it holds {stored}, and the log {expected}") });
    }
    let block = prepared.publish()?;
    Ok(Some(SnapshotBlock::of(&block, stored, true)))
}

/// Copies a snapshot, of ours or of Prometheus', into `data_dir`, which must be empty or absent, or hold what an
/// interrupted restore of the same snapshot left.
pub fn restore(
    fs: &Arc<dyn Fs>,
    snapshot: &Path,
    data_dir: &Path,
    progress: &mut CopyProgress<'_>,
) -> Result<SnapshotManifest, CopyError> {
    let blocks = blocks_of(&**fs, snapshot)?;
    let manifest = read_manifest(&**fs, snapshot)?;
    for expected in manifest.iter().flat_map(|manifest| &manifest.blocks) {
        if !blocks.contains(&expected.ulid) {
            let what = format!("its block {} is missing", expected.ulid);
            return Err(CopyError::NoSnapshot { dir: snapshot.to_owned(), what });
        }
    }
    fs.create_dir_durably(data_dir).map_err(io_error("create", data_dir))?;
    let tmp = data_dir.join(RESTORE_DIR);
    if fs.exists(&tmp) {
        // Nothing but an interrupted restore leaves it, and that began with an empty directory.
        let mut left: Vec<String> = blocks.iter().map(Ulid::to_string).collect();
        left.extend([RESTORE_DIR.to_owned(), names::WAL_DIR.to_owned()]);
        refuse_unless_empty(&**fs, data_dir, &left)?;
        for name in left.iter().map(|name| data_dir.join(name)).filter(|path| fs.exists(path)) {
            fs.remove_dir_all(&name).map_err(io_error("remove", &name))?;
        }
    }
    refuse_unless_empty(&**fs, data_dir, &[])?;
    fs.create_dir_all(&tmp).and_then(|()| fs.sync_dir(data_dir)).map_err(io_error("create", &tmp))?;
    let copied = copy_blocks(fs, snapshot, &tmp, &blocks, manifest.as_ref(), progress);
    let copied = match copied {
        Ok(copied) => copied,
        Err(error) => {
            fs.remove_dir_all(&tmp).map_err(io_error("remove", &tmp))?;
            return Err(error);
        }
    };
    for ulid in &blocks {
        let name = ulid.to_string();
        fs.rename(&tmp.join(&name), &data_dir.join(&name)).map_err(io_error("rename", &tmp.join(&name)))?;
    }
    fs.sync_dir(data_dir).map_err(io_error("fsync", data_dir))?;
    // Without a log promtool takes the directory for an empty one.
    let wal_dir = data_dir.join(names::WAL_DIR);
    fs.create_dir_all(&wal_dir).map_err(io_error("create", &wal_dir))?;
    fs.remove_dir_all(&tmp).and_then(|()| fs.sync_dir(data_dir)).map_err(io_error("remove", &tmp))?;
    Ok(copied)
}

fn copy_blocks(
    fs: &Arc<dyn Fs>,
    snapshot: &Path,
    tmp: &Path,
    blocks: &[Ulid],
    manifest: Option<&SnapshotManifest>,
    progress: &mut CopyProgress<'_>,
) -> Result<SnapshotManifest, CopyError> {
    let mut total = 0;
    for ulid in blocks {
        total += Block::open(fs.clone(), &snapshot.join(ulid.to_string()))?.bytes();
    }
    let mut report = SnapshotManifest::default();
    let mut done = 0;
    for ulid in blocks {
        let dir = tmp.join(ulid.to_string());
        copy_files(&**fs, &snapshot.join(ulid.to_string()), &dir, false)?;
        let block = Block::open(fs.clone(), &dir)?;
        let known = manifest.and_then(|manifest| manifest.blocks.iter().find(|known| known.ulid == *ulid));
        let stored = check(&block, known.map(|known| known.stored), &mut |bytes| progress(done + bytes, total))?;
        done += block.bytes();
        report.blocks.push(SnapshotBlock::of(&block, stored, known.is_some_and(|known| known.from_log)));
    }
    fs.sync_dir(tmp).map_err(io_error("fsync", tmp))?;
    Ok(report)
}

/// Reads a block whole, and compares it with what it should hold: by the manifest, or by its accelerator.
fn check(block: &Block, known: Option<Tally>, progress: &mut dyn FnMut(u64)) -> Result<Tally, CopyError> {
    let check = block::check(block, progress);
    let bad = |what: String| CopyError::Bad { ulid: block.ulid(), what };
    if let Some(finding) = check.findings.first() {
        return Err(bad(finding.what.clone()));
    }
    let known = known.or_else(|| block.accel().map(|accel| accel.tally()));
    match known.filter(|known| *known != check.stored) {
        Some(known) => Err(bad(format!("it holds {}, and should hold {known}", check.stored))),
        None => Ok(check.stored),
    }
}

/// The blocks of a snapshot.
fn blocks_of(fs: &dyn Fs, snapshot: &Path) -> Result<Vec<Ulid>, CopyError> {
    let entries = fs.list(snapshot).map_err(io_error("list", snapshot))?;
    let no_snapshot = |what: &str| CopyError::NoSnapshot { dir: snapshot.to_owned(), what: what.to_owned() };
    if entries.iter().any(|entry| entry.name == names::WAL_DIR) {
        return Err(no_snapshot(
            "it has a log, so it is a data directory; make a snapshot of it with `db snapshot`, or copy it as it is",
        ));
    }
    let dirs = entries.iter().filter(|entry| entry.is_dir);
    let blocks: Vec<Ulid> = dirs.filter_map(|entry| Ulid::from_string(&entry.name).ok()).collect();
    if blocks.is_empty() {
        return Err(no_snapshot("it holds no block"));
    }
    Ok(blocks)
}

fn read_manifest(fs: &dyn Fs, snapshot: &Path) -> Result<Option<SnapshotManifest>, CopyError> {
    SnapshotManifest::read(fs, snapshot).map_err(|error| {
        let what = format!("what it should hold cannot be read: {error}");
        CopyError::NoSnapshot { dir: snapshot.to_owned(), what }
    })
}

/// Refuses a directory that holds anything but what may be there.
fn refuse_unless_empty(fs: &dyn Fs, dir: &Path, may_be_there: &[String]) -> Result<(), CopyError> {
    if !fs.exists(dir) {
        return Ok(());
    }
    let entries = fs.list(dir).map_err(io_error("list", dir))?;
    // A fresh file system has this one.
    let other = entries.into_iter().find(|entry| entry.name != "lost+found" && !may_be_there.contains(&entry.name));
    match other {
        Some(entry) => Err(CopyError::NotEmpty { dir: dir.to_owned(), found: entry.name }),
        None => Ok(()),
    }
}

/// Copies a directory of files, durably, or shares the files where that is wanted and the file system can.
fn copy_files(fs: &dyn Fs, from: &Path, to: &Path, may_link: bool) -> Result<(), CopyError> {
    fs.create_dir_all(to).map_err(io_error("create", to))?;
    for entry in fs.list(from).map_err(io_error("list", from))? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy_files(fs, &source, &target, may_link)?;
            continue;
        }
        // A file that is about to replace another one is left over from a crash.
        let is_done = entry.name.ends_with(".tmp") || may_link && fs.hard_link(&source, &target).is_ok();
        if !is_done {
            copy_file(fs, &source, &target).map_err(io_error("copy to", &target))?;
        }
    }
    fs.sync_dir(to).map_err(io_error("fsync", to))
}

fn copy_file(fs: &dyn Fs, from: &Path, to: &Path) -> io::Result<()> {
    let source = fs.open(from)?;
    let mut target = fs.create(to)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let count = source.read_at(&mut buffer, at)?;
        if count == 0 {
            return target.sync_data();
        }
        target.write_all(buffer.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
}

#[cfg(test)]
mod tests;
