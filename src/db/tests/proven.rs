//! `verify` on directories as the database leaves them: proven as they are, and not when anything was taken away.

use super::witness::{Found, Witness, minute};
use super::*;
use crate::fs::{Fs, names};
use crate::verify::{StageStatus, VerifyReport};

fn small() -> DbOptions {
    DbOptions { wal: WalOptions { segment_bytes: 8 << 10, ..options().wal }, ..options() }
}

/// Blocks, one of them compacted, a checkpoint and what came behind it; most receipts are older than the log.
fn lived() -> Witness {
    let live = || -> Found<Witness> {
        let mut witness = Witness::new(small());
        witness.fill(0..200, &["a", "b", "c"])?;
        for at in [40, 130, 150] {
            witness.give(minute(at) + 30_000, &[("a", 0.5), ("late", 0.25)])?;
        }
        witness.delete("b", minute(20), minute(40))?;
        witness.db().flush_if_due().unwrap();
        witness.db().flush_out_of_order_if_due().unwrap();
        witness.db().compact().unwrap();
        witness.db().checkpoint().unwrap().unwrap();
        witness.fill(200..330, &["a", "b", "c"])?;
        witness.db().flush_if_due().unwrap();
        witness.db().checkpoint().unwrap().unwrap();
        for minutes in [330..335, 335..340, 340..345] {
            witness.fill(minutes, &["a"])?;
            witness.restart(small())?;
        }
        witness.look("lived")?;
        witness.store.db.close();
        Ok(witness)
    };
    live().unwrap_or_else(|caught| panic!("{caught}"))
}

fn number(report: &VerifyReport, stage: &str, number: &str) -> u64 {
    let stage = report.stages.iter().find(|one| one.name == stage).unwrap();
    stage.numbers[number].as_u64().unwrap()
}

#[test]
fn verify_proves_a_directory_with_blocks_and_a_truncated_log_and_receipts_that_left_it() {
    let witness = lived();
    for deep in [false, true] {
        let report = witness.verify(&witness.store.fs, deep);
        assert_eq!(report.exit_code(), 0, "{}", report.to_table());
        let receipts = number(&report, "receipts", "receipts");
        assert_eq!(number(&report, "receipts", "receipts_proven"), receipts);
        let from_ledger = number(&report, "receipts", "receipts_proven_by_ledger");
        assert!(from_ledger > 200 && from_ledger < receipts, "{from_ledger} of {receipts}");
        assert!(number(&report, "blocks", "blocks") >= 2);
        assert_eq!(number(&report, "blocks", "blocks_equal_to_ledger"), number(&report, "blocks", "blocks"));
        let held: u64 = witness.store.model.values().map(|samples| samples.len() as u64).sum();
        // Twenty-one samples were deleted.
        assert_eq!(number(&report, "conservation", "acknowledged"), held + 21);
    }
    // As it is, and after a kill.
    let report = witness.verify(&witness.store.fs.kill(), true);
    assert_eq!(report.exit_code(), 0, "{}", report.to_table());
}

/// What is done to a directory, the stage that has to find it, and words of the finding.
type Damage = (&'static str, fn(&SimFs, &Path), &'static str, &'static str);

const DAMAGES: &[Damage] = &[
    ("a block is gone", |disk, block| disk.remove_dir_all(block).unwrap(), "conservation", "is missing"),
    ("a bit of a chunk", |disk, block| flip(disk, &block.join("chunks/000001"), 40), "blocks", "chunks/000001"),
    ("a bit of the index", |disk, block| flip(disk, &block.join("index"), 60), "blocks", "index"),
    ("a cut chunk file", |disk, block| cut(disk, &block.join("chunks/000001")), "blocks", "chunks/000001"),
    ("no meta", |disk, block| disk.remove_file(&block.join("meta.json")).unwrap(), "blocks", "cannot be opened"),
    ("no ledger", |disk, _| disk.remove_dir_all(&ledger()).unwrap(), "conservation", "ledger of that is missing"),
    ("no ledger, receipts", |disk, _| disk.remove_dir_all(&ledger()).unwrap(), "receipts", "nor among what left it"),
    ("the ledger's first entry", |disk, _| drop_entry(disk, 1), "conservation", "entries before"),
    ("an entry of the ledger", |disk, _| drop_entry(disk, 3), "conservation", "are missing"),
    ("the ledger's last entry", |disk, _| drop_entry(disk, usize::MAX), "conservation", "does not say so"),
    ("a bit of the ledger", |disk, _| flip(disk, &ledger().join("entries"), 200), "conservation", "ledger, byte"),
    ("the receipts that left", |disk, _| drop_receipts(disk), "receipts", "nor among what left it"),
    ("the receipts that left", |disk, _| drop_receipts(disk), "conservation", "receipts of the requests"),
    ("no checkpoint", |disk, _| drop_checkpoint(disk), "replay", "of series that the log lacks"),
    ("the first segment of the log", |disk, _| drop_segment(disk, 0), "conservation", "groups"),
    ("a segment of the log", |disk, _| drop_segment(disk, 1), "log", "missing"),
];

fn ledger() -> std::path::PathBuf {
    Path::new(DATA).join(names::LEDGER_DIR)
}

fn wal() -> std::path::PathBuf {
    Path::new(DATA).join(names::WAL_DIR)
}

fn flip(disk: &SimFs, path: &Path, byte: usize) {
    let mut bytes = disk.read(path).unwrap();
    bytes[byte] ^= 4;
    disk.set_content(path, bytes);
}

fn cut(disk: &SimFs, path: &Path) {
    let mut bytes = disk.read(path).unwrap();
    bytes.truncate(bytes.len() / 2);
    disk.set_content(path, bytes);
}

/// Removes a line of the ledger; the first one is its header.
fn drop_entry(disk: &SimFs, line: usize) {
    let path = ledger().join("entries");
    let text = String::from_utf8(disk.read(&path).unwrap()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(line.min(lines.len() - 1));
    disk.set_content(&path, (lines.join("\n") + "\n").into_bytes());
}

fn names_in(disk: &SimFs, dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    disk.list(dir).unwrap().into_iter().map(|entry| entry.name).filter(|name| wanted(name)).collect()
}

fn drop_receipts(disk: &SimFs) {
    for name in names_in(disk, &ledger(), |name| name.starts_with("receipts-")) {
        disk.remove_file(&ledger().join(name)).unwrap();
    }
}

fn drop_checkpoint(disk: &SimFs) {
    for name in names_in(disk, &wal(), |name| name.starts_with("checkpoint.")) {
        disk.remove_dir_all(&wal().join(name)).unwrap();
    }
}

/// Removes a segment with others behind it.
fn drop_segment(disk: &SimFs, index: usize) {
    let mut segments = names_in(disk, &wal(), |name| names::parse_wal_segment(name).is_some());
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    disk.remove_file(&wal().join(&segments[index])).unwrap();
}

#[test]
fn verify_finds_whatever_was_taken_from_a_directory_and_names_it() {
    let witness = lived();
    let mut wrong = Vec::new();
    for (what, damage, stage, words) in DAMAGES {
        for deep in [false, true] {
            let disk = witness.store.fs.kill();
            let blocks = witness.db().blocks();
            damage(&disk, &Path::new(DATA).join(blocks[0].meta.ulid.to_string()));
            let report = witness.verify(&disk, deep);
            let found = report.stages.iter().find(|one| one.name == *stage).is_some_and(|one| {
                one.status == StageStatus::Wrong && one.findings.iter().any(|finding| finding.contains(words))
            });
            if !found || report.exit_code() != 1 {
                wrong.push(format!("{what}, deep {deep}, exit code {}:\n{}", report.exit_code(), report.to_table()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn verify_names_a_block_that_a_start_set_aside_until_it_is_taken_away() {
    let witness = lived();
    let disk = witness.store.fs.kill();
    let ulid = witness.db().blocks()[0].meta.ulid;
    disk.set_content(&Path::new(DATA).join(ulid.to_string()).join("index"), b"no index".to_vec());
    open(&disk, &witness.store.clock, small()).unwrap().close();
    for deep in [false, true] {
        let report = witness.verify(&disk, deep);
        assert_eq!(report.exit_code(), 1, "{}", report.to_table());
        let words = format!("block {ulid}, ");
        let is_named = |finding: &String| finding.starts_with(&words) && finding.contains("lies in quarantine");
        assert!(report.stages.iter().any(|stage| stage.findings.iter().any(is_named)), "{}", report.to_table());
    }
    disk.remove_dir_all(&Path::new(DATA).join(names::QUARANTINE_DIR).join(format!("block-{ulid}"))).unwrap();
    for deep in [false, true] {
        let report = witness.verify(&disk, deep);
        assert_eq!(report.exit_code(), 0, "{}", report.to_table());
    }
}
