//! The patterns of `label_replace`, which are searched for and take the value apart.

use regex_automata::meta;

use super::program::{compile, with_stack_for};
use super::{PatternError, TEXT_BYTES_MAX};
use crate::model::go_regexp::{self, GroupName, TooLong};

/// A compiled pattern of `label_replace`.
///
/// Prometheus puts the text into `^(?s:...)$` and compiles that, so a text may close the group and go on behind it: `a)|(b` is
/// an expression here, and in a matcher it is none.
#[derive(Debug)]
pub struct ReplacePattern {
    program: meta::Regex,
    names: Vec<(String, usize)>,
}

/// A replacement that is longer than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replacement is too long")]
pub struct ReplacementTooLong;

impl ReplacePattern {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// The text is no regular expression, or it or the program made of it passes a bound.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::TooLarge { limit: TEXT_BYTES_MAX, got: text.len() });
        }
        let expression = go_regexp::parse(&format!("^(?s:{text})$"), false)?;
        let program = with_stack_for(expression.height, || compile(&expression.tree, true))??;
        Ok(ReplacePattern { program, names: expression.names })
    }

    /// The template with the groups of the match in `value`; `None` where there is no match.
    ///
    /// # Errors
    ///
    /// The result would be longer than `bytes_max`.
    pub fn replace(&self, value: &str, template: &str, bytes_max: usize) -> Result<Option<String>, ReplacementTooLong> {
        let mut captures = self.program.create_captures();
        self.program.captures(value, &mut captures);
        if !captures.is_match() {
            return Ok(None);
        }
        let text = |index| captures.get_group(index).and_then(|span| value.get(span.start..span.end));
        let group = |name: GroupName<'_>| match name {
            GroupName::Number(index) => text(index).unwrap_or_default(),
            // The first of this name that took part in the match.
            GroupName::Name(name) => {
                let named = self.names.iter().filter(|(one, _)| one == name);
                named.filter_map(|(_, index)| text(*index)).next().unwrap_or_default()
            }
        };
        go_regexp::expand(template, bytes_max, group).map(Some).map_err(|TooLong| ReplacementTooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(regex: &str, value: &str, template: &str) -> Option<String> {
        ReplacePattern::new(regex).expect("a valid pattern").replace(value, template, 100).expect("a short value")
    }

    #[test]
    fn replace_follows_the_rules_of_go_templates() {
        for (regex, value, template, expected) in [
            ("(.*)-(.*)", "a-b", "$2/$1", "b/a"),
            ("(.*)-(?P<word>.*)", "a-b", "${word}x$word", "bxb"),
            ("(.*)", "a", "$1x", ""),
            ("(.*)", "a", "${1}x$$1", "ax$1"),
            ("(.*)", "a", "5$ and ${ and ${1 and $-", "5$ and ${ and ${1 and $-"),
            ("(.*)", "a", "$01$9", ""),
            ("(.*)", "a", "$0", "a"),
            ("(.*)", "a", "${}$", "${}$"),
            ("(?P<01>.*)", "a", "$01", "a"),
            ("(?<a>x)|(?<a>y)", "y", "<$a>", "<y>"),
            ("(a)|(b)", "b", "<$1|$2>", "<|b>"),
            ("(a){0}(b)", "b", "<$1|$2>", "<|b>"),
            ("(.*)", "a", "$1\u{b2}", "a\u{b2}"),
            ("(.*)", "a", "$1\u{e9}", ""),
            ("(.*)", "a", "$999999999$1000000000", ""),
        ] {
            assert_eq!(replaced(regex, value, template).as_deref(), Some(expected), "{regex} {template}");
        }
    }

    #[test]
    fn replace_pattern_may_leave_its_group_as_in_prometheus() {
        assert_eq!(replaced("a)|(b", "xb", "$1").as_deref(), Some("b"));
        assert_eq!(replaced("a)|(b", "ax", "<$1>").as_deref(), Some("<>"));
        assert_eq!(replaced("a)|(b", "bx", "$1"), None);
        assert!(ReplacePattern::new("\\Qa").is_err(), "the quotation takes the parenthesis");
    }

    #[test]
    fn replacement_past_its_bound_is_refused_before_it_is_made() {
        let pattern = ReplacePattern::new("(.*)").unwrap();
        let value = "x".repeat(1 << 16);
        assert_eq!(pattern.replace(&value, &"$1".repeat(1 << 20), 1 << 16), Err(ReplacementTooLong));
        assert_eq!(pattern.replace(&value, "$1", 1 << 16), Ok(Some(value.clone())));
    }
}
