//! `block inspect` and `block verify`: one block in numbers, and the proof that blocks are whole.

use std::path::Path;
use std::sync::Arc;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use ulid::Ulid;

use super::InspectError;
use super::blocks::{block_dir, block_dirs, bytes_in};
use super::index::open_block;
use super::rows::{bytes_text, time_text};
use crate::block::accel::AccelState;
use crate::block::{Block, BlockMeta, check};
use crate::fs::Fs;
use crate::model::{MatchOp, Matcher, Tally, TimeRange};
use crate::storage::{Queryable as _, StorageError};

/// A file of a block.
#[derive(Debug, Clone, Serialize)]
pub struct FileRow {
    /// Its name in the block.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A label of a block.
#[derive(Debug, Clone, Serialize)]
pub struct LabelRow {
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub values: usize,
    /// How many series carry it.
    pub series: usize,
}

/// What is known of a block without reading its samples.
#[derive(Debug, Clone, Serialize)]
pub struct BlockReport {
    /// Its `meta.json`.
    pub meta: BlockMeta,
    /// Its files.
    pub files: Vec<FileRow>,
    /// `ready`, `missing`, or why it cannot be used.
    pub accelerator: String,
    /// The stored samples by count and digest, where the accelerator tells.
    pub stored: Option<Tally>,
    /// Series with deleted ranges.
    pub series_with_deletions: usize,
    /// Deleted ranges.
    pub deleted_ranges: usize,
    /// Its labels, those with the most values first.
    pub labels: Vec<LabelRow>,
    /// Damage that showed.
    pub damage: Vec<String>,
}

impl BlockReport {
    /// 0, or 1 if any damage was seen.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.damage.is_empty())
    }

    /// The report as tables.
    pub fn to_table(&self) -> String {
        let BlockMeta { ulid, min_time_ms, max_time_ms, stats, compaction, .. } = &self.meta;
        let mut facts = Table::new();
        facts.load_style(UTF8_FULL_CONDENSED);
        let mut fact = |name: &str, value: String| {
            facts.add_row([name.to_owned(), value]);
        };
        fact("block", ulid.to_string());
        fact("from", time_text(*min_time_ms));
        fact("until", time_text(*max_time_ms));
        fact("level", compaction.level.to_string());
        fact("series", stats.series.to_string());
        fact("samples", stats.samples.to_string());
        fact("chunks", stats.chunks.to_string());
        if stats.samples > 0 {
            let chunks: u64 =
                self.files.iter().filter(|file| file.name.starts_with("chunks/")).map(|file| file.bytes).sum();
            fact("bytes per sample in chunks", format!("{:.2}", chunks as f64 / stats.samples as f64));
        }
        fact("deleted", format!("{} ranges of {} series", self.deleted_ranges, self.series_with_deletions));
        fact("accelerator", self.accelerator.clone());
        if let Some(stored) = self.stored {
            fact("digest of the stored samples", stored.digest.to_string());
        }
        for (what, ulids) in [
            ("sources", compaction.sources.iter().map(Ulid::to_string).collect::<Vec<_>>()),
            ("parents", compaction.parents.iter().map(|parent| parent.ulid.to_string()).collect()),
            ("hints", compaction.hints.clone()),
        ] {
            if !ulids.is_empty() {
                fact(what, ulids.join("\n"));
            }
        }
        let mut files = Table::new();
        files.load_style(UTF8_FULL_CONDENSED).set_header(["file", "size"]);
        self.files.iter().for_each(|file| {
            files.add_row([file.name.clone(), bytes_text(file.bytes)]);
        });
        let mut labels = Table::new();
        labels.load_style(UTF8_FULL_CONDENSED).set_header(["label", "values", "series"]);
        self.labels.iter().for_each(|label| {
            labels.add_row([label.name.clone(), label.values.to_string(), label.series.to_string()]);
        });
        let mut out = format!("{facts}\n{files}\n{labels}");
        for damage in &self.damage {
            out.push_str(&format!("\nDAMAGED {damage}"));
        }
        out
    }
}

fn accel_text(state: AccelState) -> String {
    match state {
        AccelState::Ready => "ready".to_owned(),
        AccelState::Missing => "missing".to_owned(),
        AccelState::Damaged(reason) => reason,
    }
}

/// Looks at the block called `ulid` of a data directory.
pub fn inspect_block(fs: &Arc<dyn Fs>, data_dir: &Path, ulid: Ulid) -> Result<BlockReport, InspectError> {
    let dir = block_dir(&**fs, data_dir, ulid)?;
    let block = open_block(fs, &dir)?;
    let mut files = Vec::new();
    for entry in fs.list(&dir).map_err(|error| InspectError::io("list", &dir, error))? {
        if entry.is_dir {
            let inner = dir.join(&entry.name);
            for file in fs.list(&inner).map_err(|error| InspectError::io("list", &inner, error))? {
                files.push(FileRow { name: format!("{}/{}", entry.name, file.name), bytes: file.bytes });
            }
        } else {
            files.push(FileRow { name: entry.name, bytes: entry.bytes });
        }
    }
    let tombstones = block.tombstones();
    let labels = labels_of(&block)
        .map_err(|error| InspectError::Damaged { what: error.to_string(), place: dir.display().to_string() })?;
    Ok(BlockReport {
        meta: BlockMeta::clone(&block.meta()),
        files,
        accelerator: accel_text(block.accel_state()),
        stored: block.accel().map(|accel| accel.tally()),
        series_with_deletions: tombstones.iter().count(),
        deleted_ranges: tombstones.len(),
        labels,
        damage: block.damages().into_iter().map(|damage| damage.what).collect(),
    })
}

fn labels_of(block: &Block) -> Result<Vec<LabelRow>, StorageError> {
    let querier = block.querier(TimeRange::ALL)?;
    let mut labels = Vec::new();
    for name in querier.label_names(&[], 0)? {
        let carried = Matcher::new(&name, MatchOp::NotEqual, "");
        let series = carried.map_or(0, |carried| block.series_refs(&[carried]).len());
        labels.push(LabelRow { values: querier.label_values(&name, &[], 0)?.len(), series, name });
    }
    labels.sort_by(|a, b| b.values.cmp(&a.values).then_with(|| a.name.cmp(&b.name)));
    Ok(labels)
}

/// What a check of one block found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedBlock {
    /// Its name.
    pub ulid: String,
    /// Whether nothing is wrong with it.
    pub good: bool,
    /// Series that could be read.
    pub series: u64,
    /// Chunks that could be read.
    pub chunks: u64,
    /// All samples that could be read.
    pub stored: Tally,
    /// Those of them that are not deleted.
    pub visible: Tally,
    /// `ready`, `missing`, or why it cannot be used: that is no fault of the block, and it is made anew.
    pub accelerator: String,
    /// What is wrong, the first hundred in words.
    pub findings: Vec<String>,
    /// How many things are wrong.
    pub finding_count: u64,
}

/// What a check of blocks found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BlocksVerified {
    /// Each block, by name.
    pub blocks: Vec<VerifiedBlock>,
}

impl BlocksVerified {
    /// 0, or 1 if anything is wrong.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.blocks.iter().any(|block| !block.good))
    }

    /// The report as a table.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        let header =
            ["block", "verdict", "series", "chunks", "samples", "visible", "digest of the stored", "accelerator"];
        table.load_style(UTF8_FULL_CONDENSED).set_header(header);
        for block in &self.blocks {
            let verdict = if block.good { "good".to_owned() } else { format!("WRONG ({})", block.finding_count) };
            table.add_row([
                block.ulid.clone(),
                verdict,
                block.series.to_string(),
                block.chunks.to_string(),
                block.stored.samples.to_string(),
                block.visible.samples.to_string(),
                block.stored.digest.to_string(),
                block.accelerator.clone(),
            ]);
        }
        let mut out = table.to_string();
        for block in &self.blocks {
            for finding in &block.findings {
                out.push_str(&format!("\n{}: {finding}", block.ulid));
            }
            let unsaid = block.finding_count.saturating_sub(block.findings.len() as u64);
            if unsaid > 0 {
                out.push_str(&format!("\n{}: and {unsaid} more", block.ulid));
            }
        }
        let wrong = self.blocks.iter().filter(|block| !block.good).count();
        out.push_str(&format!("\n{} blocks read whole, {wrong} with faults", self.blocks.len()));
        out
    }
}

/// Reads the blocks of a data directory whole, or the one called `wanted`, and says what is wrong with them.
pub fn verify_blocks(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    wanted: Option<Ulid>,
    show_progress: bool,
) -> Result<BlocksVerified, InspectError> {
    let dirs = block_dirs(&**fs, data_dir, wanted)?;
    let mut total = 0;
    for (_, dir) in &dirs {
        total += bytes_in(&**fs, dir)?;
    }
    let bar = ProgressBar::new(total);
    bar.set_draw_target(if show_progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    let mut verified = BlocksVerified::default();
    let mut before = 0;
    for (name, dir) in dirs {
        bar.set_prefix(name.clone());
        verified.blocks.push(match Block::open(fs.clone(), &dir) {
            Ok(block) => verify_block(&block, &mut |done| bar.set_position(before + done)),
            Err(error) => VerifiedBlock {
                ulid: name,
                good: false,
                series: 0,
                chunks: 0,
                stored: Tally::ZERO,
                visible: Tally::ZERO,
                accelerator: String::new(),
                findings: vec![error.to_string()],
                finding_count: 1,
            },
        });
        before += bytes_in(&**fs, &dir)?;
        bar.set_position(before);
    }
    bar.finish_and_clear();
    Ok(verified)
}

fn verify_block(block: &Block, on_progress: &mut dyn FnMut(u64)) -> VerifiedBlock {
    let found = check(block, on_progress);
    let mut findings: Vec<String> = found.findings.iter().map(|finding| finding.what.clone()).collect();
    let mut finding_count = found.finding_count;
    let mut accelerator = accel_text(block.accel_state());
    if let Some(accel) = block.accel() {
        if let Err(fault) = accel.check() {
            accelerator = fault.to_string();
        } else if accel.tally() != found.stored {
            // Both were made of the same files, so one of them has changed since.
            finding_count += 1;
            findings.push(format!("the accelerator knows {}, the chunks hold {}", accel.tally(), found.stored));
        }
    }
    VerifiedBlock {
        ulid: block.ulid().to_string(),
        good: finding_count == 0,
        series: found.series,
        chunks: found.chunks,
        stored: found.stored,
        visible: found.visible,
        accelerator,
        findings,
        finding_count,
    }
}
