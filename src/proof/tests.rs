//! Logs of which it is known what they hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::fs::sim::SimFs;
use crate::fs::{Fs, names as files};
use crate::model::{Digest, LabelSet, Tally, TimeRange};
use crate::wal::record::{SamplesEncoder, SeriesEncoder, Tombstone, push_tombstone};
use crate::wal::{Compression, GroupRecords, GroupWriter, ReplayProgress, Resume, WalOptions};

const DATA: &str = "/data";

fn labels(series: u64) -> LabelSet {
    LabelSet::from_pairs([("__name__", "up"), ("instance", format!("node-{series}").as_str())])
}

fn series(refs: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut record = Vec::new();
    for (series_ref, number) in refs {
        SeriesEncoder::push(&mut record, series_ref, labels(number).iter());
    }
    record
}

fn encode(mut encoder: SamplesEncoder, samples: &[(u64, i64, f64)]) -> Vec<u8> {
    let mut record = Vec::new();
    samples.iter().for_each(|&(series_ref, at, value)| encoder.push(&mut record, series_ref, at, value));
    record
}

fn in_order(samples: &[(u64, i64, f64)]) -> Vec<u8> {
    encode(SamplesEncoder::new(), samples)
}

fn out_of_order(samples: &[(u64, i64, f64)]) -> Vec<u8> {
    encode(SamplesEncoder::out_of_order(), samples)
}

fn deletion(series_ref: u64, start_ms: i64, end_ms: i64) -> Vec<u8> {
    let mut record = Vec::new();
    push_tombstone(&mut record, Tombstone { series_ref, start_ms, end_ms });
    record
}

fn tally(samples: &[(u64, i64, f64)]) -> Tally {
    let mut tally = Tally::ZERO;
    samples
        .iter()
        .for_each(|&(number, at, value)| tally.add_sample(Digest::of_labels(&labels(number)).of_sample(at, value)));
    tally
}

/// Writes each list of records as a group, numbered from 1.
fn log(groups: &[Vec<Vec<u8>>]) -> SimFs {
    let fs = SimFs::new(0);
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let wal_dir = Path::new(DATA).join(files::WAL_DIR);
    fs.create_dir_all(&wal_dir).unwrap();
    let options = WalOptions { compression: Compression::None, ..WalOptions::default() };
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), wal_dir, Resume::default(), options, clock);
    for records in groups {
        let records = GroupRecords { records: records.clone(), on_durable: None };
        writer.form_group(&[(1, Digest::ZERO)], records, false);
        writer.write_pending().1.unwrap();
    }
    fs
}

/// Writes a segment as Prometheus does: without marks and seals.
fn foreign_segment(fs: &SimFs, dir: &str, records: &[Vec<u8>]) {
    let dir = Path::new(DATA).join(dir);
    fs.create_dir_all(&dir).unwrap();
    let mut file = fs.create(&files::wal_segment(&dir, 0)).unwrap();
    for record in records {
        let mut fragment = vec![1];
        fragment.extend((record.len() as u16).to_be_bytes());
        fragment.extend(crate::encoding::crc32c(record).to_be_bytes());
        fragment.extend(record);
        file.write_all(&fragment).unwrap();
    }
}

fn count(fs: &dyn Fs, parts: Vec<LogPart>, up_to_group: Option<u64>) -> LogTally {
    let request = TallyRequest { parts, up_to_group };
    log_tally(fs, &PathBuf::from(DATA), &request, &ReplayProgress::default()).unwrap()
}

fn count_part(fs: &dyn Fs, part: LogPart) -> PartTally {
    count(fs, vec![part], None).parts[0]
}

#[test]
fn tally_of_a_range_counts_its_samples_and_no_others() {
    let samples = [(1, 10, 1.0), (2, 20, 2.0), (1, 30, 3.0), (2, 40, 4.0)];
    let fs = log(&[vec![series([(1, 1), (2, 2)]), in_order(&samples[..2])], vec![in_order(&samples[2..])]]);
    let all = count(&fs, vec![LogPart::in_order(TimeRange::ALL), LogPart::in_order(TimeRange::new(20, 30))], None);
    assert_eq!(all.parts[0].left(), tally(&samples));
    assert_eq!(all.parts[1].written, tally(&samples[1..3]));
    assert_eq!((all.total, all.series, all.last_group), (tally(&samples), 2, Some(2)));
    assert_eq!((all.unknown, all.damages, all.not_newer), (0, 0, 0));
    let earlier = count(&fs, vec![LogPart::in_order(TimeRange::ALL)], Some(1));
    assert_eq!(earlier.parts[0].written, tally(&samples[..2]));
}

#[test]
fn tally_of_out_of_order_samples_is_by_the_groups_that_they_came_in() {
    let (first, second) = ([(1, 10, 1.0), (1, 5, 2.0)], [(1, 7, 3.0)]);
    let fs = log(&[
        vec![series([(1, 1)]), in_order(&[(1, 100, 0.0)])],
        vec![out_of_order(&first)],
        vec![out_of_order(&second), in_order(&[(1, 101, 0.0)])],
    ]);
    let part = |groups| LogPart::out_of_order(TimeRange::ALL, groups);
    assert_eq!(count_part(&fs, part(0..=2)).left(), tally(&first));
    assert_eq!(count_part(&fs, part(3..=3)).left(), tally(&second));
    let within = LogPart::out_of_order(TimeRange::new(6, 9), 0..=u64::MAX);
    assert_eq!(count_part(&fs, within).left(), tally(&second));
    let in_order = count_part(&fs, LogPart::in_order(TimeRange::ALL));
    assert_eq!(in_order.left(), tally(&[(1, 100, 0.0), (1, 101, 0.0)]));
}

#[test]
fn deletion_takes_the_samples_of_its_group_and_before_and_none_behind() {
    let fs = log(&[
        vec![series([(1, 1), (2, 2)]), in_order(&[(1, 10, 1.0), (2, 10, 1.0), (1, 20, 2.0)])],
        vec![deletion(1, 0, 15), out_of_order(&[(1, 13, 6.0)])],
        vec![in_order(&[(1, 30, 3.0)]), deletion(2, 50, 60), out_of_order(&[(1, 12, 7.0)])],
    ]);
    let part = count_part(&fs, LogPart::in_order(TimeRange::ALL));
    assert_eq!(part.deleted, tally(&[(1, 10, 1.0)]));
    assert_eq!(part.left(), tally(&[(2, 10, 1.0), (1, 20, 2.0), (1, 30, 3.0)]));
    // In its group, and written behind it.
    let late = count_part(&fs, LogPart::out_of_order(TimeRange::ALL, 0..=9));
    assert_eq!((late.deleted, late.left()), (tally(&[(1, 13, 6.0)]), tally(&[(1, 12, 7.0)])));
    // A deletion of a group that does not count yet.
    let earlier = count(&fs, vec![LogPart::in_order(TimeRange::ALL)], Some(1));
    assert_eq!(earlier.parts[0].deleted, Tally::ZERO);
}

#[test]
fn log_of_prometheus_counts_out_of_order_samples_from_its_wbl_only() {
    let fs = SimFs::new(0);
    // A second reference to the same series, and a sample that was out of order.
    foreign_segment(
        &fs,
        files::WAL_DIR,
        &[
            series([(1, 1)]),
            in_order(&[(1, 100, 1.0), (1, 50, 2.0)]),
            series([(9, 1)]),
            in_order(&[(9, 90, 3.0), (9, 110, 4.0)]),
        ],
    );
    foreign_segment(&fs, files::WBL_DIR, &[in_order(&[(1, 50, 2.0), (9, 90, 3.0), (1, 50, 2.0)])]);
    let parts = vec![LogPart::in_order(TimeRange::ALL), LogPart::out_of_order(TimeRange::ALL, 0..=0)];
    let found = count(&fs, parts, None);
    assert_eq!(found.parts[0].left(), tally(&[(1, 100, 1.0), (1, 110, 4.0)]));
    assert_eq!(found.parts[1].left(), tally(&[(1, 50, 2.0), (1, 90, 3.0)]));
    assert_eq!((found.not_newer, found.repeated, found.series), (2, 1, 1));
}

#[test]
fn wbl_of_our_own_is_passed_over_as_the_log_has_its_samples() {
    let fs = log(&[vec![series([(1, 1)]), in_order(&[(1, 100, 0.0)]), out_of_order(&[(1, 10, 1.0)])]]);
    let wbl_dir = Path::new(DATA).join(files::WBL_DIR);
    fs.create_dir_all(&wbl_dir).unwrap();
    let wal_dir = Path::new(DATA).join(files::WAL_DIR);
    let ours = fs.read(&files::wal_segment(&wal_dir, 0)).unwrap();
    fs.create(&files::wal_segment(&wbl_dir, 0)).unwrap().write_all(&ours).unwrap();
    let found = count(&fs, vec![LogPart::out_of_order(TimeRange::ALL, 0..=9)], None);
    assert_eq!(found.parts[0].left(), tally(&[(1, 10, 1.0)]));
    assert_eq!(found.total.samples, 2);
}

#[test]
fn tallies_by_series_add_up_to_the_part_without_what_is_deleted() {
    let fs = log(&[
        vec![series([(1, 1), (2, 2), (3, 3)]), in_order(&[(1, 10, 1.0), (2, 10, 2.0), (3, 99, 1.0)])],
        vec![in_order(&[(1, 20, 1.0)]), deletion(2, 0, 100)],
    ]);
    let part = LogPart::in_order(TimeRange::new(0, 50));
    let by_series = series_tallies(&fs, Path::new(DATA), &part, None).unwrap();
    assert_eq!(by_series.len(), 1);
    assert_eq!(by_series[&Digest::of_labels(&labels(1))], tally(&[(1, 10, 1.0), (1, 20, 1.0)]));
    assert_eq!(count_part(&fs, part).left(), by_series.into_values().sum());
}

#[test]
fn damage_and_samples_without_a_series_are_counted_and_named() {
    let mut cut = in_order(&[(1, 10, 1.0), (1, 20, 2.0)]);
    cut.pop();
    let fs = log(&[vec![series([(1, 1)]), cut, in_order(&[(7, 10, 1.0)])]]);
    let found = count(&fs, vec![LogPart::in_order(TimeRange::ALL)], None);
    assert_eq!(found.parts[0].left(), tally(&[(1, 10, 1.0)]), "what stands before the damage counts");
    assert_eq!((found.unknown, found.damages), (1, 1));
    let words = found.first_damage.unwrap();
    assert!(words.contains("of segment 00000000"), "{words}");
}

#[test]
fn names_of_series_are_found_by_their_digests() {
    let fs = log(&[vec![series([(1, 1), (2, 2)])]]);
    let known = Digest::of_labels(&labels(2));
    let mut names = SeriesNames::of([known, Digest(5)].into_iter());
    let dir = Path::new(DATA).join(files::WAL_DIR);
    scan_beside(&fs, &dir, &mut names, &ReplayProgress::default()).unwrap();
    assert_eq!(names.get(known), Some(&labels(2)));
    assert!(names.describe(Digest(5)).contains("labels digest"));
}

#[test]
fn sink_that_gives_up_ends_the_reading() {
    struct Full;
    impl crate::wal::ReplaySink for Full {
        fn record(&mut self, _: crate::wal::RecordPosition, _: Vec<u8>) -> Result<(), crate::wal::WalError> {
            Err(crate::wal::WalError::Sink { reason: "full".to_owned() })
        }
    }
    let records: Vec<Vec<u8>> = (0..2000).map(|number| series([(number, number)])).collect();
    let fs = log(&vec![records; 20]);
    let dir = Path::new(DATA).join(files::WAL_DIR);
    let error = scan_beside(&fs, &dir, &mut Full, &ReplayProgress::default()).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
}
