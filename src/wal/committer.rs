//! The writer thread: takes what was accepted, makes it durable as a group, and answers its requests.
//!
//! Acceptance and the cutting of groups exclude each other by the *gate*: a request holds the shared side from before
//! its first sample is accepted until it is registered ([`Admission`]); the writer holds the exclusive side only while
//! it swaps out what was registered. So a group holds whole requests, and all requests that arrive during one fdatasync
//! share the next one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ack::{Ack, CommitFuture, promise};
use super::commit::{CommitError, Durability, GroupRecords, GroupSource, Receipt};
use super::group_writer::{DurableGroup, GroupWriter, Resume, WriterCounters};
use super::options::{WalError, WalOptions};
use super::wbl::{WblStatus, WblWriter};
use crate::clock::Clock;
use crate::fs::{Fs, names};
use crate::model::{Digest, TimestampMs};

/// One registered request.
#[derive(Debug)]
struct Request {
    samples: u64,
    digest: Digest,
    ack: Ack<Receipt>,
}

/// What the writer thread waits for.
#[derive(Debug, Default)]
struct Queue {
    /// Groups that a [`cut`](Committer::cut) ended: they come before what is registered now.
    cut: VecDeque<(Vec<Request>, GroupRecords)>,
    requests: Vec<Request>,
    /// Requests that the writer has taken and not yet made durable, also those that were told that it failed.
    taken: u64,
    /// Who waits for a group that is not yet durable.
    waiters: Vec<(u64, Ack<u64>)>,
    /// The next group begins a segment, and there is one even if nothing is registered.
    roll: bool,
    stop: bool,
}

/// What the writer thread tells about itself.
#[derive(Debug, Default)]
struct Reported {
    counters: WriterCounters,
    next_commit: u64,
    segment: Option<(u32, u64)>,
    last_sync: Option<(TimestampMs, Duration)>,
    last_durable_ms: Option<TimestampMs>,
    failure: Option<String>,
    failures: u64,
    retries: u64,
    uncut_segments: usize,
}

#[derive(Debug, Default)]
struct Shared {
    gate: RwLock<()>,
    queue: Mutex<Queue>,
    wake: Condvar,
    failed: AtomicBool,
    stopping: AtomicBool,
    /// Number of the group that holds what is accepted now. Changes only under the gate's exclusive side.
    forming_group: AtomicU64,
    durable_group: AtomicU64,
    reported: Mutex<Reported>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.cut.is_empty() && self.requests.is_empty() && !self.roll
    }

    /// Requests that are not yet taken.
    fn waiting_requests(&self) -> u64 {
        (self.cut.iter().map(|(requests, _)| requests.len()).sum::<usize>() + self.requests.len()) as u64
    }

    fn pending_requests(&self) -> u64 {
        self.waiting_requests() + self.taken
    }
}

impl Shared {
    fn check(&self) -> Result<(), CommitError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(self.unavailable());
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(CommitError::ShuttingDown);
        }
        Ok(())
    }

    fn unavailable(&self) -> CommitError {
        let reason = lock(&self.reported).failure.clone();
        CommitError::Unavailable { reason: reason.unwrap_or_else(|| "the writer of the log has stopped".into()) }
    }
}

/// The state of the log, for people and probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Segments in the log's directory.
    pub segments: u64,
    /// Bytes of these segments and of checkpoints.
    pub bytes: u64,
    /// The open segment and its length.
    pub open_segment: Option<(u32, u64)>,
    /// The last group that is durable (in the sense of `durability`); 0 where there is none.
    pub last_group: u64,
    /// The last request that was given a number; 0 where there is none.
    pub last_commit: u64,
    /// When a group was last made durable since the start, by the wall clock.
    pub last_durable_ms: Option<TimestampMs>,
    /// When an fdatasync last ended, and how long it took.
    pub last_sync: Option<(TimestampMs, Duration)>,
    /// Requests that are accepted and not yet durable.
    pub pending_requests: u64,
    /// Why the log cannot be written now, or `None` when it can.
    pub failure: Option<String>,
    /// How often the log became unavailable since the start.
    pub failures: u64,
    /// Attempts to write a log that had failed.
    pub retries: u64,
    /// Segments that were given up and still have bytes behind what was acknowledged.
    pub uncut_segments: u64,
    /// The copy of the out-of-order samples for Prometheus.
    pub wbl: WblStatus,
    /// Counts since the start.
    pub counters: WriterCounters,
}

/// Group commit: the gate, the queue and the writer thread.
pub struct Committer {
    shared: Arc<Shared>,
    source: Arc<dyn GroupSource>,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    durability: Durability,
    wbl: Arc<Mutex<WblWriter>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("dir", &self.dir).field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// The permission to accept one request. While it lives no group is cut.
#[derive(Debug)]
#[must_use = "what is accepted under an admission is acknowledged only through `commit`"]
pub struct Admission<'a> {
    shared: &'a Shared,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Admission<'_> {
    /// Registers what the request added, which may be nothing, and gives the promise of its receipt. The records must
    /// be in the [`GroupSource`] already.
    pub fn commit(self, samples: u64, digest: Digest) -> CommitFuture {
        let (ack, future) = promise();
        lock(&self.shared.queue).requests.push(Request { samples, digest, ack });
        drop(self._gate);
        self.shared.wake.notify_one();
        future
    }
}

impl Committer {
    /// Starts the writer thread behind `resume`. Where the first segment cannot be opened, a full disk say, the log
    /// starts as unavailable and opens it later.
    pub fn start(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        resume: Resume,
        options: WalOptions,
        source: Arc<dyn GroupSource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, WalError> {
        let shared = Arc::new(Shared::default());
        shared.forming_group.store(resume.next_group, Ordering::Release);
        shared.durable_group.store(resume.next_group.saturating_sub(1), Ordering::Release);
        let durability = options.durability;
        let wbl_dir = dir.with_file_name(names::WBL_DIR);
        let last_group = resume.next_group.saturating_sub(1);
        let wbl = WblWriter::new(Arc::clone(&fs), wbl_dir, options.clone(), last_group);
        let wbl = Arc::new(Mutex::new(wbl));
        let writer = GroupWriter::new(Arc::clone(&fs), dir.clone(), resume, options.clone(), Arc::clone(&clock));
        let mut thread = WriterThread {
            shared: Arc::clone(&shared),
            writer,
            wbl: Arc::clone(&wbl),
            options,
            source: Arc::clone(&source),
            clock,
            acks: VecDeque::new(),
            idle_sealed: true,
        };
        thread.open();
        let body = move || {
            let shared = Arc::clone(&thread.shared);
            if catch_unwind(AssertUnwindSafe(|| thread.run())).is_err() {
                lock(&shared.reported).failure = Some("the writer thread panicked".into());
                shared.failed.store(true, Ordering::Release);
            }
            shared.stopping.store(true, Ordering::Release);
            // After this no admission succeeds; what is still queued is answered by dropping it.
            drop(shared.gate.write());
            let mut queue = lock(&shared.queue);
            queue.stop = true;
            queue.cut.clear();
            queue.requests.clear();
            queue.waiters.clear();
        };
        let handle = std::thread::Builder::new()
            .name("wal-writer".into())
            .spawn(crate::planted::carry(body))
            .map_err(WalError::io("start the writer thread for", &dir))?;
        Ok(Arc::new(Committer { shared, source, fs, dir, durability, wbl, thread: Mutex::new(Some(handle)) }))
    }

    /// Admits a request. An error at once while the log cannot be written, or when it is shut down.
    pub fn admit(&self) -> Result<Admission<'_>, CommitError> {
        self.shared.check()?;
        let gate = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        // The log may have failed while this waited.
        self.shared.check()?;
        Ok(Admission { shared: &self.shared, _gate: gate })
    }

    /// Runs `f` while no request is admitted: everything accepted before is visible to it, nothing is accepted
    /// meanwhile. What was accepted becomes a group of its own, so that the log up to that group holds what `f` saw and
    /// nothing else. Also gives that group's number, and a promise that is kept when it is durable.
    pub fn cut<R>(&self, f: impl FnOnce() -> R) -> (R, CutPoint) {
        let gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let result = f();
        let (ack, durable) = promise();
        let mut queue = lock(&self.shared.queue);
        if !queue.stop {
            let requests = std::mem::take(&mut queue.requests);
            let records = self.source.take_records();
            if !requests.is_empty() || !records.is_empty() {
                queue.cut.push_back((requests, records));
                self.shared.forming_group.fetch_add(1, Ordering::AcqRel);
            }
        }
        let group = self.shared.forming_group.load(Ordering::Acquire).saturating_sub(1);
        if self.shared.durable_group.load(Ordering::Acquire) >= group {
            ack.complete(Ok(group));
        } else if !queue.stop {
            queue.waiters.push((group, ack));
        }
        drop(queue);
        drop(gate);
        self.shared.wake.notify_one();
        (result, CutPoint { group, durable })
    }

    /// Begins a new segment, so that everything that is durable now lies in segments that are not written any more. The
    /// promise is kept when the new segment has its first group.
    pub fn roll(&self) -> CommitFuture<u64> {
        let gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let (ack, rolled) = promise();
        let mut queue = lock(&self.shared.queue);
        // Dropped, the promise says that the log is not available.
        if !queue.stop {
            queue.roll = true;
            queue.waiters.push((self.shared.forming_group.load(Ordering::Acquire), ack));
        }
        drop(queue);
        drop(gate);
        self.shared.wake.notify_one();
        rolled
    }

    /// The state of the log now. Lists the log's directory.
    pub fn status(&self) -> LogStatus {
        let (segments, bytes) = log_size(&*self.fs, &self.dir);
        let pending_requests = lock(&self.shared.queue).pending_requests();
        let wbl = lock(&self.wbl).status();
        let reported = lock(&self.shared.reported);
        LogStatus {
            durability: self.durability,
            segments,
            bytes,
            open_segment: reported.segment,
            last_group: self.shared.durable_group.load(Ordering::Acquire),
            last_commit: reported.next_commit.saturating_sub(1),
            last_durable_ms: reported.last_durable_ms,
            last_sync: reported.last_sync,
            pending_requests,
            failure: reported.failure.clone(),
            failures: reported.failures,
            retries: reported.retries,
            uncut_segments: reported.uncut_segments as u64,
            wbl,
            counters: reported.counters,
        }
    }

    /// Removes the segments of `wbl/` whose samples are all of groups up to `group`. To be called when a block has these
    /// groups' out-of-order samples.
    pub fn truncate_wbl(&self, group: u64) -> Result<u64, WalError> {
        lock(&self.wbl).truncate(group)
    }

    /// Refuses new requests, makes all accepted ones durable, ends the log with a seal that says so, and waits for the
    /// writer thread. A second call does nothing.
    pub fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        lock(&self.shared.queue).stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic was reported as the log's failure.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Up to where the log holds everything that a [`cut`](Committer::cut) saw.
#[derive(Debug)]
pub struct CutPoint {
    /// The group's number.
    pub group: u64,
    /// Kept when the group is durable, with its number; an error if the log fails before.
    pub durable: CommitFuture<u64>,
}

/// Segments and bytes in the log's directory.
fn log_size(fs: &dyn Fs, dir: &Path) -> (u64, u64) {
    let (mut segments, mut bytes) = (0, 0);
    for entry in fs.list(dir).unwrap_or_default() {
        if entry.is_dir {
            bytes += fs.list(&dir.join(&entry.name)).unwrap_or_default().iter().map(|file| file.bytes).sum::<u64>();
        } else if names::parse_wal_segment(&entry.name).is_some() {
            segments += 1;
            bytes += entry.bytes;
        }
    }
    (segments, bytes)
}

/// Why the writer thread woke up.
#[derive(Debug, PartialEq, Eq)]
enum Wake {
    Requests,
    Idle,
    Sync,
    Retry,
    Stop,
}

/// What was taken for groups.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// Nothing was there, and no group was formed.
    Nothing,
    /// Nothing was there, and an empty group was formed.
    Empty,
    /// Requests or records.
    Some,
}

struct WriterThread {
    shared: Arc<Shared>,
    writer: GroupWriter,
    wbl: Arc<Mutex<WblWriter>>,
    options: WalOptions,
    source: Arc<dyn GroupSource>,
    clock: Arc<dyn Clock>,
    /// Acks of the writer's pending groups, in the same order; empty for groups whose requests were answered.
    acks: VecDeque<Vec<Ack<Receipt>>>,
    /// Whether the newest group is an empty one.
    idle_sealed: bool,
}

impl WriterThread {
    fn open(&mut self) {
        if let Err(error) = self.writer.open() {
            self.fail(&error);
        }
        self.report();
    }

    fn run(&mut self) {
        let mut retry_after = self.options.retry_interval;
        let mut last_sync = self.clock.monotonic();
        loop {
            let failed = self.shared.failed.load(Ordering::Acquire);
            match self.wait(failed.then_some(retry_after), last_sync) {
                Wake::Stop => return self.finish(),
                Wake::Requests if failed => {
                    // Admitted just before the log failed. They are answered now and written when it works again.
                    self.take_group(false, false);
                    self.refuse_waiting();
                }
                Wake::Retry => {
                    lock(&self.shared.reported).retries += 1;
                    if self.write() {
                        retry_after = self.options.retry_interval;
                    } else {
                        retry_after = (retry_after * 2).min(self.options.retry_interval_max);
                    }
                }
                Wake::Requests => {
                    if self.take_group(false, false) != Taken::Nothing {
                        self.idle_sealed = false;
                        self.write();
                    }
                }
                Wake::Idle => {
                    // Something may have arrived: then this is an ordinary group, and wants an empty one behind it.
                    self.idle_sealed = self.take_group(true, false) == Taken::Empty;
                    self.write();
                    self.writer.cut_poisoned();
                }
                Wake::Sync => {
                    last_sync = self.clock.monotonic();
                    if let Err(error) = self.writer.sync_written() {
                        // What was acknowledged since the last sync was promised no more than this. The next group
                        // opens a new segment.
                        tracing::error!(%error, "the write-ahead log could not be synced");
                    }
                    lock(&self.wbl).sync();
                }
            }
            self.report();
        }
    }

    /// Waits for the next thing to do.
    fn wait(&self, retry_after: Option<Duration>, last_sync: Duration) -> Wake {
        let mut queue = lock(&self.shared.queue);
        loop {
            if queue.stop {
                return Wake::Stop;
            }
            let since_sync = self.clock.monotonic().saturating_sub(last_sync);
            let sync_at_intervals = self.options.durability == Durability::Interval && self.writer.is_dirty();
            // Before the requests: they may never cease.
            if sync_at_intervals && since_sync >= self.options.flush_interval && retry_after.is_none() {
                return Wake::Sync;
            }
            if !queue.is_empty() {
                return Wake::Requests;
            }
            let due = match retry_after {
                Some(pause) => Some((pause, Wake::Retry)),
                None if !self.idle_sealed => Some((self.options.idle_seal_after, Wake::Idle)),
                None if sync_at_intervals => Some((self.options.flush_interval.saturating_sub(since_sync), Wake::Sync)),
                None => None,
            };
            let Some((pause, wake)) = due else {
                queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, timeout) = self.shared.wake.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            if timeout.timed_out() && queue.is_empty() && !queue.stop {
                return wake;
            }
        }
    }

    /// Swaps out everything that was accepted and makes a group of it. Without requests and records there is a group
    /// only if `even_empty`.
    fn take_group(&mut self, even_empty: bool, clean_end: bool) -> Taken {
        let gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let (cut, requests, roll) = {
            let mut queue = lock(&self.shared.queue);
            queue.taken += queue.waiting_requests();
            (std::mem::take(&mut queue.cut), std::mem::take(&mut queue.requests), std::mem::take(&mut queue.roll))
        };
        let records = self.source.take_records();
        let last = even_empty || roll || !requests.is_empty() || !records.is_empty();
        if last {
            self.shared.forming_group.fetch_add(1, Ordering::AcqRel);
        }
        drop(gate);
        let taken = match last || !cut.is_empty() {
            false => Taken::Nothing,
            true if cut.is_empty() && requests.is_empty() && records.is_empty() => Taken::Empty,
            true => Taken::Some,
        };
        for (requests, records) in cut {
            self.form_group(requests, records, false);
        }
        if last {
            if roll {
                self.writer.roll_before_next();
            }
            self.form_group(requests, records, clean_end);
        }
        taken
    }

    fn form_group(&mut self, requests: Vec<Request>, records: GroupRecords, clean_end: bool) {
        let (sums, acks): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|request| ((request.samples, request.digest), request.ack)).unzip();
        self.writer.form_group(&sums, records, clean_end);
        self.acks.push_back(acks);
    }

    /// Writes all pending groups and answers their requests, one way or the other. Returns whether it worked.
    fn write(&mut self) -> bool {
        let (durable, result) = if self.writer.pending_groups() == 0 {
            (Vec::new(), self.writer.open())
        } else {
            self.writer.write_pending()
        };
        {
            // Before the requests are answered, and whether it works or not: the log has it all.
            let mut wbl = lock(&self.wbl);
            for group in &durable {
                wbl.add_group(group.group, &group.records.records);
            }
            wbl.write();
        }
        // Before the requests are answered: who has a receipt finds it in the status.
        self.report();
        for group in durable {
            self.acknowledge(group);
        }
        if planted!(AcknowledgedBeforeSync) {
            // Who was told finds out that it was too early when this fails.
            drop(self.writer.sync_written());
        }
        if let Err(error) = result {
            self.fail(&error);
            return false;
        }
        if self.shared.failed.load(Ordering::Acquire) {
            tracing::info!("the write-ahead log can be written again");
            lock(&self.shared.reported).failure = None;
            self.shared.failed.store(false, Ordering::Release);
        }
        true
    }

    fn acknowledge(&mut self, group: DurableGroup) {
        let mut records = group.records;
        if let Some(on_durable) = records.on_durable.take() {
            on_durable();
        }
        lock(&self.shared.reported).last_durable_ms = Some(self.clock.now_ms());
        // Before the requests are answered: who has a receipt does not wait any more.
        lock(&self.shared.queue).taken -= group.receipts.len() as u64;
        for (ack, receipt) in self.acks.pop_front().unwrap_or_default().into_iter().zip(group.receipts) {
            ack.complete(Ok(receipt));
        }
        let mut queue = lock(&self.shared.queue);
        self.shared.durable_group.store(group.group, Ordering::Release);
        queue.waiters.retain(|(wanted, ack)| {
            let wait_on = *wanted > group.group;
            if !wait_on {
                ack.complete(Ok(*wanted));
            }
            wait_on
        });
        drop(queue);
        self.source.recycle(records.records);
    }

    /// Shuts acceptance, and refuses everything that waits. The pending groups stay.
    fn fail(&mut self, error: &WalError) {
        let reason = error.to_string();
        let mut reported = lock(&self.shared.reported);
        if reported.failure.as_deref() != Some(&reason) {
            tracing::error!(%error, "the write-ahead log cannot be written; writes are refused until it can");
        }
        let newly = reported.failure.replace(reason).is_none();
        reported.failures += u64::from(newly);
        drop(reported);
        self.shared.failed.store(true, Ordering::Release);
        if newly {
            // Whoever was admitted before the flag was set is through the gate after this.
            self.take_group(false, false);
        }
        self.refuse_waiting();
    }

    fn refuse_waiting(&mut self) {
        let unavailable = self.shared.unavailable();
        for ack in self.acks.iter_mut().flat_map(|acks| acks.drain(..)) {
            ack.complete(Err(unavailable.clone()));
        }
        for (_, ack) in lock(&self.shared.queue).waiters.drain(..) {
            ack.complete(Err(unavailable.clone()));
        }
    }

    /// Makes everything accepted durable, whatever the mode, and seals the end.
    fn finish(&mut self) {
        self.take_group(true, true);
        if self.write()
            && let Err(error) = self.writer.sync_written()
        {
            tracing::error!(%error, "the end of the write-ahead log could not be synced");
        }
        lock(&self.wbl).sync();
        self.report();
    }

    fn report(&self) {
        let mut reported = lock(&self.shared.reported);
        reported.counters = self.writer.counters();
        reported.next_commit = self.writer.next_commit();
        reported.segment = self.writer.segment();
        reported.last_sync = self.writer.last_sync();
        reported.uncut_segments = self.writer.uncut_segments();
    }
}
