//! Every name in a data directory, in one place.

use std::path::{Path, PathBuf};

/// Directory of the write-ahead log.
pub const WAL_DIR: &str = "wal";
/// Directory of the head's full chunks.
pub const CHUNKS_HEAD_DIR: &str = "chunks_head";
/// Directory of damaged bytes that were set aside.
pub const QUARANTINE_DIR: &str = "quarantine";
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
