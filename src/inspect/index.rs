//! `index dump`: the series of a block, with their chunks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::InspectError;
use super::rows::{Rows, time_text};
use crate::block::Block;
use crate::fs::Fs;
use crate::model::{LabelSet, Matcher, TimestampMs};

/// Which series to show.
#[derive(Debug, Clone, Default)]
pub struct IndexDumpOptions {
    /// The block's directory.
    pub dir: PathBuf,
    /// Only the series that pass all of these.
    pub matchers: Vec<Matcher>,
    /// At most this many rows; the rest are counted.
    pub rows_max: usize,
}

/// One chunk of a series.
#[derive(Debug, Clone, Serialize)]
pub struct ChunkPlace {
    /// Number of the segment that holds it.
    pub segment: u64,
    /// Where it begins there.
    pub offset: usize,
    /// Time of its first sample, ms.
    pub first_ms: TimestampMs,
    /// Time of its last sample, ms.
    pub last_ms: TimestampMs,
}

/// One series.
#[derive(Debug, Clone, Serialize)]
pub struct SeriesRow {
    /// Its reference, as tombstones have it.
    pub series_ref: u32,
    /// Its labels, as they are written.
    pub labels: String,
    /// Its chunks.
    pub chunks: Vec<ChunkPlace>,
    /// Deleted ranges: first and last ms of each.
    pub deleted: Vec<(TimestampMs, TimestampMs)>,
    /// Its stored samples, where the accelerator tells.
    pub samples: Option<u64>,
    /// The sum of their digests, where the accelerator tells.
    pub digest: Option<String>,
}

/// The series of a block.
#[derive(Debug, Clone, Serialize)]
pub struct IndexDump {
    /// The series, in the order of their labels.
    #[serde(flatten)]
    pub series: Rows<SeriesRow>,
    /// What could not be read.
    pub damage: Vec<String>,
}

impl IndexDump {
    /// 0, or 1 if any damage was seen.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.damage.is_empty())
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let header = ["series", "labels", "chunks", "first", "last", "deleted", "samples"];
        let mut out = self.series.to_table(header, |row| {
            let first = row.chunks.first().map_or_else(String::new, |chunk| time_text(chunk.first_ms));
            let last = row.chunks.last().map_or_else(String::new, |chunk| time_text(chunk.last_ms));
            let places = row.chunks.iter().map(|chunk| format!("{:06}:{}", chunk.segment, chunk.offset));
            let samples = row.samples.map_or_else(String::new, |samples| samples.to_string());
            [
                row.series_ref.to_string(),
                row.labels.clone(),
                places.collect::<Vec<_>>().join(" "),
                first,
                last,
                row.deleted.len().to_string(),
                samples,
            ]
        });
        for damage in &self.damage {
            out.push_str(&format!("\nDAMAGED {damage}"));
        }
        let series = self.series.rows.len() as u64 + self.series.rows_left_off;
        out.push_str(&format!("\n{series} series"));
        out
    }
}

/// Opens the block in a directory that a person named.
pub(super) fn open_block(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Arc<Block>, InspectError> {
    fs.list(dir).map_err(|error| InspectError::io("list", dir, error))?;
    Ok(Block::open(fs.clone(), dir)?)
}

/// Shows the series of the block in `dir`.
pub fn dump_index(fs: &Arc<dyn Fs>, options: &IndexDumpOptions) -> Result<IndexDump, InspectError> {
    let block = open_block(fs, &options.dir)?;
    let tombstones = block.tombstones();
    let accel = block.accel();
    // Ordinals of the accelerator are places among all series, so they are known only where all are shown.
    let accel = accel.filter(|_| options.matchers.is_empty());
    let mut dump = IndexDump { series: Rows::new(options.rows_max), damage: Vec::new() };
    for (ordinal, series_ref) in (0u32..).zip(block.series_refs(&options.matchers)) {
        if dump.series.is_full() {
            dump.series.leave_off();
            continue;
        }
        let entry = match block.series_entry(series_ref) {
            Ok(entry) => entry,
            Err(damage) => {
                dump.damage.push(damage.what);
                continue;
            }
        };
        let chunks = entry.chunks.iter().map(|(range, place)| ChunkPlace {
            segment: place.segment(),
            offset: place.offset(),
            first_ms: range.start_ms,
            last_ms: range.end_ms,
        });
        let deleted = tombstones.get(u64::from(series_ref));
        let deleted = deleted.map(|deleted| deleted.as_slice().iter().map(|range| (range.start_ms, range.end_ms)));
        let tally = accel.as_ref().and_then(|accel| accel.series_tally(ordinal).ok()?);
        dump.series.push(SeriesRow {
            series_ref,
            labels: labels_text(&entry.labels),
            chunks: chunks.collect(),
            deleted: deleted.map(Iterator::collect).unwrap_or_default(),
            samples: tally.map(|tally| tally.samples),
            digest: tally.map(|tally| tally.digest.to_string()),
        });
    }
    dump.damage.extend(block.damages().into_iter().map(|damage| damage.what));
    dump.damage.sort();
    dump.damage.dedup();
    Ok(dump)
}

/// A label set as queries write it: the metric's name in front.
fn labels_text(labels: &LabelSet) -> String {
    let rest = labels.without(|name| name == crate::model::METRIC_NAME);
    match (labels.metric_name(), rest.is_empty()) {
        (Some(name), true) => name.to_owned(),
        (name, _) => format!("{}{rest}", name.unwrap_or_default()),
    }
}
