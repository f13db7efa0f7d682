//! Durations as Prometheus writes them: `1h30m`, `90d`, `250ms`.
//!
//! Source: `prometheus/common`, `model/time.go`. A year has 365 days. Units come from the largest to the smallest,
//! each at most once.

use crate::encoding::quote;

/// Units with their milliseconds, from the largest to the smallest.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration: what fits into 63 bits of nanoseconds, about 292 years.
pub const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The text is empty.
    #[error("empty duration string")]
    Empty,
    /// The text is not numbers with units in falling order.
    #[error("not a valid duration string: {}", quote(.0))]
    Syntax(String),
    /// There is no such unit.
    #[error("unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// What stands in place of a unit.
        unit: String,
        /// The whole duration.
        text: String,
    },
    /// The duration is longer than [`DURATION_MS_MAX`].
    #[error("duration out of range")]
    OutOfRange,
}

/// The milliseconds of a duration. A single `0` needs no unit.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(0),
        _ => {}
    }
    let syntax = || DurationError::Syntax(text.to_owned());
    let mut total_ms = 0i64;
    let mut units_left = &UNITS[..];
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| syntax())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, tail) = rest.split_at(unit_len);
        rest = tail;
        if unit.is_empty() {
            return Err(syntax());
        }
        let Some(position) = units_left.iter().position(|(name, _)| *name == unit) else {
            let is_known = UNITS.iter().any(|(name, _)| *name == unit);
            return Err(match is_known {
                true => syntax(),
                false => DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() },
            });
        };
        let unit_ms = units_left[position].1;
        units_left = &units_left[position + 1..];
        total_ms = i64::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(unit_ms))
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|total_ms| *total_ms <= DURATION_MS_MAX)
            .ok_or(DurationError::OutOfRange)?;
    }
    Ok(total_ms)
}

/// The duration as Prometheus prints it. Years and weeks are used only where nothing remains, since `90d` reads
/// better than `12w6d`. A negative duration gets a minus in front.
pub fn format_duration_ms(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if duration_ms < 0 {
        out.push('-');
    }
    let mut left_ms = duration_ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        let must_be_exact = matches!(unit, "y" | "w");
        if left_ms < unit_ms || must_be_exact && !left_ms.is_multiple_of(unit_ms) {
            continue;
        }
        out.push_str(&(left_ms / unit_ms).to_string());
        out.push_str(unit);
        left_ms %= unit_ms;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_of_units_in_order_is_read_and_printed_back() {
        for (text, ms) in [
            ("0s", 0),
            ("1ms", 1),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
            ("90d", 7_776_000_000),
            ("1y", 31_536_000_000),
            ("4d3h2m1s5ms", 356_521_005),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
            assert_eq!(format_duration_ms(ms), text);
        }
        assert_eq!(parse_duration_ms("0"), Ok(0));
        assert_eq!(format_duration_ms(-90_000), "-1m30s");
        assert_eq!(format_duration_ms(31_536_000_000 + 1_000), "365d1s");
    }

    #[test]
    fn duration_out_of_order_or_without_unit_is_refused() {
        for (text, error) in [
            ("", "empty duration string"),
            ("1", "not a valid duration string: \"1\""),
            ("m", "not a valid duration string: \"m\""),
            ("-1m", "not a valid duration string: \"-1m\""),
            ("5m1h", "not a valid duration string: \"5m1h\""),
            ("5m1m", "not a valid duration string: \"5m1m\""),
            ("1.5h", "unknown unit \".\" in duration \"1.5h\""),
            ("5y1hs", "unknown unit \"hs\" in duration \"5y1hs\""),
            ("300y", "duration out of range"),
            ("292y200d", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(parse_duration_ms(text).unwrap_err().to_string(), error, "{text}");
        }
    }
}
