//! The reference of all keys as Markdown: `chronolith config reference`, and the part of `docs/configuration.md` that is
//! made by it.

use std::fmt::Write as _;

use super::keys::{KEYS, Key};

/// Sections in the order of the keys, each with what it is about.
const SECTIONS: &[(&str, &str)] = &[
    ("", "Where everything is, and switches"),
    ("otlp", "What comes of OpenTelemetry's metrics"),
    ("wal", "The write-ahead log"),
    ("head", "What is in memory"),
    ("retention", "What is kept"),
    ("storage", "The disk"),
    ("query", "What queries may take"),
    ("limits", "What writes may take"),
    ("web", "Connections, users and switches of the server"),
];

/// All keys, each with what it does, what it takes, its default, and an example for file, environment and flag.
pub fn markdown() -> String {
    let mut out = String::new();
    for (section, title) in SECTIONS {
        let heading = if section.is_empty() { String::new() } else { format!("`{section}`: ") };
        // Writing to a String cannot fail.
        let _ = write!(out, "## {heading}{title}\n\n");
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            describe(&mut out, key);
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn describe(out: &mut String, key: &Key) {
    let Key { name, default, example, allowed, help, .. } = key;
    let unit = key.unit().map_or_else(String::new, |unit| format!(" Unit: {unit}."));
    // Writing to a String cannot fail.
    let _ = write!(out, "### `{name}`\n\n{help}\n\nTakes {allowed}.{unit} Default: `{default}`.\n\n");
    let _ = write!(out, "```toml\n{name} = {}\n```\n\n", toml_value(example));
    let _ = write!(out, "Environment: `{}={example}`, flag: `--{} {example}`.\n\n", key.env(), key.flag());
}

/// A value as it stands in the file: texts in quotes, numbers and switches as they are.
fn toml_value(value: &str) -> String {
    let is_bare = value == "true" || value == "false" || value.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { value.to_owned() } else { format!("{value:?}") }
}
