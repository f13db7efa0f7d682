//! The ledger's file: opened, repaired, appended to, kept short.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::event::{Entry, Event, ReceiptsPart};
use super::line::{self, Found};
use super::receipts::{self, Lookup};
use super::state::LedgerState;
use crate::fs::{Fs, WriteFile};
use crate::model::{Tally, TimestampMs};

/// Name of the file with the entries.
const ENTRIES_FILE: &str = "entries";
/// Ending of a file that is not yet in place.
const TMP_SUFFIX: &str = ".tmp";
/// Bytes of the file beyond which old entries are folded.
const FOLD_BYTES: u64 = 1024 * 1024;
/// Entries that are kept when older ones are folded: the history that people look at.
const ENTRIES_KEPT: usize = 512;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file with requests is damaged.
    #[error("{what} in {} at byte {offset}", path.display())]
    Receipts {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// An entry could not be put into words.
    #[error("entry of the ledger: {0}")]
    Entry(#[from] serde_json::Error),
}

impl LedgerError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
        let path = path.to_owned();
        move |source| LedgerError::Io { action, path, source }
    }
}

/// Something in the ledger's file that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerDamage {
    /// Where it begins.
    pub offset: u64,
    /// Bytes that are no entry; 0 where entries are missing or out of order.
    pub bytes: u64,
    /// What was found.
    pub what: String,
    /// Whether it is the end of the file, as a crash during an append leaves it. Nothing was acknowledged by it.
    pub is_torn_tail: bool,
}

/// Makes the ledger's directory, durably. Even where it exists: whoever made it may not have come to the sync.
pub(super) fn make_dir(fs: &dyn Fs, dir: &Path) -> Result<(), LedgerError> {
    fs.create_dir_all(dir).map_err(LedgerError::io("create", dir))?;
    match dir.parent() {
        Some(parent) => fs.sync_dir(parent).map_err(LedgerError::io("fsync", parent)),
        None => Ok(()),
    }
}

/// What a ledger holds.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
    /// What they come to.
    pub state: LedgerState,
    /// What of the file could not be read.
    pub damages: Vec<LedgerDamage>,
}

/// Reads a ledger and changes nothing. One that does not exist is empty.
pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Contents, LedgerError> {
    read_file(fs, dir).map(|(contents, _bytes)| contents)
}

fn read_file(fs: &dyn Fs, dir: &Path) -> Result<(Contents, Vec<u8>), LedgerError> {
    let path = dir.join(ENTRIES_FILE);
    let bytes = match fs.read(&path) {
        Ok(bytes) => bytes,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(LedgerError::io("read", &path)(error)),
    };
    let mut contents = Contents::default();
    let mut expected = None;
    // The file gets its name when it durably has one: no crash leaves it without.
    let mut has_line = false;
    for found in line::parse(&bytes) {
        match found {
            Found::Bad { offset, end, what, is_last } => contents.damages.push(LedgerDamage {
                offset: offset as u64,
                bytes: (end - offset) as u64,
                what: what.to_owned(),
                is_torn_tail: is_last && has_line,
            }),
            Found::Entries(entries) => {
                has_line = true;
                for entry in entries {
                    contents.take(entry, &mut expected);
                }
            }
        }
    }
    if !has_line && contents.damages.is_empty() {
        let (offset, bytes, what) = (0, bytes.len() as u64, "ledger has lost all its entries".to_owned());
        contents.damages.push(LedgerDamage { offset, bytes, what, is_torn_tail: false });
    }
    Ok((contents, bytes))
}

impl Contents {
    /// Takes the next entry, which should have the number `expected`.
    fn take(&mut self, entry: Entry, expected: &mut Option<u64>) {
        let sequence = entry.sequence;
        let wrong = match *expected {
            Some(expected) if sequence < expected => Some(format!("entry {sequence} stands there twice")),
            Some(expected) if sequence > expected => {
                Some(format!("entries {expected} to {} are missing", sequence - 1))
            }
            // A ledger begins with its first entry, or with what the earlier ones came to.
            None if sequence > 1 && !matches!(entry.event, Event::Folded { .. }) => {
                Some(format!("entries before {sequence} are missing"))
            }
            _ => None,
        };
        self.damages.extend(wrong.map(|what| LedgerDamage { offset: 0, bytes: 0, what, is_torn_tail: false }));
        if expected.is_none_or(|expected| sequence >= expected) {
            *expected = sequence.checked_add(1);
            self.state.apply(&entry);
            self.entries.push(entry);
        }
    }
}

/// An open ledger. One process writes it at a time.
#[derive(Debug)]
pub struct Ledger {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    contents: Contents,
    /// The file, where its end is known to be good.
    file: Option<Box<dyn WriteFile>>,
    /// Bytes of the file up to the end of the last entry.
    bytes: u64,
    fold_beyond: u64,
    /// The bytes of a damaged file and where they go, until they are set aside.
    damaged: Option<(Vec<u8>, PathBuf)>,
    lookup: Mutex<Lookup>,
}

impl Ledger {
    /// Opens the ledger in `dir`, which need not exist. What of its file cannot be read is copied to `quarantine_dir`,
    /// named, and left out from then on; it never stands in the way of a start.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, quarantine_dir: &Path) -> Result<Self, LedgerError> {
        let (contents, bytes) = read_file(&*fs, dir)?;
        for entry in fs.list(dir).unwrap_or_default() {
            if entry.name.ends_with(TMP_SUFFIX) {
                let path = dir.join(&entry.name);
                fs.remove_file(&path).map_err(LedgerError::io("remove", &path))?;
            }
        }
        let mut ledger = Ledger {
            fs,
            dir: dir.to_owned(),
            contents,
            file: None,
            bytes: bytes.len() as u64,
            fold_beyond: FOLD_BYTES,
            damaged: None,
            lookup: Mutex::default(),
        };
        if !ledger.contents.damages.is_empty() {
            ledger.damaged = Some((bytes, quarantine_dir.to_owned()));
            // Numbers go on without the gap, so that it is told once.
            let entries = &mut ledger.contents.entries;
            let first = match entries.first() {
                Some(Entry { sequence, event: Event::Folded { .. }, .. }) => *sequence,
                _ => 1,
            };
            (first..).zip(entries).for_each(|(sequence, entry)| entry.sequence = sequence);
            if let Err(error) = ledger.rewrite() {
                // On a full disk, say. The next entry tries again.
                tracing::warn!(%error, "damage of the ledger not set aside");
            }
        } else if !bytes.is_empty() {
            let path = ledger.path();
            let mut file = ledger.fs.append(&path).map_err(LedgerError::io("open", &path))?;
            // After a kill what was read may stand in the page cache only. After a sync that failed before, this one proves
            // nothing: so the first entry is written to a new file, with all others.
            file.sync_data().map_err(LedgerError::io("fdatasync", &path))?;
        }
        Ok(ledger)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(ENTRIES_FILE)
    }

    /// The entries, oldest first. Old ones may be folded.
    pub fn entries(&self) -> &[Entry] {
        &self.contents.entries
    }

    /// What all entries come to.
    pub fn state(&self) -> &LedgerState {
        &self.contents.state
    }

    /// What of the file could not be read when it was opened.
    pub fn damages(&self) -> &[LedgerDamage] {
        &self.contents.damages
    }

    /// Records events. They are durable, all of them, when this returns; after an error none of them counts.
    pub fn append(&mut self, events: &[Event], at_ms: TimestampMs) -> Result<(), LedgerError> {
        if events.is_empty() {
            return Ok(());
        }
        let known = self.contents.entries.len();
        let first = self.contents.entries.last().map_or(1, |entry| entry.sequence + 1);
        let new = (first..).zip(events).map(|(sequence, event)| Entry { sequence, at_ms, event: event.clone() });
        self.contents.entries.extend(new);
        let result = self.write_from(known);
        if result.is_err() {
            self.contents.entries.truncate(known);
            return result;
        }
        for entry in self.contents.entries.get(known..).unwrap_or_default() {
            self.contents.state.apply(entry);
        }
        if self.bytes > self.fold_beyond {
            self.fold(at_ms);
        }
        Ok(())
    }

    /// Makes certain that the disk holds the entries that count and no others: after an append that failed, its events may
    /// be there all the same until the file is written anew. To be called before something is undone that they speak of.
    pub fn settle(&mut self) -> Result<(), LedgerError> {
        if self.is_settled() || planted!(LedgerNotSettled) { Ok(()) } else { self.rewrite() }
    }

    /// Whether the disk holds the entries that count and no others.
    pub fn is_settled(&self) -> bool {
        self.file.is_some() || (self.contents.entries.is_empty() && !self.fs.exists(&self.path()))
    }

    /// Makes the entries from this index on durable.
    fn write_from(&mut self, known: usize) -> Result<(), LedgerError> {
        // Without a file, or where the end of the file is unknown after a failure.
        let Some(mut file) = self.file.take() else {
            return self.rewrite();
        };
        let mut text = Vec::new();
        line::push(&mut text, self.contents.entries.get(known..).unwrap_or_default())?;
        let path = self.path();
        if let Err(error) =
            file.write_all(&text).and_then(|()| if planted!(LedgerNotSynced) { Ok(()) } else { file.sync_data() })
        {
            // Whether this works or not: the next entry is written to a new file.
            let _cut = file.truncate(self.bytes);
            return Err(LedgerError::io("write", &path)(error));
        }
        self.bytes += text.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Replaces the file, atomically, by one with all entries.
    fn rewrite(&mut self) -> Result<(), LedgerError> {
        self.file = None;
        if let Some((bytes, quarantine_dir)) = &self.damaged {
            self.set_aside(bytes, quarantine_dir)?;
            self.damaged = None;
        }
        let mut text = line::HEADER.as_bytes().to_vec();
        if self.contents.entries.is_empty() {
            // Else it would look like one that has lost all its lines.
            line::push(&mut text, &[])?;
        }
        for entry in self.contents.entries.chunks(1) {
            line::push(&mut text, entry)?;
        }
        let (path, tmp) = (self.path(), self.dir.join(format!("{ENTRIES_FILE}{TMP_SUFFIX}")));
        make_dir(&*self.fs, &self.dir)?;
        if self.fs.exists(&tmp) {
            self.fs.remove_file(&tmp).map_err(LedgerError::io("remove", &tmp))?;
        }
        let mut file = self.fs.create(&tmp).map_err(LedgerError::io("create", &tmp))?;
        file.write_all(&text)
            .and_then(|()| if planted!(LedgerNotSynced) { Ok(()) } else { file.sync_data() })
            .map_err(LedgerError::io("write", &tmp))?;
        self.fs.rename(&tmp, &path).map_err(LedgerError::io("rename", &tmp))?;
        self.fs.sync_dir(&self.dir).map_err(LedgerError::io("fsync", &self.dir))?;
        self.bytes = text.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Replaces old entries by what they came to. A failure is told in the log only: the entries are durable as they
    /// are.
    fn fold(&mut self, at_ms: TimestampMs) {
        let Some(folded) = self.contents.entries.len().checked_sub(ENTRIES_KEPT).filter(|folded| *folded > 1) else {
            return;
        };
        let (old, kept) = self.contents.entries.split_at(folded);
        let mut state = LedgerState::default();
        old.iter().for_each(|entry| state.apply(entry));
        let sequence = old.last().map_or(1, |entry| entry.sequence);
        let mut entries = vec![Entry { sequence, at_ms, event: Event::Folded { state: Box::new(state) } }];
        entries.extend_from_slice(kept);
        let unfolded = std::mem::replace(&mut self.contents.entries, entries);
        match self.rewrite() {
            Ok(()) => self.fold_beyond = FOLD_BYTES.max(2 * self.bytes),
            Err(error) => {
                tracing::warn!(%error, "old entries of the ledger not folded");
                self.contents.entries = unfolded;
            }
        }
    }

    /// Copies what could not be read to quarantine, each stretch with a note.
    fn set_aside(&self, bytes: &[u8], quarantine_dir: &Path) -> Result<(), LedgerError> {
        let fs = &*self.fs;
        fs.create_dir_all(quarantine_dir).map_err(LedgerError::io("create", quarantine_dir))?;
        for damage in &self.contents.damages {
            let stem = format!("ledger-{}", damage.offset);
            let is_free = |stem: &String| !fs.exists(&quarantine_dir.join(format!("{stem}.json")));
            let stem = std::iter::once(stem.clone())
                .chain((2..).map(|count| format!("{stem}-{count}")))
                .find(is_free)
                .unwrap_or(stem);
            let (start, end) = (damage.offset as usize, (damage.offset + damage.bytes) as usize);
            let note = serde_json::to_vec_pretty(damage)?;
            for (ending, content) in [("bin", bytes.get(start..end).unwrap_or_default()), ("json", &note)] {
                let path = quarantine_dir.join(format!("{stem}.{ending}"));
                if fs.exists(&path) {
                    fs.remove_file(&path).map_err(LedgerError::io("remove", &path))?;
                }
                let mut file = fs.create(&path).map_err(LedgerError::io("create", &path))?;
                file.write_all(content).and_then(|()| file.sync_data()).map_err(LedgerError::io("write", &path))?;
            }
        }
        fs.sync_dir(quarantine_dir).map_err(LedgerError::io("fsync", quarantine_dir))
    }

    /// Writes requests whose seals are about to leave the log, by rising number, to a file of their own. It is durable
    /// when this returns, and belongs into the [`Event::Truncated`] that is recorded next.
    pub fn write_receipts(&mut self, requests: &[(u64, Tally)]) -> Result<Option<ReceiptsPart>, LedgerError> {
        self.lookup.get_mut().unwrap_or_else(PoisonError::into_inner).forget();
        receipts::write(&*self.fs, &self.dir, requests)
    }

    /// What the request with this number added, if its seal left the log.
    pub fn request(&self, commit: u64) -> Result<Option<Tally>, LedgerError> {
        self.lookup.lock().unwrap_or_else(PoisonError::into_inner).request(&*self.fs, &self.dir, commit)
    }

    /// Whether the request with this number left the log, and added just this.
    pub fn contains(&self, commit: u64, tally: Tally) -> Result<bool, LedgerError> {
        Ok(self.request(commit)? == Some(tally))
    }
}

/// Looks requests up in the ledger of a directory that somebody else may have open.
#[derive(Debug)]
pub struct RequestReader<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    lookup: Lookup,
}

impl<'a> RequestReader<'a> {
    /// Reads the ledger in `dir`.
    pub fn new(fs: &'a dyn Fs, dir: &Path) -> Self {
        RequestReader { fs, dir: dir.to_owned(), lookup: Lookup::default() }
    }

    /// As [`Ledger::request`].
    pub fn request(&mut self, commit: u64) -> Result<Option<Tally>, LedgerError> {
        self.lookup.request(self.fs, &self.dir, commit)
    }
}
