//! Bugs on purpose, and which check catches each: the table of `docs/testing.md`.
//!
//! Every bug is planted alone, in a scene that goes by the place where it is. The scene's checks are asked after each
//! step, the program's own first; the first one that finds something ends the scene. The same scenes without a bug have
//! to end without a finding.

mod scenes;

use std::fmt::Write as _;

use super::witness::Check;
use crate::planted::{self, Bug};
use scenes::Scene;

/// A bug, what it is in words, in which scene it is planted, which check catches it, and words of the finding.
type Row = (Bug, &'static str, Scene, Check, &'static str);

const TABLE: &[Row] = &[
    (
        Bug::LogNotSynced,
        "fdatasync of the log skipped",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::AcknowledgedBeforeSync,
        "acknowledged first, synced then",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::SegmentNameNotSynced,
        "directory not synced after a new segment",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::CheckpointDropsSamples,
        "checkpoint drops samples that no block has",
        Scene::Day,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::CheckpointDropsSeries,
        "checkpoint drops series of which it keeps samples",
        Scene::Day,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::CheckpointDropsOutOfOrder,
        "checkpoint drops late samples that were not flushed",
        Scene::Day,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::CheckpointDropsTombstones,
        "checkpoint drops deletions of samples that it keeps",
        Scene::Day,
        Check::Answers,
        "2 too many",
    ),
    (
        Bug::CheckpointNameNotSynced,
        "directory not synced after a checkpoint, and the segments removed",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::TruncatedBeforeProof,
        "log truncated before the block is proven",
        Scene::FailedFlush,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::ReceiptsNotKept,
        "receipts that leave the log not written down",
        Scene::Day,
        Check::Stage("conservation"),
        "in the log and left it",
    ),
    (
        Bug::ChunkLeftOut,
        "chunk left out of a block",
        Scene::Day,
        Check::FlushProof,
        "the block is not what the log holds",
    ),
    (Bug::SeriesLeftOut, "series left out of a block", Scene::Day, Check::FlushProof, "samples were written of"),
    (
        Bug::BitFlipped,
        "lowest bit of a value changed on its way to a block",
        Scene::Day,
        Check::FlushProof,
        "samples in both, with other values or times",
    ),
    (
        Bug::DuplicateKept,
        "sample of two blocks kept twice",
        Scene::Day,
        Check::Conservation,
        "is not the sum of its parents",
    ),
    (
        Bug::DigestNotUpdated,
        "sample left out of a compaction without its digest",
        Scene::Day,
        Check::Conservation,
        "is not the sum of its parents",
    ),
    (
        Bug::DeletionNotApplied,
        "deleted samples kept by a flush and counted as deleted",
        Scene::Day,
        Check::FlushProof,
        "the block is not what the log holds",
    ),
    (
        Bug::DeletionNotFlushed,
        "head gives a block its samples without its deletions",
        Scene::Day,
        Check::FlushProof,
        "the block is not what the log holds",
    ),
    (Bug::DeletionTooFar, "deletion applied a millisecond too far", Scene::Day, Check::Answers, "1 samples lost"),
    (
        Bug::PostingMissing,
        "series left out of the postings of a label",
        Scene::Day,
        Check::FlushProof,
        "postings are not in order",
    ),
    (
        Bug::AcceleratorPostingMissing,
        "series left out of the postings of the accelerator",
        Scene::Day,
        Check::Step,
        "the accelerator of block",
    ),
    (Bug::ChunkChecksumIgnored, "checksum of a chunk not compared", Scene::Rot, Check::Answers, "with another value"),
    (
        Bug::BlockNotSynced,
        "block renamed before its files are synced",
        Scene::PowerLoss,
        Check::PowerLoss,
        "are missing",
    ),
    (
        Bug::BlockNameNotSynced,
        "directory not synced after the rename of a block",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::FlushRecordedTooEarly,
        "ledger tells of a flush before the block has its name",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (
        Bug::LedgerNotSynced,
        "ledger not synced before what it speaks of is removed",
        Scene::PowerLoss,
        Check::PowerLoss,
        "the ledger does not balance",
    ),
    (
        Bug::LedgerNotSettled,
        "a word of the ledger that was not acknowledged stays when its block goes",
        Scene::CutFlush,
        Check::Stage("conservation"),
        "is missing: 360 samples",
    ),
    (
        Bug::LedgerDigestWrong,
        "digest of a compacted block not updated in the ledger",
        Scene::Day,
        Check::Scrub,
        "and the ledger says",
    ),
    (
        Bug::ParentsRemovedTooEarly,
        "parents removed before their child is durable",
        Scene::PowerLoss,
        Check::PowerLoss,
        "was acknowledged and is lost",
    ),
    (Bug::TruncatedTooFar, "head truncated one chunk too far", Scene::Day, Check::LogProof, "; the log gives"),
    (
        Bug::FloorNotRaised,
        "floor not raised before the head is flushed",
        Scene::Day,
        Check::Stage("conservation"),
        "in-order samples: flushed",
    ),
    (
        Bug::GroupFlushedTooEarly,
        "groups counted as flushed whose late samples are not",
        Scene::Day,
        Check::LogProof,
        "groups are missing",
    ),
    (
        Bug::ReplayedTooLittle,
        "replay passes over samples that no block has",
        Scene::Day,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::ReplayedTooMuch,
        "replay takes late samples that blocks have",
        Scene::Day,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::ConflictAccepted,
        "another value of a time accepted as the same",
        Scene::Day,
        Check::Verdicts,
        "another value of a time that is there",
    ),
    (
        Bug::ExpiredByTheFuture,
        "age counted from a block of the future",
        Scene::Future,
        Check::Answers,
        "240 samples lost",
    ),
    (Bug::ExpiredAll, "all blocks expired in one pass", Scene::Tiny, Check::Answers, "120 samples lost"),
    (Bug::SnapshotWithoutHead, "snapshot without the head", Scene::Day, Check::Answers, "the snapshot:"),
    (
        Bug::ChunkLeftOut,
        "chunk left out of a block whose witness is the head",
        Scene::Emptied,
        Check::FlushProof,
        "the blocks that were made of it have",
    ),
    (
        Bug::TruncationCountedTwice,
        "truncation counted again after a crash",
        Scene::CutTruncation,
        Check::Stage("conservation"),
        "in the log and left it",
    ),
    (
        Bug::WatermarkGroupIgnored,
        "segment behind the watermark passed over",
        Scene::Slow,
        Check::LogProof,
        "; the log gives",
    ),
    (
        Bug::TakeOverNotRecorded,
        "segments that another program took not written down",
        Scene::TakenOver,
        Check::Stage("receipts"),
        "nor among what left it",
    ),
    (
        Bug::NumbersRepeated,
        "numbers given again after another program took the log",
        Scene::TakenOver,
        Check::Verdicts,
        "was given before",
    ),
    (
        Bug::ExemplarNotLogged,
        "exemplar stored and not logged",
        Scene::Day,
        Check::Answers,
        "0 exemplars of 4 that were acknowledged",
    ),
    (
        Bug::CheckpointDropsExemplars,
        "checkpoint drops exemplars that are stored",
        Scene::Day,
        Check::Answers,
        "0 exemplars of 4 that were acknowledged",
    ),
    (
        Bug::MetadataNotReplayed,
        "metadata of metric families not replayed",
        Scene::Day,
        Check::Answers,
        "metadata of {} instead of",
    ),
    (Bug::ReserveKept, "reserve not given up on a full disk", Scene::FullDisk, Check::Step, "no space left on device"),
];

#[test]
fn planted_bugs_are_caught_each_by_the_check_that_is_named() {
    check_rows(|scene| !Scene::OF_THE_LOG.contains(&scene));
}

#[test]
fn planted_bugs_about_what_leaves_the_log_are_caught_each_by_the_check_that_is_named() {
    check_rows(|scene| Scene::OF_THE_LOG.contains(&scene));
}

fn check_rows(is_wanted: impl Fn(Scene) -> bool) {
    let mut wrong = Vec::new();
    for &(bug, what, scene, check, words) in TABLE.iter().filter(|row| is_wanted(row.2)) {
        let (found, strikes) = planted::with(bug, || scene.play());
        let problem = match found {
            _ if strikes == 0 => "did not strike".to_owned(),
            Ok(()) => format!("struck {strikes} times and nobody caught it"),
            Err(caught) if caught.check != check || !caught.words.contains(words) => {
                format!("was caught by another check than {check}: {caught}")
            }
            Err(_) => continue,
        };
        wrong.push(format!("{bug:?} ({what}) in {scene:?}: {problem}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scenes_without_a_planted_bug_end_without_a_finding() {
    for scene in Scene::OTHERS.into_iter().chain(Scene::OF_THE_LOG) {
        if let Err(caught) = scene.play() {
            panic!("{scene:?}: {caught}");
        }
    }
}

#[test]
fn document_says_of_each_planted_bug_what_catches_it() {
    let mut table = "| bug | caught by | the words |\n|---|---|---|\n".to_owned();
    for (_, what, _, check, words) in TABLE {
        writeln!(table, "| {what} | {check} | {words} |").unwrap();
    }
    let document = include_str!("../../../../docs/testing.md");
    assert!(document.contains(&table), "docs/testing.md has to hold this table:\n\n{table}");
}
