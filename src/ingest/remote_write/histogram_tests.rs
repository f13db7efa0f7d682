//! Tests of native histograms in remote write messages.

use super::*;
use crate::encoding::put;
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;

/// Builds a message field by field.
#[derive(Default, Clone)]
pub(in crate::ingest) struct Fields(pub(in crate::ingest) Vec<u8>);

impl Fields {
    fn tag(mut self, number: u64, wire: u64) -> Self {
        put::uvarint(&mut self.0, number << 3 | wire);
        self
    }

    pub(in crate::ingest) fn number(self, number: u64, value: u64) -> Self {
        let mut fields = self.tag(number, WIRE_VARINT);
        put::uvarint(&mut fields.0, value);
        fields
    }

    pub(in crate::ingest) fn signed(self, number: u64, value: i64) -> Self {
        self.number(number, (value << 1 ^ value >> 63) as u64)
    }

    pub(in crate::ingest) fn double(self, number: u64, value: f64) -> Self {
        let mut fields = self.tag(number, WIRE_64_BIT);
        fields.0.extend(value.to_le_bytes());
        fields
    }

    pub(in crate::ingest) fn bytes(self, number: u64, bytes: &[u8]) -> Self {
        let mut fields = self.tag(number, WIRE_LENGTH);
        put::uvarint_slice(&mut fields.0, bytes);
        fields
    }

    fn spans(self, number: u64, spans: &[BucketSpan]) -> Self {
        spans.iter().fold(self, |fields, span| {
            let message = Fields::default().signed(1, i64::from(span.offset)).number(2, u64::from(span.length));
            fields.bytes(number, &message.0)
        })
    }

    fn deltas(self, number: u64, deltas: &[i64]) -> Self {
        let mut packed = Vec::new();
        deltas.iter().for_each(|delta| put::varint(&mut packed, *delta));
        self.bytes(number, &packed)
    }

    fn doubles(self, number: u64, values: &[f64]) -> Self {
        self.bytes(number, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }
}

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset, length }
}

fn histogram() -> Histogram {
    Histogram {
        schema: -2,
        counter_reset_hint: CounterResetHint::Gauge,
        zero_threshold: 0.001,
        zero_count: 300,
        count: 316,
        sum: -1.5,
        positive_spans: vec![span(-1, 1), span(2, 1)],
        positive_deltas: vec![5, -4],
        negative_spans: vec![span(7, 2)],
        negative_deltas: vec![4, 2],
        custom_values: Vec::new(),
    }
}

pub(in crate::ingest) fn message(histogram: &Histogram, timestamp_ms: i64) -> Fields {
    Fields::default()
        .number(1, histogram.count)
        .double(3, histogram.sum)
        .signed(4, i64::from(histogram.schema))
        .double(5, histogram.zero_threshold)
        .number(6, histogram.zero_count)
        .spans(8, &histogram.negative_spans)
        .deltas(9, &histogram.negative_deltas)
        .spans(11, &histogram.positive_spans)
        .deltas(12, &histogram.positive_deltas)
        .number(14, histogram.counter_reset_hint as u64)
        .number(15, timestamp_ms as u64)
        .doubles(16, &histogram.custom_values)
}

fn float_message(histogram: &FloatHistogram, timestamp_ms: i64) -> Fields {
    Fields::default()
        .double(2, histogram.count)
        .double(3, histogram.sum)
        .signed(4, i64::from(histogram.schema))
        .double(5, histogram.zero_threshold)
        .double(7, histogram.zero_count)
        .spans(8, &histogram.negative_spans)
        .doubles(10, &histogram.negative_buckets)
        .spans(11, &histogram.positive_spans)
        .doubles(13, &histogram.positive_buckets)
        .number(14, histogram.counter_reset_hint as u64)
        .number(15, timestamp_ms as u64)
        .doubles(16, &histogram.custom_values)
}

fn read(fields: &Fields) -> Result<SampleValue, InvalidHistogram> {
    decode(&fields.0).unwrap().value
}

#[test]
fn histograms_of_all_kinds_are_read_as_they_were_sent() {
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 3,
        positive_spans: vec![span(0, 2)],
        positive_deltas: vec![1, 1],
        custom_values: vec![0.5, 7.25],
        ..Histogram::default()
    };
    for histogram in [histogram(), custom, Histogram::default()] {
        let decoded = decode(&message(&histogram, -5).0).unwrap();
        assert_eq!(decoded.timestamp_ms, -5);
        assert_eq!(decoded.value, Ok(SampleValue::Histogram(Box::new(histogram.clone()))));
        let float = histogram.to_float();
        assert_eq!(read(&float_message(&float, 1)), Ok(SampleValue::FloatHistogram(Box::new(float))));
    }
    assert_eq!(decode(&message(&histogram(), 1).0).unwrap().parts, 3 + 4);
}

#[test]
fn elements_that_are_not_packed_and_unknown_fields_are_read_as_protobuf_says() {
    let fields = Fields::default()
        .number(1, 3)
        .bytes(30, b"later")
        .spans(11, &[span(0, 2)])
        .signed(12, 1)
        .signed(12, 1)
        .number(29, 7);
    let expected =
        Histogram { count: 3, positive_spans: vec![span(0, 2)], positive_deltas: vec![1, 1], ..Histogram::default() };
    assert_eq!(read(&fields), Ok(SampleValue::Histogram(Box::new(expected))));
}

#[test]
fn histogram_finer_than_what_is_stored_is_made_coarser_and_other_schemas_are_refused() {
    let fine = Histogram {
        schema: 9,
        count: 10,
        positive_spans: vec![span(1, 4)],
        positive_deltas: vec![1, 1, 1, 1],
        ..Histogram::default()
    };
    let Ok(SampleValue::Histogram(read_back)) = read(&message(&fine, 1)) else { panic!("refused") };
    assert_eq!((read_back.schema, &read_back.positive_deltas[..]), (8, &[3, 4][..]));
    let Ok(SampleValue::FloatHistogram(read_back)) = read(&float_message(&fine.to_float(), 1)) else {
        panic!("refused")
    };
    assert_eq!((read_back.schema, &read_back.positive_buckets[..]), (8, &[3.0, 7.0][..]));
    for schema in [-5, -54, 53, i32::MAX] {
        let refused = read(&message(&Histogram { schema, ..fine.clone() }, 1));
        assert_eq!(refused, Err(HistogramError::Schema { schema }.into()));
    }
    // Its spans are looked at before its buckets are added up.
    let broken = Histogram { positive_spans: vec![span(0, 5)], ..fine };
    assert!(matches!(read(&message(&broken, 1)), Err(InvalidHistogram::Inconsistent(_))));
}

#[test]
fn staleness_marker_is_taken_whatever_else_it_says() {
    let marker = Histogram { sum: crate::model::stale_nan(), count: 1, ..histogram() };
    let Ok(value) = read(&message(&marker, 1)) else { panic!("refused") };
    assert!(value.is_stale());
    let SampleValue::Histogram(read_back) = value else { panic!("of another kind") };
    assert_eq!((read_back.count, read_back.positive_spans.len()), (0, 0));
    let Ok(SampleValue::FloatHistogram(read_back)) = read(&float_message(&marker.to_float(), 1)) else {
        panic!("of another kind")
    };
    assert!(read_back.is_stale());
}

#[test]
fn histogram_with_too_many_parts_is_refused_and_takes_no_memory_for_them() {
    let of = |buckets: u32| {
        let deltas: Vec<i64> = (0..buckets).map(|number| i64::from(number == 0)).collect();
        let count = u64::from(buckets);
        let spans = vec![span(0, buckets)];
        Histogram { count, positive_spans: spans, positive_deltas: deltas, ..Histogram::default() }
    };
    assert!(read(&message(&of(PARTS_MAX as u32 - 1), 1)).is_ok());
    assert_eq!(read(&message(&of(PARTS_MAX as u32), 1)), Err(InvalidHistogram::TooLarge));
    let spans = Fields::default().spans(8, &vec![span(0, 0); 4 * PARTS_MAX]);
    let message = Message::read(&spans.0).unwrap();
    assert_eq!((message.parts, message.negative.spans.len()), (4 * PARTS_MAX, PARTS_MAX));
}

#[test]
fn known_field_of_another_wire_type_is_an_error_with_its_place() {
    for (number, wire) in [(1, 1), (3, 0), (4, 2), (8, 0), (9, 1), (10, 0), (15, 5)] {
        let fields = Fields::default().number(1, 1).tag(number, wire);
        assert_eq!(decode(&fields.0).unwrap_err().what, "field has the wrong wire type", "{number}");
    }
}

#[test]
fn messages_cut_or_flipped_anywhere_are_histograms_or_errors() {
    for whole in [message(&histogram(), 1).0, float_message(&histogram().to_float(), 1).0] {
        for end in 0..=whole.len() {
            let mut bytes = whole[..end].to_vec();
            let _read = decode(&bytes);
            for index in 0..end {
                for flip in [0x01, 0x80, 0xff] {
                    bytes[index] ^= flip;
                    if let Ok(Decoded { value: Ok(SampleValue::Histogram(read)), .. }) = decode(&bytes) {
                        assert!(read.is_stale() || read.validate().is_ok());
                    }
                    bytes[index] ^= flip;
                }
            }
        }
    }
}
