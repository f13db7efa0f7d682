//! Points of histograms with explicit boundaries: series of counts, or native histograms with custom buckets.
//!
//! Source: Prometheus 3.14 `prometheusremotewrite/helper.go` (`addHistogramDataPoints`), `histograms.go`
//! (`explicitHistogramToCustomBucketsHistogram`).

use std::ops::Range;

use super::exponential::spans_of;
use super::layout::name_labels;
use super::total::ExplicitTotal;
use super::{Counting, Family, Refused, Translator, describe, is_end, time_ms};
use crate::encoding::go_float;
use crate::ingest::otlp::model::{Exemplar, HistogramPoint};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{CounterResetHint, Histogram, is_stale_nan, stale_nan};
use crate::storage::RejectReason;

/// How many samples a point becomes.
pub(super) fn samples_of(point: &HistogramPoint<'_>, nhcb: bool) -> usize {
    // Those of the boundaries, `+Inf`, the count, and the sum.
    if nhcb { 1 } else { point.explicit_bounds.len() + 2 + usize::from(point.sum.is_some() || is_end(&point.head)) }
}

/// Refuses a point whose buckets don't fit its boundaries or its count.
pub(super) fn check(point: &HistogramPoint<'_>) -> Result<(), Refused> {
    let refuse = |why: String| Err((RejectReason::InvalidHistogram, why));
    let HistogramPoint { explicit_bounds: bounds, bucket_counts: counts, .. } = point;
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return refuse(format!("histogram has the boundary {bound}, which is not finite"));
    }
    if let Some([low, high]) = bounds.array_windows().find(|[low, high]| low >= high) {
        return refuse(format!("histogram has the boundary {high} behind {low}, and boundaries have to rise"));
    }
    if is_end(&point.head) {
        return Ok(());
    }
    if counts.len() != bounds.len() + 1 && !(counts.is_empty() && bounds.is_empty()) {
        return refuse(format!("histogram has {} buckets for {} boundaries", counts.len(), bounds.len()));
    }
    let in_buckets: u128 = counts.iter().map(|count| u128::from(*count)).sum();
    if in_buckets > u128::from(point.count) {
        return refuse(format!("histogram has {in_buckets} observations in buckets, but a count of {}", point.count));
    }
    Ok(())
}

/// Exemplars with the index of their bucket, in the order of these.
fn by_bucket<'e, 'a>(point: &'e HistogramPoint<'a>) -> Vec<(usize, &'e Exemplar<'a>)> {
    let bucket = |exemplar: &Exemplar<'_>| match exemplar.value.map(super::numbers::float) {
        Some(value) if !value.is_nan() => point.explicit_bounds.partition_point(|bound| *bound < value),
        Some(_) | None => point.explicit_bounds.len(),
    };
    let mut sorted: Vec<_> = point.exemplars.iter().map(|exemplar| (bucket(exemplar), exemplar)).collect();
    sorted.sort_by_key(|(bucket, exemplar)| (*bucket, exemplar.unix_nanos));
    sorted
}

/// The point as a native histogram.
fn custom_histogram(point: &HistogramPoint<'_>, counting: Counting) -> Result<Histogram, Refused> {
    let sum = point.sum.unwrap_or_default();
    if is_end(&point.head) || is_stale_nan(sum) {
        return Ok(Histogram::stale());
    }
    // Without buckets there is one for all observations.
    let all = [point.count];
    let counts = if point.bucket_counts.is_empty() { &all[..] } else { &point.bucket_counts };
    let (positive_spans, positive_deltas) = spans_of(counts.iter().enumerate().map(|(i, count)| (i as i64, *count)))
        .map_err(|why| (RejectReason::InvalidHistogram, why))?;
    let histogram = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        counter_reset_hint: counting.reset_hint(),
        count: point.count,
        sum,
        positive_spans,
        positive_deltas,
        custom_values: point.explicit_bounds.clone(),
        ..Histogram::default()
    };
    histogram.validate().map_err(|error| (RejectReason::InvalidHistogram, error.to_string()))?;
    Ok(histogram)
}

impl Counting {
    /// What is known about resets of a histogram's counts. Nobody looked, so nothing; deltas have none.
    pub(super) fn reset_hint(self) -> CounterResetHint {
        match self {
            Counting::AsItIs | Counting::Delta => CounterResetHint::Unknown,
            Counting::NativeDelta => CounterResetHint::Gauge,
        }
    }
}

impl<'a> Translator<'_, 'a> {
    /// Adds points as native histograms with custom buckets.
    pub(super) fn custom_histograms(&mut self, family: &Family, points: &[HistogramPoint<'a>], counting: Counting) {
        let [name] = name_labels(&family.name, [""]);
        for point in points {
            let parts = (&point.head, &point.exemplars[..]);
            self.native_histogram(family, &name, parts, counting, |this, labels| {
                check(point)?;
                let total = this.explicit_total(family, point, labels, counting)?;
                custom_histogram(total.as_ref().unwrap_or(point), counting)
            });
        }
    }

    /// What a delta comes to, where deltas are added up: the labels of its series stand at `labels` in the output.
    fn explicit_total(
        &mut self,
        family: &Family,
        point: &HistogramPoint<'a>,
        labels: Range<usize>,
        counting: Counting,
    ) -> Result<Option<HistogramPoint<'a>>, Refused> {
        let Some(deltas) = self.deltas.as_mut().filter(|_| counting == Counting::Delta && !is_end(&point.head)) else {
            return Ok(None);
        };
        let delta = ExplicitTotal {
            bounds: point.explicit_bounds.clone(),
            counts: point.bucket_counts.clone(),
            count: point.count,
            sum: point.sum,
        };
        let changes = deltas.changes(&self.output);
        let id = changes.id(&family.name, self.output.bytes.get(labels).unwrap_or_default());
        let ExplicitTotal { bounds, counts, count, sum } = changes.explicit(id, &point.head, delta)?;
        Ok(Some(HistogramPoint { bucket_counts: counts, explicit_bounds: bounds, count, sum, ..point.clone() }))
    }

    /// Adds points as series of counts.
    pub(super) fn histograms(&mut self, family: &Family, points: &[HistogramPoint<'a>], counting: Counting) {
        let [sum_name, count_name, bucket_name] = name_labels(&family.name, ["_sum", "_count", "_bucket"]);
        let naming = self.options.label_naming();
        let mut le = Vec::new();
        for point in points {
            self.output.begin_point();
            let head = &point.head;
            let samples = samples_of(point, false);
            let parts = (samples, point.exemplars.len());
            let read = || {
                check(point)?;
                time_ms(head)
            };
            let timestamp_ms = match read() {
                Ok(timestamp_ms) => timestamp_ms,
                Err((reason, why)) => {
                    self.output.refuse_point(reason, parts, || describe(&why, &family.sent_as, head));
                    continue;
                }
            };
            if let Err(why) = self.with_le.fit(&head.attributes, &self.shared, naming, &mut self.warnings) {
                self.output.refuse_point(RejectReason::InvalidLabels, parts, || describe(&why, &family.sent_as, head));
                continue;
            }
            let labels = self.with_le.write_parts(self.output.bytes, &head.attributes);
            if !self.output.reserve(samples, labels.bytes() + bucket_name.len()) {
                return;
            }
            let total = match self.explicit_total(family, point, labels.all(), counting) {
                Ok(total) => total,
                Err((reason, why)) => {
                    self.output.bytes.truncate(labels.all().start);
                    self.output.refuse_point(reason, parts, || describe(&why, &family.sent_as, head));
                    continue;
                }
            };
            let point = total.as_ref().unwrap_or(point);
            let (is_end, began_ms) = (is_end(head), self.start_ms(head, counting));
            let count = |count: u64| if is_end { stale_nan() } else { count as f64 };
            if let Some(sum) = if is_end { Some(stale_nan()) } else { point.sum } {
                self.output.push_series(&labels, (&sum_name, None), timestamp_ms, sum, began_ms);
            }
            self.output.push_series(&labels, (&count_name, None), timestamp_ms, count(point.count), began_ms);
            let exemplars = by_bucket(point);
            let mut exemplars = exemplars.chunk_by(|(a, _), (b, _)| a == b).peekable();
            let mut cumulative = 0u64;
            for bucket in 0..=point.explicit_bounds.len() {
                le.clear();
                let value = match point.explicit_bounds.get(bucket) {
                    Some(bound) => {
                        go_float::write_plain(&mut le, *bound);
                        cumulative += point.bucket_counts.get(bucket).copied().unwrap_or_default();
                        count(cumulative)
                    }
                    None => {
                        le.extend_from_slice(b"+Inf");
                        count(point.count)
                    }
                };
                let name = (&bucket_name[..], Some(("le", &le[..])));
                self.output.push_series(&labels, name, timestamp_ms, value, began_ms);
                if let Some(own) = exemplars.next_if(|own| own.first().is_some_and(|(at, _)| *at == bucket)) {
                    self.exemplars(own.iter().map(|(_, exemplar)| *exemplar), timestamp_ms);
                }
            }
            self.output.end_point();
            self.note_time(timestamp_ms);
        }
    }
}
