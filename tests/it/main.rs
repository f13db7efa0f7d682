//! The tests of the program as a whole: the real binary over its commands and ports, and rules about the source itself.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "a harness that all modules share, and nobody links against"
)]

mod abuse;
mod api;
mod bench;
mod block_commands;
mod commands;
mod console;
mod crash;
pub mod deploy;
mod disk_full;
mod documents;
mod doors;
mod faults;
mod grafana;
mod harness;
mod hostile;
mod interop;
mod maintenance_crash;
mod otlp;
mod otlp_deltas;
mod permissions;
mod promql_fuzz;
mod queries;
mod recovery;
mod rejects;
mod remote_read;
mod remote_write;
pub mod runbook;
mod text_import;
pub mod tidy;
mod transfer;
