//! When each task runs, and what came of it: a state machine that somebody else's clock drives.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Lane, MaintenanceStatus, Outcome, Task, TaskError, TaskHost, TaskStatus};
use crate::clock::Clock;
use crate::model::TimestampMs;

/// Pause after the first failure; it doubles with each further one.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Longest pause after failures, for tasks that run more often than this when all is well.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// A task that waits for its turn for longer than this is an alarm.
const OVERDUE_AFTER: Duration = Duration::from_secs(5 * 60);
/// A run is long where it takes this many times as long as the longest before it.
const LONG_RUN_FACTOR: u32 = 10;
/// Failures in a row that are an alarm.
const FAILURES_ALARMING: u32 = 3;
/// Longest wait of a task that goes slowly on purpose.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// An alarm that lasts is told again this long after the last time.
const ALARM_REPEATED_AFTER: Duration = Duration::from_secs(10 * 60);
/// Turns of a lane whose tasks leave work, before its thread looks at what else there is.
const TURNS_MAX: u32 = 100;

#[derive(Debug, Clone)]
struct TaskState {
    next_run: Duration,
    running_since: Option<Duration>,
    /// Runs that are under way: maintenance and a person may want the same.
    running: u32,
    last_run_ms: Option<TimestampMs>,
    last_success_ms: Option<TimestampMs>,
    last_duration: Option<Duration>,
    longest: Duration,
    last_work: Option<(TimestampMs, String)>,
    last_error: Option<String>,
    consecutive_failures: u32,
    runs: u64,
    failures: u64,
    panics: u64,
    /// The run was asked for by a person, and is not yet begun.
    is_triggered: bool,
}

/// The tasks and their state.
pub struct Schedule {
    clock: Arc<dyn Clock>,
    tasks: Mutex<Vec<(Task, TaskState)>>,
    /// The alarms that the log was told of, and when.
    told: Mutex<BTreeMap<&'static str, Duration>>,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule").finish_non_exhaustive()
    }
}

impl Schedule {
    /// A schedule in which each task is due one interval from now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.monotonic();
        let state = |task: Task| TaskState {
            next_run: now + task.interval(),
            running_since: None,
            running: 0,
            last_run_ms: None,
            last_success_ms: None,
            last_duration: None,
            longest: Duration::ZERO,
            last_work: None,
            last_error: None,
            consecutive_failures: 0,
            runs: 0,
            failures: 0,
            panics: 0,
            is_triggered: false,
        };
        let tasks = Mutex::new(Task::ALL.iter().map(|&task| (task, state(task))).collect());
        Schedule { tasks, clock, told: Mutex::default(), stopping: Mutex::new(false), stopped: Condvar::new() }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<(Task, TaskState)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, task: Task, change: impl FnOnce(&mut TaskState) -> R) -> Option<R> {
        self.tasks().iter_mut().find(|(known, _)| *known == task).map(|(_, state)| change(state))
    }

    /// Makes a task due now.
    pub fn trigger(&self, task: Task) {
        let now = self.clock.monotonic();
        self.with(task, |state| {
            state.next_run = state.next_run.min(now);
            state.is_triggered = true;
        });
    }

    /// Runs the tasks of a lane that are due, and tells how long there is nothing more to do.
    pub fn run_due(&self, lane: Lane, host: &dyn TaskHost) -> Duration {
        // In turns: a task that always leaves work holds up the others of its lane for one run.
        for _turn in 0..TURNS_MAX {
            let mut any = false;
            for task in Task::ALL.into_iter().filter(|task| task.lane() == lane) {
                if self.is_due(task) {
                    // The outcome is in the status.
                    let _kept = self.run(task, || host.run(task));
                    any = true;
                }
            }
            if !any {
                break;
            }
        }
        let now = self.clock.monotonic();
        let tasks = self.tasks();
        let next = tasks.iter().filter(|(task, _)| task.lane() == lane).map(|(_, state)| state.next_run).min();
        next.map_or(Duration::MAX, |next| next.saturating_sub(now))
    }

    /// Runs every task of every lane that is due, one lane after the other.
    pub fn run_all_due(&self, host: &dyn TaskHost) {
        for lane in Lane::ALL {
            self.run_due(lane, host);
        }
    }

    fn is_due(&self, task: Task) -> bool {
        let now = self.clock.monotonic();
        self.with(task, |state| state.next_run <= now).unwrap_or(false)
    }

    /// Runs a task now, whoever asks, and keeps what came of it. A panic is a failure.
    pub fn run(&self, task: Task, body: impl FnOnce() -> Result<Outcome, TaskError>) -> Result<Outcome, TaskError> {
        let (began, began_ms) = (self.clock.monotonic(), self.clock.now_ms());
        self.with(task, |state| {
            state.running += 1;
            state.running_since.get_or_insert(began);
            state.last_run_ms = Some(began_ms);
            state.is_triggered = false;
        });
        let (result, panicked) = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => (result, false),
            Err(cause) => (Err(TaskError(format!("panicked: {}", panic_text(&*cause)))), true),
        };
        let (now, now_ms) = (self.clock.monotonic(), self.clock.now_ms());
        let duration = now.saturating_sub(began);
        let failures = self.with(task, |state| {
            state.running = state.running.saturating_sub(1);
            if state.running == 0 {
                state.running_since = None;
            }
            state.last_duration = Some(duration);
            state.runs += 1;
            match &result {
                Ok(outcome) => {
                    state.longest = state.longest.max(duration);
                    state.last_success_ms = Some(now_ms);
                    state.last_error = None;
                    state.consecutive_failures = 0;
                    state.next_run = now + task.interval();
                    if let Outcome::Done(what) | Outcome::More(what) = outcome {
                        state.last_work = Some((now_ms, what.clone()));
                    }
                    // Work that is left, or was asked for meanwhile, is done at once.
                    if matches!(outcome, Outcome::More(_)) || state.is_triggered {
                        state.next_run = now;
                    }
                }
                Err(error) => {
                    state.last_error = Some(error.0.clone());
                    state.failures += 1;
                    state.panics += u64::from(panicked);
                    state.consecutive_failures = state.consecutive_failures.saturating_add(1);
                    state.next_run = now + retry_after(task, state.consecutive_failures);
                }
            }
            state.consecutive_failures
        });
        match &result {
            Ok(Outcome::Nothing) => {}
            Ok(Outcome::Done(what) | Outcome::More(what)) => {
                tracing::info!(task = task.as_str(), elapsed = ?duration, what, "maintenance");
            }
            Err(error) => {
                let failures = failures.unwrap_or(0);
                tracing::error!(task = task.as_str(), %error, failures, "maintenance failed, it is tried again");
            }
        }
        result
    }

    /// Tells the log of alarms that began, still last after a while, or ended.
    pub fn watch(&self, host: &dyn TaskHost) {
        let now = self.clock.monotonic();
        let alarms = host.alarms();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (about, alarm) in &alarms {
            let before = told.get(about);
            if before.is_none_or(|&at| now.saturating_sub(at) >= ALARM_REPEATED_AFTER) {
                tracing::error!(about, alarm, "maintenance needs attention");
                told.insert(about, now);
            }
        }
        told.retain(|about, _| {
            let lasts = alarms.iter().any(|(alarming, _)| alarming == about);
            if !lasts {
                tracing::info!(about, "maintenance is well again");
            }
            lasts
        });
    }

    /// Tells tasks that run for long to come to an end.
    pub fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    /// Whether tasks that run for long should come to an end.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a task that goes slowly on purpose wait, a second at most, or until it should come to an end.
    pub fn pause(&self, duration: Duration) {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = duration.min(PAUSE_MAX);
        drop(self.stopped.wait_timeout_while(stopping, timeout, |stopping| !*stopping));
    }

    /// How all tasks stand now.
    pub fn status(&self) -> MaintenanceStatus {
        let (now, now_ms) = (self.clock.monotonic(), self.clock.now_ms());
        let tasks = self.tasks();
        let working: Vec<Lane> =
            tasks.iter().filter(|(task, state)| state.runs_well(*task, now)).map(|(task, _)| task.lane()).collect();
        let status =
            |(task, state): &(Task, TaskState)| state.status(*task, (now, now_ms), working.contains(&task.lane()));
        MaintenanceStatus { tasks: tasks.iter().map(status).collect() }
    }
}

impl TaskState {
    /// Whether it runs, and not for longer than it may.
    fn runs_well(&self, task: Task, now: Duration) -> bool {
        self.running_since.is_some() && self.alarm(task, now, true).is_none()
    }

    fn status(&self, task: Task, (now, now_ms): (Duration, TimestampMs), lane_works: bool) -> TaskStatus {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let next_run_ms = match self.next_run.checked_sub(now) {
            Some(later) => now_ms.saturating_add(ms(later)),
            None => now_ms.saturating_sub(ms(now.saturating_sub(self.next_run))),
        };
        TaskStatus {
            task,
            last_run_ms: self.last_run_ms,
            last_success_ms: self.last_success_ms,
            last_duration: self.last_duration,
            last_work: self.last_work.clone(),
            next_run_ms,
            running_for: self.running_since.map(|since| now.saturating_sub(since)),
            last_error: self.last_error.clone(),
            consecutive_failures: self.consecutive_failures,
            runs: self.runs,
            failures: self.failures,
            panics: self.panics,
            alarm: self.alarm(task, now, lane_works),
        }
    }

    /// `lane_works`: one of its lane runs well, and those that are due wait for it.
    fn alarm(&self, task: Task, now: Duration, lane_works: bool) -> Option<String> {
        if let Some(since) = self.running_since {
            let running = now.saturating_sub(since);
            let usual = (self.longest * LONG_RUN_FACTOR).max(task.long_run());
            return (running > usual).then(|| {
                format!("has been running for {} s; the longest run before took {:?}", running.as_secs(), self.longest)
            });
        }
        let overdue = now.saturating_sub(self.next_run);
        if overdue > OVERDUE_AFTER && !lane_works {
            return Some(format!("is due for {} s and does not run", overdue.as_secs()));
        }
        let error = self.last_error.as_deref().filter(|_| self.consecutive_failures >= FAILURES_ALARMING)?;
        Some(format!("failed {} times in a row: {error}", self.consecutive_failures))
    }
}

fn retry_after(task: Task, failures: u32) -> Duration {
    let doubled = RETRY_AFTER.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(RETRY_AFTER_MAX.max(task.interval()))
}

/// What a panic said. A message with values in it is a `String`, one without is a `&str`.
fn panic_text(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::clock::ManualClock;

    type Answer = Box<dyn FnMut() -> Result<Outcome, TaskError> + Send>;

    /// Runs what the test says, in the order of the runs of each task, and notes all runs.
    #[derive(Default)]
    struct Host {
        runs: Mutex<Vec<Task>>,
        answers: Mutex<VecDeque<(Task, Answer)>>,
        alarms: Mutex<Vec<(&'static str, String)>>,
    }

    impl Host {
        fn answer(&self, task: Task, answer: impl FnMut() -> Result<Outcome, TaskError> + Send + 'static) {
            self.answers.lock().unwrap().push_back((task, Box::new(answer)));
        }

        fn runs_of(&self, task: Task) -> usize {
            self.runs.lock().unwrap().iter().filter(|run| **run == task).count()
        }
    }

    impl TaskHost for Host {
        fn run(&self, task: Task) -> Result<Outcome, TaskError> {
            self.runs.lock().unwrap().push(task);
            let mut answers = self.answers.lock().unwrap();
            let answer = answers.iter().position(|(of, _)| *of == task).and_then(|at| answers.remove(at));
            drop(answers);
            answer.map_or(Ok(Outcome::Nothing), |(_, mut answer)| answer())
        }

        fn alarms(&self) -> Vec<(&'static str, String)> {
            self.alarms.lock().unwrap().clone()
        }
    }

    fn setup() -> (Arc<ManualClock>, Schedule, Host) {
        let clock = Arc::new(ManualClock::at(1_000_000));
        (clock.clone(), Schedule::new(clock), Host::default())
    }

    fn status(schedule: &Schedule, task: Task) -> TaskStatus {
        schedule.status().tasks.into_iter().find(|status| status.task == task).unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn task_runs_at_its_interval_and_the_next_run_is_told() {
        let (clock, schedule, host) = setup();
        assert_eq!(schedule.run_due(Lane::Head, &host), Task::Flush.interval());
        assert_eq!(host.runs_of(Task::Flush), 0);
        clock.advance(Task::Flush.interval());
        assert_eq!(schedule.run_due(Lane::Head, &host), Task::Flush.interval());
        assert_eq!((host.runs_of(Task::Flush), host.runs_of(Task::Compact)), (1, 0));
        let status = status(&schedule, Task::Flush);
        assert_eq!((status.runs, status.last_run_ms, status.next_run_ms), (1, Some(1_010_000), 1_020_000));
        assert_eq!((status.last_success_ms, status.last_work), (Some(1_010_000), None));
    }

    #[test]
    fn tasks_that_are_due_together_run_in_their_order_retention_before_compaction() {
        let (clock, schedule, host) = setup();
        clock.advance(Task::ALL.iter().map(|task| task.interval()).max().unwrap());
        schedule.run_all_due(&host);
        let runs = host.runs.lock().unwrap().clone();
        let place = |task| runs.iter().position(|run| *run == task).unwrap();
        assert!(place(Task::Retention) < place(Task::Compact) && place(Task::Flush) < place(Task::Truncate));
        assert_eq!(runs.len(), Task::ALL.len());
    }

    #[test]
    fn task_that_leaves_work_runs_again_at_once_and_says_what_it_did() {
        let (_clock, schedule, host) = setup();
        host.answer(Task::Compact, || Ok(Outcome::More("merged 3".into())));
        host.answer(Task::Compact, || Ok(Outcome::Done("merged 2".into())));
        schedule.trigger(Task::Compact);
        schedule.run_due(Lane::Blocks, &host);
        assert_eq!(host.runs_of(Task::Compact), 2);
        assert_eq!(status(&schedule, Task::Compact).last_work, Some((1_000_000, "merged 2".into())));
    }

    #[test]
    fn task_that_always_leaves_work_holds_up_the_others_of_its_lane_for_one_run() {
        let (clock, schedule, host) = setup();
        for _ in 0..20 {
            let moved = clock.clone();
            host.answer(Task::Scrub, move || {
                moved.advance(60 * SECOND);
                Ok(Outcome::More("a block".into()))
            });
        }
        clock.advance(Task::Scrub.interval().max(Task::Verify.interval()));
        schedule.run_due(Lane::Checks, &host);
        let runs = host.runs.lock().unwrap().clone();
        assert_eq!(runs.iter().position(|run| *run == Task::Verify), Some(1), "{runs:?}");
        assert_eq!(host.runs_of(Task::Scrub), 21);
    }

    #[test]
    fn failure_is_tried_again_later_each_time_up_to_a_bound_and_forgotten_after_success() {
        let (clock, schedule, host) = setup();
        schedule.trigger(Task::Flush);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            host.answer(Task::Flush, || Err(TaskError("no space".into())));
            let before = host.runs_of(Task::Flush);
            schedule.run_due(Lane::Head, &host);
            assert_eq!(host.runs_of(Task::Flush), before + 1);
            let next_ms = status(&schedule, Task::Flush).next_run_ms;
            pauses.push((next_ms - clock.now_ms()) / 1000);
            clock.advance(Duration::from_millis((next_ms - clock.now_ms()) as u64));
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        let failing = status(&schedule, Task::Flush);
        assert_eq!((failing.consecutive_failures, failing.last_error.as_deref()), (8, Some("no space")));
        assert_eq!(failing.alarm.as_deref(), Some("failed 8 times in a row: no space"));
        schedule.run_due(Lane::Head, &host);
        let good = status(&schedule, Task::Flush);
        assert_eq!((good.consecutive_failures, good.last_error, good.alarm), (0, None, None));
        assert_eq!((good.runs, good.failures), (9, 8));
    }

    #[test]
    fn panic_is_a_failure_that_is_reported_and_the_task_runs_again() {
        let (clock, schedule, host) = setup();
        host.answer(Task::Compact, || panic!("row {} is bad", std::hint::black_box(7)));
        schedule.trigger(Task::Compact);
        schedule.run_due(Lane::Blocks, &host);
        let panicked = status(&schedule, Task::Compact);
        assert_eq!((panicked.panics, panicked.running_for), (1, None));
        assert_eq!(panicked.last_error.as_deref(), Some("panicked: row 7 is bad"));
        clock.advance(2 * SECOND);
        schedule.run_due(Lane::Blocks, &host);
        assert_eq!(host.runs_of(Task::Compact), 2);
        assert_eq!(status(&schedule, Task::Compact).last_error, None);
    }

    #[test]
    fn task_that_is_due_and_does_not_run_raises_an_alarm() {
        let (clock, schedule, host) = setup();
        clock.advance(Task::Flush.interval() + OVERDUE_AFTER);
        assert_eq!(status(&schedule, Task::Flush).alarm, None);
        clock.advance(SECOND);
        assert_eq!(status(&schedule, Task::Flush).alarm.as_deref(), Some("is due for 301 s and does not run"));
        assert!(schedule.status().alarms().any(|(task, _)| task == Task::Flush));
        schedule.run_due(Lane::Head, &host);
        assert_eq!(status(&schedule, Task::Flush).alarm, None);
    }

    #[test]
    fn task_that_waits_for_a_long_run_of_its_lane_raises_no_alarm_but_one_behind_a_run_that_hangs_does() {
        let (clock, schedule, host) = setup();
        let schedule = Arc::new(schedule);
        let (inner, moved) = (schedule.clone(), clock.clone());
        host.answer(Task::Compact, move || {
            let alarms = || inner.status().alarms().map(|(task, _)| task).collect::<Vec<_>>();
            let of_lane = |lane: Lane| alarms().into_iter().filter(|task| task.lane() == lane).collect::<Vec<_>>();
            moved.advance(Task::Compact.long_run());
            assert_eq!(of_lane(Lane::Blocks), []);
            assert!(of_lane(Lane::Head).contains(&Task::Flush), "another lane is not excused");
            moved.advance(SECOND);
            assert!(of_lane(Lane::Blocks).contains(&Task::Retention) && of_lane(Lane::Blocks).contains(&Task::Compact));
            Ok(Outcome::Nothing)
        });
        schedule.trigger(Task::Compact);
        schedule.run_due(Lane::Blocks, &host);
        assert_eq!(host.runs_of(Task::Compact), 1);
        assert_eq!(status(&schedule, Task::Compact).last_error, None, "what the run found is right");
    }

    #[test]
    fn run_that_takes_far_longer_than_usual_raises_an_alarm_while_it_runs() {
        let (clock, schedule, _host) = setup();
        let schedule = Arc::new(schedule);
        let (inner, moved) = (schedule.clone(), clock.clone());
        let ran = schedule.run(Task::Flush, move || {
            moved.advance(Task::Flush.long_run());
            assert_eq!(status(&inner, Task::Flush).alarm, None);
            moved.advance(SECOND);
            let late = status(&inner, Task::Flush);
            assert_eq!(late.running_for, Some(Task::Flush.long_run() + SECOND));
            assert!(late.alarm.is_some_and(|alarm| alarm.starts_with("has been running for 901 s")));
            Ok(Outcome::Nothing)
        });
        assert_eq!(ran, Ok(Outcome::Nothing));
        // What took that long once may take longer next time.
        let (inner, moved) = (schedule.clone(), clock.clone());
        let ran = schedule.run(Task::Flush, move || {
            moved.advance(5 * Task::Flush.long_run());
            assert_eq!(status(&inner, Task::Flush).alarm, None);
            Ok(Outcome::Nothing)
        });
        assert_eq!(ran, Ok(Outcome::Nothing));
    }

    #[test]
    fn run_that_a_person_asks_for_hides_no_run_that_takes_too_long() {
        let (clock, schedule, _host) = setup();
        let (schedule, moved) = (Arc::new(schedule), clock.clone());
        let inner = schedule.clone();
        let ran = schedule.run(Task::Flush, move || {
            moved.advance(Task::Flush.long_run() + SECOND);
            let second = inner.run(Task::Flush, || Ok(Outcome::Nothing));
            assert!(second.is_ok() && status(&inner, Task::Flush).alarm.is_some());
            Ok(Outcome::Nothing)
        });
        assert_eq!((ran, status(&schedule, Task::Flush).running_for), (Ok(Outcome::Nothing), None));
    }

    #[test]
    fn alarm_is_told_to_the_log_when_it_begins_while_it_lasts_and_when_it_ends() {
        let (clock, schedule, host) = setup();
        let told = |clock: &ManualClock, seconds: u64| {
            clock.advance(Duration::from_secs(seconds));
            crate::telemetry::log::captured(|| schedule.watch(&host))
        };
        assert_eq!(told(&clock, 1), "");
        host.alarms.lock().unwrap().push(("flush", "is due for 301 s and does not run".to_owned()));
        let first = told(&clock, 5);
        assert!(first.contains("ERROR") && first.contains("flush") && first.contains("is due for 301 s"), "{first}");
        assert_eq!(told(&clock, 5), "");
        assert!(told(&clock, 600).contains("is due for 301 s"));
        host.alarms.lock().unwrap().clear();
        assert!(told(&clock, 5).contains("well again"));
        assert_eq!(told(&clock, 5), "");
    }

    #[test]
    fn trigger_during_a_run_causes_another_run() {
        let (_clock, schedule, host) = setup();
        let schedule = Arc::new(schedule);
        let inner = schedule.clone();
        host.answer(Task::Flush, move || {
            inner.trigger(Task::Flush);
            Ok(Outcome::Nothing)
        });
        schedule.trigger(Task::Flush);
        schedule.run_due(Lane::Head, &host);
        assert_eq!(host.runs_of(Task::Flush), 2);
    }
}
