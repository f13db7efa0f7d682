//! Remote write 1.0: one pass over a `WriteRequest` that copies nothing.
//!
//! A series' labels stay the bytes that they are in the message ([`RawLabels`]), because the head looks a series up by
//! exactly these bytes. Senders put a series' label fields one after the other; a message that scatters them among
//! other fields is legal protobuf, so its labels are gathered into a buffer of their own.
//!
//! Native histograms are no such frequent thing, and are decoded into values of their own (`histogram.rs`).
//!
//! Invariants: every length is checked against what is left; the number of series and samples is bounded, since two
//! bytes of message can become twenty-four bytes of batch; unknown fields are skipped, as protobuf demands; a known
//! field of another wire type is an error, as it is in the decoders that Prometheus uses.
//!
//! Source: `prometheus/prompb/remote.proto` (`WriteRequest`), `prometheus/prompb/types.proto` (`TimeSeries`, `Label`,
//! `Sample`, `MetricMetadata`); protobuf encoding rules.

use std::ops::Range;

use super::histogram;
use super::message::{DecodeError, DecodeLimits, HistogramBudget, RefusedHistogram, refuse_histograms};
use super::sample::decode_sample;
use crate::encoding::protobuf::{WIRE_64_BIT, WIRE_LENGTH, WIRE_VARINT, skip_field, wrong_wire_type};
use crate::encoding::{Corruption, Cursor, put};
use crate::ingest::accept::{Decoded, Metadata};
use crate::model::{MetricType, RawLabels};
use crate::storage::{ExemplarSample, HistogramSample, SeriesEntry, WriteBatch};

/// `WriteRequest.timeseries`.
const REQUEST_TIMESERIES: u64 = 1;
/// `WriteRequest.metadata`.
const REQUEST_METADATA: u64 = 3;
/// `symbols` of remote write 2.0, which no sender of 1.0 has.
const V2_SYMBOLS: u64 = 4;
/// `timeseries` of remote write 2.0.
const V2_TIMESERIES: u64 = 5;
/// `TimeSeries.labels`, as the tag byte that senders write.
const TAG_LABELS: u8 = 0x0a;
/// `TimeSeries.samples`, as the tag byte that senders write.
const TAG_SAMPLES: u8 = 0x12;
/// `TimeSeries.exemplars`.
const SERIES_EXEMPLARS: u64 = 3;
/// `TimeSeries.histograms`.
const SERIES_HISTOGRAMS: u64 = 4;

/// Scans the decompressed message `body` into `batch`, whose vectors are cleared first. Labels that the message
/// scatters are put together in `gathered`. Series of which nothing can be stored are not in the batch.
///
/// After an error the batch holds a part of the message and must not be used.
pub fn decode<'a>(
    body: &'a [u8],
    limits: DecodeLimits,
    gathered: &'a mut Vec<u8>,
    batch: &mut WriteBatch<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    batch.clear();
    gathered.clear();
    let histograms = HistogramBudget::new(limits);
    let mut scan = Scan { limits, decoded: Decoded::default(), gathered, scattered: Vec::new(), histograms };
    let mut cursor = Cursor::new(body);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (REQUEST_TIMESERIES, WIRE_LENGTH) => {
                let series = cursor.uvarint_slice()?;
                let base = cursor.position() - series.len();
                scan.series(series, batch).map_err(|error| error.moved_by(base))?;
            }
            (REQUEST_METADATA, WIRE_LENGTH) => {
                let bytes = cursor.uvarint_slice()?;
                let base = cursor.position() - bytes.len();
                let metadata = decode_metadata(bytes).map_err(|error| DecodeError::from(error).moved_by(base))?;
                if scan.decoded.metadata.len() >= limits.series {
                    return Err(DecodeError::TooMany { what: "metadata entries", limit: limits.series });
                }
                scan.decoded.metadata.push(metadata);
            }
            (REQUEST_TIMESERIES | REQUEST_METADATA, _) => return Err(wrong_wire_type(start).into()),
            // Passed over, a whole request would be acknowledged and lost.
            (V2_SYMBOLS | V2_TIMESERIES, WIRE_LENGTH) => return Err(not_this_version(start).into()),
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    let Scan { decoded, gathered, scattered, .. } = scan;
    // Only now that nothing is added to it any more can the batch borrow from the buffer.
    let gathered: &'a [u8] = gathered;
    for (holder, range) in scattered {
        let labels = RawLabels(gathered.get(range).unwrap_or_default());
        let place = match holder {
            Holder::Entry(index) => batch.series.get_mut(index).map(|entry| &mut entry.labels),
            Holder::Exemplar(index) => batch.exemplars.get_mut(index).map(|exemplar| &mut exemplar.labels),
        };
        if let Some(place) = place {
            *place = labels;
        }
    }
    Ok(decoded)
}

/// Who gets labels that had to be gathered.
enum Holder {
    Entry(usize),
    Exemplar(usize),
}

/// The state of one pass.
struct Scan<'a, 'g> {
    limits: DecodeLimits,
    decoded: Decoded<'a>,
    gathered: &'g mut Vec<u8>,
    scattered: Vec<(Holder, Range<usize>)>,
    histograms: HistogramBudget,
}

impl<'a> Scan<'a, '_> {
    /// Scans one `TimeSeries` message.
    #[inline]
    fn series(&mut self, bytes: &'a [u8], batch: &mut WriteBatch<'a>) -> Result<(), DecodeError> {
        let first_sample = batch.samples.len();
        let mut cursor = Cursor::new(bytes);
        // Most often the labels come first and this is all of them.
        let mut labels = 0..short_labels_end(bytes, 0);
        cursor.take(labels.end)?;
        let mut gathered: Option<Range<usize>> = None;
        let (first_histogram, first_exemplar) = (batch.histograms.len(), batch.exemplars.len());
        let mut refused = Vec::new();
        while !cursor.is_empty() {
            let start = cursor.position();
            // The two fields that nearly every byte of every message belongs to; both have tags of one byte.
            match bytes.get(start) {
                Some(&TAG_LABELS) => {
                    cursor.u8()?;
                    let label = cursor.uvarint_slice()?;
                    if gathered.is_none() && (labels.is_empty() || labels.end == start) {
                        let first = if labels.is_empty() { start } else { labels.start };
                        labels = first..short_labels_end(bytes, cursor.position());
                        cursor.take(labels.end - cursor.position())?;
                    } else {
                        self.gather(bytes, &labels, &mut gathered, label);
                    }
                    continue;
                }
                Some(&TAG_SAMPLES) => {
                    cursor.u8()?;
                    let sample = cursor.uvarint_slice()?;
                    let base = cursor.position() - sample.len();
                    if batch.samples.len() >= self.limits.samples {
                        return Err(DecodeError::TooMany { what: "samples", limit: self.limits.samples });
                    }
                    let sample = decode_sample(sample).map_err(|error| DecodeError::from(error).moved_by(base))?;
                    batch.samples.push(sample.sample);
                    continue;
                }
                _ => {}
            }
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (SERIES_EXEMPLARS, WIRE_LENGTH) => {
                    let bytes = cursor.uvarint_slice()?;
                    let base = cursor.position() - bytes.len();
                    self.exemplar(bytes, batch).map_err(|error| error.moved_by(base))?;
                }
                (SERIES_HISTOGRAMS, WIRE_LENGTH) => {
                    let bytes = cursor.uvarint_slice()?;
                    let base = cursor.position() - bytes.len();
                    refused.extend(self.histogram(bytes, batch).map_err(|error| error.moved_by(base))?);
                }
                // Labels and samples get here by a wrong wire type or by a tag in more bytes than it needs.
                (1..=SERIES_HISTOGRAMS, _) => return Err(wrong_wire_type(start).into()),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        let raw = RawLabels(bytes.get(labels).unwrap_or_default());
        if !refused.is_empty() {
            let gathered = gathered.clone().and_then(|range| self.gathered.get(range));
            refuse_histograms(gathered.map_or(raw, RawLabels), &refused, &mut self.decoded.refused);
        }
        if batch.samples.len() > first_sample
            || batch.histograms.len() > first_histogram
            || batch.exemplars.len() > first_exemplar
        {
            if batch.series.len() >= self.limits.series {
                return Err(DecodeError::TooMany { what: "series", limit: self.limits.series });
            }
            if let Some(range) = gathered {
                self.scattered.push((Holder::Entry(batch.series.len()), range));
            }
            let samples = first_sample as u32..batch.samples.len() as u32;
            batch.series.push(SeriesEntry { labels: raw, samples });
        }
        Ok(())
    }

    /// Adds a label that does not follow the others to the gathered copy of them.
    #[cold]
    fn gather(&mut self, bytes: &[u8], labels: &Range<usize>, gathered: &mut Option<Range<usize>>, label: &[u8]) {
        let range = gathered.get_or_insert_with(|| {
            let start = self.gathered.len();
            self.gathered.extend_from_slice(bytes.get(labels.clone()).unwrap_or_default());
            start..start
        });
        self.gathered.push(TAG_LABELS);
        put::uvarint_slice(self.gathered, label);
        range.end = self.gathered.len();
    }

    /// Scans one `Histogram` of the series that is being scanned. Gives why it is refused, if it is.
    fn histogram(&mut self, bytes: &[u8], batch: &mut WriteBatch<'a>) -> Result<Option<RefusedHistogram>, DecodeError> {
        let histogram = histogram::decode(bytes)?;
        self.histograms.spend(histogram.parts)?;
        let timestamp_ms = histogram.timestamp_ms;
        match histogram.value {
            // The series is going to be the next entry.
            Ok(value) => {
                batch.histograms.push(HistogramSample { entry: batch.series.len() as u32, timestamp_ms, value });
                Ok(None)
            }
            Err(reason) => Ok(Some(RefusedHistogram { timestamp_ms, reason })),
        }
    }

    /// Scans one `Exemplar` of the series that is being scanned.
    fn exemplar(&mut self, bytes: &'a [u8], batch: &mut WriteBatch<'a>) -> Result<(), DecodeError> {
        if batch.exemplars.len() >= self.limits.samples {
            return Err(DecodeError::TooMany { what: "exemplars", limit: self.limits.samples });
        }
        let mut labels = 0..short_labels_end(bytes, 0);
        let mut gathered = None;
        let (mut timestamp_ms, mut value) = (0, 0.0);
        let mut cursor = Cursor::new(bytes);
        cursor.take(labels.end)?;
        while !cursor.is_empty() {
            let start = cursor.position();
            let tag = cursor.uvarint()?;
            match (tag >> 3, tag & 7) {
                (1, WIRE_LENGTH) => {
                    let label = cursor.uvarint_slice()?;
                    if gathered.is_none() && labels.end == start && bytes.get(start) == Some(&TAG_LABELS) {
                        labels.end = cursor.position();
                    } else {
                        self.gather(bytes, &labels, &mut gathered, label);
                    }
                }
                (2, WIRE_64_BIT) => value = f64::from_le_bytes(cursor.array()?),
                (3, WIRE_VARINT) => timestamp_ms = cursor.uvarint()? as i64,
                (1..=3, _) => return Err(wrong_wire_type(start).into()),
                _ => skip_field(&mut cursor, tag)?,
            }
        }
        self.scattered.extend(gathered.map(|range| (Holder::Exemplar(batch.exemplars.len()), range)));
        let labels = RawLabels(bytes.get(labels).unwrap_or_default());
        batch.exemplars.push(ExemplarSample { entry: batch.series.len() as u32, labels, timestamp_ms, value });
        Ok(())
    }
}

/// Where the label fields end that begin at `start` and are shorter than 128 bytes: their lengths take one byte.
#[inline]
fn short_labels_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while let Some(&[TAG_LABELS, length]) = bytes.get(end..).and_then(|rest| rest.first_chunk()) {
        let next = end + 2 + usize::from(length);
        if length >= 0x80 || next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

#[cold]
fn not_this_version(offset: usize) -> Corruption {
    Corruption { what: "field is one of io.prometheus.write.v2.Request, which the content type does not name", offset }
}

/// Reads one `MetricMetadata`.
fn decode_metadata(bytes: &[u8]) -> Result<Metadata<'_>, Corruption> {
    let mut metadata = Metadata::default();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let start = cursor.position();
        let tag = cursor.uvarint()?;
        match (tag >> 3, tag & 7) {
            (1, WIRE_VARINT) => metadata.metric_type = MetricType::from_number(cursor.uvarint()?),
            (2, WIRE_LENGTH) => metadata.family = cursor.uvarint_str()?,
            (4, WIRE_LENGTH) => metadata.help = cursor.uvarint_str()?,
            (5, WIRE_LENGTH) => metadata.unit = cursor.uvarint_str()?,
            (1 | 2 | 4 | 5, _) => return Err(wrong_wire_type(start)),
            _ => skip_field(&mut cursor, tag)?,
        }
    }
    Ok(metadata)
}

#[cfg(test)]
#[path = "v1_tests.rs"]
mod tests;
