//! OTLP at the server's doors: which requests are OTLP, and their bodies and answers over HTTP and gRPC.

use std::fmt;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::time::timeout;

use super::intake::Held;
use super::service::{REPLAYING, SHORT_OF_MEMORY, Service, sender_of};
use crate::api::response::ApiBody;
use crate::ingest::Protocol;
use crate::ingest::answer::Refusal;
use crate::ingest::otlp::{grpc, http};

/// Why a call failed that took longer than its caller waits.
const CALL_TOO_SLOW: &str = "the call's time is over; whether the request is stored is not known";

/// The address that a connection came to, which decides what it can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// `listen`: everything.
    Main,
    /// `otlp.grpc_listen`: OTLP and probes.
    OtlpGrpc,
    /// `otlp.http_listen`: OTLP and probes.
    OtlpHttp,
}

impl Listener {
    /// The configuration key that sets its address.
    pub fn key(self) -> &'static str {
        match self {
            Listener::Main => "listen",
            Listener::OtlpGrpc => "otlp.grpc_listen",
            Listener::OtlpHttp => "otlp.http_listen",
        }
    }

    /// What to do about an address that cannot be had.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Listener::Main => "",
            Listener::OtlpGrpc | Listener::OtlpHttp => " (set it to another address, or to an empty one to do without)",
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl Service {
    /// `POST /v1/metrics`, and the same under the API's path.
    pub(super) async fn otlp_over_http(&self, parts: &Parts, body: Incoming) -> Response<ApiBody> {
        let sender = sender_of(parts, Protocol::OtlpHttp);
        let (body, _held) = self.otlp_body(body, 0).await;
        let is_there = body.is_ok();
        let handled = http::handle(&self.write, &self.otlp, &sender, &parts.method, &parts.headers, body);
        // A refusal has nothing to wait for.
        let handled = if is_there { self.in_turn(sender.protocol, handled).await } else { Ok(handled.await) };
        match handled {
            Ok(answer) => answer.map(ApiBody::whole),
            Err(refusal) => self.put_off(&sender, &parts.headers, &refusal.message),
        }
    }

    /// `MetricsService/Export`. Whoever calls may say how long it waits.
    pub(super) async fn otlp_over_grpc(&self, parts: &Parts, body: Incoming) -> Response<ApiBody> {
        let sender = sender_of(parts, Protocol::OtlpGrpc);
        let export = async {
            let (body, _held) = self.otlp_body(body, grpc::PREFIX_BYTES).await;
            let is_there = body.is_ok();
            let handled = grpc::export(&self.write, &self.otlp, &sender, &parts.headers, body);
            let handled = if is_there { self.in_turn(sender.protocol, handled).await } else { Ok(handled.await) };
            match handled {
                Ok(reply) => grpc_response(reply),
                Err(refusal) => self.put_off(&sender, &parts.headers, &refusal.message),
            }
        };
        let Some(limit) = grpc::timeout(&parts.headers) else { return export.await };
        timeout(limit, export).await.unwrap_or_else(|_elapsed| {
            let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, CALL_TOO_SLOW);
            self.write.count_refused(&sender, &refusal);
            grpc_response(grpc::failed(&refusal))
        })
    }

    /// Reads a body, once there is a database to put it into, and memory; and says what it holds.
    async fn otlp_body(&self, body: Incoming, prefix_bytes: usize) -> (Result<Bytes, Refusal>, Option<Held>) {
        let later = |why| (Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)), None);
        if self.api.database().is_none() {
            return later(REPLAYING);
        }
        if self.memory.is_past_bound() {
            return later(SHORT_OF_MEMORY);
        }
        let bytes_max = usize::try_from(self.write.limits.body_bytes).unwrap_or(usize::MAX);
        match self.receive(body, bytes_max.saturating_add(prefix_bytes)).await {
            Ok((body, held)) => (Ok(body), Some(held)),
            Err(refusal) => (Err(refusal), None),
        }
    }
}

/// The answer to a gRPC call of anything else.
pub(super) fn unknown_call(path: &str) -> Response<ApiBody> {
    grpc_response(grpc::unknown_method(path))
}

/// A reply as an answer of HTTP/2.
pub(super) fn grpc_response(reply: grpc::Reply) -> Response<ApiBody> {
    let grpc::Reply { mut headers, message, trailers } = reply;
    let body = match message {
        Some(message) => ApiBody::with_trailers(message, trailers),
        // Where no message comes, what would come last comes first.
        None => {
            headers.extend(trailers);
            ApiBody::whole(Bytes::new())
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
