//! Postings lists, read where they lie in the index: references of series, sorted, four bytes each.

use super::SeriesRef;
use super::symbols::section;
use crate::encoding::Corruption;

/// A sorted list of series in a mapped index.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::block) struct PostingsList<'a>(&'a [[u8; 4]]);

impl<'a> PostingsList<'a> {
    /// The list at `offset`, with its checksum checked.
    pub(super) fn read(index: &'a [u8], offset: u64) -> Result<Self, Corruption> {
        let (extent, fault) = section(index, offset)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let fault = |what| Corruption { what, offset: extent.start };
        let content = index.get(extent.clone()).unwrap_or_default();
        let Some((count, refs)) = content.split_first_chunk::<4>() else {
            return Err(fault("postings list has no count"));
        };
        let (refs, rest) = refs.as_chunks::<4>();
        if refs.len() != u32::from_be_bytes(*count) as usize || !rest.is_empty() {
            return Err(fault("postings list is not as long as its count"));
        }
        Ok(PostingsList(refs))
    }

    /// How many series the list at `offset` has, by its length alone: its checksum is for who reads it.
    pub(super) fn len_at(index: &[u8], offset: u64) -> Result<usize, Corruption> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let section = index.get(start..).unwrap_or_default().split_first_chunk::<4>();
        let bytes = section.map(|(length, rest)| (u32::from_be_bytes(*length) as usize, rest.len()));
        match bytes {
            // A count of four bytes, then four for each series.
            Some((length, room)) if length <= room => Ok((length / 4).saturating_sub(1)),
            _ => Err(Corruption { what: "section goes on behind the end of the index", offset: start }),
        }
    }

    /// How many series there are.
    pub(in crate::block) fn len(&self) -> usize {
        self.0.len()
    }

    /// The series.
    pub(in crate::block) fn iter(&self) -> impl Iterator<Item = SeriesRef> + 'a {
        self.0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The list from the first series on that is `series` or behind it. Looks near the start first.
    fn from(self, series: SeriesRef) -> Self {
        let is_before = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes) < series;
        let mut bound = 1;
        while self.0.get(bound).is_some_and(is_before) {
            bound *= 2;
        }
        let near = self.0.get(..self.0.len().min(bound + 1)).unwrap_or_default();
        PostingsList(self.0.get(near.partition_point(is_before)..).unwrap_or_default())
    }

    fn first(&self) -> Option<SeriesRef> {
        self.0.first().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Whether the series is in the list.
    pub(in crate::block) fn contains(&self, series: SeriesRef) -> bool {
        self.0.binary_search_by_key(&series, |bytes| u32::from_be_bytes(*bytes)).is_ok()
    }

    /// Keeps of `series`, which is sorted, what is in the list (or, with `keep` false, what is not).
    pub(in crate::block) fn filter(self, series: &mut Vec<SeriesRef>, keep: bool) {
        let mut rest = self;
        series.retain(|&series| {
            rest = rest.from(series);
            (rest.first() == Some(series)) == keep
        });
    }

    /// Whether a series of the sorted `series` is in the list.
    pub(in crate::block) fn intersects(self, series: &[SeriesRef]) -> bool {
        let (mut list, mut series) = (self, series);
        // Each side leaps to where the other one stands.
        while let (Some(listed), Some(&wanted)) = (list.first(), series.first()) {
            match listed.cmp(&wanted) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => list = list.from(wanted),
                std::cmp::Ordering::Greater => {
                    series = series.get(series.partition_point(|&series| series < listed)..).unwrap_or_default();
                }
            }
        }
        false
    }
}

/// The union of lists, sorted.
pub(in crate::block) fn union(lists: &[PostingsList<'_>]) -> Vec<SeriesRef> {
    let mut all: Vec<SeriesRef> = Vec::with_capacity(lists.iter().map(PostingsList::len).sum());
    for list in lists {
        all.extend(list.iter());
    }
    if lists.len() > 1 {
        // A stable sort finds the runs, which the lists are, by itself.
        all.sort();
        all.dedup();
    }
    all
}

/// Keeps of `series` what is in `others` (or, with `keep` false, what is not). Both are sorted.
pub(in crate::block) fn filter_sorted(series: &mut Vec<SeriesRef>, others: &[SeriesRef], keep: bool) {
    let mut rest = others;
    series.retain(|&series| {
        while let Some((&first, behind)) = rest.split_first()
            && first < series
        {
            rest = behind;
        }
        (rest.first() == Some(&series)) == keep
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bytes(set: &BTreeSet<u32>) -> Vec<[u8; 4]> {
        set.iter().map(|series| series.to_be_bytes()).collect()
    }

    proptest! {
        #[test]
        fn prop_set_operations_agree_with_a_plain_set(
            a in prop::collection::btree_set(0u32..200, 0..100),
            b in prop::collection::btree_set(0u32..200, 0..100),
        ) {
            let (a_bytes, b_bytes) = (bytes(&a), bytes(&b));
            let (left, right) = (PostingsList(&a_bytes), PostingsList(&b_bytes));
            let plain = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<u32>>();
            for keep in [true, false] {
                let expected: Vec<u32> = a.iter().copied().filter(|series| b.contains(series) == keep).collect();
                let (mut filtered, mut sorted) = (plain(&a), plain(&a));
                right.filter(&mut filtered, keep);
                filter_sorted(&mut sorted, &plain(&b), keep);
                prop_assert_eq!(&filtered, &expected);
                prop_assert_eq!(&sorted, &expected);
            }
            prop_assert_eq!(union(&[left, right]), a.union(&b).copied().collect::<Vec<u32>>());
            prop_assert_eq!(left.intersects(&plain(&b)), !a.is_disjoint(&b));
            prop_assert!((0..200).all(|series| left.contains(series) == a.contains(&series)));
        }
    }
}
