//! Chunks: compressed runs of samples, and the files that hold the head's full ones.
//!
//! A chunk is a run of samples of one series. All encodings are read through one door: [`sample_count`], [`samples`],
//! [`decode_into`]. [`ChunkBuilder`] writes the default ones.
//!
//! | encoding | file | |
//! |---|---|---|
//! | 1 XOR | `xor.rs` | floats; read and written |
//! | 2, 3 histogram, float histogram | `histogram/` | read and written |
//! | 4 XOR2 | `xor2.rs` | floats, perhaps with start timestamps; read |
//! | 5, 6 the histogram encodings with start timestamps | `histogram/` | read |
//!
//! [`head_file`] is the file format in which the head keeps its full chunks. Formats: `docs/format/chunk.md`,
//! `docs/format/chunks_head.md`.

mod builder;
pub mod head_file;
pub mod histogram;
mod start_time;
mod varbit;
pub mod xor;
pub mod xor2;
mod xor_value;

#[cfg(test)]
mod tests;

pub use builder::ChunkBuilder;
pub use head_file::{ChunkRef, FilesExtent, HeadChunkEntry, HeadChunkFileReader, HeadChunkFileWriter};
pub use histogram::{HistogramAppender, HistogramRef};
pub use xor::{XorAppender, XorIterator};

use histogram::HistogramSamples;
use xor2::Xor2Iterator;

use crate::encoding::Corruption;
use crate::encoding::bits::BitReader;
use crate::model::{ChunkEncoding, SampleValue, TimeRange, TimestampMs};
use crate::storage::Column;

/// Added to the encoding's number in a head chunk file where the chunk holds out-of-order samples.
///
/// Source: Prometheus `tsdb/chunks/head_chunks.go`, `OutOfOrderMask`.
pub const OUT_OF_ORDER: u8 = 0x80;

/// Whether histograms of an encoding have integer counts, and whether they come with start timestamps. `None` for
/// floats.
fn histogram_kind(encoding: ChunkEncoding) -> Option<(bool, bool)> {
    match encoding {
        ChunkEncoding::Xor | ChunkEncoding::Xor2 => None,
        ChunkEncoding::Histogram => Some((true, false)),
        ChunkEncoding::FloatHistogram => Some((false, false)),
        ChunkEncoding::HistogramSt => Some((true, true)),
        ChunkEncoding::FloatHistogramSt => Some((false, true)),
    }
}

/// How many samples a chunk says that it holds.
pub fn sample_count(encoding: ChunkEncoding, chunk: &[u8]) -> Result<u16, Corruption> {
    let count = match histogram_kind(encoding) {
        None => chunk.first_chunk().map(|header| u16::from_be_bytes(*header)),
        Some((_, has_start_times)) => histogram::sample_count(chunk, has_start_times),
    };
    count.ok_or(Corruption { what: "chunk has no header", offset: 0 })
}

/// The samples of a chunk, in order. It ends after the first error.
pub fn samples(encoding: ChunkEncoding, chunk: &[u8]) -> Result<Samples<'_>, Corruption> {
    Ok(Samples(Some(match (encoding, histogram_kind(encoding)) {
        (_, Some((is_integer, has_start_times))) => {
            Decoder::Histogram(Box::new(HistogramSamples::new(is_integer, has_start_times, chunk)?))
        }
        (ChunkEncoding::Xor2, _) => Decoder::Xor2(Xor2Iterator::new(chunk)?),
        _ => Decoder::Xor(XorIterator::new(chunk)?),
    })))
}

/// Iterates over the samples of a chunk of any encoding ([`samples`]).
#[derive(Debug, Clone)]
pub struct Samples<'a>(Option<Decoder<'a>>);

#[derive(Debug, Clone)]
enum Decoder<'a> {
    Xor(XorIterator<'a>),
    Xor2(Xor2Iterator<'a>),
    Histogram(Box<HistogramSamples<'a>>),
}

impl Iterator for Samples<'_> {
    type Item = Result<(TimestampMs, SampleValue), Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        let float = |(timestamp_ms, bits)| (timestamp_ms, SampleValue::Float(f64::from_bits(bits)));
        let next = match self.0.as_mut()? {
            Decoder::Xor(samples) => samples.next_sample().map(|sample| sample.map(float)),
            Decoder::Xor2(samples) => samples.next_sample().map(|sample| sample.map(float)),
            Decoder::Histogram(samples) => samples.next_sample(),
        };
        if next.is_err() {
            self.0 = None;
        }
        next.transpose()
    }
}

/// Appends the samples of `chunk` that lie in `range` to `column`, histograms with float counts. Samples before a
/// damaged place are appended.
pub fn decode_into(
    encoding: ChunkEncoding,
    chunk: &[u8],
    range: TimeRange,
    column: &mut Column,
) -> Result<(), Corruption> {
    match (encoding, histogram_kind(encoding)) {
        (_, Some((is_integer, has_start_times))) => {
            HistogramSamples::new(is_integer, has_start_times, chunk)?.decode_into(range, column)
        }
        (ChunkEncoding::Xor2, _) => {
            let mut samples = Xor2Iterator::new(chunk)?;
            // A bit is the least that a sample takes, so a false count reserves no more than the bytes allow.
            let expected = samples.remaining().min(chunk.len() * 8);
            column.timestamps_ms.reserve(expected);
            column.values.reserve(expected);
            while let Some((timestamp_ms, bits)) = samples.next_sample()? {
                if timestamp_ms > range.end_ms {
                    break;
                }
                if timestamp_ms >= range.start_ms {
                    column.push(timestamp_ms, f64::from_bits(bits));
                    column.set_start(samples.start_ms());
                }
            }
            Ok(())
        }
        _ => xor::decode_into(chunk, range, column),
    }
}

/// An unsigned LEB128 integer among bits.
fn read_uvarint(reader: &mut BitReader<'_>) -> Result<u64, Corruption> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = reader.bits(8)?;
        value |= (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Corruption { what: "varint of a chunk is longer than ten bytes", offset: 0 })
}

/// A zigzag-coded signed integer among bits.
fn read_varint(reader: &mut BitReader<'_>) -> Result<i64, Corruption> {
    let raw = read_uvarint(reader)?;
    Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}
