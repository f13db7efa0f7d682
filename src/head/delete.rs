//! Deletion: ranges of time whose samples are hidden from readers.
//!
//! A deletion covers what its series has at that moment and no more, as in Prometheus: samples that are newer, or older,
//! are visible when they come later. The samples stay where they are until the head is written to a block, which leaves
//! them out. A range that was deleted takes no further sample: nobody would see it.
//!
//! Deletions stand in the log as tombstone records, in the group in which they were made; their place among the samples
//! of the group does not matter, as no later sample can lie within.

use super::Head;
use super::out_of_order::{OutOfOrder, union};
use super::shard::{SHARDS, Shard, split_slot};
use crate::index::Slot;
use crate::model::{Matcher, TimeRange};
use crate::wal::record::Tombstone;

impl Head {
    /// Deletes the samples in `range` of all series that match, and says how many series had any there.
    ///
    /// The caller has been admitted to the current group of the log, which holds the deletion from then on.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> u64 {
        let shared = &*self.shared;
        let mut by_shard: Vec<Vec<Slot>> = vec![Vec::new(); SHARDS];
        for slot in &shared.index().select(matchers) {
            by_shard[split_slot(slot).0].push(slot);
        }
        let mut series = 0;
        for (number, slots) in by_shard.into_iter().enumerate().filter(|(_, slots)| !slots.is_empty()) {
            let mut shard = shared.shard(number);
            for slot in slots {
                series += u64::from(shard.delete(split_slot(slot).1, range));
            }
        }
        series
    }
}

impl Shard {
    /// Deletes what a series has in `range`. Says whether it may have had something there that was not deleted yet.
    fn delete(&mut self, row: u32, range: TimeRange) -> bool {
        let series = self.row_mut(row);
        let held =
            series.time_range().into_iter().chain(series.out_of_order().and_then(OutOfOrder::range)).reduce(union);
        let Some(held) = held.filter(|held| held.overlaps(&range)) else { return false };
        let end_ms = if planted!(DeletionTooFar) { range.end_ms.saturating_add(1) } else { range.end_ms };
        let range = TimeRange::new(held.start_ms.max(range.start_ms), held.end_ms.min(end_ms));
        if series.deleted().covers(&range) {
            return false;
        }
        series.extra_mut().delete(range);
        let series_ref = series.series_ref;
        self.log_tombstone(Tombstone { series_ref, start_ms: range.start_ms, end_ms: range.end_ms });
        true
    }

    /// Applies a deletion of the log.
    pub(super) fn replay_deletion(&mut self, row: u32, range: TimeRange) {
        if range.start_ms <= range.end_ms {
            self.row_mut(row).extra_mut().delete(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Request, contents, raw};
    use super::*;
    use crate::head::HeadOptions;

    #[test]
    fn series_all_of_whose_samples_are_deleted_is_not_found_until_it_has_others() {
        let head = Head::in_memory(HeadOptions::default());
        let append = |at_ms| {
            let entry = |name| (raw(&[("__name__", name)]), vec![(at_ms, 1f64.to_bits())]);
            assert_eq!(Request(vec![entry("gone"), entry("stays")]).append_to(&head).added, 2);
        };
        let names = || -> Vec<String> {
            contents(&head).into_keys().map(|labels| labels.get("__name__").unwrap_or_default().to_owned()).collect()
        };
        append(1_000);
        append(2_000);
        let gone = [Matcher::equal("__name__", "gone")];
        assert_eq!(head.delete(&gone, TimeRange::new(0, 1_500)), 1);
        assert_eq!(names(), ["gone", "stays"]);
        assert_eq!(head.delete(&gone, TimeRange::ALL), 1);
        assert_eq!(names(), ["stays"]);
        append(3_000);
        assert_eq!(names(), ["gone", "stays"]);
    }
}
