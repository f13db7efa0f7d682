//! One querier over several: series by label set, each series' samples joined.
//!
//! The parts are blocks and the head. A series that only one part has is handed on as it is, so a query whose range lies
//! within one part costs what that part costs. Where parts overlap, as a block of out-of-order samples does with the
//! block of its time, a timestamp that several have is taken once, from the part with the lowest rank.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Matcher, TimeRange};
use crate::storage::{Column, Extent, Querier, SampleSource, SelectHints, SelectedSeries, StorageError, StoredPart};

/// One part of a merged view.
pub(super) struct Part {
    /// What can be asked.
    pub(super) querier: Box<dyn Querier>,
    /// What the part is called in warnings.
    pub(super) name: String,
    /// From its first to its last sample.
    pub(super) range: TimeRange,
}

/// A querier over several parts.
pub(super) struct MergedQuerier {
    /// By rank: where two parts have a sample of the same time, the earlier one's is taken.
    parts: Vec<Part>,
    /// Places in `parts` by time, where no two parts overlap: then series are joined by appending.
    order: Vec<usize>,
    /// What is known to be missing in the range.
    notes: Vec<String>,
    faults: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for MergedQuerier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MergedQuerier").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl MergedQuerier {
    /// A querier over `parts`, the most trusted first, that also gives `notes` as warnings.
    pub(super) fn new(parts: Vec<Part>, notes: Vec<String>) -> Self {
        let mut by_time: Vec<usize> = (0..parts.len()).collect();
        by_time.sort_by_key(|&part| parts.get(part).map(|part| (part.range.start_ms, part.range.end_ms)));
        let disjoint = by_time.windows(2).all(|pair| match pair {
            [a, b] => match (parts.get(*a), parts.get(*b)) {
                (Some(a), Some(b)) => a.range.end_ms < b.range.start_ms,
                _ => false,
            },
            _ => true,
        });
        let order = if disjoint { by_time } else { (0..parts.len()).collect() };
        MergedQuerier { parts, order, notes, faults: Mutex::default() }
    }

    /// Asks every part. A part that is damaged is left out, and named in the warnings; a bound that was passed is the
    /// answer.
    fn ask<T>(&self, ask: impl Fn(&dyn Querier) -> Result<T, StorageError>) -> Result<Vec<T>, StorageError> {
        let mut answers = Vec::with_capacity(self.parts.len());
        for part in self.order.iter().filter_map(|&part| self.parts.get(part)) {
            match ask(&*part.querier) {
                Ok(answer) => answers.push(answer),
                Err(fault @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => {
                    let (from, to) = (part.range.start_ms, part.range.end_ms);
                    let warning = format!("samples from {from} to {to} ms of {} were left out: {fault}", part.name);
                    self.faults.lock().unwrap_or_else(PoisonError::into_inner).insert(warning);
                }
                Err(bound) => return Err(bound),
            }
        }
        Ok(answers)
    }
}

impl Querier for MergedQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        let matchers = &Matcher::distinct(matchers);
        let mut lists = self.ask(|querier| querier.select(matchers, hints))?;
        lists.retain(|list| !list.is_empty());
        if lists.len() < 2 {
            return Ok(lists.pop().unwrap_or_default());
        }
        let merged = merge_series(lists);
        if hints.series_max > 0 && merged.len() > hints.series_max {
            return Err(StorageError::Limit { what: "number of selected series", limit: hints.series_max as u64 });
        }
        let bytes = || merged.iter().map(|series| SelectedSeries::bytes_of(&series.labels)).sum::<u64>();
        if hints.bytes_max > 0 && bytes() > hints.bytes_max {
            let what = "memory of the selected series, in bytes,";
            return Err(StorageError::Limit { what, limit: hints.bytes_max });
        }
        let mut merged = merged;
        if hints.limit > 0 {
            merged.truncate(hints.limit);
        }
        Ok(merged)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let matchers = &Matcher::distinct(matchers);
        Ok(merge_strings(self.ask(|querier| querier.label_names(matchers, limit))?, limit))
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let matchers = &Matcher::distinct(matchers);
        Ok(merge_strings(self.ask(|querier| querier.label_values(name, matchers, limit))?, limit))
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        warnings.extend(self.faults.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        warnings.extend(self.parts.iter().flat_map(|part| part.querier.warnings()));
        warnings
    }
}

/// Merges sorted lists into one, equal strings once, at most `limit` (0: all).
fn merge_strings(mut lists: Vec<Vec<String>>, limit: usize) -> Vec<String> {
    if lists.len() < 2 {
        return lists.pop().unwrap_or_default();
    }
    // The standard sort finds the sorted runs and merges them.
    let mut merged = lists.concat();
    merged.sort();
    merged.dedup();
    if limit > 0 {
        merged.truncate(limit);
    }
    merged
}

/// Merges lists of series that are sorted by label set. Of equal label sets the samples are joined in the order of the
/// lists.
fn merge_series(lists: Vec<Vec<SelectedSeries>>) -> Vec<SelectedSeries> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let mut heads: Vec<_> = lists.into_iter().map(|list| list.into_iter().peekable()).collect();
    let mut merged = Vec::with_capacity(longest);
    loop {
        let least = heads.iter_mut().filter_map(|list| list.peek().map(|series| series.labels.clone())).min();
        let Some(labels) = least else { return merged };
        let equal = heads.iter_mut().filter_map(|list| list.next_if(|series| series.labels == labels));
        let mut sources: Vec<Arc<dyn SampleSource>> = equal.map(|series| series.samples).collect();
        let samples = match (sources.len(), sources.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                sources.extend(last);
                Arc::new(JoinedSamples(sources))
            }
        };
        merged.push(SelectedSeries { labels, samples });
    }
}

/// The samples of one series from several parts, the part whose samples win first.
struct JoinedSamples(Vec<Arc<dyn SampleSource>>);

impl SampleSource for JoinedSamples {
    fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError> {
        let start = column.len();
        for source in &self.0 {
            let middle = column.len();
            source.read(range, column)?;
            let times = &column.timestamps_ms;
            let follows = match (times.get(middle.wrapping_sub(1)).filter(|_| middle > start), times.get(middle)) {
                (Some(last), Some(next)) => last < next,
                _ => true,
            };
            if !follows {
                merge_tail(column, start, middle);
            }
        }
        Ok(())
    }

    fn parts(&self, range: TimeRange, parts: &mut Vec<StoredPart>) -> Result<(), StorageError> {
        self.0.iter().try_for_each(|source| source.parts(range, parts))
    }

    fn extent(&self, range: TimeRange) -> Extent {
        let mut extent = Extent::default();
        self.0.iter().for_each(|source| extent.add(source.extent(range)));
        extent
    }
}

/// Merges the two runs `start..middle` and `middle..` of a column by time. Of equal times the first run's is taken.
fn merge_tail(column: &mut Column, start: usize, middle: usize) {
    let mut second = Cursor::over(column.split_off(middle));
    let mut first = Cursor::over(column.split_off(start));
    // Whether the latest sample is of the second run.
    let mut latest = None;
    loop {
        let is_second = match (first.time(), second.time()) {
            (Some(a), Some(b)) if b < a => true,
            (Some(a), Some(b)) => {
                if a == b {
                    second.pass();
                }
                false
            }
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (None, None) => return,
        };
        if is_second {
            second.give(column);
        } else {
            first.give(column);
        }
        // What a histogram says about a counter reset it says of the one before it in its own run.
        if latest.replace(is_second).is_some_and(|latest| latest != is_second) {
            column.forget_reset_hint();
        }
    }
}

/// Walks over a column's samples.
struct Cursor {
    times: std::vec::IntoIter<i64>,
    values: std::vec::IntoIter<f64>,
    histograms: std::iter::Peekable<std::vec::IntoIter<(usize, crate::model::FloatHistogram)>>,
    starts_ms: Vec<i64>,
    at: usize,
}

impl Cursor {
    fn over(column: Column) -> Self {
        Cursor {
            times: column.timestamps_ms.into_iter(),
            values: column.values.into_iter(),
            histograms: column.histograms.into_iter().peekable(),
            starts_ms: column.starts_ms,
            at: 0,
        }
    }

    fn time(&self) -> Option<i64> {
        self.times.as_slice().first().copied()
    }

    /// The next sample, moved to `column`.
    fn give(&mut self, column: &mut Column) {
        let at = self.at;
        self.at += 1;
        let histogram = self.histograms.next_if(|(index, _)| *index == at);
        if let (Some(time), Some(value)) = (self.times.next(), self.values.next()) {
            match histogram {
                Some((_, histogram)) => column.push_histogram(time, histogram),
                None => column.push(time, value),
            }
            column.set_start(self.starts_ms.get(at).copied().unwrap_or_default());
        }
    }

    /// The next sample, left out.
    fn pass(&mut self) {
        let at = self.at;
        self.at += 1;
        self.histograms.next_if(|(index, _)| *index == at);
        let _left_out = (self.times.next(), self.values.next());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fs::sim::SimRandom;
    use crate::model::{FloatHistogram, LabelSet};

    type Samples = Vec<(i64, f64)>;

    /// A part in memory: series by the value of `job`.
    #[derive(Clone, Default)]
    struct Fake(BTreeMap<String, Samples>);

    struct FakeSamples(Samples);

    impl SampleSource for FakeSamples {
        fn read(&self, range: TimeRange, column: &mut Column) -> Result<(), StorageError> {
            for &(time, value) in self.0.iter().filter(|(time, _)| range.contains(*time)) {
                // Whole values stand for histograms here.
                match value.fract() == 0.0 {
                    true => column.push_histogram(time, FloatHistogram { sum: value, ..FloatHistogram::default() }),
                    false => column.push(time, value),
                }
            }
            Ok(())
        }
    }

    fn labels(job: &str) -> LabelSet {
        LabelSet::from_pairs([("__name__", "up"), ("job", job)])
    }

    impl Querier for Fake {
        fn select(&self, _: &[Matcher], _: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
            let series = |(job, samples): (&String, &Samples)| SelectedSeries {
                labels: labels(job),
                samples: Arc::new(FakeSamples(samples.clone())),
            };
            Ok(self.0.iter().map(series).collect())
        }

        fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Ok(vec!["__name__".into(), "job".into()])
        }

        fn label_values(&self, _: &str, _: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
            Ok(self.0.keys().take(if limit == 0 { usize::MAX } else { limit }).cloned().collect())
        }

        fn warnings(&self) -> Vec<String> {
            vec!["a chunk was left out".into()]
        }
    }

    /// A part that cannot be read.
    struct Broken(StorageError);

    impl Querier for Broken {
        fn select(&self, _: &[Matcher], _: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
            Err(self.0.clone())
        }
        fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Err(self.0.clone())
        }
        fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Err(self.0.clone())
        }
    }

    /// A part that has nothing, and keeps how many matchers each question had.
    #[derive(Default)]
    struct Asked(Arc<Mutex<Vec<usize>>>);

    impl Querier for Asked {
        fn select(&self, matchers: &[Matcher], _: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
            self.0.lock().unwrap().push(matchers.len());
            Ok(Vec::new())
        }
        fn label_names(&self, matchers: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            self.0.lock().unwrap().push(matchers.len());
            Ok(Vec::new())
        }
        fn label_values(&self, _: &str, matchers: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            self.0.lock().unwrap().push(matchers.len());
            Ok(Vec::new())
        }
    }

    fn part(querier: impl Querier + 'static, start_ms: i64, end_ms: i64) -> Part {
        Part { querier: Box::new(querier), name: "block X".into(), range: TimeRange::new(start_ms, end_ms) }
    }

    fn read(querier: &MergedQuerier, range: TimeRange) -> BTreeMap<LabelSet, Vec<(i64, u64, bool)>> {
        let selected = querier.select(&[], &SelectHints::default()).unwrap();
        assert!(selected.is_sorted_by(|a, b| a.labels < b.labels));
        let read = |series: SelectedSeries| {
            let mut column = Column::default();
            // What stands in the column already stays.
            column.push(i64::MIN, 0.5);
            series.samples.read(range, &mut column).unwrap();
            let histograms: BTreeMap<usize, f64> =
                column.histograms.iter().map(|(index, histogram)| (*index, histogram.sum)).collect();
            let sample = |index: usize| {
                let value = column.values[index];
                assert!(histograms.get(&index).is_none_or(|sum| *sum == value));
                (column.timestamps_ms[index], value.to_bits(), histograms.contains_key(&index))
            };
            (series.labels, (1..column.len()).map(sample).collect())
        };
        selected.into_iter().map(read).collect()
    }

    #[test]
    fn series_of_random_overlapping_parts_are_as_a_map_by_time_gives_them() {
        for seed in 0..300 {
            let mut random = SimRandom::new(seed);
            let mut model: BTreeMap<LabelSet, BTreeMap<i64, f64>> = BTreeMap::new();
            let mut parts = Vec::new();
            let disjoint = random.once_in(3);
            for number in 0..1 + random.below(5) {
                let mut fake = Fake::default();
                let base = if disjoint { (number as i64) * 1000 } else { random.below(300) as i64 };
                for job in 0..4 {
                    let mut samples = BTreeMap::new();
                    for _ in 0..random.below(20) {
                        let value = number as f64 + if random.once_in(3) { 0.0 } else { 0.5 };
                        samples.insert(base + random.below(300) as i64, value);
                    }
                    if samples.is_empty() {
                        continue;
                    }
                    let known = model.entry(labels(&job.to_string())).or_default();
                    for (&time, &value) in &samples {
                        known.entry(time).or_insert(value);
                    }
                    fake.0.insert(job.to_string(), samples.into_iter().collect());
                }
                parts.push(part(fake, base, base + 299));
            }
            if disjoint {
                // Parts that don't overlap may stand in any order.
                parts.reverse();
            }
            let querier = MergedQuerier::new(parts, Vec::new());
            let range = TimeRange::new(50, 450);
            let expected: BTreeMap<_, Vec<_>> = model
                .into_iter()
                .map(|(labels, samples)| {
                    let within = samples.range(50..=450);
                    (labels, within.map(|(time, value)| (*time, value.to_bits(), value.fract() == 0.0)).collect())
                })
                .collect();
            assert_eq!(read(&querier, range), expected, "seed {seed}");
        }
    }

    #[test]
    fn names_and_values_are_merged_once_each_up_to_the_limit() {
        let fake = |jobs: &[&str]| Fake(jobs.iter().map(|job| ((*job).to_owned(), vec![(1, 1.0)])).collect());
        let querier = MergedQuerier::new(vec![part(fake(&["b", "d"]), 0, 9), part(fake(&["a", "b"]), 10, 19)], vec![]);
        assert_eq!(querier.label_names(&[], 0).unwrap(), ["__name__", "job"]);
        assert_eq!(querier.label_values("job", &[], 0).unwrap(), ["a", "b", "d"]);
        assert_eq!(querier.label_values("job", &[], 2).unwrap(), ["a", "b"]);
        let hints = SelectHints { limit: 2, ..SelectHints::default() };
        assert_eq!(querier.select(&[], &hints).unwrap().len(), 2);
    }

    #[test]
    fn parts_are_asked_with_each_matcher_once() {
        let asked = Asked::default();
        let querier = MergedQuerier::new(vec![part(Asked(asked.0.clone()), 0, 9)], Vec::new());
        let matchers = [("a", "b"), ("a", "c"), ("a", "b")].map(|(name, value)| Matcher::equal(name, value));
        querier.select(&matchers, &SelectHints::default()).unwrap();
        querier.label_names(&matchers, 0).unwrap();
        querier.label_values("a", &matchers, 0).unwrap();
        assert_eq!(*asked.0.lock().unwrap(), [2, 2, 2]);
    }

    #[test]
    fn bounds_count_a_series_of_several_parts_once() {
        let fake = |jobs: &[&str]| Fake(jobs.iter().map(|job| ((*job).to_owned(), vec![(1, 1.0)])).collect());
        let querier = MergedQuerier::new(vec![part(fake(&["a", "b"]), 0, 9), part(fake(&["a", "c"]), 5, 19)], vec![]);
        let select = |series_max, bytes_max| {
            querier.select(&[], &SelectHints { series_max, bytes_max, ..SelectHints::default() })
        };
        assert_eq!(select(3, 0).unwrap().len(), 3);
        assert!(matches!(select(2, 0), Err(StorageError::Limit { limit: 2, .. })));
        let three = 3 * SelectedSeries::bytes_of(&labels("a"));
        assert_eq!(select(0, three).unwrap().len(), 3);
        assert!(matches!(select(0, three - 1), Err(StorageError::Limit { .. })));
    }

    #[test]
    fn damaged_part_is_left_out_and_named_while_a_passed_bound_is_the_answer() {
        let fake = Fake([("a".to_owned(), vec![(1, 1.5)])].into());
        let damage = StorageError::Corrupt { what: "checksum differs".into(), place: "index".into() };
        let querier = MergedQuerier::new(vec![part(Broken(damage), 0, 9), part(fake.clone(), 0, 19)], vec!["n".into()]);
        assert_eq!(querier.select(&[], &SelectHints::default()).unwrap().len(), 1);
        let warnings = querier.warnings();
        let expected = "samples from 0 to 9 ms of block X were left out: checksum differs in index";
        assert_eq!(warnings, ["n", expected, "a chunk was left out"]);

        let bound = StorageError::Limit { what: "x", limit: 1 };
        let querier = MergedQuerier::new(vec![part(Broken(bound), 0, 9), part(fake, 0, 19)], Vec::new());
        assert!(matches!(querier.select(&[], &SelectHints::default()), Err(StorageError::Limit { .. })));
    }
}
