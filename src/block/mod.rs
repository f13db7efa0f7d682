//! The immutable half of the store: blocks in Prometheus' format, their writer, their reader, their check.

pub mod accel;
