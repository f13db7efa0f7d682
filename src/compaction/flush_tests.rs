//! Blocks of the head against the log: equal ones are proven, and any difference is found and named.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::testing::*;
use super::*;
use crate::block::BlockOrigin;
use crate::clock::ManualClock;
use crate::fs::sim::SimFs;
use crate::fs::{Fs, names};
use crate::model::{Digest, TimeRange};
use crate::proof::LogPart;
use crate::wal::record::{SamplesEncoder, SeriesEncoder, Tombstone, push_tombstone};
use crate::wal::{GroupRecords, GroupWriter, Resume, WalOptions};

const DATA: &str = "/data";

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn series(number: u32, samples: impl IntoIterator<Item = (i64, f64)>) -> TestSeries {
    TestSeries { labels: labels(number), samples: samples.into_iter().collect(), deleted: Vec::new(), per_chunk: 10 }
}

/// A log: in group 1 the series and their samples in order, in group 2 samples out of order, in group 3 a deletion.
fn log(in_order: &TestSource, late: &TestSource, deleted: Option<(u64, TimeRange)>) -> Arc<dyn Fs> {
    let fs = SimFs::new(0);
    let wal_dir = Path::new(DATA).join(names::WAL_DIR);
    fs.create_dir_all(&wal_dir).unwrap();
    let clock = Arc::new(ManualClock::at(0));
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), wal_dir, Resume::default(), WalOptions::default(), clock);
    let samples = |mut encoder: SamplesEncoder, source: &TestSource| {
        let mut record = Vec::new();
        for (number, series) in (1u64..).zip(source) {
            series.samples.iter().for_each(|(at, value)| encoder.push(&mut record, number, *at, *value));
        }
        record
    };
    let mut names = Vec::new();
    (1u64..).zip(in_order).for_each(|(number, series)| SeriesEncoder::push(&mut names, number, series.labels.iter()));
    let mut tombstones = Vec::new();
    if let Some((series_ref, range)) = deleted {
        let (start_ms, end_ms) = (range.start_ms, range.end_ms);
        push_tombstone(&mut tombstones, Tombstone { series_ref, start_ms, end_ms });
    }
    for records in [
        vec![names, samples(SamplesEncoder::new(), in_order)],
        vec![samples(SamplesEncoder::out_of_order(), late)],
        vec![tombstones],
    ] {
        let records = records.into_iter().filter(|record| !record.is_empty()).collect();
        writer.form_group(&[(1, Digest::ZERO)], GroupRecords { records, on_durable: None }, false);
        writer.write_pending().1.unwrap();
    }
    Arc::new(fs)
}

fn write(fs: &Arc<dyn Fs>, number: u128, source: &TestSource, range: TimeRange) -> WrittenBlock {
    let origin = BlockOrigin { min_time_ms: 0, max_time_ms: 1000, level: 1, ..BlockOrigin::default() };
    let sources = sources(std::slice::from_ref(source));
    write_block(fs, Path::new(DATA), Ulid::from(number), sources, range, origin, &mut go_on).unwrap()
}

fn prove(fs: &Arc<dyn Fs>, written: &WrittenBlock, part: &LogPart) -> Result<FlushProof, ProofError> {
    prove_flush(fs, Path::new(DATA), &[Flushed { written, part }], None, &mut go_on)
}

const RANGE: TimeRange = TimeRange { start_ms: 0, end_ms: 24 };
const GROUPS: RangeInclusive<u64> = 0..=9;

fn two_series() -> TestSource {
    vec![series(1, (0..30).map(|at| (at, 1.0))), series(2, (5..30).map(|at| (at, 2.0)))]
}

#[test]
fn flushed_blocks_that_hold_what_the_log_holds_are_proven_in_one_replay() {
    let late = vec![series(1, [(3, 7.0)])];
    let fs = log(&two_series(), &late, None);
    let (block, of_late) = (write(&fs, 1, &two_series(), RANGE), write(&fs, 2, &late, TimeRange::ALL));
    let (part, of_late_part) = (LogPart::in_order(RANGE), LogPart::out_of_order(TimeRange::ALL, GROUPS));
    let flushed = [Flushed { written: &block, part: &part }, Flushed { written: &of_late, part: &of_late_part }];
    let proof = prove_flush(&fs, Path::new(DATA), &flushed, None, &mut go_on).unwrap();
    assert_eq!(proof.stored.iter().map(|tally| tally.samples).collect::<Vec<_>>(), [45, 1]);
    assert_eq!(proof.stored[0], proof.log.parts[0].left());
}

#[test]
fn flushed_block_leaves_out_what_was_deleted_and_no_more() {
    let deleted = TimeRange::new(10, 12);
    let fs = log(&two_series(), &Vec::new(), Some((1, deleted)));
    let part = LogPart::in_order(RANGE);
    let mut source = two_series();
    let error = prove(&fs, &write(&fs, 1, &source, RANGE), &part).unwrap_err();
    assert!(error.to_string().contains("45 samples"), "{error}");
    source[0].deleted = vec![deleted];
    let written = write(&fs, 2, &source, RANGE);
    let proof = prove(&fs, &written, &part).unwrap();
    assert_eq!(proof.stored[0].samples, 42);
    // Before the deletion was made.
    let flushed = [Flushed { written: &written, part: &part }];
    assert!(prove_flush(&fs, Path::new(DATA), &flushed, Some(2), &mut go_on).is_err());
}

#[test]
fn flushed_block_that_lacks_or_alters_a_sample_is_refused_and_the_series_named() {
    let part = LogPart::in_order(RANGE);
    let lacks = |source: &mut TestSource| assert!(source[1].samples.remove(&7).is_some());
    let alters = |source: &mut TestSource| assert!(source[1].samples.insert(7, 9.0).is_some());
    let moves = |source: &mut TestSource| {
        source[1].samples.remove(&7);
        source[1].samples.insert(2, 2.0);
    };
    let forgets = |source: &mut TestSource| drop(source.remove(1));
    let changes: [(&dyn Fn(&mut TestSource), &str); 4] = [
        (&lacks, "in the block 19 samples"),
        (&alters, "20 samples in both, with other values or times"),
        (&moves, "20 samples in both, with other values or times"),
        (&forgets, "not in the block, in the log 20 samples"),
    ];
    for (change, words) in changes {
        let fs = log(&two_series(), &Vec::new(), None);
        let mut source = two_series();
        change(&mut source);
        let error = prove(&fs, &write(&fs, 1, &source, RANGE), &part).unwrap_err();
        assert!(matches!(error, ProofError::Disproven(_)), "{error}");
        let told = error.to_string();
        assert!(told.contains(words) && told.contains("node-2"), "{told}");
    }
}

#[test]
fn flush_of_nothing_is_proven_only_where_the_log_holds_nothing() {
    let fs = log(&two_series(), &Vec::new(), None);
    let range = TimeRange::new(500, 600);
    let nothing = write(&fs, 1, &two_series(), range);
    assert!(nothing.block.is_none());
    prove(&fs, &nothing, &LogPart::in_order(range)).unwrap();
    assert!(prove(&fs, &nothing, &LogPart::in_order(RANGE)).is_err());
}
