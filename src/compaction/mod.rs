//! From chunks to blocks, and from blocks to larger blocks: what to merge, the merge, and the proof that nothing was lost.

mod merge;
mod plan;
#[cfg(test)]
mod planted;
mod samples;

pub use merge::{Conflict, MergeTotals, Merger};

pub use plan::{Obstacle, Plan, PlanBlock, PlanOptions, PlanReason, Planned, SkippedPlan, level_ranges, plan};

#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod testing;
