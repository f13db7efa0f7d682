//! Reads a whole log: records, groups, seals, and what is damaged. Never writes.
//!
//! The records of a group are given on when their seal was read. So a newest group without a seal is not given on: it
//! was not acknowledged, or not yet. A segment that carries neither mark nor seal is foreign (Prometheus wrote it), and
//! its records are given on as they are.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::commit::Durability;
use super::group_writer::Resume;
use super::options::WalError;
use super::reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
use super::record::{RecordType, split};
use super::seal::{GroupHasher, Mark, Seal, SealRecord};
use crate::fs::Fs;

/// Bytes of records without a seal that are kept back, at most. Beyond it they are given on as unsealed.
const PENDING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Seals that are remembered, to tell a group that was written again.
const RECENT_SEALS: usize = 256;
/// Commit numbers passed over where the newest group was torn.
const COMMITS_SKIPPED_TORN: u64 = 1 << 20;
/// Commit numbers passed over where acknowledged groups may be missing: the log was not synced before they were
/// acknowledged. More than a few segments can hold.
const COMMITS_SKIPPED_UNSYNCED: u64 = 1 << 24;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPosition {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Where the record begins.
    pub offset: u64,
    /// Whether it stands in a checkpoint.
    pub checkpoint: bool,
    /// The group whose seal covers it; `None` for a record that no seal covers.
    pub group: Option<u64>,
}

/// Who gets what the log holds, in the order of the log.
pub trait ReplaySink {
    /// A record, type byte first. Seals and marks are not among them.
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError>;

    /// A seal, behind the records of its group. `intact`: the group's records give the seal's hash, and the seal
    /// follows the one before it.
    fn seal(&mut self, _position: RecordPosition, _seal: &Seal, _intact: bool) -> Result<(), WalError> {
        Ok(())
    }
}

/// How far a replay is. Any thread may read it.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    /// Files of the log.
    pub segments_total: AtomicU64,
    /// Files that were read to their end.
    pub segments_done: AtomicU64,
    /// Bytes of these files.
    pub bytes_total: AtomicU64,
    /// Bytes that were read.
    pub bytes_done: AtomicU64,
}

/// Something in the log that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Whether it lies in a checkpoint.
    pub checkpoint: bool,
    /// Where the damage begins.
    pub offset: u64,
    /// Bytes that could not be read; 0 where something is missing or does not fit.
    pub bytes: u64,
    /// What was found.
    pub what: String,
    /// The groups that lost records, first and last; `None` where no seal tells.
    pub groups: Option<(u64, u64)>,
}

/// The end of a segment that no seal covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedTail {
    /// Number of the segment.
    pub segment: u32,
    /// Where the tail begins: behind the last seal or mark.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Whole records in it.
    pub records: u64,
    /// What stands there.
    pub what: String,
}

/// What was read of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Number of the segment, or of the file within the checkpoint.
    pub segment: u32,
    /// Whether it belongs to the checkpoint.
    pub checkpoint: bool,
    /// Its length.
    pub bytes: u64,
    /// Readable records, seals and marks included.
    pub records: u64,
    /// Bytes of these records before compression.
    pub record_bytes: u64,
    /// Seals.
    pub seals: u64,
    /// Whether it begins with a mark of ours.
    pub marked: bool,
    /// Its first and last sealed group.
    pub groups: Option<(u64, u64)>,
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogScan {
    /// Every file that was read.
    pub segments: Vec<SegmentSummary>,
    /// Where writing goes on.
    pub resume: Resume,
    /// Everything that should be otherwise, in the order of the log.
    pub damages: Vec<Damage>,
    /// What stands behind the last seal of the log. Beside a running server: the group in flight. Otherwise a group
    /// that a crash interrupted.
    pub torn_tail: Option<UnsealedTail>,
    /// Tails of earlier segments, given up after a failed write; what they hold was written again.
    pub abandoned: Vec<UnsealedTail>,
    /// First and last sealed group.
    pub groups: Option<(u64, u64)>,
    /// Sealed groups.
    pub sealed_groups: u64,
    /// Acknowledged requests in them.
    pub requests: u64,
    /// Samples that their seals tell.
    pub sealed_samples: u64,
    /// Records that a seal covers.
    pub sealed_records: u64,
    /// Records that no seal covers: of a log that Prometheus wrote.
    pub unsealed_records: u64,
    /// Records of a type that is not known.
    pub unknown_records: u64,
    /// Groups that stood in the log a second time.
    pub repeated_groups: u64,
    /// The first segments that are missing: first and last of each gap.
    pub missing: Vec<(u32, u32)>,
}

impl LogScan {
    /// Records given on.
    pub fn records(&self) -> u64 {
        self.sealed_records + self.unsealed_records
    }
}

/// Reads the log in `dir`. It may be written meanwhile: what is appended after the files were listed is not read.
pub fn scan(
    fs: &dyn Fs,
    dir: &Path,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<LogScan, WalError> {
    let files = LogFiles::list(fs, dir)?;
    progress.segments_total.store(files.files.len() as u64, Ordering::Relaxed);
    progress.bytes_total.store(files.files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
    let mut scanner = Scanner::new(sink);
    scanner.log.missing.clone_from(&files.missing);
    for &(first, last) in &files.missing {
        scanner.log.damages.push(Damage {
            segment: first,
            checkpoint: false,
            offset: 0,
            bytes: 0,
            what: if first == last {
                "segment is missing".into()
            } else {
                format!("segments to {last:08} are missing")
            },
            groups: None,
        });
    }
    let mut bytes_done = 0;
    for file in &files.files {
        scanner.file(fs, file, |position| progress.bytes_done.store(bytes_done + position, Ordering::Relaxed))?;
        bytes_done += file.bytes;
        progress.bytes_done.store(bytes_done, Ordering::Relaxed);
        progress.segments_done.fetch_add(1, Ordering::Relaxed);
    }
    let mut log = scanner.finish()?;
    log.resume.next_segment = files.next_segment;
    Ok(log)
}

/// What stands behind the last seal or mark of the segment that is being read.
#[derive(Debug, Default)]
struct Pending {
    /// Offsets and bytes of whole records.
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    damages: Vec<Damage>,
}

/// The unsealed end of a segment of ours, until it is known what became of it.
#[derive(Debug)]
struct Held {
    tail: UnsealedTail,
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
    log: LogScan,
    last: Option<Witness>,
    recent: VecDeque<(u64, u128, bool)>,
    next_commit: u64,
    clean_end: bool,
    durability: Durability,
    held: Vec<Held>,
    pending: Pending,
    summary: SegmentSummary,
    /// End of the last seal or mark in this segment.
    sealed_end: u64,
    /// Whether this segment carries a mark or a seal.
    ours: bool,
    /// A foreign segment's damage at its very end: a torn tail, if nothing readable follows.
    foreign_tail: Option<Damage>,
}

impl<'a> Scanner<'a> {
    fn new(sink: &'a mut dyn ReplaySink) -> Self {
        Scanner {
            sink,
            log: LogScan::default(),
            last: None,
            recent: VecDeque::new(),
            next_commit: 1,
            clean_end: true,
            durability: Durability::Fsync,
            held: Vec::new(),
            pending: Pending::default(),
            summary: SegmentSummary::default(),
            sealed_end: 0,
            ours: false,
            foreign_tail: None,
        }
    }

    fn position(&self, offset: u64, group: Option<u64>) -> RecordPosition {
        RecordPosition { segment: self.summary.segment, checkpoint: self.summary.checkpoint, offset, group }
    }

    fn damage(&self, offset: u64, bytes: u64, what: impl Into<String>, groups: Option<(u64, u64)>) -> Damage {
        let (segment, checkpoint) = (self.summary.segment, self.summary.checkpoint);
        Damage { segment, checkpoint, offset, bytes, what: what.into(), groups }
    }

    fn file(&mut self, fs: &dyn Fs, file: &LogFile, mut progress: impl FnMut(u64)) -> Result<(), WalError> {
        let mut reader = match SegmentReader::open(fs, &file.path) {
            // Removed since it was listed: by the server, beside which this reads.
            Err(WalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        self.summary =
            SegmentSummary { segment: file.number, checkpoint: file.checkpoint, ..SegmentSummary::default() };
        (self.sealed_end, self.ours) = (0, false);
        loop {
            match reader.next_event() {
                SegmentEvent::Record { offset, end, bytes } => {
                    self.record(offset, end, bytes)?;
                    progress(end);
                }
                SegmentEvent::Damage { offset, end, what } => {
                    let damage = self.damage(offset, end - offset, what, None);
                    self.pending.damages.push(damage);
                }
                SegmentEvent::End { len, content_end } => {
                    self.summary.bytes = len;
                    return self.end_segment(len, content_end);
                }
            }
        }
    }

    fn record(&mut self, offset: u64, end: u64, bytes: Vec<u8>) -> Result<(), WalError> {
        if let Some(torn) = self.foreign_tail.take() {
            self.log.damages.push(torn);
        }
        self.summary.records += 1;
        self.summary.record_bytes += bytes.len() as u64;
        let (kind, body) = split(&bytes);
        if kind == Some(RecordType::Seal) {
            match SealRecord::decode(body) {
                Ok(SealRecord::Seal(seal)) => self.seal(offset, seal)?,
                Ok(SealRecord::Mark(mark)) => self.mark(offset, mark)?,
                Err(corruption) => {
                    let damage = self.damage(offset, end - offset, corruption.what, None);
                    self.pending.damages.push(damage);
                    return Ok(());
                }
            }
            (self.sealed_end, self.ours) = (end, true);
            return Ok(());
        }
        if !self.ours && !self.held.is_empty() {
            // Prometheus went on behind a log of ours, and has read what stood there.
            self.release_held(None)?;
        }
        self.log.unknown_records += u64::from(kind.is_none());
        self.pending.bytes += bytes.len();
        self.pending.records.push((offset, bytes));
        if self.pending.bytes > PENDING_BYTES_MAX {
            self.give_pending(None)?;
        }
        Ok(())
    }

    fn mark(&mut self, offset: u64, mark: Mark) -> Result<(), WalError> {
        self.summary.marked |= offset == 0;
        self.next_commit = self.next_commit.max(mark.next_commit);
        // A mark is the first thing in its segment. What stands before it is not of its making.
        self.give_pending(None)?;
        match self.last {
            Some(last) if mark.group > last.group => {
                let groups = (last.group + 1, mark.group);
                self.lost_groups(offset, groups)?;
            }
            Some(last) if mark.group == last.group && mark.chain != last.chain => {
                let what = "segment follows another seal of the same number";
                let damage = self.damage(offset, 0, what, Some((mark.group, mark.group)));
                self.log.damages.push(damage);
                self.abandon_held();
            }
            _ => self.abandon_held(),
        }
        if self.last.is_none_or(|last| last.group < mark.group) {
            self.last = Some(Witness { group: mark.group, chain: mark.chain });
        }
        Ok(())
    }

    /// Groups are missing whose durability a later seal or mark proves. What is readable of them is given on.
    fn lost_groups(&mut self, offset: u64, groups: (u64, u64)) -> Result<(), WalError> {
        let explained = self.held.iter().any(|held| !held.pending.damages.is_empty());
        if !explained {
            let at = self.held.last().map(|held| (held.tail.segment, held.tail.offset));
            let mut damage = self.damage(offset, 0, "groups are missing", Some(groups));
            if let Some((segment, offset)) = at {
                (damage.segment, damage.offset) = (segment, offset);
            }
            self.log.damages.push(damage);
        }
        self.release_held(Some(groups))
    }

    fn seal(&mut self, offset: u64, seal: Seal) -> Result<(), WalError> {
        let mut intact = true;
        if !self.held.is_empty() {
            // No mark decided: it was lost. The seal says as much.
            match self.last {
                Some(last) if seal.group > last.group + 1 => {
                    self.lost_groups(offset, (last.group + 1, seal.group - 1))?
                }
                _ => self.abandon_held(),
            }
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
                        let damages = std::mem::take(&mut self.pending).damages;
                        self.log.damages.extend(damages);
                        return Ok(());
                    }
                } else if known.is_some() || self.summary.groups.is_some() {
                    intact = false;
                    let groups = Some((seal.group, seal.group));
                    let damage = self.damage(offset, 0, "group number appears again with another chain value", groups);
                    self.log.damages.push(damage);
                }
            }
            Some(last) if seal.group > last.group + 1 => first_lost = last.group + 1,
            Some(last) if seal.previous_chain != last.chain => {
                intact = false;
                let what = "seal does not follow the chain value before it";
                let damage = self.damage(offset, 0, what, Some((seal.group, seal.group)));
                self.log.damages.push(damage);
            }
            _ => {}
        }
        let records_intact = self.covers_pending(&seal);
        if !self.pending.damages.is_empty() {
            // The damage may have cost earlier groups their seals, and this one nothing.
            let last_lost = if records_intact { seal.group.saturating_sub(1) } else { seal.group };
            let groups = (first_lost <= last_lost).then_some((first_lost, last_lost));
            for damage in &mut self.pending.damages {
                damage.groups = groups;
            }
        } else if first_lost < seal.group {
            let groups = Some((first_lost, seal.group - 1));
            let damage = self.damage(offset, 0, "groups are missing", groups);
            self.log.damages.push(damage);
        }
        if !records_intact && self.pending.damages.is_empty() {
            let groups = Some((seal.group, seal.group));
            let damage = self.damage(offset, 0, "records of the group do not give the seal's hash", groups);
            self.log.damages.push(damage);
        }
        intact &= records_intact;
        self.give_pending(Some((seal.group, seal.records)))?;
        let position = self.position(offset, Some(seal.group));
        self.sink.seal(position, &seal, intact)?;
        self.count_seal(&seal, intact);
        Ok(())
    }

    /// Whether the last records before the seal give its hash.
    fn covers_pending(&self, seal: &Seal) -> bool {
        let Some(first) = self.pending.records.len().checked_sub(seal.records as usize) else {
            return false;
        };
        let mut hasher = GroupHasher::default();
        for (_, record) in self.pending.records.iter().skip(first) {
            hasher.push(record);
        }
        hasher.hash() == seal.records_hash
    }

    fn count_seal(&mut self, seal: &Seal, intact: bool) {
        let log = &mut self.log;
        log.sealed_groups += 1;
        log.requests += seal.requests.len() as u64;
        log.sealed_samples = log.sealed_samples.wrapping_add(seal.samples);
        log.groups = Some((log.groups.map_or(seal.group, |(first, _)| first), seal.group));
        let summary = &mut self.summary;
        summary.seals += 1;
        summary.groups = Some((summary.groups.map_or(seal.group, |(first, _)| first), seal.group));
        self.next_commit = self.next_commit.max(seal.next_commit);
        self.clean_end = seal.clean_end;
        self.durability = seal.durability;
        self.last = Some(Witness { group: seal.group, chain: seal.chain });
        if self.recent.len() == RECENT_SEALS {
            self.recent.pop_front();
        }
        self.recent.push_back((seal.group, seal.chain, intact));
    }

    /// Gives the kept records on. With a group, the last ones, as many as the seal says, belong to it.
    fn give_pending(&mut self, group: Option<(u64, u32)>) -> Result<(), WalError> {
        let pending = std::mem::take(&mut self.pending);
        self.log.damages.extend(pending.damages);
        let sealed_from = match group {
            Some((_, records)) => pending.records.len().saturating_sub(records as usize),
            None => pending.records.len(),
        };
        for (index, (offset, record)) in pending.records.into_iter().enumerate() {
            let group = group.map(|(group, _)| group).filter(|_| index >= sealed_from);
            match group {
                Some(_) => self.log.sealed_records += 1,
                None => self.log.unsealed_records += 1,
            }
            let position = self.position(offset, group);
            self.sink.record(position, record)?;
        }
        Ok(())
    }

    fn end_segment(&mut self, len: u64, content_end: u64) -> Result<(), WalError> {
        let empty = self.pending.records.is_empty() && self.pending.damages.is_empty();
        let page = super::format::PAGE_BYTES as u64;
        let zeros_from = content_end.div_ceil(page) * page;
        if self.ours && !(empty && len <= zeros_from) {
            let pending = std::mem::take(&mut self.pending);
            let what = match (pending.damages.first(), pending.records.len()) {
                (Some(damage), _) => damage.what.clone(),
                (None, 0) => "zeros".to_owned(),
                (None, _) => "records without a seal".to_owned(),
            };
            let tail = UnsealedTail {
                segment: self.summary.segment,
                offset: self.sealed_end,
                bytes: len - self.sealed_end,
                records: pending.records.len() as u64,
                what,
            };
            self.held.push(Held { tail, pending });
        } else if !empty {
            let torn = self.pending.damages.pop_if(|damage| damage.offset + damage.bytes == content_end);
            self.give_pending(None)?;
            if let Some(earlier) = std::mem::replace(&mut self.foreign_tail, torn) {
                self.log.damages.push(earlier);
            }
        }
        let summary = std::mem::take(&mut self.summary);
        self.log.segments.push(summary);
        Ok(())
    }

    /// What is held was given up by the writer and written again: not damage.
    fn abandon_held(&mut self) {
        self.log.abandoned.extend(self.held.drain(..).map(|held| held.tail));
    }

    /// What is held was durable: its records are given on, its damage is damage.
    fn release_held(&mut self, groups: Option<(u64, u64)>) -> Result<(), WalError> {
        for held in std::mem::take(&mut self.held) {
            for mut damage in held.pending.damages {
                damage.groups = groups;
                self.log.damages.push(damage);
            }
            for (offset, record) in held.pending.records {
                self.log.unsealed_records += 1;
                let position = RecordPosition { segment: held.tail.segment, checkpoint: false, offset, group: None };
                self.sink.record(position, record)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<LogScan, WalError> {
        let mut torn = self.held.pop().map(|held| held.tail);
        self.abandon_held();
        if let Some(damage) = self.foreign_tail.take() {
            let Damage { segment, offset, bytes, what, checkpoint, .. } = damage.clone();
            if checkpoint || torn.is_some() {
                self.log.damages.push(damage);
            } else {
                torn = Some(UnsealedTail { segment, offset, bytes, records: 0, what });
            }
        }
        let skipped = if self.log.sealed_groups > 0 && self.durability != Durability::Fsync && !self.clean_end {
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
