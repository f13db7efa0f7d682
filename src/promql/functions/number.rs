//! Floats as Go's standard library reads and writes them, which labels and texts of results depend on.

/// Reads a float as Go's `strconv.ParseFloat` does: decimal or hexadecimal, `inf`, `infinity` and `nan` in any case.
pub fn parse_go_float(text: &str) -> Option<f64> {
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

/// A float as labels hold it: as `%g` writes it, with `.0` where it would look like an integer.
pub fn open_metrics_float(value: f64) -> String {
    let text = go_general(value, None);
    if value.is_finite() && !text.contains(['e', '.']) { format!("{text}.0") } else { text }
}

/// A float as Go's `%g` writes it, or as `%.Ng` does for `digits` N: the shortest text that reads back, or N digits.
///
/// Below 1e-4, and where the power of ten reaches the number of digits (6 for the shortest text), it has an exponent.
pub fn go_general(value: f64, digits: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = match digits {
        Some(digits) => format!("{:.*e}", digits.saturating_sub(1), value),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
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
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs());
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
    fn go_general_matches_texts_that_go_writes() {
        let cases: [(f64, Option<usize>, &str); 12] = [
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
        ];
        for (value, digits, text) in cases {
            assert_eq!(go_general(value, digits), text);
        }
    }

    #[test]
    fn open_metrics_float_never_looks_like_an_integer() {
        assert_eq!(open_metrics_float(1.0), "1.0");
        assert_eq!(open_metrics_float(0.99), "0.99");
        assert_eq!(open_metrics_float(f64::INFINITY), "+Inf");
        assert_eq!(open_metrics_float(f64::NAN), "NaN");
    }

    #[test]
    fn parse_go_float_takes_what_go_takes() {
        assert_eq!(parse_go_float("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_go_float("-infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_go_float("1e3"), Some(1000.0));
        assert_eq!(parse_go_float(".5"), Some(0.5));
        assert_eq!(parse_go_float("0x1p-2"), Some(0.25));
        assert_eq!(parse_go_float("-0x1.8p1"), Some(-3.0));
        for text in ["", "abc", "1.2.3", "1 ", "--1", "1e999", "0x1", "-"] {
            assert_eq!(parse_go_float(text), None, "{text}");
        }
    }
}
