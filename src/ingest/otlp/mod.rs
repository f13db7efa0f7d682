//! OTLP metrics, whatever carries them.
//!
//! | module | does |
//! |---|---|
//! | [`protobuf`], [`json`] | read the two encodings and hand on metric by metric |
//! | [`model`] | a metric, as both encodings give it |
//! | [`translate`] | from metrics to a batch |
//! | [`limits`] | what one request may hold |

#[cfg(test)]
mod arbitrary;
pub mod json;
mod json_fields;
mod json_values;
#[cfg(test)]
mod json_writer;
pub mod limits;
pub mod model;
pub mod protobuf;
#[cfg(test)]
mod testing;
pub mod translate;
mod wire;

pub use limits::{DecodeError, DecodeLimits};
