//! Every name in a data directory, in one place.

use std::path::{Path, PathBuf};

/// Directory of the write-ahead log.
pub const WAL_DIR: &str = "wal";
/// Directory of the log of out-of-order samples.
pub const WBL_DIR: &str = "wbl";
/// Directory of the head's full chunks.
pub const CHUNKS_HEAD_DIR: &str = "chunks_head";
/// Directory of damaged bytes that were set aside.
pub const QUARANTINE_DIR: &str = "quarantine";
/// Beginning of the name of a directory in `quarantine/` with a log that was taken away whole.
pub const QUARANTINED_LOG_PREFIX: &str = "log-";
/// Directory of the ledger: what left the log, and where it went.
pub const LEDGER_DIR: &str = "ledger";
/// Directory of snapshots, made by the admin API.
pub const SNAPSHOTS_DIR: &str = "snapshots";
/// What checks found and no later one has closed.
pub const FINDINGS_FILE: &str = "findings.json";
/// File that only takes space: it is removed where deletions need some on a full disk.
pub const RESERVE_FILE: &str = "reserve";
/// Beginning of the name of a directory in `wal/` that stands for all segments up to the number behind it.
pub const CHECKPOINT_PREFIX: &str = "checkpoint.";
/// Ending of the name of a segment's summary: what makes a start faster. Derived; may be deleted.
pub const WAL_SUMMARY_SUFFIX: &str = ".summary";
/// In `chunks_head/`: up to where the chunk files hold what the log holds. Derived; may be deleted.
pub const WATERMARK_FILE: &str = "watermark";
/// In a block: what it holds.
pub const BLOCK_META_FILE: &str = "meta.json";
/// In a block: series, postings, symbols.
pub const BLOCK_INDEX_FILE: &str = "index";
/// In a block: directory of chunk segment files.
pub const BLOCK_CHUNKS_DIR: &str = "chunks";
/// In a block: deleted ranges.
pub const BLOCK_TOMBSTONES_FILE: &str = "tombstones";
/// In a block, ours: what makes reading it faster. Derived; may be deleted.
pub const BLOCK_ACCEL_FILE: &str = "accel";
/// Ending of a directory that is not yet, or no longer, a block. Left-overs are removed at start.
pub const TMP_FOR_CREATION: &str = ".tmp-for-creation";
/// Ending of a block's directory while it is being removed.
pub const TMP_FOR_DELETION: &str = ".tmp-for-deletion";
/// File whose lock says that a process has the directory open.
pub const LOCK_FILE: &str = "lock";

/// Path of the log segment with this number.
pub fn wal_segment(wal_dir: &Path, segment: u32) -> PathBuf {
    wal_dir.join(format!("{segment:08}"))
}

/// The number of the log segment with this file name, or `None` for another file.
pub fn parse_wal_segment(name: &str) -> Option<u32> {
    (name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// Path of the head chunk file with this number.
pub fn head_chunk_file(chunks_dir: &Path, number: u32) -> PathBuf {
    chunks_dir.join(format!("{number:06}"))
}

/// The number of the head chunk file with this name, or `None` for another file.
pub fn parse_head_chunk_file(name: &str) -> Option<u32> {
    (name.len() >= 6 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// Path of the chunk segment file with this number in a block; the first is 1.
pub fn block_chunk_file(block_dir: &Path, number: u32) -> PathBuf {
    block_dir.join(BLOCK_CHUNKS_DIR).join(format!("{number:06}"))
}

/// The checkpoint's directory that stands for all segments up to this one.
pub fn checkpoint_dir(wal_dir: &Path, segment: u32) -> PathBuf {
    wal_dir.join(format!("{CHECKPOINT_PREFIX}{segment:08}"))
}

/// The number of the checkpoint with this directory name, or `None` for another directory.
pub fn parse_checkpoint_dir(name: &str) -> Option<u32> {
    parse_wal_segment(name.strip_prefix(CHECKPOINT_PREFIX)?)
}

/// Path of the summary of a log segment.
pub fn wal_summary(wal_dir: &Path, segment: u32) -> PathBuf {
    wal_dir.join(format!("{segment:08}{WAL_SUMMARY_SUFFIX}"))
}

/// The number of the log segment whose summary has this file name, or `None` for another file.
pub fn parse_wal_summary(name: &str) -> Option<u32> {
    parse_wal_segment(name.strip_suffix(WAL_SUMMARY_SUFFIX)?)
}
