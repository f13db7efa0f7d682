//! Opens a log for writing: replays it, cuts the torn tail, sets damage aside.
//!
//! Bytes are never thrown away: before a segment is cut or replaced, what goes is copied to `quarantine/` with a note
//! that says where it stood and which groups it cost. A damaged segment is replaced, atomically, by one that holds all
//! of its readable records, so that Prometheus can replay the log too. Where the disk refused to give some of it, the
//! segment itself is kept in quarantine: another time, or with other tools, it may be read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::remove_unfinished;
use super::contents::{Damage, LogScan, ReplayProgress, ReplaySink, SegmentSummary, UnsealedTail};
use super::group_writer::Resume;
use super::lost::lost_times;
use super::options::{Compression, WalError};
use super::reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
use super::scan::scan_files;
use super::summary::ReplayFrom;
use super::writer::{RecordCompressor, SegmentWriter};
use crate::fs::{Fs, names};
use crate::model::{TimeRange, TimestampMs};

/// What to do about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Set it aside, start, and say what is missing.
    #[default]
    Salvage,
    /// Refuse to start, and change nothing. A torn tail is no damage: every crash may leave one.
    Strict,
}

/// What is known of a log from elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogKnown {
    /// Where given, the log's in-order samples up to it are not needed: of segments that hold no others only the other
    /// records are read, and damage in them is not looked for. Strict recovery reads everything.
    pub from: Option<ReplayFrom>,
    /// What left the log. `None`: nothing says so, and the oldest file that is there is taken for the first.
    pub left: Option<LeftBefore>,
}

/// What left a log, as the ledger says.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeftBefore {
    /// The last segment that left: a checkpoint stands for it. `None` where none did.
    pub up_to_segment: Option<u32>,
    /// The same, where the checkpoint is of ours and not of another program, as far as the ledger still tells.
    pub checkpoint: Option<u32>,
    /// The last group that the ledger knows of.
    pub last_group: u64,
}

impl LeftBefore {
    /// The damage of a log whose oldest files have vanished. A checkpoint, whoever made it, says itself what it stands
    /// for; and it is durable before the ledger knows of it, and until there is a newer one. Each has a file, and one of
    /// ours has records.
    fn vanished(self, files: &LogFiles, log: &LogScan) -> Option<Damage> {
        let is_of_checkpoint =
            |summary: &SegmentSummary| summary.checkpoint && (summary.records > 0 || !self.made(files));
        let is_read = log.segments.iter().any(is_of_checkpoint) || log.damages.iter().any(|damage| damage.checkpoint);
        let last_group = match (log.follows, self.up_to_segment) {
            _ if is_read => None,
            (Some(0), _) | (None, None) => None,
            (Some(follows), _) => Some(follows),
            (None, Some(_)) => Some(self.last_group.max(1)),
        }?;
        let first = files.files.iter().find(|file| !file.checkpoint).map(|file| file.number);
        Some(Damage {
            segment: first.or(self.up_to_segment).unwrap_or_default(),
            what: match files.checkpoint.or(self.up_to_segment) {
                Some(number) => format!("the checkpoint of the segments up to {number:08} is missing"),
                None => "the first segments are missing".to_owned(),
            },
            groups: Some((1, last_group)),
            ..Damage::default()
        })
    }

    /// Whether this program made the checkpoint that is there.
    fn made(self, files: &LogFiles) -> bool {
        files.checkpoint.is_some() && files.checkpoint == self.checkpoint
    }
}

/// What recovery found and did.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// What the log holds.
    pub log: LogScan,
    /// Where writing goes on.
    pub resume: Resume,
    /// The interrupted group that was cut from the end; its bytes are in quarantine.
    pub torn_tail: Option<UnsealedTail>,
    /// Damage that was found now and set aside.
    pub damages: Vec<Damage>,
    /// What is noted about each of these.
    pub noted: Vec<QuarantineNote>,
    /// Damage that was set aside at earlier starts, from the notes in quarantine.
    pub known: Vec<QuarantineNote>,
    /// Why tails and damage could not be set aside, on a full disk say. They stay where they are, the log can be
    /// written, and the next start tries again.
    pub repair_failure: Option<String>,
}

/// The note beside bytes in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineNote {
    /// `damage`, `torn_tail` or `abandoned`.
    pub kind: String,
    /// Number of the segment.
    pub segment: u32,
    /// Whether the segment belonged to a checkpoint.
    #[serde(default)]
    pub checkpoint: bool,
    /// Where the bytes stood.
    pub offset: u64,
    /// How many there were.
    pub bytes: u64,
    /// What was found.
    pub reason: String,
    /// The groups that lost records: first and last.
    pub groups: Option<(u64, u64)>,
    /// The file with the bytes, in the same directory.
    pub file: String,
    /// Whether acknowledged samples may be missing because of it.
    #[serde(default)]
    pub is_lossy: bool,
    /// The oldest of these, as far as the samples around it tell; `None` where nothing does.
    #[serde(default)]
    pub min_time_ms: Option<TimestampMs>,
    /// The newest of these, likewise.
    #[serde(default)]
    pub max_time_ms: Option<TimestampMs>,
    /// Whether the file with the bytes is there. A person takes it away who has done with the matter; the note stays, as
    /// it tells the next start that the damage is known.
    #[serde(skip)]
    pub is_open: bool,
    /// Whether the disk refused to give the bytes.
    #[serde(skip)]
    pub is_unreadable: bool,
}

impl QuarantineNote {
    /// The note of a damage, with the times of the samples that it may have cost.
    fn of(damage: &Damage, lost: Option<TimeRange>) -> Self {
        QuarantineNote {
            is_lossy: lost.is_some(),
            min_time_ms: lost.map(|lost| lost.start_ms).filter(|at_ms| *at_ms != TimestampMs::MIN),
            max_time_ms: lost.map(|lost| lost.end_ms).filter(|at_ms| *at_ms != TimestampMs::MAX),
            is_open: true,
            kind: KIND_DAMAGE.into(),
            segment: damage.segment,
            checkpoint: damage.checkpoint,
            offset: damage.offset,
            bytes: damage.bytes,
            reason: damage.what.clone(),
            groups: damage.groups,
            file: String::new(),
            is_unreadable: damage.is_unreadable,
        }
    }

    /// The times of the samples that are missing because of it, unless there are none, or a person has closed it.
    pub fn lost(&self) -> Option<TimeRange> {
        let range =
            TimeRange::new(self.min_time_ms.unwrap_or(TimestampMs::MIN), self.max_time_ms.unwrap_or(TimestampMs::MAX));
        (self.is_lossy && self.is_open).then_some(range)
    }

    fn explains(&self, damage: &Damage) -> bool {
        let covers = |outer: (u64, u64), inner: (u64, u64)| outer.0 <= inner.0 && inner.1 <= outer.1;
        match (self.groups, damage.groups) {
            (Some(noted), Some(lost)) => damage.bytes == 0 && self.kind == KIND_DAMAGE && covers(noted, lost),
            _ => false,
        }
    }

    /// Whether the damage is known from the note, repaired or not.
    pub(super) fn knows(&self, damage: &Damage) -> bool {
        let place = (damage.segment, damage.checkpoint, damage.offset, damage.bytes);
        let is_there = (self.segment, self.checkpoint, self.offset, self.bytes) == place && self.kind == KIND_DAMAGE;
        is_there || self.explains(damage)
    }
}

const KIND_DAMAGE: &str = "damage";
const KIND_TORN: &str = "torn_tail";
const KIND_ABANDONED: &str = "abandoned";
/// Ending of a clean copy that is not yet in place. Prometheus ignores files that are not numbers.
const REPAIR_SUFFIX: &str = "repair";
/// Ending of a whole segment in quarantine.
const SEGMENT_SUFFIX: &str = "segment";
/// Bytes that are tried by themselves where more could not be read.
const READ_BYTES_MIN: usize = 4096;
/// Segments behind which nothing may be unsynced: the newest ones.
const SEGMENTS_SYNCED: usize = 4;
/// Missing segments that are replaced by empty ones, at most.
const MISSING_FILLED_MAX: u32 = 1024;

/// Replays the log in `wal_dir` into `sink` and makes it ready for a writer.
pub fn recover(
    fs: &dyn Fs,
    wal_dir: &Path,
    quarantine_dir: &Path,
    mode: RecoveryMode,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<Recovery, WalError> {
    recover_from(fs, wal_dir, quarantine_dir, mode, LogKnown::default(), sink, progress)
}

/// As [`recover`], where something is known of the log.
pub fn recover_from(
    fs: &dyn Fs,
    wal_dir: &Path,
    quarantine_dir: &Path,
    mode: RecoveryMode,
    known: LogKnown,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<Recovery, WalError> {
    // Who refuses to start on damage has to look for it.
    let known = LogKnown { from: known.from.filter(|_| mode != RecoveryMode::Strict), ..known };
    let LogLook { log, damages, known } = look(fs, wal_dir, quarantine_dir, known, sink, progress)?;
    if mode == RecoveryMode::Strict
        && let Some(damage) = damages.first()
    {
        return Err(WalError::Damaged {
            what: damage.what.clone(),
            segment: damage.segment,
            offset: damage.offset,
            data_dir: wal_dir.parent().unwrap_or(wal_dir).to_owned(),
        });
    }
    let lost = lost_times(fs, wal_dir, &log, &damages)?;
    let noted: Vec<_> = damages.iter().zip(lost).map(|(damage, lost)| QuarantineNote::of(damage, lost)).collect();
    let repair = Repair { fs, wal_dir, quarantine_dir };
    let repair_failure = repair.run(&log, &noted).err().map(|error| error.to_string());
    repair.sync_newest()?;
    let (resume, torn_tail) = (log.resume, log.torn_tail.clone());
    Ok(Recovery { log, resume, torn_tail, damages, noted, known, repair_failure })
}

/// What a look at a log found.
#[derive(Debug, Clone, Default)]
pub struct LogLook {
    /// What the log holds.
    pub log: LogScan,
    /// Damage that no start has set aside yet.
    pub damages: Vec<Damage>,
    /// Damage that was set aside at earlier starts, from the notes in quarantine.
    pub known: Vec<QuarantineNote>,
}

/// Replays the log in `wal_dir` into `sink` as [`recover_from`] does, and changes nothing.
pub fn look(
    fs: &dyn Fs,
    wal_dir: &Path,
    quarantine_dir: &Path,
    LogKnown { from, left }: LogKnown,
    sink: &mut dyn ReplaySink,
    progress: &ReplayProgress,
) -> Result<LogLook, WalError> {
    let mut known = read_notes(fs, quarantine_dir);
    // Tails that a crash tore are no damage, and there may be one for every crash.
    known.retain(|note| note.kind == KIND_DAMAGE);
    let files = LogFiles::list(fs, wal_dir)?;
    let damaged_groups = known.iter().filter_map(|note| note.groups).collect();
    let mut log = scan_files(fs, &files, sink, progress, damaged_groups, from.map(|from| (wal_dir, from)))?;
    if let Some(vanished) = left.and_then(|left| left.vanished(&files, &log)) {
        log.damages.insert(0, vanished);
    }
    let is_new = |damage: &&Damage| !known.iter().any(|note| note.explains(damage));
    let damages = log.damages.iter().filter(is_new).cloned().collect();
    Ok(LogLook { log, damages, known })
}

/// The notes in quarantine that can be read.
pub fn read_notes(fs: &dyn Fs, quarantine_dir: &Path) -> Vec<QuarantineNote> {
    let entries = fs.list(quarantine_dir).unwrap_or_default();
    let notes = entries.iter().filter(|entry| entry.name.starts_with("wal-") && entry.name.ends_with(".json"));
    let note = |name: &str| serde_json::from_slice(&fs.read(&quarantine_dir.join(name)).ok()?).ok();
    let with_bytes = |note: QuarantineNote| {
        let is_open = entries.iter().any(|entry| entry.name == note.file);
        QuarantineNote { is_open, ..note }
    };
    notes.filter_map(|entry| note(&entry.name)).map(with_bytes).collect()
}

/// Copies damaged bytes of a log that is in use to quarantine, with notes; what earlier notes explain is left out. The
/// log stays as it is.
pub(super) fn set_aside(
    fs: &dyn Fs,
    wal_dir: &Path,
    quarantine_dir: &Path,
    damages: &[Damage],
) -> Result<(), WalError> {
    let known = read_notes(fs, quarantine_dir);
    let repair = Repair { fs, wal_dir, quarantine_dir };
    let new: Vec<_> = damages.iter().filter(|damage| !known.iter().any(|note| note.explains(damage))).collect();
    for damage in &new {
        // The head has what they held.
        repair.quarantine(QuarantineNote::of(damage, None))?;
    }
    if new.is_empty() {
        return Ok(());
    }
    fs.sync_dir(quarantine_dir).map_err(WalError::io("fsync", quarantine_dir))
}

/// What has to change in one segment.
#[derive(Debug, Default)]
struct SegmentPlan {
    cut_at: Option<u64>,
    /// Stretches that a clean copy leaves out.
    damaged: Vec<Range<u64>>,
    /// Those of them that the disk refused to give.
    unreadable: Vec<Range<u64>>,
    /// Whether the segment itself has a name in quarantine: then it must not be changed in place.
    is_kept: bool,
}

impl SegmentPlan {
    fn is_cut(&self, offset: u64) -> bool {
        self.cut_at.is_some_and(|cut_at| offset >= cut_at)
    }

    /// Whether a stretch that cannot be read is known.
    fn knows(&self, offset: u64, end: u64) -> bool {
        let covers = |range: &Range<u64>| range.start <= offset && end <= range.end;
        offset == end || self.is_cut(offset) || self.damaged.iter().any(covers)
    }
}

struct Repair<'a> {
    fs: &'a dyn Fs,
    wal_dir: &'a Path,
    quarantine_dir: &'a Path,
}

impl Repair<'_> {
    fn run(&self, log: &LogScan, damages: &[QuarantineNote]) -> Result<(), WalError> {
        self.remove_unfinished_copies()?;
        remove_unfinished(self.fs, self.wal_dir)?;
        let mut plans: BTreeMap<(bool, u32), SegmentPlan> = BTreeMap::new();
        for (kind, tail) in log
            .abandoned
            .iter()
            .map(|tail| (KIND_ABANDONED, tail))
            .chain(log.torn_tail.iter().map(|tail| (KIND_TORN, tail)))
        {
            let plan = plans.entry((false, tail.segment)).or_default();
            plan.cut_at = Some(tail.offset);
            plan.is_kept |= self.quarantine(QuarantineNote {
                kind: kind.into(),
                segment: tail.segment,
                checkpoint: false,
                offset: tail.offset,
                bytes: tail.bytes,
                reason: tail.what.clone(),
                ..QuarantineNote::default()
            })?;
        }
        for damage in damages {
            let plan = plans.entry((damage.checkpoint, damage.segment)).or_default();
            plan.is_kept |= self.quarantine(damage.clone())?;
            let range = damage.offset..damage.offset + damage.bytes;
            if damage.is_unreadable {
                plan.unreadable.push(range.clone());
            }
            if damage.bytes > 0 {
                plan.damaged.push(range);
            }
        }
        if !plans.is_empty() {
            self.fs.sync_dir(self.quarantine_dir).map_err(WalError::io("fsync", self.quarantine_dir))?;
        }
        let files = LogFiles::list(self.fs, self.wal_dir)?;
        for ((checkpoint, number), plan) in &plans {
            let file = files.files.iter().find(|file| file.checkpoint == *checkpoint && file.number == *number);
            let Some(file) = file else {
                continue;
            };
            if !plan.damaged.is_empty() || plan.is_kept {
                self.rewrite(&file.path, *number, plan)?;
            } else if let Some(len) = plan.cut_at {
                let mut open = self.fs.append(&file.path).map_err(WalError::io("open", &file.path))?;
                open.truncate(len).map_err(WalError::io("truncate", &file.path))?;
                open.sync_data().map_err(WalError::io("fdatasync", &file.path))?;
            }
        }
        // Prometheus refuses a log whose numbers have gaps.
        for number in
            log.missing.iter().flat_map(|&(first, last)| first..=last.min(first.saturating_add(MISSING_FILLED_MAX)))
        {
            let path = names::wal_segment(self.wal_dir, number);
            let mut empty = self.fs.create(&path).map_err(WalError::io("create", &path))?;
            empty.sync_data().map_err(WalError::io("fdatasync", &path))?;
        }
        Ok(())
    }

    /// A start that was interrupted while it repaired leaves a copy that is not in place.
    fn remove_unfinished_copies(&self) -> Result<(), WalError> {
        let suffix = format!(".{REPAIR_SUFFIX}");
        let entries = self.fs.list(self.wal_dir).unwrap_or_default();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            if entry.name.strip_suffix(&suffix).and_then(names::parse_wal_segment).is_some() {
                let path = self.wal_dir.join(&entry.name);
                self.fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Copies bytes to quarantine, with their note. Both are durable before this returns, their names after the
    /// directory was synced. Where the disk refuses to give some of them, the segment itself gets a second name there;
    /// says whether it did.
    fn quarantine(&self, mut note: QuarantineNote) -> Result<bool, WalError> {
        if !self.fs.exists(self.quarantine_dir) {
            self.fs.create_dir_all(self.quarantine_dir).map_err(WalError::io("create", self.quarantine_dir))?;
            if let Some(parent) = self.quarantine_dir.parent() {
                self.fs.sync_dir(parent).map_err(WalError::io("fsync", parent))?;
            }
        }
        let prefix = if note.checkpoint { "wal-checkpoint" } else { "wal" };
        let stem = format!("{prefix}-{:08}-{}", note.segment, note.offset);
        // A start that was interrupted may have left the same name.
        let free = |stem: &String| {
            let is_taken = |suffix| self.fs.exists(&self.quarantine_dir.join(format!("{stem}.{suffix}")));
            !["json", "bin", SEGMENT_SUFFIX].into_iter().any(is_taken)
        };
        let stem = std::iter::once(stem.clone())
            .chain((2..).map(|count| format!("{stem}-{count}")))
            .find(free)
            .unwrap_or(stem);
        note.file = format!("{stem}.bin");
        let files = LogFiles::list(self.fs, self.wal_dir)?;
        let is_of = |file: &&LogFile| file.checkpoint == note.checkpoint && file.number == note.segment;
        let segment = files.files.iter().find(is_of).filter(|_| note.bytes > 0);
        let mut is_whole = !note.is_unreadable;
        self.write_file(&self.quarantine_dir.join(&note.file), |out| match segment {
            Some(segment) => self.copy_bytes(&segment.path, &note, out).map(|copied_all| is_whole &= copied_all),
            None => Ok(()),
        })?;
        let kept = segment.filter(|_| !is_whole);
        if let Some(segment) = kept {
            let name = self.quarantine_dir.join(format!("{stem}.{SEGMENT_SUFFIX}"));
            self.fs.hard_link(&segment.path, &name).map_err(WalError::io("link", &segment.path))?;
        }
        let text = serde_json::to_vec_pretty(&note)
            .map_err(|error| WalError::io("write the note of", self.quarantine_dir)(error.into()))?;
        self.write_file(&self.quarantine_dir.join(format!("{stem}.json")), |out| out.write_all(&text))?;
        Ok(kept.is_some())
    }

    fn write_file(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn crate::fs::WriteFile) -> io::Result<()>,
    ) -> Result<(), WalError> {
        let mut file = self.fs.create(path).map_err(WalError::io("create", path))?;
        write(&mut *file).and_then(|()| file.sync_data()).map_err(WalError::io("write", path))
    }

    /// Copies the noted bytes; zeros stand for those that cannot be read. Says whether all could be.
    fn copy_bytes(
        &self,
        segment: &Path,
        note: &QuarantineNote,
        out: &mut dyn crate::fs::WriteFile,
    ) -> io::Result<bool> {
        let file = self.fs.open(segment)?;
        let (mut at, end, mut is_whole) = (note.offset, note.offset + note.bytes, true);
        let mut buffer = vec![0; 64 * 1024];
        let mut at_once = buffer.len();
        while at < end {
            // Up to a place where a page of the disk begins: one that cannot be read takes no other with it.
            let wanted = (at_once - (at % READ_BYTES_MIN as u64) as usize).min((end - at) as usize);
            let Some(part) = buffer.get_mut(..wanted) else { break };
            match file.read_at(part, at) {
                Ok(0) => break,
                Ok(count) => {
                    out.write_all(part.get(..count).unwrap_or_default())?;
                    at += count as u64;
                }
                Err(_unreadable) if at_once > READ_BYTES_MIN => at_once = READ_BYTES_MIN,
                Err(_unreadable) => {
                    part.fill(0);
                    out.write_all(part)?;
                    (at, is_whole) = (at + wanted as u64, false);
                }
            }
        }
        Ok(is_whole)
    }

    /// Replaces a segment by one that holds its readable records. Where it does not read as it did before, it stays as it
    /// is: what was read then is not what would be kept.
    fn rewrite(&self, path: &Path, number: u32, plan: &SegmentPlan) -> Result<(), WalError> {
        let mut copy_path = path.as_os_str().to_owned();
        copy_path.push(".");
        copy_path.push(REPAIR_SUFFIX);
        let copy_path = PathBuf::from(copy_path);
        if self.fs.exists(&copy_path) {
            self.fs.remove_file(&copy_path).map_err(WalError::io("remove", &copy_path))?;
        }
        let file = self.fs.create(&copy_path).map_err(WalError::io("create", &copy_path))?;
        let mut copy = SegmentWriter::over(file, copy_path.clone(), number);
        let mut compressor = RecordCompressor::new(Compression::Snappy);
        let mut reader = SegmentReader::open(self.fs, path)?;
        loop {
            match reader.next_event() {
                SegmentEvent::Record { offset, bytes, .. } => {
                    if plan.unreadable.iter().any(|range| range.contains(&offset)) {
                        return Err(WalError::ReadsDifferently { path: path.to_owned() });
                    }
                    if !plan.is_cut(offset) && !plan.damaged.iter().any(|range| range.contains(&offset)) {
                        copy.append(&bytes, &mut compressor)?;
                    }
                }
                SegmentEvent::Damage { offset, end, .. } if !plan.knows(offset, end) => {
                    return Err(WalError::ReadsDifferently { path: path.to_owned() });
                }
                SegmentEvent::Damage { .. } => {}
                SegmentEvent::End { .. } => break,
            }
        }
        copy.complete()?;
        self.fs.rename(&copy_path, path).map_err(WalError::io("rename", &copy_path))?;
        let dir = path.parent().unwrap_or(self.wal_dir);
        self.fs.sync_dir(dir).map_err(WalError::io("fsync", dir))
    }

    /// Makes durable what was read. After a kill the newest groups may stand in the page cache only, and a repeated
    /// request is acknowledged because its samples are there.
    fn sync_newest(&self) -> Result<(), WalError> {
        let files = LogFiles::list(self.fs, self.wal_dir)?;
        for file in files.files.iter().rev().filter(|file| !file.checkpoint).take(SEGMENTS_SYNCED) {
            let mut open = self.fs.append(&file.path).map_err(WalError::io("open", &file.path))?;
            open.sync_data().map_err(WalError::io("fdatasync", &file.path))?;
        }
        if self.fs.exists(self.wal_dir) {
            self.fs.sync_dir(self.wal_dir).map_err(WalError::io("fsync", self.wal_dir))?;
        }
        Ok(())
    }
}
