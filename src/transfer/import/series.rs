//! The series of an import: each has a number, and all can be put in the order of their labels.

use hashbrown::HashMap;

use crate::encoding::{Corruption, Cursor, put};
use crate::index::{Index, PairId};
use crate::model::{Label, LabelSet, LabelSetScratch};

/// Number of a series, in the order of first appearance.
pub(super) type SeriesNumber = u32;

/// The series, by their labels. A label that many series have is kept once.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    index: Index,
    rows: Vec<Box<[PairId]>>,
    numbers: HashMap<Box<[PairId]>, SeriesNumber>,
    scratch: Vec<PairId>,
    /// Series up to here are in the file already.
    saved: usize,
}

impl SeriesTable {
    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of a series, a new one if need be. The labels are sorted, unique and not empty.
    pub(super) fn number<'a>(&mut self, labels: impl Iterator<Item = Label<'a>>) -> SeriesNumber {
        self.scratch.clear();
        for label in labels {
            self.scratch.push(self.index.intern_pair(label));
        }
        if let Some(&number) = self.numbers.get(self.scratch.as_slice()) {
            return number;
        }
        let number = self.rows.len() as SeriesNumber;
        let pairs: Box<[PairId]> = self.scratch.as_slice().into();
        self.rows.push(pairs.clone());
        self.numbers.insert(pairs, number);
        number
    }

    /// The labels of a series.
    pub(super) fn labels(&self, number: SeriesNumber, scratch: &mut LabelSetScratch) -> LabelSet {
        self.rows.get(number as usize).map_or_else(LabelSet::empty, |pairs| self.index.label_set(pairs, scratch))
    }

    /// The place of each series, by number, in the order of all label sets.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut pairs: Vec<PairId> = self.rows.iter().flatten().copied().collect();
        self.index.rank_pairs(&mut pairs);
        let mut rest = pairs.as_slice();
        let mut rows: Vec<(&[PairId], SeriesNumber)> = Vec::with_capacity(self.rows.len());
        for (row, number) in self.rows.iter().zip(0..) {
            let (own, behind) = rest.split_at(row.len());
            rows.push((own, number));
            rest = behind;
        }
        rows.sort_unstable();
        let mut ranks = vec![0; rows.len()];
        for ((_, number), rank) in rows.into_iter().zip(0..) {
            ranks[number as usize] = rank;
        }
        ranks
    }

    /// Appends the series that are not saved yet: for each its label count, then names and values.
    pub(super) fn save_new(&mut self, out: &mut Vec<u8>) {
        for row in self.rows.get(self.saved..).unwrap_or(&[]) {
            put::uvarint(out, row.len() as u64);
            for &pair in row {
                let label = self.index.pair_label(pair);
                put::uvarint_slice(out, label.name.as_bytes());
                put::uvarint_slice(out, label.value.as_bytes());
            }
        }
        self.saved = self.rows.len();
    }

    /// Takes saved series over, in their order.
    pub(super) fn load(&mut self, bytes: &[u8]) -> Result<(), Corruption> {
        let mut cursor = Cursor::new(bytes);
        let mut labels = Vec::new();
        while !cursor.is_empty() {
            labels.clear();
            for _ in 0..cursor.uvarint()? {
                labels.push(Label { name: cursor.uvarint_str()?, value: cursor.uvarint_str()? });
            }
            self.number(labels.iter().copied());
        }
        self.saved = self.rows.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_saved_and_loaded_keep_number_labels_and_order() {
        let sets = ["b", "a", "c"].map(|value| LabelSet::from_pairs([("__name__", "m"), ("l", value)]));
        let mut table = SeriesTable::default();
        let mut saved = Vec::new();
        for (set, number) in sets.iter().zip(0..) {
            assert_eq!(table.number(set.iter()), number);
            assert_eq!(table.number(set.iter()), number);
            table.save_new(&mut saved);
        }
        let mut loaded = SeriesTable::default();
        loaded.load(&saved).unwrap();
        assert_eq!((loaded.len(), loaded.ranks()), (3, vec![1, 0, 2]));
        for (set, number) in sets.iter().zip(0..) {
            assert_eq!(loaded.labels(number, &mut LabelSetScratch::default()), *set);
        }
        assert!(SeriesTable::default().load(&saved[..saved.len() - 1]).is_err());
    }
}
