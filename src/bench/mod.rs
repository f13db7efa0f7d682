//! Deterministic load, and what it measures.
//!
//! | module | does |
//! |---|---|
//! | [`workload`] | the series and values, as pure functions |
//! | [`wire`] | each protocol's messages, and what answers mean |
//! | [`write`](mod@write) | `bench write`: sends them, keeps receipts, measures |
//! | [`read_back`] | reads everything back and compares value bits |
//! | [`report`] | the result as a table or as JSON |

pub mod read_back;
pub mod report;
mod sender;
mod server_metrics;
pub mod wire;
pub mod workload;
pub mod write;

pub use report::WriteReport;
pub use wire::{Compression, Protocol};
pub use write::{BenchError, WriteOptions, run_write};
