//! What the log alone gives: an independent replay that shares nothing with the head but the format of the records.
//!
//! A block that was made from the head is compared with what this gives for the same samples ([`log_tally`]) before
//! anything leaves the log, and `verify` is built on the same reader.
//!
//! Which samples are *in order* is told by the log: those in records for samples in order that are newer than all of
//! their series before them. In a log of ours that is all of them; in one of Prometheus the others stand in `wbl/` too.

mod names;
mod pipeline;
mod reader;
mod series;
mod tally;
mod wbl;

pub use names::SeriesNames;
pub use pipeline::scan_beside;
pub use reader::{Arrival, LogEntry, LogKind, LogReader, LogSample, RecordRead};
pub use series::LogSeries;
pub use tally::{DamagedPlace, LogPart, LogTally, PartTally, SampleKind, TallyRequest, log_tally, series_tallies};
pub use wbl::{WblPlace, foreign_wbl_records};

#[cfg(test)]
mod tests;
