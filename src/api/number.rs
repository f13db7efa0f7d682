//! Numbers as the API writes them: sample values as Go's shortest floats, timestamps as seconds.
//!
//! Source: Prometheus `util/jsonutil/marshal.go`; Go `strconv.FormatFloat`.

use std::io::Write as _;

use crate::encoding::go_float::{write_exponent, write_plain};

/// Appends the value of a point of a vector or matrix: the shortest digits that read back, without an exponent between
/// 1e-6 and 1e21, and with one of at least two digits outside.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude.is_finite() && magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        write_exponent(out, value);
    } else {
        write_plain(out, value);
    }
}

/// Appends milliseconds as seconds: whole, or with exactly three decimals.
pub fn write_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    let magnitude = timestamp_ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / 1000).as_bytes());
    let ms = magnitude % 1000;
    if ms != 0 {
        let _ = write!(out, ".{ms:03}");
    }
}

/// Appends milliseconds as seconds with as few decimals as they need: the form of scalars' and strings' timestamps.
pub fn write_timestamp_short(out: &mut Vec<u8>, timestamp_ms: i64) {
    let start = out.len();
    write_timestamp(out, timestamp_ms);
    if out[start..].contains(&b'.') {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_go_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e-7, "1e-07"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e300, "-1.25e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(|out| write_value(out, value)), expected);
        }
    }

    #[test]
    fn scalars_never_have_an_exponent() {
        assert_eq!(text(|out| write_plain(out, 1e-7)), "0.0000001");
        assert_eq!(text(|out| write_plain(out, 1e21)), "1000000000000000000000");
    }

    #[test]
    fn values_written_read_back_to_the_same_bits() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = f64::from_bits(state);
            if value.is_nan() {
                continue;
            }
            let read: f64 = text(|out| write_value(out, value)).parse().unwrap();
            assert_eq!(read.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn timestamps_have_three_decimals_or_none() {
        for (ms, expected) in [
            (0, "0"),
            (1000, "1"),
            (1500, "1.500"),
            (-1500, "-1.500"),
            (-1, "-0.001"),
            (1_795_219_459_698, "1795219459.698"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(text(|out| write_timestamp(out, ms)), expected);
        }
        assert_eq!(text(|out| write_timestamp_short(out, 1500)), "1.5");
        assert_eq!(text(|out| write_timestamp_short(out, 100_000)), "100");
    }
}
