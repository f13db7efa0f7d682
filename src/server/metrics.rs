//! Everything that `/metrics` shows, read from where it is counted. Where Prometheus has a metric of the same meaning,
//! the name is Prometheus'; what only we have is called `chronolith_*`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connections::ConnectionMetrics;
use super::service::Service;
use super::{storage_metrics, writer_metrics};
use crate::api::route::Route;
use crate::api::status::VERSION;
use crate::db::Db;
use crate::fs::{Fs, resident_bytes};
use crate::ingest::otlp::translate::Category;
use crate::ingest::{IngestMetrics, Protocol, ProtocolMetrics};
use crate::storage::{ExemplarRejectReason, RejectReason};
use crate::telemetry::{Counter, Exposition, Histogram, Kind, TextFormat};

/// Requests by endpoint.
#[derive(Debug)]
pub struct HttpMetrics {
    by_handler: BTreeMap<&'static str, Handler>,
}

#[derive(Debug)]
struct Handler {
    by_status: Mutex<BTreeMap<u16, Counter>>,
    duration: Histogram,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let handler = || Handler { by_status: Mutex::default(), duration: Histogram::new(Histogram::REQUEST_SECONDS) };
        let names = Route::names().chain([HttpMetrics::UNKNOWN]);
        HttpMetrics { by_handler: names.map(|name| (name, handler())).collect() }
    }
}

impl HttpMetrics {
    /// The name under which requests to paths that do not exist are counted.
    pub const UNKNOWN: &'static str = "unknown";

    /// Counts one request.
    pub fn observe(&self, handler: &str, status: u16, elapsed: Duration) {
        let Some(handler) = self.by_handler.get(handler) else { return };
        handler.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default().add(1);
        handler.duration.observe(elapsed);
    }

    fn write(&self, out: &mut Exposition) {
        let name = "prometheus_http_requests_total";
        out.family(name, Kind::Counter, "Counter of HTTP requests.");
        for (handler, counts) in &self.by_handler {
            for (status, count) in counts.by_status.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                out.sample(name, &[("handler", handler), ("code", &status.to_string())], count.get() as f64);
            }
        }
        let name = "prometheus_http_request_duration_seconds";
        out.family(name, Kind::Histogram, "Histogram of latencies for HTTP requests.");
        for (handler, counts) in &self.by_handler {
            if counts.duration.cumulative().last().is_some_and(|(_, count)| *count > 0) {
                out.histogram(name, &[("handler", handler)], &counts.duration);
            }
        }
    }
}

/// Where the numbers come from.
#[derive(Debug)]
pub struct Metrics {
    /// Requests.
    pub http: HttpMetrics,
    /// Connections.
    pub connections: Arc<ConnectionMetrics>,
    /// Files of `/proc`.
    pub fs: Arc<dyn Fs>,
    /// When the process started, in seconds since the epoch.
    pub started_seconds: f64,
}

impl Metrics {
    /// All metrics as text.
    pub fn exposition(&self, format: TextFormat, service: &Service) -> String {
        let mut out = Exposition::new(format);
        write_build_info(&mut out);
        self.write_process(&mut out);
        self.http.write(&mut out);
        let (accepted, closed) = (self.connections.accepted.get(), self.connections.closed.get());
        out.counter("chronolith_http_connections_total", "Connections accepted.", accepted as f64);
        let open = accepted.saturating_sub(closed);
        out.gauge("chronolith_http_connections", "Connections that are open.", open as f64);
        let in_flight = service.in_flight.load(Ordering::Relaxed);
        out.gauge("chronolith_http_requests_in_flight", "Requests that are being answered.", in_flight as f64);
        write_limits(&mut out, service, &self.connections);
        write_doors(&mut out, service);
        write_queries(&mut out, service);
        write_ingest(&mut out, &service.write.metrics);
        writer_metrics::write_writers(&mut out, &service.write.writers);
        let db = service.write.store.0.get();
        let ready = db.is_some();
        out.gauge("prometheus_ready", "Whether the server is ready to serve queries.", f64::from(u8::from(ready)));
        if let Some(db) = db {
            write_head(&mut out, &db);
            write_log(&mut out, &db);
            write_recovery(&mut out, &db);
            storage_metrics::write_storage(&mut out, &db);
        } else {
            storage_metrics::write_opening(&mut out, &service.write.store.0);
        }
        out.finish()
    }

    fn write_process(&self, out: &mut Exposition) {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        out.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", seconds);
        if let Ok((resident, anonymous)) = resident_bytes() {
            out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident as f64);
            let help = "Resident memory that no file stands behind, in bytes.";
            out.gauge("chronolith_process_anonymous_memory_bytes", help, anonymous as f64);
        }
        if let Ok(open) = self.fs.list(Path::new("/proc/self/fd")) {
            out.gauge("process_open_fds", "Number of open file descriptors.", open.len() as f64);
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            out.gauge("process_max_fds", "Maximum number of open file descriptors.", limit as f64);
        }
        let help = "Start time of the process since unix epoch in seconds.";
        out.gauge("process_start_time_seconds", help, self.started_seconds);
    }
}

fn write_build_info(out: &mut Exposition) {
    let help = "A metric with a constant '1' value labeled by version.";
    for name in ["prometheus_build_info", "chronolith_build_info"] {
        let version = if name.starts_with("prometheus") { crate::api::status::PROMETHEUS_API_VERSION } else { VERSION };
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[("version", version), ("application", "chronolith")], 1.0);
    }
}

fn write_limits(out: &mut Exposition, service: &Service, connections: &ConnectionMetrics) {
    let help = "Bytes of the bodies that are arriving or worked on.";
    out.gauge("chronolith_http_bodies_in_flight_bytes", help, service.intake.bytes() as f64);
    let name = "chronolith_http_limited_total";
    out.family(name, Kind::Counter, "Connections and requests that a limit ended, by limit.");
    for (limit, count) in [
        ("idle_connection", &connections.evicted),
        ("connections_of_address", &connections.refused),
        ("requests", &service.gate.refused),
        ("stalled_body", &service.intake.gave_way),
        ("bodies_in_flight", &service.intake.refused),
        ("memory", &service.memory.refused),
    ] {
        out.sample(name, &[("limit", limit)], count.get() as f64);
    }
}

fn write_doors(out: &mut Exposition, service: &Service) {
    let reloads = service.api.reloads();
    let help = "Whether the last configuration reload attempt was successful.";
    out.gauge("prometheus_config_last_reload_successful", help, f64::from(u8::from(reloads.successful())));
    let help = "Timestamp of the last successful configuration reload.";
    let seconds = reloads.last_success_ms() as f64 / 1000.0;
    out.gauge("prometheus_config_last_reload_success_timestamp_seconds", help, seconds);
    let Some(doors) = &service.doors else { return };
    let name = "chronolith_http_denied_requests_total";
    out.family(name, Kind::Counter, "Requests that were not let in, by reason.");
    for (reason, count) in [
        ("unauthorized", &doors.metrics.unauthorized),
        ("forbidden", &doors.metrics.forbidden),
        ("busy", &doors.metrics.busy),
    ] {
        out.sample(name, &[("reason", reason)], count.get() as f64);
    }
    let help = "TLS connections that did not come about.";
    let failed = doors.metrics.handshakes_failed.get() as f64;
    out.counter("chronolith_tls_handshake_failures_total", help, failed);
}

fn write_queries(out: &mut Exposition, service: &Service) {
    let queries = service.api.query_metrics();
    let now = service.clock.monotonic();
    let help = "The current number of queries being executed or waiting.";
    out.gauge("prometheus_engine_queries", help, queries.active() as f64);
    let help = "The max number of concurrent queries.";
    out.gauge("prometheus_engine_queries_concurrent_max", help, service.api.queries_max() as f64);
    let help = "The total number of samples loaded by all queries.";
    out.counter("prometheus_engine_query_samples_total", help, queries.samples.get() as f64);
    let name = "prometheus_engine_query_duration_seconds";
    out.family(name, Kind::Summary, "Query timings.");
    for (slice, summary) in [
        ("inner_eval", &queries.eval_time),
        ("prepare_time", &queries.prepare_time),
        ("queue_time", &queries.queue_time),
        ("result_sort", &queries.sort_time),
    ] {
        out.summary(name, &[("slice", slice)], summary, now);
    }
    let name = "chronolith_queries_total";
    out.family(name, Kind::Counter, "Queries by outcome.");
    out.sample(name, &[("outcome", "answered")], queries.answered.get() as f64);
    out.sample(name, &[("outcome", "failed")], queries.failed.get() as f64);
}

fn write_ingest(out: &mut Exposition, ingest: &IngestMetrics) {
    let protocols = Protocol::ALL.map(|protocol| (("protocol", protocol.as_str()), ingest.of(protocol)));
    let mut each =
        |name: &str,
         kind,
         help,
         samples: &dyn Fn(&ProtocolMetrics) -> Vec<(Option<(&'static str, &'static str)>, u64)>| {
            out.family(name, kind, help);
            for (protocol, metrics) in &protocols {
                for (label, count) in samples(metrics) {
                    let labels: Vec<_> = std::iter::once(*protocol).chain(label).collect();
                    out.sample(name, &labels, count as f64);
                }
            }
        };
    each("chronolith_ingest_requests_total", Kind::Counter, "Write requests by outcome.", &|metrics| {
        vec![
            (Some(("outcome", "ok")), metrics.requests_ok.get()),
            (Some(("outcome", "refused")), metrics.requests_refused.get()),
            (Some(("outcome", "unavailable")), metrics.requests_unavailable.get()),
        ]
    });
    let help = "Samples of acknowledged write requests, by what became of them.";
    each("chronolith_ingest_samples_total", Kind::Counter, help, &|metrics| {
        vec![
            (Some(("outcome", "added")), metrics.samples_added.get()),
            (Some(("outcome", "duplicate")), metrics.samples_duplicate.get()),
        ]
    });
    let help = "Zeros that were added where counters began (created-timestamp-zero-ingestion).";
    each("chronolith_ingest_start_zeros_total", Kind::Counter, help, &|metrics| {
        vec![(None, metrics.starts_added.get())]
    });
    let help = "Native histograms among the samples of acknowledged write requests.";
    each("chronolith_ingest_histograms_total", Kind::Counter, help, &|metrics| {
        vec![(None, metrics.histograms_stored.get())]
    });
    let help = "Samples that were refused, by reason.";
    each("chronolith_ingest_rejected_samples_total", Kind::Counter, help, &|metrics| {
        RejectReason::ALL.map(|reason| (Some(("reason", reason.as_str())), metrics.rejected(reason))).into()
    });
    let help = "OTLP that was stored otherwise than its sender may think, by what it is about.";
    each("chronolith_ingest_otlp_warnings_total", Kind::Counter, help, &|metrics| {
        Category::ALL.map(|category| (Some(("category", category.as_str())), metrics.warnings(category))).into()
    });
    let help = "Exemplars of acknowledged write requests that are stored, those that were there already among them.";
    each("chronolith_ingest_exemplars_total", Kind::Counter, help, &|metrics| {
        vec![(None, metrics.exemplars_stored.get())]
    });
    let help = "Exemplars that were refused, by reason.";
    each("chronolith_ingest_rejected_exemplars_total", Kind::Counter, help, &|metrics| {
        let counts =
            |reason: ExemplarRejectReason| (Some(("reason", reason.as_str())), metrics.exemplars_rejected(reason));
        ExemplarRejectReason::ALL.map(counts).into()
    });
    let help = "Bytes of the bodies of write requests, as sent and decompressed.";
    each("chronolith_ingest_body_bytes_total", Kind::Counter, help, &|metrics| {
        vec![
            (Some(("form", "sent")), metrics.body_bytes.get()),
            (Some(("form", "decompressed")), metrics.decoded_bytes.get()),
        ]
    });
    let help = "Total number of out of order exemplar ingestion failed attempts.";
    let late = ingest.exemplars_rejected(ExemplarRejectReason::OutOfOrder);
    out.counter("prometheus_tsdb_exemplar_out_of_order_exemplars_total", help, late as f64);
    let rejected = |reason| ingest.rejected(reason) as f64;
    let help = "Total number of out of order samples ingestion failed attempts due to out of order being disabled.";
    out.counter("prometheus_tsdb_out_of_order_samples_total", help, rejected(RejectReason::OutOfOrder));
    let help = "Total number of out of order samples ingestion failed attempts with out of support enabled, but sample outside of time window.";
    out.counter("prometheus_tsdb_too_old_samples_total", help, rejected(RejectReason::TooOld));
    let help = "Total number of out of bound samples ingestion failed attempts with out of order support disabled.";
    let out_of_bounds = rejected(RejectReason::OutOfBounds) + rejected(RejectReason::TooFarInFuture);
    out.counter("prometheus_tsdb_out_of_bound_samples_total", help, out_of_bounds);
}

fn write_head(out: &mut Exposition, db: &Db) {
    let stats = db.head().stats();
    out.gauge("prometheus_tsdb_head_series", "Total number of series in the head block.", stats.series as f64);
    out.gauge("prometheus_tsdb_head_chunks", "Total number of chunks in the head block.", stats.chunks as f64);
    let name = "prometheus_tsdb_head_samples_appended_total";
    out.family(name, Kind::Counter, "Total number of appended samples.");
    out.sample(name, &[("type", "float")], stats.samples as f64);
    if let Some(range) = stats.time_range {
        let help = "Minimum time bound of the head block, in milliseconds.";
        out.gauge("prometheus_tsdb_head_min_time", help, range.start_ms as f64);
        let help = "Maximum timestamp of the head block, in milliseconds.";
        out.gauge("prometheus_tsdb_head_max_time", help, range.end_ms as f64);
        let help = "Minimum time bound of the head block.";
        out.gauge("prometheus_tsdb_head_min_time_seconds", help, range.start_ms as f64 / 1000.0);
        let help = "Maximum timestamp of the head block.";
        out.gauge("prometheus_tsdb_head_max_time_seconds", help, range.end_ms as f64 / 1000.0);
    }
    let name = "chronolith_head_full_chunks";
    out.family(name, Kind::Gauge, "Full chunks of the head, by where they are.");
    out.sample(name, &[("place", "memory")], stats.chunks_in_memory as f64);
    out.sample(name, &[("place", "file")], stats.chunks_in_files as f64);
    let help = "Writes of full chunks to files that failed, and are tried again.";
    out.counter("chronolith_head_chunk_write_failures_total", help, stats.chunk_write_failures as f64);
    let help = "Damaged chunks that reads left out.";
    out.counter("chronolith_head_damaged_chunk_reads_total", help, stats.damaged_chunk_reads as f64);
    let name = "chronolith_head_memory_bytes";
    out.family(name, Kind::Gauge, "Memory of the head, by what it is for.");
    for (part, bytes) in [
        ("rows", stats.row_bytes),
        ("labels", stats.label_bytes),
        ("open_chunks", stats.open_chunk_bytes),
        ("full_chunks", stats.full_chunk_bytes),
        ("symbols", stats.index.symbol_bytes),
        ("pairs", stats.index.pair_bytes),
        ("postings", stats.index.postings_bytes),
    ] {
        out.sample(name, &[("part", part)], bytes as f64);
    }
}

fn write_log(out: &mut Exposition, db: &Db) {
    let log = db.log_status();
    let counters = &log.counters;
    let help = "Size of the write log directory.";
    out.gauge("prometheus_tsdb_wal_storage_size_bytes", help, log.bytes as f64);
    if let Some((segment, _)) = log.open_segment {
        let help = "Write log segment index that TSDB is currently writing to.";
        out.gauge("prometheus_tsdb_wal_segment_current", help, f64::from(segment));
    }
    let name = "prometheus_tsdb_wal_fsync_duration_seconds";
    out.family(name, Kind::Summary, "Duration of write log fsync.");
    out.sample("prometheus_tsdb_wal_fsync_duration_seconds_sum", &[], counters.sync_time.as_secs_f64());
    out.sample("prometheus_tsdb_wal_fsync_duration_seconds_count", &[], counters.syncs as f64);
    let failed = counters.write_failures + counters.sync_failures;
    let help = "Total number of write log writes that failed.";
    out.counter("prometheus_tsdb_wal_writes_failed_total", help, failed as f64);

    out.gauge("chronolith_wal_segments", "Segments of the log.", log.segments as f64);
    let writable = f64::from(u8::from(log.failure.is_none()));
    out.gauge("chronolith_wal_writable", "Whether the log can be written.", writable);
    let name = "chronolith_wal_durability_info";
    out.family(name, Kind::Gauge, "What an acknowledgement promises.");
    out.sample(name, &[("durability", log.durability.as_str())], 1.0);
    let help = "Requests that are accepted and not yet durable.";
    out.gauge("chronolith_wal_pending_requests", help, log.pending_requests as f64);
    out.gauge("chronolith_wal_last_group", "The last group that is durable.", log.last_group as f64);
    out.gauge("chronolith_wal_last_commit", "The last request that was given a number.", log.last_commit as f64);
    if let Some(durable_ms) = log.last_durable_ms {
        let help = "When a group was last made durable.";
        out.gauge("chronolith_wal_last_durable_timestamp_seconds", help, durable_ms as f64 / 1000.0);
    }
    out.gauge(
        "chronolith_wal_uncut_segments",
        "Segments given up that still have unacknowledged bytes at their end.",
        log.uncut_segments as f64,
    );
    let waiting = log.wbl.records_waiting as f64;
    out.gauge("chronolith_wbl_records_waiting", "Records that wait to be copied to wbl.", waiting);
    for (name, help, value) in [
        ("chronolith_wbl_records_total", "Records copied to wbl, where Prometheus finds them.", log.wbl.records),
        ("chronolith_wbl_failures_total", "Writes of wbl that failed.", log.wbl.failures),
        ("chronolith_wbl_records_given_up_total", "Records that were not copied to wbl.", log.wbl.records_given_up),
        ("chronolith_wal_groups_total", "Groups made durable, empty ones included.", counters.groups),
        ("chronolith_wal_commits_total", "Requests made durable.", counters.requests),
        ("chronolith_wal_samples_total", "Samples made durable.", counters.samples),
        ("chronolith_wal_records_total", "Records written.", counters.records),
        ("chronolith_wal_record_bytes_total", "Bytes of records before compression.", counters.record_bytes),
        ("chronolith_wal_written_bytes_total", "Bytes written to segments.", counters.segment_bytes),
        ("chronolith_wal_sync_failures_total", "Syncs of the log that failed.", counters.sync_failures),
        ("chronolith_wal_write_failures_total", "Writes of the log that failed.", counters.write_failures),
        ("chronolith_wal_segments_poisoned_total", "Segments given up after a failure.", counters.segments_poisoned),
        ("chronolith_wal_groups_rewritten_total", "Groups written again after a failure.", counters.groups_rewritten),
        ("chronolith_wal_unavailable_total", "How often the log became unavailable.", log.failures),
        ("chronolith_wal_retries_total", "Attempts to write a log that had failed.", log.retries),
    ] {
        out.counter(name, help, value as f64);
    }
}

fn write_recovery(out: &mut Exposition, db: &Db) {
    let recovery = db.recovery();
    let help = "Time taken to replay the data on disk.";
    out.gauge("prometheus_tsdb_data_replay_duration_seconds", help, db.replay_time().as_secs_f64());
    let damages = recovery.damages.len() as f64;
    out.counter("prometheus_tsdb_wal_corruptions_total", "Total number of WAL corruptions.", damages);
    for (name, help, value) in [
        ("chronolith_recovery_damages", "Damages that the last start found in the log.", recovery.damages.len() as u64),
        ("chronolith_recovery_known_damages", "Damages that earlier starts set aside.", recovery.known.len() as u64),
        (
            "chronolith_recovery_torn_tails",
            "Torn tails that the last start cut.",
            u64::from(recovery.torn_tail.is_some()),
        ),
        (
            "chronolith_recovery_torn_bytes",
            "Bytes of the torn tail that the last start cut.",
            recovery.torn_tail.as_ref().map_or(0, |tail| tail.bytes),
        ),
        ("chronolith_recovery_samples", "Samples that the last start took from the log.", db.replayed().samples),
        (
            "chronolith_recovery_unknown_samples",
            "Samples of series that the log does not name.",
            db.replayed().samples_unknown,
        ),
        ("chronolith_recovery_damaged_records", "Records that could not be read.", db.replayed().records_damaged),
        ("chronolith_recovery_skipped_records", "Records of kinds that are not read.", db.replayed().records_skipped),
        ("chronolith_recovery_records", "Records that the last start replayed.", recovery.log.records()),
        (
            "chronolith_recovery_repair_failed",
            "Whether damage could not be set aside at the last start.",
            u64::from(recovery.repair_failure.is_some()),
        ),
    ] {
        out.gauge(name, help, value as f64);
    }
}
