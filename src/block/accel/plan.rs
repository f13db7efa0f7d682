//! Matchers to values, values to series.
//!
//! A matcher is answered in the cheapest of these ways:
//!
//! | matcher | way |
//! |---|---|
//! | `=`, and patterns that are a list of words | look-up of each word in the `fst` |
//! | `prefix.*`, `prefix.+`, `.+`, `.*` | one range of ordinals |
//! | `.*text.*` | scan of the front-coded values for the text |
//! | `prefix.*suffix` | scan of the values with the prefix |
//! | other patterns | walk of the pattern's automaton over the `fst`; past its budget, scan with the automaton |
//! | patterns without an automaton | scan with the regex engine |
//!
//! The negated forms take the other values. A matcher that the empty value passes also selects the series that lack the
//! label, and is resolved the other way round, as a removal of the series whose value fails. Whatever the values are, a
//! set of more than half of a label's series is had as all of them less the rest.

use std::ops::{ControlFlow, Range};

use croaring::Bitmap;
use memchr::memmem;

use super::AccelError;
use super::reader::{Accel, Label};
use super::terms::{Terms, Walk};
use crate::encoding::Corruption;
use crate::model::pattern::Shape;
use crate::model::{MatchOp, Matcher, Pattern};

/// Transitions of a label's automaton that a pattern may look at before the values are scanned instead. A transition
/// costs some 50 ns, a value in a scan some 5 to 30.
const WALK_BUDGET: usize = 20_000;

/// The series that have one of some values of a label.
struct ValueSet<'a> {
    label: Label<'a>,
    /// Sorted, apart from each other.
    values: Vec<Range<u32>>,
    /// It is the other values that are meant.
    inverted: bool,
    /// How many series.
    count: u64,
}

/// How one matcher acts.
enum Effect<'a> {
    /// Every series passes.
    PassAll,
    /// No series passes.
    PassNone,
    /// These pass.
    Keep(ValueSet<'a>),
    /// All but these pass.
    Remove(ValueSet<'a>),
}

/// Ranges of values that are gathered before they are applied: 8 MiB. What people ask has far fewer, and many patterns for a
/// label with many values far more. Few in tests, so that they meet it.
const GATHERED_MAX: usize = if cfg!(test) { 4 } else { 1 << 20 };

/// What matchers keep and remove, not applied yet.
#[derive(Default)]
struct Gathered<'a> {
    kept: Vec<ValueSet<'a>>,
    removed: Vec<ValueSet<'a>>,
    /// Of all of them.
    ranges: usize,
}

impl Gathered<'_> {
    /// Applies all of it to the running result, what keeps the fewest first.
    fn apply(mut self, accel: &Accel, result: &mut Option<Bitmap>) -> Result<(), AccelError> {
        self.kept.sort_by_key(|set| set.count);
        let mut kept = self.kept.iter();
        let result = match (result, kept.as_slice()) {
            (Some(result), _) => result,
            (none, [smallest, ..]) => {
                kept.next();
                none.insert(smallest.series()?)
            }
            (none, []) => none.insert(accel.all()),
        };
        for set in kept {
            if !result.is_empty() {
                set.intersect_into(result)?;
            }
        }
        for set in &self.removed {
            if !result.is_empty() {
                set.subtract_from(result)?;
            }
        }
        Ok(())
    }
}

impl Accel {
    /// The ordinals of the series that pass every matcher.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Bitmap, AccelError> {
        let mut result = None;
        let mut gathered = Gathered::default();
        // Where a look-up says that nothing passes, no values need be scanned.
        let mut by_effort: Vec<&Matcher> = matchers.iter().collect();
        by_effort.sort_by_key(|matcher| effort(matcher));
        for matcher in by_effort {
            let (sets, set) = match self.effect(matcher)? {
                Effect::PassAll => continue,
                Effect::PassNone => return Ok(Bitmap::new()),
                Effect::Keep(set) => (&mut gathered.kept, set),
                Effect::Remove(set) => (&mut gathered.removed, set),
            };
            gathered.ranges += set.values.len();
            sets.push(set);
            if gathered.ranges > GATHERED_MAX {
                std::mem::take(&mut gathered).apply(self, &mut result)?;
            }
        }
        gathered.apply(self, &mut result)?;
        let result = result.unwrap_or_else(|| self.all());
        match result.maximum() {
            Some(newest) if newest >= self.series_count() => {
                Err(Corruption { what: "series is not in the block", offset: newest as usize }.into())
            }
            _ => Ok(result),
        }
    }

    fn effect(&self, matcher: &Matcher) -> Result<Effect<'_>, AccelError> {
        let takes_absent = matcher.matches_empty();
        let Some(label) = self.label(&matcher.name) else {
            return Ok(if takes_absent { Effect::PassAll } else { Effect::PassNone });
        };
        let matching = matching_values(label, matcher)?;
        // Wanted are the values that pass, or for a removal those that fail.
        let set = ValueSet::new(label, matching, matcher.is_negative() != takes_absent)?;
        Ok(match (takes_absent, set.count) {
            (true, 0) => Effect::PassAll,
            (true, _) => Effect::Remove(set),
            (false, 0) => Effect::PassNone,
            (false, _) => Effect::Keep(set),
        })
    }

    /// The series that pass the matchers, where there are any.
    fn within(&self, matchers: &[Matcher]) -> Result<Option<Bitmap>, AccelError> {
        if matchers.is_empty() { Ok(None) } else { self.select(matchers).map(Some) }
    }

    /// The sorted names of all labels of the series that pass every matcher; at most `limit` (0: all).
    pub fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, AccelError> {
        let within = self.within(matchers)?;
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut names = Vec::new();
        for label in self.labels() {
            if names.len() == limit {
                break;
            }
            let carried = match &within {
                None => true,
                Some(within) => {
                    let postings = label.postings()?;
                    postings.intersects(postings.carriers(), within)?
                }
            };
            if carried {
                names.push(label.name().to_owned());
            }
        }
        Ok(names)
    }

    /// The sorted values of the label `name`; at most `limit` (0: all).
    pub fn label_values(&self, name: &str, limit: usize) -> Result<Vec<String>, AccelError> {
        let Some(label) = self.label(name) else { return Ok(Vec::new()) };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut values = Vec::new();
        let mut fault = None;
        label.texts()?.scan(label.values(), |text| {
            match utf8(text.bytes) {
                Ok(value) => values.push(value.to_owned()),
                Err(damage) => {
                    fault = Some(damage);
                    return ControlFlow::Break(());
                }
            }
            if values.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        fault.map_or(Ok(values), |damage| Err(damage.into()))
    }
}

impl<'a> ValueSet<'a> {
    /// The set of the series with these values, or with the others where `others` says so.
    fn new(label: Label<'a>, values: Vec<Range<u32>>, others: bool) -> Result<Self, Corruption> {
        let postings = label.postings()?;
        let all = postings.count(postings.carriers())?;
        let rest = complement(&values, label.values().end);
        let length = |ranges: &[Range<u32>]| ranges.iter().map(|range| u64::from(range.end - range.start)).sum::<u64>();
        // The sizes of fewer lists are summed up; the rest of the label's series are with the other values.
        let (count, rest_count) = if length(&values) <= length(&rest) {
            let count = postings.count_all(&values)?;
            (count, all.saturating_sub(count))
        } else {
            let count = postings.count_all(&rest)?;
            (all.saturating_sub(count), count)
        };
        let (wanted, unwanted) = if others { (rest, values) } else { (values, rest) };
        let (wanted_count, unwanted_count) = if others { (rest_count, count) } else { (count, rest_count) };
        let inverted = unwanted_count < wanted_count;
        Ok(ValueSet { label, values: if inverted { unwanted } else { wanted }, inverted, count: wanted_count })
    }

    /// The one list that the set is, if it is one.
    fn list(&self) -> Result<Option<u32>, Corruption> {
        Ok(match self.values.as_slice() {
            [] if self.inverted => Some(self.label.postings()?.carriers()),
            [one] if !self.inverted && one.len() == 1 => Some(one.start),
            _ => None,
        })
    }

    fn series(&self) -> Result<Bitmap, Corruption> {
        let postings = self.label.postings()?;
        let union = postings.union(&self.values)?;
        if !self.inverted {
            return Ok(union);
        }
        let mut series = postings.bitmap(postings.carriers())?;
        series.andnot_inplace(&union);
        Ok(series)
    }

    fn intersect_into(&self, target: &mut Bitmap) -> Result<(), Corruption> {
        match self.list()? {
            Some(list) => self.label.postings()?.intersect_into(list, target)?,
            None => target.and_inplace(&self.series()?),
        }
        Ok(())
    }

    fn subtract_from(&self, target: &mut Bitmap) -> Result<(), Corruption> {
        match self.list()? {
            Some(list) => self.label.postings()?.subtract_from(list, target)?,
            None => target.andnot_inplace(&self.series()?),
        }
        Ok(())
    }
}

/// How much work it is to find a matcher's values: look-ups, a walk, perhaps a scan of all.
fn effort(matcher: &Matcher) -> u8 {
    match matcher.pattern().map(Pattern::shape) {
        None | Some(Shape::Words(_)) => 0,
        Some(Shape::Around { suffix, .. }) if suffix.is_empty() => 1,
        Some(Shape::General { .. }) => 2,
        Some(Shape::Around { .. } | Shape::Contains(_)) => 3,
    }
}

/// What is between the ranges, up to `end`.
fn complement(ranges: &[Range<u32>], end: u32) -> Vec<Range<u32>> {
    let mut rest = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    for range in ranges {
        rest.push(next..range.start);
        next = range.end;
    }
    rest.push(next..end);
    rest.retain(|range| !range.is_empty());
    rest
}

fn utf8(bytes: &[u8]) -> Result<&str, Corruption> {
    std::str::from_utf8(bytes).map_err(|_| Corruption { what: "value is not UTF-8", offset: 0 })
}

/// The ordinals of the values that equal the matcher's text or match its pattern, whether or not it negates them.
fn matching_values(label: Label<'_>, matcher: &Matcher) -> Result<Vec<Range<u32>>, AccelError> {
    let terms = label.terms()?;
    let words = |words: &[String]| {
        let mut found: Vec<u32> = words.iter().filter_map(|word| terms.get(word)).collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|ordinal| ordinal..ordinal + 1).collect::<Vec<_>>()
    };
    let Some(pattern) = matcher.pattern() else {
        debug_assert!(matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual));
        return Ok(words(std::slice::from_ref(&matcher.value)));
    };
    Ok(match pattern.shape() {
        Shape::Words(set) => words(set),
        Shape::Around { prefix, more, suffix } if suffix.is_empty() => {
            let mut range = terms.with_prefix(prefix);
            // The prefix alone is the first of them, and too short where one more character has to follow.
            if *more > 0 && terms.get(prefix) == Some(range.start) {
                range.start += 1;
            }
            vec![range]
        }
        Shape::Around { prefix, .. } => {
            scan(label, terms.with_prefix(prefix), |value, _| Ok(pattern.is_match(utf8(value)?)))?
        }
        Shape::Contains(text) => containing(label, text)?,
        Shape::General { prefix } => general(label, &terms, pattern, prefix)?,
    })
}

/// Walks the pattern's automaton over the `fst`, and scans the values where that takes too long.
fn general(
    label: Label<'_>,
    terms: &Terms<'_>,
    pattern: &Pattern,
    prefix: &str,
) -> Result<Vec<Range<u32>>, AccelError> {
    let range = terms.with_prefix(prefix);
    let Some(mut walk) = pattern.automaton().and_then(Walk::new) else {
        return scan(label, range, |value, _| Ok(pattern.is_match(utf8(value)?)));
    };
    if let Some(found) = terms.matching(&mut walk, WALK_BUDGET) {
        return Ok(found);
    }
    let mut states = walk.stack();
    scan(label, range, |value, shared| Ok(states.is_match(value, shared)))
}

/// The values that contain a text. Where the last value had it in what this one shares with it, no search is needed.
fn containing(label: Label<'_>, text: &str) -> Result<Vec<Range<u32>>, AccelError> {
    let finder = memmem::Finder::new(text);
    let mut found_end: Option<usize> = None;
    scan(label, label.values(), |value, shared| {
        if found_end.is_none_or(|end| end > shared) {
            // It cannot begin earlier: then it would lie in the shared part.
            let from = (shared + 1).saturating_sub(text.len().max(1));
            let found = value.get(from..).and_then(|rest| finder.find(rest));
            found_end = found.map(|at| from + at + text.len());
        }
        Ok(found_end.is_some())
    })
}

/// The values of a range for which `is_match` says so; it is given the value, and how much of it the last one had.
fn scan(
    label: Label<'_>,
    range: Range<u32>,
    mut is_match: impl FnMut(&[u8], usize) -> Result<bool, Corruption>,
) -> Result<Vec<Range<u32>>, AccelError> {
    let mut found: Vec<Range<u32>> = Vec::new();
    let mut fault = None;
    label.texts()?.scan(range, |text| {
        match is_match(text.bytes, text.shared) {
            Ok(true) => match found.last_mut() {
                Some(last) if last.end == text.ordinal => last.end += 1,
                _ => found.push(text.ordinal..text.ordinal + 1),
            },
            Ok(false) => {}
            Err(damage) => {
                fault = Some(damage);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    fault.map_or(Ok(found), |damage| Err(damage.into()))
}

/// The values that a walk without a budget finds, whatever the planner would do.
#[cfg(test)]
pub(super) fn values_by_walk(accel: &Accel, name: &str, pattern: &Pattern) -> Option<Vec<u32>> {
    let terms = accel.label(name)?.terms().ok()?;
    let mut walk = Walk::new(pattern.automaton()?)?;
    Some(terms.matching(&mut walk, usize::MAX)?.into_iter().flatten().collect())
}

/// The values that a scan with the automaton finds, whatever the planner would do.
#[cfg(test)]
pub(super) fn values_by_states(accel: &Accel, name: &str, pattern: &Pattern) -> Option<Vec<u32>> {
    let label = accel.label(name)?;
    let walk = Walk::new(pattern.automaton()?)?;
    let mut states = walk.stack();
    let found = scan(label, label.values(), |value, shared| Ok(states.is_match(value, shared))).ok()?;
    Some(found.into_iter().flatten().collect())
}
