//! Scenes about what leaves the log, and what a start does not read of it.

use super::*;
use crate::fs::names;
use crate::wal::{self, LogFiles, RecordType, SegmentEvent, SegmentReader};

fn wal_dir() -> std::path::PathBuf {
    Path::new(DATA).join(names::WAL_DIR)
}

fn roll(witness: &Witness) -> Found {
    witness.store.db.committer.roll().wait().map(drop).or_caught(Check::Step)
}

/// Flushes the head, and leaves the log as it is.
fn flush(witness: &Witness) -> Found {
    witness.db().flush_head(&mut FlushReport::default()).or_caught(Check::FlushProof)
}

pub(super) fn emptied() -> Found {
    let mut witness = Witness::new(options());
    witness.fill(0..130, &STEADY)?;
    witness.db().empty_log().or_caught(Check::FlushProof)?;
    witness.look("the log emptied")
}

pub(super) fn cut_truncation() -> Found {
    let setup = || -> Found<Witness> {
        let mut witness = Witness::new(small());
        witness.fill(0..130, &STEADY)?;
        flush(&witness)?;
        witness.fill(130..140, &STEADY)?;
        Ok(witness)
    };
    let whole = setup()?;
    let first = whole.store.fs.operations();
    whole.db().checkpoint().or_caught(Check::Step)?;
    for operation in 0..whole.store.fs.operations() - first {
        let mut witness = setup()?;
        // Counted from here, as the log may have grouped what was filled in otherwise.
        let from = witness.store.fs.operations() + operation;
        witness.store.fs.lose_power_at(from);
        let _lost = witness.db().checkpoint();
        witness.crash(operation, small())?;
        witness.fill(140..145, &STEADY)?;
        witness.db().flush().or_caught(Check::Step)?;
        witness.db().checkpoint().or_caught(Check::Step)?;
        witness.look(&format!("power lost at operation {operation} of a truncation"))?;
    }
    Ok(())
}

pub(super) fn slow() -> Found {
    let mut witness = Witness::new(small());
    witness.fill(0..150, &STEADY)?;
    // All that there is stands in chunk files now, and the watermark says so.
    witness.restart(small())?;
    witness.give(minute(100), &[("slow", 0.5)])?;
    roll(&witness)?;
    if wal::summarize(&witness.store.fs, &wal_dir(), true).or_caught(Check::Step)? == 0 {
        return caught(Check::Step, "no segment was summarized");
    }
    // Killed: nobody notes a later watermark.
    let disk = witness.store.fs.kill();
    witness.store.db.close();
    witness.store.db = open(&disk, &witness.store.clock, small()).or_caught(Check::Step)?;
    witness.store.fs = disk;
    witness.look("a series begun in the past")
}

pub(super) fn taken_over() -> Found {
    let mut witness = Witness::new(small());
    for minutes in [0..60, 60..120, 120..150, 150..170] {
        witness.fill(minutes, &STEADY)?;
        roll(&witness)?;
    }
    flush(&witness)?;
    truncate_as_another(&mut witness, 2)?;
    witness.nothing_is_wrong()?;
    witness.fill(170..195, &STEADY)?;
    flush(&witness)?;
    // Its seals leave the log before it does.
    witness.fill(195..200, &STEADY)?;
    // What tells of the other program is replaced by a checkpoint of ours.
    witness.db().checkpoint().or_caught(Check::Step)?;
    witness.nothing_is_wrong()?;
    witness.fill(200..230, &STEADY)?;
    flush(&witness)?;
    truncate_as_another(&mut witness, 0)?;
    witness.fill(230..235, &STEADY)?;
    witness.numbers_rise()?;
    witness.nothing_is_wrong()?;
    flush(&witness)?;
    witness.db().checkpoint().or_caught(Check::Step)?;
    witness.restart(small())?;
    witness.fill(235..240, &STEADY)?;
    witness.numbers_rise()?;
    witness.nothing_is_wrong()?;
    witness.answers(&witness.store.db).or_caught(Check::Answers)
}

/// Closes, takes all segments away but the last ones, with a checkpoint of their series, as Prometheus does it, and opens
/// again.
fn truncate_as_another(witness: &mut Witness, kept: usize) -> Found {
    witness.store.db.close();
    let fs = &witness.store.fs;
    let files = LogFiles::list(fs, &wal_dir()).or_caught(Check::Step)?.files;
    let segments: Vec<_> = files.iter().filter(|file| !file.checkpoint).collect();
    let Some(last) = segments.len().checked_sub(kept + 1).map(|index| segments[index]) else {
        return caught(Check::Step, "the log is too short");
    };
    let mut bytes = Vec::new();
    for file in &files[..files.len() - kept] {
        let mut reader = SegmentReader::open(fs, &file.path).or_caught(Check::Step)?;
        loop {
            match reader.next_event() {
                SegmentEvent::Record { bytes: record, .. } if record[0] == RecordType::Series as u8 => {
                    bytes.push(1);
                    bytes.extend_from_slice(&(record.len() as u16).to_be_bytes());
                    bytes.extend_from_slice(&crate::encoding::crc32c(&record).to_be_bytes());
                    bytes.extend_from_slice(&record);
                }
                SegmentEvent::End { .. } => break,
                _ => {}
            }
        }
    }
    let checkpoint = names::checkpoint_dir(&wal_dir(), last.number);
    for file in &files[..files.len() - kept] {
        fs.remove_file(&file.path).or_caught(Check::Step)?;
        if let Some(dir) = file.path.parent().filter(|dir| fs.list(dir).is_ok_and(|files| files.is_empty())) {
            fs.remove_dir(dir).or_caught(Check::Step)?;
        }
    }
    fs.create_dir_all(&wal_dir()).or_caught(Check::Step)?;
    fs.create_dir_all(&checkpoint).or_caught(Check::Step)?;
    let mut file = fs.create(&names::wal_segment(&checkpoint, 0)).or_caught(Check::Step)?;
    file.write_all(&bytes).or_caught(Check::Step)?;
    witness.store.db = open(&witness.store.fs, &witness.store.clock, small()).or_caught(Check::Step)?;
    Ok(())
}
