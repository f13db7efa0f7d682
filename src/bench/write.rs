//! `bench write`: drives a receiver with the deterministic load, in any protocol, and keeps its receipts.
//!
//! It works against any receiver; against Chronolith each acknowledgement's receipt is checked and can be kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Barrier;

use super::read_back;
use super::report::{ServerReport, WriteReport};
use super::sender::{self, SenderReport};
use super::server_metrics;
use super::wire::{Compression, Protocol};
use super::workload::{Shape, Workload};
use crate::clock::{Clock, SystemClock, process_cpu};
use crate::fs::{Fs, SystemFs, WriteFile};
use crate::model::{ReceiptLine, TimestampMs};
use crate::net::{NetError, ServerUrl};

/// What `bench write` is asked to do.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The server, or the full address of its write endpoint.
    pub url: String,
    /// The server that is asked for what was written, and for its metrics; by default the same.
    pub query_url: Option<String>,
    /// How the samples are sent.
    pub protocol: Protocol,
    /// How bodies are compressed; by default as such senders do.
    pub compression: Option<Compression>,
    /// How many series.
    pub series: u64,
    /// Labels per series, the metric name included; with OTLP attributes of a point, beside the name.
    pub attributes: usize,
    /// How many scrapes; `None` sends until `duration` is over or it is stopped.
    pub scrapes: Option<u64>,
    /// Time from one scrape to the next, in the samples' timestamps.
    pub interval: Duration,
    /// Time of the first scrape. By default the last one is now, or, with no end of scrapes, the first.
    pub start_ms: Option<TimestampMs>,
    /// Samples per request.
    pub batch: usize,
    /// Connections. Each owns a part of the series.
    pub connections: usize,
    /// Ends the load after this time.
    pub duration: Option<Duration>,
    /// Where receipts are appended.
    pub receipts: Option<PathBuf>,
    /// Read everything back and compare.
    pub verify: bool,
    /// How long a request is tried again before the load gives up.
    pub retry_for: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// Show progress on a terminal.
    pub progress: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            url: "http://127.0.0.1:9095".to_owned(),
            query_url: None,
            protocol: Protocol::RemoteWrite1,
            compression: None,
            series: 10_000,
            attributes: 10,
            scrapes: Some(60),
            interval: Duration::from_secs(15),
            start_ms: None,
            batch: 2000,
            connections: 2,
            duration: None,
            receipts: None,
            verify: false,
            retry_for: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            progress: true,
        }
    }
}

/// Why the load could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The server cannot be talked to.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The server refuses such requests altogether.
    #[error("the server answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// First line of the answer.
        text: String,
    },
    /// A request failed until the time for trying again was over.
    #[error("gave up after {after:?}: {problem}")]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// How it failed last.
        problem: String,
    },
    /// The receipts file cannot be written.
    #[error("write receipts to {path}: {source}")]
    Receipts {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A request could not be compressed.
    #[error("compress a request: {0}")]
    Compress(String),
    /// The protocol has no such compression.
    #[error("{} has no compression {}", protocol.as_str(), compression.as_str())]
    Compression {
        /// How the samples are sent.
        protocol: Protocol,
        /// What was asked for.
        compression: Compression,
    },
    /// The histogram of latencies cannot be made.
    #[error("latency histogram has invalid bounds")]
    Histogram,
    /// The server's answer to a query is not one.
    #[error("query {query:?}: {reason}")]
    Query {
        /// What was asked.
        query: String,
        /// What came back.
        reason: String,
    },
    /// A part of the load broke off.
    #[error("a task of the load failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What the connections share.
pub(super) struct Shared {
    pub(super) options: WriteOptions,
    pub(super) workload: Workload,
    pub(super) server: ServerUrl,
    /// Answers queries.
    pub(super) asked: ServerUrl,
    pub(super) write_path: String,
    pub(super) compression: Compression,
    pub(super) clock: SystemClock,
    pub(super) receipts: Option<ReceiptsFile>,
    pub(super) progress: ProgressBar,
    /// All connections have their series encoded before the first one sends.
    pub(super) ready: Barrier,
    pub(super) stop: AtomicBool,
}

impl Shared {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The receipts file: each line is with the system in one write before the next request is sent, so that a load that
/// is killed loses no receipt that it got.
pub(super) struct ReceiptsFile {
    path: PathBuf,
    file: Mutex<Box<dyn WriteFile>>,
}

impl ReceiptsFile {
    /// Opens the file behind its last whole line: a load that was killed may have left a part of one.
    fn open(fs: &dyn Fs, path: PathBuf) -> Result<Self, BenchError> {
        let open = || {
            if !fs.exists(&path) {
                return fs.create(&path);
            }
            let bytes = fs.read(&path)?;
            let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            let mut file = fs.append(&path)?;
            if whole < bytes.len() {
                file.truncate(whole as u64)?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(ReceiptsFile { path, file: Mutex::new(file) }),
            Err(source) => Err(BenchError::Receipts { path: path.display().to_string(), source }),
        }
    }

    pub(super) fn append(&self, line: &ReceiptLine) -> Result<(), BenchError> {
        let failed = |source| BenchError::Receipts { path: self.path.display().to_string(), source };
        let mut text = serde_json::to_string(line).map_err(|error| failed(error.into()))?;
        text.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()).map_err(failed)
    }
}

/// Sends the load, reads it back if asked, and reports.
pub async fn run_write(options: WriteOptions) -> Result<WriteReport, BenchError> {
    let server = ServerUrl::parse(&options.url)?;
    let asked = options.query_url.as_deref().map_or_else(|| Ok(server.clone()), ServerUrl::parse)?;
    let protocol = options.protocol;
    let write_path = match server.path() {
        "" => protocol.default_path().to_owned(),
        path => path.to_owned(),
    };
    let compression = options.compression.unwrap_or(protocol.default_compression());
    if !protocol.takes(compression) {
        return Err(BenchError::Compression { protocol, compression });
    }
    let clock = SystemClock::default();
    let interval_ms = i64::try_from(options.interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let start_ms = options.start_ms.unwrap_or_else(|| {
        let scrapes = options.scrapes.map_or(0, |scrapes| scrapes as i64);
        clock.now_ms() - scrapes.saturating_mul(interval_ms)
    });
    let attributes = protocol.labels_of(options.attributes);
    let workload = Workload::new(Shape { series: options.series, attributes, start_ms, interval_ms });
    let receipts = options.receipts.clone().map(|path| ReceiptsFile::open(&SystemFs, path)).transpose()?;
    let connections = options.connections.clamp(1, options.series.clamp(1, 1024) as usize);
    let progress = progress_bar(options.progress, options.scrapes.map(|scrapes| scrapes * options.series));
    let shared = Arc::new(Shared {
        workload,
        server,
        asked,
        write_path,
        compression,
        clock,
        receipts,
        progress,
        ready: Barrier::new(connections + 1),
        stop: AtomicBool::new(false),
        options,
    });
    let (sent, seconds, generator_cpu, server_report, error) = drive(&shared, connections).await?;
    let mut report = WriteReport::new(&shared, &sent, seconds, generator_cpu, server_report);
    report.error = error.map(|error| error.to_string());
    if shared.options.verify {
        report.read_back =
            Some(read_back::read_back(&shared.asked, &shared.workload, sent.scrapes, &shared.progress).await?);
    }
    shared.progress.finish_and_clear();
    Ok(report)
}

type Driven = (SenderReport, f64, f64, Option<ServerReport>, Option<BenchError>);

/// Runs the connections to their end.
async fn drive(shared: &Arc<Shared>, connections: usize) -> Result<Driven, BenchError> {
    let series = shared.options.series;
    let bound = |index: usize| (u128::from(series) * index as u128 / connections as u128) as u64;
    let mut tasks = Vec::with_capacity(connections);
    for index in 0..connections {
        let report = SenderReport::new()?;
        tasks.push(tokio::spawn(sender::send(Arc::clone(shared), bound(index), bound(index + 1), report)));
    }
    shared.ready.wait().await;
    let before = server_metrics::fetch(&shared.asked).await;
    let started = shared.clock.monotonic();
    let cpu_before = process_cpu();
    let stopper = tokio::spawn(stop_in_time(Arc::clone(shared)));
    let mut sent = SenderReport::new()?;
    let mut scrapes = u64::MAX;
    let mut first_error = None;
    for task in tasks {
        let (report, error) = task.await?;
        scrapes = scrapes.min(report.scrapes);
        sent.merge(report);
        first_error = first_error.or(error);
    }
    sent.scrapes = scrapes;
    stopper.abort();
    let seconds = shared.clock.monotonic().saturating_sub(started).as_secs_f64();
    let generator_cpu = process_cpu().saturating_sub(cpu_before).as_secs_f64();
    let after = server_metrics::fetch_after(&shared.asked, before).await;
    let server_report = before.zip(after).map(|(before, after)| ServerReport {
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        resident_bytes_before: before.resident_bytes,
        resident_bytes_after: after.resident_bytes,
    });
    Ok((sent, seconds, generator_cpu, server_report, first_error))
}

/// Stops the load when its time is over or somebody interrupts it.
async fn stop_in_time(shared: Arc<Shared>) {
    let over = async {
        match shared.options.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shared.stop.store(true, Ordering::Relaxed);
}

/// A bar on the standard error, drawn only if that is a terminal.
fn progress_bar(wanted: bool, samples: Option<u64>) -> ProgressBar {
    let bar = match samples {
        Some(samples) => ProgressBar::new(samples),
        None => ProgressBar::no_length(),
    };
    bar.set_draw_target(if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let template = match samples {
        Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} samples, {per_sec}, {eta} left",
        None => "{msg} {spinner} {human_pos} samples, {per_sec}, {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message("sending");
    bar
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
