//! One float sample of a remote write message, of either version.
//!
//! Source: `prometheus/prompb/types.proto` (`Sample`), `prometheus/prompb/io/prometheus/write/v2/types.proto` (`Sample`).

use crate::encoding::protobuf::{WIRE_64_BIT, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::model::{Sample, TimestampMs};

/// `Sample.value`: a 64-bit field, as the tag byte.
pub(super) const TAG_VALUE: u8 = 0x09;
/// `Sample.timestamp`: a varint field, as the tag byte.
pub(super) const TAG_TIMESTAMP: u8 = 0x10;

/// A sample as it came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decoded {
    pub(super) sample: Sample,
    /// When what it counts began; 0 where that is not said. Version 1 has no such field.
    pub(super) start_ms: TimestampMs,
}

/// Reads one `Sample`. Fields that are missing are 0, as the format says.
#[inline]
pub(super) fn decode_sample(bytes: &[u8]) -> Result<Decoded, Corruption> {
    // What senders write: the value in nine bytes, then the timestamp to the end.
    if let Some((head, rest)) = bytes.split_first_chunk::<10>()
        && head[0] == TAG_VALUE
        && head[9] == TAG_TIMESTAMP
    {
        let timestamp = match rest.try_into().map(six_byte_varint) {
            Ok(Some(timestamp)) => Some(timestamp),
            _ => {
                let mut cursor = Cursor::new(rest);
                cursor.uvarint().ok().filter(|_| cursor.is_empty())
            }
        };
        if let Some(timestamp) = timestamp {
            let [_, v0, v1, v2, v3, v4, v5, v6, v7, _] = *head;
            let value = f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
            return Ok(Decoded { sample: Sample { timestamp_ms: timestamp as i64, value }, start_ms: 0 });
        }
    }
    decode_any_sample(bytes)
}

/// Reads a varint of exactly six bytes without a loop: every millisecond from 1971 to 2109 is one.
#[inline]
fn six_byte_varint([a, b, c, d, e, f]: [u8; 6]) -> Option<u64> {
    let raw = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    if raw & 0x8080_8080_8080 != 0x0080_8080_8080 {
        return None;
    }
    Some(
        raw & 0x7f
            | raw >> 1 & 0x7f << 7
            | raw >> 2 & 0x7f << 14
            | raw >> 3 & 0x7f << 21
            | raw >> 4 & 0x7f << 28
            | raw >> 5 & 0x7f << 35,
    )
}

/// Reads one `Sample` with its fields in any order and number.
fn decode_any_sample(bytes: &[u8]) -> Result<Decoded, Corruption> {
    let mut decoded = Decoded { sample: Sample { timestamp_ms: 0, value: 0.0 }, start_ms: 0 };
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (1, WIRE_64_BIT) => decoded.sample.value = f64::from_le_bytes(cursor.array()?),
            (2, WIRE_VARINT) => decoded.sample.timestamp_ms = cursor.uvarint()? as i64,
            (3, WIRE_VARINT) => decoded.start_ms = cursor.uvarint()? as i64,
            (1..=3, _) => return Err(wrong_wire_type(start)),
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::put;

    #[test]
    fn varint_of_six_bytes_is_read_as_any_other() {
        for value in [1 << 35, (1 << 42) - 1, 1_760_000_000_123, 1 << 35 | 1 << 7, 1 << 41 | 1 << 14] {
            let mut bytes = Vec::new();
            put::uvarint(&mut bytes, value);
            assert_eq!(six_byte_varint(bytes.try_into().unwrap()), Some(value));
        }
        assert_eq!(six_byte_varint([0x80, 0x80, 0x80, 0x80, 0x80, 0x80]), None);
        assert_eq!(six_byte_varint([0x80, 0x80, 0, 0x80, 0x80, 0]), None);
    }
}
