//! From chunks to blocks, and from blocks to larger blocks: what to merge, the merge, and the proof that nothing was lost.

mod error;
mod merge;
mod plan;
#[cfg(test)]
mod planted;
mod samples;
mod write;

pub use error::{CompactionError, Disproof};
pub use merge::{Conflict, MergeTotals, Merger};
pub use plan::{Obstacle, Plan, PlanBlock, PlanOptions, PlanReason, Planned, SkippedPlan, level_ranges, plan};
pub use write::{Progress, Watch, WrittenBlock, write_block};

#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod write_tests;
