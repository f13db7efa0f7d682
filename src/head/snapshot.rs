//! What a verification compares with the log: how many samples each series had at one moment, and their digests as
//! queries would serve them.

use std::sync::Arc;

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

#[derive(Debug, Clone, Copy)]
struct SeriesCount {
    slot: Slot,
    samples: u64,
    last_ms: TimestampMs,
}

impl SnapshotCounts {
    /// How many series there were.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// How many samples there were.
    pub fn samples(&self) -> u64 {
        self.series.iter().map(|series| series.samples).sum()
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
        let reader = self.shared.readers.enter_source(TimestampMs::MIN);
        let mut counts = Vec::with_capacity(self.series_count());
        for number in 0..SHARDS {
            let shard = self.shared.shard(number);
            // What a truncation that is under way is about to drop does not count.
            let is_kept = |range: TimeRange| range.end_ms >= reader.from_ms();
            let held = shard.slots().filter(|(_, series)| series.time_range().is_some_and(is_kept));
            counts.extend(held.map(|(slot, series)| SeriesCount {
                slot,
                samples: series.samples,
                last_ms: series.last_ms,
            }));
        }
        SnapshotCounts { series: counts, reader: Some(Arc::new(reader)) }
    }

    /// Decodes each series of the snapshot as a query would, up to the sample that was its newest then. The warnings are
    /// those that a query would carry.
    pub fn digest_series(&self, snapshot: &SnapshotCounts, mut each: impl FnMut(SeriesDigest)) -> Vec<String> {
        let mut warnings = Vec::new();
        let from_ms = snapshot.reader.as_ref().map_or(TimestampMs::MIN, |reader| reader.from_ms());
        for counted in snapshot.series.iter().filter(|series| series.samples > 0) {
            let range = TimeRange::new(from_ms, counted.last_ms);
            let labels = self.shared.labels_digest(counted.slot);
            let mut total = Tally::ZERO;
            let mut add = |encoding, bytes: &[u8]| {
                total += tally_chunk(labels, encoding, bytes, range)?;
                Ok(())
            };
            self.shared.visit_chunks(counted.slot, range, &mut add, &mut |warning| warnings.push(warning));
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
    /// Digest of a series' label set as the index has it, computed anew so that it is what a query would show.
    fn labels_digest(&self, slot: Slot) -> Digest {
        let (number, row) = split_slot(slot);
        let pairs = self.shard(number).row(row).pairs.clone();
        Digest::of_labels(&self.index().label_set(&pairs, &mut LabelSetScratch::default()))
    }
}
