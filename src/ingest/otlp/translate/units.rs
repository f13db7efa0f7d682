//! Units: what UCUM calls them, in the words that Prometheus appends to names.
//!
//! Source: OpenTelemetry's "Prometheus and OpenMetrics Compatibility"; prometheus/otlptranslator v1.0.0 (`unit_namer.go`,
//! `metric_namer.go`).

use std::borrow::Cow;

/// A unit's own word; one that has none stays as it is.
fn word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

/// The word for one of a unit, behind "per".
fn word_per(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// The words of a unit: `By/s` is `bytes` and `per_second`. Either may be empty. What stands in braces is a remark.
pub(super) fn words(unit: &str) -> (&str, Cow<'static, str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let [main, per] = [main, per].map(|part| if part.contains(['{', '}']) { "" } else { part.trim() });
    let per = match per {
        "" => Cow::Borrowed(""),
        "s" => Cow::Borrowed("per_second"),
        per => Cow::Owned(format!("per_{}", word_per(per))),
    };
    (word(main), per)
}

/// A unit's word with underscores for the characters that names can't have: one for several, none in front.
pub(super) fn cleaned(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    match out.strip_prefix('_') {
        Some(rest) => rest.to_owned(),
        None => out,
    }
}

/// A metric's unit as its metadata has it.
pub(super) fn unit_name(unit: &str) -> String {
    if unit.is_empty() {
        return String::new();
    }
    let (main, per) = words(unit);
    let (main, per) = (cleaned(main), cleaned(&per));
    let joined = if main.is_empty() || per.is_empty() { main + &per } else { format!("{main}_{per}") };
    let joined = joined.strip_prefix('_').unwrap_or(&joined);
    joined.strip_suffix('_').unwrap_or(joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_named_in_words_with_what_it_is_per() {
        for (unit, name) in [
            ("", ""),
            ("1", ""),
            ("s", "seconds"),
            (" ms ", "milliseconds"),
            ("By/s", "bytes_per_second"),
            ("1/s", "per_second"),
            ("m/s", "meters_per_second"),
            ("By/m", "bytes_per_minute"),
            ("{packet}", ""),
            ("{packet}/s", "per_second"),
            ("By/{packet}", "bytes"),
            ("unit@with#special/chars", "unit_with_special_per_chars"),
            ("unit__multiple__underscores", "unit_multiple_underscores"),
            ("__x__", "x"),
            ("a/b/c", "a_per_b_c"),
            ("%", "percent"),
            ("°F", "F"),
        ] {
            assert_eq!(unit_name(unit), name, "{unit}");
        }
    }
}
