//! Buckets that come and go: what the buckets of a chunk and those of a new histogram have in common, and what each
//! lacks.

use super::count::Count;
use super::sample::spans_of;
use crate::model::histogram::{BucketSpan, bucket_indexes};

/// The buckets of one side, of a chunk and of a histogram.
#[derive(Debug)]
pub(super) struct Merge {
    /// Indexes of all buckets; empty where both sides have the same.
    union: Vec<i64>,
    /// The histogram has buckets that the chunk lacks.
    pub(super) chunk_lacks: bool,
    /// The chunk has buckets that the histogram lacks.
    pub(super) histogram_lacks: bool,
    /// Some bucket counts less than it did, or one that was in use is gone.
    pub(super) is_reset: bool,
}

impl Merge {
    /// Compares the chunk's newest buckets with those of a histogram.
    pub(super) fn new<C: Count>(chunk: (&[BucketSpan], &[C]), histogram: (&[BucketSpan], &[C])) -> Self {
        let mut merge = Merge { union: Vec::new(), chunk_lacks: false, histogram_lacks: false, is_reset: false };
        if chunk.0 == histogram.0 {
            merge.is_reset = chunk.1.iter().zip(histogram.1).any(|(before, now)| before > now);
            return merge;
        }
        let mut ours = bucket_indexes(chunk.0).zip(chunk.1).peekable();
        let mut theirs = bucket_indexes(histogram.0).zip(histogram.1).peekable();
        loop {
            let (our_index, their_index) = (ours.peek().map(|bucket| bucket.0), theirs.peek().map(|bucket| bucket.0));
            // A side at its end is behind all buckets of the other.
            let index = match (our_index, their_index) {
                (Some(our), Some(their)) => our.min(their),
                (Some(index), None) | (None, Some(index)) => index,
                (None, None) => break,
            };
            let before = ours.next_if(|bucket| bucket.0 == index).map(|bucket| *bucket.1);
            let now = theirs.next_if(|bucket| bucket.0 == index).map(|bucket| *bucket.1);
            match (before, now) {
                (Some(before), Some(now)) => merge.is_reset |= before > now,
                (Some(before), None) => {
                    merge.histogram_lacks = true;
                    merge.is_reset |= before != C::default();
                }
                _ => merge.chunk_lacks = true,
            }
            merge.union.push(index);
        }
        merge
    }

    /// Spans that hold all buckets of both.
    pub(super) fn spans(&self, same: &[BucketSpan]) -> Vec<BucketSpan> {
        if self.union.is_empty() { same.to_vec() } else { spans_of(self.union.iter().copied()) }
    }
}

/// The counts of the buckets of `to`, from those of the buckets of `from`: 0 where there is none.
pub(super) fn spread<C: Count>(from: &[BucketSpan], counts: &[C], to: &[BucketSpan]) -> Vec<C> {
    let mut known = bucket_indexes(from).zip(counts).peekable();
    bucket_indexes(to)
        .map(|index| {
            while known.next_if(|bucket| bucket.0 < index).is_some() {}
            known.next_if(|bucket| bucket.0 == index).map_or(C::default(), |bucket| *bucket.1)
        })
        .collect()
}
