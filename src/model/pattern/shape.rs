//! Shapes: what a pattern is, where it is something simple.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look};

/// Most words that a pattern is expanded to: more than a dashboard's lists of instances have.
pub(super) const WORDS_MAX: usize = 4096;

/// Most bytes that these words have together.
const WORDS_BYTES_MAX: usize = 1 << 20;

/// What a pattern is, where it is something simple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One of these words, sorted.
    Words(Vec<String>),
    /// `prefix`, at least `more` bytes of anything, `suffix`.
    Around {
        /// What comes first.
        prefix: String,
        /// 0 or 1.
        more: usize,
        /// What comes last.
        suffix: String,
    },
    /// Anything, the text, anything.
    Contains(String),
    /// Left to the regex engine; every match starts with the prefix.
    General {
        /// What comes first, perhaps nothing.
        prefix: String,
    },
}

/// The shape of a tree without capture groups.
pub(super) fn shape_of(tree: &Hir) -> Shape {
    let mut parts: Vec<&Hir> = match tree.kind() {
        HirKind::Concat(parts) => parts.iter().collect(),
        _ => vec![tree],
    };
    // The whole is anchored, so an anchor at its own end says nothing.
    while parts.first().is_some_and(|part| *part.kind() == HirKind::Look(Look::Start)) {
        parts.remove(0);
    }
    while parts.last().is_some_and(|part| *part.kind() == HirKind::Look(Look::End)) {
        parts.pop();
    }
    if let Some(words) = words_of_all(&parts) {
        return Shape::Words(words.into_iter().collect());
    }
    let prefix = parts.first().and_then(|part| literal(part)).unwrap_or_default();
    let suffix = || parts.last().and_then(|part| literal(part)).unwrap_or_default();
    let around = |more| Shape::Around { prefix: prefix.clone(), more, suffix: suffix() };
    let middle = match (parts.first(), parts.last()) {
        _ if parts.len() > 3 => None,
        (Some(first), Some(last)) => {
            let inner = usize::from(literal(first).is_some())..parts.len() - usize::from(literal(last).is_some());
            parts.get(inner)
        }
        _ => None,
    };
    match middle {
        Some([any]) => match anything(any) {
            Some(more) => around(more),
            None => Shape::General { prefix },
        },
        Some([before, text, after]) if (anything(before), anything(after)) == (Some(0), Some(0)) => {
            literal(text).map_or(Shape::General { prefix }, Shape::Contains)
        }
        _ => Shape::General { prefix },
    }
}

/// The tree without capture groups, which don't change what matches.
pub(super) fn without_captures(tree: &Hir) -> Hir {
    match tree.kind() {
        HirKind::Capture(capture) => without_captures(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_captures).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_captures).collect()),
        _ => tree.clone(),
    }
}

fn literal(tree: &Hir) -> Option<String> {
    match tree.kind() {
        HirKind::Literal(bytes) => String::from_utf8(bytes.0.to_vec()).ok(),
        _ => None,
    }
}

/// For `.*` 0 and for `.+` 1, where the dot is any character.
fn anything(tree: &Hir) -> Option<usize> {
    match tree.kind() {
        HirKind::Repetition(repetition)
            if repetition.max.is_none() && repetition.min <= 1 && *repetition.sub == Hir::dot(Dot::AnyChar) =>
        {
            Some(repetition.min as usize)
        }
        _ => None,
    }
}

/// All texts that the tree matches, if they are few.
fn words_of(tree: &Hir) -> Option<BTreeSet<String>> {
    match tree.kind() {
        HirKind::Empty => Some(BTreeSet::from([String::new()])),
        HirKind::Literal(_) => literal(tree).map(|text| BTreeSet::from([text])),
        HirKind::Class(Class::Unicode(class)) => {
            let count = class.ranges().iter().map(|range| range.len()).sum::<usize>();
            let chars = || class.ranges().iter().flat_map(|range| range.start()..=range.end());
            (count <= WORDS_MAX).then(|| chars().map(String::from).collect())
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => None,
        HirKind::Repetition(repetition) => {
            if repetition.max != Some(1) || repetition.min != 0 {
                return None;
            }
            let mut words = words_of(&repetition.sub)?;
            words.insert(String::new());
            Some(words)
        }
        HirKind::Capture(capture) => words_of(&capture.sub),
        HirKind::Concat(parts) => words_of_all(&parts.iter().collect::<Vec<_>>()),
        HirKind::Alternation(parts) => {
            let (mut words, mut bytes) = (BTreeSet::new(), 0);
            for part in parts {
                let more = words_of(part)?;
                bytes += bytes_of(&more);
                words.extend(more);
                if words.len() > WORDS_MAX || bytes > WORDS_BYTES_MAX {
                    return None;
                }
            }
            Some(words)
        }
    }
}

fn bytes_of(words: &BTreeSet<String>) -> usize {
    words.iter().map(String::len).sum()
}

/// All texts that the trees match one after the other, if they are few.
fn words_of_all(parts: &[&Hir]) -> Option<BTreeSet<String>> {
    let mut words = BTreeSet::from([String::new()]);
    for part in parts {
        let next = words_of(part)?;
        let bytes = bytes_of(&words) * next.len() + bytes_of(&next) * words.len();
        if words.len() * next.len() > WORDS_MAX || bytes > WORDS_BYTES_MAX {
            return None;
        }
        words = words.iter().flat_map(|word| next.iter().map(move |more| format!("{word}{more}"))).collect();
    }
    Some(words)
}
