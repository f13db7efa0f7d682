//! The head as its callers see it: acceptance, limits, reading, and a model of all three.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fs::SystemFs;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, LabelSet, MatchOp, Matcher, RawLabels, Sample, SampleValue};
use crate::storage::SelectedSeries;
use crate::storage::{
    BatchOutcome, Column, HistogramSample, Queryable, RejectReason, SelectHints, SeriesEntry, StartSample,
    StorageError, WriteBatch,
};
use crate::wal::record;

/// The clock of all tests here; far behind most sample times would be "too far in the future".
pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// Label bytes and samples (time and value bits) of an entry.
type OwnedEntry = (Vec<u8>, Vec<(i64, u64)>);

/// A request that owns its bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Request(pub(super) Vec<OwnedEntry>);

impl Request {
    fn one(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        Request::default().and(labels, samples)
    }

    fn and(mut self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        self.0.push((raw(labels), samples.iter().map(|&(ms, value)| (ms, value.to_bits())).collect()));
        self
    }

    pub(super) fn append_to(&self, head: &Head) -> BatchOutcome {
        let mut batch = WriteBatch::default();
        for (labels, samples) in &self.0 {
            let start = batch.samples.len() as u32;
            let samples =
                samples.iter().map(|&(timestamp_ms, bits)| Sample { timestamp_ms, value: f64::from_bits(bits) });
            batch.samples.extend(samples);
            batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: start..batch.samples.len() as u32 });
        }
        head.append(&batch, NOW_MS)
    }
}

/// Sends samples of any kind of one series, in an entry each, so that they are taken in their order.
pub(super) fn append_values(head: &Head, labels: &[u8], samples: &[(i64, SampleValue)]) -> BatchOutcome {
    let mut batch = WriteBatch::default();
    for (timestamp_ms, value) in samples {
        let (start, timestamp_ms) = (batch.samples.len() as u32, *timestamp_ms);
        match value {
            SampleValue::Float(value) => batch.samples.push(Sample { timestamp_ms, value: *value }),
            histogram => {
                let (entry, value) = (batch.series.len() as u32, histogram.clone());
                batch.histograms.push(HistogramSample { entry, timestamp_ms, value });
            }
        }
        batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: start..batch.samples.len() as u32 });
    }
    head.append(&batch, NOW_MS)
}

pub(super) fn raw(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_canonical(labels.iter().map(|&(name, value)| Label { name, value }), &mut out);
    out
}

fn head() -> Head {
    Head::in_memory(HeadOptions::default())
}

pub(super) fn open(options: HeadOptions, data_dir: &Path) -> Head {
    let (chunks_dir, quarantine_dir) = (data_dir.join("chunks_head"), data_dir.join("quarantine"));
    Head::open(options, Arc::new(SystemFs), &chunks_dir, &quarantine_dir).unwrap().0
}

/// All samples of all series, by label set.
pub(super) fn contents(head: &Head) -> BTreeMap<LabelSet, Vec<(i64, u64)>> {
    let querier = head.querier(TimeRange::ALL).unwrap();
    let selected = querier.select(&[], &SelectHints::default()).unwrap();
    assert!(selected.windows(2).all(|pair| pair[0].labels < pair[1].labels));
    let read = |series: &crate::storage::SelectedSeries| {
        let mut column = Column::default();
        series.samples.read(TimeRange::ALL, &mut column).unwrap();
        column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits())).collect()
    };
    let contents = selected.iter().map(|series| (series.labels.clone(), read(series))).collect();
    assert_eq!(querier.warnings(), Vec::<String>::new());
    contents
}

pub(super) fn rejected(outcome: &BatchOutcome) -> Vec<(RejectReason, u64)> {
    RejectReason::ALL.into_iter().zip(outcome.rejected).filter(|&(_, count)| count > 0).collect()
}

#[test]
fn zeros_where_counters_began_are_added_before_their_samples_and_never_refused() {
    let head = head();
    let labels = raw(&[("__name__", "requests_total")]);
    let append = |samples: &[(i64, f64)], starts: &[(i64, i64)]| {
        let samples: Vec<_> = samples.iter().map(|&(timestamp_ms, value)| Sample { timestamp_ms, value }).collect();
        let zero = |&(timestamp_ms, before_ms)| StartSample {
            entry: 0,
            before_ms,
            timestamp_ms,
            value: SampleValue::Float(0.0),
        };
        let series = vec![SeriesEntry { labels: RawLabels(&labels), samples: 0..samples.len() as u32 }];
        let starts = starts.iter().map(zero).collect();
        head.append(&WriteBatch { series, samples, starts, ..WriteBatch::default() }, NOW_MS)
    };
    let counts = |outcome: &BatchOutcome| (outcome.added, outcome.starts, outcome.stored_total(), outcome.duplicates);
    let new = append(
        &[(NOW_MS, 5.0), (NOW_MS + 20, 1.0)],
        &[(NOW_MS - 10, NOW_MS), (NOW_MS + 10, NOW_MS + 20), (NOW_MS + 5, NOW_MS + 20)],
    );
    assert_eq!(counts(&new), (4, 2, 2, 0), "of two starts of one sample the first is newer than all before");
    // The same again, one that is older than what is there, and those of samples that are refused themselves.
    let again = append(&[(NOW_MS, 5.0), (NOW_MS + 20, 1.0)], &[(NOW_MS - 10, NOW_MS), (NOW_MS + 10, NOW_MS + 20)]);
    assert_eq!(counts(&again), (0, 0, 2, 2));
    let far = append(&[(i64::MAX, 1.0)], &[(i64::MAX - 1, i64::MAX)]);
    assert_eq!((counts(&far), rejected(&far)), ((0, 0, 0, 0), vec![(RejectReason::TooFarInFuture, 1)]));
    let early = append(&[(NOW_MS + 30, 2.0)], &[(i64::MIN, NOW_MS + 30)]);
    assert_eq!((counts(&early), early.rejected_total()), ((1, 0, 1, 0), 0));
    // A start at the very time of the newest sample is that sample's, whatever its value.
    let met = append(&[(NOW_MS + 40, 3.0)], &[(NOW_MS + 30, NOW_MS + 40)]);
    assert_eq!((counts(&met), met.rejected_total()), ((1, 0, 1, 0), 0));
    let set = LabelSet::from_pairs([("__name__", "requests_total")]);
    let expected =
        [(-10, 0.0), (0, 5.0), (10, 0.0), (20, 1.0), (30, 2.0), (40, 3.0)].map(|(at, value)| (NOW_MS + at, value));
    assert_eq!(contents(&head)[&set], expected.map(|(at, value): (i64, f64)| (at, value.to_bits())));
    let added: Digest = expected.iter().map(|&(at, value)| Digest::of_labels(&set).of_sample(at, value)).sum();
    assert_eq!([&new, &again, &far, &early, &met].map(|outcome| outcome.digest).into_iter().sum::<Digest>(), added);
}

#[test]
fn append_of_new_and_known_series_reads_back() {
    let head = head();
    let first = Request::one(&[("__name__", "up"), ("job", "a")], &[(NOW_MS, 1.0)])
        .and(&[("__name__", "up"), ("job", "b")], &[(NOW_MS, 2.0), (NOW_MS + 1, f64::INFINITY)])
        .append_to(&head);
    assert_eq!((first.added, first.series_created, first.rejected_total()), (3, 2, 0));
    let second = Request::one(&[("__name__", "up"), ("job", "a")], &[(NOW_MS + 5, 3.0)]).append_to(&head);
    assert_eq!((second.added, second.series_created), (1, 0));
    let a = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]);
    let contents = contents(&head);
    assert_eq!(contents.len(), 2);
    assert_eq!(contents[&a], [(NOW_MS, 1f64.to_bits()), (NOW_MS + 5, 3f64.to_bits())]);
    let expected = Digest::of_labels(&a).of_sample(NOW_MS + 5, 3.0);
    assert_eq!(second.digest, expected);
}

#[test]
fn append_accepts_only_newer_samples_and_exact_repeats() {
    let head = head();
    let labels = [("__name__", "up")];
    Request::one(&labels, &[(NOW_MS, 0.0)]).append_to(&head);
    let outcome = Request::one(&labels, &[(NOW_MS, 0.0), (NOW_MS, -0.0), (NOW_MS - 1, 0.0), (NOW_MS + 1, 0.0)])
        .and(&labels, &[(NOW_MS, 0.0), (NOW_MS + 1, 0.0), (NOW_MS + 600_001, 0.0), (NOW_MS + 600_000, 0.0)])
        .append_to(&head);
    assert_eq!((outcome.added, outcome.duplicates), (2, 1 + 2));
    assert_eq!(
        rejected(&outcome),
        [(RejectReason::OutOfOrder, 1), (RejectReason::DuplicateTimestamp, 1), (RejectReason::TooFarInFuture, 1)]
    );
    assert!(outcome.rejects[0].detail.contains(r#"{__name__="up"}"#), "{:?}", outcome.rejects[0]);
}

#[test]
fn append_of_a_new_series_far_behind_the_head_is_out_of_bounds_and_creates_nothing() {
    let head = head();
    Request::one(&[("__name__", "up")], &[(NOW_MS, 0.0)]).append_to(&head);
    let outcome = Request::one(&[("__name__", "old")], &[(NOW_MS - 3_600_001, 0.0)]).append_to(&head);
    assert_eq!(rejected(&outcome), [(RejectReason::OutOfBounds, 1)]);
    assert_eq!(head.series_count(), 1);
    let outcome =
        Request::one(&[("__name__", "old")], &[(NOW_MS - 3_600_001, 0.0), (NOW_MS - 3_600_000, 0.0)]).append_to(&head);
    assert_eq!((outcome.added, rejected(&outcome)), (1, vec![(RejectReason::OutOfBounds, 1)]));
}

#[test]
fn append_of_unsorted_labels_finds_the_same_series() {
    let head = head();
    let sorted = [("__name__", "up"), ("job", "a"), ("zone", "z")];
    let unsorted = [("zone", "z"), ("empty", ""), ("job", "a"), ("__name__", "up")];
    assert_eq!(Request::one(&unsorted, &[(NOW_MS, 1.0)]).append_to(&head).series_created, 1);
    assert_eq!(Request::one(&sorted, &[(NOW_MS + 1, 1.0)]).append_to(&head).series_created, 0);
    let both = Request::one(&unsorted, &[(NOW_MS + 2, 1.0)]).and(&sorted, &[(NOW_MS + 3, 1.0)]).append_to(&head);
    assert_eq!((both.series_created, both.added), (0, 2));
    assert_eq!(contents(&head).len(), 1);
}

#[test]
fn append_past_a_limit_refuses_the_series_and_lets_known_ones_go_on() {
    let options = HeadOptions { series_max: 2, labels_max: 3, label_value_bytes_max: 10, ..HeadOptions::default() };
    let head = Head::in_memory(options);
    let name = |name| [("__name__", name)];
    let outcome = Request::one(&name("a"), &[(NOW_MS, 1.0)])
        .and(&name("b"), &[(NOW_MS, 1.0)])
        .and(&name("c"), &[(NOW_MS, 1.0), (NOW_MS + 1, 1.0)])
        .and(&name("elevenbytes"), &[(NOW_MS, 1.0)])
        .and(&[("__name__", "a"), ("b", "1"), ("c", "1"), ("d", "1")], &[(NOW_MS, 1.0)])
        .and(&[("job", "no name")], &[(NOW_MS, 1.0)])
        .append_to(&head);
    assert_eq!(
        rejected(&outcome),
        [(RejectReason::InvalidLabels, 1), (RejectReason::LabelLimit, 2), (RejectReason::SeriesLimit, 2)]
    );
    assert_eq!(Request::one(&name("a"), &[(NOW_MS + 9, 1.0)]).append_to(&head).added, 1);
    assert_eq!(head.series_count(), 2);
}

#[test]
fn append_at_the_ends_of_time_does_not_overflow() {
    let head = head();
    let labels = [("__name__", "up")];
    let batch = Request::one(&labels, &[(i64::MIN, 1.0), (i64::MIN + 1, 1.0), (0, 1.0), (i64::MAX, 1.0)]);
    let outcome = batch.append_to(&head);
    assert_eq!((outcome.added, rejected(&outcome)), (3, vec![(RejectReason::TooFarInFuture, 1)]));
    assert_eq!(contents(&head).values().next().unwrap().len(), 3);
}

#[test]
fn select_reads_only_the_range_and_refuses_too_many_series() {
    let head = head();
    let mut request = Request::default();
    for job in ["a", "b", "c"] {
        request = request.and(&[("__name__", "up"), ("job", job)], &[(NOW_MS - 10, 1.0), (NOW_MS, 2.0)]);
    }
    request = request.and(&[("__name__", "late")], &[(NOW_MS + 100, 1.0)]);
    request.append_to(&head);
    let querier = head.querier(TimeRange::new(NOW_MS - 5, NOW_MS + 5)).unwrap();
    let matcher = Matcher::new("job", MatchOp::NotEqual, "b").unwrap();
    let selected = querier.select(&[matcher], &SelectHints::default()).unwrap();
    let labels: Vec<String> = selected.iter().map(|series| series.labels.to_string()).collect();
    assert_eq!(labels, [r#"{__name__="up", job="a"}"#, r#"{__name__="up", job="c"}"#]);
    let mut column = Column::default();
    selected[0].samples.read(TimeRange::new(NOW_MS - 5, NOW_MS + 5), &mut column).unwrap();
    assert_eq!(column.timestamps_ms, [NOW_MS]);
    let hints = SelectHints { series_max: 2, ..SelectHints::default() };
    let refused = querier.select(&[Matcher::equal("__name__", "up")], &hints);
    assert!(matches!(refused, Err(StorageError::Limit { limit: 2, .. })));
    let taken: u64 = selected.iter().map(|series| SelectedSeries::bytes_of(&series.labels)).sum();
    let both = Matcher::new("job", MatchOp::NotEqual, "b").unwrap();
    for (bytes_max, fits) in [(taken, true), (taken - 1, false)] {
        let hints = SelectHints { bytes_max, ..SelectHints::default() };
        assert_eq!(querier.select(std::slice::from_ref(&both), &hints).is_ok(), fits);
    }
    assert_eq!(querier.label_names(&[], 0).unwrap(), ["__name__", "job"]);
    assert_eq!(querier.label_values("job", &[], 2).unwrap(), ["a", "b"]);
}

/// The samples of a group's records, by label set; samples of unknown series are a failure.
fn logged(records: &[Vec<u8>], labels: &mut BTreeMap<u64, LabelSet>) -> Vec<(LabelSet, i64, u64)> {
    let mut out = Vec::new();
    for bytes in records {
        match record::split(bytes) {
            (Some(record::RecordType::Series), body) => {
                let (mut decoder, mut parts) = (record::series(body), Vec::new());
                while let Some(series_ref) = decoder.next_into(&mut parts).unwrap() {
                    labels.insert(series_ref, LabelSet::from_sorted(parts.iter().copied()));
                }
            }
            (Some(record::RecordType::Samples), body) => out.extend(record::samples(body).map(|sample| {
                let sample = sample.unwrap();
                (labels[&sample.series_ref].clone(), sample.timestamp_ms, sample.value.to_bits())
            })),
            other => panic!("unexpected record {other:?}"),
        }
    }
    out
}

#[test]
fn group_records_hold_what_was_added_and_nothing_else() {
    let head = head();
    let labels = [("__name__", "up")];
    Request::one(&labels, &[(NOW_MS, 1.0), (NOW_MS, 2.0), (NOW_MS - 1, 1.0)]).append_to(&head);
    let mut known = BTreeMap::new();
    let set = LabelSet::from_pairs(labels);
    let group = head.take_records();
    assert_eq!(logged(&group.records, &mut known), [(set.clone(), NOW_MS, 1f64.to_bits())]);
    head.recycle(group.records);
    assert!(head.take_records().records.is_empty());
    Request::one(&labels, &[(NOW_MS + 1, 3.0)]).append_to(&head);
    assert_eq!(logged(&head.take_records().records, &mut known), [(set, NOW_MS + 1, 3f64.to_bits())]);
}

#[test]
fn full_chunks_go_to_files_only_after_their_group_is_durable_and_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(HeadOptions::default(), dir.path());
    let mut samples: Vec<(i64, f64)> = (0..300).map(|i| (NOW_MS + i * 100, i as f64)).collect();
    samples[7].1 = crate::model::stale_nan();
    let labels = [("__name__", "up")];
    Request::one(&labels, &samples).append_to(&head);
    let before = contents(&head);
    let group = head.take_records();
    assert_eq!((head.flush_chunks(), head.stats().chunks_in_files), (0, 0));
    group.on_durable.unwrap()();
    assert_eq!(head.flush_chunks(), 0);
    let stats = head.stats();
    assert_eq!((stats.chunks_in_files, stats.chunks_in_memory, stats.chunks), (2, 0, 3));
    assert_eq!(contents(&head), before);
    assert_eq!(before.values().next().unwrap().len(), 300);
}

#[test]
fn damaged_chunk_is_left_out_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(HeadOptions::default(), dir.path());
    let samples: Vec<(i64, f64)> = (0..300).map(|i| (NOW_MS + i * 100, i as f64)).collect();
    Request::one(&[("__name__", "up")], &samples).append_to(&head);
    head.take_records().on_durable.unwrap()();
    head.flush_chunks();
    let path = dir.path().join("chunks_head/000001");
    let mut bytes = SystemFs.read(&path).unwrap();
    bytes[60] ^= 4;
    SystemFs.remove_file(&path).unwrap();
    SystemFs.create(&path).unwrap().write_all(&bytes).unwrap();
    let querier = head.querier(TimeRange::ALL).unwrap();
    let mut column = Column::default();
    querier.select(&[], &SelectHints::default()).unwrap()[0].samples.read(TimeRange::ALL, &mut column).unwrap();
    assert_eq!(column.len(), 180);
    assert!(querier.warnings()[0].contains("checksum"), "{:?}", querier.warnings());
    assert_eq!(head.stats().damaged_chunk_reads, 1);
}

#[test]
fn snapshot_digests_are_those_of_the_samples_served_up_to_it() {
    let head = head();
    let labels = [("__name__", "up")];
    let first = Request::one(&labels, &[(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]).append_to(&head);
    let snapshot = head.snapshot_counts();
    Request::one(&labels, &[(NOW_MS + 2, 1.0)]).and(&[("__name__", "new")], &[(NOW_MS, 1.0)]).append_to(&head);
    let mut series = Vec::new();
    assert!(head.digest_series(&snapshot, |digest| series.push(digest)).is_empty());
    let labels = Digest::of_labels(&LabelSet::from_pairs(labels));
    assert_eq!(series, [SeriesDigest { labels, samples: 2, digest: first.digest }]);
    assert_eq!((snapshot.series(), snapshot.samples()), (1, 2));
}

/// One entry of a random request: series, spelling, and samples as steps from the newest time.
pub(super) type RandomEntry = (usize, bool, Vec<(i64, u64)>);

pub(super) fn random_requests() -> impl Strategy<Value = Vec<Vec<RandomEntry>>> {
    let bits = prop_oneof![0u64..3, Just(crate::model::STALE_NAN_BITS), any::<u64>()];
    let samples = prop::collection::vec((-20i64..200, bits), 0..60);
    prop::collection::vec(prop::collection::vec((0usize..6, any::<bool>(), samples), 0..8), 0..12)
}

pub(super) fn random_labels(series: usize) -> [(&'static str, &'static str); 2] {
    [("__name__", ["a", "b"][series % 2]), ("job", ["x", "y", "z"][series / 2])]
}

/// Small chunks and files, and no bound on times that a random walk could reach.
pub(super) fn random_options() -> HeadOptions {
    HeadOptions {
        chunk_range_ms: 60_000,
        chunk_file_bytes_max: 4000,
        future_ms_max: i64::MAX,
        ..HeadOptions::default()
    }
}

/// A request that makes every series, so that none begins behind the others.
pub(super) fn first_request() -> Vec<RandomEntry> {
    (0..6).map(|series| (series, true, vec![(0, series as u64)])).collect()
}

/// The request, with times as they follow from what the model holds; and the model with what must be added.
pub(super) fn run_model(model: &mut BTreeMap<LabelSet, Vec<(i64, u64)>>, entries: &[RandomEntry]) -> (Request, u64) {
    let mut request = Request::default();
    let mut added = 0;
    for (series, is_sorted, steps) in entries {
        let mut labels = random_labels(*series);
        let set = LabelSet::from_pairs(labels);
        if !is_sorted {
            labels.reverse();
        }
        let mut samples = Vec::new();
        for &(step_ms, bits) in steps {
            let known = model.entry(set.clone()).or_default();
            let newest_ms = known.last().map_or(NOW_MS, |last| last.0);
            let timestamp_ms = newest_ms + step_ms;
            samples.push((timestamp_ms, bits));
            if known.last().is_none_or(|last| timestamp_ms > last.0) {
                known.push((timestamp_ms, bits));
                added += 1;
            }
        }
        request.0.push((raw(&labels), samples));
    }
    (request, added)
}

proptest! {
    #[test]
    fn prop_head_agrees_with_a_model_and_so_do_its_records(requests in random_requests()) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(random_options(), dir.path());
        let mut model = BTreeMap::new();
        let mut known = BTreeMap::new();
        for entries in [first_request()].into_iter().chain(requests) {
            let before: Digest = model_digest(&model);
            let (request, added) = run_model(&mut model, &entries);
            let outcome = request.append_to(&head);
            prop_assert_eq!(outcome.added, added);
            prop_assert_eq!(outcome.digest, model_digest(&model) - before);
            let group = head.take_records();
            let logged: Digest =
                logged(&group.records, &mut known).iter().map(|(set, ms, bits)| sample_digest(set, *ms, *bits)).sum();
            prop_assert_eq!(logged, outcome.digest);
            if let Some(on_durable) = group.on_durable {
                on_durable();
            }
        }
        head.flush_chunks();
        prop_assert_eq!(contents(&head), model);
    }
}

fn sample_digest(set: &LabelSet, timestamp_ms: i64, bits: u64) -> Digest {
    Digest::of_labels(set).of_sample(timestamp_ms, f64::from_bits(bits))
}

fn model_digest(model: &BTreeMap<LabelSet, Vec<(i64, u64)>>) -> Digest {
    let of = |(set, samples): (&LabelSet, &Vec<(i64, u64)>)| -> Digest {
        samples.iter().map(|&(ms, bits)| sample_digest(set, ms, bits)).sum()
    };
    model.iter().map(of).sum()
}
