//! Checkpoints: what older segments hold and is still needed, so that they can go.
//!
//! A checkpoint is made in two passes over the log. The first reads all of it, and finds out which series are needed and
//! what leaves; the second writes what is kept. Both go through the scanner that replay uses, so a checkpoint is made of
//! just what a replay would have got. It is complete and synced under another name before it takes its own; only then, and
//! after the caller has recorded what left, [`remove_superseded`] removes what it stands for.
//!
//! Prometheus reads a checkpoint of ours as its own: the records of type 226 in it are of a kind that it skips.

mod filter;
mod record;
mod survey;

use std::path::{Path, PathBuf};

pub use record::{CheckpointEdge, CheckpointEnd, CheckpointRecord};

use super::contents::{Damage, LogScan, RecordPosition, ReplayProgress, ReplaySink, SegmentSummary};
use super::lost::{last_lost_group, newest_lost};
use super::options::{Compression, WalError};
use super::reader::LogFiles;
use super::record::Tombstone;
use super::recovery::{read_notes, set_aside};
use super::scan::scan_files;
use super::seal::SealedRequest;
use crate::fs::{Fs, names};
use crate::model::{Tally, TimestampMs};
use filter::Filter;
use survey::Survey;

/// Ending of a checkpoint's directory while it is written.
const TMP_SUFFIX: &str = ".tmp";

/// What a checkpoint keeps.
pub struct CheckpointPlan<'a> {
    /// The last segment that goes. It must not be the one that is written.
    pub up_to_segment: u32,
    /// Whether a series is needed although no sample that the log keeps is of it: one that is live in the head.
    pub keep_series: &'a dyn Fn(u64) -> bool,
    /// In-order samples before this time go.
    pub min_time_ms: TimestampMs,
    /// Out-of-order samples of groups up to this one go.
    pub out_of_order_up_to_group: u64,
    /// Whether a deletion is needed although it ends before all samples that are kept.
    pub keep_tombstone: &'a dyn Fn(Tombstone) -> bool,
    /// Whether an exemplar is needed, given the reference of its series and its time.
    pub keep_exemplar: &'a dyn Fn(u64, TimestampMs) -> bool,
    /// Whether the metadata of a family is needed.
    pub keep_family: &'a dyn Fn(&str) -> bool,
    /// Log records of the live series whose references are not among these, where the log has lost their names. Those that
    /// are known to the head alone are in no later record, so that all their samples to come would be without a name.
    pub name_series: &'a dyn Fn(&dyn Fn(u64) -> bool) -> Vec<Vec<u8>>,
    /// Whether blocks have all samples that damage may have cost: the late ones up to a group, those in order up to a time.
    pub is_flushed: &'a dyn Fn(u64, TimestampMs) -> bool,
    /// How the kept records are compressed.
    pub compression: Compression,
    /// Bytes of a file of the checkpoint.
    pub segment_bytes: u64,
    /// Where damaged bytes of the segments that go are set aside.
    pub quarantine_dir: &'a Path,
}

impl std::fmt::Debug for CheckpointPlan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointPlan")
            .field("up_to_segment", &self.up_to_segment)
            .field("min_time_ms", &self.min_time_ms)
            .field("out_of_order_up_to_group", &self.out_of_order_up_to_group)
            .finish_non_exhaustive()
    }
}

impl CheckpointPlan<'_> {
    fn keeps_in_order(&self, timestamp_ms: TimestampMs) -> bool {
        timestamp_ms >= self.min_time_ms && !planted!(CheckpointDropsSamples)
    }

    fn keeps_out_of_order(&self, group: Option<u64>) -> bool {
        group.is_none_or(|group| group > self.out_of_order_up_to_group) && !planted!(CheckpointDropsOutOfOrder)
    }
}

/// What a checkpoint did, or what left with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// What it stands for.
    pub edge: CheckpointEdge,
    /// In-order samples that left. A sample is in order that was newer than all of its series.
    pub left_in_order: Tally,
    /// Out-of-order samples that left.
    pub left_out_of_order: Tally,
    /// In-order samples that are kept.
    pub kept_in_order: Tally,
    /// Out-of-order samples that are kept.
    pub kept_out_of_order: Tally,
    /// The requests of the seals that left, in the order of the log.
    pub requests: Vec<SealedRequest>,
    /// Samples among all these whose series the log does not name: counted, without a digest.
    pub unknown_samples: u64,
    /// Samples that no seal ever covered, kept or not: another program wrote them.
    pub unsealed_samples: u64,
    /// Records that left because nobody knows their type.
    pub unknown_records: u64,
    /// Damage in what the checkpoint stands for. What could not be read is in quarantine.
    pub damages: Vec<Damage>,
    /// Bytes of the checkpoint.
    pub bytes: u64,
}

/// Writes the checkpoint that stands for all segments up to the plan's. It is durable when this returns, and what it
/// stands for is still there: record what left, then call [`remove_superseded`].
///
/// The log may be written meanwhile, as long as it keeps to later segments. Where these have been damaged since the start,
/// and samples that no block has may have stood there, it is refused: the next start would not find the damage, and name
/// no loss.
pub fn checkpoint(fs: &dyn Fs, wal_dir: &Path, plan: &CheckpointPlan<'_>) -> Result<CheckpointReport, WalError> {
    let number = plan.up_to_segment;
    let files = LogFiles::list(fs, wal_dir)?;
    let is_segment = |file: &&super::LogFile| !file.checkpoint && file.number == number;
    let behind = files.files.iter().find(|file| !file.checkpoint && file.number > number).map(|file| file.number);
    let (Some(_), Some(behind)) = (files.files.iter().find(is_segment), behind) else {
        return Err(WalError::CheckpointRefused { segment: number });
    };
    let Surveyed { survey, log, names } = survey_log(fs, &files, plan)?;
    let edge = survey.edge(log.checkpoint.map(|end| end.edge));
    let (segments, damages) = read_up_to(&log, number);
    refuse_loss(fs, wal_dir, plan, &log, &damages)?;
    set_aside(fs, wal_dir, plan.quarantine_dir, &damages)?;

    let tmp = PathBuf::from(format!("{}{TMP_SUFFIX}", names::checkpoint_dir(wal_dir, number).display()));
    remove_unfinished(fs, wal_dir)?;
    fs.create_dir_all(&tmp).map_err(WalError::io("create", &tmp))?;
    let mut filter = Filter::create(fs, &tmp, plan, &survey)?;
    filter.begin(edge, &names)?;
    // What stands behind the last seal of the last segment is decided by the next mark or seal.
    let is_behind = |summary: &&SegmentSummary| !summary.checkpoint && summary.segment > number;
    let mut sealed = log.segments.iter().filter(is_behind).filter(|summary| summary.marked || summary.seals > 0);
    let behind = sealed.next().map_or(behind, |summary| summary.segment);
    let mut part = files.clone();
    part.files.retain(|file| file.checkpoint || file.number <= behind);
    let again = scan_files(fs, &part, &mut filter, &ReplayProgress::default(), Vec::new(), None)?;
    if read_up_to(&again, number) != (segments, damages.clone()) {
        return Err(WalError::ReadsDifferently { path: wal_dir.to_owned() });
    }
    let kept = survey.kept;
    let bytes = filter.end(CheckpointEnd {
        edge,
        in_order: kept.in_order,
        out_of_order: kept.out_of_order,
        ..CheckpointEnd::default()
    })?;
    fs.sync_dir(&tmp).map_err(WalError::io("fsync", &tmp))?;
    let dir = names::checkpoint_dir(wal_dir, number);
    fs.rename(&tmp, &dir).map_err(WalError::io("rename", &tmp))?;
    if !planted!(CheckpointNameNotSynced) {
        fs.sync_dir(wal_dir).map_err(WalError::io("fsync", wal_dir))?;
    }
    Ok(survey.report(edge, damages, bytes))
}

/// A log that was read for a checkpoint.
struct Surveyed<'a> {
    survey: Survey<'a>,
    log: LogScan,
    /// Records of the series that are live and that no readable record names.
    names: Vec<Vec<u8>>,
}

/// Reads all of the log; once more where it has lost names of series that are live.
fn survey_log<'a>(fs: &dyn Fs, files: &LogFiles, plan: &'a CheckpointPlan<'a>) -> Result<Surveyed<'a>, WalError> {
    let read = |names: Vec<Vec<u8>>| {
        let mut survey = Survey::new(plan.up_to_segment, Some(plan));
        survey.name_by_head(&names);
        let log = scan_files(fs, files, &mut survey, &ReplayProgress::default(), Vec::new(), None)?;
        Ok(Surveyed { survey, log, names })
    };
    let surveyed = read(Vec::new())?;
    let Surveyed { survey, log, .. } = &surveyed;
    if (log.damages.is_empty() && survey.names_all()) || planted!(CheckpointDropsSeries) {
        return Ok(surveyed);
    }
    let names = (plan.name_series)(&|series_ref| survey.named.contains(series_ref));
    if names.is_empty() { Ok(surveyed) } else { read(names) }
}

/// What was read of the segments up to this one, and their damage.
fn read_up_to(log: &LogScan, number: u32) -> (Vec<SegmentSummary>, Vec<Damage>) {
    let segments = log.segments.iter().filter(|summary| summary.checkpoint || summary.segment <= number);
    let damages = log.damages.iter().filter(|damage| damage.checkpoint || damage.segment <= number);
    (segments.cloned().collect(), damages.cloned().collect())
}

/// Fails where the checkpoint would make a loss that nobody has named.
fn refuse_loss(
    fs: &dyn Fs,
    wal_dir: &Path,
    plan: &CheckpointPlan<'_>,
    log: &LogScan,
    damages: &[Damage],
) -> Result<(), WalError> {
    if damages.is_empty() {
        return Ok(());
    }
    let notes = read_notes(fs, plan.quarantine_dir);
    let newest = newest_lost(fs, wal_dir, log, damages)?;
    for (damage, newest_ms) in damages.iter().zip(newest) {
        let is_named = || notes.iter().any(|note| note.knows(damage));
        let is_flushed = |newest_ms| (plan.is_flushed)(last_lost_group(log, damage), newest_ms);
        if newest_ms.is_some_and(|newest_ms| !is_named() && !is_flushed(newest_ms)) {
            let Damage { what, segment, offset, .. } = damage.clone();
            return Err(WalError::CheckpointOverDamage { what, segment, offset });
        }
    }
    Ok(())
}

/// What left the log with its newest checkpoint, where the segments that this stands for are still there: a process
/// ended before it removed them, and perhaps before it recorded what left. `None` where there is nothing to remove.
pub fn superseded(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<CheckpointReport>, WalError> {
    let Some(number) = LogFiles::list(fs, wal_dir)?.checkpoint else { return Ok(None) };
    let files = LogFiles::list_superseded(fs, wal_dir, number)?;
    if !files.files.iter().any(|file| file.checkpoint || file.number <= number) {
        return Ok(None);
    }
    let mut newest = LogFiles::list(fs, wal_dir)?;
    newest.files.retain(|file| file.checkpoint);
    newest.missing.clear();
    let log = scan_files(fs, &newest, &mut Nothing, &ReplayProgress::default(), Vec::new(), None)?;
    let Some(end) = log.checkpoint else {
        // One of Prometheus', or one that has lost its end: nobody knows what it keeps.
        return Ok(None);
    };
    let mut survey = Survey::new(number, None);
    let log = scan_files(fs, &files, &mut survey, &ReplayProgress::default(), Vec::new(), None)?;
    survey.kept = survey::Tallies { in_order: end.in_order, out_of_order: end.out_of_order };
    let damages = log.damages.into_iter().filter(|damage| damage.checkpoint || damage.segment <= number).collect();
    let bytes = newest.files.iter().map(|file| file.bytes).sum();
    Ok(Some(survey.report(end.edge, damages, bytes)))
}

/// Passes over records.
struct Nothing;

impl ReplaySink for Nothing {
    fn record(&mut self, _position: RecordPosition, _record: Vec<u8>) -> Result<(), WalError> {
        Ok(())
    }
}

/// Removes what the newest checkpoint stands for, oldest first: earlier checkpoints, and segments. A call that was
/// interrupted is made again. Says how many bytes went.
pub fn remove_superseded(fs: &dyn Fs, wal_dir: &Path) -> Result<u64, WalError> {
    let Some(newest) = LogFiles::list(fs, wal_dir)?.checkpoint else { return Ok(0) };
    let mut removed = 0;
    let entries = fs.list(wal_dir).map_err(WalError::io("list", wal_dir))?;
    let mut old: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            match entry.is_dir {
                true => names::parse_checkpoint_dir(&entry.name).filter(|number| *number < newest),
                false => names::parse_wal_segment(&entry.name)
                    .or_else(|| names::parse_wal_summary(&entry.name))
                    .filter(|number| *number <= newest),
            }
            .map(|number| (number, entry))
        })
        .collect();
    old.sort_by_key(|(number, _)| *number);
    for (_, entry) in &old {
        let path = wal_dir.join(&entry.name);
        if entry.is_dir {
            removed += fs.list(&path).unwrap_or_default().iter().map(|file| file.bytes).sum::<u64>();
            fs.remove_dir_all(&path).map_err(WalError::io("remove", &path))?;
        } else {
            removed += entry.bytes;
            fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
        }
    }
    if !old.is_empty() {
        fs.sync_dir(wal_dir).map_err(WalError::io("fsync", wal_dir))?;
    }
    Ok(removed)
}

/// Removes checkpoints that were not finished.
pub(super) fn remove_unfinished(fs: &dyn Fs, wal_dir: &Path) -> Result<(), WalError> {
    for entry in fs.list(wal_dir).unwrap_or_default() {
        let number = entry.name.strip_suffix(TMP_SUFFIX).and_then(names::parse_checkpoint_dir);
        if entry.is_dir && number.is_some() {
            let path = wal_dir.join(&entry.name);
            fs.remove_dir_all(&path).map_err(WalError::io("remove", &path))?;
        }
    }
    Ok(())
}
