//! Deterministic load, and what it measures.
