//! Conservation: whatever left the log is in a block, or it is written down what became of it.
//!
//! | has to hold | |
//! |---|---|
//! | of each compaction | parents = child + deleted + deduplicated, where all that it names was known before |
//! | of all blocks | flushed + adopted = in blocks + deleted + expired + deduplicated + quarantined |
//! | of the directory | every block of the ledger has its directory |
//! | of the log | acknowledged = in the log + left the log + not given by it when it was damaged |
//! | of the flushes | flushed = left the log + still in the log although flushed + not given by it |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ulid::Ulid;

use super::VerifyError;
use super::blocks::{Blocks, list};
use super::replay::Replay;
use super::report::Stage;
use super::taken_over::TakenOver;
use crate::fs::{Fs, names};
use crate::ledger::{self, Contents, Event, LedgerState, ReceiptsPart};
use crate::model::{Tally, TimeRange};
use crate::proof::{LogPart, TallyRequest, log_tally};
use crate::wal::{LogScan, ReplayProgress};

/// Whether two ledgers speak of the same log.
fn same_log(a: &Contents, b: &Contents) -> bool {
    a.state.left_log == b.state.left_log
}

/// Whether a segment that a checkpoint stands for is still there.
fn has_segment(fs: &dyn Fs, data_dir: &Path, up_to: u32) -> bool {
    let files = fs.list(&data_dir.join(names::WAL_DIR)).unwrap_or_default();
    files.iter().any(|file| names::parse_wal_segment(&file.name).is_some_and(|number| number <= up_to))
}

/// The stage's result. `before` was read before the log and the blocks were.
pub(super) fn stage(
    fs: &dyn Fs,
    data_dir: &Path,
    before: &Contents,
    blocks: &Blocks,
    replay: &Replay,
    log: &LogScan,
    taken_over: Option<&TakenOver>,
) -> Result<Stage, VerifyError> {
    let mut stage = Stage::new("conservation");
    // A block's end is in the ledger before its directory goes, so this one knows of all directories that are gone.
    let ledger = ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?;
    if ledger.entries.is_empty() && ledger.damages.is_empty() {
        stage.summary = "no ledger: nothing is written down about what left the log".to_owned();
        if let Some(end) = log.checkpoint {
            let number = end.edge.up_to_segment;
            stage
                .find(|| format!("the log was truncated up to segment {number:08}, and the ledger of that is missing"));
        }
        return Ok(stage);
    }
    for damage in &ledger.damages {
        let what = format!("ledger, byte {}: {}", damage.offset, damage.what);
        // The end that a crash or an append under way leaves. Nothing was removed on its word.
        if damage.is_torn_tail { stage.note(what) } else { stage.find(|| what) }
    }
    let events = events(&ledger, &mut stage);
    let imbalance = ledger.state.imbalance();
    if imbalance != Tally::ZERO {
        let samples = imbalance.samples as i64;
        stage.find(|| format!("{samples} samples (digest {}) that came into blocks are nowhere", imbalance.digest));
    }
    directories(fs, data_dir, &ledger, blocks, &mut stage)?;
    receipts(fs, data_dir, &ledger, &mut stage);
    let checkpoint = log.checkpoint.map(|end| end.edge.up_to_segment);
    if !same_log(before, &ledger) {
        stage.note("the log was truncated while it was read: what it holds is not compared with the ledger".to_owned());
    } else if checkpoint > ledger.state.left_log.up_to_segment {
        // Between the two steps of a truncation, or a crash there: then the segments are there still.
        match checkpoint.filter(|number| !has_segment(fs, data_dir, *number)) {
            Some(number)
                if ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?.state.left_log == ledger.state.left_log =>
            {
                stage.find(|| {
                    format!("the log was truncated up to segment {number:08}, and the ledger does not say so")
                });
            }
            _ => {
                stage
                    .note("the newest checkpoint is not yet in the ledger: the log is not compared with it".to_owned());
            }
        }
    } else {
        let left = ledger.state.left_log.last_group;
        let begins_late = |follows: &u64| *follows > left && taken_over.is_none();
        if let Some(follows) = log.follows.filter(begins_late) {
            stage.find(|| {
                let first = left + 1;
                format!("groups {first} to {follows} are missing: they did not leave the log, nor are they in it")
            });
        }
        acknowledged(&ledger.state, replay, taken_over, &mut stage);
        match taken_over {
            None => flushed(fs, data_dir, &ledger, replay, &mut stage)?,
            Some(taken_over) => {
                stage.leave_open(&format!("that the log had what was flushed: {taken_over}"));
            }
        }
    }
    let LedgerState { blocks: live, totals, left_log, .. } = &ledger.state;
    stage.summary = format!(
        "{events} events; {} samples flushed, {} in {} blocks, {} deleted, {} expired, {} deduplicated; {} left the log",
        totals.flushed.samples,
        ledger.state.stored().samples,
        live.len(),
        totals.deleted.samples,
        totals.expired.samples,
        totals.deduplicated.samples,
        (left_log.samples.in_order + left_log.samples.out_of_order).samples
    );
    stage.number("events", events);
    stage.number("blocks", live.len());
    for (name, tally) in ledger.state.named() {
        stage.number(name, tally.samples);
    }
    Ok(stage)
}

/// Goes through the events, each against the state before it. Says how many there are.
fn events(ledger: &Contents, stage: &mut Stage) -> u64 {
    let mut state = LedgerState::default();
    for entry in &ledger.entries {
        let number = entry.sequence;
        let known = |ulid: &Ulid| state.blocks.get(ulid).copied();
        match &entry.event {
            Event::Compacted { parents, child, stored, deleted, deduplicated } => {
                let held: Option<Tally> = parents.iter().map(known).sum();
                match held {
                    None => {
                        let unknown = parents.iter().find(|parent| known(parent).is_none());
                        stage.find(|| {
                            let unknown = unknown.map_or_else(String::new, Ulid::to_string);
                            format!("event {number}: parent {unknown} was in no event before")
                        });
                    }
                    Some(held) if held != *stored + *deleted + *deduplicated => stage.find(|| {
                        let child = child.map_or_else(|| "no block".to_owned(), |child| format!("block {child}"));
                        format!(
                            "event {number}: {child} was compacted from {held}, and has {stored}, with {deleted} deleted \
                             and {deduplicated} deduplicated, which is not the sum"
                        )
                    }),
                    Some(_) => {}
                }
                if child.is_none() && *stored != Tally::ZERO {
                    stage.find(|| format!("event {number}: a compaction stored {stored} in no block"));
                }
            }
            Event::Deleted { ulid, tally }
            | Event::Expired { ulid, tally }
            | Event::Quarantined { ulid, tally, .. }
                if known(ulid) != Some(*tally) =>
            {
                let had = known(ulid).map_or_else(|| "was in no event before".to_owned(), |had| format!("had {had}"));
                stage.find(|| format!("event {number}: block {ulid} was removed with {tally}; it {had}"));
            }
            Event::Flushed { ulid: None, tally, .. } if *tally != Tally::ZERO => {
                stage.find(|| format!("event {number}: a flush stored {tally} in no block"));
            }
            Event::Flushed { ulid: Some(ulid), .. } | Event::Adopted { ulid, .. } if known(ulid).is_some() => {
                stage.find(|| format!("event {number}: block {ulid} came a second time"));
            }
            _ => {}
        }
        state.apply(entry);
    }
    ledger.entries.len() as u64
}

/// Compares the blocks of the ledger with the directories.
///
/// A server may go on meanwhile: it records a block when the directory is there, and its end before the directory goes.
/// So a block is missing where it lacks in a look between two readings of the ledger that both have it.
pub(super) fn directories(
    fs: &dyn Fs,
    data_dir: &Path,
    ledger: &Contents,
    blocks: &Blocks,
    stage: &mut Stage,
) -> Result<(), VerifyError> {
    let present: BTreeSet<Ulid> = blocks.ulids().collect();
    // Where another program compacted a block, the block that it made says so.
    let mut made_of: BTreeMap<Ulid, Ulid> = BTreeMap::new();
    for (ulid, meta) in &blocks.metas {
        let parents = meta.compaction.parents.iter().map(|parent| parent.ulid);
        made_of.extend(parents.chain(meta.compaction.sources.iter().copied()).map(|parent| (parent, *ulid)));
    }
    let is_absent = |ulid: &&Ulid| !present.contains(ulid) && !blocks.quarantined.contains(ulid);
    let absent: Vec<&Ulid> = ledger.state.blocks.keys().filter(is_absent).collect();
    if !absent.is_empty() {
        let there = list(fs, data_dir)?;
        let now = ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?;
        for ulid in absent {
            match (now.state.blocks.get(ulid), made_of.get(ulid)) {
                _ if there.contains(ulid) => stage.note(format!("block {ulid} came since, and was not read")),
                (None, _) => {}
                (Some(_), Some(child)) if !ledger.state.blocks.contains_key(child) => {
                    stage.note(format!("block {ulid} was made part of {child} by another program"));
                }
                (Some(tally), _) => stage.find(|| format!("block {ulid} is missing: {tally}")),
            }
        }
    }
    for ulid in present.iter().filter(|ulid| !ledger.state.blocks.contains_key(ulid)) {
        stage.note(format!(
            "block {ulid} is not in the ledger; the next start takes it in, or removes what it replaces"
        ));
    }
    Ok(())
}

/// The files with the requests that left the log have to be there.
fn receipts(fs: &dyn Fs, data_dir: &Path, ledger: &Contents, stage: &mut Stage) {
    let dir = data_dir.join(names::LEDGER_DIR);
    for (_, part) in ledger.state.receipts.iter().filter(|(_, part)| !fs.exists(&dir.join(&part.file))) {
        let ReceiptsPart { file, first_commit, last_commit, .. } = part;
        stage.find(|| format!("receipts of the requests {first_commit} to {last_commit} are missing: {file}"));
    }
}

/// Acknowledged = in the log + left the log.
fn acknowledged(state: &LedgerState, replay: &Replay, taken_over: Option<&TakenOver>, stage: &mut Stage) {
    let left = state.left_log.samples;
    let acknowledged = state.left_log.acknowledged + replay.sealed();
    let held = left.in_order + left.out_of_order + replay.total() + state.totals.unlogged;
    stage.number("acknowledged", acknowledged.samples);
    stage.number("left_the_log", (left.in_order + left.out_of_order).samples);
    if acknowledged == held {
        return;
    }
    let surplus = held.samples.wrapping_sub(acknowledged.samples) as i64;
    if surplus > 0 && left.unsealed + replay.unsealed() > 0 {
        // What another program had written was never acknowledged by this one.
        stage.note(format!("the log held {surplus} samples that no request of ours brought"));
        return;
    }
    if let Some(taken_over) = taken_over.filter(|_| surplus <= 0) {
        // With a checkpoint of ours went samples whose seals had left the log before.
        stage.leave_open(&format!("that the log had what was acknowledged: {taken_over}"));
        return;
    }
    stage.find(|| format!("acknowledged {acknowledged}; in the log and left it {held}"));
}

/// Flushed = left the log + still in the log although flushed.
fn flushed(
    fs: &dyn Fs,
    data_dir: &Path,
    ledger: &Contents,
    replay: &Replay,
    stage: &mut Stage,
) -> Result<(), VerifyError> {
    let state = &ledger.state;
    let mut parts = Vec::new();
    // A ledger begins with an entry that says how far blocks reach: before the first flush nowhere.
    let flushed_up_to_ms = state.flushed_up_to_ms.filter(|end_ms| *end_ms > i64::MIN);
    if let Some(end_ms) = flushed_up_to_ms {
        parts.push(LogPart::in_order(TimeRange::new(i64::MIN, end_ms.saturating_sub(1))));
    }
    if let Some(group) = state.flushed_out_of_order_group {
        parts.push(LogPart::out_of_order(TimeRange::ALL, 0..=group));
    }
    if parts.is_empty() {
        return Ok(());
    }
    let request = TallyRequest { parts, up_to_group: None };
    let log = log_tally(fs, data_dir, &request, &ReplayProgress::default())?;
    let now = ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?;
    if now.state.left_log != state.left_log || now.state.totals.flushed != state.totals.flushed {
        stage.note("the head was flushed, or the log truncated, while the log was read".to_owned());
        return Ok(());
    }
    let left = state.left_log.samples;
    let in_log: Tally = log.parts.iter().map(|part| part.written).sum();
    // Another program may have made blocks of what it wrote to the log, or of what stood there.
    let is_ours_alone = left.unsealed + replay.unsealed() == 0 && state.totals.adopted == Tally::ZERO;
    let has_in_order = is_ours_alone && state.totals.unlogged == Tally::ZERO && flushed_up_to_ms.is_some();
    if has_in_order && let Some(in_order) = state.totals.flushed_in_order {
        // In-order samples are in the log once, and below the floor none is accepted.
        let taken = left.in_order + log.parts.first().map_or(Tally::ZERO, |part| part.written);
        if taken != in_order {
            stage.find(|| format!("in-order samples: flushed {in_order}; the log had {taken} of their time"));
        }
    }
    let taken = left.in_order + left.out_of_order + in_log + state.totals.unlogged;
    let flushed = state.totals.flushed;
    stage.number("flushed_and_in_the_log", in_log.samples);
    if taken == flushed {
        return Ok(());
    }
    let more = taken.samples.wrapping_sub(flushed.samples) as i64;
    if more > 0 && has_in_order && state.totals.flushed_in_order.is_none() {
        stage.leave_open(&format!(
            "that {more} samples of the log were in blocks already when they were flushed: old entries of the ledger \
             were folded, which does not tell those that came in order"
        ));
    } else if more > 0 {
        // Samples that came out of order twice are in a block once; and blocks that another program had made from this
        // log were adopted.
        stage.note(format!("{more} samples of the log were in blocks already when they were flushed"));
    } else {
        stage.find(|| format!("flushed {flushed}; the log had {taken} of that"));
    }
    Ok(())
}
