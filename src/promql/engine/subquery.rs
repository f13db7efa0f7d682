//! Subqueries: an instant expression evaluated at steps of its own, whose values are then the samples of a range.

use super::QueryError;
use super::evaluate::Evaluator;
use super::explain::{key_of, key_of_subquery};
use super::plan::Subquery;
use super::stream::ColumnSeries;
use super::window::Reach;
use super::{MatrixSeries, names, samples_of};
use crate::model::{CounterResetHint, LabelSet};
use crate::promql::value::{SeriesSteps, Steps, StepsValue};

impl Subquery<'_> {
    /// The range that a function over this subquery sees at each step.
    pub(super) fn reach(&self) -> Reach {
        Reach { range_ms: self.range_ms, offset_ms: self.offset_ms, at_ms: self.at_ms, before_ms: 0, after_ms: 0 }
    }

    /// The steps at which the child is evaluated for the outer `steps`: multiples of the resolution. `None` where no
    /// multiple lies in the range.
    pub(super) fn steps(&self, steps: &Steps) -> Option<(i64, i128)> {
        let first_ms = self.at_ms.unwrap_or(steps.start_ms).saturating_sub(self.offset_ms);
        let end_ms = self.at_ms.unwrap_or(steps.end_ms()).saturating_sub(self.offset_ms);
        let open_start_ms = first_ms.saturating_sub(self.range_ms);
        let mut start_ms = self.step_ms * (open_start_ms / self.step_ms);
        if start_ms <= open_start_ms {
            start_ms = start_ms.saturating_add(self.step_ms);
        }
        if end_ms < start_ms {
            return None;
        }
        Some((start_ms, (i128::from(end_ms) - i128::from(start_ms)) / i128::from(self.step_ms) + 1))
    }
}

impl Evaluator<'_> {
    /// The series of a subquery, with the samples that the outer `steps` need.
    pub(super) fn subquery(&self, subquery: &Subquery<'_>, steps: &Steps) -> Result<Vec<ColumnSeries>, QueryError> {
        self.counted_subquery(subquery, steps).map(|(series, _)| series)
    }

    /// The same with the samples that were looked at.
    fn counted_subquery(&self, subquery: &Subquery<'_>, steps: &Steps) -> Result<(Vec<ColumnSeries>, u64), QueryError> {
        let Some((start_ms, count)) = subquery.steps(steps) else {
            return Ok((Vec::new(), 0));
        };
        // Every step of a scalar is a sample, so more steps than samples cannot be held.
        if count > i128::from(self.limits.samples_max()) {
            return Err(QueryError::TooManySamples);
        }
        let child_steps = Steps { start_ms, step_ms: subquery.step_ms, count: count as usize };
        let (value, looked_at) = self.limits.apart(|| self.eval(&subquery.child, &child_steps));
        // A subquery is no more than its child at other steps.
        self.copy_run(key_of(&subquery.child), key_of_subquery(subquery));
        let series = match value? {
            StepsValue::Vector(series) => series,
            StepsValue::Scalar(values) => {
                vec![SeriesSteps { labels: LabelSet::empty(), drop_name: false, values, histograms: Vec::new() }]
            }
            StepsValue::String(_) => return Err(QueryError::Execution("a subquery cannot be a string".to_owned())),
        };
        let columns = series.into_iter().map(|one| samples_of(one, &child_steps));
        let columns = columns.map(|(labels, drop_name, samples)| ColumnSeries { labels, drop_name, samples });
        Ok((columns.filter(|one| !one.samples.is_empty()).collect(), looked_at))
    }

    /// The series of a subquery as the argument of a function.
    ///
    /// What histograms know of a counter reset before them is forgotten: a subquery may leave samples out, or give the same
    /// one several times.
    pub(super) fn subquery_argument(
        &self,
        subquery: &Subquery<'_>,
        steps: &Steps,
    ) -> Result<Vec<ColumnSeries>, QueryError> {
        let mut columns = self.subquery(subquery, steps)?;
        for (_, histogram) in columns.iter_mut().flat_map(|one| &mut one.samples.histograms) {
            if matches!(histogram.counter_reset_hint, CounterResetHint::Reset | CounterResetHint::NotReset) {
                histogram.counter_reset_hint = CounterResetHint::Unknown;
            }
        }
        Ok(columns)
    }

    /// A subquery that is the whole of an instant query.
    pub(super) fn subquery_matrix(
        &self,
        subquery: &Subquery<'_>,
        steps: &Steps,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        let mut matrix: Vec<MatrixSeries> = Vec::new();
        let (series, looked_at) = self.counted_subquery(subquery, steps)?;
        self.limits.add_at_step(0, looked_at);
        for one in series {
            let labels = if one.drop_name { names::without_metadata(&one.labels) } else { one.labels };
            matrix.push(MatrixSeries { labels, samples: one.samples });
        }
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        merge_neighbours(matrix)
    }
}

/// Makes one series of neighbours that came to have the same labels.
fn merge_neighbours(matrix: Vec<MatrixSeries>) -> Result<Vec<MatrixSeries>, QueryError> {
    let mut merged: Vec<MatrixSeries> = Vec::with_capacity(matrix.len());
    for one in matrix {
        match merged.last_mut() {
            Some(last) if last.labels == one.labels => merge_samples(last, one)?,
            _ => merged.push(one),
        }
    }
    Ok(merged)
}

fn merge_samples(target: &mut MatrixSeries, other: MatrixSeries) -> Result<(), QueryError> {
    let ours = std::mem::take(&mut target.samples);
    let times_of_ours = ours.timestamps_ms.iter().copied();
    let mut order: Vec<(i64, bool, usize)> = times_of_ours.enumerate().map(|(index, at)| (at, false, index)).collect();
    order.extend(other.samples.timestamps_ms.iter().copied().enumerate().map(|(index, at)| (at, true, index)));
    order.sort_unstable();
    if order.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(QueryError::same_labels());
    }
    for (timestamp_ms, from_other, index) in order {
        let from = if from_other { &other.samples } else { &ours };
        match from.histograms.binary_search_by_key(&index, |(at, _)| *at) {
            Ok(at) => target.samples.push_histogram(timestamp_ms, from.histograms[at].1.clone()),
            Err(_) => target.samples.push(timestamp_ms, from.values[index]),
        }
    }
    Ok(())
}
