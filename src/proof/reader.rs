//! From the records of a log to its samples and deletions, in the order of the log.

use super::series::LogSeries;
use crate::encoding::Corruption;
use crate::model::{Digest, SampleValue, TimeRange, TimestampMs};
use crate::wal::RecordType;
use crate::wal::record::{samples, split, tombstones, values};

/// How a sample came into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all of its series before it.
    InOrder,
    /// In a record for samples in order, and not newer than its series: Prometheus writes out-of-order samples so, and
    /// once more to `wbl/`, from where they count.
    NotNewer,
    /// Out of order.
    OutOfOrder,
}

/// A sample of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSample<'a> {
    /// Its series, as a number of [`LogSeries`].
    pub row: u32,
    /// Digest of the series' labels.
    pub labels: Digest,
    /// When it was measured.
    pub timestamp_ms: TimestampMs,
    /// What was measured.
    pub value: &'a SampleValue,
    /// How it came.
    pub arrival: Arrival,
}

impl LogSample<'_> {
    /// The sample's digest.
    #[inline]
    pub fn digest(&self) -> Digest {
        self.labels.of_value(self.timestamp_ms, self.value)
    }
}

/// What stands in the log.
#[derive(Debug, Clone, Copy)]
pub enum LogEntry<'a> {
    /// A sample.
    Sample(LogSample<'a>),
    /// The samples of a series in a closed range of time are deleted: those that stand before this in the log.
    Deletion {
        /// The series.
        row: u32,
        /// The range.
        range: TimeRange,
    },
}

/// What was read of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRead {
    /// Series, samples or deletions.
    Known {
        /// Samples and deletions of series that the log does not name.
        unknown: u64,
    },
    /// Something else.
    Other,
}

/// Where a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// In `wal/`.
    Wal,
    /// In a `wbl/` that Prometheus wrote.
    Wbl,
}

/// Reads records.
#[derive(Debug, Default)]
pub struct LogReader {
    series: LogSeries,
}

impl LogReader {
    /// The series so far.
    pub fn series(&self) -> &LogSeries {
        &self.series
    }

    /// Reads a record, type byte first, and gives its samples and deletions to `on`. What stands before a damaged place
    /// of the record is given.
    pub fn read(
        &mut self,
        log: LogKind,
        record: &[u8],
        on: &mut impl FnMut(LogEntry<'_>),
    ) -> Result<RecordRead, Corruption> {
        let (kind, body) = split(record);
        let mut unknown = 0;
        match (kind, log) {
            (Some(RecordType::Series), LogKind::Wal) => self.series.record(body)?,
            (Some(RecordType::Samples | RecordType::OutOfOrderSamples), _) => {
                let in_order = kind == Some(RecordType::Samples) && log == LogKind::Wal;
                for sample in samples(body) {
                    let sample = sample?;
                    let value = SampleValue::Float(sample.value);
                    unknown += self.sample(sample.series_ref, sample.timestamp_ms, &value, in_order, on);
                }
            }
            (Some(RecordType::Tombstones), LogKind::Wal) => {
                for tombstone in tombstones(body) {
                    let tombstone = tombstone?;
                    match self.series.of_ref(tombstone.series_ref) {
                        Some(row) => {
                            on(LogEntry::Deletion { row, range: TimeRange::new(tombstone.start_ms, tombstone.end_ms) });
                        }
                        None => unknown += 1,
                    }
                }
            }
            (Some(other), _) => {
                let Some(histograms) = values(other, body) else { return Ok(RecordRead::Other) };
                let in_order = !other.is_out_of_order() && log == LogKind::Wal;
                let mut damage = None;
                for sample in histograms {
                    match sample {
                        Ok(sample) => {
                            unknown += self.sample(sample.series_ref, sample.timestamp_ms, &sample.value, in_order, on);
                        }
                        // A histogram that is refused costs nothing behind it.
                        Err(corruption) => damage = damage.or(Some(corruption)),
                    }
                }
                if let Some(corruption) = damage {
                    return Err(corruption);
                }
            }
            (None, _) => return Ok(RecordRead::Other),
        }
        Ok(RecordRead::Known { unknown })
    }

    /// Gives a sample on; 1 where its series is not known.
    #[inline]
    fn sample(
        &mut self,
        series_ref: u64,
        timestamp_ms: TimestampMs,
        value: &SampleValue,
        in_order: bool,
        on: &mut impl FnMut(LogEntry<'_>),
    ) -> u64 {
        let Some(row) = self.series.of_ref(series_ref) else { return 1 };
        let arrival = match in_order {
            false => Arrival::OutOfOrder,
            true if self.series.advance(row, timestamp_ms) => Arrival::InOrder,
            true => Arrival::NotNewer,
        };
        on(LogEntry::Sample(LogSample { row, labels: self.series.labels(row), timestamp_ms, value, arrival }));
        0
    }
}
