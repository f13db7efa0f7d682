//! Matchers resolved to sorted series of an index, and the names and values of labels over them.
//!
//! A matcher that the empty value passes also selects the series that lack the label. It is resolved the other way
//! round: as all series less those whose value fails it. Every other matcher is the union of the lists of the values
//! that pass. What names one value comes first; where few series are left after that, a pattern is tested on their own
//! labels instead of on every value of the name.

use std::collections::BTreeSet;

use super::SeriesRef;
use super::postings::{PostingsList, filter_sorted, union};
use super::read::IndexReader;
use crate::encoding::Corruption;
use crate::model::{MatchOp, Matcher};

/// Up to so many series are read to find their label names; for more, the lists of each name are tried.
const SERIES_READ_FOR_NAMES: usize = 4096;

/// So many values of a label are tested in the time that reading one series takes.
const VALUES_PER_SERIES: usize = 4;

impl IndexReader {
    /// The series that pass every matcher.
    pub(in crate::block) fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesRef>, Corruption> {
        let names_one = |matcher: &&Matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        let (exact, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(names_one);
        let mut lists = Vec::with_capacity(exact.len());
        for matcher in exact {
            lists.push(self.postings(&matcher.name, &matcher.value)?);
        }
        lists.sort_unstable_by_key(PostingsList::len);
        let mut lists = lists.into_iter();
        let mut result: Option<Vec<SeriesRef>> = lists.next().map(|list| list.iter().collect());
        for list in lists {
            if let Some(result) = &mut result {
                list.filter(result, true);
            }
        }
        // What keeps comes before what removes, so that there is something to remove from.
        let (removing, keeping): (Vec<&Matcher>, Vec<&Matcher>) =
            others.into_iter().partition(|matcher| matcher.matches_empty());
        for matcher in keeping.into_iter().chain(removing) {
            match &mut result {
                Some(result) if result.is_empty() => break,
                Some(result) if result.len() * VALUES_PER_SERIES < self.value_count(&matcher.name)? => {
                    self.filter_by_label(matcher, result)?;
                }
                _ => self.apply(matcher, &mut result)?,
            }
        }
        result.map_or_else(|| Ok(self.all()?.iter().collect()), Ok)
    }

    /// Keeps the series whose label passes, by reading them.
    fn filter_by_label(&self, matcher: &Matcher, series: &mut Vec<SeriesRef>) -> Result<(), Corruption> {
        let mut reader = self.series();
        let mut kept = Vec::with_capacity(series.len());
        for &series in series.iter() {
            reader.read(series)?;
            if matcher.matches(reader.label(&matcher.name)) {
                kept.push(series);
            }
        }
        *series = kept;
        Ok(())
    }

    /// Applies a matcher by the lists of the values that pass or fail it.
    fn apply(&self, matcher: &Matcher, result: &mut Option<Vec<SeriesRef>>) -> Result<(), Corruption> {
        let removes = matcher.matches_empty();
        let lists = self.lists_where(matcher, !removes)?;
        if removes && result.is_none() {
            *result = Some(self.all()?.iter().collect());
        }
        match (result, &lists[..]) {
            (Some(result), [list]) => list.filter(result, !removes),
            (Some(result), lists) => filter_sorted(result, &union(lists), !removes),
            (none, lists) => *none = Some(union(lists)),
        }
        Ok(())
    }

    /// The lists of the matcher's label whose value passes it (or fails it, where `passing` is false).
    fn lists_where(&self, matcher: &Matcher, passing: bool) -> Result<Vec<PostingsList<'_>>, Corruption> {
        // What is wanted are the values that match the text or pattern, or those that don't.
        let wants_match = passing != matcher.is_negative();
        let name = &matcher.name;
        let Some(pattern) = matcher.pattern() else {
            if wants_match {
                return Ok(vec![self.postings(name, &matcher.value)?]);
            }
            return self.lists_of(name, "", |value| Some(value != matcher.value));
        };
        match (pattern.set_matches(), pattern.prefix()) {
            (Some(values), _) if wants_match => self.disjoint(values.iter().map(|value| self.postings(name, value))),
            (_, Some(prefix)) if wants_match => {
                self.lists_of(name, prefix, |value| value.starts_with(prefix).then(|| pattern.is_match(value)))
            }
            _ => self.lists_of(name, "", |value| Some(pattern.is_match(value) == wants_match)),
        }
    }

    /// The lists of a label's values from `from` on that are wanted; `None` ends the search.
    fn lists_of(
        &self,
        name: &str,
        from: &str,
        is_wanted: impl Fn(&str) -> Option<bool>,
    ) -> Result<Vec<PostingsList<'_>>, Corruption> {
        let wanted = self.values(name, from)?.map_while(|entry| match entry {
            Ok((value, list)) => is_wanted(value).map(|is_wanted| is_wanted.then(|| self.list(list))),
            Err(fault) => Some(Some(Err(fault))),
        });
        self.disjoint(wanted.flatten())
    }

    /// Lists of one label. No series is in two of them, so all together they are no longer than the list of all series:
    /// what a forged table says may not add up to more than there is memory for.
    fn disjoint<'a>(
        &self,
        lists: impl Iterator<Item = Result<PostingsList<'a>, Corruption>>,
    ) -> Result<Vec<PostingsList<'a>>, Corruption> {
        let mut room = self.series_count()?;
        let mut within = |list: PostingsList<'a>| {
            let left = room.checked_sub(list.len());
            room = left.ok_or(Corruption { what: "postings of a label overlap", offset: 0 })?;
            Ok(list)
        };
        lists.map(|list| list.and_then(&mut within)).collect()
    }

    /// The sorted names of all labels, or of those that series of `within` carry; at most `limit` (0: all).
    pub(in crate::block) fn label_names(
        &self,
        within: Option<&[SeriesRef]>,
        limit: usize,
    ) -> Result<Vec<String>, Corruption> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        if let Some(within) = within
            && within.len() <= SERIES_READ_FOR_NAMES
        {
            let mut reader = self.series();
            let mut names = BTreeSet::new();
            for &series in within {
                reader.read(series)?;
                names.extend(reader.labels().map(|label| label.name));
            }
            return Ok(names.into_iter().take(limit).map(str::to_owned).collect());
        }
        let mut names = Vec::new();
        for name in self.names()? {
            if names.len() >= limit {
                break;
            }
            let carried = match within {
                None => true,
                Some(within) => !self.carried_values(name, within, 1)?.is_empty(),
            };
            if carried {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The sorted values of the label `name`, or of those that series of `within` carry; at most `limit` (0: all).
    pub(in crate::block) fn label_values(
        &self,
        name: &str,
        within: Option<&[SeriesRef]>,
        limit: usize,
    ) -> Result<Vec<String>, Corruption> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        match within {
            None => self.values(name, "")?.take(limit).map(|entry| entry.map(|(value, _)| value.to_owned())).collect(),
            Some(within) => self.carried_values(name, within, limit),
        }
    }

    /// The first values of a label that series of `within` carry.
    fn carried_values(&self, name: &str, within: &[SeriesRef], limit: usize) -> Result<Vec<String>, Corruption> {
        let mut carried = Vec::new();
        if within.len() * VALUES_PER_SERIES < self.value_count(name)? {
            let mut reader = self.series();
            for &series in within {
                reader.read(series)?;
                carried.push(reader.label(name).to_owned());
            }
            carried.sort_unstable();
            carried.dedup();
            carried.retain(|value| !value.is_empty());
            carried.truncate(limit);
            return Ok(carried);
        }
        for entry in self.values(name, "")? {
            let (value, list) = entry?;
            if carried.len() >= limit {
                break;
            }
            if self.list(list)?.intersects(within) {
                carried.push(value.to_owned());
            }
        }
        Ok(carried)
    }
}
