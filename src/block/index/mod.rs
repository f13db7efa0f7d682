//! The index file of a block: series, their labels and chunks, and which series carry a label.
//!
//! Format: `docs/format/block.md`. Source: Prometheus `tsdb/index/index.go`.

mod format;
mod output;
mod pairs;
mod postings;
mod read;
mod select;
mod spill;
mod symbols;
mod table;
mod write;

pub(super) use format::ChunkMeta;
pub(super) use read::{IndexReader, SeriesReader};
pub(super) use write::IndexBuilder;

/// A series' number in an index: of version 2 its entry's offset divided by 16, of version 1 the offset.
pub type SeriesRef = u32;
