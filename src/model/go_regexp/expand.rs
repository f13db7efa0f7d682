//! Templates that groups are put into, by the rules of Go's `Regexp.Expand`: `$1`, `$name`, `${name}`, `$$`.
//!
//! A name reaches as far as letters, digits and underscores do, a group that is not there or took no part is empty, and a
//! dollar sign that begins nothing stands for itself.

use std::sync::OnceLock;

use regex_syntax::hir::ClassUnicode;

use super::class::property;

/// What stands for a group in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum GroupName<'t> {
    Number(usize),
    Name(&'t str),
}

/// The result would be longer than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct TooLong;

/// The template with its groups, as far as `group` knows them; at most `bytes_max` bytes.
pub(in crate::model) fn expand<'v>(
    template: &str,
    bytes_max: usize,
    group: impl Fn(GroupName<'_>) -> &'v str,
) -> Result<String, TooLong> {
    let mut expanded = String::new();
    let mut push = |text: &str| {
        if expanded.len() + text.len() > bytes_max {
            return Err(TooLong);
        }
        expanded.push_str(text);
        Ok(())
    };
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        push(before)?;
        if let Some(after) = after.strip_prefix('$') {
            push("$")?;
            rest = after;
        } else if let Some((name, after)) = group_name(after) {
            push(group(name))?;
            rest = after;
        } else {
            push("$")?;
            rest = after;
        }
    }
    push(rest)?;
    Ok(expanded)
}

/// The name at the start of `text`, in braces or not, and what follows.
fn group_name(text: &str) -> Option<(GroupName<'_>, &str)> {
    let (inner, in_braces) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let end = inner.find(|one| !is_name_char(one)).unwrap_or(inner.len());
    let (name, mut after) = inner.split_at(end);
    if in_braces {
        after = after.strip_prefix('}')?;
    }
    // A number has no leading zero and is less than a billion.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    let number = if is_number && name.len() <= 9 { name.parse().ok() } else { None };
    let name = if name.is_empty() { None } else { Some(number.map_or(GroupName::Name(name), GroupName::Number)) };
    name.map(|name| (name, after))
}

/// Letters and decimal digits of any script, and the underscore.
fn is_name_char(one: char) -> bool {
    static LETTERS_AND_DIGITS: OnceLock<ClassUnicode> = OnceLock::new();
    if one.is_ascii() {
        return one.is_ascii_alphanumeric() || one == '_';
    }
    let class = LETTERS_AND_DIGITS.get_or_init(|| property(r"[\pL\p{Nd}]").unwrap_or_else(ClassUnicode::empty));
    let after = class.ranges().partition_point(|range| range.end() < one);
    class.ranges().get(after).is_some_and(|range| range.start() <= one)
}
