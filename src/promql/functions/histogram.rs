//! Functions of histograms. Classic ones are gathered from their buckets; native ones give nothing yet, except that
//! they stand in the way of classic ones of the same labels.

use std::collections::HashMap;

use super::buckets::{Bucket, fraction, quantile};
use super::columns::Args;
use super::{CallContext, FunctionError};
use crate::encoding::go_float;
use crate::model::LabelSet;
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

/// Gathers bucket series into histograms. Series without a valid `le` are noted and left out.
fn gather(context: &CallContext<'_>, vector: Vec<SeriesSteps>, span: Span) -> Vec<Classic> {
    let mut classics: Vec<Classic> = Vec::new();
    let mut index_of: HashMap<LabelSet, usize> = HashMap::new();
    let mut natives = Vec::new();
    for mut series in vector {
        if !series.histograms.is_empty() {
            let steps: Vec<u32> = series.histograms.iter().map(|(step, _)| *step).collect();
            natives.push((series.labels.clone(), steps));
            super::columns::drop_histograms(&mut series);
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
    for (labels, steps) in natives {
        let Some(classic) = index_of.get(&labels).map(|&index| &mut classics[index]) else {
            continue;
        };
        let has_classic = |step: u32| {
            classic.buckets.iter().any(|(_, series)| series.values.get(step as usize).is_some_and(|v| !is_absent(*v)))
        };
        classic.conflicts = steps.into_iter().filter(|&step| has_classic(step)).collect();
        if !classic.conflicts.is_empty() {
            let name = context.shown_name(&labels);
            context.note(Annotation::mixed_classic_native_histograms(name, span));
        }
    }
    classics
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
        self.evaluate(|step, buckets| {
            let (result, repair) = quantile(wanted[step], buckets);
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
    let classics = gather(context, vector, span);
    Ok(StepsValue::Vector(classics.iter().map(|classic| classic.quantile(context, &wanted, span)).collect()))
}

/// `histogram_quantiles(v, label, q...)`: several quantiles, told apart by a label.
pub(super) fn histogram_quantiles(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let (vector, label) = (args.vector()?, args.string()?);
    let span = context.span_of_arg(0);
    let classics = gather(context, vector, span);
    let mut result = Vec::new();
    for index in 2.. {
        if args.is_empty() {
            break;
        }
        let wanted = args.scalar()?;
        check_quantile(context, &wanted, context.span_of_arg(index));
        for series in classics.iter().map(|classic| classic.quantile(context, &wanted, span)) {
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
    let classics = gather(context, vector, context.span_of_arg(2));
    let evaluate = |classic: &Classic| classic.evaluate(|step, buckets| fraction(lower[step], upper[step], buckets));
    Ok(StepsValue::Vector(classics.iter().map(evaluate).collect()))
}

/// `histogram_count`, `histogram_sum` and their like: floats have none of these.
pub(super) fn of_native(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    Args::new(context.call.function.name, args).vector()?;
    Ok(StepsValue::Vector(Vec::new()))
}
