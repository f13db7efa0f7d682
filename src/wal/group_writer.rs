//! Writes sealed groups, and keeps the promise of durability when the disk fails.
//!
//! This is the state machine below the writer thread; it has no thread and no clock of its own, so that a test drives
//! it step by step over a simulated disk.
//!
//! A failed write or sync is never tried again on the same file, and the file is never read to find out what arrived:
//! after a failed sync the kernel may have dropped the pages while it still shows them. The segment is given up (cut to
//! what was acknowledged, so that Prometheus can replay it), the next one is opened and made durable with its
//! directory, and every group that was not acknowledged is written again from memory, under its own number.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::commit::{Durability, GroupRecords, Receipt};
use super::format::RECORD_BYTES_MAX;
use super::options::{WalError, WalOptions};
use super::seal::{GroupHasher, Mark, Seal, SealedRequest};
use super::writer::{RecordCompressor, SegmentWriter};
use crate::clock::Clock;
use crate::fs::{Fs, names};
use crate::model::Digest;

/// Where the log goes on: what recovery found, or the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Number of the next group. The first is 1.
    pub next_group: u64,
    /// Chain value of the last seal; 0 before the first.
    pub chain: u128,
    /// Number of the next request. The first is 1.
    pub next_commit: u64,
    /// Number of the next segment.
    pub next_segment: u32,
}

impl Default for Resume {
    fn default() -> Self {
        Resume { next_group: 1, chain: 0, next_commit: 1, next_segment: 0 }
    }
}

/// Counts of what the writer did since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterCounters {
    /// Groups made durable, empty ones included.
    pub groups: u64,
    /// Requests in these groups.
    pub requests: u64,
    /// Samples that these requests added.
    pub samples: u64,
    /// Records in these groups, seals not counted.
    pub records: u64,
    /// Bytes of these records before compression.
    pub record_bytes: u64,
    /// Bytes written to segments, with pages, seals and what was written again.
    pub segment_bytes: u64,
    /// Segments opened.
    pub segments_opened: u64,
    /// Calls of fdatasync that succeeded.
    pub syncs: u64,
    /// Calls of fdatasync on segments, or of fsync on the directory, that failed.
    pub sync_failures: u64,
    /// Writes, creations and truncations that failed.
    pub write_failures: u64,
    /// Segments given up after a failure.
    pub segments_poisoned: u64,
    /// Groups written again after a failure.
    pub groups_rewritten: u64,
    /// How long all fdatasyncs took together.
    pub sync_time: Duration,
}

/// A group that is formed and sealed, and not yet acknowledged.
#[derive(Debug)]
struct PendingGroup {
    seal: Seal,
    seal_record: Vec<u8>,
    records: GroupRecords,
    /// How often it was handed to a segment.
    attempts: u32,
}

/// A group that is as durable as the options ask for.
#[derive(Debug)]
pub struct DurableGroup {
    /// Its number.
    pub group: u64,
    /// The receipts of its requests, in the order in which they were given to [`GroupWriter::form_group`].
    pub receipts: Vec<Receipt>,
    /// Its records, for the buffers, and what is to be done now.
    pub records: GroupRecords,
}

/// A segment that was given up, and still has bytes behind what was acknowledged.
#[derive(Debug)]
struct PoisonedSegment {
    segment: SegmentWriter,
    acknowledged_len: u64,
}

/// The open segment.
#[derive(Debug)]
struct OpenSegment {
    segment: SegmentWriter,
    /// Length up to the end of the last acknowledged group; the segment's mark before the first.
    acknowledged_len: u64,
    /// Whether bytes were written since the last sync.
    dirty: bool,
    holds_groups: bool,
}

/// Writes groups into segments.
pub struct GroupWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WalOptions,
    clock: Arc<dyn Clock>,
    compressor: RecordCompressor,
    /// Whether the log's directory is known to be in its parent.
    dir_is_durable: bool,
    open: Option<OpenSegment>,
    poisoned: Vec<PoisonedSegment>,
    /// A segment that could not be opened, and could not be removed.
    leftover: Option<u32>,
    pending: VecDeque<PendingGroup>,
    /// What the next seal follows.
    next_group: u64,
    chain: u128,
    next_commit: u64,
    next_segment: u32,
    /// The group that begins a segment, whether it would fit into the open one or not.
    rolls_before: Option<u64>,
    /// The last group that is durable, and its chain value.
    durable: (u64, u128),
    counters: WriterCounters,
    last_sync: Option<(i64, Duration)>,
}

impl std::fmt::Debug for GroupWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupWriter(next group {}, {} pending)", self.next_group, self.pending.len())
    }
}

impl GroupWriter {
    /// A writer that goes on behind `resume`. It touches the disk only when it is asked to write.
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf, resume: Resume, options: WalOptions, clock: Arc<dyn Clock>) -> Self {
        GroupWriter {
            fs,
            dir,
            compressor: RecordCompressor::new(options.compression),
            options,
            clock,
            dir_is_durable: false,
            open: None,
            poisoned: Vec::new(),
            leftover: None,
            pending: VecDeque::new(),
            next_group: resume.next_group,
            chain: resume.chain,
            next_commit: resume.next_commit,
            next_segment: resume.next_segment,
            rolls_before: None,
            durable: (resume.next_group.saturating_sub(1), resume.chain),
            counters: WriterCounters::default(),
            last_sync: None,
        }
    }

    /// Forms the next group of requests and records, numbers its requests and seals it. It is pending until
    /// [`write_pending`](Self::write_pending) has written it. Returns its number.
    pub fn form_group(&mut self, requests: &[(u64, Digest)], mut records: GroupRecords, clean_end: bool) -> u64 {
        records.records.retain(|record| !record.is_empty());
        let mut hasher = GroupHasher::default();
        for record in &records.records {
            debug_assert!(record.len() <= RECORD_BYTES_MAX);
            hasher.push(record);
        }
        let mut sealed = Vec::with_capacity(requests.len());
        for &(samples, digest) in requests {
            sealed.push(SealedRequest { commit: self.next_commit, samples, digest });
            self.next_commit += 1;
        }
        let mut seal = Seal {
            group: self.next_group,
            sealed_ms: self.clock.now_ms(),
            durability: self.options.durability,
            clean_end,
            records: hasher.records(),
            records_hash: hasher.hash(),
            samples: sealed.iter().fold(0, |sum, request| sum.wrapping_add(request.samples)),
            digest: sealed.iter().map(|request| request.digest).sum(),
            next_commit: self.next_commit,
            requests: sealed,
            previous_chain: self.chain,
            chain: 0,
        };
        let mut seal_record = Vec::new();
        seal.encode(&mut seal_record);
        self.chain = seal.chain;
        self.next_group += 1;
        let group = seal.group;
        self.pending.push_back(PendingGroup { seal, seal_record, records, attempts: 0 });
        group
    }

    /// Lets the group that is formed next begin a segment.
    pub fn roll_before_next(&mut self) {
        self.rolls_before = Some(self.next_group);
    }

    /// Opens the first segment, so that what stands in the way shows before the first request.
    pub fn open(&mut self) -> Result<(), WalError> {
        if self.open.is_none() { self.open_segment() } else { Ok(()) }
    }

    /// Writes all pending groups, and makes them as durable as the options ask for. After a failure it tries once more
    /// in a new segment; if that fails too, the rest stays pending, and the next call tries again. Gives the groups
    /// that are durable now, and the error that stopped it.
    pub fn write_pending(&mut self) -> (Vec<DurableGroup>, Result<(), WalError>) {
        let mut durable = Vec::with_capacity(self.pending.len());
        let mut result = Ok(());
        if self.open.is_some() {
            result = self.write_groups(&mut durable);
        }
        // An error has poisoned the segment and was counted; what matters now is whether a new one works.
        if self.open.is_none() && !self.pending.is_empty() {
            result = self.open_segment().and_then(|()| self.write_groups(&mut durable));
        }
        (durable, result)
    }

    /// Writes pending groups one by one: a group is written only after the one before it is durable, so that each seal
    /// is a witness of all groups before it.
    fn write_groups(&mut self, durable: &mut Vec<DurableGroup>) -> Result<(), WalError> {
        while !self.pending.is_empty() {
            self.rotate_if_full()?;
            if let Err(error) = self.write_first_group() {
                self.poison();
                return Err(error);
            }
            durable.extend(self.take_first_group());
        }
        Ok(())
    }

    /// Ends the open segment where the next group might not fit into it, and opens the next one.
    fn rotate_if_full(&mut self) -> Result<(), WalError> {
        let (Some(open), Some(group)) = (&mut self.open, self.pending.front()) else {
            return Ok(());
        };
        let bytes = group.seal_record.len() + group.records.records.iter().map(Vec::len).sum::<usize>();
        let rolls = self.rolls_before.take_if(|number| *number <= group.seal.group).is_some();
        let fits = open.segment.position() + bytes as u64 <= self.options.segment_bytes;
        if !open.holds_groups || (fits && !rolls) {
            return Ok(());
        }
        let started = self.clock.monotonic();
        if let Err(error) = open.segment.complete() {
            self.count_failure(&error);
            self.poison();
            return Err(error);
        }
        self.count_sync(started);
        self.open = None;
        self.open_segment()
    }

    fn write_first_group(&mut self) -> Result<(), WalError> {
        let (Some(open), Some(group)) = (&mut self.open, self.pending.front_mut()) else {
            return Ok(());
        };
        group.attempts += 1;
        open.dirty = true;
        let segment = &mut open.segment;
        let before = segment.position();
        let mut write = || {
            for record in &group.records.records {
                segment.append(record, &mut self.compressor)?;
            }
            segment.append(&group.seal_record, &mut self.compressor)?;
            segment.flush()
        };
        if let Err(error) = write() {
            self.count_failure(&error);
            return Err(error);
        }
        self.counters.segment_bytes += open.segment.position() - before;
        let is_late = planted!(AcknowledgedBeforeSync);
        if self.options.durability == Durability::Fsync && !is_late && !planted!(LogNotSynced) {
            self.sync()?;
        }
        if let Some(open) = &mut self.open {
            open.acknowledged_len = open.segment.position();
            open.holds_groups = true;
        }
        Ok(())
    }

    /// Syncs what was written and not yet synced. After an error the segment is given up.
    pub fn sync_written(&mut self) -> Result<(), WalError> {
        if !self.open.as_ref().is_some_and(|open| open.dirty) {
            return Ok(());
        }
        let result = self.sync();
        if result.is_err() {
            self.poison();
        }
        result
    }

    /// Whether something was written and not yet synced.
    pub fn is_dirty(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.dirty)
    }

    fn sync(&mut self) -> Result<(), WalError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let started = self.clock.monotonic();
        match open.segment.sync() {
            Ok(()) => {
                open.dirty = false;
                self.count_sync(started);
                Ok(())
            }
            Err(error) => {
                self.counters.sync_failures += 1;
                Err(error)
            }
        }
    }

    fn count_sync(&mut self, started: Duration) {
        let took = self.clock.monotonic().saturating_sub(started);
        self.counters.syncs += 1;
        self.counters.sync_time += took;
        self.last_sync = Some((self.clock.now_ms(), took));
    }

    fn count_failure(&mut self, error: &WalError) {
        match error {
            WalError::Io { action: "fdatasync", .. } => self.counters.sync_failures += 1,
            _ => self.counters.write_failures += 1,
        }
    }

    /// Gives the open segment up.
    fn poison(&mut self) {
        if let Some(open) = self.open.take() {
            self.counters.segments_poisoned += 1;
            self.poisoned.push(PoisonedSegment { segment: open.segment, acknowledged_len: open.acknowledged_len });
            self.cut_poisoned();
        }
    }

    /// Tries to cut what segments that were given up hold behind their last acknowledged group. Replay copes with what
    /// cannot be cut, Prometheus does not.
    pub fn cut_poisoned(&mut self) {
        let mut failures = 0;
        self.poisoned.retain_mut(|poisoned| {
            let failed = poisoned.segment.cut(poisoned.acknowledged_len).is_err();
            failures += u64::from(failed);
            failed
        });
        self.counters.write_failures += failures;
    }

    /// Creates the next segment and writes its mark; the file and its name are durable before this returns.
    fn open_segment(&mut self) -> Result<(), WalError> {
        self.cut_poisoned();
        if !self.dir_is_durable {
            // Even where it exists: whoever made it may not have come to the sync.
            self.fs.create_dir_all(&self.dir).map_err(WalError::io("create", &self.dir))?;
            if let Some(parent) = self.dir.parent() {
                self.fs.sync_dir(parent).map_err(WalError::io("fsync", parent))?;
            }
            self.dir_is_durable = true;
        }
        let number = self.next_segment;
        let Some(following) = number.checked_add(1) else {
            return Err(WalError::SegmentsExhausted { segment: number });
        };
        let path = names::wal_segment(&self.dir, number);
        if self.leftover == Some(number) {
            // Of our own failed attempt: it holds a mark at most. Gaps between the numbers would stop Prometheus.
            if self.fs.exists(&path) {
                self.fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
            }
            self.leftover = None;
        }
        let opened = self.create_marked(number);
        match opened {
            Ok(segment) => {
                let acknowledged_len = segment.position();
                self.counters.segments_opened += 1;
                self.counters.segment_bytes += acknowledged_len;
                self.next_segment = following;
                self.open = Some(OpenSegment { segment, acknowledged_len, dirty: false, holds_groups: false });
                Ok(())
            }
            Err((error, created)) => {
                self.count_failure(&error);
                if created && self.fs.remove_file(&path).is_err() {
                    self.leftover = Some(number);
                }
                Err(error)
            }
        }
    }

    /// The error says whether the file was created.
    fn create_marked(&mut self, number: u32) -> Result<SegmentWriter, (WalError, bool)> {
        let path = names::wal_segment(&self.dir, number);
        let existed = self.fs.exists(&path);
        // A full disk can fail a creation after the name was made.
        let mut segment = SegmentWriter::create(&*self.fs, &self.dir, number)
            .map_err(|error| (error, !existed && self.fs.exists(&path)))?;
        let (group, chain) = self.durable;
        let mut mark = Vec::new();
        let durability = self.options.durability;
        Mark { group, next_commit: self.next_commit, durability, chain }.encode(&mut mark);
        let started = self.clock.monotonic();
        segment
            .append(&mark, &mut self.compressor)
            .and_then(|()| segment.flush())
            .and_then(|()| segment.sync())
            .and_then(|()| match planted!(SegmentNameNotSynced) {
                false => self.fs.sync_dir(&self.dir).map_err(WalError::io("fsync", &self.dir)),
                true => Ok(()),
            })
            .map_err(|error| (error, true))?;
        self.count_sync(started);
        Ok(segment)
    }

    fn take_first_group(&mut self) -> Option<DurableGroup> {
        let PendingGroup { seal, records, attempts, .. } = self.pending.pop_front()?;
        self.durable = (seal.group, seal.chain);
        let counters = &mut self.counters;
        counters.groups += 1;
        counters.requests += seal.requests.len() as u64;
        counters.samples += seal.samples;
        counters.records += u64::from(seal.records);
        counters.record_bytes += records.records.iter().map(|record| record.len() as u64).sum::<u64>();
        counters.groups_rewritten += u64::from(attempts > 1);
        let durability = self.options.durability;
        let receipt = |&SealedRequest { commit, samples, digest }| Receipt { commit, samples, digest, durability };
        Some(DurableGroup { group: seal.group, receipts: seal.requests.iter().map(receipt).collect(), records })
    }

    /// Number of the group that is formed next.
    pub fn next_group(&self) -> u64 {
        self.next_group
    }

    /// Number of the next request.
    pub fn next_commit(&self) -> u64 {
        self.next_commit
    }

    /// The last durable group and its chain value.
    pub fn durable(&self) -> (u64, u128) {
        self.durable
    }

    /// Groups that are formed and not yet durable.
    pub fn pending_groups(&self) -> usize {
        self.pending.len()
    }

    /// The open segment's number and length.
    pub fn segment(&self) -> Option<(u32, u64)> {
        self.open.as_ref().map(|open| (open.segment.number(), open.segment.position()))
    }

    /// Segments that were given up and could not be cut yet.
    pub fn uncut_segments(&self) -> usize {
        self.poisoned.len()
    }

    /// Counts since the start.
    pub fn counters(&self) -> WriterCounters {
        self.counters
    }

    /// When the last fdatasync ended, by the wall clock, and how long it took.
    pub fn last_sync(&self) -> Option<(i64, Duration)> {
        self.last_sync
    }
}
