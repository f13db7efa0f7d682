//! Selection against brute force over label sets, with whole and with damaged indexes.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::encoding::{Cursor, crc32c, put};
use crate::fs::sim::SimFs;
use crate::model::{MatchOp, Matcher};
use crate::storage::{Queryable as _, SelectHints};

const NAMES: [&str; 4] = ["__name__", "job", "pod", "zone"];
const VALUES: [&str; 8] = ["", "a", "b", "ab", "abc", "b\n", "pod-1", "pod-12"];
const PATTERNS: [&str; 14] = [
    "",
    "a",
    "a|b",
    "a|",
    ".*",
    ".+",
    "a.*",
    "pod-.+",
    ".*b.*",
    "pod-1[0-9]?",
    "(?i)AB",
    "x|pod-1.*",
    "ab?c?",
    "(a|b)\\n?",
];

fn block_of(sets: &[LabelSet]) -> (SimFs, PathBuf) {
    let fs = SimFs::new(1);
    let series: Vec<(LabelSet, Vec<(i64, f64)>)> =
        sets.iter().map(|set| (set.clone(), vec![(START_MS, 1.0), (START_MS + 1, 2.0)])).collect();
    let options = WriterOptions { postings_per_pass: 5, ..WriterOptions::default() };
    let block = write_block(Arc::new(fs.clone()), Path::new("/"), ulid(1), options, &series).unwrap().unwrap();
    let dir = block.publish().unwrap().dir().to_owned();
    (fs, dir)
}

fn sets() -> impl Strategy<Value = Vec<LabelSet>> {
    let row = [1usize..VALUES.len(), 0..VALUES.len(), 0..VALUES.len(), 0..VALUES.len()];
    prop::collection::vec(row, 1..60).prop_map(|rows| {
        let set = |row: &[usize; 4]| LabelSet::from_pairs(NAMES.into_iter().zip(row.map(|value| VALUES[value])));
        let mut sets: Vec<LabelSet> = rows.iter().map(set).collect();
        // More values than the reader keeps the places of.
        sets.extend((0..100).map(|n| LabelSet::from_pairs([("__name__", "many"), ("n", &format!("v{n}"))])));
        sets.sort();
        sets.dedup();
        sets
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
    (0..6usize, op, 0..VALUES.len(), 0..PATTERNS.len()).prop_map(|(name, op, value, pattern)| {
        let name = *NAMES.get(name).unwrap_or(if name == 4 { &"n" } else { &"absent" });
        let is_plain = matches!(op, MatchOp::Equal | MatchOp::NotEqual);
        let text = match (is_plain, name) {
            (true, "n") => ["v0", "v31", "v99", "x", "", "v5", "v64", "v1"][value],
            (false, "n") => ["v1.*", "v[0-4]2", "", ".+", "v3|v98|w"][pattern % 5],
            (true, _) => VALUES[value],
            (false, _) => PATTERNS[pattern],
        };
        Matcher::new(name, op, text).unwrap()
    })
}

/// Compares what the block answers with what the label sets say.
fn assert_answers(block: &Block, sets: &[LabelSet], matchers: &[Matcher]) {
    let querier = block.querier(TimeRange::ALL).unwrap();
    let chosen: Vec<&LabelSet> =
        sets.iter().filter(|set| matchers.iter().all(|matcher| matcher.matches_labels(set))).collect();
    let selected = querier.select(matchers, &SelectHints::default()).unwrap();
    assert_eq!(selected.iter().map(|series| &series.labels).collect::<Vec<_>>(), chosen, "{matchers:?}");
    let limited = querier.select(matchers, &SelectHints { limit: 3, ..SelectHints::default() }).unwrap();
    assert_eq!(limited.iter().map(|series| &series.labels).collect::<Vec<_>>(), chosen[..chosen.len().min(3)]);
    let mut names: Vec<&str> = chosen.iter().flat_map(|set| set.iter().map(|label| label.name)).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(querier.label_names(matchers, 0).unwrap(), names, "{matchers:?}");
    assert_eq!(querier.label_names(matchers, 1).unwrap(), names[..names.len().min(1)]);
    for name in NAMES.into_iter().chain(["n", "absent"]) {
        let mut values: Vec<&str> = chosen.iter().filter_map(|set| set.get(name)).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(querier.label_values(name, matchers, 0).unwrap(), values, "{name} {matchers:?}");
        assert_eq!(querier.label_values(name, matchers, 2).unwrap(), values[..values.len().min(2)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn prop_answers_agree_with_brute_force(
        sets in sets(),
        cases in prop::collection::vec(prop::collection::vec(matcher(), 0..4), 8),
    ) {
        let (fs, dir) = block_of(&sets);
        let block = Block::open(Arc::new(fs), &dir).unwrap();
        for matchers in &cases {
            assert_answers(&block, &sets, matchers);
        }
        prop_assert_eq!(block.damages(), vec![]);
    }

    #[test]
    fn prop_answers_are_whole_where_the_postings_are_damaged(
        sets in sets(),
        cases in prop::collection::vec(prop::collection::vec(matcher(), 0..4), 2),
        place in 0.0..1.0,
    ) {
        let (fs, dir) = block_of(&sets);
        let path = dir.join("index");
        let mut index = fs.read(&path).unwrap();
        let toc_at = index.len() - 52;
        let u64_at = |at: usize| u64::from_be_bytes(index[at..at + 8].try_into().unwrap()) as usize;
        let postings = u64_at(toc_at + 32);
        let at = postings + ((toc_at - postings) as f64 * place) as usize;
        index[at] ^= 0x10;
        fs.set_content(&path, index);
        let block = Block::open(Arc::new(fs), &dir).unwrap();
        for matchers in &cases {
            assert_answers(&block, &sets, matchers);
        }
    }
}

#[test]
fn select_past_its_bounds_is_refused() {
    let sets: Vec<LabelSet> = (0..9).map(|n| LabelSet::from_pairs([("n", &*format!("v{n}"))])).collect();
    let (fs, dir) = block_of(&sets);
    let block = Block::open(Arc::new(fs), &dir).unwrap();
    let querier = block.querier(TimeRange::ALL).unwrap();
    for (hints, fits) in [
        (SelectHints { series_max: 9, ..SelectHints::default() }, true),
        (SelectHints { series_max: 8, ..SelectHints::default() }, false),
        (SelectHints { bytes_max: 1 << 20, ..SelectHints::default() }, true),
        (SelectHints { bytes_max: 300, ..SelectHints::default() }, false),
    ] {
        assert_eq!(querier.select(&[], &hints).is_ok(), fits, "{hints:?}");
    }
    let outside = block.querier(TimeRange::new(0, START_MS - 1)).unwrap();
    assert!(outside.select(&[], &SelectHints::default()).unwrap().is_empty());
    assert!(outside.label_names(&[], 0).unwrap().is_empty());
}

/// The index with the list of all series as that of every label, and checksums that match.
fn with_one_list(index: &[u8]) -> Vec<u8> {
    let (sections, toc) = index.split_last_chunk::<52>().unwrap();
    let table = u64::from_be_bytes(*toc[40..].first_chunk().unwrap()) as usize;
    let mut cursor = Cursor::new(&sections[table + 4..sections.len() - 4]);
    let count = cursor.u32_be().unwrap();
    let (mut forged, mut all) = (count.to_be_bytes().to_vec(), None);
    for _ in 0..count {
        put::uvarint(&mut forged, cursor.uvarint().unwrap());
        for _ in ["name", "value"] {
            let text = cursor.uvarint_str().unwrap();
            put::uvarint(&mut forged, text.len() as u64);
            forged.extend_from_slice(text.as_bytes());
        }
        // The first entry is that of all series.
        let list = cursor.uvarint().unwrap();
        put::uvarint(&mut forged, *all.get_or_insert(list));
    }
    assert!(cursor.is_empty());
    let (length, checksum) = ((forged.len() as u32).to_be_bytes(), crc32c(&forged).to_be_bytes());
    [&sections[..table], &length, &forged, &checksum, toc].concat()
}

#[test]
fn select_over_lists_that_together_are_longer_than_that_of_all_series_reads_the_series_instead() {
    let sets = (0..100).map(|n| LabelSet::from_pairs([("__name__", "many"), ("n", &format!("v{n:02}"))]));
    let sets: Vec<LabelSet> = sets.collect();
    let (fs, dir) = block_of(&sets);
    let path = dir.join("index");
    fs.set_content(&path, with_one_list(&fs.read(&path).unwrap()));
    for pattern in ["v.+", "v01|v02", ".+", ".*5"] {
        let block = Block::open(Arc::new(fs.clone()), &dir).unwrap();
        assert_eq!(block.damages(), vec![]);
        assert_answers(&block, &sets, &[Matcher::new("n", MatchOp::Regex, pattern).unwrap()]);
        let damages = block.damages();
        let overlap = |damage: &Damage| damage.part == DamagedPart::Postings && damage.what.contains("label overlap");
        assert!(damages.len() == 1 && damages.iter().all(overlap), "{pattern}: {damages:?}");
    }
}
