//! Prometheus' feature switches.
//!
//! Source: Prometheus 3.14 `cmd/prometheus/main.go` (`--enable-feature`).

use std::fmt;

use crate::ingest::WriteFeatures;
use crate::promql::engine::EngineOptions;

/// What each switch does to the engine, and to what is made of writes.
type Set = fn(&mut EngineOptions, &mut WriteFeatures);

/// The switches that do something here.
const SWITCHES: [(&str, Set); 7] = [
    ("promql-experimental-functions", |engine, _| engine.language.experimental_functions = true),
    ("promql-extended-range-selectors", |engine, _| engine.language.extended_range_selectors = true),
    ("promql-binop-fill-modifiers", |engine, _| engine.language.binop_fill_modifiers = true),
    ("promql-delayed-name-removal", |engine, _| engine.delayed_name_removal = true),
    ("type-and-unit-labels", |engine, write| {
        engine.type_and_unit_labels = true;
        write.type_and_unit_labels = true;
    }),
    ("use-start-timestamps", |engine, _| engine.start_timestamps = true),
    ("created-timestamp-zero-ingestion", |_, write| write.start_zeros = true),
];

/// Those that do nothing here: what they switch on is always on, or is not part of this program.
const WITHOUT_EFFECT: [&str; 21] = [
    "auto-reload-config",
    "concurrent-rule-eval",
    "delayed-compaction",
    "exemplar-storage",
    "extra-scrape-metrics",
    "fast-startup",
    "histograms-st-encoding",
    "memory-snapshot-on-shutdown",
    "metadata-wal-records",
    "native-histograms",
    "old-ui",
    "ooo-native-histograms",
    "promql-at-modifier",
    "promql-duration-expr",
    "promql-negative-offset",
    "promql-per-step-stats",
    "search-api",
    "st-storage",
    "st-synthesis",
    "use-uncached-io",
    "xor2-encoding",
];

/// Those that a key of the configuration says as well.
const OF_KEYS: [&str; 2] = ["otlp-deltatocumulative", "otlp-native-delta-ingestion"];

/// The list without a name.
const NONE: &str = "none";

/// The features that are switched on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// Names, in the order in which they were given.
    on: Vec<&'static str>,
}

impl Features {
    /// Reads names with commas between them, or `none`; gives nothing where one is no feature.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut on = Vec::new();
        let text = if text.trim() == NONE { "" } else { text };
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let mut all = SWITCHES.iter().map(|(name, _)| *name).chain(OF_KEYS).chain(WITHOUT_EFFECT);
            let known = all.find(|known| *known == name)?;
            if !on.contains(&known) {
                on.push(known);
            }
        }
        Some(Features { on })
    }

    /// Whether the feature of this name is switched on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.on.contains(&name)
    }

    /// Switches them on.
    pub fn apply(&self, engine: &mut EngineOptions, write: &mut WriteFeatures) {
        for (name, set) in SWITCHES {
            if self.on.contains(&name) {
                set(engine, write);
            }
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.on.is_empty() { f.write_str(NONE) } else { f.write_str(&self.on.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_that_is_named_is_switched_on_and_no_other() {
        for (name, _) in SWITCHES {
            let features = Features::parse(name).unwrap();
            let mut engine = EngineOptions::default();
            let mut write = WriteFeatures::default();
            features.apply(&mut engine, &mut write);
            let on = [
                engine.language.experimental_functions,
                engine.language.extended_range_selectors,
                engine.language.binop_fill_modifiers,
                engine.delayed_name_removal,
                engine.type_and_unit_labels,
                engine.start_timestamps,
                write.start_zeros,
            ];
            let expected = SWITCHES.map(|(other, _)| other == name);
            assert_eq!(on, expected, "{name}");
            assert_eq!(write.type_and_unit_labels, engine.type_and_unit_labels, "{name}");
        }
    }

    #[test]
    fn list_of_features_is_shown_as_it_was_read() {
        let text = " use-start-timestamps, native-histograms,,use-start-timestamps";
        assert_eq!(Features::parse(text).unwrap().to_string(), "use-start-timestamps,native-histograms");
        for empty in ["", "none", " , "] {
            assert_eq!(Features::parse(empty).unwrap().to_string(), "none");
        }
        assert_eq!(Features::parse("promql-experimental-functions,no-such-feature"), None);
    }
}
