//! Queries as trees of text: enough to print one, and to cut a long one down to what still shows a difference.

use std::fmt;

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Scalar,
    Vector,
    Matrix,
    Text,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// The type of its value.
    pub ty: Type,
    /// Labels that its series may have, for those who match or group them.
    pub labels: Vec<&'static str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// Text that the expression is one without.
    Optional(String),
    Child(Expr),
}

impl Expr {
    /// An expression of a type, with nothing in it.
    pub fn new(ty: Type) -> Self {
        Expr { ty, labels: Vec::new(), parts: Vec::new() }
    }

    /// A scalar as it is written.
    pub fn scalar(text: impl Into<String>) -> Self {
        Expr::new(Type::Scalar).text(text)
    }

    /// Names the labels that the series may have.
    pub fn labelled(mut self, labels: &[&'static str]) -> Self {
        self.labels = labels.to_vec();
        self
    }

    /// The same as an expression of another type.
    pub fn typed(self, ty: Type) -> Self {
        Expr { ty, ..self }
    }

    /// Appends text.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Appends text that the expression is one without.
    pub fn optional(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.parts.push(Part::Optional(text));
        }
        self
    }

    /// Appends an expression.
    pub fn child(mut self, child: Expr) -> Self {
        self.parts.push(Part::Child(child));
        self
    }

    /// Expressions that are a little simpler, the simplest first: first those inside, then the same with one thing less.
    pub fn simpler(&self, can_stand_alone: impl Fn(Type) -> bool) -> Vec<Expr> {
        let mut candidates: Vec<Expr> = self.inside().into_iter().filter(|inner| can_stand_alone(inner.ty)).collect();
        candidates.extend(self.with_less());
        candidates.sort_by_cached_key(|candidate| candidate.to_string().len());
        candidates.dedup();
        candidates
    }

    /// Every expression inside.
    fn inside(&self) -> Vec<Expr> {
        let mut found = Vec::new();
        for part in &self.parts {
            if let Part::Child(child) = part {
                found.push(child.clone());
                found.extend(child.inside());
            }
        }
        found
    }

    fn with_less(&self) -> Vec<Expr> {
        let mut candidates = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let mut instead = |part: Option<Part>| {
                let mut other = self.clone();
                other.parts.splice(index..=index, part);
                candidates.push(other);
            };
            match part {
                Part::Text(_) => {}
                Part::Optional(_) => instead(None),
                Part::Child(child) => {
                    if child.ty == Type::Scalar && child.to_string() != "1" {
                        instead(Some(Part::Child(Expr::scalar("1"))));
                    }
                    let same_type = child.inside().into_iter().filter(|inner| inner.ty == child.ty);
                    same_type.chain(child.with_less()).for_each(|other| instead(Some(Part::Child(other))));
                }
            }
        }
        candidates
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) | Part::Optional(text) => f.write_str(text),
            Part::Child(child) => child.fmt(f),
        })
    }
}
