//! Regular expressions as Go's `regexp` package reads them, for the regex engine that is there.
//!
//! The two syntaxes look alike and differ in many places: `\d`, `\s`, `\w` and `\b` are ASCII in Go, `\pN` and
//! `\Q...\E` exist, `\<` is a plain character, `a{,5}` is text, a name may be given to two groups, a repetition of a repetition
//! is an error. So the text is never handed on: it is parsed here, by Go's rules and with Go's errors, into the engine's tree.
//!
//! Parsing takes no recursion, and time and memory in proportion to the text and to the ranges of its classes, which are
//! bounded. Source of the rules: Go `regexp/syntax`, as `github.com/grafana/regexp` has it, which Prometheus 3.5 uses: names of
//! Unicode tables are matched exactly there. The tables themselves are those of the engine's Unicode version.

mod class;
mod escape;
mod expand;
mod fold;
mod parse;
mod repeat;
#[cfg(test)]
mod tests;

use std::fmt;

use regex_syntax::hir::Hir;

pub(super) use expand::{GroupName, TooLong, expand};
pub(super) use parse::parse;

/// A parsed expression.
#[derive(Debug)]
pub(super) struct Expression {
    /// The engine's tree. The groups have Go's numbers and no names.
    pub(super) tree: Hir,
    /// The names of groups with their numbers, in the order of the text. A name can stand for several.
    pub(super) names: Vec<(String, usize)>,
    /// How deep the tree is.
    pub(super) height: usize,
}

/// What is wrong with an expression, in Go's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    ClassRange,
    Escape,
    NamedGroup,
    PerlSyntax,
    NestedRepetition,
    RepeatCount,
    MissingBracket,
    MissingParenthesis,
    MissingArgument,
    TrailingBackslash,
    UnexpectedParenthesis,
    NestingDepth,
    TooLarge,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Fault::ClassRange => "invalid character class range",
            Fault::Escape => "invalid escape sequence",
            Fault::NamedGroup => "invalid named capture",
            Fault::PerlSyntax => "invalid or unsupported Perl syntax",
            Fault::NestedRepetition => "invalid nested repetition operator",
            Fault::RepeatCount => "invalid repeat count",
            Fault::MissingBracket => "missing closing ]",
            Fault::MissingParenthesis => "missing closing )",
            Fault::MissingArgument => "missing argument to repetition operator",
            Fault::TrailingBackslash => "trailing backslash at end of expression",
            Fault::UnexpectedParenthesis => "unexpected )",
            Fault::NestingDepth => "expression nests too deeply",
            Fault::TooLarge => "expression too large",
        }
    }
}

/// An error of Go's parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) fault: Fault,
    /// The part of the expression that is wrong.
    pub(super) part: String,
}

impl SyntaxError {
    fn new(fault: Fault, part: &str) -> Self {
        SyntaxError { fault, part: part.to_owned() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.fault.as_str(), self.part)
    }
}

/// The beginning of `text`, up to where `rest`, its end, begins.
fn before<'t>(text: &'t str, rest: &str) -> &'t str {
    &text[..text.len() - rest.len()]
}

/// The first character, and what follows it.
fn split_first(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    chars.next().map(|first| (first, chars.as_str()))
}
