//! The grammar of selectors: label matchers, lists of labels, and what may be attached to an expression, which is a
//! range or a subquery in brackets, `offset`, `@`, `anchored` and `smoothed`.
//!
//! Source: Prometheus `promql/parser/generated_parser.y` and `parse.go`, version 3.14.

use super::ast::{
    AtModifier, Duration, Expr, ExprKind, MatrixSelector, SelectorMode, Span, SubqueryExpr, VectorSelector,
};
use super::error::Failure;
use super::grammar::{Parser, Step};
use super::quote::unquote;
use super::token::{Keyword, TokenKind};
use crate::encoding::quote;
use crate::model::{LabelSet, LabelSetBuilder, METRIC_NAME, MatchOp, Matcher};

impl Parser<'_> {
    /// A vector selector that starts with braces, or with the metric name at hand.
    #[inline(never)]
    pub(super) fn vector_selector(&mut self) -> Step {
        if self.token.kind == TokenKind::LeftBrace {
            let (matchers, span) = self.label_matchers()?;
            return Ok(self.push(ExprKind::VectorSelector(selector(None, matchers)), span, 0)?);
        }
        let name = self.take().span;
        self.named_selector(name)
    }

    /// A vector selector whose metric name was taken.
    #[inline(never)]
    pub(super) fn named_selector(&mut self, name_span: Span) -> Step {
        let name = self.text_of(name_span);
        let mut span = name_span;
        let mut matchers = Vec::new();
        if self.token.kind == TokenKind::LeftBrace {
            let braces;
            (matchers, braces) = self.label_matchers()?;
            span.end = braces.end;
        }
        matchers.push(Matcher::equal(METRIC_NAME, name));
        Ok(self.push(ExprKind::VectorSelector(selector(Some(name.to_owned()), matchers)), span, 0)?)
    }

    /// `{a="b", "c"!~"d", "metric.name"}`
    fn label_matchers(&mut self) -> Result<(Vec<Matcher>, Span), Failure> {
        let start = self.take().span.start;
        let mut matchers = Vec::new();
        loop {
            if let Some(close) = self.accept(&TokenKind::RightBrace) {
                return Ok((matchers, Span { start, end: close.end }));
            }
            matchers.push(self.label_matcher()?);
            if self.accept(&TokenKind::Comma).is_none() && self.token.kind != TokenKind::RightBrace {
                return Err(self.unexpected().within("label matching", "\",\" or \"}\""));
            }
        }
    }

    /// The metric that a series description starts with, `name{a="b"}`, and where it ends.
    pub(super) fn metric(&mut self) -> Result<(LabelSet, usize), Failure> {
        let mut labels = LabelSetBuilder::default();
        let mut end = self.token.span.start;
        if self.starts_metric_name() {
            let name = self.take().span;
            labels.set(METRIC_NAME, self.text_of(name));
            end = name.end;
            // What is not attached to the name is a value already.
            if self.token.span.start != end {
                return Ok((labels.build(), end));
            }
        }
        if self.token.kind == TokenKind::LeftBrace {
            self.take();
            loop {
                if self.token.kind == TokenKind::RightBrace {
                    end = self.take().span.end;
                    break;
                }
                self.label(&mut labels)?;
                if self.accept(&TokenKind::Comma).is_none() && self.token.kind != TokenKind::RightBrace {
                    return Err(self.unexpected().within("label set", "\",\" or \"}\""));
                }
            }
        }
        Ok((labels.build(), end))
    }

    /// `a="b"`, `"a.b"="c"`, or the metric's name in quotes.
    fn label(&mut self, labels: &mut LabelSetBuilder) -> Result<(), Failure> {
        let is_quoted = match self.token.kind {
            TokenKind::Identifier => false,
            TokenKind::String => true,
            _ => return Err(self.unexpected().within("label set", "identifier or \"}\"")),
        };
        let name_span = self.take().span;
        let name = match is_quoted {
            true => unquote(self.text_of(name_span)),
            false => self.text_of(name_span).to_owned(),
        };
        if self.accept(&TokenKind::Assign).is_none() {
            if is_quoted {
                labels.set(METRIC_NAME, &name);
                return Ok(());
            }
            return Err(self.unexpected().within("label set", "\"=\""));
        }
        if self.token.kind != TokenKind::String {
            return Err(self.unexpected().within("label set", "string"));
        }
        let value = self.take().span;
        labels.set(&name, &unquote(self.text_of(value)));
        Ok(())
    }

    fn label_matcher(&mut self) -> Result<Matcher, Failure> {
        let is_quoted = match self.token.kind {
            TokenKind::Identifier => false,
            TokenKind::String => true,
            _ => return Err(self.unexpected().within("label matching", "identifier or \"}\"")),
        };
        let name_span = self.take().span;
        let name = match is_quoted {
            true => unquote(self.text_of(name_span)),
            false => self.text_of(name_span).to_owned(),
        };
        let op = match self.token.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(super::ast::BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::RegexMatch => MatchOp::Regex,
            TokenKind::RegexNotMatch => MatchOp::NotRegex,
            // A quoted text alone is the metric's name.
            _ if is_quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected().within("label matching", "label matching operator")),
        };
        self.take();
        if self.token.kind != TokenKind::String {
            return Err(self.unexpected().within("label matching", "string"));
        }
        let value_span = self.take().span;
        let value = unquote(self.text_of(value_span));
        let failure = |message| Failure::new(Span { start: name_span.start, end: value_span.end }, message);
        let matcher = Matcher::new(name, op, value).map_err(|error| failure(error.to_string()))?;
        if let Some(pattern) = matcher.pattern() {
            self.patterns.spend(pattern).map_err(|error| failure(error.to_string()))?;
        }
        Ok(matcher)
    }

    /// `(a, b)`: the names of labels, and where the list ends.
    pub(super) fn label_names(&mut self) -> Result<(Vec<String>, usize), Failure> {
        const LIST: &str = "grouping opts";
        if self.accept(&TokenKind::LeftParen).is_none() {
            return Err(self.unexpected().within(LIST, "\"(\""));
        }
        let mut labels = Vec::new();
        loop {
            if let Some(close) = self.accept(&TokenKind::RightParen) {
                return Ok((labels, close.end));
            }
            labels.push(self.label_name().map_err(|failure| failure.within(LIST, "label"))?);
            if self.accept(&TokenKind::Comma).is_none() && self.token.kind != TokenKind::RightParen {
                return Err(self.unexpected().within(LIST, "\",\" or \")\""));
            }
        }
    }

    fn label_name(&mut self) -> Result<String, Failure> {
        use super::ast::BinaryOp::{And, Atan2, Or, Unless};
        let is_label = match self.token.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::String | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(And | Or | Unless | Atan2) => true,
            TokenKind::Keyword(keyword) => keyword.is_label_name(),
            _ => false,
        };
        if !is_label {
            return Err(self.unexpected());
        }
        let token = self.take();
        let text = self.text_of(token.span);
        if token.kind != TokenKind::String {
            return Ok(text.to_owned());
        }
        let name = unquote(text);
        if name.is_empty() {
            let message = format!("invalid label name for grouping: {}", quote(&name));
            return Err(Failure::new(token.span, message));
        }
        Ok(name)
    }

    /// What is attached behind the last expression, as often as something is.
    pub(super) fn attachments(&mut self) -> Step {
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => self.range_or_subquery()?,
                TokenKind::Keyword(Keyword::Offset) => self.offset()?,
                TokenKind::At => self.at_modifier()?,
                TokenKind::Keyword(Keyword::Anchored) => self.mode(SelectorMode::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.mode(SelectorMode::Smoothed)?,
                _ => return Ok(()),
            }
        }
    }

    /// `[5m]`, `[5m:]` or `[5m:1m]`
    #[inline(never)]
    fn range_or_subquery(&mut self) -> Step {
        let open = self.take().span;
        let range = self
            .positive_duration()
            .map_err(|failure| failure.within("subquery or range selector", "number, duration, step(), or range()"))?;
        if let Some(close) = self.accept(&TokenKind::RightBracket) {
            let brackets = Span { start: open.start, end: close.end };
            let expr = self.pop()?.value;
            let vector_span = expr.span;
            let vector = take_vector(expr).map_err(|message| Failure::new(brackets, message))?;
            let span = Span { start: vector_span.start, end: close.end };
            return Ok(self.push(ExprKind::MatrixSelector(MatrixSelector { vector, vector_span, range }), span, 0)?);
        }
        if self.accept(&TokenKind::Colon).is_none() {
            return Err(self.unexpected().within("subquery or range", "\":\" or \"]\"").into());
        }
        let mut step = None;
        if self.token.kind != TokenKind::RightBracket {
            step = Some(self.positive_duration().map_err(|failure| {
                failure.within("subquery selector", "number, duration, step(), range(), or \"]\"")
            })?);
        }
        let Some(close) = self.accept(&TokenKind::RightBracket) else {
            return Err(self.unexpected().within("subquery selector", "\"]\"").into());
        };
        let expr = self.pop()?;
        let span = Span { start: expr.value.span.start, end: close.end };
        let subquery = SubqueryExpr { expr: expr.value, range, step, offset: Duration::Fixed(0), at: None };
        Ok(self.push(ExprKind::Subquery(Box::new(subquery)), span, expr.height)?)
    }

    #[inline(never)]
    fn offset(&mut self) -> Step {
        self.take();
        let (offset, end) = self
            .offset_duration()
            .map_err(|failure| failure.within("offset", "number, duration, step(), or range()"))?;
        let expr = self.last()?;
        let span = expr.span;
        let target = match &mut expr.kind {
            ExprKind::VectorSelector(selector) => &mut selector.offset,
            ExprKind::MatrixSelector(selector) => &mut selector.vector.offset,
            ExprKind::Subquery(subquery) => &mut subquery.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector \
                               selector or a subquery";
                return Err(Failure::new(span, message).into());
            }
        };
        if *target != Duration::Fixed(0) {
            return Err(Failure::new(span, "offset may not be set multiple times").into());
        }
        *target = offset;
        expr.span.end = end;
        Ok(())
    }

    #[inline(never)]
    fn at_modifier(&mut self) -> Step {
        self.take();
        let target = self.last()?.span;
        let (at, end) = self.at_time(target).map_err(|failure| failure.within("@", "timestamp"))?;
        let expr = self.last()?;
        let span = expr.span;
        let target = match &mut expr.kind {
            ExprKind::VectorSelector(selector) => &mut selector.at,
            ExprKind::MatrixSelector(selector) => &mut selector.vector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector \
                               or a subquery";
                return Err(Failure::new(span, message).into());
            }
        };
        if target.is_some() {
            return Err(Failure::new(span, "@ <timestamp> may not be set multiple times").into());
        }
        *target = Some(at);
        expr.span.end = end;
        Ok(())
    }

    fn mode(&mut self, mode: SelectorMode) -> Step {
        self.take();
        Ok(set_mode(self.last()?, mode)?)
    }

    /// The time behind an `@`, and where it ends. `target` is what the modifier is attached to.
    fn at_time(&mut self, target: Span) -> Result<(AtModifier, usize), Failure> {
        if let TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) = self.token.kind {
            self.take();
            self.expect(&TokenKind::LeftParen)?;
            let end = self.expect(&TokenKind::RightParen)?.end;
            let at = if keyword == Keyword::Start { AtModifier::Start } else { AtModifier::End };
            return Ok((at, end));
        }
        let negative = self.sign().is_some_and(|(negative, _)| negative);
        let (number, span) = self.number_literal()?;
        let seconds = if negative { -number.value } else { number.value };
        let limit = i64::MAX as f64;
        if !(-limit < seconds && seconds < limit) {
            let shown = match seconds {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                _ if seconds.is_nan() => "NaN".to_owned(),
                _ => format!("{seconds:.6}"),
            };
            return Err(Failure::new(target, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok((AtModifier::Timestamp((seconds * 1000.0).round() as i64), span.end))
    }
}

/// A selector to which nothing is attached yet.
fn selector(name: Option<String>, matchers: Vec<Matcher>) -> VectorSelector {
    VectorSelector { name, matchers, offset: Duration::Fixed(0), at: None, mode: None }
}

/// The vector selector that a range can be attached to.
fn take_vector(expr: Expr) -> Result<VectorSelector, &'static str> {
    match expr.kind {
        ExprKind::VectorSelector(selector) if selector.offset != Duration::Fixed(0) => {
            Err("no offset modifiers allowed before range")
        }
        ExprKind::VectorSelector(selector) if selector.at.is_some() => Err("no @ modifiers allowed before range"),
        ExprKind::VectorSelector(selector) => Ok(selector),
        _ => Err("ranges only allowed for vector selectors"),
    }
}

fn set_mode(expr: &mut Expr, mode: SelectorMode) -> Result<(), Failure> {
    let word = match mode {
        SelectorMode::Anchored => "anchored",
        SelectorMode::Smoothed => "smoothed",
    };
    let target = match &mut expr.kind {
        ExprKind::VectorSelector(selector) => &mut selector.mode,
        ExprKind::MatrixSelector(selector) => &mut selector.vector.mode,
        ExprKind::Subquery(_) => {
            let message = format!("{word} modifier is not supported for subqueries");
            return Err(Failure::new(expr.span, message));
        }
        _ => return Err(Failure::new(expr.span, format!("{word} modifier not implemented"))),
    };
    if target.replace(mode).is_some_and(|before| before != mode) {
        return Err(Failure::new(expr.span, "anchored and smoothed modifiers cannot be used together"));
    }
    Ok(())
}
