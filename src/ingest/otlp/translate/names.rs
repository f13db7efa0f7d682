//! Names of metrics.
//!
//! Source: OpenTelemetry's "Prometheus and OpenMetrics Compatibility"; prometheus/otlptranslator v1.0.0
//! (`metric_namer.go`). One place differs: where a suffix that is there already is taken off to be put on again, the
//! character before it goes with it as a whole, not only its last byte.

use super::options::TranslationStrategy;
use super::units::{cleaned, words};

/// What a metric's name depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values as they are now.
    Gauge,
    /// A sum that only rises.
    Counter,
    /// Anything else.
    Other,
}

/// The name of a metric, or why it can have none.
pub(super) fn metric_name(strategy: TranslationStrategy, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
    let built = match (strategy.escapes(), strategy.adds_suffixes()) {
        (true, true) => escaped_with_suffixes(name, unit, kind),
        (true, false) => escaped(name),
        (false, true) => with_suffixes(name, unit, kind),
        (false, false) => name.to_owned(),
    };
    if built.is_empty() {
        return Err(if name.is_empty() {
            "metric has no name".to_owned()
        } else {
            format!("nothing of the metric name {name:?} can be in a name")
        });
    }
    if strategy.escapes() && built != name && built.bytes().all(|byte| byte == b'_') {
        return Err(format!("the metric name {name:?} would become {built:?}"));
    }
    Ok(built)
}

/// Characters of a name but for underscores.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn no_digit_first(name: String) -> String {
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// One underscore for other characters between those that can stay.
fn escaped(name: &str) -> String {
    let parts: Vec<&str> = name.split(|c: char| !is_plain(c) && c != '_').filter(|part| !part.is_empty()).collect();
    no_digit_first(parts.join("_"))
}

/// The words of the name, then those of the unit that it lacks, then that of the type at the end.
fn escaped_with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<&str> = name.split(|c: char| !is_plain(c)).filter(|part| !part.is_empty()).collect();
    let (main, per) = words(unit);
    let (main, per) = (cleaned(main), cleaned(&per));
    let has = |tokens: &[&str], token: &str| token.is_empty() || tokens.contains(&token);
    let main = if has(&tokens, &main) { "" } else { &main };
    // A "per" with nothing behind it is none.
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if has(&tokens, per) { "" } else { per };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    tokens.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let mut last = |word: &'static str| {
        tokens.retain(|token| *token != word);
        tokens.push(word);
    };
    match kind {
        Kind::Counter => last("total"),
        // Counters of things have this unit too, though they are no ratios.
        Kind::Gauge if unit == "1" => last("ratio"),
        Kind::Gauge | Kind::Other => {}
    }
    no_digit_first(tokens.join("_"))
}

/// The name as it is, with the words of unit and type at its end, once each.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let (main, per) = words(unit);
    let last = match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        Kind::Gauge | Kind::Other => "",
    };
    let mut out = without(without(name, last), &per).to_owned();
    if !main.is_empty() && !out.ends_with(main) {
        out = out + "_" + main;
    }
    for suffix in [&per, last] {
        if !suffix.is_empty() {
            out = out + "_" + suffix;
        }
    }
    out
}

/// A name without a suffix and the character before it. A name that would be empty stays.
fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
    if suffix.is_empty() {
        return name;
    }
    let Some(stem) = name.strip_suffix(suffix) else { return name };
    let mut chars = stem.chars();
    chars.next_back();
    let rest = chars.as_str();
    if rest.is_empty() { name } else { rest }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
