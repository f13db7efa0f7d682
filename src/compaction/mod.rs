//! From chunks to blocks, and from blocks to larger blocks: what to merge, the merge, and the proof that nothing was lost.

mod compact;
mod error;
mod merge;
mod plan;
mod prove;
mod samples;
mod write;

pub use compact::{Outcome, compact};
pub use error::{CompactionError, Disproof};
pub use merge::{Conflict, MergeTotals, Merger};
pub use plan::{Obstacle, Plan, PlanBlock, PlanOptions, PlanReason, Planned, SkippedPlan, level_ranges, plan};
pub use prove::{Conserved, FlushProof, Flushed, ProofError, conservation, differences, flush as prove_flush};
pub use write::{Progress, Watch, WrittenBlock, write_block};

#[cfg(test)]
mod compact_tests;
#[cfg(test)]
mod flush_tests;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod write_tests;
