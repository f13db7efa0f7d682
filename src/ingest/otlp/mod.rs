//! OTLP metrics, over HTTP and gRPC.
//!
//! | module | does |
//! |---|---|
//! | [`http`], [`grpc`] | what each of the two accepts, and its answers |
//! | [`receive`] | one request, whatever carries it: decompressed, decoded, translated, stored |
//! | [`protobuf`], [`json`] | read the two encodings and hand on metric by metric |
//! | [`translate`] | from metrics to a batch |
//! | [`model`] | a metric, as both encodings give it |
//! | [`limits`] | what one request may hold |
//! | [`answer`] | the messages of answers |

pub mod answer;
#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod fake_store;
pub mod grpc;
pub mod http;
pub mod json;
mod json_fields;
mod json_values;
#[cfg(test)]
mod json_writer;
pub mod limits;
pub mod model;
pub mod protobuf;
pub mod receive;
#[cfg(test)]
mod testing;
pub mod translate;
mod wire;

pub use limits::{DecodeError, DecodeLimits};
pub use receive::OtlpOptions;
