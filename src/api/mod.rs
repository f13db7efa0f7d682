//! The HTTP API: Prometheus' endpoints, and our own.

pub mod error;
pub mod json;
pub mod number;
pub mod params;
pub mod response;
