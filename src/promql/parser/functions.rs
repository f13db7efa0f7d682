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
    /// 0: exactly `args`; n > 0: the last argument may be left out or repeated, n at most; -1: any number of times.
    pub variadic: i32,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether Prometheus has it behind `promql-experimental-functions`.
    pub experimental: bool,
}
