//! Attribute values as the values of labels.
//!
//! Source: `AsString` of OpenTelemetry's pdata v1.63, which Prometheus uses: numbers as in JSON, bytes in base64, lists
//! and maps as JSON with sorted keys. One place differs: a number that JSON does not have, inside of a list or a map,
//! makes the whole value empty there; here it is a text, as OTLP's own JSON has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::encoding::go_float;
use crate::ingest::otlp::model::AnyValue;

/// Lists and maps within each other deeper than this are left out; decoders allow no more.
const DEPTH_MAX: usize = 64;

/// The value's bytes: its own where it is a text, otherwise what is rendered into `scratch`.
#[inline]
pub(super) fn label_value<'v>(value: &'v AnyValue<'_>, scratch: &'v mut Vec<u8>) -> &'v [u8] {
    match value {
        AnyValue::String(text) => text.as_bytes(),
        other => {
            scratch.clear();
            render(scratch, other);
            scratch
        }
    }
}

/// Appends a value as a label has it.
pub(super) fn render(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    match value {
        AnyValue::Empty => {}
        AnyValue::String(text) => out.extend_from_slice(text.as_bytes()),
        AnyValue::Bytes(bytes) => base64(out, bytes),
        AnyValue::Double(number) if !number.is_finite() => out.extend_from_slice(word(*number)),
        other => json(out, other, 0),
    }
}

/// What JSON has no number for.
fn word(number: f64) -> &'static [u8] {
    match number {
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        _ => b"NaN",
    }
}

fn json(out: &mut Vec<u8>, value: &AnyValue<'_>, depth: usize) {
    if depth > DEPTH_MAX {
        return out.extend_from_slice(b"null");
    }
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::String(text) => quoted(out, text),
        AnyValue::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        AnyValue::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        AnyValue::Double(number) if number.is_finite() => double(out, *number),
        AnyValue::Double(number) => {
            out.push(b'"');
            out.extend_from_slice(word(*number));
            out.push(b'"');
        }
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            base64(out, bytes);
            out.push(b'"');
        }
        AnyValue::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json(out, value, depth + 1);
            }
            out.push(b']');
        }
        AnyValue::Map(pairs) => {
            // Of pairs with one key the last counts.
            let mut sorted: Vec<_> = pairs.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            out.push(b'{');
            let mut first = true;
            for (index, pair) in sorted.iter().enumerate() {
                if sorted.get(index + 1).is_some_and(|next| next.key == pair.key) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                quoted(out, &pair.key);
                out.push(b':');
                json(out, &pair.value, depth + 1);
            }
            out.push(b'}');
        }
    }
}

/// A finite number as JSON and ECMAScript have it: an exponent below 1e-6 and from 1e21, without zeros in front.
fn double(out: &mut Vec<u8>, number: f64) {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return go_float::write_plain(out, number);
    }
    go_float::write_exponent(out, number);
    // Exponents there have two digits; `e-07` is `e-7` here. Those above are no smaller than 21.
    if let Some(&[b'e', b'-', b'0', digit]) = out.last_chunk() {
        out.truncate(out.len() - 2);
        out.push(digit);
    }
}

/// A text as Go's JSON has it where HTML is not escaped.
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

/// Appends bytes as digits of hexadecimal numbers.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::otlp::model::KeyValue;

    fn shown(value: &AnyValue<'_>) -> String {
        let mut out = Vec::new();
        render(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn text(text: &str) -> AnyValue<'_> {
        AnyValue::String(text.into())
    }

    fn pair<'a>(key: &'a str, value: AnyValue<'a>) -> KeyValue<'a> {
        KeyValue { key: key.into(), value }
    }

    #[test]
    fn values_of_all_kinds_are_rendered_as_pdata_does() {
        for (value, expected) in [
            (AnyValue::Empty, ""),
            (text("a<b>\"c\""), "a<b>\"c\""),
            (AnyValue::Bool(true), "true"),
            (AnyValue::Bool(false), "false"),
            (AnyValue::Int(i64::MIN), "-9223372036854775808"),
            (AnyValue::Double(1.0), "1"),
            (AnyValue::Double(-0.0), "-0"),
            (AnyValue::Double(1.5), "1.5"),
            (AnyValue::Double(1e20), "100000000000000000000"),
            (AnyValue::Double(1e21), "1e+21"),
            (AnyValue::Double(1e-6), "0.000001"),
            (AnyValue::Double(-1.5e-7), "-1.5e-7"),
            (AnyValue::Double(1e-10), "1e-10"),
            (AnyValue::Double(f64::NAN), "NaN"),
            (AnyValue::Double(f64::NEG_INFINITY), "-Infinity"),
            (AnyValue::Bytes((&b""[..]).into()), ""),
            (AnyValue::Bytes((&b"f"[..]).into()), "Zg=="),
            (AnyValue::Bytes((&b"fo"[..]).into()), "Zm8="),
            (AnyValue::Bytes((&b"foo\xff"[..]).into()), "Zm9v/w=="),
            (AnyValue::Array(vec![]), "[]"),
            (
                AnyValue::Array(vec![
                    text("a<\u{2028}\n\u{1}\"\\é"),
                    AnyValue::Empty,
                    AnyValue::Double(f64::INFINITY),
                    AnyValue::Bytes((&b"f"[..]).into()),
                ]),
                "[\"a<\\u2028\\n\\u0001\\\"\\\\é\",null,\"Infinity\",\"Zg==\"]",
            ),
            (
                AnyValue::Map(vec![
                    pair("b", AnyValue::Int(1)),
                    pair("a", AnyValue::Map(vec![])),
                    pair("b", AnyValue::Bool(true)),
                ]),
                "{\"a\":{},\"b\":true}",
            ),
        ] {
            assert_eq!(shown(&value), expected);
        }
    }

    #[test]
    fn values_deep_within_each_other_end() {
        let mut value = AnyValue::Int(1);
        for _ in 0..1000 {
            value = AnyValue::Array(vec![value]);
        }
        assert!(shown(&value).contains("[null]"));
    }
}
