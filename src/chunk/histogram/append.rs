//! Writing a histogram chunk.
//!
//! A chunk has one layout. A histogram with buckets that the chunk lacks makes the appender write the chunk anew with
//! these buckets, empty in all samples so far; one without some buckets of the chunk gets them, empty. What can't be
//! put into one chunk ends it: a counter reset, another schema, zero threshold or set of custom boundaries, a histogram
//! behind a staleness marker, a gauge among counters.

use super::CounterReset;
use super::count::{Coder, Count};
use super::layout::Layout;
use super::merge::{Merge, spread};
use super::read::HistogramIterator;
use super::sample::Sample;
use crate::chunk::varbit;
use crate::chunk::xor_value::XorValue;
use crate::encoding::bits::BitWriter;
use crate::encoding::put;
use crate::model::histogram::BucketSpan;
use crate::model::{ChunkEncoding, CounterResetHint};

/// A chunk that is being written.
#[derive(Debug, Clone)]
pub(super) struct Appender<C: Count> {
    bytes: Vec<u8>,
    bits: BitWriter,
    samples: u16,
    reset: CounterReset,
    timestamp_ms: i64,
    time_delta: u64,
    sum: XorValue,
    count: C::Coder,
    zero_count: C::Coder,
    positive: Vec<C::Coder>,
    negative: Vec<C::Coder>,
    /// The newest sample, in the layout of the chunk.
    last: Sample<C>,
}

impl<C: Count> Appender<C> {
    /// Starts a chunk, perhaps as the one behind `previous`.
    pub(super) fn start(timestamp_ms: i64, sample: Sample<C>, previous: Option<&Appender<C>>) -> Self {
        let reset = match (sample.hint, previous) {
            (CounterResetHint::Gauge, _) => CounterReset::Gauge,
            (CounterResetHint::Reset, _) => CounterReset::Reset,
            (_, Some(previous)) => match previous.judge(&sample) {
                Err(CounterReset::Unknown) if !C::TELLS_CHANGES => CounterReset::NotReset,
                Err(reset) => reset,
                Ok(_) => CounterReset::NotReset,
            },
            (_, None) => CounterReset::Unknown,
        };
        Self::start_with(timestamp_ms, sample, reset)
    }

    fn start_with(timestamp_ms: i64, sample: Sample<C>, reset: CounterReset) -> Self {
        let (mut bytes, mut bits) = (Vec::with_capacity(128), BitWriter::new());
        put::u16_be(&mut bytes, 1);
        bytes.push(reset as u8);
        let out = &mut bytes;
        sample.layout.write(&mut bits, out);
        varbit::write_int(&mut bits, out, timestamp_ms);
        let none = C::default();
        let count = C::Coder::write_first_count(&mut bits, out, sample.count.raw(none));
        let zero_count = C::Coder::write_first_count(&mut bits, out, sample.zero_count.raw(none));
        bits.bits(out, sample.sum.to_bits(), 64);
        let mut buckets = |counts: &[C]| {
            let mut before = none;
            let mut first = |&count: &C| {
                let raw = count.raw(std::mem::replace(&mut before, count));
                C::Coder::write_first_bucket(&mut bits, out, raw)
            };
            counts.iter().map(&mut first).collect()
        };
        let (positive, negative) = (buckets(&sample.positive), buckets(&sample.negative));
        Appender {
            bytes,
            bits,
            samples: 1,
            reset,
            timestamp_ms,
            time_delta: 0,
            sum: XorValue::first(sample.sum.to_bits()),
            count,
            zero_count,
            positive,
            negative,
            last: sample,
        }
    }

    /// Appends a sample, in this chunk or, where it can't hold it, in the one behind it. Gives the chunk that is
    /// complete by that.
    pub(super) fn append(&mut self, timestamp_ms: i64, sample: Sample<C>) -> Option<Self> {
        match self.judge(&sample) {
            Ok(merges) => {
                let sample = match merges {
                    Some(merges) => self.fit(sample, &merges),
                    None => sample,
                };
                self.push(timestamp_ms, sample);
                None
            }
            Err(reset) => {
                let reset = match (sample.hint, reset) {
                    (CounterResetHint::Gauge, _) => CounterReset::Gauge,
                    (_, CounterReset::Reset) => CounterReset::Reset,
                    (_, reset) if C::TELLS_CHANGES => reset,
                    _ => CounterReset::Unknown,
                };
                Some(std::mem::replace(self, Self::start_with(timestamp_ms, sample, reset)))
            }
        }
    }

    /// Whether the chunk can hold the sample, and what its buckets and the chunk's have in common; none for a
    /// staleness marker, which has no buckets. Otherwise what that says about a counter reset.
    fn judge(&self, sample: &Sample<C>) -> Result<Option<[Merge; 2]>, CounterReset> {
        let is_gauge = sample.hint == CounterResetHint::Gauge;
        if is_gauge != (self.reset == CounterReset::Gauge) {
            return Err(CounterReset::NotReset);
        }
        if sample.hint == CounterResetHint::Reset {
            return Err(CounterReset::Reset);
        }
        if sample.is_stale() {
            return Ok(None);
        }
        let (last, chunk) = (&self.last, &self.last.layout);
        if last.is_stale() {
            return Err(CounterReset::Unknown);
        }
        if !is_gauge && sample.count < last.count {
            return Err(CounterReset::Reset);
        }
        let layout = &sample.layout;
        if layout.schema != chunk.schema || layout.zero_threshold != chunk.zero_threshold {
            return Err(CounterReset::Unknown);
        }
        if layout.custom_values != chunk.custom_values {
            return Err(CounterReset::Reset);
        }
        let merges = [
            Merge::new((&chunk.positive_spans, &last.positive), (&layout.positive_spans, &sample.positive)),
            Merge::new((&chunk.negative_spans, &last.negative), (&layout.negative_spans, &sample.negative)),
        ];
        let is_reset = sample.zero_count < last.zero_count || merges.iter().any(|merge| merge.is_reset);
        if is_reset && !is_gauge {
            return Err(CounterReset::Reset);
        }
        Ok(Some(merges))
    }

    /// Gives chunk and sample the same buckets.
    fn fit(&mut self, sample: Sample<C>, [positive, negative]: &[Merge; 2]) -> Sample<C> {
        if positive.chunk_lacks || negative.chunk_lacks {
            // A gauge that lacks buckets on one side is laid out anew on both, as Prometheus does it.
            let is_gauge = self.reset == CounterReset::Gauge;
            let lacks = positive.histogram_lacks || negative.histogram_lacks;
            let spans = |merge: &Merge, spans: &[BucketSpan]| {
                let is_merged = if is_gauge { lacks } else { merge.histogram_lacks };
                if is_merged { merge.spans(spans) } else { spans.to_vec() }
            };
            let layout = Layout {
                positive_spans: spans(positive, &sample.layout.positive_spans),
                negative_spans: spans(negative, &sample.layout.negative_spans),
                ..self.last.layout.clone()
            };
            self.recode(&layout);
        }
        lay_out(sample, &self.last.layout)
    }

    /// Writes the chunk anew with the buckets of `layout`, which are its own and more.
    fn recode(&mut self, layout: &Layout) {
        let bytes = self.to_bytes();
        let mut samples = HistogramIterator::<C>::of_appender(&bytes);
        let mut recoded: Option<Self> = None;
        // What was written here reads back; were it not so, the chunk would keep what does.
        while let Ok(Some((timestamp_ms, sample))) = samples.next_with(|sample| sample.to_sample()) {
            let sample = lay_out(sample, layout);
            match &mut recoded {
                Some(recoded) => recoded.push(timestamp_ms, sample),
                None => recoded = Some(Self::start_with(timestamp_ms, sample, self.reset)),
            }
        }
        debug_assert_eq!(recoded.as_ref().map(|recoded| recoded.samples), Some(self.samples));
        if let Some(recoded) = recoded {
            *self = recoded;
        }
    }

    fn push(&mut self, timestamp_ms: i64, sample: Sample<C>) {
        let (bits, out) = (&mut self.bits, &mut self.bytes);
        let delta = timestamp_ms.wrapping_sub(self.timestamp_ms) as u64;
        varbit::write_int(bits, out, delta.wrapping_sub(self.time_delta) as i64);
        (self.timestamp_ms, self.time_delta) = (timestamp_ms, delta);
        self.samples += 1;
        if sample.is_stale() {
            self.count.write_stale(bits, out);
            self.zero_count.write_stale(bits, out);
            self.sum.write(bits, out, sample.sum.to_bits());
            self.last.sum = sample.sum;
            return;
        }
        self.count.write(bits, out, sample.count.raw(C::default()));
        self.zero_count.write(bits, out, sample.zero_count.raw(C::default()));
        self.sum.write(bits, out, sample.sum.to_bits());
        for (coders, counts) in [(&mut self.positive, &sample.positive), (&mut self.negative, &sample.negative)] {
            let mut before = C::default();
            for (coder, &count) in coders.iter_mut().zip(counts) {
                coder.write(bits, out, count.raw(before));
                before = count;
            }
        }
        self.last = sample;
    }

    pub(super) fn samples(&self) -> u16 {
        self.samples
    }

    /// Bytes that the chunk has so far.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the chunk has on the heap, and what is kept beside them to go on with it.
    pub(super) fn heap_bytes(&self) -> usize {
        let buckets = self.positive.capacity() + self.negative.capacity();
        self.bytes.capacity() + buckets * (size_of::<C::Coder>() + size_of::<C>())
    }

    /// The chunk as it is.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        self.write_count(&mut bytes);
        bytes
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.write_count(&mut bytes);
        bytes
    }

    fn write_count(&self, chunk: &mut [u8]) {
        if let Some(header) = chunk.first_chunk_mut() {
            *header = self.samples.to_be_bytes();
        }
    }

    pub(super) fn encoding(&self) -> ChunkEncoding {
        C::ENCODING
    }
}

/// The sample in a layout that has its buckets and perhaps more.
fn lay_out<C: Count>(mut sample: Sample<C>, layout: &Layout) -> Sample<C> {
    for (spans, counts, to) in [
        (&sample.layout.positive_spans, &mut sample.positive, &layout.positive_spans),
        (&sample.layout.negative_spans, &mut sample.negative, &layout.negative_spans),
    ] {
        if spans != to {
            *counts = spread(spans, counts, to);
        }
    }
    sample.layout = layout.clone();
    sample
}
