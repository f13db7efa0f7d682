//! Who writes, and what was refused: answers to "who created these series" and "what was not stored, and why", for as
//! long as the process lives.
//!
//! | module | does |
//! |---|---|
//! | [`sender`] | who sent a request, and in which protocol |
//! | [`accounts`] | counts by writer, bounded in writers |
//! | [`journal`] | the newest refusals in words, bounded in entries and bytes |
//!
//! A *writer* is an address, the program as it names itself, and the name of its credential. Both the number of writers
//! and their texts are bounded, whatever is sent.

pub mod accounts;
pub mod journal;
pub mod sender;

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::Equivalent;

pub use accounts::{AccountView, AccountsView, WriterCounts};
pub use journal::{Cause, Entry, JournalView, RequestFault, RingView};
pub use sender::{Protocol, Sender};

use crate::model::{LabelSet, TimestampMs};
use crate::storage::{BatchOutcome, ExemplarRejectReason, RejectReason, WriterNumber};
use accounts::Accounts;
use journal::{Journal, Words};

/// Bytes of an agent's or a user's name that are kept.
const NAME_BYTES_MAX: usize = 128;

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The other end of its connections.
    pub address: Option<IpAddr>,
    /// The program, as it names itself.
    pub agent: String,
    /// The name that goes with its credential.
    pub user: String,
}

/// A writer that is looked up.
#[derive(Debug, Clone, Copy)]
struct WriterRef<'a> {
    address: Option<IpAddr>,
    agent: &'a str,
    user: &'a str,
}

impl<'a> WriterRef<'a> {
    fn of(sender: &'a Sender) -> Self {
        let name = |text: &'a Option<String>| cut(text.as_deref().unwrap_or_default(), NAME_BYTES_MAX);
        WriterRef { address: sender.address, agent: name(&sender.agent), user: name(&sender.user) }
    }

    fn to_writer(self) -> Writer {
        Writer { address: self.address, agent: self.agent.to_owned(), user: self.user.to_owned() }
    }
}

impl Hash for Writer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        WriterRef { address: self.address, agent: &self.agent, user: &self.user }.hash(state);
    }
}

impl Hash for WriterRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address, self.agent, self.user).hash(state);
    }
}

impl Equivalent<Arc<Writer>> for WriterRef<'_> {
    fn equivalent(&self, known: &Arc<Writer>) -> bool {
        self.address == known.address && self.agent == known.agent && self.user == known.user
    }
}

/// The beginning of a text, of so many bytes at most.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// All of it is stored.
    Ok,
    /// Something, or all, is refused for good.
    Refused,
    /// It may be sent again.
    Unavailable,
}

/// The book of all writers.
#[derive(Debug, Default)]
pub struct WriterBook {
    accounts: Mutex<Accounts>,
    journal: Mutex<Journal>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WriterBook {
    /// The number by which the head knows the sender of a request.
    pub fn number(&self, sender: &Sender, now_ms: TimestampMs) -> WriterNumber {
        lock(&self.accounts).number(WriterRef::of(sender), now_ms)
    }

    /// Counts what a batch did before its commit, and writes what was refused of it into the journal. `labels` gives
    /// those of its series.
    pub fn accepted(
        &self,
        sender: &Sender,
        now_ms: TimestampMs,
        outcome: &BatchOutcome,
        labels: impl Fn(usize) -> Option<LabelSet>,
    ) {
        let is_refused = outcome.rejected_total() > 0 || outcome.exemplars_rejected_total() > 0;
        if outcome.series_created == 0 && !is_refused {
            return;
        }
        let counts = WriterCounts {
            series_created: outcome.series_created,
            rejected: outcome.rejected,
            ..WriterCounts::default()
        };
        let writer = lock(&self.accounts).count(WriterRef::of(sender), sender.protocol, now_ms, &counts);
        if !is_refused {
            return;
        }
        let samples = outcome.rejects.iter().map(|reject| {
            let labels = labels(reject.series_index);
            (Cause::Sample(reject.reason), Words::new(reject.samples, labels, reject.sample, &reject.detail))
        });
        let exemplars = outcome.exemplar_rejects.iter().map(|reject| {
            (Cause::Exemplar(reject.reason), Words::new(0, labels(reject.series_index), None, &reject.detail))
        });
        let entries: Vec<(Cause, Words)> = samples.chain(exemplars).collect();
        let counted = RejectReason::ALL.map(Cause::Sample).into_iter().zip(outcome.rejected);
        let exemplars_counted =
            ExemplarRejectReason::ALL.map(Cause::Exemplar).into_iter().zip(outcome.exemplars_rejected);
        let mut journal = lock(&self.journal);
        for (cause, count) in counted.chain(exemplars_counted).filter(|&(_, count)| count > 0) {
            journal.count(&writer, now_ms, cause, count);
        }
        for (cause, words) in entries {
            journal.add(&writer, sender.protocol, now_ms, cause, words);
        }
    }

    /// Counts samples that are durable.
    pub fn stored(&self, sender: &Sender, now_ms: TimestampMs, outcome: &BatchOutcome) {
        let counts = WriterCounts {
            samples_added: outcome.added,
            samples_duplicate: outcome.duplicates,
            ..WriterCounts::default()
        };
        lock(&self.accounts).count(WriterRef::of(sender), sender.protocol, now_ms, &counts);
    }

    /// Counts a request that was worked on to its end.
    pub fn answered(&self, sender: &Sender, now_ms: TimestampMs, answered: Answered) {
        let counts = WriterCounts::of(answered);
        lock(&self.accounts).count(WriterRef::of(sender), sender.protocol, now_ms, &counts);
    }

    /// Counts a request that was refused as a whole, and writes it into the journal.
    pub fn refuse(&self, sender: &Sender, now_ms: TimestampMs, answered: Answered, fault: RequestFault, detail: &str) {
        let counts = WriterCounts::of(answered);
        let writer = lock(&self.accounts).count(WriterRef::of(sender), sender.protocol, now_ms, &counts);
        let mut journal = lock(&self.journal);
        journal.count(&writer, now_ms, Cause::Request(fault), 1);
        journal.add(&writer, sender.protocol, now_ms, Cause::Request(fault), Words::new(0, None, None, detail));
    }

    /// The accounts of all writers, and of those who are not told apart.
    pub fn accounts(&self) -> AccountsView {
        lock(&self.accounts).view()
    }

    /// The few writers whose counts are exported by name, and the counts of the rest.
    pub fn named(&self) -> (Vec<(Arc<Writer>, WriterCounts)>, WriterCounts) {
        lock(&self.accounts).named()
    }

    /// The journal, the newest entry first.
    pub fn rejects(&self) -> JournalView {
        lock(&self.journal).view()
    }
}

#[cfg(test)]
mod tests;
