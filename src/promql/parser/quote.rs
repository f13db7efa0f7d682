//! What quoted texts and numbers of the language mean.
//!
//! Source: Prometheus' `util/strutil/quote.go`, `promql/parser/parse.go` (`number`); Go's `strconv` (`ParseInt` with base
//! 0).

use crate::encoding::quote;

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

/// The text that a quoted token of the lexer means; the lexer has checked its escapes.
///
/// Escapes may spell bytes that are not UTF-8. A label cannot hold them, so they become U+FFFD.
pub(super) fn unquote(token: &str) -> String {
    match String::from_utf8(unquote_bytes(token)) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// The bytes that a quoted token means.
pub(super) fn unquote_bytes(token: &str) -> Vec<u8> {
    let mut characters = token.chars();
    let Some(quote) = characters.next() else { return Vec::new() };
    let inner = characters.as_str().strip_suffix(quote).unwrap_or_default();
    if quote == '`' || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
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
    bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_was_quoted_is_unquoted() {
        for text in ["plain ü 😀", "a\"b\\c", "\x07\x08\x0c\n\r\t\x0b", "\0\x7f\u{80}\u{200b}\u{e0001}", "e\u{301}"]
        {
            assert_eq!(unquote(&quote(text)), text);
        }
    }

    #[test]
    fn character_is_quoted_with_its_own_quote_escaped() {
        for (character, quoted) in [('\'', r"'\''"), ('"', "'\"'"), ('\n', r"'\n'"), ('x', "'x'")] {
            assert_eq!(quote_char(character), quoted);
        }
    }
}
