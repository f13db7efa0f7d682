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
//! | writing | `append.rs` |
//! | reading | `read.rs`, `readers.rs` |
//! | the time up to which blocks have the samples | `floor.rs` |
//! | chunks for a block | `chunk_source.rs` |
//! | full chunks to files | `flush.rs` |
//! | from the log and the files back to a head | `load.rs`, `replay.rs` |
//! | counts and digests for verification | `snapshot.rs` |
//! | up to where the chunk files stand for the log | `watermark.rs` |
//! | sizes for status pages | `stats.rs` |
//!
//! Locks: nobody holds two of the locks (shards, index, buffers) at once.

mod append;
mod chunk_source;
mod floor;
mod flush;
mod identity;
mod load;
mod metadata;
mod options;
mod read;
mod readers;
mod replay;
mod series;
mod shard;
mod snapshot;
mod stats;
mod watermark;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use chunk_source::ChunkKind;
pub use load::LoadReport;
pub use metadata::{Metadata, MetadataEntry};
pub use options::HeadOptions;
pub use replay::{HeadReplay, ReplayReport};
pub use snapshot::{SeriesDigest, SnapshotCounts};
pub use stats::{HeadStats, NamedCount};
pub use watermark::Watermark;

use crate::chunk::{HeadChunkFileReader, HeadChunkFileWriter};
use crate::fs::Fs;
use crate::index::Index;
use crate::model::{TimeRange, TimestampMs};
use crate::wal::{GroupRecords, GroupSource};
use flush::{FlushMessage, Flusher};
use identity::Identity;
use load::Loaded;
use readers::Readers;
use shard::{SHARDS, Shard};

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
    readers: Arc<Readers>,
    /// In-order samples below are not accepted.
    floor_ms: AtomicI64,
    counters: Counters,
    spare_buffers: Mutex<Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Counters {
    series: AtomicUsize,
    /// The next series reference for the log.
    next_ref: AtomicU64,
    samples: AtomicU64,
    chunk_write_failures: AtomicU64,
    damaged_chunk_reads: AtomicU64,
    has_samples: AtomicBool,
    min_time_ms: AtomicI64,
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
            has_samples: AtomicBool::new(false),
            min_time_ms: AtomicI64::new(i64::MAX),
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
            readers: Readers::new(),
            floor_ms: AtomicI64::new(i64::MIN),
            counters: Counters::default(),
            spare_buffers: Mutex::default(),
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

    /// From the oldest to the newest sample.
    fn time_range(&self) -> Option<TimeRange> {
        self.counters.has_samples.load(Ordering::Acquire).then(|| {
            TimeRange::new(
                self.counters.min_time_ms.load(Ordering::Relaxed),
                self.counters.max_time_ms.load(Ordering::Relaxed),
            )
        })
    }

    /// Gives no new series a reference up to `newest_ref`: the log or the files know it already.
    fn skip_refs_to(&self, newest_ref: u64) {
        self.counters.next_ref.fetch_max(newest_ref.saturating_add(1), Ordering::Relaxed);
    }

    /// Widens the head's range by that of added samples.
    fn widen(&self, range: TimeRange) {
        self.counters.min_time_ms.fetch_min(range.start_ms, Ordering::Relaxed);
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
    /// `last_file` is the number of the newest file that is there already, 0 where there is none.
    fn with_files(options: HeadOptions, fs: Arc<dyn Fs>, chunks_dir: &Path, last_file: u32) -> io::Result<Self> {
        fs.create_dir_all(chunks_dir)?;
        let reader = HeadChunkFileReader::new(fs.clone(), chunks_dir.to_owned());
        let writer = HeadChunkFileWriter::new(fs, chunks_dir.to_owned(), last_file)
            .with_file_bytes_max(options.chunk_file_bytes_max);
        let shared = Arc::new(Shared::new(options, Some(reader)));
        let flusher = Flusher::start(shared.clone(), writer)?;
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
        let mut pending = Vec::new();
        for number in 0..SHARDS {
            let mut shard = self.shared.shard(number);
            shard.series_records.take_into(&mut records, &mut spare);
            shard.samples_records.take_into(&mut samples, &mut spare);
            pending.append(&mut shard.pending);
        }
        records.append(&mut samples);
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
mod replay_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truncate_tests;
#[cfg(test)]
mod watermark_tests;
