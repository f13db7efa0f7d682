//! `smoothed` instant selectors: the value at each step on the straight line between the samples before and after it.

use super::QueryError;
use super::plan::Selector;
use crate::model::{CounterResetHint, FloatHistogram, IncompatibleSchemas, LabelSet};
use crate::promql::annotations::{Annotation, Annotations};
use crate::promql::functions::interpolate_histograms;
use crate::promql::parser::ast::Span;
use crate::promql::value::{Steps, Value};
use crate::storage::Column;

/// One series under a `smoothed` selector. The column holds no staleness markers.
pub(super) struct Smoothed<'a> {
    pub(super) column: &'a Column,
    pub(super) labels: &'a LabelSet,
    pub(super) selector: &'a Selector<'a>,
    pub(super) lookback_ms: i64,
}

/// The samples within the lookback on either side of a step.
struct Around {
    at_ms: i64,
    before: Option<usize>,
    after: Option<usize>,
}

impl Smoothed<'_> {
    /// Calls `visit` with each step that has a value.
    pub(super) fn at_steps(
        &self,
        steps: &Steps,
        annotations: &mut Annotations,
        mut visit: impl FnMut(usize, Value) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (times, values) = (&self.column.timestamps_ms[..], &self.column.values[..]);
        for step in 0..steps.count {
            let at_ms = self.selector.reference_ms(steps.at(step));
            let start_ms = at_ms.saturating_sub(self.lookback_ms);
            let end_ms = at_ms.saturating_add(self.lookback_ms);
            let next = times.partition_point(|&time| time < at_ms);
            let around = Around {
                at_ms,
                before: next.checked_sub(1).filter(|&index| times[index] > start_ms),
                after: (next < times.len() && times[next] <= end_ms).then_some(next),
            };
            let value = if !self.column.has_histograms() {
                self.float(&around).map(Value::Float)
            } else {
                let from = times.partition_point(|&time| time <= start_ms);
                let upto = times.partition_point(|&time| time <= end_ms).max(from);
                let place = |index: usize| self.column.histograms.partition_point(|(at, _)| *at < index);
                match place(upto) - place(from) {
                    0 => self.float(&around).map(Value::Float),
                    count if count < values[from..upto].len() => {
                        annotations.add(Annotation::mixed_floats_histograms(self.name(), self.span()));
                        None
                    }
                    _ => self.histogram(&around, annotations).map(Value::Histogram),
                }
            };
            if let Some(value) = value {
                visit(step, value)?;
            }
        }
        Ok(())
    }

    fn float(&self, around: &Around) -> Option<f64> {
        let (times, values) = (&self.column.timestamps_ms, &self.column.values);
        match (around.before, around.after) {
            (_, Some(after)) if times[after] == around.at_ms => Some(values[after]),
            (Some(before), Some(after)) => {
                let (from, to) = (values[before], values[after]);
                let share = (around.at_ms - times[before]) as f64;
                Some(from + (to - from) * share / (times[after] - times[before]) as f64)
            }
            (Some(before), None) => Some(values[before]),
            (None, _) => None,
        }
    }

    /// Where all samples around the step are histograms.
    fn histogram(&self, around: &Around, annotations: &mut Annotations) -> Option<FloatHistogram> {
        let sample = |index: usize| {
            let place = self.column.histograms.binary_search_by_key(&index, |(at, _)| *at).ok()?;
            Some((self.column.timestamps_ms[index], &self.column.histograms[place].1))
        };
        match (around.before.and_then(sample), around.after.and_then(sample)) {
            (_, Some((time, after))) if time == around.at_ms => Some(after.clone()),
            (Some(before), Some(after)) => {
                let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
                let is_counter = !(is_gauge(before.1) && is_gauge(after.1));
                let kinds_differ = before.1.has_custom_buckets() != after.1.has_custom_buckets();
                match interpolate_histograms(before, after, around.at_ms, is_counter) {
                    Ok(interpolation) if !kinds_differ => {
                        interpolation.annotations(self.span()).for_each(|annotation| annotations.add(annotation));
                        Some(interpolation.histogram)
                    }
                    Ok(_) | Err(IncompatibleSchemas) => {
                        annotations.add(Annotation::mixed_exponential_custom_histograms(self.name(), self.span()));
                        None
                    }
                }
            }
            // The hint says how a sample follows the one before it, so it goes where the sample is carried on.
            (Some((_, before)), None) => {
                Some(FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..before.clone() })
            }
            (None, _) => None,
        }
    }

    fn name(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }

    fn span(&self) -> Span {
        self.selector.expr.map(|expr| expr.span).unwrap_or_default()
    }
}
