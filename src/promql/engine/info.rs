//! `info`: adds the labels of info series (`target_info` and its like) to the series that they describe.
//!
//! An info series describes those that have the same `instance` and `job`. Which one does may change from step to step,
//! so one series of the argument may become several. Source: Prometheus `promql/info.go`; times move as they do after
//! version 3.14.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::QueryError;
use super::evaluate::Evaluator;
use super::limits::Cost;
use super::names;
use super::plan::{CallNode, Selector};
use super::window::latest;
use crate::model::{LabelSet, LabelSetBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::parser::ast::ExprKind;
use crate::promql::value::{ABSENT, SeriesSteps, Steps, is_absent};
use crate::storage::{Column, SelectHints, SelectedSeries};

/// The labels that say what an info series describes.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metric where the query names none.
const TARGET_INFO: &str = "target_info";

/// An info series: when the sample was taken that each step sees, [`ABSENT`] where it sees none.
struct InfoSeries {
    labels: LabelSet,
    taken_ms: Vec<f64>,
}

/// The info series that say the same kind of thing about the same target, by index.
type Candidates = Vec<usize>;

impl Evaluator<'_> {
    /// The series of a call of `info`.
    pub(super) fn info(&self, call: &CallNode<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let (Some(argument), Some(reach)) = (call.args.first(), &call.info) else {
            return Err(QueryError::Execution("expected an instant vector as the first argument of info".to_owned()));
        };
        let base = self.vector(argument, steps)?;
        let matchers: &[Matcher] = match call.call.args.get(1).map(|arg| &arg.kind) {
            Some(ExprKind::VectorSelector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (of_name, of_data): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.name == METRIC_NAME);
        let of_name = effective_name_matchers(&of_name)?;
        let is_info = |labels: &LabelSet| of_name.iter().all(|matcher| matcher.matches_labels(labels));

        let described = base.iter().filter(|one| !is_info(&one.labels)).map(|one| &one.labels);
        let infos = self.info_series(described, &of_name, &of_data, reach, steps)?;
        let mut candidates_of: HashMap<[&str; 3], Candidates> = HashMap::new();
        for (index, info) in infos.iter().enumerate() {
            candidates_of.entry(signature(info.labels.metric_name(), &info.labels)).or_default().push(index);
        }
        let info_names: BTreeSet<Option<&str>> = infos.iter().map(|info| info.labels.metric_name()).collect();
        let keeps_undescribed = of_data.iter().all(|matcher| matcher.matches_empty());

        let mut result = Vec::with_capacity(base.len());
        for one in &base {
            self.limits.check()?;
            if is_info(&one.labels) {
                result.push(one.clone());
                continue;
            }
            let candidates: Vec<&Candidates> =
                info_names.iter().filter_map(|name| candidates_of.get(&signature(*name, &one.labels))).collect();
            let describe = Describe { infos: &infos, of_data: &of_data, keeps_undescribed };
            self.describe(one, &candidates, &describe, &mut result)?;
        }
        result.retain(|one| !names::is_empty(one));
        names::merge_same_labels(result)
    }

    /// Splits one series by the info series that describe it.
    fn describe(
        &self,
        one: &SeriesSteps,
        candidates: &[&Candidates],
        describe: &Describe<'_>,
        result: &mut Vec<SeriesSteps>,
    ) -> Result<(), QueryError> {
        // By the info series that were chosen: the place in `result`, or `None` where the step has no result.
        let mut place_of: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
        let mut chosen = Vec::new();
        let mut histograms = one.histograms.iter().peekable();
        for (step, value) in one.values.iter().enumerate() {
            if is_absent(*value) {
                continue;
            }
            let histogram = histograms.next_if(|(at, _)| *at as usize == step);
            chosen.clear();
            for candidates in candidates {
                chosen.extend(describe.newest(candidates, step)?);
            }
            let place = match place_of.get(&chosen) {
                Some(place) => *place,
                None => {
                    let place = match describe.labels(&one.labels, &chosen)? {
                        None => None,
                        Some(labels) => {
                            self.limits.hold(Cost::of_column(0, one.values.len()))?;
                            let values = vec![ABSENT; one.values.len()];
                            let drop_name = one.drop_name;
                            result.push(SeriesSteps { labels, drop_name, values, histograms: Vec::new() });
                            Some(result.len() - 1)
                        }
                    };
                    place_of.insert(chosen.clone(), place);
                    place
                }
            };
            if let Some(place) = place {
                result[place].values[step] = *value;
                result[place].histograms.extend(histogram.cloned());
            }
        }
        Ok(())
    }

    /// The info series that may describe any of `described`.
    fn info_series<'l>(
        &self,
        described: impl Iterator<Item = &'l LabelSet>,
        of_name: &[Matcher],
        of_data: &[&Matcher],
        reach: &Selector<'_>,
        steps: &Steps,
    ) -> Result<Vec<InfoSeries>, QueryError> {
        let mut values_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for labels in described {
            for name in IDENTIFYING {
                if let Some(value) = labels.get(name) {
                    values_of.entry(name).or_default().insert(value);
                }
            }
        }
        if values_of.is_empty() {
            return Ok(Vec::new());
        }
        let mut matchers = Vec::new();
        for (name, values) in values_of {
            matchers.push(Matcher::one_of(name, values.into_iter().map(str::to_owned).collect()));
        }
        matchers.extend(of_data.iter().map(|matcher| (*matcher).clone()));
        matchers.extend_from_slice(of_name);

        let mut infos = Vec::new();
        let mut column = Column::default();
        let hints = SelectHints {
            series_max: usize::try_from(self.options.series_max).unwrap_or(usize::MAX),
            bytes_max: self.options.bytes_max().saturating_sub(self.limits.held().bytes).max(1),
            ..Default::default()
        };
        let selected = self.querier.select(&matchers, &hints)?;
        let bytes = selected.iter().map(|one| SelectedSeries::bytes_of(&one.labels)).sum();
        self.limits.hold(Cost { samples: 0, bytes })?;
        for series in selected {
            self.limits.check()?;
            column.clear();
            series.samples.read(reach.read, &mut column)?;
            self.limits.room_for(steps.count)?;
            let mut taken_ms = vec![ABSENT; steps.count];
            let mut seen = 0;
            self.limits.add_read(column.len());
            latest(&column, steps, reach, self.lookback_ms, |step, index| {
                if column.histograms.binary_search_by_key(&index, |(at, _)| *at).is_ok() {
                    let labels = &series.labels;
                    let text = format!("this should be an info metric, with float samples: {labels}");
                    return Err(QueryError::Execution(text));
                }
                taken_ms[step] = column.timestamps_ms[index] as f64;
                self.limits.add_at_step(step, 1);
                seen += 1;
                Ok(())
            })?;
            if seen > 0 {
                self.limits.hold(Cost::of_column(seen, steps.count))?;
                infos.push(InfoSeries { labels: series.labels.clone(), taken_ms });
            }
        }
        Ok(infos)
    }
}

/// How series are described.
struct Describe<'d> {
    infos: &'d [InfoSeries],
    of_data: &'d [&'d Matcher],
    /// A series that no info series describes is kept.
    keeps_undescribed: bool,
}

impl Describe<'_> {
    /// The candidate whose sample is the newest.
    fn newest(&self, candidates: &Candidates, step: usize) -> Result<Option<usize>, QueryError> {
        let mut newest: Option<usize> = None;
        for &index in candidates {
            let taken_ms = self.infos[index].taken_ms[step];
            if is_absent(taken_ms) {
                continue;
            }
            let Some(other) = newest else {
                newest = Some(index);
                continue;
            };
            let of_other_ms = self.infos[other].taken_ms[step];
            if taken_ms == of_other_ms {
                let (existing, new) = (&self.infos[other].labels, &self.infos[index].labels);
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {existing} @ {of_other_ms}, new {new} @ {taken_ms}"
                )));
            }
            if taken_ms > of_other_ms {
                newest = Some(index);
            }
        }
        Ok(newest)
    }

    /// The labels of a series that the `chosen` info series describe; `None` where it is left out.
    fn labels(&self, labels: &LabelSet, chosen: &[usize]) -> Result<Option<LabelSet>, QueryError> {
        if chosen.is_empty() {
            return Ok(self.keeps_undescribed.then(|| labels.clone()));
        }
        let mut added = LabelSetBuilder::default();
        let mut result = labels.to_builder();
        for label in chosen.iter().flat_map(|&index| self.infos[index].labels.iter()) {
            let is_asked_for = self.of_data.is_empty() || self.of_data.iter().any(|matcher| matcher.name == label.name);
            if label.name == METRIC_NAME || !is_asked_for {
                continue;
            }
            if added.get(label.name).is_some_and(|known| known != label.value) {
                return Err(QueryError::Execution(format!("conflicting label: {}", label.name)));
            }
            if labels.get(label.name).is_none() {
                added.set(label.name, label.value);
                result.set(label.name, label.value);
            }
        }
        Ok(Some(result.build()))
    }
}

fn signature<'l>(info_name: Option<&'l str>, labels: &'l LabelSet) -> [&'l str; 3] {
    let value = |name| labels.get(name).unwrap_or("");
    [info_name.unwrap_or(""), value(IDENTIFYING[0]), value(IDENTIFYING[1])]
}

/// The matchers of the metric name that info series are selected by.
fn effective_name_matchers(given: &[&Matcher]) -> Result<Vec<Matcher>, QueryError> {
    if given.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
    }
    let mut matchers: Vec<Matcher> = given.iter().map(|matcher| (*matcher).clone()).collect();
    if given.iter().all(|matcher| matcher.is_negative()) {
        matchers.insert(0, matcher(METRIC_NAME, MatchOp::Regex, ".+_info")?);
    }
    Ok(matchers)
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Result<Matcher, QueryError> {
    Matcher::new(name, op, value).map_err(|error| QueryError::Execution(error.to_string()))
}
