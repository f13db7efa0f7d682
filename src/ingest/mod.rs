//! From protocols to write batches, and from what became of a batch to the answer its sender gets.
//!
//! | module | does |
//! |---|---|
//! | [`snappy`] | decompresses a body within a bound |
//! | [`remote_write`] | scans a remote write 1.0 message into a batch without copying it |
//! | [`histogram`] | reads a native histogram of such a message, and judges it |
//! | [`pool`] | lends the buffers of one request to the next |
//! | [`http`] | the HTTP rules of `/api/v1/write`, and its answers |
//! | [`metrics`] | counts what came, what was added and what was refused |

pub mod histogram;
pub mod http;
pub mod metrics;
pub mod pool;
pub mod remote_write;
pub mod snappy;

pub use http::{Appended, Refusal, WriteLimits, WriteService, WriteStore, collect_body, handle_remote_write};
pub use metrics::IngestMetrics;
pub use pool::BufferPool;
pub use remote_write::Metadata;
