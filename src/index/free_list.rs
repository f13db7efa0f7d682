//! Numbers that were given back, to be given out again.

/// Free numbers of a list of things that are known by their place in it.
#[derive(Debug, Default)]
pub struct FreeList {
    numbers: Vec<u32>,
}

impl FreeList {
    /// A free number; after [`trim`](FreeList::trim) the smallest first, so that the list's end runs empty.
    pub fn take(&mut self) -> Option<u32> {
        self.numbers.pop()
    }

    /// Gives a number back.
    pub fn give(&mut self, number: u32) {
        self.numbers.push(number);
    }

    /// How many numbers are free.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no number is free.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How many of the `length` things of the list must stay: those at its end that are free may go. Their numbers are
    /// not free any more, as the list gives them out again when it grows.
    pub fn trim(&mut self, length: usize) -> usize {
        self.numbers.sort_unstable();
        let mut kept = length;
        while kept > 0 && self.numbers.last().is_some_and(|&last| last as usize == kept - 1) {
            self.numbers.pop();
            kept -= 1;
        }
        self.numbers.reverse();
        self.numbers.shrink_to(2 * self.numbers.len());
        kept
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_list_gives_out_the_smallest_first_and_drops_the_end() {
        let mut free = FreeList::default();
        [7, 2, 9, 4, 8].into_iter().for_each(|number| free.give(number));
        assert_eq!(free.trim(10), 7);
        assert_eq!([free.take(), free.take(), free.take()], [Some(2), Some(4), None]);
        [0, 1].into_iter().for_each(|number| free.give(number));
        assert_eq!((free.trim(2), free.is_empty()), (0, true));
    }
}
