//! The receipts file: each acknowledged request has to be a sealed request of the log.

use std::collections::HashMap;
use std::path::Path;

use super::VerifyError;
use super::replay::Replay;
use super::report::Stage;
use super::taken_over::TakenOver;
use crate::fs::Fs;
use crate::ledger::RequestReader;
use crate::model::{Digest, ReceiptLine, Tally};
use crate::wal::SealedRequest;

/// The lines of a receipts file, and what the seals say to them.
#[derive(Debug, Default)]
pub struct Receipts {
    lines: Vec<(u64, ReceiptLine)>,
    /// Lines that are no receipts: number and what is wrong.
    unreadable: Vec<(u64, String)>,
    /// Whether the file ends within a line: its writer was killed.
    is_cut: bool,
    sealed: HashMap<u64, Option<Sealed>>,
    /// Requests of segments that are about to be removed.
    leaving: HashMap<u64, Tally>,
}

/// A request as a seal has it.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    group: u64,
    samples: u64,
    digest: Digest,
}

impl Receipts {
    /// Reads the file.
    pub fn read(fs: &dyn Fs, path: &Path) -> Result<Self, VerifyError> {
        let bytes =
            fs.read(path).map_err(|source| VerifyError::Receipts { path: path.display().to_string(), source })?;
        Ok(Receipts::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut receipts = Receipts::default();
        let ends_within_a_line = bytes.last().is_some_and(|&last| last != b'\n');
        let mut lines = (1u64..).zip(bytes.split(|&byte| byte == b'\n')).peekable();
        while let Some((number, line)) = lines.next() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<ReceiptLine>(line) {
                Ok(receipt) => {
                    receipts.sealed.insert(receipt.commit, None);
                    receipts.lines.push((number, receipt));
                }
                Err(_cut) if ends_within_a_line && lines.peek().is_none() => receipts.is_cut = true,
                Err(error) => receipts.unreadable.push((number, error.to_string())),
            }
        }
        receipts
    }

    /// Whether there is nothing to prove.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.unreadable.is_empty()
    }

    /// Takes a sealed request of the log.
    pub(super) fn sealed(&mut self, group: u64, request: &SealedRequest) {
        if let Some(sealed) = self.sealed.get_mut(&request.commit) {
            *sealed = Some(Sealed { group, samples: request.samples, digest: request.digest });
        }
    }

    /// Takes a sealed request of a segment that a checkpoint stands for.
    pub(super) fn leaving(&mut self, request: &SealedRequest) {
        if self.sealed.contains_key(&request.commit) {
            let tally = Tally { samples: request.samples, digest: request.digest };
            self.leaving.insert(request.commit, tally);
        }
    }

    /// The stage's result, once all seals were read. What left the log is looked up in the ledger.
    pub(super) fn stage(&self, replay: &Replay, left: &mut RequestReader<'_>, taken_over: Option<&TakenOver>) -> Stage {
        let mut stage = Stage::new("receipts");
        let (mut proven, mut from_ledger, mut leaving, mut samples) = (0u64, 0u64, 0u64, 0u64);
        let mut taken = 0u64;
        for (number, error) in &self.unreadable {
            stage.find(|| format!("line {number} is not a receipt: {error}"));
        }
        for (number, receipt) in &self.lines {
            let commit = receipt.commit;
            let named = || format!("line {number}: commit {commit}");
            match self.sealed.get(&commit).copied().flatten() {
                None if self.leaving.get(&commit)
                    == Some(&Tally { samples: receipt.samples, digest: receipt.digest }) =>
                {
                    proven += 1;
                    leaving += 1;
                    samples += receipt.samples;
                }
                None => match left.request(commit) {
                    Ok(Some(tally)) if (tally.samples, tally.digest) == (receipt.samples, receipt.digest) => {
                        proven += 1;
                        from_ledger += 1;
                        samples += receipt.samples;
                    }
                    Ok(Some(tally)) => stage.find(|| {
                        let (samples, digest) = (receipt.samples, receipt.digest);
                        format!("{} says {samples} samples with digest {digest}, the ledger says {tally}", named())
                    }),
                    Ok(None) if taken_over.is_some_and(|taken_over| taken_over.has_request(commit)) => taken += 1,
                    Ok(None) => {
                        stage.find(|| {
                            format!(
                                "{} ({} samples) is not in the log, nor among what left it",
                                named(),
                                receipt.samples
                            )
                        });
                    }
                    Err(error) => {
                        stage.find(|| format!("{} is not in the log, and the ledger cannot tell: {error}", named()));
                    }
                },
                Some(sealed) if (sealed.samples, sealed.digest) != (receipt.samples, receipt.digest) => {
                    stage.find(|| {
                        format!(
                            "{} says {} samples with digest {}, its seal in group {} says {} with {}",
                            named(),
                            receipt.samples,
                            receipt.digest,
                            sealed.group,
                            sealed.samples,
                            sealed.digest
                        )
                    });
                }
                Some(sealed) if replay.is_group_wrong(sealed.group) => {
                    stage.find(|| format!("{} is in group {}, which is damaged", named(), sealed.group));
                }
                Some(_) => {
                    proven += 1;
                    samples += receipt.samples;
                }
            }
        }
        let total = self.lines.len() + self.unreadable.len();
        stage.summary = format!("{proven} of {total} receipts, {samples} samples");
        if from_ledger > 0 {
            stage.note(format!("{from_ledger} of them are proven by the ledger: their samples left the log"));
        }
        if let Some(taken_over) = taken_over.filter(|_| taken > 0) {
            stage.leave_open(&format!("{taken} receipts: {taken_over}"));
        }
        if leaving > 0 {
            stage.note(format!("{leaving} of them are in segments that a truncation was about to remove"));
        }
        if self.is_cut {
            stage.note("the last line of the file is cut".to_owned());
        }
        stage.number("receipts", total);
        stage.number("receipts_proven", proven);
        stage.number("receipts_proven_by_ledger", from_ledger);
        stage.number("receipts_unproven", taken);
        stage.number("samples_proven", samples);
        stage
    }
}
