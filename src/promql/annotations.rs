//! Warnings and infos that a query's result carries: what was odd about the data or the query, and where.
//!
//! Texts and the rules of merging are those of Prometheus, `util/annotations/annotations.go`, version 3.14.
//! An annotation is known by its text without the position: the same text from two places of a query is one annotation.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use super::parser::ast::{BinaryOp, Span};
use crate::encoding::{go_float, quote};
use crate::model::TimestampMs;

/// Most warnings, and most infos, that one query keeps. The API shows ten.
const KEPT_MAX: usize = 1_000;

/// How grave an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The result may well be wrong.
    Warning,
    /// Worth knowing; the result is likely what was meant.
    Info,
}

/// What operation on native histograms an annotation speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistogramOperation {
    /// Addition of two histograms.
    Addition,
    /// Subtraction of two histograms.
    Subtraction,
    /// An aggregation over several.
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        }
    }
}

/// What grows when the same annotation is raised again.
#[derive(Debug, Clone, PartialEq)]
enum Detail {
    None,
    /// Repairs that `histogram_quantile` made: when, between which buckets, how large.
    Monotonicity {
        min_ms: TimestampMs,
        max_ms: TimestampMs,
        min_bucket: f64,
        max_bucket: f64,
        max_diff: f64,
        more: u64,
    },
    /// How often it was raised.
    Occurrences(u64),
}

/// One warning or info.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    level: Level,
    text: String,
    span: Span,
    detail: Detail,
}

impl Annotation {
    fn warning(span: Span, text: String) -> Self {
        Annotation { level: Level::Warning, text: format!("PromQL warning: {text}"), span, detail: Detail::None }
    }

    fn info(span: Span, text: String) -> Self {
        Annotation { level: Level::Info, text: format!("PromQL info: {text}"), span, detail: Detail::None }
    }

    /// A quantile outside [0, 1], or not a number.
    pub fn invalid_quantile(quantile: f64, span: Span) -> Self {
        let got = go_float::general(quantile, None);
        Annotation::warning(span, format!("quantile value should be between 0 and 1, got {got}"))
    }

    /// A ratio outside [-1, 1], or not a number.
    pub fn invalid_ratio(ratio: f64, capped_to: f64, span: Span) -> Self {
        let (got, to) = (go_float::general(ratio, None), go_float::general(capped_to, None));
        Annotation::warning(span, format!("ratio value should be between -1 and 1, got {got}, capping to {to}"))
    }

    /// A classic bucket whose `le` label is missing or not a number.
    pub fn bad_bucket_label(metric_name: &str, label: &str, span: Span) -> Self {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(label));
        Annotation::warning(span, with_metric_name(text, metric_name))
    }

    /// One series has both floats and histograms where only one kind can be used.
    pub fn mixed_floats_histograms(metric_name: &str, span: Span) -> Self {
        Annotation::warning(
            span,
            format!("encountered a mix of histograms and floats for metric name {}", quote(metric_name)),
        )
    }

    /// An aggregation met both floats and histograms.
    pub fn mixed_floats_histograms_in_aggregation(span: Span) -> Self {
        Annotation::warning(span, "encountered a mix of histograms and floats for aggregation".to_owned())
    }

    /// A vector holds classic and native histograms of the same labels.
    pub fn mixed_classic_native_histograms(metric_name: &str, span: Span) -> Self {
        let text = "vector contains a mix of classic and native histograms".to_owned();
        Annotation::warning(span, with_metric_name(text, metric_name))
    }

    /// A counter function met a gauge histogram.
    pub fn native_histogram_not_counter(metric_name: &str, span: Span) -> Self {
        Annotation::warning(span, format!("this native histogram metric is not a counter: {}", quote(metric_name)))
    }

    /// A gauge function met a counter histogram.
    pub fn native_histogram_not_gauge(metric_name: &str, span: Span) -> Self {
        Annotation::warning(span, format!("this native histogram metric is not a gauge: {}", quote(metric_name)))
    }

    /// Histograms with exponential and with custom buckets meet.
    pub fn mixed_exponential_custom_histograms(metric_name: &str, span: Span) -> Self {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        Annotation::warning(span, format!("{text} {}", quote(metric_name)))
    }

    /// A binary operator cannot join the bucket layouts of its operands.
    pub fn incompatible_bucket_layout(op: BinaryOp, span: Span) -> Self {
        let op = op.as_str();
        Annotation::warning(span, format!("incompatible bucket layout encountered for binary operator {op}"))
    }

    /// `sort` or its like in a range query.
    pub fn sort_in_range_query(span: Span) -> Self {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        Annotation::warning(span, text.to_owned())
    }

    /// Two histograms disagree on whether a counter reset happened.
    pub fn counter_reset_collision(operation: HistogramOperation, span: Span) -> Self {
        let operation = operation.as_str();
        Annotation::warning(span, format!("conflicting counter resets during histogram {operation}"))
    }

    /// A counter function on a metric whose name is not that of a counter.
    pub fn possible_non_counter(metric_name: &str, span: Span) -> Self {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        Annotation::info(span, format!("{text} {}", quote(metric_name)))
    }

    /// A counter function on a metric whose `__type__` label is not that of a counter.
    pub fn possible_non_counter_label(metric_name: &str, type_label: &str, span: Span) -> Self {
        let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
        Annotation::info(span, format!("{text}, got {}: {}", quote(type_label), quote(metric_name)))
    }

    /// `histogram_quantile` had to repair buckets that were not monotonic.
    pub fn forced_monotonicity(
        metric_name: &str,
        span: Span,
        at_ms: TimestampMs,
        buckets: (f64, f64),
        diff: f64,
    ) -> Self {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        let (min_bucket, max_bucket) = buckets;
        let detail =
            Detail::Monotonicity { min_ms: at_ms, max_ms: at_ms, min_bucket, max_bucket, max_diff: diff, more: 0 };
        Annotation { detail, ..Annotation::info(span, with_metric_name(text.to_owned(), metric_name)) }
    }

    /// A binary operator met sample types that it cannot join.
    pub fn incompatible_types(left: &str, op: BinaryOp, right: &str, span: Span) -> Self {
        let op = op.as_str();
        let text = "incompatible sample types encountered for binary operator";
        Annotation::info(span, format!("{text} {op:?}: {left} {op} {right}"))
    }

    /// An aggregation left histograms out.
    pub fn histogram_ignored_in_aggregation(aggregation: &str, span: Span) -> Self {
        Annotation::info(span, format!("ignored histogram in {aggregation} aggregation"))
    }

    /// A range function left histograms out.
    pub fn histogram_ignored_in_mixed_range(metric_name: &str, span: Span) -> Self {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        Annotation::info(span, format!("{text} {}", quote(metric_name)))
    }

    /// A native histogram holds observations of NaN, and the quantile falls among them.
    pub fn native_quantile_nan_result(metric_name: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is NaN".to_owned();
        Annotation::info(span, with_metric_name(text, metric_name))
    }

    /// A native histogram holds observations of NaN, which push the quantile up.
    pub fn native_quantile_nan_skew(metric_name: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher".to_owned();
        Annotation::info(span, with_metric_name(text, metric_name))
    }

    /// A native histogram holds observations of NaN, which belong to no fraction.
    pub fn native_fraction_nans(metric_name: &str, span: Span) -> Self {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions".to_owned();
        Annotation::info(span, with_metric_name(text, metric_name))
    }

    /// Custom buckets with different boundaries were reconciled.
    pub fn mismatched_custom_buckets(operation: HistogramOperation, span: Span) -> Self {
        let operation = operation.as_str();
        Annotation::info(span, format!("mismatched custom buckets were reconciled during {operation}"))
    }

    /// A sample counts from before the sample before it, and with another start.
    pub fn start_time_overlap(metric_name: &str, span: Span) -> Self {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        let warning = Annotation::warning(span, format!("{text} {}", quote(metric_name)));
        Annotation { detail: Detail::Occurrences(1), ..warning }
    }

    /// How grave it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The text without a position.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole text, with the position that it has in `query`.
    pub fn render(&self, query: &str) -> String {
        let mut text = self.text.clone();
        if let Detail::Monotonicity { min_ms, max_ms, min_bucket, max_bucket, max_diff, more } = &self.detail {
            let (from, to) = (go_float::general(*min_bucket, None), go_float::general(*max_bucket, None));
            let diff = go_float::general(*max_diff, Some(2));
            let (start, end) = (rfc3339(*min_ms), rfc3339(*max_ms));
            let samples = more + 1;
            let _ = write!(
                text,
                ", from buckets {from} to {to}, with a max diff of {diff}, over {samples} samples from {start} to {end}"
            );
        }
        if let Detail::Occurrences(count @ 2..) = &self.detail {
            let _ = write!(text, " ({count} occurrences)");
        }
        let _ = write!(text, " ({})", position(query, self.span));
        text
    }

    /// Takes over what `earlier`, of the same text, knew.
    fn absorb(&mut self, earlier: &Annotation) {
        if let (Detail::Occurrences(own), Detail::Occurrences(count)) = (&mut self.detail, &earlier.detail) {
            *own += count;
            self.span = earlier.span;
            return;
        }
        let Detail::Monotonicity { min_ms, max_ms, min_bucket, max_bucket, max_diff, more } = &earlier.detail else {
            return;
        };
        if let Detail::Monotonicity {
            min_ms: own_min_ms,
            max_ms: own_max_ms,
            min_bucket: own_min_bucket,
            max_bucket: own_max_bucket,
            max_diff: own_max_diff,
            more: own_more,
        } = &mut self.detail
        {
            *own_min_ms = (*own_min_ms).min(*min_ms);
            *own_max_ms = (*own_max_ms).max(*max_ms);
            *own_min_bucket = own_min_bucket.min(*min_bucket);
            *own_max_bucket = own_max_bucket.max(*max_bucket);
            *own_max_diff = own_max_diff.max(*max_diff);
            *own_more += more + 1;
            self.span = earlier.span;
        }
    }
}

/// The annotations of one query, each text once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    by_text: BTreeMap<String, Annotation>,
    /// How many of them are warnings, and how many infos.
    warnings: usize,
    infos: usize,
}

impl Annotations {
    /// No annotation.
    pub fn new() -> Self {
        Annotations::default()
    }

    /// Adds one. Of a level that has very many already no other text is kept.
    pub fn add(&mut self, mut annotation: Annotation) {
        let kept = match annotation.level {
            Level::Warning => &mut self.warnings,
            Level::Info => &mut self.infos,
        };
        match self.by_text.entry(annotation.text.clone()) {
            Entry::Vacant(entry) => {
                if *kept < KEPT_MAX {
                    *kept += 1;
                    entry.insert(annotation);
                }
            }
            Entry::Occupied(mut entry) => {
                annotation.absorb(entry.get());
                entry.insert(annotation);
            }
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Annotations) {
        if self.by_text.is_empty() {
            *self = other;
            return;
        }
        for annotation in other.by_text.into_values() {
            self.add(annotation);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// All of them, in the order of their texts.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.by_text.values()
    }

    /// All texts of one level with their positions in `query`.
    pub fn render(&self, level: Level, query: &str) -> Vec<String> {
        self.iter().filter(|annotation| annotation.level == level).map(|annotation| annotation.render(query)).collect()
    }
}

fn with_metric_name(text: String, metric_name: &str) -> String {
    if metric_name.is_empty() { text } else { format!("{text} for metric name {}", quote(metric_name)) }
}

/// `line:column` of the start of `span`, both from 1, columns in bytes.
pub fn position(query: &str, span: Span) -> String {
    if query.is_empty() {
        return "unknown position".to_owned();
    }
    let Some(before) = query.as_bytes().get(..span.start) else {
        return "invalid position".to_owned();
    };
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |index| index + 1);
    format!("{line}:{}", span.start - line_start + 1)
}

fn rfc3339(at_ms: TimestampMs) -> String {
    match jiff::Timestamp::from_second(at_ms / 1000) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{at_ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "sum(\n  rate(x[5m]))";

    fn span(start: usize) -> Span {
        Span { start, end: start + 1 }
    }

    #[test]
    fn annotation_renders_with_line_and_column() {
        let annotation = Annotation::possible_non_counter("x\"y", span(12));
        let text = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                    \"x\\\"y\" (2:8)";
        assert_eq!(annotation.render(QUERY), text);
        assert_eq!(annotation.level(), Level::Info);
        assert!(Annotation::sort_in_range_query(span(0)).render(QUERY).ends_with("(1:1)"));
        assert!(Annotation::sort_in_range_query(span(99)).render(QUERY).ends_with("(invalid position)"));
        assert!(Annotation::sort_in_range_query(span(0)).render("").ends_with("(unknown position)"));
    }

    #[test]
    fn annotations_of_the_same_text_are_one() {
        let mut annotations = Annotations::new();
        annotations.add(Annotation::invalid_quantile(2.0, span(0)));
        annotations.add(Annotation::invalid_quantile(2.0, span(3)));
        let mut others = Annotations::new();
        others.add(Annotation::invalid_quantile(2.0, span(4)));
        others.add(Annotation::invalid_quantile(3.0, span(4)));
        annotations.merge(others);
        let texts = annotations.render(Level::Warning, QUERY);
        assert_eq!(
            texts,
            [
                "PromQL warning: quantile value should be between 0 and 1, got 2 (1:5)",
                "PromQL warning: quantile value should be between 0 and 1, got 3 (1:5)",
            ]
        );
        assert_eq!(annotations.render(Level::Info, QUERY), [""; 0]);
    }

    #[test]
    fn repairs_of_monotonicity_add_up() {
        let mut annotations = Annotations::new();
        annotations.add(Annotation::forced_monotonicity("b", span(0), 5_000, (1.0, 2.0), 3.0));
        annotations.add(Annotation::forced_monotonicity("b", span(0), 1_000, (2.0, 4.5), 0.12345));
        annotations.add(Annotation::forced_monotonicity("b", span(0), 3_000, (2.0, 2.0), 1.0));
        let texts = annotations.render(Level::Info, QUERY);
        assert_eq!(texts.len(), 1);
        let end = "for metric name \"b\", from buckets 1 to 4.5, with a max diff of 3, over 3 samples from \
                   1970-01-01T00:00:01Z to 1970-01-01T00:00:05Z (1:1)";
        assert!(texts[0].ends_with(end), "{}", texts[0]);
    }

    #[test]
    fn overlaps_of_start_times_are_counted() {
        let mut annotations = Annotations::new();
        annotations.add(Annotation::start_time_overlap("c", span(12)));
        let text =
            "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \"c\"";
        assert_eq!(annotations.render(Level::Warning, QUERY), [format!("{text} (2:8)")]);
        annotations.add(Annotation::start_time_overlap("c", span(0)));
        assert_eq!(annotations.render(Level::Warning, QUERY), [format!("{text} (2 occurrences) (2:8)")]);
    }

    #[test]
    fn annotations_of_very_many_texts_are_kept_up_to_a_bound_for_each_level() {
        let mut annotations = Annotations::new();
        for quantile in 2..100_000 {
            annotations.add(Annotation::invalid_quantile(f64::from(quantile), span(0)));
        }
        annotations.add(Annotation::possible_non_counter("x", span(0)));
        let mut others = Annotations::new();
        others.add(Annotation::invalid_quantile(-1.0, span(0)));
        annotations.merge(others);
        assert_eq!(annotations.render(Level::Warning, QUERY).len(), KEPT_MAX);
        assert_eq!(annotations.render(Level::Info, QUERY).len(), 1);
    }
}
