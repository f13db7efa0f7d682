//! What a script has loaded: samples in memory, as a database would give them back.
//!
//! A database keeps histograms in chunks, and a chunk knows of each that follows another in it that no counter reset lies
//! between; of the first it knows nothing. So histograms go through chunks here too: hints and layouts are then those that
//! Prometheus' own runner sees.

use hashbrown::HashMap;

use super::command::LoadedSeries;
use super::custom_buckets;
use crate::chunk::{self, HistogramAppender, HistogramRef};
use crate::model::{FloatHistogram, LabelSet, TimeRange, TimestampMs, is_stale_nan};
use crate::promql::parser::series_description::SequenceValue;
use crate::promql::testing::MemoryStorage;
use crate::storage::Column;

/// The series of a script.
#[derive(Debug, Default)]
pub(super) struct Store {
    samples: MemoryStorage,
    last: HashMap<LabelSet, Last>,
}

/// The newest sample of a series, and the chunk that it is in.
#[derive(Debug)]
struct Last {
    at_ms: TimestampMs,
    value: SequenceValue,
    /// The open chunk, if the newest sample is a histogram.
    chunk: Option<HistogramAppender>,
}

impl Store {
    /// The samples.
    pub(super) fn samples(&self) -> &MemoryStorage {
        &self.samples
    }

    /// Adds the values of `series`, one every `step_ms` from 0 on; with `custom_buckets` native histograms for the classic
    /// ones among them too. An error where a database would refuse a sample.
    pub(super) fn load(&mut self, series: &[LoadedSeries], step_ms: i64, custom_buckets: bool) -> Result<(), String> {
        for LoadedSeries { labels, values, start_offsets_ms } in series {
            for (step, value) in values.iter().enumerate() {
                let at_ms = step_ms.saturating_mul(step as i64);
                if *value != SequenceValue::Omitted {
                    self.append(labels, at_ms, value)?;
                }
                if let Some(Some(offset_ms)) = start_offsets_ms.get(step)
                    && *value != SequenceValue::Omitted
                {
                    self.samples.set_start(labels, at_ms.saturating_add(*offset_ms));
                }
            }
        }
        if custom_buckets {
            for (labels, at_ms, histogram) in custom_buckets::convert(series, step_ms)? {
                let value = SequenceValue::Histogram { histogram: Box::new(histogram), is_hint_given: false };
                self.append(&labels, at_ms, &value)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, labels: &LabelSet, at_ms: TimestampMs, value: &SequenceValue) -> Result<(), String> {
        let last = self.last.get_mut(labels);
        match &last {
            Some(last) if at_ms < last.at_ms => return Err(format!("out of order sample for {labels} at {at_ms} ms")),
            // The same sample again is no fault. Bits are compared through the text, as NaN is unlike itself.
            Some(last) if at_ms == last.at_ms && format!("{value:?}") == format!("{:?}", last.value) => return Ok(()),
            Some(last) if at_ms == last.at_ms => {
                return Err(format!("duplicate sample for timestamp {at_ms} of {labels}"));
            }
            _ => {}
        }
        let open = last.and_then(|last| last.chunk.take());
        let chunk = match value {
            SequenceValue::Omitted => return Ok(()),
            // A marker behind a histogram is one of a histogram, and stays in its chunk.
            SequenceValue::Float(float) if !(is_stale_nan(*float) && open.is_some()) => {
                self.samples.append(labels, at_ms, *float);
                None
            }
            SequenceValue::Float(_) => Some(self.append_histogram(labels, at_ms, &FloatHistogram::stale(), open)?),
            SequenceValue::Histogram { histogram, .. } => {
                histogram.validate().map_err(|error| format!("{error} of {labels} at {at_ms} ms"))?;
                Some(self.append_histogram(labels, at_ms, histogram, open)?)
            }
        };
        self.last.insert(labels.clone(), Last { at_ms, value: value.clone(), chunk });
        Ok(())
    }

    fn append_histogram(
        &mut self,
        labels: &LabelSet,
        at_ms: TimestampMs,
        histogram: &FloatHistogram,
        open: Option<HistogramAppender>,
    ) -> Result<HistogramAppender, String> {
        let of_sample = HistogramRef::Float(histogram);
        let chunk = match open {
            None => HistogramAppender::start(at_ms, of_sample),
            Some(mut chunk) => {
                if chunk.is_full() {
                    chunk.cut(at_ms, of_sample);
                } else {
                    chunk.append(at_ms, of_sample);
                }
                chunk
            }
        };
        // A new bucket shows in all histograms of the chunk, so all are read again.
        let mut column = Column::default();
        chunk::decode_into(chunk.encoding(), &chunk.to_bytes(), TimeRange::new(i64::MIN, i64::MAX), &mut column)
            .map_err(|error| error.to_string())?;
        self.samples.append_histogram(labels, at_ms, histogram.clone());
        self.samples.replace_newest_histograms(labels, column.histograms.into_iter().map(|(_, histogram)| histogram));
        Ok(chunk)
    }
}
