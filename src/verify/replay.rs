//! A replay of the log that only counts: series, samples and digests, by group and by series.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;

use super::place;
use super::receipts::Receipts;
use super::report::Stage;
use crate::encoding::Corruption;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, LabelSet};
use crate::wal::record::{samples, series, split};
use crate::wal::{RecordPosition, RecordType, ReplayProgress, ReplaySink, Seal, WalError};

/// How many findings are kept; the rest are counted.
const FINDINGS_MAX: usize = 20;

/// A series of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesRow {
    /// Digest of its label set.
    pub(super) labels: Digest,
    /// Its samples, up to the group that the live head is compared at.
    pub(super) samples: u64,
    /// Sum of these samples' digests.
    pub(super) digest: Digest,
}

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
    rows: Vec<SeriesRow>,
    by_labels: HashMap<Digest, u32>,
    refs: HashMap<u64, u32>,
    samples: u64,
    digest: Digest,
    other_records: u64,
    group: GroupTotals,
    groups_proven: u64,
    last_group: Option<u64>,
    groups_wrong: HashSet<u64>,
    findings: Vec<String>,
    findings_total: u64,
    labels_bytes: Vec<u8>,
    /// Digests of the samples of the live group, by row, in the order of the log.
    live_samples: HashMap<u32, Vec<Digest>>,
    /// The receipts, and what the seals say to them.
    pub(super) receipts: Option<Receipts>,
}

/// The samples of the group whose seal has not been read yet.
#[derive(Debug, Default, Clone, Copy)]
struct GroupTotals {
    samples: u64,
    digest: Digest,
}

impl Replay {
    /// An empty replay. Rows count what stands up to `live_group`; the totals count all.
    pub fn new(live_group: Option<u64>, receipts: Option<Receipts>) -> Self {
        Replay { live_group, receipts, ..Replay::default() }
    }

    /// The series of the log.
    pub(super) fn rows(&self) -> &[SeriesRow] {
        &self.rows
    }

    /// Compares a series of the live head, which has `samples` with this `digest`, with the log.
    pub(super) fn compare(&self, labels: Digest, samples: u64, digest: Digest) -> Comparison {
        let index = self.by_labels.get(&labels).copied();
        let row = index.and_then(|index| self.rows.get(index as usize));
        let (log_samples, log_digest) = row.map_or((0, Digest::ZERO), |row| (row.samples, row.digest));
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

    /// Whether the records of a group failed to give its seal.
    pub(super) fn is_group_wrong(&self, group: u64) -> bool {
        self.groups_wrong.contains(&group)
    }

    /// The last sealed group.
    pub(super) fn last_group(&self) -> Option<u64> {
        self.last_group
    }

    fn find(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Frees what only reading needed.
    pub(super) fn finish(&mut self) {
        self.refs = HashMap::new();
        self.labels_bytes = Vec::new();
    }

    fn series_record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        let mut labels: Vec<Label<'_>> = Vec::with_capacity(32);
        let mut decoder = series(body);
        while let Some(series_ref) = decoder.next_into(&mut labels)? {
            // Whoever wrote the log: the digest is of the sorted set.
            labels.sort_unstable();
            self.labels_bytes.clear();
            encode_canonical(labels.iter().copied(), &mut self.labels_bytes);
            let digest = Digest::of_canonical_labels(&self.labels_bytes);
            let row = *self.by_labels.entry(digest).or_insert_with(|| {
                self.rows.push(SeriesRow { labels: digest, samples: 0, digest: Digest::ZERO });
                (self.rows.len() - 1) as u32
            });
            self.refs.insert(series_ref, row);
        }
        Ok(())
    }

    /// Counts the samples of a record, and says how many belong to a series that the log does not name.
    fn samples_record(&mut self, position: RecordPosition, body: &[u8]) -> Result<u64, Corruption> {
        let counts_live = match (position.group, self.live_group) {
            (Some(group), Some(live_group)) => group <= live_group,
            _ => true,
        };
        let is_live_group = position.group.is_some() && position.group == self.live_group;
        let mut unknown = 0;
        for sample in samples(body) {
            let sample = sample?;
            let index = self.refs.get(&sample.series_ref).copied();
            let Some((index, row)) = index.and_then(|index| Some((index, self.rows.get_mut(index as usize)?))) else {
                unknown += 1;
                continue;
            };
            let digest = row.labels.of_sample(sample.timestamp_ms, sample.value);
            if counts_live {
                row.samples += 1;
                row.digest += digest;
            }
            if is_live_group {
                self.live_samples.entry(index).or_default().push(digest);
            }
            self.samples += 1;
            self.digest += digest;
            if position.group.is_some() && !position.checkpoint {
                self.group.samples += 1;
                self.group.digest += digest;
            }
        }
        Ok(unknown)
    }

    /// The stage's result.
    pub(super) fn stage(&self) -> Stage {
        let mut stage = Stage::new("replay");
        stage.summary = format!(
            "{} series, {} samples, digest {}; {} groups give their seals",
            self.rows.len(),
            self.samples,
            self.digest,
            self.groups_proven
        );
        for finding in &self.findings {
            stage.find(|| finding.clone());
        }
        stage.findings_total = self.findings_total;
        if self.other_records > 0 {
            stage.note(format!("{} records are neither series nor float samples", self.other_records));
        }
        stage.number("series", self.rows.len());
        stage.number("samples", self.samples);
        stage.number("digest", self.digest.to_string());
        stage.number("groups_proven", self.groups_proven);
        stage.number("groups_wrong", self.groups_wrong.len());
        stage
    }
}

impl ReplaySink for Replay {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (kind, body) = split(&record);
        let at = || place(position.checkpoint, position.segment, position.offset);
        let outcome = match kind {
            Some(RecordType::Series) => self.series_record(body).map(|()| 0),
            Some(RecordType::Samples) => self.samples_record(position, body),
            _ => {
                self.other_records += 1;
                Ok(0)
            }
        };
        match outcome {
            Ok(0) => {}
            Ok(unknown) => self.find(format!("{unknown} samples at {} are of series that the log lacks", at())),
            Err(corruption) => self.find(format!("record at {}: {corruption}", at())),
        }
        Ok(())
    }

    fn seal(&mut self, position: RecordPosition, seal: &Seal, intact: bool) -> Result<(), WalError> {
        let GroupTotals { samples, digest } = std::mem::take(&mut self.group);
        let requested: u64 = seal.requests.iter().map(|request| request.samples).sum();
        let requested_digest: Digest = seal.requests.iter().map(|request| request.digest).sum();
        let group = seal.group;
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

/// Finds the label sets of some series: the replay keeps only their digests, because there may be millions.
#[derive(Debug, Default)]
pub(super) struct SeriesNames {
    wanted: HashMap<Digest, Option<LabelSet>>,
}

impl SeriesNames {
    pub(super) fn of(series: impl Iterator<Item = Digest>) -> Self {
        SeriesNames { wanted: series.map(|labels| (labels, None)).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The series in words: its labels, or their digest where the log does not hold them.
    pub(super) fn describe(&self, labels: Digest) -> String {
        match self.wanted.get(&labels) {
            Some(Some(set)) => set.to_string(),
            _ => format!("series with the labels digest {labels}"),
        }
    }
}

impl ReplaySink for SeriesNames {
    fn record(&mut self, _position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (Some(RecordType::Series), body) = split(&record) else {
            return Ok(());
        };
        let mut labels = Vec::with_capacity(32);
        let mut decoder = series(body);
        // What cannot be read was a finding of the replay.
        while let Ok(Some(_series_ref)) = decoder.next_into(&mut labels) {
            labels.sort_unstable();
            let set = LabelSet::from_sorted(labels.iter().copied());
            if let Some(name) = self.wanted.get_mut(&Digest::of_labels(&set)) {
                *name = Some(set);
            }
        }
        Ok(())
    }
}
