//! The ledger: what left the log, and where it went.
