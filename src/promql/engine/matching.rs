//! Binary operators between two vectors: which series of one side meets which of the other.
//!
//! The series of both sides are sorted into groups by the labels that are matched; only series of one group can meet.
//! Where a group has at most one series on the side of one, whole columns are joined; else each step is looked at, since
//! series may take turns. Source: Prometheus `promql/engine.go` `VectorBinop`, `VectorAnd`, `VectorOr`, `VectorUnless`.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::QueryError;
use super::evaluate::Evaluator;
use super::limits::{CHECK_EVERY, Cost, Limits};
use super::names;
use super::operator::{Computed, Oddities, Oddity, Outcome, apply, changes_meaning, is_trim, join};
use super::plan::Binary;
use crate::model::{FloatHistogram, LabelSet, METRIC_NAME};
use crate::promql::parser::ast::{BinaryOp, MatchCardinality, VectorMatching};
use crate::promql::value::{ABSENT, Sample, SeriesSteps, Steps, is_absent};

/// The series of both sides that have the same values of the matched labels, by index.
#[derive(Debug, Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// Series whose place in the result is known: the index of the series that they come from.
type Placed = Vec<(usize, SeriesSteps)>;

fn is_matched(matching: &VectorMatching, name: &str) -> bool {
    let named = matching.labels.iter().any(|one| one == name);
    if matching.on { named } else { !named && name != METRIC_NAME }
}

/// The labels that are matched.
fn matched_labels(matching: &VectorMatching, labels: &LabelSet) -> LabelSet {
    labels.without(|name| !is_matched(matching, name))
}

/// Sorts the series of both sides into groups, in the order in which the groups first appear.
fn groups_of(matching: &VectorMatching, many: &[SeriesSteps], one: &[SeriesSteps]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: HashMap<Vec<u8>, usize> = HashMap::with_capacity(many.len());
    let mut key = Vec::new();
    for (side, series) in [many, one].into_iter().enumerate() {
        for (index, one) in series.iter().enumerate() {
            key.clear();
            for label in one.labels.iter().filter(|label| is_matched(matching, label.name)) {
                // 0xff is in no UTF-8 text, so the parts cannot run into each other.
                key.extend_from_slice(label.name.as_bytes());
                key.push(0xff);
                key.extend_from_slice(label.value.as_bytes());
                key.push(0xff);
            }
            let group = match group_of.get(&key) {
                Some(group) => *group,
                None => {
                    group_of.insert(key.clone(), groups.len());
                    groups.push(Group::default());
                    groups.len() - 1
                }
            };
            if side == 0 { groups[group].many.push(index) } else { groups[group].one.push(index) }
        }
    }
    groups
}

/// Marks the steps at which any of the series has a value.
fn presence<'s>(series: impl Iterator<Item = &'s SeriesSteps>, steps: &Steps) -> Vec<bool> {
    let mut present = vec![false; steps.count];
    for one in series {
        for (place, value) in present.iter_mut().zip(&one.values) {
            *place |= !is_absent(*value);
        }
    }
    present
}

impl Evaluator<'_> {
    /// The result of an operator between two vectors.
    pub(super) fn vector_and_vector(
        &self,
        node: &Binary<'_>,
        left: Vec<SeriesSteps>,
        right: Vec<SeriesSteps>,
        steps: &Steps,
    ) -> Result<Vec<SeriesSteps>, QueryError> {
        let matching = match &node.expr.matching {
            Some(matching) => matching,
            None => &VectorMatching::default(),
        };
        let result = if node.expr.op.is_set_operator() {
            self.set_operation(node.expr.op, matching, left, right, steps)?
        } else {
            self.join(node, matching, left, right, steps)?
        };
        self.finish(result, steps)
    }

    fn set_operation(
        &self,
        op: BinaryOp,
        matching: &VectorMatching,
        mut left: Vec<SeriesSteps>,
        mut right: Vec<SeriesSteps>,
        steps: &Steps,
    ) -> Result<Vec<SeriesSteps>, QueryError> {
        let groups = groups_of(matching, &left, &right);
        for group in &groups {
            self.limits.check()?;
            // `or` filters the right side by the left; the others the left side by the right.
            let (judged, judges, keep_where_present) = match op {
                BinaryOp::Or => (&group.one, presence(group.many.iter().map(|&index| &left[index]), steps), false),
                _ => {
                    let judges = presence(group.one.iter().map(|&index| &right[index]), steps);
                    (&group.many, judges, op == BinaryOp::And)
                }
            };
            let side = if op == BinaryOp::Or { &mut right } else { &mut left };
            for &index in judged {
                let one = &mut side[index];
                for (place, present) in one.values.iter_mut().zip(&judges) {
                    if *present != keep_where_present {
                        *place = ABSENT;
                    }
                }
                let values = &one.values;
                one.histograms.retain(|(step, _)| !is_absent(values[*step as usize]));
            }
        }
        if op == BinaryOp::Or {
            left.append(&mut right);
        }
        Ok(left)
    }

    fn join(
        &self,
        node: &Binary<'_>,
        matching: &VectorMatching,
        left: Vec<SeriesSteps>,
        right: Vec<SeriesSteps>,
        steps: &Steps,
    ) -> Result<Vec<SeriesSteps>, QueryError> {
        let swapped = matching.cardinality == MatchCardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let groups = groups_of(matching, &many, &one);
        let mut join = Join {
            node,
            matching,
            swapped,
            delayed_names: self.options.delayed_name_removal,
            has_fill: matching.fill_left.is_some() || matching.fill_right.is_some(),
            many_present: presence(many.iter(), steps),
            one_present: presence(one.iter(), steps),
            many: &many,
            one: &one,
            steps,
            limits: self.limits,
            from_many: Vec::new(),
            from_one: Vec::new(),
            oddities: Oddities::default(),
        };
        let mut since_check = 0;
        for group in &groups {
            since_check += (group.many.len() + group.one.len()) * steps.count;
            if since_check >= CHECK_EVERY {
                since_check = 0;
                self.limits.check()?;
            }
            join.group(group)?;
        }
        let Join { mut from_many, mut from_one, oddities, .. } = join;
        from_many.sort_by_key(|(index, _)| *index);
        from_one.sort_by_key(|(index, _)| *index);
        let result: Vec<SeriesSteps> = from_many.into_iter().chain(from_one).map(|(_, series)| series).collect();
        self.note_oddities(node, oddities);
        Ok(result)
    }
}

/// An operation between vectors under way.
struct Join<'j> {
    node: &'j Binary<'j>,
    matching: &'j VectorMatching,
    /// The left operand is the side of one.
    swapped: bool,
    delayed_names: bool,
    has_fill: bool,
    /// Steps at which any series of the side has a value.
    many_present: Vec<bool>,
    one_present: Vec<bool>,
    many: &'j [SeriesSteps],
    one: &'j [SeriesSteps],
    steps: &'j Steps,
    limits: &'j Limits,
    from_many: Placed,
    from_one: Placed,
    oddities: Oddities,
}

impl Join<'_> {
    fn group(&mut self, group: &Group) -> Result<(), QueryError> {
        if !self.has_fill {
            if group.many.is_empty() || group.one.is_empty() {
                // Nothing meets, but two series on the side of one are an error all the same.
                if group.one.len() < 2 {
                    return Ok(());
                }
            } else if let [one] = group.one[..]
                && self.columns(group, one)?
            {
                return Ok(());
            }
        }
        self.step_by_step(group)
    }

    /// Joins whole columns. Gives up where two results could be the same series.
    fn columns(&mut self, group: &Group, one: usize) -> Result<bool, QueryError> {
        let is_one_to_one = self.matching.cardinality == MatchCardinality::OneToOne;
        if is_one_to_one && group.many.len() > 1 {
            return Ok(false);
        }
        let one_series = &self.one[one];
        let labels: Vec<LabelSet> =
            group.many.iter().map(|&many| self.result_labels(&self.many[many].labels, &one_series.labels)).collect();
        if labels.len() > 1 {
            let mut sorted: Vec<&LabelSet> = labels.iter().collect();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Ok(false);
            }
        }
        for (&many, labels) in group.many.iter().zip(labels) {
            self.limits.hold(Cost::of_column(0, self.steps.count))?;
            let many_series = &self.many[many];
            let joined = if self.is_of_floats(many_series) && self.is_of_floats(one_series) {
                let both = many_series.values.iter().zip(&one_series.values);
                let values = both.map(
                    |(&many, &one)| {
                        if is_absent(many) || is_absent(one) { ABSENT } else { self.compute(many, one) }
                    },
                );
                Joined { values: values.collect(), histograms: Vec::new() }
            } else {
                let mut joined = Joined::new(self.steps.count);
                for step in 0..self.steps.count {
                    if let (Some(many_sample), Some(one_sample)) = (many_series.at(step), one_series.at(step)) {
                        match self.join(many_sample, one_sample) {
                            Ok(outcome) => self.take(&mut joined, step, many, outcome),
                            Err(oddity) => self.oddities.note(self.steps.count, step, many, oddity),
                        }
                    }
                }
                joined
            };
            self.from_many.push((many, self.result(labels, joined)));
        }
        Ok(true)
    }

    /// Whether whole columns of floats can be joined.
    fn is_of_floats(&self, series: &SeriesSteps) -> bool {
        series.histograms.is_empty() && !is_trim(self.node.expr.op)
    }

    /// Joins a sample of the side of many with one of the side of one.
    fn join<'s>(&self, many: Sample<'s>, one: Sample<'s>) -> Result<Outcome, Oddity> {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        join(self.node.expr.op, self.node.expr.return_bool, left, right)
    }

    /// Puts a result in its place. `order` is where its sample stands among those of its step.
    fn take(&mut self, joined: &mut Joined, step: usize, order: usize, outcome: Outcome) {
        if let Some(oddity) = outcome.oddity {
            self.oddities.note(self.steps.count, step, order, oddity);
        }
        match outcome.value {
            None => {}
            Some(Computed::Float(value)) => joined.values[step] = value,
            Some(Computed::Histogram(histogram)) => {
                joined.values[step] = 0.0;
                joined.histograms.push((step as u32, *histogram));
            }
        }
    }

    /// Joins step by step, with Prometheus' errors where more than one series matches.
    fn step_by_step(&mut self, group: &Group) -> Result<(), QueryError> {
        let is_one_to_one = self.matching.cardinality == MatchCardinality::OneToOne;
        let mut results = Results::default();
        let mut since_check = 0;
        for step in 0..self.steps.count {
            since_check += group.many.len() + group.one.len();
            if since_check >= CHECK_EVERY {
                since_check = 0;
                self.limits.check()?;
            }
            let (any_many, any_one) = (self.many_present[step], self.one_present[step]);
            if !(any_many && any_one) && !(self.has_fill && (any_many || any_one)) {
                continue;
            }
            let mut the_one = None;
            for &one in &group.one {
                if is_absent(self.one[one].values[step]) {
                    continue;
                }
                if let Some(other) = the_one.replace(one) {
                    return Err(self.duplicate(one, other));
                }
            }
            let mut is_matched = false;
            for &many in &group.many {
                let Some(sample) = self.many[many].at(step) else { continue };
                let (one_sample, one_labels) = match (the_one, self.matching.fill_right) {
                    (Some(one), _) => {
                        let Some(one_sample) = self.one[one].at(step) else { continue };
                        (one_sample, &self.one[one].labels)
                    }
                    (None, Some(fill)) => {
                        (Sample::Float(fill), &matched_labels(self.matching, &self.many[many].labels))
                    }
                    (None, None) => continue,
                };
                let outcome = match self.join(sample, one_sample) {
                    Ok(outcome) => outcome,
                    Err(oddity) => {
                        self.oddities.note(self.steps.count, step, many, oddity);
                        continue;
                    }
                };
                if is_one_to_one && is_matched {
                    let text = "many-to-one matching must be explicit (group_left/group_right)";
                    return Err(QueryError::Execution(format!("multiple matches for labels: {text}")));
                }
                is_matched = true;
                let slot = results.slot((Some(many), the_one), self.steps.count, self.limits, || {
                    self.result_labels(&self.many[many].labels, one_labels)
                })?;
                if !results.claim(slot, step) {
                    let text = "grouping labels must ensure unique matches";
                    return Err(QueryError::Execution(format!("multiple matches for labels: {text}")));
                }
                self.take(&mut results.joined[slot], step, many, outcome);
            }
            if let (Some(one), Some(fill), false) = (the_one, self.matching.fill_left, is_matched)
                && let Some(one_sample) = self.one[one].at(step)
            {
                // Behind all samples of the side of many.
                let order = self.many.len() + one;
                let outcome = match self.join(Sample::Float(fill), one_sample) {
                    Ok(outcome) => outcome,
                    Err(oddity) => {
                        self.oddities.note(self.steps.count, step, order, oddity);
                        continue;
                    }
                };
                let slot = results.slot((None, Some(one)), self.steps.count, self.limits, || {
                    let one_labels = &self.one[one].labels;
                    self.result_labels(&matched_labels(self.matching, one_labels), one_labels)
                })?;
                self.take(&mut results.joined[slot], step, order, outcome);
            }
        }
        for ((pair, labels), joined) in results.pairs.into_iter().zip(results.labels).zip(results.joined) {
            let series = self.result(labels, joined);
            match pair {
                (Some(many), _) => self.from_many.push((many, series)),
                (None, Some(one)) => self.from_one.push((one, series)),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The result for a float of the side of many and one of the side of one; [`ABSENT`] where a filter drops it.
    #[inline]
    fn compute(&self, many: f64, one: f64) -> f64 {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        let (value, keep) = apply(self.node.expr.op, left, right);
        if self.node.expr.return_bool {
            f64::from(u8::from(keep))
        } else if keep {
            value
        } else {
            ABSENT
        }
    }

    fn result(&self, labels: LabelSet, Joined { values, histograms }: Joined) -> SeriesSteps {
        SeriesSteps { labels, drop_name: self.node.expr.return_bool, values, histograms }
    }

    fn result_labels(&self, many: &LabelSet, one: &LabelSet) -> LabelSet {
        let drops_metadata = changes_meaning(self.node.expr.op) || (self.node.expr.return_bool && !self.delayed_names);
        let is_one_to_one = self.matching.cardinality == MatchCardinality::OneToOne;
        let labels = many.without(|name| {
            (drops_metadata && names::is_metadata_label(name))
                || (is_one_to_one && self.matching.labels.iter().any(|one| one == name) != self.matching.on)
        });
        if self.matching.include.is_empty() {
            return labels;
        }
        let mut labels = labels.to_builder();
        for name in &self.matching.include {
            // An empty value removes the label.
            labels.set(name, one.get(name).unwrap_or(""));
        }
        labels.build()
    }

    fn duplicate(&self, a: usize, b: usize) -> QueryError {
        let (a, b) = (&self.one[a].labels, &self.one[b].labels);
        let group = matched_labels(self.matching, a);
        let side = if self.swapped { "left" } else { "right" };
        let (mut first, mut second) = (a.to_string(), b.to_string());
        if first > second {
            std::mem::swap(&mut first, &mut second);
        }
        QueryError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }
}

/// Who meets in a result: a series of the side of many and one of the side of one, or a fill value in place of one.
type Pair = (Option<usize>, Option<usize>);

/// The values of one result, as they come to stand in a series.
struct Joined {
    values: Vec<f64>,
    histograms: Vec<(u32, FloatHistogram)>,
}

impl Joined {
    fn new(steps: usize) -> Self {
        Joined { values: vec![ABSENT; steps], histograms: Vec::new() }
    }
}

/// The results of one group, while its steps are gone through.
#[derive(Default)]
struct Results {
    slot_of: HashMap<Pair, usize>,
    pairs: Vec<Pair>,
    labels: Vec<LabelSet>,
    joined: Vec<Joined>,
    /// Which result labels each slot has, as a number, and at which step they were last taken.
    identity: Vec<usize>,
    number_of: HashMap<LabelSet, usize>,
    taken_at: Vec<Option<usize>>,
}

impl Results {
    fn slot(
        &mut self,
        pair: Pair,
        steps: usize,
        limits: &Limits,
        labels: impl FnOnce() -> LabelSet,
    ) -> Result<usize, QueryError> {
        Ok(match self.slot_of.entry(pair) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                limits.hold(Cost::of_column(0, steps))?;
                let slot = *entry.insert(self.pairs.len());
                let labels = labels();
                let next = self.number_of.len();
                let number = *self.number_of.entry(labels.clone()).or_insert(next);
                self.taken_at.resize(self.number_of.len(), None);
                self.identity.push(number);
                self.pairs.push(pair);
                self.labels.push(labels);
                self.joined.push(Joined::new(steps));
                slot
            }
        })
    }

    /// Whether the slot's labels are still free at this step; they are taken then.
    fn claim(&mut self, slot: usize, step: usize) -> bool {
        self.taken_at[self.identity[slot]].replace(step) != Some(step)
    }
}
