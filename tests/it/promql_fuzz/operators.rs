//! Binary operators, and what tells series which other to meet.

use super::data::{METRICS, Metric};
use super::grammar::{Generator, Place, names};
use super::tree::{Expr, Type};
use super::words::{ARITHMETIC, COMPARISONS, SETS};

impl Generator {
    /// An operation on instant vectors, or on one and a scalar.
    pub(super) fn operation(&mut self, place: Place) -> Expr {
        let metric = self.metric();
        match self.random.below(100) {
            0..25 => self.with_scalar(metric, place),
            25..40 => self.set_operation(place),
            40..62 => self.one_to_one(metric, place),
            62..75 => self.of_groups(place),
            75..95 => self.many_to_one(place),
            _ => {
                let (left, right) = (self.vector(place.exactly()), self.vector(place.exactly()));
                let operator = self.operator(place);
                self.operate(left, &operator, "", right)
            }
        }
    }

    /// An operator between vectors, with `bool` now and then.
    fn operator(&mut self, place: Place) -> String {
        if self.chance(65) {
            return self.arithmetic(place).to_owned();
        }
        let operator = self.pick_used(COMPARISONS);
        if self.chance(40) { format!("{operator} {}", self.uses("bool")) } else { operator.to_owned() }
    }

    fn arithmetic(&mut self, place: Place) -> &'static str {
        let exact = &ARITHMETIC[..ARITHMETIC.len() - 2];
        if place.exact {
            return self.pick_used(exact);
        }
        let operator = self.pick_used(ARITHMETIC);
        self.inexact |= !exact.contains(&operator);
        operator
    }

    /// A metric's series and a scalar, on either side.
    pub(super) fn with_scalar(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let vector = self.series_of(metric, place.exactly());
        let scalar = self.scalar(place.below());
        let operator = self.operator(place);
        let labels = vector.labels.clone();
        let expr = if self.chance(70) {
            self.operate(vector, &operator, "", scalar)
        } else {
            self.operate(scalar, &operator, "", vector)
        };
        expr.labelled(&labels)
    }

    fn set_operation(&mut self, place: Place) -> Expr {
        let (left, right) = if self.chance(60) {
            let metric = self.metric();
            (self.series_of(metric, place.below()), self.series_of(metric, place.below()))
        } else {
            (self.vector(place.below()), self.vector(place.below()))
        };
        let clause = if self.chance(50) { self.clause(&left.labels) } else { String::new() };
        let operator = self.pick_used(SETS);
        self.operate(left, operator, &clause, right)
    }

    /// `on` or `ignoring` with some labels.
    fn clause(&mut self, labels: &[&'static str]) -> String {
        let word = self.pick_used(&["on", "ignoring"]);
        let listed: Vec<_> = self.label_list(labels).collect();
        format!(" {word} ({})", listed.join(", "))
    }

    /// Two vectors of the same series.
    fn one_to_one(&mut self, metric: &'static Metric, place: Place) -> Expr {
        let (left, right) = (self.series_of(metric, place.exactly()), self.series_of(metric, place.exactly()));
        let all = names(metric);
        let clause = match self.random.below(10) {
            0..6 => String::new(),
            6 => format!(" {} ({})", self.uses("on"), all.join(", ")),
            7 => format!(" {} ()", self.uses("ignoring")),
            8 => format!(" {} (absent)", self.uses("ignoring")),
            _ => self.clause(&all),
        };
        let operator = self.operator(place);
        self.operate(left, &operator, &clause, right)
    }

    /// Two aggregations by the same labels.
    fn of_groups(&mut self, place: Place) -> Expr {
        let first = self.metric();
        let by: Vec<&'static str> = names(first).into_iter().filter(|_| self.chance(60)).collect();
        let alike: Vec<&'static Metric> =
            METRICS.iter().filter(|metric| by.iter().all(|label| names(metric).contains(label))).collect();
        let second = self.pick(&alike);
        let inner = place.exactly();
        let (left, right) = (self.series_of(first, inner), self.series_of(second, inner));
        let (left, right) = (self.aggregate(left, Some(&by), inner), self.aggregate(right, Some(&by), inner));
        let clause = if self.chance(70) { String::new() } else { format!(" {} ({})", self.uses("on"), by.join(", ")) };
        let operator = self.operator(place);
        self.operate(left, &operator, &clause, right)
    }

    /// Each of one side's series meets the one of the other side that has some of its labels.
    fn many_to_one(&mut self, place: Place) -> Expr {
        let many = self.metric();
        let on: Vec<&'static str> = names(many).into_iter().filter(|_| self.chance(60)).collect();
        let alike: Vec<&'static Metric> =
            METRICS.iter().filter(|metric| on.iter().all(|label| names(metric).contains(label))).collect();
        let one = self.pick(&alike);
        let inner = place.exactly();
        let (left, right) = (self.series_of(many, inner), self.series_of(one, inner));
        let (right, include) = if names(one) == on || self.chance(10) {
            (right, "")
        } else if self.chance(30) {
            // Which labels are taken over shows only where the side of one has them.
            let taken = names(one).into_iter().find(|label| !on.contains(label)).unwrap_or("job");
            let by = [on.as_slice(), &[taken]].concat();
            let right = self.aggregate(right, Some(&by), inner);
            let last = Expr::new(Type::Vector).text(self.uses("topk")).text(format!(" by ({}) (1, ", on.join(", ")));
            (last.child(right).text(")").labelled(&by), taken)
        } else {
            (self.aggregate(right, Some(&on), inner), if self.chance(10) { "absent" } else { "" })
        };
        let matching = if self.chance(75) {
            format!(" {} ({})", self.uses("on"), on.join(", "))
        } else {
            let others: Vec<_> = names(many).into_iter().filter(|label| !on.contains(label)).collect();
            format!(" {} ({})", self.uses("ignoring"), others.join(", "))
        };
        let operator = self.operator(place);
        if self.chance(50) {
            let clause = format!("{matching} {} ({include})", self.uses("group_left"));
            self.operate(left, &operator, &clause, right)
        } else {
            let clause = format!("{matching} {} ({include})", self.uses("group_right"));
            self.operate(right, &operator, &clause, left)
        }
    }

    /// An operation, mostly in parentheses: without, what belongs together may be something else.
    fn operate(&mut self, left: Expr, operator: &str, clause: &str, right: Expr) -> Expr {
        let (open, close) = if self.chance(80) { ("(", ")") } else { ("", "") };
        let labels = left.labels.clone();
        let expr = Expr::new(Type::Vector).labelled(&labels).text(open).child(left).text(format!(" {operator}"));
        expr.optional(clause).text(" ").child(right).text(close)
    }
}
