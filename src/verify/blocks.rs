//! The blocks: each is read, and compared with what others say of it.
//!
//! Without `--deep` all bytes are read and their checksums and structure checked; samples are counted, and not decoded.
//! With it every sample is decoded, so that the digest of the block is known: it has to be that of the ledger and of the
//! accelerator, and, where the log still holds what a block was made from, that of the log, series by series.
//!
//! A block that a start has set aside is a finding until a person closes the matter, unless others hold its samples.
//!
//! A server may run on the directory: a block that was compacted or has expired since the directory was listed is no
//! finding, and one that came meanwhile is read too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;
use ulid::Ulid;

use super::VerifyError;
use super::report::Stage;
use crate::block::{self, Block, BlockCheck, BlockError, BlockMeta};
use crate::compaction::differences;
use crate::db::lost_blocks;
use crate::fs::{Fs, names};
use crate::ledger::{self, Contents, Event, FlushedUpTo};
use crate::model::{Tally, TimeRange};
use crate::proof::{LogPart, TallyRequest, log_tally};
use crate::wal::ReplayProgress;

/// How often the directory is listed again because blocks came or went.
const LISTINGS_MAX: usize = 5;
/// Findings of one block that are told.
const FINDINGS_OF_A_BLOCK: usize = 5;

/// What is known of the blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The blocks that are there.
    pub(super) metas: BTreeMap<Ulid, BlockMeta>,
    checked: BTreeMap<Ulid, Checked>,
    /// Blocks that cannot be opened.
    unreadable: BTreeSet<Ulid>,
    /// Blocks in quarantine whose samples no others have.
    pub(super) quarantined: BTreeSet<Ulid>,
    vanished: u64,
    bytes: u64,
}

/// What a block holds.
#[derive(Debug, Clone, Copy)]
struct Checked {
    samples: u64,
    series: u64,
    chunks: u64,
    /// Known where the samples were decoded.
    stored: Option<Tally>,
}

impl Blocks {
    /// The blocks that have a directory.
    pub(super) fn ulids(&self) -> impl Iterator<Item = Ulid> + '_ {
        self.metas.keys().copied().chain(self.unreadable.iter().copied())
    }

    /// Reads all blocks.
    pub(super) fn check(
        fs: &Arc<dyn Fs>,
        data_dir: &Path,
        deep: bool,
        bar: &ProgressBar,
        stage: &mut Stage,
    ) -> Result<Self, VerifyError> {
        let mut blocks = Blocks::default();
        for _listing in 0..LISTINGS_MAX {
            let listed = list(&**fs, data_dir)?;
            let is_known = |ulid: &Ulid| blocks.metas.contains_key(ulid) || blocks.unreadable.contains(ulid);
            let new: Vec<Ulid> = listed.iter().filter(|ulid| !is_known(ulid)).copied().collect();
            blocks.forget_all_but(&listed);
            if new.is_empty() {
                break;
            }
            for ulid in new {
                blocks.check_one(fs, data_dir, ulid, deep, bar, stage);
            }
        }
        Ok(blocks)
    }

    fn forget_all_but(&mut self, listed: &BTreeSet<Ulid>) {
        let before = self.metas.len();
        self.metas.retain(|ulid, _| listed.contains(ulid));
        self.checked.retain(|ulid, _| listed.contains(ulid));
        self.unreadable.retain(|ulid| listed.contains(ulid));
        self.vanished += (before - self.metas.len()) as u64;
    }

    fn check_one(
        &mut self,
        fs: &Arc<dyn Fs>,
        data_dir: &Path,
        ulid: Ulid,
        deep: bool,
        bar: &ProgressBar,
        stage: &mut Stage,
    ) {
        let dir = data_dir.join(ulid.to_string());
        let is_gone = || !fs.exists(&dir);
        let block = match Block::open(fs.clone(), &dir) {
            Ok(block) => block,
            Err(BlockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && is_gone() => {
                self.vanished += 1;
                return;
            }
            Err(error) => {
                self.unreadable.insert(ulid);
                stage.find(|| format!("block {ulid} cannot be opened: {error}"));
                return;
            }
        };
        let bytes_before = bar.position();
        let read = if deep { block::check } else { block::check_undecoded };
        let on_progress = &mut |bytes| bar.set_position(bytes_before + bytes);
        let BlockCheck { stored, series, chunks, findings, finding_count, .. } = read(&block, on_progress);
        let found: Vec<String> = findings.into_iter().map(|finding| finding.what).collect();
        let untold = finding_count.saturating_sub(found.len() as u64);
        let checked = Checked { samples: stored.samples, series, chunks, stored: deep.then_some(stored) };
        // The files of a block that is removed under the reader's hands stay readable, but not all were open yet.
        if !found.is_empty() && is_gone() {
            self.vanished += 1;
            return;
        }
        let meta = block.meta();
        for what in found.iter().take(FINDINGS_OF_A_BLOCK) {
            stage.find(|| format!("block {ulid}: {what}"));
        }
        stage.findings_total += untold + found.len().saturating_sub(FINDINGS_OF_A_BLOCK) as u64;
        self.bytes += block.bytes();
        bar.set_position(bytes_before + block.bytes());
        if let Some(accel) = block.accel() {
            let tally = accel.tally();
            let differs = checked.stored.map_or(tally.samples != checked.samples, |stored| stored != tally);
            if found.is_empty() && differs {
                let has = in_words(&checked);
                stage.find(|| format!("block {ulid} has {has}, its accelerator says {tally}"));
            }
        }
        self.metas.insert(ulid, BlockMeta::clone(&meta));
        self.checked.insert(ulid, checked);
    }

    /// Finds what lies in quarantine and is missing because of that.
    pub(super) fn find_quarantined(&mut self, fs: &dyn Fs, data_dir: &Path, ledger: &Contents, stage: &mut Stage) {
        for lost in lost_blocks(fs, data_dir).into_iter().filter(|lost| !lost.is_covered) {
            let ulid = lost.ulid;
            // Where it could not be told, the ledger counts the block as there.
            let told = ledger.entries.iter().rev().find_map(|entry| match &entry.event {
                Event::Quarantined { ulid: of, tally, .. } if *of == ulid => Some(*tally),
                _ => None,
            });
            let tally = told.or_else(|| ledger.state.blocks.get(&ulid).copied());
            let samples = tally.map_or_else(|| "an unknown number of".to_owned(), |tally| tally.samples.to_string());
            stage.find(|| format!("block {ulid}, {samples} samples, lies in quarantine: {}", lost.reason));
            self.quarantined.insert(ulid);
        }
    }

    /// Compares the blocks with the ledger.
    pub(super) fn compare_with_ledger(&self, ledger: &Contents, stage: &mut Stage) {
        let mut equal = 0u64;
        for (ulid, checked) in &self.checked {
            let Some(tally) = ledger.state.blocks.get(ulid) else { continue };
            if checked.stored.map_or(checked.samples != tally.samples, |stored| stored != *tally) {
                stage.find(|| format!("block {ulid} has {}, the ledger says {tally}", in_words(checked)));
            } else {
                equal += 1;
            }
        }
        stage.number("blocks_equal_to_ledger", equal);
    }

    /// Compares blocks that were made from the head with the log, where it still holds what they were made from: since
    /// they were made, nothing left the log.
    pub(super) fn compare_with_log(
        &self,
        fs: &Arc<dyn Fs>,
        data_dir: &Path,
        ledger: &Contents,
        stage: &mut Stage,
    ) -> Result<(), VerifyError> {
        let covered = self.covered_by_log(ledger);
        if covered.is_empty() {
            return Ok(());
        }
        let request = TallyRequest { parts: covered.iter().map(|made| made.part.clone()).collect(), up_to_group: None };
        let log = log_tally(&**fs, data_dir, &request, &ReplayProgress::default())?;
        let now = ledger::read(&**fs, &data_dir.join(names::LEDGER_DIR))?;
        if now.state.left_log != ledger.state.left_log {
            stage.note("the log was truncated while it was compared with the blocks".to_owned());
            return Ok(());
        }
        let mut equal = 0u64;
        for (made, part) in covered.iter().zip(&log.parts) {
            if part.written == made.tally + made.deleted {
                equal += 1;
                continue;
            }
            // A sample that came out of order twice is in the log twice, and once in the block.
            let is_late = !matches!(made.part.kind, crate::proof::SampleKind::InOrder);
            if is_late && part.written.samples > made.tally.samples + made.deleted.samples {
                continue;
            }
            let dir = data_dir.join(made.ulid.to_string());
            let named = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
                let block = Block::open(fs.clone(), &dir)?;
                Ok(differences(&**fs, data_dir, Some(&block), &made.part, None, FINDINGS_OF_A_BLOCK)?)
            };
            let named = named().unwrap_or_default();
            stage.find(|| {
                let deleted = made.deleted.samples;
                let (ulid, stored, written) = (made.ulid, made.tally, part.written);
                let series: String = named.iter().map(|series| format!("; {series}")).collect();
                format!("block {ulid} was made with {stored} ({deleted} deleted), the log holds {written}{series}")
            });
        }
        stage.number("blocks_equal_to_log", equal);
        Ok(())
    }

    /// The blocks that were made from the head since something last left the log.
    fn covered_by_log(&self, ledger: &Contents) -> Vec<MadeFromHead> {
        let mut covered = Vec::new();
        let (mut flushed_ms, mut flushed_group) = (None, None);
        // All events of one flush have the same end, and each its own range.
        let (mut from_ms, mut from_group) = (i64::MIN, 0);
        for entry in &ledger.entries {
            match &entry.event {
                Event::Truncated { .. } => covered.clear(),
                Event::Folded { state } => {
                    covered.clear();
                    (flushed_ms, flushed_group) = (state.flushed_up_to_ms, state.flushed_out_of_order_group);
                }
                Event::Flushed { ulid, up_to, tally, deleted } => {
                    let kind = match *up_to {
                        FlushedUpTo::TimeMs(up_to_ms) => {
                            if flushed_ms != Some(up_to_ms) {
                                from_ms = flushed_ms.unwrap_or(i64::MIN);
                                flushed_ms = Some(up_to_ms);
                            }
                            Made::InOrder(TimeRange::new(from_ms, up_to_ms.saturating_sub(1)))
                        }
                        FlushedUpTo::OutOfOrderGroup(group) => {
                            if flushed_group != Some(group) {
                                from_group = flushed_group.map_or(0, |last: u64| last.saturating_add(1));
                                flushed_group = Some(group);
                            }
                            Made::OutOfOrder(from_group..=group)
                        }
                    };
                    let block = ulid.and_then(|ulid| Some((ulid, self.metas.get(&ulid)?.time_range()?)));
                    if let Some((ulid, range)) = block {
                        let part = match kind {
                            Made::InOrder(time) => {
                                let start_ms = time.start_ms.max(range.start_ms);
                                LogPart::in_order(TimeRange::new(start_ms, time.end_ms.min(range.end_ms)))
                            }
                            Made::OutOfOrder(groups) => LogPart::out_of_order(range, groups),
                        };
                        covered.push(MadeFromHead { ulid, part, tally: *tally, deleted: *deleted });
                    }
                }
                _ => {}
            }
        }
        covered
    }

    /// Puts the stage's line and numbers together.
    pub(super) fn summarize(&self, deep: bool, stage: &mut Stage) {
        let count = self.metas.len() + self.unreadable.len();
        let sum = |of: fn(&Checked) -> u64| self.checked.values().map(of).sum::<u64>();
        let (samples, series, chunks) =
            (sum(|block| block.samples), sum(|block| block.series), sum(|block| block.chunks));
        let how = if deep { "every sample decoded" } else { "checksums and structure only" };
        stage.summary = format!("{count} blocks, {chunks} chunks, {samples} samples; {how}");
        if !deep && count > 0 {
            stage.note("samples were counted and not decoded: `--deep` decodes them and compares digests".to_owned());
        }
        if self.vanished > 0 {
            stage.note(format!("{} blocks went away while they were read", self.vanished));
        }
        stage.number("blocks", count);
        stage.number("series", series);
        stage.number("chunks", chunks);
        stage.number("samples", samples);
        stage.number("bytes", self.bytes);
        stage.number("deep", deep);
        if deep {
            let digest: Tally = self.checked.values().filter_map(|block| block.stored).sum();
            stage.number("digest", digest.digest.to_string());
        }
    }
}

enum Made {
    InOrder(TimeRange),
    OutOfOrder(std::ops::RangeInclusive<u64>),
}

/// A block that was made from the head.
struct MadeFromHead {
    ulid: Ulid,
    part: LogPart,
    tally: Tally,
    deleted: Tally,
}

fn in_words(checked: &Checked) -> String {
    checked.stored.map_or_else(|| format!("{} samples", checked.samples), |stored| stored.to_string())
}

/// Whether there is a block in the directory.
pub(super) fn has_any(fs: &dyn Fs, data_dir: &Path) -> bool {
    list(fs, data_dir).is_ok_and(|blocks| !blocks.is_empty())
}

/// The blocks that have a directory.
pub(super) fn list(fs: &dyn Fs, data_dir: &Path) -> Result<BTreeSet<Ulid>, VerifyError> {
    let entries =
        fs.list(data_dir).map_err(|source| VerifyError::List { path: data_dir.display().to_string(), source })?;
    let dirs = entries.into_iter().filter(|entry| entry.is_dir);
    Ok(dirs.filter_map(|entry| Ulid::from_string(&entry.name).ok()).collect())
}
