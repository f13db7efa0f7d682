//! What a data directory's series are made of: cardinality and churn, block by block and in all.
//!
//! Only labels and the times of chunks are looked at, so the cost follows series, not samples.

use serde::Serialize;

use crate::chunk;
use crate::db::DataPart;
use crate::index::{Index, PairId};
use crate::model::{METRIC_NAME, Matcher, TimeRange, TimestampMs};
use crate::storage::{ChunkSeries, StorageError};

/// What one part holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartSummary {
    /// Its name.
    pub name: String,
    /// The time that it covers.
    pub min_time_ms: TimestampMs,
    /// The time that it covers.
    pub max_time_ms: TimestampMs,
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples, deleted ones included.
    pub samples: u64,
    /// Bytes of the chunks' samples.
    pub chunk_bytes: u64,
    /// Series that do not cover the whole part: the sum of the shares of time that they miss.
    pub churn: f64,
}

/// A name with a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    /// A label, a label's name or a metric.
    pub name: String,
    /// How much.
    pub value: f64,
}

/// What the series are made of. Every list is sorted, the greatest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Analysis {
    /// The parts.
    pub parts: Vec<PartSummary>,
    /// Series, each counted once for each part that has it.
    pub series: u64,
    /// Distinct labels.
    pub label_pairs: u64,
    /// Distinct names of labels.
    pub label_names: u64,
    /// Metrics by series.
    pub metrics_by_series: Vec<Ranked>,
    /// Names of labels by distinct values.
    pub names_by_values: Vec<Ranked>,
    /// Names of labels by bytes of their distinct values.
    pub names_by_bytes: Vec<Ranked>,
    /// Labels by series.
    pub pairs_by_series: Vec<Ranked>,
    /// Labels by the share of time that their series miss, summed: where series come and go.
    pub pairs_by_churn: Vec<Ranked>,
    /// Names of labels by the same.
    pub names_by_churn: Vec<Ranked>,
}

/// Counts of a label.
#[derive(Debug, Clone, Copy, Default)]
struct PairCounts {
    series: u64,
    churn: f64,
}

/// Looks at every series of the parts that passes the matchers; lists get at most `limit` entries.
pub fn analyze(parts: Vec<DataPart>, matchers: &[Matcher], limit: usize) -> Result<Analysis, StorageError> {
    let mut index = Index::new();
    let mut counts: Vec<PairCounts> = Vec::new();
    let mut analysis = Analysis::default();
    for DataPart { name, range, mut series } in parts {
        let mut summary = PartSummary {
            name,
            min_time_ms: range.start_ms,
            max_time_ms: range.end_ms,
            series: 0,
            chunks: 0,
            samples: 0,
            chunk_bytes: 0,
            churn: 0.0,
        };
        while let Some(series) = series.next_series()? {
            if !matchers.iter().all(|matcher| matcher.matches_labels(&series.labels)) {
                continue;
            }
            let missed = missed_share(&series, range);
            summary.series += 1;
            summary.churn += missed;
            summary.chunks += series.chunks.len() as u64;
            for chunk in &series.chunks {
                summary.chunk_bytes += chunk.bytes.len() as u64;
                // A chunk that cannot be read counts by its bytes.
                summary.samples += chunk::sample_count(chunk.encoding, &chunk.bytes).map_or(0, u64::from);
            }
            for label in series.labels.iter() {
                let pair = index.intern_pair(label) as usize;
                if counts.len() <= pair {
                    counts.resize(pair + 1, PairCounts::default());
                }
                if let Some(count) = counts.get_mut(pair) {
                    count.series += 1;
                    count.churn += missed;
                }
            }
        }
        analysis.series += summary.series;
        analysis.parts.push(summary);
    }
    rank(&mut analysis, &index, &counts, limit);
    Ok(analysis)
}

/// The share of a part's time before a series' first chunk and behind its last one.
fn missed_share(series: &ChunkSeries, range: TimeRange) -> f64 {
    let all = range.end_ms.saturating_sub(range.start_ms);
    let first = series.chunks.iter().map(|chunk| chunk.range.start_ms).min();
    let last = series.chunks.iter().map(|chunk| chunk.range.end_ms).max();
    match (first, last) {
        (Some(first), Some(last)) if all > 0 => {
            let covered = last.min(range.end_ms).saturating_sub(first.max(range.start_ms)).max(0);
            1.0 - covered as f64 / all as f64
        }
        _ => 0.0,
    }
}

fn rank(analysis: &mut Analysis, index: &Index, counts: &[PairCounts], limit: usize) {
    let labels = || counts.iter().zip(0..).map(|(count, pair)| (index.pair_label(pair as PairId), count));
    analysis.label_pairs = counts.len() as u64;
    analysis.label_names = index.name_sizes().count() as u64;
    analysis.metrics_by_series = greatest(
        labels()
            .filter(|(label, _)| label.name == METRIC_NAME)
            .map(|(label, count)| (label.value, count.series as f64)),
        limit,
    );
    analysis.names_by_values = greatest(index.name_sizes().map(|(name, values, _)| (name, values as f64)), limit);
    analysis.names_by_bytes = greatest(index.name_sizes().map(|(name, _, bytes)| (name, bytes as f64)), limit);
    let pairs = |number: fn(&PairCounts) -> f64| {
        let numbers = labels().map(move |(label, count)| (label, number(count)));
        let kept = select(numbers.collect(), limit);
        kept.into_iter()
            .map(|(label, value)| Ranked { name: format!("{}={}", label.name, label.value), value })
            .collect()
    };
    analysis.pairs_by_series = pairs(|count| count.series as f64);
    analysis.pairs_by_churn = pairs(|count| count.churn);
    let mut by_name: hashbrown::HashMap<&str, f64> = hashbrown::HashMap::new();
    for (label, count) in labels() {
        *by_name.entry(label.name).or_default() += count.churn;
    }
    analysis.names_by_churn = greatest(by_name.into_iter(), limit);
}

/// The entries with the greatest numbers above zero, equal ones by name.
fn select<T: Ord + Copy>(mut all: Vec<(T, f64)>, limit: usize) -> Vec<(T, f64)> {
    all.retain(|(_, value)| *value > 0.0);
    let order = |a: &(T, f64), b: &(T, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if limit < all.len() {
        all.select_nth_unstable_by(limit, order);
        all.truncate(limit);
    }
    all.sort_unstable_by(order);
    all
}

fn greatest<'a>(all: impl Iterator<Item = (&'a str, f64)>, limit: usize) -> Vec<Ranked> {
    select(all.collect(), limit).into_iter().map(|(name, value)| Ranked { name: name.to_owned(), value }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chunk::XorAppender;
    use crate::model::{ChunkEncoding, LabelSet};
    use crate::storage::{Chunk, ChunkBytes, ChunkSource};

    struct Fixed(std::vec::IntoIter<ChunkSeries>);

    impl ChunkSource for Fixed {
        fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
            Ok(self.0.next())
        }
    }

    fn series(labels: &[(&str, &str)], start_ms: i64, end_ms: i64) -> ChunkSeries {
        let mut bytes = Vec::new();
        let mut appender = XorAppender::start(&mut bytes, start_ms, 0);
        appender.append(&mut bytes, start_ms, 0, end_ms, 1);
        appender.write_count(&mut bytes);
        let chunk = Chunk {
            range: TimeRange::new(start_ms, end_ms),
            encoding: ChunkEncoding::Xor,
            bytes: ChunkBytes::Memory(Arc::from(bytes)),
        };
        ChunkSeries { labels: LabelSet::from_pairs(labels.iter().copied()), chunks: vec![chunk], deleted: Vec::new() }
    }

    fn part(name: &str, series: Vec<ChunkSeries>) -> DataPart {
        DataPart { name: name.into(), range: TimeRange::new(0, 100), series: Box::new(Fixed(series.into_iter())) }
    }

    #[test]
    fn analysis_counts_series_values_and_churn_over_all_parts() {
        let steady = || series(&[("__name__", "up"), ("job", "a")], 0, 100);
        let short = series(&[("__name__", "pods"), ("pod", "x-1")], 50, 75);
        let other = series(&[("__name__", "pods"), ("pod", "x-22")], 0, 100);
        let analysis =
            analyze(vec![part("one", vec![short, steady()]), part("two", vec![other, steady()])], &[], 2).unwrap();
        assert_eq!((analysis.series, analysis.label_pairs, analysis.label_names), (4, 5, 3));
        assert_eq!((analysis.parts[0].samples, analysis.parts[0].churn, analysis.parts[1].churn), (4, 0.75, 0.0));
        let ranked = |name: &str, value| Ranked { name: name.into(), value };
        assert_eq!(analysis.metrics_by_series, [ranked("pods", 2.0), ranked("up", 2.0)]);
        assert_eq!(analysis.names_by_values, [ranked("__name__", 2.0), ranked("pod", 2.0)]);
        assert_eq!(analysis.names_by_bytes, [ranked("pod", 7.0), ranked("__name__", 6.0)]);
        assert_eq!(analysis.pairs_by_series, [ranked("__name__=pods", 2.0), ranked("__name__=up", 2.0)]);
        assert_eq!(analysis.pairs_by_churn, [ranked("__name__=pods", 0.75), ranked("pod=x-1", 0.75)]);
        assert_eq!(analysis.names_by_churn, [ranked("__name__", 0.75), ranked("pod", 0.75)]);
    }
}
