//! Shapes mean what expressions mean; bounds hold.

use proptest::prelude::*;

use super::shape::WORDS_MAX;
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
fn pattern_given_as_words_matches_these_however_many_there_are() {
    let words: BTreeSet<String> = (0..=WORDS_MAX).map(|number| format!("w.{number}")).collect();
    let pattern = Pattern::of_words(words.clone());
    assert!(words.iter().all(|word| pattern.is_match(word)));
    assert!(!pattern.is_match("w") && !pattern.is_match("wx1") && !pattern.is_match(""));
    assert_eq!(pattern.set_matches().map(<[String]>::len), Some(WORDS_MAX + 1));
    assert!(pattern.automaton().is_none());
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
    assert!(matches!(Pattern::new(r"\pL{1000}"), Err(PatternError::TooLarge { .. })));
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
            let expected = pattern.runs(text);
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
