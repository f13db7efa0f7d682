//! Sizes, durations and counts as people write them, and back.
//!
//! A size is a whole number and a unit: `512`, `32KiB`, `128MiB`, `1.5GB`; units of 1024 carry an `i`. A duration is a
//! sequence of whole numbers with units, largest first, as Prometheus has it: `15s`, `1h30m`, `500ms`.

use std::fmt;
use std::time::Duration;

use crate::model::duration::{format_duration_ms, parse_duration_ms};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// Reads a size; `None` where it is not one, or is too large for 64 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits_end);
        let unit = unit.trim();
        let factor = match unit {
            "" => 1,
            _ => SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().ok()?;
        let mut bytes = whole.checked_mul(factor)?;
        if number.contains('.') {
            if fraction.is_empty() || fraction.len() > 9 {
                return None;
            }
            let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
            let scale = 10u128.pow(fraction.len() as u32);
            if !part.is_multiple_of(scale) {
                return None;
            }
            bytes = bytes.checked_add(u64::try_from(part / scale).ok()?)?;
        }
        Some(Bytes(bytes))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().take(4).find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Reads a duration; `None` where it is not one. `0` needs no unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse_duration_ms(text.trim()).ok().map(|ms| Duration::from_millis(ms.unsigned_abs()))
}

/// Writes a duration so that [`parse_duration`] reads it back (to the millisecond).
pub fn format_duration(duration: Duration) -> String {
    format_duration_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1KiB", 1024),
            ("128MiB", 128 << 20),
            ("1.5GB", 1_500_000_000),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_that_mean_nothing_are_refused() {
        for text in ["", "MiB", "-1", "1XB", "1.MiB", "1.5", "99999999999TiB", "1e3", "0x10"] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_as_people_write_them_are_read() {
        for (text, ms) in [("15s", 15_000), ("1h30m", 5_400_000), ("500ms", 500), ("15d", 1_296_000_000), ("0", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn durations_that_mean_nothing_are_refused() {
        for text in ["", "15", "s", "1.5h", "30m1h", "1s1s", "1x", "-1s", "99999999999999999999y"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn units_written_are_read_back() {
        for bytes in [0, 1, 1000, 1024, 1536, 128 << 20, 5 << 40] {
            assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Some(Bytes(bytes)));
        }
        for ms in [1, 999, 15_000, 5_400_000, 7_200_000, 604_800_000, 1_296_000_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(1_296_000)), "15d");
    }
}
