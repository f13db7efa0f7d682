//! The syntax tree of a PromQL expression. Every node knows where in the text it stands.
//!
//! Source: Prometheus `promql/parser/ast.go`, version 3.14.

use std::ops::Deref;

use crate::encoding::quote_bytes;
use crate::model::Matcher;

/// A range of bytes in the text of the query: `start` is included, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One sample for each of several series.
    Vector,
    /// A range of samples for each of several series.
    Matrix,
    /// A text.
    String,
}

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

impl Expr {
    /// The matchers of each selector in it, in the order of the text.
    pub fn selectors(&self) -> Vec<&[Matcher]> {
        let mut found = Vec::new();
        self.add_selectors(&mut found);
        found
    }

    fn add_selectors<'a>(&'a self, found: &mut Vec<&'a [Matcher]>) {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => expr.add_selectors(found),
            ExprKind::Binary(binary) => {
                binary.left.add_selectors(found);
                binary.right.add_selectors(found);
            }
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().for_each(|param| param.add_selectors(found));
                aggregate.expr.add_selectors(found);
            }
            ExprKind::Call(call) => call.args.iter().for_each(|argument| argument.add_selectors(found)),
            ExprKind::VectorSelector(selector) => found.push(&selector.matchers),
            ExprKind::MatrixSelector(selector) => found.push(&selector.vector.matchers),
            ExprKind::Subquery(subquery) => subquery.expr.add_selectors(found),
        }
    }
}

/// The kinds of expression.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number(NumberLiteral),
    /// A quoted text, unquoted.
    String(StringLiteral),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// `+x` or `-x`.
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// What it applies to.
        expr: Box<Expr>,
    },
    /// Two operands and an operator.
    Binary(Box<BinaryExpr>),
    /// An aggregation over series.
    Aggregate(Box<AggregateExpr>),
    /// A function call.
    Call(Call),
    /// An instant vector selector.
    VectorSelector(VectorSelector),
    /// A range vector selector.
    MatrixSelector(MatrixSelector),
    /// An instant expression that is evaluated at each step of a range.
    Subquery(Box<SubqueryExpr>),
}

/// A number as written and as meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberLiteral {
    /// Its value.
    pub value: f64,
    /// Whether it was written as a duration (`5m`), for printing.
    pub is_duration: bool,
}

/// A text that stood in quotes. Its escapes may have spelled bytes that are not UTF-8; the text has U+FFFD for those.
#[derive(Debug, Clone, PartialEq)]
pub struct StringLiteral {
    text: String,
    /// The bytes, where they are not UTF-8.
    bytes: Option<Box<[u8]>>,
}

impl StringLiteral {
    /// The literal that means these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => StringLiteral { text, bytes: None },
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                StringLiteral { text, bytes: Some(error.into_bytes().into()) }
            }
        }
    }

    /// Whether it spells UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.bytes.is_none()
    }

    /// The literal in quotes again.
    pub fn quoted(&self) -> String {
        quote_bytes(self.bytes.as_deref().unwrap_or(self.text.as_bytes()))
    }
}

impl Deref for StringLiteral {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// A duration: fixed, or an expression that needs the query's step and range.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// A duration known when the query is parsed.
    Fixed(i64),
    /// An expression that is evaluated when the query is prepared.
    Expr(Box<DurationExpr>),
}

impl Duration {
    /// The milliseconds of a fixed duration. An expression that was not resolved yet counts as 0.
    pub fn fixed_ms(&self) -> i64 {
        match self {
            Duration::Fixed(ms) => *ms,
            Duration::Expr(_) => 0,
        }
    }
}

/// Arithmetic on durations, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of duration expression.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExprKind {
    /// A number of seconds, or a duration.
    Number(NumberLiteral),
    /// `step()`: the query's resolution step.
    Step,
    /// `range()`: the time between the query's start and end.
    Range,
    /// `min_of(a, b)` or `max_of(a, b)`.
    Pick {
        /// Whether the larger is taken.
        max: bool,
        /// First argument.
        left: Box<DurationExpr>,
        /// Second argument.
        right: Box<DurationExpr>,
    },
    /// `+x` or `-x`.
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// What it applies to.
        expr: Box<DurationExpr>,
    },
    /// `a + b` and its like: one of `+ - * / % ^`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<DurationExpr>,
        /// Right operand.
        right: Box<DurationExpr>,
    },
    /// A duration expression in parentheses.
    Paren(Box<DurationExpr>),
}

/// Binary operators, in Prometheus' spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>`
    Gt,
    /// `<`
    Lt,
    /// `>=`
    Ge,
    /// `<=`
    Le,
    /// `</`: keeps what lies below a boundary of a histogram.
    TrimUpper,
    /// `>/`: keeps what lies above a boundary of a histogram.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Gt => ">",
            BinaryOp::Lt => "<",
            BinaryOp::Ge => ">=",
            BinaryOp::Le => "<=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Whether it compares (`==` and its like), so that `bool` may follow.
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Gt | BinaryOp::Lt | BinaryOp::Ge | BinaryOp::Le)
    }

    /// Whether it works on sets of series (`and`, `or`, `unless`).
    pub fn is_set_operator(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: Expr,
    /// Right operand.
    pub right: Expr,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series are matched; `None` unless both operands are vectors.
    pub matching: Option<VectorMatching>,
}

/// How many series of one side meet how many of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatchCardinality {
    /// One to one.
    #[default]
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// The matching clause of a binary operation between vectors. The default is what no clause means: one to one, by all
/// labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VectorMatching {
    /// The cardinality.
    pub cardinality: MatchCardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether the labels are those of `on` (else of `ignoring`, which is also what no clause means).
    pub on: bool,
    /// Labels of `group_left` or `group_right`, taken over from the side of one.
    pub include: Vec<String>,
    /// `fill_left`: the value of a missing series of the left side.
    pub fill_left: Option<f64>,
    /// `fill_right`: the value of a missing series of the right side.
    pub fill_right: Option<f64>,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter before its expression.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::CountValues
                | AggregateOp::Quantile
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio
        )
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateExpr {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The parameter, for those operators that take one.
    pub param: Option<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether the labels are those of `without`.
    pub without: bool,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function, a row of the function table.
    pub function: &'static super::functions::Function,
    /// The arguments.
    pub args: Vec<Expr>,
}

/// The time of an `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// A fixed time, in milliseconds.
    Timestamp(i64),
    /// The query's start.
    Start,
    /// The query's end.
    End,
}

/// What `anchored` or `smoothed` make of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectorMode {
    /// `anchored`: the sample before the range belongs to it.
    Anchored,
    /// `smoothed`: values at the ends of the range are interpolated.
    Smoothed,
}

/// An instant vector selector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name in front of the braces (or the only one); also among `matchers`.
    pub name: Option<String>,
    /// All matchers, in the order of the text, that of `name` last.
    pub matchers: Vec<Matcher>,
    /// `offset`, as written.
    pub offset: Duration,
    /// `@`.
    pub at: Option<AtModifier>,
    /// `anchored` or `smoothed`.
    pub mode: Option<SelectorMode>,
}

/// A range vector selector: a vector selector and a range.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// The selector; `offset`, `@` and the mode of the whole stand in it.
    pub vector: VectorSelector,
    /// Where the vector selector itself stands.
    pub vector_span: Span,
    /// How far it reaches back.
    pub range: Duration,
}

/// A subquery.
#[derive(Debug, Clone, PartialEq)]
pub struct SubqueryExpr {
    /// What is evaluated.
    pub expr: Expr,
    /// How far it reaches back.
    pub range: Duration,
    /// The resolution; `None` means the default evaluation interval.
    pub step: Option<Duration>,
    /// `offset`, as written.
    pub offset: Duration,
    /// `@`.
    pub at: Option<AtModifier>,
}
