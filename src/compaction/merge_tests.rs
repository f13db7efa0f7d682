//! The merge, against a model that knows nothing of chunks.

use proptest::prelude::*;

use super::merge::Merger;
use super::testing::*;
use crate::model::{SampleValue, Tally, TimeRange};
use crate::planted::{self, Bug};
use crate::storage::{ChunkSource as _, StorageError};

fn series(number: u32, samples: impl IntoIterator<Item = (i64, f64)>) -> TestSeries {
    TestSeries { labels: labels(number), samples: samples.into_iter().collect(), deleted: Vec::new(), per_chunk: 10 }
}

proptest! {
    #[test]
    fn merge_of_any_sources_gives_what_the_model_gives(
        merged in arbitrary_sources(),
        from in 0i64..400,
        length in 1i64..900,
    ) {
        for range in [TimeRange::ALL, TimeRange::new(from, from + length)] {
            let model = Model::of(&merged, range);
            let mut merger = Merger::new(sources(&merged), range).unwrap();
            let series = drain(&mut merger);
            let totals = merger.totals();
            prop_assert_eq!(totals.deduplicated, model.deduplicated);
            prop_assert_eq!(totals.deleted, model.deleted);
            prop_assert_eq!(totals.conflicts, model.conflicts);
            prop_assert_eq!(totals.samples, series.values().map(|samples| samples.len() as u64).sum::<u64>());
            prop_assert_eq!(totals.series, series.len() as u64);
            let read: u64 = merged.iter().flatten().map(|series| series.samples.len() as u64).sum();
            let accounted = totals.samples + totals.outside + totals.deleted.samples + totals.deduplicated.samples;
            prop_assert_eq!(accounted, read);
            prop_assert_eq!(series, model.series);
        }
    }
}

#[test]
fn merge_passes_chunks_that_overlap_nothing_as_they_are() {
    let early = vec![series(1, (0..30).map(|at| (at, 1.0)))];
    let late = vec![series(1, (30..60).map(|at| (at, 2.0))), series(2, [(5, 1.0)])];
    let bytes: Vec<Vec<u8>> =
        [&early[0], &late[0]].iter().flat_map(|series| series.chunks()).map(|chunk| chunk.bytes.to_vec()).collect();
    let mut merger = Merger::new(sources(&[early, late]), TimeRange::ALL).unwrap();
    let first = merger.next_series().unwrap().unwrap();
    assert_eq!(first.chunks.iter().map(|chunk| chunk.bytes.to_vec()).collect::<Vec<_>>(), bytes);
    assert!(merger.next_series().unwrap().is_some());
    assert!(merger.next_series().unwrap().is_none());
    let totals = merger.totals();
    assert_eq!((totals.chunks_passed, totals.chunks_decoded, totals.samples), (7, 0, 61));
}

#[test]
fn merge_of_two_values_of_one_time_keeps_that_of_the_first_source_and_names_the_conflict() {
    let first = vec![series(1, [(10, 1.0), (20, f64::NAN)])];
    let second = vec![series(1, [(10, 2.0), (15, 3.0), (20, f64::NAN)])];
    let mut merger = Merger::new(sources(&[first.clone(), second.clone()]), TimeRange::ALL).unwrap();
    let kept = drain(&mut merger);
    assert_eq!(
        kept[&labels(1)].iter().map(|(at, value)| (*at, value.to_bits())).collect::<Vec<_>>(),
        [(10, 1f64.to_bits()), (15, 3f64.to_bits()), (20, f64::NAN.to_bits())]
    );
    let totals = merger.totals();
    assert_eq!((totals.conflicts, totals.deduplicated.samples), (1, 2));
    assert_eq!(totals.conflicts_named.len(), 1);
    assert_eq!(totals.conflicts_named[0].kept, SampleValue::Float(1.0));
    let words = totals.conflicts_named[0].to_string();
    assert!(words.contains("node-1") && words.ends_with("at 10 ms: kept 1, dropped 2"), "{words}");
}

#[test]
fn merge_drops_series_whose_samples_are_all_deleted() {
    let mut gone = series(1, (0..30).map(|at| (at, 1.0)));
    gone.deleted = vec![TimeRange::new(0, 100)];
    let deleted = gone.tally();
    let mut merger = Merger::new(sources(&[vec![gone, series(2, [(1, 1.0)])]]), TimeRange::ALL).unwrap();
    assert_eq!(drain(&mut merger).len(), 1);
    assert_eq!((merger.totals().deleted, merger.totals().series_dropped), (deleted, 1));
    assert_ne!(deleted, Tally::ZERO);
}

#[test]
fn merge_refuses_a_source_whose_series_are_not_in_order() {
    let unordered = vec![series(2, [(1, 1.0)]), series(1, [(1, 1.0)])];
    let mut merger = Merger::new(sources(&[unordered]), TimeRange::ALL).unwrap();
    let error = merger.next_series().unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

#[test]
fn merge_with_a_planted_bug_does_not_give_what_the_model_gives() {
    let mut first = series(1, (0..30).map(|at| (at, 1.0)));
    first.deleted = vec![TimeRange::new(25, 26)];
    let merged = [vec![first], vec![series(1, [(22, 2.0), (40, 1.0)]), series(2, [(1, 1.0)])]];
    let model = Model::of(&merged, TimeRange::ALL);
    for bug in [Bug::ChunkLeftOut, Bug::DuplicateKept, Bug::DigestNotUpdated, Bug::DeletionNotApplied] {
        let (differs, struck) = planted::once(bug, || {
            let mut merger = Merger::new(sources(&merged), TimeRange::ALL).unwrap();
            drain(&mut merger) != model.series || merger.totals().deduplicated != model.deduplicated
        });
        assert!(struck && differs, "{bug:?}");
    }
}
