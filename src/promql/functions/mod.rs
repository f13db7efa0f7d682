//! PromQL's functions: from name to implementation.
//!
//! Functions over range vectors are kernels that see the samples of one series at one step; all others work on whole
//! columns. Source: Prometheus `promql/functions.go`, version 3.14; results are equal to the last bit, so the order of
//! float operations here is not free.

mod buckets;
mod columns;
mod extended;
mod histogram;
mod label;
mod last_two;
mod math;
mod native;
mod over_time;
mod pairs;
mod rate;
mod regression;
mod time;
mod vector;
mod window;

pub use crate::model::kahan;
pub use buckets::nearly_equal;
pub use columns::{absent_labels, merge_same_labels};
pub use extended::{Interpolation, interpolate_histograms};
pub use math::{max_of_two, min_of_two};
pub use over_time::quantile;

use std::cell::RefCell;

use super::annotations::{Annotation, Annotations, HistogramOperation};
use super::parser::ast::{Call, Expr, ExprKind, SelectorMode, Span};
use super::value::{Steps, StepsValue, Value, Window};
use crate::model::{Conflicts, FloatHistogram, IncompatibleSchemas, LabelSet, METRIC_NAME};

/// Why a function could not be evaluated. The texts are Prometheus'.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct FunctionError(pub String);

/// A kernel over the samples of one series at one step, which are floats.
///
/// The floats beside the window are the values of the scalar arguments at that step, in argument order, without the range
/// vector. `None` means that there is no value at this step. A window is never empty.
pub type RangeKernel = fn(&Window<'_>, &[f64], &mut Notes<'_>) -> Option<f64>;

/// What a function over a range vector makes of a window that holds histograms.
#[derive(Debug, Clone, Copy)]
pub enum HistogramRule {
    /// The kernel does not look at the values, so that of floats does for all.
    Alike,
    /// They are left out; if there are floats beside them, that is noted.
    Ignored,
    /// A kernel for windows of histograms alone. A mix of floats and histograms has no result, and is noted.
    Apart(fn(&Window<'_>, &mut Notes<'_>) -> Option<FloatHistogram>),
    /// A kernel for all windows that hold a histogram.
    Mixed(fn(&Window<'_>, &mut Notes<'_>) -> Option<Value>),
}

impl HistogramRule {
    /// The value of a function over a series that has histograms. `kernel` is the one for floats.
    pub fn apply(self, kernel: RangeKernel, window: &Window<'_>, args: &[f64], notes: &mut Notes<'_>) -> Option<Value> {
        if window.histograms.is_empty() {
            return kernel(window, args, notes).map(Value::Float);
        }
        match self {
            HistogramRule::Alike => kernel(window, args, notes).map(Value::Float),
            HistogramRule::Mixed(kernel) => kernel(window, notes),
            HistogramRule::Apart(kernel) if window.histograms.len() == window.values.len() => {
                kernel(window, notes).map(Value::Histogram)
            }
            HistogramRule::Apart(_) => {
                notes.add_for_metric(0, Annotation::mixed_floats_histograms);
                None
            }
            HistogramRule::Ignored => {
                let (times, values) = window::only_floats(window);
                match (values.is_empty(), args.is_empty()) {
                    (false, _) => notes.add_for_metric(0, Annotation::histogram_ignored_in_mixed_range),
                    // Functions that take arguments look at them first.
                    (true, false) => {}
                    (true, true) => return None,
                }
                let (timestamps_ms, values) = (&times[..], &values[..]);
                // What lies between two floats may have been NaN, so that nothing is known of them.
                let is_rising = false;
                let floats = Window { timestamps_ms, values, histograms: &[], starts_ms: &[], is_rising, ..*window };
                kernel(&floats, args, notes).map(Value::Float)
            }
        }
    }
}

/// A function over whole columns. The values are the arguments, in order.
pub type ColumnFunction = fn(&CallContext<'_>, Vec<StepsValue>) -> Result<StepsValue, FunctionError>;

/// How a function is evaluated.
#[derive(Debug, Clone, Copy)]
pub enum Implementation {
    /// Per series and per step, over a range vector.
    OverRange {
        /// What it computes of floats.
        kernel: RangeKernel,
        /// What it makes of histograms.
        histograms: HistogramRule,
        /// Whether the result keeps the metric name.
        keeps_name: bool,
    },
    /// Over instant vectors, scalars and strings, whole columns at a time.
    OverColumns(ColumnFunction),
}

/// The implementation of the function called `name`. The engine itself evaluates those that need the storage or the
/// whole query: `info`, `timestamp` of a selector, `absent_over_time`, and `start`, `end`, `range` and `step`.
pub fn implementation(name: &str) -> Option<Implementation> {
    use HistogramRule::{Alike, Apart, Ignored, Mixed};
    let over_range = |kernel: RangeKernel, histograms: HistogramRule| Implementation::OverRange {
        kernel,
        histograms,
        keeps_name: false,
    };
    let keeping_name = |kernel: RangeKernel, histograms: HistogramRule| Implementation::OverRange {
        kernel,
        histograms,
        keeps_name: true,
    };
    let over_columns = Implementation::OverColumns;
    Some(match name {
        "abs" => over_columns(math::abs),
        "absent" => over_columns(vector::absent),
        "acos" => over_columns(math::acos),
        "acosh" => over_columns(math::acosh),
        "asin" => over_columns(math::asin),
        "asinh" => over_columns(math::asinh),
        "atan" => over_columns(math::atan),
        "atanh" => over_columns(math::atanh),
        "avg_over_time" => over_range(over_time::avg, Apart(over_time::avg_of_histograms)),
        "ceil" => over_columns(math::ceil),
        "changes" => over_range(pairs::changes, Mixed(pairs::changes_among_histograms)),
        "clamp" => over_columns(math::clamp),
        "clamp_max" => over_columns(math::clamp_max),
        "clamp_min" => over_columns(math::clamp_min),
        "cos" => over_columns(math::cos),
        "cosh" => over_columns(math::cosh),
        "count_over_time" => over_range(over_time::count, Alike),
        "day_of_month" => over_columns(time::day_of_month),
        "day_of_week" => over_columns(time::day_of_week),
        "day_of_year" => over_columns(time::day_of_year),
        "days_in_month" => over_columns(time::days_in_month),
        "deg" => over_columns(math::deg),
        "delta" => over_range(rate::delta, Apart(rate::delta_of_histograms)),
        "deriv" => over_range(regression::deriv, Ignored),
        "double_exponential_smoothing" => over_range(regression::double_exponential_smoothing, Ignored),
        "exp" => over_columns(math::exp),
        "first_over_time" => keeping_name(over_time::first, Mixed(over_time::first_of_either)),
        "floor" => over_columns(math::floor),
        "histogram_avg" => over_columns(histogram::avg),
        "histogram_count" => over_columns(histogram::count),
        "histogram_fraction" => over_columns(histogram::histogram_fraction),
        "histogram_quantile" => over_columns(histogram::histogram_quantile),
        "histogram_quantiles" => over_columns(histogram::histogram_quantiles),
        "histogram_stddev" => over_columns(histogram::stddev),
        "histogram_stdvar" => over_columns(histogram::stdvar),
        "histogram_sum" => over_columns(histogram::sum),
        "hour" => over_columns(time::hour),
        "idelta" => over_range(last_two::idelta, Mixed(last_two::idelta_among_histograms)),
        "increase" => over_range(rate::increase, Apart(rate::increase_of_histograms)),
        "irate" => over_range(last_two::irate, Mixed(last_two::irate_among_histograms)),
        "label_join" => over_columns(label::label_join),
        "label_replace" => over_columns(label::label_replace),
        "last_over_time" => keeping_name(over_time::last, Mixed(over_time::last_of_either)),
        "ln" => over_columns(math::ln),
        "log10" => over_columns(math::log10),
        "log2" => over_columns(math::log2),
        "mad_over_time" => over_range(over_time::mad, Ignored),
        "max_of" => over_columns(math::max_of),
        "max_over_time" => over_range(over_time::max, Ignored),
        "min_of" => over_columns(math::min_of),
        "min_over_time" => over_range(over_time::min, Ignored),
        "minute" => over_columns(time::minute),
        "month" => over_columns(time::month),
        "pi" => over_columns(math::pi),
        "predict_linear" => over_range(regression::predict_linear, Ignored),
        "present_over_time" => over_range(over_time::present, Alike),
        "quantile_over_time" => over_range(over_time::quantile_over_time, Ignored),
        "rad" => over_columns(math::rad),
        "rate" => over_range(rate::rate, Apart(rate::rate_of_histograms)),
        "resets" => over_range(pairs::resets, Mixed(pairs::resets_among_histograms)),
        "round" => over_columns(math::round),
        "scalar" => over_columns(vector::scalar),
        "sgn" => over_columns(math::sgn),
        "sin" => over_columns(math::sin),
        "sinh" => over_columns(math::sinh),
        "sort" => over_columns(vector::sort),
        "sort_by_label" => over_columns(vector::sort_by_label),
        "sort_by_label_desc" => over_columns(vector::sort_by_label_desc),
        "sort_desc" => over_columns(vector::sort_desc),
        "sqrt" => over_columns(math::sqrt),
        "stddev_over_time" => over_range(over_time::stddev, Ignored),
        "stdvar_over_time" => over_range(over_time::stdvar, Ignored),
        "sum_over_time" => over_range(over_time::sum, Apart(over_time::sum_of_histograms)),
        "tan" => over_columns(math::tan),
        "tanh" => over_columns(math::tanh),
        "time" => over_columns(time::time),
        "timestamp" => over_columns(time::timestamp),
        "ts_of_first_over_time" => over_range(over_time::ts_of_first, Alike),
        "ts_of_last_over_time" => over_range(over_time::ts_of_last, Alike),
        "ts_of_max_over_time" => over_range(over_time::ts_of_max, Ignored),
        "ts_of_min_over_time" => over_range(over_time::ts_of_min, Ignored),
        "vector" => over_columns(vector::vector),
        "year" => over_columns(time::year),
        _ => return None,
    })
}

/// How the names of counters end.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// What a kernel has to say about the series that it sees: annotations, with the position of the call's arguments.
///
/// One is made for each call and worker; [`Notes::enter_series`] comes before the first window of each series.
#[derive(Debug)]
pub struct Notes<'a> {
    call: &'a Call,
    type_labels: bool,
    labels: LabelSet,
    counter_checked: bool,
    annotations: Annotations,
    failure: Option<FunctionError>,
}

impl<'a> Notes<'a> {
    /// Notes on `call`. With `type_labels` the label `__type__` says whether a metric is a counter, else its name.
    pub fn new(call: &'a Call, type_labels: bool) -> Self {
        Notes {
            call,
            type_labels,
            labels: LabelSet::empty(),
            counter_checked: false,
            annotations: Annotations::new(),
            failure: None,
        }
    }

    /// Says which series the next windows belong to. The labels still have the metric name.
    pub fn enter_series(&mut self, labels: &LabelSet) {
        self.labels = labels.clone();
        self.counter_checked = false;
    }

    /// All that was noted; an error if a kernel refused its arguments.
    pub fn finish(self) -> Result<Annotations, FunctionError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.annotations),
        }
    }

    /// `anchored` or `smoothed`, if the range vector selector says so.
    fn selector_mode(&self) -> Option<SelectorMode> {
        self.call.args.iter().find_map(|arg| match &arg.kind {
            ExprKind::MatrixSelector(selector) => selector.vector.mode,
            _ => None,
        })
    }

    /// Notes, once per series, if the current series does not look like a counter.
    fn expect_counter(&mut self) {
        if self.counter_checked {
            return;
        }
        self.counter_checked = true;
        let name = self.metric_name();
        if name.is_empty() {
            return;
        }
        if self.type_labels {
            let kind = self.labels.get("__type__").unwrap_or_default();
            if !matches!(kind, "counter" | "histogram") {
                self.add(Annotation::possible_non_counter_label(name, kind, self.span_of_arg(0)));
            }
        } else if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            self.add_for_metric(0, Annotation::possible_non_counter);
        }
    }

    /// Makes the whole query fail.
    fn fail(&mut self, failure: FunctionError) {
        self.failure.get_or_insert(failure);
    }

    /// The metric name of the current series, or an empty text.
    fn metric_name(&self) -> &str {
        self.labels.get(METRIC_NAME).unwrap_or_default()
    }

    /// Where the argument at `index` stands.
    fn span_of_arg(&self, index: usize) -> Span {
        self.call.args.get(index).map(shown_span).unwrap_or_default()
    }

    fn add(&mut self, annotation: Annotation) {
        self.annotations.add(annotation);
    }

    /// Notes a sum or difference of histograms: that it was not possible (then `None`), or what had to be reconciled.
    /// Counter resets are the caller's matter.
    fn reconciled(
        &mut self,
        outcome: Result<Conflicts, IncompatibleSchemas>,
        operation: HistogramOperation,
    ) -> Option<()> {
        match outcome {
            Err(IncompatibleSchemas) => {
                self.add_for_metric(0, Annotation::mixed_exponential_custom_histograms);
                None
            }
            Ok(conflicts) => {
                if conflicts.custom_bounds {
                    self.add(Annotation::mismatched_custom_buckets(operation, self.span_of_arg(0)));
                }
                Some(())
            }
        }
    }

    /// Where the arguments stand, from the first to the last.
    fn span_of_args(&self) -> Span {
        match (self.call.args.first(), self.call.args.last()) {
            (Some(first), Some(last)) => Span { start: shown_span(first).start, end: shown_span(last).end },
            _ => Span::default(),
        }
    }

    /// Notes something about the current series, at the position of all arguments.
    fn add_for_metric_at_args(&mut self, make: fn(&str, Span) -> Annotation) {
        let annotation = make(self.metric_name(), self.span_of_args());
        self.add(annotation);
    }

    /// Notes something about the current series, at the position of the argument at `index`.
    fn add_for_metric(&mut self, index: usize, make: fn(&str, Span) -> Annotation) {
        let annotation = make(self.metric_name(), self.span_of_arg(index));
        self.add(annotation);
    }
}

/// What a function over columns can know beside its arguments.
#[derive(Debug)]
pub struct CallContext<'a> {
    /// The steps of the evaluation.
    pub steps: &'a Steps,
    /// The call, for positions and selectors.
    pub call: &'a Call,
    /// Where the call stands.
    pub span: Span,
    /// Whether the metric names of results go only in the end, so that annotations can name the metric.
    pub delayed_names: bool,
    /// Where warnings and infos go.
    pub annotations: &'a RefCell<Annotations>,
}

impl CallContext<'_> {
    fn span_of_arg(&self, index: usize) -> Span {
        self.call.args.get(index).map(|arg| arg.span).unwrap_or_default()
    }

    /// The metric name as annotations on a vector show it.
    fn shown_name<'l>(&self, labels: &'l LabelSet) -> &'l str {
        if self.delayed_names { labels.metric_name().unwrap_or_default() } else { "" }
    }

    fn note(&self, annotation: Annotation) {
        self.annotations.borrow_mut().add(annotation);
    }
}

/// Where an argument stands, as annotations show it. Prometheus puts the samples of a subquery in its place before the
/// function sees it, and with that forgets where it stood.
fn shown_span(arg: &Expr) -> Span {
    match &arg.kind {
        ExprKind::Subquery(_) => Span::default(),
        _ => arg.span,
    }
}
