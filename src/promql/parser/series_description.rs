//! Series as test files describe them: a metric and the values it takes at each step.
//!
//! ```text
//! http_requests{job="api"} 1 2 _ _x3 stale 0+10x5 -2x3 {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{sum:1}}x2
//! ```
//!
//! `_` leaves a step out, `1x3` repeats a value three more times, and `0+10x5` adds 10 five times. A histogram stands
//! in double braces. A line of start timestamps has `@st` behind the metric and offsets for values.
//!
//! Source: the `series_description` rules of Prometheus' `promql/parser/generated_parser.y` and `promql/promqltest`,
//! version 3.14.

mod histogram;
#[cfg(test)]
mod tests;

use super::ast::Span;
use super::check_length;
use super::error::{Failure, ParseError};
use super::grammar::Parser;
use super::lexer::{Lexer, is_alphanumeric};
use super::quote::{parse_number, quote_char};
use crate::encoding::quote;
use crate::model::duration::parse_duration_ms;
use crate::model::{FloatHistogram, LabelSet, stale_nan};

/// How many values one description may have.
const VALUES_MAX: usize = 1_000_000;

/// What a series has at one step.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceValue {
    /// No sample.
    Omitted,
    /// A float; `stale` is the staleness marker.
    Float(f64),
    /// A histogram.
    Histogram {
        /// The histogram.
        histogram: Box<FloatHistogram>,
        /// Whether the description has a `counter_reset_hint`. If not, any hint is as expected.
        is_hint_given: bool,
    },
}

/// Parses a metric and its values.
pub fn parse_series_description(text: &str) -> Result<(LabelSet, Vec<SequenceValue>), ParseError> {
    let parse = || {
        check_length(text)?;
        let (labels, pos) = Parser::new(text).metric()?;
        let mut scanner = Scanner { text, pos };
        let values = scanner.values()?;
        Ok((labels, values))
    };
    parse().map_err(|failure: Failure| failure.locate(text))
}

/// Parses a line of start timestamps, `metric{a="b"}@st _ -30s-1mx2`: milliseconds that are added to the times of the
/// samples, `None` where there is no start timestamp. Gives `None` for a line that is not one.
pub fn parse_start_timestamps(text: &str) -> Result<Option<(LabelSet, Vec<Option<i64>>)>, ParseError> {
    let text = text.trim();
    let parse = || {
        check_length(text)?;
        let Some(space) = text.find([' ', '\t']) else { return Ok(None) };
        let (head, tail) = text.split_at(space);
        let Some(metric) = head.strip_suffix("@st") else { return Ok(None) };
        let mut parser = Parser::new(metric);
        let (labels, _) = parser.metric()?;
        parser.expect_end()?;
        let mut scanner = Scanner { text, pos: text.len() - tail.len() };
        Ok(Some((labels, scanner.start_offsets()?)))
    };
    parse().map_err(|failure: Failure| failure.locate(text))
}

/// Reads the values of a description.
struct Scanner<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn accept(&mut self, wanted: &str) -> bool {
        let is_next = self.text.as_bytes()[self.pos..].starts_with(wanted.as_bytes());
        if is_next {
            self.pos += wanted.len();
        }
        is_next
    }

    fn skip_space(&mut self) -> bool {
        let start = self.pos;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        self.pos > start
    }

    /// Takes letters, digits and underscores.
    fn word(&mut self) -> (&'a str, Span) {
        let start = self.pos;
        while self.peek().is_some_and(is_alphanumeric) {
            self.pos += 1;
        }
        let span = Span { start, end: self.pos };
        (self.text.get(start..self.pos).unwrap_or_default(), span)
    }

    fn unexpected(&self, context: &str, expected: &str) -> Failure {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        let (what, len) = match rest.chars().next() {
            Some(character) => (quote_char(character), character.len_utf8()),
            None => ("end of input".to_owned(), 0),
        };
        let span = Span { start: self.pos, end: self.pos + len };
        Failure::unexpected(span, &what).within(context, expected)
    }

    /// All values up to the end of the text.
    fn values(&mut self) -> Result<Vec<SequenceValue>, Failure> {
        let mut values = Vec::new();
        loop {
            let has_space = self.skip_space();
            if self.peek().is_none() {
                return Ok(values);
            }
            if !has_space {
                return Err(self.unexpected("series values", "space"));
            }
            self.item(&mut values)?;
        }
    }

    /// One value, or several of them in short form.
    fn item(&mut self, values: &mut Vec<SequenceValue>) -> Result<(), Failure> {
        if self.accept("_") {
            let count = if self.accept("x") { self.count(values.len())? } else { 1 };
            values.extend(std::iter::repeat_n(SequenceValue::Omitted, count));
            return Ok(());
        }
        if self.accept("{{") {
            return self.histogram_item(values);
        }
        let mut value = self.float_or_stale()?;
        let step = match self.peek() {
            Some(b'+' | b'-') => self.number()?,
            Some(b'x') => 0.0,
            _ => {
                values.push(SequenceValue::Float(value));
                return Ok(());
            }
        };
        if !self.accept("x") {
            return Err(self.unexpected("series values", "\"x\""));
        }
        let is_constant = step == 0.0;
        for _ in 0..=self.count(values.len())? {
            values.push(SequenceValue::Float(value));
            // A marker must keep its bits, so nothing is added to it.
            if !is_constant {
                value += step;
            }
        }
        Ok(())
    }

    fn float_or_stale(&mut self) -> Result<f64, Failure> {
        let start = self.pos;
        match self.peek() {
            Some(byte) if byte.is_ascii_alphabetic() => {
                let (word, span) = self.word();
                match word {
                    "stale" => return Ok(stale_nan()),
                    _ if is_special_number(word) => self.pos = start,
                    _ => {
                        let message = format!(
                            "unexpected identifier {} in series values, expected number or \"stale\"",
                            quote(word)
                        );
                        return Err(Failure::new(span, message));
                    }
                }
                self.number()
            }
            Some(b'0'..=b'9' | b'.' | b'+' | b'-') => self.number(),
            _ => Err(self.unexpected("series values", "number or \"stale\"")),
        }
    }

    /// A number with or without a sign.
    fn number(&mut self) -> Result<f64, Failure> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let value = if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            let (word, span) = self.word();
            if !is_special_number(word) {
                return Err(Failure::new(span, format!("bad number syntax: {}", quote(word))));
            }
            word.parse().map_err(|_| Failure::new(span, format!("bad number syntax: {}", quote(word))))?
        } else {
            let span = Lexer::series_number(self.text, self.pos)?;
            self.pos = span.end;
            let text = self.text.get(span.start..span.end).unwrap_or_default();
            parse_number(text).map_err(|message| Failure::new(span, message))?
        };
        Ok(if negative { -value } else { value })
    }

    /// A whole number without a sign.
    fn digits(&mut self) -> Result<u64, Failure> {
        let start = self.pos;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos += 1;
        }
        let digits = self.text.get(start..self.pos).unwrap_or_default();
        digits.parse().map_err(|_| {
            let message = format!("invalid repetition in series values: {}", quote(digits));
            Failure::new(Span { start, end: self.pos }, message)
        })
    }

    /// How often something is repeated; `so_far` values are there already.
    fn count(&mut self, so_far: usize) -> Result<usize, Failure> {
        let start = self.pos;
        let count = self.digits()?;
        match usize::try_from(count) {
            Ok(count) if count < VALUES_MAX - so_far.min(VALUES_MAX) => Ok(count),
            _ => {
                let message = format!("too many series values: at most {VALUES_MAX} are allowed");
                Err(Failure::new(Span { start, end: self.pos }, message))
            }
        }
    }

    /// A whole number with or without a minus.
    fn integer(&mut self) -> Result<i32, Failure> {
        let start = self.pos;
        let negative = self.accept("-");
        let value = i64::try_from(self.digits()?).ok().map(|value| if negative { -value } else { value });
        value.and_then(|value| i32::try_from(value).ok()).ok_or_else(|| {
            let shown = quote(self.text.get(start..self.pos).unwrap_or_default());
            Failure::new(Span { start, end: self.pos }, format!("integer out of range: {shown}"))
        })
    }

    /// The offsets of a line of start timestamps.
    fn start_offsets(&mut self) -> Result<Vec<Option<i64>>, Failure> {
        let mut offsets = Vec::new();
        loop {
            let has_space = self.skip_space();
            if self.peek().is_none() {
                return Ok(offsets);
            }
            if !has_space {
                return Err(self.unexpected("start timestamps", "space"));
            }
            if self.accept("_") {
                let count = if self.accept("x") { self.count(offsets.len())? } else { 1 };
                offsets.extend(std::iter::repeat_n(None, count));
                continue;
            }
            let mut offset_ms = self.signed_duration()?;
            let step_ms = match self.peek() {
                Some(b'+' | b'-') => self.signed_duration()?,
                Some(b'x') => 0,
                _ => {
                    offsets.push(Some(offset_ms));
                    continue;
                }
            };
            if !self.accept("x") {
                return Err(self.unexpected("start timestamps", "\"x\""));
            }
            for _ in 0..=self.count(offsets.len())? {
                offsets.push(Some(offset_ms));
                offset_ms = offset_ms.saturating_add(step_ms);
            }
        }
    }

    fn signed_duration(&mut self) -> Result<i64, Failure> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let start = self.pos;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || b"ywdhms".contains(&byte)) {
            self.pos += 1;
        }
        let text = self.text.get(start..self.pos).unwrap_or_default();
        match parse_duration_ms(text) {
            Ok(duration_ms) => Ok(if negative { -duration_ms } else { duration_ms }),
            Err(error) => Err(Failure::new(Span { start, end: self.pos }, error.to_string())),
        }
    }
}

fn is_special_number(word: &str) -> bool {
    word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan")
}
