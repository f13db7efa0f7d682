//! The threads that wait for the schedule: one for each lane, and nothing else in them.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Lane, Schedule, Task, TaskHost};

/// Longest wait of a thread: a wall clock or a suspended machine never holds it up for longer.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Signal {
    /// Moves with every trigger, and tells that the threads have to end.
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Signal {
    fn change(&self, change: impl FnOnce(&mut (u64, bool))) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for a trigger that is newer than `seen`, at most for `timeout`. `None` when it is time to end.
    fn wait(&self, seen: u64, timeout: Duration) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut (u64, bool)| state.0 == seen && !state.1;
        let (state, _) = self.changed.wait_timeout_while(state, timeout, idle).unwrap_or_else(PoisonError::into_inner);
        (!state.1).then_some(state.0)
    }
}

/// The running maintenance. Dropping it ends it.
#[derive(Debug)]
pub struct Maintenance {
    schedule: Arc<Schedule>,
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Maintenance {
    /// Starts a thread for each lane, and one that watches them.
    pub fn start(schedule: Arc<Schedule>, host: &Arc<dyn TaskHost>) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let maintenance = Maintenance { schedule, signal, threads: Mutex::default() };
        for lane in Lane::ALL {
            // Weak: a database that is dropped without a word must not be kept open by its own maintenance.
            let (schedule, signal) = (maintenance.schedule.clone(), maintenance.signal.clone());
            let host = Arc::downgrade(host);
            let body = move || {
                let mut seen = 0;
                loop {
                    let Some(host) = host.upgrade() else { return };
                    let wait = schedule.run_due(lane, &*host).min(WAIT_MAX);
                    drop(host);
                    match signal.wait(seen, wait) {
                        Some(newest) => seen = newest,
                        None => return,
                    }
                }
            };
            let thread = std::thread::Builder::new().name(format!("maint-{}", lane.as_str())).spawn(body)?;
            maintenance.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        // On a thread of its own, which no task can hold up.
        let (schedule, signal, host) = (maintenance.schedule.clone(), maintenance.signal.clone(), Arc::downgrade(host));
        let body = move || {
            let mut seen = 0;
            while let Some(host) = host.upgrade() {
                schedule.watch(&*host);
                drop(host);
                match signal.wait(seen, WAIT_MAX) {
                    Some(newest) => seen = newest,
                    None => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("maint-watch".to_owned()).spawn(body)?;
        maintenance.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(maintenance)
    }

    /// Makes a task due now and wakes its thread.
    pub fn trigger(&self, task: Task) {
        self.schedule.trigger(task);
        self.signal.change(|state| state.0 += 1);
    }

    /// Ends the threads and waits for the tasks that run.
    pub fn stop(&self) {
        self.schedule.stop();
        self.signal.change(|state| state.1 = true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last owner of the database may be a task's thread itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a maintenance thread panicked");
            }
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::{Outcome, TaskError};
    use super::*;
    use crate::clock::ManualClock;

    struct Host(Mutex<Sender<Task>>);

    impl TaskHost for Host {
        fn run(&self, task: Task) -> Result<Outcome, TaskError> {
            self.0.lock().unwrap().send(task).unwrap();
            Ok(Outcome::Nothing)
        }

        fn alarms(&self) -> Vec<(&'static str, String)> {
            Vec::new()
        }
    }

    #[test]
    fn trigger_wakes_the_thread_of_the_task_and_stop_ends_all() {
        let (sender, runs) = channel();
        let schedule = Arc::new(Schedule::new(Arc::new(ManualClock::at(0))));
        let host: Arc<dyn TaskHost> = Arc::new(Host(Mutex::new(sender)));
        let maintenance = Maintenance::start(schedule, &host).unwrap();
        for task in [Task::Flush, Task::Compact, Task::Verify, Task::Flush] {
            maintenance.trigger(task);
            assert_eq!(runs.recv_timeout(Duration::from_secs(60)), Ok(task));
        }
        maintenance.stop();
        drop(host);
        assert!(runs.recv().is_err(), "nobody holds the host any more");
    }
}
