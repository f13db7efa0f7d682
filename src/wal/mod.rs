//! The write-ahead log: Prometheus' format, group commit, seals, recovery.

mod ack;
mod checkpoint;
pub mod commit;
mod committer;
mod contents;
pub mod format;
mod group_writer;
mod lost;
mod options;
mod reader;
pub mod record;
mod recovery;
mod scan;
pub mod seal;
mod summary;
pub mod wbl;
mod writer;

pub use ack::CommitFuture;
pub use checkpoint::{
    CheckpointEdge, CheckpointEnd, CheckpointPlan, CheckpointRecord, CheckpointReport, checkpoint, remove_superseded,
    superseded,
};
pub use commit::{CommitError, Durability, GroupRecords, GroupSource, Receipt};
pub use committer::{Admission, Committer, CutPoint, LogStatus};
pub use contents::{Damage, LogScan, RecordPosition, ReplayProgress, ReplaySink, SegmentSummary, UnsealedTail};
pub use group_writer::{DurableGroup, GroupWriter, Resume, WriterCounters};
pub use options::{Compression, WalError, WalOptions};
pub use reader::{LogFile, LogFiles, SegmentEvent, SegmentReader};
pub use record::RecordType;
pub use recovery::{
    LeftBefore, LogKnown, LogLook, QuarantineNote, Recovery, RecoveryMode, look, read_notes, recover, recover_from,
};
pub use scan::scan;
pub use seal::{Mark, Seal, SealRecord, SealedRequest};
pub use summary::{ReplayEstimate, ReplayFrom, replay_estimate, summarize};
pub use wbl::{WblRecovery, WblStatus, WblWriter};
pub use writer::SegmentWriter;

#[cfg(test)]
mod tests;
