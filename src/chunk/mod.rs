//! Chunks: compressed runs of samples, and the files that hold the head's full ones.
//!
//! A chunk is a run of samples of one series. [`xor`] is the encoding of float samples; [`head_file`] is the file format
//! in which the head keeps its full chunks (`docs/format/chunk.md`, `docs/format/chunks_head.md`).

pub mod head_file;
pub mod xor;

pub use head_file::{ChunkRef, HeadChunkEntry, HeadChunkFileReader, HeadChunkFileWriter};
pub use xor::{XorAppender, XorIterator};

/// The encoding number of XOR chunks, on disk.
pub const ENCODING_XOR: u8 = 1;

/// Added to the encoding's number in a head chunk file where the chunk holds out-of-order samples.
///
/// Source: Prometheus `tsdb/chunks/head_chunks.go`, `OutOfOrderMask`.
pub const OUT_OF_ORDER: u8 = 0x80;
