//! Damage: every byte flipped, every length, and what a recovery makes of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::clock::ManualClock;
use crate::fs::names;
use crate::fs::sim::{SimFs, SimRandom};
use crate::wal::format::FRAGMENT_HEADER_BYTES;
use crate::wal::scan::MARK_BYTES_MAX;

pub(super) const WAL: &str = "/data/wal";

/// A log of small groups, the last of them empty, as a server that falls idle leaves it.
pub(super) fn small_log(compression: Compression, groups: i64, samples: i64) -> SimFs {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let options = WalOptions { compression, ..WalOptions::default() };
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), Resume::default(), options, clock);
    for group in 0..groups {
        let records = (0..2i64)
            .map(|half| {
                let times = (0..samples).map(|index| (half as u64, group * 1_000 + index, (group + half) as f64));
                samples_record(&times.collect::<Vec<_>>())
            })
            .collect();
        writer.form_group(&[(2 * samples as u64, Digest(7))], GroupRecords { records, on_durable: None }, false);
        writer.write_pending().1.unwrap();
    }
    writer.form_group(&[], GroupRecords::default(), true);
    writer.write_pending().1.unwrap();
    fs
}

pub(super) fn segment() -> PathBuf {
    names::wal_segment(Path::new(WAL), 0)
}

pub(super) fn stored(fs: &SimFs) -> BTreeSet<(u64, i64, u64)> {
    scan_all(fs, Path::new(WAL)).1.samples().into_iter().collect()
}

#[test]
fn every_flipped_bit_costs_its_record_at_most_and_never_alters_a_sample() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let whole = small_log(compression, 4, 9);
        let bytes = whole.read(&segment()).unwrap();
        let all = stored(&whole);
        // Every bit of the plain log, one bit of every byte of the compressed ones.
        let step = if compression == Compression::None { 1 } else { 9 };
        for bit in (0..bytes.len() * 8).step_by(step) {
            let what = format!("{}, bit {bit}", compression.as_str());
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let fs = SimFs::with_dir(0, Path::new("/data"));
            fs.create_dir_all(Path::new(WAL)).unwrap();
            fs.set_content(&segment(), damaged);
            let (recovery, kept) = recover_all(&fs, Path::new("/data"));
            let found: BTreeSet<_> = kept.samples().into_iter().collect();
            assert!(found.is_subset(&all), "{what}: a sample is altered");
            assert!(all.len() - found.len() <= 9, "{what}: {} samples are lost", all.len() - found.len());
            assert!(!recovery.damages.is_empty() || recovery.torn_tail.is_some(), "{what}: damage is not told");
            // Afterwards the log is clean, and holds what was read.
            let (again, kept_again) = recover_all(&fs, Path::new("/data"));
            assert_eq!(kept_again.samples(), kept.samples(), "{what}");
            assert_eq!((again.damages.len(), again.torn_tail), (0, None), "{what}");
            assert_eq!(again.known.is_empty(), recovery.damages.is_empty(), "{what}");
        }
    }
}

#[test]
fn log_cut_at_any_length_keeps_every_whole_group() {
    let whole = small_log(Compression::Snappy, 4, 9);
    let bytes = whole.read(&segment()).unwrap();
    let (_, kept) = scan_all(&whole, Path::new(WAL));
    let mut ends = Vec::new();
    let mut reader = SegmentReader::open(&whole, &segment()).unwrap();
    loop {
        match reader.next_event() {
            SegmentEvent::Record { end, bytes, .. } if bytes[0] == RecordType::Seal as u8 => ends.push(end),
            SegmentEvent::End { .. } => break,
            _ => {}
        }
    }
    for len in 0..bytes.len() {
        let fs = SimFs::with_dir(0, Path::new("/data"));
        fs.create_dir_all(Path::new(WAL)).unwrap();
        fs.set_content(&segment(), bytes[..len].to_vec());
        let (recovery, found) = recover_all(&fs, Path::new("/data"));
        // The first of the ends is the mark's.
        let whole_groups = ends.iter().skip(1).filter(|end| **end <= len as u64).count();
        assert_eq!(found.seals, kept.seals[..whole_groups], "{len} bytes");
        assert_eq!(found.samples(), kept.samples()[..(whole_groups.min(4)) * 18], "{len} bytes");
        assert_eq!(recovery.damages, [], "{len} bytes");
        let at_an_end = len == 0 || ends.contains(&(len as u64));
        assert_eq!(recovery.torn_tail.is_none(), at_an_end, "{len} bytes");
        let (again, _) = recover_all(&fs, Path::new("/data"));
        assert_eq!((again.torn_tail, again.damages.len()), (None, 0), "{len} bytes");
        assert_eq!(again.known, [], "{len} bytes: a torn tail is remembered as damage");
    }
}

#[test]
fn recovery_reads_around_corrupted_entries_and_names_the_lost_groups() {
    // Records of several pages, and a sector of zeros in the middle of one of them.
    let whole = small_log(Compression::None, 6, 3_000);
    let mut bytes = whole.read(&segment()).unwrap();
    let all = stored(&whole);
    let (_, kept) = scan_all(&whole, Path::new(WAL));
    let hit = kept.records[5].0;
    assert_eq!(hit.group, Some(3));
    let at = hit.offset as usize + 1_000;
    bytes[at..at + 512].fill(0);
    whole.set_content(&segment(), bytes.clone());
    let (recovery, kept) = recover_all(&whole, Path::new("/data"));
    assert_eq!(all.len() - kept.samples().len(), 3_000);
    assert_eq!(recovery.damages.len(), 1, "{:?}", recovery.damages);
    let damage = &recovery.damages[0];
    assert_eq!((damage.segment, damage.offset, damage.groups), (0, hit.offset, Some((3, 3))));
    // The bytes are in quarantine as they stood.
    let notes = read_notes(&whole, Path::new("/data/quarantine"));
    assert_eq!((notes[0].groups, notes[0].offset, notes[0].bytes), (Some((3, 3)), damage.offset, damage.bytes));
    let kept_bytes = whole.read(&Path::new("/data/quarantine").join(&notes[0].file)).unwrap();
    assert_eq!(kept_bytes, bytes[damage.offset as usize..(damage.offset + damage.bytes) as usize]);
    let sealed: Vec<_> = kept.seals.iter().map(|(seal, intact)| (seal.group, *intact)).collect();
    assert_eq!(sealed, [(1, true), (2, true), (3, false), (4, true), (5, true), (6, true), (7, true)]);
}

#[test]
fn strict_recovery_refuses_damage_says_what_to_do_and_changes_nothing() {
    let fs = small_log(Compression::Snappy, 3, 9);
    let mut bytes = fs.read(&segment()).unwrap();
    bytes[100] ^= 1;
    fs.set_content(&segment(), bytes.clone());
    let operations = fs.operations();
    let recover_strictly = || {
        let (wal, quarantine) = (Path::new(WAL), Path::new("/data/quarantine"));
        recover(&fs, wal, quarantine, RecoveryMode::Strict, &mut Kept::default(), &ReplayProgress::default())
    };
    let error = recover_strictly().unwrap_err().to_string();
    assert!(error.contains("chronolith wal inspect /data") && error.contains("salvage"), "{error}");
    assert_eq!((fs.operations(), fs.read(&segment()).unwrap()), (operations, bytes));
    // Once it was set aside, strict recovery starts.
    recover_all(&fs, Path::new("/data"));
    assert!(recover_strictly().is_ok());
}

#[test]
fn random_damage_never_panics_and_never_shows_what_was_not_written() {
    let whole = small_log(Compression::Snappy, 12, 900);
    let bytes = whole.read(&segment()).unwrap();
    let all = stored(&whole);
    for seed in 0..150 {
        let mut random = SimRandom::new(seed);
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(6) {
            let from = random.below(damaged.len() as u64) as usize;
            let to = (from + 1 + random.below(700) as usize).min(damaged.len());
            match random.below(4) {
                0 => damaged[from..to].fill(0),
                1 => damaged[from..to].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
                2 => damaged.copy_within(0..to - from, from),
                _ => drop(damaged.drain(from..to)),
            }
        }
        let fs = SimFs::with_dir(seed, Path::new("/data"));
        fs.create_dir_all(Path::new(WAL)).unwrap();
        fs.set_content(&segment(), damaged);
        let (recovery, kept) = recover_all(&fs, Path::new("/data"));
        let found: BTreeSet<_> = kept.samples().into_iter().collect();
        assert!(found.is_subset(&all), "seed {seed}");
        let (again, kept_again) = recover_all(&fs, Path::new("/data"));
        let counts = (kept_again.samples().len(), kept.samples().len());
        assert!(
            kept_again.samples() == kept.samples(),
            "seed {seed}: {counts:?} {:#?}\n{:#?}",
            recovery.log,
            again.log
        );
        assert_eq!((again.torn_tail, again.damages), (None, Vec::new()), "seed {seed}");
    }
}

#[test]
fn empty_short_zeroed_and_missing_segments_are_read_past() {
    let options = WalOptions { segment_bytes: 1_200, compression: Compression::None, ..WalOptions::default() };
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let clock = Arc::new(ManualClock::at(0));
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), Resume::default(), options, clock);
    for group in 0..12 {
        let records = vec![samples_record(&(0..80).map(|index| (1, group * 100 + index, 1.0)).collect::<Vec<_>>())];
        writer.form_group(&[(80, Digest(1))], GroupRecords { records, on_durable: None }, false);
        writer.write_pending().1.unwrap();
    }
    let (log, _) = scan_all(&fs, Path::new(WAL));
    assert_eq!(log.segments.len(), 12);
    let path = |number| names::wal_segment(Path::new(WAL), number);
    fs.set_content(&path(2), Vec::new());
    fs.set_content(&path(4), vec![0; 40_000]);
    fs.remove_file(&path(6)).unwrap();
    fs.remove_file(&path(7)).unwrap();
    fs.set_content(&path(12), Vec::new());
    fs.set_content(&path(13), vec![0; 100]);
    let (recovery, kept) = recover_all(&fs, Path::new("/data"));
    assert_eq!(kept.samples().len(), 8 * 80);
    let lost: BTreeSet<_> = recovery.damages.iter().filter_map(|damage| damage.groups).collect();
    assert_eq!(lost, BTreeSet::from([(3, 3), (5, 5), (7, 8)]));
    assert_eq!((recovery.resume.next_group, recovery.resume.next_segment), (13, 14));
    let (again, _) = recover_all(&fs, Path::new("/data"));
    assert_eq!(again.damages, []);
    assert_eq!(again.log.missing, []);
}

#[test]
fn page_that_cannot_be_read_costs_its_records_only() {
    let fs = small_log(Compression::None, 8, 3_000);
    let all = stored(&fs).len();
    fs.make_unreadable(&segment(), 70_000..70_001);
    let (log, kept) = scan_all(&fs, Path::new(WAL));
    let lost = all - kept.samples().len();
    assert!((3_000..=6_000).contains(&lost), "{lost}");
    assert!(log.damages[0].what.contains("simulated input/output error"), "{:?}", log.damages);
}

#[test]
fn absurd_lengths_are_refused_before_memory_is_taken() {
    let mut snappy = Vec::new();
    crate::encoding::put::uvarint(&mut snappy, 3 << 30);
    snappy.extend([0; 90]);
    let mut segment_bytes = Vec::new();
    super::writer::append_fragments(&mut segment_bytes, 0, &snappy, format::FRAGMENT_SNAPPY);
    super::writer::append_fragments(&mut segment_bytes, 100_000, &snappy, format::FRAGMENT_ZSTD);
    let fs = SimFs::with_dir(1, Path::new("/data"));
    fs.create_dir_all(Path::new(WAL)).unwrap();
    fs.set_content(&segment(), segment_bytes);
    let (log, kept) = scan_all(&fs, Path::new(WAL));
    assert_eq!((kept.records.len(), log.damages.len() + usize::from(log.torn_tail.is_some())), (0, 1));
}

#[test]
fn log_without_seals_is_read_as_it_is_and_its_torn_end_is_cut() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    fs.create_dir_all(Path::new(WAL)).unwrap();
    let mut bytes = Vec::new();
    for record in [series_record(1, "up"), samples_record(&[(1, 1, 1.0)]), vec![99, 1, 2]] {
        let position = bytes.len() as u64;
        super::writer::append_fragments(&mut bytes, position, &record, 0);
    }
    let whole = bytes.len();
    bytes.extend([1, 0, 200, 1, 2]);
    fs.set_content(&segment(), bytes);
    let (recovery, kept) = recover_all(&fs, Path::new("/data"));
    assert_eq!((kept.records.len(), recovery.log.unsealed_records, recovery.log.unknown_records), (3, 3, 1));
    assert!(kept.records.iter().all(|(position, _)| position.group.is_none()));
    assert_eq!(recovery.torn_tail.map(|tail| (tail.offset, tail.bytes)), Some((whole as u64, 5)));
    assert_eq!(recovery.resume.next_group, 1);
    assert_eq!(fs.read(&segment()).unwrap().len(), whole);
}

#[test]
fn old_bytes_in_place_of_a_new_segments_mark_are_cut_with_the_records_in_them() {
    let fs = small_log(Compression::None, 2, 3);
    let all = stored(&fs);
    let mut bytes = vec![9; 12];
    super::writer::append_fragments(&mut bytes, 12, &samples_record(&[(1, 77, 1.0)]), 0);
    let next = names::wal_segment(Path::new(WAL), 1);
    for behind in [&b""[..], &[3, 3, 3]] {
        fs.set_content(&next, [&bytes, behind].concat());
        let (log, _) = scan_all(&fs, Path::new(WAL));
        assert_eq!((log.damages.len(), log.torn_tail.map(|tail| (tail.segment, tail.offset))), (0, Some((1, 0))));
        assert_eq!(stored(&fs), all);
    }
    // The mark of an older segment, and not where a mark stands.
    let first = fs.read(&segment()).unwrap();
    let mark_bytes = FRAGMENT_HEADER_BYTES + usize::from(u16::from_be_bytes([first[1], first[2]]));
    fs.set_content(&next, [&[9; 4], &first[..mark_bytes]].concat());
    let (log, _) = scan_all(&fs, Path::new(WAL));
    assert_eq!((log.damages.len(), log.torn_tail.map(|tail| (tail.segment, tail.offset))), (0, Some((1, 0))));
    // Longer than a mark, it was written by another program.
    bytes.resize(12 + MARK_BYTES_MAX as usize, 9);
    fs.set_content(&next, bytes);
    assert_eq!(scan_all(&fs, Path::new(WAL)).0.damages.len(), 1);
}

#[test]
fn checkpoint_is_read_before_the_segments_behind_it() {
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let checkpoint = PathBuf::from(WAL).join("checkpoint.00000003");
    fs.create_dir_all(&checkpoint).unwrap();
    fs.create_dir_all(&PathBuf::from(WAL).join("checkpoint.00000002")).unwrap();
    let put = |path: PathBuf, time: i64| {
        let mut bytes = Vec::new();
        super::writer::append_fragments(&mut bytes, 0, &samples_record(&[(1, time, 1.0)]), 0);
        fs.set_content(&path, bytes);
    };
    put(checkpoint.join("00000000"), 1);
    put(names::wal_segment(Path::new(WAL), 3), 9);
    put(names::wal_segment(Path::new(WAL), 4), 2);
    put(names::wal_segment(Path::new(WAL), 5), 3);
    let (log, kept) = scan_all(&fs, Path::new(WAL));
    assert_eq!(kept.samples().iter().map(|sample| sample.1).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(kept.records[0].0.checkpoint && !kept.records[1].0.checkpoint);
    assert_eq!((log.damages.len(), log.resume.next_segment), (0, 6));
}

#[test]
fn full_disk_during_recovery_does_not_keep_the_log_from_opening() {
    let fs = small_log(Compression::Snappy, 3, 9);
    let bytes = fs.read(&segment()).unwrap();
    fs.set_content(&segment(), bytes[..bytes.len() - 3].to_vec());
    fs.set_capacity(Some(0));
    let mut kept = Kept::default();
    let (wal, quarantine) = (Path::new(WAL), Path::new("/data/quarantine"));
    let recovery = recover(&fs, wal, quarantine, RecoveryMode::Salvage, &mut kept, &ReplayProgress::default()).unwrap();
    assert!(recovery.repair_failure.is_some() && recovery.torn_tail.is_some());
    fs.heal();
    let clock = Arc::new(ManualClock::at(0));
    let mut writer =
        GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), recovery.resume, WalOptions::default(), clock);
    writer.form_group(&[(0, Digest::ZERO)], GroupRecords::default(), false);
    writer.write_pending().1.unwrap();
    let (again, kept_again) = recover_all(&fs, Path::new("/data"));
    assert_eq!((again.log.abandoned.len(), again.damages.len()), (1, 0));
    assert_eq!(kept_again.samples(), kept.samples());
}

#[test]
fn repair_interrupted_at_any_operation_loses_nothing_that_was_readable() {
    let damaged = || {
        let fs = small_log(Compression::Snappy, 6, 40);
        let mut bytes = fs.read(&segment()).unwrap();
        let (middle, end) = (bytes.len() / 2, bytes.len() - 3);
        bytes[middle..middle + 100].fill(0);
        bytes.truncate(end);
        fs.set_content(&segment(), bytes);
        fs
    };
    let (recovery, expected) = recover_all(&damaged(), Path::new("/data"));
    assert!(!recovery.damages.is_empty() && recovery.torn_tail.is_some());
    for seed in 0..20 {
        for operation in 0.. {
            let fs = damaged();
            let start = fs.operations();
            fs.lose_power_at(start + operation);
            let (wal, quarantine) = (Path::new(WAL), Path::new("/data/quarantine"));
            let first =
                recover(&fs, wal, quarantine, RecoveryMode::Salvage, &mut Kept::default(), &ReplayProgress::default());
            let finished = first.is_ok_and(|recovery| recovery.repair_failure.is_none());
            let (_, kept) = recover_all(&fs.crash(seed), Path::new("/data"));
            assert!(kept.samples() == expected.samples(), "seed {seed}, operation {operation}");
            if finished {
                break;
            }
        }
    }
}

/// Damages the bytes of a segment, given the offsets of its seals.
type Harm<'a> = &'a dyn Fn(&mut Vec<u8>, &[u64]);

/// A log of three segments with three groups in each.
pub(super) fn log_of_segments() -> SimFs {
    let options = WalOptions { segment_bytes: 3_600, compression: Compression::None, ..WalOptions::default() };
    let fs = SimFs::with_dir(1, Path::new("/data"));
    let clock = Arc::new(ManualClock::at(0));
    let mut writer = GroupWriter::new(Arc::new(fs.clone()), PathBuf::from(WAL), Resume::default(), options, clock);
    for group in 0..9 {
        let records = vec![samples_record(&(0..80).map(|index| (1, group * 100 + index, 1.0)).collect::<Vec<_>>())];
        writer.form_group(&[(80, Digest(1))], GroupRecords { records, on_durable: None }, false);
        writer.write_pending().1.unwrap();
    }
    let (log, _) = scan_all(&fs, Path::new(WAL));
    let groups: Vec<_> = log.segments.iter().map(|segment| segment.groups).collect();
    assert_eq!(groups, [Some((1, 3)), Some((4, 6)), Some((7, 9))]);
    fs
}

#[test]
fn damage_at_the_end_of_an_earlier_segment_is_bit_rot_and_costs_no_readable_record() {
    // Groups by damage, and samples that are readable: the seal, the records, both, and a whole tail that is gone.
    let cases: [(&str, Harm<'_>, (u64, u64), usize); 4] = [
        ("seal", &|bytes, seals| bytes[seals[2] as usize + 20] ^= 1, (3, 3), 9 * 80),
        ("records", &|bytes, seals| bytes[seals[2] as usize - 20] ^= 1, (3, 3), 8 * 80),
        ("both", &|bytes, seals| bytes[seals[2] as usize - 20..seals[2] as usize + 20].fill(1), (3, 3), 8 * 80),
        ("tail", &|bytes, seals| bytes.truncate(seals[0] as usize), (1, 3), 7 * 80),
    ];
    for (what, damage, groups, samples) in cases {
        let fs = log_of_segments();
        let mut seals = Vec::new();
        let mut reader = SegmentReader::open(&fs, &segment()).unwrap();
        loop {
            match reader.next_event() {
                SegmentEvent::Record { offset, bytes, .. } if bytes[..3] == [224, 1, 1] => seals.push(offset),
                SegmentEvent::End { .. } => break,
                _ => {}
            }
        }
        let mut bytes = fs.read(&segment()).unwrap();
        damage(&mut bytes, &seals);
        fs.set_content(&segment(), bytes);
        let (recovery, kept) = recover_all(&fs, Path::new("/data"));
        assert_eq!(kept.samples().len(), samples, "{what}");
        let lost: BTreeSet<_> = recovery.damages.iter().map(|damage| damage.groups).collect();
        assert_eq!(lost, BTreeSet::from([Some(groups)]), "{what}: {:?}", recovery.damages);
        assert_eq!((recovery.torn_tail, recovery.log.abandoned), (None, Vec::new()), "{what}");
        let (again, kept_again) = recover_all(&fs, Path::new("/data"));
        assert_eq!((again.damages, kept_again.samples()), (Vec::new(), kept.samples()), "{what}");
    }
}
