//! Names of labels.
//!
//! Source: prometheus/otlptranslator v1.0.0 (`label_namer.go`, `strconv.go`).

use std::borrow::Cow;

/// How an attribute's name becomes a label's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LabelNaming {
    /// Whether all but letters, digits and underscores is replaced.
    pub(super) escapes: bool,
    /// Whether a name that begins with one underscore gets `key` before it.
    pub(super) key_before_underscore: bool,
    /// Whether several underscores in a row stay.
    pub(super) keep_underscores: bool,
}

impl LabelNaming {
    /// The label's name, or why there can be none.
    pub(super) fn name<'a>(self, attribute: &'a str) -> Result<Cow<'a, str>, String> {
        if attribute.is_empty() {
            return Err("an attribute has no name".to_owned());
        }
        if !self.escapes || self.stays(attribute) {
            return Ok(Cow::Borrowed(attribute));
        }
        let mut name = self.replaced(attribute);
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            name.insert_str(0, "key_");
        } else if self.key_before_underscore && name.starts_with('_') && !name.starts_with("__") {
            name.insert_str(0, "key");
        }
        if name.bytes().all(|byte| byte == b'_') {
            return Err(format!("the attribute name {attribute:?} would become the label name {name:?}"));
        }
        Ok(Cow::Owned(name))
    }

    /// Whether a name, as most do, needs no change and no closer look.
    fn stays(self, name: &str) -> bool {
        let bytes = name.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && (self.keep_underscores || !name.contains("__"))
    }

    fn replaced(self, name: &str) -> String {
        if self.keep_underscores {
            return name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        }
        // The underscores around a reserved name are not taken together.
        let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
        let around = if inner.is_some() { "__" } else { "" };
        let mut out = around.to_owned();
        let mut after_underscore = false;
        for c in inner.unwrap_or(name).chars() {
            if c.is_ascii_alphanumeric() {
                out.push(c);
            } else if !after_underscore {
                out.push('_');
            }
            after_underscore = !c.is_ascii_alphanumeric();
        }
        out + around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attribute, and the label with underscores taken together or kept, without and with `key` before an underscore.
    const CASES: &[(&str, [&str; 4])] = &[
        ("plain", ["plain"; 4]),
        ("http.method", ["http_method"; 4]),
        ("with:colons", ["with_colons"; 4]),
        (
            "Capital!and&(others)",
            ["Capital_and_others_", "Capital_and_others_", "Capital_and__others_", "Capital_and__others_"],
        ),
        (".foo", ["_foo", "key_foo", "_foo", "key_foo"]),
        ("123label", ["key_123label"; 4]),
        ("_one", ["_one", "key_one", "_one", "key_one"]),
        ("__two", ["_two", "key_two", "__two", "__two"]),
        ("a__b", ["a_b", "a_b", "a__b", "a__b"]),
        ("a.b__c&&d", ["a_b_c_d", "a_b_c_d", "a_b__c__d", "a_b__c__d"]),
        (
            "__reserved__label__",
            ["__reserved_label__", "__reserved_label__", "__reserved__label__", "__reserved__label__"],
        ),
        ("end___", ["end_", "end_", "end___", "end___"]),
        ("zahl_字符", ["zahl_", "zahl_", "zahl___", "zahl___"]),
    ];

    #[test]
    fn label_is_named_as_the_options_say() {
        for (attribute, expected) in CASES {
            let naming = [(false, false), (true, false), (false, true), (true, true)];
            for ((key_before_underscore, keep_underscores), expected) in naming.into_iter().zip(expected) {
                let naming = LabelNaming { escapes: true, key_before_underscore, keep_underscores };
                assert_eq!(naming.name(attribute).as_deref(), Ok(*expected), "{attribute:?}, {naming:?}");
            }
            let as_is = LabelNaming { escapes: false, key_before_underscore: true, keep_underscores: true };
            assert_eq!(as_is.name(attribute).as_deref(), Ok(*attribute));
        }
    }

    #[test]
    fn name_of_underscores_alone_or_of_nothing_is_refused() {
        for keep_underscores in [false, true] {
            let naming = LabelNaming { escapes: true, key_before_underscore: false, keep_underscores };
            for attribute in ["", "_", "__", "____", "ようこそ", ".."] {
                assert!(naming.name(attribute).is_err(), "{attribute:?}");
            }
        }
    }
}
