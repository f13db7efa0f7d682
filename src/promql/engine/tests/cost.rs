//! What a query costs: known before it runs, and counted while it does.

use super::super::Explanation;
use super::*;
use crate::model::histogram::BucketSpan;
use crate::model::{FloatHistogram, Matcher, TimeRange};
use crate::storage::{Column, Querier, Queryable, SampleSource, SelectHints, SelectedSeries, StorageError};

fn explained(storage: &MemoryStorage, options: EngineOptions, query: &str, count: i64) -> Explanation {
    let (expr, end_ms) = (parse_expr(query).unwrap(), (count - 1) * SECOND);
    engine(options).explain(Some(storage), &expr, 0, end_ms, SECOND, &QueryOptions::default()).unwrap()
}

#[test]
fn floor_is_what_scalars_take_at_every_step_and_nothing_that_is_stored() {
    let values = vec![1.0; 1000];
    let storage = storage(&[(&[("__name__", "n")], &values)]);
    for (query, samples) in [
        ("n", 0),
        ("sum_over_time(n[1h])", 0),
        ("-n * 2", 100),
        ("1", 100),
        ("time() + 1", 100),
        ("vector(scalar(n))", 100),
        ("scalar(sum(n))", 100),
        ("n @ 10", 0),
        ("n + time()", 100),
        ("sum_over_time(vector(1)[1h:1s])", 3699),
        ("sum_over_time(n[1h:1s])", 0),
        ("sum_over_time((n > 1)[1h:1s])", 3699),
        ("sum_over_time(vector(1)[1h:1s] @ 0)", 3600),
        ("max_over_time(sum_over_time(vector(time())[1h:1s])[1h:1m])", 7200),
    ] {
        let plan = explained(&storage, EngineOptions::default(), query, 100);
        assert_eq!(plan.floor.samples, samples, "{query}");
        assert_eq!(plan.refusal, None, "{query}");
    }
}

#[test]
fn query_whose_floor_is_held_exactly_runs_and_one_sample_less_refuses_it() {
    let storage = storage(&[(&[("__name__", "n")], &[1.0])]);
    for query in ["sum_over_time(vector(1)[1h:1s])", "n + sum_over_time(vector(scalar(n))[1h:1s] @ 0)"] {
        let plan = explained(&storage, EngineOptions::default(), query, 10);
        let ask = |samples_max| {
            let options = EngineOptions { samples_max, ..EngineOptions::default() };
            let refusal = explained(&storage, options.clone(), query, 10).refusal;
            let expr = parse_expr(query).unwrap();
            let result = engine(options).range(&storage, &expr, 0, 9 * SECOND, SECOND, &QueryOptions::default());
            assert_eq!(refusal.is_some(), samples_max < plan.floor.samples, "{query}");
            result
        };
        // The peak is never less than the floor, or the floor would be none.
        let peak = ask(1_000_000).unwrap().stats.samples_peak;
        assert!(peak >= plan.floor.samples, "{query}: {peak} < {}", plan.floor.samples);
        assert!(ask(peak).is_ok(), "{query}");
        assert!(matches!(ask(plan.floor.samples - 1), Err(QueryError::TooManySamples)), "{query}");
    }
}

#[test]
fn samples_of_steps_add_up_to_all_and_count_histograms_by_their_size() {
    let mut storage = storage(&[(&[("__name__", "n"), ("a", "1")], &[1.0, f64::NAN, 3.0, 4.0])]);
    let spans = vec![BucketSpan { offset: 0, length: 2 }];
    let histogram = FloatHistogram {
        count: 3.0,
        sum: 3.0,
        positive_spans: spans,
        positive_buckets: vec![1.0, 2.0],
        ..FloatHistogram::default()
    };
    storage.append_histogram(&labels(&[("__name__", "n"), ("a", "2")]), 20 * SECOND, histogram);
    let steps = |query: &str| {
        let options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
        let expr = parse_expr(query).unwrap();
        let engine = engine(EngineOptions { lookback_delta_ms: 10 * SECOND, ..EngineOptions::default() });
        let stats = engine.range(&storage, &expr, 0, 30 * SECOND, 10 * SECOND, &options).unwrap().stats;
        let steps: Vec<u64> = stats.samples_per_step.unwrap().iter().map(|(_, samples)| *samples).collect();
        assert_eq!(steps.iter().sum::<u64>(), stats.samples_total, "{query}");
        steps
    };
    // A histogram of one span and two buckets takes as much room as twelve floats.
    assert_eq!(steps("n"), [1, 0, 13, 1]);
    assert_eq!(steps("sum_over_time(n{a=\"1\"}[20s])"), [1, 1, 1, 2]);
    assert_eq!(steps("count_over_time(n[20s])"), [1, 1, 13, 14]);
    assert_eq!(steps("n @ 20"), [13, 13, 13, 13]);
    assert_eq!(steps("timestamp(n)"), [1, 0, 2, 1]);
    assert_eq!(steps("sum_over_time(n{a=\"1\"}[20s:10s])"), [1, 1, 1, 2]);
    assert_eq!(steps("1"), [0, 0, 0, 0]);
}

#[test]
fn analysis_says_what_each_node_gave_and_read() {
    let storage = storage(&[
        (&[("__name__", "n"), ("a", "1")], &[1.0, 2.0, 3.0, 4.0]),
        (&[("__name__", "n"), ("a", "2")], &[1.0, 2.0, 3.0, 4.0]),
    ]);
    let options = QueryOptions { analyze: true, ..QueryOptions::default() };
    let expr = parse_expr("sum(rate(n[20s])) or max_over_time(n{a=\"1\"}[20s:10s])").unwrap();
    let result = engine(EngineOptions::default()).instant(&storage, &expr, 30 * SECOND, &options).unwrap();
    let plan = result.explanation.unwrap();
    let figures: Vec<(&str, Option<(u64, u64)>)> = plan
        .nodes
        .iter()
        .map(|node| {
            let what = node.text.split([',', ':']).next().unwrap_or_default();
            (what, node.run.map(|run| (run.series, run.samples_read)))
        })
        .collect();
    assert_eq!(
        figures,
        [
            ("binary operator or", Some((2, 8))),
            ("aggregation sum", Some((1, 4))),
            ("function rate", Some((2, 4))),
            ("range selector n[20s]", None),
            ("function max_over_time", Some((1, 4))),
            ("subquery over 20000 ms", Some((1, 4))),
            ("instant selector n{a=\"1\"}", Some((1, 4))),
        ]
    );
    assert_eq!(plan.selectors[0].samples_read, Some(4));
    assert_eq!(plan.selectors[0].extent.map(|extent| (extent.chunks, extent.samples)), Some((2, 4)));
}

/// A storage whose samples nobody may read.
struct Unreadable<'s>(&'s MemoryStorage);

impl Queryable for Unreadable<'_> {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(UnreadableQuerier(self.0.querier(range)?)))
    }
}

struct UnreadableQuerier(Box<dyn Querier>);

impl Querier for UnreadableQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        let series = self.0.select(matchers, hints)?.into_iter();
        Ok(series.map(|one| SelectedSeries { samples: Arc::new(UnreadableSamples), ..one }).collect())
    }

    fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

struct UnreadableSamples;

impl SampleSource for UnreadableSamples {
    fn read(&self, _: TimeRange, _: &mut Column) -> Result<(), StorageError> {
        Err(StorageError::Limit { what: "number of reads", limit: 0 })
    }
}

#[test]
fn query_whose_floor_is_past_a_bound_reads_nothing() {
    let storage = storage(&[(&[("__name__", "n")], &[1.0])]);
    let ask = |options: EngineOptions, query: &str| {
        let expr = parse_expr(query).unwrap();
        engine(options).instant(&Unreadable(&storage), &expr, 0, &QueryOptions::default()).map(drop)
    };
    let few = EngineOptions { samples_max: 1000, ..EngineOptions::default() };
    assert!(matches!(ask(few.clone(), "n"), Err(QueryError::Storage(_))));
    assert!(matches!(ask(few, "n + sum_over_time(vector(1)[1h:1s])"), Err(QueryError::TooManySamples)));
    let little = EngineOptions { memory_max: Some(20_000), ..EngineOptions::default() };
    let query = "n + sum_over_time(vector(1)[1h:1s])";
    assert!(matches!(ask(little, query), Err(QueryError::TooMuchMemory { limit: 20_000 })));
}
