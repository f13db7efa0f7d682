//! What a writer's account costs beside the request that it is about, and what it takes to find who created the series of
//! the head.
//!
//! The request is one of `bench write`: 2000 series of 10 labels, decoded and appended to a head without a log.

use std::future::{Future as _, Ready, ready};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chronolith::bench::workload::{PreparedSeries, Shape, Workload};
use chronolith::clock::SystemClock;
use chronolith::head::{Head, HeadOptions};
use chronolith::ingest::remote_write::{DecodeLimits, v1};
use chronolith::ingest::snappy::decompress;
use chronolith::ingest::{Appended, Protocol, Sender, WriteLimits, WriteService, WriteStore};
use chronolith::model::{Digest, TimestampMs};
use chronolith::storage::{BatchOutcome, RejectReason, WriteBatch};
use chronolith::wal::{CommitError, Durability, Receipt};
use chronolith::writers::{Answered, WriterBook};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const SERIES: u64 = 2000;
const LIMIT: u64 = 32 << 20;
const START_MS: i64 = 1_760_000_000_000;

/// A head alone.
struct HeadStore(Head);

impl WriteStore for HeadStore {
    type Commit = Ready<Result<Receipt, CommitError>>;

    fn append(&self, batch: &WriteBatch<'_>, now_ms: TimestampMs) -> Result<Appended<Self::Commit>, CommitError> {
        let outcome = self.0.append(batch, now_ms);
        let receipt = Receipt { commit: 1, samples: outcome.added, digest: Digest::ZERO, durability: Durability::None };
        Ok(Appended { outcome, commit: ready(Ok(receipt)) })
    }
}

fn sender() -> Sender {
    Sender {
        protocol: Protocol::RemoteWrite1,
        address: Some(Ipv4Addr::LOCALHOST.into()),
        agent: Some("Prometheus/3.5.0".to_owned()),
        user: Some("scraper".to_owned()),
    }
}

fn workload(series: u64) -> Workload {
    Workload::new(Shape { series, attributes: 10, start_ms: START_MS, interval_ms: 15_000 })
}

fn service() -> WriteService<HeadStore> {
    let head = Head::in_memory(HeadOptions::default());
    WriteService::new(HeadStore(head), WriteLimits::default(), Arc::new(SystemClock::default()))
}

/// A request with a scrape of 2000 series.
fn body(workload: &Workload, first: u64, scrape: u64) -> Vec<u8> {
    let mut message = Vec::new();
    let series = PreparedSeries::new(workload, first, first + SERIES);
    series.write_request(workload, scrape, 0..SERIES as usize, &mut message);
    snap::raw::Encoder::new().compress_vec(&message).expect("compressed")
}

/// Stores a request; the samples that it added.
fn store(service: &WriteService<HeadStore>, sender: &Sender, body: &[u8]) -> u64 {
    let limits = DecodeLimits::default();
    let stored = service.store(sender, body.len(), |scratch, batch| {
        let message = decompress(body, LIMIT, &mut scratch.body).expect("a body");
        Ok(v1::decode(message, limits, &mut scratch.gathered, batch).expect("a message"))
    });
    // Nothing waits: the commit is ready at once.
    match pin!(stored).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(stored) => stored.expect("stored").outcome.added,
        Poll::Pending => 0,
    }
}

fn requests(criterion: &mut Criterion) {
    let (service, sender, workload) = (service(), sender(), workload(SERIES));
    let mut group = criterion.benchmark_group("writers");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    let mut scrape = 0;
    group.bench_function("request of 2000 known series", |bencher| {
        let body = || {
            scrape += 1;
            body(&workload, 0, scrape)
        };
        bencher.iter_batched(body, |body| store(&service, &sender, &body), BatchSize::LargeInput);
    });
    let book = WriterBook::default();
    let stored = BatchOutcome { added: SERIES, ..BatchOutcome::default() };
    group.bench_function("its account", |bencher| {
        bencher.iter(|| {
            black_box(book.number(&sender, START_MS));
            book.accepted(&sender, START_MS, &stored, |_series| None);
            book.stored(&sender, START_MS, &stored);
            book.answered(&sender, START_MS, Answered::Ok);
        });
    });
    let mut refused = BatchOutcome::default();
    for index in 0..SERIES as usize {
        refused
            .reject(RejectReason::OutOfOrder, index, 1, || "sample at 5 ms, newest of the series at 6 ms".to_owned());
    }
    let labels: Vec<_> = (0..SERIES).map(|series| workload.label_set(series)).collect();
    group.bench_function("the journal of a request that is refused whole", |bencher| {
        bencher.iter(|| book.accepted(&sender, START_MS, &refused, |series| labels.get(series).cloned()));
    });
    group.finish();
}

fn creators(criterion: &mut Criterion) {
    const MANY: u64 = 500_000;
    let (service, sender, workload) = (service(), sender(), workload(MANY));
    for first in (0..MANY).step_by(SERIES as usize) {
        store(&service, &sender, &body(&workload, first, 0));
    }
    let mut group = criterion.benchmark_group("writers");
    group.sample_size(10);
    group.bench_function("who created 500,000 series", |bencher| {
        bencher.iter(|| service.store.0.series_by_creator(5));
    });
    group.finish();
}

criterion_group!(benches, requests, creators);
criterion_main!(benches);
