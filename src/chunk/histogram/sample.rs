//! A histogram as the appender takes it: its counts absolute, those of a staleness marker none.

use super::count::Count;
use super::layout::Layout;
use crate::model::histogram::{
    BUCKET_INDEX_MAX, BucketSpan, CUSTOM_BUCKETS_SCHEMA, bucket_counts, bucket_indexes, spans_fit,
};
use crate::model::{CounterResetHint, FloatHistogram, Histogram, is_stale_nan};

/// A histogram of either kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample<C> {
    pub(super) layout: Layout,
    pub(super) hint: CounterResetHint,
    pub(super) sum: f64,
    pub(super) count: C,
    pub(super) zero_count: C,
    /// As many as the layout's positive spans say.
    pub(super) positive: Vec<C>,
    /// As many as the layout's negative spans say.
    pub(super) negative: Vec<C>,
}

impl<C: Count> Sample<C> {
    pub(super) fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    fn new(layout: Layout, hint: CounterResetHint, sum: f64, counts: [C; 2], buckets: [Vec<C>; 2]) -> Self {
        if is_stale_nan(sum) {
            return Sample { sum, hint, ..Sample::default() };
        }
        let [count, zero_count] = counts;
        let [positive, negative] = buckets;
        let mut sample = Sample { layout, hint, sum, count, zero_count, positive, negative };
        // A chunk keeps boundaries only where the schema has a use for them.
        if sample.layout.schema != CUSTOM_BUCKETS_SCHEMA {
            sample.layout.custom_values.clear();
        }
        make_fit(&mut sample.layout.positive_spans, &mut sample.positive);
        make_fit(&mut sample.layout.negative_spans, &mut sample.negative);
        sample
    }
}

/// Buckets without a place, and places without a bucket, are left out. Whoever takes histograms in refuses such ones
/// before they come here; this only keeps a fault elsewhere from becoming a chunk that can't be read.
fn make_fit<C>(spans: &mut Vec<BucketSpan>, counts: &mut Vec<C>) {
    if spans_fit(spans, counts.len()) {
        return;
    }
    debug_assert!(false, "spans {spans:?} do not fit {} buckets", counts.len());
    let mut previous = None;
    let rising = bucket_indexes(spans).take(counts.len()).take_while(|&index| {
        let rises = previous.is_none_or(|previous| previous < index) && index.abs() < BUCKET_INDEX_MAX;
        previous = Some(index);
        rises
    });
    *spans = spans_of(rising);
    counts.truncate(super::layout::bucket_count(spans));
}

/// The spans that hold the buckets with these rising indexes.
pub(super) fn spans_of(indexes: impl Iterator<Item = i64>) -> Vec<BucketSpan> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut end = 0i64;
    for index in indexes {
        match spans.last_mut() {
            Some(last) if index == end => last.length += 1,
            _ => spans.push(BucketSpan { offset: (index - end) as i32, length: 1 }),
        }
        end = index + 1;
    }
    spans
}

impl From<&Histogram> for Sample<u64> {
    fn from(histogram: &Histogram) -> Self {
        let counts = |deltas| bucket_counts(deltas).map(|count| count as u64).collect();
        Sample::new(
            Layout {
                schema: histogram.schema,
                zero_threshold: histogram.zero_threshold,
                positive_spans: histogram.positive_spans.clone(),
                negative_spans: histogram.negative_spans.clone(),
                custom_values: histogram.custom_values.clone(),
            },
            histogram.counter_reset_hint,
            histogram.sum,
            [histogram.count, histogram.zero_count],
            [counts(&histogram.positive_deltas), counts(&histogram.negative_deltas)],
        )
    }
}

impl From<&FloatHistogram> for Sample<f64> {
    fn from(histogram: &FloatHistogram) -> Self {
        Sample::new(
            Layout {
                schema: histogram.schema,
                zero_threshold: histogram.zero_threshold,
                positive_spans: histogram.positive_spans.clone(),
                negative_spans: histogram.negative_spans.clone(),
                custom_values: histogram.custom_values.clone(),
            },
            histogram.counter_reset_hint,
            histogram.sum,
            [histogram.count, histogram.zero_count],
            [histogram.positive_buckets.clone(), histogram.negative_buckets.clone()],
        )
    }
}
