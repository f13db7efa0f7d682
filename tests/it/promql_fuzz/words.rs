//! The words of the language that queries are made of.

use std::collections::BTreeSet;

/// Functions from an instant vector to another of the same series, with results that are equal to the last bit.
pub const PLAIN: &[&str] = &[
    "abs",
    "ceil",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "floor",
    "hour",
    "minute",
    "month",
    "rad",
    "sgn",
    "sort",
    "sort_desc",
    "sqrt",
    "timestamp",
    "year",
];

/// The same, where the last bits depend on the mathematical library.
pub const TRANSCENDENT: &[&str] = &[
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "ln", "log10", "log2", "sin", "sinh",
    "tan", "tanh",
];

/// Those that may be called without an argument.
pub const DATES: &[&str] =
    &["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];

/// Functions of native histograms; floats give nothing.
pub const OF_HISTOGRAMS: &[&str] =
    &["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];

/// Functions of nothing but a range vector.
pub const OVER_RANGE: &[&str] = &[
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

/// Those of them that take native histograms.
pub const OVER_HISTOGRAMS: &[&str] = &[
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "present_over_time",
    "rate",
    "resets",
    "sum_over_time",
    "ts_of_last_over_time",
];

/// Functions with arguments of other kinds.
pub const OTHERS: &[&str] = &[
    "absent",
    "absent_over_time",
    "clamp",
    "clamp_max",
    "clamp_min",
    "double_exponential_smoothing",
    "histogram_fraction",
    "histogram_quantile",
    "info",
    "label_join",
    "label_replace",
    "pi",
    "predict_linear",
    "quantile_over_time",
    "round",
    "scalar",
    "sort_by_label",
    "sort_by_label_desc",
    "time",
    "vector",
];

/// Arithmetic operators; the last two depend on the mathematical library.
pub const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
/// Comparisons.
pub const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
/// Set operators.
pub const SETS: &[&str] = &["and", "or", "unless"];

pub const AGGREGATORS: &[&str] = &["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"];
/// Aggregators with a parameter.
pub const WITH_PARAMETER: &[&str] = &["topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"];

/// What else of the language has to be met.
pub const MODIFIERS: &[&str] = &[
    "matcher =",
    "matcher !=",
    "matcher =~",
    "matcher !~",
    "offset",
    "@",
    "@ start()",
    "@ end()",
    "range",
    "subquery",
    "subquery of the default step",
    "unary",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "by",
    "without",
    "duration expression",
    "name in quotes",
    "number as duration",
    "duration as number",
];

/// Everything of the language that a long enough run has to use.
pub fn vocabulary() -> BTreeSet<&'static str> {
    let tables = [
        PLAIN,
        TRANSCENDENT,
        DATES,
        OF_HISTOGRAMS,
        OVER_RANGE,
        OTHERS,
        ARITHMETIC,
        COMPARISONS,
        SETS,
        AGGREGATORS,
        WITH_PARAMETER,
        MODIFIERS,
    ];
    tables.concat().into_iter().collect()
}
