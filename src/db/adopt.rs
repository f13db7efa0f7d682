//! At start: what a `wbl/` that Prometheus wrote holds goes to the log, and its segments go.

use std::path::Path;

use crate::fs::Fs;
use crate::head::{Adopted, Head};
use crate::wal::{CommitError, Committer, WalError, WblRecovery, wbl};

/// What was found in `wbl/`, and what became of it.
#[derive(Debug, Clone, Default)]
pub struct WblAdoption {
    /// The segments.
    pub recovery: WblRecovery,
    /// What was taken over from those of Prometheus.
    pub adopted: Adopted,
    /// Why it was not done, or not to the end. What Prometheus wrote stays, and the next start tries again.
    pub failure: Option<String>,
}

/// Takes over what Prometheus wrote, and removes its segments when the log has it durably. Where something could not be
/// taken over they go to quarantine.
pub(super) fn adopt_wbl(
    fs: &dyn Fs,
    head: &Head,
    committer: &Committer,
    wbl_dir: &Path,
    quarantine_dir: &Path,
) -> WblAdoption {
    let mut adoption = WblAdoption::default();
    if let Err(error) = try_adopt(fs, head, committer, wbl_dir, quarantine_dir, &mut adoption) {
        tracing::warn!(%error, "out-of-order samples of Prometheus not taken over");
        adoption.failure = Some(error.to_string());
    }
    if let Some(left) = adoption.adopted.left() {
        tracing::warn!(
            left,
            quarantine = %quarantine_dir.display(),
            "not all of Prometheus' out-of-order samples could be taken over; their segments are in quarantine"
        );
    }
    let Adopted { outcome, unknown, records_left } = &adoption.adopted;
    if !adoption.recovery.foreign.is_empty() {
        tracing::info!(
            segments = adoption.recovery.foreign.len(),
            samples = outcome.added,
            known = outcome.duplicates,
            refused = outcome.rejected_total(),
            unknown,
            histograms = outcome.histograms,
            records_left,
            "out-of-order samples of Prometheus taken over"
        );
    }
    adoption
}

fn try_adopt(
    fs: &dyn Fs,
    head: &Head,
    committer: &Committer,
    wbl_dir: &Path,
    quarantine_dir: &Path,
    adoption: &mut WblAdoption,
) -> Result<(), WalError> {
    let refused = |error: CommitError| WalError::Sink { reason: error.to_string() };
    let records = head.adoption();
    let (mut last, adopted) = (None, &mut adoption.adopted);
    adoption.recovery = wbl::read_foreign(fs, wbl_dir, quarantine_dir, &mut |record| {
        let admission = committer.admit().map_err(refused)?;
        let of_record = records.record(record);
        last = Some(admission.commit(of_record.outcome.added, of_record.outcome.digest));
        adopted.add(of_record);
        Ok(())
    })?;
    // Groups become durable in their order. A segment that ends is synced, also where requests don't wait for that: what
    // goes from here was durable.
    if let Some(last) = last {
        last.wait().map_err(refused)?;
        committer.roll().wait().map_err(refused)?;
    }
    let is_partial = adoption.adopted.is_partial();
    wbl::remove_foreign(fs, wbl_dir, quarantine_dir, &adoption.recovery.foreign, is_partial)
}
