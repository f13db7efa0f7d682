//! The samples of a series as chunks in the order of time that do not overlap: what the store holds, as it holds it
//! where that is possible, and encoded anew where parts overlap or are of encodings that clients may not know.

use crate::chunk::{self, ChunkBuilder};
use crate::encoding::Corruption;
use crate::model::{ChunkEncoding, CounterResetHint, SampleValue, TimeRange, TimestampMs};
use crate::storage::{Chunk, StoredPart};

type Samples = Vec<(TimestampMs, SampleValue)>;

/// The chunks of a series that have samples of `range`, from what its store holds. They may have others too.
pub(super) fn in_order(parts: Vec<StoredPart>, range: TimeRange) -> Result<Vec<Chunk>, Corruption> {
    let mut parts: Vec<(usize, TimeRange, StoredPart)> = parts
        .into_iter()
        .enumerate()
        .filter_map(|(rank, part)| Some((rank, range_of(&part)?, part)))
        .filter(|(_, held, _)| held.overlaps(&range))
        .collect();
    parts.sort_by_key(|(rank, held, _)| (held.start_ms, *rank));
    let mut chunks = Vec::with_capacity(parts.len());
    let mut group: Vec<(usize, StoredPart)> = Vec::new();
    let mut group_end_ms = TimestampMs::MIN;
    for (rank, held, part) in parts {
        if !group.is_empty() && held.start_ms > group_end_ms {
            add_group(std::mem::take(&mut group), &mut chunks)?;
        }
        group_end_ms = group_end_ms.max(held.end_ms);
        group.push((rank, part));
    }
    add_group(group, &mut chunks)?;
    Ok(chunks)
}

/// From the first to the last sample; `None` where there is none.
fn range_of(part: &StoredPart) -> Option<TimeRange> {
    match part {
        StoredPart::Chunk(chunk) => Some(chunk.range),
        StoredPart::Samples(samples) => Some(TimeRange::new(samples.first()?.0, samples.last()?.0)),
    }
}

/// Adds the chunks of parts that overlap each other, or of a single part.
fn add_group(mut group: Vec<(usize, StoredPart)>, chunks: &mut Vec<Chunk>) -> Result<(), Corruption> {
    if let [(_, StoredPart::Chunk(chunk))] = &*group
        && matches!(chunk.encoding, ChunkEncoding::Xor | ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram)
    {
        chunks.push(chunk.clone());
        return Ok(());
    }
    // Of equal times the first part's sample stays: the sort is stable.
    group.sort_by_key(|(rank, _)| *rank);
    let mut samples: Vec<(usize, TimestampMs, SampleValue)> = Vec::new();
    for (rank, part) in group {
        let decoded = match part {
            StoredPart::Samples(samples) => samples,
            StoredPart::Chunk(chunk) => {
                chunk::samples(chunk.encoding, &chunk.bytes)?.collect::<Result<Samples, _>>()?
            }
        };
        samples.extend(decoded.into_iter().map(|(at_ms, value)| (rank, at_ms, value)));
    }
    samples.sort_by_key(|(_, at_ms, _)| *at_ms);
    samples.dedup_by_key(|(_, at_ms, _)| *at_ms);
    let mut builder = ChunkBuilder::new();
    let mut last_rank = None;
    for (rank, at_ms, mut value) in samples {
        // What a histogram says about a counter reset it says of the one before it in its own part. The chunk compares
        // each with the one before and ends at a reset, so what is read of it may say more than Prometheus does: that
        // there is none.
        if last_rank.replace(rank) != Some(rank) {
            forget_reset_hint(&mut value);
        }
        chunks.extend(builder.push(at_ms, &value));
    }
    chunks.extend(builder.finish());
    Ok(())
}

fn forget_reset_hint(value: &mut SampleValue) {
    let hint = match value {
        SampleValue::Float(_) => return,
        SampleValue::Histogram(histogram) => &mut histogram.counter_reset_hint,
        SampleValue::FloatHistogram(histogram) => &mut histogram.counter_reset_hint,
    };
    if *hint != CounterResetHint::Gauge {
        *hint = CounterResetHint::Unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(times: &[i64], value: f64) -> Chunk {
        let mut builder = ChunkBuilder::new();
        for at in times {
            assert!(builder.push(*at, &SampleValue::Float(value)).is_none());
        }
        builder.finish().unwrap()
    }

    fn samples(chunks: &[Chunk]) -> Vec<(i64, f64)> {
        let decoded = chunks.iter().flat_map(|chunk| chunk::samples(chunk.encoding, &chunk.bytes).unwrap());
        decoded
            .map(|sample| match sample.unwrap() {
                (at_ms, SampleValue::Float(value)) => (at_ms, value),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn chunks_that_do_not_overlap_are_passed_on_as_they_are_in_the_order_of_time() {
        let [a, b, c] = [chunk(&[1, 5], 1.0), chunk(&[6, 9], 2.0), chunk(&[20, 30], 3.0)];
        let parts = [&b, &c, &a].map(|chunk| StoredPart::Chunk(chunk.clone())).to_vec();
        let found = in_order(parts, TimeRange::new(5, 19)).unwrap();
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip([&a, &b]) {
            assert_eq!((&found.bytes[..], found.range), (&expected.bytes[..], expected.range));
        }
    }

    #[test]
    fn parts_that_overlap_are_merged_and_of_one_time_the_first_part_counts() {
        let late = StoredPart::Samples(vec![(4, SampleValue::Float(7.0)), (5, SampleValue::Float(7.0))]);
        let parts = vec![
            StoredPart::Chunk(chunk(&[1, 5, 9], 1.0)),
            StoredPart::Chunk(chunk(&[0, 1], 2.0)),
            late,
            StoredPart::Samples(vec![(10, SampleValue::Float(3.0))]),
        ];
        let found = in_order(parts, TimeRange::ALL).unwrap();
        assert_eq!(samples(&found), [(0, 2.0), (1, 1.0), (4, 7.0), (5, 1.0), (9, 1.0), (10, 3.0)]);
        assert!(found.is_sorted_by(|a, b| a.range.end_ms < b.range.start_ms));
        assert!(in_order(Vec::new(), TimeRange::ALL).unwrap().is_empty());
    }

    #[test]
    fn merged_histograms_say_that_no_counter_was_reset_only_where_none_was() {
        let histogram = |count| {
            let histogram = crate::model::Histogram { count, zero_count: count, ..Default::default() };
            SampleValue::Histogram(Box::new(histogram))
        };
        let mut builder = ChunkBuilder::new();
        for (at_ms, count) in [(1, 10), (5, 20), (9, 30)] {
            assert!(builder.push(at_ms, &histogram(count)).is_none());
        }
        let late = StoredPart::Samples(vec![(3, histogram(5)), (7, histogram(25))]);
        let found = in_order(vec![StoredPart::Chunk(builder.finish().unwrap()), late], TimeRange::ALL).unwrap();
        let decoded = found.iter().flat_map(|chunk| chunk::samples(chunk.encoding, &chunk.bytes).unwrap());
        let hints: Vec<(i64, CounterResetHint)> = decoded
            .map(|sample| match sample.unwrap() {
                (at_ms, SampleValue::Histogram(histogram)) => (at_ms, histogram.counter_reset_hint),
                other => panic!("{other:?}"),
            })
            .collect();
        use CounterResetHint::{NotReset, Unknown};
        assert_eq!(hints, [(1, Unknown), (3, Unknown), (5, NotReset), (7, NotReset), (9, NotReset)]);
    }

    #[test]
    fn chunks_of_a_head_with_late_and_deleted_samples_give_what_queries_read() {
        use crate::head::{Head, HeadOptions};
        use crate::model::raw_labels::encode_canonical;
        use crate::model::{Histogram, Label, Matcher, RawLabels, Sample};
        use crate::storage::{Column, HistogramSample, Queryable as _, SelectHints, SeriesEntry, WriteBatch};

        let options = HeadOptions { out_of_order_window_ms: 3_600_000, ..HeadOptions::default() };
        let head = Head::in_memory(options);
        let labels = ["float", "native"].map(|name| {
            let mut out = Vec::new();
            encode_canonical([Label { name: "__name__", value: name }].into_iter(), &mut out);
            out
        });
        // Every fifth sample comes late.
        for late in [false, true] {
            let mut batch = WriteBatch::default();
            let times: Vec<i64> = (0..500i64).filter(|n| (n % 5 == 3) == late).map(|n| n * 1000).collect();
            batch.samples.extend(times.iter().map(|at| Sample { timestamp_ms: *at, value: *at as f64 / 7.0 }));
            batch.series.push(SeriesEntry { labels: RawLabels(&labels[0]), samples: 0..times.len() as u32 });
            let end = times.len() as u32;
            batch.series.push(SeriesEntry { labels: RawLabels(&labels[1]), samples: end..end });
            batch.histograms.extend(times.iter().map(|at| {
                let count = *at as u64 % 11_000;
                let histogram = Histogram { count, zero_count: count, sum: *at as f64, ..Histogram::default() };
                HistogramSample { entry: 1, timestamp_ms: *at, value: SampleValue::Histogram(Box::new(histogram)) }
            }));
            assert_eq!(head.append(&batch, 1_000_000).rejected_total(), 0);
        }
        for name in ["float", "native"] {
            head.delete(&[Matcher::equal("__name__", name)], TimeRange::new(100_500, 163_000));
        }
        for range in [TimeRange::ALL, TimeRange::new(90_000, 100_000), TimeRange::new(120_000, 130_000)] {
            let querier = head.querier(range).unwrap();
            for series in querier.select(&[], &SelectHints::default()).unwrap() {
                let (mut column, mut parts) = (Column::default(), Vec::new());
                series.samples.read(range, &mut column).unwrap();
                series.samples.parts(range, &mut parts).unwrap();
                let found = in_order(parts, range).unwrap();
                assert!(found.is_sorted_by(|a, b| a.range.end_ms < b.range.start_ms));
                let decoded = found.iter().flat_map(|chunk| chunk::samples(chunk.encoding, &chunk.bytes).unwrap());
                let value = |value: SampleValue| match value {
                    SampleValue::Float(value) => value.to_bits(),
                    SampleValue::Histogram(histogram) => histogram.sum.to_bits(),
                    other => panic!("{other:?}"),
                };
                let found: Vec<(i64, u64)> = decoded
                    .map(|sample| sample.unwrap())
                    .filter(|(at, _)| range.contains(*at))
                    .map(|(at, sample)| (at, value(sample)))
                    .collect();
                let expected: Vec<(i64, u64)> = column
                    .timestamps_ms
                    .iter()
                    .copied()
                    .zip(column.values.iter().map(|value| value.to_bits()))
                    .collect();
                assert!(found == expected, "{} in {range:?}: {} and {}", series.labels, found.len(), expected.len());
            }
        }
    }
}
