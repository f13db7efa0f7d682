//! What senders say about metric families: type, help, unit. Kept in memory, bounded, and lost with a restart, as a
//! sender repeats it every minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Families that are kept; later ones are not taken.
const FAMILIES_MAX: usize = 100_000;
/// Different descriptions of one family that are kept.
const ENTRIES_MAX: usize = 8;
/// Bytes of a name or text that are kept at most; longer ones are not taken.
const TEXT_BYTES_MAX: usize = 4096;

/// One description of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// `counter`, `gauge` and so on, in lower case.
    pub metric_type: String,
    /// What it shows, in words.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// The descriptions of all metric families.
#[derive(Debug, Default)]
pub struct MetadataStore(Mutex<BTreeMap<String, Vec<FamilyMetadata>>>);

impl MetadataStore {
    /// Takes one description. Says whether there was room for it.
    pub fn put(&self, family: &str, metric_type: &str, help: &str, unit: &str) -> bool {
        if family.is_empty() || [family, metric_type, help, unit].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return false;
        }
        let mut families = self.families_map();
        let same = |entry: &FamilyMetadata| entry.metric_type == metric_type && entry.help == help && entry.unit == unit;
        let new = || FamilyMetadata { metric_type: metric_type.into(), help: help.into(), unit: unit.into() };
        if let Some(entries) = families.get_mut(family) {
            if !entries.iter().any(same) {
                // The newest description stands first, and the oldest goes.
                entries.insert(0, new());
                entries.truncate(ENTRIES_MAX);
            }
            return true;
        }
        if families.len() >= FAMILIES_MAX {
            return false;
        }
        families.insert(family.to_owned(), vec![new()]);
        true
    }

    /// Up to `limit` families by name; only the one called `family`, where that is given.
    pub fn families(&self, family: Option<&str>, limit: usize) -> Vec<(String, Vec<FamilyMetadata>)> {
        let families = self.families_map();
        let copy = |(name, entries): (&String, &Vec<FamilyMetadata>)| (name.clone(), entries.clone());
        match family {
            Some(family) => families.get_key_value(family).into_iter().take(limit).map(copy).collect(),
            None => families.iter().take(limit).map(copy).collect(),
        }
    }

    fn families_map(&self) -> MutexGuard<'_, BTreeMap<String, Vec<FamilyMetadata>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keeps_each_description_once_and_the_newest_first() {
        let store = MetadataStore::default();
        for help in ["a", "b", "a"] {
            assert!(store.put("up", "gauge", help, ""));
        }
        let families = store.families(None, 10);
        assert_eq!(families.len(), 1);
        assert_eq!(families[0].1.iter().map(|entry| entry.help.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(store.families(Some("down"), 10).is_empty());
        assert!(store.families(None, 0).is_empty());
    }

    #[test]
    fn metadata_is_bounded_in_families_descriptions_and_bytes() {
        let store = MetadataStore::default();
        assert!(!store.put("", "gauge", "", ""));
        assert!(!store.put("up", "gauge", &"x".repeat(TEXT_BYTES_MAX + 1), ""));
        for number in 0..20 {
            store.put("up", "gauge", &number.to_string(), "");
        }
        assert_eq!(store.families(Some("up"), 1)[0].1.len(), ENTRIES_MAX);
        for number in 0..FAMILIES_MAX {
            store.put(&format!("m{number}"), "gauge", "", "");
        }
        assert!(!store.put("late", "gauge", "", ""));
        assert_eq!(store.families(None, usize::MAX).len(), FAMILIES_MAX);
    }
}
