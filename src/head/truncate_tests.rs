//! The floor, the source of chunks and truncation against a plain model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{Request, contents, first_request, open, random_options, random_requests, raw, run_model};
use super::*;
use crate::chunk::{XorIterator, xor};
use crate::model::{LabelSet, MatchOp, Matcher};
use crate::storage::{Chunk, ChunkBytes, ChunkSource, Column, Queryable, RejectReason, SelectHints};

type Model = BTreeMap<LabelSet, Vec<(i64, u64)>>;

const UP: [(&str, &str); 1] = [("__name__", "up")];

fn up(samples: &[(i64, u64)]) -> Request {
    Request(vec![(raw(&UP), samples.to_vec())])
}

/// Hands what was added to the log, and lets full chunks go to their files.
fn settle(head: &Head) {
    if let Some(on_durable) = head.take_records().on_durable {
        on_durable();
    }
    head.flush_chunks();
}

/// All chunks of a source; their headers, order and ranges are checked.
fn chunks(mut source: Box<dyn ChunkSource>) -> BTreeMap<LabelSet, Vec<Chunk>> {
    let mut out: BTreeMap<LabelSet, Vec<Chunk>> = BTreeMap::new();
    while let Some(series) = source.next_series().unwrap() {
        assert!(out.last_key_value().is_none_or(|(last, _)| *last < series.labels));
        assert!(series.chunks.windows(2).all(|pair| pair[0].range.end_ms < pair[1].range.start_ms));
        for chunk in &series.chunks {
            let samples = decode(chunk);
            assert_eq!(samples.len(), usize::from(xor::sample_count(&chunk.bytes)));
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

fn samples(chunks: &BTreeMap<LabelSet, Vec<Chunk>>) -> Model {
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
