//! What deltas are added up to: a number, or a histogram of either kind.

use std::hash::{DefaultHasher, Hash as _};

use super::Refused;
use super::numbers::float;
use crate::ingest::otlp::model::Number;
use crate::model::FloatHistogram;
use crate::model::histogram::bucket_indexes;
use crate::storage::RejectReason;

/// Numbers of a histogram that count as much as a series without any.
const NUMBERS_OF_A_STREAM: usize = 8;
/// The most buckets of a sum of exponential histograms; past it, it is made coarser.
pub(super) const BUCKETS_MAX: usize = 640;
/// Whole numbers up to here are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a histogram with explicit boundaries stands at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExplicitTotal {
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
}

/// What can be added up.
pub(super) trait Total: Clone {
    /// What it counts as among the series.
    fn cost(&self) -> usize;

    /// Tells it from other deltas.
    fn hash(&self, hasher: &mut DefaultHasher);

    /// Adds a delta; `false` where that is of another kind and begins the sum anew.
    fn add(&mut self, delta: &Self) -> Result<bool, Refused>;
}

fn too_large() -> Refused {
    (RejectReason::InvalidHistogram, "the sum of the deltas' counts is too large".to_owned())
}

fn hash_floats(hasher: &mut DefaultHasher, floats: &[f64]) {
    floats.iter().for_each(|float| float.to_bits().hash(hasher));
}

impl Total for Number {
    fn cost(&self) -> usize {
        1
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        match self {
            Number::Int(number) => (0, *number as u64).hash(hasher),
            Number::Double(number) => (1, number.to_bits()).hash(hasher),
        }
    }

    fn add(&mut self, delta: &Self) -> Result<bool, Refused> {
        let whole = match (&*self, delta) {
            (Number::Int(total), Number::Int(delta)) => total.checked_add(*delta),
            _ => None,
        };
        *self = whole.map_or_else(|| Number::Double(float(*self) + float(*delta)), Number::Int);
        Ok(true)
    }
}

impl Total for ExplicitTotal {
    fn cost(&self) -> usize {
        1 + (self.bounds.len() + self.counts.len()) / NUMBERS_OF_A_STREAM
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (self.count, self.sum.map(f64::to_bits), &self.counts).hash(hasher);
        hash_floats(hasher, &self.bounds);
    }

    fn add(&mut self, delta: &Self) -> Result<bool, Refused> {
        if self.bounds != delta.bounds || self.counts.len() != delta.counts.len() {
            return Ok(false);
        }
        let counts: Option<Vec<u64>> = self.counts.iter().zip(&delta.counts).map(|(a, b)| a.checked_add(*b)).collect();
        (self.counts, self.count) = counts.zip(self.count.checked_add(delta.count)).ok_or_else(too_large)?;
        self.sum = self.sum.zip(delta.sum).map(|(a, b)| a + b);
        Ok(true)
    }
}

impl Total for FloatHistogram {
    fn cost(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        1 + (self.positive_buckets.len() + self.negative_buckets.len() + spans) / NUMBERS_OF_A_STREAM
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        self.schema.hash(hasher);
        hash_floats(hasher, &[self.zero_threshold, self.zero_count, self.count, self.sum]);
        for (spans, buckets) in
            [(&self.positive_spans, &self.positive_buckets), (&self.negative_spans, &self.negative_buckets)]
        {
            spans.iter().for_each(|span| (span.offset, span.length).hash(hasher));
            hash_floats(hasher, buckets);
        }
    }

    fn add(&mut self, delta: &Self) -> Result<bool, Refused> {
        if FloatHistogram::add(self, delta).is_err() {
            return Ok(false);
        }
        self.compact();
        while self.positive_buckets.len() + self.negative_buckets.len() > BUCKETS_MAX && self.schema > -4 {
            self.reduce_resolution(self.schema - 1);
        }
        if self.count > EXACT_MAX { Err(too_large()) } else { Ok(true) }
    }
}

/// Adds the observations of buckets that lie in the zero bucket to that. What is added to such a histogram would lose them.
pub(super) fn fold_into_zero(histogram: &mut FloatHistogram) {
    for negative in [false, true] {
        let (spans, buckets) = if negative {
            (&histogram.negative_spans, &histogram.negative_buckets)
        } else {
            (&histogram.positive_spans, &histogram.positive_buckets)
        };
        let is_inside = |index: i64| histogram.bucket_bounds(index as i32).1 <= histogram.zero_threshold;
        let mut inside = bucket_indexes(spans).zip(buckets).take_while(|(index, _)| is_inside(*index)).count();
        let FloatHistogram { zero_count, positive_spans, positive_buckets, negative_spans, negative_buckets, .. } =
            histogram;
        let (spans, buckets) =
            if negative { (negative_spans, negative_buckets) } else { (positive_spans, positive_buckets) };
        *zero_count += buckets.drain(..inside).sum::<f64>();
        let mut passed = 0;
        spans.retain_mut(|span| {
            let taken = (inside as u32).min(span.length);
            inside -= taken as usize;
            span.length -= taken;
            span.offset += std::mem::take(&mut passed) + taken as i32;
            if span.length == 0 {
                passed = span.offset;
            }
            span.length > 0
        });
    }
}

/// Buckets with integer counts, each less the one before it. The counts are whole and not too large.
pub(super) fn deltas_of(buckets: &[f64]) -> Vec<i64> {
    let mut before = 0;
    buckets.iter().map(|count| *count as i64 - std::mem::replace(&mut before, *count as i64)).collect()
}
