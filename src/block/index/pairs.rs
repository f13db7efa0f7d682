//! The distinct labels of a block that is being written, by number, and how many series carry each.

use hashbrown::HashMap;

use super::format::uvarint_bytes;
use crate::index::symbols::{SymbolId, Symbols};
use crate::model::Label;

/// Number of a distinct label, in order of first appearance.
pub(super) type PairId = u32;

/// A distinct label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) name: SymbolId,
    pub(super) value: SymbolId,
    /// How many series carry it.
    pub(super) series: u32,
}

/// The labels, with their strings stored once.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) symbols: Symbols,
    pub(super) pairs: Vec<Pair>,
    numbers: HashMap<(SymbolId, SymbolId), PairId>,
}

impl Pairs {
    /// The number of a label, a new one if need be.
    pub(super) fn intern(&mut self, label: Label<'_>) -> PairId {
        let (name, value) = (self.symbols.intern(label.name), self.symbols.intern(label.value));
        *self.numbers.entry((name, value)).or_insert_with(|| {
            self.pairs.push(Pair { name, value, series: 0 });
            self.pairs.len() as PairId - 1
        })
    }

    /// Counts one more series that carries the label.
    pub(super) fn count_series(&mut self, pair: PairId) {
        if let Some(pair) = self.pairs.get_mut(pair as usize) {
            pair.series += 1;
        }
    }

    /// Lets go of what only [`intern`](Self::intern) needs.
    pub(super) fn stop_interning(&mut self) {
        self.numbers = HashMap::new();
    }

    /// The symbols in the order of their texts, and each symbol's place in that order.
    pub(super) fn sort_symbols(&self) -> (Vec<SymbolId>, Vec<u32>) {
        let mut order: Vec<SymbolId> = (0..self.symbols.len() as SymbolId).collect();
        order.sort_unstable_by_key(|&symbol| self.symbols.get(symbol));
        let mut ranks = vec![0; order.len()];
        for (rank, &symbol) in order.iter().enumerate() {
            ranks[symbol as usize] = rank as u32;
        }
        (order, ranks)
    }

    /// The labels in the order of their names, then values.
    pub(super) fn sort_pairs(&self, ranks: &[u32]) -> Vec<PairId> {
        let mut order: Vec<PairId> = (0..self.pairs.len() as PairId).collect();
        order.sort_unstable_by_key(|&pair| {
            let pair = self.pairs[pair as usize];
            (ranks[pair.name as usize], ranks[pair.value as usize])
        });
        order
    }

    pub(super) fn get(&self, pair: PairId) -> Pair {
        self.pairs[pair as usize]
    }

    /// Bytes of the name and value of a label as strings with their lengths.
    pub(super) fn text_bytes(&self, pair: Pair) -> u64 {
        let bytes = |symbol| {
            let length = self.symbols.get(symbol).len() as u64;
            uvarint_bytes(length) + length
        };
        bytes(pair.name) + bytes(pair.value)
    }
}
