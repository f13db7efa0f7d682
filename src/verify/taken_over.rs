//! What another program took out of the log.
//!
//! Prometheus on a directory of ours truncates the log as if it were its own: it removes segments, with their seals, and
//! leaves a checkpoint without any record of ours. What stood there is in its blocks and its checkpoint, or it is lost:
//! nothing that is left tells, so it is neither proven nor wrong. All else is held to what it has to show.

use std::fmt;

use super::replay::Replay;
use crate::ledger::LeftLog;
use crate::wal::LogScan;

/// Segments that left the log without a word in the ledger, because a checkpoint of another program stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TakenOver {
    up_to_segment: u32,
    /// The requests whose seals may have gone: from the first to before the second.
    commits: (u64, u64),
    /// The sealed groups that went, first and last, where the log and the ledger tell.
    pub(super) groups: Option<(u64, u64)>,
}

impl TakenOver {
    /// Looks at what is left. A checkpoint that the ledger has as ours is not taken for another program's.
    pub(super) fn find(log: &LogScan, left: &LeftLog, replay: &Replay) -> Option<Self> {
        let up_to_segment = log.foreign_checkpoint.filter(|&number| left.up_to_segment < Some(number))?;
        let last_left = left.last_group;
        Some(TakenOver {
            up_to_segment,
            commits: (left.next_commit, replay.first_commit().unwrap_or(u64::MAX)),
            groups: log.groups.filter(|(first, _)| *first > last_left + 1).map(|(first, _)| (last_left + 1, first - 1)),
        })
    }

    /// Whether the seal of a request may have gone so. One between requests that are still sealed cannot.
    pub(super) fn has_request(&self, commit: u64) -> bool {
        (self.commits.0..self.commits.1).contains(&commit)
    }
}

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another program, such as Prometheus, has truncated the log up to segment {:08}, and the seals went with it",
            self.up_to_segment
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_that_the_ledger_has_as_ours_is_nobody_elses() {
        let log = LogScan { foreign_checkpoint: Some(5), groups: Some((9, 12)), ..LogScan::default() };
        let left = |up_to_segment| LeftLog { up_to_segment, last_group: 3, next_commit: 7, ..LeftLog::default() };
        let replay = Replay::new(None, None);
        for recorded in [None, Some(4)] {
            let taken_over = TakenOver::find(&log, &left(recorded), &replay).unwrap();
            assert_eq!(taken_over.groups, Some((4, 8)));
            assert!(!taken_over.has_request(6) && taken_over.has_request(7));
        }
        for recorded in [Some(5), Some(9)] {
            assert_eq!(TakenOver::find(&log, &left(recorded), &replay), None);
        }
    }
}
