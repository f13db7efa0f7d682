//! The grammar of one line.

use std::borrow::Cow;

use memchr::memchr2;

use crate::encoding::go_float;
use crate::model::{LabelSet, METRIC_NAME, MetricType, NORMAL_NAN_BITS, TimestampMs};

/// A series with more labels is none: each is compared with those before it.
const LABELS_MAX: usize = 4096;

/// Times that are taken for seconds where nobody says which they are. As milliseconds they would be of January 1970.
///
/// Source: VictoriaMetrics `lib/protoparser/prometheus/parser.go`.
const SECONDS_IF_UNDECLARED: std::ops::Range<i64> = -(1 << 31)..1 << 31;

/// Which format a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// By which rules lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Those of Prometheus' text format.
    Prometheus,
    /// Those of OpenMetrics.
    OpenMetrics,
    /// Those of both, for a text of which nobody says what it is: exemplars are read, and a time with a point, or one that
    /// would lie in January 1970 if it were milliseconds, is seconds, as VictoriaMetrics takes it. `# EOF` is a comment.
    Undeclared,
}

impl From<TextFormat> for Dialect {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::Prometheus => Dialect::Prometheus,
            TextFormat::OpenMetrics => Dialect::OpenMetrics,
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    /// Nothing: an empty line, or a comment.
    Nothing,
    /// A fact about a metric family.
    Metadata {
        /// The family's name.
        family: Cow<'a, str>,
        /// The fact.
        fact: Fact<'a>,
    },
    /// A sample.
    Sample(SampleLine<'a>),
    /// The end of an OpenMetrics text.
    End,
}

/// What a comment tells about a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<'a> {
    /// Its type.
    Type(MetricType),
    /// What it measures, for people.
    Help(Cow<'a, str>),
    /// Its unit.
    Unit(&'a str),
}

/// Names and values in the order of a line.
pub type LabelPairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// An exemplar as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarLine<'a> {
    /// Its own labels.
    pub labels: LabelPairs<'a>,
    /// What was observed.
    pub value: f64,
    /// When it was observed, if the line says so.
    pub timestamp_ms: Option<TimestampMs>,
}

/// A sample as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleLine<'a> {
    /// The labels in the order of the line, the metric's name first where it stands before the braces.
    pub labels: LabelPairs<'a>,
    /// The value.
    pub value: f64,
    /// When it was measured, if the line says so.
    pub timestamp_ms: Option<TimestampMs>,
    /// The exemplar that follows it.
    pub exemplar: Option<ExemplarLine<'a>>,
}

impl SampleLine<'_> {
    /// The label set; labels with an empty value are as if they were absent.
    pub fn label_set(&self) -> LabelSet {
        LabelSet::from_pairs(self.labels.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// A fault in a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct LineError {
    /// Where, counted in bytes from 1.
    pub column: usize,
    /// What was found, or what is missing.
    pub what: &'static str,
}

/// Reads one line, without its line feed.
pub fn parse_line(line: &str, dialect: Dialect) -> Result<Line<'_>, LineError> {
    let mut cursor = LineCursor { line, at: 0, dialect };
    cursor.skip_blanks();
    match cursor.peek() {
        None => Ok(Line::Nothing),
        Some(b'#') => cursor.comment(),
        Some(_) => cursor.sample().map(Line::Sample),
    }
}

/// A place in a line.
struct LineCursor<'a> {
    line: &'a str,
    at: usize,
    dialect: Dialect,
}

impl<'a> LineCursor<'a> {
    fn fault(&self, what: &'static str) -> LineError {
        LineError { column: self.at + 1, what }
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or("")
    }

    /// Goes on if the next byte is this one.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// The text up to the next blank or the end.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = memchr2(b' ', b'\t', rest.as_bytes()).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn comment(&mut self) -> Result<Line<'a>, LineError> {
        self.at += 1;
        self.skip_blanks();
        let keyword = self.word();
        if self.dialect == Dialect::OpenMetrics && keyword == "EOF" {
            self.skip_blanks();
            return if self.rest().is_empty() { Ok(Line::End) } else { Err(self.fault("text behind EOF")) };
        }
        let is_known = matches!(keyword, "TYPE" | "HELP") || keyword == "UNIT" && self.dialect != Dialect::Prometheus;
        if !is_known {
            return Ok(Line::Nothing);
        }
        self.skip_blanks();
        let family = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => Cow::Borrowed(self.word()),
        };
        if family.is_empty() {
            return Err(self.fault("a metric's name is missing"));
        }
        self.skip_blanks();
        let rest = self.rest();
        let fact = match keyword {
            "TYPE" => match metric_type(rest.trim_end()) {
                Some(metric_type) => Fact::Type(metric_type),
                None => return Ok(Line::Nothing),
            },
            "UNIT" => Fact::Unit(rest.trim_end()),
            _ => Fact::Help(unescape(rest, self.dialect != Dialect::Prometheus)),
        };
        Ok(Line::Metadata { family, fact })
    }

    fn sample(&mut self) -> Result<SampleLine<'a>, LineError> {
        let mut labels = Vec::new();
        if self.peek() != Some(b'{') {
            let name = self.name(is_metric_byte)?;
            labels.push((Cow::Borrowed(METRIC_NAME), name));
            self.skip_blanks();
        }
        if self.eat(b'{') {
            self.labels(&mut labels, true)?;
        }
        if !labels.iter().any(|(name, value)| name == METRIC_NAME && !value.is_empty()) {
            return Err(self.fault("the metric has no name"));
        }
        self.skip_blanks();
        let value = self.number("a value is missing", "the value is not a number")?;
        self.skip_blanks();
        let timestamp_ms = match self.peek() {
            None | Some(b'#') => None,
            Some(_) => Some(self.timestamp(self.dialect)?),
        };
        self.skip_blanks();
        let has_exemplar = self.dialect != Dialect::Prometheus && self.peek() == Some(b'#');
        let exemplar = if has_exemplar { Some(self.exemplar()?) } else { None };
        if !self.rest().is_empty() {
            return Err(self.fault("text behind the sample"));
        }
        Ok(SampleLine { labels, value, timestamp_ms, exemplar })
    }

    /// The labels behind an opening brace, up to the closing one. A text in quotes that has no value is the metric's name,
    /// where there may be one.
    fn labels(&mut self, labels: &mut LabelPairs<'a>, has_metric: bool) -> Result<(), LineError> {
        loop {
            self.skip_blanks();
            if self.eat(b'}') {
                return Ok(());
            }
            let began = self.at;
            let is_quoted = self.peek() == Some(b'"');
            let name = self.name(is_label_byte)?;
            self.skip_blanks();
            let (name, value) = if self.eat(b'=') {
                self.skip_blanks();
                if self.peek() != Some(b'"') {
                    return Err(self.fault("a label's value is not in quotes"));
                }
                (name, self.quoted()?)
            } else if is_quoted && has_metric {
                (Cow::Borrowed(METRIC_NAME), name)
            } else {
                return Err(self.fault("a label has no value"));
            };
            if labels.len() >= LABELS_MAX {
                return Err(LineError { column: began + 1, what: "more labels than any series has" });
            }
            if labels.iter().any(|(known, _)| *known == name) {
                return Err(LineError { column: began + 1, what: "a label stands there twice" });
            }
            labels.push((name, value));
            self.skip_blanks();
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return Err(self.fault("neither a comma nor a closing brace follows a label"));
            }
        }
    }

    /// A name, in quotes or not.
    fn name(&mut self, belongs: fn(u8, bool) -> bool) -> Result<Cow<'a, str>, LineError> {
        if self.peek() == Some(b'"') {
            let name = self.quoted()?;
            return if name.is_empty() { Err(self.fault("a name is empty")) } else { Ok(name) };
        }
        let rest = self.rest();
        let length = rest.bytes().enumerate().position(|(index, byte)| !belongs(byte, index == 0));
        let length = length.unwrap_or(rest.len());
        if length == 0 {
            return Err(self.fault("a name cannot begin with this character"));
        }
        self.at += length;
        Ok(Cow::Borrowed(rest.get(..length).unwrap_or("")))
    }

    /// A text in quotes. A backslash stands before a backslash, a quote or an `n` for a line feed; before anything else
    /// it is itself.
    fn quoted(&mut self) -> Result<Cow<'a, str>, LineError> {
        let began = self.at;
        self.at += 1;
        let rest = self.rest();
        let mut plain: Option<String> = None;
        let (mut copied, mut looked_at) = (0, 0);
        while let Some(found) = memchr2(b'"', b'\\', rest.as_bytes().get(looked_at..).unwrap_or_default()) {
            let index = looked_at + found;
            let last = rest.get(copied..index).unwrap_or("");
            looked_at = index + 2;
            let escaped = match rest.as_bytes().get(index..looked_at.min(rest.len())) {
                Some([b'"', ..]) => {
                    self.at += index + 1;
                    return Ok(match plain {
                        None => Cow::Borrowed(last),
                        Some(plain) => Cow::Owned(plain + last),
                    });
                }
                Some([_, b'\\']) => '\\',
                Some([_, b'"']) => '"',
                Some([_, b'n']) => '\n',
                Some([_, _]) => continue,
                _ => break,
            };
            let plain = plain.get_or_insert_default();
            plain.push_str(last);
            plain.push(escaped);
            copied = looked_at;
        }
        Err(LineError { column: began + 1, what: "a quote is not closed" })
    }

    fn number(&mut self, missing: &'static str, wrong: &'static str) -> Result<f64, LineError> {
        let began = self.at;
        let word = self.word();
        if word.is_empty() || word == "#" {
            return Err(LineError { column: began + 1, what: missing });
        }
        let value = go_float::parse(word).ok_or(LineError { column: began + 1, what: wrong })?;
        // Of all that are no number, a text can only mean the ordinary one, and never a staleness marker.
        Ok(if value.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { value })
    }

    fn timestamp(&mut self, dialect: Dialect) -> Result<TimestampMs, LineError> {
        let began = self.at;
        let fault = |what| LineError { column: began + 1, what };
        if dialect != Dialect::OpenMetrics {
            let word = self.word();
            match word.parse() {
                Ok(ms) if dialect == Dialect::Prometheus || !SECONDS_IF_UNDECLARED.contains(&ms) => return Ok(ms),
                Err(_) if dialect == Dialect::Prometheus => {
                    return Err(fault("the time is not a whole number of milliseconds"));
                }
                _ => self.at = began,
            }
        }
        let what = "the time is not a number of seconds";
        let milliseconds = self.number(what, what)? * 1000.0;
        // The conversion cuts off what is behind the point, as Go's does; but a whole number of milliseconds is taken for
        // what it is, where the product of the seconds is a little less: the seconds and the product are rounded by at
        // most half an epsilon each.
        let nearest = milliseconds.round();
        let rounding = milliseconds.abs() * f64::EPSILON;
        let milliseconds = if (milliseconds - nearest).abs() <= rounding { nearest } else { milliseconds };
        let fits = milliseconds.is_finite() && milliseconds.abs() < i64::MAX as f64;
        fits.then_some(milliseconds as TimestampMs).ok_or(fault("the time is out of range"))
    }

    /// `# {labels} value [time]`.
    fn exemplar(&mut self) -> Result<ExemplarLine<'a>, LineError> {
        self.at += 1;
        self.skip_blanks();
        if !self.eat(b'{') {
            return Err(self.fault("an exemplar has no labels"));
        }
        let mut labels = Vec::new();
        self.labels(&mut labels, false)?;
        self.skip_blanks();
        let value = self.number("an exemplar has no value", "an exemplar's value is not a number")?;
        self.skip_blanks();
        let timestamp_ms = match self.peek() {
            None => None,
            Some(_) => Some(self.timestamp(Dialect::OpenMetrics)?),
        };
        self.skip_blanks();
        Ok(ExemplarLine { labels, value, timestamp_ms })
    }
}

/// The type of this name, in either format.
fn metric_type(name: &str) -> Option<MetricType> {
    let known = (0..8).map(MetricType::from_number).find(|known| known.as_str() == name);
    known.or((name == "untyped").then_some(MetricType::Unknown))
}

/// A help text with its escapes undone: the backslash, the line feed, and in OpenMetrics the quote.
fn unescape(text: &str, has_quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let escaped = match (character, rest.as_str().bytes().next()) {
            ('\\', Some(b'\\')) => '\\',
            ('\\', Some(b'n')) => '\n',
            ('\\', Some(b'"')) if has_quotes => '"',
            _ => {
                plain.push(character);
                continue;
            }
        };
        plain.push(escaped);
        rest.next();
    }
    Cow::Owned(plain)
}

fn is_label_byte(byte: u8, is_first: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !is_first && byte.is_ascii_digit()
}

fn is_metric_byte(byte: u8, is_first: bool) -> bool {
    is_label_byte(byte, is_first) || byte == b':'
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
