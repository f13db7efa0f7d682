//! Bugs on purpose, for the tests that have to catch them.
//!
//! The code asks `planted!(Bug)` where the bug would be. In this crate's unit tests the answer is whether a test has
//! planted just that bug ([`with`], [`once`]); everywhere else it is the constant `false`, of which the compiler leaves
//! nothing. A bug belongs to the thread that planted it and to the threads that this one starts through [`carry`], so
//! that tests which run side by side don't meet each other's.

#[cfg(test)]
pub(crate) use in_tests::{Bug, carry, once, strikes, struck, with};

/// Whether a planted bug strikes here.
#[cfg(test)]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::strikes(crate::planted::Bug::$bug)
    };
}

/// Whether a planted bug strikes here: never.
#[cfg(not(test))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

/// What a thread runs, as it is: bugs are for tests.
#[cfg(not(test))]
pub(crate) fn carry<F>(body: F) -> F {
    body
}

#[cfg(test)]
mod in_tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A bug.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Bug {
        /// A group is acknowledged without an fdatasync of the log.
        LogNotSynced,
        /// A group is acknowledged first, and the log synced then.
        AcknowledgedBeforeSync,
        /// The name of a new segment is not made durable.
        SegmentNameNotSynced,
        /// A checkpoint drops samples that no block has.
        CheckpointDropsSamples,
        /// A checkpoint drops series of which it keeps samples.
        CheckpointDropsSeries,
        /// A checkpoint drops out-of-order samples of groups that were not flushed.
        CheckpointDropsOutOfOrder,
        /// A checkpoint drops deletions of samples that it keeps.
        CheckpointDropsTombstones,
        /// The checkpoint's name is not durable when the segments go.
        CheckpointNameNotSynced,
        /// The log is truncated up to where the head was cut, whether the block was proven or not.
        TruncatedBeforeProof,
        /// What another program took out of the log is not written down.
        TakeOverNotRecorded,
        /// Numbers of requests go on from where the log ends, although its seals are gone.
        NumbersRepeated,
        /// The receipts of the requests that leave the log are not written down.
        ReceiptsNotKept,
        /// A chunk that should be passed on to a block is not.
        ChunkLeftOut,
        /// A series that should be passed on to a block is not.
        SeriesLeftOut,
        /// The lowest bit of a value changes on its way to a block.
        BitFlipped,
        /// Two samples of one time are both kept.
        DuplicateKept,
        /// A sample is left out, and its digest is not counted.
        DigestNotUpdated,
        /// Samples in deleted ranges are kept, and counted as deleted.
        DeletionNotApplied,
        /// The head gives its samples to a block without its deletions.
        DeletionNotFlushed,
        /// A deletion takes a millisecond more than it was asked to.
        DeletionTooFar,
        /// The list of a label's series lacks one.
        PostingMissing,
        /// The accelerator's list of a label's series lacks one.
        AcceleratorPostingMissing,
        /// A chunk of a block is not compared with its checksum.
        ChunkChecksumIgnored,
        /// A block's files are not synced before it gets its name.
        BlockNotSynced,
        /// A block's name is not made durable.
        BlockNameNotSynced,
        /// The ledger says that samples were flushed before their block has its name.
        FlushRecordedTooEarly,
        /// The ledger's entries are not synced.
        LedgerNotSynced,
        /// A word in the ledger that was not acknowledged stays when what it speaks of is removed.
        LedgerNotSettled,
        /// The ledger is told a wrong digest of a compacted block.
        LedgerDigestWrong,
        /// The parents of a compaction are removed before their child has its name.
        ParentsRemovedTooEarly,
        /// The head lets go of a chunk that no block has.
        TruncatedTooFar,
        /// Samples below the time up to which the head is flushed are accepted on.
        FloorNotRaised,
        /// A flush of out-of-order samples counts later groups as flushed.
        GroupFlushedTooEarly,
        /// A replay passes over samples that no block has.
        ReplayedTooLittle,
        /// A replay takes out-of-order samples that blocks have.
        ReplayedTooMuch,
        /// Another value of a time that is there is taken for the same.
        ConflictAccepted,
        /// Age is counted from the newest sample, wherever it comes from.
        ExpiredByTheFuture,
        /// The newest block may expire.
        ExpiredAll,
        /// A snapshot leaves the head out.
        SnapshotWithoutHead,
        /// What leaves the log is counted again when a truncation is ended after a crash.
        TruncationCountedTwice,
        /// A segment is passed over because of its times, although it is newer than the watermark.
        WatermarkGroupIgnored,
        /// The reserve is kept when the disk is full.
        ReserveKept,
        /// An exemplar is stored and not logged.
        ExemplarNotLogged,
        /// What senders stated about metric families is not replayed.
        MetadataNotReplayed,
        /// A checkpoint drops exemplars that are stored.
        CheckpointDropsExemplars,
    }

    /// A bug that is planted, seen by every thread that carries it.
    #[derive(Debug)]
    struct Planted {
        bug: Bug,
        /// How often it may still strike.
        left: AtomicU64,
        strikes: AtomicU64,
    }

    thread_local! {
        static PLANTED: RefCell<Option<Arc<Planted>>> = const { RefCell::new(None) };
    }

    /// Runs `f` with a bug that strikes whenever it can. Says how often it did.
    pub(crate) fn with<T>(bug: Bug, f: impl FnOnce() -> T) -> (T, u64) {
        plant(bug, u64::MAX, f)
    }

    /// Runs `f` with a bug that strikes once. Says whether it did.
    pub(crate) fn once<T>(bug: Bug, f: impl FnOnce() -> T) -> (T, bool) {
        let (result, strikes) = plant(bug, 1, f);
        (result, strikes > 0)
    }

    fn plant<T>(bug: Bug, most: u64, f: impl FnOnce() -> T) -> (T, u64) {
        let planted = Arc::new(Planted { bug, left: AtomicU64::new(most), strikes: AtomicU64::new(0) });
        PLANTED.set(Some(planted.clone()));
        let result = f();
        PLANTED.set(None);
        // Threads that are still there are right from now on.
        planted.left.store(0, Ordering::Relaxed);
        (result, planted.strikes.load(Ordering::Relaxed))
    }

    /// How often the bug that is planted struck until now; `None` where there is none.
    pub(crate) fn struck() -> Option<u64> {
        PLANTED.with_borrow(|planted| planted.as_ref().map(|planted| planted.strikes.load(Ordering::Relaxed)))
    }

    /// Whether the bug strikes now.
    pub(crate) fn strikes(bug: Bug) -> bool {
        PLANTED.with_borrow(|planted| {
            let Some(planted) = planted.as_ref().filter(|planted| planted.bug == bug) else { return false };
            let take = |left: u64| left.checked_sub(1);
            let is_left = planted.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
            planted.strikes.fetch_add(u64::from(is_left), Ordering::Relaxed);
            is_left
        })
    }

    /// What a thread runs, with the bug of the thread that starts it.
    pub(crate) fn carry<T>(body: impl FnOnce() -> T) -> impl FnOnce() -> T {
        let planted = PLANTED.with_borrow(Clone::clone);
        move || {
            PLANTED.set(planted);
            body()
        }
    }
}
