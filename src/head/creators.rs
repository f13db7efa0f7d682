//! Who created the series that are there: how many, of which metrics.
//!
//! Two bytes beside each row say who created it. They are written with the series and read only here, so that nothing is
//! counted while samples come in.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Head;
use super::shard::{SHARDS, split_slot};
use crate::index::Slot;
use crate::model::{LabelSet, LabelSetScratch, METRIC_NAME, TimestampMs};
use crate::storage::WriterNumber;

/// The series of one creator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreatorSeries {
    /// How many are in the head.
    pub series: u64,
    /// The metrics that have most of them, those with the most first.
    pub families: Vec<CreatedFamily>,
}

/// The series of one creator and one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedFamily {
    /// The metric's name.
    pub metric: String,
    /// How many.
    pub series: u64,
    /// One of them, unless it left the head just now.
    pub example: Option<LabelSet>,
    slot: Slot,
}

impl CreatorSeries {
    /// Takes a metric among those with the most series, if it has enough.
    fn count(&mut self, metric: &str, series: u64, slot: Slot, families_max: usize) {
        self.series += series;
        let place = self
            .families
            .partition_point(|family| (Reverse(family.series), family.metric.as_str()) < (Reverse(series), metric));
        if place < families_max {
            self.families.truncate(families_max - 1);
            self.families.insert(place, CreatedFamily { metric: metric.to_owned(), series, example: None, slot });
        }
    }
}

impl Head {
    /// The series by who created them, with `families_max` metrics each. Looks at every series: for status pages.
    pub fn series_by_creator(&self, families_max: usize) -> BTreeMap<WriterNumber, CreatorSeries> {
        // Asks for no sample; label numbers mean the same as long as it is there.
        let _reader = self.shared.readers.enter_source(TimestampMs::MAX);
        let creators: Vec<Vec<WriterNumber>> =
            (0..SHARDS).map(|number| self.shared.shard(number).creators().to_vec()).collect();
        let creator_of = |slot| {
            let (number, row) = split_slot(slot);
            creators[number].get(row as usize).copied().unwrap_or_default()
        };
        let mut found: BTreeMap<WriterNumber, CreatorSeries> = BTreeMap::new();
        let mut of_metric: BTreeMap<WriterNumber, (u64, Slot)> = BTreeMap::new();
        for (metric, postings) in self.shared.index().value_postings(METRIC_NAME) {
            // Neighbours mostly have one creator.
            let (mut creator, mut run, mut first) = (WriterNumber::UNKNOWN, 0, 0);
            let mut add = |creator, run, first| {
                if run > 0 {
                    of_metric.entry(creator).or_insert((0, first)).0 += run;
                }
            };
            postings.for_each(|slot| {
                let next = creator_of(slot);
                if next != creator {
                    add(creator, run, first);
                    (creator, run, first) = (next, 0, slot);
                }
                if run == 0 {
                    first = slot;
                }
                run += 1;
            });
            add(creator, run, first);
            while let Some((creator, (series, slot))) = of_metric.pop_first() {
                found.entry(creator).or_default().count(metric, series, slot, families_max);
            }
        }
        let mut scratch = LabelSetScratch::default();
        for family in found.values_mut().flat_map(|creator| &mut creator.families) {
            let (number, row) = split_slot(family.slot);
            let pairs = self.shared.shard(number).row(row).pairs.clone();
            family.example = (!pairs.is_empty()).then(|| self.shared.index().label_set(&pairs, &mut scratch));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadOptions;
    use crate::model::raw_labels::encode_canonical;
    use crate::model::{RawLabels, Sample};
    use crate::storage::{SeriesEntry, WriteBatch};

    const NOW_MS: TimestampMs = 1_700_000_000_000;

    fn write(head: &Head, writer: u16, metric: &str, series: std::ops::Range<u32>) {
        let encode = |number: u32| {
            let mut bytes = Vec::new();
            let set = LabelSet::from_pairs([(METRIC_NAME, metric), ("series", number.to_string().as_str())]);
            encode_canonical(set.iter(), &mut bytes);
            bytes
        };
        let labels: Vec<Vec<u8>> = series.map(encode).collect();
        let entries =
            labels.iter().zip(0..).map(|(labels, at)| SeriesEntry { labels: RawLabels(labels), samples: at..at + 1 });
        let batch = WriteBatch {
            writer: WriterNumber(writer),
            series: entries.collect(),
            samples: vec![Sample { timestamp_ms: NOW_MS, value: 1.0 }; labels.len()],
            ..WriteBatch::default()
        };
        assert_eq!(head.append(&batch, NOW_MS).rejected_total(), 0);
    }

    #[test]
    fn series_are_counted_for_who_created_them_not_for_who_writes_them() {
        let head = Head::in_memory(HeadOptions::default());
        write(&head, 1, "up", 0..100);
        write(&head, 2, "up", 50..120);
        write(&head, 2, "http_requests_total", 0..300);
        write(&head, 2, "go_goroutines", 0..3);
        let found = head.series_by_creator(2);
        let short = |writer: u16| {
            let of = &found[&WriterNumber(writer)];
            (of.series, of.families.iter().map(|family| (family.metric.as_str(), family.series)).collect::<Vec<_>>())
        };
        assert_eq!(short(1), (100, vec![("up", 100)]));
        assert_eq!(short(2), (323, vec![("http_requests_total", 300), ("up", 20)]));
        assert_eq!(found.len(), 2);
        let example = found[&WriterNumber(2)].families[1].example.clone().unwrap();
        let series: u32 = example.get("series").unwrap().parse().unwrap();
        assert!(example.metric_name() == Some("up") && (100..120).contains(&series), "{example}");
    }
}
