//! Summaries of finished segments: what makes a start faster.
//!
//! A segment whose samples all stand in head chunk files need not be read at a start, but for its few other records. The
//! summary beside it (`NNNNNNNN.summary`, which Prometheus passes over) says from when to when its samples are, where the
//! other records stand, and how the seal chain goes on behind it.
//!
//! It is derived. It is made only of a segment that is whole: mark, groups and seals, each following the one before it. It
//! counts only where the segment's length, its mark and its last seal are those that it names; without it, the segment is
//! read. Whatever proves the log reads the segments themselves.

use std::path::Path;

use super::commit::Durability;
use super::options::WalError;
use super::reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
use super::record::{RecordType, split, values};
use super::seal::{GroupHasher, Mark, Seal, SealRecord};
use crate::encoding::{Corruption, Cursor, crc32c, put};
use crate::fs::{Fs, names};
use crate::model::{TimeRange, TimestampMs};

const MAGIC: &[u8; 8] = b"CHLRSUM\x01";
/// Bytes of a listed record in a summary, at least.
const LISTED_BYTES_MIN: usize = 2;

/// Up to where the samples of the log need not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayFrom {
    /// The head has the in-order samples before this time, if their group is not a later one.
    pub time_ms: TimestampMs,
    /// The last group that this is said of.
    pub group: u64,
    /// In-order samples before this time are not wanted, whatever their group: blocks have them.
    pub floor_ms: TimestampMs,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) segment: u32,
    /// Length of the segment.
    pub(crate) bytes: u64,
    /// The last group before the segment, and its chain value.
    pub(crate) mark: (u64, u128),
    /// Its last group, and the chain value of that.
    pub(crate) last: (u64, u128),
    pub(crate) first_group: u64,
    /// Where the seal of the last group begins.
    pub(crate) last_seal_offset: u64,
    pub(crate) next_commit: u64,
    pub(crate) durability: Durability,
    pub(crate) clean_end: bool,
    pub(crate) requests: u64,
    pub(crate) samples: u64,
    pub(crate) records: u64,
    pub(crate) sealed_records: u64,
    pub(crate) record_bytes: u64,
    /// From the oldest to the newest in-order sample.
    pub(crate) range: Option<TimeRange>,
    /// The greatest series reference among them; 0 where there is none.
    pub(crate) newest_ref: u64,
    /// The records that hold other things than in-order samples: where they begin, and their groups.
    pub(crate) listed: Vec<(u64, u64)>,
}

impl Summary {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put::u32_be(&mut out, self.segment);
        put::u64_be(&mut out, self.bytes);
        for (group, chain) in [self.mark, self.last] {
            put::u64_be(&mut out, group);
            out.extend(chain.to_be_bytes());
        }
        let durability = match self.durability {
            Durability::Fsync => 0,
            Durability::Interval => 1,
            Durability::None => 2,
        };
        out.extend([durability, u8::from(self.clean_end), u8::from(self.range.is_some())]);
        let range = self.range.unwrap_or(TimeRange::new(0, 0));
        for value in [
            self.first_group,
            self.last_seal_offset,
            self.next_commit,
            self.requests,
            self.samples,
            self.records,
            self.sealed_records,
            self.record_bytes,
            range.start_ms as u64,
            range.end_ms as u64,
            self.newest_ref,
        ] {
            put::u64_be(&mut out, value);
        }
        put::uvarint(&mut out, self.listed.len() as u64);
        let mut previous = (0, 0);
        for &(offset, group) in &self.listed {
            put::uvarint(&mut out, offset.wrapping_sub(previous.0));
            put::uvarint(&mut out, group.wrapping_sub(previous.1));
            previous = (offset, group);
        }
        let checksum = crc32c(&out);
        put::u32_be(&mut out, checksum);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corruption> {
        let (covered, checksum) =
            bytes.split_last_chunk::<4>().ok_or(Corruption { what: "summary is short", offset: 0 })?;
        if crc32c(covered) != u32::from_be_bytes(*checksum) {
            return Err(Corruption { what: "summary does not give its checksum", offset: 0 });
        }
        let mut cursor = Cursor::new(covered);
        if cursor.take(MAGIC.len())? != MAGIC {
            return Err(Corruption { what: "summary does not begin with its magic number", offset: 0 });
        }
        let segment = cursor.u32_be()?;
        let bytes = cursor.u64_be()?;
        let mut witness = || Ok((cursor.u64_be()?, u128::from_be_bytes(cursor.array()?)));
        let (mark, last) = (witness()?, witness()?);
        let durability = match cursor.u8()? {
            0 => Durability::Fsync,
            1 => Durability::Interval,
            2 => Durability::None,
            _ => return Err(cursor.corrupt("summary has an unknown durability")),
        };
        let (clean_end, has_range) = (cursor.u8()? != 0, cursor.u8()? != 0);
        let mut summary = Summary {
            segment,
            bytes,
            mark,
            last,
            durability,
            clean_end,
            first_group: cursor.u64_be()?,
            last_seal_offset: cursor.u64_be()?,
            next_commit: cursor.u64_be()?,
            requests: cursor.u64_be()?,
            samples: cursor.u64_be()?,
            records: cursor.u64_be()?,
            sealed_records: cursor.u64_be()?,
            record_bytes: cursor.u64_be()?,
            range: None,
            newest_ref: 0,
            listed: Vec::new(),
        };
        let (start_ms, end_ms) = (cursor.u64_be()? as i64, cursor.u64_be()? as i64);
        summary.range = has_range.then(|| TimeRange::new(start_ms, end_ms));
        summary.newest_ref = cursor.u64_be()?;
        let count = cursor.uvarint()?;
        if count > (cursor.remaining() / LISTED_BYTES_MIN) as u64 {
            return Err(cursor.corrupt("count of listed records exceeds the summary"));
        }
        let mut previous = (0u64, 0u64);
        for _ in 0..count {
            previous.0 = previous.0.wrapping_add(cursor.uvarint()?);
            previous.1 = previous.1.wrapping_add(cursor.uvarint()?);
            summary.listed.push(previous);
        }
        if !cursor.is_empty() {
            return Err(cursor.corrupt("summary has bytes behind its end"));
        }
        Ok(summary)
    }

    /// The summary of a segment, if there is one and the segment is the one that it speaks of.
    pub(crate) fn read(fs: &dyn Fs, wal_dir: &Path, file: &LogFile) -> Option<Self> {
        let path = names::wal_summary(wal_dir, file.number);
        let bytes = fs.read(&path).ok()?;
        let summary = match Self::decode(&bytes) {
            Ok(summary) => summary,
            Err(damage) => {
                tracing::warn!(%damage, summary = %path.display(), "summary is damaged, its segment is read");
                return None;
            }
        };
        let is_its = summary.segment == file.number && summary.bytes == file.bytes && summary.fits(fs, file);
        if !is_its {
            tracing::warn!(summary = %path.display(), "summary is of another segment, the segment is read");
        }
        is_its.then_some(summary)
    }

    /// Whether the segment's mark and last seal are those of the summary.
    fn fits(&self, fs: &dyn Fs, file: &LogFile) -> bool {
        let Ok(mut reader) = SegmentReader::open(fs, &file.path) else { return false };
        let mut seal_at = |offset| match reader.record_at(offset) {
            Some(record) if split(&record).0 == Some(RecordType::Seal) => {
                SealRecord::decode(record.get(1..).unwrap_or_default()).ok()
            }
            _ => None,
        };
        let mark =
            matches!(seal_at(0), Some(SealRecord::Mark(Mark { group, chain, .. })) if (group, chain) == self.mark);
        mark && matches!(seal_at(self.last_seal_offset),
            Some(SealRecord::Seal(Seal { group, chain, .. })) if (group, chain) == self.last)
    }

    /// The listed records, each with its offset and group; `None` where one of them cannot be read.
    pub(crate) fn listed_records(&self, fs: &dyn Fs, file: &LogFile) -> Option<Vec<(u64, u64, Vec<u8>)>> {
        let mut reader = SegmentReader::open(fs, &file.path).ok()?;
        self.listed.iter().map(|&(offset, group)| Some((offset, group, reader.record_at(offset)?))).collect()
    }

    /// Whether all in-order samples of the segment are before that place.
    pub(crate) fn is_before(&self, from: ReplayFrom) -> bool {
        let is_held =
            |newest_ms| (self.last.0 <= from.group || planted!(WatermarkGroupIgnored)) && newest_ms < from.time_ms;
        self.range.is_none_or(|range| range.end_ms < from.floor_ms || is_held(range.end_ms))
    }

    /// Reads a segment. `None` where it is not whole, or not ours.
    fn of_segment(fs: &dyn Fs, file: &LogFile) -> Result<Option<Self>, WalError> {
        let mut reader = SegmentReader::open(fs, &file.path)?;
        let mut found: Option<Summary> = None;
        let mut hasher = GroupHasher::default();
        let mut others = Vec::new();
        loop {
            let (offset, bytes) = match reader.next_event() {
                SegmentEvent::Record { offset, bytes, .. } => (offset, bytes),
                SegmentEvent::Damage { .. } => return Ok(None),
                SegmentEvent::End { len, .. } => {
                    let is_whole = len == file.bytes && hasher.records() == 0;
                    return Ok(found.filter(|found| is_whole && found.last.0 > found.mark.0));
                }
            };
            let (kind, body) = split(&bytes);
            let Some(summary) = &mut found else {
                match SealRecord::decode(body) {
                    Ok(SealRecord::Mark(mark)) if kind == Some(RecordType::Seal) && offset == 0 => {
                        found = Some(Summary::begin(file, mark, bytes.len()));
                        continue;
                    }
                    _ => return Ok(None),
                }
            };
            summary.records += 1;
            summary.record_bytes += bytes.len() as u64;
            match kind {
                Some(RecordType::Seal) => {
                    let Ok(SealRecord::Seal(seal)) = SealRecord::decode(body) else { return Ok(None) };
                    let follows = seal.group == summary.last.0 + 1 && seal.previous_chain == summary.last.1;
                    if !follows || seal.records != hasher.records() || seal.records_hash != hasher.hash() {
                        return Ok(None);
                    }
                    hasher.reset();
                    summary.take_seal(&seal, offset);
                    summary.listed.extend(others.drain(..).map(|offset| (offset, seal.group)));
                    continue;
                }
                Some(kind)
                    if !kind.is_out_of_order()
                        && let Some(samples) = values(kind, body) =>
                {
                    for sample in samples {
                        // What replay cannot read it names.
                        let Ok(sample) = sample else { return Ok(None) };
                        let at = sample.timestamp_ms;
                        summary.newest_ref = summary.newest_ref.max(sample.series_ref);
                        let range = summary.range.get_or_insert(TimeRange::new(at, at));
                        *range = TimeRange::new(range.start_ms.min(at), range.end_ms.max(at));
                    }
                }
                _ => others.push(offset),
            }
            hasher.push(&bytes);
        }
    }

    fn begin(file: &LogFile, mark: Mark, record_bytes: usize) -> Self {
        Summary {
            segment: file.number,
            bytes: file.bytes,
            mark: (mark.group, mark.chain),
            last: (mark.group, mark.chain),
            first_group: mark.group.saturating_add(1),
            last_seal_offset: 0,
            next_commit: mark.next_commit,
            durability: mark.durability,
            clean_end: false,
            requests: 0,
            samples: 0,
            records: 1,
            sealed_records: 0,
            record_bytes: record_bytes as u64,
            range: None,
            newest_ref: 0,
            listed: Vec::new(),
        }
    }

    fn take_seal(&mut self, seal: &Seal, offset: u64) {
        self.last = (seal.group, seal.chain);
        self.last_seal_offset = offset;
        self.next_commit = self.next_commit.max(seal.next_commit);
        (self.durability, self.clean_end) = (seal.durability, seal.clean_end);
        self.requests += seal.requests.len() as u64;
        self.samples = self.samples.wrapping_add(seal.samples);
        self.sealed_records += u64::from(seal.records);
    }
}

/// Writes the summaries of segments that have none, and removes those whose segments are gone. The segments are read, so
/// this is to be called from time to time, by a thread that may take its time. The last segment is left out unless it is
/// known that it is not written any more. Says how many were written.
pub fn summarize(fs: &dyn Fs, wal_dir: &Path, last_is_finished: bool) -> Result<usize, WalError> {
    let files = LogFiles::list(fs, wal_dir)?;
    let entries = fs.list(wal_dir).map_err(WalError::io("list", wal_dir))?;
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        let is_tmp = entry.name.strip_suffix(TMP_SUFFIX).and_then(names::parse_wal_summary).is_some();
        let number = names::parse_wal_summary(&entry.name);
        let is_orphan =
            number.is_some_and(|number| !files.files.iter().any(|file| !file.checkpoint && file.number == number));
        if is_tmp || is_orphan {
            let path = wal_dir.join(&entry.name);
            fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
        }
    }
    let mut written = 0;
    let segments: Vec<_> = files.files.iter().filter(|file| !file.checkpoint).collect();
    for file in segments.iter().rev().skip(usize::from(!last_is_finished)) {
        if Summary::read(fs, wal_dir, file).is_some() {
            continue;
        }
        let path = names::wal_summary(wal_dir, file.number);
        if let Some(summary) = Summary::of_segment(fs, file)? {
            let tmp = wal_dir.join(format!("{:08}{}{TMP_SUFFIX}", file.number, names::WAL_SUMMARY_SUFFIX));
            let mut out = fs.create(&tmp).map_err(WalError::io("create", &tmp))?;
            out.write_all(&summary.encode()).and_then(|()| out.sync_data()).map_err(WalError::io("write", &tmp))?;
            fs.rename(&tmp, &path).map_err(WalError::io("rename", &tmp))?;
            written += 1;
        }
    }
    Ok(written)
}

/// Ending of a summary that is not yet in place.
const TMP_SUFFIX: &str = ".tmp";

/// What a start would have to read now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayEstimate {
    /// Bytes of segments and checkpoint that are read whole.
    pub bytes: u64,
    /// Segments that are read whole.
    pub segments: u64,
    /// Segments of which only listed records are read.
    pub segments_skipped: u64,
    /// Samples of the segments that are read whole and have a summary.
    pub samples: u64,
    /// Bytes of segments without a summary, whose samples are not known.
    pub bytes_not_summarized: u64,
}

/// Says what a start would have to read, if the head had the samples of the log up to `from`.
pub fn replay_estimate(fs: &dyn Fs, wal_dir: &Path, from: Option<ReplayFrom>) -> Result<ReplayEstimate, WalError> {
    let mut estimate = ReplayEstimate::default();
    for file in LogFiles::list(fs, wal_dir)?.files {
        let summary = if file.checkpoint { None } else { Summary::read(fs, wal_dir, &file) };
        match summary {
            Some(summary) if from.is_some_and(|from| summary.is_before(from)) => estimate.segments_skipped += 1,
            summary => {
                estimate.bytes += file.bytes;
                estimate.segments += 1;
                match summary {
                    Some(summary) => estimate.samples += summary.samples,
                    None => estimate.bytes_not_summarized += file.bytes,
                }
            }
        }
    }
    Ok(estimate)
}
