//! Group commit through the writer thread.

use std::sync::{Barrier, mpsc};

use super::*;
use crate::clock::SystemClock;
use crate::fs::{SystemFs, names};

fn start(data_dir: &Path, resume: Resume, options: WalOptions) -> (Arc<Committer>, Arc<Records>) {
    let source = Arc::new(Records::default());
    let committer = Committer::start(
        Arc::new(SystemFs),
        data_dir.join("wal"),
        resume,
        options,
        Arc::clone(&source) as Arc<dyn GroupSource>,
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    (committer, source)
}

fn put(committer: &Committer, source: &Records, series_ref: u64, timestamp_ms: i64, value: f64) -> CommitFuture {
    let admission = committer.admit().unwrap();
    source.push(samples_record(&[(series_ref, timestamp_ms, value)]));
    admission.commit(1, digest(series_ref, timestamp_ms, value))
}

fn log_bytes(data_dir: &Path) -> u64 {
    SystemFs.list(&data_dir.join("wal")).unwrap().iter().map(|entry| entry.bytes).sum()
}

#[test]
fn group_commit_batches_concurrent_requests_into_fewer_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    // While the gate is shut nothing is cut, so all of these share at most two groups.
    let admissions: Vec<_> = (0..64).map(|_| committer.admit().unwrap()).collect();
    let mut futures = Vec::new();
    for (index, admission) in admissions.into_iter().enumerate() {
        source.push(samples_record(&[(index as u64, 1, 1.0)]));
        futures.push(admission.commit(1, digest(index as u64, 1, 1.0)));
    }
    let receipts: Vec<_> = futures.into_iter().map(|future| future.wait().unwrap()).collect();
    let commits: Vec<_> = receipts.iter().map(|receipt| receipt.commit).collect();
    assert_eq!(commits, (1..=64).collect::<Vec<_>>());
    committer.shutdown();
    let counters = committer.status().counters;
    assert_eq!(counters.requests, 64);
    assert!(counters.syncs < 10, "{counters:?}");
    let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!((log.requests, log.damages.len(), log.torn_tail), (64, 0, None));
    assert_eq!(kept.samples().len(), 64);
}

#[test]
fn many_entries_appended_are_all_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { durability: Durability::None, ..WalOptions::default() };
    let (committer, source) = start(dir.path(), Resume::default(), options);
    let futures: Vec<_> =
        (0..20_000i64).map(|index| put(&committer, &source, index as u64 % 7, index, index as f64)).collect();
    for future in futures {
        assert_eq!(future.wait().unwrap().durability, Durability::None);
    }
    committer.shutdown();
    let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!((log.requests, log.sealed_samples), (20_000, 20_000));
    let expected: Vec<_> = (0..20_000i64).map(|index| (index as u64 % 7, index, (index as f64).to_bits())).collect();
    assert_eq!(kept.samples(), expected);
}

#[test]
fn concurrent_appends_keep_the_order_of_each_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for series_ref in 0..8u64 {
            let (committer, source, barrier) = (&committer, &source, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for timestamp_ms in 0..50 {
                    put(committer, source, series_ref, timestamp_ms, 0.5).wait().unwrap();
                }
            });
        }
    });
    committer.shutdown();
    let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!((log.requests, log.damages.len()), (400, 0));
    let samples = kept.samples();
    for series_ref in 0..8 {
        let times: Vec<_> = samples.iter().filter(|sample| sample.0 == series_ref).map(|sample| sample.1).collect();
        assert_eq!(times, (0..50).collect::<Vec<_>>());
    }
    for (seal, intact) in &kept.seals {
        assert!(intact);
        assert_eq!(seal.digest, seal.requests.iter().map(|request| request.digest).sum());
    }
}

#[test]
fn every_acknowledged_write_makes_the_log_longer_and_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    let mut before = log_bytes(dir.path());
    for timestamp_ms in 0..100 {
        put(&committer, &source, 1, timestamp_ms, 2.0).wait().unwrap();
        let after = log_bytes(dir.path());
        assert!(after > before);
        before = after;
        let (_, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
        assert_eq!(kept.samples().last(), Some(&(1, timestamp_ms, 2.0f64.to_bits())));
    }
}

#[test]
fn delete_after_put_stays_after_it_over_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    let admission = committer.admit().unwrap();
    source.push(series_record(1, "up"));
    source.push(samples_record(&[(1, 10, 1.0)]));
    admission.commit(1, digest(1, 10, 1.0)).wait().unwrap();
    let admission = committer.admit().unwrap();
    let mut tombstone = Vec::new();
    record::push_tombstone(&mut tombstone, record::Tombstone { series_ref: 1, start_ms: 0, end_ms: 20 });
    source.push(tombstone);
    admission.commit(0, Digest::ZERO).wait().unwrap();
    put(&committer, &source, 1, 30, 3.0).wait().unwrap();
    committer.shutdown();
    let (_, kept) = recover_all(&SystemFs, dir.path());
    let kinds: Vec<_> = kept.records.iter().map(|(_, record)| record[0]).collect();
    assert_eq!(kinds, [1, 2, 3, 2]);
}

#[test]
fn order_is_kept_over_recoveries_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut resume = Resume::default();
    for round in 0..5i64 {
        let (committer, source) = start(dir.path(), resume, WalOptions::default());
        for index in 0..10 {
            let receipt = put(&committer, &source, 1, round * 10 + index, 1.0).wait().unwrap();
            assert_eq!(receipt.commit, (round * 10 + index + 1) as u64);
        }
        committer.shutdown();
        let (recovery, kept) = recover_all(&SystemFs, dir.path());
        let times: Vec<_> = kept.samples().iter().map(|sample| sample.1).collect();
        assert_eq!(times, (0..(round + 1) * 10).collect::<Vec<_>>());
        assert_eq!((recovery.torn_tail, recovery.damages.len()), (None, 0));
        assert_eq!(recovery.resume.next_segment, round as u32 + 1);
        resume = recovery.resume;
    }
}

#[test]
fn segment_rotation_loses_nothing_and_marks_every_segment() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_bytes: 64 * 1024, compression: Compression::None, ..WalOptions::default() };
    let (committer, source) = start(dir.path(), Resume::default(), options);
    for round in 0..40i64 {
        let admission = committer.admit().unwrap();
        let samples: Vec<_> = (0..800).map(|series_ref| (series_ref, round, round as f64)).collect();
        source.push(samples_record(&samples));
        admission.commit(800, Digest::ZERO).wait().unwrap();
    }
    committer.shutdown();
    let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert!(log.segments.len() > 5, "{}", log.segments.len());
    for segment in &log.segments {
        assert!(segment.marked && segment.bytes <= 64 * 1024, "{segment:?}");
        assert!(SystemFs.exists(&names::wal_segment(&dir.path().join("wal"), segment.segment)));
    }
    assert_eq!(kept.samples().len(), 32_000);
    assert_eq!((log.damages.len(), log.torn_tail), (0, None));
}

#[test]
fn cut_is_durable_when_everything_that_it_saw_is() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    let (_, empty) = committer.cut(|| ());
    assert_eq!((empty.group, empty.durable.wait()), (0, Ok(0)));
    let future = put(&committer, &source, 1, 1, 1.0);
    let (seen, point) = committer.cut(|| committer.status().last_commit);
    assert!(seen <= 1);
    assert_eq!(point.durable.wait(), Ok(point.group));
    assert!(future.outcome().is_some());
    let (_, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!(kept.samples().len(), 1);
}

/// A source whose first group keeps the writer thread busy until it is let go.
struct Holding {
    records: Records,
    hold: Mutex<Option<mpsc::Receiver<()>>>,
}

impl GroupSource for Holding {
    fn take_records(&self) -> GroupRecords {
        let mut group = self.records.take_records();
        if !group.records.is_empty()
            && let Some(hold) = self.hold.lock().unwrap().take()
        {
            group.on_durable = Some(Box::new(move || hold.recv().unwrap()));
        }
        group
    }
}

#[test]
fn cut_leaves_what_is_accepted_after_it_to_a_later_group() {
    let dir = tempfile::tempdir().unwrap();
    let (release, hold) = mpsc::channel();
    let source = Arc::new(Holding { records: Records::default(), hold: Mutex::new(Some(hold)) });
    let committer = Committer::start(
        Arc::new(SystemFs),
        dir.path().join("wal"),
        Resume::default(),
        WalOptions::default(),
        Arc::clone(&source) as Arc<dyn GroupSource>,
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    let first = put(&committer, &source.records, 1, 1, 1.0);
    // Whether the writer has taken the first one or not, it cannot take what follows before it is let go.
    let before = put(&committer, &source.records, 1, 2, 1.0);
    let (_, point) = committer.cut(|| ());
    let after = put(&committer, &source.records, 1, 3, 1.0);
    release.send(()).unwrap();
    let commits = [first, before, after].map(|future| future.wait().unwrap().commit);
    assert_eq!(commits, [1, 2, 3]);
    assert_eq!(point.durable.wait(), Ok(point.group));
    committer.shutdown();
    let (_, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    let group_of = |commit: u64| {
        let holds = |seal: &&(Seal, bool)| seal.0.requests.iter().any(|request| request.commit == commit);
        kept.seals.iter().find(holds).unwrap().0.group
    };
    assert_eq!(group_of(2), point.group);
    assert!(group_of(3) > point.group);
}

#[test]
fn committer_that_was_shut_down_refuses_requests_and_leaves_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Fsync, Durability::Interval, Durability::None] {
        let data_dir = dir.path().join(durability.as_str());
        let options = WalOptions { durability, ..WalOptions::default() };
        let (committer, source) = start(&data_dir, Resume::default(), options);
        let future = put(&committer, &source, 1, 1, 1.0);
        committer.shutdown();
        assert_eq!(future.wait().unwrap().commit, 1);
        assert_eq!(committer.admit().err(), Some(CommitError::ShuttingDown));
        let (log, kept) = scan_all(&SystemFs, &data_dir.join("wal"));
        assert!(kept.seals.last().unwrap().0.clean_end);
        assert_eq!(log.resume.next_commit, 2);
    }
}

#[test]
fn scan_beside_a_running_writer_finds_no_damage_and_all_that_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_bytes: 100_000, ..WalOptions::default() };
    let (committer, source) = start(dir.path(), Resume::default(), options);
    let acknowledged = std::sync::atomic::AtomicI64::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for timestamp_ms in 1.. {
                let admission = committer.admit().unwrap();
                let samples: Vec<_> = (0..500).map(|series_ref| (series_ref, timestamp_ms, 0.1)).collect();
                source.push(samples_record(&samples));
                admission.commit(500, Digest::ZERO).wait().unwrap();
                acknowledged.store(timestamp_ms, std::sync::atomic::Ordering::SeqCst);
                if stop.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
            }
        });
        for _ in 0..30 {
            let before = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
            let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
            assert_eq!((log.damages, log.abandoned), (Vec::new(), Vec::new()));
            assert!(kept.samples().last().map_or(0, |sample| sample.1) >= before);
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    committer.shutdown();
    let (log, _) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!((log.damages, log.torn_tail), (Vec::new(), None));
}

#[test]
fn roll_puts_everything_before_it_into_segments_that_are_not_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (committer, source) = start(dir.path(), Resume::default(), WalOptions::default());
    put(&committer, &source, 1, 10, 1.0).wait().unwrap();
    let (first, _) = committer.status().open_segment.unwrap();
    committer.roll().wait().unwrap();
    let (second, _) = committer.status().open_segment.unwrap();
    assert_eq!(second, first + 1);
    // With requests that wait, and twice.
    let waiting = put(&committer, &source, 1, 20, 2.0);
    committer.roll().wait().unwrap();
    waiting.wait().unwrap();
    put(&committer, &source, 1, 30, 3.0).wait().unwrap();
    assert_eq!(committer.status().open_segment.unwrap().0, second + 1, "one request rolls once");
    committer.shutdown();
    assert!(committer.roll().wait().is_err());
    let (log, kept) = scan_all(&SystemFs, &dir.path().join("wal"));
    assert_eq!((log.requests, log.damages.len(), log.torn_tail), (3, 0, None));
    assert_eq!(kept.samples().len(), 3);
}
