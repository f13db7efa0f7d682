//! Tests of `series` and `/federate` with many selectors, over a database in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method};
use serde_json::Value;

use super::*;
use crate::api::route::Route;
use crate::api::{ApiRequest, testing};
use crate::clock::ManualClock;
use crate::db::Db;
use crate::model::raw_labels::encode_canonical;
use crate::model::{LabelSet, RawLabels, Sample, TimeRange};
use crate::promql::engine::EngineOptions;
use crate::storage::{Queryable, SeriesEntry, WriteBatch};

const NOW_MS: i64 = 1_700_000_000_000;
/// Metrics of the database, and the series of each.
const METRICS: usize = 10;
const SERIES: usize = 20;

/// A view that counts how often it is asked for series, and takes a second for each.
struct Counting {
    inner: Arc<dyn Queryable>,
    clock: Arc<ManualClock>,
    asked: Arc<AtomicUsize>,
}

struct CountingQuerier(Box<dyn Querier>, Arc<ManualClock>, Arc<AtomicUsize>);

impl Queryable for Counting {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, StorageError> {
        let inner = self.inner.querier(range)?;
        Ok(Box::new(CountingQuerier(inner, self.clock.clone(), self.asked.clone())))
    }
}

impl CountingQuerier {
    fn count(&self) {
        self.1.advance(Duration::from_secs(1));
        self.2.fetch_add(1, Ordering::Relaxed);
    }
}

impl Querier for CountingQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Vec<SelectedSeries>, StorageError> {
        self.count();
        self.0.select(matchers, hints)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.count();
        self.0.label_names(matchers, limit)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.count();
        self.0.label_values(name, matchers, limit)
    }
}

struct Server {
    api: Arc<Api>,
    db: Arc<Db>,
    clock: Arc<ManualClock>,
}

fn labels(metric: usize, series: usize) -> LabelSet {
    let (metric, series) = (format!("m{metric}"), format!("{series:03}"));
    LabelSet::from_pairs([("__name__", metric.as_str()), ("pod", series.as_str())])
}

/// What the series of one metric take.
fn bytes_of_metric() -> u64 {
    (0..SERIES).map(|series| SelectedSeries::bytes_of(&labels(0, series))).sum()
}

fn server(engine: EngineOptions) -> Server {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let (api, db) = testing::server_with(engine, clock.clone(), Arc::default());
    let encode = |labels: LabelSet| {
        let mut bytes = Vec::new();
        encode_canonical(labels.iter(), &mut bytes);
        bytes
    };
    let sets = (0..METRICS).flat_map(|metric| (0..SERIES).map(move |series| labels(metric, series)));
    let sets: Vec<Vec<u8>> = sets.map(encode).collect();
    let entries = sets.iter().zip(0..);
    let batch = WriteBatch {
        series: entries.map(|(bytes, at)| SeriesEntry { labels: RawLabels(bytes), samples: at..at + 1 }).collect(),
        samples: vec![Sample { timestamp_ms: NOW_MS, value: 0.5 }; sets.len()],
        ..WriteBatch::default()
    };
    db.append(&batch, NOW_MS).unwrap().1.wait().unwrap();
    Server { api, db, clock }
}

impl Server {
    /// The answer, and how often the store was asked for it.
    fn ask(&self, path: &str, selectors: &[&str], more: &str) -> (u16, String, usize) {
        let mut query = form_urlencoded::Serializer::new(more.to_owned());
        query.extend_pairs(selectors.iter().map(|text| ("match[]", text)));
        let request = ApiRequest {
            method: Method::GET,
            url_query: query.finish(),
            headers: HeaderMap::new(),
            form: None,
            json: None,
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let data = Counting { inner: self.db.queryable(), clock: self.clock.clone(), asked: asked.clone() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (status, text) = runtime.block_on(async {
            let route = Route::find(path).unwrap();
            let answer = self.api.handle_read(route, request, Arc::new(data)).await;
            let answer = answer.unwrap_or_else(|fault| crate::api::response::error(&fault));
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        });
        (status, text, asked.load(Ordering::Relaxed))
    }
}

#[track_caller]
fn assert_refused(answer: &(u16, String, usize), status: u16, error_type: &str) {
    let body: Value = serde_json::from_str(&answer.1).unwrap();
    assert_eq!((answer.0, &body["errorType"]), (status, &Value::from(error_type)), "{}", answer.1);
}

const BOTH: [&str; 2] = ["/api/v1/series", "/federate"];

#[test]
fn series_of_equal_selectors_are_found_once_and_answered_as_those_of_one() {
    let server = server(EngineOptions::default());
    for path in BOTH {
        let one = server.ask(path, &["m1"], "");
        assert_eq!((one.0, one.1.matches("pod=").count() + one.1.matches(r#""pod":"#).count()), (200, SERIES));
        assert_eq!(server.ask(path, &["m1"; 1000], ""), one, "{path}");
    }
    assert_eq!(server.ask("/api/v1/labels", &["m1"; 1000], "").2, 1);
}

#[test]
fn series_of_many_selectors_past_the_memory_of_a_query_are_refused() {
    let server = server(EngineOptions { memory_max: Some(bytes_of_metric() * 5 / 2), ..EngineOptions::default() });
    let metrics: Vec<String> = (0..METRICS).map(|metric| format!("m{metric}")).collect();
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    for path in BOTH {
        assert_eq!(server.ask(path, &metrics[..2], "").0, 200, "{path}");
        let refused = server.ask(path, &metrics, "");
        assert_refused(&refused, 422, "execution");
        assert_eq!(refused.2, 3, "{path} goes on behind its bound");
        assert_refused(&server.ask(path, &[r#"{pod!=""}"#], ""), 422, "execution");
    }
    // Cut to a limit they are few.
    assert_eq!(server.ask("/api/v1/series", &metrics, "limit=3").0, 200);
}

#[test]
fn series_that_many_selectors_find_take_memory_once() {
    let server = server(EngineOptions { memory_max: Some(bytes_of_metric() * 5 / 2), ..EngineOptions::default() });
    let selectors: Vec<String> = (0..30).map(|spaces| format!("m1{}", " ".repeat(spaces))).collect();
    let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
    for path in BOTH {
        let (one, many) = (server.ask(path, &["m1"], ""), server.ask(path, &selectors, ""));
        assert_eq!((many.0, &many.1), (200, &one.1), "{path}");
    }
}

#[test]
fn series_of_several_selectors_past_the_series_of_a_query_are_refused() {
    let server = server(EngineOptions { series_max: SERIES as u64, ..EngineOptions::default() });
    for path in BOTH {
        assert_eq!(server.ask(path, &["m1"], "").0, 200, "{path}");
        assert_refused(&server.ask(path, &["m1", "m2"], ""), 422, "execution");
    }
    let (status, text, _) = server.ask("/api/v1/series", &["m2", "m1", r#"{pod!=""}"#], "limit=2");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, body["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!(body["data"][1]["pod"], "001");
}

#[test]
fn series_that_are_not_found_within_the_time_of_a_query_are_given_up() {
    let server = server(EngineOptions { timeout: Duration::from_secs(3), ..EngineOptions::default() });
    for path in ["/api/v1/series", "/federate", "/api/v1/labels", "/api/v1/label/pod/values"] {
        let late = server.ask(path, &["m1", "m2", "m3", "m4", "m5"], "");
        assert_refused(&late, 503, "timeout");
        assert_eq!(late.2, 3, "{path}");
    }
}
