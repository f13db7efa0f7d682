//! Interned strings: each distinct string is stored once, in pages, and is known by a number.
//!
//! A string is counted as often as it was asked for, and goes when it was released as often. Its place in the page is
//! lost until few enough strings are left there: then these are moved to another page ([`Symbols::compact`]).

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::free_list::FreeList;

/// Number of an interned string.
pub type SymbolId = u32;

/// Bytes of a page. A longer string has a page of its own.
const PAGE_BYTES: usize = 1 << 20;

/// Where a string lies, and how often it is used; a number that is free has no use.
#[derive(Debug, Clone, Copy, Default)]
struct Symbol {
    page: u32,
    start: u32,
    length: u32,
    uses: u32,
}

/// A run of memory with strings, or nothing where its number is free.
#[derive(Debug, Default)]
struct Page {
    text: String,
    /// Bytes of strings that are in use.
    used: usize,
}

/// The strings.
#[derive(Debug, Default)]
pub struct Symbols {
    pages: Vec<Page>,
    free_pages: FreeList,
    /// The page that takes new strings.
    current: Option<u32>,
    symbols: Vec<Symbol>,
    free: FreeList,
    table: HashTable<SymbolId>,
    /// Keyed at random, as the strings come from senders.
    hasher: DefaultHashBuilder,
}

fn text_of(pages: &[Page], symbol: Symbol) -> &str {
    let start = symbol.start as usize;
    &pages[symbol.page as usize].text[start..start + symbol.length as usize]
}

impl Symbols {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The string with this number.
    #[inline]
    pub fn get(&self, symbol: SymbolId) -> &str {
        text_of(&self.pages, self.symbols[symbol as usize])
    }

    /// The number of `text`, a new one if need be; it is used once more. Limits on labels keep strings far below 4 GiB.
    pub fn intern(&mut self, text: &str) -> SymbolId {
        let hash = self.hasher.hash_one(text);
        if let Some(&symbol) = self.table.find(hash, |&symbol| self.get(symbol) == text) {
            self.symbols[symbol as usize].uses += 1;
            return symbol;
        }
        let mut place = self.store(text);
        place.uses = 1;
        let number = match self.free.take() {
            Some(number) => {
                self.symbols[number as usize] = place;
                number
            }
            None => {
                self.symbols.push(place);
                self.symbols.len() as SymbolId - 1
            }
        };
        let Symbols { pages, symbols, table, hasher, .. } = self;
        table.insert_unique(hash, number, |&other| hasher.hash_one(text_of(pages, symbols[other as usize])));
        number
    }

    /// Puts a text behind those of the current page, or of a new one.
    fn store(&mut self, text: &str) -> Symbol {
        let fits = |page: &Page| page.text.capacity() - page.text.len() >= text.len();
        let page = match self.current {
            Some(current) if fits(&self.pages[current as usize]) => current,
            _ => {
                let fresh = Page { text: String::with_capacity(text.len().max(PAGE_BYTES)), used: 0 };
                let number = match self.free_pages.take() {
                    Some(number) => {
                        self.pages[number as usize] = fresh;
                        number
                    }
                    None => {
                        self.pages.push(fresh);
                        self.pages.len() as u32 - 1
                    }
                };
                self.current = Some(number);
                number
            }
        };
        let Page { text: held, used } = &mut self.pages[page as usize];
        let start = held.len() as u32;
        held.push_str(text);
        *used += text.len();
        Symbol { page, start, length: text.len() as u32, uses: 0 }
    }

    /// Takes one use of a string back. After the last its number may come to mean another string.
    pub fn release(&mut self, symbol: SymbolId) {
        let place = &mut self.symbols[symbol as usize];
        place.uses -= 1;
        if place.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(self.get(symbol));
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == symbol) {
            entry.remove();
        }
        let place = std::mem::take(&mut self.symbols[symbol as usize]);
        self.free.give(symbol);
        let page = &mut self.pages[place.page as usize];
        page.used -= place.length as usize;
        if page.used == 0 && self.current != Some(place.page) {
            self.drop_page(place.page);
        }
    }

    fn drop_page(&mut self, page: u32) {
        self.pages[page as usize] = Page::default();
        self.free_pages.give(page);
    }

    /// Moves strings out of pages of which less than half is used, about `bytes_max` of them, and lets go of the pages.
    /// Says whether there are more.
    pub fn compact(&mut self, bytes_max: usize) -> bool {
        let is_sparse = |(number, page): (u32, &Page)| {
            let is_left = !page.text.is_empty() && self.current != Some(number) && 2 * page.used < page.text.len();
            is_left.then_some((number, page.used))
        };
        let mut sparse = (0..).zip(&self.pages).filter_map(is_sparse);
        let (mut moved, mut bytes) = (vec![false; self.pages.len()], 0);
        for (number, used) in sparse.by_ref() {
            moved[number as usize] = true;
            bytes += used;
            if bytes >= bytes_max {
                break;
            }
        }
        let has_more = sparse.next().is_some();
        if !moved.contains(&true) {
            return false;
        }
        for number in 0..self.symbols.len() {
            let place = self.symbols[number];
            if place.uses > 0 && moved.get(place.page as usize) == Some(&true) {
                let text = self.get(number as SymbolId).to_owned();
                self.symbols[number] = Symbol { uses: place.uses, ..self.store(&text) };
            }
        }
        for number in (0..).zip(moved).filter_map(|(number, is_moved)| is_moved.then_some(number)) {
            self.drop_page(number);
        }
        has_more
    }

    /// Lets go of memory for numbers and the table that a former, greater number of strings needed.
    pub fn shrink(&mut self) {
        self.symbols.truncate(self.free.trim(self.symbols.len()));
        self.pages.truncate(self.free_pages.trim(self.pages.len()));
        super::shrink_list(&mut self.symbols);
        let Symbols { pages, symbols, table, hasher, .. } = self;
        super::shrink_table(table, |&other| hasher.hash_one(text_of(pages, symbols[other as usize])));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.text.capacity()).sum::<usize>()
            + self.pages.capacity() * size_of::<Page>()
            + self.symbols.capacity() * size_of::<Symbol>()
            + self.free.heap_bytes()
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

    #[test]
    fn released_symbols_give_their_memory_back_and_the_others_stay() {
        let mut symbols = Symbols::default();
        let text = |i: usize| format!("value-{i:06}-{}", "x".repeat(i % 100));
        let ids: Vec<SymbolId> = (0..60_000).map(|i| symbols.intern(&text(i))).collect();
        let before = symbols.heap_bytes();
        // Every hundredth is used twice, so it outlives one release, and every page keeps some.
        (0..60_000).step_by(100).for_each(|i| assert_eq!(symbols.intern(&text(i)), ids[i]));
        ids.iter().for_each(|&id| symbols.release(id));
        while symbols.compact(10_000) {}
        symbols.shrink();
        assert_eq!(symbols.len(), 600);
        assert!(symbols.heap_bytes() < before / 2, "{} of {before}", symbols.heap_bytes());
        for i in 0..600 {
            assert_eq!(symbols.get(ids[i * 100]), text(i * 100));
            assert_eq!(symbols.intern(&text(i * 100)), ids[i * 100]);
        }
        let again: Vec<SymbolId> = (0..60_000).map(|i| symbols.intern(&text(i))).collect();
        assert!((0..60_000).all(|i| symbols.get(again[i]) == text(i)));
        assert!(symbols.heap_bytes() <= before + before / 8 + PAGE_BYTES);
    }
}
