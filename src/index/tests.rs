//! The index against brute force over label sets.

use std::collections::{BTreeMap, BTreeSet};

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

/// An index under change, and what it should hold: label sets by slot.
#[derive(Default)]
struct Churned {
    index: Index,
    live: BTreeMap<Slot, (LabelSet, Vec<PairId>)>,
    free_slots: Vec<Slot>,
    unused: Vec<PairId>,
}

impl Churned {
    fn add(&mut self, row: &[usize; 4]) {
        let set = LabelSet::from_pairs(NAMES.into_iter().zip(row.map(|value| VALUES[value])));
        if self.live.values().any(|(known, _)| *known == set) {
            // As of a series that somebody else created first.
            let pairs: Vec<PairId> = set.iter().map(|label| self.index.intern_pair(label)).collect();
            self.index.release_pairs(&pairs);
            return;
        }
        let pairs: Vec<PairId> = set.iter().map(|label| self.index.intern_pair(label)).collect();
        let slot = self.free_slots.pop().unwrap_or(self.live.len() as Slot);
        self.index.add_series(slot, &pairs);
        self.live.insert(slot, (set, pairs));
    }

    /// Removes every series whose place among all is a multiple of `step`.
    fn remove(&mut self, step: usize) {
        let slots: Vec<Slot> = self.live.keys().copied().step_by(step).collect();
        let gone: Vec<(Slot, Vec<PairId>)> =
            slots.into_iter().map(|slot| (slot, self.live.remove(&slot).unwrap().1)).collect();
        self.index.remove_series(&Leaving::new(gone.iter().map(|(slot, pairs)| (*slot, pairs.as_slice()))));
        // In the order in which the next ones take them: `add` counts on the lowest numbers being in use.
        self.free_slots.extend(gone.iter().map(|(slot, _)| *slot));
        self.free_slots.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn take_unused(&mut self) {
        let unused = self.index.take_unused();
        self.unused.extend(unused);
    }

    fn free(&mut self) {
        self.take_unused();
        self.index.free_pairs(&std::mem::take(&mut self.unused));
        while self.index.compact_texts(1) {}
        self.index.shrink();
    }
}

fn names_of<'a>(sets: impl Iterator<Item = &'a LabelSet>) -> BTreeSet<String> {
    sets.flat_map(|set| set.iter().map(|label| label.name.to_owned()).collect::<Vec<_>>()).collect()
}

proptest! {
    #[test]
    fn prop_index_from_which_series_left_agrees_with_brute_force(
        steps in prop::collection::vec((series(), 1usize..5, 0..3), 1..6),
        matchers in prop::collection::vec(matcher(), 0..3),
    ) {
        let mut churned = Churned::default();
        for (rows, step, then) in &steps {
            rows.iter().for_each(|row| churned.add(row));
            churned.index.sort_values();
            churned.remove(*step);
            match then {
                0 => churned.free(),
                1 => churned.take_unused(),
                _ => {}
            }
            let (index, live) = (&churned.index, &churned.live);
            let passes = |set: &LabelSet| matchers.iter().all(|matcher| matcher.matches_labels(set));
            let expected: Vec<Slot> =
                live.iter().filter(|(_, (set, _))| passes(set)).map(|(&slot, _)| slot).collect();
            let found = index.select(&matchers);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(index.label_names(None), Vec::from_iter(names_of(live.values().map(|(set, _)| set))));
            let chosen = live.values().map(|(set, _)| set).filter(|set| passes(set));
            prop_assert_eq!(index.label_names(Some(&found)), Vec::from_iter(names_of(chosen)));
            for name in NAMES {
                let values: BTreeSet<&str> = live.values().filter_map(|(set, _)| set.get(name)).collect();
                prop_assert_eq!(index.label_values(name, None, 0), Vec::from_iter(values));
            }
            let ranks = index.ranks();
            let mut by_rank: Vec<_> = live
                .values()
                .map(|(set, pairs)| (pairs.iter().map(|&pair| ranks[pair as usize]).collect::<Vec<_>>(), set))
                .collect();
            by_rank.sort();
            prop_assert!(by_rank.windows(2).all(|pair| pair[0].1 < pair[1].1));
            for (set, pairs) in live.values() {
                prop_assert_eq!(&index.label_set(pairs, &mut LabelSetScratch::default()), set);
            }
        }
        churned.remove(1);
        churned.free();
        let stats = churned.index.stats();
        prop_assert_eq!((stats.symbols, stats.pairs, stats.names, stats.postings_bytes), (0, 0, 0, 0));
    }
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
