//! Formats expressions over several lines, as Prometheus' `format_query` does: a part that is longer than a line is
//! split, and its own parts are indented.
//!
//! Source: Prometheus `promql/parser/prettier.go`, version 3.14.

use std::collections::HashSet;
use std::fmt::{self, Write};

use super::ast::{Expr, ExprKind};
use super::printer::{
    INFINITE_BASE, is_infinite_base, sign, write_aggregate_head, write_operator, write_subquery_suffix,
};

/// Longest part that stays on one line, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// Deepest indentation. It bounds the size of the output; nobody reads further to the right.
const INDENT_LEVELS_MAX: usize = 40;

/// The expression over as many lines as it needs.
pub fn format(expr: &Expr) -> String {
    format_in(expr, LINE_BYTES_MAX)
}

/// The expression in lines of about this length.
fn format_in(expr: &Expr, line_bytes_max: usize) -> String {
    let mut printer = Printer { out: String::new(), line_bytes_max, split: HashSet::new() };
    printer.measure(expr);
    // Writing to a string cannot fail.
    _ = printer.expr(expr, 0, true);
    printer.out
}

struct Printer {
    out: String,
    line_bytes_max: usize,
    /// The expressions that are longer than a line, by their address.
    split: HashSet<*const Expr>,
}

impl Printer {
    /// The length of the expression on one line. Notes which of its parts are too long.
    fn measure(&mut self, expr: &Expr) -> usize {
        let len = match &expr.kind {
            ExprKind::Paren(inner) => self.measure(inner) + "()".len(),
            ExprKind::Unary { expr: inner, .. } => self.measure(inner) + "-".len(),
            ExprKind::Binary(binary) => {
                let left = match is_infinite_base(binary) {
                    true => INFINITE_BASE.len(),
                    false => self.measure(&binary.left),
                };
                left + "  ".len() + written_len(|f| write_operator(f, binary)) + self.measure(&binary.right)
            }
            ExprKind::Aggregate(aggregate) => {
                let param = aggregate.param.as_ref().map_or(0, |param| self.measure(param) + ", ".len());
                let head = written_len(|f| write_aggregate_head(f, aggregate));
                head + "()".len() + param + self.measure(&aggregate.expr)
            }
            ExprKind::Call(call) => {
                let args: usize = call.args.iter().map(|arg| self.measure(arg) + ", ".len()).sum();
                call.function.name.len() + "()".len() + args.saturating_sub(", ".len())
            }
            ExprKind::Subquery(subquery) => {
                self.measure(&subquery.expr) + written_len(|f| write_subquery_suffix(f, subquery))
            }
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::VectorSelector(_) | ExprKind::MatrixSelector(_) => {
                written_len(|f| write!(f, "{expr}"))
            }
        };
        if len > self.line_bytes_max {
            self.split.insert(std::ptr::from_ref(expr));
        }
        len
    }

    /// Writes the expression; its first line is indented only if `indents_first`.
    fn expr(&mut self, expr: &Expr, level: usize, indents_first: bool) -> fmt::Result {
        let is_split = self.split.contains(&std::ptr::from_ref(expr));
        match &expr.kind {
            ExprKind::Binary(binary) if is_split => {
                if is_infinite_base(binary) {
                    self.indent(if indents_first { level + 1 } else { 0 });
                    self.out.push_str(INFINITE_BASE);
                } else {
                    self.expr(&binary.left, level + 1, indents_first)?;
                }
                self.out.push('\n');
                self.indent(level);
                write_operator(&mut self.out, binary)?;
                self.out.push('\n');
                return self.expr(&binary.right, level + 1, true);
            }
            ExprKind::Subquery(subquery) => {
                // Unless it is split, it stands where the line starts: so it does in Prometheus.
                if !is_split {
                    return write!(self.out, "{expr}");
                }
                self.expr(&subquery.expr, level, indents_first)?;
                return write_subquery_suffix(&mut self.out, subquery);
            }
            _ => {}
        }

        if indents_first {
            self.indent(level);
        }
        match &expr.kind {
            ExprKind::Unary { negative, expr: inner } => {
                self.out.push(sign(*negative));
                self.expr(inner, level, false)
            }
            ExprKind::Aggregate(aggregate) if is_split => {
                write_aggregate_head(&mut self.out, aggregate)?;
                self.out.push_str("(\n");
                if let Some(param) = &aggregate.param {
                    self.expr(param, level + 1, true)?;
                    self.out.push_str(",\n");
                }
                self.expr(&aggregate.expr, level + 1, true)?;
                self.close(level);
                Ok(())
            }
            ExprKind::Call(call) if is_split => {
                self.out.push_str(call.function.name);
                self.out.push_str("(\n");
                for (index, arg) in call.args.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(",\n");
                    }
                    self.expr(arg, level + 1, true)?;
                }
                self.close(level);
                Ok(())
            }
            ExprKind::Paren(inner) if is_split => {
                self.out.push_str("(\n");
                self.expr(inner, level + 1, true)?;
                self.close(level);
                Ok(())
            }
            _ => write!(self.out, "{expr}"),
        }
    }

    fn indent(&mut self, level: usize) {
        for _ in 0..level.min(INDENT_LEVELS_MAX) {
            self.out.push_str("  ");
        }
    }

    fn close(&mut self, level: usize) {
        self.out.push('\n');
        self.indent(level);
        self.out.push(')');
    }
}

/// How many bytes are written.
fn written_len(write: impl FnOnce(&mut ByteCount) -> fmt::Result) -> usize {
    let mut count = ByteCount(0);
    // Counting cannot fail.
    _ = write(&mut count);
    count.0
}

struct ByteCount(usize);

impl Write for ByteCount {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parser::parse_expr;

    /// The expression in lines of some 20 bytes.
    fn narrow(text: &str) -> String {
        format_in(&parse_expr(text).unwrap(), 20)
    }

    #[test]
    fn expression_is_measured_as_it_is_printed() {
        for text in [
            "Inf ^ -2 + sum without (x) (a)",
            "topk by (x) (3, a{b=\"c\"} offset 5m) > bool on (y) group_left (z) b",
            "label_replace(-(a), \"ü\", \"\", \"\", \"\") / time()",
            "max_over_time(rate(a[5m])[1h:1m] @ end())",
        ] {
            let expr = parse_expr(text).unwrap();
            let mut printer = Printer { out: String::new(), line_bytes_max: 100, split: HashSet::new() };
            assert_eq!(printer.measure(&expr), expr.to_string().len(), "{text}");
        }
    }

    #[test]
    fn expression_that_fits_stays_on_its_line() {
        assert_eq!(narrow("a+b"), "a + b");
        assert_eq!(narrow("sum( rate( a[5m] ) )"), "sum(rate(a[5m]))");
        let text = "sum by (job) (rate(http_requests_total{code=\"500\"}[5m])) / 100";
        assert_eq!(format(&parse_expr(text).unwrap()), text);
    }

    #[test]
    fn expression_too_long_is_split_at_its_outermost_parts() {
        assert_eq!(
            narrow("sum by (job) (rate(requests[5m])) > bool 100"),
            "  sum by (job) (\n    rate(requests[5m])\n  )\n> bool\n  100"
        );
        assert_eq!(
            narrow("-(topk(3, requests) + on (job, instance) up)"),
            "-(\n    topk(3, requests)\n  + on (job, instance)\n    up\n)"
        );
        assert_eq!(
            narrow("label_replace(requests, \"dst\", \"$1\", \"src\", \"(.*)\")"),
            "label_replace(\n  requests,\n  \"dst\",\n  \"$1\",\n  \"src\",\n  \"(.*)\"\n)"
        );
        assert_eq!(narrow("topk by (job) (3, requests_total)"), "topk by (job) (\n  3,\n  requests_total\n)");
        assert_eq!(
            narrow("max_over_time(rate(requests[5m])[1h:] offset 1d)"),
            "max_over_time(\n  rate(requests[5m])[1h:] offset 1d\n)"
        );
    }
}
