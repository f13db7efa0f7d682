//! The one path of all protocols: a body is decoded into a batch, the batch is appended, and the answer waits for the
//! commit.
//!
//! An acknowledgement, whole or partial, waits for the commit even if nothing was added: a sample that "was there
//! already" may be in a group that is still on its way to the disk.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::answer::Refusal;
use super::metrics::IngestMetrics;
use super::pool::{BufferPool, RequestBuffers, Scratch, empty_vectors};
use super::remote_write::DecodeLimits;
use super::sender::Sender;
use super::turns;
use crate::clock::Clock;
use crate::model::{MetricType, TimestampMs};
use crate::storage::{BatchOutcome, WriteBatch};
use crate::wal::{CommitError, Receipt};
use crate::writers::{Answered, RequestFault, WriterBook};

/// A message of this size is decoded and appended where it does not hold up other connections.
const LARGE_BODY_BYTES: usize = 256 << 10;
/// Messages of that size that are decoded and appended at once: what they unpack to is in memory then.
const LARGE_BODIES_AT_ONCE: usize = 4;

/// Where the samples go.
pub trait WriteStore: Send + Sync {
    /// Resolves once the batch is as durable as the store promises.
    type Commit: Future<Output = Result<Receipt, CommitError>> + Unpin + Send + 'static;

    /// Accepts or refuses each sample of a batch. What it accepts can be read at once, and is durable when the commit
    /// resolves.
    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError>;

    /// Takes what a sender says about its metric families. It is as durable as the batch that is appended next.
    fn record_metadata(&self, _metadata: &[Metadata<'_>]) {}
}

impl<S: WriteStore> WriteStore for Arc<S> {
    type Commit = S::Commit;

    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        (**self).append(batch, now_ms)
    }

    fn record_metadata(&self, metadata: &[Metadata<'_>]) {
        (**self).record_metadata(metadata);
    }
}

/// A batch that is accepted, and not yet durable.
#[derive(Debug)]
pub struct Appended<C> {
    /// What became of each sample.
    pub outcome: BatchOutcome,
    /// When it is durable.
    pub commit: C,
}

/// Bounds on one request.
#[derive(Debug, Clone, Copy)]
pub struct WriteLimits {
    /// Bytes of a body as it is sent.
    pub body_bytes: u64,
    /// Bytes of a body after decompression.
    pub decoded_bytes: u64,
    /// What a message may hold.
    pub message: DecodeLimits,
}

impl Default for WriteLimits {
    fn default() -> Self {
        WriteLimits { body_bytes: 32 << 20, decoded_bytes: 32 << 20, message: DecodeLimits::default() }
    }
}

/// What is made of what senders say beside their samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteFeatures {
    /// Where a counter says that it began, a zero is stored, unless its series has something newer.
    pub start_zeros: bool,
    /// Type and unit of a metric become the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
}

/// What is known about a metric family beside its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata<'a> {
    /// The family's type.
    pub metric_type: MetricType,
    /// The family's name.
    pub family: &'a str,
    /// What it measures, for people.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// What a body held beside what is in the batch.
#[derive(Debug, Clone, Default)]
pub struct Decoded<'a> {
    /// Facts about metric families.
    pub metadata: Vec<Metadata<'a>>,
    /// What was refused before it came into the batch.
    pub refused: BatchOutcome,
    /// What the samples come from, in a protocol that counts that.
    pub points: Points,
}

/// OTLP's data points: one becomes several samples, and its sender is told of points.
#[derive(Debug, Clone, Default)]
pub struct Points {
    /// Points of the request, refused ones among them.
    pub sent: u64,
    /// Points that were refused before they came into the batch.
    pub refused: u64,
    /// The entries of [`WriteBatch::series`] that each point in the batch became: ranges that rise and don't overlap.
    /// Entries that come of no point (`target_info`) are between them.
    pub entries: Vec<Range<u32>>,
}

impl Points {
    /// Points of which nothing, or not all, is stored, when samples of these entries were refused.
    fn refused_with(&self, entries_refused: &[u32]) -> u64 {
        let point_of = |&entry: &u32| {
            let after = self.entries.partition_point(|range| range.start <= entry);
            let point = after.checked_sub(1)?;
            self.entries.get(point).filter(|range| range.contains(&entry)).map(|_| point)
        };
        let mut points: Vec<usize> = entries_refused.iter().filter_map(point_of).collect();
        points.sort_unstable();
        points.dedup();
        self.refused + points.len() as u64
    }
}

/// What became of a request that was understood.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Samples by their fate.
    pub outcome: BatchOutcome,
    /// Exemplars that are not stored.
    pub exemplars_refused: u64,
    /// Data points of which something is not stored; 0 in protocols that have none.
    pub points_refused: u64,
    /// The acknowledgement; `None` where there was nothing to append.
    pub receipt: Option<Receipt>,
}

impl Stored {
    /// Whether a part of the request is not stored.
    pub fn is_partial(&self) -> bool {
        // Not all that is refused is a sample.
        let refused = self.outcome.rejected_total() + self.exemplars_refused + self.points_refused;
        refused > 0 || !self.outcome.rejects.is_empty()
    }
}

/// What the write endpoints need besides a request.
pub struct WriteService<S> {
    /// Where the samples go.
    pub store: S,
    /// Bounds on one request.
    pub limits: WriteLimits,
    /// What is made of what senders say beside their samples.
    pub features: WriteFeatures,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What came and what became of it.
    pub metrics: IngestMetrics,
    /// Who sent what, and what was refused.
    pub writers: Arc<WriterBook>,
    /// Buffers between requests.
    pub pool: BufferPool,
    /// Turns of large messages.
    pub large: Semaphore,
}

impl<S: std::fmt::Debug> std::fmt::Debug for WriteService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let WriteService { store, limits, metrics, .. } = self;
        f.debug_struct("WriteService")
            .field("store", store)
            .field("limits", limits)
            .field("metrics", metrics)
            .finish_non_exhaustive()
    }
}

/// A batch with what became of it.
struct Accepted<C> {
    outcome: BatchOutcome,
    points_refused: u64,
    exemplars: u64,
    commit: Option<C>,
}

impl<S: WriteStore> WriteService<S> {
    /// A service with empty counters.
    pub fn new(store: S, limits: WriteLimits, clock: Arc<dyn Clock>) -> Self {
        WriteService {
            store,
            limits,
            features: WriteFeatures::default(),
            clock,
            metrics: IngestMetrics::default(),
            writers: Arc::new(WriterBook::default()),
            pool: BufferPool::default(),
            large: Semaphore::new(LARGE_BODIES_AT_ONCE),
        }
    }

    /// Stores what `decode` makes of a body of `body_bytes`, and waits until it is durable. Counts the request and its
    /// samples; an error that comes before this is counted with [`WriteService::count_refused`].
    pub async fn store<D>(&self, sender: &Sender, body_bytes: usize, decode: D) -> Result<Stored, Refusal>
    where
        D: for<'a> FnOnce(&'a mut Scratch, &mut WriteBatch<'a>) -> Result<Decoded<'a>, Refusal>,
    {
        let stored = self.store_part(sender, body_bytes, decode).await;
        self.count_request(sender, stored.as_ref().map(Stored::is_partial));
        stored
    }

    /// Counts a request by its end, as the request and its sender's: whether a part of it was refused, or why nothing
    /// of it, or of its rest, is stored.
    pub fn count_request(&self, sender: &Sender, end: Result<bool, &Refusal>) {
        self.metrics.of(sender.protocol).count_request(end);
        let now_ms = self.clock.now_ms();
        match end {
            Ok(is_partial) => {
                self.writers.answered(sender, now_ms, if is_partial { Answered::Refused } else { Answered::Ok });
            }
            Err(refusal) => {
                let fault = RequestFault::of_status(refusal.status.as_u16());
                self.writers.refuse(sender, now_ms, refusal.answered(), fault, &refusal.message);
            }
        }
    }

    /// Counts a request that ended before anything of it was looked at.
    pub fn count_refused(&self, sender: &Sender, refusal: &Refusal) {
        self.count_request(sender, Err(refusal));
    }

    /// Counts what was refused of a request before it came into a batch.
    pub(super) fn count_rejected(&self, sender: &Sender, refused: &BatchOutcome) {
        self.metrics.of(sender.protocol).count_rejected(refused);
        self.writers.accepted(sender, self.clock.now_ms(), refused, |_series| None);
    }

    /// The same for a part of a request that comes in several: counts its samples, and leaves it to the caller to count
    /// the request.
    pub async fn store_part<D>(&self, sender: &Sender, body_bytes: usize, decode: D) -> Result<Stored, Refusal>
    where
        D: for<'a> FnOnce(&'a mut Scratch, &mut WriteBatch<'a>) -> Result<Decoded<'a>, Refusal>,
    {
        let metrics = self.metrics.of(sender.protocol);
        // The semaphore is never closed.
        let turn = if body_bytes >= LARGE_BODY_BYTES { self.large.acquire().await.ok() } else { None };
        let Accepted { outcome, points_refused, exemplars, commit } =
            self.accept_off_the_way(sender, body_bytes, decode)?;
        drop(turn);
        let exemplars_refused = exemplars.saturating_sub(outcome.exemplars);
        let receipt = match commit {
            Some(commit) => Some(turns::finish(commit).await.map_err(|error| Refusal::unavailable(&error))?),
            None => None,
        };
        metrics.count_stored(&outcome);
        self.writers.stored(sender, self.clock.now_ms(), &outcome);
        Ok(Stored { outcome, exemplars_refused, points_refused, receipt })
    }

    /// Runs [`Self::accept`]; large messages run where blocking is allowed, if the runtime has such a place.
    fn accept_off_the_way<D>(
        &self,
        sender: &Sender,
        body_bytes: usize,
        decode: D,
    ) -> Result<Accepted<S::Commit>, Refusal>
    where
        D: for<'a> FnOnce(&'a mut Scratch, &mut WriteBatch<'a>) -> Result<Decoded<'a>, Refusal>,
    {
        use tokio::runtime::{Handle, RuntimeFlavor};
        let can_block = || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
        if body_bytes >= LARGE_BODY_BYTES && can_block() {
            tokio::task::block_in_place(|| self.accept(sender, decode))
        } else {
            self.accept(sender, decode)
        }
    }

    /// Decodes and appends a body. The buffers are free again before the commit is waited for.
    fn accept<D>(&self, sender: &Sender, decode: D) -> Result<Accepted<S::Commit>, Refusal>
    where
        D: for<'a> FnOnce(&'a mut Scratch, &mut WriteBatch<'a>) -> Result<Decoded<'a>, Refusal>,
    {
        let mut buffers = self.pool.take();
        let accepted = self.accept_with(sender, &mut buffers, decode);
        self.pool.put(buffers);
        accepted
    }

    fn accept_with<D>(
        &self,
        sender: &Sender,
        buffers: &mut RequestBuffers,
        decode: D,
    ) -> Result<Accepted<S::Commit>, Refusal>
    where
        D: for<'a> FnOnce(&'a mut Scratch, &mut WriteBatch<'a>) -> Result<Decoded<'a>, Refusal>,
    {
        let mut batch = buffers.take_batch();
        let Decoded { metadata, refused, points } = decode(&mut buffers.scratch, &mut batch)?;
        if !metadata.is_empty() {
            self.store.record_metadata(&metadata);
        }
        let exemplars = batch.exemplars.len() as u64 + refused.exemplars_rejected_total();
        let now_ms = self.clock.now_ms();
        // Metadata alone waits too: what was stated just now is durable when a batch of nothing is.
        let appended = if batch.series.is_empty() && metadata.is_empty() {
            Ok((BatchOutcome::default(), None))
        } else {
            batch.writer = self.writers.number(sender, now_ms);
            let appended = self.store.append(&batch, now_ms);
            appended.map(|Appended { outcome, commit }| (outcome, Some(commit)))
        };
        let accepted = appended.map_err(|error| Refusal::unavailable(&error)).map(|(mut outcome, commit)| {
            let points_refused = points.refused_with(&outcome.entries_refused);
            outcome.add_refused(refused);
            self.metrics.of(sender.protocol).count_rejected(&outcome);
            self.writers
                .accepted(sender, now_ms, &outcome, |series| batch.series.get(series)?.labels.to_label_set().ok());
            Accepted { outcome, points_refused, exemplars, commit }
        });
        let vectors = empty_vectors(batch);
        buffers.put_vectors(vectors);
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_refused_are_counted_once_each_and_entries_of_no_point_not_at_all() {
        let points = Points { sent: 5, refused: 2, entries: vec![0..3, 3..4, 6..7] };
        assert_eq!(points.refused_with(&[]), 2);
        assert_eq!(points.refused_with(&[2, 0, 5, 4, 1]), 3);
        assert_eq!(points.refused_with(&[6, 3, 0, 6, 9]), 5);
    }
}
