//! Native histograms on their way in: beside floats, late, repeated and contradicted, and what ends a series of them.

use std::path::Path;

use super::tests::{NOW_MS, append_values, contents, open, raw, rejected};
use super::*;
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};
use crate::model::{CounterResetHint, Digest, Histogram, LabelSet, SampleValue, stale_nan};
use crate::storage::{Column, Queryable, RejectReason, SelectHints};
use crate::wal::record::{self, RecordType};
use crate::wal::{RecordPosition, ReplaySink};

fn options() -> HeadOptions {
    HeadOptions { out_of_order_window_ms: 3_600_000, chunk_range_ms: 60_000, ..HeadOptions::default() }
}

fn labels() -> Vec<u8> {
    raw(&[("__name__", "latency")])
}

fn integer(count: u64) -> SampleValue {
    SampleValue::Histogram(Box::new(Histogram {
        count,
        sum: count as f64,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![1, count as i64 - 2],
        ..Histogram::default()
    }))
}

fn float(count: u64) -> SampleValue {
    let SampleValue::Histogram(histogram) = integer(count) else { panic!("not one") };
    SampleValue::FloatHistogram(Box::new(histogram.to_float()))
}

fn custom(count: u64) -> SampleValue {
    let SampleValue::Histogram(histogram) = integer(count) else { panic!("not one") };
    let custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, custom_values: vec![0.5, 1.0], ..*histogram };
    SampleValue::Histogram(Box::new(custom))
}

fn digest(samples: &[(i64, SampleValue)]) -> Digest {
    let set = Digest::of_labels(&LabelSet::from_pairs([("__name__", "latency")]));
    samples.iter().map(|(at_ms, value)| set.of_value(*at_ms, value)).sum()
}

/// Restarts on what the files and the records hold.
fn restart(dir: &Path, log: &[Vec<u8>]) -> Head {
    let head = open(options(), dir);
    let mut replay = head.replay(1).unwrap();
    for record in log {
        let position = RecordPosition::default();
        replay.record(position, record.clone()).unwrap();
    }
    let report = replay.finish().unwrap();
    assert_eq!((report.records_damaged, report.records_skipped, report.samples_repeated), (0, 0, 0));
    head
}

#[test]
fn records_hold_the_samples_of_a_series_in_their_order_where_its_kind_changes() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(options(), dir.path());
    let values = [SampleValue::Float(1.0), integer(3), float(4), custom(5), SampleValue::Float(2.0), integer(6)];
    let samples: Vec<_> = (0i64..).map(|step| NOW_MS + step).zip(values).collect();
    let outcome = append_values(&head, &labels(), &samples);
    assert_eq!((outcome.added, outcome.histograms, outcome.digest), (6, 4, digest(&samples)));
    let group = head.take_records();
    let mut logged = Vec::new();
    for bytes in &group.records {
        let (kind, body) = record::split(bytes);
        logged.extend(record::values(kind.unwrap(), body).into_iter().flatten().map(|sample| sample.unwrap()));
    }
    let logged: Vec<_> = logged.into_iter().map(|sample| (sample.timestamp_ms, sample.value)).collect();
    assert_eq!(logged, samples);
    // Another series of one kind goes on in one record.
    let steady: Vec<_> = (10i64..30).map(|step| (NOW_MS + step, integer(step as u64))).collect();
    append_values(&head, &raw(&[("__name__", "steady")]), &steady);
    let records = head.take_records().records;
    let kinds: Vec<_> = records.iter().map(|record| record::split(record).0.unwrap()).collect();
    assert_eq!(kinds, [RecordType::Series, RecordType::HistogramSamples]);
    let read_back = contents(&restart(&tempfile::tempdir().unwrap().keep(), &group.records));
    assert_eq!(read_back.values().next().unwrap().len(), 6);
}

#[test]
fn float_that_marks_staleness_ends_a_series_of_histograms_as_one_of_them() {
    for (value, marker) in [
        (integer(3), SampleValue::Histogram(Box::new(Histogram::stale()))),
        (custom(3), SampleValue::Histogram(Box::new(Histogram::stale()))),
        (float(3), SampleValue::FloatHistogram(Box::new(crate::model::FloatHistogram::stale()))),
        (SampleValue::Float(1.0), SampleValue::Float(stale_nan())),
    ] {
        for is_restarted in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut head = open(options(), dir.path());
            append_values(&head, &labels(), &[(NOW_MS, value.clone())]);
            let mut log = head.take_records().records;
            if is_restarted {
                // So that the chunk is in a file, and the kind of what is in it has to be found again.
                for number in 0..SHARDS {
                    head.shared.shard(number).cut_open_chunks(i64::MAX);
                }
                head.take_records().on_durable.unwrap()();
                assert_eq!(head.flush_chunks(), 0);
                drop(head);
                head = restart(dir.path(), &log);
                assert_eq!(head.stats().chunks_in_files, 1);
            }
            let stale = [(NOW_MS + 1, SampleValue::Float(stale_nan()))];
            let outcome = append_values(&head, &labels(), &stale);
            assert_eq!((outcome.added, outcome.histograms), (1, 0), "sent as a float");
            assert_eq!(outcome.digest, digest(&[(NOW_MS + 1, marker.clone())]));
            // Sent again it is known, in whatever form.
            for again in [stale[0].1.clone(), marker.clone()] {
                assert_eq!(append_values(&head, &labels(), &[(NOW_MS + 1, again)]).duplicates, 1);
            }
            // A late one is one of them too.
            let late = append_values(&head, &labels(), &[(NOW_MS - 5, SampleValue::Float(stale_nan()))]);
            assert_eq!(late.digest, digest(&[(NOW_MS - 5, marker.clone())]));
            log.extend(head.take_records().records);
            drop(head);
            let head = restart(dir.path(), &log);
            let mut found = Digest::ZERO;
            head.digest_series(&head.snapshot_counts(), |series| found += series.digest);
            let all = [(NOW_MS - 5, marker.clone()), (NOW_MS, value.clone()), (NOW_MS + 1, marker.clone())];
            assert_eq!(found, digest(&all));
        }
    }
}

#[test]
fn histogram_of_a_time_that_is_taken_is_known_or_refused_in_words() {
    let head = Head::in_memory(options());
    let samples = [(NOW_MS - 20, integer(3)), (NOW_MS - 10, SampleValue::Float(1.5)), (NOW_MS, float(4))];
    append_values(&head, &labels(), &samples);
    append_values(&head, &labels(), &[(NOW_MS - 15, custom(7))]);
    for is_cut in [false, true] {
        for (at_ms, value) in samples.iter().cloned().chain([(NOW_MS - 15, custom(7))]) {
            assert_eq!(append_values(&head, &labels(), &[(at_ms, value)]).duplicates, 1, "{at_ms}");
        }
        // The same counts of another kind are another value.
        for (at_ms, value, words) in [
            (NOW_MS - 20, float(3), "existing is a histogram, new value is a histogram"),
            (NOW_MS - 15, integer(7), "existing is a histogram, new value is a histogram"),
            (NOW_MS - 15, SampleValue::Float(7.0), "existing is a histogram, new value 7"),
            (NOW_MS - 10, integer(3), "existing 1.5, new value is a histogram"),
            (NOW_MS, integer(4), "existing is a histogram, new value is a histogram"),
        ] {
            let outcome = append_values(&head, &labels(), &[(at_ms, value)]);
            assert_eq!(rejected(&outcome), [(RejectReason::DuplicateTimestamp, 1)]);
            let expected = format!("duplicate sample for timestamp {at_ms}; overrides not allowed: {words}");
            let detail = &outcome.rejects[0].detail;
            assert!(is_cut || detail.starts_with(&expected), "{detail}");
        }
        head.cut_out_of_order();
    }
}

#[test]
fn late_histogram_takes_what_was_known_about_resets_around_it() {
    let head = Head::in_memory(options());
    let in_order: Vec<_> = (0..4).map(|step| (NOW_MS + step * 10, integer(10 + step as u64))).collect();
    append_values(&head, &labels(), &in_order);
    let hints = || -> Vec<(i64, CounterResetHint)> {
        let querier = head.querier(TimeRange::ALL).unwrap();
        let mut column = Column::default();
        querier.select(&[], &SelectHints::default()).unwrap()[0].samples.read(TimeRange::ALL, &mut column).unwrap();
        let of = |(index, histogram): &(usize, crate::model::FloatHistogram)| {
            (column.timestamps_ms[*index] - NOW_MS, histogram.counter_reset_hint)
        };
        column.histograms.iter().map(of).collect()
    };
    use CounterResetHint::{NotReset, Unknown};
    assert_eq!(hints(), [(0, Unknown), (10, NotReset), (20, NotReset), (30, NotReset)]);
    for is_cut in [false, true] {
        if is_cut {
            head.cut_out_of_order();
        } else {
            append_values(&head, &labels(), &[(NOW_MS + 15, integer(3)), (NOW_MS + 16, integer(4))]);
        }
        let after_late = if is_cut { NotReset } else { Unknown };
        assert_eq!(
            hints(),
            [(0, Unknown), (10, NotReset), (15, Unknown), (16, after_late), (20, Unknown), (30, NotReset)]
        );
    }
}
