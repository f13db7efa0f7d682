//! The write-ahead log: Prometheus' format, group commit, seals, recovery.
