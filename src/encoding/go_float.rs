//! Floats as Go reads and writes them: labels, answers and messages of Prometheus depend on each digit.
//!
//! Source: Go's `strconv` (`ParseFloat`, `FormatFloat`) and `fmt` (`%g`, `%v`).

use std::io::Write as _;

/// Reads a float as `strconv.ParseFloat` does: decimal or hexadecimal, `inf`, `infinity` and `nan` in any case.
pub fn parse(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'+' => (1.0, &text[1..]),
        b'-' => (-1.0, &text[1..]),
        _ => (1.0, text),
    };
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        return parse_hexadecimal(&unsigned[2..]).map(|value| sign * value);
    }
    // Only digits, points and exponents from here on; `FromStr` would take other words, and a second sign.
    if unsigned.starts_with(['+', '-'])
        || !unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return None;
    }
    let value: f64 = unsigned.parse().ok()?;
    value.is_finite().then_some(sign * value)
}

/// `1.8p-3`: the exponent, of 2, is required.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 13 {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent = exponent.checked_sub(4 * fraction.len() as i32)?;
    Some(value * 2f64.powi(exponent))
}

/// The word for a value that has no digits.
fn word(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// A float without an exponent, whatever its size, with the fewest digits that read back: `%f` with precision -1.
pub fn plain(value: f64) -> String {
    let mut out = Vec::new();
    write_plain(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends what [`plain`] gives.
pub fn write_plain(out: &mut Vec<u8>, value: f64) {
    // Whole numbers, which most values are, take a shorter way. Beyond 2^53 the fewest digits are not all digits.
    const WHOLE_MAX: f64 = 1e15;
    if let Some(word) = word(value) {
        out.extend_from_slice(word.as_bytes());
    } else if value.fract() == 0.0 && value.abs() < WHOLE_MAX && (value != 0.0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        // Where two texts are equally near, Go takes the even digit and the standard library does not. Answers are mostly
        // floats, and this is the faster way too.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('e') {
            None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
            Some((mantissa, exponent)) => write_shifted(out, mantissa, exponent.parse().unwrap_or(0)),
        }
    }
}

/// Appends a mantissa with one digit before its point, times a power of ten, without an exponent.
fn write_shifted(out: &mut Vec<u8>, mantissa: &str, exponent: i32) {
    let unsigned = mantissa.trim_start_matches('-');
    out.resize(out.len() + mantissa.len() - unsigned.len(), b'-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(fraction.as_bytes());
        return;
    }
    let shifted = fraction.len().min(exponent as usize);
    let (before, after) = fraction.split_at(shifted);
    out.extend_from_slice(whole.as_bytes());
    out.extend_from_slice(before.as_bytes());
    out.resize(out.len() + exponent as usize - shifted, b'0');
    if !after.is_empty() {
        out.push(b'.');
        out.extend_from_slice(after.as_bytes());
    }
}

/// Appends a float with an exponent and the fewest digits that read back: `%e` with precision -1.
pub fn write_exponent(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return write_plain(out, value);
    }
    let (mantissa, exponent) = scientific(value, None);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{mantissa}{}", exponent_text(exponent));
}

/// Mantissa and power of ten of a finite value: the fewest digits that read back, or `digits` of them.
fn scientific(value: f64, digits: Option<usize>) -> (String, i32) {
    let Some(digits) = digits else { return shortest(value) };
    let mut text = format!("{:.*e}", digits.saturating_sub(1), value);
    let at = text.find('e').unwrap_or(text.len());
    let exponent = text.get(at + 1..).and_then(|exponent| exponent.parse().ok()).unwrap_or(0);
    text.truncate(at);
    (text, exponent)
}

/// Mantissa, with one digit before its point, and power of ten of a finite value: the fewest digits that read back.
fn shortest(value: f64) -> (String, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    if let Some((mantissa, exponent)) = text.split_once('e') {
        return (mantissa.to_owned(), exponent.parse().unwrap_or(0));
    }
    let unsigned = text.trim_start_matches('-');
    let point = unsigned.find('.').unwrap_or(unsigned.len());
    let digits: String = unsigned.chars().filter(char::is_ascii_digit).collect();
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let kept = digits.trim_matches('0');
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let Some((first, rest)) = kept.split_at_checked(1) else { return (format!("{sign}0"), 0) };
    let dot = if rest.is_empty() { "" } else { "." };
    (format!("{sign}{first}{dot}{rest}"), point as i32 - 1 - zeros as i32)
}

/// An exponent as Go writes it: with its sign, and two digits at least.
fn exponent_text(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// A float as labels hold it: as `%g` writes it, with `.0` where it would look like an integer.
pub fn open_metrics(value: f64) -> String {
    let text = general(value, None);
    if value.is_finite() && !text.contains(['e', '.']) { format!("{text}.0") } else { text }
}

/// A float as `%g` and `%v` write it, or as `%.Ng` does for `digits` N: the shortest text that reads back, or N digits.
///
/// Below 1e-4, and where the power of ten reaches the number of digits (6 for the shortest text), it has an exponent.
pub fn general(value: f64, digits: Option<usize>) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let (mantissa, exponent) = scientific(value, digits);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa.as_str()),
    };
    let kept: String = mantissa.chars().filter(|c| *c != '.').collect();
    let kept = kept.trim_end_matches('0');
    let kept = if kept.is_empty() { "0" } else { kept };
    let threshold = match digits {
        // A whole number with fewer digits than asked for counts the digits that it has.
        Some(digits) if digits > kept.len() && kept.len() as i32 > exponent => kept.len(),
        Some(digits) => digits,
        None => 6,
    };
    if exponent < -4 || exponent >= threshold.max(1) as i32 {
        let (first, rest) = kept.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}{}", exponent_text(exponent));
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{kept}");
    }
    let whole = exponent as usize + 1;
    if kept.len() <= whole {
        let zeros = "0".repeat(whole - kept.len());
        return format!("{sign}{kept}{zeros}");
    }
    let (before, after) = kept.split_at(whole);
    format!("{sign}{before}.{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_matches_texts_that_go_writes() {
        for (value, digits, text) in [
            (0.0, None, "0"),
            (-0.5, None, "-0.5"),
            (123456.0, None, "123456"),
            (1e6, None, "1e+06"),
            (1234567.0, None, "1.234567e+06"),
            (1e-4, None, "0.0001"),
            (1.5e-5, None, "1.5e-05"),
            (f64::NEG_INFINITY, None, "-Inf"),
            (1.2, None, "1.2"),
            (123.0, Some(2), "1.2e+02"),
            (12.34, Some(2), "12"),
            (0.000456, Some(2), "0.00046"),
            (-0.0, None, "-0"),
            (-1.5e-10, None, "-1.5e-10"),
            (1e20, None, "1e+20"),
        ] {
            assert_eq!(general(value, digits), text);
        }
    }

    #[test]
    fn digits_are_the_fewest_that_read_back() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut values = vec![1e15, 1e16, 1.5e16, 123_456_789_012_345_680.0, 1e-5, 1.25e-5, 1e-320, f64::MAX, -0.0];
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Any bits, and numbers as answers hold them.
            values.extend([f64::from_bits(state), (state >> 24) as f64 / 1e4, -((state >> 40) as f64) / 3e9]);
        }
        for value in values.into_iter().filter(|value| value.is_finite()) {
            let mut out = Vec::new();
            write_exponent(&mut out, value);
            for (text, shortest) in
                [(plain(value), format!("{value}")), (String::from_utf8(out).unwrap(), format!("{value:e}"))]
            {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
                let digits = |text: &str| text.split('e').next().map(str::len);
                assert_eq!(digits(&text), digits(&shortest), "{text} {shortest}");
                assert_eq!(text.contains('e'), shortest.contains('e'), "{text} {shortest}");
            }
        }
    }

    /// Each as Prometheus 3.5 answers it.
    #[test]
    fn digit_that_is_as_near_as_another_is_the_even_one() {
        for (value, text) in [
            (1_658_206_780_088_562.0 + 0.25, "1658206780088562.2"),
            (1_658_206_780_088_562.0 + 0.75, "1658206780088562.8"),
            (4_503_599_627_370_497.5, "4503599627370498"),
        ] {
            assert_eq!(plain(value), text);
        }
        assert_eq!(general(1_658_206_780_088_562.0 + 0.25, None), "1.6582067800885622e+15");
    }

    #[test]
    fn open_metrics_never_looks_like_an_integer() {
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.99), "0.99");
        assert_eq!(open_metrics(f64::INFINITY), "+Inf");
        assert_eq!(open_metrics(f64::NAN), "NaN");
    }

    #[test]
    fn parse_takes_what_go_takes() {
        assert_eq!(parse("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse("-infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse("1e3"), Some(1000.0));
        assert_eq!(parse(".5"), Some(0.5));
        assert_eq!(parse("0x1p-2"), Some(0.25));
        assert_eq!(parse("-0x1.8p1"), Some(-3.0));
        for text in ["", "abc", "1.2.3", "1 ", "--1", "1e999", "0x1", "-"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
