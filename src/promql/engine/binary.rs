//! Binary operators between scalars, and between a vector and a scalar. `matching` does the rest.

use super::QueryError;
use super::evaluate::Evaluator;
use super::operator::{Computed, Oddities, Oddity, apply, changes_meaning, is_trim, join};
use super::plan::Binary;
use crate::promql::value::{ABSENT, Sample, SeriesSteps, Steps, StepsValue, is_absent};

/// Which side of an operator the scalar stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScalarSide {
    Left,
    Right,
}

impl Evaluator<'_> {
    /// The value of a binary operation.
    pub(super) fn binary(&self, node: &Binary<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        let left = self.eval(&node.left, steps)?;
        let right = self.eval(&node.right, steps)?;
        match (left, right) {
            (StepsValue::Scalar(left), StepsValue::Scalar(right)) => {
                let op = node.expr.op;
                let both = left.into_iter().zip(right).map(|(left, right)| match apply(op, left, right) {
                    (_, keep) if op.is_comparison() => f64::from(u8::from(keep)),
                    (value, _) => value,
                });
                Ok(StepsValue::Scalar(both.collect()))
            }
            (StepsValue::Vector(vector), StepsValue::Scalar(scalar)) => {
                self.vector_and_scalar(node, vector, &scalar, ScalarSide::Right)
            }
            (StepsValue::Scalar(scalar), StepsValue::Vector(vector)) => {
                self.vector_and_scalar(node, vector, &scalar, ScalarSide::Left)
            }
            (StepsValue::Vector(left), StepsValue::Vector(right)) => {
                Ok(StepsValue::Vector(self.vector_and_vector(node, left, right, steps)?))
            }
            (StepsValue::String(_), _) | (_, StepsValue::String(_)) => {
                Err(QueryError::Execution("a string cannot be an operand".to_owned()))
            }
        }
    }

    fn vector_and_scalar(
        &self,
        node: &Binary<'_>,
        mut vector: Vec<SeriesSteps>,
        scalar: &[f64],
        side: ScalarSide,
    ) -> Result<StepsValue, QueryError> {
        let (op, return_bool) = (node.expr.op, node.expr.return_bool);
        let mut oddities = Oddities::default();
        for (index, one) in vector.iter_mut().enumerate() {
            self.limits.check()?;
            one.drop_name |= return_bool || changes_meaning(op);
            if is_trim(op) || !one.histograms.is_empty() {
                samples_and_scalar(node, one, scalar, side, |step, oddity| {
                    oddities.note(scalar.len(), step, index, oddity);
                });
                continue;
            }
            for (place, &scalar) in one.values.iter_mut().zip(scalar) {
                let value = *place;
                if is_absent(value) {
                    continue;
                }
                let (result, keep) = match side {
                    ScalarSide::Right => apply(op, value, scalar),
                    ScalarSide::Left => apply(op, scalar, value),
                };
                *place = match keep {
                    _ if return_bool => f64::from(u8::from(keep)),
                    false => ABSENT,
                    // A filter shows the vector's value, whichever side it stands on.
                    true if op.is_comparison() => value,
                    true => result,
                };
            }
        }
        self.note_oddities(node, oddities);
        Ok(StepsValue::Vector(self.finish_in_place(vector)?))
    }

    /// Annotates what was odd about the samples of an operation.
    pub(super) fn note_oddities(&self, node: &Binary<'_>, oddities: Oddities) {
        let mut annotations = self.annotations.borrow_mut();
        for oddity in oddities.distinct() {
            annotations.add(oddity.annotation(node.expr.op, node.span));
        }
    }
}

/// Joins each sample of a series, which may be histograms, with a scalar.
fn samples_and_scalar(
    node: &Binary<'_>,
    one: &mut SeriesSteps,
    scalar: &[f64],
    side: ScalarSide,
    mut note: impl FnMut(usize, Oddity),
) {
    let mut histograms = Vec::new();
    for (step, &scalar) in scalar.iter().enumerate() {
        let Some(sample) = one.at(step) else { continue };
        let (left, right) = match side {
            ScalarSide::Right => (sample, Sample::Float(scalar)),
            ScalarSide::Left => (Sample::Float(scalar), sample),
        };
        let value = match join(node.expr.op, node.expr.return_bool, left, right) {
            Ok(outcome) => outcome.value,
            Err(oddity) => {
                note(step, oddity);
                None
            }
        };
        let is_filter = node.expr.op.is_comparison() && !node.expr.return_bool;
        match value {
            None => one.values[step] = ABSENT,
            Some(Computed::Histogram(histogram)) => histograms.push((step as u32, *histogram)),
            // The vector's value stays, whichever side it stands on.
            Some(Computed::Float(_)) if is_filter => {}
            Some(Computed::Float(value)) => one.values[step] = value,
        }
    }
    one.histograms = histograms;
}
