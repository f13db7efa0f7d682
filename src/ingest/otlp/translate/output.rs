//! What a request becomes, while it is built: entries of a batch whose labels stand one behind the other in a buffer.
//!
//! The batch can borrow from the buffer only when nothing is added to it any more, so until then places are kept.

use std::ops::Range;

use super::layout::PointLabels;
use super::options::TranslateLimits;
use crate::ingest::accept::{Metadata, Points};
use crate::model::{MetricType, RawLabels, Sample, SampleValue, TimestampMs};
use crate::storage::{
    BatchOutcome, ExemplarRejectReason, ExemplarSample, HistogramSample, RejectReason, SeriesEntry, StartSample,
    WriteBatch,
};

/// What a native histogram takes in memory without its buckets, in samples.
const HISTOGRAM_COST: usize = 16;

/// A request would become more than one may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request becomes more than {limit} {what}; send it in parts")]
pub struct TooMuch {
    /// What was counted.
    pub what: &'static str,
    /// The bound.
    pub limit: usize,
}

/// Where the texts of a family's metadata stand.
#[derive(Debug)]
struct MetadataPlaces {
    metric_type: MetricType,
    family: Range<usize>,
    help: Range<usize>,
    unit: Range<usize>,
}

/// The request so far.
pub(super) struct Output<'t, 'a> {
    limits: TranslateLimits,
    /// Labels and texts that the batch and the metadata are going to borrow from.
    pub(super) bytes: &'a mut Vec<u8>,
    batch: &'t mut WriteBatch<'a>,
    /// Labels of each entry.
    labels: Vec<Range<usize>>,
    exemplar_labels: Vec<Range<usize>>,
    metadata: Vec<MetadataPlaces>,
    /// Samples, and what histograms count as.
    cost: usize,
    points: Points,
    first_entry: usize,
    pub(super) refused: BatchOutcome,
    too_much: Option<TooMuch>,
}

/// The request as a whole.
pub(super) struct Finished<'a> {
    pub(super) metadata: Vec<Metadata<'a>>,
    pub(super) points: Points,
    pub(super) refused: BatchOutcome,
}

impl<'t, 'a> Output<'t, 'a> {
    pub(super) fn new(limits: TranslateLimits, bytes: &'a mut Vec<u8>, batch: &'t mut WriteBatch<'a>) -> Self {
        bytes.clear();
        batch.clear();
        Output {
            limits,
            bytes,
            batch,
            labels: Vec::new(),
            exemplar_labels: Vec::new(),
            metadata: Vec::new(),
            cost: 0,
            points: Points::default(),
            first_entry: 0,
            refused: BatchOutcome::default(),
            too_much: None,
        }
    }

    /// Whether the request has become too much, and nothing of it is going to be stored.
    pub(super) fn is_full(&self) -> bool {
        self.too_much.is_some()
    }

    /// Makes sure that so many more series may be added, of which each takes so many bytes and a sample.
    pub(super) fn reserve(&mut self, series: usize, label_bytes: usize) -> bool {
        let TranslateLimits { series: series_max, samples, label_bytes: bytes_max } = self.limits;
        let bytes = series.saturating_mul(label_bytes).saturating_add(self.bytes.len());
        self.too_much = if self.labels.len() + series > series_max {
            Some(TooMuch { what: "series", limit: series_max })
        } else if self.cost + series > samples {
            Some(TooMuch { what: "samples", limit: samples })
        } else if bytes > bytes_max {
            Some(TooMuch { what: "bytes of labels", limit: bytes_max })
        } else {
            return true;
        };
        false
    }

    /// Begins a point: the entries from here to its end are its own.
    #[inline]
    pub(super) fn begin_point(&mut self) {
        self.points.sent += 1;
        self.first_entry = self.labels.len();
    }

    /// The number that the next point gets, if it becomes entries.
    pub(super) fn next_point(&self) -> usize {
        self.points.entries.len()
    }

    /// Ends a point that has become entries.
    #[inline]
    pub(super) fn end_point(&mut self) {
        self.points.entries.push(self.first_entry as u32..self.labels.len() as u32);
    }

    /// Refuses a point that has begun, and would have become so many samples and exemplars.
    pub(super) fn refuse_point(
        &mut self,
        reason: RejectReason,
        (samples, exemplars): (usize, usize),
        detail: impl FnOnce() -> String,
    ) {
        self.points.refused += 1;
        self.refused.exemplars_rejected[ExemplarRejectReason::RefusedSeries as usize] += exemplars as u64;
        self.refused.reject(reason, BatchOutcome::NO_ENTRY, samples as u64, detail);
    }

    /// Adds a series with one sample, whose labels were written from `labels_start` on. What it counts began at `began_ms`;
    /// 0 where no zero is to stand there.
    #[inline]
    pub(super) fn push(&mut self, labels_start: usize, timestamp_ms: TimestampMs, value: f64, began_ms: TimestampMs) {
        self.push_start(timestamp_ms, began_ms, || SampleValue::Float(0.0));
        let first = self.batch.samples.len() as u32;
        self.batch.samples.push(Sample { timestamp_ms, value });
        self.push_entry(labels_start, first);
        self.cost += 1;
    }

    /// Adds the series of a point that has this name and, perhaps, one more label, with one sample.
    pub(super) fn push_series(
        &mut self,
        labels: &PointLabels,
        (name, extra): (&[u8], Option<(&str, &[u8])>),
        timestamp_ms: TimestampMs,
        value: f64,
        began_ms: TimestampMs,
    ) {
        let start = self.bytes.len();
        labels.put(self.bytes, name, extra);
        self.push(start, timestamp_ms, value, began_ms);
    }

    /// Adds the zero of the series that is going to be the next entry.
    #[inline]
    fn push_start(&mut self, before_ms: TimestampMs, timestamp_ms: TimestampMs, zero: impl FnOnce() -> SampleValue) {
        if timestamp_ms != 0 && timestamp_ms < before_ms {
            let entry = self.labels.len() as u32;
            self.batch.starts.push(StartSample { entry, before_ms, timestamp_ms, value: zero() });
        }
    }

    /// Adds a series with one native histogram.
    pub(super) fn push_histogram(
        &mut self,
        labels_start: usize,
        timestamp_ms: TimestampMs,
        value: SampleValue,
        began_ms: TimestampMs,
    ) {
        let buckets = match &value {
            SampleValue::Histogram(histogram) => {
                histogram.positive_deltas.len() + histogram.negative_deltas.len() + histogram.custom_values.len()
            }
            SampleValue::FloatHistogram(_) | SampleValue::Float(_) => 0,
        };
        self.cost = self.cost.saturating_add(HISTOGRAM_COST + buckets);
        if self.cost > self.limits.samples {
            let what = "native histograms and buckets of them, counted as samples,";
            self.too_much = Some(TooMuch { what, limit: self.limits.samples });
            return;
        }
        self.push_start(timestamp_ms, began_ms, || value.zero());
        let entry = self.labels.len() as u32;
        self.batch.histograms.push(HistogramSample { entry, timestamp_ms, value });
        let none = self.batch.samples.len() as u32;
        self.push_entry(labels_start, none);
    }

    #[inline]
    fn push_entry(&mut self, labels_start: usize, first_sample: u32) {
        self.labels.push(labels_start..self.bytes.len());
        let samples = first_sample..self.batch.samples.len() as u32;
        self.batch.series.push(SeriesEntry { labels: RawLabels(&[]), samples });
    }

    /// Adds an exemplar to the newest entry. Its labels were written from `labels_start` on.
    pub(super) fn push_exemplar(&mut self, labels_start: usize, timestamp_ms: TimestampMs, value: f64) {
        if self.batch.exemplars.len() >= self.limits.samples {
            self.too_much = Some(TooMuch { what: "exemplars", limit: self.limits.samples });
            return;
        }
        let entry = self.labels.len().saturating_sub(1) as u32;
        self.exemplar_labels.push(labels_start..self.bytes.len());
        self.batch.exemplars.push(ExemplarSample { entry, labels: RawLabels(&[]), timestamp_ms, value });
    }

    /// Adds what is known about a family.
    pub(super) fn push_metadata(&mut self, metric_type: MetricType, family: &str, help: &str, unit: &str) {
        let mut text = |text: &str| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(text.as_bytes());
            start..self.bytes.len()
        };
        let (family, help, unit) = (text(family), text(help), text(unit));
        self.metadata.push(MetadataPlaces { metric_type, family, help, unit });
    }

    /// Lets the batch borrow what was built.
    pub(super) fn finish(self) -> Result<Finished<'a>, TooMuch> {
        let Output { bytes, batch, labels, exemplar_labels, metadata, points, refused, too_much, .. } = self;
        if let Some(too_much) = too_much {
            return Err(too_much);
        }
        let bytes: &'a [u8] = bytes;
        let raw = |place: Range<usize>| RawLabels(bytes.get(place).unwrap_or_default());
        for (entry, place) in batch.series.iter_mut().zip(labels) {
            entry.labels = raw(place);
        }
        for (exemplar, place) in batch.exemplars.iter_mut().zip(exemplar_labels) {
            exemplar.labels = raw(place);
        }
        let text = |place: Range<usize>| std::str::from_utf8(bytes.get(place).unwrap_or_default()).unwrap_or_default();
        let metadata = metadata.into_iter().map(|MetadataPlaces { metric_type, family, help, unit }| Metadata {
            metric_type,
            family: text(family),
            help: text(help),
            unit: text(unit),
        });
        Ok(Finished { metadata: metadata.collect(), points, refused })
    }
}
