//! Which series the head holds, by their references in the log: what a checkpoint of the log has to keep.

use roaring::RoaringTreemap;

use super::Head;
use super::shard::SHARDS;

/// A set of references of series in the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RefSet(RoaringTreemap);

impl RefSet {
    /// Whether the set holds `series_ref`.
    pub fn contains(&self, series_ref: u64) -> bool {
        self.0.contains(series_ref)
    }

    /// How many references there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is no reference.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The references, rising.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter()
    }
}

impl FromIterator<u64> for RefSet {
    fn from_iter<I: IntoIterator<Item = u64>>(refs: I) -> Self {
        RefSet(refs.into_iter().collect())
    }
}

impl Head {
    /// The references under which the head's series are logged. One is never given to another series.
    pub fn live_refs(&self) -> RefSet {
        let mut refs = Vec::with_capacity(self.series_count());
        for number in 0..SHARDS {
            refs.extend(self.shared.shard(number).rows().map(|series| series.series_ref));
        }
        refs.sort_unstable();
        RefSet::from_iter(refs)
    }
}
