//! A bounded store of exemplars: single observations with labels of their own, such as the trace that they belong to.
//!
//! The exemplars of all series share one ring: past its bound the one that came first goes, whatever its time. A series
//! has its exemplars in the order of their times, and those of one time in the order of their values and labels.
//!
//! An exemplar is judged as Prometheus does (`tsdb/exemplar.go`), with two differences, so that a sender that repeats a
//! request gets the same answer again: one that is there already is found wherever it is, not only as the newest of its
//! series; and of several of one time none is late, in whatever order they come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{LabelSet, TimeRange, TimestampMs};

/// The most Unicode characters that an exemplar's labels may have, names and values together (OpenMetrics, and
/// Prometheus `model/exemplar`).
pub const LABELS_CHARS_MAX: usize = 128;

/// What tells the series of one store apart. Two label sets never have the same.
pub type SeriesKey = [u64; 2];

/// One exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, without those of the series.
    pub labels: LabelSet,
    /// When it was observed.
    pub timestamp_ms: TimestampMs,
    /// What was observed.
    pub value: f64,
}

impl Exemplar {
    /// Whether its labels are longer than an exemplar's may be.
    pub fn is_too_long(&self) -> bool {
        let chars = |text: &str| text.chars().count();
        let total: usize = self.labels.iter().map(|label| chars(label.name) + chars(label.value)).sum();
        total > LABELS_CHARS_MAX
    }
}

/// What became of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is stored.
    Stored,
    /// It was there already.
    Duplicate,
    /// It is older than the newest of its series by more than the window.
    OutOfOrder {
        /// Time of the newest of its series.
        newest_ms: TimestampMs,
    },
}

/// Where an exemplar stands among those of its series, and which it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    series: u32,
    timestamp_ms: TimestampMs,
    /// The value's bits, ordered as floats are.
    value: u64,
    labels: LabelSet,
}

impl Place {
    fn of(series: u32, exemplar: &Exemplar) -> Self {
        let bits = exemplar.value.to_bits();
        let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
        Place { series, timestamp_ms: exemplar.timestamp_ms, value: ordered, labels: exemplar.labels.clone() }
    }

    fn exemplar(&self) -> Exemplar {
        let bits = if self.value >> 63 == 1 { self.value & !(1 << 63) } else { !self.value };
        Exemplar { labels: self.labels.clone(), timestamp_ms: self.timestamp_ms, value: f64::from_bits(bits) }
    }
}

#[derive(Debug)]
struct Series {
    key: SeriesKey,
    labels: LabelSet,
    exemplars: usize,
}

/// Sizes of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Exemplars that are there.
    pub exemplars: usize,
    /// Series that they are of.
    pub series: usize,
    /// Time of the one that came first and will go next.
    pub oldest_ms: Option<TimestampMs>,
}

/// The store.
#[derive(Debug, Default)]
pub struct ExemplarRing {
    capacity: usize,
    /// From the first that came to the last.
    arrived: VecDeque<Arc<Place>>,
    /// Every exemplar, with the reference of its series in the log.
    places: BTreeMap<Arc<Place>, u64>,
    numbers: HashMap<SeriesKey, u32>,
    series: HashMap<u32, Series>,
    next_number: u32,
}

impl ExemplarRing {
    /// A store for so many exemplars; with 0 whatever is added goes at once.
    pub fn new(capacity: usize) -> Self {
        ExemplarRing { capacity, ..ExemplarRing::default() }
    }

    /// How many it may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Judges an exemplar and stores it. `labels` gives those of the series, where the series is not known yet;
    /// `series_ref` is what the log calls it. One that is at most `window_ms` older than the newest of its series is
    /// not late; `None` takes any.
    pub fn add(
        &mut self,
        key: SeriesKey,
        series_ref: u64,
        exemplar: &Exemplar,
        window_ms: Option<i64>,
        labels: impl FnOnce() -> LabelSet,
    ) -> Added {
        let number = self.numbers.get(&key).copied();
        if let Some(number) = number {
            let place = Place::of(number, exemplar);
            if self.places.contains_key(&place) {
                return Added::Duplicate;
            }
            let newest_ms = self.newest_ms(number);
            let oldest_taken = |window_ms| newest_ms.map(|newest_ms: i64| newest_ms.saturating_sub(window_ms));
            if let (Some(oldest_ms), Some(newest_ms)) = (window_ms.and_then(oldest_taken), newest_ms)
                && exemplar.timestamp_ms < oldest_ms
            {
                return Added::OutOfOrder { newest_ms };
            }
        }
        let number = number.unwrap_or_else(|| self.begin_series(key, labels()));
        if let Some(series) = self.series.get_mut(&number) {
            series.exemplars += 1;
        }
        let place = Arc::new(Place::of(number, exemplar));
        self.places.insert(place.clone(), series_ref);
        self.arrived.push_back(place);
        while self.arrived.len() > self.capacity {
            self.drop_first();
        }
        Added::Stored
    }

    fn begin_series(&mut self, key: SeriesKey, labels: LabelSet) -> u32 {
        // There are fewer series than exemplars, so a number is free.
        while self.series.contains_key(&self.next_number) {
            self.next_number = self.next_number.wrapping_add(1);
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        self.numbers.insert(key, number);
        self.series.insert(number, Series { key, labels, exemplars: 0 });
        number
    }

    fn drop_first(&mut self) {
        let Some(place) = self.arrived.pop_front() else { return };
        self.places.remove(&place);
        let Some(series) = self.series.get_mut(&place.series) else { return };
        series.exemplars -= 1;
        if series.exemplars == 0 {
            let key = series.key;
            self.numbers.remove(&key);
            self.series.remove(&place.series);
        }
    }

    /// The exemplars of a series from one time to another, in their order.
    fn of_series(&self, number: u32, range: TimeRange) -> impl DoubleEndedIterator<Item = (&Arc<Place>, &u64)> {
        let first = |series, timestamp_ms| Place { series, timestamp_ms, value: 0, labels: LabelSet::empty() };
        let behind = match range.end_ms.checked_add(1) {
            Some(behind_ms) => Some(first(number, behind_ms)),
            None => number.checked_add(1).map(|next| first(next, TimestampMs::MIN)),
        };
        let start = Bound::Included(first(number, range.start_ms));
        let end = behind.map_or(Bound::Unbounded, Bound::Excluded);
        // A range that ends before it starts is empty, where a map would panic.
        let is_empty = range.end_ms < range.start_ms;
        (!is_empty).then(|| self.places.range((start, end))).into_iter().flatten()
    }

    fn newest_ms(&self, number: u32) -> Option<TimestampMs> {
        self.of_series(number, TimeRange::ALL).next_back().map(|(place, _)| place.timestamp_ms)
    }

    /// The series that there are exemplars of, in no order.
    pub fn series(&self) -> impl Iterator<Item = (SeriesKey, &LabelSet)> {
        self.series.values().map(|series| (series.key, &series.labels))
    }

    /// The exemplars of a series in a range of time, in their order.
    pub fn exemplars(&self, key: SeriesKey, range: TimeRange) -> Vec<Exemplar> {
        let number = self.numbers.get(&key);
        number.map_or(Vec::new(), |number| self.of_series(*number, range).map(|(place, _)| place.exemplar()).collect())
    }

    /// What the log has to keep: the reference of the series and the time of each exemplar.
    pub fn logged(&self) -> impl Iterator<Item = (u64, TimestampMs)> + '_ {
        self.places.iter().map(|(place, series_ref)| (*series_ref, place.timestamp_ms))
    }

    /// Sizes.
    pub fn stats(&self) -> RingStats {
        let oldest_ms = self.arrived.front().map(|place| place.timestamp_ms);
        RingStats { exemplars: self.arrived.len(), series: self.series.len(), oldest_ms }
    }
}

#[cfg(test)]
mod tests;
