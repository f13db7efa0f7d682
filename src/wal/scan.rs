//! Reads a whole log: records, groups, seals, and what is damaged. Never writes.
//!
//! The records of a group are given on when their seal was read. So a newest group without a seal is not given on: it
//! was not acknowledged, or not yet, unless the disk refuses to give something there. A segment that carries neither mark
//! nor seal is foreign (Prometheus wrote it), and its records are given on as they are.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::checkpoint::{CheckpointEdge, CheckpointEnd, CheckpointRecord};
use super::commit::Durability;
use super::contents::{Damage, LogScan, RecordPosition, ReplayProgress, ReplaySink, SegmentSummary, UnsealedTail};
use super::group_writer::Resume;
use super::options::WalError;
use super::reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
use super::record::{RecordType, split};
use super::seal::{GroupHasher, Mark, Seal, SealRecord};
use super::summary::{ReplayFrom, Summary};
use crate::encoding::Corruption;
use crate::fs::Fs;

/// Bytes of a group's records that are kept back until its seal comes, at most: a group was in memory when it was
/// written. Beyond it they are given on as unsealed.
const PENDING_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// The same, for a segment that has not shown a mark or a seal: most likely it is foreign and never will.
const PENDING_BYTES_MAX_FOREIGN: usize = 16 * 1024 * 1024;
/// Chain value of a group whose seal is lost.
const UNKNOWN_CHAIN: u128 = 0;
/// More than a mark takes of a segment.
pub(super) const MARK_BYTES_MAX: u64 = 64;
/// Seals that are remembered, to tell a group that was written again.
const RECENT_SEALS: usize = 256;
/// Commit numbers passed over where the newest group was torn.
const COMMITS_SKIPPED_TORN: u64 = 1 << 20;
/// Commit numbers passed over where acknowledged groups may be missing: the log was not synced before they were
/// acknowledged, or its end cannot be read. More than a few segments can hold.
const COMMITS_SKIPPED_UNSYNCED: u64 = 1 << 24;

/// Reads the log in `dir`. It may be written meanwhile: what is appended after the files were listed is not read.
pub fn scan(
    fs: &dyn Fs,
    dir: &Path,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<LogScan, WalError> {
    scan_files(fs, &LogFiles::list(fs, dir)?, sink, progress, Vec::new(), None)
}

/// Reads some files of a log. Of the groups in `known_damaged` it is known that they were whole once, although nothing
/// stands behind them any more. Segments before the place in `skip` are passed over, where a summary in that directory
/// allows it.
pub(crate) fn scan_files(
    fs: &dyn Fs,
    files: &LogFiles,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
    known_damaged: Vec<(u64, u64)>,
    skip: Option<(&Path, ReplayFrom)>,
) -> Result<LogScan, WalError> {
    progress.segments_total.store(files.files.len() as u64, Ordering::Relaxed);
    progress.bytes_total.store(files.files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
    let mut scanner = Scanner::new(sink);
    scanner.known_damaged = known_damaged;
    scanner.log.missing.clone_from(&files.missing);
    for &(first, last) in &files.missing {
        scanner.log.damages.push(Damage {
            segment: first,
            what: if first == last {
                "segment is missing".into()
            } else {
                format!("segments to {last:08} are missing")
            },
            ..Damage::default()
        });
    }
    let mut bytes_done = 0;
    for file in &files.files {
        if !file.checkpoint {
            scanner.end_checkpoint();
        }
        let summary = skip
            .filter(|_| !file.checkpoint)
            .and_then(|(wal_dir, from)| Summary::read(fs, wal_dir, file).filter(|summary| summary.is_before(from)));
        let is_skipped = match summary {
            Some(summary) => scanner.skip(fs, file, &summary)?,
            None => false,
        };
        if !is_skipped {
            scanner.file(fs, file, |position| progress.bytes_done.store(bytes_done + position, Ordering::Relaxed))?;
        }
        bytes_done += file.bytes;
        progress.bytes_done.store(bytes_done, Ordering::Relaxed);
        progress.segments_done.fetch_add(1, Ordering::Relaxed);
    }
    scanner.end_checkpoint();
    let mut log = scanner.finish()?;
    log.resume.next_segment = files.next_segment;
    let is_ours = log.checkpoint.is_some() || log.damages.iter().any(|damage| damage.checkpoint);
    log.foreign_checkpoint = files.checkpoint.filter(|_| !is_ours);
    Ok(log)
}

/// A whole record whose seal was not read yet.
#[derive(Debug)]
struct PendingRecord {
    offset: u64,
    end: u64,
    bytes: Vec<u8>,
}

/// What stands behind the last seal or mark of the segment that is being read.
#[derive(Debug, Default)]
struct Pending {
    segment: u32,
    checkpoint: bool,
    records: Vec<PendingRecord>,
    bytes: usize,
    damages: Vec<Damage>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.damages.is_empty()
    }

    fn is_unreadable(&self) -> bool {
        self.damages.iter().any(|damage| damage.is_unreadable)
    }

    fn position(&self, offset: u64, group: Option<u64>) -> RecordPosition {
        RecordPosition { segment: self.segment, checkpoint: self.checkpoint, offset, group, lost_group: None }
    }

    /// Whether the last records, as many as the seal says, give its hash.
    fn covers(&self, seal: &Seal) -> bool {
        let Some(first) = self.records.len().checked_sub(seal.records as usize) else {
            return false;
        };
        let mut hasher = GroupHasher::default();
        for record in self.records.iter().skip(first) {
            hasher.push(&record.bytes);
        }
        hasher.hash() == seal.records_hash
    }

    fn damage(&self, offset: u64, bytes: u64, what: impl Into<String>, groups: Option<(u64, u64)>) -> Damage {
        let (segment, checkpoint, what) = (self.segment, self.checkpoint, what.into());
        Damage { segment, checkpoint, offset, bytes, what, groups, ..Damage::default() }
    }
}

/// A group whose records do not give the hash of its seal. If it is the newest, it is torn: one write holds records and
/// seal, and their sectors arrive in any order. A later seal or mark proves that it was whole.
#[derive(Debug)]
struct Doubtful {
    pending: Pending,
    seal: Seal,
    offset: u64,
    end: u64,
    /// The first group that lost something: this one, unless seals before it are missing.
    first_lost: u64,
}

/// The unsealed end of a segment of ours, until it is known what became of it.
#[derive(Debug)]
struct Held {
    tail: UnsealedTail,
    doubtful: Option<Doubtful>,
    pending: Pending,
}

/// The seal or mark that was read last.
#[derive(Debug, Clone, Copy)]
struct Witness {
    group: u64,
    chain: u128,
}

struct Scanner<'a> {
    sink: &'a mut dyn ReplaySink,
    known_damaged: Vec<(u64, u64)>,
    log: LogScan,
    last: Option<Witness>,
    recent: VecDeque<(u64, u128, bool)>,
    next_commit: u64,
    clean_end: bool,
    durability: Durability,
    /// Whether requests may have been acknowledged whose numbers nothing tells.
    are_commits_lost: bool,
    held: Vec<Held>,
    doubtful: Option<Doubtful>,
    pending: Pending,
    summary: SegmentSummary,
    /// End of the last seal or mark in this segment.
    sealed_end: u64,
    /// Whether this segment carries a mark or a seal.
    ours: bool,
    /// The group of the last seal or mark in this segment. Within a segment groups only rise.
    segment_group: Option<u64>,
    /// A foreign segment's damage at its very end: a torn tail, if nothing readable follows.
    foreign_tail: Option<Damage>,
    /// A segment without mark and seal of which the disk refused to give something, as long as none stands behind it:
    /// its number and its length.
    unreadable: Option<(u32, u64)>,
    /// The checkpoint that is being read.
    checkpoint: Option<CheckpointRead>,
}

/// What was read of a checkpoint.
#[derive(Debug, Default)]
struct CheckpointRead {
    /// What it stands for; `None` while no record says that it is one of ours.
    edge: Option<CheckpointEdge>,
    /// Where its end stands, and what it says.
    end: Option<(RecordPosition, CheckpointEnd)>,
    hasher: GroupHasher,
    records: u64,
    group: Option<u64>,
    damages: Vec<Damage>,
}

impl<'a> Scanner<'a> {
    fn new(sink: &'a mut dyn ReplaySink) -> Self {
        Scanner {
            sink,
            known_damaged: Vec::new(),
            log: LogScan::default(),
            last: None,
            recent: VecDeque::new(),
            next_commit: 1,
            clean_end: true,
            durability: Durability::Fsync,
            are_commits_lost: false,
            held: Vec::new(),
            doubtful: None,
            pending: Pending::default(),
            summary: SegmentSummary::default(),
            sealed_end: 0,
            ours: false,
            segment_group: None,
            foreign_tail: None,
            unreadable: None,
            checkpoint: None,
        }
    }

    /// Gives on only those records of a whole segment that its summary lists. Says whether that could be done: the
    /// segment must follow what was read before it.
    fn skip(&mut self, fs: &dyn Fs, file: &LogFile, summary: &Summary) -> Result<bool, WalError> {
        let follows = match self.last {
            Some(last) => (last.group, last.chain) == summary.mark,
            None => summary.mark.0 == 0,
        };
        if !follows || !self.held.is_empty() || self.foreign_tail.is_some() {
            return Ok(false);
        }
        let Some(records) = summary.listed_records(fs, file) else { return Ok(false) };
        for (offset, group, bytes) in records {
            self.log.unknown_records += u64::from(split(&bytes).0.is_none());
            let position =
                RecordPosition { segment: file.number, offset, group: Some(group), ..RecordPosition::default() };
            self.sink.record(position, bytes)?;
        }
        let log = &mut self.log;
        let groups = summary.last.0 - summary.mark.0;
        log.segments_skipped += 1;
        log.bytes_skipped += file.bytes;
        log.newest_ref_skipped = log.newest_ref_skipped.max(summary.newest_ref);
        log.sealed_groups += groups;
        log.requests += summary.requests;
        log.sealed_samples = log.sealed_samples.wrapping_add(summary.samples);
        log.sealed_records += summary.sealed_records;
        log.groups = Some((log.groups.map_or(summary.first_group, |(first, _)| first), summary.last.0));
        log.follows.get_or_insert(summary.mark.0);
        if summary.mark.0 == 0 {
            log.first_commit.get_or_insert(1);
        }
        log.segments.push(SegmentSummary {
            segment: file.number,
            checkpoint: false,
            bytes: file.bytes,
            records: summary.records,
            record_bytes: summary.record_bytes,
            seals: groups,
            marked: true,
            groups: Some((summary.first_group, summary.last.0)),
        });
        self.next_commit = self.next_commit.max(summary.next_commit);
        (self.durability, self.clean_end) = (summary.durability, summary.clean_end);
        self.unreadable = None;
        self.last = Some(Witness { group: summary.last.0, chain: summary.last.1 });
        self.recent.clear();
        self.recent.push_back((summary.last.0, summary.last.1, true));
        Ok(true)
    }

    fn file(&mut self, fs: &dyn Fs, file: &LogFile, mut progress: impl FnMut(u64)) -> Result<(), WalError> {
        let mut reader = match SegmentReader::open(fs, &file.path) {
            // Removed since it was listed: by the server, beside which this reads.
            Err(WalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        self.summary =
            SegmentSummary { segment: file.number, checkpoint: file.checkpoint, ..SegmentSummary::default() };
        (self.sealed_end, self.ours, self.segment_group) = (0, false, None);
        self.reset_pending();
        loop {
            match reader.next_event() {
                SegmentEvent::Record { offset, end, bytes } => {
                    self.record(offset, end, bytes)?;
                    progress(end);
                }
                SegmentEvent::Damage { offset, end, what, is_unreadable } => {
                    let damage = self.pending.damage(offset, end - offset, what, None);
                    self.pending.damages.push(Damage { is_unreadable, ..damage });
                }
                SegmentEvent::End { len, content_end } => return self.end_segment(len, content_end),
            }
        }
    }

    fn record(&mut self, offset: u64, end: u64, bytes: Vec<u8>) -> Result<(), WalError> {
        if let Some(torn) = self.foreign_tail.take() {
            self.log.damages.push(torn);
        }
        self.summary.records += 1;
        self.summary.record_bytes += bytes.len() as u64;
        if self.pending.checkpoint {
            return self.checkpoint_record(offset, end, bytes);
        }
        let (kind, body) = split(&bytes);
        if kind == Some(RecordType::Seal) {
            match SealRecord::decode(body) {
                Ok(SealRecord::Seal(seal)) if self.segment_group.is_none_or(|group| seal.group > group) => {
                    self.segment_group = Some(seal.group);
                    self.seal(offset, end, seal)?;
                }
                // Nowhere else does a mark stand: one behind other bytes is of an older log.
                Ok(SealRecord::Mark(mark)) if offset == 0 => {
                    self.segment_group = Some(mark.group);
                    self.mark(mark)?;
                }
                Ok(_) => {
                    // What the disk showed in place of a write that did not arrive. It is no witness.
                    let damage = self.pending.damage(offset, end - offset, "stale seal or mark", None);
                    self.pending.damages.push(damage);
                    return Ok(());
                }
                Err(corruption) => {
                    let damage = self.pending.damage(offset, end - offset, corruption.what, None);
                    self.pending.damages.push(damage);
                    return Ok(());
                }
            }
            (self.ours, self.unreadable) = (true, None);
            if self.doubtful.is_none() {
                self.sealed_end = end;
            }
            return Ok(());
        }
        if !self.ours {
            // Prometheus went on behind a log of ours, and has read what stood there.
            for held in std::mem::take(&mut self.held) {
                if let Some(doubtful) = held.doubtful {
                    self.confirm(doubtful)?;
                }
                // It cannot have read what the disk refuses to give.
                let next = self.last.map_or(0, |last| last.group).saturating_add(1);
                let groups = held.pending.is_unreadable().then_some((next, next));
                let damages = held.pending.damages.iter().cloned();
                self.log.damages.extend(damages.map(|damage| Damage { groups, ..damage }));
                self.give_unsealed(held.pending, None)?;
            }
        }
        self.log.unknown_records += u64::from(kind.is_none());
        self.pending.bytes += bytes.len();
        self.pending.records.push(PendingRecord { offset, end, bytes });
        if self.pending.bytes > if self.ours { PENDING_BYTES_MAX } else { PENDING_BYTES_MAX_FOREIGN } {
            self.give_pending(None)?;
        }
        Ok(())
    }

    /// A checkpoint has no groups: its records are given on at once.
    fn checkpoint_record(&mut self, offset: u64, end: u64, bytes: Vec<u8>) -> Result<(), WalError> {
        let checkpoint = self.checkpoint.get_or_insert_default();
        checkpoint.damages.append(&mut self.pending.damages);
        let (kind, body) = split(&bytes);
        let mut position = self.pending.position(offset, checkpoint.group);
        if checkpoint.group.is_none() && kind.is_some_and(RecordType::is_out_of_order) {
            // Only we write such records: the seal of its group was lost before the checkpoint was made.
            position.lost_group = checkpoint.edge.map(|edge| edge.last_group);
        }
        let read = match kind {
            Some(RecordType::Checkpoint) => CheckpointRecord::decode(body).map(Some),
            Some(RecordType::Seal) => Err(Corruption { what: "seal in a checkpoint", offset: 0 }),
            _ => Ok(None),
        };
        match read {
            Ok(Some(CheckpointRecord::Begin(edge))) => checkpoint.edge = Some(edge),
            Ok(Some(CheckpointRecord::End(end))) => {
                checkpoint.edge = Some(end.edge);
                checkpoint.end = Some((position, end));
            }
            Ok(Some(CheckpointRecord::Group(group))) => {
                checkpoint.hasher.push(&bytes);
                checkpoint.records += 1;
                checkpoint.group = Some(group).filter(|group| *group > 0);
            }
            Err(corruption) => {
                let damage = self.pending.damage(offset, end - offset, corruption.what, None);
                checkpoint.damages.push(damage);
            }
            Ok(None) => {
                checkpoint.hasher.push(&bytes);
                checkpoint.records += 1;
                self.log.unknown_records += u64::from(kind.is_none());
                match checkpoint.edge {
                    Some(_) => self.log.checkpoint_records += 1,
                    None => self.log.unsealed_records += 1,
                }
                self.sink.record(position, bytes)?;
            }
        }
        Ok(())
    }

    /// All files of the checkpoint were read: says what is wrong with it, and takes from it where the log goes on.
    fn end_checkpoint(&mut self) {
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        let Some(edge) = checkpoint.edge else {
            self.log.damages.append(&mut checkpoint.damages);
            return;
        };
        let summary = self.log.segments.last().map_or(0, |summary| summary.segment);
        let damage = |segment, offset, what: &str| Damage {
            segment,
            checkpoint: true,
            offset,
            what: what.to_owned(),
            ..Damage::default()
        };
        match checkpoint.end {
            Some((position, end)) => {
                let is_whole = end.records == checkpoint.records && end.records_hash == checkpoint.hasher.hash();
                if !is_whole && checkpoint.damages.is_empty() {
                    let what = "records of the checkpoint do not give its hash";
                    checkpoint.damages.push(damage(position.segment, position.offset, what));
                }
            }
            None if checkpoint.damages.is_empty() => {
                checkpoint.damages.push(damage(summary, 0, "checkpoint has lost its end"));
            }
            None => {}
        }
        // Nobody knows from which of the groups that it stands for.
        let groups = Some((1, edge.last_group));
        self.log.damages.extend(checkpoint.damages.into_iter().map(|damage| Damage { groups, ..damage }));
        self.log.checkpoint = checkpoint.end.map(|(_, end)| end);
        self.next_commit = self.next_commit.max(edge.next_commit);
        if edge.last_group > 0 {
            self.last = Some(Witness { group: edge.last_group, chain: edge.chain });
            // A failed write may have put the last group into the next segment once more.
            self.recent.push_back((edge.last_group, edge.chain, true));
        }
    }

    fn mark(&mut self, mark: Mark) -> Result<(), WalError> {
        self.summary.marked = true;
        self.settle_held(mark.group, 0)?;
        self.log.follows.get_or_insert(mark.group);
        self.begins_at(mark.next_commit);
        self.next_commit = self.next_commit.max(mark.next_commit);
        (self.durability, self.clean_end) = (mark.durability, false);
        match self.last {
            Some(last) if mark.group == last.group && mark.chain != last.chain && last.chain != UNKNOWN_CHAIN => {
                let groups = Some((mark.group, mark.group));
                let what = "segment follows another seal of the same number";
                self.log.damages.push(self.pending.damage(0, 0, what, groups));
            }
            Some(last) if mark.group < last.group || mark.chain == last.chain => {}
            _ => self.last = Some(Witness { group: mark.group, chain: mark.chain }),
        }
        Ok(())
    }

    /// Decides about the unsealed ends of earlier segments: all groups up to `durable` were durable.
    fn settle_held(&mut self, durable: u64, offset: u64) -> Result<(), WalError> {
        let last_group = |scanner: &Self| scanner.last.map_or(durable, |last| last.group);
        for held in std::mem::take(&mut self.held) {
            if durable <= last_group(self) {
                // Given up by the writer, and written again behind it: not damage.
                self.log.abandoned.push(held.tail);
                continue;
            }
            let Held { doubtful, pending, mut tail } = held;
            if let Some(doubtful) = doubtful {
                tail.bytes -= doubtful.end - tail.offset;
                tail.offset = doubtful.end;
                self.confirm(doubtful)?;
            }
            let lost = (last_group(self) + 1, durable);
            if lost.0 <= lost.1 {
                self.give_lost(pending, lost)?;
                self.last = Some(Witness { group: durable, chain: UNKNOWN_CHAIN });
            } else if tail.bytes > 0 && !pending.is_empty() {
                // What is left of a page behind its last seal is zeros.
                self.log.abandoned.push(UnsealedTail { records: pending.records.len() as u64, ..tail });
            }
        }
        if let Some(last) = self.last
            && durable > last.group
        {
            let groups = Some((last.group + 1, durable));
            self.log.damages.push(self.pending.damage(offset, 0, "groups are missing", groups));
        }
        Ok(())
    }

    /// Gives on what is readable of groups that lost their seals.
    fn give_lost(&mut self, pending: Pending, groups: (u64, u64)) -> Result<(), WalError> {
        if pending.damages.is_empty() {
            let offset = pending.records.first().map_or(0, |record| record.offset);
            self.log.damages.push(pending.damage(offset, 0, "groups have lost their seals", Some(groups)));
        }
        self.log
            .damages
            .extend(pending.damages.iter().cloned().map(|damage| Damage { groups: Some(groups), ..damage }));
        self.give_unsealed(pending, Some(groups.1))
    }

    /// Gives on records that no seal covers. `lost_group`: the last group that they may be of.
    fn give_unsealed(&mut self, mut pending: Pending, lost_group: Option<u64>) -> Result<(), WalError> {
        for record in std::mem::take(&mut pending.records) {
            self.log.unsealed_records += 1;
            let position = RecordPosition { lost_group, ..pending.position(record.offset, None) };
            self.sink.record(position, record.bytes)?;
        }
        Ok(())
    }

    fn seal(&mut self, offset: u64, end: u64, seal: Seal) -> Result<(), WalError> {
        if let Some(doubtful) = self.doubtful.take() {
            // A later seal: the doubtful group was whole when this one was written.
            self.sealed_end = doubtful.end;
            self.confirm(doubtful)?;
        }
        if !self.held.is_empty() {
            // No mark decided: it was lost. The seal says as much.
            self.settle_held(seal.group.saturating_sub(1), offset)?;
        }
        let mut first_lost = seal.group;
        match self.last {
            Some(last) if seal.group <= last.group => {
                let known = self.recent.iter().find(|(group, ..)| *group == seal.group).copied();
                if let Some((_, chain, was_intact)) = known
                    && chain == seal.chain
                {
                    self.log.repeated_groups += 1;
                    if was_intact {
                        // The same records once more.
                        let damages = std::mem::take(&mut self.pending.damages);
                        self.log.damages.extend(damages);
                        self.reset_pending();
                        return Ok(());
                    }
                } else if known.is_some() {
                    let groups = Some((seal.group, seal.group));
                    let what = "group number appears again with another chain value";
                    self.log.damages.push(self.pending.damage(offset, 0, what, groups));
                }
            }
            Some(last) if seal.group > last.group + 1 => first_lost = last.group + 1,
            Some(last) if seal.previous_chain != last.chain && last.chain != UNKNOWN_CHAIN => {
                let groups = Some((seal.group, seal.group));
                let what = "seal does not follow the chain value before it";
                self.log.damages.push(self.pending.damage(offset, 0, what, groups));
            }
            _ => {}
        }
        let covers = self.covers_pending(&seal);
        if !covers || first_lost < seal.group {
            let pending = std::mem::take(&mut self.pending);
            self.reset_pending();
            let doubtful = Doubtful { pending, seal, offset, end, first_lost };
            let group = doubtful.seal.group;
            let is_known = self.known_damaged.iter().any(|&(first, last)| first <= group && group <= last);
            // A write that a crash tore reads as something else; it can be read.
            if !covers && !is_known && !doubtful.pending.is_unreadable() {
                self.doubtful = Some(doubtful);
                return Ok(());
            }
            return self.confirm(doubtful);
        }
        self.set_uncovered_aside(&seal);
        // Damage that is left here cost nothing that a seal covers.
        self.give_pending(Some((seal.group, seal.records)))?;
        self.sink.seal(self.pending.position(offset, Some(seal.group)), &seal, true)?;
        self.count_seal(&seal, true);
        Ok(())
    }

    /// A whole group may stand behind records that belong to no group. In a segment of ours they are damage that gives
    /// a right checksum: a record that lost its compression bit, or a stale one.
    fn set_uncovered_aside(&mut self, seal: &Seal) {
        let uncovered = self.pending.records.len().saturating_sub(seal.records as usize);
        let Pending { segment, checkpoint, records, damages, .. } = &mut self.pending;
        // Before the first seal they may be of groups whose seals are lost.
        let set_aside = |record: &PendingRecord| self.last.is_some() || split(&record.bytes).0.is_none();
        let mut index = 0;
        records.retain(|record| {
            index += 1;
            if index > uncovered || !set_aside(record) {
                return true;
            }
            damages.push(Damage {
                segment: *segment,
                checkpoint: *checkpoint,
                offset: record.offset,
                bytes: record.end - record.offset,
                what: "record that no seal covers".into(),
                ..Damage::default()
            });
            false
        });
    }

    /// Gives on what is left of a group that was whole when it was written.
    fn confirm(&mut self, doubtful: Doubtful) -> Result<(), WalError> {
        let Doubtful { mut pending, seal, offset, first_lost, .. } = doubtful;
        let intact = pending.covers(&seal);
        let last_lost = if intact { seal.group.saturating_sub(1) } else { seal.group };
        let groups = Some((first_lost, last_lost));
        if pending.damages.is_empty() {
            let what = if first_lost < seal.group {
                "groups are missing"
            } else {
                "records of the group do not give the seal's hash"
            };
            self.log.damages.push(pending.damage(offset, 0, what, groups));
        }
        self.log.damages.extend(pending.damages.drain(..).map(|damage| Damage { groups, ..damage }));
        let position = pending.position(offset, Some(seal.group));
        self.give(pending, Some((seal.group, seal.records)), Some(last_lost))?;
        self.sink.seal(position, &seal, intact)?;
        self.count_seal(&seal, intact);
        Ok(())
    }

    fn reset_pending(&mut self) {
        let (segment, checkpoint) = (self.summary.segment, self.summary.checkpoint);
        self.pending = Pending { segment, checkpoint, ..Pending::default() };
    }

    fn covers_pending(&self, seal: &Seal) -> bool {
        self.pending.covers(seal)
    }

    /// Takes note of a request at or behind which the log begins. A mark may name a later one than the first seal behind
    /// it: groups were formed, and wait, when their segment is begun.
    fn begins_at(&mut self, commit: u64) {
        self.log.first_commit = Some(self.log.first_commit.map_or(commit, |first| first.min(commit)));
    }

    fn count_seal(&mut self, seal: &Seal, intact: bool) {
        let log = &mut self.log;
        log.sealed_groups += 1;
        log.requests += seal.requests.len() as u64;
        log.sealed_samples = log.sealed_samples.wrapping_add(seal.samples);
        log.groups = Some((log.groups.map_or(seal.group, |(first, _)| first), seal.group));
        log.follows.get_or_insert(seal.group.saturating_sub(1));
        let summary = &mut self.summary;
        summary.seals += 1;
        summary.groups = Some((summary.groups.map_or(seal.group, |(first, _)| first), seal.group));
        self.begins_at(seal.next_commit.saturating_sub(seal.requests.len() as u64));
        self.next_commit = self.next_commit.max(seal.next_commit);
        self.clean_end = seal.clean_end;
        self.durability = seal.durability;
        self.last = Some(Witness { group: seal.group, chain: seal.chain });
        if self.recent.len() == RECENT_SEALS {
            self.recent.pop_front();
        }
        self.recent.push_back((seal.group, seal.chain, intact));
    }

    fn give_pending(&mut self, group: Option<(u64, u32)>) -> Result<(), WalError> {
        let mut pending = std::mem::take(&mut self.pending);
        self.reset_pending();
        self.log.damages.append(&mut pending.damages);
        let lost_group = group.map(|(group, _)| group.saturating_sub(1).max(1));
        self.give(pending, group, lost_group)
    }

    /// Gives kept records on. With a group, the last ones, as many as its seal says, belong to it; `lost_group` is the last
    /// that those before may be of.
    fn give(
        &mut self,
        mut pending: Pending,
        group: Option<(u64, u32)>,
        lost_group: Option<u64>,
    ) -> Result<(), WalError> {
        let records = std::mem::take(&mut pending.records);
        let sealed_from = match group {
            Some((_, sealed)) => records.len().saturating_sub(sealed as usize),
            None => records.len(),
        };
        for (index, record) in records.into_iter().enumerate() {
            let group = group.map(|(group, _)| group).filter(|_| index >= sealed_from);
            match group {
                Some(_) => self.log.sealed_records += 1,
                None => self.log.unsealed_records += 1,
            }
            let lost_group = lost_group.filter(|_| group.is_none());
            let position = RecordPosition { lost_group, ..pending.position(record.offset, group) };
            self.sink.record(position, record.bytes)?;
        }
        Ok(())
    }

    fn end_segment(&mut self, len: u64, content_end: u64) -> Result<(), WalError> {
        if self.pending.checkpoint {
            let damages = std::mem::take(&mut self.pending.damages);
            self.checkpoint.get_or_insert_default().damages.extend(damages);
        }
        let pending = std::mem::take(&mut self.pending);
        let doubtful = self.doubtful.take();
        let empty = pending.records.is_empty() && pending.damages.is_empty() && doubtful.is_none();
        let page = super::format::PAGE_BYTES as u64;
        let zeros_from = content_end.div_ceil(page) * page;
        if self.ours && !(empty && len <= zeros_from) {
            let damages = doubtful.iter().flat_map(|doubtful| &doubtful.pending.damages).chain(&pending.damages);
            let what = match (damages.into_iter().next(), &doubtful, pending.records.len()) {
                (Some(damage), ..) => damage.what.clone(),
                (None, Some(_), _) => "records of the group do not give the seal's hash".to_owned(),
                (None, None, 0) => "zeros".to_owned(),
                (None, None, _) => "records without a seal".to_owned(),
            };
            let doubtful_records = doubtful.as_ref().map_or(0, |doubtful| doubtful.pending.records.len());
            let tail = UnsealedTail {
                segment: self.summary.segment,
                offset: self.sealed_end,
                bytes: len - self.sealed_end,
                records: (doubtful_records + pending.records.len()) as u64,
                what,
            };
            self.held.push(Held { tail, doubtful, pending });
        } else if !empty {
            self.pending = pending;
            if len <= MARK_BYTES_MAX && self.pending.damages.first().is_some_and(|damage| damage.offset == 0) {
                // Nothing but its mark was on the way to a segment that was just begun. Where that did not arrive, old
                // bytes of the disk may stand, with whole records of an older log among them.
                self.pending.records.clear();
                self.pending.damages.truncate(1);
                self.pending.damages.iter_mut().for_each(|damage| damage.bytes = content_end);
            }
            // A segment that is no longer than its mark holds nothing, and one that cannot be read may hold anything.
            let may_hold = self.pending.is_unreadable() && len > MARK_BYTES_MAX && !self.pending.checkpoint;
            self.unreadable = may_hold.then_some((self.pending.segment, len)).or(self.unreadable);
            let is_torn = |damage: &mut Damage| {
                damage.offset + damage.bytes == content_end && !(damage.is_unreadable && may_hold)
            };
            let torn = self.pending.damages.pop_if(is_torn);
            self.give_pending(None)?;
            if let Some(earlier) = std::mem::replace(&mut self.foreign_tail, torn) {
                self.log.damages.push(earlier);
            }
        }
        let summary = SegmentSummary { bytes: len, ..std::mem::take(&mut self.summary) };
        self.log.segments.push(summary);
        Ok(())
    }

    /// Decides about the end of the log where the disk refused to give some of it: any number of groups may stand there
    /// that were acknowledged. They are lost groups, and none that is written from now on gets the number of one; nor where
    /// an earlier start has noted them, set aside what it could not read, and then wrote nothing.
    fn settle_lost_end(&mut self) -> Result<(), WalError> {
        let is_noted = self.noted_behind().is_some();
        let is_lost = |held: &mut Held| is_noted || held.pending.is_unreadable();
        if let Some(Held { tail, doubtful, pending }) = self.held.pop_if(is_lost) {
            if let Some(doubtful) = doubtful {
                self.confirm(doubtful)?;
            }
            // No group is shorter than a byte.
            let noted = self.noted_behind().filter(|_| !pending.is_unreadable());
            let lost = self.lose_groups(noted.unwrap_or(tail.bytes));
            self.give_lost(pending, lost)?;
        }
        if let Some((segment, bytes)) = self.unreadable.take() {
            let groups = Some(self.lose_groups(bytes));
            let is_of = |damage: &&mut Damage| damage.is_unreadable && damage.segment == segment && !damage.checkpoint;
            self.log.damages.iter_mut().filter(is_of).for_each(|damage| damage.groups = groups);
        }
        if let Some(groups) = self.noted_behind() {
            self.lose_groups(groups);
        }
        Ok(())
    }

    /// How many groups directly behind the last one an earlier start has found lost.
    fn noted_behind(&self) -> Option<u64> {
        let last = self.last.map_or(0, |last| last.group);
        let behind =
            |&(first, noted): &(u64, u64)| Some(noted.checked_sub(last)?).filter(|_| first <= last.saturating_add(1));
        self.known_damaged.iter().filter_map(behind).max().filter(|groups| *groups > 0)
    }

    /// Takes so many groups behind the last seal for lost, at least one. Gives their numbers.
    fn lose_groups(&mut self, groups: u64) -> (u64, u64) {
        let last = self.last.map_or(0, |last| last.group);
        let lost = (last.saturating_add(1), last.saturating_add(groups.max(1)));
        self.last = Some(Witness { group: lost.1, chain: UNKNOWN_CHAIN });
        self.are_commits_lost = true;
        lost
    }

    fn finish(mut self) -> Result<LogScan, WalError> {
        self.settle_lost_end()?;
        let mut torn = self.held.pop().map(|held| held.tail);
        self.log.abandoned.extend(self.held.drain(..).map(|held| held.tail));
        if let Some(damage) = self.foreign_tail.take() {
            let Damage { segment, offset, bytes, what, checkpoint, .. } = damage.clone();
            if checkpoint || torn.is_some() {
                self.log.damages.push(damage);
            } else {
                torn = Some(UnsealedTail { segment, offset, bytes, records: 0, what });
            }
        }
        let skipped = if self.are_commits_lost || (self.durability != Durability::Fsync && !self.clean_end) {
            COMMITS_SKIPPED_UNSYNCED
        } else if torn.is_some() || !self.log.abandoned.is_empty() {
            COMMITS_SKIPPED_TORN
        } else {
            0
        };
        let last = self.last.unwrap_or(Witness { group: 0, chain: 0 });
        self.log.resume = Resume {
            next_group: last.group.saturating_add(1),
            chain: last.chain,
            next_commit: self.next_commit.saturating_add(skipped),
            next_segment: 0,
        };
        self.log.torn_tail = torn;
        Ok(self.log)
    }
}
