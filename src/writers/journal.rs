//! The newest refusals in words.
//!
//! Each writer has a ring for each cause, of [`RING_ENTRIES`] entries, with a count of all that was refused: a noisy sender
//! pushes out what it did itself, and nothing of others. Rings and bytes are bounded too: past the one bound the ring
//! that was silent for longest goes, past the other the oldest entry of the ring with the most bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Protocol, Writer, cut};
use crate::model::{LabelSet, TimestampMs};
use crate::storage::{ExemplarRejectReason, RejectReason, RejectedSample};

/// Entries of one writer and cause.
pub const RING_ENTRIES: usize = 16;
/// Writers and causes.
pub const RINGS_MAX: usize = 512;
/// Bytes of all entries.
pub const BYTES_MAX: usize = 4 << 20;
/// Bytes of an entry's labels that are kept; longer ones stand in its words as far as these go.
const LABEL_BYTES_MAX: usize = 4 << 10;
/// Bytes of an entry's words that are kept.
const DETAIL_BYTES_MAX: usize = 1 << 10;

/// What is wrong with a request that is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestFault {
    /// Its body is not what it says it is.
    Malformed,
    /// It has no credential, or a wrong one.
    Unauthorized,
    /// Its credential does not allow it.
    Forbidden,
    /// Its method is not one that the path takes.
    Method,
    /// It took too long to arrive.
    TooSlow,
    /// It is too large, as sent or decompressed.
    TooLarge,
    /// Its type or its encoding is not one that is read.
    MediaType,
    /// There are too many; it may be sent again.
    TooMany,
    /// The server could not take it; it may be sent again.
    Unavailable,
    /// Anything else.
    Other,
}

impl RequestFault {
    /// Every fault, for filters.
    pub const ALL: [RequestFault; 10] = [
        RequestFault::Malformed,
        RequestFault::Unauthorized,
        RequestFault::Forbidden,
        RequestFault::Method,
        RequestFault::TooSlow,
        RequestFault::TooLarge,
        RequestFault::MediaType,
        RequestFault::TooMany,
        RequestFault::Unavailable,
        RequestFault::Other,
    ];

    /// The fault behind an HTTP status.
    pub fn of_status(status: u16) -> Self {
        match status {
            400 | 422 => RequestFault::Malformed,
            401 => RequestFault::Unauthorized,
            403 => RequestFault::Forbidden,
            405 => RequestFault::Method,
            408 => RequestFault::TooSlow,
            413 => RequestFault::TooLarge,
            415 => RequestFault::MediaType,
            429 => RequestFault::TooMany,
            503 => RequestFault::Unavailable,
            _ => RequestFault::Other,
        }
    }

    /// The fault in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            RequestFault::Malformed => "malformed_request",
            RequestFault::Unauthorized => "unauthorized",
            RequestFault::Forbidden => "forbidden",
            RequestFault::Method => "method_not_allowed",
            RequestFault::TooSlow => "request_timeout",
            RequestFault::TooLarge => "request_too_large",
            RequestFault::MediaType => "unsupported_media_type",
            RequestFault::TooMany => "too_many_requests",
            RequestFault::Unavailable => "unavailable",
            RequestFault::Other => "other",
        }
    }
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Samples of a request.
    Sample(RejectReason),
    /// Exemplars of a request.
    Exemplar(ExemplarRejectReason),
    /// A request as a whole.
    Request(RequestFault),
}

impl Cause {
    /// Every cause, for filters.
    pub fn all() -> impl Iterator<Item = Cause> {
        let exemplars = ExemplarRejectReason::ALL.into_iter().map(Cause::Exemplar);
        let samples = RejectReason::ALL.into_iter().map(Cause::Sample);
        samples.chain(exemplars).chain(RequestFault::ALL.into_iter().map(Cause::Request))
    }

    /// The cause in answers; samples and exemplars share some, and [`Cause::unit`] tells them apart.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Sample(reason) => reason.as_str(),
            Cause::Exemplar(ExemplarRejectReason::InvalidLabels) => "exemplar_invalid_labels",
            Cause::Exemplar(ExemplarRejectReason::LabelLimit) => "exemplar_label_limit",
            Cause::Exemplar(ExemplarRejectReason::UnknownSeries) => "exemplar_unknown_series",
            Cause::Exemplar(ExemplarRejectReason::OutOfOrder) => "exemplar_out_of_order",
            Cause::Exemplar(ExemplarRejectReason::TooFarInFuture) => "exemplar_too_far_in_future",
            Cause::Exemplar(ExemplarRejectReason::Disabled) => "exemplars_disabled",
            Cause::Exemplar(ExemplarRejectReason::InvalidReference) => "exemplar_invalid_reference",
            Cause::Exemplar(ExemplarRejectReason::RefusedSeries) => "exemplar_refused_series",
            Cause::Exemplar(ExemplarRejectReason::NoValue) => "exemplar_no_value",
            Cause::Request(fault) => fault.as_str(),
        }
    }

    /// What is counted that was refused for it.
    pub fn unit(self) -> &'static str {
        match self {
            Cause::Sample(_) => "samples",
            Cause::Exemplar(_) => "exemplars",
            Cause::Request(_) => "requests",
        }
    }
}

/// What an entry says beside who, when and why.
#[derive(Debug, Clone)]
pub(super) struct Words {
    samples: u64,
    labels: Option<LabelSet>,
    sample: Option<RejectedSample>,
    detail: String,
}

impl Words {
    pub(super) fn new(samples: u64, labels: Option<LabelSet>, sample: Option<RejectedSample>, detail: &str) -> Self {
        let labels = labels.filter(|labels| labels.heap_bytes() <= LABEL_BYTES_MAX);
        Words { samples, labels, sample, detail: cut(detail, DETAIL_BYTES_MAX).to_owned() }
    }
}

/// One refusal.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Rises with each refusal.
    pub sequence: u64,
    /// When it was refused.
    pub at_ms: TimestampMs,
    /// Why.
    pub cause: Cause,
    /// How the request came.
    pub protocol: Protocol,
    /// Who sent it.
    pub writer: Arc<Writer>,
    /// Samples that it cost; 0 where it was an exemplar, or the request was not read so far.
    pub samples: u64,
    /// The series, where its labels could be read and are not too long.
    pub labels: Option<LabelSet>,
    /// The sample, where it was one and not a whole series.
    pub sample: Option<RejectedSample>,
    /// The cause in words.
    pub detail: String,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Entry>() + self.detail.capacity() + self.labels.as_ref().map_or(0, LabelSet::heap_bytes)
    }
}

/// The refusals of one writer for one cause.
#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    refused: u64,
    first_ms: TimestampMs,
    last_ms: TimestampMs,
}

/// How much was refused of one writer for one cause.
#[derive(Debug, Clone)]
pub struct RingView {
    /// Who.
    pub writer: Arc<Writer>,
    /// Why.
    pub cause: Cause,
    /// Samples, exemplars or requests ([`Cause::unit`]).
    pub refused: u64,
    /// When the first was.
    pub first_ms: TimestampMs,
    /// When the newest was.
    pub last_ms: TimestampMs,
}

/// The journal, as it stands.
#[derive(Debug, Clone, Default)]
pub struct JournalView {
    /// The entries, the newest first.
    pub entries: Vec<Arc<Entry>>,
    /// What was refused in all, by writer and cause; the newest first.
    pub rings: Vec<RingView>,
}

/// The journal.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rings: HashMap<(Arc<Writer>, Cause), Ring>,
    bytes: usize,
    next: u64,
}

impl Journal {
    /// Counts what was refused, whether or not it comes with words.
    pub(super) fn count(&mut self, writer: &Arc<Writer>, at_ms: TimestampMs, cause: Cause, refused: u64) {
        let ring = self.ring(writer, at_ms, cause);
        ring.refused += refused;
        ring.last_ms = ring.last_ms.max(at_ms);
    }

    /// Adds an entry to what was counted.
    pub(super) fn add(
        &mut self,
        writer: &Arc<Writer>,
        protocol: Protocol,
        at_ms: TimestampMs,
        cause: Cause,
        words: Words,
    ) {
        let Words { samples, labels, sample, detail } = words;
        let (sequence, writer_name) = (self.next, writer.clone());
        self.next += 1;
        let entry = Entry { sequence, at_ms, cause, protocol, writer: writer_name, samples, labels, sample, detail };
        let bytes = entry.bytes();
        let ring = self.ring(writer, at_ms, cause);
        ring.bytes += bytes;
        ring.entries.push_back(Arc::new(entry));
        let surplus = if ring.entries.len() > RING_ENTRIES { ring.pop() } else { 0 };
        self.bytes = self.bytes + bytes - surplus;
        while self.bytes > BYTES_MAX {
            let Some(largest) = self.rings.values_mut().max_by_key(|ring| ring.bytes) else { return };
            self.bytes -= largest.pop();
        }
    }

    fn ring(&mut self, writer: &Arc<Writer>, at_ms: TimestampMs, cause: Cause) -> &mut Ring {
        let key = (writer.clone(), cause);
        if self.rings.len() >= RINGS_MAX && !self.rings.contains_key(&key) {
            let silent = self.rings.iter().min_by_key(|(_, ring)| ring.last_ms).map(|(key, _)| key.clone());
            let gone = silent.and_then(|key| self.rings.remove(&key));
            self.bytes -= gone.map_or(0, |ring| ring.bytes);
        }
        self.rings.entry(key).or_insert_with(|| Ring { first_ms: at_ms, last_ms: at_ms, ..Ring::default() })
    }

    /// The journal, as it stands.
    pub(super) fn view(&self) -> JournalView {
        let mut entries: Vec<Arc<Entry>> = self.rings.values().flat_map(|ring| &ring.entries).cloned().collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.sequence));
        let rings = self.rings.iter().map(|((writer, cause), ring)| RingView {
            writer: writer.clone(),
            cause: *cause,
            refused: ring.refused,
            first_ms: ring.first_ms,
            last_ms: ring.last_ms,
        });
        let mut rings: Vec<RingView> = rings.collect();
        rings.sort_by_key(|ring| std::cmp::Reverse(ring.last_ms));
        JournalView { entries, rings }
    }
}

impl Ring {
    /// Drops the oldest entry; its bytes.
    fn pop(&mut self) -> usize {
        let bytes = self.entries.pop_front().map_or(0, |entry| entry.bytes());
        self.bytes -= bytes;
        bytes
    }
}
