//! Bounds: time, samples, memory, series, cancellation.

use super::super::CancelToken;
use super::*;
use crate::clock::Clock;
use crate::model::FloatHistogram;
use crate::model::histogram::BucketSpan;
use crate::promql::parser::ast::Expr;
use std::sync::atomic::{AtomicU64, Ordering};

fn counters(count: u32) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for index in 0..count {
        for sample in 0..100 {
            let labels = labels(&[("__name__", "n"), ("i", &index.to_string())]);
            storage.append(&labels, sample * 10 * SECOND, 1.0);
        }
    }
    storage
}

/// A clock that moves by a millisecond each time that it is looked at.
#[derive(Default)]
struct LookedAt(AtomicU64);

impl Clock for LookedAt {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn query_past_its_samples_ends_with_prometheus_own_error() {
    let engine = engine(EngineOptions { samples_max: 10_000, ..EngineOptions::default() });
    let storage = counters(200);
    let ask = |query: &str| {
        let expr = parse_expr(query).unwrap();
        engine.range(&storage, &expr, 0, 990 * SECOND, 10 * SECOND, &QueryOptions::default())
    };
    let text = "query processing would load too many samples into memory in query execution";
    assert_eq!(ask("n").unwrap_err().to_string(), text);
    // Folded series are not held, so the same selector fits.
    let folded = ask("sum(n)").unwrap();
    assert!(folded.stats.samples_peak <= 10_000);
    assert_eq!(folded.stats.series, 200);
}

#[test]
fn histograms_count_for_as_many_samples_as_take_their_room() {
    let mut storage = MemoryStorage::new();
    let spans = vec![BucketSpan { offset: 0, length: 100 }];
    let histogram =
        FloatHistogram { positive_spans: spans, positive_buckets: vec![1.0; 100], ..FloatHistogram::default() };
    // 168 bytes, a span and 100 buckets of 8 bytes each, and a time: 61 floats.
    assert_eq!(histogram.size_bytes(), 976);
    for sample in 0..100 {
        storage.append_histogram(&labels(&[("__name__", "n")]), sample * 10 * SECOND, histogram.clone());
    }
    let peak = |query: &str, samples_max: u64| {
        let engine = engine(EngineOptions { samples_max, memory_max: Some(1 << 20), ..EngineOptions::default() });
        let expr = parse_expr(query).unwrap();
        let result = engine.range(&storage, &expr, 0, 990 * SECOND, 10 * SECOND, &QueryOptions::default());
        result.map(|result| result.stats.samples_peak).map_err(|error| error.to_string())
    };
    let too_many = Err(QueryError::TooManySamples.to_string());
    assert_eq!(peak("n", 6_100), Ok(6_100));
    for query in ["n", "last_over_time(n[15s])", "n smoothed", "n @ 0"] {
        assert_eq!(peak(query, 6_000), too_many, "{query}");
    }
    let matrix = |samples_max: u64| {
        let engine = engine(EngineOptions { samples_max, ..EngineOptions::default() });
        let expr = parse_expr("n[1000s]").unwrap();
        engine.instant(&storage, &expr, 990 * SECOND, &QueryOptions::default()).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!((matrix(6_100), matrix(6_000)), (Ok(()), Err(QueryError::TooManySamples.to_string())));
    assert_eq!(peak("count_over_time(n[5m])", 1_900), Ok(30 * 61));
    assert_eq!(peak("count_over_time(n[5m])", 1_800), too_many);
}

#[test]
fn subquery_of_a_year_at_a_millisecond_is_refused() {
    let storage = counters(1);
    for query in ["sum_over_time(vector(1)[1y:1ms])", "count_over_time(nothing[1y:1ms])"] {
        assert!(matches!(instant(&storage, query, 0), Err(QueryError::TooManySamples)), "{query}");
    }
}

#[test]
fn query_past_its_memory_is_refused() {
    let engine = engine(EngineOptions { memory_max: Some(1 << 20), ..EngineOptions::default() });
    let expr = parse_expr("sum_over_time(n[1d:1s])").unwrap();
    let outcome = engine.instant(&counters(3), &expr, 1000 * SECOND, &QueryOptions::default());
    assert!(matches!(outcome, Err(QueryError::TooMuchMemory { limit: 1_048_576 })));
}

#[test]
fn query_past_its_series_is_refused() {
    let engine = engine(EngineOptions { series_max: 5, ..EngineOptions::default() });
    let expr = parse_expr("n").unwrap();
    assert!(engine.instant(&counters(5), &expr, 0, &QueryOptions::default()).is_ok());
    assert!(engine.instant(&counters(6), &expr, 0, &QueryOptions::default()).is_err());
}

/// A series and so many that describe it, and a query that can't tell which of them does.
fn described(parts: usize) -> (MemoryStorage, Expr) {
    let mut storage = MemoryStorage::new();
    storage.append(&labels(&[("__name__", "n"), ("job", "x")]), 0, 1.0);
    for part in 0..parts {
        storage.append(&labels(&[("__name__", "x_info"), ("job", "x"), ("part", &part.to_string())]), 0, 1.0);
    }
    (storage, parse_expr("info(n, {__name__=\"x_info\", part=~\".*\"})").unwrap())
}

#[test]
fn query_past_its_series_by_what_describes_them_is_refused() {
    let (storage, expr) = described(6);
    let refusal = |series_max| {
        let engine = engine(EngineOptions { series_max, ..EngineOptions::default() });
        engine.instant(&storage, &expr, 0, &QueryOptions::default()).unwrap_err().to_string()
    };
    // One that fits is refused for another reason: which one describes it is not clear.
    assert!(!refusal(6).contains("limit"), "{}", refusal(6));
    assert!(refusal(5).contains("limit"), "{}", refusal(5));
}

#[test]
fn query_past_its_memory_by_what_describes_its_series_is_refused() {
    let (storage, expr) = described(60);
    let refusal = |memory_max| {
        let engine = engine(EngineOptions { memory_max: Some(memory_max), ..EngineOptions::default() });
        engine.range(&storage, &expr, 0, 299_900, 100, &QueryOptions::default()).unwrap_err()
    };
    // Times of 60 series at 3,000 steps, where the series itself has one value at each.
    assert!(matches!(refusal(1 << 20), QueryError::TooMuchMemory { limit: 1_048_576 }), "{}", refusal(1 << 20));
    assert!(!matches!(refusal(4 << 20), QueryError::TooMuchMemory { .. }), "{}", refusal(4 << 20));
}

#[test]
fn query_past_its_time_ends_inside_a_subquery() {
    let options = EngineOptions { timeout: Duration::from_millis(20), parallelism: 1, ..EngineOptions::default() };
    let engine = Engine::new(options, Arc::new(LookedAt::default()));
    let expr = parse_expr("max_over_time(rate(n[10m])[1h:1s])").unwrap();
    let outcome = engine.instant(&counters(3), &expr, 1000 * SECOND, &QueryOptions::default());
    assert!(matches!(outcome, Err(QueryError::Timeout)));
}

#[test]
fn query_that_was_canceled_ends() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = QueryOptions { cancel, ..QueryOptions::default() };
    let outcome = engine(EngineOptions::default()).instant(&counters(1), &parse_expr("n").unwrap(), 0, &options);
    assert!(matches!(outcome, Err(QueryError::Canceled)));
}

#[test]
fn range_query_of_a_range_vector_or_a_string_is_refused() {
    let storage = counters(1);
    assert_eq!(
        range(&storage, "n[1m]", 0, 10, 1).unwrap_err().to_string(),
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
    );
    assert!(range(&storage, "\"text\"", 0, 10, 1).is_err());
    assert!(range(&storage, "n", 10, 0, 1).is_err());
    assert!(range(&storage, "n", 0, 10, 0).is_err());
}

#[test]
fn times_at_the_ends_of_their_type_do_not_overflow() {
    let storage = counters(1);
    for time_ms in [i64::MIN, i64::MAX] {
        for query in ["n", "rate(n[1h] offset 1h)", "n offset -1h", "sum_over_time(n[1h:1m])", "n[5m]", "n[1h:1m]"] {
            // Whatever the answer is, there is one.
            let _ = instant(&storage, query, time_ms);
        }
        let _ = range(&storage, "n + n @ end()", time_ms, time_ms, 1);
    }
}

#[test]
fn deepest_expression_that_parses_is_evaluated_within_a_small_stack() {
    let storage = counters(1);
    let nestings = [
        ("(", "n", ")"),
        ("-", "n", ""),
        ("sum(", "n", ")"),
        ("quantile(0.5, ", "n", ")"),
        ("abs(", "n", ")"),
        ("n ^ ", "n", ""),
        ("", "n", " + n"),
        ("max_over_time(", "n", "[1m:1m])"),
    ];
    for (before, inner, after) in nestings {
        let nested = |depth: usize| format!("{}{inner}{}", before.repeat(depth), after.repeat(depth));
        let mut depths = (100..3000).rev().step_by(100);
        let expr = depths.find_map(|depth| parse_expr(&nested(depth)).ok()).expect("some depth parses");
        let engine = engine(EngineOptions::default());
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(512 * 1024);
            let query = || engine.range(&storage, &expr, 0, 1000, 1000, &QueryOptions::default()).map(drop);
            // What comes out does not matter here, only that something does.
            let _ = small.spawn_scoped(scope, query).expect("a thread").join().expect("no panic");
        });
    }
}
