//! `otlp.*`: OpenTelemetry's protocol.

use std::time::Duration;

use super::features::Features;
use crate::ingest::otlp::translate::{DeltaLimits, DeltaMode, Promotion, TranslateOptions, TranslationStrategy};

/// `otlp.*`: where it is served, and how it is translated.
#[derive(Debug, Clone, Default)]
pub struct OtlpConfig {
    /// Where it is served over gRPC; empty for nowhere.
    pub grpc_listen: String,
    /// Where it is served over HTTP; empty for nowhere.
    pub http_listen: String,
    /// How names are made.
    pub translation_strategy: TranslationStrategy,
    /// Attributes of resources that become labels.
    pub promote_resource_attributes: Vec<String>,
    /// Whether all of them do.
    pub promote_all_resource_attributes: bool,
    /// All but these.
    pub ignore_resource_attributes: Vec<String>,
    /// Whether `target_info` has the attributes that `job` and `instance` are made of.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with explicit boundaries become native ones.
    pub convert_histograms_to_nhcb: bool,
    /// Whether scopes become labels.
    pub promote_scope_metadata: bool,
    /// Whether label names that begin with one underscore get `key` before it.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores in a row stay in label names.
    pub label_name_preserve_multiple_underscores: bool,
    /// What becomes of deltas.
    pub deltas: DeltaMode,
    /// Series whose deltas are added up at once.
    pub delta_max_streams: usize,
    /// How long such a series may send nothing.
    pub delta_max_stale: Duration,
}

/// What becomes of deltas, as it is written.
const DELTA_MODES: [(&str, DeltaMode); 3] =
    [("refuse", DeltaMode::Refuse), ("to-cumulative", DeltaMode::ToCumulative), ("native", DeltaMode::Native)];

/// Prometheus' features that say the same.
const DELTA_FEATURES: [(&str, DeltaMode); 2] =
    [("otlp-deltatocumulative", DeltaMode::ToCumulative), ("otlp-native-delta-ingestion", DeltaMode::Native)];

/// Reads names with commas between them, a TOML array of texts, or `none`. None is there twice.
pub(super) fn parse_names(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text == "none" || text.is_empty() {
        return Some(Vec::new());
    }
    let names: Vec<String> = if text.starts_with('[') {
        let table: toml::Table = format!("names = {text}").parse().ok()?;
        let names = table.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(|name| name.trim().to_owned())).collect::<Option<_>>()?
    } else {
        text.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let is_good = |(index, name): (usize, &String)| !name.is_empty() && !names.iter().take(index).any(|n| n == name);
    names.iter().enumerate().all(is_good).then_some(names)
}

/// Names as they would be written.
pub(super) fn show_names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

pub(super) fn parse_strategy(text: &str) -> Option<TranslationStrategy> {
    TranslationStrategy::ALL.into_iter().find(|strategy| strategy.as_str() == text.trim())
}

pub(super) fn parse_deltas(text: &str) -> Option<DeltaMode> {
    DELTA_MODES.iter().find(|(name, _)| *name == text.trim()).map(|(_, mode)| *mode)
}

pub(super) fn show_deltas(mode: DeltaMode) -> String {
    DELTA_MODES.iter().find(|(_, other)| *other == mode).map_or("", |(name, _)| *name).to_owned()
}

impl OtlpConfig {
    /// Keys that contradict each other, and how.
    pub(super) fn contradiction(&self, features: &Features) -> Option<(&'static str, &'static str)> {
        let asked: Vec<DeltaMode> = self.deltas_asked(features).collect();
        if self.promote_all_resource_attributes && !self.promote_resource_attributes.is_empty() {
            return Some(("otlp.promote_resource_attributes", "goes without otlp.promote_all_resource_attributes"));
        }
        if !self.promote_all_resource_attributes && !self.ignore_resource_attributes.is_empty() {
            return Some(("otlp.ignore_resource_attributes", "needs otlp.promote_all_resource_attributes"));
        }
        if asked.windows(2).any(|pair| pair[0] != pair[1]) {
            return Some(("otlp.deltas", "and enable_feature ask for different things"));
        }
        None
    }

    fn deltas_asked(&self, features: &Features) -> impl Iterator<Item = DeltaMode> {
        let own = Some(self.deltas).filter(|mode| *mode != DeltaMode::Refuse);
        let of_features = DELTA_FEATURES.map(|(name, mode)| features.is_on(name).then_some(mode));
        own.into_iter().chain(of_features.into_iter().flatten())
    }

    /// How OTLP is translated. What features say, and what queries look back, is the caller's to add.
    pub fn translate_options(&self, features: &Features) -> TranslateOptions {
        let promotion = if self.promote_all_resource_attributes {
            Promotion::AllBut(self.ignore_resource_attributes.clone())
        } else {
            Promotion::Only(self.promote_resource_attributes.clone())
        };
        TranslateOptions {
            strategy: self.translation_strategy,
            promotion,
            keep_identifying_resource_attributes: self.keep_identifying_resource_attributes,
            convert_histograms_to_nhcb: self.convert_histograms_to_nhcb,
            promote_scope_metadata: self.promote_scope_metadata,
            label_name_underscore_sanitization: self.label_name_underscore_sanitization,
            label_name_preserve_multiple_underscores: self.label_name_preserve_multiple_underscores,
            deltas: self.deltas_asked(features).next().unwrap_or_default(),
            ..TranslateOptions::default()
        }
    }

    /// Bounds of what is kept to add deltas up.
    pub fn delta_limits(&self) -> DeltaLimits {
        let stale_ms = i64::try_from(self.delta_max_stale.as_millis()).unwrap_or(i64::MAX);
        DeltaLimits { streams: self.delta_max_streams, stale_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_read_from_texts_and_arrays_and_shown_as_texts() {
        for text in ["a.b, c", "a.b,c", r#"["a.b", " c "]"#] {
            assert_eq!(parse_names(text), Some(names(&["a.b", "c"])), "{text}");
        }
        for text in ["", "none", "[]"] {
            assert_eq!(parse_names(text), Some(Vec::new()), "{text}");
        }
        for text in ["a,,b", "a,a", r#"["a", ""]"#, "[1]", "[a]", r#"["a"], x = 1"#] {
            assert_eq!(parse_names(text), None, "{text}");
        }
        assert_eq!(show_names(&names(&["a.b", "c"])), "a.b,c");
        assert_eq!(show_names(&[]), "none");
    }

    #[test]
    fn deltas_are_what_the_key_or_a_feature_says_and_not_both() {
        for (text, feature, expected) in [
            ("refuse", "none", Some(DeltaMode::Refuse)),
            ("native", "none", Some(DeltaMode::Native)),
            ("refuse", "otlp-deltatocumulative", Some(DeltaMode::ToCumulative)),
            ("to-cumulative", "otlp-deltatocumulative", Some(DeltaMode::ToCumulative)),
            ("native", "otlp-deltatocumulative", None),
            ("refuse", "otlp-deltatocumulative,otlp-native-delta-ingestion", None),
        ] {
            let config = OtlpConfig { deltas: parse_deltas(text).unwrap(), ..OtlpConfig::default() };
            let features = Features::parse(feature).unwrap();
            assert_eq!(config.contradiction(&features).is_none(), expected.is_some(), "{text} {feature}");
            if let Some(expected) = expected {
                assert_eq!(config.translate_options(&features).deltas, expected);
            }
        }
    }

    #[test]
    fn lists_of_attributes_that_mean_nothing_are_contradictions() {
        let all = OtlpConfig { promote_all_resource_attributes: true, ..OtlpConfig::default() };
        let ignoring = OtlpConfig { ignore_resource_attributes: names(&["a"]), ..all.clone() };
        assert_eq!(ignoring.contradiction(&Features::default()), None);
        let promotion = ignoring.translate_options(&Features::default()).promotion;
        assert_eq!(promotion, Promotion::AllBut(names(&["a"])));
        for config in [
            OtlpConfig { promote_resource_attributes: names(&["a"]), ..all },
            OtlpConfig { ignore_resource_attributes: names(&["a"]), ..OtlpConfig::default() },
        ] {
            assert!(config.contradiction(&Features::default()).is_some());
        }
    }
}
