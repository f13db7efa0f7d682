//! Aggregations that pick series: `topk`, `bottomk`, `limitk` and `limit_ratio`.
//!
//! Which of several equal values is picked, and in which order an instant query shows them, follows from the binary
//! heap that Prometheus uses (Go's `container/heap`), so the heap here moves its elements in the same way.

use super::QueryError;
use super::aggregate::Grouper;
use super::evaluate::Evaluator;
use super::limits::{CHECK_EVERY, Cost};
use super::plan::Aggregate;
use crate::model::LabelSet;
use crate::promql::annotations::Annotation;
use crate::promql::parser::ast::AggregateOp;
use crate::promql::value::{ABSENT, SeriesSteps, Steps, is_absent};

/// The largest float that Prometheus converts to an integer.
const INTEGER_MAX: f64 = 9_223_372_036_854_774_784.0;

/// The smallest one.
const INTEGER_MIN: f64 = -9_223_372_036_854_775_808.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    LeastFirst,
    MostFirst,
}

/// A binary heap of `(value, index of the series)`.
#[derive(Debug, Default)]
struct Heap(Vec<(f64, usize)>);

impl Heap {
    fn is_less(&self, order: Order, a: usize, b: usize) -> bool {
        let (a, b) = (self.0[a].0, self.0[b].0);
        a.is_nan() || if order == Order::LeastFirst { a < b } else { a > b }
    }

    fn push(&mut self, order: Order, element: (f64, usize)) {
        self.0.push(element);
        let mut child = self.0.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.is_less(order, child, parent) {
                break;
            }
            self.0.swap(parent, child);
            child = parent;
        }
    }

    /// Replaces the first element.
    fn replace_first(&mut self, order: Order, element: (f64, usize)) {
        self.0[0] = element;
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= self.0.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.0.len() && self.is_less(order, right, left) { right } else { left };
            if !self.is_less(order, child, parent) {
                return;
            }
            self.0.swap(parent, child);
            parent = child;
        }
    }

    /// Sorts the elements, the first of the heap last.
    fn sort_reversed(&mut self, order: Order) {
        self.0.sort_by(|&(a, _), &(b, _)| {
            // NaN is first in the heap, so it is last here.
            a.is_nan().cmp(&b.is_nan()).then(match order {
                Order::LeastFirst => b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal),
                Order::MostFirst => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
            })
        });
    }
}

impl Evaluator<'_> {
    /// The series of `topk` and its like.
    pub(super) fn select_k(&self, node: &Aggregate<'_>, steps: &Steps) -> Result<Vec<SeriesSteps>, QueryError> {
        let op = node.expr.op;
        let params = self.parameter(node, steps)?;
        let mut series = self.vector(&node.child, steps)?;
        if !self.check_parameter(node, &params)? {
            return Ok(Vec::new());
        }
        let mut grouper = Grouper::new(&node.expr.grouping, node.expr.without);
        let group_of: Vec<usize> = series.iter().map(|one| grouper.group(&one.labels)).collect();
        let group_count = group_of.iter().map(|group| group + 1).max().unwrap_or(0);
        if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
            series.iter_mut().for_each(|one| self.ignore_histograms(node, one));
        }
        let offsets: Vec<f64> = match op {
            AggregateOp::LimitRatio => series.iter().map(|one| ratio_offset(&one.labels)).collect(),
            _ => Vec::new(),
        };

        let mut kept: Vec<Vec<f64>> = vec![Vec::new(); series.len()];
        let mut picked = Vec::new();
        let mut since_check = 0;
        for (step, param) in params.iter().copied().enumerate() {
            since_check += series.len();
            if since_check > CHECK_EVERY {
                since_check = 0;
                self.limits.check()?;
            }
            let heaps = pick(op, param, &series, &group_of, group_count, &offsets, step);
            picked.clear();
            picked.extend(heaps.into_iter().flat_map(|heap| heap.0).map(|(_, index)| index));
            for &index in &picked {
                if kept[index].is_empty() {
                    self.limits.hold(Cost::of_column(0, steps.count))?;
                    kept[index] = vec![ABSENT; steps.count];
                }
                kept[index][step] = series[index].values[step];
            }
        }
        let with_kept = |mut one: SeriesSteps, values: Vec<f64>| {
            one.histograms.retain(|(step, _)| !is_absent(values[*step as usize]));
            SeriesSteps { values, ..one }
        };
        if steps.count == 1 {
            // An instant query shows them in the order in which they were picked.
            let mut places: Vec<Option<SeriesSteps>> = series.into_iter().map(Some).collect();
            let one_of =
                |index: &usize| places[*index].take().map(|one| with_kept(one, std::mem::take(&mut kept[*index])));
            return Ok(picked.iter().filter_map(one_of).collect());
        }
        let both = series.into_iter().zip(kept).filter(|(_, values)| !values.is_empty());
        Ok(both.map(|(one, values)| with_kept(one, values)).collect())
    }

    /// Whether the parameter lets any series pass at all. An error where it is no parameter.
    fn check_parameter(&self, node: &Aggregate<'_>, params: &[f64]) -> Result<bool, QueryError> {
        let has_nan = params.iter().any(|param| param.is_nan());
        // As in Prometheus, one NaN makes both of them NaN.
        let bound = |pick: fn(f64, f64) -> f64| match params.iter().copied().reduce(pick) {
            Some(bound) if !has_nan => bound,
            _ => f64::NAN,
        };
        let (most, least) = (bound(f64::max), bound(f64::min));
        if node.expr.op != AggregateOp::LimitRatio {
            if most < 1.0 {
                return Ok(false);
            }
            if has_nan {
                return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
            }
            if least <= INTEGER_MIN {
                return Err(QueryError::Execution(format!("Scalar value {} underflows int64", go_float(least))));
            }
            if most >= INTEGER_MAX {
                return Err(QueryError::Execution(format!("Scalar value {} overflows int64", go_float(most))));
            }
            return Ok(true);
        }
        if most == 0.0 && least == 0.0 {
            return Ok(false);
        }
        if has_nan {
            return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
        }
        let span = node.expr.param.as_ref().map(|param| param.span).unwrap_or_default();
        let mut notes = self.annotations.borrow_mut();
        if most > 1.0 {
            notes.add(Annotation::invalid_ratio(most, 1.0, span));
        }
        if least < -1.0 {
            notes.add(Annotation::invalid_ratio(least, -1.0, span));
        }
        Ok(true)
    }
}

/// What each group picks at one step, in the order in which it is shown.
fn pick(
    op: AggregateOp,
    param: f64,
    series: &[SeriesSteps],
    group_of: &[usize],
    group_count: usize,
    offsets: &[f64],
    step: usize,
) -> Vec<Heap> {
    let mut heaps: Vec<Heap> = Vec::new();
    let k = (param.max(0.0) as usize).min(series.len());
    let ratio = param.clamp(-1.0, 1.0);
    if op == AggregateOp::LimitRatio && ratio == 0.0 || op != AggregateOp::LimitRatio && k == 0 {
        return heaps;
    }
    heaps.resize_with(group_count, Heap::default);
    for (index, one) in series.iter().enumerate() {
        let value = one.values[step];
        if is_absent(value) {
            continue;
        }
        let heap = &mut heaps[group_of[index]];
        match op {
            AggregateOp::LimitRatio => {
                let offset = offsets[index];
                if (ratio >= 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio) {
                    heap.push(Order::LeastFirst, (value, index));
                }
            }
            AggregateOp::Limitk => {
                if heap.0.len() < k {
                    heap.push(Order::LeastFirst, (value, index));
                }
            }
            _ => {
                let order = if op == AggregateOp::Topk { Order::LeastFirst } else { Order::MostFirst };
                if heap.0.len() < k {
                    heap.push(order, (value, index));
                    continue;
                }
                let first = heap.0[0].0;
                let beats = if op == AggregateOp::Topk { first < value } else { first > value };
                if beats || (first.is_nan() && !value.is_nan()) {
                    heap.replace_first(order, (value, index));
                }
            }
        }
    }
    match op {
        AggregateOp::Topk => heaps.iter_mut().for_each(|heap| heap.sort_reversed(Order::LeastFirst)),
        AggregateOp::Bottomk => heaps.iter_mut().for_each(|heap| heap.sort_reversed(Order::MostFirst)),
        _ => {}
    }
    heaps
}

/// Where a series lies between 0 and 1: the hash of its labels, as Prometheus' default build lays them out, by the
/// greatest hash.
fn ratio_offset(labels: &LabelSet) -> f64 {
    let mut bytes = Vec::with_capacity(128);
    let mut push = |text: &str| {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => bytes.extend_from_slice(&[255, length as u8, (length >> 8) as u8, (length >> 16) as u8]),
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for label in labels.iter() {
        push(label.name);
        push(label.value);
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

/// A large or infinite float as Go's `%v` writes it.
fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if exponent.len() < 2 => format!("{mantissa}e+0{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}e+{exponent}"),
        None => text,
    }
}
