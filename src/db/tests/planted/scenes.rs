//! Scenes in which bugs are planted.

mod log;

use super::super::witness::{Check, Found, OrCaught, Witness, ask, caught, difference, minute};
use super::super::*;
use crate::block::{BlockOrigin, BlockWriter, WriterOptions};
use crate::chunk::ChunkBuilder;
use crate::fs::Fs;
use crate::fs::sim::Fault;
use crate::model::SampleValue;
use crate::planted;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// Samples in order and late, deletions, restarts, flushes, a checkpoint, compactions and a snapshot.
    Day,
    /// Such a day is cut short by a power loss at one operation after the other.
    PowerLoss,
    /// A flush fails, the log is truncated, and the store is opened again.
    FailedFlush,
    /// A flush fails from one operation on after the other, and then something is deleted.
    CutFlush,
    /// A bit of a block rots.
    Rot,
    /// A block comes from the future.
    Future,
    /// The bound of the blocks' size is tiny.
    Tiny,
    /// There is not one byte left on the disk.
    FullDisk,
    /// The head is the witness of its blocks, as the log is to be emptied.
    Emptied,
    /// The power goes at each operation of a truncation.
    CutTruncation,
    /// A series begins before what is in the chunk files, and the process dies.
    Slow,
    /// Another program truncates the log, and then takes all of it.
    TakenOver,
}

/// Series that report all the time.
const STEADY: [&str; 3] = ["a", "b", "c"];

impl Scene {
    pub(super) const OTHERS: [Scene; 8] = [
        Scene::Day,
        Scene::PowerLoss,
        Scene::FailedFlush,
        Scene::CutFlush,
        Scene::Rot,
        Scene::Future,
        Scene::Tiny,
        Scene::FullDisk,
    ];

    /// Those about what leaves the log, and what a start does not read of it.
    pub(super) const OF_THE_LOG: [Scene; 4] = [Scene::Emptied, Scene::CutTruncation, Scene::Slow, Scene::TakenOver];

    /// Plays the scene up to the first finding.
    pub(super) fn play(self) -> Found {
        match self {
            Scene::Day => day(),
            Scene::PowerLoss => power_loss(),
            Scene::FailedFlush => failed_flush(),
            Scene::CutFlush => cut_flush(),
            Scene::Rot => rot(),
            Scene::Future => future(),
            Scene::Tiny => tiny(),
            Scene::FullDisk => full_disk(),
            Scene::Emptied => log::emptied(),
            Scene::CutTruncation => log::cut_truncation(),
            Scene::Slow => log::slow(),
            Scene::TakenOver => log::taken_over(),
        }
    }
}

fn day() -> Found {
    let mut witness = Witness::new(options());
    witness.fill(0..150, &STEADY)?;
    witness.fill(150..160, &["a", "b"])?;
    for at in [40, 121, 130, 155] {
        witness.give(minute(at) + 30_000, &[("a", 0.5), ("late", 0.25)])?;
    }
    witness.contradict(minute(100), "a", -1.0)?;
    witness.contradict(minute(121) + 30_000, "a", -1.0)?;
    // Up to the millisecond before a sample.
    witness.delete("b", minute(20), minute(40) - 1)?;
    witness.delete("late", minute(100), minute(125))?;
    for (at, name) in [(10, "a"), (30, "a"), (80, "c"), (150, "late")] {
        witness.exemplify(minute(at), name, at as f64)?;
    }
    witness.state("up", "first")?;
    witness.state("up", "second")?;
    witness.look("in the head")?;
    witness.crash(0, options())?;
    witness.look("replayed")?;
    // The first window is full; the deletions that the log keeps are of samples that it keeps.
    witness.fill(160..190, &["a", "b"])?;
    witness.delete("a", minute(170), minute(172) - 1)?;
    witness.db().flush_if_due().or_caught(Check::FlushProof)?;
    witness.look("the first window flushed")?;
    let report = witness.db().checkpoint().or_caught(Check::Step)?;
    if report.is_none_or(|report| report.kept.samples == 0 || report.requests == 0) {
        return caught(Check::Step, "the checkpoint kept nothing");
    }
    witness.look("a checkpoint made")?;
    witness.restart(options())?;
    witness.look("replayed from a checkpoint")?;
    witness.db().flush_out_of_order_if_due().or_caught(Check::FlushProof)?;
    witness.look("late samples flushed")?;
    witness.restart(options())?;
    witness.look("late samples flushed and replayed")?;
    witness.give(minute(185) + 30_000, &[("a", 0.5), ("late", 0.25)])?;
    witness.restart(options())?;
    witness.look("more late samples replayed")?;
    witness.db().flush().or_caught(Check::FlushProof)?;
    witness.state("up", "second")?;
    witness.give(minute(180) + 15_000, &[("new", 1.5)])?;
    witness.look("all flushed, a series below the floor begun")?;
    accelerate(&witness)?;
    witness.look("with accelerators")?;
    witness.delete("c", minute(10), minute(12) - 1)?;
    witness.fill(190..250, &STEADY)?;
    for at in [191, 235] {
        witness.give(minute(at) + 30_000, &[("b", 0.5)])?;
    }
    // A second time, with the same value: another block has it already.
    let again = (minute(130) + 30_000, 0.5);
    witness.send(again.0, &[("a", again.1)]).or_caught(Check::Step)?;
    snapshot(&witness)?;
    witness.db().flush().or_caught(Check::FlushProof)?;
    witness.look("all flushed again")?;
    compact(&witness)?;
    witness.look("compacted")?;
    witness.db().clean_tombstones().or_caught(Check::Conservation)?;
    accelerate(&witness)?;
    witness.look("cleaned")?;
    witness.restart(options())?;
    witness.look("at the end")
}

fn accelerate(witness: &Witness) -> Found {
    while witness.db().run(Task::Accelerate).or_caught(Check::Step)? != maintenance::Outcome::Nothing {}
    Ok(())
}

fn compact(witness: &Witness) -> Found {
    let report = witness.db().compact().or_caught(Check::Conservation)?;
    let left_out: u64 = report.compactions.iter().map(|one| one.deduplicated.samples).sum();
    if report.compactions.is_empty() || left_out == 0 {
        return caught(Check::Step, "no compaction found a sample twice");
    }
    Ok(())
}

fn snapshot(witness: &Witness) -> Found {
    let name = witness.db().snapshot(false).or_caught(Check::Step)?;
    let data_dir = Path::new(DATA).join("snapshots").join(name);
    let copy = open(&witness.store.fs, &witness.store.clock, DbOptions { data_dir, ..options() });
    let copy = copy.or_caught(Check::Step)?;
    let answers = witness.answers(&copy);
    copy.close();
    answers.map_err(|words| format!("the snapshot: {words}")).or_caught(Check::Answers)
}

/// Small segments and no reserve: few operations, and many files.
fn small() -> DbOptions {
    let storage = StorageOptions { reserve_bytes: 0, ..options().storage };
    let wal = WalOptions { segment_bytes: 8 << 10, ..options().wal };
    never_idle(DbOptions { storage, wal, ..options() })
}

/// Without a writer that does something by itself: operations are counted.
fn never_idle(options: DbOptions) -> DbOptions {
    let wal = WalOptions { idle_seal_after: Duration::from_secs(3600), ..options.wal };
    DbOptions { wal, ..options }
}

/// A day in few steps, up to the first failure.
fn short_day(witness: &mut Witness) -> Result<(), String> {
    let text = |error: TaskError| error.to_string();
    let send = |witness: &mut Witness, at: i64, names: &[&str]| {
        let series: Vec<(&str, f64)> =
            names.iter().zip(1..).map(|(name, number)| (*name, (at + number) as f64)).collect();
        witness.send(minute(at), &series).map(drop)
    };
    for window in 0..3 {
        for step in 0..3 {
            send(witness, window * 120 + step * 39, &["a", "b", "c"])?;
        }
        // Late, and of a series of its own.
        send(witness, window * 120 + 50, &["a", "d"])?;
        witness.delete("b", minute(window * 120), minute(window * 120 + 10)).map_err(|found| found.words)?;
        // From the second time on the window before is full; what is newer stays in head and log.
        witness.db().flush_if_due().map_err(text)?;
        witness.db().flush_out_of_order_if_due().map_err(text)?;
        witness.db().checkpoint().map_err(text)?;
        send(witness, window * 120 + 80, &["a", "b"])?;
    }
    witness.db().flush().map_err(text)?;
    witness.db().compact().map_err(text)?;
    witness.db().flush().map(drop).map_err(text)
}

fn power_loss() -> Found {
    let mut whole = Witness::new(small());
    let first = whole.store.fs.operations();
    short_day(&mut whole).or_caught(Check::Step)?;
    whole.store.db.close();
    let operations = whole.store.fs.operations();
    // A bug is looked for closely where it begins to strike.
    let is_planted = planted::struck().is_some();
    let (mut operation, mut step) = (first, if is_planted { FAR } else { 3 });
    while operation < operations {
        let before = planted::struck();
        power_loss_at(operation)?;
        if step == FAR && planted::struck() > before {
            (operation, step) = (operation.saturating_sub(FAR).max(first), 1);
        }
        operation += step;
    }
    Ok(())
}

/// Operations from one power loss to the next while a bug does not strike.
const FAR: u64 = 16;

fn power_loss_at(operation: u64) -> Found {
    let mut witness = Witness::new(small());
    witness.store.fs.lose_power_at(operation);
    let before = planted::struck();
    let lived = short_day(&mut witness);
    witness.store.db.close();
    if before.is_some() && planted::struck() == before {
        // As without the bug.
        return Ok(());
    }
    for seed in 0..3 {
        let disk = witness.store.fs.crash(operation * 31 + seed);
        let when = format!("power lost at operation {operation}, {lived:?}");
        let at = |words: String| format!("{when}: {words}");
        let db = open(&disk, &witness.store.clock, small());
        let db = db.map_err(|error| at(error.to_string())).or_caught(Check::PowerLoss)?;
        witness.is_kept(&db).map_err(at).or_caught(Check::PowerLoss)?;
        let ended = db.flush().and_then(|_| db.compact());
        ended.map_err(|error| at(error.to_string())).or_caught(Check::PowerLoss)?;
        let later = |words: String| format!("{when}, after a flush: {words}");
        witness.is_kept(&db).map_err(later).or_caught(Check::PowerLoss)?;
        db.close();
        let imbalance = db.ledger_state().imbalance();
        if imbalance != crate::model::Tally::ZERO {
            return caught(Check::PowerLoss, at(format!("the ledger does not balance: {imbalance}")));
        }
    }
    Ok(())
}

fn failed_flush() -> Found {
    let mut witness = Witness::new(options());
    witness.fill(0..190, &STEADY)?;
    let now = witness.store.fs.operations();
    // The log goes on; the block cannot be written.
    witness.store.fs.set_capacity(Some(0));
    if witness.db().flush_if_due().is_ok() {
        return caught(Check::Step, "a block was written on a full disk");
    }
    witness.store.fs.heal();
    assert!(witness.store.fs.operations() > now);
    witness.db().checkpoint().or_caught(Check::Step)?;
    witness.look("a flush failed")?;
    witness.restart(options())?;
    witness.look("a flush failed, opened again")
}

fn cut_flush() -> Found {
    let filled = || -> Found<Witness> {
        let mut witness = Witness::new(never_idle(options()));
        witness.fill(0..190, &STEADY)?;
        Ok(witness)
    };
    let whole = filled()?;
    let first = whole.store.fs.operations();
    whole.db().flush_if_due().or_caught(Check::FlushProof)?;
    if whole.db().blocks().is_empty() {
        return caught(Check::Step, "nothing was flushed");
    }
    // A few more: the writer of head chunks may not have been done when they were counted.
    for operation in 0..whole.store.fs.operations() - first + 4 {
        let mut witness = filled()?;
        // Counted from here, as the log may have grouped what was filled in otherwise.
        let from = witness.store.fs.operations() + operation;
        witness.store.fs.fail(from..u64::MAX, Fault::Error);
        let _failed = witness.db().flush_if_due();
        witness.store.fs.heal();
        // Where the log had failed as well, it takes a moment until it tries again.
        let is_deleted = (0..200_000).any(|_| {
            let deleted = witness.delete("b", minute(20), minute(40) - 1);
            deleted.inspect_err(|_| std::thread::sleep(Duration::from_micros(50))).is_ok()
        });
        if !is_deleted {
            return caught(Check::Step, format!("nothing can be deleted after a failure of operation {operation}"));
        }
        // A kill: what was written stands, acknowledged or not.
        let disk = witness.store.fs.kill();
        witness.store.db.close();
        witness.store.db = open(&disk, &witness.store.clock, options()).or_caught(Check::Step)?;
        witness.store.fs = disk;
        witness.look(&format!("a deletion after a flush that failed at operation {operation}"))?;
    }
    Ok(())
}

/// Two flushed windows.
fn flushed(options: DbOptions) -> Found<Witness> {
    let mut witness = Witness::new(options);
    witness.fill(0..240, &STEADY)?;
    witness.db().flush().or_caught(Check::FlushProof)?;
    witness.look("flushed")?;
    Ok(witness)
}

fn rot() -> Found {
    let witness = flushed(options())?;
    let block = witness.db().blocks()[0].meta.ulid;
    let path = Path::new(DATA).join(block.to_string()).join("chunks/000001");
    let bytes = witness.store.fs.read(&path).unwrap();
    // In the first sample's value, whose bytes stand as they are.
    for bit in [0, 3] {
        let mut rotten = bytes.clone();
        rotten[8 + 1 + 1 + 2 + 6 + 5] ^= 1 << bit;
        witness.store.fs.set_content(&path, rotten);
        let opened = open(&witness.store.fs.kill(), &witness.store.clock, options()).or_caught(Check::Step)?;
        // A warning is right, and so is a block set aside; another value without a word is not.
        let asked = ask(&opened, &[]);
        opened.close();
        if let Ok(found) = asked {
            difference(&found, &witness.store.model).or_caught(Check::Answers)?;
        }
    }
    witness.store.fs.set_content(&path, bytes);
    witness.look("healed")
}

fn future() -> Found {
    let mut witness = flushed(options())?;
    let ahead = minute(0) + 400 * 24 * HOUR;
    let fs: Arc<dyn Fs> = Arc::new(witness.store.fs.clone());
    let mut writer = BlockWriter::create(fs, Path::new(DATA), ulid::Ulid(9), WriterOptions::default()).unwrap();
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "future")]);
    let mut builder = ChunkBuilder::new();
    assert!(builder.push(ahead, &SampleValue::Float(1.0)).is_none());
    writer.add(&labels, &[builder.finish().unwrap()]).unwrap();
    let origin = BlockOrigin { min_time_ms: ahead, max_time_ms: ahead + 1, level: 1, ..BlockOrigin::default() };
    writer.finish(origin).unwrap().unwrap().publish().unwrap();
    witness.store.model.entry(labels).or_default().insert(ahead, 1.0f64.to_bits());
    witness.db().run(Task::Reload).or_caught(Check::Step)?;
    witness.db().expire().or_caught(Check::Step)?;
    witness.look("retention with a block from the future")
}

fn tiny() -> Found {
    let retention = RetentionPolicy { time_ms: None, size_bytes: Some(1) };
    let storage = StorageOptions { retention, ..options().storage };
    let mut witness = flushed(DbOptions { storage, ..options() })?;
    witness.db().expire().or_caught(Check::Step)?;
    for samples in witness.store.model.values_mut() {
        samples.retain(|at_ms, _| *at_ms >= minute(120));
    }
    witness.look("retention with a tiny bound")
}

fn full_disk() -> Found {
    let retention = RetentionPolicy { time_ms: Some(HOUR), size_bytes: None };
    let storage = StorageOptions { retention, reserve_bytes: 4096, ..options().storage };
    let mut witness = flushed(DbOptions { storage, ..options() })?;
    witness.fill(400..401, &STEADY)?;
    let used: u64 = witness.store.fs.used_bytes();
    witness.store.fs.set_capacity(Some(used));
    witness.db().expire().or_caught(Check::Step)?;
    witness.store.fs.set_capacity(None);
    for samples in witness.store.model.values_mut() {
        samples.retain(|at_ms, _| *at_ms >= minute(120));
    }
    witness.look("retention on a full disk")
}
