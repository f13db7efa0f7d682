//! Appends, queries and truncations side by side: every acknowledged sample is in a block or in the head, and a query
//! misses none that was acknowledged before it began.
//!
//! `CHRONOLITH_TRUNCATION_ROUNDS` sets the number of truncations, `CHRONOLITH_TRUNCATION_SEED` the course of the threads,
//! as far as the system's scheduler leaves it to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use super::tests::{Request, contents, open, random_options, raw};
use super::truncate_tests::{chunks, samples, settle};
use super::*;
use crate::fs::sim::SimRandom;
use crate::model::{Digest, LabelSet};
use crate::storage::{Column, Queryable, SelectHints};

type Model = BTreeMap<LabelSet, Vec<(i64, u64)>>;

const APPENDERS: usize = 2;
const QUERIERS: usize = 2;
/// Series of each request, most of them gone soon.
const SERIES: i64 = 15;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A value that only this series has at this time, so that a sample of another series stands out.
fn bits_of(labels: &LabelSet, timestamp_ms: i64) -> u64 {
    Digest::of_labels(labels).0 as u64 ^ timestamp_ms as u64
}

struct Stage {
    head: Head,
    /// As the log's admission: requests hold it shared, a pause alone.
    gate: RwLock<()>,
    clock_ms: AtomicI64,
    is_over: AtomicBool,
    /// The times of each appender's witness, a series that is in all of its requests.
    witnesses: [Mutex<Vec<i64>>; APPENDERS],
}

impl Stage {
    fn pause<R>(&self, part: impl FnOnce() -> R) -> R {
        let _alone = self.gate.write().unwrap();
        part()
    }

    /// One request: the witness, and series that change as time goes on. What was added goes to `acknowledged`.
    fn append(&self, appender: usize, acknowledged: &mut Model, random: &mut SimRandom) {
        let _admitted = self.gate.read().unwrap();
        let now_ms = self.clock_ms.fetch_add(1 + (random.below(200)) as i64, Ordering::SeqCst);
        let (mut request, mut sent) = (Request::default(), Vec::new());
        for series in 0..=SERIES {
            let generation = (now_ms + series * 977) / 10_000;
            let names = [appender.to_string(), series.to_string(), generation.to_string()];
            let labels = match series {
                0 => vec![("__name__", "witness"), ("appender", &*names[0])],
                _ => vec![
                    ("__name__", "m"),
                    ("appender", &*names[0]),
                    ("generation", &*names[2]),
                    ("series", &*names[1]),
                ],
            };
            let set = LabelSet::from_pairs(labels.iter().copied());
            let sample = (now_ms, bits_of(&set, now_ms));
            request.0.push((raw(&labels), vec![sample]));
            sent.push((set, sample));
        }
        let outcome = request.append_to(&self.head);
        // Where the scheduler lets the other appender run far ahead, a new series may be too old.
        let is_refused = |index: usize| outcome.rejects.iter().any(|reject| reject.series_index == index);
        assert!(!is_refused(0), "{:?}", outcome.rejects);
        let added = sent.into_iter().enumerate().filter(|(index, _)| !is_refused(*index));
        let mut count = 0;
        for (_, (set, sample)) in added {
            acknowledged.entry(set).or_default().push(sample);
            count += 1;
        }
        assert_eq!(outcome.added, count);
        self.witnesses[appender].lock().unwrap().push(now_ms);
    }

    fn query(&self, random: &mut SimRandom) {
        let known: Vec<Vec<i64>> = self.witnesses.iter().map(|times| times.lock().unwrap().clone()).collect();
        let start_ms = self.clock_ms.load(Ordering::SeqCst) - (random.below(60_000)) as i64;
        let querier = self.head.querier(TimeRange::new(start_ms, i64::MAX)).unwrap();
        // The floor is raised before reads begin there, so this is not below what the querier sees from.
        let from_ms = start_ms.max(self.head.floor_ms());
        for series in querier.select(&[], &SelectHints::default()).unwrap() {
            let mut column = Column::default();
            series.samples.read(TimeRange::ALL, &mut column).unwrap();
            let read: Vec<(i64, u64)> =
                column.timestamps_ms.iter().copied().zip(column.values.iter().map(|value| value.to_bits())).collect();
            assert!(read.iter().all(|&(ms, bits)| ms >= start_ms && bits == bits_of(&series.labels, ms)));
            assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
            if series.labels.metric_name() == Some("witness") {
                let appender: usize = series.labels.get("appender").unwrap().parse().unwrap();
                let times: Vec<i64> = read.iter().map(|sample| sample.0).filter(|&ms| ms >= from_ms).collect();
                let expected: Vec<i64> = known[appender].iter().copied().filter(|&ms| ms >= from_ms).collect();
                assert!(times.starts_with(&expected), "{} of {}", times.len(), expected.len());
            }
        }
        assert_eq!(querier.warnings(), Vec::<String>::new());
    }

    /// What a flush does, with the block's samples into `blocks`.
    fn flush(&self, blocks: &mut Model, random: &mut SimRandom) -> Truncated {
        self.pause(|| settle(&self.head));
        let floor_ms = self.head.floor_ms();
        let below_ms = self.pause(|| {
            let below_ms = self.clock_ms.load(Ordering::SeqCst) - (random.below(3_000)) as i64;
            self.head.raise_floor(below_ms);
            below_ms
        });
        let range = TimeRange::new(floor_ms, below_ms - 1);
        for (labels, samples) in samples(&chunks(self.head.chunk_source(range, ChunkKind::InOrder))) {
            blocks.entry(labels).or_default().extend(samples);
        }
        self.head.read_from(below_ms);
        if random.once_in(2) {
            assert!(self.head.wait_for_readers(below_ms, Duration::from_secs(600)));
        }
        self.head.truncate(below_ms, &|part| self.pause(part))
    }
}

#[test]
fn appends_queries_and_truncations_side_by_side_lose_nothing() {
    let seed = from_env("CHRONOLITH_TRUNCATION_SEED", 1);
    let rounds = from_env("CHRONOLITH_TRUNCATION_ROUNDS", 15);
    let dir = tempfile::tempdir().unwrap();
    let options = HeadOptions { chunk_range_ms: 5_000, ..random_options() };
    let stage = Stage {
        head: open(options, dir.path()),
        gate: RwLock::new(()),
        clock_ms: AtomicI64::new(1_000_000),
        is_over: AtomicBool::new(false),
        witnesses: Default::default(),
    };
    let (mut blocks, mut removed) = (Model::new(), 0);
    let mut acknowledged = Model::new();
    std::thread::scope(|scope| {
        let stage = &stage;
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|appender| {
                scope.spawn(move || {
                    let (mut random, mut acknowledged) = (SimRandom::new(seed * 31 + appender as u64), Model::new());
                    while !stage.is_over.load(Ordering::SeqCst) {
                        stage.append(appender, &mut acknowledged, &mut random);
                    }
                    acknowledged
                })
            })
            .collect();
        for number in 0..QUERIERS {
            scope.spawn(move || {
                let mut random = SimRandom::new(seed * 37 + number as u64);
                while !stage.is_over.load(Ordering::SeqCst) {
                    stage.query(&mut random);
                }
            });
        }
        // Says that it is over also when a flush panics, or the others would never end.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        {
            let _end = End(&stage.is_over);
            let mut random = SimRandom::new(seed);
            for round in 1..=rounds as i64 {
                while stage.clock_ms.load(Ordering::SeqCst) < 1_000_000 + round * 8_000 {
                    std::thread::yield_now();
                }
                removed += stage.flush(&mut blocks, &mut random).series;
            }
        }
        for appender in appenders {
            acknowledged.extend(appender.join().unwrap());
        }
    });
    assert!(removed > 0);
    for (labels, samples) in contents(&stage.head) {
        blocks.entry(labels).or_default().extend(samples);
    }
    assert_eq!(blocks.len(), acknowledged.len());
    for (labels, samples) in &acknowledged {
        assert_eq!(blocks.get(labels), Some(samples), "{labels}, seed {seed}");
    }
}
