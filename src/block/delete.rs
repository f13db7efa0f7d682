//! Deleting in a block: ranges of series are written down as gone. Their samples stay until a compaction leaves them
//! out.

use std::sync::{Arc, PoisonError};

use super::damage::DamagedPart;
use super::meta::replace_synced;
use super::open::Block;
use super::{BlockError, Matcher};
use crate::fs::names::BLOCK_TOMBSTONES_FILE;
use crate::model::TimeRange;
use crate::tombstones::TombstoneFile;

/// What a deletion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockDeletion {
    /// Series of which more is deleted than before.
    pub series: u64,
    /// Deleted ranges that the block has now, over all series.
    pub tombstones: u64,
}

impl Block {
    /// Deletes the samples of `range` of all series that pass every matcher. It takes effect when it is durable, for
    /// queries that are under way too. Of a series no more than its chunks cover is written down.
    ///
    /// A block whose tombstones are damaged refuses: new ones would replace what can perhaps be had back. After an
    /// error the deletion may have taken effect.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<BlockDeletion, BlockError> {
        let shared = &self.shared;
        let _alone = shared.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let path = shared.dir.join(BLOCK_TOMBSTONES_FILE);
        if shared.fs.exists(&path)
            && let Some(damage) = shared.damages.of(DamagedPart::Tombstones).into_iter().next()
        {
            return Err(BlockError::Damaged { what: damage.what, path });
        }
        let known = shared.tombstones();
        let mut tombstones = TombstoneFile::clone(&known);
        let mut deletion = BlockDeletion::default();
        let mut reader = shared.index.series();
        for series in shared.select(matchers, &mut |_recorded| {}) {
            let covered = match reader.read(series) {
                Ok(()) => {
                    let overlapping = reader.chunks().iter().map(|chunk| chunk.range).filter(|of| of.overlaps(&range));
                    let times =
                        overlapping.flat_map(|of| [of.start_ms.max(range.start_ms), of.end_ms.min(range.end_ms)]);
                    let (first, last) = (times.clone().min(), times.max());
                    first.zip(last).map(|(first, last)| TimeRange::new(first, last))
                }
                // What it holds is not known, but that it is meant is.
                Err(fault) => {
                    shared.index_damage(DamagedPart::Series, fault);
                    Some(range)
                }
            };
            let Some(covered) = covered else { continue };
            let series = u64::from(series);
            if known.get(series).is_none_or(|deleted| !deleted.covers(&covered)) {
                tombstones.add(series, covered);
                deletion.series += 1;
            }
        }
        deletion.tombstones = tombstones.len() as u64;
        if deletion.series == 0 {
            return Ok(deletion);
        }
        replace_synced(&*shared.fs, &shared.dir, BLOCK_TOMBSTONES_FILE, &tombstones.encode())?;
        *shared.tombstones.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tombstones);
        shared.rewrite_meta(|meta| meta.stats.tombstones = deletion.tombstones)?;
        Ok(deletion)
    }
}
