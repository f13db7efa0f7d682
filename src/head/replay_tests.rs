//! Replay against running: the same series and samples, with and without chunk files, whole or damaged.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::tests::{
    RandomEntry, Request, contents, first_request, open, random_options, random_requests, raw, run_model,
};
use super::*;
use crate::fs::{Fs, SystemFs};
use crate::model::{Digest, LabelSet};
use crate::wal::record::{SamplesEncoder, SeriesEncoder};
use crate::wal::{RecordPosition, ReplaySink};

type Log = Vec<Vec<u8>>;
type Model = BTreeMap<LabelSet, Vec<(i64, u64)>>;

/// What a restart does: opens the directory and replays the log into it.
fn restart(options: HeadOptions, data_dir: &Path, log: &Log) -> (Head, ReplayReport) {
    let head = open(options, data_dir);
    let report = replay(&head, log);
    (head, report)
}

pub(super) fn replay(head: &Head, log: &Log) -> ReplayReport {
    let mut replay = head.replay(2).unwrap();
    for record in log {
        let position = RecordPosition::default();
        replay.record(position, record.clone()).unwrap();
    }
    replay.finish().unwrap()
}

/// Runs requests against a head, with their records into the log and the chunks of durable groups into files.
fn run(head: &Head, model: &mut Model, log: &mut Log, requests: &[Vec<RandomEntry>]) -> Digest {
    let mut digest = Digest::ZERO;
    for entries in requests {
        let (request, _) = run_model(model, entries);
        digest += request.append_to(head).digest;
        let group = head.take_records();
        log.extend(group.records);
        if let Some(on_durable) = group.on_durable {
            on_durable();
        }
    }
    head.flush_chunks();
    digest
}

fn chunk_file(data_dir: &Path, number: u32) -> std::path::PathBuf {
    data_dir.join("chunks_head").join(format!("{number:06}"))
}

#[test]
fn replay_of_samples_without_a_series_record_counts_them_and_skips_their_reference() {
    let mut log = vec![Vec::new(), Vec::new()];
    SeriesEncoder::push(&mut log[0], 7, LabelSet::from_pairs([("__name__", "up")]).iter());
    let mut samples = SamplesEncoder::new();
    samples.push(&mut log[1], 7, 1, 1.0);
    samples.push(&mut log[1], 9, 1, 1.0);
    let head = Head::in_memory(HeadOptions::default());
    let report = replay(&head, &log);
    assert_eq!((report.series, report.samples, report.samples_unknown), (1, 1, 1));
    Request(vec![(raw(&[("__name__", "new")]), vec![(1, 0)])]).append_to(&head);
    let record = head.take_records().records.remove(0);
    assert_eq!(record[1..9], 10u64.to_be_bytes());
}

#[test]
fn replay_of_a_series_under_two_references_unites_them() {
    let mut log = vec![Vec::new(), Vec::new()];
    let set = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]);
    SeriesEncoder::push(&mut log[0], 1, set.iter());
    SeriesEncoder::push(&mut log[0], u64::MAX - 5, set.iter());
    let mut samples = SamplesEncoder::new();
    samples.push(&mut log[1], 1, 1, 1.0);
    samples.push(&mut log[1], u64::MAX - 5, 2, 2.0);
    let head = Head::in_memory(HeadOptions::default());
    let report = replay(&head, &log);
    assert_eq!((report.series, report.series_repeated, report.samples), (1, 1, 2));
    assert_eq!(contents(&head)[&set], [(1, 1f64.to_bits()), (2, 2f64.to_bits())]);
}

#[test]
fn replay_of_damaged_and_unknown_records_goes_on_and_counts_them() {
    let head = Head::in_memory(HeadOptions::default());
    let mut series = Vec::new();
    SeriesEncoder::push(&mut series, 1, LabelSet::from_pairs([("__name__", "up")]).iter());
    let log = vec![series[..series.len() - 1].to_vec(), vec![2, 1, 2, 3], vec![99], vec![], series];
    let report = replay(&head, &log);
    assert_eq!((report.series, report.records_damaged, report.records_skipped), (1, 2, 2));
    assert!(report.first_damage.unwrap().contains("segment 00000000"));
}

#[test]
fn restarted_head_judges_repeats_of_the_newest_sample_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let labels = raw(&[("__name__", "up")]);
    let samples: Vec<(i64, u64)> = (0..121).map(|i| (i * 1000, i as u64)).collect();
    let mut log = Log::new();
    {
        let head = open(HeadOptions::default(), dir.path());
        Request(vec![(labels.clone(), samples)]).append_to(&head);
        let group = head.take_records();
        group.on_durable.unwrap()();
        log.extend(group.records);
    }
    // The log ends with the chunk, as if the last sample's group had been lost with the page cache.
    let end = log.pop().unwrap();
    log.push(end[..end.len() - 12].to_vec());
    let (head, report) = restart(HeadOptions::default(), dir.path(), &log);
    assert_eq!((report.samples, report.samples_in_files, report.records_damaged), (0, 120, 0));
    let outcome = Request(vec![(labels, vec![(119_000, 119), (119_000, 5), (120_000, 5)])]).append_to(&head);
    assert_eq!((outcome.duplicates, outcome.rejected_total(), outcome.added), (1, 1, 1));
}

#[test]
fn damaged_chunk_file_goes_to_quarantine_with_all_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = || HeadOptions { chunk_file_bytes_max: 2000, ..HeadOptions::default() };
    let mut log = Log::new();
    let before = {
        let head = open(options(), dir.path());
        let samples = (0..3000).map(|i| (i * 1000, i as u64 * 77)).collect();
        Request(vec![(raw(&[("__name__", "up")]), samples)]).append_to(&head);
        let group = head.take_records();
        group.on_durable.unwrap()();
        log.extend(group.records);
        head.flush_chunks();
        contents(&head)
    };
    let files = SystemFs.list(&dir.path().join("chunks_head")).unwrap().len();
    assert!(files > 3);
    let path = chunk_file(dir.path(), 2);
    let mut bytes = SystemFs.read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    SystemFs.remove_file(&path).unwrap();
    SystemFs.create(&path).unwrap().write_all(&bytes).unwrap();
    let (chunks_dir, quarantine_dir) = (dir.path().join("chunks_head"), dir.path().join("quarantine"));
    let (head, report) = Head::open(options(), Arc::new(SystemFs), &chunks_dir, &quarantine_dir).unwrap();
    assert!(report.damage.unwrap().contains("000002"));
    assert_eq!((report.quarantined.len(), report.repair_failure), (files - 1, None));
    assert!(SystemFs.exists(&quarantine_dir.join("chunks_head-000003")));
    let replayed = replay(&head, &log);
    assert_eq!(replayed.samples + replayed.samples_in_files, 3000);
    assert_eq!(contents(&head), before);
    head.flush_chunks();
    drop(head);
    let (_, report) = Head::open(options(), Arc::new(SystemFs), &chunks_dir, &quarantine_dir).unwrap();
    assert_eq!((report.damage, report.chunks_skipped, report.samples), (None, 0, 2880));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn prop_replay_equals_running(requests in random_requests()) {
        let head = Head::in_memory(random_options());
        let (mut model, mut log) = (Model::new(), Log::new());
        let mut digest = run(&head, &mut model, &mut log, &[first_request()]);
        digest += run(&head, &mut model, &mut log, &requests);
        let replayed = Head::in_memory(random_options());
        let report = replay(&replayed, &log);
        prop_assert_eq!(report.digest, digest);
        prop_assert_eq!(&contents(&replayed), &model);
        // A group that was written twice adds nothing.
        let again = replay(&replayed, &log);
        prop_assert_eq!((again.samples, again.samples_repeated), (0, report.samples));
        prop_assert_eq!(&contents(&replayed), &model);
    }

    #[test]
    fn prop_restart_with_chunk_files_equals_running_and_goes_on(
        before in random_requests(),
        after in random_requests(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut model, mut log) = (Model::new(), Log::new());
        for part in [vec![first_request()], before, after] {
            let (head, report) = restart(random_options(), dir.path(), &log);
            prop_assert_eq!(report.chunks_unknown, 0);
            prop_assert_eq!(&contents(&head), &model);
            let chunks_before = head.stats().chunks_in_files;
            run(&head, &mut model, &mut log, &part);
            prop_assert!(head.stats().chunks_in_files >= chunks_before);
        }
        let (head, report) = restart(random_options(), dir.path(), &log);
        let stats = head.stats();
        prop_assert_eq!(stats.chunks_in_files > 0, report.samples_in_files > 0);
        prop_assert_eq!(stats.samples, model.values().map(|samples| samples.len() as u64).sum::<u64>());
        prop_assert_eq!(&contents(&head), &model);
    }

    #[test]
    fn prop_restart_with_a_damaged_or_cut_chunk_file_loses_nothing(
        requests in random_requests(),
        place in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut model, mut log) = (Model::new(), Log::new());
        {
            let head = open(random_options(), dir.path());
            run(&head, &mut model, &mut log, &[first_request()]);
            run(&head, &mut model, &mut log, &requests);
        }
        let files = SystemFs.list(&dir.path().join("chunks_head")).unwrap();
        if !files.is_empty() {
            let path = chunk_file(dir.path(), 1 + place.index(files.len()) as u32);
            let mut bytes = SystemFs.read(&path).unwrap();
            let at = place.index(bytes.len());
            if is_cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x10;
            }
            SystemFs.remove_file(&path).unwrap();
            SystemFs.create(&path).unwrap().write_all(&bytes).unwrap();
        }
        for _ in 0..2 {
            let (head, _) = restart(random_options(), dir.path(), &log);
            prop_assert_eq!(&contents(&head), &model);
            head.flush_chunks();
        }
    }
}
