//! Series that are evaluated one at a time, each on its own: selectors, and functions over range vectors.
//!
//! A stream reads a series into a column, slides over it, and gives the values at all steps. Whoever consumes the
//! stream decides what to keep: everything, or only what it folds them into.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::{CHECK_EVERY, Cost, Limits};
use super::names;
use super::plan::Selector;
use super::smooth::Smoothed;
use super::statistics::keep_statistics;
use super::window::{Reach, latest, remove_stale, windows};
use super::{QueryError, parallel};
use crate::model::{FloatHistogram, LabelSet, METRIC_NAME, MatchOp};
use crate::promql::annotations::Annotations;
use crate::promql::functions::{HistogramRule, Notes, RangeKernel};
use crate::promql::parser::ast::{Call, SelectorMode};
use crate::promql::value::{ABSENT, SeriesSteps, Steps, Value, Window};
use crate::storage::Column;

/// Fewer series than this are evaluated on the calling thread.
const PARALLEL_SERIES_MIN: usize = 512;

/// A block of series has about this many places in its columns.
const BLOCK_PLACES: usize = 1 << 14;

/// Most series of one block.
const BLOCK_SERIES_MAX: usize = 64;

/// A series whose samples are at hand: the result of a subquery.
pub(super) struct ColumnSeries {
    pub(super) labels: LabelSet,
    pub(super) drop_name: bool,
    pub(super) samples: Column,
}

/// Where the series come from.
pub(super) enum Source<'s> {
    Selected(&'s Selector<'s>),
    Columns(Vec<ColumnSeries>),
}

/// What is computed for each series.
pub(super) enum Work<'s> {
    /// The value of the newest sample in the lookback window.
    Latest,
    /// The time of that sample, in seconds.
    Timestamp,
    /// Since when that sample counts, in seconds; 0 where that is not known.
    StartTimestamp,
    /// A function over a range vector. `args` are the columns of its scalar arguments.
    Kernel {
        call: &'s Call,
        kernel: RangeKernel,
        histograms: HistogramRule,
        keeps_name: bool,
        args: Vec<Vec<f64>>,
        reach: Reach,
    },
    /// 1 where the range holds a sample.
    Presence { reach: Reach },
}

/// Series to be evaluated at the same steps.
pub(super) struct Stream<'s> {
    pub(super) source: Source<'s>,
    pub(super) work: Work<'s>,
    pub(super) steps: Steps,
    pub(super) lookback_ms: i64,
    pub(super) delayed_names: bool,
    /// Functions see start timestamps.
    pub(super) start_times: bool,
    /// A label says whether a metric is a counter.
    pub(super) type_labels: bool,
    pub(super) limits: &'s Limits,
    pub(super) workers: usize,
}

struct Block {
    series: Vec<SeriesSteps>,
    annotations: Annotations,
}

/// What is used again from series to series.
#[derive(Default)]
struct Scratch {
    column: Column,
    args: Vec<f64>,
}

impl Stream<'_> {
    fn len(&self) -> usize {
        match &self.source {
            Source::Selected(selector) => selector.series.len(),
            Source::Columns(columns) => columns.len(),
        }
    }

    fn drops_name(&self) -> bool {
        match &self.work {
            Work::Latest => false,
            Work::Timestamp | Work::StartTimestamp | Work::Presence { .. } => true,
            Work::Kernel { keeps_name, .. } => !keeps_name,
        }
    }

    /// Whether dropping the names can leave two series with the same labels.
    pub(super) fn may_collide(&self) -> bool {
        if self.delayed_names || matches!(self.work, Work::Latest) {
            return false;
        }
        match &self.source {
            Source::Columns(_) => true,
            Source::Selected(selector) => {
                let one_name = selector.matchers.iter().any(|one| one.name == METRIC_NAME && one.op == MatchOp::Equal);
                let is_other = |name: &str| name != METRIC_NAME && names::is_metadata_label(name);
                !one_name || selector.series.iter().any(|one| one.labels.iter().any(|label| is_other(label.name)))
            }
        }
    }

    /// Evaluates all series and hands those that have a value to `consume`, in order. What is handed over counts as
    /// held; a consumer that does not keep it has to release it.
    pub(super) fn for_each(
        &self,
        mut consume: impl FnMut(SeriesSteps) -> Result<(), QueryError>,
    ) -> Result<Annotations, QueryError> {
        let len = self.len();
        let block_series = (BLOCK_PLACES / self.steps.count).clamp(1, BLOCK_SERIES_MAX);
        let workers = if len < PARALLEL_SERIES_MIN { 1 } else { self.workers };
        let mut annotations = Annotations::new();
        parallel::in_order(
            len.div_ceil(block_series),
            workers,
            |block| self.block(block * block_series, (block * block_series + block_series).min(len)),
            |block| {
                annotations.merge(block.annotations);
                block.series.into_iter().try_for_each(&mut consume)
            },
        )?;
        Ok(annotations)
    }

    /// Evaluates all series and keeps them.
    pub(super) fn collect(&self) -> Result<(Vec<SeriesSteps>, Annotations), QueryError> {
        let mut series = Vec::new();
        let annotations = self.for_each(|one| {
            series.push(one);
            Ok(())
        })?;
        Ok((series, annotations))
    }

    fn block(&self, from: usize, to: usize) -> Result<Block, QueryError> {
        let mut scratch = Scratch::default();
        let mut series = Vec::with_capacity(to - from);
        let mut annotations = Annotations::new();
        let mut notes = match &self.work {
            Work::Kernel { call, .. } => Some(Notes::new(call, self.type_labels)),
            _ => None,
        };
        for index in from..to {
            self.limits.check()?;
            if let Some(one) = self.evaluate(index, &mut scratch, notes.as_mut(), &mut annotations)? {
                series.push(one);
            }
        }
        if let Some(notes) = notes {
            annotations.merge(notes.finish()?);
        }
        Ok(Block { series, annotations })
    }

    fn evaluate(
        &self,
        index: usize,
        scratch: &mut Scratch,
        notes: Option<&mut Notes<'_>>,
        annotations: &mut Annotations,
    ) -> Result<Option<SeriesSteps>, QueryError> {
        let mut read = std::mem::take(&mut scratch.column);
        let (labels, input_drops_name, column) = match &self.source {
            Source::Selected(selector) => {
                let series = &selector.series[index];
                read.clear();
                series.samples.read(selector.read, &mut read)?;
                self.limits.add_read(read.len());
                selector.samples_read.fetch_add(read.len() as u64, Ordering::Relaxed);
                // A marker ends a series for an instant selector; nothing else sees it.
                let sees_stale = match self.work {
                    Work::Latest => selector.mode != Some(SelectorMode::Smoothed),
                    Work::Timestamp | Work::StartTimestamp => true,
                    Work::Kernel { .. } | Work::Presence { .. } => false,
                };
                if !self.start_times {
                    read.starts_ms.clear();
                }
                if !sees_stale {
                    remove_stale(&mut read);
                }
                if selector.statistics_only && read.has_histograms() {
                    keep_statistics(&mut read);
                }
                (&series.labels, false, &read)
            }
            Source::Columns(columns) => {
                let series = &columns[index];
                (&series.labels, series.drop_name, &series.samples)
            }
        };
        // The decoded samples are there while this series is evaluated.
        let decoded = Cost::of_decoded(column);
        self.limits.hold(decoded)?;
        let result = if column.is_empty() {
            None
        } else {
            self.limits.room_for(self.steps.count)?;
            let mut out = SeriesSteps {
                labels: labels.clone(),
                drop_name: input_drops_name || self.drops_name(),
                values: vec![ABSENT; self.steps.count],
                histograms: Vec::new(),
            };
            let present = self.fill(column, &mut out, &mut scratch.args, notes, annotations)?;
            if out.drop_name && !self.delayed_names {
                out.labels = names::without_metadata(&out.labels);
            }
            (present > 0).then_some((out, present))
        };
        scratch.column = read;
        self.limits.release(decoded);
        match result {
            None => Ok(None),
            Some((out, present)) => {
                self.limits.hold(Cost::of_column(present, out.values.capacity()))?;
                Ok(Some(out))
            }
        }
    }

    /// Puts a value in its place. Histograms count as held from here on, as one series may have many large ones.
    fn keep(&self, out: &mut SeriesSteps, step: usize, value: Value) -> Result<(), QueryError> {
        out.values[step] = match value {
            Value::Float(value) => value,
            Value::Histogram(histogram) => {
                self.limits.hold(Cost::of_histograms(std::iter::once(&histogram)))?;
                out.histograms.push((step as u32, histogram));
                0.0
            }
        };
        Ok(())
    }

    /// Computes the values at all steps; gives how many there are.
    fn fill(
        &self,
        column: &Column,
        out: &mut SeriesSteps,
        step_args: &mut Vec<f64>,
        notes: Option<&mut Notes<'_>>,
        annotations: &mut Annotations,
    ) -> Result<usize, QueryError> {
        let steps = &self.steps;
        let mut present = 0;
        let mut effort = Effort::new(self.limits);
        match (&self.work, &self.source) {
            (Work::Latest, Source::Selected(selector)) if selector.mode == Some(SelectorMode::Smoothed) => {
                let labels = out.labels.clone();
                let smoothed = Smoothed { column, labels: &labels, selector, lookback_ms: self.lookback_ms };
                smoothed.at_steps(steps, annotations, |step, value| {
                    self.keep(out, step, value)?;
                    present += 1;
                    effort.add(step, 1)
                })?;
            }
            (Work::Latest, Source::Selected(selector)) => {
                let mut histograms = column.histograms.iter().peekable();
                latest(column, steps, selector, self.lookback_ms, |step, index| {
                    while histograms.next_if(|(at, _)| *at < index).is_some() {}
                    present += 1;
                    match histograms.peek() {
                        // The next step may see the same sample, so the histogram stays where it is.
                        Some((at, histogram)) if *at == index => {
                            self.keep(out, step, Value::Histogram(histogram.clone()))?;
                            effort.add(step, histogram_samples(std::iter::once(histogram)))
                        }
                        _ => {
                            out.values[step] = column.values[index];
                            effort.add(step, 1)
                        }
                    }
                })?;
            }
            (Work::Timestamp, Source::Selected(selector)) => {
                latest(column, steps, selector, self.lookback_ms, |step, index| {
                    out.values[step] = column.timestamps_ms[index] as f64 / 1000.0;
                    present += 1;
                    effort.add(step, 1)
                })?;
            }
            (Work::StartTimestamp, Source::Selected(selector)) => {
                latest(column, steps, selector, self.lookback_ms, |step, index| {
                    out.values[step] = column.start_ms(index) as f64 / 1000.0;
                    present += 1;
                    effort.add(step, 1)
                })?;
            }
            (Work::Latest | Work::Timestamp | Work::StartTimestamp, Source::Columns(_)) => {
                return Err(QueryError::Execution("unexpected error: an instant selector over columns".to_owned()));
            }
            (Work::Presence { reach }, _) => windows(column, steps, reach, |step, window| {
                out.values[step] = 1.0;
                present += 1;
                effort.add(step, window_samples(window))
            })?,
            (Work::Kernel { kernel, histograms, args, reach, .. }, _) => {
                let Some(notes) = notes else {
                    return Err(QueryError::Execution("unexpected error: a kernel without notes".to_owned()));
                };
                notes.enter_series(&out.labels);
                windows(column, steps, reach, |step, window| {
                    step_args.clear();
                    step_args.extend(args.iter().map(|arg| arg[step]));
                    if !column.has_histograms() {
                        if let Some(value) = kernel(window, step_args, notes) {
                            out.values[step] = value;
                            present += 1;
                        }
                        return effort.add(step, window.values.len());
                    }
                    if let Some(value) = histograms.apply(*kernel, window, step_args, notes) {
                        self.keep(out, step, value)?;
                        present += 1;
                    }
                    effort.add(step, window_samples(window))
                })?;
            }
        }
        effort.finish()?;
        Ok(present)
    }
}

/// How many samples histograms count for: as many as take their room.
pub(super) fn histogram_samples<'h>(histograms: impl ExactSizeIterator<Item = &'h FloatHistogram>) -> usize {
    histograms.len() + Cost::of_histograms(histograms).samples as usize
}

/// How many samples a window counts for.
#[inline]
fn window_samples(window: &Window<'_>) -> usize {
    let floats = window.values.len() - window.histograms.len();
    floats + histogram_samples(window.histograms.iter().map(|(_, histogram)| histogram))
}

/// Counts the samples that one series makes the query look at.
struct Effort<'l> {
    limits: &'l Limits,
    /// The counts of the query's steps, where they are wanted.
    steps: Option<&'l [AtomicU64]>,
    since_check: usize,
    samples: u64,
    window_max: usize,
}

impl<'l> Effort<'l> {
    fn new(limits: &'l Limits) -> Self {
        Effort { limits, steps: limits.steps(), since_check: 0, samples: 0, window_max: 0 }
    }

    #[inline]
    fn add(&mut self, step: usize, window: usize) -> Result<(), QueryError> {
        self.samples += window as u64;
        if let Some(count) = self.steps.and_then(|steps| steps.get(step)) {
            count.fetch_add(window as u64, Ordering::Relaxed);
        }
        self.window_max = self.window_max.max(window);
        self.since_check += window + 1;
        if self.since_check >= CHECK_EVERY {
            self.since_check = 0;
            self.limits.check()?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), QueryError> {
        self.limits.add_total(self.samples);
        let window = Cost { samples: self.window_max as u64, bytes: 0 };
        let outcome = self.limits.hold(window);
        self.limits.release(window);
        outcome
    }
}
