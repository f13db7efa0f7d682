//! From protocols to write batches.
