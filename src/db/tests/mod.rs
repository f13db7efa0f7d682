//! The database on a simulated disk with a clock that stands still: what it holds equals a plain map, whatever happens.

mod change;
mod crash;
mod damage;
mod empty_log;
mod explore;
mod flush_edges;
mod late;
mod life;
mod log_damage;
mod offline;
mod planted;
mod proven;
mod restart;
mod states;
mod witness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::*;
use crate::block::{BlockOrigin, BlockWriter, WriterOptions};
use crate::chunk::ChunkBuilder;
use crate::clock::ManualClock;
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::head::HeadOptions;
use crate::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA};
use crate::model::raw_labels::encode_canonical;
use crate::model::{FloatHistogram, Histogram, Label, LabelSet, RawLabels, Sample, SampleValue};
use crate::storage::{Column, HistogramSample, SelectHints, SeriesEntry};
use crate::wal::{RecoveryMode, WalOptions};
use retention::RetentionPolicy;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
/// A multiple of all block ranges.
pub(super) const START: i64 = 19_440 * 24 * HOUR;
pub(super) const DATA: &str = "/data";

/// Samples by series and time, values by their bits.
pub(super) type Model = BTreeMap<LabelSet, BTreeMap<i64, u64>>;

pub(super) fn options() -> DbOptions {
    DbOptions {
        wal: WalOptions {
            segment_bytes: 64 << 10,
            retry_interval: Duration::from_millis(1),
            retry_interval_max: Duration::from_millis(1),
            ..WalOptions::default()
        },
        head: HeadOptions { hash_key: Some([1, 2, 3, 4]), out_of_order_window_ms: 3 * HOUR, ..HeadOptions::default() },
        storage: StorageOptions {
            retention: RetentionPolicy { time_ms: Some(15 * 24 * HOUR), size_bytes: None },
            name_seed: Some(7),
            ..StorageOptions::default()
        },
        ..DbOptions::new(DATA)
    }
}

/// A native histogram with this sum. A query shows the sum among the values, so a plain map holds it as any value.
pub(super) fn histogram(sum: f64) -> SampleValue {
    let count = 2 + sum.to_bits() % 7;
    SampleValue::Histogram(Box::new(Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        count,
        sum,
        positive_spans: vec![BucketSpan { offset: sum.to_bits() as i32 % 3, length: 1 }],
        positive_deltas: vec![count as i64 - 1],
        ..Histogram::default()
    }))
}

/// One with float counts and custom buckets.
pub(super) fn float_histogram(sum: f64) -> SampleValue {
    let count = 2.0 + (sum.to_bits() % 7) as f64;
    SampleValue::FloatHistogram(Box::new(FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum,
        positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
        positive_buckets: vec![count],
        custom_values: vec![0.25, 4.0],
        ..FloatHistogram::default()
    }))
}

/// Adds an entry of one sample to a batch.
pub(super) fn push_sample<'a>(batch: &mut WriteBatch<'a>, labels: &'a [u8], timestamp_ms: i64, value: SampleValue) {
    let start = batch.samples.len() as u32;
    let entry = batch.series.len() as u32;
    match value {
        SampleValue::Float(value) => batch.samples.push(Sample { timestamp_ms, value }),
        value => batch.histograms.push(HistogramSample { entry, timestamp_ms, value }),
    }
    batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: start..batch.samples.len() as u32 });
}

/// A store on a simulated disk, and what it has to hold.
pub(super) struct Store {
    pub(super) fs: SimFs,
    pub(super) clock: Arc<ManualClock>,
    pub(super) db: Arc<Db>,
    pub(super) model: Model,
}

pub(super) fn open(fs: &SimFs, clock: &Arc<ManualClock>, options: DbOptions) -> Result<Arc<Db>, OpenError> {
    Db::open_unlocked(options, Arc::new(fs.clone()), clock.clone(), &ReplayWatch::default()).map(Arc::new)
}

impl Store {
    pub(super) fn new(options: DbOptions) -> Self {
        let (fs, clock) = (SimFs::new(1), Arc::new(ManualClock::at(START)));
        let db = open(&fs, &clock, options).unwrap();
        Store { fs, clock, db, model: Model::new() }
    }

    /// Appends samples of one time and waits until they are acknowledged; whether they were.
    pub(super) fn append(&mut self, at_ms: i64, series: &[(String, f64)]) -> bool {
        let sets: Vec<LabelSet> =
            series.iter().map(|(name, _)| LabelSet::from_pairs([("__name__", "up"), ("job", name)])).collect();
        let raw: Vec<Vec<u8>> = sets
            .iter()
            .map(|set| {
                let mut out = Vec::new();
                encode_canonical(set.iter().map(|Label { name, value }| Label { name, value }), &mut out);
                out
            })
            .collect();
        let mut batch = WriteBatch::default();
        for (labels, (_, value)) in raw.iter().zip(series) {
            let start = batch.samples.len() as u32;
            batch.samples.push(Sample { timestamp_ms: at_ms, value: *value });
            batch.series.push(SeriesEntry { labels: RawLabels(labels), samples: start..start + 1 });
        }
        let Ok((outcome, durable)) = self.db.append(&batch, self.clock.now_ms()) else { return false };
        assert_eq!(outcome.added, series.len() as u64, "{:?}", outcome.rejects);
        if durable.wait().is_err() {
            return false;
        }
        for (set, (_, value)) in sets.into_iter().zip(series) {
            self.model.entry(set).or_default().insert(at_ms, value.to_bits());
        }
        true
    }

    pub(super) fn advance_to(&self, at_ms: i64) {
        let ahead = at_ms.saturating_sub(self.clock.now_ms());
        self.clock.advance(Duration::from_millis(ahead.max(0) as u64));
    }

    /// Closes and opens again.
    pub(super) fn restart(&mut self, options: DbOptions) {
        self.db.close();
        self.db = open(&self.fs, &self.clock, options).unwrap();
    }

    pub(super) fn assert_equals_model(&self, when: &str) {
        let found = contents(&self.db, TimeRange::ALL);
        assert_same(&found, &self.model, when);
    }
}

/// A block of one sample that another program made, and put into the data directory.
pub(super) fn foreign_block(fs: &SimFs, labels: &LabelSet, (at_ms, value): (i64, f64), times_ms: std::ops::Range<i64>) {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut block = BlockWriter::create(fs, Path::new(DATA), Ulid::from(7), WriterOptions::default()).unwrap();
    let mut chunk = ChunkBuilder::new();
    assert!(chunk.push(at_ms, &SampleValue::Float(value)).is_none());
    block.add(labels, &[chunk.finish().unwrap()]).unwrap();
    let origin =
        BlockOrigin { min_time_ms: times_ms.start, max_time_ms: times_ms.end, level: 1, ..BlockOrigin::default() };
    block.finish(origin).unwrap().unwrap().publish().unwrap();
}

/// Everything that queries give.
pub(super) fn contents(db: &Db, range: TimeRange) -> Model {
    read(&*db.queryable(), range)
}

/// Everything that queries of a store give.
pub(super) fn read(store: &dyn Queryable, range: TimeRange) -> Model {
    let querier = store.querier(range).unwrap();
    let mut model = Model::new();
    for series in querier.select(&[], &SelectHints::default()).unwrap() {
        let mut column = Column::default();
        series.samples.read(range, &mut column).unwrap();
        assert!(column.timestamps_ms.is_sorted_by(|a, b| a < b), "{}", series.labels);
        if !column.is_empty() {
            let samples = column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits()));
            model.insert(series.labels, samples.collect());
        }
    }
    assert_eq!(querier.warnings(), [""; 0]);
    model
}

pub(super) fn assert_same(found: &Model, expected: &Model, when: &str) {
    for (labels, samples) in expected {
        let got = found.get(labels).cloned().unwrap_or_default();
        let missing: Vec<_> = samples.iter().filter(|(at, bits)| got.get(at) != Some(bits)).take(3).collect();
        assert!(missing.is_empty(), "{when}: {labels} lacks {missing:?} of {} samples", samples.len());
        let extra: Vec<_> = got.iter().filter(|(at, _)| !samples.contains_key(at)).take(3).collect();
        assert!(extra.is_empty(), "{when}: {labels} has {extra:?} besides {} samples", samples.len());
    }
    let extra: Vec<_> = found.keys().filter(|labels| !expected.contains_key(*labels)).take(3).collect();
    assert!(extra.is_empty(), "{when}: {extra:?} should not be there");
}

/// The names and files of the data directory, for messages.
pub(super) fn listing(fs: &SimFs) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs.list(Path::new(DATA)).unwrap_or_default() {
        for file in fs.list(&Path::new(DATA).join(&entry.name)).unwrap_or_default() {
            found.push(format!("{}/{} {}", entry.name, file.name, file.bytes));
        }
    }
    found
}
