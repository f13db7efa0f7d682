//! What remote write needs of a store, from the database.

use std::sync::Arc;

use crate::db::DbSlot;
use crate::head::MetadataEntry;
use crate::ingest::{Appended, Metadata, WriteStore};
use crate::model::TimestampMs;
use crate::storage::WriteBatch;
use crate::wal::{CommitError, CommitFuture};

/// The database as remote write sees it.
#[derive(Debug, Clone)]
pub struct DbStore(pub Arc<DbSlot>);

impl WriteStore for DbStore {
    type Commit = CommitFuture;

    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<CommitFuture>, CommitError> {
        let opening = || CommitError::Unavailable { reason: "the log is being replayed".to_owned() };
        let db = self.0.get().ok_or_else(opening)?;
        let (outcome, commit) = db.append(batch, now_ms)?;
        Ok(Appended { outcome, commit })
    }

    fn record_metadata(&self, metadata: &[Metadata<'_>]) {
        let Some(db) = self.0.get() else { return };
        let entry = |one: &Metadata<'_>| {
            let (help, unit) = (one.help.to_owned(), one.unit.to_owned());
            MetadataEntry { metric_type: one.metric_type, help, unit }
        };
        // Where the log cannot be written, the append that follows says so.
        let _recorded = db.record_metadata(metadata.iter().map(|one| (one.family, entry(one))).collect());
    }
}
