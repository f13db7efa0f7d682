//! Compactions, whole: what comes out, that it is proven, and that a proof fails where it has to.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::testing::*;
use super::*;
use crate::block::{Block, BlockOrigin, BlockWriter, HINT_FROM_OUT_OF_ORDER, WriterOptions, accel, check};
use crate::fs::sim::SimFs;
use crate::fs::{Fs, SystemFs};
use crate::model::{Matcher, Tally, TimeRange};
use crate::planted::{self, Bug};

const DATA: &str = "/data";
const END_MS: i64 = 10_000;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn disk() -> Arc<dyn Fs> {
    let fs = SimFs::new(0);
    fs.create_dir_all(Path::new(DATA)).unwrap();
    Arc::new(fs)
}

/// A block of a made-up source, deletions applied; numbers are ages, the lowest the oldest.
fn block(fs: &Arc<dyn Fs>, dir: &Path, number: u64, source: &TestSource, hints: &[&str]) -> Option<Arc<Block>> {
    let ulid = Ulid::from_parts(number, 1);
    let mut writer = BlockWriter::create(fs.clone(), dir, ulid, WriterOptions::default()).unwrap();
    for series in source {
        writer.add(&series.labels, &series.chunks()).unwrap();
    }
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    let origin = BlockOrigin { min_time_ms: 0, max_time_ms: END_MS, level: 1, hints, ..BlockOrigin::default() };
    let block = writer.finish(origin).unwrap()?.publish().unwrap();
    for series in source {
        let matchers: Vec<Matcher> =
            series.labels.iter().map(|label| Matcher::equal(label.name, label.value)).collect();
        for range in &series.deleted {
            block.delete(&matchers, *range).unwrap();
        }
    }
    Some(block)
}

fn blocks(fs: &Arc<dyn Fs>, sources: &[TestSource]) -> Vec<Arc<Block>> {
    (1u64..).zip(sources).filter_map(|(number, source)| block(fs, Path::new(DATA), number, source, &[])).collect()
}

fn merge(fs: &Arc<dyn Fs>, parents: &[Arc<Block>]) -> Result<Outcome, CompactionError> {
    compact(fs, Path::new(DATA), Ulid::from_parts(1000, 1), parents, &mut go_on)
}

fn stored(blocks: &[Arc<Block>]) -> Tally {
    blocks.iter().map(|block| check(block, &mut |_| {}).stored).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compaction_of_any_blocks_is_what_the_model_gives_and_conserves_their_samples(
        sources in arbitrary_sources()
    ) {
        let fs = disk();
        let parents = blocks(&fs, &sources);
        let model = Model::of(&sources, TimeRange::ALL);
        let outcome = merge(&fs, &parents).unwrap();
        prop_assert_eq!(outcome.deleted, model.deleted);
        prop_assert_eq!(outcome.deduplicated, model.deduplicated);
        prop_assert_eq!(outcome.conflicts, model.conflicts);
        prop_assert_eq!(outcome.stored, stored(&parents) - model.deleted - model.deduplicated);
        prop_assert_eq!(outcome.child.is_some(), !model.series.is_empty());
        if let Some(child) = outcome.child {
            let child = child.publish().unwrap();
            prop_assert_eq!(drain(&mut *child.chunk_source()), model.series);
            prop_assert_eq!(child.meta().compaction.level, 2);
            prop_assert_eq!(child.meta().compaction.parents.len(), parents.len());
        }
    }
}

fn series(number: u32, samples: impl IntoIterator<Item = (i64, f64)>) -> TestSeries {
    TestSeries { labels: labels(number), samples: samples.into_iter().collect(), deleted: Vec::new(), per_chunk: 10 }
}

/// Two blocks with a duplicate, a conflict, a deletion, and chunks that pass.
fn two_sources() -> [TestSource; 2] {
    let mut first = series(1, (0..30).map(|at| (at, 1.0)));
    first.deleted = vec![TimeRange::new(25, 26)];
    [vec![first], vec![series(1, [(22, 1.0), (23, 2.0), (40, 1.0)]), series(2, [(1, 1.0)])]]
}

#[test]
fn compaction_with_a_planted_bug_is_refused_and_its_child_handed_out_for_quarantine() {
    for bug in [Bug::ChunkLeftOut, Bug::DuplicateKept, Bug::DigestNotUpdated, Bug::DeletionNotApplied] {
        let fs = disk();
        let parents = blocks(&fs, &two_sources());
        let (result, struck) = planted::once(bug, || merge(&fs, &parents));
        assert!(struck, "{bug:?}");
        let error = result.unwrap_err();
        let words = error.to_string();
        let CompactionError::Unproven { reason, child } = error else { panic!("{bug:?}: {words}") };
        assert!(matches!(*reason, Disproof::NotConserved { .. }), "{bug:?}: {words}");
        assert!(words.contains("is not the sum of its parents"), "{words}");
        let child = child.unwrap();
        assert!(fs.exists(child.dir()), "{bug:?}: the child is there to be looked at");
        assert_eq!(stored(&parents).samples, 34, "{bug:?}: the parents are as they were");
        child.discard().unwrap();
    }
    let fs = disk();
    assert!(merge(&fs, &blocks(&fs, &two_sources())).is_ok());
}

#[test]
fn compaction_that_is_told_of_fewer_deletions_than_its_parents_have_is_refused() {
    let fs = disk();
    let parents = blocks(&fs, &two_sources());
    let merged = merge(&fs, &parents).unwrap();
    let written = |deleted, deduplicated| WrittenBlock {
        block: None,
        totals: MergeTotals { deleted, deduplicated, ..MergeTotals::default() },
    };
    // As if the block had not been written, and all of it counted as duplicates or as deleted.
    let left = merged.stored + merged.deduplicated;
    let honest = conservation(&parents, &written(merged.deleted, left), &mut go_on);
    assert_eq!(honest.unwrap().stored, Tally::ZERO);
    let error = conservation(&parents, &written(merged.deleted + left, Tally::ZERO), &mut go_on).unwrap_err();
    assert!(error.to_string().contains("did not apply the deletions"), "{error}");
}

#[test]
fn compaction_asks_the_accelerators_of_its_parents_and_refuses_all_the_same_what_is_not_their_sum() {
    let fs = disk();
    let sources = [vec![series(1, (0..30).map(|at| (at, 1.0)))], vec![series(1, [(22, 1.0), (40, 1.0)])]];
    let parents: Vec<_> = blocks(&fs, &sources)
        .into_iter()
        .map(|block| {
            accel::build(&*fs, &block).unwrap();
            Block::open(fs.clone(), block.dir()).unwrap()
        })
        .collect();
    assert!(parents.iter().all(|block| block.accel().is_some()));
    let (result, struck) = planted::once(Bug::ChunkLeftOut, || merge(&fs, &parents));
    assert!(struck && matches!(result, Err(CompactionError::Unproven { .. })), "{result:?}");
    let outcome = merge(&fs, &parents).unwrap();
    assert_eq!((outcome.stored.samples, outcome.deduplicated.samples), (31, 1));
}

#[test]
fn compaction_believes_samples_in_order_before_others_and_older_blocks_before_newer() {
    let fs = disk();
    let dir = Path::new(DATA);
    let one = |value| vec![series(1, [(5, value)])];
    let late = block(&fs, dir, 1, &one(1.0), &[HINT_FROM_OUT_OF_ORDER]).unwrap();
    let newer = block(&fs, dir, 3, &one(3.0), &[]).unwrap();
    let older = block(&fs, dir, 2, &one(2.0), &[]).unwrap();
    let outcome = merge(&fs, &[late.clone(), newer, older]).unwrap();
    assert_eq!((outcome.conflicts, outcome.conflicts_named.len()), (2, 2));
    let child = outcome.child.as_ref().unwrap().open().unwrap();
    assert_eq!(drain(&mut *child.chunk_source())[&labels(1)][&5], 2.0);
    assert!(!child.meta().is_from_out_of_order());
    outcome.child.unwrap().discard().unwrap();
    // Only a block of nothing but out-of-order samples is one itself.
    let outcome = merge(&fs, &[late]).unwrap();
    assert!(outcome.child.unwrap().meta().is_from_out_of_order());
}

#[test]
fn compaction_of_blocks_of_which_all_is_deleted_gives_no_block() {
    let fs = disk();
    let mut gone = series(1, (0..30).map(|at| (at, 1.0)));
    gone.deleted = vec![TimeRange::new(0, 100)];
    let deleted = gone.tally();
    let outcome = merge(&fs, &blocks(&fs, &[vec![gone]])).unwrap();
    assert!(outcome.child.is_none());
    assert_eq!((outcome.stored, outcome.deleted), (Tally::ZERO, deleted));
}

#[test]
fn compaction_that_is_stopped_while_it_proves_leaves_nothing() {
    let fs = disk();
    let parents = blocks(&fs, &two_sources());
    let mut stop = |progress| match progress {
        Progress::Proving { .. } => ControlFlow::Break(()),
        Progress::Writing { .. } => ControlFlow::Continue(()),
    };
    let ulid = Ulid::from_parts(1000, 1);
    let error = compact(&fs, Path::new(DATA), ulid, &parents, &mut stop).unwrap_err();
    assert!(matches!(error, CompactionError::Stopped), "{error}");
    assert_eq!(fs.list(Path::new(DATA)).unwrap().len(), parents.len());
}

#[test]
fn compaction_of_a_damaged_parent_fails_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    let source = vec![series(1, (0..30).map(|at| (at, at as f64)))];
    let parent = block(&fs, dir.path(), 1, &source, &[]).unwrap();
    let path = parent.dir().join("chunks/000001");
    drop(parent);
    let mut bytes = fs.read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let parent = Block::open(fs.clone(), path.parent().unwrap().parent().unwrap()).unwrap();
    let ulid = Ulid::from_parts(1000, 1);
    let error = compact(&fs, dir.path(), ulid, &[parent], &mut go_on).unwrap_err();
    assert!(matches!(error, CompactionError::Read(_)), "{error}");
    assert_eq!(fs.list(dir.path()).unwrap().len(), 1);
}

/// Prometheus' own tool, where `CHRONOLITH_PEERS` names its directory.
#[test]
fn compaction_gives_a_block_that_promtool_accepts_and_dumps_as_it_dumps_the_parents_together() {
    let Some(peers) = std::env::var_os("CHRONOLITH_PEERS").map(std::path::PathBuf::from) else { return };
    let promtool = |arguments: &[&str]| {
        let output = std::process::Command::new(peers.join("promtool")).args(arguments).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {arguments:?}: {stdout}{stderr}");
        let mut lines: Vec<String> = stdout.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    // Overlaps, samples in two blocks, a series in one block only, deletions; no time with two values.
    let value = |at: i64| (at % 7) as f64 / 3.0;
    let every = |number, from: i64, to: i64, step: usize| TestSeries {
        per_chunk: 13,
        ..series(number, (from..to).step_by(step).map(|at| (at, value(at))))
    };
    let mut sources = [
        vec![every(1, 0, 600, 1), every(2, 0, 300, 3)],
        vec![every(1, 500, 900, 2), every(3, 10, 700, 5)],
        vec![every(2, 100, 800, 7), every(3, 600, 1000, 1)],
    ];
    sources[0][0].deleted = vec![TimeRange::new(100, 200), TimeRange::new(550, 560)];
    sources[2][1].deleted = vec![TimeRange::new(990, 2000)];
    let (parents_dir, child_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fs: Arc<dyn Fs> = Arc::new(SystemFs);
    for dir in [&parents_dir, &child_dir] {
        // The tool wants a whole data directory.
        std::fs::create_dir(dir.path().join("wal")).unwrap();
    }
    let parents: Vec<_> = (1u64..)
        .zip(&sources)
        .filter_map(|(number, source)| block(&fs, parents_dir.path(), number, source, &[]))
        .collect();
    let outcome = compact(&fs, child_dir.path(), Ulid::from_parts(1000, 1), &parents, &mut go_on).unwrap();
    assert!(outcome.deleted.samples > 100 && outcome.deduplicated.samples > 50, "{outcome:?}");
    let child = outcome.child.unwrap().publish().unwrap();
    let dir = child_dir.path().to_str().unwrap();
    assert!(promtool(&["tsdb", "list", dir]).iter().any(|line| line.contains(&child.ulid().to_string())));
    promtool(&["tsdb", "analyze", "--extended", dir]);
    let dump = promtool(&["tsdb", "dump", dir]);
    assert_eq!(dump.len() as u64, outcome.stored.samples);
    assert_eq!(dump, promtool(&["tsdb", "dump", parents_dir.path().to_str().unwrap()]));
}
