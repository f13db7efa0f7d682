//! How many series each metric, label and value has, for those who wonder where series come from.
//!
//! The sets of series that the index keeps are counted; no series is looked at. The index is locked for one label name at
//! a time, so that series can be created meanwhile, and only the largest counts are kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::Head;
use crate::model::{METRIC_NAME, Matcher, TimestampMs};

/// What is to be counted.
#[derive(Debug, Clone, Copy)]
pub struct CardinalityOptions<'a> {
    /// The series that one of these selects; all where there is none.
    pub selectors: &'a [Vec<Matcher>],
    /// The label whose values are wanted too.
    pub focus: Option<&'a str>,
    /// Rows of each table at most.
    pub limit: usize,
}

/// The largest of some counts, and how many there are in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Largest<T> {
    /// The largest first.
    pub rows: Vec<T>,
    /// Those that are not among `rows` included.
    pub total: u64,
}

/// A label's name, how many values it has, and how many series carry it.
pub type LabelRow = (String, u64, u64);
/// A metric or a value, and how many series have it.
pub type SeriesRow = (String, u64);
/// A label's name and value, and how many series have them.
pub type PairRow = (String, String, u64);

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series that were selected.
    pub series: u64,
    /// Metric names, whether they were wanted or not.
    pub metric_names: u64,
    /// The metrics that were wanted, by series.
    pub metrics: Largest<SeriesRow>,
    /// Label names by values.
    pub labels: Largest<LabelRow>,
    /// Labels by series.
    pub pairs: Largest<PairRow>,
    /// The values of the label that was asked for, by series.
    pub focus: Largest<SeriesRow>,
}

/// The largest counts among those that are added, by the names that they go with.
struct Top {
    limit: usize,
    total: u64,
    /// The least on top; of equal counts the last by name.
    rows: BinaryHeap<Reverse<(u64, Reverse<(String, String)>)>>,
}

impl Top {
    fn new(limit: usize) -> Self {
        Top { limit, total: 0, rows: BinaryHeap::new() }
    }

    fn add(&mut self, count: u64, name: &str, value: &str) {
        self.total += 1;
        if self.rows.len() >= self.limit {
            let Some(Reverse((least, Reverse(last)))) = self.rows.peek() else { return };
            if (Reverse(count), name, value) >= (Reverse(*least), last.0.as_str(), last.1.as_str()) {
                return;
            }
            self.rows.pop();
        }
        self.rows.push(Reverse((count, Reverse((name.to_owned(), value.to_owned())))));
    }

    fn finish<T>(self, row: impl Fn(String, String, u64) -> T) -> Largest<T> {
        let sorted = self.rows.into_sorted_vec().into_iter();
        let rows = sorted.map(|Reverse((count, Reverse((name, value))))| row(name, value, count)).collect();
        Largest { rows, total: self.total }
    }
}

impl Head {
    /// Counts the series of the head by metric, label and value. `is_wanted` chooses among the metrics.
    pub fn cardinality(&self, options: CardinalityOptions<'_>, is_wanted: impl Fn(&str) -> bool) -> Cardinality {
        let CardinalityOptions { selectors, focus, limit } = options;
        // Asks for no sample; numbers of series and labels mean the same as long as it is there.
        let _reader = self.shared.readers.enter_source(TimestampMs::MAX);
        let (within, names) = {
            let index = self.shared.index();
            let selected = selectors.iter().map(|matchers| index.select(matchers));
            (selected.reduce(|a, b| a | b), index.label_names(None))
        };
        let mut counted = Cardinality {
            series: match &within {
                Some(slots) => slots.len(),
                None => self.shared.index().all().len(),
            },
            ..Cardinality::default()
        };
        let (mut metrics, mut pairs, mut values_of_focus) = (Top::new(limit), Top::new(limit), Top::new(limit));
        let mut labels: BinaryHeap<Reverse<(u64, u64, Reverse<String>)>> = BinaryHeap::new();
        for name in names {
            let (mut values, mut series) = (0, 0);
            let index = self.shared.index();
            for (value, postings) in index.value_postings(&name) {
                let count =
                    within.as_ref().map_or_else(|| postings.len(), |slots: &RoaringBitmap| postings.count_in(slots));
                if count == 0 {
                    continue;
                }
                (values, series) = (values + 1, series + count);
                pairs.add(count, &name, value);
                if name == METRIC_NAME && is_wanted(value) {
                    metrics.add(count, value, "");
                }
                if focus == Some(name.as_str()) {
                    values_of_focus.add(count, value, "");
                }
            }
            drop(index);
            if name == METRIC_NAME {
                counted.metric_names = values;
            }
            if values > 0 {
                counted.labels.total += 1;
                labels.push(Reverse((values, series, Reverse(name))));
                if labels.len() > limit {
                    labels.pop();
                }
            }
        }
        let rows = labels.into_sorted_vec().into_iter();
        counted.labels.rows = rows.map(|Reverse((values, series, Reverse(name)))| (name, values, series)).collect();
        counted.metrics = metrics.finish(|name, _, series| (name, series));
        counted.pairs = pairs.finish(|name, value, series| (name, value, series));
        counted.focus = values_of_focus.finish(|value, _, series| (value, series));
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadOptions;
    use crate::model::raw_labels::encode_canonical;
    use crate::model::{LabelSet, RawLabels, Sample};
    use crate::storage::{SeriesEntry, WriteBatch};

    const NOW_MS: TimestampMs = 1_700_000_000_000;

    fn write(head: &Head, sets: &[LabelSet]) {
        let encode = |set: &LabelSet| {
            let mut bytes = Vec::new();
            encode_canonical(set.iter(), &mut bytes);
            bytes
        };
        let labels: Vec<Vec<u8>> = sets.iter().map(encode).collect();
        let entries =
            labels.iter().zip(0..).map(|(labels, at)| SeriesEntry { labels: RawLabels(labels), samples: at..at + 1 });
        let batch = WriteBatch {
            series: entries.collect(),
            samples: vec![Sample { timestamp_ms: NOW_MS, value: 1.0 }; labels.len()],
            ..WriteBatch::default()
        };
        assert_eq!(head.append(&batch, NOW_MS).series_created, sets.len() as u64);
    }

    /// `up` of 200 pods, half of them in job `a`; `http` of three pods and 100 paths each, all in job `b`.
    fn fleet() -> Head {
        let head = Head::in_memory(HeadOptions::default());
        let mut sets = Vec::new();
        for pod in 0..200 {
            let (job, pod) = (if pod < 100 { "a" } else { "b" }, format!("pod-{pod:03}"));
            sets.push(LabelSet::from_pairs([(METRIC_NAME, "up"), ("job", job), ("pod", pod.as_str())]));
        }
        for (pod, path) in (0..3).flat_map(|pod| (0..100).map(move |path| (pod, path))) {
            let (pod, path) = (format!("pod-{pod:03}"), format!("/{path}"));
            let labels = [(METRIC_NAME, "http"), ("job", "b"), ("path", path.as_str()), ("pod", pod.as_str())];
            sets.push(LabelSet::from_pairs(labels));
        }
        write(&head, &sets);
        head
    }

    fn named(name: &str, series: u64) -> SeriesRow {
        (name.to_owned(), series)
    }

    #[test]
    fn cardinality_of_everything_has_the_largest_of_each_and_says_how_many_there_are() {
        let head = fleet();
        let options = CardinalityOptions { selectors: &[], focus: Some("job"), limit: 2 };
        let counted = head.cardinality(options, |_| true);
        assert_eq!((counted.series, counted.metric_names), (500, 2));
        assert_eq!(counted.metrics, Largest { rows: vec![named("http", 300), named("up", 200)], total: 2 });
        let labels = vec![("pod".to_owned(), 200, 500), ("path".to_owned(), 100, 300)];
        assert_eq!(counted.labels, Largest { rows: labels, total: 4 });
        let pairs = [("job", "b", 400), (METRIC_NAME, "http", 300)];
        let pairs = pairs.map(|(name, value, series)| (name.to_owned(), value.to_owned(), series)).to_vec();
        assert_eq!(counted.pairs, Largest { rows: pairs, total: 304 });
        assert_eq!(counted.focus, Largest { rows: vec![named("b", 400), named("a", 100)], total: 2 });
    }

    #[test]
    fn cardinality_of_selectors_counts_what_one_of_them_selects_once() {
        let head = fleet();
        let equal = |name: &str, value: &str| vec![Matcher::equal(name, value)];
        let selectors = [equal(METRIC_NAME, "up"), equal("job", "a"), equal("pod", "pod-001")];
        let options = CardinalityOptions { selectors: &selectors, focus: Some("pod"), limit: 1 };
        let counted = head.cardinality(options, |metric| metric != "up");
        assert_eq!((counted.series, counted.metric_names), (300, 2));
        assert_eq!(counted.metrics, Largest { rows: vec![named("http", 100)], total: 1 });
        assert_eq!(counted.focus, Largest { rows: vec![named("pod-001", 101)], total: 200 });
        let nothing = [equal("job", "c")];
        let options = CardinalityOptions { selectors: &nothing, focus: Some("job"), limit: 5 };
        assert_eq!(head.cardinality(options, |_| true), Cardinality::default());
    }
}
