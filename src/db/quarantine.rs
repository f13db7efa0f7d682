//! Blocks that cannot be served: moved to `quarantine/`, with a note that says what is missing because of them. And damaged
//! places of the log, which a start has set aside there.
//!
//! A note counts as long as its block lies beside it. So a person closes the matter by removing the block from
//! quarantine, or by putting it back in its place, where it is opened again. The same is true of a note about the log, and
//! the file with the damaged bytes.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::fs::{Fs, names};
use crate::model::{TimeRange, TimestampMs};
use crate::wal::{self, QuarantineNote};

/// Beginning of the names of blocks and their notes in `quarantine/`.
const PREFIX: &str = "block-";

/// A block whose samples are not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostBlock {
    /// Its name.
    pub ulid: Ulid,
    /// Its first sample, where its description could be read.
    pub min_time_ms: Option<TimestampMs>,
    /// Its last sample, where its description could be read.
    pub max_time_ms: Option<TimestampMs>,
    /// What was found.
    pub reason: String,
    /// When it was found, by the wall clock.
    pub found_ms: TimestampMs,
    /// Whether other blocks hold all of its samples, so that nothing is missing in answers.
    #[serde(default)]
    pub is_covered: bool,
    /// Whether it was moved to `quarantine/`. Where that was not possible, it lies where it was.
    #[serde(skip)]
    pub is_moved: bool,
}

impl LostBlock {
    /// Whether it lies where it was, to be tried again, with samples that no other block has.
    pub(super) fn comes_back(&self) -> bool {
        !self.is_moved && !self.is_covered
    }

    /// Whether samples of `range` may be missing. A block that does not tell its range may lack in any.
    pub fn touches(&self, range: &TimeRange) -> bool {
        match (self.min_time_ms, self.max_time_ms) {
            (Some(min_time_ms), Some(max_time_ms)) => TimeRange::new(min_time_ms, max_time_ms).overlaps(range),
            _ => true,
        }
    }

    /// The warning of a query whose range it touches.
    pub(super) fn warning(&self) -> String {
        let place = if self.is_moved { "is in quarantine" } else { "cannot be read" };
        let range = match (self.min_time_ms, self.max_time_ms) {
            (Some(from), Some(to)) => format!("with samples from {from} to {to} ms"),
            _ => "whose range is unknown".to_owned(),
        };
        format!("block {} {range} {place}, its samples are missing: {}", self.ulid, self.reason)
    }
}

/// Places of the log that could not be read at a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogLosses(Vec<QuarantineNote>);

impl LogLosses {
    /// Those of the notes that tell of samples which are missing.
    pub(super) fn new(notes: Vec<QuarantineNote>) -> Self {
        LogLosses(notes.into_iter().filter(|note| note.lost().is_some()).collect())
    }

    /// Those that nobody has closed yet.
    pub(super) fn read(fs: &dyn Fs, data_dir: &Path) -> Self {
        LogLosses::new(wal::read_notes(fs, &data_dir.join(names::QUARANTINE_DIR)))
    }

    /// The same, where samples of this time lack the names of their series: the record that had them is lost.
    pub(super) fn widened(mut self, unnamed: Option<TimeRange>) -> Self {
        if let Some(unnamed) = unnamed {
            for note in &mut self.0 {
                note.min_time_ms = note.min_time_ms.map(|at_ms| at_ms.min(unnamed.start_ms));
                note.max_time_ms = note.max_time_ms.map(|at_ms| at_ms.max(unnamed.end_ms));
            }
        }
        self
    }

    /// The warning of a query of this range, where samples of it may be missing.
    pub(super) fn warning(&self, range: &TimeRange) -> Option<String> {
        let touched: Vec<_> =
            self.0.iter().filter_map(|note| Some((note, note.lost().filter(|lost| lost.overlaps(range))?))).collect();
        let (first, _) = touched.first()?;
        let from = touched.iter().map(|(_, lost)| lost.start_ms).min().filter(|from| *from != TimestampMs::MIN);
        let to = touched.iter().map(|(_, lost)| lost.end_ms).max().filter(|to| *to != TimestampMs::MAX);
        let range = match (from, to) {
            (Some(from), Some(to)) => format!("from {from} to {to} ms"),
            (Some(from), None) => format!("from {from} ms on"),
            (None, Some(to)) => format!("up to {to} ms"),
            (None, None) => "of an unknown time".to_owned(),
        };
        Some(format!(
            "the log was damaged in {} places, samples {range} may be missing: {} in segment {:08} at byte {}",
            touched.len(),
            first.reason,
            first.segment,
            first.offset
        ))
    }

    /// The alarm that there are some.
    pub(super) fn alarm(&self) -> Option<String> {
        self.warning(&TimeRange::ALL)
    }
}

/// The alarm that blocks are not served whose samples no other block has.
pub(super) fn lost_alarm(lost: &[LostBlock]) -> Option<String> {
    let missing: Vec<String> = lost.iter().filter(|lost| !lost.is_covered).map(|lost| lost.ulid.to_string()).collect();
    (!missing.is_empty()).then(|| format!("blocks that are not served: {}", missing.join(", ")))
}

/// Path of a block in quarantine.
pub(super) fn place_of(data_dir: &Path, ulid: Ulid) -> PathBuf {
    data_dir.join(names::QUARANTINE_DIR).join(format!("{PREFIX}{ulid}"))
}

/// Moves a block's directory to quarantine, its note first, all of it durable.
pub(super) fn move_block(fs: &dyn Fs, data_dir: &Path, from: &Path, lost: &LostBlock) -> io::Result<()> {
    let quarantine = data_dir.join(names::QUARANTINE_DIR);
    if !fs.exists(&quarantine) {
        fs.create_dir_all(&quarantine)?;
        fs.sync_dir(data_dir)?;
    }
    let place = place_of(data_dir, lost.ulid);
    let note = note_of(&place);
    if fs.exists(&place) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists already", place.display())));
    }
    if fs.exists(&note) {
        fs.remove_file(&note)?;
    }
    let mut file = fs.create(&note)?;
    file.write_all(&serde_json::to_vec_pretty(lost)?)?;
    file.sync_data()?;
    fs.sync_dir(&quarantine)?;
    fs.rename(from, &place)?;
    fs.sync_dir(&quarantine)?;
    if let Some(parent) = from.parent() {
        fs.sync_dir(parent)?;
    }
    Ok(())
}

fn note_of(place: &Path) -> PathBuf {
    let mut note = place.as_os_str().to_owned();
    note.push(".json");
    note.into()
}

/// The blocks in quarantine. One without a note that can be read counts too: nobody knows what is missing.
pub fn lost_blocks(fs: &dyn Fs, data_dir: &Path) -> Vec<LostBlock> {
    let quarantine = data_dir.join(names::QUARANTINE_DIR);
    let entries = fs.list(&quarantine).unwrap_or_default();
    let blocks = entries.iter().filter(|entry| entry.is_dir);
    let ulids = blocks.filter_map(|entry| Ulid::from_string(entry.name.strip_prefix(PREFIX)?).ok());
    ulids
        .map(|ulid| {
            let note = fs.read(&note_of(&place_of(data_dir, ulid))).ok();
            let known = note.and_then(|bytes| serde_json::from_slice::<LostBlock>(&bytes).ok());
            let known = known.filter(|known| known.ulid == ulid).unwrap_or(LostBlock {
                ulid,
                min_time_ms: None,
                max_time_ms: None,
                reason: "there is no note about it".to_owned(),
                found_ms: 0,
                is_covered: false,
                is_moved: true,
            });
            LostBlock { is_moved: true, ..known }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    fn lost(number: u128) -> LostBlock {
        LostBlock {
            ulid: Ulid(number),
            min_time_ms: Some(100),
            max_time_ms: Some(200),
            reason: "index: checksum differs".to_owned(),
            found_ms: 7,
            is_covered: false,
            is_moved: true,
        }
    }

    fn disk_with_block(ulid: Ulid) -> (SimFs, PathBuf) {
        let fs = SimFs::new(1);
        let dir = Path::new("/data").join(ulid.to_string());
        fs.create_dir_all(&dir).unwrap();
        fs.create(&dir.join("index")).unwrap().write_all(b"damaged").unwrap();
        (fs, dir)
    }

    #[test]
    fn block_moved_to_quarantine_is_known_there_until_it_is_taken_away() {
        let (fs, dir) = disk_with_block(Ulid(1));
        move_block(&fs, Path::new("/data"), &dir, &lost(1)).unwrap();
        assert!(!fs.exists(&dir));
        assert_eq!(lost_blocks(&fs, Path::new("/data")), [lost(1)]);
        fs.rename(&place_of(Path::new("/data"), Ulid(1)), &dir).unwrap();
        assert_eq!(lost_blocks(&fs, Path::new("/data")), []);
        // The note of the last time is in nobody's way.
        move_block(&fs, Path::new("/data"), &dir, &lost(1)).unwrap();
        assert_eq!(lost_blocks(&fs, Path::new("/data")).len(), 1);
    }

    #[test]
    fn crash_while_a_block_is_moved_leaves_it_in_one_of_the_two_places() {
        for operation in 0..12 {
            for seed in 0..20 {
                let (fs, dir) = disk_with_block(Ulid(1));
                for synced in [Path::new("/"), Path::new("/data"), &dir] {
                    fs.sync_dir(synced).unwrap();
                }
                fs.lose_power_at(fs.operations() + operation);
                let moved = move_block(&fs, Path::new("/data"), &dir, &lost(1));
                let disk = fs.crash(seed);
                let known = lost_blocks(&disk, Path::new("/data"));
                assert_ne!(disk.exists(&dir), !known.is_empty(), "operation {operation}, seed {seed}");
                assert!(known.iter().all(|block| *block == lost(1)), "the note is there before the block");
                assert!(moved.is_err() || !known.is_empty());
            }
        }
    }

    #[test]
    fn query_that_touches_places_that_the_log_lost_is_warned_of_all_of_them_at_once() {
        let note = |min_time_ms, max_time_ms| QuarantineNote {
            is_lossy: true,
            is_open: true,
            min_time_ms,
            max_time_ms,
            segment: 7,
            reason: "record checksum differs".to_owned(),
            ..QuarantineNote::default()
        };
        let closed = QuarantineNote { is_open: false, ..note(Some(0), Some(1000)) };
        let free = QuarantineNote { is_lossy: false, ..note(Some(0), Some(1000)) };
        let losses = LogLosses::new(vec![note(Some(100), Some(200)), note(Some(150), Some(300)), closed, free]);
        let warning = |from, to| losses.warning(&TimeRange::new(from, to));
        assert_eq!((warning(0, 99), warning(301, 1000)), (None, None));
        let first = warning(200, 200).unwrap();
        assert!(first.contains("in 2 places, samples from 100 to 300 ms may be missing: record checksum"), "{first}");
        assert!(warning(250, 400).unwrap().contains("in 1 places, samples from 150 to 300 ms"));
        let unbounded = |min, max| LogLosses::new(vec![note(min, max)]).alarm().unwrap();
        assert!(unbounded(Some(5), None).contains("from 5 ms on"));
        assert!(unbounded(None, Some(5)).contains("up to 5 ms"));
        assert!(unbounded(None, None).contains("of an unknown time"));
        assert_eq!(LogLosses::default().alarm(), None);
    }

    #[test]
    fn block_whose_range_is_unknown_touches_every_query() {
        let unknown = LostBlock { min_time_ms: None, ..lost(1) };
        assert!(unknown.touches(&TimeRange::new(0, 1)) && !lost(1).touches(&TimeRange::new(0, 99)));
        assert!(lost(1).touches(&TimeRange::new(200, 300)));
        assert!(lost(1).warning().contains("from 100 to 200 ms is in quarantine"));
    }
}
