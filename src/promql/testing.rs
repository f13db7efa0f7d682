//! A storage in memory, for tests of queries and for the runner of test scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{FloatHistogram, LabelSet, Matcher, TimeRange, TimestampMs};
use crate::storage::{Column, Extent, Querier, Queryable, SampleSource, SelectHints, SelectedSeries, StorageError};

/// Series in memory. Samples of one series are appended in the order of their times.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    series: BTreeMap<LabelSet, Arc<MemorySeries>>,
}

#[derive(Debug, Clone, Default)]
struct MemorySeries(Column);

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        MemoryStorage::default()
    }

    /// Appends a float sample. A sample of the same time as the last one replaces it; an older one is left out.
    pub fn append(&mut self, labels: &LabelSet, timestamp_ms: TimestampMs, value: f64) {
        if let Some(column) = self.column_at(labels, timestamp_ms) {
            column.push(timestamp_ms, value);
        }
    }

    /// Appends a histogram sample, as [`append`](MemoryStorage::append) does a float.
    pub fn append_histogram(&mut self, labels: &LabelSet, timestamp_ms: TimestampMs, histogram: FloatHistogram) {
        if let Some(column) = self.column_at(labels, timestamp_ms) {
            column.push_histogram(timestamp_ms, histogram);
        }
    }

    /// Puts `histograms` in the place of the newest histograms of a series, as many as there are.
    pub fn replace_newest_histograms(
        &mut self,
        labels: &LabelSet,
        histograms: impl DoubleEndedIterator<Item = FloatHistogram>,
    ) {
        if let Some(series) = self.series.get_mut(labels) {
            let known = Arc::make_mut(series).0.histograms.iter_mut().rev();
            known.zip(histograms.rev()).for_each(|((_, known), new)| *known = new);
        }
    }

    /// Says since when the newest sample of a series counts.
    pub fn set_start(&mut self, labels: &LabelSet, start_ms: TimestampMs) {
        if let Some(series) = self.series.get_mut(labels) {
            Arc::make_mut(series).0.set_start(start_ms);
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// The column to which a sample of this time can be appended.
    fn column_at(&mut self, labels: &LabelSet, timestamp_ms: TimestampMs) -> Option<&mut Column> {
        let series = self.series.entry(labels.clone()).or_default();
        let column = &mut Arc::make_mut(series).0;
        match column.timestamps_ms.last() {
            Some(last) if *last > timestamp_ms => return None,
            Some(last) if *last == timestamp_ms => {
                column.truncate(column.len() - 1);
            }
            _ => {}
        }
        Some(column)
    }
}

impl Queryable for MemoryStorage {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        let series = self.series.iter().map(|(labels, series)| (labels.clone(), series.clone())).collect();
        Ok(Box::new(MemoryQuerier { series, range }))
    }
}

struct MemoryQuerier {
    series: Vec<(LabelSet, Arc<MemorySeries>)>,
    range: TimeRange,
}

impl MemoryQuerier {
    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &(LabelSet, Arc<MemorySeries>)> {
        self.series.iter().filter(move |(labels, series)| {
            let times = &series.0.timestamps_ms;
            let from = times.partition_point(|&time| time < self.range.start_ms);
            times.get(from).is_some_and(|&time| time <= self.range.end_ms)
                && matchers.iter().all(|matcher| matcher.matches_labels(labels))
        })
    }
}

impl Querier for MemoryQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        let mut selected = Vec::new();
        for (labels, series) in self.matching(matchers) {
            if hints.series_max > 0 && selected.len() == hints.series_max {
                return Err(StorageError::Limit { what: "number of selected series", limit: hints.series_max as u64 });
            }
            if hints.limit > 0 && selected.len() == hints.limit {
                break;
            }
            selected.push(SelectedSeries { labels: labels.clone(), samples: series.clone() });
        }
        Ok(selected)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let labels = self.matching(matchers).flat_map(|(labels, _)| labels.iter());
        let names: BTreeSet<&str> = labels.map(|label| label.name).collect();
        Ok(limited(names, limit))
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let values: BTreeSet<&str> = self.matching(matchers).filter_map(|(labels, _)| labels.get(name)).collect();
        Ok(limited(values, limit))
    }
}

fn limited(texts: BTreeSet<&str>, limit: usize) -> Vec<String> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    texts.into_iter().take(limit).map(str::to_owned).collect()
}

impl SampleSource for MemorySeries {
    fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError> {
        let from = self.0.timestamps_ms.partition_point(|&time| time < range.start_ms);
        let from_start = from.min(self.0.starts_ms.len());
        let to = self.0.timestamps_ms.partition_point(|&time| time <= range.end_ms).max(from);
        let offset = column.len();
        column.timestamps_ms.extend_from_slice(&self.0.timestamps_ms[from..to]);
        column.values.extend_from_slice(&self.0.values[from..to]);
        let first = self.0.histograms.partition_point(|(index, _)| *index < from);
        for (index, histogram) in self.0.histograms[first..].iter().take_while(|(index, _)| *index < to) {
            column.histograms.push((index - from + offset, histogram.clone()));
        }
        let starts_ms = &self.0.starts_ms[from_start..to.clamp(from_start, self.0.starts_ms.len())];
        if !starts_ms.is_empty() {
            column.starts_ms.resize(offset, 0);
            column.starts_ms.extend_from_slice(starts_ms);
        }
        Ok(())
    }

    /// One chunk, of the samples of the range.
    fn extent(&self, range: TimeRange) -> Extent {
        let mut column = Column::default();
        let mut extent = Extent::default();
        if self.read(range, &mut column).is_ok() && !column.is_empty() {
            extent.add_chunk(column.len() as u64, column.len() * size_of::<(i64, f64)>());
        }
        extent
    }
}
