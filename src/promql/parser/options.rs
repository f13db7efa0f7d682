//! What of the language is understood: Prometheus has parts of it behind feature switches.
//!
//! Source: Prometheus `promql/parser/parse.go` (`Options`), version 3.14.

use super::ast::{AggregateOp, Expr, ExprKind, SelectorMode, Span, VectorSelector};
use super::error::Failure;

/// The switchable parts of the language. All are off by default, as in Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LanguageOptions {
    /// `promql-experimental-functions`: functions marked so in the table, `limitk` and `limit_ratio`.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub binop_fill_modifiers: bool,
}

impl LanguageOptions {
    /// The whole language.
    pub const ALL: LanguageOptions =
        LanguageOptions { experimental_functions: true, extended_range_selectors: true, binop_fill_modifiers: true };

    /// Refuses an expression that uses a part that is off.
    pub(super) fn check(&self, expr: &Expr) -> Result<(), Failure> {
        if *self == LanguageOptions::ALL {
            return Ok(());
        }
        let refuse = |span: Span, text: String| Err(Failure::new(span, text));
        // What stands inside is judged first, as Prometheus does it while it parses.
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
            ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => self.check(inner),
            ExprKind::Subquery(subquery) => self.check(&subquery.expr),
            ExprKind::VectorSelector(selector) => self.check_selector(selector, expr.span),
            ExprKind::MatrixSelector(selector) => self.check_selector(&selector.vector, expr.span),
            ExprKind::Binary(binary) => {
                self.check(&binary.left)?;
                self.check(&binary.right)?;
                let has_fill = |matching: &super::ast::VectorMatching| {
                    matching.fill_left.is_some() || matching.fill_right.is_some()
                };
                if !self.binop_fill_modifiers && binary.matching.as_ref().is_some_and(has_fill) {
                    return refuse(expr.span, "binop fill modifiers are experimental and not enabled".to_owned());
                }
                Ok(())
            }
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().try_for_each(|param| self.check(param))?;
                self.check(&aggregate.expr)?;
                let op = aggregate.op;
                if !self.experimental_functions && matches!(op, AggregateOp::Limitk | AggregateOp::LimitRatio) {
                    let switch = "must be enabled with --enable-feature=promql-experimental-functions";
                    return refuse(expr.span, format!("{}() is experimental and {switch}", op.as_str()));
                }
                Ok(())
            }
            ExprKind::Call(call) => {
                call.args.iter().try_for_each(|arg| self.check(arg))?;
                if !self.experimental_functions && call.function.experimental {
                    return refuse(expr.span, format!("function {:?} is not enabled", call.function.name));
                }
                Ok(())
            }
        }
    }

    fn check_selector(&self, selector: &VectorSelector, span: Span) -> Result<(), Failure> {
        let mode = match selector.mode {
            Some(SelectorMode::Anchored) if !self.extended_range_selectors => "anchored",
            Some(SelectorMode::Smoothed) if !self.extended_range_selectors => "smoothed",
            _ => return Ok(()),
        };
        Err(Failure::new(span, format!("{mode} modifier is experimental and not enabled")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parser::{parse_expr, parse_expr_with};

    #[test]
    fn query_that_uses_a_part_that_is_off_is_refused_in_the_words_of_prometheus() {
        let functions = LanguageOptions { experimental_functions: true, ..LanguageOptions::default() };
        let selectors = LanguageOptions { extended_range_selectors: true, ..LanguageOptions::default() };
        let fills = LanguageOptions { binop_fill_modifiers: true, ..LanguageOptions::default() };
        let aggregation = "must be enabled with --enable-feature=promql-experimental-functions";
        for (query, on, refusal) in [
            ("1 + info(up)", functions, "1:5: parse error: function \"info\" is not enabled".to_owned()),
            ("sum(up) +\nstep()", functions, "2:1: parse error: function \"step\" is not enabled".to_owned()),
            (
                "info(mad_over_time(up[5m]))",
                functions,
                "1:6: parse error: function \"mad_over_time\" is not enabled".to_owned(),
            ),
            ("limitk(1, up)", functions, format!("1:1: parse error: limitk() is experimental and {aggregation}")),
            (
                "-(limit_ratio(0.5, up))",
                functions,
                format!("1:3: parse error: limit_ratio() is experimental and {aggregation}"),
            ),
            (
                "rate(up[1m] anchored)",
                selectors,
                "1:6: parse error: anchored modifier is experimental and not enabled".to_owned(),
            ),
            (
                "sum_over_time((up smoothed)[1h:])",
                selectors,
                "1:16: parse error: smoothed modifier is experimental and not enabled".to_owned(),
            ),
            (
                "2 * (up + on (a) fill (0) up)",
                fills,
                "1:6: parse error: binop fill modifiers are experimental and not enabled".to_owned(),
            ),
        ] {
            let error = parse_expr_with(query, &LanguageOptions::default()).unwrap_err().to_string();
            assert_eq!(error, refusal, "{query}");
            let parsed = parse_expr_with(query, &on);
            assert_eq!(parsed.is_ok(), parse_expr(query).is_ok(), "{query}: {parsed:?}");
        }
        for query in ["rate(up[5m + step()])", "up @ end()", "topk(1, up)", "up[1m:30s] offset -1m"] {
            assert_eq!(parse_expr_with(query, &LanguageOptions::default()).err(), None, "{query}");
        }
    }
}
