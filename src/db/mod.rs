//! The database: one data directory, its lock, its log and its head, opened, written, asked and closed as one.
//!
//! A write goes through [`Db::append`]: it is admitted by the log, accepted by the head, and registered with the log,
//! which acknowledges it when the group that holds it is durable. Nothing else writes to the head.

mod adopt;
pub mod maintenance;
mod merge;
mod quarantine;
mod reserve;
pub mod retention;
mod slot;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use adopt::WblAdoption;
pub use slot::{DbSlot, ReplaySegments, ReplayWatch};

use crate::clock::Clock;
use crate::fs::{DirLock, Fs, names};
use crate::head::{Head, HeadOptions, LoadReport, ReplayReport};
use crate::model::TimestampMs;
use crate::storage::{BatchOutcome, Queryable, WriteBatch};
use crate::wal::{
    CommitError, CommitFuture, Committer, CutPoint, LogStatus, Recovery, RecoveryMode, WalError, WalOptions, recover,
};

/// How a data directory is opened.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// How the log is written.
    pub wal: WalOptions,
    /// What recovery does about damage.
    pub recovery: RecoveryMode,
    /// Bounds and shape of the head.
    pub head: HeadOptions,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another process has the directory open.
    #[error(
        "data directory {} is in use: another process holds {}, most likely another `chronolith serve` or a Prometheus \
         on the same directory; stop it, or choose another data_dir", dir.display(), lock.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// The log could not be recovered or opened.
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
}

/// An open data directory.
pub struct Db {
    options: DbOptions,
    head: Arc<Head>,
    committer: Arc<Committer>,
    recovery: Recovery,
    loaded: LoadReport,
    replayed: ReplayReport,
    replay_time: Duration,
    wbl: WblAdoption,
    /// Declared last: the lock is let go when all else is closed.
    _lock: DirLock,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Db {
    /// Takes the lock, replays the log into a new head, and starts the log's writer. `watch` shows meanwhile how far
    /// the replay is.
    pub fn open(
        options: DbOptions,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        watch: &ReplayWatch,
    ) -> Result<Db, OpenError> {
        let dir = &options.data_dir;
        create_dir_durably(&*fs, dir)?;
        let lock = take_lock(dir)?;
        let wal_dir = dir.join(names::WAL_DIR);
        create_dir(&*fs, &wal_dir)?;
        fs.sync_dir(dir).map_err(io_error("sync directory", dir))?;

        let began = clock.monotonic();
        let chunks_dir = dir.join(names::CHUNKS_HEAD_DIR);
        let quarantine_dir = dir.join(names::QUARANTINE_DIR);
        let (head, loaded) = Head::open(options.head.clone(), fs.clone(), &chunks_dir, &quarantine_dir)
            .map_err(io_error("open head chunks in", &chunks_dir))?;
        let head = Arc::new(head);
        let mut replay = head.replay(0).map_err(io_error("start the replay of", &wal_dir))?;
        let recovery = recover(&*fs, &wal_dir, &quarantine_dir, options.recovery, &mut replay, watch.progress())?;
        let replayed = replay.finish()?;
        let replay_time = clock.monotonic().saturating_sub(began);
        let wbl_dir = dir.join(names::WBL_DIR);
        let committer =
            Committer::start(fs.clone(), wal_dir, recovery.resume, options.wal.clone(), head.clone(), clock)?;
        let wbl = adopt::adopt_wbl(&*fs, &head, &committer, &wbl_dir, &quarantine_dir);
        Ok(Db { options, head, committer, recovery, loaded, replayed, replay_time, wbl, _lock: lock })
    }

    /// Accepts or refuses each sample of a batch. What it accepts can be read at once, and is durable when the future
    /// resolves.
    pub fn append(
        &self,
        batch: &WriteBatch<'_>,
        now_ms: TimestampMs,
    ) -> Result<(BatchOutcome, CommitFuture), CommitError> {
        let admission = self.committer.admit()?;
        let outcome = self.head.append(batch, now_ms);
        let future = admission.commit(outcome.added, outcome.digest);
        Ok((outcome, future))
    }

    /// Everything that can be asked for series.
    pub fn queryable(&self) -> Arc<dyn Queryable> {
        self.head.clone()
    }

    /// The head itself.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// The state of the log.
    pub fn log_status(&self) -> LogStatus {
        self.committer.status()
    }

    /// Runs `f` while nothing is accepted, and tells up to which group the log holds what it saw.
    pub fn cut<R>(&self, f: impl FnOnce() -> R) -> (R, CutPoint) {
        self.committer.cut(f)
    }

    /// What the start found in the log, and did about it.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What the start found in the head chunk files.
    pub fn loaded(&self) -> &LoadReport {
        &self.loaded
    }

    /// What the start took from the log into the head.
    pub fn replayed(&self) -> &ReplayReport {
        &self.replayed
    }

    /// What the start found in `wbl/`, and did about it.
    pub fn wbl(&self) -> &WblAdoption {
        &self.wbl
    }

    /// How long the start took to replay the log.
    pub fn replay_time(&self) -> Duration {
        self.replay_time
    }

    /// How the directory was opened.
    pub fn options(&self) -> &DbOptions {
        &self.options
    }

    /// Refuses writes from now on and makes all accepted ones durable. Reads go on.
    pub fn close(&self) {
        self.committer.shutdown();
    }
}

fn create_dir(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    fs.create_dir_all(dir).map_err(io_error("create directory", dir))
}

/// Creates a directory such that a power cut does not take it away, with all that it will hold.
fn create_dir_durably(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !fs.exists(dir);
    let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
    create_dir(fs, dir)?;
    for created in missing {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs.sync_dir(parent).map_err(io_error("sync directory", parent))?;
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<DirLock, OpenError> {
    let path = dir.join(names::LOCK_FILE);
    match DirLock::acquire(&path).map_err(io_error("lock", &path))? {
        Some(lock) => Ok(lock),
        None => Err(OpenError::InUse { dir: dir.to_owned(), lock: path }),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}
