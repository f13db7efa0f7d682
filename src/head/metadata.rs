//! Type, help and unit of metrics, as senders state them. Kept in memory, bounded, and stated anew by senders every
//! minute or so, so not logged; a log that Prometheus wrote is read for it. It goes when truncation removes the last
//! series of the family.

use std::collections::BTreeMap;

use super::{Head, Shared};
use crate::model::MetricType;

/// What is known about a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataEntry {
    /// The metric's type.
    pub metric_type: MetricType,
    /// Its description.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// Metadata by metric family name.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: BTreeMap<String, MetadataEntry>,
}

/// What the names of a family's series have behind its own.
const SUFFIXES: [&str; 7] = ["", "_bucket", "_count", "_sum", "_total", "_created", "_info"];

/// The families that a metric's name may belong to.
pub(super) fn families_of(name: &str) -> impl Iterator<Item = &str> {
    SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix))
}

/// The names that the series of a family may have.
pub(super) fn names_of(family: &str) -> impl Iterator<Item = String> {
    SUFFIXES.iter().map(move |suffix| format!("{family}{suffix}"))
}

impl Metadata {
    /// Forgets some families.
    pub(super) fn forget(&mut self, families: &[&str]) {
        for family in families {
            self.entries.remove(*family);
        }
    }
}

/// Longest text of a help or unit that is kept; the rest is cut.
const TEXT_BYTES_MAX: usize = 4096;

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

impl Head {
    /// Remembers what a sender states about a metric family. Says whether there was room for it.
    pub fn set_metadata(&self, metric_family: &str, entry: MetadataEntry) -> bool {
        self.shared.set_metadata(metric_family, entry)
    }

    /// Metadata of all metric families, or of one, by name.
    pub fn metadata(&self, metric_family: Option<&str>) -> Vec<(String, MetadataEntry)> {
        let metadata = self.shared.metadata();
        let owned = |(name, entry): (&String, &MetadataEntry)| (name.clone(), entry.clone());
        match metric_family {
            Some(name) => metadata.entries.get_key_value(name).map(owned).into_iter().collect(),
            None => metadata.entries.iter().map(owned).collect(),
        }
    }
}

impl Shared {
    /// As [`Head::set_metadata`].
    pub(super) fn set_metadata(&self, metric_family: &str, entry: MetadataEntry) -> bool {
        let mut metadata = self.metadata();
        if let Some(known) = metadata.entries.get_mut(metric_family) {
            if *known != entry {
                *known = MetadataEntry { help: cut(entry.help), unit: cut(entry.unit), ..entry };
            }
            return true;
        }
        let fits = metadata.entries.len() < self.options.metadata_max
            && metric_family.len() <= self.options.label_value_bytes_max;
        if fits {
            let entry = MetadataEntry { help: cut(entry.help), unit: cut(entry.unit), ..entry };
            metadata.entries.insert(metric_family.to_owned(), entry);
        }
        fits
    }
}
