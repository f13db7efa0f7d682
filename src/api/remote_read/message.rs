//! The answers: `prometheus.ReadResponse` and frames of `prometheus.ChunkedReadResponse`.
//!
//! Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`; `storage/remote/chunked.go` for the frames,
//! `storage/remote/codec.go` for what is in one.

use std::io::{self, Write};

use crate::encoding::protobuf::{
    put_bytes, put_double, put_message, put_packed_doubles, put_packed_sints, put_present_double, put_present_uint,
    put_sint, put_uint,
};
use crate::encoding::{crc32c, put};
use crate::model::histogram::BucketSpan;
use crate::model::raw_labels::encode_canonical;
use crate::model::{CounterResetHint, LabelSet, SampleValue, TimestampMs};
use crate::storage::Chunk;

/// Bytes of a frame, unless one chunk and the labels of its series take more (Prometheus'
/// `storage.remote.read-max-bytes-in-frame`).
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// One series of a result, as `prometheus.TimeSeries`.
#[derive(Debug, Default)]
pub(super) struct SeriesMessage {
    bytes: Vec<u8>,
    field: Vec<u8>,
}

impl SeriesMessage {
    /// Begins another series.
    pub(super) fn begin(&mut self, labels: &LabelSet) {
        self.bytes.clear();
        encode_canonical(labels.iter(), &mut self.bytes);
    }

    /// Appends a sample.
    pub(super) fn push(&mut self, timestamp_ms: TimestampMs, value: &SampleValue) {
        self.field.clear();
        match value {
            SampleValue::Float(value) => {
                put_double(&mut self.field, 1, *value);
                put_uint(&mut self.field, 2, timestamp_ms as u64);
                put_message(&mut self.bytes, 2, &self.field);
            }
            value => {
                put_histogram(&mut self.field, timestamp_ms, value);
                put_message(&mut self.bytes, 4, &self.field);
            }
        }
    }

    /// The message.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends the fields of `prometheus.Histogram`.
fn put_histogram(out: &mut Vec<u8>, timestamp_ms: TimestampMs, value: &SampleValue) {
    let (hint, custom_values) = match value {
        SampleValue::Float(_) => return,
        SampleValue::Histogram(histogram) => {
            put_present_uint(out, 1, histogram.count);
            put_double(out, 3, histogram.sum);
            put_sint(out, 4, histogram.schema.into());
            put_double(out, 5, histogram.zero_threshold);
            put_present_uint(out, 6, histogram.zero_count);
            put_spans(out, 8, &histogram.negative_spans);
            put_packed_sints(out, 9, &histogram.negative_deltas);
            put_spans(out, 11, &histogram.positive_spans);
            put_packed_sints(out, 12, &histogram.positive_deltas);
            (histogram.counter_reset_hint, &histogram.custom_values)
        }
        SampleValue::FloatHistogram(histogram) => {
            put_present_double(out, 2, histogram.count);
            put_double(out, 3, histogram.sum);
            put_sint(out, 4, histogram.schema.into());
            put_double(out, 5, histogram.zero_threshold);
            put_present_double(out, 7, histogram.zero_count);
            put_spans(out, 8, &histogram.negative_spans);
            put_packed_doubles(out, 10, &histogram.negative_buckets);
            put_spans(out, 11, &histogram.positive_spans);
            put_packed_doubles(out, 13, &histogram.positive_buckets);
            (histogram.counter_reset_hint, &histogram.custom_values)
        }
    };
    let hint = match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    put_uint(out, 14, hint);
    put_uint(out, 15, timestamp_ms as u64);
    put_packed_doubles(out, 16, custom_values);
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[BucketSpan]) {
    for span in spans {
        let mut message = Vec::new();
        put_sint(&mut message, 1, span.offset.into());
        put_uint(&mut message, 2, span.length.into());
        put_message(out, field, &message);
    }
}

/// Writes the chunks of a series as frames: each with the labels of the series, as many chunks as fit, and the number of
/// the query.
pub(super) fn write_frames(sink: &mut dyn Write, query: usize, labels: &LabelSet, chunks: &[Chunk]) -> io::Result<()> {
    let mut label_fields = Vec::new();
    encode_canonical(labels.iter(), &mut label_fields);
    let mut series = label_fields.clone();
    let mut chunk_message = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        chunk_message.clear();
        put_uint(&mut chunk_message, 1, chunk.range.start_ms as u64);
        put_uint(&mut chunk_message, 2, chunk.range.end_ms as u64);
        put_uint(&mut chunk_message, 3, chunk.encoding as u64);
        put_bytes(&mut chunk_message, 4, &chunk.bytes);
        put_message(&mut series, 2, &chunk_message);
        if series.len() >= FRAME_BYTES || number + 1 == chunks.len() {
            write_frame(sink, query, &series)?;
            series.truncate(label_fields.len());
        }
    }
    Ok(())
}

/// Writes a message behind its length and its checksum.
fn write_frame(sink: &mut dyn Write, query: usize, series: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(series.len() + 16);
    put_message(&mut message, 1, series);
    put_uint(&mut message, 2, query as u64);
    let mut head = Vec::with_capacity(16);
    put::uvarint(&mut head, message.len() as u64);
    put::u32_be(&mut head, crc32c(&message));
    sink.write_all(&head)?;
    sink.write_all(&message)
}
