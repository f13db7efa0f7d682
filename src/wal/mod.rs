//! The write-ahead log: Prometheus' format, group commit, seals, recovery.

pub mod commit;
pub mod record;
pub mod seal;

pub use commit::{CommitError, Durability, GroupRecords, GroupSource, Receipt};
pub use record::RecordType;
pub use seal::{Mark, Seal, SealRecord, SealedRequest};
