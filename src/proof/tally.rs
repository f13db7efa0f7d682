//! How many samples the log holds of some ranges, and their digests.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;

use super::pipeline::scan_beside;
use super::reader::{Arrival, LogEntry, LogKind, LogReader, LogSample, RecordRead};
use super::wbl::foreign_wbl_records;
use crate::fs::{Fs, names};
use crate::model::{Digest, Tally, TimeRange, TimestampMs};
use crate::wal::{RecordPosition, ReplayProgress, ReplaySink, Seal, SegmentSummary, WalError};

/// Damaged places that are named.
const DAMAGED_MAX: usize = 100;

/// Which samples: by how they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleKind {
    /// Those that were newer than all of their series.
    InOrder,
    /// The others, in these groups of the log. What another program wrote counts as group 0.
    OutOfOrder {
        /// The groups.
        groups: RangeInclusive<u64>,
    },
}

/// Some of the log's samples: what a block was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// How they came.
    pub kind: SampleKind,
    /// When they were measured.
    pub range: TimeRange,
}

impl LogPart {
    /// The samples of a range that came in order.
    pub fn in_order(range: TimeRange) -> Self {
        LogPart { kind: SampleKind::InOrder, range }
    }

    /// The samples of a range that came out of order, in these groups.
    pub fn out_of_order(range: TimeRange, groups: RangeInclusive<u64>) -> Self {
        LogPart { kind: SampleKind::OutOfOrder { groups }, range }
    }

    fn holds(&self, sample: &LogSample<'_>, group: u64) -> bool {
        self.range.contains(sample.timestamp_ms)
            && match (&self.kind, sample.arrival) {
                (SampleKind::InOrder, Arrival::InOrder) => true,
                (SampleKind::OutOfOrder { groups }, Arrival::OutOfOrder) => groups.contains(&group),
                _ => false,
            }
    }
}

/// What to count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TallyRequest {
    /// The parts, each for itself.
    pub parts: Vec<LogPart>,
    /// The last group that counts: what is accepted or deleted while a proof runs is left out. `None`: all.
    pub up_to_group: Option<u64>,
}

impl TallyRequest {
    /// Counts one part of the whole log.
    pub fn of(part: LogPart) -> Self {
        TallyRequest { parts: vec![part], up_to_group: None }
    }
}

/// What the log holds of one part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartTally {
    /// Samples that were written.
    pub written: Tally,
    /// Those of them that were deleted later.
    pub deleted: Tally,
}

impl PartTally {
    /// What is left.
    pub fn left(&self) -> Tally {
        self.written - self.deleted
    }
}

/// A place of the log that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The segment, or the file of the checkpoint, and whether it is that; `None` in a `wbl/`.
    pub file: Option<(u32, bool)>,
    /// What was found, and where.
    pub what: String,
}

/// What the log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTally {
    /// The parts, in the order of the request.
    pub parts: Vec<PartTally>,
    /// All samples of `wal/`, however they came, deleted ones included.
    pub total: Tally,
    /// All samples of a `wbl/` that Prometheus wrote.
    pub wbl: Tally,
    /// Series that the log names.
    pub series: u64,
    /// The last group whose seal was read.
    pub last_group: Option<u64>,
    /// Samples in records for samples in order that were not newer than their series.
    pub not_newer: u64,
    /// Samples in a `wbl/` that Prometheus wrote whose series and time stand there already; they count once.
    pub repeated: u64,
    /// Samples and deletions of series that the log does not name.
    pub unknown: u64,
    /// Places and records that could not be read.
    pub damages: u64,
    /// What was found at the first of them.
    pub first_damage: Option<String>,
    /// The first hundred of them.
    pub damaged: Vec<DamagedPlace>,
    /// The files of `wal/` that were read.
    pub segments: Vec<SegmentSummary>,
}

/// Counts the samples of some parts of the log in `data_dir`: an independent replay of `wal/`, its checkpoint included,
/// and of the `wbl/` that Prometheus wrote.
///
/// A deletion takes the samples of its group and of those before; in a log of Prometheus', the samples before it. A log with deletions within a part is read twice.
pub fn log_tally(
    fs: &dyn Fs,
    data_dir: &Path,
    request: &TallyRequest,
    progress: &ReplayProgress,
) -> Result<LogTally, WalError> {
    let mut first = Counter::new(request, false);
    first.run(fs, data_dir, progress)?;
    let mut tally = first.tally;
    if !first.deletions.is_empty() {
        let mut second = Counter::new(request, false);
        second.applied = first.deletions;
        second.run(fs, data_dir, &ReplayProgress::default())?;
        tally.parts = second.tally.parts;
    }
    Ok(tally)
}

/// What the log holds of one part, series by series: by the digest of the labels, deleted samples left out.
pub fn series_tallies(
    fs: &dyn Fs,
    data_dir: &Path,
    part: &LogPart,
    up_to_group: Option<u64>,
) -> Result<HashMap<Digest, Tally>, WalError> {
    let request = TallyRequest { parts: vec![part.clone()], up_to_group };
    let mut first = Counter::new(&request, true);
    first.run(fs, data_dir, &ReplayProgress::default())?;
    let mut counter = first;
    if !counter.deletions.is_empty() {
        let mut second = Counter::new(&request, true);
        second.applied = counter.deletions;
        second.run(fs, data_dir, &ReplayProgress::default())?;
        counter = second;
    }
    let series = counter.reader.series();
    let rows = (0u32..).zip(counter.by_row.unwrap_or_default());
    Ok(rows.filter(|(_, tally)| *tally != Tally::ZERO).map(|(row, tally)| (series.labels(row), tally)).collect())
}

/// Where something stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In none of our groups: how many records stand before it. A log of Prometheus' goes before ours.
    Record(u64),
    /// In this group.
    Group(u64),
}

/// A deletion, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Deletion {
    place: Place,
    range: TimeRange,
}

/// Counts while it reads.
struct Counter<'r> {
    request: &'r TallyRequest,
    reader: LogReader,
    tally: LogTally,
    /// Samples that are left, by row.
    by_row: Option<Vec<Tally>>,
    records: u64,
    /// Series and times of the samples of Prometheus' `wbl/`: it writes a sample again where it forgot about the first.
    late: HashSet<(u32, TimestampMs)>,
    /// Deletions that were found, by row.
    deletions: HashMap<u32, Vec<Deletion>>,
    /// Deletions of an earlier pass: rows get the same numbers in each.
    applied: HashMap<u32, Vec<Deletion>>,
}

impl<'r> Counter<'r> {
    fn new(request: &'r TallyRequest, by_row: bool) -> Self {
        let tally = LogTally { parts: vec![PartTally::default(); request.parts.len()], ..LogTally::default() };
        Counter {
            request,
            reader: LogReader::default(),
            tally,
            by_row: by_row.then(Vec::new),
            records: 0,
            late: HashSet::new(),
            deletions: HashMap::new(),
            applied: HashMap::new(),
        }
    }

    fn run(&mut self, fs: &dyn Fs, data_dir: &Path, progress: &ReplayProgress) -> Result<(), WalError> {
        let log = scan_beside(fs, &data_dir.join(names::WAL_DIR), self, progress)?;
        for damage in &log.damages {
            let at = format!("byte {} of segment {:08}", damage.offset, damage.segment);
            self.damage(Some((damage.segment, damage.checkpoint)), || format!("{} at {at}", damage.what));
        }
        self.tally.segments = log.segments;
        // All deletions of `wal/` concern these: Prometheus keeps no order between the two logs.
        self.records = 0;
        foreign_wbl_records(fs, &data_dir.join(names::WBL_DIR), &mut |place, record| match record {
            Ok(record) => self.take(LogKind::Wbl, 0, None, &record, || place.to_string()),
            Err(damage) => self.damage(None, || format!("{damage} at {place}")),
        })?;
        self.tally.series = self.reader.series().len() as u64;
        Ok(())
    }

    fn damage(&mut self, file: Option<(u32, bool)>, what: impl FnOnce() -> String) {
        self.tally.damages += 1;
        if self.tally.damaged.len() < DAMAGED_MAX {
            let what = what();
            self.tally.first_damage.get_or_insert_with(|| what.clone());
            self.tally.damaged.push(DamagedPlace { file, what });
        }
    }

    fn take(
        &mut self,
        log: LogKind,
        group: u64,
        file: Option<(u32, bool)>,
        record: &[u8],
        at: impl FnOnce() -> String,
    ) {
        let Counter { request, reader, tally, by_row, records, late, deletions, applied } = self;
        // Within a group of ours a deletion may stand before samples that were there when it was made; what came later
        // is in no deleted range.
        let position = if group > 0 { Place::Group(group) } else { Place::Record(*records) };
        *records += 1;
        let overlaps = |range: &TimeRange| request.parts.iter().any(|part| part.range.overlaps(range));
        let read = reader.read(log, record, &mut |entry| match entry {
            LogEntry::Sample(sample) => {
                if sample.arrival == Arrival::NotNewer {
                    tally.not_newer += 1;
                }
                if log == LogKind::Wbl && !late.insert((sample.row, sample.timestamp_ms)) {
                    tally.repeated += 1;
                    return;
                }
                let digest = sample.digest();
                match log {
                    LogKind::Wal => tally.total.add_sample(digest),
                    LogKind::Wbl => tally.wbl.add_sample(digest),
                }
                for (part, counted) in request.parts.iter().zip(&mut tally.parts) {
                    if !part.holds(&sample, group) {
                        continue;
                    }
                    counted.written.add_sample(digest);
                    let is_deleted = is_deleted(applied, sample.row, position, sample.timestamp_ms);
                    if is_deleted {
                        counted.deleted.add_sample(digest);
                    } else if let Some(rows) = by_row {
                        let row = sample.row as usize;
                        if row >= rows.len() {
                            rows.resize(row + 1, Tally::ZERO);
                        }
                        if let Some(counted) = rows.get_mut(row) {
                            counted.add_sample(digest);
                        }
                    }
                }
            }
            LogEntry::Deletion { row, range } => {
                if overlaps(&range) {
                    deletions.entry(row).or_default().push(Deletion { place: position, range });
                }
            }
        });
        match read {
            Ok(RecordRead::Known { unknown }) => tally.unknown += unknown,
            Ok(RecordRead::Other) => {}
            Err(corruption) => self.damage(file, || format!("{corruption} of the record at {}", at())),
        }
    }
}

fn is_deleted(deletions: &HashMap<u32, Vec<Deletion>>, row: u32, place: Place, timestamp_ms: TimestampMs) -> bool {
    // Most logs have no deletion at all.
    !deletions.is_empty()
        && deletions.get(&row).is_some_and(|deletions| {
            deletions.iter().any(|deletion| deletion.place >= place && deletion.range.contains(timestamp_ms))
        })
}

impl ReplaySink for Counter<'_> {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let group = position.counts_in();
        if group.is_some_and(|group| self.request.up_to_group.is_some_and(|last| group > last)) {
            return Ok(());
        }
        let file = Some((position.segment, position.checkpoint));
        self.take(LogKind::Wal, group.unwrap_or(0), file, &record, || {
            format!("byte {} of segment {:08}", position.offset, position.segment)
        });
        Ok(())
    }

    fn seal(&mut self, _position: RecordPosition, seal: &Seal, _intact: bool) -> Result<(), WalError> {
        self.tally.last_group = Some(seal.group);
        Ok(())
    }
}
