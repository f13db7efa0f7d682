//! Deleted ranges of time: sets of intervals, and the file in which a block keeps them for each of its series.
//!
//! Deleting writes down what is gone; the samples stay in their chunks, hidden, until a compaction leaves them out.

mod file;
mod intervals;

pub use file::{MAGIC, TombstoneFile, VERSION};
pub use intervals::Intervals;
