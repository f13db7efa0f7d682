//! Between scalars and vectors, absence, and the order of series.

use std::cmp::Ordering;

use super::columns::{Args, absent_labels, drop_histograms};
use super::{CallContext, FunctionError};
use crate::model::LabelSet;
use crate::promql::annotations::Annotation;
use crate::promql::value::{ABSENT, SeriesSteps, StepsValue, is_absent};

type Result = std::result::Result<StepsValue, FunctionError>;

/// `vector(s)`: one series without labels.
pub(super) fn vector(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let values = Args::new(context.call.function.name, args).scalar()?;
    let series = SeriesSteps { labels: LabelSet::empty(), drop_name: false, values, histograms: Vec::new() };
    Ok(StepsValue::Vector(vec![series]))
}

/// `scalar(v)`: the one float of each step; NaN where there is none or more than one.
pub(super) fn scalar(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let mut vector = Args::new(context.call.function.name, args).vector()?;
    let mut values = vec![f64::NAN; context.steps.count];
    let mut found = vec![0u8; context.steps.count];
    for series in &mut vector {
        drop_histograms(series);
        for (step, &value) in series.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            found[step] = found[step].saturating_add(1);
            values[step] = if found[step] == 1 { value } else { f64::NAN };
        }
    }
    Ok(StepsValue::Scalar(values))
}

/// `absent(v)`: 1 where the vector is empty, with the labels that the selector asks for.
pub(super) fn absent(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    let vector = Args::new(context.call.function.name, args).vector()?;
    let is_present = |step: usize| vector.iter().any(|series| !is_absent(series.values[step]));
    let values = (0..context.steps.count).map(|step| if is_present(step) { ABSENT } else { 1.0 }).collect();
    let labels = context.call.args.first().map_or_else(LabelSet::empty, absent_labels);
    Ok(StepsValue::Vector(vec![SeriesSteps { labels, drop_name: false, values, histograms: Vec::new() }]))
}

/// `sort(v)`: by value, rising; NaN last.
pub(super) fn sort(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    sort_by_value(context, args, |a, b| a.partial_cmp(&b))
}

/// `sort_desc(v)`: by value, falling; NaN last.
pub(super) fn sort_desc(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    sort_by_value(context, args, |a, b| b.partial_cmp(&a))
}

fn sort_by_value(
    context: &CallContext<'_>,
    args: Vec<StepsValue>,
    compare: fn(f64, f64) -> Option<Ordering>,
) -> Result {
    let mut vector = Args::new(context.call.function.name, args).vector()?;
    vector.iter_mut().for_each(|series| drop(drop_histograms(series)));
    vector.retain(|series| !series.values.iter().copied().all(is_absent));
    if !refuse_several_steps(context) {
        vector.sort_by(|a, b| {
            let (a, b) = (a.values[0], b.values[0]);
            compare(a, b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
    }
    Ok(StepsValue::Vector(vector))
}

/// `sort_by_label(v, label...)`: by label values in natural order, then by all labels.
pub(super) fn sort_by_label(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    sort_by_labels(context, args, |ordering| ordering)
}

/// `sort_by_label_desc(v, label...)`: the other way round.
pub(super) fn sort_by_label_desc(context: &CallContext<'_>, args: Vec<StepsValue>) -> Result {
    sort_by_labels(context, args, Ordering::reverse)
}

fn sort_by_labels(context: &CallContext<'_>, args: Vec<StepsValue>, direct: fn(Ordering) -> Ordering) -> Result {
    let mut args = Args::new(context.call.function.name, args);
    let mut vector = args.vector()?;
    let mut names = Vec::new();
    while !args.is_empty() {
        names.push(args.string()?);
    }
    if !refuse_several_steps(context) {
        vector.sort_by(|a, b| {
            let by_name = |name: &String| {
                let (a, b) = (a.labels.get(name), b.labels.get(name));
                natural_order(a.unwrap_or_default(), b.unwrap_or_default())
            };
            let by_names = names.iter().map(by_name).find(|ordering| ordering.is_ne());
            direct(by_names.unwrap_or_else(|| a.labels.cmp(&b.labels)))
        });
    }
    Ok(StepsValue::Vector(vector))
}

/// Whether there are several steps: no order of series fits all of them, so there is none, and a warning.
fn refuse_several_steps(context: &CallContext<'_>) -> bool {
    let several = context.steps.count > 1;
    if several {
        context.note(Annotation::sort_in_range_query(context.span));
    }
    several
}

/// Order of texts in which runs of digits compare as numbers.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let (run_a, run_b) = (run(a), run(b));
        let ordering = if run_a[0].is_ascii_digit() && run_b[0].is_ascii_digit() {
            let (number_a, number_b) = (without_leading_zeros(run_a), without_leading_zeros(run_b));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            run_a.cmp(run_b)
        };
        if ordering.is_ne() {
            return ordering;
        }
        (a, b) = (&a[run_a.len()..], &b[run_b.len()..]);
    }
}

/// The longest start of `text` that is all digits, or has none.
fn run(text: &[u8]) -> &[u8] {
    let is_digit = text.first().is_some_and(u8::is_ascii_digit);
    let end = text.iter().position(|byte| byte.is_ascii_digit() != is_digit).unwrap_or(text.len());
    &text[..end]
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_compares_runs_of_digits_as_numbers() {
        let mut texts = ["pod-10", "pod-9", "pod", "pod-2-b", "pod-2-a", "10", "9", ""];
        texts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(texts, ["", "9", "10", "pod", "pod-2-a", "pod-2-b", "pod-9", "pod-10"]);
    }
}
