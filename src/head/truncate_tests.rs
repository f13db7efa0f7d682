//! The floor, the source of chunks and truncation against a plain model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{Request, contents, first_request, open, random_options, random_requests, raw, run_model};
use super::*;
use crate::chunk::{XorIterator, sample_count};
use crate::index::IndexStats;
use crate::model::{LabelSet, MatchOp, Matcher};
use crate::storage::{Chunk, ChunkBytes, ChunkSource, Column, Queryable, RejectReason, SelectHints};

type Model = BTreeMap<LabelSet, Vec<(i64, u64)>>;

const UP: [(&str, &str); 1] = [("__name__", "up")];

fn up(samples: &[(i64, u64)]) -> Request {
    Request(vec![(raw(&UP), samples.to_vec())])
}

/// Hands what was added to the log, and lets full chunks go to their files.
pub(super) fn settle(head: &Head) {
    if let Some(on_durable) = head.take_records().on_durable {
        on_durable();
    }
    head.flush_chunks();
}

/// All chunks of a source; their headers, order and ranges are checked.
pub(super) fn chunks(mut source: Box<dyn ChunkSource>) -> BTreeMap<LabelSet, Vec<Chunk>> {
    let mut out: BTreeMap<LabelSet, Vec<Chunk>> = BTreeMap::new();
    while let Some(series) = source.next_series().unwrap() {
        assert!(out.last_key_value().is_none_or(|(last, _)| *last < series.labels));
        assert!(series.chunks.windows(2).all(|pair| pair[0].range.end_ms < pair[1].range.start_ms));
        for chunk in &series.chunks {
            let samples = decode(chunk);
            assert_eq!(samples.len(), usize::from(sample_count(chunk.encoding, &chunk.bytes).unwrap()));
            let ends = TimeRange::new(samples[0].0, samples[samples.len() - 1].0);
            assert_eq!(chunk.range, ends);
        }
        out.insert(series.labels, series.chunks);
    }
    out
}

fn decode(chunk: &Chunk) -> Vec<(i64, u64)> {
    let mut samples = XorIterator::new(&chunk.bytes).unwrap();
    std::iter::from_fn(|| samples.next_sample().unwrap()).collect()
}

pub(super) fn samples(chunks: &BTreeMap<LabelSet, Vec<Chunk>>) -> Model {
    chunks.iter().map(|(labels, chunks)| (labels.clone(), chunks.iter().flat_map(decode).collect())).collect()
}

/// What a model holds in a range.
fn within(model: &Model, range: TimeRange) -> Model {
    let cut = |samples: &Vec<(i64, u64)>| samples.iter().copied().filter(|&(ms, _)| range.contains(ms)).collect();
    let cut = model.iter().map(|(labels, samples)| (labels.clone(), cut(samples)));
    cut.filter(|(_, samples): &(LabelSet, Vec<_>)| !samples.is_empty()).collect()
}

#[test]
fn sample_below_the_floor_is_out_of_bounds_and_begins_no_series() {
    let head = Head::in_memory(HeadOptions::default());
    up(&[(1000, 1), (2000, 2)]).append_to(&head);
    head.raise_floor(5000);
    head.raise_floor(4000);
    assert_eq!(head.floor_ms(), 5000);
    let outcome = up(&[(2000, 2), (2000, 9), (4999, 1), (5000, 1)]).append_to(&head);
    assert_eq!((outcome.added, outcome.duplicates), (1, 1));
    assert_eq!(outcome.rejected[RejectReason::OutOfBounds as usize], 1);
    assert_eq!(outcome.rejected[RejectReason::DuplicateTimestamp as usize], 1);
    let new = Request(vec![(raw(&[("__name__", "new")]), vec![(4999, 1)])]).append_to(&head);
    assert_eq!((new.rejected[RejectReason::OutOfBounds as usize], new.series_created), (1, 0));
}

#[test]
fn querier_sees_from_where_reads_began_when_it_was_made() {
    let head = Head::in_memory(HeadOptions::default());
    up(&[(1000, 1), (2000, 2)]).append_to(&head);
    Request(vec![(raw(&[("__name__", "old"), ("job", "a")]), vec![(1000, 1)])]).append_to(&head);
    let before = head.querier(TimeRange::ALL).unwrap();
    head.read_from(2000);
    let all = Matcher::new("__name__", MatchOp::Regex, ".+").unwrap();
    let read = |querier: &dyn crate::storage::Querier| -> Vec<Vec<i64>> {
        let selected = querier.select(std::slice::from_ref(&all), &SelectHints::default()).unwrap();
        let times = |series: &crate::storage::SelectedSeries| {
            let mut column = Column::default();
            series.samples.read(TimeRange::ALL, &mut column).unwrap();
            column.timestamps_ms
        };
        selected.iter().map(times).collect()
    };
    assert_eq!(read(&*before), [vec![1000], vec![1000, 2000]]);
    assert_eq!(read(&*head.querier(TimeRange::ALL).unwrap()), [[2000]]);
    head.read_from(2001);
    assert_eq!(head.querier(TimeRange::ALL).unwrap().label_names(&[], 0).unwrap(), Vec::<String>::new());
    // What a block is made from is there all the same.
    assert_eq!(samples(&chunks(head.chunk_source(TimeRange::ALL, ChunkKind::InOrder))).len(), 2);
}

#[test]
fn source_of_samples_is_waited_for_after_its_querier_is_gone() {
    let head = Head::in_memory(HeadOptions::default());
    up(&[(1000, 1)]).append_to(&head);
    let querier = head.querier(TimeRange::new(500, 3000)).unwrap();
    let selected = querier.select(&[], &SelectHints::default()).unwrap();
    drop(querier);
    assert!(head.wait_for_readers(500, Duration::ZERO));
    assert!(!head.wait_for_readers(501, Duration::ZERO));
    drop(selected);
    assert!(head.wait_for_readers(501, Duration::ZERO));
}

#[test]
fn chunk_source_hands_over_files_memory_and_open_chunk_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(HeadOptions::default(), dir.path());
    let all: Vec<(i64, u64)> = (0..300).map(|i| (i * 1000, i as u64)).collect();
    up(&all[..130]).append_to(&head);
    settle(&head);
    up(&all[130..]).append_to(&head);
    let found = chunks(head.chunk_source(TimeRange::new(0, 7_199_999), ChunkKind::InOrder));
    let found = &found[&LabelSet::from_pairs(UP)];
    assert!(matches!(found[0].bytes, ChunkBytes::Mapped(..)));
    assert!(matches!(found[1].bytes, ChunkBytes::Memory(_)));
    assert_eq!(found.iter().map(|chunk| decode(chunk).len()).collect::<Vec<_>>(), [120, 120, 60]);
    assert_eq!(found.iter().flat_map(decode).collect::<Vec<_>>(), all);
}

#[test]
fn chunk_source_of_a_damaged_file_fails_and_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(HeadOptions::default(), dir.path());
    up(&(0..130).map(|i| (i * 1000, i as u64)).collect::<Vec<_>>()).append_to(&head);
    settle(&head);
    let path = dir.path().join("chunks_head/000001");
    let mut bytes = crate::fs::SystemFs.read(&path).unwrap();
    bytes[60] ^= 4;
    crate::fs::SystemFs.remove_file(&path).unwrap();
    crate::fs::SystemFs.create(&path).unwrap().write_all(&bytes).unwrap();
    let failure = head.chunk_source(TimeRange::ALL, ChunkKind::InOrder).next_series().unwrap_err().to_string();
    assert!(failure.contains("checksum") && failure.contains("000001 at byte 8"), "{failure}");
}

/// Runs a part of a truncation; no request is ever admitted meanwhile, as tests have one thread.
fn at_once(part: &mut dyn FnMut()) {
    part();
}

/// Everything a flush does to the head: the samples of the block, and what the truncation did.
fn flush(head: &Head, below_ms: i64) -> (Model, Truncated) {
    let range = TimeRange::new(head.floor_ms(), below_ms - 1);
    head.raise_floor(below_ms);
    let block = samples(&chunks(head.chunk_source(range, ChunkKind::InOrder)));
    head.read_from(below_ms);
    (block, head.truncate(below_ms, &at_once))
}

/// A head with small files.
fn small_files() -> HeadOptions {
    HeadOptions { chunk_file_bytes_max: 2000, ..random_options() }
}

fn head_files(data_dir: &Path) -> Vec<String> {
    let entries = crate::fs::SystemFs.list(&data_dir.join("chunks_head")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn slots(head: &Head) -> BTreeSet<crate::index::Slot> {
    (0..SHARDS).flat_map(|number| head.shared.shard(number).slots().map(|(slot, _)| slot).collect::<Vec<_>>()).collect()
}

/// A request for series of one generation, each with one sample.
fn generation(number: usize, series: usize, timestamp_ms: i64) -> Request {
    let one = |series: usize| {
        let (pod, own_name) = (format!("pod-{number}-{series}"), format!("name_{number}"));
        let name = format!("metric_{}", series % 7);
        (raw(&[("__name__", &name), (&own_name, "x"), ("pod", &pod)]), vec![(timestamp_ms, series as u64)])
    };
    Request((0..series).map(one).collect())
}

#[test]
fn truncation_drops_chunks_series_and_their_labels() {
    let head = Head::in_memory(random_options());
    let old = [("__name__", "old"), ("only", "here")];
    up(&[(1_000, 1), (59_000, 2), (61_000, 3)]).append_to(&head);
    Request(vec![(raw(&old), vec![(59_999, 1)])]).append_to(&head);
    let (block, truncated) = flush(&head, 60_000);
    assert_eq!(block[&LabelSet::from_pairs(UP)], [(1_000, 1), (59_000, 2)]);
    assert_eq!((truncated.chunks, truncated.series, truncated.labels), (2, 1, 2));
    assert_eq!((truncated.below_ms, truncated.files, truncated.file_failure), (60_000, 0, None));
    assert_eq!((head.series_count(), head.time_range()), (1, Some(TimeRange::new(61_000, 61_000))));
    let stats = head.stats();
    assert_eq!((stats.index.pairs, stats.index.names, stats.index.symbols, stats.chunks), (1, 1, 2, 1));
    // What is gone is not judged by any more, what is there is.
    let again = Request(vec![(raw(&old), vec![(60_000, 1)])]).append_to(&head);
    assert_eq!((again.added, again.series_created), (1, 1));
    assert_eq!(up(&[(60_500, 1)]).append_to(&head).added, 0);
    assert_eq!(head.live_refs().iter().collect::<Vec<_>>(), [1, 3]);
    let (_, truncated) = flush(&head, 120_000);
    assert_eq!((truncated.series, head.series_count(), head.time_range()), (2, 0, None));
    assert_eq!(up(&[(120_000, 1)]).append_to(&head).added, 1);
}

#[test]
fn truncation_holds_back_for_a_query_and_goes_on_when_it_is_over() {
    let head = Head::in_memory(random_options());
    up(&[(1_000, 1), (61_000, 2)]).append_to(&head);
    let querier = head.querier(TimeRange::new(500, 100_000)).unwrap();
    let selected = querier.select(&[], &SelectHints::default()).unwrap();
    let (_, truncated) = flush(&head, 60_000);
    assert_eq!((truncated.below_ms, truncated.chunks), (500, 0));
    let mut column = Column::default();
    selected[0].samples.read(TimeRange::ALL, &mut column).unwrap();
    assert_eq!(column.timestamps_ms, [1_000, 61_000]);
    drop((querier, selected));
    assert_eq!(head.truncate(60_000, &at_once).chunks, 1);
}

#[test]
fn truncation_looks_once_more_while_paused_and_keeps_a_series_that_got_a_sample() {
    let head = Head::in_memory(random_options());
    up(&[(1_000, 1)]).append_to(&head);
    head.raise_floor(60_000);
    head.read_from(60_000);
    let came_late = std::cell::Cell::new(false);
    let truncated = head.truncate(60_000, &|part| {
        // An append that was admitted just before the pause.
        if !came_late.replace(true) {
            assert_eq!(up(&[(60_001, 1)]).append_to(&head).series_created, 0);
        }
        part();
    });
    assert_eq!((truncated.chunks, truncated.series), (1, 0));
    assert_eq!(contents(&head)[&LabelSet::from_pairs(UP)], [(60_001, 1)]);
    assert_eq!(head.time_range(), Some(TimeRange::new(60_001, 60_001)));
}

#[test]
fn slot_is_used_again_only_when_every_reader_of_before_is_gone() {
    let head = Head::in_memory(random_options());
    generation(0, 200, 1_000).append_to(&head);
    let first = slots(&head);
    // Its range is not that of the series, but it may have met their slots.
    let reader = head.querier(TimeRange::new(70_000, 80_000)).unwrap();
    assert_eq!(flush(&head, 60_000).1.series, 200);
    generation(1, 200, 60_000).append_to(&head);
    let second = slots(&head);
    assert!(first.is_disjoint(&second));
    let pairs = || head.stats().index.pairs;
    assert_eq!(pairs(), 2 * (200 + 1 + 7));
    let later = head.querier(TimeRange::new(70_000, 80_000)).unwrap();
    drop(reader);
    flush(&head, 61_000);
    generation(2, 200, 61_000).append_to(&head);
    assert!(slots(&head).intersection(&first).count() > 100);
    assert!(slots(&head).is_disjoint(&second));
    // The first generation's labels are free, those of the second are not yet.
    assert_eq!(pairs(), 2 * (200 + 1 + 7));
    drop(later);
    flush(&head, 61_000);
    assert_eq!(pairs(), 200 + 1 + 7);
}

#[test]
fn memory_of_twenty_generations_of_series_is_that_of_a_few() {
    let head = Head::in_memory(random_options());
    let mut bytes = Vec::new();
    for number in 0..20 {
        let start_ms = number as i64 * 60_000;
        generation(number, 3000, start_ms).append_to(&head);
        assert_eq!(flush(&head, start_ms).1.series, if number == 0 { 0 } else { 3000 });
        let stats = head.stats();
        assert_eq!((stats.series, stats.index.pairs, stats.index.names), (3000, 3000 + 1 + 7, 3));
        let IndexStats { symbol_bytes, pair_bytes, postings_bytes, .. } = stats.index;
        bytes.push(symbol_bytes + pair_bytes + postings_bytes + stats.row_bytes + stats.label_bytes);
    }
    // Two generations are there at once while the older one leaves.
    let (first, most) = (bytes[..4].iter().max(), bytes[4..].iter().max());
    assert!(most <= first, "{bytes:?}");
    flush(&head, 20 * 60_000);
    let stats = head.stats();
    assert_eq!((stats.series, stats.index.symbols, stats.index.postings_bytes), (0, 0, 0));
    assert!(stats.row_bytes < bytes[0] / 4, "{} of {}", stats.row_bytes, bytes[0]);
}

#[test]
fn metadata_goes_with_the_last_series_of_its_family() {
    let head = Head::in_memory(random_options());
    let state = |family| head.set_metadata(vec![(family, MetadataEntry::default())]);
    assert!(["request_seconds", "up", "unseen"].into_iter().all(state));
    let series = |name: &str, ms| Request(vec![(raw(&[("__name__", name)]), vec![(ms, 1)])]);
    series("request_seconds_bucket", 1).append_to(&head);
    up(&[(1, 1)]).append_to(&head);
    series("request_seconds_sum", 70_000).append_to(&head);
    let names = || head.metadata(None).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    flush(&head, 60_000);
    assert_eq!(names(), ["request_seconds", "unseen"]);
    assert!(!state("unseen"));
    flush(&head, 120_000);
    assert_eq!(names(), ["unseen"]);
    // Nobody has stated it since, and there is still no series of it.
    flush(&head, 180_000);
    assert!(names().is_empty());
}

#[test]
fn files_without_a_needed_chunk_are_removed_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(small_files(), dir.path());
    let at = |from: i64, count: i64| (from..from + count).map(|i| (i * 100, i as u64 * 7)).collect::<Vec<_>>();
    up(&at(0, 1200)).append_to(&head);
    settle(&head);
    let before = head_files(dir.path());
    assert!(before.len() > 2, "{before:?}");
    let (_, truncated) = flush(&head, 60_000);
    let after = head_files(dir.path());
    assert!(truncated.files > 0 && truncated.file_failure.is_none());
    assert_eq!(after, before[truncated.files as usize..]);
    assert_eq!(contents(&head)[&LabelSet::from_pairs(UP)], at(600, 600));
    // All of them, with the one that was being written.
    flush(&head, 120_000);
    assert_eq!(head_files(dir.path()), Vec::<String>::new());
    up(&at(1200, 300)).append_to(&head);
    settle(&head);
    let next = before.len() + 1;
    assert_eq!(head_files(dir.path()), [format!("{next:06}")]);
    drop(head);
    let (chunks_dir, quarantine_dir) = (dir.path().join("chunks_head"), dir.path().join("quarantine"));
    let (head, report) =
        Head::open(small_files(), Arc::new(crate::fs::SystemFs), &chunks_dir, &quarantine_dir).unwrap();
    assert_eq!((report.damage, report.chunks), (None, 2));
    drop(head);
}

#[test]
fn chunk_that_became_durable_after_its_truncation_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(small_files(), dir.path());
    up(&(0..300).map(|i| (i * 100, i as u64)).collect::<Vec<_>>()).append_to(&head);
    let group = head.take_records();
    assert_eq!(flush(&head, 60_000).1.series, 1);
    group.on_durable.unwrap()();
    assert_eq!(head.flush_chunks(), 0);
    assert_eq!(head_files(dir.path()), Vec::<String>::new());
}

#[test]
fn file_that_cannot_be_removed_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(small_files(), dir.path());
    up(&(0..300).map(|i| (i * 100, i as u64)).collect::<Vec<_>>()).append_to(&head);
    settle(&head);
    let first = dir.path().join("chunks_head/000001");
    let aside = dir.path().join("aside");
    std::fs::rename(&first, &aside).unwrap();
    std::fs::create_dir(&first).unwrap();
    head.raise_floor(60_000);
    head.read_from(60_000);
    let truncated = head.truncate(60_000, &at_once);
    assert_eq!(truncated.files, 0);
    assert!(truncated.file_failure.is_some());
    std::fs::remove_dir(&first).unwrap();
    std::fs::rename(&aside, &first).unwrap();
    assert!(head.truncate(60_000, &at_once).files > 0);
    assert_eq!(head_files(dir.path()), Vec::<String>::new());
}

/// What happens to a head.
#[derive(Debug, Clone)]
enum Step {
    /// Series, and samples as steps from the newest time of all.
    Append(Vec<(usize, Vec<(i64, u64)>)>),
    /// Groups become durable, full chunks go to files.
    Settle,
    /// A query begins, so many milliseconds before the newest time.
    Begin(i64),
    /// The oldest query ends.
    End,
    /// A flush, up to a time around the newest one; up to a multiple of the chunk range where the flag says so.
    Flush(i64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let bits = prop_oneof![0u64..3, any::<u64>()];
    let samples = prop::collection::vec((0i64..9_000, bits), 1..30);
    let entries = prop::collection::vec((0usize..5, samples), 1..6);
    prop_oneof![
        4 => entries.prop_map(Step::Append),
        1 => Just(Step::Settle),
        2 => (0i64..200_000).prop_map(Step::Begin),
        1 => Just(Step::End),
        3 => ((-100_000i64..5_000), any::<bool>()).prop_map(|(ms, aligned)| Step::Flush(ms, aligned)),
    ]
}

/// A query that began some time ago, and what it must see.
struct Query {
    selected: Vec<crate::storage::SelectedSeries>,
    expected: Model,
}

impl Query {
    fn begin(head: &Head, model: &Model, start_ms: i64, read_from_ms: i64) -> Self {
        let range = TimeRange::new(start_ms, i64::MAX);
        let selected = head.querier(range).unwrap().select(&[], &SelectHints::default()).unwrap();
        let expected = within(model, TimeRange::new(start_ms.max(read_from_ms), i64::MAX));
        let found: BTreeSet<_> = selected.iter().map(|series| series.labels.clone()).collect();
        // A series with older and newer samples but none between is found too.
        assert!(expected.keys().all(|labels| found.contains(labels)));
        Query { selected, expected }
    }

    /// Everything is still there, and what was added since comes behind it.
    fn check(&self) {
        for series in &self.selected {
            let mut column = Column::default();
            series.samples.read(TimeRange::ALL, &mut column).unwrap();
            let read = column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits()));
            let expected = self.expected.get(&series.labels).cloned().unwrap_or_default();
            let start_ms = expected.first().map_or(0, |first| first.0);
            let read: Vec<_> = read.skip_while(|(ms, _)| *ms < start_ms).take(expected.len()).collect();
            assert_eq!(read, expected, "{}", series.labels);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn prop_head_and_blocks_together_are_the_model_whatever_the_order(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(small_files(), dir.path());
        let (mut model, mut blocks, mut log) = (Model::new(), Model::new(), Vec::new());
        let (mut queries, mut flushes) = (Vec::new(), 0usize);
        let (mut newest_ms, mut gone_refs, mut live) = (1_000_000i64, BTreeSet::new(), RefSet::default());
        let mut settle_into = |head: &Head| {
            let group = head.take_records();
            log.extend(group.records);
            group.on_durable.into_iter().for_each(|on_durable| on_durable());
            head.flush_chunks();
        };
        for step in steps {
            match step {
                Step::Append(entries) => {
                    let (mut request, mut added, base_ms) = (Request::default(), 0, newest_ms);
                    for (series, steps) in entries {
                        // Three of five series go on for ever, the others are new ones after each flush.
                        let generation = if series < 3 { String::new() } else { format!("g{flushes}") };
                        let labels = [("__name__", "m"), ("generation", &*generation), ("series", &*series.to_string())];
                        let set = LabelSet::from_pairs(labels);
                        let sent: Vec<(i64, u64)> = steps.iter().map(|&(ms, bits)| (base_ms + ms, bits)).collect();
                        for &(ms, bits) in &sent {
                            let known = model.entry(set.clone()).or_default();
                            if known.last().is_none_or(|last| ms > last.0) && ms >= head.floor_ms() {
                                known.push((ms, bits));
                                newest_ms = newest_ms.max(ms);
                                added += 1;
                            }
                        }
                        let labels: Vec<_> = labels.into_iter().filter(|label| !label.1.is_empty()).collect();
                        request.0.push((raw(&labels), sent));
                    }
                    prop_assert_eq!(request.append_to(&head).added, added);
                }
                Step::Settle => settle_into(&head),
                Step::Begin(back_ms) => {
                    queries.push(Query::begin(&head, &model, newest_ms - back_ms, head.floor_ms()));
                }
                Step::End => drop(queries.drain(..queries.len().min(1)).inspect(Query::check).collect::<Vec<_>>()),
                Step::Flush(ms, is_aligned) => {
                    settle_into(&head);
                    let below_ms = if is_aligned { (newest_ms + ms).div_euclid(60_000) * 60_000 } else { newest_ms + ms };
                    if below_ms <= head.floor_ms() {
                        continue;
                    }
                    flushes += 1;
                    let (block, truncated) = flush(&head, below_ms);
                    for (labels, samples) in block {
                        blocks.entry(labels).or_default().extend(samples);
                    }
                    prop_assert!(truncated.below_ms <= below_ms);
                    prop_assert!(truncated.below_ms == below_ms || !queries.is_empty());
                    prop_assert_eq!(truncated.file_failure, None);
                    if queries.is_empty() {
                        let left = within(&model, TimeRange::new(below_ms, i64::MAX));
                        // A chunk that crosses the time is kept whole, with its series.
                        prop_assert!(head.series_count() >= left.len());
                        let first_ms = left.values().map(|samples| samples[0].0).min();
                        if is_aligned {
                            prop_assert_eq!(head.series_count(), left.len());
                            prop_assert_eq!(head.time_range().map(|range| range.start_ms), first_ms);
                            let series: BTreeSet<_> = left.keys().filter_map(|set| set.get("generation")).collect();
                            let values = head.shared.index().label_values("generation", None, 0);
                            prop_assert_eq!(values, Vec::from_iter(series));
                        }
                        prop_assert!(head.time_range().map(|range| range.start_ms) <= first_ms || first_ms.is_none());
                    }
                }
            }
            queries.iter().for_each(Query::check);
            let now = head.live_refs();
            prop_assert_eq!(now.len(), head.series_count() as u64);
            prop_assert!(now.iter().all(|series_ref| !gone_refs.contains(&series_ref)));
            gone_refs.extend(live.iter().filter(|&series_ref| !now.contains(series_ref)));
            live = now;
            let floor_ms = head.floor_ms();
            let mut all = blocks.clone();
            for (labels, samples) in contents(&head) {
                prop_assert!(samples.iter().all(|sample| sample.0 >= floor_ms));
                all.entry(labels).or_default().extend(samples);
            }
            model.retain(|_, samples| !samples.is_empty());
            prop_assert_eq!(&all, &model);
        }
        drop(queries);
        settle_into(&head);
        let (floor_ms, left) = (head.floor_ms(), contents(&head));
        let files_before = head_files(dir.path());
        drop(head);
        let restarted = open(small_files(), dir.path());
        restarted.raise_floor(floor_ms);
        restarted.read_from(floor_ms);
        let report = super::replay_tests::replay(&restarted, &log);
        prop_assert_eq!(&contents(&restarted), &left);
        drop(restarted.adoption());
        let below = within(&model, TimeRange::new(i64::MIN, floor_ms.saturating_sub(1)));
        prop_assert_eq!(report.samples_below_floor, below.values().map(|samples| samples.len() as u64).sum::<u64>());
        // A series that left and came again has its chunks under another reference.
        prop_assert_eq!(report.chunks_unknown, 0);
        // Series that only blocks know don't stay.
        prop_assert_eq!(restarted.series_count(), left.len());
        prop_assert_eq!(slots(&restarted).len(), left.len());
        restarted.flush_chunks();
        prop_assert!(head_files(dir.path()).len() >= files_before.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn prop_chunk_source_of_any_range_holds_the_samples_of_a_model(
        requests in random_requests(),
        from_ms in -2_000i64..200_000,
        length_ms in 0i64..200_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(random_options(), dir.path());
        let mut model = Model::new();
        for (number, entries) in [first_request()].into_iter().chain(requests).enumerate() {
            run_model(&mut model, &entries).0.append_to(&head);
            if number % 2 == 0 {
                settle(&head);
            }
        }
        let start_ms = contents(&head).values().map(|samples| samples[0].0).min().unwrap_or(0) + from_ms;
        for range in [TimeRange::ALL, TimeRange::new(start_ms, start_ms + length_ms)] {
            let found = samples(&chunks(head.chunk_source(range, ChunkKind::InOrder)));
            prop_assert_eq!(found, within(&model, range));
        }
    }
}
