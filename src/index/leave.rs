//! How series leave the index, and how the memory of what only they used comes back.

use std::hash::BuildHasher;

use super::{Index, NameId, PairId, Slot, pair_hash, shrink_list, shrink_table};

/// Series that are to leave the index, put in order outside of its lock.
#[derive(Debug, Default)]
pub struct Leaving {
    slots: Vec<Slot>,
    carried: Vec<(PairId, Slot)>,
}

impl Leaving {
    /// Series by their slots, with the pairs that each uses.
    pub fn new<'a>(series: impl Iterator<Item = (Slot, &'a [PairId])>) -> Self {
        let mut leaving = Leaving::default();
        for (slot, pairs) in series {
            leaving.slots.push(slot);
            leaving.carried.extend(pairs.iter().map(|&pair| (pair, slot)));
        }
        leaving.slots.sort_unstable();
        leaving.carried.sort_unstable();
        leaving
    }
}

impl Index {
    /// Removes series, so that no selection finds them any more, and takes back their uses of their pairs.
    pub fn remove_series(&mut self, leaving: &Leaving) {
        self.all.remove_sorted(leaving.slots.iter().copied());
        for group in leaving.carried.chunk_by(|a, b| a.0 == b.0) {
            let pair = group[0].0;
            self.pairs[pair as usize].postings.remove_sorted(group.iter().map(|&(_, slot)| slot));
            self.release_uses(pair, group.len() as u32);
        }
    }

    /// Takes back the uses of pairs by a series that was not created after all.
    pub fn release_pairs(&mut self, pairs: &[PairId]) {
        for &pair in pairs {
            self.release_uses(pair, 1);
        }
    }

    fn release_uses(&mut self, pair: PairId, count: u32) {
        let uses = &mut self.uses[pair as usize];
        *uses -= count;
        if *uses == 0 {
            let hash = self.pair_hash(self.pair_label(pair));
            if let Ok(entry) = self.pair_table.find_entry(hash, |&other| other == pair) {
                entry.remove();
            }
            self.names[self.pairs[pair as usize].name as usize].unused += 1;
            self.unused.push(pair);
        }
    }

    /// The pairs that came to have no use since the last call; nothing lists or finds them from now on. They keep their
    /// texts until [`free_pairs`](Index::free_pairs), for those who came by their numbers before.
    pub fn take_unused(&mut self) -> Vec<PairId> {
        let Index { names, uses, .. } = self;
        for name in names.iter_mut().filter(|name| name.unused > 0) {
            let is_used = |pair: &PairId| uses[*pair as usize] > 0;
            name.sorted = name.pairs[..name.sorted].iter().filter(|pair| is_used(pair)).count();
            name.pairs.retain(is_used);
            name.unused = 0;
            shrink_list(&mut name.pairs);
        }
        std::mem::take(&mut self.unused)
    }

    /// Lets go of pairs that [`take_unused`](Index::take_unused) gave and that nobody knows any more; their numbers will
    /// be used again.
    pub fn free_pairs(&mut self, pairs: &[PairId]) {
        for &pair in pairs {
            debug_assert!(!self.is_used(pair));
            let (name, value) = (self.pairs[pair as usize].name, self.pairs[pair as usize].value);
            self.symbols.release(value);
            self.free_pairs.give(pair);
            let of_name = &mut self.names[name as usize];
            of_name.held -= 1;
            if of_name.held == 0 {
                self.free_name(name);
            }
        }
    }

    fn free_name(&mut self, name: NameId) {
        let hash = self.hasher.hash_one(self.name_text(name));
        if let Ok(entry) = self.name_table.find_entry(hash, |&other| other == name) {
            entry.remove();
        }
        self.symbols.release(self.names[name as usize].symbol);
        self.free_names.give(name);
    }

    /// Moves about `bytes_max` of text out of pages that are mostly unused. Says whether there is more to move.
    pub fn compact_texts(&mut self, bytes_max: usize) -> bool {
        self.symbols.compact(bytes_max)
    }

    /// Lets go of memory for numbers and tables that a former, greater number of labels needed.
    pub fn shrink(&mut self) {
        let kept = self.free_pairs.trim(self.pairs.len());
        self.pairs.truncate(kept);
        self.uses.truncate(kept);
        shrink_list(&mut self.pairs);
        shrink_list(&mut self.uses);
        self.names.truncate(self.free_names.trim(self.names.len()));
        self.symbols.shrink();
        let Index { symbols, pairs, names, hasher, pair_table, .. } = self;
        shrink_table(pair_table, |&pair| pair_hash(symbols, names, hasher, &pairs[pair as usize]));
    }
}
