//! Exemplars as senders see them, and what a restart finds of them.

use super::super::replay_tests::replay;
use super::super::tests::{NOW_MS, raw};
use super::*;
use crate::head::HeadOptions;
use crate::model::Sample;
use crate::storage::SeriesEntry;
use crate::wal::GroupSource as _;
use crate::wal::record::{self, RecordType};

/// Label bytes of the series, how many samples it has, and its exemplars: label bytes, time and value.
type Entry<'a> = (&'a [u8], u32, &'a [(&'a [u8], i64, f64)]);

fn append(head: &Head, entries: &[Entry<'_>]) -> BatchOutcome {
    let mut batch = WriteBatch::default();
    for &(labels, samples, exemplars) in entries {
        let start = batch.samples.len() as u32;
        let times = (0..samples).map(|second| Sample { timestamp_ms: NOW_MS + i64::from(second), value: 1.0 });
        batch.samples.extend(times);
        let entry = batch.series.len() as u32;
        batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: start..start + samples });
        for &(labels, timestamp_ms, value) in exemplars {
            batch.exemplars.push(ExemplarSample { entry, labels: RawLabels(labels), timestamp_ms, value });
        }
    }
    head.append(&batch, NOW_MS)
}

fn reasons(outcome: &BatchOutcome) -> Vec<(ExemplarRejectReason, u64)> {
    let counts = ExemplarRejectReason::ALL.into_iter().zip(outcome.exemplars_rejected);
    counts.filter(|&(_, count)| count > 0).collect()
}

fn all(head: &Head) -> Vec<SeriesExemplars> {
    head.exemplars(&[Vec::new()], TimeRange::ALL, &|| true).unwrap()
}

fn head() -> Head {
    Head::in_memory(HeadOptions::default())
}

#[test]
fn exemplars_come_with_their_samples_or_alone_and_in_any_spelling_of_their_series() {
    let head = head();
    let up = raw(&[("__name__", "up"), ("job", "a")]);
    let spelled = raw(&[("job", "a"), ("__name__", "up")]);
    let trace = raw(&[("trace_id", "t")]);
    let first = append(&head, &[(&up, 1, &[(&trace, NOW_MS, 1.5)])]);
    assert_eq!((first.added, first.exemplars, first.exemplars_rejected_total()), (1, 1, 0));
    let alone = append(&head, &[(&up, 0, &[(&trace, NOW_MS + 1, 2.5)]), (&spelled, 0, &[(&[], NOW_MS + 2, 3.5)])]);
    assert_eq!((alone.exemplars, alone.exemplars_rejected_total()), (2, 0));
    let found = all(&head);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.to_string(), r#"{__name__="up", job="a"}"#);
    assert_eq!(found[0].1.iter().map(|one| one.value).collect::<Vec<_>>(), [1.5, 2.5, 3.5]);
    assert!(found[0].1[2].labels.is_empty());
}

#[test]
fn request_that_is_sent_again_is_accepted_again_and_adds_and_logs_nothing() {
    let head = head();
    let up = raw(&[("__name__", "up")]);
    let trace = raw(&[("trace_id", "t")]);
    let exemplars: [(&[u8], i64, f64); 3] = [(&trace, NOW_MS, 1.0), (&trace, NOW_MS + 9, 2.0), (&[], NOW_MS + 9, 1.0)];
    for round in 0..2 {
        let outcome = append(&head, &[(&up, 1, &exemplars)]);
        assert_eq!((outcome.exemplars, outcome.exemplars_rejected_total()), (3, 0), "{round}");
        let records = head.take_records().records;
        assert_eq!(records.len(), if round == 0 { 3 } else { 0 });
    }
    assert_eq!(all(&head)[0].1.len(), 3);
}

#[test]
fn exemplars_are_refused_each_with_its_reason_and_cost_no_other() {
    use ExemplarRejectReason as R;
    let head = head();
    let up = raw(&[("__name__", "up")]);
    let unknown = raw(&[("__name__", "unknown")]);
    let refused = raw(&[("job", "unnamed")]);
    let long = raw(&[("trace_id", &"x".repeat(121))]);
    let twice = raw(&[("a", "1"), ("a", "2")]);
    let trace = raw(&[("trace_id", "t")]);
    let of_up: [(&[u8], i64, f64); 5] = [
        (&trace, NOW_MS, 1.0),
        (&long, NOW_MS, 1.0),
        (&twice, NOW_MS, 1.0),
        (&trace, NOW_MS - 1, 1.0),
        (&trace, NOW_MS + 700_000, 1.0),
    ];
    let one: [(&[u8], i64, f64); 1] = [(&trace, NOW_MS, 1.0)];
    let outcome = append(&head, &[(&up, 1, &of_up), (&unknown, 0, &one), (&refused, 1, &one)]);
    assert_eq!((outcome.added, outcome.rejected_total(), outcome.exemplars), (1, 1, 1));
    let expected =
        [(R::InvalidLabels, 1), (R::LabelLimit, 1), (R::UnknownSeries, 2), (R::OutOfOrder, 1), (R::TooFarInFuture, 1)];
    assert_eq!(reasons(&outcome), expected);
    let details: Vec<_> =
        outcome.exemplar_rejects.iter().map(|reject| (reject.series_index, &*reject.detail)).collect();
    let late = format!("exemplar at {} ms, newest of the series at {NOW_MS} ms: {{__name__=\"up\"}}", NOW_MS - 1);
    assert!(details.contains(&(0, &*late)), "{details:?}");
    assert_eq!(all(&head)[0].1.len(), 1);
}

#[test]
fn late_exemplar_is_taken_within_the_window_of_late_samples() {
    let head = Head::in_memory(HeadOptions { out_of_order_window_ms: 1000, ..HeadOptions::default() });
    let up = raw(&[("__name__", "up")]);
    let times: [(&[u8], i64, f64); 3] = [(&[], NOW_MS, 1.0), (&[], NOW_MS - 1000, 2.0), (&[], NOW_MS - 1001, 3.0)];
    let outcome = append(&head, &[(&up, 1, &times)]);
    assert_eq!((outcome.exemplars, reasons(&outcome)), (2, vec![(ExemplarRejectReason::OutOfOrder, 1)]));
    assert_eq!(all(&head)[0].1.iter().map(|one| one.value).collect::<Vec<_>>(), [2.0, 1.0]);
}

#[test]
fn exemplars_are_refused_where_they_are_turned_off() {
    let head = Head::in_memory(HeadOptions { exemplars_max: 0, ..HeadOptions::default() });
    let up = raw(&[("__name__", "up")]);
    let outcome = append(&head, &[(&up, 1, &[(&[], NOW_MS, 1.0)])]);
    assert_eq!((outcome.added, outcome.exemplars), (1, 0));
    assert_eq!(reasons(&outcome), [(ExemplarRejectReason::Disabled, 1)]);
    assert_eq!(head.take_records().records.len(), 2);
}

#[test]
fn exemplars_are_logged_behind_their_series_and_samples_and_replayed_in_their_order() {
    let head = Head::in_memory(HeadOptions { exemplars_max: 3, ..HeadOptions::default() });
    let [a, b] = ["a", "b"].map(|name| raw(&[("__name__", name)]));
    let trace = raw(&[("trace_id", "t")]);
    let mut log = Vec::new();
    for at in 0..3 {
        let of_a: [(&[u8], i64, f64); 1] = [(&trace, NOW_MS + at, f64::NAN)];
        let of_b: [(&[u8], i64, f64); 1] = [(&[], NOW_MS + at, -0.0)];
        append(&head, &[(&a, 1, &of_a), (&b, 1, &of_b)]);
        log.extend(head.take_records().records);
        let kinds: Vec<_> = log.iter().map(|record| record::split(record).0).collect();
        assert_eq!(kinds.last(), Some(&Some(RecordType::Exemplars)));
    }
    // A group that a failed write put into the log twice.
    log.push(log[log.len() - 1].clone());
    log.push(vec![RecordType::Exemplars as u8, 0, 0]);
    let again = Head::in_memory(HeadOptions { exemplars_max: 3, ..HeadOptions::default() });
    let report = replay(&again, &log);
    assert_eq!((report.exemplars, report.exemplars_unknown, report.records_damaged), (6, 0, 1));
    let [found, expected] = [&again, &head].map(|head| format!("{:?}", all(head)));
    assert_eq!(found, expected);
    let (stats, capacity) = again.exemplar_stats();
    assert_eq!((stats.exemplars, stats.series, capacity), (3, 2, 3));
    assert!(again.take_records().records.is_empty());
    // What comes now is judged by what was replayed.
    let late: [(&[u8], i64, f64); 1] = [(&[], NOW_MS, 7.0)];
    assert_eq!(reasons(&append(&again, &[(&a, 0, &late)])), [(ExemplarRejectReason::OutOfOrder, 1)]);
}

#[test]
fn exemplars_of_series_that_the_log_does_not_name_are_counted() {
    let mut record = Vec::new();
    let exemplar = RefExemplar { series_ref: 7, timestamp_ms: 1, value: 1.0, labels: Vec::new() };
    ExemplarsEncoder::new().push(&mut record, &exemplar);
    let report = replay(&head(), &vec![record]);
    assert_eq!((report.exemplars, report.exemplars_unknown), (0, 1));
}

#[test]
fn selectors_find_series_that_pass_one_of_them_and_exemplars_of_the_range() {
    let head = head();
    let trace = raw(&[("trace_id", "t")]);
    for name in ["c", "a", "b"] {
        let of_one: [(&[u8], i64, f64); 2] = [(&trace, NOW_MS, 1.0), (&trace, NOW_MS + 1, 2.0)];
        append(&head, &[(&raw(&[("__name__", name)]), 1, &of_one)]);
    }
    let name = |value: &str| vec![Matcher::equal("__name__", value)];
    let range = TimeRange::new(NOW_MS + 1, NOW_MS + 5);
    let found = head.exemplars(&[name("c"), name("a"), name("c")], range, &|| true).unwrap();
    let found: Vec<_> =
        found.iter().map(|(labels, of)| (labels.metric_name().unwrap(), of.len(), of[0].value)).collect();
    assert_eq!(found, [("a", 1, 2.0), ("c", 1, 2.0)]);
    assert!(head.exemplars(&[], TimeRange::ALL, &|| true).unwrap().is_empty());
    assert!(head.exemplars(&[name("a")], TimeRange::ALL, &|| false).is_none());
}
