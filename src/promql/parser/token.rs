//! The tokens of PromQL.

use super::ast::{AggregateOp, BinaryOp, Span};
use crate::encoding::quote;

/// A token and where it stands. An error of the lexer is a token too: it matters only if the parser gets that far.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// The kinds of token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Eof,
    /// The text cannot be cut into tokens from here on; why.
    Error(String),
    Identifier,
    /// An identifier with a colon in it, which only a metric name can be.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=`
    Assign,
    /// `=~`
    RegexMatch,
    /// `!~`
    RegexNotMatch,
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own that are neither operators nor aggregators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Keyword {
    /// Whether the keyword is the name of a function too.
    pub(super) fn is_function(self) -> bool {
        use Keyword::*;
        matches!(self, Start | End | Step | Range | MaxOf | MinOf)
    }

    /// Whether the keyword may be a metric's name.
    pub(super) fn is_metric_name(self) -> bool {
        use Keyword::*;
        !matches!(self, On | Ignoring | GroupLeft | GroupRight | Bool)
    }

    /// Whether the keyword may be a label's name in a list of labels.
    pub(super) fn is_label_name(self) -> bool {
        self != Keyword::Without
    }
}

/// The token that a word is, whatever its case; `None` for an ordinary identifier.
pub(super) fn word_token(word: &str) -> Option<TokenKind> {
    use {AggregateOp as A, BinaryOp as B, Keyword as K};
    // The longest keyword has 12 letters; longer words need no lower-casing.
    if word.len() > 12 {
        return None;
    }
    let kind = match word.to_ascii_lowercase().as_str() {
        "and" => TokenKind::Operator(B::And),
        "or" => TokenKind::Operator(B::Or),
        "unless" => TokenKind::Operator(B::Unless),
        "atan2" => TokenKind::Operator(B::Atan2),
        "sum" => TokenKind::Aggregator(A::Sum),
        "avg" => TokenKind::Aggregator(A::Avg),
        "count" => TokenKind::Aggregator(A::Count),
        "min" => TokenKind::Aggregator(A::Min),
        "max" => TokenKind::Aggregator(A::Max),
        "group" => TokenKind::Aggregator(A::Group),
        "stddev" => TokenKind::Aggregator(A::Stddev),
        "stdvar" => TokenKind::Aggregator(A::Stdvar),
        "topk" => TokenKind::Aggregator(A::Topk),
        "bottomk" => TokenKind::Aggregator(A::Bottomk),
        "count_values" => TokenKind::Aggregator(A::CountValues),
        "quantile" => TokenKind::Aggregator(A::Quantile),
        "limitk" => TokenKind::Aggregator(A::Limitk),
        "limit_ratio" => TokenKind::Aggregator(A::LimitRatio),
        "offset" => TokenKind::Keyword(K::Offset),
        "smoothed" => TokenKind::Keyword(K::Smoothed),
        "anchored" => TokenKind::Keyword(K::Anchored),
        "by" => TokenKind::Keyword(K::By),
        "without" => TokenKind::Keyword(K::Without),
        "on" => TokenKind::Keyword(K::On),
        "ignoring" => TokenKind::Keyword(K::Ignoring),
        "group_left" => TokenKind::Keyword(K::GroupLeft),
        "group_right" => TokenKind::Keyword(K::GroupRight),
        "fill" => TokenKind::Keyword(K::Fill),
        "fill_left" => TokenKind::Keyword(K::FillLeft),
        "fill_right" => TokenKind::Keyword(K::FillRight),
        "bool" => TokenKind::Keyword(K::Bool),
        "start" => TokenKind::Keyword(K::Start),
        "end" => TokenKind::Keyword(K::End),
        "step" => TokenKind::Keyword(K::Step),
        "range" => TokenKind::Keyword(K::Range),
        "max_of" => TokenKind::Keyword(K::MaxOf),
        "min_of" => TokenKind::Keyword(K::MinOf),
        "inf" | "nan" => TokenKind::Number,
        _ => return None,
    };
    Some(kind)
}

impl Token {
    /// What the token is, for an error that says it was not expected. `text` is the whole query.
    pub(super) fn describe(&self, text: &str) -> String {
        let word = text.get(self.span.start..self.span.end).unwrap_or_default();
        match self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Error(ref message) => message.clone(),
            TokenKind::Identifier => format!("identifier {}", quote(word)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote(word)),
            TokenKind::Number => format!("number {}", shortened(word)),
            TokenKind::Duration => format!("duration {}", shortened(word)),
            TokenKind::String => format!("string {}", shortened(word)),
            TokenKind::Operator(_) | TokenKind::At | TokenKind::RegexMatch | TokenKind::RegexNotMatch => {
                format!("<op:{word}>")
            }
            TokenKind::Aggregator(_) => format!("<aggr:{word}>"),
            TokenKind::Keyword(keyword) if keyword.is_function() => quote(word),
            TokenKind::Keyword(_) => format!("<{word}>"),
            _ => quote(word),
        }
    }
}

/// The word in quotes, cut after ten characters.
fn shortened(word: &str) -> String {
    if word.len() <= 10 {
        return quote(word);
    }
    let head: String = word.chars().take(10).collect();
    format!("{}...", quote(&head))
}
