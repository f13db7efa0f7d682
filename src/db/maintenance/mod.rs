//! Everything that the database does by itself, as one visible component: what runs, when it ran, when it runs next, and
//! what went wrong.
//!
//! A task never ends the process and never ends itself: a failure is kept and tried again, later each time up to a bound;
//! a panic counts as a failure. A task that is overdue, runs far longer than usual, or keeps failing raises an alarm, so
//! that a flush that does not happen is seen before its consequences are. Nobody has to ask: a thread that does nothing else
//! tells the log of alarms that begin, last and end.
//!
//! Tasks stand in lanes. Those of a lane run one after the other, each lane on a thread of its own: a long compaction
//! holds up no flush, and a scrub holds up neither.
//!
//! [`Schedule`] is a state machine over a [`Clock`](crate::clock::Clock) that tests drive step by step; [`Maintenance`]
//! adds the threads, which only wait and call it.

mod schedule;
mod threads;

use std::time::Duration;

pub use schedule::Schedule;
pub use threads::Maintenance;

use crate::model::TimestampMs;

/// Something that the database does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Removes blocks that have had their time.
    Retention,
    /// Takes in blocks that appeared on disk, and lets go of those that vanished.
    Reload,
    /// Writes the head's oldest range as a block.
    Flush,
    /// Writes the head's out-of-order samples as blocks.
    FlushOutOfOrder,
    /// Drops from head and log what proven blocks hold.
    Truncate,
    /// Notes what a start need not read of the log.
    Watermark,
    /// Merges blocks into larger ones.
    Compact,
    /// Builds accelerators that are missing or damaged.
    Accelerate,
    /// Reads all blocks, slowly, and looks for damage.
    Scrub,
    /// Proves the log, and blocks against it.
    Verify,
}

/// Tasks that run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// From the head to blocks, and what becomes free thereby.
    Head,
    /// Blocks among themselves.
    Blocks,
    /// Checks, which change nothing.
    Checks,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 3] = [Lane::Head, Lane::Blocks, Lane::Checks];

    /// The lane in names of threads.
    fn as_str(self) -> &'static str {
        match self {
            Lane::Head => "head",
            Lane::Blocks => "blocks",
            Lane::Checks => "checks",
        }
    }
}

impl Task {
    /// Every task. Those of a lane that are due together run in this order: retention before compaction.
    pub const ALL: [Task; 10] = [
        Task::Retention,
        Task::Reload,
        Task::Flush,
        Task::FlushOutOfOrder,
        Task::Truncate,
        Task::Watermark,
        Task::Compact,
        Task::Accelerate,
        Task::Scrub,
        Task::Verify,
    ];

    /// The task in reports, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Retention => "retention",
            Task::Reload => "reload",
            Task::Flush => "flush",
            Task::FlushOutOfOrder => "out_of_order_flush",
            Task::Truncate => "truncate",
            Task::Watermark => "watermark",
            Task::Compact => "compact",
            Task::Accelerate => "accelerate",
            Task::Scrub => "scrub",
            Task::Verify => "verify",
        }
    }

    /// Where it runs.
    pub fn lane(self) -> Lane {
        match self {
            Task::Flush | Task::FlushOutOfOrder | Task::Truncate | Task::Watermark => Lane::Head,
            Task::Retention | Task::Reload | Task::Compact | Task::Accelerate => Lane::Blocks,
            Task::Scrub | Task::Verify => Lane::Checks,
        }
    }

    /// How often it looks whether there is something to do.
    pub fn interval(self) -> Duration {
        let seconds = match self {
            Task::Flush | Task::FlushOutOfOrder => 10,
            Task::Truncate | Task::Reload | Task::Compact | Task::Accelerate | Task::Retention => 60,
            Task::Watermark => 120,
            Task::Scrub => 600,
            Task::Verify => 6 * 3600,
        };
        Duration::from_secs(seconds)
    }

    /// A run that takes longer than this, and much longer than usual, is an alarm.
    fn long_run(self) -> Duration {
        match self.lane() {
            Lane::Head => Duration::from_secs(15 * 60),
            Lane::Blocks => Duration::from_secs(3600),
            Lane::Checks => Duration::from_secs(24 * 3600),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// What was done, in words.
    Done(String),
    /// What was done, in words, and there is more to do at once.
    More(String),
}

/// Why a run failed, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TaskError(pub String);

/// Who can do the tasks: the database.
pub trait TaskHost: Send + Sync {
    /// Does what there is to do, or finds that there is nothing.
    fn run(&self, task: Task) -> Result<Outcome, TaskError>;

    /// What does not go on as it should, by what it is about: tasks, and what they should have prevented.
    fn alarms(&self) -> Vec<(&'static str, String)>;
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStatus {
    /// The task.
    pub task: Task,
    /// When it last began, by the wall clock.
    pub last_run_ms: Option<TimestampMs>,
    /// When it last ended without a failure, by the wall clock.
    pub last_success_ms: Option<TimestampMs>,
    /// How long the last run took.
    pub last_duration: Option<Duration>,
    /// What the last run that did something did, in words, and when it ended.
    pub last_work: Option<(TimestampMs, String)>,
    /// When it runs next, by the wall clock; in the past where it is waiting for its turn.
    pub next_run_ms: TimestampMs,
    /// For how long it has been running, where it runs.
    pub running_for: Option<Duration>,
    /// Why the last run failed; `None` where it did not.
    pub last_error: Option<String>,
    /// Runs that failed since the last one that did not.
    pub consecutive_failures: u32,
    /// Runs since the start.
    pub runs: u64,
    /// Runs that failed since the start, panics included.
    pub failures: u64,
    /// Runs that ended in a panic since the start.
    pub panics: u64,
    /// What a person should look at.
    pub alarm: Option<String>,
}

/// How all tasks stand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MaintenanceStatus {
    /// The tasks, in the order of [`Task::ALL`].
    pub tasks: Vec<TaskStatus>,
}

impl MaintenanceStatus {
    /// The alarms of all tasks, with the tasks' names.
    pub fn alarms(&self) -> impl Iterator<Item = (Task, &str)> {
        self.tasks.iter().filter_map(|status| Some((status.task, status.alarm.as_deref()?)))
    }
}
