//! The samples of one series as columns.

use crate::model::{CounterResetHint, FloatHistogram, TimeRange, TimestampMs};

/// Decoded samples of one series in time order: a column of timestamps, one of floats, and the few histograms.
///
/// `timestamps_ms` and `values` are equally long. Where a sample is a native histogram, `values` holds its sum (so that
/// a staleness marker shows in both kinds alike) and `histograms` holds the histogram under the sample's index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// When each sample was taken, rising.
    pub timestamps_ms: Vec<TimestampMs>,
    /// The value of each sample.
    pub values: Vec<f64>,
    /// The samples that are histograms: index into the other columns, rising, and the histogram.
    pub histograms: Vec<(usize, FloatHistogram)>,
}

impl Column {
    /// How many samples there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Removes all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Keeps the first `len` samples.
    pub fn truncate(&mut self, len: usize) {
        self.timestamps_ms.truncate(len);
        self.values.truncate(len);
        let histograms = self.histograms.partition_point(|(index, _)| *index < len);
        self.histograms.truncate(histograms);
    }

    /// Merges samples in any order into those from index `start` on, which are in time order. Of several samples of one
    /// time the one that is here stays, or else the first of `others`. A histogram before which another sample comes than in
    /// its own column says nothing about a counter reset any more.
    pub fn merge_from(&mut self, start: usize, others: &Column) {
        let mut tail = Column::default();
        let mut histograms = self.histograms.split_off(self.histograms.partition_point(|(index, _)| *index < start));
        histograms.iter_mut().for_each(|(index, _)| *index -= start);
        tail.timestamps_ms = self.timestamps_ms.split_off(start);
        tail.values = self.values.split_off(start);
        tail.histograms = histograms;
        // Where each sample is: in the tail, or behind it in `others`. Stable, so the tail's come first.
        let count = tail.len() + others.len();
        let time = |&place: &usize| match place.checked_sub(tail.len()) {
            None => tail.timestamps_ms.get(place).copied().unwrap_or_default(),
            Some(place) => others.timestamps_ms.get(place).copied().unwrap_or_default(),
        };
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(time);
        order.dedup_by_key(|place| time(place));
        self.timestamps_ms.reserve(order.len());
        self.values.reserve(order.len());
        let mut previous = None;
        for place in order {
            match place.checked_sub(tail.len()) {
                None => self.push_from(&tail, place),
                Some(place) => self.push_from(others, place),
            }
            let follows = previous.is_none_or(|previous| previous + 1 == place && place != tail.len());
            if !follows {
                self.forget_reset_hint();
            }
            previous = Some(place);
        }
    }

    /// Forgets what the newest sample says about a counter reset: it says so of another sample than the one before it.
    pub fn forget_reset_hint(&mut self) {
        let newest = self.values.len().wrapping_sub(1);
        if let Some((_, histogram)) = self.histograms.last_mut().filter(|(index, _)| *index == newest)
            && histogram.counter_reset_hint != CounterResetHint::Gauge
        {
            histogram.counter_reset_hint = CounterResetHint::Unknown;
        }
    }

    /// Removes the samples from index `start` on that lie in one of the ranges, which are in time order and apart.
    pub fn remove_from(&mut self, start: usize, ranges: &[TimeRange]) {
        let mut tail = Column::default();
        std::mem::swap(self, &mut tail);
        let mut ranges = ranges.iter().peekable();
        for (index, &timestamp_ms) in tail.timestamps_ms.iter().enumerate() {
            if index >= start {
                while ranges.next_if(|range| range.end_ms < timestamp_ms).is_some() {}
                if ranges.peek().is_some_and(|range| range.contains(timestamp_ms)) {
                    continue;
                }
            }
            self.push_from(&tail, index);
        }
    }

    /// Appends the sample at `index` of another column, if there is one.
    fn push_from(&mut self, from: &Column, index: usize) {
        let (Some(&timestamp_ms), Some(&value)) = (from.timestamps_ms.get(index), from.values.get(index)) else {
            return;
        };
        if let Ok(place) = from.histograms.binary_search_by_key(&index, |(index, _)| *index)
            && let Some((_, histogram)) = from.histograms.get(place)
        {
            self.histograms.push((self.values.len(), histogram.clone()));
        }
        self.push(timestamp_ms, value);
    }

    /// Appends a float sample.
    #[inline]
    pub fn push(&mut self, timestamp_ms: TimestampMs, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Appends a histogram sample.
    pub fn push_histogram(&mut self, timestamp_ms: TimestampMs, histogram: FloatHistogram) {
        let sum = histogram.sum;
        self.histograms.push((self.values.len(), histogram));
        self.push(timestamp_ms, sum);
    }

    /// Whether any sample is a histogram.
    #[inline]
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }
}
