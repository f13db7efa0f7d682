//! Functions of histograms. Classic ones are gathered from their buckets. Where a classic and a native one have the same
//! labels and a value at the same step, neither counts.

use std::collections::HashMap;

use super::buckets::{self, Bucket};
use super::columns::{Args, drop_histograms};
use super::native::{self, NanObservations};
use super::{CallContext, FunctionError};
use crate::encoding::go_float;
use crate::model::{FloatHistogram, LabelSet, METRIC_NAME};
use crate::promql::annotations::Annotation;
use crate::promql::parser::ast::Span;
use crate::promql::value::{ABSENT, SeriesSteps, StepsValue, is_absent};

type Result = std::result::Result<StepsValue, FunctionError>;

const BUCKET_LABEL: &str = "le";

/// A classic histogram: its labels without `le`, and its bucket series with their bounds.
struct Classic {
    labels: LabelSet,
    buckets: Vec<(f64, SeriesSteps)>,
    /// Steps at which a native histogram of the same labels makes the classic one ambiguous.
    conflicts: Vec<u32>,
}

/// A native histogram over all steps.
struct Native {
    labels: LabelSet,
    histograms: Vec<(u32, FloatHistogram)>,
    step_count: usize,
}

/// Gathers bucket series into classic histograms, and tells native ones apart. Series without a valid `le` are noted and
/// left out.
fn gather(context: &CallContext<'_>, vector: Vec<SeriesSteps>, span: Span) -> (Vec<Native>, Vec<Classic>) {
    let mut classics: Vec<Classic> = Vec::new();
    let mut index_of: HashMap<LabelSet, usize> = HashMap::new();
    let mut natives: Vec<Native> = Vec::new();
    for mut series in vector {
        if !series.histograms.is_empty() {
            let (labels, step_count) = (series.labels.clone(), series.values.len());
            natives.push(Native { labels, histograms: drop_histograms(&mut series), step_count });
        }
        if series.values.iter().copied().all(is_absent) {
            continue;
        }
        let text = series.labels.get(BUCKET_LABEL).unwrap_or_default();
        let Some(upper_bound) = go_float::parse(text) else {
            context.note(Annotation::bad_bucket_label(context.shown_name(&series.labels), text, span));
            continue;
        };
        let labels = series.labels.without(|name| name == BUCKET_LABEL);
        let index = *index_of.entry(labels.clone()).or_insert(classics.len());
        if index == classics.len() {
            classics.push(Classic { labels, buckets: Vec::new(), conflicts: Vec::new() });
        }
        classics[index].buckets.push((upper_bound, series));
    }
    for native in &mut natives {
        let Some(classic) = index_of.get(&native.labels).map(|&index| &mut classics[index]) else {
            continue;
        };
        let has_classic = |step: u32| {
            classic.buckets.iter().any(|(_, series)| series.values.get(step as usize).is_some_and(|v| !is_absent(*v)))
        };
        classic.conflicts = native.histograms.iter().map(|(step, _)| *step).filter(|&step| has_classic(step)).collect();
        if !classic.conflicts.is_empty() {
            native.histograms.retain(|(step, _)| classic.conflicts.binary_search(step).is_err());
            let name = context.shown_name(&native.labels);
            context.note(Annotation::mixed_classic_native_histograms(name, span));
        }
    }
    (natives, classics)
}

impl Native {
    /// One value per step at which there is a histogram.
    fn evaluate(&self, mut f: impl FnMut(usize, &FloatHistogram) -> f64) -> SeriesSteps {
        let mut values = vec![ABSENT; self.step_count];
        for (step, histogram) in &self.histograms {
            if let Some(value) = values.get_mut(*step as usize) {
                *value = f(*step as usize, histogram);
            }
        }
        SeriesSteps { labels: self.labels.clone(), drop_name: true, values, histograms: Vec::new() }
    }

    fn quantile(&self, context: &CallContext<'_>, wanted: &[f64], span: Span) -> SeriesSteps {
        let name = context.shown_name(&self.labels);
        self.evaluate(|step, histogram| {
            let (result, nan) = native::quantile(wanted[step], histogram);
            match nan {
                NanObservations::None => {}
                NanObservations::AreResult => context.note(Annotation::native_quantile_nan_result(name, span)),
                NanObservations::Skew => context.note(Annotation::native_quantile_nan_skew(name, span)),
            }
            result
        })
    }

    fn fraction(&self, context: &CallContext<'_>, lower: &[f64], upper: &[f64], span: Span) -> SeriesSteps {
        let name = context.shown_name(&self.labels);
        self.evaluate(|step, histogram| {
            let (result, nan) = native::fraction(lower[step], upper[step], histogram);
            if nan != NanObservations::None {
                context.note(Annotation::native_fraction_nans(name, span));
            }
            result
        })
    }
}

impl Classic {
    /// One value per step from the buckets that have a value there.
    fn evaluate(&self, mut f: impl FnMut(usize, &mut Vec<Bucket>) -> f64) -> SeriesSteps {
        let steps = self.buckets.first().map_or(0, |(_, series)| series.values.len());
        let mut at_step: Vec<Bucket> = Vec::with_capacity(self.buckets.len());
        let value_at = |step: usize| {
            at_step.clear();
            at_step.extend(self.buckets.iter().filter_map(|(upper_bound, series)| {
                let count = series.values[step];
                (!is_absent(count)).then_some(Bucket { upper_bound: *upper_bound, count })
            }));
            let ambiguous = self.conflicts.binary_search(&(step as u32)).is_ok();
            if at_step.is_empty() || ambiguous { ABSENT } else { f(step, &mut at_step) }
        };
        let values = (0..steps).map(value_at).collect();
        SeriesSteps { labels: self.labels.clone(), drop_name: true, values, histograms: Vec::new() }
    }

    fn quantile(&self, context: &CallContext<'_>, wanted: &[f64], span: Span) -> SeriesSteps {
        self.evaluate(|step, at_step| {
            let (result, repair) = buckets::quantile(wanted[step], at_step);
            if let Some(repair) = repair {
                let name = context.shown_name(&self.labels);
                let at_ms = context.steps.at(step);
                let note = Annotation::forced_monotonicity(name, span, at_ms, repair.bounds, repair.max_diff);
                context.note(note);
            }
            result
        })
    }
}

fn check_quantile(context: &CallContext<'_>, wanted: &[f64], span: Span) {
    let mut last_noted = None;
    for &value in wanted.iter().filter(|value| !(0.0..=1.0).contains(*value)) {
        if last_noted.replace(value.to_bits()) != Some(value.to_bits()) {
            context.note(Annotation::invalid_quantile(value, span));
        }
    }
}

/// `histogram_quantile(q, v)`
pub(super) fn histogram_quantile(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (wanted, vector) = (args.scalar()?, args.vector()?);
    check_quantile(context, &wanted, context.span_of_arg(0));
    let span = context.span_of_arg(1);
    let (natives, classics) = gather(context, vector, span);
    let of_natives = natives.iter().map(|native| native.quantile(context, &wanted, span));
    let of_classics = classics.iter().map(|classic| classic.quantile(context, &wanted, span));
    Ok(StepsValue::Vector(of_natives.chain(of_classics).collect()))
}

/// `histogram_quantiles(v, label, q...)`: several quantiles, told apart by a label.
pub(super) fn histogram_quantiles(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (vector, label) = (args.vector()?, args.string()?);
    let span = context.span_of_arg(0);
    let (natives, classics) = gather(context, vector, span);
    let mut result = Vec::new();
    for index in 2.. {
        if args.is_empty() {
            break;
        }
        let wanted = args.scalar()?;
        check_quantile(context, &wanted, context.span_of_arg(index));
        let of_natives = natives.iter().map(|native| native.quantile(context, &wanted, span));
        let of_classics = classics.iter().map(|classic| classic.quantile(context, &wanted, span));
        for series in of_natives.chain(of_classics) {
            split_by_quantile(series, &label, &wanted, &mut result);
        }
    }
    Ok(StepsValue::Vector(result))
}

/// The quantile is part of the labels, and may be another one at each step.
fn split_by_quantile(series: SeriesSteps, label: &str, wanted: &[f64], into: &mut Vec<SeriesSteps>) {
    let mut distinct: Vec<u64> = wanted.iter().map(|value| value.to_bits()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    for bits in distinct {
        let mut builder = series.labels.to_builder();
        builder.set(label, &go_float::open_metrics(f64::from_bits(bits)));
        let at = |(value, &of): (&f64, &f64)| if of.to_bits() == bits { *value } else { ABSENT };
        into.push(SeriesSteps {
            labels: builder.build(),
            drop_name: series.drop_name,
            values: series.values.iter().zip(wanted).map(at).collect(),
            histograms: Vec::new(),
        });
    }
}

/// `histogram_fraction(lower, upper, v)`
pub(super) fn histogram_fraction(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (lower, upper, vector) = (args.scalar()?, args.scalar()?, args.vector()?);
    let span = context.span_of_arg(2);
    let (natives, classics) = gather(context, vector, span);
    let of_natives = natives.iter().map(|native| native.fraction(context, &lower, &upper, span));
    let of_classics = classics
        .iter()
        .map(|classic| classic.evaluate(|step, at_step| buckets::fraction(lower[step], upper[step], at_step)));
    Ok(StepsValue::Vector(of_natives.chain(of_classics).collect()))
}

/// Applies `f` to every native histogram. Floats have no result.
fn of_native(context: &CallContext<'_>, args: Vec<StepsValue>, f: fn(&FloatHistogram) -> f64) -> Result {
    let vector = Args::new(context.call.function.name, args).vector()?;
    let with_histograms = vector.into_iter().filter(|series| !series.histograms.is_empty()).map(|mut series| {
        series.values.fill(ABSENT);
        for (step, histogram) in series.histograms.drain(..) {
            if let Some(value) = series.values.get_mut(step as usize) {
                *value = f(&histogram);
            }
        }
        // Of the labels that describe the metric, only the name goes at once.
        if context.delayed_names {
            series.drop_name = true;
        } else {
            series.labels = series.labels.without(|name| name == METRIC_NAME);
        }
        series
    });
    Ok(StepsValue::Vector(with_histograms.collect()))
}

macro_rules! of_native {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
                of_native(context, args, $f)
            }
        )*
    };
}

of_native! {
    /// `histogram_avg`
    avg = |histogram| histogram.sum / histogram.count;
    /// `histogram_count`
    count = |histogram| histogram.count;
    /// `histogram_stddev`
    stddev = |histogram| native::variance(histogram).sqrt();
    /// `histogram_stdvar`
    stdvar = native::variance;
    /// `histogram_sum`
    sum = |histogram| histogram.sum;
}
