//! Which series pass matchers, and which names and values labels have: through the accelerator; without one, through the
//! index; and if that is damaged, by reading all series.
//!
//! This is the one place that decides who answers.

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
        if let Some(found) = self.accel.ask(|accel| accel.series_refs(&accel.select(matchers)?)) {
            return found;
        }
        self.select_by_index(matchers, on_damage)
    }

    fn select_by_index(&self, matchers: &[Matcher], on_damage: OnDamage<'_>) -> Vec<SeriesRef> {
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

    /// All series, sorted. Compactions ask for them, and what they lose is lost: so the block's own files answer, not what
    /// was derived from them.
    pub(super) fn all_series(&self, on_damage: OnDamage<'_>) -> Vec<SeriesRef> {
        self.select_by_index(&[], on_damage)
    }

    /// The series that pass the matchers, where there are any.
    fn within(&self, matchers: &[Matcher], on_damage: OnDamage<'_>) -> Option<Vec<SeriesRef>> {
        (!matchers.is_empty()).then(|| self.select(matchers, on_damage))
    }

    /// The sorted names of all labels of the series that pass every matcher; at most `limit` (0: all).
    pub(super) fn label_names(&self, matchers: &[Matcher], limit: usize, on_damage: OnDamage<'_>) -> Vec<String> {
        if let Some(names) = self.accel.ask(|accel| accel.label_names(matchers, limit)) {
            return names;
        }
        let within = self.within(matchers, on_damage);
        let within = within.as_deref();
        self.index.label_names(within, limit).unwrap_or_else(|fault| {
            on_damage(self.index_damage(DamagedPart::Postings, fault));
            let mut names = BTreeSet::new();
            self.read_all(within, on_damage, |_, reader| {
                names.extend(reader.labels().map(|label| label.name.to_owned()));
            });
            first(names, limit)
        })
    }

    /// The sorted values of the label `name` over the series that pass every matcher; at most `limit` (0: all).
    pub(super) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        on_damage: OnDamage<'_>,
    ) -> Vec<String> {
        // With matchers the accelerator finds the series, and the index has what they carry: the series themselves where
        // they are few, else lists to intersect with.
        if matchers.is_empty()
            && let Some(values) = self.accel.ask(|accel| accel.label_values(name, limit))
        {
            return values;
        }
        let within = self.within(matchers, on_damage);
        let within = within.as_deref();
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
