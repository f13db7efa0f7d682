//! What an operator chooses about the translation. Names and meanings are those of Prometheus' `otlp` section.

use super::label_names::LabelNaming;
use crate::ingest::accept::WriteFeatures;

/// How names of metrics and labels are made from those of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TranslationStrategy {
    /// Letters, digits, underscores and colons alone; units and types are appended to the names of metrics.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names stay as they are; units and types are appended to those of metrics.
    NoUtf8EscapingWithSuffixes,
    /// Letters, digits, underscores and colons alone, and nothing appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl TranslationStrategy {
    /// Every strategy.
    pub const ALL: [TranslationStrategy; 4] = [
        TranslationStrategy::UnderscoreEscapingWithSuffixes,
        TranslationStrategy::NoUtf8EscapingWithSuffixes,
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
        TranslationStrategy::NoTranslation,
    ];

    /// The strategy as a configuration names it.
    pub fn as_str(self) -> &'static str {
        match self {
            TranslationStrategy::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            TranslationStrategy::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            TranslationStrategy::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            TranslationStrategy::NoTranslation => "NoTranslation",
        }
    }

    /// Whether characters that Prometheus' old rules for names do not know become underscores.
    pub fn escapes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether units and types are appended to the names of metrics.
    pub fn adds_suffixes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes | TranslationStrategy::NoUtf8EscapingWithSuffixes
        )
    }
}

/// Which attributes of a resource become labels of each of its series. All of them are labels of `target_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promotion {
    /// Those with these names.
    Only(Vec<String>),
    /// All but those with these names.
    AllBut(Vec<String>),
}

impl Default for Promotion {
    fn default() -> Self {
        Promotion::Only(Vec::new())
    }
}

impl Promotion {
    /// Whether the attribute of this name becomes a label.
    pub fn takes(&self, attribute: &str) -> bool {
        match self {
            Promotion::Only(names) => names.iter().any(|name| name == attribute),
            Promotion::AllBut(names) => !names.iter().any(|name| name == attribute),
        }
    }
}

/// What becomes of points that count from the last point, not from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeltaMode {
    /// They are refused.
    #[default]
    Refuse,
    /// They are added up.
    ToCumulative,
    /// They are stored as they are, and their type is unknown.
    Native,
}

/// How OTLP is translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslateOptions {
    /// How names are made.
    pub strategy: TranslationStrategy,
    /// What of a resource becomes labels.
    pub promotion: Promotion,
    /// Whether `target_info` has `service.name`, `service.namespace` and `service.instance.id` as labels beside `job`
    /// and `instance`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with explicit boundaries become native histograms with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Whether each series has labels that say which instrumentation scope it is of.
    pub promote_scope_metadata: bool,
    /// Whether a label name that begins with one underscore gets `key` before it.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores in a row stay in label names.
    pub label_name_preserve_multiple_underscores: bool,
    /// What becomes of deltas.
    pub deltas: DeltaMode,
    /// What is made of types, units and start times.
    pub features: WriteFeatures,
    /// How old a sample may be to count in a query: half of it lies between two samples of `target_info`.
    pub lookback_ms: i64,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        TranslateOptions {
            strategy: TranslationStrategy::default(),
            promotion: Promotion::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
            deltas: DeltaMode::default(),
            features: WriteFeatures::default(),
            lookback_ms: 5 * 60 * 1000,
        }
    }
}

impl TranslateOptions {
    /// How the names of labels are made.
    pub(super) fn label_naming(&self) -> LabelNaming {
        LabelNaming {
            escapes: self.strategy.escapes(),
            key_before_underscore: self.label_name_underscore_sanitization,
            keep_underscores: self.label_name_preserve_multiple_underscores,
        }
    }
}

/// How much one request may become.
#[derive(Debug, Clone, Copy)]
pub struct TranslateLimits {
    /// Series entries.
    pub series: usize,
    /// Samples, a native histogram counted as some and one for each of its buckets; the same number of exemplars.
    pub samples: usize,
    /// Bytes of all labels: a histogram repeats those of its point for each bucket.
    pub label_bytes: usize,
}

impl Default for TranslateLimits {
    fn default() -> Self {
        TranslateLimits { series: 1_000_000, samples: 4_000_000, label_bytes: 256 << 20 }
    }
}
