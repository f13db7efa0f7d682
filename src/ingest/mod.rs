//! From protocols to write batches, and from what became of a batch to the answer its sender gets.
//!
//! | module | does |
//! |---|---|
//! | [`accept`] | the one path of all protocols: decode, append, wait for the commit |
//! | [`answer`] | what a sender is told, whatever its protocol |
//! | [`decompress`] | unpacks gzip and zstd while a body arrives, within a bound |
//! | [`remote_write`] | `/api/v1/write`: its HTTP rules, and its messages |
//! | [`otlp`] | OTLP metrics, over HTTP and gRPC |
//! | [`text`] | `/api/v1/import/prometheus`: Prometheus' text format and OpenMetrics |
//! | [`snappy`] | decompresses a body within a bound |
//! | [`pool`] | lends the buffers of one request to the next |
//! | [`turns`] | bounds how many writes are worked on at once, and how long one may take |
//! | [`metrics`] | counts what came, what was added and what was refused |

pub mod accept;
pub mod answer;
pub mod decompress;
pub mod metrics;
pub mod otlp;
pub mod pool;
pub mod remote_write;
pub mod snappy;
pub mod text;
pub mod turns;

pub use crate::writers::{Protocol, Sender, sender};
pub use accept::{Appended, Metadata, WriteFeatures, WriteLimits, WriteService, WriteStore};
pub use metrics::{IngestMetrics, ProtocolMetrics};
pub use turns::Turns;
