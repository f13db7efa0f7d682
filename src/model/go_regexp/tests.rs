//! The table of what Go's expressions mean, and the bounds.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::model::{Pattern, ReplacePattern};

#[derive(Deserialize)]
struct Table {
    matches: Vec<Match>,
    errors: Vec<Refusal>,
    replacements: Vec<Replacement>,
}

#[derive(Deserialize)]
struct Match {
    pattern: String,
    #[serde(default)]
    yes: Vec<String>,
    #[serde(default)]
    no: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    pattern: String,
    error: String,
}

#[derive(Deserialize)]
struct Replacement {
    pattern: String,
    value: String,
    template: String,
    expected: Option<String>,
}

fn table() -> Table {
    toml::from_str(include_str!("../../../testdata/regexp/go.toml")).unwrap()
}

#[test]
fn pattern_means_what_it_means_in_go() {
    for Match { pattern, yes, no } in table().matches {
        let compiled = Pattern::new(&pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for (texts, expected) in [(yes, true), (no, false)] {
            for text in texts {
                assert_eq!(compiled.is_match(&text), expected, "{pattern} on {text:?}");
            }
        }
    }
}

#[test]
fn pattern_that_go_refuses_is_refused_in_its_words() {
    for Refusal { pattern, error } in table().errors {
        let refused = Pattern::new(&pattern).expect_err(&pattern).to_string();
        assert_eq!(refused, format!("error parsing regexp: {error}"), "{pattern}");
    }
}

#[test]
fn replacement_is_what_it_is_in_go() {
    for Replacement { pattern, value, template, expected } in table().replacements {
        let compiled = ReplacePattern::new(&pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(compiled.replace(&value, &template, 1000), Ok(expected), "{pattern} {value} {template}");
    }
}

#[test]
fn pattern_that_is_nested_a_thousand_times_is_the_deepest() {
    let nested = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Pattern::new(&nested(999)).unwrap().is_match("a"));
    assert!(ReplacePattern::new(&nested(900)).unwrap().replace("a", "$900", 10) == Ok(Some("a".to_owned())));
    let refused = Pattern::new(&nested(1000)).unwrap_err().to_string();
    assert!(refused.starts_with("error parsing regexp: expression nests too deeply: `((("), "{refused:.100}");
    // A group that captures nothing is no level.
    let nested = format!("{}a{}", "(?:".repeat(10_000), ")".repeat(10_000));
    assert!(Pattern::new(&nested).unwrap().is_match("a"));
}

#[test]
fn hostile_pattern_is_refused_or_compiled_in_bounded_time() {
    let hostile = [
        "((((a{30}){30}))*".repeat(1000),
        "(".repeat(64_000),
        "(?:".repeat(21_000),
        format!("{}{}", "(?:x*|".repeat(9000), ")".repeat(9000)),
        format!("{}{}", "(?:".repeat(9000), "x.)".repeat(9000)),
        r"\pL".repeat(21_000),
        format!("(?i){}", r"[\x00-\x{10ffff}]".repeat(3800)),
        format!("(?i){}", r"\PL".repeat(21_000)),
        format!("[{}]", "a-c".repeat(21_000)),
        format!("(?i)[{}]", r"\pL".repeat(21_000)),
        format!("(?:{}){{1000}}", "ab".repeat(30_000)),
        r"(\pL{1000})".to_owned(),
        "(?:(?:x?){30}){30}".to_owned(),
        "(x+x+)+y".to_owned(),
        format!(".*{}", "(a|b)?".repeat(10_000)),
        "[a-z]{1,1000}.*".repeat(8),
        "(.*){1000}(.*){1000}".to_owned(),
        "{".repeat(64_000),
        "[[:".repeat(21_000),
        "[[:a]".repeat(12_000),
        format!("{}a:]", "[[:a]".repeat(12_000)),
    ];
    for pattern in hostile {
        let began = Instant::now();
        if let Ok(pattern) = Pattern::new(&pattern) {
            pattern.is_match(&"x".repeat(1000));
            pattern.automaton();
        }
        let took = began.elapsed();
        // Far more than a build without optimisation takes.
        assert!(took < Duration::from_secs(20), "{took:?}: {pattern:.60}");
    }
}
