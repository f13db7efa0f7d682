//! The copy of out-of-order samples for Prometheus: what it holds, over failures and crashes, and what a start takes
//! from it.

use std::path::PathBuf;

use super::*;
use crate::fs::names;
use crate::fs::sim::{Fault, SimFs};
use crate::wal::wbl::{read_foreign, remove_foreign};

fn dir() -> PathBuf {
    PathBuf::from("/data/wbl")
}

fn quarantine() -> PathBuf {
    PathBuf::from("/data/quarantine")
}

fn writer(fs: &SimFs, last_group: u64) -> WblWriter {
    let options = WalOptions { segment_bytes: 4096, compression: Compression::None, ..WalOptions::default() };
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    WblWriter::new(Arc::new(fs.clone()), dir(), options, last_group)
}

fn out_of_order_record(timestamp_ms: i64) -> Vec<u8> {
    let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::out_of_order());
    encoder.push(&mut record, 1, timestamp_ms, 1.0);
    record
}

/// Times of all samples, as a reader that knows only Prometheus' records finds them.
fn times(fs: &SimFs) -> Vec<i64> {
    let mut times = Vec::new();
    for file in LogFiles::list(fs, &dir()).unwrap().files {
        let mut reader = SegmentReader::open(fs, &file.path).unwrap();
        loop {
            match reader.next_event() {
                SegmentEvent::Record { bytes, .. } if bytes[0] == RecordType::Seal as u8 => {}
                SegmentEvent::Record { bytes, .. } => {
                    let (kind, body) = record::split(&bytes);
                    let kind = kind.filter(|kind| (*kind as u8) < RecordType::Seal as u8).unwrap();
                    times.extend(record::values(kind, body).unwrap().map(|sample| sample.unwrap().timestamp_ms));
                }
                SegmentEvent::Damage { what, .. } => panic!("{what}"),
                SegmentEvent::End { .. } => break,
            }
        }
    }
    times
}

fn segments(fs: &SimFs) -> Vec<u32> {
    LogFiles::list(fs, &dir()).unwrap().files.iter().map(|file| file.number).collect()
}

/// A segment as Prometheus writes it: without a mark.
fn foreign_segment(fs: &SimFs, number: u32, records: &[Vec<u8>]) {
    fs.create_dir_all(&dir()).unwrap();
    let mut segment = SegmentWriter::create(fs, &dir(), number).unwrap();
    let mut compressor = crate::wal::writer::RecordCompressor::new(Compression::None);
    for record in records {
        segment.append(record, &mut compressor).unwrap();
    }
    segment.flush().unwrap();
    segment.sync().unwrap();
    fs.sync_dir(&dir()).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
}

#[test]
fn copy_holds_the_out_of_order_samples_alone_and_no_file_without_any() {
    let fs = SimFs::new(1);
    let mut wbl = writer(&fs, 0);
    wbl.add_group(1, &[series_record(1, "up"), samples_record(&[(1, 100, 1.0)])]);
    wbl.write();
    assert!(!fs.exists(&dir()));
    wbl.add_group(2, &[samples_record(&[(1, 200, 1.0)]), out_of_order_record(50)]);
    wbl.write();
    assert_eq!(times(&fs), [50]);
    assert_eq!(times(&fs.crash(1)), [50], "durable");
    assert_eq!((wbl.status().records, wbl.status().records_waiting), (1, 0));
    wbl.add_group(3, &[late_histogram_record(1, 60, 1.0)]);
    wbl.write();
    assert_eq!(times(&fs), [50, 60]);
}

#[test]
fn copy_that_fails_waits_and_goes_on_in_a_new_segment_without_a_torn_one_before() {
    let fault_kinds = [Fault::Error, Fault::NoSpace, Fault::ShortWrite];
    for start in 0..12 {
        for fault in fault_kinds {
            let fs = SimFs::new(start);
            let mut wbl = writer(&fs, 0);
            let next = fs.operations();
            fs.fail(next + start..next + start + 2, fault);
            for group in 1..=6 {
                wbl.add_group(group, &[out_of_order_record(group as i64)]);
                wbl.write();
            }
            fs.heal();
            wbl.add_group(7, &[out_of_order_record(7)]);
            wbl.write();
            let status = wbl.status();
            assert_eq!((status.records_waiting, status.failure), (0, None), "{fault:?} from {start}");
            let mut found = times(&fs.crash(start));
            found.dedup();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, [1, 2, 3, 4, 5, 6, 7], "{fault:?} from {start}");
        }
    }
}

#[test]
fn copy_after_a_crash_at_any_operation_can_be_opened_and_goes_on() {
    for crash_at in 0..40 {
        let fs = SimFs::new(crash_at);
        let mut wbl = writer(&fs, 0);
        fs.lose_power_at(fs.operations() + crash_at);
        let mut durable = Vec::new();
        for group in 1..=9i64 {
            wbl.add_group(group as u64, &[out_of_order_record(group)]);
            wbl.write();
            if wbl.status().failure.is_none() {
                durable.push(group);
            }
        }
        drop(wbl);
        let disk = fs.crash(crash_at);
        let recovery = read_foreign(&disk, &dir(), &quarantine(), &mut |_| Ok(())).unwrap();
        assert_eq!(recovery.foreign, Vec::<u32>::new());
        let found = times(&disk);
        assert!(durable.iter().all(|time| found.contains(time)), "crash at {crash_at}: {found:?} of {durable:?}");
        let mut wbl = writer(&disk, 9);
        wbl.add_group(10, &[out_of_order_record(10)]);
        wbl.write();
        let numbers = segments(&disk);
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "crash at {crash_at}: {numbers:?}");
        assert_eq!(times(&disk).last(), Some(&10));
    }
}

#[test]
fn truncation_removes_what_blocks_have_and_keeps_later_groups() {
    let fs = SimFs::new(1);
    let mut wbl = writer(&fs, 0);
    let record = |group: i64| {
        let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::out_of_order());
        (0..100).for_each(|series| encoder.push(&mut record, series, group, 1.0));
        record
    };
    for group in 1..=12 {
        wbl.add_group(group, &[record(group as i64)]);
        wbl.write();
    }
    let before = segments(&fs);
    assert!(before.len() > 3, "{before:?}");
    wbl.truncate(6).unwrap();
    let kept = times(&fs);
    assert!((7..=12).all(|group| kept.contains(&group)) && !kept.contains(&1), "{kept:?}");
    wbl.truncate(12).unwrap();
    assert!(!fs.exists(&dir()), "promtool takes an empty directory for a fault");
    wbl.add_group(13, &[record(13)]);
    wbl.write();
    assert_eq!(times(&fs)[0], 13);
}

#[test]
fn start_reads_what_prometheus_wrote_past_damage_and_cuts_it_with_a_copy_in_quarantine() {
    let fs = SimFs::new(1);
    let mut wbl = writer(&fs, 0);
    wbl.add_group(1, &[out_of_order_record(1)]);
    wbl.write();
    foreign_segment(&fs, 1, &[samples_record(&[(1, 10, 1.0)]), samples_record(&[(1, 20, 1.0)])]);
    let path = names::wal_segment(&dir(), 1);
    let bytes = fs.read(&path).unwrap();
    fs.remove_file(&path).unwrap();
    fs.create(&path).unwrap().write_all(&bytes[..bytes.len() - 3]).unwrap();
    let mut given = Vec::new();
    let recovery = read_foreign(&fs, &dir(), &quarantine(), &mut |record| {
        given.push(record.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(given, [samples_record(&[(1, 10, 1.0)])]);
    assert_eq!(recovery.foreign, [1]);
    assert_eq!(recovery.cut.len(), 1);
    assert!(fs.exists(&recovery.cut[0].1));
    assert_eq!(times(&fs), [1, 10]);
    // Between segments of ours it leaves an empty file, as numbers must not have gaps.
    remove_foreign(&fs, &dir(), &quarantine(), &recovery.foreign, false).unwrap();
    assert_eq!((times(&fs), segments(&fs)), (vec![1], vec![0, 1]));
    let again = read_foreign(&fs, &dir(), &quarantine(), &mut |_| panic!("nothing is foreign")).unwrap();
    assert_eq!(again, WblRecovery::default());
}
