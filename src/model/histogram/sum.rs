//! Sums and means of native histograms.
//!
//! Histograms that are added may differ in resolution, in the width of their zero buckets and in custom bounds: the sum
//! has the coarser resolution, a zero bucket that cuts through no populated bucket of either, and the bounds that both
//! have. Source: Prometheus `model/histogram/float_histogram.go`, version 3.14 (`Add`, `Sub`, `KahanAdd`); sums are equal
//! to the last bit, so the order of float operations is not free.

use std::cmp::Ordering;

use super::arithmetic::{Conflicts, IncompatibleSchemas};
use super::bounds::exponential_bound;
use super::{BucketSpan, CounterResetHint, FloatHistogram};
use crate::model::kahan::Sum;

/// A running sum of histograms in which each number is compensated for what rounding takes away.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    schema: i32,
    counter_reset_hint: CounterResetHint,
    zero_threshold: f64,
    zero: Sum,
    count: Sum,
    sum: Sum,
    positive: Vec<Entry>,
    negative: Vec<Entry>,
    custom_values: Vec<f64>,
    /// Whether there is more than the first histogram.
    is_sum: bool,
}

/// A bucket by its index. Entries of a side rise with their indexes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) index: i32,
    pub(super) count: Sum,
}

impl Entry {
    fn new(index: i32, count: f64) -> Self {
        Entry { index, count: Sum::starting_with(count) }
    }

    fn is_empty(&self) -> bool {
        self.count.sum == 0.0 && self.count.compensation == 0.0
    }
}

/// How two numbers are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addition {
    /// As floats are; the compensation stays 0.
    Plain,
    /// With compensation.
    Compensated,
}

impl Addition {
    #[inline]
    fn add(self, into: &mut Sum, value: Sum) {
        match self {
            Addition::Plain => into.sum += value.sum,
            Addition::Compensated => {
                into.add(value.sum);
                if value.compensation != 0.0 {
                    into.add(value.compensation);
                }
            }
        }
    }
}

impl HistogramSum {
    /// A sum that starts with `first`.
    pub fn starting_with(first: &FloatHistogram) -> Self {
        let entries =
            |counts: super::buckets::IndexedCounts<'_>| counts.map(|(index, count)| Entry::new(index, count)).collect();
        HistogramSum {
            schema: first.schema,
            counter_reset_hint: first.counter_reset_hint,
            zero_threshold: first.zero_threshold,
            zero: Sum::starting_with(first.zero_count),
            count: Sum::starting_with(first.count),
            sum: Sum::starting_with(first.sum),
            positive: entries(first.indexed_positive()),
            negative: entries(first.indexed_negative()),
            custom_values: first.custom_values.clone(),
            is_sum: false,
        }
    }

    /// Adds `other`. Nothing is changed if that is not possible.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Conflicts, IncompatibleSchemas> {
        self.combine(other, 1.0, Addition::Compensated)
    }

    /// Adds `other` times `sign`.
    pub(super) fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
        addition: Addition,
    ) -> Result<Conflicts, IncompatibleSchemas> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        self.is_sum = true;
        let counter_resets = self.counter_reset_hint.combine(other.counter_reset_hint);
        let mut conflicts = Conflicts { counter_resets, custom_bounds: false };
        if !self.has_custom_buckets() {
            let zero = self.reconcile_zero_buckets(other);
            match addition {
                Addition::Plain => self.zero = Sum::starting_with(self.zero.sum + sign * zero.sum),
                Addition::Compensated => {
                    self.zero.add(sign * zero.sum);
                    self.zero.add(sign * zero.compensation);
                }
            }
        }
        addition.add(&mut self.count, Sum::starting_with(sign * other.count));
        addition.add(&mut self.sum, Sum::starting_with(sign * other.sum));

        let entry = |(index, count): (i32, f64)| Entry::new(index, sign * count);
        let (positive, negative) = (other.indexed_positive().map(entry), other.indexed_negative().map(entry));
        if self.has_custom_buckets() {
            if self.custom_values == other.custom_values {
                merge(&mut self.positive, positive, addition);
            } else {
                conflicts.custom_bounds = true;
                self.intersect(positive, &other.custom_values, addition);
            }
            return Ok(conflicts);
        }
        if other.schema > self.schema {
            let positive = reduce(positive, other.schema, self.schema, addition);
            let negative = reduce(negative, other.schema, self.schema, addition);
            self.merge_outside_zero(positive.into_iter(), negative.into_iter(), addition);
            return Ok(conflicts);
        }
        if other.schema < self.schema {
            for side in [&mut self.positive, &mut self.negative] {
                *side = reduce(std::mem::take(side).into_iter(), self.schema, other.schema, addition);
            }
            self.schema = other.schema;
        }
        self.merge_outside_zero(positive, negative, addition);
        Ok(conflicts)
    }

    fn has_custom_buckets(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }

    /// Widens the zero bucket until its threshold is one that `other` can have too, and says how many observations the
    /// zero bucket of `other` then holds.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> Sum {
        let mut zero = Sum::starting_with(other.zero_count);
        let mut threshold = other.zero_threshold;
        // Thresholds that are no numbers never become equal, but cannot be compared either.
        while threshold.partial_cmp(&self.zero_threshold).is_some_and(Ordering::is_ne) {
            if threshold < self.zero_threshold {
                (zero, threshold) = zero_count_for(other, self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                let sides = (self.positive.iter().copied(), self.negative.iter().copied());
                (self.zero, self.zero_threshold) = widen_zero_bucket(self.schema, self.zero, threshold, sides);
                let (schema, threshold) = (self.schema, self.zero_threshold);
                let is_outside = |entry: &Entry| exponential_bound(entry.index.wrapping_sub(1), schema) >= threshold;
                self.positive.retain(|entry| !entry.is_empty() && is_outside(entry));
                self.negative.retain(|entry| !entry.is_empty() && is_outside(entry));
            }
        }
        zero
    }

    /// Adds buckets, but for those at the start of either side that the zero bucket holds.
    fn merge_outside_zero(
        &mut self,
        positive: impl Iterator<Item = Entry>,
        negative: impl Iterator<Item = Entry>,
        addition: Addition,
    ) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let is_inside = |entry: &Entry| exponential_bound(entry.index, schema) <= threshold;
        merge(&mut self.positive, positive.skip_while(is_inside), addition);
        merge(&mut self.negative, negative.skip_while(is_inside), addition);
    }

    /// Adds buckets with other custom bounds. Only bounds that both have stay.
    fn intersect(&mut self, other: impl Iterator<Item = Entry>, other_bounds: &[f64], addition: Addition) {
        let common = common_bounds(&self.custom_values, other_bounds);
        let mut sums = vec![Sum::ZERO; common.len() + 1];
        let mut place = |entries: &mut dyn Iterator<Item = Entry>, bounds: &[f64]| {
            for (bucket, count) in by_common_bounds(entries, bounds, &common) {
                if let Some(sum) = sums.get_mut(bucket) {
                    // Compensated even in a plain addition.
                    sum.add(count.sum);
                    sum.add(count.compensation);
                }
            }
        };
        place(&mut self.positive.iter().copied(), &self.custom_values);
        place(&mut { other }, other_bounds);
        let entries = sums.into_iter().enumerate().map(|(index, count)| Entry { index: index as i32, count });
        self.positive = entries.filter(|entry| !entry.is_empty()).collect();
        if addition == Addition::Plain {
            self.positive.iter_mut().for_each(|entry| entry.count.compensation = 0.0);
        }
        self.custom_values = common;
    }

    /// Every number of the sum.
    fn numbers(&mut self) -> impl Iterator<Item = &mut Sum> {
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|entry| &mut entry.count);
        [&mut self.zero, &mut self.count, &mut self.sum].into_iter().chain(buckets)
    }

    fn multiply(&mut self, factor: f64) {
        for number in self.numbers() {
            *number = Sum { sum: number.sum * factor, compensation: number.compensation * factor };
        }
    }

    fn divide(&mut self, divisor: f64) {
        for number in self.numbers() {
            *number = Sum { sum: number.sum / divisor, compensation: number.compensation / divisor };
        }
    }

    /// Whether a number became infinite.
    fn has_overflow(&mut self) -> bool {
        self.custom_values.iter().any(|bound| bound.is_infinite())
            || self.numbers().any(|number| number.sum.is_infinite())
    }

    /// The sum as a histogram, with empty buckets if there are any.
    pub fn total(&self) -> FloatHistogram {
        let total = |number: Sum| if self.is_sum { number.total() } else { number.sum };
        let side = |entries: &[Entry]| encode(entries.iter().map(|entry| (entry.index, total(entry.count))));
        let (positive_spans, positive_buckets) = side(&self.positive);
        let (negative_spans, negative_buckets) = side(&self.negative);
        FloatHistogram {
            schema: self.schema,
            counter_reset_hint: self.counter_reset_hint,
            zero_threshold: self.zero_threshold,
            zero_count: total(self.zero),
            count: total(self.count),
            sum: total(self.sum),
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            custom_values: self.custom_values.clone(),
        }
    }
}

/// A running mean of histograms: sum by count until the sum would overflow, and from there on a mean that is moved.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    /// The sum, or once `moves`, the mean.
    sum: HistogramSum,
    count: f64,
    moves: bool,
}

impl HistogramMean {
    /// The mean of one histogram.
    pub fn starting_with(first: &FloatHistogram) -> Self {
        HistogramMean { sum: HistogramSum::starting_with(first), count: 1.0, moves: false }
    }

    /// Takes `other` in. The mean means nothing any more if that is not possible.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Conflicts, IncompatibleSchemas> {
        let before = self.count;
        self.count += 1.0;
        let mut direct = Conflicts::default();
        if !self.moves {
            let mut sum = self.sum.clone();
            direct = sum.add(other)?;
            if !sum.has_overflow() {
                self.sum = sum;
                return Ok(direct);
            }
            self.moves = true;
            self.sum.divide(before);
        }
        self.sum.multiply(before / self.count);
        let mut part = other.clone();
        part.divide(self.count);
        let moved = self.sum.add(&part)?;
        Ok(Conflicts {
            counter_resets: direct.counter_resets || moved.counter_resets,
            custom_bounds: direct.custom_bounds || moved.custom_bounds,
        })
    }

    /// The mean as a histogram, with empty buckets if there are any.
    pub fn total(mut self) -> FloatHistogram {
        if !self.moves {
            self.sum.divide(self.count);
        }
        self.sum.total()
    }
}

/// Observations in the zero bucket of `histogram` if that had a threshold of at least `larger`, and the threshold.
pub(super) fn zero_count_for(histogram: &FloatHistogram, larger: f64) -> (Sum, f64) {
    let zero = Sum::starting_with(histogram.zero_count);
    if larger == histogram.zero_threshold {
        return (zero, larger);
    }
    let entry = |(index, count)| Entry::new(index, count);
    let sides = (histogram.indexed_positive().map(entry), histogram.indexed_negative().map(entry));
    widen_zero_bucket(histogram.schema, zero, larger, sides)
}

/// Adds the buckets below the threshold to the zero bucket. A threshold within a populated bucket is moved to its end.
fn widen_zero_bucket(
    schema: i32,
    zero: Sum,
    mut threshold: f64,
    (positive, negative): (impl Iterator<Item = Entry> + Clone, impl Iterator<Item = Entry> + Clone),
) -> (Sum, f64) {
    let mut widened = zero;
    /// The outer bound of the populated bucket that the threshold lies in.
    fn take_in(entries: impl Iterator<Item = Entry>, schema: i32, threshold: f64, zero: &mut Sum) -> Option<f64> {
        for Entry { index, count } in entries {
            if exponential_bound(index.wrapping_sub(1), schema) >= threshold {
                return None;
            }
            zero.add(count.sum);
            zero.add(count.compensation);
            let outer = exponential_bound(index, schema);
            if outer > threshold {
                return (count.sum != 0.0).then_some(outer);
            }
        }
        None
    }
    loop {
        // The compensation goes on, as in Prometheus.
        widened.sum = zero.sum;
        if let Some(outer) = take_in(positive.clone(), schema, threshold, &mut widened) {
            threshold = outer;
        }
        match take_in(negative.clone(), schema, threshold, &mut widened) {
            // The positive buckets have to be looked at again.
            Some(outer) => threshold = outer,
            None => return (widened, threshold),
        }
    }
}

/// Adds buckets to buckets.
fn merge(into: &mut Vec<Entry>, from: impl Iterator<Item = Entry>, addition: Addition) {
    let mut place = 0;
    for entry in from {
        while into.get(place).is_some_and(|known| known.index < entry.index) {
            place += 1;
        }
        match into.get_mut(place) {
            Some(known) if known.index == entry.index => addition.add(&mut known.count, entry.count),
            _ => into.insert(place, entry),
        }
    }
}

/// The index of the bucket of a coarser schema that holds the bucket with this index.
pub(super) fn coarser_index(index: i32, from_schema: i32, to_schema: i32) -> i32 {
    (index.wrapping_sub(1) >> from_schema.saturating_sub(to_schema).clamp(0, 31)).wrapping_add(1)
}

/// The buckets in a coarser schema.
pub(super) fn reduce(
    entries: impl Iterator<Item = Entry>,
    from_schema: i32,
    to_schema: i32,
    addition: Addition,
) -> Vec<Entry> {
    let mut reduced: Vec<Entry> = Vec::with_capacity(entries.size_hint().1.unwrap_or_default());
    for Entry { index, count } in entries {
        let index = coarser_index(index, from_schema, to_schema);
        match reduced.last_mut() {
            Some(last) if last.index == index => addition.add(&mut last.count, count),
            _ => reduced.push(Entry { index, count }),
        }
    }
    reduced
}

/// The bounds that both have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().peekable();
    let is_common = |bound: &&f64| {
        while b.next_if(|other| *other < *bound).is_some() {}
        b.next_if(|other| *other == *bound).is_some()
    };
    a.iter().filter(is_common).copied().collect()
}

/// Each bucket's number and count, where the number is that of the bucket between `common` bounds that it is part of.
pub(super) fn by_common_bounds(
    entries: impl Iterator<Item = Entry>,
    bounds: &[f64],
    common: &[f64],
) -> impl Iterator<Item = (usize, Sum)> {
    let mut bucket = 0;
    entries.map(move |entry| {
        let upper = usize::try_from(entry.index).ok().and_then(|index| bounds.get(index));
        let Some(upper) = upper else { return (common.len(), entry.count) };
        while common.get(bucket).is_some_and(|bound| bound < upper) {
            bucket += 1;
        }
        (bucket, entry.count)
    })
}

/// Spans and counts of buckets.
pub(super) fn encode(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut counts = Vec::with_capacity(buckets.size_hint().1.unwrap_or_default());
    let mut next = 0i32;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(last) if next == index => last.length += 1,
            _ => spans.push(BucketSpan { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
        counts.push(count);
    }
    (spans, counts)
}

/// The buckets of both sides of `histogram` in a coarser schema.
pub(super) fn reduce_sides(histogram: &FloatHistogram, to_schema: i32) -> [(Vec<BucketSpan>, Vec<f64>); 2] {
    [histogram.indexed_positive(), histogram.indexed_negative()].map(|side| {
        let entries = side.map(|(index, count)| Entry::new(index, count));
        let reduced = reduce(entries, histogram.schema, to_schema, Addition::Plain);
        encode(reduced.into_iter().map(|entry| (entry.index, entry.count.sum)))
    })
}
