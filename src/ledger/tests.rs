//! Tests of the ledger over the simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::fs::Fs;
use crate::fs::sim::{SimFs, SimRandom};
use crate::model::{Digest, Tally};

fn dir() -> PathBuf {
    PathBuf::from("/data/ledger")
}

fn open(fs: &SimFs) -> Ledger {
    Ledger::open(Arc::new(fs.clone()), &dir(), Path::new("/data/quarantine")).unwrap()
}

fn disk() -> SimFs {
    let fs = SimFs::new(7);
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn tally(samples: u64, digest: u128) -> Tally {
    Tally { samples, digest: Digest(digest) }
}

fn ulid(number: u128) -> Ulid {
    Ulid(number)
}

fn flushed(number: u128, up_to_ms: i64, held: Tally) -> Event {
    Event::Flushed { ulid: Some(ulid(number)), up_to: FlushedUpTo::TimeMs(up_to_ms), tally: held, deleted: tally(1, 1) }
}

/// Some of each kind.
fn history() -> Vec<Event> {
    vec![
        flushed(1, 7_200_000, tally(10, 100)),
        Event::Flushed {
            ulid: Some(ulid(2)),
            up_to: FlushedUpTo::OutOfOrderGroup(77),
            tally: tally(5, 50),
            deleted: Tally::ZERO,
        },
        Event::Truncated {
            up_to_segment: 3,
            left: LeftSamples { in_order: tally(11, 101), out_of_order: tally(5, 50), unsealed: 0 },
            last_group: 77,
            next_commit: 9,
            chain: 0xabc,
            receipts: None,
        },
        Event::Compacted {
            parents: vec![ulid(1), ulid(2)],
            child: Some(ulid(3)),
            stored: tally(12, 120),
            deleted: tally(2, 20),
            deduplicated: tally(1, 10),
        },
        Event::Adopted { ulid: ulid(4), tally: tally(3, 30) },
        Event::Expired { ulid: ulid(3), tally: tally(12, 120) },
        Event::Quarantined { ulid: ulid(4), tally: tally(3, 30), reason: "damaged index".into() },
        Event::Adopted { ulid: ulid(5), tally: tally(4, 40) },
        Event::Adopted { ulid: ulid(6), tally: tally(4, 41) },
        Event::Deleted { ulid: ulid(5), tally: tally(4, 40) },
    ]
}

#[test]
fn state_of_a_history_balances_and_survives_a_power_loss() {
    let fs = disk();
    let mut ledger = open(&fs);
    for (at_ms, event) in (0..).zip(history()) {
        ledger.append(&[event], at_ms).unwrap();
    }
    let again = open(&fs.crash(1));
    assert_eq!((again.entries(), again.state()), (ledger.entries(), ledger.state()));
    assert_eq!(again.damages(), []);
    let state = again.state();
    assert_eq!(state.imbalance(), Tally::ZERO);
    assert_eq!(state.blocks.iter().collect::<Vec<_>>(), [(&ulid(6), &tally(4, 41))]);
    assert_eq!((state.flushed_up_to_ms, state.flushed_out_of_order_group), (Some(7_200_000), Some(77)));
    assert_eq!(state.left_log.up_to_segment, Some(3));
    assert_eq!((state.left_log.last_group, state.left_log.chain), (77, 0xabc));
    assert_eq!(state.totals.deleted, tally(7, 61));
}

#[test]
fn imbalance_is_what_a_compaction_lost() {
    let fs = disk();
    let mut ledger = open(&fs);
    ledger.append(&[flushed(1, 1, tally(10, 100))], 0).unwrap();
    let (deleted, deduplicated) = (Tally::ZERO, Tally::ZERO);
    let (parents, child) = (vec![ulid(1)], Some(ulid(2)));
    ledger.append(&[Event::Compacted { parents, child, stored: tally(9, 90), deleted, deduplicated }], 0).unwrap();
    assert_eq!(ledger.state().imbalance(), tally(1, 10));
}

#[test]
fn what_was_appended_survives_a_power_loss_at_every_operation() {
    let events = history();
    let run = |fs: &SimFs| {
        let mut acknowledged = 0;
        let Ok(mut ledger) = Ledger::open(Arc::new(fs.clone()), &dir(), Path::new("/data/quarantine")) else {
            return 0;
        };
        for pair in events.chunks(2) {
            if ledger.append(pair, 0).is_err() {
                // The disk is gone, or comes back: then this counts, and what failed does not.
                break;
            }
            acknowledged += pair.len();
        }
        acknowledged
    };
    let dry = disk();
    run(&dry);
    let start = disk().operations();
    assert!(dry.operations() > start + 10);
    for operation in start..dry.operations() {
        for seed in 0..8 {
            let fs = disk();
            fs.lose_power_at(operation);
            let acknowledged = run(&fs);
            let after = fs.crash(seed);
            let ledger = open(&after);
            let kept: Vec<_> = ledger.entries().iter().map(|entry| entry.event.clone()).collect();
            assert!(kept.len() >= acknowledged && events.starts_with(&kept), "operation {operation}, seed {seed}");
            assert!(ledger.damages().iter().all(|damage| damage.is_torn_tail
                || damage.bytes == 0
                || acknowledged == 0
                || kept.len() >= acknowledged));
            assert_eq!(open(&after.crash(seed)).damages(), [], "told once");
        }
    }
}

#[test]
fn append_after_a_failed_one_is_durable_and_what_failed_does_not_count() {
    for operation in 0..2 {
        let fs = disk();
        let mut ledger = open(&fs);
        ledger.append(&[flushed(1, 1, tally(1, 1))], 0).unwrap();
        let next = fs.operations() + operation;
        fs.fail(next..next + 1, crate::fs::sim::Fault::ShortWrite);
        let failed = ledger.append(&[flushed(2, 2, tally(2, 2))], 0).is_err();
        ledger.append(&[flushed(3, 3, tally(3, 3))], 0).unwrap();
        let again = open(&fs.crash(operation));
        assert_eq!(again.entries(), ledger.entries(), "operation {operation}");
        assert_eq!(again.entries().len(), if failed { 2 } else { 3 });
    }
}

#[test]
fn ledger_whose_first_append_was_undone_has_no_entry_and_no_damage() {
    let failing = |from: u64, count: u64| {
        let fs = disk();
        let mut ledger = open(&fs);
        let start = fs.operations();
        fs.fail(start + from..start + from + count, crate::fs::sim::Fault::ShortWrite);
        let failed = ledger.append(&[flushed(1, 1, tally(1, 1))], 0).is_err();
        (fs, ledger, failed)
    };
    let mut undone = 0;
    for (operation, count) in (0..12).flat_map(|operation| (1..6).map(move |count| (operation, count))) {
        let (fs, mut ledger, failed) = failing(operation, count);
        if failed && (0..3).any(|_| ledger.settle().is_ok()) {
            undone += 1;
            for seed in 0..8 {
                let again = open(&fs.crash(seed));
                assert_eq!((again.entries(), again.damages()), (&[][..], &[][..]), "operation {operation}, {count}");
            }
        }
    }
    assert!(undone > 5, "{undone}");
}

/// A disk with a ledger that has only this file.
fn disk_with(path: &Path, bytes: &[u8]) -> SimFs {
    let disk = disk();
    disk.create_dir_all(&dir()).unwrap();
    disk.create(path).unwrap().write_all(bytes).unwrap();
    disk
}

#[test]
fn every_flipped_bit_is_named_and_costs_one_entry_at_most() {
    let fs = disk();
    let mut ledger = open(&fs);
    history().chunks(1).for_each(|event| ledger.append(event, 0).unwrap());
    let path = dir().join("entries");
    let bytes = fs.read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let disk = disk_with(&path, &damaged);
        let opened = open(&disk);
        assert!(!opened.damages().is_empty(), "bit {bit}");
        // A line feed that is lost, or appears, costs the two lines beside it.
        assert!(opened.entries().len() + 2 >= ledger.entries().len(), "bit {bit}");
        let quarantined = disk.list(Path::new("/data/quarantine")).unwrap();
        assert!(quarantined.len() >= 2, "bit {bit}: {quarantined:?}");
        assert_eq!(open(&disk).damages(), [], "bit {bit}: told once");
    }
}

#[test]
fn every_truncation_is_named_or_leaves_whole_entries() {
    let fs = disk();
    let mut ledger = open(&fs);
    history().chunks(1).for_each(|event| ledger.append(event, 0).unwrap());
    let path = dir().join("entries");
    let bytes = fs.read(&path).unwrap();
    for len in 0..bytes.len() {
        let disk = disk_with(&path, &bytes[..len]);
        let opened = open(&disk);
        assert_eq!(opened.entries(), &ledger.entries()[..opened.entries().len()]);
        let has_line = !opened.entries().is_empty();
        let is_whole = has_line && bytes[len - 1] == b'\n';
        assert_eq!(opened.damages().is_empty(), is_whole, "length {len}");
        // The file gets its name with a line in it: one that has none was not left so by a crash.
        assert!(opened.damages().iter().all(|damage| damage.is_torn_tail == has_line), "length {len}");
        assert_eq!(open(&disk.crash(1)).damages(), [], "length {len}: told once");
    }
}

#[test]
fn missing_line_is_named() {
    let fs = disk();
    let mut ledger = open(&fs);
    history().chunks(1).for_each(|event| ledger.append(event, 0).unwrap());
    let text = String::from_utf8(fs.read(&dir().join("entries")).unwrap()).unwrap();
    for missing in 1..text.lines().count() - 1 {
        let kept: String = text
            .split_inclusive('\n')
            .enumerate()
            .filter(|(index, _)| *index != missing)
            .map(|(_, line)| line)
            .collect();
        let disk = disk_with(&dir().join("entries"), kept.as_bytes());
        let damages = read(&disk, &dir()).unwrap().damages;
        assert_eq!(damages.len(), 1, "line {missing}");
        assert!(damages[0].what.contains("missing"));
    }
}

#[test]
fn long_ledger_is_folded_to_the_same_state() {
    let fs = disk();
    let mut ledger = open(&fs);
    let mut longest = 0;
    for number in 1..4_000u128 {
        let pair =
            [flushed(number, number as i64, tally(2, 2)), Event::Expired { ulid: ulid(number), tally: tally(2, 2) }];
        ledger.append(&pair, number as i64).unwrap();
        longest = longest.max(fs.open(&dir().join("entries")).unwrap().len().unwrap());
    }
    assert!(longest < 1_200_000, "{longest}");
    assert!(ledger.entries().len() < 7_000);
    let again = open(&fs.crash(3));
    assert_eq!((again.entries(), again.state(), again.damages()), (ledger.entries(), ledger.state(), &[][..]));
    assert_eq!(again.state().totals.flushed, tally(3 * 3_999, 3 * 3_999));
    assert_eq!(again.entries().last().unwrap().sequence, 2 * 3_999);
}

#[test]
fn fold_that_does_not_tell_in_order_samples_does_not_begin_to_count_them() {
    let ledger_after = |first: Option<Event>| {
        let mut ledger = open(&disk());
        first.into_iter().chain(history()).for_each(|event| ledger.append(&[event], 0).unwrap());
        ledger.state().totals.flushed_in_order
    };
    assert_eq!(ledger_after(None), Some(tally(11, 101)));
    let mut old = serde_json::to_value(LedgerState::default()).unwrap();
    old["totals"].as_object_mut().unwrap().remove("flushed_in_order").unwrap();
    let state = Box::new(serde_json::from_value(old).unwrap());
    assert_eq!(ledger_after(Some(Event::Folded { state })), None);
}

fn requests(random: &mut SimRandom, count: u64) -> Vec<(u64, Tally)> {
    let mut commit = 1_000;
    (0..count)
        .map(|_| {
            commit += 1 + random.below(3);
            (commit, tally(random.below(5_000), u128::from(random.next_u64()) << 60))
        })
        .collect()
}

#[test]
fn request_that_left_the_log_is_found_on_disk_and_no_other() {
    let fs = disk();
    let mut ledger = open(&fs);
    let all = requests(&mut SimRandom::new(1), 10_000);
    let part = ledger.write_receipts(&all).unwrap().unwrap();
    assert_eq!((part.requests, part.tally), (10_000, all.iter().map(|(_, tally)| *tally).sum()));
    let bytes = fs.open(&dir().join(&part.file)).unwrap().len().unwrap();
    assert!(bytes < 20 * 10_000, "{bytes}");
    let ledger = open(&fs.crash(1));
    let mut expected = all.iter().copied().peekable();
    for commit in 0..all.last().unwrap().0 + 2 {
        let known = expected.next_if(|(number, _)| *number == commit).map(|(_, tally)| tally);
        assert_eq!(ledger.request(commit).unwrap(), known, "commit {commit}");
    }
    let (commit, held) = all[4_096];
    assert!(ledger.contains(commit, held).unwrap());
    assert!(!ledger.contains(commit, held + tally(1, 0)).unwrap());
}

#[test]
fn every_flipped_bit_of_a_receipts_file_is_an_error_or_changes_no_answer() {
    let fs = disk();
    let mut ledger = open(&fs);
    let all = requests(&mut SimRandom::new(1), 12);
    let part = ledger.write_receipts(&all).unwrap().unwrap();
    let path = dir().join(&part.file);
    let bytes = fs.read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let disk = disk_with(&path, &damaged);
        for &(commit, held) in &all {
            assert!(
                open(&disk).request(commit).is_err_and(|error| error.to_string().contains("receipts-"))
                    || open(&disk).request(commit).is_ok_and(|found| found == Some(held)),
                "bit {bit}"
            );
        }
    }
}
