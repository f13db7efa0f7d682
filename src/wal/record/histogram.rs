//! Records of native histograms, and the newer records of samples that carry start timestamps.
//!
//! Start timestamps are passed over. What can't be laid out in buckets is refused here, histogram by histogram, so that
//! whoever takes the values need not look again.
//!
//! Source of the layouts: Prometheus `tsdb/record/record.go`; ours is in `docs/format/wal.md`.

use super::{RecordType, RefSample, split};
use crate::encoding::{Corruption, Cursor, put};
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, is_known_schema};
use crate::model::{CounterResetHint, FloatHistogram, Histogram, SampleValue, TimestampMs};

/// One sample of any kind.
#[derive(Debug, Clone, PartialEq)]
pub struct RefValue {
    /// The series.
    pub series_ref: u64,
    /// When it was measured.
    pub timestamp_ms: TimestampMs,
    /// What was measured.
    pub value: SampleValue,
}

/// Reads the body of a record of samples, of whatever type; `None` for a record of another type.
pub fn values(kind: RecordType, body: &[u8]) -> Option<ValuesIter<'_>> {
    use RecordType as T;
    let (form, values) = match kind {
        T::Samples | T::OutOfOrderSamples => (Form::Based(None), Values::Floats),
        T::SamplesV2 => (Form::StartTimes(None), Values::Floats),
        T::HistogramSamples | T::CustomBucketsHistogramSamples => (Form::Based(None), Values::Histograms),
        T::HistogramSamplesV2 => (Form::StartTimes(None), Values::Histograms),
        T::FloatHistogramSamples | T::CustomBucketsFloatHistogramSamples => {
            (Form::Based(None), Values::FloatHistograms)
        }
        T::FloatHistogramSamplesV2 => (Form::StartTimes(None), Values::FloatHistograms),
        // One that holds no histograms reads as one that is damaged at its first byte.
        T::OutOfOrderHistograms => {
            let (within, inner) = split(body);
            let within = within.filter(|within| HISTOGRAM_TYPES.contains(within));
            return Some(within.and_then(|within| values(within, inner)).unwrap_or_else(unreadable));
        }
        _ => return None,
    };
    Some(ValuesIter { cursor: Cursor::new(body), form, values })
}

/// The types of records of histograms that are written.
const HISTOGRAM_TYPES: [RecordType; 4] = [
    RecordType::HistogramSamples,
    RecordType::FloatHistogramSamples,
    RecordType::CustomBucketsHistogramSamples,
    RecordType::CustomBucketsFloatHistogramSamples,
];

/// What is read of a record that should hold histograms and does not: that its base is cut.
fn unreadable<'a>() -> ValuesIter<'a> {
    ValuesIter { cursor: Cursor::new(&[0]), form: Form::Based(None), values: Values::Histograms }
}

/// The samples of a record. After an error it goes on behind a histogram that is refused, and ends where the place of
/// the next sample is lost.
#[derive(Debug, Clone)]
pub struct ValuesIter<'a> {
    cursor: Cursor<'a>,
    form: Form,
    values: Values,
}

/// How references and times are written.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Against a base of reference and time in front of all samples.
    Based(Option<(u64, TimestampMs)>),
    /// The reference against that of the sample before, the time against that of the first, and a start timestamp.
    StartTimes(Option<(u64, TimestampMs)>),
}

#[derive(Debug, Clone, Copy)]
enum Values {
    Floats,
    Histograms,
    FloatHistograms,
}

/// Marks a start timestamp that follows; the lower numbers say that there is none, or that of the sample before.
const START_TIME_FOLLOWS: u8 = 2;

impl ValuesIter<'_> {
    fn read_place(&mut self) -> Result<(u64, TimestampMs), Corruption> {
        let cursor = &mut self.cursor;
        match &mut self.form {
            Form::Based(base) => {
                let (base_ref, base_ms) = match base {
                    Some(base) => *base,
                    None => *base.insert((cursor.u64_be()?, cursor.u64_be()? as i64)),
                };
                Ok((base_ref.wrapping_add(cursor.varint()? as u64), base_ms.wrapping_add(cursor.varint()?)))
            }
            Form::StartTimes(Some((previous_ref, first_ms))) => {
                *previous_ref = previous_ref.wrapping_add(cursor.varint()? as u64);
                let timestamp_ms = first_ms.wrapping_add(cursor.varint()?);
                if cursor.u8()? >= START_TIME_FOLLOWS {
                    cursor.varint()?;
                }
                Ok((*previous_ref, timestamp_ms))
            }
            Form::StartTimes(first @ None) => {
                let place = (cursor.varint()? as u64, cursor.varint()?);
                cursor.varint()?;
                *first = Some(place);
                Ok(place)
            }
        }
    }

    fn read(&mut self) -> Result<Result<RefValue, Corruption>, Corruption> {
        let (series_ref, timestamp_ms) = self.read_place()?;
        let start = self.cursor.position();
        let value = match self.values {
            Values::Floats => SampleValue::Float(f64::from_bits(self.cursor.u64_be()?)),
            Values::Histograms => SampleValue::Histogram(Box::new(read_histogram(&mut self.cursor)?)),
            Values::FloatHistograms => SampleValue::FloatHistogram(Box::new(read_float_histogram(&mut self.cursor)?)),
        };
        Ok(match refusal(&value) {
            Some(what) => Err(Corruption { what, offset: start }),
            None => Ok(RefValue { series_ref, timestamp_ms, value }),
        })
    }
}

impl Iterator for ValuesIter<'_> {
    type Item = Result<RefValue, Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let value = self.read();
        // A base and no sample is harmless; Prometheus writes it where all histograms went to another record.
        let is_base_alone = matches!(self.form, Form::Based(Some(_))) && self.cursor.position() == BASE_BYTES;
        if value.is_err() {
            let was_empty = self.cursor.is_empty();
            self.cursor = Cursor::new(&[]);
            if is_base_alone && was_empty {
                return None;
            }
        }
        Some(value.and_then(|value| value))
    }
}

/// Bytes of a base of reference and time.
const BASE_BYTES: usize = 16;

/// Why a histogram can't be used.
fn refusal(value: &SampleValue) -> Option<&'static str> {
    let (schema, is_well_formed) = match value {
        SampleValue::Float(_) => return None,
        // What else a staleness marker says means nothing.
        _ if value.is_stale() => return None,
        SampleValue::Histogram(histogram) => (histogram.schema, histogram.is_well_formed()),
        SampleValue::FloatHistogram(histogram) => (histogram.schema, histogram.is_well_formed()),
    };
    if !is_known_schema(schema) {
        return Some("histogram has a schema that is not known");
    }
    (!is_well_formed).then_some("histogram has spans that do not fit its buckets")
}

fn read_hint(cursor: &mut Cursor<'_>) -> Result<CounterResetHint, Corruption> {
    Ok(match cursor.u8()? {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    })
}

fn read_schema(cursor: &mut Cursor<'_>) -> Result<i32, Corruption> {
    i32::try_from(cursor.varint()?).map_err(|_wide| cursor.corrupt("schema is wider than 32 bits"))
}

fn read_f64(cursor: &mut Cursor<'_>) -> Result<f64, Corruption> {
    Ok(f64::from_bits(cursor.u64_be()?))
}

/// Reads a list behind its length. `bytes` is the least that an entry takes, so that a false length takes no memory.
fn read_list<'a, T>(
    cursor: &mut Cursor<'a>,
    bytes: usize,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<T, Corruption>,
) -> Result<Vec<T>, Corruption> {
    let length = cursor.uvarint()?;
    if length > (cursor.remaining() / bytes) as u64 {
        return Err(cursor.corrupt("list is longer than the record"));
    }
    (0..length).map(|_| read(cursor)).collect()
}

fn read_span(cursor: &mut Cursor<'_>) -> Result<BucketSpan, Corruption> {
    let (offset, length) = (cursor.varint()?, cursor.uvarint()?);
    match (i32::try_from(offset), u32::try_from(length)) {
        (Ok(offset), Ok(length)) => Ok(BucketSpan { offset, length }),
        _ => Err(cursor.corrupt("span is wider than 32 bits")),
    }
}

fn read_custom_values(cursor: &mut Cursor<'_>, schema: i32) -> Result<Vec<f64>, Corruption> {
    if schema == CUSTOM_BUCKETS_SCHEMA { read_list(cursor, 8, read_f64) } else { Ok(Vec::new()) }
}

fn read_histogram(cursor: &mut Cursor<'_>) -> Result<Histogram, Corruption> {
    let counter_reset_hint = read_hint(cursor)?;
    let schema = read_schema(cursor)?;
    Ok(Histogram {
        schema,
        counter_reset_hint,
        zero_threshold: read_f64(cursor)?,
        zero_count: cursor.uvarint()?,
        count: cursor.uvarint()?,
        sum: read_f64(cursor)?,
        positive_spans: read_list(cursor, 2, read_span)?,
        negative_spans: read_list(cursor, 2, read_span)?,
        positive_deltas: read_list(cursor, 1, Cursor::varint)?,
        negative_deltas: read_list(cursor, 1, Cursor::varint)?,
        custom_values: read_custom_values(cursor, schema)?,
    })
}

fn read_float_histogram(cursor: &mut Cursor<'_>) -> Result<FloatHistogram, Corruption> {
    let counter_reset_hint = read_hint(cursor)?;
    let schema = read_schema(cursor)?;
    Ok(FloatHistogram {
        schema,
        counter_reset_hint,
        zero_threshold: read_f64(cursor)?,
        zero_count: read_f64(cursor)?,
        count: read_f64(cursor)?,
        sum: read_f64(cursor)?,
        positive_spans: read_list(cursor, 2, read_span)?,
        negative_spans: read_list(cursor, 2, read_span)?,
        positive_buckets: read_list(cursor, 8, read_f64)?,
        negative_buckets: read_list(cursor, 8, read_f64)?,
        custom_values: read_custom_values(cursor, schema)?,
    })
}

/// Writes one record of histograms, all of one kind. The first is the base of all others' deltas.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistogramsEncoder {
    base: Option<(u64, TimestampMs)>,
    is_out_of_order: bool,
}

impl HistogramsEncoder {
    /// An encoder for the next record.
    pub fn new() -> Self {
        HistogramsEncoder::default()
    }

    /// An encoder for the next record of out-of-order histograms.
    pub fn out_of_order() -> Self {
        HistogramsEncoder { base: None, is_out_of_order: true }
    }

    /// The type of the records that hold such a histogram: those of one record have the same. `None` for a float.
    pub fn record_type(value: &SampleValue) -> Option<RecordType> {
        Some(match value {
            SampleValue::Float(_) => return None,
            SampleValue::Histogram(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => {
                RecordType::CustomBucketsHistogramSamples
            }
            SampleValue::Histogram(_) => RecordType::HistogramSamples,
            SampleValue::FloatHistogram(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => {
                RecordType::CustomBucketsFloatHistogramSamples
            }
            SampleValue::FloatHistogram(_) => RecordType::FloatHistogramSamples,
        })
    }

    /// Appends a histogram. The first one starts the record, with its type byte. A float is passed over: it belongs in
    /// another record.
    pub fn push(&mut self, out: &mut Vec<u8>, series_ref: u64, timestamp_ms: TimestampMs, value: &SampleValue) {
        let Some(kind) = Self::record_type(value) else { return };
        let (base_ref, base_ms) = match self.base {
            Some(base) => base,
            None => {
                if self.is_out_of_order {
                    out.push(RecordType::OutOfOrderHistograms as u8);
                }
                out.push(kind as u8);
                put::u64_be(out, series_ref);
                put::u64_be(out, timestamp_ms as u64);
                *self.base.insert((series_ref, timestamp_ms))
            }
        };
        put::varint(out, series_ref.wrapping_sub(base_ref) as i64);
        put::varint(out, timestamp_ms.wrapping_sub(base_ms));
        match value {
            SampleValue::Float(_) => {}
            SampleValue::Histogram(histogram) => put_histogram(out, histogram),
            SampleValue::FloatHistogram(histogram) => put_float_histogram(out, histogram),
        }
    }
}

fn put_hint(out: &mut Vec<u8>, hint: CounterResetHint) {
    out.push(match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
}

fn put_spans(out: &mut Vec<u8>, spans: &[BucketSpan]) {
    put::uvarint(out, spans.len() as u64);
    for span in spans {
        put::varint(out, i64::from(span.offset));
        put::uvarint(out, u64::from(span.length));
    }
}

fn put_floats(out: &mut Vec<u8>, floats: &[f64]) {
    put::uvarint(out, floats.len() as u64);
    for float in floats {
        put::u64_be(out, float.to_bits());
    }
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    put_hint(out, histogram.counter_reset_hint);
    put::varint(out, i64::from(histogram.schema));
    put::u64_be(out, histogram.zero_threshold.to_bits());
    put::uvarint(out, histogram.zero_count);
    put::uvarint(out, histogram.count);
    put::u64_be(out, histogram.sum.to_bits());
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    for deltas in [&histogram.positive_deltas, &histogram.negative_deltas] {
        put::uvarint(out, deltas.len() as u64);
        for &delta in deltas {
            put::varint(out, delta);
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        put_floats(out, &histogram.custom_values);
    }
}

fn put_float_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    put_hint(out, histogram.counter_reset_hint);
    put::varint(out, i64::from(histogram.schema));
    for float in [histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum] {
        put::u64_be(out, float.to_bits());
    }
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    put_floats(out, &histogram.positive_buckets);
    put_floats(out, &histogram.negative_buckets);
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        put_floats(out, &histogram.custom_values);
    }
}

impl From<RefSample> for RefValue {
    fn from(sample: RefSample) -> Self {
        RefValue {
            series_ref: sample.series_ref,
            timestamp_ms: sample.timestamp_ms,
            value: SampleValue::Float(sample.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::{SamplesEncoder, samples, split};

    fn histogram() -> Histogram {
        Histogram {
            schema: 3,
            counter_reset_hint: CounterResetHint::NotReset,
            zero_threshold: 0.001,
            zero_count: 300,
            count: 308,
            sum: -1.5,
            positive_spans: vec![BucketSpan { offset: -1, length: 1 }, BucketSpan { offset: 2, length: 1 }],
            positive_deltas: vec![5, -4],
            negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
            negative_deltas: vec![2],
            custom_values: Vec::new(),
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_deltas: vec![1, 1],
            count: 3,
            custom_values: vec![0.5, f64::MAX],
            ..Histogram::default()
        }
    }

    fn all_kinds() -> [SampleValue; 5] {
        [
            SampleValue::Histogram(Box::new(histogram())),
            SampleValue::FloatHistogram(Box::new(histogram().to_float())),
            SampleValue::Histogram(Box::new(custom())),
            SampleValue::FloatHistogram(Box::new(custom().to_float())),
            SampleValue::Histogram(Box::new(Histogram { positive_spans: Vec::new(), ..histogram() })),
        ]
    }

    fn encode(samples: &[(u64, i64, SampleValue)]) -> Vec<u8> {
        let (mut out, mut encoder) = (Vec::new(), HistogramsEncoder::new());
        for (series_ref, timestamp_ms, value) in samples {
            encoder.push(&mut out, *series_ref, *timestamp_ms, value);
        }
        out
    }

    fn decode(record: &[u8]) -> Vec<Result<RefValue, Corruption>> {
        let (kind, body) = split(record);
        values(kind.unwrap(), body).unwrap().collect()
    }

    /// The same samples as a record with start timestamps has them.
    fn with_start_times(samples: &[(u64, i64, SampleValue)]) -> Vec<u8> {
        let mut out = vec![match &samples[0].2 {
            SampleValue::Float(_) => 11,
            SampleValue::Histogram(_) => 12,
            SampleValue::FloatHistogram(_) => 13,
        }];
        for (index, (series_ref, timestamp_ms, value)) in samples.iter().enumerate() {
            if index == 0 {
                put::varint(&mut out, *series_ref as i64);
                put::varint(&mut out, *timestamp_ms);
                put::varint(&mut out, 77);
            } else {
                put::varint(&mut out, series_ref.wrapping_sub(samples[index - 1].0) as i64);
                put::varint(&mut out, timestamp_ms - samples[0].1);
                out.push(index as u8 % 3);
                if index % 3 == 2 {
                    put::varint(&mut out, -5);
                }
            }
            match value {
                SampleValue::Float(value) => put::u64_be(&mut out, value.to_bits()),
                SampleValue::Histogram(histogram) => put_histogram(&mut out, histogram),
                SampleValue::FloatHistogram(histogram) => put_float_histogram(&mut out, histogram),
            }
        }
        out
    }

    #[test]
    fn histogram_record_has_the_layout_of_prometheus() {
        let record = encode(&[(7, 1000, SampleValue::Histogram(Box::new(histogram())))]);
        let mut expected = vec![7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0];
        expected.extend([2, 6]);
        expected.extend(0.001f64.to_be_bytes());
        expected.extend([0xac, 2, 0xb4, 2]);
        expected.extend((-1.5f64).to_be_bytes());
        expected.extend([2, 1, 1, 4, 1, 1, 0, 1, 2, 10, 7, 1, 4]);
        assert_eq!(record, expected);
    }

    #[test]
    fn histograms_of_all_kinds_read_back_with_and_without_start_times() {
        let samples = |value: &SampleValue| {
            let places = [(9u64, 5i64), (9, 20), (u64::MAX, -3), (2, 6), (2, 6)];
            places.map(|(series_ref, timestamp_ms)| (series_ref, timestamp_ms, value.clone()))
        };
        for (number, value) in all_kinds().iter().take(4).enumerate() {
            let written = samples(value);
            let record = encode(&written);
            assert_eq!(record[0], [7, 8, 9, 10][number]);
            for record in [record, with_start_times(&written)] {
                let read = decode(&record).into_iter().map(|value| value.unwrap());
                let read: Vec<_> = read.map(|read| (read.series_ref, read.timestamp_ms, read.value)).collect();
                assert_eq!(read, written);
            }
        }
        let floats = samples(&SampleValue::Float(-0.0));
        let read: Vec<_> = decode(&with_start_times(&floats)).into_iter().map(|value| value.unwrap()).collect();
        assert_eq!(read.len(), 5);
        assert_eq!((read[2].series_ref, read[2].timestamp_ms), (u64::MAX, -3));
    }

    #[test]
    fn float_samples_read_as_values_are_those_that_are_read_as_samples() {
        let (mut record, mut encoder) = (Vec::new(), SamplesEncoder::new());
        encoder.push(&mut record, 1, 2, 3.0);
        encoder.push(&mut record, 9, -2, 4.0);
        let expected: Vec<_> = samples(&record[1..]).map(|sample| sample.map(RefValue::from)).collect();
        assert_eq!(decode(&record), expected);
        assert!(values(RecordType::Series, &[]).is_none());
    }

    #[test]
    fn histogram_that_can_not_be_laid_out_is_refused_and_those_behind_it_are_read() {
        let good = || (1, 2, SampleValue::Histogram(Box::new(histogram())));
        for broken in [
            Histogram { positive_deltas: vec![1], ..histogram() },
            Histogram { schema: 53, ..histogram() },
            Histogram { negative_spans: vec![BucketSpan { offset: i32::MAX, length: 1 }], ..histogram() },
        ] {
            let record = encode(&[good(), (1, 3, SampleValue::Histogram(Box::new(broken))), good()]);
            let read = decode(&record);
            assert_eq!(read.iter().map(|value| value.is_ok()).collect::<Vec<_>>(), [true, false, true]);
        }
        let stale = Histogram { positive_deltas: vec![1], ..Histogram::stale() };
        assert!(decode(&encode(&[(1, 3, SampleValue::Histogram(Box::new(stale)))]))[0].is_ok());
    }

    #[test]
    fn out_of_order_record_is_a_record_of_prometheus_behind_a_type_of_ours() {
        for value in all_kinds().into_iter().take(4) {
            let (mut record, mut encoder) = (Vec::new(), HistogramsEncoder::out_of_order());
            let samples = [(9, 5, value.clone()), (2, 20, value)];
            for (series_ref, timestamp_ms, value) in &samples {
                encoder.push(&mut record, *series_ref, *timestamp_ms, value);
            }
            assert_eq!((record[0], &record[1..]), (227, &encode(&samples)[..]));
            let read: Vec<_> = decode(&record).into_iter().map(|value| value.unwrap().value).collect();
            assert_eq!(read, [samples[0].2.clone(), samples[1].2.clone()]);
        }
        for other in [&[227][..], &[227, 2], &[227, 227, 7], &[227, 99]] {
            assert!(matches!(decode(other)[..], [Err(_)]), "{other:?}");
        }
    }

    #[test]
    fn record_of_a_base_alone_holds_no_histogram() {
        assert!(decode(&[&[7][..], &[0; 16]].concat()).is_empty());
        assert_eq!(decode(&[&[7][..], &[0; 15]].concat()).len(), 1);
        assert!(decode(&[12]).is_empty());
    }

    #[test]
    fn records_cut_or_flipped_anywhere_are_values_or_errors_of_bounded_size() {
        for value in all_kinds() {
            let samples = [(9, 5, value.clone()), (9, 20, value)];
            for record in [encode(&samples), with_start_times(&samples)] {
                for end in 1..=record.len() {
                    for bit in 0..8 {
                        let mut bytes = record[..end].to_vec();
                        for index in 1..end {
                            bytes[index] ^= 1 << bit;
                            assert!(decode(&bytes).len() <= bytes.len());
                            bytes[index] ^= 1 << bit;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn list_longer_than_the_record_is_refused_before_memory_is_taken() {
        let mut body = vec![0; 16 + 2 + 1 + 1 + 8 + 1 + 1 + 8];
        put::uvarint(&mut body, u64::MAX);
        let read: Vec<_> = values(RecordType::HistogramSamples, &body).unwrap().collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap_err().what, "list is longer than the record");
    }
}
