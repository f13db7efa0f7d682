//! A label set as the bytes in which remote write carries it, and the one canonical form of those bytes.
//!
//! Remote write 1.0 sends a series' labels as protobuf fields: `0a <length> { 0a <length> name, 12 <length> value }`,
//! one after the other. The write path looks a series up by exactly these bytes, without decoding a label. That is
//! exact because a stored series is found only under its *canonical* bytes: labels sorted by name, unique, valid,
//! lengths in their shortest form, nothing else between the fields. Other encodings of the same set miss, are decoded,
//! and are looked up again in canonical form. So two different label sets never share bytes, and equal bytes are
//! always the same set.
//!
//! Source: `prometheus/prompb/types.proto`, messages `TimeSeries` and `Label`; protobuf encoding rules.

use std::fmt;

use super::label_set::{Label, LabelSet};
use crate::encoding::protobuf::skip_field;
use crate::encoding::{Corruption, Cursor, put};

/// Field 1 of `TimeSeries` and of `Label`, length-delimited.
const TAG_FIELD_1: u8 = 0x0a;
/// Field 2 of `Label`, length-delimited.
const TAG_FIELD_2: u8 = 0x12;

/// Labels that a message for people shows, at most.
const SHOWN_LABELS: usize = 40;
/// Bytes that it shows of a name or a value, at most.
const SHOWN_BYTES: usize = 100;

/// The label fields of one series, as they stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLabels<'a>(pub &'a [u8]);

/// Why a label set cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The bytes are not label fields.
    #[error("labels are not valid protobuf: {0}")]
    Malformed(#[from] Corruption),
    /// A name or a value is not UTF-8.
    #[error("label name or value is not UTF-8")]
    NotUtf8,
    /// A label without a name.
    #[error("label name is empty")]
    EmptyName,
    /// The same name twice.
    #[error("label name {name:?} appears more than once")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The set has no `__name__`, or an empty one.
    #[error("label set has no metric name (__name__)")]
    NoMetricName,
}

/// A label's name and value.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

impl<'a> RawLabels<'a> {
    /// The labels in the order in which they were sent, checked for nothing but their encoding, up to the first fault.
    pub fn iter(self) -> impl Iterator<Item = Result<RawLabel<'a>, Corruption>> {
        let mut rest = Some(Cursor::new(self.0));
        std::iter::from_fn(move || {
            let label = next_label(rest.as_mut().filter(|cursor| !cursor.is_empty())?);
            if label.is_err() {
                rest = None;
            }
            Some(label)
        })
    }

    /// All of them, if there is no fault.
    pub fn decode(self) -> Result<Vec<RawLabel<'a>>, Corruption> {
        let mut labels = Vec::with_capacity(16);
        for label in self.iter() {
            labels.push(label?);
        }
        Ok(labels)
    }

    /// The label set of a series: as [`to_any_label_set`](Self::to_any_label_set), with a metric name.
    pub fn to_label_set(self) -> Result<LabelSet, LabelError> {
        let labels = self.to_any_label_set()?;
        if labels.metric_name().is_none() {
            return Err(LabelError::NoMetricName);
        }
        Ok(labels)
    }

    /// The label set, sorted and checked: UTF-8, no empty or repeated name. Labels with an empty value are dropped, as
    /// an empty value means absence.
    pub fn to_any_label_set(self) -> Result<LabelSet, LabelError> {
        let mut labels = Vec::with_capacity(16);
        for (name, value) in self.decode()? {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
                return Err(LabelError::NotUtf8);
            };
            if name.is_empty() {
                return Err(LabelError::EmptyName);
            }
            labels.push(Label { name, value });
        }
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(LabelError::Duplicate { name: pair[0].name.to_owned() });
        }
        labels.retain(|label| !label.value.is_empty());
        Ok(LabelSet::from_sorted(labels.iter().copied()))
    }
}

impl fmt::Display for RawLabels<'_> {
    /// The first of the labels for people, in Prometheus' notation, valid or not: what is not UTF-8 is replaced, and
    /// what is long is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &[u8]| match text.get(..SHOWN_BYTES) {
            Some(start) if text.len() > SHOWN_BYTES => format!("{}...", String::from_utf8_lossy(start)),
            _ => String::from_utf8_lossy(text).into_owned(),
        };
        f.write_str("{")?;
        for (index, label) in self.iter().take(SHOWN_LABELS + 1).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match label {
                Ok((name, value)) if index < SHOWN_LABELS => write!(f, "{}={:?}", cut(name), cut(value))?,
                _ => f.write_str("...")?,
            }
        }
        f.write_str("}")
    }
}

/// Reads one label field.
fn next_label<'a>(cursor: &mut Cursor<'a>) -> Result<RawLabel<'a>, Corruption> {
    if cursor.u8()? != TAG_FIELD_1 {
        return Err(cursor.corrupt("expected a label field"));
    }
    decode_label(cursor.uvarint_slice()?)
}

/// Reads one `Label` message. Unknown fields are skipped; a field that is sent twice counts as last sent.
fn decode_label(bytes: &[u8]) -> Result<(&[u8], &[u8]), Corruption> {
    let mut cursor = Cursor::new(bytes);
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !cursor.is_empty() {
        match cursor.uvarint()? {
            tag if tag == u64::from(TAG_FIELD_1) => name = cursor.uvarint_slice()?,
            tag if tag == u64::from(TAG_FIELD_2) => value = cursor.uvarint_slice()?,
            tag => skip_field(&mut cursor, tag)?,
        }
    }
    Ok((name, value))
}

/// Appends the canonical bytes of a sorted label set to `out`.
pub fn encode_canonical<'a>(labels: impl Iterator<Item = Label<'a>>, out: &mut Vec<u8>) {
    for label in labels {
        put_label(out, label.name.as_bytes(), label.value.as_bytes());
    }
}

/// The most bytes that a label takes beside its name and value, if these are shorter than 2 GiB.
pub const LABEL_OVERHEAD_MAX: usize = 3 + 3 * 5;

/// Appends one label. The labels of a set are canonical if each one of them was appended with this, in order.
#[inline]
pub fn put_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(TAG_FIELD_1);
    put::uvarint(out, (field_len(name.len()) + field_len(value.len())) as u64);
    out.push(TAG_FIELD_1);
    put::uvarint_slice(out, name);
    out.push(TAG_FIELD_2);
    put::uvarint_slice(out, value);
}

/// Bytes of a length-delimited field of `len` bytes, tag and length included.
fn field_len(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_canonical(labels.iter().map(|&(name, value)| Label { name, value }), &mut out);
        out
    }

    #[test]
    fn canonical_bytes_decode_to_the_same_labels() {
        let long = "v".repeat(300);
        let bytes = raw(&[("__name__", "up"), ("job", &long)]);
        let set = RawLabels(&bytes).to_label_set().unwrap();
        assert_eq!(set.get("job"), Some(long.as_str()));
        let mut again = Vec::new();
        encode_canonical(set.iter(), &mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn canonical_bytes_are_what_protobuf_says() {
        assert_eq!(raw(&[("a", "bc")]), [0x0a, 7, 0x0a, 1, b'a', 0x12, 2, b'b', b'c']);
    }

    #[test]
    fn unsorted_labels_are_sorted_and_empty_values_dropped() {
        let bytes = raw(&[("job", "n"), ("__name__", "up"), ("z", "")]);
        assert_eq!(RawLabels(&bytes).to_label_set().unwrap().to_string(), r#"{__name__="up", job="n"}"#);
    }

    #[test]
    fn label_sets_that_cannot_be_stored_are_refused_with_their_reason() {
        let reason = |labels: &[(&str, &str)]| RawLabels(&raw(labels)).to_label_set().unwrap_err();
        assert_eq!(reason(&[("job", "n")]), LabelError::NoMetricName);
        assert_eq!(reason(&[("__name__", ""), ("job", "n")]), LabelError::NoMetricName);
        assert_eq!(reason(&[("__name__", "up"), ("", "n")]), LabelError::EmptyName);
        assert_eq!(reason(&[("__name__", "up"), ("a", "1"), ("a", "1")]), LabelError::Duplicate { name: "a".into() });
        let mut bytes = raw(&[("__name__", "up")]);
        bytes.extend([0x0a, 6, 0x0a, 1, 0xff, 0x12, 1, b'x']);
        assert_eq!(RawLabels(&bytes).to_label_set(), Err(LabelError::NotUtf8));
    }

    #[test]
    fn labels_are_shown_valid_or_not_and_never_at_length() {
        let mut bytes = raw(&[("__name__", "up"), ("a", "say \"x\"")]);
        assert_eq!(RawLabels(&bytes).to_string(), r#"{__name__="up", a="say \"x\""}"#);
        bytes.extend([0x0a, 6, 0x0a, 1, 0xff, 0x12, 1, b'x', 7]);
        assert_eq!(RawLabels(&bytes).to_string(), "{__name__=\"up\", a=\"say \\\"x\\\"\", \u{fffd}=\"x\", ...}");
        let long = "v".repeat(SHOWN_BYTES + 1);
        let shown = RawLabels(&raw(&vec![("n", long.as_str()); 1000])).to_string();
        assert_eq!(shown.matches("n=").count(), SHOWN_LABELS);
        assert!(shown.len() < SHOWN_LABELS * (SHOWN_BYTES + 12) && shown.ends_with(", ...}"), "{shown}");
    }

    #[test]
    fn labels_cut_at_any_byte_are_an_error_or_fewer_labels() {
        let bytes = raw(&[("__name__", "up"), ("job", "node")]);
        for end in 0..bytes.len() {
            if let Ok(labels) = RawLabels(&bytes[..end]).decode() {
                assert!(labels.len() < 2);
            }
        }
    }
}
