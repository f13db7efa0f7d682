//! The index against brute force over label sets.

use proptest::prelude::*;

use super::*;
use crate::model::{LabelSetScratch, MatchOp, Matcher};

const NAMES: [&str; 4] = ["__name__", "job", "pod", "zone"];
const VALUES: [&str; 8] = ["", "a", "b", "ab", "abc", "b\n", "pod-1", "pod-12"];
const PATTERNS: [&str; 16] = [
    "",
    "a",
    "a|b",
    "a|",
    ".*",
    ".+",
    "a.*",
    "pod-.+",
    ".*b",
    ".*b.*",
    "pod-1[0-9]?",
    "(?i)AB",
    "x|pod-1.*",
    "[ab]",
    "ab?c?",
    "(a|b)\\n?",
];

fn series() -> impl Strategy<Value = Vec<[usize; 4]>> {
    prop::collection::vec([1usize..VALUES.len(), 0..VALUES.len(), 0..VALUES.len(), 0..VALUES.len()], 0..80)
}

fn build(rows: &[[usize; 4]]) -> (Index, Vec<LabelSet>) {
    let mut index = Index::new();
    let sets: Vec<LabelSet> =
        rows.iter().map(|row| LabelSet::from_pairs(NAMES.into_iter().zip(row.map(|value| VALUES[value])))).collect();
    for (slot, set) in sets.iter().enumerate() {
        let pairs: Vec<PairId> = set.iter().map(|label| index.intern_pair(label)).collect();
        index.add_series(slot as Slot, &pairs);
        assert_eq!(&index.label_set(&pairs, &mut LabelSetScratch::default()), set);
        if slot % 32 == 17 {
            index.sort_values();
        }
    }
    (index, sets)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
    (0..5usize, op, 0..VALUES.len(), 0..PATTERNS.len()).prop_map(|(name, op, value, pattern)| {
        let text = if matches!(op, MatchOp::Equal | MatchOp::NotEqual) { VALUES[value] } else { PATTERNS[pattern] };
        Matcher::new(*NAMES.get(name).unwrap_or(&"absent"), op, text).unwrap()
    })
}

proptest! {
    #[test]
    fn prop_select_agrees_with_brute_force(rows in series(), matchers in prop::collection::vec(matcher(), 0..4)) {
        let (index, sets) = build(&rows);
        let expected: Vec<u32> = (0..sets.len() as u32)
            .filter(|&slot| matchers.iter().all(|matcher| matcher.matches_labels(&sets[slot as usize])))
            .collect();
        prop_assert_eq!(index.select(&matchers).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn prop_label_names_and_values_agree_with_brute_force(rows in series(), matcher in matcher()) {
        let (index, sets) = build(&rows);
        let within = index.select(std::slice::from_ref(&matcher));
        let chosen: Vec<&LabelSet> = sets.iter().filter(|set| matcher.matches_labels(set)).collect();
        let mut names: Vec<&str> = chosen.iter().flat_map(|set| set.iter().map(|label| label.name)).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(index.label_names(Some(&within)), names);
        for name in NAMES {
            let mut values: Vec<&str> = chosen.iter().filter_map(|set| set.get(name)).collect();
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(&index.label_values(name, Some(&within), 0), &values);
            values.truncate(2);
            prop_assert_eq!(&index.label_values(name, Some(&within), 2), &values);
        }
    }
}
