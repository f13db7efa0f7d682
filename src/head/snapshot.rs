//! What a verification compares with the log: how many samples each series had at one moment, and their digests as
//! queries would serve them.
//!
//! Deleted samples are counted: the log has them too, and a verification compares what is stored.

use super::out_of_order::OutOfOrderView;
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::index::Slot;
use crate::model::{Digest, LabelSetScratch, TimeRange, TimestampMs};
use crate::storage::Column;

/// How many samples each series had at one moment.
#[derive(Debug, Clone, Default)]
pub struct SnapshotCounts {
    series: Vec<SeriesCount>,
}

#[derive(Debug, Clone)]
struct SeriesCount {
    slot: Slot,
    /// In-order samples, and the time of the newest.
    in_order: (u64, TimestampMs),
    /// Later ones may have any time, so those of the moment are kept.
    out_of_order: Option<Box<OutOfOrderView>>,
}

impl SeriesCount {
    fn samples(&self) -> u64 {
        self.in_order.0 + self.out_of_order.as_ref().map_or(0, |view| view.samples())
    }
}

impl SnapshotCounts {
    /// How many series there were.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// How many samples there were.
    pub fn samples(&self) -> u64 {
        self.series.iter().map(SeriesCount::samples).sum()
    }
}

/// What queries would serve of one series, up to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesDigest {
    /// Digest of the label set, which names the series.
    pub labels: Digest,
    /// Samples that were decoded.
    pub samples: u64,
    /// Sum of their digests.
    pub digest: Digest,
}

impl Head {
    /// Counts the samples of every series. To be called while no request is admitted to a group, so that the counts
    /// are those of whole groups.
    pub fn snapshot_counts(&self) -> SnapshotCounts {
        let mut counts = Vec::with_capacity(self.series_count());
        for number in 0..SHARDS {
            let shard = self.shared.shard(number);
            counts.extend(shard.rows().zip(0..).map(|(series, row)| SeriesCount {
                slot: shard.slot(row),
                in_order: (series.samples, series.last_ms),
                out_of_order: series.out_of_order().map(|held| Box::new(held.view(TimeRange::ALL))),
            }));
        }
        SnapshotCounts { series: counts }
    }

    /// Decodes each series of the snapshot as a query would, up to the sample that was its newest then. The warnings are
    /// those that a query would carry.
    pub fn digest_series(&self, snapshot: &SnapshotCounts, mut each: impl FnMut(SeriesDigest)) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut column = Column::default();
        for counted in snapshot.series.iter().filter(|series| series.samples() > 0) {
            column.clear();
            self.shared.read_counted(counted, &mut column, &mut |warning| warnings.push(warning));
            let labels = self.shared.labels_digest(counted.slot);
            let samples = column.timestamps_ms.iter().zip(&column.values);
            let mut series = SeriesDigest { labels, samples: 0, digest: Digest::ZERO };
            for (&timestamp_ms, &value) in samples {
                series.samples += 1;
                series.digest += labels.of_sample(timestamp_ms, value);
            }
            each(series);
        }
        warnings
    }
}

impl Shared {
    /// Decodes the samples that were counted.
    fn read_counted(&self, counted: &SeriesCount, column: &mut Column, warn: &mut dyn FnMut(String)) {
        let (samples, last_ms) = counted.in_order;
        let (number, row) = split_slot(counted.slot);
        if samples > 0 {
            let range = TimeRange::new(i64::MIN, last_ms);
            let view = self.shard(number).row(row).in_order_view(range);
            self.read_view(&view, range, column, warn);
        }
        if let Some(view) = &counted.out_of_order {
            self.merge_out_of_order(view, TimeRange::ALL, 0, column, warn);
        }
    }

    /// Digest of a series' label set as the index has it, computed anew so that it is what a query would show.
    fn labels_digest(&self, slot: Slot) -> Digest {
        let (number, row) = split_slot(slot);
        let pairs = self.shard(number).row(row).pairs.clone();
        Digest::of_labels(&self.index().label_set(&pairs, &mut LabelSetScratch::default()))
    }
}
