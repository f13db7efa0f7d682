//! Samples as text: the lines of `promtool tsdb dump`, and expositions that can be imported again.

use std::io::{self, Write};

use serde::Serialize;

use crate::encoding::go_float;
use crate::model::{LabelSet, METRIC_NAME, Matcher, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{Column, Queryable, SelectHints, SelectedSeries, StorageError};
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

/// Writes samples as `promtool tsdb dump` does: a line for each, with its labels, its value and its time in
/// milliseconds, series after series.
pub fn dump(store: &dyn Queryable, selection: &Selection, out: &mut dyn Write) -> Result<TextReport, TextOutError> {
    let mut report = TextReport::default();
    let mut column = Column::default();
    let querier = store.querier(selection.range)?;
    for series in select(&*querier, &selection.selectors)? {
        column.clear();
        series.samples.read(selection.range, &mut column)?;
        let labels = series.labels.to_string();
        let mut histograms = column.histograms.iter().peekable();
        for (index, (&timestamp_ms, &value)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
            match histograms.next_if(|(at, _)| *at == index) {
                Some((_, histogram)) => writeln!(out, "{labels} {histogram} {timestamp_ms}")?,
                None => writeln!(out, "{labels} {} {timestamp_ms}", go_float::general(value, None))?,
            }
        }
        report.series += u64::from(!column.is_empty());
        report.samples += column.len() as u64;
    }
    report.warnings = querier.warnings();
    Ok(report)
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
    use super::*;
    use crate::model::stale_nan;
    use crate::promql::testing::MemoryStorage;
    use crate::text::{Line, TextReader};

    fn store() -> (MemoryStorage, Vec<(LabelSet, i64, f64)>) {
        let series = [
            LabelSet::from_pairs([("__name__", "up"), ("job", "a \"b\"\n\\"), ("A", "x")]),
            LabelSet::from_pairs([("__name__", "http.requests"), ("k.v", "ü")]),
        ];
        let samples = [(-1500, 1e300), (0, f64::NEG_INFINITY), (1_700_000_000_001, 0.1), (1_700_000_000_002, -0.0)];
        let mut storage = MemoryStorage::default();
        let mut all = Vec::new();
        for labels in &series {
            for (timestamp_ms, value) in samples {
                storage.append(labels, timestamp_ms, value);
                all.push((labels.clone(), timestamp_ms, value));
            }
        }
        storage.append(&series[0], 1_700_000_000_003, stale_nan());
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
            assert_eq!((report.series, report.samples, report.stale_skipped), (2, 8, 1));
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

    #[test]
    fn export_and_dump_of_a_selection_hold_nothing_else() {
        let (store, _) = store();
        let matchers = |name: &str| vec![Matcher::equal("__name__", name)];
        let selection = Selection { selectors: vec![matchers("up"), matchers("up")], range: TimeRange::new(0, 5) };
        let mut text = Vec::new();
        dump(&store, &selection, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "{A=\"x\", __name__=\"up\", job=\"a \\\"b\\\"\\n\\\\\"} -Inf 0\n");
        let mut text = Vec::new();
        export(&store, &selection, TextFormat::OpenMetrics, &mut text).unwrap();
        let expected = "# TYPE up unknown\nup{A=\"x\",job=\"a \\\"b\\\"\\n\\\\\"} -Inf 0.000\n# EOF\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
