//! Which series pass matchers, and which names and values labels have: through the index, and if that is damaged, by
//! reading all series.
//!
//! This is the one place that decides who answers; whatever answers faster is asked here, before the index.

use std::collections::BTreeSet;

use super::damage::{Damage, DamagedPart};
use super::index::SeriesReader;
use super::open::Shared;
use super::{Matcher, SeriesRef};
use crate::encoding::Corruption;
use crate::fs::names::BLOCK_INDEX_FILE;

/// Told of the damage that an answer touches.
pub(super) type OnDamage<'a> = &'a mut dyn FnMut(Damage);

impl Shared {
    /// A damage of the index.
    pub(super) fn index_damage(&self, part: DamagedPart, fault: Corruption) -> Damage {
        let damage = Damage::new(part, BLOCK_INDEX_FILE, fault, self.range_or_nothing());
        self.damages.record(self.ulid, &damage);
        damage
    }

    /// The series that pass every matcher, sorted.
    pub(super) fn select(&self, matchers: &[Matcher], on_damage: OnDamage<'_>) -> Vec<SeriesRef> {
        self.index.select(matchers).unwrap_or_else(|fault| {
            on_damage(self.index_damage(DamagedPart::Postings, fault));
            let mut found = Vec::new();
            self.read_all(None, on_damage, |series, reader| {
                if matchers.iter().all(|matcher| matcher.matches(reader.label(&matcher.name))) {
                    found.push(series);
                }
            });
            found
        })
    }

    /// All series, sorted.
    pub(super) fn all_series(&self, on_damage: OnDamage<'_>) -> Vec<SeriesRef> {
        self.select(&[], on_damage)
    }

    /// The sorted names of all labels, or of those that series of `within` carry; at most `limit` (0: all).
    pub(super) fn label_names(
        &self,
        within: Option<&[SeriesRef]>,
        limit: usize,
        on_damage: OnDamage<'_>,
    ) -> Vec<String> {
        self.index.label_names(within, limit).unwrap_or_else(|fault| {
            on_damage(self.index_damage(DamagedPart::Postings, fault));
            let mut names = BTreeSet::new();
            self.read_all(within, on_damage, |_, reader| {
                names.extend(reader.labels().map(|label| label.name.to_owned()));
            });
            first(names, limit)
        })
    }

    /// The sorted values of the label `name`, or of those that series of `within` carry; at most `limit` (0: all).
    pub(super) fn label_values(
        &self,
        name: &str,
        within: Option<&[SeriesRef]>,
        limit: usize,
        on_damage: OnDamage<'_>,
    ) -> Vec<String> {
        self.index.label_values(name, within, limit).unwrap_or_else(|fault| {
            on_damage(self.index_damage(DamagedPart::Postings, fault));
            let mut values = BTreeSet::new();
            self.read_all(within, on_damage, |_, reader| {
                let value = reader.label(name);
                if !value.is_empty() {
                    values.insert(value.to_owned());
                }
            });
            first(values, limit)
        })
    }

    /// Reads the series of `within`, or all that can be found without the postings.
    fn read_all(
        &self,
        within: Option<&[SeriesRef]>,
        on_damage: OnDamage<'_>,
        mut each: impl FnMut(SeriesRef, &SeriesReader<'_>),
    ) {
        let mut reader = self.index.series();
        let mut read = |series: Result<SeriesRef, Corruption>| match series
            .and_then(|series| reader.read(series).map(|()| series))
        {
            Ok(series) => each(series, &reader),
            Err(fault) => on_damage(self.index_damage(DamagedPart::Series, fault)),
        };
        match within {
            Some(within) => within.iter().for_each(|&series| read(Ok(series))),
            None => self.index.walk().for_each(read),
        }
    }
}

fn first(sorted: BTreeSet<String>, limit: usize) -> Vec<String> {
    sorted.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}
