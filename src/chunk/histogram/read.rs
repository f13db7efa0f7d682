//! Reading a histogram chunk, with or without start timestamps.

use super::CounterReset;
use super::count::{Coder, Count, DecodedSample, counts};
use super::layout::{Layout, bucket_count};
use super::sample::Sample;
use crate::chunk::start_time::StartTimes;
use crate::chunk::varbit;
use crate::chunk::xor_value::XorValue;
use crate::encoding::Corruption;
use crate::encoding::bits::BitReader;
use crate::model::{
    CounterResetHint, FloatHistogram, Histogram, SampleValue, TimeRange, TimestampMs, is_stale_nan, stale_nan,
};
use crate::storage::Column;

/// Bytes in front of the samples: their count and what is known about counter resets, in an order of its own for chunks
/// with start timestamps.
const HEADER_BYTES: usize = 3;

/// Samples of a chunk with start timestamps are counted in 14 bits.
const COUNT_MASK_ST: u16 = 0x3fff;

/// Boundaries of custom buckets, taken once for each sample, that one chunk may amount to: each sample carries a copy,
/// which takes no bits of the chunk.
const BOUNDS_TIMES_SAMPLES_MAX: usize = 1 << 22;

/// The header of a chunk.
struct Header {
    count: u16,
    reset: CounterReset,
    start_times: StartTimes,
}

impl Header {
    fn new(bytes: [u8; HEADER_BYTES], has_start_times: bool) -> Self {
        let [high, low, flags] = bytes;
        let count = u16::from_be_bytes([high, low]);
        if has_start_times {
            return Header {
                count: count & COUNT_MASK_ST,
                reset: CounterReset::from_header(high),
                start_times: StartTimes::from_header(flags),
            };
        }
        Header { count, reset: CounterReset::from_header(flags), start_times: StartTimes::default() }
    }
}

/// How many samples a chunk says that it holds.
pub(super) fn sample_count(chunk: &[u8], has_start_times: bool) -> Option<u16> {
    Some(Header::new(*chunk.first_chunk()?, has_start_times).count)
}

/// Reads the samples of a chunk in order. Timestamps and counts of a hostile chunk may be any; the memory for a sample
/// is bounded by the bits that it takes.
#[derive(Debug, Clone)]
pub(super) struct HistogramIterator<'a, C: Count> {
    reader: BitReader<'a>,
    start_times: StartTimes,
    count: u16,
    read: u16,
    reset: CounterReset,
    timestamp_ms: i64,
    time_delta: u64,
    sum: XorValue,
    /// `None` before the first sample.
    fields: Option<Fields<C>>,
}

/// What the first sample of a chunk begins.
#[derive(Debug, Clone)]
struct Fields<C: Count> {
    layout: Layout,
    count: C::Coder,
    zero_count: C::Coder,
    positive: Vec<C::Coder>,
    negative: Vec<C::Coder>,
}

/// A sample where the reader stands.
pub(super) enum Current<'a, C: Count> {
    Stale,
    Sample(DecodedSample<'a, C>),
}

impl<'a, C: Count> HistogramIterator<'a, C> {
    pub(super) fn new(chunk: &'a [u8], has_start_times: bool) -> Result<Self, Corruption> {
        let Some((header, data)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Corruption { what: "chunk has no header", offset: 0 });
        };
        Ok(Self::with_header(Header::new(*header, has_start_times), data))
    }

    /// An iterator over what an appender wrote.
    pub(super) fn of_appender(chunk: &'a [u8]) -> Self {
        let (header, data) = chunk.split_first_chunk().unwrap_or((&[0; HEADER_BYTES], &[]));
        Self::with_header(Header::new(*header, false), data)
    }

    fn with_header(header: Header, data: &'a [u8]) -> Self {
        HistogramIterator {
            reader: BitReader::new(data),
            start_times: header.start_times,
            count: header.count,
            read: 0,
            reset: header.reset,
            timestamp_ms: 0,
            time_delta: 0,
            sum: XorValue::first_read(0),
            fields: None,
        }
    }

    /// The next sample's time and what `convert` makes of it, or `None` behind the last.
    pub(super) fn next_with<T>(
        &mut self,
        convert: impl FnOnce(Current<'_, C>) -> T,
    ) -> Result<Option<(TimestampMs, T)>, Corruption> {
        if self.read >= self.count {
            return Ok(None);
        }
        let before_ms = self.timestamp_ms;
        match &mut self.fields {
            Some(fields) => {
                let change = varbit::read_int(&mut self.reader)?;
                self.time_delta = self.time_delta.wrapping_add(change as u64);
                self.timestamp_ms = self.timestamp_ms.wrapping_add(self.time_delta as i64);
                fields.count.read(&mut self.reader)?;
                fields.zero_count.read(&mut self.reader)?;
                self.sum.read(&mut self.reader)?;
                if !is_stale_nan(f64::from_bits(self.sum.bits)) {
                    for coder in fields.positive.iter_mut().chain(&mut fields.negative) {
                        coder.read(&mut self.reader)?;
                    }
                }
            }
            None => self.read_first()?,
        }
        self.start_times.read(&mut self.reader, self.read, self.timestamp_ms, before_ms)?;
        self.read += 1;
        Ok(Some((self.timestamp_ms, convert(self.current()))))
    }

    fn read_first(&mut self) -> Result<(), Corruption> {
        let reader = &mut self.reader;
        let layout = Layout::read(reader, C::Coder::FIRST_BITS)?;
        if layout.custom_values.len() * usize::from(self.count) > BOUNDS_TIMES_SAMPLES_MAX {
            return Err(Corruption { what: "histogram chunk has too many boundaries for its samples", offset: 0 });
        }
        self.timestamp_ms = varbit::read_int(reader)?;
        let count = C::Coder::read_first_count(reader)?;
        let zero_count = C::Coder::read_first_count(reader)?;
        self.sum = XorValue::first_read(reader.bits(64)?);
        let mut buckets = |spans| {
            let buckets = bucket_count(spans);
            if buckets > reader.bits_left() / C::Coder::FIRST_BITS {
                return Err(Corruption { what: "histogram chunk is too short for its buckets", offset: 0 });
            }
            (0..buckets).map(|_| C::Coder::read_first_bucket(reader)).collect::<Result<Vec<_>, _>>()
        };
        let (positive, negative) = (buckets(&layout.positive_spans)?, buckets(&layout.negative_spans)?);
        self.fields = Some(Fields { layout, count, zero_count, positive, negative });
        Ok(())
    }

    fn current(&self) -> Current<'_, C> {
        let sum = f64::from_bits(self.sum.bits);
        let Some(fields) = self.fields.as_ref().filter(|_| !is_stale_nan(sum)) else { return Current::Stale };
        let hint = match self.reset {
            CounterReset::Gauge => CounterResetHint::Gauge,
            // What precedes the chunk may have been deleted, or come later, so of the first sample nothing is known.
            _ if self.read <= 1 => CounterResetHint::Unknown,
            _ => CounterResetHint::NotReset,
        };
        let none = C::default();
        Current::Sample(DecodedSample {
            layout: &fields.layout,
            hint,
            sum,
            count: C::from_raw(fields.count.raw(), none),
            zero_count: C::from_raw(fields.zero_count.raw(), none),
            positive: &fields.positive,
            negative: &fields.negative,
        })
    }

    /// Appends the samples that lie in `range` to `column`. Samples before a damaged place are appended.
    pub(super) fn decode_into(mut self, range: TimeRange, column: &mut Column) -> Result<(), Corruption> {
        loop {
            let Some((timestamp_ms, ())) = self.next_with(|_| ())? else { return Ok(()) };
            if timestamp_ms > range.end_ms {
                return Ok(());
            }
            if timestamp_ms >= range.start_ms {
                column.push_histogram(timestamp_ms, self.current().float_histogram());
                column.set_start(self.start_times.start_ms());
            }
        }
    }
}

impl<C: Count> Current<'_, C> {
    /// The sample in the form of its kind.
    pub(super) fn value(self) -> SampleValue {
        match self {
            Current::Sample(sample) => C::value(sample),
            Current::Stale if C::TELLS_CHANGES => SampleValue::Histogram(Box::new(Histogram::stale())),
            Current::Stale => SampleValue::FloatHistogram(Box::new(FloatHistogram::stale())),
        }
    }

    fn float_histogram(&self) -> FloatHistogram {
        match self {
            Current::Sample(sample) => sample.float_histogram(),
            Current::Stale => FloatHistogram::stale(),
        }
    }

    /// The sample as an appender takes it.
    pub(super) fn to_sample(&self) -> Sample<C> {
        match self {
            Current::Stale => Sample { sum: stale_nan(), ..Sample::default() },
            Current::Sample(sample) => Sample {
                layout: sample.layout.clone(),
                hint: sample.hint,
                sum: sample.sum,
                count: sample.count,
                zero_count: sample.zero_count,
                positive: counts(sample.positive).collect(),
                negative: counts(sample.negative).collect(),
            },
        }
    }
}
