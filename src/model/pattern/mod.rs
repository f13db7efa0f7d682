//! Regular expressions of matchers and `label_replace`, with the meaning that Go gives them.
//!
//! Those of matchers are anchored at both ends, with dot matching newlines. Most patterns in dashboards are lists of words,
//! prefixes or `.+`. A pattern's syntax tree is looked at once for such a shape, which is tested without the regex engine
//! and lets an index look values up instead of testing each. A shape means exactly what the expression means; what has
//! none is left to the engine.

mod budget;
mod program;
mod replace;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use regex_automata::dfa::dense;
use regex_automata::{Anchored, Input, meta};
use regex_syntax::hir::{Hir, Look};

pub use budget::{PatternBudget, PatternsTooLarge};
pub use replace::{ReplacePattern, ReplacementTooLong};
pub use shape::Shape;

use super::go_regexp::{self, SyntaxError};
use program::with_stack_for;
use shape::{shape_of, without_captures};

/// Longest text of one pattern.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is not a regular expression. The words are Go's.
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
    /// There is no stack for an expression that is nested deeply.
    #[error("no thread for a regular expression of {height} levels: {message}")]
    NoThread {
        /// Its levels.
        height: usize,
        /// The system's answer.
        message: String,
    },
}

impl From<SyntaxError> for PatternError {
    fn from(error: SyntaxError) -> Self {
        PatternError::Syntax(error.to_string())
    }
}

/// A pattern of a matcher. Cloning shares the program.
#[derive(Debug, Clone)]
pub struct Pattern {
    program: Arc<Program>,
}

#[derive(Debug)]
struct Program {
    shape: Shape,
    /// What matches; a list of words that was given as such has none.
    compiled: Option<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    regex: meta::Regex,
    /// The expression, anchored and without groups, and how deep it was.
    tree: Hir,
    height: usize,
    /// Made when it is first asked for.
    automaton: OnceLock<Option<dense::DFA<Vec<u32>>>>,
}

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// The text is no regular expression, or it or the program made of it passes a bound.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::TooLarge { limit: TEXT_BYTES_MAX, got: text.len() });
        }
        let expression = go_regexp::parse(text, true)?;
        let height = expression.height;
        let program = with_stack_for(height, || {
            let tree = without_captures(&expression.tree);
            let shape = shape_of(&tree);
            let tree = Hir::concat(vec![Hir::look(Look::Start), tree, Hir::look(Look::End)]);
            let regex = program::compile(&tree, false)?;
            let compiled = Compiled { regex, tree, height, automaton: OnceLock::new() };
            Ok(Program { shape, compiled: Some(compiled) })
        })?;
        program.map(|program| Pattern { program: Arc::new(program) })
    }

    /// The pattern that matches these words and nothing else, however many there are.
    pub fn of_words(words: BTreeSet<String>) -> Self {
        let shape = Shape::Words(words.into_iter().collect());
        Pattern { program: Arc::new(Program { shape, compiled: None }) }
    }

    /// Whether the whole of `text` matches.
    #[inline]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.program.shape {
            Shape::Words(words) => words.binary_search_by(|word| word.as_str().cmp(text)).is_ok(),
            Shape::Around { prefix, more, suffix } => {
                text.len() >= prefix.len() + more + suffix.len()
                    && text.starts_with(prefix.as_str())
                    && text.ends_with(suffix.as_str())
            }
            Shape::Contains(middle) => text.contains(middle.as_str()),
            Shape::General { prefix } => text.starts_with(prefix.as_str()) && self.runs(text),
        }
    }

    /// The same by the program, whatever the shape.
    fn runs(&self, text: &str) -> bool {
        let compiled = self.program.compiled.as_ref();
        compiled.is_some_and(|compiled| compiled.regex.is_match(Input::new(text).anchored(Anchored::Yes)))
    }

    /// All texts that match, sorted, where they are few.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.program.shape {
            Shape::Words(words) => Some(words),
            _ => None,
        }
    }

    /// What every matching text starts with, if anything.
    pub fn prefix(&self) -> Option<&str> {
        match &self.program.shape {
            Shape::Around { prefix, .. } | Shape::General { prefix } if !prefix.is_empty() => Some(prefix),
            _ => None,
        }
    }

    /// What the pattern is, where it is something simple.
    pub fn shape(&self) -> &Shape {
        &self.program.shape
    }

    /// Bytes that the program takes.
    pub fn compiled_bytes(&self) -> usize {
        self.program.compiled.as_ref().map_or(0, |compiled| compiled.regex.memory_usage())
    }

    /// The pattern as a table of states, anchored at both ends, for walks over sorted values. `None` where it would be
    /// too large, or the pattern was given as words.
    ///
    /// A match shows at the end of the text only: [`next_eoi_state`](regex_automata::dfa::Automaton::next_eoi_state).
    pub fn automaton(&self) -> Option<&dense::DFA<Vec<u32>>> {
        let Compiled { tree, height, automaton, .. } = self.program.compiled.as_ref()?;
        automaton.get_or_init(|| with_stack_for(*height, || program::automaton(tree)).ok().flatten()).as_ref()
    }
}
