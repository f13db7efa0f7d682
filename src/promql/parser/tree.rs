//! The syntax tree as JSON, for the web interface, and as indented text, for the terminal.
//!
//! Source of the JSON's form: Prometheus `web/api/v1/translate_ast.go`, version 3.14.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::ast::{
    AtModifier, Duration, DurationExpr, DurationExprKind, Expr, ExprKind, MatchCardinality, SelectorMode,
    VectorMatching, VectorSelector,
};
use super::printer::{matcher_text, sign, write_aggregate_head, write_operator};
use crate::encoding::go_float;

/// The tree as `/api/v1/parse_query` gives it.
pub fn to_json(expr: &Expr) -> Value {
    let mut node = own_json(expr);
    // `json!` would copy the parts, and so the whole tree once for each level.
    match &expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => put(&mut node, "expr", to_json(inner)),
        ExprKind::Subquery(subquery) => put(&mut node, "expr", to_json(&subquery.expr)),
        ExprKind::Binary(binary) => {
            put(&mut node, "lhs", to_json(&binary.left));
            put(&mut node, "rhs", to_json(&binary.right));
        }
        ExprKind::Aggregate(aggregate) => {
            put(&mut node, "expr", to_json(&aggregate.expr));
            put(&mut node, "param", aggregate.param.as_ref().map_or(Value::Null, to_json));
        }
        ExprKind::Call(call) => put(&mut node, "args", call.args.iter().map(to_json).collect()),
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::VectorSelector(_) | ExprKind::MatrixSelector(_) => {}
    }
    node
}

#[inline(never)]
fn put(node: &mut Value, name: &str, part: Value) {
    if let Value::Object(fields) = node {
        fields.insert(name.to_owned(), part);
    }
}

/// The fields of a node that are not expressions.
#[inline(never)]
fn own_json(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({"type": "numberLiteral", "val": go_float::plain(number.value)}),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": **text}),
        ExprKind::Paren(_) => json!({"type": "parenExpr"}),
        ExprKind::Unary { negative, .. } => json!({"type": "unaryExpr", "op": sign(*negative)}),
        ExprKind::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "bool": binary.return_bool,
            "matching": binary.matching.as_ref().map(matching_json),
        }),
        ExprKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "grouping": aggregate.grouping,
            "without": aggregate.without,
        }),
        ExprKind::Call(call) => json!({
            "type": "call",
            "func": {
                "name": call.function.name,
                "argTypes": call.function.args.iter().map(|arg| arg.as_str()).collect::<Vec<_>>(),
                "variadic": call.function.variadic,
                "returnType": call.function.returns.as_str(),
            },
        }),
        ExprKind::VectorSelector(selector) => selector_json("vectorSelector", selector),
        ExprKind::MatrixSelector(selector) => {
            let mut node = selector_json("matrixSelector", &selector.vector);
            put(&mut node, "range", selector.range.fixed_ms().into());
            put(&mut node, "rangeExpr", duration_json(&selector.range));
            node
        }
        ExprKind::Subquery(subquery) => {
            let (timestamp, start_or_end) = at_json(subquery.at);
            let step = subquery.step.as_ref();
            json!({
                "type": "subquery",
                "range": subquery.range.fixed_ms(),
                "rangeExpr": duration_json(&subquery.range),
                "offset": subquery.offset.fixed_ms(),
                "offsetExpr": duration_json(&subquery.offset),
                "step": step.map_or(0, Duration::fixed_ms),
                "stepExpr": step.map_or(Value::Null, duration_json),
                "timestamp": timestamp,
                "startOrEnd": start_or_end,
            })
        }
    }
}

fn matching_json(matching: &VectorMatching) -> Value {
    json!({
        "card": cardinality_name(matching.cardinality),
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

fn cardinality_name(cardinality: MatchCardinality) -> &'static str {
    match cardinality {
        MatchCardinality::OneToOne => "one-to-one",
        MatchCardinality::ManyToOne => "many-to-one",
        MatchCardinality::OneToMany => "one-to-many",
        MatchCardinality::ManyToMany => "many-to-many",
    }
}

fn selector_json(node_type: &str, selector: &VectorSelector) -> Value {
    let matchers: Vec<Value> = selector
        .matchers
        .iter()
        .map(|matcher| json!({"name": matcher.name, "value": matcher.value, "type": matcher.op.as_str()}))
        .collect();
    let (timestamp, start_or_end) = at_json(selector.at);
    json!({
        "type": node_type,
        "name": selector.name.as_deref().unwrap_or_default(),
        "offset": selector.offset.fixed_ms(),
        "offsetExpr": duration_json(&selector.offset),
        "matchers": matchers,
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": selector.mode == Some(SelectorMode::Anchored),
        "smoothed": selector.mode == Some(SelectorMode::Smoothed),
    })
}

/// The time of an `@`, or else its preprocessor.
fn at_json(at: Option<AtModifier>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(AtModifier::Timestamp(timestamp_ms)) => (timestamp_ms.into(), Value::Null),
        Some(AtModifier::Start) => (Value::Null, "start".into()),
        Some(AtModifier::End) => (Value::Null, "end".into()),
    }
}

fn duration_json(duration: &Duration) -> Value {
    match duration {
        Duration::Fixed(_) => Value::Null,
        Duration::Expr(expr) => duration_expr_json(expr, false),
    }
}

/// Prometheus knows no node for parentheses here, but a mark at the node in them.
fn duration_expr_json(expr: &DurationExpr, is_wrapped: bool) -> Value {
    let (op, left, right): (_, Option<&DurationExpr>, Option<&DurationExpr>) = match &expr.kind {
        // A number has no room for the mark, so it becomes one with a plus.
        DurationExprKind::Number(_) if is_wrapped => ("+", None, Some(expr)),
        DurationExprKind::Number(number) => {
            let val = go_float::plain(number.value);
            return json!({"type": "numberLiteral", "val": val, "duration": number.is_duration});
        }
        DurationExprKind::Paren(inner) => return duration_expr_json(inner, true),
        DurationExprKind::Step => ("step", None, None),
        DurationExprKind::Range => ("range", None, None),
        DurationExprKind::Pick { max, left, right } => {
            (if *max { "max_of" } else { "min_of" }, Some(left), Some(right))
        }
        DurationExprKind::Unary { negative, expr } => (if *negative { "-" } else { "+" }, None, Some(expr)),
        DurationExprKind::Binary { op, left, right } => (op.as_str(), Some(left), Some(right)),
    };
    let part = |part: Option<&DurationExpr>| part.map_or(Value::Null, |part| duration_expr_json(part, false));
    let (left, right) = (part(left), part(right));
    let mut node = json!({"type": "durationExpr", "op": op, "wrapped": is_wrapped});
    put(&mut node, "lhs", left);
    put(&mut node, "rhs", right);
    node
}

/// The tree as text: a line for each node with its kind, what is its own, and its span of bytes.
pub fn tree_text(expr: &Expr) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    _ = write_node(&mut out, expr, 0, "");
    out
}

/// Deepest indentation; beyond it the level is written as a number.
const INDENT_LEVELS_MAX: usize = 40;

fn write_node(out: &mut String, expr: &Expr, level: usize, role: &str) -> fmt::Result {
    for _ in 0..level.min(INDENT_LEVELS_MAX) {
        out.push_str("  ");
    }
    if level > INDENT_LEVELS_MAX {
        write!(out, "({level}) ")?;
    }
    if !role.is_empty() {
        write!(out, "{role}: ")?;
    }
    write_own(out, expr)?;
    writeln!(out, "  [{}..{}] {}", expr.span.start, expr.span.end, expr.value_type().as_str())?;

    let level = level + 1;
    match &expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => write_node(out, inner, level, ""),
        ExprKind::Binary(binary) => {
            write_node(out, &binary.left, level, "left")?;
            write_node(out, &binary.right, level, "right")
        }
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &aggregate.param {
                write_node(out, param, level, "parameter")?;
            }
            write_node(out, &aggregate.expr, level, "")
        }
        ExprKind::Call(call) => call.args.iter().try_for_each(|arg| write_node(out, arg, level, "")),
        ExprKind::Subquery(subquery) => write_node(out, &subquery.expr, level, ""),
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::VectorSelector(_) | ExprKind::MatrixSelector(_) => Ok(()),
    }
}

/// What a node is, without its children.
fn write_own(out: &mut String, expr: &Expr) -> fmt::Result {
    match &expr.kind {
        ExprKind::Number(number) => write!(out, "number {number}"),
        ExprKind::String(text) => write!(out, "string {}", text.quoted()),
        ExprKind::Paren(_) => out.write_str("parentheses"),
        ExprKind::Unary { negative, .. } => write!(out, "sign {}", sign(*negative)),
        ExprKind::Binary(binary) => {
            out.write_str("operator ")?;
            write_operator(out, binary)?;
            match &binary.matching {
                Some(matching) => write!(out, " ({})", cardinality_name(matching.cardinality)),
                None => Ok(()),
            }
        }
        ExprKind::Aggregate(aggregate) => {
            out.write_str("aggregation ")?;
            write_aggregate_head(out, aggregate)?;
            out.truncate(out.trim_end().len());
            Ok(())
        }
        ExprKind::Call(call) => write!(out, "function {}", call.function.name),
        ExprKind::VectorSelector(selector) => write_selector(out, "vector selector", selector),
        ExprKind::MatrixSelector(selector) => {
            write_selector(out, "range selector", &selector.vector)?;
            write!(out, " range={}", selector.range)
        }
        ExprKind::Subquery(subquery) => {
            write!(out, "subquery range={}", subquery.range)?;
            if let Some(step) = &subquery.step {
                write!(out, " step={step}")?;
            }
            write_times(out, subquery.at, &subquery.offset)
        }
    }
}

fn write_selector(out: &mut String, what: &str, selector: &VectorSelector) -> fmt::Result {
    out.write_str(what)?;
    for matcher in &selector.matchers {
        write!(out, " {}", matcher_text(matcher))?;
    }
    write_times(out, selector.at, &selector.offset)?;
    out.write_str(match selector.mode {
        None => "",
        Some(SelectorMode::Anchored) => " anchored",
        Some(SelectorMode::Smoothed) => " smoothed",
    })
}

fn write_times(out: &mut String, at: Option<AtModifier>, offset: &Duration) -> fmt::Result {
    match at {
        None => {}
        Some(AtModifier::Timestamp(timestamp_ms)) => write!(out, " at={timestamp_ms}ms")?,
        Some(AtModifier::Start) => out.push_str(" at=start"),
        Some(AtModifier::End) => out.push_str(" at=end"),
    }
    match offset {
        Duration::Fixed(0) => Ok(()),
        _ => write!(out, " offset={offset}"),
    }
}
