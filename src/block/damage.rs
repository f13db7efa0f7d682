//! Damage of a block that was found while it was used: remembered for status pages, said in the answers it touches.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ulid::Ulid;

use crate::model::{TimeRange, TimestampMs};

/// How many different damages of a block are remembered.
const DAMAGES_MAX: usize = 256;

/// Warnings that a query keeps about one block; damage beyond is one more of the same kind.
const WARNINGS_MAX: usize = 10;

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamagedPart {
    /// A chunk, or the segment that holds it: its samples are missing.
    Chunk,
    /// A series entry of the index: the series is missing.
    Series,
    /// The symbol table: answers are whole but for series whose labels other sections cannot prove, which are damages
    /// of their own.
    Symbols,
    /// Postings, or their table: answers are whole, as all series are read instead, and slow.
    Postings,
    /// The tombstones: deleted samples show again.
    Tombstones,
}

impl DamagedPart {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            DamagedPart::Chunk => "chunk",
            DamagedPart::Series => "series",
            DamagedPart::Symbols => "symbols",
            DamagedPart::Postings => "postings",
            DamagedPart::Tombstones => "tombstones",
        }
    }
}

/// A damage of a block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// What is damaged.
    pub part: DamagedPart,
    /// The file in the block, and what was found at which byte.
    pub what: String,
    /// First and last time of which samples may be missing, or shown wrongly.
    pub times_ms: (TimestampMs, TimestampMs),
}

impl Damage {
    pub(super) fn new(part: DamagedPart, file: &str, what: impl std::fmt::Display, range: TimeRange) -> Self {
        Damage { part, what: format!("{file}: {what}"), times_ms: (range.start_ms, range.end_ms) }
    }

    /// The warning of a query that it touches; `None` where answers are whole.
    fn warning(&self, ulid: Ulid) -> Option<String> {
        let (from, to) = self.times_ms;
        let effect = match self.part {
            DamagedPart::Chunk => "samples of a series are missing",
            DamagedPart::Series => "a series is missing",
            DamagedPart::Tombstones => "deleted samples may show again",
            DamagedPart::Postings | DamagedPart::Symbols => return None,
        };
        Some(format!("block {ulid}: {effect} between {from} and {to} ms: {}", self.what))
    }
}

/// The damages of one block.
#[derive(Debug, Default)]
pub(super) struct Damages(Mutex<BTreeSet<Damage>>);

impl Damages {
    /// Remembers a damage. The first time it is logged too.
    pub(super) fn record(&self, ulid: Ulid, damage: &Damage) {
        let mut damages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if damages.len() < DAMAGES_MAX && damages.insert(damage.clone()) {
            let (from_ms, to_ms) = damage.times_ms;
            tracing::error!(block = %ulid, part = damage.part.as_str(), from_ms, to_ms, "damage: {}", damage.what);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Damage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Forgets what was read wrongly once, and well since.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The damages of a part.
    pub(super) fn of(&self, part: DamagedPart) -> Vec<Damage> {
        self.to_vec().into_iter().filter(|damage| damage.part == part).collect()
    }
}

/// Warnings of one query, shared with the sources of its samples.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<BTreeSet<String>>);

impl Warnings {
    pub(super) fn add(&self, ulid: Ulid, damage: &Damage) {
        let Some(warning) = damage.warning(ulid) else { return };
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS_MAX {
            warnings.insert(warning);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
