//! Who sent a request, and in which protocol.

use std::net::IpAddr;

/// How a request came. The text is the label of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Remote write 1.0.
    RemoteWrite1,
    /// Remote write 2.0.
    RemoteWrite2,
    /// OTLP over HTTP.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// Prometheus' text format, or OpenMetrics.
    Text,
}

impl Protocol {
    /// Every protocol, for the counters.
    pub const ALL: [Protocol; 5] =
        [Protocol::RemoteWrite1, Protocol::RemoteWrite2, Protocol::OtlpHttp, Protocol::OtlpGrpc, Protocol::Text];

    /// The protocol as a metric label and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::RemoteWrite1 => "remote-write",
            Protocol::RemoteWrite2 => "remote-write-2",
            Protocol::OtlpHttp => "otlp-http",
            Protocol::OtlpGrpc => "otlp-grpc",
            Protocol::Text => "text",
        }
    }
}

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// How the request came.
    pub protocol: Protocol,
    /// The other end of the connection.
    pub address: Option<IpAddr>,
    /// The program, as it names itself.
    pub agent: Option<String>,
    /// The name that goes with the request's credential.
    pub user: Option<String>,
}

impl Sender {
    /// A sender of whom nothing but the protocol is known.
    pub fn unknown(protocol: Protocol) -> Self {
        Sender { protocol, address: None, agent: None, user: None }
    }
}
