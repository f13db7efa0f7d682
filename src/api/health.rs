//! Whether it is well: `/-/ready` for what sends writes, `/health` for people and probes.
//!
//! `/health` answers at any time, and says what is so: a start shows how far it is and which blocks it lacks. Its status is
//!
//! | `status` | code | means |
//! |---|---|---|
//! | `ok` | 200 | nothing to do |
//! | `warning` | 200 | it serves, and a person should look at `alarms` |
//! | `replaying` | 200 | it is starting: blocks answer queries, writes wait |
//! | `degraded` | 503 | the log cannot be written, so no write is taken |
//! | `stopping` | 503 | it ends |

use hyper::{Response, StatusCode};

use super::Api;
use super::blocks::write_lost;
use super::json::JsonWriter;
use super::maintenance::{write_alarms, write_tasks};
use super::response::{self, ApiBody};
use super::storage::{write_blocks, write_disk, write_head, write_log, write_recovery};
use super::verify::write_verified;
use super::{rfc3339, status};
use crate::db::Db;

impl Api {
    /// `/-/ready`: whether writes are taken, and why not.
    pub(super) fn ready(&self, db: &Db) -> Response<ApiBody> {
        match db.log_status().failure {
            None => response::text(StatusCode::OK, "Chronolith is Ready.\n"),
            Some(reason) => {
                let text = format!("Service Unavailable: the write-ahead log cannot be written: {reason}\n");
                response::text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }

    /// `/health`: one document for people and probes, at any time.
    pub(super) fn health(&self) -> Response<ApiBody> {
        let db = self.slot.get();
        let log = db.as_ref().map(|db| db.log_status());
        let storage = db.as_ref().map(|db| db.storage_status());
        let has_alarms = storage.as_ref().is_some_and(|storage| !storage.alarms.is_empty());
        let state = match (&log, self.is_stopping()) {
            (_, true) => "stopping",
            (None, _) => "replaying",
            (Some(log), _) if log.failure.is_some() => "degraded",
            (Some(_), _) if has_alarms => "warning",
            (Some(_), _) => "ok",
        };
        let mut body = Vec::new();
        let mut json = JsonWriter::new(&mut body);
        json.begin_object().key("status").string(state);
        json.key("version").string(status::VERSION);
        json.key("uptime_seconds").float(self.uptime().as_secs_f64());
        if let (Some(db), Some(log), Some(storage)) = (&db, &log, &storage) {
            write_alarms(json.key("alarms"), &storage.alarms);
            write_log(json.key("wal"), log);
            write_head(json.key("head"), db);
            write_blocks(json.key("blocks"), storage);
            write_disk(json.key("disk"), storage);
            write_recovery(json.key("recovery"), db);
            write_tasks(json.key("maintenance"), &db.maintenance_status());
            self.write_jobs(json.key("under_way"));
            match &storage.verified {
                Some(verified) => write_verified(json.key("last_verification"), verified),
                None => {
                    json.key("last_verification").null();
                }
            }
        } else {
            self.write_opening(&mut json);
        }
        json.end_object();
        // Writing to a Vec cannot fail.
        let _ = json.finish();
        let code =
            if matches!(state, "degraded" | "stopping") { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        response::with_type(code, "application/json", body)
    }

    /// How far a start is, and what it found. Maintenance begins behind it.
    fn write_opening(&self, json: &mut JsonWriter<'_>) {
        let watch = self.slot.progress();
        let ((bytes_done, bytes_total), segments) = (watch.bytes(), watch.segments());
        write_alarms(json.key("alarms"), watch.status().map_or(&[], |status| &status.alarms));
        json.key("replay").begin_object().key("bytes_done").uint(bytes_done).key("bytes_total").uint(bytes_total);
        json.key("segment").int(segments.current).key("last_segment").int(segments.last).end_object();
        match watch.status() {
            Some(status) => {
                json.key("blocks").begin_object().key("served").uint(status.blocks as u64);
                json.key("disk_usage_bytes").uint(status.block_bytes);
                write_lost(json.key("lost"), &status.lost);
                json.end_object();
            }
            None => {
                json.key("blocks").null();
            }
        }
        json.key("maintenance").begin_list().end_list().key("last_verification").null();
    }

    /// The work that somebody asked for and that is under way.
    pub(super) fn write_jobs(&self, json: &mut JsonWriter<'_>) {
        json.begin_list();
        for job in self.jobs.list() {
            json.begin_object().key("what").string(&job.what);
            json.key("since").string(&rfc3339(job.since_ms)).end_object();
        }
        json.end_list();
    }
}
