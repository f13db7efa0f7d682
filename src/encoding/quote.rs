//! Texts in quotes as Go writes them, which errors and printed queries of Prometheus show.
//!
//! Source: Go's `strconv.Quote`.

use std::fmt::Write;

/// The text in double quotes, with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape(text, &mut out);
    out.push('"');
    out
}

/// Bytes that may not be UTF-8 in double quotes, with Go's escapes.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        escape(chunk.valid(), &mut out);
        // Writing to a string cannot fail.
        chunk.invalid().iter().for_each(|byte| _ = write!(out, "\\x{byte:02x}"));
    }
    out.push('"');
    out
}

fn escape(text: &str, out: &mut String) {
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
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_quoted_as_numbers() {
        assert_eq!(quote_bytes(b"a\xc5z\n\xc3\xbc\xff"), r#""a\xc5z\nü\xff""#);
    }
}
