//! The server: wires configuration, database, API and connections together, from start to orderly stop.
//!
//! It listens before the log is replayed, so that probes see a process that is alive and how far it is; everything that
//! needs data answers 503 until then. On SIGTERM or SIGINT it takes no new connections, lets requests that are under way
//! end, makes all that was accepted durable, and ends the log with a seal that says so.

pub mod connections;
pub mod doors;
mod import;
mod ingest_status;
pub mod intake;
pub mod metrics;
pub mod otlp;
mod places;
pub mod pressure;
pub mod progress;
mod reload;
pub mod service;
mod stall;
mod storage_metrics;
pub mod write_store;
mod writer_metrics;

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::api::site::Site;
use crate::api::status::VERSION;
use crate::api::{Api, ApiOptions, Setting};
use crate::clock::Clock;
use crate::db::{Db, DbOptions, DbSlot, OpenError};
use crate::fs::Fs;
use crate::ingest::otlp::OtlpOptions;
use crate::ingest::{Turns, WriteFeatures, WriteLimits, WriteService};
use crate::promql::engine::EngineOptions;
use connections::{ConnectionLimits, ConnectionMetrics, Front};
use doors::{Doors, WebConfigError};
use intake::{Intake, IntakeLimits};
use metrics::{HttpMetrics, Metrics};
use otlp::Listener;
use pressure::{Gate, MemoryGuard};
use service::Service;
use write_store::DbStore;

/// How long requests that are under way may take when the server stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Stack of the threads that evaluate queries: deep expressions are walked by recursion.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address could not be listened on.
    #[error("{listener} = {address:?}: {source}{}", listener.advice())]
    Listen {
        /// Which of the addresses.
        listener: Listener,
        /// The configured address.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The web configuration file cannot be used.
    #[error(transparent)]
    WebConfig(#[from] WebConfigError),
    /// The data directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refused threads or signals.
    #[error("start the runtime: {0}")]
    Runtime(io::Error),
    /// Opening the data directory ended in a panic.
    #[error("opening the data directory panicked: {0}")]
    OpenPanicked(String),
}

/// What clients may take of the server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections.
    pub connections: ConnectionLimits,
    /// Bodies that are arriving.
    pub intake: IntakeLimits,
    /// Writes, and as many other requests, that are worked on at once.
    pub requests_max: usize,
    /// Memory of the process past which writes are refused; 0 for none.
    pub memory_bytes_max: u64,
    /// How long a write may wait for the log.
    pub write_timeout: Duration,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where everything is served.
    pub listen: String,
    /// Where OTLP is served over gRPC; nowhere if empty.
    pub otlp_grpc_listen: String,
    /// Where OTLP is served over HTTP; nowhere if empty.
    pub otlp_http_listen: String,
    /// The data directory, the log and the head.
    pub db: DbOptions,
    /// How queries are evaluated.
    pub engine: EngineOptions,
    /// Queries that are evaluated at once.
    pub queries_max: usize,
    /// A query that takes longer is logged.
    pub slow_query: Option<Duration>,
    /// Bounds on a write request.
    pub write_limits: WriteLimits,
    /// What is made of what senders say beside their samples.
    pub write_features: WriteFeatures,
    /// How OTLP is received.
    pub otlp: OtlpOptions,
    /// Write requests that may be accepted and not yet durable at once.
    pub writes_max: usize,
    /// Bounds on connections, bodies and requests.
    pub limits: ServerLimits,
    /// Whether the admin paths answer.
    pub admin: bool,
    /// Whether `/-/reload` answers.
    pub lifecycle: bool,
    /// The file with TLS, users and tokens.
    pub web_config_file: Option<PathBuf>,
    /// Below which path all is served, and under which address people reach it.
    pub site: Site,
    /// The resolved configuration, key and value, as it is shown.
    pub settings: Vec<Setting>,
}

/// Serves until a signal ends it.
pub fn run(options: ServerOptions, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .thread_name("chronolith")
        .build()
        .map_err(ServeError::Runtime)?;
    let result = runtime.block_on(async {
        let stop = signals().map_err(ServeError::Runtime)?;
        serve(options, fs, clock, stop, |_| ()).await
    });
    // A replay that a signal interrupted is not waited for: it only reads, and its repairs survive a kill.
    runtime.shutdown_background();
    result
}

/// Resolves at the first SIGTERM or SIGINT.
fn signals() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Serves until `stop` resolves. `listening` is told the address.
pub async fn serve(
    options: ServerOptions,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = &'static str>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let started_ms = clock.now_ms();
    let hangups = signal(SignalKind::hangup()).map_err(ServeError::Runtime)?;
    let doors = match &options.web_config_file {
        Some(path) => Some(Arc::new(Doors::open(path, fs.clone())?)),
        None => None,
    };
    tracing::info!(version = VERSION, data_dir = %options.db.data_dir.display(), "started");
    let (main, address) = bind(Listener::Main, &options.listen).await?;
    let mut listeners = vec![(Listener::Main, main)];
    for (listener, address) in
        [(Listener::OtlpGrpc, &options.otlp_grpc_listen), (Listener::OtlpHttp, &options.otlp_http_listen)]
    {
        if !address.is_empty() {
            listeners.push((listener, bind(listener, address).await?.0));
        }
    }
    listening(address);

    let slot = Arc::new(DbSlot::default());
    let write = WriteService {
        features: options.write_features,
        ..WriteService::new(DbStore(slot.clone()), options.write_limits, clock.clone())
    };
    let api = Arc::new(Api::new(
        ApiOptions {
            engine: options.engine,
            queries_max: options.queries_max,
            slow_query: options.slow_query,
            settings: options.settings,
            started_ms,
            admin: options.admin,
        },
        slot.clone(),
        write.writers.clone(),
        clock.clone(),
    ));
    let connection_metrics = Arc::new(ConnectionMetrics::default());
    let service = Arc::new(Service {
        api: api.clone(),
        write,
        otlp: options.otlp,
        turns: Turns::new(options.writes_max, options.limits.write_timeout),
        metrics: Metrics {
            http: HttpMetrics::default(),
            connections: connection_metrics.clone(),
            fs: fs.clone(),
            started_seconds: started_ms as f64 / 1000.0,
        },
        clock: clock.clone(),
        intake: Arc::new(Intake::new(options.limits.intake, clock.clone())),
        gate: Gate::new(options.limits.requests_max),
        memory: MemoryGuard::new(options.limits.memory_bytes_max, clock.clone()),
        in_flight: AtomicU64::new(0),
        doors: doors.clone(),
        lifecycle: options.lifecycle,
        site: options.site,
    });
    let front = Front::new(doors, options.limits.connections, connection_metrics, clock.clone());
    let (stop_sender, stop_receiver) = watch::channel(false);
    tokio::spawn(reload::at_each_hangup(hangups, service.clone(), stop_receiver.clone()));
    let mut accepting = JoinSet::new();
    for (listener, socket) in listeners {
        let service = service.clone();
        let answer = move |request| service.clone().answer(listener, request);
        accepting.spawn(connections::serve(socket, front.clone(), stop_receiver.clone(), answer));
    }

    tokio::pin!(stop);
    let opened = tokio::select! {
        opened = open(options.db, fs, clock, slot.clone()) => opened.map(Some),
        signal = &mut stop => {
            tracing::info!(signal, "stopping during replay");
            Ok(None)
        }
    };
    let result = match opened {
        Ok(Some(())) => {
            let signal = stop.await;
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // Nobody listens any more only where the accept loop has ended already.
    let _ = stop_sender.send(true);
    while let Some(ended) = accepting.join_next().await {
        if ended.is_err() {
            tracing::error!("an accept loop panicked");
        }
    }
    api.stop();
    if let Some(db) = slot.get() {
        close(db).await;
    }
    result
}

/// Listens on an address.
async fn bind(listener: Listener, address: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let error = |source| ServeError::Listen { listener, address: address.to_owned(), source };
    let socket = TcpListener::bind(address).await.map_err(error)?;
    let local = socket.local_addr().map_err(error)?;
    tracing::info!(address = %local, key = listener.key(), "listening");
    Ok((socket, local))
}

/// Opens the database on a thread of its own, and puts it into the slot.
async fn open(options: DbOptions, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>, slot: Arc<DbSlot>) -> Result<(), ServeError> {
    let (done, mut is_done) = oneshot::channel();
    let watched = slot.clone();
    let opening = std::thread::Builder::new()
        .name("open".into())
        .spawn(move || {
            let result = Db::open(options, fs, clock, watched.progress());
            // Where nobody waits any more, the server is stopping, and the database closes here.
            let _ = done.send(result);
        })
        .map_err(ServeError::Runtime)?;
    let mut report = progress::ReplayReport::new();
    let opened = loop {
        tokio::select! {
            opened = &mut is_done => break opened,
            () = tokio::time::sleep(progress::INTERVAL) => report.show(slot.progress()),
        }
    };
    report.finish();
    let db = match opened {
        Ok(opened) => Arc::new(opened?),
        Err(_gone) => {
            let panicked = opening.join().err();
            return Err(ServeError::OpenPanicked(panicked.map_or_else(String::new, |cause| panic_text(&*cause))));
        }
    };
    log_recovery(&db);
    db.start_maintenance().map_err(ServeError::Runtime)?;
    slot.fill(db);
    tracing::info!("ready");
    Ok(())
}

/// What a panic said. A message with values in it is a `String`, one without is a `&str`.
fn panic_text(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

/// Says what the start found, what was lost, and where the bytes are.
fn log_recovery(db: &Db) {
    let recovery = db.recovery();
    if let Some(tail) = &recovery.torn_tail {
        tracing::warn!(
            segment = tail.segment, offset = tail.offset, bytes = tail.bytes, records = tail.records, what = %tail.what,
            "torn tail was cut from the log; its bytes are in quarantine"
        );
    }
    for damage in &recovery.damages {
        let groups = damage.groups.map(|(first, last)| format!("{first} to {last}"));
        tracing::error!(
            segment = damage.segment, offset = damage.offset, bytes = damage.bytes, what = %damage.what,
            groups = groups.as_deref().unwrap_or("unknown"),
            "damage in the log; what could not be read is in quarantine, the samples of these groups may be missing"
        );
    }
    if !recovery.known.is_empty() {
        tracing::warn!(count = recovery.known.len(), "damage of earlier starts is noted in quarantine");
    }
    if let Some(reason) = &recovery.repair_failure {
        tracing::warn!(%reason, "damage could not be set aside; the next start tries again");
    }
    let (loaded, replayed) = (db.loaded(), db.replayed());
    if let Some(damage) = &loaded.damage {
        tracing::error!(%damage, "damage in the head chunk files; their samples were taken from the log");
    }
    if replayed.samples_unknown > 0 || replayed.records_damaged > 0 {
        tracing::error!(
            samples_of_unknown_series = replayed.samples_unknown,
            records_damaged = replayed.records_damaged,
            first = replayed.first_damage.as_deref().unwrap_or(""),
            "parts of the log could not be replayed"
        );
    }
    if replayed.records_skipped > 0 {
        tracing::warn!(records = replayed.records_skipped, "records of kinds that are not read were passed over");
    }
    tracing::info!(
        elapsed = ?db.replay_time(),
        segments = recovery.log.segments.len(),
        records = recovery.log.records(),
        groups = recovery.log.sealed_groups,
        series = replayed.series,
        samples = replayed.samples,
        samples_in_files = replayed.samples_in_files,
        exemplars = replayed.exemplars,
        "log replayed"
    );
}

/// Makes everything durable that was accepted.
async fn close(db: Arc<Db>) {
    let closing = tokio::task::spawn_blocking(move || {
        db.close();
        db.log_status()
    });
    match closing.await {
        Ok(log) if log.pending_requests == 0 && log.failure.is_none() => {
            tracing::info!(last_group = log.last_group, last_commit = log.last_commit, "log closed");
        }
        Ok(log) => {
            let reason = log.failure.as_deref().unwrap_or("unknown");
            tracing::error!(
                reason,
                pending = log.pending_requests,
                "log closed with requests that were not acknowledged"
            );
        }
        Err(panicked) => tracing::error!(error = %panicked, "closing the log panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_with_and_without_values_tells_its_message() {
        let said = |panic: fn()| panic_text(&*std::panic::catch_unwind(panic).unwrap_err());
        assert_eq!(said(|| panic!("chunk {} is bad", std::hint::black_box(7))), "chunk 7 is bad");
        assert_eq!(said(|| panic!("plain")), "plain");
        assert_eq!(said(|| std::panic::panic_any(7)), "no message");
    }
}
