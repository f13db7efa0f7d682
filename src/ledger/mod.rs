//! The ledger: what left the log, and where it went.
//!
#![doc = include_str!("../../docs/format/ledger.md")]

mod event;
mod line;
mod receipts;
mod state;
mod store;
mod ulid_text;

pub use event::{Entry, Event, FlushedUpTo, LeftSamples, ReceiptsPart};
pub use state::{LedgerState, LeftLog, Totals};
pub use store::{Contents, Ledger, LedgerDamage, LedgerError, RequestReader, read};

#[cfg(test)]
mod tests;
