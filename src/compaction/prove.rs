//! Proofs: a block is read back from the disk, whole, and compared with what it was made of.
//!
//! | made of | has to hold |
//! |---|---|
//! | blocks ([`conservation`]) | child = sum of the parents - deleted - deduplicated, by count and digest |
//! | the head ([`flush`]) | block = what an independent replay of the log gives for the same samples, less what was deleted |
//!
//! What the parents hold, and what of it is deleted, comes from the parents alone. Of the merge's own counters only the
//! duplicates enter the equation, since nobody else can tell them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::error::{CompactionError, Disproof};
use super::samples;
use super::write::{Progress, Watch, WrittenBlock};
use crate::block::{self, Block, BlockCheck, BlockError, PreparedBlock};
use crate::fs::{Fs, names};
use crate::model::{Digest, LabelSet, Tally};
use crate::proof::{LogPart, LogTally, SeriesNames, TallyRequest, log_tally, scan_beside, series_tallies};
use crate::storage::StorageError;
use crate::wal::{ReplayProgress, WalError};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is a proof of the contrary.
    #[error("{0}")]
    Disproven(Box<Disproof>),
    /// What there is to compare could not be read.
    #[error(transparent)]
    Other(Box<CompactionError>),
}

impl From<CompactionError> for ProofError {
    fn from(error: CompactionError) -> Self {
        ProofError::Other(Box::new(error))
    }
}

impl From<StorageError> for ProofError {
    fn from(error: StorageError) -> Self {
        CompactionError::from(error).into()
    }
}

impl From<WalError> for ProofError {
    fn from(error: WalError) -> Self {
        CompactionError::from(error).into()
    }
}

impl From<BlockError> for ProofError {
    fn from(error: BlockError) -> Self {
        CompactionError::from(error).into()
    }
}

/// What a proven compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conserved {
    /// What the child holds.
    pub stored: Tally,
    /// What of the parents was deleted.
    pub deleted: Tally,
    /// What stood in more than one parent.
    pub deduplicated: Tally,
}

/// Proves that a block, or none, is the sum of its parents. Parents and child are read at the same time.
pub fn conservation(
    parents: &[Arc<Block>],
    written: &WrittenBlock,
    watch: &mut Watch<'_>,
) -> Result<Conserved, ProofError> {
    let (of_parents, child) = std::thread::scope(|scope| {
        let of_parents = scope.spawn(|| Held::of(parents, true));
        let child = stored(written.block.as_ref(), watch);
        (of_parents.join().map_err(|_panic| CompactionError::Panicked), child)
    });
    let (mut held, child) = (of_parents??, child?);
    let deduplicated = written.totals.deduplicated;
    let is_conserved =
        |held: &Held| written.totals.deleted == held.deleted && held.stored - held.deleted - deduplicated == child;
    if held.from_accelerators && !is_conserved(&held) {
        // The fault may be an accelerator's.
        held = Held::of(parents, false)?;
    }
    let Held { stored, deleted, .. } = held;
    if is_conserved(&held) {
        return Ok(Conserved { stored: child, deleted, deduplicated });
    }
    let disproof = if written.totals.deleted != deleted {
        Disproof::Deletions { parents: deleted, merge: written.totals.deleted }
    } else {
        Disproof::NotConserved { parents: stored, deleted, deduplicated, child }
    };
    Err(ProofError::Disproven(Box::new(disproof)))
}

/// What blocks hold.
struct Held {
    /// All of their samples.
    stored: Tally,
    /// Those of them in deleted ranges.
    deleted: Tally,
    /// Whether some blocks were not read, because their accelerators tell.
    from_accelerators: bool,
}

impl Held {
    /// Reads blocks whole. Where `ask_accelerators`, a block without deletions need not be read if its accelerator tells
    /// what it holds: that was computed when the block was made.
    fn of(blocks: &[Arc<Block>], ask_accelerators: bool) -> Result<Self, CompactionError> {
        let mut held = Held { stored: Tally::ZERO, deleted: Tally::ZERO, from_accelerators: false };
        for block in blocks {
            let has_deletions = block.meta().stats.tombstones > 0 || !block.tombstones().is_empty();
            let accel = block.accel().filter(|_| ask_accelerators && !has_deletions);
            if let Some(accel) = accel {
                held.stored += accel.tally();
                held.from_accelerators = true;
                continue;
            }
            let check = block::check(block, &mut |_bytes| {});
            if let Some(finding) = check.findings.first() {
                return Err(CompactionError::DamagedParent { ulid: block.ulid(), finding: finding.what.clone() });
            }
            held.stored += check.stored;
            held.deleted += check.stored - check.visible;
        }
        Ok(held)
    }
}

/// Reads a block back from the disk: what it holds, if nothing of it is damaged.
fn stored(block: Option<&PreparedBlock>, watch: &mut Watch<'_>) -> Result<Tally, ProofError> {
    let Some(prepared) = block else { return Ok(Tally::ZERO) };
    let block = prepared.open()?;
    let mut is_stopped = false;
    let BlockCheck { stored, findings, finding_count, .. } =
        block::check(&block, &mut |bytes| is_stopped |= watch(Progress::Proving { bytes }).is_break());
    if is_stopped {
        return Err(CompactionError::Stopped.into());
    }
    match findings.first() {
        None => Ok(stored),
        Some(first) => {
            let disproof = Disproof::Damaged { findings: finding_count, first: first.what.clone() };
            Err(ProofError::Disproven(Box::new(disproof)))
        }
    }
}

/// A block that was made from the head, and which samples of the log it has to hold.
#[derive(Debug, Clone, Copy)]
pub struct Flushed<'a> {
    /// The block.
    pub written: &'a WrittenBlock,
    /// The samples.
    pub part: &'a LogPart,
}

/// What a proven flush did.
#[derive(Debug, Clone)]
pub struct FlushProof {
    /// For each block what it holds.
    pub stored: Vec<Tally>,
    /// What the log holds, for each block as a part.
    pub log: LogTally,
}

/// Proves blocks that were made from the head against one independent replay of the log in `data_dir`. `up_to_group`:
/// what the log got later, deletions above all, is in none of them.
pub fn flush(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    flushed: &[Flushed<'_>],
    up_to_group: Option<u64>,
    watch: &mut Watch<'_>,
) -> Result<FlushProof, ProofError> {
    let parts = flushed.iter().map(|flushed| flushed.part.clone()).collect();
    let request = TallyRequest { parts, up_to_group };
    let (log, stored) = std::thread::scope(|scope| {
        let log = scope.spawn(|| log_tally(&**fs, data_dir, &request, &ReplayProgress::default()));
        let stored: Result<Vec<Tally>, ProofError> =
            flushed.iter().map(|flushed| stored(flushed.written.block.as_ref(), watch)).collect();
        (log.join().map_err(|_panic| CompactionError::Panicked), stored)
    });
    let (log, stored) = (log??, stored?);
    for ((flushed, part), &block) in flushed.iter().zip(&log.parts).zip(&stored) {
        let deduplicated = flushed.written.totals.deduplicated;
        if part.left() - deduplicated == block {
            continue;
        }
        // What is found here explains the difference; it is one whatever comes of this.
        let series = match first_difference(&**fs, data_dir, flushed, up_to_group) {
            Ok(series) => series,
            Err(error) => Some(format!("unknown, as looking for it failed: {error}")),
        };
        let log_damage = log.first_damage.clone();
        let disproof = Disproof::NotTheLog { log: part.left(), deduplicated, block, series, log_damage };
        return Err(ProofError::Disproven(Box::new(disproof)));
    }
    Ok(FlushProof { stored, log })
}

fn first_difference(
    fs: &dyn Fs,
    data_dir: &Path,
    flushed: &Flushed<'_>,
    up_to_group: Option<u64>,
) -> Result<Option<String>, ProofError> {
    let block = match &flushed.written.block {
        Some(block) => Some(block.open()?),
        None => None,
    };
    let differences = differences(fs, data_dir, block.as_deref(), flushed.part, up_to_group, 1)?;
    Ok(differences.into_iter().next())
}

/// Compares a block with a part of the log, series by series, and says in words which differ: the first `most` of them.
/// Samples that the block itself has as deleted count as absent.
pub fn differences(
    fs: &dyn Fs,
    data_dir: &Path,
    block: Option<&Block>,
    part: &LogPart,
    up_to_group: Option<u64>,
    most: usize,
) -> Result<Vec<String>, ProofError> {
    let mut log: HashMap<Digest, Tally> = series_tallies(fs, data_dir, part, up_to_group)?;
    let mut differences = Vec::new();
    let mut source = block.map(Block::chunk_source);
    let mut next = || source.as_mut().map_or(Ok(None), |source| source.next_series());
    while let Some(series) = next()? {
        let labels = Digest::of_labels(&series.labels);
        let mut in_block = Tally::ZERO;
        let mut decoded = Vec::new();
        for chunk in &series.chunks {
            samples::decode(&series.labels, chunk, &mut decoded)?;
        }
        for sample in &decoded {
            let is_deleted = series.deleted.iter().any(|range| range.contains(sample.timestamp_ms));
            if part.range.contains(sample.timestamp_ms) && !is_deleted {
                in_block.add_sample(labels.of_value(sample.timestamp_ms, &sample.value));
            }
        }
        let in_log = log.remove(&labels).unwrap_or_default();
        if in_block != in_log && differences.len() < most {
            differences.push(difference(&series.labels, in_block, in_log));
        }
    }
    if differences.len() < most && !log.is_empty() {
        let mut missing: Vec<(Digest, Tally)> = log.into_iter().collect();
        missing.sort_by_key(|(labels, _)| labels.0);
        missing.truncate(most - differences.len());
        let mut names = SeriesNames::of(missing.iter().map(|(labels, _)| *labels));
        scan_beside(fs, &data_dir.join(names::WAL_DIR), &mut names, &ReplayProgress::default())?;
        differences.extend(
            missing
                .into_iter()
                .map(|(labels, tally)| format!("{}: not in the block, in the log {tally}", names.describe(labels))),
        );
    }
    Ok(differences)
}

fn difference(labels: &LabelSet, in_block: Tally, in_log: Tally) -> String {
    if in_block.samples == in_log.samples {
        format!("{labels}: {} samples in both, with other values or times", in_block.samples)
    } else {
        format!("{labels}: in the block {in_block}, in the log {in_log}")
    }
}
