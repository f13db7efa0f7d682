//! The layout of a histogram chunk: what all of its samples have in common, written once in front of the first.
//!
//! Source: Prometheus `tsdb/chunkenc/histogram_meta.go`. Format: `docs/format/chunk.md`.

use crate::chunk::varbit;
use crate::encoding::Corruption;
use crate::encoding::bits::{BitReader, BitWriter};
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, is_known_schema, span_end};

/// Threshold byte: the threshold follows as a float.
const THRESHOLD_AS_FLOAT: u8 = 255;

/// Between a float's exponent bits and the byte of a threshold that is a power of two.
const THRESHOLD_EXPONENT_BIAS: u64 = 1023 - 244;

/// Boundaries of custom buckets are written as thousandths up to this.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// What all samples of a chunk have in common.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive_spans: Vec<BucketSpan>,
    pub(super) negative_spans: Vec<BucketSpan>,
    pub(super) custom_values: Vec<f64>,
}

impl Layout {
    pub(super) fn write(&self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        write_threshold(bits, out, self.zero_threshold);
        varbit::write_int(bits, out, i64::from(self.schema));
        for spans in [&self.positive_spans, &self.negative_spans] {
            varbit::write_uint(bits, out, spans.len() as u64);
            for span in spans {
                varbit::write_uint(bits, out, u64::from(span.length));
                varbit::write_int(bits, out, i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            varbit::write_uint(bits, out, self.custom_values.len() as u64);
            for &bound in &self.custom_values {
                write_bound(bits, out, bound);
            }
        }
    }

    /// Reads a layout, and takes no more memory than the bits that are left can need: each bucket of a first sample
    /// takes `bucket_bits` at least. Spans come out without empty ones, which change no bucket's index.
    pub(super) fn read(reader: &mut BitReader<'_>, bucket_bits: usize) -> Result<Self, Corruption> {
        let zero_threshold = read_threshold(reader)?;
        let schema = i32::try_from(varbit::read_int(reader)?).ok().filter(|schema| is_known_schema(*schema));
        let Some(schema) = schema else {
            return Err(Corruption { what: "schema of a histogram chunk is not known", offset: 0 });
        };
        let positive_spans = read_spans(reader, bucket_bits)?;
        let negative_spans = read_spans(reader, bucket_bits)?;
        let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA { read_bounds(reader)? } else { Vec::new() };
        Ok(Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values })
    }
}

/// How many buckets some spans hold.
pub(super) fn bucket_count(spans: &[BucketSpan]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

fn read_spans(reader: &mut BitReader<'_>, bucket_bits: usize) -> Result<Vec<BucketSpan>, Corruption> {
    let corrupt = |what| Err(Corruption { what, offset: 0 });
    let count = varbit::read_uint(reader)?;
    let mut spans: Vec<BucketSpan> = Vec::new();
    let (mut buckets, mut end, mut gap) = (0u64, 0i64, 0i64);
    for number in 0..count {
        let length = varbit::read_uint(reader)?;
        let offset = varbit::read_int(reader)?;
        let (Ok(length), Ok(offset)) = (u32::try_from(length), i32::try_from(offset)) else {
            return corrupt("span of a histogram chunk is wider than 32 bits");
        };
        if number > 0 && offset < 0 {
            return corrupt("spans of a histogram chunk overlap");
        }
        buckets += u64::from(length);
        if buckets > (reader.bits_left() / bucket_bits) as u64 {
            return corrupt("histogram chunk is too short for its buckets");
        }
        gap += i64::from(offset);
        let (Some(reached), Ok(offset)) = (span_end(end, i64::from(offset), length), i32::try_from(gap)) else {
            return corrupt("spans of a histogram chunk reach too far");
        };
        end = reached;
        if length > 0 {
            spans.push(BucketSpan { offset, length });
            gap = 0;
        }
    }
    Ok(spans)
}

/// Powers of two, which thresholds mostly are, take a byte.
fn write_threshold(bits: &mut BitWriter, out: &mut Vec<u8>, threshold: f64) {
    if threshold == 0.0 {
        return bits.bits(out, 0, 8);
    }
    let raw = threshold.to_bits();
    let exponent = raw >> 52;
    let byte = exponent.wrapping_sub(THRESHOLD_EXPONENT_BIAS);
    if raw << 12 == 0 && (1..u64::from(THRESHOLD_AS_FLOAT)).contains(&byte) {
        bits.bits(out, byte, 8);
    } else {
        bits.bits(out, u64::from(THRESHOLD_AS_FLOAT), 8);
        bits.bits(out, raw, 64);
    }
}

fn read_threshold(reader: &mut BitReader<'_>) -> Result<f64, Corruption> {
    Ok(match reader.bits(8)? {
        0 => 0.0,
        byte if byte == u64::from(THRESHOLD_AS_FLOAT) => f64::from_bits(reader.bits(64)?),
        byte => f64::from_bits((byte + THRESHOLD_EXPONENT_BIAS) << 52),
    })
}

/// Whole thousandths, as people write boundaries, take up to four bytes.
fn write_bound(bits: &mut BitWriter, out: &mut Vec<u8>, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=BOUND_THOUSANDTHS_MAX).contains(&thousandths) && whole / 1000.0 == bound {
        varbit::write_uint(bits, out, whole as u64 + 1);
    } else {
        bits.bit(out, false);
        bits.bits(out, bound.to_bits(), 64);
    }
}

fn read_bounds(reader: &mut BitReader<'_>) -> Result<Vec<f64>, Corruption> {
    let count = varbit::read_uint(reader)?;
    // A boundary takes five bits at least.
    if count > (reader.bits_left() / 5) as u64 {
        return Err(Corruption { what: "histogram chunk is too short for its boundaries", offset: 0 });
    }
    let mut bounds = Vec::with_capacity(count as usize);
    for _ in 0..count {
        bounds.push(match varbit::read_uint(reader)? {
            0 => f64::from_bits(reader.bits(64)?),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold_bytes(threshold: f64) -> Vec<u8> {
        let (mut out, mut bits) = (Vec::new(), BitWriter::new());
        write_threshold(&mut bits, &mut out, threshold);
        assert_eq!(read_threshold(&mut BitReader::new(&out)).unwrap().to_bits(), threshold.to_bits());
        out
    }

    #[test]
    fn zero_threshold_takes_one_byte_where_it_is_a_usual_power_of_two() {
        assert_eq!(threshold_bytes(0.0), [0]);
        // The default of Prometheus' clients.
        assert_eq!(threshold_bytes(2f64.powi(-128)), [116]);
        assert_eq!(threshold_bytes(2f64.powi(-243)), [1]);
        assert_eq!(threshold_bytes(2f64.powi(10)), [254]);
        for other in [2f64.powi(-244), 2f64.powi(11), 0.001, -1.0, f64::MIN_POSITIVE / 2.0, f64::INFINITY, f64::NAN] {
            assert_eq!(threshold_bytes(other).len(), 9, "{other}");
        }
    }

    #[test]
    fn boundaries_read_back_bit_for_bit() {
        let bounds =
            [f64::NEG_INFINITY, -1.5, 0.0, 0.001, 0.005, 0.0051, 1.0, 33_554.430, 33_554.431, 1e300, f64::INFINITY];
        let (mut out, mut bits) = (Vec::new(), BitWriter::new());
        varbit::write_uint(&mut bits, &mut out, bounds.len() as u64);
        for bound in bounds {
            write_bound(&mut bits, &mut out, bound);
        }
        assert_eq!(read_bounds(&mut BitReader::new(&out)).unwrap(), bounds);
    }

    #[test]
    fn empty_spans_are_folded_into_the_next() {
        let span = |offset, length| BucketSpan { offset, length };
        let layout = Layout {
            positive_spans: vec![span(-5, 0), span(2, 1), span(3, 0), span(4, 2), span(9, 0)],
            ..Layout::default()
        };
        let (mut out, mut bits) = (Vec::new(), BitWriter::new());
        layout.write(&mut bits, &mut out);
        assert_eq!(Layout::read(&mut BitReader::new(&out), 1).unwrap().positive_spans, [span(-3, 1), span(7, 2)]);
    }

    #[test]
    fn absurd_spans_and_boundaries_are_refused_before_memory_is_taken() {
        let span = |offset, length| BucketSpan { offset, length };
        for spans in [
            vec![span(0, u32::MAX)],
            vec![span(0, 1), span(-1, 1)],
            vec![span(i32::MAX, 1)],
            vec![span(i32::MAX, 0), span(i32::MAX, 1)],
        ] {
            let (mut out, mut bits) = (Vec::new(), BitWriter::new());
            Layout { positive_spans: spans.clone(), ..Layout::default() }.write(&mut bits, &mut out);
            out.extend([0; 8]);
            assert!(Layout::read(&mut BitReader::new(&out), 1).is_err(), "{spans:?}");
        }
        let (mut out, mut bits) = (Vec::new(), BitWriter::new());
        varbit::write_uint(&mut bits, &mut out, u64::MAX);
        assert!(read_bounds(&mut BitReader::new(&out)).is_err());
    }
}
