//! From when to when the samples may be that damage cost: bounded by the samples that stand before and behind it.
//!
//! Found by reading the log once more, which is done only where there is new damage. Late samples are left out: they would
//! widen the bounds without end, and those that are lost can be of any time that is taken.

use std::path::Path;

use super::contents::{Damage, LogScan, RecordPosition, ReplayProgress, ReplaySink, SegmentSummary};
use super::options::WalError;
use super::reader::LogFiles;
use super::record;
use super::scan::scan_files;
use crate::fs::Fs;
use crate::model::{TimeRange, TimestampMs};

/// Samples of about this many bytes of the log are looked at together.
const STRETCH_BYTES: u64 = 4 * 1024;

/// For each damage the times of the samples that it may have cost; `None` where it cost nothing that was acknowledged.
/// A bound that nothing tells is the end of time.
pub(super) fn lost_times(
    fs: &dyn Fs,
    wal_dir: &Path,
    log: &LogScan,
    damages: &[Damage],
) -> Result<Vec<Option<TimeRange>>, WalError> {
    of_costly(fs, wal_dir, log, damages, Timeline::around)
}

/// For each damage the time up to which the in-order samples may be that it cost, with all of its segment as a margin;
/// `None` where it cost nothing that was acknowledged.
pub(super) fn newest_lost(
    fs: &dyn Fs,
    wal_dir: &Path,
    log: &LogScan,
    damages: &[Damage],
) -> Result<Vec<Option<TimestampMs>>, WalError> {
    of_costly(fs, wal_dir, log, damages, Timeline::newest_near)
}

/// What the samples of the log say about each damage that may have cost some.
fn of_costly<T: Clone>(
    fs: &dyn Fs,
    wal_dir: &Path,
    log: &LogScan,
    damages: &[Damage],
    say: fn(&Timeline, &Damage) -> T,
) -> Result<Vec<Option<T>>, WalError> {
    if !damages.iter().any(|damage| is_costly(log, damage)) {
        return Ok(vec![None; damages.len()]);
    }
    let timeline = Timeline::read(fs, wal_dir)?;
    Ok(damages.iter().map(|damage| is_costly(log, damage).then(|| say(&timeline, damage))).collect())
}

/// The last group that may have stood in a damage. Where no seal tells, it stood before the next one that can be read.
pub(super) fn last_lost_group(log: &LogScan, damage: &Damage) -> u64 {
    let is_behind =
        |summary: &&SegmentSummary| !summary.checkpoint && (damage.checkpoint || summary.segment >= damage.segment);
    let next = || log.segments.iter().filter(is_behind).find_map(|summary| summary.groups).map(|(first, _)| first);
    let last = || next().unwrap_or(log.resume.next_group).saturating_sub(1);
    damage.groups.map_or_else(last, |(_, last)| last)
}

/// Whether a damage may have cost acknowledged samples. What a segment with seals lost is named by its groups, unless they
/// are the first ones of a log that has lost its beginning: only the ledger knows whether groups stood there.
fn is_costly(log: &LogScan, damage: &Damage) -> bool {
    let is_at = |summary: &SegmentSummary| (summary.segment, summary.checkpoint) == (damage.segment, damage.checkpoint);
    let is_sealed = |summary: &SegmentSummary| is_at(summary) && (summary.marked || summary.seals > 0);
    let is_first = log.segments.first().is_some_and(is_at) && damage.offset == 0 && !damage.checkpoint;
    let has_begun_late = log.foreign_checkpoint.is_none() && log.follows.is_some_and(|group| group > 0);
    damage.groups.is_some() || (is_first && has_begun_late) || !log.segments.iter().any(is_sealed)
}

/// Where something stands: a checkpoint comes first, then the segments by number.
type Place = (bool, u32, u64);

#[derive(Debug, Clone, Copy)]
struct Stretch {
    place: Place,
    range: TimeRange,
}

/// From when to when the in-order samples are, along the log.
#[derive(Debug, Default)]
struct Timeline {
    stretches: Vec<Stretch>,
}

impl Timeline {
    fn read(fs: &dyn Fs, wal_dir: &Path) -> Result<Self, WalError> {
        let mut timeline = Timeline::default();
        let files = LogFiles::list(fs, wal_dir)?;
        scan_files(fs, &files, &mut timeline, &ReplayProgress::default(), Vec::new(), None)?;
        timeline.stretches.sort_by_key(|stretch| stretch.place);
        Ok(timeline)
    }

    /// The newest sample of the segment and of the stretch behind the damage.
    fn newest_near(&self, damage: &Damage) -> TimestampMs {
        let file = (!damage.checkpoint, damage.segment);
        let of_file = self.stretches.iter().filter(|stretch| (stretch.place.0, stretch.place.1) == file);
        of_file.map(|stretch| stretch.range.end_ms).fold(self.around(damage).end_ms, TimestampMs::max)
    }

    /// The samples before and behind a place, together.
    fn around(&self, damage: &Damage) -> TimeRange {
        let place = (!damage.checkpoint, damage.segment, damage.offset);
        let next = self.stretches.partition_point(|stretch| stretch.place <= place);
        let before = next.checked_sub(1).and_then(|index| self.stretches.get(index)).map(|stretch| stretch.range);
        let behind = self.stretches.get(next).map(|stretch| stretch.range);
        let start_ms =
            before.map(|before| behind.map_or(before.start_ms, |behind| behind.start_ms.min(before.start_ms)));
        let end_ms = behind.map(|behind| before.map_or(behind.end_ms, |before| before.end_ms.max(behind.end_ms)));
        TimeRange::new(start_ms.unwrap_or(TimestampMs::MIN), end_ms.unwrap_or(TimestampMs::MAX))
    }
}

impl ReplaySink for Timeline {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (kind, body) = record::split(&record);
        let Some(kind) = kind.filter(|kind| !kind.is_out_of_order()) else { return Ok(()) };
        let times = record::values(kind, body).into_iter().flatten().flatten().map(|sample| sample.timestamp_ms);
        let Some(range) = times.fold(None, |range: Option<TimeRange>, at_ms| {
            let range = range.unwrap_or(TimeRange::new(at_ms, at_ms));
            Some(TimeRange::new(range.start_ms.min(at_ms), range.end_ms.max(at_ms)))
        }) else {
            return Ok(());
        };
        let place: Place = (!position.checkpoint, position.segment, position.offset);
        let is_near = |last: &Stretch| {
            (last.place.0, last.place.1) == (place.0, place.1) && place.2.saturating_sub(last.place.2) < STRETCH_BYTES
        };
        match self.stretches.last_mut().filter(|last| is_near(last)) {
            Some(last) => {
                let (start_ms, end_ms) = (last.range.start_ms.min(range.start_ms), last.range.end_ms.max(range.end_ms));
                last.range = TimeRange::new(start_ms, end_ms);
            }
            None => self.stretches.push(Stretch { place, range }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SampleValue;

    fn damage(checkpoint: bool, segment: u32, offset: u64, groups: Option<(u64, u64)>) -> Damage {
        Damage { segment, checkpoint, offset, bytes: 1, groups, ..Damage::default() }
    }

    fn record(timeline: &mut Timeline, position: (bool, u32, u64), samples: &[i64], late: bool) {
        let mut encoder = if late { record::SamplesEncoder::out_of_order() } else { record::SamplesEncoder::new() };
        let mut bytes = Vec::new();
        samples.iter().for_each(|at_ms| encoder.push(&mut bytes, 1, *at_ms, 0.0));
        let (checkpoint, segment, offset) = position;
        timeline.record(RecordPosition { segment, offset, checkpoint, ..RecordPosition::default() }, bytes).unwrap();
    }

    #[test]
    fn times_of_a_damage_are_those_around_it_and_open_where_nothing_stands() {
        let mut timeline = Timeline::default();
        record(&mut timeline, (true, 0, 0), &[10, 20], false);
        record(&mut timeline, (false, 5, 100), &[110, 105], false);
        record(&mut timeline, (false, 5, 200), &[1], true);
        let mut late = Vec::new();
        let histogram = SampleValue::Histogram(Box::default());
        record::HistogramsEncoder::out_of_order().push(&mut late, 1, 2, &histogram);
        timeline.record(RecordPosition { segment: 5, offset: 250, ..RecordPosition::default() }, late).unwrap();
        record(&mut timeline, (false, 5, 300), &[120], false);
        record(&mut timeline, (false, 5, 100 + STRETCH_BYTES), &[130, 140], false);
        record(&mut timeline, (false, 7, 0), &[90, 200], false);
        let around = |timeline: &Timeline, checkpoint, segment, offset| {
            timeline.around(&damage(checkpoint, segment, offset, None))
        };
        assert_eq!(around(&timeline, true, 0, 50), TimeRange::new(10, 120));
        assert_eq!(around(&timeline, false, 5, 50), TimeRange::new(10, 120));
        assert_eq!(around(&timeline, false, 5, 400), TimeRange::new(105, 140));
        assert_eq!(around(&timeline, false, 6, 0), TimeRange::new(90, 200));
        assert_eq!(around(&timeline, false, 7, 50), TimeRange::new(90, TimestampMs::MAX));
        timeline.stretches.remove(0);
        assert_eq!(around(&timeline, true, 0, 50), TimeRange::new(TimestampMs::MIN, 120));
    }

    #[test]
    fn damage_is_costly_where_groups_lost_something_or_no_seal_can_tell() {
        let ours = SegmentSummary { segment: 1, marked: true, ..SegmentSummary::default() };
        let foreign = SegmentSummary { segment: 2, ..SegmentSummary::default() };
        let log = LogScan { segments: vec![ours, foreign], ..LogScan::default() };
        let costly = |segment, groups| is_costly(&log, &damage(false, segment, 0, groups));
        assert!(!costly(1, None) && costly(1, Some((4, 4))));
        assert!(costly(2, None) && costly(3, None), "foreign, and missing");
        let begun_late = LogScan { follows: Some(3), ..log.clone() };
        assert!(is_costly(&begun_late, &damage(false, 1, 0, None)), "the mark and the first groups");
        assert!(!is_costly(&begun_late, &damage(false, 1, 9, None)));
        assert!(!is_costly(&LogScan { follows: Some(0), ..log }, &damage(false, 1, 0, None)));
    }

    #[test]
    fn groups_of_a_damage_that_no_seal_tells_end_before_the_next_seal() {
        let sealed = |segment, groups| SegmentSummary { segment, groups, ..SegmentSummary::default() };
        let segments = vec![sealed(1, Some((2, 4))), sealed(2, None), sealed(4, Some((9, 9))), sealed(5, None)];
        let mut log = LogScan { segments, ..LogScan::default() };
        log.resume.next_group = 10;
        let last = |checkpoint, segment, groups| last_lost_group(&log, &damage(checkpoint, segment, 0, groups));
        assert_eq!((last(false, 2, Some((5, 7))), last(false, 2, None), last(false, 3, None)), (7, 8, 8));
        assert_eq!((last(true, 7, None), last(false, 5, None)), (1, 9));
    }
}
