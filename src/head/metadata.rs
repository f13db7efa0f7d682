//! Type, help and unit of metric families, as senders state them: bounded, logged by the families' names whenever they
//! change, and replayed. A log that Prometheus wrote is read for it too. What is known of a family goes when truncation
//! removes the last series of it, or finds none and nobody has stated it since the truncation before.

use std::collections::BTreeMap;

use super::records::RecordBuffers;
use super::{Head, Shared};
use crate::model::MetricType;
use crate::wal::record::{self, FamilyMetadata};

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

#[derive(Debug, Clone)]
struct Stated {
    entry: MetadataEntry,
    /// Whether somebody stated it since the latest truncation.
    is_fresh: bool,
}

/// Metadata by metric family name, with the log records of what changed since the last group.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    entries: BTreeMap<String, Stated>,
    pub(super) records: RecordBuffers,
}

/// What the names of a family's series have behind its own.
const SUFFIXES: [&str; 9] = ["", "_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum"];

/// The families that a metric's name may belong to.
pub(super) fn families_of(name: &str) -> impl Iterator<Item = &str> {
    SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix))
}

/// The names that the series of a family may have.
pub(super) fn names_of(family: &str) -> impl Iterator<Item = String> {
    SUFFIXES.iter().map(move |suffix| format!("{family}{suffix}"))
}

/// The family of a series that is of this type. Only the names of distributions have more than the family's name.
pub(super) fn family_of(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram => &["_bucket", "_count", "_sum"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

impl Metadata {
    /// Forgets some families.
    pub(super) fn forget<'a>(&mut self, families: impl IntoIterator<Item = &'a str>) {
        for family in families {
            self.entries.remove(family);
        }
    }

    /// The families that nobody has stated since this was asked the last time.
    pub(super) fn take_stale(&mut self) -> Vec<String> {
        let was_fresh = |stated: &mut Stated| std::mem::take(&mut stated.is_fresh);
        self.entries.iter_mut().filter_map(|(name, stated)| (!was_fresh(stated)).then(|| name.clone())).collect()
    }

    /// Remembers what is known of a family. Says whether that is news.
    fn set(&mut self, family: &str, entry: MetadataEntry, bounds: Bounds) -> bool {
        let entry = MetadataEntry { help: cut(entry.help), unit: cut(entry.unit), ..entry };
        if let Some(known) = self.entries.get_mut(family) {
            known.is_fresh = true;
            let is_news = known.entry != entry;
            known.entry = entry;
            return is_news;
        }
        let fits = self.entries.len() < bounds.families && family.len() <= bounds.name_bytes;
        if fits {
            self.entries.insert(family.to_owned(), Stated { entry, is_fresh: true });
        }
        fits
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    families: usize,
    name_bytes: usize,
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
    /// Remembers what a sender states about metric families, as far as there is room; senders repeat it. Says whether
    /// something has to be logged: the caller has been admitted to the current group of the log.
    pub fn set_metadata(&self, metadata: Vec<(&str, MetadataEntry)>) -> bool {
        let bounds = self.shared.metadata_bounds();
        let mut known = self.shared.metadata();
        let mut is_news = false;
        for (family, entry) in metadata {
            let MetadataEntry { metric_type, help, unit } = entry.clone();
            if known.set(family, entry, bounds) {
                let (unit, help) = (cut(unit), cut(help));
                let stated = FamilyMetadata { family, metric_type, unit: &unit, help: &help };
                record::push_family(&mut known.records.current, stated);
                known.records.close_if_long();
                is_news = true;
            }
        }
        is_news
    }

    /// Metadata of all metric families, or of one, by name.
    pub fn metadata(&self, metric_family: Option<&str>) -> Vec<(String, MetadataEntry)> {
        let metadata = self.shared.metadata();
        let owned = |(name, stated): (&String, &Stated)| (name.clone(), stated.entry.clone());
        match metric_family {
            Some(name) => metadata.entries.get_key_value(name).map(owned).into_iter().collect(),
            None => metadata.entries.iter().map(owned).collect(),
        }
    }
}

impl Shared {
    fn metadata_bounds(&self) -> Bounds {
        Bounds { families: self.options.metadata_max, name_bytes: self.options.label_value_bytes_max }
    }

    /// Takes what the log says of a family.
    pub(super) fn replay_metadata(&self, metric_family: &str, entry: MetadataEntry) {
        let bounds = self.metadata_bounds();
        // What there was no room for was not logged.
        let _is_news = self.metadata().set(metric_family, entry, bounds);
    }
}
