//! Runs: sorted parts of an import on disk.
//!
//! A run holds the samples of a part of the input, sorted by block range, series and time, and behind them an index of
//! fixed entries in that order, so that the samples of one series in one range are found by binary search in the mapped
//! file. Nothing of a run is kept in memory.

use std::io;
use std::path::Path;

use crate::encoding::{crc32c, crc32c_more};
use crate::fs::{Fs, MappedFile};
use crate::model::TimestampMs;

use super::series::SeriesNumber;

/// Bytes of a sample: time and value bits.
const SAMPLE_BYTES: usize = 16;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of an index entry: range 8, series 4, samples 4, offset 8.
const ENTRY_BYTES: usize = 24;
/// Bytes at the end: where the index begins.
const FOOTER_BYTES: usize = 8;

/// A sample that was read and not yet written to a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pending {
    pub(super) series: SeriesNumber,
    pub(super) timestamp_ms: TimestampMs,
    pub(super) bits: u64,
}

/// The number of the range that a time lies in.
pub(super) fn range_of(timestamp_ms: TimestampMs, range_ms: i64) -> i64 {
    timestamp_ms.div_euclid(range_ms)
}

/// Sorts samples, by time of equal series as they came, and writes them as a run. Gives length and checksum.
pub(super) fn write_run(fs: &dyn Fs, path: &Path, samples: &mut [Pending], range_ms: i64) -> io::Result<(u64, u32)> {
    let group = |sample: &Pending| (range_of(sample.timestamp_ms, range_ms), sample.series);
    samples.sort_by_key(|sample| (group(sample), sample.timestamp_ms));
    if fs.exists(path) {
        fs.remove_file(path)?;
    }
    let mut file = fs.create(path)?;
    let (mut bytes, mut written, mut crc) = (Vec::new(), 0u64, 0);
    let mut put = |bytes: &mut Vec<u8>| -> io::Result<()> {
        file.write_all(bytes)?;
        crc = crc32c_more(crc, bytes);
        bytes.clear();
        Ok(())
    };
    let mut entries = Vec::new();
    for part in samples.chunk_by(|a, b| group(a) == group(b)) {
        let Some((range, series)) = part.first().map(group) else { continue };
        entries.extend(range.to_le_bytes());
        entries.extend(series.to_le_bytes());
        entries.extend((part.len() as u32).to_le_bytes());
        entries.extend(written.to_le_bytes());
        written += (part.len() * SAMPLE_BYTES) as u64;
        for sample in part {
            bytes.extend(sample.timestamp_ms.to_le_bytes());
            bytes.extend(sample.bits.to_le_bytes());
        }
        if bytes.len() >= WRITE_BYTES {
            put(&mut bytes)?;
        }
    }
    entries.extend(written.to_le_bytes());
    written += entries.len() as u64;
    put(&mut bytes)?;
    put(&mut entries)?;
    file.sync_data()?;
    Ok((written, crc))
}

/// A run that is read.
#[derive(Debug)]
pub(super) struct Run {
    bytes: MappedFile,
    index_at: usize,
    entries: usize,
}

/// One entry of a run's index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    range: i64,
    series: SeriesNumber,
    samples: u32,
    offset: u64,
}

impl Run {
    /// Maps a run; `None` where it is not what was written.
    pub(super) fn open(fs: &dyn Fs, path: &Path, length: u64, checksum: u32) -> io::Result<Option<Run>> {
        let bytes = fs.map(path)?;
        if bytes.len() as u64 != length || crc32c(&bytes) != checksum {
            return Ok(None);
        }
        let index_end = bytes.len().saturating_sub(FOOTER_BYTES);
        let footer = bytes.get(index_end..).and_then(|footer| footer.try_into().ok()).map(u64::from_le_bytes);
        let index_at = footer.and_then(|at| usize::try_from(at).ok()).filter(|&at| at <= index_end);
        Ok(index_at.map(|index_at| Run { bytes, index_at, entries: (index_end - index_at) / ENTRY_BYTES }))
    }

    fn entry(&self, number: usize) -> Option<Entry> {
        let at = self.index_at + number * ENTRY_BYTES;
        let bytes = self.bytes.get(at..at + ENTRY_BYTES)?;
        let (range, rest) = bytes.split_first_chunk()?;
        let (series, rest) = rest.split_first_chunk()?;
        let (samples, rest) = rest.split_first_chunk()?;
        Some(Entry {
            range: i64::from_le_bytes(*range),
            series: u32::from_le_bytes(*series),
            samples: u32::from_le_bytes(*samples),
            offset: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// The first entry that is not before this place.
    fn lower_bound(&self, range: i64, series: SeriesNumber) -> usize {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle) {
                Some(entry) if (entry.range, entry.series) < (range, series) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The ranges that the run has samples in, rising.
    pub(super) fn ranges(&self) -> Vec<i64> {
        let mut ranges = Vec::new();
        let mut at = 0;
        while let Some(entry) = (at < self.entries).then(|| self.entry(at)).flatten() {
            ranges.push(entry.range);
            let Some(next) = entry.range.checked_add(1) else { break };
            at = self.lower_bound(next, 0);
        }
        ranges
    }

    /// The series that have samples in the range, rising.
    pub(super) fn series_in(&self, range: i64) -> impl Iterator<Item = SeriesNumber> + '_ {
        let entries = (self.lower_bound(range, 0)..self.entries).map_while(move |number| self.entry(number));
        entries.take_while(move |entry| entry.range == range).map(|entry| entry.series)
    }

    /// The samples of one series in one range, by time: time and value bits.
    pub(super) fn samples(&self, range: i64, series: SeriesNumber) -> impl Iterator<Item = (TimestampMs, u64)> + '_ {
        let found = self.entry(self.lower_bound(range, series));
        let found = found.filter(|entry| (entry.range, entry.series) == (range, series));
        let bytes = found.and_then(|entry| {
            let start = usize::try_from(entry.offset).ok()?;
            self.bytes.get(start..start.checked_add(entry.samples as usize * SAMPLE_BYTES)?)
        });
        bytes.unwrap_or(&[]).chunks_exact(SAMPLE_BYTES).filter_map(|sample| {
            let (timestamp_ms, bits) = sample.split_first_chunk()?;
            Some((i64::from_le_bytes(*timestamp_ms), u64::from_le_bytes(*bits.first_chunk()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    #[test]
    fn run_gives_the_samples_of_a_series_in_a_range_by_time_and_then_as_they_came() {
        let fs = SimFs::new(1);
        let path = Path::new("/run");
        let sample = |series, timestamp_ms, bits| Pending { series, timestamp_ms, bits };
        let mut samples = [
            sample(7, 15, 1),
            sample(7, 12, 2),
            sample(2, 12, 3),
            sample(7, 12, 4),
            sample(7, -1, 5),
            sample(2, 31, 6),
        ];
        let (length, checksum) = write_run(&fs, path, &mut samples, 10).unwrap();
        let run = Run::open(&fs, path, length, checksum).unwrap().unwrap();
        assert_eq!(run.ranges(), [-1, 1, 3]);
        assert_eq!(run.series_in(1).collect::<Vec<_>>(), [2, 7]);
        assert_eq!(run.samples(1, 7).collect::<Vec<_>>(), [(12, 2), (12, 4), (15, 1)]);
        assert_eq!(run.samples(-1, 7).collect::<Vec<_>>(), [(-1, 5)]);
        assert_eq!(run.samples(3, 7).count(), 0);
        assert!(Run::open(&fs, path, length, checksum ^ 1).unwrap().is_none());
    }
}
