//! Histograms of which a query needs only count and sum: what `histogram_count`, `histogram_sum` and `histogram_avg` see.
//!
//! Their buckets are left out. Since these show counter resets, resets are looked for before, and the hints say where they
//! are. Source: Prometheus `promql/histogram_stats_iterator.go`, and `detectHistogramStatsDecoding` in
//! `promql/engine.go`, version 3.14.

use crate::model::{CounterResetHint, FloatHistogram};
use crate::promql::parser::ast::{BinaryOp, Call};
use crate::storage::Column;

/// What the operations around a selector need of its histograms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// One of them looks at count and sum only.
    has_statistics: bool,
    /// One of them looks at buckets, whatever stands around it.
    has_buckets: bool,
}

impl Need {
    /// The need inside the arguments of a call.
    pub(super) fn inside_call(mut self, call: &Call) -> Self {
        match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => self.has_statistics = true,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => self.has_buckets = true,
            _ => {}
        }
        self
    }

    /// The need inside the operands of a binary operator.
    pub(super) fn inside_binary(mut self, op: BinaryOp) -> Self {
        self.has_buckets |= matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        self
    }

    /// The need inside a subquery: a function over its samples looks for resets among them, and that takes buckets.
    pub(super) fn inside_subquery(mut self) -> Self {
        self.has_buckets = true;
        self
    }

    /// Whether count and sum are enough.
    pub(super) fn is_statistics_only(self) -> bool {
        self.has_statistics && !self.has_buckets
    }
}

/// Leaves count and sum of the histograms in a column, and a hint of each that follows another.
pub(super) fn keep_statistics(column: &mut Column) {
    let mut last: Option<FloatHistogram> = None;
    for (_, histogram) in &mut column.histograms {
        let hint = match (histogram.counter_reset_hint, &last) {
            (CounterResetHint::Unknown, Some(last)) if !histogram.is_stale() => match histogram.is_reset_after(last) {
                true => CounterResetHint::Reset,
                false => CounterResetHint::NotReset,
            },
            (hint, _) => hint,
        };
        let statistics = FloatHistogram {
            schema: histogram.schema,
            counter_reset_hint: hint,
            count: histogram.count,
            sum: histogram.sum,
            ..FloatHistogram::default()
        };
        let whole = std::mem::replace(histogram, statistics);
        if !whole.is_stale() {
            last = Some(whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::BucketSpan;

    fn histogram(buckets: &[f64], counter_reset_hint: CounterResetHint) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint,
            count: buckets.iter().sum(),
            sum: 7.0,
            positive_spans: vec![BucketSpan { offset: 0, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn column_of_statistics_has_no_buckets_and_says_where_resets_are() {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        let mut column = Column::default();
        let samples = [
            histogram(&[1.0, 2.0], Unknown),
            histogram(&[2.0, 2.0], Unknown),
            FloatHistogram::stale(),
            // The count rises, but one bucket falls: only the buckets show it.
            histogram(&[1.0, 9.0], Unknown),
            histogram(&[0.0, 1.0], NotReset),
            histogram(&[5.0, 5.0], Gauge),
        ];
        for (index, sample) in samples.into_iter().enumerate() {
            column.push_histogram(index as i64, sample);
        }
        keep_statistics(&mut column);
        let seen: Vec<(CounterResetHint, f64)> =
            column.histograms.iter().map(|(_, one)| (one.counter_reset_hint, one.count)).collect();
        let expected = [(Unknown, 3.0), (NotReset, 4.0), (Unknown, 0.0), (Reset, 10.0), (NotReset, 1.0), (Gauge, 10.0)];
        assert_eq!(seen, expected);
        assert!(column.histograms[2].1.is_stale());
        assert!(column.histograms.iter().all(|(_, one)| one.positive_buckets.is_empty() && one.is_well_formed()));
    }
}
