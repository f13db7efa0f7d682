//! Points of exponential histograms: native histograms.
//!
//! Source: Prometheus 3.14 `prometheusremotewrite/histograms.go` (`exponentialToNativeHistogram`); OpenTelemetry's
//! "Prometheus and OpenMetrics Compatibility", "Exponential Histograms".

use std::ops::Range;

use super::layout::name_labels;
use super::warnings::Category;
use super::{Counting, Family, Refused, Translator, describe, is_end, time_ms};
use crate::ingest::otlp::model::{Exemplar, ExponentialBuckets, ExponentialPoint, PointHead};
use crate::model::histogram::BucketSpan;
use crate::model::{Histogram, SampleValue, TimestampMs, is_stale_nan};
use crate::storage::RejectReason;

/// The coarsest resolution that is stored.
const SCALE_MIN: i32 = -4;
/// The finest resolution that is stored. Finer ones are made coarser.
const SCALE_MAX: i32 = 8;
/// Half the width of the zero bucket where a point does not say it.
const ZERO_THRESHOLD: f64 = 1e-128;
/// So many empty buckets between two others take no more room than a new span does.
const GAP_KEPT: i64 = 2;

/// Spans of buckets and their counts, each less the one before it, from indexes that rise and counts. Empty buckets are
/// left out where that saves something.
pub(super) fn spans_of(buckets: impl Iterator<Item = (i64, u64)>) -> Result<(Vec<BucketSpan>, Vec<i64>), String> {
    let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut end, mut before) = (0i64, 0i64);
    for (index, count) in buckets.filter(|(_, count)| *count > 0) {
        let count = i64::try_from(count).map_err(|_too_many| format!("a bucket has {count} observations"))?;
        let gap = index - end;
        match spans.last_mut() {
            Some(span) if gap <= GAP_KEPT => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += gap as u32 + 1;
            }
            Some(_) | None => {
                let offset = i32::try_from(gap).map_err(|_too_far| format!("a bucket has the index {index}"))?;
                spans.push(BucketSpan { offset, length: 1 });
            }
        }
        deltas.push(count - before);
        (end, before) = (index + 1, count);
    }
    Ok((spans, deltas))
}

/// The buckets of one side, `steps` times coarser.
fn side(buckets: &ExponentialBuckets, steps: u32) -> Result<(Vec<BucketSpan>, Vec<i64>), Refused> {
    // Here the bucket with index 0 begins at 1, in Prometheus it ends there.
    let index = |place: usize| ((i64::from(buckets.offset) + place as i64) >> steps.min(63)) + 1;
    let mut merged: Vec<(i64, u64)> = Vec::with_capacity(buckets.counts.len());
    for (place, count) in buckets.counts.iter().enumerate() {
        match merged.last_mut() {
            Some((last, sum)) if *last == index(place) => {
                *sum = sum.checked_add(*count).ok_or_else(|| invalid("the counts of buckets are too large".into()))?;
            }
            Some(_) | None => merged.push((index(place), *count)),
        }
    }
    spans_of(merged.into_iter()).map_err(invalid)
}

fn invalid(why: String) -> Refused {
    (RejectReason::InvalidHistogram, why)
}

/// The point as a native histogram.
fn native(point: &ExponentialPoint<'_>, counting: Counting) -> Result<Histogram, Refused> {
    let sum = point.sum.unwrap_or_default();
    if is_end(&point.head) || is_stale_nan(sum) {
        return Ok(Histogram::stale());
    }
    let &ExponentialPoint { scale, zero_threshold, .. } = point;
    if scale < SCALE_MIN {
        return Err(invalid(format!("exponential histogram has the scale {scale}, and {SCALE_MIN} is the coarsest")));
    }
    if !zero_threshold.is_finite() || zero_threshold < 0.0 {
        return Err(invalid(format!("exponential histogram has the zero threshold {zero_threshold}")));
    }
    let steps = (scale - SCALE_MAX).max(0).unsigned_abs();
    let (positive_spans, positive_deltas) = side(&point.positive, steps)?;
    let (negative_spans, negative_deltas) = side(&point.negative, steps)?;
    let histogram = Histogram {
        schema: scale.min(SCALE_MAX),
        counter_reset_hint: counting.reset_hint(),
        zero_threshold: if zero_threshold == 0.0 { ZERO_THRESHOLD } else { zero_threshold },
        zero_count: point.zero_count,
        count: point.count,
        sum,
        positive_spans,
        positive_deltas,
        negative_spans,
        negative_deltas,
        custom_values: Vec::new(),
    };
    histogram.validate().map_err(|error| invalid(error.to_string()))?;
    Ok(histogram)
}

impl<'a> Translator<'_, 'a> {
    /// Adds the points of an exponential histogram.
    pub(super) fn exponential_histograms(
        &mut self,
        family: &Family,
        points: &[ExponentialPoint<'a>],
        counting: Counting,
    ) {
        let [name] = name_labels(&family.name, [""]);
        for point in points {
            let parts = (&point.head, &point.exemplars[..]);
            self.native_histogram(family, &name, parts, counting, |this, labels| {
                let histogram = native(point, counting)?;
                match this.deltas.as_mut().filter(|_| counting == Counting::Delta && !histogram.is_stale()) {
                    Some(deltas) => {
                        let changes = deltas.changes(&this.output);
                        let id = changes.id(&family.name, this.output.bytes.get(labels).unwrap_or_default());
                        changes.native(id, &point.head, &histogram)
                    }
                    None => Ok(histogram),
                }
            });
        }
    }

    /// Adds a point as a native histogram, or refuses it. `value` reads it; its labels stand in the output by then.
    pub(super) fn native_histogram(
        &mut self,
        family: &Family,
        name: &[u8],
        (head, exemplars): (&PointHead<'a>, &[Exemplar<'a>]),
        counting: Counting,
        value: impl FnOnce(&mut Self, Range<usize>) -> Result<Histogram, Refused>,
    ) {
        self.output.begin_point();
        if !self.output.reserve(1, 0) {
            return;
        }
        let start = self.output.bytes.len();
        let labelled = self.labelled(head, name);
        let read = labelled.and_then(|timestamp_ms| Ok((timestamp_ms, value(self, start..self.output.bytes.len())?)));
        match read {
            Ok((timestamp_ms, histogram)) => {
                if !histogram.is_stale() && histogram.count == 0 && histogram.sum != 0.0 {
                    self.warnings.add(Category::HistogramZeroCountNonZeroSum, || {
                        format!(
                            "a histogram of the metric {:?} has a sum other than 0 of 0 observations",
                            family.sent_as
                        )
                    });
                }
                let began_ms = self.start_ms(head, counting);
                let value = SampleValue::Histogram(Box::new(histogram));
                self.output.push_histogram(start, timestamp_ms, value, began_ms);
                if self.output.is_full() {
                    return;
                }
                self.exemplars(exemplars.iter(), timestamp_ms);
                self.output.end_point();
                self.note_time(timestamp_ms);
            }
            Err((reason, why)) => {
                self.output.bytes.truncate(start);
                self.output.refuse_point(reason, (1, exemplars.len()), || describe(&why, &family.sent_as, head));
            }
        }
    }

    /// Writes the labels of a point's only series. Gives its time.
    fn labelled(&mut self, head: &PointHead<'a>, name: &[u8]) -> Result<TimestampMs, Refused> {
        let timestamp_ms = time_ms(head)?;
        self.plain
            .fit(&head.attributes, &self.shared, self.options.label_naming(), &mut self.warnings)
            .map_err(|why| (RejectReason::InvalidLabels, why))?;
        self.plain.write(self.output.bytes, &head.attributes, name);
        Ok(timestamp_ms)
    }
}
