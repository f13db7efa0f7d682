//! A start, in stages: what needs little comes first, so that a full disk can recover and queries are answered early.
//!
//! 1. The lock; left-overs of blocks that were being made or removed; the ledger.
//! 2. The blocks. One that cannot be read is set aside and named; it keeps nothing from starting. Blocks that a newer one
//!    was made of go.
//! 3. Retention, before anything needs space.
//! 4. Blocks answer queries, with a warning that tells how far the replay is.
//! 5. Replay of what the log has and no block does; the head answers too; writes are taken.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use super::merge::Part;
use super::options::{DbOptions, OpenError, io_error};
use super::quarantine::lost_alarm;
use super::slot::{EarlyStatus, ReplayWatch};
use super::store::BlockStore;
use super::view::{DbQueryable, View, ViewCell, ViewSource};
use super::{Db, Everything, Schedule, adopt, lock};
use crate::block::Block;
use crate::clock::Clock;
use crate::fs::{DirLock, Fs, access, names};
use crate::head::{Head, LoadReport, ReplayReport};
use crate::ledger::{Entry, Event, LedgerError, LedgerState};
use crate::model::{TimeRange, TimestampMs};
use crate::storage::{Queryable, StorageError};
use crate::wal::{
    Committer, LeftBefore, LogKnown, RecordPosition, RecordType, Recovery, ReplayProgress, ReplaySink, Resume,
    WalError, record, recover_from, scan,
};

impl Db {
    /// Opens a data directory and takes its lock. `watch` shows meanwhile how far that is, and gives the blocks to
    /// queries before the log is replayed.
    pub fn open(
        options: DbOptions,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        watch: &ReplayWatch,
    ) -> Result<Db, OpenError> {
        let dir = &options.data_dir;
        for unusable in access::check_data_dir(dir)?.apart {
            tracing::error!(%unusable, "a part of the data directory cannot be used, the rest is served");
        }
        fs.create_dir_durably(dir).map_err(io_error("create directory", dir))?;
        let lock = take_lock(&options.data_dir)?;
        Db::open_locked(options, fs, clock, watch, Some(lock))
    }

    /// As [`open`](Self::open), for directories that no other process can have: those of a simulated disk.
    pub fn open_unlocked(
        options: DbOptions,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        watch: &ReplayWatch,
    ) -> Result<Db, OpenError> {
        let dir = &options.data_dir;
        fs.create_dir_durably(dir).map_err(io_error("create directory", dir))?;
        Db::open_locked(options, fs, clock, watch, None)
    }

    fn open_locked(
        options: DbOptions,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        watch: &ReplayWatch,
        dir_lock: Option<DirLock>,
    ) -> Result<Db, OpenError> {
        let dir = &options.data_dir;
        let store = BlockStore::open(&options, fs.clone(), clock.clone())?;
        store.remove_superseded();
        if let Err(error) = store.expire(None) {
            // On a disk that is out of order, say. Retention runs again every minute.
            tracing::error!(%error, "retention failed at the start");
        }
        let was_here = fs.exists(&dir.join(names::RESERVE_FILE));
        store.ensure_reserve();
        watch.tell(store.early_status());
        let view = store.blocks.view().clone();
        let progress = watch.progress().clone();
        watch.offer(Arc::new(DbQueryable(BlocksOnly { view: view.clone(), progress })));

        let wal_dir = dir.join(names::WAL_DIR);
        create_dir(&*fs, &wal_dir)?;
        fs.sync_dir(dir).map_err(io_error("sync directory", dir))?;
        let began = clock.monotonic();
        let chunks_dir = dir.join(names::CHUNKS_HEAD_DIR);
        let quarantine_dir = dir.join(names::QUARANTINE_DIR);
        let (floor_ms, left) = {
            let ledger = store.ledger();
            let state = (!ledger.entries().is_empty()).then(|| ledger.state());
            (floor(&*fs, state, &store.blocks.list(), &wal_dir)?, left_before(ledger.state(), ledger.entries()))
        };
        let open_head = |may_skip: bool| -> Result<OpenHead, OpenError> {
            let (head, loaded) = Head::open(options.head.clone(), fs.clone(), &chunks_dir, &quarantine_dir)
                .map_err(io_error("open head chunks in", &chunks_dir))?;
            head.raise_floor(floor_ms);
            head.read_from(floor_ms);
            head.raise_out_of_order_floor(store.ledger().state().flushed_out_of_order_group.unwrap_or(0));
            let from = may_skip.then(|| head.replay_from(loaded.watermark.as_ref()));
            let known = LogKnown { from, left: Some(left) };
            let (mode, progress) = (options.recovery, watch.progress());
            let mut replay = head.replay(0).map_err(io_error("start the replay of", &wal_dir))?;
            let recovery = recover_from(&*fs, &wal_dir, &quarantine_dir, mode, known, &mut replay, progress)?;
            replay.skip_refs_to(recovery.log.newest_ref_skipped);
            Ok(OpenHead { head, loaded, recovery, replayed: replay.finish()? })
        };
        let mut opened = open_head(true)?;
        let (before_files, misplaced) = (opened.replayed.samples_before_files, opened.replayed.chunks_misplaced);
        if before_files > 0 || opened.loaded.lacks_chunks {
            drop(opened);
            let moved = Head::set_chunks_aside(&*fs, &chunks_dir, &quarantine_dir)
                .map_err(io_error("move head chunk files out of", &chunks_dir))?;
            tracing::warn!(
                samples = before_files,
                files = moved.len(),
                "head chunk files or parts of them are missing; the others are in quarantine, and the whole log is read"
            );
            opened = open_head(false)?;
            opened.loaded.damage.get_or_insert_with(|| "head chunk files or parts of them are missing".to_owned());
            opened.loaded.quarantined.extend(moved);
        } else if misplaced > 0 && opened.recovery.log.segments_skipped > 0 {
            tracing::warn!(
                misplaced,
                "head chunk files hold chunks that do not fit their series, the whole log is read"
            );
            drop(opened);
            opened = open_head(false)?;
        }
        let OpenHead { head, loaded, mut recovery, replayed } = opened;
        store.look_at_log_losses(&recovery, &replayed);
        continue_numbers(&mut recovery.resume, store.ledger().state());
        store.look_at_take_over(&mut recovery, floor_ms, was_here);
        // Blocks that somebody puts here from now on say nothing about what this log holds.
        if let Err(error) = store.begin_ledger(floor_ms) {
            tracing::warn!(%error, "the ledger cannot be begun; it is tried again");
        }
        let head = Arc::new(head);
        let replay_time = clock.monotonic().saturating_sub(began);
        let committer =
            Committer::start(fs.clone(), wal_dir, recovery.resume, options.wal.clone(), head.clone(), clock.clone())?;
        let wbl = adopt::adopt_wbl(&*fs, &head, &committer, &dir.join(names::WBL_DIR), &quarantine_dir);
        let queryable: Arc<dyn Queryable> = Arc::new(DbQueryable(Everything { head: head.clone(), view }));
        Ok(Db {
            schedule: Arc::new(Schedule::new(clock.clone())),
            flushed_up_to: Mutex::new(floor_ms),
            truncated_to: Mutex::new(floor_ms),
            out_of_order_to_drop: Mutex::default(),
            late_waiting: Mutex::default(),
            checkpointed: Mutex::default(),
            watermark: Mutex::new(loaded.watermark),
            options,
            fs,
            clock,
            head,
            committer,
            recovery,
            loaded,
            replayed,
            replay_time,
            wbl,
            store,
            head_work: Mutex::default(),
            block_work: Mutex::default(),
            maintenance: OnceLock::new(),
            queryable,
            _lock: dir_lock,
        })
    }
}

/// Numbers of groups and requests that are passed over where nothing tells how many were given: more than anybody sends
/// within years.
const NUMBERS_SKIPPED: u64 = 1 << 40;

/// Lets groups and requests have later numbers than those that left the log. Another program that wrote the log may have
/// removed all seals; and an out-of-order sample of a group whose number was flushed before counts as flushed.
fn continue_numbers(resume: &mut Resume, ledger: &LedgerState) {
    let left = &ledger.left_log;
    let last_group = last_group_left(ledger);
    if last_group >= resume.next_group {
        (resume.next_group, resume.chain) = (last_group.saturating_add(1), left.chain);
    }
    resume.next_commit = resume.next_commit.max(left.next_commit);
    // Segments have to follow each other without a gap; where none is left they go on behind those that the ledger knows.
    if resume.next_segment == 0 {
        resume.next_segment = left.up_to_segment.map_or(0, |number| number.saturating_add(1));
    }
}

/// What left the log.
pub(super) fn left_before(ledger: &LedgerState, entries: &[Entry]) -> LeftBefore {
    let checkpoint = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Truncated { up_to_segment, .. } => Some(Some(*up_to_segment)),
        Event::TakenOver { .. } => Some(None),
        _ => None,
    });
    let up_to_segment = ledger.left_log.up_to_segment;
    LeftBefore { up_to_segment, checkpoint: checkpoint.flatten(), last_group: last_group_left(ledger) }
}

/// The last group that the ledger knows of.
fn last_group_left(ledger: &LedgerState) -> u64 {
    ledger.left_log.last_group.max(ledger.flushed_out_of_order_group.unwrap_or(0))
}

impl BlockStore {
    /// Takes note of what another program took out of the log since the ledger last spoke of it. Where it took all seals,
    /// nobody knows how far the numbers had come, and they go on far behind that. `was_here`: a file says that this
    /// program ran here before.
    fn look_at_take_over(&self, recovery: &mut Recovery, floor_ms: TimestampMs, was_here: bool) {
        let (known, first_commit, has_ledger) = {
            let ledger = self.ledger();
            let left = &ledger.state().left_log;
            (left.up_to_segment, left.next_commit, !ledger.entries().is_empty())
        };
        let log = &recovery.log;
        let Some(up_to_segment) = log.foreign_checkpoint.filter(|&number| known < Some(number)) else { return };
        let resume = &mut recovery.resume;
        if log.groups.is_none() && !planted!(NumbersRepeated) {
            resume.next_commit = resume.next_commit.saturating_add(NUMBERS_SKIPPED);
            resume.next_group = resume.next_group.saturating_add(NUMBERS_SKIPPED);
        }
        let is_ours = was_here || has_ledger || log.groups.is_some();
        let first_group = log.groups.map_or(resume.next_group, |(first, _)| first);
        let next_commit = log.first_commit.unwrap_or(resume.next_commit);
        let taken_over = Event::TakenOver {
            up_to_segment,
            last_group: first_group.saturating_sub(1),
            first_commit: if is_ours { first_commit } else { next_commit },
            next_commit,
        };
        if is_ours {
            tracing::warn!(up_to_segment, "another program has truncated the log; the seals of what left it are gone");
        }
        *lock(&self.taken_over) = Some(taken_over).filter(|_| !planted!(TakeOverNotRecorded));
        if let Err(error) = self.record_take_over(floor_ms) {
            tracing::warn!(%error, "what another program took out of the log is not in the ledger yet");
        }
    }

    /// Records what another program took out of the log, if that is not recorded yet. To be called before a truncation
    /// of ours: its checkpoint replaces the one that tells.
    pub(super) fn record_take_over(&self, floor_ms: TimestampMs) -> Result<(), LedgerError> {
        let mut taken_over = lock(&self.taken_over);
        if let Some(event) = taken_over.as_ref() {
            self.begin_ledger(floor_ms)?;
            self.record(std::slice::from_ref(event))?;
            *taken_over = None;
        }
        Ok(())
    }

    fn early_status(&self) -> EarlyStatus {
        let (blocks, lost) = (self.blocks.list(), self.blocks.lost());
        self.set_alarm("lost", lost_alarm(&lost));
        let alarms = self.notes().alarms.iter().map(|(about, text)| (*about, text.clone())).collect();
        let block_bytes = blocks.iter().map(|block| block.bytes()).sum();
        EarlyStatus { blocks: blocks.len(), block_bytes, lost, damaged: self.damaged_blocks().len(), alarms }
    }
}

/// The time up to which blocks have all in-order samples: what the ledger says was flushed. In a directory without a
/// ledger, one that Prometheus wrote, it is where the blocks end; a block from the future must not make it later than the
/// newest sample of the log.
pub(super) fn floor(
    fs: &dyn Fs,
    ledger: Option<&LedgerState>,
    blocks: &[Arc<Block>],
    wal_dir: &Path,
) -> Result<TimestampMs, OpenError> {
    if let Some(state) = ledger {
        return Ok(state.flushed_up_to_ms.unwrap_or(TimestampMs::MIN));
    }
    let in_order = blocks.iter().filter(|block| !block.meta().is_from_out_of_order());
    let Some(end_ms) = in_order.map(|block| block.meta().max_time_ms).max() else { return Ok(TimestampMs::MIN) };
    let mut newest = NewestSample(None);
    scan(fs, wal_dir, &mut newest, &ReplayProgress::default())?;
    Ok(newest.0.map_or(TimestampMs::MIN, |newest_ms| end_ms.min(newest_ms.saturating_add(1))))
}

/// A head with what the chunk files and the log hold.
struct OpenHead {
    head: Head,
    loaded: LoadReport,
    recovery: Recovery,
    replayed: ReplayReport,
}

/// Looks for the newest in-order sample of a log.
struct NewestSample(Option<TimestampMs>);

impl ReplaySink for NewestSample {
    fn record(&mut self, _position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (kind, body) = record::split(&record);
        // What cannot be read is told by the replay.
        let newest = match kind {
            Some(RecordType::Samples) => record::samples(body).flatten().map(|sample| sample.timestamp_ms).max(),
            None => None,
            Some(kind) if kind.is_out_of_order() => None,
            Some(kind) => {
                record::values(kind, body).and_then(|values| values.flatten().map(|sample| sample.timestamp_ms).max())
            }
        };
        self.0 = self.0.max(newest);
        Ok(())
    }
}

/// The blocks alone, while the log is replayed.
struct BlocksOnly {
    view: Arc<ViewCell>,
    progress: Arc<ReplayProgress>,
}

impl ViewSource for BlocksOnly {
    fn head_part(&self, _range: TimeRange) -> Result<Option<Part>, StorageError> {
        Ok(None)
    }

    fn view(&self) -> Arc<View> {
        self.view.load()
    }

    fn notes(&self, _range: TimeRange) -> Vec<String> {
        use std::sync::atomic::Ordering::Relaxed;
        let (done, total) = (self.progress.bytes_done.load(Relaxed), self.progress.bytes_total.load(Relaxed));
        let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(0);
        vec![format!("the log is being replayed, {percent} % of it is done: samples that no block has yet are missing")]
    }
}

fn create_dir(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    fs.create_dir_all(dir).map_err(io_error("create directory", dir))
}

fn take_lock(dir: &Path) -> Result<DirLock, OpenError> {
    let path = dir.join(names::LOCK_FILE);
    match DirLock::acquire(&path).map_err(io_error("lock", &path))? {
        Some(lock) => Ok(lock),
        None => Err(OpenError::InUse { dir: dir.to_owned(), lock: path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_groups_and_requests_go_on_where_another_program_has_removed_all_seals() {
        let mut ledger = LedgerState::default();
        (ledger.left_log.last_group, ledger.left_log.next_commit, ledger.left_log.chain) = (40, 90, 7);
        let mut resume = Resume { next_segment: 5, ..Resume::default() };
        continue_numbers(&mut resume, &ledger);
        assert_eq!(resume, Resume { next_group: 41, chain: 7, next_commit: 90, next_segment: 5 });
        // Late samples of later groups were flushed, whose seals are gone as well.
        ledger.flushed_out_of_order_group = Some(60);
        continue_numbers(&mut resume, &ledger);
        assert_eq!((resume.next_group, resume.next_commit), (61, 90));
        let later = Resume { next_group: 100, chain: 9, next_commit: 200, next_segment: 5 };
        resume = later;
        continue_numbers(&mut resume, &ledger);
        assert_eq!(resume, later);
    }
}
