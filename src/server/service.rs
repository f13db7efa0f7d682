//! From a request to the part of the program that answers it, and what all answers have in common: bounds on bodies,
//! counts, CORS, compression, and that no panic reaches a client as a broken connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::connections::PeerAddress;
use super::doors::{Caller, Doors};
use super::ingest_status;
use super::intake::{Held, Intake, IntakeError};
use super::metrics::{HttpMetrics, Metrics};
use super::otlp::{Listener, grpc_response, unknown_call};
use super::pressure::{Gate, MemoryGuard};
use super::write_store::DbStore;
use crate::api::console;
use crate::api::encoding::accepts_gzip;
use crate::api::error::ApiError;
use crate::api::response::{self, ApiBody};
use crate::api::route::{Right, Route};
use crate::api::site::{Site, SitePath};
use crate::api::{Api, ApiRequest};
use crate::clock::Clock;
use crate::ingest::answer::Refusal;
use crate::ingest::otlp::{OtlpOptions, grpc, http as otlp_http};
use crate::ingest::{Protocol, Sender, Turns, WriteService, remote_write};
use crate::telemetry::TextFormat;

/// Bytes of a form in a request's body. The longest query has 1 MiB, and each of its bytes may be escaped as three.
const FORM_BYTES_MAX: usize = 4 << 20;

/// Answers requests.
pub struct Service {
    /// The API.
    pub api: Arc<Api>,
    /// The write endpoints.
    pub write: WriteService<DbStore>,
    /// How OTLP is received.
    pub otlp: OtlpOptions,
    /// Whose turn it is among the writes that are there.
    pub turns: Turns,
    /// All that `/metrics` shows.
    pub metrics: Metrics,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The bodies that are arriving.
    pub intake: Arc<Intake>,
    /// Bounds the requests that are worked on.
    pub gate: Gate,
    /// Refuses writes before the memory runs out.
    pub memory: MemoryGuard,
    /// Requests that are being answered.
    pub in_flight: AtomicU64,
    /// TLS, users and tokens, where there are any.
    pub doors: Option<Arc<Doors>>,
    /// Whether `/-/reload` answers.
    pub lifecycle: bool,
    /// Below which path all is served, and under which address people reach it.
    pub site: Site,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Counts a request when its answer is ready, or as canceled when its client goes away before.
struct Counted<'s> {
    service: &'s Service,
    route: Option<Route>,
    began: Duration,
    status: u16,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.service.in_flight.fetch_sub(1, Ordering::Relaxed);
        let elapsed = self.service.clock.monotonic().saturating_sub(self.began);
        let name = self.route.as_ref().map_or(HttpMetrics::UNKNOWN, Route::name);
        self.service.metrics.http.observe(name, self.status, elapsed);
    }
}

/// What a request is for.
struct Call {
    route: Option<Route>,
    /// Where its sender is sent instead.
    redirect: Option<String>,
    /// Whether it is for the API, also where that has no such endpoint.
    is_api: bool,
}

/// Bytes for which room is made at once, as a request announces them; for more there is room once they come.
const EXPECTED_BYTES_MAX: u64 = 1 << 20;

/// A body, and what it holds of the bytes that bodies may.
pub(super) type HeldBody = (Bytes, Held);

/// A form, JSON, or neither; and what it holds.
type SmallBody = (Option<Bytes>, Option<Bytes>, Option<Held>);

/// Why a write has to come again during a start.
pub(super) const REPLAYING: &str = "the log is being replayed";
/// Why a write has to come again when there is too little memory.
pub(super) const SHORT_OF_MEMORY: &str = "the server is short of memory; try again";
/// When to come again after a 503 of the server's own.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// Why a request is refused that a page of another site sent.
const FOREIGN_PAGE: &str = "Forbidden: a page of another origin asked for this; if it is the console behind a proxy, set \
                            web.external_url to the address that the browser shows\n";

/// The status under which a request is counted whose client went away.
const STATUS_CLIENT_GONE: u16 = 499;

impl Service {
    /// Answers one request that came to an address.
    pub async fn answer(self: Arc<Self>, listener: Listener, request: Request<Incoming>) -> Response<ApiBody> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let path = match listener {
            Listener::Main => self.site.resolve(request.uri().path()),
            // The paths of OTLP's own ports are those of its specification.
            Listener::OtlpGrpc | Listener::OtlpHttp => SitePath::Below(request.uri().path()),
        };
        let route = path.below().and_then(Route::find).filter(|route| listener == Listener::Main || route.is_of_otlp());
        let redirect = path.redirect();
        let is_api = path.below().is_some_and(is_api) || route == Some(Route::OtlpMetricsShort);
        let is_guarded = route.as_ref().is_some_and(Route::is_guarded);
        let began = self.clock.monotonic();
        let mut counted = Counted { service: &self, route: route.clone(), began, status: STATUS_CLIENT_GONE };
        let gzip = accepts_gzip(request.headers());
        let from_page = request.headers().contains_key(header::ORIGIN) && is_api && !is_guarded;
        let call = Call { route, redirect, is_api };

        // A task of its own, so that a panic ends the task and not the connection; dropping the guard ends it too.
        let service = self.clone();
        let mut task = AbortOnDrop(tokio::spawn(async move { service.dispatch(call, request).await }));
        let mut answer = match (&mut task.0).await {
            Ok(answer) => answer,
            Err(panicked) => response::error(&ApiError::internal("the request could not be worked on", panicked)),
        };
        response::compress_whole(&mut answer, gzip);
        response::set_vary(&mut answer);
        if from_page {
            set_cors(answer.headers_mut());
        }
        if let Some(doors) = &self.doors {
            doors.set_headers(answer.headers_mut());
        }
        counted.status = answer.status().as_u16();
        answer
    }

    async fn dispatch(self: Arc<Self>, call: Call, request: Request<Incoming>) -> Response<ApiBody> {
        let Call { route, redirect, is_api } = call;
        let (mut parts, body) = request.into_parts();
        if let Some(doors) = &self.doors
            && let Err(denied) = admit(doors, route.as_ref(), &mut parts).await
        {
            let why = match denied.status() {
                StatusCode::SERVICE_UNAVAILABLE => "too many passwords are being checked",
                _ => "the credential is missing, wrong, or not for writing",
            };
            self.count_refused(route.as_ref(), &parts, Refusal::new(denied.status(), why));
            return *denied;
        }
        if let Some(target) = redirect {
            return console::redirect(&target);
        }
        if parts.method == Method::OPTIONS && is_api {
            return response::no_content();
        }
        let Some(route) = route else {
            let is_call = grpc::is_call(&parts.headers);
            return if is_call { unknown_call(parts.uri.path()) } else { response::not_found() };
        };
        if parts.method == Method::OPTIONS {
            let mut answer = response::no_content();
            *answer.status_mut() = StatusCode::OK;
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.allow()));
            return answer;
        }
        if route.is_guarded() && self.site.is_foreign(&parts.headers) {
            self.count_refused(Some(&route), &parts, Refusal::new(StatusCode::FORBIDDEN, FOREIGN_PAGE.trim_end()));
            return response::text(StatusCode::FORBIDDEN, FOREIGN_PAGE);
        }
        let Some(_admitted) = self.gate.admit(&route, || self.intake.make_way()) else {
            const TOO_MANY: &str = "too many requests are being worked on; try again";
            return match write_protocol(&route, &parts.headers) {
                Some(protocol) => self.put_off(&sender_of(&parts, protocol), &parts.headers, TOO_MANY),
                None => come_again(TOO_MANY),
            };
        };
        if route == Route::Write {
            return self.write(&parts, body).await;
        }
        if matches!(route, Route::OtlpMetrics | Route::OtlpMetricsShort) {
            return self.otlp_over_http(&parts, body).await;
        }
        if route == Route::OtlpExport && grpc::is_call(&parts.headers) {
            return self.otlp_over_grpc(&parts, body).await;
        }
        if route == Route::OtlpExport && parts.method == Method::POST {
            const NOT_GRPC: &str = "this path takes application/grpc";
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_GRPC);
            self.count_refused(Some(&route), &parts, refusal);
            return response::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{NOT_GRPC}\n"));
        }
        if !route.takes(&parts.method) {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            self.count_refused(Some(&route), &parts, refusal);
            let mut answer = response::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.allow()));
            return answer;
        }
        if route == Route::Reload {
            return self.answer_reload().await;
        }
        if matches!(route, Route::Import | Route::ImportGroup(_)) {
            return self.import(route, &parts, body).await;
        }
        if route == Route::Metrics {
            return self.exposition(&parts.headers).await;
        }
        if route == Route::StorageIngest {
            return ingest_status::answer(&self);
        }
        if route == Route::Read {
            return match self.collect(body, FORM_BYTES_MAX).await {
                Ok((body, _held)) => self.api.remote_read(&parts.headers, body).await,
                Err(refusal) => *refusal,
            };
        }
        let (form, json, _held) = match self.small_body(&parts, body).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        };
        let url_query = parts.uri.query().unwrap_or("").to_owned();
        let request = ApiRequest { method: parts.method, url_query, headers: parts.headers, form, json };
        self.api.handle(route, request).await
    }

    /// The body of a request, as a form or as JSON. Other bodies are not read.
    async fn small_body(&self, parts: &Parts, body: Incoming) -> Result<SmallBody, Box<Response<ApiBody>>> {
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if !matches!(parts.method, Method::POST | Method::PUT) {
            return Ok((None, None, None));
        }
        match media_type.as_str() {
            "application/x-www-form-urlencoded" => {
                let (form, held) = self.collect(body, FORM_BYTES_MAX).await?;
                Ok((Some(form), None, Some(held)))
            }
            "application/json" => {
                let (json, held) = self.collect(body, FORM_BYTES_MAX).await?;
                Ok((None, Some(json), Some(held)))
            }
            _ => Ok((None, None, None)),
        }
    }

    /// Reads a body, within bounds of size, time, and what all bodies may hold together; gives an answer where that fails.
    async fn collect(&self, body: Incoming, bytes_max: usize) -> Result<HeldBody, Box<Response<ApiBody>>> {
        let refuse = |mut refusal: Refusal| {
            refusal.message.push('\n');
            Box::new(refusal.into_response().map(ApiBody::whole))
        };
        self.receive(body, bytes_max).await.map_err(refuse)
    }

    /// The same, and gives a refusal where that fails.
    pub(super) async fn receive(&self, mut body: Incoming, bytes_max: usize) -> Result<HeldBody, Refusal> {
        let too_large = || {
            let message = format!("body exceeds the limit of {bytes_max} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        };
        // An announced length is believed: nobody has to send a body to hear that it is too long.
        if body.size_hint().lower() > bytes_max as u64 {
            return too_large();
        }
        let later = |error: IntakeError| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        let expected = body.size_hint().lower();
        let mut held = self.intake.begin();
        let mut whole = Gathered::default();
        while let Some(frame) = held.next(body.frame()).await.map_err(later)? {
            let frame = frame.map_err(|error| Refusal::bad_request(format!("read body: {error}")))?;
            // Trailers say nothing that is needed.
            let Ok(piece) = frame.into_data() else { continue };
            if whole.len() + piece.len() > bytes_max {
                return too_large();
            }
            held.grow(piece.len() as u64).await.map_err(later)?;
            whole.push(piece, expected);
        }
        held.complete();
        Ok((whole.into_bytes(), held))
    }

    async fn write(&self, parts: &Parts, body: Incoming) -> Response<ApiBody> {
        let sender = sender_of(parts, remote_write::protocol_named_in(&parts.headers));
        if let Some(answer) = self.not_now(&sender, &parts.headers) {
            return answer;
        }
        let bytes_max = usize::try_from(self.write.limits.body_bytes).unwrap_or(usize::MAX);
        let (body, _held) = match self.receive(body, bytes_max).await {
            Ok(body) => body,
            Err(refusal) => {
                self.write.count_refused(&sender, &refusal);
                return refusal.into_response().map(ApiBody::whole);
            }
        };
        let handled = remote_write::handle(&self.write, &sender, &parts.method, &parts.headers, body);
        match self.in_turn(sender.protocol, handled).await {
            Ok(answer) => answer.map(ApiBody::whole),
            Err(refusal) => self.put_off(&sender, &parts.headers, &refusal.message),
        }
    }

    /// Works on a write whose body is there when it has its turn, and counts how long that took.
    pub(super) async fn in_turn<T>(&self, protocol: Protocol, write: impl Future<Output = T>) -> Result<T, Refusal> {
        let began = self.clock.monotonic();
        let done = self.turns.take(write).await;
        let now = self.clock.monotonic();
        self.write.metrics.of(protocol).answer_time.observe(now, now.saturating_sub(began));
        done
    }

    /// The answer to a write before there is a database to put it into, or memory.
    pub(super) fn not_now(&self, sender: &Sender, headers: &HeaderMap) -> Option<Response<ApiBody>> {
        if self.api.database().is_none() {
            self.write.count_refused(sender, &Refusal::new(StatusCode::SERVICE_UNAVAILABLE, REPLAYING));
            return Some(self.api.unavailable());
        }
        self.memory.is_past_bound().then(|| self.put_off(sender, headers, SHORT_OF_MEMORY))
    }

    /// The answer to a write that may succeed later, as its protocol has it; it counts as its sender's like any other.
    pub(super) fn put_off(&self, sender: &Sender, headers: &HeaderMap, why: &str) -> Response<ApiBody> {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
        self.write.count_refused(sender, &refusal);
        match sender.protocol {
            Protocol::OtlpHttp => otlp_http::refused(headers, &refusal).map(ApiBody::whole),
            Protocol::OtlpGrpc if grpc::is_call(headers) => grpc_response(grpc::failed(&refusal)),
            _ => come_again(why),
        }
    }

    /// Counts a request that is refused before its endpoint sees it, where that takes samples.
    fn count_refused(&self, route: Option<&Route>, parts: &Parts, refusal: Refusal) {
        if let Some(protocol) = route.and_then(|route| write_protocol(route, &parts.headers)) {
            self.write.count_refused(&sender_of(parts, protocol), &refusal);
        }
    }

    /// `/metrics`. The head's sizes come from a look at every series, so it is done where that holds nobody up.
    async fn exposition(self: &Arc<Self>, headers: &HeaderMap) -> Response<ApiBody> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let format = TextFormat::negotiate(accept);
        let service = self.clone();
        match tokio::task::spawn_blocking(move || service.metrics.exposition(format, &service)).await {
            Ok(text) => response::with_type(StatusCode::OK, format.content_type(), text),
            Err(panicked) => response::error(&ApiError::internal("the metrics could not be collected", panicked)),
        }
    }
}

/// The pieces of a body. One alone is passed on as it is; more are put together as they come, since tiny ones would weigh
/// many times what they hold.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Adds a piece of a body that is expected to have `expected` bytes.
    fn push(&mut self, piece: Bytes, expected: u64) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if !self.first.is_empty() {
            let expected = expected.min(EXPECTED_BYTES_MAX) as usize;
            self.all.reserve(expected.max(self.first.len() + piece.len()));
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&piece);
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// The answer to a request that may succeed later.
pub(super) fn come_again(text: impl Into<String>) -> Response<ApiBody> {
    let mut response = response::text(StatusCode::SERVICE_UNAVAILABLE, text.into() + "\n");
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

/// Lets a request in whose credential covers what its endpoint needs, and notes in it whose that is.
async fn admit(doors: &Doors, route: Option<&Route>, parts: &mut Parts) -> Result<(), Box<Response<ApiBody>>> {
    let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip());
    let caller = doors.admit(&parts.headers, address).await.map_err(|denied| Box::new(denied.into_response()))?;
    if !caller.rights.cover(route.map_or(Right::Any, Route::needs)) {
        return Err(Box::new(doors.forbid()));
    }
    parts.extensions.insert(caller);
    Ok(())
}

/// The protocol of an endpoint that takes samples.
fn write_protocol(route: &Route, headers: &HeaderMap) -> Option<Protocol> {
    match route {
        Route::Write => Some(remote_write::protocol_named_in(headers)),
        Route::Import | Route::ImportGroup(_) => Some(Protocol::Text),
        Route::OtlpMetrics | Route::OtlpMetricsShort => Some(Protocol::OtlpHttp),
        Route::OtlpExport => Some(Protocol::OtlpGrpc),
        _ => None,
    }
}

/// Who sent a request.
pub(super) fn sender_of(parts: &Parts, protocol: Protocol) -> Sender {
    let agent = parts.headers.get(header::USER_AGENT);
    Sender {
        protocol,
        address: parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip()),
        agent: agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        user: parts.extensions.get::<Caller>().and_then(|caller| caller.name.as_deref().map(str::to_owned)),
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop(tokio::task::JoinHandle<Response<ApiBody>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a path is one of the API, whose answers pages of other origins may read.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

/// Lets pages of any origin read the answer, as Prometheus does by default.
fn set_cors(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
