//! Regular expressions of matchers and `label_replace`: anchored at both ends, with dot matching newlines.
//!
//! Most patterns in dashboards are lists of words, prefixes or `.+`. A pattern's syntax tree is looked at once for such
//! a shape, which is tested without the regex engine and lets an index look values up instead of testing each. A
//! shape means exactly what the expression means; what has none is left to the engine.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};
use regex_automata::dfa::{StartKind, dense};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look};

/// Largest compiled size of one pattern. A pattern past it is refused, whatever its text.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Longest text of one pattern.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is not a regular expression.
    #[error("error parsing regexp: {0}")]
    Syntax(String),
    /// The text, or the program made of it, is larger than a bound.
    #[error("regular expression is too large: {got} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// What was asked for; the compiled size is known only to be more than its bound.
        got: usize,
    },
}

/// Largest automaton of one pattern, and most memory to make it. A pattern past it has none.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// Most words that a pattern is expanded to: more than a dashboard's lists of instances have.
const WORDS_MAX: usize = 4096;

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

/// A compiled pattern. Cloning shares the program.
#[derive(Debug, Clone)]
pub struct Pattern {
    program: Arc<Program>,
}

#[derive(Debug)]
struct Program {
    regex: Regex,
    shape: Shape,
    /// Made when it is first asked for.
    automaton: OnceLock<Option<dense::DFA<Vec<u32>>>>,
}

impl Pattern {
    /// Compiles `text`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::TooLarge { limit: TEXT_BYTES_MAX, got: text.len() });
        }
        // The text has to be an expression by itself: `a)|(b` would escape from the group around it.
        let tree = ParserBuilder::new()
            .dot_matches_new_line(true)
            .build()
            .parse(text)
            .map_err(|error| PatternError::Syntax(error.to_string()))?;
        let anchored = format!("^(?s:{text})$");
        match RegexBuilder::new(&anchored).size_limit(COMPILED_BYTES_MAX).build() {
            Ok(regex) => {
                Ok(Pattern { program: Arc::new(Program { regex, shape: shape_of(&tree), automaton: OnceLock::new() }) })
            }
            Err(regex::Error::CompiledTooBig(limit)) => Err(PatternError::TooLarge { limit, got: limit + 1 }),
            Err(error) => Err(PatternError::Syntax(error.to_string())),
        }
    }

    /// Whether the whole of `text` matches.
    #[inline]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.program.shape {
            Shape::Words(words) => words.binary_search_by(|word| word.as_str().cmp(text)).is_ok(),
            Shape::Around { prefix, more, suffix } => {
                text.len() >= prefix.len() + more + suffix.len()
                    && text.starts_with(prefix.as_str())
                    && text.ends_with(suffix.as_str())
            }
            Shape::Contains(middle) => text.contains(middle.as_str()),
            Shape::General { prefix } => text.starts_with(prefix.as_str()) && self.program.regex.is_match(text),
        }
    }

    /// All texts that match, sorted, where they are few.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.program.shape {
            Shape::Words(words) => Some(words),
            _ => None,
        }
    }

    /// What every matching text starts with, if anything.
    pub fn prefix(&self) -> Option<&str> {
        match &self.program.shape {
            Shape::Around { prefix, .. } | Shape::General { prefix } if !prefix.is_empty() => Some(prefix),
            _ => None,
        }
    }

    /// What the pattern is, where it is something simple.
    pub fn shape(&self) -> &Shape {
        &self.program.shape
    }

    /// The pattern as a table of states, anchored at both ends, for walks over sorted values. `None` where it would be
    /// too large, or asks what kind of character stands before a place
    /// (`\b` does).
    ///
    /// A match shows at the end of the text only: [`next_eoi_state`](regex_automata::dfa::Automaton::next_eoi_state).
    pub fn automaton(&self) -> Option<&dense::DFA<Vec<u32>>> {
        let build = || {
            let config = dense::Config::new()
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(AUTOMATON_BYTES_MAX));
            dense::Builder::new().configure(config).build(self.program.regex.as_str()).ok()
        };
        self.program.automaton.get_or_init(build).as_ref()
    }

    /// The compiled expression, for captures.
    pub fn regex(&self) -> &Regex {
        &self.program.regex
    }
}

fn shape_of(tree: &Hir) -> Shape {
    let tree = without_captures(tree);
    let mut parts: Vec<&Hir> = match tree.kind() {
        HirKind::Concat(parts) => parts.iter().collect(),
        _ => vec![&tree],
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
fn without_captures(tree: &Hir) -> Hir {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(text: &str) -> Shape {
        Pattern::new(text).unwrap().program.shape.clone()
    }

    #[test]
    fn pattern_of_words_is_expanded() {
        let words = |words: &[&str]| Shape::Words(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(shape(""), words(&[""]));
        assert_eq!(shape("b|a|"), words(&["", "a", "b"]));
        assert_eq!(shape("^(node-(1|2)|x)$"), words(&["node-1", "node-2", "x"]));
        assert_eq!(shape("5.."), Shape::General { prefix: "5".into() });
        assert_eq!(shape("(?i)ab"), words(&["AB", "Ab", "aB", "ab"]));
        assert_eq!(shape("colou?r"), words(&["color", "colour"]));
    }

    #[test]
    fn pattern_of_too_many_or_too_long_words_is_not_expanded() {
        let list = |count: usize| (0..count).map(|number| format!("pod-{number:05}")).collect::<Vec<_>>().join("|");
        assert!(matches!(shape(&list(WORDS_MAX)), Shape::Words(words) if words.len() == WORDS_MAX));
        assert!(matches!(shape(&list(WORDS_MAX + 1)), Shape::General { .. }));
        let long = "x".repeat(20_000);
        assert!(matches!(shape(&format!("[0-9]{long}")), Shape::Words(_)));
        assert!(matches!(shape(&format!("[0-9][0-9]{long}")), Shape::General { .. }));
        assert!(matches!(shape(&format!("(?:[0-9]{long}|[a-z]{long}|[A-Z]{long})")), Shape::General { .. }));
    }

    #[test]
    fn pattern_around_anything_is_recognised() {
        let around =
            |prefix: &str, more, suffix: &str| Shape::Around { prefix: prefix.into(), more, suffix: suffix.into() };
        assert_eq!(shape(".*"), around("", 0, ""));
        assert_eq!(shape(".+"), around("", 1, ""));
        assert_eq!(shape("(?:pod-)(.*)"), around("pod-", 0, ""));
        assert_eq!(shape(".+foo"), around("", 1, "foo"));
        assert_eq!(shape("a.*a"), around("a", 0, "a"));
        assert_eq!(shape(".*foo.*"), Shape::Contains("foo".into()));
        assert_eq!(shape("(?-s).*"), Shape::General { prefix: String::new() });
    }

    #[test]
    fn pattern_that_breaks_out_of_its_group_is_refused() {
        assert!(matches!(Pattern::new("a)|(b"), Err(PatternError::Syntax(_))));
    }

    #[test]
    fn pattern_past_a_bound_is_refused() {
        assert!(matches!(Pattern::new(&"a".repeat(100_000)), Err(PatternError::TooLarge { .. })));
        assert!(matches!(Pattern::new("(a{1000}){1000}"), Err(PatternError::TooLarge { .. })));
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("a"),
            Just("b"),
            Just("ab"),
            Just("é"),
            Just("."),
            Just(".*"),
            Just(".+"),
            Just("[ab]"),
            Just("^"),
            Just("$"),
            Just(""),
            Just("\\n"),
            Just("(?i:aB)"),
            Just(".*?"),
            Just("\\b"),
            Just("(?-s:.)")
        ]
        .prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
                inner.clone().prop_map(|part| format!("(?:{part})?")),
                inner.prop_map(|part| format!("({part})*")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn prop_shape_means_what_the_expression_means(
            expression in expression(),
            texts in prop::collection::vec("[abAB\né]{0,5}", 8),
        ) {
            let pattern = Pattern::new(&expression).unwrap();
            for text in &texts {
                let expected = pattern.regex().is_match(text);
                prop_assert_eq!(pattern.is_match(text), expected, "{} on {:?}", expression, text);
                if expected {
                    prop_assert!(text.starts_with(pattern.prefix().unwrap_or("")));
                }
                if let Some(words) = pattern.set_matches() {
                    prop_assert_eq!(words.contains(text), expected);
                }
            }
        }
    }
}
