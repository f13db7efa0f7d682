//! Judges the value of a query. Floats may differ by rounding; everything else must be as expected.

use super::command::{Eval, EvalTimes, Range};
use super::expectation::{ExpectedSeries, Judgement};
use crate::model::histogram::{BucketSpan, CounterResetHint};
use crate::model::{FloatHistogram, LabelSet, is_stale_nan};
use crate::promql::engine::{MatrixSeries, QueryValue, VectorSample};
use crate::promql::functions::nearly_equal;
use crate::promql::parser::series_description::SequenceValue;

/// Relative difference that counts as equal.
const EPSILON: f64 = 0.000_001;

fn same_float(a: f64, b: f64) -> bool {
    is_stale_nan(a) == is_stale_nan(b) && nearly_equal(a, b, EPSILON)
}

/// Judges the value of `eval`'s query.
pub(super) fn judge_value(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    let expectations = &eval.expectations;
    let no_series = Vec::new();
    let series = match &expectations.result {
        Judgement::Series(series) => series,
        _ => &no_series,
    };
    match (value, &expectations.result) {
        (QueryValue::String { value, .. }, _) => {
            let expected = expectations.text.as_deref().unwrap_or_default();
            if value == expected { Ok(()) } else { Err(format!("expected string {expected:?} but got {value:?}")) }
        }
        (QueryValue::Scalar { value, .. }, Judgement::Scalar(expected)) => {
            if same_float(*expected, *value) {
                return Ok(());
            }
            Err(format!("expected scalar {expected} but got {value}"))
        }
        (QueryValue::Scalar { value, .. }, _) => {
            Err(format!("expected vector or matrix result, but got scalar {value}"))
        }
        (QueryValue::Vector(_), Judgement::Scalar(_)) => Err("expected scalar result, but got vector".to_owned()),
        (QueryValue::Matrix(_), Judgement::Scalar(_)) => Err("expected scalar result, but got matrix".to_owned()),
        (QueryValue::Vector(samples), _) => judge_vector(samples, series, expectations.ordered),
        (QueryValue::Matrix(_), _) if expectations.ordered => {
            Err("expected ordered result, but query returned a matrix".to_owned())
        }
        (QueryValue::Matrix(matrix), _) => {
            let at = |at_ms| Range { start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
            let range = expectations.range_vector.unwrap_or_else(|| match eval.times {
                EvalTimes::Instant(at_ms) => at(at_ms),
                EvalTimes::Range(range) => range,
            });
            judge_matrix(matrix, series, range)
        }
    }
}

/// Judges the samples that a range query gave at `at_ms`, as the result of an instant query there.
pub(super) fn judge_step(eval: &Eval, value: &QueryValue, at_ms: i64, is_scalar: bool) -> Result<(), String> {
    let QueryValue::Matrix(matrix) = value else {
        return Err("expected a matrix as the result of a range query".to_owned());
    };
    check_sorted(matrix)?;
    let at_step = |series: &MatrixSeries| {
        let index = series.samples.timestamps_ms.binary_search(&at_ms).ok()?;
        let histogram = histogram_at(series, index).cloned().map(Box::new);
        let value = if histogram.is_some() { 0.0 } else { series.samples.values[index] };
        Some(VectorSample { labels: series.labels.clone(), timestamp_ms: at_ms, value, histogram })
    };
    let samples: Vec<VectorSample> = matrix.iter().filter_map(at_step).collect();
    let value = match samples.first() {
        Some(sample) if is_scalar => QueryValue::Scalar { timestamp_ms: at_ms, value: sample.value },
        _ => QueryValue::Vector(samples),
    };
    judge_value(eval, &value)
}

fn judge_vector(samples: &[VectorSample], series: &[ExpectedSeries], ordered: bool) -> Result<(), String> {
    let mut seen = vec![false; series.len()];
    for (place, sample) in samples.iter().enumerate() {
        let index = find(series, &sample.labels)
            .ok_or_else(|| format!("unexpected metric {} in result, has value {}", sample.labels, shown(sample)))?;
        if ordered && index != place {
            let (expected, got) = (index + 1, place + 1);
            return Err(format!("expected metric {} at position {expected} but was at {got}", sample.labels));
        }
        if std::mem::replace(&mut seen[index], true) {
            return Err(format!("metric {} is twice in result", sample.labels));
        }
        let fits = match (series[index].values.first(), &sample.histogram) {
            (Some(SequenceValue::Float(expected)), None) => same_float(*expected, sample.value),
            (Some(SequenceValue::Histogram { histogram, is_hint_given }), Some(found)) => {
                same_histogram(histogram, found, *is_hint_given)
            }
            _ => false,
        };
        if !fits {
            let expected = series[index].values.first().map_or_else(|| "nothing".to_owned(), describe);
            return Err(format!("expected {expected} for {} but got {}", sample.labels, shown(sample)));
        }
    }
    check_all_seen(series, &seen)
}

fn judge_matrix(matrix: &[MatrixSeries], series: &[ExpectedSeries], range: Range) -> Result<(), String> {
    check_sorted(matrix)?;
    let mut seen = vec![false; series.len()];
    for found in matrix {
        let index = find(series, &found.labels)
            .ok_or_else(|| format!("unexpected metric {} in result, has {}", found.labels, list(found)))?;
        seen[index] = true;
        let values = &series[index].values;
        let step_at = |step: usize| range.start_ms.saturating_add(range.step_ms.saturating_mul(step as i64));
        if !values.is_empty() && step_at(values.len() - 1) > range.end_ms {
            let count = values.len();
            let labels = &found.labels;
            return Err(format!("expected {count} points for {labels}, but the time range cannot have this many"));
        }
        let expected: Vec<(i64, &SequenceValue)> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| !matches!(value, SequenceValue::Omitted))
            .map(|(step, value)| (step_at(step), value))
            .collect();
        let got = found.samples.len();
        if expected.len() != got {
            let (wanted, labels) = (expected.len(), &found.labels);
            return Err(format!("expected {wanted} points for {labels}, but got {got}: {}", list(found)));
        }
        for (place, (at_ms, value)) in expected.into_iter().enumerate() {
            let fits = match (value, histogram_at(found, place)) {
                (SequenceValue::Float(expected), None) => same_float(*expected, found.samples.values[place]),
                (SequenceValue::Histogram { histogram, is_hint_given }, Some(found)) => {
                    same_histogram(histogram, found, *is_hint_given)
                }
                _ => false,
            };
            if !fits || found.samples.timestamps_ms[place] != at_ms {
                let (labels, value) = (&found.labels, describe(value));
                return Err(format!("expected {value} at {at_ms} ms for {labels}, but got {}", list(found)));
            }
        }
    }
    check_all_seen(series, &seen)
}

fn find(series: &[ExpectedSeries], labels: &LabelSet) -> Option<usize> {
    series.iter().position(|one| one.labels == *labels)
}

fn check_all_seen(series: &[ExpectedSeries], seen: &[bool]) -> Result<(), String> {
    match seen.iter().position(|seen| !seen) {
        Some(index) => Err(format!("expected metric {} not found", series[index].labels)),
        None => Ok(()),
    }
}

fn check_sorted(matrix: &[MatrixSeries]) -> Result<(), String> {
    match matrix.windows(2).find(|pair| pair[0].labels > pair[1].labels) {
        Some(pair) => Err(format!("series are not sorted: {} comes before {}", pair[0].labels, pair[1].labels)),
        None => Ok(()),
    }
}

fn histogram_at(series: &MatrixSeries, index: usize) -> Option<&FloatHistogram> {
    let histograms = &series.samples.histograms;
    histograms.binary_search_by_key(&index, |(at, _)| *at).ok().map(|place| &histograms[place].1)
}

fn describe(value: &SequenceValue) -> String {
    match value {
        SequenceValue::Omitted => "nothing".to_owned(),
        SequenceValue::Float(value) => value.to_string(),
        SequenceValue::Histogram { histogram, .. } => format!("{histogram:?}"),
    }
}

fn shown(sample: &VectorSample) -> String {
    match &sample.histogram {
        Some(histogram) => format!("{histogram:?}"),
        None => sample.value.to_string(),
    }
}

fn list(series: &MatrixSeries) -> String {
    let point = |(index, at_ms): (usize, &i64)| match histogram_at(series, index) {
        Some(histogram) => format!("{histogram:?} @[{at_ms}]"),
        None => format!("{} @[{at_ms}]", series.samples.values[index]),
    };
    series.samples.timestamps_ms.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

/// Whether two histograms hold the same counts in the same buckets; how these are cut into spans does not matter.
fn same_histogram(expected: &FloatHistogram, found: &FloatHistogram, compare_hint: bool) -> bool {
    let hint = |histogram: &FloatHistogram| -> CounterResetHint { histogram.counter_reset_hint };
    expected.schema == found.schema
        && same_float(expected.count, found.count)
        && same_float(expected.sum, found.sum)
        && expected.zero_threshold == found.zero_threshold
        && same_float(expected.zero_count, found.zero_count)
        && expected.custom_values == found.custom_values
        && same_buckets(
            (&expected.positive_spans, &expected.positive_buckets),
            (&found.positive_spans, &found.positive_buckets),
        )
        && same_buckets(
            (&expected.negative_spans, &expected.negative_buckets),
            (&found.negative_spans, &found.negative_buckets),
        )
        && (!compare_hint || hint(expected) == hint(found))
}

type Buckets<'a> = (&'a [BucketSpan], &'a [f64]);

fn same_buckets(a: Buckets<'_>, b: Buckets<'_>) -> bool {
    let (a, b) = (filled(a), filled(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same_float(a.1, b.1))
}

/// Index and count of the buckets that are not empty.
fn filled((spans, counts): Buckets<'_>) -> Vec<(i64, f64)> {
    let mut index = 0i64;
    let mut counts = counts.iter();
    let mut filled = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        for &count in counts.by_ref().take(span.length as usize) {
            if count != 0.0 {
                filled.push((index, count));
            }
            index += 1;
        }
    }
    filled
}
