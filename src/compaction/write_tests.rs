//! Blocks from sources: what is written, and that nothing is left behind a failure.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::testing::*;
use super::*;
use crate::block::BlockOrigin;
use crate::chunk::ChunkBuilder;
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::model::{ChunkEncoding, Histogram, SampleValue, TimeRange};
use crate::storage::{Chunk, ChunkBytes, ChunkSeries, ChunkSource, StorageError};

const DATA: &str = "/data";

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn origin() -> BlockOrigin {
    BlockOrigin { min_time_ms: 0, max_time_ms: 1000, level: 1, ..BlockOrigin::default() }
}

fn many(count: u32) -> TestSource {
    let series = |number| TestSeries {
        labels: labels(number),
        samples: (0..100).map(|at| (at, f64::from(number))).collect(),
        deleted: Vec::new(),
        per_chunk: 50,
    };
    let mut all: Vec<_> = (0..count).map(series).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

fn disk() -> (SimFs, Arc<dyn Fs>) {
    let fs = SimFs::new(0);
    fs.create_dir_all(Path::new(DATA)).unwrap();
    (fs.clone(), Arc::new(fs))
}

fn write(
    fs: &Arc<dyn Fs>,
    sources: Vec<Box<dyn ChunkSource>>,
    range: TimeRange,
    watch: &mut Watch<'_>,
) -> Result<WrittenBlock, CompactionError> {
    write_block(fs, Path::new(DATA), Ulid::from(7), sources, range, origin(), watch)
}

#[test]
fn block_is_written_with_what_the_merge_counted() {
    let (_, fs) = disk();
    let written = write(&fs, sources(&[many(3), many(2)]), TimeRange::new(10, 999), &mut go_on).unwrap();
    let block = written.block.unwrap();
    assert_eq!((block.meta().stats.samples, block.meta().stats.series), (270, 3));
    assert_eq!((written.totals.deduplicated.samples, written.totals.conflicts), (180, 0));
    assert_eq!(written.totals.outside, 50);
}

#[test]
fn block_without_a_sample_is_none_and_leaves_nothing() {
    let (sim, fs) = disk();
    let written = write(&fs, sources(&[many(3)]), TimeRange::new(500, 600), &mut go_on).unwrap();
    assert!(written.block.is_none());
    assert_eq!((written.totals.outside, written.totals.series_dropped), (300, 3));
    assert_eq!(sim.list(Path::new(DATA)).unwrap(), []);
}

#[test]
fn writing_that_is_stopped_or_fails_leaves_nothing() {
    let (sim, fs) = disk();
    let mut seen = Vec::new();
    let mut stop = |progress| {
        seen.push(progress);
        ControlFlow::Break(())
    };
    let error = write(&fs, sources(&[many(600)]), TimeRange::ALL, &mut stop).unwrap_err();
    assert!(matches!(error, CompactionError::Stopped), "{error}");
    assert_eq!(seen, [Progress::Writing { series: 256, samples: 25_600 }]);
    assert_eq!(sim.list(Path::new(DATA)).unwrap(), []);

    struct Failing(u32);
    impl ChunkSource for Failing {
        fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
            self.0 += 1;
            match self.0 {
                1 => Ok(many(1).first().map(|series| ChunkSeries {
                    labels: series.labels.clone(),
                    chunks: series.chunks(),
                    deleted: Vec::new(),
                })),
                _ => Err(StorageError::Corrupt { what: "rot".to_owned(), place: "here".to_owned() }),
            }
        }
    }
    let error = write(&fs, vec![Box::new(Failing(0))], TimeRange::ALL, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("rot in here"), "{error}");
    assert_eq!(sim.list(Path::new(DATA)).unwrap(), []);
}

#[test]
fn chunks_that_say_how_the_counter_was_reset_beside_their_count_are_counted_without_it() {
    /// As Prometheus writes it with start timestamps: what is known about resets stands in the upper bits of the count.
    fn chunk(from_ms: i64, resets: u8) -> Chunk {
        let mut builder = ChunkBuilder::new();
        for at_ms in from_ms..from_ms + 30 {
            let count = at_ms as u64;
            let histogram = Histogram { count, zero_count: count, sum: 2.5, ..Histogram::default() };
            assert!(builder.push(at_ms, &SampleValue::Histogram(Box::new(histogram))).is_none());
        }
        let chunk = builder.finish().unwrap();
        let mut bytes = chunk.bytes.to_vec();
        bytes[0] |= resets;
        bytes[2] = 0;
        Chunk { encoding: ChunkEncoding::HistogramSt, bytes: ChunkBytes::Memory(bytes.into()), ..chunk }
    }
    struct One(Option<ChunkSeries>);
    impl ChunkSource for One {
        fn next_series(&mut self) -> Result<Option<ChunkSeries>, StorageError> {
            Ok(self.0.take())
        }
    }
    let (_, fs) = disk();
    let source = |chunks| -> Box<dyn ChunkSource> {
        Box::new(One(Some(ChunkSeries { labels: labels(1), chunks, deleted: Vec::new() })))
    };
    let sources = vec![source(vec![chunk(0, 0), chunk(100, 0x40)]), source(vec![chunk(200, 0x80), chunk(300, 0xc0)])];
    let written = write(&fs, sources, TimeRange::ALL, &mut go_on).unwrap();
    let stats = &written.block.as_ref().unwrap().meta().stats;
    assert_eq!((stats.samples, stats.histogram_samples), (120, 120));
    assert_eq!(written.totals.chunks_passed, 4);
}
