//! Proofs: that the log alone holds what was acknowledged.
