//! Chronolith: a Prometheus-compatible metrics store that can prove what it stored.
//!
//! The modules stand on floors; each imports only from floors below its own (`docs/architecture.md`):
//!
//! | floor | modules |
//! |---|---|
//! | 9 | [`cli`] |
//! | 8 | [`config`], [`server`] |
//! | 7 | [`ingest`], [`api`], [`verify`], [`inspect`], [`transfer`], [`mod@bench`] |
//! | 6 | [`db`], [`promql`] |
//! | 5 | [`compaction`] |
//! | 4 | [`head`], [`block`], [`proof`] |
//! | 3 | [`wal`], [`chunk`], [`exemplars`], [`index`], [`tombstones`], [`ledger`], [`text`], [`writers`] |
//! | 2 | [`storage`] |
//! | 1 | [`fs`], [`net`], [`clock`], [`telemetry`] |
//! | 0 | [`model`], [`encoding`] |

#[macro_use]
mod planted;

pub mod encoding;
pub mod model;

pub mod clock;
pub mod fs;
pub mod net;
pub mod telemetry;

pub mod storage;

pub mod chunk;
pub mod exemplars;
pub mod index;
pub mod ledger;
pub mod text;
pub mod tombstones;
pub mod wal;
pub mod writers;

pub mod block;
pub mod head;
pub mod proof;

pub mod compaction;

pub mod db;
pub mod promql;

pub mod api;
pub mod bench;
pub mod ingest;
pub mod inspect;
pub mod transfer;
pub mod verify;

pub mod config;
pub mod server;

pub mod cli;
