//! Metric names that go, and series that come to have the same labels by it.
//!
//! An operation that changes what a metric means drops its name. With delayed name removal the series only remembers
//! that (`drop_name`) and the name goes when the result is shown. Source: Prometheus `promql/engine.go`,
//! `mergeSeriesWithSameLabelset`, `cleanupMetricLabels`, `model/labels` `DropReserved`.

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::QueryError;
use crate::model::{LabelSet, METRIC_NAME};
use crate::promql::value::{SeriesSteps, is_absent};

/// Whether a label describes the metric itself, so that it goes where the name goes.
pub(super) fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels without the metric's name, type and unit.
pub(super) fn without_metadata(labels: &LabelSet) -> LabelSet {
    labels.without(is_metadata_label)
}

/// How many steps have a value.
pub(super) fn present_count(series: &SeriesSteps) -> usize {
    series.values.iter().filter(|value| !is_absent(**value)).count()
}

/// Whether no step has a value.
pub(super) fn is_empty(series: &SeriesSteps) -> bool {
    series.values.iter().all(|value| is_absent(*value))
}

/// Takes the names away from all series that are to lose them.
pub(super) fn drop_names(series: &mut [SeriesSteps]) {
    for one in series.iter_mut().filter(|one| one.drop_name) {
        one.labels = without_metadata(&one.labels);
    }
}

/// Takes all names away that are to go, as [`drop_names`] does, from series whose labels differ. Gives whether some may
/// be the same now.
pub(super) fn drop_names_of_distinct(series: &mut [SeriesSteps]) -> bool {
    let is_uniform = series.iter().all(|one| {
        one.drop_name
            && one.labels.metric_name() == series[0].labels.metric_name()
            && !one.labels.iter().any(|label| label.name != METRIC_NAME && is_metadata_label(label.name))
    });
    drop_names(series);
    !is_uniform
}

/// Whether two series have the same labels.
pub(super) fn has_same_labels(series: &[SeriesSteps]) -> bool {
    let mut seen = HashSet::with_capacity(series.len());
    series.iter().any(|one| !seen.insert(&one.labels))
}

/// Makes one series of those that have the same labels. An error where two of them have a value at the same step.
pub(super) fn merge_same_labels(series: Vec<SeriesSteps>) -> Result<Vec<SeriesSteps>, QueryError> {
    if series.len() < 2 || !has_same_labels(&series) {
        return Ok(series);
    }
    let mut merged: Vec<SeriesSteps> = Vec::with_capacity(series.len());
    let mut place_of: HashMap<LabelSet, usize> = HashMap::with_capacity(series.len());
    for one in series {
        match place_of.entry(one.labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(one);
            }
            Entry::Occupied(entry) => merge_into(&mut merged[*entry.get()], one)?,
        }
    }
    Ok(merged)
}

fn merge_into(target: &mut SeriesSteps, other: SeriesSteps) -> Result<(), QueryError> {
    // Whether the name goes is one answer for the whole series; as in Prometheus, its first sample gives it.
    let first_step = |series: &SeriesSteps| series.values.iter().position(|value| !is_absent(*value));
    if first_step(&other) < first_step(target) {
        target.drop_name = other.drop_name;
    }
    for (place, value) in target.values.iter_mut().zip(&other.values) {
        if is_absent(*value) {
            continue;
        }
        if !is_absent(*place) {
            return Err(QueryError::same_labels());
        }
        *place = *value;
    }
    if !other.histograms.is_empty() {
        target.histograms.extend(other.histograms);
        target.histograms.sort_by_key(|(step, _)| *step);
    }
    Ok(())
}
