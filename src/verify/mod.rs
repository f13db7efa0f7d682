//! Proofs: that the log alone holds what was acknowledged.
//!
//! `chronolith verify` reads a data directory, of a server that was killed or of one that runs, and never writes.
//!
//! | stage | shows |
//! |---|---|
//! | log | pages, checksums, records, the chain of seals: from which group to which, gaps and damage by name |
//! | replay | each group's records give the digest of its seal, and its requests' digests add up to it |
//! | receipts | each line of a receipts file is a sealed request of the log, with equal count and digest |
//! | blocks | each block's checksums and structure; with `--deep` every sample, and digests equal to those on record |
//! | conservation | the ledger: each event adds up, every block is there, acknowledged = in the log + left the log |
//! | live | the running server's head holds, series by series, what the log gives up to the same group |
//!
//! The replay is that of [`proof`](crate::proof): it shares the log's reader and the record decoders with the server, and
//! nothing of the head that it checks.

mod blocks;
mod conservation;
pub mod live;
pub mod receipts;
pub mod replay;
pub mod report;
mod taken_over;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::fs::{Fs, names};
use crate::ledger::{self, LedgerError, RequestReader};
use crate::proof::{SeriesNames, foreign_wbl_records, scan_beside};
use crate::wal::{self, LogScan, ReplayProgress, UnsealedTail, WalError, read_notes};
use blocks::Blocks;
use live::LiveHead;
use receipts::Receipts;
use replay::Replay;
pub use report::{Stage, StageStatus, Verdict, VerifyReport};
use taken_over::TakenOver;

/// What to prove.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// A receipts file: its lines have to be in the log.
    pub receipts: Option<PathBuf>,
    /// Address of the server that runs on the directory: its head has to hold what the log gives.
    pub server: Option<String>,
    /// Decode every sample of the blocks.
    pub deep: bool,
    /// Show progress on a terminal.
    pub progress: bool,
}

/// Why nothing could be proven or disproven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The log cannot be read.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The directory cannot be listed.
    #[error("list {path}: {source}")]
    List {
        /// The directory.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is neither a log nor a block to read.
    #[error("{path} holds no log (there is no directory {}) and no block", names::WAL_DIR)]
    NoLog {
        /// The data directory.
        path: String,
    },
    /// The receipts file cannot be read.
    #[error("read receipts {path}: {source}")]
    Receipts {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The server cannot be asked.
    #[error("ask the server for its head: {reason}")]
    Live {
        /// Why.
        reason: String,
    },
}

/// Proves a data directory, and says what it found.
pub fn verify(fs: &Arc<dyn Fs>, options: &VerifyOptions) -> VerifyReport {
    let mut report = VerifyReport::new(&options.data_dir);
    if let Err(error) = verify_into(fs, options, &mut report) {
        report.error = Some(error.to_string());
    }
    report
}

fn verify_into(shared_fs: &Arc<dyn Fs>, options: &VerifyOptions, report: &mut VerifyReport) -> Result<(), VerifyError> {
    let fs = &**shared_fs;
    let wal_dir = options.data_dir.join(names::WAL_DIR);
    let receipts = options.receipts.as_deref().map(|path| Receipts::read(fs, path)).transpose()?;
    let has_receipts = receipts.as_ref().is_some_and(|receipts| !receipts.is_empty());
    if !fs.exists(&wal_dir) && !has_receipts && !blocks::has_any(fs, &options.data_dir) {
        return Err(VerifyError::NoLog { path: options.data_dir.display().to_string() });
    }
    // The server is asked first: what its head holds at a group is in the log before it says so.
    let live = options.server.as_deref().map(LiveHead::fetch);
    let (live, live_error) = match live {
        Some(Ok(live)) => (Some(live), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let ledger = ledger::read(fs, &options.data_dir.join(names::LEDGER_DIR))?;
    let (log, mut replay) = replay_log(fs, &wal_dir, live.as_ref().map(|live| live.group), receipts, options.progress)?;
    if let Some(receipts) = &mut replay.receipts {
        leaving_requests(fs, &options.data_dir, &log, &ledger, receipts)?;
    }
    let taken_over = TakenOver::find(&log, &ledger.state, &replay);
    report.stages.push(log_stage(&log, taken_over.as_ref()));
    for note in read_notes(fs, &options.data_dir.join(names::QUARANTINE_DIR)) {
        let groups = note.groups.map_or(String::new(), |(first, last)| format!(", groups {first} to {last}"));
        let place = place(note.checkpoint, note.segment, note.offset);
        report.notes.push(format!("set aside earlier: {} at {place}{groups}: {}", note.kind, note.reason));
    }
    report.stages.push(replay.stage());
    if let Some(receipts) = &replay.receipts {
        let mut left = RequestReader::new(fs, &options.data_dir.join(names::LEDGER_DIR));
        report.stages.push(receipts.stage(&replay, &mut left, taken_over.as_ref()));
    }
    let blocks = blocks_stage(shared_fs, options, report)?;
    let taken_over = taken_over.as_ref();
    report.stages.push(conservation::stage(fs, &options.data_dir, &ledger, &blocks, &replay, &log, taken_over)?);
    if let Some(live) = live {
        let mut differences = live.compare(&replay);
        let mut names = SeriesNames::of(differences.named().iter().map(|(series, _)| *series));
        if !names.is_empty() {
            scan_beside(fs, &wal_dir, &mut names, &ReplayProgress::default())?;
        }
        differences.name(&names);
        report.stages.push(differences.stage());
    }
    report.log = Some((&log).into());
    live_error.map_or(Ok(()), Err)
}

/// Reads the blocks.
fn blocks_stage(fs: &Arc<dyn Fs>, options: &VerifyOptions, report: &mut VerifyReport) -> Result<Blocks, VerifyError> {
    let data_dir = &options.data_dir;
    let mut stage = Stage::new("blocks");
    let bar = progress_bar(options.progress, "reading blocks {bytes}, {elapsed}");
    let mut blocks = Blocks::check(fs, data_dir, options.deep, &bar, &mut stage)?;
    bar.finish_and_clear();
    // Read behind the blocks: it knows of all that were made since.
    let ledger = ledger::read(&**fs, &data_dir.join(names::LEDGER_DIR))?;
    blocks.find_quarantined(&**fs, data_dir, &ledger, &mut stage);
    blocks.compare_with_ledger(&ledger, &mut stage);
    if options.deep {
        blocks.compare_with_log(fs, data_dir, &ledger, &mut stage)?;
    }
    blocks.summarize(options.deep, &mut stage);
    report.stages.push(stage);
    Ok(blocks)
}

/// Reads the whole log once.
fn replay_log(
    fs: &dyn Fs,
    wal_dir: &Path,
    live_group: Option<u64>,
    receipts: Option<Receipts>,
    show_progress: bool,
) -> Result<(LogScan, Replay), VerifyError> {
    let progress = ReplayProgress::default();
    let bar = progress_bar(show_progress, "replaying {wide_bar} {bytes}/{total_bytes}, {eta} left");
    let mut replay = Replay::new(live_group, receipts);
    let log = scan_beside(fs, wal_dir, &mut replay::WithProgress::new(&mut replay, &progress, &bar), &progress);
    bar.finish_and_clear();
    let log = log?;
    if let Some(data_dir) = wal_dir.parent() {
        foreign_wbl_records(fs, &data_dir.join(names::WBL_DIR), &mut |place, record| replay.late(place, record))?;
    }
    Ok((log, replay))
}

/// Looks up the requests of segments that a checkpoint stands for and the ledger does not know to have left: between two
/// steps of a truncation, or after a crash there. The next start, or the server that runs, ends it.
fn leaving_requests(
    fs: &dyn Fs,
    data_dir: &Path,
    log: &LogScan,
    ledger: &ledger::Contents,
    receipts: &mut Receipts,
) -> Result<(), VerifyError> {
    let recorded = ledger.state.left_log.up_to_segment;
    if log.checkpoint.is_none_or(|end| Some(end.edge.up_to_segment) <= recorded) {
        return Ok(());
    }
    match wal::superseded(fs, &data_dir.join(names::WAL_DIR)) {
        Ok(report) => report.iter().flat_map(|report| &report.requests).for_each(|request| receipts.leaving(request)),
        // A server ended the truncation meanwhile: then the ledger has the requests.
        Err(error) => {
            let now = ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?.state.left_log.up_to_segment;
            if now == recorded {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// What the reader of the log says.
fn log_stage(log: &LogScan, taken_over: Option<&TakenOver>) -> Stage {
    let mut stage = Stage::new("log");
    let bytes: u64 = log.segments.iter().map(|segment| segment.bytes).sum();
    stage.summary = match log.groups {
        Some((first, last)) => format!("{} groups, {first} to {last}, {} requests", log.sealed_groups, log.requests),
        None => "no sealed group".to_owned(),
    };
    stage.summary.push_str(&format!(" in {} segments of {bytes} bytes", log.segments.len()));
    if let Some((taken_over, (first, last))) = taken_over.and_then(|taken| Some(taken).zip(taken.groups)) {
        stage.leave_open(&format!("groups {first} to {last}: {taken_over}"));
    }
    if log.unsealed_records > 0 {
        stage.note(format!("{} records are unsealed: no digest or chain covers them", log.unsealed_records));
    }
    for damage in &log.damages {
        let place = place(damage.checkpoint, damage.segment, damage.offset);
        let cost = match damage.groups {
            Some((first, last)) if first == last => format!(", costs group {first}"),
            Some((first, last)) => format!(", costs groups {first} to {last}"),
            None => String::new(),
        };
        let bytes = if damage.bytes > 0 { format!(" ({} bytes)", damage.bytes) } else { String::new() };
        stage.find(|| format!("{}{bytes} at {place}{cost}", damage.what));
    }
    let tail_note = |what: &str, tail: &UnsealedTail| {
        let place = place(false, tail.segment, tail.offset);
        format!("{what}: {} bytes at {place}, {} whole records: {}", tail.bytes, tail.records, tail.what)
    };
    if let Some(tail) = &log.torn_tail {
        stage.note(tail_note("behind the last seal that holds, in flight or torn by a crash", tail));
    }
    for tail in &log.abandoned {
        stage.note(tail_note("given up after a failed write, and written again", tail));
    }
    if log.repeated_groups > 0 {
        stage.note(format!("{} groups stand in the log twice", log.repeated_groups));
    }
    stage
}

/// A place in the log, as `wal inspect` shows it.
fn place(checkpoint: bool, segment: u32, offset: u64) -> String {
    let checkpoint = if checkpoint { "checkpoint " } else { "" };
    format!("{checkpoint}{segment:08}:{offset}")
}

fn progress_bar(wanted: bool, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_draw_target(if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests;
