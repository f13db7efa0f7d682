//! Histograms in descriptions: `{{schema:1 sum:5 buckets:[1 2]}}`, alone or growing.

use super::super::ast::Span;
use super::super::error::Failure;
use super::{Scanner, SequenceValue};
use crate::encoding::quote;
use crate::model::FloatHistogram;
use crate::model::histogram::{BucketSpan, CounterResetHint};

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

impl Scanner<'_> {
    /// A histogram whose opening braces were taken, and its repetition.
    pub(super) fn histogram_item(&mut self, values: &mut Vec<SequenceValue>) -> Result<(), Failure> {
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
