//! OTLP metrics, whatever carries them.

pub mod model;
