//! The decoders, each with what has to hold for every input.

mod block;
mod bodies;
mod head_chunks;
mod log;
mod otlp;
mod promql;
mod remote_read;
mod remote_write;
mod text;

/// A decoder under test.
pub struct Target {
    /// What it is called on the command line and in `testdata/fuzz`.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What is worth inserting.
    pub words: &'static [&'static [u8]],
    /// Makes checksums right again, so that mutations get behind them.
    pub repair: fn(&mut [u8]),
    /// Decodes, and panics where something does not hold. Whether anything was made of the input.
    pub run: fn(&[u8]) -> bool,
    /// Bytes that may be allocated whatever the input.
    pub bytes_fixed: usize,
    /// Bytes that may be allocated for each byte of input.
    pub bytes_each: usize,
}

/// All of them.
pub static ALL: &[Target] = &[
    text::PROMETHEUS,
    text::OPEN_METRICS,
    text::IMPORT,
    remote_write::V1,
    remote_write::V2,
    remote_read::REQUEST,
    otlp::PROTOBUF,
    otlp::JSON,
    bodies::SNAPPY,
    bodies::GZIP,
    bodies::ZSTD,
    promql::EXPRESSION,
    log::RECORD,
    log::SEGMENT,
    block::INDEX,
    block::CHUNK,
    block::SEGMENT,
    block::TOMBSTONES,
    head_chunks::FILE,
];

/// For formats without checksums.
fn no_repair(_: &mut [u8]) {}
