//! Adds histograms of series descriptions bucket by bucket: `{{sum:1}}+{{sum:2}}x3`.
//!
//! Source: Prometheus `model/histogram/float_histogram.go` (`Add`, `Sub`), as far as descriptions need it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::FloatHistogram;
use crate::model::histogram::{BucketSpan, CounterResetHint};

/// The schema of histograms with custom buckets.
const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// Adds `increment`, times `factor`, to `histogram`. The increment may have a finer schema, but not another zero
/// threshold or other custom boundaries: a description has no use for that.
pub(super) fn add(histogram: &mut FloatHistogram, increment: &FloatHistogram, factor: f64) -> Result<(), String> {
    const CONTEXT: &str = "error combining histograms";
    let shift = match increment.schema.checked_sub(histogram.schema) {
        Some(shift @ 0..=12) => shift,
        _ => {
            let (from, to) = (increment.schema, histogram.schema);
            return Err(format!("{CONTEXT}: cannot merge from schema {from} to {to}"));
        }
    };
    if shift > 0 && histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        return Err(format!("{CONTEXT}: one has custom buckets, the other has not"));
    }
    let has_zero_bucket = increment.zero_count != 0.0 || increment.zero_threshold != 0.0;
    if has_zero_bucket && increment.zero_threshold != histogram.zero_threshold {
        let (got, want) = (increment.zero_threshold, histogram.zero_threshold);
        return Err(format!("{CONTEXT}: zero bucket has width {got}, not {want}"));
    }
    if increment.custom_values != histogram.custom_values {
        return Err(format!("{CONTEXT}: custom boundaries differ"));
    }

    histogram.counter_reset_hint = added_hint(histogram.counter_reset_hint, increment.counter_reset_hint);
    histogram.count += factor * increment.count;
    histogram.sum += factor * increment.sum;
    histogram.zero_count += factor * increment.zero_count;
    (histogram.positive_spans, histogram.positive_buckets) = added_buckets(
        (&histogram.positive_spans, &histogram.positive_buckets),
        (&increment.positive_spans, &increment.positive_buckets),
        shift,
        factor,
    );
    (histogram.negative_spans, histogram.negative_buckets) = added_buckets(
        (&histogram.negative_spans, &histogram.negative_buckets),
        (&increment.negative_spans, &increment.negative_buckets),
        shift,
        factor,
    );
    Ok(())
}

/// What is known about the sum of two histograms.
fn added_hint(left: CounterResetHint, right: CounterResetHint) -> CounterResetHint {
    match (left, right) {
        (CounterResetHint::Gauge, _) | (_, CounterResetHint::Gauge) => CounterResetHint::Gauge,
        _ if left == right => left,
        _ => CounterResetHint::Unknown,
    }
}

/// Buckets of one sign: where they lie, and their counts.
type Buckets<'a> = (&'a [BucketSpan], &'a [f64]);

fn added_buckets(left: Buckets<'_>, right: Buckets<'_>, shift: i32, factor: f64) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut counts: BTreeMap<i64, f64> = indexed(left).collect();
    for (index, count) in indexed(right) {
        // A bucket of index i ends at base^i, so the coarser bucket that holds it is that of i rounded up.
        let index = if shift == 0 { index } else { ((index - 1) >> shift) + 1 };
        *counts.entry(index).or_default() += factor * count;
    }

    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next_index = 0i64;
    for index in counts.keys() {
        match spans.last_mut() {
            Some(span) if *index == next_index => span.length += 1,
            _ => {
                let gap = i32::try_from(index - next_index).unwrap_or(i32::MAX);
                spans.push(BucketSpan { offset: gap, length: 1 });
            }
        }
        next_index = index + 1;
    }
    (spans, counts.into_values().collect())
}

/// Each bucket's index and count.
fn indexed((spans, buckets): Buckets<'_>) -> impl Iterator<Item = (i64, f64)> {
    let mut end = 0i64;
    let indexes = spans.iter().flat_map(move |span| -> Range<i64> {
        let start = end + i64::from(span.offset);
        end = start + i64::from(span.length);
        start..end
    });
    indexes.zip(buckets.iter().copied())
}
