//! Differences that are meant: what Prometheus 3.5 gets wrong, and what 3.14, which Chronolith follows, does otherwise.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::{Answer, Difference, Kind, Question, value_distance};
use super::data::METRICS;
use super::words::COMPARISONS;

/// Two answers that differ.
#[derive(Debug)]
pub struct Case<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// What Prometheus answered.
    pub expected: &'a Answer,
    /// What Chronolith answered.
    pub actual: &'a Answer,
    /// How that differs.
    pub difference: &'a Difference,
    /// Whether names go when the result is shown.
    pub delayed_names: bool,
}

impl Case<'_> {
    fn asks_for(&self, part: &str) -> bool {
        self.question.expression.contains(part)
    }

    fn asks_for_histograms(&self) -> bool {
        METRICS.iter().any(|metric| metric.kind.is_native() && self.asks_for(&metric.name[1..metric.name.len() - 2]))
    }

    /// Whether values are the same but for this, relative to the larger.
    fn is_close(&self, tolerance: f64) -> bool {
        self.differs_in(Kind::Values) && value_distance(self.expected, self.actual, tolerance).is_none()
    }

    fn differs_in(&self, kind: Kind) -> bool {
        self.difference.kind == kind
    }

    /// Whether other values came of info series, or an error of those that `info` and what joins its series give.
    fn may_come_of_info(&self) -> bool {
        let errors = ["info metric", "conflicting label", LABELS_COLLIDE, UNMATCHED[0], UNMATCHED[1]];
        let gave = |answer: &Answer| errors.iter().any(|part| answer.error().contains(part));
        let fails = self.difference.kind < Kind::Values && (gave(self.expected) || gave(self.actual));
        self.asks_for("info(") && (fails || self.differs_in(Kind::Values))
    }
}

/// A difference that is meant.
struct Known {
    reason: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

const LABELS_COLLIDE: &str = "vector cannot contain metrics with the same labelset";

/// What puts series in the order of their values.
const SORTING: [&str; 4] = ["sort(", "sort_desc(", "topk", "bottomk"];

const UNMATCHED: [&str; 2] = ["found duplicate series for the match group", "multiple matches for labels"];

/// Answers that are others.
const ANSWERS: &[Known] = &[
    Known { reason: "3.5 panics", applies: |case| case.expected.error().contains("runtime error: ") },
    Known {
        reason: "info() of 3.5 takes one series for another where not all are there at every step (fixed in 3.7 and 3.8)",
        applies: |case| {
            let has_steps = case.question.is_range() || case.asks_for(":");
            case.may_come_of_info() && has_steps
        },
    },
    Known {
        reason: "info() of 3.5 drops series that have the label already that it is asked for (fixed in 3.10)",
        applies: |case| {
            let describes_infos = case.asks_for("arget_in") || case.asks_for("uild_in");
            case.asks_for("info(") && describes_infos && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "info() of 3.5 does not move info series with the @ and the offset of what it describes (fixed after 3.14)",
        applies: |case| {
            let is_moved = [" @ ", " offset "].iter().any(|part| case.asks_for(part));
            case.may_come_of_info() && is_moved
        },
    },
    Known {
        reason: "with delayed name removal, info() and last_over_time() of 3.5 keep names that are to go (fixed since)",
        applies: |case| {
            let is_kept = case.difference.text.contains(", not {\"__name__\":");
            let forgets = case.asks_for("info(") || case.asks_for("last_over_time(") && case.asks_for(":");
            case.delayed_names && forgets && is_kept && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "histogram_fraction() of 3.5 is NaN for a lower bound in the first bucket (fixed in 3.8)",
        applies: |case| {
            let is_below =
                ["histogram_fraction(0, ", "histogram_fraction(-Inf, "].iter().any(|call| case.asks_for(call));
            let is_nan = case.asks_for("histogram_fraction(") && case.difference.text.ends_with("not NaN");
            let is_compared = case.asks_for("histogram_fraction(") && COMPARISONS.iter().any(|one| case.asks_for(one));
            (is_below || is_nan || is_compared) && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "timestamp() of Prometheus forgets the offset of a selector with @",
        applies: |case| {
            let has_both = case.asks_for("timestamp(") && case.asks_for(" offset ") && case.asks_for(" @ ");
            has_both && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "@ start() and @ end() in the parameter of an aggregation mean nothing to Prometheus",
        applies: |case| {
            let is_anchored = |parameter: &str| parameter.contains("@ start()") || parameter.contains("@ end()");
            let in_parameter = parameters(&case.question.expression).any(is_anchored);
            in_parameter && matches!(case.difference.kind, Kind::Values | Kind::Annotations)
        },
    },
    Known {
        reason: "mad_over_time() of 3.5 is a number where samples are NaN (fixed in 3.14)",
        applies: |case| {
            // Those of a subquery may come of anything.
            let meets_nan = case.asks_for("odd") || case.asks_for(":");
            case.asks_for("mad_over_time(") && meets_nan && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "Go's logarithm of a denormal number is wrong where it is written in assembly",
        applies: |case| {
            let wrong = ["not -709.0895657", "not 709.0895657", "not -307.9536855", "not 307.9536855"];
            wrong.iter().any(|part| case.difference.text.contains(part))
        },
    },
    Known {
        reason: "Go's atan2 loses the sign where the quotient is too small for a number",
        applies: |case| case.asks_for("atan2") && case.difference.text.ends_with("not 3.141592653589793"),
    },
    Known {
        reason: "from 3.9 on, series that label_replace(), label_join() or a minus make equal are one, unless both are there \
                 at a step",
        applies: |case| {
            let may_join = ["label_replace(", "label_join(", "-"].iter().any(|part| case.asks_for(part));
            may_join && case.expected.error() == LABELS_COLLIDE && case.actual.status == 200
        },
    },
    Known {
        reason: "from 3.9 on, the series of a comparison have to be unique too where it is false",
        applies: |case| {
            let compares = COMPARISONS.iter().any(|operator| case.asks_for(operator));
            compares && case.expected.status == 200 && case.actual.error().starts_with("multiple matches for labels")
        },
    },
    Known {
        reason: "from 3.6 on, topk() and its like don't take NaN for a number of series",
        applies: |case| case.actual.error() == "Parameter value is NaN",
    },
    Known {
        reason: "from 3.12 on, durations that are no number of milliseconds are refused as they are evaluated",
        applies: |case| {
            let error = case.actual.error();
            let refusals = ["is NaN or infinite", "is out of range", "must be greater than 0"];
            refusals.iter().any(|refusal| error.ends_with(&format!("duration {refusal}")))
        },
    },
    Known {
        reason: "from 3.6 on, a duration may be more than an expression of numbers, and errors say so",
        applies: |case| {
            let expected = case.expected.error();
            let is_about_durations = expected.contains("parse error")
                && ["expected number or duration", "unexpected character in duration expression: ','"]
                    .iter()
                    .any(|part| expected.contains(part));
            case.differs_in(Kind::Error) && is_about_durations
        },
    },
    Known {
        reason: "3.5 takes a letter in brackets for a colon (fixed in 3.6)",
        applies: |case| case.actual.error().ends_with("expected ':'"),
    },
    Known {
        reason: "times of 3.5 that are far in the future become negative",
        applies: |case| case.difference.text.contains("missing [-"),
    },
    Known {
        reason: "parse errors of 3.5 give some operators by number",
        applies: |case| case.differs_in(Kind::Error) && case.expected.error().contains("<Item "),
    },
    Known {
        reason: "from 3.6 on, topk() and its like look at the number of series where there are none too",
        applies: |case| {
            let error = case.actual.error();
            error.ends_with("overflows int64") || error.ends_with("underflows int64")
        },
    },
    Known {
        reason: "from 3.8 on, histograms with different boundaries are brought to those that all have",
        applies: |case| {
            let is_incompatible = |text: &String| text.contains("with incompatible custom buckets for metric name");
            let is_reconciled = |text: &String| text.contains("mismatched custom buckets were reconciled");
            let meets = case.expected.annotations().iter().any(is_incompatible)
                || case.actual.annotations().iter().any(is_reconciled);
            meets && matches!(case.difference.kind, Kind::Values | Kind::Annotations)
        },
    },
    Known {
        reason: "from 3.10 on, histograms are added with less loss",
        applies: |case| {
            let as_text = case.asks_for("count_values") && case.differs_in(Kind::Values);
            // A mean that was corrected step by step is no number where the sum is infinite.
            let was_corrected = case.asks_for("avg") && case.difference.text.ends_with("Inf, not NaN");
            case.asks_for_histograms() && (as_text || was_corrected || case.is_close(1e-9))
        },
    },
    Known {
        reason: "from 3.6 on, a rate of histograms is not extrapolated below zero",
        applies: |case| {
            let extrapolates = ["rate(", "increase("].iter().any(|call| case.asks_for(call));
            let is_sorted = || SORTING.iter().any(|part| case.asks_for(part));
            let kind = case.difference.kind;
            extrapolates && case.asks_for_histograms() && (kind == Kind::Values || kind == Kind::Order && is_sorted())
        },
    },
    Known {
        reason: "for Prometheus it makes a difference which empty buckets a histogram's chunk has",
        applies: |case| {
            let compares = ["changes(", "==", "!=", "histogram_quantile("].iter().any(|part| case.asks_for(part));
            let shows_empty_ones = case.difference.text.contains("\"NaN\"]");
            (compares || shows_empty_ones) && case.asks_for_histograms() && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "where series of several groups don't match, another of them is named",
        applies: |case| {
            let named = |answer: &Answer| UNMATCHED.iter().position(|part| answer.error().starts_with(part));
            let (expected, actual) = (case.expected.error(), case.actual.error());
            let is_same = match (named(case.expected), named(case.actual)) {
                (Some(ours), Some(theirs)) => ours != theirs || without_labels(expected) == without_labels(actual),
                _ => false,
            };
            case.differs_in(Kind::Error) && is_same
        },
    },
    Known {
        reason: "sort_by_label() of Prometheus finds a label that is missing neither before nor behind another",
        applies: |case| {
            let names = |element: &Value| element["metric"].as_object().map(|labels| labels.keys().cloned().collect());
            let list = case.expected.body["data"]["result"].as_array().into_iter().flatten();
            let names: BTreeSet<Option<Vec<String>>> = list.map(names).collect();
            case.asks_for("sort_by_label") && case.differs_in(Kind::Order) && names.len() > 1
        },
    },
    Known {
        reason: "which of two zeros comes first, of both signs, is left to Go's sorting",
        applies: |case| {
            let is_of_zeros = [": 0, not -0", ": -0, not 0"].iter().any(|end| case.difference.text.ends_with(end));
            let is_sorted = ["quantile", "mad_over_time("].iter().any(|part| case.asks_for(part));
            is_sorted && is_of_zeros && case.differs_in(Kind::Values)
        },
    },
    Known {
        reason: "which of equal values comes first, or which NaN, is left to Go's sorting",
        applies: |case| {
            let is_sorted = SORTING.iter().any(|part| case.asks_for(part));
            let (expected, actual) = (values(case.expected), values(case.actual));
            let is_same = expected.len() == actual.len() && expected.iter().zip(&actual).all(|(a, b)| is_near(*a, *b));
            is_sorted && case.differs_in(Kind::Order) && is_same
        },
    },
];

/// The texts before the first comma of aggregations that may have a parameter.
fn parameters(expression: &str) -> impl Iterator<Item = &str> {
    let names = ["quantile", "topk", "bottomk", "limitk", "limit_ratio"];
    let starts = names.into_iter().flat_map(|name| expression.match_indices(name).map(|(at, name)| at + name.len()));
    starts.filter_map(|start| {
        let mut rest = &expression[start..];
        for grouping in [" by (", " without ("] {
            if let Some(labels) = rest.strip_prefix(grouping) {
                rest = labels.split_once(')')?.1;
            }
        }
        let rest = rest.trim_start().strip_prefix('(')?;
        let mut depth = 0;
        let end = rest.find(|character| {
            depth += match character {
                '(' | '{' | '[' => 1,
                ')' | '}' | ']' => -1,
                _ => 0,
            };
            depth < 0 || depth == 0 && character == ','
        });
        end.map(|end| &rest[..end])
    })
}

/// An error's text without the labels that it names.
fn without_labels(text: &str) -> String {
    let parts = text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    parts.collect()
}

/// A text that ends in `(line:column)`, with a place that is an opening parenthesis moved to what is in it.
fn within_parentheses(text: &str, expression: &str) -> Option<String> {
    let (message, place) = text.rsplit_once(" (1:")?;
    let column: usize = place.strip_suffix(')')?.parse().ok()?;
    let rest = expression.get(column.checked_sub(1)?..)?;
    let inner = rest.len() - rest.trim_start_matches(['(', ' ']).len();
    Some(format!("{message} (1:{})", column + inner))
}

/// The values of an instant vector.
fn values(answer: &Answer) -> Vec<f64> {
    let list = answer.body["data"]["result"].as_array().into_iter().flatten();
    list.map(|element| element["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)).collect()
}

/// Whether two values are the same but for the last digits.
fn is_near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// A text of an annotation in which versions differ, as both have it.
struct Rewrite {
    reason: &'static str,
    /// `None` where one of the versions has no such annotation.
    common: fn(&Case<'_>, &str) -> Option<String>,
}

const ANNOTATIONS: &[Rewrite] = &[
    Rewrite {
        reason: "from 3.12 on, sorting is warned of where it has no effect",
        common: |_, text| (!text.contains("sort is ineffective for range queries")).then(|| text.to_owned()),
    },
    Rewrite {
        reason: "from 3.7 on, histograms that say otherwise whether a counter was reset are warned of as they are added",
        common: |_, text| (!text.contains("conflicting counter resets during histogram")).then(|| text.to_owned()),
    },
    Rewrite {
        reason: "from 3.7 on, what is said about buckets is said once, and names their metric only where the name is kept",
        common: |_, text| {
            let start = ["bucket label \"le\" is missing", "to be fixed for monotonicity", "has NaN observations"]
                .iter()
                .find(|part| text.contains(**part));
            Some(match (start, text.find(" for metric name \"").or_else(|| text.rfind(" ("))) {
                (Some(_), Some(end)) => text[..end].to_owned(),
                _ => text.to_owned(),
            })
        },
    },
    Rewrite {
        reason: "from 3.10 on, where buckets were fixed for monotonicity is said with details",
        common: |_, text| Some(text.split(", from buckets ").next().unwrap_or_default().to_owned()),
    },
    Rewrite {
        reason: "from 3.7 on, what is said of an argument in parentheses is said of what is in them",
        common: |case, text| {
            Some(within_parentheses(text, &case.question.expression).unwrap_or_else(|| text.to_owned()))
        },
    },
];

/// Why a difference is meant, if it is; there may be several reasons.
pub fn explanation(case: &Case<'_>) -> Option<Vec<&'static str>> {
    if let Some(known) = ANSWERS.iter().find(|known| (known.applies)(case)) {
        return Some(vec![known.reason]);
    }
    case.differs_in(Kind::Annotations).then(|| of_annotations(case)).flatten()
}

fn of_annotations(case: &Case<'_>) -> Option<Vec<&'static str>> {
    let (mut expected, mut actual) = (case.expected.annotations(), case.actual.annotations());
    if expected.iter().chain(&actual).any(|text| text.contains("annotations omitted")) {
        return Some(vec!["of more than ten annotations, those that are shown are left to chance"]);
    }
    let mut reasons = Vec::new();
    for rewrite in ANNOTATIONS {
        let common = |list: &[String]| list.iter().filter_map(|text| (rewrite.common)(case, text)).collect::<Vec<_>>();
        let (left, right) = (common(&expected), common(&actual));
        if (&left, &right) != (&expected, &actual) {
            reasons.push(rewrite.reason);
        }
        (expected, actual) = (left, right);
    }
    let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
    (set(expected) == set(actual)).then_some(reasons)
}
