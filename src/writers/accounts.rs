//! Counts by writer.
//!
//! There is room for [`WRITERS_MAX`] writers. A new one takes the place of the one that sent least, whose counts go to
//! those who are not told apart. So that one program that names itself differently with each request does not push
//! all others out, an address and user have at most [`AGENTS_MAX`] agents; the rest of them are one.
//!
//! A few writers are exported as metrics by name. Counters must not fall, so what a writer did before it was named stays
//! with the others.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Answered, Protocol, Writer, WriterRef};
use crate::model::TimestampMs;
use crate::storage::{RejectReason, WriterNumber};

/// Writers that are told apart.
pub const WRITERS_MAX: usize = 512;
/// Agents of one address and user that are told apart.
pub const AGENTS_MAX: usize = 16;
/// The agent of those of an address and user that are not.
pub const OTHER_AGENTS: &str = "(other agents)";
/// Writers that are exported as metrics by name.
pub const NAMED_MAX: usize = 20;

/// What a writer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterCounts {
    /// Requests of which all is durable.
    pub requests_ok: u64,
    /// Requests of which something, or all, was refused for good.
    pub requests_refused: u64,
    /// Requests that may be sent again.
    pub requests_unavailable: u64,
    /// Samples that were added.
    pub samples_added: u64,
    /// Samples that were there already.
    pub samples_duplicate: u64,
    /// Samples refused, by [`RejectReason`] in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Series that were created.
    pub series_created: u64,
}

impl WriterCounts {
    /// One request.
    pub(super) fn of(answered: Answered) -> Self {
        WriterCounts {
            requests_ok: u64::from(answered == Answered::Ok),
            requests_refused: u64::from(answered == Answered::Refused),
            requests_unavailable: u64::from(answered == Answered::Unavailable),
            ..WriterCounts::default()
        }
    }

    /// Samples refused for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// What writers are ranked by: everything that somebody had to look at.
    fn weight(&self) -> u64 {
        let requests = self.requests_ok + self.requests_refused + self.requests_unavailable;
        requests + self.samples_added + self.samples_duplicate + self.rejected_total()
    }

    fn combine(&mut self, other: &WriterCounts, combine: impl Fn(&mut u64, u64)) {
        combine(&mut self.requests_ok, other.requests_ok);
        combine(&mut self.requests_refused, other.requests_refused);
        combine(&mut self.requests_unavailable, other.requests_unavailable);
        combine(&mut self.samples_added, other.samples_added);
        combine(&mut self.samples_duplicate, other.samples_duplicate);
        self.rejected.iter_mut().zip(other.rejected).for_each(|(mine, other)| combine(mine, other));
        combine(&mut self.series_created, other.series_created);
    }

    fn add(&mut self, other: &WriterCounts) {
        self.combine(other, |mine, other| *mine += other);
    }

    fn less(mut self, other: &WriterCounts) -> Self {
        self.combine(other, |mine, other| *mine = mine.saturating_sub(other));
        self
    }
}

/// One writer's account.
#[derive(Debug, Clone)]
struct Account {
    writer: Arc<Writer>,
    number: Option<WriterNumber>,
    first_ms: TimestampMs,
    last_ms: TimestampMs,
    protocols: [bool; Protocol::ALL.len()],
    counts: WriterCounts,
    /// Where it is exported by name: what it had done before.
    named_since: Option<WriterCounts>,
}

/// One writer, as it stands.
#[derive(Debug, Clone)]
pub struct AccountView {
    /// Who.
    pub writer: Arc<Writer>,
    /// By which the head knows it; `None` where nothing of it came that far.
    pub number: Option<WriterNumber>,
    /// Its first request since the start of the process.
    pub first_ms: TimestampMs,
    /// Its newest request.
    pub last_ms: TimestampMs,
    /// The protocols that it has spoken.
    pub protocols: Vec<Protocol>,
    /// What it did.
    pub counts: WriterCounts,
}

/// All writers.
#[derive(Debug, Clone, Default)]
pub struct AccountsView {
    /// Those who are told apart, in no order.
    pub writers: Vec<AccountView>,
    /// What those did who are not told apart any more.
    pub others: WriterCounts,
}

/// The accounts of all writers.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
    /// Where each writer's account stands.
    places: HashMap<Arc<Writer>, usize>,
    /// What those did who had to make room.
    others: WriterCounts,
    /// What was done by writers that were not named when they did it.
    unnamed: WriterCounts,
    /// Numbers that were given.
    numbers: u16,
}

impl Accounts {
    /// The number of a writer. Where all are given, it is one of the others.
    pub(super) fn number(&mut self, writer: WriterRef<'_>, now_ms: TimestampMs) -> WriterNumber {
        let next = self.numbers + 1;
        let account = self.account(writer, now_ms);
        if let Some(number) = account.number {
            return number;
        }
        let is_left = next < WriterNumber::OTHERS.0;
        let number = if is_left { WriterNumber(next) } else { WriterNumber::OTHERS };
        account.number = Some(number);
        self.numbers += u16::from(is_left);
        number
    }

    /// Adds to a writer's account; gives the name under which it stands.
    pub(super) fn count(
        &mut self,
        writer: WriterRef<'_>,
        protocol: Protocol,
        now_ms: TimestampMs,
        counts: &WriterCounts,
    ) -> Arc<Writer> {
        let account = self.account(writer, now_ms);
        account.last_ms = account.last_ms.max(now_ms);
        account.protocols[protocol as usize] = true;
        account.counts.add(counts);
        let (name, is_named) = (account.writer.clone(), account.named_since.is_some());
        if !is_named {
            self.unnamed.add(counts);
        }
        name
    }

    /// The account of a writer, perhaps a new one.
    fn account(&mut self, writer: WriterRef<'_>, now_ms: TimestampMs) -> &mut Account {
        let place = match self.places.get(&writer) {
            Some(&place) => place,
            None => self.admit(writer, now_ms),
        };
        &mut self.accounts[place]
    }

    /// Makes an account for a writer that has none, and says where it stands.
    #[cold]
    fn admit(&mut self, mut writer: WriterRef<'_>, now_ms: TimestampMs) -> usize {
        let is_same = |known: &Writer| known.address == writer.address && known.user == writer.user;
        if self.accounts.iter().filter(|account| is_same(&account.writer)).count() >= AGENTS_MAX {
            writer.agent = OTHER_AGENTS;
            if let Some(&place) = self.places.get(&writer) {
                return place;
            }
        }
        let name = Arc::new(writer.to_writer());
        let account = Account {
            writer: name.clone(),
            number: None,
            first_ms: now_ms,
            last_ms: now_ms,
            protocols: [false; Protocol::ALL.len()],
            counts: WriterCounts::default(),
            named_since: None,
        };
        let is_smallest = |account: &Account| (account.named_since.is_some(), account.counts.weight());
        let smallest = (0..self.accounts.len()).min_by_key(|&place| is_smallest(&self.accounts[place]));
        let place = match smallest {
            Some(place) if self.accounts.len() >= WRITERS_MAX => {
                let gone = std::mem::replace(&mut self.accounts[place], account);
                self.others.add(&gone.counts);
                self.places.remove(&gone.writer);
                place
            }
            _ => {
                self.accounts.push(account);
                self.accounts.len() - 1
            }
        };
        self.places.insert(name, place);
        self.choose_named();
        place
    }

    /// Names those with the greatest weight. One takes another's name only with twice its weight, so that two of a kind
    /// do not take turns.
    fn choose_named(&mut self) {
        loop {
            let named = |account: &Account| account.named_since.is_some();
            let weight = |place: &usize| self.accounts[*place].counts.weight();
            let places = || 0..self.accounts.len();
            let Some(best) = places().filter(|&place| !named(&self.accounts[place])).max_by_key(weight) else { return };
            if places().filter(|&place| named(&self.accounts[place])).count() >= NAMED_MAX {
                let least = places().filter(|&place| named(&self.accounts[place])).min_by_key(weight);
                let Some(least) = least.filter(|least| weight(least).saturating_mul(2) < weight(&best)) else { return };
                self.accounts[least].named_since = None;
            }
            let counts = self.accounts[best].counts;
            self.accounts[best].named_since = Some(counts);
        }
    }

    /// The few writers that are exported by name, with what they did since they are, and what all others did.
    pub(super) fn named(&mut self) -> (Vec<(Arc<Writer>, WriterCounts)>, WriterCounts) {
        self.choose_named();
        let named = self.accounts.iter().filter_map(|account| {
            let counts = account.counts.less(account.named_since.as_ref()?);
            Some((account.writer.clone(), counts))
        });
        (named.collect(), self.unnamed)
    }

    /// All accounts, as they stand.
    pub(super) fn view(&self) -> AccountsView {
        let writers = self.accounts.iter().map(|account| AccountView {
            writer: account.writer.clone(),
            number: account.number,
            first_ms: account.first_ms,
            last_ms: account.last_ms,
            protocols: Protocol::ALL.into_iter().filter(|&protocol| account.protocols[protocol as usize]).collect(),
            counts: account.counts,
        });
        AccountsView { writers: writers.collect(), others: self.others }
    }
}
