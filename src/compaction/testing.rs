//! Sources of made-up series, and a plain model of what merging them gives.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use crate::chunk::{self, ChunkBuilder};
use crate::model::{Digest, LabelSet, SampleValue, Tally, TimeRange, TimestampMs};
use crate::storage::{ChunkSeries, ChunkSource, StorageError};

/// Float samples by time.
pub(super) type Samples = BTreeMap<TimestampMs, f64>;

/// A series of a made-up source.
#[derive(Debug, Clone)]
pub(super) struct TestSeries {
    pub(super) labels: LabelSet,
    pub(super) samples: Samples,
    pub(super) deleted: Vec<TimeRange>,
    /// Samples of each chunk.
    pub(super) per_chunk: usize,
}

/// A made-up source: series in the order of their labels.
pub(super) type TestSource = Vec<TestSeries>;

pub(super) fn labels(number: u32) -> LabelSet {
    LabelSet::from_pairs([("__name__", "up"), ("instance", format!("node-{number}").as_str())])
}

impl TestSeries {
    pub(super) fn chunks(&self) -> Vec<crate::storage::Chunk> {
        let samples: Vec<_> = self.samples.iter().collect();
        let chunk = |samples: &[(&TimestampMs, &f64)]| {
            let mut builder = ChunkBuilder::new();
            for (timestamp_ms, value) in samples {
                assert!(builder.push(**timestamp_ms, &SampleValue::Float(**value)).is_none());
            }
            builder.finish().unwrap()
        };
        samples.chunks(self.per_chunk).map(chunk).collect()
    }

    /// Whether the samples of a time are deleted.
    pub(super) fn is_deleted(&self, timestamp_ms: TimestampMs) -> bool {
        self.deleted.iter().any(|range| range.contains(timestamp_ms))
    }

    pub(super) fn tally(&self) -> Tally {
        tally(&self.labels, &self.samples)
    }
}

pub(super) fn tally(labels: &LabelSet, samples: &Samples) -> Tally {
    let labels = Digest::of_labels(labels);
    let mut tally = Tally::ZERO;
    samples.iter().for_each(|(timestamp_ms, value)| tally.add_sample(labels.of_sample(*timestamp_ms, *value)));
    tally
}

struct Source(VecDeque<ChunkSeries>);

impl ChunkSource for Source {
    fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
        Ok(self.0.pop_front())
    }
}

pub(super) fn source(series: &[TestSeries]) -> Box<dyn ChunkSource> {
    let chunk_series = |series: &TestSeries| ChunkSeries {
        labels: series.labels.clone(),
        chunks: series.chunks(),
        deleted: series.deleted.clone(),
    };
    Box::new(Source(series.iter().map(chunk_series).collect()))
}

pub(super) fn sources(sources: &[TestSource]) -> Vec<Box<dyn ChunkSource>> {
    sources.iter().map(|series| source(series)).collect()
}

/// What a merge has to give.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) series: BTreeMap<LabelSet, Samples>,
    pub(super) deleted: Tally,
    pub(super) deduplicated: Tally,
    pub(super) conflicts: u64,
}

impl Model {
    /// Takes one sample after the other, the sources in the order of precedence.
    pub(super) fn of(sources: &[TestSource], range: TimeRange) -> Self {
        let mut model = Model::default();
        for series in sources.iter().flatten() {
            let digest = Digest::of_labels(&series.labels);
            for (&timestamp_ms, &value) in series.samples.iter().filter(|(at, _)| range.contains(**at)) {
                let sample = digest.of_sample(timestamp_ms, value);
                let kept = model.series.entry(series.labels.clone()).or_default();
                match kept.get(&timestamp_ms) {
                    _ if series.is_deleted(timestamp_ms) => model.deleted.add_sample(sample),
                    Some(other) => {
                        model.conflicts += u64::from(other.to_bits() != value.to_bits());
                        model.deduplicated.add_sample(sample);
                    }
                    None => {
                        kept.insert(timestamp_ms, value);
                    }
                }
            }
        }
        model.series.retain(|_, samples| !samples.is_empty());
        model
    }
}

/// The samples of all series that a source gives; chunks must be in order and apart.
pub(super) fn drain(source: &mut dyn ChunkSource) -> BTreeMap<LabelSet, Samples> {
    let mut all: BTreeMap<LabelSet, Samples> = BTreeMap::new();
    while let Some(series) = source.next_series().unwrap() {
        assert!(all.last_key_value().is_none_or(|(last, _)| *last < series.labels), "series are not in order");
        assert_eq!(series.deleted, []);
        let samples = all.entry(series.labels).or_default();
        for chunk in series.chunks {
            assert!(samples.last_key_value().is_none_or(|(last, _)| *last < chunk.range.start_ms), "chunks overlap");
            let before = samples.len();
            for sample in chunk::samples(chunk.encoding, &chunk.bytes).unwrap() {
                let (timestamp_ms, value) = sample.unwrap();
                let SampleValue::Float(value) = value else { panic!("not a float") };
                assert!(chunk.range.contains(timestamp_ms));
                assert_eq!(samples.insert(timestamp_ms, value), None);
            }
            assert_eq!(chunk::sample_count(chunk.encoding, &chunk.bytes).unwrap() as usize, samples.len() - before);
        }
    }
    all
}

/// Sources with overlaps, duplicates, conflicts and deletions.
pub(super) fn arbitrary_sources() -> impl Strategy<Value = Vec<TestSource>> {
    let samples = prop::collection::btree_map(0i64..300, (0u8..3).prop_map(f64::from), 1..40);
    let deleted = prop::collection::vec((0i64..300, 0i64..40), 0..3).prop_map(|mut ranges| {
        ranges.sort_unstable();
        let mut apart: Vec<TimeRange> = Vec::new();
        for (start_ms, length) in ranges {
            if apart.last().is_none_or(|last| last.end_ms + 1 < start_ms) {
                apart.push(TimeRange::new(start_ms, start_ms + length));
            }
        }
        apart
    });
    let series = (samples, deleted, 0i64..4, 1usize..12).prop_map(|(samples, deleted, shift, per_chunk)| TestSeries {
        labels: LabelSet::empty(),
        // Some sources lie apart from others, so that chunks are passed on.
        samples: samples.into_iter().map(|(at, value)| (at + shift * 200, value)).collect(),
        deleted: deleted
            .iter()
            .map(|range| TimeRange::new(range.start_ms + shift * 200, range.end_ms + shift * 200))
            .collect(),
        per_chunk,
    });
    let source = prop::collection::btree_map(0u32..6, series, 0..5).prop_map(|series| {
        series.into_iter().map(|(number, series)| TestSeries { labels: labels(number), ..series }).collect()
    });
    prop::collection::vec(source, 1..5)
}
