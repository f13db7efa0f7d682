//! Metrics of blocks, disk, maintenance and proofs. Where Prometheus has one of the same meaning, the name is Prometheus'.

use crate::db::maintenance::{MaintenanceStatus, Task, TaskStatus};
use crate::db::{Db, DbSlot, LostBlock, ReserveState, StorageStatus};
use crate::telemetry::{Exposition, Kind};

/// How far a start is, and what it lacks.
pub(super) fn write_opening(out: &mut Exposition, slot: &DbSlot) {
    let watch = slot.progress();
    let (bytes_done, bytes_total) = watch.bytes();
    out.gauge("chronolith_replay_bytes_done", "Bytes of the log that the start has read.", bytes_done as f64);
    out.gauge("chronolith_replay_bytes", "Bytes of the log that the start reads.", bytes_total as f64);
    if let Some(status) = watch.status() {
        out.gauge("prometheus_tsdb_blocks_loaded", BLOCKS_LOADED, status.blocks as f64);
        write_lost(out, &status.lost);
        write_damaged(out, status.damaged);
        write_alarms(out, &status.alarms);
    }
}

/// Everything about an open database beside head and log.
pub(super) fn write_storage(out: &mut Exposition, db: &Db) {
    let (storage, maintenance) = (db.storage_status(), db.maintenance_status());
    write_blocks(out, db, &storage);
    write_exemplars(out, db);
    write_lost(out, &storage.lost);
    write_damaged(out, storage.damaged);
    write_alarms(out, &storage.alarms);
    write_disk(out, &storage);
    write_work(out, db, &maintenance);
    write_tasks(out, &maintenance);
    write_proofs(out, db, &storage);
}

fn write_exemplars(out: &mut Exposition, db: &Db) {
    let (stats, capacity) = db.head().exemplar_stats();
    let help = "Number of exemplars currently in circular storage.";
    out.gauge("prometheus_tsdb_exemplar_exemplars_in_storage", help, stats.exemplars as f64);
    let help = "Number of series with exemplars currently in circular storage.";
    out.gauge("prometheus_tsdb_exemplar_series_with_exemplars_in_storage", help, stats.series as f64);
    let help = "Total number of exemplars the exemplar storage can store, resizeable.";
    out.gauge("prometheus_tsdb_exemplar_max_exemplars", help, capacity as f64);
    let help = "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what time range \
                the current exemplar buffer limit allows.";
    let oldest_ms = stats.oldest_ms.unwrap_or(0);
    out.gauge("prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds", help, oldest_ms as f64 / 1000.0);
}

const BLOCKS_LOADED: &str = "Blocks that are open and answer queries.";

fn write_blocks(out: &mut Exposition, db: &Db, storage: &StorageStatus) {
    let blocks = db.blocks();
    out.gauge("prometheus_tsdb_blocks_loaded", BLOCKS_LOADED, storage.blocks as f64);
    let help = "Bytes of all blocks on the disk.";
    out.gauge("prometheus_tsdb_storage_blocks_bytes", help, storage.block_bytes as f64);
    let first_block_ms = blocks.iter().map(|block| block.meta.min_time_ms).min();
    let head_ms = db.head().time_range().map(|range| range.start_ms);
    if let Some(lowest_ms) = first_block_ms.into_iter().chain(head_ms).min() {
        let help = "Where the oldest block, or else the head, begins: milliseconds since 1970.";
        out.gauge("prometheus_tsdb_lowest_timestamp", help, lowest_ms as f64);
        let help = "Where the oldest block, or else the head, begins: seconds since 1970.";
        out.gauge("prometheus_tsdb_lowest_timestamp_seconds", help, lowest_ms as f64 / 1000.0);
    }
    let policy = &db.options().storage.retention;
    let help = "How long blocks are kept (retention.time); 0 is for ever.";
    let seconds = policy.time_ms.map_or(0.0, |time_ms| time_ms as f64 / 1000.0);
    out.gauge("prometheus_tsdb_retention_limit_seconds", help, seconds);
    let help = "Bytes that blocks may have (retention.size); 0 is no bound.";
    out.gauge("prometheus_tsdb_retention_limit_bytes", help, policy.size_bytes.unwrap_or(0) as f64);

    let count = |is: fn(&crate::db::BlockStatus) -> bool| blocks.iter().filter(|block| is(block)).count() as f64;
    let help = "Blocks with deleted ranges that are not cleaned yet.";
    out.gauge("chronolith_blocks_with_tombstones", help, count(|block| block.tombstones > 0));
    let help = "Blocks that answer through their index, because their accelerator is missing or damaged.";
    out.gauge("chronolith_blocks_unaccelerated", help, count(|block| !block.is_accelerated));
    let help = "Blocks whose compaction failed for a reason that does not pass.";
    out.gauge("chronolith_blocks_uncompactable", help, count(|block| block.is_uncompactable));
    if let Some(flushed_ms) = storage.flushed_ms {
        let help = "Time up to which blocks have all samples that came in order.";
        out.gauge("chronolith_flushed_up_to_timestamp_seconds", help, flushed_ms as f64 / 1000.0);
    }
    let help = "Out-of-order samples in the head that no block has.";
    out.gauge("chronolith_head_out_of_order_samples", help, db.head().out_of_order_samples() as f64);
}

fn write_lost(out: &mut Exposition, lost: &[LostBlock]) {
    let name = "chronolith_blocks_lost";
    out.family(name, Kind::Gauge, "Blocks that are not served, by whether other blocks have their samples.");
    for (covered, label) in [(false, "missing"), (true, "covered")] {
        let blocks = lost.iter().filter(|block| block.is_covered == covered).count();
        out.sample(name, &[("samples", label)], blocks as f64);
    }
}

fn write_damaged(out: &mut Exposition, blocks: usize) {
    let help = "Blocks that are served and in which a check found damage that no later one has closed.";
    out.gauge("chronolith_blocks_damaged", help, blocks as f64);
}

fn write_alarms(out: &mut Exposition, alarms: &[(&'static str, String)]) {
    out.gauge("chronolith_alarms", "What a person should look at: /health says why.", alarms.len() as f64);
    let mut about: Vec<&str> = alarms.iter().map(|(about, _)| *about).collect();
    about.sort_unstable();
    about.dedup();
    let name = "chronolith_alarm";
    out.family(name, Kind::Gauge, "1 for each thing that a person should look at.");
    for about in about {
        out.sample(name, &[("about", about)], 1.0);
    }
}

fn write_disk(out: &mut Exposition, storage: &StorageStatus) {
    if let Some(free_bytes) = storage.free_bytes {
        out.gauge("chronolith_disk_free_bytes", "Bytes that are free on the disk.", free_bytes as f64);
    }
    let help = "Bytes of the log and of the head's chunk files.";
    out.gauge("chronolith_head_disk_bytes", help, storage.head_bytes as f64);
    let held = matches!(storage.reserve, Some(ReserveState::Held));
    let help = "Whether the file is there that is given up on a full disk.";
    out.gauge("chronolith_reserve_held", help, f64::from(u8::from(held)));
}

/// What was done since the start.
fn write_work(out: &mut Exposition, db: &Db, maintenance: &MaintenanceStatus) {
    let counters = db.counters();
    let of = |tasks: &[Task], number: fn(&TaskStatus) -> u64| -> f64 {
        let statuses = maintenance.tasks.iter().filter(|status| tasks.contains(&status.task));
        statuses.map(number).sum::<u64>() as f64
    };
    let (runs, failures): (fn(&TaskStatus) -> u64, fn(&TaskStatus) -> u64) = (|task| task.runs, |task| task.failures);
    // As in Prometheus, a block that is made from the head is one too.
    let compacting = [Task::Flush, Task::FlushOutOfOrder, Task::Compact];
    let (flushes, compactions) = (counters.flushes.count(), counters.compactions.count());
    let (checkpoints, truncating) = (counters.checkpoints.count() as f64, [Task::Truncate]);
    for (name, help, value) in [
        (
            "prometheus_tsdb_compactions_total",
            "Blocks made, from the head and from other blocks.",
            (flushes + compactions) as f64,
        ),
        (
            "prometheus_tsdb_compactions_triggered_total",
            "Times that blocks were to be made, whether or not there was anything to do.",
            of(&compacting, runs),
        ),
        ("prometheus_tsdb_compactions_failed_total", "Times that making a block failed.", of(&compacting, failures)),
        (
            "prometheus_tsdb_vertical_compactions_total",
            "Blocks made from blocks that overlap in time.",
            counters.vertical_compactions.get() as f64,
        ),
        (
            "prometheus_tsdb_head_truncations_total",
            "Times that samples which blocks have were to leave the head.",
            (counters.head_truncations.get() + counters.head_truncations_deferred.get()) as f64,
        ),
        (
            "prometheus_tsdb_head_truncations_failed_total",
            "Times that they could not leave it yet, because queries read them.",
            counters.head_truncations_deferred.get() as f64,
        ),
        (
            "prometheus_tsdb_head_series_removed_total",
            "Series that left the head, as it has no samples of them any more.",
            counters.head_series_removed.get() as f64,
        ),
        ("prometheus_tsdb_checkpoint_creations_total", "Checkpoints written.", checkpoints),
        (
            "prometheus_tsdb_checkpoint_creations_failed_total",
            "Checkpoints that could not be written, or the log behind them not shortened.",
            of(&truncating, failures),
        ),
        ("prometheus_tsdb_wal_truncations_total", "Times that the log was shortened.", checkpoints),
        (
            "prometheus_tsdb_wal_truncations_failed_total",
            "Times that the log could not be shortened.",
            of(&truncating, failures),
        ),
        (
            "prometheus_tsdb_time_retentions_total",
            "Blocks removed because of their age.",
            counters.expired_by_time.get() as f64,
        ),
        (
            "prometheus_tsdb_size_retentions_total",
            "Blocks removed because all blocks together were too large.",
            counters.expired_by_size.get() as f64,
        ),
        (
            "prometheus_tsdb_reloads_total",
            "Looks at the data directory for blocks that others put there or took away.",
            of(&[Task::Reload], runs),
        ),
        (
            "prometheus_tsdb_reloads_failures_total",
            "Looks at the data directory that failed.",
            of(&[Task::Reload], failures),
        ),
        ("chronolith_flushes_total", "Blocks made from the head.", flushes as f64),
        ("chronolith_flushed_samples_total", "Samples of these blocks.", counters.flushed_samples.get() as f64),
        (
            "chronolith_flushes_disproven_total",
            "Flushes refused, because the block was not what the log holds.",
            counters.flushes_disproven.get() as f64,
        ),
        (
            "chronolith_compactions_disproven_total",
            "Compactions refused, because the block was not the sum of its parents.",
            counters.compactions_disproven.get() as f64,
        ),
        (
            "chronolith_wal_removed_bytes_total",
            "Bytes of the log removed once blocks had their samples.",
            counters.wal_removed_bytes.get() as f64,
        ),
        ("chronolith_deletions_total", "Deletions of series.", counters.deletions.get() as f64),
        ("chronolith_snapshots_total", "Snapshots made.", counters.snapshots.get() as f64),
        (
            "chronolith_accelerators_built_total",
            "Accelerators built in the background.",
            counters.accelerators_built.get() as f64,
        ),
        (
            "chronolith_accelerator_failures_total",
            "Accelerators that could not be built.",
            of(&[Task::Accelerate], failures),
        ),
        ("chronolith_block_checks_total", "Blocks read whole for damage.", counters.block_checks.get() as f64),
        (
            "chronolith_block_checks_failed_total",
            "Blocks found damaged when they were read whole.",
            counters.block_checks_failed.get() as f64,
        ),
        (
            "chronolith_reserve_given_up_total",
            "Times the reserve was given up on a full disk.",
            counters.reserve_given_up.get() as f64,
        ),
    ] {
        out.counter(name, help, value);
    }
    for (name, help, histogram) in [
        ("prometheus_tsdb_compaction_duration_seconds", "How long compactions of blocks took.", &counters.compactions),
        ("chronolith_flush_duration_seconds", "Duration of flushes, proof included.", &counters.flushes),
        (
            "prometheus_tsdb_tombstone_cleanup_seconds",
            "How long it took to write a block anew without what is deleted in it.",
            &counters.tombstone_cleanups,
        ),
    ] {
        out.family(name, Kind::Histogram, help);
        out.histogram(name, &[], histogram);
    }
    let name = "prometheus_tsdb_wal_truncate_duration_seconds";
    out.family(name, Kind::Summary, "How long shortening the log took, the checkpoint included.");
    out.sample(&format!("{name}_sum"), &[], counters.checkpoints.sum_seconds());
    out.sample(&format!("{name}_count"), &[], checkpoints);
}

/// Each task of maintenance.
fn write_tasks(out: &mut Exposition, maintenance: &MaintenanceStatus) {
    type Number = fn(&TaskStatus) -> f64;
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let counters: [(&str, &str, Number); 3] = [
        ("chronolith_maintenance_runs_total", "Runs of maintenance, by task.", |task| task.runs as f64),
        ("chronolith_maintenance_failures_total", "Runs that failed.", |task| task.failures as f64),
        ("chronolith_maintenance_panics_total", "Runs that ended in a panic.", |task| task.panics as f64),
    ];
    let gauges: [(&str, &str, Number); 4] = [
        ("chronolith_maintenance_consecutive_failures", "Runs that failed since the last good one.", |task| {
            f64::from(task.consecutive_failures)
        }),
        (
            "chronolith_maintenance_running_seconds",
            "For how long the task has been running; 0 where it is not.",
            |task| task.running_for.map_or(0.0, |running| running.as_secs_f64()),
        ),
        ("chronolith_maintenance_last_duration_seconds", "How long the last run took.", |task| {
            task.last_duration.map_or(0.0, |last| last.as_secs_f64())
        }),
        ("chronolith_maintenance_alarm", "Whether the task is overdue, runs too long, or keeps failing.", |task| {
            f64::from(u8::from(task.alarm.is_some()))
        }),
    ];
    let kinds = counters.into_iter().map(|row| (Kind::Counter, row)).chain(gauges.map(|row| (Kind::Gauge, row)));
    for (kind, (name, help, number)) in kinds {
        out.family(name, kind, help);
        for status in &maintenance.tasks {
            out.sample(name, &[("task", status.task.as_str())], number(status));
        }
    }
    type Moment = fn(&TaskStatus) -> Option<i64>;
    let moments: [(&str, &str, Moment); 2] = [
        ("chronolith_maintenance_last_run_timestamp_seconds", "When a run last began.", |task| task.last_run_ms),
        ("chronolith_maintenance_last_success_timestamp_seconds", "When a run last ended without a failure.", |task| {
            task.last_success_ms
        }),
    ];
    for (name, help, moment) in moments {
        out.family(name, Kind::Gauge, help);
        for status in &maintenance.tasks {
            if let Some(last_ms) = moment(status) {
                out.sample(name, &[("task", status.task.as_str())], seconds(last_ms));
            }
        }
    }
    let name = "chronolith_maintenance_next_run_timestamp_seconds";
    out.family(name, Kind::Gauge, "When the task runs next; in the past where it waits for its turn.");
    for status in &maintenance.tasks {
        out.sample(name, &[("task", status.task.as_str())], seconds(status.next_run_ms));
    }
}

/// What was proven, and what the ledger says.
fn write_proofs(out: &mut Exposition, db: &Db, storage: &StorageStatus) {
    let ledger = db.ledger_state();
    let help = "Samples that came into blocks and are nowhere, as the ledger counts: 0 unless something was lost.";
    // A difference may be below zero, and counts wrap.
    out.gauge("chronolith_ledger_imbalance_samples", help, ledger.imbalance().samples as i64 as f64);
    let name = "chronolith_ledger_samples";
    out.family(name, Kind::Gauge, "Samples that left the log, by what became of them.");
    for (what, tally) in ledger.named().into_iter().chain([("unlogged", ledger.totals.unlogged)]) {
        out.sample(name, &[("what", what)], tally.samples as f64);
    }
    if let Some(verified) = &storage.verified {
        let help = "When the last proof of the log ended.";
        out.gauge("chronolith_last_verification_timestamp_seconds", help, verified.at_ms as f64 / 1000.0);
        let help = "Whether the last proof of the log found nothing wrong.";
        out.gauge("chronolith_last_verification_good", help, f64::from(u8::from(verified.is_good())));
        let help = "How long the last proof of the log took.";
        out.gauge("chronolith_last_verification_duration_seconds", help, verified.elapsed.as_secs_f64());
        let help = "Samples that the last proof of the log was about.";
        out.gauge("chronolith_last_verification_samples", help, verified.log.samples as f64);
    }
    let help = "How long a restart would take now.";
    out.gauge("chronolith_replay_estimate_seconds", help, db.replay_estimate().duration.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::api::route::Route;
    use crate::api::{Api, ApiOptions, ApiRequest};
    use crate::clock::ManualClock;
    use crate::db::DbOptions;
    use crate::fs::Fs as _;
    use crate::fs::sim::{Fault, SimFs};
    use crate::model::raw_labels::encode_canonical;
    use crate::model::{Label, RawLabels, Sample};
    use crate::promql::engine::EngineOptions;
    use crate::storage::{SeriesEntry, WriteBatch};
    use crate::telemetry::{TextFormat, log};

    const HOUR: i64 = 3_600_000;

    struct Server {
        fs: SimFs,
        clock: Arc<ManualClock>,
        slot: Arc<DbSlot>,
        api: Arc<Api>,
    }

    fn start(fs: SimFs, clock: Arc<ManualClock>) -> Server {
        let slot = Arc::new(DbSlot::default());
        let options = DbOptions::new("/data");
        let db = Db::open_unlocked(options, Arc::new(fs.clone()), clock.clone(), slot.progress()).unwrap();
        slot.fill(Arc::new(db));
        let options = ApiOptions {
            engine: EngineOptions::default(),
            queries_max: 1,
            slow_query: None,
            settings: Vec::new(),
            started_ms: 0,
            admin: false,
        };
        let api = Arc::new(Api::new(options, slot.clone(), Arc::default(), clock.clone()));
        Server { fs, clock, slot, api }
    }

    /// A database whose first window is full, so that it has to be flushed.
    fn with_full_window() -> Server {
        let server = start(SimFs::new(1), Arc::new(ManualClock::at(1000 * HOUR)));
        let mut labels = Vec::new();
        encode_canonical([Label { name: "__name__", value: "up" }].into_iter(), &mut labels);
        for hour in 1000..1005 {
            let mut batch = WriteBatch::default();
            batch.samples.push(Sample { timestamp_ms: hour * HOUR, value: 1.0 });
            batch.series.push(SeriesEntry { labels: RawLabels(&labels), samples: 0..1 });
            let (outcome, durable) = server.db().append(&batch, hour * HOUR).unwrap();
            assert_eq!(outcome.added, 1);
            durable.wait().unwrap();
        }
        server
    }

    impl Server {
        fn restarted(self) -> Server {
            self.db().close();
            start(self.fs, self.clock)
        }

        fn db(&self) -> Arc<Db> {
            self.slot.get().unwrap()
        }

        fn metrics(&self) -> String {
            let mut out = Exposition::new(TextFormat::Prometheus);
            write_storage(&mut out, &self.db());
            out.finish()
        }

        fn health(&self) -> serde_json::Value {
            let request = ApiRequest {
                method: hyper::Method::GET,
                url_query: String::new(),
                headers: hyper::HeaderMap::new(),
                form: None,
                json: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let body = self.api.handle(Route::Health, request).await.into_body();
                serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
            })
        }

        fn flush_alarm(&self) -> Option<String> {
            let health = self.health();
            let alarms = health["alarms"].as_array().unwrap().clone();
            let alarm = alarms.into_iter().find(|alarm| alarm["about"] == "flush")?;
            assert_eq!(health["status"], "warning");
            Some(alarm["alarm"].as_str().unwrap().to_owned())
        }
    }

    #[test]
    fn flush_that_does_not_run_is_in_health_and_metrics() {
        let server = with_full_window();
        assert_eq!(server.flush_alarm(), None);
        assert!(server.metrics().contains("chronolith_maintenance_alarm{task=\"flush\"} 0\n"));
        // Nothing drives maintenance: its threads are stuck, say.
        server.clock.advance(Duration::from_secs(6 * 60));
        assert_eq!(server.flush_alarm().as_deref(), Some("is due for 350 s and does not run"));
        let metrics = server.metrics();
        for line in ["chronolith_maintenance_alarm{task=\"flush\"} 1\n", "chronolith_alarm{about=\"flush\"} 1\n"] {
            assert!(metrics.contains(line), "{metrics}");
        }
        server.db().run_due();
        assert_eq!(server.flush_alarm(), None);
        let metrics = server.metrics();
        for line in [
            "prometheus_tsdb_blocks_loaded 1\n",
            "prometheus_tsdb_compactions_total 1\n",
            "prometheus_tsdb_head_truncations_total 1\n",
            "chronolith_flushed_samples_total 2\n",
            "chronolith_maintenance_alarm{task=\"flush\"} 0\n",
            "chronolith_ledger_imbalance_samples 0\n",
        ] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
    }

    #[test]
    fn damaged_block_is_counted_over_a_restart_until_a_check_finds_it_well() {
        let server = with_full_window();
        server.db().flush().unwrap();
        let ulid = server.db().blocks()[0].meta.ulid;
        let chunks = Path::new("/data").join(ulid.to_string()).join("chunks/000001");
        let good = server.fs.read(&chunks).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 0x40;
        server.fs.set_content(&chunks, bad);
        let server = server.restarted();
        assert!(!server.db().verify_block(ulid).unwrap().is_good());
        assert!(server.metrics().contains("chronolith_blocks_damaged 1\n"));

        let server = server.restarted();
        let mut opening = Exposition::new(TextFormat::Prometheus);
        write_opening(&mut opening, &server.slot);
        for metrics in [opening.finish(), server.metrics()] {
            for line in ["chronolith_blocks_damaged 1\n", "chronolith_alarm{about=\"blocks\"} 1\n"] {
                assert!(metrics.contains(line), "{line}{metrics}");
            }
        }
        server.fs.set_content(&chunks, good);
        let server = server.restarted();
        assert!(server.db().verify_block(ulid).unwrap().is_good());
        assert!(server.metrics().contains("chronolith_blocks_damaged 0\n"));
    }

    #[test]
    fn flush_that_keeps_failing_is_in_health_metrics_and_log_until_it_works_again() {
        let server = with_full_window();
        server.fs.fail(server.fs.operations()..u64::MAX, Fault::NoSpace);
        let mut told = String::new();
        for _ in 0..4 {
            server.clock.advance(Duration::from_secs(61));
            told += &log::captured(|| server.db().run_due());
        }
        let alarm = server.flush_alarm().unwrap();
        assert!(alarm.starts_with("failed 4 times in a row") && alarm.contains("no space"), "{alarm}");
        let said = told.lines().filter(|line| line.contains("needs attention") && line.contains("\"flush\""));
        assert_eq!(said.count(), 1, "{told}");
        let metrics = server.metrics();
        for line in [
            "chronolith_maintenance_consecutive_failures{task=\"flush\"} 4\n",
            "chronolith_maintenance_alarm{task=\"flush\"} 1\n",
            "prometheus_tsdb_blocks_loaded 0\n",
        ] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
        server.fs.heal();
        server.clock.advance(Duration::from_secs(61));
        let told = log::captured(|| server.db().run_due());
        assert!(told.contains("maintenance is well again about=\"flush\""), "{told}");
        assert_eq!(server.flush_alarm(), None);
        assert!(server.metrics().contains("prometheus_tsdb_blocks_loaded 1\n"));
    }
}
