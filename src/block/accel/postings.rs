//! The series of each value of one label: one number in the directory, a short list, or a bitmap that is used in place.
//!
//! A series has at most one value of a label, so the lists of a label have no series in common: the size of a union is
//! the sum of the sizes, which the directory tells without touching a list. One more list, behind those of the values,
//! holds all series that have the label at all.

use std::ops::Range;

use croaring::{Bitmap, BitmapView};
use roaring::RoaringBitmap;

use super::view::view;
use crate::encoding::{Corruption, Cursor, put};

/// Bytes of an entry of the directory: how many series, and the series or the place of the list.
const ENTRY_BYTES: usize = 8;
/// A longer list is always a bitmap.
const LIST_MAX: usize = 64;
/// In the lowest bit of a list's length: it is a bitmap.
const BITMAP: u64 = 1;

/// Collects the lists of one label.
#[derive(Debug, Default)]
pub(super) struct PostingsWriter {
    directory: Vec<u8>,
    lists: Vec<u8>,
    carriers: RoaringBitmap,
    deltas: Vec<u8>,
    bitmap: Vec<u8>,
}

impl PostingsWriter {
    /// Adds the list of the next value: rising ordinals.
    pub(super) fn push(&mut self, series: &[u32]) -> std::io::Result<()> {
        let series = if planted!(AcceleratorPostingMissing) { series.get(1..).unwrap_or_default() } else { series };
        for &ordinal in series {
            self.carriers.insert(ordinal);
        }
        let at = self.lists.len();
        put::u32_be(&mut self.directory, series.len() as u32);
        if let [] | [_] = series {
            put::u32_be(&mut self.directory, series.first().copied().unwrap_or(0));
            return Ok(());
        }
        put::u32_be(&mut self.directory, u32::try_from(at).unwrap_or(u32::MAX));
        self.deltas.clear();
        self.bitmap.clear();
        let mut bitmap = RoaringBitmap::from_sorted_iter(series.iter().copied()).map_err(std::io::Error::other)?;
        bitmap.optimize();
        bitmap.serialize_into(&mut self.bitmap)?;
        if series.len() <= LIST_MAX {
            let mut last = 0;
            for &ordinal in series {
                put::uvarint(&mut self.deltas, u64::from(ordinal - last));
                last = ordinal;
            }
        }
        let (bytes, kind) = match &self.deltas {
            deltas if !deltas.is_empty() && deltas.len() <= self.bitmap.len() => (deltas, 0),
            _ => (&self.bitmap, BITMAP),
        };
        put::uvarint(&mut self.lists, (bytes.len() as u64) << 1 | kind);
        self.lists.extend_from_slice(bytes);
        Ok(())
    }

    /// How many series there are in all lists together, each counted once.
    pub(super) fn carriers(&self) -> u64 {
        self.carriers.len()
    }

    /// The two parts of the section, after the last value; `None` where offsets of 32 bits don't reach.
    pub(super) fn finish(&mut self) -> std::io::Result<Option<[&[u8]; 2]>> {
        let carriers: Vec<u32> = std::mem::take(&mut self.carriers).iter().collect();
        self.push(&carriers)?;
        let fits = u32::try_from(self.lists.len()).is_ok();
        Ok(fits.then_some([self.directory.as_slice(), self.lists.as_slice()]))
    }
}

/// One list, as it lies in the file.
enum List<'a> {
    None,
    One(u32),
    Deltas { count: u32, bytes: &'a [u8] },
    Bitmap(BitmapView<'a>),
}

/// The lists of one label, read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Postings<'a> {
    directory: &'a [u8],
    lists: &'a [u8],
    values: u32,
    series: u32,
}

impl<'a> Postings<'a> {
    /// The section of a label with `values` values in a block of `series` series.
    pub(super) fn new(section: &'a [u8], values: u32, series: u32) -> Result<Self, Corruption> {
        match section.split_at_checked((values as usize + 1) * ENTRY_BYTES) {
            Some((directory, lists)) => Ok(Postings { directory, lists, values, series }),
            None => Err(Corruption { what: "directory of postings ends early", offset: section.len() }),
        }
    }

    /// The list number of all series that have the label.
    pub(super) fn carriers(&self) -> u32 {
        self.values
    }

    fn entry(&self, list: u32) -> Result<(u32, u32), Corruption> {
        let mut cursor = Cursor::new(self.directory.get(list as usize * ENTRY_BYTES..).unwrap_or_default());
        Ok((cursor.u32_be()?, cursor.u32_be()?))
    }

    /// How many series a list has.
    pub(super) fn count(&self, list: u32) -> Result<u64, Corruption> {
        self.entry(list).map(|(count, _)| u64::from(count))
    }

    /// How many series the lists in the ranges have together.
    pub(super) fn count_all(&self, ranges: &[Range<u32>]) -> Result<u64, Corruption> {
        let counts = |range: &Range<u32>| {
            let bytes = self.directory.get(range.start as usize * ENTRY_BYTES..range.end as usize * ENTRY_BYTES);
            let entries = bytes.unwrap_or_default().chunks_exact(ENTRY_BYTES);
            entries.map(|entry| u64::from(u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]))).sum::<u64>()
        };
        let outside = ranges.iter().any(|range| range.end > self.values);
        if outside {
            return Err(Corruption { what: "value has no postings", offset: 0 });
        }
        Ok(ranges.iter().map(counts).sum())
    }

    fn list(&self, list: u32) -> Result<List<'a>, Corruption> {
        let (count, place) = self.entry(list)?;
        match count {
            0 => return Ok(List::None),
            1 => return Ok(List::One(place)),
            _ => {}
        }
        let mut cursor = Cursor::new(self.lists);
        cursor.take(place as usize)?;
        let length = cursor.uvarint()?;
        let bytes = cursor.take(usize::try_from(length >> 1).map_err(|_| cursor.corrupt("list is too long"))?)?;
        Ok(match length & BITMAP {
            0 => List::Deltas { count, bytes },
            _ => List::Bitmap(view(bytes, u64::from(count))?),
        })
    }

    /// Appends the series of a short list; rising, below the number of series.
    fn decode(&self, count: u32, bytes: &[u8], out: &mut Vec<u32>) -> Result<(), Corruption> {
        let mut cursor = Cursor::new(bytes);
        let mut last = 0u64;
        for index in 0..count {
            let delta = cursor.uvarint()?;
            last = last.saturating_add(delta);
            if last >= u64::from(self.series) || (index > 0 && delta == 0) {
                return Err(cursor.corrupt("postings are out of order"));
            }
            out.push(last as u32);
        }
        Ok(())
    }

    /// The union of the lists in the ranges, which are sorted and apart from each other.
    pub(super) fn union(&self, ranges: &[Range<u32>]) -> Result<Bitmap, Corruption> {
        let mut few: Vec<u32> = Vec::new();
        let mut views: Vec<BitmapView<'_>> = Vec::new();
        let mut total = 0;
        for list in ranges.iter().cloned().flatten() {
            // Lists of one label are apart from each other, so there cannot be more than all series.
            total += self.count(list)?;
            if total > u64::from(self.series) {
                return Err(Corruption { what: "postings of a label overlap", offset: list as usize });
            }
            match self.list(list)? {
                List::None => {}
                List::One(ordinal) => few.push(ordinal),
                List::Deltas { count, bytes } => self.decode(count, bytes, &mut few)?,
                List::Bitmap(view) => views.push(view),
            }
        }
        let mut union = match views.as_slice() {
            [] => Bitmap::new(),
            [one] => one.to_bitmap(),
            many => Bitmap::fast_or(&many.iter().map(|view| &**view).collect::<Vec<_>>()),
        };
        if !few.is_empty() {
            let few = self.bitmap_of(few)?;
            if union.is_empty() { union = few } else { union.or_inplace(&few) }
        }
        self.bounded(union)
    }

    /// One list as a bitmap.
    pub(super) fn bitmap(&self, list: u32) -> Result<Bitmap, Corruption> {
        let bitmap = match self.list(list)? {
            List::Bitmap(view) => view.to_bitmap(),
            few => Bitmap::of(&self.few(few)?),
        };
        self.bounded(bitmap)
    }

    /// Ordinals in any order as a bitmap. Very many are marked in an array of bits, as sorting them takes longer.
    fn bitmap_of(&self, mut ordinals: Vec<u32>) -> Result<Bitmap, Corruption> {
        if ordinals.len() < self.series as usize / 64 || ordinals.is_sorted() {
            ordinals.sort_unstable();
            return Ok(Bitmap::of(&ordinals));
        }
        let mut bits = vec![0u64; self.series as usize / 64 + 1];
        for &ordinal in &ordinals {
            let word = bits.get_mut(ordinal as usize / 64);
            *word.ok_or(Corruption { what: "series is not in the block", offset: ordinal as usize })? |=
                1 << (ordinal % 64);
        }
        ordinals.clear();
        for (index, mut word) in bits.into_iter().enumerate() {
            while word != 0 {
                ordinals.push(index as u32 * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        Ok(Bitmap::of(&ordinals))
    }

    fn bounded(&self, bitmap: Bitmap) -> Result<Bitmap, Corruption> {
        match bitmap.maximum() {
            Some(newest) if newest >= self.series => {
                Err(Corruption { what: "series is not in the block", offset: newest as usize })
            }
            _ => Ok(bitmap),
        }
    }

    /// Keeps in `target` what is in the list.
    pub(super) fn intersect_into(&self, list: u32, target: &mut Bitmap) -> Result<(), Corruption> {
        match self.list(list)? {
            List::Bitmap(view) => target.and_inplace(&view),
            few => {
                let mut series = self.few(few)?;
                series.retain(|&ordinal| target.contains(ordinal));
                *target = Bitmap::of(&series);
            }
        }
        Ok(())
    }

    /// Removes from `target` what is in the list.
    pub(super) fn subtract_from(&self, list: u32, target: &mut Bitmap) -> Result<(), Corruption> {
        match self.list(list)? {
            List::Bitmap(view) => target.andnot_inplace(&view),
            few => target.remove_many(&self.few(few)?),
        }
        Ok(())
    }

    /// Whether the list and `other` have a series in common.
    pub(super) fn intersects(&self, list: u32, other: &Bitmap) -> Result<bool, Corruption> {
        Ok(match self.list(list)? {
            List::Bitmap(view) => view.intersect(other),
            List::None => false,
            List::One(ordinal) => other.contains(ordinal),
            few => self.few(few)?.iter().any(|&ordinal| other.contains(ordinal)),
        })
    }

    fn few(&self, list: List<'_>) -> Result<Vec<u32>, Corruption> {
        let mut series = Vec::new();
        match list {
            List::None => {}
            List::One(ordinal) => series.push(ordinal),
            List::Deltas { count, bytes } => self.decode(count, bytes, &mut series)?,
            List::Bitmap(view) => series = view.to_vec(),
        }
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SERIES: u32 = 200_000;

    fn section(lists: &[Vec<u32>]) -> Vec<u8> {
        let mut writer = PostingsWriter::default();
        lists.iter().for_each(|list| writer.push(list).unwrap());
        writer.finish().unwrap().unwrap().concat()
    }

    /// Series dealt out to at most 40 values: a few values have most, so that every kind of list comes up.
    fn lists() -> impl Strategy<Value = Vec<Vec<u32>>> {
        let deal = (0u32..SERIES, 1u32..3000, 1u32..50, 0usize..40);
        prop::collection::vec(deal, 1..12).prop_map(|deals| {
            let mut lists = vec![BTreeSet::new(); 40];
            let mut taken = BTreeSet::new();
            for (start, length, step, value) in deals {
                for ordinal in (start..SERIES.min(start + length)).step_by(step as usize) {
                    if taken.insert(ordinal) {
                        lists[value].insert(ordinal);
                    }
                }
            }
            lists.into_iter().map(|list| list.into_iter().collect()).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn prop_postings_agree_with_plain_sets(
            lists in lists(),
            cuts in prop::collection::btree_set(0u32..41, 0..6),
            other in prop::collection::btree_set(0u32..SERIES, 0..500),
        ) {
            let section = section(&lists);
            let postings = Postings::new(&section, 40, SERIES).unwrap();
            let cuts: Vec<u32> = cuts.into_iter().collect();
            let ranges: Vec<Range<u32>> = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let expected: BTreeSet<u32> =
                ranges.iter().cloned().flatten().flat_map(|list| lists[list as usize].clone()).collect();
            prop_assert_eq!(postings.count_all(&ranges).unwrap(), expected.len() as u64);
            prop_assert!(postings.union(&ranges).unwrap().iter().eq(expected.iter().copied()));
            let carriers: BTreeSet<u32> = lists.iter().flatten().copied().collect();
            prop_assert_eq!(postings.count(postings.carriers()).unwrap(), carriers.len() as u64);
            let mixed: Vec<u32> = other.iter().copied().chain(carriers.iter().copied().step_by(3)).collect();
            for (number, list) in (0u32..).zip(&lists) {
                let list: BTreeSet<u32> = list.iter().copied().collect();
                let set: BTreeSet<u32> = mixed.iter().copied().collect();
                let mut kept = Bitmap::of(&mixed);
                postings.intersect_into(number, &mut kept).unwrap();
                prop_assert!(kept.iter().eq(set.intersection(&list).copied()));
                let mut rest = Bitmap::of(&mixed);
                postings.subtract_from(number, &mut rest).unwrap();
                prop_assert!(rest.iter().eq(set.difference(&list).copied()));
                prop_assert_eq!(postings.intersects(number, &Bitmap::of(&mixed)).unwrap(), !set.is_disjoint(&list));
            }
        }
    }

    #[test]
    fn postings_that_overlap_are_refused_before_they_are_more_than_all_series() {
        let list: Vec<u32> = (0..100).map(|ordinal| ordinal * 3).collect();
        let section = section(&[list.clone(), list.clone(), list.clone(), list]);
        let union = |end| Postings::new(&section, 4, 300).unwrap().union(std::slice::from_ref(&(0..end)));
        assert!(union(3).is_ok());
        assert_eq!(union(4).unwrap_err().what, "postings of a label overlap");
    }

    #[test]
    fn postings_beyond_the_series_of_the_block_are_refused() {
        for list in [vec![7], vec![3, 7], (0..100).map(|ordinal| ordinal * 3).collect::<Vec<u32>>()] {
            let section = section(std::slice::from_ref(&list));
            let union = |series| Postings::new(&section, 1, series).unwrap().union(std::slice::from_ref(&(0..1)));
            assert!(union(300).is_ok());
            assert!(union(7).is_err(), "{list:?}");
        }
    }
}
