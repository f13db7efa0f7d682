//! From chunks to blocks, and from blocks to larger blocks: what to merge, the merge, and the proof that nothing was lost.

mod plan;

pub use plan::{Obstacle, Plan, PlanBlock, PlanOptions, PlanReason, Planned, SkippedPlan, level_ranges, plan};
