//! Which series a reference of the log names.

use std::collections::HashMap;

use crate::index::Slot;

/// References below this, or not far above the number of known ones, are looked up in a plain list.
const DENSE_REFS: u64 = 1 << 20;

/// Slots by reference: a list where references are dense, as ours are, else a map.
#[derive(Debug, Default)]
pub(super) struct RefMap {
    dense: Vec<Slot>,
    sparse: HashMap<u64, Slot>,
    known: u64,
}

impl RefMap {
    const NONE: Slot = Slot::MAX;

    pub(super) fn get(&self, series_ref: u64) -> Option<Slot> {
        match self.dense.get(usize::try_from(series_ref).unwrap_or(usize::MAX)) {
            Some(&Self::NONE) | None => self.sparse.get(&series_ref).copied(),
            Some(&slot) => Some(slot),
        }
    }

    pub(super) fn insert(&mut self, series_ref: u64, slot: Slot) {
        self.known += 1;
        if series_ref >= DENSE_REFS.max(self.known * 4) {
            self.sparse.insert(series_ref, slot);
            return;
        }
        let index = series_ref as usize;
        if index >= self.dense.len() {
            self.dense.resize(index + 1, Self::NONE);
        }
        self.dense[index] = slot;
    }
}
