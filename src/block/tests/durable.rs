//! Power lost, or the disk full, at every step of writing a block and of deleting in it.

use std::path::PathBuf;

use super::*;
use crate::fs::names::TMP_FOR_CREATION;
use crate::fs::sim::{Fault, SimFs};

fn series() -> Vec<(LabelSet, Vec<(i64, f64)>)> {
    specimen(12, 10)
}

fn write(fs: &SimFs) -> Result<Arc<Block>, BlockError> {
    let options = WriterOptions { segment_bytes_max: 300, postings_per_pass: 10, ..WriterOptions::default() };
    let prepared = write_block(Arc::new(fs.clone()), Path::new("/data"), ulid(1), options, &series())?;
    prepared.unwrap().publish()
}

fn new_disk() -> SimFs {
    let fs = SimFs::new(7);
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn place() -> PathBuf {
    Path::new("/data").join(ulid(1).to_string())
}

#[test]
fn block_whose_writing_loses_power_anywhere_is_whole_or_not_there() {
    let counting = new_disk();
    let start = counting.operations();
    let expected = check(&write(&counting).unwrap(), &mut |_| {});
    assert!(expected.is_good(), "{:?}", expected.findings);
    let end = counting.operations();
    assert!(end - start > 20);
    let (mut whole, mut absent) = (0, 0);
    for operation in start..=end {
        for seed in 0..20 {
            let fs = new_disk();
            fs.lose_power_at(operation);
            let published = write(&fs);
            let fs = fs.crash(seed * 1000 + operation);
            if fs.exists(&place()) {
                let block = Block::open(Arc::new(fs.clone()), &place()).unwrap();
                let check = check(&block, &mut |_| {});
                assert!(check.is_good() && check.stored == expected.stored, "{operation}: {:?}", check.findings);
                assert_eq!(fs.list(&place()).unwrap().len(), 4);
                whole += 1;
            } else {
                assert!(published.is_err(), "a published block is gone after a power loss at {operation}");
                absent += 1;
            }
        }
    }
    assert!(whole > 20 && absent > 100, "{whole} {absent}");
}

#[test]
fn block_whose_writing_fails_anywhere_leaves_nothing_and_can_be_written_again() {
    let counting = new_disk();
    let start = counting.operations();
    write(&counting).unwrap();
    for operation in start..counting.operations() {
        for fault in [Fault::Error, Fault::NoSpace, Fault::ShortWrite] {
            let fs = new_disk();
            fs.fail(operation..operation + 1, fault);
            let Err(_) = write(&fs) else { panic!("a failure of step {operation} goes unseen") };
            fs.heal();
            let left: Vec<String> = fs.list(Path::new("/data")).unwrap().into_iter().map(|entry| entry.name).collect();
            let is_tmp = |name: &String| name.ends_with(TMP_FOR_CREATION);
            if let Some(name) = left.first()
                && !is_tmp(name)
            {
                // The last step, the sync of the directory around it, failed: whether it stays is for a start to see.
                fs.remove_dir_all(&place()).unwrap();
            }
            assert!(check(&write(&fs).unwrap(), &mut |_| {}).is_good());
        }
    }
}

#[test]
fn deletion_that_loses_power_anywhere_is_whole_or_not_there() {
    let disk = || {
        let fs = new_disk();
        let block = write(&fs).unwrap();
        let range = TimeRange::new(START_MS, START_MS + 20_000);
        block.delete(&[Matcher::equal("__name__", "up")], range).unwrap();
        (fs, block)
    };
    let delete = |block: &Block| {
        block.delete(&[Matcher::equal("job", "node")], TimeRange::new(START_MS + 60_000, START_MS + 70_000))
    };
    let (counting, block) = disk();
    let start = counting.operations();
    let before = check(&block, &mut |_| {});
    delete(&block).unwrap();
    let after = check(&block, &mut |_| {});
    assert!(after.visible.samples < before.visible.samples && before.visible.samples < before.stored.samples);
    let mut seen = [0, 0];
    for operation in start..=counting.operations() {
        for seed in 0..20 {
            let (fs, block) = disk();
            fs.lose_power_at(operation);
            let deleted = delete(&block);
            let fs = fs.crash(seed * 1000 + operation);
            let block = Block::open(Arc::new(fs), &place()).unwrap();
            let now = check(&block, &mut |_| {});
            assert!(now.is_good(), "{:?}", now.findings);
            assert!(now.visible == before.visible || now.visible == after.visible);
            assert!(now.visible == after.visible || deleted.is_err(), "a deletion is gone after {operation}");
            seen[usize::from(now.visible == after.visible)] += 1;
        }
    }
    assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
}

#[test]
fn prepared_block_is_discarded_and_quarantined_with_a_note() {
    let fs = new_disk();
    let prepare = || {
        let fs = Arc::new(fs.clone());
        write_block(fs, Path::new("/data"), ulid(1), WriterOptions::default(), &series()).unwrap().unwrap()
    };
    let names = |dir: &str| fs.list(Path::new(dir)).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    prepare().discard().unwrap();
    assert!(names("/data").is_empty());
    let dir = prepare().quarantine(Path::new("/data/quarantine"), "12 samples are missing").unwrap();
    assert_eq!(names("/data"), ["quarantine"]);
    let stem = format!("unproven-{}", ulid(1));
    assert_eq!(names("/data/quarantine"), [stem.clone(), format!("{stem}.json")]);
    let note = fs.read(&Path::new("/data/quarantine").join(format!("{stem}.json"))).unwrap();
    assert!(String::from_utf8(note).unwrap().contains("12 samples are missing"));
    assert!(check(&Block::open(Arc::new(fs.clone()), &dir).unwrap(), &mut |_| {}).is_good());
    let prepared = prepare();
    prepare().publish().unwrap();
    assert!(prepared.publish().unwrap_err().to_string().contains("already"));
}
