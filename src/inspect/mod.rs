//! Looking inside the files of a data directory.

pub mod block;
pub mod blocks;
pub mod chunks;
mod error;
pub mod index;
mod rows;
pub mod tombstones;
pub mod wal;

pub use block::{BlockReport, BlocksVerified, inspect_block, verify_blocks};
pub use blocks::{BlockList, list_blocks};
pub use chunks::{ChunkDump, ChunkDumpOptions, SampleDump, dump_chunks, dump_samples};
pub use error::InspectError;
pub use index::{IndexDump, IndexDumpOptions, dump_index};
pub use rows::Rows;
pub use tombstones::{TombstoneDump, dump_tombstones};
pub use wal::{InspectReport, RepairReport, WalInspectOptions, inspect_wal, repair_wal};
