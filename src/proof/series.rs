//! The series that a log names: about 40 bytes for each.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::encoding::Corruption;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, TimestampMs};
use crate::wal::record;

/// References below this, or not far above the number of known ones, are looked up in a plain list.
const DENSE_REFS: u64 = 1 << 20;

/// A series of the log.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Digest of its label set.
    labels: Digest,
    /// Time of its newest sample. Even the lowest of all times is that of a sample.
    newest_ms: Option<TimestampMs>,
}

/// The series of a log, numbered from 0 in the order in which they are named. Several references may name one series.
#[derive(Debug, Default)]
pub struct LogSeries {
    rows: Vec<Row>,
    by_labels: HashTable<u32>,
    hasher: RandomState,
    dense: Vec<u32>,
    sparse: HashMap<u64, u32>,
    labels_bytes: Vec<u8>,
}

impl LogSeries {
    const NONE: u32 = u32::MAX;

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The digest of a series' labels.
    pub fn labels(&self, row: u32) -> Digest {
        self.rows.get(row as usize).map_or(Digest::ZERO, |row| row.labels)
    }

    /// The series with these labels.
    pub fn find(&self, labels: Digest) -> Option<u32> {
        let is_it = |row: &u32| self.rows.get(*row as usize).is_some_and(|row| row.labels == labels);
        self.by_labels.find(self.hasher.hash_one(labels), is_it).copied()
    }

    /// The series that a reference names.
    pub fn of_ref(&self, series_ref: u64) -> Option<u32> {
        match self.dense.get(usize::try_from(series_ref).unwrap_or(usize::MAX)) {
            Some(&Self::NONE) | None => self.sparse.get(&series_ref).copied(),
            Some(&row) => Some(row),
        }
    }

    /// Takes a sample's time, and says whether it is newer than all before.
    pub(super) fn advance(&mut self, row: u32, timestamp_ms: TimestampMs) -> bool {
        let Some(row) = self.rows.get_mut(row as usize) else { return false };
        let is_newer = Some(timestamp_ms) > row.newest_ms;
        row.newest_ms = row.newest_ms.max(Some(timestamp_ms));
        is_newer
    }

    /// Takes the series of a record.
    pub(super) fn record(&mut self, body: &[u8]) -> Result<(), Corruption> {
        let mut labels: Vec<Label<'_>> = Vec::with_capacity(32);
        let mut decoder = record::series(body);
        while let Some(series_ref) = decoder.next_into(&mut labels)? {
            // Whoever wrote the log: the digest is of the sorted set.
            labels.sort_unstable();
            self.labels_bytes.clear();
            encode_canonical(labels.iter().copied(), &mut self.labels_bytes);
            let row = self.insert(Digest::of_canonical_labels(&self.labels_bytes));
            self.name(series_ref, row);
        }
        Ok(())
    }

    fn insert(&mut self, labels: Digest) -> u32 {
        let hash = self.hasher.hash_one(labels);
        let (rows, hasher) = (&mut self.rows, &self.hasher);
        let labels_of = |rows: &[Row], row: u32| rows.get(row as usize).map_or(Digest::ZERO, |row| row.labels);
        match self.by_labels.find(hash, |&row| labels_of(rows, row) == labels) {
            Some(&row) => row,
            None => {
                let row = rows.len() as u32;
                rows.push(Row { labels, newest_ms: None });
                self.by_labels.insert_unique(hash, row, |&row| hasher.hash_one(labels_of(rows, row)));
                row
            }
        }
    }

    fn name(&mut self, series_ref: u64, row: u32) {
        if series_ref >= DENSE_REFS.max(self.rows.len() as u64 * 4) {
            self.sparse.insert(series_ref, row);
            return;
        }
        self.sparse.remove(&series_ref);
        let index = series_ref as usize;
        if index >= self.dense.len() {
            self.dense.resize(index + 1, Self::NONE);
        }
        if let Some(place) = self.dense.get_mut(index) {
            *place = row;
        }
    }
}
