//! Snapshots and restores of blocks on the simulated disk; those of a log are tested with the whole program.

use super::*;
use crate::clock::ManualClock;
use crate::fs::sim::SimFs;
use crate::transfer::import::{ImportOptions, ImportProgress, import};

struct Silent;

impl ImportProgress for Silent {
    fn reading(&mut self, _bytes: u64, _total: u64) {}
    fn writing(&mut self, _blocks: u64, _total: u64) {}
}

const DATA: &str = "/data";
const COPY: &str = "/copy";
const BACK: &str = "/back";

/// A disk with a data directory of two blocks.
fn disk() -> (SimFs, Arc<dyn Fs>) {
    let fs = SimFs::new(1);
    let lines: String =
        (0..400).map(|number| format!("a{{n=\"{}\"}} {number} {}\n", number % 3, number * 36_000)).collect();
    fs.set_content(Path::new("/text"), lines.into_bytes());
    let options = ImportOptions {
        data_dir: DATA.into(),
        source: "/text".into(),
        format: None,
        block_range_ms: None,
        samples_in_memory: 1000,
    };
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let report = import(&shared, &ManualClock::at(0), &options, None, &mut Silent).unwrap();
    assert_eq!(report.blocks.len(), 2);
    (fs, shared)
}

fn make_snapshot(fs: &Arc<dyn Fs>) -> Result<SnapshotManifest, CopyError> {
    let data = Path::new(DATA);
    let db = OfflineDb::open_unlocked(data, fs.clone(), Arc::new(ManualClock::at(0))).unwrap();
    snapshot(fs, &db, data, Path::new(COPY), 7, &mut |_, _| ())
}

fn make_restore(fs: &Arc<dyn Fs>) -> Result<SnapshotManifest, CopyError> {
    restore(fs, Path::new(COPY), Path::new(BACK), &mut |_, _| ())
}

fn names_in(fs: &Arc<dyn Fs>, dir: &str) -> Vec<String> {
    if !fs.exists(Path::new(dir)) {
        return Vec::new();
    }
    fs.list(Path::new(dir)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn restore_of_a_snapshot_holds_its_blocks_and_samples() {
    let (_, fs) = disk();
    let made = make_snapshot(&fs).unwrap();
    assert_eq!((made.blocks.len(), made.stored().samples), (2, 400));
    let restored = make_restore(&fs).unwrap();
    assert_eq!(restored, made);
    let blocks = names_in(&fs, DATA);
    assert_eq!(names_in(&fs, BACK), [blocks, vec!["wal".to_owned()]].concat());
}

#[test]
fn snapshot_and_restore_refuse_a_target_that_is_not_empty_and_leave_it_alone() {
    let (sim, fs) = disk();
    fs.create_dir_all(Path::new(COPY)).unwrap();
    sim.set_content(Path::new("/copy/notes"), b"mine".to_vec());
    assert!(matches!(make_snapshot(&fs), Err(CopyError::NotEmpty { found, .. }) if found == "notes"));
    fs.remove_file(Path::new("/copy/notes")).unwrap();
    make_snapshot(&fs).unwrap();
    assert!(matches!(make_snapshot(&fs), Err(CopyError::NotEmpty { .. })));
    fs.create_dir_all(Path::new("/back/wal")).unwrap();
    sim.set_content(Path::new("/back/wal/00000000"), b"log".to_vec());
    assert!(matches!(make_restore(&fs), Err(CopyError::NotEmpty { found, .. }) if found == "wal"));
    assert_eq!(names_in(&fs, BACK), ["wal"]);
}

#[test]
fn restore_refuses_what_is_no_snapshot() {
    let (sim, fs) = disk();
    make_snapshot(&fs).unwrap();
    fs.create_dir_all(Path::new("/copy/wal")).unwrap();
    sim.set_content(Path::new("/copy/wal/00000000"), b"log".to_vec());
    assert!(matches!(make_restore(&fs), Err(CopyError::NoSnapshot { .. })));
    fs.remove_dir_all(Path::new("/copy/wal")).unwrap();
    let block = names_in(&fs, DATA).remove(0);
    fs.remove_dir_all(&Path::new(COPY).join(block)).unwrap();
    let error = make_restore(&fs).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
    assert_eq!(names_in(&fs, BACK), [""; 0]);
}

#[test]
fn restore_of_a_snapshot_with_a_flipped_bit_keeps_nothing() {
    let (sim, fs) = disk();
    make_snapshot(&fs).unwrap();
    let path = Path::new(COPY).join(names_in(&fs, DATA).remove(1)).join("chunks/000001");
    let mut bytes = fs.read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    sim.set_content(&path, bytes);
    assert!(matches!(make_restore(&fs), Err(CopyError::Bad { .. })));
    assert_eq!(names_in(&fs, BACK), [""; 0]);
}

#[test]
fn restore_of_a_block_that_is_whole_but_another_than_the_snapshot_says_is_refused() {
    let (sim, fs) = disk();
    let mut made = make_snapshot(&fs).unwrap();
    made.blocks[0].stored.samples += 1;
    sim.set_content(&Path::new(COPY).join("snapshot.json"), serde_json::to_vec(&made).unwrap());
    let error = make_restore(&fs).unwrap_err().to_string();
    assert!(error.contains("should hold"), "{error}");
}

#[test]
fn snapshot_and_restore_interrupted_anywhere_leave_nothing_that_passes_for_whole_and_succeed_again() {
    let (whole, fs) = disk();
    let before = whole.operations();
    let made = make_snapshot(&fs).unwrap();
    let snapshot_operations = whole.operations() - before;
    make_restore(&fs).unwrap();
    let restore_operations = whole.operations() - before - snapshot_operations;
    for operation in 0..snapshot_operations + restore_operations {
        let (sim, fs) = disk();
        sim.lose_power_at(sim.operations() + operation);
        let made_before = make_snapshot(&fs).is_ok();
        let restored_before = made_before && make_restore(&fs).is_ok();
        assert!(!restored_before, "operation {operation}");
        for sim in [sim.crash(operation), sim.kill()] {
            let fs: Arc<dyn Fs> = Arc::new(sim.clone());
            if names_in(&fs, COPY).is_empty() {
                assert_eq!(make_snapshot(&fs).unwrap(), made, "operation {operation}");
            }
            let restored = make_restore(&fs);
            match restored {
                Ok(restored) => assert_eq!(restored, made, "operation {operation}"),
                // All of it is there already.
                Err(CopyError::NotEmpty { .. }) => assert_eq!(names_in(&fs, BACK).len(), 3, "operation {operation}"),
                Err(error) => panic!("operation {operation}: {error}"),
            }
        }
    }
}
