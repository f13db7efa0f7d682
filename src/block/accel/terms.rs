//! The values of one label as an `fst`: value to ordinal.
//!
//! Values are numbered in their order, so the values below a node of the automaton are one range of ordinals, and the
//! output gathered on the way to a node is the ordinal of the first of them. A prefix is therefore one walk down, and a
//! pattern that takes anything from some state on needs no look at what comes behind it.

use std::collections::HashMap;
use std::ops::Range;

use fst::raw::Fst;
use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use crate::encoding::Corruption;

/// Pairs of a pattern's state and a place within a character that are looked at to see whether a state takes anything.
const UNIVERSAL_STATES_MAX: usize = 64;

/// The automaton over the values of one label.
pub(super) struct Terms<'a> {
    fst: Fst<&'a [u8]>,
    count: u32,
}

impl<'a> Terms<'a> {
    /// The section of a label with `count` values.
    pub(super) fn new(section: &'a [u8], count: u32) -> Result<Self, Corruption> {
        let fst = Fst::new(section).map_err(|_| Corruption { what: "value automaton is malformed", offset: 0 })?;
        if fst.len() as u64 != u64::from(count) {
            return Err(Corruption { what: "value automaton has another number of values", offset: 0 });
        }
        Ok(Terms { fst, count })
    }

    /// The ordinal of a value.
    pub(super) fn get(&self, value: &str) -> Option<u32> {
        self.fst.get(value).and_then(|ordinal| u32::try_from(ordinal.value()).ok())
    }

    /// The ordinals of the values that start with `prefix`.
    pub(super) fn with_prefix(&self, prefix: &str) -> Range<u32> {
        let mut node = self.fst.root();
        let (mut start, mut end) = (0u64, u64::from(self.count));
        for &byte in prefix.as_bytes() {
            let Some(index) = node.find_input(byte) else { return 0..0 };
            let transition = node.transition(index);
            if index + 1 < node.len() {
                end = start + node.transition(index + 1).out.value();
            }
            start += transition.out.value();
            node = self.fst.node(transition.addr);
        }
        // What the file says is not taken for more than there is.
        let end = end.min(u64::from(self.count)) as u32;
        start.min(u64::from(end)) as u32..end
    }

    /// The ordinals of the values that a pattern matches, in sorted ranges; `None` when more than `budget` transitions
    /// were looked at, as a scan of the values is faster then.
    pub(super) fn matching(&self, walk: &mut Walk<'_>, mut budget: usize) -> Option<Vec<Range<u32>>> {
        let mut found: Vec<Range<u32>> = Vec::new();
        let mut add = |range: Range<u64>| {
            let range = range.start.min(u64::from(self.count)) as u32..range.end.min(u64::from(self.count)) as u32;
            match found.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ if range.is_empty() => {}
                _ => found.push(range),
            }
        };
        let mut open = vec![Visit {
            node: self.fst.root().addr(),
            state: walk.start,
            place: Place::Boundary,
            ordinals: 0..u64::from(self.count),
        }];
        while let Some(Visit { node, state, place, ordinals }) = open.pop() {
            if walk.dfa.is_dead_state(state) {
                continue;
            }
            if place == Place::Boundary && walk.takes_anything(state) {
                add(ordinals);
                continue;
            }
            let node = self.fst.node(node);
            budget = budget.checked_sub(node.len())?;
            if node.is_final() && walk.is_match(state) {
                add(ordinals.start..ordinals.start + 1);
            }
            // The last child is pushed first, so that the first is visited next and ranges come out in order.
            let mut end = ordinals.end;
            for index in (0..node.len()).rev() {
                let transition = node.transition(index);
                let start = ordinals.start.saturating_add(transition.out.value());
                if let Some(place) = place.after(transition.inp) {
                    let state = walk.dfa.next_state(state, transition.inp);
                    open.push(Visit { node: transition.addr, state, place, ordinals: start..end });
                }
                end = start;
            }
        }
        Some(found)
    }
}

/// A node that is to be visited, how it was reached, and the ordinals of the values below it.
struct Visit {
    node: usize,
    state: StateID,
    place: Place,
    ordinals: Range<u64>,
}

/// A pattern's automaton, and what was found out about its states.
pub(super) struct Walk<'p> {
    dfa: &'p DFA<Vec<u32>>,
    start: StateID,
    universal: HashMap<StateID, bool>,
}

impl<'p> Walk<'p> {
    /// A walk from the beginning of a value; `None` where the automaton cannot be started.
    pub(super) fn new(dfa: &'p DFA<Vec<u32>>) -> Option<Self> {
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Walk { dfa, start, universal: HashMap::new() })
    }

    /// Whether a value that ends in `state` matches.
    fn is_match(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }

    /// Whether every text that may follow from `state` on, the empty one included, makes a match.
    ///
    /// It is decided over whole characters, as values are UTF-8: what the automaton does with other bytes is not asked.
    fn takes_anything(&mut self, state: StateID) -> bool {
        if let Some(&known) = self.universal.get(&state) {
            return known;
        }
        let answer = self.is_universal(state);
        self.universal.insert(state, answer);
        answer
    }

    fn is_universal(&self, state: StateID) -> bool {
        let mut seen = vec![(state, Place::Boundary)];
        let mut next = 0;
        while let Some(&(state, place)) = seen.get(next) {
            next += 1;
            if self.dfa.is_dead_state(state) || (place == Place::Boundary && !self.is_match(state)) {
                return false;
            }
            for byte in 0..=u8::MAX {
                let Some(place) = place.after(byte) else { continue };
                let reached = (self.dfa.next_state(state, byte), place);
                if !seen.contains(&reached) {
                    if seen.len() >= UNIVERSAL_STATES_MAX {
                        return false;
                    }
                    seen.push(reached);
                }
            }
        }
        true
    }

    /// A test of values that are shown in order, which keeps the states of what they have in common.
    pub(super) fn stack(&self) -> StateStack<'_> {
        StateStack { walk: self, states: vec![self.start] }
    }
}

/// The states on the way through a value.
pub(super) struct StateStack<'w> {
    walk: &'w Walk<'w>,
    /// After each byte of the value, the first being that before any; it ends early at a dead state.
    states: Vec<StateID>,
}

impl StateStack<'_> {
    /// Whether `value`, whose first `shared` bytes are those of the value before it, matches.
    pub(super) fn is_match(&mut self, value: &[u8], shared: usize) -> bool {
        let dfa = self.walk.dfa;
        let kept = shared.min(self.states.len() - 1);
        self.states.truncate(kept + 1);
        let mut state = self.states[kept];
        for &byte in value.get(kept..).unwrap_or_default() {
            if dfa.is_dead_state(state) {
                return false;
            }
            state = dfa.next_state(state, byte);
            self.states.push(state);
        }
        self.walk.is_match(state)
    }
}

/// Where in a character a text stands: what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two characters.
    Boundary,
    /// So many more bytes of 80 to BF.
    More(u8),
    /// One in this range, then so many of 80 to BF.
    Within(u8, u8, u8),
}

impl Place {
    /// The place behind `byte`, or `None` where UTF-8 does not have the byte here.
    fn after(self, byte: u8) -> Option<Place> {
        let more = |left| if left == 0 { Place::Boundary } else { Place::More(left) };
        match (self, byte) {
            (Place::Boundary, 0..=0x7f) => Some(Place::Boundary),
            (Place::Boundary, 0xc2..=0xdf) => Some(Place::More(1)),
            (Place::Boundary, 0xe0) => Some(Place::Within(0xa0, 0xbf, 1)),
            (Place::Boundary, 0xed) => Some(Place::Within(0x80, 0x9f, 1)),
            (Place::Boundary, 0xe1..=0xef) => Some(Place::More(2)),
            (Place::Boundary, 0xf0) => Some(Place::Within(0x90, 0xbf, 2)),
            (Place::Boundary, 0xf1..=0xf3) => Some(Place::More(3)),
            (Place::Boundary, 0xf4) => Some(Place::Within(0x80, 0x8f, 2)),
            (Place::More(left), 0x80..=0xbf) => Some(more(left - 1)),
            (Place::Within(low, high, left), byte) if (low..=high).contains(&byte) => Some(more(left)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pattern;

    fn terms(values: &[&str]) -> Vec<u8> {
        let mut builder = fst::raw::Builder::memory();
        for (ordinal, value) in (0u64..).zip(values) {
            builder.insert(value, ordinal).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn terms_with_a_prefix_are_one_range() {
        let values = ["a", "ab", "aba", "abb", "b", "ca", "cb"];
        let section = terms(&values);
        let terms = Terms::new(&section, 7).unwrap();
        for prefix in ["", "a", "ab", "aba", "abaa", "b", "c", "cb", "d", "A"] {
            let range = terms.with_prefix(prefix);
            let expected: Vec<u32> = (0u32..)
                .zip(values)
                .filter(|(_, value)| value.starts_with(prefix))
                .map(|(ordinal, _)| ordinal)
                .collect();
            assert_eq!(range.collect::<Vec<u32>>(), expected, "{prefix}");
        }
        assert_eq!(terms.get("abb"), Some(3));
        assert_eq!(terms.get("abc"), None);
    }

    fn walk_is_universal(text: &str) -> bool {
        let pattern = Pattern::new(text).unwrap();
        let mut walk = Walk::new(pattern.automaton().unwrap()).unwrap();
        let start = walk.start;
        walk.takes_anything(start)
    }

    #[test]
    fn state_that_takes_anything_is_known_and_no_other() {
        for text in [".*", "(?s).*", "a*.*", "(.*)(.*)", "[^a]*(a.*)?"] {
            assert!(walk_is_universal(text), "{text}");
        }
        for text in [".+", "[^é]*", "(?-s).*", ".*a", "[\\x00-\\x7f]*", "a", ".{0,5}"] {
            assert!(!walk_is_universal(text), "{text}");
        }
    }

    #[test]
    fn place_follows_utf8() {
        for (text, whole) in [(&b"a"[..], true), ("é€😀\u{d7ff}\u{10ffff}".as_bytes(), true)] {
            let end = text.iter().try_fold(Place::Boundary, |place, &byte| place.after(byte));
            assert_eq!(end == Some(Place::Boundary), whole);
        }
        for text in [&b"\xc0\x80"[..], b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xff", b"\x80"] {
            assert_eq!(text.iter().try_fold(Place::Boundary, |place, &byte| place.after(byte)), None, "{text:x?}");
        }
    }

    #[test]
    fn walk_past_its_budget_gives_up() {
        let values: Vec<String> = (0..1000).map(|number| format!("{number:04}x")).collect();
        let section = terms(&values.iter().map(String::as_str).collect::<Vec<_>>());
        let terms = Terms::new(&section, 1000).unwrap();
        let pattern = Pattern::new(".*1x").unwrap();
        let mut walk = Walk::new(pattern.automaton().unwrap()).unwrap();
        assert!(terms.matching(&mut walk, 100).is_none());
        let found = terms.matching(&mut walk, 1_000_000).unwrap();
        assert_eq!(found.len(), 100);
        assert_eq!(found[0], 1..2);
    }
}
