//! Truncation of a million series, once: how long writes stand still, how long it takes, and what memory comes back.
//!
//! `cargo bench --bench truncate` prints figures for two cases, one after the other on the same head: all series go on and
//! only their old chunks leave; then nine of ten series are gone for good.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use chronolith::fs::resident_bytes;
use chronolith::head::{Head, HeadOptions, Truncated};
use chronolith::index::{Index, PairId};
use chronolith::model::raw_labels::encode_canonical;
use chronolith::model::{LabelSet, RawLabels, Sample};
use chronolith::storage::{SeriesEntry, WriteBatch};

const SERIES: usize = 1_000_000;
const BATCH_SERIES: usize = 2000;
const HOUR_MS: i64 = 3_600_000;
const SAMPLES: i64 = 20;

fn labels(series: usize) -> LabelSet {
    let pairs = [
        ("__name__", format!("metric_{}_total", series % 200)),
        ("cluster", "production-1".to_owned()),
        ("container", format!("container-{}", series % 37)),
        ("instance", format!("10.{}.{}.{}:9100", series / 65536, series / 256 % 256, series % 256)),
        ("job", format!("job-{}", series % 50)),
        ("namespace", format!("namespace-{}", series % 300)),
        ("pod", format!("pod-{:08x}", series / 200)),
    ];
    LabelSet::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}

/// One sample for each of the series.
fn append(head: &Head, series: std::ops::Range<usize>, timestamp_ms: i64) {
    let series: Vec<usize> = series.collect();
    for part in series.chunks(BATCH_SERIES) {
        let bytes: Vec<Vec<u8>> = part
            .iter()
            .map(|&series| {
                let mut out = Vec::new();
                encode_canonical(labels(series).iter(), &mut out);
                out
            })
            .collect();
        let entry = |(index, labels)| SeriesEntry { labels: RawLabels(labels), samples: index..index + 1 };
        let batch = WriteBatch {
            series: (0u32..).zip(bytes.iter().map(Vec::as_slice)).map(entry).collect(),
            samples: part.iter().map(|&series| Sample { timestamp_ms, value: series as f64 }).collect(),
            ..WriteBatch::default()
        };
        head.append(&batch, i64::MAX / 2);
        // As the log does with each group.
        let group = chronolith::wal::GroupSource::take_records(head);
        chronolith::wal::GroupSource::recycle(head, group.records);
    }
}

fn anonymous_mib() -> f64 {
    chronolith::fs::release_freed_memory();
    resident_bytes().map_or(f64::NAN, |(_, anonymous)| anonymous as f64 / f64::from(1 << 20))
}

fn truncate(head: &Head, below_ms: i64) -> Truncated {
    head.raise_floor(below_ms);
    head.read_from(below_ms);
    let before_mib = anonymous_mib();
    let pauses: RefCell<Vec<Duration>> = RefCell::default();
    let began = Instant::now();
    let truncated = head.truncate(below_ms, &|part| {
        let began = Instant::now();
        part();
        pauses.borrow_mut().push(began.elapsed());
    });
    let total = began.elapsed();
    let mut pauses = pauses.into_inner();
    pauses.sort_unstable();
    println!(
        "{} chunks, {} series, {} labels dropped in {total:.2?}; {} pauses, median {:.2?}, longest {:.2?}; \
         anonymous memory {before_mib:.0} MiB before, {:.0} MiB after",
        truncated.chunks,
        truncated.series,
        truncated.labels,
        pauses.len(),
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
        anonymous_mib(),
    );
    truncated
}

fn main() {
    let head = Head::in_memory(HeadOptions::default());
    let empty_mib = anonymous_mib();
    let began = Instant::now();
    append(&head, 0..SERIES, 0);
    println!("{SERIES} series created in {:.2?}, empty head {empty_mib:.0} MiB", began.elapsed());
    for sample in 1..SAMPLES {
        append(&head, 0..SERIES, sample * HOUR_MS / 10);
    }
    append(&head, 0..SERIES, 2 * HOUR_MS);
    truncate(&head, 2 * HOUR_MS);
    append(&head, 0..SERIES / 10, 4 * HOUR_MS);
    truncate(&head, 4 * HOUR_MS);
    assert_eq!(head.series_count(), SERIES / 10);
    drop(head);

    // What counting uses is measured against: the index built anew from the series that are left, under its lock.
    for left in [SERIES / 10, SERIES] {
        let sets: Vec<LabelSet> = (0..left).map(labels).collect();
        let began = Instant::now();
        let mut index = Index::new();
        for (slot, set) in (0..).zip(&sets) {
            let pairs: Vec<PairId> = set.iter().map(|label| index.intern_pair(label)).collect();
            index.add_series(slot, &pairs);
        }
        index.sort_values();
        println!("an index of {left} series built anew in {:.2?}", began.elapsed());
    }
}
