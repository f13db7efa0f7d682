//! From the text of a query to its syntax tree, and back.
//!
//! The lexer and the grammar are written by hand. They follow Prometheus' grammar (`promql/parser/generated_parser.y`,
//! version 3.14) in what they accept and, as far as a user sees them, in the texts and positions of errors.
//!
//! Queries are hostile: the length of the text and the height of the tree are bounded, so that neither the parser nor
//! whoever walks the tree by recursion runs out of stack.

mod check;
mod duration_grammar;
mod error;
mod grammar;
mod lexer;
mod options;
mod pretty;
mod printer;
mod quote;
mod selectors;
mod token;
mod tree;

pub mod ast;
pub mod functions;
pub mod series_description;

pub use error::ParseError;
pub use grammar::DEPTH_MAX;
pub use options::LanguageOptions;
pub use pretty::format;
pub use series_description::parse_series_description;
pub use tree::{to_json, tree_text};

use crate::model::pattern::PatternBudget;
use crate::model::{LabelSet, Matcher};
use ast::{Expr, ExprKind, Span};
use error::Failure;
use grammar::Parser;

/// Longest text of a query, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Parses an expression and checks its types. The whole language is understood.
pub fn parse_expr(text: &str) -> Result<Expr, ParseError> {
    parse_expr_with(text, &LanguageOptions::ALL)
}

/// Parses an expression in that part of the language that `options` say, and checks its types.
pub fn parse_expr_with(text: &str, options: &LanguageOptions) -> Result<Expr, ParseError> {
    let parse = || {
        check_length(text)?;
        let mut expr = Parser::new(text).whole_expression()?;
        options.check(&expr)?;
        check::check(&mut expr, text)?;
        Ok(expr)
    };
    parse().map_err(|failure: Failure| failure.locate(text))
}

/// Parses a selector without anything attached, as `match[]` has it, and gives its matchers.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    parse_selector_within(text, &mut PatternBudget::default())
}

/// Parses the selectors of one request. Their regular expressions are bounded together.
pub fn parse_selectors<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Vec<Vec<Matcher>>, ParseError> {
    let mut patterns = PatternBudget::default();
    texts.map(|text| parse_selector_within(text, &mut patterns)).collect()
}

fn parse_selector_within(text: &str, patterns: &mut PatternBudget) -> Result<Vec<Matcher>, ParseError> {
    let mut parse = || {
        check_length(text)?;
        let mut parser = Parser::within(text, *patterns);
        let expr = parser.bare_selector()?;
        parser.expect_end()?;
        *patterns = parser.patterns;
        match expr.kind {
            ExprKind::VectorSelector(selector) => Ok(selector.matchers),
            _ => Ok(Vec::new()),
        }
    };
    parse().map_err(|failure: Failure| failure.locate(text))
}

/// Parses a metric as series descriptions start with it, `name{a="b"}`.
pub fn parse_metric(text: &str) -> Result<LabelSet, ParseError> {
    let parse = || {
        check_length(text)?;
        let mut parser = Parser::new(text);
        let (labels, _) = parser.metric()?;
        parser.expect_end()?;
        Ok(labels)
    };
    parse().map_err(|failure: Failure| failure.locate(text))
}

fn check_length(text: &str) -> Result<(), Failure> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("query is too long: {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(Failure::new(Span::default(), message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
