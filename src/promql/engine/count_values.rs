//! `count_values`: how many series of a group have each value. The value becomes a label.

use hashbrown::HashMap;

use super::QueryError;
use super::evaluate::Evaluator;
use super::limits::Cost;
use super::plan::{Aggregate, Node};
use crate::encoding::go_float;
use crate::model::{LabelSet, METRIC_NAME};
use crate::promql::value::{ABSENT, SeriesSteps, Steps, is_absent};

impl Evaluator<'_> {
    /// The series of `count_values`.
    pub(super) fn count_values(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let Some(Node::String(value_label)) = &node.param else {
            return Err(QueryError::Execution("expected a string as the parameter of count_values".to_owned()));
        };
        if value_label.is_empty() || !value_label.is_utf8() {
            return Err(QueryError::Execution(format!("invalid label name {}", value_label.quoted())));
        }
        let named = |name: &str| node.expr.grouping.iter().any(|one| one == name);
        let drops = |name: &str| {
            if node.expr.without { named(name) || name == METRIC_NAME } else { !named(name) && *name != ***value_label }
        };
        let mut result: Vec<SeriesSteps> = Vec::new();
        let mut place_of: HashMap<LabelSet, usize> = HashMap::new();
        for one in self.vector(&node.child, steps)? {
            self.limits.check()?;
            // Neighbouring steps often have the same value.
            let mut last: Option<(u64, usize)> = None;
            for (step, value) in one.values.iter().enumerate() {
                if is_absent(*value) {
                    continue;
                }
                let histogram = one.histogram_at(step);
                let place = match last {
                    Some((bits, place)) if bits == value.to_bits() && histogram.is_none() => place,
                    _ => {
                        let mut labels = one.labels.to_builder();
                        labels
                            .set(value_label, &histogram.map_or_else(|| go_float::plain(*value), ToString::to_string));
                        let labels = labels.build().without(drops);
                        match place_of.get(&labels) {
                            Some(place) => *place,
                            None => {
                                self.limits.hold(Cost::of_column(0, steps.count))?;
                                place_of.insert(labels.clone(), result.len());
                                let values = vec![ABSENT; steps.count];
                                result.push(SeriesSteps { labels, drop_name: false, values, histograms: Vec::new() });
                                result.len() - 1
                            }
                        }
                    }
                };
                last = histogram.is_none().then_some((value.to_bits(), place));
                let count = &mut result[place].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        Ok(result)
    }
}
