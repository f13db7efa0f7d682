//! Matchers resolved to sets of series, and the names and values of labels over such sets.
//!
//! A matcher that the empty value passes also selects the series that lack the label. It is resolved the other way
//! round: as all series less those whose value fails it. Every other matcher is the union of the postings of the values
//! that pass. Unions and differences are applied to the running result, cheapest first.

use roaring::{MultiOps, RoaringBitmap};

use super::{Index, Name, PairId, Postings};
use crate::model::{MatchOp, Matcher};

/// How one matcher acts on the running result.
enum Step<'a> {
    /// Keep what is in one of these.
    Keep(Vec<&'a Postings>),
    /// Remove what is in one of these.
    Remove(Vec<&'a Postings>),
}

impl<'a> Step<'a> {
    fn sets(&self) -> &[&'a Postings] {
        match self {
            Step::Keep(sets) | Step::Remove(sets) => sets,
        }
    }

    /// How many slots the step has to look at, for the order of steps.
    fn cost(&self) -> (bool, u64) {
        (matches!(self, Step::Remove(_)), self.sets().iter().map(|set| set.len()).sum())
    }
}

fn union(sets: &[&Postings]) -> RoaringBitmap {
    match sets {
        [] => RoaringBitmap::new(),
        [one] => one.to_bitmap(),
        many => {
            let bitmaps = many.iter().filter_map(|set| match set {
                Postings::Bitmap(bitmap) => Some(bitmap.as_ref()),
                Postings::List(_) => None,
            });
            let mut result = bitmaps.union();
            result |= union_of_lists(many);
            result
        }
    }
}

/// The union of those sets that are lists. Very many are marked in an array of bits, as sorting them takes longer.
fn union_of_lists(sets: &[&Postings]) -> RoaringBitmap {
    let lists = || {
        sets.iter().filter_map(|set| match set {
            Postings::List(list) => Some(list.as_slice()),
            Postings::Bitmap(_) => None,
        })
    };
    let slots: usize = lists().map(<[u32]>::len).sum();
    let newest = lists().filter_map(|list| list.last()).max().copied().unwrap_or(0) as usize;
    if slots > newest / 64 {
        let mut bits = vec![0u8; newest / 8 + 1];
        for &slot in lists().flatten() {
            bits[slot as usize / 8] |= 1 << (slot % 8);
        }
        return RoaringBitmap::from_lsb0_bytes(0, &bits);
    }
    let mut all: Vec<u32> = lists().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    RoaringBitmap::from_sorted_iter(all).unwrap_or_default()
}

/// Sets of postings that are gathered before they are applied: 8 MiB of references. What people ask has far fewer, and
/// many matchers of a label with many values far more. Few in tests, so that they meet it.
const GATHERED_MAX: usize = if cfg!(test) { 8 } else { 1 << 20 };

impl Index {
    /// The series that pass every matcher.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut result: Option<RoaringBitmap> = None;
        let (mut steps, mut gathered) = (Vec::new(), 0);
        for step in matchers.iter().filter_map(|matcher| self.step(matcher)) {
            gathered += step.sets().len();
            steps.push(step);
            if gathered > GATHERED_MAX {
                self.apply(std::mem::take(&mut steps), &mut result);
                gathered = 0;
            }
            if result.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
        }
        self.apply(steps, &mut result);
        result.unwrap_or_else(|| self.all.to_bitmap())
    }

    /// Applies steps to the running result, cheapest first.
    fn apply(&self, mut steps: Vec<Step<'_>>, result: &mut Option<RoaringBitmap>) {
        steps.sort_by_key(Step::cost);
        for step in steps {
            if result.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            match (step, &mut *result) {
                (Step::Keep(sets), Some(result)) => match sets[..] {
                    [one] => one.intersect_into(result),
                    _ => *result &= union(&sets),
                },
                (Step::Keep(sets), none) => *none = Some(union(&sets)),
                (Step::Remove(sets), result) => {
                    let result = result.get_or_insert_with(|| self.all.to_bitmap());
                    for set in sets {
                        set.subtract_from(result);
                    }
                }
            }
        }
    }

    /// What a matcher does, or `None` where it passes every series.
    fn step(&self, matcher: &Matcher) -> Option<Step<'_>> {
        let sets = |pairs: Vec<PairId>| pairs.into_iter().map(|pair| self.postings(pair)).collect::<Vec<_>>();
        if !matcher.matches_empty() {
            return Some(Step::Keep(sets(self.pairs_where(matcher, true))));
        }
        let failing = self.pairs_where(matcher, false);
        (!failing.is_empty()).then(|| Step::Remove(sets(failing)))
    }

    /// The pairs of the matcher's label whose value passes it (or fails it, where `passing` is false).
    fn pairs_where(&self, matcher: &Matcher, passing: bool) -> Vec<PairId> {
        let Some(name) = self.find_name(&matcher.name) else { return Vec::new() };
        // What is wanted are the values that match the text or pattern, or those that don't.
        let wants_match = passing != matcher.is_negative();
        let Some(pattern) = matcher.pattern() else {
            debug_assert!(matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual));
            let equal = self.find_pair(&matcher.name, &matcher.value);
            if wants_match {
                return equal.into_iter().collect();
            }
            return name.pairs.iter().copied().filter(|&pair| Some(pair) != equal).collect();
        };
        if wants_match && let Some(values) = pattern.set_matches() {
            return values.iter().filter_map(|value| self.find_pair(&matcher.name, value)).collect();
        }
        let is_wanted = |pair: &PairId| pattern.is_match(self.pair_value(*pair)) == wants_match;
        match pattern.prefix() {
            Some(prefix) if wants_match => {
                let (sorted, tail) = name.pairs.split_at(name.sorted);
                let start = sorted.partition_point(|&pair| self.pair_value(pair) < prefix);
                let run = sorted[start..].iter().take_while(|&&pair| self.pair_value(pair).starts_with(prefix));
                run.chain(tail).copied().filter(is_wanted).collect()
            }
            _ => name.pairs.iter().copied().filter(is_wanted).collect(),
        }
    }

    /// The sorted names of all labels, or of those that series of `within` carry.
    pub fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        let carried = |name: &&Name| match within {
            None => name.pairs.len() > name.unused,
            Some(slots) => name.pairs.iter().any(|&pair| self.postings(pair).intersects(slots)),
        };
        let mut names: Vec<String> =
            self.held_names().filter(carried).map(|name| self.symbols.get(name.symbol).to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// The sorted values of the label `name`, or of those that series of `within` carry; at most `limit` (0: all).
    pub fn label_values(&self, name: &str, within: Option<&RoaringBitmap>, limit: usize) -> Vec<String> {
        let Some(name) = self.find_name(name) else { return Vec::new() };
        let carried = |&pair: &PairId| match within {
            None => self.is_used(pair),
            Some(slots) => self.postings(pair).intersects(slots),
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        if name.sorted == name.pairs.len() {
            let pairs = name.pairs.iter().copied().filter(carried).take(limit);
            return pairs.map(|pair| self.pair_value(pair).to_owned()).collect();
        }
        let mut values: Vec<&str> =
            name.pairs.iter().copied().filter(carried).map(|pair| self.pair_value(pair)).collect();
        values.sort_unstable();
        values.into_iter().take(limit).map(str::to_owned).collect()
    }
}
