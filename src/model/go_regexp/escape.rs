//! Escapes that stand for one character.

use super::{Fault, SyntaxError, before, split_first};

/// The code point that the escape at the start of `text` stands for, and what follows it. It need not be a character.
pub(super) fn escape(text: &str) -> Result<(u32, &str), SyntaxError> {
    let after = text.strip_prefix('\\').unwrap_or(text);
    let Some((letter, rest)) = split_first(after) else {
        return Err(SyntaxError::new(Fault::TrailingBackslash, ""));
    };
    let wrong = |rest: &str| SyntaxError::new(Fault::Escape, before(text, rest));
    let code = match letter {
        // One digit that is no zero would refer back to a group.
        '1'..='7' if !rest.starts_with(is_octal) => return Err(wrong(rest)),
        '0'..='7' => {
            let length = after.chars().take(3).take_while(|digit| is_octal(*digit)).count();
            let (digits, rest) = after.split_at(length);
            return Ok((u32::from_str_radix(digits, 8).unwrap_or_default(), rest));
        }
        'x' => return hexadecimal(rest).map_err(wrong),
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ if letter.is_ascii() && !letter.is_ascii_alphanumeric() => letter,
        _ => return Err(wrong(rest)),
    };
    Ok((code.into(), rest))
}

fn is_octal(digit: char) -> bool {
    matches!(digit, '0'..='7')
}

/// The digits after `\x`: two of them, or any number in braces. The error is what follows the character that is wrong.
fn hexadecimal(text: &str) -> Result<(u32, &str), &str> {
    let Some(mut rest) = text.strip_prefix('{') else {
        let (high, rest) = split_first(text).ok_or(text)?;
        let (low, rest) = split_first(rest).ok_or(rest)?;
        let digits = high.to_digit(16).zip(low.to_digit(16));
        return digits.map(|(high, low)| (high * 16 + low, rest)).ok_or(rest);
    };
    let mut code = 0;
    let mut has_digits = false;
    loop {
        let (digit, after) = split_first(rest).ok_or(rest)?;
        rest = after;
        if digit == '}' {
            return if has_digits { Ok((code, rest)) } else { Err(rest) };
        }
        code = code * 16 + digit.to_digit(16).ok_or(rest)?;
        if code > char::MAX.into() {
            return Err(rest);
        }
        has_digits = true;
    }
}
