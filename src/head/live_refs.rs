//! Which series the head holds, by their references in the log, and their names: what a checkpoint of the log has to keep.

use roaring::RoaringTreemap;

use super::Head;
use super::records::RecordBuffers;
use super::shard::SHARDS;
use crate::index::PairId;
use crate::model::LabelSetScratch;
use crate::wal::record::SeriesEncoder;

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

    /// Log records of the series whose references are not among these, as they were written when the series were created.
    /// No series may leave the head meanwhile.
    pub fn series_records(&self, is_named: &dyn Fn(u64) -> bool) -> Vec<Vec<u8>> {
        let (mut buffers, mut scratch, mut records) =
            (RecordBuffers::default(), LabelSetScratch::default(), Vec::new());
        for number in 0..SHARDS {
            let unnamed: Vec<(u64, Box<[PairId]>)> = {
                let shard = self.shared.shard(number);
                let rows = shard.rows().filter(|series| !is_named(series.series_ref));
                rows.map(|series| (series.series_ref, series.pairs.clone())).collect()
            };
            for (series_ref, pairs) in unnamed {
                let labels = self.shared.index().label_set(&pairs, &mut scratch);
                SeriesEncoder::push(&mut buffers.current, series_ref, labels.iter());
                buffers.close_if_long();
            }
        }
        buffers.take_into(&mut records, Vec::new);
        records
    }
}
