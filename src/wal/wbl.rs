//! The log of out-of-order samples as Prometheus keeps it, beside the log that counts.
//!
//! Everything here stands in `wal/` too, sealed, in records that Prometheus passes over. It is written once more in the
//! form that Prometheus reads, so that it finds these samples when it opens the directory, and nothing here is needed to
//! rebuild them: where it cannot be written, acknowledgements go on, and the records are tried again in a new segment.
//!
//! Each segment begins with a mark, by which it is told from one that Prometheus wrote. What Prometheus wrote is nowhere
//! else, so a start reads it ([`read_foreign`]), hands it to the log, and removes it ([`remove_foreign`]).
//!
//! Source: Prometheus `tsdb/head_append.go` (`collectOOORecords`), `tsdb/head_wal.go` (`loadWBL`).
//!
#![doc = include_str!("../../docs/format/wbl.md")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit::Durability;
use super::options::{WalError, WalOptions};
use super::reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
use super::record::{RecordType, split};
use super::seal::Mark;
use super::writer::{RecordCompressor, SegmentWriter};
use crate::fs::{Fs, names};

/// Bytes of records that wait for a disk that fails; beyond them the oldest are given up.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The state of the copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WblStatus {
    /// Records written since the start.
    pub records: u64,
    /// Records that wait for the disk.
    pub records_waiting: u64,
    /// Records that were given up since the start: Prometheus will not see them.
    pub records_given_up: u64,
    /// Writes, syncs and creations that failed since the start.
    pub failures: u64,
    /// Why it cannot be written now.
    pub failure: Option<String>,
}

#[derive(Debug)]
struct OpenSegment {
    segment: SegmentWriter,
    /// Length up to the last record that was written as a whole.
    whole_len: u64,
    dirty: bool,
}

/// Writes the copy.
pub struct WblWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WalOptions,
    compressor: RecordCompressor,
    /// Whether the directory was looked at, and the segments in it are known.
    is_listed: bool,
    /// Segments by rising number, with the last group that each may hold samples of.
    segments: VecDeque<(u32, u64)>,
    next_segment: u32,
    open: Option<OpenSegment>,
    /// Segments that were given up and still have bytes behind their last whole record.
    torn: Vec<(SegmentWriter, u64)>,
    /// Records with their groups.
    waiting: VecDeque<(u64, Vec<u8>)>,
    waiting_bytes: usize,
    /// The last group before the start: what was there then is of groups up to it.
    last_group: u64,
    status: WblStatus,
}

impl std::fmt::Debug for WblWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WblWriter({}, {} records waiting)", self.dir.display(), self.waiting.len())
    }
}

impl WblWriter {
    /// A writer for the directory, which is made when there is something to write. `last_group` is the log's last one.
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf, options: WalOptions, last_group: u64) -> Self {
        WblWriter {
            fs,
            dir,
            compressor: RecordCompressor::new(options.compression),
            options,
            is_listed: false,
            segments: VecDeque::new(),
            next_segment: 0,
            open: None,
            torn: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_group,
            status: WblStatus::default(),
        }
    }

    /// Takes the out-of-order samples of a group, which is durable in the log. They are written by
    /// [`write`](Self::write).
    pub fn add_group(&mut self, group: u64, records: &[Vec<u8>]) {
        for record in records {
            let copy = match split(record) {
                (Some(RecordType::OutOfOrderSamples), body) => [&[RecordType::Samples as u8], body].concat(),
                (Some(RecordType::OutOfOrderHistograms), whole) => whole.to_vec(),
                _ => continue,
            };
            self.waiting_bytes += copy.len();
            self.waiting.push_back((group, copy));
        }
        while self.waiting_bytes > WAITING_BYTES_MAX
            && let Some((_, record)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= record.len();
            self.status.records_given_up += 1;
        }
    }

    /// Writes what waits, and syncs it where acknowledgements promise that. After a failure it waits for the next call.
    pub fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let result = self.write_waiting();
        self.note(result);
    }

    /// Syncs what was written.
    pub fn sync(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| open.dirty) else { return };
        let result = open.segment.sync();
        open.dirty = result.is_err();
        self.note(result);
    }

    fn note(&mut self, result: Result<(), WalError>) {
        match result {
            Ok(()) => self.status.failure = None,
            Err(error) => {
                if self.status.failure.is_none() {
                    tracing::warn!(%error, "out-of-order samples not copied to wbl, they are safe in the log");
                }
                self.status.failures += 1;
                self.status.failure = Some(error.to_string());
                if let Some(open) = self.open.take() {
                    self.torn.push((open.segment, open.whole_len));
                }
                self.cut_torn();
            }
        }
    }

    fn write_waiting(&mut self) -> Result<(), WalError> {
        self.cut_torn();
        let is_full =
            |open: &OpenSegment, bytes: usize| open.segment.position() + bytes as u64 > self.options.segment_bytes;
        if let Some(open) = self.open.as_mut()
            && is_full(open, self.waiting_bytes)
        {
            open.segment.complete()?;
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open_segment()?);
        }
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        for (_, record) in &self.waiting {
            open.segment.append(record, &mut self.compressor)?;
        }
        open.segment.flush()?;
        open.dirty = true;
        if self.options.durability == Durability::Fsync {
            open.segment.sync()?;
            open.dirty = false;
        }
        open.whole_len = open.segment.position();
        if let (Some(newest), Some((group, _))) = (self.segments.back_mut(), self.waiting.back()) {
            newest.1 = *group;
        }
        self.status.records += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Creates the next segment; its name is durable, with those of its directory and what stands before it.
    fn open_segment(&mut self) -> Result<OpenSegment, WalError> {
        self.list()?;
        self.fs.create_dir_all(&self.dir).map_err(WalError::io("create", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            self.fs.sync_dir(parent).map_err(WalError::io("fsync", parent))?;
        }
        let number = self.next_segment;
        let following = number.checked_add(1).ok_or(WalError::SegmentsExhausted { segment: number })?;
        let path = names::wal_segment(&self.dir, number);
        if self.fs.exists(&path) {
            // Of an attempt of ours that failed: the numbers of what was there before are below.
            self.fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
        }
        let mut segment = SegmentWriter::create(&*self.fs, &self.dir, number)?;
        let group = self.waiting.front().map_or(0, |(group, _)| group.saturating_sub(1));
        let mut mark = Vec::new();
        Mark { group, next_commit: 0, durability: self.options.durability, chain: 0 }.encode(&mut mark);
        segment.append(&mark, &mut self.compressor)?;
        segment.flush()?;
        segment.sync()?;
        self.fs.sync_dir(&self.dir).map_err(WalError::io("fsync", &self.dir))?;
        self.next_segment = following;
        self.segments.push_back((number, group));
        let whole_len = segment.position();
        Ok(OpenSegment { segment, whole_len, dirty: false })
    }

    fn list(&mut self) -> Result<(), WalError> {
        if !self.is_listed {
            let files = LogFiles::list(&*self.fs, &self.dir)?;
            self.segments = files.files.iter().map(|file| (file.number, self.last_group)).collect();
            self.next_segment = files.next_segment;
            self.is_listed = true;
        }
        Ok(())
    }

    /// A torn record would stop Prometheus, which then gives up what follows.
    fn cut_torn(&mut self) {
        let mut failures = 0;
        self.torn.retain_mut(|(segment, len)| {
            let failed = segment.cut(*len).is_err();
            failures += u64::from(failed);
            failed
        });
        self.status.failures += failures;
    }

    /// Removes the segments whose samples are all of groups up to `group`: a block has them. Says how many.
    pub fn truncate(&mut self, group: u64) -> Result<u64, WalError> {
        self.list()?;
        let mut removed = 0;
        while let Some(&(number, last_group)) = self.segments.front()
            && last_group <= group
        {
            if self.segments.len() == 1 {
                // What waits begins another one.
                self.open = None;
            }
            let path = names::wal_segment(&self.dir, number);
            // A start may have removed it, with others that Prometheus wrote.
            if self.fs.exists(&path) {
                self.fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
            }
            self.torn.retain(|(segment, _)| segment.number() != number);
            self.segments.pop_front();
            removed += 1;
        }
        if removed > 0 && self.fs.exists(&self.dir) {
            self.fs.sync_dir(&self.dir).map_err(WalError::io("fsync", &self.dir))?;
            remove_if_empty(&*self.fs, &self.dir)?;
        }
        Ok(removed)
    }

    /// The state of the copy.
    pub fn status(&self) -> WblStatus {
        WblStatus { records_waiting: self.waiting.len() as u64, ..self.status.clone() }
    }
}

/// What a start found in the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WblRecovery {
    /// Segments that Prometheus wrote, by their numbers.
    pub foreign: Vec<u32>,
    /// Segments that were cut at their first bad place, and the files in quarantine that hold the rest.
    pub cut: Vec<(u32, PathBuf)>,
}

/// Gives the records of the segments that Prometheus wrote to `on`, and cuts every segment at its first bad place: what
/// is behind goes to quarantine. Readable records behind a bad place are given too.
pub fn read_foreign(
    fs: &dyn Fs,
    dir: &Path,
    quarantine_dir: &Path,
    on: &mut dyn FnMut(&[u8]) -> Result<(), WalError>,
) -> Result<WblRecovery, WalError> {
    let mut recovery = WblRecovery::default();
    for (file, is_foreign, damaged_at) in scan_foreign(fs, dir, on)? {
        if is_foreign {
            recovery.foreign.push(file.number);
        }
        if let Some(offset) = damaged_at {
            let saved = set_aside(fs, &file.path, file.number, offset, quarantine_dir)?;
            let mut open = fs.append(&file.path).map_err(WalError::io("open", &file.path))?;
            open.truncate(offset).and_then(|()| open.sync_data()).map_err(WalError::io("truncate", &file.path))?;
            recovery.cut.push((file.number, saved));
        }
    }
    Ok(recovery)
}

/// Gives the records of the segments that Prometheus wrote to `on`, and changes nothing. Says of each segment whether
/// Prometheus wrote it, and where its first bad place is.
pub fn scan_foreign(
    fs: &dyn Fs,
    dir: &Path,
    on: &mut dyn FnMut(&[u8]) -> Result<(), WalError>,
) -> Result<Vec<(LogFile, bool, Option<u64>)>, WalError> {
    let mut scanned = Vec::new();
    for file in LogFiles::list(fs, dir)?.files {
        let mut reader = SegmentReader::open(fs, &file.path)?;
        let (mut is_ours, mut is_first, mut damaged_at) = (false, true, None);
        loop {
            match reader.next_event() {
                SegmentEvent::Record { bytes, .. } => {
                    is_ours |= is_first && split(&bytes).0 == Some(RecordType::Seal);
                    is_first = false;
                    if !is_ours {
                        on(&bytes)?;
                    }
                }
                SegmentEvent::Damage { offset, .. } => {
                    is_first = false;
                    damaged_at.get_or_insert(offset);
                }
                SegmentEvent::End { .. } => break,
            }
        }
        scanned.push((file, !is_ours && !is_first, damaged_at));
    }
    Ok(scanned)
}

/// Removes segments that Prometheus wrote, when the log has what they hold. With `keep` they go to quarantine instead:
/// not all of it could be taken over.
pub fn remove_foreign(
    fs: &dyn Fs,
    dir: &Path,
    quarantine_dir: &Path,
    segments: &[u32],
    keep: bool,
) -> Result<(), WalError> {
    for &number in segments {
        let path = names::wal_segment(dir, number);
        if keep {
            set_aside(fs, &path, number, 0, quarantine_dir)?;
        }
        // Prometheus refuses numbers with gaps, so a segment between others is emptied.
        let files = LogFiles::list(fs, dir)?.files;
        if files.first().is_some_and(|first| first.number < number) {
            let mut open = fs.append(&path).map_err(WalError::io("open", &path))?;
            open.truncate(0).and_then(|()| open.sync_data()).map_err(WalError::io("truncate", &path))?;
        } else {
            fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
        }
    }
    if segments.is_empty() {
        return Ok(());
    }
    fs.sync_dir(dir).map_err(WalError::io("fsync", dir))?;
    remove_if_empty(fs, dir)
}

/// Removes the directory where nothing is left in it: promtool does not open a data directory with an empty one.
fn remove_if_empty(fs: &dyn Fs, dir: &Path) -> Result<(), WalError> {
    if !fs.list(dir).map_err(WalError::io("list", dir))?.is_empty() {
        return Ok(());
    }
    fs.remove_dir(dir).map_err(WalError::io("remove", dir))?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs.sync_dir(parent).map_err(WalError::io("fsync", parent))
}

/// Copies a segment from `offset` on to quarantine, durably.
fn set_aside(fs: &dyn Fs, path: &Path, number: u32, offset: u64, quarantine_dir: &Path) -> Result<PathBuf, WalError> {
    let bytes = fs.read(path).map_err(WalError::io("read", path))?;
    let tail = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
    fs.create_dir_all(quarantine_dir).map_err(WalError::io("create", quarantine_dir))?;
    let stem = format!("wbl-{number:08}-{offset}");
    let names = std::iter::once(format!("{stem}.bin")).chain((2u32..).map(|count| format!("{stem}-{count}.bin")));
    let target = names.map(|name| quarantine_dir.join(name)).find(|path| !fs.exists(path));
    let target = target.unwrap_or_else(|| quarantine_dir.join(stem));
    let mut copy = fs.create(&target).map_err(WalError::io("create", &target))?;
    copy.write_all(tail).and_then(|()| copy.sync_data()).map_err(WalError::io("write", &target))?;
    fs.sync_dir(quarantine_dir).map_err(WalError::io("fsync", quarantine_dir))?;
    Ok(target)
}
