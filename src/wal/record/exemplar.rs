//! Records of exemplars: single observations with labels of their own, such as the trace that they belong to.
//!
//! Source of the layout: Prometheus `tsdb/record/record.go`; ours is in `docs/format/wal.md`.

use super::RecordType;
use crate::encoding::{Corruption, Cursor, put};
use crate::model::{Label, TimestampMs};

/// One exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct RefExemplar<'a> {
    /// The series that it belongs to.
    pub series_ref: u64,
    /// When it was observed.
    pub timestamp_ms: TimestampMs,
    /// What was observed.
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: Vec<Label<'a>>,
}

/// Writes one record of exemplars. The first is the base of all others' deltas.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExemplarsEncoder {
    base: Option<(u64, TimestampMs)>,
}

impl ExemplarsEncoder {
    /// An encoder for the next record.
    pub fn new() -> Self {
        ExemplarsEncoder::default()
    }

    /// Appends an exemplar. The first one starts the record, with its type byte.
    pub fn push(&mut self, out: &mut Vec<u8>, exemplar: &RefExemplar<'_>) {
        let (base_ref, base_ms) = match self.base {
            Some(base) => base,
            None => {
                out.push(RecordType::Exemplars as u8);
                put::u64_be(out, exemplar.series_ref);
                put::u64_be(out, exemplar.timestamp_ms as u64);
                *self.base.insert((exemplar.series_ref, exemplar.timestamp_ms))
            }
        };
        put::varint(out, exemplar.series_ref.wrapping_sub(base_ref) as i64);
        put::varint(out, exemplar.timestamp_ms.wrapping_sub(base_ms));
        put::u64_be(out, exemplar.value.to_bits());
        put::uvarint(out, exemplar.labels.len() as u64);
        for label in &exemplar.labels {
            put::uvarint_slice(out, label.name.as_bytes());
            put::uvarint_slice(out, label.value.as_bytes());
        }
    }
}

/// Reads the body of an exemplars record. Ends after the first error.
pub fn exemplars(body: &[u8]) -> impl Iterator<Item = Result<RefExemplar<'_>, Corruption>> + '_ {
    let mut base = None;
    super::entries(body, move |cursor| {
        let (base_ref, base_ms) = match base {
            Some(base) => base,
            None => *base.insert((cursor.u64_be()?, cursor.u64_be()? as i64)),
        };
        Ok(RefExemplar {
            series_ref: u64::wrapping_add(base_ref, cursor.varint()? as u64),
            timestamp_ms: i64::wrapping_add(base_ms, cursor.varint()?),
            value: f64::from_bits(cursor.u64_be()?),
            labels: read_labels(cursor)?,
        })
    })
}

fn read_labels<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Label<'a>>, Corruption> {
    let count = cursor.uvarint()?;
    // Each label takes two bytes at least.
    if count > cursor.remaining() as u64 / 2 {
        return Err(cursor.corrupt("label count exceeds the record"));
    }
    (0..count).map(|_| Ok(Label { name: cursor.uvarint_str()?, value: cursor.uvarint_str()? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemplars_have_the_layout_of_prometheus_and_read_back() {
        let written = [
            RefExemplar {
                series_ref: 7,
                timestamp_ms: 1000,
                value: 1.5,
                labels: vec![Label { name: "t", value: "ab" }, Label { name: "u", value: "" }],
            },
            RefExemplar { series_ref: 5, timestamp_ms: 1001, value: -0.0, labels: Vec::new() },
        ];
        let (mut record, mut encoder) = (Vec::new(), ExemplarsEncoder::new());
        for exemplar in &written {
            encoder.push(&mut record, exemplar);
        }
        assert_eq!(record[..19], [4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0]);
        assert_eq!(record[27..36], [2, 1, b't', 2, b'a', b'b', 1, b'u', 0]);
        let read: Vec<_> = exemplars(&record[1..]).map(|exemplar| exemplar.unwrap()).collect();
        assert_eq!(read, written);
        for end in 1..record.len() {
            for flip in 0..=255u8 {
                let mut bytes = record[1..=end].to_vec();
                bytes[end - 1] ^= flip;
                assert!(exemplars(&bytes).count() <= bytes.len());
            }
        }
    }

    #[test]
    fn label_count_beyond_the_record_is_refused_before_memory_is_taken() {
        let mut body = vec![0; 16 + 2 + 8];
        put::uvarint(&mut body, u64::MAX);
        assert!(exemplars(&body).next().unwrap().is_err());
    }
}
