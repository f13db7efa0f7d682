//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, within bounds, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::api::response::ApiBody;
use crate::telemetry::Counter;

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long requests that are under way may take when the server stops.
    pub drain_timeout: Duration,
}

/// Bytes of the head of a request.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 128;
/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 128;
/// How long to wait after an accept that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the accept loop counts.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections that ended.
    pub closed: Counter,
}

/// The other end of a request's connection, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Serves connections until `stop` changes; then lets requests that are under way end.
pub async fn serve<S, F>(
    listener: TcpListener,
    limits: ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    mut stop: watch::Receiver<bool>,
    service: S,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ApiBody>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.changed() => break,
        };
        let Some((stream, address, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A connection whose other end is gone shows so when it is used.
        let _ = stream.set_nodelay(true);
        metrics.accepted.add(1);
        let service = service.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(address));
            let answered = service(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let connection = graceful.watch(connection.into_owned());
        let metrics = metrics.clone();
        tokio::spawn(async move {
            // Clients break off at any moment; that is no event.
            let _ = connection.await;
            metrics.closed.add(1);
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout = ?limits.drain_timeout, "requests were still under way when the time to stop was over");
    }
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            tracing::warn!(%error, "connection could not be accepted");
            None
        }
    }
}
