//! OTLP metrics, whatever carries them.

pub mod model;
pub mod translate;
