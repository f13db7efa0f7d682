//! From series to a block.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::error::CompactionError;
use super::merge::{MergeTotals, Merger};
use crate::block::{BlockOrigin, BlockWriter, PreparedBlock, WriterOptions};
use crate::fs::Fs;
use crate::model::TimeRange;
use crate::storage::{ChunkSource, StorageError};

/// Series between two looks at whether to go on.
const SERIES_PER_STEP: u64 = 256;

/// How far a compaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Series and samples that were written.
    Writing {
        /// Series.
        series: u64,
        /// Samples.
        samples: u64,
    },
    /// Bytes of the new block that were read back.
    Proving {
        /// Bytes.
        bytes: u64,
    },
}

/// Is told how far a compaction is, and says whether it goes on.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + Send + 'a;

/// A block that was written and is not proven yet.
#[derive(Debug)]
pub struct WrittenBlock {
    /// The block; `None` where no sample was left for it.
    pub block: Option<PreparedBlock>,
    /// What the merge counted.
    pub totals: MergeTotals,
}

/// Writes the samples of `range` in `sources` as one block in `parent_dir`. The sources stand in the order of precedence
/// ([`Merger`]); their deleted ranges are applied. Nothing is left behind an error.
pub fn write_block(
    fs: &Arc<dyn Fs>,
    parent_dir: &Path,
    ulid: Ulid,
    sources: Vec<Box<dyn ChunkSource>>,
    range: TimeRange,
    origin: BlockOrigin,
    watch: &mut Watch<'_>,
) -> Result<WrittenBlock, CompactionError> {
    let mut merger = Merger::new(sources, range)?;
    // Encodings that Prometheus 3.5 does not know come from blocks that it could not read either, and pass as they are.
    let options = WriterOptions { newer_encodings: true, ..WriterOptions::default() };
    let mut writer = BlockWriter::create(fs.clone(), parent_dir, ulid, options)?;
    while let Some(series) = merger.next_series()? {
        if planted!(SeriesLeftOut) {
            continue;
        }
        writer.add(&series.labels, &series.chunks)?;
        let totals = merger.totals();
        if totals.series.is_multiple_of(SERIES_PER_STEP) {
            let progress = Progress::Writing { series: totals.series, samples: totals.samples };
            if watch(progress).is_break() {
                return Err(CompactionError::Stopped);
            }
        }
    }
    let block = writer.finish(origin)?;
    let written = block.as_ref().map_or(0, |block| block.meta().stats.samples);
    let totals = merger.totals().clone();
    if written != totals.samples {
        return Err(CompactionError::Read(StorageError::Corrupt {
            what: format!("{written} samples were written of {}", totals.samples),
            place: format!("block {ulid}"),
        }));
    }
    Ok(WrittenBlock { block, totals })
}
