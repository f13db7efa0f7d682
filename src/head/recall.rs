//! The newest sample of series whose chunks were found in files: by it the next one is judged.

use super::Shared;
use super::series::{ChunkPlace, Series};
use super::shard::{SHARDS, split_slot};
use super::value::{ValueKind, ValueRef};
use crate::index::Slot;
use crate::model::SampleValue;

impl Shared {
    /// Takes the newest sample of series without an open chunk from their newest chunk: the log may not have been read so
    /// far back, and whoever sends the sample again sends no other.
    pub(super) fn recall_newest(&self, threads: usize) {
        std::thread::scope(|scope| {
            for first in 0..threads {
                scope.spawn(move || (first..SHARDS).step_by(threads).for_each(|number| self.recall_newest_of(number)));
            }
        });
    }

    fn recall_newest_of(&self, number: usize) {
        let mut shard = self.shard(number);
        let closed = |(slot, series): (Slot, &Series)| {
            let newest = series.full.last().filter(|_| series.open_range().is_none())?;
            Some((split_slot(slot).1, newest.place.clone()))
        };
        let closed: Vec<_> = shard.slots().filter_map(closed).collect();
        for (row, place) in closed {
            // A chunk that cannot be read is told when it is asked for.
            let Some(newest) = self.newest_of(&place) else { continue };
            let kind = match newest {
                SampleValue::Float(_) => ValueKind::Float,
                SampleValue::Histogram(_) => ValueKind::Histogram,
                SampleValue::FloatHistogram(_) => ValueKind::FloatHistogram,
            };
            shard.row_mut(row).recall(kind, ValueRef::of(&newest).bits());
        }
    }

    fn newest_of(&self, place: &ChunkPlace) -> Option<SampleValue> {
        let newest =
            |encoding, bytes: &[u8]| crate::chunk::samples(encoding, bytes).ok()?.last()?.ok().map(|(_, value)| value);
        match place {
            ChunkPlace::Memory(chunk) => newest(chunk.encoding, &chunk.bytes),
            ChunkPlace::File(chunk_ref) => {
                let (encoding, bytes) = self.files.as_ref()?.chunk_bytes(*chunk_ref).ok()?;
                newest(encoding, &bytes)
            }
        }
    }
}
