//! Remote write 2.0: a pass over a `Request` for its symbols, and one over its series.
//!
//! The texts of a message stand in one table, and all else refers to them by number. The table may stand behind the
//! series, so it is looked for first. A series' labels are then written out as the bytes of version 1, because the head
//! looks a series up by exactly these bytes ([`RawLabels`]).
//!
//! A reference that leads nowhere costs its series, or its exemplar, and no other: they are refused by name. A message
//! that is none is refused as a whole.
//!
//! Invariants: every length is checked against what is left; the number of series, samples and symbols is bounded, and so
//! are the bytes of all labels, since two bytes of message can refer to a symbol of any length. Unknown fields are
//! skipped. The fields of a message of version 1 are reserved, so one that came by mistake is an error.
//!
//! A series of exemplars alone is taken, although the specification wants a sample in each: all versions of Prometheus
//! send exemplars like that.
//!
//! Source: `prometheus/prompb/io/prometheus/write/v2/types.proto`; remote write specification 2.0-rc.4, and 2.0-rc.3 for
//! `TimeSeries.created_timestamp`, which Prometheus had up to 3.7.

use std::collections::HashSet;
use std::ops::Range;

use super::histogram;
use super::message::{DecodeError, DecodeLimits, HistogramBudget, RefusedHistogram, refuse_histograms};
use super::sample::decode_sample;
use super::symbols::{Fault, MetadataRefs, Refs, Symbols};
use crate::encoding::protobuf::{WIRE_64_BIT, WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor};
use crate::ingest::accept::{Decoded, Metadata, WriteFeatures};
use crate::model::{RawLabels, SampleValue, TimestampMs};
use crate::storage::{
    BatchOutcome, ExemplarRejectReason, ExemplarSample, HistogramSample, RejectReason, SeriesEntry, StartSample,
    WriteBatch,
};

/// The last of the fields that are reserved because a message of version 1 has them.
const REQUEST_RESERVED_MAX: u64 = 3;
/// `Request.symbols`.
const REQUEST_SYMBOLS: u64 = 4;
/// `Request.timeseries`.
const REQUEST_TIMESERIES: u64 = 5;
/// `TimeSeries.labels_refs`.
const SERIES_LABELS: u64 = 1;
/// `TimeSeries.samples`.
const SERIES_SAMPLES: u64 = 2;
/// `TimeSeries.histograms`.
const SERIES_HISTOGRAMS: u64 = 3;
/// `TimeSeries.exemplars`.
const SERIES_EXEMPLARS: u64 = 4;
/// `TimeSeries.metadata`.
const SERIES_METADATA: u64 = 5;
/// `TimeSeries.created_timestamp` of 2.0-rc.3; later ones have a start in each sample.
const SERIES_CREATED: u64 = 6;

/// Scans the decompressed message `body` into `batch`, whose vectors are cleared first. The labels of its series and
/// exemplars are written out in `gathered`. Series of which nothing can be stored are not in the batch.
///
/// After an error the batch holds a part of the message and must not be used.
pub fn decode<'a>(
    body: &'a [u8],
    limits: DecodeLimits,
    features: WriteFeatures,
    gathered: &'a mut Vec<u8>,
    batch: &mut WriteBatch<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    batch.clear();
    gathered.clear();
    let (symbols, first_series) = find_symbols(body, limits.symbols)?;
    let mut scan = Scan {
        limits,
        features,
        symbols,
        decoded: Decoded::default(),
        gathered,
        series_labels: Vec::new(),
        exemplar_labels: Vec::new(),
        histograms: HistogramBudget::new(limits),
        refs: Refs::default(),
        families: HashSet::new(),
        series_seen: 0,
    };
    let mut cursor = Cursor::new(body);
    cursor.take(first_series)?;
    while !cursor.is_empty() {
        let tag = cursor.uvarint()?;
        if tag >> 3 == REQUEST_TIMESERIES {
            let series = cursor.uvarint_slice()?;
            let base = cursor.position() - series.len();
            scan.series(series, batch).map_err(|error| error.moved_by(base))?;
        } else {
            skip_field(&mut cursor, tag)?;
        }
    }
    let Scan { decoded, gathered, series_labels, exemplar_labels, .. } = scan;
    // Only now that nothing is added to it any more can the batch borrow from the buffer.
    let gathered: &'a [u8] = gathered;
    let labels = |range: Range<usize>| RawLabels(gathered.get(range).unwrap_or_default());
    batch.series.iter_mut().zip(series_labels).for_each(|(entry, range)| entry.labels = labels(range));
    batch.exemplars.iter_mut().zip(exemplar_labels).for_each(|(exemplar, range)| exemplar.labels = labels(range));
    Ok(decoded)
}

/// The symbols of a message, and where its first series stands, or its end.
fn find_symbols(body: &[u8], limit: usize) -> Result<(Symbols<'_>, usize), DecodeError> {
    let mut symbols = Vec::new();
    let mut first_series = None;
    let mut cursor = Cursor::new(body);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (REQUEST_SYMBOLS, WIRE_LENGTH) => {
                if symbols.len() >= limit {
                    return Err(DecodeError::TooMany { what: "symbols", limit });
                }
                symbols.push(cursor.uvarint_slice()?);
            }
            (REQUEST_TIMESERIES, WIRE_LENGTH) => {
                first_series.get_or_insert(start);
                cursor.uvarint_slice()?;
            }
            (REQUEST_SYMBOLS | REQUEST_TIMESERIES, _) => return Err(wrong_wire_type(start).into()),
            (1..=REQUEST_RESERVED_MAX, _) => {
                let what = "field is one of prometheus.WriteRequest, which the content type does not name";
                return Err(Corruption { what, offset: start }.into());
            }
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    Ok((Symbols(symbols), first_series.unwrap_or(body.len())))
}

/// The state of the pass over the series.
struct Scan<'a, 'g> {
    limits: DecodeLimits,
    features: WriteFeatures,
    symbols: Symbols<'a>,
    decoded: Decoded<'a>,
    gathered: &'g mut Vec<u8>,
    /// Where the labels of the batch's series stand in `gathered`.
    series_labels: Vec<Range<usize>>,
    /// The same for its exemplars.
    exemplar_labels: Vec<Range<usize>>,
    histograms: HistogramBudget,
    /// The labels of the series that is being scanned, or of its exemplar.
    refs: Refs,
    /// What was said of metric families so far: all series of a family say the same.
    families: HashSet<(u32, MetadataRefs)>,
    /// Series of the message so far, those that are not in the batch among them: two bytes can be one.
    series_seen: usize,
}

/// What a series has beside its labels.
#[derive(Default)]
struct Parts {
    metadata: MetadataRefs,
    exemplars: usize,
    refused: Vec<RefusedHistogram>,
    created_ms: TimestampMs,
}

impl<'a> Scan<'a, '_> {
    /// Scans one `TimeSeries` message.
    fn series(&mut self, bytes: &'a [u8], batch: &mut WriteBatch<'a>) -> Result<(), DecodeError> {
        if self.series_seen >= self.limits.series {
            return Err(DecodeError::TooMany { what: "series", limit: self.limits.series });
        }
        self.series_seen += 1;
        let (first_sample, first_histogram) = (batch.samples.len(), batch.histograms.len());
        let first_start = batch.starts.len();
        let Parts { metadata, exemplars, refused, created_ms } = self.parts(bytes, batch)?;
        if created_ms != 0 && batch.starts.len() == first_start {
            self.keep_created(batch, created_ms, (first_sample, first_histogram));
        }
        let samples = (batch.samples.len() - first_sample, batch.histograms.len() - first_histogram);
        let checked = self.refs.check(&self.symbols).map_err(|fault| (RejectReason::InvalidReference, fault));
        let checked = checked.and_then(|()| match self.symbols.metadata(metadata) {
            Ok(texts) => Ok(texts),
            Err(fault) => Err((RejectReason::InvalidMetadata, fault)),
        });
        let is_empty = samples == (0, 0) && exemplars == 0 && refused.is_empty();
        let checked = if is_empty { checked.and(Err((RejectReason::NoSamples, Fault::NoSamples))) } else { checked };
        let texts = match checked {
            Ok(texts) => texts,
            Err((reason, fault)) => {
                batch.samples.truncate(first_sample);
                batch.histograms.truncate(first_histogram);
                batch.starts.truncate(first_start);
                self.refuse(reason, &fault, samples.0 + samples.1 + refused.len(), exemplars);
                return Ok(());
            }
        };
        let labels = match self.features.type_and_unit_labels {
            true => self.write_labels(&metadata.labels(texts.1))?,
            false => self.write_labels(&[])?,
        };
        let raw = RawLabels(self.gathered.get(labels.clone()).unwrap_or_default());
        refuse_histograms(raw, &refused, &mut self.decoded.refused);
        self.keep_metadata(metadata, texts);
        let exemplars_kept = if exemplars > 0 { self.exemplars(bytes, &labels, batch)? } else { 0 };
        if samples == (0, 0) && exemplars_kept == 0 {
            return Ok(());
        }
        self.series_labels.push(labels);
        let samples = first_sample as u32..batch.samples.len() as u32;
        batch.series.push(SeriesEntry { labels: RawLabels(&[]), samples });
        Ok(())
    }

    /// Reads all fields of a `TimeSeries` but its exemplars, which are counted: only with its labels can one be named.
    #[inline]
    fn parts(&mut self, bytes: &[u8], batch: &mut WriteBatch<'a>) -> Result<Parts, DecodeError> {
        self.refs.clear();
        let mut parts = Parts::default();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (SERIES_LABELS, wire) => self.refs.read(&mut cursor, wire)?,
                (SERIES_SAMPLES, WIRE_LENGTH) => {
                    let (sample, base) = slice(&mut cursor)?;
                    if batch.samples.len() >= self.limits.samples {
                        return Err(DecodeError::TooMany { what: "samples", limit: self.limits.samples });
                    }
                    let sample = decode_sample(sample).map_err(|error| DecodeError::from(error).moved_by(base))?;
                    self.keep_start(batch, sample.start_ms, sample.sample.timestamp_ms, || SampleValue::Float(0.0));
                    batch.samples.push(sample.sample);
                }
                (SERIES_HISTOGRAMS, WIRE_LENGTH) => {
                    let (histogram, base) = slice(&mut cursor)?;
                    let decoded = histogram::decode(histogram).map_err(|e| DecodeError::from(e).moved_by(base))?;
                    self.histograms.spend(decoded.parts)?;
                    let histogram::Decoded { timestamp_ms, start_ms, value, .. } = decoded;
                    match value {
                        Ok(value) => {
                            self.keep_start(batch, start_ms, timestamp_ms, || value.zero());
                            // The series is going to be the next entry.
                            let entry = batch.series.len() as u32;
                            batch.histograms.push(HistogramSample { entry, timestamp_ms, value });
                        }
                        Err(reason) => parts.refused.push(RefusedHistogram { timestamp_ms, reason }),
                    }
                }
                (SERIES_EXEMPLARS, WIRE_LENGTH) => {
                    cursor.uvarint_slice()?;
                    parts.exemplars += 1;
                }
                (SERIES_METADATA, WIRE_LENGTH) => {
                    let (metadata, base) = slice(&mut cursor)?;
                    parts.metadata.read(metadata).map_err(|error| DecodeError::from(error).moved_by(base))?;
                }
                (SERIES_CREATED, WIRE_VARINT) => parts.created_ms = cursor.uvarint()? as i64,
                (1..=SERIES_METADATA, _) => return Err(wrong_wire_type(start).into()),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        Ok(parts)
    }

    /// Keeps the zero where a sample's counter began. A start of 0 is none.
    #[inline]
    fn keep_start(
        &self,
        batch: &mut WriteBatch<'a>,
        timestamp_ms: TimestampMs,
        before_ms: TimestampMs,
        zero: impl FnOnce() -> SampleValue,
    ) {
        if timestamp_ms != 0 && timestamp_ms < before_ms && self.features.start_zeros {
            let entry = batch.series.len() as u32;
            batch.starts.push(StartSample { entry, before_ms, timestamp_ms, value: zero() });
        }
    }

    /// The same for the samples of a series that has one start for all of them.
    #[cold]
    fn keep_created(&self, batch: &mut WriteBatch<'a>, created_ms: TimestampMs, samples: (usize, usize)) {
        let (first_sample, first_histogram) = samples;
        if let Some(first) = batch.samples.get(first_sample).copied() {
            self.keep_start(batch, created_ms, first.timestamp_ms, || SampleValue::Float(0.0));
        }
        if let Some((before_ms, zero)) =
            batch.histograms.get(first_histogram).map(|first| (first.timestamp_ms, first.value.zero()))
        {
            self.keep_start(batch, created_ms, before_ms, || zero);
        }
    }

    /// Writes the labels out that `refs` refers to, which were checked, and some more. Gives where they stand.
    #[inline]
    fn write_labels(&mut self, more: &[(&str, &str)]) -> Result<Range<usize>, DecodeError> {
        let start = self.gathered.len();
        if !self.symbols.write_labels(&self.refs, more, self.limits.label_bytes, self.gathered) {
            let what = "bytes of labels, with each reference written out";
            return Err(DecodeError::TooMany { what, limit: self.limits.label_bytes });
        }
        Ok(start..self.gathered.len())
    }

    /// Refuses a series by name.
    #[cold]
    fn refuse(&mut self, reason: RejectReason, fault: &Fault, samples: usize, exemplars: usize) {
        let Scan { decoded, symbols, refs, .. } = self;
        let (refused, detail) = (&mut decoded.refused, || format!("{fault}: {}", symbols.show(refs)));
        refused.reject(reason, BatchOutcome::NO_ENTRY, samples as u64, detail);
        if exemplars > 0 {
            let reason = ExemplarRejectReason::RefusedSeries;
            refused.reject_exemplars(reason, BatchOutcome::NO_ENTRY, exemplars as u64, detail);
        }
    }

    /// Keeps what a series says of its metric family, once for all that say the same.
    fn keep_metadata(&mut self, refs: MetadataRefs, texts: (&'a str, &'a str)) {
        if refs == MetadataRefs::default() {
            return;
        }
        let Some((number, name)) = self.symbols.metric_name(&self.refs) else { return };
        if self.families.insert((number, refs)) {
            let metric_type = refs.metric_type();
            let (help, unit) = texts;
            self.decoded.metadata.push(Metadata { metric_type, family: metric_type.family_of(name), help, unit });
        }
    }

    /// Scans the exemplars of a series whose labels stand in `gathered`. Gives how many are in the batch now.
    fn exemplars(
        &mut self,
        bytes: &[u8],
        series: &Range<usize>,
        batch: &mut WriteBatch<'a>,
    ) -> Result<usize, DecodeError> {
        let first = batch.exemplars.len();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let tag = cursor.uvarint()?;
            if tag >> 3 == SERIES_EXEMPLARS {
                let (exemplar, base) = slice(&mut cursor)?;
                self.exemplar(exemplar, series, batch).map_err(|error| error.moved_by(base))?;
            } else {
                skip_field(&mut cursor, tag)?;
            }
        }
        Ok(batch.exemplars.len() - first)
    }

    /// Scans one `Exemplar`, and refuses it by itself if its labels lead nowhere.
    fn exemplar(&mut self, bytes: &[u8], series: &Range<usize>, batch: &mut WriteBatch<'a>) -> Result<(), DecodeError> {
        if batch.exemplars.len() >= self.limits.samples {
            return Err(DecodeError::TooMany { what: "exemplars", limit: self.limits.samples });
        }
        let (mut timestamp_ms, mut value) = (0, 0.0);
        self.refs.clear();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (1, wire) => self.refs.read(&mut cursor, wire)?,
                (2, WIRE_64_BIT) => value = f64::from_le_bytes(cursor.array()?),
                (3, WIRE_VARINT) => timestamp_ms = cursor.uvarint()? as i64,
                (1..=3, _) => return Err(wrong_wire_type(start).into()),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        if let Err(fault) = self.refs.check(&self.symbols) {
            let labels = RawLabels(self.gathered.get(series.clone()).unwrap_or_default());
            let reason = ExemplarRejectReason::InvalidReference;
            self.decoded.refused.reject_exemplar(reason, BatchOutcome::NO_ENTRY, || {
                format!("exemplar at {timestamp_ms} ms: {fault}: {} of {labels}", self.symbols.show(&self.refs))
            });
            return Ok(());
        }
        let labels = self.write_labels(&[])?;
        self.exemplar_labels.push(labels);
        let entry = batch.series.len() as u32;
        batch.exemplars.push(ExemplarSample { entry, labels: RawLabels(&[]), timestamp_ms, value });
        Ok(())
    }
}

/// A length-delimited field's content, and where it begins.
#[inline]
fn slice<'b>(cursor: &mut Cursor<'b>) -> Result<(&'b [u8], usize), Corruption> {
    let bytes = cursor.uvarint_slice()?;
    Ok((bytes, cursor.position() - bytes.len()))
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
