//! Looking inside the files of a data directory.

pub mod wal;

pub use wal::{InspectReport, RepairReport, WalInspectOptions, inspect_wal, repair_wal};
