//! Regular expressions of matchers and `label_replace`: anchored at both ends, with dot matching newlines.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Largest compiled size of one pattern. A pattern past it is refused, whatever its text.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Longest text of one pattern.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is not a regular expression.
    #[error("error parsing regexp: {0}")]
    Syntax(String),
    /// The text, or the program made of it, is larger than a bound.
    #[error("regular expression is too large: {got} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// What was asked for; the compiled size is known only to be more than its bound.
        got: usize,
    },
}

/// A compiled pattern. Cloning shares the program.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Arc<Regex>,
}

impl Pattern {
    /// Compiles `text`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::TooLarge { limit: TEXT_BYTES_MAX, got: text.len() });
        }
        let anchored = format!("^(?s:{text})$");
        match RegexBuilder::new(&anchored).size_limit(COMPILED_BYTES_MAX).build() {
            Ok(regex) => Ok(Pattern { regex: Arc::new(regex) }),
            Err(regex::Error::CompiledTooBig(limit)) => Err(PatternError::TooLarge { limit, got: limit + 1 }),
            Err(error) => Err(PatternError::Syntax(error.to_string())),
        }
    }

    /// Whether the whole of `text` matches.
    #[inline]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The compiled expression, for captures.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}
