//! Walks the plan and computes the value of each node over all steps.

use std::cell::RefCell;

use hashbrown::HashSet;

use super::explain::{NodeKey, NodeRun, Profile, key_of};
use super::limits::{Cost, Limits};
use super::names;
use super::plan::Node;
use super::{EngineOptions, QueryError};
use crate::promql::annotations::Annotations;
use crate::promql::value::{ABSENT, SeriesSteps, Steps, StepsValue};
use crate::storage::Querier;

/// Evaluates one query. Nodes are evaluated one after the other; only the series of a stream run side by side.
pub(super) struct Evaluator<'q> {
    pub(super) options: &'q EngineOptions,
    pub(super) lookback_ms: i64,
    pub(super) limits: &'q Limits,
    pub(super) querier: &'q dyn Querier,
    pub(super) annotations: RefCell<Annotations>,
    /// What nodes took, where that is asked for.
    pub(super) profile: Option<RefCell<Profile>>,
}

impl<'q> Evaluator<'q> {
    pub(super) fn new(
        options: &'q EngineOptions,
        lookback_ms: i64,
        limits: &'q Limits,
        querier: &'q dyn Querier,
    ) -> Self {
        Evaluator { options, lookback_ms, limits, querier, annotations: RefCell::default(), profile: None }
    }

    pub(super) fn into_annotations(self) -> Annotations {
        self.annotations.into_inner()
    }

    /// The value of a node at all steps.
    pub(super) fn eval(&self, node: &Node<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        self.limits.check()?;
        let held = self.limits.held();
        let series = |value: &StepsValue| if let StepsValue::Vector(series) = value { series.len() } else { 1 };
        let value = self.timed(key_of(node), || self.eval_node(node, steps), series)?;
        self.limits.settle(held.plus(Cost::of(&value)))?;
        Ok(value)
    }

    fn eval_node(&self, node: &Node<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        Ok(match node {
            Node::Number(value) => {
                self.limits.room_for(steps.count)?;
                StepsValue::Scalar(vec![*value; steps.count])
            }
            Node::String(text) => StepsValue::String(text.to_string()),
            Node::Negate(inner) => self.negate(inner, steps)?,
            Node::Binary(binary) => self.binary(binary, steps)?,
            Node::Aggregate(aggregate) => StepsValue::Vector(self.aggregate(aggregate, steps)?),
            Node::Instant(_) => StepsValue::Vector(self.collect(node, steps)?),
            Node::Call(call) => self.call(node, call, steps)?,
            Node::Invariant(inner) => self.invariant(inner, steps)?,
            Node::Range(_) | Node::Subquery(_) => {
                return Err(QueryError::Execution("a range vector stands where it cannot be evaluated".to_owned()));
            }
        })
    }

    /// Evaluates a part of the plan and, where that is asked for, notes what it took. `series` counts what it gives.
    pub(super) fn timed<T>(
        &self,
        key: NodeKey,
        evaluate: impl FnOnce() -> Result<T, QueryError>,
        series: impl FnOnce(&T) -> usize,
    ) -> Result<T, QueryError> {
        let Some(profile) = &self.profile else { return evaluate() };
        let (began, read) = (self.limits.now(), self.limits.samples_read());
        let value = evaluate()?;
        let run = NodeRun {
            elapsed: self.limits.now().saturating_sub(began),
            series: series(&value) as u64,
            samples_read: self.limits.samples_read().saturating_sub(read),
        };
        profile.borrow_mut().insert(key, run);
        Ok(value)
    }

    /// Notes that one part of the plan took what another did.
    pub(super) fn copy_run(&self, from: NodeKey, to: NodeKey) {
        if let Some(profile) = &self.profile {
            let mut profile = profile.borrow_mut();
            if let Some(run) = profile.get(&from).copied() {
                profile.insert(to, run);
            }
        }
    }

    /// The value of a node that is an instant vector.
    pub(super) fn vector(&self, node: &Node<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        match self.eval(node, steps)? {
            StepsValue::Vector(series) => Ok(series),
            StepsValue::Scalar(_) | StepsValue::String(_) => {
                Err(QueryError::Execution("expected an instant vector".to_owned()))
            }
        }
    }

    /// The value of a node that is a scalar.
    pub(super) fn scalar(&self, node: &Node<'_>, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(node, steps)? {
            StepsValue::Scalar(values) => Ok(values),
            StepsValue::Vector(_) | StepsValue::String(_) => Err(QueryError::Execution("expected a scalar".to_owned())),
        }
    }

    /// Hands each series of an instant vector to `consume`, without keeping those that can be evaluated on their own.
    pub(super) fn for_each_series(
        &self,
        node: &Node<'_>,
        steps: &Steps,
        mut consume: impl FnMut(SeriesSteps) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let Some(stream) = self.stream(node, steps)? else {
            return self.vector(node, steps)?.into_iter().try_for_each(consume);
        };
        let may_collide = stream.may_collide();
        let mut seen = HashSet::new();
        let mut given = 0;
        let each = |one: SeriesSteps| {
            given += 1;
            if may_collide && !seen.insert(one.labels.clone()) {
                return Err(QueryError::same_labels());
            }
            let cost = Cost::of_series(std::slice::from_ref(&one));
            consume(one)?;
            self.limits.release(cost);
            Ok(())
        };
        let annotations = self.timed(key_of(node), || stream.for_each(each), |_| 0)?;
        if let Some(profile) = &self.profile
            && let Some(run) = profile.borrow_mut().get_mut(&key_of(node))
        {
            run.series = given;
        }
        self.annotations.borrow_mut().merge(annotations);
        Ok(())
    }

    /// All series of a node that can be streamed.
    pub(super) fn collect(&self, node: &Node<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let Some(stream) = self.stream(node, steps)? else {
            return Err(QueryError::Execution("expected series that stand on their own".to_owned()));
        };
        let (series, annotations) = stream.collect()?;
        self.annotations.borrow_mut().merge(annotations);
        if stream.may_collide() && names::has_same_labels(&series) {
            return Err(QueryError::same_labels());
        }
        Ok(series)
    }

    fn negate(&self, inner: &Node<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        let mut series = match self.eval(inner, steps)? {
            StepsValue::Scalar(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                return Ok(StepsValue::Scalar(values));
            }
            StepsValue::String(_) => return Err(QueryError::Execution("a string has no sign".to_owned())),
            StepsValue::Vector(series) => series,
        };
        for one in &mut series {
            one.drop_name = true;
            for value in one.values.iter_mut().filter(|value| value.to_bits() != ABSENT.to_bits()) {
                *value = -*value;
            }
            for (step, histogram) in &mut one.histograms {
                one.values[*step as usize] = 0.0;
                histogram.multiply(-1.0);
            }
        }
        if !self.options.delayed_name_removal && names::drop_names_of_distinct(&mut series) {
            series = names::merge_same_labels(series)?;
        }
        Ok(StepsValue::Vector(series))
    }

    /// Evaluates a node at the first step, and repeats the value at all others.
    fn invariant(&self, inner: &Node<'_>, steps: &Steps) -> Result<StepsValue, QueryError> {
        let once = Steps { count: 1, ..*steps };
        let (value, samples) = self.limits.apart(|| self.eval(inner, &once));
        self.limits.add_at_every_step(steps.count, samples);
        let value = value?;
        if steps.count == 1 {
            return Ok(value);
        }
        Ok(match value {
            StepsValue::Scalar(values) => {
                self.limits.room_for(steps.count)?;
                StepsValue::Scalar(vec![values[0]; steps.count])
            }
            StepsValue::String(text) => StepsValue::String(text),
            StepsValue::Vector(mut series) => {
                for one in &mut series {
                    self.limits.hold(Cost::of_column(steps.count, steps.count))?;
                    one.values = vec![one.values[0]; steps.count];
                    if let Some((_, histogram)) = one.histograms.pop() {
                        self.limits.hold(Cost::of_histograms([&histogram].into_iter()).times(steps.count))?;
                        one.histograms = (0..steps.count as u32).map(|step| (step, histogram.clone())).collect();
                    }
                }
                StepsValue::Vector(series)
            }
        })
    }

    /// What is left to do with the series that an operation made: those without a value go, names go if they go at once,
    /// and series of equal labels become one.
    pub(super) fn finish(&self, mut series: Vec<SeriesSteps>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        series.retain(|one| !names::is_empty(one));
        if !self.options.delayed_name_removal {
            names::drop_names(&mut series);
        } else if steps.count == 1 {
            // Names may still go by and by, so only the whole query's result is judged.
            return Ok(series);
        }
        names::merge_same_labels(series)
    }

    /// As [`finish`](Self::finish), for series that have the labels that they had as an operand.
    pub(super) fn finish_in_place(&self, mut series: Vec<SeriesSteps>) -> Result<Vec<SeriesSteps>, QueryError> {
        series.retain(|one| !names::is_empty(one));
        if !self.options.delayed_name_removal && names::drop_names_of_distinct(&mut series) {
            return names::merge_same_labels(series);
        }
        Ok(series)
    }

    /// Takes away the names whose removal was put off until now.
    pub(super) fn without_delayed_names(&self, value: StepsValue) -> Result<StepsValue, QueryError> {
        match value {
            StepsValue::Vector(mut series) if self.options.delayed_name_removal => {
                names::drop_names(&mut series);
                Ok(StepsValue::Vector(names::merge_same_labels(series)?))
            }
            value => Ok(value),
        }
    }
}

/// Takes away the steps at which a series is a histogram, for operations that know only floats.
pub(super) fn remove_histograms(series: &mut SeriesSteps) {
    for (step, _) in series.histograms.drain(..) {
        series.values[step as usize] = ABSENT;
    }
}
