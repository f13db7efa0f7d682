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

use super::ast::Span;
use super::check_length;
use super::error::{Failure, ParseError};
use super::grammar::Parser;
use super::lexer::{Lexer, is_alphanumeric};
use super::quote::{parse_number, quote_char};
use crate::encoding::quote;
use crate::model::duration::parse_duration_ms;
use crate::model::histogram::{BucketSpan, CounterResetHint};
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

    /// A histogram whose opening braces were taken, and its repetition.
    fn histogram_item(&mut self, values: &mut Vec<SequenceValue>) -> Result<(), Failure> {
        let (mut current, mut is_hint_given) = self.histogram()?;
        let mut step = None;
        if let Some(sign @ (b'+' | b'-')) = self.peek() {
            self.pos += 1;
            if !self.accept("{{") {
                return Err(self.unexpected("series values", "\"{{\""));
            }
            let increment;
            (increment, is_hint_given) = self.histogram()?;
            step = Some((increment, sign == b'-'));
        }
        let mut count = 0;
        if self.accept("x") {
            count = self.count(values.len())?;
        } else if step.is_some() {
            return Err(self.unexpected("series values", "\"x\""));
        }
        for index in 0..=count {
            if let Some((increment, is_negative)) = &step
                && index > 0
            {
                combine(&mut current, increment, *is_negative).map_err(|fault| {
                    let end = Span { start: self.pos, end: self.pos };
                    Failure::new(end, format!("error combining histograms: {fault}"))
                })?;
            }
            values.push(SequenceValue::Histogram { histogram: Box::new(current.clone()), is_hint_given });
        }
        Ok(())
    }

    /// `schema:1 sum:5 buckets:[1 2]}}`, and whether it has a counter reset hint.
    fn histogram(&mut self) -> Result<(FloatHistogram, bool), Failure> {
        let mut histogram = FloatHistogram::default();
        let (mut positive_offset, mut negative_offset) = (0, 0);
        let mut seen: Vec<&str> = Vec::new();
        loop {
            self.skip_space();
            if self.accept("}}") {
                break;
            }
            let (key, span) = self.word();
            if key.is_empty() {
                let expected = "histogram description key, e.g. buckets:[5 10 7]";
                return Err(self.unexpected("histogram description", expected));
            }
            if !HISTOGRAM_KEYS.contains(&key) {
                return Err(Failure::new(span, format!("bad histogram descriptor found: {}", quote(key))));
            }
            if !self.accept(":") {
                return Err(Failure::new(span, "missing `:` for histogram descriptor"));
            }
            if seen.contains(&key) {
                return Err(Failure::new(span, format!("duplicate key {} in histogram", quote(key))));
            }
            seen.push(key);
            match key {
                "schema" => histogram.schema = self.integer()?,
                "sum" => histogram.sum = self.number()?,
                "count" => histogram.count = self.number()?,
                "z_bucket" => histogram.zero_count = self.number()?,
                "z_bucket_w" => histogram.zero_threshold = self.number()?,
                "custom_values" => histogram.custom_values = self.bucket_list()?,
                "buckets" => histogram.positive_buckets = self.bucket_list()?,
                "n_buckets" => histogram.negative_buckets = self.bucket_list()?,
                "offset" => positive_offset = self.integer()?,
                "n_offset" => negative_offset = self.integer()?,
                _ => histogram.counter_reset_hint = self.counter_reset_hint()?,
            }
        }
        histogram.positive_spans = one_span(positive_offset, &histogram.positive_buckets);
        histogram.negative_spans = one_span(negative_offset, &histogram.negative_buckets);
        Ok((histogram, seen.contains(&"counter_reset_hint")))
    }

    fn bucket_list(&mut self) -> Result<Vec<f64>, Failure> {
        if !self.accept("[") {
            return Err(self.unexpected("histogram description", "\"[\""));
        }
        let mut buckets = Vec::new();
        loop {
            self.skip_space();
            if self.accept("]") {
                return Ok(buckets);
            }
            buckets.push(self.number()?);
        }
    }

    fn counter_reset_hint(&mut self) -> Result<CounterResetHint, Failure> {
        let (word, span) = self.word();
        match word {
            "unknown" => Ok(CounterResetHint::Unknown),
            "reset" => Ok(CounterResetHint::Reset),
            "not_reset" => Ok(CounterResetHint::NotReset),
            "gauge" => Ok(CounterResetHint::Gauge),
            _ => Err(Failure::new(span, format!("bad histogram descriptor found: {}", quote(word)))),
        }
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

const HISTOGRAM_KEYS: [&str; 11] = [
    "schema",
    "sum",
    "count",
    "z_bucket",
    "z_bucket_w",
    "custom_values",
    "buckets",
    "n_buckets",
    "offset",
    "n_offset",
    "counter_reset_hint",
];

fn is_special_number(word: &str) -> bool {
    word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan")
}

fn one_span(offset: i32, buckets: &[f64]) -> Vec<BucketSpan> {
    match u32::try_from(buckets.len()) {
        Ok(0) | Err(_) => Vec::new(),
        Ok(length) => vec![BucketSpan { offset, length }],
    }
}

/// Adds `increment` to `histogram`, or subtracts it. One that is coarser would make all that follow coarser too, which no
/// description means.
fn combine(histogram: &mut FloatHistogram, increment: &FloatHistogram, is_negative: bool) -> Result<(), String> {
    let (from, to) = (increment.schema, histogram.schema);
    if from < to {
        return Err(format!("cannot merge from schema {from} to {to}"));
    }
    let outcome = if is_negative { histogram.subtract(increment) } else { histogram.add(increment) };
    outcome.map(drop).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_stale_nan;

    fn values(text: &str) -> Vec<SequenceValue> {
        parse_series_description(text).unwrap().1
    }

    fn floats(text: &str) -> Vec<f64> {
        values(text)
            .into_iter()
            .map(|value| match value {
                SequenceValue::Float(value) => value,
                other => panic!("{text}: {other:?}"),
            })
            .collect()
    }

    fn histograms(text: &str) -> Vec<FloatHistogram> {
        values(text)
            .into_iter()
            .map(|value| match value {
                SequenceValue::Histogram { histogram, .. } => *histogram,
                other => panic!("{text}: {other:?}"),
            })
            .collect()
    }

    fn error(text: &str) -> String {
        parse_series_description(text).unwrap_err().to_string()
    }

    #[test]
    fn description_of_floats_is_expanded() {
        assert_eq!(floats("a 1 -2 +3 .5 1e3 0_1"), [1.0, -2.0, 3.0, 0.5, 1000.0, 1.0]);
        assert_eq!(
            floats("{} 1x2 0+10x3 5-2x2 -1-1x1 2+0x1"),
            [1.0, 1.0, 1.0, 0.0, 10.0, 20.0, 30.0, 5.0, 3.0, 1.0, -1.0, -2.0, 2.0, 2.0]
        );
        assert_eq!(floats("a Inf -inf 1x0"), [f64::INFINITY, f64::NEG_INFINITY, 1.0]);
        assert!(floats("a NaN")[0].is_nan() && !is_stale_nan(floats("a NaN")[0]));
        assert!(is_stale_nan(floats("a stale")[0]));
        assert_eq!(values("a"), []);
        assert_eq!(values("a \t "), []);
    }

    #[test]
    fn description_leaves_steps_out() {
        use SequenceValue::{Float, Omitted};
        assert_eq!(values("a _ 1 _x2 2"), [Omitted, Float(1.0), Omitted, Omitted, Float(2.0)]);
        assert_eq!(values("a _x0"), []);
    }

    #[test]
    fn description_starts_with_a_metric_in_any_form() {
        for (text, labels) in [
            ("up 1", r#"{__name__="up"}"#),
            ("up{a=\"b\"} 1", r#"{__name__="up", a="b"}"#),
            ("{\"my.metric\", \"a.b\"='c',} 1", r#"{__name__="my.metric", a.b="c"}"#),
            ("sum:x{by=\"\"} 1", r#"{__name__="sum:x"}"#),
            ("{} 1", "{}"),
        ] {
            let (got, values) = parse_series_description(text).unwrap();
            assert_eq!(got.to_string(), labels, "{text}");
            assert_eq!(values, [SequenceValue::Float(1.0)], "{text}");
        }
    }

    #[test]
    fn description_of_a_histogram_fills_its_fields() {
        let text = "{} {{schema:1 sum:-0.3 count:3.1 z_bucket:7 z_bucket_w:0.05 buckets:[5.1 10 7 ] offset:-3 \
                    n_buckets:[4 -Inf] n_offset:5 counter_reset_hint:gauge }}";
        let expected = FloatHistogram {
            schema: 1,
            counter_reset_hint: CounterResetHint::Gauge,
            zero_threshold: 0.05,
            zero_count: 7.0,
            count: 3.1,
            sum: -0.3,
            positive_spans: vec![BucketSpan { offset: -3, length: 3 }],
            positive_buckets: vec![5.1, 10.0, 7.0],
            negative_spans: vec![BucketSpan { offset: 5, length: 2 }],
            negative_buckets: vec![4.0, f64::NEG_INFINITY],
            custom_values: vec![],
        };
        assert_eq!(values(text), [SequenceValue::Histogram { histogram: Box::new(expected), is_hint_given: true }]);
        assert_eq!(histograms("{} {{}}x2"), vec![FloatHistogram::default(); 3]);
        let custom = &histograms("{} {{schema:-53 custom_values:[0.5 1] buckets:[1 2 3]}}")[0];
        assert_eq!((custom.schema, &custom.custom_values[..]), (-53, &[0.5, 1.0][..]));
    }

    #[test]
    fn description_of_growing_histograms_adds_bucket_by_bucket() {
        let grown = histograms("{} {{sum:1 buckets:[5 10]}}+{{sum:2 count:1 buckets:[1 2 3] offset:1}}x2");
        assert_eq!(grown.iter().map(|histogram| histogram.sum).collect::<Vec<_>>(), [1.0, 3.0, 5.0]);
        assert_eq!(grown[2].positive_spans, [BucketSpan { offset: 0, length: 4 }]);
        assert_eq!(grown[2].positive_buckets, [5.0, 12.0, 4.0, 6.0]);
        let shrunk = histograms("{} {{buckets:[5] n_buckets:[1]}}-{{buckets:[1] offset:3}}x1");
        assert_eq!(shrunk[1].positive_buckets, [5.0, -1.0]);
        assert_eq!(
            shrunk[1].positive_spans,
            [BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: 2, length: 1 }]
        );
        assert_eq!(shrunk[1].negative_buckets, [1.0]);
    }

    #[test]
    fn description_of_growing_histograms_coarsens_a_finer_increment() {
        // Of schema 1, bucket 0 ends at 1 and 1 and 2 end at 2^½ and 2; of schema 0, bucket 0 ends at 1 and 1 at 2.
        let grown = histograms("{} {{schema:0 buckets:[5]}}+{{schema:1 buckets:[1 2 4]}}x1");
        assert_eq!(grown[1].positive_buckets, [6.0, 6.0]);
        assert_eq!(
            error("{} {{schema:1}}+{{schema:0}}x1"),
            "1:31: parse error: error combining histograms: cannot merge from schema 0 to 1"
        );
    }

    #[test]
    fn description_that_is_wrong_says_where() {
        for (text, expected) in [
            ("a 1 b", "1:5: parse error: unexpected identifier \"b\" in series values, expected number or \"stale\""),
            ("a 1,2", "1:4: parse error: unexpected ',' in series values, expected space"),
            ("a {b=\"c\"} 1", "1:3: parse error: unexpected '{' in series values, expected number or \"stale\""),
            ("a 1+2", "1:6: parse error: unexpected end of input in series values, expected \"x\""),
            ("a 1x", "1:5: parse error: invalid repetition in series values: \"\""),
            ("a 1x1000000", "1:5: parse error: too many series values: at most 1000000 are allowed"),
            ("a _x999999 1x1", "1:14: parse error: too many series values: at most 1000000 are allowed"),
            ("a 0x1f", "1:6: parse error: unexpected 'f' in series values, expected space"),
            ("a {{foo:1}}", "1:5: parse error: bad histogram descriptor found: \"foo\""),
            ("a {{sum 1}}", "1:5: parse error: missing `:` for histogram descriptor"),
            ("a {{sum:1 sum:2}}", "1:11: parse error: duplicate key \"sum\" in histogram"),
            ("a {{schema:99999999999}}", "1:12: parse error: integer out of range: \"99999999999\""),
            ("a {{buckets:[1 x]}}", "1:16: parse error: bad number syntax: \"x\""),
            ("a {{counter_reset_hint:maybe}}", "1:24: parse error: bad histogram descriptor found: \"maybe\""),
            (
                "a {{sum:1",
                "1:10: parse error: unexpected end of input in histogram description, expected histogram \
                           description key, e.g. buckets:[5 10 7]",
            ),
            ("a {{}}+{{}}", "1:12: parse error: unexpected end of input in series values, expected \"x\""),
            ("a{b=1} 1", "1:5: parse error: unexpected character inside braces: '1'"),
            ("a{b!=\"1\"} 1", "1:4: parse error: unexpected <op:!=> in label set, expected \"=\""),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn start_timestamps_are_offsets_of_the_samples() {
        let (labels, offsets) =
            parse_start_timestamps("a{b=\"c\"}@st _ -30s-1mx2 0 _x2 5ms+1sx1 -1mx1").unwrap().unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="a", b="c"}"#);
        let given = [None, Some(-30_000), Some(-90_000), Some(-150_000), Some(0), None, None, Some(5), Some(1_005)];
        assert_eq!(offsets[..9], given);
        assert_eq!(offsets[9..], [Some(-60_000); 2]);
        assert_eq!(parse_start_timestamps("a 1 2").unwrap(), None);
        assert_eq!(parse_start_timestamps("a@st 1").unwrap_err().message, "not a valid duration string: \"1\"");
    }
}
