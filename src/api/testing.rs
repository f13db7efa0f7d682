//! What tests of the API ask: a server over a database in memory.

use std::sync::Arc;

use super::{Api, ApiOptions};
use crate::clock::ManualClock;
use crate::db::{Db, DbOptions, DbSlot};
use crate::fs::sim::SimFs;
use crate::promql::engine::EngineOptions;
use crate::wal::WalOptions;
use crate::writers::WriterBook;

/// A store whose log has small segments.
pub(super) fn options() -> DbOptions {
    DbOptions { wal: WalOptions { segment_bytes: 64 << 10, ..WalOptions::default() }, ..DbOptions::new("/data") }
}

/// A server that is ready, whose clock stands at `now_ms`, and its empty database.
pub(super) fn server(now_ms: i64, book: Arc<WriterBook>) -> (Arc<Api>, Arc<Db>) {
    let (fs, clock) = (SimFs::new(1), Arc::new(ManualClock::at(now_ms)));
    let slot = Arc::new(DbSlot::default());
    let db = Arc::new(Db::open_unlocked(options(), Arc::new(fs), clock.clone(), slot.progress()).unwrap());
    slot.fill(db.clone());
    let options = ApiOptions {
        engine: EngineOptions::default(),
        queries_max: 1,
        slow_query: None,
        settings: Vec::new(),
        started_ms: now_ms,
        admin: false,
    };
    (Arc::new(Api::new(options, slot, book, clock)), db)
}
