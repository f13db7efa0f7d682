//! `wal inspect` and `wal repair`: what stands in a log, record by record, and what recovery would do about damage.
//!
//! Inspecting reads past damage and never writes. Repairing without `write` only tells; with it, it does what the
//! server does when it starts, behind the directory's lock: what is cut or replaced goes to quarantine first.

use std::path::{Path, PathBuf};

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use crate::encoding::Corruption;
use crate::fs::{DirLock, Fs, names};
use crate::wal::record::{exemplars, families, metadata, series, split, tombstones, values};
use crate::wal::{
    Damage, LogFile, LogFiles, RecordPosition, RecordType, RecoveryMode, ReplayProgress, ReplaySink, SealRecord,
    SegmentEvent, SegmentReader, UnsealedTail, WalError, recover, scan,
};

/// What to show of a log.
#[derive(Debug, Clone)]
pub struct WalInspectOptions {
    /// A data directory, or its `wal` directory.
    pub dir: PathBuf,
    /// Only the segment with this number.
    pub segment: Option<u32>,
    /// Only records of this type. Damage is always shown.
    pub record_type: Option<RecordType>,
    /// At most this many rows; the rest are counted.
    pub rows_max: usize,
}

impl WalInspectOptions {
    /// Shows everything in `dir`, up to ten thousand rows.
    pub fn new(dir: PathBuf) -> Self {
        WalInspectOptions { dir, segment: None, record_type: None, rows_max: 10_000 }
    }
}

/// Reads the name of a record type as reports write it.
pub fn parse_record_type(name: &str) -> Result<RecordType, String> {
    RecordType::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = RecordType::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("record type {name:?} is not one of {}", known.join(", "))
    })
}

/// Whether a row could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// Every checksum is right and the record decodes.
    Good,
    /// Every checksum is right, and the record does not decode.
    Undecodable,
    /// The bytes are not a whole record.
    Damaged,
}

/// One record, or one stretch of damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Whether it stands in the checkpoint.
    pub checkpoint: bool,
    /// Where it begins.
    pub offset: u64,
    /// Bytes in the segment, with the headers of its fragments.
    pub bytes: u64,
    /// The record's type; `damage` for what is no record.
    pub kind: String,
    /// Whether it could be read.
    pub state: RowState,
    /// What is in it.
    pub detail: String,
}

/// What stands in a log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct InspectReport {
    /// The rows, in the order of the log.
    pub rows: Vec<Row>,
    /// Rows that were not kept.
    pub rows_left_off: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Records, of whatever type.
    pub records: u64,
    /// Stretches of damage and records that do not decode.
    pub damaged: u64,
    /// Numbers of missing segments: first and last of each gap.
    pub missing: Vec<(u32, u32)>,
}

impl InspectReport {
    fn push(&mut self, row: Row, rows_max: usize) {
        if self.rows.len() < rows_max {
            self.rows.push(row);
        } else {
            self.rows_left_off += 1;
        }
    }

    /// 0, or 1 if any damage was seen.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.damaged > 0 || !self.missing.is_empty())
    }

    /// The report as one JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["segment:offset", "type", "bytes", "state", "what"]);
        for row in &self.rows {
            let state = match row.state {
                RowState::Good => "good",
                RowState::Undecodable => "UNDECODABLE",
                RowState::Damaged => "DAMAGED",
            };
            let place = place(row.checkpoint, row.segment, row.offset);
            table.add_row([place, row.kind.clone(), row.bytes.to_string(), state.to_owned(), row.detail.clone()]);
        }
        let mut out = table.to_string();
        if self.rows_left_off > 0 {
            out.push_str(&format!("\nand {} more rows", self.rows_left_off));
        }
        for &(first, last) in &self.missing {
            out.push_str(&format!("\nsegments {first:08} to {last:08} are missing"));
        }
        let InspectReport { records, segments, damaged, .. } = self;
        out.push_str(&format!("\n{records} records in {segments} segments, {damaged} damaged places"));
        out
    }
}

fn place(checkpoint: bool, segment: u32, offset: u64) -> String {
    let checkpoint = if checkpoint { "checkpoint " } else { "" };
    format!("{checkpoint}{segment:08}:{offset}")
}

/// The directory of the log, given itself or its data directory.
fn wal_dir(fs: &dyn Fs, dir: &Path) -> Result<PathBuf, WalError> {
    let inner = dir.join(names::WAL_DIR);
    if fs.exists(&inner) {
        return Ok(inner);
    }
    // To the log's reader a directory that does not exist is an empty log; to a person it is a wrong name.
    fs.list(dir).map_err(WalError::io("list", dir))?;
    Ok(dir.to_owned())
}

/// Lists the records of a log.
pub fn inspect_wal(fs: &dyn Fs, options: &WalInspectOptions) -> Result<InspectReport, WalError> {
    let files = LogFiles::list(fs, &wal_dir(fs, &options.dir)?)?;
    let mut report = InspectReport { missing: files.missing.clone(), ..InspectReport::default() };
    for file in files.files.iter().filter(|file| options.segment.is_none_or(|wanted| wanted == file.number)) {
        inspect_file(fs, file, options, &mut report)?;
    }
    Ok(report)
}

fn inspect_file(
    fs: &dyn Fs,
    file: &LogFile,
    options: &WalInspectOptions,
    report: &mut InspectReport,
) -> Result<(), WalError> {
    let mut reader = SegmentReader::open(fs, &file.path)?;
    report.segments += 1;
    let row = |offset, end: u64, kind: String, state, detail| {
        let (segment, checkpoint) = (file.number, file.checkpoint);
        Row { segment, checkpoint, offset, bytes: end.saturating_sub(offset), kind, state, detail }
    };
    loop {
        match reader.next_event() {
            SegmentEvent::Record { offset, end, bytes } => {
                report.records += 1;
                let kind = split(&bytes).0;
                let name = kind.map_or_else(
                    || format!("unknown ({})", bytes.first().copied().unwrap_or_default()),
                    |kind| kind.as_str().to_owned(),
                );
                let (state, detail) = match describe(&bytes) {
                    Ok(detail) => (RowState::Good, detail),
                    Err(corruption) => (RowState::Undecodable, corruption.to_string()),
                };
                report.damaged += u64::from(state != RowState::Good);
                if state != RowState::Good || options.record_type.is_none_or(|wanted| kind == Some(wanted)) {
                    report.push(row(offset, end, name, state, detail), options.rows_max);
                }
            }
            SegmentEvent::Damage { offset, end, what, .. } => {
                report.damaged += 1;
                report.push(row(offset, end, "damage".to_owned(), RowState::Damaged, what), options.rows_max);
            }
            SegmentEvent::End { .. } => return Ok(()),
        }
    }
}

/// The content of a record in a line.
fn describe(record: &[u8]) -> Result<String, Corruption> {
    let (kind, body) = split(record);
    match kind {
        Some(RecordType::Series) => {
            let mut decoder = series(body);
            let (mut labels, mut refs, mut first) = (Vec::new(), Vec::new(), String::new());
            while let Some(series_ref) = decoder.next_into(&mut labels)? {
                if refs.is_empty() {
                    first = labels
                        .iter()
                        .map(|label| format!("{}={:?}", label.name, label.value))
                        .collect::<Vec<_>>()
                        .join(", ");
                }
                refs.push(series_ref);
            }
            let range = range_text(refs.iter().copied());
            Ok(format!("{} series, references {range}, first {{{first}}}", refs.len()))
        }
        Some(RecordType::Tombstones) => {
            let count = tombstones(body).collect::<Result<Vec<_>, _>>()?.len();
            Ok(format!("{count} deleted ranges"))
        }
        Some(RecordType::Metadata) => {
            let count = metadata(body).collect::<Result<Vec<_>, _>>()?.len();
            Ok(format!("metadata of {count} series"))
        }
        Some(RecordType::Families) => {
            let count = families(body).collect::<Result<Vec<_>, _>>()?.len();
            Ok(format!("metadata of {count} metric families"))
        }
        Some(RecordType::Exemplars) => {
            let exemplars = exemplars(body).collect::<Result<Vec<_>, _>>()?;
            let times = range_text(exemplars.iter().map(|exemplar| exemplar.timestamp_ms));
            let refs = range_text(exemplars.iter().map(|exemplar| exemplar.series_ref));
            Ok(format!("{} exemplars, references {refs}, times {times}", exemplars.len()))
        }
        Some(RecordType::Seal) => Ok(match SealRecord::decode(body)? {
            SealRecord::Seal(seal) => {
                let commits = range_text(seal.requests.iter().map(|request| request.commit));
                let end = if seal.clean_end { ", clean end" } else { "" };
                format!(
                    "group {} of {} records, {} requests (commits {commits}), {} samples, digest {}, {}{end}",
                    seal.group,
                    seal.records,
                    seal.requests.len(),
                    seal.samples,
                    seal.digest,
                    seal.durability.as_str()
                )
            }
            SealRecord::Mark(mark) => format!("segment begins after group {}", mark.group),
        }),
        Some(kind) if let Some(values) = values(kind, body) => {
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let times = range_text(values.iter().map(|value| value.timestamp_ms));
            let refs = range_text(values.iter().map(|value| value.series_ref));
            Ok(format!("{} samples, references {refs}, times {times}", values.len()))
        }
        _ => Ok(format!("{} bytes", body.len())),
    }
}

fn range_text<T: Ord + Copy + std::fmt::Display>(values: impl Iterator<Item = T> + Clone) -> String {
    match (values.clone().min(), values.max()) {
        (Some(min), Some(max)) if min == max => min.to_string(),
        (Some(min), Some(max)) => format!("{min} to {max}"),
        _ => "none".to_owned(),
    }
}

/// Why a log could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A process has the directory open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The data directory.
        path: String,
    },
    /// The lock cannot be taken.
    #[error("lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// What repairing a log does, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepairReport {
    /// Whether it was done.
    pub written: bool,
    /// What is set aside and cut or replaced, in words.
    pub actions: Vec<String>,
    /// Why it could not be done to the end.
    pub failure: Option<String>,
}

impl RepairReport {
    /// 0 if there is nothing to do or all was done; 1 if there is something to do, or it failed.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.failure.is_some() || (!self.written && !self.actions.is_empty()))
    }

    /// The report as one JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The report in lines.
    pub fn to_table(&self) -> String {
        let mut lines = self.actions.clone();
        lines.extend(self.failure.iter().map(|failure| format!("failed: {failure}")));
        lines.push(match (self.actions.is_empty(), self.written, &self.failure) {
            (true, ..) => "nothing to repair".to_owned(),
            (false, true, None) => "repaired; what was cut is in quarantine".to_owned(),
            (false, true, Some(_)) => "not repaired to the end".to_owned(),
            (false, false, _) => "nothing was changed; --write does it".to_owned(),
        });
        lines.join("\n")
    }
}

/// Takes a replay that nobody needs.
#[derive(Debug)]
struct Discard;

impl ReplaySink for Discard {
    fn record(&mut self, _position: RecordPosition, _record: Vec<u8>) -> Result<(), WalError> {
        Ok(())
    }
}

/// Tells what recovery would do to the log of a data directory; with `write`, does it.
pub fn repair_wal(fs: &dyn Fs, data_dir: &Path, write: bool) -> Result<RepairReport, RepairError> {
    let wal_dir = data_dir.join(names::WAL_DIR);
    fs.list(&wal_dir).map_err(WalError::io("list", &wal_dir))?;
    let progress = ReplayProgress::default();
    if !write {
        let log = scan(fs, &wal_dir, &mut Discard, &progress)?;
        let tails = log.abandoned.iter().chain(&log.torn_tail);
        return Ok(RepairReport { actions: actions(&log.damages, tails), ..RepairReport::default() });
    }
    let lock_path = data_dir.join(names::LOCK_FILE);
    let lock = DirLock::acquire(&lock_path)
        .map_err(|source| RepairError::Lock { path: lock_path.display().to_string(), source })?;
    let Some(_lock) = lock else {
        return Err(RepairError::InUse { path: data_dir.display().to_string() });
    };
    let quarantine_dir = data_dir.join(names::QUARANTINE_DIR);
    let recovery = recover(fs, &wal_dir, &quarantine_dir, RecoveryMode::Salvage, &mut Discard, &progress)?;
    let tails = recovery.log.abandoned.iter().chain(&recovery.torn_tail);
    let actions = actions(&recovery.damages, tails);
    Ok(RepairReport { written: true, actions, failure: recovery.repair_failure })
}

fn actions<'a>(damages: &[Damage], tails: impl Iterator<Item = &'a UnsealedTail>) -> Vec<String> {
    let damages = damages.iter().map(|damage| {
        let place = place(damage.checkpoint, damage.segment, damage.offset);
        let cost = match damage.groups {
            Some((first, last)) if first == last => format!(" (costs group {first})"),
            Some((first, last)) => format!(" (costs groups {first} to {last})"),
            None => String::new(),
        };
        match damage.bytes {
            0 => format!("note {} at {place}{cost}", damage.what),
            bytes => format!("set aside {bytes} bytes at {place}: {}{cost}", damage.what),
        }
    });
    let tails = tails.map(|tail| {
        let place = place(false, tail.segment, tail.offset);
        format!("cut {} bytes behind the last seal at {place}: {}", tail.bytes, tail.what)
    });
    damages.chain(tails).collect()
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
