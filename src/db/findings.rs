//! What checks and proofs found and no later one has closed.
//!
//! A finding belongs to an object: a block, a file of the log, or something that is true of the log as a whole. It stays
//! until a check that covers the object ends without finding it again, or until the object is gone. The open ones are
//! kept in a file too, so that a restart forgets none; what was closed is remembered since the start.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::fs::{Fs, names};
use crate::model::TimestampMs;

/// Findings of one object that are kept in words. The objects are bounded by what is on the disk.
const KEPT_OF_OBJECT: usize = 20;
/// Findings that were closed and are remembered.
const CLOSED_KEPT: usize = 200;

/// What a check covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proven {
    /// The ledger's balance.
    Ledger,
    /// What the head holds, against the log.
    Head,
    /// The log, where no one file of it is meant.
    Log,
    /// A segment of the log.
    Segment(u32),
    /// A file of the log's checkpoint.
    Checkpoint(u32),
    /// A block.
    Block(Ulid),
}

impl Proven {
    /// The segment, or the file of the checkpoint.
    pub fn of_log_file(number: u32, checkpoint: bool) -> Self {
        if checkpoint { Proven::Checkpoint(number) } else { Proven::Segment(number) }
    }

    /// Whether a proof of the log covers it.
    fn is_of_log(self) -> bool {
        !matches!(self, Proven::Block(_))
    }

    /// Whether it is a comparison with one outcome, whose words differ from one proof to the next.
    fn is_comparison(self) -> bool {
        matches!(self, Proven::Head | Proven::Ledger)
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFinding {
    /// What, in words.
    pub what: String,
    /// When it was found first, by the wall clock.
    pub first_ms: TimestampMs,
    /// When it was found last.
    pub last_ms: TimestampMs,
}

/// What is open about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFindings {
    /// The object.
    pub of: Proven,
    /// What was found, the oldest first.
    pub findings: Vec<KeptFinding>,
    /// Findings of the last check that are not kept in words.
    #[serde(default)]
    pub more: u64,
}

/// Something that was found once and is not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedFinding {
    /// The object.
    pub of: Proven,
    /// What was found.
    pub finding: KeptFinding,
    /// When that ended.
    pub closed_ms: TimestampMs,
    /// Whether a check did not find it again; otherwise its object is gone.
    pub by_proof: bool,
}

/// The findings of a data directory.
#[derive(Debug)]
pub(super) struct FindingBook {
    fs: Arc<dyn Fs>,
    data_dir: PathBuf,
    open: BTreeMap<Proven, OpenFindings>,
    closed: VecDeque<ClosedFinding>,
    /// The file does not say what is known.
    is_unsaved: bool,
}

impl FindingBook {
    /// The findings that were open when the directory was left.
    pub(super) fn read(fs: Arc<dyn Fs>, data_dir: &Path) -> Self {
        let known = read_file(&*fs, data_dir).unwrap_or_else(|error| {
            tracing::error!(%error, file = names::FINDINGS_FILE, "what was found before cannot be read");
            Vec::new()
        });
        let open = known.into_iter().map(|one| (one.of, one)).collect();
        FindingBook { fs, data_dir: data_dir.to_owned(), open, closed: VecDeque::new(), is_unsaved: false }
    }

    /// What is open, by object.
    pub(super) fn open(&self) -> Vec<OpenFindings> {
        self.open.values().cloned().collect()
    }

    /// What was closed since the start, the newest first.
    pub(super) fn closed(&self) -> Vec<ClosedFinding> {
        self.closed.iter().rev().cloned().collect()
    }

    /// The blocks that something is open about.
    pub(super) fn blocks(&self) -> Vec<Ulid> {
        self.open
            .keys()
            .filter_map(|of| match of {
                Proven::Block(ulid) => Some(*ulid),
                _ => None,
            })
            .collect()
    }

    /// Takes the outcome of a check of a block.
    pub(super) fn block_checked(&mut self, ulid: Ulid, found: &[String], at_ms: TimestampMs) {
        self.proven(Proven::Block(ulid), found, at_ms);
        self.save();
    }

    /// Takes what the use of a block met. It is no check: it closes nothing, and how much more there is is not known.
    pub(super) fn block_met(&mut self, ulid: Ulid, met: &[String], at_ms: TimestampMs) {
        let of = Proven::Block(ulid);
        let known = self.open.get(&of).map_or(&[][..], |open| &open.findings);
        let is_new = |what: &&String| known.iter().all(|finding| finding.what != **what);
        let space = KEPT_OF_OBJECT - known.len();
        let fresh: Vec<KeptFinding> = (met.iter().filter(is_new).take(space))
            .map(|what| KeptFinding { what: what.clone(), first_ms: at_ms, last_ms: at_ms })
            .collect();
        if fresh.is_empty() {
            return;
        }
        let open = self.open.entry(of).or_insert_with(|| OpenFindings { of, findings: Vec::new(), more: 0 });
        open.findings.extend(fresh);
        self.is_unsaved = true;
        self.save();
    }

    /// Takes the outcome of a proof of the log, which covers all of it.
    pub(super) fn log_proven(&mut self, found: &[(Proven, String)], at_ms: TimestampMs) {
        let mut by_object: BTreeMap<Proven, Vec<String>> = BTreeMap::new();
        for of in self.open.keys().filter(|of| of.is_of_log()) {
            by_object.insert(*of, Vec::new());
        }
        for (of, what) in found {
            by_object.entry(*of).or_default().push(what.clone());
        }
        for (of, found) in by_object {
            self.proven(of, &found, at_ms);
        }
        self.save();
    }

    /// Closes what is open about blocks that are not there any more.
    pub(super) fn keep_blocks(&mut self, is_there: impl Fn(Ulid) -> bool, at_ms: TimestampMs) {
        for ulid in self.blocks().into_iter().filter(|ulid| !is_there(*ulid)) {
            let Some(gone) = self.open.remove(&Proven::Block(ulid)) else { continue };
            for finding in gone.findings {
                self.close(gone.of, finding, at_ms, false);
            }
            self.is_unsaved = true;
        }
        self.save();
    }

    fn proven(&mut self, of: Proven, found: &[String], at_ms: TimestampMs) {
        let before = self.open.remove(&of).map(|one| one.findings).unwrap_or_default();
        self.is_unsaved |= !before.is_empty() || !found.is_empty();
        let mut kept: Vec<KeptFinding> = Vec::new();
        for what in found.iter().take(KEPT_OF_OBJECT) {
            let same = |one: &&KeptFinding| one.what == *what || of.is_comparison();
            let first_ms = before.iter().find(same).map_or(at_ms, |known| known.first_ms);
            kept.push(KeptFinding { what: what.clone(), first_ms, last_ms: at_ms });
        }
        let is_still =
            |finding: &KeptFinding| found.contains(&finding.what) || (of.is_comparison() && !found.is_empty());
        for ended in before.into_iter().filter(|finding| !is_still(finding)) {
            self.close(of, ended, at_ms, true);
        }
        if !kept.is_empty() {
            let more = (found.len() - kept.len()) as u64;
            self.open.insert(of, OpenFindings { of, findings: kept, more });
        }
    }

    fn close(&mut self, of: Proven, finding: KeptFinding, closed_ms: TimestampMs, by_proof: bool) {
        if self.closed.len() >= CLOSED_KEPT {
            self.closed.pop_front();
        }
        self.closed.push_back(ClosedFinding { of, finding, closed_ms, by_proof });
    }

    /// Writes down what is open. Where that fails it is known until the end of the process, and tried again.
    fn save(&mut self) {
        if !self.is_unsaved {
            return;
        }
        match write_file(&*self.fs, &self.data_dir, &self.open()) {
            Ok(()) => self.is_unsaved = false,
            Err(error) => tracing::warn!(%error, file = names::FINDINGS_FILE, "what was found cannot be written down"),
        }
    }
}

fn read_file(fs: &dyn Fs, data_dir: &Path) -> io::Result<Vec<OpenFindings>> {
    match fs.read(&data_dir.join(names::FINDINGS_FILE)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The old file or the new one is there, whatever happens meanwhile.
fn write_file(fs: &dyn Fs, data_dir: &Path, open: &[OpenFindings]) -> io::Result<()> {
    let path = data_dir.join(names::FINDINGS_FILE);
    if open.is_empty() {
        if fs.exists(&path) {
            fs.remove_file(&path)?;
            fs.sync_dir(data_dir)?;
        }
        return Ok(());
    }
    let fresh = data_dir.join(format!("{}.tmp", names::FINDINGS_FILE));
    if fs.exists(&fresh) {
        fs.remove_file(&fresh)?;
    }
    let mut file = fs.create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(open)?)?;
    file.sync_data()?;
    fs.rename(&fresh, &path)?;
    fs.sync_dir(data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    fn book(fs: &SimFs) -> FindingBook {
        fs.create_dir_all(Path::new("/data")).unwrap();
        FindingBook::read(Arc::new(fs.clone()), Path::new("/data"))
    }

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_the_use_of_a_block_met_is_added_once_and_stays_until_a_check() {
        let fs = SimFs::new(1);
        let mut book = book(&fs);
        book.block_checked(Ulid(1), &words(&["index"]), 10);
        book.block_met(Ulid(1), &words(&["index", "chunk 3"]), 20);
        let operations = fs.operations();
        book.block_met(Ulid(1), &words(&["chunk 3"]), 30);
        assert_eq!(fs.operations(), operations, "nothing new is not written down");
        let both = [("index".to_owned(), 10, 10), ("chunk 3".to_owned(), 20, 20)];
        assert_eq!(seen(&book), both);
        assert_eq!(seen(&self::book(&fs)), both, "over a restart");
        let many: Vec<String> = (0..100).map(|chunk| format!("chunk {chunk}")).collect();
        book.block_met(Ulid(1), &many, 40);
        assert_eq!(seen(&book).len(), KEPT_OF_OBJECT);
        book.block_checked(Ulid(1), &[], 50);
        assert_eq!(seen(&book), []);
    }

    fn seen(book: &FindingBook) -> Vec<(String, i64, i64)> {
        let all = book.open().into_iter().flat_map(|open| open.findings);
        all.map(|finding| (finding.what, finding.first_ms, finding.last_ms)).collect()
    }

    #[test]
    fn finding_of_a_block_stays_until_a_check_of_that_block_does_not_find_it_again() {
        let mut book = book(&SimFs::new(1));
        book.block_checked(Ulid(1), &words(&["chunk 3", "index"]), 10);
        book.block_checked(Ulid(2), &[], 20);
        book.log_proven(&[], 30);
        book.block_checked(Ulid(1), &words(&["index"]), 40);
        assert_eq!(seen(&book), [("index".to_owned(), 10, 40)]);
        book.block_checked(Ulid(1), &[], 50);
        assert_eq!((seen(&book), book.blocks()), (vec![], vec![]));
        let closed: Vec<_> =
            book.closed().into_iter().map(|one| (one.finding.what, one.closed_ms, one.by_proof)).collect();
        assert_eq!(closed, [("index".to_owned(), 50, true), ("chunk 3".to_owned(), 40, true)]);
    }

    #[test]
    fn proof_of_the_log_closes_what_it_does_not_find_again_of_any_file_and_of_no_block() {
        let mut book = book(&SimFs::new(1));
        book.block_checked(Ulid(1), &words(&["index"]), 5);
        let head = |samples: u64| (Proven::Head, format!("the head holds {samples}"));
        let (first, second) = ((Proven::Segment(7), "checksum".to_owned()), (Proven::Checkpoint(0), "torn".to_owned()));
        book.log_proven(&[first.clone(), second, head(4)], 10);
        assert_eq!(book.open().len(), 4);
        book.log_proven(&[first, head(5)], 20);
        let open = seen(&book);
        assert!(open.contains(&("the head holds 5".to_owned(), 10, 20)), "{open:?}");
        assert!(open.contains(&("checksum".to_owned(), 10, 20)) && open.len() == 3, "{open:?}");
        book.log_proven(&[], 30);
        assert_eq!(book.open().iter().map(|open| open.of).collect::<Vec<_>>(), [Proven::Block(Ulid(1))]);
    }

    #[test]
    fn open_findings_survive_a_restart_and_a_power_cut_at_any_step_loses_none_that_were_kept() {
        let fs = SimFs::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        book(&fs).block_checked(Ulid(1), &words(&["index"]), 10);
        let mut again = book(&fs);
        assert_eq!(seen(&again), [("index".to_owned(), 10, 10)]);
        again.block_checked(Ulid(1), &[], 20);
        assert!(!fs.exists(Path::new("/data/findings.json")));
        for operation in 0..6 {
            let disk = SimFs::new(1);
            disk.create_dir_all(Path::new("/data")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            book(&disk).block_checked(Ulid(1), &words(&["index"]), 10);
            let mut second = book(&disk);
            disk.lose_power_at(disk.operations() + operation);
            second.block_checked(Ulid(2), &words(&["meta.json"]), 20);
            let known = book(&disk.crash(operation)).blocks();
            assert!(known.contains(&Ulid(1)), "operation {operation}: {known:?}");
        }
    }

    #[test]
    fn finding_of_a_block_that_is_gone_is_closed_as_that() {
        let mut book = book(&SimFs::new(1));
        book.block_checked(Ulid(1), &words(&["index"]), 10);
        book.keep_blocks(|_| true, 20);
        assert_eq!(book.blocks(), [Ulid(1)]);
        book.keep_blocks(|_| false, 30);
        assert!(book.open().is_empty());
        assert_eq!(book.closed().iter().map(|one| one.by_proof).collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn findings_in_words_are_bounded_and_the_rest_is_counted() {
        let mut book = book(&SimFs::new(1));
        let many: Vec<String> = (0..100).map(|number| format!("chunk {number}")).collect();
        book.block_checked(Ulid(1), &many, 10);
        let open = book.open();
        assert_eq!((open[0].findings.len(), open[0].more), (KEPT_OF_OBJECT, 80));
        for round in 0..20 {
            book.block_checked(Ulid(1), &[], 11 + round);
            book.block_checked(Ulid(1), &many, 12 + round);
        }
        assert_eq!(book.closed().len(), CLOSED_KEPT);
    }

    #[test]
    fn file_that_cannot_be_read_is_no_reason_not_to_start() {
        let fs = SimFs::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.create(Path::new("/data/findings.json")).unwrap().write_all(b"[{\"of\":").unwrap();
        let mut book = book(&fs);
        assert!(book.open().is_empty());
        book.block_checked(Ulid(1), &words(&["index"]), 10);
        assert_eq!(self::book(&fs).blocks(), [Ulid(1)]);
    }
}
