//! The immutable half of the store: blocks in Prometheus' format, their writer, their reader, their check.
//!
//! A block is a directory named by a ULID: `meta.json`, `index`, `chunks/`, `tombstones` (`docs/format/block.md`).
//!
#![doc = include_str!("../../docs/format/block.md")]

pub mod accel;
mod check;
pub mod chunks;
mod damage;
mod delete;
mod entry;
mod error;
mod index;
mod lookup;
mod meta;
mod open;
mod read;
mod samples;
mod snapshot;
mod source;
mod write;

pub use check::{BlockCheck, Finding, check, check_undecoded};
pub use damage::{Damage, DamagedPart};
pub use delete::BlockDeletion;
pub use entry::SeriesEntry;
pub use error::BlockError;
pub use index::SeriesRef;
pub use meta::{BlockCompaction, BlockDesc, BlockMeta, BlockStats, HINT_FROM_OUT_OF_ORDER, ulid_text, ulid_texts};
pub use open::Block;
pub use snapshot::{SnapshotBlock, SnapshotManifest};
pub use write::{BlockOrigin, BlockWriter, PreparedBlock, WriterOptions};

use crate::model::Matcher;

#[cfg(test)]
mod tests;
