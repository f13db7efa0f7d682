//! Aggregations that give one series per group: `sum`, `avg`, `count`, `min`, `max`, `group`, `stddev`, `stdvar` and
//! `quantile`. Each series is folded into its group's columns as it comes, in the order of the series, which is the
//! order in which Prometheus adds up floats.

use hashbrown::HashMap;

use super::QueryError;
use super::evaluate::Evaluator;
use super::histogram_fold::{HistogramFold, HistogramNotes};
use super::limits::Cost;
use super::plan::Aggregate;
use crate::model::{LabelSet, METRIC_NAME};
use crate::promql::annotations::Annotation;
use crate::promql::functions::kahan::Sum;
use crate::promql::parser::ast::AggregateOp;
use crate::promql::value::{ABSENT, Sample, SeriesSteps, Steps, is_absent};

/// Sorts series into groups by their labels.
pub(super) struct Grouper<'a> {
    names: &'a [String],
    without: bool,
    group_of: HashMap<Vec<u8>, usize>,
    key: Vec<u8>,
    groups: usize,
}

impl<'a> Grouper<'a> {
    pub(super) fn new(names: &'a [String], without: bool) -> Self {
        Grouper { names, without, group_of: HashMap::new(), key: Vec::new(), groups: 0 }
    }

    fn keeps(&self, name: &str) -> bool {
        let named = self.names.iter().any(|one| one == name);
        if self.without { !named && name != METRIC_NAME } else { named }
    }

    /// The number of the series' group; a new group has the next number.
    pub(super) fn group(&mut self, labels: &LabelSet) -> usize {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for label in labels.iter().filter(|label| self.keeps(label.name)) {
            // 0xff is in no UTF-8 text, so the parts cannot run into each other.
            key.extend_from_slice(label.name.as_bytes());
            key.push(0xff);
            key.extend_from_slice(label.value.as_bytes());
            key.push(0xff);
        }
        let group = match self.group_of.get(&key) {
            Some(group) => *group,
            None => {
                self.group_of.insert(key.clone(), self.groups);
                self.groups += 1;
                self.groups - 1
            }
        };
        self.key = key;
        group
    }

    /// The labels of the group that the series is in.
    pub(super) fn labels(&self, labels: &LabelSet) -> LabelSet {
        labels.without(|name| !self.keeps(name))
    }
}

/// The columns of one group while series are folded into it.
struct Fold {
    labels: LabelSet,
    drop_name: bool,
    /// Sum, extreme, or sum of squared distances; [`ABSENT`] before the first value.
    values: Vec<f64>,
    /// What rounding took from a sum.
    compensations: Vec<f64>,
    means: Vec<f64>,
    counts: Vec<f64>,
    /// `avg`: the sum would overflow, so the mean is kept instead. Empty until that happens.
    is_incremental: Vec<bool>,
    /// `sum`, `avg`: what histograms add up to. Empty until one is met.
    histograms: Vec<Option<Box<HistogramFold>>>,
}

impl Fold {
    fn new(op: AggregateOp, labels: LabelSet, steps: usize) -> Self {
        let column = |wanted: bool| if wanted { vec![0.0; steps] } else { Vec::new() };
        let is_deviation = matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar);
        Fold {
            labels,
            drop_name: false,
            values: vec![ABSENT; steps],
            compensations: column(matches!(op, AggregateOp::Sum | AggregateOp::Avg)),
            means: column(is_deviation || op == AggregateOp::Avg),
            counts: column(is_deviation || op == AggregateOp::Avg),
            is_incremental: Vec::new(),
            histograms: Vec::new(),
        }
    }

    fn cost(op: AggregateOp, steps: usize) -> Cost {
        let columns = match op {
            AggregateOp::Avg => 4,
            AggregateOp::Stddev | AggregateOp::Stdvar => 3,
            AggregateOp::Sum => 2,
            _ => 1,
        };
        Cost::of_column(0, steps * columns)
    }

    fn add(&mut self, op: AggregateOp, series: &SeriesSteps) {
        self.drop_name |= series.drop_name;
        let present = series.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
        match op {
            AggregateOp::Sum => present.for_each(|(step, &value)| self.add_to_sum(step, value)),
            AggregateOp::Avg => present.for_each(|(step, &value)| self.add_to_average(step, value)),
            AggregateOp::Count => present.for_each(|(step, _)| {
                let count = &mut self.values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }),
            AggregateOp::Group => present.for_each(|(step, _)| self.values[step] = 1.0),
            AggregateOp::Min => present.for_each(|(step, &value)| {
                let least = &mut self.values[step];
                if *least > value || least.is_nan() {
                    *least = value;
                }
            }),
            AggregateOp::Max => present.for_each(|(step, &value)| {
                let most = &mut self.values[step];
                if *most < value || most.is_nan() {
                    *most = value;
                }
            }),
            AggregateOp::Stddev | AggregateOp::Stdvar => present.for_each(|(step, &value)| {
                self.counts[step] += 1.0;
                if is_absent(self.values[step]) {
                    self.values[step] = if value.is_finite() { 0.0 } else { f64::NAN };
                    self.means[step] = value;
                    return;
                }
                let delta = value - self.means[step];
                self.means[step] += delta / self.counts[step];
                self.values[step] += delta * (value - self.means[step]);
            }),
            _ => {}
        }
    }

    fn add_float(&mut self, op: AggregateOp, step: usize, value: f64) {
        match op {
            AggregateOp::Avg => self.add_to_average(step, value),
            _ => self.add_to_sum(step, value),
        }
    }

    #[inline]
    fn add_to_sum(&mut self, step: usize, value: f64) {
        if is_absent(self.values[step]) {
            self.values[step] = value;
        } else {
            let mut sum = Sum { sum: self.values[step], compensation: self.compensations[step] };
            sum.add(value);
            (self.values[step], self.compensations[step]) = (sum.sum, sum.compensation);
        }
    }

    /// The mean of a sum is the most exact one; only where the sum would overflow, a mean is kept and moved.
    fn add_to_average(&mut self, step: usize, value: f64) {
        self.counts[step] += 1.0;
        let count = self.counts[step];
        if is_absent(self.values[step]) {
            self.values[step] = value;
            return;
        }
        if !self.is_incremental.get(step).is_some_and(|is_incremental| *is_incremental) {
            let mut sum = Sum { sum: self.values[step], compensation: self.compensations[step] };
            sum.add(value);
            if !sum.sum.is_infinite() {
                (self.values[step], self.compensations[step]) = (sum.sum, sum.compensation);
                return;
            }
            self.is_incremental.resize(self.values.len(), false);
            self.is_incremental[step] = true;
            self.means[step] = self.values[step] / (count - 1.0);
            self.compensations[step] /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        let mut mean = Sum { sum: share * self.means[step], compensation: share * self.compensations[step] };
        mean.add(value / count);
        (self.means[step], self.compensations[step]) = (mean.sum, mean.compensation);
    }

    /// Adds a series to a sum or an average where one of the two has histograms.
    fn add_samples(&mut self, op: AggregateOp, series: &SeriesSteps, notes: &mut HistogramNotes<'_>) {
        self.histograms.resize_with(self.values.len(), || None);
        for step in 0..self.values.len() {
            let known = &mut self.histograms[step];
            if known.as_ref().is_some_and(|known| known.is_incompatible) {
                continue;
            }
            match (series.at(step), known) {
                (None, _) => {}
                (Some(Sample::Float(value)), _) => self.add_float(op, step, value),
                (Some(Sample::Histogram(histogram)), Some(known)) => known.add(histogram, &series.labels, notes),
                (Some(Sample::Histogram(histogram)), known) => {
                    let has_float = !is_absent(self.values[step]);
                    *known = Some(Box::new(HistogramFold::starting_with(op, histogram, has_float)));
                    notes.bytes += (2 * histogram.size_bytes()) as u64;
                }
            }
        }
    }

    fn finish(mut self, op: AggregateOp, notes: &mut HistogramNotes<'_>) -> SeriesSteps {
        let mut histograms = Vec::new();
        for step in 0..self.values.len() {
            if let Some(fold) = self.histograms.get_mut(step).and_then(Option::take) {
                let has_float = !is_absent(self.values[step]);
                self.values[step] = match fold.finish(has_float, notes) {
                    None => ABSENT,
                    Some(histogram) => {
                        histograms.push((step as u32, histogram));
                        0.0
                    }
                };
                continue;
            }
            if is_absent(self.values[step]) {
                continue;
            }
            let value = self.values[step];
            self.values[step] = match op {
                AggregateOp::Sum => value + self.compensations[step],
                AggregateOp::Avg if self.is_incremental.get(step) == Some(&true) => {
                    self.means[step] + self.compensations[step]
                }
                AggregateOp::Avg => value / self.counts[step] + self.compensations[step] / self.counts[step],
                AggregateOp::Stdvar => value / self.counts[step],
                AggregateOp::Stddev => (value / self.counts[step]).sqrt(),
                _ => value,
            };
        }
        SeriesSteps { labels: self.labels, drop_name: self.drop_name, values: self.values, histograms }
    }
}

impl Evaluator<'_> {
    /// The series of an aggregation.
    pub(super) fn aggregate(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let mut series = match node.expr.op {
            AggregateOp::CountValues => self.count_values(node, steps)?,
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.select_k(node, steps)?
            }
            AggregateOp::Quantile => self.quantile(node, steps)?,
            _ => self.fold(node, steps)?,
        };
        series.retain(|one| !super::names::is_empty(one));
        Ok(series)
    }

    /// The column of an aggregation's parameter.
    pub(super) fn parameter(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match &node.param {
            Some(param) => self.scalar(param, steps),
            None => Ok(vec![0.0; steps.count]),
        }
    }

    /// Prepares one series for an operator that knows only floats, and says so where that takes something away.
    pub(super) fn ignore_histograms(&self, node: &Aggregate<'_>, series: &mut SeriesSteps) {
        if !series.histograms.is_empty() {
            super::evaluate::remove_histograms(series);
            let span = match node.expr.op {
                AggregateOp::Topk | AggregateOp::Bottomk => node.span,
                _ => node.expr.expr.span,
            };
            let annotation = Annotation::histogram_ignored_in_aggregation(node.expr.op.as_str(), span);
            self.annotations.borrow_mut().add(annotation);
        }
    }

    fn fold(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let op = node.expr.op;
        let mut grouper = Grouper::new(&node.expr.grouping, node.expr.without);
        let mut folds: Vec<Fold> = Vec::new();
        self.for_each_series(&node.child, steps, |mut one| {
            let group = grouper.group(&one.labels);
            if group == folds.len() {
                self.limits.hold(Fold::cost(op, steps.count))?;
                folds.push(Fold::new(op, grouper.labels(&one.labels), steps.count));
            }
            let fold = &mut folds[group];
            match op {
                AggregateOp::Count | AggregateOp::Group => {}
                AggregateOp::Sum | AggregateOp::Avg => {
                    if !one.histograms.is_empty() || !fold.histograms.is_empty() {
                        let mut annotations = self.annotations.borrow_mut();
                        let mut notes = HistogramNotes::new(node.expr.expr.span, &mut annotations);
                        fold.drop_name |= one.drop_name;
                        fold.add_samples(op, &one, &mut notes);
                        return self.limits.hold(Cost { samples: 0, bytes: notes.bytes });
                    }
                }
                _ => self.ignore_histograms(node, &mut one),
            }
            fold.add(op, &one);
            Ok(())
        })?;
        let mut annotations = self.annotations.borrow_mut();
        let mut notes = HistogramNotes::new(node.expr.expr.span, &mut annotations);
        Ok(folds.into_iter().map(|fold| fold.finish(op, &mut notes)).collect())
    }

    fn quantile(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let quantiles = self.parameter(node, steps)?;
        let span = node.expr.param.as_ref().map(|param| param.span).unwrap_or_default();
        let mut grouper = Grouper::new(&node.expr.grouping, node.expr.without);
        let mut groups: Vec<(LabelSet, Vec<SeriesSteps>)> = Vec::new();
        for mut one in self.vector(&node.child, steps)? {
            self.ignore_histograms(node, &mut one);
            let group = grouper.group(&one.labels);
            if group == groups.len() {
                groups.push((grouper.labels(&one.labels), Vec::new()));
            }
            groups[group].1.push(one);
        }
        // One annotation for each way in which the parameter is wrong, with the worst of its values.
        let worst = |pick: fn(f64, f64) -> f64| quantiles.iter().copied().reduce(pick).unwrap_or(0.5);
        let mut notes = self.annotations.borrow_mut();
        let has_nan = quantiles.iter().any(|quantile| quantile.is_nan());
        if has_nan {
            notes.add(Annotation::invalid_quantile(f64::NAN, span));
        }
        // Beside NaN, Go's extremes are infinite or NaN.
        let (largest, smallest) = (worst(f64::max), worst(f64::min));
        if largest > 1.0 && (!has_nan || largest.is_infinite()) {
            notes.add(Annotation::invalid_quantile(largest, span));
        }
        if smallest < 0.0 && (!has_nan || smallest.is_infinite()) {
            notes.add(Annotation::invalid_quantile(smallest, span));
        }
        drop(notes);
        let mut result = Vec::with_capacity(groups.len());
        let mut sorted = Vec::new();
        for (labels, members) in groups {
            self.limits.check()?;
            let mut values = vec![ABSENT; steps.count];
            for (step, place) in values.iter_mut().enumerate() {
                sorted.clear();
                sorted.extend(members.iter().map(|one| one.values[step]).filter(|value| !is_absent(*value)));
                if !sorted.is_empty() {
                    *place = quantile_of(quantiles[step], &mut sorted);
                }
            }
            let drop_name = members.iter().any(|one| one.drop_name);
            result.push(SeriesSteps { labels, drop_name, values, histograms: Vec::new() });
        }
        Ok(result)
    }
}

/// The quantile of several values, between two of them by weight. NaN counts as the least.
fn quantile_of(quantile: f64, values: &mut [f64]) -> f64 {
    if quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let count = values.len() as f64;
    let rank = quantile * (count - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(count - 1.0);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}
