//! What a verification compares with the log: how many samples each series had at one moment, and their digests as
//! queries would serve them.
//!
//! Deleted samples are counted: the log has them too, and a verification compares what is stored.

use std::sync::Arc;

use super::out_of_order::OutOfOrderView;
use super::readers::Reader;
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::chunk;
use crate::encoding::Corruption;
use crate::index::Slot;
use crate::model::{ChunkEncoding, Digest, LabelSetScratch, Tally, TimeRange, TimestampMs};
use crate::storage::Column;

/// How many samples each series had at one moment.
#[derive(Debug, Clone, Default)]
pub struct SnapshotCounts {
    series: Vec<SeriesCount>,
    /// Keeps the samples where they are; `None` where nothing was counted.
    reader: Option<Arc<Reader>>,
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
        let reader = self.shared.readers.enter_seen();
        let mut counts = Vec::with_capacity(self.series_count());
        for number in 0..SHARDS {
            let shard = self.shared.shard(number);
            // What blocks have does not count, also while it is still here.
            let is_kept = |range: TimeRange| range.end_ms >= reader.oldest_ms();
            counts.extend(shard.slots().filter_map(|(slot, series)| {
                let is_in_order = series.time_range().is_some_and(is_kept);
                let out_of_order = series.out_of_order().filter(|held| !held.is_empty());
                (is_in_order || out_of_order.is_some()).then(|| SeriesCount {
                    slot,
                    in_order: (if is_in_order { series.samples } else { 0 }, series.last_ms),
                    out_of_order: out_of_order.map(|held| Box::new(held.view(TimeRange::ALL))),
                })
            }));
        }
        SnapshotCounts { series: counts, reader: Some(Arc::new(reader)) }
    }

    /// Decodes each series of the snapshot as a query would, up to the sample that was its newest then. The warnings are
    /// those that a query would carry.
    pub fn digest_series(&self, snapshot: &SnapshotCounts, mut each: impl FnMut(SeriesDigest)) -> Vec<String> {
        let mut warnings = Vec::new();
        let from_ms = snapshot.reader.as_ref().map_or(TimestampMs::MIN, |reader| reader.oldest_ms());
        for counted in snapshot.series.iter().filter(|series| series.samples() > 0) {
            let labels = self.shared.labels_digest(counted.slot);
            let total = self.shared.tally_counted(counted, from_ms, labels, &mut |warning| warnings.push(warning));
            each(SeriesDigest { labels, samples: total.samples, digest: total.digest });
        }
        warnings
    }
}

/// The samples of a chunk that lie in `range`, in the form in which they are stored: a query sees histograms with integer
/// counts as such with float counts.
fn tally_chunk(labels: Digest, encoding: ChunkEncoding, bytes: &[u8], range: TimeRange) -> Result<Tally, Corruption> {
    let mut tally = Tally::ZERO;
    if encoding.is_float() {
        let mut column = Column::default();
        chunk::decode_into(encoding, bytes, range, &mut column)?;
        for (&timestamp_ms, &value) in column.timestamps_ms.iter().zip(&column.values) {
            tally.add_sample(labels.of_sample(timestamp_ms, value));
        }
        return Ok(tally);
    }
    for sample in chunk::samples(encoding, bytes)? {
        let (timestamp_ms, value) = sample?;
        if range.contains(timestamp_ms) {
            tally.add_sample(labels.of_value(timestamp_ms, &value));
        }
    }
    Ok(tally)
}

impl Shared {
    /// Adds up the samples that were counted.
    fn tally_counted(
        &self,
        counted: &SeriesCount,
        from_ms: TimestampMs,
        labels: Digest,
        warn: &mut dyn FnMut(String),
    ) -> Tally {
        let mut total = Tally::ZERO;
        let (samples, last_ms) = counted.in_order;
        let (number, row) = split_slot(counted.slot);
        if samples > 0 {
            let range = TimeRange::new(from_ms, last_ms);
            let view = self.shard(number).row(row).in_order_view(range);
            let mut add = |encoding, bytes: &[u8]| {
                total += tally_chunk(labels, encoding, bytes, range)?;
                Ok(())
            };
            self.visit_in_order(&view, &mut add, warn);
        }
        if let Some(view) = &counted.out_of_order {
            let mut add = |encoding, bytes: &[u8]| {
                total += tally_chunk(labels, encoding, bytes, TimeRange::ALL)?;
                Ok(())
            };
            for chunk in &view.chunks {
                self.visit_chunk(&chunk.place, chunk.range, &mut add, warn);
            }
            for sample in &view.buffered {
                total.add_sample(labels.of_sample(sample.timestamp_ms, sample.value));
            }
            for (timestamp_ms, value) in &view.histograms {
                total.add_sample(labels.of_value(*timestamp_ms, value));
            }
        }
        total
    }

    /// Digest of a series' label set as the index has it, computed anew so that it is what a query would show.
    fn labels_digest(&self, slot: Slot) -> Digest {
        let (number, row) = split_slot(slot);
        let pairs = self.shard(number).row(row).pairs.clone();
        Digest::of_labels(&self.index().label_set(&pairs, &mut LabelSetScratch::default()))
    }
}
