//! One write request, whatever protocol it came by, and what became of it.

use std::ops::Range;

use crate::model::{Digest, RawLabels, Sample, SampleValue, TimestampMs};

/// Who writes, as a number that fits beside every series of the head. Numbers are given for the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriterNumber(pub u16);

impl WriterNumber {
    /// Nobody knows: a series was there when the process started.
    pub const UNKNOWN: Self = WriterNumber(0);
    /// One of those for whom no number was left.
    pub const OTHERS: Self = WriterNumber(u16::MAX);
}

/// The series and samples of one request, borrowed from its decoded body.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch<'a> {
    /// Who sent it: the creator of the series that it begins.
    pub writer: WriterNumber,
    /// The series, in the order of the request. A series may appear more than once.
    pub series: Vec<SeriesEntry<'a>>,
    /// The samples of all series, those of one entry together and in the order of the request.
    pub samples: Vec<Sample>,
    /// The native histograms of all series, in the order of their entries. Of an entry's samples they come last.
    pub histograms: Vec<HistogramSample>,
    /// The exemplars of all series, in the order of their entries.
    pub exemplars: Vec<ExemplarSample<'a>>,
    /// Zeros where counters say that they began, in the order of their entries.
    pub starts: Vec<StartSample>,
}

impl WriteBatch<'_> {
    /// Takes everything out, and keeps the memory.
    pub fn clear(&mut self) {
        let WriteBatch { writer, series, samples, histograms, exemplars, starts } = self;
        *writer = WriterNumber::UNKNOWN;
        series.clear();
        samples.clear();
        histograms.clear();
        exemplars.clear();
        starts.clear();
    }

    /// The float samples of an entry.
    #[inline]
    pub fn samples_of(&self, entry: usize) -> &[Sample] {
        let range =
            self.series.get(entry).map_or(0..0, |entry| entry.samples.start as usize..entry.samples.end as usize);
        self.samples.get(range).unwrap_or_default()
    }

    /// The native histograms of an entry.
    #[inline]
    pub fn histograms_of(&self, entry: usize) -> &[HistogramSample] {
        if self.histograms.is_empty() {
            return &[];
        }
        let start = self.histograms.partition_point(|sample| (sample.entry as usize) < entry);
        let rest = self.histograms.get(start..).unwrap_or_default();
        let length = rest.partition_point(|sample| sample.entry as usize == entry);
        rest.get(..length).unwrap_or_default()
    }

    /// The zeros of an entry.
    #[inline]
    pub fn starts_of(&self, entry: usize) -> &[StartSample] {
        if self.starts.is_empty() {
            return &[];
        }
        let start = self.starts.partition_point(|zero| (zero.entry as usize) < entry);
        let rest = self.starts.get(start..).unwrap_or_default();
        let length = rest.partition_point(|zero| zero.entry as usize == entry);
        rest.get(..length).unwrap_or_default()
    }
}

/// A zero where a counter began, of which a sample of the request tells. Nobody sent it, so nobody is told if it is not
/// stored: it is only where it is newer than all that its series has.
#[derive(Debug, Clone, PartialEq)]
pub struct StartSample {
    /// Its series, as an index into [`WriteBatch::series`].
    pub entry: u32,
    /// When the sample that tells of it was measured, which is later.
    pub before_ms: TimestampMs,
    /// When the counter began.
    pub timestamp_ms: TimestampMs,
    /// Zero, of the kind of that sample.
    pub value: SampleValue,
}

/// A native histogram of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Its series, as an index into [`WriteBatch::series`].
    pub entry: u32,
    /// When it was measured.
    pub timestamp_ms: TimestampMs,
    /// What was measured: a histogram of either kind.
    pub value: SampleValue,
}

/// An exemplar of a request: one observation behind a sample, with labels that lead to a trace of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExemplarSample<'a> {
    /// Its series, as an index into [`WriteBatch::series`].
    pub entry: u32,
    /// Its own labels as they were sent, without those of the series: not yet validated.
    pub labels: RawLabels<'a>,
    /// When it was observed.
    pub timestamp_ms: TimestampMs,
    /// What was observed.
    pub value: f64,
}

/// One series of a request. It may have exemplars alone.
#[derive(Debug, Clone)]
pub struct SeriesEntry<'a> {
    /// Its labels as they were sent: not yet validated, perhaps not canonical.
    pub labels: RawLabels<'a>,
    /// Its samples, as indices into [`WriteBatch::samples`].
    pub samples: Range<u32>,
}

/// Why a sample, or all samples of a series, were refused. The text is the label of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectReason {
    /// The labels are malformed, not UTF-8, repeated, unnamed, or lack a metric name.
    InvalidLabels,
    /// More labels, or longer ones, than the limits allow.
    LabelLimit,
    /// Older than the newest sample of its series, where none such are taken.
    OutOfOrder,
    /// The same time as another sample of its series, with another value.
    DuplicateTimestamp,
    /// Too far in the past of what the head holds.
    OutOfBounds,
    /// Too far in the future of the server's clock.
    TooFarInFuture,
    /// The head holds as many series as it may.
    SeriesLimit,
    /// Older than the out-of-order window reaches.
    TooOld,
    /// In a range of time that was deleted from its series, so nobody would see it.
    Deleted,
    /// A native histogram whose buckets, counts and bounds do not belong together, or that is too large.
    InvalidHistogram,
    /// A reference to a symbol that the request does not have, or a label's name without a value.
    InvalidReference,
    /// Metadata that is no text, or refers to a symbol that the request does not have.
    InvalidMetadata,
    /// A series of a request without a sample, which costs none.
    NoSamples,
    /// A line of text that is none of its format.
    MalformedLine,
    /// A point of OTLP that lacks a part without which it is no sample, or has an impossible one.
    InvalidPoint,
    /// A point of OTLP that counts since the last one, where such are not taken.
    UnsupportedTemporality,
}

impl RejectReason {
    /// Every reason, for the counters.
    pub const ALL: [RejectReason; 16] = [
        RejectReason::InvalidLabels,
        RejectReason::LabelLimit,
        RejectReason::OutOfOrder,
        RejectReason::DuplicateTimestamp,
        RejectReason::OutOfBounds,
        RejectReason::TooFarInFuture,
        RejectReason::SeriesLimit,
        RejectReason::TooOld,
        RejectReason::Deleted,
        RejectReason::InvalidHistogram,
        RejectReason::InvalidReference,
        RejectReason::InvalidMetadata,
        RejectReason::NoSamples,
        RejectReason::MalformedLine,
        RejectReason::InvalidPoint,
        RejectReason::UnsupportedTemporality,
    ];

    /// The reason as a metric label and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::InvalidLabels => "invalid_labels",
            RejectReason::LabelLimit => "label_limit",
            RejectReason::OutOfOrder => "out_of_order",
            RejectReason::DuplicateTimestamp => "duplicate_timestamp",
            RejectReason::OutOfBounds => "out_of_bounds",
            RejectReason::TooFarInFuture => "too_far_in_future",
            RejectReason::SeriesLimit => "series_limit",
            RejectReason::TooOld => "too_old",
            RejectReason::Deleted => "deleted",
            RejectReason::InvalidHistogram => "invalid_histogram",
            RejectReason::InvalidReference => "invalid_reference",
            RejectReason::InvalidMetadata => "invalid_metadata",
            RejectReason::NoSamples => "no_samples",
            RejectReason::MalformedLine => "malformed_line",
            RejectReason::InvalidPoint => "invalid_point",
            RejectReason::UnsupportedTemporality => "unsupported_temporality",
        }
    }
}

/// Why an exemplar was refused. The text is the label of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ExemplarRejectReason {
    /// Its labels are malformed, not UTF-8, repeated or unnamed.
    InvalidLabels,
    /// Its labels have more characters than an exemplar's may have.
    LabelLimit,
    /// The store has no series with these labels.
    UnknownSeries,
    /// Older than the newest exemplar of its series by more than the window.
    OutOfOrder,
    /// Too far in the future of the server's clock.
    TooFarInFuture,
    /// The store keeps no exemplars.
    Disabled,
    /// A reference to a symbol that the request does not have, or a label's name without a value.
    InvalidReference,
    /// Its series was refused before it came to the store.
    RefusedSeries,
    /// It has no value.
    NoValue,
}

impl ExemplarRejectReason {
    /// Every reason, for the counters.
    pub const ALL: [ExemplarRejectReason; 9] = [
        ExemplarRejectReason::InvalidLabels,
        ExemplarRejectReason::LabelLimit,
        ExemplarRejectReason::UnknownSeries,
        ExemplarRejectReason::OutOfOrder,
        ExemplarRejectReason::TooFarInFuture,
        ExemplarRejectReason::Disabled,
        ExemplarRejectReason::InvalidReference,
        ExemplarRejectReason::RefusedSeries,
        ExemplarRejectReason::NoValue,
    ];

    /// The reason as a metric label and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ExemplarRejectReason::InvalidLabels => "invalid_labels",
            ExemplarRejectReason::LabelLimit => "label_limit",
            ExemplarRejectReason::UnknownSeries => "unknown_series",
            ExemplarRejectReason::OutOfOrder => "out_of_order",
            ExemplarRejectReason::TooFarInFuture => "too_far_in_future",
            ExemplarRejectReason::Disabled => "disabled",
            ExemplarRejectReason::InvalidReference => "invalid_reference",
            ExemplarRejectReason::RefusedSeries => "refused_series",
            ExemplarRejectReason::NoValue => "no_value",
        }
    }
}

/// One refusal of an exemplar, for the answer to the sender.
#[derive(Debug, Clone)]
pub struct ExemplarReject {
    /// Why.
    pub reason: ExemplarRejectReason,
    /// Index of the series in [`WriteBatch::series`], or [`BatchOutcome::NO_ENTRY`].
    pub series_index: usize,
    /// What a person needs to find the cause.
    pub detail: String,
}

/// One refusal, for the answer to the sender.
#[derive(Debug, Clone)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Index of the series in [`WriteBatch::series`], or [`BatchOutcome::NO_ENTRY`].
    pub series_index: usize,
    /// How many samples it cost; 0 where it is something else that was refused.
    pub samples: u64,
    /// What a person needs to find the cause: the labels and the time, or the fault of the labels.
    pub detail: String,
    /// The sample, where it is one and not a whole series.
    pub sample: Option<RejectedSample>,
}

/// When a refused sample was measured, and what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RejectedSample {
    /// Its time.
    pub timestamp_ms: TimestampMs,
    /// Its value; `None` for a native histogram.
    pub value: Option<f64>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default)]
pub struct BatchOutcome {
    /// Samples that were added.
    pub added: u64,
    /// Samples that were there already, with the same value: accepted, and nothing was added.
    pub duplicates: u64,
    /// How many of these two were sent as native histograms.
    pub histograms: u64,
    /// How many of those that were added are zeros that nobody sent ([`StartSample`]).
    pub starts: u64,
    /// Exemplars that are stored, those that were there already among them.
    pub exemplars: u64,
    /// Series that were created.
    pub series_created: u64,
    /// Sum of the digests of the added samples.
    pub digest: Digest,
    /// Samples refused, by [`RejectReason`] in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// The first few refusals, in words.
    pub rejects: Vec<Reject>,
    /// The entries of [`WriteBatch::series`] of which a sample was refused, each once or more.
    pub entries_refused: Vec<u32>,
    /// Exemplars refused, by [`ExemplarRejectReason`] in the order of [`ExemplarRejectReason::ALL`].
    pub exemplars_rejected: [u64; ExemplarRejectReason::ALL.len()],
    /// The first few refusals of exemplars, in words.
    pub exemplar_rejects: Vec<ExemplarReject>,
}

impl BatchOutcome {
    /// How many refusals are kept in words. Of each reason the first is kept whatever came before it.
    pub const REJECTS_KEPT: usize = 16;
    /// The series index of what was refused before it came into a batch.
    pub const NO_ENTRY: usize = usize::MAX;

    /// Adds what became of another part of the same request.
    pub fn add(&mut self, other: BatchOutcome) {
        self.added += other.added;
        self.duplicates += other.duplicates;
        self.histograms += other.histograms;
        self.starts += other.starts;
        self.exemplars += other.exemplars;
        self.series_created += other.series_created;
        self.digest += other.digest;
        self.add_refused(other);
    }

    /// Adds what was refused elsewhere.
    pub fn add_refused(&mut self, other: BatchOutcome) {
        for reject in other.rejects {
            let is_known = self.rejects.iter().any(|kept| kept.reason == reject.reason);
            if !is_known || self.rejects.len() < Self::REJECTS_KEPT {
                self.rejects.push(reject);
            }
        }
        self.rejected.iter_mut().zip(other.rejected).for_each(|(sum, more)| *sum += more);
        let exemplars = self.exemplars_rejected.iter_mut().zip(other.exemplars_rejected);
        exemplars.for_each(|(sum, more)| *sum += more);
        let room = Self::REJECTS_KEPT.saturating_sub(self.exemplar_rejects.len());
        self.exemplar_rejects.extend(other.exemplar_rejects.into_iter().take(room));
    }

    /// Counts a refusal, and keeps it in words if there is room. `detail` runs only then.
    pub fn reject(&mut self, reason: RejectReason, series_index: usize, samples: u64, detail: impl FnOnce() -> String) {
        self.keep(reason, series_index, samples, || (detail(), None));
    }

    /// Counts the refusal of one sample, as [`BatchOutcome::reject`] does.
    pub fn reject_sample(
        &mut self,
        reason: RejectReason,
        series_index: usize,
        sample: RejectedSample,
        detail: impl FnOnce() -> String,
    ) {
        self.keep(reason, series_index, 1, || (detail(), Some(sample)));
    }

    fn keep(
        &mut self,
        reason: RejectReason,
        series_index: usize,
        samples: u64,
        words: impl FnOnce() -> (String, Option<RejectedSample>),
    ) {
        self.rejected[reason as usize] += samples;
        if let Ok(entry) = u32::try_from(series_index)
            && self.entries_refused.last() != Some(&entry)
        {
            self.entries_refused.push(entry);
        }
        // Not by the count of samples: what cost none leaves it at 0, however often that is refused.
        let is_known = || self.rejects.iter().any(|kept| kept.reason == reason);
        if self.rejects.len() < Self::REJECTS_KEPT || !is_known() {
            let (detail, sample) = words();
            self.rejects.push(Reject { reason, series_index, samples, detail, sample });
        }
    }

    /// Samples of the request that are stored, whether they were added now or before.
    pub fn stored_total(&self) -> u64 {
        self.added + self.duplicates - self.starts
    }

    /// Counts the refusal of an exemplar, and keeps it in words if there is room. `detail` runs only then.
    pub fn reject_exemplar(
        &mut self,
        reason: ExemplarRejectReason,
        series_index: usize,
        detail: impl FnOnce() -> String,
    ) {
        self.reject_exemplars(reason, series_index, 1, detail);
    }

    /// The same for all exemplars of a series at once.
    pub fn reject_exemplars(
        &mut self,
        reason: ExemplarRejectReason,
        series_index: usize,
        exemplars: u64,
        detail: impl FnOnce() -> String,
    ) {
        self.exemplars_rejected[reason as usize] += exemplars;
        if self.exemplar_rejects.len() < Self::REJECTS_KEPT {
            self.exemplar_rejects.push(ExemplarReject { reason, series_index, detail: detail() });
        }
    }

    /// Exemplars refused for any reason.
    pub fn exemplars_rejected_total(&self) -> u64 {
        self.exemplars_rejected.iter().sum()
    }

    /// Samples refused for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_refusal_for_each_reason_is_kept_in_words_whatever_came_before() {
        let refused = |reason, count| {
            let mut outcome = BatchOutcome::default();
            (0..count).for_each(|index| outcome.reject(reason, index, 1, String::new));
            outcome
        };
        let mut outcome = refused(RejectReason::OutOfOrder, 100);
        outcome.reject(RejectReason::TooOld, 100, 2, String::new);
        outcome.reject(RejectReason::TooOld, 101, 2, String::new);
        outcome.add_refused(refused(RejectReason::LabelLimit, 3));
        let kept = |reason| outcome.rejects.iter().filter(|reject| reject.reason == reason).count();
        assert_eq!(kept(RejectReason::OutOfOrder), BatchOutcome::REJECTS_KEPT);
        assert_eq!((kept(RejectReason::TooOld), kept(RejectReason::LabelLimit)), (1, 1));
        assert_eq!(outcome.rejected_total(), 107);
    }

    #[test]
    fn refusals_that_cost_no_sample_are_kept_in_words_no_more_often_than_others() {
        let mut outcome = BatchOutcome::default();
        let mut worded = 0;
        for reason in [RejectReason::NoSamples, RejectReason::InvalidReference] {
            (0..100).for_each(|_| {
                outcome.reject(reason, BatchOutcome::NO_ENTRY, 0, || {
                    worded += 1;
                    String::new()
                });
            });
        }
        let kept = |reason| outcome.rejects.iter().filter(|reject| reject.reason == reason).count();
        assert_eq!(kept(RejectReason::NoSamples), BatchOutcome::REJECTS_KEPT);
        assert_eq!((kept(RejectReason::InvalidReference), outcome.rejected_total()), (1, 0));
        assert_eq!(worded, BatchOutcome::REJECTS_KEPT + 1);
    }
}
