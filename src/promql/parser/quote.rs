//! Quoted texts and numbers as PromQL writes them, which is as Go does.
//!
//! Source: Go's `strconv` (`Quote`, `FormatFloat`, `ParseInt` with base 0) and Prometheus' `util/strutil/quote.go`.

use std::fmt::Write;

/// The text in double quotes, with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(character),
            // The lexer takes the bare character for a fault in the encoding of the query.
            char::REPLACEMENT_CHARACTER => out.push_str("\\ufffd"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(character) => out.push(character),
            // Writing to a string cannot fail.
            '\0'..='\x7f' => _ = write!(out, "\\x{:02x}", u32::from(character)),
            '\u{80}'..='\u{ffff}' => _ = write!(out, "\\u{:04x}", u32::from(character)),
            _ => _ = write!(out, "\\U{:08x}", u32::from(character)),
        }
    }
    out.push('"');
    out
}

/// The character in single quotes, with Go's escapes.
pub(super) fn quote_char(character: char) -> String {
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        char::REPLACEMENT_CHARACTER => format!("'{character}'"),
        _ => {
            let quoted = quote(character.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// Whether a character beyond ASCII has a visible form.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // The standard library knows, but tells only by how it escapes. A letter goes in front, because a combining mark
    // is escaped where it comes first.
    let text: String = ['a', character].iter().collect();
    text.escape_debug().nth(1) == Some(character)
}

/// The text that a quoted token of the lexer means; the lexer has checked its escapes.
///
/// Escapes may spell bytes that are not UTF-8. A label cannot hold them, so they become U+FFFD.
pub(super) fn unquote(token: &str) -> String {
    let mut characters = token.chars();
    let Some(quote) = characters.next() else { return String::new() };
    let inner = characters.as_str().strip_suffix(quote).unwrap_or_default();
    if quote == '`' || !inner.contains('\\') {
        return inner.to_owned();
    }

    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let mut escape = rest[at + 1..].chars();
        match escape.next() {
            Some('a') => bytes.push(0x07),
            Some('b') => bytes.push(0x08),
            Some('f') => bytes.push(0x0c),
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('v') => bytes.push(0x0b),
            Some('x') => push_byte(&mut bytes, take_digits(&mut escape, 2, 16)),
            Some('u') => push_char(&mut bytes, take_digits(&mut escape, 4, 16)),
            Some('U') => push_char(&mut bytes, take_digits(&mut escape, 8, 16)),
            Some(digit @ '0'..='7') => {
                let first = u32::from(digit) - u32::from('0');
                push_byte(&mut bytes, first * 64 + take_digits(&mut escape, 2, 8));
            }
            Some(other) => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {}
        }
        rest = escape.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// The number that the next `count` digits make; fewer where the text ends, which the lexer does not let happen.
fn take_digits(characters: &mut std::str::Chars<'_>, count: usize, base: u32) -> u32 {
    let mut value = 0u32;
    for _ in 0..count {
        let Some(digit) = characters.next().and_then(|character| character.to_digit(base)) else { break };
        value = value.wrapping_mul(base).wrapping_add(digit);
    }
    value
}

fn push_byte(bytes: &mut Vec<u8>, value: u32) {
    bytes.push(value as u8);
}

fn push_char(bytes: &mut Vec<u8>, value: u32) {
    let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A number as the lexer lets it through: an integer in Go's spelling (`0x1f`, `017`, `1_000`) or else a float.
/// The error is Go's.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    let digits = match text.contains('_') {
        true if underscores_separate_digits(text) => text.replace('_', ""),
        true => return Err(number_error(text, "invalid syntax")),
        false => text.to_owned(),
    };
    if let Some(integer) = parse_integer(&digits) {
        return Ok(integer as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() && digits.bytes().any(|byte| byte.is_ascii_digit()) => {
            Err(number_error(text, "value out of range"))
        }
        Ok(value) => Ok(value),
        Err(_) => Err(number_error(text, "invalid syntax")),
    }
}

fn number_error(text: &str, why: &str) -> String {
    format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quote(text))
}

fn parse_integer(digits: &str) -> Option<i64> {
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok();
    }
    match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok(),
        _ => digits.parse().ok(),
    }
}

/// Whether each underscore stands between digits; a base prefix counts as a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let body = if hex { &text[2..] } else { text };
    let is_digit = |byte: u8| byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit();
    let mut before = if hex { b'0' } else { b'^' };
    for byte in body.bytes() {
        let is_separated = match byte {
            b'_' => is_digit(before),
            _ => before != b'_' || is_digit(byte),
        };
        if !is_separated {
            return false;
        }
        before = byte;
    }
    before != b'_'
}

/// The shortest decimal form without an exponent: `1000000`, `0.1`, `+Inf`, `NaN`.
pub fn format_float(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// The shortest form, with an exponent for very small and very large numbers: `1e+21`, `1e-05`.
pub(super) fn format_float_short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (1e-4..1e21).contains(&size) {
        return format_float(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_with_the_escapes_of_go() {
        for (text, quoted) in [
            ("plain ü 😀", "\"plain ü 😀\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x7f\u{80}\u{200b}\u{e0001}", r#""\x00\x7f\u0080\u200b\U000e0001""#),
            ("e\u{301}", "\"e\u{301}\""),
        ] {
            assert_eq!(quote(text), quoted);
            assert_eq!(unquote(quoted), text);
        }
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(quote_char('"'), "'\"'");
        assert_eq!(quote_char('\n'), r"'\n'");
    }

    #[test]
    fn number_short_form_has_an_exponent_where_go_has_one() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-1.5e-10, "-1.5e-10"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_float_short(value), text);
        }
    }
}
