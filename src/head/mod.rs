//! The head: the mutable, most recent part of the store.
//!
//! Series are spread over shards by the hash of their labels, each under a lock of its own. A request's samples are
//! accepted or refused, appended to their series' open chunks, and encoded as log records, all under the shard's lock, so
//! the log holds the samples of a series in the order of their acceptance. The writer of the log takes the records
//! through [`GroupSource`].
//!
//! | part | file |
//! |---|---|
//! | how a series is recognised | `identity.rs` |
//! | a series' row, a shard's rows | `series.rs`, `shard.rs` |
//! | writing, to the log | `append.rs`, `value.rs`, `records.rs` |
//! | samples older than the newest of their series | `older.rs`, `out_of_order.rs`, `adopt.rs` |
//! | deletion | `delete.rs` |
//! | exemplars | `exemplars.rs` |
//! | reading | `read.rs`, `readers.rs` |
//! | the time up to which blocks have the samples | `floor.rs` |
//! | chunks for a block | `chunk_source.rs` |
//! | what blocks have leaves the head | `truncate.rs` |
//! | which series the log must keep | `live_refs.rs` |
//! | full chunks to files | `flush.rs` |
//! | from the log and the files back to a head | `load.rs`, `replay.rs`, `replay/worker.rs`, `recall.rs`, `ref_map.rs` |
//! | counts and digests for verification | `snapshot.rs` |
//! | up to where the chunk files stand for the log | `watermark.rs` |
//! | sizes for status pages; series by metric, label, creator and hour | `stats.rs`, `cardinality.rs`, `creators.rs`, `churn.rs` |
//!
//! Locks: nobody holds two of the locks (shards, index, exemplars, buffers) at once. A truncation holds its own around them.

mod adopt;
mod append;
mod cardinality;
mod chunk_source;
mod churn;
mod creators;
mod delete;
mod exemplars;
mod floor;
mod flush;
mod identity;
mod live_refs;
mod load;
mod metadata;
mod older;
mod options;
mod out_of_order;
mod read;
mod readers;
mod recall;
mod records;
mod ref_map;
mod replay;
mod series;
mod shard;
mod snapshot;
mod stats;
mod truncate;
mod value;
mod watermark;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use adopt::{Adopted, Adoption};
pub use cardinality::{Cardinality, CardinalityOptions, LabelRow, Largest, PairRow, SeriesRow};
pub use chunk_source::ChunkKind;
pub use creators::{CreatedFamily, CreatorSeries};
pub use exemplars::{LoggedExemplars, SeriesExemplars};
pub use live_refs::RefSet;
pub use load::LoadReport;
pub use metadata::MetadataEntry;
pub use options::HeadOptions;
pub use out_of_order::OutOfOrderCut;
pub use replay::{HeadReplay, ReplayReport};
pub use snapshot::{SeriesDigest, SnapshotCounts};
pub use stats::{HeadStats, NamedCount};
pub use truncate::Truncated;
pub use watermark::Watermark;

use crate::chunk::{HeadChunkFileReader, HeadChunkFileWriter};
use crate::fs::Fs;
use crate::index::Index;
use crate::model::{TimeRange, TimestampMs};
use crate::wal::{GroupRecords, GroupSource};
use churn::Churn;
use exemplars::Exemplars;
use flush::{FileContent, FlushMessage, Flusher};
use identity::Identity;
use load::Loaded;
use metadata::Metadata;
use out_of_order::{ShardRange, union};
use readers::Readers;
use ref_map::RefMap;
use shard::{SHARDS, Shard};
use truncate::Retired;

/// Spare buffers that are kept for records.
const SPARE_BUFFERS_MAX: usize = 2 * SHARDS;
/// A spare buffer larger than this is let go of.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The head.
#[derive(Debug)]
pub struct Head {
    shared: Arc<Shared>,
    flusher: Option<Flusher>,
    /// Chunks of files, until replay gives their series names.
    loaded: Mutex<Loaded>,
}

/// What writers, readers and the flusher share.
#[derive(Debug)]
struct Shared {
    options: HeadOptions,
    identity: Identity,
    shards: Vec<Mutex<Shard>>,
    index: RwLock<Index>,
    /// Maps of the head chunk files, where there are any.
    files: Option<HeadChunkFileReader>,
    metadata: Mutex<Metadata>,
    exemplars: Mutex<Exemplars>,
    out_of_order_ranges: [ShardRange; SHARDS],
    readers: Arc<Readers>,
    /// In-order samples below are not accepted.
    floor_ms: AtomicI64,
    /// Blocks have the out-of-order samples of groups up to this one; 0 where they have none.
    out_of_order_floor: AtomicU64,
    /// Numbers of what truncations removed; held by the truncation that is under way.
    retired: Mutex<Vec<Retired>>,
    counters: Counters,
    churn: Churn,
    spare_buffers: Mutex<Vec<Vec<u8>>>,
    /// The log's references after a replay, until it is settled whether somebody needs them.
    log_refs: Mutex<RefMap>,
}

#[derive(Debug)]
struct Counters {
    series: AtomicUsize,
    /// The next series reference for the log.
    next_ref: AtomicU64,
    samples: AtomicU64,
    chunk_write_failures: AtomicU64,
    damaged_chunk_reads: AtomicU64,
    /// Out-of-order samples that are in the head.
    out_of_order_samples: AtomicU64,
    /// The number of the next chunk of them.
    next_out_of_order_chunk: AtomicU64,
    /// Chunks of them below this number were dropped.
    out_of_order_dropped: AtomicU64,
    /// Blocks have the out-of-order chunks below this number.
    out_of_order_flushed: AtomicU64,
    has_samples: AtomicBool,
    min_time_ms: AtomicI64,
    /// In-order samples below were passed over by a replay or dropped by a truncation: blocks have them.
    left_below_ms: AtomicI64,
    /// Oldest time that was added since the latest truncation began.
    oldest_added_ms: AtomicI64,
    max_time_ms: AtomicI64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            series: AtomicUsize::new(0),
            next_ref: AtomicU64::new(1),
            samples: AtomicU64::new(0),
            chunk_write_failures: AtomicU64::new(0),
            damaged_chunk_reads: AtomicU64::new(0),
            out_of_order_samples: AtomicU64::new(0),
            next_out_of_order_chunk: AtomicU64::new(0),
            out_of_order_dropped: AtomicU64::new(0),
            out_of_order_flushed: AtomicU64::new(0),
            has_samples: AtomicBool::new(false),
            min_time_ms: AtomicI64::new(i64::MAX),
            left_below_ms: AtomicI64::new(i64::MIN),
            oldest_added_ms: AtomicI64::new(i64::MAX),
            max_time_ms: AtomicI64::new(i64::MIN),
        }
    }
}

impl Shared {
    fn new(options: HeadOptions, files: Option<HeadChunkFileReader>) -> Self {
        let keeps_pending = files.is_some();
        Shared {
            identity: Identity::new(options.hash_key),
            shards: (0..SHARDS).map(|number| Mutex::new(Shard::new(number, keeps_pending))).collect(),
            index: RwLock::new(Index::new()),
            files,
            metadata: Mutex::default(),
            exemplars: Mutex::new(Exemplars::new(options.exemplars_max)),
            out_of_order_ranges: Default::default(),
            readers: Readers::new(),
            floor_ms: AtomicI64::new(i64::MIN),
            out_of_order_floor: AtomicU64::new(0),
            retired: Mutex::default(),
            counters: Counters::default(),
            churn: Churn::default(),
            spare_buffers: Mutex::default(),
            log_refs: Mutex::default(),
            options,
        }
    }

    /// A panic of another thread while it held a lock leaves rows that are whole: each step that can be seen is one
    /// assignment. So a poisoned lock is used on.
    fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self) -> MutexGuard<'_, Metadata> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the oldest to the newest in-order sample.
    fn in_order_range(&self) -> Option<TimeRange> {
        self.counters.has_samples.load(Ordering::Acquire).then(|| {
            TimeRange::new(
                self.counters.min_time_ms.load(Ordering::Relaxed),
                self.counters.max_time_ms.load(Ordering::Relaxed),
            )
        })
    }

    /// From the oldest to the newest sample.
    fn time_range(&self) -> Option<TimeRange> {
        self.in_order_range().into_iter().chain(self.out_of_order_range()).reduce(union)
    }

    /// Gives no new series a reference up to `newest_ref`: the log or the files know it already.
    fn skip_refs_to(&self, newest_ref: u64) {
        self.counters.next_ref.fetch_max(newest_ref.saturating_add(1), Ordering::Relaxed);
    }

    /// Widens the head's range by that of added in-order samples.
    fn widen(&self, range: TimeRange) {
        self.counters.min_time_ms.fetch_min(range.start_ms, Ordering::Relaxed);
        self.counters.oldest_added_ms.fetch_min(range.start_ms, Ordering::Relaxed);
        self.counters.max_time_ms.fetch_max(range.end_ms, Ordering::Relaxed);
        self.counters.has_samples.store(true, Ordering::Release);
    }
}

impl Head {
    /// An empty head in memory alone: full chunks stay there.
    pub fn in_memory(options: HeadOptions) -> Self {
        Head { shared: Arc::new(Shared::new(options, None)), flusher: None, loaded: Mutex::default() }
    }

    /// An empty head that writes its full chunks to files in `chunks_dir`, which is made if need be.
    ///
    /// `last_file` is the number of the newest file that is there already, 0 where there is none; `contents` says up to
    /// which time files are needed.
    fn with_files(
        options: HeadOptions,
        fs: Arc<dyn Fs>,
        chunks_dir: &Path,
        last_file: u32,
        contents: BTreeMap<u32, FileContent>,
    ) -> io::Result<Self> {
        fs.create_dir_all(chunks_dir)?;
        let reader = HeadChunkFileReader::new(fs.clone(), chunks_dir.to_owned());
        let writer = HeadChunkFileWriter::new(fs, chunks_dir.to_owned(), last_file)
            .with_file_bytes_max(options.chunk_file_bytes_max);
        let shared = Arc::new(Shared::new(options, Some(reader)));
        let flusher = Flusher::start(shared.clone(), writer, contents)?;
        Ok(Head { shared, flusher: Some(flusher), loaded: Mutex::default() })
    }

    /// The options that the head was made with.
    pub fn options(&self) -> &HeadOptions {
        &self.shared.options
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.shared.counters.series.load(Ordering::Relaxed)
    }

    /// From the oldest to the newest sample, or `None` where there is no sample.
    pub fn time_range(&self) -> Option<TimeRange> {
        self.shared.time_range()
    }

    /// From the oldest to the newest in-order sample, or `None` where there is none.
    pub fn in_order_range(&self) -> Option<TimeRange> {
        self.shared.in_order_range()
    }

    /// Time of the newest sample.
    pub fn max_time_ms(&self) -> Option<TimestampMs> {
        self.time_range().map(|range| range.end_ms)
    }

    /// Waits until all full chunks whose samples are durable were tried to be written; the number of those left.
    pub fn flush_chunks(&self) -> usize {
        let Some(flusher) = &self.flusher else { return 0 };
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        if flusher.sender.send(FlushMessage::Barrier(answer)).is_err() {
            return 0;
        }
        answered.recv().unwrap_or(0)
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        if let Some(flusher) = self.flusher.take() {
            // A flusher that is gone already has nothing left to write.
            let _ = flusher.sender.send(FlushMessage::Stop);
            let _ = flusher.thread.join();
        }
    }
}

impl GroupSource for Head {
    fn take_records(&self) -> GroupRecords {
        let mut records = Vec::with_capacity(2 * SHARDS);
        let mut spares = std::mem::take(&mut *self.shared.spare_buffers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut spare = || spares.pop().unwrap_or_default();
        let mut samples = Vec::with_capacity(SHARDS);
        let (mut out_of_order, mut tombstones, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..SHARDS {
            let mut shard = self.shared.shard(number);
            shard.series_records.take_into(&mut records, &mut spare);
            shard.samples_records.take_into(&mut samples, &mut spare);
            shard.out_of_order_records.take_into(&mut out_of_order, &mut spare);
            shard.tombstone_records.take_into(&mut tombstones, &mut spare);
            pending.append(&mut shard.pending);
        }
        records.append(&mut samples);
        records.append(&mut out_of_order);
        records.append(&mut tombstones);
        self.shared.exemplars().records.take_into(&mut records, &mut spare);
        self.shared.metadata().records.take_into(&mut records, &mut spare);
        self.recycle(spares);
        let on_durable = match &self.flusher {
            Some(flusher) if !pending.is_empty() => {
                let sender = flusher.sender.clone();
                // Where the flusher is gone, the head is, and the log has the samples.
                Some(Box::new(move || drop(sender.send(FlushMessage::Chunks(pending)))) as Box<dyn FnOnce() + Send>)
            }
            _ => None,
        };
        GroupRecords { records, on_durable }
    }

    fn recycle(&self, buffers: Vec<Vec<u8>>) {
        let mut spares = self.shared.spare_buffers.lock().unwrap_or_else(PoisonError::into_inner);
        for mut buffer in buffers {
            if spares.len() < SPARE_BUFFERS_MAX && (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
                buffer.clear();
                spares.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod histogram_tests;
#[cfg(test)]
mod out_of_order_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod specimen_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truncate_stress_tests;
#[cfg(test)]
mod truncate_tests;
#[cfg(test)]
mod watermark_tests;
