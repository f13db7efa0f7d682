//! Single entries of a block's index, for those who look inside.

use super::SeriesRef;
use super::chunks::BlockChunkRef;
use super::damage::{Damage, DamagedPart};
use super::open::Block;
use crate::model::{LabelSet, TimeRange};

/// A series as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Its labels.
    pub labels: LabelSet,
    /// Its chunks: from the first to the last sample, and where the chunk lies.
    pub chunks: Vec<(TimeRange, BlockChunkRef)>,
}

impl Block {
    /// Reads the entry of a series.
    pub fn series_entry(&self, series: SeriesRef) -> Result<SeriesEntry, Damage> {
        let mut reader = self.shared.index.series();
        reader.read(series).map_err(|fault| self.shared.index_damage(DamagedPart::Series, fault))?;
        let chunks = reader.chunks().iter().map(|chunk| (chunk.range, chunk.place)).collect();
        Ok(SeriesEntry { labels: reader.label_set(), chunks })
    }
}
