//! The types of expressions, and what else must hold that the grammar does not say.
//!
//! Source: Prometheus `promql/parser/parse.go` (`checkAST`), version 3.14.

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, Call, Expr, ExprKind, MatchCardinality, Span, ValueType, VectorMatching,
    VectorSelector,
};
use super::error::Failure;
use crate::encoding::quote;
use crate::model::METRIC_NAME;

impl ValueType {
    /// The type's name in the API: `vector`.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }

    /// The type's name in the documentation and in errors: `instant vector`.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            _ => self.as_str(),
        }
    }
}

impl Expr {
    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => expr.value_type(),
            ExprKind::Binary(binary) => binary_type(binary.left.value_type(), binary.right.value_type()),
            ExprKind::Aggregate(_) | ExprKind::VectorSelector(_) => ValueType::Vector,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::MatrixSelector(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        }
    }
}

fn binary_type(left: ValueType, right: ValueType) -> ValueType {
    if left == ValueType::Scalar && right == ValueType::Scalar { ValueType::Scalar } else { ValueType::Vector }
}

/// Checks the expression and gives its type. Binary operations learn here how they match their series.
pub(super) fn check(expr: &mut Expr, text: &str) -> Result<ValueType, Failure> {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::Number(_) => Ok(ValueType::Scalar),
        ExprKind::String(_) => Ok(ValueType::String),
        ExprKind::Paren(inner) => check(inner, text),
        ExprKind::Unary { expr: inner, .. } => match check(inner, text)? {
            value_type @ (ValueType::Scalar | ValueType::Vector) => Ok(value_type),
            other => fail(span, || {
                let shown = quote(other.documented());
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {shown}")
            }),
        },
        ExprKind::Binary(binary) => check_binary(binary, span, text),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate, text),
        ExprKind::Call(call) => check_call(call, span, text),
        ExprKind::VectorSelector(selector) => {
            check_selector(selector, span, true)?;
            Ok(ValueType::Vector)
        }
        ExprKind::MatrixSelector(selector) => {
            check_selector(&selector.vector, selector.vector_span, true)?;
            Ok(ValueType::Matrix)
        }
        ExprKind::Subquery(subquery) => match check(&mut subquery.expr, text)? {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                fail(span, || format!("subquery is only allowed on instant vector, got {} instead", other.as_str()))
            }
        },
    }
}

#[cold]
fn fail<T>(span: Span, message: impl FnOnce() -> String) -> Result<T, Failure> {
    Err(Failure::new(span, message()))
}

fn expect_type(expr: &mut Expr, text: &str, want: ValueType, context: &str) -> Result<(), Failure> {
    let got = check(expr, text)?;
    require_type(expr.span, want, got, || context.to_owned())
}

fn require_type(span: Span, want: ValueType, got: ValueType, context: impl FnOnce() -> String) -> Result<(), Failure> {
    if want == got {
        return Ok(());
    }
    fail(span, || format!("expected type {} in {}, got {}", want.documented(), context(), got.documented()))
}

fn check_aggregate(aggregate: &mut AggregateExpr, text: &str) -> Result<ValueType, Failure> {
    expect_type(&mut aggregate.expr, text, ValueType::Vector, "aggregation expression")?;
    let want = match aggregate.op {
        AggregateOp::CountValues => ValueType::String,
        _ => ValueType::Scalar,
    };
    if let Some(param) = &mut aggregate.param {
        expect_type(param, text, want, "aggregation parameter")?;
    }
    Ok(ValueType::Vector)
}

fn check_binary(binary: &mut BinaryExpr, span: Span, text: &str) -> Result<ValueType, Failure> {
    let left = check(&mut binary.left, text)?;
    let right = check(&mut binary.right, text)?;
    let op = binary.op;
    let is_scalar = left == ValueType::Scalar && right == ValueType::Scalar;

    if binary.return_bool && !op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return Err(Failure::new(operator_span(binary, text), message));
    }
    if op.is_comparison() && !binary.return_bool && is_scalar {
        let message = "comparisons between scalars must use BOOL modifier";
        return Err(Failure::new(operator_span(binary, text), message));
    }
    if let Some(matching) = &binary.matching
        && matching.on
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
        return Err(Failure::new(operator_span(binary, text), message));
    }
    for (value_type, operand) in [(left, &binary.left), (right, &binary.right)] {
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Failure::new(operand.span, message));
        }
    }

    if left == ValueType::Vector && right == ValueType::Vector {
        if let Some(matching) = &mut binary.matching
            && op.is_set_operator()
        {
            check_set_matching(matching, op.as_str(), span)?;
        }
    } else if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            return Err(Failure::new(span, "vector matching only allowed between instant vectors"));
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return Err(Failure::new(span, "filling in missing series only allowed between instant vectors"));
        }
    }
    if op.is_set_operator() && (left == ValueType::Scalar || right == ValueType::Scalar) {
        let shown = quote(op.as_str());
        return fail(span, || format!("set operator {shown} not allowed in binary scalar expression"));
    }
    Ok(binary_type(left, right))
}

fn check_set_matching(matching: &mut VectorMatching, op: &str, span: Span) -> Result<(), Failure> {
    match matching.cardinality {
        MatchCardinality::OneToOne => matching.cardinality = MatchCardinality::ManyToMany,
        MatchCardinality::ManyToMany => {}
        MatchCardinality::OneToMany | MatchCardinality::ManyToOne => {
            return fail(span, || format!("no grouping allowed for {} operation", quote(op)));
        }
    }
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        return Err(Failure::new(span, "filling in missing series not allowed for set operators"));
    }
    Ok(())
}

/// Where the operator and its modifiers stand: between the operands, without the space around.
fn operator_span(binary: &BinaryExpr, text: &str) -> Span {
    let (start, end) = (binary.left.span.end, binary.right.span.start);
    let between = text.get(start..end).unwrap_or_default();
    let trimmed = between.trim_ascii_start();
    let start = end - trimmed.len().min(end);
    Span { start, end: start + trimmed.trim_ascii_end().len() }
}

fn check_call(call: &mut Call, span: Span, text: &str) -> Result<ValueType, Failure> {
    let function = call.function;
    let (name, got) = (quote(function.name), call.args.len());
    let want = function.args.len();
    let message = match usize::try_from(function.variadic) {
        Ok(0) if got != want => Some(format!("expected {want} argument(s) in call to {name}, got {got}")),
        Ok(0) => None,
        _ if got + 1 < want => Some(format!("expected at least {} argument(s) in call to {name}, got {got}", want - 1)),
        Ok(more) if got + 1 > want + more => {
            Some(format!("expected at most {} argument(s) in call to {name}, got {got}", want - 1 + more))
        }
        _ => None,
    };
    if let Some(message) = message {
        return Err(Failure::new(span, message));
    }

    // The second argument of `info` is not a vector but a way to write matchers, which may all match the empty text.
    let is_info = function.name == "info";
    if is_info && let Some(arg) = call.args.get(1) {
        check_info_matchers(arg, span)?;
    }
    for (index, arg) in call.args.iter_mut().enumerate() {
        let Some(want) = function.args.get(index).or(function.args.last()) else { break };
        let got = match &arg.kind {
            ExprKind::VectorSelector(selector) if is_info && index == 1 => {
                check_selector(selector, arg.span, false)?;
                ValueType::Vector
            }
            _ => check(arg, text)?,
        };
        require_type(arg.span, *want, got, || format!("call to function {name}"))?;
    }
    Ok(function.returns)
}

fn check_info_matchers(arg: &Expr, call_span: Span) -> Result<(), Failure> {
    require_type(call_span, ValueType::Vector, arg.value_type(), || "call to function \"info\"".to_owned())?;
    match &arg.kind {
        ExprKind::VectorSelector(selector) if selector.name.is_none() => Ok(()),
        ExprKind::VectorSelector(_) => {
            Err(Failure::new(arg.span, "expected label selectors only, got vector selector instead"))
        }
        _ => Err(Failure::new(arg.span, "expected label selectors only")),
    }
}

fn check_selector(selector: &VectorSelector, span: Span, needs_matcher: bool) -> Result<(), Failure> {
    if let Some(name) = &selector.name {
        // The last matcher is that of the name itself.
        let others = selector.matchers.split_last().map_or(&[][..], |(_, others)| others);
        if let Some(matcher) = others.iter().find(|matcher| matcher.name == METRIC_NAME) {
            let (first, second) = (quote(name), quote(&matcher.value));
            return fail(span, || format!("metric name must not be set twice: {first} or {second}"));
        }
        return Ok(());
    }
    if needs_matcher && selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
        return Err(Failure::new(span, "vector selector must contain at least one non-empty matcher"));
    }
    Ok(())
}
