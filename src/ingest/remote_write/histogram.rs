//! One native histogram of a remote write message, of either version.
//!
//! A histogram that is not a message of its kind makes the whole request malformed; one that is, and can't be stored, is
//! refused by itself.
//!
//! Source: `prometheus/prompb/types.proto`, `prometheus/prompb/io/prometheus/write/v2/types.proto` (`Histogram`,
//! `BucketSpan`): the fields have the same numbers, and version 2 has one more.

use crate::encoding::protobuf::{WIRE_64_BIT, WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::model::histogram::BucketSpan;
use crate::model::histogram::HistogramError;
use crate::model::{CounterResetHint, FloatHistogram, Histogram, SampleValue, TimestampMs, is_stale_nan};

/// Buckets, spans and boundaries that a histogram may have, all together. A client has some hundred buckets at most.
pub(super) const PARTS_MAX: usize = 1 << 14;

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum InvalidHistogram {
    /// It has more buckets, spans and boundaries than one may have.
    #[error("more than {PARTS_MAX} buckets, spans and boundaries")]
    TooLarge,
    /// Its parts do not belong together.
    #[error(transparent)]
    Inconsistent(#[from] HistogramError),
}

/// A histogram as it came.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) timestamp_ms: TimestampMs,
    /// When what it counts began; 0 where that is not said. Version 1 has no such field.
    pub(super) start_ms: TimestampMs,
    /// Buckets, spans and boundaries.
    pub(super) parts: usize,
    pub(super) value: Result<SampleValue, InvalidHistogram>,
}

/// A count, of one kind or the other: in the message the last one counts.
#[derive(Debug, Clone, Copy, Default)]
enum Count {
    #[default]
    None,
    Integer(u64),
    Float(f64),
}

impl Count {
    fn integer(self) -> u64 {
        if let Count::Integer(count) = self { count } else { 0 }
    }

    fn float(self) -> f64 {
        if let Count::Float(count) = self { count } else { 0.0 }
    }
}

/// The buckets of one side.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

#[derive(Debug, Default)]
struct Message {
    count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Count,
    positive: Side,
    negative: Side,
    hint: CounterResetHint,
    timestamp_ms: TimestampMs,
    start_ms: TimestampMs,
    custom_values: Vec<f64>,
    /// Parts that were there, kept or not.
    parts: usize,
}

/// Reads a `Histogram`, and refuses what can't be stored.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Corruption> {
    let message = Message::read(bytes)?;
    let Message { timestamp_ms, start_ms, .. } = message;
    let parts = message.parts.min(PARTS_MAX);
    let value = if message.parts > PARTS_MAX { Err(InvalidHistogram::TooLarge) } else { message.value() };
    Ok(Decoded { timestamp_ms, start_ms, parts, value })
}

impl Message {
    fn read(bytes: &[u8]) -> Result<Self, Corruption> {
        let mut message = Message::default();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            let Message { parts, positive, negative, custom_values, .. } = &mut message;
            match (tag >> 3, tag & 7) {
                (1, WIRE_VARINT) => message.count = Count::Integer(cursor.uvarint()?),
                (2, WIRE_64_BIT) => message.count = Count::Float(float(&mut cursor)?),
                (3, WIRE_64_BIT) => message.sum = float(&mut cursor)?,
                (4, WIRE_VARINT) => message.schema = zigzag_32(cursor.uvarint()?),
                (5, WIRE_64_BIT) => message.zero_threshold = float(&mut cursor)?,
                (6, WIRE_VARINT) => message.zero_count = Count::Integer(cursor.uvarint()?),
                (7, WIRE_64_BIT) => message.zero_count = Count::Float(float(&mut cursor)?),
                (8, WIRE_LENGTH) => keep(read_span(&mut cursor)?, &mut negative.spans, parts),
                (9, wire) => repeated(&mut cursor, wire, WIRE_VARINT, &mut negative.deltas, parts, Cursor::varint)?,
                (10, wire) => repeated(&mut cursor, wire, WIRE_64_BIT, &mut negative.counts, parts, float)?,
                (11, WIRE_LENGTH) => keep(read_span(&mut cursor)?, &mut positive.spans, parts),
                (12, wire) => repeated(&mut cursor, wire, WIRE_VARINT, &mut positive.deltas, parts, Cursor::varint)?,
                (13, wire) => repeated(&mut cursor, wire, WIRE_64_BIT, &mut positive.counts, parts, float)?,
                (14, WIRE_VARINT) => message.hint = hint(cursor.uvarint()?),
                (15, WIRE_VARINT) => message.timestamp_ms = cursor.uvarint()? as i64,
                (16, wire) => repeated(&mut cursor, wire, WIRE_64_BIT, custom_values, parts, float)?,
                (17, WIRE_VARINT) => message.start_ms = cursor.uvarint()? as i64,
                (1..=17, _) => return Err(wrong_wire_type(start)),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        Ok(message)
    }

    /// The histogram, of the kind of its count, no finer than what is stored.
    fn value(self) -> Result<SampleValue, InvalidHistogram> {
        let Message { count, sum, schema, zero_threshold, zero_count, positive, negative, hint, custom_values, .. } =
            self;
        if let Count::Float(count) = count {
            // What else a staleness marker says means nothing.
            if is_stale_nan(sum) {
                let marker = FloatHistogram { counter_reset_hint: hint, ..FloatHistogram::stale() };
                return Ok(SampleValue::FloatHistogram(Box::new(marker)));
            }
            let mut histogram = FloatHistogram {
                schema,
                counter_reset_hint: hint,
                zero_threshold,
                zero_count: zero_count.float(),
                count,
                sum,
                positive_spans: positive.spans,
                positive_buckets: positive.counts,
                negative_spans: negative.spans,
                negative_buckets: negative.counts,
                custom_values,
            };
            if histogram.is_well_formed() {
                histogram.reduce_to_finest_stored();
            }
            histogram.validate()?;
            return Ok(SampleValue::FloatHistogram(Box::new(histogram)));
        }
        if is_stale_nan(sum) {
            let marker = Histogram { counter_reset_hint: hint, ..Histogram::stale() };
            return Ok(SampleValue::Histogram(Box::new(marker)));
        }
        let mut histogram = Histogram {
            schema,
            counter_reset_hint: hint,
            zero_threshold,
            zero_count: zero_count.integer(),
            count: count.integer(),
            sum,
            positive_spans: positive.spans,
            positive_deltas: positive.deltas,
            negative_spans: negative.spans,
            negative_deltas: negative.deltas,
            custom_values,
        };
        if histogram.is_well_formed() {
            histogram.reduce_to_finest_stored();
        }
        histogram.validate()?;
        Ok(SampleValue::Histogram(Box::new(histogram)))
    }
}

fn float(cursor: &mut Cursor<'_>) -> Result<f64, Corruption> {
    Ok(f64::from_le_bytes(cursor.array()?))
}

fn hint(number: u64) -> CounterResetHint {
    match number {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

/// A zigzag-coded integer of 32 bits; higher bits do not count.
fn zigzag_32(raw: u64) -> i32 {
    let raw = raw as u32;
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

fn read_span(cursor: &mut Cursor<'_>) -> Result<BucketSpan, Corruption> {
    let bytes = cursor.uvarint_slice()?;
    let base = cursor.position() - bytes.len();
    let read = || {
        let mut span = BucketSpan { offset: 0, length: 0 };
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (1, WIRE_VARINT) => span.offset = zigzag_32(cursor.uvarint()?),
                (2, WIRE_VARINT) => span.length = cursor.uvarint()? as u32,
                (1 | 2, _) => return Err(wrong_wire_type(start)),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        Ok(span)
    };
    read().map_err(|corruption: Corruption| Corruption { offset: corruption.offset + base, ..corruption })
}

/// Counts a part, and keeps it if the histogram may be stored with it.
fn keep<T>(part: T, out: &mut Vec<T>, parts: &mut usize) {
    *parts += 1;
    if *parts <= PARTS_MAX {
        out.push(part);
    }
}

/// Reads a repeated field: packed, or a single element.
fn repeated<'a, T>(
    cursor: &mut Cursor<'a>,
    wire: u64,
    element: u64,
    out: &mut Vec<T>,
    parts: &mut usize,
    read: impl Fn(&mut Cursor<'a>) -> Result<T, Corruption>,
) -> Result<(), Corruption> {
    if wire == element {
        keep(read(cursor)?, out, parts);
        return Ok(());
    }
    if wire != WIRE_LENGTH {
        return Err(wrong_wire_type(cursor.position()));
    }
    let bytes = cursor.uvarint_slice()?;
    let base = cursor.position() - bytes.len();
    let mut packed = Cursor::new(bytes);
    while !packed.is_empty() {
        let part = read(&mut packed).map_err(|fault| Corruption { offset: fault.offset + base, ..fault })?;
        keep(part, out, parts);
    }
    Ok(())
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
pub(super) mod tests;
