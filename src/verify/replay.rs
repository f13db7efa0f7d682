//! A replay of the log that only counts: series, samples and digests, by group and by series.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;

use super::place;
use super::receipts::Receipts;
use super::report::Stage;
use crate::encoding::Corruption;
use crate::model::{Digest, Tally};
use crate::proof::{Arrival, LogEntry, LogKind, LogReader, RecordRead, WblPlace};
use crate::wal::{RecordPosition, ReplayProgress, ReplaySink, Seal, WalError};

/// How many findings are kept; the rest are counted.
const FINDINGS_MAX: usize = 20;

/// How a series of the live head compares with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The same samples.
    Equal,
    /// The same samples but for the last ones of the live group, which were accepted after the head was read.
    Later(u64),
    /// Other samples.
    Different {
        /// How many the log has.
        log_samples: u64,
    },
}

/// What the log gives.
#[derive(Debug, Default)]
pub struct Replay {
    /// Records of later groups are not counted in the rows.
    live_group: Option<u64>,
    reader: LogReader,
    /// The samples of each series, up to the group that the live head is compared at.
    rows: Vec<Tally>,
    total: Tally,
    /// What the seals say.
    sealed: Tally,
    /// Samples that no seal ever covered.
    unsealed: u64,
    /// Series and times of the samples in Prometheus' `wbl/`, where one may stand twice.
    late: HashSet<(u32, i64)>,
    other_records: u64,
    /// The samples of the group whose seal has not been read yet.
    group: Tally,
    groups_proven: u64,
    last_group: Option<u64>,
    /// The first request that a seal names.
    first_commit: Option<u64>,
    groups_wrong: HashSet<u64>,
    findings: Vec<String>,
    findings_total: u64,
    /// Digests of the samples of the live group, by row, in the order of the log.
    live_samples: HashMap<u32, Vec<Digest>>,
    /// The receipts, and what the seals say to them.
    pub(super) receipts: Option<Receipts>,
}

impl Replay {
    /// An empty replay. Rows count what stands up to `live_group`; the totals count all.
    pub fn new(live_group: Option<u64>, receipts: Option<Receipts>) -> Self {
        Replay { live_group, receipts, ..Replay::default() }
    }

    /// The series of the log that have samples: the digest of their labels, and how many.
    pub(super) fn series(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        let filled = (0u32..).zip(&self.rows).filter(|(_, tally)| tally.samples > 0);
        filled.map(|(row, tally)| (self.reader.series().labels(row), tally.samples))
    }

    /// Compares a series of the live head, which has `samples` with this `digest`, with the log.
    pub(super) fn compare(&self, labels: Digest, samples: u64, digest: Digest) -> Comparison {
        let index = self.reader.series().find(labels);
        let row = index.and_then(|index| self.rows.get(index as usize)).copied().unwrap_or_default();
        let (log_samples, log_digest) = (row.samples, row.digest);
        if (log_samples, log_digest) == (samples, digest) {
            return Comparison::Equal;
        }
        // The log holds the samples of a series in the order of their acceptance: what was accepted into the live
        // group after the head was read is the end of it.
        let in_live_group = index.and_then(|index| self.live_samples.get(&index)).map_or(&[][..], Vec::as_slice);
        let later = log_samples.saturating_sub(samples);
        let later_digest: Digest = in_live_group.iter().rev().take(later as usize).copied().sum();
        if samples < log_samples && later <= in_live_group.len() as u64 && log_digest - later_digest == digest {
            return Comparison::Later(later);
        }
        Comparison::Different { log_samples }
    }

    /// All samples of the log.
    pub(super) fn total(&self) -> Tally {
        self.total
    }

    /// Samples that no seal ever covered: another program wrote them.
    pub(super) fn unsealed(&self) -> u64 {
        self.unsealed
    }

    /// What the seals say that was acknowledged.
    pub(super) fn sealed(&self) -> Tally {
        self.sealed
    }

    /// Whether the records of a group failed to give its seal.
    pub(super) fn is_group_wrong(&self, group: u64) -> bool {
        self.groups_wrong.contains(&group)
    }

    /// The last sealed group.
    pub(super) fn last_group(&self) -> Option<u64> {
        self.last_group
    }

    /// The number of the first request that a seal names.
    pub(super) fn first_commit(&self) -> Option<u64> {
        self.first_commit
    }

    fn find(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Counts the samples of a record, and says how many are of series that the log does not name.
    fn read(&mut self, position: RecordPosition, record: &[u8]) -> Result<u64, Corruption> {
        let Replay { live_group, reader, rows, total, group, live_samples, unsealed, .. } = self;
        // In a checkpoint a record keeps its group, whose seal is gone.
        let is_sealed = position.group.is_some() && !position.checkpoint;
        let counts_live = match (position.group, *live_group) {
            (Some(group), Some(live_group)) => group <= live_group,
            _ => true,
        };
        let is_live_group = is_sealed && position.group == *live_group;
        let read = reader.read(LogKind::Wal, record, &mut |entry| {
            let LogEntry::Sample(sample) = entry else { return };
            let digest = sample.digest();
            if position.group.is_none() && sample.arrival == Arrival::NotNewer {
                // It stands in `wbl/` too, or in a group of ours, if it was taken over.
                return;
            }
            total.add_sample(digest);
            *unsealed += u64::from(position.group.is_none());
            if is_sealed {
                group.add_sample(digest);
            }
            let index = sample.row as usize;
            if index >= rows.len() {
                rows.resize(index + 1, Tally::ZERO);
            }
            if let Some(row) = rows.get_mut(index).filter(|_| counts_live) {
                row.add_sample(digest);
            }
            if is_live_group {
                live_samples.entry(sample.row).or_default().push(digest);
            }
        })?;
        Ok(match read {
            RecordRead::Known { unknown } => unknown,
            RecordRead::Other => {
                self.other_records += 1;
                0
            }
        })
    }

    /// Counts the samples of a record of a `wbl/` that Prometheus wrote. They are in no head yet: a start takes them over.
    pub(super) fn late(&mut self, place: WblPlace, record: Result<Vec<u8>, String>) {
        let Replay { reader, total, late, unsealed, .. } = self;
        let read = record.and_then(|record| {
            let read = reader.read(LogKind::Wbl, &record, &mut |entry| {
                if let LogEntry::Sample(sample) = entry
                    && late.insert((sample.row, sample.timestamp_ms))
                {
                    total.add_sample(sample.digest());
                    *unsealed += 1;
                }
            });
            read.map_err(|corruption| corruption.to_string())
        });
        match read {
            Ok(RecordRead::Known { unknown: 1.. }) => {
                self.find(format!("samples at {place} are of series that the log lacks"));
            }
            Ok(_) => {}
            Err(damage) => self.find(format!("{damage} at {place}")),
        }
    }

    /// The stage's result.
    pub(super) fn stage(&self) -> Stage {
        let mut stage = Stage::new("replay");
        stage.summary = format!(
            "{} series, {}; {} groups give their seals",
            self.reader.series().len(),
            self.total,
            self.groups_proven
        );
        for finding in &self.findings {
            stage.find(|| finding.clone());
        }
        stage.findings_total = self.findings_total;
        if self.other_records > 0 {
            stage.note(format!("{} records are neither series nor samples nor deletions", self.other_records));
        }
        stage.number("series", self.reader.series().len());
        stage.number("samples", self.total.samples);
        stage.number("digest", self.total.digest.to_string());
        stage.number("groups_proven", self.groups_proven);
        stage.number("groups_wrong", self.groups_wrong.len());
        stage
    }
}

impl ReplaySink for Replay {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let at = || place(position.checkpoint, position.segment, position.offset);
        match self.read(position, &record) {
            Ok(0) => {}
            Ok(unknown) => self.find(format!("{unknown} samples at {} are of series that the log lacks", at())),
            Err(corruption) => self.find(format!("record at {}: {corruption}", at())),
        }
        Ok(())
    }

    fn seal(&mut self, position: RecordPosition, seal: &Seal, intact: bool) -> Result<(), WalError> {
        let Tally { samples, digest } = std::mem::take(&mut self.group);
        let requested: u64 = seal.requests.iter().map(|request| request.samples).sum();
        let requested_digest: Digest = seal.requests.iter().map(|request| request.digest).sum();
        let group = seal.group;
        self.sealed += Tally { samples: seal.samples, digest: seal.digest };
        let at = place(position.checkpoint, position.segment, position.offset);
        let findings_before = self.findings_total;
        if (samples, digest) != (seal.samples, seal.digest) {
            self.find(format!(
                "group {group}, sealed at {at}: its records give {samples} samples with digest {digest}, its seal says \
                 {} with {}",
                seal.samples, seal.digest
            ));
        }
        if (requested, requested_digest) != (seal.samples, seal.digest) {
            self.find(format!(
                "group {group}, sealed at {at}: its requests add up to {requested} samples with digest \
                 {requested_digest}, its seal says {} with {}",
                seal.samples, seal.digest
            ));
        }
        if !intact && self.findings_total == findings_before {
            self.find(format!("group {group}, sealed at {at}: its records or its chain are not what was sealed"));
        }
        if self.findings_total == findings_before {
            self.groups_proven += 1;
        } else {
            self.groups_wrong.insert(group);
        }
        self.last_group = Some(group);
        self.first_commit = self.first_commit.or_else(|| seal.requests.first().map(|request| request.commit));
        if let Some(receipts) = &mut self.receipts {
            seal.requests.iter().for_each(|request| receipts.sealed(group, request));
        }
        Ok(())
    }
}

/// Moves a progress bar as the replay goes on.
#[derive(Debug)]
pub(super) struct WithProgress<'a> {
    replay: &'a mut Replay,
    progress: &'a ReplayProgress,
    bar: &'a ProgressBar,
}

impl<'a> WithProgress<'a> {
    pub(super) fn new(replay: &'a mut Replay, progress: &'a ReplayProgress, bar: &'a ProgressBar) -> Self {
        WithProgress { replay, progress, bar }
    }
}

impl ReplaySink for WithProgress<'_> {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        self.bar.set_length(self.progress.bytes_total.load(Ordering::Relaxed));
        self.bar.set_position(self.progress.bytes_done.load(Ordering::Relaxed));
        self.replay.record(position, record)
    }

    fn seal(&mut self, position: RecordPosition, seal: &Seal, intact: bool) -> Result<(), WalError> {
        self.replay.seal(position, seal, intact)
    }
}
