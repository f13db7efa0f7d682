//! What functions over columns have in common: taking their arguments apart, mapping values, joining series.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::FunctionError;
use crate::model::{FloatHistogram, LabelSet};
use crate::promql::parser::ast::{Expr, ExprKind};
use crate::promql::value::{ABSENT, SeriesSteps, StepsValue, is_absent};

/// The arguments of a call, taken one by one. The parser has checked their types, so an error here is a defect.
pub(super) struct Args {
    name: &'static str,
    values: std::vec::IntoIter<StepsValue>,
}

impl Args {
    pub(super) fn new(name: &'static str, values: Vec<StepsValue>) -> Self {
        Args { name, values: values.into_iter() }
    }

    fn mismatch(&self, expected: &str) -> FunctionError {
        FunctionError(format!("expected {expected} in call to function {:?}", self.name))
    }

    /// Whether there are more.
    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    pub(super) fn vector(&mut self) -> Result<Vec<SeriesSteps>, FunctionError> {
        match self.values.next() {
            Some(StepsValue::Vector(series)) => Ok(series),
            _ => Err(self.mismatch("type instant vector")),
        }
    }

    pub(super) fn scalar(&mut self) -> Result<Vec<f64>, FunctionError> {
        match self.values.next() {
            Some(StepsValue::Scalar(values)) => Ok(values),
            _ => Err(self.mismatch("type scalar")),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, FunctionError> {
        match self.values.next() {
            Some(StepsValue::String(text)) => Ok(text),
            _ => Err(self.mismatch("type string")),
        }
    }
}

/// Applies `f` to every float, in place: the function sees the index of the step and the value. Histograms are left
/// out, and so are series that have no value then. The result has no metric name.
pub(super) fn map_floats(vector: Vec<SeriesSteps>, f: impl Fn(usize, f64) -> f64) -> StepsValue {
    let mapped = vector.into_iter().filter_map(|mut series| {
        drop_histograms(&mut series);
        let mut any = false;
        for (step, value) in series.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = f(step, *value);
                any |= !is_absent(*value);
            }
        }
        series.drop_name = true;
        any.then_some(series)
    });
    StepsValue::Vector(mapped.collect())
}

/// Makes the steps absent at which the value is a histogram; gives the histograms.
pub(super) fn drop_histograms(series: &mut SeriesSteps) -> Vec<(u32, FloatHistogram)> {
    let histograms = std::mem::take(&mut series.histograms);
    for (step, _) in &histograms {
        if let Some(value) = series.values.get_mut(*step as usize) {
            *value = ABSENT;
        }
    }
    histograms
}

/// Joins series that came to have the same labels. Two values at one step are an error.
pub fn merge_same_labels(vector: Vec<SeriesSteps>) -> Result<Vec<SeriesSteps>, FunctionError> {
    let mut merged: Vec<SeriesSteps> = Vec::with_capacity(vector.len());
    let mut index_of: HashMap<LabelSet, usize> = HashMap::with_capacity(vector.len());
    for series in vector {
        let into = match index_of.entry(series.labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(series);
                continue;
            }
            Entry::Occupied(entry) => &mut merged[*entry.get()],
        };
        for (to, from) in into.values.iter_mut().zip(series.values) {
            if is_absent(from) {
                continue;
            }
            if !is_absent(*to) {
                return Err(FunctionError("vector cannot contain metrics with the same labelset".to_owned()));
            }
            *to = from;
        }
        into.histograms.extend(series.histograms);
        into.histograms.sort_by_key(|(step, _)| *step);
    }
    Ok(merged)
}

/// The selector whose labels `absent` and `absent_over_time` show: those of `=` matchers that stand alone.
pub fn absent_labels(expr: &Expr) -> LabelSet {
    let matchers = match &expr.kind {
        ExprKind::VectorSelector(selector) => &selector.matchers,
        ExprKind::MatrixSelector(selector) => &selector.vector.matchers,
        _ => return LabelSet::empty(),
    };
    let mut builder = LabelSet::empty().to_builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers {
        if matcher.name == crate::model::METRIC_NAME {
            continue;
        }
        let name = matcher.name.as_str();
        if matcher.op == crate::model::MatchOp::Equal && !seen.contains(&name) {
            builder.set(name, &matcher.value);
            seen.push(name);
        } else {
            // A label that is matched twice, or not by equality, has no one value to show.
            builder.remove(name);
        }
    }
    builder.build()
}
