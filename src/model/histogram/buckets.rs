//! The buckets of a native histogram one by one, from either end.

use super::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, FloatHistogram};

/// A bucket with its bounds and the observations in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation at the lower bound is in this bucket.
    pub lower_inclusive: bool,
    /// Whether an observation at the upper bound is in this bucket.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// Indexes and counts of the buckets of one side, from the zero bucket outwards; from both ends.
///
/// Where spans and counts do not belong together, it ends with whichever ends first.
#[derive(Debug, Clone)]
pub(super) struct IndexedCounts<'a> {
    counts: &'a [f64],
    front: Place<'a>,
    back: Place<'a>,
}

/// One end of the buckets that are left. Where both ends are in one span, the counts tell when they meet.
#[derive(Debug, Clone)]
struct Place<'a> {
    /// The span that this end is in, and those towards the other end.
    spans: &'a [BucketSpan],
    /// Buckets of that span that this end has not passed.
    left: u32,
    /// At the front: the index of the next bucket. At the back: the index behind it.
    index: i32,
}

impl<'a> IndexedCounts<'a> {
    pub(super) fn new(spans: &'a [BucketSpan], counts: &'a [f64]) -> Self {
        let end =
            spans.iter().fold(0i32, |end, span| end.wrapping_add(span.offset).wrapping_add(span.length.cast_signed()));
        let (first, last) = (spans.first(), spans.last());
        let front =
            Place { spans, left: first.map_or(0, |span| span.length), index: first.map_or(0, |span| span.offset) };
        let back = Place { spans, left: last.map_or(0, |span| span.length), index: end };
        IndexedCounts { counts, front, back }
    }
}

impl Iterator for IndexedCounts<'_> {
    type Item = (i32, f64);

    #[inline]
    fn next(&mut self) -> Option<(i32, f64)> {
        let (&count, rest) = self.counts.split_first()?;
        let place = &mut self.front;
        while place.left == 0 {
            place.spans = place.spans.get(1..)?;
            let span = place.spans.first()?;
            place.left = span.length;
            place.index = place.index.wrapping_add(span.offset);
        }
        let index = place.index;
        place.left -= 1;
        place.index = index.wrapping_add(1);
        self.counts = rest;
        Some((index, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.counts.len()))
    }
}

impl DoubleEndedIterator for IndexedCounts<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<(i32, f64)> {
        let (&count, rest) = self.counts.split_last()?;
        let place = &mut self.back;
        while place.left == 0 {
            let (passed, before) = place.spans.split_last()?;
            place.spans = before;
            place.left = before.last()?.length;
            place.index = place.index.wrapping_sub(passed.offset);
        }
        place.left -= 1;
        place.index = place.index.wrapping_sub(1);
        self.counts = rest;
        Some((place.index, count))
    }
}

impl FloatHistogram {
    /// Whether the bounds of the buckets are the histogram's own.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    pub(super) fn indexed_positive(&self) -> IndexedCounts<'_> {
        IndexedCounts::new(&self.positive_spans, &self.positive_buckets)
    }

    pub(super) fn indexed_negative(&self) -> IndexedCounts<'_> {
        IndexedCounts::new(&self.negative_spans, &self.negative_buckets)
    }

    /// The positive buckets in rising order, empty ones of the spans too.
    pub fn positive(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let custom = self.has_custom_buckets();
        self.indexed_positive().map(move |(index, count)| {
            let (lower, upper) = self.bucket_bounds(index);
            let (lower_inclusive, upper_inclusive) =
                if custom { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
            Bucket { lower, upper, lower_inclusive, upper_inclusive, count }
        })
    }

    /// The negative buckets from the zero bucket downwards, empty ones of the spans too.
    pub fn negative(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.indexed_negative().map(|(index, count)| {
            let (inner, outer) = self.bucket_bounds(index);
            let (lower, upper) = (-outer, -inner);
            Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
        })
    }

    /// The zero bucket. Histograms with custom buckets have none.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets in rising order: negative ones, the zero bucket if it is not empty, positive ones. A bucket that the
    /// zero bucket overlaps ends where that begins.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let beside_zero = move |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            } else if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        };
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        self.negative().rev().map(beside_zero).chain(zero).chain(self.positive().map(beside_zero))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn indexed_counts_from_either_end_are_the_same() {
        let spans = [span(-2, 2), span(0, 0), span(1, 0), span(2, 1), span(0, 3)];
        let counts = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let forward: Vec<_> = IndexedCounts::new(&spans, &counts).collect();
        assert_eq!(forward, [(-2, 1.0), (-1, 2.0), (3, 3.0), (4, 4.0), (5, 5.0), (6, 6.0)]);
        let mut backward: Vec<_> = IndexedCounts::new(&spans, &counts).rev().collect();
        backward.reverse();
        assert_eq!(backward, forward);
        let mut both = IndexedCounts::new(&spans, &counts);
        assert_eq!((both.next(), both.next_back(), both.nth(3), both.next_back()), {
            (Some((-2, 1.0)), Some((6, 6.0)), Some((5, 5.0)), None)
        });
    }

    #[test]
    fn indexed_counts_that_do_not_fit_their_spans_end_early() {
        let indexes = |spans: &[BucketSpan], counts: &[f64]| {
            IndexedCounts::new(spans, counts).map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(&[span(0, 1)], &[1.0, 2.0]), [0]);
        assert_eq!(indexes(&[span(0, u32::MAX)], &[1.0, 2.0]), [0, 1]);
        assert_eq!(indexes(&[], &[1.0]), [0; 0]);
        assert_eq!(IndexedCounts::new(&[span(3, 1)], &[1.0, 2.0]).rev().count(), 1);
    }

    #[test]
    fn buckets_rise_and_those_over_the_zero_bucket_are_cut() {
        let histogram = FloatHistogram {
            zero_threshold: 1.5,
            zero_count: 3.0,
            positive_spans: vec![span(1, 2)],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![span(1, 1), span(1, 1)],
            negative_buckets: vec![4.0, 5.0],
            ..FloatHistogram::default()
        };
        let bounds: Vec<_> = histogram.buckets().map(|bucket| (bucket.lower, bucket.upper, bucket.count)).collect();
        let rising = [(-8.0, -4.0, 5.0), (-2.0, -1.5, 4.0), (-1.5, 1.5, 3.0), (1.5, 2.0, 1.0), (2.0, 4.0, 2.0)];
        assert_eq!(bounds, rising);
        let falling: Vec<_> = histogram.buckets().rev().map(|bucket| bucket.count).collect();
        assert_eq!(falling, [2.0, 1.0, 3.0, 4.0, 5.0]);
    }
}
