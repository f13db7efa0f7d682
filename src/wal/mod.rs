//! The write-ahead log: Prometheus' format, group commit, seals, recovery.

pub mod commit;

pub use commit::{CommitError, Durability, GroupRecords, GroupSource, Receipt};
