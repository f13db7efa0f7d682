//! Truncation: what blocks have leaves the head, and the memory of series that are gone comes back.
//!
//! The order matters, and is this:
//!
//! 1. It is settled up to which time nobody reads any more (`readers.rs`). Chunks that end below it are dropped, rows of a
//!    shard at a time.
//! 2. Series that are left without a sample leave their shards. An append finds its rows first and uses them later, so
//!    this happens only while no request is admitted, a few at a time, and each is looked at once more: samples may have
//!    come since. From here on the series is not found by its labels; if they come again, it is another series, with
//!    another reference. Its row stays vacant, so that a reader that knows the slot finds nothing, and not somebody else.
//! 3. They leave the index: no new selection finds the slot.
//! 4. Only now is the epoch taken. Readers that enter later know neither the slots nor the label pairs that only these
//!    series used. When all earlier ones are gone, perhaps not before the next truncation, both may be used again.
//! 5. Head chunk files that hold nothing that is still needed are removed by the thread that writes them.

use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{MutexGuard, PoisonError};

use super::flush::{FlushMessage, RemovedFiles};
use super::series::Series;
use super::shard::{SHARDS, split_slot};
use super::{Head, Shared};
use crate::fs::release_freed_memory;
use crate::index::{Leaving, PairId, Slot};
use crate::model::{METRIC_NAME, TimestampMs};

/// Rows that are looked at under one lock of their shard.
const ROWS_PER_LOCK: u32 = 512;
/// Series that are removed in one pause: a few milliseconds.
const SERIES_PER_PAUSE: usize = 8192;
/// Series that leave the index, or label pairs that are freed, under one lock of it.
const SERIES_PER_INDEX_LOCK: usize = 512;
/// Bytes of text that are moved under one lock of the index.
const TEXT_PER_INDEX_LOCK: usize = 256 << 10;

/// What a truncation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Samples below may be gone. Less than what was asked for where readers, or queries that begin, still see what is
    /// above.
    pub below_ms: TimestampMs,
    /// Chunks that were dropped.
    pub chunks: u64,
    /// Series that were removed.
    pub series: u64,
    /// Labels that went with them.
    pub labels: u64,
    /// Head chunk files that were removed.
    pub files: u64,
    /// Why no more files were removed, where the file system refused. The next truncation tries again.
    pub file_failure: Option<String>,
}

/// Numbers whose former meaning readers may still know.
#[derive(Debug)]
pub(super) struct Retired {
    /// Readers with this number or a greater one don't.
    epoch: u64,
    slots: Vec<Slot>,
    pairs: Vec<PairId>,
}

impl Head {
    /// Drops the in-order samples below `below_ms`, as far as whole chunks and no reader have them, and the series that
    /// are left without a sample.
    ///
    /// `paused` is to run what it is given while no request is admitted; it is called a few times, for a few
    /// milliseconds each. Replay must be over. Goes no further than [`read_from`](Head::read_from) and the readers that are there allow, so it
    /// is best called when [`wait_for_readers`](Head::wait_for_readers) has said yes.
    pub fn truncate(&self, below_ms: TimestampMs, paused: &dyn Fn(&mut dyn FnMut())) -> Truncated {
        let shared = &*self.shared;
        // Held to the end: one truncation at a time.
        let mut retired = shared.retired();
        let below_ms = shared.readers.begin_truncation(below_ms);
        shared.counters.left_below_ms.fetch_max(below_ms, Ordering::AcqRel);
        let mut truncated = Truncated { below_ms, ..Truncated::default() };
        // Samples that are added while rows are looked at are noted there.
        shared.counters.oldest_added_ms.store(i64::MAX, Ordering::Relaxed);
        let (empty, oldest_ms) = shared.drop_chunks(below_ms, &mut truncated);
        let removed = shared.remove_if_empty(&empty, paused);
        truncated.series = removed.slots.len() as u64;
        truncated.labels = removed.pairs.len() as u64;
        paused(&mut || shared.begin_at(oldest_ms));
        shared.forget_metadata(&removed.pairs);
        retired.push(removed);
        shared.reclaim(&mut retired);
        if let Some(files) = self.remove_files(below_ms) {
            (truncated.files, truncated.file_failure) = (files.count, files.failure);
        }
        release_freed_memory();
        truncated
    }

    /// Lets the flusher remove files. Where it is gone, the head is about to be.
    pub(super) fn remove_files(&self, below_ms: TimestampMs) -> Option<RemovedFiles> {
        let (answer, answered) = sync_channel(1);
        self.flusher.as_ref()?.sender.send(FlushMessage::Truncate { below_ms, answer }).ok()?;
        answered.recv().ok()
    }
}

impl Shared {
    fn retired(&self) -> MutexGuard<'_, Vec<Retired>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops chunks that end below a time. Gives the slots that are left without a sample, and the oldest time of the
    /// others.
    fn drop_chunks(&self, below_ms: TimestampMs, truncated: &mut Truncated) -> (Vec<Slot>, TimestampMs) {
        let (mut empty, mut oldest_ms) = (Vec::new(), TimestampMs::MAX);
        for number in 0..SHARDS {
            let mut row = 0;
            loop {
                let mut shard = self.shard(number);
                let end = (row + ROWS_PER_LOCK).min(shard.len() as u32);
                for row in row..end {
                    let series = shard.row_mut(row);
                    truncated.chunks += series.truncate(below_ms) as u64;
                    match series.time_range() {
                        Some(range) => oldest_ms = oldest_ms.min(range.start_ms),
                        None if series.is_vacant() => {}
                        None => empty.push(shard.slot(row)),
                    }
                }
                row = end;
                if row == shard.len() as u32 {
                    break;
                }
            }
        }
        (empty, oldest_ms)
    }

    /// Removes those of the series that have no sample, from the shards and from the index.
    fn remove_if_empty(&self, slots: &[Slot], paused: &dyn Fn(&mut dyn FnMut())) -> Retired {
        let mut gone = Vec::with_capacity(slots.len());
        for batch in slots.chunks(SERIES_PER_PAUSE) {
            let mut removed: Vec<(Slot, Series)> = Vec::with_capacity(batch.len());
            paused(&mut || {
                for slots in batch.chunk_by(|&a, &b| split_slot(a).0 == split_slot(b).0) {
                    let mut shard = self.shard(split_slot(slots[0]).0);
                    for &slot in slots {
                        let (_, row) = split_slot(slot);
                        if !shard.row(row).has_samples() {
                            removed.push((slot, shard.remove(row)));
                        }
                    }
                }
            });
            self.counters.series.fetch_sub(removed.len(), Ordering::Relaxed);
            for series in removed.chunks(SERIES_PER_INDEX_LOCK) {
                let leaving = Leaving::new(series.iter().map(|(slot, series)| (*slot, &*series.pairs)));
                self.index_mut().remove_series(&leaving);
            }
            gone.extend(removed.iter().map(|(slot, _)| *slot));
        }
        let pairs = self.index_mut().take_unused();
        // The last step: who enters from now on can't find any of these.
        Retired { epoch: self.readers.epoch(), slots: gone, pairs }
    }

    /// Sets the time of the oldest sample, of which rows were looked at while samples were added. To be called while no
    /// request is admitted.
    fn begin_at(&self, oldest_ms: TimestampMs) {
        let counters = &self.counters;
        let oldest_ms = oldest_ms.min(counters.oldest_added_ms.load(Ordering::Relaxed));
        counters.min_time_ms.store(oldest_ms, Ordering::Relaxed);
        if oldest_ms == TimestampMs::MAX {
            counters.max_time_ms.store(TimestampMs::MIN, Ordering::Relaxed);
            counters.has_samples.store(false, Ordering::Release);
        }
    }

    /// Frees the numbers that no reader knows any more, and the memory behind them.
    fn reclaim(&self, retired: &mut Vec<Retired>) {
        let oldest = self.readers.oldest();
        let (free, kept): (Vec<_>, Vec<_>) = retired.drain(..).partition(|retired| retired.epoch <= oldest);
        *retired = kept;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); SHARDS];
        for slot in free.iter().flat_map(|retired| &retired.slots) {
            let (number, row) = split_slot(*slot);
            rows[number].push(row);
        }
        for (number, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let mut shard = self.shard(number);
            shard.free(rows.into_iter());
            shard.shrink();
        }
        if free.iter().any(|retired| !retired.pairs.is_empty()) {
            for pairs in free.iter().flat_map(|retired| retired.pairs.chunks(SERIES_PER_INDEX_LOCK)) {
                self.index_mut().free_pairs(pairs);
            }
            while self.index_mut().compact_texts(TEXT_PER_INDEX_LOCK) {}
            self.index_mut().shrink();
        }
    }

    /// Removes series that a replay made and that got no sample. Nobody appends yet.
    pub(super) fn remove_all_empty(&self) {
        let mut retired = self.retired();
        let mut empty = Vec::new();
        for number in 0..SHARDS {
            let shard = self.shard(number);
            empty.extend(shard.slots().filter(|(_, series)| !series.has_samples()).map(|(slot, _)| slot));
        }
        if empty.is_empty() {
            return;
        }
        let removed = self.remove_if_empty(&empty, &|remove| remove());
        self.forget_metadata(&removed.pairs);
        retired.push(removed);
        self.reclaim(&mut retired);
        release_freed_memory();
    }

    /// Forgets what is known of families that have no series any more: those whose last series used one of these pairs,
    /// and those that nobody has stated since the last time.
    fn forget_metadata(&self, unused: &[PairId]) {
        let names: Vec<String> = {
            let index = self.index();
            let labels = unused.iter().map(|&pair| index.pair_label(pair));
            labels.filter(|label| label.name == METRIC_NAME).map(|label| label.value.to_owned()).collect()
        };
        let stale = self.metadata().take_stale();
        let families = names.iter().flat_map(|name| super::metadata::families_of(name));
        let is_gone = |family: &&str| {
            let index = self.index();
            super::metadata::names_of(family).all(|name| index.find_pair(METRIC_NAME, &name).is_none())
        };
        let gone: Vec<&str> = families.chain(stale.iter().map(String::as_str)).filter(is_gone).collect();
        self.metadata().forget(gone);
    }
}
