//! Sizes of the head, for status pages and metrics.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::Head;
use super::out_of_order::OutOfOrder;
use super::series::{ChunkPlace, EncodedChunk, FullChunk};
use super::shard::SHARDS;
use crate::index::IndexStats;
use crate::model::{METRIC_NAME, TimeRange};

/// A name and a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCount {
    /// What is counted: a metric, a label name, or `name=value`.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// Sizes of the head.
#[derive(Debug, Clone, Default)]
pub struct HeadStats {
    /// Series.
    pub series: usize,
    /// Samples added since the start of the process, replayed ones included; those that left with truncations are counted
    /// on.
    pub samples: u64,
    /// From the oldest to the newest sample that is there.
    pub time_range: Option<TimeRange>,
    /// Open chunks and full ones, those of out-of-order samples included.
    pub chunks: u64,
    /// Out-of-order samples that are in the head.
    pub out_of_order_samples: u64,
    /// Full chunks that are still in memory.
    pub chunks_in_memory: u64,
    /// Full chunks that are in files.
    pub chunks_in_files: u64,
    /// Writes of full chunks that failed, and were tried again.
    pub chunk_write_failures: u64,
    /// Damaged chunks that reads left out.
    pub damaged_chunk_reads: u64,
    /// Sizes of the index.
    pub index: IndexStats,
    /// Bytes of the rows and the tables that find them.
    pub row_bytes: usize,
    /// Bytes of the label numbers of all series.
    pub label_bytes: usize,
    /// Bytes of the open chunks.
    pub open_chunk_bytes: usize,
    /// Bytes of the full chunks in memory, and of the lists of all full chunks.
    pub full_chunk_bytes: usize,
}

/// The largest of some counts.
fn top(counts: impl Iterator<Item = NamedCount>, limit: usize) -> Vec<NamedCount> {
    let mut counts: Vec<NamedCount> = counts.collect();
    counts.sort_by(|a, b| (Reverse(a.value), &a.name).cmp(&(Reverse(b.value), &b.name)));
    counts.truncate(limit);
    counts
}

impl Head {
    /// Sizes. Looks at every row: for status pages, not for hot paths.
    pub fn stats(&self) -> HeadStats {
        let counters = &self.shared.counters;
        let mut stats = HeadStats {
            series: self.series_count(),
            samples: counters.samples.load(Ordering::Relaxed),
            time_range: self.time_range(),
            out_of_order_samples: self.out_of_order_samples(),
            chunk_write_failures: counters.chunk_write_failures.load(Ordering::Relaxed),
            damaged_chunk_reads: counters.damaged_chunk_reads.load(Ordering::Relaxed),
            index: self.shared.index().stats(),
            ..HeadStats::default()
        };
        for number in 0..SHARDS {
            let shard = self.shared.shard(number);
            stats.row_bytes += shard.table_bytes();
            for series in shard.rows() {
                stats.label_bytes += size_of_val(&*series.pairs);
                stats.open_chunk_bytes += series.open_capacity();
                stats.full_chunk_bytes += series.full.capacity() * size_of::<FullChunk>();
                let out_of_order = series.out_of_order();
                let chunks = out_of_order.map_or(&[][..], |held| &held.chunks);
                stats.full_chunk_bytes += size_of_val(chunks);
                stats.open_chunk_bytes += out_of_order.map_or(0, OutOfOrder::buffered_bytes);
                stats.chunks += u64::from(series.open_range().is_some()) + (series.full.len() + chunks.len()) as u64;
                let places = series.full.iter().map(|chunk| &chunk.place);
                for place in places.chain(chunks.iter().map(|chunk| &chunk.place)) {
                    match place {
                        ChunkPlace::Memory(encoded) => {
                            stats.chunks_in_memory += 1;
                            let counts = 4 * size_of::<usize>();
                            stats.full_chunk_bytes += encoded.bytes.len() + size_of::<EncodedChunk>() + counts;
                        }
                        ChunkPlace::File(_) => stats.chunks_in_files += 1,
                    }
                }
            }
        }
        stats
    }

    /// Label names with the most values.
    pub fn top_names_by_values(&self, limit: usize) -> Vec<NamedCount> {
        let index = self.shared.index();
        top(index.name_sizes().map(|(name, count, _)| NamedCount { name: name.into(), value: count as u64 }), limit)
    }

    /// Label names whose values have the most bytes.
    pub fn top_names_by_bytes(&self, limit: usize) -> Vec<NamedCount> {
        let index = self.shared.index();
        top(index.name_sizes().map(|(name, _, bytes)| NamedCount { name: name.into(), value: bytes as u64 }), limit)
    }

    /// Labels, as `name=value`, with the most series.
    pub fn top_pairs_by_series(&self, limit: usize) -> Vec<NamedCount> {
        let index = self.shared.index();
        let mut sizes: Vec<_> = index.pair_sizes().collect();
        sizes.sort_by_key(|&(label, count)| (Reverse(count), label));
        let named = |(label, value): (crate::model::Label<'_>, u64)| NamedCount {
            name: format!("{}={}", label.name, label.value),
            value,
        };
        sizes.into_iter().take(limit).map(named).collect()
    }

    /// Metrics with the most series.
    pub fn top_metrics_by_series(&self, limit: usize) -> Vec<NamedCount> {
        let index = self.shared.index();
        top(index.value_sizes(METRIC_NAME).map(|(name, value)| NamedCount { name: name.into(), value }), limit)
    }
}
