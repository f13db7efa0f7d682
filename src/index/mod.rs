//! The inverted index of the head: symbols, label pairs, postings, and the resolution of matchers.
//!
//! Series are known here by a dense 32-bit number, the *slot*. Each distinct label (name and value) is a *pair* with a
//! number of its own; a series' labels are the numbers of its pairs, and each pair has the set of slots that carry it
//! ([`Postings`]). Strings are stored once ([`symbols::Symbols`]).
//!
//! A pair counts its uses by series, those included that are being created. After the last it can't be found any more;
//! but who looked at a series before may still hold the pair's number, so it keeps its text until its owner, who knows
//! the readers, says that it is free ([`Index::take_unused`], [`Index::free_pairs`]). A name goes with its last pair.
//!
//! The index itself takes no lock; the head wraps it in one.

mod free_list;
mod leave;
pub mod postings;
mod select;
pub mod symbols;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

pub use free_list::FreeList;
pub use leave::Leaving;
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
    /// How many of `pairs` are not used any more.
    unused: usize,
    /// Pairs that refer to this name, with those that are not used any more and not free yet; 0: the name's number is free.
    held: usize,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    /// How many series use each pair.
    uses: Vec<u32>,
    free_pairs: FreeList,
    /// Pairs without a use, still listed by their names.
    unused: Vec<PairId>,
    pair_table: HashTable<PairId>,
    names: Vec<Name>,
    free_names: FreeList,
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

    /// The number of a pair, a new one if need be, for one more series that uses it.
    pub fn intern_pair(&mut self, label: Label<'_>) -> PairId {
        let hash = self.pair_hash(label);
        if let Some(&pair) = self.pair_table.find(hash, |&pair| self.pair_label(pair) == label) {
            self.uses[pair as usize] += 1;
            return pair;
        }
        let name = self.intern_name(label.name);
        let value = self.symbols.intern(label.value);
        let new = Pair { name, value, postings: Postings::default() };
        let pair = match self.free_pairs.take() {
            Some(pair) => {
                (self.pairs[pair as usize], self.uses[pair as usize]) = (new, 1);
                pair
            }
            None => {
                self.pairs.push(new);
                self.uses.push(1);
                self.pairs.len() as PairId - 1
            }
        };
        let of_name = &mut self.names[name as usize];
        of_name.pairs.push(pair);
        of_name.held += 1;
        let Index { symbols, pairs, names, hasher, pair_table, .. } = self;
        pair_table.insert_unique(hash, pair, |&other| pair_hash(symbols, names, hasher, &pairs[other as usize]));
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
        let symbol = self.symbols.intern(name);
        let new = Name { symbol, pairs: Vec::new(), sorted: 0, unused: 0, held: 0 };
        let id = match self.free_names.take() {
            Some(id) => {
                self.names[id as usize] = new;
                id
            }
            None => {
                self.names.push(new);
                self.names.len() as NameId - 1
            }
        };
        let Index { symbols, names, hasher, name_table, .. } = self;
        name_table.insert_unique(hash, id, |&id| hasher.hash_one(symbols.get(names[id as usize].symbol)));
        id
    }

    /// The names whose numbers are not free.
    fn held_names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().filter(|name| name.held > 0)
    }

    fn is_used(&self, pair: PairId) -> bool {
        self.uses[pair as usize] > 0
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
        let mut names: Vec<&Name> = self.held_names().collect();
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
            pairs: self.pairs.len() - self.free_pairs.len(),
            names: self.names.len() - self.free_names.len(),
            symbol_bytes: self.symbols.heap_bytes(),
            pair_bytes: self.pairs.capacity() * size_of::<Pair>()
                + self.uses.capacity() * size_of::<u32>()
                + self.free_pairs.heap_bytes()
                + self.pair_table.allocation_size()
                + self.names.iter().map(|name| name.pairs.capacity() * size_of::<PairId>()).sum::<usize>(),
            postings_bytes: postings_bytes + self.all.heap_bytes(),
        }
    }

    /// Each label name with its number of values and the bytes of these.
    pub fn name_sizes(&self) -> impl Iterator<Item = (&str, usize, usize)> + '_ {
        self.held_names().map(|name| {
            let used = name.pairs.iter().filter(|&&pair| self.is_used(pair));
            let bytes = used.map(|&pair| self.pair_value(pair).len()).sum();
            (self.symbols.get(name.symbol), name.pairs.len() - name.unused, bytes)
        })
    }

    /// Each label with its number of series.
    pub fn pair_sizes(&self) -> impl Iterator<Item = (Label<'_>, u64)> + '_ {
        let used = (0..self.pairs.len() as PairId).filter(|&pair| self.is_used(pair));
        used.map(|pair| (self.pair_label(pair), self.postings(pair).len()))
    }

    /// Each value of the label `name` with its number of series.
    pub fn value_sizes(&self, name: &str) -> impl Iterator<Item = (&str, u64)> + '_ {
        self.value_postings(name).map(|(value, postings)| (value, postings.len()))
    }

    /// Each value of the label `name` with its series.
    pub fn value_postings(&self, name: &str) -> impl Iterator<Item = (&str, &Postings)> + '_ {
        let pairs = self.find_name(name).map_or(&[][..], |name| &name.pairs);
        let used = pairs.iter().filter(|&&pair| self.is_used(pair));
        used.map(|&pair| (self.pair_value(pair), self.postings(pair)))
    }
}

fn pair_hash(symbols: &Symbols, names: &[Name], hasher: &DefaultHashBuilder, pair: &Pair) -> u64 {
    hasher.hash_one((symbols.get(names[pair.name as usize].symbol), symbols.get(pair.value)))
}

/// Lets go of memory of a list that was much longer once.
fn shrink_list<T>(list: &mut Vec<T>) {
    if list.capacity() > 2 * list.len() + 1024 {
        list.shrink_to(list.len() + list.len() / 8);
    }
}

/// Lets go of memory of a table that held far more once.
fn shrink_table<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.capacity() > 4 * table.len() + 1024 {
        table.shrink_to(table.len() + table.len() / 8, hash);
    }
}

#[cfg(test)]
mod tests;
