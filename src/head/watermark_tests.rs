//! A start that passes over what the chunk files hold, against one that reads the whole log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tests::{Request, contents, raw};
use super::*;
use crate::clock::ManualClock;
use crate::fs::sim::{Fault, SimFs};
use crate::fs::{Fs, names};
use crate::wal::{
    GroupWriter, LogKnown, Recovery, RecoveryMode, ReplayProgress, Resume, WalOptions, recover_from, replay_estimate,
    summarize,
};

fn path(name: &str) -> PathBuf {
    Path::new("/data").join(name)
}

fn open(fs: &SimFs) -> (Head, LoadReport) {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    Head::open(HeadOptions::default(), fs, &path("chunks_head"), &path("quarantine")).unwrap()
}

/// A head and its log.
struct Store {
    fs: SimFs,
    head: Head,
    writer: GroupWriter,
}

const SCRAPE_MS: i64 = 15_000;
const LATE: &str = "late";

impl Store {
    fn new() -> Self {
        let fs = SimFs::new(5);
        fs.create_dir_all(&path("chunks_head")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        fs.sync_dir(&path("")).unwrap();
        let options = WalOptions { segment_bytes: 10_000, ..WalOptions::default() };
        let clock = Arc::new(ManualClock::at(0));
        let writer = GroupWriter::new(Arc::new(fs.clone()), path("wal"), Resume::default(), options, clock);
        Store { head: open(&fs).0, fs, writer }
    }

    fn group(&mut self, samples: &[(&str, i64)]) {
        let entry = |&(name, at_ms): &(&str, i64)| {
            (raw(&[("__name__", "m"), ("series", name)]), vec![(at_ms, (at_ms as f64).sin().to_bits())])
        };
        let outcome = Request(samples.iter().map(entry).collect()).append_to(&self.head);
        self.writer.form_group(&[(outcome.added, outcome.digest)], self.head.take_records(), false);
        for group in self.writer.write_pending().0 {
            if let Some(on_durable) = group.records.on_durable {
                on_durable();
            }
        }
    }

    /// Scrapes of twelve series, one of which ceases early.
    fn scrapes(&mut self, scrapes: std::ops::Range<i64>) {
        let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
        for scrape in scrapes {
            let live = names.iter().filter(|name| *name != "s5" || scrape < 50);
            let samples: Vec<_> = live.map(|name| (name.as_str(), scrape * SCRAPE_MS)).collect();
            self.group(&samples);
        }
    }

    /// What maintenance does from time to time.
    fn note(&mut self) -> std::io::Result<Option<Watermark>> {
        summarize(&self.fs, &path("wal"), false).map_err(std::io::Error::other)?;
        self.head.cut_open_chunks(self.head.max_time_ms().unwrap_or(0) - 45 * 60_000);
        self.group(&[]);
        self.head.flush_chunks();
        self.head.write_watermark(&self.fs, &path("chunks_head"), self.writer.durable().0)
    }
}

/// A store with a watermark, later groups with old samples, and a log that goes on.
fn store() -> Store {
    let mut store = Store::new();
    store.scrapes(0..350);
    store.note().unwrap();
    // Old by their times, and not in the files.
    (1..10).for_each(|at_ms| store.group(&[(LATE, at_ms)]));
    store.scrapes(350..420);
    summarize(&store.fs, &path("wal"), false).unwrap();
    store
}

fn restart(fs: &SimFs, may_skip: bool) -> (Head, LoadReport, Recovery, ReplayReport) {
    let (head, loaded) = open(fs);
    let mut replay = head.replay(2).unwrap();
    let from = may_skip.then(|| head.replay_from(loaded.watermark.as_ref()));
    let (mode, progress) = (RecoveryMode::Salvage, ReplayProgress::default());
    let known = LogKnown { from, left: None };
    let recovery = recover_from(fs, &path("wal"), &path("quarantine"), mode, known, &mut replay, &progress).unwrap();
    let report = replay.finish().unwrap();
    (head, loaded, recovery, report)
}

/// Restarts both ways, compares them, and says how many segments the first passed over.
fn compare(fs: &SimFs, what: &str) -> u64 {
    let (head, _, recovery, report) = restart(&fs.crash(0), true);
    let (whole_head, _, whole, _) = restart(&fs.crash(0), false);
    assert!(contents(&head) == contents(&whole_head), "{what}");
    assert_eq!((recovery.resume, &recovery.damages), (whole.resume, &whole.damages), "{what}");
    assert_eq!(recovery.log.segments, whole.log.segments, "{what}");
    assert_eq!((recovery.log.requests, recovery.log.groups), (whole.log.requests, whole.log.groups), "{what}");
    assert_eq!(report.chunks_misplaced, 0, "{what}");
    recovery.log.segments_skipped
}

#[test]
fn start_reads_only_what_the_chunk_files_lack() {
    let store = store();
    let expected = contents(&store.head);
    let Store { fs, head, .. } = store;
    drop(head);
    let fs = fs.crash(1);
    let skipped = compare(&fs, "after a power loss");
    let (head, loaded, recovery, report) = restart(&fs, true);
    assert!(contents(&head) == expected);
    let segments = recovery.log.segments.len() as u64;
    assert!(skipped > segments / 3 && skipped < segments, "{skipped} of {segments}");
    assert!(report.samples < 12 * 300, "{}", report.samples);
    let from = head.replay_from(loaded.watermark.as_ref());
    let estimate = replay_estimate(&fs, &path("wal"), Some(from)).unwrap();
    assert_eq!((estimate.segments, estimate.segments_skipped), (segments - skipped, skipped));
    assert_eq!(replay_estimate(&fs, &path("wal"), None).unwrap().segments, segments);
    // The newest sample of a series whose groups were not read is known, bit for bit.
    let at_ms = 49 * SCRAPE_MS;
    let again = |bits| {
        let labels = raw(&[("__name__", "m"), ("series", "s5")]);
        Request(vec![(labels, vec![(at_ms, bits)])]).append_to(&head)
    };
    let bits = (at_ms as f64).sin().to_bits();
    assert_eq!((again(bits).duplicates, again(bits).rejected_total()), (1, 0), "a repetition");
    assert_eq!(again(bits ^ 1).rejected_total(), 1, "another value");
}

#[test]
fn power_loss_at_every_operation_of_noting_a_watermark_costs_no_sample() {
    let mut dry = Store::new();
    dry.scrapes(0..260);
    let start = dry.fs.operations();
    dry.note().unwrap();
    let end = dry.fs.operations();
    for operation in (start..end).step_by(3).chain([end - 2, end - 1]) {
        let mut store = Store::new();
        store.scrapes(0..260);
        let expected = contents(&store.head);
        store.fs.lose_power_at(operation);
        let _interrupted = store.note();
        let fs = store.fs.crash(operation);
        drop(store);
        compare(&fs, &format!("operation {operation}"));
        assert!(contents(&restart(&fs, true).0) == expected, "operation {operation}");
    }
}

fn replace(fs: &SimFs, path: &Path, bytes: &[u8]) {
    fs.remove_file(path).unwrap();
    let mut file = fs.create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(path.parent().unwrap()).unwrap();
}

#[test]
fn samples_of_groups_behind_the_watermark_are_read_however_old_they_are() {
    let mut store = store();
    let before = store.writer.durable().0;
    // Whole segments of them, and no full chunk.
    let names: Vec<String> = (0..10).map(|number| format!("{LATE}{number}")).collect();
    for (at_ms, name) in (10..600).zip(names.iter().cycle()) {
        store.group(&[(name, at_ms)]);
    }
    summarize(&store.fs, &path("wal"), false).unwrap();
    assert!(store.writer.durable().0 - before > 500);
    let expected = contents(&store.head);
    let Store { fs, head, .. } = store;
    drop(head);
    let fs = fs.crash(1);
    assert!(compare(&fs, "old samples of late groups") > 0);
    assert!(contents(&restart(&fs, true).0) == expected);
}

#[test]
fn watermark_stays_before_full_chunks_that_could_not_be_written_yet() {
    let mut store = Store::new();
    store.scrapes(0..300);
    store.head.flush_chunks();
    summarize(&store.fs, &path("wal"), false).unwrap();
    store.head.cut_open_chunks(i64::MAX);
    store.writer.form_group(&[], store.head.take_records(), false);
    let groups = store.writer.write_pending().0;
    store.fs.fail(store.fs.operations()..u64::MAX, Fault::NoSpace);
    groups.into_iter().filter_map(|group| group.records.on_durable).for_each(|on_durable| on_durable());
    store.head.flush_chunks();
    store.fs.heal();
    let group = store.writer.durable().0;
    let noted = store.head.write_watermark(&store.fs, &path("chunks_head"), group).unwrap().unwrap();
    assert!(noted.below_ms < 300 * SCRAPE_MS, "{noted:?}");
    let expected = contents(&store.head);
    let disk = store.fs.crash(1);
    compare(&disk, "chunks in memory");
    assert!(contents(&restart(&disk, true).0) == expected);
}

#[test]
fn segment_behind_one_that_is_missing_is_read_so_that_what_is_missing_is_named() {
    let Store { fs, head, .. } = store();
    drop(head);
    let whole = compare(&fs, "whole");
    fs.remove_file(&names::wal_segment(&path("wal"), 2)).unwrap();
    fs.sync_dir(&path("wal")).unwrap();
    assert!(compare(&fs, "segment that is missing") < whole);
    let named = restart(&fs, true).2.damages;
    assert!(named.iter().any(|damage| damage.groups.is_some()), "{named:?}");
}

#[test]
fn flipped_bits_of_watermark_and_summaries_cost_no_sample() {
    let Store { fs, head, .. } = store();
    drop(head);
    let whole = compare(&fs, "whole");
    let watermark = path("chunks_head").join(names::WATERMARK_FILE);
    let summary = names::wal_summary(&path("wal"), 1);
    for (file, step) in [(watermark, 11), (summary, 61)] {
        let bytes = fs.read(&file).unwrap();
        for bit in (0..bytes.len() * 8).step_by(step) {
            let what = format!("bit {bit} of {}", file.display());
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let disk = fs.crash(0);
            replace(&disk, &file, &damaged);
            assert!(compare(&disk, &what) < whole, "{what}");
        }
        let disk = fs.crash(0);
        replace(&disk, &file, &bytes[..bytes.len() / 2]);
        assert!(compare(&disk, "cut") < whole);
    }
}

#[test]
fn summary_of_another_segment_and_watermark_of_other_files_are_refused() {
    let Store { fs, head, .. } = store();
    drop(head);
    let whole = compare(&fs, "whole");
    let summaries = [1, 2].map(|segment| names::wal_summary(&path("wal"), segment));
    let disk = fs.crash(0);
    replace(&disk, &summaries[1], &fs.read(&summaries[0]).unwrap());
    assert!(compare(&disk, "summary of another segment") < whole);
    // The segment was replaced by its neighbour's bytes, and its summary is the old one.
    let segments = [1, 2].map(|segment| names::wal_segment(&path("wal"), segment));
    let disk = fs.crash(0);
    replace(&disk, &segments[1], &fs.read(&segments[0]).unwrap());
    let (head, whole_head) = (restart(&disk.crash(0), true).0, restart(&disk.crash(0), false).0);
    assert!(contents(&head) == contents(&whole_head), "segment with the bytes of another");
    for cut in [1, 40, 3_000] {
        let disk = fs.crash(0);
        let chunks = names::head_chunk_file(&path("chunks_head"), 1);
        let bytes = fs.read(&chunks).unwrap();
        replace(&disk, &chunks, &bytes[..bytes.len() - cut]);
        compare(&disk, "chunk file that is cut");
        let mut damaged = bytes;
        let at = damaged.len() - cut;
        damaged[at] ^= 1;
        replace(&disk, &chunks, &damaged);
        compare(&disk, "chunk file that is damaged");
    }
}

#[test]
fn head_that_never_had_chunk_files_lacks_none() {
    let dir = tempfile::tempdir().unwrap();
    let (chunks_dir, quarantine_dir) = (dir.path().join("chunks_head"), dir.path().join("quarantine"));
    let fs: Arc<dyn Fs> = Arc::new(crate::fs::SystemFs);
    let (_head, report) = Head::open(HeadOptions::default(), fs, &chunks_dir, &quarantine_dir).unwrap();
    assert!(!report.lacks_chunks && report.damage.is_none(), "{report:?}");
}

#[test]
fn zeros_of_a_killed_prometheus_are_cut_and_cost_neither_chunks_nor_the_watermark() {
    let Store { fs, head, .. } = store();
    drop(head);
    let expected = contents(&restart(&fs.crash(0), true).0);
    let [chunks, next] = [1, 2].map(|number| names::head_chunk_file(&path("chunks_head"), number));
    let first = fs.read(&chunks).unwrap();
    let mut zeros = first.clone();
    zeros.resize(128 << 10, 0);
    replace(&fs, &chunks, &zeros);
    // The file that a Prometheus begins when it is started again.
    let mut file = fs.create(&next).unwrap();
    file.write_all(&first[..crate::chunk::head_file::FILE_HEADER_BYTES]).unwrap();
    for start in 0..2 {
        let (head, loaded, ..) = restart(&fs, true);
        assert!(contents(&head) == expected, "start {start}");
        assert!(loaded.damage.is_none() && loaded.watermark.is_some() && loaded.quarantined.is_empty(), "{loaded:?}");
        assert_eq!(fs.read(&chunks).unwrap(), first, "start {start}");
    }
}
