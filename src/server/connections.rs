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
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::doors::Doors;
use super::places::{BusyBody, Places, Taking};
use super::stall::{StallGuard, Streams, WatchedBody};
use crate::api::response::ApiBody;
use crate::clock::Clock;
use crate::telemetry::Counter;

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// Those of one address.
    pub of_address_max: Option<usize>,
    /// Bytes of the head of a request.
    pub header_bytes_max: usize,
    /// Header lines of a request.
    pub headers_max: usize,
    /// Requests that one HTTP/2 connection may have under way.
    pub streams_max: u32,
    /// How long a client may leave what it is sent untaken.
    pub send_timeout: Duration,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long requests that are under way may take when the server stops.
    pub drain_timeout: Duration,
}

/// Streams that a client reset before they were looked at; a connection with more ends.
const RESET_STREAMS_MAX: usize = 20;
/// Bytes of an answer that wait in an HTTP/2 stream for a slow client.
const SEND_BUFFER_BYTES: usize = 128 << 10;
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
    /// Idle connections that gave their place to another.
    pub evicted: Counter,
    /// Connections that were closed because their address has too many.
    pub refused: Counter,
}

/// What the connections of all addresses have in common.
pub struct Front {
    doors: Option<Arc<Doors>>,
    limits: ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    places: Arc<Places>,
    builder: auto::Builder<Streams>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("doors", &self.doors).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Front {
    /// A front without connections.
    pub fn new(
        doors: Option<Arc<Doors>>,
        limits: ConnectionLimits,
        metrics: Arc<ConnectionMetrics>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let places = Places::new(limits.connections_max, limits.of_address_max, clock.clone());
        Arc::new(Front { doors, limits, metrics, places, builder: builder(limits, clock) })
    }
}

/// The other end of a request's connection, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Serves connections until `stop` changes; then lets requests that are under way end.
pub async fn serve<S, F>(listener: TcpListener, front: Arc<Front>, mut stop: watch::Receiver<bool>, service: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ApiBody>> + Send + 'static,
{
    let (metrics, limits) = (&front.metrics, front.limits);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &front) => accepted,
            _ = stop.changed() => break,
        };
        let Some((stream, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A connection whose other end is gone shows so when it is used.
        let _ = stream.set_nodelay(true);
        metrics.accepted.add(1);
        let Some(place) = front.places.take(address, &metrics.evicted) else {
            metrics.refused.add(1);
            metrics.closed.add(1);
            continue;
        };
        let place = Arc::new(place);
        let connection = Connection {
            front: front.clone(),
            address,
            place: place.clone(),
            watcher: graceful.watcher(),
            stop: stop.clone(),
        };
        let stream = StallGuard::new(stream, limits.send_timeout);
        let (front, service) = (front.clone(), service.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection.serve(stream, service) => {}
                () = place.evicted() => {}
            }
            front.metrics.closed.add(1);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout = ?limits.drain_timeout, "requests were still under way when the time to stop was over");
    }
}

fn builder(limits: ConnectionLimits, clock: Arc<dyn Clock>) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { clock, timeout: limits.send_timeout });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max)
        .max_headers(limits.headers_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// A connection that was accepted.
struct Connection {
    front: Arc<Front>,
    address: SocketAddr,
    place: Arc<Taking>,
    watcher: Watcher,
    stop: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it to its end. Clients break off at any moment; that is no event.
    async fn serve<S, F>(self, stream: StallGuard<TcpStream>, service: S)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<ApiBody>> + Send + 'static,
    {
        let Some(doors) = self.front.doors.clone() else { return self.speak(stream, true, service).await };
        let (tls, http2) = doors.tls();
        let Some(tls) = tls else { return self.speak(stream, http2, service).await };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream));
        let mut stop = self.stop.clone();
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = stop.changed() => return,
        };
        match shaken {
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
        let Connection { front, address, place, watcher, .. } = self;
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(address));
            let (busy, answered) = (place.busy(), service(request));
            async move { Ok::<_, Infallible>(answered.await.map(|body| WatchedBody::new(BusyBody { body, _busy: busy }))) }
        });
        let stream = TokioIo::new(stream);
        let _ = if http2 {
            watcher.watch(front.builder.serve_connection(stream, answer).into_owned()).await
        } else {
            let builder = front.builder.clone().http1_only();
            watcher.watch(builder.serve_connection(stream, answer).into_owned()).await
        };
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, front: &Front) -> Option<(TcpStream, SocketAddr)> {
    let accepted = listener.accept().await;
    front.places.wait(&front.metrics.evicted).await;
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "connection could not be accepted");
            None
        }
    }
}
