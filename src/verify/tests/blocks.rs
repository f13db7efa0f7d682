//! A directory whose first samples went to a block, and what is found where block, ledger or log say otherwise.

use ulid::Ulid;

use super::*;
use crate::block::{Block, BlockOrigin, BlockWriter, WriterOptions};
use crate::chunk::ChunkBuilder;
use crate::db::LostBlock;
use crate::ledger::{Event, FlushedUpTo, Ledger, LeftSamples};
use crate::model::{SampleValue, Tally};
use crate::wal::{self, CheckpointPlan, Compression};

/// Samples before this time went to the block: those of the first three groups.
const FLUSHED_MS: i64 = 35;
const BLOCK: Ulid = Ulid(1 << 80 | 7);

/// The samples of the log before `end_ms`: series, time, value.
fn samples(end_ms: i64) -> Vec<(u64, i64, f64)> {
    let groups = (1..=GROUPS).flat_map(|group| (0..2).map(move |request| (group, request)));
    let all = groups.flat_map(|(group, request)| {
        (1..=group).map(move |series| (series, (group * 10 + request) as i64, series as f64 / 3.0))
    });
    all.filter(|(_, at, _)| *at < end_ms).collect()
}

fn tally(samples: &[(u64, i64, f64)]) -> Tally {
    let mut tally = Tally::ZERO;
    samples.iter().for_each(|&(series, at, value)| {
        tally.add_sample(Digest::of_labels(&labels(series)).of_sample(at, value));
    });
    tally
}

impl Log {
    fn fs() -> Arc<dyn Fs> {
        Arc::new(SystemFs)
    }

    fn write_block(&self, ulid: Ulid, samples: &[(u64, i64, f64)]) -> Arc<Block> {
        let mut writer = BlockWriter::create(Self::fs(), self.dir.path(), ulid, WriterOptions::default()).unwrap();
        for series in 1..=GROUPS {
            let mut builder = ChunkBuilder::new();
            for (_, at, value) in samples.iter().filter(|(of, ..)| *of == series) {
                assert!(builder.push(*at, &SampleValue::Float(*value)).is_none());
            }
            if let Some(chunk) = builder.finish() {
                writer.add(&labels(series), &[chunk]).unwrap();
            }
        }
        let origin = BlockOrigin { min_time_ms: 0, max_time_ms: FLUSHED_MS, level: 1, ..BlockOrigin::default() };
        writer.finish(origin).unwrap().unwrap().publish().unwrap()
    }

    fn ledger(&self) -> Ledger {
        let dir = self.dir.path();
        Ledger::open(Self::fs(), &dir.join(names::LEDGER_DIR), &dir.join(names::QUARANTINE_DIR)).unwrap()
    }

    fn record(&self, events: &[Event]) {
        self.ledger().append(events, 0).unwrap();
    }

    fn read_ledger(&self) -> ledger::Contents {
        ledger::read(&SystemFs, &self.dir.path().join(names::LEDGER_DIR)).unwrap()
    }

    fn remove_block(&self, ulid: Ulid) {
        SystemFs.remove_dir_all(&self.dir.path().join(ulid.to_string())).unwrap();
    }

    /// Moves a block where a start moves one that it cannot open; gives its place.
    fn set_aside(&self, ulid: Ulid, is_covered: bool) -> PathBuf {
        let quarantine = self.dir.path().join(names::QUARANTINE_DIR);
        SystemFs.create_dir_all(&quarantine).unwrap();
        let place = quarantine.join(format!("block-{ulid}"));
        SystemFs.rename(&self.dir.path().join(ulid.to_string()), &place).unwrap();
        let lost = LostBlock {
            ulid,
            min_time_ms: None,
            max_time_ms: None,
            reason: "not an index".to_owned(),
            found_ms: 0,
            is_covered,
            is_moved: true,
        };
        self.replace(&quarantine.join(format!("block-{ulid}.json")), &serde_json::to_vec(&lost).unwrap());
        place
    }

    /// The blocks as a listing finds them now.
    fn listed(&self) -> Blocks {
        let mut stage = Stage::new("blocks");
        Blocks::check(&Self::fs(), self.dir.path(), false, &ProgressBar::hidden(), &mut stage).unwrap()
    }

    /// What is said of the directories, where the blocks were listed and the ledger was read before.
    fn directories(&self, ledger: &ledger::Contents, blocks: &Blocks) -> Stage {
        let mut stage = Stage::new("conservation");
        conservation::directories(&SystemFs, self.dir.path(), ledger, blocks, &mut stage).unwrap();
        stage
    }

    fn verify_blocks(&self, deep: bool) -> VerifyReport {
        let data_dir = self.dir.path().to_owned();
        verify(&Self::fs(), &VerifyOptions { data_dir, deep, ..VerifyOptions::default() })
    }
}

fn flushed(tally: Tally) -> Event {
    let up_to = FlushedUpTo::TimeMs(FLUSHED_MS);
    Event::Flushed { ulid: Some(BLOCK), up_to, tally, deleted: Tally::ZERO }
}

/// A log whose first samples were flushed.
fn flushed_log() -> Log {
    let log = Log::new();
    let samples = samples(FLUSHED_MS);
    log.write_block(BLOCK, &samples);
    log.record(&[flushed(tally(&samples))]);
    log
}

#[test]
fn block_that_equals_ledger_and_log_is_proven() {
    let log = flushed_log();
    let report = log.verify_blocks(true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    let blocks = stage(&report, "blocks");
    assert_eq!((&blocks.numbers["blocks"], &blocks.numbers["samples"]), (&1.into(), &12.into()));
    assert_eq!(
        (&blocks.numbers["blocks_equal_to_ledger"], &blocks.numbers["blocks_equal_to_log"]),
        (&1.into(), &1.into())
    );
    let conservation = stage(&report, "conservation");
    assert_eq!(conservation.numbers["acknowledged"], 20);
    assert_eq!(conservation.numbers["flushed_and_in_the_log"], 12);
    let report = log.verify_blocks(false);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert!(stage(&report, "blocks").notes[0].contains("--deep"), "{}", report.to_table());
}

#[test]
fn directory_without_a_ledger_or_without_a_log_is_proven_as_far_as_it_goes() {
    let log = Log::new();
    log.write_block(BLOCK, &samples(FLUSHED_MS));
    let report = log.verify_blocks(true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert!(stage(&report, "conservation").summary.contains("no ledger"));
    SystemFs.remove_dir_all(&log.dir.path().join(names::WAL_DIR)).unwrap();
    let report = log.verify_blocks(true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "blocks").numbers["samples"], 12);
}

#[test]
fn flipped_byte_of_a_chunk_is_found_with_and_without_decoding() {
    let log = flushed_log();
    let path = log.dir.path().join(BLOCK.to_string()).join("chunks/000001");
    let mut bytes = SystemFs.read(&path).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 4;
    log.replace(&path, &bytes);
    for deep in [true, false] {
        assert_wrong(&log.verify_blocks(deep), "blocks", &BLOCK.to_string());
    }
}

#[test]
fn flipped_byte_of_a_postings_list_is_found_with_and_without_decoding() {
    let index = |log: &Log| log.dir.path().join(BLOCK.to_string()).join("index");
    let bytes = SystemFs.read(&index(&flushed_log())).unwrap();
    let u32_at = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    // The list of all series comes first. Each has its length and count in front, and a checksum behind.
    let all = u32_at(bytes.len() - 52 + 36);
    let second = all + 4 + u32_at(all) + 4;
    for list in [all, second.next_multiple_of(4)] {
        let log = flushed_log();
        let mut bytes = bytes.clone();
        bytes[list + 11] ^= 4;
        log.replace(&index(&log), &bytes);
        for deep in [true, false] {
            assert_wrong(&log.verify_blocks(deep), "blocks", &format!("block {BLOCK}: index: checksum of a section"));
        }
    }
}

#[test]
fn block_in_quarantine_is_found_until_it_is_removed_or_others_have_its_samples() {
    let set_aside = |is_covered, is_recorded| {
        let log = flushed_log();
        let place = log.set_aside(BLOCK, is_covered);
        let (tally, reason) = (tally(&samples(FLUSHED_MS)), "not an index".to_owned());
        if is_recorded {
            log.record(&[Event::Quarantined { ulid: BLOCK, tally, reason }]);
        }
        (log, place)
    };
    let words = format!("block {BLOCK}, 12 samples, lies in quarantine: not an index");
    for deep in [true, false] {
        for is_recorded in [true, false] {
            let (log, place) = set_aside(false, is_recorded);
            let report = log.verify_blocks(deep);
            assert_wrong(&report, "blocks", &words);
            assert_eq!(stage(&report, "conservation").status, StageStatus::Proven, "{}", report.to_table());
            SystemFs.remove_dir_all(&place).unwrap();
            let report = log.verify_blocks(deep);
            assert_eq!(report.exit_code() == 0, is_recorded, "{}", report.to_table());
        }
        let (log, place) = set_aside(false, true);
        SystemFs.rename(&place, &log.dir.path().join(BLOCK.to_string())).unwrap();
        let report = log.verify_blocks(deep);
        assert_eq!(report.exit_code(), 0, "put back: {}", report.to_table());
        let (log, _) = set_aside(true, true);
        let report = log.verify_blocks(deep);
        assert_eq!(report.exit_code(), 0, "covered: {}", report.to_table());
    }
    // One that nobody knows anything about.
    let log = flushed_log();
    log.write_block(Ulid(9), &samples(FLUSHED_MS));
    let place = log.set_aside(Ulid(9), true);
    SystemFs.remove_file(&place.with_extension("json")).unwrap();
    let words = format!("block {}, an unknown number of samples, lies in quarantine: there is no note", Ulid(9));
    assert_wrong(&log.verify_blocks(false), "blocks", &words);
}

#[test]
fn block_published_and_recorded_after_the_blocks_were_listed_is_not_missing() {
    let log = flushed_log();
    let (listed, other) = (log.listed(), Ulid(9));
    log.write_block(other, &samples(FLUSHED_MS));
    log.record(&[Event::Adopted { ulid: other, tally: tally(&samples(FLUSHED_MS)) }]);
    let ledger = log.read_ledger();
    let stage = log.directories(&ledger, &listed);
    assert_eq!((stage.findings_total, stage.notes.len()), (0, 1), "{stage:?}");
    assert!(stage.notes[0].contains("came since"), "{stage:?}");
    log.remove_block(other);
    let stage = log.directories(&ledger, &listed);
    assert!(stage.findings.concat().contains(&format!("block {other} is missing")), "{stage:?}");
}

#[test]
fn block_that_ended_after_the_ledger_was_read_is_not_missing() {
    let log = flushed_log();
    let ledger = log.read_ledger();
    log.record(&[Event::Expired { ulid: BLOCK, tally: tally(&samples(FLUSHED_MS)) }]);
    log.remove_block(BLOCK);
    let stage = log.directories(&ledger, &log.listed());
    assert_eq!((stage.findings_total, stage.notes.len()), (0, 0), "{stage:?}");
}

#[test]
fn block_that_cannot_be_opened_is_found_and_not_missed_as_well() {
    let log = flushed_log();
    let path = log.dir.path().join(BLOCK.to_string()).join("meta.json");
    log.replace(&path, b"{}");
    let report = log.verify_blocks(false);
    assert_wrong(&report, "blocks", "cannot be opened");
    assert_eq!(stage(&report, "conservation").status, StageStatus::Proven, "{}", report.to_table());
}

#[test]
fn block_that_lacks_a_sample_is_found_by_its_ledger_entry_and_by_the_log() {
    let log = Log::new();
    let mut samples = samples(FLUSHED_MS);
    let all = tally(&samples);
    samples.remove(3);
    log.write_block(BLOCK, &samples);
    log.record(&[flushed(all)]);
    assert_wrong(&log.verify_blocks(true), "blocks", "the ledger says 12 samples");
    assert_wrong(&log.verify_blocks(false), "blocks", "the ledger says 12 samples");

    // The ledger agrees with the block: the log does not, and names the series.
    let log = Log::new();
    log.write_block(BLOCK, &samples);
    log.record(&[flushed(tally(&samples))]);
    let report = log.verify_blocks(true);
    assert_wrong(&report, "blocks", "the log holds 12 samples");
    assert_wrong(&report, "blocks", "node-");
}

#[test]
fn block_that_holds_more_than_was_ever_in_the_log_is_found() {
    let log = Log::new();
    let mut samples = samples(FLUSHED_MS);
    samples.push((1, 32, 5.0));
    log.write_block(BLOCK, &samples);
    log.record(&[flushed(tally(&samples))]);
    let report = log.verify_blocks(true);
    assert_wrong(&report, "blocks", "{__name__=\"up\", instance=\"node-1\"}: in the block 7 samples");
    assert_wrong(&report, "conservation", "the log had 12 samples");
}

#[test]
fn block_of_the_ledger_without_a_directory_is_missing_and_one_that_it_lacks_is_told() {
    let log = flushed_log();
    SystemFs.remove_dir_all(&log.dir.path().join(BLOCK.to_string())).unwrap();
    assert_wrong(&log.verify_blocks(false), "conservation", "is missing");
    let other = Ulid(9);
    log.record(&[Event::Expired { ulid: BLOCK, tally: tally(&samples(FLUSHED_MS)) }]);
    log.write_block(other, &samples(FLUSHED_MS));
    let report = log.verify_blocks(false);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert!(stage(&report, "conservation").notes[0].contains("not in the ledger"), "{}", report.to_table());
}

#[test]
fn events_that_do_not_add_up_are_found() {
    let whole = tally(&samples(FLUSHED_MS));
    let (part, one) = (tally(&samples(FLUSHED_MS)[1..]), tally(&samples(FLUSHED_MS)[..1]));
    let child = Ulid(11);
    let compacted = |parents, stored, deleted| Event::Compacted {
        parents,
        child: Some(child),
        stored,
        deleted,
        deduplicated: Tally::ZERO,
    };
    let log = flushed_log();
    log.record(&[compacted(vec![BLOCK], part, one)]);
    SystemFs.remove_dir_all(&log.dir.path().join(BLOCK.to_string())).unwrap();
    log.write_block(child, &samples(FLUSHED_MS)[1..]);
    let report = log.verify_blocks(true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    for (event, words) in [
        (compacted(vec![BLOCK], part, Tally::ZERO), "is not the sum"),
        (compacted(vec![Ulid(99)], whole, Tally::ZERO), "was in no event before"),
        (Event::Deleted { ulid: BLOCK, tally: part }, "was removed with"),
        (flushed(whole), "came a second time"),
    ] {
        let log = flushed_log();
        log.record(&[event]);
        assert_wrong(&log.verify_blocks(false), "conservation", words);
    }
}

#[test]
fn ledger_that_was_folded_is_proven_as_before() {
    let log = flushed_log();
    let filler = |chars| Event::LogQuarantined { place: "x".repeat(chars), up_to_segment: 0, bytes: 0 };
    let mut ledger = log.ledger();
    ledger.append(&[filler(1 << 20)], 0).unwrap();
    ledger.append(&vec![filler(1); 600], 0).unwrap();
    assert!(matches!(ledger.entries()[0].event, Event::Folded { .. }));
    let report = log.verify_blocks(true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
}

#[test]
fn fold_that_does_not_tell_in_order_samples_leaves_open_what_only_they_would_show() {
    let with_fold = |flushed_in_order: Option<Tally>, missing: usize| {
        let log = Log::new();
        let samples = &samples(FLUSHED_MS)[missing..];
        log.write_block(BLOCK, samples);
        log.record(&[flushed(tally(samples))]);
        let mut state = log.ledger().state().clone();
        state.totals.flushed_in_order = flushed_in_order;
        SystemFs.remove_dir_all(&log.dir.path().join(names::LEDGER_DIR)).unwrap();
        log.record(&[Event::Folded { state: Box::new(state) }]);
        log.verify_blocks(true)
    };
    let report = with_fold(None, 0);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    let report = with_fold(None, 1);
    assert_eq!(report.verdict(), Verdict::Unproven, "{}", report.to_table());
    let in_order = tally(&samples(FLUSHED_MS)[1..]);
    assert_wrong(&with_fold(Some(in_order), 1), "conservation", "in-order samples: flushed");
}

#[test]
fn receipt_whose_samples_left_the_log_is_proven_by_the_ledger() {
    let log = flushed_log();
    let gone = tally(&samples(12));
    let mut ledger = log.ledger();
    let receipts = ledger.write_receipts(&[(900, gone)]).unwrap();
    let left = LeftSamples { in_order: gone, ..LeftSamples::default() };
    let truncated = Event::Truncated { up_to_segment: 0, left, last_group: 0, next_commit: 901, chain: 0, receipts };
    // They were flushed before they left.
    let old = Event::Flushed { ulid: None, up_to: FlushedUpTo::TimeMs(1), tally: Tally::ZERO, deleted: gone };
    ledger.append(&[old, truncated], 0).unwrap();
    drop(ledger);
    let mut lines = log.receipts();
    lines.push(ReceiptLine {
        commit: 900,
        digest: gone.digest,
        samples: gone.samples,
        durability: "fsync".into(),
        sent_at_ms: 0,
    });
    log.write_receipts(&lines);
    let report = log.verify();
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    assert_eq!(stage(&report, "receipts").numbers["receipts_proven_by_ledger"], 1);
    lines[8].samples += 1;
    log.write_receipts(&lines);
    assert_wrong(&log.verify(), "receipts", "the ledger says");
}

#[test]
fn receipt_of_a_segment_that_a_truncation_was_about_to_remove_is_proven() {
    let log = flushed_log();
    let wal_dir = log.dir.path().join(names::WAL_DIR);
    log.replace(&wal_dir.join("00000001"), b"");
    let plan = CheckpointPlan {
        up_to_segment: 0,
        keep_series: &|_| true,
        min_time_ms: FLUSHED_MS,
        out_of_order_up_to_group: 0,
        keep_tombstone: &|_| false,
        keep_exemplar: &|_, _| false,
        keep_family: &|_| false,
        name_series: &|_| Vec::new(),
        is_flushed: &|_, _| true,
        compression: Compression::Snappy,
        segment_bytes: 1 << 20,
        quarantine_dir: &log.dir.path().join(names::QUARANTINE_DIR),
    };
    wal::checkpoint(&SystemFs, &wal_dir, &plan).unwrap();
    let report = log.verify();
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    let receipts = stage(&report, "receipts");
    assert_eq!(receipts.numbers["receipts_proven"], receipts.numbers["receipts"]);
    assert!(receipts.notes[0].contains("about to remove"), "{receipts:?}");
    // A receipt that the segment does not have is not proven by it.
    let mut lines = log.receipts();
    lines[0].samples += 1;
    log.write_receipts(&lines);
    assert_wrong(&log.verify(), "receipts", "commit 1 ");
}
