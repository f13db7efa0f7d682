//! Lends the buffers of one request to the next, so that a steady load allocates nothing.
//!
//! What is kept is bounded in number and in size: one large request does not hold its memory for ever.

use std::sync::{Mutex, PoisonError};

use crate::model::Sample;
use crate::storage::{SeriesEntry, WriteBatch};

/// Buffers that are kept for later requests.
const KEPT_MAX: usize = 32;
/// The most bytes of a kept buffer.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes that a batch borrows from.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The decompressed body.
    pub body: Vec<u8>,
    /// Labels that do not stand in the body as a batch has them.
    pub gathered: Vec<u8>,
}

/// What one request is decoded into.
#[derive(Debug, Default)]
pub struct RequestBuffers {
    /// What its batch borrows from.
    pub scratch: Scratch,
    series: Vec<SeriesEntry<'static>>,
    samples: Vec<Sample>,
}

impl RequestBuffers {
    /// Takes the vectors of the last batch for a new one.
    pub fn take_batch<'a>(&mut self) -> WriteBatch<'a> {
        let (series, samples) = (std::mem::take(&mut self.series), std::mem::take(&mut self.samples));
        WriteBatch { series, samples, ..WriteBatch::default() }
    }

    /// Takes a used batch's vectors, to lend them again.
    pub fn put_vectors(&mut self, vectors: (Vec<SeriesEntry<'static>>, Vec<Sample>)) {
        (self.series, self.samples) = vectors;
    }

    fn bytes(&self) -> usize {
        self.scratch.body.capacity()
            + self.scratch.gathered.capacity()
            + self.series.capacity() * size_of::<SeriesEntry<'_>>()
            + self.samples.capacity() * size_of::<Sample>()
    }
}

/// Empties a batch into vectors that borrow nothing any more and keep their memory.
pub fn empty_vectors(batch: WriteBatch<'_>) -> (Vec<SeriesEntry<'static>>, Vec<Sample>) {
    let WriteBatch { mut series, mut samples, .. } = batch;
    series.clear();
    samples.clear();
    // No element is left to convert; collecting in place is how a vector changes its lifetime and keeps its memory.
    #[expect(clippy::unnecessary_filter_map, reason = "`filter` would keep the borrow")]
    let series = series.into_iter().filter_map(|_borrowing| None::<SeriesEntry<'static>>).collect();
    (series, samples)
}

/// Buffers between two requests.
#[derive(Debug, Default)]
pub struct BufferPool(Mutex<Vec<RequestBuffers>>);

impl BufferPool {
    /// Buffers for a request: used ones, or new.
    pub fn take(&self) -> RequestBuffers {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives buffers back. They are kept if they are of ordinary size and there is room.
    pub fn put(&self, buffers: RequestBuffers) {
        if buffers.bytes() <= KEPT_BYTES_MAX {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT_MAX {
                kept.push(buffers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RawLabels;

    #[test]
    fn vectors_of_a_batch_keep_their_memory_for_the_next() {
        let pool = BufferPool::default();
        let mut buffers = pool.take();
        let bytes = vec![1u8; 10];
        let mut batch = buffers.take_batch();
        batch.series.extend((0..1000).map(|_| SeriesEntry { labels: RawLabels(&bytes), samples: 0..0 }));
        batch.samples.extend((0..1000).map(|_| Sample { timestamp_ms: 0, value: 0.0 }));
        let place = batch.series.as_ptr().addr();
        buffers.put_vectors(empty_vectors(batch));
        pool.put(buffers);
        let batch = pool.take().take_batch();
        assert!(batch.series.is_empty() && batch.samples.is_empty());
        assert!(batch.samples.capacity() >= 1000);
        assert_eq!(batch.series.as_ptr().addr(), place);
    }

    #[test]
    fn oversized_buffers_are_not_kept() {
        let pool = BufferPool::default();
        let scratch = Scratch { body: Vec::with_capacity(KEPT_BYTES_MAX + 1), ..Scratch::default() };
        pool.put(RequestBuffers { scratch, ..RequestBuffers::default() });
        assert_eq!(pool.take().scratch.body.capacity(), 0);
    }
}
