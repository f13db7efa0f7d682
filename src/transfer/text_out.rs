//! Samples as text: the lines of `promtool tsdb dump`, and expositions that can be imported again.

use std::io::{self, Write};

use serde::Serialize;

use crate::chunk;
use crate::compaction::Merger;
use crate::db::DataPart;
use crate::encoding::{Corruption, go_float};
use crate::model::{LabelSet, METRIC_NAME, Matcher, SampleValue, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{ChunkSeries, ChunkSource, Column, Queryable, SelectHints, SelectedSeries, StorageError};
use crate::text::TextFormat;

/// Which samples to write.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Series that pass all matchers of any of these; every series where there is none.
    pub selectors: Vec<Vec<Matcher>>,
    /// When the samples were taken.
    pub range: TimeRange,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TextReport {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Staleness markers that were left out, since no text format can say them.
    pub stale_skipped: u64,
    /// Native histograms that were left out, since neither text format can say them.
    pub histograms_skipped: u64,
    /// What may be missing.
    pub warnings: Vec<String>,
}

/// Why samples could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TextOutError {
    /// They could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nobody takes the text.
    #[error("write: {0}")]
    Write(#[from] io::Error),
}

/// The text of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// As `promtool tsdb dump`: labels, value, time in milliseconds.
    Samples,
    /// As `promtool tsdb dump-openmetrics`: time in seconds, without staleness markers and native histograms, which
    /// OpenMetrics cannot say.
    OpenMetrics,
}

/// Writes samples as promtool does, a line for each, series after series in the order of their labels. `parts` stand in
/// the order in which their samples win over others of the same time. One series is in memory at a time.
pub fn dump(
    parts: Vec<DataPart>,
    selection: &Selection,
    format: DumpFormat,
    out: &mut dyn Write,
) -> Result<TextReport, TextOutError> {
    let mut report = TextReport::default();
    let overlapping = parts.into_iter().filter(|part| part.range.overlaps(&selection.range));
    let selected = |part: DataPart| -> Box<dyn ChunkSource> {
        Box::new(Selected { source: part.series, selectors: selection.selectors.clone() })
    };
    let mut merger = Merger::new(overlapping.map(selected).collect(), selection.range)?;
    while let Some(series) = merger.next_series()? {
        let name = match format {
            DumpFormat::Samples => series.labels.to_string(),
            DumpFormat::OpenMetrics => braced_name(&series.labels),
        };
        report.series += 1;
        for chunk in &series.chunks {
            let damaged = |fault: Corruption| StorageError::Corrupt {
                what: fault.to_string(),
                place: format!("the chunk from {} to {} ms of {name}", chunk.range.start_ms, chunk.range.end_ms),
            };
            for sample in chunk::samples(chunk.encoding, &chunk.bytes).map_err(damaged)? {
                let (timestamp_ms, value) = sample.map_err(damaged)?;
                match (format, &value) {
                    (DumpFormat::Samples, _) => writeln!(out, "{name} {value} {timestamp_ms}")?,
                    (DumpFormat::OpenMetrics, SampleValue::Float(float)) if is_stale_nan(*float) => {
                        report.stale_skipped += 1;
                        continue;
                    }
                    (DumpFormat::OpenMetrics, SampleValue::Float(_)) => {
                        writeln!(out, "{name} {value} {}", time_text(timestamp_ms, TextFormat::OpenMetrics))?;
                    }
                    (DumpFormat::OpenMetrics, _) => {
                        report.histograms_skipped += 1;
                        continue;
                    }
                }
                report.samples += 1;
            }
        }
    }
    if format == DumpFormat::OpenMetrics {
        writeln!(out, "# EOF")?;
    }
    Ok(report)
}

/// The series of a source that pass all matchers of any selector; all where there is none.
struct Selected {
    source: Box<dyn ChunkSource>,
    selectors: Vec<Vec<Matcher>>,
}

impl ChunkSource for Selected {
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        let passes = |labels: &LabelSet| {
            let all = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
            self.selectors.is_empty() || self.selectors.iter().any(all)
        };
        while let Some(series) = self.source.next_series()? {
            if passes(&series.labels) {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }
}

/// Writes samples such that they can be imported again, metric after metric.
pub fn export(
    store: &dyn Queryable,
    selection: &Selection,
    format: TextFormat,
    out: &mut dyn Write,
) -> Result<TextReport, TextOutError> {
    let mut report = TextReport::default();
    let mut column = Column::default();
    let querier = store.querier(selection.range)?;
    for metric in querier.label_values(METRIC_NAME, &[], 0)? {
        let of_metric = Matcher::equal(METRIC_NAME, metric.as_str());
        let selectors: Vec<Vec<Matcher>> = match selection.selectors.as_slice() {
            [] => vec![vec![of_metric]],
            selectors => selectors.iter().map(|all| all.iter().cloned().chain([of_metric.clone()]).collect()).collect(),
        };
        let mut is_first = true;
        for series in select(&*querier, &selectors)? {
            column.clear();
            series.samples.read(selection.range, &mut column)?;
            let name = exposed_name(&series.labels);
            let mut histograms = column.histograms.iter().peekable();
            for (index, (&timestamp_ms, &value)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
                if histograms.next_if(|(at, _)| *at == index).is_some() {
                    report.histograms_skipped += 1;
                } else if is_stale_nan(value) {
                    report.stale_skipped += 1;
                } else {
                    if std::mem::take(&mut is_first) {
                        write_type(out, &metric, format)?;
                    }
                    writeln!(out, "{name} {} {}", go_float::general(value, None), time_text(timestamp_ms, format))?;
                    report.samples += 1;
                }
            }
            report.series += u64::from(!column.is_empty());
        }
    }
    if format == TextFormat::OpenMetrics {
        writeln!(out, "# EOF")?;
    }
    report.warnings = querier.warnings();
    Ok(report)
}

/// The series of any of the selectors, each once, by their labels.
fn select(
    querier: &dyn crate::storage::Querier,
    selectors: &[Vec<Matcher>],
) -> Result<Vec<SelectedSeries>, StorageError> {
    let hints = SelectHints::default();
    match selectors {
        [] => querier.select(&[], &hints),
        [one] => querier.select(one, &hints),
        several => {
            let mut all = Vec::new();
            for matchers in several {
                all.append(&mut querier.select(matchers, &hints)?);
            }
            all.sort_by(|a, b| a.labels.cmp(&b.labels));
            all.dedup_by(|a, b| a.labels == b.labels);
            Ok(all)
        }
    }
}

fn write_type(out: &mut dyn Write, metric: &str, format: TextFormat) -> io::Result<()> {
    let kind = match format {
        TextFormat::Prometheus => "untyped",
        TextFormat::OpenMetrics => "unknown",
    };
    if is_plain_metric(metric) {
        writeln!(out, "# TYPE {metric} {kind}")
    } else {
        writeln!(out, "# TYPE {} {kind}", quoted(metric))
    }
}

fn time_text(timestamp_ms: TimestampMs, format: TextFormat) -> String {
    match format {
        TextFormat::Prometheus => timestamp_ms.to_string(),
        TextFormat::OpenMetrics => {
            let sign = if timestamp_ms < 0 { "-" } else { "" };
            let magnitude = timestamp_ms.unsigned_abs();
            format!("{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
        }
    }
}

/// A series as it stands in front of its value.
fn exposed_name(labels: &LabelSet) -> String {
    let metric = labels.metric_name().unwrap_or_default();
    let mut inside = Vec::new();
    if !is_plain_metric(metric) {
        inside.push(quoted(metric));
    }
    for label in labels.iter().filter(|label| label.name != METRIC_NAME) {
        let name = if is_plain_label(label.name) { label.name.to_owned() } else { quoted(label.name) };
        inside.push(format!("{name}={}", quoted(label.value)));
    }
    let before = if is_plain_metric(metric) { metric } else { "" };
    if inside.is_empty() { before.to_owned() } else { format!("{before}{{{}}}", inside.join(",")) }
}

/// The same with braces in any case.
fn braced_name(labels: &LabelSet) -> String {
    let name = exposed_name(labels);
    if name.ends_with('}') { name } else { format!("{name}{{}}") }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn is_plain(name: &str, extra: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || extra.contains(&byte))
}

fn is_plain_metric(name: &str) -> bool {
    is_plain(name, b":")
}

fn is_plain_label(name: &str) -> bool {
    is_plain(name, b"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::chunk::ChunkBuilder;
    use crate::model::stale_nan;
    use crate::promql::testing::MemoryStorage;
    use crate::storage::Chunk;
    use crate::text::{Line, TextReader};

    fn store() -> (MemoryStorage, Vec<(LabelSet, i64, f64)>) {
        let series = [
            LabelSet::from_pairs([("__name__", "up"), ("job", "a \"b\"\n\\"), ("A", "x")]),
            LabelSet::from_pairs([("__name__", "http.requests"), ("k.v", "ü")]),
        ];
        let samples = [
            (-1500, 1e300),
            (-1001, 2.5),
            (0, f64::NEG_INFINITY),
            (1001, 3.5),
            (1_075_000_000_001, 4.5),
            (1_700_000_000_001, 0.1),
            (1_700_000_000_002, -0.0),
            // Where the seconds are rounded by more than a thousandth of a millisecond.
            (68_719_646_619_982, 5.5),
        ];
        let mut storage = MemoryStorage::default();
        let mut all = Vec::new();
        for labels in &series {
            for (timestamp_ms, value) in samples {
                storage.append(labels, timestamp_ms, value);
                all.push((labels.clone(), timestamp_ms, value));
            }
        }
        storage.append(&series[0], 68_719_646_619_983, stale_nan());
        (storage, all)
    }

    const ALL: Selection = Selection { selectors: Vec::new(), range: TimeRange::ALL };

    #[test]
    fn export_reads_back_to_the_same_samples_in_both_formats() {
        let (store, mut samples) = store();
        samples.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
            let mut text = Vec::new();
            let report = export(&store, &ALL, format, &mut text).unwrap();
            assert_eq!((report.series, report.samples, report.stale_skipped), (2, 16, 1));
            let mut reader = TextReader::new(text.as_slice(), format);
            let mut read = Vec::new();
            while let Some(line) = reader.next_line().unwrap() {
                if let Line::Sample(sample) = line {
                    read.push((sample.label_set(), sample.timestamp_ms.unwrap(), sample.value));
                }
            }
            read.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            assert_eq!(read, samples, "{}", String::from_utf8_lossy(&text));
        }
    }

    /// The same samples as two parts that have some in common.
    fn parts() -> Vec<DataPart> {
        let (_, samples) = store();
        let part = |name: &str, kept: &dyn Fn(usize) -> bool| {
            let mut by_series: BTreeMap<LabelSet, Vec<Chunk>> = BTreeMap::new();
            for (_, (labels, timestamp_ms, value)) in samples.iter().enumerate().filter(|(index, _)| kept(*index)) {
                let mut builder = ChunkBuilder::new();
                assert!(builder.push(*timestamp_ms, &SampleValue::Float(*value)).is_none());
                by_series.entry(labels.clone()).or_default().extend(builder.finish());
            }
            let series = by_series.into_iter().map(|(labels, chunks)| ChunkSeries { labels, chunks, deleted: vec![] });
            let series: Box<dyn ChunkSource> = Box::new(Fixed(series.collect::<Vec<_>>().into_iter()));
            DataPart { name: name.into(), range: TimeRange::new(-1500, 68_719_646_619_983), series }
        };
        vec![part("a", &|index| index % 4 != 3), part("b", &|index| index % 2 == 1)]
    }

    struct Fixed(std::vec::IntoIter<ChunkSeries>);

    impl ChunkSource for Fixed {
        fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
            Ok(self.0.next())
        }
    }

    fn dumped(selection: &Selection, format: DumpFormat) -> (TextReport, String) {
        let mut text = Vec::new();
        let report = dump(parts(), selection, format, &mut text).unwrap();
        (report, String::from_utf8(text).unwrap())
    }

    #[test]
    fn dump_has_each_sample_of_all_parts_once_in_the_order_of_labels_and_times() {
        let (_, mut samples) = store();
        samples.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let line =
            |(labels, at, value): &(LabelSet, i64, f64)| format!("{labels} {} {at}\n", go_float::general(*value, None));
        let expected: String = samples.iter().map(line).collect();
        let (report, text) = dumped(&ALL, DumpFormat::Samples);
        assert_eq!(text, expected);
        assert_eq!((report.series, report.samples), (2, 16));
    }

    #[test]
    fn export_and_dump_of_a_selection_hold_nothing_else() {
        let (store, _) = store();
        let matchers = |name: &str| vec![Matcher::equal("__name__", name)];
        let selection = Selection { selectors: vec![matchers("up"), matchers("up")], range: TimeRange::new(0, 5) };
        let (_, text) = dumped(&selection, DumpFormat::Samples);
        assert_eq!(text, "{A=\"x\", __name__=\"up\", job=\"a \\\"b\\\"\\n\\\\\"} -Inf 0\n");
        let (_, text) = dumped(&selection, DumpFormat::OpenMetrics);
        assert_eq!(text, "up{A=\"x\",job=\"a \\\"b\\\"\\n\\\\\"} -Inf 0.000\n# EOF\n");
        let mut text = Vec::new();
        export(&store, &selection, TextFormat::OpenMetrics, &mut text).unwrap();
        let expected = "# TYPE up unknown\nup{A=\"x\",job=\"a \\\"b\\\"\\n\\\\\"} -Inf 0.000\n# EOF\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn dump_as_open_metrics_counts_what_it_leaves_out() {
        let labels = LabelSet::from_pairs([("__name__", "m")]);
        let mut builder = ChunkBuilder::new();
        builder.push(1000, &SampleValue::Float(stale_nan()));
        builder.push(2000, &SampleValue::Float(1.5));
        let chunks = builder.finish().into_iter().collect();
        let series = vec![ChunkSeries { labels, chunks, deleted: Vec::new() }];
        let part = DataPart { name: "p".into(), range: TimeRange::ALL, series: Box::new(Fixed(series.into_iter())) };
        let mut text = Vec::new();
        let report = dump(vec![part], &ALL, DumpFormat::OpenMetrics, &mut text).unwrap();
        assert_eq!((report.samples, report.stale_skipped), (1, 1));
        assert_eq!(String::from_utf8(text).unwrap(), "m{} 1.5 2.000\n# EOF\n");
    }
}
