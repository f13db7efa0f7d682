//! Formats expressions over several lines, as Prometheus' `format_query` does: a part that is longer than a line is
//! split, and its own parts are indented.
//!
//! Source: Prometheus `promql/parser/prettier.go`, version 3.14.

use std::fmt::{self, Display, Write};

use super::ast::{Expr, ExprKind};
use super::printer::{sign, write_aggregate_head, write_operator, write_subquery_suffix};

/// Longest part that stays on one line, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// Deepest indentation. It bounds the size of the output; nobody reads further to the right.
const INDENT_LEVELS_MAX: usize = 40;

/// The expression over as many lines as it needs.
pub fn format(expr: &Expr) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = pretty(&mut out, expr, 0, true);
    out
}

/// Writes the expression; its first line is indented only if `indents_first`.
fn pretty(out: &mut String, expr: &Expr, level: usize, indents_first: bool) -> fmt::Result {
    let is_split = needs_split(expr);
    match &expr.kind {
        ExprKind::Binary(binary) if is_split => {
            pretty(out, &binary.left, level + 1, indents_first)?;
            out.push('\n');
            indent(out, level);
            write_operator(out, binary)?;
            out.push('\n');
            return pretty(out, &binary.right, level + 1, true);
        }
        ExprKind::Subquery(subquery) => {
            // Unless it is split, it stands where the line starts: so it does in Prometheus.
            if !is_split {
                return write!(out, "{expr}");
            }
            pretty(out, &subquery.expr, level, indents_first)?;
            return write_subquery_suffix(out, subquery);
        }
        _ => {}
    }

    if indents_first {
        indent(out, level);
    }
    match &expr.kind {
        ExprKind::Unary { negative, expr: inner } => {
            out.push(sign(*negative));
            pretty(out, inner, level, false)
        }
        ExprKind::Aggregate(aggregate) if is_split => {
            write_aggregate_head(out, aggregate)?;
            out.push_str("(\n");
            if let Some(param) = &aggregate.param {
                pretty(out, param, level + 1, true)?;
                out.push_str(",\n");
            }
            pretty(out, &aggregate.expr, level + 1, true)?;
            close(out, level);
            Ok(())
        }
        ExprKind::Call(call) if is_split => {
            out.push_str(call.function.name);
            out.push_str("(\n");
            for (index, arg) in call.args.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                pretty(out, arg, level + 1, true)?;
            }
            close(out, level);
            Ok(())
        }
        ExprKind::Paren(inner) if is_split => {
            out.push_str("(\n");
            pretty(out, inner, level + 1, true)?;
            close(out, level);
            Ok(())
        }
        _ => write!(out, "{expr}"),
    }
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level.min(INDENT_LEVELS_MAX) {
        out.push_str("  ");
    }
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

/// Whether the expression is longer than a line. Stops counting where it knows.
fn needs_split(expr: &impl Display) -> bool {
    struct Left(usize);
    impl Write for Left {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Left(LINE_BYTES_MAX), "{expr}").is_err()
}
