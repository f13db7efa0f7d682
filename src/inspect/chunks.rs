//! `chunk dump`: the chunks of a block's segments one behind the other, or the samples of one of them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::InspectError;
use super::rows::{Rows, time_text};
use super::wal::RowState;
use crate::block::chunks::{HEADER_BYTES, SegmentChunk, Segments, find_chunk};
use crate::chunk;
use crate::encoding::{Corruption, go_float};
use crate::fs::Fs;
use crate::model::{SampleValue, TimestampMs};

/// Which chunks to show.
#[derive(Debug, Clone)]
pub struct ChunkDumpOptions {
    /// The block's directory.
    pub dir: PathBuf,
    /// Only the segment with this number.
    pub segment: Option<u32>,
    /// At most this many rows; the rest are counted.
    pub rows_max: usize,
}

/// One chunk, or a place where none could be read.
#[derive(Debug, Clone, Serialize)]
pub struct ChunkRow {
    /// Number of the segment.
    pub segment: usize,
    /// Where the chunk begins in it.
    pub offset: usize,
    /// Bytes of the chunk with length and checksum, or of what could not be read.
    pub bytes: usize,
    /// How its samples are encoded.
    pub encoding: &'static str,
    /// How many samples it holds.
    pub samples: u64,
    /// Time of the first sample, ms.
    pub first_ms: Option<TimestampMs>,
    /// Time of the last sample, ms.
    pub last_ms: Option<TimestampMs>,
    /// Whether it could be read.
    pub state: RowState,
    /// What is wrong with it.
    pub detail: String,
}

/// One sample.
#[derive(Debug, Clone, Serialize)]
pub struct SampleRow {
    /// When, ms.
    pub timestamp_ms: TimestampMs,
    /// What, as text.
    pub value: String,
}

/// The chunks of a block.
#[derive(Debug, Clone, Serialize)]
pub struct ChunkDump {
    /// The chunks, in the order of the segments.
    #[serde(flatten)]
    pub chunks: Rows<ChunkRow>,
    /// Chunks that could be read.
    pub good: u64,
    /// Places that could not.
    pub damaged: u64,
    /// Samples of the good chunks.
    pub samples: u64,
}

/// The samples of one chunk.
#[derive(Debug, Clone, Serialize)]
pub struct SampleDump {
    /// The samples.
    #[serde(flatten)]
    pub samples: Rows<SampleRow>,
    /// Why they end early.
    pub damage: Option<String>,
}

impl ChunkDump {
    /// 0, or 1 if any damage was seen.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.damaged > 0)
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let header = ["segment:offset", "bytes", "encoding", "samples", "first", "last", "state"];
        let table = self.chunks.to_table(header, |row| {
            let time = |time: Option<TimestampMs>| time.map_or_else(String::new, time_text);
            let state =
                if row.state == RowState::Good { "good".to_owned() } else { format!("DAMAGED: {}", row.detail) };
            [
                format!("{:06}:{}", row.segment, row.offset),
                row.bytes.to_string(),
                row.encoding.to_owned(),
                row.samples.to_string(),
                time(row.first_ms),
                time(row.last_ms),
                state,
            ]
        });
        format!("{table}\n{} chunks with {} samples, {} damaged places", self.good, self.samples, self.damaged)
    }
}

impl SampleDump {
    /// 0, or 1 if the chunk is damaged.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.damage.is_some())
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let row = |row: &SampleRow| [time_text(row.timestamp_ms), row.timestamp_ms.to_string(), row.value.clone()];
        let mut out = self.samples.to_table(["time", "ms", "value"], row);
        if let Some(damage) = &self.damage {
            out.push_str(&format!("\nDAMAGED: {damage}"));
        }
        out
    }
}

fn open(fs: &dyn Fs, dir: &Path) -> Result<Segments, InspectError> {
    let chunks = dir.join(crate::fs::names::BLOCK_CHUNKS_DIR);
    fs.list(&chunks).map_err(|error| InspectError::io("list", &chunks, error))?;
    Ok(Segments::open(fs, dir))
}

/// Lists the chunks of a block.
pub fn dump_chunks(fs: &dyn Fs, options: &ChunkDumpOptions) -> Result<ChunkDump, InspectError> {
    let segments = open(fs, &options.dir)?;
    let mut dump = ChunkDump { chunks: Rows::new(options.rows_max), good: 0, damaged: 0, samples: 0 };
    let wanted = |number: usize| options.segment.is_none_or(|segment| segment as usize == number);
    let mut seen = false;
    for (number, segment) in segments.iter().filter(|(number, _)| wanted(*number)) {
        seen = true;
        match segment {
            Ok(bytes) => dump.segment(number, bytes),
            Err(fault) => dump.damage(number, 0, 0, fault.to_owned()),
        }
    }
    if let Some(segment) = options.segment.filter(|_| !seen) {
        return Err(InspectError::NotThere { what: format!("chunk segment {segment:06}"), dir: options.dir.clone() });
    }
    Ok(dump)
}

impl ChunkDump {
    fn damage(&mut self, segment: usize, offset: usize, bytes: usize, detail: String) {
        self.damaged += 1;
        self.chunks.push(ChunkRow {
            segment,
            offset,
            bytes,
            encoding: "",
            samples: 0,
            first_ms: None,
            last_ms: None,
            state: RowState::Damaged,
            detail,
        });
    }

    fn segment(&mut self, number: usize, bytes: &[u8]) {
        let mut offset = HEADER_BYTES;
        while offset < bytes.len() {
            let chunk = match find_chunk(bytes, offset) {
                Ok(chunk) => chunk,
                Err(fault) => {
                    // Where the next chunk begins is known only from this one's length, which cannot be trusted.
                    self.damage(number, offset, bytes.len() - offset, format!("{fault}; the rest was not read"));
                    return;
                }
            };
            match times(bytes, &chunk) {
                Ok((samples, range)) => {
                    self.good += 1;
                    self.samples += samples;
                    self.chunks.push(ChunkRow {
                        segment: number,
                        offset,
                        bytes: chunk.end - offset,
                        encoding: chunk.encoding.as_str(),
                        samples,
                        first_ms: range.map(|(first, _)| first),
                        last_ms: range.map(|(_, last)| last),
                        state: RowState::Good,
                        detail: String::new(),
                    });
                }
                Err(fault) => self.damage(number, offset, chunk.end - offset, fault.to_string()),
            }
            offset = chunk.end;
        }
    }
}

type Times = (u64, Option<(TimestampMs, TimestampMs)>);

/// How many samples a chunk has, and the times of its first and last.
fn times(segment: &[u8], chunk: &SegmentChunk) -> Result<Times, Corruption> {
    let data = segment.get(chunk.data.clone()).unwrap_or_default();
    let (mut samples, mut range) = (0, None);
    for sample in chunk::samples(chunk.encoding, data)? {
        let (timestamp_ms, _) = sample?;
        samples += 1;
        range = Some((range.map_or(timestamp_ms, |(first, _)| first), timestamp_ms));
    }
    Ok((samples, range))
}

/// Shows the samples of the chunk at `offset` of a segment.
pub fn dump_samples(
    fs: &dyn Fs,
    dir: &Path,
    segment: u32,
    offset: u64,
    rows_max: usize,
) -> Result<SampleDump, InspectError> {
    let segments = open(fs, dir)?;
    let name = || format!("chunk {segment:06}:{offset}");
    let bytes = segments
        .get(u64::from(segment))
        .map_err(|fault| InspectError::Damaged { what: fault.to_owned(), place: name() })?;
    let offset = usize::try_from(offset).map_err(|_| InspectError::NotThere { what: name(), dir: dir.to_owned() })?;
    let damaged = |fault: Corruption| InspectError::Damaged { what: fault.to_string(), place: name() };
    let chunk = find_chunk(bytes, offset).map_err(damaged)?;
    let mut dump = SampleDump { samples: Rows::new(rows_max), damage: None };
    let data = bytes.get(chunk.data.clone()).unwrap_or_default();
    for sample in chunk::samples(chunk.encoding, data).map_err(damaged)? {
        match sample {
            Ok((timestamp_ms, value)) => {
                dump.samples.push(SampleRow { timestamp_ms, value: value_text(&value) });
            }
            Err(fault) => dump.damage = Some(fault.to_string()),
        }
    }
    Ok(dump)
}

/// A value in a line: a float with its shortest digits, a histogram by its counts and buckets.
fn value_text(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) if crate::model::is_stale_nan(*value) => "stale".to_owned(),
        SampleValue::Float(value) => go_float::general(*value, None),
        histogram if histogram.is_stale() => "stale histogram".to_owned(),
        SampleValue::Histogram(histogram) => {
            let counts = |deltas: &[i64]| crate::model::histogram::bucket_counts(deltas).collect::<Vec<_>>();
            format!(
                "histogram count {} sum {} schema {} zero {} positive {:?} negative {:?}",
                histogram.count,
                go_float::general(histogram.sum, None),
                histogram.schema,
                histogram.zero_count,
                counts(&histogram.positive_deltas),
                counts(&histogram.negative_deltas)
            )
        }
        SampleValue::FloatHistogram(histogram) => format!(
            "float histogram count {} sum {} schema {} zero {} positive {:?} negative {:?}",
            go_float::general(histogram.count, None),
            go_float::general(histogram.sum, None),
            histogram.schema,
            go_float::general(histogram.zero_count, None),
            histogram.positive_buckets,
            histogram.negative_buckets
        ),
    }
}
