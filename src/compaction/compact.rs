//! From blocks to a larger block, with the proof that it is the sum of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::error::CompactionError;
use super::merge::{Conflict, MergeTotals};
use super::prove::{Conserved, ProofError, conservation};
use super::write::{Watch, WrittenBlock, write_block};
use crate::block::{Block, BlockMeta, BlockOrigin, HINT_FROM_OUT_OF_ORDER, PreparedBlock};
use crate::fs::Fs;
use crate::model::{Tally, TimeRange};

/// Blocks that became one, proven: `stored` is the sum of the parents less `deleted` and `deduplicated`.
#[derive(Debug)]
pub struct Outcome {
    /// The new block, not published yet; `None` where no sample is left.
    pub child: Option<PreparedBlock>,
    /// What it holds, as it was read back from the disk.
    pub stored: Tally,
    /// What was left out because it was deleted.
    pub deleted: Tally,
    /// What was left out because another sample of its series and time was kept.
    pub deduplicated: Tally,
    /// How many of these had another value.
    pub conflicts: u64,
    /// The first of them.
    pub conflicts_named: Vec<Conflict>,
    /// What the merge did, in numbers.
    pub totals: MergeTotals,
}

/// Merges blocks into one in `data_dir`, under its temporary name, and proves it ([`conservation`]). An error
/// leaves the parents as they are, and the child, if there is one, in the error.
pub fn compact(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    ulid: Ulid,
    parents: &[Arc<Block>],
    watch: &mut Watch<'_>,
) -> Result<Outcome, CompactionError> {
    let mut parents = parents.to_vec();
    parents.sort_by_key(|block| precedence(&block.meta()));
    let metas: Vec<Arc<BlockMeta>> = parents.iter().map(|block| block.meta()).collect();
    let origin = origin_of(&metas.iter().map(|meta| &**meta).collect::<Vec<_>>());
    let sources = parents.iter().map(|block| block.chunk_source()).collect();
    let written = write_block(fs, data_dir, ulid, sources, TimeRange::ALL, origin, watch)?;
    let Conserved { stored, deleted, deduplicated } = match conservation(&parents, &written, watch) {
        Ok(conserved) => conserved,
        Err(ProofError::Disproven(reason)) => {
            return Err(CompactionError::Unproven { reason, child: written.block.map(Box::new) });
        }
        Err(ProofError::Other(error)) => {
            discard(written.block);
            return Err(*error);
        }
    };
    let WrittenBlock { block, mut totals } = written;
    let conflicts_named = std::mem::take(&mut totals.conflicts_named);
    Ok(Outcome { child: block, stored, deleted, deduplicated, conflicts: totals.conflicts, conflicts_named, totals })
}

/// Removes a block that nobody will ask for. A start removes what cannot be removed now.
fn discard(block: Option<PreparedBlock>) {
    if let Some(Err(error)) = block.map(PreparedBlock::discard) {
        tracing::warn!(%error, "a block that was not finished could not be removed");
    }
}

/// Where two blocks have different values for one series and time, the one with the lower key is believed: samples that
/// came in order before those that did not, and among equals the older block.
fn precedence(meta: &BlockMeta) -> (bool, u64, Ulid) {
    (meta.is_from_out_of_order(), meta.ulid.timestamp_ms(), meta.ulid)
}

/// What the meta of a block says that is made of others, as Prometheus has it.
fn origin_of(parents: &[&BlockMeta]) -> BlockOrigin {
    let sources: BTreeSet<Ulid> = parents.iter().flat_map(|meta| meta.compaction.sources.iter().copied()).collect();
    let mut by_time: Vec<&&BlockMeta> = parents.iter().collect();
    by_time.sort_by_key(|meta| (meta.min_time_ms, meta.ulid));
    // Only where all of them are out of order: else the block would be passed over where the end of the samples in order
    // is looked for.
    let is_out_of_order = !parents.is_empty() && parents.iter().all(|meta| meta.is_from_out_of_order());
    BlockOrigin {
        min_time_ms: parents.iter().map(|meta| meta.min_time_ms).min().unwrap_or_default(),
        max_time_ms: parents.iter().map(|meta| meta.max_time_ms).max().unwrap_or_default(),
        level: parents.iter().map(|meta| meta.compaction.level).max().unwrap_or(0).saturating_add(1),
        sources: sources.into_iter().collect(),
        parents: by_time.into_iter().map(|meta| meta.desc()).collect(),
        hints: is_out_of_order.then(|| HINT_FROM_OUT_OF_ORDER.to_owned()).into_iter().collect(),
    }
}
