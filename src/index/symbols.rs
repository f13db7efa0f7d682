//! Interned strings: each distinct string is stored once, in pages that never move, and is known by a number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Number of an interned string.
pub type SymbolId = u32;

/// Bytes of a page. A longer string has a page of its own.
const PAGE_BYTES: usize = 1 << 20;

/// Where a string lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    page: u32,
    start: u32,
    length: u32,
}

/// The strings.
#[derive(Debug, Default)]
pub struct Symbols {
    pages: Vec<String>,
    places: Vec<Place>,
    table: HashTable<SymbolId>,
    /// Keyed at random, as the strings come from senders.
    hasher: DefaultHashBuilder,
}

impl Symbols {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The string with this number.
    #[inline]
    pub fn get(&self, symbol: SymbolId) -> &str {
        let place = self.places[symbol as usize];
        let start = place.start as usize;
        &self.pages[place.page as usize][start..start + place.length as usize]
    }

    /// The number of `text`, a new one if need be. Limits on labels keep strings far below 4 GiB.
    pub fn intern(&mut self, text: &str) -> SymbolId {
        let hash = self.hasher.hash_one(text);
        if let Some(&symbol) = self.table.find(hash, |&symbol| self.get(symbol) == text) {
            return symbol;
        }
        if self.pages.last().is_none_or(|page| page.capacity() - page.len() < text.len()) {
            self.pages.push(String::with_capacity(text.len().max(PAGE_BYTES)));
        }
        let page = self.pages.len() - 1;
        let start = self.pages[page].len();
        self.pages[page].push_str(text);
        let symbol = self.places.len() as SymbolId;
        self.places.push(Place { page: page as u32, start: start as u32, length: text.len() as u32 });
        let Symbols { pages, places, table, hasher } = self;
        table.insert_unique(hash, symbol, |&other| {
            let place = places[other as usize];
            let start = place.start as usize;
            hasher.hash_one(&pages[place.page as usize][start..start + place.length as usize])
        });
        symbol
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.pages.iter().map(String::capacity).sum::<usize>()
            + self.places.capacity() * size_of::<Place>()
            + self.table.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_interned_twice_have_one_number_and_read_back() {
        let mut symbols = Symbols::default();
        let texts: Vec<String> = (0..5000).map(|i| format!("value-{i}-{}", "x".repeat(i % 700))).collect();
        let ids: Vec<SymbolId> = texts.iter().map(|text| symbols.intern(text)).collect();
        let long = "y".repeat(PAGE_BYTES + 1);
        let long_id = symbols.intern(&long);
        for (text, &id) in texts.iter().zip(&ids) {
            assert_eq!(symbols.intern(text), id);
            assert_eq!(symbols.get(id), text);
        }
        assert_eq!(symbols.get(long_id), long);
        assert_eq!(symbols.len(), texts.len() + 1);
    }
}
