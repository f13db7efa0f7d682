//! Prints expressions back as text, in Prometheus' canonical form.
//!
//! Source: Prometheus `promql/parser/printer.go`, version 3.14. There are three places where that form does not parse
//! back to the same tree; here it does: an empty selector is `{}`, an infinite base of `^` has no plus, and
//! arithmetic behind `offset` has parentheses where it needs them.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    AggregateExpr, AtModifier, BinaryExpr, BinaryOp, Duration, DurationExpr, DurationExprKind, Expr, ExprKind,
    MatchCardinality, MatrixSelector, NumberLiteral, SelectorMode, SubqueryExpr, VectorSelector,
};
use crate::encoding::{go_float, quote};
use crate::model::duration::format_duration_ms;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => f.write_str(&text.quoted()),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary { negative, expr } => {
                f.write_char(sign(*negative))?;
                expr.fmt(f)
            }
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args, |f, arg| arg.fmt(f))?;
                f.write_char(')')
            }
            ExprKind::VectorSelector(selector) => selector.fmt(f),
            ExprKind::MatrixSelector(selector) => selector.fmt(f),
            ExprKind::Subquery(subquery) => {
                subquery.expr.fmt(f)?;
                write_subquery_suffix(f, subquery)
            }
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.is_duration {
            true => f.write_str(&format_duration_ms((self.value * 1000.0).round() as i64)),
            false => f.write_str(&go_float::plain(self.value)),
        }
    }
}

impl Display for BinaryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match is_infinite_base(self) {
            true => f.write_str(INFINITE_BASE)?,
            false => self.left.fmt(f)?,
        }
        f.write_char(' ')?;
        write_operator(f, self)?;
        f.write_char(' ')?;
        self.right.fmt(f)
    }
}

/// How an infinite base of a power is written: a plus in front would apply to the whole power.
pub(super) const INFINITE_BASE: &str = "Inf";

/// Whether this is a power whose base is `Inf`.
pub(super) fn is_infinite_base(binary: &BinaryExpr) -> bool {
    let ExprKind::Number(number) = &binary.left.kind else { return false };
    binary.op == BinaryOp::Pow && number.value == f64::INFINITY
}

/// The operator with its modifiers.
pub(super) fn write_operator(f: &mut impl Write, binary: &BinaryExpr) -> fmt::Result {
    f.write_str(binary.op.as_str())?;
    if binary.return_bool {
        f.write_str(" bool")?;
    }
    let Some(matching) = &binary.matching else { return Ok(()) };
    let group = match matching.cardinality {
        MatchCardinality::ManyToOne => Some("group_left"),
        MatchCardinality::OneToMany => Some("group_right"),
        MatchCardinality::OneToOne | MatchCardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        write_label_names(f, &matching.labels)?;
        f.write_char(')')?;
    }
    if let Some(group) = group {
        write!(f, " {group} (")?;
        write_label_names(f, &matching.include)?;
        f.write_char(')')?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(f, " fill ({})", go_float::general(left, None)),
        (left, right) => {
            for (keyword, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    write!(f, " {keyword} ({})", go_float::general(value, None))?;
                }
            }
            Ok(())
        }
    }
}

impl Display for AggregateExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_aggregate_head(f, self)?;
        f.write_char('(')?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

/// The operator of an aggregation and its grouping.
pub(super) fn write_aggregate_head(f: &mut impl Write, aggregate: &AggregateExpr) -> fmt::Result {
    f.write_str(aggregate.op.as_str())?;
    if aggregate.without || !aggregate.grouping.is_empty() {
        f.write_str(if aggregate.without { " without (" } else { " by (" })?;
        write_label_names(f, &aggregate.grouping)?;
        f.write_str(") ")?;
    }
    Ok(())
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_selector_head(f, self)?;
        write_at(f, self.at)?;
        write_mode(f, self.mode)?;
        write_offset(f, &self.offset)
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_selector_head(f, &self.vector)?;
        write!(f, "[{}]", self.range)?;
        write_mode(f, self.vector.mode)?;
        write_at(f, self.vector.at)?;
        write_offset(f, &self.vector.offset)
    }
}

/// The metric name and the matchers, sorted by their text.
fn write_selector_head(f: &mut impl Write, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    f.write_str(name)?;
    let is_name = |matcher: &&Matcher| {
        matcher.op == MatchOp::Equal && matcher.name == METRIC_NAME && matcher.value == name && !name.is_empty()
    };
    let mut matchers: Vec<String> =
        selector.matchers.iter().filter(|matcher| !is_name(matcher)).map(matcher_text).collect();
    if matchers.is_empty() && !name.is_empty() {
        return Ok(());
    }
    matchers.sort_unstable();
    write!(f, "{{{}}}", matchers.join(","))
}

/// A matcher as Prometheus writes it; the name is quoted only where it must be.
pub(super) fn matcher_text(matcher: &Matcher) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write_label_name(&mut out, &matcher.name);
    out.push_str(matcher.op.as_str());
    out.push_str(&quote(&matcher.value));
    out
}

/// Range, step, `@` and offset of a subquery.
pub(super) fn write_subquery_suffix(f: &mut impl Write, subquery: &SubqueryExpr) -> fmt::Result {
    write!(f, "[{}:", subquery.range)?;
    if let Some(step) = &subquery.step {
        write!(f, "{step}")?;
    }
    f.write_char(']')?;
    write_at(f, subquery.at)?;
    write_offset(f, &subquery.offset)
}

fn write_at(f: &mut impl Write, at: Option<AtModifier>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(AtModifier::Timestamp(timestamp_ms)) => write!(f, " @ {:.3}", timestamp_ms as f64 / 1000.0),
        Some(AtModifier::Start) => f.write_str(" @ start()"),
        Some(AtModifier::End) => f.write_str(" @ end()"),
    }
}

fn write_mode(f: &mut impl Write, mode: Option<SelectorMode>) -> fmt::Result {
    f.write_str(match mode {
        None => "",
        Some(SelectorMode::Anchored) => " anchored",
        Some(SelectorMode::Smoothed) => " smoothed",
    })
}

fn write_offset(f: &mut impl Write, offset: &Duration) -> fmt::Result {
    match offset {
        Duration::Fixed(0) => Ok(()),
        Duration::Expr(expr) if needs_parens_behind_offset(expr) => write!(f, " offset ({expr})"),
        _ => write!(f, " offset {offset}"),
    }
}

/// Whether an operator would be taken for one of the expression around. It is not behind parentheses.
fn needs_parens_behind_offset(expr: &DurationExpr) -> bool {
    let mut leftmost = expr;
    while let DurationExprKind::Binary { left, .. } = &leftmost.kind {
        leftmost = left;
    }
    matches!(expr.kind, DurationExprKind::Binary { .. }) && !matches!(leftmost.kind, DurationExprKind::Paren(_))
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Duration::Fixed(duration_ms) => f.write_str(&format_duration_ms(*duration_ms)),
            Duration::Expr(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationExprKind::Number(number) => number.fmt(f),
            DurationExprKind::Step => f.write_str("step()"),
            DurationExprKind::Range => f.write_str("range()"),
            DurationExprKind::Pick { max, left, right } => {
                let name = if *max { "max_of" } else { "min_of" };
                write!(f, "{name}({left}, {right})")
            }
            DurationExprKind::Unary { negative: true, expr } => write!(f, "-{expr}"),
            DurationExprKind::Unary { negative: false, expr } => expr.fmt(f),
            DurationExprKind::Binary { op, left, right } => write!(f, "{left} {} {right}", op.as_str()),
            DurationExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

pub(super) fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

fn write_list<W: Write, T>(
    f: &mut W,
    items: &[T],
    mut write_item: impl FnMut(&mut W, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_item(f, item)?;
    }
    Ok(())
}

fn write_label_names(f: &mut impl Write, names: &[String]) -> fmt::Result {
    write_list(f, names, |f, name| write_label_name(f, name))
}

/// The name of a label, in quotes unless it is an identifier.
fn write_label_name(f: &mut impl Write, name: &str) -> fmt::Result {
    let is_identifier = name
        .bytes()
        .enumerate()
        .all(|(index, byte)| byte == b'_' || byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit());
    match is_identifier && !name.is_empty() {
        true => f.write_str(name),
        false => f.write_str(&quote(name)),
    }
}
