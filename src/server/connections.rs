//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, plain or with TLS, within bounds, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::doors::Doors;
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
/// How long a client may take to agree on the keys of a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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
    doors: Option<Arc<Doors>>,
    limits: ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    mut stop: watch::Receiver<bool>,
    service: S,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ApiBody>> + Send + 'static,
{
    let builder = Arc::new(builder(limits));
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
        let connection = Connection { builder: builder.clone(), address, watcher: graceful.watcher() };
        let (doors, metrics, service) = (doors.clone(), metrics.clone(), service.clone());
        tokio::spawn(async move {
            connection.serve(stream, doors.as_deref(), service).await;
            metrics.closed.add(1);
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout = ?limits.drain_timeout, "requests were still under way when the time to stop was over");
    }
}

fn builder(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
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
    builder
}

/// A connection that was accepted.
struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    address: SocketAddr,
    watcher: Watcher,
}

impl Connection {
    /// Serves it to its end. Clients break off at any moment; that is no event.
    async fn serve<S, F>(self, stream: TcpStream, doors: Option<&Doors>, service: S)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ApiBody>> + Send + 'static,
    {
        let Some(doors) = doors else { return self.speak(stream, true, service).await };
        let (tls, http2) = doors.tls();
        let Some(tls) = tls else { return self.speak(stream, http2, service).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, http2, service).await,
            Ok(Err(error)) => {
                doors.metrics.handshakes_failed.add(1);
                tracing::debug!(address = %self.address, %error, "TLS connection did not come about");
            }
            Err(_) => doors.metrics.handshakes_failed.add(1),
        }
    }

    async fn speak<I, S, F>(self, stream: I, http2: bool, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        TokioIo<I>: Read + Write,
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ApiBody>> + Send + 'static,
    {
        let Connection { builder, address, watcher } = self;
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(address));
            let answered = service(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let stream = TokioIo::new(stream);
        let _ = if http2 {
            watcher.watch(builder.serve_connection(stream, answer).into_owned()).await
        } else {
            let builder = (*builder).clone().http1_only();
            watcher.watch(builder.serve_connection(stream, answer).into_owned()).await
        };
    }
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

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
