//! Postings: the set of series that carry a label.
//!
//! Most labels of a fleet have few series (a pod's, an instance's), and a few have nearly all. A short sorted list costs
//! a fifth of a bitmap's memory for the first kind, a bitmap is far faster for the second.

use roaring::RoaringBitmap;

use super::Slot;

/// A list longer than this becomes a bitmap.
const LIST_MAX: usize = 64;

/// More slots than this are removed from a bitmap together.
const REMOVED_SINGLY_MAX: usize = 16;

/// A set of slots.
#[derive(Debug, Clone)]
pub enum Postings {
    /// A few, sorted.
    List(Vec<Slot>),
    /// Many.
    Bitmap(Box<RoaringBitmap>),
}

impl Default for Postings {
    fn default() -> Self {
        Postings::List(Vec::new())
    }
}

impl Postings {
    /// Adds a slot; one that is there already is fine.
    pub fn insert(&mut self, slot: Slot) {
        match self {
            Postings::Bitmap(bitmap) => {
                bitmap.insert(slot);
            }
            Postings::List(list) => {
                let Err(position) = list.binary_search(&slot) else { return };
                if list.len() >= LIST_MAX {
                    let mut bitmap = RoaringBitmap::from_sorted_iter(list.iter().copied()).unwrap_or_default();
                    bitmap.insert(slot);
                    *self = Postings::Bitmap(Box::new(bitmap));
                    return;
                }
                if list.len() == list.capacity() {
                    list.reserve_exact((list.len() / 2).max(1));
                }
                list.insert(position, slot);
            }
        }
    }

    /// Removes slots, which are sorted; ones that are not there are fine.
    pub fn remove_sorted(&mut self, slots: impl ExactSizeIterator<Item = Slot> + Clone) {
        match self {
            Postings::List(list) => {
                let mut slots = slots.peekable();
                list.retain(|&slot| {
                    while slots.next_if(|&removed| removed < slot).is_some() {}
                    slots.peek() != Some(&slot)
                });
                if list.capacity() > 2 * list.len() {
                    list.shrink_to_fit();
                }
            }
            Postings::Bitmap(bitmap) => {
                if slots.len() > REMOVED_SINGLY_MAX {
                    **bitmap -= RoaringBitmap::from_sorted_iter(slots).unwrap_or_default();
                } else {
                    for slot in slots {
                        bitmap.remove(slot);
                    }
                }
                // Far below the length at which it became one, so that it doesn't go back and forth.
                if bitmap.len() <= LIST_MAX as u64 / 2 {
                    *self = Postings::List(bitmap.iter().collect());
                }
            }
        }
    }

    /// How many slots there are.
    pub fn len(&self) -> u64 {
        match self {
            Postings::List(list) => list.len() as u64,
            Postings::Bitmap(bitmap) => bitmap.len(),
        }
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        match self {
            Postings::List(list) => list.is_empty(),
            Postings::Bitmap(bitmap) => bitmap.is_empty(),
        }
    }

    /// Whether the set holds `slot`.
    pub fn contains(&self, slot: Slot) -> bool {
        match self {
            Postings::List(list) => list.binary_search(&slot).is_ok(),
            Postings::Bitmap(bitmap) => bitmap.contains(slot),
        }
    }

    /// How many slots of the set are in `other`.
    pub fn count_in(&self, other: &RoaringBitmap) -> u64 {
        match self {
            Postings::List(list) => list.iter().filter(|&&slot| other.contains(slot)).count() as u64,
            Postings::Bitmap(bitmap) => bitmap.intersection_len(other),
        }
    }

    /// Gives every slot to `each`, in rising order.
    pub fn for_each(&self, each: impl FnMut(Slot)) {
        match self {
            Postings::List(list) => list.iter().copied().for_each(each),
            Postings::Bitmap(bitmap) => bitmap.iter().for_each(each),
        }
    }

    /// The set as a bitmap.
    pub fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Postings::List(list) => RoaringBitmap::from_sorted_iter(list.iter().copied()).unwrap_or_default(),
            Postings::Bitmap(bitmap) => bitmap.as_ref().clone(),
        }
    }

    /// Keeps in `target` only what is in this set.
    pub fn intersect_into(&self, target: &mut RoaringBitmap) {
        match self {
            Postings::List(list) => {
                let kept = list.iter().copied().filter(|&slot| target.contains(slot));
                *target = RoaringBitmap::from_sorted_iter(kept).unwrap_or_default();
            }
            Postings::Bitmap(bitmap) => *target &= bitmap.as_ref(),
        }
    }

    /// Removes this set from `target`.
    pub fn subtract_from(&self, target: &mut RoaringBitmap) {
        match self {
            Postings::List(list) => {
                for &slot in list {
                    target.remove(slot);
                }
            }
            Postings::Bitmap(bitmap) => *target -= bitmap.as_ref(),
        }
    }

    /// Whether the two sets share a slot.
    pub fn intersects(&self, other: &RoaringBitmap) -> bool {
        match self {
            Postings::List(list) => list.iter().any(|&slot| other.contains(slot)),
            Postings::Bitmap(bitmap) => !bitmap.is_disjoint(other),
        }
    }

    /// Bytes on the heap; of a bitmap, its content and 40 for each container.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Postings::List(list) => list.capacity() * size_of::<Slot>(),
            Postings::Bitmap(bitmap) => {
                let statistics = bitmap.statistics();
                let content = statistics.n_bytes_array_containers
                    + statistics.n_bytes_bitset_containers
                    + statistics.n_bytes_run_containers;
                content as usize + statistics.n_containers as usize * 40 + size_of::<RoaringBitmap>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn postings(slots: &BTreeSet<u32>) -> Postings {
        let mut out = Postings::default();
        // Not in order: slots of several shards are created side by side.
        for &slot in slots.iter().rev().chain(slots.iter()) {
            out.insert(slot);
        }
        out
    }

    proptest! {
        #[test]
        fn prop_set_operations_agree_with_a_plain_set(
            a in prop::collection::btree_set(0u32..300, 0..150),
            b in prop::collection::btree_set(0u32..300, 0..150),
        ) {
            let (left, right) = (postings(&a), postings(&b));
            prop_assert_eq!(left.len(), a.len() as u64);
            prop_assert!((0..300).all(|slot| left.contains(slot) == a.contains(&slot)));
            let mut target = left.to_bitmap();
            right.intersect_into(&mut target);
            prop_assert!(target.iter().eq(a.intersection(&b).copied()));
            let mut target = left.to_bitmap();
            right.subtract_from(&mut target);
            prop_assert!(target.iter().eq(a.difference(&b).copied()));
            let mut target = left.clone();
            target.remove_sorted(b.iter().copied().collect::<Vec<_>>().into_iter());
            prop_assert!(target.to_bitmap().iter().eq(a.difference(&b).copied()));
            prop_assert_eq!(right.count_in(&left.to_bitmap()), a.intersection(&b).count() as u64);
            prop_assert_eq!(right.intersects(&left.to_bitmap()), !a.is_disjoint(&b));
        }
    }
}
