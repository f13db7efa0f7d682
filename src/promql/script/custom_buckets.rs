//! `load_with_nhcb`: classic histograms, loaded a second time as native ones with custom buckets.

use std::collections::BTreeMap;

use super::command::LoadedSeries;
use crate::encoding::go_float;
use crate::model::histogram::BucketSpan;
use crate::model::{FloatHistogram, LabelSet, METRIC_NAME, TimestampMs};
use crate::promql::parser::series_description::SequenceValue;

/// The schema number of custom buckets.
const CUSTOM_BUCKETS: i32 = -53;

/// What is known of one classic histogram at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// What a series of a classic histogram tells of it.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// The native histograms that the classic ones among `series` make: labels, time and value, in the order of time. An error
/// where the counts of one contradict each other.
pub(super) fn convert(
    series: &[LoadedSeries],
    step_ms: i64,
) -> Result<Vec<(LabelSet, TimestampMs, FloatHistogram)>, String> {
    let mut classics: BTreeMap<(LabelSet, TimestampMs), Classic> = BTreeMap::new();
    for LoadedSeries { labels, values, .. } in series {
        let Some((labels, part)) = part_of(labels) else {
            continue;
        };
        for (step, value) in values.iter().enumerate() {
            let SequenceValue::Float(value) = *value else {
                continue;
            };
            let classic = classics.entry((labels.clone(), step_ms.saturating_mul(step as i64))).or_default();
            match part {
                Part::Bucket(bound) => classic.buckets.push((bound, value)),
                Part::Count => classic.count = Some(value),
                Part::Sum => classic.sum = value,
            }
        }
    }
    let native = |((labels, at_ms), classic): ((LabelSet, TimestampMs), Classic)| {
        let histogram = classic.into_native().map_err(|fault| format!("{fault} in {labels} at {at_ms} ms"))?;
        Ok((labels, at_ms, histogram))
    };
    classics.into_iter().map(native).collect()
}

/// The labels of the histogram that a series belongs to, and what it tells of it.
fn part_of(labels: &LabelSet) -> Option<(LabelSet, Part)> {
    let name = labels.metric_name()?;
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound = go_float::parse(labels.get("le")?).filter(|bound| !bound.is_nan())?;
        (base, Part::Bucket(bound))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        (name.strip_suffix("_sum")?, Part::Sum)
    };
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, base).remove("le");
    Some((builder.build(), part))
}

impl Classic {
    fn into_native(mut self) -> Result<FloatHistogram, &'static str> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Where one bound is written in two ways, the first counts.
        self.buckets.dedup_by_key(|(bound, _)| *bound);
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or_default();
        if count < 0.0 {
            return Err("count must be non-negative");
        }
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut counts = Vec::with_capacity(self.buckets.len());
        for &(_, cumulative) in &self.buckets {
            if cumulative < below {
                return Err("count is not cumulative");
            }
            counts.push(cumulative - below);
            below = cumulative;
        }
        if below != count {
            return Err("count mismatch");
        }
        let length = counts.len() as u32;
        Ok(FloatHistogram {
            schema: CUSTOM_BUCKETS,
            count,
            sum: self.sum,
            positive_spans: vec![BucketSpan { offset: 0, length }],
            positive_buckets: counts,
            custom_values: self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
            ..FloatHistogram::default()
        })
    }
}
