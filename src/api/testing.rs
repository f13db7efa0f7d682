//! What tests of the API ask: a server over a database in memory.

use std::sync::Arc;

use super::{Api, ApiOptions};
use crate::clock::{Clock as _, ManualClock};
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
    server_with(EngineOptions::default(), Arc::new(ManualClock::at(now_ms)), book)
}

/// The same with other bounds on queries, and a clock that the test sets.
pub(super) fn server_with(
    engine: EngineOptions,
    clock: Arc<ManualClock>,
    book: Arc<WriterBook>,
) -> (Arc<Api>, Arc<Db>) {
    let (fs, now_ms) = (SimFs::new(1), clock.now_ms());
    let slot = Arc::new(DbSlot::default());
    let db = Arc::new(Db::open_unlocked(options(), Arc::new(fs), clock.clone(), slot.progress()).unwrap());
    slot.fill(db.clone());
    let options =
        ApiOptions { engine, queries_max: 1, slow_query: None, settings: Vec::new(), started_ms: now_ms, admin: false };
    (Arc::new(Api::new(options, slot, book, clock)), db)
}
