//! The inverted index of the head: symbols, label pairs, postings, and the resolution of matchers.
//!
//! Series are known here by a dense 32-bit number, the *slot*. Each distinct label (name and value) is a *pair* with a
//! number of its own; a series' labels are the numbers of its pairs, and each pair has the set of slots that carry it
//! ([`Postings`]). Strings are stored once ([`symbols::Symbols`]).
//!
//! The index itself takes no lock; the head wraps it in one.

pub mod postings;
mod select;
pub mod symbols;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

pub use postings::Postings;

use crate::model::{Label, LabelSet, LabelSetScratch};
use symbols::{SymbolId, Symbols};

/// Number of a distinct label (name and value).
pub type PairId = u32;

/// Number of a series.
pub type Slot = u32;

/// Number of a label name, in order of first appearance.
type NameId = u32;

/// One distinct label.
#[derive(Debug)]
struct Pair {
    name: NameId,
    value: SymbolId,
    postings: Postings,
}

/// One label name and its values.
#[derive(Debug)]
struct Name {
    symbol: SymbolId,
    /// Pairs of this name; the first `sorted` are in the order of their values.
    pairs: Vec<PairId>,
    sorted: usize,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    pair_table: HashTable<PairId>,
    names: Vec<Name>,
    name_table: HashTable<NameId>,
    all: Postings,
    hasher: DefaultHashBuilder,
}

/// Sizes of the index, for status pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Distinct strings.
    pub symbols: usize,
    /// Distinct labels.
    pub pairs: usize,
    /// Distinct label names.
    pub names: usize,
    /// Bytes of the strings and their table.
    pub symbol_bytes: usize,
    /// Bytes of the pairs and their table, without postings.
    pub pair_bytes: usize,
    /// Bytes of all postings.
    pub postings_bytes: usize,
}

impl Index {
    /// An index without a series.
    pub fn new() -> Self {
        Index::default()
    }

    fn pair_hash(&self, label: Label<'_>) -> u64 {
        self.hasher.hash_one((label.name, label.value))
    }

    /// The number of a pair that is known.
    pub fn find_pair(&self, name: &str, value: &str) -> Option<PairId> {
        let label = Label { name, value };
        self.pair_table.find(self.pair_hash(label), |&pair| self.pair_label(pair) == label).copied()
    }

    /// The number of a pair, a new one if need be.
    pub fn intern_pair(&mut self, label: Label<'_>) -> PairId {
        let hash = self.pair_hash(label);
        if let Some(&pair) = self.pair_table.find(hash, |&pair| self.pair_label(pair) == label) {
            return pair;
        }
        let name = self.intern_name(label.name);
        let value = self.symbols.intern(label.value);
        let pair = self.pairs.len() as PairId;
        self.pairs.push(Pair { name, value, postings: Postings::default() });
        self.names[name as usize].pairs.push(pair);
        let Index { symbols, pairs, names, hasher, pair_table, .. } = self;
        pair_table.insert_unique(hash, pair, |&other| {
            let other = &pairs[other as usize];
            let name = symbols.get(names[other.name as usize].symbol);
            hasher.hash_one((name, symbols.get(other.value)))
        });
        pair
    }

    fn find_name(&self, name: &str) -> Option<&Name> {
        let found = self.name_table.find(self.hasher.hash_one(name), |&id| self.name_text(id) == name)?;
        Some(&self.names[*found as usize])
    }

    fn intern_name(&mut self, name: &str) -> NameId {
        let hash = self.hasher.hash_one(name);
        if let Some(&id) = self.name_table.find(hash, |&id| self.name_text(id) == name) {
            return id;
        }
        let id = self.names.len() as NameId;
        let symbol = self.symbols.intern(name);
        self.names.push(Name { symbol, pairs: Vec::new(), sorted: 0 });
        let Index { symbols, names, hasher, name_table, .. } = self;
        name_table.insert_unique(hash, id, |&id| hasher.hash_one(symbols.get(names[id as usize].symbol)));
        id
    }

    fn name_text(&self, name: NameId) -> &str {
        self.symbols.get(self.names[name as usize].symbol)
    }

    fn pair_value(&self, pair: PairId) -> &str {
        self.symbols.get(self.pairs[pair as usize].value)
    }

    /// A pair's name and value.
    pub fn pair_label(&self, pair: PairId) -> Label<'_> {
        let pair = &self.pairs[pair as usize];
        Label { name: self.name_text(pair.name), value: self.symbols.get(pair.value) }
    }

    /// The label set of a series, from the numbers of its pairs in the order of their names.
    pub fn label_set(&self, pairs: &[PairId], scratch: &mut LabelSetScratch) -> LabelSet {
        LabelSet::from_sorted_with(pairs.iter().map(|&pair| self.pair_label(pair)), scratch)
    }

    /// Replaces each pair by its rank among those given: the numbers compare as the pairs' labels do. So series are
    /// put in the order of their label sets by comparing numbers, and each distinct text is compared only a few times.
    pub fn rank_pairs(&self, pairs: &mut [PairId]) {
        let mut ranks: HashMap<PairId, u32> = pairs.iter().map(|&pair| (pair, 0)).collect();
        let mut distinct: Vec<PairId> = ranks.keys().copied().collect();
        distinct.sort_unstable_by_key(|&pair| self.pair_label(pair));
        for (rank, pair) in distinct.into_iter().enumerate() {
            ranks.insert(pair, rank as u32);
        }
        for pair in pairs {
            *pair = ranks.get(pair).copied().unwrap_or_default();
        }
    }

    /// The rank of every pair among all, by its number: ranks compare as the pairs' labels do.
    pub fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.pairs.len()];
        let mut next = 0;
        let mut rank = |pairs: &[PairId]| {
            for &pair in pairs {
                ranks[pair as usize] = next;
                next += 1;
            }
        };
        let mut names: Vec<&Name> = self.names.iter().collect();
        names.sort_unstable_by_key(|name| self.symbols.get(name.symbol));
        for name in names {
            if name.sorted == name.pairs.len() {
                rank(&name.pairs);
            } else {
                let mut pairs = name.pairs.clone();
                pairs.sort_by_key(|&pair| self.pair_value(pair));
                rank(&pairs);
            }
        }
        ranks
    }

    /// Makes a series findable under its pairs.
    pub fn add_series(&mut self, slot: Slot, pairs: &[PairId]) {
        self.all.insert(slot);
        for &pair in pairs {
            self.pairs[pair as usize].postings.insert(slot);
        }
    }

    /// All series.
    pub fn all(&self) -> &Postings {
        &self.all
    }

    /// The series that carry a pair.
    pub fn postings(&self, pair: PairId) -> &Postings {
        &self.pairs[pair as usize].postings
    }

    /// Whether [`Index::sort_values`] would speed up reads by much.
    pub fn wants_sorting(&self) -> bool {
        self.names.iter().any(|name| name.pairs.len() - name.sorted > 256 + name.sorted / 64)
    }

    /// Puts the values of every name in order. Reads are correct without it, and slower.
    pub fn sort_values(&mut self) {
        let Index { symbols, pairs, names, .. } = self;
        for name in names.iter_mut().filter(|name| name.sorted < name.pairs.len()) {
            // A stable sort finds the two runs, the sorted one and the new one, by itself.
            name.pairs.sort_by_key(|&pair| symbols.get(pairs[pair as usize].value));
            name.sorted = name.pairs.len();
        }
    }

    /// Sizes.
    pub fn stats(&self) -> IndexStats {
        let postings_bytes = self.pairs.iter().map(|pair| pair.postings.heap_bytes()).sum::<usize>();
        IndexStats {
            symbols: self.symbols.len(),
            pairs: self.pairs.len(),
            names: self.names.len(),
            symbol_bytes: self.symbols.heap_bytes(),
            pair_bytes: self.pairs.capacity() * size_of::<Pair>()
                + self.pair_table.allocation_size()
                + self.names.iter().map(|name| name.pairs.capacity() * size_of::<PairId>()).sum::<usize>(),
            postings_bytes: postings_bytes + self.all.heap_bytes(),
        }
    }

    /// Each label name with its number of values and the bytes of these.
    pub fn name_sizes(&self) -> impl Iterator<Item = (&str, usize, usize)> + '_ {
        self.names.iter().map(|name| {
            let bytes = name.pairs.iter().map(|&pair| self.pair_value(pair).len()).sum();
            (self.symbols.get(name.symbol), name.pairs.len(), bytes)
        })
    }

    /// Each label with its number of series.
    pub fn pair_sizes(&self) -> impl Iterator<Item = (Label<'_>, u64)> + '_ {
        (0..self.pairs.len() as PairId).map(|pair| (self.pair_label(pair), self.postings(pair).len()))
    }

    /// Each value of the label `name` with its number of series.
    pub fn value_sizes(&self, name: &str) -> impl Iterator<Item = (&str, u64)> + '_ {
        let pairs = self.find_name(name).map_or(&[][..], |name| &name.pairs);
        pairs.iter().map(|&pair| (self.pair_value(pair), self.postings(pair).len()))
    }
}

#[cfg(test)]
mod tests;
