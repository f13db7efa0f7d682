//! Out-of-order samples: acceptance against a plain model, with files, cuts, drops and restarts in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;

use super::tests::{NOW_MS, Request, append_values, contents, raw, rejected};
use super::*;
use crate::fs::sim::SimFs;
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};
use crate::model::{Digest, FloatHistogram, Histogram, LabelSet, Matcher, SampleValue};
use crate::storage::{BatchOutcome, RejectReason};
use crate::wal::record::{self, RecordType};
use crate::wal::{RecordPosition, ReplaySink};

const WINDOW_MS: i64 = 100_000;

fn options(window_ms: i64) -> HeadOptions {
    HeadOptions {
        chunk_range_ms: 60_000,
        chunk_file_bytes_max: 2000,
        future_ms_max: i64::MAX,
        out_of_order_window_ms: window_ms,
        ..HeadOptions::default()
    }
}

fn series(number: usize) -> [(&'static str, &'static str); 1] {
    [("__name__", ["a", "b", "c"][number % 3])]
}

/// A head on a simulated disk, the records of its groups, and what it must hold.
struct World {
    fs: SimFs,
    head: Head,
    log: Vec<Vec<u8>>,
    in_order: BTreeMap<LabelSet, BTreeMap<i64, u64>>,
    out_of_order: BTreeMap<LabelSet, BTreeMap<i64, u64>>,
    deleted: BTreeMap<LabelSet, Vec<TimeRange>>,
    window_ms: i64,
    /// Whether samples are of any kind, as their bits say. Queries show the bits, whatever the kind.
    is_mixed: bool,
}

/// A float, or a histogram whose sum it is: so a series changes its kind with almost every sample.
fn of_any_kind(bits: u64) -> SampleValue {
    let sum = f64::from_bits(bits);
    let (count, positive_spans) = (3 + bits % 5, vec![BucketSpan { offset: 0, length: 1 }]);
    match bits % 3 {
        0 => SampleValue::Float(sum),
        1 => {
            let positive_deltas = vec![count as i64];
            let histogram =
                Histogram { schema: 3, count, sum, positive_spans, positive_deltas, ..Histogram::default() };
            SampleValue::Histogram(Box::new(histogram))
        }
        _ => SampleValue::FloatHistogram(Box::new(FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: count as f64,
            sum,
            positive_spans,
            positive_buckets: vec![count as f64],
            custom_values: vec![1.5],
            ..FloatHistogram::default()
        })),
    }
}

fn open(fs: &SimFs, window_ms: i64) -> Head {
    let (chunks, quarantine) = (PathBuf::from("/data/chunks_head"), PathBuf::from("/data/quarantine"));
    Head::open(options(window_ms), Arc::new(fs.clone()), &chunks, &quarantine).unwrap().0
}

impl World {
    fn new(window_ms: i64) -> Self {
        let fs = SimFs::new(1);
        let head = open(&fs, window_ms);
        World {
            fs,
            head,
            log: Vec::new(),
            in_order: BTreeMap::new(),
            out_of_order: BTreeMap::new(),
            deleted: BTreeMap::new(),
            window_ms,
            is_mixed: false,
        }
    }

    fn value(&self, bits: u64) -> SampleValue {
        if self.is_mixed { of_any_kind(bits) } else { SampleValue::Float(f64::from_bits(bits)) }
    }

    /// What acceptance must say of one sample, and the model with it.
    fn expect(&mut self, set: &LabelSet, timestamp_ms: i64, bits: u64, newest_ms: Option<i64>, out: &mut BatchOutcome) {
        let value = self.value(bits);
        let in_order = self.in_order.entry(set.clone()).or_default();
        let out_of_order = self.out_of_order.entry(set.clone()).or_default();
        let held = in_order.get(&timestamp_ms).or(out_of_order.get(&timestamp_ms));
        let new_series_min_ms = newest_ms.map_or(i64::MIN, |newest_ms| newest_ms - 30_000);
        let is_early = in_order.is_empty() && timestamp_ms < new_series_min_ms;
        let digest = Digest::of_labels(set).of_value(timestamp_ms, &value);
        let mut refuse = |reason: RejectReason| out.rejected[reason as usize] += 1;
        match held {
            Some(&held) if held == bits => out.duplicates += 1,
            Some(_) => refuse(RejectReason::DuplicateTimestamp),
            _ if self
                .deleted
                .get(set)
                .is_some_and(|ranges| ranges.iter().any(|range| range.contains(timestamp_ms))) =>
            {
                refuse(RejectReason::Deleted);
            }
            None if !is_early && in_order.last_key_value().is_none_or(|(&last_ms, _)| last_ms < timestamp_ms) => {
                in_order.insert(timestamp_ms, bits);
                out.added += 1;
                out.digest += digest;
            }
            None if self.window_ms == 0 && is_early => refuse(RejectReason::OutOfBounds),
            None if self.window_ms == 0 => refuse(RejectReason::OutOfOrder),
            None if newest_ms.is_none_or(|newest_ms| timestamp_ms >= newest_ms - self.window_ms) => {
                out_of_order.insert(timestamp_ms, bits);
                out.added += 1;
                out.digest += digest;
            }
            None => refuse(RejectReason::TooOld),
        }
    }

    fn newest_ms(&self) -> Option<i64> {
        self.in_order.values().filter_map(|samples| Some(*samples.last_key_value()?.0)).max()
    }

    /// Sends one request with samples of one series, at times before the newest sample of all.
    fn append(&mut self, number: usize, samples: &[(i64, u64)]) {
        let newest_ms = self.newest_ms();
        let base_ms = newest_ms.unwrap_or(NOW_MS);
        let set = LabelSet::from_pairs(series(number));
        let samples: Vec<(i64, u64)> = samples.iter().map(|&(step_ms, bits)| (base_ms + step_ms, bits)).collect();
        let mut expected = BatchOutcome::default();
        // In-order samples of a request are taken before its other ones.
        let mut last_ms = self.in_order.get(&set).and_then(|held| held.last_key_value()).map(|(&ms, _)| ms);
        let new_series_min_ms = newest_ms.map_or(i64::MIN, |newest_ms| newest_ms - 30_000);
        let mut later = Vec::new();
        for &(timestamp_ms, bits) in &samples {
            let is_first = match last_ms {
                None => timestamp_ms >= new_series_min_ms,
                Some(last_ms) => timestamp_ms >= last_ms,
            };
            if is_first {
                last_ms = Some(timestamp_ms);
                self.expect(&set, timestamp_ms, bits, newest_ms, &mut expected);
            } else {
                later.push((timestamp_ms, bits, last_ms.is_none()));
            }
        }
        for (timestamp_ms, bits, is_early) in later {
            // Too early to begin the series, which another sample began: that stays the reason.
            let before = expected.clone();
            self.expect(&set, timestamp_ms, bits, newest_ms, &mut expected);
            let refused = |outcome: &BatchOutcome| outcome.rejected[RejectReason::OutOfOrder as usize];
            if is_early && refused(&expected) > refused(&before) {
                expected.rejected[RejectReason::OutOfOrder as usize] -= 1;
                expected.rejected[RejectReason::OutOfBounds as usize] += 1;
            }
        }
        let outcome = if self.is_mixed {
            let samples: Vec<_> = samples.iter().map(|&(at_ms, bits)| (at_ms, of_any_kind(bits))).collect();
            append_values(&self.head, &raw(&series(number)), &samples)
        } else {
            Request(vec![(raw(&series(number)), samples)]).append_to(&self.head)
        };
        assert_eq!((outcome.added, outcome.duplicates), (expected.added, expected.duplicates));
        assert_eq!(outcome.digest, expected.digest);
        assert_eq!(rejected(&outcome), rejected(&expected));
    }

    /// What the writer of the log does with a group.
    fn commit(&mut self) {
        let group = self.head.take_records();
        self.log.extend(group.records);
        if let Some(on_durable) = group.on_durable {
            on_durable();
        }
    }

    /// Starts again from the disk and the log; what was not committed is lost.
    fn restart(&mut self) {
        self.commit();
        // The old one ends before its files are opened again.
        self.head = Head::in_memory(options(self.window_ms));
        self.head = open(&self.fs, self.window_ms);
        let mut replay = self.head.replay(2).unwrap();
        for record in &self.log {
            let position = RecordPosition::default();
            replay.record(position, record.clone()).unwrap();
        }
        let report = replay.finish().unwrap();
        assert_eq!((report.samples_unknown, report.records_damaged, report.chunks_unknown), (0, 0, 0));
    }

    /// Deletes a range before the newest sample of all.
    fn delete(&mut self, number: usize, start_ms: i64, length_ms: i64) {
        let start_ms = self.newest_ms().unwrap_or(NOW_MS) + start_ms;
        let range = TimeRange::new(start_ms, start_ms + length_ms);
        let set = LabelSet::from_pairs(series(number));
        self.head.delete(&[Matcher::equal("__name__", series(number)[0].1)], range);
        let held = |model: &BTreeMap<LabelSet, BTreeMap<i64, u64>>| model.get(&set).cloned().unwrap_or_default();
        let mut held_at = held(&self.in_order);
        held_at.extend(held(&self.out_of_order));
        if let (Some((&first, _)), Some((&last, _))) = (held_at.first_key_value(), held_at.last_key_value()) {
            let range = TimeRange::new(range.start_ms.max(first), range.end_ms.min(last));
            self.deleted.entry(set).or_default().push(range);
        }
    }

    /// What queries must show.
    fn visible(&self) -> BTreeMap<LabelSet, Vec<(i64, u64)>> {
        let mut all = self.expected();
        for (set, samples) in &mut all {
            let deleted = self.deleted.get(set).map_or(&[][..], Vec::as_slice);
            samples.retain(|(ms, _)| !deleted.iter().any(|range| range.contains(*ms)));
        }
        all.retain(|_, samples| !samples.is_empty());
        all
    }

    /// What is stored.
    fn expected(&self) -> BTreeMap<LabelSet, Vec<(i64, u64)>> {
        let mut all = self.in_order.clone();
        for (set, samples) in &self.out_of_order {
            all.entry(set.clone()).or_default().extend(samples);
        }
        all.retain(|_, samples| !samples.is_empty());
        all.into_iter().map(|(set, samples)| (set, samples.into_iter().collect())).collect()
    }

    fn check(&self) {
        // A series is named until one deletion covers all that it has.
        let mut found = contents(&self.head);
        found.retain(|_, samples| !samples.is_empty());
        assert_eq!(found, self.visible());
        let held = || self.out_of_order.values().flatten();
        assert_eq!(self.head.out_of_order_samples(), held().count() as u64);
        let times: BTreeSet<i64> = held().map(|(&ms, _)| ms).collect();
        let range = self.head.out_of_order_range();
        assert_eq!(range.map(|range| range.start_ms), times.first().copied());
        assert_eq!(range.map(|range| range.end_ms), times.last().copied());
        let snapshot = self.head.snapshot_counts();
        let (mut samples, mut digest) = (0, Digest::ZERO);
        self.head.digest_series(&snapshot, |series| {
            samples += series.samples;
            digest += series.digest;
        });
        let expected = self.expected();
        assert_eq!(samples, expected.values().map(Vec::len).sum::<usize>() as u64);
        assert_eq!(snapshot.samples(), samples);
        let digests = expected.iter().flat_map(|(set, samples)| {
            let labels = Digest::of_labels(set);
            samples.iter().map(move |&(ms, bits)| labels.of_value(ms, &self.value(bits)))
        });
        assert_eq!(digest, digests.sum());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize, Vec<(i64, u64)>),
    Commit,
    Flush,
    CutAndDrop { more: Vec<(i64, u64)> },
    Delete(usize, i64, i64),
    Restart,
}

fn samples() -> impl Strategy<Value = Vec<(i64, u64)>> {
    // Few values and coarse times, so that repetitions and contradictions are frequent.
    let step = prop_oneof![(-60i64..10).prop_map(|step| step * 2000), (-400i64..20).prop_map(|step| step * 100)];
    prop::collection::vec((step, 0u64..3), 0..50)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0usize..3, samples()).prop_map(|(number, samples)| Step::Append(number, samples)),
        2 => Just(Step::Commit),
        2 => Just(Step::Flush),
        1 => samples().prop_map(|more| Step::CutAndDrop { more }),
        1 => (0usize..3, -WINDOW_MS..5000, 0..30_000i64).prop_map(|(n, start, length)| Step::Delete(n, start, length)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn prop_head_with_out_of_order_samples_agrees_with_a_model(
        window in any::<bool>(),
        is_mixed in any::<bool>(),
        steps in steps(),
    ) {
        let mut world = World::new(if window { WINDOW_MS } else { 0 });
        // Without a window each sample, having an entry of its own, could be refused for another reason.
        world.is_mixed = is_mixed && window;
        let mut dropped = false;
        for step in steps {
            match step {
                Step::Append(number, samples) => world.append(number, &samples),
                Step::Commit => world.commit(),
                Step::Flush => {
                    world.commit();
                    prop_assert_eq!(world.head.flush_chunks(), 0);
                }
                Step::CutAndDrop { more } => {
                    let cut = world.head.cut_out_of_order();
                    prop_assert_eq!(cut.samples, world.head.out_of_order_samples());
                    prop_assert_eq!(cut.range, world.head.out_of_order_range());
                    let in_cut = std::mem::take(&mut world.out_of_order);
                    world.out_of_order = in_cut.clone();
                    world.append(1, &more);
                    world.head.drop_out_of_order(&cut);
                    for (set, samples) in &mut world.out_of_order {
                        samples.retain(|ms, _| !in_cut.get(set).is_some_and(|gone| gone.contains_key(ms)));
                    }
                    dropped = true;
                }
                Step::Delete(number, start_ms, length_ms) => world.delete(number, start_ms, length_ms),
                // What was dropped is in the log, so it would come back: a flush is remembered elsewhere.
                Step::Restart if dropped => {}
                Step::Restart => world.restart(),
            }
            world.check();
        }
    }
}

#[test]
fn out_of_order_chunks_go_to_files_with_their_mark_and_come_back_from_the_log_alone() {
    let mut world = World::new(WINDOW_MS);
    world.append(0, &[(0, 1)]);
    let steps: Vec<(i64, u64)> = (1..=100).map(|step| (-step * 500, step as u64)).collect();
    world.append(0, &steps);
    world.commit();
    assert_eq!(world.head.flush_chunks(), 0);
    let stats = world.head.stats();
    assert_eq!((stats.chunks_in_files, stats.chunks_in_memory, stats.out_of_order_samples), (3, 0, 100));
    let bytes = world.fs.read(Path::new("/data/chunks_head/000001")).unwrap();
    assert_eq!(bytes[8 + 24], 0x81, "encoding byte of the first entry");
    world.restart();
    assert_eq!(world.head.flush_chunks(), 0);
    let stats = world.head.stats();
    assert_eq!((stats.chunks_in_files, stats.chunks_in_memory, stats.out_of_order_samples), (3, 0, 100));
    world.check();
}

#[test]
fn group_of_out_of_order_samples_has_a_record_of_their_own_kind() {
    let mut world = World::new(WINDOW_MS);
    world.append(0, &[(0, 1)]);
    world.commit();
    world.append(0, &[(-500, 7), (-250, 8), (-500, 7), (-500, 9), (-WINDOW_MS - 1, 1)]);
    let group = world.head.take_records();
    let [record] = &group.records[..] else { panic!("{group:?}") };
    let (kind, body) = record::split(record);
    assert_eq!(kind, Some(RecordType::OutOfOrderSamples));
    let logged: Vec<(i64, u64)> = record::samples(body)
        .map(|sample| sample.unwrap())
        .map(|sample| (sample.timestamp_ms, sample.value.to_bits()))
        .collect();
    assert_eq!(logged, [(NOW_MS - 500, 7), (NOW_MS - 250, 8)]);
}

#[test]
fn chunk_dropped_before_it_was_written_never_reaches_a_file() {
    let mut world = World::new(WINDOW_MS);
    world.append(0, &[(0, 1)]);
    world.append(0, &[(-500, 7)]);
    let cut = world.head.cut_out_of_order();
    world.head.drop_out_of_order(&cut);
    world.commit();
    assert_eq!(world.head.flush_chunks(), 0);
    assert_eq!(world.fs.list(Path::new("/data/chunks_head")).unwrap().len(), 0);
    assert_eq!(world.head.out_of_order_range(), None);
}

#[test]
fn file_whose_chunks_were_all_dropped_is_removed_at_once() {
    let mut world = World::new(WINDOW_MS);
    world.append(0, &[(0, 1)]);
    world.append(0, &[(-500, 7)]);
    let cut = world.head.cut_out_of_order();
    world.commit();
    assert_eq!(world.head.flush_chunks(), 0);
    let files = || world.fs.list(Path::new("/data/chunks_head")).unwrap().len();
    assert_eq!(files(), 1);
    world.head.drop_out_of_order(&cut);
    assert_eq!(files(), 0);
}

#[test]
fn sample_below_the_floor_is_never_in_order_whatever_its_series_has() {
    let mut world = World::new(WINDOW_MS);
    world.append(0, &[(0, 1)]);
    world.commit();
    // A block has been made of all before this; the other series has nothing in order yet.
    world.head.raise_floor(NOW_MS + 1);
    for (number, at_ms) in [(1, -500), (1, -600), (0, -700), (0, -800)] {
        let request = Request(vec![(raw(&series(number)), vec![(NOW_MS + at_ms, 7)])]);
        assert_eq!(request.append_to(&world.head).added, 1, "series {number} at {at_ms}");
    }
    let group = world.head.take_records();
    let kinds: BTreeSet<_> = group.records.iter().map(|record| record::split(record).0).collect();
    assert!(!kinds.contains(&Some(RecordType::Samples)), "{kinds:?}");
    // A new range that was deleted makes older samples of the series none of these either.
    world.head.delete(&[Matcher::equal("__name__", series(1)[0].1)], TimeRange::new(NOW_MS - 500, NOW_MS - 500));
    let request = Request(vec![(raw(&series(1)), vec![(NOW_MS - 900, 7)])]);
    assert_eq!(request.append_to(&world.head).added, 1);
    let group = world.head.take_records();
    assert!(group.records.iter().all(|record| record::split(record).0 != Some(RecordType::Samples)));
}

#[test]
fn window_of_late_samples_ends_at_the_floor_where_blocks_have_all_others() {
    let world = World::new(WINDOW_MS);
    let append = |at_ms: i64| Request(vec![(raw(&series(0)), vec![(at_ms, 7)])]).append_to(&world.head);
    // The newest sample that left was this.
    world.head.raise_floor(NOW_MS + 1);
    let outcome = append(NOW_MS - WINDOW_MS - 1);
    assert_eq!((outcome.added, outcome.rejected[RejectReason::TooOld as usize]), (0, 1));
    assert_eq!(append(NOW_MS - WINDOW_MS).added, 1);
    assert_eq!(append(NOW_MS + 1).added, 1);
    assert_eq!(append(NOW_MS - WINDOW_MS + 1).added, 1);
}
