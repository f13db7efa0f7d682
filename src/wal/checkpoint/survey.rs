//! The first pass of a checkpoint: which series are needed, and what leaves.

use std::collections::HashMap;

use roaring::RoaringTreemap;

use super::record::CheckpointEdge;
use super::{CheckpointPlan, CheckpointReport};
use crate::encoding::Corruption;
use crate::model::raw_labels::encode_canonical;
use crate::model::{Digest, Label, Tally, TimestampMs};
use crate::wal::record::{self, RecordType};
use crate::wal::{Damage, RecordPosition, ReplaySink, Seal, SealedRequest, WalError};

/// Samples by the kind of their records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tallies {
    pub(super) in_order: Tally,
    pub(super) out_of_order: Tally,
}

/// A series of the log.
#[derive(Debug, Clone, Copy)]
struct Row {
    labels: Digest,
    /// Time of its newest in-order sample.
    newest_ms: Option<TimestampMs>,
}

pub(super) struct Survey<'a> {
    up_to_segment: u32,
    /// `None`: only what there is is counted, not what is kept.
    plan: Option<&'a CheckpointPlan<'a>>,
    rows: Vec<Row>,
    by_labels: HashMap<Digest, u32>,
    refs: HashMap<u64, u32>,
    /// Series that a record names, also in what stays.
    pub(super) named: RoaringTreemap,
    /// Series that only the head can name.
    named_by_head: RoaringTreemap,
    /// Series that samples use which the log keeps.
    pub(super) needed: RoaringTreemap,
    /// Time of the oldest out-of-order sample that is kept.
    pub(super) oldest_out_of_order_ms: Option<TimestampMs>,
    seen: Tallies,
    pub(super) kept: Tallies,
    requests: Vec<SealedRequest>,
    unknown_samples: u64,
    unsealed_samples: u64,
    unknown_records: u64,
    last_seal: Option<(u64, u64, u128)>,
    canonical: Vec<u8>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(up_to_segment: u32, plan: Option<&'a CheckpointPlan<'a>>) -> Self {
        Survey {
            up_to_segment,
            plan,
            rows: Vec::new(),
            by_labels: HashMap::new(),
            refs: HashMap::new(),
            named: RoaringTreemap::new(),
            named_by_head: RoaringTreemap::new(),
            needed: RoaringTreemap::new(),
            oldest_out_of_order_ms: None,
            seen: Tallies::default(),
            kept: Tallies::default(),
            requests: Vec::new(),
            unknown_samples: 0,
            unsealed_samples: 0,
            unknown_records: 0,
            last_seal: None,
            canonical: Vec::new(),
        }
    }

    /// Takes names of series that the log has lost. To be called before it is read.
    pub(super) fn name_by_head(&mut self, records: &[Vec<u8>]) {
        for record in records {
            let _damaged = self.series(record::split(record).1, true);
        }
        self.named_by_head = std::mem::take(&mut self.named);
    }

    /// Whether records name all series of the samples that the log keeps.
    pub(super) fn names_all(&self) -> bool {
        self.needed.is_subset(&self.named)
    }

    /// Where the part that goes ends, with what an earlier checkpoint said about it.
    pub(super) fn edge(&self, earlier: Option<CheckpointEdge>) -> CheckpointEdge {
        let up_to_segment = self.up_to_segment;
        match self.last_seal {
            Some((last_group, next_commit, chain)) => CheckpointEdge { up_to_segment, last_group, next_commit, chain },
            None => CheckpointEdge { up_to_segment, ..earlier.unwrap_or_default() },
        }
    }

    pub(super) fn report(self, edge: CheckpointEdge, damages: Vec<Damage>, bytes: u64) -> CheckpointReport {
        CheckpointReport {
            edge,
            left_in_order: self.seen.in_order - self.kept.in_order,
            left_out_of_order: self.seen.out_of_order - self.kept.out_of_order,
            kept_in_order: self.kept.in_order,
            kept_out_of_order: self.kept.out_of_order,
            requests: self.requests,
            unknown_samples: self.unknown_samples,
            unsealed_samples: self.unsealed_samples,
            unknown_records: self.unknown_records,
            damages,
            bytes,
        }
    }

    fn goes(&self, position: RecordPosition) -> bool {
        position.checkpoint || position.segment <= self.up_to_segment
    }

    fn series(&mut self, body: &[u8], goes: bool) -> Result<(), Corruption> {
        let mut labels: Vec<Label<'_>> = Vec::with_capacity(32);
        let mut decoder = record::series(body);
        while let Some(series_ref) = decoder.next_into(&mut labels)? {
            self.named.insert(series_ref);
            if !goes {
                continue;
            }
            // Whoever wrote the log: the digest is of the sorted set, without empty values.
            labels.retain(|label| !label.value.is_empty());
            labels.sort_unstable();
            self.canonical.clear();
            encode_canonical(labels.iter().copied(), &mut self.canonical);
            let digest = Digest::of_canonical_labels(&self.canonical);
            let row = *self.by_labels.entry(digest).or_insert_with(|| {
                self.rows.push(Row { labels: digest, newest_ms: None });
                (self.rows.len() - 1) as u32
            });
            self.refs.insert(series_ref, row);
        }
        Ok(())
    }

    fn samples(
        &mut self,
        position: RecordPosition,
        values: record::ValuesIter<'_>,
        in_order: bool,
    ) -> Result<(), Corruption> {
        let goes = self.goes(position);
        // A histogram that is refused costs no other sample.
        for sample in values.flatten() {
            let is_kept = match self.plan {
                Some(plan) if in_order => plan.keeps_in_order(sample.timestamp_ms),
                Some(plan) => plan.keeps_out_of_order(position.counts_in()),
                None => false,
            };
            if !goes || is_kept {
                self.needed.insert(sample.series_ref);
            }
            if !goes {
                continue;
            }
            self.unsealed_samples += u64::from(position.group.is_none());
            if is_kept && !in_order {
                let oldest_ms = self.oldest_out_of_order_ms.get_or_insert(sample.timestamp_ms);
                *oldest_ms = (*oldest_ms).min(sample.timestamp_ms);
            }
            let row = self.refs.get(&sample.series_ref).and_then(|row| self.rows.get_mut(*row as usize));
            let Some(row) = row else {
                self.unknown_samples += 1;
                continue;
            };
            let digest = row.labels.of_value(sample.timestamp_ms, &sample.value);
            if in_order {
                if row.newest_ms.is_some_and(|newest_ms| sample.timestamp_ms <= newest_ms) {
                    continue;
                }
                row.newest_ms = Some(sample.timestamp_ms);
            }
            if !is_kept && self.named_by_head.contains(sample.series_ref) {
                // Nobody who read the log before could name it: it left as it was counted, without a digest.
                self.unknown_samples += 1;
                continue;
            }
            let tally = |tallies: &mut Tallies| match in_order {
                true => tallies.in_order.add_sample(digest),
                false => tallies.out_of_order.add_sample(digest),
            };
            tally(&mut self.seen);
            if is_kept {
                tally(&mut self.kept);
            }
        }
        Ok(())
    }
}

impl ReplaySink for Survey<'_> {
    fn record(&mut self, position: RecordPosition, record: Vec<u8>) -> Result<(), WalError> {
        let (kind, body) = record::split(&record);
        let goes = self.goes(position);
        // What of a record can be read counts; replay takes no more of it.
        let _damaged = match kind {
            Some(RecordType::Series) => self.series(body, goes),
            None => {
                self.unknown_records += u64::from(goes);
                Ok(())
            }
            Some(kind) if let Some(values) = record::values(kind, body) => {
                self.samples(position, values, !kind.is_out_of_order())
            }
            _ => Ok(()),
        };
        Ok(())
    }

    fn seal(&mut self, position: RecordPosition, seal: &Seal, _intact: bool) -> Result<(), WalError> {
        if self.goes(position) {
            self.last_seal = Some((seal.group, seal.next_commit, seal.chain));
            self.requests.extend_from_slice(&seal.requests);
        }
        Ok(())
    }
}
