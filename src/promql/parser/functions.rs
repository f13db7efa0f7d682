//! The table of PromQL functions: names, argument types, result types.
//!
//! Source: Prometheus `promql/parser/functions.go`, version 3.14.

use super::ast::ValueType;

/// One function's signature.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: the last of `args` may be left out, and the one of its type may stand n times at most;
    /// -1: any number of times.
    pub variadic: i32,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether Prometheus has it behind `promql-experimental-functions`.
    pub experimental: bool,
}

/// The function called `name`; names are in lower case.
pub fn lookup(name: &str) -> Option<&'static Function> {
    let index = FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    FUNCTIONS.get(index)
}

const V: ValueType = ValueType::Vector;
const S: ValueType = ValueType::Scalar;
const M: ValueType = ValueType::Matrix;
const T: ValueType = ValueType::String;

/// All functions, by name.
pub static FUNCTIONS: &[Function] = &[
    fixed("abs", &[V], V),
    fixed("absent", &[V], V),
    fixed("absent_over_time", &[M], V),
    fixed("acos", &[V], V),
    fixed("acosh", &[V], V),
    fixed("asin", &[V], V),
    fixed("asinh", &[V], V),
    fixed("atan", &[V], V),
    fixed("atanh", &[V], V),
    fixed("avg_over_time", &[M], V),
    fixed("ceil", &[V], V),
    fixed("changes", &[M], V),
    fixed("clamp", &[V, S, S], V),
    fixed("clamp_max", &[V, S], V),
    fixed("clamp_min", &[V, S], V),
    fixed("cos", &[V], V),
    fixed("cosh", &[V], V),
    fixed("count_over_time", &[M], V),
    fixed("day_of_month", &[V], V).variadic(1),
    fixed("day_of_week", &[V], V).variadic(1),
    fixed("day_of_year", &[V], V).variadic(1),
    fixed("days_in_month", &[V], V).variadic(1),
    fixed("deg", &[V], V),
    fixed("delta", &[M], V),
    fixed("deriv", &[M], V),
    fixed("double_exponential_smoothing", &[M, S, S], V).experimental(),
    fixed("end", &[], S).experimental(),
    fixed("exp", &[V], V),
    fixed("first_over_time", &[M], V),
    fixed("floor", &[V], V),
    fixed("histogram_avg", &[V], V),
    fixed("histogram_count", &[V], V),
    fixed("histogram_fraction", &[S, S, V], V),
    fixed("histogram_quantile", &[S, V], V),
    fixed("histogram_quantiles", &[V, T, S, S], V).variadic(9).experimental(),
    fixed("histogram_stddev", &[V], V),
    fixed("histogram_stdvar", &[V], V),
    fixed("histogram_sum", &[V], V),
    fixed("hour", &[V], V).variadic(1),
    fixed("idelta", &[M], V),
    fixed("increase", &[M], V),
    fixed("info", &[V, V], V).variadic(1).experimental(),
    fixed("irate", &[M], V),
    fixed("label_join", &[V, T, T, T], V).variadic(-1),
    fixed("label_replace", &[V, T, T, T, T], V),
    fixed("last_over_time", &[M], V),
    fixed("ln", &[V], V),
    fixed("log10", &[V], V),
    fixed("log2", &[V], V),
    fixed("mad_over_time", &[M], V).experimental(),
    fixed("max_of", &[S, S], S).experimental(),
    fixed("max_over_time", &[M], V),
    fixed("min_of", &[S, S], S).experimental(),
    fixed("min_over_time", &[M], V),
    fixed("minute", &[V], V).variadic(1),
    fixed("month", &[V], V).variadic(1),
    fixed("pi", &[], S),
    fixed("predict_linear", &[M, S], V),
    fixed("present_over_time", &[M], V),
    fixed("quantile_over_time", &[S, M], V),
    fixed("rad", &[V], V),
    fixed("range", &[], S).experimental(),
    fixed("rate", &[M], V),
    fixed("resets", &[M], V),
    fixed("round", &[V, S], V).variadic(1),
    fixed("scalar", &[V], S),
    fixed("sgn", &[V], V),
    fixed("sin", &[V], V),
    fixed("sinh", &[V], V),
    fixed("sort", &[V], V),
    fixed("sort_by_label", &[V, T], V).variadic(-1).experimental(),
    fixed("sort_by_label_desc", &[V, T], V).variadic(-1).experimental(),
    fixed("sort_desc", &[V], V),
    fixed("sqrt", &[V], V),
    fixed("start", &[], S).experimental(),
    fixed("start_timestamp", &[V], V).experimental(),
    fixed("stddev_over_time", &[M], V),
    fixed("stdvar_over_time", &[M], V),
    fixed("step", &[], S).experimental(),
    fixed("sum_over_time", &[M], V),
    fixed("tan", &[V], V),
    fixed("tanh", &[V], V),
    fixed("time", &[], S),
    fixed("timestamp", &[V], V),
    fixed("ts_of_first_over_time", &[M], V).experimental(),
    fixed("ts_of_last_over_time", &[M], V).experimental(),
    fixed("ts_of_max_over_time", &[M], V).experimental(),
    fixed("ts_of_min_over_time", &[M], V).experimental(),
    fixed("vector", &[S], V),
    fixed("year", &[V], V).variadic(1),
];

const fn fixed(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: 0, returns, experimental: false }
}

impl Function {
    const fn variadic(mut self, variadic: i32) -> Self {
        self.variadic = variadic;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_table_is_sorted_so_that_lookup_finds_every_row() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for function in FUNCTIONS {
            assert_eq!(lookup(function.name).map(|found| found.name), Some(function.name));
        }
        assert_eq!(lookup("no_such_function"), None);
        assert_eq!(lookup("RATE"), None);
    }

    #[test]
    fn function_that_is_variadic_has_an_argument_to_repeat() {
        for function in FUNCTIONS {
            assert!(function.variadic == 0 || !function.args.is_empty(), "{}", function.name);
        }
    }
}
