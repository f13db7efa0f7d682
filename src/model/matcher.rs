//! A test of one label, as selectors use it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::label_set::LabelSet;
use super::pattern::{Pattern, PatternError};

/// The four kinds of label test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// One label test. An absent label counts as one with an empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label that is tested.
    pub name: String,
    /// How it is tested.
    pub op: MatchOp,
    /// The value or pattern, as it was written.
    pub value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher; a pattern that is not a valid regular expression is an error.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, PatternError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Matcher { name: name.into(), op, value, pattern })
    }

    /// The matcher `name = value`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The matcher that one of these values passes, without the bounds of what somebody writes as a pattern.
    pub fn one_of(name: impl Into<String>, values: BTreeSet<String>) -> Self {
        let text: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
        let pattern = Some(Pattern::of_words(values));
        Matcher { name: name.into(), op: MatchOp::Regex, value: text.join("|"), pattern }
    }

    /// The matchers without those that stand among them before.
    pub fn distinct(matchers: &[Matcher]) -> Cow<'_, [Matcher]> {
        let mut known = HashSet::new();
        let mut distinct = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            if known.insert((&matcher.name, matcher.op, &matcher.value)) {
                distinct.push(matcher);
            }
        }
        if distinct.len() == matchers.len() {
            return Cow::Borrowed(matchers);
        }
        Cow::Owned(distinct.into_iter().cloned().collect())
    }

    /// The pattern of a regex matcher.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Whether the operator is a negation (`!=`, `!~`).
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// Whether a label of this value passes.
    pub fn matches(&self, value: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(value) == (self.op == MatchOp::Regex),
            None => (self.value == value) == (self.op == MatchOp::Equal),
        }
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether a series with these labels passes.
    pub fn matches_labels(&self, labels: &LabelSet) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_that_stand_twice_are_taken_once_and_others_stay_as_they_are() {
        let of = |op, value: &str| Matcher::new("a", op, value).unwrap();
        let distinct = [of(MatchOp::Equal, "x"), of(MatchOp::Regex, "x"), of(MatchOp::Equal, "y")];
        assert!(matches!(Matcher::distinct(&distinct), Cow::Borrowed(all) if all.len() == 3));
        let repeated: Vec<Matcher> = distinct.iter().chain(&distinct).cloned().collect();
        assert_eq!(*Matcher::distinct(&repeated), distinct);
    }
}
