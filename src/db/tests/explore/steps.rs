//! What a life consists of, done to a store on a simulated disk, with a plain map beside it that says what has to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use ulid::Ulid;

use super::super::*;
use crate::fs::sim::SimFs;
use crate::model::{Digest, Matcher, SampleValue, Tally};
use crate::storage::Queryable;

/// What can happen to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::db) enum Step {
    /// Four requests, each acknowledged: known and new series, late samples, staleness markers.
    Append,
    /// An empty group is made durable, and full chunks go to their files.
    Sync,
    /// The log begins a new segment.
    Roll,
    /// Windows that are full, and late samples, become blocks.
    Flush,
    /// Blocks become larger blocks, until there is nothing to do.
    Compact,
    /// Samples are deleted, in head and blocks.
    Delete,
    /// Time passes, one request comes, and blocks that had their time go.
    Retain,
    /// What blocks have leaves the log.
    Checkpoint,
    /// A clean end and a start.
    Close,
}

impl Step {
    pub(in crate::db) const ALL: [Step; 9] = [
        Step::Append,
        Step::Sync,
        Step::Roll,
        Step::Flush,
        Step::Compact,
        Step::Delete,
        Step::Retain,
        Step::Checkpoint,
        Step::Close,
    ];

    pub(in crate::db) fn parse(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| format!("{step:?}").eq_ignore_ascii_case(name))
    }
}

/// A series, by its place in [`SERIES`], and a time.
pub(in crate::db) type Key = (usize, i64);
/// Value bits.
pub(in crate::db) type Samples = BTreeMap<Key, u64>;

/// Length of the head's windows.
pub(in crate::db) const WINDOW: i64 = 2_000;
/// What an append covers, and three windows compacted into one.
pub(in crate::db) const PERIOD: i64 = 3 * WINDOW;
/// How long samples stay.
pub(in crate::db) const KEPT: i64 = 10 * PERIOD;
/// How much time passes before retention.
const LONG: i64 = 17 * PERIOD;
const LATE: usize = 3;
const FIRST_NEW: usize = 4;
/// What comes late in the first series.
const LATE_VALUE: f64 = 0.25;
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Another value that is not a number, one that would not survive being computed with, and a zero with a sign.
const ODD: [u64; 4] = [0x7ff8_0000_0000_0001, 0xfff0_0000_dead_beef, 0x8000_0000_0000_0000, 1];

/// The series that tests write.
static SERIES: LazyLock<Vec<LabelSet>> = LazyLock::new(|| {
    let new = (0..512).map(|number| format!("new-{number}"));
    let names = ["a", "b", "stale", "late"].map(str::to_owned).into_iter().chain(new);
    names.map(|name| LabelSet::from_pairs([("__name__", "up"), ("job", name.as_str())])).collect()
});
static NUMBERS: LazyLock<BTreeMap<LabelSet, usize>> = LazyLock::new(|| SERIES.iter().cloned().zip(0..).collect());
static ENCODED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let encode = |set: &LabelSet| {
        let mut out = Vec::new();
        encode_canonical(set.iter().map(|Label { name, value }| Label { name, value }), &mut out);
        out
    };
    SERIES.iter().map(encode).collect()
});

/// What is sent where these bits are to be shown. One series, and every other new one, consists of histograms, of another
/// those are that come late, and the one that only has late samples is of histograms with float counts.
fn value(series: usize, bits: u64) -> SampleValue {
    let value = f64::from_bits(bits);
    match series {
        1 => histogram(value),
        LATE => float_histogram(value),
        0 if value == LATE_VALUE => histogram(value),
        new if new >= FIRST_NEW && new % 2 == 1 => histogram(value),
        _ => SampleValue::Float(value),
    }
}

/// A store of which an append, a flush and a compaction really do something.
pub(in crate::db) fn small(name_seed: u64) -> DbOptions {
    let options = options();
    DbOptions {
        wal: WalOptions { idle_seal_after: Duration::from_secs(3600), ..options.wal },
        head: HeadOptions { chunk_range_ms: WINDOW, out_of_order_window_ms: 2 * PERIOD, ..options.head },
        storage: StorageOptions {
            retention: RetentionPolicy { time_ms: Some(KEPT), size_bytes: None },
            name_seed: Some(name_seed),
            ..options.storage
        },
        ..options
    }
}

/// What has to be there at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::db) struct Expected {
    /// Acknowledged, and neither deleted nor expired.
    pub(in crate::db) samples: Samples,
    /// Sent and not acknowledged: there or not.
    pub(in crate::db) doubtful: Samples,
    /// A deletion that was not acknowledged: there or not.
    pub(in crate::db) leaving: BTreeSet<Key>,
    /// Expired, as the ledger has to have it.
    pub(in crate::db) expired: Tally,
    /// Samples of deletions, done or begun: blocks may still store them, and expire with them.
    pub(in crate::db) deleted: u64,
    /// Samples that expired while a call failed: they may be there, or come back once and expire without the ledger's word.
    pub(in crate::db) ghosts: Samples,
    pub(in crate::db) now_ms: i64,
}

impl Expected {
    /// Samples older than this may have expired.
    pub(in crate::db) fn kept_from_ms(&self) -> i64 {
        let newest_ms = self.samples.keys().chain(self.doubtful.keys()).map(|(_, at_ms)| *at_ms).max();
        newest_ms.unwrap_or(i64::MIN).min(self.now_ms).saturating_sub(KEPT)
    }
}

pub(in crate::db) fn tally<'a>(samples: impl IntoIterator<Item = (&'a Key, &'a u64)>) -> Tally {
    let mut tally = Tally::ZERO;
    for ((series, at_ms), bits) in samples {
        tally.add_sample(Digest::of_labels(&SERIES[*series]).of_value(*at_ms, &value(*series, *bits)));
    }
    tally
}

/// Everything that a part of the store answers, and its warnings.
pub(in crate::db) fn read(queryable: &dyn Queryable, range: TimeRange) -> Result<(Samples, Vec<String>), String> {
    let querier = queryable.querier(range).map_err(|error| format!("cannot be asked: {error}"))?;
    let mut samples = Samples::new();
    let found = querier.select(&[], &SelectHints::default()).map_err(|error| format!("cannot be asked: {error}"))?;
    for series in found {
        let Some(&number) = NUMBERS.get(&series.labels) else { return Err(format!("{} never sent", series.labels)) };
        let mut column = Column::default();
        series.samples.read(range, &mut column).map_err(|error| format!("{}: {error}", series.labels))?;
        if !column.timestamps_ms.is_sorted_by(|a, b| a < b) || column.values.len() != column.timestamps_ms.len() {
            return Err(format!("{}: times {:?}", series.labels, column.timestamps_ms));
        }
        let pairs = column.timestamps_ms.iter().zip(&column.values);
        samples.extend(pairs.map(|(at_ms, value)| ((number, *at_ms), value.to_bits())));
    }
    Ok((samples, querier.warnings()))
}

pub(in crate::db) fn name(key: &Key) -> String {
    format!("{} at {} ms", SERIES[key.0], key.1 - START)
}

/// A store, and what it has to hold.
pub(in crate::db) struct Life {
    pub(in crate::db) fs: SimFs,
    pub(in crate::db) clock: Arc<ManualClock>,
    pub(in crate::db) db: Arc<Db>,
    pub(in crate::db) expected: Expected,
    /// What had to be there when the disk was given the mark.
    pub(in crate::db) history: Vec<Expected>,
    pub(in crate::db) counts: Counts,
    appends: usize,
    deletes: usize,
    opened: u64,
    seed: u64,
    last_base_ms: i64,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::db) struct Counts {
    pub(in crate::db) flushed: u64,
    pub(in crate::db) flushed_late: u64,
    pub(in crate::db) compactions: u64,
    pub(in crate::db) truncations: u64,
    pub(in crate::db) left_log: u64,
    pub(in crate::db) expired_blocks: u64,
    pub(in crate::db) deleted_in_head: u64,
    pub(in crate::db) deleted_in_blocks: u64,
    pub(in crate::db) deduplicated: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.flushed += other.flushed;
        self.flushed_late += other.flushed_late;
        self.compactions += other.compactions;
        self.truncations += other.truncations;
        self.left_log += other.left_log;
        self.expired_blocks += other.expired_blocks;
        self.deleted_in_head += other.deleted_in_head;
        self.deleted_in_blocks += other.deleted_in_blocks;
        self.deduplicated += other.deduplicated;
    }
}

impl Life {
    /// A store in an empty directory. The disk records from the beginning if `recorded` says so.
    pub(in crate::db) fn begin(seed: u64, recorded: bool) -> Result<Life, String> {
        let fs = SimFs::new(seed);
        if recorded {
            fs.record();
        }
        Life::open(fs, Expected { now_ms: START, ..Expected::default() }, seed)
    }

    /// A store on a disk, of which this has to be there.
    pub(in crate::db) fn open(fs: SimFs, expected: Expected, seed: u64) -> Result<Life, String> {
        let clock = Arc::new(ManualClock::at(expected.now_ms));
        fs.mark(0);
        let db = open(&fs, &clock, small(seed)).map_err(|error| format!("does not open: {error}"))?;
        Ok(Life::around(fs, clock, db, expected, seed))
    }

    /// An open store, which holds this.
    pub(in crate::db) fn around(
        fs: SimFs,
        clock: Arc<ManualClock>,
        db: Arc<Db>,
        expected: Expected,
        seed: u64,
    ) -> Life {
        let last_base_ms = expected.samples.keys().map(|(_, at_ms)| *at_ms).max().unwrap_or(START);
        Life {
            fs,
            clock,
            db,
            history: vec![expected.clone()],
            expected,
            counts: Counts::default(),
            appends: 0,
            deletes: 0,
            opened: 1,
            seed,
            last_base_ms,
        }
    }

    /// Names of blocks are drawn anew by each start.
    pub(in crate::db) fn next_seed(&mut self) -> u64 {
        self.opened += 1;
        self.seed.wrapping_add(self.opened)
    }

    /// Tells the disk what has to be there from now on.
    pub(in crate::db) fn note(&mut self) {
        self.expected.now_ms = self.clock.now_ms();
        self.history.push(self.expected.clone());
        self.fs.mark(self.history.len() - 1);
    }

    fn advance_to(&self, at_ms: i64) {
        self.clock.advance(Duration::from_millis((at_ms - self.clock.now_ms()).max(0) as u64));
    }

    fn next_base_ms(&self) -> i64 {
        (self.clock.now_ms() / PERIOD + 1) * PERIOD
    }

    /// One request, waited for.
    fn request(&mut self, samples: &[(Key, u64)]) -> Result<(), String> {
        self.expected.doubtful.extend(samples.iter().copied());
        self.note();
        let mut batch = WriteBatch::default();
        for ((series, at_ms), bits) in samples {
            push_sample(&mut batch, &ENCODED[*series], *at_ms, value(*series, *bits));
        }
        let (outcome, durable) =
            self.db.append(&batch, self.clock.now_ms()).map_err(|error| format!("not admitted: {error}"))?;
        if outcome.added != samples.len() as u64 {
            // What is left of an append that was not acknowledged may be there already.
            return Err(format!("not all samples were taken: {outcome:?}"));
        }
        durable.wait().map_err(|error| format!("not acknowledged: {error}"))?;
        for (key, bits) in samples {
            self.expected.doubtful.remove(key);
            self.expected.samples.insert(*key, *bits);
        }
        self.note();
        Ok(())
    }

    /// Does a step. After an error what it did is in doubt, and what was acknowledged is not.
    pub(in crate::db) fn step(&mut self, step: Step) -> Result<(), String> {
        let text = |error: maintenance::TaskError| error.0;
        match step {
            Step::Append => self.append()?,
            Step::Sync => {
                let admission = self.db.committer.admit().map_err(|error| error.to_string())?;
                admission.commit(0, Digest::ZERO).wait().map_err(|error| error.to_string())?;
            }
            Step::Roll => drop(self.db.committer.roll().wait().map_err(|error| error.to_string())?),
            Step::Flush => self.flush().map_err(text)?,
            Step::Compact => {
                let report = self.db.compact().map_err(text)?;
                self.counts.compactions += report.compactions.len() as u64;
                self.counts.deduplicated += report.compactions.iter().map(|one| one.deduplicated.samples).sum::<u64>();
            }
            Step::Delete => self.delete()?,
            Step::Retain => self.retain()?,
            Step::Checkpoint => {
                let summary = self.db.checkpoint().map_err(text)?;
                self.counts.truncations += u64::from(summary.is_some());
                let left = summary.map_or(0, |one| one.left_in_order.samples + one.left_out_of_order.samples);
                self.counts.left_log += left;
            }
            Step::Close => {
                let gone = self.will_expire(None)?;
                self.db.close();
                let options = small(self.next_seed());
                self.db = open(&self.fs, &self.clock, options).map_err(|error| format!("does not open: {error}"))?;
                self.forget(gone)?;
            }
        }
        // Full chunks go to their files by themselves, at some time: here it is now.
        self.db.head().flush_chunks();
        Ok(())
    }

    fn append(&mut self) -> Result<(), String> {
        let base_ms = self.next_base_ms();
        let number = self.appends;
        self.appends += 1;
        self.last_base_ms = base_ms;
        for part in 0..4_i64 {
            let at_ms = base_ms + part * (WINDOW - WINDOW / 10);
            self.advance_to(at_ms);
            let value = ((number * 4) as f64 + part as f64 + 0.5).to_bits();
            let odd = ODD[(number + part as usize) % ODD.len()];
            let stale = if part % 2 == 0 { (part as f64).to_bits() } else { STALE };
            let mut samples = vec![((0, at_ms), value), ((1, at_ms), odd), ((2, at_ms), stale)];
            if part % 2 == 1 {
                let value = if part == 1 { value } else { STALE };
                samples.push(((FIRST_NEW + number % 512, at_ms), value));
            }
            if part == 3 {
                let late = [(0, 900, LATE_VALUE), (LATE, 700, 0.5), (LATE, 600, -0.5), (1, 2900, f64::INFINITY)];
                samples.extend(late.map(|(series, after_ms, value): (usize, i64, f64)| {
                    ((series, base_ms + after_ms), value.to_bits())
                }));
            }
            self.request(&samples)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), maintenance::TaskError> {
        let before = self.db.store.blocks.list().len() as u64;
        while let maintenance::Outcome::More(_) = self.db.flush_if_due()? {}
        let between = self.db.store.blocks.list().len() as u64;
        self.db.flush_out_of_order_if_due()?;
        self.counts.flushed += between - before;
        self.counts.flushed_late += self.db.store.blocks.list().len() as u64 - between;
        Ok(())
    }

    fn delete(&mut self) -> Result<(), String> {
        let base_ms = self.last_base_ms;
        let (job, series, range) = match self.deletes % 3 {
            0 => ("a", 0, TimeRange::new(base_ms + 800, base_ms + WINDOW + WINDOW / 2)),
            1 => ("late", LATE, TimeRange::ALL),
            _ => ("b", 1, TimeRange::new(base_ms + WINDOW, base_ms + PERIOD)),
        };
        self.deletes += 1;
        let hit = |(number, at_ms): &Key| *number == series && range.contains(*at_ms);
        self.expected.leaving.extend(self.expected.samples.keys().filter(|key| hit(key)).copied());
        self.expected.leaving.extend(self.expected.doubtful.keys().filter(|key| hit(key)).copied());
        self.expected.deleted += self.expected.leaving.len() as u64;
        self.note();
        let deleted = self.db.delete_series(&[Matcher::equal("job", job)], range).map_err(|error| error.0)?;
        self.counts.deleted_in_head += deleted.head_series;
        self.counts.deleted_in_blocks += deleted.block_series;
        self.expected.samples.retain(|key, _| !hit(key));
        self.expected.doubtful.retain(|key, _| !hit(key));
        self.expected.leaving.retain(|key| !hit(key));
        self.note();
        Ok(())
    }

    fn retain(&mut self) -> Result<(), String> {
        self.advance_to(self.clock.now_ms() + LONG);
        let at_ms = self.next_base_ms();
        self.last_base_ms = at_ms;
        self.advance_to(at_ms);
        self.request(&[((0, at_ms), 7.0_f64.to_bits()), ((1, at_ms), STALE)])?;
        let gone = self.will_expire(self.db.head().max_time_ms())?;
        let expired = self.db.expire().map_err(|error| error.0)?;
        let names: BTreeSet<Ulid> = expired.iter().map(|one| one.ulid).collect();
        let predicted: BTreeSet<Ulid> = gone.keys().copied().collect();
        if names != predicted {
            return Err(format!("blocks {names:?} expired, and {predicted:?} should have"));
        }
        self.forget(gone)
    }

    /// The blocks that retention takes now, with what they answer; from the rule as `docs/operating.md` tells it.
    fn will_expire(&self, head_newest_ms: Option<i64>) -> Result<BTreeMap<Ulid, (Samples, Option<Tally>)>, String> {
        let mut blocks: Vec<_> = self.db.store.blocks.list();
        blocks.sort_by_key(|block| (block.meta().max_time_ms, block.meta().min_time_ms, block.ulid()));
        let Some(newest) = blocks.pop() else { return Ok(BTreeMap::new()) };
        let newest_ms = head_newest_ms.max(Some(newest.meta().max_time_ms - 1)).unwrap_or(i64::MIN);
        let kept_from_ms = newest_ms.min(self.clock.now_ms()) - KEPT;
        let old = blocks.iter().filter(|block| block.meta().max_time_ms - 1 < kept_from_ms);
        old.map(|block| Ok((block.ulid(), (read(&**block, TimeRange::ALL)?.0, self.db.store.recorded(block.ulid())))))
            .collect()
    }

    /// Takes what expired out of what has to be there.
    fn forget(&mut self, gone: BTreeMap<Ulid, (Samples, Option<Tally>)>) -> Result<(), String> {
        self.counts.expired_blocks += gone.len() as u64;
        for (ulid, (samples, recorded)) in gone {
            let visible = tally(&samples);
            // What the ledger never heard of is in the head as well.
            let Some(recorded) = recorded else { continue };
            if visible != recorded && self.expected.deleted == 0 {
                return Err(format!("block {ulid} answers {visible}, and the ledger says {recorded}"));
            }
            self.expected.expired += recorded;
            for key in samples.keys() {
                self.expected.samples.remove(key);
                self.expected.doubtful.remove(key);
                self.expected.leaving.remove(key);
            }
        }
        self.note();
        Ok(())
    }
}
