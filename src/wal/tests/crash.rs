//! Crash points: a random workload over the simulated disk, which loses its power, fails and runs full.
//!
//! The state machine is driven in one thread, so that a seed gives the same run every time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::clock::ManualClock;
use crate::fs::sim::{Fault, SimFs, SimRandom};

type Stored = (u64, i64, u64);

/// What was sent, and what of it was acknowledged.
#[derive(Debug, Clone, Default)]
struct Client {
    sent: BTreeSet<Stored>,
    acknowledged: BTreeSet<Stored>,
    receipts: Vec<Receipt>,
    /// By series: time of the newest sample.
    newest: BTreeMap<u64, i64>,
    /// Samples of requests that are not acknowledged, by group.
    waiting: BTreeMap<u64, Vec<Stored>>,
}

fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}

fn options(random: &mut SimRandom) -> WalOptions {
    let compression = [Compression::None, Compression::Snappy, Compression::Zstd][random.below(3) as usize];
    WalOptions { segment_bytes: 20_000 + random.below(60_000), compression, ..WalOptions::default() }
}

fn writer(fs: &SimFs, resume: Resume, random: &mut SimRandom) -> GroupWriter {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    GroupWriter::new(Arc::new(fs.clone()), data_dir().join("wal"), resume, options(random), clock)
}

impl Client {
    /// Forms a group of a few requests.
    fn send(&mut self, writer: &mut GroupWriter, random: &mut SimRandom) {
        let (mut requests, mut records, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let count = if random.once_in(20) { 2_000 } else { 1 + random.below(30) };
            let (mut samples, mut sum) = (Vec::new(), Digest::ZERO);
            for _ in 0..count {
                let series_ref = random.below(6);
                let newest = self.newest.entry(series_ref).or_default();
                *newest += 1 + random.below(1_000) as i64;
                let value = f64::from_bits(random.next_u64());
                samples.push((series_ref, *newest, value));
                stored.push((series_ref, *newest, value.to_bits()));
                sum += digest(series_ref, *newest, value);
            }
            records.push(samples_record(&samples));
            requests.push((count, sum));
        }
        self.sent.extend(stored.iter().copied());
        let group = writer.form_group(&requests, GroupRecords { records, on_durable: None }, false);
        self.waiting.insert(group, stored);
    }

    /// Lets the writer write; what it gives back is acknowledged.
    fn write(&mut self, writer: &mut GroupWriter) -> bool {
        let (durable, result) = writer.write_pending();
        for group in durable {
            self.acknowledged.extend(self.waiting.remove(&group.group).unwrap_or_default());
            self.receipts.extend(group.receipts);
        }
        result.is_ok()
    }

    fn run(&mut self, writer: &mut GroupWriter, steps: u64, random: &mut SimRandom) {
        for _ in 0..steps {
            // While the log fails, nothing is admitted.
            if writer.pending_groups() == 0 || random.once_in(4) {
                if random.once_in(5) {
                    writer.form_group(&[], GroupRecords::default(), false);
                } else {
                    self.send(writer, random);
                }
            }
            self.write(writer);
        }
    }

    /// Checks that the log holds everything acknowledged, nothing that was not sent, and each series in order.
    fn check(&self, log: &LogScan, kept: &Kept, what: &str) {
        let found: BTreeSet<Stored> = kept.samples().into_iter().collect();
        let lost: Vec<_> = self.acknowledged.difference(&found).take(3).collect();
        assert!(lost.is_empty(), "{what}: acknowledged samples are lost: {lost:?}\n{log:#?}");
        let foreign: Vec<_> = found.difference(&self.sent).take(3).collect();
        assert!(foreign.is_empty(), "{what}: samples that nobody sent: {foreign:?}");
        assert_eq!(log.damages, [], "{what}");
        let sealed: BTreeMap<u64, (u64, Digest)> = kept
            .seals
            .iter()
            .flat_map(|(seal, _)| &seal.requests)
            .map(|request| (request.commit, (request.samples, request.digest)))
            .collect();
        for receipt in &self.receipts {
            assert_eq!(sealed.get(&receipt.commit), Some(&(receipt.samples, receipt.digest)), "{what}: {receipt:?}");
            assert!(receipt.commit < log.resume.next_commit, "{what}: commit number would be used again");
        }
        let mut newest = BTreeMap::new();
        for (series_ref, timestamp_ms, _) in kept.samples() {
            let before = newest.insert(series_ref, timestamp_ms);
            assert!(before.is_none_or(|before| before < timestamp_ms), "{what}: series {series_ref} out of order");
        }
    }

    /// After a recovery only what the log holds can come again.
    fn forget_unacknowledged(&mut self, kept: &Kept) {
        self.waiting.clear();
        // Timestamps go on behind everything that was sent: order within a series is the head's business.
        self.sent.extend(kept.samples());
    }
}

/// A run that is stopped at one operation: power loss, recovery, and a second life.
fn crash_at(seed: u64, operation: u64, steps: u64) {
    let what = format!("seed {seed}, power lost at operation {operation}");
    let mut random = SimRandom::new(seed);
    let fs = SimFs::with_dir(seed, &data_dir());
    let mut client = Client::default();
    let mut first = writer(&fs, Resume::default(), &mut random);
    fs.lose_power_at(operation);
    client.run(&mut first, steps, &mut random);
    let mut disk = fs.crash(seed ^ operation);

    // Recovery itself loses its power at first.
    let mut random = SimRandom::new(seed ^ (operation << 32));
    disk.lose_power_at(random.below(12));
    let _interrupted = recover(
        &disk,
        &data_dir().join("wal"),
        &data_dir().join("quarantine"),
        RecoveryMode::Salvage,
        &mut Kept::default(),
        &ReplayProgress::default(),
    );
    disk = disk.crash(random.next_u64());

    for life in 0..2 {
        let (recovery, kept) = recover_all(&disk, &data_dir());
        client.check(&recovery.log, &kept, &what);
        let (again, kept_again) = scan_all(&disk, &data_dir().join("wal"));
        assert_eq!((again.torn_tail, again.abandoned), (None, Vec::new()), "{what}: tail is not cut");
        assert_eq!(kept_again.samples(), kept.samples(), "{what}");
        client.forget_unacknowledged(&kept);
        let mut next = writer(&disk, recovery.resume, &mut random);
        if life == 0 {
            disk.lose_power_at(disk.operations() + random.below(20));
        }
        client.run(&mut next, 6, &mut random);
        disk = disk.crash(random.next_u64());
    }
    let (recovery, kept) = recover_all(&disk, &data_dir());
    client.check(&recovery.log, &kept, &what);
}

#[test]
fn acknowledged_writes_survive_a_power_loss_at_every_operation() {
    for seed in 0..20 {
        let mut random = SimRandom::new(seed);
        let fs = SimFs::with_dir(seed, &data_dir());
        let mut dry = writer(&fs, Resume::default(), &mut random);
        Client::default().run(&mut dry, 20, &mut random);
        assert!(fs.operations() > 40);
        for operation in 0..fs.operations() {
            crash_at(seed, operation, 20);
        }
    }
}

#[test]
fn acknowledged_writes_survive_failing_and_full_disks() {
    for seed in 0..400u64 {
        let what = format!("seed {seed}");
        let mut random = SimRandom::new(seed);
        let fs = SimFs::with_dir(seed, &data_dir());
        let mut client = Client::default();
        let mut log = writer(&fs, Resume::default(), &mut random);
        for _ in 0..1 + random.below(4) {
            let start = random.below(80);
            let fault = [Fault::Error, Fault::NoSpace, Fault::ShortWrite][random.below(3) as usize];
            fs.fail(start..start + 1 + random.below(6), fault);
        }
        if random.once_in(3) {
            fs.set_capacity(Some(random.below(200_000)));
        }
        client.run(&mut log, 40, &mut random);
        if random.once_in(3) {
            // Killed, or the power lost, while it fails.
            let disk = if random.once_in(2) { fs.kill() } else { fs.crash(seed) };
            let (recovery, kept) = recover_all(&disk, &data_dir());
            client.check(&recovery.log, &kept, &what);
            client.forget_unacknowledged(&kept);
            log = writer(&disk, recovery.resume, &mut random);
            client.run(&mut log, 10, &mut random);
            let (recovery, kept) = recover_all(&disk.crash(seed), &data_dir());
            client.check(&recovery.log, &kept, &what);
            continue;
        }
        fs.heal();
        let acknowledged = client.acknowledged.len();
        assert!(client.write(&mut log), "{what}: the disk works, and the log does not");
        client.run(&mut log, 3, &mut random);
        assert!(client.waiting.is_empty() && client.acknowledged.len() >= acknowledged, "{what}");
        assert_eq!(client.acknowledged, client.sent, "{what}: nothing that was formed is forgotten");
        log.cut_poisoned();
        let (recovery, kept) = recover_all(&fs.crash(seed), &data_dir());
        client.check(&recovery.log, &kept, &what);
    }
}

#[test]
fn acknowledged_writes_survive_a_kill_and_then_a_power_loss() {
    for seed in 0..100 {
        let mut random = SimRandom::new(seed);
        let fs = SimFs::with_dir(seed, &data_dir());
        let mut client = Client::default();
        let mut log = writer(&fs, Resume::default(), &mut random);
        client.run(&mut log, 5, &mut random);
        // Written, and killed before the sync.
        let next = fs.operations();
        client.send(&mut log, &mut random);
        fs.lose_power_at(next + 1);
        client.write(&mut log);
        let killed = fs.kill();
        let (recovery, kept) = recover_all(&killed, &data_dir());
        // What recovery gave on answers repeated requests as duplicates: it counts as acknowledged from here on.
        client.acknowledged.extend(kept.samples());
        client.check(&recovery.log, &kept, &format!("seed {seed}"));
        let (recovery, kept) = recover_all(&killed.crash(seed), &data_dir());
        client.check(&recovery.log, &kept, &format!("seed {seed}"));
    }
}

#[test]
fn weaker_durability_never_stores_what_nobody_sent() {
    for seed in 0..300 {
        let mut random = SimRandom::new(seed);
        let fs = SimFs::with_dir(seed, &data_dir());
        let mut client = Client::default();
        let options = WalOptions { durability: Durability::None, ..options(&mut random) };
        let clock = Arc::new(ManualClock::at(0));
        let mut log = GroupWriter::new(Arc::new(fs.clone()), data_dir().join("wal"), Resume::default(), options, clock);
        client.run(&mut log, 20, &mut random);
        let (recovery, kept) = recover_all(&fs.crash(seed), &data_dir());
        let found: BTreeSet<Stored> = kept.samples().into_iter().collect();
        assert!(found.is_subset(&client.sent), "seed {seed}");
        let last = client.receipts.last().unwrap().commit;
        assert!(recovery.resume.next_commit > last, "seed {seed}: commit number would be used again");
    }
}
