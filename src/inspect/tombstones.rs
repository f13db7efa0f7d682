//! `tombstones dump`: the deleted ranges of a block.

use std::path::Path;

use serde::Serialize;

use super::InspectError;
use super::rows::{Rows, time_text};
use crate::fs::{Fs, names};
use crate::model::TimestampMs;
use crate::tombstones::TombstoneFile;

/// A deleted range of one series.
#[derive(Debug, Clone, Serialize)]
pub struct TombstoneRow {
    /// The series' reference in the block's index.
    pub series_ref: u64,
    /// First deleted millisecond.
    pub start_ms: TimestampMs,
    /// Last deleted millisecond.
    pub end_ms: TimestampMs,
}

/// The deleted ranges of a block.
#[derive(Debug, Clone, Serialize)]
pub struct TombstoneDump {
    /// The ranges, by series and time.
    #[serde(flatten)]
    pub ranges: Rows<TombstoneRow>,
    /// Series with deletions.
    pub series: u64,
}

impl TombstoneDump {
    /// The report as a table.
    pub fn to_table(&self) -> String {
        let row = |row: &TombstoneRow| [row.series_ref.to_string(), time_text(row.start_ms), time_text(row.end_ms)];
        let table = self.ranges.to_table(["series", "from", "to"], row);
        let ranges = self.ranges.rows.len() as u64 + self.ranges.rows_left_off;
        format!("{table}\n{ranges} deleted ranges of {} series", self.series)
    }
}

/// Shows what is deleted of the block in `dir`. A block without the file has no deletions.
pub fn dump_tombstones(fs: &dyn Fs, dir: &Path, rows_max: usize) -> Result<TombstoneDump, InspectError> {
    let path = dir.join(names::BLOCK_TOMBSTONES_FILE);
    fs.list(dir).map_err(|error| InspectError::io("list", dir, error))?;
    let mut dump = TombstoneDump { ranges: Rows::new(rows_max), series: 0 };
    if !fs.exists(&path) {
        return Ok(dump);
    }
    let bytes = fs.read(&path).map_err(|error| InspectError::io("read", &path, error))?;
    let file = TombstoneFile::decode(&bytes)
        .map_err(|fault| InspectError::Damaged { what: fault.to_string(), place: path.display().to_string() })?;
    for (series_ref, intervals) in file.iter() {
        dump.series += 1;
        for range in intervals.as_slice() {
            dump.ranges.push(TombstoneRow { series_ref, start_ms: range.start_ms, end_ms: range.end_ms });
        }
    }
    Ok(dump)
}
