//! The writer thread over a disk that fails, and the weaker modes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::clock::SystemClock;
use crate::fs::sim::{Fault, SimFs};

/// Longer than any of these tests waits on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(fs: &SimFs, options: WalOptions) -> (Arc<Committer>, Arc<Records>) {
    let source = Arc::new(Records::default());
    let committer = Committer::start(
        Arc::new(fs.clone()),
        PathBuf::from("/data/wal"),
        Resume::default(),
        options,
        Arc::clone(&source) as Arc<dyn GroupSource>,
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    (committer, source)
}

fn options() -> WalOptions {
    WalOptions {
        retry_interval: Duration::from_millis(1),
        retry_interval_max: Duration::from_millis(4),
        ..WalOptions::default()
    }
}

fn put(committer: &Committer, source: &Records, timestamp_ms: i64) -> Result<Receipt, CommitError> {
    let admission = committer.admit()?;
    source.push(samples_record(&[(1, timestamp_ms, 1.0)]));
    admission.commit(1, digest(1, timestamp_ms, 1.0)).wait()
}

/// Waits for what another thread will do.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn times(fs: &SimFs) -> Vec<i64> {
    recover_all(fs, Path::new("/data")).1.samples().iter().map(|sample| sample.1).collect()
}

#[test]
fn full_disk_refuses_writes_at_once_and_accepts_them_by_itself_when_there_is_room() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let (committer, source) = start(&fs, options());
    put(&committer, &source, 1).unwrap();
    until("the idle seal", || committer.status().last_group >= 2);
    fs.set_capacity(Some(fs.list(Path::new("/data/wal")).unwrap()[0].bytes + 20));
    let refused = put(&committer, &source, 2).unwrap_err();
    assert!(refused.to_string().contains("no space left"), "{refused}");
    assert!(matches!(committer.admit(), Err(CommitError::Unavailable { .. })));
    let status = committer.status();
    assert_eq!((status.failures, status.failure.is_some()), (1, true));
    fs.set_capacity(None);
    until("acceptance", || committer.admit().is_ok());
    put(&committer, &source, 3).unwrap();
    assert_eq!(committer.status().failure, None);
    committer.shutdown();
    // The refused request was formed and is kept: sent again, its sample is there already.
    assert_eq!(times(&fs.crash(1)), [1, 2, 3]);
}

#[test]
fn full_disk_at_the_start_does_not_keep_the_log_from_starting() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    fs.set_capacity(Some(0));
    let (committer, source) = start(&fs, options());
    assert!(matches!(committer.admit(), Err(CommitError::Unavailable { .. })));
    fs.set_capacity(None);
    until("acceptance", || committer.admit().is_ok());
    put(&committer, &source, 1).unwrap();
    committer.shutdown();
    assert_eq!(times(&fs.crash(1)), [1]);
}

#[test]
fn failed_sync_gives_the_segment_up_and_acknowledges_from_the_next_one() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let long_idle = WalOptions { idle_seal_after: PATIENCE * 100, ..options() };
    let (committer, source) = start(&fs, long_idle);
    put(&committer, &source, 1).unwrap();
    // The next write arrives, its sync fails.
    let next = fs.operations() + 1;
    fs.fail(next..next + 1, Fault::Error);
    let receipt = put(&committer, &source, 2).unwrap();
    assert_eq!(receipt.commit, 2);
    let counters = committer.status().counters;
    assert_eq!((counters.segments_poisoned, counters.groups_rewritten, counters.sync_failures), (1, 1, 1));
    assert_eq!(committer.status().open_segment.unwrap().0, 1);
    assert_eq!(times(&fs.crash(3)), [1, 2]);
    // The given-up segment was cut behind its last acknowledged group.
    let (log, _) = scan_all(&fs, Path::new("/data/wal"));
    assert_eq!((log.abandoned, log.damages, log.repeated_groups), (Vec::new(), Vec::new(), 0));
}

#[test]
fn idle_writer_seals_one_empty_group_and_no_more() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let (committer, source) = start(&fs, options());
    put(&committer, &source, 1).unwrap();
    until("the idle seal", || committer.status().last_group == 2);
    put(&committer, &source, 2).unwrap();
    until("the idle seal", || committer.status().last_group == 4);
    committer.shutdown();
    let (_, kept) = scan_all(&fs, Path::new("/data/wal"));
    let requests: Vec<_> = kept.seals.iter().map(|(seal, _)| seal.requests.len()).collect();
    assert_eq!(requests, [1, 0, 1, 0, 0]);
}

#[test]
fn group_that_a_request_joined_as_the_writer_fell_idle_has_an_empty_one_behind_it() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let (committer, source) = start(&fs, WalOptions { idle_seal_after: Duration::from_millis(2), ..options() });
    let is_empty = |group: u64| {
        let (_, kept) = scan_all(&fs, Path::new("/data/wal"));
        kept.seals.iter().any(|(seal, _)| seal.group == group && seal.requests.is_empty())
    };
    for timestamp_ms in (0..40).step_by(2) {
        put(&committer, &source, timestamp_ms).unwrap();
        // Whoever is admitted holds the gate, at which the writer that falls idle waits.
        let admission = committer.admit().unwrap();
        source.push(samples_record(&[(1, timestamp_ms + 1, 1.0)]));
        let began = Instant::now();
        until("the idle time", || began.elapsed() > Duration::from_millis(6));
        admission.commit(1, digest(1, timestamp_ms + 1, 1.0)).wait().unwrap();
        until("the idle seal", || is_empty(committer.status().last_group));
    }
    committer.shutdown();
}

#[test]
fn interval_mode_syncs_at_intervals_and_none_mode_only_at_ends() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let flush_interval = Duration::from_millis(1);
    let (committer, source) = start(&fs, WalOptions { durability: Durability::Interval, flush_interval, ..options() });
    for timestamp_ms in 0..5 {
        assert_eq!(put(&committer, &source, timestamp_ms).unwrap().durability, Durability::Interval);
    }
    until("a sync", || times(&fs.crash(0)).len() == 5);

    let fs = SimFs::with_dir(2, Path::new("/data"));
    let (committer, source) = start(&fs, WalOptions { durability: Durability::None, ..options() });
    for timestamp_ms in 0..5 {
        assert_eq!(put(&committer, &source, timestamp_ms).unwrap().durability, Durability::None);
    }
    until("the idle seal", || committer.status().counters.requests == 5);
    assert_eq!(committer.status().counters.syncs, 1, "of the segment's mark");
    committer.shutdown();
    assert_eq!(times(&fs.crash(0)).len(), 5);
}

#[test]
fn request_that_added_nothing_is_acknowledged_with_its_group() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let (committer, _source) = start(&fs, options());
    let receipt = committer.admit().unwrap().commit(0, Digest::ZERO).wait().unwrap();
    assert_eq!((receipt.commit, receipt.samples), (1, 0));
    let (_, kept) = scan_all(&fs.crash(0), Path::new("/data/wal"));
    assert_eq!(kept.seals[0].0.requests[0].commit, 1);
}

#[test]
fn panic_in_the_source_is_an_error_for_all_and_never_a_hang() {
    #[derive(Debug)]
    struct Panics;
    impl GroupSource for Panics {
        fn take_records(&self) -> GroupRecords {
            panic!("of the source")
        }
    }
    let committer = Committer::start(
        Arc::new(SimFs::with_dir(1, Path::new("/data"))),
        PathBuf::from("/data/wal"),
        Resume::default(),
        options(),
        Arc::new(Panics),
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    assert!(committer.admit().unwrap().commit(1, Digest::ZERO).wait().is_err());
    until("the refusal", || committer.admit().is_err());
    assert!(committer.status().failure.unwrap().contains("panicked"));
}

#[test]
fn what_to_do_once_durable_is_done_before_the_acknowledgement() {
    #[derive(Debug)]
    struct Marks(Arc<Mutex<Vec<&'static str>>>);
    impl GroupSource for Marks {
        fn take_records(&self) -> GroupRecords {
            let done = Arc::clone(&self.0);
            let on_durable = Some(Box::new(move || done.lock().unwrap().push("durable")) as Box<dyn FnOnce() + Send>);
            GroupRecords { records: vec![samples_record(&[(1, 1, 1.0)])], on_durable }
        }
        fn recycle(&self, buffers: Vec<Vec<u8>>) {
            assert_eq!(buffers.len(), 1);
        }
    }
    let done = Arc::new(Mutex::new(Vec::new()));
    let committer = Committer::start(
        Arc::new(SimFs::with_dir(1, Path::new("/data"))),
        PathBuf::from("/data/wal"),
        Resume::default(),
        options(),
        Arc::new(Marks(Arc::clone(&done))),
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    committer.admit().unwrap().commit(1, Digest::ZERO).wait().unwrap();
    assert_eq!(done.lock().unwrap().first(), Some(&"durable"));
}

#[test]
fn request_that_the_writer_has_taken_is_pending_until_it_is_durable() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    // An idle seal would find the disk full before the request does.
    let long_idle = WalOptions { idle_seal_after: PATIENCE * 100, ..options() };
    let (committer, source) = start(&fs, long_idle);
    put(&committer, &source, 1).unwrap();
    assert_eq!(committer.status().pending_requests, 0);
    fs.set_capacity(Some(0));
    put(&committer, &source, 2).unwrap_err();
    assert_eq!(committer.status().pending_requests, 1);
    fs.set_capacity(None);
    until("acceptance", || committer.admit().is_ok());
    assert_eq!(committer.status().pending_requests, 0);
}
