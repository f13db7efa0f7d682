//! Out-of-order samples from a `wbl/` that Prometheus wrote: taken into the head, and into the log, as if they came now.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::Head;
use super::append::TimeBounds;
use super::older::OlderSample;
use super::ref_map::RefMap;
use super::shard::split_slot;
use super::value::ValueRef;
use crate::storage::{BatchOutcome, WriteBatch};
use crate::wal::record::{self, RecordType, RefValue, ValuesIter};

/// What was taken over.
#[derive(Debug, Clone, Default)]
pub struct Adopted {
    /// Samples added, known, and refused, as for a request.
    pub outcome: BatchOutcome,
    /// Samples of series that the log does not name.
    pub unknown: u64,
    /// Records that could not be read, wholly or in part, or are of a kind that is not taken over.
    pub records_left: u64,
}

impl Adopted {
    /// Adds what was taken over from another record.
    pub fn add(&mut self, other: Adopted) {
        self.outcome.added += other.outcome.added;
        self.outcome.duplicates += other.outcome.duplicates;
        self.outcome.histograms += other.outcome.histograms;
        self.outcome.digest += other.outcome.digest;
        self.outcome.add_refused(other.outcome);
        self.unknown += other.unknown;
        self.records_left += other.records_left;
    }

    /// Whether something could not be taken over.
    pub fn is_partial(&self) -> bool {
        self.unknown > 0 || self.records_left > 0 || self.outcome.rejected_total() > 0
    }

    /// What could not be taken over, in words; `None` where all was.
    pub fn left(&self) -> Option<String> {
        let counts = [
            (self.unknown, "samples of series that the log does not name"),
            (self.outcome.rejected_total(), "samples that contradict others of their time"),
            (self.records_left, "records that could not be read, or are of an unknown kind"),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// Takes records over, after a replay: it knows the references of the log. When it is dropped, the series go that got
/// no sample from the log nor from it. Nobody else appends until then.
#[derive(Debug)]
pub struct Adoption<'a> {
    head: &'a Head,
    refs: RefMap,
}

impl Head {
    /// Begins to take records over. The references of the replay are forgotten with the result.
    pub fn adoption(&self) -> Adoption<'_> {
        let refs = std::mem::take(&mut *self.shared.log_refs.lock().unwrap_or_else(PoisonError::into_inner));
        Adoption { head: self, refs }
    }
}

impl Adoption<'_> {
    /// Takes the samples of a record, type byte first. The caller has been admitted to the current group of the log.
    pub fn record(&self, record: &[u8]) -> Adopted {
        let mut adopted = Adopted::default();
        match record::split(record) {
            // Tells which samples were in chunks already: here every sample is looked up.
            (Some(RecordType::MmapMarkers), _) => {}
            (Some(kind), body) if let Some(values) = record::values(kind, body) => self.samples(values, &mut adopted),
            _ => adopted.records_left += 1,
        }
        adopted
    }

    fn samples(&self, values: ValuesIter<'_>, adopted: &mut Adopted) {
        let (read, faults): (Vec<_>, Vec<_>) = values.partition(Result::is_ok);
        adopted.records_left += u64::from(!faults.is_empty());
        let read: Vec<RefValue> = read.into_iter().flatten().collect();
        let mut by_shard: BTreeMap<usize, Vec<OlderSample<'_>>> = BTreeMap::new();
        for RefValue { series_ref, timestamp_ms, value } in &read {
            let Some((number, row)) = self.refs.get(*series_ref).map(split_slot) else {
                adopted.unknown += 1;
                continue;
            };
            let (timestamp_ms, value) = (*timestamp_ms, ValueRef::of(value));
            by_shard.entry(number).or_default().push(OlderSample {
                row,
                entry: 0,
                timestamp_ms,
                value,
                is_early: true,
            });
        }
        // Prometheus accepted them: no window and no clock is asked again, and none begins the series in order.
        let bounds = TimeBounds {
            new_series_min_ms: i64::MAX,
            floor_ms: i64::MIN,
            out_of_order_min_ms: Some(i64::MIN),
            max_ms: i64::MAX,
        };
        let before = adopted.outcome.added;
        for (number, samples) in by_shard {
            self.head.append_older(number, samples, &WriteBatch::default(), bounds, &mut adopted.outcome);
        }
        let added = adopted.outcome.added - before;
        self.head.shared.counters.samples.fetch_add(added, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for Adoption<'_> {
    fn drop(&mut self) {
        self.head.shared.remove_all_empty();
    }
}
