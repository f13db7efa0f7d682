//! Binary operators: what they do to two numbers, and to a vector and a scalar. `matching` does the rest.

use super::QueryError;
use super::evaluate::{Evaluator, remove_histograms};
use super::plan::Binary;
use super::power::power;
use crate::promql::annotations::Annotation;
use crate::promql::parser::ast::BinaryOp;
use crate::promql::value::{SeriesSteps, Steps, StepsValue, is_absent};

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
fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

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
        for one in &mut vector {
            self.limits.check()?;
            self.note_histograms_with_scalar(node, one, side);
            let mut had_float = false;
            for (place, &scalar) in one.values.iter_mut().zip(scalar) {
                let value = *place;
                if is_absent(value) {
                    continue;
                }
                had_float = true;
                let (result, keep) = match side {
                    ScalarSide::Right => apply(op, value, scalar),
                    ScalarSide::Left => apply(op, scalar, value),
                };
                *place = match keep {
                    _ if return_bool => f64::from(u8::from(keep)),
                    false => crate::promql::value::ABSENT,
                    // A filter shows the vector's value, whichever side it stands on.
                    true if op.is_comparison() => value,
                    true => result,
                };
            }
            if had_float && is_trim(op) {
                self.note_types(node, "float", "float");
            }
            one.drop_name |= return_bool || changes_meaning(op);
        }
        Ok(StepsValue::Vector(self.finish_in_place(vector)?))
    }

    /// Histograms are not computed with yet: they go, with a note where Prometheus has one too.
    fn note_histograms_with_scalar(&self, node: &Binary<'_>, one: &mut SeriesSteps, side: ScalarSide) {
        if one.histograms.is_empty() {
            return;
        }
        remove_histograms(one);
        match (side, node.expr.op) {
            (_, BinaryOp::Mul) => {}
            (ScalarSide::Right, BinaryOp::Div | BinaryOp::TrimLower | BinaryOp::TrimUpper) => {}
            (ScalarSide::Right, _) => self.note_types(node, "histogram", "float"),
            (ScalarSide::Left, _) => self.note_types(node, "float", "histogram"),
        }
    }

    /// Notes that an operator met sample types that it cannot join.
    pub(super) fn note_types(&self, node: &Binary<'_>, left: &str, right: &str) {
        let annotation = Annotation::incompatible_types(left, node.expr.op, right, node.span);
        self.annotations.borrow_mut().add(annotation);
    }
}
