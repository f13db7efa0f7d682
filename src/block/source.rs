//! All series of a block with their chunks, as compaction takes them.

use std::sync::Arc;

use super::damage::DamagedPart;
use super::open::{Block, Shared};
use super::{Damage, SeriesRef};
use crate::storage::{Chunk, ChunkSeries, ChunkSource, StorageError};

/// A pass over the series of a block, in order. Damage ends it: what would be missing must not go unseen.
struct BlockChunkSource {
    shared: Arc<Shared>,
    refs: std::vec::IntoIter<SeriesRef>,
    /// Damage that the pass cannot start with.
    damage: Option<Damage>,
}

impl Block {
    /// All series with their chunks and deleted ranges. Chunks are checked against their checksums as they are given,
    /// and an unreadable chunk, series or tombstones file is an error.
    pub fn chunk_source(&self) -> Box<dyn ChunkSource> {
        let mut damage = None;
        let refs = self.shared.all_series(&mut |found| {
            if found.part != DamagedPart::Postings {
                damage = Some(found);
            }
        });
        let tombstones = self.shared.damages.of(DamagedPart::Tombstones).into_iter().next();
        Box::new(BlockChunkSource {
            shared: self.shared.clone(),
            refs: refs.into_iter(),
            damage: tombstones.or(damage),
        })
    }
}

impl BlockChunkSource {
    fn corrupt(&self, damage: Damage) -> StorageError {
        StorageError::Corrupt { what: damage.what, place: self.shared.dir.display().to_string() }
    }
}

impl ChunkSource for BlockChunkSource {
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        if let Some(damage) = &self.damage {
            return Err(self.corrupt(damage.clone()));
        }
        let Some(series) = self.refs.next() else { return Ok(None) };
        let mut reader = self.shared.index.series();
        if let Err(fault) = reader.read(series) {
            return Err(self.corrupt(self.shared.index_damage(DamagedPart::Series, fault)));
        }
        let mut chunks = Vec::with_capacity(reader.chunks().len());
        for chunk in reader.chunks() {
            let (encoding, bytes) = self.shared.chunk(chunk).map_err(|damage| self.corrupt(damage))?;
            chunks.push(Chunk { range: chunk.range, encoding, bytes });
        }
        let tombstones = self.shared.tombstones();
        let deleted = tombstones.get(u64::from(series)).map(|deleted| deleted.as_slice().to_vec());
        Ok(Some(ChunkSeries { labels: reader.label_set(), chunks, deleted: deleted.unwrap_or_default() }))
    }
}
