//! `block list`: the blocks of a data directory, from their metas.

use std::path::{Path, PathBuf};

use serde::Serialize;
use ulid::Ulid;

use super::InspectError;
use super::rows::{bytes_text, time_text};
use crate::block::BlockMeta;
use crate::fs::{Fs, names};
use crate::model::TimestampMs;
use crate::model::duration::format_duration_ms;

/// One block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockRow {
    /// Its name.
    pub ulid: String,
    /// First time that it covers, ms.
    pub min_time_ms: TimestampMs,
    /// First time behind what it covers, ms.
    pub max_time_ms: TimestampMs,
    /// How often its samples were compacted, and 1.
    pub level: u32,
    /// Series.
    pub series: u64,
    /// Samples, deleted ones included.
    pub samples: u64,
    /// Chunks.
    pub chunks: u64,
    /// Deleted ranges.
    pub tombstones: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Whether there is an accelerator beside its index.
    pub accel: bool,
    /// What compaction has to know about it.
    pub hints: Vec<String>,
}

/// The blocks of a data directory.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BlockList {
    /// The blocks, by time.
    pub blocks: Vec<BlockRow>,
    /// Directories named like blocks whose meta cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// Directories that a crash left behind, and that the next start removes.
    pub left_over: Vec<String>,
}

impl BlockList {
    /// 0, or 1 if a block is unreadable.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.unreadable.is_empty())
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        use comfy_table::Table;
        use comfy_table::presets::UTF8_FULL_CONDENSED;
        let mut table = Table::new();
        let header =
            ["block", "from", "until", "covers", "level", "series", "samples", "chunks", "deleted", "size", ""];
        table.load_style(UTF8_FULL_CONDENSED).set_header(header);
        for row in &self.blocks {
            let mut notes: Vec<&str> = row.hints.iter().map(String::as_str).collect();
            if !row.accel {
                notes.push("no accelerator");
            }
            table.add_row([
                row.ulid.clone(),
                time_text(row.min_time_ms),
                time_text(row.max_time_ms),
                format_duration_ms(row.max_time_ms.saturating_sub(row.min_time_ms)),
                row.level.to_string(),
                row.series.to_string(),
                row.samples.to_string(),
                row.chunks.to_string(),
                row.tombstones.to_string(),
                bytes_text(row.bytes),
                notes.join(", "),
            ]);
        }
        let mut out = table.to_string();
        for (name, reason) in &self.unreadable {
            out.push_str(&format!("\nUNREADABLE {name}: {reason}"));
        }
        for name in &self.left_over {
            out.push_str(&format!("\nleft over, removed by the next start: {name}"));
        }
        let samples: u64 = self.blocks.iter().map(|row| row.samples).sum();
        let bytes: u64 = self.blocks.iter().map(|row| row.bytes).sum();
        out.push_str(&format!("\n{} blocks with {samples} samples in {}", self.blocks.len(), bytes_text(bytes)));
        out
    }
}

/// Lists the blocks of a data directory.
pub fn list_blocks(fs: &dyn Fs, data_dir: &Path) -> Result<BlockList, InspectError> {
    let mut list = BlockList::default();
    for (name, dir) in directories(fs, data_dir)? {
        if name.ends_with(names::TMP_FOR_CREATION) || name.ends_with(names::TMP_FOR_DELETION) {
            list.left_over.push(name);
            continue;
        }
        if Ulid::from_string(&name).is_err() {
            continue;
        }
        match BlockMeta::read(fs, &dir) {
            Ok(meta) => list.blocks.push(BlockRow {
                ulid: meta.ulid.to_string(),
                min_time_ms: meta.min_time_ms,
                max_time_ms: meta.max_time_ms,
                level: meta.compaction.level,
                series: meta.stats.series,
                samples: meta.stats.samples,
                chunks: meta.stats.chunks,
                tombstones: meta.stats.tombstones,
                bytes: bytes_in(fs, &dir)?,
                accel: fs.exists(&dir.join(names::BLOCK_ACCEL_FILE)),
                hints: meta.compaction.hints,
            }),
            Err(error) => list.unreadable.push((name, error.to_string())),
        }
    }
    list.blocks.sort_by(|a, b| (a.min_time_ms, &a.ulid).cmp(&(b.min_time_ms, &b.ulid)));
    Ok(list)
}

/// The directories in a data directory, by name.
fn directories(fs: &dyn Fs, data_dir: &Path) -> Result<Vec<(String, PathBuf)>, InspectError> {
    let entries = fs.list(data_dir).map_err(|error| InspectError::io("list", data_dir, error))?;
    let dirs = entries.into_iter().filter(|entry| entry.is_dir);
    Ok(dirs.map(|entry| (entry.name.clone(), data_dir.join(entry.name))).collect())
}

/// Bytes of all files in a directory and below.
pub(super) fn bytes_in(fs: &dyn Fs, dir: &Path) -> Result<u64, InspectError> {
    let mut bytes = 0;
    for entry in fs.list(dir).map_err(|error| InspectError::io("list", dir, error))? {
        bytes += if entry.is_dir { bytes_in(fs, &dir.join(&entry.name))? } else { entry.bytes };
    }
    Ok(bytes)
}

/// The directory of a block: `dir` itself, or the block called `ulid` in the data directory `dir`.
pub(super) fn block_dir(fs: &dyn Fs, data_dir: &Path, ulid: Ulid) -> Result<PathBuf, InspectError> {
    let dir = data_dir.join(ulid.to_string());
    fs.list(data_dir).map_err(|error| InspectError::io("list", data_dir, error))?;
    if fs.exists(&dir) {
        Ok(dir)
    } else {
        Err(InspectError::NotThere { what: format!("block {ulid}"), dir: data_dir.to_owned() })
    }
}

/// The blocks of a data directory by name, or the one that is wanted.
pub(super) fn block_dirs(
    fs: &dyn Fs,
    data_dir: &Path,
    wanted: Option<Ulid>,
) -> Result<Vec<(String, PathBuf)>, InspectError> {
    match wanted {
        Some(ulid) => Ok(vec![(ulid.to_string(), block_dir(fs, data_dir, ulid)?)]),
        None => {
            let mut dirs = directories(fs, data_dir)?;
            dirs.retain(|(name, _)| Ulid::from_string(name).is_ok());
            Ok(dirs)
        }
    }
}
