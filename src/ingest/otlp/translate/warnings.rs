//! What was stored otherwise than its sender may think.

use std::collections::HashSet;

/// What a warning is about. The text is the label of the counter.
///
/// Source: Prometheus 3.14 `storage/remote/otlptranslator/prometheusremotewrite/annotations.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// A metric came without points.
    EmptyDataPoints,
    /// Several attributes became one label.
    LabelNameCollision,
    /// A histogram has a sum of no observations.
    HistogramZeroCountNonZeroSum,
    /// Anything else.
    Other,
}

impl Category {
    /// Every category, for the counters.
    pub const ALL: [Category; 4] = [
        Category::EmptyDataPoints,
        Category::LabelNameCollision,
        Category::HistogramZeroCountNonZeroSum,
        Category::Other,
    ];

    /// The category as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::EmptyDataPoints => "empty_data_points",
            Category::LabelNameCollision => "label_name_collision",
            Category::HistogramZeroCountNonZeroSum => "histogram_zero_count_non_zero_sum",
            Category::Other => "other",
        }
    }
}

/// Warnings that are kept in words.
const MESSAGES_KEPT: usize = 16;
/// Labels that are remembered as warned of.
const LABELS_KEPT: usize = 256;

/// The warnings of a request.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    /// How many, by [`Category`] in the order of [`Category::ALL`].
    pub counts: [u64; Category::ALL.len()],
    /// The first few, in words.
    pub messages: Vec<String>,
    labels: HashSet<String>,
}

impl Warnings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Counts a warning, and keeps it in words if there is room.
    pub(super) fn add(&mut self, category: Category, message: impl FnOnce() -> String) {
        self.counts[category as usize] += 1;
        if self.messages.len() < MESSAGES_KEPT {
            self.messages.push(message());
        }
    }

    /// Adds a warning about a label, unless there was one about it.
    pub(super) fn add_once(&mut self, category: Category, label: &str, message: impl FnOnce() -> String) {
        if self.labels.contains(label) {
            return;
        }
        if self.labels.len() < LABELS_KEPT {
            self.labels.insert(label.to_owned());
        }
        self.add(category, message);
    }
}
