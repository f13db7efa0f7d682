//! All encodings through the door: what was put in comes out, and damage is an error or other samples, never a panic.

use proptest::prelude::*;

use super::*;
use crate::encoding::bits::BitWriter;
use crate::encoding::put;
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};
use crate::model::{CounterResetHint, Digest, FloatHistogram, Histogram, STALE_NAN_BITS};
use crate::storage::Chunk;

/// A generator of repeatable histograms.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    fn is_one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// Buckets by index, as an instrumented program has them: they grow, new ones appear, now and then all start anew.
#[derive(Clone, Default)]
struct Source {
    positive: std::collections::BTreeMap<i32, u64>,
    negative: std::collections::BTreeMap<i32, u64>,
    zero: u64,
    schema: i32,
    threshold: f64,
    bounds: Vec<f64>,
    is_gauge: bool,
}

impl Source {
    fn new(random: &mut Random) -> Self {
        let is_custom = random.is_one_in(3);
        Source {
            schema: if is_custom { CUSTOM_BUCKETS_SCHEMA } else { random.below(13) as i32 - 4 },
            threshold: if is_custom { 0.0 } else { [0.0, 0.001, 2f64.powi(-128)][random.below(3) as usize] },
            bounds: if is_custom { vec![-1.5, 0.0, 0.005, 1.0 / 3.0, 10.0, 1e9, 1e12] } else { Vec::new() },
            is_gauge: random.is_one_in(3),
            ..Source::default()
        }
    }

    fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    fn step(&mut self, random: &mut Random) {
        if random.is_one_in(25) {
            let is_gauge = self.is_gauge;
            *self = Source::new(random);
            self.is_gauge = is_gauge ^ random.is_one_in(5);
        }
        for _ in 0..random.below(6) {
            let index = random.below(if self.is_custom() { 8 } else { 30 }) as i32;
            let width = random.below(20);
            let growth = random.below(1 << width);
            if self.is_custom() || random.is_one_in(2) {
                *self.positive.entry(index).or_default() += growth;
            } else {
                *self.negative.entry(index - 15).or_default() += growth;
            }
        }
        if !self.is_custom() {
            self.zero += random.below(3);
        }
        if random.is_one_in(12) {
            // Buckets that hold nothing come and go.
            self.positive.retain(|_, count| *count > 0);
        }
        if random.is_one_in(if self.is_gauge { 3 } else { 30 }) {
            for count in self.positive.values_mut() {
                *count /= 2;
            }
        }
    }

    fn histogram(&self, random: &mut Random) -> Histogram {
        if random.is_one_in(30) {
            return Histogram::stale();
        }
        let side = |buckets: &std::collections::BTreeMap<i32, u64>| {
            let (mut spans, mut deltas, mut end, mut before) = (Vec::<BucketSpan>::new(), Vec::new(), 0, 0);
            for (&index, &count) in buckets {
                match spans.last_mut() {
                    Some(span) if index == end => span.length += 1,
                    _ => spans.push(BucketSpan { offset: index - end, length: 1 }),
                }
                end = index + 1;
                deltas.push(count as i64 - before);
                before = count as i64;
            }
            (spans, deltas)
        };
        let (positive_spans, positive_deltas) = side(&self.positive);
        let (negative_spans, negative_deltas) = side(&self.negative);
        Histogram {
            schema: self.schema,
            counter_reset_hint: if self.is_gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown },
            zero_threshold: self.threshold,
            zero_count: self.zero,
            count: self.zero + self.positive.values().sum::<u64>() + self.negative.values().sum::<u64>(),
            sum: if random.is_one_in(20) { f64::NAN } else { random.below(1 << 30) as f64 / 7.0 },
            positive_spans,
            positive_deltas,
            negative_spans,
            negative_deltas,
            custom_values: self.bounds.clone(),
        }
    }
}

/// A series of samples in time order, of one kind or of several.
fn series(seed: u64, kinds: &[u8]) -> Vec<(i64, SampleValue)> {
    let mut random = Random(seed);
    let mut source = Source::new(&mut random);
    let mut timestamp_ms = random.below(1 << 41) as i64 - (1 << 40);
    let mut kind = kinds[0];
    (0..random.below(400) + 1)
        .map(|_| {
            source.step(&mut random);
            timestamp_ms += 1 + random.below(30_000) as i64;
            if random.is_one_in(40) {
                kind = kinds[random.below(kinds.len() as u64) as usize];
            }
            let histogram = source.histogram(&mut random);
            assert!(histogram.is_stale() || histogram.validate().is_ok());
            let value = match kind {
                0 if histogram.is_stale() => SampleValue::Float(f64::from_bits(STALE_NAN_BITS)),
                0 => SampleValue::Float(histogram.sum),
                1 => SampleValue::Histogram(Box::new(histogram)),
                _ if histogram.is_stale() => SampleValue::FloatHistogram(Box::new(FloatHistogram::stale())),
                _ => {
                    let mut float = histogram.to_float();
                    float.positive_buckets.iter_mut().for_each(|count| *count *= 0.5);
                    SampleValue::FloatHistogram(Box::new(float))
                }
            };
            (timestamp_ms, value)
        })
        .collect()
}

fn build(samples: &[(i64, SampleValue)]) -> Vec<Chunk> {
    let mut builder = ChunkBuilder::new();
    let mut chunks: Vec<Chunk> =
        samples.iter().filter_map(|(timestamp_ms, value)| builder.push(*timestamp_ms, value)).collect();
    chunks.extend(builder.finish());
    chunks
}

/// What a proof compares: it leaves out what a chunk does not keep.
fn digests<'a>(samples: impl IntoIterator<Item = &'a (i64, SampleValue)>) -> Vec<Digest> {
    samples.into_iter().map(|(timestamp_ms, value)| Digest::ZERO.of_value(*timestamp_ms, value)).collect()
}

fn read(encoding: ChunkEncoding, bytes: &[u8]) -> Result<Vec<(i64, SampleValue)>, Corruption> {
    samples(encoding, bytes)?.collect()
}

/// Reads a chunk, perhaps damaged, by both ways: they agree, and take no more memory than the bits allow.
fn read_both_ways(encoding: ChunkEncoding, bytes: &[u8]) {
    let mut column = Column::default();
    let decoded = decode_into(encoding, bytes, TimeRange::ALL, &mut column);
    let mut iterated = Vec::new();
    let mut is_whole = false;
    if let Ok(samples) = samples(encoding, bytes) {
        is_whole = true;
        for sample in samples {
            match sample {
                Ok(sample) => iterated.push(sample),
                Err(_) => is_whole = false,
            }
        }
    }
    assert_eq!(decoded.is_ok(), is_whole);
    assert!(column.timestamps_ms.iter().eq(iterated.iter().map(|(timestamp_ms, _)| timestamp_ms)));
    let mut buckets = 0;
    for (timestamp_ms, value) in &iterated {
        Digest::ZERO.of_value(*timestamp_ms, value);
        buckets += match value {
            SampleValue::Float(_) => 0,
            SampleValue::Histogram(histogram) => {
                assert!(histogram.is_well_formed());
                histogram.positive_deltas.len() + histogram.negative_deltas.len()
            }
            SampleValue::FloatHistogram(histogram) => {
                assert!(histogram.is_well_formed());
                histogram.positive_buckets.len() + histogram.negative_buckets.len()
            }
        };
    }
    assert!(buckets + iterated.len() <= bytes.len() * 8);
}

/// The same chunk as its form with start timestamps has it, where no sample has one.
fn with_start_times(chunk: &Chunk) -> Option<(ChunkEncoding, Vec<u8>)> {
    let encoding = match chunk.encoding {
        ChunkEncoding::Histogram => ChunkEncoding::HistogramSt,
        ChunkEncoding::FloatHistogram => ChunkEncoding::FloatHistogramSt,
        _ => return None,
    };
    let mut bytes = chunk.bytes.to_vec();
    bytes[0] |= bytes[2];
    bytes[2] = 0;
    Some((encoding, bytes))
}

/// Writes XOR2 chunks, plainly, for the reader's tests.
fn xor2(samples: &[(i64, u64)], start_times: Option<&[i64]>) -> Vec<u8> {
    let mut out = (samples.len() as u16).to_be_bytes().to_vec();
    out.push(0);
    let mut bits = BitWriter::new();
    let (mut last_ms, mut delta, mut base, mut start, mut start_diff) = (0i64, 0i64, 0u64, 0i64, 0i64);
    let mut change_on = 0;
    for (index, &(timestamp_ms, value)) in samples.iter().enumerate() {
        let value_code = |bits: &mut BitWriter, out: &mut Vec<u8>, joint: bool| {
            let xor = value ^ base;
            match (value, xor, joint) {
                (STALE_NAN_BITS, _, _) => bits.bits(out, 0b111, 3),
                (_, 0, _) => bits.bits(out, 0, 1),
                (_, _, true) => bits.bits(out, 1, 1),
                (_, _, false) => bits.bits(out, 0b110, 3),
            }
            if value != STALE_NAN_BITS && xor != 0 {
                bits.bits(out, 0, 11);
                bits.bits(out, xor, 64);
            }
        };
        match index {
            0 => {
                put::varint(&mut out, timestamp_ms);
                put::u64_be(&mut out, value);
            }
            1 => {
                delta = timestamp_ms - last_ms;
                put::uvarint(&mut out, delta as u64);
                value_code(&mut bits, &mut out, false);
            }
            _ => {
                let change = timestamp_ms - last_ms - delta;
                delta += change;
                match (change, value) {
                    (0, STALE_NAN_BITS) => bits.bits(&mut out, 0b11111, 5),
                    (0, _) if value == base => bits.bits(&mut out, 0, 1),
                    (0, _) => {
                        bits.bits(&mut out, 0b10, 2);
                        value_code(&mut bits, &mut out, true);
                    }
                    _ => {
                        if (-4096..4096).contains(&change) {
                            bits.bits(&mut out, 0b110 << 13 | change as u64 & 0x1fff, 16);
                        } else if (-524_288..524_288).contains(&change) {
                            bits.bits(&mut out, 0b1110 << 20 | change as u64 & 0xf_ffff, 24);
                        } else {
                            bits.bits(&mut out, 0b11110, 5);
                            bits.bits(&mut out, change as u64, 64);
                        }
                        value_code(&mut bits, &mut out, false);
                    }
                }
            }
        }
        let this_start = start_times.map_or(0, |times| times[index]);
        if index == 0 && this_start != 0 {
            out[2] = 0x80;
            put::varint(&mut out, timestamp_ms - this_start);
        } else if index > 0 && (change_on > 0 || this_start != start || index == 127) {
            if change_on == 0 {
                change_on = index;
                out[2] |= index as u8;
                start_diff = 0;
            }
            varbit::write_int(&mut bits, &mut out, last_ms - this_start - start_diff);
            start_diff = last_ms - this_start;
        }
        (start, last_ms) = (this_start, timestamp_ms);
        if value != STALE_NAN_BITS {
            base = value;
        }
    }
    out
}

fn floats(seed: u64) -> Vec<(i64, u64)> {
    let mut random = Random(seed);
    let (mut timestamp_ms, mut value) = (1_700_000_000_000, 5u64);
    (0..random.below(130) + 1)
        .map(|_| {
            timestamp_ms += match random.below(6) {
                0 => random.below(4000) as i64,
                1 => random.below(500_000) as i64,
                2 => random.below(1 << 40) as i64,
                _ => 15_000,
            };
            value = match random.below(5) {
                0 => STALE_NAN_BITS,
                1 => random.below(1 << 60) << 3,
                _ if value == STALE_NAN_BITS => 9,
                _ => value,
            };
            (timestamp_ms, value)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn prop_samples_of_all_kinds_read_back_from_the_chunks_they_were_put_in(seed in any::<u64>()) {
        for kinds in [&[0][..], &[1], &[2], &[0, 1, 2]] {
            let written = series(seed, kinds);
            let chunks = build(&written);
            let mut read_back = Vec::new();
            let mut column = Column::default();
            for chunk in &chunks {
                let part = read(chunk.encoding, &chunk.bytes).unwrap();
                prop_assert_eq!(usize::from(sample_count(chunk.encoding, &chunk.bytes).unwrap()), part.len());
                prop_assert_eq!(chunk.range, TimeRange::new(part[0].0, part[part.len() - 1].0));
                decode_into(chunk.encoding, &chunk.bytes, TimeRange::ALL, &mut column).unwrap();
                if let Some((encoding, bytes)) = with_start_times(chunk) {
                    prop_assert_eq!(digests(&read(encoding, &bytes).unwrap()), digests(&part));
                }
                read_back.extend(part);
            }
            prop_assert_eq!(digests(&read_back), digests(&written));
            // Columns hold the same, with float counts.
            let mut histograms = column.histograms.into_iter();
            for (index, (timestamp_ms, value)) in read_back.into_iter().enumerate() {
                prop_assert_eq!(column.timestamps_ms[index], timestamp_ms);
                let float = match value {
                    SampleValue::Float(value) => {
                        prop_assert_eq!(column.values[index].to_bits(), value.to_bits());
                        continue;
                    }
                    SampleValue::Histogram(histogram) => histogram.to_float(),
                    SampleValue::FloatHistogram(histogram) => *histogram,
                };
                let (at, histogram) = histograms.next().unwrap();
                prop_assert_eq!((at, column.values[index].to_bits()), (index, float.sum.to_bits()));
                prop_assert_eq!(Digest::ZERO.of_float_histogram(0, &histogram), Digest::ZERO.of_float_histogram(0, &float));
                prop_assert_eq!(histogram.counter_reset_hint, float.counter_reset_hint);
            }
        }
    }

    #[test]
    fn prop_a_range_of_a_histogram_chunk_is_what_lies_in_it(seed in any::<u64>(), from in 0usize..20, length in 0usize..20) {
        let written = series(seed, &[1]);
        for chunk in build(&written) {
            let all = read(chunk.encoding, &chunk.bytes).unwrap();
            let part = &all[from.min(all.len() - 1)..(from + length + 1).min(all.len()).max(from.min(all.len() - 1) + 1)];
            let mut column = Column::default();
            let range = TimeRange::new(part[0].0, part[part.len() - 1].0);
            decode_into(chunk.encoding, &chunk.bytes, range, &mut column).unwrap();
            prop_assert_eq!(column.timestamps_ms, part.iter().map(|sample| sample.0).collect::<Vec<_>>());
        }
    }

    #[test]
    fn prop_xor2_chunks_with_and_without_start_times_read_back(seed in any::<u64>()) {
        let samples = floats(seed);
        let mut random = Random(seed);
        let mut start = 0;
        let starts: Vec<i64> = samples.iter().map(|sample| {
            if random.is_one_in(10) {
                start = if random.is_one_in(3) { 0 } else { sample.0 - random.below(100_000) as i64 };
            }
            start
        }).collect();
        let without = vec![0; samples.len()];
        for (bytes, starts) in [(xor2(&samples, None), &without), (xor2(&samples, Some(&starts)), &starts)] {
            let read: Vec<_> = read(ChunkEncoding::Xor2, &bytes).unwrap().into_iter().map(|(timestamp_ms, value)| {
                let SampleValue::Float(value) = value else { panic!("no float") };
                (timestamp_ms, value.to_bits())
            }).collect();
            prop_assert_eq!(&read, &samples);
            let mut column = Column::default();
            decode_into(ChunkEncoding::Xor2, &bytes, TimeRange::ALL, &mut column).unwrap();
            prop_assert_eq!(column.len(), samples.len());
            prop_assert_eq!(&(0..samples.len()).map(|index| column.start_ms(index)).collect::<Vec<_>>(), starts);
        }
    }

    #[test]
    fn prop_any_bytes_are_samples_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in 1..=6 {
            read_both_ways(ChunkEncoding::from_number(encoding).unwrap(), &bytes);
        }
    }
}

/// A small chunk of each encoding.
fn specimens() -> Vec<(ChunkEncoding, Vec<u8>)> {
    let mut specimens = vec![(ChunkEncoding::Xor2, xor2(&floats(3)[..12], Some(&[7; 12])))];
    for kind in 0..3 {
        let samples = series(11, &[kind]);
        for chunk in build(&samples[..20]) {
            specimens.extend(with_start_times(&chunk));
            specimens.push((chunk.encoding, chunk.bytes.to_vec()));
        }
    }
    let mut encodings: Vec<u8> = specimens.iter().map(|specimen| specimen.0 as u8).collect();
    encodings.sort_unstable();
    encodings.dedup();
    assert_eq!(encodings, [1, 2, 3, 4, 5, 6]);
    specimens
}

#[test]
fn chunk_of_each_encoding_with_any_bit_flipped_or_cut_anywhere_is_samples_or_an_error() {
    for (encoding, bytes) in specimens() {
        for length in 0..bytes.len() {
            read_both_ways(encoding, &bytes[..length]);
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            read_both_ways(encoding, &bytes);
        }
    }
}

#[test]
fn chunk_that_says_more_samples_than_it_has_bits_for_is_an_error() {
    for (encoding, mut bytes) in specimens() {
        bytes[..2].copy_from_slice(&0x3fff_u16.to_be_bytes());
        assert!(read(encoding, &bytes).is_err(), "{encoding:?}");
        assert!(decode_into(encoding, &bytes, TimeRange::ALL, &mut Column::default()).is_err(), "{encoding:?}");
        assert!(sample_count(encoding, &bytes[..1]).is_err() && samples(encoding, &bytes[..1]).is_err());
    }
}

#[test]
fn boundaries_that_each_sample_would_copy_are_bounded() {
    let mut bounds = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..Histogram::default() };
    bounds.custom_values = (0..70_000).map(f64::from).collect();
    let chunk = build(&[(1, SampleValue::Histogram(Box::new(bounds)))]).remove(0);
    assert_eq!(read(chunk.encoding, &chunk.bytes).unwrap().len(), 1);
    let mut bytes = chunk.bytes.to_vec();
    bytes.extend([0; 1 << 15]);
    bytes[..2].copy_from_slice(&u16::MAX.to_be_bytes());
    assert!(read(chunk.encoding, &bytes).is_err());
}
