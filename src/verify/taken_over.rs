//! What another program took out of the log.
//!
//! Prometheus on a directory of ours truncates the log as if it were its own: it removes segments, with their seals, and
//! leaves a checkpoint without any record of ours. What stood there is in its blocks and its checkpoint, or it is lost:
//! nothing that is left tells, so it is neither proven nor wrong. All else is held to what it has to show.

use std::fmt;

use super::replay::Replay;
use crate::ledger::LedgerState;
use crate::wal::LogScan;

/// Segments that left the log without a word in the ledger, because a checkpoint of another program stands for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TakenOver {
    /// The last of the segments; `None` where the ledger knows what went.
    up_to_segment: Option<u32>,
    /// The requests whose seals may have gone: from the first to before the second.
    commits: Vec<(u64, u64)>,
    /// The sealed groups that went, first and last, where the log and the ledger tell.
    pub(super) groups: Option<(u64, u64)>,
}

impl TakenOver {
    /// Looks at what is left, and at what the ledger says. A checkpoint that the ledger knows tells nothing more.
    pub(super) fn find(log: &LogScan, ledger: &LedgerState, replay: &Replay) -> Option<Self> {
        let left = &ledger.left_log;
        let up_to_segment = log.foreign_checkpoint.filter(|&number| left.up_to_segment < Some(number));
        let mut commits = ledger.taken_over.clone();
        let mut groups = None;
        if up_to_segment.is_some() {
            commits.push((left.next_commit, replay.first_commit().unwrap_or(u64::MAX)));
            let follows = left.last_group + 1;
            groups = log.groups.filter(|(first, _)| *first > follows).map(|(first, _)| (follows, first - 1));
        }
        (!commits.is_empty()).then_some(TakenOver { up_to_segment, commits, groups })
    }

    /// Whether the seal of a request may have gone so. One between requests that are still sealed cannot.
    pub(super) fn has_request(&self, commit: u64) -> bool {
        self.commits.iter().any(|(first, end)| (*first..*end).contains(&commit))
    }
}

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another program, such as Prometheus, has truncated the log")?;
        if let Some(up_to_segment) = self.up_to_segment {
            write!(f, " up to segment {up_to_segment:08}")?;
        }
        f.write_str(", and the seals went with it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LeftLog;

    #[test]
    fn checkpoint_that_the_ledger_has_as_ours_is_nobody_elses() {
        let log = LogScan { foreign_checkpoint: Some(5), groups: Some((9, 12)), ..LogScan::default() };
        let left = |up_to_segment| LedgerState {
            left_log: LeftLog { up_to_segment, last_group: 3, next_commit: 7, ..LeftLog::default() },
            ..LedgerState::default()
        };
        let replay = Replay::new(None, None);
        for recorded in [None, Some(4)] {
            let taken_over = TakenOver::find(&log, &left(recorded), &replay).unwrap();
            assert_eq!(taken_over.groups, Some((4, 8)));
            assert!(!taken_over.has_request(6) && taken_over.has_request(7));
        }
        for recorded in [Some(5), Some(9)] {
            assert_eq!(TakenOver::find(&log, &left(recorded), &replay), None);
            let known = LedgerState { taken_over: vec![(2, 5)], ..left(recorded) };
            let taken_over = TakenOver::find(&log, &known, &replay).unwrap();
            assert_eq!(taken_over.groups, None);
            assert!(taken_over.has_request(4) && !taken_over.has_request(5));
        }
    }
}
