//! From runs to blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::run::Run;
use super::series::SeriesNumber;
use super::{Import, ImportError, ImportOptions, ImportProgress, ImportedBlock, RANGE_MS};
use crate::block::{self, Block, BlockOrigin, BlockWriter, WriterOptions};
use crate::chunk::XorAppender;
use crate::fs::{Fs, names};
use crate::ledger::{self, Event};
use crate::model::{ChunkEncoding, Digest, LabelSet, LabelSetScratch, Tally, TimeRange, TimestampMs};
use crate::storage::{Chunk, ChunkBytes};

/// Samples of a chunk, as Prometheus has them.
const CHUNK_SAMPLES_MAX: usize = 120;
/// Ranges that the text may cover before blocks hold nine of them: 18 hours, the largest that a retention of 15 days
/// lets compaction make.
const RANGES_IN_SMALL_BLOCKS: i64 = 24;
const RANGES_OF_A_LARGE_BLOCK: i64 = 9;

/// What stands under the name of a block.
enum Earlier {
    Absent,
    /// All of its samples are there.
    Whole(ImportedBlock),
    /// Some are deleted, and still stored.
    DeletedFrom,
}

impl Import {
    /// Writes the blocks that are not there yet.
    pub(super) fn write_blocks(
        &mut self,
        options: &ImportOptions,
        progress: &mut dyn ImportProgress,
    ) -> Result<(), ImportError> {
        let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "a run was changed since it was written");
        let runs = self.work.runs(&self.state)?.ok_or_else(damaged);
        let runs = runs.map_err(ImportError::io("read the runs of", &options.source))?;
        let ranges: BTreeSet<i64> = runs.iter().flat_map(Run::ranges).collect();
        let (Some(&first), Some(&last)) = (ranges.first(), ranges.last()) else { return Ok(()) };
        let chosen = options.block_range_ms.map_or_else(
            || if last - first < RANGES_IN_SMALL_BLOCKS { 1 } else { RANGES_OF_A_LARGE_BLOCK },
            |range_ms| (range_ms / RANGE_MS).max(1),
        );
        let ranges_per_block = *self.state.ranges_per_block.get_or_insert(chosen);
        let mut blocks: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for range in ranges {
            blocks.entry(range.div_euclid(ranges_per_block)).or_default().push(range);
        }
        let ended = ended(&*self.work.fs, &options.data_dir)?;
        let sorted = Sorted::new(runs, self.series.ranks());
        let total = blocks.len() as u64;
        for (written, (block, ranges)) in (0u64..).zip(blocks) {
            progress.writing(written, total);
            for ulid in self.state.block_names(block, ranges_per_block) {
                if self.state.blocks.iter().any(|known| known.ulid == ulid.to_string()) {
                    break;
                }
                if ended.contains(&ulid) {
                    continue;
                }
                let imported = match self.earlier(options, ulid)? {
                    Earlier::Whole(block) => Some(block),
                    // What is gone from it comes back under the next name.
                    Earlier::DeletedFrom => continue,
                    Earlier::Absent => self.block(options, ulid, &ranges, &sorted)?,
                };
                self.state.blocks.extend(imported);
                self.work.save(&self.state)?;
                break;
            }
        }
        progress.writing(total, total);
        Ok(())
    }

    /// What an earlier attempt or import left under a name. Names are made of the text, so it is the same samples.
    fn earlier(&self, options: &ImportOptions, ulid: Ulid) -> Result<Earlier, ImportError> {
        let dir = options.data_dir.join(ulid.to_string());
        if !self.work.fs.exists(&dir) {
            return Ok(Earlier::Absent);
        }
        let block = Block::open(self.work.fs.clone(), &dir)?;
        let check = block::check(&block, &mut |_| ());
        match check.findings.into_iter().next() {
            Some(finding) => Err(ImportError::Damaged { ulid: ulid.to_string(), finding: finding.what }),
            None if check.visible != check.stored => Ok(Earlier::DeletedFrom),
            None => Ok(Earlier::Whole(ImportedBlock { was_there: true, ..describe(&block, check.stored) })),
        }
    }

    /// The block of some ranges: written, proven and put in its place.
    fn block(
        &mut self,
        options: &ImportOptions,
        ulid: Ulid,
        ranges: &[i64],
        sorted: &Sorted,
    ) -> Result<Option<ImportedBlock>, ImportError> {
        let fs = self.work.fs.clone();
        let mut writer = BlockWriter::create(fs, &options.data_dir, ulid, WriterOptions::default())?;
        let mut expected = Tally::ZERO;
        let mut range: Option<TimeRange> = None;
        let mut samples = Vec::new();
        let mut scratch = LabelSetScratch::default();
        for number in sorted.series_in(ranges) {
            samples.clear();
            for &range in ranges {
                samples.extend(sorted.runs.iter().flat_map(|run| run.samples(range, number)));
            }
            // Stable: of two values for one time the first in the text comes first.
            samples.sort_by_key(|&(timestamp_ms, _)| timestamp_ms);
            let labels = self.series.labels(number, &mut scratch);
            self.drop_repeated(&labels, &mut samples);
            let digest = Digest::of_labels(&labels);
            for &(timestamp_ms, bits) in &samples {
                expected.add_sample(digest.of_sample(timestamp_ms, f64::from_bits(bits)));
            }
            let chunks: Vec<Chunk> = samples.chunks(CHUNK_SAMPLES_MAX).filter_map(encode).collect();
            for chunk in &chunks {
                let range = range.get_or_insert(chunk.range);
                range.start_ms = range.start_ms.min(chunk.range.start_ms);
                range.end_ms = range.end_ms.max(chunk.range.end_ms);
            }
            writer.add(&labels, &chunks)?;
        }
        let Some(range) = range else { return Ok(None) };
        let origin = BlockOrigin {
            min_time_ms: range.start_ms,
            max_time_ms: range.end_ms.saturating_add(1),
            level: 1,
            // Imported samples say nothing about how far the log was flushed; and those that were there before win.
            hints: vec![block::HINT_FROM_OUT_OF_ORDER.to_owned()],
            ..BlockOrigin::default()
        };
        let Some(prepared) = writer.finish(origin)? else { return Ok(None) };
        let check = block::check(&*prepared.open()?, &mut |_| ());
        let found = check.stored;
        if found != expected || !check.is_good() {
            let reason = match check.findings.into_iter().next() {
                Some(finding) => finding.what,
                None => format!("{expected} were written, {found} are read back"),
            };
            let aside = prepared.quarantine(&options.data_dir.join(names::QUARANTINE_DIR), &reason)?;
            return Err(ImportError::Refused { ulid: ulid.to_string(), reason, aside });
        }
        Ok(Some(describe(&*prepared.publish()?, found)))
    }

    /// Leaves one sample for each time, and counts the others.
    fn drop_repeated(&mut self, labels: &LabelSet, samples: &mut Vec<(TimestampMs, u64)>) {
        samples.dedup_by(|later, kept| {
            let is_repeated = later.0 == kept.0;
            if is_repeated && later.1 == kept.1 {
                self.state.duplicates += 1;
            } else if is_repeated {
                self.conflict(labels, later.0, kept.1, later.1);
            }
            is_repeated
        });
    }
}

/// Blocks that the ledger saw go, and not come back: the next start of a server removes what has their names.
fn ended(fs: &dyn Fs, data_dir: &Path) -> Result<BTreeSet<Ulid>, ImportError> {
    let ledger = ledger::read(fs, &data_dir.join(names::LEDGER_DIR))?;
    let mut ended = BTreeSet::new();
    for entry in &ledger.entries {
        match &entry.event {
            Event::Compacted { parents, .. } => ended.extend(parents),
            Event::Expired { ulid, .. } => drop(ended.insert(*ulid)),
            _ => {}
        }
    }
    ended.retain(|ulid| !ledger.state.blocks.contains_key(ulid));
    Ok(ended)
}

/// The runs, and the series in the order of their labels.
struct Sorted {
    runs: Vec<Run>,
    ranks: Vec<u32>,
    by_rank: Vec<SeriesNumber>,
}

impl Sorted {
    fn new(runs: Vec<Run>, ranks: Vec<u32>) -> Self {
        let mut by_rank = vec![0; ranks.len()];
        for (&rank, number) in ranks.iter().zip(0..) {
            if let Some(place) = by_rank.get_mut(rank as usize) {
                *place = number;
            }
        }
        Sorted { runs, ranks, by_rank }
    }

    /// The series with samples in any of the ranges, in the order of their labels.
    fn series_in(&self, ranges: &[i64]) -> impl Iterator<Item = SeriesNumber> {
        let mut ranks = roaring::RoaringBitmap::new();
        for (&range, run) in ranges.iter().flat_map(|range| self.runs.iter().map(move |run| (range, run))) {
            ranks.extend(run.series_in(range).filter_map(|number| self.ranks.get(number as usize)));
        }
        ranks.into_iter().filter_map(|rank| self.by_rank.get(rank as usize).copied())
    }
}

fn encode(samples: &[(TimestampMs, u64)]) -> Option<Chunk> {
    let (&(first_ms, first_bits), rest) = samples.split_first()?;
    let mut bytes = Vec::new();
    let mut appender = XorAppender::start(&mut bytes, first_ms, first_bits);
    let (mut last_ms, mut last_bits) = (first_ms, first_bits);
    for &(timestamp_ms, bits) in rest {
        appender.append(&mut bytes, last_ms, last_bits, timestamp_ms, bits);
        (last_ms, last_bits) = (timestamp_ms, bits);
    }
    appender.write_count(&mut bytes);
    Some(Chunk {
        range: TimeRange::new(first_ms, last_ms),
        encoding: ChunkEncoding::Xor,
        bytes: ChunkBytes::Memory(Arc::from(bytes)),
    })
}

fn describe(block: &Block, tally: Tally) -> ImportedBlock {
    let meta = block.meta();
    ImportedBlock {
        ulid: block.ulid().to_string(),
        min_time_ms: meta.min_time_ms,
        max_time_ms: meta.max_time_ms.saturating_sub(1),
        series: meta.stats.series,
        samples: tally.samples,
        digest: tally.digest,
        was_there: false,
    }
}
