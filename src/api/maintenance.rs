//! Maintenance as JSON: every task with its last run, its next run and what went wrong.

use super::json::JsonWriter;
use super::values::write_moment;
use crate::db::maintenance::{MaintenanceStatus, TaskStatus};

/// What a person should look at: what it is about, and why.
pub(super) fn write_alarms(json: &mut JsonWriter<'_>, alarms: &[(&'static str, String)]) {
    json.begin_list();
    for (about, alarm) in alarms {
        json.begin_object().key("about").string(about).key("alarm").string(alarm).end_object();
    }
    json.end_list();
}

/// The list of tasks.
pub(super) fn write_tasks(json: &mut JsonWriter<'_>, status: &MaintenanceStatus) {
    json.begin_list();
    for task in &status.tasks {
        write_task(json, task);
    }
    json.end_list();
}

fn write_task(json: &mut JsonWriter<'_>, task: &TaskStatus) {
    let texts = |json: &mut JsonWriter<'_>, text: Option<&str>| {
        match text {
            Some(text) => json.string(text),
            None => json.null(),
        };
    };
    json.begin_object().key("task").string(task.task.as_str());
    write_moment(json.key("last_run"), task.last_run_ms);
    write_moment(json.key("last_success"), task.last_success_ms);
    match task.last_duration {
        Some(duration) => json.key("last_duration_seconds").float(duration.as_secs_f64()),
        None => json.key("last_duration_seconds").null(),
    };
    write_moment(json.key("next_run"), Some(task.next_run_ms));
    match task.running_for {
        Some(duration) => json.key("running_for_seconds").float(duration.as_secs_f64()),
        None => json.key("running_for_seconds").null(),
    };
    match &task.last_work {
        Some((at_ms, what)) => {
            json.key("last_work").begin_object();
            write_moment(json.key("time"), Some(*at_ms));
            json.key("what").string(what).end_object();
        }
        None => {
            json.key("last_work").null();
        }
    }
    texts(json.key("last_error"), task.last_error.as_deref());
    json.key("consecutive_failures").uint(task.consecutive_failures.into());
    json.key("runs").uint(task.runs).key("failures").uint(task.failures).key("panics").uint(task.panics);
    texts(json.key("alarm"), task.alarm.as_deref());
    json.end_object();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::db::maintenance::{Outcome, Schedule, Task, TaskError};

    #[test]
    fn tasks_as_json_show_last_run_next_run_and_last_error() {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let schedule = Schedule::new(clock.clone());
        let failed = schedule.run(Task::Flush, || Err(TaskError("no space".into())));
        assert!(failed.is_err());
        clock.advance(Duration::from_secs(1));
        schedule.run(Task::Retention, || Ok(Outcome::Done("removed 1 block".into()))).unwrap();
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out);
        write_tasks(&mut json, &schedule.status());
        json.finish().unwrap();
        let tasks: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(tasks.len(), Task::ALL.len());
        let of = |name: &str| tasks.iter().find(|task| task["task"] == name).unwrap();
        assert_eq!(of("flush")["last_error"], "no space");
        assert_eq!(of("flush")["consecutive_failures"], 1);
        assert_eq!(of("flush")["last_run"], "2023-11-14T22:13:20.000Z");
        assert_eq!(of("retention")["last_work"]["what"], "removed 1 block");
        assert!(of("scrub")["last_run"].is_null() && of("scrub")["next_run"].is_string());
    }
}
