//! Function calls: the arguments are evaluated here, the functions themselves are those of the function table.

use std::sync::atomic::Ordering;

use super::MatrixSeries;
use super::QueryError;
use super::evaluate::Evaluator;
use super::limits::Cost;
use super::names;
use super::plan::{CallKind, CallNode, Node, Selector};
use super::stream::{Source, Stream, Work, histogram_samples};
use super::window::{Reach, remove_stale, windows};
use crate::model::LabelSet;
use crate::promql::functions::{CallContext, Implementation, absent_labels};
use crate::promql::parser::ast::SelectorMode;
use crate::promql::value::{ABSENT, SeriesSteps, Steps, StepsValue, is_absent};
use crate::storage::Column;

/// Functions that know what to do with the samples that `anchored` adds.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];

/// Functions that know what to do with the samples that `smoothed` adds.
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

impl Evaluator<'_> {
    /// The value of a function call. `node` is the node that holds `call`.
    pub(super) fn call(&self, node: &Node<'_>, call: &CallNode<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        match call.function {
            CallKind::StartTimestamp if !self.is_start_of_selector(call) => {
                // Evaluated for its errors and annotations: what was computed has no start.
                call.args.iter().try_for_each(|arg| self.eval(arg, steps).map(drop))?;
                Ok(StepsValue::Vector(Vec::new()))
            }
            CallKind::Timestamp | CallKind::StartTimestamp | CallKind::Function(Implementation::OverRange { .. }) => {
                Ok(StepsValue::Vector(self.collect(node, steps)?))
            }
            CallKind::AbsentOverTime => Ok(StepsValue::Vector(self.absent_over_time(call, steps)?)),
            CallKind::Info => Ok(StepsValue::Vector(self.info(call, steps)?)),
            CallKind::Function(Implementation::OverColumns(function)) => {
                let args = call.args.iter().map(|arg| self.eval(arg, steps)).collect::<Result<Vec<_>, _>>()?;
                let context = CallContext {
                    steps,
                    call: call.call,
                    span: call.span,
                    delayed_names: self.options.delayed_name_removal,
                    annotations: &self.annotations,
                };
                Ok(match function(&context, args)? {
                    StepsValue::Vector(series) => StepsValue::Vector(self.finish(series, steps)?),
                    value => value,
                })
            }
        }
    }

    /// The stream of a node whose series can be evaluated one at a time, or `None`.
    pub(super) fn stream<'s>(&'s self, node: &'s Node<'_>, steps: &Steps) -> Result<Option<Stream<'s>>, QueryError> {
        match node {
            Node::Instant(selector) => Ok(Some(self.make_stream(Source::Selected(selector), Work::Latest, steps))),
            Node::Call(call) => match (&call.function, call.args.first()) {
                (CallKind::Timestamp, Some(Node::Instant(selector))) => {
                    Ok(Some(self.make_stream(Source::Selected(selector), Work::Timestamp, steps)))
                }
                (CallKind::StartTimestamp, Some(Node::Instant(selector))) if self.is_start_of_selector(call) => {
                    Ok(Some(self.make_stream(Source::Selected(selector), Work::StartTimestamp, steps)))
                }
                (CallKind::Function(Implementation::OverRange { kernel, histograms, keeps_name }), _) => {
                    let (source, reach) = self.range_argument(call, steps)?;
                    let mut args = Vec::new();
                    for arg in call.args.iter().filter(|arg| !matches!(arg, Node::Range(_) | Node::Subquery(_))) {
                        args.push(self.scalar(arg, steps)?);
                    }
                    let (kernel, histograms, keeps_name) = (*kernel, *histograms, *keeps_name);
                    let work = Work::Kernel { call: call.call, kernel, histograms, keeps_name, args, reach };
                    Ok(Some(self.make_stream(source, work, steps)))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Whether a call of `start_timestamp` has a result: only stored samples have a start, and only where it is used.
    fn is_start_of_selector(&self, call: &CallNode<'_>) -> bool {
        self.options.start_timestamps && matches!(call.args.first(), Some(Node::Instant(_)))
    }

    fn make_stream<'s>(&'s self, source: Source<'s>, work: Work<'s>, steps: &Steps) -> Stream<'s> {
        Stream {
            source,
            work,
            steps: *steps,
            lookback_ms: self.lookback_ms,
            delayed_names: self.options.delayed_name_removal,
            start_times: self.options.start_timestamps,
            type_labels: self.options.type_and_unit_labels,
            limits: self.limits,
            workers: self.options.parallelism,
        }
    }

    /// The range vector among the arguments of a call, and how far it reaches.
    fn range_argument<'s>(&'s self, call: &'s CallNode<'_>, steps: &Steps) -> Result<(Source<'s>, Reach), QueryError> {
        for arg in &call.args {
            match arg {
                Node::Range(selector) => {
                    check_mode(selector, call.call.function.name)?;
                    return Ok((Source::Selected(selector), Reach::of_selector(selector, self.lookback_ms)));
                }
                Node::Subquery(subquery) => {
                    return Ok((Source::Columns(self.subquery_argument(subquery, steps)?), subquery.reach()));
                }
                _ => {}
            }
        }
        let name = call.call.function.name;
        Err(QueryError::Execution(format!("expected a range vector in the call of function {name:?}")))
    }

    /// 1 at every step at which no series of the range has a sample.
    fn absent_over_time(&self, call: &CallNode<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let (source, reach) = self.range_argument(call, steps)?;
        self.limits.room_for(steps.count)?;
        let mut values = vec![1.0; steps.count];
        let stream = self.make_stream(source, Work::Presence { reach }, steps);
        let annotations = stream.for_each(|one| {
            for (place, value) in values.iter_mut().zip(&one.values) {
                if !is_absent(*value) {
                    *place = ABSENT;
                }
            }
            self.limits.release(super::limits::Cost::of_series(std::slice::from_ref(&one)));
            Ok(())
        })?;
        self.annotations.borrow_mut().merge(annotations);
        let labels = call.call.args.first().map_or_else(LabelSet::empty, absent_labels);
        let absent = SeriesSteps { labels, drop_name: true, values, histograms: Vec::new() };
        Ok(if names::is_empty(&absent) { Vec::new() } else { vec![absent] })
    }

    /// A range selector that is the whole of an instant query: the samples themselves.
    pub(super) fn matrix(&self, selector: &Selector<'_>, steps: &Steps) -> Result<Vec<MatrixSeries>, QueryError> {
        let reach = Reach::of_selector(selector, self.lookback_ms);
        let mut matrix = Vec::new();
        for series in selector.series.iter() {
            self.limits.check()?;
            let mut column = Column::default();
            series.samples.read(selector.read, &mut column)?;
            self.limits.add_read(column.len());
            selector.samples_read.fetch_add(column.len() as u64, Ordering::Relaxed);
            remove_stale(&mut column);
            let mut samples = Column::default();
            windows(&column, steps, &reach, |_, window| {
                for (index, (at_ms, value)) in window.timestamps_ms.iter().zip(window.values).enumerate() {
                    let index = index + window.first_index;
                    match window.histograms.binary_search_by_key(&index, |(at, _)| *at) {
                        Ok(at) => samples.push_histogram(*at_ms, window.histograms[at].1.clone()),
                        Err(_) => samples.push(*at_ms, *value),
                    }
                }
                Ok(())
            })?;
            if samples.is_empty() {
                continue;
            }
            if let Some(mode) = selector.mode {
                let Some(extended) = extend(&samples, &reach, steps, mode)? else { continue };
                samples = extended;
            }
            let histograms = || samples.histograms.iter().map(|(_, histogram)| histogram);
            let looked_at = samples.len() - samples.histograms.len() + histogram_samples(histograms());
            self.limits.add_at_step(0, looked_at as u64);
            self.limits
                .hold(Cost::of_column(samples.len(), samples.len() * 2).plus(Cost::of_histograms(histograms())))?;
            matrix.push(MatrixSeries { labels: series.labels.clone(), samples });
        }
        Ok(matrix)
    }
}

/// The samples of an `anchored` or `smoothed` range, with one at each end of it. `None` where the range has none.
fn extend(samples: &Column, reach: &Reach, steps: &Steps, mode: SelectorMode) -> Result<Option<Column>, QueryError> {
    let smoothed = mode == SelectorMode::Smoothed;
    if samples.has_histograms() {
        let name = if smoothed { "smoothed" } else { "anchored" };
        return Err(QueryError::Execution(format!("{name} modifier is not supported with histograms")));
    }
    let (times, values) = (&samples.timestamps_ms[..], &samples.values[..]);
    let end_ms = reach.at_ms.unwrap_or(steps.start_ms).saturating_sub(reach.offset_ms);
    let start_ms = end_ms.saturating_sub(reach.range_ms);
    let mut last = times.len() - 1;
    let first = times[..last].partition_point(|&time| time <= start_ms).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|&time| time < end_ms);
    }
    if times[last] <= start_ms {
        return Ok(None);
    }
    let between = |left: usize, at_ms: i64| {
        let (from, to) = (values[left], values[left + 1]);
        from + (to - from) * (at_ms - times[left]) as f64 / (times[left + 1] - times[left]) as f64
    };
    let left = if smoothed && times[first] < start_ms { between(first, start_ms) } else { values[first] };
    let right = if smoothed && last > 0 && times[last] > end_ms { between(last - 1, end_ms) } else { values[last] };
    let mut extended = Column::default();
    extended.push(start_ms, left);
    for index in first..=last {
        if times[index] > start_ms && times[index] < end_ms {
            extended.push(times[index], values[index]);
        }
    }
    extended.push(end_ms, right);
    Ok(Some(extended))
}

fn check_mode(selector: &Selector<'_>, function: &str) -> Result<(), QueryError> {
    let (name, allowed) = match selector.mode {
        None => return Ok(()),
        Some(SelectorMode::Anchored) => ("anchored", &ANCHORED[..]),
        Some(SelectorMode::Smoothed) => ("smoothed", &SMOOTHED[..]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::Execution(format!("{name} modifier can only be used with: {allowed} - not with {function}")))
}
