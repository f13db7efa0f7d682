//! Why a query was refused, and where.

use std::fmt;

use super::ast::Span;

/// A query, a selector or a series description that does not parse, or that is not well typed.
///
/// Displays as Prometheus does: `1:5: parse error: unexpected end of input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes of the text that the error is about.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// Line and column of the span's start, both counted from 1, the column in bytes; `None` where the text is empty.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// An error on its way up through the parser.
#[derive(Debug)]
pub(super) struct Failure {
    span: Span,
    message: String,
    /// Says only which token was not expected; the construct around it may still add what it is and what it expects.
    bare: bool,
}

impl Failure {
    /// A complete error.
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Failure { span, message: message.into(), bare: false }
    }

    /// An unexpected token, described; the innermost construct that has something to add will.
    pub(super) fn unexpected(span: Span, token: &str) -> Self {
        Failure { span, message: format!("unexpected {token}"), bare: true }
    }

    /// Adds which construct the unexpected token stands in and what could stand there, unless that is known.
    #[cold]
    pub(super) fn within(mut self, construct: &str, expected: &str) -> Self {
        if self.bare {
            self.bare = false;
            self.message.push_str(" in ");
            self.message.push_str(construct);
            if !expected.is_empty() {
                self.message.push_str(", expected ");
                self.message.push_str(expected);
            }
        }
        self
    }

    /// The error with its place in `text`.
    #[cold]
    pub(super) fn locate(self, text: &str) -> ParseError {
        let position = (!text.is_empty()).then(|| {
            let before = &text.as_bytes()[..self.span.start.min(text.len())];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            (line, before.len() - line_start + 1)
        });
        ParseError { span: self.span, message: self.message, position }
    }
}
