//! Blocks with an accelerator, without one, and with a damaged one: equal answers.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::block::accel::{AccelError, AccelState, build};
use crate::fs::names::BLOCK_ACCEL_FILE;
use crate::fs::sim::SimFs;
use crate::model::{Digest, MatchOp, Matcher, Tally};
use crate::storage::Queryable as _;

/// The same block twice: opened before it had an accelerator, and after.
fn pair(fs: &Arc<SimFs>, series: &[(LabelSet, Vec<(i64, f64)>)]) -> (Arc<Block>, Arc<Block>) {
    let prepared = write_block(fs.clone(), Path::new("/"), ulid(1), WriterOptions::default(), series).unwrap().unwrap();
    let plain = prepared.publish().unwrap();
    let other = Block::open(fs.clone(), plain.dir()).unwrap();
    build(&**fs, &other).unwrap();
    assert_eq!((plain.accel_state(), other.accel_state()), (AccelState::Missing, AccelState::Ready));
    (plain, other)
}

fn disk() -> Arc<SimFs> {
    Arc::new(SimFs::new(7))
}

fn accel_path(block: &Block) -> PathBuf {
    block.dir().join(BLOCK_ACCEL_FILE)
}

/// What a block says to these matchers: series, label names, values of each label.
fn answers(block: &Block, matchers: &[Matcher]) -> (Vec<SeriesRef>, Vec<String>, Vec<Vec<String>>) {
    let querier = block.querier(TimeRange::ALL).unwrap();
    let names = querier.label_names(matchers, 0).unwrap();
    let values = |name: &str| querier.label_values(name, matchers, 0).unwrap();
    let values = ["__name__", "instance", "job", "zone", "absent"].into_iter().map(values).collect();
    assert!(querier.warnings().is_empty());
    (block.series_refs(matchers), names, values)
}

#[test]
fn accel_tallies_are_those_of_the_samples_in_the_chunks() {
    let series = specimen(40, 50);
    let (_, fast) = pair(&disk(), &series);
    let accel = fast.accel().unwrap();
    let mut total = Tally::ZERO;
    for (ordinal, (labels, samples)) in (0u32..).zip(&series) {
        let digest = Digest::of_labels(labels);
        let mut tally = Tally::ZERO;
        samples.iter().for_each(|&(timestamp_ms, value)| tally.add_sample(digest.of_sample(timestamp_ms, value)));
        assert_eq!(accel.series_tally(ordinal).unwrap(), Some(tally));
        total += tally;
    }
    assert_eq!(accel.tally(), total);
    assert_eq!(accel.tally().samples, fast.meta().stats.samples);
    accel.check().unwrap();
}

#[test]
fn block_whose_accel_is_damaged_answers_the_same_and_tells() {
    let fs = disk();
    let (plain, fast) = pair(&fs, &specimen(60, 4));
    let whole = fs.read(&accel_path(&fast)).unwrap();
    let questions = [
        vec![],
        vec![Matcher::new("instance", MatchOp::Regex, "host-00.*").unwrap()],
        vec![Matcher::new("instance", MatchOp::NotRegex, ".*[13]").unwrap(), Matcher::equal("job", "node")],
        vec![Matcher::equal("zone", "")],
    ];
    let expected: Vec<_> = questions.iter().map(|matchers| answers(&plain, matchers)).collect();
    for at in (0..whole.len()).step_by(13) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs.set_content(&accel_path(&fast), damaged);
        let block = Block::open(fs.clone(), fast.dir()).unwrap();
        for (matchers, expected) in questions.iter().zip(&expected) {
            assert_eq!(answers(&block, matchers), *expected, "byte {at}");
        }
        if block.accel_state() == AccelState::Ready {
            // No question touched it; the check of the whole does.
            assert!(block.accel().unwrap().check().is_err(), "byte {at}");
        }
    }
    fs.set_content(&accel_path(&fast), whole[..whole.len() / 2].to_vec());
    let block = Block::open(fs.clone(), fast.dir()).unwrap();
    assert!(matches!(block.accel_state(), AccelState::Damaged(_)));
    build(&*fs, &block).unwrap();
    assert_eq!(block.accel_state(), AccelState::Ready);
    assert_eq!(fs.read(&accel_path(&fast)).unwrap(), whole, "a build gives the same bytes again");
}

#[test]
fn accel_of_another_block_is_not_used() {
    let fs = disk();
    let (_, fast) = pair(&fs, &specimen(10, 4));
    let prepared =
        write_block(fs.clone(), Path::new("/"), ulid(2), WriterOptions::default(), &specimen(12, 4)).unwrap();
    let other = prepared.unwrap().publish().unwrap();
    fs.set_content(&accel_path(&other), fs.read(&accel_path(&fast)).unwrap());
    let other = Block::open(fs.clone(), other.dir()).unwrap();
    assert!(matches!(other.accel_state(), AccelState::Damaged(reason) if reason.contains("another index")));
    assert_eq!(other.series_refs(&[]).len(), 12);
}

#[test]
fn build_of_a_block_with_a_damaged_chunk_makes_none_and_leaves_nothing() {
    let fs = disk();
    let prepared = write_block(fs.clone(), Path::new("/"), ulid(3), WriterOptions::default(), &specimen(5, 9)).unwrap();
    let block = prepared.unwrap().publish().unwrap();
    let segment = crate::fs::names::block_chunk_file(block.dir(), 1);
    let mut bytes = fs.read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs.set_content(&segment, bytes);
    let block = Block::open(fs.clone(), block.dir()).unwrap();
    assert!(matches!(build(&*fs, &block), Err(AccelError::Source(reason)) if reason.contains("chunk")));
    assert_eq!(block.accel_state(), AccelState::Missing);
    assert!(fs.list(block.dir()).unwrap().iter().all(|entry| !entry.name.starts_with(BLOCK_ACCEL_FILE)));
}

#[test]
fn build_that_loses_power_anywhere_leaves_a_whole_accel_or_none() {
    let (mut whole, mut none) = (0, 0);
    for seed in 0..40 {
        let fs = disk();
        let prepared =
            write_block(fs.clone(), Path::new("/"), ulid(4), WriterOptions::default(), &specimen(20, 4)).unwrap();
        let block = prepared.unwrap().publish().unwrap();
        fs.lose_power_at(fs.operations() + seed % 10);
        let built = build(&*fs, &block);
        let after = Arc::new(fs.crash(seed));
        let block = Block::open(after.clone(), block.dir()).unwrap();
        match block.accel_state() {
            AccelState::Ready => {
                block.accel().unwrap().check().unwrap();
                whole += 1;
            }
            AccelState::Missing => {
                assert!(built.is_err(), "a build that said it was done is not undone");
                none += 1;
            }
            AccelState::Damaged(reason) => panic!("{reason}"),
        }
        // What is left over is no obstacle to the next build.
        build(&*after, &block).unwrap();
        assert_eq!(block.accel_state(), AccelState::Ready);
    }
    assert!(whole > 0 && none > 0, "{whole} whole, {none} none");
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let name = prop::sample::select(vec!["__name__", "instance", "job", "zone", "absent"]);
    let words = ["", "up", "cpu", "node", "z1", "host-003", "host-999"];
    let patterns = [
        "",
        ".*",
        ".+",
        "u.*",
        "host-00.+",
        ".*0.*",
        ".*[02]",
        "cpu|up",
        "z[01]|",
        "ü.*",
        "[^z].*",
        "(?i)UP",
        ".*_.*s",
        "\\w+-\\d+",
        "z.",
    ];
    let test = prop_oneof![
        (prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual]), prop::sample::select(words.to_vec())),
        (prop::sample::select(vec![MatchOp::Regex, MatchOp::NotRegex]), prop::sample::select(patterns.to_vec())),
    ];
    (name, test).prop_map(|(name, (op, value))| Matcher::new(name, op, value).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn prop_block_answers_the_same_with_and_without_accel(
        count in 1usize..300,
        questions in prop::collection::vec(prop::collection::vec(any_matcher(), 0..4), 40),
    ) {
        let series = specimen(count, 2);
        let (plain, fast) = pair(&disk(), &series);
        for matchers in &questions {
            let answer = answers(&fast, matchers);
            let passing = series.iter().filter(|(labels, _)| matchers.iter().all(|matcher| matcher.matches_labels(labels)));
            prop_assert_eq!(answer.0.len(), passing.count(), "{:?}", matchers);
            prop_assert_eq!(answer, answers(&plain, matchers), "{:?}", matchers);
        }
        prop_assert_eq!(fast.accel_state(), AccelState::Ready);
    }
}
