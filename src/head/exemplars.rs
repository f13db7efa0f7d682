//! Exemplars of the head's series: judged, stored in one ring for all, and logged in the group of the samples that they
//! came with.
//!
//! They are not part of what receipts and digests cover: these count samples. An exemplar stays when its series leaves
//! the head, until the ring is full.

use std::collections::HashSet;
use std::sync::MutexGuard;

use super::append::describe;
use super::records::RecordBuffers;
use super::series::SeriesHash;
use super::shard::{shard_of, split_slot};
use super::{Head, Shared};
use crate::exemplars::{Added, Exemplar, ExemplarRing, LABELS_CHARS_MAX, RingStats, SeriesKey};
use crate::index::{PairId, Slot};
use crate::model::raw_labels::encode_canonical;
use crate::model::{LabelSet, LabelSetScratch, Matcher, RawLabels, TimeRange, TimestampMs};
use crate::storage::{BatchOutcome, ExemplarRejectReason, ExemplarSample, WriteBatch};
use crate::wal::record::{ExemplarsEncoder, RefExemplar};

/// The ring, with the log records of what was added since the last group.
#[derive(Debug)]
pub(super) struct Exemplars {
    ring: ExemplarRing,
    pub(super) records: RecordBuffers,
    encoder: ExemplarsEncoder,
}

impl Exemplars {
    pub(super) fn new(capacity: usize) -> Self {
        Exemplars {
            ring: ExemplarRing::new(capacity),
            records: RecordBuffers::default(),
            encoder: ExemplarsEncoder::new(),
        }
    }

    fn log(&mut self, series_ref: u64, exemplar: &Exemplar) {
        if planted!(ExemplarNotLogged) {
            return;
        }
        let out = &mut self.records.current;
        if out.is_empty() {
            self.encoder = ExemplarsEncoder::new();
        }
        let Exemplar { labels, timestamp_ms, value } = exemplar;
        let labels = labels.iter().collect();
        self.encoder.push(out, &RefExemplar { series_ref, timestamp_ms: *timestamp_ms, value: *value, labels });
        self.records.close_if_long();
    }
}

/// The exemplars of one series.
pub type SeriesExemplars = (LabelSet, Vec<Exemplar>);

/// Whose exemplars the log has to keep.
#[derive(Debug, Clone, Default)]
pub struct LoggedExemplars {
    series: HashSet<u64>,
    exemplars: HashSet<(u64, TimestampMs)>,
}

impl LoggedExemplars {
    /// Whether there is an exemplar of the series with this reference.
    pub fn has_series(&self, series_ref: u64) -> bool {
        self.series.contains(&series_ref)
    }

    /// Whether there is an exemplar of this series and time.
    pub fn contains(&self, series_ref: u64, timestamp_ms: TimestampMs) -> bool {
        self.exemplars.contains(&(series_ref, timestamp_ms))
    }
}

/// A series that the head has.
struct Known {
    hash: SeriesHash,
    series_ref: u64,
    labels: LabelSet,
}

impl Head {
    /// Accepts or refuses each exemplar of a batch whose samples were accepted or refused before. `slots` are those of
    /// the entries, as far as they are known.
    pub(super) fn append_exemplars(
        &self,
        batch: &WriteBatch<'_>,
        slots: &[Slot],
        max_ms: TimestampMs,
        outcome: &mut BatchOutcome,
    ) {
        let shared = &*self.shared;
        let is_off = shared.options.exemplars_max == 0;
        let mut accepted = Vec::new();
        for exemplars in batch.exemplars.chunk_by(|a, b| a.entry == b.entry) {
            let Some(entry) = exemplars.first().map(|first| first.entry as usize) else { continue };
            let series = batch.series.get(entry).map_or(RawLabels(&[]), |entry| entry.labels);
            let known = if is_off { None } else { shared.known_series(slots.get(entry).copied(), series) };
            for sample in exemplars {
                let refused = match &known {
                    None if is_off => Err((ExemplarRejectReason::Disabled, "no exemplars are kept here".to_owned())),
                    None => Err((ExemplarRejectReason::UnknownSeries, "its series has no sample".to_owned())),
                    Some(_) => check(sample, max_ms),
                };
                match refused {
                    Ok(exemplar) => accepted.push((entry, exemplar)),
                    Err((reason, what)) => outcome.reject_exemplar(reason, entry, || {
                        format!("exemplar at {} ms: {what}: {}", sample.timestamp_ms, describe(series))
                    }),
                }
            }
            let Some(Known { hash, series_ref, labels }) = known else { continue };
            let mut exemplars = shared.exemplars();
            for (entry, exemplar) in accepted.drain(..) {
                let window_ms = Some(shared.options.out_of_order_window_ms);
                match exemplars.ring.add(hash.0, series_ref, &exemplar, window_ms, || labels.clone()) {
                    Added::Stored => {
                        outcome.exemplars += 1;
                        exemplars.log(series_ref, &exemplar);
                    }
                    Added::Duplicate => outcome.exemplars += 1,
                    Added::OutOfOrder { newest_ms } => {
                        outcome.reject_exemplar(ExemplarRejectReason::OutOfOrder, entry, || {
                            let at = exemplar.timestamp_ms;
                            format!("exemplar at {at} ms, newest of the series at {newest_ms} ms: {labels}")
                        });
                    }
                }
            }
        }
    }

    /// The exemplars of a range of time of all series that pass every matcher of one of the selectors, sorted by the
    /// series' labels. `None` where `goes_on`, which is asked now and then, said no.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        goes_on: &dyn Fn() -> bool,
    ) -> Option<Vec<SeriesExemplars>> {
        // Writers wait for the lock, so nothing is matched under it.
        let series: Vec<(SeriesKey, LabelSet)> =
            self.shared.exemplars().ring.series().map(|(key, labels)| (key, labels.clone())).collect();
        let mut found = Vec::new();
        for (key, labels) in series {
            if !goes_on() {
                return None;
            }
            let is_meant = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(&labels));
            if selectors.iter().any(is_meant) {
                let exemplars = self.shared.exemplars().ring.exemplars(key, range);
                if !exemplars.is_empty() {
                    found.push((labels, exemplars));
                }
            }
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Some(found)
    }

    /// Sizes of the exemplar store, with the number that it may hold.
    pub fn exemplar_stats(&self) -> (RingStats, usize) {
        let exemplars = self.shared.exemplars();
        (exemplars.ring.stats(), exemplars.ring.capacity())
    }

    /// What a checkpoint of the log has to keep for the exemplars that are there.
    pub fn logged_exemplars(&self) -> LoggedExemplars {
        let exemplars = self.shared.exemplars();
        let exemplars: HashSet<_> = exemplars.ring.logged().collect();
        LoggedExemplars { series: exemplars.iter().map(|(series_ref, _)| *series_ref).collect(), exemplars }
    }
}

/// The exemplar, if there is nothing wrong with it by itself.
fn check(sample: &ExemplarSample<'_>, max_ms: TimestampMs) -> Result<Exemplar, (ExemplarRejectReason, String)> {
    let invalid = |error: crate::model::LabelError| (ExemplarRejectReason::InvalidLabels, error.to_string());
    let too_long = || {
        let what = format!("its labels have more than {LABELS_CHARS_MAX} characters");
        (ExemplarRejectReason::LabelLimit, what)
    };
    // Counted before they are decoded: a message may have millions of labels that take two bytes each.
    if sample.labels.iter().take(LABELS_CHARS_MAX + 1).count() > LABELS_CHARS_MAX {
        return Err(too_long());
    }
    let labels = sample.labels.to_any_label_set().map_err(invalid)?;
    let exemplar = Exemplar { labels, timestamp_ms: sample.timestamp_ms, value: sample.value };
    if exemplar.is_too_long() {
        return Err(too_long());
    }
    if exemplar.timestamp_ms > max_ms {
        return Err((ExemplarRejectReason::TooFarInFuture, "its time lies too far ahead".to_owned()));
    }
    Ok(exemplar)
}

impl Shared {
    pub(super) fn exemplars(&self) -> MutexGuard<'_, Exemplars> {
        self.exemplars.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The series of an entry: the one of its slot, or, where nobody looked it up, the one with these labels.
    fn known_series(&self, slot: Option<Slot>, labels: RawLabels<'_>) -> Option<Known> {
        let row = |hash: SeriesHash| {
            let shard = self.shard(shard_of(hash));
            shard.find(hash).map(|row| {
                let series = shard.row(row);
                (series.hash, series.series_ref, series.pairs.clone())
            })
        };
        let found = match slot.filter(|slot| *slot != super::append::NO_SLOT) {
            Some(slot) => Some(self.series_at(slot)),
            None => {
                let mut canonical = Vec::new();
                encode_canonical(labels.to_label_set().ok()?.iter(), &mut canonical);
                row(self.identity.hash(&canonical))
            }
        };
        let (hash, series_ref, pairs) = found?;
        let labels = self.index().label_set(&pairs, &mut LabelSetScratch::default());
        Some(Known { hash, series_ref, labels })
    }

    fn series_at(&self, slot: Slot) -> (SeriesHash, u64, Box<[PairId]>) {
        let (number, row) = split_slot(slot);
        let shard = self.shard(number);
        let series = shard.row(row);
        (series.hash, series.series_ref, series.pairs.clone())
    }

    /// Takes an exemplar of the log. Says whether it was not there yet.
    pub(super) fn replay_exemplar(&self, slot: Slot, exemplar: &RefExemplar<'_>) -> bool {
        let (hash, _, pairs) = self.series_at(slot);
        let labels = LabelSet::from_pairs(exemplar.labels.iter().map(|label| (label.name, label.value)));
        let RefExemplar { series_ref, timestamp_ms, value, .. } = *exemplar;
        let exemplar = Exemplar { labels, timestamp_ms, value };
        let series = self.index().label_set(&pairs, &mut LabelSetScratch::default());
        self.exemplars().ring.add(hash.0, series_ref, &exemplar, None, || series) == Added::Stored
    }
}

#[cfg(test)]
#[path = "exemplar_tests.rs"]
mod tests;
