//! The immutable half of the store: blocks in Prometheus' format, their writer, their reader, their check.
//!
//! A block is a directory named by a ULID: `meta.json`, `index`, `chunks/`, `tombstones` (`docs/format/block.md`).

pub mod accel;
pub mod chunks;
mod error;
mod index;
mod meta;
mod write;

pub use error::BlockError;
pub use index::SeriesRef;
pub use meta::{BlockCompaction, BlockDesc, BlockMeta, BlockStats, HINT_FROM_OUT_OF_ORDER, ulid_text, ulid_texts};
pub use write::{BlockOrigin, BlockWriter, PreparedBlock, WriterOptions};

#[cfg(test)]
mod tests;
