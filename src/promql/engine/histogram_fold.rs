//! `sum` and `avg` of native histograms at one step.
//!
//! Source: Prometheus `promql/engine.go`, `aggregation`, version 3.14.

use crate::model::histogram::CounterResetHint;
use crate::model::{Conflicts, FloatHistogram, HistogramMean, HistogramSum, IncompatibleSchemas, LabelSet};
use crate::promql::annotations::{Annotation, Annotations, HistogramOperation};
use crate::promql::parser::ast::{AggregateOp, Span};

/// What an aggregation of histograms has to say, and what it holds.
pub(super) struct HistogramNotes<'a> {
    /// Where the aggregated expression stands.
    span: Span,
    annotations: &'a mut Annotations,
    /// Bytes of the sums that were begun.
    pub(super) bytes: u64,
}

impl<'a> HistogramNotes<'a> {
    pub(super) fn new(span: Span, annotations: &'a mut Annotations) -> Self {
        HistogramNotes { span, annotations, bytes: 0 }
    }
}

/// The histograms of one group at one step, while series are folded into it.
pub(super) struct HistogramFold {
    /// `None` where a float came first: such a group has no result.
    total: Option<Total>,
    /// Exponential and custom buckets met. The group has no result, and looks at no further sample.
    pub(super) is_incompatible: bool,
    has_reset: bool,
    has_no_reset: bool,
}

enum Total {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl Total {
    fn add(&mut self, histogram: &FloatHistogram) -> Result<Conflicts, IncompatibleSchemas> {
        match self {
            Total::Sum(sum) => sum.add(histogram),
            Total::Mean(mean) => mean.add(histogram),
        }
    }
}

impl HistogramFold {
    /// Begins with a histogram; `has_float` says whether the group has a float already.
    pub(super) fn starting_with(op: AggregateOp, first: &FloatHistogram, has_float: bool) -> Self {
        let total = (!has_float).then(|| match op {
            AggregateOp::Avg => Total::Mean(HistogramMean::starting_with(first)),
            _ => Total::Sum(HistogramSum::starting_with(first)),
        });
        let mut fold = HistogramFold { total, is_incompatible: false, has_reset: false, has_no_reset: false };
        fold.see_hint(first);
        fold
    }

    fn see_hint(&mut self, histogram: &FloatHistogram) {
        self.has_reset |= histogram.counter_reset_hint == CounterResetHint::Reset;
        self.has_no_reset |= histogram.counter_reset_hint == CounterResetHint::NotReset;
    }

    /// Adds a histogram of the series with these labels.
    pub(super) fn add(&mut self, histogram: &FloatHistogram, labels: &LabelSet, notes: &mut HistogramNotes<'_>) {
        self.see_hint(histogram);
        let Some(total) = &mut self.total else { return };
        match total.add(histogram) {
            Ok(conflicts) if conflicts.custom_bounds => {
                let annotation = Annotation::mismatched_custom_buckets(HistogramOperation::Aggregation, notes.span);
                notes.annotations.add(annotation);
            }
            Ok(_) => {}
            Err(IncompatibleSchemas) => {
                self.is_incompatible = true;
                let name = labels.metric_name().unwrap_or_default();
                notes.annotations.add(Annotation::mixed_exponential_custom_histograms(name, notes.span));
            }
        }
    }

    /// The result, if there is one.
    pub(super) fn finish(self, has_float: bool, notes: &mut HistogramNotes<'_>) -> Option<FloatHistogram> {
        if has_float {
            notes.annotations.add(Annotation::mixed_floats_histograms_in_aggregation(notes.span));
            return None;
        }
        if self.is_incompatible {
            return None;
        }
        if self.has_reset && self.has_no_reset {
            notes.annotations.add(Annotation::counter_reset_collision(HistogramOperation::Aggregation, notes.span));
        }
        let mut histogram = match self.total? {
            Total::Sum(sum) => sum.total(),
            Total::Mean(mean) => mean.total(),
        };
        histogram.compact();
        Some(histogram)
    }
}
