//! Integers in as few bits as they need, behind a prefix that tells how many.
//!
//! Source: Prometheus `tsdb/chunkenc/varbit.go`. Format: `docs/format/chunk.md`.

use crate::encoding::Corruption;
use crate::encoding::bits::{BitReader, BitWriter};

/// Widths behind the prefixes `10`, `110` and so on, up to `11111110`. Behind eight ones stand 64 bits.
const WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Ones in front of a number that none of the widths holds.
const LONGEST_PREFIX: usize = 8;

/// The prefix of the width with this index in [`WIDTHS`].
#[inline]
fn write_prefixed(bits: &mut BitWriter, out: &mut Vec<u8>, width_index: usize, value: u64) {
    let length = width_index as u32 + 2;
    let prefix = (1u64 << length) - 2;
    let width = WIDTHS[width_index];
    bits.bits(out, prefix << width | value & ((1 << width) - 1), length + width);
}

fn write_longest(bits: &mut BitWriter, out: &mut Vec<u8>, value: u64) {
    bits.bits(out, 0xff, 8);
    bits.bits(out, value, 64);
}

/// Appends a signed integer. The range of each width leans to the positive side by one.
#[inline]
pub(super) fn write_int(bits: &mut BitWriter, out: &mut Vec<u8>, value: i64) {
    if value == 0 {
        return bits.bit(out, false);
    }
    let fits = |width: &u32| -((1i64 << (width - 1)) - 1) <= value && value <= 1i64 << (width - 1);
    match WIDTHS.iter().position(fits) {
        Some(index) => write_prefixed(bits, out, index, value as u64),
        None => write_longest(bits, out, value as u64),
    }
}

/// Appends an unsigned integer.
#[inline]
pub(super) fn write_uint(bits: &mut BitWriter, out: &mut Vec<u8>, value: u64) {
    if value == 0 {
        return bits.bit(out, false);
    }
    match WIDTHS.iter().position(|width| value >> width == 0) {
        Some(index) => write_prefixed(bits, out, index, value),
        None => write_longest(bits, out, value),
    }
}

/// How many ones stand in front, at most eight; the zero behind fewer is consumed too.
#[inline]
fn read_prefix(reader: &mut BitReader<'_>) -> Result<usize, Corruption> {
    for ones in 0..LONGEST_PREFIX {
        if !reader.bit()? {
            return Ok(ones);
        }
    }
    Ok(LONGEST_PREFIX)
}

/// Reads what [`write_int`] wrote.
#[inline]
pub(super) fn read_int(reader: &mut BitReader<'_>) -> Result<i64, Corruption> {
    match read_prefix(reader)? {
        0 => Ok(0),
        LONGEST_PREFIX => Ok(reader.bits(64)? as i64),
        ones => {
            let width = WIDTHS[ones - 1];
            let raw = reader.bits(width)? as i64;
            Ok(if raw > 1 << (width - 1) { raw - (1 << width) } else { raw })
        }
    }
}

/// Reads what [`write_uint`] wrote.
#[inline]
pub(super) fn read_uint(reader: &mut BitReader<'_>) -> Result<u64, Corruption> {
    match read_prefix(reader)? {
        0 => Ok(0),
        LONGEST_PREFIX => reader.bits(64),
        ones => reader.bits(WIDTHS[ones - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_at_the_edges_of_all_widths_read_back_in_the_documented_length() {
        let mut edges = vec![0i64, 1, -1, i64::MAX, i64::MIN];
        for width in WIDTHS {
            let half = 1i64 << (width - 1);
            edges.extend([half, half + 1, -half, -half + 1, 2 * half - 1, 2 * half]);
        }
        for value in edges {
            let (mut out, mut bits) = (Vec::new(), BitWriter::new());
            write_int(&mut bits, &mut out, value);
            write_uint(&mut bits, &mut out, value as u64);
            let mut reader = BitReader::new(&out);
            assert_eq!(read_int(&mut reader), Ok(value));
            assert_eq!(read_uint(&mut reader), Ok(value as u64));
        }
        for (value, length) in [(0, 1), (4, 5), (-3, 5), (5, 9), (32, 9), (256, 13), (2048, 17), (131_072, 24)] {
            let (mut out, mut bits) = (Vec::new(), BitWriter::new());
            write_int(&mut bits, &mut out, value);
            assert_eq!(out.len(), usize::div_ceil(length, 8), "{value}");
            let mut reader = BitReader::new(&out);
            read_int(&mut reader).unwrap();
            assert_eq!(reader.bits_read(), length, "{value}");
        }
    }
}
