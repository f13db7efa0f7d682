//! The grammar of one line.

use std::borrow::Cow;

use crate::encoding::go_float;
use crate::model::{LabelSet, METRIC_NAME, TimestampMs};

/// A series with more labels is none: each is compared with those before it.
const LABELS_MAX: usize = 4096;

/// Which format a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    /// Nothing: an empty line, or a comment.
    Nothing,
    /// A fact about a metric: the keyword (`TYPE`, `HELP` or `UNIT`), the metric's name, the rest.
    Metadata(&'a str, Cow<'a, str>, &'a str),
    /// A sample.
    Sample(SampleLine<'a>),
    /// The end of an OpenMetrics text.
    End,
}

/// A sample as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleLine<'a> {
    /// The labels in the order of the line, the metric's name first where it stands before the braces.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value.
    pub value: f64,
    /// When it was measured, if the line says so.
    pub timestamp_ms: Option<TimestampMs>,
    /// Whether an exemplar follows; it is checked and not kept.
    pub has_exemplar: bool,
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
pub fn parse_line(line: &str, format: TextFormat) -> Result<Line<'_>, LineError> {
    let mut cursor = LineCursor { line, at: 0 };
    cursor.skip_blanks();
    match cursor.peek() {
        None => Ok(Line::Nothing),
        Some(b'#') => cursor.comment(format),
        Some(_) => cursor.sample(format).map(Line::Sample),
    }
}

/// A place in a line.
struct LineCursor<'a> {
    line: &'a str,
    at: usize,
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
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn comment(&mut self, format: TextFormat) -> Result<Line<'a>, LineError> {
        self.at += 1;
        self.skip_blanks();
        let keyword = self.word();
        if format == TextFormat::OpenMetrics && keyword == "EOF" {
            self.skip_blanks();
            return if self.rest().is_empty() { Ok(Line::End) } else { Err(self.fault("text behind EOF")) };
        }
        let is_known = matches!(keyword, "TYPE" | "HELP") || keyword == "UNIT" && format == TextFormat::OpenMetrics;
        if !is_known {
            return Ok(Line::Nothing);
        }
        self.skip_blanks();
        let name = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => Cow::Borrowed(self.word()),
        };
        if name.is_empty() {
            return Err(self.fault("a metric's name is missing"));
        }
        self.skip_blanks();
        Ok(Line::Metadata(keyword, name, self.rest()))
    }

    fn sample(&mut self, format: TextFormat) -> Result<SampleLine<'a>, LineError> {
        let mut labels = Vec::new();
        if self.peek() != Some(b'{') {
            let name = self.name(is_metric_byte)?;
            labels.push((Cow::Borrowed(METRIC_NAME), name));
            self.skip_blanks();
        }
        if self.eat(b'{') {
            self.labels(&mut labels)?;
        }
        if !labels.iter().any(|(name, value)| name == METRIC_NAME && !value.is_empty()) {
            return Err(self.fault("the metric has no name"));
        }
        self.skip_blanks();
        let value = self.number("a value is missing", "the value is not a number")?;
        self.skip_blanks();
        let timestamp_ms = match self.peek() {
            None | Some(b'#') => None,
            Some(_) => Some(self.timestamp(format)?),
        };
        self.skip_blanks();
        let has_exemplar = format == TextFormat::OpenMetrics && self.peek() == Some(b'#');
        if has_exemplar {
            self.exemplar()?;
        }
        if !self.rest().is_empty() {
            return Err(self.fault("text behind the sample"));
        }
        Ok(SampleLine { labels, value, timestamp_ms, has_exemplar })
    }

    /// The labels behind an opening brace, up to the closing one.
    fn labels(&mut self, labels: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<(), LineError> {
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
            } else if is_quoted {
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
        let mut copied = 0;
        let mut bytes = rest.bytes().enumerate();
        while let Some((index, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.at += index + 1;
                    let last = rest.get(copied..index).unwrap_or("");
                    return Ok(match plain {
                        None => Cow::Borrowed(last),
                        Some(plain) => Cow::Owned(plain + last),
                    });
                }
                b'\\' => {
                    let escaped = match bytes.next() {
                        Some((_, b'\\')) => '\\',
                        Some((_, b'"')) => '"',
                        Some((_, b'n')) => '\n',
                        Some(_) => continue,
                        None => break,
                    };
                    let plain = plain.get_or_insert_default();
                    plain.push_str(rest.get(copied..index).unwrap_or(""));
                    plain.push(escaped);
                    copied = index + 2;
                }
                _ => {}
            }
        }
        Err(LineError { column: began + 1, what: "a quote is not closed" })
    }

    fn number(&mut self, missing: &'static str, wrong: &'static str) -> Result<f64, LineError> {
        let began = self.at;
        let word = self.word();
        if word.is_empty() || word == "#" {
            return Err(LineError { column: began + 1, what: missing });
        }
        go_float::parse(word).ok_or(LineError { column: began + 1, what: wrong })
    }

    fn timestamp(&mut self, format: TextFormat) -> Result<TimestampMs, LineError> {
        let began = self.at;
        let fault = |what| LineError { column: began + 1, what };
        match format {
            TextFormat::Prometheus => {
                self.word().parse().map_err(|_| fault("the time is not a whole number of milliseconds"))
            }
            TextFormat::OpenMetrics => {
                let what = "the time is not a number of seconds";
                let milliseconds = self.number(what, what)? * 1000.0;
                // The conversion cuts off what is behind the point, as Go's does.
                let fits = milliseconds.is_finite() && milliseconds.abs() < i64::MAX as f64;
                fits.then_some(milliseconds as TimestampMs).ok_or(fault("the time is out of range"))
            }
        }
    }

    /// `# {labels} value [time]`.
    fn exemplar(&mut self) -> Result<(), LineError> {
        self.at += 1;
        self.skip_blanks();
        if !self.eat(b'{') {
            return Err(self.fault("an exemplar has no labels"));
        }
        self.labels(&mut Vec::new())?;
        self.skip_blanks();
        self.number("an exemplar has no value", "an exemplar's value is not a number")?;
        self.skip_blanks();
        if !self.rest().is_empty() {
            self.timestamp(TextFormat::OpenMetrics)?;
        }
        self.skip_blanks();
        Ok(())
    }
}

fn is_label_byte(byte: u8, is_first: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !is_first && byte.is_ascii_digit()
}

fn is_metric_byte(byte: u8, is_first: bool) -> bool {
    is_label_byte(byte, is_first) || byte == b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: &str, format: TextFormat) -> (String, f64, Option<i64>) {
        match parse_line(line, format) {
            Ok(Line::Sample(sample)) => (sample.label_set().to_string(), sample.value, sample.timestamp_ms),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn fault(line: &str, format: TextFormat) -> (usize, &'static str) {
        let error = parse_line(line, format).expect_err(line);
        (error.column, error.what)
    }

    #[test]
    fn sample_line_gives_labels_value_and_time_in_milliseconds() {
        let text = TextFormat::Prometheus;
        assert_eq!(sample("up 1", text), (r#"{__name__="up"}"#.into(), 1.0, None));
        assert_eq!(sample("a:b{x=\"1\", y=\"2\",}  -0.5\t17", text).2, Some(17));
        assert_eq!(sample("a{} 0x1p-2 -5", text), (r#"{__name__="a"}"#.into(), 0.25, Some(-5)));
        let open = TextFormat::OpenMetrics;
        assert_eq!(sample("a 1 1700000000.123", open).2, Some(1_700_000_000_123));
        assert_eq!(sample("a 1 -1.5e3", open).2, Some(-1_500_000));
        assert_eq!(sample("a +Inf", open).1, f64::INFINITY);
    }

    #[test]
    fn sample_line_with_quoted_names_and_escapes_gives_what_they_stand_for() {
        let text = TextFormat::Prometheus;
        let (labels, ..) = sample(r#"{"http.requests","a b"="c",d="\\ \" \n \q"} 1"#, text);
        assert_eq!(
            labels,
            LabelSet::from_pairs([("__name__", "http.requests"), ("a b", "c"), ("d", "\\ \" \n \\q")]).to_string()
        );
        assert_eq!(sample(r#"a{b="ü,}",c=""} 1"#, text).0, r#"{__name__="a", b="ü,}"}"#);
    }

    #[test]
    fn sample_line_of_open_metrics_may_end_in_an_exemplar() {
        let open = TextFormat::OpenMetrics;
        for line in [r##"a_bucket{le="1"} 3 # {trace_id="x"} 0.5"##, r##"a 3 9 # {} 0.5 8.25"##] {
            let Ok(Line::Sample(sample)) = parse_line(line, open) else { panic!("{line}") };
            assert!(sample.has_exemplar && sample.value == 3.0);
        }
        assert_eq!(fault("a 3 # {}", open).1, "an exemplar has no value");
        assert_eq!(fault("a 3 # {} 1", TextFormat::Prometheus).1, "text behind the sample");
    }

    #[test]
    fn line_with_a_fault_names_its_column() {
        let text = TextFormat::Prometheus;
        for (line, expected) in [
            ("1a 1", (1, "a name cannot begin with this character")),
            ("a", (2, "a value is missing")),
            ("a b", (3, "the value is not a number")),
            ("a 1 2.5", (5, "the time is not a whole number of milliseconds")),
            ("a 1 2 3", (7, "text behind the sample")),
            ("a{b} 1", (4, "a label has no value")),
            ("a{b=c} 1", (5, "a label's value is not in quotes")),
            ("a{b=\"c} 1", (5, "a quote is not closed")),
            ("a{b=\"c\\", (5, "a quote is not closed")),
            ("a{b=\"1\" c=\"2\"} 1", (9, "neither a comma nor a closing brace follows a label")),
            ("a{b=\"1\",b=\"2\"} 1", (9, "a label stands there twice")),
            ("a{\"b\"} 1", (3, "a label stands there twice")),
            ("{a=\"b\"} 1", (8, "the metric has no name")),
            ("{\"\"} 1", (4, "a name is empty")),
            ("# TYPE", (7, "a metric's name is missing")),
        ] {
            assert_eq!(fault(line, text), expected, "{line}");
        }
        let many = |count: usize| format!("a{{{}}} 1", (1..count).map(|n| format!("b{n}=\"\",")).collect::<String>());
        assert!(parse_line(&many(LABELS_MAX), TextFormat::Prometheus).is_ok());
        assert_eq!(fault(&many(LABELS_MAX + 1), TextFormat::Prometheus).1, "more labels than any series has");
        assert_eq!(fault("a 1 nan", TextFormat::OpenMetrics), (5, "the time is out of range"));
        assert_eq!(fault("# EOF x", TextFormat::OpenMetrics), (7, "text behind EOF"));
    }

    #[test]
    fn comment_line_gives_metadata_or_nothing() {
        let open = TextFormat::OpenMetrics;
        assert_eq!(parse_line("# UNIT a seconds", open), Ok(Line::Metadata("UNIT", "a".into(), "seconds")));
        assert_eq!(
            parse_line("# HELP \"a b\" Some  text ", open),
            Ok(Line::Metadata("HELP", "a b".into(), "Some  text "))
        );
        assert_eq!(parse_line("# EOF", open), Ok(Line::End));
        assert_eq!(parse_line("# EOF", TextFormat::Prometheus), Ok(Line::Nothing));
        assert_eq!(parse_line("#", open), Ok(Line::Nothing));
        assert_eq!(parse_line("   ", open), Ok(Line::Nothing));
    }

    proptest::proptest! {
        #[test]
        fn line_of_any_text_is_read_or_refused(line in "[ -~\u{e4}\t]{0,60}") {
            for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
                if let Err(error) = parse_line(&line, format) {
                    assert!(error.column <= line.len() + 1);
                }
            }
        }

        #[test]
        fn line_written_from_labels_gives_them_back(value in "[ -~\n\u{e4}]{1,20}", number: f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let line = format!("{{\"m\",\"l.x\"=\"{escaped}\"}} {}", go_float::general(number, None));
            let (labels, read, _) = sample(&line, TextFormat::Prometheus);
            assert_eq!(labels, LabelSet::from_pairs([("__name__", "m"), ("l.x", &value)]).to_string());
            assert!(read.to_bits() == number.to_bits() || read.is_nan() && number.is_nan());
        }
    }
}
