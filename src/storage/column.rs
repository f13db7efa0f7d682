//! The samples of one series as columns.

use crate::model::{CounterResetHint, FloatHistogram, SampleValue, TimeRange, TimestampMs};

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
    /// Start timestamps: since when each sample counts, 0 where that is not known. It ends with the last sample of which it
    /// is known, so it is empty for most series.
    pub starts_ms: Vec<TimestampMs>,
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
        self.starts_ms.clear();
    }

    /// Keeps the first `len` samples.
    pub fn truncate(&mut self, len: usize) {
        self.timestamps_ms.truncate(len);
        self.values.truncate(len);
        let histograms = self.histograms.partition_point(|(index, _)| *index < len);
        self.histograms.truncate(histograms);
        self.starts_ms.truncate(len);
    }

    /// Takes the samples from index `at` on out of the column.
    pub fn split_off(&mut self, at: usize) -> Column {
        let first = self.histograms.partition_point(|(index, _)| *index < at);
        let mut histograms = self.histograms.split_off(first);
        histograms.iter_mut().for_each(|(index, _)| *index -= at);
        Column {
            timestamps_ms: self.timestamps_ms.split_off(at),
            values: self.values.split_off(at),
            histograms,
            starts_ms: self.starts_ms.split_off(at.min(self.starts_ms.len())),
        }
    }

    /// Merges samples in any order into those from index `start` on, which are in time order. Of several samples of one
    /// time the one that is here stays, or else the first of `others`. A histogram before which another sample comes than in
    /// its own column says nothing about a counter reset any more.
    pub fn merge_from(&mut self, start: usize, others: &Column) {
        let tail = self.split_off(start);
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

    /// Removes the samples from index `start` on that lie in one of the ranges, which are in time order and apart. A
    /// histogram behind removed samples says nothing about a counter reset any more: one of them may have been reset.
    pub fn remove_from(&mut self, start: usize, ranges: &[TimeRange]) {
        let mut tail = Column::default();
        std::mem::swap(self, &mut tail);
        let mut ranges = ranges.iter().peekable();
        let mut follows = true;
        for (index, &timestamp_ms) in tail.timestamps_ms.iter().enumerate() {
            if index >= start {
                while ranges.next_if(|range| range.end_ms < timestamp_ms).is_some() {}
                if ranges.peek().is_some_and(|range| range.contains(timestamp_ms)) {
                    follows = false;
                    continue;
                }
            }
            self.push_from(&tail, index);
            if !std::mem::replace(&mut follows, true) {
                self.forget_reset_hint();
            }
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
        self.set_start(from.start_ms(index));
    }

    /// Since when the sample at `index` counts; 0 where that is not known.
    #[inline]
    pub fn start_ms(&self, index: usize) -> TimestampMs {
        self.starts_ms.get(index).copied().unwrap_or_default()
    }

    /// Says since when the newest sample counts.
    #[inline]
    pub fn set_start(&mut self, start_ms: TimestampMs) {
        if start_ms != 0 && !self.is_empty() {
            self.starts_ms.resize(self.len() - 1, 0);
            self.starts_ms.push(start_ms);
        }
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

    /// The samples one by one, without their start timestamps.
    pub fn into_samples(self) -> Vec<(TimestampMs, SampleValue)> {
        let mut histograms = self.histograms.into_iter().peekable();
        let samples = self.timestamps_ms.into_iter().zip(self.values).enumerate();
        let sample = |(index, (timestamp_ms, value))| {
            let histogram = histograms.next_if(|(at, _)| *at == index);
            let value = match histogram {
                Some((_, histogram)) => SampleValue::FloatHistogram(Box::new(histogram)),
                None => SampleValue::Float(value),
            };
            (timestamp_ms, value)
        };
        samples.map(sample).collect()
    }

    /// Whether any sample is a histogram.
    #[inline]
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of the given times, each with a start timestamp where it is not 0.
    fn column(samples: &[(i64, i64)]) -> Column {
        let mut column = Column::default();
        for &(at_ms, start_ms) in samples {
            column.push(at_ms, at_ms as f64);
            column.set_start(start_ms);
        }
        column
    }

    fn samples(column: &Column) -> Vec<(i64, i64)> {
        column.timestamps_ms.iter().enumerate().map(|(index, at_ms)| (*at_ms, column.start_ms(index))).collect()
    }

    #[test]
    fn column_whose_samples_move_moves_their_start_timestamps() {
        let mut whole = column(&[(10, 0), (20, 15), (30, 0), (40, 35), (50, 0)]);
        assert_eq!(whole.starts_ms.len(), 4);
        let tail = whole.split_off(3);
        assert_eq!((samples(&whole), samples(&tail)), (vec![(10, 0), (20, 15), (30, 0)], vec![(40, 35), (50, 0)]));
        whole.merge_from(1, &column(&[(40, 36), (25, 24)]));
        assert_eq!(samples(&whole), [(10, 0), (20, 15), (25, 24), (30, 0), (40, 36)]);
        whole.remove_from(0, &[TimeRange::new(15, 24), TimeRange::new(40, 40)]);
        assert_eq!(samples(&whole), [(10, 0), (25, 24), (30, 0)]);
        whole.truncate(1);
        assert_eq!((samples(&whole), whole.starts_ms.len()), (vec![(10, 0)], 1));
        whole.clear();
        whole.set_start(7);
        assert_eq!(samples(&whole), []);
    }

    #[test]
    fn histogram_behind_removed_samples_says_nothing_about_a_reset() {
        use CounterResetHint::{Gauge, NotReset, Unknown};
        let mut column = Column::default();
        for (at_ms, counter_reset_hint) in [(10, Unknown), (20, NotReset), (30, NotReset), (40, Gauge), (50, NotReset)]
        {
            column.push_histogram(at_ms, FloatHistogram { counter_reset_hint, ..FloatHistogram::default() });
        }
        column.remove_from(1, &[TimeRange::new(20, 20)]);
        column.remove_from(0, &[TimeRange::new(35, 36)]);
        let hints = |column: &Column| -> Vec<_> {
            column.histograms.iter().map(|(_, histogram)| histogram.counter_reset_hint).collect()
        };
        assert_eq!(hints(&column), [Unknown, Unknown, Gauge, NotReset]);
        column.remove_from(0, &[TimeRange::new(0, 30)]);
        assert_eq!(hints(&column), [Gauge, NotReset], "a gauge stays one");
    }

    #[test]
    fn column_without_start_timestamps_keeps_none() {
        let mut plain = column(&[(10, 0), (20, 0)]);
        plain.merge_from(0, &column(&[(15, 0)]));
        assert_eq!((samples(&plain), plain.starts_ms.capacity()), (vec![(10, 0), (15, 0), (20, 0)], 0));
    }
}
