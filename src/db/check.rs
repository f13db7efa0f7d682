//! Looks for damage: one block now, all blocks slowly, the log and what left it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ulid::Ulid;

use super::check_runs::Shown;
use super::findings::{ClosedFinding, OpenFindings, Proven};
use super::maintenance::{Outcome, Task, TaskError};
use super::store::BlockStore;
use super::{Db, failed, lock};
use crate::block::{self, Block};
use crate::ledger::Event;
use crate::model::{Tally, TimeRange, TimestampMs};
use crate::proof::{LogPart, TallyRequest, log_tally};
use crate::wal::{ReplayProgress, SegmentSummary};

/// A scrub begins anew this long after it has read all blocks, at the earliest.
const SCRUB_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Proofs of the log that are remembered.
const PROOFS_KEPT: usize = 32;

/// What a check of a block found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockVerification {
    /// The block.
    pub ulid: Ulid,
    /// When the check ended, by the wall clock.
    pub at_ms: TimestampMs,
    /// How long it took.
    pub elapsed: Duration,
    /// Everything that is stored in it, deleted samples included.
    pub stored: Tally,
    /// What is not deleted.
    pub visible: Tally,
    /// What the ledger says it holds; `None` where the ledger does not know the block.
    pub recorded: Option<Tally>,
    /// Its series.
    pub series: u64,
    /// Its chunks.
    pub chunks: u64,
    /// What is wrong with it, in words; empty where nothing is.
    pub findings: Vec<String>,
}

impl BlockVerification {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A proof of the log against the head and the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When it ended, by the wall clock.
    pub at_ms: TimestampMs,
    /// How long it took.
    pub elapsed: Duration,
    /// The last group of the log that was part of it.
    pub group: u64,
    /// Files of the log that were read, those of the checkpoint included.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples that the log alone gives, of those that no block has.
    pub log: Tally,
    /// Samples that came in, less those whose whereabouts the ledger knows: zero unless something was lost.
    pub imbalance: Tally,
    /// What is wrong, in words; empty where nothing is.
    pub findings: Vec<String>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Verified {
    fn outcome(&self) -> Outcome {
        Outcome::Done(match self.findings.first() {
            None => format!("the log gives {}", self.log),
            Some(finding) => finding.clone(),
        })
    }
}

/// Shows a proof as under way until it ends, also by a panic.
struct Proving<'a>(&'a BlockStore);

impl<'a> Proving<'a> {
    fn show(store: &'a BlockStore, now_ms: TimestampMs, progress: &Arc<ReplayProgress>) -> Self {
        store.notes().proving = Some((now_ms, progress.clone()));
        Proving(store)
    }
}

impl Drop for Proving<'_> {
    fn drop(&mut self) {
        self.0.notes().proving = None;
    }
}

/// What the last proof of the log read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCoverage {
    /// When it ended, by the wall clock.
    pub at_ms: TimestampMs,
    /// The last group of the log that was part of it.
    pub group: u64,
    /// The files, in the order of the log.
    pub segments: Vec<SegmentSummary>,
}

/// A proof of the log that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofUnderWay {
    /// When it began, by the wall clock.
    pub since_ms: TimestampMs,
    /// Bytes of the log that were read.
    pub bytes_done: u64,
    /// Bytes of the log.
    pub bytes_total: u64,
}

impl Db {
    /// Reads a block, and keeps what was found until its next check.
    pub(super) fn check_block(&self, block: &Block, progress: &mut dyn FnMut(u64)) -> BlockVerification {
        let began = self.clock.monotonic();
        let check = block::check(block, progress);
        let recorded = self.store.recorded(block.ulid());
        let mut findings: Vec<String> = check.findings.iter().map(|finding| finding.what.clone()).collect();
        if let Some(recorded) = recorded.filter(|recorded| *recorded != check.stored) {
            findings.push(format!("it holds {}, and the ledger says {recorded}", check.stored));
        }
        let verification = BlockVerification {
            ulid: block.ulid(),
            at_ms: self.clock.now_ms(),
            elapsed: self.clock.monotonic().saturating_sub(began),
            stored: check.stored,
            visible: check.visible,
            recorded,
            series: check.series,
            chunks: check.chunks,
            findings,
        };
        self.store.counters.block_checks.add(1);
        self.store.counters.block_checks_failed.add(u64::from(!verification.is_good()));
        if let Some(finding) = verification.findings.first() {
            tracing::error!(ulid = %block.ulid(), finding, "a block is damaged");
        }
        self.store.notes().checks.insert(block.ulid(), verification.clone());
        self.store.findings().block_checked(block.ulid(), &verification.findings, verification.at_ms);
        self.store.look_at_damaged_blocks();
        verification
    }

    /// Reads the block that was not read for the longest time, at the rate that is set. It also takes blocks into the
    /// ledger that came from elsewhere.
    pub(super) fn scrub_next(&self) -> Result<Outcome, TaskError> {
        let rate = self.options.storage.scrub_bytes_per_second;
        let now_ms = self.clock.now_ms();
        let every_ms = i64::try_from(SCRUB_EVERY.as_millis()).unwrap_or(i64::MAX);
        let next = {
            let blocks = self.store.blocks.list();
            let notes = self.store.notes();
            let last_ms = |block: &Block| notes.checks.get(&block.ulid()).map_or(i64::MIN, |check| check.at_ms);
            let due = blocks.into_iter().filter(|block| last_ms(block) < now_ms.saturating_sub(every_ms));
            due.min_by_key(|block| last_ms(block))
        };
        let Some(block) = next.filter(|_| rate > 0) else { return Ok(Outcome::Nothing) };
        let began = self.clock.monotonic();
        let mut pause = |bytes_done: u64| {
            let due = Duration::from_secs_f64(bytes_done as f64 / rate as f64);
            let ahead = due.saturating_sub(self.clock.monotonic().saturating_sub(began));
            self.schedule.pause(ahead);
        };
        let shown = Shown::new(&self.store, true, std::slice::from_ref(&block));
        let check = shown.run.check(self, &block, &mut pause);
        drop(shown);
        self.adopt(&block, &check)?;
        Ok(Outcome::More(match check.findings.first() {
            None => format!("block {} is good: {}", check.ulid, check.stored),
            Some(finding) => format!("block {} is damaged: {finding}", check.ulid),
        }))
    }

    /// Tells the ledger of a block that came from elsewhere, once it was read whole.
    fn adopt(&self, block: &Block, check: &BlockVerification) -> Result<(), TaskError> {
        let _work = lock(&self.block_work);
        let is_there = self.store.blocks.get(block.ulid()).is_some();
        if !is_there || !check.is_good() || self.store.recorded(block.ulid()).is_some() {
            return Ok(());
        }
        self.begin_ledger()?;
        let adopted = Event::Adopted { ulid: block.ulid(), tally: check.stored };
        self.store.record(&[adopted]).map_err(|error| failed("the ledger cannot be written", error))
    }

    /// Proves the log now: an independent replay of what no block has against the head, and the balance of the ledger.
    /// Deleted samples count on both sides until they are flushed.
    pub fn verify(&self) -> Result<Verified, TaskError> {
        let mut proof = None;
        self.schedule.run(Task::Verify, || {
            let verified = self.prove_log()?;
            let outcome = verified.outcome();
            proof = Some(verified);
            Ok(outcome)
        })?;
        proof.ok_or_else(|| TaskError("the proof gave no result".to_owned()))
    }

    fn prove_log(&self) -> Result<Verified, TaskError> {
        let began = self.clock.monotonic();
        let progress = Arc::new(ReplayProgress::default());
        // No flush in between: it would move samples from one side to the other.
        let _work = lock(&self.head_work);
        let _shown = Proving::show(&self.store, self.clock.now_ms(), &progress);
        self.prove_log_as_of_now(began, &progress)
    }

    /// `head_work` is held.
    fn prove_log_as_of_now(&self, began: Duration, progress: &ReplayProgress) -> Result<Verified, TaskError> {
        // What queries still read of flushed samples is in the head, and not in the part of the log that is looked at.
        self.leave_head();
        let (snapshot, cut) = self.committer.cut(|| self.head.snapshot_counts());
        let group = cut.durable.wait().map_err(|error| failed("the log cannot be made durable", error))?;
        let floor = TimeRange::new(self.flushed_ms(), TimestampMs::MAX);
        let after = self.store.ledger().state().flushed_out_of_order_group.unwrap_or(0);
        let request = TallyRequest {
            parts: vec![
                LogPart::in_order(floor),
                LogPart::out_of_order(TimeRange::ALL, after.saturating_add(1)..=group),
            ],
            up_to_group: Some(group),
        };
        let log = log_tally(&*self.fs, &self.options.data_dir, &request, progress)
            .map_err(|error| failed("the log cannot be read", error))?;
        let written: Tally = log.parts.iter().map(|part| part.written).sum();
        let mut head = Tally::ZERO;
        let mut findings = self.head.digest_series(&snapshot, |series| {
            head += Tally { samples: series.samples, digest: series.digest };
        });
        let is_left = *lock(&self.truncated_to) == self.flushed_ms() && lock(&self.out_of_order_to_drop).is_empty();
        let imbalance = self.store.ledger().state().imbalance();
        let mut found: Vec<(Proven, String)> = Vec::new();
        for damage in &log.damaged {
            let of = damage.file.map_or(Proven::Log, |(number, checkpoint)| Proven::of_log_file(number, checkpoint));
            found.push((of, damage.what.clone()));
        }
        found.extend(findings.iter().map(|warning| (Proven::Head, warning.clone())));
        if let Some(damage) = &log.first_damage {
            findings.push(format!("{} places of the log cannot be read, the first: {damage}", log.damages));
        }
        if is_left && written != head {
            let differs = format!("the head holds {head}; the log gives {written}");
            found.push((Proven::Head, differs.clone()));
            findings.push(differs);
        }
        if imbalance != Tally::ZERO {
            let differs = format!("the ledger does not balance: {imbalance}");
            found.push((Proven::Ledger, differs.clone()));
            findings.push(differs);
        }
        let verified = Verified {
            at_ms: self.clock.now_ms(),
            elapsed: self.clock.monotonic().saturating_sub(began),
            group,
            segments: log.segments.len() as u64,
            bytes: log.segments.iter().map(|segment| segment.bytes).sum(),
            log: written,
            imbalance,
            findings,
        };
        self.store.set_alarm("verify", verified.findings.first().cloned());
        self.store.findings().log_proven(&found, verified.at_ms);
        let mut notes = self.store.notes();
        notes.coverage = Some(LogCoverage { at_ms: verified.at_ms, group, segments: log.segments });
        let proofs = &mut notes.proofs;
        if proofs.len() >= PROOFS_KEPT {
            proofs.remove(0);
        }
        proofs.push(verified.clone());
        Ok(verified)
    }

    /// The last proof of the log.
    pub fn last_verified(&self) -> Option<Verified> {
        self.store.notes().proofs.last().cloned()
    }

    /// The last proofs of the log since the start, oldest first.
    pub fn proofs(&self) -> Vec<Verified> {
        self.store.notes().proofs.clone()
    }

    /// What the last proof of the log read since the start.
    pub fn log_coverage(&self) -> Option<LogCoverage> {
        self.store.notes().coverage.clone()
    }

    /// What checks and proofs found and no later one has closed, also of earlier starts.
    pub fn open_findings(&self) -> Vec<OpenFindings> {
        self.store.findings().open()
    }

    /// What was found and closed since the start, the newest first.
    pub fn closed_findings(&self) -> Vec<ClosedFinding> {
        self.store.findings().closed()
    }

    /// How far the proof of the log is that is under way.
    pub fn proof_under_way(&self) -> Option<ProofUnderWay> {
        let (since_ms, progress) = self.store.notes().proving.clone()?;
        Some(ProofUnderWay {
            since_ms,
            bytes_done: progress.bytes_done.load(Ordering::Relaxed),
            bytes_total: progress.bytes_total.load(Ordering::Relaxed),
        })
    }

    pub(super) fn verify_if_due(&self) -> Result<Outcome, TaskError> {
        Ok(self.prove_log()?.outcome())
    }
}
