//! Reads the load back through the query API and compares every value, bit by bit.
//!
//! A target is read with instant queries of a range selector, `{instance="..."}[...]`, which give the stored samples
//! as they are. Values travel as decimal text that names one float exactly, so reading it gives the stored bits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::workload::{TARGET_SERIES, Workload};
use super::write::BenchError;
use crate::model::{LabelSet, METRIC_NAME};
use crate::net::{Connection, ServerUrl};

/// Samples that one query may bring back.
const QUERY_SAMPLES_MAX: u64 = 1_000_000;
/// How long what was acknowledged may take until it can be read: some stores show it a moment later.
const VISIBLE_WITHIN: Duration = Duration::from_secs(20);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many findings are kept in words.
const FINDINGS_MAX: usize = 10;

/// What reading back showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReadBack {
    /// Samples that had to be there.
    pub samples_expected: u64,
    /// Samples that were there with the value that was sent.
    pub samples_equal: u64,
    /// Samples that were not there.
    pub samples_missing: u64,
    /// Samples that were there with another value.
    pub samples_wrong: u64,
    /// Samples of these series, or series of these targets, that were never sent.
    pub samples_unexpected: u64,
    /// The first findings in words.
    pub findings: Vec<String>,
}

impl ReadBack {
    /// Whether all is there, and nothing else.
    pub fn is_good(&self) -> bool {
        self.samples_equal == self.samples_expected && self.samples_wrong == 0 && self.samples_unexpected == 0
    }

    fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<AnswerData>,
}

#[derive(Deserialize)]
struct AnswerData {
    result: Vec<AnswerSeries>,
}

#[derive(Deserialize)]
struct AnswerSeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Reads the first `scrapes` scrapes of every series back.
pub async fn read_back(
    server: &ServerUrl,
    workload: &Workload,
    scrapes: u64,
    progress: &ProgressBar,
) -> Result<ReadBack, BenchError> {
    let mut found = ReadBack::default();
    let mut connection = Connection::new(server, Duration::from_secs(120), 1 << 30);
    let scrapes_per_query = (QUERY_SAMPLES_MAX / TARGET_SERIES).max(1);
    progress.set_message("reading back");
    progress.set_length(scrapes * workload.shape().series);
    progress.set_position(0);
    let mut looks = VISIBLE_WITHIN.as_millis() / LOOK_EVERY.as_millis();
    for target in 0..workload.targets() {
        let series = target * TARGET_SERIES..workload.shape().series.min((target + 1) * TARGET_SERIES);
        let labels: HashMap<LabelSet, u64> =
            series.clone().map(|series| (workload.label_set(series), series)).collect();
        let mut first = 0;
        while first < scrapes {
            let end = scrapes.min(first + scrapes_per_query);
            let mut answer = query(&mut connection, workload, target, first, end).await?;
            while looks > 0 && answer.iter().map(|got| got.values.len()).sum::<usize>() < labels.len() {
                looks -= 1;
                tokio::time::sleep(LOOK_EVERY).await;
                answer = query(&mut connection, workload, target, first, end).await?;
            }
            compare(workload, &labels, first..end, &answer, &mut found);
            progress.inc((end - first) * labels.len() as u64);
            first = end;
        }
    }
    Ok(found)
}

/// Asks for the scrapes `first..end` of a target.
async fn query(
    connection: &mut Connection,
    workload: &Workload,
    target: u64,
    first: u64,
    end: u64,
) -> Result<Vec<AnswerSeries>, BenchError> {
    let last_ms = workload.timestamp_ms(target, end - 1);
    // A range selector leaves its left end out.
    let range_ms = last_ms - workload.timestamp_ms(target, first) + 1;
    let query = format!("{{instance=\"{}\"}}[{range_ms}ms]", workload.instance(target));
    let time = format!("{}.{:03}", last_ms.div_euclid(1000), last_ms.rem_euclid(1000));
    let failed = |reason: String| BenchError::Query { query: query.clone(), reason };
    let response = connection.post_form("/api/v1/query", &[("query", &query), ("time", &time)]).await?;
    let answer: Answer =
        serde_json::from_slice(response.body()).map_err(|error| failed(format!("{}, {error}", response.status())))?;
    match answer.data {
        Some(data) if answer.status == "success" => Ok(data.result),
        _ => Err(failed(format!("{}, {}", response.status(), answer.error))),
    }
}

/// The labels of an answer as the load has them. No name of the load has a dot: those that come back with dots were sent
/// so, and the receiver kept them.
fn as_sent(metric: &BTreeMap<String, String>) -> LabelSet {
    let pairs = metric.iter().map(|(name, value)| match name.as_str() {
        METRIC_NAME => (name.clone(), value.replace('.', "_")),
        _ => (name.replace('.', "_"), value.clone()),
    });
    let pairs: Vec<(String, String)> = pairs.collect();
    LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Compares one answer with what was sent.
fn compare(
    workload: &Workload,
    expected: &HashMap<LabelSet, u64>,
    scrapes: std::ops::Range<u64>,
    answer: &[AnswerSeries],
    found: &mut ReadBack,
) {
    let scrape_count = scrapes.end - scrapes.start;
    found.samples_expected += scrape_count * expected.len() as u64;
    let mut series_seen = 0u64;
    for got in answer {
        let labels = as_sent(&got.metric);
        let Some(&series) = expected.get(&labels) else {
            found.samples_unexpected += got.values.len() as u64;
            found.find(|| format!("series {labels} was never sent"));
            continue;
        };
        series_seen += 1;
        let mut values: HashMap<i64, &str> =
            got.values.iter().map(|(seconds, value)| ((seconds * 1000.0).round() as i64, value.as_str())).collect();
        for scrape in scrapes.clone() {
            let sample = workload.sample(series, scrape);
            match values.remove(&sample.timestamp_ms) {
                None => {
                    found.samples_missing += 1;
                    found.find(|| format!("{labels} at {} is missing", sample.timestamp_ms));
                }
                Some(text) if text.parse::<f64>().is_ok_and(|value| value.to_bits() == sample.value.to_bits()) => {
                    found.samples_equal += 1;
                }
                Some(text) => {
                    found.samples_wrong += 1;
                    let (at, sent) = (sample.timestamp_ms, sample.value);
                    found.find(|| format!("{labels} at {at} is {text}, sent was {sent}"));
                }
            }
        }
        found.samples_unexpected += values.len() as u64;
        for timestamp_ms in values.keys() {
            found.find(|| format!("{labels} at {timestamp_ms} was never sent"));
        }
    }
    let absent = (expected.len() as u64).saturating_sub(series_seen);
    found.samples_missing += absent * scrape_count;
    if absent > 0 {
        found.find(|| format!("{absent} of {} series of a target are missing", expected.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::Shape;
    use super::*;

    fn workload() -> Workload {
        Workload::new(Shape { series: 3, attributes: 5, start_ms: 1_700_000_000_123, interval_ms: 1000 })
    }

    /// What a server that lost nothing gives back, as it would travel.
    fn answer(workload: &Workload) -> Vec<AnswerSeries> {
        let series = (0..3).map(|series| {
            let labels = workload.label_set(series);
            let values = (0..4).map(|scrape| {
                let sample = workload.sample(series, scrape);
                (sample.timestamp_ms as f64 / 1000.0, sample.value.to_string())
            });
            AnswerSeries {
                metric: labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect(),
                values: values.collect(),
            }
        });
        series.collect()
    }

    fn compared(answer: &[AnswerSeries]) -> ReadBack {
        let workload = workload();
        let expected = (0..3).map(|series| (workload.label_set(series), series)).collect();
        let mut found = ReadBack::default();
        compare(&workload, &expected, 0..4, answer, &mut found);
        found
    }

    #[test]
    fn complete_answer_is_good() {
        let found = compared(&answer(&workload()));
        assert!(found.is_good(), "{found:?}");
        assert_eq!(found.samples_equal, 12);
    }

    #[test]
    fn names_that_the_receiver_left_with_dots_are_known() {
        let mut answer = answer(&workload());
        for series in &mut answer {
            let kept = |(name, value): (&String, &String)| match name.as_str() {
                METRIC_NAME => (name.clone(), value.replace('_', ".")),
                _ => (name.replace('_', "."), value.clone()),
            };
            series.metric = series.metric.iter().map(kept).collect();
        }
        assert!(compared(&answer).is_good());
    }

    #[test]
    fn missing_series_and_samples_are_counted_and_named() {
        let mut answer = answer(&workload());
        answer.remove(1);
        answer[0].values.remove(2);
        let found = compared(&answer);
        assert!(!found.is_good());
        assert_eq!((found.samples_missing, found.samples_equal), (5, 7));
        assert_eq!(found.findings.len(), 2);
    }

    #[test]
    fn value_that_differs_in_its_last_bit_is_wrong() {
        let mut answer = answer(&workload());
        let value: f64 = answer[0].values[1].1.parse().unwrap();
        answer[0].values[1].1 = f64::from_bits(value.to_bits() ^ 1).to_string();
        let found = compared(&answer);
        assert_eq!((found.samples_wrong, found.samples_equal), (1, 11));
        assert!(!found.is_good());
    }

    #[test]
    fn samples_and_series_that_were_never_sent_are_found() {
        let mut answer = answer(&workload());
        answer[0].values.push((1.0, "1".into()));
        answer.push(AnswerSeries { metric: BTreeMap::new(), values: vec![(1.0, "1".into())] });
        let found = compared(&answer);
        assert_eq!(found.samples_unexpected, 2);
        assert!(!found.is_good());
    }
}
