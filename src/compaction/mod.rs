//! From chunks to blocks, and from blocks to larger blocks: what to merge, the merge, and the proof that nothing was lost.
