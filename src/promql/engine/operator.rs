//! What a binary operator makes of two samples, floats and histograms.
//!
//! Source: Prometheus `promql/engine.go`, `vectorElemBinop`, `scalarBinop`, version 3.14.

use super::power::power;
use crate::model::FloatHistogram;
use crate::model::Keep;
use crate::model::histogram::CounterResetHint;
use crate::promql::annotations::{Annotation, HistogramOperation};
use crate::promql::parser::ast::{BinaryOp, Span};
use crate::promql::value::Sample;

/// Whether the result means something else than the operands did, so that the metric name goes.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2
    )
}

/// What an operator makes of two floats, and whether a filter keeps it. A comparison keeps the left value.
#[inline]
pub(super) fn apply(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (power(left, right), true),
        BinaryOp::Atan2 => (left.atan2(right), true),
        BinaryOp::Eq => (left, left == right),
        BinaryOp::Ne => (left, left != right),
        BinaryOp::Gt => (left, left > right),
        BinaryOp::Lt => (left, left < right),
        BinaryOp::Ge => (left, left >= right),
        BinaryOp::Le => (left, left <= right),
        // These need a histogram; set operators never come here.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => (0.0, false),
    }
}

/// Whether an operator is one for histograms.
pub(super) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Histogram,
}

impl Kind {
    fn of(sample: Sample<'_>) -> Self {
        match sample {
            Sample::Float(_) => Kind::Float,
            Sample::Histogram(_) => Kind::Histogram,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Kind::Float => "float",
            Kind::Histogram => "histogram",
        }
    }
}

/// Something odd about two samples that met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// The operator cannot join samples of these kinds, left and right.
    Types(Kind, Kind),
    /// One histogram has exponential buckets, the other custom ones.
    BucketLayouts,
    /// The counter reset hints contradict each other.
    CounterResets(HistogramOperation),
    /// The custom bounds differ.
    CustomBounds(HistogramOperation),
}

impl Oddity {
    /// The annotation that says so of the operation at `span`.
    pub(super) fn annotation(self, op: BinaryOp, span: Span) -> Annotation {
        match self {
            Oddity::Types(left, right) => Annotation::incompatible_types(left.as_str(), op, right.as_str(), span),
            Oddity::BucketLayouts => Annotation::incompatible_bucket_layout(op, span),
            Oddity::CounterResets(operation) => Annotation::counter_reset_collision(operation, span),
            Oddity::CustomBounds(operation) => Annotation::mismatched_custom_buckets(operation, span),
        }
    }
}

/// A sample that was computed.
#[derive(Debug, Clone)]
pub(super) enum Computed {
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

/// What becomes of two samples that meet.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The result; `None` where a filter drops it.
    pub(super) value: Option<Computed>,
    /// What is odd about it all the same.
    pub(super) oddity: Option<Oddity>,
}

impl Outcome {
    fn of(value: Computed) -> Self {
        Outcome { value: Some(value), oddity: None }
    }

    fn of_comparison(left: impl FnOnce() -> Computed, holds: bool, return_bool: bool) -> Self {
        let value = match (return_bool, holds) {
            (true, holds) => Some(Computed::Float(f64::from(u8::from(holds)))),
            (false, true) => Some(left()),
            (false, false) => None,
        };
        Outcome { value, oddity: None }
    }
}

/// Joins two samples. An error says why they cannot be joined; they count as if they had not met then.
pub(super) fn join(op: BinaryOp, return_bool: bool, left: Sample<'_>, right: Sample<'_>) -> Result<Outcome, Oddity> {
    let changed = |histogram: &FloatHistogram, change: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.clone();
        change(&mut histogram);
        Ok(Outcome::of(Computed::Histogram(Box::new(histogram))))
    };
    match (left, right, op) {
        (Sample::Float(left), Sample::Float(right), _) if !is_trim(op) => {
            let (value, holds) = apply(op, left, right);
            if op.is_comparison() {
                return Ok(Outcome::of_comparison(|| Computed::Float(left), holds, return_bool));
            }
            Ok(Outcome::of(Computed::Float(value)))
        }
        (Sample::Float(factor), Sample::Histogram(histogram), BinaryOp::Mul)
        | (Sample::Histogram(histogram), Sample::Float(factor), BinaryOp::Mul) => changed(histogram, &|histogram| {
            histogram.multiply(factor);
            histogram.compact();
        }),
        (Sample::Histogram(histogram), Sample::Float(divisor), BinaryOp::Div) => changed(histogram, &|histogram| {
            histogram.divide(divisor);
            histogram.compact();
        }),
        (Sample::Histogram(histogram), Sample::Float(at), BinaryOp::TrimUpper) => {
            changed(histogram, &|histogram| histogram.trim(at, Keep::Below))
        }
        (Sample::Histogram(histogram), Sample::Float(at), BinaryOp::TrimLower) => {
            changed(histogram, &|histogram| histogram.trim(at, Keep::Above))
        }
        (Sample::Histogram(left), Sample::Histogram(right), BinaryOp::Add | BinaryOp::Sub) => {
            add_or_subtract(op, left, right)
        }
        (Sample::Histogram(left), Sample::Histogram(right), BinaryOp::Eq | BinaryOp::Ne) => {
            let holds = left.has_data_of(right) == (op == BinaryOp::Eq);
            Ok(Outcome::of_comparison(|| Computed::Histogram(Box::new(left.clone())), holds, return_bool))
        }
        _ => Err(Oddity::Types(Kind::of(left), Kind::of(right))),
    }
}

fn add_or_subtract(op: BinaryOp, left: &FloatHistogram, right: &FloatHistogram) -> Result<Outcome, Oddity> {
    let mut result = left.clone();
    let (operation, conflicts) = match op {
        BinaryOp::Add => (HistogramOperation::Addition, result.add(right)),
        _ => (HistogramOperation::Subtraction, result.subtract(right)),
    };
    let conflicts = conflicts.map_err(|_| Oddity::BucketLayouts)?;
    if conflicts.counter_resets {
        return Err(Oddity::CounterResets(operation));
    }
    if operation == HistogramOperation::Subtraction {
        result.counter_reset_hint = CounterResetHint::Gauge;
    }
    result.compact();
    let oddity = conflicts.custom_bounds.then_some(Oddity::CustomBounds(operation));
    Ok(Outcome { value: Some(Computed::Histogram(Box::new(result))), oddity })
}

/// The oddities of an operation, of which each step keeps one: that of the sample that Prometheus joins last.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    at_step: Vec<Option<(usize, Oddity)>>,
}

impl Oddities {
    /// Takes note of one at the sample that stands at `place` in its step.
    pub(super) fn note(&mut self, steps: usize, step: usize, place: usize, oddity: Oddity) {
        self.at_step.resize(steps, None);
        if let Some(known) = self.at_step.get_mut(step)
            && known.is_none_or(|(known_place, _)| known_place <= place)
        {
            *known = Some((place, oddity));
        }
    }

    /// Each of them once.
    pub(super) fn distinct(self) -> Vec<Oddity> {
        let mut distinct = Vec::new();
        for (_, oddity) in self.at_step.into_iter().flatten() {
            if !distinct.contains(&oddity) {
                distinct.push(oddity);
            }
        }
        distinct
    }
}
