//! Looking inside the files of a data directory.

pub mod blocks;
pub mod chunks;
mod error;
mod rows;
pub mod tombstones;
pub mod wal;

pub use blocks::{BlockList, list_blocks};
pub use chunks::{ChunkDump, ChunkDumpOptions, SampleDump, dump_chunks, dump_samples};
pub use error::InspectError;
pub use rows::Rows;
pub use tombstones::{TombstoneDump, dump_tombstones};
pub use wal::{InspectReport, RepairReport, WalInspectOptions, inspect_wal, repair_wal};
