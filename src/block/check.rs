//! Reads all of a block and says what is wrong with it: checksums, order, ranges, postings against series, every sample.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::damage::DamagedPart;
use super::index::{ChunkMeta, SeriesReader};
use super::open::{Block, Shared};
use super::{Damage, SeriesRef};
use crate::chunk;
use crate::encoding::Corruption;
use crate::fs::names::{BLOCK_INDEX_FILE, BLOCK_META_FILE};
use crate::model::{Digest, LabelSet, Tally, TimeRange};
use crate::tombstones::Intervals;

/// Findings that are kept in words.
const FINDINGS_MAX: usize = 100;

/// What a check found. A block is good where there is no finding.
#[derive(Debug, Clone, Default)]
pub struct BlockCheck {
    /// All samples that are stored, deleted ones included.
    pub stored: Tally,
    /// The samples that queries see.
    pub visible: Tally,
    /// Series that could be read.
    pub series: u64,
    /// Chunks that could be read.
    pub chunks: u64,
    /// Everything that is wrong, the first hundred in words.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub finding_count: u64,
}

/// One thing that is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File and place, and what was found there.
    pub what: String,
    /// The times of the samples that it touches.
    pub range: TimeRange,
}

impl BlockCheck {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.finding_count == 0
    }

    fn add(&mut self, what: impl FnOnce() -> String, range: TimeRange) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { what: what(), range });
        }
    }

    fn add_damage(&mut self, damage: Damage) {
        let range = TimeRange::new(damage.times_ms.0, damage.times_ms.1);
        self.add(|| damage.what, range);
    }
}

/// Sums of hashes of (label, series), by name: of what the series say, and of what the postings say. Equal sums and
/// counts mean equal sets, as digests of samples do.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Carried {
    count: u64,
    sum: u128,
}

impl Carried {
    fn add(&mut self, value_hash: u64, series: SeriesRef) {
        self.count += 1;
        let hash = xxh3_64_with_seed(&series.to_le_bytes(), value_hash);
        self.sum = self.sum.wrapping_add(u128::from(hash));
    }
}

/// A check under way.
struct Checker<'a> {
    shared: &'a Shared,
    /// Whether samples are decoded, or taken at their chunks' word for their number.
    decodes: bool,
    check: BlockCheck,
    /// The times that the meta allows.
    range: TimeRange,
    /// What the series say which labels they carry.
    carried: BTreeMap<String, Carried>,
    all: Vec<SeriesRef>,
    bytes_done: u64,
}

/// Reads everything. `on_progress` is told, often, how many bytes were read so far; it may take its time, so that the
/// check does not take the disk from others. Where nothing is wrong, the block forgets what its use met before.
pub fn check(block: &Block, on_progress: &mut dyn FnMut(u64)) -> BlockCheck {
    run(block, true, on_progress)
}

/// Reads everything as [`check`] does, but counts samples and does not decode them: `stored` has no digest, and `visible`
/// stays empty.
pub fn check_undecoded(block: &Block, on_progress: &mut dyn FnMut(u64)) -> BlockCheck {
    run(block, false, on_progress)
}

fn run(block: &Block, decodes: bool, on_progress: &mut dyn FnMut(u64)) -> BlockCheck {
    let shared = &*block.shared;
    let mut checker = Checker {
        shared,
        decodes,
        check: BlockCheck::default(),
        range: shared.range_or_nothing(),
        carried: BTreeMap::new(),
        all: Vec::new(),
        bytes_done: 0,
    };
    checker.check_standing_damage();
    checker.check_symbols();
    checker.check_series(on_progress);
    checker.check_postings(on_progress);
    checker.check_meta();
    on_progress(checker.bytes_done);
    if decodes && checker.check.is_good() {
        shared.damages.clear();
    }
    checker.check
}

impl Checker<'_> {
    fn add_index(&mut self, fault: Corruption) {
        let range = self.range;
        self.check.add(|| format!("{BLOCK_INDEX_FILE}: {fault}"), range);
    }

    /// What was found when the block was opened.
    fn check_standing_damage(&mut self) {
        for damage in self.shared.damages.of(DamagedPart::Tombstones) {
            self.check.add_damage(damage);
        }
        for (number, segment) in self.shared.segments.iter() {
            if let Err(fault) = segment {
                self.check.add_damage(self.shared.segment_damage(number, fault, self.range));
            }
        }
    }

    fn check_symbols(&mut self) {
        if let Some(fault) = self.shared.index.symbols_fault() {
            self.add_index(fault);
        }
        if let Some(Err(fault)) = self.shared.index.symbols().find(Result::is_err) {
            self.add_index(fault);
        }
    }

    fn check_series(&mut self, on_progress: &mut dyn FnMut(u64)) {
        let shared = self.shared;
        let tombstones = shared.tombstones();
        let mut reader = shared.index.series();
        let mut before: Option<LabelSet> = None;
        let mut last_entry = 0;
        for series in shared.index.walk() {
            let read = series.and_then(|series| reader.read(series).map(|()| series));
            let series = match read {
                Ok(series) => series,
                Err(fault) => {
                    shared.index_damage(DamagedPart::Series, fault);
                    self.add_index(fault);
                    continue;
                }
            };
            self.check.series += 1;
            self.all.push(series);
            for label in reader.labels() {
                if label.value.is_empty() {
                    self.add_series(series, "has a label without a value");
                }
                let carried = match self.carried.get_mut(label.name) {
                    Some(carried) => carried,
                    None => self.carried.entry(label.name.to_owned()).or_default(),
                };
                carried.add(xxh3_64(label.value.as_bytes()), series);
            }
            let labels = reader.label_set();
            if labels.is_empty() {
                self.add_series(series, "has no label");
            }
            if before.as_ref().is_some_and(|before| *before >= labels) {
                self.add_series(series, "does not stand behind the series before it");
            }
            self.check_chunks(series, &reader, Digest::of_labels(&labels), tombstones.get(u64::from(series)));
            before = Some(labels);
            self.bytes_done += u64::from(series.wrapping_sub(last_entry)) * 16;
            last_entry = series;
            on_progress(self.bytes_done);
        }
    }

    fn add_series(&mut self, series: SeriesRef, fault: &str) {
        let range = self.range;
        self.check.add(|| format!("{BLOCK_INDEX_FILE}: series {series} {fault}"), range);
    }

    fn check_chunks(
        &mut self,
        series: SeriesRef,
        reader: &SeriesReader<'_>,
        labels: Digest,
        deleted: Option<&Intervals>,
    ) {
        if reader.chunks().is_empty() {
            self.add_series(series, "has no chunk");
        }
        let mut before: Option<&ChunkMeta> = None;
        for meta in reader.chunks() {
            if meta.range.start_ms < self.range.start_ms || meta.range.end_ms > self.range.end_ms {
                self.add_chunk(meta, "chunk has samples outside of the block's range");
            }
            if before.is_some_and(|before| meta.range.start_ms <= before.range.end_ms) {
                self.add_chunk(meta, "chunk overlaps the one before it, or stands before it");
            }
            before = Some(meta);
            match self.shared.chunk(meta) {
                Ok((encoding, bytes)) => {
                    self.bytes_done += bytes.len() as u64;
                    let read = match self.decodes {
                        true => self.check_samples(meta, chunk::samples(encoding, &bytes), labels, deleted),
                        false => chunk::sample_count(encoding, &bytes)
                            .map(|samples| self.check.stored.samples += u64::from(samples)),
                    };
                    match read {
                        Ok(()) => self.check.chunks += 1,
                        Err(fault) => self.check.add_damage(self.shared.chunk_damage(meta, fault)),
                    }
                }
                Err(damage) => self.check.add_damage(damage),
            }
        }
    }

    fn add_chunk(&mut self, chunk: &ChunkMeta, fault: &str) {
        let (segment, offset) = (chunk.place.segment(), chunk.place.offset());
        self.check.add(|| format!("chunks/{segment:06}: {fault} at byte {offset}"), chunk.range);
    }

    /// Decodes a chunk, and tallies it if it is whole.
    fn check_samples(
        &mut self,
        meta: &ChunkMeta,
        samples: Result<chunk::Samples<'_>, Corruption>,
        labels: Digest,
        deleted: Option<&Intervals>,
    ) -> Result<(), Corruption> {
        let (mut stored, mut visible) = (Tally::ZERO, Tally::ZERO);
        let (mut first_ms, mut last_ms) = (None, None);
        for sample in samples? {
            let (timestamp_ms, value) = sample?;
            if last_ms.is_some_and(|last| last >= timestamp_ms) {
                return Err(Corruption { what: "samples of the chunk are not in order", offset: 0 });
            }
            first_ms = first_ms.or(Some(timestamp_ms));
            last_ms = Some(timestamp_ms);
            let digest = labels.of_value(timestamp_ms, &value);
            stored.add_sample(digest);
            if deleted.is_none_or(|deleted| !deleted.contains(timestamp_ms)) {
                visible.add_sample(digest);
            }
        }
        self.check.stored += stored;
        self.check.visible += visible;
        if (first_ms, last_ms) != (Some(meta.range.start_ms), Some(meta.range.end_ms)) {
            return Err(Corruption { what: "chunk has not the times that the index has of it", offset: 0 });
        }
        Ok(())
    }

    /// The postings have to say what the series say.
    fn check_postings(&mut self, on_progress: &mut dyn FnMut(u64)) {
        let index = &self.shared.index;
        match index.all() {
            Ok(all) if all.iter().eq(self.all.iter().copied()) => {}
            Ok(_) => self.add_index(Corruption { what: "list of all series is not that of the series", offset: 0 }),
            Err(fault) => self.add_index(fault),
        }
        let names = match index.names() {
            Ok(names) => names,
            Err(fault) => return self.add_index(fault),
        };
        let mut listed: BTreeMap<&str, Carried> = BTreeMap::new();
        for name in names {
            let carried = listed.entry(name).or_default();
            let values = match index.values(name, "") {
                Ok(values) => values,
                Err(fault) => {
                    self.add_index(fault);
                    continue;
                }
            };
            for value in values {
                let list = value.and_then(|(value, offset)| Ok((value, index.list(offset)?)));
                let (value, list) = match list {
                    Ok(list) => list,
                    Err(fault) => {
                        self.shared.index_damage(DamagedPart::Postings, fault);
                        self.add_index(fault);
                        continue;
                    }
                };
                let value_hash = xxh3_64(value.as_bytes());
                let mut before = None;
                for series in list.iter() {
                    if before.replace(series).is_some_and(|before| before >= series) {
                        self.add_index(Corruption { what: "postings are not in order", offset: 0 });
                        break;
                    }
                    carried.add(value_hash, series);
                }
                self.bytes_done += 4 * list.len() as u64;
                on_progress(self.bytes_done);
            }
        }
        let carried: BTreeMap<&str, Carried> = self.carried.iter().map(|(name, &of)| (name.as_str(), of)).collect();
        let names: Vec<String> = carried.keys().chain(listed.keys()).map(|&name| name.to_owned()).collect();
        let differing: Vec<String> =
            names.into_iter().filter(|name| carried.get(&**name) != listed.get(&**name)).collect();
        let range = self.range;
        for name in differing {
            self.check
                .add(|| format!("{BLOCK_INDEX_FILE}: postings of label {name:?} are not those of the series"), range);
        }
    }

    /// The meta has to say what was found, as far as all could be read.
    fn check_meta(&mut self) {
        let meta = self.shared.meta();
        let counted = [
            ("numSeries", meta.stats.series, self.check.series),
            ("numChunks", meta.stats.chunks, self.check.chunks),
            ("numSamples", meta.stats.samples, self.check.stored.samples),
        ];
        let range = self.range;
        for (name, said, found) in counted {
            if said != found {
                self.check.add(|| format!("{BLOCK_META_FILE}: {name} is {said}, found were {found}"), range);
            }
        }
    }
}
